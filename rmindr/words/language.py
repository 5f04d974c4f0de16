"""What a language must bring so that time words can be read in it: its words, by the role they play."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What a length of time is counted in: one of the fields is not zero."""

    months: int = 0
    days: int = 0
    seconds: int = 0


@dataclass(frozen=True, slots=True)
class PartOfDay:
    """A part of the day: the time meant when none is given, and the hours from which to which it reaches."""

    default_hour: int
    first_hour: int
    last_hour: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """The words of one language, in small letters; a second language is a second table like `english.ENGLISH`."""

    # Little words by the role they play, e.g. {"every": {"every", "each"}}.
    roles: Mapping[str, frozenset[str]]
    numbers: Mapping[str, int]
    # Those that take another one behind, e.g. twenty five.
    tens: Mapping[str, int]
    ordinals: Mapping[str, int]
    # What makes a number an ordinal, by its last two digits, e.g. {1: "st", 11: "th"}.
    endings: tuple[str, ...]
    units: Mapping[str, Unit]
    # Those that stand behind an article, e.g. "hour", not "hours".
    single_units: frozenset[str]
    # Words that may be two units, with what to write instead, e.g. {"m": ("minutes", "months")}.
    doubtful_units: Mapping[str, tuple[str, str]]
    weekdays: Mapping[str, int]
    # Words that say weekday and repetition in one, e.g. {"mondays": (0,), "weekdays": (0, 1, 2, 3, 4)}.
    every_weekday: Mapping[str, tuple[int, ...]]
    months: Mapping[str, int]
    parts_of_day: Mapping[str, PartOfDay]
    # One word for a repetition, e.g. {"daily": (1, "day")}.
    repeats: Mapping[str, tuple[int, str]]
    # What a repetition may be counted in, e.g. {"weeks": (1, "week"), "fortnight": (2, "week")}.
    periods: Mapping[str, tuple[int, str]]
    # Words that are known and refused, with the reason as a sentence without its subject, and what to write instead.
    refused: Mapping[str, tuple[str, tuple[str, ...]]]
    # Letters and words for zones that name several or only half of the year, with the cities to write instead.
    doubtful_zones: Mapping[str, tuple[str, ...]]
    # Names of the zone database that mostly mean something else, and what, as a sentence without its subject.
    doubtful_cities: Mapping[str, str]

    def ending(self, number: int) -> str:
        """What makes this number an ordinal, e.g. `st` for 21."""
        return self.endings[number % 100]
