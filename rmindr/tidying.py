"""What is swept away by itself: links and sessions that are over, reminders that nobody confirmed, limits that are free."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import Any, Final

import structlog
from sqlalchemy import and_, delete, exists, func, or_, select, update

from rmindr.database import Database, now
from rmindr.errors import StorageUnavailable
from rmindr.ledger import reminders, row
from rmindr.limits import buckets
from rmindr.models import FINAL, Kind, Status
from rmindr.people import links, people, sessions
from rmindr.series import CANCELLED, series
from rmindr.webhooks.outbox import WAITING as CALL_WAITS
from rmindr.webhooks.outbox import calls

log = structlog.get_logger(__name__)

# As long as the link in the mail that asked.
_OWN_WAITS: Final = timedelta(hours=48)
_OTHERS_WAIT: Final = timedelta(days=14)
# What became of a mail of our own is worth knowing for a while.
_MAILS_KEPT: Final = timedelta(days=7)


class Tidying:
    """Sweeps one database, every `pace`. Several processes may."""

    def __init__(self, database: Database, pace: timedelta) -> None:
        self._database = database
        self._pace = pace

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(self._pace.total_seconds() * random.uniform(0.8, 1.2))
            try:
                await self.sweep()
            except StorageUnavailable as error:
                log.warning("database away", why=str(error))

    async def sweep(self) -> int:
        """One round: how many rows went. Raises StorageUnavailable."""
        gone = 0
        async with self._database.statements() as connection:
            for statement in _SWEPT:
                gone += (await connection.execute(statement)).rowcount
        if gone:
            log.info("tidied", rows=gone)
        return gone


def _ago(span: timedelta) -> Any:
    return now() - round(span.total_seconds() * 1000)


_to_oneself: Final = exists().where(people.c.owner == row.owner, people.c.mailbox == func.lower(row.recipient))
_forgotten: Final = or_(row.created_at < _ago(_OTHERS_WAIT), and_(row.created_at < _ago(_OWN_WAITS), _to_oneself))
_SWEPT: Final = (
    delete(links).where(links.c.expires_at < _ago(timedelta(days=1))),
    delete(sessions).where(sessions.c.expires_at < now()),
    delete(buckets).where(buckets.c.free_at < now()),
    # Before its one occurrence goes: what repeats would have the next one written.
    update(series)
    .where(series.c.id.in_(select(row.series_id).where(row.status == Status.UNCONFIRMED, _forgotten)))
    .values(state=CANCELLED, next_wall=None),
    delete(reminders).where(row.status == Status.UNCONFIRMED, _forgotten),
    delete(calls).where(calls.c.state != CALL_WAITS, calls.c.created_at < _ago(_MAILS_KEPT)),
    delete(reminders).where(row.kind != Kind.REMINDER, row.status.in_(FINAL), row.updated_at < _ago(_MAILS_KEPT)),
)
