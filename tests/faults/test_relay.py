"""An attacker tries to have its own words mailed to people who never agreed, by every way there is: none gets through."""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from rmindr.database import Database, now
from rmindr.ledger import reminders, row
from rmindr.models import WAITING, Status
from rmindr.people import people
from rmindr.signing import Purpose, Signer
from tests.deliveries import a_reminder as a_row
from tests.servers import Valkey
from tests.sink import Mail, Sink
from tests.stack import Stack
from tests.web.site import BROWSER, Page, a_form, a_reminder, soon

pytestmark = pytest.mark.faults

# For a long look: REQUESTS=10000.
REQUESTS = int(os.environ.get("REQUESTS", "300"))
WORDS = "xyzzy-buy-now"
VICTIMS = [f"victim{number}@{'example.com' if number % 2 else 'gmail.com'}" for number in range(12)]
# What the service says of itself: asked three times a day at most, whoever asks and however the address is written.
MOST = 3


def everything_in(mail: Mail) -> str:
    """A mail's headers and parts, decoded."""
    message = message_from_bytes(mail.data, policy=policy.default)
    parts = [part.get_content() for part in message.walk() if part.get_content_maintype() == "text"]  # type: ignore[attr-defined]
    return "\n".join([*(f"{name}: {value}" for name, value in message.items()), *parts])


class Attacker:
    """Somebody with an address of their own, who has confirmed it, and so can do all that a person can."""

    def __init__(self, web: str, sink: Sink, chance: random.Random) -> None:
        self.nobody = httpx.AsyncClient(base_url=web, timeout=60)
        self.signed_in = httpx.AsyncClient(base_url=web, timeout=60)
        self.token: dict[str, str] = {}
        self.mine: list[str] = []
        self._sink = sink
        self._chance = chance
        self._forged = Signer(["a-key-that-the-attacker-made-up-by-itself"])

    async def enter(self) -> None:
        """Confirm an address of its own, and make a token."""
        form = a_form(to="mallory@evil.example", message=WORDS, key="mallory")
        assert (await self.signed_in.post("/", data=form, headers=BROWSER)).status_code == 202
        (mail,) = await self._sink.wait_for(1, timeout=60)
        path = re.findall(r"http://[^/\s]+(/confirm/\S+)", everything_in(mail))[0]
        assert (await self.signed_in.post(path, data={"x": "y"}, headers=BROWSER)).status_code == 303
        typed = {"name": "x", "reminders:read": "yes", "reminders:write": "yes"}
        page = Page(await self.signed_in.post("/account/tokens", data=typed, headers=BROWSER))
        self.token = {"Authorization": f"Bearer {page.texts['secret']}"}

    def victim(self) -> str:
        """An address of somebody, written in one of many ways."""
        name, _, domain = self._chance.choice(VICTIMS).partition("@")
        name = self._chance.choice(
            [name, name.upper(), f"{name}+{self._chance.randrange(99)}", f"{name[0]}.{name[1:]}"]
        )
        return f"{name}@{domain}"

    async def form(self) -> httpx.Response:
        """By the form, as nobody."""
        typed = a_form(to=self.victim(), message=WORDS, subject=WORDS, key=str(self._chance.random()), time_zone="UTC")
        lies = {"X-Forwarded-For": f"10.1.1.{self._chance.randrange(250)}", "Forwarded": "for=10.2.2.2"}
        return await self.nobody.post("/", data=typed, headers=BROWSER | lies)

    async def api(self) -> httpx.Response:
        """By the API, with a token or without."""
        headers = self._chance.choice([{}, self.token, {"Idempotency-Key": f"k{self._chance.randrange(9)}"}])
        body = a_reminder(to=self.victim(), message=WORDS, subject=WORDS, due_at=soon(seconds=1))
        answer = await self.nobody.post("/api/reminders", json=body, headers=headers)
        if answer.status_code in (201, 202) and "id" in answer.json():
            self.mine.append(answer.json()["id"])
        return answer

    async def page(self) -> httpx.Response:
        """By the form, signed in."""
        typed = a_form(to=self.victim(), message=WORDS, key=str(self._chance.random()))
        return await self.signed_in.post("/", data=typed, headers=BROWSER)

    async def edit(self) -> httpx.Response:
        """Make one to oneself, and then give it another address."""
        body = a_reminder(to="mallory@evil.example", message=WORDS, due_at=soon(hours=1))
        made = await self.nobody.post("/api/reminders", json=body, headers=self.token)
        if made.status_code != 201:
            return made
        self.mine.append(made.json()["id"])
        change = {"to": self.victim(), "due_at": soon(seconds=2)}
        return await self.nobody.patch(f"/api/reminders/{made.json()['id']}", json=change, headers=self.token)

    async def act(self) -> httpx.Response:
        """Push one that waits for a yes: now, later, done and undone, confirmed by the wrong person."""
        id = self._chance.choice(self.mine or ["01930000-0000-7000-8000-000000000000"])
        verb = self._chance.choice(["now", "snooze", "confirm", "done", "cancel"])
        answer = await self.signed_in.post(f"/reminders/{id}/{verb}", data={"in": "10m"}, headers=BROWSER)
        if "undo=" in answer.headers.get("Location", ""):
            undo = answer.headers["Location"].partition("undo=")[2]
            return await self.signed_in.post(f"/undo/{undo}", headers=BROWSER)
        return answer

    async def forge(self) -> httpx.Response:
        """A link of its own making."""
        purpose = self._chance.choice(list(Purpose))
        id = self._chance.choice(self.mine or ["01930000-0000-7000-8000-000000000000"])
        token = self._forged.sign(purpose, id, id)
        path = f"/{purpose.replace(' ', '-')}/{token}"
        return await self.nobody.post(path, data={"answer": "yes", "in": "10m"}, headers=BROWSER)

    async def sign_in(self) -> httpx.Response:
        """A link for somebody else, as often as it goes."""
        return await self.nobody.post("/sign-in", data={"to": self.victim()}, headers=BROWSER)

    def ways(self) -> list[Callable[[], Awaitable[httpx.Response]]]:
        return [self.form, self.api, self.page, self.edit, self.act, self.forge, self.sign_in]


async def test_nobody_s_words_reach_an_address_that_never_agreed(
    database: Database, database_url: str, own_valkey: Valkey, sink: Sink
) -> None:
    stack = Stack(database_url, own_valkey, sink, {"RMINDR_ACCESS": "confirmed"})
    stack.settings["RMINDR_PUBLIC_URL"] = f"http://localhost:{stack.port}"
    chance = random.Random(int(os.environ.get("SEED", "1")))
    statuses: Counter[tuple[str, int]] = Counter()
    async with stack.web(), stack.worker():
        attacker = Attacker(f"http://127.0.0.1:{stack.port}", sink, chance)
        async with attacker.nobody, attacker.signed_in:
            await attacker.enter()
            seats = asyncio.Semaphore(8)

            async def once(way: Any) -> None:
                async with seats:
                    statuses[way.__name__, (await way()).status_code] += 1

            await asyncio.gather(*(once(chance.choice(attacker.ways())) for _ in range(REQUESTS)))
            # Whatever could be on its way by now has had its turn when this one has come.
            owner = await owner_of(database, "mallory@evil.example")
            await a_row(database, recipient="mallory@evil.example", owner=owner, subject="the control")
            async with asyncio.timeout(120), sink.arrived:
                await sink.arrived.wait_for(lambda: "the control" in "".join(map(everything_in, sink.mails)))
            await nothing_is_due(database)

    print(f"{REQUESTS} requests; {dict(sorted(statuses.items()))}; {len(sink.mails)} mails")
    others = [mail for mail in sink.mails if mail.recipient != "mallory@evil.example"]
    assert sum(statuses.values()) == REQUESTS
    assert not [each for each in statuses if each[1] >= 500]
    assert [mail.recipient for mail in others if WORDS in everything_in(mail)] == []
    asked = Counter(counted(mail.recipient) for mail in others)
    assert asked
    assert max(asked.values()) <= MOST
    assert {mail.message["Subject"] for mail in others} <= {"Is this your address?", "May somebody remind you by mail?"}


def counted(address: str) -> str:
    name, _, domain = address.lower().partition("@")
    name = name.partition("+")[0]
    return f"{name.replace('.', '') if domain == 'gmail.com' else name}@{domain}"


async def owner_of(database: Database, mailbox: str) -> str:
    async with database.statements() as connection:
        return str(await connection.scalar(select(people.c.owner).where(people.c.mailbox == mailbox)))


async def nothing_is_due(database: Database) -> None:
    """Wait until the worker has dealt with all that is due."""
    due = (row.status.in_((*WAITING, Status.SENDING)), row.next_at <= now())
    deadline = datetime.now(UTC) + timedelta(seconds=120)
    while datetime.now(UTC) < deadline:
        async with database.statements() as connection:
            if not (await connection.execute(select(func.count()).select_from(reminders).where(*due))).scalar_one():
                return
        await asyncio.sleep(0.2)
    pytest.fail("some are due still")
