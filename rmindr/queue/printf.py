"""What a line of a job's log says: text filled in as node's `util.format` does, and values of any kind as JSON."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

# As much as anybody reads of an exception, or of one line of a log.
LONGEST_TEXT: Final = 20_000
_MARK: Final = re.compile(r"%([sdifj%])")
_WHOLE: Final = re.compile(r"\s*([+-]?\d+)")
_FRACTION: Final = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
_HEXADECIMAL: Final = re.compile(r"0[xX][0-9a-fA-F]+")


def written(line: Any, *values: Any) -> str:
    """A log line as Kue writes it: %s %d %i %f %j filled in, %% one of them, what is left over appended; anything that is no
    text, as JSON. Without values, text is what it is."""
    if not isinstance(line, str):
        return " ".join(map(_as_text, (line, *values)))
    if not values:
        return line
    left = list(values)

    def fill(mark: re.Match[str]) -> str:
        if mark[1] == "%":
            return "%"
        if not left:
            return mark[0]
        with contextlib.suppress(ValueError, OverflowError):
            return _MARKS[mark[1]](left.pop(0))
        return "NaN"

    return " ".join([_MARK.sub(fill, line), *map(_as_text, left)])


def said(error: BaseException) -> str:
    """What an exception says, or its name where it says nothing."""
    with contextlib.suppress(Exception):
        if message := str(error):
            return message[:LONGEST_TEXT]
    return type(error).__name__


def _as_text(value: Any) -> str:
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {said(value)}"
    return value if isinstance(value, str) else _as_json(value, (", ", ": "))


def _as_json(value: Any, separators: tuple[str, str] = (",", ":")) -> str:
    with contextlib.suppress(Exception):
        return json.dumps(value, ensure_ascii=False, separators=separators, default=_otherwise)
    # What goes round in circles, or will not be looked at.
    return _otherwise(value)


def _otherwise(value: Any) -> str:
    if isinstance(value, BaseException):
        return _as_text(value)
    with contextlib.suppress(Exception):
        return repr(value)
    return f"<{type(value).__name__}>"


def _as_number(value: Any) -> str:
    """As JavaScript's Number: all of a text must be one, nothing at all is 0."""
    if value is None:
        return "0"
    if isinstance(value, int | float):
        return _number(value)
    if not isinstance(value, str):
        return "NaN"
    text = value.strip()
    if _HEXADECIMAL.fullmatch(text):
        return str(int(text, 16))
    return _number(float(text or 0)) if not text or _FRACTION.fullmatch(text) else "NaN"


def _as_whole(value: Any) -> str:
    """As JavaScript's parseInt: how a text begins."""
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value))
    return _begins(value, _WHOLE, int)


def _as_fraction(value: Any) -> str:
    """As JavaScript's parseFloat: how a text begins."""
    return _number(value) if isinstance(value, float) else _begins(value, _FRACTION, float)


def _begins(value: Any, form: re.Pattern[str], read: Callable[[str], float]) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    found = form.match(value) if isinstance(value, str) else None
    return _number(read(found[1])) if found else "NaN"


def _number(value: float) -> str:
    """A number as JavaScript shows it: 1.0 → 1, 1e-07 → 1e-7."""
    if isinstance(value, int):
        return str(int(value))
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return re.sub(r"e([+-])0*", r"e\1", repr(value))


_MARKS: Final[Mapping[str, Callable[[Any], str]]] = {
    "s": _as_text,
    "d": _as_number,
    "i": _as_whole,
    "f": _as_fraction,
    "j": _as_json,
}
