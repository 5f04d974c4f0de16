"""News of the queue for open pages, as server-sent events: that something has changed, not what; they look again themselves."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from types import FrameType
from typing import Any, Final

from rmindr.queue import Queue, QueueError
from rmindr.queue.events import EVENTS

# One process has so many open pages at most; the others ask now and then.
MOST: Final = 20
# A router gives up on what is silent for 55 s; numbers that grow with time alone are looked at as often, too.
_BEAT_S: Final = 15.0
# However much happens, a page looks again no more often than this.
_PAUSE_S: Final = 1.0
_SUBSCRIBED_WITHIN_S: Final = 5.0
# A browser comes again after so many ms.
_HELLO: Final = "retry: 3000\nevent: hello\ndata: 1\n\n"


class Live:
    """Tells open pages that something has happened in one queue. Listens only while there are any."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._pages: set[asyncio.Event] = set()
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        for event in EVENTS:
            queue.on(f"job {event}", self._hear)

    @property
    def is_full(self) -> bool:
        """Whether no further page can be told."""
        return len(self._pages) >= MOST or self._closing.is_set()

    def close(self) -> None:
        """End all streams: the server is stopping, and would wait for them. May be called by a signal's handler."""
        with contextlib.suppress(RuntimeError):
            # The loop may have ended already.
            self._loop.call_soon_threadsafe(self._close)

    async def stream(self) -> AsyncIterator[str]:
        """What one page hears, until it goes or the server stops."""
        news = asyncio.Event()
        self._pages.add(news)
        try:
            yield _HELLO
            async with contextlib.AsyncExitStack() as stack:
                try:
                    async with asyncio.timeout(_SUBSCRIBED_WITHIN_S):
                        await stack.enter_async_context(self._queue.listening())
                except (TimeoutError, QueueError):
                    # Redis is away: the page asks now and then instead.
                    return
                while not self._closing.is_set():
                    changed = await _within(_BEAT_S, news)
                    if self._closing.is_set():
                        return
                    news.clear()
                    yield f"event: {'change' if changed else 'beat'}\ndata: 1\n\n"
                    await _within(_PAUSE_S, self._closing)
        finally:
            self._pages.discard(news)

    def _hear(self, *_: object) -> None:
        for news in self._pages:
            news.set()

    def _close(self) -> None:
        self._closing.set()
        self._hear()


def on_stop(do: Callable[[], None]) -> None:
    """Do this, too, when the process is told to stop; for the main thread, once somebody listens to its signals."""
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)
        if not callable(before):
            continue

        def tell(number: int, frame: FrameType | None, then: Callable[[int, FrameType | None], Any] = before) -> None:
            do()
            then(number, frame)

        signal.signal(number, tell)


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Wait for an event, so long at most; whether it came."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
