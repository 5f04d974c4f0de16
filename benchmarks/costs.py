"""What does a queue at rest cost: bytes of Redis per delayed job, and commands per second of an idle worker?"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from typing import Any

import redis.asyncio

from benchmarks.processes import BEE, FAR_MS, OURS, fresh, producer, ratios, sides, spread, workers
from tests.servers import Valkey


async def measure(*, quick: bool) -> list[tuple[str, ...]]:
    """Two rows, each from a server of its own for each side."""
    jobs, seconds = (500, 3) if quick else (10_000, 60)
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    busiest = ""
    for side in sides():
        server = Valkey()
        server.start()
        try:
            async with redis.asyncio.Redis.from_url(server.url, decode_responses=True) as client:
                queue = fresh()
                async with producer(side, server.port, queue) as made:
                    before = await _used(client)
                    await made.make(jobs, "bulk", FAR_MS)
                    found["bytes", side].append((await _used(client) - before) / jobs)
                async with workers(side, server.port, queue, 20) as crew:
                    crew.go()
                    # Past the first round of everything that is done now and then.
                    await asyncio.sleep(1 if quick else 75)
                    calls = await _commands(client)
                    await asyncio.sleep(seconds)
                    spent = await _commands(client)
                    spent.subtract(calls)
                    found["idle", side].append(sum(spent.values()) / seconds)
                    if side == OURS:
                        busiest = ", ".join(f"{name} {times}" for name, times in spent.most_common(5) if times > 0)
        finally:
            server.remove()

    def row(what: str, key: str, unit: str, digits: int, goal: str) -> tuple[str, ...]:
        ours, theirs = found[key, OURS], found[key, BEE]
        return what, spread(ours, unit, digits), f"{BEE} {spread(theirs, unit, digits)}", ratios(ours, theirs), goal

    return [
        row("bytes of Redis per delayed job, 190 bytes of data", "bytes", "", 0, "1 ×"),
        ("commands/s, idle worker, 10,000 far-off jobs", spread(found["idle", OURS], "", 2),
         f"{BEE} {spread(found['idle', BEE], '', 2)}", f"in {seconds} s: {busiest}", "0.3"),
    ]  # fmt: skip


async def _used(client: redis.asyncio.Redis) -> int:
    about: Any = await client.info("memory")
    return int(about["used_memory"])


async def _commands(client: redis.asyncio.Redis) -> Counter[str]:
    """How often each command was carried out, those inside scripts included, but not what is asked here."""
    stats: Any = await client.info("commandstats")
    names = {name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()}
    return Counter({name: calls for name, calls in names.items() if name != "info"})
