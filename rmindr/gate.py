"""Who may remind whom: at once, when they have agreed, or not at all. Asked in the transaction that stores the reminder.

Nobody can use this service to send their words to somebody who has not agreed to that; unasked, it sends one neutral mail.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from rmindr import limits
from rmindr.errors import InvalidDraft, TooMany
from rmindr.forms import Draft
from rmindr.ledger import reminders, row
from rmindr.limits import DAY, Held, Left, Limit, Limits, counted_as
from rmindr.models import WAITING, Kind, Person, Reminder, Status
from rmindr.people import People, mailbox

_PENDING_AT_MOST: Final = 100
_UNCONFIRMED_AT_MOST: Final = 3
# Whoever was reported so often asks nobody any more, and is not told.
_REPORTS_AT_MOST: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks: a person who is signed in, or nobody known; and from where."""

    person: Person | None = None
    client: str = ""
    # What is left of the limits by which this one was counted; for the answer to tell.
    left: list[Left] = field(default_factory=list, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """How a reminder may be stored: whose it is, and as what; and the mails of our own that go with it.

    `status` None: not at all, and whoever asked is not to know."""

    owner: str
    status: Status | None
    mails: Sequence[Reminder] = ()


# An admission, or what `admit` would have raised.
Verdict = Admission | InvalidDraft | TooMany


class Gate(Protocol):
    """Decides about reminders before they are stored."""

    async def owner(self, asker: Asker, address: str) -> str:
        """Whose a reminder to this address would be; empty where that is nobody yet. Raises StorageUnavailable."""

    async def admit(self, connection: AsyncConnection, asker: Asker, draft: Draft) -> Admission:
        """How this one may be stored. Raises InvalidDraft, TooMany."""

    async def admit_many(self, connection: AsyncConnection, asker: Asker, drafts: Sequence[Draft]) -> Sequence[Verdict]:
        """As if each had been admitted by itself, in this order; in a few statements, however many they are."""

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

    async def admit_many(self, connection: AsyncConnection, asker: Asker, drafts: Sequence[Draft]) -> Sequence[Verdict]:
        """All at once."""
        return [Admission(owner="", status=Status.SCHEDULED) for _ in drafts]

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
        if asker.person is None:
            await self.count(connection, asker)
            return await self._from_nobody(connection, asker, await self._people.lock(connection, draft.to))
        (verdict,) = await self.admit_many(connection, asker, [draft])
        if isinstance(verdict, Admission):
            return verdict
        raise verdict

    async def admit_many(self, connection: AsyncConnection, asker: Asker, drafts: Sequence[Draft]) -> Sequence[Verdict]:
        """A person's; whoever is not known asks for one at a time."""
        sender = asker.person
        assert sender is not None  # noqa: S101  (the API wants a token for many)
        # The sender, the recipients, then who is asked: everybody locks in this order.
        own = (limits.BY_SENDER, sender.owner)
        held = (await self._limits.hold(connection, own))[own]
        known, made = await self._people.lock_many(connection, [each.to for each in drafts])
        states = dict(await self._people.consents_of(connection, sender, known.values()))
        strangers = [each for each in known.values() if self._must_be_asked(sender, each, states)]
        asking = await self._limits.hold(connection, *(one for each in strangers for one in _asking(each)))
        pending = await _pending(connection, sender, known)
        verdicts: list[Verdict] = []
        met: set[UUID] = set()
        for each in drafts:
            recipient = known[mailbox(each.to)]
            try:
                held.require()
                if pending[recipient.mailbox] >= _PENDING_AT_MOST:
                    raise TooMany(f"{_PENDING_AT_MOST} reminders that wait for one address", DAY)
                admission = await self._from_person(connection, sender, recipient, states, asking)
            except (InvalidDraft, TooMany) as error:
                verdicts.append(error)
                continue
            # What is refused is not counted.
            held.take()
            pending[recipient.mailbox] += admission.status in WAITING
            met.add(recipient.id)
            verdicts.append(admission)
        await self._limits.keep(connection, [held, *asking.values()])
        await self._people.forget_new(connection, set(made) - met)
        asker.left.append(held.left)
        return verdicts

    async def count(self, connection: AsyncConnection, asker: Asker) -> None:
        """So many a day for each person; for whoever is not known, so many an hour from one place."""
        one = (limits.BY_SENDER, asker.person.owner) if asker.person is not None else (limits.BY_CLIENT, asker.client)
        await take_own(self._limits, asker, *one, connection=connection)

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

    def _must_be_asked(self, sender: Person, recipient: Person, states: Mapping[UUID, str]) -> bool:
        known = sender.id == recipient.id or recipient.id in states
        return not known and (recipient.blocked_at is not None or not self._listed(recipient.address))

    async def _from_person(
        self,
        connection: AsyncConnection,
        sender: Person,
        recipient: Person,
        states: dict[UUID, str],
        asking: Mapping[tuple[Limit, str], Held],
    ) -> Admission:
        owner, blocked = sender.owner, recipient.blocked_at is not None
        if sender.id == recipient.id:
            if blocked:
                raise InvalidDraft({"to": "gets no more mail from here, as you asked; start it again on your own page"})
            return Admission(owner=owner, status=Status.SCHEDULED)
        state = states.get(recipient.id)
        agreed = state == "agreed" or (state != "refused" and self._listed(recipient.address))
        if agreed and not blocked:
            return Admission(owner=owner, status=Status.SCHEDULED)
        mail = None
        if state is None and sender.reports < _REPORTS_AT_MOST:
            counted = [asking[one] for one in _asking(recipient)]
            for each in counted:
                each.require()
            for each in counted:
                each.take()
            states[recipient.id] = "asked"
            mail = await self._people.ask_to_agree(connection, sender, recipient)
        return Admission(owner=owner, status=Status.UNCONFIRMED, mails=[mail] if mail is not None else [])


def _asking(recipient: Person) -> Sequence[tuple[Limit, str]]:
    """By which limits a mail to this one is counted that asks them."""
    counted = counted_as(recipient.address)
    domain = counted.rpartition("@")[2]
    return ((limits.ASKED_OF_MAILBOX, counted), (limits.ASKED_OF_DOMAIN, domain), (limits.ASKED_BY_ALL, ""))


async def take_own(
    counted: Limits, asker: Asker, limit: Limit, whom: str, connection: AsyncConnection | None = None
) -> None:
    """Take one of a limit that is the asker's own, of which the answer may tell. Raises TooMany."""
    try:
        asker.left.extend(await counted.take((limit, whom), connection=connection))
    except TooMany as error:
        asker.left.append(Left(limit, 0, error.retry_after))
        raise


async def _pending(connection: AsyncConnection, sender: Person, mailboxes: Collection[str]) -> Counter[str]:
    """How many of this sender's reminders wait for each of these."""
    to = func.lower(row.recipient)
    theirs = (row.owner == sender.owner, to.in_(mailboxes), row.kind == Kind.REMINDER, row.status.in_(WAITING))
    found = await connection.execute(select(to, func.count()).where(*theirs).group_by(to))
    return Counter(dict(found.all()))


async def _count(connection: AsyncConnection, whose: object, statuses: Sequence[Status]) -> int:
    statement = select(func.count()).select_from(reminders)
    counted = statement.where(whose, row.kind == Kind.REMINDER, row.status.in_(statuses))  # type: ignore[arg-type]
    return int((await connection.execute(counted)).scalar_one())
