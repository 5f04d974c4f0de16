"""A person who leaves: everything of theirs is deleted, but for what keeps them from being written to again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

from sqlalchemy import Table, and_, delete, exists, func, or_, select, update

from rmindr.database import Database
from rmindr.ledger import reminders, row
from rmindr.models import Kind, Person, Series, Status
from rmindr.people import consents, links, people, sessions
from rmindr.tokens import tokens
from rmindr.webhooks.outbox import calls, hooks

_series: Final = cast(Table, Series.__table__)  # type: ignore[attr-defined]
# The next odd number (feeds.py).
_FEED_OFF: Final = people.c.feed_rev + 1 - people.c.feed_rev % 2


@dataclass(frozen=True, slots=True)
class Gone:
    """How many reminders were deleted, and how many were leaving at that moment."""

    reminders: int
    leaving: int


class Leaving:
    """Forgets people of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def forget(self, person: Person) -> Gone:
        """Delete all that is theirs, in one transaction. Raises StorageUnavailable.

        Who has stopped all mail, or refused somebody, stays known for that alone. A mail whose body may have left stays until
        it is told what became of it, without its words."""
        leaving = and_(row.status == Status.SENDING, row.marked_at.is_not(None))
        theirs = row.owner == person.owner
        mailed = and_(row.kind != Kind.REMINDER, func.lower(row.recipient) == person.mailbox)
        async with self._database.transaction() as connection:
            await connection.execute(delete(reminders).where(mailed, ~leaving))
            gone = await connection.execute(delete(reminders).where(theirs, ~leaving))
            left = await connection.execute(
                update(reminders).where(theirs, leaving).values(owner="", subject="", message="", idem_key=None)
            )
            await connection.execute(delete(_series).where(_series.c.owner == person.owner))
            await connection.execute(delete(tokens).where(tokens.c.person_id == person.id))
            called = select(hooks.c.id).where(hooks.c.owner == person.owner)
            await connection.execute(delete(calls).where(calls.c.hook_id.in_(called)))
            await connection.execute(delete(hooks).where(hooks.c.owner == person.owner))
            await connection.execute(delete(sessions).where(sessions.c.person_id == person.id))
            await connection.execute(
                delete(links).where(or_(links.c.person_id == person.id, links.c.by_id == person.id))
            )
            unrefused = and_(consents.c.recipient_id == person.id, consents.c.state != "refused")
            await connection.execute(delete(consents).where(or_(consents.c.sender_id == person.id, unrefused)))
            refused = exists(select(consents.c.sender_id).where(consents.c.recipient_id == person.id))
            await connection.execute(
                delete(people).where(people.c.id == person.id, people.c.blocked_at.is_(None), ~refused)
            )
            await connection.execute(
                update(people)
                .where(people.c.id == person.id)
                .values(confirmed_at=None, time_zone="UTC", asked_at=None, asked_times=0, feed_rev=_FEED_OFF)
            )
        return Gone(gone.rowcount, left.rowcount)
