"""What a queue has done, by minute and by day: counted once, kept for a while, and how late runs began."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rmindr.queue import NewJob, Queue, Schedule, State
from rmindr.queue.history import CLASSES_MS, Moment
from tests.conftest import Clock
from tests.queue.scenery import LEASE, a_lease, standing

NOW = datetime(2026, 11, 23, 17, 46, tzinfo=UTC)


async def minute(queue: Queue) -> Moment:
    [moment] = await queue.history.last(1, "minute")
    return moment


def counts(moment: Moment) -> tuple[int, int, int, int]:
    return moment.created, moment.complete, moment.failed, moment.failed_attempts


@pytest.fixture
def clock() -> Clock:
    """A whole minute."""
    return Clock(int(NOW.timestamp() * 1000))


async def test_what_happens_is_counted_in_its_minute_and_its_day(queue: Queue, clock: Clock) -> None:
    await queue.create_many([NewJob(type="email", attempts=2)] * 3)
    claimed = await queue.lifecycle.claim({"email": 3}, token="t.1", lease=LEASE, worker="w")
    first, second, third = claimed.leases
    await queue.lifecycle.complete(first)
    await queue.lifecycle.fail(second, "no", wait_ms=1000)
    await queue.lifecycle.fail(third, "no", wait_ms=None)
    clock.advance(seconds=60)
    await queue.create("email", remove_on_complete=True)
    await queue.lifecycle.complete(await a_lease(queue))
    await queue.lifecycle.complete(await a_lease(queue))

    assert [counts(moment) for moment in await queue.history.last(2, "minute")] == [(3, 1, 1, 1), (1, 2, 0, 0)]
    assert [counts(moment) for moment in await queue.history.last(1, "day")] == [(4, 3, 1, 1)]


async def test_every_way_to_come_and_to_fail_counts_once(queue: Queue, clock: Clock) -> None:
    await queue.create("email", unique="key")
    await queue.create("email", unique="key")
    await queue.schedules.declare(Schedule(name="n", type="email", every=timedelta(seconds=1)))
    clock.advance(seconds=1)
    await queue.schedules.make_due()
    await queue.cancel(1)
    await a_lease(queue)
    clock.advance(seconds=61)
    await queue.lifecycle.rescue()

    minutes = [counts(moment) for moment in await queue.history.last(2, "minute")]

    assert minutes == [(2, 0, 1, 0), (0, 0, 1, 0)]


@pytest.mark.parametrize("place", ["absent", "delayed", "inactive", "complete", "failed"])
async def test_what_is_refused_is_not_counted(queue: Queue, clock: Clock, place: str) -> None:
    lease = await standing(queue, clock, place)
    before = await minute(queue)

    for end in (queue.lifecycle.complete(lease), queue.lifecycle.fail(lease, "no", wait_ms=0)):
        with pytest.raises(Exception, match="job"):
            await end
    await queue.lifecycle.rescue()

    assert await minute(queue) == before


async def test_quiet_minutes_and_days_are_told_of_too_oldest_first(queue: Queue, clock: Clock) -> None:
    await queue.create("email")
    clock.advance(seconds=150)

    minutes = await queue.history.last(4, "minute")
    days = await queue.history.last(3, "day")

    assert [(moment.begins - NOW, moment.created) for moment in minutes] == [
        (timedelta(minutes=-1), 0), (timedelta(0), 1), (timedelta(minutes=1), 0), (timedelta(minutes=2), 0),
    ]  # fmt: skip
    midnight = NOW.replace(hour=0, minute=0)
    assert [moment.begins for moment in days] == [midnight - timedelta(days=ago) for ago in (2, 1, 0)]
    assert {len(moment.late) for moment in minutes} == {len(CLASSES_MS) + 1}


# How late


@pytest.mark.parametrize(
    ("late_ms", "class_ms"),
    [(0, 1), (1, 1), (2, 2), (3, 5), (99, 100), (100, 100), (101, 200), (3_600_000, 3_600_000), (3_600_001, math.inf)],
)
async def test_a_runs_lateness_is_the_end_of_its_class(
    queue: Queue, clock: Clock, late_ms: int, class_ms: float
) -> None:
    await queue.create("email", delay=timedelta(seconds=7))
    clock.advance(ms=7000 + late_ms)

    await a_lease(queue)

    assert (await minute(queue)).late_ms(1.0) == class_ms


async def test_a_share_of_the_runs_was_not_later_than_that(queue: Queue, clock: Clock) -> None:
    await queue.create_many([NewJob(type="email")] * 100)
    for late_ms, number in ((0, 90), (15, 9), (40_000, 1)):
        clock.advance(ms=late_ms)
        await queue.lifecycle.claim({"email": number}, token=f"t.{late_ms}", lease=LEASE, worker="w")

    moment = await minute(queue)

    assert [moment.late_ms(share) for share in (0.5, 0.9, 0.91, 0.99, 1.0)] == [1, 1, 20, 20, 60_000]
    assert sum(moment.late) == 100


async def test_where_nothing_began_nothing_was_late(queue: Queue) -> None:
    await queue.create("email")

    assert (await minute(queue)).late_ms(0.99) is None


async def test_a_run_that_is_tried_again_is_late_from_its_failure_on(queue: Queue, clock: Clock) -> None:
    await queue.create("email", attempts=5)
    lease = await a_lease(queue)
    clock.advance(seconds=600)
    await queue.lifecycle.fail(lease, "no", wait_ms=0)
    clock.advance(ms=4)

    await a_lease(queue)

    assert (await minute(queue)).late_ms(1.0) == 5


async def test_a_job_that_a_person_runs_again_is_late_from_that_moment_on(queue: Queue, clock: Clock) -> None:
    await queue.create("email")
    await queue.lifecycle.complete(await a_lease(queue))
    clock.advance(seconds=86_400)
    await queue.retry(1)
    clock.advance(ms=4)

    await a_lease(queue)

    assert (await minute(queue)).late_ms(1.0) == 5


# What is kept


async def test_minutes_are_kept_for_hours_and_days_for_months_and_no_longer(queue: Queue, clock: Clock) -> None:
    await queue.create("email")
    number = int(NOW.timestamp())

    minutes = await queue.redis.ttl(queue.keys.history("minute", number // 60))
    days = await queue.redis.ttl(queue.keys.history("day", number // 86_400))

    assert 3 * 3600 < minutes <= 4 * 3600
    assert 99 * 86_400 < days <= 100 * 86_400


async def test_the_history_of_a_busy_day_is_a_few_keys(queue: Queue, clock: Clock) -> None:
    for n in range(120):
        await queue.create("email")
        await queue.lifecycle.complete(await a_lease(queue, token=f"t.{n}"))
        clock.advance(seconds=60)

    names = [name async for name in queue.redis.scan_iter(f"{queue.keys.prefix}:history:*", count=1000)]

    assert len(names) <= 122
    assert sum(moment.complete for moment in await queue.history.last(2, "day")) == 120


@pytest.mark.parametrize("counted", [{"created": "x", "complete": "2"}, {"late 1": "-"}, "junk"], ids=str)
async def test_junk_in_the_history_counts_as_nothing(queue: Queue, clock: Clock, counted: Any) -> None:
    key = queue.keys.history("minute", clock.ms // 60_000)
    if isinstance(counted, dict):
        await queue.redis.hset(key, mapping=counted)
    else:
        await queue.redis.set(key, counted)

    moment = await minute(queue)

    assert (moment.created, moment.late_ms(0.5)) == (0, None)


async def test_junk_in_the_history_stops_no_job(queue: Queue, clock: Clock) -> None:
    for period, length in (("minute", 60_000), ("day", 86_400_000)):
        await queue.redis.set(queue.keys.history(period, clock.ms // length), "junk")

    await queue.create("email", attempts=2)
    await queue.lifecycle.fail(await a_lease(queue), "no", wait_ms=0)
    await queue.lifecycle.complete(await a_lease(queue))

    assert await queue.jobs.states([1]) == [State.COMPLETE]
