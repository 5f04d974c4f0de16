"""Where a queue's Redis is, as a URL says it.

    redis://[user:password@]host[:6379][/db]               one server
    unix://[user:password@]/path/of/the/socket[?db=0]      one server on this machine
    redis+sentinel://[user:password@]host[:26379],…/service[/db]     whatever the Sentinels say leads the service
    redis+cluster://[user:password@]host[:6379],…          the node of a cluster that has the queue's slot

`rediss` in place of `redis` means TLS. What is wrong with a URL is told without repeating any of it: it holds a password.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import parse_qsl, unquote

from rmindr.queue.errors import InvalidJob

Kind = Literal["server", "socket", "sentinel", "cluster"]

_KINDS: Final[Mapping[str, Kind]] = {
    "redis": "server",
    "rediss": "server",
    "unix": "socket",
    "redis+sentinel": "sentinel",
    "rediss+sentinel": "sentinel",
    "redis+cluster": "cluster",
    "rediss+cluster": "cluster",
}
_TLS: Final = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
_OPTIONS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "server": ("db", *_TLS),
    "socket": ("db",),
    "sentinel": ("sentinel_username", "sentinel_password", *_TLS),
    "cluster": _TLS,
}


class Host(NamedTuple):
    """One server's name and port."""

    name: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """What a URL says. Passwords do not show in its repr."""

    kind: Kind
    hosts: tuple[Host, ...] = ()
    path: str = ""
    service: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    @classmethod
    def from_url(cls, url: str) -> Address:
        """Read a URL. Raises InvalidJob with a sentence that holds nothing of what stands in it."""
        scheme, separator, rest = url.partition("://")
        if not separator or scheme not in _KINDS:
            raise _unusable(f"it must begin with one of {', '.join(f'{known}://' for known in _KINDS)}")
        kind = _KINDS[scheme]
        place, _, query = rest.partition("?")
        options = _options(kind, scheme, query)
        credentials, at, place = ("", "", place) if place.startswith("/") else place.rpartition("@")
        username, colon, password = credentials.partition(":")
        return cls(
            kind=kind,
            username=unquote(username) or None,
            password=unquote(password) if at and colon else None,
            sentinel_username=options.get("sentinel_username"),
            sentinel_password=options.get("sentinel_password"),
            tls=_tls(options) if scheme.startswith("rediss") else None,
            **_place(kind, place, options),
        )


def _place(kind: Kind, place: str, options: Mapping[str, str]) -> dict[str, Any]:
    if kind == "socket":
        if not place.startswith("/"):
            raise _unusable("unix:// must be followed by the whole path of a socket")
        return {"path": unquote(place), "db": _db(options.get("db", ""))}
    location, _, path = place.partition("/")
    hosts = tuple(_host(each, 26379 if kind == "sentinel" else 6379) for each in location.split(","))
    if kind == "sentinel":
        service, _, db = path.partition("/")
        if not service:
            raise _unusable("after the Sentinels it must name the service that they watch, e.g. …:26379/mymaster")
        return {"hosts": hosts, "service": unquote(service), "db": _db(db)}
    if kind == "cluster":
        if path.strip("/0"):
            raise _unusable("a cluster has no databases but 0")
        return {"hosts": hosts}
    if len(hosts) > 1:
        raise _unusable("several hosts are those of a cluster (redis+cluster://) or Sentinels (redis+sentinel://)")
    return {"hosts": hosts, "db": _db(options.get("db") or path)}


def _host(text: str, default_port: int) -> Host:
    name, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        name, port = text, str(default_port)
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise _unusable(
            "a port must be a number from 1 to 65535; in a password, : / ? @ must be written as %3A %2F %3F %40"
        )
    return Host(unquote(name).strip("[]") or "localhost", int(port))


def _db(text: str) -> int:
    if text.strip("/") == "":
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise _unusable("the database must be a number")
    return int(text)


def _options(kind: Kind, scheme: str, query: str) -> Mapping[str, str]:
    allowed = [name for name in _OPTIONS[kind] if name not in _TLS or scheme.startswith("rediss")]
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name in _TLS and name not in allowed:
            raise _unusable(f"{name} needs TLS: {scheme.replace('redis', 'rediss')}://")
        if name not in allowed:
            # Timeouts, retries and pools are set on purpose, and for all; and what is no option may be half a password.
            raise _unusable(f"after ? it may say {', '.join(allowed)}, and nothing else")
    return options


def _tls(options: Mapping[str, str]) -> ssl.SSLContext:
    """Verified, the host's name too, unless the URL itself says otherwise; a CA file replaces the machine's own."""
    verify = options.get("ssl_cert_reqs", "required")
    check_name = options.get("ssl_check_hostname", "true").lower()
    if verify not in ("required", "none") or check_name not in ("true", "false"):
        raise _unusable("ssl_cert_reqs must be required or none, ssl_check_hostname true or false")
    try:
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
        if "ssl_certfile" in options:
            context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    except OSError as error:
        raise _unusable(f"its certificates cannot be read: {error.strerror or type(error).__name__}") from None
    context.check_hostname = verify == "required" and check_name == "true"
    context.verify_mode = ssl.CERT_REQUIRED if verify == "required" else ssl.CERT_NONE
    return context


def _unusable(why: str) -> InvalidJob:
    return InvalidJob(f"the queue's URL cannot be used: {why}")
