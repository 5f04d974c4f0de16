"""A program that is told things: an HTTPS server that keeps every request it was sent, and answers what it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Received:
    """One request."""

    line: str
    headers: dict[str, str]
    body: bytes = field(repr=False)


def says(status: int, *more: str, body: bytes = b"") -> Answer:
    """An answer of this status."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        head = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}", *more]
        writer.write("\r\n".join([*head, "", ""]).encode() + body)

    return answer


def sends(*pieces: bytes) -> Answer:
    """These bytes, and then nothing more, for ever."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
        await writer.drain()
        await asyncio.Event().wait()

    return answer


class Receiver:
    """The server, on a port of loopback. `answers` come one after the other, the last of them for ever."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.answers: list[Answer] = [says(200)]
        self.received: list[Received] = []
        self.connections = 0
        self.sent = 0
        self._tls = tls
        self._news = asyncio.Condition()
        self._talking: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Receiver:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for each in self._talking:
            each.cancel()
        await asyncio.gather(*self._talking, return_exceptions=True)

    @property
    def port(self) -> int:
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def url(self, path: str = "/hook", host: str = "localhost") -> str:
        return f"https://{host}:{self.port}{path}"

    async def wait_for(self, count: int) -> list[Received]:
        """All that was received, once that is so many."""
        async with asyncio.timeout(30), self._news:
            await self._news.wait_for(lambda: len(self.received) >= count)
        return self.received

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talking.add(task)
        self.connections += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self._answer(reader, writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        self._talking.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *lines = head.rstrip("\r\n").split("\r\n")
        headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        async with self._news:
            self.received.append(Received(line, headers, body))
            self._news.notify_all()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        await answer(writer)
        await writer.drain()
