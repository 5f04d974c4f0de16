"""Whatever somebody writes is text on every page that shows it: no dialog, no request, nothing moved (S20)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Page, expect

from rmindr.schema import migrate
from tests.browser.conftest import Site, Visit
from tests.browser.hostile import PAYLOADS
from tests.servers import Valkey
from tests.sink import Sink
from tests.stack import Stack, post, soon, until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]
ALL = "\n".join(PAYLOADS)
# What a payload would have made of the page.
BROKEN = (
    "main script, main iframe:not([sandbox]), object, embed, base, main style, main meta, main link, img, "
    "[onerror], [onload], [onfocus], [ontoggle], [onmouseover], a[href^='javascript:'], form[action*=evil]"
)


async def is_whole(page: Page) -> None:
    """The page is what the template made it, once whatever could still load has loaded."""
    await page.wait_for_load_state("load")
    await expect(page.locator(BROKEN)).to_have_count(0)
    await expect(page.locator("main")).to_have_count(1)
    assert str(7777 * 7777) not in await page.content()


async def test_messages_and_subjects_are_text_on_the_reminders_pages_and_in_the_inbox(visit: Visit, site: Site) -> None:
    due = soon(4)
    ids = [await post(site.client, "xss@example.org", due, message=ALL, subject=payload) for payload in PAYLOADS]
    await until(site.client, ids)
    waiting = await post(site.client, "xss@example.org", soon(3600), message=ALL, subject=PAYLOADS[0])
    mails = (await site.client.get("/inbox/api/messages?to=xss@example.org")).json()["items"]
    assert len(mails) == len(PAYLOADS)

    async with visit() as visitor:
        page = visitor.page
        for id, payload in zip(ids, PAYLOADS, strict=True):
            await visitor.go(f"/reminders/{id}")
            await is_whole(page)
            await expect(page.locator(".letter dd").last).to_have_text(payload)
        assert await page.locator(".message").inner_text() == ALL
        await visitor.go(f"/reminders/{waiting}/edit")
        await is_whole(page)
        await expect(page.get_by_label("Message")).to_have_value(ALL)
        await visitor.go("/inbox")
        await is_whole(page)
        for payload in PAYLOADS:
            await expect(page.locator("b").get_by_text(payload, exact=True).first).to_be_attached()
        for part in ("text", "headers", "raw", "html"):
            await visitor.go(f"/inbox/{mails[0]['id']}?part={part}")
            await is_whole(page)
        mail = page.frame_locator("iframe")
        await expect(mail.locator("script, img, iframe, form, [onerror], [onfocus]")).to_have_count(0)
        await expect(mail.locator(".text")).to_have_text(ALL)


async def test_a_hostile_html_mail_can_do_nothing_in_its_box(visit: Visit, site: Site) -> None:
    hostile = (await site.client.get("/inbox/api/messages?to=hostile@example.org")).json()["items"][0]
    async with visit() as visitor:
        # The browser says what it did not do.
        visitor.expect(r"^(error|warning): .*(Content Security Policy|sandbox|Blocked script|javascript:)")
        page = visitor.page
        await visitor.go(f"/inbox/{hostile['id']}?part=html")
        title = await page.title()
        await expect(page.frame_locator("iframe").get_by_text("the end")).to_be_visible()
        await page.wait_for_load_state("networkidle")
        assert await page.title() == title
        assert page.url.startswith(site.url)

        # Opened alone, as somebody may whom a link leads there, it can do no more.
        await visitor.go(f"/inbox/{hostile['id']}/html")
        await expect(page.get_by_text("the end")).to_be_visible()
        await page.wait_for_load_state("networkidle")
        assert page.url.startswith(site.url)


async def test_what_is_refused_is_text_on_the_form_that_comes_back(visit: Visit) -> None:
    fields = ("time_zone", "subject", "to")
    async with visit() as visitor:
        visitor.expect("status of 422")
        page = visitor.page
        for start in range(0, len(PAYLOADS), len(fields)):
            typed = {"message": ALL, **dict(zip(fields, PAYLOADS[start:], strict=False))}
            await visitor.go("/")
            await page.get_by_text("Subject, if you want one").click()
            for name, text in typed.items():
                await page.locator(f"#{name}").fill(text)
            await page.locator("button.primary").click()

            await expect(page.get_by_role("alert")).to_be_visible()
            await is_whole(page)
            for name, text in typed.items():
                await expect(page.locator(f"#{name}")).to_have_value(text)


async def test_a_mail_servers_own_words_are_text(visit: Visit, valkey: Valkey, prefix: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'rmindr.db'}"
    await asyncio.to_thread(migrate, url)
    async with Sink() as sink:
        stack = Stack(url, valkey, sink, {"RMINDR_QUEUE_PREFIX": prefix})
        sink.replies |= {f"RCPT p{n}@example.org": f"550 5.1.1 {payload}" for n, payload in enumerate(PAYLOADS)}
        async with stack.web() as client, stack.worker():
            ids = [await post(client, f"p{n}@example.org", soon(6)) for n in range(len(PAYLOADS))]
            await until(client, ids)
            async with visit(url=str(client.base_url).rstrip("/")) as visitor:
                await look(visitor.page, client, ids)


async def look(page: Page, client: httpx.AsyncClient, ids: list[str]) -> None:
    for id, payload in zip(ids, PAYLOADS, strict=True):
        await page.goto(str(client.base_url.join(f"/reminders/{id}")))
        await is_whole(page)
        await expect(page.locator("#badge")).to_have_text("Not sent")
        await expect(page.locator(".timeline")).to_contain_text(payload)
        await expect(page.locator("#lead")).to_contain_text(payload)
