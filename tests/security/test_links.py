"""Mail scanners open every link; whoever is asked to open one may be set up: neither changes anything or lets anybody in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import select

from rmindr.mail.links import MailLinks
from rmindr.models import Kind
from rmindr.people import links
from rmindr.signing import Purpose
from tests.web.conftest import Serve
from tests.web.folk import HOME, STRICT, browser, link, mails, press, rows, sign_up, token
from tests.web.site import BROWSER, Site, a_form, problem

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
async def town(serve: Serve) -> AsyncIterator[Site]:
    async with serve(**STRICT) as site:
        yield site


def links_of_a_mail(site: Site, id: UUID, to: str) -> dict[str, str]:
    """The paths of the links in a reminder's mail."""
    of_mail = MailLinks(HOME, site.app.state.signer)
    acts = {str(act): of_mail.act(act, id, datetime.now(UTC)) for act in (Purpose.DONE, Purpose.SNOOZE)}
    found = acts | {"manage": of_mail.manage(id), "stop": of_mail.stop(to, id)}
    return {name: url.removeprefix(HOME) for name, url in found.items()}


async def everything(site: Site) -> dict[str, list[str]]:
    """All that is stored."""
    found = {}
    async with site.app.state.database.statements() as connection:
        for table in ("reminders", "people", "links", "sessions", "consents", "tokens"):
            rows_of_it = (await connection.exec_driver_sql(f"SELECT * FROM {table}")).all()
            found[table] = sorted(map(repr, rows_of_it))
    return found


async def test_whoever_opens_every_link_of_every_mail_changes_nothing_and_each_still_works(town: Site) -> None:
    """S11: three times over, by GET and by HEAD, as no browser in particular."""
    path = await sign_up(town, "ada@example.org")
    await town.submit(**a_form(to="bob@example.org", key="for bob"))
    await town.submit("/sign-in", to="ada@example.org")
    await town.submit(**a_form(to="eve@example.org", key="for eve"))
    async with browser(town) as eve:
        await eve.submit(**a_form(to="eve@example.org", key="her own"))
    mine = links_of_a_mail(town, UUID(path[-36:]), "ada@example.org")
    asking = [each for _, to, each in await mails(town) if (to, each[:9]) != ("ada@example.org", "/confirm/")]
    before = await everything(town)

    async with browser(town) as scanner:
        for _ in range(3):
            for each in (*asking, *mine.values()):
                for method in ("GET", "HEAD"):
                    answer = await scanner.client.request(method, each, headers={"Accept": "*/*"})
                    assert answer.status_code == 200, f"{method} {each}"
                    assert "Set-Cookie" not in answer.headers
    assert await everything(town) == before

    async with browser(town) as bob, browser(town) as phone, browser(town) as eve:
        agreed = await bob.submit(await link(town, Kind.AGREE, "bob@example.org"), answer="yes")
        signed_in = await press(phone, await link(town, Kind.SIGN_IN, "ada@example.org"))
        confirmed = await press(eve, await link(town, Kind.CONFIRM, "eve@example.org"))
        done = await phone.submit(mine["done"])
    assert len(asking) >= 4
    assert [each.status_code for each in (agreed, signed_in, confirmed)] == [200, 303, 303]
    assert done.status_code < 400
    (own,) = [each for each in await rows(town) if str(each["id"]) == path[-36:]]
    assert own["status"] != "scheduled"


async def test_a_link_to_sign_in_is_good_for_ten_minutes_and_its_row_for_nothing_without_the_key(town: Site) -> None:
    """S12."""
    await sign_up(town, "ada@example.org")
    await town.submit("/sign-in", to="ada@example.org")
    path = await link(town, Kind.SIGN_IN, "ada@example.org")
    async with town.app.state.database.statements() as connection:
        found = (await connection.execute(select(links).where(links.c.purpose == Purpose.SIGN_IN))).mappings().one()

    assert found["expires_at"] - found["created_at"] <= timedelta(minutes=10, seconds=1)
    assert path.rpartition("/")[2] not in repr(found)
    assert (await town.submit(f"/sign-in/{found['id']}")).status_code == 404


async def test_a_cookie_that_was_planted_before_is_worth_nothing_afterwards(town: Site) -> None:
    """S17: whoever set it would otherwise be signed in with the person."""
    await sign_up(town, "ada@example.org")
    planted = "planted-by-somebody-else-who-knows-it-well"
    async with browser(town) as victim, browser(town) as attacker:
        victim.client.cookies.set("rmindr", planted)
        await victim.submit("/sign-in", to="ada@example.org")
        answer = await press(victim, await link(town, Kind.SIGN_IN, "ada@example.org"))
        attacker.client.cookies.set("rmindr", planted)

        assert planted not in answer.headers["Set-Cookie"]
        assert (await attacker.client.get("/reminders", headers=BROWSER)).headers["Location"] == "/sign-in"


async def test_each_sign_in_has_a_cookie_of_its_own(town: Site) -> None:
    """S17."""
    await sign_up(town, "ada@example.org")
    first = town.client.cookies["rmindr"]

    await town.submit("/sign-in", to="ada@example.org")
    await press(town, await link(town, Kind.SIGN_IN, "ada@example.org"))

    assert town.client.cookies["rmindr"] != first
    assert min(len(first), len(town.client.cookies["rmindr"])) >= 43


@pytest.mark.parametrize("name", ["token", "access_token", "api_key", "Authorization", "rmindr"])
async def test_a_token_in_an_address_is_none(town: Site, name: str) -> None:
    """S14: addresses are written down everywhere."""
    await sign_up(town, "ada@example.org")
    secret = (await token(town, "reminders:read"))["Authorization"].partition(" ")[2]

    async with browser(town) as program:
        for value in (secret, f"Bearer {secret}"):
            answer = await program.client.get("/api/reminders", params={name: value})
            assert problem(answer, 401)


async def test_a_link_that_was_signed_here_for_another_address_says_nothing_of_this_one(town: Site) -> None:
    """S10: «stop» is signed for an address, so it stops that one, whoever is signed in."""
    path = await sign_up(town, "ada@example.org")
    theirs = town.app.state.signer.sign(Purpose.STOP, "bob@example.org", str(UUID(int=7)))

    await town.submit(f"/stop/{theirs}", what="all")

    assert (await town.see(path)).attributes["reminder"]["data-status"] == "scheduled"
    assert (await town.submit(**a_form(to="ada@example.org", key="2"))).status_code == 303
