"""One call: a POST over TLS to an address that was checked, and nothing of its answer but the status.

No redirect is followed, no proxy is asked, no cookie kept, nothing of the body used. It takes so long and no longer, whoever is
slow on the other side."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from ipaddress import ip_address
from typing import Final

import h11

from rmindr.webhooks.places import Place, Reach

PATIENCE: Final = timedelta(seconds=5)
# More of an answer is not read: whatever it says, it is not for us.
MOST_READ: Final = 64 * 1024
_PIECE: Final = 16 * 1024

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class NotReached(Exception):
    """No answer; why, in a sentence without its subject that tells nothing of what was found there."""


async def by_system(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, as this machine knows them. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # A scope such as `%eth0` belongs to addresses that are not called anyway.
    return list(dict.fromkeys(str(address[0]).partition("%")[0] for *_, address in found))


class Caller:
    """Calls places within reach. `tls` says whom to trust; `resolve` answers what a name stands for."""

    def __init__(
        self,
        reach: Reach,
        *,
        tls: ssl.SSLContext | None = None,
        resolve: Resolve = by_system,
        patience: timedelta = PATIENCE,
    ) -> None:
        self._reach = reach
        self._tls = tls or ssl.create_default_context()
        self._resolve = resolve
        self._patience = patience.total_seconds()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """The status of the answer. Raises Closed where that place is not called, NotReached."""
        place = self._reach.place(url)
        answered: list[int] = []
        try:
            async with asyncio.timeout(self._patience):
                reader, writer = await self._connected(place)
                try:
                    await _talk(reader, writer, _request(place, headers, body), body, answered)
                finally:
                    # Not a goodbye that the other side could draw out.
                    writer.transport.abort()
        except TimeoutError:
            # Whoever has said its status has said all that counts.
            if not answered:
                raise NotReached("did not answer in time") from None
        if not answered:
            raise NotReached("gave no answer")
        return answered[0]

    async def _connected(self, place: Place) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the first address that takes one; of those that were checked, for they are asked for once."""
        try:
            addresses = await self._resolve(place.host, place.port)
        except (OSError, UnicodeError):
            raise NotReached("has a name that stands for no address") from None
        self._reach.require_open(place.host, map(ip_address, addresses))
        why = "has a name that stands for no address"
        for address in addresses:
            try:
                return await asyncio.open_connection(
                    address, place.port, ssl=self._tls, server_hostname=place.host, limit=_PIECE
                )
            except ssl.SSLCertVerificationError:
                why = "has a certificate that is not good for its name"
            except ssl.SSLError:
                why = "does not speak TLS as it should"
            except OSError:
                why = "takes no connection"
        raise NotReached(why)


async def _talk(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    request: h11.Request,
    body: bytes,
    answered: list[int],
) -> None:
    """Send it, and note the status as soon as it is there; the rest is swallowed, for a while. Raises NotReached."""
    connection, read = h11.Connection(our_role=h11.CLIENT), 0
    for part in (request, h11.Data(data=body), h11.EndOfMessage()):
        writer.write(connection.send(part) or b"")
    try:
        await writer.drain()
        while read <= MOST_READ:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                piece = await reader.read(_PIECE)
                read += len(piece)
                connection.receive_data(piece)
            elif isinstance(event, h11.Response):
                answered.append(event.status_code)
            elif event is h11.PAUSED or isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                return
    except h11.RemoteProtocolError:
        if not answered:
            raise NotReached("gave an answer that is no HTTP") from None
    except OSError:
        if not answered:
            raise NotReached("broke the connection off") from None


def _request(place: Place, headers: Mapping[str, str], body: bytes) -> h11.Request:
    sent = {"Host": place.authority, **headers, "Content-Length": str(len(body)), "Connection": "close"}
    return h11.Request(method="POST", target=place.target, headers=list(sent.items()))
