"""A worker: claim, perform, settle; promote and rescue on time; stop kindly.

It wakes for four reasons and polls for none: a token says that a job is ready, a timer that the next delayed one is due, a
handler that its slot is free, and a slow tick that hints may have been lost. A wake-up that finds nothing costs one call.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import secrets
import socket
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from rmindr.queue.connections import BLOCK
from rmindr.queue.errors import InvalidJob, JobNotFound, LeaseLost, QueueUnavailable, Refused
from rmindr.queue.job import Job, Lease, to_ms
from rmindr.queue.keys import Keys
from rmindr.queue.lifecycle import Lifecycle

log = logging.getLogger(__name__)

LEASE: Final = timedelta(seconds=60)
# How long a lost hint may delay a job.
TICK: Final = timedelta(seconds=5)
# A job with a ttl is ended this much before Kue's own expiry timer would see it.
_TTL_MARGIN: Final = timedelta(milliseconds=50)


class Retry(Exception):
    """Raised by a handler: try this job again after a while. `counted=False`: the run was not an attempt."""

    def __init__(self, reason: str = "", *, after: timedelta, counted: bool = True) -> None:
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


@dataclass(frozen=True, slots=True)
class Process:
    """How jobs of one type are worked: by whom, and how many at once."""

    handler: Handler
    concurrency: int


@dataclass(slots=True)
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
        self._runs: dict[int, _Run] = {}
        self._held: set[str] = set()
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._idle_types: frozenset[str] = frozenset()
        self._blocked_on: frozenset[str] = frozenset()
        self._waiting = asyncio.Event()
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
                for run in self._runs.values():
                    run.task.cancel()
                for aide in aides:
                    aide.cancel()
                await self._drain(grace)

    # Claiming

    async def _pump(self) -> None:
        token, lost_answer, pause = secrets.token_hex(8), False, 0.05
        while not self._stopping.is_set():
            self._wake.clear()
            wanted = self._free_slots()
            try:
                claimed = await self._lifecycle.claim(
                    wanted, token=token, lease=self._lease, worker=self.name, again=lost_answer
                )
            except QueueUnavailable as error:
                # The claim may have happened: the same token asks again for what it took.
                lost_answer = True
                log.warning("claim failed", extra={"error": str(error)})
                await self._sleep(timedelta(seconds=pause * random.uniform(0.5, 1.5)))
                pause = min(pause * 2, 2.0)
                continue
            token, lost_answer, pause = secrets.token_hex(8), False, 0.05
            for lease in claimed.leases:
                self._start(lease)
            self._note_idle(wanted, claimed.leases)
            if self._blocked_on and not self._idle_types <= self._blocked_on:
                await self._ring()
            await self._sleep(min(self._tick, claimed.next_due_in or self._tick))

    def _free_slots(self) -> dict[str, int]:
        busy: dict[str, int] = dict.fromkeys(self._processes, 0)
        for run in self._runs.values():
            busy[run.lease.job.type] += 1
        return {
            type: max(0, process.concurrency - busy[type])
            for type, process in self._processes.items()
            if type not in self._held
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
        self._runs[lease.job.id] = run
        task.add_done_callback(lambda _: self._ended(run))

    def _ended(self, run: _Run) -> None:
        self._runs.pop(run.lease.job.id, None)
        # Where slots were free before this one, nothing was waiting for it.
        if run.lease.job.type not in self._idle_types or self._stopping.is_set():
            self._wake.set()

    async def _perform(self, lease: Lease) -> None:
        job = lease.job
        handler = self._processes[job.type].handler
        try:
            async with asyncio.timeout(None) as limit:
                context = Context(self._lifecycle, lease, lambda: _limit(limit, job))
                _limit(limit, job)
                result = await handler(job, context)
            await self._settle(job, lambda: self._lifecycle.complete(lease, result))
        except Retry as signal:
            await self._put_off(lease, signal)
        except Abandon as signal:
            reason = str(signal)
            await self._settle(job, lambda: self._lifecycle.fail(lease, reason, wait_ms=None))
        except InvalidJob as error:
            message = f"the handler's result: {error}"
            await self._settle(job, lambda: self._lifecycle.fail(lease, message, wait_ms=job.wait_ms_after_failure()))
        except asyncio.CancelledError:
            # Stopping, or the lease is lost: given back if it is still ours. Neither is an attempt.
            await self._settle(job, lambda: self._lifecycle.release(lease))
            raise
        except (Exception, SystemExit) as error:
            message, text = _failure(error, ttl_over=isinstance(error, TimeoutError) and limit.expired())
            wait = job.wait_ms_after_failure()
            await self._settle(job, lambda: self._lifecycle.fail(lease, message, text, wait_ms=wait))

    async def _put_off(self, lease: Lease, signal: Retry) -> None:
        job = lease.job
        if signal.counted:
            wait = max(0, to_ms(signal.after))
            await self._settle(job, lambda: self._lifecycle.fail(lease, str(signal), wait_ms=wait))
        else:
            await self._settle(job, lambda: self._lifecycle.release(lease, signal.after))

    async def _settle(self, job: Job, end: Callable[[], Awaitable[Any]]) -> None:
        """End a run, for as long as the lease may last: Redis may be away for a moment."""
        pause = 0.05
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._lease.total_seconds()):
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
        tasks = [run.task for run in self._runs.values()]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=grace.total_seconds())
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=self._lease.total_seconds())

    # Upkeep

    async def _renew(self) -> None:
        """Prolong all leases in one call, four times per lease; a handler whose lease is lost is cancelled."""
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 4)
            runs = list(self._runs.values())
            if not runs:
                continue
            try:
                lost = await self._lifecycle.renew([run.lease for run in runs], self._lease)
            except QueueUnavailable as error:
                log.warning("leases not renewed", extra={"error": str(error)})
                continue
            for lease in lost:
                run = self._runs.get(lease.job.id)
                if run is not None and run.lease is lease and not run.lost:
                    run.lost = True
                    log.warning("lease lost", extra={"id": lease.job.id, "type": lease.job.type})
                    run.task.cancel()

    async def _rescue(self) -> None:
        """Take jobs back from dead workers when their leases end, and end those whose ttl is over.

        A new lease lasts at least this long, so between two looks none can lapse unseen."""
        while True:
            wait = self._lease
            try:
                rescued = await self._lifecycle.rescue()
                for job_id, state in rescued.jobs.items():
                    log.warning("rescued from a lost worker", extra={"id": job_id, "state": str(state)})
                for job in await self._lifecycle.expired(rescued.now_ms):
                    await self._lifecycle.expire(job)
                wait = min(self._lease, rescued.next_end_in or self._lease)
            except QueueUnavailable:
                wait = self._tick
            except Refused as refusal:
                log.info("expiry came too late", extra={"why": str(refusal)})
            await asyncio.sleep(max(wait.total_seconds(), 0.2) * random.uniform(1.0, 1.1))


def _limit(limit: asyncio.Timeout, job: Job) -> None:
    if job.ttl is not None:
        seconds = max(0.0, (job.ttl - _TTL_MARGIN).total_seconds())
        limit.reschedule(asyncio.get_running_loop().time() + seconds)


def _failure(error: BaseException, *, ttl_over: bool) -> tuple[str, str]:
    """The message of an exception, and the text that stays in the job: first line what went wrong, then where."""
    if ttl_over:
        return "TTL exceeded", "TTL exceeded"
    message = str(error) or type(error).__name__
    where = "".join(traceback.format_tb(error.__traceback__))
    return message, f"{type(error).__name__}: {message}\n{where}"[:20_000]
