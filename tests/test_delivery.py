"""One due reminder → at most one mail: the order of writes, every way it can end, and what a failure at each step leaves."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest
from redis import Redis
from structlog.testing import capture_logs

from rmindr.database import Database
from rmindr.delivery import Outcome
from rmindr.drafts import Asked
from rmindr.errors import TooLate
from rmindr.models import Reminder, Status, new_id
from rmindr.queue import Queue
from tests.deliveries import (
    STANDINGS,
    Away,
    Peephole,
    Scene,
    a_claim,
    a_reminder,
    alter,
    clock_of,
    delivering,
    everything,
    refuse,
    stored,
    story,
)
from tests.everybody import Everybody
from tests.queue.proxy import Proxy
from tests.queue.scenery import PATIENCE_S, eventually, until
from tests.servers import Valkey
from tests.sink import Drop, Reply, Session, Sink, held

HOUR: Final = timedelta(hours=1)
LAPSED: Final = {"lease_until": timedelta(milliseconds=-1)}
MISSING_ZONE: Final = "Mars/Olympus"


@pytest.fixture
async def scene(database: Database, live_queue: Queue, sink: Sink) -> AsyncIterator[Scene]:
    async with delivering(database, live_queue, sink) as scene:
        yield scene


async def deliver(scene: Scene, reminder: Reminder) -> Outcome:
    async with asyncio.timeout(PATIENCE_S):
        return await scene.delivery.deliver(reminder.id, reminder.rev)


async def deliver_again(scene: Scene, database: Database, reminder: Reminder) -> Outcome:
    """Once the wait is over."""
    await alter(database, reminder.id, next_at=timedelta(milliseconds=-1))
    return await deliver(scene, reminder)


@asynccontextmanager
async def under_way(scene: Scene, reminder: Reminder) -> AsyncIterator[asyncio.Task[Outcome]]:
    """A delivery in a task of its own, which is over at the end."""
    async with asyncio.timeout(PATIENCE_S):
        task = asyncio.create_task(scene.delivery.deliver(reminder.id, reminder.rev))
        try:
            yield task
        finally:
            await asyncio.wait([task])


@asynccontextmanager
async def kept_alive(scene: Scene) -> AsyncIterator[None]:
    """Its leases are prolonged."""
    beats = asyncio.create_task(scene.delivery.keep_alive())
    try:
        yield
    finally:
        beats.cancel()
        await asyncio.wait([beats])


def drop(_: Session) -> str:
    raise Drop


async def never(session: Session) -> str:
    return await session.never()


# The good way


async def test_each_step_is_written_down_before_the_next_is_taken(
    database: Database, database_url: str, live_queue: Queue, sink: Sink, valkey: Valkey
) -> None:
    reminder = await a_reminder(database)
    peephole, seen = Peephole(database_url), []
    witness = f"{live_queue.keys.prefix}:witness:{reminder.id}.1"

    def look(step: str) -> None:
        found = peephole.see(reminder.id)
        with Redis.from_url(valkey.url) as redis:
            seen.append((step, str(found.status), found.marked_at is not None, bool(redis.exists(witness))))

    def looking(step: str, answer: str) -> Reply:
        def reply(_: Session) -> str:
            look(step)
            return answer

        return reply

    answers = {"MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go on", "body": "250 ok", "QUIT": "221 bye"}
    sink.replies |= {step: looking(step, answer) for step, answer in answers.items()}

    async with delivering(database, live_queue, sink, checkpoint=look) as scene:
        await deliver(scene, reminder)

    assert seen == [
        ("redis_claimed", "scheduled", False, False),
        ("sql_claimed", "sending", False, False),
        ("MAIL", "sending", False, False),
        ("RCPT", "sending", False, False),
        ("rcpt_ok", "sending", False, False),
        ("DATA", "sending", False, False),
        ("marked", "sending", True, False),
        ("body", "sending", True, False),
        ("accepted", "sending", True, False),
        ("witnessed", "sending", True, True),
        ("recorded", "sent", True, True),
        ("QUIT", "sent", True, True),
    ]


async def test_a_due_reminder_becomes_one_mail_and_is_sent(database: Database, scene: Scene, sink: Sink) -> None:
    reminder = await a_reminder(database, recipient="ada@example.org", subject="Milk", message="Buy it")
    sink.replies["body"] = "250 2.0.0 Ok: queued as 4F1"

    outcome = await deliver(scene, reminder)

    (mail,) = sink.mails
    found = await stored(database, reminder.id)
    assert (mail.recipient, mail.sender) == ("ada@example.org", "reminders@example.net")
    assert (mail.message["Subject"], mail.message_id) == ("Milk", f"<{reminder.id}.1@example.net>")
    assert (found.status, found.attempt, found.smtp_reply) == (Status.SENT, 1, "250 2.0.0 Ok: queued as 4F1")
    assert outcome == Outcome(result={"lateness_ms": found.lateness_ms, "code": "250", "attempt": 1})
    assert found.accepted_at is not None
    assert reminder.due_at <= found.accepted_at
    assert story(found) == ["claimed", "sent"]


async def test_of_two_who_deliver_at_once_one_sends_and_the_other_waits(
    database: Database, scene: Scene, sink: Sink
) -> None:
    for _ in range(10):
        reminder = await a_reminder(database)
        sink.mails.clear()

        outcomes = await asyncio.gather(*(deliver(scene, reminder) for _ in range(3)))

        assert len(sink.mails) == 1
        sent = [outcome for outcome in outcomes if "code" in outcome.result]
        assert len(sent) == 1
        assert all(outcome.wait or outcome.result for outcome in outcomes)


async def test_delivering_what_was_delivered_does_nothing(database: Database, scene: Scene, sink: Sink) -> None:
    reminder = await a_reminder(database)
    await deliver(scene, reminder)
    before = await everything(database, reminder.id)

    outcome = await deliver(scene, reminder)

    assert outcome == Outcome(result={"skipped": "sent"})
    assert len(sink.mails) == 1
    assert await everything(database, reminder.id) == before


async def lease_after(database: Database, id: UUID, instant: datetime) -> datetime | None:
    """The end of its lease, where that is beyond this instant."""
    until = (await stored(database, id)).lease_until
    return until if until is not None and until > instant else None


async def test_a_long_attempt_keeps_its_lease_for_as_long_as_it_lasts(
    database: Database, live_queue: Queue, sink: Sink
) -> None:
    lease = timedelta(seconds=2)
    reminder = await a_reminder(database)
    async with (
        delivering(database, live_queue, sink, lease=lease) as scene,
        kept_alive(scene),
        held(sink, "body", "250 ok") as answer,
        under_way(scene, reminder) as attempt,
    ):
        await sink.wait_for(1)
        started = await clock_of(database)
        await eventually(lambda: lease_after(database, reminder.id, started + 2 * lease))
        answer.set()

    assert "code" in attempt.result().result


async def test_an_attempt_that_was_overtaken_does_not_end_the_lease_of_the_one_that_came_after(
    database: Database, live_queue: Queue, sink: Sink
) -> None:
    """In one process: the first was silent for longer than its lease, e.g. while the database was away."""
    answers = [asyncio.Event(), asyncio.Event()]

    async def one_after_another(_: Session) -> str:
        await answers[len(sink.mails) - 1].wait()
        return "250 ok"

    sink.replies["body"] = one_after_another
    lease = timedelta(milliseconds=400)
    reminder = await a_reminder(database)
    async with delivering(database, live_queue, sink, lease=lease, ambiguous_wait=timedelta(0)) as scene:
        async with under_way(scene, reminder) as overtaken:
            await sink.wait_for(1)
            await alter(database, reminder.id, **LAPSED)
            async with under_way(scene, reminder) as resend:
                await sink.wait_for(2)
                answers[0].set()
                await overtaken
                async with kept_alive(scene):
                    now = await clock_of(database)
                    await eventually(lambda: lease_after(database, reminder.id, now + lease))
                    answers[1].set()
                    await resend

    assert overtaken.result().result["lateness_ms"] is None
    assert (await stored(database, reminder.id)).status == Status.SENT


# What cannot be claimed


@pytest.mark.parametrize("standing", ["not yet due", "put off"])
async def test_what_is_not_due_waits_for_its_instant(
    database: Database, scene: Scene, sink: Sink, standing: str
) -> None:
    reminder = await a_reminder(database, standing)
    before = await clock_of(database)

    outcome = await deliver(scene, reminder)

    assert outcome.wait is not None
    assert reminder.next_at - await clock_of(database) <= outcome.wait <= reminder.next_at - before
    assert not outcome.counted
    assert await stored(database, reminder.id) == reminder
    assert sink.sessions == []


@pytest.mark.parametrize("standing", ["held", "marked"])
async def test_what_another_holds_waits_for_the_end_of_that_lease(
    database: Database, scene: Scene, sink: Sink, standing: str
) -> None:
    reminder = await a_reminder(database, standing)
    before = await clock_of(database)

    outcome = await deliver(scene, reminder)

    assert reminder.lease_until is not None
    assert outcome.wait is not None
    # Later by a millisecond: a lease that ends now has not lapsed yet.
    after = timedelta(milliseconds=1)
    assert (
        reminder.lease_until - await clock_of(database) + after <= outcome.wait <= reminder.lease_until - before + after
    )
    assert not outcome.counted
    assert await stored(database, reminder.id) == reminder
    assert sink.sessions == []


async def test_what_nobody_waits_for_is_skipped(database: Database, scene: Scene, sink: Sink) -> None:
    for standing in ("unconfirmed", "sent", "failed", "cancelled", "missed", "uncertain"):
        reminder = await a_reminder(database, standing)

        outcome = await deliver(scene, reminder)

        assert outcome == Outcome(result={"skipped": standing})
        assert await stored(database, reminder.id) == reminder, standing
    assert sink.sessions == []


async def test_an_old_revision_is_skipped_wherever_the_new_one_stands(
    database: Database, scene: Scene, sink: Sink
) -> None:
    for standing in STANDINGS:
        reminder = await a_reminder(database, standing, rev=2)

        outcome = await scene.delivery.deliver(reminder.id, 1)

        assert outcome == Outcome(result={"skipped": "superseded"}), standing
        assert await stored(database, reminder.id) == reminder, standing
    assert sink.sessions == []


async def test_a_reminder_that_nobody_knows_is_skipped(scene: Scene, sink: Sink) -> None:
    outcome = await scene.delivery.deliver(new_id(), 1)

    assert outcome == Outcome(result={"skipped": "unknown"})
    assert sink.sessions == []


# After a worker was lost


async def test_what_was_lost_before_the_mark_is_sent_at_the_next_claim(
    database: Database, scene: Scene, sink: Sink
) -> None:
    reminder = await a_reminder(database, "lapsed")

    outcome = await deliver(scene, reminder)

    found = await stored(database, reminder.id)
    assert outcome.result["attempt"] == 2
    assert (found.status, found.crashes, found.ambiguous) == (Status.SENT, 1, 0)
    assert len(sink.mails) == 1


async def test_what_has_cost_three_workers_is_set_aside_unsent(database: Database, scene: Scene, sink: Sink) -> None:
    reminder = await a_reminder(database, "lapsed for the third time")

    outcome = await deliver(scene, reminder)

    found = await stored(database, reminder.id)
    assert outcome == Outcome(failed="quarantined after several lost workers")
    assert (found.status, found.reason) == (Status.FAILED, "It could not be processed.")
    assert sink.sessions == []


async def test_what_the_witness_saw_is_sent_already(database: Database, scene: Scene, sink: Sink) -> None:
    reminder = await a_reminder(database, "marked and lapsed")
    await scene.witness.testify(a_claim(reminder), "250 2.0.0 Ok for me@example.org")

    outcome = await deliver(scene, reminder)

    found = await stored(database, reminder.id)
    assert outcome == Outcome(result={"skipped": "sent"})
    assert (found.status, found.ambiguous, found.accepted_at) == (Status.SENT, 0, reminder.marked_at)
    assert (found.smtp_reply or "").startswith("250 (remembered")
    assert sink.sessions == []


async def test_a_witness_of_another_revision_says_nothing_about_this_one(database: Database, scene: Scene) -> None:
    reminder = await a_reminder(database, "marked and lapsed")
    await scene.witness.testify(a_claim(reminder, rev=2), "250 ok")

    assert await scene.witness.recall(reminder.id, 1) is None
    assert await scene.witness.recall(reminder.id, 2) == "250"


async def test_a_witness_remembers_for_a_week_and_neither_address_nor_text(
    database: Database, scene: Scene, live_queue: Queue
) -> None:
    reminder = await a_reminder(database, "marked")
    key = f"{live_queue.keys.prefix}:witness:{reminder.id}.1"

    await scene.witness.testify(a_claim(reminder), "250 2.0.0 Ok for me@example.org")

    assert json.loads(await live_queue.redis.get(key)) == {"fence": 1, "code": "250"}
    assert 0 < await live_queue.redis.ttl(key) <= 7 * 86400


async def test_a_witness_that_talks_nonsense_is_not_heard(database: Database, scene: Scene, live_queue: Queue) -> None:
    reminder = await a_reminder(database, "marked and lapsed")

    for nonsense in ("", "no json", "[]", "{}", "7", "null"):
        await live_queue.redis.set(f"{live_queue.keys.prefix}:witness:{reminder.id}.1", nonsense)

        assert await scene.witness.recall(reminder.id, 1) is None, nonsense


async def test_what_may_have_left_waits_for_a_late_word_first(database: Database, scene: Scene, sink: Sink) -> None:
    reminder = await a_reminder(database, "marked and lapsed")
    before = await clock_of(database)

    outcome = await deliver(scene, reminder)

    assert reminder.lease_until is not None
    until_then = reminder.lease_until + timedelta(seconds=120, milliseconds=1)
    assert outcome.wait is not None
    assert until_then - await clock_of(database) <= outcome.wait <= until_then - before
    assert not outcome.counted
    assert await stored(database, reminder.id) == reminder
    assert sink.sessions == []


async def test_what_may_have_left_is_sent_again_byte_for_byte(database: Database, scene: Scene, sink: Sink) -> None:
    kept = b"Message-ID: <the first>\r\n\r\n.a line that begins with a dot\r\n..\r\n"
    reminder = await a_reminder(database, "marked and lapsed", letter=kept, lease_until=-HOUR)

    outcome = await deliver(scene, reminder)

    found = await stored(database, reminder.id)
    assert outcome.result["attempt"] == 2
    assert (found.status, found.ambiguous, found.crashes) == (Status.SENT, 1, 1)
    assert [mail.data for mail in sink.mails] == [kept]


@pytest.mark.parametrize(
    ("standing", "values", "policy"),
    [
        pytest.param("marked and lapsed", {}, {"on_ambiguous": "hold"}, id="where-a-person-decides"),
        pytest.param("marked and lapsed", {"ambiguous": 2}, {}, id="after-two-resends"),
        pytest.param("marked and lapsed for the third time", {}, {}, id="after-three-lost-workers"),
    ],
)
async def test_what_may_have_left_ends_uncertain_and_is_not_sent_again(
    database: Database,
    live_queue: Queue,
    sink: Sink,
    standing: str,
    values: dict[str, Any],
    policy: dict[str, Any],
) -> None:
    reminder = await a_reminder(database, standing, **values, lease_until=-HOUR)

    async with delivering(database, live_queue, sink, **policy) as scene:
        outcome = await deliver(scene, reminder)

    found = await stored(database, reminder.id)
    assert outcome == Outcome(failed="uncertain")
    assert found.status == Status.UNCERTAIN
    assert "may have arrived" in (found.reason or "")
    assert sink.sessions == []


async def test_a_worker_that_wakes_after_its_lease_has_lapsed_sends_nothing(
    database: Database, scene: Scene, sink: Sink
) -> None:
    """Another has sent it meanwhile: the sleeper's mark touches no row, and its dot is never said."""
    reminder = await a_reminder(database)
    async with held(sink, "DATA", "354 go on") as answer:
        async with under_way(scene, reminder) as sleeper:
            await until(lambda: sink.sessions and sink.sessions[0].said("DATA"))
            await alter(database, reminder.id, **LAPSED)
            sink.replies.pop("DATA")
            await deliver(scene, reminder)
            before = await everything(database, reminder.id)
            answer.set()

    assert sleeper.result() == Outcome(wait=timedelta(milliseconds=1), result={"skipped": "changed"})
    assert len(sink.mails) == 1
    assert await everything(database, reminder.id) == before


# No answer to the dot


async def test_an_answer_that_is_lost_is_waited_for_and_then_the_same_bytes_are_sent_again(
    database: Database, live_queue: Queue, sink: Sink
) -> None:
    """Even by a release that would write the letter otherwise."""
    reminder = await a_reminder(database)
    sink.replies["body"] = drop
    async with delivering(database, live_queue, sink) as scene:
        before = await clock_of(database)
        outcome = await deliver(scene, reminder)
    doubted = await stored(database, reminder.id)
    del sink.replies["body"]
    await alter(database, reminder.id, subject="changed by hand", next_at=timedelta(milliseconds=-1))
    async with delivering(database, live_queue, sink) as scene:
        again = await deliver(scene, reminder)

    found = await stored(database, reminder.id)
    assert outcome == Outcome(wait=timedelta(seconds=120), counted=True)
    assert (doubted.status, doubted.ambiguous, doubted.attempt) == (Status.RETRYING, 1, 1)
    assert doubted.next_at >= before + timedelta(seconds=120)
    assert "did not say whether it took the mail" in (doubted.reason or "")
    assert again.result["attempt"] == 2
    assert (found.status, found.ambiguous, found.crashes) == (Status.SENT, 1, 0)
    first, second = sink.mails
    assert (first.data, first.sender) == (second.data, second.sender)
    assert story(found) == ["claimed", "in doubt", "claimed", "sent"]


async def test_after_two_resends_without_an_answer_it_is_uncertain(
    database: Database, scene: Scene, sink: Sink
) -> None:
    reminder = await a_reminder(database)
    sink.replies["body"] = drop

    outcomes = [await deliver_again(scene, database, reminder) for _ in range(3)]

    found = await stored(database, reminder.id)
    assert [outcome.counted for outcome in outcomes] == [True, True, False]
    assert outcomes[2] == Outcome(failed="uncertain")
    assert found.status == Status.UNCERTAIN
    assert len(sink.mails) == 3
    assert len({mail.data for mail in sink.mails}) == 1
    assert await deliver_again(scene, database, reminder) == Outcome(result={"skipped": "uncertain"})


async def test_an_answer_that_is_lost_is_left_to_a_person_where_that_is_asked_for(
    database: Database, live_queue: Queue, sink: Sink
) -> None:
    reminder = await a_reminder(database)
    sink.replies["body"] = drop

    async with delivering(database, live_queue, sink, on_ambiguous="hold") as scene:
        outcome = await deliver(scene, reminder)

    assert outcome == Outcome(failed="uncertain")
    assert (await stored(database, reminder.id)).status == Status.UNCERTAIN
    assert len(sink.mails) == 1


async def test_bytes_that_never_left_are_written_anew_at_the_next_attempt(
    database: Database, scene: Scene, sink: Sink
) -> None:
    reminder = await a_reminder(database)
    sink.replies["RCPT"] = "450 4.2.0 greylisted"

    await deliver(scene, reminder)
    unmarked = await stored(database, reminder.id)
    await alter(database, reminder.id, message="Buy bread")
    del sink.replies["RCPT"]
    await deliver_again(scene, database, reminder)

    assert unmarked.letter is None
    assert b"Buy bread" in sink.mails[0].data


# Asked to try later


@pytest.mark.parametrize("phase", ["RCPT", "DATA", "body"])
async def test_a_server_that_asks_for_later_is_asked_again_later(
    database: Database, scene: Scene, sink: Sink, phase: str
) -> None:
    reminder = await a_reminder(database)
    sink.replies[phase] = "451 4.7.1 try again"
    before = await clock_of(database)

    outcome = await deliver(scene, reminder)

    refused = await stored(database, reminder.id)
    assert outcome.wait is not None
    assert outcome.counted
    assert before + outcome.wait <= refused.next_at <= await clock_of(database) + outcome.wait
    assert (refused.status, refused.attempt, refused.ambiguous) == (Status.RETRYING, 1, 0)
    assert refused.reason == "The recipient's server asked us to try later: 451 4.7.1 try again"
    assert not scene.outage.on
    del sink.replies[phase]
    assert (await deliver_again(scene, database, reminder)).result["attempt"] == 2
    assert {mail.sender for mail in sink.mails} == {"reminders@example.net"}
    assert len(sink.mails) == 1


@pytest.mark.parametrize("scale", [1.0, 0.01])
async def test_the_waits_grow_with_the_attempts_and_never_two_are_the_same(
    database: Database, live_queue: Queue, sink: Sink, scale: float
) -> None:
    sink.replies["RCPT"] = "450 4.2.0 greylisted"
    waits = []
    async with delivering(database, live_queue, sink, time_scale=scale) as scene:
        for attempts_before in range(7):
            reminder = await a_reminder(database, attempt=attempts_before)
            outcome = await deliver(scene, reminder)
            assert outcome.wait is not None
            waits.append(outcome.wait.total_seconds() / scale)

    for wait, seconds in zip(waits, [90, 300, 600, 1200, 1800, 1800, 1800], strict=True):
        assert 0.8 * seconds <= wait <= 1.2 * seconds
    assert len(set(waits)) == 7


@pytest.mark.parametrize(
    ("due_at", "first_tried_at", "given_up"),
    [
        pytest.param(-24 * HOUR, -24 * HOUR, True, id="a-day-after-its-instant"),
        pytest.param(-23 * HOUR, -23 * HOUR, False, id="not-before"),
        pytest.param(-72 * HOUR, -23 * HOUR, False, id="a-day-after-the-first-attempt-where-that-was-late"),
        pytest.param(-72 * HOUR, -24 * HOUR, True, id="but-not-for-ever"),
    ],
)
async def test_after_a_day_of_later_it_is_given_up(
    database: Database, scene: Scene, sink: Sink, due_at: timedelta, first_tried_at: timedelta, given_up: bool
) -> None:
    reminder = await a_reminder(database, "due again", due_at=due_at, first_tried_at=first_tried_at, attempt=20)
    sink.replies["RCPT"] = "450 4.2.0 greylisted"

    outcome = await deliver(scene, reminder)

    found = await stored(database, reminder.id)
    assert found.status == (Status.FAILED if given_up else Status.RETRYING)
    assert (outcome.failed, outcome.counted) == (("rcpt 450 4.2.0", False) if given_up else (None, True))
    if given_up:
        assert (found.reason or "").startswith("Given up: the recipient's server kept asking for later.")
        assert found.smtp_reply == "450 4.2.0 greylisted"


# Refused for good


@pytest.mark.parametrize(
    ("phase", "reply", "summary", "who"),
    [
        ("RCPT", "550 5.1.1 no such user <me@example.org>", "rcpt 550 5.1.1", "The recipient's address"),
        ("DATA", "554 5.7.1 no", "data 554 5.7.1", "The mail"),
        ("body", "554 5.7.1 we do not want this", "body 554 5.7.1", "The mail"),
    ],
)
async def test_what_is_refused_has_failed_with_the_server_s_words(
    database: Database, scene: Scene, sink: Sink, phase: str, reply: str, summary: str, who: str
) -> None:
    reminder = await a_reminder(database)
    sink.replies[phase] = reply

    outcome = await deliver(scene, reminder)

    found = await stored(database, reminder.id)
    assert outcome == Outcome(failed=summary)
    assert (found.status, found.attempt) == (Status.FAILED, 1)
    assert (found.reason, found.smtp_reply) == (f"{who} was refused: {reply}", reply)
    assert not scene.outage.on
    assert sink.mails == []


async def test_an_address_that_may_not_be_written_to_any_more_is_not_written_to(
    database: Database, live_queue: Queue, sink: Sink
) -> None:
    """Blocked after it was scheduled, and even while the server was being told."""
    reminder = await a_reminder(database)
    allowed = {"me@example.org"}

    def block(_: Session) -> str:
        allowed.clear()
        return "250 ok"

    sink.replies["RCPT"] = block
    async with delivering(database, live_queue, sink, listed=lambda address: address in allowed) as scene:
        outcome = await deliver(scene, reminder)

    found = await stored(database, reminder.id)
    assert outcome == Outcome(failed="not welcome")
    assert found.status == Status.FAILED
    assert found.reason == "The recipient has not agreed to this, or has stopped all mail from here."
    assert sink.mails == []


@pytest.mark.parametrize("values", [{"recipient": "no address"}, {"time_zone": MISSING_ZONE}])
async def test_a_letter_that_cannot_be_written_has_failed_and_nobody_is_called(
    database: Database, scene: Scene, sink: Sink, values: dict[str, str]
) -> None:
    reminder = await a_reminder(database, **values)

    outcome = await deliver(scene, reminder)

    found = await stored(database, reminder.id)
    assert (found.status, found.reason) == (Status.FAILED, "The mail could not be written.")
    assert str(reminder.id) in (outcome.failed or "")
    assert "no address" not in (outcome.failed or "").replace("something that is no address", "")
    assert sink.sessions == []


# Found too late


async def test_what_is_found_too_late_is_missed_where_the_policy_says_so(
    database: Database, live_queue: Queue, sink: Sink
) -> None:
    late, later = [await a_reminder(database, due_at=-hours * HOUR) for hours in (1, 3)]

    async with delivering(database, live_queue, sink, missed_after=2 * HOUR) as scene:
        sent, missed = await deliver(scene, late), await deliver(scene, later)

    found = await stored(database, later.id)
    assert "code" in sent.result
    assert missed == Outcome(failed="missed")
    assert (found.status, found.accepted_at) == (Status.MISSED, None)
    # A busy machine finds it a second later still.
    assert found.reason is not None
    assert re.fullmatch(
        r"It was found 3 hours( \d+ seconds?)? late, and this service does not send that late\.", found.reason
    )
    assert len(sink.mails) == 1


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"attempt": 1, "first_tried_at": -3 * HOUR}, id="its-server-asked-for-later"),
        pytest.param(
            {"attempt": 1, "first_tried_at": -3 * HOUR, "ambiguous": 1, "letter": b"x\r\n"}, id="it-may-have-left"
        ),
    ],
)
async def test_what_was_tried_in_time_is_not_missed_however_long_it_takes(
    database: Database, live_queue: Queue, sink: Sink, values: dict[str, Any]
) -> None:
    reminder = await a_reminder(database, "due again", due_at=-3 * HOUR, **values)

    async with delivering(database, live_queue, sink, missed_after=2 * HOUR) as scene:
        await deliver(scene, reminder)

    assert (await stored(database, reminder.id)).status == Status.SENT


async def test_without_such_a_policy_it_is_sent_however_late(database: Database, scene: Scene, sink: Sink) -> None:
    reminder = await a_reminder(database, due_at=-200 * HOUR)

    await deliver(scene, reminder)

    (mail,) = sink.mails
    assert b"late" in mail.data


# The mail server is the trouble


@pytest.mark.parametrize(
    ("phase", "reply", "reason"),
    [
        pytest.param("greeting", "421 4.3.2 closing", "The mail server cannot be reached", id="unreachable"),
        pytest.param("DATA", drop, "The mail server cannot be reached", id="dropped-before-354"),
        pytest.param("DATA", "250 what?", "The mail server cannot be reached", id="talks-nonsense"),
        pytest.param("MAIL", "550 5.7.1 not you", "Our mail account is refused", id="account-refused"),
        pytest.param("RCPT", "530 5.7.0 log in first", "Our mail account is refused", id="login-wanted"),
    ],
)
async def test_an_outage_pauses_sending_and_costs_the_reminder_nothing(
    database: Database, scene: Scene, sink: Sink, phase: str, reply: Reply, reason: str
) -> None:
    reminder = await a_reminder(database)
    sink.replies[phase] = reply

    outcome = await deliver(scene, reminder)

    found = await stored(database, reminder.id)
    assert outcome == Outcome(wait=timedelta(seconds=30))
    assert scene.outage.on
    assert (found.status, found.attempt, found.crashes, found.ambiguous) == (Status.RETRYING, 0, 0, 0)
    assert (found.reason or "").startswith(reason)
    del sink.replies[phase]
    again = await deliver_again(scene, database, reminder)
    assert again.result["attempt"] == 1
    assert len(sink.mails) == 1


async def test_a_server_that_is_gone_is_an_outage(database: Database, scene: Scene, sink: Sink) -> None:
    reminder = await a_reminder(database)
    await sink.hush()

    for _ in range(3):
        assert await deliver_again(scene, database, reminder) == Outcome(wait=timedelta(seconds=30))

    found = await stored(database, reminder.id)
    assert scene.outage.on
    assert (found.status, found.attempt) == (Status.RETRYING, 0)
    assert story(found).count("outage") == 1
    await sink.listen()
    assert (await deliver_again(scene, database, reminder)).result["attempt"] == 1


# The database is away


async def test_without_the_database_at_the_claim_nothing_happens_and_it_comes_again(
    database: Database, scene: Scene, sink: Sink, away: Away
) -> None:
    reminder = await a_reminder(database)
    away.go()
    outcome = await deliver(scene, reminder)
    sessions = len(sink.sessions)
    away.come_back()

    assert outcome == Outcome(wait=timedelta(seconds=10))
    assert sessions == 0
    assert await stored(database, reminder.id) == reminder
    assert (await deliver(scene, reminder)).result["attempt"] == 1


@asynccontextmanager
async def going_away(
    step: str, database: Database, queue: Queue, sink: Sink, away: Away, **policy: Any
) -> AsyncIterator[tuple[Scene, asyncio.Event]]:
    """A delivery whose database goes away the first time it comes to this step; the event says that it has."""
    gone = asyncio.Event()

    def checkpoint(reached: str) -> None:
        if reached == step and not gone.is_set():
            away.go()
            gone.set()

    async with delivering(database, queue, sink, checkpoint=checkpoint, **policy) as scene:
        yield scene, gone


async def test_without_the_database_at_the_mark_no_body_leaves_and_it_was_no_attempt(
    database: Database, live_queue: Queue, sink: Sink, away: Away
) -> None:
    reminder = await a_reminder(database)
    async with going_away("rcpt_ok", database, live_queue, sink, away) as (scene, gone):
        async with under_way(scene, reminder) as attempt:
            await gone.wait()
            await until(lambda: sink.sessions[0].ended.is_set())
            away.come_back()
        given_back = await stored(database, reminder.id)
        again = await deliver(scene, reminder)

    assert attempt.result() == Outcome(wait=timedelta(seconds=10))
    assert (given_back.status, given_back.attempt, given_back.crashes) == (Status.SCHEDULED, 0, 0)
    assert again.result["attempt"] == 1
    assert len(sink.mails) == 1
    found = await stored(database, reminder.id)
    assert (found.ambiguous, found.crashes) == (0, 0)


async def test_what_the_server_took_is_recorded_once_the_database_is_back(
    database: Database, live_queue: Queue, sink: Sink, away: Away
) -> None:
    reminder = await a_reminder(database)
    async with going_away("accepted", database, live_queue, sink, away) as (scene, gone):
        async with under_way(scene, reminder) as attempt:
            await gone.wait()
            await eventually(lambda: scene.witness.recall(reminder.id, 1))
            took = sink.mails[0].at
            assert not attempt.done()
            away.come_back()

    found = await stored(database, reminder.id)
    assert "code" in attempt.result().result
    assert (found.status, found.attempt, found.ambiguous) == (Status.SENT, 1, 0)
    assert found.accepted_at is not None
    assert found.accepted_at <= datetime.now(UTC)
    assert found.accepted_at.timestamp() >= took - 0.002
    assert len(sink.mails) == 1


@pytest.mark.parametrize(
    ("phase", "reply", "status"),
    [
        ("RCPT", "550 5.1.1 no such user", Status.FAILED),
        ("RCPT", "450 4.2.0 greylisted", Status.RETRYING),
        ("greeting", "421 4.3.2 closing", Status.RETRYING),
        ("body", "554 5.7.1 no", Status.FAILED),
        ("body", drop, Status.RETRYING),
    ],
)
async def test_what_the_server_refused_is_recorded_once_the_database_is_back(
    database: Database, live_queue: Queue, sink: Sink, away: Away, phase: str, reply: Reply, status: Status
) -> None:
    reminder = await a_reminder(database)

    def refuse(session: Session) -> str:
        away.go()
        return reply(session) if callable(reply) else reply  # type: ignore[return-value]

    sink.replies[phase] = refuse
    async with delivering(database, live_queue, sink) as scene, under_way(scene, reminder) as attempt:
        await until(lambda: sink.sessions and (phase == "greeting" or sink.sessions[0].said("MAIL")))
        # It may take as long as it likes: nobody else knows.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(attempt), 0.3)
        away.come_back()

    found = await stored(database, reminder.id)
    assert (found.status, found.crashes) == (status, 0)
    assert attempt.result().failed or attempt.result().wait


async def test_when_the_worker_ends_before_the_database_is_back_the_witness_tells(
    database: Database, live_queue: Queue, sink: Sink, away: Away
) -> None:
    reminder = await a_reminder(database)
    last_words = timedelta(milliseconds=50)
    async with going_away("witnessed", database, live_queue, sink, away, last_words=last_words) as (scene, gone):
        async with under_way(scene, reminder) as attempt:
            await gone.wait()
            attempt.cancel()
    away.come_back()
    await alter(database, reminder.id, **LAPSED)

    async with delivering(database, live_queue, sink) as scene:
        outcome = await deliver(scene, reminder)

    assert outcome == Outcome(result={"skipped": "sent"})
    assert (await stored(database, reminder.id)).status == Status.SENT
    assert len(sink.mails) == 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_claim_whose_answer_was_lost_lapses_and_is_taken_again(
    database_url: str, live_queue: Queue, sink: Sink, postgres: Any
) -> None:
    async with (
        Proxy(postgres.port) as proxy,
        Database.open(database_url.replace(str(postgres.port), str(proxy.port))) as database,
        delivering(database, live_queue, sink) as scene,
    ):
        reminder = await a_reminder(database)
        proxy.lose_answer(b"UPDATE reminders SET")
        outcome = await deliver(scene, reminder)
        taken = await stored(database, reminder.id)
        await alter(database, reminder.id, **LAPSED)
        again = await deliver(scene, reminder)

    assert outcome == Outcome(wait=timedelta(seconds=10))
    assert (taken.status, taken.marked_at) == (Status.SENDING, None)
    assert again.result["attempt"] == 2
    assert len(sink.mails) == 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_mark_whose_answer_was_lost_sends_nothing_then_and_the_same_later(
    database_url: str, live_queue: Queue, sink: Sink, postgres: Any
) -> None:
    async with (
        Proxy(postgres.port) as proxy,
        Database.open(database_url.replace(str(postgres.port), str(proxy.port))) as database,
        delivering(database, live_queue, sink) as scene,
    ):
        reminder = await a_reminder(database)
        proxy.lose_answer(b"letter=$")
        outcome = await deliver(scene, reminder)
        marked = await stored(database, reminder.id)
        mails = len(sink.mails)
        await alter(database, reminder.id, lease_until=-HOUR)
        again = await deliver(scene, reminder)

    assert outcome.wait is not None
    assert (marked.status, marked.letter is not None, mails) == (Status.SENDING, True, 0)
    assert again.result["attempt"] == 2
    assert [mail.data for mail in sink.mails] == [marked.letter]


# The worker is told to stop


@pytest.mark.parametrize("phase", ["greeting", "EHLO", "MAIL", "RCPT", "DATA"])
async def test_stopped_before_the_mark_it_is_given_back_at_once_and_was_no_attempt(
    database: Database, scene: Scene, sink: Sink, phase: str
) -> None:
    reminder = await a_reminder(database)
    async with held(sink, phase, "never"), under_way(scene, reminder) as attempt:
        await until(lambda: sink.sessions and (phase == "greeting" or sink.sessions[0].said(phase)))
        attempt.cancel()
        await asyncio.wait([attempt])
        found = await stored(database, reminder.id)

    assert attempt.cancelled()
    assert (found.status, found.attempt, found.lease_until) == (Status.SCHEDULED, 0, None)
    assert story(found) == ["claimed", "given back"]
    assert sink.mails == []
    assert (await deliver(scene, reminder)).result["attempt"] == 1


async def test_stopped_after_the_mark_it_waits_for_the_answer_and_records_it(
    database: Database, scene: Scene, sink: Sink
) -> None:
    reminder = await a_reminder(database)
    async with held(sink, "body", "250 2.0.0 at last") as answer, under_way(scene, reminder) as attempt:
        await sink.wait_for(1)
        attempt.cancel()
        await asyncio.sleep(0.05)
        assert not attempt.done()
        answer.set()

    assert attempt.result().result["code"] == "250"
    assert (await stored(database, reminder.id)).smtp_reply == "250 2.0.0 at last"


async def test_stopped_after_the_mark_without_an_answer_in_time_it_stays_in_doubt(
    database: Database, live_queue: Queue, sink: Sink
) -> None:
    reminder = await a_reminder(database)
    async with delivering(database, live_queue, sink, last_words=timedelta(milliseconds=50)) as scene:
        async with held(sink, "body", "250 too late"), under_way(scene, reminder) as attempt:
            await sink.wait_for(1)
            attempt.cancel()
            await asyncio.wait([attempt])
            found = await stored(database, reminder.id)

    assert attempt.cancelled()
    assert (found.status, found.attempt, story(found)) == (Status.SENDING, 1, ["claimed"])
    assert found.marked_at is not None


async def test_stopped_twice_after_the_mark_nothing_of_it_goes_on(database: Database, scene: Scene, sink: Sink) -> None:
    reminder = await a_reminder(database)
    others = asyncio.all_tasks()
    sink.replies["body"] = never
    async with under_way(scene, reminder) as attempt:
        await sink.wait_for(1)
        attempt.cancel()
        await asyncio.sleep(0)
        attempt.cancel()
    async with asyncio.timeout(PATIENCE_S):
        await sink.sessions[0].ended.wait()

    assert attempt.cancelled()
    assert asyncio.all_tasks() - others == set()
    assert (await stored(database, reminder.id)).status == Status.SENDING


# A person changes it meanwhile


@pytest.mark.parametrize("change", ["edit", "cancel"])
@pytest.mark.parametrize("phase", ["MAIL", "RCPT", "DATA"])
async def test_what_is_changed_before_the_mark_is_not_sent(
    database: Database, live_queue: Queue, scene: Scene, sink: Sink, phase: str, change: str
) -> None:
    reminder = await a_reminder(database)
    people = Everybody(database, live_queue)

    async def meanwhile(_: Session) -> str:
        del sink.replies[phase]
        await (people.cancel(reminder.id) if change == "cancel" else people.edit(reminder.id, Asked(message="New")))
        return "354 go on" if phase == "DATA" else "250 ok"

    sink.replies[phase] = meanwhile
    outcome = await deliver(scene, reminder)
    then = await deliver(scene, reminder)

    assert outcome == Outcome(wait=timedelta(milliseconds=1), result={"skipped": "changed"})
    assert then == Outcome(result={"skipped": "superseded"})
    assert sink.mails == []
    if change == "edit":
        await scene.delivery.deliver(reminder.id, 2)
        assert [mail.message_id for mail in sink.mails] == [f"<{reminder.id}.2@example.net>"]
        assert b"New" in sink.mails[0].data


@pytest.mark.parametrize("change", ["edit", "cancel"])
async def test_what_is_marked_can_no_longer_be_changed(
    database: Database, live_queue: Queue, scene: Scene, sink: Sink, change: str
) -> None:
    reminder = await a_reminder(database)
    people = Everybody(database, live_queue)
    refusals: list[str] = []

    async def meanwhile(_: Session) -> str:
        with pytest.raises(TooLate) as caught:
            await (people.cancel(reminder.id) if change == "cancel" else people.edit(reminder.id, Asked(message="New")))
        refusals.append(caught.value.status)
        return "250 ok"

    sink.replies["body"] = meanwhile
    await deliver(scene, reminder)

    assert refusals == ["sending"]
    assert (await stored(database, reminder.id)).status == Status.SENT
    assert [mail.message_id for mail in sink.mails] == [f"<{reminder.id}.1@example.net>"]


# What is said about it


@pytest.mark.parametrize(
    ("phase", "reply"),
    [
        ("body", "250 2.0.0 CANARY canary@example.org"),
        ("RCPT", "550 5.1.1 CANARY canary@example.org"),
        ("RCPT", "450 4.2.0 CANARY canary@example.org"),
        ("MAIL", "550 5.7.1 CANARY canary@example.org"),
        ("body", "CANARY canary@example.org"),
        ("body", drop),
    ],
)
async def test_neither_log_nor_queue_is_told_an_address_or_a_text(
    database: Database, live_queue: Queue, scene: Scene, sink: Sink, phase: str, reply: Reply
) -> None:
    reminder = await a_reminder(database, recipient="canary@example.org", subject="CANARY", message="CANARY")
    sink.replies[phase] = reply

    with capture_logs() as lines:
        outcome = await deliver(scene, reminder)

    keys = [key async for key in live_queue.redis.scan_iter(f"{live_queue.keys.prefix}:*")]
    values = [await live_queue.redis.get(key) for key in keys]
    assert lines
    assert all(line["id"] == str(reminder.id) for line in lines if line["event"] in ("sent", "not delivered"))
    for told in (repr(lines), repr(outcome), repr(keys), repr(values)):
        assert "canary" not in told.lower()


@pytest.mark.parametrize("column", ["letter", "accepted_at"])
async def test_a_fault_that_nobody_has_thought_of_is_logged_and_tried_again(
    database: Database, database_url: str, scene: Scene, sink: Sink, column: str
) -> None:
    """Whoever calls the delivery puts into Redis what it raises."""
    reminder = await a_reminder(database, recipient="canary@example.org", subject="CANARY", message="CANARY")
    refuse(database_url, column)

    with capture_logs() as lines:
        outcome = await deliver(scene, reminder)

    (line,) = [line for line in lines if line["log_level"] == "error"]
    assert (line["event"], line["id"]) == ("delivery failed", str(reminder.id))
    assert outcome == Outcome(wait=timedelta(seconds=10), counted=True)
    assert len(sink.mails) == (column == "accepted_at")
