"""For everybody: axe finds nothing on any page in any state, in both themes; nothing is too small, too faint or too wide."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Page, expect
from sqlalchemy import update

from rmindr.database import Database
from rmindr.ledger import reminders
from rmindr.lists import Shelf
from rmindr.models import Status
from tests import npm
from tests.browser.conftest import PHONE, Site, Visit, Visitor
from tests.processes import Process
from tests.servers import free_port
from tests.stack import ROOT, answering, post, soon

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]
FOLDER: Final = Path(__file__).parent
# WCAG 2.2 AA and axe's own good practice; target sizes are off by default.
RUN: Final = """async () => (await axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    rules: { "target-size": { enabled: true } },
})).violations.map((each) => `${each.id}: ${each.nodes.map((node) => node.html.slice(0, 120)).join(" | ")}`)"""
# What can be clicked and is not a word within a sentence; what hangs together is one target.
SMALL: Final = """least => [...document.querySelectorAll("a, button, input, textarea, summary, label:has(input)")]
    .filter((each) => each.checkVisibility({ visibilityProperty: true }) && each.type !== "hidden" && !each.matches(".skip"))
    .filter((each) => !(each.matches("a") && getComputedStyle(each).display === "inline"))
    .filter((each) => !(each.matches("label > input")))
    .map((each) => [each.outerHTML.slice(0, 80), each.getBoundingClientRect()])
    .filter(([, box]) => box.height < least || box.width < least)
    .map(([html, box]) => `${html}: ${box.width} x ${box.height}`)"""
TOO_WIDE: Final = """() => [...document.querySelectorAll("body *")]
    .filter((each) => each.checkVisibility() && !each.closest(".sr, .skip, iframe, datalist"))
    .filter((each) => each.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
    .map((each) => each.outerHTML.slice(0, 100))
    .concat(document.documentElement.scrollWidth > document.documentElement.clientWidth ? ["the page"] : [])"""


# Every page in every state

QUEUE: Final = (
    "", "?by=day", "/history", "/jobs", "/jobs?state=delayed&type=email", "/jobs?q=nothing", "/jobs/1", "/jobs/1/remove",
    "/type?name=email", "/all?do=cancel&state=delayed",
)  # fmt: skip

LONG = "Donaudampfschifffahrtsgesellschaftskapitänswitwenrentenauszahlungsstelle" * 2


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def states(site: Site) -> dict[str, str]:
    """A reminder in each state, with a timeline that has everything in it: the path of its page."""
    line = (
        r'{"at": 1795448797530, "event": "put off", "attempt": 2, "reply": "450 4.2.0 greylisted %s", "after_ms": 90000}'
        % ("x" * 200)
    )
    paths = {}
    async with Database.open(f"sqlite:///{site.folder / '.rmindr' / 'rmindr.db'}") as database:
        for status in Status:
            id = await post(site.client, f"{status}@example.org", soon(86_400 * 300), message=LONG, subject=LONG[:150])
            async with database.statements() as connection:
                await connection.execute(
                    update(reminders)
                    .where(reminders.c.recipient == f"{status}@example.org")
                    .values(
                        status=status,
                        reason=None if status in ("scheduled", "sent", "cancelled") else f"Because: {LONG}",
                        accepted_at=reminders.c.due_at if status == "sent" else None,
                        lease_until=None,
                        timeline=reminders.c.timeline + f"{line}\n",
                    )
                )
            paths[str(status)] = f"/reminders/{id}"
    return paths


async def empty(visitor: Visitor) -> None:
    await visitor.go("/")
    await expect(visitor.page.locator("#preview")).not_to_be_empty()


async def refused(visitor: Visitor) -> None:
    await visitor.go("/")
    await visitor.page.get_by_label("Date", exact=True).fill("2001-01-01")
    await visitor.page.get_by_label("Time zone").fill("Mars")
    await visitor.page.locator("summary").last.click()
    await visitor.page.get_by_label("Subject", exact=True).fill("a\u202eb")
    await visitor.page.get_by_role("button", name="Schedule").click()
    await expect(visitor.page.get_by_role("alert").get_by_role("link")).to_have_count(4)


async def twice(visitor: Visitor) -> None:
    await visitor.go("/")
    await visitor.page.get_by_label("Time zone").fill("Europe/Paris")
    await visitor.page.get_by_label("Date", exact=True).fill("2030-10-27")
    await visitor.page.get_by_label("Time", exact=True).fill("02:30")
    await expect(visitor.page.get_by_label("the second (UTC+1)")).to_be_visible()


async def half_read(visitor: Visitor) -> None:
    await visitor.go("/")
    await visitor.page.get_by_label("In words").fill("2 march 2031 at 3")
    await expect(visitor.page.get_by_label("15:00 (in the afternoon)")).to_be_visible()


async def passed(visitor: Visitor) -> None:
    await visitor.go("/")
    await visitor.page.get_by_label("Date", exact=True).fill("2001-01-01")
    await expect(visitor.page.get_by_role("button", name="Tomorrow at")).to_be_visible()


async def far(visitor: Visitor) -> None:
    await visitor.go("/")
    await visitor.page.get_by_label("Message").fill("Open the box")
    await visitor.page.get_by_label("Email address").fill("me@example.org")
    await visitor.page.get_by_label("Date", exact=True).fill("2061-01-01")
    await visitor.page.get_by_role("button", name="Schedule").click()
    await expect(visitor.page.get_by_label("It is meant")).to_be_visible()


async def repeating(visitor: Visitor) -> None:
    await visitor.go("/")
    await visitor.page.get_by_label("In words").fill("every weekday at 8")
    await visitor.page.locator("summary").first.click()
    await expect(visitor.page.locator("#more li")).to_have_count(5)


def at(path: str) -> Callable[[Visitor], Awaitable[None]]:
    async def go(visitor: Visitor) -> None:
        await visitor.go(path)

    return go


async def every_page(site: Site, states: dict[str, str]) -> dict[str, Callable[[Visitor], Awaitable[None]]]:
    mail = (await site.client.get("/inbox/api/messages")).json()["items"][0]["id"]
    return {
        "the form": empty,
        "the form, refused": refused,
        "the form, a time that comes twice": twice,
        "the form, words half read": half_read,
        "the form, a time that has passed": passed,
        "the form, years off": far,
        "the form, what repeats": repeating,
        "the appearance": at("/appearance"),
        "the mail": at(f"{states['scheduled']}/mail"),
        "the mail, raw": at(f"{states['scheduled']}/mail?part=raw"),
        **{f"a reminder, {status}": at(path) for status, path in states.items()},
        "the form to change one": at(f"{states['scheduled']}/edit"),
        **{f"the list, {shelf}": at(f"/reminders?show={shelf}") for shelf in Shelf},
        "the list, a search in vain": at("/reminders?q=nothing"),
        "later": at(f"{states['sent']}/snooze"),
        "too late": at(f"{states['sent']}/edit"),
        "not found": at("/nothing"),
        "the inbox": at("/inbox"),
        **{
            f"a mail, {part}": at(f"/inbox/{mail}?part={part}") for part in ("text", "html", "headers", "raw", "checks")
        },
        "the API": at("/docs"),
        **{f"the queue, {path}": at(f"/queue{path}") for path in QUEUE},
    }


@pytest.fixture(scope="session")
def axe() -> str:
    """The library's source, as the lock file has it."""
    npm.install(FOLDER, "The tests of accessibility")
    return (FOLDER / "node_modules" / "axe-core" / "axe.min.js").read_text()


@asynccontextmanager
async def tolerant(visit: Visit, **options: Any) -> AsyncIterator[Visitor]:
    """A visitor who opens pages that are errors, on purpose."""
    async with visit(**options) as visitor:
        visitor.expect(r"status of (4|5)\d\d")
        # A hostile mail in its box is no trouble here.
        visitor.expect("Content Security Policy|sandbox|javascript:")
        yield visitor


async def faults_by_theme(page: Page, axe: str) -> dict[str, list[str]]:
    await page.evaluate(axe)
    found = {}
    for theme in ("light", "dark"):
        await page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
        found[theme] = await page.evaluate(RUN)
    return found


# Each page is opened once for all that is looked for on it: opening them is what takes long.


async def test_axe_finds_nothing_on_any_page_in_either_theme_nothing_is_too_small_and_text_of_twice_the_size_fits(
    visit: Visit, site: Site, states: dict[str, str], axe: str
) -> None:
    found = {}
    async with tolerant(visit) as visitor:
        for name, open_it in (await every_page(site, states)).items():
            await open_it(visitor)
            faults = await faults_by_theme(visitor.page, axe)
            faults["small"] = await visitor.page.evaluate(SMALL, 24)
            await visitor.page.evaluate("() => { document.documentElement.style.fontSize = '200%' }")
            found[name] = faults | {"at 200 %": await visitor.page.evaluate(TOO_WIDE)}

    assert found == {name: {"light": [], "dark": [], "small": [], "at 200 %": []} for name in found}


async def test_axe_finds_nothing_when_there_is_no_database_and_no_mail(visit: Visit, axe: str, tmp_path: Path) -> None:
    port = free_port()
    env = {"PORT": str(port), "DATABASE_URL": f"postgres://nobody@127.0.0.1:{free_port()}/none", "RMINDR_ACCESS": "open",
           "REDIS_URL": f"redis://127.0.0.1:{free_port()}", "PYTHONPATH": str(ROOT)}  # fmt: skip
    found = {}
    async with Process("web", env=env, folder=tmp_path) as process:
        async with tolerant(visit, url=f"http://127.0.0.1:{port}") as visitor:
            await answering_at(visitor, process)
            page = visitor.page
            await empty(visitor)
            await page.get_by_label("Message").fill("Kept")
            await page.get_by_label("Email address").fill("ada@example.org")
            await page.get_by_role("button", name="Schedule").click()
            await expect(page.get_by_role("alert")).to_contain_text("could not be saved just now")
            await expect(page.get_by_role("alert")).to_be_focused()
            await expect(page.get_by_label("Message")).to_have_value("Kept")
            found["not saved"] = await faults_by_theme(page, axe)
            await visitor.go("/reminders/01900000-0000-7000-8000-000000000000")
            found["not now"] = await faults_by_theme(page, axe)

    assert found == {name: {"light": [], "dark": []} for name in found}


async def answering_at(visitor: Visitor, process: Process) -> None:
    async with httpx.AsyncClient(base_url=visitor.url) as client:
        await answering(client, process)


# Sizes


@pytest.mark.parametrize("scripts", [True, False])
async def test_by_touch_nothing_is_too_small_and_nothing_wider_than_the_screen_from_320_pixels_up(
    visit: Visit, site: Site, states: dict[str, str], scripts: bool
) -> None:
    found: dict[tuple[str, object], Any] = {}
    async with tolerant(visit, **PHONE | {"java_script_enabled": scripts}) as visitor:
        for name, open_it in (await every_page(site, states)).items():
            if scripts or open_it not in (empty, twice, half_read, passed, repeating):
                await open_it(visitor)
                found[name, "small"] = await visitor.page.evaluate(SMALL, 44)
                for width in (320, 390, 480, 768):
                    await visitor.page.set_viewport_size({"width": width, "height": 640})
                    found[name, width] = await visitor.page.evaluate(TOO_WIDE)

    assert found == {place: [] for place in found}


# Colours


TEXT_ON: Final = [
    ("ink", "paper"), ("ink", "surface"), ("ink", "sunken"), ("ink", "accent-soft"), ("ink", "bad-soft"),
    ("muted", "paper"), ("muted", "surface"), ("muted", "sunken"),
    ("accent", "paper"), ("accent", "surface"), ("accent", "accent-soft"), ("accent-ink", "accent"),
    ("good", "good-soft"), ("warn", "warn-soft"), ("warn", "paper"), ("bad", "bad-soft"), ("bad", "surface"), ("bad", "paper"),
]  # fmt: skip
LINES_ON: Final = [("strong-line", "surface"), ("strong-line", "paper"), ("accent", "paper"), ("bad", "surface")]


def tokens() -> dict[str, dict[str, str]]:
    """The colours of both themes, by name."""
    css = (ROOT / "rmindr" / "web" / "static" / "rmindr.css").read_text()
    pairs = re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", css)
    return {"light": {name: light for name, light, _ in pairs}, "dark": {name: dark for name, _, dark in pairs}}


def contrast(one: str, other: str) -> float:
    """WCAG's ratio of two colours."""

    def luminance(colour: str) -> float:
        channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_text_and_what_can_be_clicked_stand_out(theme: str) -> None:
    colours = tokens()[theme]
    faint = {
        (one, other): round(contrast(colours[one], colours[other]), 2)
        for least, pairs in ((4.5, TEXT_ON), (3.0, LINES_ON))
        for one, other in pairs
        if contrast(colours[one], colours[other]) < least
    }

    assert faint == {}


async def test_whoever_wants_no_motion_sees_none(visit: Visit) -> None:
    async with visit(reduced_motion="reduce") as visitor:
        await visitor.go("/")
        moving = await visitor.page.evaluate(
            "() => [...document.querySelectorAll('*')].map((each) => getComputedStyle(each))"
            ".filter((style) => style.transitionDuration !== '0s' || style.animationName !== 'none').length"
        )

    assert moving == 0
