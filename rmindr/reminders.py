"""What may be done with a reminder: schedule, find, edit, cancel. Knows neither HTTP nor SMTP.

The row is the promise: it is committed before anything is answered. The job is its alarm clock: one quick try to set it,
whose failure changes nothing, because the feeder sets it too.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Result, and_, bindparam, case, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from rmindr import drafts, times
from rmindr.database import Database, now
from rmindr.drafts import Asked
from rmindr.errors import InvalidDraft, KeyReused, ReminderNotFound, TooLate
from rmindr.ledger import note, noted, reminders, row
from rmindr.models import WAITING, Draft, Reminder, Status, new_id
from rmindr.queue import NewJob, Queue, QueueError

# Longer would keep the person waiting for something that the feeder does as well.
_QUICK: Final = 0.8
# The reminder's own clock decides how often; this only keeps the queue from giving up first.
_ATTEMPTS: Final = 1_000_000
_CHANGEABLE: Final = or_(
    row.status.in_((Status.UNCONFIRMED, *WAITING)),
    and_(row.status == Status.SENDING, row.marked_at.is_(None)),
)
# Whoever is about to send the old revision holds an old fence from here on.
_CHANGE: Final = (
    update(reminders)
    .where(_CHANGEABLE)
    .values(
        rev=row.rev + 1,
        fence=row.fence + 1,
        attempt=0,
        crashes=0,
        ambiguous=0,
        reason=None,
        queued_rev=None,
        lease_until=None,
        marked_at=None,
        letter=None,
        first_tried_at=None,
        updated_at=now(),
        timeline=noted(),
    )
)
# An edit confirms nothing.
_EDITED: Final = case((row.status == Status.UNCONFIRMED, Status.UNCONFIRMED), else_=Status.SCHEDULED)
_INSERT: Final = insert(reminders).returning(*row)
_FIND: Final = select(*row).where(row.id == bindparam("of_id"))
_BY_KEY: Final = select(*row).where(row.owner == bindparam("of_owner"), row.idem_key == bindparam("of_key"))


class Reminders:
    """The reminders of one instance. `may_write_to` says which addresses are allowed at all."""

    def __init__(
        self,
        database: Database,
        queue: Queue,
        *,
        may_write_to: Callable[[str], bool],
        feed_window: timedelta,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._queue = queue
        self._may_write_to = may_write_to
        self._feed_window = feed_window
        self._clock = clock

    def preview(self, asked: Asked, *, partial: bool = False) -> Draft:
        """What this request would become; nothing is stored. Raises InvalidDraft.

        `partial`: address and message may still be missing."""
        draft = drafts.draft(asked, clock=self._clock(), partial=partial)
        if draft.to:
            self._require_allowed(draft.to)
        return draft

    def distance(self, due_at: datetime) -> str:
        """How far off an instant is, in words."""
        return times.distance_in_words(due_at - self._clock())

    async def schedule(self, asked: Asked, *, owner: str = "", idem_key: str | None = None) -> Reminder:
        """Promise one mail at one instant. The same `idem_key` with the same request answers the same reminder.

        Raises InvalidDraft, KeyReused, StorageUnavailable."""
        if idem_key is not None and (known := await self._by_key(owner, idem_key, asked)) is not None:
            return known
        draft = self.preview(asked)
        clock = self._clock()
        values = {
            "id": new_id(),
            "rev": 1,
            "owner": owner,
            "status": Status.SCHEDULED,
            "recipient": draft.to,
            "subject": draft.subject,
            "message": draft.message,
            "due_at": draft.due_at,
            "next_at": draft.due_at,
            "time_zone": draft.time_zone,
            "created_at": clock,
            "updated_at": clock,
            "idem_key": idem_key,
            "idem_hash": _fingerprint(asked) if idem_key is not None else None,
            "timeline": _created(clock),
        }
        try:
            # In three steps: a server that froze before the last of them stores nothing when it wakes, long after the 503.
            async with self._database.transaction() as connection:
                reminder = _reminder((await connection.execute(_INSERT, values)).mappings().one())
        except IntegrityError:
            # The same key, a moment ago and on another connection.
            known = await self._by_key(owner, idem_key or "", asked)
            if known is None:
                raise
            return known
        await self._set_alarm(reminder)
        return reminder

    async def find(self, id: UUID) -> Reminder:
        """The reminder. Raises ReminderNotFound, StorageUnavailable."""
        async with self._database.statements() as connection:
            reminder = _one(await connection.execute(_FIND, {"of_id": id}))
        if reminder is None:
            raise ReminderNotFound
        return reminder

    async def newest(
        self, *, owner: str = "", status: Status | None = None, before: UUID | None = None, limit: int = 50
    ) -> Sequence[Reminder]:
        """A page of reminders, newest first, beginning after the one with id `before`. Raises StorageUnavailable."""
        conditions = [row.owner == owner]
        if status is not None:
            conditions.append(row.status == status)
        if before is not None:
            conditions.append(row.id < before)
        statement = select(*row).where(*conditions).order_by(row.id.desc()).limit(limit)
        async with self._database.statements() as connection:
            return [_reminder(found) for found in (await connection.execute(statement)).mappings()]

    async def edit(self, id: UUID, change: Asked) -> Reminder:
        """Change what is given; the old version is never sent after this returns.

        Raises InvalidDraft, ReminderNotFound, TooLate, StorageUnavailable."""
        while True:
            seen = await self.find(id)
            draft = self._changed(seen, change)
            values = {
                "status": _EDITED,
                "recipient": draft.to,
                "subject": draft.subject,
                "message": draft.message,
                "due_at": draft.due_at,
                "next_at": draft.due_at,
                "time_zone": draft.time_zone,
            }
            edited = await self._change(seen, "edited", values)
            if edited is not None:
                await self._forget_alarm(seen)
                await self._set_alarm(edited)
                return edited

    async def cancel(self, id: UUID) -> Reminder:
        """Never send it; once this has returned, it will not be. Raises ReminderNotFound, TooLate, StorageUnavailable."""
        while True:
            seen = await self.find(id)
            if seen.status == Status.CANCELLED:
                return seen
            cancelled = await self._change(seen, "cancelled", {"status": Status.CANCELLED})
            if cancelled is not None:
                await self._forget_alarm(seen)
                return cancelled

    async def _change(self, seen: Reminder, event: str, values: dict[str, Any]) -> Reminder | None:
        """A new revision; None where it has changed since it was seen. Raises TooLate, ReminderNotFound."""
        statement = _CHANGE.where(row.id == seen.id, row.rev == seen.rev).values(**values)
        async with self._database.statements() as connection:
            changed = _one(await connection.execute(statement.returning(*row), {"note": note(event)}))
        if changed is None:
            current = await self.find(seen.id)
            if current.rev == seen.rev and not _is_changeable(current):
                raise TooLate(current.status)
        return changed

    def _changed(self, seen: Reminder, change: Asked) -> Draft:
        """The draft that the reminder becomes. An instant that is not changed may have passed already."""
        same_time = change.due_at is None and change.when is None and change.time_zone is None
        if change.due_at is not None or change.when is not None:
            due_at, when = change.due_at, change.when
        else:
            due_at, when = seen.due_at.isoformat(), None
        automatic = drafts.subject_from(seen.message) == seen.subject
        asked = Asked(
            to=change.to if change.to is not None else seen.recipient,
            subject=change.subject if change.subject is not None else (None if automatic else seen.subject),
            message=change.message if change.message is not None else seen.message,
            due_at=due_at,
            when=when,
            time_zone=change.time_zone if change.time_zone is not None else seen.time_zone,
            fold=change.fold,
        )
        clock = self._clock()
        draft = drafts.draft(asked, clock=min(clock, seen.due_at - timedelta(milliseconds=1)) if same_time else clock)
        self._require_allowed(draft.to)
        return draft

    def _require_allowed(self, address: str) -> None:
        if not self._may_write_to(address):
            raise InvalidDraft({"to": "is not among the addresses that this service may write to"})

    async def _by_key(self, owner: str, idem_key: str, asked: Asked) -> Reminder | None:
        async with self._database.statements() as connection:
            known = _one(await connection.execute(_BY_KEY, {"of_owner": owner, "of_key": idem_key}))
        if known is not None and known.idem_hash != _fingerprint(asked):
            raise KeyReused
        return known

    async def _set_alarm(self, reminder: Reminder) -> None:
        if reminder.status != Status.SCHEDULED or reminder.due_at - self._clock() > self._feed_window:
            return
        with contextlib.suppress(QueueError, TimeoutError):
            async with asyncio.timeout(_QUICK):
                await self._queue.lifecycle.create(alarm(reminder.id, reminder.rev, reminder.next_at))

    async def _forget_alarm(self, seen: Reminder) -> None:
        """Best effort: a job of an old revision finds nothing to do when its time comes."""
        with contextlib.suppress(QueueError, TimeoutError):
            async with asyncio.timeout(_QUICK):
                (job_id,) = await self._queue.jobs.find([unique_key(seen.id, seen.rev)])
                if job_id is not None:
                    await self._queue.remove(job_id)


def alarm(id: UUID, rev: int, at: datetime | timedelta) -> NewJob:
    """The job of one revision: ids only, since what stands in Redis is in the clear; once per revision."""
    return NewJob(
        type="email",
        data={"title": f"Reminder {id}", "id": str(id), "rev": rev},
        delay=at,
        attempts=_ATTEMPTS,
        remove_on_complete=True,
        unique=unique_key(id, rev),
    )


def unique_key(id: UUID, rev: int) -> str:
    """The queue's unique key of one revision of one reminder."""
    return f"reminder:{id}:{rev}"


def _is_changeable(reminder: Reminder) -> bool:
    """As _CHANGEABLE has it: what was refused a moment ago may have been put off since."""
    if reminder.status == Status.SENDING:
        return reminder.marked_at is None
    return reminder.status in (Status.UNCONFIRMED, *WAITING)


def _fingerprint(asked: Asked) -> str:
    fields = [asked.to, asked.subject, asked.message, asked.due_at, asked.when, asked.time_zone, asked.fold]
    return hashlib.sha256(json.dumps(fields).encode()).hexdigest()


def _created(clock: datetime) -> str:
    return json.dumps({"at": int(clock.timestamp() * 1000), "event": "created"}) + "\n"


def _one(result: Result[Any]) -> Reminder | None:
    found = result.mappings().one_or_none()
    return None if found is None else _reminder(found)


def _reminder(found: Any) -> Reminder:
    return Reminder(**found)
