"""The worker, but it kills itself with SIGKILL the first time it comes to the checkpoint named by its only argument."""

import asyncio
import os
import signal
import sys

from rmindr import log, worker
from rmindr.settings import Settings


def main(name: str) -> None:
    def checkpoint(reached: str) -> None:
        if reached == name:
            os.kill(os.getpid(), signal.SIGKILL)

    log.configure()
    asyncio.run(worker.run(Settings.load(), checkpoint=checkpoint))


if __name__ == "__main__":
    main(sys.argv[1])
