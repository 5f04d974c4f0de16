"""What do a web process and a worker cost Redis while 1,000 reminders wait for tomorrow?"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import redis.asyncio

from rmindr.schema import migrate
from tests.servers import Valkey
from tests.sink import Sink
from tests.stack import Stack, post_many, soon


async def measure(*, quick: bool) -> list[tuple[str, ...]]:
    """Two rows: commands per second, and connections held by each process."""
    count, seconds = (20, 3) if quick else (1000, 40)
    server = Valkey()
    server.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{Path(folder) / 'rmindr.db'}"
            migrate(url)
            async with Sink() as sink:
                stack = Stack(url, server, sink)
                async with stack.web() as client, stack.worker() as worker:
                    await post_many(client, count, soon(20 * 3600))
                    await worker.line("queued")
                    # Past the first audit and the first look at leases.
                    await asyncio.sleep(0 if quick else 10)
                    before = await _commands(server.url)
                    await asyncio.sleep(seconds)
                    after = await _commands(server.url)
                    held = await _connections(server.url)
    finally:
        server.remove()
    # What was asked to find this out is not part of it.
    spent = {name: after[name] - before[name] for name in after if name not in ("info", "client|list")}
    rate = sum(spent.values()) / seconds
    busiest = ", ".join(f"{name} {calls / seconds:.2f}" for name, calls in Counter(spent).most_common(4) if calls)
    return [
        (
            f"commands/s in Redis, idle, {count:,} far-off jobs",
            f"{rate:.2f}",
            f"scripts' own commands counted: {busiest}",
            "kue 10.0 · celery 1.0 · bullmq 0.8 · bee-queue 0.0",
        ),
        ("connections to Redis", f"worker {held['worker']}, web {held['web']}", "", "kue 4 + one per type"),
    ]


async def _commands(url: str) -> dict[str, int]:
    async with redis.asyncio.Redis.from_url(url, decode_responses=True) as client:
        stats: Any = await client.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): int(each["calls"]) for name, each in stats.items()})


async def _connections(url: str) -> dict[str, int]:
    """How many connections each process holds, by the names that they give themselves."""
    async with redis.asyncio.Redis.from_url(url, decode_responses=True, client_name="bench") as client:
        clients: Any = await client.client_list()
    names = Counter(each["name"] for each in clients if each["name"] != "bench")
    return {"worker": names["rmindr-worker"], "web": names["rmindr-web"]}
