"""What stands before every route: sizes, hosts, headers, and one log line per request. Plain ASGI, since all of it streams."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rmindr.models import new_id
from rmindr.settings import LOOPBACK
from rmindr.web.access import client_address
from rmindr.web.problems import problem

log = structlog.get_logger(__name__)

MAX_BODY: Final = 64 * 1024
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9-]{8,128}")
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
        except Exception as error:
            if scope["type"] != "http":
                raise
            request_id = scope.get("state", {}).get("request_id")
            log.error("unforeseen", exc_info=error, request_id=request_id)
            if not begun:
                detail = "Something went wrong on our side; it has been written down under this request's id."
                await problem(scope, 500, "Our fault", detail)(scope, receive, send)


class BodyLimit:
    """Refuses a body over the limit with 413, counted while it streams: a length may be missing, or a lie."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        received = 0
        # What else the client has to say is not read, so the connection cannot be used again.
        too_large = HTTPException(
            413, f"A request's body may have {self._limit // 1024} KiB at most.", {"Connection": "close"}
        )

        async def count() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise too_large
            return message

        declared = Headers(scope=scope).get("content-length", "0") if scope["type"] == "http" else "0"
        if not declared.isdigit() or int(declared) > self._limit:
            refusal = problem(scope, 413, "Too large", str(too_large.detail), headers=too_large.headers)
            await refusal(scope, receive, send)
            return
        await self._app(scope, count, send)


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
                headers["Referrer-Policy"] = "no-referrer"
                headers["Cross-Origin-Opener-Policy"] = "same-origin"
                # Nothing here is for a cache: pages show what is true now. Static files say otherwise themselves.
                headers.setdefault("Cache-Control", "no-store")
                if self._https:
                    headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"
            await send(message)

        await self._app(scope, receive, answer)


class HttpsOnly:
    """Sends whoever came by plain HTTP to HTTPS, where the router says so in X-Forwarded-Proto."""

    def __init__(self, app: ASGIApp, *, enabled: bool) -> None:
        self._app = app
        self._enabled = enabled

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        if self._enabled and headers.get("x-forwarded-proto") == "http":
            path = scope["path"] + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else "")
            await RedirectResponse(f"https://{headers.get('host', '')}{path}", 308)(scope, receive, send)
            return
        await self._app(scope, receive, send)


class KnownHost:
    """Refuses requests for another host than ours: a page elsewhere whose name was pointed at us must not speak for it."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and self._hosts:
            host = urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname or ""
            if host not in self._hosts:
                response = problem(scope, 400, "Unknown host", "This service does not answer under that name.")
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


def known_hosts(public_url: str | None, *, loopback_only: bool) -> frozenset[str]:
    """The names under which we answer; empty where any will do, as nobody has said how we are reached."""
    if loopback_only:
        return LOOPBACK | ({urlsplit(public_url).hostname or ""} if public_url else frozenset())
    return frozenset()
