"""A reminder as a row: a new one, a changed one, and by what it is known again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, and_

from rmindr import drafts, moments
from rmindr.drafts import Asked
from rmindr.forms import Draft
from rmindr.ledger import row
from rmindr.models import Reminder, Status, new_id


def new_row(draft: Draft, owner: str, status: Status, clock: datetime) -> dict[str, Any]:
    """The row of a new reminder; of what repeats, but for the id of its series."""
    return {
        "id": new_id(),
        "rev": 1,
        "owner": owner,
        "status": status,
        "recipient": draft.to,
        "subject": draft.subject,
        "message": draft.message,
        "due_at": draft.due_at,
        "next_at": draft.due_at,
        "time_zone": draft.time_zone,
        "created_at": clock,
        "updated_at": clock,
        "idem_key": None,
        "idem_hash": None,
        "timeline": _created(clock),
        "series_id": None,
        "occurrence": draft.repeats.start.isoformat() if draft.repeats is not None else None,
        **_planned(draft),
    }


def overlaid(seen: Reminder, change: Asked) -> Asked:
    """What is asked for where this is changed of a reminder. A subject that was made from the message is made anew."""
    automatic = drafts.subject_from(seen.message) == seen.subject
    untimed = change.due_at is None and change.when is None
    return replace(
        change,
        to=change.to if change.to is not None else seen.recipient,
        subject=change.subject if change.subject is not None else (None if automatic else seen.subject),
        message=change.message if change.message is not None else seen.message,
        due_at=seen.due_at.isoformat() if untimed else change.due_at,
        time_zone=change.time_zone or seen.time_zone,
    )


def as_seen(seen: Reminder) -> ColumnElement[bool]:
    """The row, if it still shows what it did: each change of what is shown moves one of these."""
    same = (row.rev == seen.rev, row.fence == seen.fence, row.status == seen.status, row.next_at == seen.next_at)
    told = (row.updated_at == seen.updated_at, row.timeline == seen.timeline, row.zone_rules == seen.zone_rules)
    return and_(*same, *told)


def _planned(draft: Draft) -> dict[str, Any]:
    """By what its instant was found, so that it can be found anew; and after which it is of no use."""
    return {
        "wall": draft.wall.isoformat() if draft.wall is not None else None,
        "fold": draft.fold,
        "zone_rules": moments.rules_in_use() if draft.wall is not None else "",
        "deadline_at": draft.deadline_at,
    }


def replanned(seen: Reminder, change: Asked, draft: Draft) -> dict[str, Any]:
    """What an edit makes of a plan. Whatever is moved is of use for as long as before."""
    values = {} if same_time(change) and draft.repeats is None else _planned(draft)
    if change.due_at is None and change.when is None and change.time_zone is not None and seen.wall is not None:
        # Only the zone is another one: the instant stays, and so does what it is true to, a clock.
        local = draft.due_at.astimezone(ZoneInfo(draft.time_zone))
        wall = local.replace(tzinfo=None, fold=0).isoformat()
        values |= {"wall": wall, "fold": local.fold, "zone_rules": moments.rules_in_use()}
    if change.deadline_at is not None:
        return values | {"deadline_at": draft.deadline_at}
    useful = seen.deadline_at - seen.due_at if seen.deadline_at is not None else None
    return values | {"deadline_at": draft.due_at + useful if useful is not None else None}


def same_time(change: Asked) -> bool:
    """Whether a change leaves it when it is."""
    return change.due_at is None and change.when is None and change.time_zone is None


def fingerprint(asked: Asked) -> str:
    """By which it is known again when the same is asked for."""
    fields = [asked.to, asked.subject, asked.message, asked.due_at, asked.when, asked.time_zone, asked.fold]
    more = [asked.repeat, asked.until, asked.count, asked.from_completion, asked.missed, asked.deadline_at]
    # What the release before did not know of is left out where it is not said: its keys are still good.
    fields += more if any(each is not None for each in more) else []
    return hashlib.sha256(json.dumps(fields).encode()).hexdigest()


def _created(clock: datetime) -> str:
    return json.dumps({"at": int(clock.timestamp() * 1000), "event": "created"}) + "\n"
