"""The web tier in this process, started as a server would start it, with a real Valkey and a real database behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from rmindr.mail.inbox import Inbox
from tests.servers import Valkey
from tests.web.site import Site, serving

Serve = Callable[..., AbstractAsyncContextManager[Site]]


@pytest.fixture
def serve(database_url: str, valkey: Valkey, prefix: str) -> Serve:
    """Serve the application with the settings given, on the test's own database and keyspace."""

    def serve(mails: Inbox | None = None, **settings: Any) -> AbstractAsyncContextManager[Site]:
        given = {"DATABASE_URL": database_url, "REDIS_URL": valkey.url, "queue_prefix": prefix, "access": "open"}
        return serving(mails, **given | settings)

    return serve


@pytest.fixture
async def site(serve: Serve) -> AsyncIterator[Site]:
    """As on loopback: whoever reaches it may do everything."""
    async with serve() as site:
        yield site


@pytest.fixture
async def mails(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path / "inbox")


@pytest.fixture
async def dev(serve: Serve, mails: Inbox) -> AsyncIterator[Site]:
    """As `rmindr dev` serves it, with its inbox."""
    async with serve(mails) as site:
        yield site
