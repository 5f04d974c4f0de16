"""What may be done with a reminder instead of waiting, or once its mail has come: done, again later, now; and taken back.

Each act is one statement that judges by itself whether it may happen, as an edit is: against the mark, and against others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, and_, case, false, or_, update

from rmindr import moments, series, times
from rmindr.alarms import Alarms
from rmindr.database import Database, from_ms, now, to_ms
from rmindr.errors import InvalidDraft, ReminderNotFound, TooLate
from rmindr.gate import Asker, Gate
from rmindr.ledger import note, noted, reminders, row
from rmindr.models import WAITING, Reminder, Status
from rmindr.reminders import CHANGEABLE, REVISED, Eyes, Reminders, one

# What came to an end by itself may begin again; what a person cancelled is taken back by `restore`.
_ENDED: Final = row.status.in_((Status.SENT, Status.FAILED, Status.MISSED, Status.UNCERTAIN))
_UNSENT: Final = and_(row.status.in_((Status.FAILED, Status.MISSED, Status.UNCERTAIN)))
_WAITS: Final = and_(CHANGEABLE, row.status != Status.UNCONFIRMED)
# Who has not agreed has not agreed to another time either.
_AGAIN: Final = case((row.status == Status.UNCONFIRMED, Status.UNCONFIRMED), else_=Status.SCHEDULED)

# What putting a reminder off changes of it, and taking that back restores.
_SHARED: Final = ("due_at", "accepted_at", "done_at", "wall", "fold", "zone_rules")


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What a reminder was before it was put off, so that this can be taken back: all that a row has of it, but for a done
    or a cancel, which are not put off."""

    status: Status
    due_at: datetime
    accepted_at: datetime | None
    done_at: datetime | None
    # The clock that was meant.
    wall: str | None
    fold: int
    zone_rules: str

    @classmethod
    def of(cls, seen: Reminder) -> Before:
        """What this reminder is."""
        return cls(status=Status(seen.status), **{name: getattr(seen, name) for name in _SHARED})

    def facts(self) -> Sequence[str]:
        """As a link keeps it."""
        moments = (self.due_at, self.accepted_at, self.done_at)
        clock = (self.wall or "", str(self.fold), self.zone_rules)
        return (self.status, *clock, *("" if at is None else str(to_ms(at)) for at in moments))

    @classmethod
    def read(cls, facts: Sequence[str]) -> Before:
        """What `facts` said. Raises ValueError."""
        status, wall, fold, zone_rules, due_at, *others = facts
        accepted_at, done_at = (from_ms(int(ms)) if ms else None for ms in others)
        return cls(
            status=Status(status),
            due_at=from_ms(int(due_at)),
            accepted_at=accepted_at,
            done_at=done_at,
            wall=wall or None,
            fold=int(fold),
            zone_rules=zone_rules,
        )


class Afterwards:
    """Acts on the reminders of one instance."""

    def __init__(
        self,
        database: Database,
        alarms: Alarms,
        gate: Gate,
        books: Reminders,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._alarms = alarms
        self._gate = gate
        self._books = books
        self._clock = clock

    async def done(self, id: UUID, eyes: Eyes) -> Reminder:
        """It is done: what has come is put away, what was to come does not. Harmless to say twice.

        Raises ReminderNotFound, TooLate, StorageUnavailable."""
        seen = await self._books.find(id, eyes)
        if seen.done_at is not None:
            return seen
        facts = {"note": note("done")}
        put_away = {"done_at": now(), "updated_at": now(), "timeline": noted()}
        stopped = {**REVISED, "status": Status.CANCELLED, "done_at": now()}
        async with self._database.transaction() as connection:
            held = await series.hold(connection, seen.series_id) if seen.series_id is not None else None
            changed = None
            for may, values in ((_ENDED, put_away), (CHANGEABLE, stopped)):
                statement = update(reminders).where(row.id == id, eyes.sees, may).values(**values).returning(*row)
                changed = changed or one(await connection.execute(statement, facts))
            if changed is not None:
                await series.follow(connection, held, unconfirmed=seen.status == Status.UNCONFIRMED)
        if changed is None:
            raise await self._refusal(id, eyes)
        await self._alarms.forget(seen)
        return changed

    async def again(self, id: UUID, until: datetime, eyes: Eyes, asker: Asker) -> tuple[Before, Reminder]:
        """Once more, then; or, where it has not left yet, only then. Answers what it was, too: see `as_before`.

        Raises InvalidDraft where that is no time to come, ReminderNotFound, TooLate, TooMany, StorageUnavailable."""
        if not self._clock() < until < self._clock() + times.HORIZON:
            raise InvalidDraft({"when": "must be a time to come"})
        return await self._plan(id, until, eyes, asker, or_(CHANGEABLE, _ENDED), "snoozed")

    async def snooze(self, id: UUID, until: str, eyes: Eyes, asker: Asker, *, fold: int | None = None) -> Reminder:
        """As `again`, until what a text says on the clock of its zone: an instant, a time, or words. Raises as `again`."""
        seen, clock = await self._books.find(id, eyes), self._clock()
        try:
            found = moments.moment(until, ZoneInfo(seen.time_zone), clock=clock, fold=fold)
        except times.BadTime as complaint:
            raise InvalidDraft({"until": str(complaint)}) from None
        if found.repeats is not None or not clock < found.at < clock + times.HORIZON:
            raise InvalidDraft({"until": "must be one time to come"})
        _, changed = await self.again(id, found.at, eyes, asker)
        return changed

    async def send_now(self, id: UUID, eyes: Eyes, asker: Asker) -> Reminder:
        """Without waiting for its time; or, where it was not sent, once more.

        Raises ReminderNotFound, TooLate, TooMany, StorageUnavailable."""
        _, changed = await self._plan(id, self._clock(), eyes, asker, or_(_WAITS, _UNSENT), "now")
        return changed

    async def as_before(self, id: UUID, rev: int, before: Before, eyes: Eyes) -> Reminder:
        """Take it back that it was put off, if nothing happened since that revision; what waited must be to come still.

        Raises ReminderNotFound, TooLate, StorageUnavailable."""
        waits = before.status in (Status.UNCONFIRMED, *WAITING)
        to_come = before.due_at > self._clock() if waits else True
        mine = and_(CHANGEABLE, row.rev == rev) if to_come else false()
        values = {
            **REVISED,
            "status": _AGAIN if waits else before.status,
            "next_at": before.due_at,
            **{name: getattr(before, name) for name in _SHARED},
        }
        seen = await self._books.find(id, eyes)
        statement = update(reminders).where(mine).values(**values)
        if (changed := await self._do(statement, id, eyes, {"note": note("restored")})) is None:
            raise await self._refusal(id, eyes)
        await self._alarms.forget(seen)
        if waits:
            await self._alarms.set(changed)
        return changed

    async def restore(self, id: UUID, rev: int, eyes: Eyes) -> Reminder:
        """Take a cancel back, or a «done», if nothing happened since that revision, and its time is to come.

        Raises ReminderNotFound, TooLate, StorageUnavailable."""
        facts = {"note": note("restored")}
        mine = and_(row.rev == rev, row.done_at.is_not(None), _ENDED)
        taken_out = update(reminders).where(mine).values(done_at=None, updated_at=now(), timeline=noted())
        if (changed := await self._do(taken_out, id, eyes, facts)) is not None:
            return changed
        mine = and_(row.rev == rev, row.status == Status.CANCELLED, row.due_at > now())
        waits = {**REVISED, "status": Status.SCHEDULED, "done_at": None, "next_at": row.due_at}
        if (changed := await self._do(update(reminders).where(mine).values(**waits), id, eyes, facts)) is None:
            raise await self._refusal(id, eyes)
        await self._alarms.set(changed)
        return changed

    async def _plan(
        self, id: UUID, at: datetime, eyes: Eyes, asker: Asker, may: ColumnElement[bool], event: str
    ) -> tuple[Before, Reminder]:
        seen = await self._books.find(id, eyes)
        values = {**REVISED, "status": _AGAIN, "due_at": at, "next_at": at, "done_at": None}
        values |= {"accepted_at": None, "smtp_reply": None}
        # No clock is meant any more: were the old one kept, new zone rules would take it back there.
        values |= {"wall": None, "fold": 0, "zone_rules": ""}
        while True:
            as_seen = and_(row.rev == seen.rev, row.status == seen.status)
            statement = update(reminders).where(row.id == id, eyes.sees, as_seen, may).values(**values).returning(*row)
            async with self._database.transaction() as connection:
                await self._gate.count(connection, asker)
                changed = one(await connection.execute(statement, {"note": note(event)}))
            if changed is not None:
                break
            current = await self._books.find(id, eyes)
            if (current.rev, current.status) == (seen.rev, seen.status):
                raise TooLate(current.status)
            seen = current
        await self._alarms.forget(seen)
        await self._alarms.set(changed)
        return Before.of(seen), changed

    async def _do(self, statement: Any, id: UUID, eyes: Eyes, facts: dict[str, Any]) -> Reminder | None:
        mine = statement.where(row.id == id, eyes.sees).returning(*row)
        async with self._database.statements() as connection:
            return one(await connection.execute(mine, facts))

    async def _refusal(self, id: UUID, eyes: Eyes) -> TooLate | ReminderNotFound:
        """Why it may not be. Raises ReminderNotFound."""
        return TooLate((await self._books.find(id, eyes)).status)
