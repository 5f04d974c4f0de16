"""Workers that are stopped, frozen, or not alone."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter

import pytest

from tests.sink import held
from tests.stack import Stack, post, post_many, reminder, soon, until

pytestmark = pytest.mark.faults


async def test_an_idle_worker_stops_at_once_and_cleanly(stack: Stack) -> None:
    async with stack.worker() as worker:
        status = await worker.terminate(timeout=10)

    assert status == 0
    assert "worker stopped" in worker.lines[-1]


async def test_a_worker_stopped_before_the_body_gives_the_reminder_to_another(stack: Stack) -> None:
    """A7: not an attempt."""
    async with stack.web() as client:
        async with stack.worker() as first:
            async with held(stack.sink, "RCPT", "250 ok"):
                id = await post(client, "person@example.org", soon(3))
                await until(client, [id], lambda each: each["status"] == "sending")
                async with stack.worker():
                    first.send(signal.SIGTERM)
                    await until(client, [id], lambda each: each["status"] != "sending" or each["attempts"] == 1)
                    stack.sink.replies.pop("RCPT")
                    (found,) = await until(client, [id])
            assert await first.ended() == 0

    assert found["status"] == "sent"
    assert found["attempts"] == 1
    assert len(stack.sink.mails) == 1


async def test_a_worker_stopped_while_the_server_thinks_waits_for_its_answer(stack: Stack) -> None:
    """A8: the mail is recorded as sent, once, and the worker ends by itself."""
    async with stack.web() as client, stack.worker() as worker:
        async with held(stack.sink, "body", "250 2.0.0 Ok: at last") as answer:
            id = await post(client, "person@example.org", soon(3))
            await stack.sink.wait_for(1)
            worker.send(signal.SIGTERM)
            await asyncio.sleep(1)
            answer.set()
            status = await worker.ended()
        found = await reminder(client, id)

    assert status == 0
    assert found["status"] == "sent"
    assert found["timeline"][-1]["reply"] == "250 2.0.0 Ok: at last"
    assert len(stack.sink.mails) == 1


async def test_a_frozen_worker_that_wakes_before_its_mark_sends_nothing(stack: Stack) -> None:
    """A9: its lease has lapsed, another has sent the mail; its own mark touches no row."""
    async with stack.web() as client, stack.worker() as zombie:
        async with held(stack.sink, "DATA", "354 go ahead") as answer:
            id = await post(client, "person@example.org", soon(3))
            await until(client, [id], lambda each: each["status"] == "sending")
            zombie.send(signal.SIGSTOP)
            stack.sink.replies.pop("DATA")
            async with stack.worker():
                (found,) = await until(client, [id])
                answer.set()
                zombie.send(signal.SIGCONT)
                await zombie.line("run ended by somebody else|lease lost")

    assert found["status"] == "sent"
    assert len(stack.sink.mails) == 1
    assert found["may_have_arrived_twice"] is False


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_worker_whose_loop_is_blocked_beyond_its_lease_sends_nothing_and_says_so(stack: Stack) -> None:
    """A14: another has sent the mail meanwhile."""
    async with stack.web() as client, stack.blocking_worker("rcpt_ok", 8) as blocked:
        await blocked.line("worker started")
        id = await post(client, "person@example.org", soon(2))
        await until(client, [id], lambda each: each["status"] == "sending")
        async with stack.worker():
            (found,) = await until(client, [id])
            await blocked.line("stood still")
            await blocked.line("run ended by somebody else|lease lost")

    assert found["status"] == "sent"
    assert len(stack.sink.mails) == 1
    assert found["may_have_arrived_twice"] is False


async def test_two_workers_share_a_burst_and_nobody_is_written_to_twice(stack: Stack) -> None:
    """A15, and oldest due first does not matter here: all are due in the same second."""
    count = int(os.environ.get("BURST", "100"))
    async with stack.web() as client, stack.worker(), stack.worker():
        addresses = await post_many(client, count, soon(3))
        found = await until(client, list(addresses))

    assert {each["status"] for each in found} == {"sent"}
    assert Counter(mail.recipient for mail in stack.sink.mails) == Counter(addresses.values())


async def test_reminders_due_while_no_worker_runs_are_sent_when_one_does(stack: Stack) -> None:
    """A10."""
    async with stack.web() as client:
        addresses = await post_many(client, 10, soon(3))
        await asyncio.sleep(4)
        async with stack.worker():
            found = await until(client, list(addresses))

    assert {each["status"] for each in found} == {"sent"}
    assert min(each["lateness_ms"] for each in found) > 500
    assert len(stack.sink.mails) == 10
