"""How a Lua file becomes a call: prelude in front, one KEYS for all, errors as ours; and how calls come to travel together."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from typing import Any, Final, Generic, TypeVar

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from rmindr.queue.errors import QueueUnavailable
from rmindr.queue.keys import Keys

Argument = str | bytes | int
Item = TypeVar("Item")
Reply = TypeVar("Reply")

# In order of life, as in lifecycle.py.
VERBS: Final = (
    "create",
    "recur",
    "promote",
    "claim",
    "renew",
    "progress",
    "log",
    "complete",
    "fail",
    "expire",
    "release",
    "rescue",
    "take_back",
    "repair",
    "update",
    "cancel",
    "retry",
    "remove",
    "prune",
)
# A transition gathers what goes into sets; whichever way it returns, that is written: no script can forget to.
_WRAPPED: Final = """{prelude}
local function transition()
{source}
end

local reply = transition()
flush()
return reply
"""


class Scripts:
    """The Lua files of this folder, callable by verb on one Redis and one set of keys."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._keys = keys
        folder = files(__package__) / "lua"

        def source(name: str) -> str:
            return (folder / f"{name}.lua").read_text(encoding="utf-8")

        prelude = source("prelude")
        self._scripts = {verb: Script(redis, _WRAPPED.format(prelude=prelude, source=source(verb))) for verb in VERBS}

    async def call(self, verb: str, now_ms: int | None, *args: Argument) -> Any:
        """Run one script. `now_ms` None means the server's own clock. Raises QueueUnavailable."""
        clock: Argument = "" if now_ms is None else now_ms
        with unavailable():
            return await self._scripts[verb](keys=self._keys.for_scripts, args=[clock, *args])


class Script:
    """A script by its hash; sent whole to a server that has forgotten it, or is another one since a failover.

    redis-py's own loads it first and then calls it by its hash, and fails where it is forgotten in between."""

    def __init__(self, redis: Redis, source: str) -> None:
        self._redis = redis
        self._source = source
        self._hash = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, *, keys: Sequence[str], args: Sequence[Argument | float]) -> Any:
        """Run it."""
        try:
            return await self._redis.evalsha(self._hash, len(keys), *keys, *args)
        except NoScriptError:
            return await self._redis.eval(self._source, len(keys), *keys, *args)


class unavailable:  # noqa: N801  (reads as a word at its use: `with unavailable():`)
    """Whatever redis-py raises inside becomes QueueUnavailable."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, RedisError | OSError):
            raise QueueUnavailable(f"Redis: {type(error).__name__}: {error}"[:500]) from error


def is_wrong_type(error: Exception) -> bool:
    """What stands under the key is of another kind than the command is for."""
    return isinstance(error, ResponseError) and str(error).startswith("WRONGTYPE")


class Flights(Generic[Item, Reply]):
    """Items handed over while a call is in flight wait, and travel together in the next one.

    Alone, an item leaves at once; under load batches form by themselves, at most `seats` to a call."""

    def __init__(self, send: Callable[[list[Item]], Awaitable[Sequence[Reply]]], seats: int = 500) -> None:
        self._send = send
        self._seats = seats
        self._waiting: deque[tuple[Item, asyncio.Future[Reply]]] = deque()
        self._flying: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Reply:
        """Send one item and answer its reply; raises what the call that carried it raised."""
        arrival: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, arrival))
        if self._flying is None:
            self._flying = asyncio.create_task(self._fly())
        return await arrival

    async def aclose(self) -> None:
        """Wait until nothing is in flight."""
        if self._flying is not None:
            await asyncio.wait([self._flying])

    async def _fly(self) -> None:
        try:
            while self._waiting:
                aboard = [self._waiting.popleft() for _ in range(min(self._seats, len(self._waiting)))]
                try:
                    replies = await self._send([item for item, _ in aboard])
                except Exception as error:
                    _land(aboard, [error] * len(aboard))
                except asyncio.CancelledError:
                    _land(aboard, [QueueUnavailable("closed while a call was in flight")] * len(aboard))
                    raise
                else:
                    _land(aboard, replies)
        finally:
            self._flying = None
            _land(self._waiting, [QueueUnavailable("the queue was closed")] * len(self._waiting))


def _land(aboard: Any, replies: Sequence[Any]) -> None:
    for (_, arrival), reply in zip(aboard, replies, strict=True):
        # Whoever asked may have been cancelled meanwhile; the item has travelled all the same.
        if arrival.done():
            continue
        if isinstance(reply, Exception):
            arrival.set_exception(reply)
        else:
            arrival.set_result(reply)
