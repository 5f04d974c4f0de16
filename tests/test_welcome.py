"""What is sent is judged at the mark, once more: whoever has stopped all mail, or has not agreed, gets nothing."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert

from rmindr.database import Database, now
from rmindr.ledger import Ledger
from rmindr.models import Kind, Person, Status, new_id
from rmindr.people import consents, people
from tests.deliveries import LEASE, a_claim, a_reminder, stored


async def a_person(database: Database, address: str, **values: Any) -> Person:
    id = new_id()
    given = {"id": id, "owner": id.hex, "address": address, "mailbox": address.lower(), "created_at": now()} | values
    async with database.statements() as connection:
        await connection.execute(insert(people).values(given))
    return Person(id=id, owner=id.hex, address=address, mailbox=address.lower(), created_at=now())


CONFIRMED = {"confirmed_at": now()}
BLOCKED = {"blocked_at": now()}


@pytest.mark.parametrize(
    ("reader", "owner", "consent", "kind", "listed", "goes"),
    [
        (CONFIRMED, "self", None, Kind.REMINDER, False, True),
        ({}, "self", None, Kind.REMINDER, False, False),
        (CONFIRMED | BLOCKED, "self", None, Kind.REMINDER, False, False),
        (CONFIRMED, "other", "agreed", Kind.REMINDER, False, True),
        (CONFIRMED, "other", "asked", Kind.REMINDER, False, False),
        (CONFIRMED, "other", "refused", Kind.REMINDER, False, False),
        (CONFIRMED, "other", None, Kind.REMINDER, False, False),
        (CONFIRMED | BLOCKED, "other", "agreed", Kind.REMINDER, False, False),
        (None, "nobody", None, Kind.REMINDER, False, False),
        (None, "nobody", None, Kind.REMINDER, True, True),
        ({}, "other", None, Kind.REMINDER, True, True),
        (CONFIRMED | BLOCKED, "self", None, Kind.REMINDER, True, False),
        (CONFIRMED, "other", "refused", Kind.REMINDER, True, False),
        ({}, "nobody", None, Kind.CONFIRM, False, True),
        (BLOCKED, "nobody", None, Kind.CONFIRM, False, False),
        (CONFIRMED, "nobody", None, Kind.SIGN_IN, False, True),
    ],
)
async def test_the_mark_is_refused_where_the_mail_is_not_welcome(
    database: Database,
    reader: dict[str, Any] | None,
    owner: str,
    consent: str | None,
    kind: Kind,
    listed: bool,
    goes: bool,
) -> None:
    other = await a_person(database, "other@example.org", **CONFIRMED)
    person = await a_person(database, "Me@example.org", **reader) if reader is not None else None
    owners = {"self": person.owner if person else "", "other": other.owner, "nobody": ""}
    if consent is not None and person is not None:
        values = {"sender_id": other.id, "recipient_id": person.id, "state": consent, "asked_at": now()}
        async with database.statements() as connection:
            await connection.execute(insert(consents).values(values))
    reminder = await a_reminder(database, "held", recipient="me@Example.org", owner=owners[owner], kind=kind)
    ledger, claim = Ledger(database, LEASE), a_claim(reminder)

    marked = await ledger.mark(claim, b"x", listed=listed)

    assert marked is goes
    assert await ledger.is_welcome(claim, listed=listed) is goes
    assert ((await stored(database, reminder.id)).marked_at is not None) is goes


@pytest.mark.parametrize(("owner", "by"), [("self", None), ("other", "other@example.org"), ("nobody", None)])
async def test_a_claim_says_who_set_it_where_that_is_another_than_who_reads_it(
    database: Database, owner: str, by: str | None
) -> None:
    me, other = [await a_person(database, f"{name}@example.org") for name in ("me", "other")]
    owners = {"self": me.owner, "other": other.owner, "nobody": ""}
    reminder = await a_reminder(database, owner=owners[owner], recipient="ME@example.org")

    claim = await Ledger(database, LEASE).claim(reminder.id, 1, "here")

    assert claim is not None
    assert (claim.by, claim.kind) == (by, Kind.REMINDER)
    assert (await stored(database, reminder.id)).status == Status.SENDING
