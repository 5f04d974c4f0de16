"""How long is Redis deaf to others while 100,000 failed jobs are retried, and then cancelled and removed, by one call each?

    python -m benchmarks.stalls [--quick]

Another process sends PINGs, one after the other, and notes the longest wait for an answer; the server's own slow log tells how
long its longest command took. Beside both stands what the same PINGs see of a server that has nothing to do."""

from __future__ import annotations

import argparse
import asyncio
import select
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import redis
import uvloop
from rich.console import Console
from rich.table import Table

from rmindr.queue import NewJob, Queue, State
from tests.servers import Valkey


async def measure(*, quick: bool) -> list[tuple[str, ...]]:
    """Rows: what was done, how many, in what time, the longest wait for a PING, the longest command."""
    number, rows = 2000 if quick else 100_000, []
    server = Valkey()
    server.start()
    try:
        async with Queue.open(server.url, patience=timedelta(seconds=60)) as queue:
            await queue.redis.config_set("slowlog-log-slower-than", 0)
            await queue.redis.config_set("slowlog-max-len", 100_000)
            for at in range(0, number, 5000):
                await queue.create_many(
                    [NewJob(type="email", data={"title": f"job {n}"}) for n in range(at, min(at + 5000, number))]
                )
            deeds: tuple[tuple[str, Callable[[], Awaitable[int]]], ...] = (
                ("cancel all that wait", lambda: queue.jobs.cancel_all(State.INACTIVE)),
                ("retry all that failed", queue.jobs.retry_all),
                ("cancel them again", lambda: queue.jobs.cancel_all(State.INACTIVE)),
                ("remove all that failed", lambda: queue.jobs.remove_all(State.FAILED)),
            )
            rows.append(await _row(queue, server.url, "nothing, for 2 s", _nothing))
            for what, deed in deeds:
                rows.append(await _row(queue, server.url, what, deed))
                assert rows[-1][1] == f"{number:,}", f"{what}: {rows[-1][1]} of {number:,}"
    finally:
        server.remove()
    return rows


async def _nothing() -> int:
    await asyncio.sleep(2)
    return 0


async def _row(queue: Queue, url: str, what: str, deed: Callable[[], Awaitable[int]]) -> tuple[str, ...]:
    pings = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.stalls", "--ping", url,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert pings.stdin is not None
    assert pings.stdout is not None
    await pings.stdout.readline()
    await queue.redis.slowlog_reset()
    began = time.perf_counter()
    done = await deed()
    took = time.perf_counter() - began
    slow: Any = await queue.redis.slowlog_get(100_000)
    pings.stdin.write(b"enough\n")
    longest, count = (await pings.stdout.readline()).split()
    await pings.wait()
    # Reading the slow log is no part of it.
    command = max((each["duration"] for each in slow if b"SLOWLOG" not in each["command"]), default=0) / 1000
    return what, f"{done:,}", f"{took:.1f} s", f"{float(longest):.1f} ms of {int(count):,}", f"{command:.1f} ms"


def ping(url: str) -> None:
    """The other process: until a line comes, one PING after the other."""
    client = redis.Redis.from_url(url)
    client.ping()
    print("ready", flush=True)
    longest, count = 0.0, 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        began = time.perf_counter()
        client.ping()
        longest, count = max(longest, time.perf_counter() - began), count + 1
    print(longest * 1000, count, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stalls", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few jobs: for correctness, not for figures")
    parser.add_argument("--ping", metavar="URL", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.ping:
        ping(asked.ping)
        return
    table = Table(title="While many jobs are changed by one call")
    for heading in ("what", "jobs", "took", "longest wait for a PING", "longest command"):
        table.add_column(heading)
    for row in uvloop.run(measure(quick=asked.quick)):
        table.add_row(*row)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
