"""Light or dark: chosen by a button, kept by a cookie, without scripts."""

from __future__ import annotations

import pytest

from tests.web.site import Page, Site


def themed(page: Page) -> str | None:
    """What the page says it is to be shown in."""
    (html,) = [given for tag, given in page.tags if tag == "html"]
    return html.get("data-theme")


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_a_choice_holds_for_every_page_until_another(site: Site, theme: str) -> None:
    answer = await site.submit("/appearance", theme=theme)
    shown = {path: themed(await site.see(path)) for path in ("/", "/docs", "/nothing", "/reminders")}
    await site.submit("/appearance", theme="")

    assert (answer.status_code, answer.headers["Location"]) == (303, "/appearance")
    assert shown == dict.fromkeys(shown, theme)
    assert themed(await site.see("/")) is None


async def test_the_page_says_what_is_chosen(site: Site) -> None:
    await site.submit("/appearance", theme="dark")

    buttons = [given for tag, given in (await site.see("/appearance")).tags if tag == "button"]

    assert [(each["value"], each["aria-pressed"]) for each in buttons] == [
        ("", "false"), ("light", "false"), ("dark", "true"),
    ]  # fmt: skip


async def test_a_theme_that_is_none_is_the_system_s(site: Site) -> None:
    answer = await site.submit("/appearance", theme='"><script>')
    site.client.cookies.set("theme", '"><script>')

    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert themed(await site.see("/")) is None


async def test_another_site_changes_nothing(site: Site) -> None:
    answer = await site.submit("/appearance", headers={"Sec-Fetch-Site": "cross-site"}, theme="dark")

    assert answer.status_code == 403
