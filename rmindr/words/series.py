"""What the parts mean together where something repeats: a rule and its start, which is the first occurrence."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Final

from rmindr import times
from rmindr.clocks import settle
from rmindr.recurrence import END_OF_DAY, BadRule, Freq, Rule, describe, months_later, skips
from rmindr.recurrence import Day as ByDay
from rmindr.recurrence.days import walls
from rmindr.recurrence.rule import MOST_TIMES
from rmindr.recurrence.sentences import WORKDAYS
from rmindr.words.hours import DEFAULT, Hour, hour_of
from rmindr.words.once import NO_TIME
from rmindr.words.parts import Date, Day, End, MonthDays, Nth, Offset, Reading, Repeat, Weekdays
from rmindr.words.view import View

_FREQ: Final = {"day": Freq.DAILY, "week": Freq.WEEKLY, "month": Freq.MONTHLY, "year": Freq.YEARLY}
_ONE_DAY_ONLY: Final = "is one day only, and this repeats; for its first day write «starting …»"
# A first time may be today's that has passed, or fall into a gap: the one after these is ahead.
_ENOUGH: Final = 8


def series(view: View, repeat: Repeat) -> Reading:
    """The rule that is meant, and the first time it comes. Raises BadWords."""
    draft = view.draft
    _check(view)
    hour = hour_of(draft, view.language, is_midnight_clear=repeat.unit == "day") or Hour(DEFAULT, note=NO_TIME)
    begin = _begin(view, hour)
    rule = _rule(view, repeat, begin)
    start = _start(view, repeat, rule, datetime.combine(begin or view.clock_now().date(), hour.at))
    rule = _ended(view, rule, start)
    settled, skipped = settle(start, view.zone), skips(rule, start)
    notes = (
        hour.note,
        settled.note,
        _said(view, repeat),
        f"{skipped.sentence} Instead: {skipped.offer}." if skipped else None,
    )
    counted = ", counted from completion" if draft.completion is not None else ""
    return Reading(
        wall=start,
        zone=view.zone,
        at=settled.at,
        is_instant=False,
        rule=rule,
        from_completion=draft.completion is not None,
        sentence=f"{describe(rule, start)}{counted}; first on {times.in_words(settled.at, view.zone)}",
        notes=tuple(note for note in notes if note),
        skips=skipped,
        spans=draft.spans(),
    )


def _check(view: View) -> None:
    draft = view.draft
    if draft.place is not None and view.offset is not None:
        raise view.bad(draft.place, "does not change its clocks with the seasons; name a place, or UTC")
    if draft.weekday is not None:
        raise view.bad(draft.weekday, "is that day in some years only, and this repeats")
    if draft.length is not None:
        raise view.bad(draft.length, "does not go with what repeats; for its first day write «starting …»")
    end = draft.end
    if draft.clock is not None and end is not None and end.day is not None and draft.clock.start > end.start:
        raise view.bad(draft.clock, "is ambiguous: the time of each, or of the last? Write it before «until»")


def _said(view: View, repeat: Repeat) -> str | None:
    """That it repeats, where no word said so."""
    day = view.draft.day
    if not isinstance(day, Nth | MonthDays) or day.of != "the" or (repeat.start, repeat.end) != (day.start, day.end):
        return None
    return "This is every month; for once write «of this month»."


def _begin(view: View, hour: Hour) -> date | None:
    begin = view.draft.begin
    if begin is None:
        return None
    found = view.date_of(begin.day, hour)
    if found < view.clock_now().date():
        raise view.bad(begin, "is in the past")
    return found


# The rule


def _rule(view: View, repeat: Repeat, begin: date | None) -> Rule:
    try:
        return _on_days(view, repeat, begin)
    except BadRule as error:
        raise view.bad(repeat, f"is too rare, or never: it {error}") from None


def _on_days(view: View, repeat: Repeat, begin: date | None) -> Rule:
    """The rule with the days that are named, or with that of the beginning."""
    day = view.draft.day
    rule = Rule(freq=_FREQ[repeat.unit], interval=repeat.interval)
    if isinstance(day, Offset):
        raise view.bad(day, _ONE_DAY_ONLY)
    if repeat.unit == "day":
        if day is not None:
            raise view.bad(day, "does not go with days; write «every week on …», or «every month on …»")
        return rule
    if day is None:
        if begin is None:
            raise view.bad(repeat, f"leaves open on which day; write for instance «{_EXAMPLES[repeat.unit]}»")
        return _like(rule, begin)
    if repeat.unit == "week":
        return _of_week(view, rule, day)
    return _of_month(view, rule, day) if repeat.unit == "month" else _of_year(view, rule, day)


_EXAMPLES: Final = {"week": "every week on monday", "month": "every month on the 1st", "year": "every year on 1 March"}


def _like(rule: Rule, begin: date) -> Rule:
    if rule.freq is Freq.WEEKLY:
        return replace(rule, by_day=(ByDay(begin.weekday()),))
    by_month = (begin.month,) if rule.freq is Freq.YEARLY else ()
    return replace(rule, by_month=by_month, by_month_day=(begin.day,))


def _of_week(view: View, rule: Rule, day: Day) -> Rule:
    if not isinstance(day, Weekdays):
        raise view.bad(day, "does not go with weeks; write «every month on …»")
    if day.which:
        raise view.bad(day, _ONE_DAY_ONLY)
    return replace(rule, by_day=tuple(ByDay(weekday) for weekday in day.days))


def _of_month(view: View, rule: Rule, day: Day) -> Rule:
    if isinstance(day, Weekdays):
        raise view.bad(day, "leaves open which one of the month; write «the first …» or «the last …»")
    if isinstance(day, Date) or (isinstance(day, Nth) and day.month is not None):
        raise view.bad(day, "does not go with months; write «every year on …»")
    if not isinstance(day, MonthDays | Nth) or day.of in ("this", "next"):
        raise view.bad(day, _ONE_DAY_ONLY)
    return replace(rule, by_month_day=day.days) if isinstance(day, MonthDays) else _nth(rule, day)


def _of_year(view: View, rule: Rule, day: Day) -> Rule:
    if isinstance(day, Date | Nth) and day.year is not None:
        raise view.bad(day, "is in one year only; for its first day write «starting …»")
    if isinstance(day, Date):
        return replace(rule, by_month=(day.month,), by_month_day=(day.day,))
    if isinstance(day, Nth) and day.month is not None:
        return _nth(replace(rule, by_month=(day.month,)), day)
    raise view.bad(day, "stops short: of which month? Write for instance «every year on 1 March»")


def _nth(rule: Rule, day: Nth) -> Rule:
    if day.what == "day":
        return replace(rule, by_month_day=day.nths)
    if day.what == "workday":
        return replace(rule, by_day=WORKDAYS, by_set_pos=day.nths)
    return replace(rule, by_day=tuple(ByDay(int(day.what), nth) for nth in day.nths))


# Its start and its end


def _start(view: View, repeat: Repeat, rule: Rule, begin: datetime) -> datetime:
    """The first time from the beginning on that is ahead; from there the interval counts."""
    for wall in islice(walls(replace(rule, interval=1), begin), _ENOUGH):
        if settle(wall, view.zone).at > view.now:
            return wall
    raise view.bad(repeat, "never comes")


def _ended(view: View, rule: Rule, start: datetime) -> Rule:
    end = view.draft.end
    if end is None:
        return rule
    if end.times is not None:
        if end.times > MOST_TIMES:
            raise view.bad(end, f"is more than {MOST_TIMES:,} times")
        return replace(rule, count=end.times)
    last = _last_day(view, end, start)
    if last < start.date():
        raise view.bad(end, f"is before it begins, on {start:%-d %B %Y}")
    return replace(rule, until=datetime.combine(last, END_OF_DAY))


def _last_day(view: View, end: End, start: datetime) -> date:
    """The last day on which it may come: «until friday» includes Friday, and 10 days are today and nine more."""
    if end.day is not None:
        if isinstance(end.day, Date) and end.day.year is None:
            return _next_date(end.day, start.date())
        return view.date_of(end.day, None)
    length = end.length
    if length is None:
        return start.date()
    try:
        there = months_later(start.date(), length.months)
        # A month without that day has ended before it.
        behind = timedelta(days=length.days + (there.day != start.day))
        return there + behind - timedelta(days=1)
    except (OverflowError, ValueError):
        raise view.bad(end, "is beyond the calendar") from None


def _next_date(day: Date, start: date) -> date:
    """A date without a year: the first one that is not before the start."""
    dates = (each for year in range(start.year, start.year + 9) for each in _of(day, year) if each >= start)
    return next(dates)


def _of(day: Date, year: int) -> list[date]:
    try:
        return [date(year, day.month, day.day)]
    except ValueError:
        return []
