"""What keeps a queue whole beside the work: leases prolonged, lost runs taken back, old ones removed, half-moved ones mended.

Every worker does all of it; what two do at once is done once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import os
import random
import resource
import socket
import sys
import time
from collections.abc import Coroutine, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Protocol

from redis.asyncio import Redis

from rmindr.queue.errors import QueueUnavailable, Refused
from rmindr.queue.keys import Keys
from rmindr.queue.lifecycle import PRUNED_AT_ONCE, Lifecycle
from rmindr.queue.mending import Mending
from rmindr.queue.runs import GOODBYE, Run
from rmindr.queue.scripts import unavailable

log = logging.getLogger(__name__)

# How often a worker says that it is alive, and how long silence means that it is not.
BEAT: Final = timedelta(seconds=20)
SILENCE: Final = timedelta(seconds=60)
# How often a worker counts the sets against each other; each so many times only while it has no work.
_COUNTED_EVERY: Final = timedelta(minutes=1)
_ROUNDS_AT_REST: Final = 5
# How long to wait at most when Redis is away.
_LOOK_FOR_REDIS: Final = timedelta(seconds=5)


class Crew(Protocol):
    """What upkeep must know of the worker whose it is."""

    id: str
    version: str
    # How many jobs it has taken so far.
    taken: int

    @property
    def runs(self) -> Sequence[Run]:
        """The jobs in handlers' hands."""

    @property
    def concurrency(self) -> Mapping[str, int]:
        """How many jobs of each type are worked at once."""


class Upkeep:
    """The upkeep that one worker does. `tick` is how long to wait when Redis is away."""

    def __init__(
        self, crew: Crew, lifecycle: Lifecycle, redis: Redis, keys: Keys, lease: timedelta, tick: timedelta
    ) -> None:
        self._crew = crew
        self._lifecycle = lifecycle
        self._redis = redis
        self._keys = keys
        self._lease = lease
        self._tick = min(tick, _LOOK_FOR_REDIS)
        # By the server's clock, as it stood at the first sign of life; and what was said then of this worker.
        self._began_ms: int | None = None
        self._said: dict[Any, Any] = {}
        # What to add to this process's clock for the server's.
        self._ahead_ms = 0.0
        # When Redis last answered, and when it last did so after a silence that leases may not have survived.
        self._answered_at = time.monotonic()
        self._back_at = -math.inf
        self._mending = Mending(lifecycle, redis, keys)

    def aides(self) -> Sequence[Coroutine[Any, Any, None]]:
        """What is to run beside the worker, until cancelled."""
        return (self._renew(), self._rescue(), self._beat(), self._mend())

    def note_answer(self) -> None:
        """Redis has answered just now."""
        now = time.monotonic()
        if now - self._answered_at > self._lease.total_seconds() / 2:
            self._back_at = now
        self._answered_at = now

    async def say_goodbye(self) -> None:
        """This worker is no more."""
        with contextlib.suppress(QueueUnavailable, TimeoutError):
            async with asyncio.timeout(GOODBYE.total_seconds()):
                with unavailable():
                    async with self._redis.pipeline(transaction=True) as pipe:
                        pipe.zrem(self._keys.workers, self._crew.id)
                        pipe.delete(self._keys.worker(self._crew.id), self._keys.bell(self._crew.id))
                        await pipe.execute()

    # Leases

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
        """Prolong all leases in one call; a handler whose lease is lost is cancelled, or whose job was without its bell being
        heard."""
        runs = list(self._crew.runs)
        if not runs:
            return
        replies = await self._lifecycle.renew([run.lease for run in runs], self._lease)
        self.note_answer()
        still = set(self._crew.runs)
        for run, reply in zip(runs, replies, strict=True):
            if run not in still or reply == "ok":
                continue
            if reply == "cancelled":
                run.call_off()
            elif not run.lost and not run.handled:
                # Of one that is handled, the last word may have been heard just before.
                run.lost = True
                log.warning("lease lost", extra={"id": run.lease.job.id, "type": run.lease.job.type})
                run.task.cancel()

    # Lost runs

    async def _rescue(self) -> None:
        """Take jobs back from dead workers when their leases end, end those whose ttl is over, remove what is too old.

        A new lease lasts at least this long, so between two looks none can lapse unseen."""
        lease = self._lease.total_seconds()
        # Two looks with half a lease between them would each time seem to come after a silence of Redis.
        pause = min(0.2, lease / 4)
        while True:
            try:
                wait = await self._look_for_lost()
                pruned = PRUNED_AT_ONCE
                while pruned >= PRUNED_AT_ONCE:
                    pruned = await self._lifecycle.prune()
            except QueueUnavailable:
                wait = self._tick
            await asyncio.sleep(max(wait.total_seconds(), pause) + lease * random.uniform(0, 0.02))

    async def _look_for_lost(self) -> timedelta:
        """Rescue and expire what there is; answers how long nothing more can be lost."""
        # A Redis that is frozen carries out on waking what it was sent: let that be this; and of a rescue, only what was due.
        now_ms = await self._lifecycle.now_ms()
        self.note_answer()
        if (back_for := time.monotonic() - self._back_at) < self._lease.total_seconds() / 4:
            # Nobody could prolong a lease meanwhile: the living get time to do so before any of them counts as dead.
            return self._lease / 4 - timedelta(seconds=back_for)
        await self._prolong()
        rescued = await self._lifecycle.rescue(now_ms)
        self._ahead_ms = rescued.now_ms - time.monotonic() * 1000
        for job_id, state in rescued.jobs.items():
            log.warning("rescued from a lost worker", extra={"id": job_id, "state": str(state)})
        # Only runs that are leased are ended here.
        for job in await self._lifecycle.expired(rescued.now_ms) if rescued.next_end_in is not None else ():
            with contextlib.suppress(Refused):
                await self._lifecycle.expire(job)
        return self._lease if rescued.next_end_in is None else min(self._lease, rescued.next_end_in)

    # Signs of life

    async def _beat(self) -> None:
        """Say what this worker is and does, so that people see who works."""
        while True:
            with contextlib.suppress(QueueUnavailable):
                await self._say_alive()
            await asyncio.sleep(BEAT.total_seconds())

    async def _say_alive(self) -> None:
        if self._began_ms is None:
            self._began_ms = await self._lifecycle.now_ms()
        # Kilobytes on Linux, bytes on macOS.
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        about: dict[Any, Any] = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": self._crew.version,
            "started_at": self._began_ms,
            "types": json.dumps(dict(self._crew.concurrency)),
            "active": json.dumps([run.lease.job.id for run in self._crew.runs][:100]),
            "memory": memory,
        }
        if about != self._said or not await self._still_alive():
            await self._introduce(about)

    async def _still_alive(self) -> bool:
        """Say so, where all else is as it was; False where Redis has forgotten who this is."""
        with unavailable():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.pexpire(self._keys.worker(self._crew.id), SILENCE)
                pipe.zadd(self._keys.workers, {self._crew.id: int(time.monotonic() * 1000 + self._ahead_ms)})
                known, _ = await pipe.execute()
        return bool(known)

    async def _introduce(self, about: dict[Any, Any]) -> None:
        now_ms = await self._lifecycle.now_ms()
        self._ahead_ms = now_ms - time.monotonic() * 1000
        key = self._keys.worker(self._crew.id)
        with unavailable():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(key, mapping=about)
                pipe.pexpire(key, SILENCE)
                pipe.zadd(self._keys.workers, {self._crew.id: now_ms})
                pipe.zremrangebyscore(self._keys.workers, "-inf", now_ms - 10 * SILENCE // timedelta(milliseconds=1))
                await pipe.execute()
        self._said = about

    # What a Kue's crash leaves

    async def _mend(self) -> None:
        """Look after half-moved jobs, now and then."""
        taken, quiet = self._crew.taken, 0
        while True:
            await asyncio.sleep(_COUNTED_EVERY.total_seconds() * random.uniform(0.9, 1.1))
            at_rest = taken == self._crew.taken and not self._mending.has_suspects
            taken = self._crew.taken
            quiet = quiet + 1 if at_rest else 0
            if quiet <= 1 or quiet % _ROUNDS_AT_REST == 0:
                with contextlib.suppress(QueueUnavailable):
                    await self._mending.mend()
