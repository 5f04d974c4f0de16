"""The queue as an application speaks to it: create jobs, say who works them, hear what becomes of them, steer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Literal

from redis.asyncio import Redis

from rmindr.queue.addresses import Address
from rmindr.queue.backoff import Backoff, Strategy
from rmindr.queue.connections import connect, connect_blocking
from rmindr.queue.errands import Errands
from rmindr.queue.errors import InvalidJob
from rmindr.queue.events import EVENTS, Callback, Listener
from rmindr.queue.history import History
from rmindr.queue.job import Job, NewJob, State, checked_type
from rmindr.queue.jobs import Jobs
from rmindr.queue.keys import Keys
from rmindr.queue.lifecycle import Lifecycle, checked_id
from rmindr.queue.listing import Listing
from rmindr.queue.overview import Overviews
from rmindr.queue.runs import Handler, Process
from rmindr.queue.schedules import Schedules
from rmindr.queue.steering import Steering
from rmindr.queue.waiting import Waiting
from rmindr.queue.words import Index
from rmindr.queue.worker import Timings, Worker


class Queue:
    """One queue: a Redis, a prefix. Make one with `open`; several in one process do not touch each other.

    `jobs` is what stands in it, `schedules` what repeats, `steering` what is decided for all its workers, `history` what it
    has done; `listing`, `overviews` and `errands` are for people who look after it: lists, all at a glance, many at once."""

    def __init__(
        self,
        redis: Redis,
        url: str,
        keys: Keys,
        clock: Callable[[], int] | None = None,
        search: Sequence[str] = (),
        name: str | None = None,
        version: str = "",
    ) -> None:
        self.redis = redis
        self.keys = keys
        self.lifecycle = Lifecycle(redis, keys, clock, Index(search).words_of)
        self.jobs = Jobs(redis, keys, self.lifecycle)
        self.schedules = Schedules(redis, keys, self.lifecycle)
        self.steering = Steering(redis, keys, self.lifecycle)
        self.history = History(redis, keys, self.lifecycle)
        self.listing = Listing(redis, keys)
        self.overviews = Overviews(redis, keys, self.lifecycle)
        self.errands = Errands(redis, keys, self.lifecycle, self.jobs, self.listing)
        self._url = url
        self._name = name
        self._version = version
        self._processes: dict[str, Process] = {}
        self._strategies: dict[str, Strategy] = {}
        self._worker: Worker | None = None
        self._listener = Listener(keys.events)
        self._waiting = Waiting(redis, keys, self.lifecycle, self._listener)
        self._ear_at_work: asyncio.Task[None] | None = None
        self._hearers = 0

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        prefix: str = "q",
        name: str | None = None,
        search: Sequence[str] = (),
        patience: timedelta = timedelta(seconds=5),
        clock: Callable[[], int] | None = None,
        version: str = "",
    ) -> AsyncIterator[Queue]:
        """A queue on this Redis (addresses.py has the forms of URLs), closed at the end of the block. `patience` bounds every
        command.

        `name` is what operators see in CLIENT LIST, `version` what its workers say of themselves. `search` names the fields
        of jobs' data by whose words they can be found, e.g. ("title", "customer.name"). On a cluster the prefix stands in
        braces, and no Kue may share the keyspace. Connects when first needed; raises InvalidJob where the URL, the prefix,
        the name or a field's name cannot be used."""
        keys = Keys(prefix, cluster=Address.from_url(url).kind == "cluster")
        redis = connect(url, name=name, patience=patience)
        queue = cls(redis, url, keys, clock, search, name, version)
        try:
            yield queue
        finally:
            await queue.errands.aclose()
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
        attempts: int | None = 1,
        backoff: Backoff | None = None,
        ttl: timedelta | None = None,
        remove_on_complete: bool = False,
        remove_on_failure: bool = False,
        unique: str | None = None,
        keep_outcome: timedelta | None = None,
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
            remove_on_failure=remove_on_failure,
            unique=unique,
            keep_outcome=keep_outcome,
        )
        job, _ = await self.lifecycle.create(new)
        return job

    async def create_many(self, news: Sequence[NewJob]) -> Sequence[Job]:
        """Make many, 500 to a round trip, in order; each as `create` would, but none where one of them is invalid."""
        made = await self.lifecycle.create_many(news)
        return [job for job, _ in made]

    async def get(self, job_id: int) -> Job | None:
        """The job as it stands; None when there is none. Raises UnreadableJob, InvalidJob, QueueUnavailable."""
        return await self.jobs.get(job_id)

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
        """Change a job that has not started, in what is given; a delay counts from now, `timedelta(0)` runs it now.

        Raises JobNotFound, WrongState, InvalidJob, QueueUnavailable."""
        return await self.lifecycle.update(
            checked_id(job_id),
            data=data,
            priority=priority,
            delay=delay,
            backoff=backoff,
            ttl=ttl,
            remove_on_complete=remove_on_complete,
        )

    async def cancel(self, job_id: int) -> State:
        """Call a job off: one that waits never runs, one that runs is told. It ends failed, as «Cancelled».

        Answers `active` where it runs: its handler is cancelled within a moment. Raises JobNotFound, WrongState,
        QueueUnavailable."""
        return await self.lifecycle.cancel(checked_id(job_id))

    async def retry(self, job_id: int) -> State:
        """Run a failed or complete job again. Raises JobNotFound, WrongState, JobExists, QueueUnavailable."""
        return await self.lifecycle.retry(checked_id(job_id))

    async def take_back(self, job_id: int, *, holder: str = "") -> State:
        """Take a job from a Kue worker whose process is gone: it waits again, or has failed, as that run was an attempt.

        A Kue leaves no sign of life, so only people can know: of one that lives, the job is run a second time. `holder`, the
        job's worker_id as it was seen, guards against whoever has taken it since. What our own workers hold comes back by
        itself. Raises JobNotFound, WrongState, QueueUnavailable."""
        return await self.lifecycle.take_back(checked_id(job_id), holder)

    async def remove(self, job_id: int) -> None:
        """Leave nothing of a job, unless a worker holds it. Raises JobNotFound, WrongState, QueueUnavailable."""
        await self.lifecycle.remove(checked_id(job_id))

    async def result(self, job_id: int, *, timeout: timedelta | None = None) -> Any:
        """Wait for a job's end, and answer its result; asked late, it answers at once.

        Raises JobFailed with its error; JobNotFound where it is gone without word of how it ended (`keep_outcome` keeps
        that); TimeoutError; QueueUnavailable."""
        async with self._ear():
            return await self._waiting.result(checked_id(job_id), timeout)

    # Hearing

    def on(self, event: str, callback: Callback, *, job_id: int | None = None) -> None:
        """Call back when this happens: "job complete" of every job with (id, result, …), or, with `job_id`, "complete"
        of that one with (result, …). Heard while `run` or `listening` runs. Raises InvalidJob on an unknown event."""
        name = event if job_id is not None else event.removeprefix("job ")
        if name not in EVENTS or (job_id is None and not event.startswith("job ")):
            raise InvalidJob(f"there is no event {event!r}; queue level: {', '.join(f'job {name}' for name in EVENTS)}")
        self._listener.on(name, callback, job_id)

    def off(self, event: str, callback: Callback, *, job_id: int | None = None) -> None:
        """Call back no more."""
        self._listener.off(event if job_id is not None else event.removeprefix("job "), callback, job_id)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Hear events inside the block; what is created in it is heard from its first event on."""
        async with self._ear():
            await self._listener.subscribed()
            yield

    @asynccontextmanager
    async def _ear(self) -> AsyncIterator[None]:
        """The listener at work, once for all who want to hear at the same time."""
        self._hearers += 1
        if self._ear_at_work is None:
            self._ear_at_work = asyncio.create_task(self._listen())
        try:
            yield
        finally:
            self._hearers -= 1
            if self._hearers == 0:
                ear, self._ear_at_work = self._ear_at_work, None
                ear.cancel()
                await asyncio.wait([ear])

    async def _listen(self) -> None:
        subscriber = connect_blocking(self._url, name=self._name)
        try:
            await self._listener.run(subscriber)
        finally:
            await subscriber.aclose()

    # Working

    def process(self, type: str, handler: Handler, *, concurrency: int = 1) -> None:
        """Let `handler(job, context)` work jobs of this type, so many at once, when `run` runs. Raises InvalidJob."""
        if checked_type(type) in self._processes or concurrency < 1:
            raise InvalidJob(f"type {type!r} needs one handler and a concurrency of at least 1")
        self._processes[type] = Process(handler, concurrency)

    def strategy(self, name: str, strategy: Strategy) -> None:
        """What `Backoff.named(name)` means in this process: attempts made and current delay → how long to wait."""
        self._strategies[name] = strategy

    async def run(
        self,
        *,
        grace: timedelta = timedelta(seconds=20),
        late_runs: Literal["release", "fail"] = "release",
        **timings: timedelta,
    ) -> None:
        """Work and listen until `shutdown`; then what is in hand may end within `grace`. What has not ended by then is given
        back unharmed, or fails with «Shutdown», which is an attempt."""
        async with AsyncExitStack() as stack:
            blocking = connect_blocking(self._url, name=self._name)
            stack.push_async_callback(blocking.aclose)
            self._worker = Worker(
                self.lifecycle,
                self.redis,
                blocking,
                self.keys,
                self._processes,
                self._strategies,
                Timings(late_runs=late_runs, **timings),
                self._version,
            )
            try:
                await stack.enter_async_context(self._ear())
                await self._worker.run(grace)
            finally:
                self._worker = None

    def shutdown(self, type: str | None = None) -> None:
        """Take no further jobs, of this type or of any; `run` ends when those in hand have, unless it goes on with other
        types. Before `run`, it does nothing."""
        if self._worker is None:
            return
        if type is None:
            self._worker.stop()
        else:
            self._worker.pause(type)

    @property
    def worker(self) -> Worker | None:
        """The worker of this process while `run` runs."""
        return self._worker
