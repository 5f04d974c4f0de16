"""The parts of which time words are made, what a text was read as, and the refusal that names a part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final
from zoneinfo import ZoneInfo

from rmindr.recurrence import Rule, Skips
from rmindr.times import BadTime

_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Span:
    """Where in the text a part stands that was understood, e.g. `Span(0, 8, "day")`."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Words that may stand in place of the refused part, and what they would mean."""

    words: str
    meaning: str


class BadWords(BadTime):
    """Words that were not understood, or that have two meanings; the text is a sentence without its subject.

    `start` and `end` say where the part stands that is complained about, `choices` what may be put in its place, and
    `understood` which parts before it were read."""

    def __init__(self, text: str, start: int, end: int, why: str, choices: Sequence[Choice] = ()) -> None:
        part = text[start : min(end, start + _SHOWN)]
        shown = "".join(each if each.isprintable() else "�" for each in part) + ("…" if end - start > _SHOWN else "")
        super().__init__(f"cannot be read: «{shown}» {why}" if shown else f"cannot be read: it {why}")
        self.part, self.start, self.end, self.why = shown, start, end, why
        self.choices = tuple(choices)
        self.understood: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a text was understood as.

    `wall` is on the clock of `zone`, which is the one named in the words or else the reader's; with a `rule` it is the
    start, and the first occurrence. `is_instant` says that no clock was meant («in 2h», «18:00 UTC+2»): such a time
    stays when zone rules change. `notes` are what was taken for granted, to be shown with the `sentence`."""

    wall: datetime
    zone: ZoneInfo
    at: datetime
    is_instant: bool
    rule: Rule | None
    from_completion: bool
    sentence: str
    notes: tuple[str, ...]
    skips: Skips | None
    spans: tuple[Span, ...]


# The parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Something understood, from `start` to `end` of the text."""

    start: int
    end: int


class Style(Enum):
    """How much a clock says: everything, not which half of the day, only a bare 12, or a midnight of which day."""

    EXACT = "exact"
    OPEN = "open"
    TWELVE = "twelve"
    MIDNIGHT = "midnight"
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock(Part):
    """A time of day, e.g. 20:15."""

    hour: int
    minute: int = 0
    second: int = 0
    style: Style = Style.EXACT


@dataclass(frozen=True, slots=True, kw_only=True)
class DayPart(Part):
    """A part of the day, e.g. `evening`."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Length(Part):
    """A length of time; months and days by the calendar, seconds exact."""

    months: int = 0
    days: int = 0
    seconds: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Day(Part):
    """One or several days, in one of the ways below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offset(Day):
    """Today, tomorrow, the day after."""

    days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Weekdays(Day):
    """Monday, next monday, monday next week, monday week; several only where something repeats."""

    days: tuple[int, ...]
    # "", "this", "next", "coming"; "this week", "next week"; "week", as in «friday week»
    which: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Date(Day):
    """1 March, with or without a year."""

    day: int
    month: int
    year: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthDays(Day):
    """The 15th: of "this" month, of the "next", of "every", or of no month that was named."""

    days: tuple[int, ...]
    of: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nth(Day):
    """The last Friday, the first day, the last weekday: of a month, or "this", "next", "every" one."""

    nths: tuple[int, ...]
    # a weekday, "day" or "workday"
    what: int | str
    of: str = ""
    month: int | None = None
    year: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shifted(Day):
    """2 weeks after friday."""

    length: Length
    anchor: Day
    back: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Place(Part):
    """Whose clock is meant: a zone, or a fixed distance from UTC."""

    zone: ZoneInfo | None
    offset: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat(Part):
    """Every so many days, weeks, months or years."""

    interval: int
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class End(Part):
    """Until a day, for a length of time, or so many times."""

    day: Day | None = None
    length: Length | None = None
    times: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin(Part):
    """From which day on something repeats."""

    day: Day


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion(Part):
    """That the next time is counted from when the last was done."""
