"""What we create, a Kue worker works, and does with it what it says; what it leaves behind, we read."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from rmindr.queue import PRIORITIES, Backoff, Queue, State
from rmindr.queue.audit import read
from rmindr.queue.job import to_ms
from tests.conftest import Clock
from tests.kue.original import PATIENCE_S, Hand, Kue, wait_before

pytestmark = pytest.mark.kue

MS = timedelta(milliseconds=1)


class Recorder:
    """A handler for Kue that remembers each job as it was taken, and fails the first `failures` runs of each."""

    def __init__(self, failures: int = 0) -> None:
        self.jobs: list[dict[str, Any]] = []
        self._failures = failures

    async def __call__(self, job: dict[str, Any], hand: Hand) -> str:
        self.jobs.append(job)
        if job["attempts"]["made"] < self._failures:
            raise RuntimeError(f"run {job['attempts']['made'] + 1}")
        return "sent"


async def asleep(redis: Redis) -> None:
    """Until a worker is blocked on its tokens; Redis tells nobody, so it is asked."""
    async with asyncio.timeout(PATIENCE_S):
        while not (await redis.info("clients"))["blocked_clients"]:
            await asyncio.sleep(0.005)


# Waking and order


async def test_our_token_wakes_a_sleeping_kue_worker(kue: Kue, live_queue: Queue, redis: Redis, prefix: str) -> None:
    recorder = Recorder()
    await kue.process("e: mail", recorder)
    await asleep(redis)

    job = await live_queue.create("e: mail", {"title": "Grüße 🎂"})
    await kue.hears("complete", job.id)

    assert [taken["data"] for taken in recorder.jobs] == [{"title": "Grüße 🎂"}]
    assert (await read(redis, prefix)).lists.get("e: mail:jobs", []) == []


async def test_each_of_a_thousand_jobs_of_ours_has_its_token(kue: Kue, live_queue: Queue, redis: Redis) -> None:
    recorder = Recorder()
    await kue.process("email", recorder, concurrency=10)
    await asleep(redis)

    jobs = await asyncio.gather(*(live_queue.create("email", {"n": n}) for n in range(1000)))
    await kue.until(lambda: len(kue.args("complete")) == 1000)

    assert sorted(job["id"] for job in recorder.jobs) == [job.id for job in jobs]
    assert (await live_queue.jobs.counts())[State.COMPLETE] == 1000


async def test_kue_takes_our_jobs_in_the_order_of_their_priorities(kue: Kue, live_queue: Queue) -> None:
    priorities: list[str | float] = [*PRIORITIES, 3, -7, 2.5, "normal", -20]
    for priority in priorities:
        await live_queue.create("email", priority=priority)
    recorder = Recorder()
    await kue.process("email", recorder)
    await kue.until(lambda: len(kue.args("complete")) == 10)

    assert [job["id"] for job in recorder.jobs] == [10, 5, 4, 7, 3, 2, 9, 8, 6, 1]


async def test_a_job_that_we_update_is_taken_by_kue_as_it_is_now(kue: Kue, live_queue: Queue, redis: Redis) -> None:
    later = await live_queue.create("email", {"draft": 1}, delay=timedelta(hours=1))
    recorder = Recorder()
    await kue.process("email", recorder)
    await asleep(redis)

    await live_queue.update(later.id, data={"draft": 2}, priority="high", delay=timedelta(0))
    await kue.hears("complete", later.id)

    assert [(job["data"], job["priority"]) for job in recorder.jobs] == [({"draft": 2}, -10)]


# Delays


@pytest.mark.parametrize("instant", [False, True], ids=["of a duration", "until an instant"])
async def test_kues_own_timer_promotes_our_delayed_jobs(kue: Kue, live_queue: Queue, instant: bool) -> None:
    recorder = Recorder()
    await kue.process("email", recorder)

    job = await live_queue.create("email", delay=datetime.now(UTC) + 300 * MS if instant else 300 * MS)
    await kue.hears("complete", job.id)

    [taken] = recorder.jobs
    assert int(taken["started_at"]) >= int(taken["promote_at"]) > int(taken["created_at"])
    assert [name for name, *_ in kue.story(job.id)] == ["promotion", "enqueue", "start", "complete"]


async def test_a_job_that_we_put_off_waits_for_its_new_instant_in_kue(kue: Kue, live_queue: Queue) -> None:
    job = await live_queue.create("email", delay=60 * MS)
    other = await live_queue.create("email", delay=120 * MS)
    await live_queue.update(job.id, delay=1500 * MS)
    recorder = Recorder()

    await kue.process("email", recorder)
    await kue.hears("complete", job.id)

    assert [taken["id"] for taken in recorder.jobs] == [other.id, job.id]
    assert int(recorder.jobs[1]["started_at"]) >= int(recorder.jobs[1]["promote_at"])


# Attempts, backoff, ttl


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [
        (Backoff.same(), [40, 40]),
        (Backoff.fixed(), [40, 40]),
        (Backoff.fixed(50 * MS), [50, 50]),
        (Backoff.exponential(), [20, 30]),
        (Backoff.exponential(40 * MS), [20, 60]),
        (Backoff.exponential(50 * MS, max_delay=60 * MS), [25, 35]),
    ],
    ids=lambda value: value.to_wire() if isinstance(value, Backoff) else "",
)
async def test_kue_waits_as_long_as_our_backoff_says(
    kue: Kue, live_queue: Queue, backoff: Backoff, waits: list[int]
) -> None:
    recorder = Recorder(failures=2)
    await kue.process("email", recorder)

    job = await live_queue.create("email", attempts=3, delay=40 * MS, backoff=backoff)
    await kue.hears("complete", job.id)

    assert [wait_before(taken) for taken in recorder.jobs[1:]] == waits
    # A failure of ours now would wait for what Kue's failures have left.
    read_by_us = await live_queue.get(job.id)
    assert read_by_us is not None
    assert read_by_us.delay == waits[-1] * MS
    assert read_by_us.backoff == backoff


async def test_a_job_of_ours_fails_for_good_in_kue_and_runs_again_when_we_say_so(kue: Kue, live_queue: Queue) -> None:
    recorder = Recorder(failures=2)
    await kue.process("email", recorder)
    job = await live_queue.create("email", attempts=2)
    assert await kue.hears("failed", job.id) == ("run 2", None)

    await live_queue.retry(job.id)
    await kue.hears("complete", job.id)

    assert [taken["attempts"]["made"] for taken in recorder.jobs] == [0, 1, 2]
    read_by_us = await live_queue.get(job.id)
    assert read_by_us is not None
    assert (read_by_us.state, read_by_us.attempts, read_by_us.result) == (State.COMPLETE, 2, "sent")


async def test_a_job_of_ours_that_outlives_its_ttl_in_kue_fails_there(kue: Kue, live_queue: Queue) -> None:
    async def handler(job: dict[str, Any], hand: Hand) -> None:
        await asyncio.Event().wait()

    await kue.process("email", handler)
    job = await live_queue.create("email", ttl=80 * MS)
    await kue.hears("failed", job.id)

    read_by_us = await live_queue.get(job.id)
    assert read_by_us is not None
    assert (read_by_us.state, read_by_us.error, read_by_us.attempts) == (State.FAILED, "TTL exceeded", 1)
    assert read_by_us.started_at is not None
    assert read_by_us.failed_at is not None
    assert read_by_us.failed_at - read_by_us.started_at >= 80 * MS


# What is left


async def test_kue_leaves_nothing_of_a_job_of_ours_with_remove_on_complete(
    kue: Kue, live_queue: Queue, redis: Redis, prefix: str
) -> None:
    await kue.process("email", Recorder())
    job = await live_queue.create("email", remove_on_complete=True)
    await kue.hears("remove", job.id)

    assert await live_queue.get(job.id) is None
    keyspace = await read(redis, prefix)
    assert keyspace.jobs == {}
    assert keyspace.zsets == {}


async def test_what_a_kue_worker_says_of_our_job_is_read_by_us(kue: Kue, live_queue: Queue) -> None:
    async def handler(job: dict[str, Any], hand: Hand) -> Any:
        await hand.do(("log", "page %d of %s", 1, "½"), ("progress", 1, 4, {"page": "½"}))
        return {"echo": job["data"]}

    data = {"ü": ["\u2028", "🎂 𝔘", "\x00"], "n": 1e21}
    await kue.process("email", handler)
    job = await live_queue.create("email", data)
    await kue.hears("complete", job.id)

    read_by_us = await live_queue.get(job.id)
    assert read_by_us is not None
    assert (read_by_us.progress, read_by_us.progress_data) == (100, {"page": "½"})
    assert read_by_us.result == {"echo": data}
    assert await live_queue.jobs.log(job.id) == ["page 1 of ½"]


async def test_a_unique_key_is_free_again_when_kue_has_ended_its_job(
    kue: Kue, live_queue: Queue, explained: list[str]
) -> None:
    # Kue knows nothing of our keys: the entry stays until the next job takes it over.
    explained.append(r"unique the \w+: held by job \d, which (is complete|is failed|does not exist)$")
    await kue.process("email", Recorder(failures=1))
    await kue.process("letter", Recorder())
    first = await live_queue.create("email", unique="the failed")
    second = await live_queue.create("letter", unique="the complete")
    third = await live_queue.create("letter", unique="the removed", remove_on_complete=True)
    await kue.hears("failed", first.id)
    await kue.hears("complete", second.id)
    await kue.hears("remove", third.id)

    again = [await live_queue.create("other", unique=f"the {end}") for end in ("failed", "complete", "removed")]
    same = [await live_queue.create("other", unique=f"the {end}") for end in ("failed", "complete", "removed")]

    assert [job.id for job in again] == [4, 5, 6]
    assert [job.id for job in same] == [4, 5, 6]


async def test_runs_of_both_count_as_attempts_of_one_job(kue: Kue, live_queue: Queue) -> None:
    job = await live_queue.create("email", attempts=3)
    claimed = await live_queue.lifecycle.claim(
        {"email": 1}, token="token", lease=timedelta(minutes=1), worker="kue:here:1"
    )
    await live_queue.lifecycle.fail(claimed.leases[0], "ours", wait_ms=0)
    recorder = Recorder(failures=99)

    await kue.process("email", recorder)
    assert await kue.hears("failed", job.id) == ("run 3", None)

    assert [taken["attempts"] for taken in recorder.jobs] == [
        {"made": 1, "remaining": 2, "max": 3},
        {"made": 2, "remaining": 1, "max": 3},
    ]


async def test_a_job_that_we_release_goes_to_kue_with_all_its_attempts(kue: Kue, live_queue: Queue) -> None:
    job = await live_queue.create("email")
    claimed = await live_queue.lifecycle.claim(
        {"email": 1}, token="token", lease=timedelta(minutes=1), worker="kue:here:1"
    )
    recorder = Recorder()
    await kue.process("email", recorder)

    await live_queue.lifecycle.release(claimed.leases[0])
    await kue.hears("complete", job.id)

    [taken] = recorder.jobs
    assert taken["attempts"]["made"] == 0
    read_by_us = await live_queue.get(job.id)
    assert read_by_us is not None
    assert read_by_us.attempts == 1


async def test_a_job_whose_worker_of_ours_is_gone_is_rescued_for_kue(
    kue: Kue, queue: Queue, clock: Clock, redis: Redis
) -> None:
    recorder = Recorder()
    job = await queue.create("email", attempts=2)
    await queue.lifecycle.claim({"email": 1}, token="token", lease=timedelta(minutes=1), worker="kue:here:1")
    await kue.process("email", recorder)
    await asleep(redis)

    clock.advance(seconds=60)
    await queue.lifecycle.rescue()
    await kue.hears("complete", job.id)

    assert [taken["attempts"]["made"] for taken in recorder.jobs] == [1]


async def test_a_job_in_kues_hands_is_not_ours_to_rescue_or_to_expire(
    kue: Kue, live_queue: Queue, redis: Redis
) -> None:
    go_on = asyncio.Event()

    async def handler(job: dict[str, Any], hand: Hand) -> str:
        await go_on.wait()
        return "sent"

    await kue.process("email", handler)
    # What Kue's own timers do about the ttl is not in question here.
    await redis.set("activeJobsTTL:lock", "ours", px=60_000)
    job = await live_queue.create("email", ttl=1 * MS)
    await kue.hears("start", job.id)

    assert await live_queue.lifecycle.expired(to_ms(datetime.now(UTC) + timedelta(hours=1))) == []
    assert await live_queue.lifecycle.expire(job) is None
    assert (await live_queue.lifecycle.rescue()).jobs == {}
    go_on.set()

    assert await kue.hears("complete", job.id) == ("sent", None)


async def test_a_graceful_shutdown_of_kue_gives_a_failed_run_of_our_job_back(kue: Kue, live_queue: Queue) -> None:
    async def handler(job: dict[str, Any], hand: Hand) -> None:
        await asyncio.Event().wait()

    await kue.process("email", handler)
    job = await live_queue.create("email", attempts=2)
    await kue.hears("start", job.id)

    await kue.queue("shutdown", 50)

    read_by_us = await live_queue.get(job.id)
    assert read_by_us is not None
    assert (read_by_us.state, read_by_us.attempts, read_by_us.error) == (State.INACTIVE, 1, "Shutdown")
