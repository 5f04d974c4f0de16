"""The rows: reminders, the people behind their addresses, and what they have been asked, promised and refused."""

from __future__ import annotations

import json
import secrets
import time
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlmodel import Field, SQLModel

from rmindr.database import Instant


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


class Kind(StrEnum):
    """What a row of reminders is: what a person asked for, or a mail of our own, which goes the same sure way."""

    REMINDER = "reminder"
    # To an address that has not agreed yet: is it yours? None of anybody's words are in it.
    CONFIRM = "confirm"
    # To somebody whom another wants to remind: may they?
    AGREE = "agree"
    SIGN_IN = "sign in"
    # To the owner: what became of a reminder, or that the zone rules have moved it.
    NOTICE = "notice"


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
        Index("ix_reminders_owner_due_at", "owner", "status", "due_at"),
        # Each occurrence of a series stands once, whoever makes it.
        Index("ux_reminders_series_id_occurrence", "series_id", "occurrence", unique=True),
        Index(
            "ix_reminders_carried_by",
            "carried_by",
            postgresql_where=text("carried_by IS NOT NULL"),
            sqlite_where=text("carried_by IS NOT NULL"),
        ),
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

    kind: Kind = Field(Kind.REMINDER, sa_column=Column(String(10), nullable=False, server_default="reminder"))
    # What a mail of our own is about: the id of a link, the text of a notice; JSON. Of a reminder: that it goes alone, if so.
    about: str = Field("", sa_column=Column(Text, nullable=False, server_default=""))
    # The time on the clock that was meant, `2026-12-01T09:00:00`, and which of two; NULL where an instant was meant.
    wall: str | None = Field(None, sa_column=Column(String(26)))
    fold: int = Field(0, sa_column=Column(Integer, nullable=False, server_default="0"))
    # The zone rules by which `due_at` was found.
    zone_rules: str = Field("", sa_column=Column(String(40), nullable=False, server_default=""))
    # Useless after this: then it is not sent, and the owner is told.
    deadline_at: datetime | None = Field(None, sa_column=Column(Instant))
    series_id: UUID | None = Field(None, sa_column=Column(Uuid))
    # Which occurrence of the series: its time on the clock, as the rule has it.
    occurrence: str | None = Field(None, sa_column=Column(String(26)))
    # The overdue reminder in whose mail this one goes, where a person wants one mail instead of many.
    carried_by: UUID | None = Field(None, sa_column=Column(Uuid))
    done_at: datetime | None = Field(None, sa_column=Column(Instant))
    erased_at: datetime | None = Field(None, sa_column=Column(Instant))

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


class Person(SQLModel, table=True):
    """Whoever reads the mail at one address. `mailbox` is the address without case, by which it is known; `owner` is the id
    in hexadecimal digits, as it stands in this person's reminders."""

    __tablename__ = "people"
    __table_args__ = (
        UniqueConstraint("mailbox", name="uq_people_mailbox"),
        UniqueConstraint("owner", name="uq_people_owner"),
    )

    id: UUID = Field(default_factory=new_id, sa_column=Column(Uuid, primary_key=True))
    owner: str = Field(sa_column=Column(String(64), nullable=False))
    address: str = Field(sa_column=Column(String(320), nullable=False))
    mailbox: str = Field(sa_column=Column(String(320), nullable=False))
    created_at: datetime = Field(sa_column=Column(Instant, nullable=False))
    confirmed_at: datetime | None = Field(None, sa_column=Column(Instant))
    # «Stop everything from this service to me»: beats all else.
    blocked_at: datetime | None = Field(None, sa_column=Column(Instant))
    blocked_why: str | None = Field(None, sa_column=Column(String(200)))
    # How often, and when last, it was asked whether the address is theirs.
    asked_at: datetime | None = Field(None, sa_column=Column(Instant))
    asked_times: int = Field(0, sa_column=Column(Integer, nullable=False, server_default="0"))
    # How many of those whom this person wanted to remind called that abuse.
    reports: int = Field(0, sa_column=Column(Integer, nullable=False, server_default="0"))
    time_zone: str = Field("UTC", sa_column=Column(String(64), nullable=False, server_default="UTC"))
    # Whether many overdue reminders come as one mail.
    catch_up: str = Field("each", sa_column=Column(String(5), nullable=False, server_default="each"))
    # Grows when the address of the calendar feed is to be another one; odd, the feed is off.
    feed_rev: int = Field(1, sa_column=Column(Integer, nullable=False, server_default="1"))


class Session(SQLModel, table=True):
    """A browser that is signed in. Of its secret only the hash is kept."""

    __tablename__ = "sessions"
    __table_args__ = (Index("ix_sessions_person_id", "person_id"),)

    secret_hash: str = Field(sa_column=Column(String(64), primary_key=True))
    person_id: UUID = Field(sa_column=Column(Uuid, nullable=False))
    created_at: datetime = Field(sa_column=Column(Instant, nullable=False))
    expires_at: datetime = Field(sa_column=Column(Instant, nullable=False))


class Link(SQLModel, table=True):
    """A link in a mail that works once: its token is made of this id, signed for one purpose."""

    __tablename__ = "links"
    __table_args__ = (Index("ix_links_person_id", "person_id"),)

    id: UUID = Field(default_factory=new_id, sa_column=Column(Uuid, primary_key=True))
    purpose: str = Field(sa_column=Column(String(10), nullable=False))
    person_id: UUID = Field(sa_column=Column(Uuid, nullable=False))
    # Who asks, where one person asks another.
    by_id: UUID | None = Field(None, sa_column=Column(Uuid))
    created_at: datetime = Field(sa_column=Column(Instant, nullable=False))
    expires_at: datetime = Field(sa_column=Column(Instant, nullable=False))
    used_at: datetime | None = Field(None, sa_column=Column(Instant))


class Consent(SQLModel, table=True):
    """Whether one person may remind another: asked once, ever; refused stays refused."""

    __tablename__ = "consents"
    __table_args__ = (Index("ix_consents_recipient_id", "recipient_id"),)

    sender_id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    recipient_id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    state: str = Field(sa_column=Column(String(7), nullable=False))
    asked_at: datetime = Field(sa_column=Column(Instant, nullable=False))
    decided_at: datetime | None = Field(None, sa_column=Column(Instant))


class Token(SQLModel, table=True):
    """A program's right to act for a person. Of the token only its beginning, which is no secret, and its hash are kept."""

    __tablename__ = "tokens"
    __table_args__ = (
        UniqueConstraint("secret_hash", name="uq_tokens_secret_hash"),
        Index("ix_tokens_person_id", "person_id"),
    )

    id: UUID = Field(default_factory=new_id, sa_column=Column(Uuid, primary_key=True))
    person_id: UUID = Field(sa_column=Column(Uuid, nullable=False))
    name: str = Field(sa_column=Column(String(100), nullable=False))
    beginning: str = Field(sa_column=Column(String(16), nullable=False))
    secret_hash: str = Field(sa_column=Column(String(64), nullable=False))
    scopes: str = Field(sa_column=Column(String(100), nullable=False))
    created_at: datetime = Field(sa_column=Column(Instant, nullable=False))
    used_at: datetime | None = Field(None, sa_column=Column(Instant))
    expires_at: datetime | None = Field(None, sa_column=Column(Instant))
    revoked_at: datetime | None = Field(None, sa_column=Column(Instant))


class Bucket(SQLModel, table=True):
    """How much of one limit is used: the instant by which it will be free again. `name` is a hash; nobody is in it."""

    __tablename__ = "buckets"
    __table_args__ = (Index("ix_buckets_free_at", "free_at"),)

    name: str = Field(sa_column=Column(String(64), primary_key=True))
    free_at: datetime = Field(sa_column=Column(Instant, nullable=False))


class Series(SQLModel, table=True):
    """What repeats: a rule of RFC 5545 on the wall clock of a zone, and what each occurrence says.

    `next_wall` is the occurrence that stands as a reminder now, or is to be made."""

    __tablename__ = "series"
    __table_args__ = (Index("ix_series_owner_id", "owner", "id"), Index("ix_series_state", "state"))

    id: UUID = Field(default_factory=new_id, sa_column=Column(Uuid, primary_key=True))
    rev: int = Field(1, sa_column=Column(Integer, nullable=False, server_default="1"))
    owner: str = Field("", sa_column=Column(String(64), nullable=False, server_default=""))
    state: str = Field(sa_column=Column(String(9), nullable=False))
    recipient: str = Field(sa_column=Column(String(320), nullable=False))
    subject: str = Field(sa_column=Column(String(400), nullable=False))
    message: str = Field(sa_column=Column(Text, nullable=False))
    rule: str = Field(sa_column=Column(String(500), nullable=False))
    # The first occurrence, which gives the clock.
    start_wall: str = Field(sa_column=Column(String(26), nullable=False))
    time_zone: str = Field(sa_column=Column(String(64), nullable=False))
    # Counted from when the last one was done, not from the plan.
    from_completion: bool = Field(False, sa_column=Column(Boolean, nullable=False, server_default=text("false")))
    # Occurrences at which nothing ran: made up for by one mail, or skipped.
    missed: str = Field("once", sa_column=Column(String(4), nullable=False, server_default="once"))
    # How long an occurrence is of use, seconds; NULL means for ever.
    useful_s: int | None = Field(None, sa_column=Column(Integer))
    next_wall: str | None = Field(None, sa_column=Column(String(26)))
    made: int = Field(0, sa_column=Column(Integer, nullable=False, server_default="0"))
    created_at: datetime = Field(sa_column=Column(Instant, nullable=False))
    updated_at: datetime = Field(sa_column=Column(Instant, nullable=False))


class Hook(SQLModel, table=True):
    """An address of a program that is told what becomes of a person's reminders (Standard Webhooks)."""

    __tablename__ = "hooks"
    __table_args__ = (Index("ix_hooks_owner", "owner"),)

    id: UUID = Field(default_factory=new_id, sa_column=Column(Uuid, primary_key=True))
    owner: str = Field(sa_column=Column(String(64), nullable=False))
    url: str = Field(sa_column=Column(String(2000), nullable=False))
    # What signs each call; the program has it too, so it cannot be kept as a hash.
    secret: str = Field(sa_column=Column(String(100), nullable=False))
    events: str = Field(sa_column=Column(String(200), nullable=False))
    created_at: datetime = Field(sa_column=Column(Instant, nullable=False))
    failing_since: datetime | None = Field(None, sa_column=Column(Instant))
    stopped_at: datetime | None = Field(None, sa_column=Column(Instant))


class Call(SQLModel, table=True):
    """One event on its way to one hook, until it is taken or given up."""

    __tablename__ = "calls"
    __table_args__ = (Index("ix_calls_state_next_at", "state", "next_at"), Index("ix_calls_hook_id", "hook_id"))

    id: UUID = Field(default_factory=new_id, sa_column=Column(Uuid, primary_key=True))
    hook_id: UUID = Field(sa_column=Column(Uuid, nullable=False))
    body: str = Field(sa_column=Column(Text, nullable=False))
    state: str = Field(sa_column=Column(String(8), nullable=False))
    attempts: int = Field(0, sa_column=Column(Integer, nullable=False, server_default="0"))
    next_at: datetime = Field(sa_column=Column(Instant, nullable=False))
    answer: str | None = Field(None, sa_column=Column(String(300)))
    created_at: datetime = Field(sa_column=Column(Instant, nullable=False))
