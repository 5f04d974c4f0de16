"""rmindr's queue behind two commands, each a process of its own, as rivals/bee.js is.

produce PORT QUEUE              {"count": 3, "way": "bulk" | "one", "due": ms | null} per line → seconds it took
work PORT QUEUE CONCURRENCY     prints `ready`; after a line works, and prints how many have started, over and over; after
                                another line prints [[start, due], …], ms
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import uvloop

from rmindr.queue import Context, Job, NewJob, Queue


def payload(number: int, due_ms: float | None) -> dict[str, Any]:
    return {
        "to": f"recipient-{number:06}@example.com",
        "from": "reminders@example.com",
        "message": "Reminder: you asked to be told about this. Bring the papers and call back.",
        "datetime": due_ms or 0,
        "n": number,
    }


async def line() -> str:
    return await asyncio.to_thread(sys.stdin.readline)


async def produce(queue: Queue) -> None:
    """Make jobs, as told line by line."""
    await queue.redis.ping()
    print("ready", flush=True)
    while order := await line():
        wish = json.loads(order)
        due = datetime.fromtimestamp(wish["due"] / 1000, UTC) if wish["due"] else None
        begun = time.perf_counter()
        if wish["way"] == "one":
            for number in range(wish["count"]):
                await queue.create("noop", payload(number, wish["due"]), delay=due, remove_on_complete=True)
        else:
            await queue.create_many(
                [
                    NewJob(type="noop", data=payload(number, wish["due"]), delay=due, remove_on_complete=True)
                    for number in range(wish["count"])
                ]
            )
        print(time.perf_counter() - begun, flush=True)


async def work(queue: Queue, concurrency: int) -> None:
    """Work jobs that do nothing, and note when each began."""
    starts: list[tuple[float, float]] = []

    async def noop(job: Job, _: Context) -> None:
        starts.append((time.time() * 1000, job.data["datetime"]))

    async def progress() -> None:
        while True:
            await asyncio.sleep(0.05)
            print(len(starts), flush=True)

    queue.process("noop", noop, concurrency=concurrency)
    await queue.redis.ping()
    print("ready", flush=True)
    await line()
    running, telling = asyncio.create_task(queue.run(tick=timedelta(seconds=30))), asyncio.create_task(progress())
    await line()
    telling.cancel()
    queue.shutdown()
    await running
    print(json.dumps(starts), flush=True)


async def main(command: str, port: str, name: str, concurrency: str = "1") -> None:
    async with Queue.open(f"redis://127.0.0.1:{port}", prefix=name) as queue:
        await (produce(queue) if command == "produce" else work(queue, int(concurrency)))


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
