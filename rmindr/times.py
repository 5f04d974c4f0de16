"""A wall-clock time and a zone → the one instant that they name, or a refusal that says which part is wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

HORIZON: Final = timedelta(days=365 * 100)
# RFC 3339 with seconds and offset optional, and what RFC 9557 puts behind it; a comma as ISO 8601 has it is refused like
# everything else.
_WRITTEN: Final = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?"
    r"(?:(Z|z|[+-]\d{2}:\d{2})((?:\[[^\[\]]*\])*))?",
    re.ASCII,
)
_SUFFIX: Final = re.compile(
    r"\[(?P<critical>!?)(?:(?P<zone>[A-Za-z._][A-Za-z0-9._+/-]*)|(?P<offset>[+-]\d{2}:\d{2})"
    r"|(?P<key>[a-z_][a-z0-9_-]*)=(?P<value>[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*))\]",
    re.ASCII,
)
# The calendars in which dates are read here anyway.
_CALENDARS: Final = frozenset({"gregory", "iso8601"})


class BadTime(ValueError):
    """A time that names no instant; the text is a sentence without its subject, e.g. "is in the past"."""


class Gap(BadTime):
    """The clocks jump over this time on that day; `after` is the same distance past the jump."""

    def __init__(self, wall: datetime, zone: ZoneInfo, after: datetime) -> None:
        # Where a place crossed the date line, the jump is a whole day.
        instead = f"{after:%H:%M}" if after.date() == wall.date() else f"{after:%H:%M} on {after:%-d %B %Y}"
        super().__init__(
            f"does not exist: on {wall:%-d %B %Y} the clocks of {_city(zone.key)} jump over {wall:%H:%M}; "
            f"{instead} comes in its place"
        )
        self.after = after


class Overlap(BadTime):
    """The clocks show this time twice on that day; say which."""

    def __init__(self, wall: datetime, zone: ZoneInfo) -> None:
        first, second = (wall.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
        super().__init__(
            f"comes twice: on {wall:%-d %B %Y} the clocks of {_city(zone.key)} are set back; "
            f"choose the first {wall:%H:%M} ({offset(first)}) or the second ({offset(second)})"
        )


@dataclass(frozen=True, slots=True)
class Written:
    """A time as somebody wrote it: on the clock to the millisecond, with an offset or without.

    `beyond` is what rounds a finer fraction up. It is added last: a clock that is set back or forward shows the fraction
    of a second before the change, not the second after. `place` is the zone that it names itself, and `note` a sentence on
    what of it was not followed."""

    wall: datetime
    offset: timedelta | None
    beyond: timedelta = timedelta(0)
    place: ZoneInfo | None = None
    note: str | None = None


def read(text: str) -> Written:
    """Read RFC 3339, e.g. `2026-12-01T09:00:00Z` or `2026-12-01 09:00`; and RFC 9557, e.g.
    `2026-12-01T09:00:00+01:00[Europe/Paris]`. Raises BadTime.

    Fractions beyond a millisecond round up, so that nothing is early. The offset says which instant it is, also where the
    clocks of the zone say something else then; where the zone is critical (`[!Europe/Paris]`) that is refused, and so is
    anything critical that is not known. What is not known and not critical is passed over, as RFC 9557 has it."""
    match = _WRITTEN.fullmatch(text.strip())
    if match is None:
        raise BadTime("must be written like 2026-12-01T09:00:00Z")
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    fraction, offset = (match.group(7) or "").ljust(9, "0"), match.group(8)
    try:
        wall = datetime(year, month, day, hour, minute, second, int(fraction[:3]) * 1000)  # noqa: DTZ001  (no zone)
    except ValueError as error:
        raise BadTime(f"is no date and time: {error}") from None
    beyond = timedelta(milliseconds=1 if fraction[3:].strip("0") else 0)
    written = Written(wall, None if offset is None else _distance(offset), beyond)
    # «Z» and «-00:00» say the instant, and nothing of the clocks anywhere (RFC 9557, 2.2).
    local = written.offset if offset not in (None, "Z", "z", "-00:00") else None
    return _suffixed(written, match.group(9) or "", local)


def _suffixed(written: Written, suffixes: str, local: timedelta | None) -> Written:
    """What a time becomes by what RFC 9557 puts behind it; `local` is the offset of the clocks that it claims."""
    at = 0
    while at < len(suffixes):
        match = _SUFFIX.match(suffixes, at)
        # A zone comes first, and once.
        if match is None or (at > 0 and match["key"] is None):
            raise BadTime("has something behind it that is not as RFC 9557 has it, like [Europe/Paris]")
        critical = match["critical"] == "!"
        if match["key"] is not None:
            if critical and not (match["key"] == "u-ca" and match["value"] in _CALENDARS):
                raise BadTime(f"insists on {match[0][:60]}, which is not known here")
        elif match["offset"] is not None:
            if critical and local != _distance(match["offset"]):
                raise BadTime(f"has two offsets, and insists on {match[0]}")
        else:
            written = _placed(written, match["zone"], local, critical=critical)
        at = match.end()
    return written


def _placed(written: Written, name: str, local: timedelta | None, *, critical: bool) -> Written:
    try:
        place = zone(name)
    except BadTime:
        if critical:
            raise
        return written
    if local is None:
        return replace(written, place=place)
    try:
        clocks = (written.wall - local).replace(tzinfo=UTC).astimezone(place)
    except OverflowError:
        raise BadTime("is beyond the calendar") from None
    if clocks.utcoffset() == local:
        return replace(written, place=place)
    there = f"the clocks of {_city(place.key)} show {clocks:%H:%M} then ({offset(clocks)})"
    if critical:
        raise BadTime(f"contradicts itself: {there}")
    return replace(written, place=place, note=f"The offset decides: {there}.")


def _distance(offset: str) -> timedelta:
    if offset in "Zz":
        return timedelta(0)
    hours, minutes = int(offset[1:3]), int(offset[4:6])
    if hours > 23 or minutes > 59:
        raise BadTime(f"has the offset {offset}, which does not exist")
    distance = timedelta(hours=hours, minutes=minutes)
    return -distance if offset.startswith("-") else distance


def zone(name: str) -> ZoneInfo:
    """The zone of this IANA name, old aliases included. Raises BadTime."""
    if name not in _zones():
        shown = "".join(character if character.isprintable() else "�" for character in name[:60])
        raise BadTime(f"is «{shown}», which is no time zone; write one like Europe/Paris or UTC")
    return ZoneInfo(name)


def zones() -> list[str]:
    """The zones to choose from: area/city names and UTC, sorted."""
    return sorted(
        name for name in _zones() if ("/" in name and not name.startswith(("Etc/", "SystemV/", "US/"))) or name == "UTC"
    )


def instant(written: Written, place: ZoneInfo, *, fold: int | None = None, after: datetime) -> datetime:
    """The one instant that is meant, aware UTC. Raises Gap, Overlap, or BadTime where it is not after `after`."""
    try:
        found = _instant(written, place, fold) + written.beyond
    except OverflowError:
        raise BadTime("is beyond the calendar") from None
    if found <= after:
        raise BadTime("is in the past")
    if found - after > HORIZON:
        raise BadTime("is more than 100 years away")
    return found


def _instant(written: Written, place: ZoneInfo, fold: int | None) -> datetime:
    if written.offset is not None:
        return (written.wall - written.offset).replace(tzinfo=UTC)
    first, second = (written.wall.replace(tzinfo=place, fold=fold) for fold in (0, 1))
    if first.utcoffset() == second.utcoffset():
        return first.astimezone(UTC)
    # In a gap no instant reads so on that clock: there and back gives another time (RFC 5545, 3.3.5).
    there_and_back = first.astimezone(UTC).astimezone(place)
    if there_and_back.replace(tzinfo=None) != written.wall:
        raise Gap(written.wall, place, there_and_back)
    if fold is None:
        raise Overlap(written.wall, place)
    return (first, second)[fold].astimezone(UTC)


def folds(wall: datetime, place: ZoneInfo) -> tuple[str, str] | None:
    """The two readings of a wall time that the clocks show twice, e.g. ("UTC+2", "UTC+1"); None where it comes once."""
    first, second = (wall.replace(tzinfo=place, fold=fold) for fold in (0, 1))
    if (first.utcoffset() or timedelta(0)) <= (second.utcoffset() or timedelta(0)):
        return None
    return offset(first), offset(second)


def offset(moment: datetime) -> str:
    """How far this aware time's clock is from UTC, e.g. `UTC+5:30`, `UTC−5`, `UTC`; with seconds before there were zones."""
    distance = moment.utcoffset() or timedelta(0)
    minutes, seconds = divmod(int(abs(distance).total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    if not distance:
        return "UTC"
    parts = f":{minutes:02d}:{seconds:02d}" if seconds else f":{minutes:02d}" if minutes else ""
    return f"UTC{'+' if distance > timedelta(0) else '−'}{hours}{parts}"


def in_words(moment: datetime, place: ZoneInfo) -> str:
    """A moment for people, e.g. `Friday 4 December 2026 at 09:00 in New York (UTC−5)`; seconds where there are some."""
    local = moment.astimezone(place)
    clock = f"{local:%H:%M:%S}" if local.second or local.microsecond else f"{local:%H:%M}"
    where = "" if place.key == "UTC" else f" in {_city(place.key)}"
    return f"{local:%A} {local.day} {local:%B} {local.year} at {clock}{where} ({offset(local)})"


def distance_in_words(span: timedelta) -> str:
    """How far off, in the largest one or two units, e.g. `2 hours 5 minutes`, `6 days`, `20 seconds`."""
    seconds = max(0, round(span.total_seconds()))
    parts = []
    for unit, size in (("year", 365 * 86400), ("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count:,} {unit}{'s' if count != 1 else ''}")
        if len(parts) == 2 or (parts and unit == "day"):
            break
    return " ".join(parts) or "0 seconds"


def _city(key: str) -> str:
    return key.rpartition("/")[2].replace("_", " ")


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    # `localtime` is whatever the machine says, and `posix`, `right` are folders of some systems: none of them a place.
    return frozenset(
        name
        for name in available_timezones()
        if not name.startswith(("posix/", "right/")) and name not in ("localtime", "Factory")
    )
