"""A person's reminders as they look for them: what is to come, and what became of the rest; counted, searched, by the page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, func, literal, or_, select

from rmindr.database import Database, from_ms
from rmindr.ledger import row
from rmindr.models import WAITING, Reminder, Status
from rmindr.reminders import Eyes

_BATCH: Final = 500


class Shelf(StrEnum):
    """Where a reminder is looked for."""

    UPCOMING = "upcoming"
    DONE = "done"
    FAILED = "failed"
    MISSED = "missed"
    CANCELLED = "cancelled"


_DONE: Final = or_(row.status == Status.SENT, row.done_at.is_not(None))
_ON: Final[Mapping[Shelf, ColumnElement[bool]]] = {
    Shelf.UPCOMING: row.status.in_((Status.UNCONFIRMED, Status.SENDING, *WAITING)),
    Shelf.DONE: _DONE,
    Shelf.FAILED: and_(row.status.in_((Status.FAILED, Status.UNCERTAIN)), row.done_at.is_(None)),
    Shelf.MISSED: and_(row.status == Status.MISSED, row.done_at.is_(None)),
    Shelf.CANCELLED: and_(row.status == Status.CANCELLED, row.done_at.is_(None)),
}
_SHELF: Final = case(*((on, literal(str(shelf))) for shelf, on in _ON.items()))


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a list: behind this reminder. It holds when others are added or go."""

    due_at: datetime
    id: UUID

    def __str__(self) -> str:
        return f"{int(self.due_at.timestamp() * 1000)}.{self.id.hex}"

    @classmethod
    def read(cls, text: str) -> Place:
        """As an address has it. Raises ValueError."""
        ms, _, id = text.partition(".")
        try:
            return cls(from_ms(int(ms)), UUID(hex=id))
        except OverflowError:
            raise ValueError from None


@dataclass(frozen=True, slots=True)
class Page:
    """Reminders of one shelf, and the place behind them where there are more."""

    items: Sequence[Reminder]
    next: Place | None


class Lists:
    """The lists over one database. Every method raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def counts(self, eyes: Eyes, words: str = "") -> Mapping[Shelf, int]:
        """How many there are on each shelf; every shelf is present."""
        statement = select(_SHELF, func.count()).where(eyes.sees, *_saying(words)).group_by(_SHELF)
        async with self._database.statements() as connection:
            found: Any = {each[0]: each[1] for each in await connection.execute(statement)}
        return {shelf: found.get(shelf, 0) for shelf in Shelf}

    async def page(
        self, eyes: Eyes, shelf: Shelf, *, words: str = "", after: Place | None = None, limit: int = 25
    ) -> Page:
        """What is to come, soonest first; what has been, latest first."""
        soonest = shelf is Shelf.UPCOMING
        conditions = [eyes.sees, _ON[shelf], *_saying(words)]
        if after is not None:
            beyond = row.due_at > after.due_at if soonest else row.due_at < after.due_at
            same = and_(row.due_at == after.due_at, row.id > after.id if soonest else row.id < after.id)
            conditions.append(or_(beyond, same))
        order = (row.due_at, row.id) if soonest else (row.due_at.desc(), row.id.desc())
        # One more than is shown: it tells whether there is a page after.
        statement = select(*row).where(*conditions).order_by(*order).limit(limit + 1)
        async with self._database.statements() as connection:
            found = [Reminder(**each) for each in (await connection.execute(statement)).mappings()]
        more = Place(found[limit - 1].due_at, found[limit - 1].id) if len(found) > limit else None
        return Page(found[:limit], more)

    async def everything(self, eyes: Eyes) -> AsyncIterator[Reminder]:
        """All of them, oldest first, a batch at a time."""
        last: UUID | None = None
        while True:
            beyond = [row.id > last] if last is not None else []
            statement = select(*row).where(eyes.sees, *beyond).order_by(row.id).limit(_BATCH)
            async with self._database.statements() as connection:
                found = [Reminder(**each) for each in (await connection.execute(statement)).mappings()]
            for each in found:
                yield each
            if len(found) < _BATCH:
                return
            last = found[-1].id


def _saying(words: str) -> list[ColumnElement[bool]]:
    """Those that have each of these words somewhere; their case does not matter."""
    columns = [func.lower(column) for column in (row.message, row.subject, row.recipient)]
    return [
        or_(*(column.contains(word, autoescape=True) for column in columns)) for word in words.casefold().split()[:8]
    ]
