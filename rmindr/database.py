"""The database: one engine per process, its clock, and errors that say «not now» in one word.

The same code runs on PostgreSQL and on SQLite. Every statement is its own transaction unless it stands inside
`transaction()`, so a single UPDATE is one round trip. The database's clock decides every instant that matters.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, event
from sqlalchemy.dialects.postgresql.base import PGCompiler
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

from rmindr.errors import StorageUnavailable

# A plan with 20 connections carries two web processes and a worker, twice over while a deploy replaces them (3 · 3 · 2).
_POOL: Final = {"pool_size": 2, "max_overflow": 1, "pool_timeout": 3.0, "pool_recycle": 1800}
_IDLE_CHECK_S: Final = 20.0
# Longer than any statement here takes; shorter than a person waits for an answer.
_PATIENCE_S: Final = 4.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime, kept as whole milliseconds since the epoch: the same arithmetic on every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | int | None, dialect: object) -> int | None:
        """datetime → ms; plain integers are durations and pass."""
        if isinstance(value, datetime):
            return (value - _EPOCH) // timedelta(milliseconds=1)
        return value

    def process_result_value(self, value: int | None, dialect: object) -> datetime | None:
        """ms → datetime."""
        return None if value is None else from_ms(value)


def from_ms(ms: int) -> datetime:
    """The instant of these milliseconds since the epoch."""
    return _EPOCH + timedelta(milliseconds=ms)


class now(FunctionElement[datetime]):  # noqa: N801  (reads as SQL does)
    """The database's own clock, to the millisecond, at the moment the statement runs."""

    type = Instant()
    inherit_cache = True


@compiles(now, "postgresql")
def _now_postgresql(_: Any, __: PGCompiler, **___: Any) -> str:
    return "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"


@compiles(now, "sqlite")
def _now_sqlite(_: Any, __: SQLCompiler, **___: Any) -> str:
    # SQLite keeps 'now' in whole milliseconds; the division by days needs the rounding back.
    return "CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)"


class Database:
    """One process's connections to the record."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        # A SQLite transaction that begins as a reader and then writes fails at once when another writes; this one waits.
        self._begin = "BEGIN IMMEDIATE" if engine.dialect.name == "sqlite" else "BEGIN"

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator[Database]:
        """A database on this URL, closed at the end of the block. Connects when first needed."""
        engine = _engine(url)
        try:
            yield cls(engine)
        finally:
            await engine.dispose()

    @asynccontextmanager
    async def statements(self) -> AsyncIterator[AsyncConnection]:
        """A connection on which every statement commits by itself. Raises StorageUnavailable."""
        async with _in_time(), self._engine.connect() as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A connection whose statements commit together at the end of the block. Raises StorageUnavailable."""
        async with _in_time(), self._engine.begin() as connection:
            await connection.exec_driver_sql(self._begin)
            yield connection


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    """A database that does not answer is unavailable, whatever layer notices first."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            yield
    except DBAPIError as error:
        # Constraints and the like are ours to handle; what is left is the server, the network or a lock.
        if type(error).__name__ in ("IntegrityError", "ProgrammingError", "DataError"):
            raise
        raise StorageUnavailable(f"the database did not answer: {type(error).__name__}") from error
    except (PoolTimeout, TimeoutError, OSError) as error:
        raise StorageUnavailable(f"the database did not answer: {type(error).__name__}") from error


def _engine(url: str) -> AsyncEngine:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = create_async_engine(
            parsed.set(drivername="sqlite+aiosqlite"),
            isolation_level="AUTOCOMMIT",
            connect_args={"timeout": 5.0},
            **_POOL,
        )
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        return engine
    engine = create_async_engine(
        parsed,
        isolation_level="AUTOCOMMIT",
        connect_args={
            "connect_timeout": 3,
            "application_name": "rmindr",
            "options": "-c statement_timeout=4000 -c synchronous_commit=on",
            "keepalives_idle": 30,
            # A statement is prepared when it is first seen twice, not five times: these few run for ever.
            "prepare_threshold": 1,
        },
        **_POOL,
    )
    event.listen(engine.sync_engine, "checkin", _note_time)
    event.listen(engine.sync_engine, "checkout", _check_if_idle)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    # FULL: an answered POST survives a power cut, not only a crash.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _note_time(_: object, record: Any) -> None:
    record.info["idle_since"] = time.monotonic()


def _check_if_idle(connection: Any, record: Any, _: object) -> None:
    """Ask a connection that has been idle for a while whether it still lives; one just used needs no round trip."""
    if time.monotonic() - record.info.get("idle_since", time.monotonic()) < _IDLE_CHECK_S:
        return
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT 1")
        cursor.close()
    except Exception as error:
        raise DisconnectionError from error
