"""What may be done with a reminder instead of waiting, or once its mail has come: done, again later, now; and taken back.

Each act is one statement that judges by itself whether it may happen, as an edit is: against the mark, and against others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, and_, case, or_, update

from rmindr import moments, series, times
from rmindr.alarms import Alarms
from rmindr.database import Database, now
from rmindr.errors import InvalidDraft, ReminderNotFound, TooLate
from rmindr.gate import Asker, Gate
from rmindr.ledger import note, noted, reminders, row
from rmindr.models import Reminder, Status
from rmindr.reminders import CHANGEABLE, REVISED, Eyes, Reminders, one

# What came to an end by itself may begin again; what a person cancelled is taken back by `restore`.
_ENDED: Final = row.status.in_((Status.SENT, Status.FAILED, Status.MISSED, Status.UNCERTAIN))
_UNSENT: Final = and_(row.status.in_((Status.FAILED, Status.MISSED, Status.UNCERTAIN)))
_WAITS: Final = and_(CHANGEABLE, row.status != Status.UNCONFIRMED)
# Who has not agreed has not agreed to another time either.
_AGAIN: Final = case((row.status == Status.UNCONFIRMED, Status.UNCONFIRMED), else_=Status.SCHEDULED)


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

    async def again(self, id: UUID, until: datetime, eyes: Eyes, asker: Asker) -> Reminder:
        """Once more, then; or, where it has not left yet, only then.

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
        return await self.again(id, found.at, eyes, asker)

    async def send_now(self, id: UUID, eyes: Eyes, asker: Asker) -> Reminder:
        """Without waiting for its time; or, where it was not sent, once more.

        Raises ReminderNotFound, TooLate, TooMany, StorageUnavailable."""
        return await self._plan(id, self._clock(), eyes, asker, or_(_WAITS, _UNSENT), "now")

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
    ) -> Reminder:
        seen = await self._books.find(id, eyes)
        values = {**REVISED, "status": _AGAIN, "due_at": at, "next_at": at, "done_at": None}
        values |= {"accepted_at": None, "smtp_reply": None}
        statement = update(reminders).where(row.id == id, eyes.sees, may).values(**values).returning(*row)
        async with self._database.transaction() as connection:
            await self._gate.count(connection, asker)
            changed = one(await connection.execute(statement, {"note": note(event)}))
        if changed is None:
            raise await self._refusal(id, eyes)
        await self._alarms.forget(seen)
        await self._alarms.set(changed)
        return changed

    async def _do(self, statement: Any, id: UUID, eyes: Eyes, facts: dict[str, Any]) -> Reminder | None:
        mine = statement.where(row.id == id, eyes.sees).returning(*row)
        async with self._database.statements() as connection:
            return one(await connection.execute(mine, facts))

    async def _refusal(self, id: UUID, eyes: Eyes) -> TooLate | ReminderNotFound:
        """Why it may not be. Raises ReminderNotFound."""
        return TooLate((await self._books.find(id, eyes)).status)
