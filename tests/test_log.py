"""What the log says: one line per event, that a person and a program read alike and nobody can forge."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Final

import pytest

from tests.stack import ROOT

# Logs the events that it is given, as our own code and as a library's.
_WRITER: Final = """if True:
    import json, logging, sys, structlog
    from rmindr import log
    log.configure()
    ours, librarys = structlog.get_logger("rmindr.test"), logging.getLogger("library")
    for event, facts in json.load(sys.stdin):
        ours.info(event, **facts)
        librarys.warning(event.replace("%", "%%"), extra=facts)
"""


def printed(code: str, given: Any = None, **env: str) -> list[str]:
    """The lines that a process prints, once it has ended well and complained of nothing."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(given),
        capture_output=True,
        encoding="utf-8",
        check=True,
        env={"PYTHONPATH": str(ROOT), **env},
    )
    assert done.stderr == ""
    assert done.stdout == "" or done.stdout.endswith("\n")
    return done.stdout.split("\n")[:-1]


def read(line: str) -> dict[str, str]:
    """A line of logfmt as programs read it."""
    fields: dict[str, str] = {}
    rest = line
    while rest:
        name, equals, rest = rest.partition("=")
        assert name, line
        assert equals, line
        assert not set(name) & set(' "'), line
        assert name not in fields, line
        if rest.startswith('"'):
            fields[name], length = json.JSONDecoder().raw_decode(rest)
            rest = rest[length:]
        else:
            fields[name] = rest.partition(" ")[0]
            rest = rest[len(fields[name]) :]
        assert not rest or rest.startswith(" "), line
        rest = rest.removeprefix(" ")
    return fields


def test_an_event_is_one_line_that_begins_with_its_time_its_level_and_its_name() -> None:
    ours, librarys = printed(_WRITER, [("job complete", {"id": 7, "lateness_ms": 1.5})])

    assert ours.startswith("time=20")
    assert ours.partition(" ")[2] == 'level=info event="job complete" id=7 lateness_ms=1.5'
    assert librarys.partition(" ")[2] == 'level=warning event="job complete" id=7 lateness_ms=1.5'
    assert read(ours)["time"].endswith("Z")


def test_a_program_reads_what_was_said() -> None:
    said: dict[str, tuple[Any, str]] = {
        "plain": ("plain", "plain"),
        "words": ("two words", "two words"),
        "nothing": ("", ""),
        "none": (None, ""),
        "yes": (True, "true"),
        "no": (False, "false"),
        "number": (-1.5, "-1.5"),
        "equals": ("=", "="),
        "quotes": ('say "hi"', 'say "hi"'),
        "letters": ("zażółć 東京 😀", "zażółć 東京 😀"),
        "path": ("C:\\a b", "C:\\a b"),
        "lines": ("line one\nline two", "line one\nline two"),
        "list": (["a", 1], "['a', 1]"),
    }

    lines = printed(_WRITER, [("event", {name: value for name, (value, _) in said.items()})])

    for line in lines:
        assert {name: value for name, value in read(line).items() if name in said} == {
            name: expected for name, (_, expected) in said.items()
        }


def test_no_value_ends_its_line_its_quotes_or_its_field() -> None:
    forgeries = [
        "sent\ntime=2026-11-24T08:00:00Z level=info event=sent",
        "sent\r\nlevel=error",
        'sent" level=error event="forged',
        'sent\\" level=error',
        "sent\\",
        "sent level=error",
        "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1eh",
        "%s %(level)s {level}",
    ]

    lines = printed(_WRITER, [(forgery, {"why": forgery}) for forgery in forgeries])

    assert len(lines) == 2 * len(forgeries)
    assert all(list(read(line)) == ["time", "level", "event", "why"] for line in lines)
    assert [read(line)["level"] for line in lines] == ["info", "warning"] * len(forgeries)


def test_no_character_but_those_that_can_be_seen_reaches_the_log_and_none_of_those_is_changed() -> None:
    starts = [*range(0, 0x20000, 256), 0xE0000, 0x10FF00]
    blocks = ["".join(map(chr, range(start, start + 256))) for start in starts]

    lines = printed(_WRITER, [("event", {"value": block, "things": [block[:4]]}) for block in blocks])

    assert len(lines) == 2 * len(blocks)
    assert all(line.isprintable() for line in lines)
    for block, line in zip(blocks, lines[::2], strict=True):
        assert {c for c in block if c.isprintable()} <= set(line)


@pytest.mark.parametrize(
    "value", ["ValueError('a\\nlevel=error \\x1b[31m')", "b'\\x1b[31m'", "Path('\\x1b[31m')", "Odd()"]
)
def test_a_value_of_any_kind_is_as_harmless_as_text(value: str) -> None:
    code = f"""if True:
        import structlog
        from pathlib import Path
        from rmindr import log
        class Odd:
            def __str__(self): return "a\\nb\\x1b[31m"
        log.configure()
        structlog.get_logger().info("event", value={value})
    """

    (line,) = printed(code)

    assert line.isprintable()
    assert list(read(line)) == ["time", "level", "event", "value"]


def test_a_name_of_any_kind_is_one_word() -> None:
    names = ["two words", "a=b", 'a"b', "a\nb", "\x1b[31m", "é", "message_id", "a.b-c"]

    lines = printed(_WRITER, [("event", {name: 1}) for name in names])[::2]

    assert [list(read(line))[3] for line in lines] == [
        "two_words", "a_b", "a_b", "a_b", "__31m", "é", "message_id", "a.b-c",
    ]  # fmt: skip


def test_a_traceback_is_one_line_that_says_where_and_of_what_kind_and_nothing_that_the_error_quotes() -> None:
    code = """if True:
        import logging, structlog
        from rmindr import log
        log.configure()
        for logger in structlog.get_logger(), logging.getLogger("library"):
            try:
                try:
                    int("canary")
                except ValueError as error:
                    raise KeyError("canary") from error
            except KeyError:
                logger.exception("event failed")
    """

    lines = [read(line) for line in printed(code)]

    assert [each["event"] for each in lines] == ["event failed", "event failed"]
    for each in lines:
        assert list(each) == ["time", "level", "event", "exception"]
        assert each["exception"].splitlines() == [
            "<string>:8 <module>", "ValueError", "<string>:10 <module>", "KeyError",
        ]  # fmt: skip


def test_a_line_is_shorter_than_where_platforms_cut_and_keeps_its_two_ends() -> None:
    ours, librarys = printed(_WRITER, [("event", {"why": "begin" + "x" * 100_000 + "end"})])

    assert max(len(ours), len(librarys)) < 10_000
    assert read(ours)["why"].startswith("beginxxx")
    assert read(ours)["why"].endswith("xxxend")


def test_what_libraries_tell_of_their_every_step_is_left_out_and_their_warnings_are_not() -> None:
    code = """if True:
        import logging, structlog
        from rmindr import log
        log.configure()
        structlog.get_logger().debug("detail")
        logging.getLogger("uvicorn.access").info("a request")
        for name in "uvicorn", "uvicorn.error", "alembic.runtime.migration", "mail.log":
            logging.getLogger(name).info("a step")
            logging.getLogger(name).warning(name)
    """

    found = [(each["level"], each["event"]) for each in map(read, printed(code))]

    # One line per request is the web tier's own: uvicorn's would be a second.
    assert found == [
        ("info", "a step"),
        ("warning", "uvicorn"),
        ("warning", "uvicorn.error"),
        ("warning", "alembic.runtime.migration"),
        ("warning", "mail.log"),
    ]


def test_configuring_twice_does_not_print_twice() -> None:
    assert (
        len(
            printed(
                "from rmindr import log\nimport structlog\nlog.configure()\n" * 2 + "structlog.get_logger().info('x')"
            )
        )
        == 1
    )


def test_a_terminal_that_knows_ascii_only_does_not_lose_the_line() -> None:
    (line,) = printed(
        "from rmindr import log\nimport structlog\nlog.configure()\nstructlog.get_logger().info('é😀')",
        PYTHONIOENCODING="ascii",
    )

    assert "event=" in line
