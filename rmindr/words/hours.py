"""Which time of day is meant: what am, pm and parts of the day settle, what is taken for granted, what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time
from typing import Final

from rmindr.words.cursor import ambiguous
from rmindr.words.draft import Draft
from rmindr.words.language import Language, PartOfDay
from rmindr.words.parts import BadWords, Choice, Clock, DayPart, Style

DEFAULT: Final = time(9)
# Bare hours from this one to 11 are the morning; smaller ones may as well be the afternoon.
_FIRST_MORNING_HOUR: Final = 7


@dataclass(frozen=True, slots=True)
class Hour:
    """A time of day, how many days later it is, and what was taken for granted.

    `other` is the same hour twelve hours later, where only custom speaks against it."""

    at: time
    days: int = 0
    note: str | None = None
    other: time | None = None


def hour_of(draft: Draft, language: Language, *, is_midnight_clear: bool) -> Hour | None:
    """The time of day of a draft, None where it names none. Raises BadWords.

    `is_midnight_clear` says that it does not matter which end of the day a midnight is, or that only one can be meant."""
    clock, part = draft.clock, draft.day_part
    within = language.parts_of_day[part.name] if part is not None else None
    if clock is None:
        if part is None or within is None:
            return None
        at = time(within.default_hour)
        return Hour(at, note=f"«{part.name}» is taken as {at:%H:%M}.")
    if clock.style is Style.MIDNIGHT and within is not None and within.last_hour == 23 and draft.repeat is None:
        # The night of Friday ends with Friday.
        return Hour(time(0), days=1)
    if clock.style in (Style.MIDNIGHT, Style.END):
        return (
            _end_of_day(draft, clock)
            if clock.style is Style.END
            else _midnight(draft, clock, is_clear=is_midnight_clear)
        )
    at = time(clock.hour, clock.minute, clock.second)
    if part is not None and within is not None:
        return Hour(_in_part(draft, clock, part, within))
    if clock.style is Style.TWELVE:
        raise _bad(draft, clock, [Choice("12:00", "noon"), Choice("00:00", "the beginning of the day")])
    if clock.style is Style.EXACT:
        return Hour(at)
    later = at.replace(hour=at.hour + 12)
    if at.hour < _FIRST_MORNING_HOUR:
        raise _bad(draft, clock, [Choice(_short(at), "in the morning"), Choice(_short(later), "in the afternoon")])
    return Hour(at, note=f"{_short(at)} is in the morning; for the evening write {_short(later)}.", other=later)


def _short(at: time) -> str:
    return f"{at:%H:%M:%S}" if at.second else f"{at:%H:%M}"


def _bad(draft: Draft, clock: Clock, choices: Sequence[Choice]) -> BadWords:
    return BadWords(draft.text, clock.start, clock.end, ambiguous(choices), choices)


def bad_either(draft: Draft, clock: Clock, tomorrow: time, today: time) -> BadWords:
    """BadWords: this hour has passed today, but not the one twelve hours later."""
    return _bad(draft, clock, [Choice(_short(tomorrow), "tomorrow"), Choice(_short(today), "today")])


def _in_part(draft: Draft, clock: Clock, part: DayPart, within: PartOfDay) -> time:
    """8 in the evening: the one of both that lies in this part of the day."""
    hours = [clock.hour] if clock.style is Style.EXACT else [clock.hour % 12, clock.hour % 12 + 12]
    fitting = [hour for hour in hours if within.first_hour <= hour <= within.last_hour]
    if clock.style is Style.TWELVE and fitting != [12]:
        fitting = []
    if not fitting:
        shown = f"{clock.hour:02d}:{clock.minute:02d}" if clock.style is Style.EXACT else f"{clock.hour}"
        why = f"does not go with {shown}: it is understood as {within.first_hour:02d}:00 to {within.last_hour:02d}:59"
        raise BadWords(draft.text, part.start, part.end, why)
    return time(fitting[0], clock.minute, clock.second)


def _end_of_day(draft: Draft, clock: Clock) -> Hour:
    if draft.repeat is not None:
        why = "is understood of one day only; write 00:00 of the next, or 23:59"
        raise BadWords(draft.text, clock.start, clock.end, why, [Choice("23:59", "a minute before the day ends")])
    return Hour(time(0), days=1)


def _midnight(draft: Draft, clock: Clock, *, is_clear: bool) -> Hour:
    if draft.day_part is not None:
        raise BadWords(draft.text, draft.day_part.start, draft.day_part.end, "does not go with midnight")
    if is_clear:
        return Hour(time(0))
    end = Choice("24:00", "when the day ends")
    if draft.repeat is not None:
        end = Choice("23:59", "a minute before the day ends")
    raise _bad(draft, clock, [Choice("00:00", "when the day begins"), end])
