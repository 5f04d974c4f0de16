"""What repeats: each occurrence stands once, whoever ends the one before, and however often that is said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from rmindr.afterwards import Afterwards
from rmindr.alarms import Alarms
from rmindr.clocks import settle
from rmindr.database import Database
from rmindr.drafts import Asked
from rmindr.errors import InvalidDraft
from rmindr.gate import Asker, OpenGate
from rmindr.ledger import Ledger, reminders, row
from rmindr.models import Reminder, Series, Status
from rmindr.queue import Queue
from rmindr.reminders import Eyes, Reminders
from rmindr.series import Repeating, Sequel, after, series
from tests.deliveries import LEASE, a_person, alter, notices, stored, story

PARIS: Final = ZoneInfo("Europe/Paris")
EVERYTHING: Final = Eyes(everything=True)
MINUTE: Final = timedelta(minutes=1)


@pytest.fixture
def books(database: Database, live_queue: Queue) -> Reminders:
    return Reminders(database, Alarms(live_queue, timedelta(hours=24)), OpenGate())


@pytest.fixture
def acts(database: Database, live_queue: Queue, books: Reminders) -> Afterwards:
    return Afterwards(database, Alarms(live_queue, timedelta(hours=24)), OpenGate(), books)


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database, LEASE, Sequel())


@pytest.fixture
async def others(database_url: str) -> AsyncIterator[list[Database]]:
    """As three more processes would have it."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Database.open(database_url)) for _ in range(3)]


async def daily(books: Reminders, **changes: Any) -> Reminder:
    """A reminder of tomorrow, 09:00 in Paris, and of every day from then on."""
    day = datetime.now(PARIS).date() + timedelta(days=1)
    given = {
        "to": "ada@example.org", "message": "Water the plants", "when": f"{day}T09:00", "time_zone": "Europe/Paris",
        "repeat": "daily",
    }  # fmt: skip
    made = await books.schedule(Asked(**(given | changes)), Asker())
    assert made is not None
    return made


async def of_series(database: Database, id: UUID | None) -> list[Reminder]:
    """Its occurrences, by their time in the rule."""
    statement = select(*row).where(row.series_id == id).order_by(row.occurrence)
    async with database.statements() as connection:
        return [Reminder(**each) for each in (await connection.execute(statement)).mappings()]


async def the_series(database: Database, id: UUID | None) -> Series:
    async with database.statements() as connection:
        return Series(**(await connection.execute(select(*series.c).where(series.c.id == id))).mappings().one())


async def set_series(database: Database, id: UUID | None, **values: Any) -> None:
    async with database.statements() as connection:
        await connection.execute(update(series).where(series.c.id == id).values(**values))


async def send(database: Database, ledger: Ledger, reminder: Reminder) -> bool:
    """Let it be due, and be taken by the mail server."""
    await alter(database, reminder.id, due_at=-MINUTE, next_at=-MINUTE)
    claim = await ledger.claim(reminder.id, reminder.rev, "here")
    assert claim is not None
    assert await ledger.mark(claim, b"x")
    return await ledger.sent(claim, "250 ok", timedelta(0)) is not None


def walls(found: list[Reminder]) -> list[str]:
    return [str(each.occurrence)[:10] for each in found]


def days(first: str, count: int) -> list[str]:
    return [str(date.fromisoformat(first) + timedelta(days=ahead)) for ahead in range(count)]


# It begins


async def test_the_first_occurrence_is_an_ordinary_reminder_of_a_series(database: Database, books: Reminders) -> None:
    made = await daily(books)

    held = await the_series(database, made.series_id)
    assert (held.state, held.rule, held.made, held.missed) == ("active", "FREQ=DAILY", 1, "once")
    assert held.next_wall == made.occurrence == made.wall
    assert (made.status, made.rev, story(made)) == (Status.SCHEDULED, 1, ["created"])
    assert await of_series(database, made.series_id) == [made]


async def test_the_same_key_begins_one_series(database: Database, books: Reminders) -> None:
    asked = Asked(to="ada@example.org", message="Water", when="every day at 09:00", time_zone="Europe/Paris")

    made = await asyncio.gather(*(books.schedule(asked, Asker(), idem_key="k") for _ in range(4)))

    assert len({each.id for each in made if each is not None}) == 1
    async with database.statements() as connection:
        assert len((await connection.execute(select(series.c.id))).all()) == 1


# And goes on


async def test_as_one_is_sent_the_next_stands(database: Database, books: Reminders, ledger: Ledger) -> None:
    made = await daily(books)

    assert await send(database, ledger, made)

    first, second = await of_series(database, made.series_id)
    assert (first.status, second.status) == (Status.SENT, Status.SCHEDULED)
    assert (second.recipient, second.message, second.time_zone) == ("ada@example.org", made.message, "Europe/Paris")
    local = second.due_at.astimezone(PARIS)
    assert f"{local:%H:%M}" == "09:00"
    assert local.date() == made.due_at.astimezone(PARIS).date() + timedelta(days=1)
    assert second.queued_rev is None


@pytest.mark.parametrize("status", [Status.FAILED, Status.MISSED, Status.UNCERTAIN])
async def test_as_one_ends_otherwise_the_next_stands_as_well(
    database: Database, books: Reminders, ledger: Ledger, status: Status
) -> None:
    made = await daily(books)
    await alter(database, made.id, next_at=-MINUTE)
    claim = await ledger.claim(made.id, 1, "here")
    assert claim is not None

    assert await ledger.end(claim, status, "because")

    first, second = await of_series(database, made.series_id)
    assert (first.status, second.status) == (status, Status.SCHEDULED)


async def test_what_is_refused_three_times_in_a_row_ends_and_its_owner_is_told(
    database: Database, books: Reminders, ledger: Ledger
) -> None:
    ada = await a_person(database, "ada@example.org")
    made = await daily(books)
    await set_series(database, made.series_id, owner=ada)

    for refused in (True, True, False, True, True, True):
        standing = (await of_series(database, made.series_id))[-1]
        await alter(database, standing.id, owner=ada, due_at=-MINUTE, next_at=-MINUTE)
        claim = await ledger.claim(standing.id, standing.rev, "here")
        assert claim is not None
        if refused:
            assert await ledger.end(claim, Status.FAILED, "There is no such mailbox.", "550 5.1.1 unknown")
        else:
            assert await ledger.mark(claim, b"x")
            assert await ledger.sent(claim, "250 ok", timedelta(0)) is not None

    held = await the_series(database, made.series_id)
    assert (held.state, held.next_wall) == ("ended", None)
    assert len(await of_series(database, made.series_id)) == 6
    ((to, told),) = await notices(database)
    assert to == "ada@example.org"
    assert told[1] == "It was refused 3 times in a row, so no more of it follows."


async def test_an_end_that_is_refused_is_followed_by_nothing(
    database: Database, books: Reminders, ledger: Ledger
) -> None:
    made = await daily(books)
    await alter(database, made.id, next_at=-MINUTE)
    claim = await ledger.claim(made.id, 1, "here")
    assert claim is not None
    await alter(database, made.id, fence=7)

    assert not await ledger.end(claim, Status.FAILED, "because")

    assert len(await of_series(database, made.series_id)) == 1


async def test_many_who_end_sweep_and_cancel_at_once_write_each_occurrence_once(
    database: Database, books: Reminders, ledger: Ledger, others: list[Database]
) -> None:
    made = await daily(books)
    everybody = [Repeating(each) for each in (database, *others)]
    standing = made
    for turn in range(6):
        ending = send(database, ledger, standing) if turn % 2 else books.cancel(standing.id, EVERYTHING)
        await asyncio.gather(ending, *(each.sweep() for each in everybody), *(each.sweep() for each in everybody))
        found = await of_series(database, made.series_id)
        assert [each.status in (Status.SENT, Status.CANCELLED) for each in found] == [True] * (turn + 1) + [False]
        standing = found[-1]

    assert walls(await of_series(database, made.series_id)) == days(str(made.occurrence)[:10], 7)
    assert (await the_series(database, made.series_id)).made == 7


async def test_what_was_lost_between_one_and_the_next_is_swept_up(
    database: Database, books: Reminders, ledger: Ledger
) -> None:
    made = await daily(books)
    # As a release did that knew of no series, and as somebody's hand did.
    await send(database, Ledger(database, LEASE), made)
    assert len(await of_series(database, made.series_id)) == 1

    assert await Repeating(database).sweep() == 1
    (_, second) = await of_series(database, made.series_id)
    async with database.statements() as connection:
        await connection.execute(delete(reminders).where(row.id == second.id))
    assert await Repeating(database).sweep() == 1

    again = await of_series(database, made.series_id)
    assert walls(again) == days(str(made.occurrence)[:10], 2)
    assert await Repeating(database).sweep() == 0


async def test_a_rule_that_cannot_be_read_keeps_neither_the_mail_from_being_sent_nor_the_others_from_going_on(
    database: Database, books: Reminders, ledger: Ledger
) -> None:
    broken, other = await daily(books), await daily(books)
    await set_series(database, broken.series_id, rule="FREQ=NEVER")

    assert await send(database, ledger, broken)
    await send(database, Ledger(database, LEASE), other)

    assert await Repeating(database).sweep() == 1
    assert (await stored(database, broken.id)).status == Status.SENT
    assert len(await of_series(database, other.series_id)) == 2


@pytest.mark.parametrize("end", [{"count": 3}, {"until": "+2"}, {"repeat": "FREQ=DAILY;COUNT=3"}])
async def test_a_rule_with_an_end_has_no_more_than_its_occurrences(
    database: Database, books: Reminders, ledger: Ledger, end: dict[str, Any]
) -> None:
    if "until" in end:
        end = {"until": str(datetime.now(PARIS).date() + timedelta(days=3))}
    made = await daily(books, **end)

    for _ in range(3):
        (*_, standing) = await of_series(database, made.series_id)
        await send(database, ledger, standing)

    assert [each.status for each in await of_series(database, made.series_id)] == [Status.SENT] * 3
    assert (await the_series(database, made.series_id)).state == "ended"
    assert await Repeating(database).sweep() == 0


# A person's hand


async def test_to_cancel_one_is_to_skip_it(database: Database, books: Reminders) -> None:
    made = await daily(books)

    await books.cancel(made.id, EVERYTHING)
    await books.cancel(made.id, EVERYTHING)

    first, second = await of_series(database, made.series_id)
    assert (first.status, second.status) == (Status.CANCELLED, Status.SCHEDULED)


async def test_to_cancel_all_that_follow_leaves_none_standing(
    database: Database, books: Reminders, ledger: Ledger
) -> None:
    made = await daily(books)
    await send(database, ledger, made)

    # By any of them, the one that has been sent, too.
    await books.stop(made.id, EVERYTHING)

    found = await of_series(database, made.series_id)
    assert [each.status for each in found] == [Status.SENT, Status.CANCELLED]
    assert (await the_series(database, made.series_id)).state == "cancelled"
    assert await Repeating(database).sweep() == 0


async def test_a_mail_that_is_leaving_when_all_are_cancelled_is_the_last(
    database: Database, books: Reminders, ledger: Ledger
) -> None:
    made = await daily(books)
    await alter(database, made.id, next_at=-MINUTE)
    claim = await ledger.claim(made.id, 1, "here")
    assert claim is not None
    await ledger.mark(claim, b"x")

    await books.stop(made.id, EVERYTHING)
    await ledger.sent(claim, "250 ok", timedelta(0))

    assert [each.status for each in await of_series(database, made.series_id)] == [Status.SENT]


async def test_to_change_one_changes_no_other(database: Database, books: Reminders, ledger: Ledger) -> None:
    made = await daily(books)

    changed = await books.edit(made.id, Asked(message="Only today", when="2099-01-01T12:00"), EVERYTHING, Asker())
    await send(database, ledger, changed)

    first, second = await of_series(database, made.series_id)
    assert (first.message, first.occurrence) == ("Only today", made.occurrence)
    assert (second.message, f"{second.due_at.astimezone(PARIS):%H:%M}") == ("Water the plants", "09:00")
    assert walls([second]) == days(str(made.occurrence)[:10], 2)[1:]


async def test_to_change_one_and_all_that_follow_changes_the_series(
    database: Database, books: Reminders, ledger: Ledger
) -> None:
    made = await daily(books, count=3)
    await send(database, ledger, made)
    (_, second) = await of_series(database, made.series_id)
    later = f"{str(second.occurrence)[:10]}T18:30"

    await books.edit(second.id, Asked(message="Evening"), EVERYTHING, Asker(), following=True)
    changed = await books.edit(second.id, Asked(when=later), EVERYTHING, Asker(), following=True)
    await send(database, ledger, changed)

    (*_, third) = await of_series(database, made.series_id)
    assert (third.message, f"{third.due_at.astimezone(PARIS):%H:%M}") == ("Evening", "18:30")
    await send(database, ledger, third)
    # Three in all, as it was said at first.
    assert len(await of_series(database, made.series_id)) == 3
    assert (await the_series(database, made.series_id)).state == "ended"


async def test_another_rule_counts_from_the_one_that_is_changed(
    database: Database, books: Reminders, ledger: Ledger
) -> None:
    made = await daily(books)

    changed = await books.edit(made.id, Asked(repeat="every 2 days"), EVERYTHING, Asker(), following=True)
    await send(database, ledger, changed)

    first, second = await of_series(database, made.series_id)
    assert walls([first, second]) == days(str(made.occurrence)[:10], 3)[::2]


async def test_a_rule_is_no_change_of_one_alone(books: Reminders) -> None:
    made = await daily(books)
    plain = await books.schedule(Asked(to="a@example.org", message="x", when="2099-01-01T09:00"), Asker())
    assert plain is not None

    for id, following in ((made.id, False), (plain.id, True)):
        with pytest.raises(InvalidDraft):
            await books.edit(id, Asked(repeat="weekly"), EVERYTHING, Asker(), following=following)


# From completion


async def test_counted_from_completion_the_next_is_planned_when_the_last_is_done(
    database: Database, books: Reminders, ledger: Ledger, acts: Afterwards
) -> None:
    made = await daily(books, repeat="every 3 days", from_completion=True)

    await send(database, ledger, made)
    assert await Repeating(database).sweep() == 0
    assert len(await of_series(database, made.series_id)) == 1
    # Done so early that the next would be before it, it counts from its own day; done today, from today.
    await acts.done(made.id, EVERYTHING)
    await acts.done(made.id, EVERYTHING)

    _, second = await of_series(database, made.series_id)
    assert second.due_at.astimezone(PARIS).date() == datetime.now(PARIS).date() + timedelta(days=3)


# Missed


def a_series(**changes: Any) -> Series:
    """A daily one, 09:00 in Paris, of which the 1st of June 2026 stands."""
    clock = datetime(2026, 6, 1, tzinfo=UTC)
    given: dict[str, Any] = {
        "state": "active", "recipient": "a@example.org", "subject": "s", "message": "m", "rule": "FREQ=DAILY",
        "start_wall": "2026-06-01T09:00:00", "time_zone": "Europe/Paris", "next_wall": "2026-06-01T09:00:00",
        "missed": "once", "made": 1, "created_at": clock, "updated_at": clock,
    }  # fmt: skip
    return Series(**(given | changes))


def ended(accepted: datetime | None, status: Status = Status.SENT) -> Reminder:
    return Reminder(status=status, accepted_at=accepted)


def june(day: int, hour: int) -> datetime:
    return datetime(2026, 6, day, hour, tzinfo=PARIS).astimezone(UTC)


@pytest.mark.parametrize(
    ("held", "last", "clock", "wall", "passed_over"),
    [
        # In time.
        ({}, ended(june(1, 9)), june(1, 9), "2026-06-02", 0),
        # Sent three days late: it made up for all that were missed.
        ({}, ended(june(4, 12)), june(4, 12), "2026-06-05", 3),
        # It failed after three days: the last of those missed comes at once, for all.
        ({}, ended(None, Status.FAILED), june(4, 12), "2026-06-04", 2),
        ({"missed": "skip"}, ended(None, Status.FAILED), june(4, 12), "2026-06-05", 3),
        # Of use for an hour only.
        ({"useful_s": 3600}, ended(None, Status.MISSED), june(4, 12), "2026-06-05", 3),
        ({"useful_s": 86400}, ended(None, Status.MISSED), june(4, 12), "2026-06-04", 2),
        # It was never written.
        ({}, None, june(1, 8), "2026-06-01", 0),
        ({}, None, june(4, 12), "2026-06-04", 3),
        ({"missed": "skip"}, None, june(4, 12), "2026-06-05", 4),
        # The rule has ended meanwhile.
        ({"rule": "FREQ=DAILY;COUNT=3"}, ended(june(4, 12)), june(4, 12), None, 0),
        ({"rule": "FREQ=DAILY;COUNT=3"}, ended(None, Status.FAILED), june(4, 12), "2026-06-03", 1),
        ({"rule": "FREQ=DAILY;COUNT=1"}, ended(june(1, 9)), june(1, 9), None, 0),
    ],
)
def test_of_what_was_missed_one_makes_up_for_all_or_none_comes(
    held: dict[str, Any], last: Reminder | None, clock: datetime, wall: str | None, passed_over: int
) -> None:
    found = after(a_series(**held), last, clock)

    assert (None if found is None else f"{found.at.wall:%Y-%m-%d}") == wall
    assert found is None or found.skipped == passed_over


def test_nine_stays_nine_and_no_day_is_lost_or_doubled_through_a_year_of_clock_changes() -> None:
    for zone in ("Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Gaza"):
        place, held, seen = ZoneInfo(zone), a_series(time_zone=zone), []
        for _ in range(365):
            at = settle(datetime.fromisoformat(held.next_wall or ""), place).at
            found = after(held, ended(at), at)
            assert found is not None
            seen.append(found.at)
            held.next_wall = found.at.wall.isoformat()

        assert [each.wall.date() for each in seen] == [date(2026, 6, 2) + timedelta(days=n) for n in range(365)]
        assert {f"{each.at.astimezone(place):%H:%M}" for each in seen} == {"09:00"}


async def test_after_days_of_nobody_at_work_one_mail_comes_and_says_how_many_were_passed_over(
    database: Database, books: Reminders
) -> None:
    made = await daily(books)
    start = (datetime.now(PARIS).date() - timedelta(days=5)).isoformat() + "T00:00:00"
    await set_series(database, made.series_id, start_wall=start, next_wall=start)
    async with database.statements() as connection:
        await connection.execute(delete(reminders).where(row.series_id == made.series_id))

    await Repeating(database).sweep()

    (found,) = await of_series(database, made.series_id)
    assert found.due_at <= datetime.now(UTC)
    assert found.due_at.astimezone(PARIS).date() == datetime.now(PARIS).date()
    assert found.events[0]["passed_over"] == 5


async def test_two_rows_of_one_occurrence_cannot_be(database: Database, books: Reminders) -> None:
    made = await daily(books)
    again = {name: getattr(made, name) for name in row.keys()} | {"id": UUID(int=7), "idem_key": None}  # noqa: SIM118

    with pytest.raises(IntegrityError):
        async with database.statements() as connection:
            await connection.execute(insert(reminders).values(**again))
