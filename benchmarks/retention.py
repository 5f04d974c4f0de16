"""Do keys and memory stay what they are while 1,000,000 jobs go through, of which 1,000 are kept?

    python -m benchmarks.retention [--quick]

One process creates, one works; every fiftieth of the way it is printed what there is. It is checked that each job ran, and that
the second half of the curve lies no higher than the first."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from rmindr.queue import Context, Job, Kept, NewJob, Queue, State
from tests.servers import Valkey

KEPT = 1000
_BATCH = 2500
# So many may wait at a time: what waits is not what is measured.
_MOST_WAITING = 5000
_HEADINGS = ("jobs through", "jobs/s", "keys", "Redis, MB", "worker, MB", "producer, MB")


@dataclass(frozen=True)
class Sample:
    """What there was when so many jobs had gone through."""

    through: int
    seconds: float
    keys: int
    redis_mb: float
    worker_mb: float
    producer_mb: float


async def measure(*, quick: bool) -> list[Sample]:
    """The curve."""
    total, points = (20_000, 10) if quick else (1_000_000, 50)
    server = Valkey()
    server.start()
    try:
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.retention", "--work", server.url, stdout=asyncio.subprocess.PIPE
        )
        async with Queue.open(server.url) as queue:
            for state in (State.COMPLETE, State.FAILED):
                await queue.steering.retain(state, Kept(count=KEPT))
            began, samples = time.perf_counter(), []
            for point in range(1, points + 1):
                for at in range(total * (point - 1) // points, total * point // points, _BATCH):
                    await _until_few_wait(queue, _MOST_WAITING)
                    end = min(at + _BATCH, total * point // points)
                    await queue.create_many(
                        [NewJob(type="noop", data={"n": n}, unique=f"n {n}") for n in range(at, end)]
                    )
                await _until_few_wait(queue, _BATCH)
                samples.append(await _sample(queue, total * point // points, time.perf_counter() - began, worker.pid))
            await _until_few_wait(queue, 0)
            days = await queue.history.last(2, "day")
            worker.send_signal(signal.SIGTERM)
            await worker.wait()
    finally:
        server.remove()
    ended = sum(day.complete + day.failed for day in days)
    assert ended == total, f"{ended:,} of {total:,} have ended"
    return samples


async def _until_few_wait(queue: Queue, most: int) -> None:
    while True:
        counts = await queue.jobs.counts()
        if counts[State.INACTIVE] + counts[State.ACTIVE] <= most:
            return
        await asyncio.sleep(0.02)


async def _sample(queue: Queue, through: int, seconds: float, worker: int) -> Sample:
    memory: Any = await queue.redis.info("memory")
    return Sample(
        through,
        seconds,
        await queue.redis.dbsize(),
        memory["used_memory"] / 1e6,
        _resident_mb(worker),
        _resident_mb("self"),
    )


def _resident_mb(process: int | str) -> float:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    raise RuntimeError("this machine does not say how much memory a process holds")


async def work(url: str) -> None:
    """The worker's side: every twentieth job fails."""

    async def noop(job: Job, context: Context) -> None:
        if job.data["n"] % 20 == 0:
            raise ValueError("no")

    async with Queue.open(url) as queue:
        queue.process("noop", noop, concurrency=100)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, queue.shutdown)
        await queue.run(grace=timedelta(seconds=5))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retention", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few jobs: for correctness, not for figures")
    parser.add_argument("--work", metavar="URL", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        uvloop.run(work(asked.work))
        return
    samples = uvloop.run(measure(quick=asked.quick))
    table = Table(title=f"{samples[-1].through:,} jobs through, the last {KEPT:,} of each ending kept")
    for heading in _HEADINGS:
        table.add_column(heading, justify="right")
    for each in samples:
        figures = (each.keys, each.redis_mb, each.worker_mb, each.producer_mb)
        rate = each.through / each.seconds
        table.add_row(
            f"{each.through:,}", f"{rate:,.0f}", f"{figures[0]:,}", *(f"{figure:,.1f}" for figure in figures[1:])
        )
    Console(width=120).print(table)
    half = len(samples) // 2
    for heading, name in zip(_HEADINGS[2:], ("keys", "redis_mb", "worker_mb", "producer_mb"), strict=True):
        # Before the first tenth there is less than what is kept.
        first = max(getattr(each, name) for each in samples[half // 5 : half])
        second = max(getattr(each, name) for each in samples[half:])
        print(f"{heading}: at most {first:,.1f} in the first half, {second:,.1f} in the second")
        assert asked.quick or second < 1.1 * first, f"{heading} grows"


if __name__ == "__main__":
    main()
