"""Everything at once is killed at any moment, again and again: web, workers and Redis, and what Redis knew is gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections import Counter, defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.sink import Mail, Session
from tests.stack import Stack, answering, soon, until

pytestmark = pytest.mark.faults
# For a long look: CYCLES=100.
CYCLES = int(os.environ.get("CYCLES", "2"))
_IN_A_CYCLE = 12


@dataclass
class Asked:
    """A reminder that was answered with 201, and whether a cancel of it was answered with 200."""

    to: str
    due_at: datetime
    cancelled: bool = False


async def test_through_any_number_of_power_cuts_every_201_is_kept_and_none_is_sent_early_or_twice_unsaid(
    stack: Stack,
) -> None:
    """E12, I8, I10, I18, I21: but for the disk, which a kill leaves as it is."""
    dice = random.Random(int(os.environ.get("SEED", "1")))
    asked: dict[str, Asked] = {}

    async def slowly(_: Session) -> str:
        # So that many a kill comes in the midst of a mail.
        await asyncio.sleep(dice.uniform(0, 0.4))
        return "250 2.0.0 Ok"

    stack.sink.replies |= {"RCPT": slowly, "body": slowly}
    for cycle in range(CYCLES):
        await one_cycle(stack, dice, cycle, asked)
    stack.valkey.start()
    async with stack.web() as client, stack.worker():
        found = await until(client, list(asked), timeout=120)

    mails: dict[str, list[Mail]] = defaultdict(list)
    for mail in stack.sink.mails:
        mails[mail.recipient].append(mail)
    wrong = [
        f"{each}: {asked[each['id']]}, {len(mails[each['to']])} mails"
        for each in found
        if not is_true(each, asked[each["id"]], mails[each["to"]])
    ]
    again = sum(len(each) - 1 for each in mails.values() if each)
    statuses = Counter(each["status"] for each in found)
    print(
        f"{len(asked)} of {CYCLES * _IN_A_CYCLE} promised; {dict(statuses)}; {len(stack.sink.mails)} mails, {again} again"
    )
    assert len(asked) > CYCLES
    assert wrong == []


async def one_cycle(stack: Stack, dice: random.Random, cycle: int, asked: dict[str, Asked]) -> None:
    """Start everything, ask for some, and pull the plug."""
    stack.valkey.kill()
    stack.valkey.start()
    async with AsyncExitStack() as running:
        web = await running.enter_async_context(stack.process("web"))
        workers = [await running.enter_async_context(stack.process("worker")) for _ in range(2)]
        client = await running.enter_async_context(stack.client())
        await answering(client, web)
        for worker in workers:
            await worker.line("worker started")
        asking = [
            asyncio.create_task(ask(client, dice, f"c{cycle}n{n}@example.org", asked)) for n in range(_IN_A_CYCLE)
        ]
        # Some are on their way by then.
        await asyncio.sleep(dice.uniform(0.5, 3.5))
        await asyncio.gather(asyncio.to_thread(stack.valkey.kill), *(each.kill() for each in (web, *workers)))
        for each in asking:
            each.cancel()
        await asyncio.wait(asking)


async def ask(client: httpx.AsyncClient, dice: random.Random, to: str, asked: dict[str, Asked]) -> None:
    """One more; some are thought better of. What is not answered is not promised."""
    due_at = soon(dice.uniform(0.7, 3))
    body: dict[str, Any] = {"to": to, "message": to, "due_at": due_at.isoformat(timespec="milliseconds")}
    changes_mind_in = dice.choice([None, None, None, dice.uniform(0, 3)])
    with contextlib.suppress(httpx.TransportError):
        answer = await client.post("/api/reminders", json=body)
        if answer.status_code == 201:
            asked[answer.json()["id"]] = one = Asked(to, due_at)
            if changes_mind_in is not None:
                await asyncio.sleep(changes_mind_in)
                cancel = await client.delete(f"/api/reminders/{answer.json()['id']}")
                one.cancelled = cancel.status_code == 200


def is_true(found: dict[str, Any], asked: Asked, mails: list[Mail]) -> bool:
    """Whether what became of it is what was promised."""
    early = any(mail.at < (asked.due_at - timedelta(milliseconds=1)).timestamp() for mail in mails)
    copies = len(mails) <= 1 or (found["may_have_arrived_twice"] and len(mails) <= 3)
    same = len({mail.data for mail in mails}) <= 1
    match found["status"]:
        case "sent":
            right = len(mails) >= 1 and not asked.cancelled
        case "cancelled":
            # The answer to a cancel may have been lost.
            right = mails == []
        case "uncertain":
            right = not asked.cancelled
        case "failed":
            # It was in the hands of three that were killed.
            right = found["reason"] == "It could not be processed." and mails == []
        case _:
            right = False
    return right and not early and copies and same
