"""Random walks through the lifecycle on a real server, beside a model in plain Python: after every step the two agree.

`STEPS=10000 pytest tests/queue/test_model.py -s` goes that far, fifty steps a walk, differently each time; without it, the
walks are the same ones every time. tests/kue/test_model.py walks beside a Kue. Numbers are those that assertions name:

    I1   a job stands in the sets of its one state, and in no other         I6   a write with an old lease changes nothing
    I2   every member has a hash, every hash is a member                    I12  every attempt is given the same data
    I3   scores are those of docs/queue.md (Keys), members are zids         I13  said twice is said once
    I4   there are as many tokens as waiting jobs                           I14  created ≤ started ≤ ended ≤ updated ≤ now
    I5   one lease at a time is good for a job                              I15  counters shown are members counted
    I11  no more attempts than allowed                                      I16  an id is never given again
    I21  from wherever a walk has come, a fair worker brings everything to its end, once what dead Kues hold is taken back
    I22  a Kue reads each job as we do, and we read its own likewise (tests/kue/test_model.py)
"""

from __future__ import annotations

import asyncio
import json
import math
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

from rmindr.queue import (
    JobExists,
    JobNotFound,
    Kept,
    Lease,
    LeaseLost,
    Limit,
    NewJob,
    Refused,
    State,
    WrongState,
)
from rmindr.queue.audit import audit
from rmindr.queue.connections import connect
from rmindr.queue.job import UNLIMITED, from_ms
from rmindr.queue.keys import Keys, zid
from rmindr.queue.lifecycle import LOSSES_ALLOWED, Lifecycle
from rmindr.queue.mending import Mending
from rmindr.queue.queue import Queue
from tests.conftest import Clock
from tests.queue.scenery import keyspace, taken_by_kue
from tests.redises import reached_by
from tests.servers import Valkey

STEPS = int(os.environ.get("STEPS", 0))
_STEPS_A_WALK = 50
LEASE_MS = 60_000
TYPES = ("email", "e:mail 100%")
KEYS = ("a", "b")
ENDED = (State.COMPLETE, State.FAILED)
SCHEDULE = "daily"
WORKER = "kue:here:1"
KUE = "kue:there:2"
WORDS = ("apfel", "birne", "яблоко")
# As long as a walk can last by the server's clock, which is what makes keys expire.
PERIODS_MS = (30_000, 60_000)

types = st.sampled_from(TYPES)
priorities = st.sampled_from([0, 0, 10, -10, -2.5])
waits_ms = st.sampled_from([0, 1, 1000, 30_000, 90_000])
ttls_ms = st.sampled_from([None, None, 5000, 70_000])
numbers = st.integers(0, 1000)


def told(number: int) -> dict[str, Any]:
    """The data of a job, and what a search finds it by."""
    return {"n": number, "title": WORDS[number % len(WORDS)]}


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
    removed_when_failed: bool = False
    attempts: int = 0
    losses: int = 0
    cancelled: bool = False
    ended_at: int = 0
    data: int = 0
    indexed: bool = True
    # How it ended can still be asked for when it is gone.
    kept: bool = False
    # A Kue has it, which will not say another word.
    kues: bool = False
    token: str | None = None
    lease_ends: int = 0
    ttl_ends: int = 0

    @property
    def zid(self) -> str:
        return zid(self.id)

    @property
    def living(self) -> bool:
        return self.state not in ENDED

    @property
    def score(self) -> float:
        """The score in the set of its state."""
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
        # "" stands for all types.
        self.paused: set[str] = set()
        self.limits: dict[str, Limit] = {}
        # When the last runs of a type began, newest first.
        self.starts: dict[str, list[int]] = {type: [] for type in TYPES}
        self.kept: dict[State, Kept] = {}
        self.outcomes: set[int] = set()
        self.next_instant: int | None = None

    @initialize()
    def open(self) -> None:
        prefix = f"m{secrets.token_hex(4)}"
        self.opened(prefix)
        self.redis: Redis = self.run(self._connected())
        keys = Keys(prefix, cluster=reached_by() == "cluster")
        self.queue = Queue(self.redis, self.url, keys, self.clock, search=("title",))
        self.lifecycle: Lifecycle = self.queue.lifecycle
        self.keys: Keys = self.queue.keys

    def opened(self, prefix: str) -> None:
        """A walk with company lets it in here."""

    async def _connected(self) -> Redis:
        return connect(self.url)

    def teardown(self) -> None:
        if hasattr(self, "queue"):
            self._everything_comes_to_its_end()
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
            changes |= {"token": None, "kues": False}
        if state in ENDED:
            changes["ended_at"] = self.clock.ms
            self.free(job)
        self.jobs[job.id] = replace(job, state=state, **changes)

    def fail_for_good(self, job: Modelled, **changes: Any) -> State:
        self.move(job, State.FAILED, **changes)
        if job.removed_when_failed:
            self.erase(job.id)
        return State.FAILED

    def erase(self, job_id: int) -> None:
        job = self.jobs.pop(job_id)
        if job.kept and not job.living:
            self.outcomes.add(job_id)

    def free(self, job: Modelled) -> None:
        if job.key and self.keys_held.get(job.key) == job.id:
            del self.keys_held[job.key]

    def end_run(self, job: Modelled, wait_ms: int | None, **changes: Any) -> State:
        attempts = min(job.attempts + 1, job.max_attempts)
        if wait_ms is None or attempts >= job.max_attempts or job.cancelled:
            return self.fail_for_good(job, attempts=attempts, **changes)
        if wait_ms == 0:
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

    def allowed(self, type: str) -> int | None:
        """How many of a type may start now; None where nothing limits it."""
        limit = self.limits.get(type)
        if limit is None:
            return None
        most = []
        if limit.concurrency is not None:
            active = sum((job.state, job.type) == (State.ACTIVE, type) for job in self.jobs.values())
            most.append(limit.concurrency - active)
        if limit.rate is not None:
            begun = self.clock.ms - limit.per // timedelta(milliseconds=1)
            self.starts[type] = [start for start in self.starts[type] if start > begun]
            most.append(limit.rate - len(self.starts[type]))
        return max(0, min(most))

    def take(self, type: str, count: int, token: str) -> tuple[list[Modelled], int | None]:
        """What a claim takes of one type; and when its limit has room again, where that is what stops it."""
        if self.paused & {"", type}:
            return [], None
        most = self.allowed(type)
        taken = self.waiting(type)[: count if most is None else min(count, most)]
        for job in taken:
            ends = {"lease_ends": self.clock.ms + LEASE_MS, "ttl_ends": self.clock.ms + (job.ttl or 0)}
            self.move(job, State.ACTIVE, token=token, **ends)
        limit = self.limits.get(type)
        if limit is not None and limit.rate is not None:
            self.starts[type] = ([self.clock.ms] * len(taken) + self.starts[type])[: limit.rate]
            if self.waiting(type) and len(taken) == most and count >= most and self.starts[type]:
                return taken, self.starts[type][-1] + limit.per // timedelta(milliseconds=1)
        return taken, None

    def prune(self, state: State, most: int) -> int:
        """Oldest end first: what is beyond the count, else what is beyond the age."""
        kept = self.kept.get(state, Kept())
        ended = sorted((job.ended_at, job.zid, job.id) for job in self.jobs.values() if job.state is state)
        over = ended[: min(len(ended) - kept.count, most)] if kept.count is not None and len(ended) > kept.count else []
        if not over and kept.age is not None:
            oldest = self.clock.ms - kept.age // timedelta(milliseconds=1)
            over = [each for each in ended if each[0] <= oldest][:most]
        for _, _, job_id in over:
            self.erase(job_id)
        return len(over)

    def held_by(self, lease: Lease) -> Modelled | None:
        job = self.jobs.get(lease.job.id)
        return job if job is not None and job.state is State.ACTIVE and job.token == lease.token else None

    def some_lease(self, number: int) -> Lease:
        """A lease that holds its job, where there is one; every third time any there ever was, of runs that have ended."""
        held = [lease for lease in self.leases if self.held_by(lease) is not None]
        some = held if held and number % 3 else self.leases
        return some[-1 - number % len(some)]

    def some_id(self, number: int, *states: State) -> int:
        """The id of a job, mostly in one of these states; now and then of one that is gone."""
        ids = [job.id for job in self.jobs.values() if job.state in states] if number % 4 else []
        ids = ids or [*self.jobs, *self.given[:2]]
        return ids[number // 4 % len(ids)]

    def refused(self, call: Awaitable[Any], error: type[Refused]) -> None:
        """I6 and I13: a refusal is of the right kind, and changes nothing."""
        before = self.run(keyspace(self.queue))
        with pytest.raises(Refused) as refusal:
            self.run(call)
        assert type(refusal.value) is error
        assert self.run(keyspace(self.queue)) == before

    def unfit(self, job_id: int) -> type[Refused]:
        return WrongState if job_id in self.jobs else JobNotFound

    # The rules, in order of life

    @rule(
        type=types, priority=priorities, delay=waits_ms, attempts=st.none() | st.integers(1, 4), ttl=ttls_ms,
        gone=st.sampled_from([None, None, *ENDED]), key=st.sampled_from([None, None, *KEYS]), kept=st.booleans(),
    )  # fmt: skip
    def create(
        self,
        type: str,
        priority: float,
        delay: int,
        attempts: int | None,
        ttl: int | None,
        gone: State | None,
        key: str | None,
        kept: bool,
    ) -> None:
        new = NewJob(
            type=type, data=told(len(self.given)), priority=priority, delay=timedelta(milliseconds=delay), attempts=attempts,
            remove_on_complete=gone is State.COMPLETE, remove_on_failure=gone is State.FAILED,
            ttl=timedelta(milliseconds=ttl) if ttl else None, unique=key, keep_outcome=timedelta(hours=1) if kept else None,
        )  # fmt: skip

        job, made = self.run(self.lifecycle.create(new))

        if (holder := self.keys_held.get(key or "")) is not None:
            assert (job.id, made) == (holder, False)
            return
        assert made
        self.made(job.id, new)
        if key:
            self.keys_held[key] = job.id
            again, made = self.run(self.lifecycle.create(new))
            assert (again, made) == (job, False), "I13: create by key, twice"

    @rule(type=types, times=st.integers(2, 4))
    def create_many(self, type: str, times: int) -> None:
        news = [NewJob(type=type, data=told(len(self.given)), priority=0)] * times
        for job, _ in self.run(self.lifecycle.create_many(news)):
            self.made(job.id, news[0])

    def made(self, job_id: int, new: NewJob) -> None:
        """A job that the model knows from now on."""
        assert job_id > max(self.given, default=0), "I16: an id is never reused"
        assert isinstance(new.priority, int | float)
        delay, ttl = (
            each // timedelta(milliseconds=1) if isinstance(each, timedelta) else 0 for each in (new.delay, new.ttl)
        )
        self.given.append(job_id)
        self.jobs[job_id] = Modelled(
            id=job_id, type=new.type, state=State.DELAYED if delay else State.INACTIVE, priority=new.priority,
            max_attempts=UNLIMITED if new.attempts is None else new.attempts, promote_at=self.clock.ms + delay,
            delay=delay or None, ttl=ttl or None, key=new.unique, removed_when_complete=new.remove_on_complete,
            removed_when_failed=new.remove_on_failure, data=new.data["n"], kept=new.keep_outcome is not None,
        )  # fmt: skip

    @rule(wait=waits_ms)
    def schedule(self, wait: int) -> None:
        self.next_instant = self.clock.ms + wait
        self.run(self.redis.hset(self.keys.schedule(SCHEDULE), "is", "{}"))
        self.run(self.redis.zadd(self.keys.schedules, {SCHEDULE: self.next_instant}))

    @rule(type=types, late=st.sampled_from([0, 0, 1]), following=st.none() | waits_ms, passes=st.booleans())
    def recur(self, type: str, late: int, following: int | None, passes: bool) -> None:
        instant = (self.next_instant or self.clock.ms) + late
        further = self.clock.ms + following if following else None
        new = NewJob(type=type, data=told(len(self.given)), priority=0, schedule=(SCHEDULE, from_ms(instant)))

        job_id = self.run(self.lifecycle.recur(SCHEDULE, "{}", instant, further, None if passes else new))

        if instant == self.next_instant:
            self.next_instant = further
            if not passes:
                assert job_id is not None
                self.made(job_id, new)
        else:
            assert job_id is None
        if instant != further:
            assert self.run(self.lifecycle.recur(SCHEDULE, "{}", instant, further, new)) is None, "I13"

    @rule()
    def promote(self) -> None:
        assert self.run(self.lifecycle.promote()) == self.promote_due()
        assert self.run(self.lifecycle.promote()) == 0

    @rule(wanted=st.lists(st.integers(0, 3), min_size=len(TYPES), max_size=len(TYPES)))
    def claim(self, wanted: list[int]) -> None:
        self.tokens += 1
        asked = dict(zip(TYPES, wanted, strict=True))
        claim: dict[str, Any] = {
            "token": f"a{self.tokens % 3}.{self.tokens}",
            "lease": timedelta(milliseconds=LEASE_MS),
            "worker": WORKER,
        }

        claimed = self.run(self.lifecycle.claim(asked, **claim))

        self.promote_due()
        taken: list[Modelled] = []
        instants = [job.promote_at for job in self.jobs.values() if job.state is State.DELAYED]
        for type, count in asked.items():
            of_type, room_at = self.take(type, count, claim["token"])
            taken += of_type
            instants += [room_at] if room_at is not None else []
        assert [lease.job.id for lease in claimed.leases] == [job.id for job in taken]
        assert [lease.job.data for lease in claimed.leases] == [told(job.data) for job in taken], "I12"
        looks = [timedelta(milliseconds=instant - self.clock.ms) for instant in instants]
        assert claimed.next_due_in == (min(looks) if looks else None)
        assert {type for type in TYPES if self.paused & {"", type}} <= claimed.barred
        self.leases += claimed.leases
        again = self.run(self.lifecycle.claim(asked, again=True, **claim))
        assert {lease.job.id for lease in again.leases} == {job.id for job in taken}, "I13: a lost answer, given again"

    @precondition(lambda self: self.leases)
    @rule(picks=st.lists(numbers, min_size=1, max_size=4, unique=True))
    def renew(self, picks: list[int]) -> None:
        leases = [self.some_lease(number) for number in picks]

        replies = self.run(self.lifecycle.renew(leases, timedelta(milliseconds=LEASE_MS)))

        held = [self.held_by(lease) for lease in leases]
        gone = ["lost" if lease.job.id in self.jobs else "missing" for lease in leases]
        kept = ["cancelled" if job is not None and job.cancelled else "ok" for job in held]
        assert replies == [kept[n] if held[n] is not None else gone[n] for n in range(len(leases))]
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
            self.end_well(job)
        self.refused(self.lifecycle.complete(lease), self._lost(lease))

    @precondition(lambda self: self.leases)
    @rule(pick=numbers, wait=st.none() | waits_ms)
    def fail(self, pick: int, wait: int | None) -> None:
        lease = self.some_lease(pick)
        if (job := self.held_by(lease)) is not None:
            state = self.run(self.lifecycle.fail(lease, "no", wait_ms=wait))
            assert state is self.end_run(job, wait)
            if state is State.FAILED:
                self.prune(State.FAILED, 2)
        self.refused(self.lifecycle.fail(lease, "no", wait_ms=wait), self._lost(lease))

    @precondition(lambda self: self.leases)
    @rule(pick=numbers, wait=waits_ms)
    def release(self, pick: int, wait: int) -> None:
        lease = self.some_lease(pick)
        if (job := self.held_by(lease)) is not None:
            state = self.run(self.lifecycle.release(lease, timedelta(milliseconds=wait)))
            if job.cancelled:
                assert state is self.end_run(job, None)
            else:
                # The walk's own instant: without a wait, it is due now.
                self.move(
                    job,
                    State.DELAYED if wait else State.INACTIVE,
                    **({"promote_at": self.clock.ms + wait} if wait else {}),
                )
                assert state is self.jobs[job.id].state
        self.refused(self.lifecycle.release(lease), self._lost(lease))

    @rule(succeed=st.booleans(), ms=st.sampled_from([0, 500]))
    def end_all(self, succeed: bool, ms: int) -> None:
        """Whatever is in hand ends, one after the other."""
        for lease in [lease for lease in self.leases if self.held_by(lease) is not None]:
            job = self.jobs[lease.job.id]
            if succeed:
                self.run(self.lifecycle.complete(lease))
                self.end_well(job)
            else:
                state = self.run(self.lifecycle.fail(lease, "no", wait_ms=None))
                assert state is self.end_run(job, None)
                self.prune(State.FAILED, 2)
            self.clock.advance(ms=ms)

    def end_well(self, job: Modelled) -> None:
        self.move(job, State.COMPLETE, attempts=min(job.attempts + 1, job.max_attempts), cancelled=False)
        if job.removed_when_complete:
            self.erase(job.id)
        self.prune(State.COMPLETE, 2)

    def _lost(self, lease: Lease) -> type[Refused]:
        return LeaseLost if lease.job.id in self.jobs else JobNotFound

    @rule()
    def rescue(self) -> None:
        now, active = self.clock.ms, [job for job in self.jobs.values() if job.token]
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
        over = {job.id: job for job in self.jobs.values() if job.token and job.ttl and job.ttl_ends <= self.clock.ms}

        found = self.run(self.lifecycle.expired(self.clock.ms))

        assert {job.id for job in found} == over.keys()
        for job in found:
            assert self.run(self.lifecycle.expire(job)) is self.end_run(over[job.id], 0)
            assert self.run(self.lifecycle.expire(job)) is None

    @rule(type=types)
    def a_kue_takes_one_and_dies(self, type: str) -> None:
        """It knows neither pauses nor limits nor leases."""
        if waiting := self.waiting(type):
            job = self.run(self.queue.get(waiting[0].id))
            self.run(taken_by_kue(self.queue, job, self.clock.ms))
            self.move(waiting[0], State.ACTIVE, kues=True, ttl_ends=self.clock.ms + (waiting[0].ttl or 0))

    def taken_back_by_model(self, job: Modelled) -> State:
        final = job.losses + 1 >= LOSSES_ALLOWED
        return self.end_run(job, None if final else 0, losses=job.losses + 1)

    @precondition(lambda self: self.given)
    @rule(pick=numbers, holder=st.sampled_from(["", f"{KUE}:email:1", f"{KUE}:email:1", f"{KUE}:email:2"]))
    def take_back(self, pick: int, holder: str) -> None:
        dead = [job.id for job in self.jobs.values() if job.kues]
        job_id = dead[pick % len(dead)] if dead and pick % 5 else self.some_id(pick, State.ACTIVE)
        job = self.jobs.get(job_id)
        if job is None or not job.kues or holder.endswith(":2"):
            self.refused(self.lifecycle.take_back(job_id, holder), self.unfit(job_id))
            return
        assert self.run(self.lifecycle.take_back(job_id, holder)) is self.taken_back_by_model(job)
        self.refused(self.lifecycle.take_back(job_id, holder), self.unfit(job_id))

    @rule()
    def take_back_all(self) -> None:
        dead = [job for job in self.jobs.values() if job.kues]
        assert self.run(self.queue.jobs.take_back_from(KUE)) == len(dead)
        assert self.run(self.queue.jobs.take_back_from(KUE)) == 0, "I13"
        for job in dead:
            self.taken_back_by_model(job)

    @precondition(lambda self: self.given)
    @rule(pick=numbers, priority=st.none() | priorities, delay=st.none() | waits_ms, anew=st.booleans())
    def update(self, pick: int, priority: float | None, delay: int | None, anew: bool) -> None:
        job_id = self.some_id(pick, State.DELAYED, State.INACTIVE)
        job = self.jobs.get(job_id)
        asked: dict[str, Any] = {
            "priority": priority,
            "delay": timedelta(milliseconds=delay) if delay is not None else None,
            "data": told(pick) if anew else None,
        }
        if job is None or job.state not in (State.DELAYED, State.INACTIVE):
            self.refused(self.lifecycle.update(job_id, **asked), self.unfit(job_id))
            return

        for _ in range(2):
            state = self.run(self.lifecycle.update(job_id, **asked))

        changes: dict[str, Any] = {"priority": priority} if priority is not None else {}
        if anew:
            changes |= {"data": pick, "indexed": True}
        if delay is not None:
            changes |= {"delay": delay, "promote_at": self.clock.ms + delay}
        self.move(job, job.state if delay is None else State.DELAYED if delay else State.INACTIVE, **changes)
        assert state is self.jobs[job_id].state

    @precondition(lambda self: self.jobs)
    @rule(pick=numbers, by_upkeep=st.booleans())
    def repair(self, pick: int, by_upkeep: bool) -> None:
        """A Kue has died between two writes: the job is missing in one of its sets, until somebody mends it."""
        job = self.jobs.get(self.some_id(pick, *ENDED)) or next(iter(self.jobs.values()))
        updated_at = self.run(self.redis.hget(self.keys.job(job.id), "updated_at"))
        assert self.run(self.lifecycle.repair({job.id: updated_at})) == {job.id: "whole"}
        places = [self.keys.jobs, self.keys.in_state(job.state), self.keys.of_type(job.type, job.state)]
        if job.state is State.COMPLETE or (job.state is State.FAILED and job.attempts >= job.max_attempts):
            places.append(self.keys.ended(job.state))
        self.run(self.redis.zrem(places[pick % len(places)], job.zid))

        if by_upkeep:
            mending = Mending(self.lifecycle, self.redis, self.keys)
            assert [self.run(mending.mend()) for _ in range(4)] == [0, 1, 0, 0], "seen twice, mended once"
        else:
            assert self.run(self.lifecycle.repair({job.id: updated_at})) == {job.id: "repaired"}

        if job.state in ENDED:
            self.move(job, job.state)
        if job.state is State.ACTIVE:
            self.move(job, State.ACTIVE, lease_ends=self.clock.ms, ttl_ends=self.clock.ms + (job.ttl or 0))

    def cancelled_by_model(self, job: Modelled) -> bool:
        """Whether the job can be called off; then it is."""
        if not job.living or job.kues:
            return False
        if job.state is State.ACTIVE:
            self.move(job, State.ACTIVE, cancelled=True)
        else:
            self.fail_for_good(job)
        return True

    @precondition(lambda self: self.given)
    @rule(pick=numbers)
    def cancel(self, pick: int) -> None:
        job_id = self.some_id(pick, State.ACTIVE)
        job = self.jobs.get(job_id)
        if job is None or not job.living or job.kues:
            self.refused(self.lifecycle.cancel(job_id), self.unfit(job_id))
            return
        becomes = State.ACTIVE if job.state is State.ACTIVE else State.FAILED
        assert self.run(self.lifecycle.cancel(job_id)) is becomes
        assert self.cancelled_by_model(job)
        if becomes is State.ACTIVE:
            assert self.run(self.lifecycle.cancel(job_id)) is becomes, "I13"
        else:
            self.refused(self.lifecycle.cancel(job_id), self.unfit(job_id))

    def retried_by_model(self, job: Modelled) -> bool:
        if job.living or (job.key and self.keys_held.get(job.key, job.id) != job.id):
            return False
        self.move(job, State.INACTIVE, losses=0, cancelled=False, promote_at=self.clock.ms)
        if job.key:
            self.keys_held[job.key] = job.id
        return True

    @precondition(lambda self: self.given)
    @rule(pick=numbers)
    def retry(self, pick: int) -> None:
        job_id = self.some_id(pick, *ENDED)
        job = self.jobs.get(job_id)
        if job is None or job.living:
            self.refused(self.lifecycle.retry(job_id), self.unfit(job_id))
        elif job.key and self.keys_held.get(job.key, job_id) != job_id:
            self.refused(self.lifecycle.retry(job_id), JobExists)
        else:
            assert self.run(self.lifecycle.retry(job_id)) is State.INACTIVE
            assert self.retried_by_model(job)
            self.refused(self.lifecycle.retry(job_id), WrongState)

    def removed_by_model(self, job: Modelled) -> bool:
        if job.token:
            return False
        self.free(job)
        self.erase(job.id)
        return True

    @precondition(lambda self: self.given)
    @rule(pick=numbers)
    def remove(self, pick: int) -> None:
        job_id = self.some_id(pick)
        job = self.jobs.get(job_id)
        if job is None or job.token:
            self.refused(self.lifecycle.remove(job_id), self.unfit(job_id))
            return
        self.run(self.lifecycle.remove(job_id))
        assert self.removed_by_model(job)
        self.refused(self.lifecycle.remove(job_id), JobNotFound)

    @precondition(lambda self: self.given)
    @rule(
        verb=st.sampled_from(["cancel", "retry", "remove"]),
        picks=st.lists(numbers, min_size=1, max_size=5),
        state=st.none() | st.sampled_from(State),
    )
    def many(self, verb: Any, picks: list[int], state: State | None) -> None:
        by_model = {"cancel": self.cancelled_by_model, "retry": self.retried_by_model, "remove": self.removed_by_model}
        fits = {"cancel": [State.DELAYED, State.INACTIVE, State.ACTIVE], "retry": ENDED, "remove": ENDED}[verb]
        ids = [self.some_id(number, *fits) for number in picks]

        done = self.run(self.lifecycle.many(verb, ids, state))

        expected = 0
        for job_id in dict.fromkeys(ids):
            job = self.jobs.get(job_id)
            if job is not None and state in (None, job.state):
                expected += by_model[verb](job)
        assert done == expected

    @rule()
    def prune_by_upkeep(self) -> None:
        expected = sum(self.prune(state, 200) for state in ENDED)
        assert self.run(self.lifecycle.prune()) == expected
        assert self.run(self.lifecycle.prune()) == sum(self.prune(state, 200) for state in ENDED)

    # What people decide

    @rule(type=st.sampled_from([None, *TYPES]), paused=st.sampled_from([True, False, False]))
    def pause(self, type: str | None, paused: bool) -> None:
        steering = self.queue.steering
        for _ in range(2):
            self.run(steering.pause(type) if paused else steering.resume(type))
        (self.paused.add if paused else self.paused.discard)(type or "")
        assert self.run(steering.paused()) == ("" in self.paused, sorted(self.paused - {""}))

    @rule(
        type=types, rate=st.sampled_from([None, 1, 2]), per=st.sampled_from(PERIODS_MS), c=st.sampled_from([None, 1, 2])
    )
    def limit(self, type: str, rate: int | None, per: int, c: int | None) -> None:
        limit = Limit(rate=rate, per=timedelta(milliseconds=per), concurrency=c)
        self.run(self.queue.steering.limit(type, limit))
        self.limits[type] = limit
        if rate is None and c is None:
            del self.limits[type]

    @rule(
        state=st.sampled_from(ENDED),
        count=st.sampled_from([None, 0, 1, 2]),
        age=st.none() | st.sampled_from([1000, 60_000]),
    )
    def retain(self, state: Any, count: int | None, age: int | None) -> None:
        kept = Kept(count=count, age=timedelta(milliseconds=age) if age else None)
        self.run(self.queue.steering.retain(state, kept))
        self.kept[state] = kept
        assert self.run(self.queue.steering.retention())[state] == kept

    # More often than the others, so that there is something to decide about.
    create_more = create_still_more = create_many
    claim_more = claim_still_more = claim
    end_more = end_all

    # What the world does

    @rule(ms=st.sampled_from([1, 999, 5000, 29_999, 60_000, 100_000]))
    def advance(self, ms: int) -> None:
        self.clock.advance(ms=ms)

    @rule()
    def forget_scripts(self) -> None:
        self.run(self.redis.script_flush())

    @precondition(lambda self: len(self.jobs) > 12)
    @rule()
    def flush(self) -> None:
        self.run(self._delete_everything())
        self.jobs.clear()
        self.keys_held.clear()
        self.paused.clear()
        self.limits.clear()
        self.kept.clear()
        self.outcomes.clear()
        self.starts = {type: [] for type in TYPES}
        self.next_instant = None

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
        self._what_is_shown_is_what_is_there(found)
        assert self.run(audit(self.redis, self.keys.prefix)) == []
        self.looked(found)

    def looked(self, found: dict[str, Any]) -> None:
        """A walk with company asks it what it sees."""

    def _what_is_shown_is_what_is_there(self, found: dict[str, Any]) -> None:
        """I15, of counters; and what a search finds, and whose outcome can be asked for."""
        for type in (None, *TYPES):
            of_type = f"jobs:{type}" if type else "jobs"
            counted = self.run(self.queue.jobs.counts(type))
            assert counted == {state: len(found.get(f"{of_type}:{state}", {})) for state in State}, "I15"
        word = WORDS[len(self.given) % len(WORDS)]
        having = {job.id for job in self.jobs.values() if job.indexed and told(job.data)["title"] == word}
        assert self.run(self.queue.jobs.search(word)) == sorted(having, reverse=True)
        outcomes = {name for name in found if name.startswith("outcome:")}
        assert outcomes == {f"outcome:{job_id}" for job_id in self.outcomes}

    def _each_job_is_where_it_says(self, found: dict[str, Any]) -> None:
        """I1, I2, I3, and that the lists of leases and of unique keys say what the jobs say."""
        hashes = {
            name: fields for name, fields in found.items() if name.startswith("job:") and isinstance(fields, dict)
        }
        listed: dict[str, set[str]] = {
            name: set() for name in found if name == "jobs" or name.startswith(("jobs:", "ended:"))
        }
        leased, unique = set(), {}
        for name, job in hashes.items():
            member = zid(int(name.removeprefix("job:")))
            ended = (f"ended:{job['state']}",) if job["state"] in ENDED else ()
            for place in ("jobs", f"jobs:{job['state']}", f"jobs:{job['type']}:{job['state']}", *ended):
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
            assert int(fields.get("losses", 0)) == job.losses
            assert fields.get("lease", "").partition("@")[0] == (job.token or ""), "I5"
            assert fields.get("delay") == (str(job.delay) if job.delay is not None else None)
            assert int(fields["promote_at"]) == job.promote_at
            assert (json.loads(fields["data"]), "cancelled" in fields) == (told(job.data), job.cancelled)
            if job.token:
                assert float(found["leases"][job.zid]) == job.lease_ends
            if not job.living:
                assert float(found[f"ended:{job.state}"][job.zid]) == job.ended_at
        schedules = {SCHEDULE: str(self.next_instant)} if self.next_instant is not None else {}
        assert found.get("schedules", {}) == schedules
        assert found.get("unique", {}) == {key: str(job_id) for key, job_id in self.keys_held.items()}

    def _hints_suffice(self, found: dict[str, Any]) -> None:
        """I4: tokens ≥ waiting jobs; and never more than one token for those who wait for the clock."""
        for type in TYPES:
            assert len(found.get(f"{type}:jobs", [])) >= len(found.get(f"jobs:{type}:inactive", {}))
        assert len(found.get("wake", [])) <= 1

    def _times_are_in_order(self, found: dict[str, Any]) -> None:
        """I14, as far as a job has come in its last run."""
        for job in self.jobs.values():
            fields = found[f"job:{job.id}"]
            created, updated = int(fields["created_at"]), int(fields["updated_at"])
            started = int(fields.get("started_at", created))
            assert created <= started <= updated <= self.clock.ms
            if job.state is State.FAILED:
                assert started <= int(fields["failed_at"]) <= updated

    def _everything_comes_to_its_end(self) -> None:
        """I21: when nobody pauses, limits or schedules any more, a worker and time bring every job to its end, soon."""
        for type in (None, *TYPES):
            self.run(self.queue.steering.resume(type))
        for type in TYPES:
            self.run(self.queue.steering.limit(type, None))
        self.run(self.queue.schedules.remove(SCHEDULE))
        for round in range(4):
            self.clock.advance(ms=LEASE_MS + 90_000)
            self.run(self.queue.jobs.take_back_from(KUE))
            self.run(self.lifecycle.rescue())
            claim = self.lifecycle.claim(
                dict.fromkeys(TYPES, 500), token=f"end.{round}", lease=timedelta(milliseconds=LEASE_MS), worker=WORKER
            )
            for lease in self.run(claim).leases:
                self.run(self.lifecycle.complete(lease))
        counts = self.run(self.queue.jobs.counts())
        assert {state for state, count in counts.items() if count} <= set(ENDED), f"I21: {counts}"


def walk(kind: type[Walk], walks: int) -> int:
    """So many walks, or as far as STEPS says; answers how many steps were made."""
    made = 0

    class Counted(kind):  # type: ignore[misc, valid-type]
        def looked(self, found: dict[str, Any]) -> None:
            nonlocal made
            made += 1
            super().looked(found)

    run_state_machine_as_test(
        Counted,
        settings=settings(
            # The first look is at an empty queue, and some walks end early.
            max_examples=math.ceil(1.2 * STEPS / _STEPS_A_WALK) or walks,
            stateful_step_count=_STEPS_A_WALK,
            derandomize=not STEPS,
            database=None,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(f"{made:,} steps")
    return made


def test_the_lifecycle_and_the_model_agree_on_every_walk(valkey: Valkey) -> None:
    class WalkHere(Walk):
        url = valkey.url

    assert walk(WalkHere, walks=20) > STEPS
