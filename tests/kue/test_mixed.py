"""A Kue and a worker of ours side by side on the same types, both producing: nothing is lost and nothing is run twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from rmindr.queue import Backoff, Context, Job, NewJob, Queue, State
from tests.kue.original import Hand, Kue, working

pytestmark = pytest.mark.kue

TYPES = ("post", "tele: phone")
JOBS = 500
ATTEMPTS = 3
WAIT_MS = 60
PATIENCE_S = 30.0


@dataclass(frozen=True)
class Plan:
    """One job: how it is asked for, and how often it fails."""

    type: str
    priority: int
    delay_ms: int
    failures: int
    waits: bool

    @property
    def data(self) -> dict[str, int]:
        return {"failures": self.failures}

    @property
    def runs(self) -> int:
        return min(self.failures + 1, ATTEMPTS)

    def for_us(self) -> NewJob:
        return NewJob(
            type=self.type,
            data=self.data,
            priority=self.priority,
            delay=timedelta(milliseconds=self.delay_ms),
            attempts=ATTEMPTS,
            backoff=Backoff.fixed(timedelta(milliseconds=WAIT_MS)) if self.waits else None,
        )

    def for_kue(self) -> dict[str, Any]:
        options = {"priority": self.priority, "delay": self.delay_ms, "attempts": ATTEMPTS}
        return options | ({"backoff": {"type": "fixed", "delay": WAIT_MS}} if self.waits else {})


def plans(seed: int) -> list[Plan]:
    """Half of them delayed, a third failing at least once, a tenth failing always; the same for each seed."""
    dice = random.Random(seed)
    return [
        Plan(
            type=dice.choice(TYPES),
            priority=dice.choice((10, 0, 0, -5, -10, -15)),
            delay_ms=dice.choice((0, dice.randint(1, 1500))),
            failures=dice.choices((0, 1, 2, 9), (67, 13, 10, 10))[0],
            waits=dice.random() < 0.5,
        )
        for _ in range(JOBS)
    ]


async def test_two_fleets_on_one_keyspace_lose_no_job_and_run_none_twice(kue: Kue, live_queue: Queue) -> None:
    runs: list[tuple[int, int, str]] = []

    def act(job_id: int, made: int, failures: int, who: str) -> str:
        runs.append((job_id, made, who))
        if made < failures:
            raise RuntimeError(f"run {made + 1}")
        return who

    async def ours(job: Job, context: Context) -> str:
        await context.progress(1, 2)
        return act(job.id, job.attempts, job.data["failures"], "ours")

    async def kues(job: dict[str, Any], hand: Hand) -> str:
        await hand.do(("progress", 1, 2))
        return act(job["id"], job["attempts"]["made"], job["data"]["failures"], "Kue's")

    for type in TYPES:
        live_queue.process(type, ours, concurrency=4)
        await kue.process(type, kues, concurrency=4)

    planned: dict[int, Plan] = {}

    async def produce(plan: Plan, by_kue: bool) -> None:
        if by_kue:
            planned[await kue.create(plan.type, plan.data, **plan.for_kue())] = plan
        else:
            job, _ = await live_queue.lifecycle.create(plan.for_us())
            planned[job.id] = plan

    def ended() -> int:
        return len({args[0] for name in ("complete", "failed") for args in kue.args(name)})

    async with working(live_queue, tick=timedelta(seconds=1)):
        await asyncio.gather(*(produce(plan, by_kue=bool(n % 2)) for n, plan in enumerate(plans(seed=6))))
        await kue.until(lambda: ended() == JOBS, PATIENCE_S)

    twice = {run: count for run, count in Counter((job_id, made) for job_id, made, _ in runs).items() if count > 1}
    assert twice == {}
    assert Counter(job_id for job_id, _, _ in runs) == {job_id: plan.runs for job_id, plan in planned.items()}
    states = dict(zip(planned, await live_queue.jobs.states(list(planned)), strict=True))
    assert states == {
        job_id: State.FAILED if plan.failures >= ATTEMPTS else State.COMPLETE for job_id, plan in planned.items()
    }
    worked = Counter(who for _, _, who in runs)
    assert min(worked["ours"], worked["Kue's"]) > JOBS // 20, worked
