"""A calendar file: its head, the zones by whose clocks its events speak, the events."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from rmindr.calendar.events import Event
from rmindr.calendar.lines import text, written
from rmindr.calendar.zones import zone_lines

TYPE: Final = "text/calendar; charset=utf-8"
CLOSING: Final = b"END:VCALENDAR\r\n"
# What has no end is right for so many years at least; where clocks change by a rule, for ever.
_BEYOND: Final = 40


def opening(name: str, zones: Iterable[str], years: tuple[int, int], *, refresh: timedelta | None = None) -> bytes:
    """The beginning of a file whose events speak by the clocks of these zones, from the first of these years on.

    `refresh`: how often whoever subscribes to it should look again."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//rmindr//reminders//EN", "CALSCALE:GREGORIAN"]
    # The second of each pair is for readers that do not know the first yet.
    lines += [f"NAME:{text(name)}", f"X-WR-CALNAME:{text(name)}"]
    if refresh is not None:
        often = f"PT{round(refresh.total_seconds() / 60)}M"
        lines += [f"REFRESH-INTERVAL;VALUE=DURATION:{often}", f"X-PUBLISHED-TTL:{often}"]
    for zone in sorted(set(zones)):
        # From a year before the first event on: its clocks were set then.
        lines += zone_lines(zone, years[0] - 1, years[1] + _BEYOND)
    return written(lines)


def body(events: Iterable[Event]) -> bytes:
    """These events."""
    return written(line for each in events for line in each.whole)


def document(events: Iterable[Event], name: str, years: tuple[int, int], *, refresh: timedelta | None = None) -> bytes:
    """A whole file of these events."""
    seen = list(events)
    zones = [zone for each in seen for zone in each.zones]
    return opening(name, zones, years, refresh=refresh) + body(seen) + CLOSING
