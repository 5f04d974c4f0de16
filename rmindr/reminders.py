"""What may be done with a reminder: schedule, find, edit, cancel. Knows neither HTTP nor SMTP.

The row is the promise: it is committed before anything is answered. The job is its alarm clock: one quick try to set it,
whose failure changes nothing, because the feeder sets it too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Result, and_, bindparam, case, false, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from rmindr import drafts, series, times
from rmindr.alarms import Alarms
from rmindr.database import Database, now
from rmindr.drafts import Asked
from rmindr.errors import Changed, InvalidDraft, KeyReused, ReminderNotFound, TooLate
from rmindr.forms import Draft
from rmindr.gate import Asker, Gate
from rmindr.ledger import note, noted, reminders, row
from rmindr.models import WAITING, Kind, Reminder, Series, Status
from rmindr.rows import as_seen, fingerprint, new_row, overlaid, replanned, same_time

CHANGEABLE: Final = or_(
    row.status.in_((Status.UNCONFIRMED, *WAITING)),
    and_(row.status == Status.SENDING, row.marked_at.is_(None)),
)
# Whoever is about to send the old revision holds an old fence from here on.
REVISED: Final[Mapping[str, Any]] = {
    "rev": row.rev + 1,
    "fence": row.fence + 1,
    "attempt": 0,
    "crashes": 0,
    "ambiguous": 0,
    "reason": None,
    "queued_rev": None,
    "lease_until": None,
    "marked_at": None,
    "carried_by": None,
    "letter": None,
    "first_tried_at": None,
    "updated_at": now(),
    "timeline": noted(),
}
_CHANGE: Final = update(reminders).where(CHANGEABLE).values(**REVISED)
# An edit confirms nothing.
_EDITED: Final = case((row.status == Status.UNCONFIRMED, Status.UNCONFIRMED), else_=Status.SCHEDULED)
_INSERT: Final = insert(reminders).returning(*row)
# Whether a reminder is as whoever wants to change it has seen it.
Condition = Callable[[Reminder], bool]
_BY_KEY: Final = select(*row).where(row.owner == bindparam("of_owner"), row.idem_key == bindparam("of_key"))


class _Outrun(Exception):
    """Somebody else was faster: what was written beside the reminder is to be rolled back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Eyes:
    """Who looks: everybody on an open instance (`everything`), a person at their own, whoever has a link at one reminder."""

    owner: str | None = None
    only: UUID | None = None
    everything: bool = False

    @property
    def sees(self) -> ColumnElement[bool]:
        """The reminders that these eyes may see."""
        if self.everything:
            return row.kind == Kind.REMINDER
        theirs = [row.owner == self.owner] if self.owner else []
        linked = [row.id == self.only] if self.only is not None else []
        return and_(row.kind == Kind.REMINDER, or_(false(), *theirs, *linked))


class Reminders:
    """The reminders of one instance. `gate` says who may remind whom."""

    def __init__(
        self,
        database: Database,
        alarms: Alarms,
        gate: Gate,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._alarms = alarms
        self._gate = gate
        self._clock = clock

    def preview(self, asked: Asked, *, partial: bool = False) -> Draft:
        """What this request would become; nothing is stored. Raises InvalidDraft.

        `partial`: address and message may still be missing."""
        return drafts.draft(asked, clock=self._clock(), partial=partial)

    def distance(self, due_at: datetime) -> str:
        """How far off an instant is, in words."""
        return times.distance_in_words(due_at - self._clock())

    async def schedule(self, asked: Asked, asker: Asker, *, idem_key: str | None = None) -> Reminder | None:
        """Promise one mail at one instant; or keep it, unconfirmed, until somebody has agreed; or neither, which is None and
        is not to be told apart. The same `idem_key` with the same request answers the same reminder.

        Raises InvalidDraft, KeyReused, TooMany, StorageUnavailable."""
        owner = ""
        if idem_key is not None:
            owner = await self._gate.owner(asker, drafts.address_or_nothing(asked.to))
            if (known := await self._by_key(owner, idem_key, asked)) is not None:
                return known
        draft = self.preview(asked)
        try:
            # In three steps: a server that froze before the last of them stores nothing when it wakes, long after the 503.
            async with self._database.transaction() as connection:
                admission = await self._gate.admit(connection, asker, draft)
                if admission.status is None:
                    return None
                values = new_row(draft, admission.owner, admission.status, self._clock())
                if idem_key is not None:
                    values |= {"idem_key": idem_key, "idem_hash": fingerprint(asked)}
                if draft.repeats is not None:
                    values["series_id"] = await series.begin(connection, draft, admission.owner)
                reminder = _reminder((await connection.execute(_INSERT, values)).mappings().one())
        except IntegrityError:
            # The same key, a moment ago and on another connection.
            owner = await self._gate.owner(asker, draft.to)
            known = await self._by_key(owner, idem_key or "", asked)
            if known is None:
                raise
            return known
        for each in (reminder, *admission.mails):
            await self._alarms.set(each)
        return reminder

    async def copy(
        self, id: UUID, change: Asked, eyes: Eyes, asker: Asker, *, idem_key: str | None = None
    ) -> Reminder | None:
        """Another one like it, but for what is changed. Raises as `schedule`; ReminderNotFound."""
        seen = await self.find(id, eyes)
        return await self.schedule(overlaid(seen, change), asker, idem_key=idem_key)

    async def find(self, id: UUID, eyes: Eyes) -> Reminder:
        """The reminder. Raises ReminderNotFound, for those who may not see it, too; StorageUnavailable."""
        async with self._database.statements() as connection:
            reminder = one(await connection.execute(select(*row).where(row.id == id, eyes.sees)))
        if reminder is None:
            raise ReminderNotFound
        return reminder

    async def newest(
        self, eyes: Eyes, *, status: Status | None = None, before: UUID | None = None, limit: int = 50
    ) -> Sequence[Reminder]:
        """A page of reminders, newest first, beginning after the one with id `before`. Raises StorageUnavailable."""
        conditions = [eyes.sees]
        if status is not None:
            conditions.append(row.status == status)
        if before is not None:
            conditions.append(row.id < before)
        statement = select(*row).where(*conditions).order_by(row.id.desc()).limit(limit)
        async with self._database.statements() as connection:
            return [_reminder(found) for found in (await connection.execute(statement)).mappings()]

    async def edit(
        self,
        id: UUID,
        change: Asked,
        eyes: Eyes,
        asker: Asker,
        *,
        following: bool = False,
        only_if: Condition | None = None,
    ) -> Reminder:
        """Change what is given; the old version is never sent after this returns. Another address must agree anew.

        `following`: of what repeats, this one and all that follow. `only_if` holds of what is changed, not of what was
        looked at a moment before.
        Raises InvalidDraft, ReminderNotFound, TooLate, Changed, TooMany, StorageUnavailable."""
        while True:
            seen = await self._seen(id, eyes, only_if)
            held = await self._series_of(seen, change, following=following)
            draft = self._changed(seen, change, held)
            values = {
                "recipient": draft.to,
                "subject": draft.subject,
                "message": draft.message,
                "due_at": draft.due_at,
                "next_at": draft.due_at,
                "time_zone": draft.time_zone,
                **replanned(seen, change, draft),
            }
            if draft.repeats is not None:
                values["occurrence"] = draft.repeats.start.isoformat()
            mails: Sequence[Reminder] = ()
            try:
                async with self._database.transaction() as connection:
                    if held is not None:
                        locked = await series.hold(connection, held.id)
                        if locked is None or locked.rev != held.rev or locked.next_wall != held.next_wall:
                            continue
                        await series.change(connection, held, series.restated(held, draft))
                    # An edit confirms nothing; only another address is asked about anew.
                    status: Any = _EDITED
                    if draft.to != seen.recipient:
                        admission = await self._gate.admit(connection, asker, draft)
                        if admission.owner != seen.owner or admission.status is None:
                            raise InvalidDraft(
                                {"to": "cannot be changed here; make a new reminder for the other address"}
                            )
                        status, mails = admission.status, admission.mails
                    edited = await self._change(connection, seen, "edited", values | {"status": status}, only_if)
                    if edited is None:
                        raise _Outrun
            except _Outrun:
                await self._require_changeable(seen, eyes)
                continue
            await self._alarms.forget(seen)
            for each in (edited, *mails):
                await self._alarms.set(each)
            return edited

    async def cancel(self, id: UUID, eyes: Eyes, *, only_if: Condition | None = None) -> Reminder:
        """Never send it; once this has returned, it will not be. Of what repeats, the next one stands then.

        What is cancelled already is as it should be, whatever `only_if` says: the answer to the first try may be lost.
        Raises ReminderNotFound, TooLate, Changed, StorageUnavailable."""
        while True:
            seen = await self.find(id, eyes)
            if seen.status == Status.CANCELLED:
                return seen
            _require(seen, only_if)
            async with self._database.transaction() as connection:
                held = await series.hold(connection, seen.series_id) if seen.series_id is not None else None
                cancelled = await self._change(connection, seen, "cancelled", {"status": Status.CANCELLED}, only_if)
                if cancelled is not None:
                    await series.follow(connection, held, unconfirmed=seen.status == Status.UNCONFIRMED)
            if cancelled is not None:
                await self._alarms.forget(seen)
                return cancelled
            await self._require_changeable(seen, eyes)

    async def stop(self, id: UUID, eyes: Eyes, *, only_if: Condition | None = None) -> Reminder:
        """Of what repeats, cancel this one and all that follow. Raises as `cancel`; where it does not repeat, it is that."""
        seen = await self.find(id, eyes)
        if seen.series_id is None:
            return await self.cancel(id, eyes, only_if=only_if)
        if only_if is not None and not only_if(seen):
            raise Changed
        standing = row.series_id == seen.series_id
        async with self._database.transaction() as connection:
            held = await series.hold(connection, seen.series_id)
            if only_if is not None:
                # Writes nothing, but nobody else changes it now until the transaction ends.
                locked = update(reminders).where(row.id == id, as_seen(seen)).values(rev=row.rev)
                if not (await connection.execute(locked)).rowcount:
                    raise Changed
            if held is not None and held.state == series.ACTIVE:
                await series.change(connection, held, {"state": series.CANCELLED, "next_wall": None})
            stopped = _CHANGE.where(standing).values(status=Status.CANCELLED).returning(*row)
            found = (await connection.execute(stopped, {"note": note("cancelled")})).mappings().all()
        for each in found:
            # The alarm is that of the revision before.
            await self._alarms.forget(Reminder(**{**each, "rev": each["rev"] - 1}))
        return await self.find(id, eyes)

    async def standing(self, id: UUID) -> UUID | None:
        """Of this reminder, or of what repeats with it, the one that is to come; None where none is. Raises
        StorageUnavailable."""
        its = select(row.series_id).where(row.id == id).scalar_subquery()
        together = or_(row.id == id, row.series_id == its)
        to_come = select(row.id).where(together, row.kind == Kind.REMINDER, CHANGEABLE).order_by(row.due_at).limit(1)
        async with self._database.statements() as connection:
            return (await connection.execute(to_come)).scalar_one_or_none()

    async def resume(self, id: UUID, rev: int, eyes: Eyes) -> Reminder:
        """Take a `stop` back: it stands again, and so do all that follow, if nothing happened to it since that revision.

        Raises ReminderNotFound, TooLate, StorageUnavailable."""
        seen = await self.find(id, eyes)
        mine = and_(row.id == id, eyes.sees, row.rev == rev, row.status == Status.CANCELLED, row.due_at > now())
        values = {**REVISED, "status": Status.SCHEDULED, "next_at": row.due_at}
        async with self._database.transaction() as connection:
            held = await series.hold(connection, seen.series_id) if seen.series_id is not None else None
            statement = update(reminders).where(mine).values(**values).returning(*row)
            resumed = one(await connection.execute(statement, {"note": note("restored")}))
            if resumed is not None and held is not None and held.state == series.CANCELLED:
                await series.change(connection, held, {"state": series.ACTIVE, "next_wall": resumed.occurrence})
        if resumed is None:
            raise TooLate(seen.status)
        await self._alarms.set(resumed)
        return resumed

    async def series_of(self, reminder: Reminder) -> Series | None:
        """What it is an occurrence of; None where it is of nothing. Raises StorageUnavailable."""
        if reminder.series_id is None:
            return None
        async with self._database.statements() as connection:
            return await series.find(connection, reminder.series_id)

    async def _series_of(self, seen: Reminder, change: Asked, *, following: bool) -> Series | None:
        """The series that an edit is of, too; None where it is of this one alone. Raises InvalidDraft."""
        if not following and change.repeat is not None:
            raise InvalidDraft({"repeat": "is about all that follow, and this change is of one alone"})
        if not following:
            return None
        held = await self.series_of(seen)
        if held is None or held.state != series.ACTIVE or held.next_wall != seen.occurrence:
            raise InvalidDraft({"": "is not the one that comes next; change that one, and all that follow it"})
        return held

    async def _seen(self, id: UUID, eyes: Eyes, only_if: Condition | None) -> Reminder:
        seen = await self.find(id, eyes)
        _require(seen, only_if)
        return seen

    async def _change(
        self,
        connection: AsyncConnection,
        seen: Reminder,
        event: str,
        values: dict[str, Any],
        only_if: Condition | None = None,
    ) -> Reminder | None:
        """A new revision; None where it has changed since it was seen, or cannot be changed."""
        # An attempt that failed meanwhile is nothing to an edit, unless somebody has said that it is.
        same = row.rev == seen.rev if only_if is None else as_seen(seen)
        statement = _CHANGE.where(row.id == seen.id, same).values(**values)
        return one(await connection.execute(statement.returning(*row), {"note": note(event)}))

    async def _require_changeable(self, seen: Reminder, eyes: Eyes) -> None:
        """After a change that was refused: whether it is worth another look. Raises TooLate, ReminderNotFound."""
        current = await self.find(seen.id, eyes)
        if current.rev == seen.rev and not _is_changeable(current):
            raise TooLate(current.status)

    def _changed(self, seen: Reminder, change: Asked, held: Series | None) -> Draft:
        """The draft that the reminder becomes. An instant that is not changed may have passed already."""
        # How it repeats is said by `repeat` alone here.
        asked = overlaid(seen, replace(change, until=None, count=None, from_completion=None, missed=None))
        if held is not None and change.repeat is None and (change.when is not None or change.due_at is not None):
            asked = replace(asked, repeat=str(series.what_is_left(held)))
        clock = self._clock()
        if same_time(change):
            clock = min(clock, seen.due_at - timedelta(milliseconds=1))
        return drafts.draft(asked, clock=clock)

    async def _by_key(self, owner: str, idem_key: str, asked: Asked) -> Reminder | None:
        async with self._database.statements() as connection:
            known = one(await connection.execute(_BY_KEY, {"of_owner": owner, "of_key": idem_key}))
        if known is not None and known.idem_hash != fingerprint(asked):
            raise KeyReused
        return known


def _require(seen: Reminder, only_if: Condition | None) -> None:
    """Whether it may be changed, and is as somebody wants it to be. Raises TooLate, Changed."""
    if only_if is None:
        return
    # That it cannot be changed at all says more than that it is another one now (RFC 9110, 13.2.1).
    if not _is_changeable(seen):
        raise TooLate(seen.status)
    if not only_if(seen):
        raise Changed


def _is_changeable(reminder: Reminder) -> bool:
    """As CHANGEABLE has it: what was refused a moment ago may have been put off since."""
    if reminder.status == Status.SENDING:
        return reminder.marked_at is None
    return reminder.status in (Status.UNCONFIRMED, *WAITING)


def one(result: Result[Any]) -> Reminder | None:
    """The reminder that was found or changed, if one was."""
    found = result.mappings().one_or_none()
    return None if found is None else _reminder(found)


def _reminder(found: Any) -> Reminder:
    return Reminder(**found)
