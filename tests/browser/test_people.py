"""People in a real browser, with scripts and without: confirming by mail, what a mail leads to, and stopping all of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from rmindr.schema import migrate
from rmindr.signing import Purpose, Signer
from tests.browser.conftest import PHONE, Visit, Visitor, in_every_way
from tests.browser.test_accessible import SMALL, TOO_WIDE, axe, faults_by_theme
from tests.redises import a_server
from tests.sink import Sink
from tests.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]
__all__ = ["axe"]
_PLACES = count(1)
KEY = "a-key-for-tests-that-nobody-can-guess"


@dataclass
class Town:
    """A running instance where people must agree, and the mail that it sent."""

    url: str
    sink: Sink

    async def link(self, to: str, door: str, *, after: int = 0) -> str:
        """The path of the newest link to this door that was mailed there, once there is one."""
        pattern = re.compile(rf"http://\S+?(/{door}/\S+)")

        def found() -> list[str]:
            texts = [message_from_bytes(mail.data, policy=policy.default) for mail in self.sink.to(to)[after:]]
            bodies = [text.get_body(("plain",)).get_content() for text in texts]  # type: ignore[union-attr]
            return [link for body in bodies for link in pattern.findall(body)]

        async with asyncio.timeout(60), self.sink.arrived:
            await self.sink.arrived.wait_for(found)
        return found()[-1]


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    folder: Path = tmp_path_factory.mktemp("town")
    database = f"sqlite:///{folder / 'rmindr.db'}"
    migrate(database)
    valkey = a_server()
    valkey.start()
    try:
        async with Sink() as sink:
            stack = Stack(database, valkey, sink, {"RMINDR_ACCESS": "confirmed", "RMINDR_SECRET_KEY": KEY})
            # Each visitor comes from a place of their own, or they would share its limits.
            stack.settings["RMINDR_TRUSTED_PROXIES"] = "1"
            stack.settings["RMINDR_PUBLIC_URL"] = f"http://localhost:{stack.port}"
            async with stack.web(), stack.worker():
                yield Town(f"http://localhost:{stack.port}", sink)
    finally:
        valkey.remove()


def a_place(town: Town) -> dict[str, Any]:
    """The town, as somebody sees it who comes from elsewhere than all others, as the router says."""
    return {"url": town.url, "extra_http_headers": {"X-Forwarded-For": f"10.0.0.{next(_PLACES)}"}}


def a_name(name: str) -> str:
    """An address that nobody else has had."""
    return f"{name}{next(_PLACES)}@example.org"


async def ask(visitor: Visitor, to: str, message: str = "Call mum", date: str = "2031-05-01") -> None:
    """Fill the form and send it."""
    page = visitor.page
    await visitor.go("/")
    await page.get_by_label("Message").fill(message)
    await page.get_by_label("Date", exact=True).fill(date)
    await page.get_by_label("Email address").fill(to)
    await page.get_by_role("button", name="Schedule").click()


async def enter(visitor: Visitor, town: Town, to: str, message: str = "Call mum") -> None:
    """Confirm an address with its first reminder."""
    await ask(visitor, to, message)
    await expect(visitor.page).to_have_title("Look into your mail · rmindr")
    await visitor.go(await town.link(to, "confirm"))
    await visitor.page.get_by_role("button", name="It is my address").click()
    await expect(visitor.page).to_have_title("Upcoming · rmindr")


@in_every_way
async def test_a_person_confirms_by_mail_and_finds_changes_and_cancels(
    visit: Visit, town: Town, way: dict[str, Any]
) -> None:
    to = a_name("ada")
    async with visit(**a_place(town), **way) as visitor:
        page = visitor.page
        visitor.expect("409")
        await enter(visitor, town, to)
        await ask(visitor, to, "Water the plants")
        await expect(page.locator("#badge")).to_have_text("Scheduled")

        await page.get_by_role("link", name="Reminders").click()
        await page.get_by_label("Search").fill("mum")
        await page.get_by_role("button", name="Search").click()
        await expect(page.locator(".plan li")).to_have_count(1)
        await page.get_by_role("link", name=re.compile("Call mum")).click()
        await page.get_by_role("link", name="Later").click()
        await page.get_by_role("button", name=re.compile("Tomorrow")).click()
        await expect(page.locator(".timeline")).to_contain_text("Put off by a person")
        await page.get_by_role("button", name="Cancel it").click()
        await page.get_by_role("button", name="Undo").click()
        await expect(page).to_have_title("Undone · rmindr")

        await page.get_by_role("link", name="Reminders").click()
        await expect(page.locator(".plan li")).to_have_count(2)


@in_every_way
async def test_the_links_of_a_mail_bring_it_again_put_it_away_and_stop_all(
    visit: Visit, town: Town, way: dict[str, Any]
) -> None:
    to = a_name("bob")
    async with (
        visit(**a_place(town), **way) as visitor,
        visit(**a_place(town), **way) as phone,
    ):
        page = phone.page
        await enter(visitor, town, to)
        await visitor.page.locator(".plan a").first.click()
        await visitor.page.get_by_role("button", name="Send now").click()
        later = await town.link(to, "snooze")
        await expect(visitor.page.locator("#badge")).to_have_text("Sent")

        await phone.go(later)
        await page.get_by_role("button", name=re.compile("10 minutes")).click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Later")
        await phone.go(await town.link(to, "done"))
        await page.get_by_role("button", name="Done").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Done")
        await page.get_by_role("button", name="Undo").click()
        await expect(page).to_have_title("Undone · rmindr")
        await phone.go(await town.link(to, "stop"))
        await page.get_by_role("button", name="Stop all mail").click()
        await expect(page).to_have_title("All mail is stopped · rmindr")

        visitor.expect("422")
        await ask(visitor, to, "Never")
        await expect(visitor.page.get_by_role("alert")).to_contain_text("no more mail from here")
    assert b"Never" not in b"".join(mail.data for mail in town.sink.to(to))


@in_every_way
async def test_a_link_signs_another_browser_in_and_a_token_is_made_and_ended(
    visit: Visit, town: Town, way: dict[str, Any]
) -> None:
    to = a_name("cy")
    async with (
        visit(**a_place(town), **way) as first,
        visit(**a_place(town), **way) as second,
    ):
        await enter(first, town, to)
        page = second.page
        await second.go("/reminders")
        await page.get_by_label("Email address").fill(to)
        await page.get_by_role("button", name="Mail me my link").click()
        await second.go(await town.link(to, "sign-in"))
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_role("link", name="your account").click()
        await page.get_by_label("Name").fill("Phone")
        await page.get_by_label("see reminders").check()
        await page.get_by_role("button", name="Make a token").click()
        await expect(page.locator("#secret")).to_have_text(re.compile("^rmd_live_"))
        await page.get_by_role("link", name="I have it").click()
        await page.get_by_role("button", name="Revoke Phone").click()
        await expect(page.get_by_text("rmd_live_")).to_have_count(0)
        await page.get_by_role("button", name="Sign out").click()
        await second.go("/reminders")
        await expect(page).to_have_title("Sign in · rmindr")


# For everybody


async def every_page(visitor: Visitor, town: Town) -> dict[str, str]:
    """A person's pages in each state, by their paths."""
    await enter(visitor, town, "dan@example.org", "Call mum " + "and say all that there is to say " * 9)
    path = (await visitor.page.locator(".plan a").first.get_attribute("href")) or ""
    await ask(visitor, "eve@example.org", "Bring back my drill")
    theirs = visitor.page.url.removeprefix(town.url)
    signer, id = Signer([KEY]), path.rpartition("/")[2]
    await ask(visitor, "dan@example.org", "Cancel me")
    await visitor.page.get_by_role("button", name="Cancel it").click()
    undo = visitor.page.url.removeprefix(town.url)
    return {
        "the list": "/reminders", "an empty list": "/reminders?show=missed", "a search in vain": "/reminders?q=xyz",
        "one": path, "one that waits for a yes": theirs, "one that was cancelled": undo, "later": f"{path}/snooze",
        "the account": "/account", "agree": await town.link("eve@example.org", "agree"),
        "stop": f"/stop/{signer.sign(Purpose.STOP, 'dan@example.org', id)}", "done": f"/done/{signer.sign(Purpose.DONE, id)}",
        "one by its link": f"/manage/{signer.sign(Purpose.MANAGE, id)}", "a copy": f"{path}/copy",
    }  # fmt: skip


async def other_states(visitor: Visitor, town: Town, name: str) -> list[str]:
    """Pages that are answers, one after another: each call opens the next."""
    page = visitor.page
    match name:
        case "asked":
            await ask(visitor, "fay@example.org")
        case "confirm":
            await visitor.go(await town.link("fay@example.org", "confirm"))
        case "sign in":
            await visitor.go("/sign-in")
        case "sign in, refused":
            await visitor.go("/sign-in")
            await page.get_by_role("button", name="Mail me my link").click()
        case "signing in":
            await visitor.go("/sign-in")
            await page.get_by_label("Email address").fill("dan@example.org")
            await page.get_by_role("button", name="Mail me my link").click()
        case "over":
            await visitor.go(f"/confirm/{Signer([KEY]).sign(Purpose.CONFIRM, '01930000-0000-7000-8000-000000000000')}")
    return []


STATES = ["asked", "confirm", "sign in", "sign in, refused", "signing in", "over"]


async def test_every_page_of_a_person_is_for_everybody(visit: Visit, town: Town, axe: str) -> None:
    """Axe finds nothing in either theme, nothing is too small to touch, and nothing wider than 320 pixels."""
    found: dict[str, Any] = {}

    async def look(page: Page, name: str) -> None:
        found[name] = await faults_by_theme(page, axe)
        for width in (320, 390, 1280):
            await page.set_viewport_size({"width": width, "height": 640})
            found[name] |= {f"at {width}": await page.evaluate(TOO_WIDE)}
        found[name] |= {"small": await page.evaluate(SMALL, 44)}

    async with (
        visit(**a_place(town), **PHONE) as visitor,
        visit(**a_place(town), **PHONE) as nobody,
    ):
        for each in (visitor, nobody):
            each.expect(r"status of (4|5)\d\d")
        for name, path in (await every_page(visitor, town)).items():
            await visitor.go(path)
            await look(visitor.page, name)
        await visitor.go(f"{(await every_first(visitor))}/snooze")
        await visitor.page.get_by_label("Date").fill("2001-01-01")
        await visitor.page.get_by_role("button", name="Then").click()
        await look(visitor.page, "later, refused")
        await visitor.go("/account")
        await visitor.page.get_by_role("button", name="Make a token").click()
        await look(visitor.page, "the account, refused")
        for name in STATES:
            await other_states(nobody, town, name)
            await look(nobody.page, name)

    faults = {name: {kind: each for kind, each in kinds.items() if each} for name, kinds in found.items()}
    assert {name: kinds for name, kinds in faults.items() if kinds} == {}


async def every_first(visitor: Visitor) -> str:
    await visitor.go("/reminders")
    return (await visitor.page.locator(".plan a").first.get_attribute("href")) or ""
