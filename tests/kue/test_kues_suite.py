"""Kue's own tests, by their names, against our queue: what its authors held to be its behaviour, ours has, too.

Where theirs measures with a clock, ours asks for the instants that Redis wrote down. Those of its HTTP interface stand in
web/test_kues_suite.py. Those that look at Kue's own innards (its singleton, its clients, its mocks) have no counterpart.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from datetime import timedelta
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from rmindr.queue import Backoff, Context, Job, Queue, State
from rmindr.queue.keys import Keys, id_of, zid
from rmindr.queue.testing import collecting, until_idle
from tests.kue.original import Kue
from tests.queue.crew import NEVER, Hands, ended, nothing, the_job, working
from tests.queue.scenery import a_lease, eventually, until
from tests.servers import Valkey

MS: Final = timedelta(milliseconds=1)
EMAIL: Final = {"title": "Test Email Job", "to": "tj@example.com"}


def heard(queue: Queue, event: str, *, job_id: int | None = None) -> list[tuple[Any, ...]]:
    """What is told from now on of this event, by the queue or of one job."""
    told: list[tuple[Any, ...]] = []
    queue.on(event, lambda *args: told.append(args), job_id=job_id)
    return told


class Trying:
    """A handler that fails until the last attempt, and remembers how each began."""

    def __init__(self, succeed: bool = True) -> None:
        self.jobs: list[Job] = []
        self._succeed = succeed

    async def __call__(self, job: Job, context: Context) -> None:
        self.jobs.append(job)
        if job.attempts_remaining > 1 or not self._succeed:
            raise RuntimeError("reattempt")

    @property
    def waits(self) -> list[timedelta]:
        """How long each run but the first was put off after the failure before it."""
        return [job.promote_at - job.failed_at for job in self.jobs[1:] if job.promote_at and job.failed_at]


async def tried(queue: Queue, **asked: Any) -> Trying:
    """One job, tried until it is complete."""
    trying = Trying()
    queue.process("trying", trying)
    job = await queue.create("trying", {"title": "trying"}, **asked)
    async with working(queue):
        await eventually(partial(ended, queue, job.id))
    assert (await the_job(queue, job.id)).state is State.COMPLETE
    assert all(run.started_at and run.promote_at and run.started_at >= run.promote_at for run in trying.jobs)
    return trying


# test.coffee: Job Producer


async def test_should_save_jobs_having_a_new_id(live_queue: Queue) -> None:
    first, second = [await live_queue.create("email", EMAIL) for _ in range(2)]

    assert (first.id, second.id) == (1, 2)


async def test_should_set_worker_id_on_job_hash(live_queue: Queue, redis: Any, prefix: str) -> None:
    live_queue.process("email", nothing)
    async with working(live_queue):
        await live_queue.create("email")
        await eventually(partial(ended, live_queue, 1))

    assert (await redis.hget(f"{prefix}:job:1", "workerId")).startswith("kue:")


async def test_should_receive_job_complete_event(live_queue: Queue) -> None:
    live_queue.process("email", nothing)
    async with live_queue.listening(), working(live_queue):
        told = heard(live_queue, "complete", job_id=1)
        await live_queue.create("email", EMAIL)
        await until(lambda: told)


async def test_should_receive_job_result_in_complete_event(live_queue: Queue) -> None:
    async def work(job: Job, context: Context) -> Any:
        return {"finalResult": 123}

    live_queue.process("email", work)
    async with live_queue.listening(), working(live_queue):
        told = heard(live_queue, "complete", job_id=1)
        await live_queue.create("email", EMAIL)
        await until(lambda: told)

    assert told == [({"finalResult": 123}, None)]


async def test_should_receive_job_progress_event(live_queue: Queue) -> None:
    async def work(job: Job, context: Context) -> None:
        await context.progress(1, 2)

    live_queue.process("email", work)
    async with live_queue.listening(), working(live_queue):
        told = heard(live_queue, "progress", job_id=1)
        await live_queue.create("email", EMAIL)
        await until(lambda: told)

    assert told == [(50, None)]


async def test_should_receive_job_progress_event_with_extra_data(live_queue: Queue) -> None:
    async def work(job: Job, context: Context) -> None:
        await context.progress(1, 2, {"notifyTime": "2014-11-22"})

    live_queue.process("email", work)
    async with live_queue.listening(), working(live_queue):
        told = heard(live_queue, "progress", job_id=1)
        await live_queue.create("email", EMAIL)
        await until(lambda: told)

    assert told == [(50, {"notifyTime": "2014-11-22"})]


async def _fail(job: Job, context: Context) -> None:
    raise RuntimeError("myError")


async def test_should_receive_job_failed_attempt_events(live_queue: Queue) -> None:
    live_queue.process("email", _fail)
    async with live_queue.listening(), working(live_queue):
        attempts = heard(live_queue, "failed attempt", job_id=1)
        failures = heard(live_queue, "failed", job_id=1)
        await live_queue.create("email", EMAIL, attempts=2)
        await until(lambda: failures)

    assert (attempts, failures) == ([("myError", 1)], [("myError", None)])


async def test_should_receive_queue_level_complete_event(live_queue: Queue) -> None:
    async def work(job: Job, context: Context) -> Any:
        return {"prop": "val"}

    live_queue.process("email", work)
    async with live_queue.listening(), working(live_queue):
        told = heard(live_queue, "job complete")
        job = await live_queue.create("email", EMAIL)
        await until(lambda: told)

    assert told == [(job.id, {"prop": "val"}, None)]


async def test_should_receive_queue_level_failed_attempt_events(live_queue: Queue) -> None:
    live_queue.process("email", _fail)
    async with live_queue.listening(), working(live_queue):
        attempts, failures = heard(live_queue, "job failed attempt"), heard(live_queue, "job failed")
        job = await live_queue.create("email", EMAIL, attempts=2)
        await until(lambda: failures)

    assert (attempts, failures) == ([(job.id, "myError", 1)], [(job.id, "myError", None)])


# test.coffee: Job


async def test_should_be_processed_after_delay(live_queue: Queue) -> None:
    trying = await tried(live_queue, delay=100 * MS)

    [run] = trying.jobs
    assert run.started_at is not None
    assert run.started_at - run.created_at >= 100 * MS


async def test_should_have_promote_at_timestamp(live_queue: Queue) -> None:
    [run] = (await tried(live_queue, delay=100 * MS)).jobs

    assert run.promote_at == run.created_at + 100 * MS


async def test_should_update_promote_at_after_delay_change(live_queue: Queue) -> None:
    job = await live_queue.create("email", delay=300 * MS)

    await live_queue.update(job.id, delay=100 * MS)

    changed = await the_job(live_queue)
    assert changed.updated_at is not None
    # Kue counts from the creation; with ours, a new delay counts from now.
    assert changed.promote_at == changed.updated_at + 100 * MS


async def test_should_update_promote_at_after_failure_with_backoff(live_queue: Queue) -> None:
    trying = await tried(live_queue, delay=30 * MS, attempts=2, backoff=Backoff.fixed(40 * MS))

    assert trying.waits == [40 * MS]


async def test_should_be_processed_at_a_future_date(live_queue: Queue) -> None:
    now = await live_queue.lifecycle.now_ms()
    job = await live_queue.create("email")
    trying = await tried(live_queue, delay=job.created_at + 100 * MS)

    [run] = trying.jobs
    assert run.promote_at == job.created_at + 100 * MS
    assert run.started_at is not None
    assert run.started_at.timestamp() * 1000 >= now + 100


async def test_should_receive_promotion_event(live_queue: Queue) -> None:
    live_queue.process("email", nothing)
    async with live_queue.listening(), working(live_queue):
        told = heard(live_queue, "promotion", job_id=1)
        await live_queue.create("email", EMAIL, delay=20 * MS)
        await until(lambda: told)

    assert told == [()]


async def test_should_be_re_tried_after_failed_attempts(live_queue: Queue) -> None:
    trying = await tried(live_queue, attempts=2)

    assert [(run.attempts, run.attempts_remaining) for run in trying.jobs] == [(0, 2), (1, 1)]


async def test_should_honor_original_delay_at_fixed_backoff(live_queue: Queue) -> None:
    assert (await tried(live_queue, delay=50 * MS, attempts=3, backoff=Backoff.same())).waits == [50 * MS] * 2


async def test_should_honor_original_delay_at_exponential_backoff(live_queue: Queue) -> None:
    trying = await tried(live_queue, delay=20 * MS, attempts=3, backoff=Backoff.exponential(40 * MS))

    assert trying.waits == [20 * MS, 60 * MS]
    assert trying.jobs[0].backoff == Backoff.exponential(40 * MS)


async def test_should_honor_max_delay_at_exponential_backoff(live_queue: Queue) -> None:
    trying = await tried(live_queue, attempts=6, backoff=Backoff.exponential(20 * MS, max_delay=40 * MS))

    assert trying.waits == [10 * MS, *[30 * MS] * 4]


async def test_should_honor_users_backoff_function(live_queue: Queue) -> None:
    # By a name: what stands in Redis is never run.
    live_queue.strategy("users", lambda attempts, delay: 50 * MS)

    trying = await tried(live_queue, delay=10 * MS, attempts=2, backoff=Backoff.named("users"))

    assert trying.waits == [50 * MS]


async def logged(queue: Queue, *lines: tuple[Any, ...]) -> list[str]:
    """What stands in a job's log when a handler has logged these."""

    async def work(job: Job, context: Context) -> None:
        for line in lines:
            await context.log(*line)

    queue.process("log-job", work)
    async with working(queue):
        await queue.create("log-job", {"title": "simple job"})
        await eventually(partial(ended, queue, 1))
    return list(await queue.jobs.log(1))


async def test_should_log_with_a_sprintf_style_string(live_queue: Queue) -> None:
    assert await logged(live_queue, ("this is %s number %d", "test", 1)) == ["this is test number 1"]


async def test_should_log_objects_errors_arrays_numbers_etc(live_queue: Queue) -> None:
    error = RuntimeError("test error")

    lines = await logged(
        live_queue, (None,), ({"test": "some text"},), (error,), ([1, 2, 3],), (123,), (1.23,), (0,), (float("nan"),),
        (True,), (False,),
    )  # fmt: skip

    assert lines == [
        "null", '{"test": "some text"}', "RuntimeError: test error", "[1, 2, 3]", "123", "1.23", "0", "NaN", "true", "false",
    ]  # fmt: skip


# test.coffee: Kue Core


async def test_should_receive_a_job_enqueue_event(live_queue: Queue) -> None:
    async with live_queue.listening():
        told = heard(live_queue, "job enqueue")
        job = await live_queue.create("email-to-be-enqueued")
        await until(lambda: told)

    assert told == [(job.id, "email-to-be-enqueued")]


async def test_should_receive_a_job_remove_event(live_queue: Queue) -> None:
    async with live_queue.listening():
        told = heard(live_queue, "job remove")
        job = await live_queue.create("removable-job")
        await live_queue.remove(job.id)
        await until(lambda: told)

    assert told == [(job.id, "removable-job")]


async def test_should_fail_a_job_with_ttl_is_exceeded(live_queue: Queue) -> None:
    hands = Hands()
    live_queue.process("email", hands)
    async with live_queue.listening(), working(live_queue):
        told = heard(live_queue, "failed", job_id=1)
        await live_queue.create("email", {"title": "a ttl job"}, ttl=100 * MS)
        await until(lambda: told)

    assert told == [("TTL exceeded", None)]


# test.coffee: Kue Job Concurrency


async def test_should_process_2_concurrent_jobs_at_the_same_time(live_queue: Queue) -> None:
    hands = Hands()
    live_queue.process("parallel", hands, concurrency=2)
    async with working(live_queue):
        for _ in range(2):
            await live_queue.create("parallel")
        await until(lambda: len(hands.held) == 2)
        hands.let_go()
        await eventually(partial(ended, live_queue, 1, 2))


async def test_should_process_non_concurrent_jobs_serially(live_queue: Queue) -> None:
    hands = Hands()
    live_queue.process("serial", hands, concurrency=1)
    for _ in range(2):
        await live_queue.create("serial")
    async with working(live_queue):
        await until(lambda: hands.held)
        hands.let_go()
        await eventually(partial(ended, live_queue, 1, 2))

    assert hands.most == 1
    first, second = await the_job(live_queue, 1), await the_job(live_queue, 2)
    assert first.started_at is not None
    assert first.duration is not None
    assert second.started_at is not None
    assert second.started_at >= first.started_at + first.duration


async def test_should_process_a_new_job_after_a_previous_one_fails_with_ttl_is_exceeded(live_queue: Queue) -> None:
    hands = Hands()
    live_queue.process("serial-failed", hands)
    async with live_queue.listening(), working(live_queue):
        failures = heard(live_queue, "job failed")
        for n in (1, 2):
            await live_queue.create("serial-failed", {"title": f"a ttl job {n}"}, ttl=100 * MS)
        await until(lambda: len(failures) == 2)

    assert (hands.runs, hands.most) == (Counter([1, 2]), 1)


async def test_should_not_stuck_in_inactive_mode_if_one_of_the_workers_failed_because_of_ttl(live_queue: Queue) -> None:
    asked: dict[str, Any] = {
        "attempts": 3, "backoff": Backoff.exponential(40 * MS), "remove_on_complete": True, "ttl": 80 * MS,
    }  # fmt: skip
    runs: list[tuple[str, int]] = []

    async def stuck(job: Job, context: Context) -> None:
        runs.append((job.type, job.attempts))
        if job.attempts < 2:
            await asyncio.Event().wait()

    for type, delay in (("jobsA", 20 * MS), ("jobsB", 30 * MS)):
        live_queue.process(type, stuck if type == "jobsA" else nothing)
        await live_queue.create(type, {"title": type}, delay=delay, **asked)
    async with working(live_queue):
        await until_idle(live_queue, delayed=True)

    assert runs == [("jobsA", 0), ("jobsA", 1), ("jobsA", 2)]
    assert await live_queue.jobs.ids() == []


# test.coffee: Kue Job Removal


@pytest.fixture
async def cleaned(live_queue: Queue) -> Queue:
    """Ten jobs that have ended, half of them well."""

    async def work(job: Job, context: Context) -> None:
        if job.data["id"] % 2:
            raise RuntimeError("no")

    live_queue.process("sample-job-to-be-cleaned", work)
    async with working(live_queue):
        for n in range(1, 11):
            await live_queue.create("sample-job-to-be-cleaned", {"id": n})
        await eventually(partial(ended, live_queue, *range(1, 11)))
    return live_queue


async def test_should_be_able_to_remove_completed_jobs(cleaned: Queue) -> None:
    for job_id in await cleaned.jobs.ids(State.COMPLETE):
        await cleaned.remove(job_id)

    assert await cleaned.jobs.ids() == [1, 3, 5, 7, 9]


async def test_should_be_able_to_remove_failed_jobs(cleaned: Queue) -> None:
    for job_id in await cleaned.jobs.ids(State.FAILED):
        await cleaned.remove(job_id)

    assert await cleaned.jobs.ids() == [2, 4, 6, 8, 10]


# shutdown.coffee


async def test_should_be_able_to_pause_resume_the_worker(live_queue: Queue) -> None:
    worked = []

    async def work(job: Job, context: Context) -> None:
        worker = live_queue.worker
        assert worker is not None
        worked.append(job.id)
        worker.pause("resumable-jobs")
        asyncio.get_running_loop().call_later(0.02, worker.resume, "resumable-jobs")

    live_queue.process("resumable-jobs", work)
    for _ in range(3):
        await live_queue.create("resumable-jobs", EMAIL)
    async with working(live_queue):
        await eventually(partial(ended, live_queue, 1, 2, 3))

    assert worked == [1, 2, 3]


async def test_should_not_clear_properties_on_single_type_shutdown(live_queue: Queue) -> None:
    live_queue.process("email", nothing)
    async with working(live_queue) as run:
        live_queue.shutdown("fooJob")
        await live_queue.create("email", delay=20 * MS)
        await eventually(partial(ended, live_queue, 1))
        assert not run.done()
        assert live_queue.worker is not None


async def test_should_shutdown_one_worker_type_on_single_type_shutdown(live_queue: Queue) -> None:
    for type in ("runningTask", "shutdownTask"):
        live_queue.process(type, nothing)
    async with working(live_queue):
        live_queue.shutdown("shutdownTask")
        for type in ("shutdownTask", "runningTask"):
            await live_queue.create(type)
        await eventually(partial(ended, live_queue, 2))
        assert await live_queue.jobs.states([1]) == [State.INACTIVE]


async def test_should_fail_active_job_when_shutdown_timer_expires(live_queue: Queue) -> None:
    hands = Hands()
    live_queue.process("long-task", hands)
    await live_queue.create("long-task")
    async with working(live_queue, grace=10 * MS, late_runs="fail"):
        await until(lambda: hands.held)

    job = await the_job(live_queue)
    assert (job.state, job.error) == (State.FAILED, "Shutdown")


async def test_should_fail_active_re_attemptable_job_when_shutdown_timer_expires(live_queue: Queue) -> None:
    hands = Hands()
    live_queue.process("shutdown-reattemptable-jobs", hands)
    await live_queue.create("shutdown-reattemptable-jobs", attempts=2)
    async with working(live_queue, grace=10 * MS, late_runs="fail"):
        await until(lambda: hands.held)

    job = await the_job(live_queue)
    assert (job.state, job.attempts, job.error) == (State.INACTIVE, 1, "Shutdown")


async def test_should_not_call_graceful_shutdown_twice_on_subsequent_calls(live_queue: Queue) -> None:
    # Kue answers the second with an error; ours has nothing more to do.
    hands = Hands()
    live_queue.process("email", hands)
    await live_queue.create("email")
    async with working(live_queue) as run:
        await until(lambda: hands.held)
        live_queue.shutdown()
        live_queue.shutdown()
        await asyncio.sleep(0.05)
        assert not run.done()
        hands.let_go()

    assert hands.cancelled == []


# prefix.coffee


async def test_should_use_prefix_q_by_default(valkey: Valkey) -> None:
    async with Queue.open(valkey.url) as queue:
        assert queue.keys.prefix == "q"


async def test_should_accept_and_store_prefix(valkey: Valkey) -> None:
    for prefix in ("testPrefix1", "testPrefix2"):
        async with Queue.open(valkey.url, prefix=prefix) as queue:
            assert queue.keys.prefix == prefix


async def test_should_process_and_complete_a_job_using_a_prefix(valkey: Valkey) -> None:
    async with Queue.open(valkey.url, prefix="simplePrefixTest") as queue:
        queue.process("simplePrefixJob", nothing)
        async with working(queue):
            job = await queue.create("simplePrefixJob")
            assert await queue.result(job.id) is None


async def test_store_queued_jobs_in_different_prefixes(valkey: Valkey) -> None:
    async with (
        Queue.open(valkey.url, prefix="jobCompleteTest") as one,
        Queue.open(valkey.url, prefix="jobCompleteTest2") as two,
    ):
        before = [await queue.jobs.count(State.INACTIVE) for queue in (one, two)]

        await one.create("fakeJob")

        after = [await queue.jobs.count(State.INACTIVE) for queue in (one, two)]
    assert after == [before[0] + 1, before[1]]


async def test_should_not_pick_up_an_inactive_job_from_another_prefix(valkey: Valkey) -> None:
    async with (
        Queue.open(valkey.url, prefix="inactiveJobs") as one,
        Queue.open(valkey.url, prefix="inactiveJobs2") as two,
    ):
        stays = await one.create("inactiveJob")
        two.process("inactiveJob", nothing)
        async with working(two):
            done = await two.create("inactiveJob")
            await eventually(partial(ended, two, done.id))

        assert await one.jobs.states([stays.id]) == [State.INACTIVE]


async def test_should_properly_switch_back_to_default_queue(valkey: Valkey) -> None:
    async with Queue.open(valkey.url, prefix="notDefault"):
        pass
    async with Queue.open(valkey.url) as queue:
        queue.process("defaultPrefixJob", nothing)
        async with working(queue):
            job = await queue.create("defaultPrefixJob", remove_on_complete=True, keep_outcome=NEVER)
            assert await queue.result(job.id) is None


# test.js: CONNECTION. Kue's dictionary of host, port and db is a URL with us.


@pytest.mark.parametrize(
    ("place", "number"),
    [
        pytest.param("/15", 15, id="should configure properly with string"),
        pytest.param("/?db=15", 15, id="should configure properly with dictionary"),
        pytest.param("/", 0, id="should default to 0 db with string"),
        pytest.param("", 0, id="should default to 0 db with string and no slash"),
        pytest.param("/0", 0, id="should configure properly with dictionary, no db"),
    ],
)
async def test_connection(valkey: Valkey, place: str, number: int) -> None:
    async with Queue.open(f"redis://localhost:{valkey.port}{place}", prefix="connection") as queue:
        await queue.create("email-should-be-processed", EMAIL)
        lease = await a_lease(queue, type="email-should-be-processed")
        await queue.lifecycle.log(lease, '<p>This is <span style="color: green;">a</span> formatted log<p/>')
        await queue.lifecycle.complete(lease)
        about: Any = await queue.redis.client_info()

    assert (about["db"], lease.job.data) == (number, EMAIL)


async def test_should_accept_url_strings_for_redis_when_making_an_new_queue(valkey: Valkey) -> None:
    async with Queue.open(f"redis://localhost:{valkey.port}/", prefix="url") as queue:
        queue.process("email-should-be-processed-2", nothing)
        async with working(queue):
            job = await queue.create("email-should-be-processed-2", EMAIL, priority="high")
            await eventually(partial(ended, queue, job.id))


# test.js: JOBS


async def test_should_be_processed(live_queue: Queue) -> None:
    async def echo(job: Job, context: Context) -> Any:
        return job.data

    live_queue.process("email-should-be-processed", echo)
    async with working(live_queue):
        job = await live_queue.create("email-should-be-processed", EMAIL, priority="high")
        assert await live_queue.result(job.id) == EMAIL


async def test_should_retry_on_failure_if_attempts_is_set(live_queue: Queue) -> None:
    trying = Trying()
    live_queue.process("failure-attempts", trying)
    async with live_queue.listening(), working(live_queue):
        failures = heard(live_queue, "failed attempt", job_id=1)
        await live_queue.create("failure-attempts", attempts=5)
        await eventually(partial(ended, live_queue, 1))
        await until(lambda: len(failures) == 4)

    assert len(trying.jobs) == 5


# test_mode.js: the kit for tests


async def test_adds_jobs_to_an_array_in_memory() -> None:
    queue = collecting()

    await queue.create("myJob", {"foo": "bar"})

    [job] = queue.jobs
    assert (job.type, job.data) == ("myJob", {"foo": "bar"})


async def test_adds_jobs_to_an_array_in_memory_and_processes_them_when_process_queue_is_true() -> None:
    queue, seen = collecting(), []

    async def work(job: Job, context: Context) -> None:
        seen.append(job.data)

    await queue.create("test-testMode-process", {"foo": "bar"})
    [job] = await queue.run({"test-testMode-process": work})

    assert (job.state, seen) == (State.COMPLETE, [{"foo": "bar"}])


async def test_clear_resets_the_list_of_jobs() -> None:
    queue = collecting()
    await queue.create("myJob", {"foo": "bar"})

    queue.clear()

    assert len(queue.jobs) == 0


async def test_processes_jobs_regularly(live_queue: Queue) -> None:
    # The kit is a thing of its own: a queue has no mode.
    collected = collecting()

    async def echo(job: Job, context: Context) -> Any:
        return job.data

    live_queue.process("myJob", echo)
    async with working(live_queue):
        job = await live_queue.create("myJob", {"foo": "bar"})
        assert await live_queue.result(job.id) == {"foo": "bar"}

    assert collected.jobs == ()


# tdd/redis.spec.js


async def test_should_parse_a_url_connection_string(valkey: Valkey) -> None:
    parts = urlsplit(valkey.url)
    async with Queue.open(f"redis://:@{parts.hostname}:{parts.port}/3", prefix="parsed") as queue:
        await queue.create("email")
        about: Any = await queue.redis.client_info()

    assert about["db"] == 3


def test_should_return_the_key_with_the_prefix() -> None:
    assert Keys("prefix").in_state("active") == "prefix:jobs:active"


def test_should_return_key_with_prefix_and_curly_braces_for_ioredis_cluster() -> None:
    assert Keys("prefix", cluster=True).in_state("active") == "{prefix}:jobs:active"


def test_should_prefix_with_the_length_of_the_id() -> None:
    assert zid(12345678910) == "11|12345678910"


def test_should_pad_with_a_zero_for_single_digit_length_ids() -> None:
    assert zid(123) == "03|123"


def test_should_strip_the_prefix_on_the_id() -> None:
    assert id_of("03|123") == 123


# tdd/kue.spec.js, what is of use of it


@pytest.mark.kue
async def test_should_unlock_after_all_the_job_ttl_exceeded_acks_have_been_received(
    kue: Kue, live_queue: Queue, redis: Any
) -> None:
    noticed = asyncio.Event()

    async def stand_still(job: Job, context: Context) -> None:
        if not noticed.is_set():
            noticed.set()
            # The whole process, until Kue has called the runs too long.
            time.sleep(0.6)
        await asyncio.Event().wait()

    await kue.process("probe", _hang)
    live_queue.process("email", stand_still, concurrency=3)
    async with working(live_queue):
        jobs = [await live_queue.create("email", ttl=200 * MS) for _ in range(3)]
        for job in jobs:
            await kue.hears("failed", job.id)
        # Its timer goes on: the next that outlives its ttl is failed by it.
        probe = await live_queue.create("probe", ttl=20 * MS)
        await kue.hears("failed", probe.id)

    assert any(("ttl exceeded",) in kue.story(job.id) for job in jobs), "Kue has not noticed in time"
    for job in jobs:
        assert [name for name, *_ in kue.story(job.id) if name in ("failed", "failed attempt")] == ["failed"]


async def _hang(job: dict[str, Any], hand: Any) -> None:
    await asyncio.Event().wait()


async def test_should_call_job_failed_attempt_for_each_job_that_did_not_receive_the_ack_event(
    live_queue: Queue, redis: Any, prefix: str
) -> None:
    told: Counter[int] = Counter()
    live_queue.on("job failed attempt", lambda job_id, *_: told.update([job_id]))
    live_queue.process("letter", nothing)
    async with live_queue.listening():
        for _ in range(3):
            await live_queue.create("email", ttl=20 * MS, attempts=2, backoff=Backoff.fixed(NEVER))
        # Their worker is gone.
        await live_queue.lifecycle.claim({"email": 3}, token="gone.1", lease=NEVER, worker="kue:gone:1")
        await asyncio.sleep(0.03)
        async with working(live_queue, lease=timedelta(milliseconds=400)):
            await until(lambda: len(told) == 3)

    assert told == Counter([1, 2, 3])
    fields = await redis.hgetall(f"{prefix}:job:1")
    assert (fields["error"], json.loads(fields["data"]), fields["state"]) == ("TTL exceeded", {}, "delayed")
