"""What a person or a program asks for, checked whole: either a Draft, or every complaint at once, by field."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

from email_validator import EmailNotValidError, validate_email

from rmindr import moments, times
from rmindr.errors import InvalidDraft
from rmindr.forms import Draft
from rmindr.moments import Moment

MAX_MESSAGE: Final = 4000
MAX_SUBJECT: Final = 150
_FROM_MESSAGE: Final = 70
# Cc control, Cs lone surrogates, Zl and Zp line and paragraph ends; bidirectional overrides can disguise what is read.
_FORBIDDEN: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
_BIDI: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

# Of what repeats and is rather skipped than sent late, what could not be sent within this is skipped.
_SKIPPED_AFTER: Final = timedelta(hours=1)

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
    # What follows the first: a preset's name, a rule of RFC 5545, or words; until a day, or so many times.
    repeat: str | None = None
    until: str | None = None
    count: int | None = None
    from_completion: bool | None = None
    missed: str | None = None
    # After which it is of no use.
    deadline_at: str | None = None


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
    found = _when(complaints, asked, place, clock)
    deadline = None
    if asked.deadline_at is not None and asked.deadline_at.strip() and found is not None:
        said, due = asked.deadline_at, found
        deadline = complaints.check("deadline_at", lambda: moments.deadline(said, due))
    if found is not None and found.repeats is not None and asked.missed == "skip" and deadline is None:
        deadline = found.at + _SKIPPED_AFTER
    if complaints.problems or to is None or message is None or subject is None or found is None:
        raise InvalidDraft(complaints.problems)
    return Draft(
        to=to,
        subject=subject,
        message=message,
        due_at=found.at,
        time_zone=found.place.key,
        wall=found.wall,
        fold=found.fold,
        notes=found.notes,
        repeats=found.repeats,
        missed=asked.missed or "once",
        deadline_at=deadline,
    )


def _when(complaints: _Complaints, asked: Asked, place: ZoneInfo | None, clock: datetime) -> Moment | None:
    """When it is to come, and what follows by which rule; None where something is complained about."""
    name = "when" if asked.when is not None and asked.due_at is None else "due_at"
    fold = asked.fold if asked.fold in (0, 1) else None
    if fold != asked.fold:
        complaints.problems["fold"] = "must be 0 or 1"
    if asked.missed not in (None, "once", "skip"):
        complaints.problems["missed"] = "must be once or skip"
    # In no zone that is known, a time is read all the same, for what else is wrong with it.
    found = complaints.check(name, lambda: _time(asked, place or ZoneInfo("UTC"), fold, clock, known=place is not None))
    if found is None or place is None:
        return None
    once = found
    ends = asked.until is not None or asked.count is not None
    if asked.repeat is not None and asked.repeat.strip():
        said = asked.repeat
        found = complaints.check(
            "repeat", lambda: moments.repeating(once, said, clock=clock, until=asked.until, count=asked.count)
        )
    elif ends:
        found = complaints.check("repeat", lambda: moments.ending(once, asked.until, asked.count))
    if found is not None and asked.from_completion is not None:
        if found.repeats is None:
            complaints.problems["from_completion"] = "is about what repeats, and this does not"
            return None
        repeats = replace(found.repeats, from_completion=found.repeats.from_completion or asked.from_completion)
        found = replace(found, repeats=repeats)
    return found


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


def address_or_nothing(text: str | None) -> str:
    """The address, where it is one; for looking up, not for writing to."""
    try:
        return address(text)
    except ValueError:
        return ""


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


def _time(asked: Asked, place: ZoneInfo, fold: int | None, clock: datetime, *, known: bool) -> Moment | None:
    if asked.due_at is not None and asked.when is not None:
        raise times.BadTime("and `when` both say a time; give one of them")
    text = asked.due_at if asked.due_at is not None else asked.when
    if text is None or not text.strip():
        raise times.BadTime("is missing")
    exact = asked.due_at is not None
    if exact and times.read(text).offset is None and asked.time_zone is None:
        raise times.BadTime(
            "has no offset: write it like 2026-12-01T09:00:00Z, or say in which `time_zone` it is meant"
        )
    if not known:
        moments.check(text, clock=clock, exact=exact)
        return None
    return moments.moment(text, place, clock=clock, fold=fold, exact=exact)
