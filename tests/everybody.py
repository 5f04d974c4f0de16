"""Reminders as they are on an open instance: whoever asks may do everything, so tests of the rest need not say who asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from rmindr.alarms import Alarms
from rmindr.database import Database
from rmindr.drafts import Asked
from rmindr.forms import Draft
from rmindr.gate import Admission, Asker, OpenGate
from rmindr.models import Reminder, Status
from rmindr.queue import Queue
from rmindr.reminders import Eyes, Reminders

_EVERYTHING = Eyes(everything=True)


class _Of(OpenGate):
    """Lets everybody in, and says that all is this owner's."""

    def __init__(self, owner: str) -> None:
        self._owner = owner

    async def owner(self, asker: Asker, address: str) -> str:
        return self._owner

    async def admit(self, connection: AsyncConnection, asker: Asker, draft: Draft) -> Admission:
        return Admission(owner=self._owner, status=Status.SCHEDULED)


class Everybody:
    """What anybody may do with the reminders of one database and queue."""

    def __init__(
        self,
        database: Database,
        queue: Queue,
        *,
        feed_window: timedelta = timedelta(hours=24),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        alarms = Alarms(queue, feed_window, clock)
        self._of = lambda owner: Reminders(database, alarms, _Of(owner), clock)
        self._reminders = self._of("")

    def preview(self, asked: Asked, *, partial: bool = False) -> Draft:
        return self._reminders.preview(asked, partial=partial)

    async def schedule(self, asked: Asked, *, owner: str = "", idem_key: str | None = None) -> Reminder:
        reminder = await self._of(owner).schedule(asked, Asker(), idem_key=idem_key)
        assert reminder is not None
        return reminder

    async def find(self, id: UUID) -> Reminder:
        return await self._reminders.find(id, _EVERYTHING)

    async def newest(self, *, owner: str | None = None, **which: Any) -> Sequence[Reminder]:
        return await self._reminders.newest(_EVERYTHING if owner is None else Eyes(owner=owner), **which)

    async def edit(self, id: UUID, change: Asked) -> Reminder:
        return await self._reminders.edit(id, change, _EVERYTHING, Asker())

    async def cancel(self, id: UUID) -> Reminder:
        return await self._reminders.cancel(id, _EVERYTHING)
