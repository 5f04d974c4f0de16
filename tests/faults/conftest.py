"""A whole instance with shrunken timings: leases of three seconds, an ambiguous ending asked about after a few more."""

from __future__ import annotations

import pytest

from tests.servers import Valkey
from tests.sink import Sink
from tests.stack import Stack

SHRUNK = {"RMINDR_TIMING_SCALE": "0.05", "RMINDR_AMBIGUOUS_WAIT": "40"}


@pytest.fixture
def stack(database_url: str, own_valkey: Valkey, sink: Sink) -> Stack:
    return Stack(database_url, own_valkey, sink, dict(SHRUNK))
