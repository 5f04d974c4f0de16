"""How much a stranger can ask for: counted before anything is promised, and not by what the stranger says of itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID

import httpx
import pytest
from sqlalchemy import insert, select

from rmindr.ledger import reminders, row
from rmindr.models import Kind, new_id
from tests.web.conftest import Serve
from tests.web.folk import STRICT, browser, rows, sign_up, token
from tests.web.site import CONFIRMED, Site, a_form, a_reminder, problem

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
# By RMINDR_ALLOWED_RECIPIENTS nobody needs to be asked, so that nothing but the count of reminders is met.
AN_HOUR: Final = 20


@pytest.fixture
async def routed(serve: Serve) -> AsyncIterator[Site]:
    """As behind one router, which appends to X-Forwarded-For whom it saw."""
    async with serve(**CONFIRMED | {"trusted_proxies": 1}) as site:
        yield site


async def asked(site: Site, number: int, seen: str) -> httpx.Response:
    """One more reminder; `seen` is X-Forwarded-For as it comes from the router."""
    return await site.client.post(
        "/api/reminders", json=a_reminder(message=str(number)), headers={"X-Forwarded-For": seen}
    )


@pytest.mark.parametrize(
    "seen",
    [
        "198.51.100.7",
        "203.0.113.{n}, 198.51.100.7",
        "127.0.0.1, 10.0.0.{n}, 198.51.100.7",
        "2001:db8:7:7::{n:x}",
        "1.2.3.4, 2001:db8:7:7:{n:x}::1",
        "::ffff:198.51.100.7",
    ],
)
async def test_one_place_gets_its_share_whatever_it_says_of_itself(routed: Site, seen: str) -> None:
    """S26, S27: by another address in front of its own, or by another of the many that one IPv6 connection has."""
    answers = [await asked(routed, n, seen.format(n=n)) for n in range(AN_HOUR + 1)]
    elsewhere = await asked(routed, 99, "192.0.2.99")

    assert [each.status_code for each in answers[:-1]] == [201] * AN_HOUR
    assert "20 reminders an hour from one place" in problem(answers[-1], 429)["detail"]
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert elsewhere.status_code == 201
    assert len(await rows(routed)) == AN_HOUR + 1


async def test_an_address_for_which_a_hundred_wait_gets_no_more(serve: Serve) -> None:
    """S26: and what was refused is not stored."""
    async with serve(**STRICT) as site, browser(site) as ada:
        path = await sign_up(ada, "ada@example.org")
        header = await token(ada, "reminders:write")
        database = site.app.state.database
        async with database.statements() as connection:
            first = dict((await connection.execute(select(*row).where(row.id == UUID(path[-36:])))).mappings().one())
            more = [first | {"id": new_id(), "idem_key": None} for _ in range(99)]
            await connection.execute(insert(reminders), more)

        form = await ada.submit(**a_form(to="ADA@example.org", key="101"))
        api = await ada.client.post("/api/reminders", json=a_reminder(to="ada@example.org"), headers=header)
        other = await ada.client.post("/api/reminders", json=a_reminder(to="bob@example.org"), headers=header)

        assert form.status_code == 429
        assert "100 reminders" in problem(api, 429)["detail"]
        assert other.status_code == 202
        waiting = [each for each in await rows(site) if each["kind"] == Kind.REMINDER]
        assert len([each for each in waiting if each["recipient"] == "ada@example.org"]) == 100
