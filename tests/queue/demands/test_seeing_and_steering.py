"""What Kue's users asked for to see and to steer (D19 to D30 of docs/queue.md). `SCALE=full` tries it at full size.

Statements that other tests prove already:

D19  who may see and do what, hostile text            web/test_queue_api, web/test_access
     a hostile backoff executes nothing               kue/test_kues_jobs: the text of a backoff is never run; test_backoff
D20  newest first                                     test_jobs: newest first turns the whole order around and not the page
     filters and search act on all jobs               test_listing: words and a state and a type all hold
D21  only what is still in that state; how many       test_jobs: many at once
     no step holds Redis over 50 ms                   benchmarks/stalls.py
D22  equal priorities, over every length of id        test_lifecycle: equal priorities keep the order of creation …
D23  a run is told within a moment                    test_runs: called off
     an active job cannot be removed                  test_queue: a job in a worker's hands cannot be removed or changed
     one that a Kue removes leaves nothing            kue/test_interference: a job that Kue removes in our hands …
D24  results and events                               test_waiting
D25  order, ids, each whole                           test_lifecycle: many created at once are all made in order
D26  fields, languages, nothing stale                 test_search
D27  on a cluster, on Valkey                          `QUEUE_SERVER=cluster make test ARGS=tests/queue`
D30  the testing kit                                  test_testing

D28, dependencies and chains, is not built. D29, one page that names everything, is docs/queue.md, held by test_docs.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any, Final

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot

from rmindr.queue import Kept, Limit, NewJob, Queue, Schedule, State
from rmindr.queue.testing import until_idle
from tests.conftest import Clock
from tests.queue.crew import commands, is_quiet
from tests.queue.demands.scale import so_many
from tests.queue.scenery import LEASE, a_lease, eventually
from tests.servers import Valkey

MS: Final = timedelta(milliseconds=1)


# D20: real paging


async def test_d20_any_page_of_very_many_jobs_answers_soon(own_valkey: Valkey) -> None:
    number = so_many(20_000, 1_000_000)
    async with Queue.open(own_valkey.url, patience=timedelta(seconds=60)) as queue:
        for _ in range(0, number, 5000):
            await queue.create_many([NewJob(type="email", data={"title": "x"})] * 5000)
        slowest = 0.0
        for start in (0, number // 3, number // 2, number - 100):
            took = []
            for newest_first in (False, True) * 3:
                began = time.perf_counter()
                page = await queue.jobs.range(State.INACTIVE, start=start, stop=start + 49, newest_first=newest_first)
                took.append(time.perf_counter() - began)
                assert len(page) == 50
            # The best of six: whatever else the machine does.
            slowest = max(slowest, min(took))

    assert slowest < 0.1


# D21: bulk actions


@pytest.mark.parametrize("verb", ["retry", "remove"])
async def test_d21_very_many_are_done_by_one_call_in_small_steps(own_valkey: Valkey, verb: str) -> None:
    number = so_many(3000, 100_000)
    async with Queue.open(own_valkey.url, patience=timedelta(seconds=60)) as queue:
        await queue.create_many([NewJob(type="email")] * number)
        assert await queue.jobs.cancel_all(State.INACTIVE) == number
        await queue.redis.config_resetstat()

        done = await (queue.jobs.retry_all() if verb == "retry" else queue.jobs.remove_all(State.FAILED))

        assert done == number
        assert number / 200 <= await commands(queue, "evalsha") <= number / 200 + 1
        assert await queue.jobs.count(State.FAILED) == 0


# D22: order one can rely on


async def test_d22_a_job_that_is_retried_or_promoted_keeps_its_place_by_creation(queue: Queue, clock: Clock) -> None:
    # As in Kue: equal priorities are taken in order of their ids, whenever they came to wait.
    await queue.redis.set(queue.keys.ids, 97)
    first = await queue.create("email", attempts=2)
    delayed = await queue.create("email", delay=5 * MS)
    await queue.lifecycle.fail(await a_lease(queue), "no", wait_ms=None)
    later = await queue.create_many([NewJob(type="email")] * 3)
    clock.advance(ms=5)
    await queue.retry(first.id)

    claimed = await queue.lifecycle.claim({"email": 9}, token="t", lease=LEASE, worker="w")

    assert [lease.job.id for lease in claimed.leases] == [first.id, delayed.id, *(job.id for job in later)]


# D25: cheap enqueueing


async def test_d25_ten_thousand_jobs_take_one_round_trip_for_each_five_hundred(own_valkey: Valkey) -> None:
    async with Queue.open(own_valkey.url) as queue:
        await queue.create("email")
        await queue.redis.config_resetstat()

        jobs = await queue.create_many([NewJob(type="email", data=n) for n in range(10_000)])

        assert await commands(queue, "evalsha") <= 20
        assert [job.id for job in jobs] == list(range(2, 10_002))
        assert [job.data for job in await queue.jobs.range(start=1)] == list(range(10_000))


async def test_d25_one_job_takes_one_round_trip(own_valkey: Valkey) -> None:
    async with Queue.open(own_valkey.url) as queue:
        await queue.create("email")
        reads = []
        for number in (0, 10):
            before = await _reads(queue)
            for _ in range(number):
                await queue.create("email")
            reads.append(await _reads(queue) - before)

    assert reads[1] - reads[0] == 10


async def _reads(queue: Queue) -> int:
    """How often the server has read from a socket: once for each round trip of ours."""
    stats: Any = await queue.redis.info("stats")
    return int(stats["total_reads_processed"])


# D26: search that does not hurt


async def test_d26_a_word_of_100_kb_costs_next_to_nothing(valkey: Valkey, prefix: str) -> None:
    async with Queue.open(valkey.url, prefix=prefix, search=("title",)) as queue:
        took = []
        for _ in range(9):
            began = time.process_time()
            await queue.create("email", {"title": "x" * 100_000})
            took.append(time.process_time() - began)

    # Of this process alone, and its best: whatever else the machine does.
    assert min(took) < 0.01


# D27: one slot


async def test_d27_all_keys_of_a_queue_are_in_one_slot(own_valkey: Valkey, clock: Clock) -> None:
    types = ["email", "e: mail {x} [y]", "{z}", "häppy 🎂"]
    async with Queue.open(own_valkey.url, prefix="{q}", clock=clock, search=("title",)) as queue:
        for type in types:
            await queue.create_many([NewJob(type=type, data={"title": f"{type} word"}, unique=f"{{{type}}}")])
            await queue.create(type, delay=timedelta(hours=1), remove_on_failure=True, keep_outcome=timedelta(hours=1))
            await queue.steering.limit(type, Limit(rate=9, per=timedelta(minutes=1), concurrency=2))
            await queue.schedules.declare(Schedule(name=f"{type} daily", type=type, every=timedelta(hours=2)))
            claimed = await queue.lifecycle.claim({type: 1}, token="feed.1", lease=LEASE, worker="w")
            await queue.lifecycle.log(claimed.leases[0], "line")
            await queue.cancel(claimed.leases[0].job.id)
            await queue.steering.pause(type)
            await queue.steering.resume(type)
        await queue.steering.retain(State.FAILED, Kept(count=9))
        await queue.cancel(2)
        await queue.create("email")
        clock.advance(seconds=7201)
        await queue.schedules.make_due()
        await queue.lifecycle.rescue()

        async with Redis.from_url(own_valkey.direct, decode_responses=True) as redis:
            names = [name async for name in redis.scan_iter(count=1000)]

    assert len(names) > 40
    assert {key_slot(name.encode()) for name in names} == {key_slot(b"q")}


# D30: waiting until nothing is left to do


async def test_d30_waiting_for_quiet_looks_when_it_is_told_to(own_valkey: Valkey) -> None:
    async with Queue.open(own_valkey.url) as queue:
        await queue.create("email")
        waiting = asyncio.create_task(until_idle(queue))
        await eventually(lambda: _is_listening(queue))

        await eventually(lambda: is_quiet(queue, "zcard"))

        await queue.lifecycle.complete(await a_lease(queue))
        await waiting


async def _is_listening(queue: Queue) -> bool:
    [(_, listeners)] = await queue.redis.pubsub_numsub(queue.keys.events)
    return bool(listeners)
