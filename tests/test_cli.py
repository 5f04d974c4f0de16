"""The words a person types: what they print, how they end, and that a mistake is answered by a sentence."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect

from rmindr import __version__, cli
from tests.servers import free_port
from tests.stack import ROOT

RIGHT = {
    "RMINDR_PUBLIC_URL": "https://remind.example.org",
    "RMINDR_SECRET_KEY": "a-key-for-tests-that-nobody-can-guess",
    "RMINDR_MAIL_FROM": "Reminders <reminders@example.org>",
}


@dataclass
class Ended:
    """How a command ended, and the lines that it printed."""

    status: int
    said: list[str]
    complained: list[str]


def run(*arguments: str, folder: Path, env: dict[str, str] | None = None) -> Ended:
    """`python -m rmindr …` with this environment and no other, until it ends by itself."""
    done = subprocess.run(
        [sys.executable, "-m", "rmindr", *arguments],
        env={"PYTHONPATH": str(ROOT), "COLUMNS": "100"} | (env or {}),
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return Ended(done.returncode, done.stdout.splitlines(), done.stderr.splitlines())


# Finding one's way


def test_without_a_word_it_shows_them_all_each_with_a_whole_sentence(tmp_path: Path) -> None:
    ended = run(folder=tmp_path)

    help = "\n".join(ended.said + ended.complained)
    words = re.findall(r"^  ([a-z]+)  +(.+)$", help.partition("Commands:")[2], re.MULTILINE)
    assert [word for word, _ in words] == [
        "dev",
        "web",
        "worker",
        "migrate",
        "remind",
        "replan",
        "doctor",
        "version",
        "queue",
    ]
    assert all(sentence.endswith(".") and not sentence.endswith("...") for _, sentence in words)


def test_a_word_that_is_none_is_told_with_where_to_look(tmp_path: Path) -> None:
    ended = run("wrok", folder=tmp_path)

    assert ended.status == 2
    assert ended.said == []
    assert "Try 'rmindr --help' for help." in ended.complained
    assert "No such command 'wrok'" in ended.complained[-1]


def test_version_prints_the_version_and_needs_no_settings(tmp_path: Path) -> None:
    ended = run("version", folder=tmp_path)

    assert (ended.status, ended.said, ended.complained) == (0, [__version__], [])


def test_the_installed_word_is_the_same_program() -> None:
    (script,) = entry_points(group="console_scripts", name="rmindr")

    assert script.load() is cli.main


# Wrong settings


@pytest.mark.parametrize("word", ["web", "worker", "migrate"])
def test_wrong_settings_end_it_with_a_sentence_for_each_variable(word: str, tmp_path: Path) -> None:
    wrong = {"PORT": "http", "RMINDR_SECRET_KEY": "short", "RMINDR_ALLOWED_RECIPIENT": "example.org"}

    ended = run(word, folder=tmp_path, env=RIGHT | wrong)

    assert ended.status == 2
    assert ended.said == []
    assert sorted(ended.complained) == [
        "rmindr: PORT must be a whole number",
        "rmindr: RMINDR_ALLOWED_RECIPIENT is no setting; did you mean RMINDR_ALLOWED_RECIPIENTS?",
        "rmindr: RMINDR_SECRET_KEY must have at least 32 characters; make one with `openssl rand -base64 48`",
    ]
    assert list(tmp_path.iterdir()) == []


def test_dev_needs_no_settings_but_refuses_a_wrong_port(tmp_path: Path) -> None:
    # RMINDR_HOST is for the web tier; everything of `dev` is on loopback.
    ended = run("dev", folder=tmp_path, env={"PORT": "0", "RMINDR_HOST": "0.0.0.0"})

    assert (ended.status, ended.said, ended.complained) == (2, [], ["rmindr: PORT must be at least 1"])


def test_a_worker_without_a_mail_server_names_the_variable(tmp_path: Path) -> None:
    ended = run("worker", folder=tmp_path, env=RIGHT)

    assert ended.status == 2
    assert ended.complained == [
        "rmindr: RMINDR_SMTP_URL is missing, e.g. smtp+starttls://user:password@mail.example.org:587"
    ]


def test_a_port_that_is_taken_ends_the_web_tier_with_a_line_that_names_it(tmp_path: Path) -> None:
    with listening() as port:
        taken = {"PORT": str(port), "RMINDR_HOST": "127.0.0.1", "DATABASE_URL": f"sqlite:///{tmp_path / 'rmindr.db'}"}

        ended = run("web", folder=tmp_path, env=RIGHT | taken)

    assert ended.status != 0
    (line,) = ended.said + ended.complained
    assert str(port) in line
    assert "address already in use" in line


# Migrating


def test_migrating_twice_is_harmless_and_says_the_same(empty_database_url: str, tmp_path: Path) -> None:
    env = RIGHT | {"DATABASE_URL": empty_database_url.replace("postgresql+psycopg:", "postgres:")}

    first, second = (run("migrate", folder=tmp_path, env=env) for _ in range(2))

    assert first == second == Ended(0, ["the database is up to date"], [])
    assert {"reminders", "facts"} <= tables(empty_database_url)


def test_a_database_that_cannot_be_reached_ends_it_with_one_sentence_without_the_password(tmp_path: Path) -> None:
    url = f"postgres://user:tr0ub4dor@127.0.0.1:{free_port()}/name"

    ended = run("migrate", folder=tmp_path, env=RIGHT | {"DATABASE_URL": url})

    assert (ended.status, ended.said) == (1, [])
    (sentence,) = ended.complained
    assert re.match(r"rmindr: The database could not be brought up to date: .*Connection refused", sentence)
    assert "tr0ub4dor" not in sentence


def tables(url: str) -> set[str]:
    engine = create_engine(url)
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


@contextmanager
def listening() -> Iterator[int]:
    """A port that somebody else has."""
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        yield int(squatter.getsockname()[1])
