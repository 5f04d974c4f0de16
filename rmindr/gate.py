"""Who may remind whom: at once, when they have agreed, or not at all. Asked in the transaction that stores the reminder.

Nobody can use this service to send their words to somebody who has not agreed to that; unasked, it sends one neutral mail.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from sqlalchemy import and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from rmindr import limits
from rmindr.errors import InvalidDraft, TooMany
from rmindr.forms import Draft
from rmindr.ledger import reminders, row
from rmindr.limits import DAY, Limits, counted_as
from rmindr.models import WAITING, Kind, Person, Reminder, Status
from rmindr.people import People, consents

_PENDING_AT_MOST: Final = 100
_UNCONFIRMED_AT_MOST: Final = 3
# Whoever was reported so often asks nobody any more, and is not told.
_REPORTS_AT_MOST: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks: a person who is signed in, or nobody known; and from where."""

    person: Person | None = None
    client: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """How a reminder may be stored: whose it is, and as what; and the mails of our own that go with it.

    `status` None: not at all, and whoever asked is not to know."""

    owner: str
    status: Status | None
    mails: Sequence[Reminder] = ()


class Gate(Protocol):
    """Decides about reminders before they are stored."""

    async def owner(self, asker: Asker, address: str) -> str:
        """Whose a reminder to this address would be; empty where that is nobody yet. Raises StorageUnavailable."""

    async def admit(self, connection: AsyncConnection, asker: Asker, draft: Draft) -> Admission:
        """How this one may be stored. Raises InvalidDraft, TooMany."""

    async def count(self, connection: AsyncConnection, asker: Asker) -> None:
        """One more mail at somebody's wish. Raises TooMany."""


class OpenGate:
    """Whoever reaches the service may remind anybody: for one machine alone, whose mail goes nowhere."""

    async def owner(self, asker: Asker, address: str) -> str:
        """Nobody's: there are no people here."""
        return ""

    async def admit(self, connection: AsyncConnection, asker: Asker, draft: Draft) -> Admission:
        """At once."""
        return Admission(owner="", status=Status.SCHEDULED)

    async def count(self, connection: AsyncConnection, asker: Asker) -> None:
        """As many as anybody likes."""


class PeopleGate:
    """People remind themselves once they have confirmed their address, and others who have agreed.

    `listed` says which addresses need not be asked: those of a private instance."""

    def __init__(self, people: People, counted: Limits, listed: Callable[[str], bool]) -> None:
        self._people = people
        self._limits = counted
        self._listed = listed

    async def owner(self, asker: Asker, address: str) -> str:
        """The sender's; where nobody is signed in, that of whoever reads the mail there."""
        if asker.person is not None:
            return asker.person.owner
        person = await self._people.at(address)
        return person.owner if person is not None else ""

    async def admit(self, connection: AsyncConnection, asker: Asker, draft: Draft) -> Admission:
        """At once to oneself, to a listed address, to whoever has agreed; else when they have, which they are asked once."""
        await self.count(connection, asker)
        recipient = await self._people.lock(connection, draft.to)
        if asker.person is None:
            return await self._from_nobody(connection, asker, recipient)
        mine = and_(row.owner == asker.person.owner, func.lower(row.recipient) == recipient.mailbox)
        if await _count(connection, mine, WAITING) >= _PENDING_AT_MOST:
            raise TooMany(f"{_PENDING_AT_MOST} reminders that wait for one address", DAY)
        return await self._from_person(connection, asker.person, recipient)

    async def count(self, connection: AsyncConnection, asker: Asker) -> None:
        """So many a day for each person; for whoever is not known, so many an hour from one place."""
        one = (limits.BY_SENDER, asker.person.owner) if asker.person is not None else (limits.BY_CLIENT, asker.client)
        await self._limits.take(one, connection=connection)

    async def _from_nobody(self, connection: AsyncConnection, asker: Asker, recipient: Person) -> Admission:
        """Nobody is signed in, so the address is taken for the sender's own."""
        if self._listed(recipient.address):
            blocked = recipient.blocked_at is not None
            return Admission(owner=recipient.owner, status=None if blocked else Status.SCHEDULED)
        # Counted for every address, or the limits would tell which are known.
        await self._limits.take(
            (limits.ASKED_BY_CLIENT, asker.client),
            (limits.ASKED_OF_DOMAIN, counted_as(recipient.address).rpartition("@")[2]),
            (limits.ASKED_BY_ALL, ""),
            connection=connection,
        )
        unconfirmed = await _count(connection, row.owner == recipient.owner, (Status.UNCONFIRMED,))
        if recipient.blocked_at is not None or unconfirmed >= _UNCONFIRMED_AT_MOST:
            return Admission(owner=recipient.owner, status=None)
        mail = None
        # `me+1@` and `me+2@` are one mailbox: beyond so many mails a day it gets none, and nobody is told.
        with contextlib.suppress(TooMany):
            await self._limits.take((limits.ASKED_OF_MAILBOX, counted_as(recipient.address)), connection=connection)
            mail = await self._people.ask_to_confirm(connection, recipient)
        return Admission(owner=recipient.owner, status=Status.UNCONFIRMED, mails=[mail] if mail is not None else [])

    async def _from_person(self, connection: AsyncConnection, sender: Person, recipient: Person) -> Admission:
        owner = sender.owner
        if sender.id == recipient.id:
            if recipient.blocked_at is not None:
                raise InvalidDraft({"to": "gets no more mail from here, as you asked; start it again on your own page"})
            return Admission(owner=owner, status=Status.SCHEDULED)
        found = await connection.execute(
            select(consents.c.state).where(consents.c.sender_id == sender.id, consents.c.recipient_id == recipient.id)
        )
        state = found.scalar_one_or_none()
        agreed = state == "agreed" or (state != "refused" and self._listed(recipient.address))
        if agreed and recipient.blocked_at is None:
            return Admission(owner=owner, status=Status.SCHEDULED)
        mail = None
        if state is None and sender.reports < _REPORTS_AT_MOST:
            await self._limits.take(
                (limits.ASKED_OF_MAILBOX, counted_as(recipient.address)),
                (limits.ASKED_OF_DOMAIN, counted_as(recipient.address).rpartition("@")[2]),
                (limits.ASKED_BY_ALL, ""),
                connection=connection,
            )
            mail = await self._people.ask_to_agree(connection, sender, recipient)
        return Admission(owner=owner, status=Status.UNCONFIRMED, mails=[mail] if mail is not None else [])


async def _count(connection: AsyncConnection, whose: object, statuses: Sequence[Status]) -> int:
    statement = select(func.count()).select_from(reminders)
    counted = statement.where(whose, row.kind == Kind.REMINDER, row.status.in_(statuses))  # type: ignore[arg-type]
    return int((await connection.execute(counted)).scalar_one())
