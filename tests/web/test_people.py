"""Only to people who agreed: confirming, signing in, agreeing, stopping; and nobody learns who is known here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from sqlalchemy import text, update

from rmindr.database import Database, now
from rmindr.ledger import reminders, row
from rmindr.models import Kind, Status
from rmindr.people import links
from rmindr.signing import Purpose
from tests.web.conftest import Serve
from tests.web.folk import STRICT, browser, link, mails, plan, press, rows, sign_up
from tests.web.site import BROWSER, Page, Site, a_form, a_reminder, problem

CANARY = "xyzzy-canary"


@pytest.fixture
async def town(serve: Serve) -> AsyncIterator[Site]:
    """As beyond loopback: nobody is listed, nobody signed in."""
    async with serve(**STRICT) as site:
        yield site


# My own address


async def test_the_first_reminder_waits_for_one_neutral_mail_and_its_button(town: Site) -> None:
    page = Page(await town.submit(**a_form(to="ada@example.org", message=CANARY)))
    (mail,) = await mails(town)
    told = await rows(town)

    assert (page.status, page.title) == (202, "Look into your mail · rmindr")
    assert mail[:2] == (Kind.CONFIRM, "ada@example.org")
    assert [each["status"] for each in told if each["kind"] == "reminder"] == [Status.UNCONFIRMED]
    assert CANARY not in repr([each for each in told if each["kind"] != "reminder"])


async def test_opening_the_link_does_nothing_and_the_button_schedules_and_signs_in(town: Site) -> None:
    await town.submit(**a_form(to="ada@example.org", message="Call mum"))
    path = await link(town, Kind.CONFIRM, "ada@example.org")
    before = await rows(town)

    for _ in range(3):
        page = await town.see(path)
    assert "Call mum" in page.text
    assert await rows(town) == before
    answer = await press(town, path)

    assert (answer.status_code, answer.headers["Location"]) == (303, "/reminders")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie
    (own,) = [each for each in await rows(town) if each["kind"] == "reminder"]
    assert own["status"] == Status.SCHEDULED
    assert await plan(town) == [f"/reminders/{own['id']}"]


async def test_whoever_has_confirmed_schedules_with_one_submit_and_no_further_mail(town: Site) -> None:
    await sign_up(town, "ada@example.org")

    answer = await town.submit(**a_form(to="Ada@Example.org", key="another"))

    assert answer.status_code == 303
    assert len(await mails(town)) == 1
    assert len(await plan(town)) == 2


async def test_what_is_not_ticked_is_not_sent(town: Site) -> None:
    """Whoever knows an address can ask for reminders to it: its person decides about each."""
    await town.submit(**a_form(to="ada@example.org", message="mine"))
    async with browser(town) as stranger:
        await stranger.submit(**a_form(to="ada@example.org", message=CANARY, key="b"))
    wanted = {str(each["message"]): UUID(str(each["id"])) for each in await rows(town) if each["kind"] == "reminder"}

    answer = await town.submit(await link(town, Kind.CONFIRM, "ada@example.org"), **{wanted["mine"].hex: "yes"})

    assert answer.status_code == 303
    found = {each["message"]: each["status"] for each in await rows(town) if each["kind"] == "reminder"}
    assert found == {"mine": Status.SCHEDULED, CANARY: Status.CANCELLED}


async def test_signing_in_confirms_nothing_that_was_asked_for_meanwhile(town: Site) -> None:
    await sign_up(town, "ada@example.org")
    async with browser(town) as stranger:
        await stranger.submit(**a_form(to="ada@example.org", message=CANARY, key="b"))
    async with browser(town) as phone:
        await phone.submit("/sign-in", to="ada@example.org")
        await press(phone, await link(town, Kind.SIGN_IN, "ada@example.org"))
        (path,) = [each for each in await plan(phone) if CANARY in (await phone.see(each)).text]

        waiting = await phone.see(path)
        await phone.submit(f"{path}/confirm")
        wanted = await phone.see(path)

    assert waiting.attributes["reminder"]["data-status"] == "unconfirmed"
    assert wanted.attributes["reminder"]["data-status"] == "scheduled"


async def test_an_address_that_never_answers_is_asked_once_a_day_and_gets_nothing_else(town: Site) -> None:
    for number in range(8):
        async with browser(town) as stranger:
            answer = await stranger.submit(
                **a_form(to="eve@example.org", message=f"{CANARY} {number}", key=str(number))
            )
            assert answer.status_code == 202

    found = await rows(town)
    assert len(await mails(town)) == 1
    assert [each["status"] for each in found if each["kind"] == "reminder"] == [Status.UNCONFIRMED] * 3


async def test_on_https_the_cookie_is_bound_to_this_host(serve: Serve) -> None:
    async with serve(**STRICT | {"public_url": "https://remind.example.org"}) as site:
        here = {"Host": "remind.example.org", "Origin": "https://remind.example.org"} | BROWSER
        await site.submit(headers=here, **a_form(to="ada@example.org"))
        path = await link(site, Kind.CONFIRM, "ada@example.org")
        answer = await site.submit(path, headers=here)

    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-rmindr=")
    assert {"HttpOnly", "Secure", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
    assert "Domain" not in cookie


# Links


@pytest.mark.parametrize("kind", [Kind.CONFIRM, Kind.SIGN_IN])
async def test_of_many_who_use_a_link_at_once_one_gets_in(town: Site, kind: Kind) -> None:
    await town.submit(**a_form(to="ada@example.org"))
    path = await link(town, Kind.CONFIRM, "ada@example.org")
    if kind is Kind.SIGN_IN:
        await town.submit(path)
        async with browser(town) as other:
            await other.submit("/sign-in", to="ada@example.org")
        path = await link(town, Kind.SIGN_IN, "ada@example.org")

    async def once() -> int:
        async with browser(town) as at:
            return (await at.submit(path)).status_code

    answers = await asyncio.gather(*(once() for _ in range(12)))

    assert sorted(answers) == [303] + [410] * 11


async def test_a_link_that_is_too_old_explains_and_offers_a_new_one(town: Site) -> None:
    await town.submit(**a_form(to="ada@example.org"))
    path = await link(town, Kind.CONFIRM, "ada@example.org")
    database: Database = town.app.state.database
    async with database.statements() as connection:
        await connection.execute(update(links).values(expires_at=now() - 1000))

    page, answer = await town.see(path), await town.submit(path)

    assert (page.status, answer.status_code) == (410, 410)
    assert ("/sign-in", "Mail me a new link") in page.links
    assert [each["status"] for each in await rows(town) if each["kind"] == "reminder"] == [Status.UNCONFIRMED]


DOORS = ("confirm", "agree", "sign-in", "manage", "done", "snooze", "stop", "undo")


async def test_a_token_for_one_purpose_opens_no_other_door(town: Site) -> None:
    path = await sign_up(town, "ada@example.org")
    signer, id = town.app.state.signer, path.rpartition("/")[2]
    tokens = {purpose: signer.sign(purpose, id, id) for purpose in Purpose}
    tokens |= {purpose: signer.sign(purpose, id) for purpose in (Purpose.MANAGE, Purpose.DONE, Purpose.SNOOZE)}
    before = await rows(town)

    opened = set()
    async with browser(town) as stranger:
        for purpose, token in tokens.items():
            for door in DOORS:
                seen = await stranger.client.get(f"/{door}/{token}", headers=BROWSER)
                posted = await stranger.submit(f"/{door}/{token}", **{"in": "1h"})
                if purpose.replace(" ", "-") != door:
                    opened |= {(purpose, door, each.status_code) for each in (seen, posted)}

    # A page that has no GET, or no POST, says so whatever the token is.
    assert {status for _, _, status in opened} <= {404, 405}
    changed = {each["id"] for each, was in zip(await rows(town), before, strict=True) if each != was}
    assert changed <= {UUID(id)}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("token", ["x", "WzAsIngiXQ.AAAA", "%00", "a" * 300, "WzAsIngiXQ.ýý"])
async def test_what_is_no_token_is_not_found(town: Site, door: str, token: str) -> None:
    for answer in (await town.client.get(f"/{door}/{token}"), await town.submit(f"/{door}/{token}")):
        assert answer.status_code in (404, 405), answer.text


# Sign in, sign out


async def test_the_answer_is_one_whether_an_address_is_known_or_not(town: Site) -> None:
    await sign_up(town, "ada@example.org")
    await town.client.post("/stop/" + town.app.state.signer.sign(Purpose.STOP, "bob@example.org", str(UUID(int=7))))
    addresses = ["ada@example.org", "bob@example.org", "new@example.org"]
    said: dict[str, set[tuple[int, str]]] = {}

    for number, address in enumerate(addresses):
        async with browser(town) as stranger:
            answers = {
                "sign in": await stranger.submit("/sign-in", to=address),
                "form": await stranger.submit(**a_form(to=address, key=str(number))),
                "api": await stranger.client.post("/api/reminders", json=a_reminder(to=address)),
                "confirm": await stranger.client.get("/reminders", headers=BROWSER),
            }
        for name, answer in answers.items():
            said.setdefault(name, set()).add((answer.status_code, answer.text.replace(address, "A")))

    assert {name: len(each) for name, each in said.items()} == dict.fromkeys(said, 1)


async def test_a_link_signs_in_and_signing_out_ends_it_on_the_server_too(town: Site) -> None:
    await sign_up(town, "ada@example.org")
    async with browser(town) as phone:
        await phone.submit("/sign-in", to="ADA@example.org")
        path = await link(town, Kind.SIGN_IN, "ada@example.org")
        await phone.see(path)
        assert (await phone.client.get("/reminders", headers=BROWSER)).headers["Location"] == "/sign-in"
        await press(phone, path)
        cookies = dict(phone.client.cookies)
        signed_in = await phone.see("/reminders")

        await phone.submit("/sign-out")

        phone.client.cookies.update(cookies)
        after = await phone.client.get("/reminders", headers=BROWSER)

    assert signed_in.status == 200
    assert after.headers["Location"] == "/sign-in"


async def test_a_new_sign_in_link_makes_the_one_before_useless(town: Site) -> None:
    await sign_up(town, "ada@example.org")
    async with browser(town) as phone:
        await phone.submit("/sign-in", to="ada@example.org")
        first = await link(town, Kind.SIGN_IN, "ada@example.org")
        await phone.submit("/sign-in", to="ada@example.org")

        assert (await phone.submit(first)).status_code == 410
        assert (await phone.submit(await link(town, Kind.SIGN_IN, "ada@example.org"))).status_code == 303


async def test_links_to_sign_in_are_limited_for_an_address_and_for_a_place(town: Site) -> None:
    answers = [await town.submit("/sign-in", to="ada@example.org") for _ in range(6)]

    assert [each.status_code for each in answers] == [202] * 5 + [429]
    assert int(answers[-1].headers["Retry-After"]) > 0


@pytest.mark.parametrize("path", ["/", "/sign-in", "/sign-out", "/account", "/account/tokens", "/account/delete"])
@pytest.mark.parametrize(
    "site",
    [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"},
     {"Origin": "null"}, {"Referer": "https://evil.example/"}],
    ids=str,
)  # fmt: skip
async def test_what_another_site_posts_is_refused_even_for_whoever_is_signed_in(
    town: Site, path: str, site: dict[str, str]
) -> None:
    await sign_up(town, "ada@example.org")
    before = await rows(town)

    answer = await town.submit(path, headers=site, **a_form(to="ada@example.org", key="evil"), sure="yes")

    assert answer.status_code == 403
    assert await rows(town) == before


# Somebody else


async def test_another_person_is_asked_once_and_says_yes(town: Site) -> None:
    await sign_up(town, "ada@example.org")
    for number in range(3):
        answer = await town.submit(**a_form(to="bob@example.org", message=f"Call {number}", key=str(number)))
        assert answer.status_code == 303
    (path,) = [path for kind, _, path in await mails(town, "bob@example.org") if kind is Kind.AGREE]

    async with browser(town) as bob:
        page = await bob.see(path)
        answer = await bob.submit(path, answer="yes")
    direct = await town.submit(**a_form(to="bob@example.org", key="after"))

    assert "ada@example.org" in page.text
    assert "Call 2" in page.text
    assert "Call" not in repr([each["about"] for each in await rows(town)])
    assert Page(answer).title == "ada@example.org may remind you now · rmindr"
    assert direct.status_code == 303
    statuses = [each["status"] for each in await rows(town) if each["recipient"] == "bob@example.org"]
    assert statuses.count(Status.SCHEDULED) == 5  # Four reminders, and the mail that asked.
    assert len(await mails(town, "bob@example.org")) == 1


async def test_a_no_stays_a_no_and_is_told_to_nobody(town: Site) -> None:
    await sign_up(town, "ada@example.org")
    await town.submit(**a_form(to="bob@example.org", key="1"))
    path = await link(town, Kind.AGREE, "bob@example.org")
    async with browser(town) as bob:
        await bob.submit(path, answer="no")

    again = await town.submit(**a_form(to="bob@example.org", key="2"))
    page = await town.see(again.headers["Location"])

    assert page.attributes["reminder"]["data-status"] == "unconfirmed"
    assert "refused" not in page.text
    assert len(await mails(town, "bob@example.org")) == 1


# Stop


async def stop_link(site: Site, address: str, path: str) -> str:
    token = site.app.state.signer.sign(Purpose.STOP, address, path.rpartition("/")[2])
    return f"/stop/{token}"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded", b"List-Unsubscribe=One-Click"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n',
        ),
    ],
)
async def test_one_click_in_a_mail_program_stops_all_mail_without_a_cookie(town: Site, kind: str, body: bytes) -> None:
    path = await stop_link(town, "ada@example.org", await sign_up(town, "ada@example.org"))
    async with browser(town) as program:
        answer = await program.client.post(path, content=body, headers={"Content-Type": kind})

    refused = await town.submit(**a_form(to="ada@example.org", key="2"))

    assert answer.status_code == 200
    assert refused.status_code == 422
    assert "no more mail from here" in Page(refused).texts["to-wrong"]


async def test_looking_at_the_page_stops_nothing_its_button_does_and_can_be_undone(town: Site) -> None:
    path = await stop_link(town, "ada@example.org", await sign_up(town, "ada@example.org"))
    async with browser(town) as phone:
        for _ in range(3):
            assert (await phone.see(path)).title == "Stop mail · rmindr"
        stopped = Page(await phone.submit(path, what="all"))
        seen = await phone.see(path)
        (undo,) = [given["action"] for tag, given in stopped.tags if tag == "form"]
        await phone.submit(undo)

    assert stopped.title == "All mail is stopped · rmindr"
    assert seen.title == "Mail is stopped · rmindr"
    assert (await town.submit(**a_form(to="ada@example.org", key="2"))).status_code == 303


async def test_one_sender_can_be_stopped_and_others_go_on(town: Site) -> None:
    await sign_up(town, "ada@example.org")
    await town.submit(**a_form(to="bob@example.org", key="1"))
    await town.submit(await link(town, Kind.AGREE, "bob@example.org"), answer="yes")
    (path,) = [each for each in await plan(town) if "bob@example.org" in (await town.see(each)).text]

    async with browser(town) as bob:
        answer = Page(await bob.submit(await stop_link(town, "bob@example.org", path), what="sender"))
    after = await town.submit(**a_form(to="bob@example.org", key="2"))

    assert answer.title == "No more from ada@example.org · rmindr"
    assert (await town.see(after.headers["Location"])).attributes["reminder"]["data-status"] == "unconfirmed"


async def test_a_sender_who_was_stopped_may_again_within_a_minute(town: Site) -> None:
    await sign_up(town, "ada@example.org")
    await town.submit(**a_form(to="bob@example.org", key="1"))
    await town.submit(await link(town, Kind.AGREE, "bob@example.org"), answer="yes")
    (path,) = [each for each in await plan(town) if "bob@example.org" in (await town.see(each)).text]
    async with browser(town) as bob:
        stopped = Page(await bob.submit(await stop_link(town, "bob@example.org", path), what="sender"))
        (undo,) = [given["action"] for tag, given in stopped.tags if tag == "form"]
        await bob.submit(undo)

    after = await town.submit(**a_form(to="bob@example.org", key="2"))

    assert (await town.see(after.headers["Location"])).attributes["reminder"]["data-status"] == "scheduled"


async def test_this_reminder_alone_can_be_stopped_and_taken_back(town: Site) -> None:
    path = await sign_up(town, "ada@example.org")
    other = (await town.submit(**a_form(to="ada@example.org", key="2"))).headers["Location"]
    async with browser(town) as phone:
        link_of_it = await stop_link(town, "ada@example.org", path)
        stopped = Page(await phone.submit(link_of_it, what="this"))
        statuses = [(await town.see(each)).attributes["reminder"]["data-status"] for each in (path, other)]
        nothing_left = await phone.see(link_of_it)
        (undo,) = [given["action"] for tag, given in stopped.tags if tag == "form"]
        await phone.submit(undo)

    assert stopped.title == "This one is stopped · rmindr"
    assert statuses == ["cancelled", "scheduled"]
    assert "Only this reminder" not in nothing_left.text
    assert (await town.see(path)).attributes["reminder"]["data-status"] == "scheduled"


@pytest.mark.parametrize("what", ["this", "sender", "nonsense"])
async def test_what_cannot_be_stopped_stops_nothing_else_instead(town: Site, what: str) -> None:
    path = await sign_up(town, "ada@example.org")
    await town.submit(f"{path}/cancel")

    answer = await town.submit(await stop_link(town, "ada@example.org", path), what=what)

    assert answer.status_code == 303
    assert (await town.submit(**a_form(to="ada@example.org", key="2"))).status_code == 303


async def test_whoever_was_reported_twice_asks_nobody_any_more_and_is_not_told(town: Site) -> None:
    await sign_up(town, "mallory@example.org")
    for name in ("bob", "eve"):
        await town.submit(**a_form(to=f"{name}@example.org", key=name))
        async with browser(town) as reader:
            said = Page(await reader.submit(await link(town, Kind.AGREE, f"{name}@example.org"), answer="report"))

    after = await town.submit(**a_form(to="fay@example.org", key="fay"))

    assert "It is noted." in said.text
    assert (await town.see(after.headers["Location"])).attributes["reminder"]["data-status"] == "unconfirmed"
    assert [to for _, to, _ in await mails(town) if to == "fay@example.org"] == []


# Nothing of this service is a relay


async def test_a_stranger_s_key_finds_nobody_else_s_reminder(town: Site) -> None:
    await sign_up(town, "ada@example.org")
    body = a_reminder(to="ada@example.org", message="secret")
    async with town.app.state.database.statements() as connection:
        await connection.execute(update(reminders).where(row.kind == Kind.REMINDER).values(idem_key="order-1"))

    answer = await town.client.post("/api/reminders", json=body, headers={"Idempotency-Key": "order-1"})

    assert (answer.status_code, answer.json()["status"]) == (202, "unconfirmed")
    assert set(answer.json()) == {"status", "detail"}


async def test_the_database_keeps_no_secret_that_opens_anything(town: Site) -> None:
    await sign_up(town, "ada@example.org")
    cookie = dict(town.client.cookies)["rmindr"]
    database: Database = town.app.state.database
    async with database.statements() as connection:
        kept = repr((await connection.execute(text("SELECT * FROM sessions"))).all())

    assert cookie not in kept
    assert problem(await town.client.get("/api/reminders"), 401)
