"""The kit for applications' tests: it does what a queue would do, without Redis and without waiting."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from rmindr.queue import (
    Abandon,
    Backoff,
    Context,
    InvalidJob,
    Job,
    JobNotFound,
    NewJob,
    Queue,
    Retry,
    State,
    WrongState,
)
from rmindr.queue.testing import collecting, until_idle
from tests.queue.crew import Hands, children, nothing, working
from tests.queue.scenery import until
from tests.servers import Valkey

HOUR = timedelta(hours=1)


async def echo(job: Job, context: Context) -> Any:
    return job.data


# Collecting


async def test_jobs_are_collected_as_they_were_asked_for() -> None:
    queue = collecting()

    first = await queue.create("email", {"to": "me"}, priority="high", attempts=3, delay=HOUR, backoff=Backoff.same())
    second, third = await queue.create_many([NewJob(type="letter"), NewJob(type="email", data=[1])])

    assert queue.jobs == (first, second, third)
    assert [(job.id, job.type, job.data, job.state) for job in queue.jobs] == [
        (1, "email", {"to": "me"}, State.DELAYED), (2, "letter", {}, State.INACTIVE), (3, "email", [1], State.INACTIVE),
    ]  # fmt: skip
    assert (first.priority, first.max_attempts, first.delay) == (-10, 3, HOUR)
    assert await queue.get(1) == first


@pytest.mark.parametrize(
    "asked",
    [{"type": ""}, {"data": {1}}, {"priority": "urgent"}, {"attempts": 0}, {"delay": datetime(2026, 1, 1)}],  # noqa: DTZ001
)
async def test_what_a_queue_would_refuse_is_refused(asked: dict[str, Any]) -> None:
    queue = collecting()

    with pytest.raises(InvalidJob):
        await queue.create(**({"type": "email"} | asked))
    with pytest.raises(InvalidJob):
        await queue.create_many([NewJob(type="email"), NewJob(**({"type": "email"} | asked))])

    assert queue.jobs == ()


async def test_a_unique_key_is_held_by_one_living_job() -> None:
    queue = collecting()
    first = await queue.create("email", 1, unique="key")
    assert await queue.create("email", 2, unique="key") == first
    await queue.run({"email": nothing})

    again = await queue.create("email", 3, unique="key")

    assert [job.data for job in queue.jobs] == [1, 3]
    assert again.id == 2


async def test_what_is_cancelled_or_removed_does_not_run() -> None:
    queue = collecting()
    for _ in range(3):
        await queue.create("email")

    assert await queue.cancel(1) is State.FAILED
    await queue.remove(2)
    done = await queue.run({"email": nothing})

    assert [job.id for job in done] == [3]
    with pytest.raises(WrongState):
        await queue.cancel(1)
    for ask in (queue.cancel(2), queue.remove(2)):
        with pytest.raises(JobNotFound):
            await ask


async def test_what_has_not_run_can_be_changed() -> None:
    queue = collecting()
    await queue.create("email", {"n": 1}, delay=HOUR, priority="high", attempts=3)
    asked = {"data": {"n": 2}, "ttl": HOUR, "backoff": Backoff.same(), "remove_on_complete": True}

    assert await queue.update(1, **asked) is State.DELAYED
    assert await queue.update(1, delay=timedelta(0)) is State.INACTIVE
    with pytest.raises(InvalidJob, match="priority"):
        await queue.update(1, priority="urgent")

    [job] = queue.jobs
    assert {name: getattr(job, name) for name in asked} == asked
    assert (job.priority, job.max_attempts, job.delay) == (-10, 3, None)
    with pytest.raises(JobNotFound):
        await queue.update(2)


async def test_cleared_it_begins_anew_and_ids_go_on() -> None:
    queue = collecting()
    await queue.create("email")

    queue.clear()

    assert (queue.jobs, (await queue.create("email")).id) == ((), 2)


# Running inline


async def test_jobs_run_through_their_handlers_and_answer_how_they_ended() -> None:
    queue = collecting()
    await queue.create("email", {"n": 1})
    await queue.create("letter", {"n": 2})
    await queue.create("unknown")

    async def fail(job: Job, context: Context) -> None:
        raise ValueError("no")

    good, bad = await queue.run({"email": echo, "letter": fail})

    assert (good.state, good.result, good.attempts, good.progress) == (State.COMPLETE, {"n": 1}, 1, 100)
    assert (bad.state, bad.attempts) == (State.FAILED, 1)
    assert bad.error is not None
    assert bad.error.startswith("ValueError: no\n")
    assert [job.state for job in queue.jobs] == [State.COMPLETE, State.FAILED, State.INACTIVE]
    assert await queue.run({"email": echo, "letter": fail}) == []


async def test_they_run_soonest_due_and_most_urgent_first_and_no_delay_is_waited_for() -> None:
    queue, order = collecting(), []

    async def work(job: Job, context: Context) -> None:
        order.append(job.data)

    now = datetime.now(UTC)
    await queue.create("email", "tomorrow", delay=now + timedelta(days=1))
    await queue.create("email", "today", delay=now + HOUR)
    await queue.create("email", "today, urgent", delay=now + HOUR, priority="critical")
    await queue.create("email", "now")
    await queue.run({"email": work})

    assert order == ["now", "today, urgent", "today", "tomorrow"]


async def test_jobs_that_handlers_make_run_too() -> None:
    queue = collecting()

    async def split(job: Job, context: Context) -> None:
        for part in job.data:
            await queue.create("part", part)

    await queue.create("whole", ["a", "b"])
    done = await queue.run({"whole": split, "part": echo})

    assert [job.result for job in done] == [None, "a", "b"]


async def test_a_job_is_tried_as_often_as_it_may_be_and_waits_as_its_backoff_says() -> None:
    queue, seen = collecting(), []

    async def work(job: Job, context: Context) -> str:
        seen.append((job.attempts, job.delay))
        if job.attempts < 3:
            raise ValueError("not yet")
        return "at last"

    backoff = Backoff.exponential(timedelta(minutes=2))
    await queue.create("email", attempts=4, backoff=backoff)
    await queue.create("email", attempts=2, backoff=Backoff.named("mine"))
    done = await queue.run({"email": work}, strategies={"mine": lambda attempts, delay: attempts * HOUR})

    states = {job.id: (job.state, job.attempts) for job in done}
    assert states == {1: (State.COMPLETE, 4), 2: (State.FAILED, 2)}
    minutes = [timedelta(minutes=n) for n in (1, 3, 7)]
    assert seen == [(0, None), (0, None), (1, minutes[0]), (2, minutes[1]), (3, minutes[2]), (1, HOUR)]


async def test_retry_and_abandon_mean_what_they_mean_to_a_worker() -> None:
    queue, tries = collecting(), {"retry": 0, "postpone": 0, "abandon": 0}

    async def work(job: Job, context: Context) -> str:
        tries[job.data] += 1
        if job.data == "abandon":
            raise Abandon("mailbox does not exist")
        if tries[job.data] == 1:
            raise Retry("greylisted", after=HOUR, counted=job.data == "retry")
        return "sent"

    for what in tries:
        await queue.create("email", what, attempts=2)
    done = {job.data: job for job in await queue.run({"email": work})}

    assert tries == {"retry": 2, "postpone": 2, "abandon": 1}
    assert (done["retry"].state, done["retry"].attempts, done["retry"].error) == (State.COMPLETE, 2, "greylisted")
    assert (done["postpone"].attempts, done["postpone"].error) == (1, None)
    assert (done["abandon"].state, done["abandon"].error) == (State.FAILED, "mailbox does not exist")


@pytest.mark.parametrize("counted", [True, False])
async def test_a_job_that_never_ends_is_an_error_of_the_tests(counted: bool) -> None:
    queue = collecting()

    async def work(job: Job, context: Context) -> None:
        raise Retry(after=HOUR, counted=counted)

    await queue.create("email", attempts=None)

    with pytest.raises(RuntimeError, match="job 1 has run 100 times"):
        await queue.run({"email": work})


async def test_what_a_handler_says_is_kept() -> None:
    queue = collecting()

    async def work(job: Job, context: Context) -> None:
        await context.progress(1, 4, {"page": 1})
        await context.progress(2, 4)
        await context.log("%s of %d", "page", 2)
        raise Abandon("to see what was said")

    await queue.create("email")
    [job] = await queue.run({"email": work})

    assert (job.progress, job.progress_data, queue.log(1), queue.log(9)) == (50, {"page": 1}, ("page of 2",), ())


@pytest.mark.parametrize("asked", [{"remove_on_complete": True}, {"remove_on_failure": True}])
async def test_what_wants_to_be_removed_is_answered_once_and_gone(asked: dict[str, bool]) -> None:
    queue = collecting()

    async def work(job: Job, context: Context) -> str:
        if "remove_on_failure" in asked:
            raise ValueError("no")
        return "sent"

    await queue.create("email", **asked)
    [job] = await queue.run({"email": work})

    assert job.state in (State.COMPLETE, State.FAILED)
    assert queue.jobs == ()


async def test_a_ttl_and_a_result_that_is_no_json_fail_as_in_a_worker() -> None:
    queue = collecting()

    async def hang(job: Job, context: Context) -> Any:
        if job.ttl is not None:
            await asyncio.Event().wait()
        return {1, 2}

    await queue.create("email", ttl=timedelta(milliseconds=20))
    await queue.create("email")
    late, odd = await queue.run({"email": hang})

    assert (late.state, late.error) == (State.FAILED, "TTL exceeded")
    assert odd.error is not None
    assert odd.error.startswith("the handler's result: result must be JSON")


# Waiting until nothing is left to do


async def test_it_waits_until_everything_that_runs_has_ended(live_queue: Queue) -> None:
    hands = Hands()
    live_queue.process("email", hands, concurrency=3)
    await live_queue.create_many([NewJob(type="email")] * 5)

    async with working(live_queue):
        idle = asyncio.create_task(until_idle(live_queue))
        await until(lambda: len(hands.held) == 3)
        assert not idle.done()
        hands.let_go()
        await idle

    assert (await live_queue.jobs.counts())[State.COMPLETE] == 5


async def test_a_queue_with_nothing_to_do_is_idle(live_queue: Queue) -> None:
    await live_queue.create("email", delay=HOUR)

    await until_idle(live_queue)


async def test_it_waits_for_other_processes_and_for_jobs_that_others_make(live_queue: Queue, valkey: Valkey) -> None:
    await live_queue.create_many([NewJob(type="email", data={"sleep": 0.05}, attempts=2)] * 3)

    async with children(1, live_queue, valkey, {"email": 2}):
        await until_idle(live_queue)

    assert (await live_queue.jobs.counts())[State.COMPLETE] == 3


async def test_it_may_wait_for_delayed_ones_too_and_for_one_type_only(live_queue: Queue) -> None:
    live_queue.process("email", nothing)
    await live_queue.create("letter")
    await live_queue.create("email", delay=timedelta(milliseconds=50))

    async with working(live_queue):
        await until_idle(live_queue, "email", delayed=True)

    assert await live_queue.jobs.states([1, 2]) == [State.INACTIVE, State.COMPLETE]


async def test_what_is_not_idle_in_time_says_what_is_left(live_queue: Queue) -> None:
    await live_queue.create_many([NewJob(type="email")] * 2)

    with pytest.raises(TimeoutError, match=r"not idle after 0:00:00\.5\d*: 2 inactive"):
        await until_idle(live_queue, timeout=timedelta(milliseconds=500))


async def test_waiting_leaves_nobody_listening(live_queue: Queue) -> None:
    heard: list[int] = []
    note = partial(lambda *args: heard.append(args[0]))
    live_queue.on("job enqueue", note)
    await until_idle(live_queue)
    live_queue.off("job enqueue", note)

    async with live_queue.listening():
        await live_queue.create("email")
        await live_queue.create("email")
        done = asyncio.Event()
        live_queue.on("job enqueue", lambda *_: done.set())
        await live_queue.create("email")
        await done.wait()

    assert heard == []
