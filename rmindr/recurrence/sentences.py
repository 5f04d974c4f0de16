"""Rules in words, the rules that people mostly want, and what is to be said about days that not every month has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Final

from rmindr.recurrence.days import filled
from rmindr.recurrence.rule import END_OF_DAY, Day, Freq, Rule

_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_NTH: Final = ("first", "second", "third", "fourth", "fifth")
_UNITS: Final = {Freq.DAILY: "day", Freq.WEEKLY: "week", Freq.MONTHLY: "month", Freq.YEARLY: "year"}
WORKDAYS: Final = tuple(Day(weekday) for weekday in range(5))


def describe(rule: Rule, start: datetime) -> str:
    """The rule as a sentence without its subject, e.g. `every weekday at 08:00, until 1 May 2027`."""
    whole = filled(rule, start.date())
    clock = f"{start:%H:%M:%S}" if start.second else f"{start:%H:%M}"
    return f"{_how_often(whole)} at {clock}{_end(whole)}"


def _how_often(rule: Rule) -> str:
    unit = _UNITS[rule.freq]
    every = f"every {unit}" if rule.interval == 1 else f"every {rule.interval} {unit}s"
    plain = not (rule.by_set_pos or rule.by_month_day or any(day.nth for day in rule.by_day))
    if rule.freq is Freq.WEEKLY and rule.interval == 1 and plain:
        days = "weekday" if rule.by_day == WORKDAYS else _listed(_DAYS[day.weekday] for day in rule.by_day)
        return f"every {days}{_in_months(rule)}"
    if rule.freq is Freq.YEARLY and rule.by_month and not rule.by_set_pos:
        return f"{every} on {_in_year(rule)}"
    chosen = _chosen(rule)
    return every + (f" on {chosen}" if chosen else "") + _in_months(rule)


def _in_year(rule: Rule) -> str:
    months = _listed(_MONTHS[month - 1] for month in rule.by_month)
    if not rule.by_day and all(day > 0 for day in rule.by_month_day):
        return f"{_listed(str(day) for day in rule.by_month_day)} {months}"
    return f"{_chosen(rule)} of {months}"


def _in_months(rule: Rule) -> str:
    return f" in {_listed(_MONTHS[month - 1] for month in rule.by_month)}" if rule.by_month else ""


def _chosen(rule: Rule) -> str:
    """Which days of a week, month or year, e.g. `the 1st and 15th`, `the last Friday`, `Monday`."""
    if len(rule.by_set_pos) == 1 and rule.by_day == WORKDAYS and not rule.by_month_day:
        return f"the {_ordinal(rule.by_set_pos[0])} weekday"
    if rule.by_month_day:
        days = _month_days(rule.by_month_day)
        days += f" where that is {_weekdays(rule.by_day, 'a ')}" if rule.by_day else ""
    else:
        # Several a month, where a month or a year is what is counted.
        days = _weekdays(rule.by_day, "" if rule.freq is Freq.WEEKLY or rule.by_set_pos else "every ")
    if rule.by_set_pos:
        days = f"{days or 'these days'}, but only the {_listed(_ordinal(place) for place in rule.by_set_pos)} of them"
    return days


def _weekdays(days: tuple[Day, ...], each: str) -> str:
    if days == WORKDAYS:
        return f"{each}weekday"
    parts = [f"{each}{_DAYS[day.weekday]}" for day in days if not day.nth]
    for weekday, group in groupby((day for day in days if day.nth), key=lambda day: day.weekday):
        # 1, 2, … before …, -2, -1: in the order of the month.
        nths = sorted((day.nth for day in group), key=lambda nth: (nth < 0, nth))
        parts.append(f"the {_listed(map(_ordinal, nths))} {_DAYS[weekday]}")
    return _listed(parts)


def _month_days(days: tuple[int, ...]) -> str:
    ahead = [_numeral(day) for day in days if day > 0]
    back = [f"the {_ordinal(day)} day" for day in reversed(days) if day < 0]
    return _listed(([f"the {_listed(ahead)}"] if ahead else []) + back)


def _end(rule: Rule) -> str:
    if rule.count is not None:
        return f", {rule.count:,} times" if rule.count != 1 else ", once"
    if rule.until is None:
        return ""
    clock = "" if rule.until.time() == END_OF_DAY else f" at {rule.until:%H:%M}"
    return f", until {rule.until:%-d %B %Y}{clock}"


def _ordinal(number: int) -> str:
    """E.g. `first`, `last`, `second last`, `12th`."""
    if number == -1:
        return "last"
    word = _NTH[abs(number) - 1] if abs(number) <= len(_NTH) else _numeral(abs(number))
    return word if number > 0 else f"{word} last"


def _numeral(number: int) -> str:
    """E.g. `1st`, `12th`, `31st`."""
    ending = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _listed(parts: Iterable[str]) -> str:
    *most, last = list(parts) or [""]
    return f"{', '.join(most)} and {last}" if most else last


# What people mostly want


def presets(start: datetime) -> dict[str, Rule]:
    """The usual rules that fit a first time, by name, as a form offers them."""
    nth = (start.day - 1) // 7 + 1
    return {
        "daily": Rule(freq=Freq.DAILY),
        "weekdays": Rule(freq=Freq.WEEKLY, by_day=WORKDAYS),
        "weekly": Rule(freq=Freq.WEEKLY, by_day=(Day(start.weekday()),)),
        "monthly on the day": Rule(freq=Freq.MONTHLY, by_month_day=(start.day,)),
        "monthly on the weekday": Rule(freq=Freq.MONTHLY, by_day=(Day(start.weekday(), nth if nth < 5 else -1),)),
        "monthly on the last day": Rule(freq=Freq.MONTHLY, by_month_day=(-1,)),
        "yearly": Rule(freq=Freq.YEARLY, by_month=(start.month,), by_month_day=(start.day,)),
    }


@dataclass(frozen=True, slots=True)
class Skips:
    """That a rule leaves out some months or years, and the rule that would not."""

    sentence: str
    instead: Rule
    offer: str


def skips(rule: Rule, start: datetime) -> Skips | None:
    """What is to be said of a rule for the 29th, 30th, 31st or a fifth weekday: RFC 5545 skips the months that lack it."""
    whole = filled(rule, start.date())
    if whole.by_set_pos or len(whole.by_month_day) + len(whole.by_day) != 1:
        return None
    if whole.by_month_day and whole.by_month_day[0] > 28 and whole.freq in (Freq.MONTHLY, Freq.YEARLY):
        return _lacks_the_day(whole, whole.by_month_day[0])
    if whole.by_day and abs(whole.by_day[0].nth) == 5 and (whole.freq is Freq.MONTHLY or whole.by_month):
        weekday = whole.by_day[0].weekday
        last = f"the last {_DAYS[weekday]}"
        return Skips(
            f"Months with only four {_DAYS[weekday]}s are skipped.", replace(whole, by_day=(Day(weekday, -1),)), last
        )
    return None


def _lacks_the_day(rule: Rule, day: int) -> Skips | None:
    if rule.freq is Freq.YEARLY:
        if rule.by_month != (2,):
            return None
        always = replace(rule, by_month_day=(-1,))
        return Skips("Years without a 29 February are skipped.", always, "the last day of February")
    if not any(day > _LONGEST[month - 1] for month in rule.by_month or range(1, 13)):
        return None
    if day == 31:
        always = replace(rule, by_month_day=(-1,))
        return Skips("Months without a 31st are skipped.", always, "the last day of the month")
    # Of the days up to this one, the last that the month has.
    always = replace(rule, by_month_day=tuple(range(28, day + 1)), by_set_pos=(-1,))
    return Skips(
        f"Months without a {_numeral(day)} are skipped.", always, f"the {_numeral(day)}, or the last day before it"
    )


# In the years that have no 29 February.
_LONGEST: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
