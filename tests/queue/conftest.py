"""A wire to listen at, beside the fixtures that all tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from rmindr.queue import Queue
from tests.queue.scenery import Wire
from tests.servers import Valkey


@pytest.fixture
async def wire(valkey: Valkey, queue: Queue) -> AsyncIterator[Wire]:
    """What `queue` publishes, word for word."""
    async with Wire.tap(queue, valkey.direct) as wire:
        yield wire
