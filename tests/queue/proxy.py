"""A wire to Redis that can be cut: at once, or just before the answer to one request; or fall silent without being cut."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from types import TracebackType

from tests.redises import reached_by


class Proxy:
    """Stands between a client and a port of this machine, for the time of an `async with`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._links: set[asyncio.Task[None]] = set()
        self._silent: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._watches: list[tuple[bytes, Callable[[], object], bool]] = []

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._link, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        await self.cut()

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        scheme = "redis+cluster" if reached_by() == "cluster" else "redis"
        return f"{scheme}://127.0.0.1:{self.port}"

    def when(self, request: bytes, do: Callable[[], object]) -> None:
        """Do this when the next request with these bytes in it has passed, before its answer."""
        self._watches.append((request, do, False))

    def lose_answer(self, request: bytes, then: Callable[[], object] = lambda: None) -> None:
        """Cut the connection when the next request with these bytes in it has been carried out; its answer is lost."""
        self._watches.append((request, then, True))

    async def cut(self) -> None:
        """Cut all connections that there are; new ones are let through."""
        links = tuple(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    async def reset(self) -> None:
        """Cut all connections that there are, as one does who knows nothing of them (any more): by RST."""
        for writer in self._clients:
            # Closed with this, TCP says no farewell.
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await self.cut()

    def hush(self) -> None:
        """Let nothing through any more on all connections that there are, which stay open; new ones are as new."""
        self._silent |= self._links

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        self._clients.add(writer)
        lost = asyncio.Event()
        try:
            with contextlib.suppress(OSError):
                to_server = await asyncio.open_connection("127.0.0.1", self._port)
                async with asyncio.TaskGroup() as group:
                    ways = [
                        group.create_task(self._ask(reader, to_server[1], lost, link)),
                        group.create_task(self._answer(to_server[0], writer, lost, link)),
                    ]
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                    for way in ways:
                        way.cancel()
                to_server[1].close()
        except asyncio.CancelledError:
            to_server[1].close()
        finally:
            writer.close()
            self._links.discard(link)
            self._silent.discard(link)
            self._clients.discard(writer)

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: asyncio.Event, link: asyncio.Task[None]
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 20):
                if link in self._silent:
                    continue
                for watch in self._watches:
                    request, do, loses = watch
                    if request in data:
                        self._watches.remove(watch)
                        if loses:
                            lost.set()
                        do()
                        break
                writer.write(data)
                await writer.drain()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: asyncio.Event, link: asyncio.Task[None]
    ) -> None:
        with contextlib.suppress(OSError):
            while (data := await reader.read(1 << 20)) and not lost.is_set():
                if link in self._silent:
                    continue
                writer.write(data)
                await writer.drain()
