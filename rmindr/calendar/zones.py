"""A time zone as a calendar file has it: every change of its clocks in the years that are asked for, and what goes on for ever.

Readers that know a zone by its name take its rules from themselves; the others find here what ours say. Where the same change
comes on the same day of every year, that is a rule without an end; what does not fit into one, as Ramadan in Morocco, is
listed up to the last of the years.
"""

from __future__ import annotations

from calendar import monthrange
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import groupby
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rmindr.calendar.lines import clock, component, text
from rmindr.recurrence.rule import WEEKDAYS

# Nowhere do clocks change and change back within less.
_STEP: Final = timedelta(days=14)
# A change must be seen on each day of the month that it can fall on before it is called a rule.
_CYCLE: Final = 28
# Without a 29 February, on which no clocks are changed.
_ANY_YEAR: Final = 2027
_UTC: Final = frozenset({"UTC", "Etc/UTC"})


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a zone's clocks: when, from which offset to which, and what its time is called from then on."""

    at: datetime
    before: timedelta
    after: timedelta
    name: str
    is_summer: bool

    @property
    def onset(self) -> datetime:
        """What the clocks show as they are changed."""
        return self.at.replace(tzinfo=None) + self.before

    @property
    def odd(self) -> tuple[datetime, datetime]:
        """The times on the clock that are jumped over, or shown twice: from, and up to."""
        return min(self.onset, self.onset + self.by), max(self.onset, self.onset + self.by)

    @property
    def by(self) -> timedelta:
        """How far the clocks are set forward; below zero, back."""
        return self.after - self.before


def known(zone: str) -> str:
    """The zone, or UTC in its place: where it is called otherwise, or is gone."""
    if zone in _UTC:
        return "UTC"
    try:
        return ZoneInfo(zone).key
    except (ZoneInfoNotFoundError, ValueError):
        return "UTC"


@lru_cache(maxsize=256)
def changes(zone: str, first: int, last: int) -> tuple[Change, ...]:
    """The changes of a zone's clocks from the beginning of one year to the end of another."""
    place, found = ZoneInfo(zone), []
    end = datetime(last + 1, 1, 1, tzinfo=UTC)
    at = datetime(first, 1, 1, tzinfo=UTC)
    offset = at.astimezone(place).utcoffset()
    while at < end:
        then = min(at + _STEP, end)
        if (changed := then.astimezone(place).utcoffset()) != offset:
            found.append(_between(at, then, place))
        at, offset = then, changed
    return tuple(found)


def _between(early: datetime, late: datetime, place: ZoneInfo) -> Change:
    """The one change between two instants, to the second."""
    before = early.astimezone(place).utcoffset()
    while late - early > timedelta(seconds=1):
        middle = early + (late - early) // 2
        middle -= timedelta(microseconds=middle.microsecond)
        if middle.astimezone(place).utcoffset() == before:
            early = middle
        else:
            late = middle
    return _change(late, before or timedelta(0), place)


def _change(at: datetime, before: timedelta, place: ZoneInfo) -> Change:
    local = at.astimezone(place)
    name = local.tzname() or place.key
    return Change(at, before, local.utcoffset() or timedelta(0), name, (local.dst() or timedelta(0)) > timedelta(0))


@lru_cache(maxsize=256)
def zone_lines(zone: str, first: int, last: int) -> tuple[str, ...]:
    """The lines of this zone's component, right from the beginning of one year to the end of another, and where its clocks
    change by a rule, for ever."""
    place = ZoneInfo(zone)
    start = datetime(first, 1, 1, tzinfo=UTC)
    offset = start.astimezone(place).utcoffset() or timedelta(0)
    # What the clocks showed before the first change.
    lines = [f"TZID:{zone}", *_observance(_change(start, offset, place))]
    alike: dict[tuple[timedelta, timedelta, str, bool], list[Change]] = defaultdict(list)
    for each in changes(zone, first, last):
        alike[each.before, each.after, each.name, each.is_summer].append(each)
    ruled = [_by_rule(group, last) for group in alike.values()]
    if any(group[-1].onset.year == last and not rules for group, (_, rules) in zip(alike.values(), ruled, strict=True)):
        # Rules for some of the changes would go on for ever without the others.
        ruled = [(group, []) for group in alike.values()]
    for listed, rules in ruled:
        if listed:
            dates = ",".join(clock(each.onset) for each in listed[1:])
            lines += _observance(listed[0], *([f"RDATE:{dates}"] if dates else []))
        for begin, rule in rules:
            lines += _observance(begin, f"RRULE:{rule}")
    return tuple(component("VTIMEZONE", lines))


def _observance(change: Change, *more: str) -> Iterator[str]:
    lines = [
        f"DTSTART:{clock(change.onset)}",
        f"TZOFFSETFROM:{_offset(change.before)}",
        f"TZOFFSETTO:{_offset(change.after)}",
        f"TZNAME:{text(change.name)}",
        *more,
    ]
    return component("DAYLIGHT" if change.is_summer else "STANDARD", lines)


def _offset(offset: timedelta) -> str:
    """E.g. `+0100`, `-0330`."""
    seconds = round(abs(offset).total_seconds())
    sign = "-" if offset < timedelta(0) else "+"
    odd = f"{seconds % 60:02}" if seconds % 60 else ""
    return f"{sign}{seconds // 3600:02}{seconds // 60 % 60:02}{odd}"


def _by_rule(group: Sequence[Change], last: int) -> tuple[Sequence[Change], list[tuple[Change, str]]]:
    """Those of these changes that have to be listed; and the rules by which the rest come for ever, each with its first."""
    for since in range(len(group) - _CYCLE + 1):
        rest = group[since:]
        if [each.onset.year for each in rest] == list(range(rest[0].onset.year, last + 1)) and (rules := _rules(rest)):
            return group[:since], rules
    return group, []


def _rules(group: Sequence[Change]) -> list[tuple[Change, str]]:
    """On which weekday of which days it is in all these years, e.g. `BYMONTH=3;BYDAY=-1SU`; nothing where that is no rule."""
    onsets = [each.onset for each in group]
    if len({(each.weekday(), each.time()) for each in onsets}) > 1:
        return []
    weekday = WEEKDAYS[onsets[0].weekday()]
    month_ends = all(each.day + 7 > monthrange(each.year, each.month)[1] for each in onsets)
    if month_ends and len({each.month for each in onsets}) == 1:
        return [(group[0], f"FREQ=YEARLY;BYMONTH={onsets[0].month};BYDAY=-1{weekday}")]
    # Seven days on end, in a year that is any other.
    days = sorted({each.replace(year=_ANY_YEAR).date() for each in onsets})
    if len(days) != 7 or days[-1] - days[0] != timedelta(days=6):
        return []
    return [_in_month(group, month, list(few), weekday) for month, few in groupby(days, key=lambda day: day.month)]


def _in_month(group: Sequence[Change], month: int, days: Sequence[date], weekday: str) -> tuple[Change, str]:
    first = next(each for each in group if each.onset.month == month)
    if len(days) == 7 and days[0].day % 7 == 1:
        return first, f"FREQ=YEARLY;BYMONTH={month};BYDAY={days[0].day // 7 + 1}{weekday}"
    # What begins on a Thursday at 24:00 may begin on the first of the next month.
    among = ",".join(str(day.day) for day in days)
    return first, f"FREQ=YEARLY;BYMONTH={month};BYDAY={weekday};BYMONTHDAY={among}"
