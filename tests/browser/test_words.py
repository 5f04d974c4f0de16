"""Time words and what repeats, in a real browser: typed, shown, kept, skipped and ended; with scripts and without."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Visit, in_every_way

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]


async def test_words_are_read_while_one_types_and_fill_the_date_and_the_time(visit: Visit) -> None:
    async with visit() as visitor:
        visitor.expect("status of 422")
        page, preview = visitor.page, visitor.page.locator("#preview")
        await visitor.go("/")
        await page.get_by_label("Time zone").fill("Europe/Paris")
        await page.get_by_label("In words").fill("1 march 2031 18:00")
        await expect(preview).to_have_text(re.compile(r"^Sends Saturday 1 March 2031 at 18:00 in Paris \(UTC\+1\)"))
        await expect(page.get_by_label("Date", exact=True)).to_have_value("2031-03-01")
        await expect(page.get_by_label("Time", exact=True)).to_have_value("18:00")

        await page.get_by_label("In words").fill("2 march 2031 at 3")
        await expect(page.locator("#refused del")).to_have_text("3")
        await page.get_by_label("15:00 (in the afternoon)").click()
        await expect(preview).to_have_text(re.compile("Sunday 2 March 2031 at 15:00 in Paris"))
        await expect(page.get_by_label("In words")).to_have_value("2 march 2031 at 15:00")

        await page.get_by_label("Date", exact=True).fill("2031-03-04")
        await expect(page.get_by_label("In words")).to_have_value("")
        await expect(preview).to_have_text(re.compile("Tuesday 4 March 2031 at 15:00 in Paris"))


@in_every_way
async def test_what_repeats_is_shown_kept_skipped_and_ended(visit: Visit, way: dict[str, Any]) -> None:
    scripts = way.get("java_script_enabled", True)
    async with visit(**way) as visitor:
        page = visitor.page
        await visitor.go("/")
        await page.get_by_label("Message").fill("Water the plants")
        await page.get_by_label("Email address").fill("plants@example.org")
        await page.get_by_label("In words").fill("every weekday at 8")
        if not scripts:
            await page.get_by_role("button", name="Check the time").click()
        await expect(page.locator("#more")).to_contain_text("It repeats every weekday at 08:00.")
        await expect(page.locator("#more li")).to_have_count(5)

        await page.get_by_role("button", name="Schedule").click()
        await expect(page.get_by_text("Every weekday at 08:00.")).to_be_visible()
        await page.get_by_role("button", name="Skip this one").click()
        await expect(page.locator("#badge")).to_have_text("Cancelled")
        await page.get_by_role("button", name="Cancel all that follow").click()
        await expect(page.get_by_text("All that follow are cancelled.")).to_be_visible()
        await page.get_by_role("button", name="Undo").click()
        await expect(page).to_have_title("Undone · rmindr")


@in_every_way
async def test_a_time_that_has_passed_is_mended_by_one_button(visit: Visit, way: dict[str, Any]) -> None:
    async with visit(**way) as visitor:
        visitor.expect("status of 422")
        page = visitor.page
        await visitor.go("/")
        await page.get_by_label("Message").fill("Bread")
        await page.get_by_label("Email address").fill("bread@example.org")
        await page.get_by_label("Date", exact=True).fill("2001-01-01")
        await page.get_by_role("button", name="Schedule").click()
        await expect(page.get_by_role("alert")).to_contain_text("is in the past")
        await expect(page.get_by_label("Message")).to_have_value("Bread")
        await page.get_by_role("button", name="Send it now").click()

        await expect(page.locator("#badge")).to_have_text("Sent")
