"""A worker: claim, let handlers perform, promote on time, hear what is for it, stop kindly.

It wakes for four reasons and polls for none: a token says that a job is ready, a timer that the next delayed one or the next
schedule is due, a handler that its slot is free, and a slow tick that hints may have been lost. A wake-up that finds nothing
costs one call.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import random
import secrets
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Literal

from redis.asyncio import Redis
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as NoAnswer

from rmindr.queue.backoff import Strategy
from rmindr.queue.connections import BLOCK
from rmindr.queue.errors import QueueUnavailable, Refused
from rmindr.queue.job import Lease
from rmindr.queue.keys import Keys
from rmindr.queue.lifecycle import PROMOTED_AT_ONCE, Claimed, Lifecycle
from rmindr.queue.runs import GOODBYE, Performer, Process, Run
from rmindr.queue.schedules import Schedules
from rmindr.queue.upkeep import Upkeep

log = logging.getLogger(__name__)

LEASE: Final = timedelta(seconds=60)
# How long a lost hint may delay a job.
TICK: Final = timedelta(seconds=10)
# The first claim after a rest moves and takes so many jobs at most, each that follows at once twice as many: of thousands
# that are due in one instant the first begin at once, while Redis makes the next ones ready.
_FIRST_BITE: Final = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """How long a lease lasts, how long a lost hint may delay a job, and what becomes of runs that outlast a stop's grace:
    given back unharmed, or failed, which is an attempt."""

    lease: timedelta = LEASE
    tick: timedelta = TICK
    late_runs: Literal["release", "fail"] = "release"


@dataclass(frozen=True, slots=True)
class _Slots:
    """What the last claim told: the types with free slots and nothing waiting, and those barred by a pause or a limit."""

    idle: frozenset[str] = frozenset()
    barred: frozenset[str] = frozenset()

    def lists(self, keys: Keys) -> list[str]:
        """The lists on which something that this worker could take is announced."""
        if not self.idle:
            return []
        announced = [keys.wake_of(type) if type in self.barred else keys.tokens(type) for type in sorted(self.idle)]
        return [keys.wake, *announced]


@dataclass(slots=True)
class _Listening:
    """What the blocked pop waits for at this moment, and whether the pump has said anew what it should."""

    slots: _Slots = field(default_factory=_Slots)
    blocked_on: frozenset[str] = frozenset()
    told: asyncio.Event = field(default_factory=asyncio.Event)


class Worker:
    """Works the jobs of one queue in this process until it is told to stop."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        redis: Redis,
        blocking: Redis,
        keys: Keys,
        processes: Mapping[str, Process],
        strategies: Mapping[str, Strategy],
        timings: Timings,
        version: str = "",
    ) -> None:
        self.id = secrets.token_hex(6)
        self.version = version
        self.name = f"kue:{socket.gethostname()}:{os.getpid()}"
        self._lifecycle = lifecycle
        self._redis = redis
        self._blocking = blocking
        self._keys = keys
        self._processes = processes
        self._timings = timings
        # Not by id: a run whose lease is lost may still be ending when the job is taken again.
        self._runs: set[Run] = set()
        # Handlers at work, and runs whose handler has ended but whose last word is still on its way.
        self._busy: Counter[str] = Counter()
        self._settling: Counter[str] = Counter()
        self._held: set[str] = set()
        self.taken = 0
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._listening = _Listening()
        self._tokens = (f"{self.id}.{number}" for number in itertools.count(1))
        self._performer = Performer(lifecycle, processes, strategies, timings.lease)
        self._schedules = Schedules(redis, keys, lifecycle)
        self._upkeep = Upkeep(self, lifecycle, redis, keys, timings.lease, timings.tick)

    @property
    def runs(self) -> Sequence[Run]:
        """The jobs in handlers' hands."""
        return tuple(self._runs)

    @property
    def active(self) -> int:
        """How many jobs are in handlers' hands."""
        return len(self._runs)

    @property
    def concurrency(self) -> Mapping[str, int]:
        """How many jobs of each type are worked at once."""
        return {type: process.concurrency for type, process in self._processes.items()}

    def pause(self, type: str) -> None:
        """Take no further jobs of this type in this process; those in hand go on."""
        self._held.add(type)

    def resume(self, type: str) -> None:
        """Take jobs of this type again in this process."""
        self._held.discard(type)
        self._wake.set()

    def stop(self) -> None:
        """Take no further jobs; `run` ends when those in hand are settled."""
        self._stopping.set()
        self._wake.set()

    async def run(self, grace: timedelta = timedelta(seconds=20)) -> None:
        """Work until `stop`, then let what is in hand end, for `grace` at most."""
        async with asyncio.TaskGroup() as self._group:
            group = self._group
            aides = [group.create_task(aide) for aide in (self._listen(), *self._upkeep.aides())]
            try:
                await self._pump()
                await self._drain(grace)
            finally:
                for run in self._runs:
                    run.task.cancel()
                for aide in aides:
                    aide.cancel()
                await self._drain(GOODBYE)
                await self._even_tokens()
                await self._upkeep.say_goodbye()

    # Claiming

    async def _pump(self) -> None:
        token, in_doubt, pause, bite = next(self._tokens), False, 0.05, _FIRST_BITE
        try:
            while not self._stopping.is_set():
                self._wake.clear()
                free = self._free_slots()
                wanted = {type: min(count, bite, self._half(type)) for type, count in free.items()}
                again, in_doubt = in_doubt, True
                try:
                    claimed = await self._lifecycle.claim(
                        wanted, token=token, lease=self._timings.lease, worker=self.name, promote=bite, again=again
                    )
                except QueueUnavailable as error:
                    # The claim may have happened: the same token asks again for what it took.
                    log.warning("claim failed", extra={"error": str(error)})
                    await self._sleep(timedelta(seconds=pause * random.uniform(0.5, 1.5)))
                    pause = min(pause * 2, 2.0)
                    continue
                self._upkeep.note_answer()
                if self._stopping.is_set():
                    break
                self.taken += len(claimed.leases)
                for lease in claimed.leases:
                    self._start(lease)
                token, in_doubt, pause = next(self._tokens), False, 0.05
                taken = Counter(lease.job.type for lease in claimed.leases)
                await self._tell_listener(wanted, taken, claimed)
                rests = not claimed.leases and claimed.next_due_in != timedelta(0)
                bite = _FIRST_BITE if rests else min(2 * bite, PROMOTED_AT_ONCE)
                if any(taken[type] == count < free[type] for type, count in wanted.items()):
                    # What has been taken begins while the rest is asked for.
                    await asyncio.sleep(0)
                else:
                    await self._sleep(await self._until_due(claimed))
        finally:
            if in_doubt:
                await self._give_back(token)

    async def _until_due(self, claimed: Claimed) -> timedelta:
        """How long nothing will be due; schedules that are due now make their jobs first."""
        waits = [self._timings.tick]
        if claimed.next_due_in is not None:
            waits.append(claimed.next_due_in)
        if claimed.next_schedule_in is not None:
            wait = claimed.next_schedule_in
            if wait <= timedelta(0):
                with contextlib.suppress(QueueUnavailable):
                    wait = await self._schedules.make_due()
            waits.append(wait)
        return min(waits)

    async def _give_back(self, token: str) -> None:
        """Release what a claim took whose answer came too late or never; what cannot be, is rescued."""
        with contextlib.suppress(QueueUnavailable, TimeoutError):
            async with asyncio.timeout(GOODBYE.total_seconds()):
                lease = self._timings.lease
                claimed = await self._lifecycle.claim({}, token=token, lease=lease, worker=self.name, again=True)
                for lost in claimed.leases:
                    with contextlib.suppress(Refused):
                        await self._lifecycle.release(lost)

    async def _even_tokens(self) -> None:
        """A token that was popped, but not heeded any more, is put back: a Kue would sleep beside a waiting job."""
        with contextlib.suppress(QueueUnavailable, TimeoutError):
            async with asyncio.timeout(GOODBYE.total_seconds()):
                wanted, token = dict.fromkeys(self._processes, 0), next(self._tokens)
                await self._lifecycle.claim(wanted, token=token, lease=self._timings.lease, worker=self.name)

    def _free_slots(self) -> dict[str, int]:
        """How many jobs of each type may be taken. 0 is an answer too: their tokens are counted all the same.

        A slot is free when its handler has ended: the word that ends a run and the next claim travel one behind the other.
        But where many such words wait to be heard, there is no sense in having ever more of them to say."""

        def free(type: str, slots: int) -> int:
            return 0 if type in self._held else max(0, slots - max(self._busy[type], self._settling[type] - slots))

        return {type: free(type, process.concurrency) for type, process in self._processes.items()}

    def _half(self, type: str) -> int:
        """Half of a type's slots, where they are many: handlers work on one half while Redis fills the other."""
        return max(_FIRST_BITE, self._processes[type].concurrency // 2)

    async def _sleep(self, wait: timedelta) -> None:
        timer = asyncio.get_running_loop().call_later(max(0.0, wait.total_seconds()), self._wake.set)
        await self._wake.wait()
        timer.cancel()
        # Whatever handlers end in this turn of the loop is said first, and their slots are filled by one claim.
        await asyncio.sleep(0)

    # Listening

    async def _tell_listener(self, wanted: Mapping[str, int], taken: Mapping[str, int], claimed: Claimed) -> None:
        """A type that had more slots than jobs has none waiting: its next job announces itself by a token."""
        idle = frozenset(type for type, count in wanted.items() if taken[type] < count)
        listening = self._listening
        listening.slots = _Slots(idle, claimed.barred)
        listening.told.set()
        if listening.blocked_on and not set(listening.slots.lists(self._keys)) <= listening.blocked_on:
            await self._ring()

    async def _ring(self) -> None:
        """End this worker's own blocked pop, which waits on other lists than it should by now."""
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.lpush(self._keys.bell(self.id), "")
                pipe.expire(self._keys.bell(self.id), 60)
                await pipe.execute()
        except (RedisError, OSError) as error:
            log.warning("wake-ups lag", extra={"error": type(error).__name__})

    async def _listen(self) -> None:
        """Block on what announces work to this worker, and on its own bell."""
        pause, bell = 0.05, self._keys.bell(self.id)
        while True:
            await self._listening.told.wait()
            lists = [bell, *self._listening.slots.lists(self._keys)]
            self._listening.blocked_on = frozenset(lists)
            try:
                popped = await self._blocking.blpop(lists, timeout=BLOCK.total_seconds())
            except (RedisError, OSError) as error:
                log.warning("wake-ups interrupted", extra={"error": type(error).__name__})
                if isinstance(error, NoAnswer):
                    # Nobody is there any more: what was asked on the other way will not be answered either.
                    await self._redis.connection_pool.disconnect()
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))
                pause = min(pause * 2, 2.0)
                continue
            finally:
                self._listening.blocked_on = frozenset()
            pause = 0.05
            if popped is None:
                continue
            name, word = popped
            if name == bell:
                self._heed(word)
            else:
                self._listening.told.clear()
                self._wake.set()

    def _heed(self, word: str | bytes) -> None:
        """The bell: the id of a job that a person has called off, or nothing but «look again»."""
        for run in self._runs:
            if str(run.lease.job.id) == word:
                run.call_off()

    # Performing

    def _start(self, lease: Lease) -> None:
        run = Run(lease, self._handled)
        run.task = self._group.create_task(self._performer.perform(run), name=f"{lease.job.type} {lease.job.id}")
        self._runs.add(run)
        self._busy[lease.job.type] += 1
        run.task.add_done_callback(lambda _: self._ended(run))

    def _handled(self, run: Run) -> None:
        type = run.lease.job.type
        self._busy[type] -= 1
        self._settling[type] += 1
        self._wake_for(type)

    def _ended(self, run: Run) -> None:
        run.leave_handler()
        type = run.lease.job.type
        self._runs.discard(run)
        self._settling[type] -= 1
        if self._settling[type] >= self._processes[type].concurrency:
            self._wake_for(type)

    def _wake_for(self, type: str) -> None:
        # Where slots were free before this one, nothing was waiting for it.
        if type not in self._listening.slots.idle or self._stopping.is_set():
            self._wake.set()

    async def _drain(self, grace: timedelta) -> None:
        runs = self.runs
        if not runs:
            return
        await asyncio.wait([run.task for run in runs], timeout=grace.total_seconds())
        late = [run for run in runs if not run.task.done()]
        for run in late:
            if self._timings.late_runs == "fail":
                run.cut("Shutdown")
            else:
                run.task.cancel()
        if late:
            await asyncio.wait([run.task for run in late], timeout=2 * GOODBYE.total_seconds())
