"""Lines of a job's log: as node's `util.format` writes them, where Kue does; objects as JSON."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmindr.queue.printf import written
from tests.queue.scenery import PROPERTY

INF = math.inf

# What node 20 answers to `util.format` with these arguments.
NODES: list[tuple[list[Any], str]] = [
    (["this is %s number %d", "test", 1], "this is test number 1"),
    # %s: what it says
    (["%s", "x"], "x"), (["%s", ""], ""), (["%s", 5], "5"), (["%s", 1.5], "1.5"), (["%s", True], "true"),
    (["%s", None], "null"),
    (["%s", "a", "b"], "a b"), (["%s and %s", "a"], "a and %s"),
    # %d: the number that all of it is
    (["%d", 42], "42"), (["%d", 1.5], "1.5"), (["%d", "42"], "42"), (["%d", " 1.50 "], "1.5"), (["%d", "4x"], "NaN"),
    (["%d", ""], "0"), (["%d", "0x10"], "16"), (["%d", True], "1"), (["%d", None], "0"), (["%d", {}], "NaN"),
    (["%d", 1e21], "1e+21"),
    (["%d", math.nan], "NaN"), (["%d", INF], "Infinity"), (["%d", 2**53], "9007199254740992"),
    # %i: the whole number that it begins with
    (["%i", 42.9], "42"), (["%i", -42.9], "-42"), (["%i", "42.9abc"], "42"), (["%i", "x"], "NaN"), (["%i", ""], "NaN"),
    (["%i", True], "NaN"), (["%i", None], "NaN"), (["%i", INF], "NaN"),
    # %f: the number that it begins with
    (["%f", 1], "1"), (["%f", 1.5], "1.5"), (["%f", "1.50"], "1.5"), (["%f", "3.4abc"], "3.4"),
    (["%f", "x"], "NaN"), (["%f", True], "NaN"),
    (["%f", 1e-7], "1e-7"), (["%f", 1e21], "1e+21"), (["%f", -INF], "-Infinity"),
    # %j: JSON
    (["%j", {"a": [1, "x", None]}], '{"a":[1,"x",null]}'), (["%j", "é🎂"], '"é🎂"'), (["%j", None], "null"),
    # %% and what is none of these
    (["%%"], "%%"), (["100%%", 1], "100% 1"), (["%%%s%%", "x"], "%x%"), (["%x", 1], "%x 1"), (["%", 1], "% 1"),
    (["%s%", 5], "5%"),
    (["%5d", 1], "%5d 1"), (["%s"], "%s"), (["%d %"], "%d %"), ([""], ""),
    # What is left over
    (["a", "b", 1, 1.5, True, None], "a b 1 1.5 true null"), (["x", ""], "x "),
    # No text at all
    ([1], "1"), ([None], "null"), ([1.23], "1.23"), ([0], "0"), ([True], "true"), ([False], "false"), ([math.nan], "NaN"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "line"), NODES, ids=lambda value: repr(value)[:40])
def test_a_line_is_filled_in_as_node_does(arguments: list[Any], line: str) -> None:
    assert written(*arguments) == line


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([{"test": "some ünicode"}], '{"test": "some ünicode"}'),
        ([[1, 2, "3"]], '[1, 2, "3"]'),
        (["saw", {"a": None}, [True]], 'saw {"a": null} [true]'),
        (["%s %j", {"a": 1}, {"a": 1}], '{"a": 1} {"a":1}'),
        ([ValueError("no")], "ValueError: no"),
        ([ValueError()], "ValueError: ValueError"),
        (["failed: %s", KeyError("key")], "failed: KeyError: 'key'"),
        ([{"error": ValueError("no")}], '{"error": "ValueError: no"}'),
        ([{1, 2}], '"{1, 2}"'),
        ([{(1, 2): 3}], "{(1, 2): 3}"),
        ([b"bytes"], "\"b'bytes'\""),
    ],
)
def test_objects_are_json_and_errors_what_they_say(arguments: list[Any], line: str) -> None:
    assert written(*arguments) == line


class Shy:
    """What will not be looked at."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


class Wordless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


ROUND: list[Any] = []
ROUND.append(ROUND)


@pytest.mark.parametrize(
    ("value", "line"),
    [(Shy(), '"<Shy>"'), (Wordless(), "Wordless: Wordless"), (ROUND, "[[...]]"), ({Shy(): 1}, "<dict>")],
    ids=lambda value: type(value).__name__,
)
def test_what_will_not_be_written_is_named(value: Any, line: str) -> None:
    assert written(value) == line
    assert written("it: %s", value) == f"it: {line}"


@pytest.mark.parametrize("mark", ["%s", "%d", "%i", "%f", "%j"])
def test_a_number_beyond_all_writing_stops_nobody(mark: str) -> None:
    assert isinstance(written(mark, 10**5000), str)
    assert isinstance(written(10**5000), str)


@PROPERTY
@given(st.text(), st.lists(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text())))
def test_no_text_and_no_values_make_it_fail(text: str, values: list[Any]) -> None:
    assert isinstance(written(text, *values), str)
    assert isinstance(written(values), str)
