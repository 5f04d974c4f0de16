"""A person's webhooks: made with a secret that is shown once, tried, taken up again, ended.

The secret is kept in the clear, for every call is signed with it; whoever reads the database could forge calls to that program,
and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, func, insert, select, update

from rmindr.database import Database, now
from rmindr.errors import InvalidWebhook
from rmindr.limits import WEBHOOK_TESTS, Limits
from rmindr.models import Hook, Person, new_id
from rmindr.webhooks.outbox import TEST, WAITING, Event, calls, hooks, tell
from rmindr.webhooks.places import Closed, Reach
from rmindr.webhooks.signature import new_secret

MOST: Final = 5
_hook: Final = hooks.c


@dataclass(frozen=True, slots=True)
class Kept:
    """A webhook, and what it said last."""

    hook: Hook
    answer: str | None
    waiting: int


class Webhooks:
    """The webhooks of one instance. Every method raises StorageUnavailable."""

    def __init__(self, database: Database, reach: Reach, limits: Limits) -> None:
        self._database = database
        self._reach = reach
        self._limits = limits

    async def make(self, person: Person, url: str, events: Collection[str]) -> Hook:
        """A new webhook, with its secret, which nobody is told again. Raises InvalidWebhook."""
        problems = {}
        try:
            self._reach.place(url)
        except Closed as why:
            problems["url"] = str(why)
        if not events or not set(events) <= set(Event):
            problems["events"] = f"must be some of {', '.join(Event)}"
        if problems:
            raise InvalidWebhook(problems)
        values = {
            "id": new_id(),
            "owner": person.owner,
            "url": url,
            "secret": new_secret(),
            "events": " ".join(sorted(events)),
            "created_at": now(),
        }
        async with self._database.transaction() as connection:
            count = await connection.scalar(select(func.count()).where(_hook.owner == person.owner))
            if (count or 0) >= MOST:
                raise InvalidWebhook({"url": f"would be one too many: there may be {MOST}"})
            made = await connection.execute(insert(hooks).values(values).returning(*_hook))
            return Hook(**made.mappings().one())

    async def of(self, person: Person) -> Sequence[Kept]:
        """A person's webhooks, oldest first."""
        last = (
            select(calls.c.answer)
            .where(calls.c.hook_id == _hook.id, calls.c.answer.is_not(None))
            .order_by(calls.c.id.desc())
            .limit(1)
            .scalar_subquery()
        )
        waiting = select(func.count()).where(calls.c.hook_id == _hook.id, calls.c.state == WAITING).scalar_subquery()
        statement = select(*_hook, last.label("answer"), waiting.label("waiting")).where(_hook.owner == person.owner)
        async with self._database.statements() as connection:
            found = (await connection.execute(statement.order_by(_hook.id))).mappings().all()
        return [
            Kept(Hook(**{column.name: each[column.name] for column in _hook}), each["answer"], each["waiting"])
            for each in found
        ]

    async def end(self, person: Person, id: UUID) -> bool:
        """It is called no more; False where it is not this person's."""
        async with self._database.transaction() as connection:
            gone = await connection.execute(delete(hooks).where(_theirs(person, id)))
            if gone.rowcount:
                await connection.execute(delete(calls).where(calls.c.hook_id == id))
            return gone.rowcount > 0

    async def resume(self, person: Person, id: UUID) -> bool:
        """One that was stopped, or fails, is called again as if nothing had been; False where it is not this person's."""
        again = update(hooks).where(_theirs(person, id)).values(failing_since=None, stopped_at=None)
        async with self._database.statements() as connection:
            return (await connection.execute(again)).rowcount > 0

    async def test(self, person: Person, id: UUID) -> bool:
        """A call that says only that it is a test; False where it is not this person's, or is stopped. Raises TooMany."""
        async with self._database.transaction() as connection:
            clock = select(now()).where(_theirs(person, id), _hook.stopped_at.is_(None))
            at = (await connection.execute(clock)).scalar_one_or_none()
            if at is None:
                return False
            # Whoever's address it is: it must not be called as often as somebody likes.
            await self._limits.take((WEBHOOK_TESTS, person.owner), connection=connection)
            await tell(connection, id, TEST, at, {})
            return True


def _theirs(person: Person, id: UUID) -> ColumnElement[bool]:
    return and_(_hook.id == id, _hook.owner == person.owner)
