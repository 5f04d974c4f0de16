"""Calls and the worker that makes them: killed in between, it is made once more, with the same id; mails do not wait for it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from sqlalchemy import insert

from rmindr.database import Database
from rmindr.limits import Limits
from rmindr.models import Person
from rmindr.people import people
from rmindr.webhooks.keeping import Webhooks
from rmindr.webhooks.outbox import Event
from rmindr.webhooks.places import Reach
from tests.deliveries import a_reminder
from tests.servers import Valkey
from tests.sink import Sink
from tests.stack import Stack
from tests.webhooks.conftest import receiver  # noqa: F401  (a fixture)
from tests.webhooks.receiver import Receiver, says, sends

pytestmark = pytest.mark.faults


@pytest.fixture
def stack(database_url: str, own_valkey: Valkey, sink: Sink, authority: trustme.CA, tmp_path: Path) -> Stack:
    trusted = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    settings = {"RMINDR_TIMING_SCALE": "0.05", "RMINDR_WEBHOOKS": "on", "RMINDR_WEBHOOK_HOSTS": "localhost"}
    return Stack(database_url, own_valkey, sink, settings | {"SSL_CERT_FILE": str(trusted)})


async def a_listener(database: Database, receiver: Receiver, count: int = 1) -> Person:  # noqa: F811
    """Somebody who has a webhook, and so many reminders that are due."""
    person = Person(owner="a" * 32, address="me@example.org", mailbox="me@example.org", created_at=datetime.now(UTC))
    async with database.statements() as connection:
        await connection.execute(insert(people).values(**person.model_dump()))
    await Webhooks(database, Reach.of(["localhost"]), Limits(database, "key")).make(person, receiver.url(), list(Event))
    for _ in range(count):
        await a_reminder(database, owner=person.owner)
    return person


async def test_a_call_that_a_killed_worker_had_in_hand_is_made_again_with_its_id(
    stack: Stack,
    database: Database,
    receiver: Receiver,  # noqa: F811
) -> None:
    receiver.answers = [sends(), says(200)]
    await a_listener(database, receiver)

    async with stack.worker() as first:
        (before,) = await receiver.wait_for(1)
        await first.kill()
    async with stack.worker() as second:
        *_, after = await receiver.wait_for(2)
        await second.line("called.*taken=true")

    assert after.headers["webhook-id"] == before.headers["webhook-id"]
    assert after.body == before.body
    assert len(stack.sink.mails) == 1


async def test_programs_that_hang_hold_no_mail_up(stack: Stack, database: Database, receiver: Receiver) -> None:  # noqa: F811
    receiver.answers = [sends()]
    await a_listener(database, receiver, 8)

    async with stack.worker():
        await receiver.wait_for(5)
        await a_reminder(database)
        await stack.sink.wait_for(9)

    assert len(stack.sink.mails) == 9
