"""The queue as an application speaks to it: create jobs, say who works them, hear what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from rmindr.queue.backoff import Backoff
from rmindr.queue.connections import connect, connect_blocking
from rmindr.queue.errors import InvalidJob
from rmindr.queue.events import EVENTS, Callback, Listener
from rmindr.queue.job import Job, NewJob, State, checked_type
from rmindr.queue.keys import Keys
from rmindr.queue.lifecycle import Lifecycle, checked_id
from rmindr.queue.scripts import is_wrong_type, unavailable
from rmindr.queue.worker import Handler, Process, Worker


class Queue:
    """One queue: a Redis, a prefix. Make one with `open`; several in one process do not touch each other."""

    def __init__(self, redis: Redis, url: str, keys: Keys, clock: Callable[[], int] | None = None) -> None:
        self.redis = redis
        self.keys = keys
        self.lifecycle = Lifecycle(redis, keys, clock)
        self._url = url
        self._processes: dict[str, Process] = {}
        self._worker: Worker | None = None
        self._listener = Listener(self.keys.events)
        self._hearing = False

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        prefix: str = "q",
        cluster: bool = False,
        patience: timedelta = timedelta(seconds=5),
        clock: Callable[[], int] | None = None,
    ) -> AsyncIterator[Queue]:
        """A queue on this Redis, closed at the end of the block. `patience` bounds every command.

        `cluster` keeps scripts to keys of the prefix, which then has braces; no Kue may share such a keyspace.

        Connects when first needed; raises InvalidJob where the URL or the prefix cannot be used."""
        redis = connect(url, patience=patience)
        queue = cls(redis, url, Keys(prefix, cluster=cluster), clock)
        try:
            yield queue
        finally:
            await queue.lifecycle.aclose()
            await redis.aclose()

    # Producing

    async def create(
        self,
        type: str,
        data: Any = None,
        *,
        delay: timedelta | datetime | None = None,
        priority: int | float | str = "normal",
        attempts: int = 1,
        backoff: Backoff | None = None,
        ttl: timedelta | None = None,
        remove_on_complete: bool = False,
        unique: str | None = None,
    ) -> Job:
        """Make a job; where a living one holds the `unique` key, answer that one. Raises InvalidJob, QueueUnavailable."""
        new = NewJob(
            type=type,
            data=data,
            delay=delay,
            priority=priority,
            attempts=attempts,
            backoff=backoff,
            ttl=ttl,
            remove_on_complete=remove_on_complete,
            unique=unique,
        )
        job, _ = await self.lifecycle.create(new)
        return job

    async def create_many(self, news: Sequence[NewJob]) -> Sequence[Job]:
        """Make many, 500 to a round trip, in order; each as `create` would, but none where one of them is invalid."""
        made = await self.lifecycle.create_many(news)
        return [job for job, _ in made]

    async def get(self, job_id: int) -> Job | None:
        """The job as it stands; None when there is none. Raises UnreadableJob, InvalidJob, QueueUnavailable."""
        return await self.lifecycle.get(checked_id(job_id))

    async def update(
        self,
        job_id: int,
        *,
        data: Any = None,
        priority: int | float | str | None = None,
        delay: timedelta | datetime | None = None,
    ) -> State:
        """Change a job that has not started; a delay counts from now, `timedelta(0)` runs it now.

        Raises JobNotFound, WrongState, InvalidJob, QueueUnavailable."""
        return await self.lifecycle.update(checked_id(job_id), data=data, priority=priority, delay=delay)

    async def retry(self, job_id: int) -> State:
        """Run a failed or complete job again. Raises JobNotFound, WrongState, JobExists, QueueUnavailable."""
        return await self.lifecycle.retry(checked_id(job_id))

    async def remove(self, job_id: int) -> None:
        """Leave nothing of a job, unless a worker holds it. Raises JobNotFound, WrongState, QueueUnavailable."""
        await self.lifecycle.remove(checked_id(job_id))

    # Looking

    async def counts(self) -> dict[State, int]:
        """Jobs per state, e.g. {"delayed": 3, …}; every State is present."""
        with unavailable():
            async with self.redis.pipeline(transaction=False) as pipe:
                for state in State:
                    pipe.zcard(self.keys.in_state(state))
                return dict(zip(State, await pipe.execute(), strict=True))

    async def find(self, uniques: Sequence[str]) -> Sequence[int | None]:
        """The ids of the jobs that hold these unique keys; None where no job was made with one, or it has ended."""
        if not uniques:
            return []
        with unavailable():
            holders = await self.redis.hmget(self.keys.unique, list(uniques))
        return [int(holder) if holder and holder.isdigit() else None for holder in holders]

    async def states(self, job_ids: Sequence[int]) -> Sequence[State | None]:
        """The states of these jobs; None for one that does not exist or is not whole. One round trip."""
        with unavailable():
            async with self.redis.pipeline(transaction=False) as pipe:
                for job_id in job_ids:
                    pipe.hget(self.keys.job(job_id), "state")
                found = await pipe.execute(raise_on_error=False)
            for error in found:
                if isinstance(error, RedisError) and not is_wrong_type(error):
                    raise error
        return [State(state) if state in list(State) else None for state in found]

    async def log(self, job_id: int) -> Sequence[str]:
        """A job's log lines, oldest first; none for a job that does not exist."""
        with unavailable():
            lines: Any = await self.redis.lrange(self.keys.log(checked_id(job_id)), 0, -1)
        return list(lines)

    # Hearing

    def on(self, event: str, callback: Callback, *, job_id: int | None = None) -> None:
        """Call back when this happens: "job complete" of every job with (id, result, …), or, with `job_id`, "complete"
        of that one with (result, …). Heard while `run` or `listening` runs. Raises InvalidJob on an unknown event."""
        name = event if job_id is not None else event.removeprefix("job ")
        if name not in EVENTS or (job_id is None and not event.startswith("job ")):
            raise InvalidJob(f"there is no event {event!r}; queue level: {', '.join(f'job {name}' for name in EVENTS)}")
        self._listener.on(name, callback, job_id)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Hear events inside the block; what is created in it is heard from its first event on."""
        async with self._ear():
            await self._listener.subscribed()
            yield

    @asynccontextmanager
    async def _ear(self) -> AsyncIterator[None]:
        """The listener at work; where it works already, e.g. for `run` inside `listening`, once is enough."""
        if self._hearing:
            yield
            return
        self._hearing = True
        subscriber = connect_blocking(self._url)
        ear = asyncio.create_task(self._listener.run(subscriber))
        try:
            yield
        finally:
            self._hearing = False
            ear.cancel()
            await asyncio.wait([ear])
            await subscriber.aclose()

    # Working

    def process(self, type: str, handler: Handler, *, concurrency: int = 1) -> None:
        """Let `handler(job, context)` work jobs of this type, so many at once, when `run` runs. Raises InvalidJob."""
        if checked_type(type) in self._processes or concurrency < 1:
            raise InvalidJob(f"type {type!r} needs one handler and a concurrency of at least 1")
        self._processes[type] = Process(handler, concurrency)

    async def run(self, *, grace: timedelta = timedelta(seconds=20), **timings: timedelta) -> None:
        """Work and listen until `shutdown`; then what is in hand may end within `grace`, the rest is given back."""
        async with AsyncExitStack() as stack:
            blocking = connect_blocking(self._url)
            stack.push_async_callback(blocking.aclose)
            self._worker = Worker(self.lifecycle, self.redis, blocking, self.keys, self._processes, **timings)
            try:
                await stack.enter_async_context(self._ear())
                await self._worker.run(grace)
            finally:
                self._worker = None

    def shutdown(self) -> None:
        """Take no further jobs; `run` ends when those in hand have. Before `run`, it does nothing."""
        if self._worker is not None:
            self._worker.stop()

    @property
    def worker(self) -> Worker | None:
        """The worker of this process while `run` runs."""
        return self._worker
