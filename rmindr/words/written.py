"""Times as programs write them, RFC 3339: 2031-03-01T18:00:00Z."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from rmindr import times
from rmindr.times import BadTime
from rmindr.words.draft import Draft
from rmindr.words.grammar import LONGEST
from rmindr.words.parts import BadWords, Clock, Date, Place

_LOOKS_SO: Final = re.compile(r"\s*([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt][0-9].*", re.DOTALL)
_FRACTION: Final = re.compile(r"\.[0-9]*[1-9]")


def written(text: str) -> Draft | None:
    """The parts of such a time, None where the text is none. Raises BadWords."""
    match = _LOOKS_SO.fullmatch(text) if len(text) <= LONGEST else None
    if match is None:
        return None
    start, day_end, end = match.start(1), match.end(1), len(text.rstrip())
    try:
        found = times.read(text)
        # Whole seconds, rounded up: nothing is early.
        wall = found.wall.replace(microsecond=0) + timedelta(seconds=1 if _FRACTION.search(text) else 0)
    except (BadTime, OverflowError) as error:
        raise BadWords(text, start, end, str(error)) from None
    return Draft(
        text,
        day=Date(start=start, end=day_end, day=wall.day, month=wall.month, year=wall.year),
        clock=Clock(start=day_end, end=end, hour=wall.hour, minute=wall.minute, second=wall.second),
        place=None if found.offset is None else Place(start=day_end, end=end, zone=None, offset=found.offset),
    )
