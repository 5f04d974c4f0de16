"""Calendars: one reminder as a file, a person's feed behind its secret address, all of it to take along."""

from __future__ import annotations

from datetime import datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from rmindr.calendar import TYPE
from rmindr.feeds import Feed, Feeds
from rmindr.web.access import require_own_page
from rmindr.web.api import Books
from rmindr.web.bodies import StrictRoute
from rmindr.web.description import problems_of
from rmindr.web.here import AtReminder, of_reminder
from rmindr.web.my_reminders import Me
from rmindr.web.visitors import AtPage, Reading

# Before the routes of api.py, for one of which `….ics` would be an id that is none.
programs = APIRouter(prefix="/api", tags=["reminders"], route_class=StrictRoute)
router = APIRouter(include_in_schema=False)

_OURS: Final = [Depends(require_own_page)]
_FILE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"text/calendar": {"schema": {"type": "string"}}}, "description": "The file (RFC 5545)."}
}


def feeds_of(request: Request) -> Feeds:
    """The calendars of this application."""
    feeds: Feeds = request.app.state.feeds
    return feeds


TheFeeds = Annotated[Feeds, Depends(feeds_of)]


# One reminder


@of_reminder(router, "GET", "/calendar.ics")
async def file_of_one(books: Books, feeds: TheFeeds, here: AtReminder) -> Response:
    """To add to a calendar by hand."""
    return _attached(await feeds.of_one(await books.find(here.id, here.eyes)))


@programs.get(
    "/reminders/{id}.ics",
    operation_id="readReminderAsCalendar",
    summary="Read one reminder as a calendar file",
    response_class=Response,
    responses=_FILE | problems_of("Not found", "Token needed", "Forbidden"),
)
async def read(id: UUID, books: Books, feeds: TheFeeds, visitor: Reading) -> Response:
    """One event; of what repeats, with its rule from the one that comes next on. It takes no time and has no alarm: the mail
    is the alarm."""
    return _attached(await feeds.of_one(await books.find(id, visitor.eyes)))


# All of one's own


@router.get("/export.ics")
async def export(feeds: TheFeeds, visitor: AtPage) -> Response:
    """All of one's own reminders, as a calendar file."""
    if visitor.person is None and not visitor.eyes.everything:
        raise HTTPException(404)
    headers = {"Content-Disposition": 'attachment; filename="reminders.ics"'}
    return StreamingResponse(feeds.everything(visitor.eyes), media_type=TYPE, headers=headers)


# The feed


@router.get("/calendar/{token}.ics")
async def feed(token: str, request: Request, feeds: TheFeeds) -> Response:
    """What a calendar program asks for again and again; whoever has the address needs nothing else."""
    found = await feeds.of(await feeds.whose(token))
    headers = {
        "ETag": found.etag,
        "Last-Modified": format_datetime(found.modified_at.replace(microsecond=0), usegmt=True),
        # A copy is asked about before it is used: what was cancelled is gone at the next look.
        "Cache-Control": "private, no-cache",
    }
    if _is_known(request, found):
        return Response(status_code=304, headers=headers)
    return Response(found.file, media_type=TYPE, headers=headers)


@router.post("/account/calendar", dependencies=_OURS)
async def new_address(me: Me, feeds: TheFeeds) -> Response:
    """A feed, or another address for it."""
    await feeds.renew(me)
    return RedirectResponse("/account#calendar", 303)


@router.post("/account/calendar/off", dependencies=_OURS)
async def no_address(me: Me, feeds: TheFeeds) -> Response:
    """No feed."""
    await feeds.switch_off(me)
    return RedirectResponse("/account#calendar", 303)


def _attached(file: bytes) -> Response:
    return Response(file, media_type=TYPE, headers={"Content-Disposition": 'attachment; filename="reminder.ics"'})


def _is_known(request: Request, found: Feed) -> bool:
    """Whether whoever asks has this very file already (RFC 9110, 13.1)."""
    if (marks := request.headers.get("if-none-match")) is not None:
        given = [mark.strip().removeprefix("W/") for mark in marks.split(",")]
        return "*" in given or found.etag in given
    since = _instant(request.headers.get("if-modified-since", ""))
    return since is not None and found.modified_at.replace(microsecond=0) <= since


def _instant(text: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    # Without an offset it is no date of HTTP.
    return at if at.tzinfo is not None else None
