"""What a mail says, as bytes: headers and parts that no text of a user can break out of.

The standard library reads a header value before it writes it, so that an encoded word in a subject can become a header of
its own (python/cpython#121650), and folds long values into words where none may stand (python/cpython#85725). So the few
headers here are written by hand, every value either printable ASCII or encoded whole, and the finished bytes are read back.
"""

from __future__ import annotations

import base64
import binascii
import email
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final
from uuid import UUID

from jinja2 import Environment, PackageLoader, StrictUndefined

from rmindr import times
from rmindr.mail import own
from rmindr.mail.links import MailLinks
from rmindr.models import Kind
from rmindr.signing import Purpose

# A mail that leaves this late says so; what is later than a breath and earlier than this nobody would notice.
_LATE: Final = timedelta(seconds=60)
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
# One address in plain letters and nothing around it; an encoded word may not even look like one.
_ADDRESS: Final = re.compile(r"(?!.*=\?)[\w!#$%&'*+/=?^`{|}~.-]+@[\w.-]+", re.ASCII)
_SPECIALS: Final = set('()<>[]:;@\\,."')


class LetterBroken(Exception):
    """The finished bytes do not read back as what was meant; nothing was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One reminder of several that a letter says."""

    id: UUID
    message: str
    due_at: datetime
    time_zone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a letter is made of."""

    id: UUID
    rev: int
    recipient: str
    subject: str
    message: str
    due_at: datetime
    time_zone: str
    created_at: datetime
    leaves_at: datetime
    kind: Kind = Kind.REMINDER
    about: str = ""
    # Who set it, where that is not who reads it.
    by: str | None = None
    # The others that are said with it, where several are late.
    others: Sequence[Item] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A mail ready to leave: its envelope and its bytes, lines ended by CRLF."""

    sender: str
    recipient: str
    message_id: str
    data: bytes


class Letters:
    """Makes letters from one sender. `links` None leaves links out, and mails of our own, which are nothing without."""

    def __init__(self, *, name: str, address: str, bounces_to: str, links: MailLinks | None) -> None:
        self._from = _mailbox(name, address)
        self._bounces_to = bounces_to
        self._domain = address.rpartition("@")[2]
        self._links = links
        loader = PackageLoader("rmindr", "mail")
        html = Environment(
            loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        text = Environment(  # noqa: S701  (plain text: there is nothing to escape into)
            loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
        )
        # Read here, once; not while a letter waits.
        self._templates = {
            name: (text.get_template(f"{name}.txt"), html.get_template(f"{name}.html"))
            for name in ("letter", "together", "own")
        }

    def message_id(self, id: UUID, rev: int) -> str:
        """The same for every attempt at one revision, on a domain of ours: receivers can tell a second copy by it."""
        return f"<{id}.{rev}@{self._domain}>"

    def make(self, contents: Contents, *, kept: bytes | None = None) -> Letter:
        """The letter; `kept` are the bytes that may have left before, which must not change. Raises LetterBroken."""
        message_id = self.message_id(contents.id, contents.rev)
        if not _ADDRESS.fullmatch(contents.recipient):
            raise LetterBroken(f"the letter of {contents.id} is to something that is no address")
        try:
            data = kept if kept is not None else self._write(contents, message_id)
        except ValueError as error:
            # A zone that is gone, half a character: nothing that another attempt would mend.
            raise LetterBroken(f"the letter of {contents.id} cannot be written: {type(error).__name__}") from error
        return Letter(sender=self._bounces_to, recipient=contents.recipient, message_id=message_id, data=data)

    def _write(self, contents: Contents, message_id: str) -> bytes:
        # In quoted-printable every `=` of the text is written `=3D`, so this can stand in no part.
        boundary = f"=_{contents.id.hex}.{contents.rev}"
        stop = self._links.stop(contents.recipient, contents.id) if self._links is not None else None
        headers = {
            "Date": format_datetime(contents.leaves_at.replace(microsecond=0)),
            "From": self._from,
            "To": contents.recipient,
            # Whoever answers means the person who set it.
            **({"Reply-To": contents.by} if contents.by is not None and _ADDRESS.fullmatch(contents.by) else {}),
            "Subject": _unstructured(_subject(contents)),
            "Message-ID": message_id,
            "Auto-Submitted": "auto-generated",
            "X-Auto-Response-Suppress": "OOF, AutoReply",
            "MIME-Version": "1.0",
            "Content-Type": f'multipart/alternative; boundary="{boundary}"',
        }
        if stop is not None:
            headers |= {"List-Unsubscribe": f"<{stop}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        text, html = self._parts(contents, stop)
        body = "".join(
            f"--{boundary}\r\nContent-Type: text/{kind}; charset=utf-8\r\n"
            f"Content-Transfer-Encoding: quoted-printable\r\n\r\n{_quoted_printable(part)}\r\n"
            for kind, part in (("plain", text), ("html", html))
        )
        data = f"{head}\r\n{body}--{boundary}--\r\n".encode("ascii")
        _read_back(data, contents, message_id, tuple(headers))
        return data

    def _parts(self, contents: Contents, stop: str | None) -> tuple[str, str]:
        """The letter as plain text and as HTML: the same facts in both."""
        facts: dict[str, Any] = {"subject": _subject(contents), "stop": stop}
        if contents.others:
            name, facts = "together", facts | self._facts_of_all(contents)
        elif contents.kind is Kind.REMINDER:
            name, facts = "letter", facts | self._reminder_facts(contents)
        elif self._links is not None:
            name, facts = "own", facts | {"words": own.words(contents.kind, contents.about, self._links)}
        else:
            raise ValueError("a mail of our own needs to know where its link leads")
        text, html = self._templates[name]
        return text.render(facts), html.render(facts)

    def _reminder_facts(self, contents: Contents) -> dict[str, Any]:
        place = times.zone(contents.time_zone)
        late = contents.leaves_at - contents.due_at
        links = self._links
        return {
            "message": contents.message,
            "due": times.in_words(contents.due_at, place),
            "asked": times.in_words(contents.created_at, place),
            "by": contents.by,
            "late": times.distance_in_words(late) if late > _LATE else None,
            "link": links.manage(contents.id) if links is not None and contents.by is None else None,
            "done": links.act(Purpose.DONE, contents.id, contents.leaves_at) if links is not None else None,
            "snooze": links.act(Purpose.SNOOZE, contents.id, contents.leaves_at) if links is not None else None,
        }

    def _facts_of_all(self, contents: Contents) -> dict[str, Any]:
        this = Item(id=contents.id, message=contents.message, due_at=contents.due_at, time_zone=contents.time_zone)
        items = [
            {
                "message": each.message,
                "due": times.in_words(each.due_at, times.zone(each.time_zone)),
                "link": self._links.manage(each.id) if self._links is not None else None,
            }
            for each in sorted((this, *contents.others), key=lambda each: (each.due_at, str(each.id)))
        ]
        return {"items": items, "account": self._links.home("account") if self._links is not None else None}


def _subject(contents: Contents) -> str:
    return f"{len(contents.others) + 1} reminders that are late" if contents.others else contents.subject


def _read_back(data: bytes, contents: Contents, message_id: str, names: Sequence[str]) -> None:
    """Refuse bytes whose headers are not exactly those meant: the last line against every trick not thought of."""
    read = email.message_from_bytes(data)
    if tuple(read.keys()) != names or read["To"] != contents.recipient or read["Message-ID"] != message_id:
        raise LetterBroken(f"the letter of {contents.id} does not read back as written")
    kinds = [part.get_content_type() for part in read.walk()]
    if kinds != ["multipart/alternative", "text/plain", "text/html"] or max(map(len, data.split(b"\r\n"))) > 998:
        raise LetterBroken(f"the letter of {contents.id} does not read back as written")


def _unstructured(text: str) -> str:
    """A subject: as it is where it is plain, else encoded words whole, so that no `=?` of a user's is ever read."""
    if text.isascii() and text.isprintable() and "=?" not in text and text == text.strip():
        return text
    return _encoded_words(text)


def _mailbox(name: str, address: str) -> str:
    """A sender: the name quoted where it has specials, encoded where it is not ASCII."""
    if not name:
        return address
    if not name.isascii() or not name.isprintable() or "=?" in name:
        return f"{_encoded_words(name)}\r\n <{address}>"
    if _SPECIALS & set(name):
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}" <{address}>'
    return f"{name} <{address}>"


def _encoded_words(text: str) -> str:
    """RFC 2047 words, each of whole characters and on a line of its own, which may have 76 with the header's name."""
    words, chunk = [], b""
    for character in text:
        encoded = character.encode()
        if len(chunk) + len(encoded) > 39:
            words.append(chunk)
            chunk = b""
        chunk += encoded
    words.append(chunk)
    return "\r\n ".join(f"=?utf-8?B?{base64.b64encode(word).decode()}?=" for word in words)


def _quoted_printable(text: str) -> str:
    lines = "\r\n".join(_LINE_END.split(text.rstrip("\r\n"))) + "\r\n"
    return binascii.b2a_qp(lines.encode(), istext=True).decode("ascii")
