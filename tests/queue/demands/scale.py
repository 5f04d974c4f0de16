"""How large a demand is tried out: as it was asked for with SCALE=full, else small enough for every day."""

from __future__ import annotations

import os
from typing import Final

FULL: Final = os.environ.get("SCALE") == "full"
# What is waited for in vain for so long is a failure; at full size everything takes longer.
PATIENCE_S: Final = 1800.0 if FULL else 30.0


def so_many(everyday: int, full: int) -> int:
    """So many jobs, rounds, kills …"""
    return full if FULL else everyday
