"""Run every measurement and print one table; `--quick` for a short run that only shows that they work."""

from __future__ import annotations

import argparse
import asyncio

from rich.console import Console
from rich.table import Table

from benchmarks import idle, lateness, mails, throughput


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few jobs, one round: for correctness, not for figures")
    quick = parser.parse_args().quick
    table = Table(
        title="rmindr, measured now",
        caption="min / median / max of the rounds; rivals as measured elsewhere, see README.md",
    )
    for column in ("what", "here", "beside, in the same run", "rivals, on another day"):
        table.add_column(column)
    for measure in (throughput.measure, lateness.measure, idle.measure, mails.measure):
        for row in asyncio.run(measure(quick=quick)):
            table.add_row(*row)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
