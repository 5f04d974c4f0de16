"""What Kue creates, our worker works: in Kue's order, at Kue's instants, with Kue's numbers."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from rmindr.queue import Abandon, Context, Job, Queue, State
from rmindr.queue.audit import read
from tests.kue.original import Function, Hand, Kue, wait_before, working

pytestmark = pytest.mark.kue

MS = timedelta(milliseconds=1)


class Recorder:
    """A handler that remembers each job as it was taken, and fails the first `failures` runs of each."""

    def __init__(self, failures: int = 0) -> None:
        self.jobs: list[Job] = []
        self._failures = failures

    async def __call__(self, job: Job, context: Context) -> str:
        self.jobs.append(job)
        if job.attempts < self._failures:
            raise RuntimeError(f"run {job.attempts + 1}")
        return "sent"


async def test_jobs_come_in_the_order_that_kue_has_them(kue: Kue, live_queue: Queue) -> None:
    for priority in ("low", 3, "normal", "critical", "medium", -7, "high", "normal", 2.5, -20):
        await kue.create("email", priority=priority)
    order = await kue.queue("inactive")
    recorder = Recorder()
    live_queue.process("email", recorder)

    async with working(live_queue):
        await kue.hears("complete", order[-1])

    assert [job.id for job in recorder.jobs] == order == [10, 4, 7, 6, 5, 3, 8, 9, 2, 1]


async def test_ids_of_other_lengths_keep_the_order_of_creation(kue: Kue, live_queue: Queue) -> None:
    recorder = Recorder()
    live_queue.process("email", recorder)
    ids = [await kue.create("email") for _ in range(12)]

    async with working(live_queue):
        await kue.hears("complete", ids[-1])

    assert [job.id for job in recorder.jobs] == ids == list(range(1, 13))


async def test_a_job_of_kues_wakes_our_idle_worker(kue: Kue, live_queue: Queue) -> None:
    live_queue.process("email", Recorder())
    async with working(live_queue):
        # The first shows that it is at work; nothing announces the second but Kue's token.
        await kue.hears("complete", await kue.create("email"))
        job_id = await kue.create("email")
        await kue.hears("complete", job_id)

    job = await live_queue.get(job_id)
    assert job is not None
    assert job.started_at is not None
    # A lost hint would cost a tick of five seconds.
    assert job.started_at - job.created_at < timedelta(seconds=2)


async def test_types_may_be_called_anything(kue: Kue, live_queue: Queue) -> None:
    types = ["email", "e: mail", "häppy 🎂", "a:b:inactive", "job", "jobs"]
    recorder = Recorder()
    for type in types:
        live_queue.process(type, recorder)

    async with working(live_queue):
        for type in types:
            await kue.hears("complete", await kue.create(type, {"title": type}))

    assert [(job.type, job.data) for job in recorder.jobs] == [(type, {"title": type}) for type in types]


async def test_data_and_results_survive_the_round_trip(kue: Kue, live_queue: Queue) -> None:
    async def echo(job: Job, context: Context) -> Any:
        return job.data

    live_queue.process("echo", echo)
    told = {"ü": ["\u2028", 'a "b" \\', "🎂 𝔘", "\x00\x1f"], "n": [2**53 - 1, -1.5e-7, 1e21, 0], "none": None, "": {}}

    async with working(live_queue):
        job_id = await kue.create("echo", told)
        assert await kue.hears("complete", job_id) == (told, None)

    job = await kue.get(job_id)
    assert job["data"] == job["result"] == told


# Delays


@pytest.mark.parametrize("delay", [300, datetime], ids=["of ms", "until a Date"])
async def test_a_delayed_job_is_promoted_by_us_and_not_early(kue: Kue, live_queue: Queue, delay: Any) -> None:
    if delay is datetime:
        delay = datetime.now(UTC) + 300 * MS
    recorder = Recorder()
    live_queue.process("email", recorder)
    job_id = await kue.create("email", delay=delay)

    async with working(live_queue):
        await kue.hears("complete", job_id)

    [job] = recorder.jobs
    assert job.promote_at is not None
    assert job.started_at is not None
    # Each side cuts its instant to whole milliseconds.
    assert timedelta() < job.promote_at - job.created_at <= 301 * MS
    assert job.started_at >= job.promote_at
    assert [name for name, *_ in kue.story(job_id)] == ["promotion", "enqueue", "start", "complete"]


async def test_a_delayed_job_that_kue_creates_beside_our_idle_worker_is_late_by_a_tick_at_most(
    kue: Kue, live_queue: Queue
) -> None:
    # Kue announces delayed jobs to nobody: where ours comes with a nudge, Kue's is seen at the next look at the clock.
    tick = 300 * MS
    recorder = Recorder()
    live_queue.process("email", recorder)

    async with working(live_queue, tick=tick):
        await kue.hears("complete", await kue.create("email"))
        job_id = await kue.create("email", delay=50)
        await kue.hears("complete", job_id)

    job = recorder.jobs[-1]
    assert job.promote_at is not None
    assert job.started_at is not None
    assert timedelta() <= job.started_at - job.promote_at < tick + timedelta(seconds=1)


async def test_a_delay_into_the_past_is_none(kue: Kue, live_queue: Queue) -> None:
    live_queue.process("email", Recorder())
    job_id = await kue.create("email", delay=datetime(2020, 1, 1, tzinfo=UTC))

    async with working(live_queue):
        await kue.hears("complete", job_id)

    assert [name for name, *_ in kue.story(job_id)] == ["enqueue", "start", "complete"]


async def test_delayed_jobs_of_kues_become_due_in_the_order_of_their_instants(kue: Kue, live_queue: Queue) -> None:
    # None may be due before all are there: each entry would be worked at once.
    base = datetime.now(UTC) + 400 * MS
    later = await kue.create("email", delay=base + 200 * MS)
    soon = await kue.create("email", delay=base)
    between = await kue.create("email", delay=base + 100 * MS)
    recorder = Recorder()
    live_queue.process("email", recorder)

    async with working(live_queue):
        await kue.hears("complete", later)

    assert [job.id for job in recorder.jobs] == [soon, between, later]


# Attempts and backoff

BACKOFFS: dict[str, tuple[dict[str, Any], list[int]]] = {
    "true": ({"delay": 40, "backoff": True}, [40, 40, 40]),
    "a number": ({"delay": 40, "backoff": 7}, [40, 40, 40]),
    "fixed": ({"delay": 40, "backoff": {"type": "fixed"}}, [40, 40, 40]),
    "fixed, its own": ({"delay": 20, "backoff": {"type": "fixed", "delay": 50}}, [50, 50, 50]),
    "fixed, no delay before": ({"backoff": {"type": "fixed", "delay": 50}}, [50, 50, 50]),
    "exponential": ({"backoff": {"type": "exponential", "delay": 40}}, [20, 60, 140]),
    "exponential, odd": ({"backoff": {"type": "exponential", "delay": 25}}, [13, 38, 88]),
    "exponential, capped": ({"backoff": {"type": "exponential", "delay": 40, "maxDelay": 80}}, [20, 60, 60]),
    "exponential, capped low": ({"backoff": {"type": "exponential", "delay": 50, "maxDelay": 100}}, [25, 75, 75]),
    "exponential on the delay before": ({"delay": 60, "backoff": {"type": "exponential"}}, [30, 45, 158]),
}


async def test_each_backoff_waits_as_long_in_our_worker_as_kue_says(kue: Kue, live_queue: Queue) -> None:
    recorder = Recorder(failures=3)
    live_queue.process("email", recorder, concurrency=len(BACKOFFS))
    ids = {name: await kue.create("email", attempts=4, **options) for name, (options, _) in BACKOFFS.items()}

    async with working(live_queue):
        await kue.until(lambda: len(kue.args("complete")) == len(BACKOFFS))

    runs = {name: [job for job in recorder.jobs if job.id == job_id][1:] for name, job_id in ids.items()}
    waits = {name: waits for name, (_, waits) in BACKOFFS.items()}
    assert {name: [wait_before(job) for job in jobs] for name, jobs in runs.items()} == waits
    assert {name: [job.delay // MS for job in jobs if job.delay] for name, jobs in runs.items()} == waits
    assert all(job.started_at and job.promote_at and job.promote_at <= job.started_at for job in recorder.jobs)
    for job_id in ids.values():
        failures = [event[1:] for event in kue.story(job_id) if event[0] == "failed attempt"]
        assert failures == [("run 1", 1), ("run 2", 2), ("run 3", 3)]


async def test_which_is_as_long_as_in_kues_own_worker(kue: Kue) -> None:
    runs: dict[int, list[dict[str, Any]]] = defaultdict(list)

    async def handler(job: dict[str, Any], hand: Hand) -> str:
        runs[job["id"]].append(job)
        if job["attempts"]["made"] < 3:
            raise RuntimeError("busy")
        return "sent"

    await kue.process("email", handler, concurrency=len(BACKOFFS))
    ids = {name: await kue.create("email", attempts=4, **options) for name, (options, _) in BACKOFFS.items()}
    await kue.until(lambda: len(kue.args("complete")) == len(BACKOFFS))

    waits = {name: waits for name, (_, waits) in BACKOFFS.items()}
    assert {name: [wait_before(job) for job in runs[job_id][1:]] for name, job_id in ids.items()} == waits
    assert {name: [int(job["delay"]) for job in runs[job_id][1:]] for name, job_id in ids.items()} == waits


@pytest.mark.parametrize("backoff", [True, {"type": "exponential"}, {"type": "fixed"}], ids=str)
async def test_without_any_delay_a_backoff_runs_again_at_once(kue: Kue, live_queue: Queue, backoff: Any) -> None:
    recorder = Recorder(failures=2)
    live_queue.process("email", recorder)

    async with working(live_queue):
        await kue.hears("complete", await kue.create("email", attempts=3, backoff=backoff))

    assert [job.attempts for job in recorder.jobs] == [0, 1, 2]


async def test_attempts_run_out_as_in_kue(kue: Kue, live_queue: Queue) -> None:
    recorder = Recorder(failures=99)
    live_queue.process("email", recorder)

    async with working(live_queue):
        job_id = await kue.create("email", attempts=3)
        await kue.hears("failed", job_id)

    assert [job.attempts for job in recorder.jobs] == [0, 1, 2]
    job = await kue.get(job_id)
    assert (job["state"], job["attempts"]) == ("failed", {"made": 3, "remaining": 0, "max": 3})
    assert await kue.jobs("log", job_id) == [f"RuntimeError: run {run}" for run in (1, 2, 3)]


async def test_an_abandoned_job_of_kues_keeps_its_attempts(kue: Kue, live_queue: Queue) -> None:
    async def handler(job: Job, context: Context) -> None:
        raise Abandon("the mailbox does not exist")

    live_queue.process("email", handler)
    async with working(live_queue):
        job_id = await kue.create("email", attempts=5, backoff={"type": "fixed", "delay": 20})
        assert await kue.hears("failed", job_id) == ("the mailbox does not exist", None)

    job = await kue.get(job_id)
    assert (job["state"], job["attempts"]["made"], job["error"]) == ("failed", 1, "the mailbox does not exist")


@pytest.mark.parametrize(
    "text",
    [
        "function(attempts, delay) { require('fs').writeFileSync(PATH, '') ; return 5 }",
        "__import__('pathlib').Path(PATH).touch()",
        "(lambda attempts, delay: open(PATH, 'w'))(1, 2)",
        "{'type': 'fixed', 'delay': open(PATH, 'w')}",
    ],
    ids=["JavaScript", "Python", "Python, a call", "Python, a dict"],
)
async def test_the_text_of_a_backoff_is_never_run(
    kue: Kue, live_queue: Queue, redis: Redis, prefix: str, tmp_path: Path, text: str
) -> None:
    text = text.replace("PATH", repr(str(tmp_path / "planted")))
    recorder = Recorder(failures=2)
    live_queue.process("email", recorder)
    options = {"delay": 40, "attempts": 3}
    if text.startswith("function"):
        job_id = await kue.create("email", backoff=Function(text), **options)
    else:
        # What Kue itself never writes, its HTTP API takes from anybody.
        job_id = await kue.create("email", **options)
        await redis.hset(f"{prefix}:job:{job_id}", "backoff", text)

    async with working(live_queue):
        await kue.hears("complete", job_id)

    assert not (tmp_path / "planted").exists()
    assert [wait_before(job) for job in recorder.jobs[1:]] == [40, 40]
    assert await redis.hget(f"{prefix}:job:{job_id}", "backoff") == text


# What becomes of them


async def test_a_job_with_remove_on_complete_leaves_nothing(
    kue: Kue, live_queue: Queue, redis: Redis, prefix: str
) -> None:
    async def handler(job: Job, context: Context) -> str:
        await context.log("a line that must go, too")
        return "sent"

    live_queue.process("email", handler)
    job_id = await kue.create("email", removeOnComplete=True)
    async with working(live_queue):
        await kue.hears("remove", job_id)

    keyspace = await read(redis, prefix)
    assert keyspace.jobs == {}
    assert keyspace.zsets == {}
    assert set(keyspace.lists) <= {"email:jobs"}
    assert kue.story(job_id)[-2:] == [("complete", "sent", None), ("remove", "email")]


async def test_a_failed_job_with_remove_on_complete_stays(kue: Kue, live_queue: Queue) -> None:
    live_queue.process("email", Recorder(failures=1))
    async with working(live_queue):
        job_id = await kue.create("email", removeOnComplete=True)
        await kue.hears("failed", job_id)

    assert (await kue.get(job_id))["state"] == "failed"


async def test_a_job_that_outlives_its_ttl_fails_as_in_kue(kue: Kue, live_queue: Queue) -> None:
    async def handler(job: Job, context: Context) -> str:
        if job.attempts == 0:
            await asyncio.Event().wait()
        return "sent"

    live_queue.process("email", handler)
    async with working(live_queue):
        job_id = await kue.create("email", ttl=150, attempts=2)
        await kue.hears("complete", job_id)

    job = await kue.get(job_id)
    assert job["error"] == "TTL exceeded"
    assert await kue.hears("failed attempt", job_id) == ("TTL exceeded", 1)
    assert int(job["duration"]) < 150


async def test_kue_sees_how_far_our_worker_is(kue: Kue, live_queue: Queue) -> None:
    go_on = asyncio.Event()

    async def handler(job: Job, context: Context) -> str:
        await context.log("half way, ½")
        await context.progress(1, 2, {"page": "½"})
        await go_on.wait()
        return "sent"

    live_queue.process("email", handler)
    async with working(live_queue):
        job_id = await kue.create("email")
        await kue.hears("progress", job_id)
        job = await kue.get(job_id)
        go_on.set()
        await kue.hears("complete", job_id)

    assert (job["state"], job["progress"], job["progress_data"]) == ("active", "50", {"page": "½"})
    assert await kue.jobs("log", job_id) == ["half way, ½"]
    assert await kue.queue("activeCount") == 0


async def test_many_jobs_of_kues_run_concurrently_and_once_each(kue: Kue, live_queue: Queue) -> None:
    recorder = Recorder()
    live_queue.process("email", recorder, concurrency=7)

    async with working(live_queue):
        ids = await asyncio.gather(*(kue.create("email", {"n": n}) for n in range(60)))
        await kue.until(lambda: len(kue.args("complete")) == 60)

    assert sorted(job.id for job in recorder.jobs) == sorted(ids)
    assert (await live_queue.jobs.counts())[State.COMPLETE] == await kue.queue("completeCount") == 60
