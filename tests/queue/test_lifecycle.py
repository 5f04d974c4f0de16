"""Every transition, in order of life: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from rmindr.queue import (
    Backoff,
    InvalidJob,
    JobExists,
    JobFailed,
    JobNotFound,
    Kept,
    Lease,
    LeaseLost,
    Limit,
    NewJob,
    Queue,
    QueueUnavailable,
    Refused,
    State,
    UnreadableJob,
    WrongState,
)
from rmindr.queue.keys import zid
from rmindr.queue.scripts import VERBS
from tests.conftest import Clock
from tests.queue.scenery import LEASE, STANDINGS, Wire, a_lease, event, keyspace, standing, taken_by_kue
from tests.servers import Valkey

T0 = Clock().ms
BORN = {
    "type": "email", "data": '{"n":1}', "priority": "0", "created_at": str(T0), "promote_at": str(T0), "max_attempts": "1",
    "state": "inactive", "updated_at": str(T0),
}  # fmt: skip
STARTED = BORN | {
    "state": "active",
    "started_at": str(T0),
    "workerId": "kue:here:1:email:1",
    "lease": "token@kue:here:1:email:1",
}
CREATED = {"ids": "1", "job:types": {"email"}, "jobs": {"01|1": "0"}}

ODD_TYPES = [
    "with:colons:active", "with spaces", "inactive", "jobs", "häppy 🎂", "100% %s %d%%", "a/b\\c", 'quo"ted', "[a-z]*?",
    "x" * 200,
]  # fmt: skip
ODD_DATA = [
    {}, [], "", "text", 0, -1.5, True, "\x00 in the middle", "\u2028 🎂 é", "'\"\\/\n", {"": {"a": [1, None, 2.5]}},
    2**53 + 1, "x" * 100_000,
]  # fmt: skip


# create


async def test_create_writes_a_waiting_job_as_kue_does(queue: Queue, wire: Wire) -> None:
    await queue.create("email", {"n": 1})

    waiting = {"jobs:inactive": {"01|1": "0"}, "jobs:email:inactive": {"01|1": "0"}, "email:jobs": ["1"]}
    assert await keyspace(queue) == CREATED | waiting | {"job:1": BORN}
    assert await wire.take() == [event(1, "enqueue", "email")]


async def test_create_writes_a_delayed_job_as_kue_does(queue: Queue, wire: Wire) -> None:
    await queue.create(
        "email", {"n": 1}, delay=timedelta(seconds=90), priority="high", attempts=5, ttl=timedelta(seconds=3),
        backoff=Backoff.exponential(timedelta(seconds=1), max_delay=timedelta(minutes=1)), remove_on_complete=True,
        unique="the one",
    )  # fmt: skip

    asked = {
        "priority": "-10", "promote_at": str(T0 + 90_000), "delay": "90000", "max_attempts": "5", "ttl": "3000",
        "backoff": '{"type":"exponential","delay":1000,"maxDelay":60000}', "removeOnComplete": "true", "unique": "the one",
        "state": "delayed",
    }  # fmt: skip
    assert await keyspace(queue) == CREATED | {
        "jobs": {"01|1": "-10"},
        "jobs:delayed": {"01|1": str(T0 + 90_000)},
        "jobs:email:delayed": {"01|1": "-10"},
        "job:1": BORN | asked,
        "unique": {"the one": "1"},
        "wake": ["1"],
    }
    assert await wire.take() == []


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"delay": timedelta(milliseconds=1)},
        {"delay": timedelta(days=365 * 1000)},
        {"delay": timedelta(0)},
        {"delay": timedelta.min},
        {"delay": datetime(2126, 1, 1, 12, 30, 15, 123_456, tzinfo=UTC)},
        {"delay": datetime.max.replace(tzinfo=UTC, microsecond=999_000)},
        {"delay": datetime(1, 1, 1, tzinfo=UTC)},
        {"priority": -2.5, "attempts": 3, "backoff": Backoff.same()},
        {"priority": 0.1, "backoff": Backoff.fixed(), "ttl": timedelta(hours=1)},
        {"priority": 2**53 - 1, "backoff": Backoff.exponential(), "remove_on_complete": True, "unique": "ü\n:"},
    ],
    ids=str,
)
async def test_create_answers_the_job_as_it_stands_in_redis(queue: Queue, asked: dict[str, Any]) -> None:
    job = await queue.create("email", {"n": 1}, **asked)

    assert await queue.get(job.id) == job


@pytest.mark.parametrize("type", ODD_TYPES)
async def test_a_type_may_be_any_printable_text(queue: Queue, wire: Wire, type: str) -> None:
    await queue.create(type)
    lease = await a_lease(queue, type=type)
    await queue.lifecycle.complete(lease)

    assert (await keyspace(queue))[f"jobs:{type}:complete"] == {"01|1": "0"}
    assert lease.job.type == type
    assert len(await wire.take()) == 3


@pytest.mark.parametrize("data", ODD_DATA, ids=lambda data: repr(data)[:20])
async def test_data_and_result_may_be_any_json(queue: Queue, data: Any) -> None:
    await queue.create("email", data)
    lease = await a_lease(queue)
    await queue.lifecycle.complete(lease, data)

    job = await queue.get(1)
    assert job is not None
    assert (lease.job.data, job.data, job.result) == (data, data, data)


async def test_equal_priorities_keep_the_order_of_creation_across_lengths_of_id(queue: Queue) -> None:
    await queue.redis.set(queue.keys.ids, 8)
    await queue.create_many([NewJob(type="email") for _ in range(3)])
    await queue.redis.set(queue.keys.ids, 9_999_999_998)
    await queue.create_many([NewJob(type="email") for _ in range(2)])

    claimed = await queue.lifecycle.claim({"email": 9}, token="t", lease=LEASE, worker="w")

    assert [lease.job.id for lease in claimed.leases] == [9, 10, 11, 9_999_999_999, 10_000_000_000]
    assert "11|10000000000" in (await keyspace(queue))["jobs"]


async def test_many_created_at_once_are_all_made_in_order(queue: Queue) -> None:
    jobs = await queue.create_many([NewJob(type="email", data={"n": n}) for n in range(1203)])

    assert [(job.id, job.data["n"]) for job in jobs] == [(n + 1, n) for n in range(1203)]
    assert (await queue.jobs.counts())[State.INACTIVE] == 1203
    assert await queue.redis.llen(queue.keys.tokens("email")) == 1203


async def test_an_id_is_not_given_again_after_redis_was_emptied(own_valkey: Valkey, clock: Clock) -> None:
    async with Queue.open(own_valkey.url, clock=clock) as queue:
        await queue.create_many([NewJob(type="email") for _ in range(7)])
        await queue.redis.flushall()

        job = await queue.create("email")

        assert job.id == 8


async def test_a_lost_counter_does_not_overwrite_jobs(valkey: Valkey, queue: Queue) -> None:
    await queue.create_many([NewJob(type="email", data={"n": n}) for n in range(3)])
    await queue.redis.delete(queue.keys.ids)

    async with Queue.open(valkey.url, prefix=queue.keys.prefix) as other:
        job = await other.create("email", "new")

    assert job.id == 4
    assert [job.data for job in [await queue.get(n) for n in (1, 2, 3)] if job] == [{"n": 0}, {"n": 1}, {"n": 2}]


async def test_what_was_lost_with_a_script_flush_is_loaded_again(queue: Queue) -> None:
    await queue.create("email")
    await queue.redis.script_flush()
    lease = await a_lease(queue)
    await queue.redis.script_flush()

    await queue.lifecycle.complete(lease)

    assert (await queue.jobs.counts())[State.COMPLETE] == 1


# create, with a unique key


async def test_a_second_job_under_a_living_key_is_the_first(queue: Queue, wire: Wire) -> None:
    first = await queue.create("email", {"n": 1}, unique="key")
    before, _ = await keyspace(queue), await wire.take()

    second, made = await queue.lifecycle.create(NewJob(type="letter", data={"n": 2}, unique="key"))

    assert (second, made) == (first, False)
    assert await keyspace(queue) == before
    assert await wire.take() == []


async def test_concurrent_creations_under_one_key_make_one_job(valkey: Valkey, queue: Queue, clock: Clock) -> None:
    async with Queue.open(valkey.url, prefix=queue.keys.prefix, clock=clock) as other:
        creating = [each.lifecycle.create(NewJob(type="email", unique="key")) for each in (queue, other) * 50]

        answers = await asyncio.gather(*creating)

    assert {job.id for job, _ in answers} == {1}
    assert [made for _, made in answers].count(True) == 1
    assert (await queue.jobs.counts())[State.INACTIVE] == 1


async def test_in_a_batch_a_refused_job_does_not_disturb_its_neighbours(queue: Queue) -> None:
    keys = ["a", None, "a", "b", None, "b", "c"]

    jobs = await queue.create_many([NewJob(type="email", data={"n": n}, unique=key) for n, key in enumerate(keys)])

    assert [job.data["n"] for job in jobs] == [0, 1, 0, 3, 4, 3, 6]
    assert (await queue.jobs.counts())[State.INACTIVE] == 5


async def _complete(queue: Queue, lease: Lease) -> None:
    await queue.lifecycle.complete(lease)


async def _fail_for_good(queue: Queue, lease: Lease) -> None:
    await queue.lifecycle.fail(lease, "no", wait_ms=None)


async def _release_and_remove(queue: Queue, lease: Lease) -> None:
    await queue.lifecycle.release(lease)
    await queue.remove(lease.job.id)


async def _completed_by_kue(queue: Queue, lease: Lease) -> None:
    await queue.redis.hset(queue.keys.job(lease.job.id), "state", "complete")


async def _vanished(queue: Queue, lease: Lease) -> None:
    await queue.redis.delete(queue.keys.job(lease.job.id))


@pytest.mark.parametrize("end", [_complete, _fail_for_good, _release_and_remove, _completed_by_kue, _vanished])
async def test_a_key_is_free_when_its_job_has_ended(queue: Queue, end: Callable[[Queue, Lease], Any]) -> None:
    await queue.create("email", unique="key")
    await end(queue, await a_lease(queue))

    _, made = await queue.lifecycle.create(NewJob(type="email", unique="key"))

    assert made
    assert await queue.jobs.find(["key"]) == [2]


@pytest.mark.parametrize("asked", [{"remove_on_complete": True}, {}], ids=["removed", "kept"])
async def test_an_ended_job_leaves_no_key_behind(queue: Queue, asked: dict[str, Any]) -> None:
    await queue.create("email", unique="key", **asked)

    await queue.lifecycle.complete(await a_lease(queue))

    assert "unique" not in await keyspace(queue)


async def test_a_job_that_will_be_tried_again_keeps_its_key(queue: Queue) -> None:
    await queue.create("email", unique="key", attempts=2)

    await queue.lifecycle.fail(await a_lease(queue), "no", wait_ms=0)

    _, made = await queue.lifecycle.create(NewJob(type="email", unique="key"))
    assert not made


async def test_an_older_job_does_not_give_away_the_key_of_a_younger(queue: Queue) -> None:
    await queue.create("email", unique="key")
    await queue.redis.hset(queue.keys.job(1), "state", "complete")
    await queue.create("email", unique="key")

    await queue.remove(1)

    assert await queue.jobs.find(["key"]) == [2]


# recur


async def due_schedule(queue: Queue, name: str = "daily", instant: int = T0) -> None:
    """A schedule whose instant has come, as far as `recur` looks at it."""
    await queue.redis.hset(queue.keys.schedule(name), "is", "{}")
    await queue.redis.zadd(queue.keys.schedules, {name: instant})


async def test_recur_makes_the_job_of_an_instant_and_moves_the_schedule_on(queue: Queue, wire: Wire) -> None:
    await due_schedule(queue)
    new = NewJob(type="email", data={"n": 1}, attempts=3, schedule=("daily", Clock().now))

    assert await queue.lifecycle.recur("daily", "{}", T0, T0 + 5000, new) == 1

    made = BORN | {"max_attempts": "3", "schedule": "daily", "instant": str(T0)}
    assert await keyspace(queue) == CREATED | {
        "jobs:inactive": {"01|1": "0"},
        "jobs:email:inactive": {"01|1": "0"},
        "job:1": made,
        "email:jobs": ["1"],
        "schedules": {"daily": str(T0 + 5000)},
        "daily:schedule": {"is": "{}"},
    }
    assert await wire.take() == [event(1, "enqueue", "email")]


async def test_a_job_of_a_schedule_knows_whose_it_is_and_of_which_instant(queue: Queue) -> None:
    await due_schedule(queue)

    await queue.lifecycle.recur("daily", "{}", T0, None, NewJob(type="email", schedule=("daily", Clock().now)))

    job = await queue.get(1)
    assert job is not None
    assert (job.schedule, job.scheduled_for, job.promote_at) == ("daily", Clock().now, Clock().now)


@pytest.mark.parametrize("instant", [T0 - 1, T0 + 1], ids=["before", "after"])
async def test_recur_of_another_instant_than_the_schedules_makes_nothing(queue: Queue, instant: int) -> None:
    await due_schedule(queue)
    before = await keyspace(queue)

    assert await queue.lifecycle.recur("daily", "{}", instant, T0 + 5000, NewJob(type="email")) is None

    assert await keyspace(queue) == before


async def test_recur_by_what_has_been_replaced_meanwhile_makes_nothing(queue: Queue) -> None:
    await due_schedule(queue)
    before = await keyspace(queue)

    assert await queue.lifecycle.recur("daily", '{"every":1}', T0, T0 + 5000, NewJob(type="email")) is None

    assert await keyspace(queue) == before


async def test_whoever_comes_second_finds_the_schedule_moved_on(valkey: Valkey, queue: Queue, clock: Clock) -> None:
    await due_schedule(queue)
    async with Queue.open(valkey.url, prefix=queue.keys.prefix, clock=clock) as other:
        coming = [
            each.lifecycle.recur("daily", "{}", T0, T0 + 5000, NewJob(type="email")) for each in (queue, other) * 10
        ]

        made = await asyncio.gather(*coming)

    assert sorted(filter(None, made)) == [1]
    assert (await queue.jobs.counts())[State.INACTIVE] == 1


async def test_an_instant_may_pass_without_a_job(queue: Queue) -> None:
    await due_schedule(queue)

    assert await queue.lifecycle.recur("daily", "{}", T0, T0 + 5000, None) is None

    assert await keyspace(queue) == {"schedules": {"daily": str(T0 + 5000)}, "daily:schedule": {"is": "{}"}}


async def test_a_schedule_without_a_further_instant_ends_with_its_last_job(queue: Queue) -> None:
    await due_schedule(queue)

    assert await queue.lifecycle.recur("daily", "{}", T0, None, NewJob(type="email")) == 1

    assert not (await keyspace(queue)).keys() & {"schedules", "daily:schedule"}


async def test_an_id_that_a_schedule_used_is_not_given_again_after_redis_was_emptied(
    own_valkey: Valkey, clock: Clock
) -> None:
    async with Queue.open(own_valkey.url, clock=clock) as queue:
        await due_schedule(queue)
        await queue.lifecycle.recur("daily", "{}", T0, None, NewJob(type="email"))
        await queue.redis.flushall()

        job = await queue.create("email")

        assert job.id == 2


# promote


async def test_promote_makes_a_due_job_wait(queue: Queue, clock: Clock, wire: Wire) -> None:
    await queue.create("email", {"n": 1}, delay=timedelta(seconds=1), priority=5)
    clock.advance(ms=1000)

    assert await queue.lifecycle.promote() == 1

    due = {"promote_at": str(T0 + 1000), "delay": "1000", "priority": "5", "updated_at": str(T0 + 1000)}
    assert await keyspace(queue) == CREATED | {
        "jobs": {"01|1": "5"},
        "jobs:inactive": {"01|1": "5"},
        "jobs:email:inactive": {"01|1": "5"},
        "job:1": BORN | due,
        "email:jobs": ["1"],
        "wake": ["1"],
    }
    assert await wire.take() == [event(1, "promotion"), event(1, "enqueue", "email")]


async def test_nothing_is_promoted_a_millisecond_early(queue: Queue, clock: Clock) -> None:
    await queue.create("email", delay=timedelta(seconds=1))
    clock.advance(ms=999)

    assert await queue.lifecycle.promote() == 0

    assert (await queue.jobs.counts())[State.DELAYED] == 1


async def test_the_soonest_due_are_promoted_first(queue: Queue, clock: Clock) -> None:
    for seconds in (3, 1, 2):
        await queue.create("email", {"n": seconds}, delay=timedelta(seconds=seconds))
    clock.advance(seconds=9)

    assert await queue.lifecycle.promote(limit=2) == 2

    assert (await keyspace(queue))["jobs:inactive"].keys() == {"01|2", "01|3"}


async def test_only_a_job_that_is_due_first_wakes_those_who_wait_for_the_clock(queue: Queue) -> None:
    wakes = []
    for minutes in (5, 9, 3):
        await queue.redis.delete(queue.keys.wake)
        await queue.create("email", delay=timedelta(minutes=minutes))
        wakes.append(await queue.redis.llen(queue.keys.wake))

    assert wakes == [1, 0, 1]


# claim


async def test_claim_leases_the_job(queue: Queue, wire: Wire) -> None:
    await queue.create("email", {"n": 1}, priority="low")
    await wire.take()

    lease = await a_lease(queue)

    assert await keyspace(queue) == CREATED | {
        "jobs": {"01|1": "10"},
        "jobs:active": {"01|1": "-10"},
        "jobs:email:active": {"01|1": "10"},
        "leases": {"01|1": str(T0 + 60_000)},
        "job:1": STARTED | {"priority": "10"},
    }
    assert await wire.take() == [event(1, "start", "email", None)]
    assert lease.job == await queue.get(1)


@pytest.mark.parametrize(
    ("priority", "ttl", "score"),
    [("normal", None, "0"), (10, None, "-10"), (-10, None, "-10"), (2.5, None, "-2.5"), (-15, 1500, str(T0 + 1500))],
)
async def test_an_active_job_is_scored_so_that_kues_expiry_understands_it(
    queue: Queue, priority: int | str, ttl: int | None, score: str
) -> None:
    await queue.create("email", priority=priority, ttl=timedelta(milliseconds=ttl) if ttl else None)

    await a_lease(queue)

    assert (await keyspace(queue))["jobs:active"] == {"01|1": score}


async def test_claim_takes_the_most_urgent_job_first(queue: Queue) -> None:
    for priority in ("normal", "low", "critical", -15.5, "high"):
        await queue.create("email", priority=priority)

    claimed = await queue.lifecycle.claim({"email": 4}, token="t", lease=LEASE, worker="w")

    assert [lease.job.priority for lease in claimed.leases] == [-15.5, -15, -10, 0]


async def test_claim_takes_as_many_of_each_type_as_wanted(queue: Queue) -> None:
    for type in ("a", "b", "c", "d"):
        await queue.create_many([NewJob(type=type)] * 3)

    claimed = await queue.lifecycle.claim({"a": 2, "b": 0, "c": 9}, token="t", lease=LEASE, worker="w")

    assert [lease.job.type for lease in claimed.leases] == ["a", "a", "c", "c", "c"]


async def test_claim_promotes_what_is_due_and_says_when_the_next_is(queue: Queue, clock: Clock) -> None:
    for seconds in (1, 2, 30):
        await queue.create("email", delay=timedelta(seconds=seconds))
    clock.advance(seconds=2)

    claimed = await queue.lifecycle.claim({"email": 9}, token="t", lease=LEASE, worker="w")

    assert [lease.job.id for lease in claimed.leases] == [1, 2]
    assert claimed.next_due_in == timedelta(seconds=28)


async def test_with_more_due_than_one_claim_promotes_the_next_is_due_at_once(queue: Queue, clock: Clock) -> None:
    await queue.create_many([NewJob(type="email", delay=timedelta(seconds=1))] * 501)
    clock.advance(seconds=1)

    claimed = await queue.lifecycle.claim({"email": 1}, token="t", lease=LEASE, worker="w")

    assert claimed.next_due_in == timedelta(0)


async def test_one_job_is_never_claimed_twice(valkey: Valkey, queue: Queue, clock: Clock) -> None:
    await queue.create_many([NewJob(type="email")] * 100)
    async with Queue.open(valkey.url, prefix=queue.keys.prefix, clock=clock) as other:
        claims = [
            each.lifecycle.claim({"email": 7}, token=f"token {n}", lease=LEASE, worker="w")
            for n, each in enumerate((queue, other) * 10)
        ]

        taken = [lease.job.id for claimed in await asyncio.gather(*claims) for lease in claimed.leases]

    assert sorted(taken) == list(range(1, 101))


async def test_a_claim_whose_answer_was_lost_is_answered_again(queue: Queue, clock: Clock) -> None:
    await queue.create_many([NewJob(type="email", data={"n": n}, ttl=timedelta(seconds=9)) for n in range(5)])
    await queue.create("letter")
    await queue.lifecycle.claim({"email": 1}, token="other", lease=LEASE, worker="w")
    first = await queue.lifecycle.claim({"email": 2}, token="mine", lease=LEASE, worker="w")
    clock.advance(seconds=5)

    second = await queue.lifecycle.claim({"email": 3, "letter": 1}, token="mine", lease=LEASE, worker="w", again=True)

    ids = [lease.job.id for lease in second.leases]
    assert ids[:2] == [lease.job.id for lease in first.leases] == [2, 3]
    assert ids[2:] == [4, 6], "what is known already counts against what is wanted"
    found = await keyspace(queue)
    assert found["leases"]["01|2"] == str(clock.ms + 60_000), "the run begins only now"
    assert found["jobs:active"]["01|2"] == str(clock.ms + 9_000)
    for lease in second.leases:
        await queue.lifecycle.complete(lease)


async def test_claim_evens_the_tokens_with_the_jobs_that_wait(queue: Queue) -> None:
    await queue.create_many([NewJob(type="email")] * 5)
    tokens, counts = queue.keys.tokens("email"), []
    for surplus in (7, 0, -4):
        await queue.redis.delete(tokens)
        if 5 + surplus > 0:
            await queue.redis.lpush(tokens, *["1"] * (5 + surplus))
        await queue.lifecycle.claim({"email": 0}, token="t", lease=LEASE, worker="w")
        counts.append(await queue.redis.llen(tokens))

    assert counts == [5, 5, 5]


async def test_a_list_of_tokens_that_was_emptied_fills_up_over_several_claims(queue: Queue) -> None:
    await queue.create_many([NewJob(type="email")] * 150)
    await queue.redis.delete(queue.keys.tokens("email"))

    counts = []
    for _ in range(3):
        await queue.lifecycle.claim({"email": 0}, token="t", lease=LEASE, worker="w")
        counts.append(await queue.redis.llen(queue.keys.tokens("email")))

    assert counts == [100, 150, 150]


# renew, progress, log


async def test_renew_prolongs_what_is_held_and_answers_what_is_lost(queue: Queue, clock: Clock) -> None:
    await queue.create_many([NewJob(type="email")] * 3)
    leases = [await a_lease(queue, token=token) for token in ("a", "b", "c")]
    await queue.lifecycle.complete(leases[1])
    clock.advance(seconds=30)

    replies = await queue.lifecycle.renew([*leases, Lease(replace(leases[0].job, id=99), "a")], LEASE)

    assert replies == ["ok", "lost", "ok", "missing"]
    assert (await keyspace(queue))["leases"] == {"01|1": str(clock.ms + 60_000), "01|3": str(clock.ms + 60_000)}


async def test_progress_is_written_and_told(queue: Queue, clock: Clock, wire: Wire) -> None:
    lease = await standing_active(queue, ttl=timedelta(seconds=9))
    clock.advance(seconds=5)
    await wire.take()

    await queue.lifecycle.progress(lease, 25)
    await queue.lifecycle.progress(lease, 50, {"page": "½"})

    found = await keyspace(queue)
    told = {"progress": "50", "progress_data": '{"page":"½"}', "updated_at": str(clock.ms), "ttl": "9000"}
    assert found["job:1"] == STARTED | told
    assert found["jobs:active"] == {"01|1": str(clock.ms + 9_000)}, "its ttl begins anew"
    assert await wire.take() == [event(1, "progress", 25, None), event(1, "progress", 50, {"page": "½"})]


async def test_the_log_keeps_the_last_thousand_lines_in_order(queue: Queue, wire: Wire) -> None:
    lease = await standing_active(queue)
    await wire.take()

    await asyncio.gather(*(queue.lifecycle.log(lease, f"line {n}\x00🎂") for n in range(1003)))

    assert await queue.jobs.log(1) == [f"line {n}\x00🎂" for n in range(3, 1003)]
    assert await wire.take() == []


# complete


async def test_complete_keeps_the_job_and_its_result(queue: Queue, clock: Clock, wire: Wire) -> None:
    lease = await standing_active(queue)
    clock.advance(ms=1234)
    await wire.take()

    await queue.lifecycle.complete(lease, {"code": 250})

    ended = {
        "state": "complete", "duration": "1234", "progress": "100", "attempts": "1", "result": '{"code":250}',
        "updated_at": str(clock.ms),
    }  # fmt: skip
    assert await keyspace(queue) == CREATED | {
        "jobs:complete": {"01|1": "0"},
        "jobs:email:complete": {"01|1": "0"},
        "ended:complete": {"01|1": str(clock.ms)},
        "job:1": without(STARTED, "lease") | ended,
        "stats:work-time": "1234",
    }
    assert await wire.take() == [event(1, "complete", {"code": 250}, None)]


async def test_complete_leaves_nothing_of_a_job_that_asked_for_it(queue: Queue, wire: Wire) -> None:
    lease = await standing_active(queue, remove_on_complete=True, unique="key", attempts=3)
    await queue.lifecycle.log(lease, "line")
    await queue.lifecycle.progress(lease, 1)
    await wire.take()

    await queue.lifecycle.complete(lease)

    assert await keyspace(queue) == {"ids": "1", "job:types": {"email"}, "stats:work-time": "0"}
    assert await wire.take() == [event(1, "complete", None, None), event(1, "remove", "email")]


# fail


async def test_the_last_failure_is_final(queue: Queue, clock: Clock, wire: Wire) -> None:
    lease = await standing_active(queue)
    clock.advance(ms=10)
    await wire.take()

    state = await queue.lifecycle.fail(lease, "no\x00 🎂", "Error: no\x00 🎂\n  at …", wait_ms=0)

    assert state is State.FAILED
    ended = {
        "state": "failed", "error": "Error: no\x00 🎂\n  at …", "attempts": "1", "failed_at": str(clock.ms),
        "updated_at": str(clock.ms),
    }  # fmt: skip
    assert await keyspace(queue) == CREATED | {
        "jobs:failed": {"01|1": "0"},
        "jobs:email:failed": {"01|1": "0"},
        "ended:failed": {"01|1": str(clock.ms)},
        "job:1": without(STARTED, "lease") | ended,
        "job:1:log": ["Error: no\x00 🎂"],
    }
    texts = [message.replace("\\u0000", "\0").replace("\\n", "\n") for message in await wire.take()]
    assert texts == [
        '{"id":1,"event":"error","args":["error","Error: no\0 🎂\n  at …"]}',
        '{"id":1,"event":"failed","args":["failed","no\0 🎂",null]}',
    ]


async def test_a_failure_with_attempts_left_waits_as_long_as_told(queue: Queue, clock: Clock, wire: Wire) -> None:
    lease = await standing_active(queue, attempts=3)
    await wire.take()

    state = await queue.lifecycle.fail(lease, "no", wait_ms=5000)

    assert state is State.DELAYED
    due = str(T0 + 5000)
    ended = {
        "state": "delayed", "error": "no", "attempts": "1", "failed_at": str(T0), "delay": "5000", "promote_at": due,
        "max_attempts": "3",
    }  # fmt: skip
    assert await keyspace(queue) == CREATED | {
        "jobs:delayed": {"01|1": due},
        "jobs:email:delayed": {"01|1": "0"},
        "job:1": without(STARTED, "lease") | ended,
        "job:1:log": ["no"],
        "wake": ["1"],
    }
    assert await wire.take() == [event(1, "error", "no"), event(1, "failed attempt", "no", 1)]


async def test_a_failure_without_a_wait_is_tried_again_at_once(queue: Queue, wire: Wire) -> None:
    lease = await standing_active(queue, attempts=3)
    await wire.take()

    state = await queue.lifecycle.fail(lease, "no", wait_ms=0)

    assert state is State.INACTIVE
    found = await keyspace(queue)
    assert (found["jobs:inactive"], found["email:jobs"]) == ({"01|1": "0"}, ["1"])
    assert "delay" not in found["job:1"]
    told = [event(1, "error", "no"), event(1, "enqueue", "email"), event(1, "failed attempt", "no", 1)]
    assert await wire.take() == told


async def test_attempts_count_up_to_the_last(queue: Queue) -> None:
    await queue.create("email", attempts=3)

    states = [await queue.lifecycle.fail(await a_lease(queue), "no", wait_ms=0) for _ in range(3)]

    assert states == [State.INACTIVE, State.INACTIVE, State.FAILED]
    job = await queue.get(1)
    assert job is not None
    assert (job.attempts, job.attempts_remaining) == (3, 0)


async def test_no_wait_lasts_longer_than_dates_do(queue: Queue) -> None:
    lease = await standing_active(queue, attempts=2)

    await queue.lifecycle.fail(lease, "no", wait_ms=2**62)

    job = await queue.get(1)
    assert job is not None
    assert job.promote_at is not None
    assert job.promote_at.year == 3026


# expire


async def test_a_run_of_ours_whose_ttl_is_over_fails(queue: Queue, clock: Clock, wire: Wire) -> None:
    await standing_active(queue, ttl=timedelta(seconds=9), attempts=2)
    clock.advance(seconds=9)
    await wire.take()

    [job] = await queue.lifecycle.expired(clock.ms)
    state = await queue.lifecycle.expire(job)

    assert state is State.INACTIVE
    assert await wire.take() == [
        event(1, "ttl exceeded"),
        event(1, "error", "TTL exceeded"),
        event(1, "enqueue", "email"),
        event(1, "failed attempt", "TTL exceeded", 1),
    ]


async def test_a_run_is_not_expired_a_millisecond_early(queue: Queue, clock: Clock) -> None:
    await standing_active(queue, ttl=timedelta(seconds=9))
    clock.advance(ms=8999)

    assert await queue.lifecycle.expired(clock.ms) == []


async def test_a_run_that_was_prolonged_meanwhile_is_not_expired(queue: Queue, clock: Clock) -> None:
    lease = await standing_active(queue, ttl=timedelta(seconds=9))
    clock.advance(seconds=9)
    [job] = await queue.lifecycle.expired(clock.ms)
    await queue.lifecycle.progress(lease, 50)

    assert await queue.lifecycle.expire(job) is None


async def test_expiry_of_one_run_does_not_end_the_next(queue: Queue, clock: Clock) -> None:
    lease = await standing_active(queue, ttl=timedelta(seconds=9), attempts=3)
    clock.advance(seconds=9)
    [job] = await queue.lifecycle.expired(clock.ms)
    await queue.lifecycle.fail(lease, "no", wait_ms=0)
    await a_lease(queue, token="next")
    clock.advance(seconds=9)

    assert await queue.lifecycle.expire(job) is None


async def test_the_runs_of_kue_workers_do_not_hide_ours_from_expiry(queue: Queue, clock: Clock) -> None:
    for job in await queue.create_many([NewJob(type="email", ttl=timedelta(seconds=1))] * 105):
        await taken_by_kue(queue, job, clock.ms)
    lease = await standing_active(queue, ttl=timedelta(seconds=2))
    clock.advance(seconds=9)

    assert [job.id for job in await queue.lifecycle.expired(clock.ms)] == [lease.job.id]


# release


async def test_release_gives_the_job_back_as_if_it_had_not_run(queue: Queue, clock: Clock, wire: Wire) -> None:
    lease = await standing_active(queue, attempts=2)
    clock.advance(ms=10)
    await wire.take()

    assert await queue.lifecycle.release(lease) is State.INACTIVE

    again = {"state": "inactive", "updated_at": str(clock.ms), "max_attempts": "2"}
    waiting = {"jobs:inactive": {"01|1": "0"}, "jobs:email:inactive": {"01|1": "0"}, "email:jobs": ["1"]}
    assert await keyspace(queue) == CREATED | waiting | {"job:1": without(STARTED, "lease") | again}
    assert await wire.take() == [event(1, "enqueue", "email")]


async def test_release_for_later_is_not_an_attempt_either(queue: Queue, clock: Clock, wire: Wire) -> None:
    lease = await standing_active(queue)
    await wire.take()

    assert await queue.lifecycle.release(lease, timedelta(seconds=7)) is State.DELAYED

    found = await keyspace(queue)
    assert found["jobs:delayed"] == {"01|1": str(T0 + 7000)}
    assert found["job:1"] == without(STARTED, "lease") | {"state": "delayed", "promote_at": str(T0 + 7000)}
    assert await wire.take() == []


# rescue


async def test_rescue_takes_a_job_back_when_its_lease_has_lapsed(queue: Queue, clock: Clock, wire: Wire) -> None:
    await standing_active(queue, attempts=5)
    clock.advance(seconds=60)
    await wire.take()

    rescued = await queue.lifecycle.rescue()

    assert (rescued.jobs, rescued.now_ms, rescued.next_end_in) == ({1: State.INACTIVE}, clock.ms, None)
    lost = "worker lost (1 of 3)"
    ended = {
        "state": "inactive", "error": lost, "attempts": "1", "losses": "1", "failed_at": str(clock.ms),
        "updated_at": str(clock.ms), "max_attempts": "5",
    }  # fmt: skip
    waiting = {"jobs:inactive": {"01|1": "0"}, "jobs:email:inactive": {"01|1": "0"}, "email:jobs": ["1"]}
    log = {"job:1:log": [lost]}
    assert await keyspace(queue) == CREATED | waiting | log | {"job:1": without(STARTED, "lease") | ended}
    told = [event(1, "error", lost), event(1, "enqueue", "email"), event(1, "failed attempt", lost, 1)]
    assert await wire.take() == told


async def test_a_lease_is_not_rescued_a_millisecond_early(queue: Queue, clock: Clock) -> None:
    await standing_active(queue)
    clock.advance(ms=59_999)

    rescued = await queue.lifecycle.rescue()

    assert rescued.jobs == {}
    assert rescued.next_end_in == timedelta(milliseconds=1)


async def test_a_rescue_that_is_heard_late_takes_only_what_had_lapsed_when_it_was_asked(
    queue: Queue, clock: Clock
) -> None:
    await standing_active(queue, attempts=5)
    clock.advance(ms=59_999)
    asked_at = clock.ms
    clock.advance(seconds=60)

    late, fresh = await queue.lifecycle.rescue(asked_at), await queue.lifecycle.rescue(clock.ms)

    assert (late.jobs, late.next_end_in) == ({}, timedelta(0))
    assert fresh.jobs == {1: State.INACTIVE}


async def test_a_job_that_loses_three_workers_fails(queue: Queue, clock: Clock) -> None:
    await queue.create("email", attempts=9)

    states: list[State] = []
    for _ in range(3):
        await a_lease(queue)
        clock.advance(seconds=60)
        states += (await queue.lifecycle.rescue()).jobs.values()

    assert states == [State.INACTIVE, State.INACTIVE, State.FAILED]


async def test_a_lost_run_is_an_attempt(queue: Queue, clock: Clock) -> None:
    await standing_active(queue, attempts=1)
    clock.advance(seconds=60)

    rescued = await queue.lifecycle.rescue()

    assert rescued.jobs == {1: State.FAILED}


async def test_more_lost_jobs_than_one_rescue_takes_are_taken_by_the_next(queue: Queue, clock: Clock) -> None:
    await queue.create_many([NewJob(type="email", attempts=2)] * 130)
    await queue.lifecycle.claim({"email": 130}, token="t", lease=LEASE, worker="w")
    clock.advance(seconds=61)

    first, second = await queue.lifecycle.rescue(), await queue.lifecycle.rescue()

    assert (len(first.jobs), first.next_end_in) == (100, timedelta(0))
    assert (len(second.jobs), second.next_end_in) == (30, None)


# take_back


async def test_a_job_is_taken_back_from_a_kue_as_from_a_worker_of_ours(queue: Queue, clock: Clock, wire: Wire) -> None:
    await standing(queue, clock, "kues", attempts=5)
    clock.advance(seconds=60)
    await wire.take()

    state = await queue.take_back(1, holder="kue:there:2:email:1")

    lost = "worker lost (1 of 3)"
    found = await keyspace(queue)
    assert state is State.INACTIVE
    assert (found["jobs:inactive"], found["jobs:email:inactive"]) == ({"01|1": "0"}, {"01|1": "0"})
    assert not {"jobs:active", "jobs:email:active"} & found.keys()
    facts = ("state", "attempts", "losses", "error", "failed_at", "updated_at")
    assert [found["job:1"][name] for name in facts] == ["inactive", "1", "1", lost, str(clock.ms), str(clock.ms)]
    told = [event(1, "error", lost), event(1, "enqueue", "email"), event(1, "failed attempt", lost, 1)]
    assert await wire.take() == told


async def test_a_job_without_attempts_left_fails_when_it_is_taken_back(queue: Queue, clock: Clock) -> None:
    await standing(queue, clock, "kues", attempts=1)

    assert await queue.take_back(1) is State.FAILED


async def test_a_job_that_loses_three_kues_fails(queue: Queue, clock: Clock) -> None:
    job = await queue.create("email", attempts=9)

    states = []
    for _ in range(3):
        await taken_by_kue(queue, job, clock.ms)
        states.append(await queue.take_back(1))

    assert states == [State.INACTIVE, State.INACTIVE, State.FAILED]


async def test_what_another_has_taken_since_it_was_looked_at_is_not_taken_back(queue: Queue, clock: Clock) -> None:
    await standing(queue, clock, "kues")
    before = await keyspace(queue)

    with pytest.raises(WrongState, match="in other hands by now"):
        await queue.take_back(1, holder="kue:there:1:email:1")

    assert await keyspace(queue) == before


async def test_what_a_worker_of_ours_holds_is_not_taken_back_and_the_refusal_says_why(queue: Queue) -> None:
    await standing_active(queue)

    with pytest.raises(WrongState, match="under a lease, which lapses by itself"):
        await queue.take_back(1)


async def test_a_job_that_a_kue_has_taken_over_from_us_can_be_taken_back(queue: Queue) -> None:
    await standing_active(queue, attempts=2)
    await queue.redis.hset(queue.keys.job(1), "workerId", "kue:there:2:email:1")

    assert await queue.take_back(1) is State.INACTIVE
    assert "leases" not in await keyspace(queue)


async def test_all_that_one_kue_process_holds_is_taken_back_and_nothing_else(queue: Queue, clock: Clock) -> None:
    jobs = [await queue.create("email", attempts=2) for _ in range(5)]
    await a_lease(queue)
    for job in jobs[1:4]:
        await taken_by_kue(queue, job, clock.ms)
    await queue.redis.hset(queue.keys.job(3), "workerId", "kue:there:2:email:7")
    await queue.redis.hset(queue.keys.job(4), "workerId", "kue:there:22:email:1")

    assert await queue.jobs.held_by("kue:there:2") == {2: "kue:there:2:email:1", 3: "kue:there:2:email:7"}
    assert await queue.jobs.take_back_from("kue:there:2:email:7") == 1
    assert await queue.jobs.take_back_from("kue:there:2") == 1

    states = await queue.jobs.states([1, 2, 3, 4, 5])
    assert states == [State.ACTIVE, State.INACTIVE, State.INACTIVE, State.ACTIVE, State.INACTIVE]


# repair


async def _popped_by_kue(queue: Queue) -> None:
    """B4: Kue takes the head out of its type's set, and dies before it says that the job is active."""
    await queue.redis.zrem(queue.keys.of_type("email", "inactive"), zid(1))
    await queue.redis.delete(queue.keys.tokens("email"))


async def _created_by_half(queue: Queue) -> None:
    """B1: Kue writes the hash and the list of all jobs, and dies before it gives the job a state."""
    await queue.redis.hdel(queue.keys.job(1), "state")
    await _popped_by_kue(queue)
    await queue.redis.zrem(queue.keys.in_state("inactive"), zid(1))


async def _listed_nowhere(queue: Queue) -> None:
    await _popped_by_kue(queue)
    await queue.redis.zrem(queue.keys.in_state("inactive"), zid(1))
    await queue.redis.zrem(queue.keys.jobs, zid(1))


async def _listed_everywhere(queue: Queue) -> None:
    """A stale object of Kue's moves the job into the state that it remembers, and nobody takes it out of the others."""
    for state in State:
        await queue.redis.zadd(queue.keys.in_state(state), {zid(1): 5})
        await queue.redis.zadd(queue.keys.of_type("email", state), {zid(1): 5})
    await queue.redis.zadd(queue.keys.ended("failed"), {zid(1): 5})


async def _failed_with_attempts_left(queue: Queue) -> None:
    """B9: Kue fails the run, counts it, and dies before it gives the job back."""
    await _listed_nowhere(queue)
    await queue.redis.zadd(queue.keys.jobs, {zid(1): 0})
    await queue.redis.hset(queue.keys.job(1), mapping={"state": "failed", "attempts": 1})
    await queue.redis.zadd(queue.keys.in_state("failed"), {zid(1): 0})
    await queue.redis.zadd(queue.keys.of_type("email", "failed"), {zid(1): 0})


HALVES = [_popped_by_kue, _created_by_half, _listed_nowhere, _listed_everywhere, _failed_with_attempts_left]


async def touched(queue: Queue, job_id: int = 1) -> str:
    """When a job was last written to, as it says itself: what a repair must be given."""
    return str(await queue.redis.hget(queue.keys.job(job_id), "updated_at") or "")


@pytest.mark.parametrize("halve", HALVES, ids=lambda halve: halve.__name__.strip("_"))
async def test_repair_makes_a_half_moved_job_wait_and_announces_it(
    queue: Queue, wire: Wire, halve: Callable[[Queue], Any]
) -> None:
    await queue.create("email", {"n": 1}, attempts=3)
    await halve(queue)
    await wire.take()

    assert await queue.lifecycle.repair({1: await touched(queue)}) == {1: "repaired"}

    found = await keyspace(queue)
    found["job:1"].pop("attempts", None)
    waiting = {"jobs:inactive": {"01|1": "0"}, "jobs:email:inactive": {"01|1": "0"}}
    assert len(found.pop("email:jobs")) >= 1
    assert found == CREATED | waiting | {"job:1": BORN | {"max_attempts": "3"}}
    assert await wire.take() == [event(1, "enqueue", "email")]
    assert (await a_lease(queue)).job.id == 1


@pytest.mark.parametrize("place", ["delayed", "taken", "kues", "complete", "failed"])
async def test_repair_lists_a_job_where_its_hash_says_that_it_is(queue: Queue, clock: Clock, place: str) -> None:
    await standing(queue, clock, place)
    whole = await keyspace(queue)
    if place == "taken":
        # For a lease that nobody knows the end of, its worker speaks up at once, or it is lost.
        whole["leases"] = {"01|1": str(clock.ms)}
    sets = [name for name in whole if name == "jobs" or name.startswith(("jobs:", "leases", "ended:"))]
    await queue.redis.zrem(queue.keys.jobs, zid(1))
    await queue.redis.delete(*(f"{queue.keys.prefix}:{name}" for name in sets))

    assert await queue.lifecycle.repair({1: await touched(queue)}) == {1: "repaired"}

    found = await keyspace(queue)
    for name in ("wake", "email:jobs"):
        whole.pop(name, None)
        found.pop(name, None)
    assert found == whole


async def test_a_delayed_job_whose_creation_was_cut_off_is_delayed_still(queue: Queue, clock: Clock) -> None:
    await standing(queue, clock, "delayed")
    whole = await keyspace(queue)
    await queue.redis.hdel(queue.keys.job(1), "state")
    await queue.redis.zrem(queue.keys.in_state("delayed"), zid(1))
    await queue.redis.zrem(queue.keys.of_type("email", "delayed"), zid(1))

    await queue.lifecycle.repair({1: await touched(queue)})

    assert await keyspace(queue) == whole


@pytest.mark.parametrize("halve", HALVES, ids=lambda halve: halve.__name__.strip("_"))
async def test_what_has_changed_since_it_was_first_seen_is_being_moved_and_left_alone(
    queue: Queue, wire: Wire, halve: Callable[[Queue], Any]
) -> None:
    await queue.create("email")
    await halve(queue)
    before, _ = await keyspace(queue), await wire.take()

    assert await queue.lifecycle.repair({1: str(T0 - 1)}) == {1: "moving"}

    assert await keyspace(queue) == before
    assert await wire.take() == []


@pytest.mark.parametrize("place", [place for place in STANDINGS if place != "absent"])
async def test_repair_of_a_whole_job_changes_nothing(queue: Queue, clock: Clock, wire: Wire, place: str) -> None:
    await standing(queue, clock, place, unique="key", attempts=3)
    before, _ = await keyspace(queue), await wire.take()

    assert await queue.lifecycle.repair({1: await touched(queue)}) == {1: "whole"}

    assert await keyspace(queue) == before
    assert await wire.take() == []


async def test_repair_takes_a_member_without_a_job_out_of_all_sets(queue: Queue) -> None:
    await queue.create("email")
    await queue.redis.delete(queue.keys.job(1), queue.keys.tokens("email"))
    await queue.redis.zrem(queue.keys.of_type("email", "inactive"), zid(1))
    await queue.redis.zadd(queue.keys.leases, {zid(1): T0})

    await queue.lifecycle.repair({1: ""})

    assert await keyspace(queue) == {"ids": "1", "job:types": {"email"}}


async def test_repair_of_one_does_not_disturb_the_others(queue: Queue) -> None:
    await queue.create_many([NewJob(type="email")] * 3)
    await _popped_by_kue(queue)
    seen = {job_id: await touched(queue, job_id) for job_id in (1, 2)} | {3: "long ago", 9: ""}

    replies = await queue.lifecycle.repair(seen)

    assert [replies[job_id] for job_id in (1, 2, 3)] == ["repaired", "whole", "moving"]
    assert (await queue.jobs.counts())[State.INACTIVE] == 3


# update


async def test_update_reschedules_from_now(queue: Queue, clock: Clock, wire: Wire) -> None:
    await standing(queue, clock, "delayed")
    clock.advance(seconds=10)

    state = await queue.update(1, data={"n": 2}, priority="high", delay=timedelta(seconds=5))

    assert state is State.DELAYED
    due = str(T0 + 15_000)
    changed = {
        "data": '{"n":2}', "priority": "-10", "delay": "5000", "promote_at": due, "state": "delayed",
        "updated_at": str(clock.ms),
    }  # fmt: skip
    assert await keyspace(queue) == CREATED | {
        "jobs": {"01|1": "-10"},
        "jobs:delayed": {"01|1": due},
        "jobs:email:delayed": {"01|1": "-10"},
        "job:1": BORN | changed,
        "wake": ["1"],
    }
    assert await wire.take() == []


async def test_update_with_no_time_at_all_runs_the_job_now(queue: Queue, clock: Clock, wire: Wire) -> None:
    await standing(queue, clock, "delayed")

    assert await queue.update(1, delay=timedelta(0)) is State.INACTIVE

    found = await keyspace(queue)
    assert (found["jobs:inactive"], found["email:jobs"]) == ({"01|1": "0"}, ["1"])
    assert "jobs:delayed" not in found
    assert await wire.take() == [event(1, "enqueue", "email")]


async def test_update_of_a_waiting_job_moves_it_in_the_queue_and_wakes_nobody(
    queue: Queue, clock: Clock, wire: Wire
) -> None:
    await standing(queue, clock, "inactive")
    await wire.take()

    assert await queue.update(1, priority=-1.5) is State.INACTIVE

    waiting = {"jobs:inactive": {"01|1": "-1.5"}, "jobs:email:inactive": {"01|1": "-1.5"}, "email:jobs": ["1"]}
    changed = {"jobs": {"01|1": "-1.5"}, "job:1": BORN | {"priority": "-1.5"}}
    assert await keyspace(queue) == CREATED | waiting | changed
    assert await wire.take() == []


async def test_update_to_an_instant_puts_a_waiting_job_off(queue: Queue, clock: Clock) -> None:
    await standing(queue, clock, "inactive")

    assert await queue.update(1, delay=clock.now + timedelta(seconds=5)) is State.DELAYED

    found = await keyspace(queue)
    assert found["jobs:delayed"] == {"01|1": str(T0 + 5000)}
    assert "jobs:inactive" not in found


async def test_update_changes_the_terms_that_are_given_and_no_others(queue: Queue) -> None:
    asked = {"ttl": timedelta(seconds=5), "backoff": Backoff.same(), "remove_on_complete": True}
    await queue.create("email", attempts=3, **asked)
    before = await queue.redis.hgetall(queue.keys.job(1))

    await queue.update(1, ttl=timedelta(seconds=9), backoff=Backoff.named("mine"))
    named = await queue.redis.hgetall(queue.keys.job(1))
    await queue.update(1, backoff=Backoff.fixed(timedelta(seconds=1)), remove_on_complete=False)
    fixed = await queue.redis.hgetall(queue.keys.job(1))

    assert named == without(before, "backoff") | {"ttl": "9000", "strategy": "mine"}
    assert fixed == without(named, "strategy", "removeOnComplete") | {"backoff": '{"type":"fixed","delay":1000}'}


@pytest.mark.parametrize("terms", [{"ttl": timedelta(0)}, {"ttl": 5}, {"backoff": None, "ttl": timedelta.max}])
async def test_terms_that_no_job_could_have_change_nothing(queue: Queue, terms: dict[str, Any]) -> None:
    await queue.create("email")
    before = await keyspace(queue)

    with pytest.raises(InvalidJob, match="ttl"):
        await queue.update(1, priority=5, **terms)

    assert await keyspace(queue) == before


async def test_update_does_not_give_back_what_a_kue_worker_is_about_to_take(queue: Queue, clock: Clock) -> None:
    await standing(queue, clock, "inactive")
    # Kue pops the member of the type first, and says that the job is active in a second step.
    await queue.redis.zremrangebyrank(queue.keys.of_type("email", "inactive"), 0, 0)

    await queue.update(1, priority="high")

    assert "jobs:email:inactive" not in await keyspace(queue)


# cancel


@pytest.mark.parametrize("place", ["delayed", "inactive"])
async def test_a_job_that_waits_and_is_cancelled_never_runs(queue: Queue, clock: Clock, wire: Wire, place: str) -> None:
    await standing(queue, clock, place, unique="key", attempts=3)
    clock.advance(ms=10)
    await wire.take()

    assert await queue.cancel(1) is State.FAILED

    found = await keyspace(queue)
    now = str(clock.ms)
    ended = {"state": "failed", "error": "Cancelled", "failed_at": now, "updated_at": now, "max_attempts": "3"}
    found["job:1"] = without(found["job:1"], "delay", "promote_at", "unique")
    assert found["job:1"] == without(BORN, "promote_at") | ended
    assert (found["jobs:failed"], found["jobs:email:failed"]) == ({"01|1": "0"}, {"01|1": "0"})
    assert found["ended:failed"] == {"01|1": now}
    assert not found.keys() & {"unique", "jobs:delayed", "jobs:inactive", "jobs:email:delayed", "jobs:email:inactive"}
    assert await wire.take() == [event(1, "failed", "Cancelled", None)]
    clock.advance(seconds=9999)
    assert (await queue.lifecycle.claim({"email": 1}, token="t", lease=LEASE, worker="w")).leases == []


async def test_a_waiting_job_that_leaves_nothing_when_it_fails_leaves_nothing_when_it_is_cancelled(
    queue: Queue, wire: Wire
) -> None:
    await queue.create("email", remove_on_failure=True, unique="key")
    await wire.take()

    assert await queue.cancel(1) is State.FAILED

    assert (await keyspace(queue)).keys() <= {"ids", "job:types", "email:jobs"}
    assert await wire.take() == [event(1, "failed", "Cancelled", None), event(1, "remove", "email")]


async def _cancelled_while_it_runs(queue: Queue, **asked: Any) -> Lease:
    await queue.create("email", {"n": 1}, attempts=5, **asked)
    lease = await a_lease(queue, token="worker1.7")
    assert await queue.cancel(1) is State.ACTIVE
    return lease


async def test_a_job_that_runs_stays_as_it_is_and_its_worker_is_told(queue: Queue, wire: Wire) -> None:
    await queue.create("email", {"n": 1})
    await a_lease(queue, token="worker1.7")
    before, _ = await keyspace(queue), await wire.take()

    assert await queue.cancel(1) is State.ACTIVE

    found = await keyspace(queue)
    assert found.pop("bell:worker1") == ["1"]
    assert found["job:1"].pop("cancelled") == str(T0)
    assert found == before
    assert await wire.take() == []


async def test_a_cancelled_run_is_prolonged_still_and_told_so_each_time(queue: Queue, clock: Clock) -> None:
    lease = await _cancelled_while_it_runs(queue)
    clock.advance(seconds=30)

    assert await queue.lifecycle.renew([lease], LEASE) == ["cancelled"]

    assert (await keyspace(queue))["leases"] == {"01|1": str(clock.ms + 60_000)}


@pytest.mark.parametrize("wait_ms", [None, 0, 5000])
async def test_a_cancelled_run_that_fails_has_failed_for_good(queue: Queue, wait_ms: int | None) -> None:
    lease = await _cancelled_while_it_runs(queue)

    assert await queue.lifecycle.fail(lease, "no", wait_ms=wait_ms) is State.FAILED


@pytest.mark.parametrize("wait", [timedelta(0), timedelta(seconds=5)])
async def test_a_cancelled_run_that_is_given_back_has_failed(queue: Queue, wire: Wire, wait: timedelta) -> None:
    lease = await _cancelled_while_it_runs(queue)
    await wire.take()

    assert await queue.lifecycle.release(lease, wait) is State.FAILED

    assert await wire.take() == [event(1, "error", "Cancelled"), event(1, "failed", "Cancelled", None)]


async def test_a_cancelled_run_whose_worker_is_gone_has_failed(queue: Queue, clock: Clock) -> None:
    await _cancelled_while_it_runs(queue)
    clock.advance(seconds=60)

    assert (await queue.lifecycle.rescue()).jobs == {1: State.FAILED}


async def test_a_cancelled_run_that_outlives_its_ttl_has_failed(queue: Queue, clock: Clock) -> None:
    await _cancelled_while_it_runs(queue, ttl=timedelta(seconds=9))
    clock.advance(seconds=9)
    [job] = await queue.lifecycle.expired(clock.ms)

    assert await queue.lifecycle.expire(job) is State.FAILED


async def test_a_run_that_was_complete_before_it_heard_of_its_cancelling_is_complete(queue: Queue) -> None:
    lease = await _cancelled_while_it_runs(queue)

    await queue.lifecycle.complete(lease, "sent")

    job = await queue.get(1)
    assert job is not None
    assert (job.state, job.result, job.cancelled_at) == (State.COMPLETE, "sent", None)


async def test_a_cancelled_job_that_is_retried_runs_like_any_other(queue: Queue) -> None:
    lease = await _cancelled_while_it_runs(queue)
    await queue.lifecycle.fail(lease, "Cancelled", wait_ms=None)
    await queue.retry(1)

    again = await a_lease(queue, token="worker1.8")

    assert again.job.cancelled_at is None
    assert await queue.lifecycle.fail(again, "no", wait_ms=0) is State.INACTIVE


# retry


@pytest.mark.parametrize("place", ["failed", "complete"])
async def test_retry_makes_an_ended_job_wait_again(queue: Queue, clock: Clock, wire: Wire, place: str) -> None:
    await standing(queue, clock, place, unique="key")
    await wire.take()

    assert await queue.retry(1) is State.INACTIVE

    found = await keyspace(queue)
    assert (found["jobs:inactive"], found["email:jobs"]) == ({"01|1": "0"}, ["1"])
    assert f"jobs:{place}" not in found
    assert found["job:1"]["attempts"] == "1", "its count goes on"
    assert found["unique"] == {"key": "1"}
    assert await wire.take() == [event(1, "enqueue", "email")]


async def test_retry_is_refused_while_another_living_job_holds_the_key(queue: Queue, clock: Clock) -> None:
    await standing(queue, clock, "failed", unique="key")
    await queue.create("email", unique="key")
    before = await keyspace(queue)

    with pytest.raises(JobExists) as refusal:
        await queue.retry(1)

    assert (refusal.value.job_id, refusal.value.holder) == (1, 2)
    assert await keyspace(queue) == before


async def test_a_retried_job_may_lose_as_many_workers_as_a_new_one(queue: Queue, clock: Clock) -> None:
    await queue.create("email", attempts=9)
    for _ in range(3):
        await a_lease(queue)
        clock.advance(seconds=60)
        await queue.lifecycle.rescue()
    await queue.retry(1)
    await a_lease(queue)
    clock.advance(seconds=60)

    rescued = await queue.lifecycle.rescue()

    assert rescued.jobs == {1: State.INACTIVE}


# remove


@pytest.mark.parametrize("place", ["delayed", "inactive", "kues", "complete", "failed"])
async def test_remove_leaves_nothing_behind(queue: Queue, clock: Clock, wire: Wire, place: str) -> None:
    await standing(queue, clock, place, unique="key")
    await queue.redis.rpush(queue.keys.log(1), "line")
    await wire.take()

    await queue.remove(1)

    left = {"ids", "job:types", "stats:work-time", "email:jobs", "wake"}
    assert (await keyspace(queue)).keys() <= left
    assert await wire.take() == [event(1, "remove", "email")]


async def test_remove_clears_up_after_a_hand_that_left_a_job_in_several_states(queue: Queue, clock: Clock) -> None:
    await standing(queue, clock, "inactive")
    for state in State:
        await queue.redis.zadd(queue.keys.in_state(state), {zid(1): 0})
        await queue.redis.zadd(queue.keys.of_type("email", state), {zid(1): 0})

    await queue.remove(1)

    assert (await keyspace(queue)).keys() == {"ids", "job:types", "email:jobs"}


# cancel, retry and remove, of many


@pytest.mark.parametrize(
    ("verb", "fits", "ends"),
    [
        ("cancel", {"delayed", "inactive", "ours"}, {"delayed": "failed", "inactive": "failed", "ours": "active"}),
        ("retry", {"complete", "failed"}, {"complete": "inactive", "failed": "inactive"}),
        ("remove", {"delayed", "inactive", "complete", "failed"}, dict.fromkeys(STANDINGS)),
    ],
)
async def test_one_verb_is_for_those_of_many_that_it_fits(
    queue: Queue, clock: Clock, verb: Any, fits: set[str], ends: dict[str, str | None]
) -> None:
    # Those that are brought to an end are taken from a queue in which nobody else waits.
    places = ["complete", "failed", "ours", "delayed", "inactive"]
    for place in places[:2]:
        await standing(queue, clock, place)
    await queue.create("email")
    await a_lease(queue, token="worker1.1")
    for place in places[3:]:
        await standing(queue, clock, place)
    before = dict(zip(places, await queue.jobs.states([1, 2, 3, 4, 5]), strict=True))

    done = await queue.lifecycle.many(verb, [1, 2, 3, 4, 5, 99])

    assert done == len(fits)
    after = dict(zip(places, await queue.jobs.states([1, 2, 3, 4, 5]), strict=True))
    assert after == before | {place: ends[place] for place in fits}


@pytest.mark.parametrize("verb", ["cancel", "retry", "remove"])
async def test_many_in_one_state_are_asked_for_and_none_in_another(queue: Queue, clock: Clock, verb: Any) -> None:
    await standing(queue, clock, "complete")
    await standing(queue, clock, "failed")
    await standing(queue, clock, "delayed")
    await standing(queue, clock, "inactive")
    wanted = {"cancel": State.DELAYED, "retry": State.COMPLETE, "remove": State.INACTIVE}[verb]

    assert await queue.lifecycle.many(verb, [1, 2, 3, 4], wanted) == 1

    before = [State.COMPLETE, State.FAILED, State.DELAYED, State.INACTIVE]
    states = await queue.jobs.states([1, 2, 3, 4])
    assert [was for was, now in zip(before, states, strict=True) if was is not now] == [wanted]


@pytest.mark.parametrize("verb", ["cancel", "retry", "remove"])
async def test_a_job_that_is_named_twice_counts_once(queue: Queue, clock: Clock, wire: Wire, verb: Any) -> None:
    await standing(queue, clock, "failed" if verb == "retry" else "inactive")
    await wire.take()

    assert await queue.lifecycle.many(verb, [1, 1, 1]) == 1

    assert len(await wire.take()) == 1


async def test_of_many_with_one_key_only_the_first_runs_again(queue: Queue) -> None:
    for _ in range(3):
        await queue.create("email", unique="key")
        await queue.lifecycle.fail(await a_lease(queue), "no", wait_ms=None)

    assert await queue.lifecycle.many("retry", [1, 2, 3]) == 1

    assert await queue.jobs.states([1, 2, 3]) == [State.INACTIVE, State.FAILED, State.FAILED]
    assert await queue.jobs.find(["key"]) == [1]


# prune


async def ended_one_after_the_other(
    queue: Queue, clock: Clock, number: int, *, failed: bool = False, **asked: Any
) -> None:
    """So many jobs that have ended, a second apart."""
    for n in range(number):
        await queue.create("email", {"n": n}, **asked)
        lease = await a_lease(queue, token=f"t.{n}")
        await (queue.lifecycle.fail(lease, "no", wait_ms=None) if failed else queue.lifecycle.complete(lease, {"n": n}))
        clock.advance(seconds=1)


@pytest.mark.parametrize("state", [State.COMPLETE, State.FAILED])
@pytest.mark.parametrize("kept", [Kept(count=2), Kept(age=timedelta(seconds=2))], ids=["count", "age"])
async def test_what_is_beyond_the_count_or_the_age_is_removed_oldest_end_first(
    queue: Queue, clock: Clock, wire: Wire, state: Any, kept: Kept
) -> None:
    # The last one was the first to be created.
    late = await queue.create("email", delay=timedelta(seconds=4))
    await ended_one_after_the_other(queue, clock, 4, failed=state is State.FAILED)
    await _end_as(state, queue, await a_lease(queue))
    clock.advance(ms=999)
    await queue.steering.retain(state, kept)
    await wire.take()

    assert await queue.lifecycle.prune() == 3

    left = {late.id, 5}
    assert set(await queue.jobs.ids(state)) == left
    assert await wire.take() == [event(job_id, "remove", "email") for job_id in (2, 3, 4)]
    assert await queue.lifecycle.prune() == 0


async def _end_as(state: State, queue: Queue, lease: Lease) -> None:
    if state is State.COMPLETE:
        await queue.lifecycle.complete(lease)
    else:
        await queue.lifecycle.fail(lease, "no", wait_ms=None)


async def test_a_pruned_job_leaves_nothing_behind(valkey: Valkey, prefix: str, clock: Clock) -> None:
    async with Queue.open(valkey.url, prefix=prefix, clock=clock, search=("title",)) as queue:
        await queue.create("email", {"title": "one two"}, unique="key")
        lease = await a_lease(queue)
        await queue.lifecycle.log(lease, "line")
        await queue.lifecycle.complete(lease)
        await queue.steering.retain(State.COMPLETE, Kept(count=0))

        assert await queue.lifecycle.prune() == 1

        assert (await keyspace(queue)).keys() == {"ids", "job:types", "stats:work-time", "retention"}


@pytest.mark.parametrize("failed", [False, True], ids=["complete", "failed"])
async def test_retention_is_held_as_jobs_end(queue: Queue, clock: Clock, failed: bool) -> None:
    await queue.steering.retain(State.COMPLETE, Kept(count=3))
    await queue.steering.retain(State.FAILED, Kept(count=3))

    await ended_one_after_the_other(queue, clock, 10, failed=failed)

    assert await queue.jobs.ids(State.FAILED if failed else State.COMPLETE) == [8, 9, 10]


async def test_a_backlog_is_pruned_faster_than_it_grows(queue: Queue, clock: Clock) -> None:
    await ended_one_after_the_other(queue, clock, 10)
    await queue.steering.retain(State.COMPLETE, Kept(count=2))

    await ended_one_after_the_other(queue, clock, 8)

    assert len(await queue.jobs.ids(State.COMPLETE)) == 2


async def test_an_ending_that_is_refused_prunes_nothing(queue: Queue, clock: Clock) -> None:
    await ended_one_after_the_other(queue, clock, 3)
    await queue.create("email")
    lease = await a_lease(queue)
    await queue.lifecycle.release(lease)
    await queue.steering.retain(State.COMPLETE, Kept(count=0))
    await queue.steering.retain(State.FAILED, Kept(count=0))

    for end in (queue.lifecycle.complete(lease), queue.lifecycle.fail(lease, "no", wait_ms=None)):
        with pytest.raises(LeaseLost):
            await end

    assert await queue.jobs.ids(State.COMPLETE) == [1, 2, 3]


async def test_living_jobs_are_never_pruned(queue: Queue, clock: Clock) -> None:
    await ended_one_after_the_other(queue, clock, 1)
    await queue.retry(1)
    for place in ("delayed", "inactive"):
        await standing(queue, clock, place)
    for state in (State.COMPLETE, State.FAILED):
        await queue.steering.retain(state, Kept(count=0, age=timedelta(milliseconds=1)))
    clock.advance(seconds=9999)

    assert await queue.lifecycle.prune() == 0

    assert (await queue.jobs.counts())[State.INACTIVE] == 2


async def test_the_outcome_of_a_pruned_job_can_be_asked_for_as_long_as_it_is_kept(queue: Queue, clock: Clock) -> None:
    kept = {"keep_outcome": timedelta(minutes=5)}
    await ended_one_after_the_other(queue, clock, 1, **kept)
    await ended_one_after_the_other(queue, clock, 1, failed=True, **kept)
    for state in (State.COMPLETE, State.FAILED):
        await queue.steering.retain(state, Kept(count=0))

    assert await queue.lifecycle.prune() == 2

    assert await queue.result(1) == {"n": 0}
    with pytest.raises(JobFailed) as failure:
        await queue.result(2)
    assert failure.value.error == "no"


async def test_junk_among_the_ended_stops_no_pruning(queue: Queue, clock: Clock) -> None:
    await ended_one_after_the_other(queue, clock, 3)
    await queue.redis.delete(queue.keys.job(2))
    await queue.redis.zadd(queue.keys.ended("complete"), {"junk": 0, "02|99": 1})
    await queue.steering.retain(State.COMPLETE, Kept(count=1))

    await queue.lifecycle.prune()

    assert (await keyspace(queue))["ended:complete"].keys() == {"01|3"}
    assert await queue.jobs.ids(State.COMPLETE) == [3]


@pytest.mark.parametrize("text", ["", "junk", "5", "-1 -1", " ", "1e3 "])
async def test_a_retention_that_nobody_can_read_keeps_everything(queue: Queue, clock: Clock, text: str) -> None:
    await ended_one_after_the_other(queue, clock, 2)
    await queue.redis.hset(queue.keys.retention, "complete", text)

    assert await queue.lifecycle.prune() == 0


# What the table does not allow

STARTS: dict[str, set[str]] = {
    "create": {"absent", "complete", "failed"},
    "recur": set(),
    "promote": {"delayed"},
    "claim": {"inactive"},
    "renew": {"active"},
    "progress": {"active"},
    "log": {"active"},
    "complete": {"active"},
    "fail": {"active"},
    "expire": {"active"},
    "release": {"active"},
    "rescue": {"active"},
    "take_back": {"kues"},
    "repair": set(),
    "update": {"delayed", "inactive"},
    "cancel": {"delayed", "inactive", "taken"},
    "retry": {"failed", "complete"},
    "remove": {"delayed", "inactive", "kues", "complete", "failed"},
    "prune": {"complete", "failed"},
}
# `taken` is active too, but not ours. Nothing is due, lapsed or over its ttl: the clock stands still.
# Nothing is kept in vain: without a retention, prune has nothing to do; a ghost's strikes are repair's own test.
FORBIDDEN = [(place, verb) for verb in VERBS for place in STANDINGS if place not in STARTS[verb]]


ASKED_BY_PEOPLE = ("take_back", "update", "cancel", "retry", "remove")


async def _say(queue: Queue, verb: str, lease: Lease) -> Any:
    """Say a verb to a job that it may not fit. Nothing at all is answered where there was nothing to do, and no refusal."""
    if verb in ASKED_BY_PEOPLE:
        change = {"priority": 1} if verb == "update" else {}
        return await getattr(queue, verb)(lease.job.id, **change)
    said = SAID_OF_A_RUN if verb in SAID_OF_A_RUN else SAID_OF_ALL
    return await said[verb](queue, lease)


async def _is_made(queue: Queue, lease: Lease) -> bool:
    _, made = await queue.lifecycle.create(NewJob(type="email", unique="key"))
    return made


async def _is_claimed(queue: Queue, lease: Lease) -> bool:
    claimed = await queue.lifecycle.claim({"email": 9}, token="new", lease=LEASE, worker="w")
    return bool(claimed.leases)


async def _is_renewed(queue: Queue, lease: Lease) -> bool:
    return await queue.lifecycle.renew([lease], LEASE) == ["ok"]


async def _is_rescued(queue: Queue, lease: Lease) -> bool:
    return bool((await queue.lifecycle.rescue()).jobs)


async def _is_made_by_a_schedule(queue: Queue, lease: Lease) -> bool:
    """There is no such schedule, or it is past this instant."""
    return await queue.lifecycle.recur("daily", "{}", T0, None, NewJob(type="email")) is not None


async def _is_repaired(queue: Queue, lease: Lease) -> bool:
    updated_at = await queue.redis.hget(queue.keys.job(lease.job.id), "updated_at")
    replies = await queue.lifecycle.repair({lease.job.id: updated_at or ""})
    return "repaired" in replies.values() and bool(updated_at)


Saying = Callable[[Queue, Lease], Awaitable[Any]]
SAID_OF_ALL: dict[str, Saying] = {
    "create": _is_made,
    "promote": lambda queue, lease: queue.lifecycle.promote(),
    "claim": _is_claimed,
    "renew": _is_renewed,
    "rescue": _is_rescued,
    "recur": _is_made_by_a_schedule,
    "repair": _is_repaired,
    "prune": lambda queue, lease: queue.lifecycle.prune(),
}
SAID_OF_A_RUN: dict[str, Saying] = {
    "progress": lambda queue, lease: queue.lifecycle.progress(lease, 50),
    "log": lambda queue, lease: queue.lifecycle.log(lease, "line"),
    "complete": lambda queue, lease: queue.lifecycle.complete(lease),
    "fail": lambda queue, lease: queue.lifecycle.fail(lease, "no", wait_ms=0),
    "release": lambda queue, lease: queue.lifecycle.release(lease),
    "expire": lambda queue, lease: queue.lifecycle.expire(lease.job),
}


def _refusal(verb: str, place: str) -> type[Refused] | None:
    if verb in SAID_OF_ALL:
        return None
    if place == "absent":
        return JobNotFound
    if verb in ASKED_BY_PEOPLE:
        return WrongState
    return LeaseLost if verb != "expire" else None


@pytest.mark.parametrize(("place", "verb"), FORBIDDEN)
async def test_a_verb_that_does_not_fit_is_refused_and_changes_nothing(
    queue: Queue, clock: Clock, wire: Wire, place: str, verb: str
) -> None:
    lease = await standing(queue, clock, place, unique="key", attempts=3)
    before, _ = await keyspace(queue), await wire.take()

    answer: Any = (await asyncio.gather(_say(queue, verb, lease), return_exceptions=True))[0]

    expected = _refusal(verb, place)
    if expected is None:
        assert not answer
    else:
        assert type(answer) is expected
        assert answer.job_id == lease.job.id
    assert await keyspace(queue) == before
    assert await wire.take() == []


@pytest.mark.parametrize("verb", ["progress", "log", "complete", "fail", "release", "expire"])
async def test_in_a_batch_a_refused_ending_does_not_disturb_its_neighbours(
    queue: Queue, clock: Clock, verb: str
) -> None:
    await queue.create_many([NewJob(type="email", ttl=timedelta(seconds=1))] * 4)
    leases = [await a_lease(queue, token=f"token {n}") for n in range(4)]
    await queue.lifecycle.complete(leases[1])
    await queue.lifecycle.release(leases[3])
    await queue.remove(4)
    clock.advance(seconds=2)

    answers = await asyncio.gather(*(_say(queue, verb, lease) for lease in leases), return_exceptions=True)

    lost = False if verb == "expire" else LeaseLost
    kinds = [type(answer) if isinstance(answer, Exception) else False for answer in answers]
    assert kinds == [False, lost, False, JobNotFound]


@pytest.mark.parametrize("verb", ["complete", "fail", "release"])
async def test_an_ending_said_twice_is_refused_the_second_time(queue: Queue, verb: str) -> None:
    lease = await standing_active(queue, attempts=3)
    await _say(queue, verb, lease)
    before = await keyspace(queue)

    with pytest.raises(LeaseLost):
        await _say(queue, verb, lease)

    assert await keyspace(queue) == before


async def test_more_endings_than_one_script_takes_are_all_heard(queue: Queue) -> None:
    await queue.create_many([NewJob(type="email")] * 1100)
    claimed = await queue.lifecycle.claim({"email": 1100}, token="t", lease=LEASE, worker="w")

    await asyncio.gather(*(queue.lifecycle.complete(lease, {"ok": True}) for lease in claimed.leases))

    assert (await queue.jobs.counts())[State.COMPLETE] == 1100


# A full Redis


async def test_a_full_redis_lets_running_jobs_go_on_and_end(own_valkey: Valkey) -> None:
    async with Queue.open(own_valkey.url) as queue:
        await queue.create_many([NewJob(type="email", attempts=3, ttl=timedelta(hours=1))] * 6)
        claimed = await queue.lifecycle.claim({"email": 5}, token="t", lease=LEASE, worker="w")
        completed, failed, put_off, released, going_on = claimed.leases
        await queue.redis.config_set("maxmemory", 1)

        assert await queue.lifecycle.renew(claimed.leases, LEASE) == ["ok"] * 5
        await queue.lifecycle.progress(going_on, 50)
        await queue.lifecycle.log(going_on, "still here")
        await queue.lifecycle.complete(completed, {"ok": True})
        await queue.lifecycle.fail(failed, "no", wait_ms=None)
        await queue.lifecycle.fail(put_off, "not yet", wait_ms=1000)
        await queue.lifecycle.release(released)
        await queue.retry(failed.job.id)
        await queue.remove(failed.job.id)
        taken = await queue.lifecycle.claim({"email": 1}, token="u", lease=LEASE, worker="w")

        assert len(taken.leases) == 1
        assert await queue.jobs.counts() == {"delayed": 1, "inactive": 1, "active": 2, "complete": 1, "failed": 0}


async def test_a_full_redis_refuses_new_jobs_and_nothing_of_them_is_written(own_valkey: Valkey) -> None:
    async with Queue.open(own_valkey.url) as queue:
        await queue.create("email")
        await queue.redis.config_set("maxmemory", 1)
        before = await keyspace(queue)

        with pytest.raises(QueueUnavailable):
            await queue.create("email", unique="key")

        assert await keyspace(queue) == before


# What somebody else has written


@pytest.fixture
async def redis(valkey: Valkey) -> Any:
    """A hand that knows no manners."""
    async with Redis.from_url(valkey.direct, decode_responses=True) as redis:
        yield redis


async def _junk_instead_of_a_hash(redis: Redis, queue: Queue) -> None:
    await redis.delete(queue.keys.job(1))
    await redis.set(queue.keys.job(1), "junk")


async def _a_fragment(redis: Redis, queue: Queue) -> None:
    await redis.delete(queue.keys.job(1))
    await redis.hset(queue.keys.job(1), "updated_at", "1")


async def _a_ghost(redis: Redis, queue: Queue) -> None:
    await redis.delete(queue.keys.job(1))


def _with(**fields: Any) -> Callable[[Redis, Queue], Any]:
    async def spoil(redis: Redis, queue: Queue) -> None:
        await redis.hset(queue.keys.job(1), mapping=dict[Any, Any](fields))

    spoil.__name__ = f"with_{fields}"
    return spoil


def _no(field: str) -> Callable[[Redis, Queue], Any]:
    async def spoil(redis: Redis, queue: Queue) -> None:
        await redis.hdel(queue.keys.job(1), field)

    spoil.__name__ = f"without_{field}"
    return spoil


def _listed_as(member: str) -> Callable[[Redis, Queue], Any]:
    async def spoil(redis: Redis, queue: Queue) -> None:
        keys = queue.keys
        await redis.rename(keys.job(1), f"{keys.prefix}:job:{member.partition('|')[2] or member}")
        sets = [keys.in_state(state) for state in State] + [keys.of_type("email", state) for state in State]
        for name in [keys.jobs, keys.leases, *sets]:
            if (score := await redis.zscore(name, "01|1")) is not None:
                await redis.zrem(name, "01|1")
                await redis.zadd(name, {member: score})

    spoil.__name__ = f"listed_as_{member}"
    return spoil


SPOILS = [
    _junk_instead_of_a_hash,
    _a_fragment,
    _a_ghost,
    *map(_no, ("type", "state", "priority", "data", "created_at")),
    *(_with(priority=text) for text in ("", "urgent", "nan", "inf", "0x10", " 5", "1e400")),
    *(_with(data=text) for text in ("", "{", "undefined", "[" * 100_000, "9" * 5000)),
    *(_with(created_at=text) for text in ("", "soon", "1e30", "-9e15", "inf", "nan")),
    *(_with(ttl=text) for text in ("abc", "nan", "inf", "1e300", "-5")),
    *(_with(promote_at=text) for text in ("abc", "nan", "1e30")),
    _with(max_attempts="many", attempts="few"),
    _with(attempts="1e300", losses="nan", started_at="-inf", delay="nan"),
    _with(state="paused"),
    *map(_listed_as, ("junk", "03|abc", "03|007", "02|-1", "01|", "04|1e30", "20|" + "9" * 30)),
]


@pytest.mark.parametrize("spoil", SPOILS, ids=lambda spoil: spoil.__name__.strip("_")[:60])
@pytest.mark.parametrize("place", ["delayed", "inactive", "active"])
async def test_junk_is_set_aside_or_skipped_once_and_disturbs_nobody(
    queue: Queue, clock: Clock, redis: Redis, place: str, spoil: Callable[[Redis, Queue], Any]
) -> None:
    await standing(queue, clock, place if place != "active" else "inactive", attempts=3)
    if place == "active":
        await a_lease(queue)
    await spoil(redis, queue)
    neighbour = await queue.create("email", {"n": 2}, priority="low")

    seen = []
    for _ in range(4):
        clock.advance(seconds=3601)
        await queue.lifecycle.rescue()
        claimed = await queue.lifecycle.claim({"email": 9}, token="t", lease=LEASE, worker="w")
        for lease in claimed.leases:
            seen.append(lease.job.id)
            await queue.lifecycle.complete(lease)

    assert seen.count(neighbour.id) == 1
    assert seen.count(1) <= 1
    counts = await queue.jobs.counts()
    assert (counts[State.DELAYED], counts[State.INACTIVE], counts[State.ACTIVE]) == (0, 0, 0)
    assert (await keyspace(queue)).get("leases") is None
    again = await queue.lifecycle.claim({"email": 9}, token="t", lease=LEASE, worker="w")
    assert (again.leases, again.next_due_in) == ([], None)


async def test_what_cannot_be_read_ends_failed_where_a_person_can_see_why(queue: Queue, redis: Redis) -> None:
    await queue.create("email")
    await redis.hdel(queue.keys.job(1), "priority", "state", "data")

    await queue.lifecycle.claim({"email": 1}, token="t", lease=LEASE, worker="w")

    job = await queue.get(1)
    assert job is not None
    assert (job.state, job.error) == (State.FAILED, "unreadable: a job needs type, state and priority")


async def test_data_that_is_no_json_ends_failed_with_the_reason(queue: Queue, redis: Redis, wire: Wire) -> None:
    await queue.create("email", attempts=9)
    await redis.hset(queue.keys.job(1), "data", "{")
    await wire.take()

    claimed = await queue.lifecycle.claim({"email": 1}, token="t", lease=LEASE, worker="w")

    assert claimed.leases == []
    assert (await keyspace(queue))["job:1"]["state"] == "failed"
    [_, error, failed] = await wire.take()
    assert error.startswith('{"id":1,"event":"error","args":["error","job 1 cannot be read:')
    assert failed.startswith('{"id":1,"event":"failed"')


async def test_a_job_listed_under_another_type_goes_to_those_who_work_its_own(queue: Queue, redis: Redis) -> None:
    await queue.create("letter")
    await redis.rename(queue.keys.of_type("letter", "inactive"), queue.keys.of_type("email", "inactive"))

    claimed = await queue.lifecycle.claim({"email": 1}, token="t", lease=LEASE, worker="w")

    assert claimed.leases == []
    assert (await a_lease(queue, type="letter")).job.type == "letter"


@pytest.mark.parametrize("score", ["inf", "1e300", str(2**60)])
async def test_an_instant_beyond_all_dates_does_not_stop_the_claim(queue: Queue, redis: Redis, score: str) -> None:
    await queue.create("email", delay=timedelta(seconds=1))
    await queue.create("email")
    await redis.zadd(queue.keys.in_state("delayed"), {"01|1": float(score)})
    await redis.zadd(queue.keys.leases, {"01|9": float(score)})

    claimed = await queue.lifecycle.claim({"email": 1}, token="t", lease=LEASE, worker="w")
    rescued = await queue.lifecycle.rescue()

    assert [lease.job.id for lease in claimed.leases] == [2]
    assert claimed.next_due_in is None or claimed.next_due_in > timedelta(days=365)
    assert rescued.next_end_in is not None


@pytest.mark.parametrize("spoil", [_junk_instead_of_a_hash, _a_fragment, _a_ghost, _no("type"), _no("priority")])
async def test_junk_can_be_removed(queue: Queue, redis: Redis, spoil: Callable[[Redis, Queue], Any]) -> None:
    await queue.create("email")
    await spoil(redis, queue)

    await queue.remove(1)

    found = await keyspace(queue)
    assert "job:1" not in found
    assert "jobs" not in found
    with pytest.raises(JobNotFound):
        await queue.remove(1)


@pytest.mark.parametrize("name", ["stats:work-time", "job:1:log"])
async def test_what_only_tells_of_a_job_cannot_stop_its_ending(queue: Queue, redis: Redis, name: str) -> None:
    await queue.create_many([NewJob(type="email", attempts=2)] * 3)
    claimed = await queue.lifecycle.claim({"email": 3}, token="t", lease=LEASE, worker="w")
    await redis.delete(f"{queue.keys.prefix}:{name}")
    await redis.hset(f"{queue.keys.prefix}:{name}", "junk", "junk")
    first, second, third = claimed.leases

    await queue.lifecycle.fail(first, "no", wait_ms=None)
    await asyncio.gather(queue.lifecycle.complete(second), queue.lifecycle.complete(third))

    counts = await queue.jobs.counts()
    assert (counts[State.FAILED], counts[State.COMPLETE], counts[State.ACTIVE]) == (1, 2, 0)


@pytest.mark.parametrize("name", ["email:jobs", "email:wake", "email:starts", "wake", "history:minute:29924146"])
async def test_what_only_hints_can_be_anything_and_jobs_go_their_way(
    queue: Queue, redis: Redis, clock: Clock, name: str
) -> None:
    await queue.steering.limit("email", Limit(rate=5, per=timedelta(seconds=1), concurrency=2))
    await redis.delete(f"{queue.keys.prefix}:{name}")
    await redis.hset(f"{queue.keys.prefix}:{name}", "junk", "junk")

    await queue.create("email", attempts=2)
    await queue.create("email", delay=timedelta(seconds=1))
    await queue.lifecycle.fail(await a_lease(queue), "no", wait_ms=0)
    clock.advance(seconds=1)
    for _ in range(2):
        await queue.lifecycle.complete(await a_lease(queue))

    assert (await queue.jobs.counts())[State.COMPLETE] == 2


async def test_what_stands_under_the_id_of_a_job_but_is_none_is_unreadable(queue: Queue, redis: Redis) -> None:
    await redis.set(queue.keys.job(1), "junk")
    await redis.hset(queue.keys.job(2), "updated_at", "1")

    for job_id in (1, 2):
        with pytest.raises(UnreadableJob):
            await queue.get(job_id)
    assert await queue.jobs.states([1, 2, 3]) == [None, None, None]


async def standing_active(queue: Queue, **asked: Any) -> Lease:
    """A new job in our hands."""
    await queue.create("email", {"n": 1}, **asked)
    return await a_lease(queue)


def without(fields: dict[str, str], *names: str) -> dict[str, str]:
    return {name: text for name, text in fields.items() if name not in names}


def test_the_walk_knows_every_verb_and_every_state() -> None:
    assert STARTS.keys() == set(VERBS)
    assert set().union(*STARTS.values()) >= set(State)
