"""How the commands print: tables for people, JSON for programs; what stands in jobs can neither colour nor break a terminal."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rmindr.queue.job import UNLIMITED

# Joins what belongs together, e.g. families of emoji; everything else that does not show is shown as something.
_JOINER: Final = "\N{ZERO WIDTH JOINER}"
# Where nobody looks, lines are not broken: somebody may want to search them.
_WIDE: Final = 2000
_UNITS: Final = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def console() -> Console:
    """Where everything is printed; nothing in a text is taken for a style."""
    width = None if sys.stdout.isatty() else _WIDE
    return Console(width=width, markup=False, emoji=False, highlight=False, soft_wrap=False)


def clean(text: str) -> str:
    """A text that moves no cursor: what does not show reads `·`, line ends a space."""
    return "".join(each if each.isprintable() or each == _JOINER else " " if each.isspace() else "·" for each in text)


def clean_lines(text: str) -> str:
    """The same, of each of its lines."""
    return "\n".join(clean(line) for line in text.splitlines())


def print_json(value: Any) -> None:
    """One value, in ASCII: nothing in it can reach a terminal but as text."""
    print(json.dumps(plain(value), indent=2 if sys.stdout.isatty() else None), flush=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table; names of columns that begin with `>` stand to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        right = name.startswith(">")
        table.add_column(name.lstrip(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell(value) for value in row))
    console().print(table)


def print_facts(facts: Mapping[str, Any]) -> None:
    """What is known, a line each; what is not is left out."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value is not None:
            table.add_row(name, Text(clean_lines(value)) if isinstance(value, str) else cell(value))
    console().print(table)


def cell(value: Any) -> Text:
    """A value as people read it."""
    match value:
        case None:
            return Text("")
        case bool():
            return Text("yes" if value else "no")
        case datetime():
            return Text(f"{value:%Y-%m-%d %H:%M:%S}Z")
        case timedelta():
            return Text(duration(value))
        case float():
            return Text(f"{value:g}")
        case int():
            return Text(f"{value:,}")
        case _:
            return Text(clean(str(value)))


def duration(span: timedelta) -> str:
    """A duration in two units at most, e.g. 350 ms, 1.5 s, 2 min 5 s, 3 d 4 h."""
    seconds = span.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    for (large, size), (small, part) in pairwise(_UNITS):
        if seconds >= size:
            rest = seconds % size // part
            return f"{seconds // size:,.0f} {large}" + (f" {rest:.0f} {small}" if rest else "")
    raise AssertionError(f"{seconds} s is longer than no unit")


def attempts(made: int, most: int) -> str:
    """Runs that have ended, of how many, e.g. 1/3."""
    return f"{made}/{'any' if most == UNLIMITED else most}"


def indented(value: Any) -> str:
    """JSON that people read."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False)


def known(record: Any, but: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of a record that have a value, but for some."""
    fields = {field.name: getattr(record, field.name) for field in dataclasses.fields(record) if field.name not in but}
    return {name: value for name, value in fields.items() if value is not None}


def plain(value: Any) -> Any:
    """A value as JSON has it: instants as RFC 3339, durations as milliseconds under a name that says so; of records, what is
    not known is absent."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(known(value))
    match value:
        case datetime():
            return f"{value.isoformat(timespec='milliseconds')[:-6]}Z"
        case timedelta():
            return value // timedelta(milliseconds=1)
        case Mapping():
            return {
                f"{name}_ms" if isinstance(each, timedelta) else str(name): plain(each) for name, each in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [plain(each) for each in value]
        case float():
            # What is no number has no JSON.
            return None if not math.isfinite(value) else int(value) if value.is_integer() else value
        case _:
            return value
