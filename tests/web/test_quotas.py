"""How much is left: limits told with each answer that was counted, and when to come again told with each that was refused."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import pytest

from rmindr.limits import BY_CLIENT, BY_SENDER, BY_TOKEN, Limits
from tests.deliveries import Away
from tests.servers import Valkey
from tests.web.conftest import Serve
from tests.web.folk import STRICT, browser, sign_up, token
from tests.web.site import Site, a_reminder, problem, statements

ON_ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
POLICY: Final = re.compile(r'"([a-z ]+)";q=(\d+);w=(\d+)')
LEFT: Final = re.compile(r'"([a-z ]+)";r=(\d+);t=(\d+)')


@pytest.fixture
async def town(serve: Serve) -> AsyncIterator[Site]:
    async with serve(**STRICT) as site:
        yield site


@pytest.fixture
async def ada(town: Site) -> AsyncIterator[Site]:
    """Somebody who is signed in."""
    async with browser(town) as at:
        await sign_up(at, "ada@example.org")
        yield at


def policies(answer: httpx.Response) -> dict[str, tuple[int, int]]:
    """The limits that counted a request: quota and window by name."""
    parts = answer.headers["RateLimit-Policy"].split(", ")
    found = [POLICY.fullmatch(part) for part in parts]
    return {each[1]: (int(each[2]), int(each[3])) for each in found if each is not None}


def left(answer: httpx.Response) -> tuple[str, int, int]:
    """What is left of the scarcest: its name, how many, and in how many seconds all."""
    found = LEFT.fullmatch(answer.headers["RateLimit"])
    assert found is not None, answer.headers["RateLimit"]
    return found[1], int(found[2]), int(found[3])


async def exhaust(site: Site, limit: Any, whom: str) -> None:
    """Take all there is."""
    limits: Limits = site.app.state.limits
    await asyncio.gather(*(limits.take((limit, whom)) for _ in range(limit.count)))


async def test_an_answer_tells_the_limits_that_counted_it_and_what_is_left_of_the_scarcest(ada: Site) -> None:
    header = await token(ada, "reminders:write")
    body = a_reminder(to="ada@example.org")

    first, second = [await ada.client.post("/api/reminders", json=body, headers=header) for _ in range(2)]

    assert policies(first) == policies(second) == {"token": (100, 60), "sender": (200, 86400)}
    assert (first.status_code, second.status_code) == (201, 201)
    assert left(first) == ("token", 99, 1)


@ON_ONE
async def test_of_two_limits_the_one_nearer_to_its_end_is_told(ada: Site) -> None:
    header = await token(ada, "reminders:write")
    person = (await ada.app.state.people.at("ada@example.org")).owner
    for _ in range(BY_SENDER.count - 11):
        await ada.app.state.limits.take((BY_SENDER, person))

    answer = await ada.client.post("/api/reminders", json=a_reminder(to="ada@example.org"), headers=header)

    # One was for the reminder by which she signed up, as nobody known; that is another count.
    assert left(answer)[:2] == ("sender", 10)


async def test_what_changes_is_counted_and_what_reads_is_not(ada: Site) -> None:
    header = await token(ada, "reminders:read", "reminders:write")
    made = await ada.client.post("/api/reminders", json=a_reminder(to="ada@example.org"), headers=header)
    path = made.headers["Location"]

    reads = [await ada.client.get(each, headers=header) for each in (path, "/api/reminders")]
    writes = [
        await ada.client.patch(path, json={"message": "New"}, headers=header),
        await ada.client.post(f"{path}/now", headers=header),
        await ada.client.post(f"{path}/copy", json={"due_at": "2099-01-01T09:00Z"}, headers=header),
        await ada.client.post("/api/reminders", json={}, headers=header),
        await ada.client.delete(path, headers=header),
    ]

    assert [answer.status_code for answer in (*reads, *writes)] == [200, 200, 200, 200, 201, 422, 200]
    assert not any("RateLimit" in answer.headers or "RateLimit-Policy" in answer.headers for answer in reads)
    assert all("token" in policies(answer) for answer in writes)


async def test_a_program_gone_wild_is_told_when_to_come_again_and_costs_nobody_else(ada: Site) -> None:
    header, other = [await token(ada, "reminders:write") for _ in range(2)]
    shown = await ada.app.state.tokens.bearer(header["Authorization"].partition(" ")[2])
    await exhaust(ada, BY_TOKEN, str(shown.token))

    refused = await ada.client.post("/api/reminders", json=a_reminder(to="ada@example.org"), headers=header)
    taken = await ada.client.post("/api/reminders", json=a_reminder(to="ada@example.org"), headers=other)

    assert problem(refused, 429)["detail"] == "That is more than 100 requests a minute."
    assert left(refused)[:2] == ("token", 0)
    assert int(refused.headers["Retry-After"]) >= 1
    assert taken.status_code == 201


@ON_ONE
async def test_nobody_known_is_told_their_own_limit_alone(town: Site) -> None:
    answers = [
        await town.client.post("/api/reminders", json=a_reminder(to=f"stranger{n}@example.com")) for n in range(2)
    ]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert [policies(answer) for answer in answers] == [{"client": (20, 3600)}] * 2
    assert [left(answer)[:2] for answer in answers] == [("client", 19), ("client", 18)]


@ON_ONE
async def test_a_limit_that_refuses_is_told_with_nothing_left(town: Site) -> None:
    await exhaust(town, BY_CLIENT, "127.0.0.1")

    answer = await town.client.post("/api/reminders", json=a_reminder())

    problem(answer, 429)
    assert left(answer)[:2] == ("client", 0)
    assert int(answer.headers["Retry-After"]) == left(answer)[2] <= 180


@ON_ONE
async def test_where_nothing_is_limited_nothing_is_told_of_limits(site: Site) -> None:
    answer = await site.client.post("/api/reminders", json=a_reminder())

    assert answer.status_code == 201
    assert "RateLimit" not in answer.headers


# What it costs


async def test_reading_with_a_token_costs_two_statements_and_none_of_them_writes(ada: Site) -> None:
    header = await token(ada, "reminders:read")
    path = f"/api/reminders/{(await ada.client.get('/api/reminders', headers=header)).json()['items'][0]['id']}"

    with statements(ada) as said:
        assert (await ada.client.get(path, headers=header)).status_code == 200

    assert [each.split()[0] for each in said] == ["SELECT", "SELECT"]


async def test_the_limit_of_a_token_costs_one_statement(ada: Site) -> None:
    header = await token(ada, "reminders:write")
    await ada.client.post("/api/reminders", json={}, headers=header)

    with statements(ada) as said:
        problem(await ada.client.post("/api/reminders", json={}, headers=header), 422)
    with statements(ada) as more:
        problem(await ada.client.post("/api/reminders/x/now", headers=header), 404)

    assert [each.split()[0] for each in said] == [each.split()[0] for each in more] == ["SELECT", "INSERT"]


# Retry-After


async def test_without_a_database_every_answer_says_when_to_come_again(site: Site, away: Away) -> None:
    path = f"/api/reminders/{(await site.post())['id']}"
    away.go()

    answers = [
        await site.client.get("/healthz"),
        await site.client.get("/api/reminders"),
        await site.client.get(path),
        await site.client.post("/api/reminders", json=a_reminder()),
        await site.client.post("/api/reminders/batch", json={"items": [a_reminder()]}),
        await site.client.patch(path, json={"message": "New"}),
        await site.client.delete(path),
        await site.client.post(f"{path}/done"),
    ]
    away.come_back()

    assert [(each.status_code, each.headers.get("Retry-After")) for each in answers] == [(503, "5")] * len(answers)


@ON_ONE
async def test_without_a_queue_every_answer_says_when_to_come_again(serve: Serve, own_valkey: Valkey) -> None:
    async with serve(REDIS_URL=own_valkey.url) as site:
        own_valkey.kill()
        answers = [await site.client.post("/queue/api/job", json=body) for body in ({"type": "x"}, [{"type": "x"}])]
        answers.append(await site.client.get("/queue/api/stats"))

    assert [(each.status_code, each.headers.get("Retry-After")) for each in answers] == [(503, "5")] * 3
