"""The jobs of a queue as they stand: ranges and counts of all of them; and one verb for many."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Final

import pytest
from redis.asyncio import Redis

from rmindr.queue import InvalidJob, NewJob, Queue, QueueUnavailable, State
from rmindr.queue.audit import audit
from tests.conftest import Clock
from tests.queue.scenery import LEASE, a_lease, keyspace, standing, to_the_end
from tests.servers import Valkey

MS: Final = timedelta(milliseconds=1)


async def failed(queue: Queue, number: int, **asked: Any) -> list[int]:
    """So many jobs that have failed."""
    jobs = await queue.create_many([NewJob(type="email", **asked)] * number)
    claimed = await queue.lifecycle.claim({"email": number}, token="t.1", lease=LEASE, worker="w")
    await asyncio.gather(*(queue.lifecycle.fail(lease, "no", wait_ms=None) for lease in claimed.leases))
    return [job.id for job in jobs]


# Ranges


async def test_a_range_is_by_priority_and_then_by_id_over_every_length_of_id(queue: Queue) -> None:
    await queue.redis.set(queue.keys.ids, 7)
    for priority in (0, 10, -10, 0):
        await queue.create("email", priority=priority)

    assert await queue.jobs.ids(State.INACTIVE) == [10, 8, 11, 9]
    assert [job.id for job in await queue.jobs.range(State.INACTIVE, start=1, stop=2)] == [8, 11]
    assert await queue.jobs.ids(State.INACTIVE, start=-1) == [9]


async def test_newest_first_turns_the_whole_order_around_and_not_the_page(queue: Queue) -> None:
    await queue.create_many([NewJob(type="email")] * 25)

    assert await queue.jobs.ids(newest_first=True, stop=2) == [25, 24, 23]
    assert await queue.jobs.ids(newest_first=True, start=20) == [5, 4, 3, 2, 1]


async def test_a_range_may_be_of_all_of_a_state_or_of_a_type_in_a_state(queue: Queue, clock: Clock) -> None:
    await standing(queue, clock, "failed")
    await queue.create("letter")
    await queue.create("email", delay=9 * MS)
    await queue.create("email", delay=5 * MS)

    assert await queue.jobs.ids() == [1, 2, 3, 4]
    assert await queue.jobs.ids(State.DELAYED) == [4, 3], "soonest due first"
    assert await queue.jobs.ids(State.FAILED) == [1]
    assert await queue.jobs.ids(State.INACTIVE, "letter") == [2]
    assert await queue.jobs.ids(State.INACTIVE, "email") == []
    assert await queue.jobs.ids(State.INACTIVE, "unknown") == []


async def test_a_state_that_does_not_exist_is_refused(queue: Queue) -> None:
    for ask in (queue.jobs.ids("gone"), queue.jobs.count("gone"), queue.jobs.range("gone", "email")):  # type: ignore[arg-type]
        with pytest.raises((ValueError, KeyError)):
            await ask


async def test_the_ended_are_told_latest_end_first(queue: Queue, clock: Clock) -> None:
    await queue.create_many([NewJob(type="email")] * 3)
    claimed = await queue.lifecycle.claim({"email": 3}, token="t", lease=LEASE, worker="w")
    for lease in (claimed.leases[1], claimed.leases[2], claimed.leases[0]):
        await queue.lifecycle.complete(lease)
        clock.advance(ms=1)

    assert await queue.jobs.ended_ids(State.COMPLETE) == [1, 3, 2]
    assert await queue.jobs.ended_ids(State.COMPLETE, start=1, stop=1) == [3]


async def test_what_cannot_be_read_and_what_is_gone_is_left_out(queue: Queue) -> None:
    await queue.create_many([NewJob(type="email")] * 4)
    await queue.redis.hset(queue.keys.job(2), "data", "{")
    await queue.redis.delete(queue.keys.job(3))
    await queue.redis.delete(queue.keys.job(4))
    await queue.redis.set(queue.keys.job(4), "junk")
    await queue.redis.zadd(queue.keys.jobs, {"junk": 0})
    before = await keyspace(queue)

    assert [job.id for job in await queue.jobs.range()] == [1]
    assert [job.id for job in await queue.jobs.read([4, 3, 2, 1, 99])] == [1]
    assert (await queue.jobs.hashes([1, 2, 3, 4])).keys() == {1, 2}
    assert await queue.jobs.read([]) == []
    assert await keyspace(queue) == before, "reading changes nothing"


async def test_a_range_takes_two_round_trips_however_long_it_is(own_valkey: Valkey) -> None:
    async with Queue.open(own_valkey.url) as queue:
        await queue.create_many([NewJob(type="email")] * 300)
        [before] = await _trips(queue)

        assert len(await queue.jobs.range(State.INACTIVE)) == 300

        [after] = await _trips(queue)
    # One of them is the look itself.
    assert after - before <= 3


async def _trips(queue: Queue) -> list[int]:
    """How many reads from its socket the server has done, one for each of our round trips."""
    stats: Any = await queue.redis.info("stats")
    return [int(stats["total_reads_processed"])]


# Counts


async def test_counts_are_of_all_types_or_of_one(queue: Queue, clock: Clock) -> None:
    await standing(queue, clock, "complete")
    await standing(queue, clock, "inactive")
    await queue.create_many([NewJob(type="letter")] * 2)

    assert await queue.jobs.counts() == {"delayed": 0, "inactive": 3, "active": 0, "complete": 1, "failed": 0}
    assert await queue.jobs.counts("letter") == {"delayed": 0, "inactive": 2, "active": 0, "complete": 0, "failed": 0}
    assert await queue.jobs.count(State.INACTIVE, "email") == 1
    assert await queue.jobs.count(State.INACTIVE, "unknown") == 0


async def test_types_are_all_that_there_ever_was_a_job_of_in_order(queue: Queue) -> None:
    for type in ("letter", "email", "e: mail", "letter"):
        await queue.create(type)
    await queue.remove(1)

    assert await queue.jobs.types() == ["e: mail", "email", "letter"]


async def test_work_time_is_the_sum_of_all_completed_runs(queue: Queue, clock: Clock) -> None:
    assert await queue.jobs.work_time() is None
    await queue.create_many([NewJob(type="email", remove_on_complete=True)] * 2)
    claimed = await queue.lifecycle.claim({"email": 2}, token="t", lease=LEASE, worker="w")
    for lease in claimed.leases:
        clock.advance(ms=100)
        await queue.lifecycle.complete(lease)

    assert await queue.jobs.work_time() == 300 * MS


# Many at once


async def test_all_failed_jobs_run_again_in_steps(queue: Queue) -> None:
    await failed(queue, 450)
    await queue.create("letter")

    assert await queue.jobs.retry_all() == 450

    assert await queue.jobs.counts("email") == {"delayed": 0, "inactive": 450, "active": 0, "complete": 0, "failed": 0}
    assert await queue.redis.llen(queue.keys.tokens("email")) == 450


async def test_a_bulk_verb_may_be_for_one_type(queue: Queue) -> None:
    await queue.create_many([NewJob(type=type) for type in ("email", "letter", "email")])

    assert await queue.jobs.cancel_all(State.INACTIVE, "email") == 2
    assert await queue.jobs.retry_all(State.FAILED, "letter") == 0
    assert await queue.jobs.remove_all(State.FAILED, "email") == 2

    assert await queue.jobs.ids() == [2]


async def test_what_refuses_stays_and_the_rest_is_done(queue: Queue, redis: Redis) -> None:
    # Every third failed job's key is held by a living one; every second is retried with a key of its own.
    await failed(queue, 450)
    for n in range(1, 451, 3):
        await redis.hset(queue.keys.job(n), "unique", f"key {n}")
        await queue.create("letter", unique=f"key {n}")

    assert await queue.jobs.retry_all() == 300

    assert await queue.jobs.ids(State.FAILED) == list(range(1, 451, 3))


@pytest.fixture
async def redis(valkey: Valkey) -> Any:
    async with Redis.from_url(valkey.direct, decode_responses=True) as redis:
        yield redis


async def test_what_workers_hold_is_not_removed(queue: Queue) -> None:
    await queue.create_many([NewJob(type="email")] * 450)
    await queue.lifecycle.claim({"email": 450}, token="t", lease=LEASE, worker="w")

    assert await queue.jobs.remove_all(State.ACTIVE) == 0

    assert await queue.jobs.count(State.ACTIVE) == 450


async def test_two_who_say_the_same_at_once_miss_nothing_and_count_each_job_once(
    valkey: Valkey, queue: Queue, clock: Clock, redis: Redis
) -> None:
    await failed(queue, 1500)
    async with Queue.open(valkey.url, prefix=queue.keys.prefix, clock=clock) as other:
        retried = await asyncio.gather(*(each.jobs.retry_all() for each in (queue, other)))
        inactive = await queue.jobs.count(State.INACTIVE)
        removed = await asyncio.gather(*(each.jobs.remove_all(State.INACTIVE) for each in (queue, other)))

    assert (sum(retried), inactive, sum(removed)) == (1500, 1500, 1500)
    assert await queue.jobs.ids() == []
    assert await audit(redis, queue.keys.prefix) == []


async def test_jobs_that_fail_again_meanwhile_are_run_again_once(live_queue: Queue) -> None:
    runs = 0

    async def work(job: Any, context: Any) -> None:
        nonlocal runs
        runs += 1
        raise ValueError("no")

    await failed(live_queue, 700)
    live_queue.process("email", work, concurrency=50)
    run = asyncio.create_task(live_queue.run())
    retried = await live_queue.jobs.retry_all()
    while not await _is_done(live_queue, 700):
        await asyncio.sleep(0.01)
    live_queue.shutdown()
    await to_the_end(run)

    assert (retried, runs) == (700, 700)


async def _is_done(queue: Queue, number: int) -> bool:
    return await queue.jobs.count(State.FAILED) == number


async def test_those_that_are_named_are_asked_for_in_steps(queue: Queue) -> None:
    ids = await failed(queue, 450)

    assert await queue.jobs.retry_these(ids[:300]) == 300
    assert await queue.jobs.cancel_these(ids, State.INACTIVE) == 300
    assert await queue.jobs.remove_these(ids, State.INACTIVE) == 0
    assert await queue.jobs.remove_these([*ids, *ids, 9999]) == 450
    assert await queue.jobs.ids() == []


@pytest.mark.parametrize("job_id", [0, -1, "1", True, None])
async def test_where_one_of_those_named_is_no_id_nothing_is_done(queue: Queue, job_id: Any) -> None:
    await queue.create("email")
    before = await keyspace(queue)

    for many in (queue.jobs.retry_these, queue.jobs.remove_these, queue.jobs.cancel_these):
        with pytest.raises(InvalidJob):
            await many([1, job_id])

    assert await keyspace(queue) == before


async def test_looking_while_redis_is_away_says_so(own_valkey: Valkey) -> None:
    async with Queue.open(own_valkey.url) as queue:
        own_valkey.kill()
        jobs = queue.jobs
        for ask in (
            jobs.ids(), jobs.range(), jobs.ended_ids(State.FAILED), jobs.read([1]), jobs.hashes([1]), jobs.search("x"),
            jobs.types(), jobs.work_time(), jobs.count(State.FAILED), jobs.retry_all(), jobs.remove_these([1]),
        ):  # fmt: skip
            with pytest.raises(QueueUnavailable):
                await to_the_end(ask)
        own_valkey.start()


async def test_a_lease_is_not_lost_by_a_bulk_verb(queue: Queue) -> None:
    await queue.create("email")
    lease = await a_lease(queue)
    for state in State:
        await queue.jobs.remove_all(state)

    await queue.lifecycle.complete(lease)

    assert await queue.jobs.states([1]) == [State.COMPLETE]
