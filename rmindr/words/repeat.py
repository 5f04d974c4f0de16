"""How often: every day, every 2 weeks, weekdays, every last friday of the month; with the days that it names."""

from __future__ import annotations

from rmindr.words.cursor import Cursor, ambiguous, written
from rmindr.words.day import day, listed_weekdays
from rmindr.words.parts import BadWords, Choice, Date, Day, DayPart, MonthDays, Nth, Part, Repeat, Weekdays

_TOO_OFTEN = "is too often: the shortest distance is a day"


def repeat(cursor: Cursor) -> list[Part] | None:
    """The repetition that stands there and the day or part of the day it names; None where there is none."""
    begin, language = cursor.index, cursor.language
    if cursor.word() in language.repeats:
        interval, unit = language.repeats[cursor.word()]
        cursor.move()
        return [_repeat(cursor, begin, interval, unit)]
    if cursor.word() in language.every_weekday:
        return _plural(cursor)
    if not cursor.takes("every"):
        return None
    if cursor.peek().kind == "end":
        raise cursor.bad(begin, "stops short: every what?")
    found = _every_unit(cursor, begin) or _every_weekday(cursor, begin) or _every_part(cursor, begin)
    return found or _every_date(cursor, begin)


def _repeat(cursor: Cursor, begin: int, interval: int, unit: str) -> Repeat:
    start, end = cursor.span(begin)
    return Repeat(start=start, end=end, interval=interval, unit=unit)


def _weekly(cursor: Cursor, begin: int, days: tuple[int, ...], interval: int = 1) -> list[Part]:
    start, end = cursor.span(begin)
    return [_repeat(cursor, begin, interval, "week"), Weekdays(start=start, end=end, days=days)]


def _plural(cursor: Cursor) -> list[Part]:
    """Weekdays, mondays and thursdays."""
    begin, every = cursor.index, cursor.language.every_weekday
    days = every[cursor.word()]
    cursor.move()
    while True:
        comma = 1 if cursor.word() == "," else 0
        skipped = comma + (1 if cursor.word(comma) in cursor.language.roles["and"] else 0)
        if not skipped or cursor.word(skipped) not in every:
            return _weekly(cursor, begin, days)
        cursor.move(skipped)
        days += every[cursor.word()]
        cursor.move()


def _every_unit(cursor: Cursor, begin: int) -> list[Part] | None:
    """Every day, every other week, every 2 weeks, every third day."""
    language = cursor.language
    if cursor.peek().kind == "decimal":
        cursor.move()
        raise cursor.bad(cursor.index - 1, "is no whole number")
    times, count = 1, 0
    if cursor.sees("other"):
        times, count = 2, 1
    elif (number := cursor.number()) is not None and cursor.ordinal() is None:
        times, count = number
    elif (ordinal := cursor.ordinal()) is not None and cursor.word(ordinal[1]) in language.periods and ordinal[0] > 0:
        times, count = ordinal
    word = cursor.word(count)
    unit = language.units.get(word)
    # «second» is a unit only where nothing follows that it could count.
    counts = not count and cursor.ordinal() is not None and cursor.peek(1).kind != "end"
    if unit is not None and unit.seconds and not counts:
        cursor.move(count + 1)
        raise cursor.bad(begin, _TOO_OFTEN)
    if word not in language.periods:
        return None
    if not times:
        cursor.move(count)
        raise cursor.bad(cursor.index - count, "is nothing")
    cursor.move(count + 1)
    interval, period = language.periods[word]
    return [_repeat(cursor, begin, times * interval, period)]


def _every_weekday(cursor: Cursor, begin: int) -> list[Part] | None:
    """Every weekday, every monday and thursday, every other friday."""
    language = cursor.language
    other = cursor.takes("other")
    if other and cursor.sees("workday"):
        raise cursor.bad(cursor.index, "cannot be left out one by one; write «every 2 days», or the weekdays")
    if cursor.takes("workday"):
        return _weekly(cursor, begin, (0, 1, 2, 3, 4))
    if cursor.takes("weekend"):
        raise _bad_weekend(cursor)
    if cursor.word() in language.weekdays:
        return _weekly(cursor, begin, listed_weekdays(cursor), 2 if other else 1)
    if other:
        raise cursor.unknown()
    return None


def _bad_weekend(cursor: Cursor) -> BadWords:
    choices = [Choice("saturday and sunday", "both days"), Choice("saturday", "one of them")]
    return cursor.bad(cursor.index - 1, ambiguous(choices), choices)


def _every_part(cursor: Cursor, begin: int) -> list[Part] | None:
    """Every morning: every day, in the morning."""
    if cursor.word() not in cursor.language.parts_of_day:
        return None
    start, end = cursor.peek().start, cursor.peek().end
    name = cursor.word()
    cursor.move()
    return [_repeat(cursor, begin, 1, "day"), DayPart(start=start, end=end, name=name)]


def _every_date(cursor: Cursor, begin: int) -> list[Part]:
    """Every 15th, every 24 december, every last friday of november."""
    ordinal = cursor.ordinal()
    if ordinal is not None and cursor.word(ordinal[1]) in cursor.language.weekdays:
        bad = _bad_nth_weekday(cursor, begin, ordinal)
        if bad is not None:
            raise bad
    named = cursor.index
    found = day(cursor)
    if isinstance(found, MonthDays) and found.of in ("", "the", "every"):
        return [_repeat(cursor, begin, 1, "month"), found]
    if isinstance(found, Nth) and found.of in ("the", "every"):
        return [_repeat(cursor, begin, 1, "month"), found]
    if isinstance(found, Date) or (isinstance(found, Nth) and found.month is not None):
        return [_repeat(cursor, begin, 1, "year"), found]
    raise _bad_day(cursor, named, found)


def _bad_day(cursor: Cursor, named: int, found: Day | None) -> BadWords:
    if found is None:
        if cursor.peek().kind == "word" and cursor.ordinal() is not None:
            return cursor.bad(named, "stops short: every which one?")
        # «second» is an ordinal first, and a unit where nothing follows.
        return cursor.unknown()
    return cursor.bad(named, "is one day only")


def _bad_nth_weekday(cursor: Cursor, begin: int, ordinal: tuple[int, int]) -> BadWords | None:
    """Every second monday: every two weeks, or the second of each month? None where the month is named."""
    number, count = ordinal
    roles = cursor.language.roles
    if cursor.word(count + 1) in roles["of"] | roles["in"]:
        return None
    weekday = cursor.language.weekdays[cursor.word(count)]
    name = next(name for name, each in cursor.language.weekdays.items() if each == weekday)
    which = (
        next(word for word, nth in cursor.language.ordinals.items() if nth == number) if number <= 5 else str(number)
    )
    cursor.move(count + 1)
    monthly = Choice(f"{which} {name} of every month", "monthly")
    if number < 2:
        return cursor.bad(begin, f"stops short: of the month?{written([monthly.words])}", [monthly])
    both = [Choice(f"every {number} weeks on {name}", "weekly"), monthly]
    return cursor.bad(begin, ambiguous(both), both)
