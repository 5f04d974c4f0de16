"""SQL → Redis: every reminder that is due soon has its alarm clock, whatever has happened to Redis.

    sweep     every 5 s    rows that are not known to be queued; rows that are overdue though nobody has them
    audit     every 30 s   do the jobs of the rows that are due soon still exist?
    epoch     every sweep  is this still the Redis that was filled?  If not: fill it anew, soonest due first
    direct    while Redis is away: deliver what is due straight from SQL

All of it may run in several processes at once: creating a job twice makes one, and delivering a reminder twice delivers one.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy import and_, bindparam, case, or_, select, update

from rmindr.alarms import alarm, unique_key
from rmindr.database import Database, now
from rmindr.errors import StorageUnavailable
from rmindr.facts import EPOCH, HIGHEST_JOB_ID, Facts
from rmindr.ledger import reminders, row
from rmindr.models import WAITING, Status
from rmindr.queue import Queue, QueueUnavailable, Refused, State
from rmindr.queue.scripts import unavailable

log = structlog.get_logger(__name__)

_BATCH: Final = 500
_AUDITED_AT_ONCE: Final = 2000
# In these a job will come up by itself. One that somebody ended otherwise than we do still holds its unique key.
_LIVING: Final = (State.DELAYED, State.INACTIVE, State.ACTIVE)
# What was given in the seconds before Redis was emptied, and not heard of here: so many ids are passed over.
_IDS_UNHEARD_OF: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often the feeder looks, and how far ahead."""

    window: timedelta = timedelta(hours=24)
    sweep: timedelta = timedelta(seconds=5)
    audit: timedelta = timedelta(seconds=30)
    # A row this late that nobody has claimed has lost its alarm clock.
    overdue: timedelta = timedelta(seconds=5)
    # What is due before this is looked at down to the job's own state.
    soon: timedelta = timedelta(minutes=10)
    ambiguous_wait: timedelta = timedelta(seconds=120)
    direct_at_once: int = 10


@dataclass(frozen=True, slots=True)
class Due:
    """One revision and when its next attempt is due."""

    id: UUID
    rev: int
    next_at: datetime


class Feeder:
    """Keeps one queue filled from one database. `deliver` sends one reminder, for the times when there is no queue."""

    def __init__(
        self,
        database: Database,
        queue: Queue,
        deliver: Callable[[UUID, int], Coroutine[Any, Any, Any]],
        paused: Callable[[], bool],
        pace: Pace,
        besides: Sequence[Callable[[], Coroutine[Any, Any, Any]]] = (),
    ) -> None:
        self._database = database
        self._queue = queue
        self._facts = Facts(database)
        self._deliver = deliver
        self._paused = paused
        self._pace = pace
        # What else is looked after in the database, as often as the audit is.
        self._besides = besides
        self._epoch_key = f"{queue.keys.prefix}:epoch"
        self._epoch = ""
        self._highest_id = 0
        self._audited_up_to: Due | None = None
        self._next_audit = 0.0
        self._next_look = 0.0
        self._direct = False

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                await self._look_after()
                try:
                    await self.sweep()
                    self._now_direct(False)
                except QueueUnavailable:
                    self._now_direct(True)
                    await self.deliver_due()
            except StorageUnavailable as error:
                log.warning("database away", why=str(error))
            except Exception:
                # One bad row or answer must not end the sweeping of all others.
                log.exception("sweep failed")
            pause = self._pace.sweep.total_seconds() / (5 if self._direct else 1)
            await asyncio.sleep(pause * random.uniform(0.9, 1.1))

    async def sweep(self) -> None:
        """One round. Raises QueueUnavailable, StorageUnavailable."""
        await self._check_epoch()
        while fed := await self._feed():
            log.info("queued", reminders=fed)
            if fed < _BATCH:
                break
        if not self._paused():
            await self._wake_overdue()
        if time.monotonic() >= self._next_audit:
            self._next_audit = time.monotonic() + self._pace.audit.total_seconds()
            await self._audit()

    async def _look_after(self) -> None:
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + self._pace.audit.total_seconds()
            for each in self._besides:
                await each()

    async def deliver_due(self) -> None:
        """Deliver what is due without the queue, a few at a time."""
        if self._paused():
            return
        due = and_(row.status.in_(WAITING), row.next_at <= now())
        lapsed = and_(row.status == Status.SENDING, row.lease_until < now())
        found = await self._select(or_(due, lapsed), limit=_BATCH)
        for start in range(0, len(found), self._pace.direct_at_once):
            if self._paused():
                return
            async with asyncio.TaskGroup() as group:
                for each in found[start : start + self._pace.direct_at_once]:
                    group.create_task(self._deliver(each.id, each.rev))

    async def _feed(self) -> int:
        """Queue rows that are not known to be queued and are due inside the window; answers how many there were."""
        unqueued = and_(
            row.queued_rev.is_(None), row.status.in_(WAITING), row.next_at <= now() + _ms(self._pace.window)
        )
        due = await self._select(unqueued, limit=_BATCH)
        await self._set_alarms(due)
        return len(due)

    async def _set_alarms(self, due: Sequence[Due]) -> None:
        if not due:
            return
        jobs = await self._queue.create_many([alarm(each.id, each.rev, each.next_at) for each in due])
        statement = (
            update(reminders)
            .where(row.id == bindparam("of_id"), row.rev == bindparam("of_rev"))
            .values(queued_rev=bindparam("of_rev"), job_id=bindparam("as_job"))
        )
        noted = [{"of_id": each.id, "of_rev": each.rev, "as_job": job.id} for each, job in zip(due, jobs, strict=True)]
        # In the order in which the ledger takes rows, so that neither waits for the other for ever.
        noted.sort(key=lambda each: str(each["of_id"]))
        async with self._database.transaction() as connection:
            await connection.execute(statement, noted)
        highest = max(job.id for job in jobs)
        if highest > self._highest_id:
            self._highest_id = highest
            await self._facts.raise_to(HIGHEST_JOB_ID, highest)

    async def _wake_overdue(self) -> None:
        """What is late and in nobody's hands gets a job that is due now; a job that waits or runs is left alone."""
        late = now() - _ms(self._pace.overdue)
        waiting = and_(row.status.in_(WAITING), row.next_at < late)
        grace = case((row.marked_at.is_not(None), _ms(self._pace.ambiguous_wait)), else_=0)
        lapsed = and_(row.status == Status.SENDING, row.lease_until + grace < late)
        overdue = await self._select(or_(waiting, lapsed), limit=_BATCH)
        if not overdue:
            return
        jobs = await self._queue.create_many([alarm(each.id, each.rev, timedelta(0)) for each in overdue])
        for job in jobs:
            if job.state is State.DELAYED:
                with contextlib.suppress(Refused):
                    await self._queue.update(job.id, delay=timedelta(0))
        if any(job.state is State.INACTIVE for job in jobs):
            # Its token may have died with whoever was woken by it.
            await self._queue.wake()
        log.warning("overdue", reminders=len(overdue))

    async def _audit(self) -> None:
        """Look for jobs that have vanished, soonest due first; the rest of the window a slice at a time."""
        queued = and_(row.status.in_(WAITING), row.queued_rev == row.rev)
        soon = await self._select(and_(queued, row.next_at <= now() + _ms(self._pace.soon)), limit=_AUDITED_AT_ONCE)
        later = and_(queued, row.next_at > now() + _ms(self._pace.soon), row.next_at <= now() + _ms(self._pace.window))
        if (after := self._audited_up_to) is not None:
            beyond = or_(row.next_at > after.next_at, row.id > after.id)
            later = and_(later, row.next_at >= after.next_at, beyond)
        rest = await self._select(later, limit=_BATCH)
        self._audited_up_to = rest[-1] if len(rest) == _BATCH else None
        missing = [
            *await self._without_job(soon, look_closely=True),
            *await self._without_job(rest, look_closely=False),
        ]
        if missing:
            log.warning("jobs had vanished", reminders=len(missing))
            for start in range(0, len(missing), _BATCH):
                await self._set_alarms(missing[start : start + _BATCH])

    async def _without_job(self, due: Sequence[Due], *, look_closely: bool) -> list[Due]:
        missing: list[Due] = []
        for start in range(0, len(due), _BATCH):
            part = due[start : start + _BATCH]
            job_ids = await self._queue.jobs.find([unique_key(each.id, each.rev) for each in part])
            held = {each: job_id for each, job_id in zip(part, job_ids, strict=True) if job_id is not None}
            if look_closely:
                states = await self._queue.jobs.states(list(held.values()))
                held = {each: held[each] for each, state in zip(list(held), states, strict=True) if state in _LIVING}
            missing += [each for each in part if each not in held]
        return missing

    async def _check_epoch(self) -> None:
        """Rebuild where Redis is not the one that was filled: flushed, replaced, or gone back in time."""
        if not self._epoch:
            self._epoch = await self._facts.agree(EPOCH, secrets.token_hex(8))
            self._highest_id = int(await self._facts.get(HIGHEST_JOB_ID) or 0)
        with unavailable():
            found, last_id = await self._queue.redis.mget(self._epoch_key, self._queue.keys.ids)
        if found == self._epoch and int(last_id or 0) >= self._highest_id:
            return
        # Another feeder may have given ids since.
        given = max(self._highest_id, int(await self._facts.get(HIGHEST_JOB_ID) or 0))
        at_least = given + _IDS_UNHEARD_OF if given else 0
        self._queue.lifecycle.raise_ids(at_least)
        with unavailable():
            if (behind := at_least - int(last_id or 0)) > 0:
                # Added, not set: somebody else may be counting at this moment, and no id may be given twice.
                await self._queue.redis.incrby(self._queue.keys.ids, behind)
        stale = and_(row.status.in_(WAITING), row.queued_rev.is_not(None))
        async with self._database.statements() as connection:
            await connection.execute(update(reminders).where(stale).values(queued_rev=None))
        with unavailable():
            await self._queue.redis.set(self._epoch_key, self._epoch)
        # The first time there is nothing to build anew.
        (log.warning if given else log.info)("queue is filled", known=found is not None)

    async def _select(self, where: Any, *, limit: int) -> list[Due]:
        statement = select(row.id, row.rev, row.next_at).where(where).order_by(row.next_at, row.id).limit(limit)
        async with self._database.statements() as connection:
            return [Due(*found) for found in await connection.execute(statement)]

    def _now_direct(self, direct: bool) -> None:
        if direct != self._direct:
            self._direct = direct
            log.warning("queue away: sending straight from the database") if direct else log.info("queue is back")


def _ms(span: timedelta) -> int:
    return round(span.total_seconds() * 1000)
