"""Reminders in every standing, and a delivery to a mail server: what the tests of the delivery's rooms are staged with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import create_engine, func, insert, select, text, update
from sqlalchemy.pool import NullPool

from rmindr.catch_up import CatchUp
from rmindr.database import Database, now
from rmindr.delivery import Delivery, Policy, Witness
from rmindr.facts import Facts
from rmindr.ledger import Claim, reminders, row
from rmindr.mail.letters import Letters
from rmindr.mail.smtp import Patience, Transport
from rmindr.models import Kind, Reminder, Status, new_id
from rmindr.outage import MailOutage
from rmindr.people import people
from rmindr.queue import Queue
from rmindr.settings import SmtpServer
from tests.servers import Postgres
from tests.sink import Sink

LEASE: Final = timedelta(seconds=60)
MINUTE: Final = timedelta(minutes=1)
SENDER: Final = "reminders@example.net"

# Where a reminder can stand when somebody comes for it; a span is an instant so far from now, by the database's clock.
STANDINGS: Final[dict[str, dict[str, Any]]] = {
    "unconfirmed": {"status": Status.UNCONFIRMED},
    "not yet due": {"status": Status.SCHEDULED, "due_at": MINUTE, "next_at": MINUTE},
    "due": {"status": Status.SCHEDULED},
    "put off": {"status": Status.RETRYING, "next_at": MINUTE, "attempt": 1, "fence": 1},
    "due again": {"status": Status.RETRYING, "attempt": 1, "fence": 1},
    "held": {"status": Status.SENDING, "lease_until": MINUTE, "attempt": 1, "fence": 1},
    "lapsed": {"status": Status.SENDING, "lease_until": -MINUTE, "attempt": 1, "fence": 1},
    "lapsed for the third time": {
        "status": Status.SENDING, "lease_until": -MINUTE, "attempt": 3, "fence": 3, "crashes": 2,
    },
    "marked": {
        "status": Status.SENDING, "lease_until": MINUTE, "marked_at": -MINUTE, "letter": b"x", "attempt": 1, "fence": 1,
    },
    "marked and lapsed": {
        "status": Status.SENDING, "lease_until": -MINUTE, "marked_at": -MINUTE, "letter": b"x", "attempt": 1, "fence": 1,
    },
    "marked and lapsed for the third time": {
        "status": Status.SENDING, "lease_until": -MINUTE, "marked_at": -MINUTE, "letter": b"x", "attempt": 3, "fence": 3,
        "crashes": 2,
    },
    "sent": {"status": Status.SENT, "accepted_at": -MINUTE, "attempt": 1, "fence": 1},
    "failed": {"status": Status.FAILED, "attempt": 1, "fence": 1},
    "cancelled": {"status": Status.CANCELLED, "fence": 1},
    "missed": {"status": Status.MISSED, "attempt": 1, "fence": 1},
    "uncertain": {"status": Status.UNCERTAIN, "attempt": 3, "fence": 3, "ambiguous": 2},
}  # fmt: skip


async def a_reminder(database: Database, standing: str = "due", **values: Any) -> Reminder:
    """A reminder in this standing, written by hand: due ten seconds ago unless told otherwise."""
    clock = datetime.now(UTC)
    ago = timedelta(seconds=-10)
    row_of_it = {
        "id": new_id(), "rev": 1, "recipient": "me@example.org", "subject": "Milk", "message": "Buy milk", "due_at": ago,
        "next_at": ago, "time_zone": "UTC", "created_at": clock, "updated_at": clock,
        **STANDINGS[standing], **values,
    }  # fmt: skip
    async with database.statements() as connection:
        await connection.execute(insert(reminders).values(_instants(row_of_it)))
    return await stored(database, row_of_it["id"])


async def stored(database: Database, id: UUID) -> Reminder:
    """The row as it stands."""
    async with database.statements() as connection:
        found = (await connection.execute(select(*row).where(row.id == id))).mappings().one()
    return Reminder(**found)


async def everything(database: Database, id: UUID) -> dict[str, Any]:
    """Every column, to see that none has changed."""
    found = await stored(database, id)
    return {name: getattr(found, name) for name in row.keys()}  # noqa: SIM118  (of a table)


async def alter(database: Database, id: UUID, **values: Any) -> None:
    """Change the row by hand; a span is an instant so far from now."""
    async with database.statements() as connection:
        await connection.execute(update(reminders).where(row.id == id).values(_instants(values)))


async def clock_of(database: Database) -> datetime:
    """The database's clock."""
    async with database.statements() as connection:
        found: datetime | None = await connection.scalar(select(now()))
    assert found is not None
    return found


def a_claim(reminder: Reminder, **changes: Any) -> Claim:
    """The claim that belongs to a row in this standing; or, with changes, a forged one."""
    values = {field.name: getattr(reminder, field.name, None) for field in fields(Claim)}
    values |= {"claimed_at": datetime.now(UTC), "first_tried_at": datetime.now(UTC)}
    return Claim(**(values | changes))


def story(reminder: Reminder) -> list[str]:
    """The events of its timeline, by name."""
    return [event["event"] for event in reminder.events]


def _instants(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: now() + round(value / timedelta(milliseconds=1)) if isinstance(value, timedelta) else value
        for name, value in values.items()
    }


class Peephole:
    """Looks at a database at any moment, on a connection of its own each time and without waiting its turn."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url, poolclass=NullPool)

    def see(self, id: UUID) -> Reminder:
        """What is committed of this reminder."""
        with self._engine.connect() as connection:
            return Reminder(**connection.execute(select(*row).where(row.id == id)).mappings().one())

    def count(self) -> int:
        """How many reminders are committed."""
        with self._engine.connect() as connection:
            return int(connection.scalar(select(func.count()).select_from(reminders)) or 0)

    def do(self, *statements: str) -> None:
        """Run these, each by itself."""
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for statement in statements:
                connection.execute(text(statement))


def refuse(database_url: str, column: str) -> None:
    """Make the database refuse every row that has something in this column; PostgreSQL quotes the whole row then."""
    if database_url.startswith("postgresql"):
        statement = f"ALTER TABLE reminders ADD CONSTRAINT no CHECK ({column} IS NULL)"
    else:
        statement = (
            f"CREATE TRIGGER no BEFORE UPDATE ON reminders WHEN NEW.{column} IS NOT NULL"
            " BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    Peephole(database_url).do(statement)


class Away:
    """A database that can be made to answer nothing, at once, and to come back with all that it had."""

    def __init__(self, url: str, postgres: Postgres | None) -> None:
        self._url = url
        self._postgres = postgres
        self._name = url.rpartition("/")[2]

    def go(self) -> None:
        if self._postgres is None:
            # A file cannot go away while it is open; a table that is not there is «not now» to every statement, too.
            self._rename("", "hidden_")
            return
        self._postgres.execute(f"ALTER DATABASE {self._name} WITH ALLOW_CONNECTIONS false")
        self._postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self._name}'")

    def come_back(self) -> None:
        if self._postgres is None:
            self._rename("hidden_", "")
            return
        self._postgres.execute(f"ALTER DATABASE {self._name} WITH ALLOW_CONNECTIONS true")

    def _rename(self, old: str, new: str) -> None:
        # At once: whoever works on the one would keep us from the other.
        tables = [f"ALTER TABLE {old}{table} RENAME TO {new}{table}" for table in ("reminders", "facts")]
        Peephole(self._url).do("BEGIN IMMEDIATE", *tables, "COMMIT")


@dataclass(frozen=True, slots=True)
class Scene:
    """A delivery and what it is made of."""

    delivery: Delivery
    ledger: CatchUp
    witness: Witness
    outage: MailOutage
    letters: Letters
    transport: Transport


@asynccontextmanager
async def delivering(
    database: Database,
    queue: Queue,
    sink: Sink,
    *,
    checkpoint: Callable[[str], None] = lambda _: None,
    patience: Patience | None = None,
    listed: Callable[[str], bool] = lambda _: True,
    **policy: Any,
) -> AsyncIterator[Scene]:
    """A delivery to this mail server, as a worker builds it; `policy` as in Policy."""
    rules = Policy(listed=listed, **{"lease": LEASE} | policy)
    server = SmtpServer(host="127.0.0.1", port=sink.port, security="plain")
    transport = Transport(server, hello="example.net", connections=4, patience=patience)
    ledger, witness = CatchUp(database, rules.lease), Witness(queue.redis, queue.keys.prefix)
    outage = MailOutage(transport.probe, Facts(database), timedelta(milliseconds=20))
    letters = Letters(name="Reminders", address=SENDER, bounces_to=SENDER, links=None)
    delivery = Delivery(ledger, transport, letters, witness, rules, outage, worker="here", checkpoint=checkpoint)
    tending = asyncio.create_task(transport.tend())
    await asyncio.sleep(0)
    try:
        yield Scene(delivery, ledger, witness, outage, letters, transport)
    finally:
        tending.cancel()
        await asyncio.wait([tending])


async def a_person(database: Database, address: str, **values: Any) -> str:
    """Somebody who has confirmed their address: their id as it stands in their reminders."""
    id = new_id()
    given = {"confirmed_at": now(), "time_zone": "Europe/Paris"} | values
    async with database.statements() as connection:
        await connection.execute(
            insert(people).values(
                id=id, owner=id.hex, address=address, mailbox=address.lower(), created_at=now(), **given
            )
        )
    return id.hex


async def notices(database: Database) -> list[tuple[str, list[str]]]:
    """To whom what was told."""
    async with database.statements() as connection:
        found = await connection.execute(select(row.recipient, row.about).where(row.kind == Kind.NOTICE))
        return [(to, json.loads(about)["told"]) for to, about in found.all()]
