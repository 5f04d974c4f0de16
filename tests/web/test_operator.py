"""Who may see and steer the queue: everybody on loopback, else whoever has the token, and no page of another site."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Final

import pytest

from rmindr.errors import SettingsError
from rmindr.queue import Queue
from rmindr.settings import Settings
from tests.conftest import Clock
from tests.queue.scenery import keyspace, standing
from tests.web.conftest import Serve
from tests.web.folk import STRICT, browser, sign_up
from tests.web.queue import ACTING, EVERYWHERE, LOOKING, Api, refused
from tests.web.site import BROWSER, CONFIRMED, Site

ON_ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
TOKEN: Final = "a-token-for-tests-that-nobody-can-guess"
CLOSED: Final = CONFIRMED | {"admin_token": TOKEN}
BEARER: Final = {"Authorization": f"Bearer {TOKEN}"}
UI: Final = {"X-Requested-With": "XMLHttpRequest"}


@pytest.fixture
async def closed(serve: Serve) -> AsyncIterator[Api]:
    """As beyond loopback, with a token."""
    async with serve(**CLOSED) as site:
        yield Api(site)


@ON_ONE
async def test_beyond_loopback_without_a_token_nothing_is_there(serve: Serve) -> None:
    async with serve(**CONFIRMED) as site:
        for method, path in EVERYWHERE:
            for headers in ({}, BEARER, {"Authorization": "Bearer "}, {"Authorization": "Basic Og=="}):
                refused(await Api(site).ask(method, path, headers=headers), 404)


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(f'{name}:{password}'.encode()).decode()}"}


NOT_IT: Final = {
    "nothing": {},
    "another token": {"Authorization": f"Bearer {TOKEN[:-1]}x"},
    "a part of it": {"Authorization": f"Bearer {TOKEN[:-1]}"},
    "more than it": {"Authorization": f"Bearer {TOKEN}x"},
    "no token": {"Authorization": "Bearer"},
    "another scheme": {"Authorization": f"Token {TOKEN}"},
    "no scheme": {"Authorization": TOKEN},
    "as a name": basic(TOKEN, ""),
    "another password": basic("admin", "password"),
    "an empty password": basic("", ""),
    "no base64": {"Authorization": f"Basic admin:{TOKEN}"},
    "base64 without a colon": {"Authorization": f"Basic {b64encode(TOKEN.encode()).decode()}"},
    "other letters": {"Authorization": "Bearer \xe9\xff".encode("latin-1").decode("latin-1")},
}


@ON_ONE
@pytest.mark.parametrize("case", NOT_IT)
async def test_whoever_has_not_the_token_sees_nothing_and_changes_nothing(
    closed: Api, queue: Queue, clock: Clock, case: str
) -> None:
    await standing(queue, clock, "failed")
    before = await keyspace(queue)
    headers = {name.encode(): value.encode("latin-1") for name, value in NOT_IT[case].items()}

    for method, path in EVERYWHERE:
        answer = await closed.ask(
            method, path, headers=headers, **({"json": {"type": "email"}} if path == "/job" else {})
        )
        refused(answer, 401)
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
        assert TOKEN not in answer.text

    assert await keyspace(queue) == before


@ON_ONE
@pytest.mark.parametrize(
    "headers",
    [BEARER, {"Authorization": f"bearer  {TOKEN} "}, basic("", TOKEN), basic("admin", TOKEN), basic("ü", TOKEN)],
    ids=["bearer", "bearer, sloppily", "password", "password of somebody", "password of another"],
)
async def test_whoever_has_the_token_may_do_everything(
    closed: Api, queue: Queue, clock: Clock, headers: dict[str, str]
) -> None:
    await standing(queue, clock, "failed")

    for method, path in (*(("GET", path) for path in LOOKING), ("GET", "/openapi.json"), *ACTING):
        if (method, path) == ("PUT", "/inactive/1"):
            continue
        body = {"json": {"type": "email"}} if path == "/job" else {}
        answer = await closed.ask(method, path, headers=headers, **body)
        assert answer.status_code == 200, f"{method} {path}: {answer.text}"

    assert await queue.jobs.ids() == [2]


@ON_ONE
async def test_the_token_does_not_open_what_is_kue_s_ui_only(closed: Api) -> None:
    """An answer that it is refused has a status of its own whoever asks: a browser must ask for the password."""
    assert (await closed.ask("GET", "/stats", headers=UI)).status_code == 401


OF_OTHERS: Final = (
    {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"},
    {"Referer": "https://evil.example/x"}, {"Origin": "http://localhost:8001"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost:8000"},
)  # fmt: skip


@ON_ONE
@pytest.mark.parametrize("settings", [{}, CLOSED], ids=["open", "with a token"])
async def test_a_page_of_another_site_changes_nothing(
    serve: Serve, queue: Queue, clock: Clock, settings: dict[str, str]
) -> None:
    await standing(queue, clock, "failed")
    before = await keyspace(queue)

    async with serve(**settings) as site:
        for headers in OF_OTHERS:
            for method, path in ACTING:
                body = {"json": {"type": "email"}} if path == "/job" else {}
                refused(await Api(site).ask(method, path, headers=BEARER | headers, **body), 403)

    assert await keyspace(queue) == before


@ON_ONE
async def test_our_own_pages_and_programs_may_act(site: Site) -> None:
    for headers in (
        {}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": "http://localhost:8000"},
        {"Referer": "http://localhost:8000/queue"},
    ):  # fmt: skip
        answer = await Api(site).ask("POST", "/job", json={"type": "email"}, headers=headers)
        assert answer.status_code == 200, headers


@pytest.mark.parametrize(
    "token", ["", "x" * 31, "a token with spaces in it, and so no one", "ü" * 32, "x" * 32 + "\n"], ids=str.__len__
)
def test_a_token_that_cannot_be_sent_or_can_be_guessed_is_refused_at_the_start(token: str) -> None:
    with pytest.raises(SettingsError, match="RMINDR_ADMIN_TOKEN: must have at least 32 plain characters"):
        Settings.load(**CONFIRMED, admin_token=token)


def test_the_token_does_not_show() -> None:
    assert TOKEN not in repr(Settings.load(**CLOSED))


# Whoever operates it, signed in as a person


ADMINS: Final = STRICT | {"admins": "Root@example.org, other@example.org"}


async def test_whoever_is_signed_in_at_an_operator_s_address_sees_the_queue_and_nobody_else(serve: Serve) -> None:
    async with serve(**ADMINS) as site, browser(site) as root, browser(site) as ada:
        await sign_up(root, "ROOT@example.org")
        await sign_up(ada, "ada@example.org")
        answers = [
            [(await at.client.get(path, headers=BROWSER)).status_code for path in ("/queue", "/queue/api/stats")]
            for at in (root, ada, site)
        ]

        assert answers == [[200, 200], [404, 404], [404, 404]]
        assert [("/queue", "Queue") in (await at.see("/reminders")).links for at in (root, ada)] == [True, False]


async def test_an_operator_s_browser_acts_from_pages_of_ours_alone(serve: Serve) -> None:
    async with serve(**ADMINS) as site, browser(site) as root:
        await sign_up(root, "root@example.org")

        elsewhere = await root.submit("/queue/pause", headers={"Sec-Fetch-Site": "cross-site"}, x="y")
        here = await root.submit("/queue/pause", x="y")

        assert (elsewhere.status_code, here.status_code) == (403, 303)


async def test_an_operator_who_signs_out_is_none_any_more(serve: Serve) -> None:
    async with serve(**ADMINS) as site, browser(site) as root:
        await sign_up(root, "root@example.org")
        await root.submit("/sign-out")

        assert (await root.client.get("/queue", headers=BROWSER)).status_code == 404


def test_an_operator_who_is_no_address_is_refused_at_the_start() -> None:
    with pytest.raises(SettingsError, match="RMINDR_ADMINS: must be addresses, separated by commas"):
        Settings.load(**CONFIRMED, admins="root")
