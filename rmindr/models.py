"""The rows, and the forms in which a reminder comes in and goes out."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import field_validator
from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, String, Text, UniqueConstraint, Uuid, text
from sqlmodel import Field, SQLModel

from rmindr.database import Instant, from_ms


class Status(StrEnum):
    """Where a reminder stands, in order of life."""

    UNCONFIRMED = "unconfirmed"
    SCHEDULED = "scheduled"
    SENDING = "sending"
    RETRYING = "retrying"
    SENT = "sent"
    FAILED = "failed"
    CANCELLED = "cancelled"
    MISSED = "missed"
    UNCERTAIN = "uncertain"


# A reminder that waits for its instant, or for its next attempt.
WAITING = (Status.SCHEDULED, Status.RETRYING)
# A reminder that nothing will happen to any more, unless a person asks.
FINAL = (Status.SENT, Status.FAILED, Status.CANCELLED, Status.MISSED, Status.UNCERTAIN)


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562): 48 bits of milliseconds, then 74 random bits, so ids sort by creation and cannot be guessed."""
    ms = time.time_ns() // 1_000_000
    bits = (ms << 80) | (0x7 << 76) | (secrets.randbits(12) << 64) | (0b10 << 62) | secrets.randbits(62)
    return UUID(int=bits)


class Reminder(SQLModel, table=True):
    """The promise: one message, one address, one instant, and all that has become of it.

    `rev` grows with every change that a person makes, `fence` with every claim by a worker. `next_at` is when the next
    attempt is due: the instant itself at first. `timeline` holds one JSON object per line, oldest first."""

    __tablename__ = "reminders"
    __table_args__ = (
        UniqueConstraint("owner", "idem_key", name="uq_reminders_owner_idem_key"),
        Index("ix_reminders_status_next_at", "status", "next_at"),
        # What the sweep looks for is nearly always nothing: a partial index makes that one page.
        Index(
            "ix_reminders_unqueued",
            "next_at",
            postgresql_where=text("queued_rev IS NULL AND status IN ('scheduled', 'retrying')"),
            sqlite_where=text("queued_rev IS NULL AND status IN ('scheduled', 'retrying')"),
        ),
        Index("ix_reminders_owner_id", "owner", "id"),
    )

    id: UUID = Field(default_factory=new_id, sa_column=Column(Uuid, primary_key=True))
    rev: int = Field(1, sa_column=Column(Integer, nullable=False))
    owner: str = Field("", sa_column=Column(String(64), nullable=False, server_default=""))
    status: Status = Field(sa_column=Column(String(12), nullable=False))
    reason: str | None = Field(None, sa_column=Column(Text))

    recipient: str = Field(sa_column=Column(String(320), nullable=False))
    subject: str = Field(sa_column=Column(String(400), nullable=False))
    message: str = Field(sa_column=Column(Text, nullable=False))
    due_at: datetime = Field(sa_column=Column(Instant, nullable=False))
    time_zone: str = Field(sa_column=Column(String(64), nullable=False))

    created_at: datetime = Field(sa_column=Column(Instant, nullable=False))
    updated_at: datetime = Field(sa_column=Column(Instant, nullable=False))
    idem_key: str | None = Field(None, sa_column=Column(String(255)))
    idem_hash: str | None = Field(None, sa_column=Column(String(64)))

    next_at: datetime = Field(sa_column=Column(Instant, nullable=False))
    queued_rev: int | None = Field(None, sa_column=Column(Integer))
    job_id: int | None = Field(None, sa_column=Column(BigInteger))

    fence: int = Field(0, sa_column=Column(Integer, nullable=False, server_default="0"))
    attempt: int = Field(0, sa_column=Column(Integer, nullable=False, server_default="0"))
    crashes: int = Field(0, sa_column=Column(Integer, nullable=False, server_default="0"))
    ambiguous: int = Field(0, sa_column=Column(Integer, nullable=False, server_default="0"))
    first_tried_at: datetime | None = Field(None, sa_column=Column(Instant))
    lease_until: datetime | None = Field(None, sa_column=Column(Instant))
    marked_at: datetime | None = Field(None, sa_column=Column(Instant))
    letter: bytes | None = Field(None, sa_column=Column(LargeBinary))
    accepted_at: datetime | None = Field(None, sa_column=Column(Instant))
    smtp_reply: str | None = Field(None, sa_column=Column(Text))
    timeline: str = Field("", sa_column=Column(Text, nullable=False, server_default=""))

    @property
    def lateness_ms(self) -> int | None:
        """How long after its instant the mail server took the mail, ms."""
        return None if self.accepted_at is None else round((self.accepted_at - self.due_at).total_seconds() * 1000)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The timeline, e.g. [{"at": 1795448797530, "event": "created"}, …]."""
        return [json.loads(line) for line in self.timeline.splitlines()]


class Fact(SQLModel, table=True):
    """One thing that all processes of an instance must agree on, e.g. the epoch of the queue."""

    __tablename__ = "facts"

    name: str = Field(sa_column=Column(String(40), primary_key=True))
    value: str = Field(sa_column=Column(Text, nullable=False))
    updated_at: datetime = Field(sa_column=Column(Instant, nullable=False))


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
