"""Two Kues and two workers of ours, killed at random: no job is lost, none runs twice at once, none too often.

`JOBS=10000 pytest tests/kue/test_kills.py -s` does it at length, and prints what was seen.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from rmindr.queue import Backoff, NewJob, Queue, State
from rmindr.queue.audit import audit
from rmindr.queue.lifecycle import LOSSES_ALLOWED
from tests.kue.fleet import Fleet, story_of
from tests.kue.original import Kue
from tests.servers import Valkey

pytestmark = [pytest.mark.kue, pytest.mark.faults]

JOBS = int(os.environ.get("JOBS", 300))
SEED = int(os.environ.get("SEED", 11))
TYPES = {"post": 4, "tele: phone": 4}
ATTEMPTS = 6
LEASE_S = 2.0
PATIENCE_S = 60 + JOBS / 20


@dataclass(frozen=True)
class Plan:
    """One job: how it is asked for, and how often it fails."""

    type: str
    priority: int
    delay_ms: int
    failures: int
    waits: bool
    sleep: float

    @property
    def data(self) -> dict[str, float]:
        return {"failures": self.failures, "sleep": self.sleep}

    def for_us(self) -> NewJob:
        return NewJob(
            type=self.type,
            data=self.data,
            priority=self.priority,
            delay=timedelta(milliseconds=self.delay_ms),
            attempts=ATTEMPTS,
            backoff=Backoff.fixed(timedelta(milliseconds=60)) if self.waits else None,
        )

    def for_kue(self) -> dict[str, Any]:
        options = {"priority": self.priority, "delay": self.delay_ms, "attempts": ATTEMPTS}
        return options | ({"backoff": {"type": "fixed", "delay": 60}} if self.waits else {})


def plans(dice: random.Random) -> list[Plan]:
    """Half of them delayed, a third failing at least once, a tenth failing always."""
    return [
        Plan(
            type=dice.choice(list(TYPES)),
            priority=dice.choice((10, 0, 0, -5, -10, -15)),
            delay_ms=dice.choice((0, dice.randint(1, 1500 + JOBS))),
            failures=dice.choices((0, 1, 2, 9), (67, 13, 10, 10))[0],
            waits=dice.random() < 0.5,
            sleep=dice.choice((0, 0.005, 0.02, 0.05)),
        )
        for _ in range(JOBS)
    ]


async def produce(kue: Kue, queue: Queue, wanted: list[Plan]) -> dict[int, Plan]:
    """Every other job is made by a Kue."""
    planned: dict[int, Plan] = {}
    few = asyncio.Semaphore(20)

    async def one(plan: Plan, by_kue: bool) -> None:
        async with few:
            if by_kue:
                planned[await kue.create(plan.type, plan.data, **plan.for_kue())] = plan
            else:
                job, _ = await queue.lifecycle.create(plan.for_us())
                planned[job.id] = plan

    await asyncio.gather(*(one(plan, bool(number % 2)) for number, plan in enumerate(wanted)))
    return planned


async def until_all_have_ended(fleet: Fleet, many: int) -> None:
    """Complete or failed, and not failed only half; and on both sides somebody was killed."""
    queue = fleet.queue
    while True:
        counts = await queue.jobs.counts()
        if counts[State.COMPLETE] + counts[State.FAILED] == many and len(fleet.kills) == 2:
            failed = await queue.jobs.range(State.FAILED)
            noted = set(await queue.jobs.ended_ids(State.FAILED))
            if all(job.attempts >= job.max_attempts or job.id in noted for job in failed):
                return
        await asyncio.sleep(0.1)


@pytest.fixture
async def queue(valkey: Valkey, prefix: str, audited: None) -> AsyncIterator[Queue]:
    """Whoever makes the jobs and looks after them is not what is tested: on a busy machine, it waits."""
    async with Queue.open(valkey.url, prefix=prefix, patience=timedelta(seconds=60)) as queue:
        yield queue


async def at_work(fleet: Fleet, kue: Kue, wanted: list[Plan]) -> dict[int, Plan]:
    """Make these jobs, and let them be worked and the workers be killed until all jobs have ended."""
    beside = [
        asyncio.create_task(fleet.look_after()),
        asyncio.create_task(fleet.harass(random.Random(SEED), every_s=1.0)),
    ]
    producing = asyncio.create_task(produce(kue, fleet.queue, wanted))
    ending = asyncio.create_task(until_all_have_ended(fleet, len(wanted)))
    try:
        while not ending.done():
            done, _ = await asyncio.wait([ending, *beside], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        return await producing
    finally:
        for task in (producing, ending, *beside):
            task.cancel()
        await asyncio.gather(producing, ending, *beside, return_exceptions=True)


@pytest.mark.parametrize(
    ("lines", "overlaps", "cut", "again"),
    [
        (["began 1 0 0 77", "ended 1 0 9 77", "began 1 1 9 88"], [], set(), set()),
        (["began 1 0 0 77", "began 1 0 1 88"], [(1, 88, (77,))], set(), set()),
        (["began 1 0 0 77", "began 2 0 1 88"], [], set(), set()),
        (["began 1 0 0 77", "killed 0 0 0 77", "began 1 1 1 88"], [], {1}, set()),
        (["began 1 0 0 77", "killed 0 0 0 88", "began 1 0 1 99"], [(1, 99, (77,))], set(), set()),
        # Redis read the note only when the process was dead.
        (["killed 0 0 0 77", "began 1 0 0 77", "began 1 0 1 88"], [], {1}, set()),
        (["began 1 1 0 77", "ended 1 1 9 77", "began 1 2 20 88"], [], set(), {1}),
        (["began 1 1 0 77", "ended 1 1 9 77", "killed 0 0 0 77", "began 1 2 20 88"], [], {1}, {1}),
        (["ended 1 0 9 77", "ended 2 0 2000 77", "killed 0 0 0 77"], [], {2}, set()),
    ],
)
def test_the_notes_tell_what_overlapped_what_was_cut_off_and_what_ran_in_vain(
    lines: list[str], overlaps: list[Any], cut: set[int], again: set[int]
) -> None:
    story = story_of(lines, {1: 1, 2: 9})

    assert (story.overlaps, story.cut, story.again) == (overlaps, cut, again)


async def test_a_mixed_fleet_that_is_killed_at_random_loses_no_job_and_runs_none_twice_at_once(
    kue: Kue, valkey: Valkey, queue: Queue
) -> None:
    began = time.monotonic()
    async with Fleet(queue, valkey, TYPES, lease=LEASE_S) as fleet, asyncio.timeout(PATIENCE_S):
        planned = await at_work(fleet, kue, plans(random.Random(SEED)))

    lines: Any = await queue.redis.lrange(fleet.notes, 0, -1)
    story = story_of(lines, {job_id: plan.failures for job_id, plan in planned.items()})
    jobs = {job.id: job for job in await queue.jobs.range()}
    losses = {
        job_id: int(fields.get("losses", 0)) for job_id, fields in (await queue.jobs.hashes(list(planned))).items()
    }
    too_often = {job_id for job_id, runs in story.runs.items() if runs > ATTEMPTS}
    # More losses than runs that a kill ended: a worker that lived did not prolong its lease in time, or one died before its run
    # was noted, or its end settled.
    lapsed = {job_id for job_id, lost in losses.items() if lost > story.killed[job_id]}
    print(
        f"{JOBS} jobs, {story.runs.total()} runs, in {time.monotonic() - began:.0f} s; kills: {dict(fleet.kills)}",
        f"runs ended by a kill: {story.killed.total()}, or unsettled: {len(story.cut)} jobs; rescued: {sum(losses.values())}",
        f"taken back: {fleet.taken_back}; mended, or noted as ended by a Kue: {fleet.mended}; other losses: {len(lapsed)} jobs",
        f"overlaps: {story.overlaps}; run more than {ATTEMPTS} times: {too_often}; again after success: {story.again}",
        f"what Kues complained of: {fleet.troubles[:5]}",
        *(
            f"{id}: {[line for line in lines if line.split()[1] == str(id)]} {kue.story(id)}"
            for id, *_ in story.overlaps
        ),
        sep="\n",
    )

    # None is lost.
    assert jobs.keys() == planned.keys()
    for job_id, job in jobs.items():
        if job.state is State.FAILED:
            assert job.attempts == ATTEMPTS or losses[job_id] == LOSSES_ALLOWED
        else:
            assert job.state is State.COMPLETE
            assert planned[job_id].failures < ATTEMPTS
        assert job.attempts <= ATTEMPTS
    # None runs twice at once while its worker lives and holds its lease.
    assert {job_id for job_id, *_ in story.overlaps} <= lapsed
    # Again, or once too often, only where a run was cut off before it was written down how it had ended: a Kue that dies
    # between «failed» and the count of attempts leaves that run uncounted.
    assert story.again | too_often <= story.cut | lapsed
    assert await audit(queue.redis, queue.keys.prefix) == []
