"""One verb for all jobs of a list: begun a moment later, called off until then, done once with those that it fits still."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from rmindr.queue import InvalidJob, NewJob, Queue, State, errands
from rmindr.queue.errands import Act, Errand, Verb
from rmindr.queue.listing import Filter
from tests.conftest import Clock
from tests.queue.scenery import LEASE, eventually, standing
from tests.servers import Valkey
from tests.wires import CountingWire

AT_ONCE = timedelta(0)
NEVER = timedelta(hours=1)


async def over(queue: Queue, errand: Errand) -> Errand:
    """The errand, once nothing more comes of it."""

    async def look() -> Errand | None:
        found = await queue.errands.get(errand.id)
        assert found is not None
        return found if found.standing in ("done", "undone", "stopped") else None

    found: Errand = await eventually(look)
    return found


def act(verb: Verb) -> Act:
    given: dict[str, Any] = {"reschedule": {"delay": timedelta(hours=2)}, "priority": {"priority": "high"}}.get(
        verb, {}
    )
    return Act(verb=verb, **given)


# What it does


@pytest.mark.parametrize(
    ("verb", "place", "after"),
    [
        ("retry", "failed", "inactive"),
        ("retry", "complete", "inactive"),
        ("run", "delayed", "inactive"),
        ("reschedule", "delayed", "delayed"),
        ("reschedule", "inactive", "delayed"),
        ("priority", "inactive", "inactive"),
        ("cancel", "delayed", "failed"),
        ("remove", "failed", None),
    ],
)
async def test_a_verb_is_done_with_each_job(
    queue: Queue, clock: Clock, verb: Verb, place: str, after: str | None
) -> None:
    leases = [await standing(queue, clock, place) for _ in range(3)]

    errand = await queue.errands.begin(act(verb), Filter(state=State(place)), respite=AT_ONCE)
    done = await over(queue, errand)

    assert (done.standing, done.total, done.seen, done.moved) == ("done", 3, 3, 3)
    assert await queue.jobs.states([lease.job.id for lease in leases]) == [after and State(after)] * 3
    if verb == "priority":
        assert {job.priority for job in await queue.jobs.range(State.INACTIVE)} == {-10}
    if verb == "reschedule":
        assert {job.promote_at for job in await queue.jobs.range(State.DELAYED)} == {clock.now + timedelta(hours=2)}


async def test_runs_are_called_off_together(queue: Queue) -> None:
    await queue.create_many([NewJob(type="email") for _ in range(3)])
    await queue.lifecycle.claim({"email": 3}, token="worker.1", lease=LEASE, worker="w")

    done = await over(queue, await queue.errands.begin(act("cancel"), Filter(state=State.ACTIVE), respite=AT_ONCE))

    assert (done.standing, done.moved) == ("done", 3)
    assert await queue.redis.llen(queue.keys.bell("worker")) == 3


async def test_it_is_done_with_those_of_the_type_and_the_words_alone(valkey: Valkey, prefix: str, clock: Clock) -> None:
    async with Queue.open(valkey.url, prefix=prefix, clock=clock, search=("title",)) as queue:
        await queue.create("email", {"title": "one"})
        wanted = await queue.create("email", {"title": "two"})
        await queue.create("letter", {"title": "two"})

        filter = Filter(state=State.INACTIVE, type="email", words="two")
        done = await over(queue, await queue.errands.begin(act("cancel"), filter, respite=AT_ONCE))

        assert done.moved == 1
        assert done.filter == filter
        assert await queue.jobs.ids(State.FAILED) == [wanted.id]


async def test_what_has_moved_on_since_is_left_alone_and_what_has_come_since_too(queue: Queue, clock: Clock) -> None:
    leases = [await standing(queue, clock, "failed") for _ in range(3)]
    errand = await queue.errands.begin(act("remove"), Filter(state=State.FAILED), respite=timedelta(seconds=0.2))
    await queue.retry(leases[0].job.id)
    later = await standing(queue, clock, "failed", priority="critical")

    done = await over(queue, errand)

    assert (done.total, done.seen, done.moved) == (3, 3, 2)
    assert await queue.jobs.ids() == [later.job.id, leases[0].job.id]


# Calling it off


async def test_until_it_begins_it_can_be_called_off(queue: Queue, clock: Clock) -> None:
    await standing(queue, clock, "failed")
    errand = await queue.errands.begin(act("remove"), Filter(state=State.FAILED), respite=timedelta(seconds=0.2))

    waiting = await queue.errands.get(errand.id)
    called_off = await queue.errands.undo(errand.id)
    again = await queue.errands.undo(errand.id)
    await eventually(lambda: nobody_at_work(queue))

    assert waiting is not None
    assert waiting.standing == "waiting"
    assert timedelta(0) < waiting.starts_in <= timedelta(seconds=0.2)
    assert (called_off, again) == (True, False)
    assert (await over(queue, errand)).standing == "undone"
    assert await queue.jobs.count(State.FAILED) == 1


async def nobody_at_work(queue: Queue) -> bool:
    return not queue.errands.at_work


async def test_once_it_has_begun_it_cannot_be_called_off(queue: Queue, clock: Clock) -> None:
    await standing(queue, clock, "failed")
    errand = await queue.errands.begin(act("remove"), Filter(state=State.FAILED), respite=AT_ONCE)
    await over(queue, errand)

    assert not await queue.errands.undo(errand.id)
    assert (await over(queue, errand)).standing == "done"


async def test_nothing_is_left_behind_by_undoing_what_never_was(queue: Queue) -> None:
    assert not await queue.errands.undo("0123456789abcdef")
    assert await queue.errands.get("0123456789abcdef") is None
    assert await queue.redis.exists(queue.keys.errand("0123456789abcdef")) == 0


# What becomes of it


async def test_an_errand_whose_process_ends_says_so(valkey: Valkey, prefix: str, clock: Clock) -> None:
    async with Queue.open(valkey.url, prefix=prefix, clock=clock) as queue:
        await standing(queue, clock, "failed")
        errand = await queue.errands.begin(act("remove"), Filter(state=State.FAILED), respite=NEVER)

    async with Queue.open(valkey.url, prefix=prefix, clock=clock) as queue:
        stopped = await queue.errands.get(errand.id)

        assert stopped is not None
        assert stopped.standing == "stopped"
        assert await queue.jobs.count(State.FAILED) == 1


async def test_an_errand_of_which_nothing_is_heard_has_stopped(queue: Queue, clock: Clock) -> None:
    await standing(queue, clock, "failed")
    errand = await queue.errands.begin(act("remove"), Filter(state=State.FAILED), respite=NEVER)

    clock.advance(seconds=3600 + 60)

    assert (await over(queue, errand)).standing == "stopped"


async def test_how_far_it_is_can_be_seen_from_elsewhere_and_is_forgotten_after_a_day(
    queue: Queue, clock: Clock, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errands, "_STEP", 2)
    await queue.create_many([NewJob(type="email") for _ in range(5)])
    errand = await queue.errands.begin(act("cancel"), Filter(state=State.INACTIVE), respite=AT_ONCE)

    done = await over(queue, errand)
    async with Queue.open(valkey.url, prefix=queue.keys.prefix, clock=clock) as elsewhere:
        seen = await elsewhere.errands.get(errand.id)

    assert seen == done
    assert (done.seen, done.moved) == (5, 5)
    assert 0 < await queue.redis.ttl(queue.keys.errand(errand.id)) <= 86_400


async def test_redis_away_for_a_moment_stops_no_errand(own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errands, "_PAUSE_S", 0.02)
    monkeypatch.setattr(errands, "_STEP", 10)
    async with (
        CountingWire(own_valkey.port) as wire,
        Queue.open(own_valkey.url) as patient,
        Queue.open(wire.url, patience=timedelta(seconds=0.5)) as queue,
    ):
        await patient.create_many([NewJob(type="email") for _ in range(50)])
        errand = await queue.errands.begin(act("cancel"), Filter(state=State.INACTIVE), respite=AT_ONCE)
        own_valkey.freeze()
        await asyncio.sleep(0.7)
        own_valkey.thaw()

        done = await over(patient, errand)

        assert (done.standing, done.seen) == ("done", 50)
        assert await patient.jobs.count(State.FAILED) == 50


# What is refused


@pytest.mark.parametrize("verb", ["retry", "run", "reschedule", "priority", "cancel", "remove"])
@pytest.mark.parametrize("state", [None, *State])
async def test_a_verb_that_does_not_start_from_a_state_is_refused(
    queue: Queue, verb: Verb, state: State | None
) -> None:
    if state in errands.STARTS_FROM[verb]:
        assert (await queue.errands.begin(act(verb), Filter(state=state), respite=NEVER)).total == 0
        return

    with pytest.raises(InvalidJob, match=verb):
        await queue.errands.begin(act(verb), Filter(state=state), respite=NEVER)


@pytest.mark.parametrize(
    "given",
    [
        {"verb": "promote"},
        {"verb": "reschedule"},
        {"verb": "priority"},
        {"verb": "run", "delay": timedelta(1)},
        {"verb": "retry", "priority": "low"},
        {"verb": "priority", "priority": "urgent"},
        {"verb": "priority", "priority": float("nan")},
        {"verb": "reschedule", "delay": timedelta(days=400_000)},
    ],
    ids=repr,
)
def test_an_act_that_could_not_be_done_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidJob):
        Act(**given)


# Many at once, without Redis being held up


async def test_steps_change_many_and_name_each_once(queue: Queue, clock: Clock) -> None:
    made = [job.id for job in await queue.create_many([NewJob(type="email") for _ in range(450)])]
    failed = await standing(queue, clock, "failed", priority="critical")

    moved = await queue.jobs.update_these([*made, made[0], failed.job.id], priority=5)

    assert moved == len(made)
    assert {job.priority for job in await queue.jobs.read(made)} == {5}
