"""Kue's events. They are published inside the Lua scripts, in the same breath as the transition; here is the listening."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

# Called with the arguments that Kue gives: (job id, …) at queue level, (…) at job level. May be async.
Callback = Callable[..., Any]

EVENTS: Final = (
    "enqueue",
    "promotion",
    "start",
    "progress",
    "error",
    "failed attempt",
    "failed",
    "complete",
    "remove",
    "ttl exceeded",
    "ttl exceeded ack",
)


# No event of Kue's: whoever listens is told by it that what happened before this moment may not have been heard.
SUBSCRIBED: Final = "subscribed"


@dataclass(frozen=True, slots=True)
class Event:
    """One message of the channel: job 7 has started → Event(7, "start", ("email", None))."""

    job_id: int
    name: str
    args: tuple[Any, ...]


def parse(message: str) -> Event | None:
    """Read a message. None for anything that is not an event, e.g. what somebody else publishes there.

    Ids may come as text: Kue's HTTP API publishes them so."""
    try:
        wire = json.loads(message)
        job_id, name, args = int(wire["id"]), wire["event"], wire["args"]
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    if not isinstance(name, str) or not isinstance(args, list):
        return None
    return Event(job_id, name, tuple(args[1:]))


class Listener:
    """Hands the events of one queue to whoever asked for them, in order, on one subscribed connection."""

    def __init__(self, channel: str, silence: timedelta = timedelta(seconds=25)) -> None:
        self._channel = channel
        self._silence = silence
        self._callbacks: dict[tuple[str, int | None], list[Callback]] = defaultdict(list)
        self._wanted = asyncio.Event()
        self._subscribed = asyncio.Event()

    def on(self, event: str, callback: Callback, job_id: int | None = None) -> None:
        """Call back on this event, e.g. "complete": of one job, or of all (with the id in front)."""
        self._callbacks[event, job_id].append(callback)
        self._wanted.set()

    def off(self, event: str, callback: Callback, job_id: int | None = None) -> None:
        """Call back no more."""
        callbacks = self._callbacks.get((event, job_id), [])
        if callback in callbacks:
            callbacks.remove(callback)
        if not callbacks:
            self._callbacks.pop((event, job_id), None)

    async def subscribed(self) -> None:
        """Subscribe, though nobody may have asked for anything yet, and wait until it is done."""
        self._wanted.set()
        await self._subscribed.wait()

    async def run(self, redis: Redis) -> None:
        """Listen until cancelled, from the moment when somebody wants to hear; a lost connection is made anew.

        What happens meanwhile is not seen: events are news, the job's hash is the truth."""
        await self._wanted.wait()
        pause = 0.1
        while True:
            try:
                async with redis.pubsub(ignore_subscribe_messages=False) as channel:
                    await channel.subscribe(self._channel)
                    pause = 0.1
                    await self._deliver(channel)
            except (RedisError, OSError) as error:
                log.warning("events interrupted", extra={"error": type(error).__name__})
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)

    async def _deliver(self, channel: Any) -> None:
        asked = False
        try:
            while True:
                message = await channel.get_message(timeout=self._silence.total_seconds())
                if message is None:
                    # A peer that died silently never says so: ask after each silence, and give up if nothing answers.
                    if asked:
                        raise ConnectionError("no answer to PING")
                    await channel.ping()
                    asked = True
                    continue
                asked = False
                if message["type"] == "subscribe":
                    self._subscribed.set()
                    await self._dispatch(Event(0, SUBSCRIBED, ()))
                elif message["type"] == "message" and (event := parse(message["data"])) is not None:
                    await self._dispatch(event)
        finally:
            self._subscribed.clear()

    async def _dispatch(self, event: Event) -> None:
        for callback in tuple(self._callbacks.get((event.name, None), ())):
            await _call(callback, event.job_id, *event.args)
        for callback in tuple(self._callbacks.get((event.name, event.job_id), ())):
            await _call(callback, *event.args)
        if event.name in ("complete", "failed", "remove"):
            for name in EVENTS:
                # `complete` with remove_on_complete is followed by `remove`, which somebody may wait for.
                if event.name == "remove" or name != "remove":
                    self._callbacks.pop((name, event.job_id), None)


async def _call(callback: Callback, *args: Any) -> None:
    try:
        answer = callback(*args)
        if inspect.isawaitable(answer):
            await answer
    except asyncio.CancelledError:
        # Its own, unless it is we who are told to stop.
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        log.warning("an event callback was cancelled")
    except Exception:
        log.exception("an event callback failed")
