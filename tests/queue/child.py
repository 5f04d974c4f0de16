"""A worker process for tests: its arguments say what to work, and each job's data what to do with it.

    python -m tests.queue.child URL PREFIX '{"types": {"email": 3}, "lease": 1.0}'

Data: {"sleep": seconds} · {"fail": "text"} · {"failures": n}, of the first n attempts · {"abandon": "text"} · {"die": true}, by
SIGKILL · {"result": …}. It prints `ready`, `took ID`, and `heard ID` when a run is cancelled. Every run is noted in the list
PREFIX-runs, where it survives the process: began|ended, id, attempts before it, milliseconds, process. SIGTERM stops it kindly,
a second one at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from datetime import timedelta
from typing import Any

from rmindr.queue import Abandon, Context, Job, Queue


def main() -> None:
    url, prefix, told = sys.argv[1:]
    asyncio.run(work(url, prefix, json.loads(told)))


async def work(url: str, prefix: str, told: dict[str, Any]) -> None:
    patience = timedelta(seconds=told.pop("patience", 5.0))
    if wrong_by := told.pop("clock_wrong_by", 0):
        right = time.time
        time.time = lambda: right() + wrong_by
    async with Queue.open(url, prefix=prefix, patience=patience) as queue:

        async def note(what: str, job: Job) -> None:
            line = f"{what} {job.id} {job.attempts} {time.time() * 1000:.3f} {os.getpid()}"
            await queue.redis.rpush(f"{prefix}-runs", line)

        async def handle(job: Job, context: Context) -> Any:
            await note("began", job)
            print("took", job.id, flush=True)
            try:
                return await do(job.data, job.attempts)
            except asyncio.CancelledError:
                print("heard", job.id, flush=True)
                raise
            finally:
                await note("ended", job)

        for type, concurrency in told.pop("types").items():
            queue.process(type, handle, concurrency=concurrency)
        late_runs = told.pop("late_runs", "release")
        timings = {name: timedelta(seconds=seconds) for name, seconds in told.items()}
        run = asyncio.create_task(queue.run(late_runs=late_runs, **timings))
        signals = 0

        def stop() -> None:
            nonlocal signals
            signals += 1
            queue.shutdown() if signals == 1 else run.cancel()

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
        while queue.worker is None and not run.done():
            await asyncio.sleep(0)
        print("ready", flush=True)
        await asyncio.wait([run])


async def do(what: Any, attempts: int) -> Any:
    if what.get("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.sleep(what.get("sleep", 0))
    if attempts < what.get("failures", 0):
        raise RuntimeError(f"run {attempts + 1}")
    if "fail" in what:
        raise RuntimeError(what["fail"])
    if "abandon" in what:
        raise Abandon(what["abandon"])
    return what.get("result")


if __name__ == "__main__":
    main()
