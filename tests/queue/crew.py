"""Workers for tests: in this process, and in others that can be killed; what they ran, and when."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from rmindr.queue import Context, Job, Queue, State
from tests.processes import Process
from tests.queue.scenery import PATIENCE_S, until
from tests.servers import Valkey

# Longer than any test: what happens although the tick is this long was told to the worker, not found by looking.
NEVER: Final = timedelta(hours=1)
SHORT: Final = timedelta(milliseconds=400)

Handler = Callable[[Job, Context], Awaitable[Any]]


@asynccontextmanager
async def working(
    queue: Queue, *, grace: timedelta = NEVER, timeout: float = PATIENCE_S, **timings: Any
) -> AsyncIterator[asyncio.Task[None]]:
    """The queue's worker at work; at the end it is told to stop, and has stopped. Its lease and tick outlast the test."""
    timings = {"lease": NEVER, "tick": NEVER} | timings
    async with asyncio.timeout(timeout), asyncio.TaskGroup() as group:
        run = group.create_task(queue.run(grace=grace, **timings))
        await until(lambda: queue.worker or run.done())
        yield run
        queue.shutdown()


async def nothing(job: Job, context: Context) -> None: ...


class Hands:
    """A handler that keeps its jobs in hand until it is told to let go."""

    def __init__(self) -> None:
        self.held: list[int] = []
        self.runs: Counter[int] = Counter()
        self.most = 0
        self.cancelled: list[int] = []
        self._let_go = asyncio.Event()

    async def __call__(self, job: Job, context: Context) -> str:
        self.held.append(job.id)
        self.runs[job.id] += 1
        self.most = max(self.most, len(self.held))
        try:
            await self._let_go.wait()
        except asyncio.CancelledError:
            self.cancelled.append(job.id)
            raise
        finally:
            self.held.remove(job.id)
        return "done"

    def let_go(self) -> None:
        self._let_go.set()


async def the_job(queue: Queue, job_id: int = 1) -> Job:
    job = await queue.get(job_id)
    assert job is not None
    return job


async def ended(queue: Queue, *job_ids: int) -> bool:
    return all(state in (State.COMPLETE, State.FAILED) for state in await queue.jobs.states(job_ids))


async def all_ended(queue: Queue) -> bool:
    counts = await queue.jobs.counts()
    return not counts[State.DELAYED] + counts[State.INACTIVE] + counts[State.ACTIVE]


async def is_blocked(queue: Queue, number: int = 1) -> bool:
    """So many workers sleep until they are told something."""
    clients: Any = await queue.redis.info("clients")
    return bool(clients["blocked_clients"] >= number)


async def commands(queue: Queue, *names: str) -> int:
    """How often these commands were carried out since the figures were last put to nought."""
    stats: Any = await queue.redis.info("commandstats")
    return sum(int(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"]) for name in names)


async def is_quiet(queue: Queue, *names: str) -> bool:
    """Of these commands, none but perhaps one was carried out within a while: who looks again and again is never quiet."""
    await queue.redis.config_resetstat()
    await asyncio.sleep(0.3)
    return await commands(queue, *names) <= 1


# Other processes


def a_child(queue: Queue, valkey: Valkey, types: dict[str, int], **told: Any) -> Process:
    """A worker process (child.py); `told` are its timings in seconds, e.g. lease=1.0, and `url` another way to its Redis. Its
    tick outlasts the test."""
    told = {"tick": 3600.0, "lease": 60.0, "url": valkey.url} | told
    arguments = (told.pop("url"), queue.keys.prefix, json.dumps({"types": types} | told))
    return Process(*arguments, env={}, command=(sys.executable, "-m", "tests.queue.child"))


@asynccontextmanager
async def children(
    number: int, queue: Queue, valkey: Valkey, types: dict[str, int], **told: Any
) -> AsyncIterator[Sequence[Process]]:
    """So many worker processes, ready."""
    async with AsyncExitStack() as stack:
        crew = [a_child(queue, valkey, types, **told) for _ in range(number)]
        for child in crew:
            await stack.enter_async_context(child)
        for child in crew:
            await child.line("^ready$")
        yield crew


@dataclass(frozen=True)
class Note:
    """One run of a child: which job, which attempt (from 0), when it began and ended, in ms, and in which process."""

    job_id: int
    attempt: int
    began: float
    ended: float | None
    process: int


async def notes(queue: Queue) -> list[Note]:
    """All runs of all children, in the order in which they began; `ended` is None where the process was killed first."""
    lines: Any = await queue.redis.lrange(f"{queue.keys.prefix}-runs", 0, -1)
    began: dict[tuple[str, str, str], tuple[float, float | None]] = {}
    for line in lines:
        what, *run, at, process = line.split(" ")
        key = (*run, process)
        began[key] = (float(at), None) if what == "began" else (began[key][0], float(at))
    runs = [
        Note(int(job_id), int(attempt), start, end, int(process))
        for (job_id, attempt, process), (start, end) in began.items()
    ]
    return sorted(runs, key=lambda run: run.began)


def most_at_once(runs: Sequence[Note]) -> int:
    """How many runs went on at the same time at most; those of killed processes do not count."""
    whole = [run for run in runs if run.ended is not None]
    return max(sum(other.began <= run.began < (other.ended or 0) for other in whole) for run in whole)
