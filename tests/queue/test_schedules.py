"""Repeating jobs: which instants there are, through changes of the clocks; that each makes one job, whoever looks."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from rmindr.queue import Backoff, InvalidJob, Queue, QueueUnavailable, Schedule, State
from rmindr.queue.job import from_ms, to_ms
from tests.conftest import Clock
from tests.queue.crew import all_ended, children, nothing, the_job, working
from tests.queue.proxy import Proxy
from tests.queue.scenery import PROPERTY, eventually, keyspace, to_the_end
from tests.servers import Valkey

T0: Final = Clock().ms
MINUTELY: Final = Schedule(name="minutely", type="email", every=timedelta(minutes=1))


def instants(schedule: Schedule, after: str, number: int) -> list[str]:
    """The next so many instants, as clocks in the schedule's zone show them, e.g. `10-25 02:30+01:00`."""
    found = []
    at = to_ms(datetime.fromisoformat(after))
    for _ in range(number):
        following = schedule.following(at)
        assert following is not None
        at = following
        found.append(from_ms(at).astimezone(ZoneInfo(schedule.zone)).isoformat(" ", "minutes").removeprefix("2026-"))
    return found


def cron(text: str, zone: str = "UTC", **more: Any) -> Schedule:
    return Schedule(name="cron", type="email", cron=text, zone=zone, **more)


async def made(queue: Queue, state: State = State.INACTIVE) -> list[tuple[str | None, datetime | None]]:
    """Whose jobs there are, and of which instants, in order of creation."""
    jobs = await queue.jobs.range(state)
    return [(job.schedule, job.scheduled_for) for job in sorted(jobs, key=lambda job: job.id)]


# Which instants there are


@pytest.mark.parametrize(
    ("every", "after", "expected"),
    [
        (timedelta(minutes=15), "2026-01-01T00:00:00Z", ["01-01 00:15+00:00", "01-01 00:30+00:00"]),
        (timedelta(minutes=15), "2026-01-01T00:14:59Z", ["01-01 00:15+00:00", "01-01 00:30+00:00"]),
        (timedelta(hours=7), "2026-01-01T00:00:00Z", ["01-01 07:00+00:00", "01-01 14:00+00:00"]),
        (timedelta(days=1), "2026-01-01T12:00:00Z", ["01-02 00:00+00:00", "01-03 00:00+00:00"]),
    ],
)
def test_every_so_often_is_counted_from_the_epoch_so_that_all_agree(
    every: timedelta, after: str, expected: list[str]
) -> None:
    assert instants(Schedule(name="n", type="email", every=every), after, 2) == expected


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        (cron("0 9 * * 1-5"), "2026-01-02T09:00:00Z", ["01-05 09:00+00:00", "01-06 09:00+00:00"]),
        (cron("0 9 * * MON,fri"), "2026-01-02T08:00:00Z", ["01-02 09:00+00:00", "01-05 09:00+00:00"]),
        (cron("30 8 31 * *"), "2026-01-31T09:00:00Z", ["03-31 08:30+00:00", "05-31 08:30+00:00"]),
        (cron("0 9 * * *", "Asia/Kolkata"), "2026-01-01T00:00:00Z", ["01-01 09:00+05:30", "01-02 09:00+05:30"]),
        # One day's morning is the same wall-clock time before and after the clocks change.
        (cron("0 9 * * *", "Europe/Paris"), "2026-03-28T00:00:00Z", ["03-28 09:00+01:00", "03-29 09:00+02:00"]),
        (cron("0 9 * * *", "America/New_York"), "2026-10-31T00:00:00Z", ["10-31 09:00-04:00", "11-01 09:00-05:00"]),
    ],
    ids=str,
)
def test_cron_text_is_read_on_the_clock_of_its_zone(schedule: Schedule, after: str, expected: list[str]) -> None:
    assert instants(schedule, after, 2) == expected


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        (cron("30 2 * * *", "Europe/Paris"), "2026-03-28T12:00:00Z", ["03-29 03:00+02:00", "03-30 02:30+02:00"]),
        (cron("30 2 * * *", "America/New_York"), "2026-03-07T12:00:00Z", ["03-08 03:00-04:00", "03-09 02:30-04:00"]),
        (
            cron("*/30 * * * *", "Europe/Paris"), "2026-03-29T00:15:00Z",
            ["03-29 01:30+01:00", "03-29 03:00+02:00", "03-29 03:30+02:00"],
        ),
    ],
    ids=str,
)  # fmt: skip
def test_in_spring_what_the_clocks_jump_over_comes_right_after_the_jump(
    schedule: Schedule, after: str, expected: list[str]
) -> None:
    assert instants(schedule, after, len(expected)) == expected


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        (cron("30 2 * * *", "Europe/Paris"), "2026-10-24T12:00:00Z", ["10-25 02:30+02:00", "10-26 02:30+01:00"]),
        (cron("30 1 * * *", "America/New_York"), "2026-10-31T12:00:00Z", ["11-01 01:30-04:00", "11-02 01:30-05:00"]),
        # Asked between the two, it has come already.
        (cron("30 2 * * *", "Europe/Paris"), "2026-10-25T02:15:00+01:00", ["10-26 02:30+01:00"]),
        (cron("30 1 * * *", "America/New_York"), "2026-11-01T01:15:00-05:00", ["11-02 01:30-05:00"]),
        # What comes all the time goes on coming.
        (
            cron("15 * * * *", "Europe/Paris"), "2026-10-24T23:30:00Z",
            ["10-25 02:15+02:00", "10-25 02:15+01:00", "10-25 03:15+01:00"],
        ),
    ],
    ids=str,
)  # fmt: skip
def test_in_autumn_a_time_that_comes_twice_is_meant_the_first_time(
    schedule: Schedule, after: str, expected: list[str]
) -> None:
    assert instants(schedule, after, len(expected)) == expected


CHANGES: Final = [
    datetime(2026, *day, tzinfo=UTC)
    for day in ((3, 8, 6), (3, 29, 0), (10, 25, 0), (11, 1, 5), (4, 4, 14), (10, 3, 15))
]


@PROPERTY
@given(
    st.sampled_from(
        ["30 2 * * *", "0 2 * * *", "*/20 * * * *", "59 1 * * *", "15 1-3 * * *", "* 2 * * *", "0 0 1 * *"]
    ),
    st.sampled_from(["Europe/Paris", "America/New_York", "Australia/Lord_Howe", "UTC"]),
    st.sampled_from(CHANGES),
    st.integers(-10_000_000, 10_000_000),
)
def test_the_instant_that_follows_is_always_later(text: str, zone: str, change: datetime, off_ms: int) -> None:
    after = to_ms(change) + off_ms

    following = cron(text, zone).following(after)

    assert following is not None
    assert following > after


# What is refused

REFUSED: Final[list[dict[str, Any]]] = [
    {"name": ""}, {"name": "x" * 101}, {"name": "a\nb"}, {"name": 5}, {"type": ""}, {"every": None},
    {"cron": "0 9 * * *"}, {"every": timedelta(milliseconds=999)}, {"every": -timedelta(hours=1)}, {"every": 60},
    {"every": timedelta.max}, {"zone": "Mars/Olympus"}, {"zone": ""}, {"zone": "../../etc/passwd"}, {"zone": 5},
    {"missed": "twice"}, {"priority": "urgent"}, {"attempts": 0}, {"ttl": timedelta(0)}, {"data": {1, 2}},
    *({"every": None, "cron": text} for text in ("", "0 9 * *", "60 * * * *", "*/0 * * * *", "every day", 5, None)),
]  # fmt: skip


@pytest.mark.parametrize("odd", REFUSED, ids=str)
async def test_a_schedule_that_makes_no_sense_is_refused(queue: Queue, odd: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"name": "daily", "type": "email", "every": timedelta(days=1)} | odd

    with pytest.raises(InvalidJob):
        await queue.schedules.declare(Schedule(**asked))

    assert await keyspace(queue) == {}


# Declaring


async def test_a_schedule_stands_with_its_next_instant_until_it_is_removed(queue: Queue) -> None:
    whole = Schedule(
        name="daily: 9 🎂", type="email", data={"ü": [1]}, cron="0 9 * * *", zone="Europe/Paris", missed="skip",
        priority="high", attempts=None, backoff=Backoff.exponential(timedelta(seconds=1), jitter=0.5),
        ttl=timedelta(minutes=5), remove_on_complete=True,
    )  # fmt: skip
    declared = [await queue.schedules.declare(schedule) for schedule in (whole, MINUTELY)]

    assert declared == [whole, MINUTELY]
    assert [schedule.next_at for schedule in declared] == [from_ms(s.following(T0) or 0) for s in (whole, MINUTELY)]
    assert await queue.schedules.all() == [MINUTELY, whole]
    assert [await queue.schedules.remove(name) for name in (whole.name, MINUTELY.name, "other")] == [True, True, False]
    assert await queue.schedules.all() == []


async def test_declared_again_just_so_it_goes_on_as_it_is(queue: Queue, clock: Clock) -> None:
    first = await queue.schedules.declare(MINUTELY)
    clock.advance(seconds=3600)

    again = await queue.schedules.declare(MINUTELY)

    assert again.next_at == first.next_at, "what is due is not forgotten because somebody has started"


async def test_declared_by_many_processes_at_once_it_stands_once(valkey: Valkey, queue: Queue, clock: Clock) -> None:
    async with AsyncExitStack() as stack:
        open = [Queue.open(valkey.url, prefix=queue.keys.prefix, clock=clock) for _ in range(8)]
        queues = [await stack.enter_async_context(each) for each in open]

        await asyncio.gather(*(each.schedules.declare(MINUTELY) for each in queues * 5))
        clock.advance(seconds=60)
        await asyncio.gather(*(each.schedules.make_due() for each in queues))

    assert await queue.schedules.all() == [MINUTELY]
    assert len(await made(queue)) == 1


async def test_a_change_replaces_what_stood_there(queue: Queue, clock: Clock) -> None:
    await queue.schedules.declare(MINUTELY)

    changed = await queue.schedules.declare(Schedule(name="minutely", type="letter", every=timedelta(hours=1)))
    clock.advance(seconds=300)
    await queue.schedules.make_due()
    before = await made(queue)
    clock.advance(seconds=3600)
    await queue.schedules.make_due()

    assert (before, await made(queue)) == ([], [("minutely", changed.next_at)])
    assert (await the_job(queue)).type == "letter"


async def test_a_removed_schedule_makes_no_further_job_and_those_it_made_stay(queue: Queue, clock: Clock) -> None:
    await queue.schedules.declare(MINUTELY)
    clock.advance(seconds=60)
    await queue.schedules.make_due()

    await queue.schedules.remove("minutely")
    clock.advance(seconds=600)

    assert await queue.schedules.make_due() == timedelta(days=1)
    assert len(await made(queue)) == 1


async def test_a_slow_declaration_does_not_bring_an_instant_back_that_has_been_made(
    valkey: Valkey, queue: Queue, clock: Clock
) -> None:
    # Between its look and its write, somebody else declares the same, and a worker makes the first instant's job.
    declared = await queue.schedules.declare(MINUTELY)
    assert declared.next_at is not None
    wire, key = MINUTELY.to_wire(), queue.keys.schedule("minutely")
    await queue.schedules.remove("minutely")

    def meanwhile() -> None:
        with redis.Redis.from_url(valkey.direct) as other:
            other.hset(key, "is", wire)
            other.zadd(queue.keys.schedules, {"minutely": to_ms(declared.next_at or clock.now) + 60_000})

    async with (
        Proxy(valkey.port) as proxy,
        Queue.open(proxy.url, prefix=queue.keys.prefix, clock=clock) as slow,
    ):
        proxy.when(b"\r\nHSET\r\n", meanwhile)
        answer = await slow.schedules.declare(MINUTELY)

    assert answer.next_at == declared.next_at + timedelta(minutes=1)
    assert (await queue.schedules.all())[0].next_at == answer.next_at


# Making jobs


async def test_each_instant_makes_one_job_as_the_schedule_asks(queue: Queue, clock: Clock) -> None:
    backoff = Backoff.fixed(timedelta(seconds=5))
    schedule = Schedule(
        name="n", type="email", data={"n": 1}, every=timedelta(minutes=1), remove_on_complete=True, priority=-5, attempts=3,
        ttl=timedelta(seconds=9), backoff=backoff,
    )  # fmt: skip
    first = (await queue.schedules.declare(schedule)).next_at
    assert first is not None

    waits = []
    for _ in range(3):
        clock.advance(ms=to_ms(first) + 60_000 * len(waits) - clock.ms)
        waits += [await queue.schedules.make_due(), await queue.schedules.make_due()][1:]

    assert await made(queue) == [("n", first + timedelta(minutes=n)) for n in range(3)]
    assert waits == [timedelta(minutes=1)] * 3
    job = await the_job(queue)
    assert (job.priority, job.max_attempts, job.ttl, job.backoff) == (-5, 3, timedelta(seconds=9), backoff)
    assert (job.type, job.data, job.remove_on_complete) == ("email", {"n": 1}, True)


async def test_nothing_is_made_a_millisecond_early(queue: Queue, clock: Clock) -> None:
    first = (await queue.schedules.declare(MINUTELY)).next_at
    assert first is not None
    clock.advance(ms=to_ms(first) - clock.ms - 1)

    assert await queue.schedules.make_due() == timedelta(milliseconds=1)

    assert await made(queue) == []


@pytest.mark.parametrize(("missed", "jobs"), [("once", 1), ("skip", 0)])
async def test_instants_at_which_nobody_worked_are_made_up_for_by_one_job_or_skipped(
    queue: Queue, clock: Clock, missed: Any, jobs: int
) -> None:
    schedule = Schedule(name="n", type="email", every=timedelta(minutes=10), missed=missed)
    first = (await queue.schedules.declare(schedule)).next_at
    assert first is not None
    clock.advance(ms=to_ms(first) - clock.ms + 45 * 60_000)

    await queue.schedules.make_due()

    assert await made(queue) == [("n", first)] * jobs
    [standing] = await queue.schedules.all()
    assert standing.next_at == first + timedelta(minutes=50)


@pytest.mark.parametrize("missed", ["once", "skip"])
async def test_an_instant_that_is_found_a_little_late_was_not_missed(queue: Queue, clock: Clock, missed: Any) -> None:
    schedule = Schedule(name="n", type="email", every=timedelta(minutes=10), missed=missed)
    first = (await queue.schedules.declare(schedule)).next_at
    assert first is not None
    clock.advance(ms=to_ms(first) - clock.ms + 60_000)

    await queue.schedules.make_due()

    assert await made(queue) == [("n", first)]


async def test_a_worker_that_was_away_in_the_hour_that_comes_twice_makes_one_job(
    valkey: Valkey, prefix: str, clock: Clock
) -> None:
    clock.ms = to_ms(datetime.fromisoformat("2026-10-25T00:00:00+02:00"))
    async with Queue.open(valkey.url, prefix=prefix, clock=clock) as queue:
        await queue.schedules.declare(cron("30 2 * * *", "Europe/Paris"))
        for minute in ("02:15:00+01:00", "02:20:00+01:00", "02:30:00+01:00", "03:00:00+01:00"):
            clock.ms = to_ms(datetime.fromisoformat(f"2026-10-25T{minute}"))
            await queue.schedules.make_due()

        assert await made(queue) == [("cron", datetime.fromisoformat("2026-10-25T02:30:00+02:00"))]


@pytest.mark.parametrize(
    ("schedule", "begin", "days"),
    [
        (cron("30 2 * * *", "Europe/Paris"), "2026-03-27T12:00:00Z", 4),
        (cron("30 2 * * *", "Europe/Paris"), "2026-10-23T12:00:00Z", 4),
        (cron("30 1 * * *", "America/New_York"), "2026-10-30T12:00:00Z", 4),
        (cron("30 2 * * *", "America/New_York"), "2026-03-06T12:00:00Z", 4),
    ],
    ids=str,
)
async def test_through_a_change_of_the_clocks_each_day_makes_one_job(
    valkey: Valkey, prefix: str, clock: Clock, schedule: Schedule, begin: str, days: int
) -> None:
    clock.ms = to_ms(datetime.fromisoformat(begin))
    async with (
        Queue.open(valkey.url, prefix=prefix, clock=clock) as one,
        Queue.open(valkey.url, prefix=prefix, clock=clock) as two,
    ):
        await one.schedules.declare(schedule)
        for _ in range(days * 24 * 4):
            clock.advance(seconds=900)
            await asyncio.gather(one.schedules.make_due(), two.schedules.make_due())

        when = [at.astimezone(ZoneInfo(schedule.zone)).date() for _, at in await made(one) if at is not None]
    assert len(when) == days
    assert [later - earlier for earlier, later in pairwise(when)] == [timedelta(days=1)] * (days - 1)


async def test_many_schedules_that_are_due_at_once_are_all_made(queue: Queue, clock: Clock) -> None:
    for n in range(230):
        await queue.schedules.declare(Schedule(name=f"n {n}", type="email", every=timedelta(minutes=1)))
    clock.advance(seconds=60)

    looks = 0
    while await queue.schedules.make_due() == timedelta(0):
        looks += 1

    assert (len(await made(queue)), looks) == (230, 2)


# Workers


async def test_a_sleeping_worker_wakes_for_a_schedule_that_is_declared(live_queue: Queue) -> None:
    live_queue.process("email", nothing)

    async with working(live_queue):
        await live_queue.schedules.declare(Schedule(name="n", type="email", every=timedelta(hours=3)))
        declared = await live_queue.schedules.declare(Schedule(name="n", type="email", every=timedelta(seconds=1)))
        await eventually(lambda: _has_done(live_queue, 2))

    first = declared.next_at
    assert first is not None
    assert (await made(live_queue, State.COMPLETE))[:2] == [("n", first), ("n", first + timedelta(seconds=1))]
    for job in await live_queue.jobs.range(State.COMPLETE):
        assert job.scheduled_for is not None
        assert job.created_at >= job.scheduled_for


async def _has_done(queue: Queue, number: int) -> bool:
    return await queue.jobs.count(State.COMPLETE) >= number


async def test_three_worker_processes_through_kills_make_each_instant_once(live_queue: Queue, valkey: Valkey) -> None:
    schedule = Schedule(name="n", type="email", data={}, every=timedelta(seconds=1), attempts=5)
    first = (await live_queue.schedules.declare(schedule)).next_at
    assert first is not None

    async with children(3, live_queue, valkey, {"email": 2}, lease=1.0) as crew:
        for seconds in (1, 2):
            await eventually(lambda seconds=seconds: _has_done(live_queue, seconds))
            await crew[seconds].kill()
            # A process that starts declares its schedules anew.
            await live_queue.schedules.declare(schedule)
        await eventually(lambda: _has_done(live_queue, 4))
        await live_queue.schedules.remove("n")
        await eventually(partial(all_ended, live_queue))

    jobs = await live_queue.jobs.range(State.COMPLETE)
    when = [job.scheduled_for for job in jobs if job.scheduled_for is not None]
    assert len(when) == len(jobs)
    assert when[0] == first
    for job, at, following in zip(jobs, when, when[1:], strict=False):
        # None twice, and none left out but those that were past when a job made up for them, as nobody was awake.
        assert at < following <= max(at, job.created_at) + timedelta(seconds=1)
        assert (following - at) % timedelta(seconds=1) == timedelta(0)


# What nobody can read, and what only others can

UNREADABLE: Final = [
    "", "{", "null", "[]", "5", "{}", '{"type":"email","every":"x"}', '{"type":"email","every":1e30}',
    '{"type":"email","every":60000,"backoff":5}', "[" * 100_000,
]  # fmt: skip
BEYOND_US: Final = [
    '{"type":"","every":60000}', '{"type":"email"}', '{"type":"email","every":0}', '{"type":"email","every":-5}',
    '{"type":"email","every":60000,"zone":"Mars/Olympus"}', '{"type":"email","cron":"every day"}',
    '{"type":"email","every":60000,"cron":"* * * * *"}', '{"type":"email","cron":5}',
    '{"type":"email","every":60000,"priority":"urgent"}', '{"type":"email","every":60000,"attempts":0}',
    '{"type":"email","every":60000,"missed":"twice"}', '{"type":5,"every":60000}',
    '{"type":"email","cron":"* * * * *","zone":5}',
]  # fmt: skip


async def beside(queue: Queue, text: str | None) -> None:
    """A schedule that is as it should be, and before it another one with this text."""
    await queue.schedules.declare(MINUTELY)
    if text is not None:
        await queue.redis.hset(queue.keys.schedule("odd"), "is", text)
    await queue.redis.zadd(queue.keys.schedules, {"odd": T0})


@pytest.mark.parametrize("text", [*UNREADABLE, None], ids=lambda text: str(text)[:50])
async def test_what_is_no_schedule_is_removed_once_and_holds_up_no_other(
    queue: Queue, clock: Clock, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    await beside(queue, text)
    clock.advance(seconds=60)

    waits = [await queue.schedules.make_due() for _ in range(3)]

    assert len(await made(queue)) == 1
    assert timedelta(0) < min(waits)
    assert caplog.messages == ["unreadable schedule removed"]
    assert await queue.schedules.all() == [MINUTELY]
    assert not (await keyspace(queue)).keys() & {"odd:schedule"}


async def test_what_stands_under_a_schedules_name_but_is_no_hash_holds_up_no_other(queue: Queue, clock: Clock) -> None:
    await beside(queue, None)
    await queue.redis.set(queue.keys.schedule("odd"), "junk")
    clock.advance(seconds=60)

    await queue.schedules.make_due()

    assert await queue.schedules.all() == [MINUTELY]
    assert len(await made(queue)) == 1


@pytest.mark.parametrize("text", BEYOND_US)
async def test_a_schedule_that_this_process_cannot_follow_is_left_to_those_who_can(
    queue: Queue, clock: Clock, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    await beside(queue, text)
    clock.advance(seconds=60)

    waits = [await queue.schedules.make_due() for _ in range(3)]
    clock.advance(seconds=61)
    await queue.schedules.make_due()

    assert [schedule for schedule, _ in await made(queue)] == ["minutely"] * 2
    assert timedelta(0) < min(waits) <= max(waits) <= timedelta(minutes=1)
    odd = [message for message in caplog.messages if message == "schedule cannot be followed here"]
    assert len(odd) == 2, "once a minute, not at every look"
    found = await keyspace(queue)
    assert (found["odd:schedule"], found["schedules"]["odd"]) == ({"is": text}, str(T0))


async def test_junk_among_the_schedules_stops_no_worker(live_queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    live_queue.process("email", nothing)
    for n, text in enumerate([*UNREADABLE, *BEYOND_US]):
        await live_queue.redis.hset(live_queue.keys.schedule(f"odd {n}"), "is", text)
        await live_queue.redis.zadd(live_queue.keys.schedules, {f"odd {n}": n, f"ghost {n}": "-inf"})
    await live_queue.redis.zadd(live_queue.keys.schedules, {"never": "inf"})
    await live_queue.schedules.declare(Schedule(name="n", type="email", every=timedelta(seconds=1)))

    with caplog.at_level(logging.CRITICAL):
        async with working(live_queue):
            await eventually(lambda: _has_done(live_queue, 1))
            await live_queue.create("email", "by hand")
            await eventually(lambda: _has_done(live_queue, 2))


async def test_schedules_while_redis_is_away_say_so(own_valkey: Valkey) -> None:
    async with Queue.open(own_valkey.url) as queue:
        own_valkey.kill()
        schedules = queue.schedules
        for ask in (schedules.declare(MINUTELY), schedules.remove("n"), schedules.all(), schedules.make_due()):
            with pytest.raises(QueueUnavailable):
                await to_the_end(ask)
        own_valkey.start()


def test_a_schedule_reads_back_as_it_was_written() -> None:
    for schedule in (MINUTELY, cron("0 9 * * *", "Europe/Paris", attempts=None, backoff=Backoff.named("mine"))):
        assert Schedule.from_wire(schedule.name, schedule.to_wire(), None) == schedule
