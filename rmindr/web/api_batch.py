"""Many reminders by one request: each is answered for itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field, ValidationError
from starlette.types import Scope

from rmindr.batches import MOST, Batches, BatchKey, Outcome
from rmindr.drafts import Asked
from rmindr.errors import InvalidDraft, TooMany
from rmindr.forms import ReminderIn, ReminderOut
from rmindr.models import Reminder, Status
from rmindr.web.api import IdempotencyKey, asked
from rmindr.web.bodies import StrictRoute
from rmindr.web.description import BODY, TOKEN, problems_of
from rmindr.web.problems import Problem, described, of_draft, of_fields, wait_s
from rmindr.web.shown import shown
from rmindr.web.visitors import Writing

router = APIRouter(prefix="/api", tags=["reminders"], route_class=StrictRoute)

PATH: Final = "/api/reminders/batch"
# A thousand reminders of a kibibyte each.
MAX_BODY: Final = 1024 * 1024
_TOLD_AT_ONCE: Final = 50


class BatchIn(BaseModel):
    """Reminders, each as it is posted alone."""

    model_config = {
        "extra": "forbid",
        "json_schema_extra": {
            "examples": [{"items": [{"to": "me@example.org", "message": "Call mum", "due_at": "2099-12-01T09:00:00Z"}]}]
        },
    }

    # Each is looked at by itself: one that is wrong must not keep the others from being taken.
    items: list[Any] = Field(min_length=1, max_length=MOST, description="Each as a reminder is posted alone.")


class BatchItem(BaseModel):
    """What became of one: either the reminder, or why there is none."""

    status: int = Field(examples=[201], description="As it would have been answered alone: 201, 202, 422, or 429.")
    reminder: ReminderOut | None = None
    problem: Problem | None = None
    retry_after: int | None = Field(None, description="After so many seconds one more will be taken, where it is 429.")


class BatchOut(BaseModel):
    """What became of each, in the order in which they came."""

    items: list[BatchItem]


def batches_of(request: Request) -> Batches:
    """Where many are scheduled at once."""
    batches: Batches = request.app.state.batches
    return batches


@router.post(
    "/reminders/batch",
    operation_id="createReminders",
    response_model=BatchOut,
    response_description="What became of each.",
    summary="Schedule up to a thousand mails",
    responses=problems_of(*BODY, "Too many", *TOKEN),
)
async def create_many(
    body: BatchIn,
    request: Request,
    batches: Annotated[Batches, Depends(batches_of)],
    visitor: Writing,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Each is judged as if it had come alone, in this order, and has a status of its own; what is right is taken even where
    the rest is not. All that are taken are committed together, before the answer. An `Idempotency-Key` is of the whole batch:
    with the same body the same reminders are answered, and what was refused is tried again."""
    items, complaints = await _read(body.items, request.scope)
    key = visitor.key(idempotency_key)
    batch = BatchKey(key=key, said=json.dumps(body.items, sort_keys=True).encode()) if key is not None else None
    outcomes = await batches.schedule(items, visitor.asker, key=batch)
    told = []
    for index, outcome in enumerate(outcomes):
        told.append(_told(index, outcome, request.scope) if outcome is not None else complaints[index])
        if index % _TOLD_AT_ONCE == 0:
            await asyncio.sleep(0)
    return Response(json.dumps({"items": told}), media_type="application/json")


async def _read(items: Sequence[Any], scope: Scope) -> tuple[list[Asked | None], dict[int, dict[str, Any]]]:
    """The items that have the shape of a reminder, and what is wrong with the others."""
    found: list[Asked | None] = []
    complaints = {}
    for index, item in enumerate(items):
        try:
            found.append(asked(ReminderIn.model_validate(item)))
        except ValidationError as error:
            found.append(None)
            wrong = [{**each, "loc": ("body", "items", index, *each["loc"])} for each in error.errors()]
            complaints[index] = _problem(described(scope, "Not understood", *of_fields(wrong)))
        if index % _TOLD_AT_ONCE == 0:
            await asyncio.sleep(0)
    return found, complaints


def _told(index: int, outcome: Outcome, scope: Scope) -> dict[str, Any]:
    match outcome:
        case Reminder():
            status = 202 if outcome.status == Status.UNCONFIRMED else 201
            return {"status": status, "reminder": shown(outcome).model_dump(mode="json")}
        case TooMany():
            return _problem(described(scope, "Too many", str(outcome))) | {"retry_after": wait_s(outcome)}
        case InvalidDraft():
            errors = of_draft(outcome, f"/items/{index}")
            return _problem(described(scope, "Not a reminder yet", str(outcome), errors))
        case None:
            raise AssertionError("what was not asked for has a complaint")


def _problem(said: Problem) -> dict[str, Any]:
    return {"status": said.status, "problem": said.model_dump(exclude_none=True)}
