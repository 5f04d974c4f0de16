"""The one command connection of a process: lent to one command or pipeline at a time, or shared by many scripts at once.

A script needs nobody to wait for its answer before the next is sent, so while scripts have the connection, their calls fly over
it side by side: a round trip then costs a write, and not redis-py's way through client, pool and streams. Who wants it for
himself waits until those in flight have landed; who comes after him flies after him.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import hiredis
from redis.asyncio import ConnectionPool
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import InvalidResponse
from redis.exceptions import TimeoutError as NoAnswer

from rmindr.queue.links import Link

_MORE: Final = object()


class Lane(asyncio.Protocol):
    """Calls in flight over one link, answered in the order in which they were sent."""

    def __init__(self, pool: LanePool, patience_s: float) -> None:
        self._pool = pool
        self._patience_s = patience_s
        self._link: Link | None = None
        self._transport: Any = None
        self._lender: Any = None
        self._reader: Any = None
        # With the instant when each was sent; and when the oldest is looked at again.
        self._in_flight: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._watch: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """Whether a call can take off at this moment."""
        link: Any = self._link
        return link is not None and link.is_connected and not link.should_reconnect() and not self._pool.is_wanted

    @property
    def in_flight(self) -> int:
        """How many calls have been sent and are not answered yet."""
        return len(self._in_flight)

    def send(self, command: Sequence[Any]) -> asyncio.Future[Any]:
        """Send one command over the open lane; its answer comes, or TimeoutError, or ConnectionError."""
        loop = asyncio.get_running_loop()
        arrival: asyncio.Future[Any] = loop.create_future()
        self._transport.write(_packed(command))
        self._in_flight.append((arrival, loop.time()))
        if self._watch is None:
            self._watch = loop.call_later(self._patience_s, self._look)
        return arrival

    def open(self, link: Link) -> None:
        """Take this link over from redis-py, which goes on with it at `close`."""
        self._link, self._transport = link, link.transport
        self._lender = self._transport.get_protocol()
        self._reader = link.reader(_MORE)
        self._transport.set_protocol(self)

    def close(self) -> None:
        """Give the link back, if nothing is in flight; else it happens when the last call has landed."""
        if self._link is not None and not self._in_flight:
            if not self._transport.is_closing():
                self._transport.set_protocol(self._lender)
            self._link = None
            self._pool.hand_on()

    def _look(self) -> None:
        """A server that is silent for too long answers none of them."""
        self._watch = None
        if not self._in_flight:
            return
        loop = asyncio.get_running_loop()
        left = self._in_flight[0][1] + self._patience_s - loop.time()
        if left > 0:
            self._watch = loop.call_later(left, self._look)
            return
        transport = self._transport
        self._fail(NoAnswer(f"no answer within {self._patience_s:g} s"))
        transport.abort()

    def _fail(self, error: Exception) -> None:
        """None of them will be answered."""
        if self._link is not None:
            self._link.mark_for_reconnect()  # type: ignore[no-untyped-call]
        while self._in_flight:
            _land(self._in_flight.popleft()[0], error)
        self.close()

    # What the transport tells

    def data_received(self, data: bytes) -> None:
        """Answers, or parts of them."""
        self._reader.feed(data)
        try:
            while (answer := self._reader.gets()) is not _MORE:
                if isinstance(answer, hiredis.PushNotification):
                    continue
                if isinstance(answer, Exception) and self._link is not None:
                    answer = self._link.heed(answer)
                _land(self._in_flight.popleft()[0], answer)
        except (InvalidResponse, IndexError) as error:
            transport = self._transport
            self._fail(Disconnected(f"this is no answer: {error}"))
            transport.abort()
            return
        if not self._in_flight and not self.is_open:
            self.close()

    def eof_received(self) -> None:
        """The server has closed the connection."""
        self._lender.eof_received()

    def connection_lost(self, why: Exception | None) -> None:
        """No more answers come."""
        self._lender.connection_lost(why)
        self._fail(Disconnected(f"the connection was closed: {why or 'by the server'}"))

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self._lender.pause_writing()

    def resume_writing(self) -> None:
        """The transport's buffer has room again."""
        self._lender.resume_writing()


class LanePool(ConnectionPool):
    """redis-py's pool, of this one link, with a lane beside the lending."""

    def __init__(self, patience_s: float, **options: Any) -> None:
        super().__init__(max_connections=1, **options)
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._boarding = asyncio.Lock()
        self._lane = Lane(self, patience_s)
        self._available_connections = [self.make_connection()]  # type: ignore[no-untyped-call]

    @property
    def in_flight(self) -> int:
        """How many scripts have been sent and are not answered yet."""
        return self._lane.in_flight

    @property
    def is_wanted(self) -> bool:
        """Whether somebody wants the link for himself."""
        return self._waiting > 0

    def send(self, command: Sequence[Any]) -> asyncio.Future[Any] | None:
        """Send this at once, beside what is in flight; None where that is not possible at this moment."""
        return self._lane.send(command) if self._lane.is_open else None

    async def call(self, command: Sequence[Any]) -> Any:
        """Send this when it is its turn, and answer the answer. Raises what the connection or the server says."""
        async with self._boarding:
            if not self._lane.is_open:
                self._lane.open(await self.get_connection())
            arrival = self._lane.send(command)
        return await arrival

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """Lend the link, connected, to one alone."""
        self._waiting += 1
        try:
            self._lane.close()
            await self._turn.acquire()
        finally:
            self._waiting -= 1
        link = self._available_connections[0]
        try:
            if link.should_reconnect():  # type: ignore[no-untyped-call]
                await link.disconnect()
            await self.ensure_connection(link)
        except BaseException:
            self.hand_on()
            raise
        return link

    async def release(self, connection: Any) -> None:
        """Take the link back."""
        try:
            if connection.should_reconnect():
                await connection.disconnect()
        finally:
            self.hand_on()

    def hand_on(self) -> None:
        """Whoever waits longest is next."""
        self._turn.release()


def _packed(command: Sequence[Any]) -> bytes:
    try:
        packed: bytes = hiredis.pack_command(tuple(command))
    except UnicodeEncodeError:
        # Half a surrogate pair, e.g. in an error's text that somebody has cut off.
        plain: list[Any] = [part.encode(errors="replace") if isinstance(part, str) else part for part in command]
        packed = hiredis.pack_command(tuple(plain))
    return packed


def _land(arrival: asyncio.Future[Any], answer: Any) -> None:
    # Whoever asked may have been cancelled meanwhile.
    if arrival.done():
        return
    if isinstance(answer, Exception):
        arrival.set_exception(answer)
    else:
        arrival.set_result(answer)
