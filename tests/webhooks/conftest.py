"""What the tests of webhooks stand on: a receiver with a certificate from an authority of these tests, and who trusts it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import pytest
import trustme

from tests.webhooks.receiver import Receiver


@pytest.fixture
async def receiver(server_tls: ssl.SSLContext) -> AsyncIterator[Receiver]:
    async with Receiver(server_tls) as receiver:
        yield receiver


@pytest.fixture(scope="session")
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """A client that trusts that authority, and no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context
