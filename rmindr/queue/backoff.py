"""How long to wait before a job's next attempt; pure functions of what the job says.

The formulas and the wire form are Kue's (0.11): `attempts` counts the runs that have ended, the failure just
now included, and without a delay of its own a backoff builds on the job's current delay, which each backoff overwrites.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

from rmindr.queue.errors import InvalidJob

# A thousand years: nothing is put off for longer, so that every instant in a job is a date.
LONGEST_WAIT_MS: Final = 1000 * 365 * 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """A way of waiting: make one with `same`, `fixed` or `exponential`."""

    kind: Literal["same", "fixed", "exponential"]
    delay_ms: int | None = None
    max_delay_ms: int | None = None

    @classmethod
    def same(cls) -> Backoff:
        """The job's current delay again, every time (Kue's `backoff(true)`)."""
        return cls(kind="same")

    @classmethod
    def fixed(cls, delay: timedelta | None = None) -> Backoff:
        """`delay` before every attempt; the job's own delay where none is given."""
        return cls(kind="fixed", delay_ms=_positive_ms(delay, "delay"))

    @classmethod
    def exponential(cls, delay: timedelta | None = None, *, max_delay: timedelta | None = None) -> Backoff:
        """`delay`/2 · (2ⁿ - 1) before the attempt after the nth failure: 1 s gives 0.5, 1.5, 3.5, 7.5 … s.

        `max_delay` caps as Kue does: at `max_delay` - `delay`/2."""
        return cls(
            kind="exponential", delay_ms=_positive_ms(delay, "delay"), max_delay_ms=_positive_ms(max_delay, "max_delay")
        )

    def wait_ms(self, attempts: int, current_delay_ms: int | None) -> int:
        """Milliseconds to wait after the failure that made `attempts`; 0 means at once."""
        base = self.delay_ms if self.delay_ms is not None else current_delay_ms
        if base is None:
            return 0
        wait: float = base
        if self.kind == "exponential":
            longest = math.inf if self.max_delay_ms is None else self.max_delay_ms - base / 2
            # 2^62 ms is beyond any date; the bound keeps a long-failing job's exponent a number.
            wait = min(longest, base / 2 * (2.0 ** min(attempts, 62) - 1))
        return within_reason(math.floor(wait + 0.5))

    def to_wire(self) -> str:
        """The text of the hash field `backoff`, e.g. `{"type":"fixed","delay":200}`, or `true`."""
        if self.kind == "same":
            return "true"
        wire: dict[str, Any] = {"type": self.kind}
        if self.delay_ms is not None:
            wire["delay"] = self.delay_ms
        if self.max_delay_ms is not None:
            wire["maxDelay"] = self.max_delay_ms
        return json.dumps(wire, separators=(",", ":"))

    @classmethod
    def from_wire(cls, text: str) -> Backoff:
        """Read the hash field. Whatever is not Kue's JSON form (`true`, a number, the source text of a JavaScript
        function) means the current delay again: text from Redis is never run."""
        try:
            wire = json.loads(text)
        except (ValueError, RecursionError):
            return cls.same()
        if not isinstance(wire, Mapping) or wire.get("type") not in ("fixed", "exponential"):
            return cls.same()
        return cls(kind=wire["type"], delay_ms=_number(wire.get("delay")), max_delay_ms=_number(wire.get("maxDelay")))


def within_reason(wait_ms: int) -> int:
    """A wait that is neither less than nothing nor longer than a thousand years."""
    return max(0, min(wait_ms, LONGEST_WAIT_MS))


def _positive_ms(value: timedelta | None, name: str) -> int | None:
    if value is None:
        return None
    if not isinstance(value, timedelta) or not 1 <= value / timedelta(milliseconds=1) <= LONGEST_WAIT_MS:
        raise InvalidJob(f"backoff: {name} must be a duration of 1 ms to 1000 years, not {value!r:.60}")
    return value // timedelta(milliseconds=1)


def _number(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 2**53:
        return None
    return int(value)
