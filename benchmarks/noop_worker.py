"""A worker process whose jobs do nothing: it notes when each began, and prints that when the last has ended.

Arguments: URL, prefix, concurrency, how many jobs. Prints `ready`, waits for a line on standard input, then works; prints
JSON: [[start, promote_at], …] in ms since the epoch."""

from __future__ import annotations

import asyncio
import json
import sys
import time

import uvloop

from rmindr.queue import Context, Job, Queue


async def work(url: str, prefix: str, concurrency: int, count: int) -> None:
    starts: list[tuple[float, float]] = []
    async with Queue.open(url, prefix=prefix) as queue:

        async def noop(job: Job, _: Context) -> None:
            due = job.promote_at.timestamp() * 1000 if job.promote_at is not None else 0
            starts.append((time.time() * 1000, due))
            if len(starts) == count:
                queue.shutdown()

        queue.process("noop", noop, concurrency=concurrency)
        await queue.redis.ping()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await queue.run()
    print(json.dumps(starts))


if __name__ == "__main__":
    url, prefix, concurrency, count = sys.argv[1:]
    uvloop.run(work(url, prefix, int(concurrency), int(count)))
