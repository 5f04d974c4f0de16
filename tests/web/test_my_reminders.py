"""A person's own pages: what is to come and what became of the rest, later, done, now, undo; tokens; all of it taken along."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from fastapi.routing import APIRoute
from sqlalchemy import select, update

from rmindr.afterwards import Before
from rmindr.database import Database, now
from rmindr.ledger import reminders, row
from rmindr.models import Kind, Status
from rmindr.people import people
from rmindr.signing import Purpose
from rmindr.tokens import tokens
from rmindr.web import api, calendar, doors, my_reminders, one_reminder, pages
from rmindr.web.undo import undo_of_later
from tests.deliveries import STANDINGS, stored, story
from tests.web.conftest import Serve
from tests.web.folk import STRICT, browser, plan, rows, sign_up, token
from tests.web.site import BROWSER, Page, Site, a_form, a_reminder, problem


@pytest.fixture
async def town(serve: Serve) -> AsyncIterator[Site]:
    async with serve(**STRICT) as site:
        yield site


@pytest.fixture
async def ada(town: Site) -> AsyncIterator[Site]:
    """Somebody who is signed in, with one reminder for tomorrow."""
    async with browser(town) as at:
        await sign_up(at, "ada@example.org", message="Call mum")
        yield at


async def mine(at: Site, **values: Any) -> UUID:
    """The id of the newest reminder, brought into this standing."""
    async with at.app.state.database.statements() as connection:
        newest = select(row.id).where(row.kind == Kind.REMINDER).order_by(row.id.desc()).limit(1)
        id = UUID(str((await connection.execute(newest)).scalar_one()))
        if values:
            await connection.execute(update(reminders).where(row.id == id).values(**values))
    return id


SENT: dict[str, Any] = {"status": Status.SENT, "accepted_at": now(), "due_at": now() - 5000, "attempt": 1, "fence": 1}


def status_on(page: Page) -> str:
    return page.attributes["reminder"]["data-status"]


# The list


async def test_what_is_to_come_stands_by_day_soonest_first(ada: Site) -> None:
    for number, day in enumerate(("2031-05-02", "2031-05-01", "2031-05-02")):
        await ada.submit(
            **a_form(to="ada@example.org", message=f"M{number}", date=day, time=f"1{number}:00", key=day + str(number))
        )

    page = await ada.see("/reminders")

    headings = [given["id"] for tag, given in page.tags if tag == "h2"]
    assert headings[1:] == ["d2031-05-01", "d2031-05-02"]
    order = [page.text.index(word) for word in ("Call mum", "M1", "M0", "M2")]
    assert order == sorted(order)


async def test_each_end_has_its_shelf_and_its_count(ada: Site) -> None:
    shelves = {
        "upcoming": ["unconfirmed", "not yet due", "put off", "held"], "done": ["sent"], "failed": ["failed", "uncertain"],
        "missed": ["missed"], "cancelled": ["cancelled"],
    }  # fmt: skip
    for standing in (each for standings in shelves.values() for each in standings):
        await ada.submit(**a_form(to="ada@example.org", message=standing, key=standing))
        values = {name: value for name, value in STANDINGS[standing].items() if not isinstance(value, timedelta)}
        await mine(ada, **values)

    counts = {}
    for shelf, standings in shelves.items():
        page = await ada.see(f"/reminders?show={shelf}")
        assert all(standing in page.text for standing in standings), shelf
        (counts[shelf],) = [
            text.split()[-1] for href, text in page.links if f"show={shelf}" in href and "after" not in href
        ]

    assert counts == {"upcoming": "5", "done": "1", "failed": "2", "missed": "1", "cancelled": "1"}


async def test_an_empty_list_teaches_and_a_search_that_finds_nothing_says_so(ada: Site) -> None:
    assert "nothing failed" in (await ada.see("/reminders?show=failed")).text
    assert "Nothing here says «xyz»" in (await ada.see("/reminders?q=xyz")).text


@pytest.mark.parametrize("words", ["MUM", "call mum", "ada@", "mum ada"])
async def test_a_search_finds_words_wherever_they_stand(ada: Site, words: str) -> None:
    await ada.submit(**a_form(to="ada@example.org", message="Water plants", key="2"))

    page = Page(await ada.client.get("/reminders", params={"q": words}, headers=BROWSER))

    assert "Call mum" in page.text
    assert "Water plants" not in page.text or words == "ada@"


@pytest.mark.parametrize("words", ["%", "_", "100%", "\\", "' OR 1=1 --", "xq\x00", "a" * 5000])
async def test_a_search_for_signs_finds_what_has_them(ada: Site, words: str) -> None:
    page = Page(await ada.client.get("/reminders", params={"q": words}, headers=BROWSER))

    assert page.status == 200
    assert "Call mum" not in page.text


async def test_pages_keep_their_place_when_others_are_added_or_go(ada: Site) -> None:
    for number in range(60):
        made = await ada.submit(
            **a_form(to="ada@example.org", message=f"M{number:02}", date="2031-05-01", key=str(number))
        )
        assert made.status_code == 303, made.text
    seen: list[str] = []
    path = "/reminders"
    while path:
        page = await ada.see(path)
        here = [href for href, _ in page.links if href.startswith("/reminders/")]
        seen += here
        await ada.submit(f"{here[0]}/cancel")
        await ada.submit(**a_form(to="ada@example.org", message="New", date="2030-01-01", key=path))
        path = next((href for href, text in page.links if text == "Further"), "")

    assert (len(seen), len(set(seen))) == (61, 61)


@pytest.mark.parametrize(
    "query", ["show=nothing", "after=x", "after=1.2", "after=99999999999999999999.x", "show=done&after=-1.00"]
)
async def test_an_address_that_was_tampered_with_shows_the_beginning(ada: Site, query: str) -> None:
    assert (await ada.see(f"/reminders?{query}")).status == 200


# Later, done, now, undo


async def test_later_moves_what_waits_and_the_mail_comes_only_then(ada: Site) -> None:
    id = await mine(ada)
    before = datetime.now(UTC)

    answer = await ada.submit(f"/reminders/{id}/snooze", **{"in": "1h"})

    found = await stored(ada.app.state.database, id)
    assert answer.headers["Location"].startswith(f"/reminders/{id}?undo=")
    assert timedelta(minutes=59) < found.due_at - before < timedelta(minutes=61)
    assert (found.status, found.rev, story(found)[-1]) == (Status.SCHEDULED, 2, "snoozed")


async def test_what_has_come_comes_again_tomorrow_at_nine_of_its_own_clock(ada: Site) -> None:
    id = await mine(ada, **SENT)

    await ada.submit(f"/reminders/{id}/snooze", **{"in": "tomorrow"})

    found = await stored(ada.app.state.database, id)
    assert (found.status, found.accepted_at, found.attempt) == (Status.SCHEDULED, None, 0)
    assert "T09:00:00+0" in found.due_at.astimezone(ZoneInfo("Europe/Paris")).isoformat()


@pytest.mark.parametrize(
    "typed",
    [{}, {"in": "never"}, {"date": "2020-01-01", "time": "09:00"}, {"date": "2031-02-30", "time": "09:00"},
     {"date": "9999-12-31", "time": "23:59"}, {"date": "2031-01-01", "time": "25:00"}, {"date": "a" * 2000, "time": "\x00"}],
    ids=str,
)  # fmt: skip
async def test_a_later_that_is_no_time_to_come_is_refused_and_keeps_what_was_typed(
    ada: Site, typed: dict[str, str]
) -> None:
    id = await mine(ada)

    page = Page(await ada.submit(f"/reminders/{id}/snooze", **typed))

    assert (page.status, page.title) == (422, "Error: Remind me later · rmindr")
    assert (await stored(ada.app.state.database, id)).rev == 1


async def test_done_puts_away_what_has_come_and_stops_what_has_not(ada: Site) -> None:
    waiting = await mine(ada)
    await ada.submit(**a_form(to="ada@example.org", message="Sent one", key="2"))
    sent = await mine(ada, **SENT)

    for id in (waiting, sent):
        await ada.submit(f"/reminders/{id}/done")
        await ada.submit(f"/reminders/{id}/done")

    database: Database = ada.app.state.database
    assert [(await stored(database, id)).status for id in (waiting, sent)] == [Status.CANCELLED, Status.SENT]
    assert sorted(await plan(ada, "done")) == sorted(f"/reminders/{id}" for id in (waiting, sent))
    assert await plan(ada) == []


@pytest.mark.parametrize("act", ["cancel", "done"])
async def test_an_act_can_be_undone_for_a_minute(ada: Site, act: str) -> None:
    id = await mine(ada)
    answer = await ada.submit(f"/reminders/{id}/{act}")
    page = await ada.see(answer.headers["Location"])
    (undo,) = [given["action"] for tag, given in page.tags if tag == "form" and "/undo/" in given["action"]]

    await ada.submit(undo)

    found = await stored(ada.app.state.database, id)
    assert (found.status, found.done_at, story(found)[-1]) == (Status.SCHEDULED, None, "restored")
    # It was for that revision.
    assert (await ada.submit(undo)).status_code == 409


@pytest.mark.parametrize("before", [{}, SENT], ids=["what waits", "what has come"])
async def test_a_later_can_be_taken_back_for_a_minute(ada: Site, before: dict[str, Any]) -> None:
    id = await mine(ada, **before)
    was = await stored(ada.app.state.database, id)
    answer = await ada.submit(f"/reminders/{id}/snooze", **{"in": "10m"})
    page = await ada.see(answer.headers["Location"])
    (undo,) = [given["action"] for tag, given in page.tags if tag == "form" and "/undo/" in given["action"]]

    await ada.submit(undo)

    found = await stored(ada.app.state.database, id)
    same = ("status", "due_at", "accepted_at", "done_at", "wall", "fold", "zone_rules")
    assert {name: getattr(found, name) for name in same} == {name: getattr(was, name) for name in same}
    assert story(found)[-1] == "restored"
    assert (await ada.submit(undo)).status_code == 409
    assert "/undo/" not in (await ada.see(answer.headers["Location"])).html


async def test_a_later_is_not_taken_back_to_a_time_that_has_passed(ada: Site) -> None:
    id = await mine(ada)
    changed = await stored(ada.app.state.database, id)
    long_ago = replace(Before.of(changed), due_at=datetime.now(UTC) - timedelta(hours=1))

    answer = await ada.submit(f"/undo/{undo_of_later(ada.app.state.signer, long_ago, changed)}")

    assert answer.status_code == 409
    assert (await stored(ada.app.state.database, id)).rev == changed.rev


async def test_all_that_follow_can_be_taken_back_for_a_minute(ada: Site) -> None:
    made = await ada.submit(**a_form(to="ada@example.org", when="every weekday at 8", date="", time="", key="series"))
    path = made.headers["Location"]
    answer = await ada.submit(f"{path}/end")
    page = await ada.see(answer.headers["Location"])
    (undo,) = [given["action"] for tag, given in page.tags if tag == "form" and "/undo/" in given["action"]]

    await ada.submit(undo)

    again = await ada.see(path)
    assert "All that follow are cancelled" in page.text
    assert again.attributes["reminder"]["data-status"] == "scheduled"
    assert "All that follow are cancelled" not in again.text
    await ada.submit(f"{path}/cancel")
    assert len(await plan(ada)) == 2


async def test_a_cancel_that_was_told_is_not_undone_by_an_old_button(ada: Site) -> None:
    id = await mine(ada)
    signer = ada.app.state.signer
    await ada.submit(f"/reminders/{id}/cancel")
    late = signer.sign(Purpose.UNDO, "reminder", str(id), "2", until=datetime.now(UTC) - timedelta(seconds=5))

    assert (await ada.submit(f"/undo/{late}")).status_code in (303, 410)
    assert (await stored(ada.app.state.database, id)).status == Status.CANCELLED


async def test_now_is_now_and_once_more_where_it_failed(ada: Site) -> None:
    id = await mine(ada)
    await ada.submit(f"/reminders/{id}/now")
    first = await stored(ada.app.state.database, id)
    await mine(ada, status=Status.FAILED, reason="Refused", attempt=3)
    await ada.submit(f"/reminders/{id}/now")
    second = await stored(ada.app.state.database, id)

    for found in (first, second):
        assert found.status == Status.SCHEDULED
        assert abs(found.due_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert (second.rev, second.attempt, second.reason) == (3, 0, None)


async def test_a_copy_is_a_form_with_all_that_was_typed(ada: Site) -> None:
    id = await mine(ada)

    typed = (await ada.see(f"/reminders/{id}/copy")).values
    answer = await ada.submit(**typed)

    assert answer.headers["Location"] not in (f"/reminders/{id}", "")
    assert [(each["message"], each["recipient"]) for each in await rows(ada) if each["kind"] == "reminder"] == [
        ("Call mum", "ada@example.org")
    ] * 2


LEAVING = {"status": Status.SENDING, "marked_at": now(), "lease_until": now() + 60_000, "attempt": 1, "fence": 1}


@pytest.mark.parametrize("act", ["cancel", "done", "now", "snooze", "edit"])
async def test_once_the_mail_is_leaving_every_act_is_too_late_and_says_so(ada: Site, act: str) -> None:
    id = await mine(ada, **LEAVING)

    answer = await ada.submit(f"/reminders/{id}/{act}", **{"in": "1h"} | a_form(to="ada@example.org"))

    page = Page(answer)
    assert (page.status, page.title) == (409, "Too late · rmindr")
    assert (f"/reminders/{id}", "See the reminder") in page.links
    assert (await stored(ada.app.state.database, id)).rev == 1


# By the links of the mail, in a browser that is nobody's


def mailed(at: Site, purpose: Purpose, id: UUID) -> str:
    until = datetime.now(UTC) + timedelta(days=1) if purpose is not Purpose.MANAGE else None
    return f"/{purpose}/{at.app.state.signer.sign(purpose, str(id), until=until)}"


async def test_the_mail_s_done_has_one_button_and_looking_does_nothing(town: Site, ada: Site) -> None:
    id = await mine(ada, **SENT)
    async with browser(town) as phone:
        path = mailed(phone, Purpose.DONE, id)
        for _ in range(3):
            page = await phone.see(path)
        assert [given["action"] for tag, given in page.tags if tag == "form"] == [path]
        assert (await stored(town.app.state.database, id)).done_at is None
        answer = Page(await phone.submit(path))
        (undo,) = [given["action"] for tag, given in answer.tags if tag == "form"]
        done = await stored(town.app.state.database, id)
        await phone.submit(undo)

    assert done.done_at is not None
    assert (await stored(town.app.state.database, id)).done_at is None


async def test_the_mail_s_later_shows_when_and_brings_it_again(town: Site, ada: Site) -> None:
    id = await mine(ada, **SENT)
    async with browser(town) as phone:
        path = mailed(phone, Purpose.SNOOZE, id)
        assert "10 minutes" in (await phone.see(path)).text
        answer = Page(await phone.submit(path, **{"in": "10m"}))
        (undo,) = [given["action"] for tag, given in answer.tags if tag == "form"]
        again = await stored(town.app.state.database, id)
        await phone.submit(undo)

    assert "It comes again" in answer.text
    assert again.status == Status.SCHEDULED
    assert (await stored(town.app.state.database, id)).status == Status.SENT


async def test_a_mail_s_link_that_is_too_old_is_over(town: Site, ada: Site) -> None:
    id = await mine(ada, **SENT)
    old = town.app.state.signer.sign(Purpose.DONE, str(id), until=datetime.now(UTC) - timedelta(seconds=5))

    async with browser(town) as phone:
        answers = [await phone.client.get(f"/done/{old}", headers=BROWSER), await phone.submit(f"/done/{old}")]

    assert [each.status_code for each in answers] == [410, 410]


async def test_the_mail_s_link_to_one_reminder_opens_that_one_alone_and_all_its_acts(town: Site, ada: Site) -> None:
    id = await mine(ada)
    async with browser(town) as phone:
        path = mailed(phone, Purpose.MANAGE, id)
        page = await phone.see(path)
        acts = {given["action"].removeprefix(path) for tag, given in page.tags if tag == "form"}
        typed = (await phone.see(f"{path}/edit")).values
        edited = await phone.submit(f"{path}/edit", **typed | {"message": "Call dad"})
        elsewhere = await phone.submit(f"{path}/edit", **typed | {"to": "eve@example.org"})
        listed = await phone.client.get("/reminders", headers=BROWSER)

    assert acts == {"/now", "/done", "/cancel"}
    assert edited.headers["Location"] == path
    assert (await stored(town.app.state.database, id)).message == "Call dad"
    assert (elsewhere.status_code, listed.status_code) == (422, 303)


# Another person's


async def test_of_another_person_s_things_every_route_says_what_it_says_of_nothing(town: Site, ada: Site) -> None:
    """The matrix: each route and method with an id, as a stranger, as nobody, and by token; the same as for no such id."""
    id, nothing = await mine(ada), UUID("01930000-0000-7000-8000-000000000000")
    secret = (await token(ada, "reminders:read"))["Authorization"]
    async with town.app.state.database.statements() as connection:
        token_id = (await connection.execute(select(tokens.c.id))).scalar_one()
    before = await rows(town)
    found: dict[str, tuple[Any, Any]] = {}

    async with browser(town) as bob, browser(town) as nobody:
        await sign_up(bob, "bob@example.org")
        header = await token(bob, "reminders:read", "reminders:write")
        assert header["Authorization"] != secret
        before = await rows(town)
        for method, path in routes_with_id():
            for who, at, more in (("bob", bob, {}), ("nobody", nobody, {}), ("token", nobody, header)):
                said = []
                for each in (token_id if "tokens" in path else id, nothing):
                    body = {"json": {"message": "x"}} if path.startswith("/api") and method in ("PATCH", "POST") else {}
                    form = {"data": a_form()} if not path.startswith("/api") and method == "POST" else {}
                    headers = ({} if path.startswith("/api") else BROWSER) | more
                    where = path.replace("{id}", str(each))
                    answer = await at.client.request(method, where, headers=headers, **body, **form)
                    text = answer.text.replace(str(each), "ID").replace(answer.headers["X-Request-Id"], "")
                    said.append((answer.status_code, text))
                found[f"{who} {method} {path}"] = (said[0], said[1])

    assert len(found) > 30
    assert {name: one for name, (one, other) in found.items() if one != other} == {}
    others = {name for name, (one, _) in found.items() if one[0] != 404}
    assert others == {name for name in found if " /api" in name and not name.startswith("token")}
    assert await rows(town) == before


def routes_with_id() -> list[tuple[str, str]]:
    """Every method and path that has the id of a person's thing."""
    rooms = (api, pages, one_reminder, my_reminders, doors, calendar)
    routes = [each for module in rooms for each in module.router.routes] + calendar.programs.routes
    found = [(method, each.path) for each in routes if isinstance(each, APIRoute) for method in sorted(each.methods)]
    return [(method, path) for method, path in found if "{id}" in path]


async def test_lists_and_exports_have_only_one_s_own(town: Site, ada: Site) -> None:
    async with browser(town) as bob:
        await sign_up(bob, "bob@example.org", message="Bob's own")
        header = await token(bob, "reminders:read")
        pages = [
            (await bob.client.get(path, headers=BROWSER)).text
            for path in ("/reminders", "/reminders?q=mum", "/export.json")
        ]
        pages.append((await bob.client.get("/api/reminders", headers=header)).text)

    assert not any("Call mum" in page for page in pages)
    assert all("Bob" in page for page in (pages[0], pages[2], pages[3]))


# Tokens


async def test_a_token_does_what_it_is_for_and_nothing_else(ada: Site) -> None:
    id = await mine(ada)
    reads, writes = await token(ada, "reminders:read"), await token(ada, "reminders:write")
    program = ada.client

    assert (await program.get(f"/api/reminders/{id}", headers=reads)).json()["message"] == "Call mum"
    problem(await program.delete(f"/api/reminders/{id}", headers=reads), 403)
    problem(await program.get("/api/reminders", headers=writes), 403)
    made = await program.post("/api/reminders", json=a_reminder(to="ada@example.org"), headers=writes)
    assert made.status_code == 201
    assert (await program.get(made.headers["Location"], headers=reads)).json()["id"] == made.json()["id"]
    assert (await program.delete(f"/api/reminders/{id}", headers=writes)).json()["status"] == "cancelled"


async def test_a_cookie_opens_nothing_of_the_api(ada: Site) -> None:
    id = await mine(ada)

    for answer in (await ada.client.get("/api/reminders"), await ada.client.delete(f"/api/reminders/{id}")):
        problem(answer, 401)
    assert (await stored(ada.app.state.database, id)).status == Status.SCHEDULED


@pytest.mark.parametrize("header", ["Bearer ", "Bearer x", "Bearer rmd_live_" + "x" * 43, "Basic eDp5", "rmd_live_x"])
async def test_what_is_no_token_is_refused_even_where_none_is_needed(ada: Site, header: str) -> None:
    for method, path in (("GET", "/api/reminders"), ("POST", "/api/reminders")):
        body = {"json": a_reminder()} if method == "POST" else {}
        problem(await ada.client.request(method, path, headers={"Authorization": header}, **body), 401)


async def test_a_revoked_token_is_over_at_once(ada: Site) -> None:
    header = await token(ada, "reminders:read")
    page = await ada.see("/account")
    (revoke,) = [given["action"] for tag, given in page.tags if tag == "form" and given["action"].endswith("/revoke")]

    before = await ada.client.get("/api/reminders", headers=header)
    await ada.submit(revoke)

    assert before.status_code == 200
    problem(await ada.client.get("/api/reminders", headers=header), 401)
    assert "Phone" not in (await ada.see("/account")).text


async def test_a_token_is_shown_once_and_kept_as_a_hash(ada: Site) -> None:
    secret = (await token(ada, "reminders:read"))["Authorization"].partition(" ")[2]

    page = await ada.see("/account")
    async with ada.app.state.database.statements() as connection:
        kept = repr((await connection.exec_driver_sql("SELECT * FROM tokens")).all())

    assert len(secret) >= 50
    assert secret.startswith("rmd_live_")
    assert secret not in page.html + kept


@pytest.mark.parametrize(
    "typed",
    [
        {"name": ""},
        {"name": "x"},
        {"name": "x" * 101, "reminders:read": "yes"},
        {"name": "a\x00b", "reminders:read": "yes"},
    ],
)
async def test_a_token_without_a_name_or_a_purpose_is_none(ada: Site, typed: dict[str, str]) -> None:
    page = Page(await ada.submit("/account/tokens", **typed))

    assert (page.status, page.title) == (422, "Error: Your account · rmindr")


@pytest.mark.parametrize(("ends", "days"), [("30", 30), ("365", 365), ("", None)])
async def test_a_token_ends_when_it_was_said_to(ada: Site, ends: str, days: int | None) -> None:
    page = Page(await ada.submit("/account/tokens", name="Phone", ends=ends, **{"reminders:read": "yes"}))
    header = {"Authorization": f"Bearer {page.texts['secret']}"}
    before = await ada.client.get("/api/reminders", headers=header)
    async with ada.app.state.database.statements() as connection:
        until = (await connection.execute(select(tokens.c.expires_at))).scalar_one()
        if days is not None:
            await connection.execute(update(tokens).values(expires_at=now() - 1))

    after = await ada.client.get("/api/reminders", headers=header)

    account = (await ada.see("/account")).text
    assert before.status_code == 200
    if days is None:
        assert (until, after.status_code) == (None, 200)
        return
    assert timedelta(days=days - 1) < until - datetime.now(UTC) <= timedelta(days=days)
    problem(after, 401)
    assert "Ended " in account
    assert " It ends " in page.text


async def test_a_token_says_when_it_was_used_last(ada: Site) -> None:
    header = await token(ada, "reminders:read")
    unused = (await ada.see("/account")).text

    await ada.client.get("/api/reminders", headers=header)

    assert "Never used." in unused
    assert "Used last " in (await ada.see("/account")).text


async def test_an_end_that_is_not_offered_is_refused(ada: Site) -> None:
    page = Page(await ada.submit("/account/tokens", name="Phone", ends="9999", **{"reminders:read": "yes"}))

    assert (page.status, page.values["name"]) == (422, "Phone")
    assert "ends-wrong" in page.texts


async def test_a_page_cannot_give_a_scope_that_is_not_offered(ada: Site) -> None:
    page = Page(await ada.submit("/account/tokens", name="x", **{"queue:admin": "yes"}))

    assert page.status == 422


# One's data


async def test_all_of_it_can_be_taken_along(ada: Site) -> None:
    for number in range(3):
        await ada.submit(**a_form(to="ada@example.org", message=f'M{number}\n"x"', key=str(number)))

    taken = (await ada.client.get("/export.json", headers=BROWSER)).json()

    assert [each["message"] for each in taken["reminders"]] == ["Call mum", *(f'M{n}\n"x"' for n in range(3))]


async def test_deleting_everything_leaves_nothing_and_needs_a_tick(ada: Site) -> None:
    header = await token(ada, "reminders:read")
    unsure = await ada.submit("/account/delete")
    kept = len(await rows(ada))

    gone = Page(await ada.submit("/account/delete", sure="yes"))

    assert unsure.status_code == 422
    assert kept == 2
    assert gone.title == "Everything is deleted · rmindr"
    assert "1 reminder," in gone.text
    assert await rows(ada) == []
    problem(await ada.client.get("/api/reminders", headers=header), 401)
    async with ada.app.state.database.statements() as connection:
        for table in ("people", "sessions", "links", "tokens", "consents"):
            assert (await connection.exec_driver_sql(f"SELECT count(*) FROM {table}")).scalar_one() == 0, table


async def test_whoever_stopped_all_mail_stays_stopped_after_deleting_everything(ada: Site) -> None:
    async with ada.app.state.database.statements() as connection:
        await connection.execute(update(people).values(blocked_at=now()))

    await ada.submit("/account/delete", sure="yes")

    async with ada.app.state.database.statements() as connection:
        (found,) = (
            await connection.execute(select(people.c.mailbox, people.c.blocked_at, people.c.confirmed_at))
        ).all()
    assert (found.mailbox, found.confirmed_at) == ("ada@example.org", None)
    assert found.blocked_at is not None


async def test_a_zone_of_one_s_own_decides_where_days_begin(ada: Site) -> None:
    wrong = Page(await ada.submit("/account", time_zone="Mars"))
    await ada.submit("/account", time_zone="pacific/auckland".title().replace(" ", "_"))
    page = await ada.see("/reminders")

    assert wrong.status == 422
    assert "Times are in Pacific/Auckland" in page.text


async def test_how_mail_comes_after_an_outage_is_one_s_own_choice(ada: Site) -> None:
    before = await ada.see("/account")
    await ada.submit("/account", catch_up="one")
    after = await ada.see("/account")
    await ada.submit("/account", catch_up="none")

    assert (before.values["catch_up"], after.values["catch_up"]) == ("each", "one")
    assert (await ada.see("/account")).values["catch_up"] == "one"
