"""What Kue's users asked for in daily running (D8 to D18 of docs/queue.md). `SCALE=full` tries it at full size.

Statements that other tests prove already:

D8   retention, and nothing left of what is removed   test_lifecycle: prune
     logs are capped                                  test_lifecycle: the log keeps the last thousand lines in order
     1,000,000 jobs                                   benchmarks/retention.py
D9   reading never deletes                            test_jobs: what cannot be read and what is gone is left out
     removing what is missing is a clean no           test_lifecycle: a verb that does not fit is refused …
D10  100 saves at once under one key                  test_lifecycle: concurrent creations under one key make one job
     the key is free when its job has ended           test_lifecycle: a key is free when its job has ended
D11  a new delay counts from now                      test_lifecycle: update reschedules from now, … no time at all runs it now
     what is cancelled never runs                     test_lifecycle: a job that waits and is cancelled never runs
D12  schedules                                        test_schedules
D13  exceptions, results that are no JSON             test_worker: how a run ends; test_runs: however a handler ends …
D14  what outlasts the grace                          test_runs: what a stop makes of runs that outlast it
D15  pauses                                           test_steering: pauses
D16  limits                                           test_steering: limits
D17  TLS, sockets, Sentinel, passwords                test_connections, test_addresses
D18  two prefixes on one server                       test_queue: queues under two prefixes in one process …
"""

from __future__ import annotations

import asyncio
import gc
import random
import signal
import tracemalloc
from collections import Counter
from datetime import timedelta
from functools import partial
from typing import Any, Final

import pytest

from rmindr.queue import Context, Job, Kept, NewJob, Queue, Refused, State
from rmindr.queue.audit import audit
from tests.conftest import Clock
from tests.processes import Process
from tests.queue.crew import Hands, a_child, all_ended, children, ended, is_blocked, nothing, the_job, working
from tests.queue.demands.scale import PATIENCE_S, so_many
from tests.queue.scenery import LEASE, a_lease, eventually, keyspace, until
from tests.servers import Valkey

MS: Final = timedelta(milliseconds=1)


# D8: memory that only grows


async def test_d08_however_many_jobs_go_through_the_keys_are_as_many_as_are_kept(own_valkey: Valkey) -> None:
    kept, rounds = 50, so_many(6, 200)
    async with Queue.open(own_valkey.url) as queue:

        async def work(job: Job, context: Context) -> None:
            await context.log("a line")
            if job.data["n"] % 3 == 0:
                raise ValueError("no")

        queue.process("email", work, concurrency=50)
        for state in (State.COMPLETE, State.FAILED):
            await queue.steering.retain(state, Kept(count=kept))
        sizes = []
        async with working(queue, timeout=PATIENCE_S):
            for round in range(rounds):
                await queue.create_many(
                    [NewJob(type="email", data={"n": n}, unique=f"{round} {n}") for n in range(so_many(300, 5000))]
                )
                await eventually(partial(all_ended, queue), timeout=PATIENCE_S)
                sizes.append(await queue.redis.dbsize())

    # A hash and a log each; and the queue's own keys, of which a minute brings two.
    assert max(sizes) <= 2 * 2 * kept + 60
    assert sizes[-1] <= sizes[0] + 10


async def test_d08_a_process_that_creates_and_works_keeps_no_memory_of_what_is_done(live_queue: Queue) -> None:
    live_queue.process("email", nothing, concurrency=20)
    number, grown = so_many(500, 100_000), []
    async with working(live_queue, timeout=PATIENCE_S):
        tracemalloc.start()
        try:
            for _ in range(3):
                for at in range(0, number, 500):
                    await live_queue.create_many([NewJob(type="email", data={"n": at}, remove_on_complete=True)] * 500)
                await eventually(partial(all_ended, live_queue), timeout=PATIENCE_S)
                gc.collect()
                grown.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()

    # The first round warms up; a job that was kept would weigh a kilobyte.
    assert max(grown[1:]) - grown[0] < 200 * number


async def test_d08_tokens_do_not_pile_up_over_many_workers(live_queue: Queue) -> None:
    live_queue.process("email", nothing, concurrency=5)

    for n in range(1, so_many(15, 1000) + 1):
        async with working(live_queue):
            await live_queue.create("email", remove_on_complete=True)
            await eventually(partial(all_ended, live_queue))
        assert await live_queue.redis.llen(live_queue.keys.tokens("email")) <= 1, n

    left = {name for name in await keyspace(live_queue) if not name.startswith("bell:")}
    assert left <= {"ids", "job:types", "stats:work-time", "email:jobs", "wake"}


# D9: ghosts


async def test_d09_whatever_is_removed_in_the_midst_of_whatever_the_audit_finds_nothing(
    live_queue: Queue, valkey: Valkey
) -> None:
    dice, rounds = random.Random(9), so_many(120, 20_000)
    kinds: list[dict[str, Any]] = [{}, {"fail": "no"}, {"sleep": 0.01}, {"abandon": "no"}]
    async with (
        children(2, live_queue, valkey, {"email": 3}, lease=1.0) as crew,
        Queue.open(valkey.url, prefix=live_queue.keys.prefix, search=("title",)) as other,
    ):
        for n in range(rounds):
            queue = dice.choice((live_queue, other))
            await queue.create(
                "email", dice.choice(kinds) | {"title": f"job {n}"}, attempts=2, delay=dice.choice([None, 5 * MS]),
                unique=f"key {n % 7}", remove_on_complete=dice.random() < 0.3,
            )  # fmt: skip
            ids = await queue.jobs.ids(newest_first=True, stop=9)
            doings = [
                dice.choice(
                    (queue.remove, queue.retry, queue.cancel, partial(queue.update, priority=dice.randint(-9, 9)))
                )(dice.choice(ids))
                for _ in range(5)
                if ids
            ]
            for answer in await asyncio.gather(*doings, return_exceptions=True):
                assert not isinstance(answer, BaseException) or isinstance(answer, Refused)
            if n == rounds // 2:
                await crew[0].kill()
        await eventually(partial(all_ended, live_queue), timeout=PATIENCE_S)

    assert await audit(live_queue.redis, live_queue.keys.prefix) == []


# D10: unique jobs


async def test_d10_a_lost_job_blocks_its_key_no_longer_than_it_lives_itself(queue: Queue, clock: Clock) -> None:
    await queue.create("email", unique="key", attempts=9)
    holders = []
    for n in range(3):
        await a_lease(queue, token=f"t.{n}")
        clock.advance(seconds=60)
        holders += await queue.jobs.find(["key"])
        await queue.lifecycle.rescue()

    assert holders == [1, 1, 1]
    assert await queue.jobs.find(["key"]) == [None]
    assert (await queue.create("email", unique="key")).id == 2


# D11: reschedule, cancel, run now


async def test_d11_a_change_has_happened_before_the_job_starts_or_says_that_it_comes_too_late(
    valkey: Valkey, queue: Queue, clock: Clock
) -> None:
    number = so_many(150, 5000)
    await queue.create_many([NewJob(type="email", data="old")] * number)
    async with Queue.open(valkey.url, prefix=queue.keys.prefix, clock=clock) as other:
        taken: dict[int, str] = {}

        async def take() -> None:
            while leases := (await other.lifecycle.claim({"email": 3}, token="t", lease=LEASE, worker="w")).leases:
                taken.update({lease.job.id: lease.job.data for lease in leases})

        async def change(job_id: int) -> bool:
            try:
                await queue.update(job_id, data="new")
            except Refused:
                return False
            return True

        _, *changed = await asyncio.gather(take(), *(change(job_id) for job_id in range(number, 0, -1)))

    assert {
        job_id: "new" if done else "old" for job_id, done in zip(range(number, 0, -1), changed, strict=True)
    } == taken


# D14: a shutdown that finishes


async def stopped(child: Process, *, times: int = 1) -> int:
    """Told to stop so often; its exit status."""
    for _ in range(times):
        child.send(signal.SIGTERM)
        await asyncio.sleep(0.05)
    return await child.ended(timeout=20.0)


@pytest.mark.parametrize("kind", ["idle", "barred", "busy", "waiting for its backoff"])
async def test_d14_told_to_stop_a_worker_ends_by_itself_whatever_it_is_doing(
    live_queue: Queue, valkey: Valkey, kind: str
) -> None:
    if kind == "barred":
        await live_queue.steering.pause()
    async with children(1, live_queue, valkey, {"email": 3}, grace=10.0) as [child]:
        if kind != "idle":
            data = {"sleep": 0.3} if kind == "busy" else {"fail": "no"}
            await live_queue.create("email", data, attempts=2, delay=None)
        if kind not in ("idle", "barred"):
            await child.line("^took 1")
        status = await stopped(child)

    assert status == 0
    if kind == "busy":
        assert (await the_job(live_queue)).state is State.COMPLETE, "what runs gets the time to end"


async def test_d14_told_to_stop_while_it_starts_a_worker_ends(live_queue: Queue, valkey: Valkey) -> None:
    for delay in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5):
        async with a_child(live_queue, valkey, {"email": 1}) as child:
            await asyncio.sleep(delay)
            assert await stopped(child) in (0, -signal.SIGTERM)


async def test_d14_told_to_stop_with_runs_that_do_not_end_a_worker_gives_them_back_and_ends(
    live_queue: Queue, valkey: Valkey
) -> None:
    await live_queue.create_many([NewJob(type="email", data={"sleep": 3600})] * 3)
    async with children(1, live_queue, valkey, {"email": 3}, grace=0.2) as [child]:
        await child.line("^took 3")
        assert await stopped(child) == 0

    jobs = await live_queue.jobs.range()
    assert [(job.state, job.attempts) for job in jobs] == [(State.INACTIVE, 0)] * 3


async def test_d14_a_second_signal_ends_it_at_once_and_nothing_is_lost(live_queue: Queue, valkey: Valkey) -> None:
    await live_queue.create_many([NewJob(type="email", data={"sleep": 3600})] * 3)
    async with children(1, live_queue, valkey, {"email": 3}, grace=3600.0) as [child]:
        await child.line("^took 3")
        await stopped(child, times=2)

    jobs = await live_queue.jobs.range()
    assert [(job.state, job.attempts) for job in jobs] == [(State.INACTIVE, 0)] * 3


async def test_d14_told_to_stop_while_redis_is_away_a_worker_ends(own_valkey: Valkey) -> None:
    async with Queue.open(own_valkey.url) as queue:
        await queue.create("email", {"sleep": 3600})
        async with children(1, queue, own_valkey, {"email": 2}, grace=0.2, patience=0.5) as [child]:
            await child.line("^took 1")
            own_valkey.kill()
            assert await stopped(child) == 0
        own_valkey.start()


# D17: connections


async def test_d17_a_worker_of_fifty_types_holds_four_connections_at_most(own_valkey: Valkey) -> None:
    async with Queue.open(own_valkey.url) as queue:
        hands = Hands()
        for n in range(50):
            queue.process(f"type {n}", hands, concurrency=20)
        queue.on("job complete", lambda *_: None)
        await queue.create_many([NewJob(type=f"type {n % 50}") for n in range(500)])
        async with working(queue):
            await until(lambda: len(hands.held) == 500)
            most = len(await queue.redis.client_list())
            hands.let_go()
            await eventually(partial(all_ended, queue))
            await eventually(partial(is_blocked, queue))
            most = max(most, len(await queue.redis.client_list()))

    assert most <= 4


# D18: several queues in one process


async def test_d18_two_queues_on_two_servers_in_one_process_do_not_touch_each_other(
    valkey: Valkey, own_valkey: Valkey, prefix: str
) -> None:
    runs: dict[str, Counter[int]] = {"a": Counter(), "b": Counter()}

    def note(name: str) -> Any:
        async def work(job: Job, context: Context) -> None:
            runs[name].update([job.data])
            if name == "b":
                raise ValueError("no")

        return work

    async with (
        Queue.open(valkey.url, prefix=prefix, search=("*",)) as a,
        Queue.open(own_valkey.url, prefix=prefix, patience=timedelta(seconds=1)) as b,
    ):
        for queue, name in ((a, "a"), (b, "b")):
            queue.process("email", note(name), concurrency=3)
        await b.steering.retain(State.FAILED, Kept(count=1))
        async with working(a), working(b):
            await a.create_many([NewJob(type="email", data=n) for n in range(20)])
            await b.create_many([NewJob(type="email", data=n) for n in range(20, 40)])
            for queue in (a, b):
                await eventually(partial(all_ended, queue))
            a.shutdown()
            await b.create("email", 40)
            await eventually(partial(ended, b, 21))
        counted = [await queue.jobs.counts() for queue in (a, b)]

    assert runs == {"a": Counter(range(20)), "b": Counter(range(20, 41))}
    assert [(each[State.COMPLETE], each[State.FAILED]) for each in counted] == [(20, 0), (0, 1)]
