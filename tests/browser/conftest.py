"""A real Chromium, and everything in one command behind it: as a person has it after `make run`."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Dialog, Page, Playwright, Request, async_playwright, expect

from rmindr.mail.inbox import Inbox
from tests.browser.hostile import HTML_MAIL
from tests.processes import Process
from tests.servers import free_port
from tests.stack import ROOT

_ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
# How long anything may take on a busy machine.
expect.set_options(timeout=30_000)
_NAMES = ("chromium", "chromium-browser", "google-chrome")
Visit = Callable[..., AbstractAsyncContextManager["Visitor"]]
PHONE: Final = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
# The ways in which a person may come. Each story is told in two that have nothing in common; in all, where WAYS=all.
WAYS: Final[dict[str, dict[str, Any]]] = {
    "scripts": {},
    "phone, dark": PHONE | {"color_scheme": "dark"},
    "no scripts, dark": {"java_script_enabled": False, "color_scheme": "dark"},
    "phone, no scripts": PHONE | {"java_script_enabled": False},
}
_TOLD: Final = list(WAYS) if os.environ.get("WAYS") == "all" else ["scripts", "phone, no scripts"]
in_every_way = pytest.mark.parametrize("way", [WAYS[name] for name in _TOLD], ids=_TOLD)


@dataclass
class Site:
    """A running instance: where it is, where it keeps its things, and a client of its API."""

    url: str
    folder: Path
    client: httpx.AsyncClient


@dataclass
class Visitor:
    """One browser with one page. Whatever it complains of is in `troubles`, but for what a test says it expects."""

    page: Page
    url: str
    expected: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def expect(self, pattern: str) -> None:
        """Complaints that this matches are part of the story."""
        self.expected.append(pattern)

    async def go(self, path: str) -> None:
        """Open a page."""
        await self.page.goto(f"{self.url}{path}")

    def watch(self, page: Page) -> None:
        """Note every error, every violation of the policy, every dialog, and every request that leaves the house."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self._note(f"error: {error}"))
        page.on("dialog", self._dialog)
        page.on("requestfinished", self._request)
        page.on("requestfailed", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._note(f"{message.type}: {message.text} ({message.location.get('url', '')})")

    async def _dialog(self, dialog: Dialog) -> None:
        self._note(f"dialog: {dialog.message}")
        await dialog.dismiss()

    def _request(self, request: Request) -> None:
        address = urlsplit(request.url)
        ours = address.scheme == "data" or f"{address.scheme}://{address.netloc}" == self.url
        # What the policy forbids never leaves the browser.
        if not ours and request.failure != "csp":
            self._note(f"request: {request.url}")

    def _note(self, trouble: str) -> None:
        if not any(re.search(pattern, trouble) for pattern in self.expected):
            self.troubles.append(trouble)


def chromium_of(playwright: Playwright) -> str:
    """The system's browser, or the one that Playwright brought."""
    for path in (*map(shutil.which, _NAMES), playwright.chromium.executable_path):
        if path is not None and Path(path).exists():
            return path
    pytest.fail("The tests in a browser need Chromium: install it with `apt install chromium`.", pytrace=False)


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser() -> AsyncIterator[Browser]:
    """One browser with a fresh profile; each visitor has cookies, storage and a cache of its own."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_of(playwright), args=_ARGUMENTS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """`rmindr dev`, in whose inbox there is a hostile mail already."""
    folder, port = tmp_path_factory.mktemp("dev"), free_port()
    await Inbox(folder / ".rmindr" / "inbox").take("eve@example.net", "hostile@example.org", HTML_MAIL)
    process = Process("dev", env={"PORT": str(port), "PYTHONPATH": str(ROOT)}, folder=folder)
    url = f"http://localhost:{port}"
    async with process, httpx.AsyncClient(base_url=url, timeout=30) as client:
        await process.line("rmindr is ready")
        yield Site(url, folder, client)


@pytest.fixture
def visit(browser: Browser, site: Site) -> Visit:
    """Open a browser of one's own: `async with visit(color_scheme="dark") as visitor`. It must have had no trouble."""

    @asynccontextmanager
    async def visit(url: str = site.url, **options: Any) -> AsyncIterator[Visitor]:
        given = {"viewport": {"width": 1280, "height": 900}, "timezone_id": "Asia/Kolkata", "locale": "en-GB"}
        context = await browser.new_context(**given | options)
        context.set_default_timeout(30_000)
        page = await context.new_page()
        visitor = Visitor(page, url)
        context.on("page", visitor.watch)
        visitor.watch(page)
        try:
            yield visitor
        finally:
            await context.close()
        assert visitor.troubles == []

    return visit
