"""What a person or a program asks for, checked whole: either a Draft, or every complaint at once, by field."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar

from email_validator import EmailNotValidError, validate_email

from rmindr import times
from rmindr.errors import InvalidDraft
from rmindr.models import Draft

MAX_MESSAGE: Final = 4000
MAX_SUBJECT: Final = 150
_FROM_MESSAGE: Final = 70
# Cc control, Cs lone surrogates, Zl and Zp line and paragraph ends; bidirectional overrides can disguise what is read.
_FORBIDDEN: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
_BIDI: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The fields of a request, as text; None where one is left out."""

    to: str | None = None
    subject: str | None = None
    message: str | None = None
    due_at: str | None = None
    when: str | None = None
    time_zone: str | None = None
    fold: int | None = None


@dataclass
class _Complaints:
    """Runs one check per field and collects what they say."""

    problems: dict[str, str] = field(default_factory=dict)

    def check(self, name: str, check: Callable[[], T]) -> T | None:
        try:
            return check()
        except ValueError as complaint:
            self.problems.setdefault(name, str(complaint))
            return None


def draft(asked: Asked, *, clock: datetime, partial: bool = False) -> Draft:
    """The draft that this request describes. Raises InvalidDraft with every complaint, e.g. {"to": "is missing"}.

    `partial`: one still being written, whose address and message may be missing; they are empty then."""
    complaints = _Complaints()
    to = complaints.check("to", lambda: "" if partial and not asked.to else address(asked.to))
    message = complaints.check("message", lambda: "" if partial and not asked.message else _message(asked.message))
    subject = complaints.check("subject", lambda: _subject(asked.subject, message or ""))
    place = complaints.check("time_zone", lambda: times.zone(asked.time_zone or "UTC"))
    name = "when" if asked.when is not None and asked.due_at is None else "due_at"
    written = complaints.check(name, lambda: _time(asked))
    fold = asked.fold if asked.fold in (0, 1) else None
    if fold != asked.fold:
        complaints.problems["fold"] = "must be 0 or 1"
    due_at = None
    if place is not None and written is not None:
        due_at = complaints.check(name, lambda: times.instant(written, place, fold=fold, after=clock))
    if complaints.problems or to is None or message is None or subject is None or place is None or due_at is None:
        raise InvalidDraft(complaints.problems)
    return Draft(to=to, subject=subject, message=message, due_at=due_at, time_zone=place.key)


def address(text: str | None) -> str:
    """One address, its domain in ASCII (joe@münchen.de → joe@xn--mnchen-3ya.de). Raises ValueError with a sentence."""
    if not text or not text.strip():
        raise ValueError("is missing")
    text = text.strip()
    if len(text) > 254:
        raise ValueError("is longer than an address can be (254 characters)")
    if any(unicodedata.category(character) in _FORBIDDEN for character in text):
        raise ValueError("contains a control character")
    if "=?" in text:
        raise ValueError("contains an encoded word; write the address itself")
    if text.count("@") > 1 or any(separator in text for separator in ",;:<>"):
        raise ValueError("must be one address alone, like me@example.org")
    try:
        checked = validate_email(text, check_deliverability=False, allow_smtputf8=True, strict=True)
    except EmailNotValidError as error:
        raise ValueError(f"is not an address: {error}") from None
    if checked.ascii_email is None:
        raise ValueError("has letters before the @ that many mail servers cannot take; use an address in plain letters")
    return checked.ascii_email


def _message(text: str | None) -> str:
    if text is None or not text.strip():
        raise ValueError("is missing")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if len(text) > MAX_MESSAGE:
        raise ValueError(f"is {len(text):,} characters long; {MAX_MESSAGE:,} are the most")
    _readable(text, allowed="\n\t")
    return text


def _subject(text: str | None, message: str) -> str:
    if text is None or not text.strip():
        return subject_from(message)
    text = text.strip()
    if len(text) > MAX_SUBJECT:
        raise ValueError(f"is {len(text):,} characters long; {MAX_SUBJECT} are the most")
    _readable(text, allowed="")
    return text


def subject_from(message: str) -> str:
    """The message's first line, shortened at a word."""
    line = "".join(
        c if unicodedata.category(c) not in _FORBIDDEN and c not in _BIDI else " "
        for c in message.strip().split("\n")[0]
    )
    line = " ".join(line.split())
    if len(line) > _FROM_MESSAGE:
        line = line[:_FROM_MESSAGE].rsplit(" ", 1)[0] + "…"
    return f"Reminder: {line}" if line else "Reminder"


def _readable(text: str, *, allowed: str) -> None:
    for position, character in enumerate(text, 1):
        if character in allowed:
            continue
        if unicodedata.category(character) in _FORBIDDEN or (not allowed and character in _BIDI):
            raise ValueError(
                f"contains a character that cannot be sent (U+{ord(character):04X}, at position {position})"
            )


def _time(asked: Asked) -> times.Written:
    if asked.due_at is not None and asked.when is not None:
        raise times.BadTime("and `when` both say a time; give one of them")
    text = asked.due_at if asked.due_at is not None else asked.when
    if text is None or not text.strip():
        raise times.BadTime("is missing")
    written = times.read(text)
    if asked.due_at is not None and written.offset is None and asked.time_zone is None:
        raise times.BadTime(
            "has no offset: write it like 2026-12-01T09:00:00Z, or say in which `time_zone` it is meant"
        )
    return written
