"""Bringing the database to the schema of this release: `rmindr migrate`.

Migrations only ever add, because the release before goes on running on the new schema while a deploy takes place."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

# Any number that nobody else locks: it keeps two releases from migrating at once.
_LOCK = 7_263_401


def migrate(url: str) -> None:
    """Apply what is missing, all or nothing; harmless when nothing is. Creates the folder of a SQLite file."""
    engine = create_engine(url)
    if engine.dialect.name == "sqlite" and engine.url.database:
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
    config = Config()
    config.set_main_option("script_location", str(files("rmindr") / "migrations"))
    try:
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                # Held to the end of the transaction: a pooler may take the session away, but not that.
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()
