"""Repeating jobs: every so often, or by cron text on the clock of a zone; each instant makes one job, whoever looks.

A schedule stands once in Redis, however many processes declare it. Its job is made when its instant comes, by whichever worker
sees it first: the script that makes the job moves the schedule on in the same breath, and whoever comes second finds it moved.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from redis.asyncio import Redis

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
_AGAIN: Final = timedelta(seconds=1)


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
        if self.every is not None and not 1000 <= to_ms(self.every) <= LONGEST_WAIT_MS:
            raise InvalidJob(f"schedule {self.name!r}: every must be at least a second, not {self.every!r}")
        try:
            ZoneInfo(self.zone)
        except (KeyError, ValueError, OSError):
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

    async def declare(self, schedule: Schedule) -> Schedule:
        """Let this schedule stand, in place of what stood under its name; one that stands already, just so, goes on as it
        is. Answers it with its next instant. Raises InvalidJob, QueueUnavailable."""
        wire = schedule.checked().to_wire()
        now_ms = await self._now_ms()
        with unavailable():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hget(self._keys.schedule(schedule.name), "is")
                pipe.zscore(self._keys.schedules, schedule.name)
                standing, next_ms = await pipe.execute()
            if standing == wire and next_ms is not None:
                return Schedule.from_wire(schedule.name, wire, next_ms)
            following = schedule.following(now_ms)
            if following is None:
                raise InvalidJob(f"schedule {schedule.name!r} has no instant to come")
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(self._keys.schedule(schedule.name), "is", wire)
                pipe.zadd(self._keys.schedules, {schedule.name: following})
                # A worker that sleeps until something later looks again.
                pipe.lpush(self._keys.wake, "1")
                pipe.ltrim(self._keys.wake, 0, 0)
                await pipe.execute()
        return Schedule.from_wire(schedule.name, wire, following)

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
        now_ms = await self._now_ms()
        with unavailable():
            due: Any = await self._redis.zrange(
                self._keys.schedules, "-inf", str(now_ms), byscore=True, offset=0, num=_DUE_AT_ONCE, withscores=True
            )
        readable = await self._read(due)
        for schedule in readable:
            assert schedule.next_at is not None  # noqa: S101  (read with its score)
            await self._make(schedule, to_ms(schedule.next_at), now_ms)
        for name in {name for name, _ in due} - {schedule.name for schedule in readable}:
            log.error("unreadable schedule removed", extra={"schedule": name})
            await self.remove(name)
        with unavailable():
            head: Any = await self._redis.zrange(self._keys.schedules, 0, 0, withscores=True)
        if not head:
            return timedelta(days=1)
        return max(timedelta(0), min(timedelta(milliseconds=head[0][1] - now_ms), timedelta(days=1)))

    async def _make(self, schedule: Schedule, instant_ms: int, now_ms: int) -> None:
        try:
            following = schedule.following(max(instant_ms, now_ms))
        except InvalidJob as error:
            # A zone that is gone, a cron text of another release: no reason to stop the others.
            log.exception("schedule cannot go on", extra={"schedule": schedule.name, "why": str(error)})
            following = to_ms(from_ms(now_ms) + _AGAIN)
        late = timedelta(milliseconds=now_ms - instant_ms)
        passes = schedule.missed == "skip" and late > _MISSED_AFTER
        new = None if passes else schedule.job(instant_ms)
        job_id = await self._lifecycle.recur(schedule.name, instant_ms, following, new)
        if job_id is not None:
            log.info("scheduled job made", extra={"schedule": schedule.name, "id": job_id})

    async def _read(self, standing: Sequence[tuple[str, float]]) -> list[Schedule]:
        if not standing:
            return []
        with unavailable():
            async with self._redis.pipeline(transaction=False) as pipe:
                for name, _ in standing:
                    pipe.hget(self._keys.schedule(name), "is")
                texts = await pipe.execute(raise_on_error=False)
        found = []
        for (name, next_ms), text in zip(standing, texts, strict=True):
            try:
                found.append(Schedule.from_wire(name, text, next_ms))
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
                continue
        return found

    async def _now_ms(self) -> int:
        return await self._lifecycle.now_ms()


def _cron_after(text: str, moment: datetime) -> int | None:
    """The first instant after this one that the cron text names, on the clock of the moment's zone; as Debian's cron has it,
    a time that the clocks jump over comes right after the jump, and one that comes twice comes once. Raises InvalidJob."""
    # Read only where cron text is: the queue itself needs nothing but redis.
    from cronsim import CronSim, CronSimError

    try:
        found: datetime = next(CronSim(text, moment))
    except CronSimError as error:
        raise InvalidJob(f"{text!r:.60} is no cron text: {error}") from None
    except StopIteration:
        return None
    return to_ms(found.astimezone(UTC))
