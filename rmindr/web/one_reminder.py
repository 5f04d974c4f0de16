"""One reminder's page, and what may be done there or by the links of its mail: cancel, later, now, done. GET never acts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from rmindr import times
from rmindr.errors import BadToken, InvalidDraft, TooLate
from rmindr.forms import SeriesOut
from rmindr.models import FINAL, WAITING, Reminder, Status
from rmindr.reminders import Eyes
from rmindr.signing import Purpose, Signer
from rmindr.web.access import require_own_page
from rmindr.web.api import Books
from rmindr.web.api_acts import Acts
from rmindr.web.bodies import pressed
from rmindr.web.doors import Folk, Signs
from rmindr.web.here import CHANGEABLE, AtReminder, Here, of_reminder
from rmindr.web.later import choices, chosen
from rmindr.web.previews import series_shown
from rmindr.web.templating import lateness, page
from rmindr.web.visitors import AtPage

router = APIRouter(include_in_schema=False)

_OURS: Final = [Depends(require_own_page)]
_UNDO: Final = timedelta(minutes=1)


@of_reminder(router, "GET")
async def show(request: Request, books: Books, here: AtReminder, signer: Signs, undo: str = "") -> Response:
    """It as it stands; `undo` is offered for a minute after an act."""
    found = await books.find(here.id, here.eyes)
    held = await books.series_of(found)
    repeats = series_shown(held) if held is not None else None
    return _shown(request, found, here, _still_good(signer, undo), repeats)


@of_reminder(router, "POST", "/cancel")
async def cancel(books: Books, here: AtReminder, signer: Signs) -> Response:
    """Cancel it, and show it so."""
    before = await books.find(here.id, here.eyes)
    return _back(here, signer, await books.cancel(here.id, here.eyes), undo=before.status in WAITING)


@of_reminder(router, "POST", "/end")
async def end(books: Books, here: AtReminder) -> Response:
    """Cancel it and all that follow."""
    await books.stop(here.id, here.eyes)
    return RedirectResponse(here.path, 303)


@of_reminder(router, "POST", "/done")
async def done(books: Books, acts: Acts, here: AtReminder, signer: Signs) -> Response:
    """Put it away."""
    before = await books.find(here.id, here.eyes)
    return _back(here, signer, await acts.done(here.id, here.eyes), undo=before.status != Status.UNCONFIRMED)


@of_reminder(router, "POST", "/now")
async def send_now(acts: Acts, here: AtReminder) -> Response:
    """Send it now."""
    await acts.send_now(here.id, here.eyes, here.asker)
    return RedirectResponse(here.path, 303)


@of_reminder(router, "POST", "/confirm")
async def want(books: Books, folk: Folk, here: AtReminder) -> Response:
    """It waits for its owner's word: this is it."""
    found = await books.find(here.id, here.eyes)
    if here.asker.person is not None and here.asker.person.owner == found.owner:
        await folk.want(here.asker.person, here.id)
    return RedirectResponse(here.path, 303)


@of_reminder(router, "GET", "/snooze")
async def later_form(request: Request, books: Books, here: AtReminder) -> Response:
    """When it should come instead."""
    return _later_page(request, await books.find(here.id, here.eyes), f"{here.path}/snooze", back=here.path)


@of_reminder(router, "POST", "/snooze")
async def later(request: Request, books: Books, acts: Acts, here: AtReminder) -> Response:
    """It comes then."""
    found = await books.find(here.id, here.eyes)
    fields = await pressed(request)
    try:
        until = chosen(fields, datetime.now(UTC), ZoneInfo(found.time_zone))
        await acts.again(here.id, until, here.eyes, here.asker)
    except InvalidDraft as error:
        action = f"{here.path}/snooze"
        return _later_page(request, found, action, back=here.path, typed=fields, wrong=error.problems["when"])
    return RedirectResponse(here.path, 303)


# By the links of its mail, each of which is good for one thing


@router.get("/done/{token}")
async def done_page(token: str, request: Request, books: Books, signer: Signs) -> Response:
    """One button."""
    id = _of_mail(signer, Purpose.DONE, token)
    found = await books.find(id, Eyes(only=id))
    return page(request, "done.html", reminder=found, place=ZoneInfo(found.time_zone), token=token)


@router.post("/done/{token}", dependencies=_OURS)
async def done_by_mail(token: str, request: Request, acts: Acts, signer: Signs) -> Response:
    """Put it away."""
    id = _of_mail(signer, Purpose.DONE, token)
    changed = await acts.done(id, Eyes(only=id))
    return page(request, "said.html", badge="agreed", said="Done", lead=changed.subject, undo=_undo(signer, changed))


@router.get("/snooze/{token}")
async def later_page(token: str, request: Request, books: Books, signer: Signs) -> Response:
    """When it should come again."""
    id = _of_mail(signer, Purpose.SNOOZE, token)
    return _later_page(request, await books.find(id, Eyes(only=id)), f"/snooze/{token}")


@router.post("/snooze/{token}", dependencies=_OURS)
async def later_by_mail(
    token: str, request: Request, books: Books, acts: Acts, signer: Signs, visitor: AtPage
) -> Response:
    """It comes again then."""
    id = _of_mail(signer, Purpose.SNOOZE, token)
    found = await books.find(id, Eyes(only=id))
    fields = await pressed(request)
    try:
        until = chosen(fields, datetime.now(UTC), ZoneInfo(found.time_zone))
        changed = await acts.again(id, until, Eyes(only=id), visitor.asker)
    except InvalidDraft as error:
        return _later_page(request, found, f"/snooze/{token}", typed=fields, wrong=error.problems["when"])
    lead = f"It comes again {times.in_words(changed.due_at, ZoneInfo(changed.time_zone))}."
    return page(
        request, "said.html", badge="agreed", said="Later", lead=lead, undo=None, done=f"/done/{_done(signer, id)}"
    )


def _of_mail(signer: Signer, purpose: Purpose, token: str) -> UUID:
    """The reminder of a token for this purpose. Raises BadToken."""
    try:
        (id,) = signer.read(purpose, token)
        return UUID(id)
    except ValueError:
        raise BadToken from None


def _done(signer: Signer, id: UUID) -> str:
    return signer.sign(Purpose.DONE, str(id), until=datetime.now(UTC) + timedelta(hours=1))


def _undo(signer: Signer, changed: Reminder) -> str:
    return signer.sign(Purpose.UNDO, "reminder", str(changed.id), str(changed.rev), until=datetime.now(UTC) + _UNDO)


def _still_good(signer: Signer, undo: str) -> str | None:
    try:
        signer.read(Purpose.UNDO, undo)
    except BadToken:
        return None
    return undo


def _back(here: Here, signer: Signer, changed: Reminder, *, undo: bool) -> Response:
    query = f"?undo={_undo(signer, changed)}" if undo else ""
    return RedirectResponse(here.path + query, 303)


def _later_page(
    request: Request,
    found: Reminder,
    action: str,
    *,
    back: str | None = None,
    typed: dict[str, str] | None = None,
    wrong: str | None = None,
) -> Response:
    if found.status == Status.CANCELLED and found.done_at is None:
        # Whoever wants it after all makes a copy.
        raise TooLate(found.status)
    place = ZoneInfo(found.time_zone)
    context: dict[str, Any] = {
        "reminder": found,
        "place": place,
        "action": action,
        "back": back,
        "choices": choices(datetime.now(UTC), place),
        "typed": typed or {},
        "wrong": wrong.rstrip(".") if wrong else None,
    }
    return page(request, "later.html", code=422 if wrong else 200, **context)


def _shown(request: Request, found: Reminder, here: Here, undo: str | None, repeats: SeriesOut | None) -> Response:
    now = datetime.now(UTC)
    until = (found.next_at - now).total_seconds()
    final = found.status in FINAL
    overdue = until < 0 and not final and found.status != Status.UNCONFIRMED
    person = here.asker.person
    return page(
        request,
        "reminder.html",
        reminder=found,
        act=here.path,
        undo=undo if final else None,
        repeats=repeats,
        mine=person is not None and found.status == Status.UNCONFIRMED and found.recipient.lower() == person.mailbox,
        everybody=here.eyes.everything,
        by_link=here.by_link,
        status=Status(found.status),
        place=ZoneInfo(found.time_zone),
        changeable=found.status in CHANGEABLE,
        distance=times.distance_in_words(abs(found.due_at - now)),
        lateness=lateness(found.lateness_ms),
        overdue=overdue,
        # What scripts compare: each change of the row moves updated_at.
        version=f"{found.rev}.{found.updated_at.timestamp()}.{overdue}",
        # A page without scripts looks again by itself: soon when something is about to happen, seldom otherwise.
        refresh=None if final else 30 if found.status == Status.UNCONFIRMED else max(1, min(30, round(until) + 1)),
    )
