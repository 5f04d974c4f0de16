"""Repeating jobs: every so often, or by cron text on the clock of a zone; each instant makes one job, whoever looks.

A schedule stands once in Redis, however many processes declare it. Its job is made when its instant comes, by whichever worker
sees it first: the script that makes the job moves the schedule on in the same breath, and whoever comes second finds it moved.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from redis.asyncio import Redis
from redis.exceptions import WatchError

from rmindr.queue.backoff import LONGEST_WAIT_MS, Backoff
from rmindr.queue.errors import InvalidJob
from rmindr.queue.job import NewJob, from_ms, to_ms
from rmindr.queue.keys import Keys
from rmindr.queue.lifecycle import Lifecycle
from rmindr.queue.scripts import unavailable

log = logging.getLogger(__name__)

# An instant found later than this was missed: everybody was down.
_MISSED_AFTER: Final = timedelta(minutes=1)
_DUE_AT_ONCE: Final = 100
# How often to look again at a schedule that this process cannot follow.
_AGAIN: Final = timedelta(minutes=1)
_DAY_MS: Final = 86_400_000
# What reading something raises that is no schedule.
_NO_SCHEDULE: Final = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A repeating job. Either `every`, counted from midnight UTC of 1 January 1970 so that all processes agree, or `cron` text
    on the clock of `zone`. `missed`: whether instants at which no worker ran are made up for, by one job, or skipped."""

    name: str
    type: str
    data: Any = None
    every: timedelta | None = None
    cron: str | None = None
    zone: str = "UTC"
    missed: Literal["once", "skip"] = "once"
    priority: int | float | str = "normal"
    attempts: int | None = 1
    backoff: Backoff | None = None
    ttl: timedelta | None = None
    remove_on_complete: bool = False
    next_at: datetime | None = field(default=None, compare=False)

    def following(self, after_ms: int) -> int | None:
        """The first instant after this one, ms; None where there is none."""
        if self.every is not None:
            step = to_ms(self.every)
            return (after_ms // step + 1) * step
        return _cron_after(self.cron or "", from_ms(after_ms).astimezone(ZoneInfo(self.zone)))

    def job(self, instant_ms: int) -> NewJob:
        """The job of one instant."""
        return NewJob(
            type=self.type,
            data=self.data,
            priority=self.priority,
            attempts=self.attempts,
            backoff=self.backoff,
            ttl=self.ttl,
            remove_on_complete=self.remove_on_complete,
            schedule=(self.name, from_ms(instant_ms)),
        )

    def checked(self) -> Schedule:
        """This schedule. Raises InvalidJob, naming what is wrong with it."""
        if not isinstance(self.name, str) or not 0 < len(self.name) <= 100 or not self.name.isprintable():
            raise InvalidJob(f"a schedule's name must be 1 to 100 printable characters, not {self.name!r:.60}")
        if (self.every is None) == (self.cron is None):
            raise InvalidJob(f"schedule {self.name!r} needs `every` or `cron`, and not both")
        if self.every is not None and not (
            isinstance(self.every, timedelta) and 1000 <= to_ms(self.every) <= LONGEST_WAIT_MS
        ):
            raise InvalidJob(f"schedule {self.name!r}: every must be at least a second, not {self.every!r:.60}")
        if self.missed not in ("once", "skip"):
            raise InvalidJob(f"schedule {self.name!r}: missed must be once or skip, not {self.missed!r:.60}")
        try:
            ZoneInfo(self.zone)
        except (KeyError, ValueError, TypeError, OSError):
            raise InvalidJob(f"schedule {self.name!r}: {self.zone!r:.60} is no time zone") from None
        if self.cron is not None:
            _cron_after(self.cron, datetime.now(UTC))
        self.job(0).to_args()
        return self

    def to_wire(self) -> str:
        """The schedule as it stands in Redis."""
        wire: dict[str, Any] = {
            "type": self.type,
            "data": self.data,
            "every": to_ms(self.every) if self.every is not None else None,
            "cron": self.cron,
            "zone": self.zone,
            "missed": self.missed,
            "priority": self.priority,
            "attempts": self.attempts,
            "backoff": dict(self.backoff.to_wire()) if self.backoff is not None else None,
            "ttl": to_ms(self.ttl) if self.ttl is not None else None,
            "remove_on_complete": self.remove_on_complete,
        }
        return json.dumps({name: value for name, value in wire.items() if value is not None}, ensure_ascii=False)

    @classmethod
    def from_wire(cls, name: str, text: str, next_ms: float | None) -> Schedule:
        """Read one. Raises ValueError, KeyError or TypeError where it is none."""
        wire = json.loads(text)
        backoff = wire.get("backoff")
        return cls(
            name=name,
            type=wire["type"],
            data=wire.get("data"),
            every=timedelta(milliseconds=wire["every"]) if "every" in wire else None,
            cron=wire.get("cron"),
            zone=wire.get("zone", "UTC"),
            missed=wire.get("missed", "once"),
            priority=wire.get("priority", 0),
            attempts=wire.get("attempts"),
            backoff=Backoff.from_wire(backoff.get("backoff"), backoff.get("strategy")) if backoff else None,
            ttl=timedelta(milliseconds=wire["ttl"]) if "ttl" in wire else None,
            remove_on_complete=wire.get("remove_on_complete", False),
            next_at=from_ms(int(next_ms)) if next_ms is not None else None,
        )


class Schedules:
    """The schedules of one queue."""

    def __init__(self, redis: Redis, keys: Keys, lifecycle: Lifecycle) -> None:
        self._redis = redis
        self._keys = keys
        self._lifecycle = lifecycle
        # Until when, ms, to leave alone what this process cannot follow.
        self._beyond_us: dict[str, int] = {}

    async def declare(self, schedule: Schedule) -> Schedule:
        """Let this schedule stand, in place of what stood under its name; one that stands already, just so, goes on as it
        is. Answers it with its next instant. Raises InvalidJob, QueueUnavailable."""
        wire = schedule.checked().to_wire()
        while True:
            with unavailable():
                try:
                    async with self._redis.pipeline(transaction=True) as pipe:
                        next_ms = await self._stand(pipe, schedule, wire)
                except WatchError:
                    # Somebody else has declared it, or moved one on, at this very moment.
                    continue
            return Schedule.from_wire(schedule.name, wire, next_ms)

    async def _stand(self, pipe: Any, schedule: Schedule, wire: str) -> int:
        """Write a schedule down, unless it stands so already; its next instant. What it was decided by must not change
        meanwhile: an instant that has come would come again."""
        key = self._keys.schedule(schedule.name)
        await pipe.watch(self._keys.schedules, key)
        next_ms = await pipe.zscore(self._keys.schedules, schedule.name)
        if next_ms is not None and await pipe.hget(key, "is") == wire:
            return int(next_ms)
        following = schedule.following(await self._lifecycle.now_ms(pipe))
        if following is None:
            raise InvalidJob(f"schedule {schedule.name!r} has no instant to come")
        pipe.multi()
        pipe.hset(key, "is", wire)
        pipe.zadd(self._keys.schedules, {schedule.name: following})
        # A worker that sleeps until something later looks again.
        self._lifecycle.ring(pipe)
        await pipe.execute()
        return following

    async def remove(self, name: str) -> bool:
        """No further run of this schedule; False where there is none. Jobs that it made stay."""
        with unavailable():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.zrem(self._keys.schedules, name)
                pipe.delete(self._keys.schedule(name))
                removed, _ = await pipe.execute()
        return bool(removed)

    async def all(self) -> Sequence[Schedule]:
        """Every schedule, soonest first; what cannot be read is left out."""
        with unavailable():
            standing: Any = await self._redis.zrange(self._keys.schedules, 0, -1, withscores=True)
        return await self._read(standing)

    async def make_due(self) -> timedelta:
        """Make the jobs of what is due; answers how long until the next schedule is. Raises QueueUnavailable."""
        now_ms = await self._lifecycle.now_ms()
        self._beyond_us = {name: until for name, until in self._beyond_us.items() if until > now_ms}
        with unavailable():
            many = _DUE_AT_ONCE + len(self._beyond_us)
            due: Any = await self._redis.zrange(
                self._keys.schedules, "-inf", str(now_ms), byscore=True, offset=0, num=many, withscores=True
            )
        due = [(name, instant) for name, instant in due if name not in self._beyond_us]
        for (name, instant), text in zip(due, await self._texts(due), strict=True):
            try:
                schedule = Schedule.from_wire(name, text, instant).checked()
            except InvalidJob as error:
                # A zone or a cron text of another release, perhaps: its jobs are made by those who know it.
                log.error("schedule cannot be followed here", extra={"schedule": name, "why": str(error)})
                self._beyond_us[name] = now_ms + to_ms(_AGAIN)
            except _NO_SCHEDULE:
                log.error("unreadable schedule removed", extra={"schedule": name})
                await self.remove(name)
            else:
                await self._make(schedule, text, int(instant), now_ms)
        return await self._until_next(now_ms)

    async def _make(self, schedule: Schedule, text: str, instant_ms: int, now_ms: int) -> None:
        following = schedule.following(max(instant_ms, now_ms))
        late = timedelta(milliseconds=now_ms - instant_ms)
        passes = schedule.missed == "skip" and late > _MISSED_AFTER
        new = None if passes else schedule.job(instant_ms)
        job_id = await self._lifecycle.recur(schedule.name, text, instant_ms, following, new)
        if job_id is not None:
            log.info("scheduled job made", extra={"schedule": schedule.name, "id": job_id})

    async def _until_next(self, now_ms: int) -> timedelta:
        with unavailable():
            first: Any = await self._redis.zrange(self._keys.schedules, 0, len(self._beyond_us), withscores=True)
        instants = [instant for name, instant in first if name not in self._beyond_us]
        wait_ms = min([*instants, *self._beyond_us.values()], default=now_ms + _DAY_MS) - now_ms
        return timedelta(milliseconds=max(0, min(wait_ms, _DAY_MS)))

    async def _read(self, standing: Sequence[tuple[str, float]]) -> list[Schedule]:
        found = []
        for (name, next_ms), text in zip(standing, await self._texts(standing), strict=True):
            with contextlib.suppress(*_NO_SCHEDULE):
                found.append(Schedule.from_wire(name, text, next_ms))
        return found

    async def _texts(self, standing: Sequence[tuple[str, float]]) -> Sequence[Any]:
        """What stands under these names; None or an error where that is nothing, or of another kind."""
        if not standing:
            return []
        with unavailable():
            async with self._redis.pipeline(transaction=False) as pipe:
                for name, _ in standing:
                    pipe.hget(self._keys.schedule(name), "is")
                return await pipe.execute(raise_on_error=False)


def _cron_after(text: str, moment: datetime) -> int | None:
    """The first instant after this one that the cron text names, on the clock of the moment's zone; as Debian's cron has it,
    a time that the clocks jump over comes right after the jump, and one that comes twice comes once, the first time. Raises
    InvalidJob."""
    # Read only where cron text is: the queue itself needs nothing but redis.
    from cronsim import CronSim, CronSimError

    try:
        for found in CronSim(text, moment):
            # Within the hour that comes twice, the first one found may be of the first time around, and past.
            if (instant := to_ms(found.astimezone(UTC))) > to_ms(moment):
                return instant
    except (CronSimError, AttributeError, TypeError) as error:
        raise InvalidJob(f"{text!r:.60} is no cron text: {error}") from None
    return None
