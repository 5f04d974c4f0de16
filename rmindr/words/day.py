"""Days as people name them: tomorrow, next monday, 1 March 2031, the 15th, the last friday of the month."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date
from typing import Final

from rmindr.words.cursor import Cursor, ambiguous, written
from rmindr.words.parts import BadWords, Choice, Date, Day, MonthDays, Nth, Offset, Weekdays

MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_LONGEST: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def day(cursor: Cursor, *, is_several: bool = True, is_monthly: bool = False) -> Day | None:
    """The day that stands there, None where there is none. Raises BadWords.

    `is_several` allows «monday and friday»; `is_monthly` says that the month need not be named, as in «monthly on …»."""
    begin = cursor.index
    near = _near(cursor)
    if near is not None:
        return near
    if cursor.peek().kind == "date":
        return _digits(cursor)
    if cursor.word() in cursor.language.weekdays:
        return _weekdays(cursor, is_several=is_several)
    if cursor.sees("this") or cursor.sees("next") or cursor.sees("coming"):
        return _which(cursor)
    if cursor.word() in cursor.language.months:
        return _month_first(cursor)
    the = cursor.takes("the")
    if the and (cursor.word() in cursor.language.weekdays or cursor.sees("next") or cursor.sees("coming")):
        return day(cursor, is_several=is_several)
    found = _numbered(cursor, is_several=is_several, is_monthly=is_monthly)
    if found is None and the:
        if cursor.peek().kind == "end":
            raise cursor.bad(begin, "stops short: on which day?")
        raise cursor.unknown()
    return found


def _near(cursor: Cursor) -> Offset | None:
    """Today, tomorrow, the day after tomorrow."""
    begin = cursor.index
    ways = (("today",),), (("tomorrow",),), (("day", "after", "tomorrow"), ("the", "day", "after", "tomorrow"))
    for days, spellings in enumerate(ways):
        if any(cursor.takes(*roles) for roles in spellings):
            start, end = cursor.span(begin)
            return Offset(start=start, end=end, days=days)
    return None


# Weekdays


def _weekdays(cursor: Cursor, *, is_several: bool) -> Weekdays:
    begin = cursor.index
    days = listed_weekdays(cursor) if is_several else (_weekday(cursor),)
    which = _week_behind(cursor) if len(days) == 1 else ""
    start, end = cursor.span(begin)
    return Weekdays(start=start, end=end, days=days, which=which)


def _weekday(cursor: Cursor) -> int:
    weekday = cursor.language.weekdays[cursor.word()]
    cursor.move()
    return weekday


def listed_weekdays(cursor: Cursor) -> tuple[int, ...]:
    """Monday; monday, wednesday and friday; monday to friday."""
    language = cursor.language
    first = _weekday(cursor)
    if cursor.sees("range") and cursor.word(1) in language.weekdays:
        cursor.move()
        last = _weekday(cursor)
        return tuple((first + n) % 7 for n in range((last - first) % 7 + 1))
    days = [first]
    while (skipped := _separated(cursor)) and cursor.word(skipped) in language.weekdays:
        cursor.move(skipped)
        days.append(_weekday(cursor))
    return tuple(days)


def _separated(cursor: Cursor) -> int:
    """How many tokens part two in a list: a comma, «and», or both."""
    comma = 1 if cursor.word() == "," else 0
    return comma + (1 if cursor.word(comma) in cursor.language.roles["and"] else 0)


def _week_behind(cursor: Cursor) -> str:
    """Which week a weekday is of, where that stands behind it."""
    if cursor.takes("week"):
        return "week"
    if cursor.takes("next", "week") or cursor.takes("of", "next", "week"):
        return "next week"
    if cursor.takes("this", "week") or cursor.takes("of", "this", "week"):
        return "this week"
    return ""


def _which(cursor: Cursor) -> Day | None:
    """This friday, next monday, next week on monday; a whole week or month is no day."""
    begin = cursor.index
    which = next(role for role in ("this", "next", "coming") if cursor.takes(role))
    if which == "this" and cursor.takes("coming"):
        which = "coming"
    if cursor.word() in cursor.language.weekdays:
        weekday = _weekday(cursor)
        start, end = cursor.span(begin)
        return Weekdays(start=start, end=end, days=(weekday,), which=which)
    if cursor.takes("week"):
        named = cursor.sees("on") and cursor.word(1) in cursor.language.weekdays
        if named:
            cursor.move()
        if cursor.word() in cursor.language.weekdays:
            weekday = _weekday(cursor)
            start, end = cursor.span(begin)
            return Weekdays(start=start, end=end, days=(weekday,), which=f"{which} week")
        raise cursor.bad(begin, f"leaves open on which day; write for instance «monday {which} week»")
    if cursor.sees("month") or cursor.sees("year"):
        cursor.move()
        raise cursor.bad(begin, "leaves open on which day; write for instance «15th of next month» or «1 March 2031»")
    if cursor.peek().kind != "end":
        raise cursor.unknown()
    cursor.index = begin
    return None


# Dates


def _digits(cursor: Cursor) -> Date:
    """2031-03-01, 13/4/2027; where day and month may be either way round, refused."""
    text, begin = cursor.word(), cursor.index
    cursor.move()
    numbers = [int(part) for part in re.split(r"[-/.]", text)]
    lengths = [len(part) for part in re.split(r"[-/.]", text)]
    if lengths[0] == 4:
        if lengths[1:] != [2, 2]:
            year, month, day_ = numbers
            raise cursor.bad(begin, f"is not understood; write «{year:04d}-{month:02d}-{day_:02d}»")
        return _date(cursor, begin, numbers[2], numbers[1], numbers[0])
    if lengths[0] > 2 or (len(numbers) == 3 and lengths[2] != 4):
        raise cursor.bad(begin, "is not understood; write the year with four digits, as in 2031-03-01")
    first, second, year_ = numbers[0], numbers[1], numbers[2] if len(numbers) == 3 else None
    orders = ((first, second), (second, first))
    readings = {(day_, month) for day_, month in orders if _exists(day_, month, year_)}
    if len(readings) == 2:
        both = [Choice(words, words) for words in (_written(day_, month, year_) for day_, month in orders)]
        raise cursor.bad(begin, ambiguous(both), both)
    if not readings:
        raise cursor.bad(begin, "is no such day")
    found, month = readings.pop()
    return _date(cursor, begin, found, month, year_)


def _written(day_: int, month: int, year: int | None) -> str:
    return f"{day_} {MONTHS[month - 1]}" + (f" {year}" if year is not None else "")


def _exists(day_: int, month: int, year: int | None) -> bool:
    if not 1 <= month <= 12 or (year is not None and not 1 <= year <= 9999):
        return False
    return 1 <= day_ <= (_LONGEST[month - 1] if year is None else monthrange(year, month)[1])


def _date(cursor: Cursor, begin: int, day_: int, month: int, year: int | None) -> Date:
    if not _exists(day_, month, year):
        raise cursor.bad(begin, "is no such day")
    start, end = cursor.span(begin)
    return Date(start=start, end=end, day=day_, month=month, year=year)


def _month_first(cursor: Cursor) -> Date:
    """March 1, march 1st, march the 1st 2031."""
    begin, month = cursor.index, cursor.language.months[cursor.word()]
    the = cursor.word(1) in cursor.language.roles["the"]
    ordinal = cursor.ordinal(1 + the) if cursor.peek(1 + the).kind == "number" else None
    if ordinal is None and (cursor.peek(1).kind != "number" or len(cursor.word(1)) > 2 or cursor.word(2) == ":"):
        cursor.move()
        _year(cursor)
        raise cursor.bad(begin, "leaves open on which day; write for instance «1 March 2031»")
    number, count = ordinal or (int(cursor.word(1)), 1)
    cursor.move(1 + the + count)
    return _date(cursor, begin, number, month, _year(cursor))


def _year(cursor: Cursor) -> int | None:
    """The four digits of a year behind a month, after a comma perhaps."""
    comma = 1 if cursor.word() == "," else 0
    token = cursor.peek(comma)
    if token.kind != "number" or len(token.text) != 4 or cursor.word(comma + 1) == ":":
        return None
    cursor.move(comma + 1)
    return int(token.text)


# Numbers and ordinals


def _numbered(cursor: Cursor, *, is_several: bool, is_monthly: bool) -> Day | None:
    """1 March, 1st of March, the 15th, the first monday of march."""
    begin = cursor.index
    ordinal = cursor.ordinal()
    if ordinal is not None:
        return _ordinal(cursor, begin, ordinal, is_several=is_several, is_monthly=is_monthly)
    if cursor.peek().kind != "number" or cursor.word(1) not in cursor.language.months:
        return None
    number, month = int(cursor.word()[:8]), cursor.language.months[cursor.word(1)]
    cursor.move(2)
    return _date(cursor, begin, number, month, _year(cursor))


def _ordinal(cursor: Cursor, begin: int, first: tuple[int, int], *, is_several: bool, is_monthly: bool) -> Day | None:
    language = cursor.language
    is_word = cursor.peek().kind == "word"
    numbers, move = [first[0]], first[1]
    cursor.move(move)
    while is_several and (more := _further(cursor)) is not None:
        number, count = more
        numbers.append(number)
        cursor.move(count)
    behind = cursor.word()
    if behind in language.weekdays or behind in language.roles["day"] | language.roles["workday"]:
        return _nth(cursor, begin, numbers, is_monthly=is_monthly)
    # In words only with «of»: what «every second march» is, nobody knows.
    of = cursor.word(1) if cursor.sees("of") else "" if is_word else behind
    if len(numbers) == 1 and numbers[0] >= 0 and of in language.months:
        cursor.move(1 + cursor.sees("of"))
        return _date(cursor, begin, numbers[0], language.months[of], _year(cursor))
    if is_word:
        _check_last(cursor, begin, numbers[0])
        return None
    if not all(1 <= number <= 31 for number in numbers):
        raise cursor.bad(begin, "is no such day")
    start, end = cursor.span(begin)
    of_month = _of_month(cursor)
    end = cursor.span(begin)[1] if of_month else end
    return MonthDays(start=start, end=end, days=tuple(numbers), of=of_month)


def _further(cursor: Cursor) -> tuple[int, int] | None:
    """A further ordinal of a list, e.g. «and the 15th», and how many tokens it takes."""
    skipped = _separated(cursor)
    if not skipped:
        return None
    skipped += 1 if cursor.word(skipped) in cursor.language.roles["the"] else 0
    ordinal = cursor.ordinal(skipped)
    return None if ordinal is None else (ordinal[0], skipped + ordinal[1])


def _of_month(cursor: Cursor) -> str:
    """Of which month the days before are: "this", "next", "every", or "the" where that is left open."""
    for which in ("this", "next", "every", "the"):
        if cursor.takes("of", which, "month"):
            return which
    return ""


def _check_last(cursor: Cursor, begin: int, number: int) -> None:
    """Raise BadWords about «last week» and «last night», which are over; go back before any other ordinal in words."""
    if number == -1 and (cursor.word() in cursor.language.units or cursor.word() in cursor.language.parts_of_day):
        cursor.move()
        raise cursor.bad(begin, "is in the past")
    cursor.index = begin


def _nth(cursor: Cursor, begin: int, numbers: list[int], *, is_monthly: bool) -> Day:
    language = cursor.language
    word = cursor.word()
    what = language.weekdays.get(word, "day" if word in language.roles["day"] else "workday")
    cursor.move()
    limit = 31 if what == "day" else 23 if what == "workday" else 5
    if not all(number == -1 or 1 <= number <= limit for number in numbers):
        raise cursor.bad(begin, "is what no month has")
    start, end = cursor.span(begin)
    month, year, of = None, None, _of_month(cursor)
    if not of and cursor.word(1) in language.months and (cursor.sees("of") or cursor.sees("in")):
        month = language.months[cursor.word(1)]
        cursor.move(2)
        year = _year(cursor)
    if not of and month is None and not is_monthly:
        raise _bad_open(cursor, begin, numbers, what)
    end = cursor.span(begin)[1] if of or month else end
    return Nth(start=start, end=end, nths=tuple(numbers), what=what, of=of, month=month, year=year)


def _bad_open(cursor: Cursor, begin: int, numbers: list[int], what: int | str) -> BadWords:
    start, end = cursor.span(begin)
    instead = (f"{cursor.text[start:end]} of this month", f"{cursor.text[start:end]} of every month")
    choices = [Choice(words, words) for words in instead]
    if cursor.sees("of"):
        cursor.move()
        if cursor.sees("this") or cursor.sees("next"):
            begin = cursor.index
            cursor.move(2)
        return cursor.bad(begin, "stops short: only days of a month are understood", choices)
    if numbers == [-1] and isinstance(what, int):
        return cursor.bad(begin, f"is in the past, or stops short: of the month?{written(instead)}", choices)
    return cursor.bad(begin, f"stops short: of which month?{written(instead)}", choices)


def last_of_month(year: int, month: int) -> date:
    """The last day of a month."""
    return date(year, month, monthrange(year, month)[1])
