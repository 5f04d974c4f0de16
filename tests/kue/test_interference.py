"""Kue's hands on jobs of ours, and Kue's timers beside our worker: what people do through its API and dashboard, and what
it does by itself, breaks none of our promises."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from rmindr.queue import Context, Job, Lease, LeaseLost, Queue, State
from rmindr.queue.audit import read
from rmindr.queue.job import to_ms
from tests.conftest import Clock
from tests.kue.original import PATIENCE_S, Hand, Kue, working

pytestmark = pytest.mark.kue

MS = timedelta(milliseconds=1)


async def until_ended(queue: Queue, job_id: int) -> Job:
    """Our worker has ended the job, and this is how it left it."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            job = await queue.get(job_id)
            if job is not None and job.state in (State.COMPLETE, State.FAILED):
                return job
            await asyncio.sleep(0.005)


async def a_lease(queue: Queue, type: str = "email") -> Lease:
    claimed = await queue.lifecycle.claim({type: 1}, token="token", lease=timedelta(minutes=1), worker="kue:here:1")
    [lease] = claimed.leases
    return lease


async def send(job: Job, context: Context) -> str:
    return "sent"


# Jobs of ours that wait


async def test_kue_writes_into_the_log_of_a_waiting_job(kue: Kue, live_queue: Queue) -> None:
    job = await live_queue.create("email")

    await kue.change(job.id, ("log", "%s looked at it", "Zoë"))

    live_queue.process("email", send)
    async with working(live_queue):
        await kue.hears("complete", job.id)
    assert await live_queue.jobs.log(job.id) == ["Zoë looked at it"]


async def test_kue_changes_what_a_waiting_job_says(kue: Kue, live_queue: Queue, explained: list[str]) -> None:
    explained.append("^job 1: nobody knows its field colour$")
    job = await live_queue.create("email", {"draft": 1})

    await kue.change(job.id, ("set", "data", '{"draft":2}'), ("progress", 1, 2, "half"), ("set", "colour", "red"))

    taken = await a_lease(live_queue)
    assert (taken.job.data, taken.job.progress, taken.job.progress_data) == ({"draft": 2}, 50, "half")


async def test_kue_changes_the_order_of_waiting_jobs(kue: Kue, live_queue: Queue) -> None:
    first, second, third = [(await live_queue.create("email")).id for _ in range(3)]
    taken: list[int] = []

    async def handler(job: Job, context: Context) -> None:
        taken.append(job.id)

    await kue.change(third, ("priority", "critical"), ("update",))
    await kue.change(first, ("priority", 7), ("update",))

    live_queue.process("email", handler)
    async with working(live_queue):
        await kue.until(lambda: len(kue.args("complete")) == 3)
    assert taken == [third, second, first]


async def test_a_job_that_kue_removes_is_gone_for_us(kue: Kue, live_queue: Queue, explained: list[str]) -> None:
    explained.append(r"unique key: held by job 1, which does not exist")
    job = await live_queue.create("email", unique="key")

    await kue.jobs("remove", job.id)

    assert await live_queue.get(job.id) is None
    claimed = await live_queue.lifecycle.claim(
        {"email": 1}, token="token", lease=timedelta(minutes=1), worker="kue:here:1"
    )
    assert claimed.leases == []
    explained.clear()
    assert (await live_queue.create("email", unique="key")).id == 2


async def test_a_delayed_job_that_kue_starts_is_worked_at_once(kue: Kue, live_queue: Queue) -> None:
    job = await live_queue.create("email", delay=timedelta(hours=1))
    live_queue.process("email", send)

    async with working(live_queue):
        await kue.change(job.id, ("inactive",))
        ended = await until_ended(live_queue, job.id)

    assert ended.state is State.COMPLETE
    assert (await live_queue.jobs.counts())[State.DELAYED] == 0


async def test_a_job_that_kue_delays_again_is_promoted_by_us_when_due(kue: Kue, live_queue: Queue) -> None:
    job = await live_queue.create("email")
    await kue.change(job.id, ("delay", 150), ("update",), ("delayed",))
    live_queue.process("email", send)

    async with working(live_queue):
        ended = await until_ended(live_queue, job.id)

    assert ended.started_at is not None
    assert ended.started_at >= job.created_at + 150 * MS


# Jobs of ours that have ended


@pytest.mark.parametrize("method", [("inactive",), ("state", "inactive")])
async def test_a_failed_job_that_kue_restarts_runs_again_here(
    kue: Kue, live_queue: Queue, method: Sequence[str]
) -> None:
    runs: list[int] = []

    async def handler(job: Job, context: Context) -> str:
        runs.append(job.attempts)
        if len(runs) < 2:
            raise RuntimeError("busy")
        return "sent"

    live_queue.process("email", handler)
    async with working(live_queue):
        job = await live_queue.create("email", unique="key")
        await kue.hears("failed", job.id)
        await kue.change(job.id, tuple(method))
        await kue.hears("complete", job.id)

    ended = await live_queue.get(job.id)
    assert ended is not None
    assert (runs, ended.attempts, ended.result) == ([0, 1], 1, "sent")


async def test_a_job_restarted_after_its_last_attempt_has_one_run_and_no_retry(kue: Kue, live_queue: Queue) -> None:
    runs: list[int] = []

    async def handler(job: Job, context: Context) -> None:
        runs.append(job.attempts)
        raise RuntimeError("busy")

    live_queue.process("email", handler)
    async with working(live_queue):
        job = await live_queue.create("email", attempts=2)
        await kue.hears("failed", job.id)
        await kue.change(job.id, ("inactive",))
        await kue.hears("failed", job.id, times=2)

    assert runs == [0, 1, 2]


async def test_kues_dashboard_shows_restarts_and_removes_jobs_of_ours(
    kue: Kue, live_queue: Queue, explained: list[str]
) -> None:
    # What it removes it does not take out of our list of what has ended; upkeep does.
    explained.append(r"^ended:complete: 01\|1 has no job$")
    port = await kue.ask(verb="listen")
    job = await live_queue.create("email", {"title": "Grüße"}, priority="high")
    await live_queue.create("letter", delay=timedelta(hours=1))
    await live_queue.lifecycle.fail(await a_lease(live_queue), "no", wait_ms=None)

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers={"Accept": "application/json"}) as http:
        stats = (await http.get("/stats")).json()
        [shown] = (await http.get("/jobs/email/failed/0..-1/asc")).json()
        log = (await http.get(f"/job/{job.id}/log")).json()
        await http.put(f"/job/{job.id}/priority/-12")
        restarted = (await http.get(f"/inactive/{job.id}")).json()
        lease = await a_lease(live_queue)
        await live_queue.lifecycle.complete(lease)
        removed = (await http.delete(f"/job/{job.id}")).json()

    assert stats == {
        "inactiveCount": 0, "completeCount": 0, "activeCount": 0, "failedCount": 1, "delayedCount": 1, "workTime": None,
    }  # fmt: skip
    assert (shown["id"], shown["data"], shown["error"], log) == (job.id, {"title": "Grüße"}, "no", ["no"])
    assert (restarted, lease.job.priority) == ({"message": "job 1 inactive"}, -12.0)
    assert removed == {"message": "job 1 removed"}
    assert await live_queue.get(job.id) is None


# Jobs in our hands


async def test_what_kue_writes_into_a_job_in_our_hands_does_not_end_the_run(kue: Kue, live_queue: Queue) -> None:
    await live_queue.create("email", ttl=timedelta(minutes=1))
    lease = await a_lease(live_queue)

    await kue.change(1, ("log", "Zoë waits"), ("progress", 1, 2), ("priority", "low"), ("update",))

    assert await live_queue.lifecycle.renew([lease], timedelta(minutes=1)) == ["ok"]
    await live_queue.lifecycle.complete(lease, "sent")
    job = await live_queue.get(1)
    assert job is not None
    assert (job.state, job.priority, job.result) == (State.COMPLETE, 10.0, "sent")


async def test_a_job_that_kue_restarts_in_our_hands_is_completed_by_its_second_run_only(
    kue: Kue, live_queue: Queue
) -> None:
    job = await live_queue.create("email")
    first = await a_lease(live_queue)

    await kue.change(job.id, ("inactive",))
    with pytest.raises(LeaseLost):
        await live_queue.lifecycle.complete(first, "the first")
    claimed = await live_queue.lifecycle.claim(
        {"email": 1}, token="another", lease=timedelta(minutes=1), worker="kue:here:1"
    )
    with pytest.raises(LeaseLost):
        await live_queue.lifecycle.complete(first, "the first")
    await live_queue.lifecycle.complete(claimed.leases[0], "the second")

    assert await kue.hears("complete", job.id) == ("the second", None)
    assert len(kue.args("complete")) == 1


async def test_a_job_that_kue_restarts_in_our_hands_and_takes_itself_is_not_ours_any_more(
    kue: Kue, queue: Queue, clock: Clock, explained: list[str]
) -> None:
    # Kue does not know that there is a lease to strike out.
    explained.extend([r"^job 1: is complete but leased$", r"^job 1: its lease is written but not listed$"])
    go_on = asyncio.Event()

    async def handler(job: dict[str, Any], hand: Hand) -> str:
        await go_on.wait()
        return "by Kue"

    job = await queue.create("email")
    lease = await a_lease(queue)
    await kue.change(job.id, ("inactive",))
    await kue.process("email", handler)
    await kue.hears("start", job.id, times=2)

    with pytest.raises(LeaseLost):
        await queue.lifecycle.complete(lease, "by us")
    clock.advance(seconds=60)
    assert (await queue.lifecycle.rescue()).jobs == {}
    go_on.set()

    assert await kue.hears("complete", job.id) == ("by Kue", None)


async def test_a_job_that_kue_removes_in_our_hands_leaves_nothing_when_we_end_it(
    kue: Kue, live_queue: Queue, redis: Redis, prefix: str, explained: list[str]
) -> None:
    # The lease of what is gone is struck out when it lapses.
    explained.append(r"^leases: 01\|1 has no job$")
    started, go_on = asyncio.Event(), asyncio.Event()

    async def handler(job: Job, context: Context) -> str:
        started.set()
        await go_on.wait()
        return "sent"

    live_queue.process("email", handler)
    async with working(live_queue):
        job = await live_queue.create("email")
        await started.wait()
        await kue.jobs("remove", job.id)
        go_on.set()

    keyspace = await read(redis, prefix)
    assert keyspace.jobs == {}
    assert set(keyspace.zsets) <= {"leases"}
    assert set(keyspace.lists) <= {"email:jobs"}
    assert kue.args("complete") == []


# Kue's timers beside our worker


async def a_kue_handler_that_hangs(job: dict[str, Any], hand: Hand) -> None:
    await asyncio.Event().wait()


async def a_round_of_kues_expiry(kue: Kue, queue: Queue) -> None:
    """Kue has looked for active jobs whose ttl is over, and dealt with them, at least once from now on."""
    await kue.process("probe", a_kue_handler_that_hangs)
    probe = await queue.create("probe", ttl=20 * MS)
    await kue.hears("failed", probe.id)


@pytest.mark.parametrize("priority", [0, -15, 10, 2**40])
async def test_kues_expiry_leaves_a_job_of_ours_without_ttl_alone(kue: Kue, live_queue: Queue, priority: int) -> None:
    job = await live_queue.create("email", priority=priority)
    lease = await a_lease(live_queue)

    await a_round_of_kues_expiry(kue, live_queue)

    assert [name for name, *_ in kue.story(job.id)] == ["enqueue", "start"]
    await live_queue.lifecycle.complete(lease)


async def test_a_job_of_ours_that_outlives_its_ttl_beside_kue_fails_once(kue: Kue, live_queue: Queue) -> None:
    async def handler(job: Job, context: Context) -> None:
        await asyncio.Event().wait()

    live_queue.process("email", handler)
    async with working(live_queue):
        job = await live_queue.create("email", ttl=500 * MS, attempts=2)
        await a_round_of_kues_expiry(kue, live_queue)
        await kue.hears("failed", job.id)
        await a_round_of_kues_expiry(kue, live_queue)

    assert [event for event in kue.story(job.id) if event[0] in ("failed attempt", "failed")] == [
        ("failed attempt", "TTL exceeded", 1),
        ("failed", "TTL exceeded", None),
    ]


async def test_a_run_of_ours_that_kue_has_called_too_long_is_ended_by_us_alone(kue: Kue, live_queue: Queue) -> None:
    # Kue's timer says «ttl exceeded» and, if nobody acknowledges it within a second, fails the job in whatever state and
    # whosever hands it then is.
    runs: list[int] = []
    second, go_on = asyncio.Event(), asyncio.Event()

    async def handler(job: Job, context: Context) -> str:
        runs.append(job.attempts)
        if job.attempts == 0:
            # The whole process stands still until Kue has noticed.
            time.sleep(0.6)
            await asyncio.Event().wait()
        second.set()
        while not go_on.is_set():
            await context.progress(1, 2)
            await asyncio.sleep(0.02)
        return "sent"

    await kue.process("probe", a_kue_handler_that_hangs)
    live_queue.process("email", handler)
    async with working(live_queue):
        job = await live_queue.create("email", ttl=300 * MS, attempts=3)
        await second.wait()
        assert ("ttl exceeded",) in kue.story(job.id)
        await a_round_of_kues_expiry(kue, live_queue)
        go_on.set()
        await kue.hears("complete", job.id)

    assert runs == [0, 1]
    assert [event for event in kue.story(job.id) if event[0] == "error"] == [("error", "TTL exceeded")]


async def test_while_kue_promotes_we_do_not(kue: Kue, live_queue: Queue, redis: Redis) -> None:
    # Between reading what is due and moving it, Kue holds this lock; a job that we promoted and took meanwhile would be
    # moved back to inactive under our worker, and run twice.
    await live_queue.create("email", delay=50 * MS)
    live_queue.process("email", send)
    seconds, microseconds = await redis.time()
    await redis.set("promotion:lock", "Kue's", px=400)

    async with working(live_queue):
        await kue.hears("complete", 1)

    job = await live_queue.get(1)
    assert job is not None
    assert job.started_at is not None
    assert to_ms(job.started_at) >= seconds * 1000 + microseconds // 1000 + 400


async def test_kues_watch_for_stuck_jobs_gives_ours_their_tokens_back(
    kue: Kue, live_queue: Queue, redis: Redis, prefix: str
) -> None:
    async def handler(job: dict[str, Any], hand: Hand) -> str:
        return "sent"

    await live_queue.create("email", unique="key")
    await live_queue.create("email", delay=timedelta(hours=1))
    await a_lease(live_queue)
    stuck = await live_queue.create("email")
    await redis.delete(f"{prefix}:email:jobs")

    await kue.process("email", handler)
    # It never calls back.
    watching = asyncio.create_task(kue.queue("watchStuckJobs", 20))
    assert await kue.hears("complete", stuck.id) == ("sent", None)
    watching.cancel()
