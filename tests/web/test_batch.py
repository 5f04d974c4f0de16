"""Many reminders by one request: each judged as if it had come alone, all that are right committed together."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import insert, update

from rmindr.database import now
from rmindr.limits import ASKED_BY_ALL, ASKED_OF_DOMAIN, BY_SENDER
from rmindr.models import Kind, Status
from rmindr.people import consents, people
from tests.servers import Valkey
from tests.web.conftest import Serve
from tests.web.folk import STRICT, browser, mails, rows, sign_up, token
from tests.web.site import CONFIRMED, Site, a_reminder, pointers, problem, soon, statements

ON_ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
BATCH = "/api/reminders/batch"


@pytest.fixture
async def town(serve: Serve) -> AsyncIterator[Site]:
    async with serve(**STRICT) as site:
        yield site


@pytest.fixture
async def ada(town: Site) -> AsyncIterator[Site]:
    """Somebody who is signed in, and the header of their token."""
    async with browser(town) as at:
        await sign_up(at, "ada@example.org")
        at.client.headers.update(await token(at, "reminders:read", "reminders:write"))
        yield at


async def post(site: Site, items: Sequence[Any], **headers: str) -> list[dict[str, Any]]:
    """What becomes of each."""
    answer = await site.client.post(BATCH, json={"items": items}, headers=headers)
    assert answer.status_code == 200, answer.text[:500]
    told: list[dict[str, Any]] = answer.json()["items"]
    assert len(told) == len(items)
    return told


def statuses(told: Sequence[Mapping[str, Any]]) -> list[int]:
    return [each["status"] for each in told]


# What becomes of each


async def test_each_is_answered_in_its_place_and_what_is_right_is_stored_beside_what_is_not(site: Site) -> None:
    items = [
        a_reminder(message="one"),
        a_reminder(to="x"),
        5,
        a_reminder(message="two", when="tomorrow 9am", due_at=None, time_zone="Europe/Paris"),
        a_reminder(priority=1),
        a_reminder(due_at=soon(hours=-1), subject="a\nb"),
        a_reminder(message="three", due_at=None, when="every day 9am"),
    ]

    told = await post(site, items)

    assert statuses(told) == [201, 422, 422, 201, 422, 422, 201]
    assert [each["reminder"]["message"] for each in told if "reminder" in each] == ["one", "two", "three"]
    wrong = [pointers(each["problem"]) for each in told if "problem" in each]
    assert wrong == [{"/items/1/to"}, {"/items/2"}, {"/items/4/priority"}, {"/items/5/due_at", "/items/5/subject"}]
    assert [each["message"] for each in await site.stored()] == ["three", "two", "one"]
    for each in (told[0], told[3], told[6]):
        assert (await site.client.get(f"/api/reminders/{each['reminder']['id']}")).json() == each["reminder"]


async def test_what_repeats_begins_its_series(site: Site) -> None:
    told = await post(site, [a_reminder(due_at=None, when=f"every day {hour}am") for hour in (8, 9)])

    series = [(await site.client.get(f"/api/reminders/{each['reminder']['id']}/series")).json() for each in told]

    assert [each["id"] for each in series] == [each["reminder"]["series_id"] for each in told]
    assert [each["repeats"] for each in series] == ["every day at 08:00", "every day at 09:00"]


@ON_ONE
async def test_each_has_its_alarm_and_what_is_far_off_has_none_yet(site: Site) -> None:
    await post(site, [a_reminder(due_at=soon(hours=hours)) for hours in (1, 2, 72)])

    assert (await site.app.state.queue.jobs.counts())["delayed"] == 2


@ON_ONE
@pytest.mark.parametrize(
    "body",
    [{}, {"items": []}, {"items": None}, {"items": {}}, {"items": "x"}, {"items": [5] * 1001}, {"items": [5], "x": 1}],
)
async def test_what_is_no_batch_is_refused_whole(site: Site, body: dict[str, Any]) -> None:
    said = problem(await site.client.post(BATCH, json=body), 422)

    assert pointers(said) in ({"/items"}, {"/x"})


@ON_ONE
async def test_a_batch_may_have_a_mebibyte(site: Site) -> None:
    items = [a_reminder(message="x" * 930) for _ in range(1000)]
    body = json.dumps({"items": items})
    assert 1_000_000 < len(body) <= 1024 * 1024

    fits = await site.client.post(BATCH, content=body, headers={"Content-Type": "application/json"})
    larger = await site.client.post(BATCH, json={"items": ["x" * 1024 * 1024]})

    assert set(statuses(fits.json()["items"])) == {201}
    problem(larger, 413)


async def test_nobody_known_is_asked_for_a_token(town: Site) -> None:
    problem(await town.client.post(BATCH, json={"items": [a_reminder()]}), 401)

    assert await rows(town) == []


# What it costs


async def test_a_thousand_are_a_few_statements_and_one_commit(site: Site) -> None:
    items = [a_reminder(message=f"{n}", to=f"person{n}@example.org") for n in range(1000)]

    with statements(site) as said:
        told = await post(site, items)

    assert statuses(told) == [201] * 1000
    assert len(said) <= 3
    assert len({each["reminder"]["id"] for each in told}) == 1000
    assert (await site.app.state.queue.jobs.counts())["delayed"] == 1000


@pytest.mark.parametrize("many", [10, 200])
async def test_however_many_they_are_to_agreed_ones_it_is_as_many_statements(serve: Serve, many: int) -> None:
    async with serve(**CONFIRMED) as town, browser(town) as at:
        await sign_up(at, "ada@example.com")
        header = await token(at, "reminders:write")
        warm = await at.client.post(BATCH, json={"items": [a_reminder()]}, headers=header)
        assert statuses(warm.json()["items"]) == [201]

        with statements(town) as said:
            items = [a_reminder(to=f"person{n}@example.org") for n in range(many - 1)]
            answer = await at.client.post(BATCH, json={"items": items}, headers=header)

        assert statuses(answer.json()["items"]) == [201] * (many - 1)
        assert len(said) <= 10


# Idempotency


async def test_the_same_batch_by_the_same_key_is_the_same_reminders(site: Site) -> None:
    items = [a_reminder(message=f"{n}") for n in range(3)]

    first = await post(site, items, **{"Idempotency-Key": "one"})
    again = await post(site, items, **{"Idempotency-Key": "one"})

    assert again == first
    assert len(await site.stored()) == 3


async def test_another_batch_by_the_same_key_is_refused_whole(site: Site) -> None:
    items = [a_reminder(message=f"{n}") for n in range(3)]
    await post(site, items, **{"Idempotency-Key": "one"})

    for other in (items[:2], [*items, a_reminder()], items[::-1], [a_reminder(to="x")]):
        answer = await site.client.post(BATCH, json={"items": other}, headers={"Idempotency-Key": "one"})
        assert problem(answer, 422)["title"] == "Idempotency-Key used before"

    assert len(await site.stored()) == 3


@ON_ONE
async def test_a_shorter_batch_is_another_one_even_where_its_items_were_refused_before(site: Site) -> None:
    key = {"Idempotency-Key": "one"}
    await post(site, [a_reminder(to="x"), a_reminder()], **key)

    problem(await site.client.post(BATCH, json={"items": [a_reminder()]}, headers=key), 422)


async def test_what_was_refused_is_tried_again_and_what_was_taken_is_not(ada: Site) -> None:
    items = [a_reminder(to="ada@example.org", message=f"{n}") for n in range(2)]
    owner = (await ada.app.state.people.at("ada@example.org")).owner
    for _ in range(BY_SENDER.count - 1):
        await ada.app.state.limits.take((BY_SENDER, owner))
    first = await post(ada, items, **{"Idempotency-Key": "one"})
    async with ada.app.state.database.statements() as connection:
        await connection.exec_driver_sql("DELETE FROM buckets")

    again = await post(ada, items, **{"Idempotency-Key": "one"})

    assert (statuses(first), statuses(again)) == ([201, 429], [201, 201])
    assert again[0] == first[0]
    assert first[1]["retry_after"] > 60


async def test_ten_at_once_with_one_key_make_one_batch(site: Site) -> None:
    items = [a_reminder(message=f"{n}") for n in range(5)]

    told = await asyncio.gather(*(post(site, items, **{"Idempotency-Key": "one"}) for _ in range(10)))

    assert all(each == told[0] for each in told)
    assert len(await site.stored()) == 5


@ON_ONE
async def test_the_key_of_a_batch_is_no_key_of_a_single_one(site: Site) -> None:
    key = {"Idempotency-Key": "one"}
    await post(site, [a_reminder()], **key)

    assert (await site.client.post("/api/reminders", json=a_reminder(), headers=key)).status_code == 201
    assert len(await site.stored()) == 2


# As if each had come alone


async def a_neighbourhood(at: Site) -> None:
    """Whom Ada may remind, whom not, and who has never been asked."""
    async with at.app.state.database.transaction() as connection:
        known = {}
        for name in ("agreed", "asked", "refused", "blocked", "stopped"):
            known[name] = await at.app.state.people.lock(connection, f"{name}@example.org")
        me = (await at.app.state.people.at("ada@home.example")).id
        for name, state in (("agreed", "agreed"), ("asked", "asked"), ("refused", "refused"), ("stopped", "agreed")):
            values = {"sender_id": me, "recipient_id": known[name].id, "state": state, "asked_at": now()}
            await connection.execute(insert(consents).values(**values))
        stopped = people.c.mailbox.in_(("blocked@example.org", "stopped@example.org"))
        await connection.execute(update(people).where(stopped).values(blocked_at=now()))


NEIGHBOURS = (
    *("ada@home.example", "agreed@example.org", "asked@example.org", "refused@example.org", "blocked@example.org"),
    *("stopped@example.org", "new@example.org", "New@example.org", "new+1@example.org", "new+2@example.org"),
    *("new+3@example.org", "new@elsewhere.example", "ada@home.example", "friend@example.com"),
)


@pytest.mark.parametrize("settings", [STRICT, CONFIRMED], ids=["nobody listed", "some listed"])
async def test_a_batch_is_what_the_same_would_be_one_by_one(serve: Serve, settings: dict[str, Any]) -> None:
    items = [a_reminder(to=to, message=f"{n}") for n, to in enumerate(NEIGHBOURS)]
    results = {}
    async with serve(**settings) as town:
        for way in ("alone", "together"):
            async with town.app.state.database.statements() as connection:
                for table in ("reminders", "people", "consents", "tokens", "links", "buckets", "sessions"):
                    await connection.exec_driver_sql(f"DELETE FROM {table}")
            async with browser(town) as at:
                await sign_up(at, "ada@home.example")
                await a_neighbourhood(at)
                header = await token(at, "reminders:read", "reminders:write")
                for _ in range(ASKED_OF_DOMAIN.count):
                    await town.app.state.limits.take((ASKED_OF_DOMAIN, "elsewhere.example"))
                if way == "alone":
                    answers = [await at.client.post("/api/reminders", json=item, headers=header) for item in items]
                    said = [outcome(each.status_code, each.json()) for each in answers]
                else:
                    answer = await at.client.post(BATCH, json={"items": items}, headers=header)
                    said = [outcome(e["status"], e.get("reminder") or e["problem"]) for e in answer.json()["items"]]
            results[way] = (said, await left_behind(town))

    assert results["together"] == results["alone"]
    assert {status for status, *_ in results["alone"][0]} == {201, 202, 429}


def outcome(status: int, said: Mapping[str, Any]) -> tuple[Any, ...]:
    """What one was answered, but for what is another each time."""
    if status < 400:
        return status, said["status"], said["to"]
    return status, said["title"], said["detail"]


async def left_behind(town: Site) -> dict[str, Any]:
    """What stands in the database afterwards, but for ids and instants."""
    async with town.app.state.database.statements() as connection:
        known = (await connection.execute(people.select().order_by(people.c.mailbox))).mappings().all()
        names = {each["id"]: each["mailbox"] for each in known}
        agreed = [
            (names[each.recipient_id], each.state) for each in (await connection.execute(consents.select())).all()
        ]
    (owner,) = {each["owner"] for each in known if each["mailbox"] == "ada@home.example"}
    counted = ((BY_SENDER, owner), (ASKED_BY_ALL, ""), (ASKED_OF_DOMAIN, "example.org"))
    stored = [(each["recipient"], each["status"], each["kind"]) for each in await rows(town)]
    return {
        "people": [(each["mailbox"], each["blocked_at"] is not None) for each in known],
        "consents": sorted(agreed),
        "rows": sorted(map(str, stored)),
        "left": [(await town.app.state.limits.take(each))[0].count for each in counted],
    }


async def test_the_pending_of_one_address_are_counted_within_the_batch(ada: Site) -> None:
    told = await post(ada, [a_reminder(to="ada@example.org", message=f"{n}") for n in range(120)])

    # One waits already: that by which she signed up.
    assert statuses(told) == [201] * 99 + [429] * 21
    assert "wait for one address" in told[-1]["problem"]["detail"]


async def test_the_day_s_count_is_of_what_is_taken_and_no_more(ada: Site) -> None:
    async with ada.app.state.database.statements() as connection:
        await connection.execute(update(people).values(blocked_at=now()))
    refused = await post(ada, [a_reminder(to="ada@example.org") for _ in range(150)])
    async with ada.app.state.database.statements() as connection:
        await connection.execute(update(people).values(blocked_at=None))

    first = await post(ada, [a_reminder(to="ada@example.org") for _ in range(90)])
    told = await ada.client.post(BATCH, json={"items": [a_reminder(to="x@y.example")]})

    assert statuses(refused) == [422] * 150
    assert statuses(first) == [201] * 90
    assert remaining(told, "sender") == 200 - 91


def remaining(answer: httpx.Response, limit: str) -> int:
    """How many are left of a limit, where it is the scarcest."""
    name, _, rest = answer.headers["RateLimit"].partition(";r=")
    assert name == f'"{limit}"', answer.headers["RateLimit"]
    return int(rest.partition(";")[0])


async def test_of_strangers_so_many_are_asked_as_one_may_ask_and_the_rest_leaves_nothing(ada: Site) -> None:
    for _ in range(ASKED_BY_ALL.count - 4):
        await ada.app.state.limits.take((ASKED_BY_ALL, ""))

    told = await post(ada, [a_reminder(to=f"stranger{n}@d{n}.example") for n in range(6)])

    assert statuses(told) == [202] * 3 + [429] * 3
    asked = [to for _, to, _ in await mails(ada, kind=Kind.AGREE)]
    assert asked == [f"stranger{n}@d{n}.example" for n in range(3)]
    async with ada.app.state.database.statements() as connection:
        known = (await connection.execute(people.select())).mappings().all()
    assert sorted(each["mailbox"] for each in known) == ["ada@example.org", *asked]


async def test_two_batches_at_once_take_no_more_than_the_limit_together(ada: Site) -> None:
    items = [a_reminder(to="ada@example.org", message=f"{n}") for n in range(70)]

    told = await asyncio.gather(*(post(ada, items) for _ in range(3)))

    assert sum(statuses(each).count(201) for each in told) == 99
    waiting = [each for each in await rows(ada) if each["status"] == Status.SCHEDULED and each["kind"] == Kind.REMINDER]
    assert len(waiting) == 100


@ON_ONE
async def test_without_a_queue_they_are_taken_all_the_same(serve: Serve, own_valkey: Valkey) -> None:
    async with serve(REDIS_URL=own_valkey.url) as site:
        own_valkey.kill()

        told = await post(site, [a_reminder() for _ in range(3)])

    assert statuses(told) == [201] * 3
    assert {UUID(each["reminder"]["id"]).version for each in told} == {7}
