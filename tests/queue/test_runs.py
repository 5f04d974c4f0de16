"""One run in the hands of its handler: what it may log, how it may end, how it is called off, and what a stop makes of it."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any, Final

import pytest

from rmindr.queue import Abandon, Backoff, Context, InvalidJob, Job, LeaseLost, NewJob, Queue, Retry, State
from tests.processes import Process
from tests.queue.crew import NEVER, Hands, children, ended, nothing, the_job, working
from tests.queue.proxy import Proxy
from tests.queue.scenery import a_lease, eventually, until
from tests.servers import Valkey

MS: Final = timedelta(milliseconds=1)


def strange(message: Any) -> Any:
    """A value of a kind that the types forbid."""
    return message


async def worked(queue: Queue, handler: Callable[[Job, Context], Awaitable[Any]], **asked: Any) -> Job:
    """One job, worked once, as it stands then."""

    async def work(job: Job, context: Context) -> Any:
        queue.shutdown()
        return await handler(job, context)

    queue.process("email", work)
    job = await queue.create("email", {"n": 1}, **asked)
    async with working(queue) as run:
        await run
    return await the_job(queue, job.id)


# Its log


async def test_a_handler_writes_lines_of_any_kind_into_its_jobs_log(live_queue: Queue) -> None:
    async def work(job: Job, context: Context) -> None:
        await context.log("this is %s number %d", "test", 1)
        await context.log({"test": "some text"})
        await context.log(ValueError("no"))
        await context.log([1, 2, 3])
        await context.log(None)
        await context.log("100%")

    await worked(live_queue, work)

    lines = ["this is test number 1", '{"test": "some text"}', "ValueError: no", "[1, 2, 3]", "null", "100%"]
    assert await live_queue.jobs.log(1) == lines


async def test_an_endless_line_is_cut(live_queue: Queue) -> None:
    async def work(job: Job, context: Context) -> None:
        await context.log("%s", "x" * 1_000_000)

    await worked(live_queue, work)

    assert [len(line) for line in await live_queue.jobs.log(1)] == [20_000]


# Backoff by a strategy of one's own


async def test_a_named_strategy_says_how_long_to_wait(live_queue: Queue) -> None:
    asked: list[tuple[int, timedelta | None]] = []

    def mine(attempts: int, delay: timedelta | None) -> timedelta:
        asked.append((attempts, delay))
        return attempts * 5 * MS

    tries = 0

    async def work(job: Job, context: Context) -> str:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise ValueError("not yet")
        return "done"

    live_queue.strategy("mine", mine)
    live_queue.process("email", work)
    await live_queue.create("email", attempts=9, delay=2 * MS, backoff=Backoff.named("mine"))
    async with working(live_queue):
        await eventually(partial(ended, live_queue, 1))

    assert asked == [(1, 2 * MS), (2, 5 * MS), (3, 10 * MS)]
    assert (await the_job(live_queue)).delay == 15 * MS


def _raises(attempts: int, delay: timedelta | None) -> timedelta:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("strategy", "delay"),
    [
        (_raises, timedelta(minutes=7)),
        (lambda attempts, delay: 5, timedelta(minutes=7)),
        (lambda attempts, delay: None, timedelta(minutes=7)),
        (lambda: timedelta(minutes=1), timedelta(minutes=7)),
        (None, timedelta(minutes=7)),
        (lambda attempts, delay: timedelta.max, timedelta(milliseconds=1000 * 365 * 86_400_000)),
        (lambda attempts, delay: 0.1 * MS, MS),
    ],
    ids=["raises", "a number", "nothing", "takes nothing", "nobody has it", "for ever", "a fraction"],
)
async def test_a_strategy_that_fails_leaves_the_delay_as_it_was_and_others_are_kept_within_reason(
    live_queue: Queue, strategy: Any, delay: timedelta
) -> None:
    async def work(job: Job, context: Context) -> None:
        live_queue.shutdown()
        raise ValueError("no")

    if strategy is not None:
        live_queue.strategy("mine", strategy)
    live_queue.process("email", work)
    await live_queue.create("email", attempts=2, delay=timedelta(minutes=7), backoff=Backoff.named("mine"))
    await live_queue.update(1, delay=timedelta(0))
    await live_queue.redis.hset(live_queue.keys.job(1), "delay", 7 * 60_000)
    async with working(live_queue) as run:
        await run

    job = await the_job(live_queue)
    assert job.delay == delay
    # What is due at once may be ready by now.
    assert job.state is State.DELAYED or delay == MS


@pytest.mark.parametrize("wait", [timedelta(0), timedelta.min])
async def test_a_strategy_that_waits_for_nothing_tries_again_at_once(live_queue: Queue, wait: timedelta) -> None:
    async def work(job: Job, context: Context) -> None:
        raise ValueError("no")

    live_queue.strategy("mine", lambda attempts, delay: wait)

    assert (await worked(live_queue, work, attempts=2, backoff=Backoff.named("mine"))).state is State.INACTIVE


# However a handler ends, its job has ended with it


class OfItsOwn(BaseException):
    """What no `except Exception` catches."""


def _deep() -> Any:
    return _deep()


def _raising(error: BaseException) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


@pytest.mark.parametrize(
    ("fail", "first_line"),
    [
        (_raising(OfItsOwn("of its own")), "OfItsOwn: of its own"),
        (_raising(SystemExit()), "SystemExit: SystemExit"),
        (_raising(StopAsyncIteration("stop")), "StopAsyncIteration: stop"),
        (_raising(MemoryError()), "MemoryError: MemoryError"),
        (_raising(BaseExceptionGroup("many", [OfItsOwn()])), "BaseExceptionGroup: many (1 sub-exception)"),
        (_raising(AssertionError("wrong")), "AssertionError: wrong"),
        (_raising(LeaseLost(9, "complete")), "LeaseLost: cannot complete job 9: this worker's lease on it is gone"),
        (_raising(InvalidJob("odd")), "InvalidJob: odd"),
        (_deep, "RecursionError: maximum recursion depth exceeded"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_whatever_a_handler_raises_fails_its_job_and_nothing_else(
    live_queue: Queue, fail: Callable[[], Any], first_line: str
) -> None:
    async def work(job: Job, context: Context) -> Any:
        return fail() if job.id == 1 else "well"

    live_queue.process("email", work)
    await live_queue.create_many([NewJob(type="email")] * 2)
    async with working(live_queue):
        await eventually(partial(ended, live_queue, 1, 2))

    failed, well = await the_job(live_queue, 1), await the_job(live_queue, 2)
    assert failed.error is not None
    assert (failed.state, failed.error.splitlines()[0]) == (State.FAILED, first_line)
    assert (well.state, well.result) == (State.COMPLETE, "well")


INTERRUPTED: Final = """
import asyncio, sys
from rmindr.queue import Queue

async def main(url, prefix):
    async def work(job, context):
        if job.type == "email":
            raise KeyboardInterrupt
        await asyncio.sleep(3600)

    async with Queue.open(url, prefix=prefix) as queue:
        queue.process("email", work)
        queue.process("letter", work)
        await queue.run()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_an_interrupt_in_a_handler_ends_the_process_and_gives_back_what_it_held(
    live_queue: Queue, valkey: Valkey
) -> None:
    await live_queue.create("letter")
    command = (sys.executable, "-c", INTERRUPTED)
    async with Process(valkey.url, live_queue.keys.prefix, env={}, command=command) as child:
        await eventually(lambda: _is(live_queue, 1, State.ACTIVE))
        await live_queue.create("email")
        status = await child.ended()

    assert status in (-signal.SIGINT, 130)
    jobs = [await the_job(live_queue, n) for n in (1, 2)]
    assert [(job.state, job.attempts, job.error) for job in jobs] == [(State.INACTIVE, 0, None)] * 2


async def _is(queue: Queue, job_id: int, state: State) -> bool:
    return await queue.jobs.states([job_id]) == [state]


# Called off


async def test_a_run_in_another_process_hears_at_once_that_it_is_called_off_and_its_slot_is_free(
    live_queue: Queue, valkey: Valkey
) -> None:
    async with children(2, live_queue, valkey, {"email": 1}) as crew:
        await live_queue.create_many([NewJob(type="email", data={"sleep": 3600}, attempts=5)] * 2)
        for child in crew:
            await child.line("^took")
        await live_queue.create("email", {"result": "next"})

        # No tick, no lease's end is near: the bell is what tells.
        assert await live_queue.cancel(1) is State.ACTIVE
        await eventually(partial(ended, live_queue, 1, 3))

    heard = [line for child in crew for line in child.lines if line.startswith("heard")]
    job, other = await the_job(live_queue, 1), await live_queue.jobs.states([2])
    assert heard == ["heard 1"]
    assert (job.state, job.error, job.attempts, other) == (State.FAILED, "Cancelled", 1, [State.ACTIVE])


async def test_many_runs_are_called_off_by_one_word(live_queue: Queue) -> None:
    hands = Hands()
    live_queue.process("email", hands, concurrency=5)
    await live_queue.create_many([NewJob(type="email", attempts=2)] * 5)

    async with working(live_queue):
        await until(lambda: len(hands.held) == 5)
        assert await live_queue.jobs.cancel_all(State.ACTIVE) == 5
        await eventually(partial(ended, live_queue, 1, 2, 3, 4, 5))

    assert sorted(hands.cancelled) == [1, 2, 3, 4, 5]
    assert await live_queue.jobs.states([1, 2, 3, 4, 5]) == [State.FAILED] * 5


async def _returns(context: Context) -> str:
    return "as if nothing had happened"


async def _fails(context: Context) -> str:
    raise RuntimeError("could not clear up")


async def _tries_again(context: Context) -> str:
    raise Retry(after=timedelta(hours=1))


async def _postpones(context: Context) -> str:
    raise Retry(after=timedelta(hours=1), counted=False)


async def _abandons(context: Context) -> str:
    raise Abandon("given up")


async def _goes_on(context: Context) -> str:
    await context.progress(1, 2)
    await context.log("still here")
    await asyncio.sleep(0.01)
    return "as if nothing had happened"


@pytest.mark.parametrize(
    ("then", "error"),
    [
        (_returns, "Cancelled"),
        (_goes_on, "Cancelled"),
        (_fails, "RuntimeError: could not clear up"),
        (_tries_again, "again in 1:00:00"),
        (_postpones, "Cancelled"),
        (_abandons, "given up"),
    ],
    ids=lambda value: "" if isinstance(value, str) else value.__name__,
)
async def test_whatever_a_handler_does_that_was_called_off_its_job_has_failed_for_good(
    live_queue: Queue, then: Callable[[Context], Awaitable[str]], error: str
) -> None:
    begun = asyncio.Event()

    async def work(job: Job, context: Context) -> str:
        begun.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return await then(context)
        return "slept"

    live_queue.process("email", work)
    await live_queue.create("email", attempts=9)
    async with working(live_queue):
        await begun.wait()
        await live_queue.cancel(1)
        await eventually(partial(ended, live_queue, 1))

    job = await the_job(live_queue)
    assert job.error is not None
    assert (job.state, job.error.splitlines()[0], job.result) == (State.FAILED, error, None)


async def test_a_run_whose_bell_was_lost_hears_it_when_its_lease_is_prolonged(live_queue: Queue) -> None:
    hands = Hands()
    live_queue.process("email", hands)
    await live_queue.create("email", attempts=5)

    async with working(live_queue, lease=timedelta(seconds=1)):
        await until(lambda: hands.held)
        # As when the answer that brought it was lost on the way.
        await live_queue.redis.hset(live_queue.keys.job(1), "cancelled", 1)
        await eventually(partial(ended, live_queue, 1))

    assert hands.cancelled == [1]
    assert (await the_job(live_queue)).error == "Cancelled"


async def test_a_bell_that_rings_while_the_wire_is_cut_is_heard_when_it_is_back(valkey: Valkey, prefix: str) -> None:
    async with (
        Proxy(valkey.port) as proxy,
        Queue.open(proxy.url, prefix=prefix) as queue,
        Queue.open(valkey.url, prefix=prefix) as other,
    ):
        hands = Hands()
        queue.process("email", hands)
        await other.create("email")
        async with working(queue):
            await until(lambda: hands.held)
            await proxy.cut()
            await other.cancel(1)
            await eventually(partial(ended, other, 1))

    assert hands.cancelled == [1]


async def test_calling_off_twice_is_heard_once(live_queue: Queue) -> None:
    heard = 0
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work(job: Job, context: Context) -> None:
        nonlocal heard
        begun.set()
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                heard += 1

    live_queue.process("email", work)
    live_queue.process("letter", nothing)
    await live_queue.create("email")
    async with working(live_queue):
        await begun.wait()
        for _ in range(3):
            await live_queue.cancel(1)
        await until(lambda: heard)
        # Its bell is empty: what it was rung for has been heard.
        await eventually(lambda: _is_silent(live_queue))
        await live_queue.create("letter")
        await eventually(partial(ended, live_queue, 2))
        go_on.set()
        await eventually(partial(ended, live_queue, 1))

    assert heard == 1


async def _is_silent(queue: Queue) -> bool:
    assert queue.worker is not None
    return not await queue.redis.exists(queue.keys.bell(queue.worker.id))


# What a stop makes of runs that outlast it


@pytest.mark.parametrize(
    ("late_runs", "attempts", "expected"),
    [
        ("release", 1, (State.INACTIVE, 0, None)),
        ("release", 3, (State.INACTIVE, 0, None)),
        ("fail", 1, (State.FAILED, 1, "Shutdown")),
        ("fail", 3, (State.INACTIVE, 1, "Shutdown")),
    ],
)
async def test_a_run_that_outlasts_the_grace_is_given_back_or_fails_as_the_worker_was_told(
    live_queue: Queue, late_runs: Any, attempts: int, expected: tuple[State, int, str | None]
) -> None:
    hands = Hands()
    live_queue.process("email", hands)
    await live_queue.create("email", attempts=attempts)

    async with working(live_queue, grace=20 * MS, late_runs=late_runs):
        await until(lambda: hands.held)

    job = await the_job(live_queue)
    assert (job.state, job.attempts, job.error) == expected
    assert hands.cancelled == [1]


async def test_a_run_that_a_stop_fails_waits_as_its_backoff_says(live_queue: Queue) -> None:
    hands = Hands()
    live_queue.process("email", hands)
    await live_queue.create("email", attempts=3, backoff=Backoff.fixed(NEVER))

    async with working(live_queue, grace=20 * MS, late_runs="fail"):
        await until(lambda: hands.held)

    job = await the_job(live_queue)
    assert (job.state, job.delay) == (State.DELAYED, NEVER)


@pytest.mark.parametrize("late_runs", ["release", "fail"])
async def test_a_run_that_ends_after_all_when_it_is_told_to_stop_is_complete(live_queue: Queue, late_runs: Any) -> None:
    begun = asyncio.Event()

    async def work(job: Job, context: Context) -> str:
        begun.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return "just in time"
        return "slept"

    live_queue.process("email", work)
    await live_queue.create("email")
    async with working(live_queue, grace=20 * MS, late_runs=late_runs):
        await begun.wait()

    job = await the_job(live_queue)
    assert (job.state, job.result) == (State.COMPLETE, "just in time")


async def test_a_second_order_to_stop_does_not_shorten_the_grace(live_queue: Queue) -> None:
    hands = Hands()
    live_queue.process("email", hands)
    await live_queue.create("email")

    async with working(live_queue) as run:
        await until(lambda: hands.held)
        for _ in range(3):
            live_queue.shutdown()
            await asyncio.sleep(0)
        assert (hands.held, run.done()) == ([1], False)
        hands.let_go()
        await run

    assert (await the_job(live_queue)).state is State.COMPLETE


async def test_a_run_that_was_called_off_and_outlasts_the_grace_has_failed(live_queue: Queue) -> None:
    hands = Hands()
    live_queue.process("email", hands)
    await live_queue.create("email", attempts=5)
    async with working(live_queue, grace=20 * MS):
        await until(lambda: hands.held)
        # Its bell has been rung, and not been heard yet.
        await live_queue.redis.hset(live_queue.keys.job(1), "cancelled", 1)

    assert (await the_job(live_queue)).state is State.FAILED


async def test_an_expired_run_of_a_dead_worker_waits_the_delay_that_stands(live_queue: Queue) -> None:
    # A strategy is a function of the process that works; whoever clears up after it does not have it.
    await live_queue.create("email", attempts=2, ttl=5 * MS, backoff=Backoff.named("theirs"))
    await live_queue.redis.hset(live_queue.keys.job(1), "delay", 60_000)
    await a_lease(live_queue, lease=NEVER)
    await asyncio.sleep(0.01)
    live_queue.process("letter", nothing)

    async with working(live_queue, lease=timedelta(milliseconds=400)):
        await eventually(lambda: _is(live_queue, 1, State.DELAYED))

    assert (await the_job(live_queue)).delay == timedelta(minutes=1)
