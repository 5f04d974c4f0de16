"""For the tests of applications: jobs collected without Redis, run inline by the real handlers; and a way to wait for quiet.

async def test_who_signs_up_is_welcomed() -> None:
    queue = collecting()                                  # in place of a Queue, where jobs are made

    await sign_up("me@example.org", queue)

    assert [(job.type, job.data) for job in queue.jobs] == [("email", {"to": "me@example.org"})]
    [job] = await queue.run({"email": send})              # as a worker would, one after the other, without waiting
    assert (job.state, job.result) == ("complete", "sent")

async def test_the_whole_way(queue: Queue) -> None:       # a real one, with workers somewhere
    await sign_up("me@example.org", queue)
    await until_idle(queue, timeout=timedelta(seconds=10))
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from rmindr.queue.backoff import Backoff, Strategy, within_reason
from rmindr.queue.errors import JobNotFound, WrongState
from rmindr.queue.job import Job, Lease, NewJob, State, from_ms, to_ms
from rmindr.queue.queue import Queue
from rmindr.queue.runs import Handler, Performer, Process, Run

# A job that goes on for so long will not end in a test.
_MOST_RUNS: Final = 100
# Events are news, not the truth.
_LOOK_AGAIN: Final = timedelta(seconds=1)
_STIRS: Final = ("enqueue", "promotion", "start", "failed attempt", "failed", "complete", "remove")


def collecting() -> Collected:
    """What stands in for a queue where jobs are made: it keeps them in memory, and needs no Redis."""
    return Collected()


class Collected:
    """Jobs that were made, in order. `create`, `create_many`, `get`, `update`, `cancel` and `remove` are those of a Queue."""

    def __init__(self) -> None:
        self._book = _Book()
        self._last_id = 0

    # As a queue

    async def create(
        self,
        type: str,
        data: Any = None,
        *,
        delay: timedelta | datetime | None = None,
        priority: int | float | str = "normal",
        attempts: int | None = 1,
        backoff: Backoff | None = None,
        ttl: timedelta | None = None,
        remove_on_complete: bool = False,
        remove_on_failure: bool = False,
        unique: str | None = None,
        keep_outcome: timedelta | None = None,
    ) -> Job:
        """Collect a job; where a living one holds the `unique` key, answer that one. Raises InvalidJob."""
        new = NewJob(
            type=type,
            data=data,
            delay=delay,
            priority=priority,
            attempts=attempts,
            backoff=backoff,
            ttl=ttl,
            remove_on_complete=remove_on_complete,
            remove_on_failure=remove_on_failure,
            unique=unique,
            keep_outcome=keep_outcome,
        )
        [job] = await self.create_many([new])
        return job

    async def create_many(self, news: Sequence[NewJob]) -> Sequence[Job]:
        """Collect many, in order; none where one of them is invalid. Raises InvalidJob."""
        for new in news:
            new.to_args()
        return [self._holder(new.unique) or self._collect(new) for new in news]

    async def get(self, job_id: int) -> Job | None:
        """The job as it stands; None when there is none."""
        return self._book.jobs.get(job_id)

    async def update(
        self,
        job_id: int,
        *,
        data: Any = None,
        priority: int | float | str | None = None,
        delay: timedelta | datetime | None = None,
        backoff: Backoff | None = None,
        ttl: timedelta | None = None,
        remove_on_complete: bool | None = None,
    ) -> State:
        """Change a job that has not run, in what is given. Raises JobNotFound, WrongState, InvalidJob."""
        job = self._waiting(job_id, "update")
        given = {"data": data, "priority": priority, "delay": delay, "backoff": backoff, "ttl": ttl}
        given = {name: value for name, value in given.items() if value is not None}
        new = NewJob(type=job.type, **given)
        new.to_args()
        changed = new.as_created(job_id, to_ms(datetime.now(UTC)))
        names = [*given, *(("state", "promote_at") if delay is not None else ())]
        changes: dict[str, Any] = {name: getattr(changed, name) for name in names}
        if remove_on_complete is not None:
            changes["remove_on_complete"] = remove_on_complete
        self._book.jobs[job_id] = job = replace(job, **changes)
        return job.state

    async def cancel(self, job_id: int) -> State:
        """Call off a job that has not run. Raises JobNotFound, WrongState."""
        job = self._waiting(job_id, "cancel")
        self._book.jobs[job_id] = replace(job, state=State.FAILED, error="Cancelled")
        return State.FAILED

    async def remove(self, job_id: int) -> None:
        """Forget a job. Raises JobNotFound."""
        if self._book.jobs.pop(job_id, None) is None:
            raise JobNotFound(job_id)

    # For the test

    @property
    def jobs(self) -> Sequence[Job]:
        """All that were collected and are not removed, in order of creation."""
        return tuple(self._book.jobs.values())

    def log(self, job_id: int) -> Sequence[str]:
        """What handlers wrote into the job's log."""
        return tuple(self._book.logs.get(job_id, ()))

    def clear(self) -> None:
        """Forget all jobs; ids go on."""
        self._book.jobs.clear()
        self._book.logs.clear()

    async def run(
        self, handlers: Mapping[str, Handler], *, strategies: Mapping[str, Strategy] | None = None
    ) -> Sequence[Job]:
        """Let these handlers work all jobs of their types, and those that they make, as a worker would: soonest due and most
        urgent first, one after the other, each until it has ended; no delay is waited for. Answers the jobs as they ended.

        Raises RuntimeError where a job is tried again without end."""
        processes = {type: Process(handler, 1) for type, handler in handlers.items()}
        performer = Performer(self._book, processes, strategies or {}, timedelta(seconds=1))
        ended: list[Job] = []
        runs: dict[int, int] = {}
        while waiting := [job for job in self._book.jobs.values() if _waits(job) and job.type in handlers]:
            job = min(waiting, key=lambda job: (job.promote_at or job.created_at, job.priority, job.id))
            runs[job.id] = runs.get(job.id, 0) + 1
            if runs[job.id] > _MOST_RUNS:
                raise RuntimeError(f"job {job.id} has run {_MOST_RUNS} times, and still is not at its end")
            await self._perform(performer, job)
            if not _waits(job := self._book.jobs[job.id]):
                ended.append(job)
                if job.remove_on_complete if job.state is State.COMPLETE else job.remove_on_failure:
                    del self._book.jobs[job.id]
        return ended

    async def _perform(self, performer: Performer, job: Job) -> None:
        run = Run(Lease(replace(job, state=State.ACTIVE, started_at=datetime.now(UTC)), "inline"))
        run.task = asyncio.create_task(performer.perform(run))
        await run.task

    def _waiting(self, job_id: int, verb: str) -> Job:
        job = self._book.jobs.get(job_id)
        if job is None:
            raise JobNotFound(job_id)
        if not _waits(job):
            raise WrongState(job_id, verb, job.state)
        return job

    def _collect(self, new: NewJob) -> Job:
        self._last_id += 1
        job = new.as_created(self._last_id, to_ms(datetime.now(UTC)))
        self._book.jobs[job.id] = job
        return job

    def _holder(self, unique: str | None) -> Job | None:
        holders = (job for job in self._book.jobs.values() if unique and job.unique == unique and _waits(job))
        return next(holders, None)


class _Book:
    """Where it is written down what becomes of collected jobs."""

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.logs: dict[int, list[str]] = {}

    async def progress(self, lease: Lease, percent: int, data: Any = None) -> None:
        told = data if data is not None else self.jobs[lease.job.id].progress_data
        self._change(lease, progress=percent, progress_data=told)

    async def log(self, lease: Lease, line: str) -> None:
        self.logs.setdefault(lease.job.id, []).append(line)

    async def complete(self, lease: Lease, result: Any = None) -> None:
        attempts = lease.job.attempts + 1
        self._change(lease, state=State.COMPLETE, attempts=attempts, progress=100, result=result)

    async def fail(self, lease: Lease, message: str, text: str | None = None, *, wait_ms: int | None) -> State:
        attempts, now = lease.job.attempts + 1, datetime.now(UTC)
        facts: dict[str, Any] = {"attempts": attempts, "error": text if text is not None else message, "failed_at": now}
        if wait_ms is None or attempts >= lease.job.max_attempts:
            return self._change(lease, state=State.FAILED, **facts)
        if wait_ms:
            facts |= {"delay": timedelta(milliseconds=wait_ms), "promote_at": from_ms(to_ms(now) + wait_ms)}
        return self._change(lease, state=State.DELAYED if wait_ms else State.INACTIVE, **facts)

    async def release(self, lease: Lease, wait: timedelta = timedelta(0)) -> State:
        due = from_ms(to_ms(datetime.now(UTC)) + within_reason(to_ms(wait)))
        return self._change(lease, state=State.DELAYED if wait else State.INACTIVE, promote_at=due)

    def _change(self, lease: Lease, **changes: Any) -> State:
        job = self.jobs[lease.job.id] = replace(self.jobs[lease.job.id], **changes)
        return job.state


def _waits(job: Job) -> bool:
    return job.state in (State.DELAYED, State.INACTIVE)


async def until_idle(
    queue: Queue, type: str | None = None, *, delayed: bool = False, timeout: timedelta = timedelta(seconds=30)
) -> None:
    """Wait until no job of this type, or of any, is waiting or running; nor `delayed`, where that is asked for.

    It is told by events when to look. Raises TimeoutError, saying what is still there; QueueUnavailable."""
    stirred = asyncio.Event()

    def stir(*_: Any) -> None:
        stirred.set()

    busy = (State.INACTIVE, State.ACTIVE, *((State.DELAYED,) if delayed else ()))
    counts: Mapping[State, int] = {}
    for name in _STIRS:
        queue.on(f"job {name}", stir)
    try:
        async with asyncio.timeout(timeout.total_seconds()), queue.listening():
            while True:
                stirred.clear()
                counts = await queue.jobs.counts(type)
                if not any(counts[state] for state in busy):
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_AGAIN.total_seconds()):
                        await stirred.wait()
    except TimeoutError:
        left = ", ".join(f"{counts[state]} {state}" for state in busy if counts.get(state))
        raise TimeoutError(f"not idle after {timeout}: {left or 'no answer from Redis'}") from None
    finally:
        for name in _STIRS:
            queue.off(f"job {name}", stir)
