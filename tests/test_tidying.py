"""What nobody answers, and what is over, does not stay for ever; what somebody may still want does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from rmindr.database import Database, now
from rmindr.ledger import reminders, row
from rmindr.limits import buckets
from rmindr.models import Kind, Status, new_id
from rmindr.people import links, people, sessions
from rmindr.tidying import Tidying
from tests.deliveries import a_reminder

HOUR = 3_600_000
DAY = 24 * HOUR


async def a_person(database: Database, name: str) -> str:
    id = new_id()
    async with database.statements() as connection:
        values = {"id": id, "owner": id.hex, "address": name, "mailbox": name, "created_at": now()}
        await connection.execute(insert(people).values(values))
    return id.hex


@pytest.mark.parametrize(
    ("standing", "to", "age", "stays"),
    [
        ("unconfirmed", "ada@example.org", 47 * HOUR, True),
        ("unconfirmed", "ada@example.org", 49 * HOUR, False),
        ("unconfirmed", "Ada@Example.org", 49 * HOUR, False),
        ("unconfirmed", "bob@example.org", 13 * DAY, True),
        ("unconfirmed", "bob@example.org", 15 * DAY, False),
        ("not yet due", "ada@example.org", 5000 * DAY, True),
        ("cancelled", "ada@example.org", 5000 * DAY, True),
        ("sent", "ada@example.org", 5000 * DAY, True),
    ],
)
async def test_what_nobody_confirmed_goes_when_its_link_is_over(
    database: Database, standing: str, to: str, age: int, stays: bool
) -> None:
    owner = await a_person(database, "ada@example.org")
    reminder = await a_reminder(database, standing, owner=owner, recipient=to, created_at=timedelta(milliseconds=-age))

    await Tidying(database, timedelta(hours=1)).sweep()

    async with database.statements() as connection:
        found = (await connection.execute(select(row.id).where(row.id == reminder.id))).one_or_none()
    assert (found is not None) is stays


async def test_mails_of_our_own_stay_a_week_after_they_have_left(database: Database) -> None:
    sent: dict[str, Any] = {"kind": Kind.SIGN_IN, "status": Status.SENT}
    young = await a_reminder(database, **sent, updated_at=timedelta(days=-6))
    await a_reminder(database, **sent, updated_at=timedelta(days=-8))
    waiting = await a_reminder(database, kind=Kind.SIGN_IN, updated_at=timedelta(days=-8))

    assert await Tidying(database, timedelta(hours=1)).sweep() == 1

    async with database.statements() as connection:
        left = set((await connection.execute(select(reminders.c.id))).scalars())
    assert left == {young.id, waiting.id}


async def test_sessions_links_and_limits_that_are_over_go_and_others_stay(database: Database) -> None:
    person = new_id()
    async with database.statements() as connection:
        for left in (-2 * DAY, DAY):
            times = {"person_id": person, "created_at": now(), "expires_at": now() + left}
            await connection.execute(insert(sessions).values(secret_hash=str(left), **times))
            await connection.execute(insert(links).values(id=new_id(), purpose="confirm", **times))
            await connection.execute(insert(buckets).values(name=str(left), free_at=now() + left))

    assert await Tidying(database, timedelta(hours=1)).sweep() == 3
    assert await Tidying(database, timedelta(hours=1)).sweep() == 0
