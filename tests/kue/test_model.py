"""The random walks of tests/queue/test_model.py, beside a Kue which makes jobs, too, and which reads every job after each step.

I22: it reads each with the type, state, priority, attempts, delay and data that we read, and we read its own as it made them.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis.stateful import rule

from rmindr.queue import NewJob
from tests.conftest import Clock
from tests.kue.original import Kue
from tests.queue.test_model import Walk, numbers, priorities, told, ttls_ms, types, waits_ms, walk
from tests.servers import Valkey

pytestmark = pytest.mark.kue


class WalkBesideKue(Walk):
    """What Kue makes, it dates by its own clock, so that of the walk is ahead of it."""

    port: int

    def opened(self, prefix: str) -> None:
        self.clock = Clock(int(time.time() * 1000) + 3_600_000)
        self.company = AsyncExitStack()
        self.kue: Kue = self.run(self.company.enter_async_context(Kue.start(self.port, prefix)))

    def teardown(self) -> None:
        if hasattr(self, "company"):
            self.run(self.company.aclose())
        super().teardown()

    def flush(self) -> None:
        """No rule here: in an emptied Redis a Kue counts from 1 again, and we know only of the ids that we have given (I16)."""

    @rule(type=types, priority=priorities, delay=waits_ms, attempts=numbers, ttl=ttls_ms)
    def a_kue_creates(self, type: str, priority: float, delay: int, attempts: int, ttl: int | None) -> None:
        number, attempts = len(self.given), attempts % 4 + 1
        asked = {"priority": priority, "attempts": attempts, "delay": delay} | ({"ttl": ttl} if ttl else {})

        job_id = self.run(self.kue.create(type, told(number), **asked))

        span = timedelta(milliseconds=1)
        new = NewJob(
            type=type,
            data=told(number),
            priority=priority,
            delay=delay * span,
            attempts=attempts,
            ttl=ttl * span if ttl else None,
        )
        self.made(job_id, new)
        job = self.run(self.queue.get(job_id))
        read_as = (job.type, job.data, job.priority, job.max_attempts, job.attempts, job.ttl, job.delay or 0 * span)
        assert read_as == (type, told(number), priority, attempts, 0, new.ttl, delay * span), "I22"
        due = int(job.promote_at.timestamp() * 1000 + 0.5)
        self.jobs[job_id] = replace(self.jobs[job_id], promote_at=due, indexed=False)

    def looked(self, found: dict[str, Any]) -> None:
        super().looked(found)
        shown = self.run(self.kue.jobs("range", 0, -1, "asc"))

        assert [job["id"] for job in shown] == sorted(self.jobs)
        for job, ours in zip(shown, (self.jobs[each["id"]] for each in shown), strict=True):
            as_read = {name: job.get(name) for name in ("type", "state", "priority", "data", "delay", "ttl")}
            assert as_read == {
                "type": ours.type,
                "state": ours.state,
                "priority": ours.priority,
                "data": told(ours.data),
                "delay": str(ours.delay) if ours.delay is not None else None,
                "ttl": str(ours.ttl) if ours.ttl is not None else None,
            }, "I22"
            left = ours.max_attempts - ours.attempts
            assert job["attempts"] == {"made": ours.attempts, "remaining": left, "max": ours.max_attempts}, "I22"
            assert job["promote_at"] == str(ours.promote_at), "I22"


def test_a_kue_beside_every_walk_reads_each_job_as_we_do(installed: None, valkey: Valkey) -> None:
    class WalkHere(WalkBesideKue):
        url = valkey.url
        port = valkey.port

    assert walk(WalkHere, walks=6)
