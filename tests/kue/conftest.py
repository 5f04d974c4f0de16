"""The original Kue, installed once; a server whose unprefixed locks nobody else takes; and an audit after each test."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from rmindr.queue.audit import audit
from tests import npm
from tests.kue.original import FOLDER, Kue
from tests.servers import Valkey


@pytest.fixture(scope="session")
def installed() -> None:
    """Kue and what it needs in node_modules, exactly as the lock file has it."""
    npm.install(FOLDER, "The tests against Kue")


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    """A server of each module's own: Kue's locks have no prefix, so on a shared one other tests would hold its timers up."""
    server = Valkey()
    server.start()
    yield server
    server.remove()


@pytest.fixture
async def redis(valkey: Valkey) -> AsyncIterator[Redis]:
    """The server as it is, without anybody's manners."""
    async with Redis.from_url(valkey.url, decode_responses=True) as redis:
        yield redis


@pytest.fixture
def explained() -> list[str]:
    """Patterns of the violations that a defect of Kue's leaves behind in this test; it adds them as it provokes them."""
    return []


@pytest.fixture(autouse=True)
async def audited(redis: Redis, prefix: str, explained: list[str]) -> AsyncIterator[None]:
    """When everybody has gone home, the keyspace is in order, but for what Kue's own defects explain."""
    yield
    unexplained = [text for text in await audit(redis, prefix) if not any(re.search(each, text) for each in explained)]
    assert unexplained == []


@pytest.fixture
async def kue(installed: None, audited: None, valkey: Valkey, redis: Redis, prefix: str) -> AsyncIterator[Kue]:
    """A process of Kue on the test's keyspace, listening; its timers start when it is given something to process."""
    # A Kue that was ended between lock and unlock leaves its lock for two seconds.
    await redis.delete("promotion:lock", "activeJobsTTL:lock")
    async with Kue.start(valkey.port, prefix) as kue:
        yield kue
        assert kue.troubles == []
