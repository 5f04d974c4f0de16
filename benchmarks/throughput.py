"""How many jobs are made, and how many that do nothing are worked, in a second, with everything switched on?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from benchmarks.processes import BEE, OURS, fresh, produce, ratios, sides, spread, workers
from tests.servers import Valkey

# What is asked of each: concurrency, and how many worker processes. Each side has its best concurrency.
_WORK = {
    "1 process, concurrency 20": ({OURS: 20, BEE: 20}, 1),
    "1 process, at its best": ({OURS: 200, BEE: 100}, 1),
    "2 processes": ({OURS: 100, BEE: 100}, 2),
}


async def measure(*, quick: bool) -> list[tuple[str, ...]]:
    """Rows: creation in bulk and one by one; processing by one process and by two."""
    count, rounds = (300, 1) if quick else (10_000, 5)
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    server = Valkey()
    server.start()
    try:
        for number in range(rounds):
            who = list(sides())
            # Nobody is always the first.
            for side in who[number % len(who) :] + who[: number % len(who)]:
                found["bulk", side].append(await produce(side, server.port, fresh(), count))
                found["one", side].append(await produce(side, server.port, fresh(), count // 5, "one"))
                for name, (concurrency, processes) in _WORK.items():
                    found[name, side].append(await worked(side, server.port, count, concurrency[side], processes))
            found["one", "bare"].append(await produce("bare", server.port, fresh(), count // 5, "one"))
    finally:
        server.remove()
    bare = found["one", "bare"]
    return [
        _row("jobs created in bulk", found["bulk", OURS], found["bulk", BEE], "1.5 ×"),
        _row("jobs created one by one", found["one", OURS], found["one", BEE], "1 ×"),
        ("… beside a bare loop", "", spread(bare, "/s"), ratios(found["one", OURS], bare), "0.9 ×"),
        *(_row(f"no-op jobs, {name}", found[name, OURS], found[name, BEE], "1.5 ×") for name in _WORK),
    ]


async def worked(
    side: str, port: int, count: int, concurrency: int, processes: int = 1, queue: str | None = None
) -> float:
    """Jobs per second, from the first start to the last."""
    queue = queue or fresh()
    await produce(side, port, queue, count)
    async with workers(side, port, queue, concurrency, processes) as crew:
        crew.go()
        starts = [start for start, _ in await crew.starts(count)]
    return count / ((max(starts) - min(starts)) / 1000)


def _row(what: str, ours: Sequence[float], theirs: Sequence[float], goal: str) -> tuple[str, ...]:
    return what, spread(ours, "/s"), f"{BEE} {spread(theirs, '/s')}", ratios(ours, theirs), goal
