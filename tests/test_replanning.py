"""New zone rules under stored reminders: what was meant by a clock stays true to it, is listed, and goes out then."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import insert, select

from rmindr.database import Database, now
from rmindr.ledger import reminders, row
from rmindr.models import Reminder, Status, new_id
from rmindr.moments import rules_in_use
from rmindr.replanning import replan_all
from tests.deliveries import a_person, a_reminder, everything, notices, stored, story
from tests.servers import Valkey
from tests.sink import Sink
from tests.stack import Stack
from tests.test_cli import run
from tests.zones import a_zone_folder

COUNT: Final = 1000
HOUR: Final = timedelta(hours=1)
ASUNCION: Final = "America/Asuncion"
# Winter in Paraguay, which was UTC−4 before the country stayed on summer time; 09:00 there.
WALL: Final = "2027-07-01T09:00:00"
BEFORE: Final = datetime(2027, 7, 1, 13, tzinfo=UTC)
NOW: Final = BEFORE - HOUR


async def planned(database: Database, **values: Any) -> Reminder:
    """A reminder of that morning, as it was found by the rules of before."""
    given = {
        "due_at": BEFORE, "next_at": BEFORE, "wall": WALL, "time_zone": ASUNCION, "zone_rules": "2024a", "queued_rev": 1,
        "status": Status.SCHEDULED,
    }  # fmt: skip
    return await a_reminder(database, **(given | values))


async def replanned(database: Database) -> list[str]:
    return [str(each) async for each in replan_all(database)]


async def all_of(database: Database) -> list[Reminder]:
    async with database.statements() as connection:
        return [Reminder(**each) for each in (await connection.execute(select(*row).order_by(row.id))).mappings()]


async def test_what_was_meant_by_the_clock_moves_with_it_and_is_listed(database: Database) -> None:
    reminder = await planned(database, deadline_at=BEFORE + HOUR)

    listed = await replanned(database)

    found = await stored(database, reminder.id)
    how = "moved back by 1 hour: 09:00 on 1 July 2027 in Asuncion is now UTC−3"
    assert listed == [f"{reminder.id}: {how}"]
    assert (found.due_at, found.next_at, found.deadline_at) == (NOW, NOW, NOW + HOUR)
    assert (found.rev, found.queued_rev, found.zone_rules) == (2, None, rules_in_use())
    assert (story(found), found.events[0]["reason"]) == (["moved"], how)
    assert await replanned(database) == []


async def test_each_owner_is_told_once_of_all_that_moved(database: Database) -> None:
    ada, ben = await a_person(database, "ada@example.org"), await a_person(database, "ben@example.org")
    for subject in ("Call mum", "The train"):
        await planned(database, owner=ada, subject=subject)
    for number in range(25):
        await planned(database, owner=ben, subject=f"No. {number}")
    await planned(database, owner=await a_person(database, "eve@example.org", blocked_at=now()))

    assert len(await replanned(database)) == 28
    assert await replanned(database) == []

    told = dict(await notices(database))
    assert set(told) == {"ada@example.org", "ben@example.org"}
    assert sorted(told["ada@example.org"][1:]) == [
        "«Call mum» moved back by 1 hour: 09:00 on 1 July 2027 in Asuncion is now UTC−3.",
        "«The train» moved back by 1 hour: 09:00 on 1 July 2027 in Asuncion is now UTC−3.",
    ]
    assert (len(told["ben@example.org"]), told["ben@example.org"][-1]) == (22, "And 5 more.")


async def test_what_was_meant_as_an_instant_or_has_ended_is_not_touched(database: Database) -> None:
    untouched = [
        await planned(database, wall=None),
        await planned(database, zone_rules=rules_in_use()),
        *[await planned(database, status=each) for each in (Status.SENT, Status.CANCELLED, Status.FAILED)],
        await planned(database, status=Status.SENDING, fence=1, attempt=1),
    ]
    before = [await everything(database, each.id) for each in untouched]

    assert await replanned(database) == []

    assert [await everything(database, each.id) for each in untouched] == before


async def test_what_the_new_rules_leave_alone_keeps_its_revision_and_its_alarm(database: Database) -> None:
    same = await planned(database, due_at=NOW, next_at=NOW)
    tried = await planned(database, status=Status.RETRYING, attempt=1)
    gone = await planned(database, time_zone="Mars/Olympus")
    second = await planned(
        database, wall="2026-10-25T02:30:00", fold=1, time_zone="Europe/Paris",
        due_at=datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
    )  # fmt: skip

    assert await replanned(database) == []

    for each in (same, tried, gone, second):
        found = await stored(database, each.id)
        assert (found.rev, found.queued_rev, found.due_at, found.zone_rules) == (1, 1, each.due_at, rules_in_use())


async def test_what_waits_for_a_yes_moves_as_well(database: Database) -> None:
    reminder = await planned(database, status=Status.UNCONFIRMED)

    assert len(await replanned(database)) == 1

    found = await stored(database, reminder.id)
    assert (found.status, found.due_at) == (Status.UNCONFIRMED, NOW)


async def test_many_who_replan_at_once_move_each_once(database: Database, database_url: str) -> None:
    made = [await planned(database) for _ in range(150)]
    async with Database.open(database_url) as other:
        listed = await asyncio.gather(replanned(database), replanned(other), replanned(database))

    assert sorted(each[:36] for part in listed for each in part) == sorted(str(each.id) for each in made)
    assert {each.rev for each in await all_of(database)} == {2}


async def a_thousand(database: Database, wall: datetime) -> list[UUID]:
    """As many reminders on the clock of Asuncion, found by the rules under which its winter was UTC−4."""
    clock, due = datetime.now(UTC), (wall + 4 * HOUR).replace(tzinfo=UTC)
    rows = [
        {
            "id": new_id(), "rev": 1, "owner": "", "status": Status.SCHEDULED, "recipient": f"n{number}@example.org",
            "subject": "s", "message": "m", "due_at": due, "next_at": due, "time_zone": ASUNCION, "created_at": clock,
            "updated_at": clock, "wall": wall.isoformat(), "zone_rules": "2024a",
        }
        for number in range(COUNT)
    ]  # fmt: skip
    async with database.transaction() as connection:
        await connection.execute(insert(reminders), rows)
    return [each["id"] for each in rows]  # type: ignore[misc]


async def test_a_thousand_are_replanned_and_listed_by_the_command(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    ids = await a_thousand(database, datetime.fromisoformat(WALL))
    old = a_zone_folder(tmp_path / "old", "XXX4", "2024a")
    new = a_zone_folder(tmp_path / "new", "XXX3", "2024b")
    settings = {"DATABASE_URL": database_url.replace("postgresql+psycopg:", "postgres:"), "RMINDR_ACCESS": "open"}

    before, after, again = [
        run("replan", folder=tmp_path, env=settings | {"PYTHONTZPATH": str(zones)}) for zones in (old, new, new)
    ]

    assert (before.status, before.said) == (0, ["nothing has moved"])
    assert (after.status, after.said[-1], len(after.said)) == (0, "1,000 moved", COUNT + 1)
    how = "moved back by 1 hour: 09:00 on 1 July 2027 in Asuncion is now UTC−3"
    assert sorted(after.said[:-1]) == sorted(f"{id}: {how}" for id in ids)
    assert again.said == ["nothing has moved"]
    found = await all_of(database)
    assert {(each.due_at, each.next_at, each.rev, each.zone_rules) for each in found} == {(NOW, NOW, 2, "2024b")}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_thousand_that_moved_are_sent_at_the_new_instant_and_none_before_it(
    database: Database, database_url: str, own_valkey: Valkey, sink: Sink, tmp_path: Path
) -> None:
    # By the rules of before they are an hour and some seconds off.
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=12)
    wall = (due - 3 * HOUR).replace(tzinfo=None)
    await a_thousand(database, wall)
    new = a_zone_folder(tmp_path / "new", "XXX3", "2024b")
    stack = Stack(database_url, own_valkey, sink, {"PYTHONTZPATH": str(new)})

    async with stack.worker():
        mails = await sink.wait_for(COUNT, timeout=240)

    assert len({mail.recipient for mail in mails}) == len(sink.mails) == COUNT
    found = await all_of(database)
    assert {each.due_at for each in found} == {due}
    assert {each.rev for each in found} == {2}
    assert all(each.accepted_at is None or each.accepted_at >= due for each in found)
    said = mails[0].message.get_payload()[0].get_payload(decode=True).decode()
    local = due.astimezone(ZoneInfo("Etc/GMT+3"))
    assert re.search(rf"at {local:%H:%M:%S} in Asuncion \(UTC−3\)", said)
