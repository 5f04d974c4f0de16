"""What the delivery writes in SQL, one statement a method: every one of them the only judge of whether it may happen.

    claim      scheduled, retrying, or sending under a lapsed lease  ▶ sending                    fence + 1
    mark       sending, under this fence and lease                   ▶ sending                    the point of no return
    sent       sending, under this fence                             ▶ sent
    put_off    sending, under this fence                             ▶ retrying                   another attempt, later
    give_back  sending, under this fence, not marked                 ▶ scheduled | retrying       not an attempt
    end        sending, under this fence                             ▶ failed | missed | uncertain
    settle     sending, its lease lapsed                             ▶ sent | failed | uncertain  its worker is gone

The clock is the database's. An old fence or an old revision changes nothing. Each statement also writes its line into the
reminder's timeline, so there is no truth beside the row. Statements are built once: building them costs more than running.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final, Protocol, cast
from uuid import UUID

import structlog
from sqlalchemy import (
    Boolean,
    CursorResult,
    Executable,
    Table,
    Text,
    Update,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
    type_coerce,
    update,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from rmindr.database import Database, Instant, now
from rmindr.errors import StorageUnavailable
from rmindr.models import WAITING, Consent, Hook, Kind, Person, Reminder, Status
from rmindr.queue.scripts import Flights

log = structlog.get_logger(__name__)

reminders = cast(Table, Reminder.__table__)  # type: ignore[attr-defined]
row = reminders.c

# A reminder whose worker was lost this often is not tried again; a lapsed lease is the loss that is about to be counted.
CRASHES_ALLOWED: Final = 3
RESENDS_ALLOWED: Final = 2
USELESS: Final = "It could not be sent before the time after which it is of no use."
# A timeline is for people: beyond this it stops growing, whatever goes on.
_TIMELINE_LENGTH: Final = 60_000
_Asked = tuple[Executable, Mapping[str, Any]]
# So many statements take a few milliseconds, and nobody waits longer for the others.
_TOGETHER: Final = 50
CATCH_UP_ONE: Final = "one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A reminder that goes in another's mail (catch_up.py), by its fence, and what is said of it there."""

    id: UUID
    fence: int
    message: str
    due_at: datetime
    time_zone: str
    series_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A worker's right to one attempt at one revision of one reminder, by its fence."""

    id: UUID
    rev: int
    fence: int
    attempt: int
    crashes: int
    ambiguous: int
    recipient: str
    subject: str
    message: str
    due_at: datetime
    time_zone: str
    created_at: datetime
    kind: Kind
    about: str
    owner: str
    # Who set it, where that is another than who reads it.
    by: str | None
    # Whether a program is to be told how it ends.
    hooked: bool = False
    first_tried_at: datetime
    letter: bytes | None
    series_id: UUID | None
    deadline_at: datetime | None
    claimed_at: datetime
    # Whether it is to its owner, who wants one mail instead of many after an outage; and the others in this one's mail.
    catches_up: bool = False
    carried: Sequence[Carried] = ()


# What is not in the row, or not known by the claim alone.
_BESIDES: Final = ("claimed_at", "by", "hooked", "catches_up", "carried")


def noted(*extra: Any) -> ColumnElement[str]:
    """The timeline with one more line: the clock, then `extra` pieces of JSON, then the parameter `note` (see `note`)."""
    line: Any = literal('{"at": ').concat(sql_cast(now(), Text))
    for piece in (*extra, literal(", "), bindparam("note", type_=Text), literal("}\n")):
        line = line.concat(piece)
    return case((func.length(row.timeline) > _TIMELINE_LENGTH, row.timeline), else_=row.timeline.concat(line))


def note(event: str, **facts: Any) -> str:
    """The inside of one timeline line, e.g. `"event": "sent", "attempt": 1`; facts that are None are left out."""
    told = {"event": event, **{name: value for name, value in facts.items() if value is not None}}
    return json.dumps(told)[1:-1]


class Sequel(Protocol):
    """What comes of the end of a reminder, in the same transaction: of what repeats, the next one (series.py)."""

    async def before(self, connection: AsyncConnection, series_id: UUID | None) -> Any:
        """Lock what must be locked before the reminder is."""

    async def after(self, connection: AsyncConnection, held: Any, id: UUID, status: Status, reason: str | None) -> None:
        """It has ended so; `held` is what `before` answered."""


class Ledger:
    """The delivery's statements on one database. `lease` is how long a claim lasts without a beat."""

    def __init__(self, database: Database, lease: timedelta, sequel: Sequel | None = None) -> None:
        self._database = database
        self._sequel = sequel
        self._flights: Callable[[_Asked], Awaitable[Any]] = Flights(self._together, seats=_TOGETHER)
        lease_end = now() + _ms(lease)
        self._claim = _claim(lease_end, marked=False)
        self._claim_marked = _claim(lease_end, marked=True)
        self._mark = (
            update(reminders)
            .where(held, row.rev == bindparam("of_rev"), row.lease_until > now(), of_use, _welcome)
            .values(marked_at=now(), lease_until=lease_end, letter=bindparam("the_letter"), updated_at=now())
        )
        pairs = tuple_(row.id, row.fence).in_(bindparam("pairs", expanding=True))
        self._beat = update(reminders).where(row.status == Status.SENDING, pairs).values(lease_until=lease_end)

    async def claim(self, id: UUID, rev: int, worker: str, *, resend: bool = False) -> Claim | None:
        """Take the next attempt; None where this is not the time, not the revision, or not ours to take.

        `resend` takes a reminder whose last attempt may have arrived: for a caller who has looked for the witness and
        waited. Raises StorageUnavailable."""
        values = {"of_id": id, "of_rev": rev, "note": note("claimed", worker=worker)}
        found = await self._one(self._claim_marked if resend else self._claim, values)
        if found is None:
            return None
        whose = {"of_owner": found["owner"], "the_recipient": found["recipient"]}
        owner = await self._one(_OWNER, whose) if found["owner"] else None
        if owner is None:
            return Claim(**found, by=None)
        hooked, catches_up = bool(owner["hooked"]), bool(owner["catches_up"])
        return Claim(**found, by=owner["by"], hooked=hooked, catches_up=catches_up)

    async def mark(self, claim: Claim, letter: bytes, *, listed: bool = True) -> bool:
        """The point of no return, written before the body leaves; False means: do not send it.

        Judged in the same statement: it is of use still; the recipient wants mail, and has agreed to this one, unless
        `listed` among those who need not. The bytes are kept with the mark, since from now on any further attempt must send
        these. Raises StorageUnavailable."""
        values = {
            "of_id": claim.id,
            "of_fence": claim.fence,
            "of_rev": claim.rev,
            "the_letter": letter,
            "listed": listed,
        }
        return await self._change(self._mark, values)

    async def is_welcome(self, claim: Claim, *, listed: bool = True) -> bool:
        """Whether the recipient wants this mail, as the mark judges it. Raises StorageUnavailable."""
        found = await self._one(_IS_WELCOME, {"of_id": claim.id, "listed": listed})
        return found is not None

    async def beat(self, claims: Collection[Claim]) -> None:
        """Prolong the leases of attempts that are still under way. Raises StorageUnavailable."""
        await self._change(self._beat, {"pairs": [(claim.id, claim.fence) for claim in claims]})

    async def sent(self, claim: Claim, reply: str, ago: timedelta) -> int | None:
        """The server took it `ago`: the lateness in ms; None where somebody else has the reminder by now."""
        values = {
            "of_id": claim.id,
            "of_fence": claim.fence,
            "ago": _ms(ago),
            "the_reply": reply,
            "note": note("sent", attempt=claim.attempt, reply=reply),
        }
        found = await self._over(_SENT, values, claim, Status.SENT, None)
        return None if found is None else round((found["accepted_at"] - found["due_at"]).total_seconds() * 1000)

    async def put_off(
        self, claim: Claim, wait: timedelta, reason: str, *, event: str, counted: bool, ambiguous: bool = False
    ) -> bool:
        """Another attempt after `wait`; not `counted`: this one was none. False where it is no longer ours."""
        values = {
            "of_id": claim.id,
            "of_fence": claim.fence,
            "the_reason": reason,
            "wait": _ms(wait),
            "uncounted": 0 if counted else 1,
            "in_doubt": 1 if ambiguous else 0,
            "note": note(event, attempt=claim.attempt, reason=reason, after_ms=_ms(wait)),
        }
        return await self._change(_PUT_OFF, values)

    async def give_back(self, claim: Claim) -> bool:
        """Undo a claim that has not been marked, because the worker is stopping: not an attempt."""
        values = {"of_id": claim.id, "of_fence": claim.fence, "note": note("given back", attempt=claim.attempt)}
        return await self._change(_GIVE_BACK, values)

    async def end(self, claim: Claim, status: Status, reason: str, reply: str | None = None) -> bool:
        """No further attempt: failed, missed or uncertain, and why. False where it is no longer ours."""
        values = {
            "of_id": claim.id,
            "of_fence": claim.fence,
            "the_status": status,
            "the_reason": reason,
            "the_reply": reply,
            "note": note(status, attempt=claim.attempt, reason=reason),
        }
        return await self._over(_END, values, claim, status, reason) is not None

    async def settle(self, seen: Reminder, status: Status, reason: str | None, reply: str | None = None) -> bool:
        """Settle an attempt whose worker is gone without sending again. False where somebody has taken it meanwhile."""
        values = {
            "of_id": seen.id,
            "of_fence": seen.fence,
            "the_status": status,
            "the_reason": reason,
            "the_reply": reply,
            "note": note(status, reason=reason, reply=reply),
        }
        return await self._over(_SETTLE, values, seen, status, reason) is not None

    def within(self, connection: AsyncConnection) -> Ledger:
        """The same verbs in a transaction of the caller's, who has locked what they change, and sees to the sequel."""

        async def at_once(asked: _Asked) -> Any:
            return _answer(await connection.execute(*asked))

        inside = Ledger.__new__(Ledger)
        vars(inside).update(vars(self), _flights=at_once, _sequel=None)
        return inside

    async def look(self, id: UUID) -> tuple[Reminder, datetime] | None:
        """The row as it stands, and the database's clock; None when there is no such row. Raises StorageUnavailable."""
        found = await self._one(_LOOK, {"of_id": id})
        if found is None:
            return None
        read_at = found["read_at"]
        return Reminder(**{name: value for name, value in found.items() if name != "read_at"}), read_at

    async def _over(
        self, statement: Update, values: Mapping[str, Any], seen: Claim | Reminder, status: Status, reason: str | None
    ) -> Mapping[str, Any] | None:
        """End an attempt for good, and what comes of that; None where somebody else has the reminder by now."""
        # Of a row alone nobody has asked whether a program is to be told.
        hooked = seen.hooked if isinstance(seen, Claim) else True
        if self._sequel is not None and (seen.series_id is not None or hooked or status == Status.MISSED):
            try:
                async with self._database.transaction() as connection:
                    held = await self._sequel.before(connection, seen.series_id)
                    found = (await connection.execute(statement, values)).mappings().one_or_none()
                    if found is not None:
                        await self._sequel.after(connection, held, values["of_id"], status, reason)
                    return None if found is None else dict(found)
            except StorageUnavailable:
                raise
            except Exception:
                # What has happened is written down, whatever is wrong with what should come of it: the sweep sees to that.
                log.exception("nothing followed", id=str(values["of_id"]))
        return await self._one(statement, values)

    async def _one(self, statement: Executable, values: Mapping[str, Any]) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = await self._flights((statement, values))
        return found

    async def _change(self, statement: Update, values: Mapping[str, Any]) -> bool:
        return bool(await self._flights((statement, values)))

    # What comes while the database is at work travels together: one commit, and one wait for the disk, for many mails.

    async def _together(self, asked: list[_Asked]) -> Sequence[Any]:
        if len(asked) == 1:
            return [await self._alone(*asked[0])]
        # Whoever else changes many rows takes them in this order, too: so nobody waits for somebody who waits for him.
        order = sorted(range(len(asked)), key=lambda at: str(asked[at][1].get("of_id")))
        answers: list[Any] = [None] * len(asked)
        committing = False
        try:
            async with self._database.transaction() as connection:
                for at in order:
                    answers[at] = _answer(await connection.execute(*asked[at]))
                committing = True
        except Exception:
            if committing:
                raise
            # Nothing was written. What one of them stumbled over is not the others' trouble.
            return await asyncio.gather(*(self._alone(*each) for each in asked), return_exceptions=True)
        return answers

    async def _alone(self, statement: Executable, values: Mapping[str, Any]) -> Any:
        async with self._database.statements() as connection:
            return _answer(await connection.execute(statement, values))


def _answer(result: CursorResult[Any]) -> Any:
    """The row that a statement returned, or None; of one that returns none, how many it changed."""
    if not result.returns_rows:
        return result.rowcount
    found = result.mappings().one_or_none()
    return None if found is None else dict(found)


def _claim(lease_end: Any, *, marked: bool) -> Update:
    lapsed = and_(row.status == Status.SENDING, row.lease_until < now(), row.crashes + 1 < CRASHES_ALLOWED)
    whose = row.marked_at.is_not(None) if marked else row.marked_at.is_(None)
    free = and_(row.status.in_(WAITING), row.next_at <= now())
    crashed = case((row.status == Status.SENDING, 1), else_=0)
    columns = [row[field.name] for field in fields(Claim) if field.name not in _BESIDES]
    return (
        update(reminders)
        .where(row.id == bindparam("of_id"), row.rev == bindparam("of_rev"), or_(free, and_(lapsed, whose)))
        .values(
            status=Status.SENDING,
            fence=row.fence + 1,
            attempt=row.attempt + 1,
            crashes=row.crashes + crashed,
            ambiguous=row.ambiguous + case((row.marked_at.is_not(None), 1), else_=0),
            first_tried_at=func.coalesce(row.first_tried_at, now()),
            lease_until=lease_end,
            marked_at=None,
            updated_at=now(),
            timeline=noted(
                ', "attempt": ', sql_cast(row.attempt + 1, Text), case((crashed == 1, ', "after_loss": true'), else_="")
            ),
        )
        .returning(*columns, type_coerce(now(), Instant).label("claimed_at"))
    )


def _ms(span: timedelta) -> int:
    return round(span.total_seconds() * 1000)


_people: Final = cast(Table, Person.__table__)  # type: ignore[attr-defined]
_consents: Final = cast(Table, Consent.__table__)  # type: ignore[attr-defined]
_reader: Final = _people.alias("reader")
_sender: Final = _people.alias("sender")
_is_reader: Final = _reader.c.mailbox == func.lower(row.recipient)
_hooks: Final = cast(Table, Hook.__table__)  # type: ignore[attr-defined]
_is_another: Final = _sender.c.mailbox != func.lower(bindparam("the_recipient", type_=Text))
_OWNER: Final = select(
    case((_is_another, _sender.c.address), else_=None).label("by"),
    and_(~_is_another, _sender.c.catch_up == CATCH_UP_ONE).label("catches_up"),
    exists().where(_hooks.c.owner == _sender.c.owner, _hooks.c.stopped_at.is_(None)).label("hooked"),
).where(_sender.c.owner == bindparam("of_owner"))


def _said(state: str) -> ColumnElement[bool]:
    """Whether the reader has said this to the sender."""
    said = _consents.join(_sender, _sender.c.id == _consents.c.sender_id)
    theirs = and_(_consents.c.recipient_id == _reader.c.id, _sender.c.owner == row.owner, _consents.c.state == state)
    return exists().select_from(said).where(theirs).correlate(_reader, reminders)


_unwilling: Final = or_(_reader.c.blocked_at.is_not(None), _said("refused"))
# Whoever has stopped all mail, or this sender's, gets none. Mails of our own ask for what a reminder needs: a confirmed
# address, and that it is the sender's own, or has agreed.
_welcome: Final = and_(
    ~exists().where(_is_reader, _unwilling).correlate(reminders),
    or_(
        bindparam("listed", type_=Boolean),
        row.kind != Kind.REMINDER,
        exists()
        .where(_is_reader, _reader.c.confirmed_at.is_not(None), or_(_reader.c.owner == row.owner, _said("agreed")))
        .correlate(reminders),
    ),
)
# What may have left already is finished all the same.
of_use: Final = or_(row.deadline_at.is_(None), row.deadline_at >= now(), row.ambiguous > 0)
_IS_WELCOME: Final = select(row.id).where(row.id == bindparam("of_id"), _welcome)
held: Final = and_(row.id == bindparam("of_id"), row.fence == bindparam("of_fence"), row.status == Status.SENDING)
# What becomes of the row by each verb; of those that it carries, the same (catch_up.py).
_over: Final = {"letter": None, "lease_until": None, "updated_at": now(), "timeline": noted()}
_SENT: Final = (
    update(reminders)
    .where(held)
    .values(
        status=Status.SENT,
        reason=None,
        accepted_at=now() - bindparam("ago", type_=Instant),
        smtp_reply=bindparam("the_reply"),
        **_over,
    )
    .returning(row.accepted_at, row.due_at)
)
# An outage of hours says the same thing every half minute: once is enough.
_said_before: Final = and_(bindparam("uncounted") == 1, func.coalesce(row.reason, "") == bindparam("the_reason"))
PUT_OFF: Final[Mapping[str, Any]] = {
    "status": Status.RETRYING,
    "reason": bindparam("the_reason"),
    "next_at": now() + bindparam("wait", type_=Instant),
    "attempt": row.attempt - bindparam("uncounted"),
    "ambiguous": row.ambiguous + bindparam("in_doubt"),
    "lease_until": None,
    "marked_at": None,
    "updated_at": now(),
    "timeline": case((_said_before, row.timeline), else_=noted()),
}
_PUT_OFF: Final = update(reminders).where(held).values(**PUT_OFF)
GIVE_BACK: Final[Mapping[str, Any]] = {
    "status": case((row.attempt > 1, Status.RETRYING), else_=Status.SCHEDULED),
    "attempt": row.attempt - 1,
    "lease_until": None,
    "updated_at": now(),
    "timeline": noted(),
}
_GIVE_BACK: Final = update(reminders).where(held, row.marked_at.is_(None)).values(**GIVE_BACK)
_END: Final = (
    update(reminders)
    .where(held)
    .values(status=bindparam("the_status"), reason=bindparam("the_reason"), smtp_reply=bindparam("the_reply"), **_over)
    .returning(row.id)
)
_SETTLE: Final = (
    update(reminders)
    .where(held, row.lease_until < now())
    .values(
        status=bindparam("the_status"),
        reason=bindparam("the_reason"),
        smtp_reply=bindparam("the_reply"),
        accepted_at=case((bindparam("the_status") == Status.SENT, row.marked_at), else_=None),
        **_over,
    )
    .returning(row.id)
)
_LOOK: Final = select(*row, type_coerce(now(), Instant).label("read_at")).where(row.id == bindparam("of_id"))
