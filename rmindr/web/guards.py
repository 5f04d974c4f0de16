"""What stands before every route: sizes, hosts, headers, and one log line per request. Plain ASGI, since all of it streams."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rmindr.models import new_id
from rmindr.web.access import client_address, host_of
from rmindr.web.problems import problem

log = structlog.get_logger(__name__)

MAX_BODY: Final = 64 * 1024
# Longer than any network that still works takes for so little; a router gives up after 30 s anyway.
_BODY_PATIENCE_S: Final = 25.0
_LINGER_S: Final = 1.0
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9-]{8,128}")
# What else the client has to say is not read, so the connection cannot be used again.
_CLOSE: Final = {"Connection": "close"}
_CSP: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class RequestId:
    """Gives every request an id (the router's own where there is one), answers it, and logs the request when it is over."""

    def __init__(self, app: ASGIApp, trusted_proxies: int) -> None:
        self._app = app
        self._trusted_proxies = trusted_proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else new_id().hex
        scope.setdefault("state", {})["request_id"] = request_id
        begun, status = time.perf_counter(), 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, answer)
        finally:
            route = scope.get("route")
            facts = {
                "method": scope["method"],
                # The route, not the path: ids in paths open pages.
                "route": getattr(route, "path", "-"),
                "status": status,
                "ms": round((time.perf_counter() - begun) * 1000, 1),
                "request_id": request_id,
            }
            if scope["method"] not in ("GET", "HEAD"):
                facts["client"] = client_address(scope, self._trusted_proxies)
            log.info("request", **facts)


class HeadAsGet:
    """Answers HEAD as GET would be answered, without the body: FastAPI's routes know only the methods they name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            # The server below looks here, too: a length may then stand without its body.
            scope["method"] = "HEAD"
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        scope["method"] = "GET"
        await self._app(scope, receive, answer)


class LastResort:
    """Turns whatever nobody foresaw into a 500 that tells nothing but the request's id; the trace goes into the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            # Nobody is left to answer.
            return
        except Exception as error:
            if scope["type"] != "http":
                raise
            request_id = scope.get("state", {}).get("request_id")
            log.error("unforeseen", exc_info=error, request_id=request_id)
            if not begun:
                detail = "Something went wrong on our side; it has been written down under this request's id."
                await problem(scope, "Our fault", detail)(scope, receive, send)


class BodyLimit:
    """Refuses a body over the limit with 413, counted while it streams: a length may be missing, or a lie. And one that
    does not come, with 408. `limits` has the paths whose limit is another."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        limit: int = MAX_BODY,
        limits: Mapping[str, int] = MappingProxyType({}),
        patience: float = _BODY_PATIENCE_S,
    ) -> None:
        self._app = app
        self._limit = limit
        self._limits = limits
        self._patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received, coming, refused = 0, True, False
        limit = self._limits.get(scope["path"], self._limit)
        too_large = f"A request's body may have {limit // 1024} KiB at most."
        deadline = asyncio.get_running_loop().time() + self._patience

        async def count() -> Message:
            nonlocal received, coming, refused
            if not coming:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "The body of this request did not come in time.", _CLOSE) from None
            coming = message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > limit:
                refused = True
                raise HTTPException(413, too_large, _CLOSE)
            return message

        async def answer(message: Message) -> None:
            last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if not (refused and last):
                await send(message)
                return
            await send({**message, "more_body": True})
            await _let_it_be_read(receive)
            await send({"type": "http.response.body", "body": b""})

        declared = Headers(scope=scope).get("content-length", "0")
        # A number with more digits than these is too large whatever it is.
        if len(declared) > 12 or (declared.isdecimal() and int(declared) > limit):
            refused = True
            await problem(scope, "Too large", too_large, headers=_CLOSE)(scope, receive, answer)
            return
        await self._app(scope, count, answer)


async def _let_it_be_read(receive: Receive) -> None:
    """Swallow what still comes for a moment: a connection closed upon unread data is reset, and the answer with it."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            while (await receive()).get("more_body", False):
                pass


class SecurityHeaders:
    """The headers that tell a browser what a page of ours can never do."""

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self._app = app
        self._https = https

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Content-Security-Policy", _CSP)
                headers["X-Content-Type-Options"] = "nosniff"
                # Nothing to other sites. To our own, so that over plain HTTP, where browsers do not say Sec-Fetch-Site,
                # our forms come with an Origin that is ours and not `null`.
                headers["Referrer-Policy"] = "same-origin"
                headers["Cross-Origin-Opener-Policy"] = "same-origin"
                headers["Cross-Origin-Resource-Policy"] = "same-origin"
                # The address of a reminder's page is all it takes to open it.
                headers["X-Robots-Tag"] = "noindex, nofollow"
                # Nothing here is for a cache: pages show what is true now. Static files say otherwise themselves.
                headers.setdefault("Cache-Control", "no-store")
                if self._https:
                    headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"
            await send(message)

        await self._app(scope, receive, answer)


class HttpsOnly:
    """Sends whoever came by plain HTTP to HTTPS at our public address, where the router says so in X-Forwarded-Proto."""

    def __init__(self, app: ASGIApp, public_url: str, *, enabled: bool) -> None:
        self._app = app
        self._public_url = public_url
        self._enabled = enabled

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if self._enabled and scope["type"] == "http" and Headers(scope=scope).get("x-forwarded-proto") == "http":
            # As it came, not decoded: the same bytes name the same thing there. The host is never the client's word.
            path = scope.get("raw_path") or quote(scope["path"]).encode()
            query = b"?" + scope["query_string"] if scope["query_string"] else b""
            where = self._public_url + (path + query).decode("latin-1")
            await RedirectResponse(where, 308)(scope, receive, send)
            return
        await self._app(scope, receive, send)


class KnownHost:
    """Refuses requests for another host than ours, if we know ours: a page elsewhere whose name was pointed at us must not
    speak for it."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        ours = scope["type"] != "http" or host_of(Headers(scope=scope).get("host", "")) in self._hosts
        if self._hosts and not ours:
            response = problem(scope, "Unknown host", "This service does not answer under that name.")
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)
