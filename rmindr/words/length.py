"""Lengths of time: 2h, half an hour, 1 hour 30 minutes, a week and 2 days."""

from __future__ import annotations

from rmindr.words.cursor import Cursor, ambiguous
from rmindr.words.language import Unit
from rmindr.words.parts import BadWords, Choice, Length

_HOUR = 3600


def length(cursor: Cursor, *, is_named: bool) -> Length | None:
    """The length that stands there, None where there is none; after «in» (`is_named`) a number must begin one."""
    begin = cursor.index
    total = _first(cursor, is_named=is_named)
    if total is None:
        return None
    while (skipped := _joined(cursor)) is not None:
        cursor.move(skipped)
        more = _counted(cursor, is_named=True)
        if more is not None:
            total = _sum(total, more)
    start, end = cursor.span(begin)
    return Length(start=start, end=end, months=total.months, days=total.days, seconds=total.seconds)


def _sum(one: Unit, other: Unit) -> Unit:
    return Unit(months=one.months + other.months, days=one.days + other.days, seconds=one.seconds + other.seconds)


def _times(number: int, unit: Unit) -> Unit:
    return Unit(months=number * unit.months, days=number * unit.days, seconds=number * unit.seconds)


def _joined(cursor: Cursor) -> int | None:
    """How many tokens stand before a further number with its unit; None where no such number follows."""
    skipped = 1 if cursor.word() == "," or cursor.sees("and") else 0
    number = cursor.number(skipped)
    if number is None:
        return None
    unit = cursor.word(skipped + number[1])
    return skipped if unit in cursor.language.units or unit in cursor.language.doubtful_units else None


def _first(cursor: Cursor, *, is_named: bool) -> Unit | None:
    fraction = _fraction(cursor)
    if fraction is not None:
        return fraction
    if cursor.sees("article"):
        word = cursor.word(1)
        if word not in cursor.language.single_units:
            return None
        cursor.move(2)
        return _and_a_half(cursor, cursor.language.units[word])
    if cursor.peek().kind == "decimal":
        return _decimal(cursor)
    return _counted(cursor, is_named=is_named)


def _fraction(cursor: Cursor) -> Unit | None:
    """Half an hour, a quarter of an hour."""
    for roles, seconds in (
        (("half", "article", "hour"), _HOUR // 2),
        (("quarter", "of", "article", "hour"), _HOUR // 4),
        (("article", "quarter", "of", "article", "hour"), _HOUR // 4),
    ):
        if cursor.takes(*roles):
            return Unit(seconds=seconds)
    return None


def _and_a_half(cursor: Cursor, unit: Unit) -> Unit:
    """The unit, and half of it where «and a half» follows."""
    if not cursor.sees("and", "article", "half"):
        return unit
    cursor.move()
    begin = cursor.index
    cursor.move(2)
    if not unit.seconds or unit.seconds % _HOUR:
        raise cursor.bad(begin, "is only understood of hours")
    return Unit(seconds=unit.seconds + _HOUR // 2)


def _decimal(cursor: Cursor) -> Unit | None:
    """1.5 hours."""
    begin, text = cursor.index, cursor.word()
    unit = cursor.language.units.get(cursor.word(1))
    if unit is None and cursor.word(1) not in cursor.language.doubtful_units:
        return None
    cursor.move()
    if unit is None or unit.seconds != _HOUR:
        raise cursor.bad(begin, "is only understood of hours; write a whole number")
    whole, _, part = text.partition(".")
    if len(whole) > 6 or len(part) > 3:
        raise cursor.bad(begin, "has too many digits")
    seconds = int(whole) * _HOUR + int(part) * _HOUR // 10 ** len(part)
    if not seconds:
        raise cursor.bad(begin, "is nothing")
    cursor.move()
    return Unit(seconds=seconds)


def _counted(cursor: Cursor, *, is_named: bool) -> Unit | None:
    """2 hours, two and a half hours, 1h30."""
    begin = cursor.index
    number = cursor.number()
    if number is None:
        return None
    value, count = number
    halves = count + 3 if cursor.word(count) in cursor.language.roles["and"] else count
    if halves > count and cursor.word(halves) in cursor.language.roles["hour"] and _sees_a_half(cursor, count):
        cursor.move(halves + 1)
        return Unit(seconds=value * _HOUR + _HOUR // 2)
    word = cursor.word(count)
    if word not in cursor.language.units and word not in cursor.language.doubtful_units:
        if is_named:
            raise _no_unit(cursor, count)
        return None
    if not value:
        cursor.move(count)
        raise cursor.bad(begin, "is nothing")
    cursor.move(count)
    return _minutes_behind(cursor, begin, _times(value, _unit(cursor, begin)), is_named=is_named)


def _sees_a_half(cursor: Cursor, count: int) -> bool:
    article, half = cursor.word(count + 1), cursor.word(count + 2)
    return article in cursor.language.roles["article"] and half in cursor.language.roles["half"]


def _no_unit(cursor: Cursor, count: int) -> BadWords:
    """After «in», a number must be of something."""
    begin = cursor.index
    if cursor.peek(count).kind == "word":
        cursor.move(count)
        return cursor.unknown()
    cursor.move(count)
    return cursor.bad(begin, "stops short: of what? Write for instance «2 hours»")


def _unit(cursor: Cursor, begin: int) -> Unit:
    word = cursor.word()
    doubt = cursor.language.doubtful_units.get(word)
    if doubt is not None and not _is_behind_hours(cursor, begin):
        both = [Choice(each, each) for each in doubt]
        start = cursor.index
        cursor.move()
        raise cursor.bad(start, ambiguous(both), both)
    cursor.move()
    # Behind hours it can only be the smaller one.
    return cursor.language.units[doubt[0] if doubt else word]


def _is_behind_hours(cursor: Cursor, begin: int) -> bool:
    """Whether the number that began at this token follows an hour, as the 30 in 1h30m."""
    return begin > 0 and cursor.word(begin - 1 - cursor.index) in cursor.language.roles["hour"]


def _minutes_behind(cursor: Cursor, begin: int, total: Unit, *, is_named: bool) -> Unit:
    """The 30 of 1h30, which after «in» needs no unit; without «in» it may be a clock."""
    token = cursor.peek()
    is_bare = cursor.word(1) not in cursor.language.units and cursor.word(1) not in cursor.language.doubtful_units
    hours, rest = divmod(total.seconds, _HOUR)
    if not (token.kind == "number" and token.is_glued and len(token.text) == 2 and is_bare and hours and not rest):
        return _and_a_half(cursor, total)
    minutes = int(token.text)
    cursor.move()
    if not is_named:
        start, end = cursor.span(begin)
        both = [
            Choice(f"in {cursor.text[start:end]}", "a length"),
            Choice(f"{hours:02d}:{minutes:02d}", "a time of day"),
        ]
        raise cursor.bad(begin, ambiguous(both), both)
    return Unit(seconds=total.seconds + minutes * 60)
