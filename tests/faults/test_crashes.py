"""SIGKILL between every two steps of a delivery: what the mail server saw, and what the person is told."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.sink import Session, held
from tests.stack import Stack, post, rounds, soon, until

pytestmark = pytest.mark.faults

# The checkpoint of the crash, how many mails the server sees then, and whether that is told as «may have arrived twice».
CRASHES = [
    pytest.param("redis_claimed", 1, False, id="A1-after-the-claim-in-Redis"),
    pytest.param("sql_claimed", 1, False, id="A2-after-the-claim-in-SQL"),
    pytest.param("rcpt_ok", 1, False, id="A2-when-the-envelope-stands"),
    pytest.param("marked", 1, True, id="A3-after-the-mark-before-any-byte"),
    pytest.param("accepted", 2, True, id="A5-after-250-before-anything-is-written"),
    pytest.param("witnessed", 1, False, id="A5-when-only-the-witness-knows"),
    pytest.param("recorded", 1, False, id="A6-after-the-record-before-Redis"),
]


@pytest.mark.parametrize("round", range(rounds()))
@pytest.mark.parametrize(("checkpoint", "mails", "twice"), CRASHES)
async def test_a_worker_killed_at_this_step_loses_nothing(
    stack: Stack, checkpoint: str, mails: int, twice: bool, round: int
) -> None:
    async with stack.web() as client:
        async with stack.crashing_worker(checkpoint) as doomed:
            await doomed.line("worker started")
            id = await post(client, "person@example.org", soon(3))
            assert await doomed.ended() == -signal.SIGKILL

        async with stack.worker():
            (found,) = await until(client, [id])

    assert found["status"] == "sent"
    assert len(stack.sink.mails) == mails
    assert len({mail.message_id for mail in stack.sink.mails}) == 1
    assert len({mail.data for mail in stack.sink.mails}) == 1
    assert found["may_have_arrived_twice"] is twice
    assert found["lateness_ms"] >= 0


@pytest.mark.parametrize("round", range(rounds()))
async def test_a_worker_killed_while_the_server_thinks_sends_the_same_bytes_once_more(stack: Stack, round: int) -> None:
    """A4: the server has taken it; nobody on our side has heard."""
    async with stack.web() as client:
        async with held(stack.sink, "body", "250 2.0.0 Ok"), stack.worker() as doomed:
            id = await post(client, "person@example.org", soon(3))
            await stack.sink.wait_for(1)
            await doomed.kill()

        async with stack.worker():
            (found,) = await until(client, [id])

    first, second = stack.sink.mails
    assert first.data == second.data
    assert found["status"] == "sent"
    assert found["may_have_arrived_twice"] is True


@pytest.mark.parametrize("round", range(rounds()))
async def test_a_worker_killed_while_connecting_sends_nothing_twice(stack: Stack, round: int) -> None:
    """A2: connected, and the envelope not yet said."""
    killed = asyncio.Event()
    async with stack.web() as client:
        async with stack.worker() as doomed:

            async def kill(_: Session) -> str:
                del stack.sink.replies["MAIL"]
                doomed.send(signal.SIGKILL)
                killed.set()
                return "250 ok"

            stack.sink.replies["MAIL"] = kill
            id = await post(client, "person@example.org", soon(3))
            await killed.wait()
            await doomed.ended()

        async with stack.worker():
            (found,) = await until(client, [id])

    assert len(stack.sink.mails) == 1
    assert found["may_have_arrived_twice"] is False


async def test_a_reminder_that_kills_its_worker_every_time_is_given_up_after_three(stack: Stack) -> None:
    """A11: and the others go out."""
    async with stack.web() as client:
        id = await post(client, "poison@example.org", soon(3))
        for _ in range(3):
            async with stack.crashing_worker("sql_claimed") as doomed:
                assert await doomed.ended(timeout=60) == -signal.SIGKILL
        harmless = await post(client, "person@example.org", soon(3))
        async with stack.worker():
            poison, other = await until(client, [id, harmless])

    assert poison["status"] == "failed"
    assert poison["reason"] == "It could not be processed."
    assert other["status"] == "sent"
    assert [mail.recipient for mail in stack.sink.mails] == ["person@example.org"]
