"""What the delivery writes in SQL: every statement the only judge of whether it may happen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, Final

import pytest
from sqlalchemy.exc import IntegrityError

from rmindr.database import Database, from_ms
from rmindr.ledger import CRASHES_ALLOWED, Claim, Ledger
from rmindr.models import Reminder, Status, new_id
from tests.deliveries import (
    LEASE,
    STANDINGS,
    Peephole,
    a_claim,
    a_reminder,
    alter,
    clock_of,
    everything,
    refuse,
    stored,
    story,
)

WAIT: Final = timedelta(seconds=90)
REPLY: Final = "250 2.0.0 Ok: queued as 4F1"
ROUNDS: Final = 25

Verb = Callable[[Ledger, Claim, Reminder], Awaitable[Any]]

# In order of life, as in the head of ledger.py; a resend is the claim of somebody who has waited and asked the witness.
VERBS: Final[dict[str, Verb]] = {
    "claim": lambda ledger, claim, _: ledger.claim(claim.id, claim.rev, "here"),
    "resend": lambda ledger, claim, _: ledger.claim(claim.id, claim.rev, "here", resend=True),
    "mark": lambda ledger, claim, _: ledger.mark(claim, b"the letter"),
    "beat": lambda ledger, claim, _: ledger.beat([claim]),
    "sent": lambda ledger, claim, _: ledger.sent(claim, REPLY, timedelta(0)),
    "put_off": lambda ledger, claim, _: ledger.put_off(claim, WAIT, "later", event="put off", counted=True),
    "give_back": lambda ledger, claim, _: ledger.give_back(claim),
    "end": lambda ledger, claim, _: ledger.end(claim, Status.FAILED, "no"),
    "settle": lambda ledger, _, seen: ledger.settle(seen, Status.UNCERTAIN, "nobody knows"),
}

HELD: Final = ("held", "lapsed", "lapsed for the third time")
MARKED: Final = ("marked", "marked and lapsed", "marked and lapsed for the third time")

# From where each verb leads, and to what; every pair of a verb and a standing that is not here is refused.
EDGES: Final[dict[str, dict[str, Status]]] = {
    "claim": dict.fromkeys(["due", "due again", "lapsed"], Status.SENDING),
    "resend": dict.fromkeys(["due", "due again", "marked and lapsed"], Status.SENDING),
    "mark": dict.fromkeys(["held", "marked"], Status.SENDING),
    "beat": dict.fromkeys([*HELD, *MARKED], Status.SENDING),
    "sent": dict.fromkeys([*HELD, *MARKED], Status.SENT),
    "put_off": dict.fromkeys([*HELD, *MARKED], Status.RETRYING),
    "give_back": {"held": Status.SCHEDULED, "lapsed": Status.SCHEDULED, "lapsed for the third time": Status.RETRYING},
    "end": dict.fromkeys([*HELD, *MARKED], Status.FAILED),
    "settle": dict.fromkeys([*HELD[1:], *MARKED[1:]], Status.UNCERTAIN),
}
ALLOWED: Final = [(verb, standing) for verb, edges in EDGES.items() for standing in edges]


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database, LEASE)


@pytest.fixture
async def elsewhere(database_url: str) -> AsyncIterator[Ledger]:
    """The ledger of another worker: on connections of its own."""
    async with Database.open(database_url) as database:
        yield Ledger(database, LEASE)


async def claimed(ledger: Ledger, reminder: Reminder, *, resend: bool = False) -> Claim:
    claim = await ledger.claim(reminder.id, reminder.rev, "here", resend=resend)
    assert claim is not None
    return claim


# The table: every verb from every standing


async def test_a_verb_that_does_not_fit_where_the_reminder_stands_changes_nothing(
    database: Database, ledger: Ledger
) -> None:
    for verb, standing in set(product(VERBS, STANDINGS)) - set(ALLOWED):
        reminder = await a_reminder(database, standing)
        before = await everything(database, reminder.id)

        answer = await VERBS[verb](ledger, a_claim(reminder), reminder)

        assert not answer, (verb, standing)
        assert await everything(database, reminder.id) == before, (verb, standing)


async def test_a_verb_that_fits_leads_where_the_table_says(database: Database, ledger: Ledger) -> None:
    for verb, standing in ALLOWED:
        reminder = await a_reminder(database, standing)

        answer = await VERBS[verb](ledger, a_claim(reminder), reminder)

        now = await stored(database, reminder.id)
        assert (now.status, now.rev) == (EDGES[verb][standing], reminder.rev), (verb, standing)
        assert now.fence == reminder.fence + (verb in ("claim", "resend")), (verb, standing)
        assert verb == "beat" or (answer and now.updated_at > reminder.updated_at), (verb, standing)


async def test_under_an_old_fence_no_verb_changes_anything(database: Database, ledger: Ledger) -> None:
    for verb, standing in product(VERBS.keys() - {"claim", "resend"}, STANDINGS):
        reminder = await a_reminder(database, standing, fence=7)
        before = await everything(database, reminder.id)
        reminder.fence = 6

        answer = await VERBS[verb](ledger, a_claim(reminder), reminder)

        assert not answer, (verb, standing)
        assert await everything(database, reminder.id) == before, (verb, standing)


async def test_for_an_old_revision_nothing_is_claimed_or_marked(database: Database, ledger: Ledger) -> None:
    for verb, standing in product(["claim", "resend", "mark"], STANDINGS):
        reminder = await a_reminder(database, standing, rev=3)
        before = await everything(database, reminder.id)

        answer = await VERBS[verb](ledger, a_claim(reminder, rev=2), reminder)

        assert not answer, (verb, standing)
        assert await everything(database, reminder.id) == before, (verb, standing)


async def test_no_verb_touches_the_reminder_beside_it_or_makes_one_that_is_not_there(
    database: Database, ledger: Ledger
) -> None:
    for verb, standing in ALLOWED:
        beside = await a_reminder(database, standing)
        before = await everything(database, beside.id)
        nobody = beside.model_copy(update={"id": new_id()})

        answer = await VERBS[verb](ledger, a_claim(nobody), nobody)

        assert not answer, (verb, standing)
        assert await everything(database, beside.id) == before, (verb, standing)
        assert await ledger.look(nobody.id) is None, (verb, standing)


# Claim


async def test_a_claim_carries_all_that_a_letter_is_made_of(database: Database, ledger: Ledger) -> None:
    reminder = await a_reminder(
        database, recipient="ada@example.org", subject="Ü", message="a\nb", time_zone="Asia/Tokyo"
    )

    claim = await claimed(ledger, reminder)

    same = ("id", "rev", "recipient", "subject", "message", "due_at", "time_zone", "created_at", "letter")
    assert {name: getattr(claim, name) for name in same} == {name: getattr(reminder, name) for name in same}
    assert (claim.fence, claim.attempt, claim.ambiguous) == (1, 1, 0)


async def test_the_fence_grows_with_every_claim_and_with_nothing_else(database: Database, ledger: Ledger) -> None:
    reminder = await a_reminder(database)

    fences = []
    for way in ("put_off", "give_back", "lapse", "lapse after the mark", "put_off"):
        claim = await claimed(ledger, reminder, resend=(await stored(database, reminder.id)).marked_at is not None)
        fences.append(claim.fence)
        if way == "lapse after the mark":
            await ledger.mark(claim, b"x")
        if way in VERBS:
            await VERBS[way](ledger, claim, reminder)
            await alter(database, reminder.id, next_at=timedelta(0))
        else:
            await alter(database, reminder.id, lease_until=timedelta(milliseconds=-1))

    assert fences == [1, 2, 3, 4, 5]


async def test_a_reminder_cannot_be_claimed_before_its_very_millisecond(database: Database, ledger: Ledger) -> None:
    reminder = await a_reminder(database, due_at=timedelta(milliseconds=60), next_at=timedelta(milliseconds=60))

    while (claim := await ledger.claim(reminder.id, 1, "here")) is None:
        await asyncio.sleep(0)

    assert claim.claimed_at >= claim.due_at


async def test_the_first_claim_remembers_its_instant_and_later_ones_keep_it(database: Database, ledger: Ledger) -> None:
    reminder = await a_reminder(database)

    first = await claimed(ledger, reminder)
    await ledger.put_off(first, timedelta(milliseconds=-1), "later", event="put off", counted=True)
    second = await claimed(ledger, reminder)

    assert abs(first.first_tried_at - first.claimed_at) < timedelta(seconds=1)
    assert second.first_tried_at == first.first_tried_at


@pytest.mark.parametrize("standing", ["due", "due again", "lapsed"])
async def test_of_all_who_claim_at_once_one_gets_it(
    database: Database, ledger: Ledger, elsewhere: Ledger, standing: str
) -> None:
    for _ in range(ROUNDS):
        reminder = await a_reminder(database, standing)

        claims = await asyncio.gather(*(each.claim(reminder.id, 1, "here") for each in (ledger, elsewhere) * 3))

        (taken,) = [claim for claim in claims if claim is not None]
        assert (await stored(database, reminder.id)).fence == taken.fence == reminder.fence + 1


async def test_a_late_word_of_the_old_worker_and_a_resend_cannot_both_happen(
    database: Database, ledger: Ledger, elsewhere: Ledger
) -> None:
    for round in range(ROUNDS):
        reminder = await a_reminder(database, "marked and lapsed")
        late_word = ledger.sent(a_claim(reminder), REPLY, timedelta(0))
        resend = elsewhere.claim(reminder.id, 1, "there", resend=True)

        if round % 2:
            lateness, claim = await asyncio.gather(late_word, resend)
        else:
            claim, lateness = await asyncio.gather(resend, late_word)

        assert (lateness is None) != (claim is None)
        assert (await stored(database, reminder.id)).status == (Status.SENT if claim is None else Status.SENDING)


# Lease


async def test_a_lease_lasts_as_long_as_it_is_meant_to(database: Database, ledger: Ledger) -> None:
    reminder = await a_reminder(database)

    before = await clock_of(database)
    await claimed(ledger, reminder)
    after = await clock_of(database)

    until = (await stored(database, reminder.id)).lease_until
    assert until is not None
    assert before + LEASE <= until <= after + LEASE


@pytest.mark.parametrize("prolong", ["mark", "beat"])
async def test_a_lease_begins_anew_with_the_mark_and_with_every_beat(
    database: Database, ledger: Ledger, prolong: str
) -> None:
    reminder = await a_reminder(database, "held", lease_until=timedelta(seconds=5))

    before = await clock_of(database)
    await VERBS[prolong](ledger, a_claim(reminder), reminder)

    until = (await stored(database, reminder.id)).lease_until
    assert until is not None
    assert until >= before + LEASE


async def test_one_beat_prolongs_all_that_are_under_way_and_none_that_another_has(
    database: Database, ledger: Ledger
) -> None:
    short = timedelta(seconds=5)
    mine = [await a_reminder(database, "held", lease_until=short) for _ in range(3)]
    others = await a_reminder(database, "held", lease_until=short, fence=2)

    await ledger.beat([*map(a_claim, mine), a_claim(others, fence=1)])
    await ledger.beat([])

    clock = await clock_of(database)
    leases = [(await stored(database, each.id)).lease_until for each in (*mine, others)]
    assert [until is not None and until > clock + short for until in leases] == [True, True, True, False]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_the_database_s_clock_decides_where_ours_is_an_hour_behind(database_url: str) -> None:
    Peephole(database_url).do(
        "CREATE SCHEMA fast",
        "CREATE FUNCTION fast.clock_timestamp() RETURNS timestamptz LANGUAGE sql"
        " AS $$ SELECT pg_catalog.clock_timestamp() + interval '1 hour' $$",
        f"ALTER DATABASE {database_url.rpartition('/')[2]} SET search_path = fast, pg_catalog, public",
    )
    ours = datetime.now(UTC)

    async with Database.open(database_url) as database:
        ledger = Ledger(database, LEASE)
        due_there_only = await a_reminder(database, next_at=ours + timedelta(minutes=59))
        due_nowhere = await a_reminder(database, next_at=ours + timedelta(minutes=75))
        early = await ledger.claim(due_nowhere.id, 1, "here")
        claim = await claimed(ledger, due_there_only)
        under_way = await stored(database, due_there_only.id)
        await ledger.sent(claim, REPLY, timedelta(0))
        found = await stored(database, due_there_only.id)

    assert early is None
    assert under_way.lease_until is not None
    assert found.accepted_at is not None
    told = [from_ms(event["at"]) for event in found.events]
    for instant in (claim.claimed_at, under_way.lease_until - LEASE, found.accepted_at, found.updated_at, *told):
        assert timedelta(hours=1) <= instant - ours < timedelta(minutes=65)


# Losses, attempts, doubts


async def test_each_lost_worker_is_counted_and_after_the_third_nobody_gets_it_any_more(
    database: Database, ledger: Ledger
) -> None:
    reminder = await a_reminder(database)

    counts = []
    while (claim := await ledger.claim(reminder.id, 1, "here")) is not None:
        found = await stored(database, reminder.id)
        counts.append((claim.attempt, found.crashes, found.events[-1].get("after_loss", False)))
        await alter(database, reminder.id, lease_until=timedelta(milliseconds=-1))

    assert counts == [(1, 0, False), (2, 1, True), (3, 2, True)]
    assert len(counts) == CRASHES_ALLOWED


async def test_what_is_put_off_is_no_loss(database: Database, ledger: Ledger) -> None:
    reminder = await a_reminder(database)

    for _ in range(5):
        claim = await claimed(ledger, reminder)
        await ledger.put_off(claim, timedelta(milliseconds=-1), "later", event="put off", counted=True)

    found = await stored(database, reminder.id)
    assert (found.attempt, found.crashes) == (5, 0)


async def test_what_is_given_back_was_no_attempt_and_no_loss(database: Database, ledger: Ledger) -> None:
    new, tried = await a_reminder(database), await a_reminder(database, "due again")

    for reminder in (new, tried):
        assert await ledger.give_back(await claimed(ledger, reminder))

    first, second = await stored(database, new.id), await stored(database, tried.id)
    assert (first.status, first.attempt, first.crashes) == (Status.SCHEDULED, 0, 0)
    assert (second.status, second.attempt, second.crashes) == (Status.RETRYING, 1, 0)
    assert first.lease_until is second.lease_until is None


async def test_an_outage_costs_no_attempt_and_is_told_once(database: Database, ledger: Ledger) -> None:
    reminder = await a_reminder(database)

    for reason in ("cannot be reached", "cannot be reached", "cannot be reached", "is refused"):
        claim = await claimed(ledger, reminder)
        await ledger.put_off(claim, timedelta(milliseconds=-1), reason, event="outage", counted=False)

    found = await stored(database, reminder.id)
    assert found.attempt == 0
    assert [event["reason"] for event in found.events if event["event"] == "outage"] == [
        "cannot be reached",
        "is refused",
    ]


async def test_doubts_are_counted_where_an_answer_was_lost_and_where_a_marked_attempt_is_taken_again(
    database: Database, ledger: Ledger
) -> None:
    by_answer, by_loss = await a_reminder(database), await a_reminder(database, "marked and lapsed")

    claim = await claimed(ledger, by_answer)
    await ledger.mark(claim, b"x")
    await ledger.put_off(claim, timedelta(milliseconds=-1), "?", event="in doubt", counted=True, ambiguous=True)
    again = await claimed(ledger, by_answer)
    taken = await claimed(ledger, by_loss, resend=True)

    assert (again.ambiguous, again.letter) == (1, b"x")
    assert (taken.ambiguous, taken.letter) == (1, b"x")
    assert (await stored(database, by_answer.id)).crashes == 0
    assert (await stored(database, by_loss.id)).crashes == 1


async def test_an_attempt_that_follows_a_doubt_is_unmarked_until_it_is_marked_itself(
    database: Database, ledger: Ledger
) -> None:
    reminder = await a_reminder(database, "marked and lapsed")

    claim = await claimed(ledger, reminder, resend=True)

    assert (await stored(database, reminder.id)).marked_at is None
    assert await ledger.give_back(claim)


# The endings


async def test_the_mark_keeps_the_bytes_and_every_ending_erases_them(database: Database, ledger: Ledger) -> None:
    for ending in ("sent", "end", "settle"):
        reminder = await a_reminder(database, "held")
        await ledger.mark(a_claim(reminder), b"\x00\xff the letter")
        marked = await stored(database, reminder.id)
        await alter(database, reminder.id, lease_until=timedelta(milliseconds=-1))
        await VERBS[ending](ledger, a_claim(marked), marked)
        ended = await stored(database, reminder.id)

        assert marked.letter == b"\x00\xff the letter"
        assert marked.marked_at is not None
        assert (ended.letter, ended.lease_until) == (None, None)


async def test_what_was_sent_says_when_the_server_took_it_and_what_it_said(database: Database, ledger: Ledger) -> None:
    reminder = await a_reminder(database, "marked", reason="an old reason")

    before = await clock_of(database)
    lateness = await ledger.sent(a_claim(reminder), REPLY, timedelta(seconds=3))
    after = await clock_of(database)

    found = await stored(database, reminder.id)
    assert found.accepted_at is not None
    assert before - timedelta(seconds=3) <= found.accepted_at <= after - timedelta(seconds=3)
    assert lateness == found.lateness_ms
    assert (found.smtp_reply, found.reason) == (REPLY, None)


async def test_what_is_put_off_comes_again_after_the_wait_and_not_before(database: Database, ledger: Ledger) -> None:
    reminder = await a_reminder(database, "marked")

    before = await clock_of(database)
    await ledger.put_off(a_claim(reminder), WAIT, "busy", event="put off", counted=True)
    after = await clock_of(database)

    found = await stored(database, reminder.id)
    assert before + WAIT <= found.next_at <= after + WAIT
    assert (found.reason, found.lease_until, found.marked_at) == ("busy", None, None)
    assert found.due_at == reminder.due_at
    assert await ledger.claim(reminder.id, 1, "here") is None


@pytest.mark.parametrize("status", [Status.FAILED, Status.MISSED, Status.UNCERTAIN])
async def test_what_has_ended_says_why(database: Database, ledger: Ledger, status: Status) -> None:
    reminder = await a_reminder(database, "held")

    await ledger.end(a_claim(reminder), status, "The address was refused.", "550 no such user")

    found = await stored(database, reminder.id)
    assert (found.status, found.reason, found.smtp_reply) == (status, "The address was refused.", "550 no such user")
    assert found.accepted_at is None


async def test_what_is_settled_as_sent_was_taken_about_when_it_was_marked(database: Database, ledger: Ledger) -> None:
    sent, uncertain = [await a_reminder(database, "marked and lapsed") for _ in range(2)]

    await ledger.settle(sent, Status.SENT, None, "250 (remembered)")
    await ledger.settle(uncertain, Status.UNCERTAIN, "nobody knows")

    remembered, unknown = await stored(database, sent.id), await stored(database, uncertain.id)
    assert (remembered.accepted_at, remembered.smtp_reply) == (sent.marked_at, "250 (remembered)")
    assert (unknown.accepted_at, unknown.reason) == (None, "nobody knows")


async def test_an_ending_that_comes_twice_is_refused_the_second_time(database: Database, ledger: Ledger) -> None:
    reminder = await a_reminder(database, "marked")
    claim = a_claim(reminder)

    first = await ledger.sent(claim, REPLY, timedelta(0))
    before = await everything(database, reminder.id)
    again = await ledger.sent(claim, "250 something else", timedelta(0))
    other = await ledger.end(claim, Status.FAILED, "no")

    assert first is not None
    assert (again, other) == (None, False)
    assert await everything(database, reminder.id) == before


# The timeline


async def test_the_timeline_tells_the_story_in_order(database: Database, ledger: Ledger) -> None:
    reminder = await a_reminder(database)

    before = await clock_of(database)
    await ledger.give_back(await claimed(ledger, reminder))
    first = await claimed(ledger, reminder)
    await ledger.put_off(first, timedelta(milliseconds=-1), "busy", event="put off", counted=True)
    second = await claimed(ledger, reminder)
    await ledger.mark(second, b"x")
    await ledger.beat([second])
    await ledger.sent(second, REPLY, timedelta(0))
    after = await clock_of(database)

    found = await stored(database, reminder.id)
    assert [{name: value for name, value in event.items() if name != "at"} for event in found.events] == [
        {"event": "claimed", "attempt": 1, "worker": "here"},
        {"event": "given back", "attempt": 1},
        {"event": "claimed", "attempt": 1, "worker": "here"},
        {"event": "put off", "attempt": 1, "reason": "busy", "after_ms": -1},
        {"event": "claimed", "attempt": 2, "worker": "here"},
        {"event": "sent", "attempt": 2, "reply": REPLY},
    ]
    told = [from_ms(event["at"]) for event in found.events]
    assert [before, *told, after] == sorted([before, *told, after])


async def test_words_of_any_kind_stay_what_they_are_and_on_one_line(database: Database, ledger: Ledger) -> None:
    words = '550 "quoted" {braces} %s %(name)s :name \\ back\nnew line \u2028 é 🎂 \'; DROP TABLE reminders; --'
    reminder = await a_reminder(database, "held")

    await ledger.end(a_claim(reminder), Status.FAILED, words, words)

    found = await stored(database, reminder.id)
    assert (found.reason, found.smtp_reply) == (words, words)
    assert found.timeline.count("\n") == 1
    assert found.events[-1]["reason"] == words


async def test_a_timeline_stops_growing_before_it_is_too_long_and_the_reminder_goes_on(
    database: Database, ledger: Ledger
) -> None:
    line = '{"at": 1, "event": "put off", "reason": "' + "x" * 940 + '"}\n'
    reminder = await a_reminder(database, timeline=line * 59)

    for _ in range(6):
        claim = await claimed(ledger, reminder)
        await ledger.put_off(claim, timedelta(milliseconds=-1), "y" * 900, event="put off", counted=True)
    claim = await claimed(ledger, reminder)
    await ledger.sent(claim, REPLY, timedelta(0))

    found = await stored(database, reminder.id)
    assert 60_000 < len(found.timeline) < 62_000
    assert "put off" in story(found)
    assert found.status == Status.SENT


# Together


async def test_many_claims_at_once_are_each_answered_for_the_reminder_that_they_are_of(
    database: Database, ledger: Ledger
) -> None:
    wanted = [await a_reminder(database, message=f"number {number}") for number in range(60)]
    early = await a_reminder(database, next_at=timedelta(minutes=1))

    claims = await asyncio.gather(*(ledger.claim(each.id, each.rev, "worker") for each in (*wanted, early)))

    assert [claim and claim.id for claim in claims] == [*(each.id for each in wanted), None]
    assert [claim and claim.message for claim in claims[:-1]] == [each.message for each in wanted]
    assert (await stored(database, early.id)).status == Status.SCHEDULED


async def test_what_one_of_many_stumbles_over_keeps_none_of_the_others_from_being_written(
    database: Database, database_url: str, ledger: Ledger
) -> None:
    claims = [await claimed(ledger, await a_reminder(database)) for _ in range(5)]
    refuse(database_url, "smtp_reply")

    answers = await asyncio.gather(
        *(
            ledger.end(claim, Status.FAILED, "why", "550 no" if number == 2 else None)
            for number, claim in enumerate(claims)
        ),
        return_exceptions=True,
    )

    assert [answer is True for answer in answers] == [True, True, False, True, True]
    assert isinstance(answers[2], IntegrityError)
    found = [(await stored(database, claim.id)).status for claim in claims]
    assert found == [Status.FAILED, Status.FAILED, Status.SENDING, Status.FAILED, Status.FAILED]


async def test_what_is_written_together_is_there_for_everybody_when_the_first_is_answered(
    database: Database, database_url: str, ledger: Ledger
) -> None:
    claims = [await claimed(ledger, await a_reminder(database)) for _ in range(20)]
    marks = [asyncio.create_task(ledger.mark(claim, b"letter")) for claim in claims]
    # The first leaves alone; the second takes the others along.
    await marks[1]

    async with Database.open(database_url) as another:
        marked = [(await stored(another, claim.id)).marked_at for claim in claims]

    assert None not in marked
    assert all([await mark for mark in marks])
