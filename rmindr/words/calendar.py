"""Which date a day is, seen from today; what may be two dates is refused, and both are named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from rmindr.recurrence import months_later
from rmindr.words.cursor import ambiguous
from rmindr.words.day import last_of_month
from rmindr.words.parts import BadWords, Choice, Date, Day, Length, MonthDays, Nth, Offset, Part, Shifted, Weekdays

_WEEK: Final = timedelta(days=7)
_DAY: Final = timedelta(days=1)


def in_words(day: date) -> str:
    """A date as it is offered, e.g. `27 November 2026`."""
    return f"{day.day} {day:%B %Y}"


@dataclass(frozen=True, slots=True)
class Calendar:
    """A text, seen from one moment: the date and time on the clock that counts, and the time of day that was asked for.

    Without one, nothing is understood as today, because nobody knows whether it has passed."""

    text: str
    now: datetime
    clock: time | None

    @property
    def today(self) -> date:
        """The date on the clock that counts."""
        return self.now.date()

    def date_of(self, day: Day) -> date:
        """The one date that is meant. Raises BadWords."""
        for kind, read in _READERS.items():
            if isinstance(day, kind):
                try:
                    return read(self, day)
                except BadWords:
                    raise
                except (OverflowError, ValueError):
                    raise self.bad(day, "is beyond the calendar, more than 100 years away") from None
        raise AssertionError(day)

    def bad(self, part: Part, why: str, choices: Sequence[Choice] = ()) -> BadWords:
        """BadWords about this part."""
        return BadWords(self.text, part.start, part.end, why, choices)

    def two(self, part: Part, dates: Sequence[date]) -> BadWords:
        """BadWords: this part may be any of these dates."""
        choices = [Choice(in_words(each), f"{each:%A}") for each in dates]
        return self.bad(part, ambiguous(choices), choices)

    def today_or(self, day: Part, later: date) -> date:
        """What is named like today: the next one where its time has passed today, else it may be either."""
        if self.clock is None:
            choice = Choice(in_words(later), f"{later:%A}")
            raise self.bad(day, f"is ambiguous: today, which needs a time of day, or {in_words(later)}", [choice])
        if datetime.combine(self.today, self.clock) <= self.now:
            return later
        raise self.two(day, (self.today, later))


# One reader for each kind of day


def _offset(calendar: Calendar, day: Offset) -> date:
    return calendar.today + day.days * _DAY


def _weekdays(calendar: Calendar, day: Weekdays) -> date:
    if len(day.days) > 1:
        raise calendar.bad(day, "are several days, and this is once; for more write «every …»")
    today, weekday = calendar.today, day.days[0]
    ahead = (weekday - today.weekday()) % 7
    if day.which == "week":
        return today + ahead * _DAY + _WEEK
    if day.which in ("", "coming"):
        return today + ahead * _DAY if ahead else calendar.today_or(day, today + _WEEK)
    # Weeks begin on Monday or on Sunday, as one is used to.
    this_week = {
        today + (weekday - today.weekday()) * _DAY,
        today + ((weekday + 1) % 7 - (today.weekday() + 1) % 7) * _DAY,
    }
    if day.which.startswith("this"):
        dates = {each for each in this_week if each >= today}
        if not dates:
            raise calendar.bad(day, "is in the past")
    else:
        dates = {each + _WEEK for each in this_week}
    if day.which == "next":
        dates.add(today + (ahead or 7) * _DAY)
    if len(dates) > 1:
        raise calendar.two(day, sorted(dates))
    return dates.pop()


def _date(calendar: Calendar, day: Date) -> date:
    if day.year is not None:
        return date(day.year, day.month, day.day)
    found = [each for year in range(calendar.today.year, calendar.today.year + 17) for each in _in_year(day, year)]
    return _next(calendar, day, found)


def _in_year(day: Date, year: int) -> list[date]:
    last = last_of_month(year, day.month)
    return [last.replace(day=day.day)] if day.day <= last.day else []


def _next(calendar: Calendar, day: Day, dates: Sequence[date]) -> date:
    """The first that has not passed. A whole date that is today is today's, where its time has not passed."""
    first, second = [each for each in dates if each >= calendar.today][:2]
    if first != calendar.today:
        return first
    if isinstance(day, MonthDays) or calendar.clock is None or datetime.combine(first, calendar.clock) <= calendar.now:
        return calendar.today_or(day, second)
    return first


def _month_days(calendar: Calendar, day: MonthDays) -> date:
    if len(day.days) > 1:
        raise calendar.bad(day, "are several days, and this is once; for more write «every …»")
    begin = calendar.today.replace(day=1)
    months = {"this": (0,), "next": (1,)}.get(day.of, tuple(range(5)))
    lasts = [last_of_month(each.year, each.month) for each in (months_later(begin, ahead) for ahead in months)]
    dates = [last.replace(day=day.days[0]) for last in lasts if day.days[0] <= last.day]
    if not dates:
        raise calendar.bad(day, "is no such day")
    return dates[0] if day.of in ("this", "next") else _next(calendar, day, dates)


def _nth(calendar: Calendar, day: Nth) -> date:
    if len(day.nths) > 1:
        raise calendar.bad(day, "are several days, and this is once; for more write «every …»")
    if day.month is None:
        begin = months_later(calendar.today.replace(day=1), 1 if day.of == "next" else 0)
        return _only(calendar, day, nth_of(day, begin))
    if day.year is not None:
        return _only(calendar, day, nth_of(day, date(day.year, day.month, 1)))
    begins = [date(calendar.today.year + ahead, day.month, 1) for ahead in range(60)]
    return _next(calendar, day, [found for begin in begins if (found := nth_of(day, begin)) is not None])


def _only(calendar: Calendar, day: Nth, found: date | None) -> date:
    if found is None:
        raise calendar.bad(day, "is no such day")
    return found


def nth_of(day: Nth, begin: date) -> date | None:
    """The nth of the days that are meant in the month that begins there, None where it has not so many."""
    last = last_of_month(begin.year, begin.month).day
    month = [begin.replace(day=number) for number in range(1, last + 1)]
    days = [each for each in month if day.what == "day" or _is(each, day.what)]
    nth = day.nths[0]
    return days[nth - 1 if nth > 0 else nth] if nth <= len(days) else None


def _is(each: date, what: int | str) -> bool:
    return each.weekday() < 5 if what == "workday" else each.weekday() == what


def _shifted(calendar: Calendar, day: Shifted) -> date:
    # A day to count from has no time of its own, so today's name may be either day.
    anchor = Calendar(calendar.text, calendar.now, None).date_of(day.anchor)
    return moved(calendar, day, anchor, day.length, back=day.back)


def moved(calendar: Calendar, part: Part, start: date, length: Length, *, back: bool = False) -> date:
    """The date so many months and days on. Raises BadWords where that month has no such day."""
    sign = -1 if back else 1
    try:
        there = months_later(start, sign * length.months)
        found = there + sign * length.days * _DAY
    except (OverflowError, ValueError):
        raise calendar.bad(part, "is beyond the calendar, more than 100 years away") from None
    if there.day != start.day:
        # The last day of that month, or the first of the next: what «a month after 31 January» is, nobody knows.
        raise calendar.two(part, (there, there + _DAY))
    return found


_READERS: Final[dict[type[Day], Callable[[Calendar, Any], date]]] = {
    Offset: _offset,
    Weekdays: _weekdays,
    Date: _date,
    MonthDays: _month_days,
    Nth: _nth,
    Shifted: _shifted,
}
