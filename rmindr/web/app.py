"""The web application: what it is made of, in what order, and who may see what."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib.resources import files
from typing import Any, Final

from fastapi import FastAPI, Request
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from rmindr import __version__
from rmindr.afterwards import Afterwards
from rmindr.alarms import Alarms
from rmindr.batches import Batches
from rmindr.database import Database
from rmindr.feeds import Feeds
from rmindr.gate import OpenGate, PeopleGate
from rmindr.leaving import Leaving
from rmindr.limits import Limits
from rmindr.lists import Lists
from rmindr.mail.inbox import Inbox
from rmindr.mail.letters import Letters
from rmindr.people import People
from rmindr.queue import Queue
from rmindr.reminders import Reminders
from rmindr.settings import Settings
from rmindr.signing import Signer
from rmindr.tokens import Tokens
from rmindr.web import (
    api,
    api_acts,
    api_batch,
    appearance,
    calendar,
    doors,
    health,
    inbox,
    letter,
    my_reminders,
    one_reminder,
    pages,
    queue_acts,
    queue_api,
    queue_ui,
    webhooks,
)
from rmindr.web.access import Operators
from rmindr.web.description import as_they_are
from rmindr.web.guards import (
    BodyLimit,
    HeadAsGet,
    HttpsOnly,
    KnownHost,
    LastResort,
    RequestId,
    SecurityHeaders,
)
from rmindr.web.live import Live
from rmindr.web.problems import answer_errors
from rmindr.web.templating import templates
from rmindr.web.visitors import Visitors
from rmindr.webhooks.keeping import Webhooks
from rmindr.webhooks.places import Reach

# For those who look after the queue; a POST waits less long for it (reminders.py).
_QUEUE_PATIENCE: Final = timedelta(seconds=3)


def create_app(settings: Settings, mails: Inbox | None = None) -> FastAPI:
    """The application for these settings; `mails` adds the inbox of `rmindr dev`. Opens nothing before it is started."""

    @asynccontextmanager
    async def opened(app: FastAPI) -> AsyncIterator[None]:
        async with (
            Database.open(settings.database_url.get_secret_value()) as database,
            Queue.open(
                settings.redis_url.get_secret_value(),
                prefix=settings.queue_prefix,
                name="rmindr-web",
                patience=_QUEUE_PATIENCE,
            ) as queue,
        ):
            app.state.database = database
            app.state.queue = kue.state.queue = queue
            app.state.live = Live(queue)
            _furnish(app, settings, database, queue)
            yield

    app = _App(
        title="rmindr",
        version=__version__,
        description="Hand over a message and an instant; the mail goes out when it is due, once.",
        lifespan=opened,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
    )
    local = settings.access == "open"
    public_url = _public_url(settings)
    https = public_url.startswith("https:")
    app.state.metrics_token = settings.metrics_token
    app.state.metrics_open = local
    app.state.templates = templates()
    app.state.templates.globals |= {"inbox": mails is not None, "queue": local, "base": public_url}
    app.state.inbox = mails

    def end_news() -> None:
        if (live := getattr(app.state, "live", None)) is not None:
            live.close()

    # For whoever is told to stop the server: it waits for all answers, and the dashboard's news would never end.
    app.state.end_news = end_news
    app.state.operators = Operators(
        everybody=local, token=settings.admin_token, mailboxes=settings.admins, who=lambda request: _who(app, request)
    )
    kue = queue_api.create_api(app.state.operators)
    of_queue = (queue_ui.router, queue_acts.router)
    own = (appearance.router, doors.router, letter.router, one_reminder.router, my_reminders.router, calendar.router)
    called = (webhooks.programs, webhooks.router) if settings.webhooks == "on" else ()
    for router in (
        calendar.programs,
        api.router,
        api_batch.router,
        api_acts.router,
        pages.router,
        *own,
        *called,
        health.router,
        *of_queue,
        *([inbox.router] if mails is not None else []),
    ):
        app.include_router(router)
    app.mount(queue_api.PATH, kue)
    # Files alone: what is compressed beside a secret can be guessed by its length.
    app.mount("/static", GZipMiddleware(_Static(directory=str(files("rmindr.web") / "static"))), name="static")
    answer_errors(app)
    # The last added is the first to see a request.
    larger = {f"{queue_api.PATH}/job": queue_api.MAX_BODY, api_batch.PATH: api_batch.MAX_BODY}
    app.add_middleware(BodyLimit, limits=larger)
    app.add_middleware(HttpsOnly, public_url=public_url, enabled=https and bool(settings.trusted_proxies))
    app.add_middleware(KnownHost, hosts=settings.hosts)
    app.add_middleware(LastResort)
    app.add_middleware(HeadAsGet)
    app.add_middleware(SecurityHeaders, https=https)
    app.add_middleware(RequestId, trusted_proxies=settings.trusted_proxies or 0)
    return app


def _public_url(settings: Settings) -> str:
    """Where people find the pages."""
    return settings.public_url or f"http://localhost:{settings.port}"


def _furnish(app: FastAPI, settings: Settings, database: Database, queue: Queue) -> None:
    """What the routes speak to."""
    https = (settings.public_url or "").startswith("https:")
    alarms = Alarms(queue, timedelta(hours=settings.feed_window_hours))
    # Without a key nothing of ours is signed, and no link of another instance is read.
    signer = Signer(settings.secret_keys or [secrets.token_urlsafe(32)])
    people = People(database, signer, alarms, webhooks=settings.webhooks == "on")
    counted = Limits(database, (settings.secret_keys or [""])[-1])
    local = settings.access == "open"
    gate = OpenGate() if local else PeopleGate(people, counted, settings.recipients.allow)
    name, address = settings.sender
    bounces_to = settings.bounce_address or address
    app.state.letters = Letters(name=name, address=address, bounces_to=bounces_to, links=None)
    app.state.signer, app.state.people, app.state.limits, app.state.tokens = signer, people, counted, Tokens(database)
    app.state.reminders = books = Reminders(database, alarms, gate)
    app.state.afterwards, app.state.lists = Afterwards(database, alarms, gate, books), Lists(database)
    app.state.batches = Batches(database, alarms, gate, books)
    app.state.leaving = Leaving(database)
    reach = Reach.of(settings.webhook_hosts)
    app.state.webhooks = Webhooks(database, reach, counted) if settings.webhooks == "on" else None
    app.state.feeds = Feeds(database, signer, app.state.lists, _public_url(settings))
    app.state.visitors = Visitors(
        None if local else people,
        app.state.tokens,
        signer,
        settings.recipients.allow,
        counted,
        https=https,
        trusted_proxies=settings.trusted_proxies or 0,
    )


async def _who(app: FastAPI, request: Request) -> str | None:
    """At which address this browser is signed in."""
    # The queue's API is an application of its own, and this one's visitors come to it.
    visitors: Visitors = app.state.visitors
    person = (await visitors.by_cookie(request)).person
    return None if person is None else person.mailbox


class _App(FastAPI):
    """FastAPI, but for what it would say of errors."""

    def openapi(self) -> dict[str, Any]:
        """The description, made when somebody first asks."""
        if self.openapi_schema is None:
            as_they_are(super().openapi(), everybody=self.state.operators.everybody)
        return super().openapi()


class _Static(StaticFiles):
    """Static files under an address that changes with their content, so that browsers may keep them for ever."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request: /static/<hash>/<name>."""

        async def answer(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start" and message["status"] in (200, 304):
                headers = message["headers"]
                assert isinstance(headers, list)  # noqa: S101  (ASGI says so)
                headers.append((b"cache-control", b"public, max-age=31536000, immutable"))
            await send(message)

        await super().__call__(scope, receive, answer)  # type: ignore[arg-type]

    def get_path(self, scope: Scope) -> str:
        """The file's name, without the hash before it."""
        return super().get_path(scope).rpartition("/")[2]
