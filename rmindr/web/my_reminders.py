"""A person's own pages: the list of their reminders, their tokens, all their data to take along, and to delete."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Annotated, Final
from urllib.parse import urlencode
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from rmindr import times
from rmindr.errors import InvalidDraft
from rmindr.feeds import Feeds
from rmindr.leaving import Leaving
from rmindr.lists import Lists, Place, Shelf
from rmindr.models import Person, Reminder
from rmindr.reminders import Eyes
from rmindr.tokens import Scope, Tokens
from rmindr.web.access import require_own_page
from rmindr.web.bodies import pressed
from rmindr.web.parts import Folk
from rmindr.web.shown import shown
from rmindr.web.templating import page
from rmindr.web.visitors import AtPage, Visitor, visitors_of
from rmindr.webhooks.keeping import Webhooks
from rmindr.webhooks.outbox import Event

router = APIRouter(include_in_schema=False)

_OURS: Final = [Depends(require_own_page)]
_LONGEST_QUERY: Final = 200
_CATCH_UP: Final[Mapping[str, str]] = {
    "each": "each reminder as its own mail",
    "one": "one mail that lists them",
}
_SCOPES: Final[Mapping[Scope, str]] = {
    Scope.READ: "see reminders",
    Scope.WRITE: "make, change and cancel reminders",
    Scope.WEBHOOKS: "make and end webhooks",
}
_WITHOUT_WEBHOOKS: Final[Mapping[Scope, str]] = {
    scope: words for scope, words in _SCOPES.items() if scope is not Scope.WEBHOOKS
}
_EVENTS: Final[Mapping[Event, str]] = {
    Event.SENT: "was sent",
    Event.FAILED: "could not be sent",
    Event.MISSED: "was missed",
    Event.UNCERTAIN: "may have been sent",
}
# After so many days a token ends by itself.
_ENDS: Final[Mapping[str, str]] = {
    "30": "after 30 days",
    "90": "after 90 days",
    "365": "after a year",
    "": "when it is revoked",
}


def _lists(request: Request) -> Lists:
    lists: Lists = request.app.state.lists
    return lists


def _tokens(request: Request) -> Tokens:
    tokens: Tokens = request.app.state.tokens
    return tokens


def _person(visitor: AtPage) -> Person:
    """Whoever is signed in. Raises HTTPException 404 where nobody is: a person's own pages are nobody else's."""
    if visitor.person is None:
        raise HTTPException(404)
    return visitor.person


TheLists = Annotated[Lists, Depends(_lists)]
TheTokens = Annotated[Tokens, Depends(_tokens)]
Me = Annotated[Person, Depends(_person)]


@router.get("/reminders")
async def mine(
    request: Request, lists: TheLists, visitor: AtPage, show: str = "", q: str = "", after: str = ""
) -> Response:
    """What is to come, by day; what became of the rest."""
    if visitor.person is None and not visitor.eyes.everything:
        return RedirectResponse("/sign-in", 303)
    shelf = Shelf(show) if show in list(Shelf) else Shelf.UPCOMING
    words = " ".join("".join(each if each.isprintable() else " " for each in q).split())[:_LONGEST_QUERY]
    found = await lists.page(visitor.eyes, shelf, words=words, after=_place(after))
    place = _zone_of(visitor, found.items)
    return page(
        request,
        "reminders.html",
        shelf=shelf,
        counts=await lists.counts(visitor.eyes, words),
        words=words,
        days=_by_day(found.items, place),
        place=place,
        further=found.next,
        first=not after,
        person=visitor.person,
        query=lambda **more: urlencode({name: str(value) for name, value in ({"q": words} | more).items() if value}),
    )


@router.get("/account")
async def account(request: Request, me: Me, tokens: TheTokens) -> Response:
    """Who is signed in, their tokens, their data."""
    return await account_page(request, me, tokens)


@router.post("/account", dependencies=_OURS)
async def change_account(request: Request, me: Me, tokens: TheTokens, folk: Folk) -> Response:
    """Another time zone; how mail comes after an outage; or mail again, where it was stopped."""
    fields = await pressed(request)
    try:
        if "time_zone" in fields:
            await folk.move(me, times.zone(fields["time_zone"].strip().replace(" ", "_") or "UTC").key)
        if (how := fields.get("catch_up", "")) in _CATCH_UP:
            await folk.catch_up(me, how)
        if fields.get("mail") == "start":
            await folk.unblock(me.id)
    except times.BadTime as complaint:
        return await account_page(request, me, tokens, problems={"time_zone": str(complaint).rstrip(".")})
    return RedirectResponse("/account", 303)


@router.post("/account/tokens", dependencies=_OURS)
async def make_token(request: Request, me: Me, tokens: TheTokens) -> Response:
    """A new token, shown this once."""
    fields = await pressed(request)
    scopes = [scope for scope in _scopes(request) if fields.get(scope)]
    days = fields.get("ends", "")
    typed = {"named": fields.get("name", ""), "ended": days}
    try:
        if days not in _ENDS:
            raise InvalidDraft({"ends": "must be one of those that are offered"})
        ends = datetime.now(UTC) + timedelta(days=int(days)) if days else None
        token, secret = await tokens.make(me, fields.get("name", ""), scopes, ends)
    except InvalidDraft as error:
        return await account_page(request, me, tokens, problems=error.problems, **typed)
    return page(
        request, "token.html", token=token, secret=secret, scopes=_scopes(request), place=ZoneInfo(me.time_zone)
    )


@router.post("/account/tokens/{id}/revoke", dependencies=_OURS)
async def revoke(id: UUID, me: Me, tokens: TheTokens) -> Response:
    """It is over, at once. One of another person is not there."""
    if not await tokens.revoke(me, id):
        raise HTTPException(404)
    return RedirectResponse("/account", 303)


@router.get("/export.json")
async def export(lists: TheLists, visitor: AtPage) -> Response:
    """All of one's own reminders, each as the API shows it."""
    if visitor.person is None and not visitor.eyes.everything:
        raise HTTPException(404)
    headers = {"Content-Disposition": 'attachment; filename="reminders.json"'}
    return StreamingResponse(_all_of(lists, visitor.eyes), media_type="application/json", headers=headers)


@router.post("/account/delete", dependencies=_OURS)
async def delete(request: Request, me: Me, tokens: TheTokens) -> Response:
    """Everything of theirs goes, for good."""
    fields = await pressed(request)
    if fields.get("sure") != "yes":
        problems = {"sure": "must be ticked: nothing of it comes back"}
        return await account_page(request, me, tokens, problems=problems)
    leaving: Leaving = request.app.state.leaving
    gone = await leaving.forget(me)
    count = f"{gone.reminders} reminder{'' if gone.reminders == 1 else 's'}"
    left = " A mail that is leaving at this moment could not be held back." if gone.leaving else ""
    lead = f"{count}, and all else that was kept of {me.address}.{left}"
    answer = page(request, "said.html", badge="cancelled", said="Everything is deleted", lead=lead, undo=None)
    visitors_of(request).let_out(answer)
    return answer


async def account_page(
    request: Request,
    me: Person,
    tokens: Tokens,
    *,
    problems: Mapping[str, str] | None = None,
    named: str = "",
    url: str = "",
    ended: str = "365",
) -> Response:
    """The account's page, with what is wrong with what was typed on it."""
    feeds: Feeds = request.app.state.feeds
    webhooks: Webhooks | None = request.app.state.webhooks
    context = {
        "person": me,
        "tokens": await tokens.of(me),
        "scopes": _scopes(request),
        "named": named,
        "ends": _ENDS,
        "ended": ended,
        "now": datetime.now(UTC),
        "feed": feeds.address(me),
        "webhooks": None if webhooks is None else await webhooks.of(me),
        "events": _EVENTS,
        "url": url,
        "ways": _CATCH_UP,
    }
    return page(request, "account.html", code=422 if problems else 200, problems=problems or {}, **context)


def _scopes(request: Request) -> Mapping[Scope, str]:
    """What a token may be for; webhooks only where there are any."""
    return _SCOPES if request.app.state.webhooks is not None else _WITHOUT_WEBHOOKS


async def _all_of(lists: Lists, eyes: Eyes) -> AsyncIterator[str]:
    yield '{"reminders": ['
    between = "\n"
    async for each in lists.everything(eyes):
        yield between + json.dumps(shown(each).model_dump(mode="json"))
        between = ",\n"
    yield "\n]}\n"


def _place(after: str) -> Place | None:
    """A place that is none is the beginning."""
    try:
        return Place.read(after) if after else None
    except ValueError:
        return None


def _zone_of(visitor: Visitor, items: Sequence[Reminder]) -> ZoneInfo:
    """On whose clock the days begin: the person's; where there is none, that of what comes first."""
    if visitor.person is not None:
        return ZoneInfo(visitor.person.time_zone)
    return ZoneInfo(items[0].time_zone if items else "UTC")


def _by_day(items: Sequence[Reminder], place: ZoneInfo) -> list[tuple[date, list[Reminder]]]:
    days = groupby(items, key=lambda each: each.due_at.astimezone(place).date())
    return [(day, list(group)) for day, group in days]
