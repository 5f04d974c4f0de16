"""A mail of our own – to confirm, to sign in, to tell – goes the way of every reminder: a row, an alarm, a delivery."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from rmindr.database import now
from rmindr.ledger import reminders, row
from rmindr.models import Kind, Person, Reminder, Status, new_id

# None of anybody's words are in these: whoever gets such a mail has perhaps never heard of whoever caused it.
SUBJECTS: Final[Mapping[Kind, str]] = {
    Kind.CONFIRM: "Is this your address?",
    Kind.AGREE: "May somebody remind you by mail?",
    Kind.SIGN_IN: "Your link to sign in",
    Kind.NOTICE: "About your reminders",
}


async def own_mail(
    connection: AsyncConnection, kind: Kind, to: Person, about: Mapping[str, str | list[str] | None]
) -> Reminder:
    """The row of such a mail, due now; `about` is what its letter is made of. Commits with the transaction."""
    values = {
        "id": new_id(),
        "rev": 1,
        "owner": "",
        "status": Status.SCHEDULED,
        "kind": kind,
        "about": json.dumps({name: fact for name, fact in about.items() if fact is not None}),
        "recipient": to.address,
        "subject": SUBJECTS[kind],
        "message": "",
        "due_at": now(),
        "next_at": now(),
        "time_zone": to.time_zone,
        "created_at": now(),
        "updated_at": now(),
        "timeline": "",
    }
    found = await connection.execute(insert(reminders).values(values).returning(*row))
    return Reminder(**found.mappings().one())
