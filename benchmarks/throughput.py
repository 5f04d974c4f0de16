"""How many jobs that do nothing go through one worker process in a second, with everything switched on?"""

from __future__ import annotations

import secrets
import time

import redis.asyncio

from benchmarks.processes import NoopWorker, spread
from rmindr.queue import NewJob, Queue
from tests.servers import Valkey

_RIVALS = {20: "kue 3,264 · bullmq 7,741 · bee-queue 7,921", 200: "kue 3,483 · bullmq 8,543 · bee-queue 11,253"}


async def measure(*, quick: bool) -> list[tuple[str, str, str, str]]:
    """Rows of the table: creation in bulk, and processing with two concurrencies."""
    count, rounds = (500, 1) if quick else (10_000, 5)
    created: list[float] = []
    trips: list[float] = []
    done: dict[int, list[float]] = {20: [], 200: []}
    server = Valkey()
    server.start()
    try:
        for _ in range(rounds):
            for concurrency, rates in done.items():
                trips.append(await _round_trips(server.url))
                prefix = secrets.token_hex(4)
                async with Queue.open(server.url, prefix=prefix) as queue:
                    begun = time.perf_counter()
                    await queue.create_many(
                        [NewJob(type="noop", data={"n": number}, remove_on_complete=True) for number in range(count)]
                    )
                    created.append(count / (time.perf_counter() - begun))
                worker = await NoopWorker.ready(server.url, prefix, concurrency=concurrency, count=count)
                worker.go()
                starts = [began for began, _ in await worker.starts()]
                assert len(starts) == count, f"{len(starts)} of {count} ran"
                rates.append(count / ((max(starts) - min(starts)) / 1000))
    finally:
        server.remove()
    beside = f"{spread(trips, '/s')} bare PING round trips"
    return [
        ("jobs created in bulk", spread(created, "/s"), beside, "kue 6,609 · bullmq 13,290 · bee-queue 39,925"),
        *(
            (f"no-op jobs, 1 process, concurrency {concurrency}", spread(rates, "/s"), beside, _RIVALS[concurrency])
            for concurrency, rates in done.items()
        ),
    ]


async def _round_trips(url: str) -> float:
    """What the client library makes of this machine at this moment."""
    async with redis.asyncio.Redis.from_url(url) as client:
        await client.ping()
        begun = time.perf_counter()
        for _ in range(500):
            await client.ping()
        return 500 / (time.perf_counter() - begun)
