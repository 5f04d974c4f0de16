"""So many at once, and as many again over the time: one count for all processes, exact when they come together."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from rmindr.database import Database, now
from rmindr.errors import TooMany
from rmindr.limits import Limit, Limits, buckets, counted_as

THREE = Limit("three", 3, timedelta(hours=1), "3 an hour")
ONE = Limit("one", 1, timedelta(hours=1), "1 an hour")


@pytest.fixture
def limits(database: Database) -> Limits:
    return Limits(database, "a key")


async def test_so_many_come_at_once_and_the_next_is_told_when(limits: Limits) -> None:
    left = [(await limits.take((THREE, "ada")))[0].count for _ in range(3)]

    with pytest.raises(TooMany) as caught:
        await limits.take((THREE, "ada"))

    assert left == [2, 1, 0]
    assert timedelta(minutes=19) < caught.value.retry_after <= timedelta(minutes=20)
    assert caught.value.what == "3 an hour"


async def test_each_has_a_count_of_their_own(limits: Limits) -> None:
    for whom in ("ada", "bob"):
        await limits.take((ONE, whom))
    await limits.take((THREE, "ada"))

    with pytest.raises(TooMany):
        await limits.take((ONE, "ada"))


async def test_what_was_taken_is_free_again_in_time(database: Database, limits: Limits) -> None:
    for _ in range(3):
        await limits.take((THREE, "ada"))
    async with database.statements() as connection:
        await connection.execute(update(buckets).values(free_at=buckets.c.free_at - 20 * 60_000))

    await limits.take((THREE, "ada"))

    with pytest.raises(TooMany):
        await limits.take((THREE, "ada"))


async def test_where_one_limit_refuses_nothing_is_taken_of_any(limits: Limits) -> None:
    await limits.take((ONE, "ada"))

    for _ in range(5):
        with pytest.raises(TooMany):
            await limits.take((ONE, "ada"), (THREE, "ada"))

    assert [(await limits.take((THREE, "ada")))[0].count for _ in range(3)] == [2, 1, 0]


async def test_of_many_at_once_exactly_as_many_come_through_as_there_may(database: Database, limits: Limits) -> None:
    async def one() -> bool:
        try:
            await limits.take((THREE, "ada"), (ONE, str(id(object()))))
        except TooMany:
            return False
        return True

    through = [await asyncio.gather(*(one() for _ in range(3))) for _ in range(4)]

    assert sum(map(sum, through)) == 3


# Many at once


async def test_what_is_held_is_taken_of_as_one_by_one(database: Database, limits: Limits) -> None:
    await limits.take((THREE, "ada"))

    async with database.transaction() as connection:
        held = (await limits.hold(connection, (THREE, "ada"), (ONE, "ada")))[THREE, "ada"]
        left = [held.left.count]
        for _ in range(2):
            held.take()
            left.append(held.left.count)
        with pytest.raises(TooMany) as caught:
            held.take()
        await limits.keep(connection, [held])

    assert left == [2, 1, 0]
    assert timedelta(minutes=19) < caught.value.retry_after <= timedelta(minutes=20)
    with pytest.raises(TooMany):
        await limits.take((THREE, "ada"))
    # Held, but nothing was taken of it.
    assert (await limits.take((ONE, "ada")))[0].count == 0


async def test_what_is_held_is_nobody_else_s_to_take_meanwhile(database: Database, limits: Limits) -> None:
    async def take(count: int) -> int:
        async with database.transaction() as connection:
            (held,) = (await limits.hold(connection, (THREE, "ada"))).values()
            taken = 0
            for _ in range(count):
                with contextlib.suppress(TooMany):
                    held.take()
                    taken += 1
            await limits.keep(connection, [held])
            return taken

    assert sum(await asyncio.gather(*(take(2) for _ in range(3)))) == 3


async def test_holding_none_says_nothing(database: Database, limits: Limits) -> None:
    async with database.transaction() as connection:
        assert await limits.hold(connection) == {}
        await limits.keep(connection, [])


async def test_the_table_knows_nobody_s_name(database: Database, limits: Limits) -> None:
    await limits.take((ONE, "canary@example.org"))

    async with database.statements() as connection:
        names = (await connection.execute(select(buckets.c.name).where(buckets.c.free_at > now()))).scalars().all()
    assert len(names) == 1
    assert "canary" not in names[0]


@pytest.mark.parametrize(
    ("written", "mailbox"),
    [
        ("Ada.L+news@Gmail.com", "adal@gmail.com"), ("adal@googlemail.com", "adal@gmail.com"),
        ("Ada.L+x@example.org", "ada.l@example.org"), ("ADA@EXAMPLE.ORG", "ada@example.org"),
    ],
)  # fmt: skip
def test_one_mailbox_is_counted_once_however_it_is_written(written: str, mailbox: str) -> None:
    assert counted_as(written) == mailbox
