"""Waiting for a job's end: an answer that cannot be missed, however late one asks and whatever was not heard."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from redis.asyncio import Redis

from rmindr.queue.errors import JobFailed, JobNotFound, UnreadableJob
from rmindr.queue.events import SUBSCRIBED, Listener
from rmindr.queue.job import State
from rmindr.queue.keys import Keys
from rmindr.queue.lifecycle import Lifecycle
from rmindr.queue.scripts import unavailable

# Events are news, not the truth: look again this often although nothing was heard.
_LOOK_AGAIN: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended: its result, or the text of its error."""

    state: State
    result: Any = None
    error: str | None = None


class _News:
    """What one who waits hears of a job: that it is worth a look, and perhaps the outcome itself."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.outcome: Outcome | None = None

    def look(self, *_: Any) -> None:
        self.arrived.set()

    def complete(self, result: Any, *_: Any) -> None:
        self.outcome = Outcome(State.COMPLETE, result=result)
        self.arrived.set()

    def failed(self, message: Any, *_: Any) -> None:
        self.outcome = Outcome(State.FAILED, error=str(message))
        self.arrived.set()


class Waiting:
    """Waits for jobs of one queue, with the events that this process hears as a hint when to look."""

    def __init__(self, redis: Redis, keys: Keys, lifecycle: Lifecycle, listener: Listener) -> None:
        self._redis = redis
        self._keys = keys
        self._lifecycle = lifecycle
        self._listener = listener

    async def result(self, job_id: int, timeout: timedelta | None = None) -> Any:
        """The job's result, once it is complete. Raises JobFailed with its error when it has failed; JobNotFound where there
        is no such job, nor word of how it ended (`keep_outcome`); UnreadableJob; TimeoutError."""
        async with asyncio.timeout(timeout.total_seconds() if timeout is not None else None):
            outcome = await self._outcome(job_id)
        if outcome.state is State.FAILED:
            raise JobFailed(job_id, outcome.error or "")
        return outcome.result

    async def _outcome(self, job_id: int) -> Outcome:
        with self._hearing(job_id) as news:
            while True:
                # In this order: what ends after the look is heard, what ended before it is seen.
                news.arrived.clear()
                if (outcome := await self._look(job_id, news)) is not None:
                    return outcome
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_AGAIN.total_seconds()):
                        await news.arrived.wait()

    @contextlib.contextmanager
    def _hearing(self, job_id: int) -> Iterator[_News]:
        news = _News()
        asked = (
            ("complete", news.complete, job_id), ("failed", news.failed, job_id), ("remove", news.look, job_id),
            (SUBSCRIBED, news.look, None),
        )  # fmt: skip
        for name, callback, id in asked:
            self._listener.on(name, callback, id)
        try:
            yield news
        finally:
            for name, callback, id in asked:
                self._listener.off(name, callback, id)

    async def _look(self, job_id: int, news: _News) -> Outcome | None:
        job = await self._lifecycle.get(job_id)
        if job is not None:
            if job.state is State.COMPLETE:
                return Outcome(State.COMPLETE, result=job.result)
            return Outcome(State.FAILED, error=job.error) if job.state is State.FAILED else None
        with unavailable():
            kept: Any = await self._redis.get(self._keys.outcome(job_id))
        if kept is None:
            # Nothing of it is left but, perhaps, what was heard.
            if news.outcome is None:
                raise JobNotFound(job_id)
            return news.outcome
        try:
            wire = json.loads(kept)
            return Outcome(State(wire["state"]), wire.get("result"), wire.get("error"))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UnreadableJob(job_id, "its outcome is none") from error
