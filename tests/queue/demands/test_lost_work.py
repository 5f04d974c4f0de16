"""What Kue's users suffered most: lost, stuck or doubled work (D1 to D7 of docs/queue.md). `SCALE=full` tries it at full size.

Statements that other tests prove already:

D1  a job in jobs:inactive, but not in its type's    test_upkeep: a half-moved job is put right when it is seen twice the same
    nothing looks through all keys                   test_upkeep: no upkeep and no work looks through the whole database
D2  killed workers' jobs run again                   test_worker: the jobs of a killed process are worked by another
    a lease that is renewed is never taken away      test_worker: a lease is prolonged for as long as the run lasts
    a job that kills its worker every time           test_worker: a job that kills its process three times fails …
    active jobs of live Kue workers                  kue/test_our_jobs: a job in Kue's hands is not ours to rescue …
D3  without its lease, nothing can be done to a job  test_lifecycle: a verb that does not fit is refused … (where it is «taken»)
                                                     test_worker: a handler hears that its lease is lost …
    no state is set by hand that makes no sense      test_lifecycle: a verb that does not fit is refused and changes nothing
D4  what was due while everything was down           test_worker: a job that became due while nobody worked …
    Redis is BUSY, loading, fails over               test_connections: a worker outlives everything that Redis may say
    a lock that a killed promoter holds              kue/test_interference: while Kue promotes we do not (we have no lock)
D5  attempts never exceed the maximum                test_model: I11, in every step of every walk
    a crash between failing and retrying             test_upkeep: out of ended:failed (a Kue's; ours is one step)
    caps, and Kue's formula                          test_backoff
D6  progress and log after an expiry                 test_lifecycle: a verb that does not fit is refused and changes nothing
    progress renews the ttl                          test_lifecycle: progress is written and told
D7  cut, restarted, silent: 50 times at random       test_connections: whatever happens to Redis or the way there …
    a half-open connection                           test_connections: a blocked worker notices that nobody is there …
    the script cache is flushed                      test_connections: scripts that the server forgets all the time …
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Final

import pytest

from rmindr.queue import NewJob, Queue, QueueUnavailable, State
from rmindr.queue.audit import audit
from tests.conftest import Clock
from tests.queue.crew import (
    NEVER,
    Hands,
    a_child,
    all_ended,
    children,
    ended,
    notes,
    nothing,
    the_job,
    working,
)
from tests.queue.demands.scale import PATIENCE_S, so_many
from tests.queue.proxy import Proxy
from tests.queue.scenery import a_lease, event, eventually, until
from tests.redises import a_server
from tests.servers import Valkey

MS: Final = timedelta(milliseconds=1)


async def soon(look: Any) -> Any:
    return await eventually(look, timeout=PATIENCE_S)


@asynccontextmanager
async def counting(valkey: Valkey, prefix: str, *names: str) -> AsyncIterator[Counter[int]]:
    """How often these events are told of each job, counted by somebody who does nothing else."""
    told: Counter[int] = Counter()
    async with Queue.open(valkey.url, prefix=prefix) as queue:
        for name in names:
            queue.on(f"job {name}", lambda job_id, *_: told.update([job_id]))
        async with queue.listening():
            yield told
            # Whatever was told before this is heard before this.
            done = asyncio.Event()
            queue.on("job remove", lambda *_: done.set())
            await queue.redis.publish(queue.keys.events, event(0, "remove", "the end"))
            await done.wait()


# D1: queued jobs that nobody takes


async def test_d01_whenever_a_worker_is_killed_between_wake_up_and_activation_the_next_one_takes_every_job(
    live_queue: Queue, valkey: Valkey
) -> None:
    dice, made = random.Random(1), 0
    await live_queue.create("email", {}, attempts=9)
    for round in range(so_many(6, 1000)):
        async with Proxy(valkey.port) as proxy:
            child = a_child(live_queue, valkey, {"email": 3}, lease=1.0, url=proxy.url)
            async with child:
                await child.line("^ready$")
                # Just before a claim arrives at Redis, just before its answer is back, or at any moment.
                if round % 3 == 0:
                    proxy.when(b"kue:", partial(child.send, signal.SIGKILL))
                elif round % 3 == 1:
                    proxy.lose_answer(b"kue:", partial(child.send, signal.SIGKILL))
                made += len(await live_queue.create_many([NewJob(type="email", data={}, attempts=9)] * 5))
                if round % 3 == 2:
                    await asyncio.sleep(dice.uniform(0, 0.02))
                    child.send(signal.SIGKILL)
                assert await child.ended() == -signal.SIGKILL

    live_queue.process("email", nothing, concurrency=5)
    async with working(live_queue, lease=timedelta(seconds=1), timeout=PATIENCE_S):
        await soon(partial(all_ended, live_queue))

    assert await live_queue.jobs.counts() == {
        "delayed": 0,
        "inactive": 0,
        "active": 0,
        "complete": made + 1,
        "failed": 0,
    }


@pytest.mark.parametrize("form", ["{}", "{}-b.c", "{}[d]*?", "{}%-"])
async def test_d01_with_its_tokens_deleted_by_hand_a_type_is_worked_and_has_tokens_again(
    valkey: Valkey, prefix: str, form: str
) -> None:
    async with Queue.open(valkey.url, prefix=form.format(prefix)) as queue:
        hands = Hands()
        await queue.create_many([NewJob(type="email")] * 20)
        await queue.redis.delete(queue.keys.tokens("email"))
        queue.process("email", hands)
        async with working(queue):
            await until(lambda: hands.held)
            assert await queue.redis.llen(queue.keys.tokens("email")) >= await queue.jobs.count(State.INACTIVE)
            hands.let_go()
            await eventually(partial(all_ended, queue))


# D2: active jobs for ever


async def test_d02_as_many_attempts_are_counted_as_runs_were_started(live_queue: Queue, valkey: Valkey) -> None:
    await live_queue.create_many([NewJob(type="email", data={"sleep": 0.03}, attempts=99)] * so_many(40, 1000))

    async with counting(valkey, live_queue.keys.prefix, "start") as runs:
        for _ in range(so_many(3, 50)):
            async with children(1, live_queue, valkey, {"email": 4}, lease=1.0) as [child]:
                await child.line("^took")
                await child.kill()
        async with children(1, live_queue, valkey, {"email": 4}, lease=1.0):
            await soon(partial(all_ended, live_queue))

    jobs = await live_queue.jobs.range()
    assert {job.id: job.attempts for job in jobs} == runs
    # Three losses are a job's own fault.
    assert all(job.state is State.COMPLETE or (job.error or "").startswith("worker lost (3") for job in jobs)


# D3: one job run twice


async def test_d03_over_many_processes_promotions_and_restarts_no_job_has_overlapping_runs_and_every_run_counts(
    live_queue: Queue, valkey: Valkey
) -> None:
    dice, total = random.Random(3), so_many(250, 10_000)
    kinds: list[dict[str, Any]] = [{}, {"sleep": 0.005}, {"fail": "not yet"}, {"abandon": "no"}]
    news = [
        NewJob(
            type="email",
            data=(kind := dice.choice(kinds)),
            attempts=2 if "fail" in kind else 99,
            delay=dice.choice([None, dice.randint(1, 800) * MS]),
            priority=dice.choice([0, -10]),
        )
        for _ in range(total)
    ]
    await live_queue.create_many(news)

    async with children(so_many(3, 8), live_queue, valkey, {"email": 5}):
        while not await all_ended(live_queue):
            await live_queue.lifecycle.promote()
            abandoned = [job for job in await live_queue.jobs.range(State.FAILED, stop=50) if "abandon" in job.data]
            for job in dice.sample(abandoned, min(2, len(abandoned))):
                if job.attempts < 4:
                    await live_queue.jobs.retry_these([job.id])
            await asyncio.sleep(0.01)

    runs = await notes(live_queue)
    by_job: dict[int, list[Any]] = {}
    for run in runs:
        by_job.setdefault(run.job_id, []).append(run)
    for job_id, of_job in by_job.items():
        for earlier, later in itertools.pairwise(of_job):
            assert earlier.ended is not None
            assert earlier.ended <= later.began, f"job {job_id} ran twice at once"
    jobs = await live_queue.jobs.range()
    assert {job.id: job.attempts for job in jobs} == {job_id: len(of_job) for job_id, of_job in by_job.items()}
    assert len(jobs) == total


async def test_d03_two_promoters_promote_each_job_once_also_when_one_is_frozen_meanwhile(
    live_queue: Queue, valkey: Valkey
) -> None:
    total = so_many(300, 5000)
    async with counting(valkey, live_queue.keys.prefix, "promotion") as told:
        jobs = await live_queue.create_many([NewJob(type="letter", delay=n % 900 * MS) for n in range(1, total + 1)])
        # They work another type, and promote all.
        async with children(2, live_queue, valkey, {"email": 1}, tick=0.01) as crew:
            await asyncio.sleep(0.2)
            crew[0].send(signal.SIGSTOP)
            await soon(lambda: _waits(live_queue, total - 1))
            crew[0].send(signal.SIGCONT)
            await soon(lambda: _waits(live_queue, total))

    assert told == Counter(job.id for job in jobs if job.delay is not None)


async def _waits(queue: Queue, number: int) -> bool:
    return await queue.jobs.count(State.INACTIVE) >= number


# D4: delayed jobs that fire late or never


async def test_d04_however_many_are_delayed_one_that_is_due_is_promoted_at_the_same_cost(own_valkey: Valkey) -> None:
    async with Queue.open(own_valkey.url, patience=timedelta(seconds=60)) as queue:
        costs = []
        for number in (100, so_many(20_000, 1_000_000)):
            for at in range(0, number, 10_000):
                await queue.create_many([NewJob(type="email", delay=NEVER)] * min(10_000, number - at))
            due = []
            for _ in range(20):
                job = await queue.create("email", delay=1 * MS)
                await asyncio.sleep(0.002)
                await queue.redis.config_resetstat()
                assert await queue.lifecycle.promote() == 1
                stats: Any = await queue.redis.info("commandstats")
                due.append(stats["cmdstat_evalsha"]["usec_per_call"])
                assert (await the_job(queue, job.id)).state is State.INACTIVE
            costs.append(min(due))

    # The best of twenty, by the server's own clock: looking through 20,000 would take a hundred times as long.
    assert costs[1] < 10 * costs[0] + 1000


async def test_d04_any_worker_of_any_type_promotes_every_type(live_queue: Queue) -> None:
    live_queue.process("letter", nothing)
    await live_queue.create("email", delay=30 * MS)

    async with working(live_queue):
        await eventually(lambda: _waits(live_queue, 1))


async def test_d04_a_job_that_falls_due_while_redis_is_down_fires_when_it_is_back() -> None:
    server = a_server(appendonly=True)
    server.start()
    try:
        async with Queue.open(server.url) as queue:
            await queue.redis.config_set("appendfsync", "always")
            hands = Hands()
            queue.process("email", hands)
            # The hint that it has come may be lost together with the server: the tick is for that.
            async with working(queue, tick=200 * MS):
                await queue.create("email", delay=300 * MS)
                server.kill()
                await asyncio.sleep(0.4)
                server.start()
                await until(lambda: hands.held)
                hands.let_go()
                await eventually(partial(ended, queue, 1))
            assert hands.runs == Counter([1])
    finally:
        server.remove()


@pytest.mark.parametrize("hours", [-1, 1])
async def test_d04_a_process_whose_clock_is_wrong_moves_nobodys_due_times(
    live_queue: Queue, valkey: Valkey, hours: int
) -> None:
    async with children(1, live_queue, valkey, {"email": 1}, clock_wrong_by=hours * 3600):
        made = await live_queue.create("email", {}, delay=200 * MS)
        await eventually(partial(ended, live_queue, 1))

    job = await the_job(live_queue)
    assert job.started_at is not None
    assert job.promote_at == made.promote_at
    assert timedelta(0) <= job.started_at - (made.promote_at or job.started_at) < timedelta(seconds=15)


# D5: retries without end


async def test_d05_unlimited_attempts_go_on_until_one_succeeds(queue: Queue, clock: Clock) -> None:
    await queue.create("email", attempts=None)

    for n in range(200):
        assert await queue.lifecycle.fail(await a_lease(queue, token=f"t.{n}"), "no", wait_ms=0) is State.INACTIVE
    await queue.lifecycle.complete(await a_lease(queue))

    assert (await the_job(queue)).attempts == 201


async def test_d05_under_failures_expiries_stops_and_kills_a_job_is_run_as_often_as_it_may_and_not_once_more(
    live_queue: Queue, valkey: Valkey
) -> None:
    dice, total = random.Random(5), so_many(40, 1000)
    kinds: list[dict[str, Any]] = [{"fail": "no"}, {"sleep": 3600}, {"sleep": 0.02}]
    news = [
        NewJob(type="email", data=(kind := dice.choice(kinds)), attempts=2, ttl=100 * MS if "sleep" in kind else None)
        for _ in range(total)
    ]
    await live_queue.create_many(news)

    async with counting(valkey, live_queue.keys.prefix, "start") as runs:
        for deed in (signal.SIGKILL, signal.SIGTERM) * so_many(1, 25):
            async with children(1, live_queue, valkey, {"email": 6}, lease=1.0, grace=0.05) as [child]:
                await child.line("^took")
                child.send(deed)
                await child.ended()
        async with children(1, live_queue, valkey, {"email": 6}, lease=1.0):
            await soon(partial(all_ended, live_queue))

    for job in await live_queue.jobs.range():
        assert job.attempts <= job.max_attempts
        if job.state is State.FAILED:
            # A run that a stop gives back is none.
            assert job.attempts == job.max_attempts <= runs[job.id]


# D6: expiry that misfires


async def test_d06_runs_that_expire_together_fail_once_each_and_every_living_worker_goes_on(
    live_queue: Queue, valkey: Valkey
) -> None:
    total = so_many(8, 100)
    async with counting(valkey, live_queue.keys.prefix, "failed", "failed attempt") as told:
        async with children(2, live_queue, valkey, {"email": total // 2}, lease=1.0) as crew:
            await live_queue.create_many([NewJob(type="email", data={"sleep": 3600}, ttl=700 * MS, attempts=1)] * total)
            await soon(lambda: _runs(live_queue, total))
            await crew[0].kill()
            await live_queue.create_many([NewJob(type="email", data={})] * 20)
            await soon(partial(all_ended, live_queue))

    assert told == Counter(range(1, total + 1))
    assert await live_queue.jobs.count(State.COMPLETE) == 20


async def _runs(queue: Queue, number: int) -> bool:
    return await queue.jobs.count(State.ACTIVE) == number


@pytest.mark.parametrize("priority", [0, -15, 10, 2**40, -(2**40), 100_001])
async def test_d06_a_job_without_ttl_never_expires_whatever_its_priority(
    queue: Queue, clock: Clock, priority: int
) -> None:
    await queue.create("email", priority=priority)
    lease = await a_lease(queue, lease=timedelta(days=9999))
    clock.advance(seconds=86_400 * 9000)

    assert await queue.lifecycle.expired(clock.ms) == []
    assert await queue.lifecycle.expire(lease.job) is None


# D7: Redis goes away


async def test_d07_a_creation_that_fails_has_made_its_job_once_or_not_at_all(valkey: Valkey, prefix: str) -> None:
    made = refused = 0
    async with Proxy(valkey.port) as proxy, Queue.open(proxy.url, prefix=prefix) as queue:
        for n in range(so_many(40, 1000)):
            if n % 2:
                proxy.lose_answer(f'"n {n}"'.encode())
            try:
                await queue.create("email", f"n {n}")
                made += 1
            except QueueUnavailable:
                refused += 1

    async with Queue.open(valkey.url, prefix=prefix) as queue:
        stands = Counter(job.data for job in await queue.jobs.range())
        assert await audit(queue.redis, prefix) == []
    assert max(stands.values()) == 1
    assert made <= len(stands) <= made + refused
    assert refused > 0


async def test_d07_a_worker_process_outlives_a_redis_that_comes_and_goes() -> None:
    server = a_server(appendonly=True)
    server.start()
    try:
        async with Queue.open(server.url) as queue:
            await queue.redis.config_set("appendfsync", "always")
            async with children(1, queue, server, {"email": 2}, patience=0.5) as [child]:
                for n in range(1, so_many(3, 50) + 1):
                    await queue.create("email", {})
                    await soon(partial(ended, queue, n))
                    server.kill()
                    await asyncio.sleep(0.1)
                    server.start()
                    await eventually(lambda: _answers(queue))
                os.kill(child.pid, 0)
            runs = Counter(run.job_id for run in await notes(queue))
    finally:
        server.remove()

    assert set(runs.values()) == {1}


async def _answers(queue: Queue) -> bool:
    try:
        await queue.jobs.counts()
    except QueueUnavailable:
        return False
    return True
