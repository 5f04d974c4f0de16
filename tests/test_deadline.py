"""What is of no use after a time is not sent after it: it is missed, the page says why, and whoever set it is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import insert, select, update

from rmindr.database import Database, now
from rmindr.ledger import USELESS, Ledger, reminders, row
from rmindr.models import Reminder, Status, new_id
from rmindr.queue import Queue
from rmindr.series import Repeating, Sequel, series
from tests.deliveries import LEASE, MINUTE, Peephole, a_person, a_reminder, alter, delivering, notices, stored, story
from tests.sink import Sink


async def test_what_is_found_after_its_deadline_is_not_sent(database: Database, live_queue: Queue, sink: Sink) -> None:
    useless = await a_reminder(database, deadline_at=-timedelta(seconds=1))
    useful = await a_reminder(database, deadline_at=MINUTE, recipient="useful@example.org")

    async with delivering(database, live_queue, sink) as scene:
        await scene.delivery.deliver(useless.id, 1)
        await scene.delivery.deliver(useful.id, 1)

    found = await stored(database, useless.id)
    assert (found.status, found.reason, story(found)) == (Status.MISSED, USELESS, ["claimed", "missed"])
    assert [mail.recipient for mail in sink.mails] == ["useful@example.org"]


async def test_a_deadline_that_passes_while_the_server_is_spoken_to_stops_the_body(
    database: Database, live_queue: Queue, sink: Sink, database_url: str
) -> None:
    reminder = await a_reminder(database, deadline_at=MINUTE)

    def pass_it(step: str) -> None:
        if step == "rcpt_ok":
            Peephole(database_url).do("UPDATE reminders SET deadline_at = 1000")

    async with delivering(database, live_queue, sink, checkpoint=pass_it) as scene:
        await scene.delivery.deliver(reminder.id, 1)

    assert (await stored(database, reminder.id)).status == Status.MISSED
    assert sink.mails == []


async def test_what_is_asked_to_come_later_than_its_deadline_is_missed_at_once(
    database: Database, live_queue: Queue, sink: Sink
) -> None:
    reminder = await a_reminder(database, deadline_at=timedelta(seconds=30))
    sink.replies["RCPT"] = "450 4.2.0 greylisted"

    async with delivering(database, live_queue, sink) as scene:
        await scene.delivery.deliver(reminder.id, 1)

    found = await stored(database, reminder.id)
    assert found.status == Status.MISSED
    assert (found.reason or "").startswith(USELESS)
    assert "450 4.2.0 greylisted" in (found.reason or "")


async def test_what_may_have_left_already_is_finished_whatever_its_deadline(database: Database) -> None:
    reminder = await a_reminder(database, "held", deadline_at=-MINUTE, ambiguous=1)
    ledger = Ledger(database, LEASE)
    await alter(database, reminder.id, status=Status.SCHEDULED, next_at=-MINUTE)
    claim = await ledger.claim(reminder.id, 1, "here")
    assert claim is not None

    assert await ledger.mark(claim, b"x")


async def test_what_waits_past_its_deadline_is_missed_though_no_mail_server_answers(database: Database) -> None:
    late = await a_reminder(database, deadline_at=-timedelta(seconds=1))
    later = await a_reminder(database, "put off", deadline_at=-timedelta(seconds=1))
    others = [
        await a_reminder(database, deadline_at=MINUTE),
        await a_reminder(database),
        await a_reminder(database, "sent", deadline_at=-MINUTE),
        await a_reminder(database, "held", deadline_at=-MINUTE),
        await a_reminder(database, "put off", deadline_at=-MINUTE, ambiguous=1),
    ]

    assert await Repeating(database).miss() == 2
    assert await Repeating(database).miss() == 0

    for each in (late, later):
        found = await stored(database, each.id)
        assert (found.status, found.reason, story(found)) == (Status.MISSED, USELESS, ["missed"])
    assert [await stored(database, each.id) for each in others] == others


async def test_whoever_set_it_for_another_is_told_once(database: Database) -> None:
    ada = await a_person(database, "ada@example.org")
    await a_person(database, "ben@example.org")
    given = {"owner": ada, "deadline_at": -timedelta(seconds=1), "time_zone": "Europe/Paris"}
    to_ben = await a_reminder(database, recipient="Ben@example.org", subject="The train", **given)

    await Repeating(database).miss()
    await Repeating(database).miss()

    ((to, told),) = await notices(database)
    assert to == "ada@example.org"
    assert told[0].startswith("Not sent: «The train», which you set for another for ")
    assert told[1] == USELESS
    assert (await stored(database, to_ben.id)).status == Status.MISSED


async def test_whoever_set_it_for_themselves_is_told_as_well(database: Database) -> None:
    ada = await a_person(database, "ada@example.org")
    await a_reminder(
        database, owner=ada, recipient="Ada@example.org", subject="The train", deadline_at=-timedelta(seconds=1)
    )

    await Repeating(database).miss()

    ((to, told),) = await notices(database)
    assert to == "ada@example.org"
    assert told[0].startswith("Not sent: «The train», which you set for ")


async def test_whoever_has_stopped_all_mail_is_told_nothing(database: Database) -> None:
    ada = await a_person(database, "ada@example.org", blocked_at=now())
    await a_reminder(database, owner=ada, recipient="ben@example.org", deadline_at=-timedelta(seconds=1))

    await Repeating(database).miss()

    assert await notices(database) == []


async def test_of_what_repeats_the_next_one_stands_and_is_of_use_as_long(database: Database) -> None:
    id = new_id()
    start = (datetime.now(UTC) - timedelta(hours=2)).replace(microsecond=0, tzinfo=None).isoformat()
    async with database.statements() as connection:
        await connection.execute(
            insert(series).values(
                id=id, rev=1, owner="", state="active", recipient="me@example.org", subject="s", message="m",
                rule="FREQ=DAILY", start_wall=start, time_zone="UTC", from_completion=False, missed="once", useful_s=3600,
                next_wall=start, made=1, created_at=now(), updated_at=now(),
            )
        )  # fmt: skip
    await a_reminder(database, series_id=id, occurrence=start, deadline_at=-timedelta(hours=1))
    ledger = Ledger(database, LEASE, Sequel())

    assert await Repeating(database).miss() == 1

    statement = select(*row).where(row.series_id == id).order_by(row.occurrence)
    async with database.statements() as connection:
        _, second = [Reminder(**each) for each in (await connection.execute(statement)).mappings()]
        await connection.execute(update(reminders).where(row.id == second.id).values(next_at=now()))
    assert second.deadline_at == second.due_at + timedelta(hours=1)
    assert await ledger.claim(second.id, 1, "here") is not None
