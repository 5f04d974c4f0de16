"""Bringing the database to the schema of this release: `rmindr migrate`.

Migrations only ever add, because the release before goes on running on the new schema while a deploy takes place."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

import structlog
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from rmindr.errors import MigrationFailed

# Any number that nobody else locks: it keeps two releases from migrating at once.
_LOCK: Final = 7_263_401
# A server that does not answer by then is not there; a file that is locked for longer is locked for good.
_CONNECT_S: Final = 10
_LOCKED_S: Final = 60

log = structlog.get_logger(__name__)


def migrate(url: str) -> None:
    """Apply what is missing, all or nothing; harmless when nothing is. Creates the folder of a SQLite file.

    A schema of a later release is left as it is, for a release that was rolled back. Raises MigrationFailed."""
    try:
        engine = _engine(url)
        try:
            with engine.begin() as connection:
                _lock(connection)
                _upgrade(connection)
            if engine.dialect.name == "sqlite":
                _keep_a_log(engine)
        finally:
            engine.dispose()
    except (DBAPIError, OSError) as error:
        raise MigrationFailed(f"The database could not be brought up to date: {_why(error)}") from error


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a database stands: which revisions of this release it lacks, and which it has of a later one."""

    missing: Sequence[str]
    later: Sequence[str]


def standing(url: str) -> Standing:
    """Where this database stands; nothing is changed. Raises MigrationFailed where it cannot be asked."""
    parsed = make_url(url)
    there = parsed.get_backend_name() != "sqlite" or Path(parsed.database or "").is_file()
    try:
        # A file that is not there would be made by looking at it.
        at = _heads(_engine(url)) if there else set()
    except (DBAPIError, OSError) as error:
        raise MigrationFailed(f"The database could not be asked: {_why(error)}") from error
    scripts = ScriptDirectory.from_config(_config())
    known = [script.revision for script in scripts.walk_revisions()]
    applied = {
        each.revision for head in at & set(known) for each in scripts.iterate_revisions(head, "base", inclusive=True)
    }
    return Standing(
        missing=[each for each in reversed(known) if each not in applied] if not at - set(known) else [],
        later=sorted(at - set(known)),
    )


def _heads(engine: Engine) -> set[str]:
    try:
        with engine.connect() as connection:
            return set(MigrationContext.configure(connection).get_current_heads())
    finally:
        engine.dispose()


def _why(error: DBAPIError | OSError) -> str:
    return str(error.orig if isinstance(error, DBAPIError) else error).strip().partition("\n")[0]


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("rmindr") / "migrations").replace("%", "%%"))
    return config


def _engine(url: str) -> Engine:
    engine = create_engine(url)
    if engine.dialect.name != "sqlite":
        return create_engine(url, connect_args={"connect_timeout": _CONNECT_S})
    Path(engine.url.database or "").parent.mkdir(parents=True, exist_ok=True)
    # Its driver would begin a transaction by itself, but not before a CREATE TABLE.
    return create_engine(url, isolation_level="AUTOCOMMIT", connect_args={"timeout": _LOCKED_S})


def _keep_a_log(engine: Engine) -> None:
    """Let readers and a writer of this SQLite file work at once, from the first connection on.

    The file remembers. Were it left to the processes that start next, the one that comes second would find it locked."""
    with suppress(DBAPIError), engine.connect() as connection:
        # Refused while another migrates, which then does it itself.
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")


def _lock(connection: Connection) -> None:
    """Wait until nobody else migrates; held to the end of the transaction."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        # Not one of the session: a pooler may take that away.
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


def _upgrade(connection: Connection) -> None:
    config = _config()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    later = set(MigrationContext.configure(connection).get_current_heads()) - known
    if later:
        log.warning("the schema is of a later release", revision=", ".join(sorted(later)))
        return
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
