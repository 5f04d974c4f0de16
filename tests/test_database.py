"""The database as all rooms see it: statements, transactions, one clock, few connections, and «not now» in one word."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    Connection,
    column,
    create_engine,
    func,
    insert,
    literal,
    select,
    table,
    text,
    type_coerce,
    update,
)
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.pool import NullPool

from rmindr.database import _PATIENCE_S, Database, Instant, from_ms, now
from rmindr.errors import StorageUnavailable
from tests.deliveries import Away
from tests.servers import Postgres, free_port

PROPERTY: Final = settings(deadline=None, derandomize=True, database=None, max_examples=200)
# Longer than anything takes on a busy machine: waiting this long in vain is a failure, never a measurement.
PATIENCE_S: Final = 30.0
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MS: Final = timedelta(milliseconds=1)
FACTS: Final = table("facts", column("name"), column("value"), column("updated_at", Instant()))


def fact(name: str, **values: Any) -> Any:
    """The statement that writes one."""
    return insert(FACTS).values(**{"name": name, "value": "x", "updated_at": EPOCH} | values)


async def names(database: Database) -> list[str]:
    """The facts that are committed, as another connection sees them."""
    async with database.statements() as connection:
        return list(await connection.scalars(select(FACTS.c.name).order_by(FACTS.c.name)))


@contextmanager
def beside(url: str) -> Iterator[Connection]:
    """Somebody else's connection to the same database."""
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection


@pytest.fixture
async def on_sqlite(sqlite_template: Any, tmp_path: Any) -> AsyncIterator[Database]:
    (tmp_path / "rmindr.db").write_bytes(sqlite_template.read_bytes())
    async with Database.open(f"sqlite:///{tmp_path / 'rmindr.db'}") as database:
        yield database


# Statements, and transactions


async def test_each_statement_commits_by_itself_whatever_becomes_of_the_block(database: Database) -> None:
    with suppress(RuntimeError):
        async with database.statements() as connection:
            await connection.execute(fact("one"))
            raise RuntimeError("after it")

    assert await names(database) == ["one"]


async def test_a_transaction_is_seen_when_it_ends_and_not_before(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(fact("one"))
        await connection.execute(fact("two"))
        before = await names(database)

    assert before == []
    assert await names(database) == ["one", "two"]


async def test_a_transaction_that_fails_leaves_nothing(database: Database) -> None:
    with suppress(RuntimeError):
        async with database.transaction() as connection:
            await connection.execute(fact("one"))
            raise RuntimeError("after it")

    assert await names(database) == []


async def test_a_transaction_that_is_cancelled_leaves_nothing_and_holds_nobody_up(database: Database) -> None:
    begun = asyncio.Event()

    async def never_ending() -> None:
        async with database.transaction() as connection:
            await connection.execute(fact("one"))
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(never_ending())
    await begun.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    async with database.transaction() as connection:
        await connection.execute(fact("two"))
    assert await names(database) == ["two"]


async def test_a_connection_that_failed_is_as_good_as_new(database: Database) -> None:
    async with database.statements() as connection:
        await connection.execute(fact("one"))
        with pytest.raises(IntegrityError):
            await connection.execute(fact("one"))
        await connection.execute(fact("two"))

    for number in range(6):
        with pytest.raises(IntegrityError):
            async with database.statements() as connection:
                await connection.execute(fact("one"))
        async with database.statements() as connection:
            await connection.execute(fact(f"more {number}"))

    assert len(await names(database)) == 8


async def test_transactions_that_read_and_then_write_wait_for_each_other(database: Database) -> None:
    async with database.statements() as connection:
        await connection.execute(fact("counter", value="0"))

    async def one_more() -> None:
        async with database.transaction() as connection:
            found = int(await connection.scalar(select(FACTS.c.value).with_for_update()))
            await connection.execute(update(FACTS).values(value=str(found + 1)))

    await asyncio.gather(*(one_more() for _ in range(10)))

    async with database.statements() as connection:
        assert await connection.scalar(select(FACTS.c.value)) == "10"


# Instants, and the clock


@pytest.mark.parametrize(
    "moment",
    [
        EPOCH,
        EPOCH - MS,
        datetime(1900, 1, 1, tzinfo=UTC),
        datetime(2026, 12, 1, 9, 0, 0, 123_000, tzinfo=UTC),
        datetime(2126, 12, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC),
    ],
)
async def test_an_instant_comes_back_as_it_went_in(database: Database, moment: datetime) -> None:
    elsewhere = moment.astimezone(timezone(timedelta(hours=-5))) if moment.year > 1 else moment

    async with database.statements() as connection:
        await connection.execute(fact("one", updated_at=elsewhere))
        found = await connection.scalar(select(FACTS.c.updated_at))
        equal = await connection.scalar(select(func.count()).where(FACTS.c.updated_at == moment))

    assert found == moment
    assert found.tzinfo is UTC
    assert equal == 1


async def test_no_instant_is_none(database: Database) -> None:
    async with database.statements() as connection:
        assert await connection.scalar(select(literal(None, Instant()))) is None


@PROPERTY
@given(st.datetimes(timezones=st.just(UTC)))
@example(EPOCH - timedelta(microseconds=1))
def test_an_instant_is_kept_to_the_millisecond_before_it(moment: datetime) -> None:
    ms = Instant().process_bind_param(moment, None)

    assert isinstance(ms, int)
    assert timedelta(0) <= moment - from_ms(ms) < MS


def test_a_time_without_a_zone_is_no_instant() -> None:
    with pytest.raises(TypeError):
        Instant().process_bind_param(datetime(2026, 12, 1), None)  # noqa: DTZ001


async def test_the_databases_clock_is_to_the_millisecond_that_of_its_machine(database: Database) -> None:
    for _ in range(50):
        before = datetime.now(UTC)
        async with database.statements() as connection:
            found = await connection.scalar(select(now()))
        after = datetime.now(UTC)

        assert found is not None
        assert before - MS < found <= after


async def test_the_clock_goes_on_inside_a_transaction(database: Database) -> None:
    async with database.transaction() as connection:
        begun = await connection.scalar(select(now()))
        async with asyncio.timeout(PATIENCE_S):
            while await connection.scalar(select(now())) == begun:
                pass


async def test_spans_are_added_to_the_clock_in_milliseconds(database: Database) -> None:
    async with database.statements() as connection:
        first, second = (await connection.execute(select(now(), type_coerce(now() + 60_000, Instant())))).one()

    assert timedelta(0) <= second - first - timedelta(minutes=1) < timedelta(seconds=10)


# How it is set up


async def test_an_answered_write_survives_a_power_cut_on_sqlite(on_sqlite: Database) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(3):
            connection = await stack.enter_async_context(on_sqlite.statements())
            found = {
                name: await connection.scalar(text(f"PRAGMA {name}"))
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }

            # FULL is 2. Whoever waits for a lock gives up before we give up on it.
            assert found | {"busy_timeout": None} == {
                "journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": None,
            }  # fmt: skip
            assert 1000 <= found["busy_timeout"] < _PATIENCE_S * 1000


async def test_an_answered_write_survives_a_power_cut_on_postgresql(postgres: Postgres) -> None:
    async with Database.open(psycopg(postgres.url("template_rmindr"))) as database:
        async with database.statements() as connection:
            found = {
                name: await connection.scalar(text(f"SHOW {name}"))
                for name in ("synchronous_commit", "statement_timeout", "application_name")
            }

    assert found == {"synchronous_commit": "on", "statement_timeout": "3s", "application_name": "rmindr"}


async def test_a_small_plan_carries_two_web_processes_and_a_worker_twice_over(postgres: Postgres) -> None:
    async with Database.open(psycopg(postgres.url("template_rmindr"))) as database:

        async def look() -> int:
            async with database.statements() as connection:
                await connection.execute(text("SELECT pg_sleep(0.05)"))
                return int(await connection.scalar(text(_OURS)))

        most = max(await asyncio.gather(*(look() for _ in range(12))))

    # Two web processes and a worker, all of them twice while a deploy replaces them, and one for a person.
    assert most * 3 * 2 + 1 <= 20
    with beside(psycopg(postgres.url())) as connection:
        assert connection.scalar(text(_OURS)) == 0


_OURS: Final = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rmindr'"


def psycopg(url: str) -> str:
    return url.replace("postgresql:", "postgresql+psycopg:")


async def test_opening_needs_no_database_yet_and_closing_none_any_more(tmp_path: Any) -> None:
    async with (
        Database.open(f"postgresql+psycopg://user@127.0.0.1:{free_port()}/name"),
        Database.open(f"sqlite:///{tmp_path / 'nowhere' / 'rmindr.db'}"),
    ):
        pass


# When it does not answer


async def test_a_database_that_went_away_is_not_now_and_is_there_again_when_it_comes_back(
    database: Database, away: Away
) -> None:
    async with database.statements() as connection:
        await connection.execute(fact("one"))
    away.go()

    for room in (database.statements, database.transaction):
        with pytest.raises(StorageUnavailable):
            async with room() as connection:
                await connection.execute(fact("two"))

    away.come_back()
    assert await names(database) == ["one"]


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://user:secret@127.0.0.1:{port}/name", "sqlite:///{folder}/no/file.db"]
)
async def test_a_database_that_never_was_is_not_now_and_its_password_is_not_told(url: str, tmp_path: Any) -> None:
    async with Database.open(url.format(port=free_port(), folder=tmp_path)) as database:
        with pytest.raises(StorageUnavailable, match=r"^the database did not answer: OperationalError$") as raised:
            async with database.statements() as connection:
                await connection.execute(text("SELECT 1"))

    assert "secret" not in str(raised.value)
    await no_thread_left()


async def no_thread_left() -> None:
    """Until the driver's threads are gone: one whose file could not be opened says goodbye to this loop by itself."""
    async with asyncio.timeout(PATIENCE_S):
        while any("_connection_worker_thread" in thread.name for thread in threading.enumerate()):
            await asyncio.sleep(0.001)


async def test_what_is_locked_for_long_is_not_now_and_is_not_done_later(database: Database, database_url: str) -> None:
    with beside(database_url) as other:
        hold(other)

        async with asyncio.timeout(PATIENCE_S):
            ended = await asyncio.gather(write(database, "one"), write_all(database, "two"), return_exceptions=True)

        assert [type(each) for each in ended] == [StorageUnavailable, StorageUnavailable]
        other.exec_driver_sql("COMMIT")
    await write(database, "three")
    assert await names(database) == ["three"]


def hold(connection: Connection) -> None:
    """Keep everybody else from writing facts."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql("BEGIN")
        connection.exec_driver_sql("LOCK TABLE facts IN ACCESS EXCLUSIVE MODE")


async def test_what_is_locked_for_a_moment_is_waited_for(database: Database, database_url: str) -> None:
    with beside(database_url) as other:
        hold(other)
        writing = asyncio.create_task(write(database, "one"))
        # One that reads comes and goes meanwhile, where readers need no lock.
        await asyncio.sleep(0.05)
        assert not writing.done()

        other.exec_driver_sql("COMMIT")

    await writing
    assert await names(database) == ["one"]


async def write(database: Database, name: str) -> None:
    async with database.statements() as connection:
        await connection.execute(fact(name))


async def write_all(database: Database, *names: str) -> None:
    async with database.transaction() as connection:
        for name in names:
            await connection.execute(fact(name))


async def test_while_all_connections_are_held_the_next_is_told_not_now_and_none_held_too_long_is_handed_on(
    database: Database,
) -> None:
    async def hold_on() -> None:
        with suppress(StorageUnavailable):
            async with database.statements() as connection:
                await connection.execute(text("SELECT 1"))
                await asyncio.Event().wait()

    async with asyncio.timeout(PATIENCE_S):
        holding = [asyncio.create_task(hold_on()) for _ in range(3)]
        await asyncio.sleep(0)

        with pytest.raises(StorageUnavailable, match=r"^the database did not answer: TimeoutError$"):
            await names(database)

        await asyncio.gather(*holding)
        assert await asyncio.gather(*(names(database) for _ in range(6))) == [[]] * 6


async def test_who_waits_for_a_connection_gets_the_first_that_is_free(database: Database) -> None:
    async with AsyncExitStack() as taken:
        for _ in range(3):
            await taken.enter_async_context(database.statements())
        waiting = asyncio.create_task(names(database))
        await asyncio.sleep(0)
        assert not waiting.done()

    assert await waiting == []


async def test_what_is_wrong_with_a_statement_is_not_the_databases_absence(database: Database) -> None:
    async with database.statements() as connection:
        await connection.execute(fact("one"))

    with pytest.raises(IntegrityError):
        await write(database, "one")


async def test_a_table_that_is_not_there_is_a_mistake_on_postgresql(postgres: Postgres) -> None:
    async with Database.open(psycopg(postgres.url())) as database:
        with pytest.raises(ProgrammingError):
            await names(database)
