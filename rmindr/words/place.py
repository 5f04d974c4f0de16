"""Whose clock is meant: cities and zones as people write them, and distances from UTC."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo

from rmindr import times
from rmindr.times import BadTime
from rmindr.words.cursor import Cursor, written
from rmindr.words.parts import Choice, Place

_LONGEST_NAME: Final = 5
# Areas that are no cities, and old names for regions of a country.
_NO_CITIES: Final = ("Brazil/", "Canada/", "Chile/", "Mexico/", "US/")
_FARTHEST: Final = timedelta(hours=14)


def place(cursor: Cursor) -> Place | None:
    """The zone that stands there, None where there is none. Raises BadWords about what names several."""
    begin = cursor.index
    if cursor.takes("local", "time"):
        start, end = cursor.span(begin)
        return Place(start=start, end=end, zone=None)
    if cursor.takes("utc"):
        return _from_utc(cursor, begin)
    if cursor.peek().kind == "zone":
        return _by_name(cursor, begin)
    return _city(cursor, begin)


def _from_utc(cursor: Cursor, begin: int) -> Place:
    sign = cursor.word()
    if sign not in ("+", "-", "−") or cursor.peek(1).kind != "number":
        cursor.takes("time")
        return _made(cursor, begin, ZoneInfo("UTC"))
    hours, minutes = int(cursor.word(1)[:8]), 0
    cursor.move(2)
    if cursor.word() == ":" and cursor.peek(1).kind == "number" and len(cursor.word(1)) == 2:
        minutes = int(cursor.word(1))
        cursor.move(2)
    if hours > 23 or minutes > 59 or timedelta(hours=hours, minutes=minutes) > _FARTHEST:
        raise cursor.bad(begin, "does not exist")
    distance = timedelta(hours=hours, minutes=minutes)
    start, end = cursor.span(begin)
    return Place(start=start, end=end, zone=None, offset=distance if sign == "+" else -distance)


def _by_name(cursor: Cursor, begin: int) -> Place:
    # As the zone database writes it, whatever the case: europe/paris is Europe/Paris.
    name = _names().get(cursor.word(), cursor.word())
    cursor.move()
    try:
        zone = times.zone(name)
    except BadTime:
        raise cursor.bad(begin, "is no time zone; write one like Europe/Paris, or a city") from None
    return _made(cursor, begin, zone)


def _city(cursor: Cursor, begin: int) -> Place | None:
    doubtful = cursor.language.doubtful_zones.get(cursor.word())
    name, count = _longest(cursor)
    if doubtful is not None and count <= 1:
        cursor.move()
        raise cursor.bad(
            begin,
            f"may be several zones, or the clock of half the year{written(doubtful)}",
            [Choice(city, times.zone(cities()[plain(city)]).key) for city in doubtful],
        )
    if not count:
        return None
    cursor.move(count)
    key = cities()[name]
    elsewhere = cursor.language.doubtful_cities.get(name)
    if elsewhere is not None:
        raise cursor.bad(begin, f"{elsewhere}; write «{key}» if that is meant", [Choice(key, key)])
    cursor.takes("time")
    return _made(cursor, begin, ZoneInfo(key))


def _longest(cursor: Cursor) -> tuple[str, int]:
    """The longest name of a city that stands there, and how many tokens it takes; 0 where none does."""
    words: list[str] = []
    best = ("", 0)
    for ahead in range(2 * _LONGEST_NAME):
        token = cursor.peek(ahead)
        if token.kind == "word":
            words.append(plain(token.text))
            name = " ".join(words)
            if name in cities():
                best = (name, ahead + 1)
        elif not (token.text == "-" and token.is_glued and words):
            break
    return best


def _made(cursor: Cursor, begin: int, zone: ZoneInfo) -> Place:
    start, end = cursor.span(begin)
    return Place(start=start, end=end, zone=zone)


def plain(text: str) -> str:
    """A name without accents, in small letters, e.g. `sao paulo`."""
    apart = unicodedata.normalize("NFKD", text)
    return "".join(each for each in apart if not unicodedata.combining(each)).lower()


@lru_cache(maxsize=1)
def cities() -> Mapping[str, str]:
    """Zone names by city, e.g. {"new york": "America/New_York"}; of two names the longer, which is the modern one."""
    found: dict[str, str] = {}
    for key in sorted(times.zones(), key=lambda key: (key.count("/"), key.startswith("Europe/"))):
        if "/" in key and not key.startswith(_NO_CITIES):
            found[key.rpartition("/")[2].replace("_", " ").replace("-", " ").lower()] = key
    return MappingProxyType(found)


@lru_cache(maxsize=1)
def _names() -> Mapping[str, str]:
    return MappingProxyType({key.lower(): key for key in times.zones()})
