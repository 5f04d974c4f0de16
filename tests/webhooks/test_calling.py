"""Events on their way: written with the ending, called until they are taken, and given up in the end."""

from __future__ import annotations

import asyncio
import json
import ssl
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, insert, select, update
from standardwebhooks.webhooks import Webhook
from structlog.testing import capture_logs

from rmindr.database import Database, now
from rmindr.leaving import Leaving
from rmindr.ledger import Claim, Ledger
from rmindr.limits import Limits
from rmindr.models import Call, Hook, Kind, Person, Status
from rmindr.people import people
from rmindr.queue import Queue
from rmindr.series import Repeating, Sequel
from rmindr.tidying import Tidying
from rmindr.webhooks.calling import WEBHOOK, Calls
from rmindr.webhooks.keeping import Webhooks
from rmindr.webhooks.outbox import Event, calls, hooks
from rmindr.webhooks.places import Reach
from rmindr.webhooks.post import Caller
from tests.deliveries import LEASE, MINUTE, Peephole, a_reminder, refuse, stored
from tests.webhooks.receiver import Receiver, says

HERE = Reach.of(["localhost"])


@pytest.fixture
async def ada(database: Database) -> Person:
    return await a_person(database, "ada@example.org")


async def a_person(database: Database, address: str) -> Person:
    person = Person(
        owner=UUID(int=sum(address.encode())).hex, address=address, mailbox=address, created_at=datetime.now(UTC)
    )
    async with database.statements() as connection:
        await connection.execute(insert(people).values(**person.model_dump()))
    return person


@pytest.fixture
def kept(database: Database) -> Webhooks:
    return Webhooks(database, HERE, Limits(database, "key"))


@pytest.fixture
async def hook(kept: Webhooks, ada: Person, receiver: Receiver) -> Hook:
    """Ada's, at the receiver, for everything."""
    return await kept.make(ada, receiver.url(), list(Event))


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database, LEASE, Sequel(webhooks=True))


@pytest.fixture
def calling(database: Database, live_queue: Queue, trusting: ssl.SSLContext) -> Calls:
    return Calls(database, live_queue, Caller(HERE, tls=trusting))


async def claimed(ledger: Ledger, database: Database, **values: Any) -> Claim:
    """A reminder of Ada's that a worker is sending."""
    reminder = await a_reminder(database, recipient="ada@example.org", **values)
    claim = await ledger.claim(reminder.id, 1, "here")
    assert claim is not None
    return claim


async def written(database: Database) -> list[Call]:
    """All calls, oldest first."""
    async with database.statements() as connection:
        found = await connection.execute(select(*calls.c).order_by(calls.c.id))
        return [Call(**each) for each in found.mappings()]


async def told(database: Database) -> list[tuple[str, str]]:
    """What they tell: the event, and of which reminder."""
    bodies = [json.loads(each.body) for each in await written(database)]
    return [(each["type"], each["data"]["id"]) for each in bodies]


async def alter(database: Database, **values: Any) -> None:
    async with database.statements() as connection:
        await connection.execute(update(calls).values(**values))


async def the_hook(database: Database) -> Hook:
    async with database.statements() as connection:
        return Hook(**(await connection.execute(select(*hooks.c))).mappings().one())


# Written with the ending


async def test_every_ending_is_written_for_whoever_wants_to_know(
    database: Database, ledger: Ledger, ada: Person, hook: Hook
) -> None:
    sent, failed, uncertain = [await claimed(ledger, database, owner=ada.owner) for _ in range(3)]
    gone = await a_reminder(database, "lapsed for the third time", owner=ada.owner)
    missed = await a_reminder(database, owner=ada.owner, deadline_at=-MINUTE)

    await ledger.sent(sent, "250 ok", timedelta(0))
    await ledger.end(failed, Status.FAILED, "No such user.")
    await ledger.end(uncertain, Status.UNCERTAIN, "No answer.")
    await ledger.settle(gone, Status.FAILED, "It could not be processed.")
    await Repeating(database, Sequel(webhooks=True)).miss()

    assert await told(database) == [
        ("reminder.sent", str(sent.id)), ("reminder.failed", str(failed.id)), ("reminder.uncertain", str(uncertain.id)),
        ("reminder.failed", str(gone.id)), ("reminder.missed", str(missed.id)),
    ]  # fmt: skip


async def test_a_program_is_told_how_it_ended_and_not_what_the_mail_says(
    database: Database, ledger: Ledger, ada: Person, hook: Hook
) -> None:
    claim = await claimed(ledger, database, owner=ada.owner, message="a secret of Ada's")

    await ledger.sent(claim, "250 ok", timedelta(0))

    (call,), row = await written(database), await stored(database, claim.id)
    body = json.loads(call.body)
    assert (body["type"], set(body)) == ("reminder.sent", {"type", "timestamp", "data"})
    assert body["data"] | {"due_at": "", "sent_at": ""} == {
        "id": str(claim.id), "status": "sent", "reason": None, "to": "ada@example.org", "subject": "Milk", "due_at": "",
        "time_zone": "UTC", "sent_at": "", "lateness_ms": row.lateness_ms, "may_have_arrived_twice": False, "attempts": 1,
        "series_id": None,
    }  # fmt: skip
    assert datetime.fromisoformat(body["data"]["sent_at"]) == row.accepted_at
    assert "secret" not in call.body


async def test_an_attempt_that_is_not_the_last_is_no_ending(
    database: Database, ledger: Ledger, ada: Person, hook: Hook
) -> None:
    later, back = [await claimed(ledger, database, owner=ada.owner) for _ in range(2)]

    await ledger.put_off(later, MINUTE, "later", event="put off", counted=True)
    await ledger.give_back(back)
    overtaken = await ledger.sent(back, "250 ok", timedelta(0))

    assert overtaken is None
    assert await written(database) == []


async def test_nobody_is_told_of_what_is_not_theirs_or_not_wanted(
    database: Database, ledger: Ledger, ada: Person, kept: Webhooks, receiver: Receiver
) -> None:
    bob = await a_person(database, "bob@example.org")
    await kept.make(bob, receiver.url(), list(Event))
    await kept.make(ada, receiver.url("/only"), ["reminder.failed"])
    stopped = await kept.make(ada, receiver.url("/stopped"), list(Event))
    async with database.statements() as connection:
        await connection.execute(update(hooks).where(hooks.c.id == stopped.id).values(stopped_at=now()))
    sent, failed = [await claimed(ledger, database, owner=ada.owner) for _ in range(2)]
    nobodys = await claimed(ledger, database)
    of_ours = await claimed(ledger, database, kind=Kind.NOTICE, owner=ada.owner)

    for each in (sent, nobodys, of_ours):
        await ledger.sent(each, "250 ok", timedelta(0))
    await ledger.end(failed, Status.FAILED, "No such user.")

    assert await told(database) == [("reminder.failed", str(failed.id))]


async def test_where_webhooks_are_off_nothing_is_written(database: Database, ada: Person, hook: Hook) -> None:
    ledger = Ledger(database, LEASE, Sequel())
    claim = await claimed(ledger, database, owner=ada.owner)

    await ledger.sent(claim, "250 ok", timedelta(0))

    assert await written(database) == []
    assert (await stored(database, claim.id)).status == Status.SENT


async def test_an_event_is_written_with_its_ending_or_not_at_all(
    database: Database, database_url: str, ledger: Ledger, ada: Person, hook: Hook
) -> None:
    claim = await claimed(ledger, database, owner=ada.owner)
    refuse(database_url, "smtp_reply")

    with pytest.raises(Exception, match=r"refused|no"):
        await ledger.sent(claim, "250 ok", timedelta(0))

    assert (await stored(database, claim.id)).status == Status.SENDING
    assert await written(database) == []


async def test_a_fault_of_the_outbox_keeps_no_ending_from_being_written(
    database: Database, database_url: str, ledger: Ledger, ada: Person, hook: Hook
) -> None:
    claim = await claimed(ledger, database, owner=ada.owner)
    refused = (
        "ALTER TABLE calls ADD CONSTRAINT no CHECK (state <> 'waiting')"
        if database_url.startswith("postgresql")
        else "CREATE TRIGGER no BEFORE INSERT ON calls BEGIN SELECT RAISE(ABORT, 'refused'); END"
    )
    Peephole(database_url).do(refused)

    await ledger.sent(claim, "250 ok", timedelta(0))

    assert (await stored(database, claim.id)).status == Status.SENT
    assert await written(database) == []


# Called until it is taken


async def one_call(kept: Webhooks, database: Database, ada: Person, hook: Hook) -> Call:
    assert await kept.test(ada, hook.id)
    return (await written(database))[-1]


async def test_a_receiver_can_tell_who_called_and_that_nothing_was_changed(
    calling: Calls, kept: Webhooks, database: Database, ada: Person, hook: Hook, receiver: Receiver
) -> None:
    call = await one_call(kept, database, ada, hook)

    outcome = await calling.make(call.id)

    (received,) = receiver.received
    assert outcome == {"answer": "answered 200", "attempt": 1}
    assert Webhook(hook.secret).verify(received.body.decode(), received.headers) == json.loads(call.body)
    assert received.headers["webhook-id"] == f"msg_{call.id.hex}"
    assert received.headers["content-type"] == "application/json"
    with pytest.raises(Exception, match="signature"):
        Webhook(hook.secret).verify(received.body.decode().replace("test", "sent"), received.headers)
    (after,) = await written(database)
    assert (after.state, after.answer, after.attempts) == ("taken", "answered 200", 1)


async def test_what_is_not_taken_is_called_again_with_the_same_id_and_body(
    calling: Calls, kept: Webhooks, database: Database, ada: Person, hook: Hook, receiver: Receiver
) -> None:
    receiver.answers = [says(500), says(302), says(200)]
    call = await one_call(kept, database, ada, hook)

    for _ in range(3):
        await calling.make(call.id)
        too_early = await calling.make(call.id)
        await alter(database, next_at=now())

    assert too_early == {"skipped": "not due"}
    assert [each.body.decode() for each in receiver.received] == [call.body] * 3
    assert {each.headers["webhook-id"] for each in receiver.received} == {f"msg_{call.id.hex}"}
    for each in receiver.received:
        Webhook(hook.secret).verify(each.body.decode(), each.headers)
    assert (await written(database))[0].state == "taken"
    assert (await the_hook(database)).failing_since is None


async def test_after_a_day_a_call_is_given_up(
    calling: Calls, kept: Webhooks, database: Database, ada: Person, hook: Hook, receiver: Receiver
) -> None:
    receiver.answers = [says(503)]
    call, waited, attempts = await one_call(kept, database, ada, hook), timedelta(0), 0

    while (found := (await written(database))[0]).state == "waiting":
        await alter(database, next_at=now())
        async with database.statements() as connection:
            clock = await connection.scalar(select(now()))
        assert clock is not None
        await calling.make(call.id)
        attempts += 1
        found = (await written(database))[0]
        if found.state == "waiting":
            waited += found.next_at - clock

    assert (attempts, found.state, found.answer) == (9, "given up", "answered 503")
    assert timedelta(hours=20) < waited < timedelta(hours=30)
    assert (await the_hook(database)).stopped_at is None


async def test_a_call_whose_workers_are_lost_each_time_is_given_up_too(
    calling: Calls, kept: Webhooks, database: Database, ada: Person, hook: Hook, receiver: Receiver
) -> None:
    call = await one_call(kept, database, ada, hook)
    await alter(database, attempts=9)

    await calling.make(call.id)

    assert (await written(database))[0].state == "given up"
    assert receiver.received == []


async def test_a_fault_of_ours_is_an_attempt_like_any_other(
    database: Database, live_queue: Queue, kept: Webhooks, trusting: ssl.SSLContext, ada: Person, hook: Hook
) -> None:
    async def faulty(host: str, port: int) -> list[str]:
        raise RuntimeError("https://secret.example.org")

    calling = Calls(database, live_queue, Caller(HERE, tls=trusting, resolve=faulty))
    call = await one_call(kept, database, ada, hook)

    outcome = await calling.make(call.id)

    (found,) = await written(database)
    assert outcome == {"answer": "could not be called", "attempt": 1}
    assert (found.state, found.answer) == ("waiting", "could not be called")
    assert (await the_hook(database)).failing_since is not None


async def test_who_has_failed_for_days_is_called_no_more_until_its_owner_says_so(
    calling: Calls, kept: Webhooks, database: Database, ada: Person, hook: Hook, receiver: Receiver
) -> None:
    receiver.answers = [says(500), says(200)]
    call, other = await one_call(kept, database, ada, hook), await one_call(kept, database, ada, hook)
    six_days = 6 * 86_400_000
    async with database.statements() as connection:
        await connection.execute(update(hooks).values(failing_since=now() - six_days))

    await calling.make(call.id)
    (stopped,) = await kept.of(ada)
    skipped = await calling.make(other.id)
    refused = await kept.test(ada, hook.id)
    await kept.resume(ada, hook.id)
    again = await calling.make((await one_call(kept, database, ada, hook)).id)

    assert stopped.hook.stopped_at is not None
    assert [each.state for each in await written(database)] == ["given up", "given up", "taken"]
    assert (skipped, refused) == ({"skipped": "not due"}, False)
    assert again == {"answer": "answered 200", "attempt": 1}


async def test_who_says_that_it_is_gone_is_called_no_more(
    calling: Calls, kept: Webhooks, database: Database, ada: Person, hook: Hook, receiver: Receiver
) -> None:
    receiver.answers = [says(410)]

    await calling.make((await one_call(kept, database, ada, hook)).id)

    assert (await the_hook(database)).stopped_at is not None
    assert (await written(database))[0].state == "given up"


async def test_one_that_fails_is_left_alone_for_a_while_with_all_its_calls(
    calling: Calls, kept: Webhooks, database: Database, ada: Person, hook: Hook, receiver: Receiver
) -> None:
    receiver.answers = [says(500)]
    first, second = [await one_call(kept, database, ada, hook) for _ in range(2)]

    await calling.make(first.id)

    assert await calling.make(second.id) == {"skipped": "not due"}
    assert len(receiver.received) == 1


async def test_of_many_who_make_a_call_at_once_one_does(
    calling: Calls, kept: Webhooks, database: Database, ada: Person, hook: Hook, receiver: Receiver
) -> None:
    call = await one_call(kept, database, ada, hook)

    outcomes = await asyncio.gather(*(calling.make(call.id) for _ in range(8)))

    assert outcomes.count({"answer": "answered 200", "attempt": 1}) == 1
    assert len(receiver.received) == 1


async def test_an_answer_that_comes_after_the_lease_changes_nothing(
    calling: Calls, kept: Webhooks, database: Database, ada: Person, hook: Hook, receiver: Receiver
) -> None:
    held = asyncio.Event()

    async def late(writer: asyncio.StreamWriter) -> None:
        await held.wait()
        await says(500)(writer)

    receiver.answers = [late, says(200)]
    call = await one_call(kept, database, ada, hook)
    slow = asyncio.create_task(calling.make(call.id))
    await receiver.wait_for(1)
    await alter(database, next_at=now())

    await calling.make(call.id)
    held.set()
    await slow

    (found,) = await written(database)
    assert (found.state, found.attempts, found.answer) == ("taken", 2, "answered 200")
    assert (await the_hook(database)).failing_since is None


async def test_nothing_of_an_answer_is_kept_but_its_status(
    calling: Calls, kept: Webhooks, database: Database, ada: Person, hook: Hook, receiver: Receiver
) -> None:
    receiver.answers = [says(418, "X-Secret: inside", body=b"inside")]

    with capture_logs() as lines:
        await calling.make((await one_call(kept, database, ada, hook)).id)

    (found,) = await kept.of(ada)
    assert found.answer == "answered 418"
    assert "inside" not in repr(await written(database)) + repr(lines)
    # Nor does a log line tell where it went, or what it was signed with.
    assert [line["event"] for line in lines] == ["called"]
    assert not any(each in repr(lines) for each in ("localhost", "/hook", hook.secret))


async def test_a_place_that_is_closed_by_now_is_not_called(
    database: Database, live_queue: Queue, kept: Webhooks, ada: Person, hook: Hook, receiver: Receiver
) -> None:
    strict = Calls(database, live_queue, Caller(Reach()))
    call = await one_call(kept, database, ada, hook)

    outcome = await strict.make(call.id)

    assert outcome["answer"] == "has an address that is not open to everybody"
    assert receiver.connections == 0


async def test_what_is_due_gets_a_job_once_and_again_when_that_is_lost(
    calling: Calls, kept: Webhooks, database: Database, ada: Person, hook: Hook, live_queue: Queue
) -> None:
    call = await one_call(kept, database, ada, hook)
    await one_call(kept, database, ada, hook)
    await alter(database, next_at=now() + 60_000)
    async with database.statements() as connection:
        await connection.execute(update(calls).where(calls.c.id == call.id).values(next_at=now()))

    found = [await calling.sweep() for _ in range(3)]
    (job_id,) = await live_queue.jobs.find([f"call:{call.id}:0"])
    counts = await live_queue.jobs.counts(WEBHOOK)
    assert job_id is not None
    await live_queue.remove(job_id)
    await calling.sweep()

    assert found == [1, 1, 1]
    assert sum(counts.values()) == 1
    assert sum((await live_queue.jobs.counts(WEBHOOK)).values()) == 1


# Kept


async def test_a_webhook_that_ends_takes_along_what_was_on_its_way(
    calling: Calls, kept: Webhooks, database: Database, ada: Person, hook: Hook, receiver: Receiver
) -> None:
    call = await one_call(kept, database, ada, hook)
    bob = await a_person(database, "bob@example.org")

    by_another = [await kept.end(bob, hook.id), await kept.test(bob, hook.id), await kept.resume(bob, hook.id)]
    ended = await kept.end(ada, hook.id)

    assert (by_another, ended) == ([False] * 3, True)
    assert await calling.make(call.id) == {"skipped": "not due"}
    assert receiver.received == []


async def test_a_call_whose_webhook_is_gone_goes_too(
    calling: Calls, kept: Webhooks, database: Database, ada: Person, hook: Hook, receiver: Receiver
) -> None:
    call = await one_call(kept, database, ada, hook)
    async with database.statements() as connection:
        await connection.execute(hooks.delete())

    assert await calling.make(call.id) == {"skipped": "not due"}
    assert await written(database) == []


async def test_whoever_deletes_everything_has_no_webhooks_left(
    kept: Webhooks, database: Database, ada: Person, hook: Hook
) -> None:
    await one_call(kept, database, ada, hook)

    await Leaving(database).forget(ada)

    async with database.statements() as connection:
        left = [await connection.scalar(select(func.count()).select_from(each)) for each in (hooks, calls)]
    assert left == [0, 0]


async def test_old_calls_are_swept_away_and_those_that_wait_are_not(
    kept: Webhooks, database: Database, ada: Person, hook: Hook
) -> None:
    taken, waiting, young = [await one_call(kept, database, ada, hook) for _ in range(3)]
    eight_days = 8 * 86_400_000
    async with database.statements() as connection:
        old = calls.c.id.in_([taken.id, waiting.id])
        await connection.execute(update(calls).where(old).values(created_at=now() - eight_days))
        await connection.execute(update(calls).where(calls.c.id != waiting.id).values(state="taken"))

    await Tidying(database, MINUTE).sweep()

    assert [each.id for each in await written(database)] == [waiting.id, young.id]
