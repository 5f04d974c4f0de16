"""The people behind the addresses: who has confirmed theirs, who is signed in, who wants no more mail, who agreed to whom.

Whoever can read the mail at an address is its person: every right begins with a link in a mail, and a button on the page that
it opens. Nothing here tells a stranger whether an address is known.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, cast
from uuid import UUID

import structlog
from sqlalchemy import Table, and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from rmindr.alarms import Alarms
from rmindr.database import Database, now
from rmindr.errors import BadToken
from rmindr.ledger import note, noted, reminders, row
from rmindr.models import Consent, Kind, Link, Person, Reminder, Session, Status, new_id
from rmindr.own_mail import own_mail
from rmindr.series import CANCELLED, series
from rmindr.signing import Purpose, Signer
from rmindr.webhooks.outbox import announce

log = structlog.get_logger(__name__)

people: Final = cast(Table, Person.__table__)  # type: ignore[attr-defined]
sessions: Final = cast(Table, Session.__table__)  # type: ignore[attr-defined]
links: Final = cast(Table, Link.__table__)  # type: ignore[attr-defined]
consents: Final = cast(Table, Consent.__table__)  # type: ignore[attr-defined]
_person = people.c

# How long a link works. A sign-in is for now; who is asked to confirm or agree may read mail but once a day.
_LASTS: Final[Mapping[Purpose, timedelta]] = {
    Purpose.CONFIRM: timedelta(hours=48),
    Purpose.AGREE: timedelta(days=14),
    Purpose.SIGN_IN: timedelta(minutes=10),
}
SESSION: Final = timedelta(days=90)
# An address that never answers is asked no more.
_ASKED_AT_MOST: Final = 3
_ASKED_AGAIN_AFTER: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """A person, and the secret of a new session for the browser that showed the link."""

    person: Person
    secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a link asks: of whom, by whom where another person asks, and about which reminders."""

    person: Person
    by: Person | None
    waiting: Sequence[Reminder]


class People:
    """The people of one instance; `webhooks`, their programs are told of what is missed."""

    def __init__(self, database: Database, signer: Signer, alarms: Alarms, *, webhooks: bool = False) -> None:
        self._database = database
        self._signer = signer
        self._alarms = alarms
        self._webhooks = webhooks

    # Known by

    async def of_session(self, secret: str) -> Person | None:
        """Whoever is signed in with this secret. Raises StorageUnavailable."""
        statement = (
            select(*_person)
            .join(sessions, sessions.c.person_id == _person.id)
            .where(sessions.c.secret_hash == hashed(secret), sessions.c.expires_at > now())
        )
        return await self._one(statement)

    async def at(self, address: str) -> Person | None:
        """Whoever reads the mail there; None where nobody has been heard of. Raises StorageUnavailable."""
        return await self._one(select(*_person).where(_person.mailbox == mailbox(address)))

    async def by_id(self, id: UUID) -> Person | None:
        """The person. Raises StorageUnavailable."""
        return await self._one(select(*_person).where(_person.id == id))

    async def lock(self, connection: AsyncConnection, address: str) -> Person:
        """The person at this address, made where there was none; nobody else counts their reminders until the transaction
        ends."""
        id = new_id()
        made = self._database.insert(people).values(
            id=id, owner=id.hex, address=address, mailbox=mailbox(address), created_at=now()
        )
        statement = made.on_conflict_do_update(
            index_elements=[_person.mailbox], set_={"mailbox": made.excluded.mailbox}
        ).returning(*_person)
        return Person(**(await connection.execute(statement)).mappings().one())

    async def lock_many(
        self, connection: AsyncConnection, addresses: Sequence[str]
    ) -> tuple[Mapping[str, Person], Collection[UUID]]:
        """The people at these addresses by mailbox, as `lock` has them, in one statement; and the ids of those who were
        made."""
        # Of two ways to write one, the first is kept. In one order for everybody, or two transactions could wait for each
        # other.
        named = dict(sorted({mailbox(address): address for address in reversed(addresses)}.items()))
        ids = {name: new_id() for name in named}
        made = self._database.insert(people).values(
            [
                {"id": id, "owner": id.hex, "address": named[name], "mailbox": name, "created_at": now()}
                for name, id in ids.items()
            ]
        )
        statement = made.on_conflict_do_update(
            index_elements=[_person.mailbox], set_={"mailbox": made.excluded.mailbox}
        ).returning(*_person)
        found = [Person(**each) for each in (await connection.execute(statement)).mappings()]
        return {each.mailbox: each for each in found}, {each.id for each in found} & set(ids.values())

    async def forget_new(self, connection: AsyncConnection, ids: Collection[UUID]) -> None:
        """Whoever was made in this transaction, and for nothing."""
        if ids:
            await connection.execute(delete(people).where(_person.id.in_(ids)))

    async def consents_of(
        self, connection: AsyncConnection, sender: Person, recipients: Iterable[Person]
    ) -> Mapping[UUID, str]:
        """What these have answered to whoever wants to remind them, by id: asked, agreed, refused. Whoever was never asked is
        not there."""
        ids = [each.id for each in recipients]
        theirs = (consents.c.sender_id == sender.id, consents.c.recipient_id.in_(ids))
        found = await connection.execute(select(consents.c.recipient_id, consents.c.state).where(*theirs))
        return dict(found.all())

    # Asking

    async def ask_to_confirm(self, connection: AsyncConnection, person: Person) -> Reminder | None:
        """One neutral mail: is this address yours? Nothing where it has been asked lately, or often enough."""
        may = or_(_person.asked_at.is_(None), _person.asked_at < now() - _ms(_ASKED_AGAIN_AFTER))
        statement = (
            update(people)
            .where(_person.id == person.id, may, _person.asked_times < _ASKED_AT_MOST, _person.blocked_at.is_(None))
            .values(asked_at=now(), asked_times=_person.asked_times + 1)
        )
        if not (await connection.execute(statement)).rowcount:
            return None
        return await self._mail_link(connection, Purpose.CONFIRM, Kind.CONFIRM, person)

    async def ask_to_agree(self, connection: AsyncConnection, sender: Person, recipient: Person) -> Reminder | None:
        """One mail, ever, from this sender to this recipient: may they remind you? Nothing where it was asked before."""
        asked = self._database.insert(consents).values(
            sender_id=sender.id, recipient_id=recipient.id, state="asked", asked_at=now()
        )
        if not (await connection.execute(asked.on_conflict_do_nothing())).rowcount:
            return None
        return await self._mail_link(connection, Purpose.AGREE, Kind.AGREE, recipient, by=sender)

    async def ask_to_sign_in(self, address: str) -> None:
        """A link that signs in, if the address is one that has confirmed; a new one makes the old ones useless.

        Says nothing of whether it was sent. Raises StorageUnavailable."""
        async with self._database.transaction() as connection:
            found = await connection.execute(
                select(*_person).where(_person.mailbox == mailbox(address), _person.confirmed_at.is_not(None))
            )
            known = found.mappings().one_or_none()
            if known is None:
                return
            person = Person(**known)
            await connection.execute(
                update(links)
                .where(links.c.person_id == person.id, links.c.purpose == Purpose.SIGN_IN, links.c.used_at.is_(None))
                .values(used_at=now())
            )
            mail = await self._mail_link(connection, Purpose.SIGN_IN, Kind.SIGN_IN, person)
        await self._alarms.set(mail)

    async def _mail_link(
        self, connection: AsyncConnection, purpose: Purpose, kind: Kind, person: Person, by: Person | None = None
    ) -> Reminder:
        id = new_id()
        await connection.execute(
            insert(links).values(
                id=id,
                purpose=purpose,
                person_id=person.id,
                by_id=by.id if by is not None else None,
                created_at=now(),
                expires_at=now() + _ms(_LASTS[purpose]),
            )
        )
        return await own_mail(connection, kind, person, {"link": str(id), "by": by.address if by is not None else None})

    # Answering

    async def asked(self, purpose: Purpose, token: str) -> Asked:
        """What a link asks, to be shown beside its button; nothing changes. Raises BadToken, StorageUnavailable."""
        link = await self._link(purpose, token)
        person, by = await self.by_id(link.person_id), None
        if person is None:
            raise BadToken
        if link.by_id is not None:
            by = await self.by_id(link.by_id)
        async with self._database.statements() as connection:
            found = await connection.execute(
                select(*row).where(_awaited(person, by)).order_by(row.due_at, row.id).limit(20)
            )
            return Asked(person=person, by=by, waiting=[Reminder(**each) for each in found.mappings()])

    async def confirm(self, token: str, wanted: Collection[UUID]) -> SignedIn:
        """The address is theirs: what waited for that and is `wanted` is scheduled, the rest cancelled, as somebody else may
        have asked for it; and this browser is signed in. Raises BadToken, StorageUnavailable."""
        async with self._database.transaction() as connection:
            signed_in = await self._enter(connection, Purpose.CONFIRM, token)
            freed = await self._free(connection, signed_in.person, None, wanted)
            await self._drop(connection, signed_in.person)
            if freed and signed_in.person.time_zone == "UTC":
                # Nobody has said where they live: where their first reminder is meant.
                values = {"time_zone": freed[0].time_zone}
                await connection.execute(update(people).where(_person.id == signed_in.person.id).values(**values))
        for reminder in freed:
            await self._alarms.set(reminder)
        return signed_in

    async def sign_in(self, token: str) -> SignedIn:
        """This browser is signed in. What waits for a confirmation goes on waiting: they have not seen it yet.

        Raises BadToken, StorageUnavailable."""
        async with self._database.transaction() as connection:
            return await self._enter(connection, Purpose.SIGN_IN, token)

    async def want(self, person: Person, id: UUID) -> None:
        """One of those that wait is wanted, says its owner, who is signed in. Raises StorageUnavailable."""
        async with self._database.transaction() as connection:
            freed = await self._free(connection, person, None, [id])
        for reminder in freed:
            await self._alarms.set(reminder)

    async def decide(self, token: str, *, agreed: bool, reported: bool = False) -> Asked:
        """May the other person remind this one? What waited for a yes is scheduled; a no is for ever, and says so to nobody.
        Whoever is `reported` too often asks nobody any more (gate.py).

        Raises BadToken, StorageUnavailable."""
        asked = await self.asked(Purpose.AGREE, token)
        if asked.by is None:
            raise BadToken
        async with self._database.transaction() as connection:
            await self._use(connection, Purpose.AGREE, token)
            await connection.execute(
                update(consents)
                .where(_between(asked.by.id, asked.person.id))
                .values(state="agreed" if agreed else "refused", decided_at=now())
            )
            if reported and not agreed:
                await connection.execute(
                    update(people).where(_person.id == asked.by.id).values(reports=_person.reports + 1)
                )
                log.warning("reported", person=str(asked.by.id), reports=asked.by.reports + 1)
            if agreed:
                # Whoever could press this button reads the mail there.
                await self._note_confirmed(connection, asked.person.id)
            freed = await self._free(connection, asked.person, asked.by) if agreed else []
        for reminder in freed:
            await self._alarms.set(reminder)
        return asked

    async def sign_out(self, secret: str) -> None:
        """The session is over, in this browser and on the server. Raises StorageUnavailable."""
        async with self._database.statements() as connection:
            await connection.execute(delete(sessions).where(sessions.c.secret_hash == hashed(secret)))

    async def block(self, address: str, why: str) -> Person:
        """No mail to whoever reads it there any more, whoever asks. Raises StorageUnavailable."""
        async with self._database.transaction() as connection:
            person = await self.lock(connection, address)
            await connection.execute(
                update(people).where(_person.id == person.id).values(blocked_at=now(), blocked_why=why[:200])
            )
        return person

    async def move(self, person: Person, time_zone: str) -> None:
        """Their days are those of this zone. Raises StorageUnavailable."""
        async with self._database.statements() as connection:
            await connection.execute(update(people).where(_person.id == person.id).values(time_zone=time_zone))

    async def catch_up(self, person: Person, how: str) -> None:
        """After an outage `each` reminder comes by itself, or all in `one` mail. Raises StorageUnavailable."""
        async with self._database.statements() as connection:
            await connection.execute(update(people).where(_person.id == person.id).values(catch_up=how))

    async def unblock(self, id: UUID) -> None:
        """Mail may go to them again, as before. Raises StorageUnavailable."""
        async with self._database.statements() as connection:
            await connection.execute(update(people).where(_person.id == id).values(blocked_at=None, blocked_why=None))

    async def sender_of(self, reminder: UUID) -> Person | None:
        """Whoever set this reminder; None where that is nobody known. Raises StorageUnavailable."""
        return await self._one(select(*_person).join(reminders, row.owner == _person.owner).where(row.id == reminder))

    async def refuse(self, sender: Person, recipient: Person) -> str:
        """No more reminders from this sender to this recipient. Answers what was agreed before, for `as_agreed`; empty where
        nothing was. Raises StorageUnavailable."""
        async with self._database.transaction() as connection:
            found = await connection.execute(select(consents.c.state).where(_between(sender.id, recipient.id)))
            before = found.scalar_one_or_none()
            refusal = self._database.insert(consents).values(
                sender_id=sender.id, recipient_id=recipient.id, state="refused", asked_at=now(), decided_at=now()
            )
            await connection.execute(
                refusal.on_conflict_do_update(
                    index_elements=[consents.c.sender_id, consents.c.recipient_id],
                    set_={"state": "refused", "decided_at": now()},
                )
            )
        return str(before or "")

    async def as_agreed(self, sender: UUID, recipient: UUID, before: str) -> None:
        """Take a `refuse` back. Raises StorageUnavailable."""
        refused = and_(_between(sender, recipient), consents.c.state == "refused")
        taken_back = update(consents).where(refused).values(state=before) if before else delete(consents).where(refused)
        async with self._database.statements() as connection:
            await connection.execute(taken_back)

    async def _enter(self, connection: AsyncConnection, purpose: Purpose, token: str) -> SignedIn:
        secret = secrets.token_urlsafe(32)
        link = await self._use(connection, purpose, token)
        await self._note_confirmed(connection, link.person_id)
        found = await connection.execute(select(*_person).where(_person.id == link.person_id))
        person = Person(**found.mappings().one())
        await connection.execute(
            insert(sessions).values(
                secret_hash=hashed(secret), person_id=person.id, created_at=now(), expires_at=now() + _ms(SESSION)
            )
        )
        return SignedIn(person=person, secret=secret)

    async def _note_confirmed(self, connection: AsyncConnection, id: UUID) -> None:
        """Their address is theirs; whoever answers may be asked again from another browser."""
        confirmed = func.coalesce(_person.confirmed_at, now())
        await connection.execute(
            update(people).where(_person.id == id).values(confirmed_at=confirmed, asked_at=None, asked_times=0)
        )

    async def _drop(self, connection: AsyncConnection, person: Person) -> None:
        """What waited for this person's word and was not wanted."""
        why = "It was not wanted when the address was confirmed."
        # What repeats must not go on without having been wanted.
        unwanted = select(row.series_id).where(_awaited(person, None), row.series_id.is_not(None))
        await connection.execute(
            update(series).where(series.c.id.in_(unwanted)).values(state=CANCELLED, next_wall=None, updated_at=now())
        )
        await connection.execute(
            update(reminders)
            .where(_awaited(person, None))
            .values(status=Status.CANCELLED, reason=why, updated_at=now(), timeline=noted()),
            {"note": note("cancelled", reason=why)},
        )

    async def _free(
        self, connection: AsyncConnection, person: Person, by: Person | None, wanted: Collection[UUID] | None = None
    ) -> Sequence[Reminder]:
        """What waited for this answer, all or what is `wanted` of it, waits for its time now; what is past that was missed."""
        awaited = _awaited(person, by) if wanted is None else and_(_awaited(person, by), row.id.in_(wanted))
        why = "Its time had passed before it was agreed to."
        missed = await connection.execute(
            update(reminders)
            .where(awaited, row.due_at <= now())
            .values(status=Status.MISSED, reason=why, updated_at=now(), timeline=noted())
            .returning(row.id),
            {"note": note("missed", reason=why)},
        )
        if self._webhooks and (ids := missed.scalars().all()):
            await announce(connection, ids)
        found = await connection.execute(
            update(reminders)
            .where(awaited)
            .values(status=Status.SCHEDULED, updated_at=now(), timeline=noted())
            .returning(*row),
            {"note": note("confirmed")},
        )
        return [Reminder(**each) for each in found.mappings()]

    async def _link(self, purpose: Purpose, token: str) -> Link:
        """The link of a token, if it works still. Raises BadToken."""
        async with self._database.statements() as connection:
            found = await connection.execute(select(*links.c).where(_usable(purpose, self._id(purpose, token))))
            link = found.mappings().one_or_none()
        if link is None:
            raise BadToken(expired=True)
        return Link(**link)

    async def _use(self, connection: AsyncConnection, purpose: Purpose, token: str) -> Link:
        """Use a link up: of many who try at once, one does. Raises BadToken."""
        statement = (
            update(links).where(_usable(purpose, self._id(purpose, token))).values(used_at=now()).returning(*links.c)
        )
        used = (await connection.execute(statement)).mappings().one_or_none()
        if used is None:
            raise BadToken(expired=True)
        return Link(**used)

    def _id(self, purpose: Purpose, token: str) -> UUID:
        try:
            (id,) = self._signer.read(purpose, token)
            return UUID(id)
        except ValueError:
            raise BadToken from None

    async def _one(self, statement: Any) -> Person | None:
        async with self._database.statements() as connection:
            found = (await connection.execute(statement)).mappings().one_or_none()
        return None if found is None else Person(**found)


def mailbox(address: str) -> str:
    """An address as people are known by: no server tells `Ada@` from `ada@`."""
    return address.casefold()


def hashed(secret: str) -> str:
    """What is kept of a secret of 256 random bits: nobody can guess such a one, so a fast hash is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def until(purpose: Purpose, clock: datetime) -> datetime:
    """When a link that is mailed now stops to work."""
    return clock + _LASTS[purpose]


def _usable(purpose: Purpose, id: UUID) -> Any:
    return and_(links.c.id == id, links.c.purpose == purpose, links.c.used_at.is_(None), links.c.expires_at > now())


def _between(sender: UUID, recipient: UUID) -> Any:
    return and_(consents.c.sender_id == sender, consents.c.recipient_id == recipient)


def _awaited(person: Person, by: Person | None) -> Any:
    """The reminders that wait for this person's word: their own, or those of `by` to them."""
    theirs = row.owner == (person if by is None else by).owner
    to_them = func.lower(row.recipient) == person.mailbox
    return and_(row.status == Status.UNCONFIRMED, row.kind == Kind.REMINDER, theirs, to_them)


def _ms(span: timedelta) -> int:
    return round(span.total_seconds() * 1000)
