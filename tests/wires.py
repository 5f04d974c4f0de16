"""A wire to Redis on which everything is counted: round trips, and the commands that were sent."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from types import TracebackType

import hiredis

from tests.redises import reached_by


class CountingWire:
    """Stands between clients and a port of this machine, for the time of an `async with`.

    A round trip begins when something is asked while nothing is unanswered: a pipeline is one, however long it is."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._links: set[asyncio.Task[None]] = set()
        self.round_trips = 0
        self.commands: Counter[str] = Counter()

    async def __aenter__(self) -> CountingWire:
        self._server = await asyncio.start_server(self._link, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for link in self._links:
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    @property
    def url(self) -> str:
        scheme = "redis+cluster" if reached_by() == "cluster" else "redis"
        return f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def clear(self) -> None:
        """Count anew from here."""
        self.round_trips = 0
        self.commands.clear()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        unanswered = 0

        async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter, *, asks: bool) -> None:
            nonlocal unanswered
            parser = hiredis.Reader()
            while data := await source.read(1 << 16):
                parser.feed(data)
                while (message := parser.gets()) is not False:
                    if asks:
                        self.round_trips += unanswered == 0
                        self.commands[message[0].decode().upper()] += 1
                    unanswered += 1 if asks else -1
                target.write(data)
                await target.drain()

        to_server = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            with contextlib.suppress(OSError):
                async with asyncio.TaskGroup() as group:
                    ways = [
                        group.create_task(pass_on(reader, to_server[1], asks=True)),
                        group.create_task(pass_on(to_server[0], writer, asks=False)),
                    ]
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                    for way in ways:
                        way.cancel()
        finally:
            to_server[1].close()
            writer.close()
            self._links.discard(link)
