"""When a form says: in words, or by a date and a time; never by both."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from rmindr import times, words
from rmindr.clocks import settle
from rmindr.errors import InvalidDraft

# What the form says of a time that does not exist: what comes in its place will do.
GAP: Final = "gap"
# What a form that says a time in the past may say instead.
NOW: Final = "now"
TOMORROW: Final = "tomorrow"


def time_of(fields: Mapping[str, str]) -> str:
    """The words where there are some, else date and time. Raises InvalidDraft where both were written, and differ."""
    said, wall = fields["when"].strip(), wall_of(fields)
    if not said:
        return wall
    if wall not in ("", fields["offered"]) and wall != _read(said, zone_of(fields)):
        raise InvalidDraft({"when": "is said twice, in words and by date and time: empty the words, or the date"})
    return said


def wall_of(fields: Mapping[str, str]) -> str:
    """Date and time together, e.g. `2026-12-01T09:00`; empty where one is."""
    date, clock = fields["date"].strip(), fields["time"].strip()
    return f"{date}T{clock}" if date and clock else ""


def zone_of(fields: Mapping[str, str]) -> str:
    """The zone's name, which may have been written with spaces."""
    return fields["time_zone"].strip().replace(" ", "_") or "UTC"


def fold_of(fields: Mapping[str, str]) -> int | None:
    """Which of two was chosen, or that what comes in place of none will do; a choice about another time is none."""
    at = _wall(fields)
    if at is not None and _instead(*at) is not None:
        return 0 if fields["fold"] == GAP else None
    return int(fields["fold"]) if fields["fold"] in ("0", "1") else None


def folds_of(fields: Mapping[str, str]) -> tuple[str, ...] | None:
    """What there is to choose: two readings of a time that comes twice, one for a time that does not exist; else None."""
    at = _wall(fields)
    if at is None:
        return None
    instead = _instead(*at)
    return times.folds(*at) if instead is None else (instead,)


def offers_of(fields: Mapping[str, str]) -> dict[str, str]:
    """What may be meant by a time that has passed, with words for the buttons: now; or this time on the clock, tomorrow."""
    found = _wall({**fields, "when": ""})
    if fields["when"].strip() or found is None:
        return {NOW: "Send it now"}
    return {NOW: "Send it now", TOMORROW: f"Tomorrow at {found[0]:%H:%M}"}


def rather(fields: Mapping[str, str]) -> dict[str, str]:
    """The fields with the time that was chosen in place of one in the past."""
    match fields["rather"]:
        case "now":
            # It must be a time to come still when it is stored.
            said = {"when": "in 2 seconds", "date": "", "time": ""}
        case "tomorrow" if (found := _wall({**fields, "when": ""})) is not None:
            day = datetime.now(found[1]).date() + timedelta(days=1)
            said = {"when": "", "date": day.isoformat()}
        case _:
            said = {}
    return {**fields, **said, "rather": ""}


def _wall(fields: Mapping[str, str]) -> tuple[datetime, ZoneInfo] | None:
    """The one time on a clock that the form says, and where; None where it says none, or something else."""
    with contextlib.suppress(times.BadTime, OverflowError):
        place = times.zone(zone_of(fields))
        if not (said := fields["when"].strip()):
            return times.read(wall_of(fields)).wall, place
        reading = words.read(said, now=datetime.now(UTC), zone=place)
        if reading.rule is None and not reading.is_instant:
            return reading.wall, reading.zone
    return None


def _instead(wall: datetime, place: ZoneInfo) -> str | None:
    """What comes in place of a time that the clocks jump over, e.g. `03:30`; None where it exists."""
    with contextlib.suppress(OverflowError, times.BadTime):
        local = settle(wall, place).at.astimezone(place)
        if local.replace(tzinfo=None) != wall:
            return f"{local:%H:%M}" if local.date() == wall.date() else f"{local:%H:%M} on {local:%-d %B %Y}"
    return None


def _read(said: str, zone: str) -> str:
    """These words as date and time; empty where they say none."""
    with contextlib.suppress(times.BadTime):
        reading = words.read(said, now=datetime.now(UTC), zone=times.zone(zone))
        return f"{reading.at.astimezone(times.zone(zone)):%Y-%m-%dT%H:%M}"
    return ""
