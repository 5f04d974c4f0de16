"""What is decided once for all workers: pauses, limits, what is kept, from any process and beyond its end; who works."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from functools import partial
from typing import Any, Final

import pytest

from rmindr.queue import InvalidJob, Kept, Limit, NewJob, Queue, QueueUnavailable, State
from rmindr.queue.job import to_ms
from rmindr.queue.upkeep import SILENCE
from tests.conftest import Clock
from tests.queue.crew import (
    Hands,
    all_ended,
    children,
    ended,
    is_blocked,
    is_quiet,
    most_at_once,
    notes,
    nothing,
    working,
)
from tests.queue.scenery import LEASE, a_lease, eventually, keyspace, to_the_end, until
from tests.redises import a_server
from tests.servers import Valkey

MS: Final = timedelta(milliseconds=1)
HOURLY: Final = Limit(rate=1, per=timedelta(hours=1))


async def claimed(queue: Queue, number: int = 1, *, type: str = "email", token: str = "t.1") -> list[int]:
    """The ids of what a claim of so many takes."""
    answer = await queue.lifecycle.claim({type: number}, token=token, lease=LEASE, worker="w")
    return [lease.job.id for lease in answer.leases]


# Pauses


async def test_a_paused_type_is_taken_by_nobody_and_others_are(queue: Queue) -> None:
    for type in ("email", "letter"):
        await queue.create(type)

    await queue.steering.pause("email")
    answer = await queue.lifecycle.claim({"email": 1, "letter": 1}, token="t.1", lease=LEASE, worker="w")

    assert [lease.job.type for lease in answer.leases] == ["letter"]
    assert answer.barred == {"email"}


async def test_a_pause_of_all_holds_for_every_type(queue: Queue) -> None:
    for type in ("email", "letter"):
        await queue.create(type)

    await queue.steering.pause()
    answer = await queue.lifecycle.claim({"email": 1, "letter": 1}, token="t.1", lease=LEASE, worker="w")

    assert (answer.leases, answer.barred) == ([], {"email", "letter"})


async def test_a_pause_is_ended_by_the_word_that_began_it(queue: Queue) -> None:
    await queue.create("email")
    await queue.steering.pause("email")
    await queue.steering.pause()

    await queue.steering.resume()
    assert await queue.steering.paused() == (False, ["email"])
    assert await claimed(queue) == []
    await queue.steering.resume("email")
    assert await queue.steering.paused() == (False, [])
    assert await claimed(queue) == [1]


async def test_what_is_paused_can_be_asked_for(queue: Queue) -> None:
    for type in (None, "letter", "email", "email"):
        await queue.steering.pause(type)

    assert await queue.steering.paused() == (True, ["email", "letter"])


async def test_a_type_that_is_none_cannot_be_paused(queue: Queue) -> None:
    for ask in (queue.steering.pause(""), queue.steering.resume("\n"), queue.steering.limit("", HOURLY)):
        with pytest.raises(InvalidJob):
            await ask

    assert await keyspace(queue) == {}


async def test_jobs_fall_due_and_are_told_of_while_all_is_paused(live_queue: Queue) -> None:
    heard: list[str] = []
    for name in ("enqueue", "promotion", "start"):
        live_queue.on(f"job {name}", lambda *_, name=name: heard.append(name))
    live_queue.process("email", nothing)

    async with live_queue.listening(), working(live_queue):
        await live_queue.steering.pause()
        await live_queue.create("email", delay=20 * MS)
        await until(lambda: heard == ["promotion", "enqueue"])
        await live_queue.steering.resume()
        await eventually(partial(ended, live_queue, 1))

    assert heard == ["promotion", "enqueue", "start"]


@pytest.mark.parametrize("type", [None, "email"])
async def test_a_pause_from_another_process_stops_all_workers_at_once_and_its_end_wakes_them_all(
    live_queue: Queue, valkey: Valkey, type: str | None
) -> None:
    async with children(3, live_queue, valkey, {"email": 2}) as crew:
        await live_queue.create_many([NewJob(type="email", data={"sleep": 0.01})] * 30)
        await crew[0].line("took")
        await live_queue.steering.pause(type)
        paused_at = await live_queue.lifecycle.now_ms()
        await live_queue.create_many([NewJob(type="email", data={"sleep": 3600})] * 20)
        await eventually(lambda: _runs(live_queue, 0))
        waiting = await live_queue.jobs.count(State.INACTIVE)
        done = await live_queue.jobs.range(State.COMPLETE)

        await live_queue.steering.resume(type)
        # Six slots, filled though no worker looks by itself: each was woken.
        await eventually(lambda: _runs(live_queue, 6))

    assert (waiting, waiting + len(done)) == (max(waiting, 20), 50)
    assert max(to_ms(job.started_at) for job in done if job.started_at is not None) <= paused_at


async def test_workers_that_have_not_said_yet_that_they_are_there_are_woken_too(
    live_queue: Queue, valkey: Valkey
) -> None:
    hands = Hands()
    await live_queue.steering.pause("email")
    async with AsyncExitStack() as stack:
        for _ in range(3):
            queue = await stack.enter_async_context(Queue.open(valkey.url, prefix=live_queue.keys.prefix))
            queue.process("email", hands)
            await stack.enter_async_context(working(queue))
        await eventually(partial(is_blocked, live_queue, 3))
        await eventually(lambda: _are_known(live_queue, 3))
        await live_queue.create_many([NewJob(type="email")] * 3)
        await live_queue.redis.delete(live_queue.keys.workers)

        await live_queue.steering.resume("email")

        await until(lambda: len(hands.held) == 3)
        hands.let_go()


async def _are_known(queue: Queue, number: int) -> bool:
    return bool(await queue.redis.zcard(queue.keys.workers) == number)


async def _runs(queue: Queue, number: int) -> bool:
    return await queue.jobs.count(State.ACTIVE) == number


async def test_a_job_in_hand_goes_on_and_ends_while_its_type_is_paused(live_queue: Queue) -> None:
    hands = Hands()
    live_queue.process("email", hands)
    await live_queue.create_many([NewJob(type="email")] * 2)

    async with working(live_queue):
        await until(lambda: hands.held)
        await live_queue.steering.pause("email")
        hands.let_go()
        await eventually(partial(ended, live_queue, 1))
        assert await live_queue.jobs.states([2]) == [State.INACTIVE]
        await live_queue.steering.resume("email")
        await eventually(partial(ended, live_queue, 2))


async def test_a_pause_outlives_the_workers_and_redis(live_queue: Queue) -> None:
    server = a_server(appendonly=True)
    server.start()
    try:
        async with Queue.open(server.url) as queue:
            await queue.steering.pause("email")
            await queue.create_many([NewJob(type="email"), NewJob(type="letter")])
            await queue.redis.config_set("appendfsync", "always")
            await queue.create("email")
        server.kill()
        server.start()
        async with Queue.open(server.url) as queue:
            for type in ("email", "letter"):
                queue.process(type, nothing)
            async with working(queue):
                await eventually(partial(ended, queue, 2))
                assert await queue.steering.paused() == (False, ["email"])
                assert await queue.jobs.states([1, 3]) == [State.INACTIVE] * 2
                await queue.steering.resume("email")
                await eventually(partial(ended, queue, 1, 3))
    finally:
        server.remove()


async def test_a_resumed_type_that_nobody_works_leaves_its_wake_up_for_a_minute_at_most(queue: Queue) -> None:
    await queue.steering.pause("email")

    await queue.steering.resume("email")

    assert 0 < await queue.redis.ttl(queue.keys.wake_of("email")) <= 60


# A worker that may not take what waits


async def _pause(queue: Queue) -> None:
    await queue.steering.pause("email")


async def _limit_rate(queue: Queue) -> None:
    await queue.steering.limit("email", HOURLY)
    assert await claimed(queue) == [1]


async def _limit_concurrency(queue: Queue) -> None:
    await queue.steering.limit("email", Limit(concurrency=1))
    assert await claimed(queue) == [1]


@pytest.mark.parametrize("bar", [_pause, _limit_rate, _limit_concurrency], ids=lambda bar: bar.__name__.strip("_"))
async def test_an_idle_worker_that_may_not_take_what_waits_does_not_spin(own_valkey: Valkey, bar: Any) -> None:
    async with Queue.open(own_valkey.url) as queue:
        queue.process("email", nothing, concurrency=3)
        await queue.create_many([NewJob(type="email")] * 20)
        await bar(queue)
        async with working(queue):
            await eventually(partial(is_blocked, queue))
            await eventually(lambda: is_quiet(queue, "smismember", "blpop"))

            await queue.create_many([NewJob(type="email")] * 20)
            quiet = await is_quiet(queue, "smismember", "blpop")

    assert quiet, "what comes wakes nobody"


async def test_two_workers_that_may_not_take_what_waits_do_not_wake_each_other(own_valkey: Valkey) -> None:
    async with Queue.open(own_valkey.url) as one, Queue.open(own_valkey.url) as two:
        hands = Hands()
        for queue in (one, two):
            queue.process("email", hands, concurrency=3)
        await one.steering.limit("email", Limit(concurrency=2))
        await one.create_many([NewJob(type="email")] * 20)
        async with working(one), working(two):
            await until(lambda: len(hands.held) == 2)
            await eventually(partial(is_blocked, one, 2))

            await eventually(lambda: is_quiet(one, "smismember", "blpop"))

            hands.let_go()
            await eventually(partial(all_ended, one))

    assert hands.most == 2


# Limits: how many begin in a while


async def test_so_many_begin_within_the_period_and_no_more(queue: Queue, clock: Clock) -> None:
    await queue.steering.limit("email", Limit(rate=3, per=timedelta(seconds=10)))
    await queue.create_many([NewJob(type="email")] * 10)

    taken = []
    for seconds in (0, 4, 5.999, 0.001, 4, 6):
        clock.advance(seconds=seconds)
        taken.append(await claimed(queue, 2, token=f"t.{len(taken)}"))

    # At 0: two. At 4: the third. At 9.999: none. At 10: the first two have lost their weight …
    assert taken == [[1, 2], [3], [], [4, 5], [6], [7, 8]]


@pytest.mark.parametrize("seed", range(5))
async def test_no_window_of_the_period_sees_more_and_with_work_enough_none_sees_fewer(
    valkey: Valkey, queue: Queue, clock: Clock, seed: int
) -> None:
    dice = random.Random(seed)
    # The list of starts is gone after a period on the real clock, too: none so short that a busy machine could outlast it.
    rate, per = dice.randint(1, 7), dice.choice([5000, 7777, 60_000])
    await queue.steering.limit("email", Limit(rate=rate, per=per * MS))
    await queue.create_many([NewJob(type="email")] * 500)
    async with Queue.open(valkey.url, prefix=queue.keys.prefix, clock=clock) as other:
        starts: list[int] = []
        for n in range(150):
            taken = await claimed(dice.choice((queue, other)), dice.randint(1, 9), token=f"t.{n}")
            starts += [clock.ms] * len(taken)
            clock.advance(ms=dice.choice([0, 1, per // 7, per - 1, per]))
        # From now on somebody looks at every instant.
        clock.advance(ms=per)
        greedy: list[int] = []
        for n in range(50):
            greedy += [clock.ms] * len(await claimed(queue, 9, token=f"u.{n}"))
            clock.advance(ms=per / 10)

    gaps = [later - earlier for earlier, later in zip(starts, starts[rate:], strict=False)]
    assert min(gaps, default=per) >= per
    assert len(greedy) == rate * 5


async def test_three_worker_processes_together_keep_to_the_rate(live_queue: Queue, valkey: Valkey) -> None:
    await live_queue.steering.limit("email", Limit(rate=5, per=300 * MS))
    await live_queue.create_many([NewJob(type="email", data={})] * 24)

    async with children(3, live_queue, valkey, {"email": 10}):
        await eventually(partial(all_ended, live_queue))

    jobs = await live_queue.jobs.range(State.COMPLETE)
    starts = sorted(job.started_at for job in jobs if job.started_at is not None)
    assert len(starts) == 24
    assert min(later - earlier for earlier, later in zip(starts, starts[5:], strict=False)) >= 300 * MS


async def test_a_worker_sleeps_until_the_limit_has_room_again(live_queue: Queue) -> None:
    order: list[int] = []

    async def work(job: Any, context: Any) -> None:
        order.append(job.id)

    live_queue.process("email", work, concurrency=4)
    await live_queue.steering.limit("email", Limit(rate=2, per=60 * MS))
    await live_queue.create_many([NewJob(type="email")] * 9)

    async with working(live_queue):
        await eventually(partial(all_ended, live_queue))

    assert order == list(range(1, 10))


# Limits: how many at once


async def test_three_worker_processes_together_keep_to_the_concurrency_through_kills(
    live_queue: Queue, valkey: Valkey
) -> None:
    await live_queue.steering.limit("email", Limit(concurrency=3))
    await live_queue.create_many([NewJob(type="email", data={"sleep": 0.02}, attempts=9)] * 40)
    most = 0

    async with children(3, live_queue, valkey, {"email": 5}, lease=1.0) as crew:
        for child in crew[:2]:
            # The others may leave it nothing to take.
            with suppress(TimeoutError):
                await child.line("took", timeout=5)
            await child.kill()
            most = max(most, await live_queue.jobs.count(State.ACTIVE))
        while not await all_ended(live_queue):
            most = max(most, await live_queue.jobs.count(State.ACTIVE))
            await asyncio.sleep(0.005)

    runs = await notes(live_queue)
    assert (await live_queue.jobs.counts())[State.COMPLETE] == 40
    assert most <= 3
    assert most_at_once(runs) == 3


async def test_a_concurrency_that_is_raised_or_lowered_holds_from_then_on(live_queue: Queue) -> None:
    first = Hands()
    live_queue.process("email", first, concurrency=9)
    await live_queue.create_many([NewJob(type="email")] * 9)
    steering = live_queue.steering

    async with working(live_queue):
        await steering.limit("email", Limit(concurrency=1))
        await until(lambda: first.held)
        held = len(first.held)
        await steering.limit("email", Limit(concurrency=max(held, 3)))
        await until(lambda: len(first.held) == max(held, 3))
        await steering.limit("email", None)
        await until(lambda: len(first.held) == 9)
        first.let_go()
        await eventually(partial(all_ended, live_queue))
        assert first.most == 9


async def test_a_lowered_concurrency_waits_until_enough_have_ended(queue: Queue) -> None:
    await queue.create_many([NewJob(type="email")] * 6)
    await claimed(queue, 4)
    await queue.steering.limit("email", Limit(concurrency=2))
    leases = (await queue.lifecycle.claim({"email": 0}, token="t.1", lease=LEASE, worker="w", again=True)).leases

    taken = []
    for lease in leases:
        taken.append(await claimed(queue, 4, token=f"u.{lease.job.id}"))
        await queue.lifecycle.complete(lease)
    taken.append(await claimed(queue, 4, token="u.9"))

    assert taken == [[], [], [], [5], [6]]


async def test_a_worker_that_a_limit_keeps_asleep_is_woken_when_another_ends_a_run(valkey: Valkey, prefix: str) -> None:
    first, second = Hands(), Hands()
    async with Queue.open(valkey.url, prefix=prefix) as one, Queue.open(valkey.url, prefix=prefix) as two:
        one.process("email", first)
        two.process("email", second)
        await one.steering.limit("email", Limit(concurrency=1))
        await one.create("email")
        async with working(one):
            await until(lambda: first.held)
            await one.create("email")
            async with working(two):
                await until(lambda: two.worker and two.worker.id)
                one.shutdown()
                first.let_go()
                await until(lambda: second.held)
                second.let_go()
                await eventually(partial(ended, one, 1, 2))


async def test_rate_and_concurrency_hold_together(queue: Queue, clock: Clock) -> None:
    await queue.create_many([NewJob(type="email")] * 9)
    await queue.steering.limit("email", Limit(rate=3, per=timedelta(seconds=1), concurrency=2))

    first = (await queue.lifecycle.claim({"email": 9}, token="t.1", lease=LEASE, worker="w")).leases
    for lease in first:
        await queue.lifecycle.complete(lease)
    second = await claimed(queue, 9, token="t.2")
    clock.advance(seconds=1)
    third = await claimed(queue, 9, token="t.3")

    assert [lease.job.id for lease in first] == [1, 2]
    assert (second, third) == ([3], [4])


# Limits, whatever their kind


async def test_a_limited_job_stays_inactive_and_keeps_its_place(queue: Queue, clock: Clock) -> None:
    await queue.steering.limit("email", Limit(rate=1, per=timedelta(seconds=1)))
    await queue.create_many([NewJob(type="email", priority=priority) for priority in (0, 0, 10, 0)])

    order = []
    for n in range(5):
        order += await claimed(queue, 4, token=f"t.{n}")
        assert (await queue.jobs.counts())[State.INACTIVE] == (3, 2, 2, 1, 0)[n]
        if n == 1:
            await queue.create("email", priority="high")
        clock.advance(seconds=1)

    assert order == [1, 2, 5, 4, 3]


async def test_a_limit_on_one_type_holds_up_no_other(live_queue: Queue) -> None:
    for type in ("email", "letter"):
        live_queue.process(type, nothing)
    await live_queue.steering.limit("email", HOURLY)
    await live_queue.create_many([NewJob(type="email")] * 3)

    async with working(live_queue):
        await eventually(partial(ended, live_queue, 1))
        for n in range(4, 8):
            await live_queue.create("letter")
            await eventually(partial(ended, live_queue, n))

    assert await live_queue.jobs.states([2, 3]) == [State.INACTIVE] * 2


async def test_limits_can_be_asked_for_changed_and_lifted(queue: Queue) -> None:
    both = Limit(rate=5, per=timedelta(minutes=1), concurrency=2)
    await queue.steering.limit("both", both)
    await queue.steering.limit("rate", Limit(rate=7))
    await queue.steering.limit("concurrency", Limit(concurrency=3))
    await queue.steering.limit("lifted", both)

    await queue.steering.limit("lifted", None)
    await queue.steering.limit("rate", Limit(rate=8, per=250 * MS))

    assert await queue.steering.limits() == {
        "both": both,
        "rate": Limit(rate=8, per=250 * MS),
        "concurrency": Limit(concurrency=3),
    }


@pytest.mark.parametrize(
    "limit",
    [
        Limit(rate=0), Limit(rate=-1), Limit(rate=1.5), Limit(rate=True), Limit(concurrency=0), Limit(concurrency="2"),
        Limit(rate=1, per=timedelta(0)), Limit(rate=1, per=-MS), Limit(rate=1, per=5), Limit(rate=2**60),
    ],
)  # type: ignore[arg-type]  # fmt: skip
async def test_a_limit_that_makes_no_sense_is_refused(queue: Queue, limit: Limit) -> None:
    with pytest.raises(InvalidJob):
        await queue.steering.limit("email", limit)

    assert await queue.steering.limits() == {}


@pytest.mark.parametrize("text", ["", "junk", "1", "1 2", "-1 -1 -1", "1e3 1 1", "  ", "1 1 1 1"])
async def test_a_limit_that_nobody_can_read_limits_nothing(queue: Queue, text: str) -> None:
    await queue.redis.hset(queue.keys.limits, "email", text)
    await queue.create_many([NewJob(type="email")] * 3)

    assert await claimed(queue, 3) == [1, 2, 3]
    assert (await queue.steering.limits()).keys() <= {"email"}


# What is kept


async def test_what_is_kept_can_be_asked_for_changed_and_forgotten(queue: Queue) -> None:
    assert await queue.steering.retention() == {State.COMPLETE: Kept(), State.FAILED: Kept()}
    await queue.steering.retain(State.COMPLETE, Kept(count=0))
    await queue.steering.retain(State.FAILED, Kept(count=5, age=timedelta(days=7)))
    assert await queue.steering.retention() == {
        State.COMPLETE: Kept(count=0),
        State.FAILED: Kept(count=5, age=timedelta(days=7)),
    }

    await queue.steering.retain(State.FAILED, Kept())

    assert await queue.steering.retention() == {State.COMPLETE: Kept(count=0), State.FAILED: Kept()}


@pytest.mark.parametrize(
    "kept", [Kept(count=-1), Kept(count=True), Kept(age=timedelta(0)), Kept(age=5), Kept(count=1.5)]
)  # type: ignore[arg-type]
async def test_a_retention_that_makes_no_sense_is_refused(queue: Queue, kept: Kept) -> None:
    with pytest.raises(InvalidJob):
        await queue.steering.retain(State.COMPLETE, kept)

    assert await keyspace(queue) == {}


@pytest.mark.parametrize("state", [State.ACTIVE, State.DELAYED, "gone"])
async def test_only_what_has_ended_is_kept_for_a_while(queue: Queue, state: Any) -> None:
    with pytest.raises(InvalidJob):
        await queue.steering.retain(state, Kept(count=1))

    assert await keyspace(queue) == {}


async def test_upkeep_removes_what_is_too_old_though_nothing_ends(live_queue: Queue, valkey: Valkey) -> None:
    await live_queue.create("email", remove_on_complete=False)
    await live_queue.lifecycle.complete(await a_lease(live_queue))
    await live_queue.steering.retain(State.COMPLETE, Kept(age=MS))
    live_queue.process("email", nothing)

    async with working(live_queue, lease=timedelta(milliseconds=400)):
        await eventually(lambda: _is_gone(live_queue, 1))


async def _is_gone(queue: Queue, job_id: int) -> bool:
    return await queue.get(job_id) is None


# Kue's settings


async def test_a_setting_of_kues_is_read(queue: Queue) -> None:
    await queue.redis.hset(f"{queue.keys.prefix}:settings", "colour", "red")

    assert await queue.steering.setting("colour") == "red"
    assert await queue.steering.setting("size") is None


# Who works


async def test_a_worker_tells_who_it_is_what_it_does_and_that_it_lives(live_queue: Queue) -> None:
    hands = Hands()
    live_queue.process("email", hands, concurrency=2)
    live_queue.process("letter", nothing)

    async with working(live_queue):
        await eventually(live_queue.steering.workers)
        [worker] = await live_queue.steering.workers()
        assert live_queue.worker is not None
        assert worker.id == live_queue.worker.id
    gone = await live_queue.steering.workers()

    assert (worker.types, worker.active, worker.alive) == ({"email": 2, "letter": 1}, [], True)
    assert worker.memory > 1_000_000
    assert gone == []


async def test_a_killed_worker_counts_as_dead_after_a_minute_and_is_forgotten_after_ten(
    live_queue: Queue, valkey: Valkey
) -> None:
    async with children(2, live_queue, valkey, {"email": 1}) as crew:
        await eventually(lambda: _works(live_queue, 2))
        await crew[0].kill()
        now_ms = await live_queue.lifecycle.now_ms()
        seen: list[list[bool]] = []
        for later in (timedelta(0), SILENCE + timedelta(seconds=1)):
            at = now_ms + later // MS
            async with Queue.open(valkey.url, prefix=live_queue.keys.prefix, clock=partial(int, at)) as then:
                seen.append([worker.alive for worker in await then.steering.workers()])

    assert seen == [[True, True], [False, False]]


async def _works(queue: Queue, number: int) -> bool:
    return len(await queue.steering.workers()) == number


async def test_a_worker_whose_clock_is_wrong_neither_looks_dead_nor_buries_the_living(
    live_queue: Queue, valkey: Valkey
) -> None:
    async with children(1, live_queue, valkey, {"email": 1}):
        await eventually(lambda: _works(live_queue, 1))
        for hours in (-5, 5):
            async with children(1, live_queue, valkey, {"email": 1}, clock_wrong_by=hours * 3600) as [child]:
                await eventually(lambda: _works(live_queue, 2))
                workers = await live_queue.steering.workers()
                assert [worker.alive for worker in workers] == [True, True], hours
                assert await child.terminate() == 0
            await eventually(lambda: _works(live_queue, 1))


@pytest.mark.parametrize(
    "about", [{"types": "{"}, {"pid": "x"}, {"started_at": "soon"}, {"active": "[", "memory": "-"}]
)
async def test_a_worker_that_nobody_can_read_hides_no_other(live_queue: Queue, about: dict[str, str]) -> None:
    live_queue.process("email", nothing)

    async with working(live_queue):
        await eventually(live_queue.steering.workers)
        await live_queue.redis.hset(live_queue.keys.worker("feed"), mapping=about)  # type: ignore[arg-type]
        await live_queue.redis.zadd(live_queue.keys.workers, {"feed": 1, "gone": 2})
        workers = await live_queue.steering.workers()

    assert live_queue.worker is None
    assert len(workers) == 1


async def test_steering_while_redis_is_away_says_so(own_valkey: Valkey) -> None:
    async with Queue.open(own_valkey.url) as queue:
        steering = queue.steering
        own_valkey.kill()
        for ask in (
            steering.pause(), steering.resume(), steering.paused(), steering.limit("email", HOURLY), steering.limits(),
            steering.retain(State.COMPLETE, Kept(count=1)), steering.retention(), steering.setting("x"), steering.workers(),
        ):  # fmt: skip
            with pytest.raises(QueueUnavailable):
                await to_the_end(ask)
        own_valkey.start()
