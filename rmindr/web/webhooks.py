"""A person's webhooks: by the API with a token for that, and on the account's page."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import RedirectResponse, Response
from sqlmodel import Field, SQLModel

from rmindr.errors import InvalidWebhook
from rmindr.models import Person
from rmindr.tokens import Scope
from rmindr.web.access import require_own_page
from rmindr.web.bodies import StrictRoute, pressed
from rmindr.web.description import problems_of
from rmindr.web.my_reminders import Me, TheTokens, account_page
from rmindr.web.templating import page
from rmindr.web.visitors import Visitor, by_token
from rmindr.webhooks.keeping import Kept, Webhooks
from rmindr.webhooks.outbox import Event

programs = APIRouter(prefix="/api", tags=["webhooks"], route_class=StrictRoute)
router = APIRouter(include_in_schema=False)

_OURS: Final = [Depends(require_own_page)]
_TOKEN: Final = ("Token needed", "Forbidden")


class WebhookIn(SQLModel):
    """A webhook as it is asked for."""

    model_config = {"extra": "forbid"}

    url: str = Field(
        description="Where it is called: https, port 443 or one from 1024 on, open to everybody.",
        schema_extra={"examples": ["https://hooks.example.org/rmindr"]},
    )
    events: list[Event] = Field(
        list(Event), description="What it is told of.", schema_extra={"examples": [["reminder.failed"]]}
    )


class WebhookOut(SQLModel):
    """A webhook as it stands."""

    id: UUID
    url: str
    events: list[str]
    created_at: datetime
    failing_since: datetime | None
    stopped_at: datetime | None = Field(
        description="It failed for days and is called no more; null where it is called."
    )
    last_answer: str | None


class NewWebhook(WebhookOut):
    """A webhook that was just made."""

    secret: str = Field(description="What signs each call (Standard Webhooks); it is told this once.")


class WebhookList(SQLModel):
    """All of a person's webhooks."""

    items: list[WebhookOut]


def webhooks_of(request: Request) -> Webhooks:
    """The webhooks of this application."""
    webhooks: Webhooks = request.app.state.webhooks
    return webhooks


def _person(visitor: Annotated[Visitor, Depends(by_token(Scope.WEBHOOKS, required=True))]) -> Person:
    """Whose token it is. Raises HTTPException 404 where everybody may do everything, so that nobody is anybody."""
    if visitor.person is None:
        raise HTTPException(404)
    return visitor.person


TheWebhooks = Annotated[Webhooks, Depends(webhooks_of)]
Theirs = Annotated[Person, Depends(_person)]


@programs.get(
    "/webhooks",
    operation_id="listWebhooks",
    response_description="All of them.",
    summary="List your webhooks",
    responses=problems_of("Not found", *_TOKEN),
)
async def listed(webhooks: TheWebhooks, me: Theirs) -> WebhookList:
    """Oldest first; there are a few at most."""
    return WebhookList(items=[WebhookOut(**_shown(each)) for each in await webhooks.of(me)])


@programs.post(
    "/webhooks",
    status_code=201,
    operation_id="createWebhook",
    response_description="The webhook, with its secret.",
    summary="Have a program told how your reminders end",
    responses=problems_of(
        "Bad request", "Too slow", "Too large", "Wrong content type", "Not understood", "Not found", *_TOKEN
    ),
)
async def create(body: WebhookIn, webhooks: TheWebhooks, me: Theirs) -> NewWebhook:
    """Each event is a POST, signed by Standard Webhooks 1.0, at least once: the same `webhook-id` is the same event. What is
    not answered with 2xx within five seconds is called again for about a day."""
    made = await webhooks.make(me, body.url, body.events)
    return NewWebhook(**_shown(Kept(made, None, 0)), secret=made.secret)


@programs.post(
    "/webhooks/{id}/test",
    status_code=202,
    operation_id="testWebhook",
    response_description="It is on its way.",
    summary="Send a test event",
    responses=problems_of("Not found", "Too many", *_TOKEN),
)
async def try_it(id: UUID, webhooks: TheWebhooks, me: Theirs) -> dict[str, str]:
    """An event `webhook.test` with nothing in it."""
    if not await webhooks.test(me, id):
        raise HTTPException(404)
    return {"event": "webhook.test"}


@programs.delete(
    "/webhooks/{id}",
    status_code=204,
    operation_id="deleteWebhook",
    response_description="It is called no more.",
    summary="End a webhook",
    responses=problems_of("Not found", *_TOKEN),
)
async def end(id: UUID, webhooks: TheWebhooks, me: Theirs) -> Response:
    """What was on its way to it is not sent any more."""
    if not await webhooks.end(me, id):
        raise HTTPException(404)
    return Response(status_code=204)


# On the account's page


@router.post("/account/webhooks", dependencies=_OURS)
async def make(request: Request, me: Me, tokens: TheTokens, webhooks: TheWebhooks) -> Response:
    """A new webhook; its secret is shown this once."""
    fields = await pressed(request)
    try:
        made = await webhooks.make(me, fields.get("url", "").strip(), [each for each in Event if fields.get(each)])
    except InvalidWebhook as error:
        return await account_page(request, me, tokens, problems=error.problems, url=fields.get("url", ""))
    return page(request, "webhook.html", hook=made)


def _pressed(act: Callable[[Webhooks, Person, UUID], Coroutine[Any, Any, bool]]) -> Callable[..., Any]:
    """A route that does this with one of a person's webhooks; one of another person is not there."""

    async def do(id: UUID, me: Me, webhooks: TheWebhooks) -> Response:
        if not await act(webhooks, me, id):
            raise HTTPException(404)
        return RedirectResponse("/account#webhooks", 303)

    return do


for _path, _act in (("test", Webhooks.test), ("resume", Webhooks.resume), ("delete", Webhooks.end)):
    router.add_api_route(f"/account/webhooks/{{id}}/{_path}", _pressed(_act), methods=["POST"], dependencies=_OURS)


def _shown(kept: Kept) -> dict[str, Any]:
    hook = kept.hook
    return {
        "id": hook.id,
        "url": hook.url,
        "events": hook.events.split(),
        "created_at": hook.created_at,
        "failing_since": hook.failing_since,
        "stopped_at": hook.stopped_at,
        "last_answer": kept.answer,
    }
