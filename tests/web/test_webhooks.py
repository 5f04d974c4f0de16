"""Webhooks on the web: by the API with a token for that, on the account's page, and nowhere where they are off."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import select, update

from rmindr.database import now
from rmindr.models import Kind
from rmindr.tokens import Scope
from rmindr.webhooks.outbox import calls, hooks
from tests.web.conftest import Serve
from tests.web.folk import STRICT, browser, link, press, sign_up, token
from tests.web.site import NOBODYS, Page, Site, a_form, pointers, problem

URL = "https://hooks.example.org/rmindr"
ALL = {"reminder.sent": "yes", "reminder.failed": "yes", "reminder.missed": "yes", "reminder.uncertain": "yes"}


@pytest.fixture
async def town(serve: Serve) -> AsyncIterator[Site]:
    async with serve(**STRICT, webhooks="on") as site:
        yield site


@pytest.fixture
async def ada(town: Site) -> AsyncIterator[Site]:
    async with browser(town) as at:
        await sign_up(at, "ada@example.org")
        yield at


@pytest.fixture
async def bob(town: Site) -> AsyncIterator[Site]:
    async with browser(town) as at:
        await sign_up(at, "bob@example.org")
        yield at


async def made(at: Site, header: dict[str, str], **body: Any) -> dict[str, Any]:
    answer = await at.client.post("/api/webhooks", json={"url": URL} | body, headers=header)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def bodies(at: Site) -> list[dict[str, Any]]:
    """What is on its way to programs, oldest first."""
    async with at.app.state.database.statements() as connection:
        found = (await connection.execute(select(calls.c.body).order_by(calls.c.id))).scalars().all()
    return [json.loads(each) for each in found]


# By the API


async def test_a_webhook_is_made_with_a_secret_that_is_told_once(ada: Site) -> None:
    header = await token(ada, "webhooks:manage")

    new = await made(ada, header, events=["reminder.failed"])
    listed = (await ada.client.get("/api/webhooks", headers=header)).json()

    secret = new.pop("secret")
    assert secret.startswith("whsec_")
    assert listed == {"items": [new]}
    assert (new["url"], new["events"], new["last_answer"], new["stopped_at"]) == (URL, ["reminder.failed"], None, None)
    assert secret not in (await ada.see("/account")).html


async def test_it_is_told_of_every_ending_unless_some_are_chosen(ada: Site) -> None:
    new = await made(ada, await token(ada, "webhooks:manage"))

    assert new["events"] == sorted(ALL)


async def test_only_a_token_for_webhooks_sees_or_makes_any(ada: Site) -> None:
    others = await token(ada, "reminders:read", "reminders:write")
    new = await made(ada, await token(ada, "webhooks:manage"))

    for method, path in (
        ("GET", "/api/webhooks"), ("POST", "/api/webhooks"), ("POST", f"/api/webhooks/{new['id']}/test"),
        ("DELETE", f"/api/webhooks/{new['id']}"),
    ):  # fmt: skip
        body = {"json": {"url": URL}} if (method, path) == ("POST", "/api/webhooks") else {}
        problem(await ada.client.request(method, path, headers=others, **body), 403)
        problem(await ada.client.request(method, path, **body), 401)


async def test_of_another_person_s_webhooks_nothing_can_be_told(ada: Site, bob: Site) -> None:
    new = await made(ada, await token(ada, "webhooks:manage"))
    of_bob = await token(bob, "webhooks:manage")

    for id in (new["id"], NOBODYS, "x"):
        for method, path in (("DELETE", f"/api/webhooks/{id}"), ("POST", f"/api/webhooks/{id}/test")):
            problem(await bob.client.request(method, path, headers=of_bob), 404)
        for act in ("test", "resume", "delete"):
            problem(await bob.client.post(f"/account/webhooks/{id}/{act}"), 404)

    assert (await bob.client.get("/api/webhooks", headers=of_bob)).json() == {"items": []}
    assert await bodies(ada) == []


async def test_a_test_event_is_on_its_way_and_an_ended_webhook_gets_none(ada: Site) -> None:
    header = await token(ada, "webhooks:manage")
    path = f"/api/webhooks/{(await made(ada, header))['id']}"

    tried = await ada.client.post(f"{path}/test", headers=header)
    told = await bodies(ada)
    ended = await ada.client.delete(path, headers=header)

    assert (tried.status_code, [each["type"] for each in told]) == (202, ["webhook.test"])
    assert (ended.status_code, ended.content) == (204, b"")
    assert await bodies(ada) == []
    problem(await ada.client.post(f"{path}/test", headers=header), 404)


async def test_test_events_are_not_as_many_as_somebody_likes(ada: Site) -> None:
    header = await token(ada, "webhooks:manage")
    path = f"/api/webhooks/{(await made(ada, header))['id']}"

    answers = [(await ada.client.post(f"{path}/test", headers=header)).status_code for _ in range(12)]
    on_the_page = await ada.submit(f"/account{path.removeprefix('/api')}/test")

    assert answers == [202] * 10 + [429] * 2
    assert on_the_page.status_code == 429
    assert len(await bodies(ada)) == 10


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "/url"),
        ({"url": "http://example.org"}, "/url"),
        ({"url": "https://127.0.0.1/"}, "/url"),
        ({"url": "https://user:pw@example.org/"}, "/url"),
        ({"url": URL, "events": []}, "/events"),
        ({"url": URL, "events": ["reminder.created"]}, "/events/0"),
        ({"url": URL, "secret": "whsec_x"}, "/secret"),
        ({"url": URL, "owner": "x"}, "/owner"),
    ],
)
async def test_what_cannot_be_a_webhook_is_refused_by_field(ada: Site, body: dict[str, Any], where: str) -> None:
    header = await token(ada, "webhooks:manage")

    said = problem(await ada.client.post("/api/webhooks", json=body, headers=header), 422)

    assert (pointers(said), said["title"]) == ({where}, "Not understood")
    assert (await ada.client.get("/api/webhooks", headers=header)).json() == {"items": []}


async def test_there_are_a_few_at_most(ada: Site) -> None:
    header = await token(ada, "webhooks:manage")
    for _ in range(5):
        await made(ada, header)

    said = problem(await ada.client.post("/api/webhooks", json={"url": URL}, headers=header), 422)

    assert said["errors"] == [{"pointer": "/url", "detail": "would be one too many: there may be 5"}]


# On the account's page


async def test_a_webhook_is_made_tried_and_ended_on_the_account_s_page(ada: Site) -> None:
    shown = Page(await ada.submit("/account/webhooks", url=f" {URL} ", **{"reminder.failed": "yes"}))
    account = await ada.see("/account")
    (test,) = [given["action"] for tag, given in account.tags if tag == "form" and given["action"].endswith("/test")]
    tried = await ada.submit(test)
    await ada.submit(test.replace("/test", "/delete"))
    after = await ada.see("/account")

    assert shown.texts["secret"].startswith("whsec_")
    assert shown.texts["secret"] not in account.html
    assert "Told when a reminder could not be sent." in " ".join(account.text.split())
    assert tried.headers["Location"] == "/account#webhooks"
    assert URL not in after.html


async def test_what_cannot_be_one_is_said_beside_the_field_and_kept(ada: Site) -> None:
    nowhere = Page(await ada.submit("/account/webhooks", url='https://localhost:22/"<b>', **ALL))
    nothing = Page(await ada.submit("/account/webhooks", url=URL))

    assert (nowhere.status, nowhere.title) == (422, "Error: Your account · rmindr")
    assert nowhere.values["url"] == 'https://localhost:22/"<b>'
    assert "must have port 443" in nowhere.texts["url-wrong"]
    assert (nothing.status, "events-wrong" in nothing.texts) == (422, True)


async def test_an_owner_is_told_that_a_webhook_fails_or_was_stopped_and_takes_it_up_again(ada: Site) -> None:
    await ada.submit("/account/webhooks", url=URL, **ALL)

    async def account(**values: Any) -> Page:
        async with ada.app.state.database.statements() as connection:
            await connection.execute(update(hooks).values(**values))
        return await ada.see("/account")

    fine, failing = await ada.see("/account"), await account(failing_since=now() - 5000)
    stopped = await account(stopped_at=now())
    (resume,) = [given["action"] for tag, given in stopped.tags if given.get("action", "").endswith("/resume")]
    await ada.submit(resume)
    again = await ada.see("/account")

    assert ["Failing" in page.text for page in (fine, failing, stopped, again)] == [False, True, False, False]
    assert ["Stopped" in page.text for page in (fine, failing, stopped, again)] == [False, False, True, False]


async def test_no_other_site_makes_or_ends_one(ada: Site) -> None:
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    await ada.submit("/account/webhooks", url=URL, **ALL)
    account = await ada.see("/account")
    (delete,) = [
        each["action"]
        for tag, each in account.tags
        if "/webhooks/" in each.get("action", "") and "delete" in each["action"]
    ]

    refused = [
        await ada.submit("/account/webhooks", headers=elsewhere, url=URL, **ALL),
        await ada.submit(delete, headers=elsewhere),
    ]

    assert [each.status_code for each in refused] == [403, 403]
    assert (await ada.see("/account")).html.count(f"<b>{URL}</b>") == 1


# What is missed because nobody agreed in time


async def test_what_was_agreed_to_too_late_is_told_as_missed(town: Site, ada: Site) -> None:
    await ada.submit("/account/webhooks", url=URL, **ALL)
    await ada.submit(**a_form(to="eve@example.org", key="2"))
    from rmindr.ledger import reminders, row

    async with town.app.state.database.statements() as connection:
        mine = row.recipient == "eve@example.org"
        await connection.execute(update(reminders).where(mine, row.kind == Kind.REMINDER).values(due_at=now() - 1000))
    async with browser(town) as eve:
        await press(eve, await link(town, Kind.AGREE, "eve@example.org"), answer="yes")

    (told,) = await bodies(ada)
    assert (told["type"], told["data"]["to"]) == ("reminder.missed", "eve@example.org")


# In the description


async def test_they_are_described_like_all_else(town: Site) -> None:
    described = (await town.client.get("/openapi.json")).json()
    page = await town.see("/docs")

    answers = {
        f"{method.upper()} {path}": sorted(operation["responses"])
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
        if "webhooks" in path
    }
    assert answers == {
        "GET /api/webhooks": ["200", "400", "401", "403", "404", "503"],
        "POST /api/webhooks": ["201", "400", "401", "403", "404", "408", "413", "415", "422", "503"],
        "POST /api/webhooks/{id}/test": ["202", "400", "401", "403", "404", "429", "503"],
        "DELETE /api/webhooks/{id}": ["204", "400", "401", "403", "404", "503"],
    }
    assert "HTTPValidationError" not in str(described)
    assert "Have a program told how your reminders end" in page.text
    assert "Where it is called: https" in page.text


# Off


async def test_where_they_are_off_there_are_none(serve: Serve) -> None:
    async with serve(**STRICT) as site, browser(site) as ada:
        await sign_up(ada, "ada@example.org")
        page = await ada.see("/account")
        refused = Page(await ada.submit("/account/tokens", name="x", **{Scope.WEBHOOKS: "yes"}))
        header = await token(ada, "reminders:read")

        assert "webhooks" not in page.html.lower()
        assert refused.status == 422
        for method, path in (("GET", "/api/webhooks"), ("POST", "/api/webhooks"), ("POST", "/account/webhooks")):
            problem(await ada.client.request(method, path, headers=header), 404)
        assert "/api/webhooks" not in (await ada.client.get("/openapi.json")).json()["paths"]


async def test_an_open_instance_has_nobody_to_have_any(serve: Serve) -> None:
    async with serve(webhooks="on") as site:
        for method in ("GET", "POST"):
            body = {"json": {"url": URL}} if method == "POST" else {}
            problem(await site.client.request(method, "/api/webhooks", **body), 404)
