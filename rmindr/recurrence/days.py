"""The days of a rule, one after the other: pure calendar, no zones, and never more work than a hundred years of days.

Written here, not taken from dateutil: that looks for the next match up to the year 9999, which for a rule that never matches
is seconds of work that cannot be bounded from outside. The tests hold this against dateutil, rule by rule.
"""

from __future__ import annotations

from calendar import isleap
from collections.abc import Iterator
from dataclasses import replace
from datetime import MAXYEAR, date, datetime, timedelta
from itertools import count
from typing import Final

from rmindr.recurrence.rule import BadRule, Day, Freq, Rule
from rmindr.times import HORIZON

_DAY: Final = timedelta(days=1)
_LENGTHS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def filled(rule: Rule, start: date) -> Rule:
    """The rule with what it leaves open taken from the start: the weekday, the day of the month, the month.

    Raises BadRule where that never comes, as the 30th of February."""
    if rule.by_month_day or rule.by_day or rule.freq is Freq.DAILY:
        return rule
    if rule.freq is Freq.WEEKLY:
        return replace(rule, by_day=(Day(start.weekday()),))
    if rule.freq is Freq.MONTHLY or rule.by_month:
        return replace(rule, by_month_day=(start.day,))
    return replace(rule, by_month=(start.month,), by_month_day=(start.day,))


def first(rule: Rule, start: datetime) -> datetime:
    """The first time of this rule from its start on. Raises BadRule where none comes in a hundred years.

    The start itself is one only where the rule says so."""
    try:
        return next(walls(rule, start))
    except StopIteration:
        if rule.until is not None and rule.until < start:
            raise BadRule("UNTIL", "ends before it begins") from None
        raise BadRule("it", "never comes") from None


def walls(rule: Rule, start: datetime, *, after: datetime | None = None) -> Iterator[datetime]:
    """The times of a rule on the clock, in order, from its start on; with `after`, only those behind it.

    Ends at COUNT, at UNTIL, or a hundred years on."""
    whole = filled(rule, start.date())
    seen = after if after is not None and after > start else start
    last = min(date(MAXYEAR, 1, 1), _plus(seen.date(), HORIZON))
    if rule.until is not None:
        last = min(last, rule.until.date())
    left = rule.count
    for day in _days(whole, start.date(), _step_at(whole, start.date(), seen.date()), last):
        wall = datetime.combine(day, start.time())
        if rule.until is not None and wall > rule.until:
            return
        if after is None or wall > after:
            yield wall
        if left is not None:
            left -= 1
            if left == 0:
                return


def _step_at(rule: Rule, start: date, seen: date) -> int:
    """How many steps may be skipped to come near this day; none where they have to be counted."""
    if rule.count is not None:
        return 0
    passed = {
        Freq.DAILY: (seen - start).days,
        Freq.WEEKLY: (seen - start).days // 7,
        Freq.MONTHLY: (seen.year - start.year) * 12 + seen.month - start.month,
        Freq.YEARLY: seen.year - start.year,
    }[rule.freq]
    return passed // rule.interval


def _days(rule: Rule, start: date, step: int, last: date) -> Iterator[date]:
    for index in count(step):
        begin, length = _period(rule, start, index)
        if begin is None or begin > last:
            return
        days = [day for day in (begin + n * _DAY for n in range(length)) if _matches(rule, day)]
        if rule.by_set_pos:
            days = sorted({days[p - 1 if p > 0 else p] for p in rule.by_set_pos if -len(days) <= p <= len(days)})
        # A set is chosen from its whole month or year, even where that began before the start.
        yield from (day for day in days if day >= start)


def _period(rule: Rule, start: date, index: int) -> tuple[date | None, int]:
    """The first day of the step with this number, and how many days it has; None behind the end of the calendar."""
    steps = index * rule.interval
    if rule.freq is Freq.DAILY:
        return _plus(start, timedelta(days=steps)), 1
    if rule.freq is Freq.WEEKLY:
        monday = start - timedelta(days=(start.weekday() - rule.week_start) % 7)
        return _plus(monday, timedelta(weeks=steps)), 7
    if rule.freq is Freq.MONTHLY:
        years, month = divmod(start.month - 1 + steps, 12)
        year = start.year + years
        return (None, 0) if year >= MAXYEAR else (date(year, month + 1, 1), _month_length(year, month + 1))
    year = start.year + steps
    return (None, 0) if year >= MAXYEAR else (date(year, 1, 1), 366 if isleap(year) else 365)


def _plus(day: date, distance: timedelta) -> date:
    return day + distance if distance < date(MAXYEAR, 12, 1) - day else date(MAXYEAR, 12, 1)


def _month_length(year: int, month: int) -> int:
    return 29 if month == 2 and isleap(year) else _LENGTHS[month - 1]


def _matches(rule: Rule, day: date) -> bool:
    if rule.by_month and day.month not in rule.by_month:
        return False
    if rule.by_month_day:
        length = _month_length(day.year, day.month)
        if day.day not in rule.by_month_day and day.day - length - 1 not in rule.by_month_day:
            return False
    return not rule.by_day or any(_is(wanted, day, rule) for wanted in rule.by_day if wanted.weekday == day.weekday())


def _is(wanted: Day, day: date, rule: Rule) -> bool:
    """Whether a day with the right weekday is also the nth of its month, or of its year where the rule names no month."""
    if not wanted.nth:
        return True
    if rule.freq is Freq.MONTHLY or rule.by_month:
        place, length = day.day, _month_length(day.year, day.month)
    else:
        place, length = day.timetuple().tm_yday, 366 if isleap(day.year) else 365
    return wanted.nth == (place - 1) // 7 + 1 or wanted.nth == -((length - place) // 7 + 1)
