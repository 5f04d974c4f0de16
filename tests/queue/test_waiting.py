"""Waiting for a job's end: early or late, whatever becomes of the job, and whatever of its story is not heard."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any, Final

import pytest

from rmindr.queue import Job, JobFailed, JobNotFound, Kept, NewJob, Queue, QueueUnavailable, State, UnreadableJob
from tests.conftest import Clock
from tests.queue.crew import nothing, working
from tests.queue.proxy import Proxy
from tests.queue.scenery import PATIENCE_S, a_lease, eventually, standing, to_the_end
from tests.servers import Valkey

KEPT: Final = timedelta(minutes=5)


async def waiting(queue: Queue, job_id: int = 1, **asked: Any) -> asyncio.Task[Any]:
    """Somebody who waits for this job, and is heard by Redis to listen."""
    task = asyncio.create_task(queue.result(job_id, **asked))
    await eventually(lambda: _is_listening(queue))
    return task


async def _is_listening(queue: Queue) -> bool:
    [(_, listeners)] = await queue.redis.pubsub_numsub(queue.keys.events)
    return bool(listeners)


async def outcome(task: asyncio.Task[Any]) -> Any:
    """What came out: the result, or the error's text."""
    async with asyncio.timeout(PATIENCE_S):
        try:
            return await task
        except JobFailed as failure:
            return failure.error


# Early, late, many


async def test_whoever_waits_early_learns_the_result_when_it_is_there(queue: Queue) -> None:
    await queue.create("email")
    task = await waiting(queue)
    lease = await a_lease(queue)
    assert not task.done()

    await queue.lifecycle.complete(lease, {"code": 250})

    assert await outcome(task) == {"code": 250}


@pytest.mark.parametrize("result", [None, 0, False, "", [], {"ü": [1, None]}])
async def test_whoever_asks_late_learns_the_result_at_once(queue: Queue, result: Any) -> None:
    await queue.create("email")
    await queue.lifecycle.complete(await a_lease(queue), result)

    assert await queue.result(1) == result


async def test_all_who_wait_learn_it_over_one_connection(own_valkey: Valkey) -> None:
    async with Queue.open(own_valkey.url) as queue:
        await queue.create_many([NewJob(type="email", data=n) for n in range(50)])
        waiters = [asyncio.create_task(queue.result(n % 50 + 1)) for n in range(200)]
        await eventually(lambda: _is_listening(queue))
        connections = len(await queue.redis.client_list())

        async def echo(job: Job, context: Any) -> Any:
            return job.data

        queue.process("email", echo, concurrency=10)
        async with working(queue):
            results = await asyncio.gather(*waiters)

    assert results == [n % 50 for n in range(200)]
    assert connections == 2


async def test_a_failure_is_raised_with_all_of_its_text(queue: Queue) -> None:
    await queue.create("email")
    task = await waiting(queue)

    await queue.lifecycle.fail(await a_lease(queue), "no", "Error: no\n  at …", wait_ms=None)

    with pytest.raises(JobFailed, match=r"job 1 has failed: Error: no$") as failure:
        await to_the_end(task)
    assert (failure.value.job_id, failure.value.error) == (1, "Error: no\n  at …")
    with pytest.raises(JobFailed):
        await queue.result(1)


async def test_a_failed_attempt_is_not_the_end(queue: Queue) -> None:
    await queue.create("email", attempts=2)
    task = await waiting(queue)

    await queue.lifecycle.fail(await a_lease(queue), "not yet", wait_ms=0)
    await queue.lifecycle.complete(await a_lease(queue), "at last")

    assert await outcome(task) == "at last"


@pytest.mark.parametrize("running", [True, False])
async def test_a_cancelled_job_has_failed(queue: Queue, running: bool) -> None:
    await queue.create("email", attempts=5)
    task = await waiting(queue)
    lease = await a_lease(queue, token="w.1") if running else None

    await queue.cancel(1)
    if lease is not None:
        await queue.lifecycle.fail(lease, "Cancelled", wait_ms=0)

    assert await outcome(task) == "Cancelled"


# What is gone


@pytest.mark.parametrize("keep", [None, KEPT])
async def test_the_result_of_a_job_that_is_removed_at_once_is_learned_by_whoever_waits(
    queue: Queue, keep: timedelta | None
) -> None:
    await queue.create("email", remove_on_complete=True, keep_outcome=keep)
    task = await waiting(queue)

    await queue.lifecycle.complete(await a_lease(queue), {"code": 250})

    assert await outcome(task) == {"code": 250}


@pytest.mark.parametrize("keep", [None, KEPT])
async def test_the_error_of_a_job_that_is_removed_at_once_is_learned_by_whoever_waits(
    queue: Queue, keep: timedelta | None
) -> None:
    await queue.create("email", remove_on_failure=True, keep_outcome=keep)
    task = await waiting(queue)

    await queue.lifecycle.fail(await a_lease(queue), "no", "no\nat …", wait_ms=None)

    assert await outcome(task) == ("no\nat …" if keep else "no")


async def _complete(queue: Queue) -> None:
    await queue.lifecycle.complete(await a_lease(queue), {"code": 250})


async def _fail(queue: Queue) -> None:
    await queue.lifecycle.fail(await a_lease(queue), "no", wait_ms=None)


async def _complete_and_remove(queue: Queue) -> None:
    await _complete(queue)
    await queue.remove(1)


async def _complete_and_prune(queue: Queue) -> None:
    await queue.steering.retain(State.COMPLETE, Kept(count=0))
    await _complete(queue)


async def _fail_and_remove(queue: Queue) -> None:
    await _fail(queue)
    await queue.jobs.remove_all(State.FAILED)


async def _cancel(queue: Queue) -> None:
    await queue.cancel(1)


@pytest.mark.parametrize(
    ("end", "asked", "expected"),
    [
        (_complete, {"remove_on_complete": True}, {"code": 250}),
        (_complete_and_remove, {}, {"code": 250}),
        (_complete_and_prune, {}, {"code": 250}),
        (_fail, {"remove_on_failure": True}, "no"),
        (_fail_and_remove, {}, "no"),
        (_cancel, {"remove_on_failure": True}, "Cancelled"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
async def test_an_outcome_that_is_kept_can_be_asked_for_when_the_job_is_gone(
    queue: Queue, end: Any, asked: dict[str, Any], expected: Any
) -> None:
    await queue.create("email", keep_outcome=KEPT, **asked)
    await end(queue)
    assert await queue.get(1) is None

    assert await outcome(asyncio.create_task(queue.result(1))) == expected

    left = await queue.redis.pttl(queue.keys.outcome(1))
    assert 0 < left <= KEPT // timedelta(milliseconds=1)


@pytest.mark.parametrize("asked", [{}, {"keep_outcome": KEPT}], ids=["", "kept"])
async def test_a_job_that_is_removed_before_its_end_has_no_outcome(queue: Queue, asked: dict[str, Any]) -> None:
    await queue.create("email", **asked)
    task = await waiting(queue)

    await queue.remove(1)

    with pytest.raises(JobNotFound):
        await to_the_end(task)
    assert not await queue.redis.exists(queue.keys.outcome(1))


async def test_what_never_was_or_is_gone_without_a_word_is_not_found(queue: Queue) -> None:
    await queue.create("email", remove_on_complete=True)
    await _complete(queue)

    for job_id in (1, 99):
        with pytest.raises(JobNotFound):
            await queue.result(job_id)


@pytest.mark.parametrize("place", ["delayed", "inactive", "taken", "kues"])
async def test_waiting_has_a_timeout_and_the_job_goes_on(queue: Queue, clock: Clock, place: str) -> None:
    await standing(queue, clock, place)
    before = await queue.jobs.states([1])

    with pytest.raises(TimeoutError):
        await queue.result(1, timeout=timedelta(milliseconds=30))

    assert await queue.jobs.states([1]) == before


# What is not heard


async def test_an_end_that_was_not_heard_is_seen_when_the_connection_is_back(queue: Queue) -> None:
    await queue.create("email", keep_outcome=KEPT, remove_on_complete=True)
    task = await waiting(queue)
    lease = await a_lease(queue)

    async with queue.redis.pipeline(transaction=True) as pipe:
        pipe.client_kill_filter(_type="pubsub")
        await pipe.execute()
    await queue.lifecycle.complete(lease, "unheard")

    assert await outcome(task) == "unheard"


async def test_an_end_between_the_look_and_the_subscription_is_seen(valkey: Valkey, prefix: str) -> None:
    async with Queue.open(valkey.url, prefix=prefix) as other, Proxy(valkey.port) as proxy:
        async with Queue.open(proxy.url, prefix=prefix) as queue:
            await other.create("email", keep_outcome=KEPT, remove_on_complete=True)
            lease = await a_lease(other)
            ending: list[asyncio.Task[None]] = []
            loop = asyncio.get_running_loop()

            def end() -> None:
                ending.append(loop.create_task(other.lifecycle.complete(lease, "in between")))

            proxy.when(b"SUBSCRIBE", end)
            assert await outcome(asyncio.create_task(queue.result(1))) == "in between"

    await asyncio.gather(*ending)


async def test_an_end_that_nobody_told_of_is_seen_at_the_next_look(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rmindr.queue.waiting._LOOK_AGAIN", timedelta(milliseconds=50))
    # A Kue was killed between its writes and its word.
    await queue.create("email")
    task = await waiting(queue)

    await queue.redis.hset(queue.keys.job(1), mapping={"state": "complete", "result": "7"})

    assert await outcome(task) == 7


async def test_waiting_while_redis_is_away_says_so(own_valkey: Valkey) -> None:
    async with Queue.open(own_valkey.url, patience=timedelta(milliseconds=500)) as queue:
        await queue.create("email")
        own_valkey.kill()

        with pytest.raises(QueueUnavailable):
            await to_the_end(queue.result(1))


@pytest.mark.parametrize("junk", ["", "{", "null", "5", "{}", '{"state":"gone"}', "[" * 100_000])
async def test_an_outcome_that_nobody_can_read_says_so(queue: Queue, junk: str) -> None:
    await queue.redis.set(queue.keys.outcome(1), junk)

    with pytest.raises(UnreadableJob):
        await queue.result(1)


async def test_who_waits_in_the_working_process_hears_by_the_workers_own_ear(own_valkey: Valkey) -> None:
    async with Queue.open(own_valkey.url) as queue:
        queue.process("email", nothing)
        async with working(queue):
            await queue.create("email", delay=timedelta(milliseconds=50))
            task = asyncio.create_task(queue.result(1))
            await eventually(lambda: _is_listening(queue))
            connections: list[Any] = await eventually(partial(_connections, queue, 3))
            await outcome(task)

    assert len(connections) == 3


async def _connections(queue: Queue, number: int) -> list[Any]:
    clients: list[Any] = await queue.redis.client_list()
    return clients if len(clients) >= number else []
