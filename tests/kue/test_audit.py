"""The audit, which other tests lean on, finds each thing that can be wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from rmindr.queue import Backoff, Queue
from rmindr.queue.audit import audit
from tests.conftest import Clock

TYPE = "e: mail"
NOW = 1_795_448_797_530


@pytest.fixture
async def healthy(queue: Queue, clock: Clock, redis: Redis) -> AsyncIterator[Queue]:
    """A job in each state (1 complete, 2 failed, 3 active with a ttl, 4 delayed, 5 inactive), and nothing wrong."""
    assert clock.ms == NOW
    await queue.create(TYPE, priority=-1.5)
    await queue.create(TYPE, priority="low", backoff=Backoff.same())
    await queue.create(TYPE, priority="low", ttl=timedelta(minutes=1), unique="third")
    claimed = await queue.lifecycle.claim({TYPE: 3}, token="token", lease=timedelta(minutes=1), worker="kue:here:1")
    first, second, third = claimed.leases
    await queue.lifecycle.log(third, "at work")
    await queue.lifecycle.complete(first, {"sent": True})
    await queue.lifecycle.fail(second, "no route", wait_ms=None)
    await queue.create(TYPE, delay=timedelta(hours=1), unique="fourth")
    await queue.create(TYPE)
    yield queue
    await redis.flushall()


async def test_nothing_is_found_where_nothing_is_wrong(healthy: Queue, redis: Redis, prefix: str) -> None:
    assert await audit(redis, prefix) == []


@pytest.mark.parametrize(
    ("commands", "violations"),
    [
        (["SET stray 1"], ["stray: no such key in the layout, among strings"]),
        (["RPUSH other:jobs 1"], ["other:jobs: no such key in the layout, among lists"]),
        (["XADD river * a b"], ["river: no such key in the layout, among others"]),
        (["ZADD jobs 0 02|5"], ["jobs: '02|5' is not a zid"]),
        (["ZADD jobs 0 5"], ["jobs: '5' is not a zid"]),
        (["ZADD jobs:failed 0 01|9"], ["jobs:failed: 01|9 has no job"]),
        (["ZREM jobs 01|5"], ["job 5: not in jobs"]),
        (["ZREM jobs:inactive 01|5"], ["job 5: is inactive but does not stand in jobs:inactive"]),
        (["ZREM jobs:e:\\ mail:inactive 01|5"], ["job 5: is inactive but does not stand in jobs:e: mail:inactive"]),
        (["ZADD jobs:failed 0 01|5"], ["job 5: is inactive but stands in jobs:failed"]),
        (["HSET job:5 state odd", "ZREM jobs:inactive 01|5", "ZREM jobs:e:\\ mail:inactive 01|5"],
         ["job 5: its state is 'odd'"]),
        (["ZADD jobs 3 01|5"], ["job 5: its score in jobs is 3, not 0.0"]),
        (["ZADD jobs:delayed 3 01|4"], [f"job 4: its score in jobs:delayed is 3, not {NOW + 3_600_000}.0"]),
        (["ZADD jobs:e:\\ mail:delayed 3 01|4"], ["job 4: its score in jobs:e: mail:delayed is 3, not 0.0"]),
        (["ZADD jobs:active -10 01|3"],
         ["job 3: its score in jobs:active is -10, which is not when its ttl of 60000 ms ends"]),
        (["HDEL job:3 ttl"], [f"job 3: its score in jobs:active is {NOW + 60_000}, not -10.0"]),
        (["HSET job:5 priority high"], ["job 5: its priority is 'high'"]),
        (["HDEL job:5 promote_at"], ["job 5: has no promote_at"]),
        (["HSET job:5 colour red"], ["job 5: nobody knows its field colour"]),
        (["HSET job:5 created_at 1795448797530.0"],
         ["job 5: its created_at is '1795448797530.0', not an integer"]),
        (["HSET job:5 delay None"], ["job 5: its delay is 'None', not an integer"]),
        (["HSET job:5 data {"], ["job 5: its data is not JSON: '{'"]),
        (["HSET job:1 result NaN"], ["job 1: its result is not JSON: 'NaN'"]),
        (["HSET job:5 removeOnComplete false"], ["job 5: its removeOnComplete is 'false', which Kue reads as true"]),
        (["HSET job:3 workerId me"], ["job 3: its workerId is 'me'"]),
        (["HSET job:1 attempts 2"], ["job 1: ran 2 times of 1"]),
        (["DEL e:\\ mail:jobs"], ["type e: mail: 0 tokens for 1 waiting jobs"]),
        (["RPUSH e:\\ mail:jobs 5"], ["type e: mail: its tokens are ['1', '5'], not 1"]),
        (["DEL wake", "RPUSH wake 1 1"], ["wake: 2 tokens where one is enough"]),
        (["SET ids 4"], ["ids: 4 is behind job 5"]),
        (["SET stats:work-time 1.5"], ["stats:work-time: '1.5' is not an integer"]),
        (["RPUSH job:9:log hello"], ["job:9:log: the log of no job"]),
        (["HDEL job:3 lease"], ["job 3: its lease is listed but not written"]),
        (["DEL leases"], ["job 3: its lease is written but not listed"]),
        (["ZADD leases 1795448797530.5 01|3"], ["leases: 01|3 ends at 1795448797530.5, which is no instant"]),
        (["HSET job:5 lease token", "ZADD leases 1795448797530 01|5"], ["job 5: is inactive but leased"]),
        (["HSET unique new 9"], ["unique new: held by job 9, which does not exist"]),
        (["HSET unique new 1"], ["unique new: held by job 1, which is complete"]),
        (["HSET unique new 4"], ["unique new: held by job 4, whose key is 'fourth'"]),
    ],
)  # fmt: skip
async def test_it_finds_what_is_wrong(
    healthy: Queue, redis: Redis, prefix: str, commands: Sequence[str], violations: Sequence[str]
) -> None:
    for command in commands:
        verb, key, *arguments = (word.replace("\0", " ") for word in command.replace("\\ ", "\0").split())
        # Of DEL and SET alike the first argument is the key.
        await redis.execute_command(verb, f"{prefix}:{key}", *arguments)

    assert sorted(await audit(redis, prefix)) == sorted(violations)


async def test_it_finds_a_type_that_is_not_listed(healthy: Queue, redis: Redis, prefix: str) -> None:
    await redis.srem(f"{prefix}:job:types", TYPE)

    violations = await audit(redis, prefix)

    assert f"job 1: its type {TYPE} is not in job:types" in violations
    assert f"jobs:{TYPE}:inactive: no such key in the layout, among zsets" in violations


async def test_a_prefix_is_not_a_pattern(healthy: Queue, redis: Redis, prefix: str) -> None:
    await redis.set(f"{prefix}:stray", 1)

    assert await audit(redis, f"{prefix[:-1]}*") == []
