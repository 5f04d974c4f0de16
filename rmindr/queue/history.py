"""What a queue has done, by minute and by day: how many jobs came, ended and failed, and how late runs began."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from redis.asyncio import Redis
from redis.exceptions import RedisError

from rmindr.queue.job import from_ms
from rmindr.queue.keys import Keys
from rmindr.queue.lifecycle import Lifecycle
from rmindr.queue.scripts import is_wrong_type, unavailable

Period = Literal["minute", "day"]

LENGTHS: Final[Mapping[Period, timedelta]] = {"minute": timedelta(minutes=1), "day": timedelta(days=1)}
# The classes of lateness that claim.lua counts in, ms; beyond the last there is «more».
CLASSES_MS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000, 300_000, 3_600_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One minute or day. `late` counts the runs that began, by class of lateness in ms; the last class has no end."""

    begins: datetime
    created: int = 0
    complete: int = 0
    failed: int = 0
    failed_attempts: int = 0
    late: tuple[int, ...] = ()

    def late_ms(self, share: float) -> float | None:
        """How late this share of the runs was at most, e.g. 0.99 → 20.0: the end of the class in which it lies; None where
        none began."""
        total, reached = sum(self.late), 0
        if total == 0:
            return None
        for count, class_ms in zip(self.late, (*CLASSES_MS, float("inf")), strict=True):
            reached += count
            if reached >= share * total:
                return class_ms
        return float("inf")


class History:
    """What was counted of one queue: minutes are kept for four hours, days for a hundred. Raises QueueUnavailable."""

    def __init__(self, redis: Redis, keys: Keys, lifecycle: Lifecycle) -> None:
        self._redis = redis
        self._keys = keys
        self._lifecycle = lifecycle

    async def last(self, count: int, period: Period) -> Sequence[Moment]:
        """The last so many minutes or days, the present one included, oldest first; quiet ones too."""
        numbers = last_numbers(await self._lifecycle.now_ms(), count, period)
        with unavailable():
            async with self._redis.pipeline(transaction=False) as pipe:
                for number in numbers:
                    pipe.hgetall(self._keys.history(period, number))
                found = await pipe.execute(raise_on_error=False)
            for answer in found:
                if isinstance(answer, RedisError) and not is_wrong_type(answer):
                    raise answer
        return [moment_of(number, period, counted) for number, counted in zip(numbers, found, strict=True)]


def last_numbers(now_ms: int, count: int, period: Period) -> range:
    """The last so many minutes or days since the epoch, the present one included."""
    present = now_ms // (LENGTHS[period] // timedelta(milliseconds=1))
    return range(present - count + 1, present + 1)


def moment_of(number: int, period: Period, counted: Any) -> Moment:
    """What was counted in this minute or day since the epoch."""
    known: Mapping[str, str] = counted if isinstance(counted, dict) else {}

    def how_often(what: str) -> int:
        return int(text) if (text := known.get(what, "0")).isdigit() else 0

    return Moment(
        begins=from_ms(number * (LENGTHS[period] // timedelta(milliseconds=1))),
        created=how_often("created"),
        complete=how_often("complete"),
        failed=how_often("failed"),
        failed_attempts=how_often("failed attempt"),
        late=tuple(how_often(f"late {class_ms}") for class_ms in (*CLASSES_MS, "more")),
    )
