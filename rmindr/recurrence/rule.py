"""A rule by which something repeats: its parts, its text as RFC 5545 has it, and what is refused.

Rules speak of days; the time of day, and what a rule leaves open, come from the start. Kept are FREQ from DAILY to YEARLY,
INTERVAL, BYMONTH, BYMONTHDAY, BYDAY, BYSETPOS, COUNT or UNTIL, and WKST.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from rmindr.times import BadTime

WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
MOST_TIMES: Final = 10_000
LONGEST_TEXT: Final = 500
END_OF_DAY: Final = time(23, 59, 59)
# The longest day of each month; 29 for February, for a rule may wait for a leap year.
_LONGEST: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_BY_DAY: Final = re.compile(r"([+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU)", re.ASCII)
_UNTIL: Final = re.compile(r"(\d{8})(?:T(\d{6})(Z)?)?", re.ASCII)


class BadRule(BadTime):
    """A rule that is none, or that is not kept here; the text is a sentence without its subject."""

    def __init__(self, part: str, why: str) -> None:
        super().__init__(f"is no rule for repeating: {part} {why}")
        self.part = part


class Freq(StrEnum):
    """What a rule counts in, from the shortest to the longest."""

    DAILY = "DAILY"
    WEEKLY = "WEEKLY"
    MONTHLY = "MONTHLY"
    YEARLY = "YEARLY"


# At most 50 years apart: beyond that nobody can tell a rule from a slip of the keyboard.
LONGEST_INTERVAL: Final = {Freq.DAILY: 18_262, Freq.WEEKLY: 2_609, Freq.MONTHLY: 600, Freq.YEARLY: 50}


@dataclass(frozen=True, slots=True, order=True)
class Day:
    """A weekday from Monday, 0, on; with `nth`, only the nth of its month or year, from the end where below zero."""

    weekday: int
    nth: int = 0

    def __str__(self) -> str:
        """E.g. `MO`, `-1FR`."""
        return f"{self.nth or ''}{WEEKDAYS[self.weekday]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule for repeating, e.g. `Rule(freq=Freq.WEEKLY, by_day=(Day(0),))`. Raises BadRule."""

    freq: Freq
    interval: int = 1
    by_month: tuple[int, ...] = ()
    by_month_day: tuple[int, ...] = ()
    by_day: tuple[Day, ...] = ()
    by_set_pos: tuple[int, ...] = ()
    count: int | None = None
    until: datetime | None = None
    week_start: int = 0

    def __post_init__(self) -> None:
        for name in ("by_month", "by_month_day", "by_day", "by_set_pos"):
            # One order, so that the same rule has the same text.
            object.__setattr__(self, name, tuple(sorted(set(getattr(self, name)))))
        _check_numbers(self)
        _check_days(self)
        _check_end(self)

    def __str__(self) -> str:
        """The text of RFC 5545, in one order; UNTIL is on the clock of the start's zone, without one of its own."""
        parts = [f"FREQ={self.freq}"]
        if self.interval != 1:
            parts.append(f"INTERVAL={self.interval}")
        for name, values in (
            ("BYMONTH", self.by_month),
            ("BYMONTHDAY", self.by_month_day),
            ("BYDAY", self.by_day),
            ("BYSETPOS", self.by_set_pos),
        ):
            if values:
                parts.append(f"{name}={','.join(map(str, values))}")
        if self.count is not None:
            parts.append(f"COUNT={self.count}")
        if self.until is not None:
            parts.append(f"UNTIL={self.until:%Y%m%dT%H%M%S}")
        if self.week_start:
            parts.append(f"WKST={WEEKDAYS[self.week_start]}")
        return ";".join(parts)

    def for_calendar(self, place: ZoneInfo) -> str:
        """The text for a calendar file, where UNTIL must be in UTC because DTSTART names a zone (RFC 5545, 3.3.10)."""
        if self.until is None:
            return str(self)
        end = self.until.replace(tzinfo=place, fold=1).astimezone(UTC)
        return str(replace(self, until=end.replace(tzinfo=None))).replace(
            f"{end:%Y%m%dT%H%M%S}", f"{end:%Y%m%dT%H%M%SZ}"
        )

    @classmethod
    def read(cls, text: str, place: ZoneInfo | None = None) -> Rule:
        """Read `FREQ=WEEKLY;BYDAY=MO,TH` or `RRULE:FREQ=…`; a UNTIL in UTC becomes a time on the clock of `place`.

        Raises BadRule."""
        values = _values(text)
        if "FREQ" not in values:
            raise BadRule("FREQ", "is missing; write for instance FREQ=WEEKLY;BYDAY=MO")
        return cls(
            freq=_freq(values["FREQ"]),
            interval=_number("INTERVAL", values.get("INTERVAL", "1")),
            by_month=_numbers("BYMONTH", values),
            by_month_day=_numbers("BYMONTHDAY", values),
            by_day=tuple(_day(part) for part in values["BYDAY"].split(",")) if "BYDAY" in values else (),
            by_set_pos=_numbers("BYSETPOS", values),
            count=_number("COUNT", values["COUNT"]) if "COUNT" in values else None,
            until=_until(values["UNTIL"], place) if "UNTIL" in values else None,
            week_start=_weekday("WKST", values.get("WKST", "MO")),
        )


# Reading the text


_KNOWN: Final = ("FREQ", "INTERVAL", "BYMONTH", "BYMONTHDAY", "BYDAY", "BYSETPOS", "COUNT", "UNTIL", "WKST")


def _values(text: str) -> dict[str, str]:
    """The parts by name, e.g. {"FREQ": "DAILY", "COUNT": "3"}."""
    if len(text) > LONGEST_TEXT:
        raise BadRule("it", f"has more than {LONGEST_TEXT} characters")
    values: dict[str, str] = {}
    for part in text.strip().upper().removeprefix("RRULE:").split(";"):
        name, equals, value = part.partition("=")
        if name not in _KNOWN:
            raise BadRule(_shown(name), f"is not kept here; known are {', '.join(_KNOWN)}")
        if name in values:
            raise BadRule(name, "comes twice")
        if not equals or not value:
            raise BadRule(name, "has no value")
        values[name] = value
    return values


def _shown(text: str) -> str:
    return f"«{''.join(each if each.isprintable() else '�' for each in text[:40])}»"


def _freq(text: str) -> Freq:
    if text in ("SECONDLY", "MINUTELY", "HOURLY"):
        raise BadRule(f"FREQ={text}", "is too often: the shortest distance is a day")
    if text not in Freq.__members__:
        raise BadRule("FREQ", f"is {_shown(text)}; known are {', '.join(Freq)}")
    return Freq(text)


def _number(name: str, text: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,7}", text, re.ASCII):
        raise BadRule(name, f"is {_shown(text)}, which is no such number")
    return int(text)


def _numbers(name: str, values: dict[str, str]) -> tuple[int, ...]:
    return tuple(_number(name, part) for part in values[name].split(",")) if name in values else ()


def _day(text: str) -> Day:
    match = _BY_DAY.fullmatch(text)
    if match is None or (match[1] is not None and not int(match[1])):
        raise BadRule("BYDAY", f"has {_shown(text)}; write MO, 1MO or -1FR")
    return Day(WEEKDAYS.index(match[2]), int(match[1] or 0))


def _weekday(name: str, text: str) -> int:
    if text not in WEEKDAYS:
        raise BadRule(name, f"is {_shown(text)}, which is no weekday")
    return WEEKDAYS.index(text)


def _until(text: str, place: ZoneInfo | None) -> datetime:
    match = _UNTIL.fullmatch(text)
    try:
        if match is None:
            raise ValueError(text)
        end = datetime.strptime(match[1] + (match[2] or f"{END_OF_DAY:%H%M%S}"), "%Y%m%d%H%M%S")  # noqa: DTZ007  (a clock)
    except ValueError:
        raise BadRule("UNTIL", f"is {_shown(text)}; write 20270501 or 20270501T180000") from None
    if match[3] is None:
        return end
    if place is None:
        raise BadRule("UNTIL", "is in UTC, and no zone is known to read it in")
    return end.replace(tzinfo=UTC).astimezone(place).replace(tzinfo=None)


# What is no rule


def _check_numbers(rule: Rule) -> None:
    most = LONGEST_INTERVAL[rule.freq]
    if not 1 <= rule.interval <= most:
        raise BadRule("INTERVAL", f"must be from 1 to {most:,} for {rule.freq}, at most 50 years")
    _within("BYMONTH", rule.by_month, lambda each: 1 <= each <= 12)
    _within("BYMONTHDAY", rule.by_month_day, lambda each: 1 <= abs(each) <= 31)
    _within("BYSETPOS", rule.by_set_pos, lambda each: 1 <= abs(each) <= 366)
    if rule.by_set_pos and rule.freq not in (Freq.MONTHLY, Freq.YEARLY):
        raise BadRule("BYSETPOS", "needs FREQ=MONTHLY or YEARLY: of a week, readers of the standard count differently")
    if rule.by_set_pos and not (rule.by_month or rule.by_month_day or rule.by_day):
        raise BadRule("BYSETPOS", "chooses from nothing; give BYDAY, BYMONTHDAY or BYMONTH too")


def _within(name: str, values: Iterable[int], is_fine: Callable[[int], bool]) -> None:
    for each in values:
        if not is_fine(each):
            raise BadRule(name, f"cannot be {each}")


def _check_days(rule: Rule) -> None:
    if rule.by_month_day and rule.freq is Freq.WEEKLY:
        raise BadRule("BYMONTHDAY", "does not go with FREQ=WEEKLY")
    months = rule.by_month or tuple(range(1, 13))
    if rule.by_month_day and not any(abs(day) <= _LONGEST[month - 1] for day in rule.by_month_day for month in months):
        raise BadRule("BYMONTHDAY", "names days that these months never have")
    counted = [day for day in rule.by_day if day.nth]
    if counted and len(counted) < len(rule.by_day):
        raise BadRule("BYDAY", f"mixes {counted[0]} and plain weekdays, which readers of the standard take differently")
    for day in counted:
        if rule.freq not in (Freq.MONTHLY, Freq.YEARLY):
            raise BadRule("BYDAY", f"={day} needs FREQ=MONTHLY or YEARLY")
        if abs(day.nth) > (5 if rule.freq is Freq.MONTHLY or rule.by_month else 53):
            raise BadRule("BYDAY", f"={day} never comes")


def _check_end(rule: Rule) -> None:
    if rule.count is not None and rule.until is not None:
        raise BadRule("COUNT and UNTIL", "exclude each other")
    if rule.count is not None and not 1 <= rule.count <= MOST_TIMES:
        raise BadRule("COUNT", f"must be from 1 to {MOST_TIMES:,}")
    if rule.until is not None and (rule.until.tzinfo is not None or rule.until.microsecond):
        raise BadRule("UNTIL", "must be whole seconds on the clock, without a zone")
