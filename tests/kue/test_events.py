"""Events cross over with the args that docs/queue.md has (Events): ours arrive in a Kue process, Kue's at our listener."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from rmindr.queue import Context, Job, Lease, Queue
from rmindr.queue.events import EVENTS
from tests.conftest import Clock
from tests.kue.original import PATIENCE_S, Hand, Kue, working

pytestmark = pytest.mark.kue

TYPE = 'e-mail: "häppy" \\ 🎂'


class Ear:
    """What our listener hears of every job, in order: ("start", 1, "email", None)."""

    def __init__(self, queue: Queue) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self._news = asyncio.Condition()
        for event in EVENTS:
            queue.on(f"job {event}", self._hearer(event))

    def _hearer(self, event: str) -> Any:
        async def hear(*args: Any) -> None:
            async with self._news:
                self.heard.append((event, *args))
                self._news.notify_all()

        return hear

    async def until(self, event: str, job_id: int) -> list[tuple[Any, ...]]:
        """Everything heard so far, once this has been."""
        async with asyncio.timeout(PATIENCE_S), self._news:
            await self._news.wait_for(lambda: any(heard[:2] == (event, job_id) for heard in self.heard))
        return self.heard


async def a_lease(queue: Queue) -> Lease:
    claimed = await queue.lifecycle.claim({TYPE: 1}, token="token", lease=timedelta(minutes=1), worker="kue:here:1")
    [lease] = claimed.leases
    return lease


# Ours, in a Kue process


async def test_kue_hears_a_success_of_ours(kue: Kue, queue: Queue) -> None:
    await queue.create(TYPE)
    lease = await a_lease(queue)
    await queue.lifecycle.progress(lease, 40)
    await queue.lifecycle.progress(lease, 80, {"page": "½"})
    await queue.lifecycle.complete(lease, {"sent": ["ja", None]})
    await queue.remove(1)
    await kue.hears("remove", 1)

    assert kue.story(1) == [
        ("enqueue", TYPE),
        ("start", TYPE, None),
        ("progress", 40, None),
        ("progress", 80, {"page": "½"}),
        ("complete", {"sent": ["ja", None]}, None),
        ("remove", TYPE),
    ]


async def test_kue_hears_the_failures_of_ours(kue: Kue, queue: Queue, clock: Clock) -> None:
    await queue.create(TYPE, attempts=3)
    await queue.lifecycle.fail(await a_lease(queue), "busy", "Error: busy\n  at work", wait_ms=0)
    await queue.lifecycle.fail(await a_lease(queue), "still busy", wait_ms=500)
    clock.advance(ms=500)
    await queue.lifecycle.fail(await a_lease(queue), "no", "Error: no\n  way", wait_ms=None)
    await queue.retry(1)
    await kue.hears("enqueue", 1, times=4)

    assert kue.story(1) == [
        ("enqueue", TYPE),
        ("start", TYPE, None),
        ("error", "Error: busy\n  at work"),
        ("enqueue", TYPE),
        ("failed attempt", "busy", 1),
        ("start", TYPE, None),
        ("error", "still busy"),
        ("failed attempt", "still busy", 2),
        ("promotion",),
        ("enqueue", TYPE),
        ("start", TYPE, None),
        ("error", "Error: no\n  way"),
        ("failed", "no", None),
        ("enqueue", TYPE),
    ]


async def test_kue_hears_nothing_of_a_delayed_job_of_ours_until_it_is_promoted(
    kue: Kue, queue: Queue, clock: Clock
) -> None:
    await queue.create(TYPE, delay=timedelta(seconds=1))
    await queue.update(1, data={"new": True})
    clock.advance(seconds=1)
    await queue.lifecycle.promote()
    await kue.hears("enqueue", 1)

    assert kue.story(1) == [("promotion",), ("enqueue", TYPE)]


async def test_kue_hears_that_a_job_of_ours_outlived_its_ttl(kue: Kue, queue: Queue, clock: Clock) -> None:
    await queue.create(TYPE, ttl=timedelta(seconds=1))
    lease = await a_lease(queue)
    clock.advance(seconds=1)
    await queue.lifecycle.expire(lease.job)
    await kue.hears("failed", 1)

    story = [event for event in kue.story(1)[2:] if event != ("ttl exceeded ack",)]
    assert story == [("ttl exceeded",), ("error", "TTL exceeded"), ("failed", "TTL exceeded", None)]


async def test_kue_hears_complete_before_remove(kue: Kue, queue: Queue) -> None:
    await queue.create(TYPE, remove_on_complete=True)
    await queue.lifecycle.complete(await a_lease(queue))
    await kue.hears("remove", 1)

    assert kue.story(1)[2:] == [("complete", None, None), ("remove", TYPE)]


async def test_whatever_a_failure_says_kue_hears_it_and_lives(kue: Kue, queue: Queue) -> None:
    texts = [
        'quotes " and \\ and / and </script>',
        "\x00\x01\b\t\n\r\x1f\x7f",
        "\u2028\u2029\ufeff ü 🎂 𝔘",
        "%s %d {} $1 \\u0041",
        "",
        "[object Object]",
        "x" * 10_000,
    ]
    for text in texts:
        job = await queue.create(TYPE)
        await queue.lifecycle.fail(await a_lease(queue), text, wait_ms=None)
        await kue.hears("failed", job.id)

    assert [args[1] for args in kue.args("failed")] == texts
    assert [args[1] for args in kue.args("error")] == texts
    assert [job["error"] for job in await kue.jobs("rangeByState", "failed", 0, -1, "asc")] == texts


async def test_a_failure_that_is_no_text_at_all_does_not_end_kue(kue: Kue, live_queue: Queue) -> None:
    async def handler(job: Job, context: Context) -> None:
        # Half a character: it cannot be written as UTF-8.
        raise RuntimeError("\ud83c")

    live_queue.process(TYPE, handler)
    async with working(live_queue):
        await live_queue.create(TYPE)
        assert await kue.hears("failed", 1) == ("?", None)

    assert (await kue.get(1))["state"] == "failed"


async def test_the_job_objects_of_a_kue_producer_hear_our_worker(kue: Kue, live_queue: Queue) -> None:
    async def handler(job: Job, context: Context) -> str:
        if job.attempts == 0:
            raise RuntimeError("busy")
        await context.progress(1, 4, {"page": 1})
        return "sent"

    live_queue.process(TYPE, handler)
    job_id = await kue.create(TYPE, attempts=2)
    async with working(live_queue):
        await kue.hears("complete", job_id, level="job")

    story = kue.story(job_id, level="job")
    assert story[2][0] == "error"
    assert story[2][1].startswith("RuntimeError: busy\n")
    assert story[:2] + story[3:] == [
        ("enqueue", TYPE),
        ("start", TYPE, None),
        ("enqueue", TYPE),
        ("failed attempt", "busy", 1),
        ("start", TYPE, None),
        ("progress", 25, {"page": 1}),
        ("complete", "sent", None),
    ]


# Kue's, at our listener


async def test_we_hear_a_success_of_kues(kue: Kue, live_queue: Queue) -> None:
    async def handler(job: dict[str, Any], hand: Hand) -> Any:
        await hand.do(("progress", 2, 5), ("progress", 4, 5, {"page": "½"}))
        return {"sent": ["ja", None]}

    ear = Ear(live_queue)
    async with live_queue.listening():
        await kue.process(TYPE, handler)
        await kue.create(TYPE, removeOnComplete=True)

        assert await ear.until("remove", 1) == [
            ("enqueue", 1, TYPE),
            ("start", 1, TYPE, None),
            ("progress", 1, 40, None),
            ("progress", 1, 80, {"page": "½"}),
            ("complete", 1, {"sent": ["ja", None]}, None),
            ("remove", 1, TYPE),
        ]


async def test_we_hear_the_failures_of_kues(kue: Kue, live_queue: Queue) -> None:
    async def handler(job: dict[str, Any], hand: Hand) -> Any:
        raise RuntimeError(f"busy {job['attempts']['made']}")

    ear = Ear(live_queue)
    async with live_queue.listening():
        await kue.process(TYPE, handler)
        await kue.create(TYPE, attempts=2, delay=50, backoff=True)

        heard = [event for event in await ear.until("failed", 1) if event[0] != "error"]

    assert heard == [
        ("promotion", 1),
        ("enqueue", 1, TYPE),
        ("start", 1, TYPE, None),
        ("failed attempt", 1, "busy 0", 1),
        ("promotion", 1),
        ("enqueue", 1, TYPE),
        ("start", 1, TYPE, None),
        ("failed", 1, "busy 1", None),
    ]
    errors = [event[2].partition("\n")[0] for event in ear.heard if event[0] == "error"]
    assert errors == ["Error: busy 0", "Error: busy 1"]


async def test_we_hear_that_a_job_of_kues_outlived_its_ttl(kue: Kue, live_queue: Queue) -> None:
    async def handler(job: dict[str, Any], hand: Hand) -> Any:
        await asyncio.Event().wait()

    ear = Ear(live_queue)
    async with live_queue.listening():
        await kue.process(TYPE, handler)
        await kue.create(TYPE, ttl=50)

        told = await ear.until("failed", 1)

    # Its acknowledgement travels on another connection than the rest.
    assert ("ttl exceeded ack", 1) in told
    assert [event for event in told[2:] if event[0] != "ttl exceeded ack"] == [
        ("ttl exceeded", 1),
        ("error", 1, "TTL exceeded"),
        ("failed", 1, "TTL exceeded", None),
    ]


async def test_one_job_of_ours_is_heard_while_kue_works_it(kue: Kue, live_queue: Queue) -> None:
    async def handler(job: dict[str, Any], hand: Hand) -> Any:
        return "sent"

    ended: asyncio.Future[tuple[Any, ...]] = asyncio.get_running_loop().create_future()
    async with live_queue.listening():
        job = await live_queue.create(TYPE)
        other = await live_queue.create(TYPE)
        live_queue.on("complete", lambda *args: ended.set_result(args), job_id=other.id)
        await kue.process(TYPE, handler)

        assert await asyncio.wait_for(ended, PATIENCE_S) == ("sent", None)
    assert kue.story(job.id)[-1] == ("complete", "sent", None)


async def test_ids_that_kues_http_api_publishes_as_text_are_numbers_here(
    kue: Kue, live_queue: Queue, redis: Redis, prefix: str
) -> None:
    port = await kue.ask(verb="listen")
    job = await live_queue.create(TYPE)
    ear = Ear(live_queue)

    async with live_queue.listening(), redis.pubsub() as channel, httpx.AsyncClient() as http:
        await channel.subscribe(f"{prefix}:events")
        await http.get(f"http://127.0.0.1:{port}/inactive/{job.id}")
        await http.delete(f"http://127.0.0.1:{port}/job/{job.id}")
        heard = await ear.until("remove", job.id)
        wire = [message["data"] async for message in _messages(channel, 2)]

    assert heard == [("enqueue", job.id, TYPE), ("remove", job.id, TYPE)]
    assert wire[0].startswith(f'{{"id":"{job.id}","event":"enqueue"')


async def _messages(channel: Any, count: int) -> Any:
    async for message in channel.listen():
        if message["type"] == "message":
            yield message
            count -= 1
            if count == 0:
                return
