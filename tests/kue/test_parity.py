"""Asked for alike, a job of ours and one of Kue's are the same in Redis, and so is what is told of their lives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from rmindr.queue import Backoff, Context, Job, Queue
from rmindr.queue.audit import Keyspace, read
from rmindr.queue.keys import zid
from tests.kue.original import Hand, Kue, working

pytestmark = pytest.mark.kue

MS = timedelta(milliseconds=1)
ODD = {"ü": 'é "\\/\b\n\u2028 🎂 </script>', "n": [0, -1, 1.5, 2**53 - 1, True, None], "": {}}


class Error(Exception):
    """Named as JavaScript's, so that the first line of a failure's text is the same on both sides."""


FLAVOURS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "priority low": ({"priority": "low"}, {"priority": "low"}),
    "priority medium": ({"priority": "medium"}, {"priority": "medium"}),
    "priority critical": ({"priority": "critical"}, {"priority": "critical"}),
    "priority 7": ({"priority": 7}, {"priority": 7}),
    "priority -2.5": ({"priority": -2.5}, {"priority": -2.5}),
    "delay": ({"delay": 3_600_000 * MS}, {"delay": 3_600_000}),
    "delay of nothing": ({"delay": 0 * MS}, {"delay": 0}),
    "delay into the past": ({"delay": -1000 * MS}, {"delay": -1000}),
    "attempts": ({"attempts": 5}, {"attempts": 5}),
    "backoff true": ({"backoff": Backoff.same()}, {"backoff": True}),
    "backoff fixed": ({"backoff": Backoff.fixed()}, {"backoff": {"type": "fixed"}}),
    "backoff fixed, delay": ({"backoff": Backoff.fixed(200 * MS)}, {"backoff": {"type": "fixed", "delay": 200}}),
    "backoff exponential": (
        {"backoff": Backoff.exponential(200 * MS, max_delay=900 * MS)},
        {"backoff": {"type": "exponential", "delay": 200, "maxDelay": 900}},
    ),
    "ttl": ({"ttl": 90_000 * MS}, {"ttl": 90_000}),
    "removeOnComplete": ({"remove_on_complete": True}, {"removeOnComplete": True}),
    "everything": (
        {"priority": "high", "delay": 5000 * MS, "attempts": 3, "ttl": 1000 * MS, "backoff": Backoff.same()},
        {"priority": "high", "delay": 5000, "attempts": 3, "ttl": 1000, "backoff": True},
    ),
}


def standing(keyspace: Keyspace, job_id: int) -> tuple[dict[str, str], dict[str, float]]:
    """A job's fields and its score in each zset, with instants counted from its creation."""
    fields = keyspace.jobs[str(job_id)]
    created_at = int(fields["created_at"])
    fields = {name: text for name, text in fields.items() if name not in ("created_at", "updated_at")}
    fields["promote_at"] = str(int(fields["promote_at"]) - created_at)
    zsets = {name: zset[zid(int(job_id))] for name, zset in keyspace.zsets.items() if zid(int(job_id)) in zset}
    # Where our list of what has ended stands, Kue has nothing.
    zsets = {name: score for name, score in zsets.items() if not name.startswith("ended:")}
    if "jobs:delayed" in zsets:
        zsets["jobs:delayed"] -= created_at
    return fields, zsets


async def test_a_job_is_created_alike(kue: Kue, live_queue: Queue, redis: Redis, prefix: str) -> None:
    data = {"to": "me"}
    first = {flavour: await kue.create(flavour, data, **kues) for flavour, (_, kues) in FLAVOURS.items()}
    second = {flavour: await live_queue.create(flavour, data, **ours) for flavour, (ours, _) in FLAVOURS.items()}
    await kue.queue("types")  # an answer of Kue's comes after all events before it

    keyspace = await read(redis, prefix)
    for flavour in FLAVOURS:
        ours, kues = second[flavour].id, first[flavour]
        assert standing(keyspace, ours) == standing(keyspace, kues)
        assert kue.story(ours) == kue.story(kues)
        tokens = 0 if keyspace.jobs[str(kues)]["state"] == "delayed" else 2
        assert keyspace.lists.get(f"{flavour}:jobs", []) == ["1"] * tokens


async def test_data_is_written_alike(kue: Kue, live_queue: Queue, redis: Redis, prefix: str) -> None:
    told = [ODD, [ODD], "text ü", "", 1.25, 0, None, True]

    first = [await kue.create("email", data) for data in told]
    # Kue takes what is falsy in JavaScript for no data at all.
    second = [(await live_queue.create("email", data or None)).id for data in told]

    jobs = (await read(redis, prefix)).jobs
    assert [jobs[str(job_id)]["data"] for job_id in second] == [jobs[str(job_id)]["data"] for job_id in first]


Act = Callable[[int, Any], Any]


class Ours:
    """The hand of our worker, under the names of Kue's."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def do(self, *steps: tuple[Any, ...]) -> None:
        for method, *args in steps:
            await getattr(self._context, method)(*args)


async def succeeds(run: int, hand: Hand | Ours) -> Any:
    return ODD


async def has_nothing_to_say(run: int, hand: Hand | Ours) -> Any:
    return None


async def tells_how_far_it_is(run: int, hand: Hand | Ours) -> Any:
    await hand.do(("progress", 1, 3), ("progress", 5, 4, ODD), ("progress", -1, 3), ("log", "nearly, ½"))
    return {"done": True}


async def fails_always(run: int, hand: Hand | Ours) -> Any:
    raise Error(f'run {run} has "failed" 🎂')


async def fails_at_first(run: int, hand: Hand | Ours) -> Any:
    if run < 3:
        raise Error(f"run {run} has failed")
    return run


LIVES: dict[str, tuple[Act, dict[str, Any], dict[str, Any]]] = {
    "success": (succeeds, {}, {}),
    "success, nothing to say": (has_nothing_to_say, {"priority": "low"}, {"priority": "low"}),
    "success, with attempts left": (succeeds, {"attempts": 3}, {"attempts": 3}),
    "success, then removal": (succeeds, {"remove_on_complete": True}, {"removeOnComplete": True}),
    "progress": (tells_how_far_it_is, {"ttl": 60_000 * MS}, {"ttl": 60_000}),
    "failure": (fails_always, {}, {}),
    "failure of each attempt": (fails_always, {"attempts": 3}, {"attempts": 3}),
    "failure, then success": (fails_at_first, {"attempts": 5}, {"attempts": 5}),
    "failure, backoff": (
        fails_always,
        {"attempts": 3, "backoff": Backoff.fixed(30 * MS)},
        {"attempts": 3, "backoff": {"type": "fixed", "delay": 30}},
    ),
    "delay": (succeeds, {"delay": 50 * MS}, {"delay": 50}),
}


@pytest.mark.parametrize(("act", "ours", "kues"), LIVES.values(), ids=LIVES)
async def test_a_job_lives_alike(
    kue: Kue,
    live_queue: Queue,
    redis: Redis,
    prefix: str,
    act: Act,
    ours: dict[str, Any],
    kues: dict[str, Any],
) -> None:
    async def in_our_hands(job: Job, context: Context) -> Any:
        return await act(job.attempts + 1, Ours(context))

    async def in_kues_hands(job: dict[str, Any], hand: Hand) -> Any:
        return await act(job["attempts"]["made"] + 1, hand)

    live_queue.process("email", in_our_hands)
    async with working(live_queue):
        first = (await live_queue.create("email", **ours)).id
        await _end(kue, first, removed="remove_on_complete" in ours)
    # Its timers would promote our jobs if it worked from the beginning.
    await kue.process("email", in_kues_hands)
    second = await kue.create("email", **kues)
    await _end(kue, second, removed="remove_on_complete" in ours)

    assert _told(kue.story(first)) == _told(kue.story(second))
    keyspace = await read(redis, prefix)
    if "remove_on_complete" in ours:
        assert keyspace.jobs == {}
        return
    assert _lived(keyspace, first) == _lived(keyspace, second)


async def _end(kue: Kue, job_id: int, *, removed: bool) -> None:
    ends = {"remove"} if removed else {"complete", "failed"}
    await kue.until(lambda: any(name in ends for name, *_ in kue.story(job_id)))


def _told(story: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """A story without the lines of the text of an error that say where it happened."""
    return [tuple(part.partition("\n")[0] if isinstance(part, str) else part for part in event) for event in story]


def _lived(keyspace: Keyspace, job_id: int) -> tuple[dict[str, Any], dict[str, float], list[str]]:
    """What a life left behind: the fields but for instants and whereabouts, the scores, the log."""
    fields, zsets = standing(keyspace, job_id)
    fields["error"] = fields.get("error", "").partition("\n")[0]
    for name in ("started_at", "failed_at", "duration", "promote_at", "workerId"):
        fields[name] = "there" if name in fields else "absent"
    return fields, zsets, keyspace.lists.get(f"job:{job_id}:log", [])
