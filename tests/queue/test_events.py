"""Hearing what becomes of jobs: the messages, the callbacks, and a connection that comes back."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmindr.queue import Context, Job, JobNotFound, Queue
from rmindr.queue.connections import connect_blocking
from rmindr.queue.events import Event, Listener, parse
from tests.conftest import Clock
from tests.queue.scenery import PROPERTY, a_lease, event, eventually, to_the_end, until
from tests.servers import Valkey

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["id", "event", "args"]) | st.text(), inner),
)


class Heard(list[tuple[Any, ...]]):
    """A callback that keeps what it is called with."""

    def __call__(self, *args: Any) -> None:
        self.append(args)

    async def times(self, number: int) -> None:
        """Until it has been called so often."""
        await until(lambda: len(self) >= number)


async def is_subscribed(queue: Queue) -> bool:
    [(_, listeners)] = await queue.redis.pubsub_numsub(queue.keys.events)
    return bool(listeners)


# The messages


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ('{"id":7,"event":"start","args":["start","email",null]}', Event(7, "start", ("email", None))),
        ('{"id":"7","event":"remove","args":["remove","email"]}', Event(7, "remove", ("email",))),
        ('{"args":["promotion"],"event":"promotion","id":7,"more":1}', Event(7, "promotion", ())),
        ('{"id":7,"event":"something new","args":[]}', Event(7, "something new", ())),
    ],
)
def test_a_message_is_read_whether_its_id_is_a_number_or_text(message: str, expected: Event) -> None:
    assert parse(message) == expected


@pytest.mark.parametrize(
    "message",
    [
        "", "junk", "null", "7", "[]", "{}", '"text"', '{"id":7}', '{"id":7,"event":"start"}',
        '{"id":7,"event":"start","args":{}}', '{"id":7,"event":5,"args":[]}', '{"id":null,"event":"start","args":[]}',
        '{"id":"seven","event":"start","args":[]}', '{"id":[7],"event":"start","args":[]}',
        '{"id":1e400,"event":"start","args":[]}', '{"id":NaN,"event":"start","args":[]}', "[" * 100_000, "9" * 5000,
    ],
    ids=lambda message: message[:40],
)  # fmt: skip
def test_a_message_that_is_no_event_is_none(message: str) -> None:
    assert parse(message) is None


@PROPERTY
@given(st.text() | json_values.map(json.dumps))
def test_no_message_makes_the_reader_fail(message: str) -> None:
    assert parse(message) is None or isinstance(parse(message), Event)


# The callbacks


async def test_the_queue_hears_every_job_and_a_job_only_itself(queue: Queue) -> None:
    of_all, of_one = Heard(), Heard()
    queue.on("job complete", of_all)
    queue.on("complete", of_one, job_id=2)

    async with queue.listening():
        for n in (1, 2):
            await queue.create("email")
            await queue.lifecycle.complete(await a_lease(queue), {"n": n})
        await of_all.times(2)

    assert of_all == [(1, {"n": 1}, None), (2, {"n": 2}, None)]
    assert of_one == [({"n": 2}, None)]


async def test_a_job_is_heard_from_its_creation_to_its_removal_in_order(queue: Queue) -> None:
    story: list[tuple[Any, ...]] = []
    for name in ("enqueue", "start", "progress", "complete", "remove"):
        queue.on(f"job {name}", lambda *args, name=name: story.append((name, *args)))

    async with queue.listening():
        await queue.create("email", remove_on_complete=True)
        lease = await a_lease(queue)
        await queue.lifecycle.progress(lease, 50)
        await queue.lifecycle.complete(lease)
        await until(lambda: len(story) == 5)

    assert story == [
        ("enqueue", 1, "email"),
        ("start", 1, "email", None),
        ("progress", 1, 50, None),
        ("complete", 1, None, None),
        ("remove", 1, "email"),
    ]


async def test_what_was_asked_about_one_job_is_forgotten_when_it_has_ended(queue: Queue) -> None:
    failed, removed, last = Heard(), Heard(), Heard()
    queue.on("failed", failed, job_id=1)
    queue.on("remove", removed, job_id=1)
    queue.on("job remove", last)

    async with queue.listening():
        await queue.create("email")
        for _ in range(2):
            await queue.lifecycle.fail(await a_lease(queue), "no", wait_ms=None)
            await queue.retry(1)
        await queue.remove(1)
        await last.times(1)

    assert (failed, removed) == ([("no", None)], [("email",)])


async def test_a_callback_is_called_until_it_is_taken_away(queue: Queue, clock: Clock) -> None:
    acknowledged, expired = Heard(), Heard()
    queue.on("job ttl exceeded ack", acknowledged)
    queue.on("job failed", expired)

    async with queue.listening():
        for n in range(1, 4):
            await queue.create("email", ttl=timedelta(seconds=1))
            await a_lease(queue)
            clock.advance(seconds=2)
            [late] = await queue.lifecycle.expired(clock.ms)
            await queue.lifecycle.expire(late)
            await expired.times(n)
            if n == 2:
                queue.off("job ttl exceeded ack", acknowledged)

    assert acknowledged == [(1,), (2,)]


async def test_an_async_callback_is_awaited_before_the_next_event(queue: Queue) -> None:
    steps = []

    async def slowly(job_id: int, *_: Any) -> None:
        steps.append(f"{job_id} begins")
        await asyncio.sleep(0)
        steps.append(f"{job_id} ends")

    queue.on("job enqueue", slowly)

    async with queue.listening():
        await queue.create("email")
        await queue.create("email")
        await until(lambda: len(steps) == 4)

    assert steps == ["1 begins", "1 ends", "2 begins", "2 ends"]


@pytest.mark.parametrize("error", [ZeroDivisionError(), asyncio.CancelledError()], ids=type)
async def test_a_callback_that_fails_disturbs_nobody(
    queue: Queue, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    def fail(*_: Any) -> None:
        raise error

    async def fail_later(*_: Any) -> None:
        raise error

    heard = Heard()
    for callback in (fail, fail_later, lambda: "too few arguments", heard):
        queue.on("job enqueue", callback)

    async with queue.listening():
        await queue.create("email")
        await queue.create("email")
        await heard.times(2)

    assert heard == [(1, "email"), (2, "email")]
    assert sum(record.message.startswith("an event callback") for record in caplog.records) == 6


async def test_garbage_on_the_channel_disturbs_nobody(queue: Queue) -> None:
    heard = Heard()
    queue.on("job enqueue", heard)

    async with queue.listening():
        for message in ("junk", "{", b"\xff\xfe", '{"id":1e400,"event":"enqueue","args":[]}', "[" * 100_000):
            await queue.redis.publish(queue.keys.events, message)
        await queue.redis.publish(queue.keys.events, event(5, "enqueue", "email").replace("5", '"5"'))
        await heard.times(1)

    assert heard == [(5, "email")]


# Listening


async def test_what_is_asked_for_while_listening_is_heard(queue: Queue) -> None:
    heard = Heard()

    async with queue.listening():
        queue.on("job enqueue", heard)
        await queue.create("email")
        await heard.times(1)

    assert heard == [(1, "email")]


async def test_what_is_asked_for_while_working_is_heard(live_queue: Queue) -> None:
    heard = Heard()

    async def work(job: Job, context: Context) -> None:
        live_queue.on("complete", lambda *_: live_queue.shutdown(), job_id=2)
        live_queue.on("job complete", heard)
        await eventually(lambda: is_subscribed(live_queue))

    live_queue.process("email", work)
    await live_queue.create("email")
    await live_queue.create("email")
    await to_the_end(live_queue.run())

    assert [job_id for job_id, *_ in heard][:1] == [1]


async def test_working_while_listening_hears_everything_once(live_queue: Queue) -> None:
    heard = Heard()
    live_queue.on("job complete", heard)
    live_queue.on("job complete", lambda *_: live_queue.shutdown())

    async def work(job: Job, context: Context) -> None: ...

    live_queue.process("email", work)
    async with live_queue.listening():
        await live_queue.create("email")
        await to_the_end(live_queue.run())

    assert heard == [(1, None, None)]


async def test_an_error_inside_the_block_comes_out_as_it_is(queue: Queue) -> None:
    with pytest.raises(JobNotFound):
        async with queue.listening():
            await queue.remove(1)


async def test_listening_again_after_an_end_hears_again(queue: Queue) -> None:
    heard = Heard()
    queue.on("job enqueue", heard)

    for expected in (1, 2):
        async with queue.listening():
            await queue.create("email")
            await heard.times(expected)
        await queue.redis.publish(queue.keys.events, event(9, "enqueue", "email"))

    assert heard == [(1, "email"), (2, "email")]


async def test_a_listener_whose_connection_is_cut_subscribes_again(queue: Queue) -> None:
    heard = Heard()
    queue.on("job enqueue", heard)

    async with queue.listening():
        for times in (1, 2, 3):
            await queue.redis.client_kill_filter(_type="pubsub")
            # What is published while a slow machine connects once more is not heard; sooner or later, something is.
            while len(heard) < times:
                await eventually(lambda: is_subscribed(queue))
                await queue.create("email")
                with suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await heard.times(times)

    assert heard == sorted(set(heard))


async def test_a_listener_notices_a_server_that_has_fallen_silent(
    own_valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    heard = Heard()
    listener = Listener("{q}:events", silence=timedelta(milliseconds=300))
    listener.on("enqueue", heard)
    subscriber = connect_blocking(own_valkey.url)
    ear = asyncio.create_task(listener.run(subscriber))
    await listener.subscribed()

    own_valkey.freeze()
    with caplog.at_level(logging.WARNING):
        await until(lambda: "events interrupted" in caplog.messages)
    own_valkey.thaw()
    await listener.subscribed()
    async with Queue.open(own_valkey.url, prefix="{q}") as queue:
        await queue.create("email")
        await heard.times(1)
    ear.cancel()
    await asyncio.wait([ear])
    await subscriber.aclose()

    assert heard == [(1, "email")]


async def test_a_quiet_server_that_answers_is_not_left(own_valkey: Valkey, caplog: pytest.LogCaptureFixture) -> None:
    listener = Listener("q:events", silence=timedelta(milliseconds=300))
    subscriber = connect_blocking(own_valkey.url)
    ear = asyncio.create_task(listener.run(subscriber))
    await listener.subscribed()

    async with Queue.open(own_valkey.url) as queue:
        await eventually(lambda: _was_asked(queue, 2))
    ear.cancel()
    await asyncio.wait([ear])
    await subscriber.aclose()

    assert "events interrupted" not in caplog.messages


async def _was_asked(queue: Queue, times: int) -> bool:
    stats: Any = await queue.redis.info("commandstats")
    return "cmdstat_ping" in stats and int(stats["cmdstat_ping"]["calls"]) >= times
