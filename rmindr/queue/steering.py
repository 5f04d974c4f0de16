"""What is decided once for all workers of a queue, from any process, and outlives restarts: pauses, limits, what is kept; and
who the workers are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from redis.asyncio import Redis

from rmindr.queue.errors import InvalidJob
from rmindr.queue.job import State, checked_type, from_ms, to_ms
from rmindr.queue.keys import Keys
from rmindr.queue.lifecycle import Lifecycle
from rmindr.queue.scripts import unavailable
from rmindr.queue.upkeep import SILENCE

# All types: no type has an empty name.
_ALL: Final = ""
_ENDED: Final = (State.COMPLETE, State.FAILED)
_JUST_BEGUN: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """At most `rate` runs of a type begin within any `per`, and at most `concurrency` of them go on at once, in all processes
    together. None means no limit of that kind."""

    rate: int | None = None
    per: timedelta = timedelta(seconds=1)
    concurrency: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How many jobs that have ended in one state are kept, and for how long; None means all, for ever."""

    count: int | None = None
    age: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """A worker as it last said of itself. `memory` is the most that its process ever held, bytes."""

    id: str
    host: str
    pid: int
    version: str
    types: Mapping[str, int]
    active: Sequence[int]
    memory: int
    started_at: datetime
    seen_at: datetime
    alive: bool


class Steering:
    """The decisions of one queue. Every method raises QueueUnavailable."""

    def __init__(self, redis: Redis, keys: Keys, lifecycle: Lifecycle) -> None:
        self._redis = redis
        self._keys = keys
        self._lifecycle = lifecycle

    async def pause(self, type: str | None = None) -> None:
        """No worker takes a job of this type, or of any, from now on; what runs goes on. Raises InvalidJob."""
        with unavailable():
            await self._redis.sadd(self._keys.paused, _ALL if type is None else checked_type(type))

    async def resume(self, type: str | None = None) -> None:
        """Take jobs of this type again; without a type, end the pause of all (a type's own pause stays). Raises InvalidJob."""
        with unavailable():
            await self._redis.srem(self._keys.paused, _ALL if type is None else checked_type(type))
            types: Any = [type] if type is not None else await self._redis.smembers(self._keys.types)
        await self._wake(types)

    async def paused(self) -> tuple[bool, Sequence[str]]:
        """Whether everything is paused, and the types that are by themselves."""
        with unavailable():
            found: Any = await self._redis.smembers(self._keys.paused)
        return _ALL in found, sorted(found - {_ALL})

    async def limit(self, type: str, limit: Limit | None) -> None:
        """Let this limit stand for a type, or none; it holds from the next claim on. Raises InvalidJob."""
        name = checked_type(type)
        with unavailable():
            if limit is None or (limit.rate is None and limit.concurrency is None):
                await self._redis.hdel(self._keys.limits, name)
            else:
                rate = "" if limit.rate is None else str(_whole(limit.rate, "rate"))
                period = "" if limit.rate is None else _ms(limit.per, "per")
                concurrency = "" if limit.concurrency is None else str(_whole(limit.concurrency, "concurrency"))
                await self._redis.hset(self._keys.limits, name, f"{rate} {period} {concurrency}")
        await self._wake([name])

    async def limits(self) -> Mapping[str, Limit]:
        """The limits that stand, by type."""
        with unavailable():
            found: Any = await self._redis.hgetall(self._keys.limits)
        return {type: limit_of(text) for type, text in found.items()}

    async def retain(self, state: Literal[State.COMPLETE, State.FAILED], kept: Kept) -> None:
        """Keep so many jobs that have ended in this state, for so long; the rest is removed as others end, and by upkeep.

        Raises InvalidJob."""
        if state not in _ENDED:
            raise InvalidJob(f"only complete and failed jobs are kept for a while, not {state!r:.60}")
        count = "" if kept.count is None else str(_whole(kept.count, "count", least=0))
        age = "" if kept.age is None else _ms(kept.age, "age")
        with unavailable():
            if kept == Kept():
                await self._redis.hdel(self._keys.retention, State(state))
            else:
                await self._redis.hset(self._keys.retention, State(state), f"{count} {age}")

    async def retention(self) -> Mapping[State, Kept]:
        """What is kept, by state."""
        with unavailable():
            found: Any = await self._redis.hgetall(self._keys.retention)
        return {state: kept_of(found.get(state, "")) for state in _ENDED}

    async def setting(self, name: str) -> str | None:
        """A value out of Kue's hash of settings, which nothing in Kue writes."""
        with unavailable():
            found: Any = await self._redis.hget(f"{self._keys.prefix}:settings", name)
        return found if isinstance(found, str) else None

    async def workers(self) -> Sequence[WorkerInfo]:
        """The workers that have been heard of lately, the one that works longest first."""
        now_ms = await self._lifecycle.now_ms()
        with unavailable():
            heard: Any = await self._redis.zrange(self._keys.workers, 0, -1, withscores=True)
            async with self._redis.pipeline(transaction=False) as pipe:
                for worker, _ in heard:
                    pipe.hgetall(self._keys.worker(worker))
                found = await pipe.execute(raise_on_error=False) if heard else []
        workers = [worker_of(id, seen_ms, about, now_ms) for (id, seen_ms), about in zip(heard, found, strict=True)]
        return sorted(filter(None, workers), key=lambda worker: worker.started_at)

    async def _wake(self, types: Sequence[str]) -> None:
        """Wake the workers that a pause or a limit sent to sleep: one token each, and some for those that have just begun, who
        look for work before they say that they are there."""
        with unavailable():
            tokens = ["1"] * min(await self._redis.zcard(self._keys.workers) + _JUST_BEGUN, 1000)
            async with self._redis.pipeline(transaction=True) as pipe:
                for type in types:
                    pipe.delete(self._keys.wake_of(type))
                    pipe.rpush(self._keys.wake_of(type), *tokens)
                    # Whoever does not work this type leaves its token lying.
                    pipe.expire(self._keys.wake_of(type), 60)
                await pipe.execute()


def limit_of(text: str) -> Limit:
    """A limit as it stands in Redis, e.g. `10 60000 `."""
    rate, period, concurrency = (int(part) if part.isdigit() else None for part in f"{text}  ".split(" ")[:3])
    return Limit(rate=rate, per=timedelta(milliseconds=period or 1000), concurrency=concurrency)


def kept_of(text: str) -> Kept:
    """What is kept, as it stands in Redis, e.g. `1000 `."""
    count, _, age = text.partition(" ")
    return Kept(
        count=int(count) if count.isdigit() else None,
        age=timedelta(milliseconds=int(age)) if age.isdigit() else None,
    )


def worker_of(id: str, seen_ms: float, about: Any, now_ms: int) -> WorkerInfo | None:
    """A worker by what it has said of itself; None where that is nothing, or nothing that could be understood."""
    if not isinstance(about, dict) or not about:
        return None
    try:
        return WorkerInfo(
            id=id,
            host=about.get("host", ""),
            pid=int(about.get("pid", 0)),
            version=about.get("version", ""),
            types={str(type): int(slots) for type, slots in json.loads(about.get("types", "{}")).items()},
            active=[int(job_id) for job_id in json.loads(about.get("active", "[]"))],
            memory=int(about.get("memory", 0)),
            started_at=from_ms(about.get("started_at", 0)),
            seen_at=from_ms(int(seen_ms)),
            alive=now_ms - seen_ms < to_ms(SILENCE),
        )
    except (ValueError, TypeError, AttributeError, OverflowError):
        return None


def _ms(value: timedelta, name: str) -> str:
    if not isinstance(value, timedelta):
        raise InvalidJob(f"{name} must be a duration, not {value!r:.60}")
    return str(_whole(to_ms(value), f"{name}, ms"))


def _whole(value: int, name: str, *, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**53:
        raise InvalidJob(f"{name} must be a whole number from {least}, not {value!r:.60}")
    return value
