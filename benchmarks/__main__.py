"""Run every measurement and print one table; `--quick` for a short run that only shows that they work; or only those named."""

from __future__ import annotations

import argparse
import asyncio
import sys
import traceback

from rich.console import Console
from rich.table import Table

from benchmarks import costs, idle, lateness, mails, throughput
from benchmarks.processes import install

_ALL = {"throughput": throughput, "lateness": lateness, "costs": costs, "idle": idle, "mails": mails}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few jobs, one round: for correctness, not for figures")
    parser.add_argument("only", nargs="*", metavar="WHAT", help=f"of {', '.join(_ALL)}")
    wish = parser.parse_args()
    missing = install()
    table = Table(
        title="rmindr, measured now",
        caption="min / median / max of the rounds; see README.md"
        + (f"\nbee-queue is not installed here: {missing}" if missing else ""),
    )
    for column in ("what", "here", "beside, in the same run", "here ÷ beside", "goal"):
        table.add_column(column)
    failed = False
    for name, module in _ALL.items():
        if not wish.only or name in wish.only:
            try:
                rows = asyncio.run(module.measure(quick=wish.quick))
            except Exception:  # the other measurements are worth their minutes all the same
                traceback.print_exc()
                rows, failed = [(name, "failed: see above", "", "")], True
            for row in rows:
                table.add_row(*row)
    Console(width=180).print(table)
    sys.exit(failed)


if __name__ == "__main__":
    main()
