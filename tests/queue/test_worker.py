"""A worker: claim, perform, settle; on time, and through everything that can happen to it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Final

import pytest

from rmindr.queue import (
    Abandon,
    Backoff,
    Context,
    InvalidJob,
    Job,
    LeaseLost,
    NewJob,
    Queue,
    QueueUnavailable,
    Retry,
    State,
)
from tests.processes import Process
from tests.queue.crew import (
    NEVER,
    SHORT,
    Handler,
    Hands,
    ended,
    is_blocked,
    is_quiet,
    nothing,
    the_job,
    working,
)
from tests.queue.proxy import Proxy
from tests.queue.scenery import PATIENCE_S, a_lease, eventually, keyspace, until
from tests.redises import a_server
from tests.servers import Valkey

# What is asked with it is given up while Redis is frozen; what is not to be given up on a busy machine, somebody patient asks.
IMPATIENT: Final = timedelta(milliseconds=100)


async def worked(queue: Queue, handler: Handler, **asked: Any) -> Job:
    """One job, worked once, as it stands then."""

    async def work(job: Job, context: Context) -> Any:
        queue.shutdown()
        return await handler(job, context)

    queue.process("email", work)
    job = await queue.create("email", {"n": 1}, **asked)
    async with working(queue) as run:
        await run
    return await the_job(queue, job.id)


def more_than(runs: Counter[int], number: int) -> bool:
    return len(runs) > number


# Taking jobs


async def test_a_job_that_waits_is_worked(live_queue: Queue) -> None:
    async def work(job: Job, context: Context) -> dict[str, Any]:
        return {"saw": job.data, "state": job.state, "worker": job.worker_id}

    job = await worked(live_queue, work)

    name = f"kue:{socket.gethostname()}:{os.getpid()}:email:1"
    assert (job.state, job.attempts, job.progress, job.worker_id) == (State.COMPLETE, 1, 100, name)
    assert job.result == {"saw": {"n": 1}, "state": "active", "worker": name}


async def test_a_job_that_arrives_wakes_a_sleeping_worker(live_queue: Queue) -> None:
    live_queue.process("email", nothing)

    async with working(live_queue):
        for n in range(1, 6):
            await live_queue.create("email")
            await eventually(partial(ended, live_queue, n))


async def test_as_many_jobs_as_there_are_slots_are_in_hand_at_once(live_queue: Queue) -> None:
    hands = Hands()
    live_queue.process("email", hands, concurrency=3)
    await live_queue.create_many([NewJob(type="email")] * 10)

    async with working(live_queue):
        await until(lambda: len(hands.held) == 3)
        assert await live_queue.jobs.counts() == {"delayed": 0, "inactive": 7, "active": 3, "complete": 0, "failed": 0}
        assert live_queue.worker is not None
        assert live_queue.worker.active == 3
        hands.let_go()
        await eventually(lambda: ended(live_queue, *range(1, 11)))

    assert (hands.most, hands.runs) == (3, Counter(range(1, 11)))


async def test_the_most_urgent_is_worked_first(live_queue: Queue) -> None:
    order: list[int] = []

    async def work(job: Job, context: Context) -> None:
        order.append(job.id)

    live_queue.process("email", work)
    for priority in ("normal", "low", "critical", "normal", "high"):
        await live_queue.create("email", priority=priority)
    async with working(live_queue):
        await until(lambda: len(order) == 5)

    assert order == [3, 5, 1, 4, 2]


async def test_two_workers_work_each_job_once(valkey: Valkey, prefix: str) -> None:
    runs: Counter[int] = Counter()

    async def work(job: Job, context: Context) -> None:
        await asyncio.sleep(0)
        runs[job.id] += 1

    async with Queue.open(valkey.url, prefix=prefix) as one, Queue.open(valkey.url, prefix=prefix) as two:
        for queue in (one, two):
            queue.process("email", work, concurrency=7)
        async with working(one), working(two):
            for _ in range(10):
                await one.create_many([NewJob(type="email")] * 50)
            await eventually(lambda: ended(one, *range(1, 501)))

    assert runs == Counter(range(1, 501))


async def test_nothing_is_left_of_jobs_that_ask_for_it(live_queue: Queue) -> None:
    live_queue.process("email", nothing, concurrency=5)
    live_queue.process("letter", nothing, concurrency=1)

    async with working(live_queue):
        for n in range(40):
            await live_queue.create("email", remove_on_complete=True, unique=f"key {n}")
            await live_queue.create("letter", remove_on_complete=True, delay=timedelta(milliseconds=n))
        await eventually(lambda: _is_empty(live_queue))

    left = await keyspace(live_queue)
    # One token may be left for those who wait for the clock; it costs one look.
    assert left.keys() - {"wake"} == {"ids", "job:types", "stats:work-time"}


async def _is_empty(queue: Queue) -> bool:
    return not any((await queue.jobs.counts()).values())


async def test_several_types_are_worked_each_with_its_own_slots(live_queue: Queue) -> None:
    email, letter = Hands(), Hands()
    live_queue.process("email", email, concurrency=2)
    live_queue.process("letter", letter, concurrency=1)
    for type in ("email", "letter", "unknown"):
        await live_queue.create_many([NewJob(type=type)] * 3)

    async with working(live_queue):
        await until(lambda: len(email.held) == 2 and len(letter.held) == 1)
        assert (await live_queue.jobs.counts())[State.ACTIVE] == 3
        letter.let_go()
        await eventually(lambda: ended(live_queue, 4, 5, 6))
        assert (sorted(email.held), letter.most) == ([1, 2], 1)
        email.let_go()

    assert await live_queue.jobs.states([7, 8, 9]) == [State.INACTIVE] * 3


async def test_a_type_whose_last_slot_becomes_free_is_listened_for_again(live_queue: Queue) -> None:
    # While `email` is busy the worker sleeps until a letter comes; when it is free, it must be woken to sleep for both.
    hands = Hands()
    live_queue.process("email", hands)
    live_queue.process("letter", nothing)

    async with working(live_queue):
        await live_queue.create("email")
        await until(lambda: hands.held)
        await live_queue.create("letter")
        await eventually(lambda: ended(live_queue, 2))
        hands.let_go()
        await eventually(lambda: ended(live_queue, 1))
        await live_queue.create("email")
        await eventually(lambda: ended(live_queue, 3))
        await live_queue.create("letter")
        await eventually(lambda: ended(live_queue, 4))


async def test_a_lost_hint_delays_a_job_by_one_tick_at_most(live_queue: Queue) -> None:
    live_queue.process("email", nothing)

    async with working(live_queue, tick=SHORT):
        async with live_queue.redis.pipeline(transaction=True) as pipe:
            # A job that nobody was told of: its token is taken away in the same breath.
            pipe.hset(
                live_queue.keys.job(1), mapping={"type": "email", "data": "{}", "priority": "0", "created_at": "1"}
            )
            pipe.hset(live_queue.keys.job(1), "state", "inactive")
            for name in ("jobs", "jobs:inactive", "jobs:email:inactive"):
                pipe.zadd(f"{live_queue.keys.prefix}:{name}", {"01|1": 0})
            await pipe.execute()

        await eventually(lambda: ended(live_queue, 1))


async def test_an_idle_worker_is_nearly_silent(own_valkey: Valkey) -> None:
    async with Queue.open(own_valkey.url) as queue:
        queue.process("email", nothing)
        async with working(queue):
            await queue.create("email", delay=NEVER)
            await eventually(lambda: is_blocked(queue))

            await eventually(lambda: is_quiet(queue, "evalsha"))


# On time


async def test_a_delayed_job_is_worked_when_due_and_not_before(live_queue: Queue) -> None:
    live_queue.process("email", nothing)

    async with working(live_queue):
        jobs = [await live_queue.create("email", delay=timedelta(milliseconds=wait)) for wait in (150, 10, 80)]
        await eventually(lambda: ended(live_queue, *(job.id for job in jobs)))

    for created in jobs:
        job = await the_job(live_queue, created.id)
        assert job.started_at is not None
        assert job.promote_at is not None
        assert job.started_at >= job.promote_at == created.promote_at


async def test_a_worker_that_sleeps_for_a_far_job_is_told_of_a_nearer_one(live_queue: Queue) -> None:
    live_queue.process("email", nothing)
    await live_queue.create("email", delay=timedelta(days=1))

    async with working(live_queue):
        await eventually(lambda: is_blocked(live_queue))
        await live_queue.create("email", delay=timedelta(milliseconds=30))
        await eventually(lambda: ended(live_queue, 2))
        await live_queue.update(1, delay=timedelta(milliseconds=30))
        await eventually(lambda: ended(live_queue, 1))


async def test_a_job_that_became_due_while_nobody_worked_is_worked_at_once(live_queue: Queue) -> None:
    live_queue.process("email", nothing)
    await live_queue.create("email", delay=timedelta(milliseconds=1))
    await asyncio.sleep(0.01)

    async with working(live_queue):
        await eventually(lambda: ended(live_queue, 1))


async def test_more_jobs_due_at_once_than_one_claim_promotes_are_all_worked(live_queue: Queue) -> None:
    live_queue.process("email", nothing, concurrency=50)
    await live_queue.create_many(
        [NewJob(type="email", delay=timedelta(milliseconds=1), remove_on_complete=True)] * 1100
    )

    async with working(live_queue):
        await eventually(lambda: _is_empty(live_queue))


# How a run ends


class Wordless(Exception):
    """An exception that cannot even be printed."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


async def _await_somebody_cancelled() -> None:
    task = asyncio.create_task(asyncio.sleep(PATIENCE_S))
    task.cancel()
    await task


async def _bad_creation() -> None:
    NewJob(type="").to_args()


def _raising(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("fail", "message", "first_line"),
    [
        (_raising(ValueError("no")), "no", "ValueError: no"),
        (_raising(ValueError("two\nlines")), "two\nlines", "ValueError: two"),
        (_raising(ValueError()), "ValueError", "ValueError: ValueError"),
        (_raising(KeyError("key")), "'key'", "KeyError: 'key'"),
        (_raising(TimeoutError("slow")), "slow", "TimeoutError: slow"),
        (_raising(SystemExit(3)), "3", "SystemExit: 3"),
        (_raising(InvalidJob("a type must be")), "a type must be", "InvalidJob: a type must be"),
        (_raising(QueueUnavailable("away")), "away", "QueueUnavailable: away"),
        (
            _raising(ExceptionGroup("many", [ValueError()])),
            "many (1 sub-exception)",
            "ExceptionGroup: many (1 sub-exception)",
        ),
        (_raising(Wordless()), "Wordless", "Wordless: Wordless"),
        (_await_somebody_cancelled, "CancelledError", "CancelledError: CancelledError"),
    ],
    ids=lambda value: value.split("\n")[0] if isinstance(value, str) else "",
)
async def test_an_exception_is_a_failure_that_says_what_and_where(
    live_queue: Queue, fail: Callable[[], Awaitable[None]], message: str, first_line: str
) -> None:
    said: list[str] = []
    live_queue.on("job failed", lambda _, message, __: said.append(message))

    async def work(job: Job, context: Context) -> None:
        await fail()

    async with live_queue.listening():
        job = await worked(live_queue, work)
        await until(lambda: said)

    assert (job.state, job.attempts, said) == (State.FAILED, 1, [message])
    assert job.error is not None
    assert job.error.splitlines()[0] == first_line
    assert "test_worker.py" in job.error
    assert await live_queue.jobs.log(1) == [first_line]


async def test_an_endless_message_is_cut(live_queue: Queue) -> None:
    async def work(job: Job, context: Context) -> None:
        raise ValueError("x" * 10_000_000)

    job = await worked(live_queue, work)

    assert job.error is not None
    assert len(job.error) == 20_000


async def test_what_a_handler_cannot_encode_does_not_stop_the_worker(live_queue: Queue) -> None:
    async def work(job: Job, context: Context) -> None:
        await context.log("half a \ud83c character")
        raise ValueError("another \udfff half")

    job = await worked(live_queue, work)

    assert job.state is State.FAILED


async def test_a_failure_with_attempts_left_waits_as_its_backoff_says(live_queue: Queue) -> None:
    async def work(job: Job, context: Context) -> None:
        raise ValueError("no")

    job = await worked(live_queue, work, attempts=3, backoff=Backoff.exponential(timedelta(hours=1)))

    assert (job.state, job.attempts, job.delay) == (State.DELAYED, 1, timedelta(minutes=30))


async def test_a_job_is_tried_until_it_succeeds(live_queue: Queue) -> None:
    tries = 0

    async def work(job: Job, context: Context) -> int:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ValueError("not yet")
        return tries

    live_queue.process("email", work)
    await live_queue.create("email", attempts=5, backoff=Backoff.fixed(timedelta(milliseconds=5)))
    async with working(live_queue):
        await eventually(lambda: ended(live_queue, 1))

    job = await the_job(live_queue)
    assert (job.state, job.result, job.attempts) == (State.COMPLETE, 3, 3)


async def test_retry_counts_as_an_attempt_and_waits_as_it_says(live_queue: Queue) -> None:
    async def work(job: Job, context: Context) -> None:
        raise Retry("greylisted", after=timedelta(minutes=7))

    job = await worked(live_queue, work, attempts=2, backoff=Backoff.fixed(timedelta(hours=1)))

    assert (job.state, job.attempts, job.delay) == (State.DELAYED, 1, timedelta(minutes=7))
    assert job.error == "greylisted"


async def test_retry_without_attempts_left_fails(live_queue: Queue) -> None:
    async def work(job: Job, context: Context) -> None:
        raise Retry(after=timedelta(minutes=7))

    job = await worked(live_queue, work, attempts=1)

    assert (job.state, job.error) == (State.FAILED, "again in 0:07:00")


async def test_an_uncounted_retry_is_no_attempt_and_no_failure(live_queue: Queue) -> None:
    async def work(job: Job, context: Context) -> None:
        raise Retry(after=timedelta(minutes=7), counted=False)

    job = await worked(live_queue, work, attempts=1)

    assert (job.state, job.attempts, job.error) == (State.DELAYED, 0, None)
    assert job.promote_at is not None
    assert job.updated_at is not None
    assert job.promote_at - job.updated_at == timedelta(minutes=7)


@pytest.mark.parametrize("after", [timedelta.max, timedelta.min])
@pytest.mark.parametrize("counted", [True, False])
async def test_a_retry_after_all_dates_or_before_now_does_not_stop_the_worker(
    live_queue: Queue, after: timedelta, counted: bool
) -> None:
    async def work(job: Job, context: Context) -> None:
        raise Retry(after=after, counted=counted)

    job = await worked(live_queue, work, attempts=2)

    assert job.state is (State.DELAYED if after > timedelta(0) else State.INACTIVE)


async def test_a_retry_that_makes_no_sense_is_a_failure(live_queue: Queue) -> None:
    async def work(job: Job, context: Context) -> None:
        raise Retry(after=5)  # type: ignore[arg-type]

    job = await worked(live_queue, work)

    assert job.error is not None
    assert job.error.startswith("TypeError: after must be a timedelta, not 5")


async def test_abandon_fails_for_good_whatever_attempts_are_left(live_queue: Queue) -> None:
    async def work(job: Job, context: Context) -> None:
        raise Abandon("mailbox does not exist")

    job = await worked(live_queue, work, attempts=9)

    assert (job.state, job.attempts, job.error) == (State.FAILED, 1, "mailbox does not exist")


@pytest.mark.parametrize(
    "result", [object(), float("nan"), {1, 2}, "x" * 600_000], ids=["object", "nan", "set", "large"]
)
async def test_a_result_that_is_no_json_is_a_failure_that_says_so(live_queue: Queue, result: Any) -> None:
    async def work(job: Job, context: Context) -> Any:
        return result

    job = await worked(live_queue, work)

    assert job.state is State.FAILED
    assert job.error is not None
    assert job.error.startswith("the handler's result: result must be ")


async def test_a_handler_that_is_no_coroutine_fails_its_jobs_and_not_the_worker(live_queue: Queue) -> None:
    live_queue.process("email", lambda job, context: None)  # type: ignore[arg-type, return-value]
    await live_queue.create("email")

    async with working(live_queue):
        await eventually(lambda: ended(live_queue, 1))

    assert (await the_job(live_queue)).state is State.FAILED


@pytest.mark.parametrize(
    ("done", "total", "percent"), [(1, 3, 33), (2, 1, 100), (0, 0, 100), (-1, 4, -25), (0.5, 1, 50)]
)
async def test_progress_is_told_in_percent_as_kue_reckons(
    live_queue: Queue, done: float, total: float, percent: int
) -> None:
    async def work(job: Job, context: Context) -> None:
        await context.progress(done, total, {"page": 1})
        raise Abandon("to see what was told before")

    job = await worked(live_queue, work)

    assert (job.progress, job.progress_data) == (percent, {"page": 1})


# A job's own limit


async def test_a_run_that_outlives_its_ttl_is_ended_by_its_worker(live_queue: Queue) -> None:
    hands = Hands()

    job = await worked(live_queue, hands, ttl=timedelta(milliseconds=100), attempts=2, backoff=Backoff.fixed(NEVER))

    assert (job.state, job.error, job.attempts) == (State.DELAYED, "TTL exceeded", 1)
    assert hands.cancelled == [1]


async def test_a_very_short_ttl_still_leaves_time_to_work(live_queue: Queue) -> None:
    job = await worked(live_queue, nothing, ttl=timedelta(milliseconds=40))

    assert job.state is State.COMPLETE


@pytest.mark.parametrize("ttl", ["0", "-5"])
async def test_a_ttl_of_nothing_is_none_as_in_kue(live_queue: Queue, ttl: str) -> None:
    await live_queue.redis.set(live_queue.keys.ids, 0)
    await live_queue.create("email")
    await live_queue.redis.hset(live_queue.keys.job(1), "ttl", ttl)
    live_queue.process("email", nothing)

    async with working(live_queue):
        await eventually(lambda: ended(live_queue, 1))

    assert (await the_job(live_queue)).state is State.COMPLETE


async def test_progress_gives_a_run_its_whole_ttl_again(live_queue: Queue) -> None:
    ttl = timedelta(seconds=1.5)

    async def work(job: Job, context: Context) -> str:
        begun = time.monotonic()
        while time.monotonic() - begun < ttl.total_seconds() * 1.2:
            await context.progress(1, 2)
            await asyncio.sleep(0.05)
        return "done"

    job = await worked(live_queue, work, ttl=ttl)

    assert (job.state, job.result) == (State.COMPLETE, "done")


async def test_a_run_that_its_own_worker_does_not_end_is_ended_by_another(live_queue: Queue) -> None:
    await live_queue.create("email", ttl=timedelta(milliseconds=20))
    await a_lease(live_queue, lease=NEVER)
    await asyncio.sleep(0.03)

    async with working(live_queue, lease=SHORT):
        await eventually(lambda: ended(live_queue, 1))

    assert (await the_job(live_queue)).error == "TTL exceeded"


# Leases


async def test_a_lease_is_prolonged_for_as_long_as_the_run_lasts(live_queue: Queue) -> None:
    hands = Hands()
    live_queue.process("email", hands)
    await live_queue.create("email", attempts=5)

    async with working(live_queue, lease=timedelta(seconds=1)):
        await until(lambda: hands.held)
        first = await live_queue.redis.zscore(live_queue.keys.leases, "01|1")
        assert first is not None
        await eventually(lambda: _lease_ends_after(live_queue, first + 1000))
        hands.let_go()
        await eventually(lambda: ended(live_queue, 1))

    assert (await the_job(live_queue)).attempts == 1


async def _lease_ends_after(queue: Queue, instant: float) -> bool:
    ends = await queue.redis.zscore(queue.keys.leases, "01|1")
    return ends is not None and ends > instant


@asynccontextmanager
async def the_future(queue: Queue, valkey: Valkey) -> AsyncIterator[Queue]:
    """The same queue a day later, when everybody's leases have lapsed."""
    seconds, _ = await queue.redis.time()
    later = int(seconds) * 1000 + 86_400_000
    async with Queue.open(valkey.url, prefix=queue.keys.prefix, clock=lambda: later) as future:
        yield future


async def test_a_run_whose_lease_is_lost_is_cancelled_and_writes_nothing(live_queue: Queue, valkey: Valkey) -> None:
    hands = Hands()
    live_queue.process("email", hands)
    await live_queue.create("email", attempts=5)

    async with working(live_queue, lease=SHORT), the_future(live_queue, valkey) as future:
        await until(lambda: hands.held)
        live_queue.worker.pause("email")  # type: ignore[union-attr]
        await future.lifecycle.rescue()
        await a_lease(future, token="another's")
        before = await keyspace(live_queue)
        await until(lambda: hands.cancelled)

    assert hands.cancelled == [1]
    assert await keyspace(live_queue) == before
    assert before["job:1"]["lease"] == "another's@kue:here:1:email:1"


async def test_a_handler_hears_that_its_lease_is_lost_when_it_says_something(live_queue: Queue, valkey: Valkey) -> None:
    heard: list[int] = []

    async def work(job: Job, context: Context) -> str:
        async with the_future(live_queue, valkey) as future:
            await future.lifecycle.rescue()
        live_queue.shutdown()
        for say in (context.progress(1, 2), context.log("line")):
            with pytest.raises(LeaseLost) as lost:
                await say
            heard.append(lost.value.job_id)
        return "too late"

    live_queue.process("email", work)
    await live_queue.create("email", attempts=5)
    async with working(live_queue):
        await until(lambda: heard)

    job = await the_job(live_queue)
    assert heard == [1, 1]
    assert (job.state, job.attempts, job.result) == (State.INACTIVE, 1, None)


async def test_a_job_taken_again_while_its_lost_run_is_still_ending_is_not_lost_from_sight(
    live_queue: Queue, valkey: Valkey
) -> None:
    first_may_end, second_may_end, begun = asyncio.Event(), asyncio.Event(), []

    async def work(job: Job, context: Context) -> str:
        begun.append(job.id)
        if len(begun) == 2:
            await second_may_end.wait()
            return "second"
        try:
            await asyncio.sleep(PATIENCE_S)
        finally:
            await first_may_end.wait()
        return "first"

    live_queue.process("email", work, concurrency=2)
    await live_queue.create("email", attempts=5)
    async with working(live_queue, lease=timedelta(seconds=1)), the_future(live_queue, valkey) as future:
        await until(lambda: begun)
        await future.lifecycle.rescue()
        await until(lambda: len(begun) == 2)
        first_may_end.set()
        assert live_queue.worker is not None
        await until(lambda: live_queue.worker.active == 1)  # type: ignore[union-attr]
        prolonged = await live_queue.redis.zscore(live_queue.keys.leases, "01|1")
        assert prolonged is not None
        await eventually(lambda: _lease_ends_after(live_queue, prolonged))
        second_may_end.set()
        await eventually(lambda: ended(live_queue, 1))

    job = await the_job(live_queue)
    assert (job.result, job.attempts) == ("second", 2)


# Workers that die

CHILD: Final = """
import asyncio, os, signal, sys
from datetime import timedelta
from rmindr.queue import Queue

async def main(url, prefix, deed):
    async def work(job, context):
        if deed == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        print("took", job.id, flush=True)
        await asyncio.sleep(3600)

    async with Queue.open(url, prefix=prefix) as queue:
        queue.process("email", work, concurrency=3)
        await queue.run(lease=timedelta(seconds=1))

asyncio.run(main(*sys.argv[1:]))
"""


def a_child(queue: Queue, valkey: Valkey, deed: str) -> Process:
    return Process(valkey.url, queue.keys.prefix, deed, env={}, command=(sys.executable, "-c", CHILD))


async def test_the_jobs_of_a_killed_process_are_worked_by_another(live_queue: Queue, valkey: Valkey) -> None:
    await live_queue.create_many([NewJob(type="email", attempts=5)] * 3)
    live_queue.process("email", nothing)

    async with a_child(live_queue, valkey, "sleep") as child:
        for n in (1, 2, 3):
            await child.line(f"took {n}")
        await child.kill()
    async with working(live_queue, lease=timedelta(seconds=1)):
        await eventually(lambda: ended(live_queue, 1, 2, 3))

    for n in (1, 2, 3):
        job = await the_job(live_queue, n)
        assert (job.state, job.attempts, job.error) == (State.COMPLETE, 2, "worker lost (1 of 3)")


async def test_a_job_that_kills_its_process_three_times_fails_and_others_do_not(
    live_queue: Queue, valkey: Valkey
) -> None:
    await live_queue.create("email", attempts=9)
    live_queue.process("letter", nothing)
    await live_queue.create("letter")

    async with working(live_queue, lease=timedelta(seconds=1)):
        for _ in range(3):
            async with a_child(live_queue, valkey, "die") as child:
                await child.ended()
        await eventually(lambda: ended(live_queue, 1, 2))

    job = await the_job(live_queue)
    assert (job.state, job.attempts, job.error) == (State.FAILED, 3, "worker lost (3 of 3)")
    assert (await the_job(live_queue, 2)).attempts == 1


# Pausing


async def test_a_paused_type_is_not_taken_until_it_is_resumed(live_queue: Queue) -> None:
    live_queue.process("email", nothing)
    live_queue.process("letter", nothing)

    async with working(live_queue):
        worker = live_queue.worker
        assert worker is not None
        worker.pause("email")
        await live_queue.create("email")
        await live_queue.create("letter")
        await eventually(lambda: ended(live_queue, 2))
        assert await live_queue.jobs.states([1]) == [State.INACTIVE]
        worker.resume("email")
        await eventually(lambda: ended(live_queue, 1))


async def test_a_job_in_hand_goes_on_when_its_type_is_paused(live_queue: Queue) -> None:
    hands = Hands()
    live_queue.process("email", hands)
    await live_queue.create_many([NewJob(type="email")] * 2)

    async with working(live_queue):
        await until(lambda: hands.held)
        live_queue.worker.pause("email")  # type: ignore[union-attr]
        hands.let_go()
        await eventually(lambda: ended(live_queue, 1))
        assert await live_queue.jobs.states([2]) == [State.INACTIVE]


async def test_a_paused_worker_does_not_keep_the_token_that_another_waits_for(valkey: Valkey, prefix: str) -> None:
    async with Queue.open(valkey.url, prefix=prefix) as paused, Queue.open(valkey.url, prefix=prefix) as other:
        for queue in (paused, other):
            queue.process("email", nothing)
        async with working(paused):
            await eventually(lambda: is_blocked(paused))
            paused.worker.pause("email")  # type: ignore[union-attr]
            await paused.create("email")
            # Its own sleep was for this type still; what it was woken with, it gives back.
            await eventually(lambda: paused.redis.llen(paused.keys.tokens("email")))
            async with working(other):
                await eventually(lambda: ended(other, 1))


# Stopping


async def test_a_worker_that_is_told_to_stop_ends_what_is_in_hand_and_takes_nothing_more(live_queue: Queue) -> None:
    hands = Hands()
    live_queue.process("email", hands, concurrency=2)
    await live_queue.create_many([NewJob(type="email")] * 5)

    async with working(live_queue) as run:
        await until(lambda: len(hands.held) == 2)
        live_queue.shutdown()
        live_queue.shutdown()
        hands.let_go()
        await run

    assert await live_queue.jobs.counts() == {"delayed": 0, "inactive": 3, "active": 0, "complete": 2, "failed": 0}
    assert live_queue.worker is None


async def test_what_does_not_end_within_the_grace_is_given_back_unharmed_and_another_worker_goes_on(
    valkey: Valkey, live_queue: Queue
) -> None:
    hands = Hands()
    live_queue.process("email", hands, concurrency=2)
    await live_queue.create_many([NewJob(type="email", attempts=1)] * 2)
    async with working(live_queue, grace=timedelta(milliseconds=50)):
        await until(lambda: len(hands.held) == 2)

    assert (sorted(hands.cancelled), await live_queue.jobs.states([1, 2])) == ([1, 2], [State.INACTIVE] * 2)
    async with Queue.open(valkey.url, prefix=live_queue.keys.prefix) as second:
        second.process("email", nothing)
        async with working(second):
            await eventually(lambda: ended(second, 1, 2))
        jobs = [await the_job(second, n) for n in (1, 2)]

    assert [(job.state, job.attempts, job.error) for job in jobs] == [(State.COMPLETE, 1, None)] * 2


async def test_a_worker_that_is_cancelled_gives_back_what_it_holds(live_queue: Queue) -> None:
    hands = Hands()
    live_queue.process("email", hands)
    await live_queue.create("email")

    run = asyncio.create_task(live_queue.run())
    await until(lambda: hands.held)
    run.cancel()
    await asyncio.wait([run])

    assert run.cancelled()
    job = await the_job(live_queue)
    assert (job.state, job.attempts, hands.cancelled) == (State.INACTIVE, 0, [1])


async def test_a_worker_that_is_cancelled_in_the_middle_of_a_claim_gives_back_what_it_took(
    valkey: Valkey, prefix: str
) -> None:
    async with Proxy(valkey.port) as proxy, Queue.open(proxy.url, prefix=prefix) as queue:
        hands = Hands()
        queue.process("email", hands)
        await queue.create("email")
        run = asyncio.create_task(queue.run())
        proxy.when(b"kue:", run.cancel)
        await asyncio.wait([run])
        job = await the_job(queue)

    assert run.cancelled()
    assert (job.state, job.attempts, hands.runs) == (State.INACTIVE, 0, Counter())


async def test_the_same_queue_can_work_again(live_queue: Queue) -> None:
    live_queue.process("email", nothing)

    for n in (1, 2):
        async with working(live_queue):
            await live_queue.create("email")
            await eventually(partial(ended, live_queue, n))


async def test_a_claim_that_is_answered_after_the_order_to_stop_is_given_back(valkey: Valkey, prefix: str) -> None:
    async with Proxy(valkey.port) as proxy, Queue.open(proxy.url, prefix=prefix) as queue:
        hands = Hands()
        queue.process("email", hands)
        await queue.create("email")
        proxy.when(b"kue:", queue.shutdown)
        async with working(queue) as run:
            await run
        job = await the_job(queue)

    assert (job.state, job.attempts, hands.runs) == (State.INACTIVE, 0, Counter())


# Redis at its worst


async def test_a_claim_whose_answer_is_lost_on_the_way_is_worked_once(valkey: Valkey, prefix: str) -> None:
    async with Proxy(valkey.port) as proxy, Queue.open(proxy.url, prefix=prefix) as queue:
        hands = Hands()
        queue.process("email", hands, concurrency=2)
        await queue.create_many([NewJob(type="email")] * 5)
        proxy.lose_answer(b"kue:")
        proxy.lose_answer(b"kue:")
        async with working(queue):
            await until(lambda: len(hands.held) == 2)
            assert (await queue.jobs.counts())[State.ACTIVE] == 2
            hands.let_go()
            await eventually(lambda: ended(queue, 1, 2, 3, 4, 5))
        jobs = [await the_job(queue, n) for n in range(1, 6)]

    assert (hands.runs, hands.most) == (Counter(range(1, 6)), 2)
    assert [(job.state, job.attempts, job.error) for job in jobs] == [(State.COMPLETE, 1, None)] * 5


async def test_a_claim_whose_answer_is_lost_when_the_worker_stops_is_given_back(valkey: Valkey, prefix: str) -> None:
    async with Proxy(valkey.port) as proxy, Queue.open(proxy.url, prefix=prefix) as queue:
        hands = Hands()
        queue.process("email", hands)
        await queue.create("email")
        proxy.lose_answer(b"kue:", then=queue.shutdown)
        async with working(queue) as run:
            await run
        job = await the_job(queue)

    assert (job.state, job.attempts, hands.runs) == (State.INACTIVE, 0, Counter())


@pytest.mark.parametrize("fails", [False, True], ids=["complete", "fail"])
async def test_an_ending_whose_answer_is_lost_has_happened_once(valkey: Valkey, prefix: str, fails: bool) -> None:
    async with Proxy(valkey.port) as proxy, Queue.open(proxy.url, prefix=prefix) as queue:

        async def work(job: Job, context: Context) -> str:
            proxy.lose_answer(b"the last word")
            if fails:
                raise Abandon("the last word")
            return "the last word"

        job = await worked(queue, work, attempts=5)

    assert (job.state, job.attempts) == (State.FAILED if fails else State.COMPLETE, 1)


async def test_cut_connections_cost_no_job_and_double_none(valkey: Valkey, prefix: str) -> None:
    runs: Counter[int] = Counter()

    async def work(job: Job, context: Context) -> None:
        runs[job.id] += 1
        await asyncio.sleep(0.005)

    async with (
        Proxy(valkey.port) as proxy,
        Queue.open(proxy.url, prefix=prefix) as queue,
        Queue.open(valkey.url, prefix=prefix) as quiet,
    ):
        queue.process("email", work, concurrency=5)
        await quiet.create_many([NewJob(type="email", attempts=9)] * 100)
        async with working(queue):
            while not await ended(quiet, *range(1, 101)):
                await proxy.cut()
                await asyncio.sleep(0.05)
        jobs = [await the_job(quiet, n) for n in range(1, 101)]

    assert runs == Counter(range(1, 101))
    assert {(job.state, job.attempts, job.error) for job in jobs} == {(State.COMPLETE, 1, None)}


async def test_a_killed_and_restarted_redis_costs_no_job_and_doubles_none() -> None:
    valkey = a_server(appendonly=True)
    valkey.start()
    try:
        async with Queue.open(valkey.url, patience=timedelta(milliseconds=500)) as queue:
            hands = Hands()
            queue.process("email", hands, concurrency=5)
            await queue.redis.config_set("appendfsync", "always")
            await queue.create_many([NewJob(type="email", attempts=9)] * 20)
            async with working(queue):
                await until(lambda: len(hands.held) == 5)
                valkey.kill()
                hands.let_go()
                await until(lambda: not hands.held)
                valkey.start()
                await eventually(lambda: _answers(ended(queue, *range(1, 21))))
            jobs = [await the_job(queue, n) for n in range(1, 21)]
    finally:
        valkey.remove()

    assert hands.runs == Counter(range(1, 21))
    assert {(job.state, job.attempts, job.error) for job in jobs} == {(State.COMPLETE, 1, None)}


async def _answers(question: Awaitable[Any]) -> Any:
    """The answer; nothing while Redis is away."""
    try:
        return await question
    except QueueUnavailable:
        return None


async def test_a_frozen_redis_costs_no_job_and_doubles_none(own_valkey: Valkey) -> None:
    runs: Counter[int] = Counter()

    async def work(job: Job, context: Context) -> None:
        runs[job.id] += 1
        await asyncio.sleep(0.01)

    async with Queue.open(own_valkey.url) as patient, Queue.open(own_valkey.url, patience=IMPATIENT) as queue:
        queue.process("email", work, concurrency=5)
        await patient.create_many([NewJob(type="email", attempts=9)] * 100)
        async with working(queue):
            for _ in range(3):
                await until(partial(more_than, runs, min(len(runs) + 5, 99)))
                own_valkey.freeze()
                await asyncio.sleep(0.3)
                own_valkey.thaw()
            await eventually(lambda: ended(patient, *range(1, 101)))
        jobs = [await the_job(patient, n) for n in range(1, 101)]

    assert runs == Counter(range(1, 101))
    assert {(job.state, job.attempts, job.error) for job in jobs} == {(State.COMPLETE, 1, None)}


async def test_an_outage_longer_than_a_lease_does_not_make_the_living_count_as_dead(own_valkey: Valkey) -> None:
    # A quarter of it is what the living have to come back in, on a busy machine too.
    hands, lease = Hands(), timedelta(seconds=2)
    async with (
        Queue.open(own_valkey.url) as patient,
        Queue.open(own_valkey.url, patience=SHORT) as queue,
        Queue.open(own_valkey.url, patience=SHORT) as other,
    ):
        queue.process("email", hands)
        other.process("letter", nothing)
        await patient.create("email", attempts=5)
        async with working(queue, lease=lease, tick=SHORT), working(other, lease=lease, tick=SHORT):
            await until(lambda: hands.held)
            own_valkey.freeze()
            await asyncio.sleep(2.5)
            own_valkey.thaw()
            seconds, micros = await eventually(lambda: _answers(_time(queue)))
            await eventually(lambda: _answers(_lease_ends_after(queue, seconds * 1000 + micros / 1000 + 3000)))
            hands.let_go()
            await eventually(lambda: ended(patient, 1))
        job = await the_job(patient)

    assert (hands.runs, hands.cancelled) == (Counter([1]), [])
    assert (job.state, job.attempts, job.error) == (State.COMPLETE, 1, None)


async def _time(queue: Queue) -> Any:
    try:
        return await queue.redis.time()
    except Exception:
        return None


async def test_a_worker_that_stops_leaves_a_token_for_each_job_that_waits(live_queue: Queue) -> None:
    hands, tokens = Hands(), live_queue.keys.tokens("email")
    live_queue.process("email", hands)
    await live_queue.create_many([NewJob(type="email")] * 3)
    async with working(live_queue):
        await until(lambda: hands.held)
        # As one that it has popped and will not heed any more.
        await live_queue.redis.delete(tokens)
        live_queue.shutdown()
        hands.let_go()

    assert await live_queue.redis.llen(tokens) == 2


async def test_a_worker_starts_before_its_redis_does() -> None:
    valkey = a_server()
    try:
        async with Queue.open(valkey.url) as queue:
            queue.process("email", nothing)
            async with working(queue):
                await asyncio.sleep(0.1)
                valkey.start()
                await eventually(lambda: _answers(queue.create("email")))
                await eventually(lambda: ended(queue, 1))
    finally:
        valkey.remove()


async def test_a_redis_that_was_emptied_cancels_what_is_in_hand_and_goes_on(own_valkey: Valkey) -> None:
    hands = Hands()
    async with Queue.open(own_valkey.url) as queue:
        queue.process("email", hands)
        await queue.create("email")
        async with working(queue, lease=SHORT):
            await until(lambda: hands.held)
            await queue.redis.flushall()
            await until(lambda: hands.cancelled)
            hands.let_go()
            job = await queue.create("email")
            await eventually(lambda: ended(queue, job.id))

    assert (job.id, hands.cancelled) == (2, [1])


async def test_a_run_that_has_ended_when_the_worker_must_go_says_so_still(own_valkey: Valkey) -> None:
    async def work(job: Job, context: Context) -> str:
        own_valkey.freeze()
        return "done"

    async with Queue.open(own_valkey.url) as patient, Queue.open(own_valkey.url, patience=IMPATIENT) as queue:
        queue.process("email", work)
        await patient.create("email")
        async with working(queue, grace=timedelta(milliseconds=300)) as run:
            await until(lambda: queue.worker.active)  # type: ignore[union-attr]
            queue.shutdown()
            await asyncio.sleep(0.5)
            assert not run.done()
            own_valkey.thaw()
        job = await the_job(patient)

    assert (job.state, job.result, job.attempts) == (State.COMPLETE, "done", 1)


async def test_junk_among_the_jobs_stops_nobody(live_queue: Queue) -> None:
    live_queue.process("email", nothing, concurrency=2)
    jobs = await live_queue.create_many(
        [NewJob(type="email")] * 6 + [NewJob(type="email", delay=timedelta(milliseconds=50))] * 2
    )
    redis, keys = live_queue.redis, live_queue.keys
    await redis.hset(keys.job(1), "data", "{")
    await redis.hset(keys.job(2), "type", "letter")
    await redis.delete(keys.job(3))
    await redis.delete(keys.job(4))
    await redis.set(keys.job(4), "junk")
    await redis.hset(keys.job(7), "priority", "nan")
    for name in (keys.in_state("inactive"), keys.of_type("email", "inactive"), keys.in_state("delayed"), keys.leases):
        await redis.zadd(name, {"junk": 0, "03|abc": 0, "02|99": 0})
    await redis.zadd(keys.in_state("delayed"), {"02|98": "inf"})

    async with working(live_queue, lease=SHORT):
        await eventually(lambda: ended(live_queue, 1, 5, 6, 7, 8))

    assert len(jobs) == 8
    expected = [State.FAILED, State.INACTIVE, None, None, State.COMPLETE, State.COMPLETE, State.FAILED, State.COMPLETE]
    assert await live_queue.jobs.states(range(1, 9)) == expected
