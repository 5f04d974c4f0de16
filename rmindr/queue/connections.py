"""Connections to Redis, few and on purpose: redis-py's defaults wait long and send commands twice.

One command connection carries all scripts of a process; a worker adds one that blocks on wake-ups, a listener one that is
subscribed. So a process that only creates holds one connection, a worker at most three.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from rmindr.queue.errors import InvalidJob

# A blocked pop answers after this long even if nothing came: so a dead peer is noticed.
BLOCK: Final = timedelta(seconds=25)
_GRACE_S: Final = 5.0


def connect(url: str, *, patience: timedelta = timedelta(seconds=5)) -> Redis:
    """A client with one connection for commands; each waits at most `patience`, and is sent once.

    A command that timed out may have been carried out all the same; a silent second try, redis-py's default, would run it
    twice. Those who can repeat safely do so themselves."""
    seconds = patience.total_seconds()
    return _client(url, socket_timeout=seconds, socket_connect_timeout=min(seconds, 2.0), timeout=seconds)


def connect_blocking(url: str) -> Redis:
    """A client with one connection for commands that wait up to BLOCK for something to come."""
    return _client(url, socket_timeout=BLOCK.total_seconds() + _GRACE_S, socket_connect_timeout=2.0, timeout=None)


def _client(url: str, *, socket_timeout: float, socket_connect_timeout: float, timeout: float | None) -> Redis:
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=1,
            timeout=timeout,
            socket_timeout=socket_timeout,
            socket_connect_timeout=socket_connect_timeout,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
            # Somebody else's bytes must not break the connection they came through.
            encoding_errors="replace",
        )
    except ValueError as error:
        raise InvalidJob(f"the queue's URL cannot be used: {error}") from error
    return Redis.from_pool(pool)
