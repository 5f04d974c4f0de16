"""Processes of rmindr for tests: the real commands, with an environment of their own, read line by line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

# Nothing of the machine's own may leak into what is tested.
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE")


class Process:
    """One child process; `line` waits for what it prints."""

    def __init__(
        self,
        *arguments: str,
        env: Mapping[str, str],
        command: Sequence[str] = (sys.executable, "-m", "rmindr"),
        folder: Path | None = None,
    ) -> None:
        self._command = [*command, *arguments]
        self._folder = folder
        self._env = (
            {name: os.environ[name] for name in _KEPT if name in os.environ} | {"PYTHONUNBUFFERED": "1"} | dict(env)
        )
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._printed = asyncio.Condition()
        self.lines: list[str] = []

    async def __aenter__(self) -> Process:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(f"--- {' '.join(self._command[1:])}", *self.lines[-60:], sep="\n")
        await self.kill()

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._env,
            cwd=self._folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._reading = asyncio.create_task(self._read())

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def line(self, pattern: str, *, timeout: float = 30.0, after: int = 0) -> re.Match[str]:
        """The first line that matches, printed or yet to be; looks at lines from number `after` on."""
        async with asyncio.timeout(timeout), self._printed:
            while True:
                for text in self.lines[after:]:
                    if match := re.search(pattern, text):
                        return match
                after = len(self.lines)
                await self._printed.wait()

    async def terminate(self, timeout: float = 30.0) -> int:
        """SIGTERM, and its exit status."""
        self.send(signal.SIGTERM)
        return await self.ended(timeout)

    async def ended(self, timeout: float = 30.0) -> int:
        assert self._process is not None
        async with asyncio.timeout(timeout):
            status = await self._process.wait()
        if self._reading is not None:
            await self._reading
        return status

    async def kill(self) -> None:
        if self._process is None:
            return
        if self._process.returncode is None:
            self.send(signal.SIGKILL)
            await self._process.wait()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def send(self, number: int) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            async with self._printed:
                self.lines.append(line.decode(errors="replace").rstrip("\n"))
                self._printed.notify_all()
