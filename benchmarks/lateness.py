"""How late do delayed jobs start: one at a time on an idle worker, and 5,000 that are due in one instant?"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict

from benchmarks.processes import BEE, OURS, fresh, percentile, produce, producer, ratios, sides, spread, workers
from tests.servers import Valkey


async def measure(*, quick: bool) -> list[tuple[str, ...]]:
    """Rows: p50 and p99 of single jobs; the first and the last start of a burst."""
    single_count, burst, rounds = (4, 200, 1) if quick else (40, 5000, 5)
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    server = Valkey()
    server.start()
    try:
        for _ in range(rounds):
            # Both at once: each is idle but for its own job, and both have the same weather.
            together = await asyncio.gather(*(singles(side, server, single_count) for side in sides()))
            for side, late in zip(sides(), together, strict=True):
                found["p50", side].append(percentile(late, 0.5))
                found["p99", side].append(percentile(late, 0.99))
                found["earliest", side].append(min(late))
            for side in sides():
                late = await _burst(side, server, burst)
                found["first", side].append(min(late))
                found["last", side].append(max(late))
                found["earliest", side].append(min(late))
    finally:
        server.remove()
    early = min(found["earliest", OURS])
    assert early >= 0, f"a job started {-early} ms early"

    def row(what: str, key: str, goal: str) -> tuple[str, ...]:
        ours, theirs = found[key, OURS], found[key, BEE]
        return what, spread(ours, " ms", 1), f"{BEE} {spread(theirs, ' ms', 1)}", ratios(ours, theirs), goal

    return [
        row("lateness of one delayed job, idle worker, p50", "p50", "1.5 ms"),
        row("… p99", "p99", "4 ms"),
        row(f"{burst:,} due in one instant: first start after it", "first", "1 ×"),
        row("… last start", "last", "0.6 ×"),
    ]


async def singles(side: str, server: Valkey, count: int, queue: str | None = None) -> list[float]:
    """How late each of so many jobs began, one after the other, ms."""
    queue = queue or fresh()
    async with workers(side, server.port, queue, 20) as crew, producer(side, server.port, queue) as made:
        crew.go()
        await asyncio.sleep(1)
        for _ in range(count):
            wait = random.uniform(0.3, 1.0)
            await made.make(1, "one", _now_ms() + round(1000 * wait))
            await asyncio.sleep(wait + 0.1)
        return [start - due for start, due in await crew.starts(count)]


async def _burst(side: str, server: Valkey, count: int) -> list[float]:
    queue = fresh()
    async with workers(side, server.port, queue, 200 if side == OURS else 100) as crew:
        crew.go()
        due = float(_now_ms() + 4000)
        await produce(side, server.port, queue, count, "bulk", due)
        assert _now_ms() < due, "the jobs were not made in time"
        return [start - due for start, _ in await crew.starts(count)]


def _now_ms() -> int:
    return round(time.time() * 1000)
