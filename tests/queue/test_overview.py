"""The queue at a glance, and one job with what it waits for: true, whole, and cheap however much there is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rmindr.queue import Backoff, InvalidJob, Kept, Limit, Queue, Schedule, State
from rmindr.queue.keys import zid
from rmindr.queue.overview import LOG_LINES_SHOWN, SHOWN
from tests.conftest import Clock
from tests.queue.crew import Hands, working
from tests.queue.scenery import LEASE, a_lease, eventually, standing, taken_by_kue, until
from tests.servers import Valkey
from tests.wires import CountingWire


async def test_an_empty_queue_has_nothing_wrong_but_that_nobody_works(queue: Queue, clock: Clock) -> None:
    whole = await queue.overviews.whole()

    assert whole.now == clock.now
    assert set(whole.counts.values()) == {0}
    assert (whole.next_due_at, whole.oldest_due_at, whole.seen_at) == (None, None, None)
    assert (whole.types, whole.workers, whole.schedules, whole.current) == ([], [], [], [])
    assert not whole.paused
    assert len(whole.history) == 60


async def test_types_stand_in_order_with_their_counts_and_what_steers_them(queue: Queue) -> None:
    for type in ("letter", "email", "email"):
        await queue.create(type)
    await queue.create("email", delay=timedelta(hours=1))
    await queue.steering.pause("email")
    await queue.steering.limit("letter", Limit(concurrency=3))

    whole = await queue.overviews.whole()

    email, letter = whole.types
    assert (email.name, letter.name) == ("email", "letter")
    assert (email.counts[State.INACTIVE], email.counts[State.DELAYED], letter.counts[State.INACTIVE]) == (2, 1, 1)
    assert (email.paused, letter.paused) == (True, False)
    assert (email.limit, letter.limit) == (None, Limit(concurrency=3))
    assert whole.counts == await queue.jobs.counts()


async def test_many_types_come_in_parts(queue: Queue) -> None:
    for number in range(SHOWN + 3):
        await queue.create(f"type {number:03}")

    whole = await queue.overviews.whole()
    rest = await queue.overviews.whole(types_after=whole.types[-1].name)

    assert whole.type_count == SHOWN + 3
    assert [each.name for each in (*whole.types, *rest.types)] == [f"type {number:03}" for number in range(SHOWN + 3)]


async def test_a_pause_of_all_is_told_apart_from_that_of_a_type(queue: Queue) -> None:
    await queue.create("email")
    await queue.steering.pause()

    whole = await queue.overviews.whole()

    assert whole.paused
    assert not whole.types[0].paused


async def test_retention_is_told(queue: Queue) -> None:
    await queue.steering.retain(State.FAILED, Kept(count=5, age=timedelta(days=3)))

    whole = await queue.overviews.whole()

    assert whole.retention == {State.COMPLETE: Kept(), State.FAILED: Kept(count=5, age=timedelta(days=3))}


# The three numbers


async def test_the_next_due_is_the_first_of_the_delayed_ones(queue: Queue, clock: Clock) -> None:
    for minutes in (7, 3, 5):
        await queue.create("email", delay=timedelta(minutes=minutes))

    whole = await queue.overviews.whole()

    assert whole.next_due_at == clock.now + timedelta(minutes=3)
    assert whole.oldest_due_at is None


async def test_a_delayed_job_that_nobody_promotes_is_overdue(queue: Queue, clock: Clock) -> None:
    await queue.create("email", delay=timedelta(minutes=1))
    due = clock.now + timedelta(minutes=1)
    clock.advance(seconds=90)

    whole = await queue.overviews.whole()

    assert (whole.next_due_at, whole.oldest_due_at) == (due, due)


@pytest.mark.parametrize("oldest", ["low", "normal", "high", -77])
async def test_the_oldest_waits_in_whatever_priority(queue: Queue, clock: Clock, oldest: Any) -> None:
    since = clock.now
    await queue.create("email", priority=oldest)
    clock.advance(seconds=10)
    for priority in ("critical", "high", "normal", "low"):
        for _ in range(10):
            await queue.create("email", priority=priority)

    whole = await queue.overviews.whole()

    assert whole.oldest_due_at == since


async def test_a_job_counts_as_due_since_its_instant_and_not_since_it_was_made(queue: Queue, clock: Clock) -> None:
    await queue.create("email", delay=timedelta(hours=1))
    clock.advance(seconds=3601)
    await queue.lifecycle.promote()

    whole = await queue.overviews.whole()

    assert whole.oldest_due_at == clock.now - timedelta(seconds=1)


# Workers, schedules, history


async def test_a_worker_is_seen_with_its_version_and_what_it_has_in_hand(valkey: Valkey, prefix: str) -> None:
    async with Queue.open(valkey.url, prefix=prefix, version="1.2.3") as queue:
        hands = Hands()
        queue.process("email", hands, concurrency=2)
        job = await queue.create("email")
        async with working(queue):
            await until(lambda: hands.held)
            await eventually(queue.steering.workers)

            whole = await queue.overviews.whole()
            hands.let_go()

    (worker,), (current,) = whole.workers, whole.current
    assert (worker.version, worker.alive, worker.types) == ("1.2.3", True, {"email": 2})
    assert (current.job_id, current.type, current.worker) == (job.id, "email", worker.id)
    assert whole.seen_at == worker.seen_at


async def test_what_a_kue_has_in_hand_is_shown_under_its_name(queue: Queue, clock: Clock) -> None:
    job = await queue.create("email")
    await taken_by_kue(queue, job, clock.ms)

    whole = await queue.overviews.whole()

    (current,) = whole.current
    assert (current.job_id, current.worker, current.holder) == (job.id, "", "kue:there:2:email:1")


async def test_a_closeup_says_whether_a_kue_has_the_job(queue: Queue, clock: Clock) -> None:
    first, second = await queue.create("email"), await queue.create("email")
    await taken_by_kue(queue, first, clock.ms)
    await a_lease(queue)

    closeups = [await queue.overviews.closeup(job.id) for job in (first, second)]

    assert [closeup is not None and closeup.kues for closeup in closeups] == [True, False]


async def test_schedules_stand_soonest_first(queue: Queue) -> None:
    await queue.schedules.declare(Schedule(name="late", type="email", every=timedelta(days=30)))
    await queue.schedules.declare(Schedule(name="soon", type="email", every=timedelta(seconds=1)))

    whole = await queue.overviews.whole()

    assert [each.name for each in whole.schedules] == ["soon", "late"]
    assert whole.schedule_count == 2


async def test_what_was_counted_comes_by_minute_or_by_day(queue: Queue, clock: Clock) -> None:
    await queue.create("email")
    clock.advance(seconds=60)
    await queue.create("email")

    minutes = (await queue.overviews.whole(3, "minute")).history
    days = (await queue.overviews.whole(2, "day")).history

    assert [each.created for each in minutes] == [0, 1, 1]
    assert [each.created for each in days] == [0, 2]


async def test_junk_under_every_key_hides_nothing_else(queue: Queue, clock: Clock) -> None:
    await queue.create("email")
    keys = queue.keys
    for key in (keys.paused, keys.limits, keys.retention, keys.schedules, keys.workers, keys.work_time):
        await queue.redis.delete(key)
        await queue.redis.rpush(key, "junk")
    await queue.redis.hset(keys.history("minute", clock.ms // 60_000), "created", "junk")
    await queue.redis.zadd(keys.in_state("inactive"), {"junk": 0})
    await queue.redis.delete(keys.in_state("active"))
    await queue.redis.zadd(keys.in_state("active"), {"junk": 0, zid(77): 0})

    whole = await queue.overviews.whole()

    assert [each.name for each in whole.types] == ["email"]
    assert whole.current == []
    assert whole.oldest_due_at == clock.now


# One job


async def test_a_job_comes_with_its_log_and_how_many_come_before_it(queue: Queue, clock: Clock) -> None:
    await standing(queue, clock, "failed")
    await queue.create("letter")
    first = await queue.create("email")
    second = await queue.create("email")

    failed, waiting = await queue.overviews.closeup(1), await queue.overviews.closeup(second.id)

    assert failed is not None
    assert waiting is not None
    assert (failed.log, failed.log_count, failed.ahead) == (["no"], 1, None)
    assert (waiting.job, waiting.ahead) == (await queue.get(second.id), 1)
    assert first.id < second.id


async def test_only_the_end_of_a_long_log_comes_along(queue: Queue) -> None:
    job = await queue.create("email")
    lease = await a_lease(queue)
    for number in range(LOG_LINES_SHOWN + 5):
        await queue.lifecycle.log(lease, f"line {number}")

    closeup = await queue.overviews.closeup(job.id)

    assert closeup is not None
    assert (closeup.log[0], closeup.log[-1]) == ("line 5", f"line {LOG_LINES_SHOWN + 4}")
    assert closeup.log_count == LOG_LINES_SHOWN + 5


async def test_a_job_comes_with_what_bars_it(queue: Queue) -> None:
    job = await queue.create("email", backoff=Backoff.same())
    await queue.create("email")
    await queue.lifecycle.claim({"email": 1}, token="t.1", lease=LEASE, worker="w")
    await queue.steering.pause("email")
    await queue.steering.pause()
    await queue.steering.limit("email", Limit(rate=1, concurrency=1))

    closeup = await queue.overviews.closeup(job.id)

    assert closeup is not None
    assert (closeup.paused, closeup.type_paused, closeup.active_of_type) == (True, True, 1)
    assert closeup.limit == Limit(rate=1, concurrency=1)
    assert closeup.working == []


async def test_a_job_comes_with_the_workers_that_could_take_it(live_queue: Queue) -> None:
    job, other = await live_queue.create("email", delay=timedelta(hours=1)), await live_queue.create("letter")
    live_queue.process("email", Hands())
    async with working(live_queue):
        await eventually(live_queue.steering.workers)

        mine = await live_queue.overviews.closeup(job.id)
        others = await live_queue.overviews.closeup(other.id)

    assert mine is not None
    assert others is not None
    assert (len(mine.working), len(others.working)) == (1, 0)


async def test_where_there_is_no_job_there_is_nothing_to_see(queue: Queue) -> None:
    assert await queue.overviews.closeup(7) is None
    with pytest.raises(InvalidJob):
        await queue.overviews.closeup(0)


@pytest.mark.parametrize("junk", ["text", "half"])
async def test_what_is_no_job_is_told_with_the_reason(queue: Queue, junk: str) -> None:
    job = await queue.create("email")
    if junk == "half":
        await queue.redis.hdel(queue.keys.job(job.id), "data")
    else:
        await queue.redis.delete(queue.keys.job(job.id))
        await queue.redis.set(queue.keys.job(job.id), "text")

    closeup = await queue.overviews.closeup(job.id)

    assert closeup is not None
    assert (closeup.job, closeup.why) == (None, "it has no data" if junk == "half" else "it is no hash")


# What it costs


async def test_a_look_takes_no_more_than_five_round_trips(queue: Queue, clock: Clock, valkey: Valkey) -> None:
    for number in range(20):
        await queue.create(f"type {number}")
    await queue.schedules.declare(Schedule(name="s", type="email", every=timedelta(days=30)))
    lease = await standing(queue, clock, "taken")
    async with CountingWire(valkey.port) as wire, Queue.open(wire.url, prefix=queue.keys.prefix) as looking:
        await looking.jobs.counts()
        wire.clear()
        await looking.overviews.whole()
        whole = wire.round_trips
        wire.clear()
        await looking.overviews.closeup(lease.job.id)

        assert (whole, wire.round_trips) == (3, 3)
