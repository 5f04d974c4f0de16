"""Times of day: 9am, 20:15, noon, half past 8, «8 in the evening» in two parts."""

from __future__ import annotations

from typing import Final

from rmindr.words.cursor import Cursor, Token, ambiguous
from rmindr.words.parts import BadWords, Choice, Clock, Style

_QUARTER: Final = 15


def clock(cursor: Cursor, *, is_named: bool) -> Clock | None:
    """The time of day that stands there, None where there is none; a bare number is one only where `is_named`, after «at»."""
    begin = cursor.index
    if cursor.takes("noon"):
        return _made(cursor, begin, 12, style=Style.EXACT)
    if cursor.takes("midnight"):
        return _made(cursor, begin, 0, style=Style.MIDNIGHT)
    if cursor.sees("half"):
        return _half(cursor, begin)
    if cursor.sees("quarter") or cursor.sees("article", "quarter"):
        return _from_the_hour(cursor, begin, _QUARTER, 1 + cursor.sees("article"))
    if cursor.peek().kind == "decimal":
        return _dotted(cursor, begin)
    number = cursor.number()
    if number is None:
        return None
    value, count = number
    if cursor.word(count) == ":" and cursor.peek().kind == "number":
        return _with_minutes(cursor, begin)
    minutes = cursor.word(count) in cursor.language.roles["minutes"]
    if cursor.word(count + minutes) in cursor.language.roles["past"] | cursor.language.roles["to"]:
        return _from_the_hour(cursor, begin, value, count + minutes)
    return _hour(cursor, begin, value, count, is_named=is_named)


def _hour(cursor: Cursor, begin: int, hour: int, count: int, *, is_named: bool) -> Clock | None:
    roles = cursor.language.roles
    behind = cursor.word(count)
    if behind in roles["oclock"]:
        cursor.move(count + 1)
    elif behind in roles["am"] | roles["pm"]:
        cursor.move(count)
    elif is_named or _sees_part_of_day(cursor, count):
        cursor.move(count)
        if hour > 24:
            raise _bad_digits(cursor, begin, cursor.text[slice(*cursor.span(begin))])
    else:
        return None
    return _halved(cursor, begin, hour, 0, 0, style=Style.TWELVE if hour == 12 else None)


def _sees_part_of_day(cursor: Cursor, ahead: int) -> bool:
    """Whether «in the evening» or «at night» stands there, which makes an hour of a bare number."""
    language = cursor.language
    if cursor.word(ahead) in language.roles["at"]:
        return cursor.word(ahead + 1) in language.parts_of_day
    words = [cursor.word(ahead + n) for n in range(3)]
    return words[0] in language.roles["in"] and words[1] in language.roles["the"] and words[2] in language.parts_of_day


def _bad_digits(cursor: Cursor, begin: int, digits: str) -> BadWords:
    hour, minute = digits[:-2], digits[-2:]
    if len(digits) == 4 and int(hour) < 24 and int(minute) < 60:
        return cursor.bad(
            begin, f"is no time of day; write «{hour}:{minute}»", [Choice(f"{hour}:{minute}", f"{hour}:{minute}")]
        )
    return cursor.bad(begin, "is no such time")


def _with_minutes(cursor: Cursor, begin: int) -> Clock:
    """8:15, 08:15, 18:00:30."""
    numbers: list[Token] = [cursor.peek()]
    cursor.move()
    while len(numbers) < 3 and cursor.word() == ":" and cursor.peek(1).kind == "number":
        numbers.append(cursor.peek(1))
        cursor.move(2)
    if len(numbers) < 2:
        raise cursor.unknown()
    if any(len(each.text) != 2 for each in numbers[1:]) or len(numbers[0].text) > 2:
        raise cursor.bad(begin, "is no time of day: minutes have two digits, as in 9:05")
    hour, minute, second = ([int(each.text) for each in numbers] + [0])[:3]
    leading = numbers[0].text.startswith("0")
    return _halved(cursor, begin, hour, minute, second, style=Style.EXACT if leading else None)


def _dotted(cursor: Cursor, begin: int) -> Clock | None:
    """8.15pm; without am or pm it may be anything."""
    hour, _, minute = cursor.word().partition(".")
    behind = cursor.word(1)
    if behind in cursor.language.units or behind in cursor.language.doubtful_units or behind in cursor.language.periods:
        return None
    cursor.move()
    if len(minute) != 2 or len(hour) > 2:
        raise cursor.bad(begin, "is not understood")
    if not cursor.sees("am") and not cursor.sees("pm"):
        both = [Choice(f"{int(hour):02d}:{minute}", "a time"), Choice(f"{int(hour)}:{minute} pm", "a time")]
        raise cursor.bad(begin, ambiguous(both), both)
    return _halved(cursor, begin, int(hour), int(minute), 0, style=None)


def _from_the_hour(cursor: Cursor, begin: int, minutes: int, count: int) -> Clock | None:
    """Quarter past 8, ten to nine, half past noon."""
    back = cursor.word(count) in cursor.language.roles["to"]
    if not back and cursor.word(count) not in cursor.language.roles["past"]:
        return None
    cursor.move(count + 1)
    is_span = back and count == 1 and cursor.text[cursor.span(begin)[0]].isdigit()
    at_noon = cursor.takes("noon")
    number = (12, 0) if at_noon else cursor.number()
    if number is None:
        raise cursor.bad(begin, "stops short: of which hour?")
    cursor.move(number[1])
    cursor.takes("oclock")
    if is_span:
        raise cursor.bad(begin, "may be a time, or from one to another; write the time with its minutes, as in 10:50")
    hour, minute = divmod(number[0] * 60 + (-minutes if back else minutes), 60)
    if not 1 <= number[0] <= 23 or not 1 <= minutes <= 59:
        raise cursor.bad(begin, "is no such time")
    return _halved(cursor, begin, hour or 12, minute, 0, style=Style.EXACT if at_noon else None)


def _half(cursor: Cursor, begin: int) -> Clock | None:
    if cursor.sees("half", "past"):
        return _from_the_hour(cursor, begin, 30, 1)
    number = cursor.number(1)
    if number is None:
        return None
    cursor.move(1 + number[1])
    hour = number[0] % 24
    # Half past eight in Britain, half an hour before it in most of Europe.
    both = [Choice(f"{each // 60:02d}:{each % 60:02d}", meaning) for each, meaning in _halves(hour)]
    raise cursor.bad(begin, ambiguous(both), both)


def _halves(hour: int) -> tuple[tuple[int, str], tuple[int, str]]:
    return (hour * 60 + 30, "half past"), ((hour * 60 - 30) % 1440, "half an hour before")


def _halved(cursor: Cursor, begin: int, hour: int, minute: int, second: int, *, style: Style | None) -> Clock:
    """A clock with the am or pm that may follow; with no `style` given, what the hour says by itself."""
    has_half = cursor.sees("am") or cursor.sees("pm")
    if has_half:
        is_pm = cursor.sees("pm")
        cursor.move()
        if not 1 <= hour <= 12:
            raise cursor.bad(begin, "is no such time")
        hour = hour % 12 + (12 if is_pm else 0)
        style = Style.MIDNIGHT if (hour, minute, second) == (0, 0, 0) else Style.EXACT
    if minute > 59 or second > 59 or hour > 24 or (hour == 24 and (minute or second)):
        raise cursor.bad(begin, "is no such time")
    if hour == 24:
        return _made(cursor, begin, 0, style=Style.END)
    style = style or (Style.OPEN if 1 <= hour <= 11 else Style.EXACT)
    return _made(cursor, begin, hour, minute, second, style=style)


def _made(cursor: Cursor, begin: int, hour: int, minute: int = 0, second: int = 0, *, style: Style) -> Clock:
    start, end = cursor.span(begin)
    return Clock(start=start, end=end, hour=hour, minute=minute, second=second, style=style)
