"""The queue as an application speaks to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from operator import attrgetter
from typing import Any

import pytest

from rmindr.queue import Backoff, Context, InvalidJob, Job, NewJob, Queue, QueueUnavailable, State, WrongState
from tests.conftest import Clock
from tests.queue.scenery import PATIENCE_S, a_lease, eventually, keyspace, standing, to_the_end
from tests.servers import Valkey, free_port


async def nothing(job: Job, context: Context) -> None: ...


async def test_the_tour_of_the_package_works(live_queue: Queue) -> None:
    queue, done = live_queue, []
    job = await queue.create(
        "email", {"to": "me"}, delay=timedelta(milliseconds=20), priority="high", attempts=5,
        backoff=Backoff.exponential(timedelta(seconds=30)),
    )  # fmt: skip
    queue.on("job complete", lambda id, result, _: done.append((id, result)))
    queue.on("job complete", lambda *_: queue.shutdown())

    async def send(job: Job, context: Context) -> str:
        await context.progress(1, 2)
        await context.log("on its way")
        return f"sent to {job.data['to']}"

    queue.process("email", send, concurrency=20)
    await to_the_end(queue.run())

    assert done == [(job.id, "sent to me")]
    assert await queue.jobs.log(job.id) == ["on its way"]


# What is refused at the door


@pytest.mark.parametrize("url", ["", "localhost", "http://localhost", "redis://localhost:port", "unix"])
async def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(InvalidJob, match="URL"):
        async with Queue.open(url):
            raise AssertionError("unreachable")


async def test_a_prefix_that_cannot_be_used_is_refused(valkey: Valkey) -> None:
    with pytest.raises(InvalidJob, match="prefix"):
        async with Queue.open(valkey.url, prefix="two words"):
            raise AssertionError("unreachable")


@pytest.mark.parametrize("job_id", [0, -1, 2**53, 1.0, True, "1", None])
@pytest.mark.parametrize("verb", ["get", "update", "cancel", "retry", "remove", "result", "jobs.log"])
async def test_an_id_that_is_none_is_refused(queue: Queue, verb: str, job_id: Any) -> None:
    with pytest.raises(InvalidJob, match="id"):
        await attrgetter(verb)(queue)(job_id)


@pytest.mark.parametrize(
    ("event", "job_id"),
    [("complete", None), ("job finish", None), ("", None), ("job", None), ("job complete", 7), ("finish", 7)],
)
async def test_an_unknown_event_is_refused(queue: Queue, event: str, job_id: int | None) -> None:
    with pytest.raises(InvalidJob, match="there is no event"):
        queue.on(event, print, job_id=job_id)


async def test_a_type_is_processed_by_one_handler_with_at_least_one_slot(queue: Queue) -> None:
    queue.process("email", nothing)

    for type, concurrency in (("email", 1), ("letter", 0), ("", 1)):
        with pytest.raises(InvalidJob):
            queue.process(type, nothing, concurrency=concurrency)


async def test_where_one_of_many_is_invalid_none_is_made(queue: Queue) -> None:
    with pytest.raises(InvalidJob):
        await queue.create_many([NewJob(type="email"), NewJob(type="")])

    assert await keyspace(queue) == {}


@pytest.mark.parametrize("change", [{"data": {1, 2}}, {"priority": "urgent"}, {"delay": timedelta.max}])
async def test_an_update_to_what_cannot_be_a_job_changes_nothing(queue: Queue, change: dict[str, Any]) -> None:
    await queue.create("email")
    before = await keyspace(queue)

    with pytest.raises(InvalidJob):
        await queue.update(1, **change)

    assert await keyspace(queue) == before


# Looking


async def test_counts_name_every_state(queue: Queue, clock: Clock) -> None:
    assert await queue.jobs.counts() == {"delayed": 0, "inactive": 0, "active": 0, "complete": 0, "failed": 0}

    # Those that are brought to an end are taken from a queue in which nobody else waits.
    for place in ("complete", "failed", "failed", "taken", "delayed", "delayed", "delayed", "inactive"):
        await standing(queue, clock, place)

    assert await queue.jobs.counts() == {"delayed": 3, "inactive": 1, "active": 1, "complete": 1, "failed": 2}


async def test_what_does_not_exist_is_none(queue: Queue) -> None:
    assert await queue.get(7) is None
    assert await queue.jobs.log(7) == []
    assert await queue.jobs.states([7]) == [None]
    assert await queue.jobs.states([]) == []
    assert await queue.jobs.find(["key"]) == [None]
    assert await queue.jobs.find([]) == []


async def test_jobs_are_found_by_their_keys_and_answer_their_states(queue: Queue, clock: Clock) -> None:
    await standing(queue, clock, "failed", unique="a")
    await standing(queue, clock, "taken", unique="b")
    await standing(queue, clock, "delayed", unique="c")
    await queue.redis.hset(queue.keys.unique, "junk", "junk")

    assert await queue.jobs.find(["c", "a", "junk", "b"]) == [3, None, None, 2]
    assert await queue.jobs.states([3, 2, 1, 9]) == [State.DELAYED, State.ACTIVE, State.FAILED, None]


async def test_a_log_may_be_asked_for_after_the_end(queue: Queue) -> None:
    await queue.create("email")
    lease = await a_lease(queue)
    await queue.lifecycle.log(lease, "one")
    await queue.lifecycle.fail(lease, "two", "two\nthree", wait_ms=None)

    assert await queue.jobs.log(1) == ["one", "two"]


# Several queues


async def test_queues_under_two_prefixes_in_one_process_do_not_touch_each_other(valkey: Valkey, prefix: str) -> None:
    seen: dict[str, list[Any]] = {"a": [], "b": []}

    def note(queue: Queue, name: str) -> Callable[..., Any]:
        async def work(job: Job, context: Context) -> None:
            seen[name].append(job.data)
            if len(seen[name]) == 3:
                queue.shutdown()

        return work

    async with (
        Queue.open(valkey.url, prefix=f"{prefix}-[a]*") as a,
        Queue.open(valkey.url, prefix=f"{{{prefix}}}") as b,
    ):
        for queue, name in ((a, "a"), (b, "b")):
            queue.process("email", note(queue, name))
            for n in range(3):
                await queue.create("email", [name, n])

        await to_the_end(asyncio.gather(a.run(), b.run()))

    assert seen == {name: [[name, n] for n in range(3)] for name in ("a", "b")}


# Redis


async def test_a_redis_that_is_not_there_is_unavailable() -> None:
    async with Queue.open(f"redis://127.0.0.1:{free_port()}") as queue:
        for ask in (
            queue.create("email"), queue.get(1), queue.jobs.counts(), queue.jobs.states([1]), queue.jobs.find(["key"]),
            queue.jobs.log(1), queue.remove(1), queue.lifecycle.promote(), queue.lifecycle.expired(0),
        ):  # fmt: skip
            with pytest.raises(QueueUnavailable):
                await ask


async def test_patience_bounds_every_command(own_valkey: Valkey) -> None:
    impatient = Queue.open(own_valkey.url, patience=timedelta(milliseconds=100))
    async with Queue.open(own_valkey.url) as patient, impatient as queue:
        await patient.create("email")
        own_valkey.freeze()

        async with asyncio.timeout(PATIENCE_S):
            for ask in (queue.create("email"), queue.get(1), queue.update(1, priority=1), queue.jobs.counts()):
                with pytest.raises(QueueUnavailable):
                    await ask
        own_valkey.thaw()

        assert await eventually(lambda: patient.jobs.states([1])) == [State.INACTIVE]


async def test_a_process_that_creates_holds_one_connection_and_a_worker_three(own_valkey: Valkey) -> None:
    async with Queue.open(own_valkey.url) as queue:
        await asyncio.gather(*(queue.create("email", n) for n in range(50)), *(queue.get(n) for n in range(1, 50)))
        creating = len(await queue.redis.client_list())
        working = []

        async def look(job: Job, context: Context) -> None:
            clients = await eventually(lambda: _clients(queue, 3))
            working.append(len(clients))
            queue.shutdown()

        queue.on("job start", lambda *_: None)
        queue.process("email", look)
        queue.process("idle", nothing)
        await to_the_end(queue.run())

    assert (creating, working[0]) == (1, 3)


async def _clients(queue: Queue, number: int) -> list[Any]:
    clients: list[Any] = await queue.redis.client_list()
    return clients if len(clients) >= number else []


async def test_creations_that_wait_while_a_call_is_in_flight_travel_together(own_valkey: Valkey) -> None:
    async with Queue.open(own_valkey.url) as queue:
        await queue.create("email")
        await queue.redis.config_resetstat()

        jobs = await asyncio.gather(*(queue.create("email", n) for n in range(1000)))

        stats: Any = await queue.redis.info("commandstats")
        assert stats["cmdstat_evalsha"]["calls"] == 2
        assert [job.data for job in jobs] == list(range(1000))


async def test_a_caller_who_goes_away_takes_nobody_along(queue: Queue) -> None:
    creating = [asyncio.create_task(queue.create("email", n)) for n in range(10)]
    await asyncio.sleep(0)
    for task in creating[::2]:
        task.cancel()

    jobs = await asyncio.gather(*creating, return_exceptions=True)

    assert [job.data for job in jobs if isinstance(job, Job)] == [1, 3, 5, 7, 9]
    assert (await queue.jobs.counts())[State.INACTIVE] == 10, "what was asked for has travelled all the same"


async def test_one_batch_that_fails_fails_those_aboard_and_no_others(own_valkey: Valkey) -> None:
    async with Queue.open(own_valkey.url) as queue:
        await queue.redis.set(queue.keys.ids, "junk")

        answers = await asyncio.gather(*(queue.create("email") for _ in range(10)), return_exceptions=True)
        await queue.redis.delete(queue.keys.ids)
        job = await queue.create("email")

    assert {type(answer) for answer in answers} == {QueueUnavailable}
    assert job.id == 1


async def test_closing_waits_for_what_is_in_flight(valkey: Valkey, prefix: str) -> None:
    async with Queue.open(valkey.url, prefix=prefix) as queue:
        creating = [asyncio.create_task(queue.create("email")) for _ in range(600)]
        await asyncio.sleep(0)

    jobs = await asyncio.gather(*creating)

    assert [job.id for job in jobs] == list(range(1, 601))


async def test_shutdown_before_run_does_nothing(live_queue: Queue) -> None:
    live_queue.shutdown()
    await live_queue.create("email")

    async def work(job: Job, context: Context) -> None:
        live_queue.shutdown()

    live_queue.process("email", work)
    await to_the_end(live_queue.run())

    assert (await live_queue.jobs.counts())[State.COMPLETE] == 1
    assert live_queue.worker is None


async def test_a_job_in_a_workers_hands_cannot_be_removed_or_changed(live_queue: Queue) -> None:
    refusals = []

    async def work(job: Job, context: Context) -> None:
        for ask in (live_queue.remove(job.id), live_queue.update(job.id, priority=1), live_queue.retry(job.id)):
            with pytest.raises(WrongState) as refusal:
                await ask
            refusals.append(str(refusal.value))
        live_queue.shutdown()

    live_queue.process("email", work)
    await live_queue.create("email")
    await to_the_end(live_queue.run())

    assert refusals == [f"cannot {verb} job 1: it is active" for verb in ("remove", "update", "retry")]
