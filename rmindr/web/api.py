"""The JSON API for reminders: each route calls one method below it, and answers what that returned."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from sqlmodel import SQLModel

from rmindr.drafts import Asked
from rmindr.errors import ReminderNotFound
from rmindr.forms import Preview, PreviewIn, ReminderChange, ReminderIn, ReminderOut, SeriesOut
from rmindr.models import Reminder, Status
from rmindr.reminders import Reminders
from rmindr.web.bodies import StrictRoute
from rmindr.web.description import BODY, TOKEN, problems_of
from rmindr.web.previews import preview_of, series_shown
from rmindr.web.shown import OnlyIf, answered, is_known, shown, tag_of
from rmindr.web.visitors import Reading, Scheduling, Visitor, Writing

router = APIRouter(prefix="/api", tags=["reminders"], route_class=StrictRoute)


class Page(SQLModel):
    """Reminders, newest first; `next` is the cursor of the page after, and null on the last."""

    items: list[ReminderOut]
    next: str | None


class Accepted(SQLModel):
    """What is not yet a promise: it waits for whoever reads the mail at that address."""

    status: Literal["unconfirmed"] = "unconfirmed"
    detail: str = "If that address may be asked, a mail is on its way that asks; the reminder waits for its answer."


def reminders_of(request: Request) -> Reminders:
    """The reminders of this application."""
    reminders: Reminders = request.app.state.reminders
    return reminders


# Of what repeats, one occurrence, or it and all that follow.
Which = Annotated[
    Literal["one", "following"], Query(description="Of what repeats: this one, or it and all that follow.")
]
Books = Annotated[Reminders, Depends(reminders_of)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Makes a repeated request harmless: the same key with the same body answers the same. One that is still "
        "being answered is waited for. With another body it is refused (422). It is kept as long as the reminder, for each "
        "token apart.",
    ),
]


_UNCHANGED: Final[dict[int | str, dict[str, Any]]] = {304: {"description": "It is as `If-None-Match` has it."}}
WAITS: Final[dict[int | str, dict[str, Any]]] = {
    202: {"model": ReminderOut | Accepted, "description": "It waits for a yes from that address."}
}


@router.post(
    "/reminders",
    status_code=201,
    response_description="The reminder; `Location` is its address.",
    operation_id="createReminder",
    summary="Schedule one mail at one instant",
    responses=WAITS | problems_of(*BODY, "Token needed", "Forbidden", "Too many"),
)
async def create(
    body: ReminderIn,
    response: Response,
    books: Books,
    visitor: Scheduling,
    idempotency_key: IdempotencyKey = None,
) -> ReminderOut | Accepted:
    """Answered with 201, it is committed: it will be handed to the mail server, never early, or be shown as failed with
    the reason. Answered with 202, it waits until whoever reads the mail at `to` has agreed; whoever shows no token is told
    no more. The same `Idempotency-Key` with the same body answers the same reminder."""
    reminder = await books.schedule(asked(body), visitor.asker, idem_key=visitor.key(idempotency_key))
    return made(reminder, visitor, response)


@router.post(
    "/reminders/preview",
    operation_id="previewReminder",
    response_description="What it would be.",
    summary="See what a reminder would be, with nothing stored",
    responses=problems_of(*BODY),
)
async def preview(body: PreviewIn, books: Books) -> Preview:
    """What is given is checked as for a real one; `to` and `message` may still be missing."""
    return preview_of(books, Asked(**body.model_dump(exclude={"reader_time_zone"})), body.reader_time_zone)


@router.get(
    "/reminders",
    operation_id="listReminders",
    response_description="A page of them.",
    summary="List reminders, newest first",
    responses=problems_of("Bad request", "Not understood", *TOKEN),
)
async def newest(
    request: Request,
    response: Response,
    books: Books,
    visitor: Reading,
    status: Status | None = None,
    cursor: Annotated[UUID | None, Query(description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> Page:
    """Pages hold their place when reminders are added meanwhile."""
    # One more than is shown: it tells whether there is a page after.
    found = await books.newest(visitor.eyes, status=status, before=cursor, limit=limit + 1)
    after = found[limit - 1].id if len(found) > limit else None
    if after is not None:
        response.headers["Link"] = f'<?{request.url.include_query_params(cursor=after).query}>; rel="next"'
    return Page(items=[shown(each) for each in found[:limit]], next=None if after is None else str(after))


@router.get(
    "/reminders/{id}",
    operation_id="readReminder",
    response_description="The reminder.",
    summary="Read one reminder",
    response_model=ReminderOut,
    responses=_UNCHANGED | problems_of("Not found", *TOKEN),
)
async def read(
    id: UUID,
    request: Request,
    response: Response,
    books: Books,
    visitor: Reading,
    if_none_match: Annotated[str | None, Header(description="The `ETag` of what is known already, or several.")] = None,
) -> Any:
    """As it stands, with its timeline."""
    said = answered(await books.find(id, visitor.eyes), response)
    if is_known(request, tag_of(said)):
        return Response(status_code=304, headers=dict(response.headers))
    return said


@router.patch(
    "/reminders/{id}",
    operation_id="editReminder",
    response_description="The reminder as it is now.",
    summary="Change a reminder that has not left",
    responses=problems_of(*BODY, "Not found", "Too late", "Changed meanwhile", "Too many", *TOKEN),
)
async def edit(
    id: UUID,
    body: ReminderChange,
    response: Response,
    books: Books,
    visitor: Writing,
    only_if: OnlyIf,
    which: Which = "one",
) -> ReminderOut:
    """What is left out stays. Answered with 200, the old version is never sent; with 409, the mail has left or is leaving;
    with 412, it is not any more as `If-Match` says."""
    following = which == "following"
    change = asked(body)
    edited = await books.edit(id, change, visitor.eyes, visitor.asker, following=following, only_if=only_if)
    return answered(edited, response)


@router.delete(
    "/reminders/{id}",
    operation_id="cancelReminder",
    response_description="The reminder, cancelled.",
    summary="Cancel a reminder that has not left",
    responses=problems_of("Not found", "Too late", "Changed meanwhile", "Not understood", "Too many", *TOKEN),
)
async def cancel(
    id: UUID, response: Response, books: Books, visitor: Writing, only_if: OnlyIf, which: Which = "one"
) -> ReminderOut:
    """Answered with 200, it is never sent; with 409, the mail has left or is leaving; with 412, it is not any more as
    `If-Match` says, unless it is cancelled already. Of what repeats, the next one comes, unless all that follow are cancelled,
    too."""
    end = books.stop if which == "following" else books.cancel
    return answered(await end(id, visitor.eyes, only_if=only_if), response)


@router.get(
    "/reminders/{id}/series",
    operation_id="readSeries",
    response_description="The series.",
    summary="Read what a reminder is an occurrence of",
    responses=problems_of("Not found", *TOKEN),
)
async def read_series(id: UUID, books: Books, visitor: Reading) -> SeriesOut:
    """Its rule, and the next five by it."""
    held = await books.series_of(await books.find(id, visitor.eyes))
    if held is None:
        raise ReminderNotFound
    return series_shown(held)


def made(reminder: Reminder | None, visitor: Visitor, response: Response) -> ReminderOut | Accepted:
    """The answer to whoever has asked for this one."""
    if reminder is None or visitor.is_blind_to(reminder):
        response.status_code = 202
        return Accepted()
    response.status_code = 202 if reminder.status == Status.UNCONFIRMED else 201
    response.headers["Location"] = visitor.place_of(reminder, "/api/reminders")
    return answered(reminder, response)


def asked(body: ReminderIn | ReminderChange) -> Asked:
    """The request's fields, as the drafts know them."""
    return Asked(**body.model_dump())
