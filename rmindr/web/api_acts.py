"""What a program may do with a reminder, as a person on its page: later, done, now, once more."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Depends, Response
from sqlmodel import Field, SQLModel

from rmindr.forms import ReminderChange, ReminderOut
from rmindr.web.access import require_own_page
from rmindr.web.api import WAITS, Accepted, Books, IdempotencyKey, asked, made
from rmindr.web.bodies import StrictRoute
from rmindr.web.description import BODY, TOKEN, problems_of
from rmindr.web.parts import Acts
from rmindr.web.shown import answered
from rmindr.web.visitors import Writing

router = APIRouter(prefix="/api", tags=["reminders"], route_class=StrictRoute)

_ACT = ("Not found", "Too late", "Too many", *TOKEN)


class SnoozeIn(SQLModel):
    """When it should come instead, or once more."""

    model_config = {"extra": "forbid", "strict": True, "json_schema_extra": {"examples": [{"until": "tomorrow 9am"}]}}

    until: str = Field(description="As `when` or `due_at` of a reminder; on the clock of the zone of this one.")
    fold: int | None = Field(None, ge=0, le=1, description="Which of two, where the clock shows `until` twice.")


@router.post(
    "/reminders/{id}/snooze",
    operation_id="snoozeReminder",
    response_description="The reminder as it is now.",
    summary="Let a reminder come later, or once more",
    responses=problems_of(*BODY, *_ACT),
)
async def snooze(id: UUID, body: SnoozeIn, response: Response, acts: Acts, visitor: Writing) -> ReminderOut:
    """Where its mail has not left, it comes then only; where it has come, or ended otherwise, it comes then once more. What was
    cancelled is not brought back (409): copy it."""
    changed = await acts.snooze(id, body.until, visitor.eyes, visitor.asker, fold=body.fold)
    return answered(changed, response)


@router.post(
    "/reminders/{id}/done",
    operation_id="finishReminder",
    response_description="The reminder, put away.",
    summary="Say that it is done",
    responses=problems_of(*_ACT),
    # Without a body, any page could send it.
    dependencies=[Depends(require_own_page)],
)
async def done(id: UUID, response: Response, acts: Acts, visitor: Writing) -> ReminderOut:
    """What has come is put away; what was to come does not. Harmless to say twice."""
    return answered(await acts.done(id, visitor.eyes), response)


@router.post(
    "/reminders/{id}/now",
    operation_id="sendReminderNow",
    response_description="The reminder, due now.",
    summary="Send it now",
    responses=problems_of(*_ACT),
    dependencies=[Depends(require_own_page)],
)
async def now(id: UUID, response: Response, acts: Acts, visitor: Writing) -> ReminderOut:
    """Without waiting for its time; what failed or was missed is tried once more. 409 where the mail has left or is leaving."""
    return answered(await acts.send_now(id, visitor.eyes, visitor.asker), response)


@router.post(
    "/reminders/{id}/copy",
    status_code=201,
    operation_id="copyReminder",
    response_description="The new reminder; `Location` is its address.",
    summary="Schedule another one like it",
    responses=WAITS | problems_of(*BODY, "Not found", "Too many", *TOKEN),
)
async def copy(
    id: UUID,
    body: ReminderChange,
    response: Response,
    books: Books,
    visitor: Writing,
    idempotency_key: IdempotencyKey = None,
) -> ReminderOut | Accepted:
    """To the same address, with the same words, in the same zone, at the same instant, but for what the body changes. Neither
    its deadline nor how it repeats is copied."""
    key = visitor.key(idempotency_key)
    copied = await books.copy(id, asked(body), visitor.eyes, visitor.asker, idem_key=key)
    return made(copied, visitor, response)
