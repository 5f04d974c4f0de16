"""What keeps a queue whole beside the work: half-moved jobs are mended, when seen twice the same; whole ones cost nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from functools import partial
from typing import Any, Final

import pytest
from redis.asyncio import Redis

from rmindr.queue import Kept, NewJob, Queue, State
from rmindr.queue.audit import audit
from rmindr.queue.keys import zid
from rmindr.queue.mending import Mending
from tests.conftest import Clock
from tests.queue.crew import Hands, all_ended, commands, ended, nothing, working
from tests.queue.scenery import STANDINGS, a_lease, eventually, keyspace, standing, taken_by_kue, until
from tests.servers import Valkey

EMAIL: Final = "email"


@pytest.fixture
def mending(queue: Queue) -> Mending:
    return mending_of(queue)


def mending_of(queue: Queue) -> Mending:
    return Mending(queue.lifecycle, queue.redis, queue.keys)


@pytest.fixture
async def redis(valkey: Valkey) -> AsyncIterator[Redis]:
    """A hand that knows no manners."""
    async with Redis.from_url(valkey.direct, decode_responses=True) as redis:
        yield redis


# What a Kue, or a hand, can leave behind


def _out_of(*places: str) -> Callable[[Queue, Redis], Any]:
    """The job is missing in these sets, e.g. "jobs", "jobs:inactive", "jobs:email:inactive"."""

    async def halve(queue: Queue, redis: Redis) -> None:
        for place in places:
            await redis.zrem(f"{queue.keys.prefix}:{place}", zid(1))

    halve.__name__ = f"out of {', '.join(places)}"
    return halve


def _also_in(*places: str) -> Callable[[Queue, Redis], Any]:
    """The job stands in these sets, too."""

    async def halve(queue: Queue, redis: Redis) -> None:
        for place in places:
            await redis.zadd(f"{queue.keys.prefix}:{place}", {zid(1): 0})

    halve.__name__ = f"also in {', '.join(places)}"
    return halve


async def _without_a_state(queue: Queue, redis: Redis) -> None:
    """B1: its creation was cut off."""
    await redis.hdel(queue.keys.job(1), "state")
    await _out_of("jobs:inactive", "jobs:email:inactive")(queue, redis)


async def _of_an_unlisted_type(queue: Queue, redis: Redis) -> None:
    await redis.srem(queue.keys.types, EMAIL)


async def _gone(queue: Queue, redis: Redis) -> None:
    """A ghost: members of sets, and no job."""
    await redis.delete(queue.keys.job(1))
    await redis.zrem(queue.keys.of_type(EMAIL, "inactive"), zid(1))


async def _no_hash(queue: Queue, redis: Redis) -> None:
    await _gone(queue, redis)
    await redis.set(queue.keys.job(1), "junk")


# From where, what is done to it, and where it stands when it has been mended (None: nowhere).
HALVES: Final[list[tuple[str, Any, State | None]]] = [
    ("inactive", _out_of("jobs:email:inactive"), State.INACTIVE),
    ("inactive", _out_of("jobs:inactive"), State.INACTIVE),
    ("inactive", _out_of("jobs:inactive", "jobs:email:inactive"), State.INACTIVE),
    ("inactive", _out_of("jobs"), State.INACTIVE),
    ("inactive", _without_a_state, State.INACTIVE),
    ("inactive", _of_an_unlisted_type, State.INACTIVE),
    ("inactive", _also_in("jobs:failed", "jobs:email:failed"), State.INACTIVE),
    ("inactive", _also_in("jobs:active"), State.INACTIVE),
    ("inactive", _also_in("ended:complete"), State.INACTIVE),
    ("inactive", _gone, None),
    ("inactive", _no_hash, None),
    ("delayed", _out_of("jobs:delayed"), State.DELAYED),
    ("delayed", _out_of("jobs:email:delayed"), State.DELAYED),
    ("delayed", _also_in("jobs:inactive"), State.DELAYED),
    ("kues", _out_of("jobs:active"), State.ACTIVE),
    ("kues", _also_in("jobs:inactive"), State.ACTIVE),
    ("taken", _out_of("jobs:email:active"), State.ACTIVE),
    ("complete", _out_of("ended:complete"), State.COMPLETE),
    ("complete", _out_of("jobs:complete"), State.COMPLETE),
    ("complete", _also_in("jobs:email:active"), State.COMPLETE),
    ("failed", _out_of("jobs:email:failed"), State.FAILED),
    # Failed by a Kue that was killed before it gave the job back.
    ("failed", _out_of("ended:failed"), State.INACTIVE),
]


@pytest.mark.parametrize(
    ("place", "halve", "state"), HALVES, ids=lambda value: getattr(value, "__name__", str(value)).strip("_")
)
async def test_a_half_moved_job_is_put_right_when_it_is_seen_twice_the_same(
    queue: Queue, clock: Clock, mending: Mending, redis: Redis, place: str, halve: Any, state: State | None
) -> None:
    await standing(queue, clock, place, attempts=3)
    whole = await queue.create("letter")
    await halve(queue, redis)
    before = await keyspace(queue)

    first = await mending.mend()
    between = await keyspace(queue)
    second = await mending.mend()
    third = await mending.mend()

    assert (first, second, third) == (0, 1, 0)
    assert between == before, "what is seen once may be on its way"
    assert await queue.jobs.states([1, whole.id]) == [state, State.INACTIVE]
    if halve is not _no_hash:
        assert await audit(redis, queue.keys.prefix) == []


@pytest.mark.parametrize(
    ("place", "halve"),
    [(place, halve) for place, halve, state in HALVES if state is not None],
    ids=lambda value: getattr(value, "__name__", str(value)).strip("_"),
)
async def test_what_moves_on_between_two_looks_is_left_alone(
    queue: Queue, clock: Clock, mending: Mending, redis: Redis, place: str, halve: Any
) -> None:
    await standing(queue, clock, place, attempts=3)
    await halve(queue, redis)

    found = []
    for n in range(3):
        found.append(await mending.mend())
        await redis.hset(queue.keys.job(1), "updated_at", str(clock.ms + n + 1))

    assert found == [0, 0, 0]


async def test_many_half_moved_jobs_are_all_put_right(queue: Queue, mending: Mending, redis: Redis) -> None:
    await queue.create_many([NewJob(type=EMAIL) for _ in range(1300)])
    await redis.zremrangebyrank(queue.keys.of_type(EMAIL, "inactive"), 0, 1199)

    assert [await mending.mend(), await mending.mend()] == [0, 1200]

    assert await queue.jobs.counts(EMAIL) == await queue.jobs.counts()
    assert await audit(redis, queue.keys.prefix) == []


async def test_two_who_mend_at_once_do_it_once(queue: Queue, redis: Redis) -> None:
    await queue.create_many([NewJob(type=EMAIL) for _ in range(100)])
    await redis.delete(queue.keys.of_type(EMAIL, "inactive"), queue.keys.tokens(EMAIL))
    pair = mending_of(queue), mending_of(queue)

    for _ in range(2):
        mended = await asyncio.gather(*(mending.mend() for mending in pair))

    assert sum(mended) == 100
    assert await redis.llen(queue.keys.tokens(EMAIL)) == 100
    assert await audit(redis, queue.keys.prefix) == []


async def test_a_mended_job_is_worked(live_queue: Queue) -> None:
    await live_queue.create(EMAIL)
    await live_queue.redis.zrem(live_queue.keys.of_type(EMAIL, "inactive"), zid(1))
    await live_queue.redis.delete(live_queue.keys.tokens(EMAIL))
    live_queue.process(EMAIL, nothing)
    mending = mending_of(live_queue)

    async with working(live_queue):
        for _ in range(2):
            await mending.mend()
        await eventually(partial(ended, live_queue, 1))


# Junk


async def test_junk_among_the_members_goes_and_the_jobs_stay(queue: Queue, mending: Mending, redis: Redis) -> None:
    await queue.create_many([NewJob(type=EMAIL)] * 3)
    await queue.lifecycle.complete(await a_lease(queue))
    await queue.create(EMAIL, delay=timedelta(hours=1))
    junk = {"junk": 0, "03|abc": 0, "03|007": 0, "02|-1": 0, "": 0, "99|": 0}
    sets = [queue.keys.jobs, *(queue.keys.in_state(state) for state in State), queue.keys.ended("complete")]
    for name in sets:
        await redis.zadd(name, junk)

    for _ in range(3):
        await mending.mend()

    assert await audit(redis, queue.keys.prefix) == []
    assert await queue.jobs.counts() == {"delayed": 1, "inactive": 2, "active": 0, "complete": 1, "failed": 0}


async def test_a_job_that_is_listed_under_another_type_than_its_own_is_taken_out_there(
    queue: Queue, mending: Mending, redis: Redis
) -> None:
    await queue.create_many([NewJob(type=EMAIL), NewJob(type="letter")])
    for state in State:
        await redis.zadd(queue.keys.of_type("letter", state), {zid(1): 0})

    assert await mending.mend() == 0

    assert await queue.jobs.ids(type="letter", state=State.INACTIVE) == [2]
    assert await audit(redis, queue.keys.prefix) == []


async def test_a_fragment_of_a_job_that_stands_in_a_set_is_taken_out_of_it(
    queue: Queue, mending: Mending, redis: Redis
) -> None:
    # A Kue promotes what was removed meanwhile.
    await redis.hset(queue.keys.job(7), mapping={"state": "inactive", "updated_at": "1"})
    await redis.zadd(queue.keys.in_state("inactive"), {zid(7): "0"})

    for _ in range(2):
        await mending.mend()

    assert (await keyspace(queue)).keys() == {"job:7"}


# Where all is well


@pytest.mark.parametrize("place", STANDINGS)
async def test_nothing_is_done_where_nothing_is_wrong(queue: Queue, clock: Clock, mending: Mending, place: str) -> None:
    await standing(queue, clock, place, unique="key", attempts=3)
    before = await keyspace(queue)

    assert [await mending.mend() for _ in range(3)] == [0, 0, 0]

    assert await keyspace(queue) == before


async def test_a_look_at_a_whole_queue_costs_the_same_however_many_jobs_there_are(own_valkey: Valkey) -> None:
    async with Queue.open(own_valkey.url) as queue:
        mending, costs = mending_of(queue), []
        for number in (10, 2000):
            await queue.create_many([NewJob(type=EMAIL)] * number)
            await queue.redis.config_resetstat()
            await mending.mend()
            stats: Any = await queue.redis.info("commandstats")
            costs.append(
                {
                    name: each["calls"]
                    for name, each in stats.items()
                    if not name.startswith(("cmdstat_info", "cmdstat_config", "cmdstat_hello", "cmdstat_client"))
                }
            )

    assert costs[0] == costs[1]
    assert "cmdstat_zscan" not in costs[1]


async def test_no_upkeep_and_no_work_looks_through_the_whole_database(own_valkey: Valkey) -> None:
    async with Queue.open(own_valkey.url) as queue:
        await queue.steering.retain(State.COMPLETE, Kept(count=5))
        queue.process(EMAIL, nothing)
        await queue.create_many([NewJob(type=EMAIL, delay=timedelta(milliseconds=n)) for n in range(20)])
        await queue.redis.zadd(queue.keys.in_state("inactive"), {zid(99): 0})
        async with working(queue, lease=timedelta(milliseconds=400)):
            mending = mending_of(queue)
            for _ in range(2):
                await mending.mend()
            await eventually(lambda: _has_ended(queue, 20))
        looked = await commands(queue, "keys", "scan", "flushdb")

    assert looked == 0


async def _has_ended(queue: Queue, number: int) -> bool:
    return await queue.redis.get(queue.keys.ids) == str(number) and await all_ended(queue)


# Beside the work


async def test_a_kue_that_takes_a_job_is_not_disturbed(queue: Queue, clock: Clock, mending: Mending) -> None:
    # Between its pop and its next write the job stands in one set only; then it moves on.
    job = await queue.create(EMAIL)
    await queue.redis.zrem(queue.keys.of_type(EMAIL, "inactive"), zid(1))
    await mending.mend()
    clock.advance(ms=1)
    await taken_by_kue(queue, job, clock.ms)

    assert [await mending.mend() for _ in range(2)] == [0, 0]

    assert await queue.jobs.states([1]) == [State.ACTIVE]


async def test_leases_of_the_living_are_prolonged_while_others_are_mended(live_queue: Queue) -> None:
    hands = Hands()
    live_queue.process(EMAIL, hands)
    await live_queue.create_many([NewJob(type=EMAIL, attempts=3), NewJob(type="letter")])
    await live_queue.redis.zrem(live_queue.keys.of_type("letter", "inactive"), zid(2))
    mending = mending_of(live_queue)

    async with working(live_queue, lease=timedelta(seconds=1)):
        await until(lambda: hands.held)
        before = await live_queue.redis.zscore(live_queue.keys.leases, zid(1))
        assert [await mending.mend(), await mending.mend()] == [0, 1]
        await eventually(lambda: _is_prolonged(live_queue, before or 0))
        hands.let_go()
        await eventually(partial(ended, live_queue, 1))

    assert hands.cancelled == []


async def _is_prolonged(queue: Queue, before: float) -> bool:
    return (await queue.redis.zscore(queue.keys.leases, zid(1)) or 0) > before


# Lost runs


@pytest.mark.parametrize("lease_ms", [100, 400, 1000])
async def test_a_worker_that_has_had_nothing_to_do_for_long_rescues_all_the_same(
    live_queue: Queue, lease_ms: int
) -> None:
    lease = timedelta(milliseconds=lease_ms)
    live_queue.process("letter", nothing)
    async with working(live_queue, lease=lease):
        await asyncio.sleep(1.5 * lease.total_seconds())
        await live_queue.create(EMAIL)
        await live_queue.lifecycle.claim({EMAIL: 1}, token="gone.1", lease=lease, worker="kue:gone:1")

        assert await eventually(lambda: ended(live_queue, 1))
