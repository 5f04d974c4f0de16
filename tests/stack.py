"""The whole thing as it runs on dynos: the Procfile's own lines, PostgreSQL or SQLite, Valkey, and a mail server outside."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from tests.processes import Process
from tests.servers import Valkey, free_port
from tests.sink import Sink

ROOT = Path(__file__).parent.parent
_FINAL = {"sent", "failed", "cancelled", "missed", "uncertain"}


def procfile() -> dict[str, list[str]]:
    """The Procfile's lines as commands, run by the interpreter that runs the tests."""
    lines = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines() if line)
    return {
        name: [sys.executable if word == "python" else word for word in shlex.split(line)]
        for name, line in lines.items()
    }


@dataclass
class Stack:
    """One instance: its environment, its processes, and a client of its API."""

    database_url: str
    valkey: Valkey
    sink: Sink
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)

    @property
    def env(self) -> dict[str, str]:
        return {
            "PORT": str(self.port),
            "DATABASE_URL": self.database_url.replace("postgresql+psycopg:", "postgres:"),
            "REDIS_URL": self.valkey.url,
            "SMTP_URL": f"smtp://127.0.0.1:{self.sink.port}",
            "RMINDR_SECRET_KEY": "a-key-for-tests-that-nobody-can-guess",
            "RMINDR_ACCESS": "open",
            "RMINDR_MAIL_FROM": "Reminders <reminders@example.org>",
            **self.settings,
        }

    def process(self, name: str) -> Process:
        """One line of the Procfile."""
        return Process(env=self.env, command=procfile()[name])

    def crashing_worker(self, checkpoint: str) -> Process:
        return self._script("crashing_worker.py", checkpoint)

    def blocking_worker(self, checkpoint: str, seconds: float) -> Process:
        return self._script("blocking_worker.py", checkpoint, str(seconds))

    def _script(self, name: str, *words: str) -> Process:
        script = str(ROOT / "tests" / "faults" / name)
        return Process(env=self.env | {"PYTHONPATH": str(ROOT)}, command=[sys.executable, script, *words])

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=30)

    @asynccontextmanager
    async def web(self) -> AsyncIterator[httpx.AsyncClient]:
        """The web tier, answering; and a client of it."""
        async with self.process("web") as process, self.client() as client:
            await answering(client, process)
            yield client

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Process]:
        """A worker that has begun."""
        async with self.process("worker") as process:
            await process.line("worker started")
            yield process


async def answering(client: httpx.AsyncClient, process: Process) -> None:
    """Wait until the web tier answers: it prints nothing of its own accord, so it is asked."""
    async with asyncio.timeout(30):
        while True:
            try:
                await client.get("/healthz")
                return
            except httpx.TransportError:
                await asyncio.sleep(0.05)


async def post(client: httpx.AsyncClient, to: str, due_at: datetime, **body: Any) -> str:
    """Schedule one by the API; its id."""
    body = {"to": to, "message": f"remember {to}", "due_at": due_at.isoformat(timespec="milliseconds"), **body}
    answer = await client.post("/api/reminders", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def post_many(client: httpx.AsyncClient, count: int, due_at: datetime, *, at_once: int = 20) -> dict[str, str]:
    """Schedule many that are due together: address by id."""
    seats = asyncio.Semaphore(at_once)

    async def one(number: int) -> tuple[str, str]:
        to = f"person{number}@example.org"
        async with seats:
            return await post(client, to, due_at), to

    return dict(await asyncio.gather(*(one(number) for number in range(count))))


async def reminder(client: httpx.AsyncClient, id: str) -> dict[str, Any]:
    answer = await client.get(f"/api/reminders/{id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def until(
    client: httpx.AsyncClient,
    ids: Sequence[str],
    done: Callable[[dict[str, Any]], bool] | None = None,
    *,
    timeout: float = 60,
) -> list[dict[str, Any]]:
    """The reminders, once each of them is done: in a final state, unless told otherwise."""
    done = done or (lambda each: each["status"] in _FINAL)
    found: dict[str, dict[str, Any]] = {}
    deadline = time.monotonic() + timeout
    while missing := [id for id in ids if id not in found]:
        for id in missing:
            each = await reminder(client, id)
            if done(each):
                found[id] = each
        if len(found) < len(ids):
            assert time.monotonic() < deadline, (
                f"{len(ids) - len(found)} not done, e.g. {await reminder(client, missing[0])}"
            )
            await asyncio.sleep(0.1)
    return [found[id] for id in ids]


def soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def rounds(default: int = 1) -> int:
    """How often a fault is repeated: ROUNDS in the environment, for longer runs."""
    return int(os.environ.get("ROUNDS", default))
