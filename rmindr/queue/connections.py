"""Connections to Redis, few and on purpose: redis-py's defaults wait long and send commands twice.

One command connection carries all scripts of a process; a worker adds one that blocks on wake-ups, a listener one that is
subscribed. So a process that only creates holds one, a web process that also listens two, a worker three; whether one server,
Sentinels or a cluster stand behind the URL changes nothing in that.

Each connection asks anew where the primary is when it is made, and is given up when a server says that it is not the one (any
more). Where a server has surely done nothing, for a reason that passes, a command is sent again within its patience.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Final, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import TimeoutError as NoAnswer
from redis.maint_notifications import MaintNotificationsConfig

from rmindr.queue.addresses import Address, Host
from rmindr.queue.errors import InvalidJob
from rmindr.queue.lane import LanePool
from rmindr.queue.links import NotReached, SocketLink, TcpLink
from rmindr.queue.primaries import ClusterNode, OneServer, Primary, ServiceLeader

# A blocked pop answers after this long even if nothing came: so a dead peer is noticed.
BLOCK: Final = timedelta(seconds=25)
_GRACE_S: Final = 5.0
# Until a connection is made and greeted; where there are Sentinels, they are asked within it.
_CONNECT_S: Final = 2.0
# So the kernel notices within 5 s that an idle peer is gone, and asks it no command for that; nor does anybody on the way
# take a connection for unused.
_KEEPALIVE: Final = {"TCP_KEEPIDLE": 2, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 2}
_PAUSE_S: Final = 0.01
_LONGEST_PAUSE_S: Final = 0.5
# These have no class of their own; a script's error of Redis 6 holds the server's own behind a dash.
_PASSING: Final = ("BUSY ", "NOREPLICAS ", "READONLY ", "MASTERDOWN ")

T = TypeVar("T")


def connect(url: str, *, name: str | None = None, patience: timedelta = timedelta(seconds=5)) -> Redis:
    """A client with one connection for commands; each has an answer, or has failed, within `patience`.

    A command that timed out may have been carried out all the same; a silent second try, redis-py's default, would run it
    twice. Those who can repeat safely do so themselves. `name` is what operators see in CLIENT LIST. Raises InvalidJob where
    the URL or the name cannot be used."""
    seconds = patience.total_seconds()
    options = _options(url, name, answer_s=seconds, connect_s=min(seconds, _CONNECT_S))
    return _Client(LanePool(seconds, **options), seconds)


def connect_blocking(url: str, *, name: str | None = None) -> Redis:
    """A client with one connection for commands that wait up to BLOCK for something to come."""
    options = _options(url, name, answer_s=BLOCK.total_seconds() + _GRACE_S, connect_s=_CONNECT_S)
    return Redis.from_pool(BlockingConnectionPool(max_connections=1, timeout=None, **options))


def _options(url: str, name: str | None, *, answer_s: float, connect_s: float) -> dict[str, Any]:
    """What a pool must know of its one connection."""
    address = Address.from_url(url)
    if name is not None and not (name and all("!" <= character <= "~" for character in name)):
        raise InvalidJob(f"a connection's name must be a word of plain characters, not {name!r:.60}")
    options: dict[str, Any] = {
        "client_name": name,
        "socket_timeout": answer_s,
        "socket_connect_timeout": connect_s,
        "retry": Retry(NoBackoff(), 0),
        "decode_responses": True,
        # Somebody else's bytes must not break the connection they came through.
        "encoding_errors": "replace",
    }
    tcp: dict[str, Any] = {"tls": address.tls, "socket_keepalive_options": _keepalive_options()}
    return {
        "connection_class": SocketLink if address.kind == "socket" else TcpLink,
        # With these, redis-py no longer looks whether the server has closed a connection before it uses it.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "primary": _primary(address, options | tcp),
        "username": address.username,
        "password": address.password,
        "db": address.db,
        **options,
        **({"path": address.path} if address.kind == "socket" else tcp),
    }


def _primary(address: Address, options: Mapping[str, Any]) -> Primary:
    if address.kind == "cluster":
        return ClusterNode(address.hosts)
    if address.kind != "sentinel":
        return OneServer(address.hosts[0] if address.hosts else Host(address.path, 0))

    async def ask(sentinel: Host) -> Host | None:
        connection: Any = TcpLink(
            primary=OneServer(sentinel),
            username=address.sentinel_username,
            password=address.sentinel_password,
            **options,
        )
        try:
            await connection.connect()
            await connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.service)
            found: Any = await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)
        return Host(found[0], int(found[1])) if found else None

    return ServiceLeader(address.hosts, address.service, ask)


def _keepalive_options() -> Mapping[int, int]:
    return {getattr(socket, name): value for name, value in _KEEPALIVE.items() if hasattr(socket, name)}


class _Client(Redis):
    """Commands that end in time, and are sent again where nothing was done."""

    def __init__(self, pool: LanePool, patience_s: float) -> None:
        super().__init__(connection_pool=pool)
        self.auto_close_connection_pool = True
        self._pool = pool
        self._patience_s = patience_s

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command; scripts fly side by side."""
        if args[0] != "EVALSHA":
            send: Any = super().execute_command
            return await _patiently(self._patience_s, lambda: send(*args, **options))
        began = asyncio.get_running_loop().time()
        if (arrival := self._pool.send(args)) is not None:
            try:
                return await arrival
            except RedisError as error:
                if not _passes(error):
                    raise
        left = began + self._patience_s - asyncio.get_running_loop().time()
        return await _patiently(left, lambda: self._pool.call(args))

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """Commands that travel together."""
        return _Pipeline(self, transaction, self._patience_s)


class _Pipeline(Pipeline):
    """Commands that travel together, and again where none of them was carried out."""

    def __init__(self, client: Redis, transaction: bool, patience_s: float) -> None:
        super().__init__(client.connection_pool, client.response_callbacks, transaction, None)
        self._patience_s = patience_s

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send them all, and answer all answers."""
        commands, send = list(self.command_stack), super().execute

        async def attempt() -> list[Any]:
            self.command_stack = list(commands)
            try:
                answers = await send(raise_on_error=False)
            except BusyLoadingError as error:
                if self.is_transaction:
                    raise
                raise NoAnswer(f"some of this pipeline may have been done: {error}") from error
            if answers and all(isinstance(answer, Exception) and _passes(answer) for answer in answers):
                raise answers[0]
            return answers

        answers = await _patiently(self._patience_s, attempt)
        if raise_on_error:
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        return answers


async def _patiently(seconds: float, attempt: Callable[[], Awaitable[T]]) -> T:
    """One attempt, and more while they fail for a reason that passes; the last failure when the time is over."""
    pause = _PAUSE_S
    last: RedisError = NoAnswer(f"no answer within {seconds:g} s")
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    return await attempt()
                except RedisError as error:
                    if not _passes(error):
                        raise
                    last = error
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))
                pause = min(2 * pause, _LONGEST_PAUSE_S)
    except TimeoutError:
        raise last from None


def _passes(error: Exception) -> bool:
    """Whether nothing was done, for a reason that will soon be over. What is full or forbidden stays so."""
    if isinstance(error, NotReached):
        return error.passes
    if isinstance(error, ReadOnlyError | AskError | TryAgainError | ClusterDownError | BusyLoadingError):
        return True
    text = str(error)
    return isinstance(error, ResponseError) and any(text.startswith(word) or f"-{word}" in text for word in _PASSING)
