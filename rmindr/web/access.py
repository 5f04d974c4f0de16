"""Who may do what: whose request this is, and whether a page of ours sent it."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from fastapi import HTTPException, Request
from starlette.datastructures import Headers
from starlette.types import Scope

_OURS: Final = frozenset({"same-origin", "none"})


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
    """Refuse a form that a page of another site sent. Raises HTTPException 403.

    Browsers say so in Sec-Fetch-Site; older ones in Origin or Referer. A program that says none of it carries nobody's
    session, and there is nothing here that it could not ask for by the API."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        allowed = site in _OURS
    else:
        origin = request.headers.get("origin") or request.headers.get("referer")
        allowed = origin is None or origin.split("/")[2:3] == [request.headers.get("host")]
    if not allowed:
        raise HTTPException(403, "This form was sent from another site.")
