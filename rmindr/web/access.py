"""Who may do what: whose request this is, whether a page of ours sent it, and who operates the queue."""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from fastapi import HTTPException, Request
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import Scope

from rmindr.errors import StorageUnavailable

_OURS: Final = frozenset({"same-origin", "none"})
# A browser asks for a name and a password, of which only the password counts; a program may send the token as a bearer's.
_CHALLENGE: Final = 'Basic realm="the queue of rmindr", charset="UTF-8"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Operators:
    """Who may see and steer the queue: everybody who reaches it; or whoever has the token, or is signed in at one of these
    addresses (as people are known by); or nobody. `who` says which address a browser is signed in at, if any."""

    everybody: bool = False
    token: SecretStr | None = None
    mailboxes: frozenset[str] = frozenset()
    who: Callable[[Request], Awaitable[str | None]] | None = None

    async def are_asking(self, request: Request) -> bool:
        """Whether an operator's browser sends this; for want of a database nobody's does."""
        if not self.mailboxes or self.who is None:
            return False
        try:
            return await self.who(request) in self.mailboxes
        except StorageUnavailable:
            return False


def client_address(scope: Scope, trusted_proxies: int) -> str:
    """The address of the client, as the outermost proxy that we trust saw it.

    Each proxy appends to X-Forwarded-For, so the last entries are true; what stands before them the client wrote itself,
    and so is an entry that is no address: then the peer is all we know."""
    peer = scope.get("client")
    address = str(peer[0]) if peer else ""
    if trusted_proxies == 0:
        return address
    seen = [part.strip() for line in Headers(scope=scope).getlist("x-forwarded-for") for part in line.split(",")]
    try:
        return str(ip_address(seen[-trusted_proxies]))
    except (IndexError, ValueError):
        return address


def host_of(authority: str) -> str:
    """The host's name in `host:port`, lower case; empty where that is none."""
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""


def require_own_page(request: Request) -> None:
    """Refuse what a page of another site sent. Raises HTTPException 403.

    Browsers say so in Sec-Fetch-Site; older ones in Origin or Referer. A program that says none of it carries nobody's
    session, and there is nothing here that it could not ask for by the API."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        allowed = site in _OURS
    else:
        origin = request.headers.get("origin") or request.headers.get("referer")
        allowed = origin is None or origin.split("/")[2:3] == [request.headers.get("host")]
    if not allowed:
        raise HTTPException(403, "This was sent from a page of another site.")


async def require_operator(request: Request) -> None:
    """Refuse whoever may not see and steer the queue. Raises HTTPException: 401, or 404 where there is no token to ask for.

    The application's state says in `operators` who may. Whatever changes something needs `require_own_page` besides: a
    browser that once was given the token sends it along for pages of other sites, too."""
    operators: Operators = request.app.state.operators
    if operators.everybody:
        return
    if await operators.are_asking(request):
        return
    if operators.token is None:
        raise HTTPException(404)
    if not hmac.compare_digest(_password(request), operators.token.get_secret_value().encode()):
        raise HTTPException(401, "This needs the token of RMINDR_ADMIN_TOKEN.", {"WWW-Authenticate": _CHALLENGE})


def _password(request: Request) -> bytes:
    """What was given as a bearer's token or, under any name, as a password; nothing where neither was."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return given.strip().encode()
    try:
        decoded = b64decode(given.strip(), validate=True) if scheme.lower() == "basic" else b""
    except (binascii.Error, ValueError):
        return b""
    return decoded.partition(b":")[2]
