"""A person's whole way, in a real browser: from the empty form to the mail that was read."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Site, Visit, in_every_way
from tests.stack import post, reminder, soon, until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]


async def write(page: Page, *, message: str, to: str, seconds: float, zone: str) -> None:
    """Fill the form as somebody in this zone does."""
    moment = datetime.now(ZoneInfo(zone)) + timedelta(seconds=seconds)
    await page.get_by_label("Message").fill(message)
    await page.get_by_label("Date", exact=True).fill(f"{moment:%Y-%m-%d}")
    await page.get_by_label("Time", exact=True).fill(f"{moment:%H:%M:%S}")
    await page.get_by_label("Email address").fill(to)


async def test_a_person_schedules_a_mail_sees_it_leave_and_reads_it(visit: Visit) -> None:
    async with visit() as visitor:
        page = visitor.page
        await visitor.go("/")
        await expect(page.get_by_label("Message")).to_be_focused()
        await expect(page.get_by_label("Time zone")).to_have_value("Asia/Kolkata")
        await expect(page.locator("#zone-now")).to_have_text(re.compile(r"It is \d\d:\d\d UTC\+5:30 in Kolkata now"))
        await expect(page.locator("#preview")).to_have_text(re.compile(r"^Sends .* at 09:00 in Kolkata \(UTC\+5:30\)"))

        await write(page, message="Call mum\n<about> Sunday", to="journey@example.org", seconds=5, zone="Asia/Kolkata")
        await expect(page.locator("#preview")).to_have_text(
            re.compile(r"^Sends .*:\d\d in \w+ \(UTC\+5:30\), in \d+ seconds?\.$")
        )
        await page.get_by_role("button", name="Schedule").click()

        await expect(page).to_have_title("Scheduled: Reminder: Call mum · rmindr")
        await expect(page.locator("[data-countdown]")).to_have_text(re.compile(r"^(\d+ seconds?|a moment)$"))
        address = page.url
        await expect(page.locator("#badge")).to_have_text("Sent")
        assert page.url == address
        await expect(page).to_have_title("Sent: Reminder: Call mum · rmindr")
        await expect(page.locator("#news")).to_have_text("Sent")
        await expect(page.locator("#lead")).to_have_text(re.compile(r"The mail server took it \d.* after its time\."))
        await expect(page.locator(".timeline")).to_contain_text("250 2.0.0 Ok")

        await page.get_by_role("link", name="Inbox").click()
        await page.get_by_role("link", name=re.compile("Reminder: Call mum.*journey@example.org")).click()
        await expect(page.locator("pre")).to_contain_text("Call mum\n<about> Sunday")
        await page.get_by_role("link", name="HTML").click()
        mail = page.frame_locator("iframe")
        await expect(mail.locator("body")).to_contain_text("Call mum\n<about> Sunday")
        async with page.expect_popup() as popup:
            await mail.get_by_role("link", name="See, change or cancel it").click()
        await expect((await popup.value).locator("#badge")).to_have_text("Sent")


async def test_the_same_way_without_scripts(visit: Visit) -> None:
    async with visit(java_script_enabled=False) as visitor:
        page = visitor.page
        await visitor.go("/")
        await expect(page.get_by_label("Time zone")).to_have_value("UTC")
        await expect(page.locator("#presets")).to_be_hidden()

        await write(page, message="Call dad", to="noscript@example.org", seconds=6, zone="UTC")
        await page.get_by_role("button", name="Check the time").click()
        await expect(page.locator("#preview")).to_have_text(re.compile(r"^Sends .* \(UTC\), in \d+ seconds?\.$"))
        await page.get_by_role("button", name="Schedule").click()

        await expect(page.locator("#badge")).to_have_text("Scheduled")
        # The page looks again by itself.
        await expect(page.locator("#badge")).to_have_text("Sent")
        await page.get_by_role("link", name="Inbox").click()
        await page.get_by_role("link", name=re.compile("noscript@example.org")).click()
        await expect(page.locator("pre")).to_contain_text("Call dad")
        await page.get_by_role("link", name="HTML").click()
        await expect(page.frame_locator("iframe").locator("body")).to_contain_text("Call dad")


async def test_the_same_way_by_keyboard_alone(visit: Visit) -> None:
    async with visit() as visitor:
        page, press = visitor.page, visitor.page.keyboard.press

        async def tab_to(name: str) -> None:
            for _ in range(30):
                await press("Tab")
                # What has a part of its own in focus, such as a date's picker, is drawn by the browser.
                focus = (
                    "[document.activeElement.matches(':focus'), getComputedStyle(document.activeElement).outlineStyle]"
                )
                whole, outline = await page.evaluate(focus)
                assert outline != "none" or not whole, "where the focus is cannot be seen"
                if await page.evaluate("name => document.activeElement.matches(name)", name):
                    return
            pytest.fail(f"{name} cannot be reached by keyboard")

        await visitor.go("/")
        await expect(page.locator("#preview")).not_to_be_empty()
        await page.keyboard.type("Water the plants")
        await tab_to("#presets button:nth-child(2)")
        await press("Enter")
        await expect(page.locator("#preview")).to_have_text(re.compile("in (1 hour|59 minutes)"))
        await tab_to("#to")
        await page.keyboard.type("keyboard@example.org")
        await tab_to("summary")
        await tab_to("button.primary")
        await press("Enter")

        await expect(page.locator("#badge")).to_have_text("Scheduled")
        await tab_to("button.danger")
        await press("Enter")
        await expect(page.locator("#badge")).to_have_text("Cancelled")
        await press("Tab")
        await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
        await press("Enter")
        await tab_to("a.button[href='/']")
        await expect(page.get_by_role("link", name="Make another")).to_be_focused()


async def test_a_reminder_is_changed_and_then_cancelled(visit: Visit, site: Site) -> None:
    id = await post(site.client, "change@example.org", soon(7200), time_zone="America/New_York")
    async with visit() as visitor:
        page = visitor.page
        await visitor.go(f"/reminders/{id}")
        await expect(page.locator("#yours")).to_have_text(re.compile(r" for you in Kolkata\.$"))

        await page.get_by_role("link", name="Change").click()
        await expect(page.get_by_label("Time zone")).to_have_value("America/New_York")
        await page.get_by_label("Message").fill("Something else")
        await page.get_by_role("button", name="Save changes").click()
        await expect(page.locator(".message")).to_have_text("Something else")
        await expect(page.locator(".timeline")).to_contain_text("Changed")

        await page.get_by_role("button", name="Cancel it").click()
        await expect(page.locator("#badge")).to_have_text("Cancelled")
        await expect(page.get_by_role("button", name="Cancel it")).to_have_count(0)
    found = await reminder(site.client, id)
    assert (found["status"], found["message"]) == ("cancelled", "Something else")


@in_every_way
async def test_a_change_that_comes_too_late_says_so_and_keeps_what_was_typed_for_another(
    visit: Visit, site: Site, way: dict[str, Any]
) -> None:
    id = await post(site.client, "late@example.org", soon(4))
    async with visit(**way) as visitor:
        visitor.expect("status of 409")
        page = visitor.page
        await visitor.go(f"/reminders/{id}/edit")
        await page.get_by_label("Message").fill("What I would rather have said")
        await page.get_by_label("Date", exact=True).fill("2030-01-01")
        await until(site.client, [id])

        await page.get_by_role("button", name="Save changes").click()
        await expect(page.get_by_role("alert")).to_contain_text("Too late")
        await expect(page.get_by_label("Message")).to_have_value("What I would rather have said")
        await page.get_by_role("button", name="Schedule").click()
        await expect(page.locator("#badge")).to_have_text("Scheduled")
        await visitor.go(f"/reminders/{id}")
        await expect(page.locator("#badge")).to_have_text("Sent")


@pytest.mark.parametrize("scripts", [True, False])
async def test_errors_keep_what_was_typed_and_lead_to_their_fields(visit: Visit, scripts: bool) -> None:
    async with visit(java_script_enabled=scripts) as visitor:
        visitor.expect("status of 422")
        page = visitor.page
        await visitor.go("/")
        await page.get_by_label("Message").fill("Text that took\nan hour to write")
        await page.get_by_label("Date", exact=True).fill("2001-01-01")
        await page.get_by_label("Email address").fill("nobody@")
        await page.get_by_role("button", name="Schedule").click()

        summary = page.get_by_role("alert")
        await expect(page).to_have_title("Error: New reminder · rmindr")
        await expect(summary.get_by_role("link")).to_have_count(2)
        if scripts:
            await expect(summary).to_be_focused()
        await expect(page.get_by_label("Message")).to_have_value("Text that took\nan hour to write")
        await expect(page.get_by_label("Email address")).to_have_value("nobody@")
        await expect(page.get_by_label("Email address")).to_have_accessible_description(re.compile("^Email address "))
        await summary.get_by_role("link", name="Email address").click()
        await expect(page.get_by_label("Email address")).to_be_focused()

        await page.get_by_label("Email address").fill("somebody@example.org")
        await page.get_by_label("Date", exact=True).fill("2030-01-01")
        await page.get_by_role("button", name="Schedule").click()
        await expect(page.locator("#badge")).to_have_text("Scheduled")


async def test_of_a_time_that_comes_twice_one_is_chosen_while_typing(visit: Visit) -> None:
    async with visit() as visitor:
        visitor.expect("status of 422")
        page, preview = visitor.page, visitor.page.locator("#preview")
        await visitor.go("/")
        await page.get_by_label("Message").fill("Set the clocks back")
        await page.get_by_label("Email address").fill("twice@example.org")
        await page.get_by_label("Time zone").fill("Europe/Paris")
        await page.get_by_label("Date", exact=True).fill("2030-10-27")
        await page.get_by_label("Time", exact=True).fill("02:30")

        await expect(preview).to_have_text("This time comes twice that day: choose one of the two.")
        await page.get_by_label("the second (UTC+1)").check()
        await expect(preview).to_have_text(
            re.compile(r"at 02:30 in Paris \(UTC\+1\).* — Sunday 27 October at 07:00 for you in Kolkata")
        )
        await page.get_by_label("Time", exact=True).fill("03:30")
        await expect(page.get_by_label("the second (UTC+1)")).to_have_count(0)
        await expect(preview).to_have_text(re.compile(r"at 03:30 in Paris \(UTC\+1\)"))


async def test_a_zone_that_is_still_being_typed_is_no_mistake_yet(visit: Visit) -> None:
    async with visit() as visitor:
        page, preview = visitor.page, visitor.page.locator("#preview")
        await visitor.go("/")
        await expect(preview).not_to_be_empty()

        await page.get_by_label("Time zone").fill("Europe/Par")
        await expect(preview).to_be_empty()
        await page.get_by_label("Time zone").press_sequentially("is")
        await expect(preview).to_have_text(re.compile("in Paris"))

        visitor.expect("status of 422")
        await page.get_by_label("Time zone").fill("Mars")
        await page.get_by_label("Email address").focus()
        await expect(preview).to_have_text(
            "The time zone is «Mars», which is no time zone; write one like Europe/Paris or UTC."
        )


async def test_presets_say_their_time_and_set_it(visit: Visit) -> None:
    async with visit(timezone_id="America/New_York") as visitor:
        page = visitor.page
        await visitor.go("/")
        await page.get_by_label("Time zone").fill("Europe/Paris")
        for name in ("Tomorrow", "Monday", "Next month"):
            button = page.locator("#presets").get_by_role("button", name=name)
            await button.click()
            await expect(button).to_contain_text("09:00")
            await expect(page.get_by_label("Time", exact=True)).to_have_value("09:00")
            await expect(page.get_by_label("Time zone")).to_have_value("America/New_York")
            await expect(page.locator("#preview")).to_have_text(re.compile("^Sends .* at 09:00 in New York"))
        day = datetime.fromisoformat(await page.get_by_label("Date", exact=True).input_value())
        assert day.day == 1

        await page.locator("#presets").get_by_role("button", name="In 1 minute").click()
        await expect(page.locator("#preview")).to_have_text(re.compile(r", in (\d+ seconds|1 minute)\.$"))


async def test_a_form_sent_twice_by_an_impatient_person_is_one_reminder(visit: Visit, site: Site) -> None:
    async with visit() as visitor:
        page = visitor.page
        await visitor.go("/")
        await page.get_by_label("Message").fill("Impatient")
        await page.get_by_label("Email address").fill("twice@example.org")

        await page.get_by_role("button", name="Schedule").dblclick()
        await expect(page.locator("#badge")).to_have_text("Scheduled")
        first = page.url
        await page.go_back()
        await expect(page.get_by_label("Message")).to_have_value("Impatient")
        await page.get_by_role("button", name="Schedule").click()
        await expect(page.locator("#badge")).to_have_text("Scheduled")

        assert page.url == first
    stored = (await site.client.get("/api/reminders?limit=100")).json()["items"]
    assert len([each for each in stored if each["message"] == "Impatient"]) == 1


async def test_new_mail_shows_in_an_open_inbox_by_itself(visit: Visit, site: Site) -> None:
    async with visit() as visitor:
        page = visitor.page
        await visitor.go("/inbox")
        await expect(page.get_by_text("to while-open@example.org")).to_have_count(0)

        await post(site.client, "while-open@example.org", soon(1))

        await expect(page.get_by_text("to while-open@example.org")).to_have_count(1)
        await page.get_by_role("link", name=re.compile("while-open")).click()
        await page.get_by_role("button", name="Throw away").click()
        await expect(page).to_have_title(re.compile("Inbox"))
        await expect(page.get_by_text("to while-open@example.org")).to_have_count(0)
