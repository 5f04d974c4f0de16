"""Runs: one job in the hands of its handler, from the lease that a claim gave to the one word that ends it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Final, Literal

from rmindr.queue.backoff import Strategy, within_reason
from rmindr.queue.errors import InvalidJob, JobNotFound, LeaseLost, QueueUnavailable
from rmindr.queue.job import Job, Lease, to_ms
from rmindr.queue.lifecycle import Lifecycle, encoded

log = logging.getLogger(__name__)

# A job with a ttl is ended this much before Kue's own expiry timer would see it.
_TTL_MARGIN: Final = timedelta(milliseconds=50)
# How long the last word about a run may take when the worker is to stop.
GOODBYE: Final = timedelta(seconds=5)
# As much as anybody reads of an exception, or of one line of a log.
_LONGEST_TEXT: Final = 20_000


class Retry(Exception):
    """Raised by a handler: try this job again after a while. `counted=False`: the run was not an attempt."""

    def __init__(self, reason: str = "", *, after: timedelta, counted: bool = True) -> None:
        if not isinstance(after, timedelta):
            raise TypeError(f"after must be a timedelta, not {after!r:.60}")
        super().__init__(reason or f"again in {after}")
        self.after = after
        self.counted = counted


class Abandon(Exception):
    """Raised by a handler: this job has failed and no further attempt can help."""


class Context:
    """What a handler may do with the job in its hands, besides returning (its result) or raising (its failure)."""

    def __init__(self, lifecycle: Lifecycle, lease: Lease, prolong: Callable[[], None]) -> None:
        self._lifecycle = lifecycle
        self._lease = lease
        self._prolong = prolong

    async def progress(self, done: float, total: float, data: Any = None) -> None:
        """Say that `done` of `total` is done; the job's ttl begins anew. Raises LeaseLost, JobNotFound."""
        percent = min(100, int(100 * done / total)) if total else 100
        await self._lifecycle.progress(self._lease, percent, data)
        self._prolong()

    async def log(self, line: Any, *values: Any) -> None:
        """Write a line into the job's own log: text, with `values` filled in as printf does (%s %d %i %f %j %%), or any
        other value as JSON. The last thousand lines are kept. Raises LeaseLost, JobNotFound."""
        await self._lifecycle.log(self._lease, written(line, *values)[:_LONGEST_TEXT])


Handler = Callable[[Job, Context], Awaitable[Any]]
Ending = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Process:
    """How jobs of one type are worked: by whom, and how many at once."""

    handler: Handler
    concurrency: int


@dataclass(slots=True, eq=False)
class Run:
    """One job in the hands of its handler. `lost`: its lease is. `cut_off`: why the run is not to be finished."""

    lease: Lease
    task: asyncio.Task[None] = field(init=False)
    lost: bool = False
    cut_off: Literal["", "Cancelled", "Shutdown"] = ""

    def cut(self, why: Literal["Cancelled", "Shutdown"]) -> None:
        """Tell the handler to end; the run has failed then: for good where a person has cancelled the job."""
        self.cut_off = why
        self.task.cancel()


class Performer:
    """Lets handlers work, and ends each run by one word to Redis, with patience: it may be away for a moment."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        processes: Mapping[str, Process],
        strategies: Mapping[str, Strategy],
        patience: timedelta,
    ) -> None:
        self._lifecycle = lifecycle
        self._processes = processes
        self._strategies = strategies
        self._patience = patience

    async def perform(self, run: Run) -> None:
        """The whole of one run. Cancelled, it gives the job back; that is not an attempt."""
        lease = run.lease
        # Told to stop, or the lease is lost: an unfinished run is given back if it is still ours.
        ending: Ending = partial(self._lifecycle.release, lease)
        try:
            ending = await self._work(lease)
            await self._settle(lease.job, ending, self._patience)
        except asyncio.CancelledError:
            if run.cut_off:
                wait = self._wait_ms(lease.job) if run.cut_off == "Shutdown" else None
                ending = partial(self._lifecycle.fail, lease, run.cut_off, wait_ms=wait)
            await self._settle(lease.job, ending, GOODBYE)
            if not run.cut_off:
                raise

    async def _work(self, lease: Lease) -> Ending:
        """Let the handler work, and answer how the run is to end."""
        job, handler = lease.job, self._processes[lease.job.type].handler
        fail = partial(self._lifecycle.fail, lease)
        limit = asyncio.timeout(None)
        try:
            if job.ttl is None:
                result = await handler(job, Context(self._lifecycle, lease, _nothing))
            else:
                async with limit:
                    _limit(limit, job)
                    result = await handler(job, Context(self._lifecycle, lease, lambda: _limit(limit, job)))
        except Retry as signal:
            if signal.counted:
                return partial(fail, _message(signal), wait_ms=to_ms(signal.after))
            return partial(self._lifecycle.release, lease, signal.after)
        except Abandon as signal:
            return partial(fail, _message(signal), wait_ms=None)
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            # A handler may end by a CancelledError of something that it waited for; then nobody has told us to stop.
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            wait = self._wait_ms(job)
            if isinstance(error, TimeoutError) and limit.expired():
                return partial(fail, "TTL exceeded", wait_ms=wait)
            return partial(fail, _message(error), _text(error), wait_ms=wait)
        try:
            return partial(self._lifecycle.complete_with, lease, encoded(result))
        except InvalidJob as error:
            return partial(fail, f"the handler's result: {error}", wait_ms=self._wait_ms(job))

    def _wait_ms(self, job: Job) -> int:
        """How long to wait before the next attempt; a strategy that fails itself leaves the delay as it is, as in Kue."""
        try:
            return job.wait_ms_after_failure(self._strategies)
        except Exception:
            log.exception("a backoff strategy failed", extra={"id": job.id, "type": job.type})
            return within_reason(to_ms(job.delay) if job.delay is not None else 0)

    async def _settle(self, job: Job, end: Ending, patience: timedelta) -> None:
        """End a run: whatever Redis answers in time is the end of it."""
        pause, deadline = 0.05, asyncio.get_running_loop().time() + patience.total_seconds()
        while True:
            try:
                await end()
                return
            except (LeaseLost, JobNotFound) as error:
                log.warning("run ended by somebody else", extra={"id": job.id, "type": job.type, "why": str(error)})
                return
            except QueueUnavailable:
                if asyncio.get_running_loop().time() > deadline:
                    break
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))
                pause = min(pause * 2, 2.0)
        log.error("run not settled: it will be rescued", extra={"id": job.id, "type": job.type})


def written(line: Any, *values: Any) -> str:
    """A log line as Kue writes it: printf-like, what is left over appended; anything that is no text, as JSON."""
    if not isinstance(line, str):
        return " ".join(map(_as_text, (line, *values)))
    left = list(values)
    parts = []
    text = line
    while (at := text.find("%")) >= 0 and at + 1 < len(text):
        mark = text[at + 1]
        parts.append(text[:at])
        text = text[at + 2 :]
        if mark == "%":
            parts.append("%")
        elif mark in _MARKS and left:
            parts.append(_MARKS[mark](left.pop(0)))
        else:
            parts.append(f"%{mark}")
    return " ".join(["".join(parts) + text, *map(_as_text, left)])


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else _as_json(value)


def _as_json(value: Any) -> str:
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {_message(value)}"
    return json.dumps(value, ensure_ascii=False, default=repr)


def _as_number(value: Any) -> str:
    try:
        return str(int(value))
    except (TypeError, ValueError, OverflowError):
        return "NaN"


def _as_float(value: Any) -> str:
    try:
        return repr(float(value))
    except (TypeError, ValueError, OverflowError):
        return "NaN"


_MARKS: Final[Mapping[str, Callable[[Any], str]]] = {
    "s": _as_text,
    "d": _as_number,
    "i": _as_number,
    "f": _as_float,
    "j": _as_json,
}


def _nothing() -> None:
    """A job without a ttl has nothing to prolong."""


def _limit(limit: asyncio.Timeout, job: Job) -> None:
    """The handler's time begins anew."""
    if job.ttl is not None and job.ttl > timedelta(0):
        seconds = (job.ttl - min(_TTL_MARGIN, job.ttl / 10)).total_seconds()
        limit.reschedule(asyncio.get_running_loop().time() + seconds)


def _message(error: BaseException) -> str:
    """What an exception says, or its name where it says nothing."""
    with contextlib.suppress(Exception):
        if message := str(error):
            return message[:_LONGEST_TEXT]
    return type(error).__name__


def _text(error: BaseException) -> str:
    """The text that stays in the job: first line what went wrong, then where."""
    where = "".join(traceback.format_tb(error.__traceback__))
    return f"{type(error).__name__}: {_message(error)}\n{where}"[:_LONGEST_TEXT]
