"""The schema: what the migrations make is what the models say, from any beginning, and however many migrate at once."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, text
from sqlmodel import SQLModel

from rmindr import models, schema
from rmindr.errors import MigrationFailed
from tests.servers import Postgres, free_port
from tests.stack import ROOT

TABLES = {models.Reminder.__tablename__, models.Fact.__tablename__}


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """A connection whose work is committed at the end."""
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def described(connection: Connection) -> dict[str, Any]:
    """Every table as the database itself describes it, in all that matters to a statement."""
    inspector = inspect(connection)
    return {
        table: {
            "columns": {
                each["name"]: (str(each["type"]), each["nullable"], str(each["default"]))
                for each in inspector.get_columns(table)
            },
            "primary key": inspector.get_pk_constraint(table)["constrained_columns"],
            "unique": sorted((each["name"], each["column_names"]) for each in inspector.get_unique_constraints(table)),
            "indexes": {
                each["name"]: (
                    each["column_names"],
                    bool(each["unique"]),
                    {option: str(value) for option, value in each.get("dialect_options", {}).items()},
                )
                for each in inspector.get_indexes(table)
            },
        }
        for table in inspector.get_table_names()
        if table != "alembic_version"
    }


def revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def head() -> str | None:
    return ScriptDirectory(str(files("rmindr") / "migrations")).get_current_head()


def downgrade(url: str) -> None:
    """Back to nothing, by the migrations' own way."""
    config = Config()
    config.set_main_option("script_location", str(files("rmindr") / "migrations"))
    with connected(url) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")


# What is made


def test_the_migrations_make_what_the_models_say_and_nothing_is_left_to_migrate(empty_database_url: str) -> None:
    schema.migrate(empty_database_url)

    with connected(empty_database_url) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []
        assert revision(connection) == head()


def test_the_migrations_make_the_very_tables_that_the_models_would(empty_database_url: str) -> None:
    schema.migrate(empty_database_url)
    with connected(empty_database_url) as connection:
        migrated = described(connection)

    downgrade(empty_database_url)
    with connected(empty_database_url) as connection:
        SQLModel.metadata.create_all(connection)
        wanted = described(connection)

    assert set(migrated) == TABLES
    assert migrated == wanted


def test_the_queries_that_run_all_day_have_their_indexes(database_url: str) -> None:
    with connected(database_url) as connection:
        indexes = described(connection)["reminders"]["indexes"]

    assert indexes["ix_reminders_status_next_at"][0] == ["status", "next_at"]
    assert indexes["ix_reminders_owner_id"][0] == ["owner", "id"]
    assert indexes["ix_reminders_unqueued"][0] == ["next_at"]
    assert "queued_rev IS NULL" in str(indexes["ix_reminders_unqueued"][2])


# From any beginning


def test_migrating_again_changes_nothing_and_loses_nothing(empty_database_url: str) -> None:
    schema.migrate(empty_database_url)
    with connected(empty_database_url) as connection:
        connection.execute(text("INSERT INTO facts (name, value, updated_at) VALUES ('epoch', 'kept', 1)"))
        before = described(connection)

    schema.migrate(empty_database_url)

    with connected(empty_database_url) as connection:
        assert described(connection) == before
        assert connection.scalar(text("SELECT value FROM facts")) == "kept"


def test_down_and_up_again_makes_the_same_schema(empty_database_url: str) -> None:
    schema.migrate(empty_database_url)
    with connected(empty_database_url) as connection:
        before = described(connection)

    downgrade(empty_database_url)
    with connected(empty_database_url) as connection:
        assert described(connection) == {}
        assert revision(connection) is None

    schema.migrate(empty_database_url)
    with connected(empty_database_url) as connection:
        assert described(connection) == before


def test_the_release_before_leaves_a_later_schema_alone(database_url: str) -> None:
    # Heroku runs the release phase at a rollback, too; failing there would make it impossible.
    with connected(database_url) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(text("ALTER TABLE facts ADD COLUMN later INTEGER"))
        before = described(connection)

    schema.migrate(database_url)

    with connected(database_url) as connection:
        assert revision(connection) == "9999"
        assert described(connection) == before


def test_a_migration_that_fails_halfway_leaves_nothing_behind(empty_database_url: str) -> None:
    with connected_anew(empty_database_url) as connection:
        connection.execute(text("CREATE TABLE facts (somebody_elses INTEGER)"))

    with pytest.raises(MigrationFailed, match=r"facts.* already exists"):
        schema.migrate(empty_database_url)

    with connected(empty_database_url) as connection:
        assert set(inspect(connection).get_table_names()) == {"facts"}


@contextmanager
def connected_anew(url: str) -> Iterator[Connection]:
    """The same, where the folder of a SQLite file may not be there yet."""
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    with connected(url) as connection:
        yield connection


def test_a_file_is_ready_for_readers_and_a_writer_at_once(tmp_path: Path) -> None:
    schema.migrate(f"sqlite:///{tmp_path / 'rmindr.db'}")

    with connected(f"sqlite:///{tmp_path / 'rmindr.db'}") as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"


# However many at once


def test_processes_that_migrate_at_once_all_succeed_and_migrate_once(empty_database_url: str) -> None:
    # Each says when it is about to begin, and begins when it is told to: a start takes longer than a migration.
    code = """if True:
        import sys
        from rmindr import schema
        print("ready", flush=True)
        sys.stdin.read()
        schema.migrate(sys.argv[1])
    """
    with ExitStack() as stack:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        command = [sys.executable, "-c", code, empty_database_url]
        runs = [
            stack.enter_context(subprocess.Popen(command, env={"PYTHONPATH": str(ROOT)}, text=True, **pipes))  # type: ignore[call-overload]
            for _ in range(2)
        ]
        assert [run.stdout.readline() for run in runs] == ["ready\n"] * 2

        for run in runs:
            run.stdin.close()

        said = [run.stdout.read() for run in runs]
        assert [run.wait() for run in runs] == [0, 0], said
    with connected(empty_database_url) as connection:
        assert revision(connection) == head()
        assert connection.scalar(text("SELECT count(*) FROM alembic_version")) == 1
        assert set(described(connection)) == TABLES


def test_one_that_comes_while_another_migrates_waits_and_finds_it_done(empty_database_url: str) -> None:
    engine = schema._engine(empty_database_url)
    with ThreadPoolExecutor() as elsewhere:
        with engine.begin() as connection:
            schema._lock(connection)
            schema._upgrade(connection)

            waiting = elsewhere.submit(schema.migrate, empty_database_url)

            assert engine.dialect.name == "sqlite" or is_seen_to_wait(waiting, empty_database_url)
        assert waiting.result() is None
    engine.dispose()
    with connected(empty_database_url) as connection:
        assert revision(connection) == head()


def is_seen_to_wait(waiting: Future[None], url: str) -> bool:
    """Whether it comes to wait for an advisory lock before it is done; SQLite has no such table to look at."""
    with connected(url) as connection:
        while not waiting.done():
            if kind := connection.scalar(text("SELECT locktype FROM pg_locks WHERE NOT granted")):
                return bool(kind == "advisory")
            time.sleep(0.01)
    return False


# Where it cannot be done


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql+psycopg://user:secret@127.0.0.1:{port}/name", "Connection refused"),
        ("sqlite:///{folder}", "unable to open database file"),
        ("sqlite:///{folder}/a-file/rmindr.db", "File exists|Not a directory"),
    ],
)
def test_a_database_that_is_not_there_is_told_in_one_sentence_without_its_password(
    url: str, why: str, tmp_path: Path
) -> None:
    (tmp_path / "a-file").touch()

    with pytest.raises(MigrationFailed, match=f"^The database could not be brought up to date: .*({why})") as raised:
        schema.migrate(url.format(port=free_port(), folder=tmp_path))

    assert str(raised.value).isprintable()
    assert "secret" not in str(raised.value)


def test_a_database_whose_name_is_wrong_is_told(postgres: Postgres) -> None:
    with pytest.raises(MigrationFailed, match='database "nowhere" does not exist'):
        schema.migrate(postgres.url("nowhere").replace("postgresql:", "postgresql+psycopg:"))
