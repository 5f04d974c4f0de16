"""Which server to speak to at this moment: asked before each connection is made, so that a failover needs nothing but that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from redis import exceptions
from redis.exceptions import RedisError

from rmindr.queue.addresses import Host

# What one Sentinel may take to answer: the next one is asked then.
_SENTINEL_S: Final = 0.5
_MOST_NODES: Final = 20


class Primary(Protocol):
    """Knows the server that can be written to. `moves`: there may be another one soon, when this one is gone."""

    moves: bool

    async def find(self) -> Host:
        """Where it is. Raises ConnectionError where nobody knows."""

    def lost(self, host: Host) -> None:
        """This one could not be reached, or did not answer."""

    def follow(self, host: Host) -> bool:
        """A node says that the queue's slot is there now. False where there is no cluster to follow."""

    def suits(self, role: str) -> bool:
        """Whether a server that says this of itself can be the one."""


class OneServer:
    """The server that the URL names, always."""

    moves = False

    def __init__(self, host: Host) -> None:
        self._host = host

    async def find(self) -> Host:
        """There."""
        return self._host

    def lost(self, host: Host) -> None:
        """There is no other."""

    def follow(self, host: Host) -> bool:
        """The URL does not say that this is a cluster."""
        return False

    def suits(self, role: str) -> bool:
        """It was named; a replica can be read."""
        return True


class ClusterNode:
    """The node of a cluster that has the slot of one queue: the one that was last said to have it; where that is gone, any
    node that answers says who has it now. All keys of a queue are in one slot, so no other node is ever needed."""

    moves = True

    def __init__(self, nodes: Sequence[Host]) -> None:
        # Most promising first.
        self._nodes = list(nodes)

    async def find(self) -> Host:
        """The most promising node."""
        return self._nodes[0]

    def lost(self, host: Host) -> None:
        """Try it last."""
        if self._nodes[0] == host:
            self._nodes.append(self._nodes.pop(0))

    def follow(self, host: Host) -> bool:
        """Try it first."""
        self._nodes = [host, *(node for node in self._nodes if node != host)][:_MOST_NODES]
        return True

    def suits(self, role: str) -> bool:
        """A replica, too, says where the slot is."""
        return True


class ServiceLeader:
    """The primary of a service that Sentinels watch; `ask` puts the question to one of them, who may not know."""

    moves = True

    def __init__(self, sentinels: Sequence[Host], service: str, ask: Callable[[Host], Awaitable[Host | None]]) -> None:
        # Those that answer first.
        self._sentinels = list(sentinels)
        self._service = service
        self._ask = ask

    async def find(self) -> Host:
        """Where the first Sentinel that knows says that it is."""
        for sentinel in tuple(self._sentinels):
            try:
                async with asyncio.timeout(_SENTINEL_S):
                    found = await self._ask(sentinel)
            except (RedisError, OSError):
                found = None
            if found is not None:
                return found
            self._sentinels.append(self._sentinels.pop(0))
        raise exceptions.ConnectionError(f"no Sentinel knows a primary of {self._service!r} at present")

    def lost(self, host: Host) -> None:
        """The Sentinels will notice."""

    def follow(self, host: Host) -> bool:
        """What Sentinels watch is no cluster."""
        return False

    def suits(self, role: str) -> bool:
        """A Sentinel may be behind the times."""
        return role == "master"
