"""Which places may be called: the address that a person writes, and those that its name stands for when it is called.

A URL is somebody else's word, and its name resolves to whatever its owner likes, a moment later to something else. So what is
judged are the addresses, all of them, and the connection goes to one of those and nowhere else (post.py)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Self
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
LONGEST: Final = 2000
# What a request line can carry: no spaces, no ends of lines, and none of what only some take for a slash.
_PLAIN: Final = re.compile(r"[!-\[\]-~]+")
_NAME: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")

# What IANA keeps for special purposes, and what is not for one receiver; so «this host», private, shared, loopback,
# link-local (the metadata of clouds among it), documentation, benchmarks, 6to4 relays, multicast, reserved, broadcast.
_CLOSED_4: Final = tuple(
    map(
        IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16"),
            *("192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        ),
    )
)
_OPEN_6: Final = IPv6Network("2000::/3")
# Of that: Teredo and the rest of the protocol block, documentation twice, 6to4, AS112.
_CLOSED_6: Final = tuple(
    map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"))
)
# A network without IPv4 reaches the rest of the world by these: what counts is the address inside.
_MAPPED: Final = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))


class Closed(ValueError):
    """A place that is not called; the text is a sentence without its subject."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a call goes: whom to ask for, and for what."""

    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """As the Host header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 443 else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Reach:
    """What may be called besides what is open to everybody: these names, whatever they stand for, and these networks."""

    names: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[str]) -> Self:
        """Names and networks, as the setting has them, e.g. `hooks.intranet`, `10.1.0.0/16`."""
        names, networks = set(), []
        for entry in entries:
            try:
                networks.append(ip_network(entry))
            except ValueError:
                names.add(entry.lower())
        return cls(frozenset(names), tuple(networks))

    def place(self, url: str) -> Place:
        """Read a URL that may be called, as far as can be said before it is. Raises Closed."""
        if not 0 < len(url) <= LONGEST or not _PLAIN.fullmatch(url):
            raise Closed(f"must be 1 to {LONGEST} plain characters, without spaces")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or 443
        except ValueError:
            raise Closed("cannot be read as a URL") from None
        if parts.scheme != "https" or not host:
            raise Closed("must begin with https:// and a name")
        if "@" in parts.netloc:
            raise Closed("must not have a user or a password in it")
        if parts.fragment or url.endswith("#"):
            raise Closed("must not have a part behind #")
        literal = _literal(host)
        if literal is None and not (_NAME.fullmatch(host) and len(host) <= 253):
            raise Closed("has a name that is none; write it in plain letters, as in xn--…")
        if port != 443 and port < 1024 and host not in self.names:
            raise Closed("must have port 443, or one from 1024 on")
        if literal is not None:
            self.require_open(host, [literal])
        return Place(host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))

    def require_open(self, host: str, addresses: Iterable[Address]) -> None:
        """Refuse a name of whose addresses only one is not open to everybody: its owner chooses which. Raises Closed."""
        if host not in self.names and not all(self._may_be_called(each) for each in addresses):
            raise Closed("has an address that is not open to everybody")

    def _may_be_called(self, address: Address) -> bool:
        return any(address in network for network in self.networks) or is_public(address)


def is_public(address: Address) -> bool:
    """Whether anybody anywhere may call this address, by what it is: nothing of ours, and nobody's inside."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _CLOSED_4)
    if any(address in network for network in _MAPPED):
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _OPEN_6 and not any(address in network for network in _CLOSED_6)


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
