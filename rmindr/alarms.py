"""A reminder's alarm clock: its job on the queue, set by one try whose failure changes nothing, as the feeder sets it too."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from rmindr.models import Reminder, Status
from rmindr.queue import NewJob, Queue, QueueError

# Longer would keep the person waiting for something that the feeder does as well.
_QUICK_S: Final = 0.8


class Alarms:
    """The alarm clocks on one queue. What is due beyond `feed_window` gets its own from the feeder, in time."""

    def __init__(
        self, queue: Queue, feed_window: timedelta, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._queue = queue
        self._feed_window = feed_window
        self._clock = clock

    async def set(self, reminder: Reminder) -> None:
        """Let it ring when the reminder is due."""
        if self._is_near(reminder):
            with contextlib.suppress(QueueError, TimeoutError):
                async with asyncio.timeout(_QUICK_S):
                    await self._queue.lifecycle.create(alarm(reminder.id, reminder.rev, reminder.next_at))

    async def set_many(self, reminders: Sequence[Reminder]) -> None:
        """Let each ring when it is due, the soonest first: the time for the try may not be enough for all."""
        near = sorted((each for each in reminders if self._is_near(each)), key=lambda each: each.next_at)
        if near:
            with contextlib.suppress(QueueError, TimeoutError):
                async with asyncio.timeout(_QUICK_S):
                    await self._queue.create_many([alarm(each.id, each.rev, each.next_at) for each in near])

    def _is_near(self, reminder: Reminder) -> bool:
        return reminder.status == Status.SCHEDULED and reminder.due_at - self._clock() <= self._feed_window

    async def forget(self, seen: Reminder) -> None:
        """Best effort: a job of an old revision finds nothing to do when its time comes."""
        with contextlib.suppress(QueueError, TimeoutError):
            async with asyncio.timeout(_QUICK_S):
                (job_id,) = await self._queue.jobs.find([unique_key(seen.id, seen.rev)])
                if job_id is not None:
                    await self._queue.remove(job_id)


def alarm(id: UUID, rev: int, at: datetime | timedelta) -> NewJob:
    """The job of one revision: ids only, since what stands in Redis is in the clear; once per revision.

    Its attempts have no end: the reminder's own clock decides when to give up."""
    return NewJob(
        type="email",
        data={"title": f"Reminder {id}", "id": str(id), "rev": rev},
        delay=at,
        attempts=None,
        remove_on_complete=True,
        unique=unique_key(id, rev),
    )


def unique_key(id: UUID, rev: int) -> str:
    """The queue's unique key of one revision of one reminder."""
    return f"reminder:{id}:{rev}"
