"""How late does a delayed job start on an idle worker, one at a time?"""

from __future__ import annotations

import asyncio
import random
import secrets
from datetime import timedelta

from benchmarks.processes import NoopWorker, percentile, spread
from rmindr.queue import Queue
from tests.servers import Valkey


async def measure(*, quick: bool) -> list[tuple[str, str, str, str]]:
    """One row: p50 and p99 of 40 jobs in each of the rounds."""
    count, rounds = (5, 1) if quick else (40, 3)
    middles, worsts, earliest = [], [], []
    server = Valkey()
    server.start()
    try:
        for _ in range(rounds):
            prefix = secrets.token_hex(4)
            worker = await NoopWorker.ready(server.url, prefix, concurrency=20, count=count)
            worker.go()
            async with Queue.open(server.url, prefix=prefix) as queue:
                ended = asyncio.Event()
                queue.on("job complete", lambda *_, ended=ended: ended.set())
                async with queue.listening():
                    for _ in range(count):
                        ended.clear()
                        await queue.create("noop", delay=timedelta(seconds=random.uniform(0.3, 1.0)))
                        await ended.wait()
            late = [began - due for began, due in await worker.starts()]
            middles.append(percentile(late, 0.5))
            worsts.append(percentile(late, 0.99))
            earliest.append(min(late))
    finally:
        server.remove()
    assert min(earliest) >= 0, f"a job started {-min(earliest)} ms early"
    rivals = "celery 2.8 / 17.6 · bee-queue 2.9 / 21.7 · kue 526 / 990"
    return [
        (
            "lateness of one delayed job, idle worker, p50",
            spread(middles, " ms", 1),
            f"earliest {min(earliest):.1f} ms",
            rivals,
        ),
        ("… p99", spread(worsts, " ms", 1), "", ""),
    ]
