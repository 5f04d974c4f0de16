"""Each reads what the other wrote: Kue our jobs in every state, we Kue's of every flavour; both count alike."""

from __future__ import annotations

from datetime import timedelta
from itertools import chain
from typing import Any

import pytest

from rmindr.queue import Backoff, Job, Lease, Queue, State
from tests.conftest import Clock
from tests.kue.original import Function, Kue

pytestmark = pytest.mark.kue

TYPE = "e-mail: häppy"
DATA = {"title": "Grüße 🎂", "lines": ["\u2028", 'a "b" \\ </script>', None], "nested": {"n": 2**53 - 1, "x": 1.5e-7}}
T0 = 1_795_448_797_530


async def a_job(queue: Queue, **options: Any) -> Job:
    return await queue.create(
        TYPE,
        DATA,
        **{"priority": "high", "attempts": 3, "backoff": Backoff.exponential(timedelta(seconds=1)), **options},
    )


async def a_lease(queue: Queue) -> Lease:
    claimed = await queue.lifecycle.claim({TYPE: 1}, token="token", lease=timedelta(minutes=1), worker="kue:here:1")
    [lease] = claimed.leases
    return lease


def as_kue_tells(**differences: Any) -> dict[str, Any]:
    """What Kue tells of `a_job` when it is new, but for these: times are text there, counts are numbers."""
    return {
        "id": 1,
        "type": TYPE,
        "data": DATA,
        "priority": -10,
        "progress": 0,
        "state": "inactive",
        "created_at": str(T0),
        "promote_at": str(T0),
        "updated_at": str(T0),
        "attempts": {"made": 0, "remaining": 3, "max": 3},
        "backoff": {"type": "exponential", "delay": 1000},
        **differences,
    }


async def test_kue_reads_a_delayed_job_of_ours(kue: Kue, queue: Queue) -> None:
    await a_job(queue, delay=timedelta(hours=1), ttl=timedelta(minutes=2), backoff=Backoff.same())

    assert await kue.get(1) == as_kue_tells(
        state="delayed", delay="3600000", promote_at=str(T0 + 3_600_000), ttl="120000", backoff=True
    )


async def test_kue_reads_an_inactive_job_of_ours(kue: Kue, queue: Queue) -> None:
    await a_job(queue, remove_on_complete=True)

    assert await kue.get(1) == as_kue_tells(removeOnComplete="true")


async def test_kue_reads_an_active_job_of_ours(kue: Kue, queue: Queue, clock: Clock) -> None:
    await a_job(queue, backoff=None)
    clock.advance(ms=5)
    lease = await a_lease(queue)
    clock.advance(ms=7)
    await queue.lifecycle.progress(lease, 40, {"page": 4})
    await queue.lifecycle.log(lease, "page 4: ½ done")

    told = as_kue_tells(
        state="active",
        started_at=str(T0 + 5),
        updated_at=str(T0 + 12),
        progress="40",
        progress_data={"page": 4},
        workerId=f"kue:here:1:{TYPE}:1",
    )
    del told["backoff"]
    assert await kue.get(1) == told
    assert await kue.jobs("log", 1) == ["page 4: ½ done"]


async def test_kue_reads_a_complete_job_of_ours(kue: Kue, queue: Queue, clock: Clock) -> None:
    await a_job(queue)
    lease = await a_lease(queue)
    clock.advance(ms=1500)
    await queue.lifecycle.complete(lease, {"to": "Zoë", "bytes": 512})

    assert await kue.get(1) == as_kue_tells(
        state="complete",
        started_at=str(T0),
        updated_at=str(T0 + 1500),
        duration="1500",
        progress="100",
        result={"to": "Zoë", "bytes": 512},
        attempts={"made": 1, "remaining": 2, "max": 3},
        workerId=f"kue:here:1:{TYPE}:1",
    )
    assert await kue.queue("workTime") == 1500


async def test_kue_reads_a_failed_job_of_ours(kue: Kue, queue: Queue, clock: Clock) -> None:
    await a_job(queue, attempts=1)
    lease = await a_lease(queue)
    clock.advance(ms=20)
    await queue.lifecycle.fail(lease, "no «route»", "Error: no «route»\n  at home", wait_ms=None)

    assert await kue.get(1) == as_kue_tells(
        state="failed",
        started_at=str(T0),
        updated_at=str(T0 + 20),
        failed_at=str(T0 + 20),
        error="Error: no «route»\n  at home",
        attempts={"made": 1, "remaining": 0, "max": 1},
        workerId=f"kue:here:1:{TYPE}:1",
    )
    assert await kue.jobs("log", 1) == ["Error: no «route»"]


async def test_kue_reads_a_job_of_ours_that_waits_for_its_next_attempt(kue: Kue, queue: Queue, clock: Clock) -> None:
    await a_job(queue)
    lease = await a_lease(queue)
    clock.advance(ms=20)
    await queue.lifecycle.fail(lease, "busy", wait_ms=lease.job.wait_ms_after_failure())

    assert await kue.get(1) == as_kue_tells(
        state="delayed",
        started_at=str(T0),
        updated_at=str(T0 + 20),
        failed_at=str(T0 + 20),
        promote_at=str(T0 + 520),
        delay="500",
        error="busy",
        attempts={"made": 1, "remaining": 2, "max": 3},
        workerId=f"kue:here:1:{TYPE}:1",
    )


async def two_jobs_in_each_state(queue: Queue) -> dict[State, list[int]]:
    """One of type «a» and one of type «b» in each state, the later one more urgent; ids by state."""
    ids: dict[State, list[int]] = {state: [] for state in State}
    for priority, type in ((5, "a"), (-5, "b")):
        for state in (State.COMPLETE, State.FAILED, State.ACTIVE, State.INACTIVE, State.DELAYED):
            delay = timedelta(minutes=2 if type == "a" else 1) if state is State.DELAYED else None
            job = await queue.create(type, priority=priority, delay=delay)
            ids[state].append(job.id)
            if state in (State.DELAYED, State.INACTIVE):
                continue
            claimed = await queue.lifecycle.claim(
                {type: 1}, token=f"token{job.id}", lease=timedelta(minutes=1), worker="kue:here:1"
            )
            if state is State.COMPLETE:
                await queue.lifecycle.complete(claimed.leases[0])
            elif state is State.FAILED:
                await queue.lifecycle.fail(claimed.leases[0], "no", wait_ms=None)
    return ids


async def test_kue_counts_and_lists_our_jobs_as_we_do(kue: Kue, queue: Queue) -> None:
    ids = await two_jobs_in_each_state(queue)

    counts = await queue.jobs.counts()
    for state in State:
        older, newer = ids[state]
        assert await kue.queue("card", state) == counts[state] == 2
        assert await kue.queue(f"{state}Count") == 2
        assert await kue.queue("cardByType", "a", state) == await kue.queue(f"{state}Count", "b") == 1
        # The queue lists by score, of which the later job of each state has the lower; ranges sort by id.
        assert await kue.queue(state) == ([older, newer] if state is State.ACTIVE else [newer, older])
        assert [job["id"] for job in await kue.jobs("rangeByState", state, 0, -1, "asc")] == [older, newer]
        assert [job["id"] for job in await kue.jobs("rangeByState", state, 0, -1, "desc")] == [newer, older]
        assert [job["id"] for job in await kue.jobs("rangeByType", "b", state, 0, -1, "asc")] == [newer]
    assert [job["id"] for job in await kue.jobs("range", 0, -1, "asc")] == sorted(chain(*ids.values()))
    assert sorted(await kue.queue("types")) == ["a", "b"]


async def test_we_count_kues_jobs_as_kue_does(kue: Kue, queue: Queue) -> None:
    for _ in range(3):
        await kue.create("email")
    await kue.create("email", delay=60_000)
    failed = await kue.create("email")
    await kue.change(failed, ("failed",))

    assert await queue.jobs.counts() == {
        State.DELAYED: 1, State.INACTIVE: 3, State.ACTIVE: 0, State.COMPLETE: 0, State.FAILED: 1,
    }  # fmt: skip
    assert await queue.jobs.states([1, 4, failed, 99]) == [State.INACTIVE, State.DELAYED, State.FAILED, None]


OPTIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"priority": 0.0, "max_attempts": 1, "backoff": None, "ttl": None, "remove_on_complete": False}),
    ({"priority": "low"}, {"priority": 10.0}),
    ({"priority": "critical"}, {"priority": -15.0}),
    ({"priority": -7}, {"priority": -7.0}),
    ({"priority": 2.5}, {"priority": 2.5}),
    ({"delay": 60_000}, {"state": State.DELAYED, "delay": timedelta(minutes=1)}),
    ({"delay": -5}, {"state": State.INACTIVE, "delay": None}),
    ({"attempts": 7}, {"max_attempts": 7}),
    ({"ttl": 90_000}, {"ttl": timedelta(seconds=90)}),
    ({"removeOnComplete": True}, {"remove_on_complete": True}),
    ({"removeOnComplete": False}, {"remove_on_complete": False}),
    ({"backoff": True}, {"backoff": Backoff.same()}),
    ({"backoff": 250}, {"backoff": Backoff.same()}),
    ({"backoff": {"type": "fixed"}}, {"backoff": Backoff.fixed()}),
    ({"backoff": {"type": "fixed", "delay": 200}}, {"backoff": Backoff.fixed(timedelta(milliseconds=200))}),
    (
        {"backoff": {"type": "exponential", "delay": 200, "maxDelay": 900}},
        {"backoff": Backoff.exponential(timedelta(milliseconds=200), max_delay=timedelta(milliseconds=900))},
    ),
    ({"backoff": Function("function(attempts, delay) { return 10 }")}, {"backoff": Backoff.same()}),
]


async def test_we_read_kues_options(kue: Kue, queue: Queue) -> None:
    found = []
    for options, expected in OPTIONS:
        job = await queue.get(await kue.create("email", **options))
        found.append((options, {name: getattr(job, name) for name in expected}))

    assert found == OPTIONS


async def test_we_read_kues_data(kue: Kue, queue: Queue) -> None:
    told = [DATA, ["a", 1], "text «ü»", 1.25, True, {}]

    jobs = [await queue.get(await kue.create(TYPE, data)) for data in told]

    assert [(job.type, job.data) for job in jobs if job] == [(TYPE, data) for data in told]


async def test_we_read_what_kue_noted_of_a_run(kue: Kue, queue: Queue) -> None:
    async def handler(job: dict[str, Any], hand: Any) -> Any:
        await hand.do(("progress", 1, 3, {"page": "½"}), ("log", "%s of %d", "one", 3), ("log", {"key": [1]}))
        if job["attempts"]["made"] == 0:
            raise RuntimeError("busy")
        return {"sent": "ja"}

    await kue.process("email", handler)
    job_id = await kue.create("email", attempts=3)
    await kue.hears("complete", job_id)

    job = await queue.get(job_id)
    assert job is not None
    assert (job.state, job.attempts, job.attempts_remaining) == (State.COMPLETE, 2, 1)
    assert (job.progress, job.progress_data, job.result) == (100, {"page": "½"}, {"sent": "ja"})
    assert job.error is not None
    assert job.error.startswith("Error: busy\n")
    assert job.started_at is not None
    assert job.failed_at is not None
    assert job.created_at <= job.failed_at <= job.started_at
    assert job.worker_id is not None
    assert job.worker_id.startswith("kue:")
    assert job.duration is not None
    assert job.duration >= timedelta()
    assert await queue.jobs.log(job_id) == ["one of 3", "{ key: [ 1 ] }", "Error: busy", "one of 3", "{ key: [ 1 ] }"]
