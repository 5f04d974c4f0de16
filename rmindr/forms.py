"""The forms in which a reminder comes in and goes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic import field_validator
from sqlmodel import Field, SQLModel

from rmindr.database import from_ms
from rmindr.models import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What is asked for, checked: an address in ASCII, texts without control characters, an instant that exists."""

    to: str
    subject: str
    message: str
    due_at: datetime
    time_zone: str


class ReminderIn(SQLModel):
    """A reminder as it is asked for. Either `due_at`, an instant with its offset, or `when`, a time on the clock of
    `time_zone`."""

    model_config = {"extra": "forbid"}

    to: str = Field(description="The one address that the mail goes to.", schema_extra={"examples": ["me@example.org"]})
    message: str = Field(description="The text of the mail.", schema_extra={"examples": ["Call mum"]})
    subject: str | None = Field(None, description="By default made from the message's first line.")
    due_at: str | None = Field(
        None,
        description="The instant, RFC 3339 with an offset; milliseconds are kept.",
        schema_extra={"examples": ["2026-12-01T09:00:00Z"]},
    )
    when: str | None = Field(
        None,
        description="A wall-clock time without an offset, read in `time_zone`.",
        schema_extra={"examples": ["2026-12-01T09:00"]},
    )
    time_zone: str | None = Field(
        None, description="An IANA zone; UTC where it is left out.", schema_extra={"examples": ["Europe/Paris"]}
    )
    fold: int | None = Field(
        None, ge=0, le=1, description="Which of two, where the clock shows `when` twice: 0 is the first."
    )


class ReminderChange(SQLModel):
    """What to change; what is left out stays. `null` is refused, as nothing of a reminder can be missing."""

    model_config = {"extra": "forbid"}

    to: str | None = None
    message: str | None = None
    subject: str | None = None
    due_at: str | None = None
    when: str | None = None
    time_zone: str | None = None
    fold: int | None = Field(None, ge=0, le=1)

    @field_validator("*", mode="before")
    @classmethod
    def _never_null(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("must not be null; leave it out to keep it as it is")
        return value


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


class Preview(SQLModel):
    """What a reminder would be, with nothing stored: its instant, in its zone and in words."""

    to: str | None
    subject: str
    due_at: datetime
    time_zone: str
    local_time: str
    sentence: str
