"""Waiting for a job's end: an answer that cannot be missed, however late one asks and whatever was not heard."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from redis.asyncio import Redis

from rmindr.queue.errors import JobFailed, JobNotFound
from rmindr.queue.events import Listener
from rmindr.queue.job import State
from rmindr.queue.keys import Keys
from rmindr.queue.lifecycle import Lifecycle
from rmindr.queue.scripts import unavailable

# Events are news, not the truth: look again this often although nothing was heard.
_LOOK_AGAIN: Final = timedelta(seconds=5)
_ENDINGS: Final = ("complete", "failed", "remove")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended: its result, or the text of its error."""

    state: State
    result: Any = None
    error: str | None = None


class Waiting:
    """Waits for jobs of one queue, with the events that this process hears as a hint when to look."""

    def __init__(self, redis: Redis, keys: Keys, lifecycle: Lifecycle, listener: Listener) -> None:
        self._redis = redis
        self._keys = keys
        self._lifecycle = lifecycle
        self._listener = listener

    async def result(self, job_id: int, timeout: timedelta | None = None) -> Any:
        """The job's result, once it is complete. Raises JobFailed with its error when it has failed; JobNotFound where there
        is no such job, nor word of how it ended (`keep_outcome`); TimeoutError."""
        async with asyncio.timeout(timeout.total_seconds() if timeout is not None else None):
            outcome = await self._outcome(job_id)
        if outcome.state is State.FAILED:
            raise JobFailed(job_id, outcome.error or "")
        return outcome.result

    async def _outcome(self, job_id: int) -> Outcome:
        heard = asyncio.Event()

        def hear(*_: Any) -> None:
            heard.set()

        for name in _ENDINGS:
            self._listener.on(name, hear, job_id)
        try:
            while True:
                # In this order: what ends after the look is heard, what ended before it is seen.
                heard.clear()
                if (outcome := await self._look(job_id)) is not None:
                    return outcome
                try:
                    async with asyncio.timeout(_LOOK_AGAIN.total_seconds()):
                        await heard.wait()
                except TimeoutError:
                    continue
        finally:
            for name in _ENDINGS:
                self._listener.off(name, hear, job_id)

    async def _look(self, job_id: int) -> Outcome | None:
        job = await self._lifecycle.get(job_id)
        if job is not None:
            if job.state is State.COMPLETE:
                return Outcome(State.COMPLETE, result=job.result)
            return Outcome(State.FAILED, error=job.error) if job.state is State.FAILED else None
        with unavailable():
            kept: Any = await self._redis.get(self._keys.outcome(job_id))
        if kept is None:
            raise JobNotFound(job_id)
        wire = json.loads(kept)
        return Outcome(State(wire["state"]), wire.get("result"), wire.get("error"))
