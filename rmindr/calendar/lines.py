"""The lines of a calendar file: what may stand in one, how it is quoted, and how it is folded (RFC 5545, 3.1 and 3.3.11)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

# Everything that some reader takes for the end of a line.
_ENDS: Final = re.compile("\r\n|[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
# The rest of what is no character of any text; a tab is one.
_CONTROLS: Final = re.compile("[\x00-\x08\x0e-\x1b\x1f\x7f-\x9f\ud800-\udfff]")
_LONGEST: Final = 75


def text(value: str) -> str:
    """A text as a value: nothing in it ends the line, or the value."""
    quoted = _CONTROLS.sub("", _ENDS.sub("\n", value)).replace("\\", "\\\\")
    return quoted.replace(";", "\\;").replace(",", "\\,").replace("\n", "\\n")


def instant(at: datetime) -> str:
    """An instant, to the second, e.g. `20261201T090000Z`."""
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def clock(wall: datetime) -> str:
    """A time on a clock, to the second, e.g. `20261201T090000`."""
    return f"{wall:%Y%m%dT%H%M%S}"


def component(name: str, lines: Iterable[str]) -> Iterator[str]:
    """These lines between the beginning and the end of a component."""
    yield f"BEGIN:{name}"
    yield from lines
    yield f"END:{name}"


def written(lines: Iterable[str]) -> bytes:
    """The lines as a file has them."""
    return b"".join(map(_folded, lines))


def _folded(line: str) -> bytes:
    data = line.encode()
    if len(data) <= _LONGEST:
        return data + b"\r\n"
    pieces, start, room = [], 0, _LONGEST
    while len(data) - start > room:
        end = start + room
        # Never inside of a character.
        while data[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(data[start:end])
        # What is folded begins with a space, which counts.
        start, room = end, _LONGEST - 1
    return b"\r\n ".join([*pieces, data[start:]]) + b"\r\n"
