"""The worker, but its loop stands still for some seconds the first time that it comes to the checkpoint named."""

import asyncio
import sys
import time

from rmindr import log, worker
from rmindr.settings import Settings


def main(name: str, seconds: float) -> None:
    stood = False

    def checkpoint(reached: str) -> None:
        nonlocal stood
        if reached == name and not stood:
            stood = True
            time.sleep(seconds)

    log.configure()
    asyncio.run(worker.run(Settings.load(), checkpoint=checkpoint))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
