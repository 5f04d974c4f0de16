"""Whoever is measured is a process of its own, here and there alike; and figures out of rounds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import shutil
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

_RIVALS: Final = Path(__file__).parent / "rivals"
_COMMANDS: Final = {
    "rmindr": [sys.executable, "-m", "benchmarks.ours"],
    "bee-queue": ["node", str(_RIVALS / "bee.js")],
    "bare": [sys.executable, "-m", "benchmarks.bare"],
}
OURS: Final = "rmindr"
BEE: Final = "bee-queue"
# For jobs that nobody is to work: the year 2100.
FAR_MS: Final = 4_102_444_800_000.0


def install() -> str:
    """Put the rival in place, exactly as the lock file has it; answers why that was not possible, or nothing."""
    if (_RIVALS / "node_modules" / "bee-queue").exists():
        return ""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "needs node and npm"
    command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(command, cwd=_RIVALS, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"npm ci failed: {done.stderr.strip()[-200:]}"


def sides() -> Sequence[str]:
    """Who takes part: we, and the rival where it is installed."""
    return [OURS] if install() else [OURS, BEE]


class _Program:
    """One process that is told things line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def tell(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n".encode())

    async def hear(self) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(300):
            return (await self._process.stdout.readline()).decode().strip()


@contextlib.asynccontextmanager
async def _program(side: str, *arguments: object) -> AsyncIterator[_Program]:
    process = await asyncio.create_subprocess_exec(
        *_COMMANDS[side], *map(str, arguments),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**26,
    )  # fmt: skip
    program = _Program(process)
    try:
        assert await program.hear() == "ready", f"{side} does not begin"
        yield program
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class Producer:
    """A process of one side that makes jobs for one queue."""

    def __init__(self, program: _Program) -> None:
        self._program = program

    async def make(self, count: int, way: str = "bulk", due_ms: float | None = None) -> float:
        """So many jobs, in bulk or one after the other, each awaited; answers how many per second."""
        self._program.tell(json.dumps({"count": count, "way": way, "due": due_ms}))
        return count / float(await self._program.hear())


@contextlib.asynccontextmanager
async def producer(side: str, port: int, queue: str) -> AsyncIterator[Producer]:
    """A producer that has made a first job, which is due in the year 2100: caches are warm, scripts are loaded."""
    async with _program(side, "produce", port, queue) as program:
        made = Producer(program)
        await made.make(1, "one", FAR_MS)
        yield made


async def produce(
    side: str, port: int, queue: str, count: int, way: str = "bulk", due_ms: float | None = None
) -> float:
    """Jobs per second, made by a process of this side."""
    async with producer(side, port, queue) as made:
        return await made.make(count, way, due_ms)


class Workers:
    """Worker processes of one side on one queue."""

    def __init__(self, programs: Sequence[_Program]) -> None:
        self._programs = programs

    def go(self) -> None:
        """Let them work."""
        for program in self._programs:
            program.tell("go")

    async def starts(self, count: int) -> list[tuple[float, float]]:
        """Wait until so many jobs have started; (start, due) of each, ms."""
        counts = [0] * len(self._programs)

        async def until_all(at: int, program: _Program) -> list[Any]:
            while sum(counts) < count:
                counts[at] = int(await program.hear())
            program.tell("stop")
            while not (said := await program.hear()).startswith("["):
                pass
            return list(json.loads(said))

        noted = await asyncio.gather(*(until_all(at, program) for at, program in enumerate(self._programs)))
        starts = [(start, due) for each in noted for start, due in each]
        assert len(starts) == count, f"{len(starts)} of {count} ran"
        return starts


@contextlib.asynccontextmanager
async def workers(side: str, port: int, queue: str, concurrency: int, processes: int = 1) -> AsyncIterator[Workers]:
    """Worker processes, loaded and waiting to be released by `go`."""
    async with contextlib.AsyncExitStack() as stack:
        programs = [
            await stack.enter_async_context(_program(side, "work", port, queue, concurrency)) for _ in range(processes)
        ]
        yield Workers(programs)


def fresh() -> str:
    """The name of a queue that nobody has used."""
    return secrets.token_hex(4)


def spread(figures: Sequence[float], unit: str = "", digits: int = 0) -> str:
    """Minimum, median and maximum, e.g. `2,950 / 3,026 / 3,101 /s`."""
    if not figures:
        return "–"
    low, middle, high = min(figures), statistics.median(figures), max(figures)
    return " / ".join(f"{figure:,.{digits}f}" for figure in (low, middle, high)) + unit


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Ours ÷ theirs, round by round."""
    return spread([one / other for one, other in zip(ours, theirs, strict=False)], " ×", 2)


def percentile(figures: Sequence[float], share: float) -> float:
    ordered = sorted(figures)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
