"""New zone rules: every reminder that was meant by a clock is found anew, and what has moved is listed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import structlog
from sqlalchemy import and_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from rmindr.clocks import Moved, replan
from rmindr.database import Database, now
from rmindr.errors import StorageUnavailable
from rmindr.ledger import note, noted, reminders, row
from rmindr.models import WAITING, Kind, Person, Reminder, Status
from rmindr.moments import rules_in_use
from rmindr.own_mail import own_mail
from rmindr.series import people

log = structlog.get_logger(__name__)

_BATCH: Final = 100
_AGAIN_S: Final = 5.0
_TOLD_AT_MOST: Final = 20
_WHY: Final = "Clocks are set by new rules somewhere, and reminders keep to the clock that you meant:"
# What has not been tried yet. What is tried again was due by the rules of then.
_MOVABLE: Final = (Status.UNCONFIRMED, Status.SCHEDULED)


@dataclass(frozen=True, slots=True)
class Replanned:
    """A reminder whose instant is another one now."""

    id: UUID
    moved: Moved
    owner: str
    subject: str

    def __str__(self) -> str:
        """E.g. `0198…: moved by 1 hour: 09:00 on 1 July 2027 in Asuncion is now UTC−3`."""
        return f"{self.id}: {self.moved}"


async def replan_all(database: Database) -> AsyncIterator[Replanned]:
    """Find every reminder that waits anew by the rules in use, soonest first; yields those that have moved.

    Several processes may do so at once; what somebody edits meanwhile is planned by the rules of whoever edits it. Raises
    StorageUnavailable, and may be begun again then."""
    version = rules_in_use()
    stale = and_(row.wall.is_not(None), row.status.in_((Status.UNCONFIRMED, *WAITING)), row.zone_rules != version)
    while True:
        async with database.transaction() as connection:
            statement = select(*row).where(stale).order_by(row.next_at, row.id).limit(_BATCH)
            found = [Reminder(**each) for each in (await connection.execute(statement)).mappings()]
            # In the order in which whoever else changes many rows takes them (ledger.py).
            found.sort(key=lambda each: str(each.id))
            replanned = [each for seen in found if (each := await _replan(connection, seen, version)) is not None]
            await _tell(connection, replanned)
        for each in replanned:
            yield each
        if len(found) < _BATCH:
            return


async def _replan(connection: AsyncConnection, seen: Reminder, version: str) -> Replanned | None:
    unchanged = update(reminders).where(row.id == seen.id, row.rev == seen.rev)
    moved = _moved(seen) if seen.status in _MOVABLE else None
    if moved is None:
        await connection.execute(unchanged.values(zone_rules=version))
        return None
    values: dict[str, Any] = {
        "rev": row.rev + 1,
        "queued_rev": None,
        "due_at": moved.after,
        "next_at": moved.after,
        # Of use for as long as before.
        "deadline_at": seen.deadline_at + moved.by if seen.deadline_at is not None else None,
        "zone_rules": version,
        "updated_at": now(),
        "timeline": noted(),
    }
    statement = unchanged.where(row.status == seen.status).values(**values)
    changed = await connection.execute(statement, {"note": note("moved", reason=str(moved))})
    return Replanned(seen.id, moved, seen.owner, seen.subject) if changed.rowcount else None


async def _tell(connection: AsyncConnection, replanned: Sequence[Replanned]) -> None:
    """One mail to each owner of what has moved, in the transaction that moves it."""
    moved: dict[str, list[str]] = {}
    for each in replanned:
        moved.setdefault(each.owner, []).append(f"«{each.subject}» {each.moved}.")
    owners = and_(people.c.owner.in_(moved), people.c.confirmed_at.is_not(None), people.c.blocked_at.is_(None))
    for found in (await connection.execute(select(*people.c).where(owners))).mappings().all():
        person = Person(**found)
        told = moved[person.owner]
        rest = [f"And {len(told) - _TOLD_AT_MOST} more."] if len(told) > _TOLD_AT_MOST else []
        await own_mail(connection, Kind.NOTICE, person, {"told": [_WHY, *told[:_TOLD_AT_MOST], *rest]})


def _moved(seen: Reminder) -> Moved | None:
    try:
        place = ZoneInfo(seen.time_zone)
        return replan(datetime.fromisoformat(seen.wall or ""), place, seen.due_at, fold=seen.fold)
    except (ZoneInfoNotFoundError, ValueError, OverflowError):
        # A zone that is gone: what was known of it is all there is.
        log.warning("zone unknown", id=str(seen.id))
        return None


async def replan_at_start(database: Database) -> None:
    """As a worker starts: all of it, once, however often the database is away meanwhile."""
    moved = 0
    while True:
        try:
            async for each in replan_all(database):
                moved += 1
                log.info("moved", id=str(each.id), how=str(each.moved))
        except StorageUnavailable as error:
            log.warning("database away", why=str(error))
            await asyncio.sleep(_AGAIN_S)
            continue
        if moved:
            log.warning("replanned", reminders=moved, zone_rules=rules_in_use())
        return
