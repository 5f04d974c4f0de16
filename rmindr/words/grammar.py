"""A text as the parts it is made of, in whatever order they stand; understood whole, or refused by the part that is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from rmindr.words.clock import clock
from rmindr.words.cursor import Cursor, written
from rmindr.words.day import day
from rmindr.words.draft import Draft, keep
from rmindr.words.language import Language
from rmindr.words.length import length
from rmindr.words.parts import (
    BadWords,
    Begin,
    Choice,
    Completion,
    Date,
    Day,
    DayPart,
    End,
    Offset,
    Part,
    Shifted,
)
from rmindr.words.place import place
from rmindr.words.repeat import repeat

LONGEST: Final = 200


def parse(text: str, language: Language) -> Draft:
    """The parts of a text. Raises BadWords."""
    draft = Draft(text)
    if len(text) > LONGEST:
        raise BadWords(text, 0, len(text), f"has more than {LONGEST} characters")
    cursor = Cursor(text, language)
    if cursor.peek().kind == "end":
        raise BadWords(text, 0, 0, "is empty; write for instance «tomorrow 9am» or «in 2h»")
    try:
        while cursor.peek().kind != "end":
            for part in _parts(cursor, draft):
                keep(draft, part)
            # A comma parts two; it is not understood at the beginning and at the end.
            if cursor.word() == "," and cursor.peek(1).kind != "end":
                cursor.move()
    except BadWords as error:
        error.understood = draft.spans()
        raise
    return draft


# Finding the next part


def _parts(cursor: Cursor, draft: Draft) -> list[Part]:
    """The next part, or several where words say two things at once, as «tonight» and «every monday» do."""
    for role, read in _BY_FIRST_WORD.items():
        if cursor.sees(role):
            return read(cursor, draft)
    found = _part_of_day(cursor) or repeat(cursor)
    if found:
        return found
    return [_single(cursor, draft)]


def _single(cursor: Cursor, draft: Draft) -> Part:
    begin = cursor.index
    if (times := cursor.number()) is not None and cursor.word(times[1]) in cursor.language.roles["times"]:
        return _so_often(cursor, draft, *times)
    # Clocks before lengths: «20 minutes past 11» begins like «20 minutes».
    found = clock(cursor, is_named=False) or _length(cursor, is_named=False) or _day(cursor, draft)
    if found is not None:
        return found
    # Cities last: «jan» and «may» are months first.
    somewhere = place(cursor)
    if somewhere is not None:
        return somewhere
    if cursor.peek().kind == "number":
        raise _bad_number(cursor, draft, begin)
    raise cursor.unknown()


def _day(cursor: Cursor, draft: Draft) -> Day | None:
    repeats = draft.repeat is not None
    if repeats and (cursor.sees("next", "week") or cursor.sees("this", "week")):
        begin = cursor.index
        cursor.move(2)
        raise cursor.bad(begin, "is one week only, and this repeats; for its first day write «starting …»")
    is_monthly = draft.repeat is not None and draft.repeat.unit in ("month", "year")
    return day(cursor, is_monthly=is_monthly)


def _bad_number(cursor: Cursor, draft: Draft, begin: int) -> BadWords:
    """A bare number: an hour, a day, a year?"""
    digits = cursor.word()
    cursor.move()
    if isinstance(draft.day, Date) and draft.day.year is None and draft.day.end < cursor.span(begin)[0]:
        return cursor.bad(begin, "is neither a year, which has four digits, nor a time of day, as in «at 9»")
    if len(digits) == 4:
        written_out = f"{digits[:2]}:{digits[2:]}"
        choices = [Choice(written_out, written_out)] if int(digits[:2]) < 24 and int(digits[2:]) < 60 else []
        return cursor.bad(begin, f"may be a year or a clock{written([each.words for each in choices])}", choices)
    choices = [Choice(f"at {digits}", "an hour")] if len(digits) <= 2 and int(digits) < 24 else []
    return cursor.bad(begin, f"may be an hour or a day{written([each.words for each in choices])}", choices)


def _part_of_day(cursor: Cursor) -> list[Part] | None:
    """Evening, this evening, tonight, in the evening, at night."""
    begin, language = cursor.index, cursor.language
    if cursor.takes("tonight"):
        return _with_today(cursor, begin, "night")
    for roles in ((), ("this",), ("in", "the"), ("at",)):
        word = cursor.word(len(roles))
        if (
            all(cursor.word(n) in language.roles[role] for n, role in enumerate(roles))
            and word in language.parts_of_day
        ):
            cursor.move(len(roles) + 1)
            if roles == ("this",):
                return _with_today(cursor, begin, word)
            start, end = cursor.span(begin)
            return [DayPart(start=start, end=end, name=word)]
    return None


def _with_today(cursor: Cursor, begin: int, name: str) -> list[Part]:
    start, end = cursor.span(begin)
    return [Offset(start=start, end=end, days=0), DayPart(start=start, end=end, name=name)]


def _length(cursor: Cursor, *, is_named: bool) -> Part | None:
    """A length from now, or one before or after a day."""
    begin = cursor.index
    found = length(cursor, is_named=is_named)
    if found is None:
        return None
    if cursor.sees("ago"):
        raise cursor.bad(cursor.index, "is in the past")
    if cursor.takes("from", "now"):
        return replace(found, end=cursor.span(begin)[1])
    if not (cursor.sees("from") or cursor.sees("after") or cursor.sees("before")):
        return found
    back, start = cursor.sees("before"), cursor.index
    cursor.move()
    cursor.takes("on")
    anchor = day(cursor, is_several=False)
    if anchor is None:
        raise cursor.unknown() if cursor.peek().kind != "end" else cursor.bad(start, "stops short: of which day?")
    if found.seconds:
        raise cursor.bad(start, "is only understood of days, weeks, months and years")
    return Shifted(start=found.start, end=anchor.end, length=found, anchor=anchor, back=back)


# By their first word


def _at(cursor: Cursor, draft: Draft) -> list[Part]:
    begin = cursor.index
    part = _part_of_day(cursor)
    if part is not None:
        return part
    cursor.move()
    found = clock(cursor, is_named=True)
    if found is None:
        cursor.index = begin
        raise cursor.bad(begin, "stops short: at what time?")
    return [found]


def _on(cursor: Cursor, draft: Draft) -> list[Part]:
    begin = cursor.index
    cursor.move()
    if cursor.word() in cursor.language.every_weekday:
        return repeat(cursor) or []
    found = _day(cursor, draft)
    if found is None:
        if cursor.peek().kind != "end":
            raise cursor.unknown()
        raise cursor.bad(begin, "stops short: on which day?")
    return [found]


def _in(cursor: Cursor, draft: Draft) -> list[Part]:
    begin = cursor.index
    part = _part_of_day(cursor)
    if part is not None:
        return part
    cursor.move()
    if cursor.peek().kind == "end":
        raise cursor.bad(begin, "stops short: in what?")
    lasting = _length(cursor, is_named=True)
    if lasting is not None:
        start = cursor.span(begin)[0]
        return [replace(lasting, start=start)]
    somewhere = place(cursor)
    if somewhere is not None:
        return [somewhere]
    if cursor.sees("article"):
        cursor.move()
    if cursor.word() in cursor.language.months:
        day(cursor)
    raise cursor.unknown()


def _until(cursor: Cursor, draft: Draft) -> list[Part]:
    found = _bound(cursor, draft, "until when")
    return [End(start=found.start, end=found.end, day=found.day)]


def _starting(cursor: Cursor, draft: Draft) -> list[Part]:
    return [_bound(cursor, draft, "starting when")]


def _bound(cursor: Cursor, draft: Draft, question: str) -> Begin:
    """The one day behind «until» or «starting»."""
    begin = cursor.index
    _only_what_repeats(cursor, draft, begin, 1)
    cursor.move()
    cursor.takes("on")
    found = day(cursor, is_several=False)
    if found is None:
        if cursor.peek().kind == "word":
            raise cursor.unknown()
        cursor.index = begin
        raise cursor.bad(begin, f"stops short: {question}?")
    start, end = cursor.span(begin)
    return Begin(start=start, end=end, day=found)


def _from(cursor: Cursor, draft: Draft) -> list[Part]:
    begin = cursor.index
    if cursor.sees("from", "completion") or cursor.sees("after", "completion"):
        _only_what_repeats(cursor, draft, begin, 1)
        cursor.move(2)
        start, end = cursor.span(begin)
        return [Completion(start=start, end=end)]
    if cursor.sees("from"):
        return _starting(cursor, draft)
    raise cursor.bad(begin, "leaves open how long after; write for instance «2 days after tomorrow»")


def _for(cursor: Cursor, draft: Draft) -> list[Part]:
    begin = cursor.index
    _only_what_repeats(cursor, draft, begin, 1)
    cursor.move()
    found = length(cursor, is_named=True)
    if found is None:
        if cursor.peek().kind == "word":
            raise cursor.unknown()
        cursor.index = begin
        raise cursor.bad(begin, "stops short: for how long?")
    start, end = cursor.span(begin)
    if found.seconds:
        raise cursor.bad(begin, "is less than what repeats here: days or more are understood")
    return [End(start=start, end=end, length=found)]


def _so_often(cursor: Cursor, draft: Draft, times: int, count: int) -> Part:
    begin = cursor.index
    _only_what_repeats(cursor, draft, begin, count + 1)
    if not times:
        cursor.move(count)
        raise cursor.bad(begin, "is nothing")
    cursor.move(count + 1)
    start, end = cursor.span(begin)
    return End(start=start, end=end, times=times)


def _only_what_repeats(cursor: Cursor, draft: Draft, begin: int, count: int) -> None:
    """Raise BadWords about the next tokens where nothing repeats."""
    if draft.repeat is None:
        cursor.move(count)
        raise cursor.bad(begin, "is only what repeats; begin with «every day», «every monday» …")


_BY_FIRST_WORD: Final[dict[str, Callable[[Cursor, Draft], list[Part]]]] = {
    "at": _at,
    "on": _on,
    "in": _in,
    "until": _until,
    "starting": _starting,
    "from": _from,
    "after": _from,
    "for": _for,
}
