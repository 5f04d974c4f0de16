"""SQL → Redis: every reminder that is due soon has its alarm clock, whatever has happened to Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import pytest
from redis.asyncio import Redis
from sqlalchemy import event
from sqlalchemy.engine import Engine
from structlog.testing import capture_logs

from rmindr.alarms import unique_key
from rmindr.database import Database
from rmindr.errors import StorageUnavailable
from rmindr.facts import EPOCH, HIGHEST_JOB_ID, Facts
from rmindr.feeder import Feeder, Pace
from rmindr.models import Reminder, Status
from rmindr.queue import Job, Queue, QueueUnavailable, State
from rmindr.queue.keys import zid
from tests.deliveries import Away, Peephole, a_reminder, alter, clock_of, delivering, stored
from tests.queue.crew import is_blocked, nothing, working
from tests.queue.proxy import Proxy
from tests.queue.scenery import PATIENCE_S, a_lease, eventually, keyspace, taken_by_kue, until
from tests.servers import Valkey, free_port
from tests.sink import Sink

HOUR: Final = timedelta(hours=1)
# Audits at every sweep; nothing else of the pace is of the essence here.
ALWAYS: Final = Pace(audit=timedelta(0))
NEVER: Final = Pace(audit=HOUR)


class Deliveries:
    """Notes what is to be delivered; `broken` are those that raise."""

    def __init__(self) -> None:
        self.made: list[tuple[UUID, int]] = []
        self.broken: set[UUID] = set()

    async def __call__(self, id: UUID, rev: int) -> None:
        await asyncio.sleep(0)
        if id in self.broken:
            raise ValueError("nobody has thought of this")
        self.made.append((id, rev))


@pytest.fixture
def deliveries() -> Deliveries:
    return Deliveries()


@pytest.fixture
def feeder(database: Database, live_queue: Queue) -> Feeder:
    return a_feeder(database, live_queue)


def a_feeder(
    database: Database, queue: Queue, pace: Pace = ALWAYS, *, deliver: Any = None, paused: bool = False
) -> Feeder:
    return Feeder(database, queue, deliver or Deliveries(), lambda: paused, pace)


async def soon(database: Database, **values: Any) -> Reminder:
    """A reminder that is due in an hour."""
    return await a_reminder(database, **{"due_at": HOUR, "next_at": HOUR} | values)


async def alarm_of(queue: Queue, reminder: Reminder, rev: int | None = None) -> Job:
    (job_id,) = await queue.jobs.find([unique_key(reminder.id, rev or reminder.rev)])
    assert job_id is not None
    job = await queue.get(job_id)
    assert job is not None
    return job


async def has_alarm(queue: Queue, reminder: Reminder) -> bool:
    (job_id,) = await queue.jobs.find([unique_key(reminder.id, reminder.rev)])
    return job_id is not None


async def all_jobs(queue: Queue) -> list[Job]:
    """Every job there is, by id."""
    members: Any = await queue.redis.zrange(queue.keys.jobs, 0, -1)
    jobs = [await queue.get(int(member.partition("|")[2])) for member in members]
    return sorted((job for job in jobs if job is not None), key=lambda job: job.id)


async def forget_everything(queue: Queue) -> None:
    """What FLUSHALL does to this queue alone: the server is shared."""
    keys = [key async for key in queue.redis.scan_iter(f"{queue.keys.prefix}:*", count=1000)]
    await queue.redis.delete(*keys)


@asynccontextmanager
async def running(feeder: Feeder) -> AsyncIterator[asyncio.Task[None]]:
    async with asyncio.timeout(PATIENCE_S):
        task = asyncio.create_task(feeder.run())
        try:
            yield task
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


# The sweep


async def test_a_sweep_sets_the_alarm_of_what_has_none(database: Database, live_queue: Queue, feeder: Feeder) -> None:
    for standing, due in (("not yet due", HOUR), ("put off", HOUR), ("due", -timedelta(seconds=1))):
        reminder = await a_reminder(database, standing, next_at=due)

        await feeder.sweep()

        job, found = await alarm_of(live_queue, reminder), await stored(database, reminder.id)
        assert job.data == {"title": f"Reminder {reminder.id}", "id": str(reminder.id), "rev": 1}
        assert job.state == (State.DELAYED if due > timedelta(0) else State.INACTIVE)
        assert job.state == State.INACTIVE or job.promote_at == reminder.next_at
        assert (found.queued_rev, found.job_id) == (1, job.id)


async def test_a_sweep_leaves_alone_what_does_not_wait(database: Database, live_queue: Queue, feeder: Feeder) -> None:
    for standing in ("unconfirmed", "held", "marked", "sent", "failed", "cancelled", "missed", "uncertain"):
        reminder = await a_reminder(database, standing)

        await feeder.sweep()

        assert not await has_alarm(live_queue, reminder), standing
        assert await stored(database, reminder.id) == reminder, standing


async def test_what_is_due_beyond_the_window_waits_in_the_database_until_it_comes_inside(
    database: Database, live_queue: Queue, feeder: Feeder
) -> None:
    far = await soon(database, next_at=24 * HOUR + timedelta(minutes=1))

    await feeder.sweep()
    outside = await has_alarm(live_queue, far)
    await alter(database, far.id, next_at=24 * HOUR - timedelta(minutes=1))
    await feeder.sweep()

    assert not outside
    assert await has_alarm(live_queue, far)


async def test_the_soonest_are_fed_first(database: Database, live_queue: Queue, feeder: Feeder) -> None:
    minutes = [30, 3, 20, 1, 10]
    made = {each: await soon(database, next_at=timedelta(minutes=each)) for each in minutes}

    await feeder.sweep()

    ids = {each: (await alarm_of(live_queue, made[each])).id for each in minutes}
    assert sorted(minutes) == sorted(minutes, key=lambda each: ids[each])


async def test_more_than_one_batch_is_fed_in_one_sweep(database: Database, live_queue: Queue, feeder: Feeder) -> None:
    await asyncio.gather(*(soon(database) for _ in range(3)))
    template = (await soon(database)).id
    async with database.transaction() as connection:
        for _ in range(8):
            await connection.exec_driver_sql(_DOUBLE[connection.dialect.name])
    count = 4 * 2**8

    await feeder.sweep()

    assert await live_queue.redis.zcard(live_queue.keys.jobs) == count
    assert (await stored(database, template)).queued_rev == 1


# The copies need ids of their own; the dialects make one in their own ways.
_COPY: Final = (
    "INSERT INTO reminders (id, rev, status, recipient, subject, message, due_at, next_at, time_zone, created_at, updated_at)"
    " SELECT {}, rev, status, recipient, subject, message, due_at, next_at, time_zone, created_at, updated_at FROM reminders"
)
_DOUBLE: Final = {
    "sqlite": _COPY.format("lower(hex(randomblob(16)))"),
    "postgresql": _COPY.format("gen_random_uuid()"),
}


async def test_what_the_quick_try_has_set_is_not_set_again(
    database: Database, live_queue: Queue, feeder: Feeder
) -> None:
    reminder = await soon(database)
    await feeder.sweep()
    first = await alarm_of(live_queue, reminder)
    await alter(database, reminder.id, queued_rev=None)

    await feeder.sweep()

    assert (await alarm_of(live_queue, reminder)).id == first.id
    assert len(await all_jobs(live_queue)) == 1


async def test_a_new_revision_gets_an_alarm_of_its_own(database: Database, live_queue: Queue, feeder: Feeder) -> None:
    reminder = await soon(database)
    await feeder.sweep()
    await alter(database, reminder.id, rev=2, queued_rev=None)

    await feeder.sweep()

    assert (await alarm_of(live_queue, reminder, rev=2)).data["rev"] == 2
    assert (await stored(database, reminder.id)).queued_rev == 2


async def test_what_is_edited_while_it_is_fed_is_fed_anew(
    database: Database, database_url: str, valkey: Valkey, prefix: str
) -> None:
    """The alarm of the old revision is not noted as that of the new one."""
    reminder = await soon(database)
    async with Proxy(valkey.port) as proxy, Queue.open(proxy.url, prefix=prefix) as queue:
        feeder = a_feeder(database, queue, NEVER)
        edit = "UPDATE reminders SET rev = 2, queued_rev = NULL"
        proxy.when(unique_key(reminder.id, 1).encode(), lambda: Peephole(database_url).do(edit))

        await feeder.sweep()
        unnoted = await stored(database, reminder.id)
        await feeder.sweep()

        assert (await alarm_of(queue, reminder, rev=1)).data["rev"] == 1
        assert (unnoted.rev, unnoted.queued_rev, unnoted.job_id) == (2, None, None)
        assert (await alarm_of(queue, reminder, rev=2)).data["rev"] == 2
        assert (await stored(database, reminder.id)).queued_rev == 2


async def test_several_feeders_at_once_set_one_alarm_for_each(
    database: Database, database_url: str, live_queue: Queue, valkey: Valkey, prefix: str
) -> None:
    made = [await soon(database) for _ in range(20)]

    async with (
        Database.open(database_url) as elsewhere,
        Queue.open(valkey.url, prefix=prefix) as other_queue,
    ):
        feeders = [a_feeder(database, live_queue), a_feeder(elsewhere, other_queue)]
        await asyncio.gather(*(feeder.sweep() for feeder in feeders * 2))

    jobs = await all_jobs(live_queue)
    assert Counter((job.data["id"], job.data["rev"]) for job in jobs) == Counter((str(each.id), 1) for each in made)


# Quiet


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements that are sent to any database inside the block."""
    statements: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def calls(redis: Redis) -> int:
    """How many commands this server has carried out, but for the asking."""
    stats: Any = await redis.info("commandstats")
    return sum(each["calls"] for name, each in stats.items() if name not in ("cmdstat_info", "cmdstat_client|setinfo"))


@pytest.mark.parametrize(("pace", "queries"), [(NEVER, 2), (ALWAYS, 4)])
async def test_an_idle_sweep_asks_redis_once_and_writes_nothing(
    database: Database, own_valkey: Valkey, prefix: str, pace: Pace, queries: int
) -> None:
    async with Queue.open(own_valkey.url, prefix=prefix) as queue:
        feeder = a_feeder(database, queue, pace)
        await soon(database, next_at=100 * HOUR)
        await a_reminder(database, "sent")
        await feeder.sweep()
        await feeder.sweep()

        before = await calls(queue.redis)
        with counted() as statements, capture_logs() as lines:
            await feeder.sweep()
        asked = await calls(queue.redis) - before

    assert asked == 1
    assert len(statements) == queries
    assert all(statement.startswith("SELECT") for statement in statements)
    assert lines == []


async def test_alarms_that_are_set_and_not_yet_due_cost_an_audit_one_look_and_no_write(
    database: Database, own_valkey: Valkey, prefix: str
) -> None:
    async with Queue.open(own_valkey.url, prefix=prefix) as queue:
        feeder = a_feeder(database, queue)
        for minutes in (5, 60):
            await soon(database, next_at=timedelta(minutes=minutes))
        await feeder.sweep()

        before = await calls(queue.redis)
        with counted() as statements:
            await feeder.sweep()
        asked = await calls(queue.redis) - before

    # The epoch, the holders of the soon and of the later, and the state of the soon.
    assert asked == 4
    assert all(statement.startswith("SELECT") for statement in statements)


# Overdue


async def test_what_is_overdue_and_has_lost_its_alarm_gets_one_that_rings_now(
    database: Database, live_queue: Queue
) -> None:
    feeder = a_feeder(database, live_queue, NEVER)
    made = [
        await a_reminder(database, "due", queued_rev=1),
        await a_reminder(database, "due again", queued_rev=1),
        await a_reminder(database, "lapsed", queued_rev=1),
        await a_reminder(database, "marked and lapsed", queued_rev=1, lease_until=-HOUR),
    ]

    await feeder.sweep()

    assert [(await alarm_of(live_queue, each)).state for each in made] == [State.INACTIVE] * 4


async def test_what_is_overdue_because_its_announcement_was_lost_is_announced_again(
    database: Database, live_queue: Queue
) -> None:
    """Whoever was woken by the token may have died at that moment."""
    feeder = a_feeder(database, live_queue, NEVER)
    reminder = await soon(database)
    await feeder.sweep()
    job = await alarm_of(live_queue, reminder)
    live_queue.process("email", nothing)
    async with working(live_queue, tick=timedelta(hours=1)):
        await eventually(lambda: is_blocked(live_queue))
        await becomes_inactive_unannounced(live_queue, job)
        await alter(database, reminder.id, next_at=-timedelta(seconds=10))

        await feeder.sweep()

        assert await eventually(lambda: is_gone(live_queue, job))


async def is_gone(queue: Queue, job: Job) -> bool:
    return not await queue.redis.exists(queue.keys.job(job.id))


async def becomes_inactive_unannounced(queue: Queue, job: Job) -> None:
    keys = queue.keys
    async with queue.redis.pipeline(transaction=True) as pipe:
        for of in (keys.in_state, lambda state: keys.of_type(job.type, state)):
            pipe.zrem(of(State.DELAYED), zid(job.id))
            pipe.zadd(of(State.INACTIVE), {zid(job.id): 0})
        pipe.hset(keys.job(job.id), "state", State.INACTIVE)
        await pipe.execute()


async def test_an_alarm_that_is_set_too_late_rings_now(database: Database, live_queue: Queue) -> None:
    """Redis's clock may be behind, or somebody has moved the job."""
    feeder = a_feeder(database, live_queue, NEVER)
    reminder = await soon(database)
    await feeder.sweep()
    job = await alarm_of(live_queue, reminder)
    await alter(database, reminder.id, next_at=-timedelta(seconds=10))

    await feeder.sweep()

    assert (await alarm_of(live_queue, reminder)).id == job.id
    assert (await alarm_of(live_queue, reminder)).state == State.INACTIVE


async def test_an_alarm_that_rings_already_or_is_in_somebody_s_hands_is_left_alone(
    database: Database, live_queue: Queue
) -> None:
    feeder = a_feeder(database, live_queue, NEVER)
    made = [await a_reminder(database) for _ in range(2)]
    await feeder.sweep()
    lease = await a_lease(live_queue)
    before = await keyspace(live_queue)

    await feeder.sweep()

    assert {(await alarm_of(live_queue, each)).state for each in made} == {State.ACTIVE, State.INACTIVE}
    assert await live_queue.lifecycle.renew([lease], HOUR) == ["ok"]
    after = await keyspace(live_queue)
    assert after.pop("leases") != before.pop("leases")
    assert after == before


@pytest.mark.parametrize(
    ("standing", "values"),
    [
        pytest.param("due", {"next_at": -timedelta(seconds=2)}, id="a-breath-late"),
        pytest.param("not yet due", {}, id="not-due"),
        pytest.param("held", {}, id="under-way"),
        pytest.param("marked", {}, id="leaving"),
        pytest.param("lapsed", {"lease_until": -timedelta(seconds=2)}, id="just-lapsed"),
        pytest.param("marked and lapsed", {}, id="still-waiting-for-a-late-word"),
        pytest.param("sent", {}, id="sent"),
    ],
)
async def test_what_is_in_good_hands_is_not_woken(
    database: Database, live_queue: Queue, standing: str, values: dict[str, Any]
) -> None:
    feeder = a_feeder(database, live_queue, NEVER)
    reminder = await a_reminder(database, standing, **{"queued_rev": 1} | values)

    await feeder.sweep()
    await feeder.sweep()

    # The first sweep has found no epoch and set all alarms of what waits; nothing was done about the rest.
    assert await has_alarm(live_queue, reminder) == (reminder.status == Status.SCHEDULED)
    if standing == "not yet due":
        assert (await alarm_of(live_queue, reminder)).state == State.DELAYED


async def test_while_sending_is_paused_nobody_is_woken(database: Database, live_queue: Queue) -> None:
    feeder = a_feeder(database, live_queue, NEVER, paused=True)
    reminder = await a_reminder(database, "lapsed", queued_rev=1)

    await feeder.sweep()

    assert not await has_alarm(live_queue, reminder)


# The audit


async def lose(queue: Queue, job: Job) -> None:
    """As an eviction or somebody's hand does it: the hash is gone, all else stays."""
    await queue.redis.delete(queue.keys.job(job.id))


async def lose_all(queue: Queue, job: Job) -> None:
    await queue.remove(job.id)


async def lose_the_key(queue: Queue, job: Job) -> None:
    await queue.redis.hdel(queue.keys.unique, job.unique or "")


async def break_it(queue: Queue, job: Job) -> None:
    await queue.redis.hdel(queue.keys.job(job.id), "state")


async def fail_as_kue(queue: Queue, job: Job) -> None:
    """A Kue worker took it and failed: it knows nothing of unique keys, and gives none back."""
    await queue.update(job.id, delay=timedelta(0))
    await taken_by_kue(queue, job, 0)
    keys, member = queue.keys, zid(job.id)
    async with queue.redis.pipeline(transaction=True) as pipe:
        pipe.hset(keys.job(job.id), "state", "failed")
        pipe.zrem(keys.in_state("active"), member)
        pipe.zrem(keys.of_type("email", "active"), member)
        pipe.zadd(keys.in_state("failed"), {member: 0})
        pipe.zadd(keys.of_type("email", "failed"), {member: 0})
        await pipe.execute()


@pytest.mark.parametrize("harm", [lose, lose_all, lose_the_key, break_it, fail_as_kue])
async def test_an_audit_finds_what_has_lost_its_alarm_and_sets_it_anew(
    database: Database, live_queue: Queue, feeder: Feeder, harm: Any
) -> None:
    lost, kept = [await soon(database, next_at=timedelta(minutes=5)) for _ in range(2)]
    await feeder.sweep()
    first, other = await alarm_of(live_queue, lost), await alarm_of(live_queue, kept)
    await harm(live_queue, first)

    await feeder.sweep()

    again = await alarm_of(live_queue, lost)
    assert again.id > max(first.id, other.id)
    assert (again.state, again.promote_at) == (State.DELAYED, lost.next_at)
    assert (await stored(database, lost.id)).job_id == again.id
    assert (await alarm_of(live_queue, kept)).id == other.id


async def test_an_audit_of_what_is_due_later_finds_what_has_vanished(
    database: Database, live_queue: Queue, feeder: Feeder
) -> None:
    reminder = await soon(database, next_at=20 * HOUR)
    await feeder.sweep()
    await live_queue.remove((await alarm_of(live_queue, reminder)).id)

    await feeder.sweep()

    assert (await alarm_of(live_queue, reminder)).promote_at == reminder.next_at


async def test_audits_reach_all_of_the_window_a_slice_at_a_time(
    database: Database, live_queue: Queue, feeder: Feeder
) -> None:
    reminder = await soon(database)
    async with database.transaction() as connection:
        for _ in range(10):
            await connection.exec_driver_sql(_DOUBLE[connection.dialect.name])
    await feeder.sweep()
    # One in every ninety, wherever it stands.
    gone = [job for job in await all_jobs(live_queue) if job.id % 90 == 0]
    for job in gone:
        await live_queue.remove(job.id)

    for _ in range(4):
        await feeder.sweep()

    jobs = await all_jobs(live_queue)
    assert len(gone) > 5
    assert len({job.data["id"] for job in jobs}) == len(jobs) == 2**10
    assert await has_alarm(live_queue, reminder)


async def test_between_audits_vanished_jobs_are_not_looked_for(database: Database, live_queue: Queue) -> None:
    feeder = a_feeder(database, live_queue, NEVER)
    reminder = await soon(database)
    await feeder.sweep()
    await live_queue.remove((await alarm_of(live_queue, reminder)).id)

    await feeder.sweep()

    assert not await has_alarm(live_queue, reminder)


# Another Redis


async def test_a_redis_that_was_emptied_is_filled_anew_at_the_next_sweep(database: Database, live_queue: Queue) -> None:
    feeder = a_feeder(database, live_queue, NEVER)
    made = [await soon(database, next_at=timedelta(minutes=minutes)) for minutes in (9, 3, 600)]
    sent = await a_reminder(database, "sent")
    await feeder.sweep()
    before = {(job.data["id"], job.data["rev"], job.promote_at): job.id for job in await all_jobs(live_queue)}
    await forget_everything(live_queue)

    await feeder.sweep()

    after = {(job.data["id"], job.data["rev"], job.promote_at): job.id for job in await all_jobs(live_queue)}
    assert after.keys() == before.keys()
    assert min(after.values()) > max(before.values())
    soonest_first = sorted(made, key=lambda each: each.next_at)
    assert [str(each.id) for each in soonest_first] == [job.data["id"] for job in await all_jobs(live_queue)]
    assert not await has_alarm(live_queue, sent)


async def test_another_redis_is_filled_like_the_first(database: Database, live_queue: Queue, valkey: Valkey) -> None:
    reminder = await soon(database)
    await a_feeder(database, live_queue).sweep()
    first = await alarm_of(live_queue, reminder)

    async with Queue.open(valkey.url, prefix=f"{live_queue.keys.prefix}other") as other:
        await a_feeder(database, other).sweep()

        assert (await alarm_of(other, reminder)).id > first.id


async def test_a_redis_that_went_back_in_time_is_filled_with_what_it_forgot(
    database: Database, own_valkey: Valkey, prefix: str
) -> None:
    """As after a failover, or a restart from a snapshot: the epoch is the right one, and the last writes never happened."""
    async with Queue.open(own_valkey.url, prefix=prefix) as queue:
        feeder = a_feeder(database, queue, NEVER)
        kept = await soon(database)
        await feeder.sweep()
        before = await alarm_of(queue, kept)
        await queue.redis.save()
        forgotten = await soon(database)
        await feeder.sweep()
        lost = await alarm_of(queue, forgotten)
        await asyncio.to_thread(own_valkey.kill)
        await asyncio.to_thread(own_valkey.start)
        with contextlib.suppress(QueueUnavailable):
            await queue.jobs.counts()
        assert not await has_alarm(queue, forgotten)

        await feeder.sweep()

        assert (await alarm_of(queue, forgotten)).id > lost.id
        assert (await alarm_of(queue, kept)).id == before.id
        assert len(await all_jobs(queue)) == 2


async def test_a_redis_that_counts_further_than_we_know_is_left_alone(database: Database, live_queue: Queue) -> None:
    """Others use it, too."""
    feeder = a_feeder(database, live_queue, NEVER)
    await soon(database)
    await feeder.sweep()
    await live_queue.create_many([])
    for _ in range(5):
        await live_queue.create("other")

    with capture_logs() as lines:
        await feeder.sweep()

    assert lines == []


async def test_no_id_is_given_twice_whichever_feeder_finds_that_redis_was_emptied(
    database: Database, live_queue: Queue, valkey: Valkey, prefix: str
) -> None:
    """The one that finds it may not be the one that gave the last id."""
    async with Queue.open(valkey.url, prefix=prefix) as other_queue:
        idle, busy = a_feeder(database, live_queue, NEVER), a_feeder(database, other_queue, NEVER)
        await soon(database)
        await idle.sweep()
        for _ in range(3):
            await soon(database)
        await live_queue.redis.incrby(live_queue.keys.ids, 1_000_000)
        await busy.sweep()
        given = {job.id for job in await all_jobs(live_queue)}
        await forget_everything(live_queue)

        await idle.sweep()

    assert len(given) == 4
    assert min(job.id for job in await all_jobs(live_queue)) > max(given)


async def test_the_highest_id_that_is_known_never_goes_down(
    database: Database, live_queue: Queue, valkey: Valkey, prefix: str
) -> None:
    facts = Facts(database)
    feeder = a_feeder(database, live_queue, NEVER)
    await soon(database)
    await feeder.sweep()
    # Another has given ids that this one has not heard of, and its own are lower.
    await facts.put(HIGHEST_JOB_ID, "1000")
    await soon(database)
    await feeder.sweep()

    assert await facts.get(HIGHEST_JOB_ID) == "1000"


async def test_an_id_that_the_quick_try_gave_just_before_is_not_given_again(
    database: Database, live_queue: Queue, valkey: Valkey, prefix: str
) -> None:
    """No feeder had heard of it when Redis was emptied."""
    feeder = a_feeder(database, live_queue, NEVER)
    await soon(database)
    await feeder.sweep()
    async with Queue.open(valkey.url, prefix=prefix) as web:
        unheard = [(await web.create("email", unique=f"u{n}")).id for n in range(20)]
    await forget_everything(live_queue)

    await feeder.sweep()
    await soon(database)
    await feeder.sweep()

    assert not set(unheard) & {job.id for job in await all_jobs(live_queue)}


async def test_all_feeders_agree_on_the_epoch_and_none_rebuilds_what_another_has_filled(
    database: Database, database_url: str, live_queue: Queue, valkey: Valkey, prefix: str
) -> None:
    await soon(database)
    async with Database.open(database_url) as elsewhere, Queue.open(valkey.url, prefix=prefix) as other_queue:
        feeders = [a_feeder(database, live_queue, NEVER), a_feeder(elsewhere, other_queue, NEVER)]
        await asyncio.gather(*(feeder.sweep() for feeder in feeders))

        with capture_logs() as lines:
            for feeder in feeders:
                await feeder.sweep()

    assert lines == []
    assert await live_queue.redis.get(f"{prefix}:epoch") == await Facts(database).get(EPOCH)


# Redis away


@pytest.fixture
async def no_queue(prefix: str) -> AsyncIterator[Queue]:
    """A queue on a port that nobody listens on."""
    async with Queue.open(f"redis://127.0.0.1:{free_port()}", prefix=prefix) as queue:
        yield queue


async def test_a_sweep_without_redis_says_so_and_notes_nothing(database: Database, no_queue: Queue) -> None:
    reminder = await soon(database)

    with pytest.raises(QueueUnavailable):
        await a_feeder(database, no_queue).sweep()

    assert await stored(database, reminder.id) == reminder


async def test_a_sweep_without_the_database_says_so(
    database: Database, live_queue: Queue, feeder: Feeder, away: Away
) -> None:
    away.go()

    with pytest.raises(StorageUnavailable):
        await feeder.sweep()


async def test_without_redis_what_is_due_is_delivered_straight_from_the_database(
    database: Database, no_queue: Queue, deliveries: Deliveries
) -> None:
    feeder = a_feeder(database, no_queue, deliver=deliveries)
    due = [await a_reminder(database, standing) for standing in ("due", "due again", "lapsed", "marked and lapsed")]
    for standing in ("not yet due", "put off", "held", "marked", "sent", "cancelled", "unconfirmed"):
        await a_reminder(database, standing)

    await feeder.deliver_due()

    assert sorted(deliveries.made) == sorted((each.id, 1) for each in due)


@pytest.mark.parametrize("url", ["redis://ann:a-wrong-password@127.0.0.1:{port}", "rediss://127.0.0.1:{port}"])
async def test_a_redis_that_refuses_us_or_cannot_do_tls_is_as_good_as_none(
    database: Database, valkey: Valkey, prefix: str, deliveries: Deliveries, url: str
) -> None:
    """B12: nothing is said to it in the clear, and mails go out all the same."""
    reminder = await a_reminder(database)
    pace = Pace(sweep=timedelta(milliseconds=50))

    async with Queue.open(url.format(port=valkey.port), prefix=prefix, patience=timedelta(seconds=1)) as queue:
        with capture_logs() as lines:
            async with running(a_feeder(database, queue, pace, deliver=deliveries)):
                await until(lambda: deliveries.made)

    assert set(deliveries.made) == {(reminder.id, 1)}
    assert "queue away: sending straight from the database" in [line["event"] for line in lines]
    assert "a-wrong-password" not in repr(lines)


async def test_the_longest_due_are_delivered_first_and_a_few_at_a_time(database: Database, no_queue: Queue) -> None:
    order: list[UUID] = []
    at_once, most = 0, 0

    async def deliver(id: UUID, rev: int) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        order.append(id)
        await asyncio.sleep(0.001)
        at_once -= 1

    made = {
        seconds: await a_reminder(database, next_at=-timedelta(seconds=seconds)) for seconds in (20, 50, 10, 40, 30)
    }
    await a_feeder(database, no_queue, Pace(direct_at_once=2), deliver=deliver).deliver_due()

    assert order == [made[seconds].id for seconds in (50, 40, 30, 20, 10)]
    assert most == 2


async def test_while_sending_is_paused_nothing_is_delivered_directly(
    database: Database, no_queue: Queue, deliveries: Deliveries
) -> None:
    await a_reminder(database)

    await a_feeder(database, no_queue, deliver=deliveries, paused=True).deliver_due()

    assert deliveries.made == []


async def test_an_outage_that_begins_meanwhile_stops_the_rest(database: Database, no_queue: Queue) -> None:
    delivered: list[UUID] = []
    feeder = Feeder(database, no_queue, note_in(delivered), lambda: bool(delivered), Pace(direct_at_once=1))
    for _ in range(3):
        await a_reminder(database)

    await feeder.deliver_due()

    assert len(delivered) == 1


def note_in(delivered: list[UUID]) -> Any:
    async def deliver(id: UUID, rev: int) -> None:
        delivered.append(id)

    return deliver


async def test_it_goes_on_after_a_direct_delivery_that_went_as_nobody_has_thought_of(
    database: Database, no_queue: Queue, deliveries: Deliveries
) -> None:
    broken, other = await a_reminder(database), await a_reminder(database)
    deliveries.broken = {broken.id}
    pace = Pace(sweep=timedelta(milliseconds=50), direct_at_once=1)

    with capture_logs() as lines:
        async with running(a_feeder(database, no_queue, pace, deliver=deliveries)) as run:
            await until(lambda: run.done() or "sweep failed" in [line["event"] for line in lines])
            deliveries.broken.clear()
            await until(lambda: run.done() or len(deliveries.made) >= 2)
            assert not run.done()

    assert {id for id, _ in deliveries.made} >= {broken.id, other.id}


async def test_redis_goes_and_comes_and_each_reminder_is_sent_once(
    database: Database, own_valkey: Valkey, prefix: str, sink: Sink
) -> None:
    async with Queue.open(own_valkey.url, prefix=prefix) as queue, delivering(database, queue, sink) as scene:
        pace = Pace(sweep=timedelta(milliseconds=50))
        feeder = a_feeder(database, queue, pace, deliver=scene.delivery.deliver)
        later = await soon(database)
        with capture_logs() as lines:
            async with running(feeder):
                await eventually(lambda: has_alarm(queue, later))
                await asyncio.to_thread(own_valkey.kill)
                due = [await a_reminder(database) for _ in range(5)]
                await sink.wait_for(5)
                await asyncio.to_thread(own_valkey.start)
                await until(lambda: "queue is back" in [line["event"] for line in lines])
                await eventually(lambda: has_alarm(queue, later))

    assert Counter(mail.message_id for mail in sink.mails) == Counter(f"<{each.id}.1@example.net>" for each in due)
    said = [line["event"] for line in lines]
    assert said.count("queue away: sending straight from the database") == 1
    assert said.count("queue is back") == 1


async def test_it_goes_on_when_the_database_is_back(database: Database, live_queue: Queue, away: Away) -> None:
    feeder = a_feeder(database, live_queue, Pace(sweep=timedelta(milliseconds=20)))
    away.go()
    with capture_logs() as lines:
        async with running(feeder):
            await until(lambda: "database away" in [line["event"] for line in lines])
            away.come_back()
            reminder = await soon(database)
            await eventually(lambda: has_alarm(live_queue, reminder))


async def test_it_goes_on_after_an_answer_that_nobody_has_thought_of(database: Database, live_queue: Queue) -> None:
    feeder = a_feeder(database, live_queue, Pace(sweep=timedelta(milliseconds=20)))
    await live_queue.redis.set(live_queue.keys.ids, "not a number")
    with capture_logs() as lines:
        async with running(feeder):
            await until(lambda: "sweep failed" in [line["event"] for line in lines])
            await live_queue.redis.delete(live_queue.keys.ids)
            reminder = await soon(database)
            await eventually(lambda: has_alarm(live_queue, reminder))


async def test_what_is_due_by_the_database_s_clock_is_never_handed_over_before(
    database: Database, no_queue: Queue
) -> None:
    early: list[timedelta] = []

    async def deliver(id: UUID, rev: int) -> None:
        early.append((await stored(database, id)).next_at - await clock_of(database))

    for milliseconds in range(0, 200, 20):
        await a_reminder(database, next_at=timedelta(milliseconds=milliseconds))
    feeder = a_feeder(database, no_queue, deliver=deliver)
    while len(early) < 30:
        await feeder.deliver_due()

    assert max(early) <= timedelta(0)
