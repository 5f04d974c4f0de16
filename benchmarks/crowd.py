"""Does a crowd of delayed jobs make anything slower? The same beside 1,000,000 of them and on an empty server, in turns."""

from __future__ import annotations

import argparse
import asyncio
from collections import defaultdict

from rich.console import Console
from rich.table import Table

from benchmarks.lateness import singles
from benchmarks.processes import FAR_MS, OURS, fresh, percentile, producer, ratios, spread
from benchmarks.throughput import worked
from tests.servers import Valkey

_CHUNK = 50_000


async def measure(*, quick: bool) -> list[tuple[str, ...]]:
    """Rows: with the crowd, without, and the ratio of what each costs."""
    crowd, count, late_count, rounds = (2000, 300, 3, 1) if quick else (1_000_000, 10_000, 20, 5)
    found: dict[tuple[str, bool], list[float]] = defaultdict(list)
    full, empty = Valkey(), Valkey()
    full.start()
    empty.start()
    queue = fresh()
    try:
        async with producer(OURS, full.port, queue) as made:
            for at in range(0, crowd, _CHUNK):
                await made.make(min(_CHUNK, crowd - at), "bulk", FAR_MS)
        for _ in range(rounds):
            for server in (full, empty):
                crowded = server is full
                async with producer(OURS, server.port, queue) as made:
                    for what, many, way in (("bulk", count, "bulk"), ("one", count // 5, "one")):
                        found[what, crowded].append(1e6 / await made.make(many, way, FAR_MS))
                found["work", crowded].append(1e6 / await worked(OURS, server.port, count, 100, queue=queue))
                late = await singles(OURS, server, late_count, queue=queue)
                found["late", crowded].append(percentile(late, 0.5))
    finally:
        full.remove()
        empty.remove()
    rows = {
        "bulk": ("a job created in bulk, µs", 1),
        "one": ("… one by one", 1),
        "work": ("a no-op job worked", 1),
        "late": ("lateness on an idle worker, p50, ms", 2),
    }
    return [
        (name, spread(found[key, True], "", digits), spread(found[key, False], "", digits),
         ratios(found[key, True], found[key, False]), "1.1 ×")
        for key, (name, digits) in rows.items()
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a small crowd, one round: for correctness, not for figures"
    )
    table = Table(title="beside 1,000,000 delayed jobs", caption="min / median / max of the rounds; see README.md")
    for column in ("what it costs", "in the crowd", "alone", "ratio", "goal"):
        table.add_column(column)
    for row in asyncio.run(measure(quick=parser.parse_args().quick)):
        table.add_row(*row)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
