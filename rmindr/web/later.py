"""When «later» is: a few times to choose from, and one that a person picks, on the clock of a reminder's zone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from rmindr import times
from rmindr.errors import InvalidDraft


@dataclass(frozen=True, slots=True)
class Choice:
    """One time to choose: how a form names it, what stands on its button, and the instant."""

    name: str
    label: str
    at: datetime


def choices(clock: datetime, place: ZoneInfo) -> list[Choice]:
    """In ten minutes, in an hour, tomorrow at nine."""
    tomorrow = clock.astimezone(place).date() + timedelta(days=1)
    return [
        Choice("10m", "10 minutes", clock + timedelta(minutes=10)),
        Choice("1h", "1 hour", clock + timedelta(hours=1)),
        Choice("tomorrow", "Tomorrow", _on(datetime.combine(tomorrow, time(9)), place, clock)),
    ]


def chosen(fields: Mapping[str, str], clock: datetime, place: ZoneInfo) -> datetime:
    """The instant that a form says. Raises InvalidDraft."""
    for choice in choices(clock, place):
        if fields.get("in") == choice.name:
            return choice.at
    try:
        written = times.read(f"{fields.get('date', '').strip()}T{fields.get('time', '').strip()}")
        return _on(written.wall, place, clock)
    except times.BadTime as complaint:
        raise InvalidDraft({"when": str(complaint)}) from None


def _on(wall: datetime, place: ZoneInfo, clock: datetime) -> datetime:
    """This time on the clock; of two the first, and of none what comes in its place. Raises BadTime."""
    try:
        return times.instant(times.Written(wall, None), place, fold=0, after=clock)
    except times.Gap as gap:
        return gap.after
