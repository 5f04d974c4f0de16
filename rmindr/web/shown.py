"""A reminder as a program sees it, and which version of it that is: entity tags, and what is asked of them (RFC 9110)."""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import Depends, Header, HTTPException, Request, Response

from rmindr.forms import ReminderOut, TimelineEvent
from rmindr.models import WAITING, Reminder, Status
from rmindr.reminders import Condition
from rmindr.web.bodies import ACCEPT_PATCH

_TAG: Final = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_ANYTHING: Final = (("", "*"),)


def shown(reminder: Reminder) -> ReminderOut:
    """A row as a program sees it."""
    return ReminderOut(
        id=reminder.id,
        to=reminder.recipient,
        subject=reminder.subject,
        message=reminder.message,
        due_at=reminder.due_at,
        time_zone=reminder.time_zone,
        status=Status(reminder.status),
        reason=reminder.reason,
        revision=reminder.rev,
        attempts=reminder.attempt,
        next_attempt_at=reminder.next_at if reminder.status in WAITING else None,
        created_at=reminder.created_at,
        updated_at=reminder.updated_at,
        sent_at=reminder.accepted_at,
        lateness_ms=reminder.lateness_ms,
        may_have_arrived_twice=reminder.ambiguous > 0 and reminder.status == Status.SENT,
        timeline=[TimelineEvent.of(event) for event in reminder.events],
        wall_time=reminder.wall,
        zone_rules=reminder.zone_rules,
        deadline_at=reminder.deadline_at,
        series_id=reminder.series_id,
    )


def answered(reminder: Reminder, response: Response) -> ReminderOut:
    """The same as an answer, which says its version, and in what a change of it may come."""
    said = shown(reminder)
    response.headers.update({"ETag": tag_of(said), **ACCEPT_PATCH})
    return said


def tag_of(said: ReminderOut) -> str:
    """The entity tag of what is shown, a strong one: it is another one as soon as anything shown is. So whoever holds it
    knows that the mail has not left, and not only that nobody has edited it."""
    digest = hashlib.sha256(said.model_dump_json().encode()).digest()
    return f'"{said.revision}-{urlsafe_b64encode(digest[:15]).decode()}"'


def is_known(request: Request, tag: str) -> bool:
    """Whether whoever asks has this version already, by If-None-Match: then 304 is all there is to say."""
    given = _tags(request, "if-none-match")
    return given is not None and (given == _ANYTHING or tag in [each for _, each in given])


def _only_if(
    request: Request,
    if_match: Annotated[
        str | None, Header(description="Only if it is as it was: the `ETag` that was answered, or several, or `*`.")
    ] = None,
) -> Condition | None:
    given = _tags(request, "if-match")
    if given is None or given == _ANYTHING:
        return None
    # A weak tag says that it is much the same, which is not enough to change it by.
    strong = {each for weak, each in given if not weak}
    return lambda seen: tag_of(shown(seen)) in strong


# What If-Match asks of a reminder before it is changed; None where it asks nothing.
OnlyIf = Annotated[Condition | None, Depends(_only_if)]


def _tags(request: Request, header: str) -> Sequence[tuple[str, str]] | None:
    """What a header lists, as (`W/` or nothing, tag); None where it is not there. Raises HTTPException 400."""
    if header not in request.headers:
        return None
    text = ", ".join(request.headers.getlist(header)).strip()
    if text == "*":
        return _ANYTHING
    found = _TAG.findall(text)
    if not found or _TAG.sub("", text).strip(" \t,"):
        raise HTTPException(400, f"The header {header.title()} is a list of entity tags, as ETag has them, or *.")
    return [(weak, tag) for weak, tag in found]
