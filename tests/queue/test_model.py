"""Random walks through the lifecycle on a real server, beside a model in plain Python: after every step the two agree.

`RMINDR_MODEL_WALKS=2000 pytest tests/queue/test_model.py` walks that often, differently each time; without it, CI's walks are
the same ones every time. I1, I2 … are the invariants of RELIABILITY §3.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis.asyncio import Redis

from rmindr.queue import JobExists, JobNotFound, Lease, LeaseLost, NewJob, Refused, State, WrongState
from rmindr.queue.connections import connect
from rmindr.queue.keys import Keys, zid
from rmindr.queue.lifecycle import LOSSES_ALLOWED, Lifecycle
from rmindr.queue.queue import Queue
from tests.conftest import Clock
from tests.queue.scenery import keyspace
from tests.servers import Valkey

WALKS = int(os.environ.get("RMINDR_MODEL_WALKS", 0))
LEASE_MS = 60_000
TYPES = ("email", "e:mail 100%")
KEYS = ("a", "b")

types = st.sampled_from(TYPES)
priorities = st.sampled_from([0, 0, 10, -10, -2.5])
waits_ms = st.sampled_from([0, 1, 1000, 30_000, 90_000])
ttls_ms = st.sampled_from([None, None, 5000, 70_000])
numbers = st.integers(0, 1000)


@dataclass(frozen=True, kw_only=True)
class Modelled:
    """What decides about a job, and nothing else of it."""

    id: int
    type: str
    state: State
    priority: float
    max_attempts: int
    promote_at: int
    delay: int | None = None
    ttl: int | None = None
    key: str | None = None
    removed_when_complete: bool = False
    attempts: int = 0
    losses: int = 0
    token: str | None = None
    lease_ends: int = 0
    ttl_ends: int = 0

    @property
    def zid(self) -> str:
        return zid(self.id)

    @property
    def living(self) -> bool:
        return self.state not in (State.COMPLETE, State.FAILED)

    @property
    def score(self) -> float:
        """The score in the set of its state, KUE A4."""
        if self.state is State.DELAYED:
            return self.promote_at
        if self.state is State.ACTIVE:
            return self.ttl_ends if self.ttl else -abs(self.priority)
        return self.priority


class Walk(RuleBasedStateMachine):
    """The lifecycle on one side, the model on the other."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = Clock()
        self.jobs: dict[int, Modelled] = {}
        self.given: list[int] = []
        self.leases: list[Lease] = []
        self.keys_held: dict[str, int] = {}
        self.tokens = 0

    @initialize()
    def open(self) -> None:
        prefix = f"m{secrets.token_hex(4)}"
        self.redis: Redis = self.run(self._connected())
        self.queue = Queue(self.redis, self.url, Keys(prefix), self.clock)
        self.lifecycle: Lifecycle = self.queue.lifecycle
        self.keys: Keys = self.queue.keys

    async def _connected(self) -> Redis:
        return connect(self.url)

    def teardown(self) -> None:
        if hasattr(self, "queue"):
            self.run(self._delete_everything())
            self.run(self.queue.lifecycle.aclose())
            self.run(self.redis.aclose())
        self.runner.close()

    def run(self, call: Awaitable[Any]) -> Any:
        async def answer() -> Any:
            return await call

        return self.runner.run(answer())

    async def _delete_everything(self) -> None:
        if names := [name async for name in self.redis.scan_iter(f"{self.keys.prefix}:*", count=1000)]:
            await self.redis.delete(*names)

    # What the model knows of the moves

    def move(self, job: Modelled, state: State, **changes: Any) -> None:
        if job.state is State.ACTIVE and state is not State.ACTIVE:
            changes["token"] = None
        self.jobs[job.id] = replace(job, state=state, **changes)
        if state in (State.COMPLETE, State.FAILED):
            self.free(job)

    def free(self, job: Modelled) -> None:
        if job.key and self.keys_held.get(job.key) == job.id:
            del self.keys_held[job.key]

    def end_run(self, job: Modelled, wait_ms: int | None, **changes: Any) -> State:
        attempts = min(job.attempts + 1, job.max_attempts)
        if wait_ms is None or attempts >= job.max_attempts:
            self.move(job, State.FAILED, attempts=attempts, **changes)
        elif wait_ms == 0:
            self.move(job, State.INACTIVE, attempts=attempts, **changes)
        else:
            due = self.clock.ms + wait_ms
            self.move(job, State.DELAYED, attempts=attempts, promote_at=due, delay=wait_ms, **changes)
        return self.jobs[job.id].state

    def promote_due(self) -> int:
        due = [job for job in self.jobs.values() if job.state is State.DELAYED and job.promote_at <= self.clock.ms]
        for job in due:
            self.move(job, State.INACTIVE)
        return len(due)

    def waiting(self, type: str) -> list[Modelled]:
        """Most urgent first; equal ones in the order of their zids."""
        waiting = [job for job in self.jobs.values() if (job.state, job.type) == (State.INACTIVE, type)]
        return sorted(waiting, key=lambda job: (job.priority, job.zid))

    def held_by(self, lease: Lease) -> Modelled | None:
        job = self.jobs.get(lease.job.id)
        return job if job is not None and job.state is State.ACTIVE and job.token == lease.token else None

    def some_lease(self, number: int) -> Lease:
        """Any lease there ever was: most of them are of runs that have ended, or of jobs that are gone."""
        return self.leases[-1 - number % len(self.leases)]

    def some_id(self, number: int) -> int:
        """The id of a job, now and then of one that is gone."""
        ids = [*self.jobs, *self.given[:2]]
        return ids[number % len(ids)]

    def refused(self, call: Awaitable[Any], error: type[Refused]) -> None:
        """I6: a refusal is of the right kind, and changes nothing."""
        before = self.run(keyspace(self.queue))
        with pytest.raises(Refused) as refusal:
            self.run(call)
        assert type(refusal.value) is error
        assert self.run(keyspace(self.queue)) == before

    def unfit(self, job_id: int) -> type[Refused]:
        return WrongState if job_id in self.jobs else JobNotFound

    # The rules, in order of life

    @rule(
        type=types, priority=priorities, delay=waits_ms, attempts=st.integers(1, 4), ttl=ttls_ms, gone=st.booleans(),
        key=st.sampled_from([None, None, *KEYS]),
    )  # fmt: skip
    def create(
        self, type: str, priority: float, delay: int, attempts: int, ttl: int | None, gone: bool, key: str | None
    ) -> None:
        new = NewJob(
            type=type, priority=priority, delay=timedelta(milliseconds=delay), attempts=attempts, remove_on_complete=gone,
            ttl=timedelta(milliseconds=ttl) if ttl else None, unique=key,
        )  # fmt: skip

        job, made = self.run(self.lifecycle.create(new))

        if (holder := self.keys_held.get(key or "")) is not None:
            assert (job.id, made) == (holder, False)
            return
        assert made
        assert job.id > max(self.given, default=0), "I16: an id is never reused"
        self.given.append(job.id)
        self.jobs[job.id] = Modelled(
            id=job.id, type=type, state=State.DELAYED if delay else State.INACTIVE, priority=priority, max_attempts=attempts,
            promote_at=self.clock.ms + delay, delay=delay or None, ttl=ttl, key=key, removed_when_complete=gone,
        )  # fmt: skip
        if key:
            self.keys_held[key] = job.id
            again, made = self.run(self.lifecycle.create(new))
            assert (again, made) == (job, False), "I13: create by key, twice"

    @rule()
    def promote(self) -> None:
        assert self.run(self.lifecycle.promote()) == self.promote_due()
        assert self.run(self.lifecycle.promote()) == 0

    @rule(wanted=st.lists(st.integers(0, 3), min_size=len(TYPES), max_size=len(TYPES)))
    def claim(self, wanted: list[int]) -> None:
        self.tokens += 1
        asked = dict(zip(TYPES, wanted, strict=True))
        claim: dict[str, Any] = {
            "token": f"token {self.tokens}",
            "lease": timedelta(milliseconds=LEASE_MS),
            "worker": "w",
        }

        claimed = self.run(self.lifecycle.claim(asked, **claim))

        self.promote_due()
        taken = [job for type, count in asked.items() for job in self.waiting(type)[:count]]
        assert [lease.job.id for lease in claimed.leases] == [job.id for job in taken]
        for job in taken:
            ends = {"lease_ends": self.clock.ms + LEASE_MS, "ttl_ends": self.clock.ms + (job.ttl or 0)}
            self.move(job, State.ACTIVE, token=claim["token"], **ends)
        due = [job.promote_at - self.clock.ms for job in self.jobs.values() if job.state is State.DELAYED]
        assert claimed.next_due_in == (timedelta(milliseconds=min(due)) if due else None)
        self.leases += claimed.leases
        again = self.run(self.lifecycle.claim(asked, again=True, **claim))
        assert {lease.job.id for lease in again.leases} == {job.id for job in taken}, "I13: a lost answer, given again"

    @precondition(lambda self: self.leases)
    @rule(picks=st.lists(numbers, min_size=1, max_size=4, unique=True))
    def renew(self, picks: list[int]) -> None:
        leases = [self.some_lease(number) for number in picks]

        lost = self.run(self.lifecycle.renew(leases, timedelta(milliseconds=LEASE_MS)))

        assert lost == [lease for lease in leases if self.held_by(lease) is None]
        for lease in leases:
            if (job := self.held_by(lease)) is not None:
                self.move(job, State.ACTIVE, lease_ends=self.clock.ms + LEASE_MS)

    @precondition(lambda self: self.leases)
    @rule(pick=numbers)
    def progress(self, pick: int) -> None:
        lease = self.some_lease(pick)
        job = self.held_by(lease)
        if job is None:
            self.refused(self.lifecycle.progress(lease, 50), self._lost(lease))
            return
        for _ in range(2):
            self.run(self.lifecycle.progress(lease, 50, {"page": 1}))
        self.run(self.lifecycle.log(lease, "half way"))
        self.move(job, State.ACTIVE, ttl_ends=self.clock.ms + (job.ttl or 0))

    @precondition(lambda self: self.leases)
    @rule(pick=numbers)
    def complete(self, pick: int) -> None:
        lease = self.some_lease(pick)
        if (job := self.held_by(lease)) is not None:
            self.run(self.lifecycle.complete(lease, {"ok": True}))
            self.move(job, State.COMPLETE, attempts=min(job.attempts + 1, job.max_attempts))
            if job.removed_when_complete:
                del self.jobs[job.id]
        self.refused(self.lifecycle.complete(lease), self._lost(lease))

    @precondition(lambda self: self.leases)
    @rule(pick=numbers, wait=st.none() | waits_ms)
    def fail(self, pick: int, wait: int | None) -> None:
        lease = self.some_lease(pick)
        if (job := self.held_by(lease)) is not None:
            state = self.run(self.lifecycle.fail(lease, "no", wait_ms=wait))
            assert state is self.end_run(job, wait)
        self.refused(self.lifecycle.fail(lease, "no", wait_ms=wait), self._lost(lease))

    @precondition(lambda self: self.leases)
    @rule(pick=numbers, wait=waits_ms)
    def release(self, pick: int, wait: int) -> None:
        lease = self.some_lease(pick)
        if (job := self.held_by(lease)) is not None:
            state = self.run(self.lifecycle.release(lease, timedelta(milliseconds=wait)))
            self.move(job, State.DELAYED, promote_at=self.clock.ms + wait) if wait else self.move(job, State.INACTIVE)
            assert state is self.jobs[job.id].state
        self.refused(self.lifecycle.release(lease), self._lost(lease))

    def _lost(self, lease: Lease) -> type[Refused]:
        return LeaseLost if lease.job.id in self.jobs else JobNotFound

    @rule()
    def rescue(self) -> None:
        now, active = self.clock.ms, [job for job in self.jobs.values() if job.state is State.ACTIVE]
        expected = {}
        for job in active:
            if job.lease_ends <= now:
                final = job.losses + 1 >= LOSSES_ALLOWED
                expected[job.id] = self.end_run(job, None if final else 0, losses=job.losses + 1)

        rescued = self.run(self.lifecycle.rescue())

        assert rescued.jobs == expected
        ends = [job.lease_ends - now for job in active if job.lease_ends > now]
        assert rescued.next_end_in == (timedelta(milliseconds=min(ends)) if ends else None)
        assert self.run(self.lifecycle.rescue()).jobs == {}

    @rule()
    def expire(self) -> None:
        over = {
            job.id: job
            for job in self.jobs.values()
            if job.state is State.ACTIVE and job.ttl and job.ttl_ends <= self.clock.ms
        }

        found = self.run(self.lifecycle.expired(self.clock.ms))

        assert {job.id for job in found} == over.keys()
        for job in found:
            assert self.run(self.lifecycle.expire(job)) is self.end_run(over[job.id], 0)
            assert self.run(self.lifecycle.expire(job)) is None

    @precondition(lambda self: self.given)
    @rule(pick=numbers, priority=st.none() | priorities, delay=st.none() | waits_ms)
    def update(self, pick: int, priority: float | None, delay: int | None) -> None:
        job_id = self.some_id(pick)
        job = self.jobs.get(job_id)
        wait = timedelta(milliseconds=delay) if delay is not None else None
        if job is None or job.state not in (State.DELAYED, State.INACTIVE):
            self.refused(self.lifecycle.update(job_id, priority=priority, delay=wait), self.unfit(job_id))
            return

        for _ in range(2):
            state = self.run(self.lifecycle.update(job_id, priority=priority, delay=wait))

        changes: dict[str, Any] = {"priority": priority} if priority is not None else {}
        if delay is not None:
            changes |= {"delay": delay, "promote_at": self.clock.ms + delay}
        self.move(job, job.state if delay is None else State.DELAYED if delay else State.INACTIVE, **changes)
        assert state is self.jobs[job_id].state

    @precondition(lambda self: self.given)
    @rule(pick=numbers)
    def retry(self, pick: int) -> None:
        job_id = self.some_id(pick)
        job = self.jobs.get(job_id)
        if job is None or job.living:
            self.refused(self.lifecycle.retry(job_id), self.unfit(job_id))
        elif job.key and self.keys_held.get(job.key, job_id) != job_id:
            self.refused(self.lifecycle.retry(job_id), JobExists)
        else:
            assert self.run(self.lifecycle.retry(job_id)) is State.INACTIVE
            self.move(job, State.INACTIVE, losses=0)
            if job.key:
                self.keys_held[job.key] = job_id
            self.refused(self.lifecycle.retry(job_id), WrongState)

    @precondition(lambda self: self.given)
    @rule(pick=numbers)
    def remove(self, pick: int) -> None:
        job_id = self.some_id(pick)
        job = self.jobs.get(job_id)
        if job is None or job.state is State.ACTIVE:
            self.refused(self.lifecycle.remove(job_id), self.unfit(job_id))
            return
        self.run(self.lifecycle.remove(job_id))
        self.free(job)
        del self.jobs[job_id]
        self.refused(self.lifecycle.remove(job_id), JobNotFound)

    # What the world does

    @rule(ms=st.sampled_from([1, 999, 5000, 29_999, 60_000, 100_000]))
    def advance(self, ms: int) -> None:
        self.clock.advance(ms=ms)

    @rule()
    def forget_scripts(self) -> None:
        self.run(self.redis.script_flush())

    @precondition(lambda self: len(self.jobs) > 7)
    @rule()
    def flush(self) -> None:
        self.run(self._delete_everything())
        self.jobs.clear()
        self.keys_held.clear()

    # What always holds

    @invariant()
    def everything_holds(self) -> None:
        if not hasattr(self, "queue"):
            return
        found = self.run(keyspace(self.queue))
        self._each_job_is_where_it_says(found)
        self._each_job_is_what_the_model_says(found)
        self._hints_suffice(found)
        self._times_are_in_order(found)
        counted = self.run(self.queue.jobs.counts())
        assert counted == {state: len(found.get(f"jobs:{state}", {})) for state in State}, (
            "I15: counters shown = members"
        )

    def _each_job_is_where_it_says(self, found: dict[str, Any]) -> None:
        """I1, I2, I3, and that the lists of leases and of unique keys say what the jobs say."""
        hashes = {
            name: fields for name, fields in found.items() if name.startswith("job:") and isinstance(fields, dict)
        }
        listed: dict[str, set[str]] = {name: set() for name in found if name == "jobs" or name.startswith("jobs:")}
        leased, unique = set(), {}
        for name, job in hashes.items():
            member = zid(int(name.removeprefix("job:")))
            for place in ("jobs", f"jobs:{job['state']}", f"jobs:{job['type']}:{job['state']}"):
                listed.setdefault(place, set()).add(member)
            if "lease" in job:
                assert job["state"] == "active"
                leased.add(member)
            if "unique" in job and job["state"] not in ("complete", "failed"):
                unique[job["unique"]] = name.removeprefix("job:")
        assert {name: found.get(name, {}).keys() for name in listed} == listed
        assert found.get("leases", {}).keys() == leased
        assert found.get("unique", {}) == unique
        assert {name for name, lines in found.items() if name.endswith(":log")} <= {f"{name}:log" for name in hashes}

    def _each_job_is_what_the_model_says(self, found: dict[str, Any]) -> None:
        assert {name for name, fields in found.items() if name.startswith("job:") and isinstance(fields, dict)} == {
            f"job:{job_id}" for job_id in self.jobs
        }
        for job in self.jobs.values():
            fields = found[f"job:{job.id}"]
            assert float(found["jobs"][job.zid]) == job.priority
            assert float(found[f"jobs:{job.state}"][job.zid]) == job.score
            assert float(found[f"jobs:{job.type}:{job.state}"][job.zid]) == job.priority
            assert (fields["state"], float(fields["priority"])) == (job.state, job.priority)
            assert int(fields.get("attempts", 0)) == job.attempts <= job.max_attempts, "I11"
            assert (int(fields.get("losses", 0)), fields.get("lease", "").partition("@")[0]) == (
                job.losses,
                job.token or "",
            )
            assert fields.get("delay") == (str(job.delay) if job.delay is not None else None)
            assert int(fields["promote_at"]) == job.promote_at
            if job.token:
                assert float(found["leases"][job.zid]) == job.lease_ends
        assert found.get("unique", {}) == {key: str(job_id) for key, job_id in self.keys_held.items()}

    def _hints_suffice(self, found: dict[str, Any]) -> None:
        """I4: tokens ≥ waiting jobs; and never more than one token for those who wait for the clock."""
        for type in TYPES:
            assert len(found.get(f"{type}:jobs", [])) >= len(found.get(f"jobs:{type}:inactive", {}))
        assert len(found.get("wake", [])) <= 1

    def _times_are_in_order(self, found: dict[str, Any]) -> None:
        """As I14: created ≤ started ≤ failed ≤ updated ≤ now, as far as a job has come in its last run."""
        for job in self.jobs.values():
            fields = found[f"job:{job.id}"]
            created, updated = int(fields["created_at"]), int(fields["updated_at"])
            started = int(fields.get("started_at", created))
            assert created <= started <= updated <= self.clock.ms
            if job.state is State.FAILED:
                assert started <= int(fields["failed_at"]) <= updated


def test_the_lifecycle_and_the_model_agree_on_every_walk(valkey: Valkey) -> None:
    class WalkHere(Walk):
        url = valkey.url

    run_state_machine_as_test(
        WalkHere,
        settings=settings(
            max_examples=WALKS or 60,
            stateful_step_count=50,
            derandomize=not WALKS,
            database=None,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
