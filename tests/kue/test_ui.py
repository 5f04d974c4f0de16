"""Kue's own UI, in a browser, works on our API: its pages come from Kue, all that it asks is answered by us."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, Route, async_playwright, expect

from rmindr.queue import Queue, State
from tests.kue.original import Kue, working
from tests.servers import Valkey
from tests.web.site import serving

pytestmark = [pytest.mark.kue, pytest.mark.browser]

# How long anything may take on a busy machine.
expect.set_options(timeout=30_000)
_API = re.compile(r"/(stats|job|jobs|inactive/\d+)(/|\?|$)")
_BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
async def page(kue: Kue, valkey: Valkey, prefix: str, tmp_path: Path) -> AsyncIterator[Page]:
    """A page that takes Kue's pages and scripts from Kue, and speaks to our API."""
    if _BROWSER is None:
        pytest.fail("The test of Kue's UI needs a browser: install it with `apt install chromium`.", pytrace=False)
    port = await kue.ask(verb="listen")
    settings = {"REDIS_URL": valkey.url, "queue_prefix": prefix, "DATABASE_URL": f"sqlite:///{tmp_path}/no.db"}
    async with (
        serving(access="open", **settings) as site,
        async_playwright() as playwright,
        await playwright.chromium.launch(executable_path=_BROWSER, args=["--no-sandbox", "--disable-gpu"]) as browser,
        await browser.new_context(base_url=f"http://127.0.0.1:{port}") as context,
    ):

        async def answer(route: Route) -> None:
            asked = urlsplit(route.request.url)
            # As a proxy before both would: one host.
            given = {**route.request.headers, "host": asked.netloc}
            path = f"/queue/api{asked.path}?{asked.query}"
            told = await site.client.request(route.request.method, path, headers=given)
            await route.fulfill(status=told.status_code, body=told.content, content_type=told.headers["Content-Type"])

        page = await context.new_page()
        await page.route(_API, answer)
        yield page


async def test_kues_ui_shows_and_moves_our_jobs(page: Page, valkey: Valkey, prefix: str) -> None:
    async with Queue.open(valkey.url, prefix=prefix, search=("title",)) as queue:

        async def fails(job: object, context: object) -> None:
            raise RuntimeError("no such mailbox")

        for title in ("Grüße 🎂", "Pay the rent"):
            await queue.create("email", {"title": title})
        waits = await queue.create("sms", {"title": "later"}, delay=timedelta(hours=1))
        queue.process("email", fails)
        async with queue.listening(), working(queue):
            for job_id in (1, 2):
                with pytest.raises(Exception, match="no such mailbox"):
                    await queue.result(job_id)

        await page.goto("/failed")
        await expect(page.locator("#menu .failed .count")).to_have_text("2")
        await expect(page.locator("#menu .delayed .count")).to_have_text("1")
        await expect(page.locator("#job-1 .meta .title")).to_have_text("Grüße 🎂")
        await expect(page.locator("#job-2 .errorMessage")).to_contain_text("no such mailbox")
        await expect(page.locator("#job-2 .attempts")).to_have_text("1/1")

        await page.locator("#search").press_sequentially("rent")
        await expect(page.locator("#job-1")).to_be_hidden()
        await expect(page.locator("#job-2")).to_be_visible()

        # It comes into reach when a mouse hovers over the job.
        await page.locator("#job-2 .remove").dispatch_event("click")
        await expect(page.locator("#menu .failed .count")).to_have_text("1")
        assert await queue.get(2) is None

        await page.locator("#menu .delayed a").click()
        job = page.locator(f"#job-{waits.id}")
        await job.locator(".contents").click()
        await job.locator(".priority").click()
        await job.locator("select").select_option("-15")
        await job.locator(".state").click()
        # The state's row is the first.
        await job.locator("select").first.select_option("active")
        await expect(page.locator("#error")).to_contain_text("job 3 is delayed")
        await job.locator("select").first.select_option("inactive")
        await expect(page.locator("#menu .inactive .count")).to_have_text("1")

        found = await queue.get(waits.id)
        assert found is not None
        assert (found.state, found.priority) == (State.INACTIVE, -15)
