"""A person's calendar feed: its secret address, and what stands in it.

Of the address nothing is kept: it is signed over the person's id and `feed_rev`, which grows when the address is to be another
one. Odd, the feed is off, as it is at first; so an address that was good once never is again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import and_, func, select, update

from rmindr import calendar
from rmindr.database import Database, now
from rmindr.errors import BadToken
from rmindr.ledger import row
from rmindr.lists import Lists
from rmindr.models import Person, Reminder, Series, Status
from rmindr.people import people
from rmindr.reminders import Eyes
from rmindr.series import ACTIVE, find, series
from rmindr.signing import Purpose, Signer

REFRESH: Final = timedelta(hours=1)
# What has been stays for a while; what is to come is all there.
_PAST: Final = timedelta(days=30)
# Nobody looks at more; a file of these is some megabytes.
_MOST: Final = 10_000
# What nobody has agreed to yet may be anybody's wish: it does not come into a calendar by itself.
_SHOWN: Final = tuple(each for each in Status if each not in (Status.UNCONFIRMED, Status.CANCELLED))
_NAME: Final = "Reminders"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """A feed as it stands: the file, its mark, and since when it may have been so."""

    file: bytes
    etag: str
    modified_at: datetime


class Feeds:
    """The calendars of one instance, whose pages are at `pages`. Every method raises StorageUnavailable."""

    def __init__(self, database: Database, signer: Signer, lists: Lists, pages: str) -> None:
        self._database = database
        self._signer = signer
        self._lists = lists
        self._pages = pages

    def address(self, person: Person) -> str | None:
        """Where this person's feed is; None where it is off."""
        if person.feed_rev % 2:
            return None
        return f"{self._pages}/calendar/{self._signer.sign(Purpose.FEED, person.id.hex, str(person.feed_rev))}.ics"

    async def renew(self, person: Person) -> None:
        """Another address; the one before opens nothing from now on."""
        await self._turn(person, people.c.feed_rev + 2 - people.c.feed_rev % 2)

    async def switch_off(self, person: Person) -> None:
        """No address opens it."""
        await self._turn(person, people.c.feed_rev + 1 - people.c.feed_rev % 2)

    async def whose(self, token: str) -> Person:
        """The person of an address. Raises BadToken."""
        try:
            id, rev = self._signer.read(Purpose.FEED, token)
            mine = and_(people.c.id == UUID(id), people.c.feed_rev == int(rev), people.c.feed_rev % 2 == 0)
        except ValueError:
            raise BadToken from None
        async with self._database.statements() as connection:
            found = (await connection.execute(select(*people.c).where(mine))).mappings().one_or_none()
        if found is None:
            raise BadToken
        return Person(**found)

    async def of(self, person: Person) -> Feed:
        """What stands in a person's feed now."""
        mine = Eyes(owner=person.owner).sees
        since = now() - round(_PAST.total_seconds() * 1000)
        recent = select(*row).where(mine, row.due_at >= since, row.status.in_(_SHOWN))
        touched = select(func.max(row.updated_at)).where(mine)
        async with self._database.statements() as connection:
            found = await connection.execute(recent.order_by(row.due_at, row.id).limit(_MOST))
            items = [Reminder(**each) for each in found.mappings()]
            last: datetime | None = await connection.scalar(touched)
        serieses = await self._active(series.c.owner == person.owner)
        file = await asyncio.to_thread(self._file, items, serieses, REFRESH)
        # What falls out of the feed with time leaves no trace in a row: once a day it counts as changed.
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        modified_at = max([midnight, *([last] if last is not None else []), *(s.updated_at for s in serieses.values())])
        return Feed(file=file, etag=f'"{hashlib.sha256(file).hexdigest()[:32]}"', modified_at=modified_at)

    async def of_one(self, reminder: Reminder) -> bytes:
        """One reminder as a file; of what repeats, the one that comes next and all that follow it."""
        serieses = {}
        if reminder.series_id is not None:
            async with self._database.statements() as connection:
                held = await find(connection, reminder.series_id)
            serieses = {held.id: held} if held is not None else {}
        return await asyncio.to_thread(self._file, [reminder], serieses)

    async def everything(self, eyes: Eyes) -> AsyncIterator[bytes]:
        """All that these eyes may see, as one file, a piece at a time."""
        of_theirs = [] if eyes.everything else [series.c.owner == eyes.owner]
        serieses = await self._active(*of_theirs)
        spans = select(row.time_zone, func.min(row.due_at), func.max(row.due_at)).where(eyes.sees)
        async with self._database.statements() as connection:
            found: Any = (await connection.execute(spans.group_by(row.time_zone))).all()
        zones = {calendar.known(each[0]) for each in found} | {
            calendar.known(each.time_zone) for each in serieses.values()
        }
        instants = [each for _, first, last in found for each in (first, last)]
        yield calendar.opening(_NAME, zones - {"UTC"}, _years(instants))
        async for each in self._lists.everything(eyes):
            yield calendar.body(calendar.events([each], serieses, self._pages))
        yield calendar.CLOSING

    def _file(
        self, items: Sequence[Reminder], serieses: Mapping[UUID, Series], refresh: timedelta | None = None
    ) -> bytes:
        years = _years([each.due_at for each in items])
        return calendar.document(calendar.events(items, serieses, self._pages), _NAME, years, refresh=refresh)

    async def _active(self, *conditions: Any) -> dict[UUID, Series]:
        statement = select(*series.c).where(series.c.state == ACTIVE, *conditions)
        async with self._database.statements() as connection:
            return {each["id"]: Series(**each) for each in (await connection.execute(statement)).mappings()}

    async def _turn(self, person: Person, rev: Any) -> None:
        async with self._database.statements() as connection:
            await connection.execute(update(people).where(people.c.id == person.id).values(feed_rev=rev))


def _years(instants: Sequence[datetime]) -> tuple[int, int]:
    """From the first of these years to the last, or this one."""
    this = datetime.now(UTC).year
    return min([this, *(each.year for each in instants)]), max([this, *(each.year for each in instants)])
