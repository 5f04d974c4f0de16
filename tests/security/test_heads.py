"""Clients that never finish what they say: they are cut off, hold no memory, and keep nobody else out."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from rmindr.web.heads import PatientProtocol
from tests.processes import Process
from tests.queue.scenery import until
from tests.servers import Valkey, free_port
from tests.stack import answering

MIB = 1024 * 1024


class Hasty(PatientProtocol):
    """As it is, but for people who cannot wait."""

    patience_s = 0.5


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"hi"})


@asynccontextmanager
async def serving(protocol: type[PatientProtocol]) -> AsyncIterator[int]:
    """A server on loopback; its port."""
    port = free_port()
    config = uvicorn.Config(hello, port=port, http=protocol, lifespan="off", log_config=None, timeout_keep_alive=60)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server._serve())
    await until(lambda: server.started)
    try:
        yield port
    finally:
        server.should_exit = True
        await running


@pytest.mark.parametrize(
    "said",
    [b"", b"G", b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT"],
    ids=["nothing", "a letter", "half a head", "half of the second"],
)
async def test_who_does_not_finish_a_head_is_cut_off(said: bytes) -> None:
    """S28, E11."""
    async with serving(Hasty) as port, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        heard = await reader.read()
        writer.close()

    assert heard.count(b"HTTP/1.1 200 ") == said.count(b"\r\n\r\n")
    assert heard.count(b"HTTP/1.1 408 ") == 1


async def test_who_has_said_all_may_stay_for_the_next() -> None:
    async with serving(Hasty) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = await reader.readuntil(b"hi")
            assert answer.startswith(b"HTTP/1.1 200 ")
            # For longer than an unfinished one would have been waited for.
            await asyncio.sleep(1.5 * Hasty.patience_s)
        writer.close()

        assert (await client.post("/", content=b"x" * MIB)).text == "hi"


async def test_many_who_say_nothing_keep_nobody_out_and_leave_nothing_behind() -> None:
    """S28: a hundred of them."""
    async with serving(Hasty) as port, asyncio.timeout(20):
        before = len(list(Path("/proc/self/fd").iterdir()))
        stuck = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            answer = await client.get("/")

        for reader, writer in stuck:
            await reader.read()
            writer.close()
        await until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before)

    assert answer.text == "hi"


async def test_a_head_that_never_ends_is_refused_and_never_held(
    sqlite_template: Path, valkey: Valkey, prefix: str
) -> None:
    """E11, S25: by the Procfile's web tier, half a gigabyte of it."""
    port = free_port()
    env = {"PORT": str(port), "DATABASE_URL": f"sqlite:///{sqlite_template}", "REDIS_URL": valkey.url,
           "RMINDR_QUEUE_PREFIX": prefix, "RMINDR_ACCESS": "open"}  # fmt: skip
    async with Process("web", env=env) as web, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        await answering(client, web)
        before = memory_kib(web)
        for piece in (b"x" * 65536, b"X: y\r\n" * 10_000):
            answer, sent = await pour(port, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ", piece)

            assert answer.startswith(b"HTTP/1.1 431 ")
            assert sent < 16 * MIB
        assert memory_kib(web) - before < 16 * 1024
        assert (await client.get("/livez")).status_code == 200


def memory_kib(process: Process) -> int:
    return int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(process.pid)]))


async def pour(port: int, beginning: bytes, piece: bytes) -> tuple[bytes, int]:
    """Say this, and then the piece again and again, until the server has had enough: its answer, and how much it took."""
    sent = 0
    async with asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answer = asyncio.create_task(reader.read(1000))
        writer.write(beginning)
        with contextlib.suppress(ConnectionError):
            while sent < 512 * MIB and not answer.done():
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
                sent += len(piece)
        try:
            return await answer, sent
        finally:
            writer.transport.abort()
