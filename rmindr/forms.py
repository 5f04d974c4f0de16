"""The forms in which a reminder comes in and goes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from pydantic import ValidationInfo, field_validator
from sqlmodel import Field, SQLModel

from rmindr.database import from_ms
from rmindr.models import Status
from rmindr.moments import Repeats


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What is asked for, checked: an address in ASCII, texts without control characters, an instant that exists."""

    to: str
    subject: str
    message: str
    due_at: datetime
    time_zone: str
    # The time on the clock that was meant, where one was; and which of two.
    wall: datetime | None = None
    fold: int = 0
    # Sentences on what was taken for granted.
    notes: tuple[str, ...] = ()
    repeats: Repeats | None = None
    missed: str = "once"
    deadline_at: datetime | None = None


class ReminderIn(SQLModel):
    """A reminder as it is asked for. Either `due_at`, an instant with its offset, or `when`: words, or a time on the clock
    of `time_zone`."""

    model_config = {
        "extra": "forbid",
        # What is not of its type is a mistake: `"1"` is no number here, and `false` no 0.
        "strict": True,
        "json_schema_extra": {
            "examples": [
                {"to": "me@example.org", "message": "Call mum", "due_at": "2099-12-01T09:00:00Z"},
                {"to": "me@example.org", "message": "Plants", "when": "every monday 8am", "time_zone": "Europe/Paris"},
            ]
        },
    }

    to: str = Field(description="The one address that the mail goes to.", schema_extra={"examples": ["me@example.org"]})
    message: str = Field(description="The text of the mail.", schema_extra={"examples": ["Call mum"]})
    subject: str | None = Field(None, description="By default made from the message's first line.")
    due_at: str | None = Field(
        None,
        description="The instant, RFC 3339 with an offset; milliseconds are kept. A zone behind it, `[Europe/Paris]` (RFC "
        "9557), goes before `time_zone`; the offset decides, and where the zone is critical, `[!Europe/Paris]`, they must "
        "agree.",
        schema_extra={"examples": ["2099-12-01T09:00:00Z"]},
    )
    when: str | None = Field(
        None,
        description="Words, or a wall-clock time without an offset; read in `time_zone`, whole or not at all.",
        schema_extra={"examples": ["tomorrow 9am"]},
    )
    time_zone: str | None = Field(
        None, description="An IANA zone; UTC where it is left out.", schema_extra={"examples": ["Europe/Paris"]}
    )
    fold: int | None = Field(
        None,
        ge=0,
        le=1,
        description="Which of two, where the clock shows `when` twice: 0 is the first. Where the clock jumps over it, 0 "
        "takes what comes in its place.",
    )
    repeat: str | None = Field(
        None,
        description="How it repeats: daily, weekdays, weekly, monthly on the day, monthly on the weekday, monthly on the "
        "last day, yearly; or a rule of RFC 5545; or words.",
        schema_extra={"examples": ["FREQ=WEEKLY;BYDAY=MO,TH"]},
    )
    until: str | None = Field(
        None, description="The last day on which it may come.", schema_extra={"examples": ["2099-05-01"]}
    )
    count: int | None = Field(None, ge=1, le=10_000, description="How many times it comes in all.")
    from_completion: bool | None = Field(
        None, description="Count the next from when the last one was done, not from the plan."
    )
    missed: Literal["once", "skip"] | None = Field(
        None,
        description="What becomes of occurrences at which nothing ran: one mail makes up for them all (once), or none (skip).",
    )
    deadline_at: str | None = Field(
        None,
        description="After this it is of no use, and not sent: an instant, a time on the clock, or words that count from "
        "when it is due. Of what repeats, each occurrence is of use as long as the first.",
        schema_extra={"examples": ["in 2 hours"]},
    )


class ReminderChange(SQLModel):
    """What to change, a JSON merge patch (RFC 7396): what is left out stays. `null` takes a deadline away; nothing else of a
    reminder can be missing."""

    model_config = {"extra": "forbid", "strict": True, "json_schema_extra": {"examples": [{"message": "Call dad"}]}}

    to: str | None = None
    message: str | None = None
    subject: str | None = None
    due_at: str | None = None
    when: str | None = None
    time_zone: str | None = None
    fold: int | None = Field(None, ge=0, le=1)
    deadline_at: str | None = Field(None, description="`null`, or empty, takes it away.")
    repeat: str | None = Field(None, description="Another rule, for all that follow.")

    @field_validator("*", mode="before")
    @classmethod
    def _never_null(cls, value: Any, field: ValidationInfo) -> Any:
        if value is None and field.field_name == "deadline_at":
            return ""
        if value is None:
            raise ValueError("must not be null; leave it out to keep it as it is")
        return value


class PreviewIn(ReminderChange):
    """A reminder that is still being written."""

    model_config = {"json_schema_extra": {"examples": [{"when": "tomorrow 9am", "time_zone": "Europe/Paris"}]}}

    until: str | None = None
    count: int | None = Field(None, ge=1, le=10_000)
    from_completion: bool | None = None
    missed: Literal["once", "skip"] | None = None
    reader_time_zone: str | None = Field(None, description="On whose clock it is told, too, where that is another.")


class TimelineEvent(SQLModel):
    """One line of a reminder's timeline: created, claimed, put off, in doubt, outage, sent, failed, edited, cancelled …"""

    at: datetime
    event: str
    attempt: int | None = None
    reply: str | None = None
    reason: str | None = None
    next_at: datetime | None = None

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> TimelineEvent:
        """A line as the row keeps it: {"at": ms, "event": …, "after_ms": …}."""
        at = from_ms(event["at"])
        after = event.get("after_ms")
        return cls(
            at=at,
            event=event["event"],
            attempt=event.get("attempt"),
            reply=event.get("reply"),
            reason=event.get("reason"),
            next_at=at + timedelta(milliseconds=after) if after is not None else None,
        )


class ReminderOut(SQLModel):
    """A reminder as it stands."""

    id: UUID
    to: str
    subject: str
    message: str
    due_at: datetime
    time_zone: str
    status: Status
    reason: str | None
    revision: int
    attempts: int
    next_attempt_at: datetime | None
    created_at: datetime
    updated_at: datetime
    sent_at: datetime | None
    lateness_ms: int | None
    may_have_arrived_twice: bool
    timeline: list[TimelineEvent]
    wall_time: str | None = Field(
        description="The time on the clock of `time_zone` that was meant; null where an instant was."
    )
    zone_rules: str = Field(description="The version of the zone rules by which `due_at` was found.")
    deadline_at: datetime | None
    series_id: UUID | None = Field(description="What it is an occurrence of, where it repeats.")


class Shown(SQLModel):
    """One occurrence that is to come: in its own zone, and on the reader's clock where that is another."""

    due_at: datetime
    here: str
    there: str | None
    note: str | None


class Preview(SQLModel):
    """What a reminder would be, with nothing stored: its instant, in its zone and in words."""

    to: str | None
    subject: str
    due_at: datetime
    time_zone: str
    local_time: str
    sentence: str
    there: str | None = Field(description="The same on the reader's clock, where that is another.")
    warnings: list[str] = Field(description="What was taken for granted, and what the clocks do that day.")
    repeats: str | None = Field(description="The rule in words.")
    next: list[Shown] = Field(description="The first five of what repeats.")
    deadline_at: datetime | None


class SeriesOut(SQLModel):
    """What repeats, as it stands."""

    id: UUID
    state: str = Field(description="active, ended, or cancelled")
    rule: str = Field(description="RFC 5545; UNTIL is on the clock of `time_zone`.")
    repeats: str = Field(description="The rule in words.")
    time_zone: str
    from_completion: bool
    missed: str
    useful_seconds: int | None
    made: int = Field(description="How many occurrences there have been, with the one that stands.")
    next: list[Shown]
