"""Worker processes for measurements, and figures out of rounds."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from collections.abc import Sequence


class NoopWorker:
    """One `noop_worker` process; `go` releases it, `starts` waits for what it noted."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def ready(cls, url: str, prefix: str, *, concurrency: int, count: int) -> NoopWorker:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.noop_worker", url, prefix, str(concurrency), str(count),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**26,
        )  # fmt: skip
        assert process.stdout is not None
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"ready\n"
        return cls(process)

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")

    async def starts(self) -> list[tuple[float, float]]:
        assert self._process.stdout is not None
        async with asyncio.timeout(300):
            noted = json.loads(await self._process.stdout.readline())
            await self._process.wait()
        return [(began, due) for began, due in noted]


def spread(figures: Sequence[float], unit: str = "", digits: int = 0) -> str:
    """Minimum, median and maximum, e.g. `2,950 / 3,026 / 3,101 /s`."""
    low, middle, high = min(figures), statistics.median(figures), max(figures)
    return " / ".join(f"{figure:,.{digits}f}" for figure in (low, middle, high)) + unit


def percentile(figures: Sequence[float], share: float) -> float:
    ordered = sorted(figures)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
