"""Edits and cancels at the very instant a mail is due, over several processes: what was answered is what happens."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import httpx
import pytest

from tests.servers import Valkey, free_port
from tests.sink import Sink
from tests.stack import Stack, post, soon, until

pytestmark = pytest.mark.faults

# For a long look: PAIRS=10000.
PAIRS = int(os.environ.get("PAIRS", "120"))
_AT_ONCE = 24
# How long before it is due a reminder is posted, and how far from that instant the race is begun.
_AHEAD_S, _JITTER_S = 1.0, 0.06


@dataclass
class Raced:
    """One reminder, and what was answered to those who raced for it."""

    id: str
    answers: dict[str, int] = field(default_factory=dict)


async def test_what_was_edited_or_cancelled_in_time_is_never_sent_as_it_was(
    database_url: str, own_valkey: Valkey, sink: Sink
) -> None:
    stack = Stack(database_url, own_valkey, sink)
    chance = random.Random(int(os.environ.get("SEED", "1")))
    other = replace(stack, port=free_port())
    async with stack.web() as one, other.web() as two, stack.worker(), stack.worker():
        raced = await races((one, two), chance)
        ended = await until(one, [each.id for each in raced], timeout=60 + PAIRS / 10)

    mails: dict[str, list[str]] = defaultdict(list)
    for mail in sink.mails:
        number, _, text = str(mail.message["Subject"]).partition(" ")
        mails[number].append(text)
    statuses = {each["id"]: each["status"] for each in ended}
    outcomes = Counter(tuple(sorted(each.answers.items())) for each in raced)
    print(f"{PAIRS} raced; {dict(sorted(outcomes.items()))}; {Counter(statuses.values())}; {len(sink.mails)} mails")
    wrong = [
        f"{number}: {each.answers}, {statuses[each.id]}, {mails[number]}"
        for number, each in ((str(number), each) for number, each in enumerate(raced))
        if not _is_true(each.answers, statuses[each.id], mails[number])
    ]
    assert wrong == []
    assert {answer for each in raced for answer in each.answers.values()} <= {200, 409}
    # Both ways out were taken, or nothing was raced for.
    assert {200, 409} == {answer for each in raced for answer in each.answers.values()}


async def races(doors: tuple[httpx.AsyncClient, ...], chance: random.Random) -> list[Raced]:
    """Post each, and let an edit, a cancel, or both, from different processes, run into its instant."""
    seats = asyncio.Semaphore(_AT_ONCE)

    async def race(number: int) -> Raced:
        acts = chance.choice([("edit",), ("cancel",), ("edit", "cancel")])
        jitters = [chance.uniform(-_JITTER_S, _JITTER_S) for _ in acts]
        async with seats:
            due_at = soon(_AHEAD_S)
            id = await post(chance.choice(doors), f"p{number}@example.org", due_at, subject=f"{number} old")
            raced = Raced(id)

            async def act(name: str, jitter: float) -> None:
                await asyncio.sleep(max(0.0, (due_at - datetime.now(UTC)).total_seconds() + jitter))
                door = chance.choice(doors)
                if name == "cancel":
                    answer = await door.delete(f"/api/reminders/{id}")
                else:
                    answer = await door.patch(f"/api/reminders/{id}", json={"subject": f"{number} new"})
                raced.answers[name] = answer.status_code

            await asyncio.gather(*(act(name, jitter) for name, jitter in zip(acts, jitters, strict=True)))
            return raced

    return await asyncio.gather(*(race(number) for number in range(PAIRS)))


def _is_true(answers: dict[str, int], status: str, mails: list[str]) -> bool:
    """Whether what was answered is what happened: a cancel that held sends nothing from then on, an edit that held sends the
    new version alone, a refusal means that the mail has left; and whatever leaves, leaves once."""
    cancelled, edited = answers.get("cancel") == 200, answers.get("edit") == 200
    if cancelled:
        return status == "cancelled" and mails == []
    return status == "sent" and mails == ["new" if edited else "old"]
