"""How tests speak to the web tier, and how they read what it answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any, Final
from uuid import UUID

import httpx
from fastapi import FastAPI
from sqlalchemy import event, update

from rmindr.database import Database, now
from rmindr.ledger import reminders, row
from rmindr.mail.inbox import Inbox
from rmindr.settings import Settings
from rmindr.web.app import create_app

BROWSER = {"Accept": "text/html,application/xhtml+xml;q=0.9", "Sec-Fetch-Site": "same-origin"}
CONFIRMED = {
    "access": "confirmed",
    "allowed_recipients": "example.org, friend@example.com",
    "public_url": "http://localhost:8000",
    "secret_key": "a-key-for-tests-that-nobody-can-guess",
    "mail_from": "Reminders <reminders@example.org>",
}


# An id that nobody was given; always the same, so that tests have the same names in every process that collects them.
NOBODYS: Final = UUID("01930000-0000-7000-8000-000000000000")


@dataclass
class Site:
    """A running application, and a client of it."""

    app: FastAPI
    client: httpx.AsyncClient

    async def post(self, **body: Any) -> dict[str, Any]:
        """Schedule one by the API."""
        answer = await self.client.post("/api/reminders", json=a_reminder(**body))
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def submit(self, path: str = "/", *, headers: Mapping[str, str] = BROWSER, **fields: str) -> httpx.Response:
        """Send a form as a browser does."""
        return await self.client.post(path, data=fields, headers=headers)

    async def see(self, path: str) -> Page:
        """Open a page as a browser does."""
        return Page(await self.client.get(path, headers=BROWSER))

    async def overdue(self, **body: Any) -> dict[str, Any]:
        """Schedule one by the API, and let its instant pass, a second ago: nothing here races the clock."""
        made = await self.post(**{"due_at": soon(hours=1)} | body)
        a_second_ago = now() - 1000
        database: Database = self.app.state.database
        async with database.statements() as connection:
            moved = update(reminders).where(row.id == UUID(made["id"]))
            await connection.execute(moved.values(due_at=a_second_ago, next_at=a_second_ago))
        return made

    async def stored(self) -> list[dict[str, Any]]:
        """All there is, newest first."""
        items: list[dict[str, Any]] = (await self.client.get("/api/reminders?limit=100")).json()["items"]
        return items


@asynccontextmanager
async def serving(mails: Inbox | None = None, **settings: Any) -> AsyncIterator[Site]:
    """The application of these settings, started, and a client that speaks to it without a socket."""
    app = create_app(Settings.load(**{"PORT": 8000} | settings), mails)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
            yield Site(app, client)


def a_reminder(**changes: Any) -> dict[str, Any]:
    """What a program posts; None leaves a field out."""
    given = {"to": "ada@example.org", "message": "Call mum", "due_at": soon(hours=1)} | changes
    return {name: value for name, value in given.items() if value is not None}


def a_form(**changes: str) -> dict[str, str]:
    """What a person typed: everything right, but for the changes."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    right = {
        "message": "Call mum",
        "date": f"{tomorrow:%Y-%m-%d}",
        "time": "09:00",
        "time_zone": "Europe/Paris",
        "to": "ada@example.org",
        "subject": "",
        "key": "a-key",
        "was": "",
    }
    return right | changes


def soon(**span: float) -> str:
    """An instant so far from now, as RFC 3339 with milliseconds."""
    return f"{(datetime.now(UTC) + timedelta(**span)).isoformat(timespec='milliseconds')[:-6]}Z"


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem that an answer is, once it is one by RFC 9457 and tells nothing else."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text[:500]}"
    assert answer.headers["Content-Type"] == "application/problem+json"
    said: dict[str, Any] = answer.json()
    assert set(said) - {"errors"} == {"type", "title", "status", "detail", "instance"}
    assert said["status"] == status
    assert said["type"].startswith("/docs#")
    assert said["instance"] == f"request:{answer.headers['X-Request-Id']}"
    for error in said.get("errors", []):
        assert error["detail"]
        assert set(error) - {"detail"} in ({"pointer"}, {"parameter"}, {"header"})
        assert error.get("pointer", "") == "" or error["pointer"].startswith("/")
    return said


def pointers(said: Mapping[str, Any]) -> set[str]:
    """What a problem's errors are about."""
    return {
        next(error[kind] for kind in ("pointer", "parameter", "header") if kind in error) for error in said["errors"]
    }


class statements:  # noqa: N801  (reads as a sentence)
    """The statements that an application says to its database meanwhile, in order."""

    def __init__(self, site: Site) -> None:
        self._engine = site.app.state.database._engine.sync_engine
        self.said: list[str] = []

    def __enter__(self) -> list[str]:
        event.listen(self._engine, "before_cursor_execute", self._hear)
        return self.said

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._hear)

    def _hear(self, _: Any, __: Any, statement: str, *___: Any) -> None:
        self.said.append(statement)


class Page(HTMLParser):
    """A page as a reader sees it: its title, what its fields hold, its links, its text by id."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__()
        self.status = answer.status_code
        self.html = answer.text
        self.title = ""
        self.values: dict[str, str] = {}
        self.links: list[tuple[str, str]] = []
        self.attributes: dict[str, dict[str, str]] = {}
        self.texts: dict[str, str] = {}
        self.text = ""
        self.tags: list[tuple[str, dict[str, str]]] = []
        self._open: list[tuple[str, dict[str, str]]] = []
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8", answer.text[:300]
        self.feed(answer.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append((tag, given))
        if "id" in given:
            self.attributes[given["id"]] = given
        if tag == "input" and given.get("type") == "radio":
            if "checked" in given:
                self.values[given["name"]] = given["value"]
        elif tag == "input":
            self.values[given["name"]] = given.get("value", "")
        if tag == "a":
            self.links.append((given["href"], ""))
        if tag not in ("input", "meta", "link", "option", "use", "br"):
            self._open.append((tag, given))

    def handle_endtag(self, tag: str) -> None:
        if tag in [opened for opened, _ in self._open]:
            while self._open.pop()[0] != tag:
                pass

    def handle_data(self, data: str) -> None:
        self.text += data
        for tag, given in self._open:
            if "id" in given:
                self.texts[given["id"]] = self.texts.get(given["id"], "") + data
            if tag == "title":
                self.title += data
            if tag == "textarea":
                # A browser drops the line end right behind the tag.
                self.values[given["name"]] = (self.values.get(given["name"], "") + data).removeprefix("\n")
            if tag == "a":
                href, text = self.links[-1]
                self.links[-1] = (href, text + data)
