"""One connection: to where the primary is at this moment, greeted in one round trip, left when it leads to somebody else."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from typing import Any

import hiredis
from redis import exceptions
from redis.asyncio import Connection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from rmindr.queue.addresses import Host
from rmindr.queue.primaries import Primary


class NotReached(exceptions.ConnectionError):
    """No connection, so nothing was sent. `passes`: it is worth another try soon."""

    def __init__(self, why: str, passes: bool) -> None:
        super().__init__(why)
        self.passes = passes


class Link(AbstractConnection):
    """A connection to the primary, greeted in one round trip; left when it turns out to lead to somebody else."""

    def __init__(self, *, primary: Primary, **options: Any) -> None:
        super().__init__(**options)
        self._primary = primary
        self._to = Host("", 0)
        self._open = False

    @property
    def is_connected(self) -> bool:
        """Whether it can be used; redis-py does not see that a connection was reset while nothing was asked."""
        return self._reader is not None and self._writer is not None and not self._writer.transport.is_closing()

    async def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:
        """Find the primary, connect and greet, all in time. Raises NotReached; or what the server says against us."""
        if self.is_connected:
            return
        await self.disconnect(nowait=True)
        self._open = False
        try:
            async with asyncio.timeout(self.socket_connect_timeout):
                await super().connect_check_health(check_health, retry_socket_connect=False)
        except (RedisError, OSError) as error:
            await self.disconnect(nowait=True)
            self._primary.lost(self._to)
            if isinstance(error, AuthenticationError | ResponseError) and "max number of clients" not in str(error):
                raise
            why = str(error) or f"{self._host_error()} does not answer"
            # Where nobody listens at all, and there is no other place to look, nothing will soon be different.
            raise NotReached(why, passes=self._open or self._primary.moves) from error

    async def disconnect(self, nowait: bool = False, *args: Any, **why: Any) -> None:
        """Close; without farewell where nobody may be there to hear it: TLS would wait for the answer."""
        writer = self._writer
        if nowait and writer is not None:
            writer.transport.abort()
        try:
            await super().disconnect(nowait, *args, **why)
        except exceptions.TimeoutError:
            if writer is not None:
                writer.transport.abort()
        finally:
            self._reader = self._writer = None

    async def _send_packed_command(self, command: Iterable[bytes]) -> None:
        # asyncio fails with an AttributeError where a transport is gone.
        if not self.is_connected:
            raise ConnectionResetError(0, "the connection was reset")
        await super()._send_packed_command(command)

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        """Say hello, who we are, and what we are called: HELLO needs no permission, CLIENT SETNAME would."""
        self._open = True
        self._parser.on_connect(self)  # type: ignore[no-untyped-call]
        hello: list[str | int] = ["HELLO", 3]
        if self.username or self.password:
            hello += ["AUTH", self.username or "default", self.password or ""]
        if self.client_name:
            hello += ["SETNAME", self.client_name]
        await self.send_command(*hello, check_health=False)
        about: Any = await self.read_response()
        role = about.get("role", "") if isinstance(about, dict) else ""
        if not self._primary.suits(role):
            raise exceptions.ConnectionError(f"{self._host_error()} is a {role or 'stranger'} at present")
        if self.db:
            await self.send_command("SELECT", self.db, check_health=False)
            await self.read_response()

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """One answer. Where it says that the primary is elsewhere, the next command goes there."""
        try:
            return await super().read_response(*args, **options)
        except ResponseError as error:
            if (heeded := self.heed(error)) is error:
                raise
            raise heeded from error

    def heed(self, error: Exception) -> Exception:
        """An answer that is an error, as it is to be raised. Where it says that the primary is elsewhere, the next command
        goes there."""
        if isinstance(error, MovedError):
            if not self._primary.follow(Host(error.host or self._to.name, error.port)):
                return ResponseError("this is a node of a cluster: its URL must begin with redis+cluster://")
            self.mark_for_reconnect()  # type: ignore[no-untyped-call]
        elif isinstance(error, ReadOnlyError | ClusterDownError) or "-READONLY " in str(error):
            self._primary.lost(self._to)
            self.mark_for_reconnect()  # type: ignore[no-untyped-call]
        return error

    @property
    def transport(self) -> asyncio.Transport:
        """What carries the bytes of this connection."""
        if self._writer is None:
            raise ConnectionResetError(0, "the connection was reset")
        return self._writer.transport  # type: ignore[return-value]

    def reader(self, more: object) -> Any:
        """What makes answers out of bytes, as redis-py's own does; `more` while one is not complete."""
        return hiredis.Reader(
            protocolError=exceptions.InvalidResponse,
            replyError=self._parser.parse_error,
            encoding=self.encoder.encoding,
            errors=self.encoder.encoding_errors,
            notEnoughData=more,
        )


class TcpLink(Link, Connection):
    """By TCP, with TLS or without."""

    def __init__(self, *, tls: ssl.SSLContext | None, **options: Any) -> None:
        super().__init__(**options)
        self._tls = tls

    async def _connect(self) -> None:
        self._to = await self._primary.find()
        self.host, self.port = self._to
        await super()._connect()  # type: ignore[no-untyped-call]

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {"host": self.host, "port": self.port, **({"ssl": self._tls} if self._tls is not None else {})}


class SocketLink(Link, UnixDomainSocketConnection):
    """By a socket of this machine."""

    async def _connect(self) -> None:
        # redis-py's own greets here, and once more afterwards.
        self._reader, self._writer = await asyncio.open_unix_connection(self.path)
