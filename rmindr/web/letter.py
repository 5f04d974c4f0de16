"""The mail of one reminder as it is written, or was: what whoever reads it sees, but for the links, which are theirs alone."""

from __future__ import annotations

from email import message_from_bytes, policy
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response

from rmindr.mail.letters import Contents, LetterBroken, Letters
from rmindr.models import Reminder
from rmindr.web.api import Books
from rmindr.web.here import AtReminder, of_reminder
from rmindr.web.templating import page

router = APIRouter(include_in_schema=False)


@of_reminder(router, "GET", "/mail")
async def letter(request: Request, books: Books, here: AtReminder, part: Literal["text", "raw"] = "text") -> Response:
    """Its text with its headers, or its bytes."""
    found = await books.find(here.id, here.eyes)
    person = here.asker.person
    by = person.address if person is not None and person.mailbox != found.recipient.lower() else None
    try:
        data = _without_links(request).make(_contents(found, by)).data
    except LetterBroken:
        # What cannot be written is not sent either; its page says so.
        data = b""
    read = message_from_bytes(data, policy=policy.default)
    text = read.get_body(("plain",))
    context: dict[str, Any] = {
        "reminder": found,
        "headers": [(name, str(read[name])) for name in ("From", "To", "Subject", "Date", "Message-ID") if read[name]],
        "text": text.get_content() if text is not None else "",
        "raw": data.decode("ascii").replace("\r\n", "\n"),
    }
    return page(request, "letter.html", act=here.path, part=part, **context)


def _without_links(request: Request) -> Letters:
    letters: Letters = request.app.state.letters
    return letters


def _contents(found: Reminder, by: str | None) -> Contents:
    return Contents(
        id=found.id,
        rev=found.rev,
        recipient=found.recipient,
        subject=found.subject,
        message=found.message,
        due_at=found.due_at,
        time_zone=found.time_zone,
        created_at=found.created_at,
        leaves_at=found.accepted_at or found.due_at,
        by=by,
    )
