"""The JSON API for reminders: each route calls one method below it, and answers what that returned."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from sqlmodel import Field, SQLModel

from rmindr.drafts import Asked
from rmindr.errors import ReminderNotFound
from rmindr.forms import Preview, ReminderChange, ReminderIn, ReminderOut, SeriesOut, TimelineEvent
from rmindr.models import WAITING, Reminder, Status
from rmindr.reminders import Reminders
from rmindr.web.bodies import StrictRoute
from rmindr.web.previews import preview_of, series_shown
from rmindr.web.problems import PROBLEMS, Problem
from rmindr.web.visitors import Reading, Scheduling, Writing

router = APIRouter(prefix="/api", tags=["reminders"], route_class=StrictRoute)


class Page(SQLModel):
    """Reminders, newest first; `next` is the cursor of the page after, and null on the last."""

    items: list[ReminderOut]
    next: str | None


class Accepted(SQLModel):
    """What is not yet a promise: it waits for whoever reads the mail at that address."""

    status: Literal["unconfirmed"] = "unconfirmed"
    detail: str = "If that address may be asked, a mail is on its way that asks; the reminder waits for its answer."


class PreviewIn(ReminderChange):
    """A reminder that is still being written."""

    until: str | None = None
    count: int | None = Field(None, ge=1, le=10_000)
    from_completion: bool | None = None
    missed: Literal["once", "skip"] | None = None
    reader_time_zone: str | None = Field(None, description="On whose clock it is told, too, where that is another.")


def reminders_of(request: Request) -> Reminders:
    """The reminders of this application."""
    reminders: Reminders = request.app.state.reminders
    return reminders


# Of what repeats, one occurrence, or it and all that follow.
Which = Annotated[
    Literal["one", "following"], Query(description="Of what repeats: this one, or it and all that follow.")
]
Books = Annotated[Reminders, Depends(reminders_of)]


def _problems(*titles: str) -> dict[int | str, dict[str, Any]]:
    """How a route can end otherwise, for its description; every one can end for want of a database."""
    said: dict[int | str, dict[str, Any]] = {}
    for title in (*titles, "Not now"):
        status, meaning = PROBLEMS[title]
        said[status] = {"model": Problem, "description": meaning}
    return said


_WAITS: Final[dict[int | str, dict[str, Any]]] = {
    202: {"model": ReminderOut | Accepted, "description": "It waits for a yes from that address."}
}
_TOKEN: Final = ("Token needed", "Forbidden")
_BODY: Final = ("Bad request", "Too slow", "Too large", "Wrong content type", "Not a reminder yet")


@router.post(
    "/reminders",
    status_code=201,
    response_description="The reminder; `Location` is its address.",
    operation_id="createReminder",
    summary="Schedule one mail at one instant",
    responses=_WAITS | _problems(*_BODY, "Token needed", "Forbidden", "Too many"),
)
async def create(
    body: ReminderIn,
    response: Response,
    books: Books,
    visitor: Scheduling,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$")] = None,
) -> ReminderOut | Accepted:
    """Answered with 201, it is committed: it will be handed to the mail server, never early, or be shown as failed with
    the reason. Answered with 202, it waits until whoever reads the mail at `to` has agreed; whoever shows no token is told
    no more. The same `Idempotency-Key` with the same body answers the same reminder."""
    reminder = await books.schedule(asked(body), visitor.asker, idem_key=visitor.key(idempotency_key))
    if reminder is None or visitor.is_blind_to(reminder):
        response.status_code = 202
        return Accepted()
    response.status_code = 202 if reminder.status == Status.UNCONFIRMED else 201
    response.headers["Location"] = visitor.place_of(reminder, "/api/reminders")
    return shown(reminder)


@router.post(
    "/reminders/preview",
    operation_id="previewReminder",
    response_description="What it would be.",
    summary="See what a reminder would be, with nothing stored",
    responses=_problems(*_BODY),
)
async def preview(body: PreviewIn, books: Books) -> Preview:
    """What is given is checked as for a real one; `to` and `message` may still be missing."""
    return preview_of(books, Asked(**body.model_dump(exclude={"reader_time_zone"})), body.reader_time_zone)


@router.get(
    "/reminders",
    operation_id="listReminders",
    response_description="A page of them.",
    summary="List reminders, newest first",
    responses=_problems("Bad request", "Not understood", *_TOKEN),
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
    responses=_problems("Not found", *_TOKEN),
)
async def read(id: UUID, books: Books, visitor: Reading) -> ReminderOut:
    """As it stands, with its timeline."""
    return shown(await books.find(id, visitor.eyes))


@router.patch(
    "/reminders/{id}",
    operation_id="editReminder",
    response_description="The reminder as it is now.",
    summary="Change a reminder that has not left",
    responses=_problems(*_BODY, "Not found", "Too late", "Too many", *_TOKEN),
)
async def edit(id: UUID, body: ReminderChange, books: Books, visitor: Writing, which: Which = "one") -> ReminderOut:
    """What is left out stays. Answered with 200, the old version is never sent; with 409, the mail has left or is
    leaving."""
    following = which == "following"
    return shown(await books.edit(id, asked(body), visitor.eyes, visitor.asker, following=following))


@router.delete(
    "/reminders/{id}",
    operation_id="cancelReminder",
    response_description="The reminder, cancelled.",
    summary="Cancel a reminder that has not left",
    responses=_problems("Not found", "Too late", "Not understood", *_TOKEN),
)
async def cancel(id: UUID, books: Books, visitor: Writing, which: Which = "one") -> ReminderOut:
    """Answered with 200, it is never sent; with 409, the mail has left or is leaving. Of what repeats, the next one comes,
    unless all that follow are cancelled, too."""
    return shown(await (books.stop if which == "following" else books.cancel)(id, visitor.eyes))


@router.get(
    "/reminders/{id}/series",
    operation_id="readSeries",
    response_description="The series.",
    summary="Read what a reminder is an occurrence of",
    responses=_problems("Not found", *_TOKEN),
)
async def read_series(id: UUID, books: Books, visitor: Reading) -> SeriesOut:
    """Its rule, and the next five by it."""
    held = await books.series_of(await books.find(id, visitor.eyes))
    if held is None:
        raise ReminderNotFound
    return series_shown(held)


def asked(body: ReminderIn | ReminderChange) -> Asked:
    """The request's fields, as the drafts know them."""
    return Asked(**body.model_dump())


def shown(reminder: Reminder) -> ReminderOut:
    """A row as a program sees it."""
    return ReminderOut(
        id=reminder.id,
        to=reminder.recipient,
        subject=reminder.subject,
        message=reminder.message,
        due_at=reminder.due_at,
        time_zone=reminder.time_zone,
        status=Status(reminder.status),
        reason=reminder.reason,
        revision=reminder.rev,
        attempts=reminder.attempt,
        next_attempt_at=reminder.next_at if reminder.status in WAITING else None,
        created_at=reminder.created_at,
        updated_at=reminder.updated_at,
        sent_at=reminder.accepted_at,
        lateness_ms=reminder.lateness_ms,
        may_have_arrived_twice=reminder.ambiguous > 0 and reminder.status == Status.SENT,
        timeline=[TimelineEvent.of(event) for event in reminder.events],
        wall_time=reminder.wall,
        zone_rules=reminder.zone_rules,
        deadline_at=reminder.deadline_at,
        series_id=reminder.series_id,
    )


def as_they_are(description: dict[str, Any]) -> None:
    """In an OpenAPI description, make every error a problem, and drop those that cannot be."""
    for path in description["paths"].values():
        for operation in path.values():
            answers = operation["responses"]
            for status, answer in list(answers.items()):
                if status < "400":
                    continue
                (content,) = answer["content"].values()
                answer["content"] = {"application/problem+json": content}
                if content["schema"]["$ref"] != "#/components/schemas/Problem":
                    # FastAPI's own 422, for an id that is none: with us that is a 404.
                    del answers[status]
    for unused in ("HTTPValidationError", "ValidationError"):
        description["components"]["schemas"].pop(unused, None)
