"""What may be done with a reminder: the row is the promise, the job its alarm clock, and a change that is answered wins."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest
from sqlalchemy import func, select

from rmindr.database import Database
from rmindr.drafts import Asked
from rmindr.errors import InvalidDraft, KeyReused, ReminderNotFound, StorageUnavailable, TooLate
from rmindr.ledger import Ledger, reminders
from rmindr.models import Reminder, Status, new_id
from rmindr.queue import Queue, State
from rmindr.reminders import Reminders, unique_key
from tests.deliveries import LEASE, Away, Peephole, a_claim, a_reminder, everything, stored, story
from tests.queue.proxy import Proxy
from tests.queue.scenery import keyspace
from tests.servers import Valkey, free_port

WINDOW: Final = timedelta(hours=24)
ROUNDS: Final = 40
CHANGEABLE: Final = (
    "unconfirmed", "not yet due", "due", "put off", "due again", "held", "lapsed", "lapsed for the third time",
)  # fmt: skip
TOO_LATE: Final = {
    "marked": "sending", "marked and lapsed": "sending", "marked and lapsed for the third time": "sending", "sent": "sent",
    "failed": "failed", "missed": "missed", "uncertain": "uncertain",
}  # fmt: skip


def asked(**changes: Any) -> Asked:
    due_at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    return replace(Asked(to="ada@example.org", message="Call mum", due_at=due_at), **changes)


def the_reminders(database: Database, queue: Queue, **given: Any) -> Reminders:
    return Reminders(database, queue, **{"may_write_to": lambda _: True, "feed_window": WINDOW} | given)


@pytest.fixture
def people(database: Database, live_queue: Queue) -> Reminders:
    return the_reminders(database, live_queue)


@asynccontextmanager
async def many(database_url: str, queue: Queue, count: int = 4) -> AsyncIterator[list[Reminders]]:
    """As many processes would: each on connections of its own."""
    async with AsyncExitStack() as stack:
        yield [the_reminders(await stack.enter_async_context(Database.open(database_url)), queue) for _ in range(count)]


async def rows(database: Database) -> int:
    async with database.statements() as connection:
        return int(await connection.scalar(select(func.count()).select_from(reminders)) or 0)


async def alarm_of(queue: Queue, reminder: Reminder, rev: int | None = None) -> Any:
    """The job that is the alarm of this revision; None where there is none."""
    (job_id,) = await queue.jobs.find([unique_key(reminder.id, rev or reminder.rev)])
    return None if job_id is None else await queue.get(job_id)


# Scheduling


async def test_what_is_scheduled_is_stored_whole(database: Database, people: Reminders) -> None:
    due_at = datetime.now(UTC).replace(microsecond=123_000) + timedelta(days=1)

    made = await people.schedule(
        Asked(
            to="joe@münchen.de", subject="Milk", message="Buy\r\nit", due_at=due_at.isoformat(), time_zone="Asia/Tokyo"
        ),
        owner="someone",
    )

    found = await stored(database, made.id)
    assert found == made
    assert (found.recipient, found.subject, found.message) == ("joe@xn--mnchen-3ya.de", "Milk", "Buy\nit")
    assert (found.due_at, found.next_at, found.time_zone) == (due_at, due_at, "Asia/Tokyo")
    assert (found.status, found.rev, found.owner, found.fence, found.attempt) == (Status.SCHEDULED, 1, "someone", 0, 0)
    assert story(found) == ["created"]
    assert await people.find(made.id) == found


async def test_its_alarm_is_set_for_the_very_millisecond_and_holds_neither_address_nor_text(
    people: Reminders, live_queue: Queue
) -> None:
    made = await people.schedule(asked(to="canary@example.org", message="CANARY", subject="CANARY"))

    job = await alarm_of(live_queue, made)
    assert (job.type, job.state, job.promote_at) == ("email", State.DELAYED, made.due_at)
    assert job.data == {"title": f"Reminder {made.id}", "id": str(made.id), "rev": 1}
    assert job.remove_on_complete
    assert job.attempts_remaining > 10_000
    assert "canary" not in repr(await keyspace(live_queue)).lower()


async def test_the_row_is_committed_before_the_queue_is_told(
    database: Database, database_url: str, valkey: Valkey, prefix: str
) -> None:
    peephole, seen = Peephole(database_url), []
    async with Proxy(valkey.port) as proxy, Queue.open(proxy.url, prefix=prefix) as queue:
        await queue.redis.ping()
        proxy.when(b"email", lambda: seen.append(peephole.count()))

        await the_reminders(database, queue).schedule(asked())

    assert seen == [1]


async def test_a_queue_that_refuses_changes_nothing(database: Database, prefix: str) -> None:
    async with Queue.open(f"redis://127.0.0.1:{free_port()}", prefix=prefix) as queue:
        people = the_reminders(database, queue)

        made = await people.schedule(asked())
        edited = await people.edit(made.id, Asked(message="Other"))
        cancelled = await people.cancel(made.id)

    assert [made.status, edited.status, cancelled.status] == ["scheduled", "scheduled", "cancelled"]
    assert (await stored(database, made.id)).queued_rev is None


async def test_a_queue_that_is_frozen_is_not_waited_for(database: Database, own_valkey: Valkey, prefix: str) -> None:
    async with Queue.open(own_valkey.url, prefix=prefix) as queue:
        await queue.redis.ping()
        own_valkey.freeze()

        # Its connection would wait for five seconds.
        async with asyncio.timeout(3):
            made = await the_reminders(database, queue).schedule(asked())

        own_valkey.thaw()
    assert made.status == Status.SCHEDULED


async def test_without_the_database_nothing_is_promised_and_no_alarm_is_set(
    people: Reminders, live_queue: Queue, away: Away
) -> None:
    away.go()

    for call in (people.schedule(asked()), people.schedule(asked(), idem_key="k"), people.cancel(new_id())):
        with pytest.raises(StorageUnavailable):
            await call

    assert await keyspace(live_queue) == {}


@pytest.mark.parametrize(("hours", "has_alarm"), [(23.99, True), (24.01, False), (24 * 365 * 50, False)])
async def test_only_what_is_due_inside_the_window_has_an_alarm_yet(
    people: Reminders, live_queue: Queue, hours: float, has_alarm: bool
) -> None:
    due_at = (datetime.now(UTC) + timedelta(hours=hours)).isoformat()

    made = await people.schedule(asked(due_at=due_at))

    assert (await alarm_of(live_queue, made) is not None) == has_alarm


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        (asked(to="nobody"), {"to"}),
        (asked(to="blocked@example.org"), {"to"}),
        (asked(message=" ", due_at="tomorrow"), {"message", "due_at"}),
        (asked(due_at="2020-01-01T00:00:00Z"), {"due_at"}),
        (Asked(), {"to", "message", "due_at"}),
    ],
)
async def test_what_cannot_be_a_reminder_is_refused_and_leaves_nothing(
    database: Database, live_queue: Queue, given: Asked, fields: set[str]
) -> None:
    people = the_reminders(database, live_queue, may_write_to=lambda address: not address.startswith("blocked"))

    for call in (people.schedule(given), people.schedule(given, idem_key="k")):
        with pytest.raises(InvalidDraft) as caught:
            await call
        assert set(caught.value.problems) == fields
    with pytest.raises(InvalidDraft) as caught:
        people.preview(given)

    assert set(caught.value.problems) == fields
    assert await rows(database) == 0
    assert await keyspace(live_queue) == {}


async def test_a_preview_says_what_it_would_become_and_stores_nothing(
    database: Database, people: Reminders, live_queue: Queue
) -> None:
    given = asked()

    draft = people.preview(given)
    half_written = people.preview(Asked(due_at=given.due_at), partial=True)

    assert (draft.to, draft.subject, draft.message) == ("ada@example.org", "Reminder: Call mum", "Call mum")
    assert (half_written.to, half_written.message, half_written.due_at) == ("", "", draft.due_at)
    assert await rows(database) == 0
    assert await keyspace(live_queue) == {}


# The same request twice


async def test_the_same_key_with_the_same_request_is_the_same_reminder(
    database: Database, people: Reminders, live_queue: Queue
) -> None:
    given = asked()

    first = await people.schedule(given, owner="me", idem_key="k")
    second = await people.schedule(given, owner="me", idem_key="k")

    assert first == second
    assert await rows(database) == 1
    assert sum((await live_queue.jobs.counts()).values()) == 1


async def test_the_same_key_answers_the_reminder_as_it_stands_even_when_it_is_over(
    database: Database, live_queue: Queue
) -> None:
    given = asked()
    made = await the_reminders(database, live_queue).schedule(given, idem_key="k")
    await the_reminders(database, live_queue).cancel(made.id)

    years_later = the_reminders(database, live_queue, clock=lambda: datetime.now(UTC) + timedelta(days=1000))
    again = await years_later.schedule(given, idem_key="k")

    assert (again.id, again.status) == (made.id, Status.CANCELLED)


async def test_the_same_key_with_another_request_is_refused(database: Database, people: Reminders) -> None:
    given = asked()
    made = await people.schedule(given, idem_key="k")
    changes: list[dict[str, Any]] = [
        {"to": "eve@example.org"}, {"subject": "Other"}, {"message": "Other"}, {"due_at": "2099-01-01T00:00:00Z"},
        {"due_at": None, "when": "2099-01-01T00:00"}, {"time_zone": "Europe/Paris"}, {"fold": 1},
    ]  # fmt: skip

    for change in changes:
        with pytest.raises(KeyReused):
            await people.schedule(replace(given, **change), idem_key="k")

    assert await rows(database) == 1
    assert await stored(database, made.id) == made


async def test_keys_belong_to_their_owners_and_no_key_is_no_key(database: Database, people: Reminders) -> None:
    given = asked()

    await people.schedule(given, owner="me", idem_key="k")
    await people.schedule(replace(given, message="Other"), owner="you", idem_key="k")
    await people.schedule(given, owner="me")
    await people.schedule(given, owner="me")

    assert await rows(database) == 4


async def test_twenty_identical_requests_at_once_are_one_reminder(
    database: Database, database_url: str, live_queue: Queue
) -> None:
    given = asked()
    async with many(database_url, live_queue) as processes:
        made = await asyncio.gather(*(process.schedule(given, idem_key="k") for _ in range(5) for process in processes))

    assert len({each.id for each in made}) == 1
    assert await rows(database) == 1
    assert sum((await live_queue.jobs.counts()).values()) == 1


async def test_of_different_requests_under_one_key_at_once_one_is_taken(
    database: Database, database_url: str, live_queue: Queue
) -> None:
    requests = [asked(message=f"Message {n}") for n in range(12)]
    async with many(database_url, live_queue) as processes:
        answers = await asyncio.gather(
            *(processes[n % 4].schedule(request, idem_key="k") for n, request in enumerate(requests)),
            return_exceptions=True,
        )

    taken = [answer for answer in answers if isinstance(answer, Reminder)]
    assert len(taken) == 1
    assert sum(isinstance(answer, KeyReused) for answer in answers) == 11
    assert await rows(database) == 1


# Finding


async def test_an_id_that_nobody_has_is_not_found(people: Reminders) -> None:
    for call in (people.find(new_id()), people.edit(new_id(), Asked(message="x")), people.cancel(new_id())):
        with pytest.raises(ReminderNotFound):
            await call


async def test_pages_go_from_the_newest_to_the_oldest_and_miss_none(people: Reminders) -> None:
    made = [(await people.schedule(asked(), owner="me")).id for _ in range(7)]
    await people.schedule(asked(), owner="you")

    pages: list[list[UUID]] = [[]]
    for _ in range(4):
        page = await people.newest(owner="me", before=pages[-1][-1] if pages[-1] else None, limit=3)
        pages.append([each.id for each in page])

    newest = sorted(made, reverse=True)
    assert pages[1:] == [newest[:3], newest[3:6], newest[6:], []]


async def test_a_page_can_be_of_one_status_alone(people: Reminders) -> None:
    kept, cancelled = [await people.schedule(asked()) for _ in range(2)]
    await people.cancel(cancelled.id)

    assert [each.id for each in await people.newest(status=Status.SCHEDULED)] == [kept.id]
    assert [each.id for each in await people.newest(status=Status.CANCELLED)] == [cancelled.id]
    assert await people.newest(status=Status.SENT) == []
    assert await people.newest(owner="nobody") == []


# Changing


async def test_an_edit_makes_a_new_revision_that_begins_from_nothing(database: Database, people: Reminders) -> None:
    for standing in CHANGEABLE:
        seen = await a_reminder(
            database, standing, reason="an old one", queued_rev=1, first_tried_at=-LEASE, ambiguous=1, letter=b"x"
        )

        edited = await people.edit(seen.id, Asked(message="New"))

        found = await stored(database, seen.id)
        assert edited == found, standing
        assert (found.rev, found.fence, found.message) == (seen.rev + 1, seen.fence + 1, "New"), standing
        assert found.status == (Status.UNCONFIRMED if standing == "unconfirmed" else Status.SCHEDULED), standing
        assert (found.attempt, found.crashes, found.ambiguous) == (0, 0, 0), standing
        untold = (
            found.reason,
            found.queued_rev,
            found.lease_until,
            found.marked_at,
            found.letter,
            found.first_tried_at,
        )
        assert untold == (None,) * 6, standing
        assert story(found) == ["edited"], standing
        assert found.next_at == found.due_at, standing


async def test_an_edit_confirms_nothing(database: Database, people: Reminders, live_queue: Queue) -> None:
    unconfirmed = await a_reminder(database, "unconfirmed", due_at=LEASE, next_at=LEASE)

    edited = await people.edit(unconfirmed.id, Asked(message="New"))

    assert edited.status == Status.UNCONFIRMED
    assert await alarm_of(live_queue, edited) is None


async def test_a_cancel_ends_it(database: Database, people: Reminders) -> None:
    for standing in CHANGEABLE:
        seen = await a_reminder(database, standing)

        cancelled = await people.cancel(seen.id)
        again = await people.cancel(seen.id)

        found = await stored(database, seen.id)
        assert cancelled == again == found, standing
        assert (found.status, found.rev, found.fence) == (Status.CANCELLED, seen.rev + 1, seen.fence + 1), standing
        assert story(found) == ["cancelled"], standing


async def test_what_has_left_or_ended_can_no_longer_be_changed(database: Database, people: Reminders) -> None:
    for standing, status in TOO_LATE.items():
        seen = await a_reminder(database, standing)
        before = await everything(database, seen.id)

        for call in (people.edit(seen.id, Asked(message="New")), people.cancel(seen.id)):
            with pytest.raises(TooLate) as caught:
                await call
            assert caught.value.status == status, standing

        assert await everything(database, seen.id) == before, standing


async def test_what_is_cancelled_can_no_longer_be_edited(database: Database, people: Reminders) -> None:
    seen = await a_reminder(database, "cancelled")

    with pytest.raises(TooLate):
        await people.edit(seen.id, Asked(message="New"))


async def test_what_is_not_said_stays_as_it_is(database: Database, people: Reminders) -> None:
    made = await people.schedule(asked(subject="Mine", time_zone="Asia/Tokyo"))

    edited = await people.edit(made.id, Asked(to="eve@example.org"))

    changed = {
        name for name, value in (await everything(database, made.id)).items() if value != getattr(made, name)
    } - {"updated_at", "timeline"}
    assert edited.recipient == "eve@example.org"
    assert changed == {"rev", "fence", "recipient"}


@pytest.mark.parametrize(("subject", "then"), [(None, "Reminder: New"), ("Mine", "Mine")])
async def test_a_subject_made_from_the_message_follows_it_and_one_s_own_does_not(
    people: Reminders, subject: str | None, then: str
) -> None:
    made = await people.schedule(asked(subject=subject))

    edited = await people.edit(made.id, Asked(message="New"))

    assert edited.subject == then


async def test_another_zone_alone_leaves_the_instant_where_it_is(people: Reminders) -> None:
    made = await people.schedule(asked())

    edited = await people.edit(made.id, Asked(time_zone="Asia/Tokyo"))

    assert (edited.due_at, edited.time_zone) == (made.due_at, "Asia/Tokyo")


async def test_another_instant_moves_the_alarm(people: Reminders, live_queue: Queue) -> None:
    made = await people.schedule(asked())
    later = made.due_at + timedelta(minutes=5)

    edited = await people.edit(made.id, Asked(due_at=later.isoformat()))

    assert (edited.due_at, edited.next_at) == (later, later)
    assert (await alarm_of(live_queue, edited)).promote_at == later
    assert await alarm_of(live_queue, made, rev=1) is None
    assert sum((await live_queue.jobs.counts()).values()) == 1


async def test_an_instant_beyond_the_window_takes_the_alarm_away(people: Reminders, live_queue: Queue) -> None:
    made = await people.schedule(asked())

    await people.edit(made.id, Asked(due_at=(made.due_at + timedelta(days=30)).isoformat()))

    assert sum((await live_queue.jobs.counts()).values()) == 0


async def test_a_cancel_takes_the_alarm_away(people: Reminders, live_queue: Queue) -> None:
    made = await people.schedule(asked())

    await people.cancel(made.id)

    assert sum((await live_queue.jobs.counts()).values()) == 0


async def test_what_is_due_already_can_be_edited_but_not_moved_into_the_past(
    database: Database, people: Reminders
) -> None:
    retrying = await a_reminder(database, "put off")

    edited = await people.edit(retrying.id, Asked(message="New"))
    with pytest.raises(InvalidDraft) as caught:
        await people.edit(retrying.id, Asked(due_at="2020-01-01T00:00:00Z"))

    assert (edited.message, edited.due_at) == ("New", retrying.due_at)
    assert set(caught.value.problems) == {"due_at"}
    assert await stored(database, retrying.id) == edited


async def test_an_edit_that_is_refused_changes_nothing(database: Database, live_queue: Queue) -> None:
    made = await a_reminder(database)
    people = the_reminders(database, live_queue, may_write_to=lambda address: address == made.recipient)

    for change in (Asked(to="eve@example.org"), Asked(message=""), Asked(time_zone="Mars/Olympus"), Asked(when="soon")):
        with pytest.raises(InvalidDraft):
            await people.edit(made.id, change)

    assert await stored(database, made.id) == made


# Several at once


async def test_of_edits_at_once_none_is_lost(database: Database, database_url: str, live_queue: Queue) -> None:
    made = await the_reminders(database, live_queue).schedule(asked(subject="Mine"))
    later = made.due_at + timedelta(minutes=5)
    changes = [
        Asked(to="eve@example.org"), Asked(subject="Other"), Asked(message="New"), Asked(due_at=later.isoformat()),
        Asked(time_zone="Asia/Tokyo"),
    ]  # fmt: skip

    async with many(database_url, live_queue, len(changes)) as processes:
        await asyncio.gather(*(each.edit(made.id, change) for each, change in zip(processes, changes, strict=True)))

    found = await stored(database, made.id)
    assert (found.recipient, found.subject, found.message) == ("eve@example.org", "Other", "New")
    assert (found.due_at, found.time_zone) == (later, "Asia/Tokyo")
    assert (found.rev, found.fence) == (6, 5)
    assert story(found) == ["created"] + ["edited"] * 5


async def test_of_cancels_at_once_all_are_told_the_same(
    database: Database, database_url: str, live_queue: Queue
) -> None:
    made = await a_reminder(database, "held")

    async with many(database_url, live_queue) as processes:
        answers = await asyncio.gather(*(each.cancel(made.id) for each in processes * 3))

    assert {(each.status, each.rev) for each in answers} == {(Status.CANCELLED, 2)}


async def attempt(ledger: Ledger, reminder: Reminder, jitter: Callable[[], float]) -> bool:
    """What a worker does up to the point of no return; whether it has passed it."""
    await asyncio.sleep(jitter())
    claim = await ledger.claim(reminder.id, reminder.rev, "there")
    if claim is None:
        return False
    await asyncio.sleep(jitter())
    return await ledger.mark(claim, b"x")


@pytest.mark.parametrize("change", ["edit", "cancel"])
async def test_a_change_and_the_mark_never_both_happen(
    database: Database, database_url: str, live_queue: Queue, change: str
) -> None:
    dice = random.Random(change)
    people = the_reminders(database, live_queue)

    async def changed(reminder: Reminder) -> str:
        await asyncio.sleep(dice.random() / 100)
        try:
            call = people.cancel(reminder.id) if change == "cancel" else people.edit(reminder.id, Asked(message="New"))
            return (await call).status
        except TooLate as refusal:
            return f"refused: {refusal.status}"

    async with Database.open(database_url) as elsewhere:
        ledger = Ledger(elsewhere, LEASE)
        for _ in range(ROUNDS):
            reminder = await a_reminder(database)

            answer, marked = await asyncio.gather(
                changed(reminder), attempt(ledger, reminder, lambda: dice.random() / 200)
            )

            found = await stored(database, reminder.id)
            assert (answer == "refused: sending") == marked
            assert found.status == (Status.SENDING if marked else answer)
            assert found.rev == (1 if marked else 2)


async def test_what_is_put_off_at_that_moment_can_be_changed_after_all(
    database: Database, database_url: str, live_queue: Queue
) -> None:
    """It was marked when the cancel looked, and waits again when the cancel asks why: that is no reason to refuse."""
    people = the_reminders(database, live_queue)
    dice = random.Random(1)
    async with Database.open(database_url) as elsewhere:
        ledger = Ledger(elsewhere, LEASE)

        async def put_off(reminder: Reminder) -> None:
            await asyncio.sleep(dice.random() / 500)
            await ledger.put_off(a_claim(reminder), LEASE, "later", event="put off", counted=True)

        for _ in range(ROUNDS):
            reminder = await a_reminder(database, "marked")
            (answer, _) = await asyncio.gather(people.cancel(reminder.id), put_off(reminder), return_exceptions=True)

            assert isinstance(answer, Reminder) or answer.status == "sending"


@pytest.mark.parametrize("standing", ["held", "lapsed"])
async def test_after_a_change_the_old_fence_and_the_old_revision_are_worth_nothing(
    database: Database, people: Reminders, standing: str
) -> None:
    for change in ("edit", "cancel"):
        seen = await a_reminder(database, standing)
        ledger, claim = Ledger(database, LEASE), a_claim(seen)
        changed = await (people.cancel(seen.id) if change == "cancel" else people.edit(seen.id, Asked(message="New")))

        answers = [
            await ledger.mark(claim, b"x"),
            await ledger.give_back(claim),
            await ledger.end(claim, Status.FAILED, "no"),
            await ledger.put_off(claim, LEASE, "later", event="put off", counted=True),
            await ledger.claim(seen.id, seen.rev, "there"),
            await ledger.settle(seen, Status.UNCERTAIN, "?"),
            await ledger.sent(claim, "250", timedelta(0)),
        ]

        assert not any(answers)
        assert await stored(database, seen.id) == changed
