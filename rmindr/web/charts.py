"""Charts as inline SVG: shapes only, in the page's own colours; the words beside them are HTML, so that they stay legible."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from rmindr.queue.history import Moment, Period

_WIDTH: Final = 600
_HEIGHT: Final = 120
# The lateness that a chart may end at, ms, and how it is called: each ten times the one before, as far as that is told.
_DECADES: Final = (
    (1, "1 ms"), (10, "10 ms"), (100, "100 ms"), (1000, "1 s"), (10_000, "10 s"), (100_000, "100 s"), (1_000_000, "17 min"),
    (10_000_000, "3 h"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """How many jobs ended per minute or day: those that succeeded stand up from the line, those that failed hang from it."""

    svg: Markup
    top: int
    bottom: int
    complete: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lateness:
    """How late runs began, on a scale of tens: half of them at most so late (the line), and 99 of 100 (the dashes).

    `marks` are the scale's, from the top."""

    svg: Markup
    marks: Sequence[str]
    median: str
    worst: str


def throughput(history: Sequence[Moment]) -> Throughput:
    """The chart of what ended."""
    top = max((moment.complete for moment in history), default=0)
    bottom = max((moment.failed for moment in history), default=0)
    # Both on one scale; where nothing failed, nothing hangs.
    scale = (_HEIGHT - 2) / max(top + bottom, 1)
    line = top * scale + 1 if top + bottom else _HEIGHT - 1
    step = _WIDTH / max(len(history), 1)
    width = step * 0.72
    up: list[str] = []
    down: list[str] = []
    for at, moment in enumerate(history):
        x = at * step + step * 0.14
        for bars, many, sign in ((up, moment.complete, -1), (down, moment.failed, 1)):
            if many:
                length = max(many * scale, 1.5)
                bars.append(f"M{x:.1f} {line:.1f}v{sign * length:.1f}h{width:.1f}v{-sign * length:.1f}z")
    return Throughput(
        svg=_svg(
            _path("up", "".join(up)),
            _path("down", "".join(down)),
            _path("axis", f"M0 {line:.1f}H{_WIDTH}"),
        ),
        top=top,
        bottom=bottom,
        complete=sum(moment.complete for moment in history),
        failed=sum(moment.failed for moment in history),
    )


def lateness(history: Sequence[Moment]) -> Lateness:
    """The chart of lateness."""
    halves, almost_all = ([moment.late_ms(share) for moment in history] for share in (0.5, 0.99))
    worst = max((late for late in almost_all if late is not None), default=1)
    height = next((at for at, (ms, _) in enumerate(_DECADES) if worst <= ms), len(_DECADES) - 1)
    scale = _DECADES[: max(height, 2) + 1]
    step = _WIDTH / max(len(history), 1)

    def y(late: float) -> float:
        decade = min(math.log10(max(late, 1)), len(scale) - 1)
        return _HEIGHT - 1 - decade / (len(scale) - 1) * (_HEIGHT - 2)

    def steps(lates: Sequence[float | None]) -> str:
        """A level for each moment in which a run began; a gap where none did."""
        drawn, joined = [], False
        for at, late in enumerate(lates):
            if late is not None:
                drawn.append(f"{'L' if joined else 'M'}{at * step:.1f} {y(late):.1f}h{step:.1f}")
            joined = late is not None
        return "".join(drawn)

    whole = _sum(history)
    return Lateness(
        svg=_svg(
            _path("grid", "".join(f"M0 {y(ms):.1f}H{_WIDTH}" for ms, _ in scale)),
            _path("p99", steps(almost_all)),
            _path("p50", steps(halves)),
        ),
        marks=[name for _, name in reversed(scale)],
        median=late_words(whole.late_ms(0.5)),
        worst=late_words(whole.late_ms(0.99)),
    )


def late_words(late: float | None) -> str:
    """A class of lateness: «≤ 20 ms»; a dash where no run began."""
    if late is None:
        return "—"
    if math.isinf(late):
        return "> 1 h"
    units = ((3_600_000, "h"), (60_000, "min"), (1000, "s"), (1, "ms"))
    size, unit = next((size, unit) for size, unit in units if late >= size)
    return f"≤ {late / size:g} {unit}"


def table(history: Sequence[Moment], period: Period) -> list[tuple[str, Moment, str, str]]:
    """What the charts say, for those who do not see them: moments in which something happened, latest first; each with its
    name, and how late half of its runs began, and nearly all."""
    busy = (each for each in reversed(history) if each.created or each.complete or each.failed or any(each.late))
    return [(_name(each, period), each, late_words(each.late_ms(0.5)), late_words(each.late_ms(0.99))) for each in busy]


def from_to(history: Sequence[Moment], period: Period) -> tuple[str, str]:
    """What stands below a chart at its two ends."""
    now = "now" if period == "minute" else "today"
    return _name(history[0], period), now


def _name(moment: Moment, period: Period) -> str:
    return f"{moment.begins:%H:%M}" if period == "minute" else f"{moment.begins:%-d %b}"


def _sum(history: Sequence[Moment]) -> Moment:
    classes = len(history[0].late) if history else 0
    return Moment(
        begins=history[0].begins,
        late=tuple(sum(moment.late[at] for moment in history) for at in range(classes)),
    )


def _path(name: str, drawn: str) -> Markup:
    return Markup('<path class="{}" d="{}"/>').format(name, drawn) if drawn else Markup("")


def _svg(*paths: Markup) -> Markup:
    # Stretched to whatever room there is: lines keep their width (see queue.css).
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" preserveAspectRatio="none" aria-hidden="true" focusable="false">{}</svg>'
    ).format(_WIDTH, _HEIGHT, Markup("").join(paths))
