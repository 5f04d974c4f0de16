"""The database: one engine per process, its clock, and errors that say «not now» in one word.

The same code runs on PostgreSQL and on SQLite. Every statement is its own transaction unless it stands inside
`transaction()`, so a single UPDATE is one round trip. The database's clock decides every instant that matters.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
from sqlalchemy import BigInteger, Table, event
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.postgresql.base import PGCompiler
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
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
POOL_SIZE: Final = 3
_POOL: Final = {"pool_size": POOL_SIZE, "max_overflow": 0, "pool_timeout": 3.0, "pool_recycle": 1800}
_IDLE_CHECK_S: Final = 20.0
# Longer than any statement here takes; shorter than a person waits for an answer.
_PATIENCE_S: Final = 4.0
# Shorter than that: a statement which the database itself gives up is a plain no; it will not be carried out later.
_STATEMENT_S: Final = 3.0
# What is not a statement, such as connecting, ends this much later at the latest.
_GRACE_S: Final = 0.5
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime, kept as whole milliseconds since the epoch: the same arithmetic on every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | int | None, dialect: object) -> int | None:
        """datetime → ms; plain integers are durations and pass."""
        if isinstance(value, datetime):
            return to_ms(value)
        return value

    def process_result_value(self, value: int | None, dialect: object) -> datetime | None:
        """ms → datetime."""
        return None if value is None else from_ms(value)


def to_ms(moment: datetime) -> int:
    """The whole milliseconds from the epoch to this aware instant."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


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

    def insert(self, table: Table) -> Any:
        """An INSERT that knows ON CONFLICT, in the words of this database."""
        return (sqlite_insert if self._engine.dialect.name == "sqlite" else postgresql_insert)(table)

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
        async with asyncio.timeout(_PATIENCE_S + _GRACE_S):
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
            connect_args={"timeout": _STATEMENT_S},
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
            "options": f"-c statement_timeout={_STATEMENT_S * 1000:.0f} -c synchronous_commit=on",
            "keepalives_idle": 30,
            # A statement is prepared when it is first seen twice, not five times: these few run for ever.
            "prepare_threshold": 1,
        },
        **_POOL,
    )
    event.listen(engine.sync_engine, "checkin", _take_back)
    event.listen(engine.sync_engine, "checkout", _lend)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    # FULL: an answered POST survives a power cut, not only a crash.
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        f"busy_timeout={_STATEMENT_S * 1000:.0f}",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _take_back(_: object, record: Any) -> None:
    """When a connection comes back to the pool: its time is no longer counted."""
    record.info["idle_since"] = time.monotonic()
    if (cutting := record.info.pop("cutting", None)) is not None:
        cutting.cancel()


def _lend(connection: Any, record: Any, _: object) -> None:
    """When a connection leaves the pool: for so long and no longer, and alive. One just used needs no round trip."""
    if "cut" in record.info:
        raise DisconnectionError
    record.info["cutting"] = cutting = asyncio.get_running_loop().call_later(_PATIENCE_S, _cut, connection, record)
    if time.monotonic() - record.info.get("idle_since", time.monotonic()) < _IDLE_CHECK_S:
        return
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT 1")
        cursor.close()
    except Exception as error:
        cutting.cancel()
        raise DisconnectionError from error


def _cut(connection: Any, record: Any) -> None:
    """End the conversation with a server that is silent, so that whoever waits for it learns so at once.

    Cancelling would not do: the driver then asks that very server to stop, and waits until it has."""
    # Whoever held it may have been busy with something else, and gives it back without noticing.
    record.info["cut"] = True
    with contextlib.suppress(psycopg.Error, OSError):
        with socket.socket(fileno=os.dup(connection.driver_connection.pgconn.socket)) as wire:
            wire.shutdown(socket.SHUT_RDWR)
