"""People in tests of the confirmed web tier: each a browser of their own, and the links that were mailed to them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import httpx
from sqlalchemy import select

from rmindr.ledger import row
from rmindr.mail import own
from rmindr.mail.links import MailLinks
from rmindr.models import Kind
from tests.web.site import CONFIRMED, Page, Site, a_form

# Nobody is listed: everybody must confirm.
STRICT = {name: value for name, value in CONFIRMED.items() if name != "allowed_recipients"}
HOME = "http://localhost:8000"
_PLACES = count(2)


@asynccontextmanager
async def browser(site: Site, client: str | None = None) -> AsyncIterator[Site]:
    """Another browser, with cookies and an address of its own."""
    address = client or f"10.0.{next(_PLACES) % 250}.{next(_PLACES) % 250}"
    transport = httpx.ASGITransport(site.app, raise_app_exceptions=False, client=(address, 1))
    async with httpx.AsyncClient(transport=transport, base_url=HOME) as client_of_it:
        yield Site(site.app, client_of_it)


async def mails(site: Site, to: str | None = None, kind: Kind | None = None) -> list[tuple[Kind, str, str]]:
    """The mails of our own that are on their way: (kind, to, the path of the link), oldest first."""
    statement = select(row.kind, row.recipient, row.about).where(row.kind != Kind.REMINDER).order_by(row.id)
    async with site.app.state.database.statements() as connection:
        found = (await connection.execute(statement)).all()
    links = MailLinks(HOME, site.app.state.signer)
    told = [(Kind(k), r, own.words(Kind(k), about, links).link.removeprefix(HOME)) for k, r, about in found]
    return [each for each in told if to in (None, each[1]) and kind in (None, each[0])]


async def link(site: Site, kind: Kind, to: str) -> str:
    """The path of the newest link of this kind that was mailed there."""
    return (await mails(site, to, kind))[-1][2]


async def sign_up(at: Site, address: str, **typed: str) -> str:
    """Ask for a reminder to oneself in this browser, confirm, and so be signed in: the path of the reminder's page."""
    asked = await at.submit(**a_form(to=address, **typed))
    assert asked.status_code == 202, asked.text
    path = await link(at, Kind.CONFIRM, address)
    entered = await press(at, path)
    assert entered.headers["Location"] == "/reminders", entered.text
    return (await plan(at))[-1]


async def press(at: Site, path: str, **also: str) -> httpx.Response:
    """Open a page, keep what is ticked on it, and press its button."""
    page = await at.see(path)
    assert page.status == 200, page.text
    ticked = {name: "yes" for tag, given in page.tags if "checked" in given and (name := given.get("name"))}
    return await at.submit(path, **ticked | also)


async def plan(at: Site, show: str = "upcoming") -> list[str]:
    """The paths of the reminders on this shelf."""
    page = await at.see(f"/reminders?show={show}")
    assert page.status == 200, page.text
    return [href for href, _ in page.links if href.startswith("/reminders/")]


async def token(at: Site, *scopes: str) -> dict[str, str]:
    """The header that a new token of whoever is signed in makes."""
    page = Page(await at.submit("/account/tokens", name="Phone", **dict.fromkeys(scopes, "yes")))
    assert page.status == 200, page.text
    return {"Authorization": f"Bearer {page.texts['secret']}"}


async def rows(site: Site) -> list[dict[str, Any]]:
    """All reminders and mails, as stored, oldest first."""
    async with site.app.state.database.statements() as connection:
        return [dict(each) for each in (await connection.execute(select(*row).order_by(row.id))).mappings()]


def said(about: str) -> dict[str, Any]:
    """What a mail of our own is about."""
    found: dict[str, Any] = json.loads(about)
    return found
