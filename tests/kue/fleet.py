"""Two Kues and two workers of ours that are killed again and again; what all of them ran, in the order of Redis."""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from rmindr.queue import Queue
from rmindr.queue.mending import Mending
from tests.kue.original import Kue
from tests.processes import Process
from tests.queue.crew import a_child
from tests.servers import Valkey

# Between two looks at half-moved jobs: what a living Kue moves is moved by then.
LOOKS_S: Final = 3.0
# A run that ended so shortly before its Kue was killed may not have been settled.
SETTLED_MS: Final = 500


@dataclass
class Fleet:
    """Whoever works this queue; `kill` ends one of them, and another takes its place."""

    queue: Queue
    valkey: Valkey
    types: dict[str, int]
    lease: float
    members: list[Kue | Process] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    # Processes of Kue that have ended, whose jobs nobody has asked back yet.
    gone: list[int] = field(default_factory=list)
    taken_back: int = 0
    mended: int = 0
    troubles: list[str] = field(default_factory=list)

    @property
    def notes(self) -> str:
        return f"{self.queue.keys.prefix}-runs"

    async def __aenter__(self) -> Fleet:
        self._stack = AsyncExitStack()
        self._mending = Mending(self.queue.lifecycle, self.queue.redis, self.queue.keys)
        self.members = list(
            await asyncio.gather(self._a_kue(), self._one_of_ours(), self._a_kue(), self._one_of_ours())
        )
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._stack.aclose()

    async def _a_kue(self) -> Kue:
        kue = await self._stack.enter_async_context(Kue.start(self.valkey.port, self.queue.keys.prefix))
        await kue.work(self.types, self.notes)
        return kue

    async def _one_of_ours(self) -> Process:
        child = a_child(self.queue, self.valkey, self.types, lease=self.lease, tick=1.0)
        await self._stack.enter_async_context(child)
        await child.line("^ready$")
        return child

    async def kill(self, number: int) -> None:
        """End one of them, between any two of its writes."""
        member = self.members[number]
        await member.kill()
        await self.queue.redis.rpush(self.notes, f"killed 0 0 0 {member.pid}")
        if isinstance(member, Kue):
            self.kills["Kue's"] += 1
            self.gone.append(member.pid)
            self.troubles += member.troubles
            self.members[number] = await self._a_kue()
        else:
            self.kills["ours"] += 1
            self.members[number] = await self._one_of_ours()

    async def look_after(self) -> None:
        """What an operator does who hears of each Kue that has died, and what upkeep does, only sooner."""
        while True:
            for pid in list(self.gone):
                self.taken_back += await self.queue.jobs.take_back_from(f"kue:{socket.gethostname()}:{pid}")
            self.mended += await self._mending.mend()
            await asyncio.sleep(LOOKS_S)

    async def harass(self, dice: random.Random, every_s: float) -> None:
        """Kill one after the other, in turn a Kue and one of ours, whoever of the two it hits."""
        for turn in itertools.count():
            await asyncio.sleep(every_s * dice.uniform(0.5, 1.5))
            await self.kill(turn % 2 + 2 * dice.randrange(2))


@dataclass
class Story:
    """What became of all runs."""

    # How many runs of each job began.
    runs: Counter[int] = field(default_factory=Counter)
    # Runs that began while another of the same job was going on, in a process that lived: (job, process, the others).
    overlaps: list[tuple[int, int, tuple[int, ...]]] = field(default_factory=list)
    # Jobs of which a run was cut off when its process was killed, or may have been before its end was settled.
    cut: set[int] = field(default_factory=set)
    # Jobs that began again although a run of theirs had done what they are for.
    again: set[int] = field(default_factory=set)
    # Runs of each job that ended with their process.
    killed: Counter[int] = field(default_factory=Counter)


def story_of(lines: Iterable[str], failures: dict[int, int]) -> Story:
    """Read the notes, which stand in the order in which Redis took them; `failures` are how often each job fails."""
    story = Story()
    going_on: dict[int, set[int]] = defaultdict(set)
    done, dead = set[int](), set[int]()
    last: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for line in lines:
        what, *numbers = line.split(" ")
        job_id, made, at, pid = (int(float(number)) for number in numbers)
        if what == "killed":
            dead.add(pid)
            for job in [job for job, others in going_on.items() if pid in others]:
                going_on[job].discard(pid)
                story.cut.add(job)
                story.killed[job] += 1
            until = max((ended for _, ended in last[pid]), default=0)
            story.cut |= {job for job, ended in last[pid] if ended > until - SETTLED_MS}
        elif what == "began":
            story.runs[job_id] += 1
            if going_on[job_id]:
                story.overlaps.append((job_id, pid, tuple(going_on[job_id])))
            if job_id in done:
                story.again.add(job_id)
            if pid in dead:
                # Redis may read what a process has sent after that has ended.
                story.cut.add(job_id)
                story.killed[job_id] += 1
            else:
                going_on[job_id].add(pid)
        else:
            going_on[job_id].discard(pid)
            last[pid].append((job_id, at))
            if made >= failures[job_id]:
                done.add(job_id)
    return story
