"""What is told, and to whom: written in the transaction in which a reminder ends, so that neither is there alone."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import Table, insert, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection

from rmindr.database import Instant, now
from rmindr.ledger import reminders, row
from rmindr.models import Call, Hook, Kind, Reminder, Status, new_id

hooks: Final = cast(Table, Hook.__table__)  # type: ignore[attr-defined]
calls: Final = cast(Table, Call.__table__)  # type: ignore[attr-defined]

WAITING: Final = "waiting"
TAKEN: Final = "taken"
GIVEN_UP: Final = "given up"


class Event(StrEnum):
    """What a webhook is told of: how a reminder ended."""

    SENT = "reminder.sent"
    FAILED = "reminder.failed"
    MISSED = "reminder.missed"
    UNCERTAIN = "reminder.uncertain"


# Not one of them: somebody wants to see whether it works.
TEST: Final = "webhook.test"
_OF: Final[Mapping[Status, Event]] = {
    Status.SENT: Event.SENT,
    Status.FAILED: Event.FAILED,
    Status.MISSED: Event.MISSED,
    Status.UNCERTAIN: Event.UNCERTAIN,
}


async def announce(connection: AsyncConnection, ids: Collection[UUID]) -> None:
    """These reminders have just ended: a call for each webhook of their owners that is told of that."""
    listening = select(*row, hooks.c.id.label("hook_id"), hooks.c.events, type_coerce(now(), Instant).label("clock"))
    listening = listening.select_from(reminders.join(hooks, hooks.c.owner == row.owner))
    statement = listening.where(
        row.id.in_(ids), row.owner != "", row.kind == Kind.REMINDER, hooks.c.stopped_at.is_(None)
    )
    for found in (await connection.execute(statement)).mappings().all():
        reminder = Reminder(**{column.name: found[column.name] for column in row})
        event = _OF.get(Status(reminder.status))
        if event is not None and event in found["events"].split():
            await tell(connection, found["hook_id"], event, found["clock"], told(reminder))


async def tell(connection: AsyncConnection, hook: UUID, event: str, clock: datetime, data: Mapping[str, Any]) -> UUID:
    """Write one call, due now; its id."""
    id = new_id()
    body = json.dumps({"type": event, "timestamp": _written(clock), "data": data}, ensure_ascii=False)
    values = {"id": id, "hook_id": hook, "body": body, "state": WAITING, "next_at": now(), "created_at": now()}
    await connection.execute(insert(calls).values(**values))
    return id


def told(reminder: Reminder) -> dict[str, Any]:
    """What a program is told of a reminder; not its message, which is for whoever reads the mail."""
    return {
        "id": str(reminder.id),
        "status": str(reminder.status),
        "reason": reminder.reason,
        "to": reminder.recipient,
        "subject": reminder.subject,
        "due_at": _written(reminder.due_at),
        "time_zone": reminder.time_zone,
        "sent_at": _written(reminder.accepted_at) if reminder.accepted_at is not None else None,
        "lateness_ms": reminder.lateness_ms,
        "may_have_arrived_twice": reminder.ambiguous > 0 and reminder.status == Status.SENT,
        "attempts": reminder.attempt,
        "series_id": str(reminder.series_id) if reminder.series_id is not None else None,
    }


def _written(at: datetime) -> str:
    return f"{at.astimezone(UTC).isoformat(timespec='milliseconds')[:-6]}Z"
