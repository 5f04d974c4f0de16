"""How long to wait before a job's next attempt; pure functions of what the job says, and of chance where it asks for it.

The formulas and the wire form are Kue's (0.11): `attempts` counts the runs that have ended, the failure just
now included, and without a delay of its own a backoff builds on the job's current delay, which each backoff overwrites.
What Kue does not know – a cap that is exact, jitter – stands beside in the same JSON, where Kue passes it over.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

from rmindr.queue.errors import InvalidJob

# A thousand years: nothing is put off for longer, so that every instant in a job is a date.
LONGEST_WAIT_MS: Final = 1000 * 365 * 86_400_000

# A strategy of one's own: how many runs have ended, the job's current delay → how long to wait.
Strategy = Callable[[int, timedelta | None], timedelta]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """A way of waiting: make one with `same`, `fixed`, `exponential` or `named`."""

    kind: Literal["same", "fixed", "exponential", "named"]
    delay_ms: int | None = None
    max_delay_ms: int | None = None
    cap_ms: int | None = None
    jitter: float = 0.0
    name: str | None = None

    @classmethod
    def same(cls) -> Backoff:
        """The job's current delay again, every time (Kue's `backoff(true)`)."""
        return cls(kind="same")

    @classmethod
    def fixed(cls, delay: timedelta | None = None, *, jitter: float = 0.0) -> Backoff:
        """`delay` before every attempt; the job's own delay where none is given. `jitter` as for `exponential`."""
        return cls(kind="fixed", delay_ms=_positive_ms(delay, "delay"), jitter=_share(jitter))

    @classmethod
    def exponential(
        cls,
        delay: timedelta | None = None,
        *,
        max_delay: timedelta | None = None,
        cap: timedelta | None = None,
        jitter: float = 0.0,
    ) -> Backoff:
        """`delay`/2 · (2ⁿ - 1) before the attempt after the nth failure: 1 s gives 0.5, 1.5, 3.5, 7.5 … s.

        `max_delay` caps as Kue does: at `max_delay` - `delay`/2. `cap` is an exact maximum. `jitter` 0.2 makes of each
        wait one between 80 % and 120 % of it, so that what failed together does not come back together."""
        return cls(
            kind="exponential",
            delay_ms=_positive_ms(delay, "delay"),
            max_delay_ms=_positive_ms(max_delay, "max_delay"),
            cap_ms=_positive_ms(cap, "cap"),
            jitter=_share(jitter),
        )

    @classmethod
    def named(cls, name: str) -> Backoff:
        """As the function says that the working process has under this name (`Queue.strategy`): never code from Redis."""
        if not isinstance(name, str) or not 0 < len(name) <= 100 or not name.isprintable():
            raise InvalidJob(f"backoff: a strategy's name must be 1 to 100 printable characters, not {name!r:.60}")
        return cls(kind="named", name=name)

    def wait_ms(
        self,
        attempts: int,
        current_delay_ms: int | None,
        *,
        chance: Callable[[], float] = random.random,
        strategies: Mapping[str, Strategy] | None = None,
    ) -> int:
        """Milliseconds to wait after the failure that made `attempts`; 0 means at once. `chance` answers 0 … 1.

        A named strategy raises what it raises; one that nobody has under this name waits the current delay again."""
        if self.kind == "named":
            return self._named_wait_ms(attempts, current_delay_ms, strategies or {})
        base = self.delay_ms if self.delay_ms is not None else current_delay_ms
        if base is None:
            return 0
        wait: float = base
        if self.kind == "exponential":
            longest = math.inf if self.max_delay_ms is None else self.max_delay_ms - base / 2
            # 2^62 ms is beyond any date; the bound keeps a long-failing job's exponent a number.
            wait = min(longest, base / 2 * (2.0 ** min(attempts, 62) - 1))
        if self.jitter:
            wait *= 1 + self.jitter * (2 * chance() - 1)
        if self.cap_ms is not None:
            wait = min(wait, self.cap_ms)
        return within_reason(math.floor(wait + 0.5))

    def _named_wait_ms(self, attempts: int, current_delay_ms: int | None, strategies: Mapping[str, Strategy]) -> int:
        strategy = strategies.get(self.name or "")
        if strategy is None:
            return within_reason(current_delay_ms or 0)
        current = timedelta(milliseconds=current_delay_ms) if current_delay_ms is not None else None
        return within_reason(math.ceil(strategy(attempts, current) / timedelta(milliseconds=1)))

    def to_wire(self) -> tuple[tuple[str, str], ...]:
        """The hash's fields: (("backoff", '{"type":"fixed","delay":200}'),). A name goes into a field of our own, since
        Kue would run what it finds in `backoff`."""
        if self.kind == "named":
            return (("strategy", self.name or ""),)
        if self.kind == "same":
            return (("backoff", "true"),)
        wire: dict[str, Any] = {"type": self.kind, "delay": self.delay_ms, "maxDelay": self.max_delay_ms}
        wire |= {"cap": self.cap_ms, "jitter": self.jitter or None}
        given = {name: value for name, value in wire.items() if value is not None}
        return (("backoff", json.dumps(given, separators=(",", ":"))),)

    @classmethod
    def from_wire(cls, text: str | None, strategy: str | None = None) -> Backoff | None:
        """Read the hash's fields `backoff` and `strategy`; None where there is neither. Whatever is not Kue's JSON form
        (`true`, a number, the source text of a JavaScript function) means the current delay again: text from Redis is
        never run."""
        if strategy:
            return cls(kind="named", name=strategy)
        if not text:
            return None
        try:
            wire = json.loads(text)
        except (ValueError, RecursionError):
            return cls.same()
        if not isinstance(wire, Mapping) or wire.get("type") not in ("fixed", "exponential"):
            return cls.same()
        jitter = wire.get("jitter")
        return cls(
            kind=wire["type"],
            delay_ms=_number(wire.get("delay")),
            max_delay_ms=_number(wire.get("maxDelay")),
            cap_ms=_number(wire.get("cap")),
            jitter=float(jitter) if isinstance(jitter, int | float) and 0 <= jitter <= 1 else 0.0,
        )


def within_reason(wait_ms: int) -> int:
    """A wait that is neither less than nothing nor longer than a thousand years."""
    return max(0, min(wait_ms, LONGEST_WAIT_MS))


def _positive_ms(value: timedelta | None, name: str) -> int | None:
    if value is None:
        return None
    if not isinstance(value, timedelta) or not 1 <= value / timedelta(milliseconds=1) <= LONGEST_WAIT_MS:
        raise InvalidJob(f"backoff: {name} must be a duration of 1 ms to 1000 years, not {value!r:.60}")
    return value // timedelta(milliseconds=1)


def _share(jitter: float) -> float:
    if isinstance(jitter, bool) or not isinstance(jitter, int | float) or not 0 <= jitter <= 1:
        raise InvalidJob(f"backoff: jitter must be a number from 0 to 1, not {jitter!r:.60}")
    return float(jitter)


def _number(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 2**53:
        return None
    return int(value)
