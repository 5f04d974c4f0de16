"""One mail instead of many after an outage, for whoever wants that: what goes together, and how it ends for each of them."""

from __future__ import annotations

import asyncio
import email
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest
from sqlalchemy import select, update

from rmindr.catch_up import CatchUp
from rmindr.database import Database
from rmindr.delivery import Outcome
from rmindr.drafts import Asked
from rmindr.errors import TooLate
from rmindr.ledger import USELESS, Claim, row
from rmindr.mail.letters import Letter
from rmindr.models import Reminder, Status, new_id
from rmindr.people import people
from rmindr.queue import Queue
from rmindr.series import Sequel
from tests.deliveries import (
    LEASE,
    MINUTE,
    Away,
    Peephole,
    Scene,
    a_person,
    a_reminder,
    alter,
    delivering,
    everything,
    stored,
    story,
)
from tests.everybody import Everybody
from tests.queue.scenery import PATIENCE_S, eventually
from tests.servers import Valkey
from tests.sink import Drop, Mail, Session, Sink
from tests.stack import Stack
from tests.test_feeder import a_feeder, has_alarm
from tests.test_series import daily, of_series

HOUR: Final = timedelta(hours=1)
TEN_MINUTES: Final = timedelta(minutes=10)
LAPSED: Final = {"lease_until": -HOUR}
HERS: Final = "ada@example.org"


@pytest.fixture
async def scene(database: Database, live_queue: Queue, sink: Sink) -> AsyncIterator[Scene]:
    async with delivering(database, live_queue, sink) as scene:
        yield scene


@pytest.fixture
async def ada(database: Database) -> str:
    """Whoever wants one mail."""
    return await a_person(database, HERS, catch_up="one")


async def overdue(database: Database, owner: str, count: int = 3, **values: Any) -> list[Reminder]:
    """So many of theirs to themselves, each a minute later than the one before, the first due an hour ago."""
    given = {"owner": owner, "recipient": HERS} | values
    return [
        await a_reminder(
            database, **{"message": f"Remember {number}.", "due_at": -HOUR + number * MINUTE, "next_at": -HOUR} | given
        )
        for number in range(count)
    ]


async def deliver(scene: Scene, reminder: Reminder) -> Outcome:
    async with asyncio.timeout(PATIENCE_S):
        return await scene.delivery.deliver(reminder.id, reminder.rev)


async def deliver_all(scene: Scene, database: Database, each: Sequence[Reminder]) -> list[Outcome]:
    """One after the other, once the waits of those that wait are over."""
    outcomes = []
    for reminder in each:
        if (await stored(database, reminder.id)).status == Status.RETRYING:
            await alter(database, reminder.id, next_at=-MINUTE)
        outcomes.append(await deliver(scene, reminder))
    return outcomes


async def gathered(ledger: CatchUp, carrier: Reminder, *, resend: bool = False) -> Claim:
    """What a worker holds that has come so far, and is lost then."""
    claim = await ledger.claim(carrier.id, carrier.rev, "there", resend=resend)
    assert claim is not None
    claim_of_all = await ledger.gather(claim, TEN_MINUTES, None)
    assert claim_of_all is not None
    return claim_of_all


async def now_of(database: Database, each: Sequence[Reminder]) -> list[Reminder]:
    return [await stored(database, reminder.id) for reminder in each]


async def statuses(database: Database, each: Sequence[Reminder]) -> list[Status]:
    return [found.status for found in await now_of(database, each)]


def said_in(mail: Mail) -> list[int]:
    """Which of the overdue a mail says, in its order."""
    part = email.message_from_bytes(mail.data).get_payload(0)
    text = part.get_payload(decode=True).decode()  # type: ignore[union-attr]
    return [int(number) for number in re.findall(r"Remember (\d+)\.", text)]


def drop(_: Session) -> str:
    raise Drop


# What goes together


async def test_many_overdue_reminders_of_whoever_wants_that_are_one_mail_oldest_first(
    database: Database, scene: Scene, sink: Sink, ada: str
) -> None:
    late = await overdue(database, ada, 4)

    outcome = await deliver(scene, late[2])

    (mail,) = sink.mails
    found = await now_of(database, late)
    assert said_in(mail) == [0, 1, 2, 3]
    assert (mail.message["Subject"], mail.message_id) == ("4 reminders that are late", f"<{late[2].id}.1@example.net>")
    assert {each.status for each in found} == {Status.SENT}
    assert len({(each.accepted_at, each.smtp_reply, each.attempt, each.carried_by) for each in found}) == 1
    lateness = [each.lateness_ms or 0 for each in found]
    assert 56 * 60_000 < lateness[3] < lateness[2] < lateness[1] < lateness[0]
    assert [story(each) for each in found] == [["claimed", "sent"]] * 4
    assert outcome.result["lateness_ms"] == found[2].lateness_ms


async def test_whoever_has_not_asked_for_that_gets_each_by_itself(database: Database, scene: Scene, sink: Sink) -> None:
    late = await overdue(database, await a_person(database, HERS))

    await deliver_all(scene, database, late)

    assert [said_in(mail) for mail in sink.mails] == [[0], [1], [2]]


async def test_one_that_is_overdue_alone_is_the_mail_that_it_always_is(
    database: Database, scene: Scene, sink: Sink, ada: str
) -> None:
    (late,) = await overdue(database, ada, 1)

    await deliver(scene, late)

    assert [mail.message["Subject"] for mail in sink.mails] == ["Milk"]


async def test_what_is_hardly_late_carries_nothing(database: Database, scene: Scene, sink: Sink, ada: str) -> None:
    late = await overdue(database, ada)
    (hardly,) = await overdue(database, ada, 1, due_at=-9 * MINUTE)

    await deliver(scene, hardly)

    assert [mail.message["Subject"] for mail in sink.mails] == ["Milk"]
    assert await statuses(database, late) == [Status.SCHEDULED] * 3


# What is not late, or not hers alone, or not to be said with others; and what has come to an end.
OTHERS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "to somebody else": ("due", {"recipient": "eve@example.org"}),
    "set by somebody else": ("due", {"owner": "somebody"}),
    "not that late": ("due", {"due_at": -9 * MINUTE}),
    "of no use any more": ("due", {"deadline_at": -MINUTE}),
    "a mail of our own": ("due", {"kind": "notice", "about": "{}"}),
    "refused with others": ("due", {"about": "alone"}),
    "has cost two workers": ("due", {"crashes": 2}),
    "has just cost its second": ("lapsed", {"crashes": 1}),
    "may have left": ("due again", {"letter": b"x", "ambiguous": 1}),
    "is leaving": ("marked", {}),
    "was leaving": ("marked and lapsed", {}),
    "goes with another": ("held", {"carried_by": UUID(int=7), "lease_until": None}),
    **{end: (end, {}) for end in ("unconfirmed", "sent", "failed", "cancelled", "missed", "uncertain")},
}
# Where it can stand and go with another; how many attempts and crashes it counts then.
GOING: Final[dict[str, tuple[str, dict[str, Any], int, int]]] = {
    "waits for the mail server": ("put off", {}, 2, 0),
    "claimed by another worker": ("held", {}, 1, 0),
    "claimed by one that was lost": ("lapsed", {}, 2, 1),
    "written otherwise": ("due", {"recipient": "Ada@Example.org"}, 1, 0),
    "of use still": ("due", {"deadline_at": HOUR}, 1, 0),
}


async def test_nothing_else_is_mixed_in_or_touched(database: Database, scene: Scene, sink: Sink, ada: str) -> None:
    late = await overdue(database, ada)
    before = {}
    for name, (standing, values) in OTHERS.items():
        given = {"owner": ada, "recipient": HERS, "message": "Remember 9.", "due_at": -HOUR} | values
        other = await a_reminder(database, standing, **given)
        before[name, other.id] = await everything(database, other.id)

    await deliver(scene, late[0])

    assert [said_in(mail) for mail in sink.mails] == [[0, 1, 2]]
    for (name, id), was in before.items():
        assert await everything(database, id) == was, name


async def test_what_has_not_left_goes_with_it_wherever_it_stands(
    database: Database, scene: Scene, sink: Sink, ada: str
) -> None:
    (late,) = await overdue(database, ada, 1)
    others = {}
    for number, (name, (standing, values, _, _)) in enumerate(GOING.items(), 1):
        given = {"owner": ada, "recipient": HERS, "message": f"Remember {number}."} | values
        others[name] = await a_reminder(database, standing, due_at=number * MINUTE - HOUR, **given)

    await deliver(scene, late)

    assert [said_in(mail) for mail in sink.mails] == [list(range(len(GOING) + 1))]
    for name, other in others.items():
        found = await stored(database, other.id)
        assert (found.status, found.attempt, found.crashes) == (Status.SENT, *GOING[name][2:]), name
        assert found.fence > other.fence, name


async def test_what_is_found_too_late_to_be_sent_at_all_goes_with_nothing(
    database: Database, live_queue: Queue, sink: Sink, ada: str
) -> None:
    late = await overdue(database, ada, 2)
    (too_late,) = await overdue(database, ada, 1, due_at=-3 * HOUR, message="Remember 9.")

    async with delivering(database, live_queue, sink, missed_after=2 * HOUR) as scene:
        await deliver_all(scene, database, [*late, too_late])

    assert [said_in(mail) for mail in sink.mails] == [[0, 1]]
    assert await statuses(database, [too_late]) == [Status.MISSED]


async def test_what_is_too_much_for_one_mail_comes_in_the_next(
    database: Database, scene: Scene, sink: Sink, ada: str
) -> None:
    late = await overdue(database, ada, 60, due_at=-HOUR)

    await deliver_all(scene, database, late)

    assert sorted(len(said_in(mail)) for mail in sink.mails) == [10, 50]
    assert set(await statuses(database, late)) == {Status.SENT}


async def test_of_all_that_are_delivered_at_once_one_carries_the_others(
    database: Database, scene: Scene, sink: Sink, ada: str
) -> None:
    for _ in range(5):
        late = await overdue(database, ada, 8)
        sink.mails.clear()

        await asyncio.gather(*(deliver(scene, each) for each in late))

        assert [said_in(mail) for mail in sink.mails] == [list(range(8))]
        assert set(await statuses(database, late)) == {Status.SENT}


async def test_two_workers_do_not_take_from_each_other_for_ever(
    database: Database, database_url: str, live_queue: Queue, sink: Sink, ada: str
) -> None:
    async with (
        Database.open(database_url) as elsewhere,
        delivering(database, live_queue, sink) as here,
        delivering(elsewhere, live_queue, sink) as there,
    ):
        for _ in range(5):
            late = await overdue(database, ada, 6)
            sink.mails.clear()

            await asyncio.gather(*(deliver(scene, each) for each in late for scene in (here, there)))

            assert [said_in(mail) for mail in sink.mails] == [list(range(6))]
            assert set(await statuses(database, late)) == {Status.SENT}


async def test_whoever_had_claimed_what_another_carries_can_mark_it_no_more(
    database: Database, scene: Scene, ada: str
) -> None:
    carrier, other = await overdue(database, ada, 2)
    overtaken = await scene.ledger.claim(other.id, 1, "elsewhere")
    assert overtaken is not None

    await gathered(scene.ledger, carrier)

    assert not await scene.ledger.mark(overtaken, b"x")
    assert await scene.ledger.gather(overtaken, TEN_MINUTES, None) is None
    assert (await stored(database, other.id)).carried_by == carrier.id


async def test_what_carries_others_is_not_carried_itself(
    database: Database, scene: Scene, sink: Sink, ada: str
) -> None:
    late = await overdue(database, ada, 2)
    claim = await gathered(scene.ledger, late[0])
    (later,) = await overdue(database, ada, 1, message="Remember 9.")

    await deliver(scene, later)

    assert [said_in(mail) for mail in sink.mails] == [[9]]
    assert await scene.ledger.mark(claim, b"x")


async def test_the_alarm_of_what_is_carried_finds_nothing_to_do(
    database: Database, scene: Scene, sink: Sink, ada: str
) -> None:
    carrier, other = await overdue(database, ada, 2)
    await gathered(scene.ledger, carrier)
    before = await everything(database, other.id)

    outcome = await deliver(scene, other)

    assert outcome == Outcome(result={"skipped": "carried"})
    assert await everything(database, other.id) == before
    assert sink.sessions == []


async def test_what_is_carried_gets_no_alarm_and_what_is_given_back_gets_one(
    database: Database, live_queue: Queue, scene: Scene, ada: str
) -> None:
    carrier, other = await overdue(database, ada, 2, queued_rev=1)
    claim = await gathered(scene.ledger, carrier)
    feeder = a_feeder(database, live_queue)

    await feeder.sweep()
    carried = await has_alarm(live_queue, other)
    await scene.ledger.give_back(claim)
    await feeder.sweep()

    assert not carried
    assert await has_alarm(live_queue, other)


# A person changes one of them meanwhile


@pytest.mark.parametrize("change", ["edit", "cancel"])
@pytest.mark.parametrize("phase", ["MAIL", "DATA"])
async def test_what_is_changed_before_the_mark_is_not_said_as_it_was(
    database: Database, live_queue: Queue, scene: Scene, sink: Sink, ada: str, phase: str, change: str
) -> None:
    late = await overdue(database, ada)
    books = Everybody(database, live_queue)

    async def meanwhile(_: Session) -> str:
        del sink.replies[phase]
        changed = await (
            books.cancel(late[1].id) if change == "cancel" else books.edit(late[1].id, Asked(message="New"))
        )
        assert (changed.rev, changed.carried_by) == (2, None)
        return "354 go on" if phase == "DATA" else "250 ok"

    sink.replies[phase] = meanwhile
    outcome = await deliver(scene, late[0])
    mails = len(sink.mails)
    await deliver(scene, late[0])

    assert outcome == Outcome(wait=timedelta(milliseconds=1), result={"skipped": "changed"})
    assert mails == 0
    assert [said_in(mail) for mail in sink.mails] == [[0, 2]]
    assert (b"New" in sink.mails[0].data) is (change == "edit")
    end = Status.SENT if change == "edit" else Status.CANCELLED
    assert await statuses(database, late) == [Status.SENT, end, Status.SENT]


async def test_where_the_carrier_is_cancelled_before_the_mark_the_others_go_without_it(
    database: Database, live_queue: Queue, scene: Scene, sink: Sink, ada: str
) -> None:
    late = await overdue(database, ada, queued_rev=1)
    books = Everybody(database, live_queue)

    async def meanwhile(_: Session) -> str:
        del sink.replies["RCPT"]
        await books.cancel(late[0].id)
        return "250 ok"

    sink.replies["RCPT"] = meanwhile
    await deliver(scene, late[0])
    freed = (await now_of(database, late))[1:]
    await deliver_all(scene, database, late)

    assert [(each.status, each.attempt, each.queued_rev) for each in freed] == [(Status.SCHEDULED, 0, None)] * 2
    assert [said_in(mail) for mail in sink.mails] == [[1, 2]]


async def test_where_the_carrier_is_cancelled_and_its_address_refused_the_others_are_free_at_once(
    database: Database, live_queue: Queue, scene: Scene, sink: Sink, ada: str
) -> None:
    late = await overdue(database, ada)
    books = Everybody(database, live_queue)

    async def meanwhile(_: Session) -> str:
        await books.cancel(late[0].id)
        return "550 5.1.1 no such user"

    sink.replies["RCPT"] = meanwhile
    await deliver(scene, late[0])

    assert await statuses(database, late) == [Status.CANCELLED, Status.SCHEDULED, Status.SCHEDULED]


@pytest.mark.parametrize("change", ["edit", "cancel"])
async def test_what_is_marked_with_its_carrier_can_no_longer_be_changed(
    database: Database, live_queue: Queue, scene: Scene, sink: Sink, ada: str, change: str
) -> None:
    late = await overdue(database, ada)
    books = Everybody(database, live_queue)
    refused: list[UUID] = []

    async def meanwhile(_: Session) -> str:
        for each in late:
            with suppress(TooLate):
                await (books.cancel(each.id) if change == "cancel" else books.edit(each.id, Asked(message="New")))
                refused.clear()
            refused.append(each.id)
        return "250 ok"

    sink.replies["body"] = meanwhile
    await deliver(scene, late[0])

    assert refused == [each.id for each in late]
    assert [each.rev for each in await now_of(database, late)] == [1, 1, 1]
    assert await statuses(database, late) == [Status.SENT] * 3


async def test_a_change_and_the_mark_never_both_happen(
    database: Database, database_url: str, live_queue: Queue, scene: Scene, ada: str
) -> None:
    async with Database.open(database_url) as elsewhere:
        books = Everybody(elsewhere, live_queue)
        for _ in range(15):
            late = await overdue(database, ada)
            claim = await gathered(scene.ledger, late[0])

            marked, cancelled = await asyncio.gather(
                scene.ledger.mark(claim, b"x"), books.cancel(late[2].id), return_exceptions=True
            )

            assert (marked is True) == isinstance(cancelled, TooLate)
            await (scene.ledger.sent(claim, "250 ok", timedelta(0)) if marked else scene.ledger.give_back(claim))
            ends = await statuses(database, late)
            expected = [Status.SENT] * 3 if marked else [Status.SCHEDULED, Status.SCHEDULED, Status.CANCELLED]
            assert ends == expected
            for each in late:
                await alter(database, each.id, status=Status.SENT)


# How it ends for each


async def test_an_address_that_is_refused_is_refused_for_all_of_them_at_once(
    database: Database, scene: Scene, sink: Sink, ada: str
) -> None:
    late = await overdue(database, ada)
    sink.replies["RCPT"] = "550 5.1.1 no such user"

    await deliver_all(scene, database, late)

    found = await now_of(database, late)
    assert {each.status for each in found} == {Status.FAILED}
    assert {each.smtp_reply for each in found} == {"550 5.1.1 no such user"}
    assert sum(len(session.said("RCPT")) for session in sink.sessions) == 1


@pytest.mark.parametrize("phase", ["DATA", "body"])
async def test_what_is_refused_together_goes_alone_from_then_on(
    database: Database, scene: Scene, sink: Sink, ada: str, phase: str
) -> None:
    """One of them may be what the server does not like: the others must not fail for it."""
    late = await overdue(database, ada)
    sink.replies[phase] = "554 5.7.1 we do not want this"

    outcome = await deliver(scene, late[1])
    parted = await now_of(database, late)
    del sink.replies[phase]
    await deliver_all(scene, database, late)

    assert outcome == Outcome(wait=timedelta(milliseconds=1), counted=True)
    assert {(each.status, each.attempt, each.letter, each.marked_at) for each in parted} == {
        (Status.RETRYING, 1, None, None)
    }
    assert sorted(said_in(mail) for mail in sink.mails) == [[0], [1], [2]]
    assert {story(each)[1] for each in await now_of(database, late)} == {"parted"}


async def test_one_that_cannot_be_written_fails_by_itself(
    database: Database, scene: Scene, sink: Sink, ada: str
) -> None:
    late = await overdue(database, ada, 2)
    (broken,) = await overdue(database, ada, 1, time_zone="Mars/Olympus")

    await deliver_all(scene, database, [late[0], *late, broken])

    assert await statuses(database, [*late, broken]) == [Status.SENT, Status.SENT, Status.FAILED]
    assert [said_in(mail) for mail in sink.mails] == [[0], [1]]


@pytest.mark.parametrize(
    ("phase", "reply", "counted"),
    [
        pytest.param("RCPT", "450 4.2.0 greylisted", True, id="greylisted"),
        pytest.param("body", "451 4.7.1 try again", True, id="refused-after-the-mark"),
        pytest.param("MAIL", "550 5.7.1 not you", False, id="an-outage"),
    ],
)
async def test_what_is_put_off_is_put_off_for_all_and_comes_in_one_mail_later(
    database: Database, scene: Scene, sink: Sink, ada: str, phase: str, reply: str, counted: bool
) -> None:
    late = await overdue(database, ada, queued_rev=1)
    sink.replies[phase] = reply

    outcome = await deliver(scene, late[0])
    waiting = await now_of(database, late)
    del sink.replies[phase]
    await deliver_all(scene, database, late)

    assert outcome.wait is not None
    assert {(each.status, each.attempt, each.ambiguous, each.letter, each.marked_at) for each in waiting} == {
        (Status.RETRYING, int(counted), 0, None, None)
    }
    assert len({each.reason for each in waiting}) == 1
    assert [(each.carried_by, each.queued_rev) for each in waiting[1:]] == [(None, None)] * 2
    assert all(abs(each.next_at - waiting[0].next_at) < timedelta(seconds=5) for each in waiting)
    assert [said_in(mail) for mail in sink.mails] == [[0, 1, 2]]
    assert set(await statuses(database, late)) == {Status.SENT}


async def test_a_carrier_that_is_of_no_use_any_more_is_missed_and_the_others_come(
    database: Database, database_url: str, live_queue: Queue, sink: Sink, ada: str
) -> None:
    late = await overdue(database, ada, deadline_at=None)
    await alter(database, late[0].id, deadline_at=HOUR)

    def pass_it(step: str) -> None:
        if step == "rcpt_ok":
            Peephole(database_url).do("UPDATE reminders SET deadline_at = 1000 WHERE deadline_at IS NOT NULL")

    async with delivering(database, live_queue, sink, checkpoint=pass_it) as scene:
        outcomes = await deliver_all(scene, database, late)

    found = await now_of(database, late)
    assert outcomes[0] == Outcome(failed="missed")
    assert [each.status for each in found] == [Status.MISSED, Status.SENT, Status.SENT]
    assert found[0].reason == USELESS
    assert [said_in(mail) for mail in sink.mails] == [[1, 2]]


async def test_one_whose_deadline_passes_before_the_mark_is_not_said(
    database: Database, database_url: str, live_queue: Queue, sink: Sink, ada: str
) -> None:
    late = await overdue(database, ada)
    await alter(database, late[1].id, deadline_at=HOUR)

    def pass_it(step: str) -> None:
        if step == "rcpt_ok":
            Peephole(database_url).do("UPDATE reminders SET deadline_at = 1000 WHERE deadline_at IS NOT NULL")

    async with delivering(database, live_queue, sink, checkpoint=pass_it) as scene:
        await deliver_all(scene, database, [late[0], *late])

    assert await statuses(database, late) == [Status.SENT, Status.MISSED, Status.SENT]
    assert [said_in(mail) for mail in sink.mails] == [[0, 2]]


async def test_who_stops_all_mail_meanwhile_gets_none_of_them(
    database: Database, scene: Scene, sink: Sink, ada: str
) -> None:
    late = await overdue(database, ada)

    async def stop(_: Session) -> str:
        async with database.statements() as connection:
            await connection.execute(update(people).values(blocked_at=datetime.now(UTC)))
        return "250 ok"

    sink.replies["RCPT"] = stop
    await deliver(scene, late[0])

    assert await statuses(database, late) == [Status.FAILED] * 3
    assert sink.mails == []


async def test_stopped_before_the_mark_all_are_given_back_at_once(
    database: Database, scene: Scene, sink: Sink, ada: str
) -> None:
    late = await overdue(database, ada, queued_rev=1)
    reached = asyncio.Event()

    async def never(session: Session) -> str:
        reached.set()
        return await session.never()

    sink.replies["DATA"] = never
    async with asyncio.timeout(PATIENCE_S):
        attempt = asyncio.create_task(scene.delivery.deliver(late[0].id, 1))
        await reached.wait()
        attempt.cancel()
        await asyncio.wait([attempt])

    found = await now_of(database, late)
    assert {(each.status, each.attempt, each.carried_by) for each in found} == {(Status.SCHEDULED, 0, None)}
    assert [each.queued_rev for each in found[1:]] == [None, None]


# No answer to the dot


async def test_what_is_in_doubt_is_kept_together_and_the_same_bytes_say_all_of_it_again(
    database: Database, live_queue: Queue, scene: Scene, sink: Sink, ada: str
) -> None:
    late = await overdue(database, ada)
    sink.replies["body"] = drop

    await deliver(scene, late[0])
    doubted = await now_of(database, late)
    with pytest.raises(TooLate):
        await Everybody(database, live_queue).cancel(late[1].id)
    others = [await deliver(scene, each) for each in late[1:]]
    del sink.replies["body"]
    await deliver_all(scene, database, late)

    found = await now_of(database, late)
    assert [each.status for each in doubted] == [Status.RETRYING, Status.SENDING, Status.SENDING]
    assert others == [Outcome(result={"skipped": "carried"})] * 2
    assert len({mail.data for mail in sink.mails}) == 1
    assert len(sink.mails) == 2
    assert {(each.status, each.ambiguous, each.attempt, each.carried_by) for each in found} == {
        (Status.SENT, 1, 2, None)
    }


async def test_after_two_resends_without_an_answer_all_are_uncertain(
    database: Database, scene: Scene, sink: Sink, ada: str
) -> None:
    late = await overdue(database, ada)
    sink.replies["body"] = drop

    await deliver_all(scene, database, [late[0]] * 3)

    found = await now_of(database, late)
    assert {each.status for each in found} == {Status.UNCERTAIN}
    assert len({(each.reason, each.smtp_reply, each.ambiguous) for each in found}) == 1
    assert len({mail.data for mail in sink.mails}) == 1
    assert len(sink.mails) == 3


@pytest.mark.parametrize(
    ("phase", "reply", "end"),
    [
        pytest.param("RCPT", "450 4.2.0 later", Status.SENT, id="asked-to-try-later"),
        pytest.param("MAIL", "550 5.7.1 not you", Status.SENT, id="an-outage"),
        pytest.param("body", "554 5.7.1 no", Status.FAILED, id="refused"),
    ],
)
async def test_a_resend_that_fails_leaves_together_what_may_have_left_together(
    database: Database, scene: Scene, sink: Sink, ada: str, phase: str, reply: str, end: Status
) -> None:
    late = await overdue(database, ada)
    sink.replies["body"] = drop
    await deliver(scene, late[0])
    del sink.replies["body"]

    sink.replies[phase] = reply
    await deliver_all(scene, database, late[:1])
    others = (await statuses(database, late))[1:]
    del sink.replies[phase]
    await deliver_all(scene, database, late)

    assert others == [Status.SENDING if end == Status.SENT else end] * 2
    assert await statuses(database, late) == [end] * 3
    assert len({mail.data for mail in sink.mails}) == 1


# After a worker was lost


async def test_what_a_lost_worker_had_gathered_is_gathered_again(
    database: Database, scene: Scene, sink: Sink, ada: str
) -> None:
    late = await overdue(database, ada)
    await gathered(scene.ledger, late[0])
    await alter(database, late[0].id, **LAPSED)

    await deliver(scene, late[0])

    found = await now_of(database, late)
    assert [said_in(mail) for mail in sink.mails] == [[0, 1, 2]]
    assert {(each.status, each.attempt, each.crashes, each.ambiguous) for each in found} == {(Status.SENT, 2, 1, 0)}


async def test_what_has_cost_two_workers_together_goes_one_by_one(
    database: Database, scene: Scene, sink: Sink, ada: str
) -> None:
    late = await overdue(database, ada)
    for _ in range(2):
        await gathered(scene.ledger, late[0])
        await alter(database, late[0].id, **LAPSED)

    innocent = await overdue(database, ada, 2, message="Remember 9.")
    await deliver_all(scene, database, [*late, *innocent])

    found = await now_of(database, late)
    assert [said_in(mail) for mail in sink.mails] == [[0], [1], [2], [9, 9]]
    assert {(each.status, each.crashes) for each in found} == {(Status.SENT, 2)}


async def a_lost_mail(scene: Scene, late: Sequence[Reminder], database: Database) -> tuple[Claim, Letter]:
    """Marked, and its worker gone long ago."""
    claim = await gathered(scene.ledger, late[0])
    letter = Letter(sender="a@example.net", recipient=HERS, message_id="<x>", data=b"Message-ID: <x>\r\n\r\nAll.\r\n")
    assert await scene.ledger.mark(claim, letter.data)
    await alter(database, late[0].id, **LAPSED)
    return claim, letter


async def test_what_the_witness_saw_is_sent_for_all_of_them(
    database: Database, scene: Scene, sink: Sink, ada: str
) -> None:
    late = await overdue(database, ada)
    claim, _ = await a_lost_mail(scene, late, database)
    await scene.witness.testify(claim, "250 2.0.0 Ok")

    await deliver_all(scene, database, late)

    found = await now_of(database, late)
    assert {each.status for each in found} == {Status.SENT}
    assert len({(each.accepted_at, each.smtp_reply) for each in found}) == 1
    assert sink.sessions == []


async def test_what_may_have_left_is_sent_again_and_all_of_them_say_so(
    database: Database, scene: Scene, sink: Sink, ada: str
) -> None:
    late = await overdue(database, ada)
    _, letter = await a_lost_mail(scene, late, database)

    await deliver_all(scene, database, late)

    found = await now_of(database, late)
    assert [mail.data for mail in sink.mails] == [letter.data]
    assert {(each.status, each.ambiguous) for each in found} == {(Status.SENT, 1)}


async def test_what_may_have_left_is_uncertain_for_all_where_a_person_decides(
    database: Database, live_queue: Queue, sink: Sink, ada: str
) -> None:
    late = await overdue(database, ada)
    async with delivering(database, live_queue, sink, on_ambiguous="hold") as scene:
        await a_lost_mail(scene, late, database)

        await deliver_all(scene, database, late)

    assert await statuses(database, late) == [Status.UNCERTAIN] * 3
    assert sink.sessions == []


async def test_a_late_word_of_the_worker_that_was_lost_changes_nothing_of_what_is_sent_again(
    database: Database, scene: Scene, ada: str
) -> None:
    late = await overdue(database, ada)
    overtaken, letter = await a_lost_mail(scene, late, database)
    again = await gathered(scene.ledger, late[0], resend=True)
    before = [await everything(database, each.id) for each in late]

    assert await scene.ledger.sent(overtaken, "250 ok", timedelta(0)) is None
    assert not await scene.ledger.give_back(overtaken)
    assert not await scene.ledger.mark(overtaken, letter.data)
    assert not await scene.ledger.put_off(overtaken, MINUTE, "later", event="put off", counted=True)
    assert not await scene.ledger.end(overtaken, Status.FAILED, "no", shared=True)

    assert [await everything(database, each.id) for each in late] == before
    assert await scene.ledger.mark(again, letter.data)
    assert await scene.ledger.sent(again, "250 ok", timedelta(0)) is not None
    assert set(await statuses(database, late)) == {Status.SENT}


async def test_without_the_database_at_the_mark_no_body_leaves_and_it_was_no_attempt_of_any(
    database: Database, live_queue: Queue, sink: Sink, ada: str, away: Away
) -> None:
    late = await overdue(database, ada)
    gone = asyncio.Event()

    def checkpoint(reached: str) -> None:
        if reached == "rcpt_ok" and not gone.is_set():
            away.go()
            gone.set()

    async with delivering(database, live_queue, sink, checkpoint=checkpoint) as scene, asyncio.timeout(PATIENCE_S):
        attempt = asyncio.create_task(scene.delivery.deliver(late[0].id, 1))
        await gone.wait()
        await sink.sessions[0].ended.wait()
        # In a thread: whoever insists holds the file at times, and would let it go in this very loop.
        await asyncio.to_thread(away.come_back)
        await attempt
        given_back = await now_of(database, late)
        await deliver(scene, late[0])

    assert {(each.status, each.attempt, each.crashes) for each in given_back} == {(Status.SCHEDULED, 0, 0)}
    assert [said_in(mail) for mail in sink.mails] == [[0, 1, 2]]


# What is carried by nothing


# Where its carrier stands, whether it is marked itself, and how it is found then.
CARRIERS: Final[dict[str, tuple[str, dict[str, Any], bool, Status]]] = {
    "has left without it": ("sent", {}, False, Status.SCHEDULED),
    "was given back": ("due", {}, False, Status.SCHEDULED),
    "was cancelled when in doubt": ("cancelled", {}, True, Status.UNCERTAIN),
    "was changed when in doubt, and is sent anew": ("held", {}, True, Status.UNCERTAIN),
    "is under way": ("held", {}, False, Status.SENDING),
    "is lost, and will be taken again": ("lapsed", {}, False, Status.SENDING),
    "is leaving": ("marked", {}, True, Status.SENDING),
    "is in doubt": ("put off", {"letter": b"x", "ambiguous": 1}, True, Status.SENDING),
}


async def test_what_is_carried_by_nothing_that_carries_it_is_freed(database: Database, scene: Scene, ada: str) -> None:
    strays = {}
    for name, (standing, values, marked, _) in CARRIERS.items():
        carrier = await a_reminder(database, standing, **values)
        (strays[name],) = await overdue(
            database, ada, 1, status=Status.SENDING, fence=1, attempt=1, queued_rev=1, carried_by=carrier.id,
            marked_at=-MINUTE if marked else None,
        )  # fmt: skip

    count = await scene.ledger.repair()

    assert count == 4
    for name, stray in strays.items():
        found, end = await stored(database, stray.id), CARRIERS[name][3]
        assert found.status == end, name
        assert (found.carried_by is None) == (end != Status.SENDING), name
        assert (found.queued_rev is None) == (end == Status.SCHEDULED), name


async def test_what_is_carried_by_what_was_deleted_is_freed(database: Database, scene: Scene, ada: str) -> None:
    await overdue(database, ada, 2, status=Status.SENDING, fence=1, attempt=1, carried_by=new_id())

    assert await scene.ledger.repair() == 2
    assert await scene.ledger.repair() == 0


# What repeats


async def test_each_occurrence_that_goes_with_another_has_its_sequel(
    database: Database, live_queue: Queue, ada: str
) -> None:
    books = Everybody(database, live_queue)
    ledger = CatchUp(database, LEASE, Sequel())
    made = [await daily(books._of(ada), to=HERS) for _ in range(3)]
    for each in made:
        await alter(database, each.id, due_at=-HOUR, next_at=-HOUR)

    claim = await gathered(ledger, made[0])
    assert await ledger.mark(claim, b"x")
    await ledger.sent(claim, "250 ok", timedelta(0))

    assert len(claim.carried) == 2
    for each in made:
        occurrences = await of_series(database, each.series_id)
        assert [found.status for found in occurrences] == [Status.SENT, Status.SCHEDULED]


async def test_what_is_wrong_with_a_sequel_does_not_keep_the_others_from_being_sent(
    database: Database, live_queue: Queue, ada: str
) -> None:
    class Broken(Sequel):
        async def after(self, *_: Any) -> None:
            raise ValueError("a rule of a later release")

    late = await overdue(database, ada)
    ledger = CatchUp(database, LEASE, Broken())

    claim = await gathered(ledger, late[0])
    await ledger.mark(claim, b"x")
    lateness = await ledger.sent(claim, "250 ok", timedelta(0))

    assert lateness is not None
    assert set(await statuses(database, late)) == {Status.SENT}


# The whole of it


async def all_sent(database: Database) -> bool:
    async with database.statements() as connection:
        unsent = await connection.execute(select(row.id).where(row.status != Status.SENT))
        return unsent.first() is None


async def test_after_an_outage_a_worker_sends_one_mail_of_thirty_to_her_and_each_to_him(
    database_url: str, database: Database, valkey: Valkey, prefix: str, sink: Sink, ada: str
) -> None:
    stack = Stack(database_url, valkey, sink, {"RMINDR_QUEUE_PREFIX": prefix, "RMINDR_TIMING_SCALE": "0.05"})
    bob = await a_person(database, "bob@example.org")
    hers = await overdue(database, ada, 30)
    await overdue(database, bob, 5, recipient="bob@example.org")
    await overdue(database, bob, 1, recipient=HERS)

    async with stack.worker():
        await eventually(lambda: all_sent(database))

    to_her = [mail for mail in sink.to(HERS) if len(said_in(mail)) > 1]
    assert [said_in(mail) for mail in to_her] == [list(range(30))]
    assert len(sink.to(HERS)) == 2
    assert sorted(said_in(mail) for mail in sink.to("bob@example.org")) == [[number] for number in range(5)]
    assert len({each.accepted_at for each in await now_of(database, hers)}) == 1
