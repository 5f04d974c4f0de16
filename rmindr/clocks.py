"""What a time on a wall clock means under the zone rules of today, which rules those are, and what new ones move."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.resources
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from rmindr import times
from rmindr.times import Gap, Written

# How far the clocks of the world stand apart at most, with room: from UTC−12 to UTC+14, a day lost at the date line.
APART: Final = timedelta(days=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A time on the clock, the instant it names, and what is to be said about it, e.g. that the clocks jump over it."""

    wall: datetime
    at: datetime
    note: str | None = None


def settle(wall: datetime, place: ZoneInfo, *, fold: int = 0) -> Settled:
    """The one instant of this time on the clock of this place; unlike `times.instant` it asks nothing and says what it took.

    In a gap the offset before it counts (RFC 5545, 3.3.5), so 02:30 becomes 03:30; what comes twice is the first, or
    the second with `fold=1`."""
    long_before = (wall - APART).replace(tzinfo=UTC)
    try:
        at = times.instant(Written(wall, None), place, fold=fold, after=long_before)
    except Gap as gap:
        return Settled(wall=wall, at=gap.after.astimezone(UTC), note=f"{wall:%H:%M} {gap}")
    twice = times.folds(wall, place)
    if twice is None:
        return Settled(wall=wall, at=at)
    taken, other = ("first", "second") if fold == 0 else ("second", "first")
    note = (
        f"{wall:%H:%M} comes twice on {wall:%-d %B %Y}: "
        f"the {taken} ({twice[fold]}) is taken, not the {other} ({twice[1 - fold]})"
    )
    return Settled(wall=wall, at=at, note=note)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A stored time whose instant is another one under the zone rules of today."""

    wall: datetime
    place: ZoneInfo
    before: datetime
    after: datetime

    @property
    def by(self) -> timedelta:
        """How much later it is now; below zero where it is earlier."""
        return self.after - self.before

    def __str__(self) -> str:
        """E.g. `moved by 1 hour: 09:00 on 1 July 2027 in Asuncion is now UTC−3`."""
        here = self.after.astimezone(self.place)
        direction = "" if self.by > timedelta(0) else " back"
        return (
            f"moved{direction} by {times.distance_in_words(abs(self.by))}: {self.wall:%H:%M} on {self.wall:%-d %B %Y} "
            f"in {self.place.key.rpartition('/')[2].replace('_', ' ')} is now {times.offset(here)}"
        )


def replan(wall: datetime, place: ZoneInfo, known: datetime, *, fold: int = 0) -> Moved | None:
    """Whether this time on the clock still names the instant that was known for it; None where it does.

    Only for what was meant by the clock: an instant («in 2h», 18:00Z) has no wall time to be true to."""
    at = settle(wall, place, fold=fold).at
    return None if at == known else Moved(wall=wall, place=place, before=known, after=at)


@dataclass(frozen=True, slots=True)
class ZoneRules:
    """Which zone rules are in use, e.g. version `2026f` from the `tzdata` package or from `/usr/share/zoneinfo`."""

    version: str
    source: str


def zone_rules() -> ZoneRules:
    """The rules that `ZoneInfo` reads: the system's where it has any, for Python prefers them, else the package's.

    A system that does not tell its version is known by its content, e.g. `sha256:0d4f9a…`."""
    for folder in map(Path, zoneinfo.TZPATH):
        # Not `UTC`, which a bare image may have alone.
        if (folder / "Europe" / "London").is_file():
            return ZoneRules(_told(folder) or _fingerprint(folder), str(folder))
    try:
        # 2026.6 is what a package can be called; the file says 2026f.
        said = importlib.resources.files("tzdata").joinpath("zoneinfo", "tzdata.zi").read_text("utf-8")
        return ZoneRules(_version_in(said) or importlib.metadata.version("tzdata"), "tzdata")
    except (ModuleNotFoundError, FileNotFoundError):
        return ZoneRules("none", "nowhere")


def _told(folder: Path) -> str | None:
    for name in ("+VERSION", "version", "tzdata.zi"):
        try:
            with (folder / name).open(encoding="utf-8") as file:
                said = file.readline(100)
        except (OSError, UnicodeDecodeError):
            continue
        if version := _version_in(said):
            return version
    return None


def _version_in(text: str) -> str | None:
    version = text.partition("\n")[0].removeprefix("# version ").strip()
    return version if 0 < len(version) <= 20 and " " not in version else None


def _fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in times.zones():
        file = folder / name
        if file.is_file():
            digest.update(name.encode() + b"\0" + file.read_bytes())
    return f"sha256:{digest.hexdigest()[:12]}"
