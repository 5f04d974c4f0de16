"""A worker: claim, perform, settle; promote and rescue on time; stop kindly.

It wakes for four reasons and polls for none: a token says that a job is ready, a timer that the next delayed one is due, a
handler that its slot is free, and a slow tick that hints may have been lost. A wake-up that finds nothing costs one call.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import random
import secrets
import socket
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from rmindr.queue.connections import BLOCK
from rmindr.queue.errors import InvalidJob, JobNotFound, LeaseLost, QueueUnavailable, Refused
from rmindr.queue.job import Job, Lease, to_json, to_ms
from rmindr.queue.keys import Keys
from rmindr.queue.lifecycle import Lifecycle
from rmindr.queue.scripts import unavailable

log = logging.getLogger(__name__)

LEASE: Final = timedelta(seconds=60)
# How long a lost hint may delay a job.
TICK: Final = timedelta(seconds=5)
# A job with a ttl is ended this much before Kue's own expiry timer would see it.
_TTL_MARGIN: Final = timedelta(milliseconds=50)
# How long the last word about a run may take when the worker is to stop.
_GOODBYE: Final = timedelta(seconds=5)
# As much as anybody reads of an exception.
_LONGEST_TEXT: Final = 20_000


class Retry(Exception):
    """Raised by a handler: try this job again after a while. `counted=False`: the run was not an attempt."""

    def __init__(self, reason: str = "", *, after: timedelta, counted: bool = True) -> None:
        if not isinstance(after, timedelta):
            raise TypeError(f"after must be a timedelta, not {after!r:.60}")
        super().__init__(reason or f"again in {after}")
        self.after = after
        self.counted = counted


class Abandon(Exception):
    """Raised by a handler: this job has failed and no further attempt can help."""


class Context:
    """What a handler may do with the job in its hands, besides returning (its result) or raising (its failure)."""

    def __init__(self, lifecycle: Lifecycle, lease: Lease, prolong: Callable[[], None]) -> None:
        self._lifecycle = lifecycle
        self._lease = lease
        self._prolong = prolong

    async def progress(self, done: float, total: float, data: Any = None) -> None:
        """Say that `done` of `total` is done; the job's ttl begins anew. Raises LeaseLost, JobNotFound."""
        percent = min(100, int(100 * done / total)) if total else 100
        await self._lifecycle.progress(self._lease, percent, data)
        self._prolong()

    async def log(self, line: str) -> None:
        """Write a line into the job's own log. Raises LeaseLost, JobNotFound."""
        await self._lifecycle.log(self._lease, line)


Handler = Callable[[Job, Context], Awaitable[Any]]
Ending = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Process:
    """How jobs of one type are worked: by whom, and how many at once."""

    handler: Handler
    concurrency: int


@dataclass(slots=True, eq=False)
class _Run:
    """One job in the hands of its handler."""

    lease: Lease
    task: asyncio.Task[None]
    lost: bool = False


class Worker:
    """Works the jobs of one queue in this process until it is told to stop."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        redis: Redis,
        blocking: Redis,
        keys: Keys,
        processes: Mapping[str, Process],
        *,
        lease: timedelta = LEASE,
        tick: timedelta = TICK,
    ) -> None:
        self.name = f"kue:{socket.gethostname()}:{os.getpid()}"
        self._lifecycle = lifecycle
        self._redis = redis
        self._blocking = blocking
        self._keys = keys
        self._processes = processes
        self._lease = lease
        self._tick = tick
        # Not by id: a run whose lease is lost may still be ending when the job is taken again.
        self._runs: set[_Run] = set()
        self._held: set[str] = set()
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._idle_types: frozenset[str] = frozenset()
        self._blocked_on: frozenset[str] = frozenset()
        self._waiting = asyncio.Event()
        # When Redis last answered, and when it last did so after a silence that leases may not have survived.
        self._answered_at = time.monotonic()
        self._back_at = -math.inf
        self._bell = f"{keys.wake}:{secrets.token_hex(6)}"

    @property
    def active(self) -> int:
        """How many jobs are in handlers' hands."""
        return len(self._runs)

    def pause(self, type: str) -> None:
        """Take no further jobs of this type here; those in hand go on."""
        self._held.add(type)

    def resume(self, type: str) -> None:
        """Take jobs of this type again."""
        self._held.discard(type)
        self._wake.set()

    def stop(self) -> None:
        """Take no further jobs; `run` ends when those in hand are settled."""
        self._stopping.set()
        self._wake.set()

    async def run(self, grace: timedelta = timedelta(seconds=20)) -> None:
        """Work until `stop`, then let what is in hand end, for `grace` at most; the rest is given back unharmed."""
        async with asyncio.TaskGroup() as self._group:
            group = self._group
            aides = [group.create_task(aide()) for aide in (self._listen, self._renew, self._rescue)]
            try:
                await self._pump()
                await self._drain(grace)
            finally:
                for run in self._runs:
                    run.task.cancel()
                for aide in aides:
                    aide.cancel()
                await self._drain(grace)

    # Claiming

    async def _pump(self) -> None:
        token, in_doubt, pause = secrets.token_hex(8), False, 0.05
        try:
            while not self._stopping.is_set():
                self._wake.clear()
                wanted = self._free_slots()
                again, in_doubt = in_doubt, True
                try:
                    claimed = await self._lifecycle.claim(
                        wanted, token=token, lease=self._lease, worker=self.name, again=again
                    )
                except QueueUnavailable as error:
                    # The claim may have happened: the same token asks again for what it took.
                    log.warning("claim failed", extra={"error": str(error)})
                    await self._sleep(timedelta(seconds=pause * random.uniform(0.5, 1.5)))
                    pause = min(pause * 2, 2.0)
                    continue
                self._note_answer()
                if self._stopping.is_set():
                    break
                for lease in claimed.leases:
                    self._start(lease)
                token, in_doubt, pause = secrets.token_hex(8), False, 0.05
                self._note_idle(wanted, claimed.leases)
                if self._blocked_on and not self._idle_types <= self._blocked_on:
                    await self._ring()
                due = claimed.next_due_in
                await self._sleep(self._tick if due is None else min(self._tick, due))
        finally:
            if in_doubt:
                await self._give_back(token)

    async def _give_back(self, token: str) -> None:
        """Release what a claim took whose answer came too late or never; what cannot be, is rescued."""
        with contextlib.suppress(QueueUnavailable, TimeoutError):
            async with asyncio.timeout(_GOODBYE.total_seconds()):
                claimed = await self._lifecycle.claim({}, token=token, lease=self._lease, worker=self.name, again=True)
                for lease in claimed.leases:
                    with contextlib.suppress(Refused):
                        await self._lifecycle.release(lease)

    def _free_slots(self) -> dict[str, int]:
        """How many jobs of each type may be taken. 0 is an answer too: their tokens are counted all the same."""
        busy: dict[str, int] = dict.fromkeys(self._processes, 0)
        for run in self._runs:
            busy[run.lease.job.type] += 1
        return {
            type: 0 if type in self._held else max(0, process.concurrency - busy[type])
            for type, process in self._processes.items()
        }

    def _note_idle(self, wanted: Mapping[str, int], leases: Sequence[Lease]) -> None:
        """A type that had more slots than jobs has none waiting: its next job announces itself by a token."""
        taken: dict[str, int] = dict.fromkeys(wanted, 0)
        for lease in leases:
            taken[lease.job.type] += 1
        self._idle_types = frozenset(type for type, count in wanted.items() if taken[type] < count)
        if self._idle_types:
            self._waiting.set()
        else:
            self._waiting.clear()

    async def _ring(self) -> None:
        """End this worker's own blocked pop, which waits for fewer types than have free slots by now."""
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.lpush(self._bell, "1")
                pipe.expire(self._bell, 60)
                await pipe.execute()
        except (RedisError, OSError) as error:
            log.warning("wake-ups lag", extra={"error": type(error).__name__})

    async def _sleep(self, wait: timedelta) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, wait.total_seconds())):
                await self._wake.wait()

    async def _listen(self) -> None:
        """Block on the tokens of the types that have free slots, and wake the pump when one comes."""
        pause = 0.05
        while True:
            await self._waiting.wait()
            self._blocked_on = self._idle_types
            lists = [self._bell, self._keys.wake, *map(self._keys.tokens, sorted(self._blocked_on))]
            try:
                token = await self._blocking.blpop(lists, timeout=BLOCK.total_seconds())
            except (RedisError, OSError) as error:
                log.warning("wake-ups interrupted", extra={"error": type(error).__name__})
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))
                pause = min(pause * 2, 2.0)
                continue
            finally:
                self._blocked_on = frozenset()
            pause = 0.05
            if token is not None:
                self._waiting.clear()
                self._wake.set()

    # Performing and settling

    def _start(self, lease: Lease) -> None:
        task = self._group.create_task(self._perform(lease), name=f"{lease.job.type} {lease.job.id}")
        run = _Run(lease, task)
        self._runs.add(run)
        task.add_done_callback(lambda _: self._ended(run))

    def _ended(self, run: _Run) -> None:
        self._runs.discard(run)
        # Where slots were free before this one, nothing was waiting for it.
        if run.lease.job.type not in self._idle_types or self._stopping.is_set():
            self._wake.set()

    async def _perform(self, lease: Lease) -> None:
        # Told to stop, or the lease is lost: an unfinished run is given back if it is still ours, which is not an attempt.
        ending: Ending = partial(self._lifecycle.release, lease)
        try:
            ending = await self._work(lease)
            await self._settle(lease.job, ending, self._lease)
        except asyncio.CancelledError:
            await self._settle(lease.job, ending, _GOODBYE)
            raise

    async def _work(self, lease: Lease) -> Ending:
        """Let the handler work, and answer how the run is to end."""
        job, handler = lease.job, self._processes[lease.job.type].handler
        fail, wait = partial(self._lifecycle.fail, lease), job.wait_ms_after_failure()
        try:
            async with asyncio.timeout(None) as limit:
                _limit(limit, job)
                result = await handler(job, Context(self._lifecycle, lease, lambda: _limit(limit, job)))
        except Retry as signal:
            if signal.counted:
                return partial(fail, _message(signal), wait_ms=to_ms(signal.after))
            return partial(self._lifecycle.release, lease, signal.after)
        except Abandon as signal:
            return partial(fail, _message(signal), wait_ms=None)
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            # A handler may end by a CancelledError of something that it waited for; then nobody has told us to stop.
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            if isinstance(error, TimeoutError) and limit.expired():
                return partial(fail, "TTL exceeded", wait_ms=wait)
            return partial(fail, _message(error), _text(error), wait_ms=wait)
        try:
            to_json(result, "result")
        except InvalidJob as error:
            return partial(fail, f"the handler's result: {error}", wait_ms=wait)
        return partial(self._lifecycle.complete, lease, result)

    async def _settle(self, job: Job, end: Ending, patience: timedelta) -> None:
        """End a run, with patience: Redis may be away for a moment."""
        pause = 0.05
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience.total_seconds()):
                while True:
                    try:
                        await end()
                        return
                    except (LeaseLost, JobNotFound) as error:
                        log.warning(
                            "run ended by somebody else", extra={"id": job.id, "type": job.type, "why": str(error)}
                        )
                        return
                    except QueueUnavailable:
                        await asyncio.sleep(pause * random.uniform(0.5, 1.5))
                        pause = min(pause * 2, 2.0)
        log.error("run not settled: it will be rescued", extra={"id": job.id, "type": job.type})

    async def _drain(self, grace: timedelta) -> None:
        tasks = [run.task for run in self._runs]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=grace.total_seconds())
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=self._lease.total_seconds())

    # Upkeep

    async def _renew(self) -> None:
        """Prolong all leases four times per lease, more eagerly while Redis is away."""
        while True:
            wait = self._lease.total_seconds() / 4
            try:
                await self._prolong()
            except QueueUnavailable as error:
                log.warning("leases not renewed", extra={"error": str(error)})
                wait = min(wait / 5, 1.0)
            await asyncio.sleep(wait)

    async def _prolong(self) -> None:
        """Prolong all leases in one call; a handler whose lease is lost is cancelled."""
        runs = list(self._runs)
        if not runs:
            return
        lost = {id(lease) for lease in await self._lifecycle.renew([run.lease for run in runs], self._lease)}
        self._note_answer()
        for run in runs:
            if id(run.lease) in lost and run in self._runs and not run.lost:
                run.lost = True
                log.warning("lease lost", extra={"id": run.lease.job.id, "type": run.lease.job.type})
                run.task.cancel()

    async def _rescue(self) -> None:
        """Take jobs back from dead workers when their leases end, and end those whose ttl is over.

        A new lease lasts at least this long, so between two looks none can lapse unseen."""
        while True:
            try:
                wait = await self._look_for_lost()
            except QueueUnavailable:
                wait = self._tick
            await asyncio.sleep(max(wait.total_seconds(), 0.2) + self._lease.total_seconds() * random.uniform(0, 0.02))

    def _note_answer(self) -> None:
        now = time.monotonic()
        if now - self._answered_at > self._lease.total_seconds() / 2:
            self._back_at = now
        self._answered_at = now

    async def _look_for_lost(self) -> timedelta:
        """Rescue and expire what there is; answers how long nothing more can be lost."""
        with unavailable():
            # A Redis that is frozen carries out on waking what it was sent: let that be this, and not a rescue.
            await self._redis.ping()
        self._note_answer()
        if (back_for := time.monotonic() - self._back_at) < self._lease.total_seconds() / 4:
            # Nobody could prolong a lease meanwhile: the living get time to do so before any of them counts as dead.
            return self._lease / 4 - timedelta(seconds=back_for)
        await self._prolong()
        rescued = await self._lifecycle.rescue()
        for job_id, state in rescued.jobs.items():
            log.warning("rescued from a lost worker", extra={"id": job_id, "state": str(state)})
        for job in await self._lifecycle.expired(rescued.now_ms):
            with contextlib.suppress(Refused):
                await self._lifecycle.expire(job)
        return self._lease if rescued.next_end_in is None else min(self._lease, rescued.next_end_in)


def _limit(limit: asyncio.Timeout, job: Job) -> None:
    """The handler's time begins anew."""
    if job.ttl is not None and job.ttl > timedelta(0):
        seconds = (job.ttl - min(_TTL_MARGIN, job.ttl / 10)).total_seconds()
        limit.reschedule(asyncio.get_running_loop().time() + seconds)


def _message(error: BaseException) -> str:
    """What an exception says, or its name where it says nothing."""
    with contextlib.suppress(Exception):
        if message := str(error):
            return message[:_LONGEST_TEXT]
    return type(error).__name__


def _text(error: BaseException) -> str:
    """The text that stays in the job: first line what went wrong, then where."""
    where = "".join(traceback.format_tb(error.__traceback__))
    return f"{type(error).__name__}: {_message(error)}\n{where}"[:_LONGEST_TEXT]
