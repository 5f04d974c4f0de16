"""Redis is emptied, killed, frozen or away: speed is lost, never a mail."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from tests.stack import Stack, post_many, soon, until

pytestmark = pytest.mark.faults

# How many reminders wait, and how many of them are due inside the outage; more by the environment.
PENDING, INSIDE = int(os.environ.get("PENDING", "60")), int(os.environ.get("INSIDE", "15"))


def each_once(stack: Stack, addresses: dict[str, str]) -> None:
    counted = Counter(mail.recipient for mail in stack.sink.mails)
    assert counted == Counter(addresses.values())


async def flush(stack: Stack) -> None:
    async with Redis.from_url(stack.valkey.url) as redis:
        await redis.flushall()


async def restart_empty(stack: Stack) -> None:
    await asyncio.to_thread(stack.valkey.kill)
    await asyncio.sleep(2)
    await asyncio.to_thread(stack.valkey.start)


async def freeze(stack: Stack) -> None:
    stack.valkey.freeze()
    await asyncio.sleep(6)
    stack.valkey.thaw()


@pytest.mark.parametrize("harm", [flush, restart_empty, freeze])
async def test_redis_is_harmed_while_reminders_wait_and_each_is_sent_once(
    stack: Stack, harm: Callable[[Stack], asyncio.Future[None]]
) -> None:
    async with stack.web() as client, stack.worker():
        inside = await post_many(client, INSIDE, soon(4))
        waiting = {f"{id}": to for id, to in (await post_many(client, PENDING, soon(12))).items()}

        await harm(stack)

        found = await until(client, [*inside, *waiting])
    assert {each["status"] for each in found} == {"sent"}
    assert min(each["lateness_ms"] for each in found) >= 0
    assert Counter(mail.message_id for mail in stack.sink.mails).most_common(1)[0][1] == 1
    assert len(stack.sink.mails) == INSIDE + PENDING


async def test_while_redis_is_full_reminders_are_taken_sent_once_and_queued_when_there_is_room(stack: Stack) -> None:
    """B6: it refuses whatever needs memory, and lets what is in hand end."""
    async with Redis.from_url(stack.valkey.direct) as redis, stack.web() as client, stack.worker() as worker:
        before = await post_many(client, 3, soon(4))
        await redis.config_set("maxmemory", 1)
        meanwhile = await post_many(client, 3, soon(4))
        await worker.line("queue away")
        found = await until(client, [*before, *meanwhile])
        await redis.config_set("maxmemory", 0)
        await worker.line("queue is back")
        after = await until(client, list(await post_many(client, 3, soon(2))))

    assert {each["status"] for each in (*found, *after)} == {"sent"}
    assert min(each["lateness_ms"] for each in (*found, *after)) >= 0
    assert Counter(mail.message_id for mail in stack.sink.mails).most_common(1)[0][1] == 1
    assert len(stack.sink.mails) == 9


async def test_reminders_due_while_redis_stays_away_are_sent_from_the_database(stack: Stack) -> None:
    async with stack.web() as client, stack.worker() as worker:
        addresses = await post_many(client, INSIDE, soon(4))
        await asyncio.to_thread(stack.valkey.kill)
        await worker.line("queue away")

        found = await until(client, list(addresses))

        late = await post_many(client, 3, soon(4))
        assert {each["status"] for each in await until(client, list(late))} == {"sent"}
        await asyncio.to_thread(stack.valkey.start)
        await worker.line("queue is back")
    assert {each["status"] for each in found} == {"sent"}


async def test_a_worker_that_starts_without_redis_sends_and_stops_kindly(stack: Stack) -> None:
    await asyncio.to_thread(stack.valkey.kill)
    async with stack.web() as client, stack.worker() as worker:
        addresses = await post_many(client, 3, soon(4))

        found = await until(client, list(addresses))

        assert await worker.terminate() == 0
    assert {each["status"] for each in found} == {"sent"}
    each_once(stack, addresses)
