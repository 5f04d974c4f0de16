"""Runs: one job in the hands of its handler, from the lease that a claim gave to the one word that ends it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Final, Literal, Protocol

from rmindr.queue.backoff import Strategy, within_reason
from rmindr.queue.errors import InvalidJob, JobNotFound, LeaseLost, QueueUnavailable
from rmindr.queue.job import Job, Lease, State, to_json, to_ms
from rmindr.queue.printf import LONGEST_TEXT, said, written

log = logging.getLogger(__name__)

# A job with a ttl is ended this much before Kue's own expiry timer would see it.
_TTL_MARGIN: Final = timedelta(milliseconds=50)
# How long the last word about a run may take when the worker is to stop: what is not said by then, a rescue will find.
GOODBYE: Final = timedelta(seconds=2)


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


class Book(Protocol):
    """Where it is written down what becomes of a run: a queue's Lifecycle, or what stands in for it in tests."""

    async def progress(self, lease: Lease, percent: int, data: Any = None) -> None:
        """How far the run is."""

    async def log(self, lease: Lease, line: str) -> None:
        """A line for the job's log."""

    async def complete(self, lease: Lease, result: Any = None) -> None:
        """The run has succeeded."""

    async def fail(self, lease: Lease, message: str, text: str | None = None, *, wait_ms: int | None) -> State:
        """The run has failed; `wait_ms` None means for good."""

    async def release(self, lease: Lease, wait: timedelta = timedelta(0)) -> State:
        """The run was no attempt."""


class Context:
    """What a handler may do with the job in its hands, besides returning (its result) or raising (its failure)."""

    def __init__(self, book: Book, lease: Lease, prolong: Callable[[], None]) -> None:
        self._book = book
        self._lease = lease
        self._prolong = prolong

    async def progress(self, done: float, total: float, data: Any = None) -> None:
        """Say that `done` of `total` is done; the job's ttl begins anew. Raises LeaseLost, JobNotFound."""
        percent = min(100, int(100 * done / total)) if total else 100
        await self._book.progress(self._lease, percent, data)
        self._prolong()

    async def log(self, line: Any, *values: Any) -> None:
        """Write a line into the job's own log: text, with `values` filled in as printf does (%s %d %i %f %j %%), or any
        other value as JSON. The last thousand lines are kept. Raises LeaseLost, JobNotFound."""
        await self._book.log(self._lease, written(line, *values)[:LONGEST_TEXT])


Handler = Callable[[Job, Context], Awaitable[Any]]
Ending = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Process:
    """How jobs of one type are worked: by whom, and how many at once."""

    handler: Handler
    concurrency: int


@dataclass(slots=True, eq=False)
class Run:
    """One job in the hands of its handler. `over`: the handler has ended, and Redis is being told. `lost`: the lease is.
    `cut_off`: why the run is not to be finished."""

    lease: Lease
    task: asyncio.Task[None] = field(init=False)
    over: bool = False
    lost: bool = False
    cut_off: Literal["", "Cancelled", "Shutdown"] = ""

    def call_off(self) -> None:
        """A person has cancelled the job: the handler is told so, once."""
        if not self.cut_off:
            log.info("run cancelled", extra={"id": self.lease.job.id, "type": self.lease.job.type})
            self.cut("Cancelled")

    def cut(self, why: Literal["Cancelled", "Shutdown"]) -> None:
        """Tell the handler to end; the run has failed then: for good where a person has cancelled the job."""
        self.cut_off = why
        self.task.cancel()


class Performer:
    """Lets handlers work, and ends each run by one word to Redis, with patience: it may be away for a moment."""

    def __init__(
        self,
        book: Book,
        processes: Mapping[str, Process],
        strategies: Mapping[str, Strategy],
        patience: timedelta,
    ) -> None:
        self._book = book
        self._processes = processes
        self._strategies = strategies
        self._patience = patience

    async def perform(self, run: Run) -> None:
        """The whole of one run. Cancelled or interrupted, it gives the job back; that is not an attempt."""
        lease = run.lease
        # Told to stop, or the lease is lost: an unfinished run is given back if it is still ours.
        ending: Ending = partial(self._book.release, lease)
        try:
            ending = await self._work(run)
            run.over = True
            await self._settle(lease.job, ending, GOODBYE if _is_told_to_end() else self._patience)
        except (asyncio.CancelledError, KeyboardInterrupt):
            if run.cut_off:
                wait = self._wait_ms(lease.job) if run.cut_off == "Shutdown" else None
                ending = partial(self._book.fail, lease, run.cut_off, wait_ms=wait)
            await self._settle(lease.job, ending, GOODBYE)
            if not run.cut_off:
                raise

    async def _work(self, run: Run) -> Ending:
        """Let the handler work, and answer how the run is to end."""
        lease = run.lease
        job, handler = lease.job, self._processes[lease.job.type].handler
        fail = partial(self._book.fail, lease)
        try:
            async with asyncio.timeout(None) as limit:
                _limit(limit, job)
                result = await handler(job, Context(self._book, lease, lambda: _limit(limit, job)))
        except Retry as signal:
            if signal.counted:
                return partial(fail, said(signal), wait_ms=to_ms(signal.after))
            return partial(self._book.release, lease, signal.after)
        except Abandon as signal:
            return partial(fail, said(signal), wait_ms=None)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            # A handler may end by a CancelledError of something that it waited for; then nobody has told us to stop.
            if isinstance(error, asyncio.CancelledError) and _is_told_to_end():
                raise
            wait = self._wait_ms(job)
            if isinstance(error, TimeoutError) and limit.expired():
                return partial(fail, "TTL exceeded", wait_ms=wait)
            return partial(fail, said(error), _text(error), wait_ms=wait)
        if run.cut_off == "Cancelled":
            # The handler was told, and has ended as if nothing had happened.
            return partial(fail, "Cancelled", wait_ms=None)
        try:
            to_json(result, "result")
        except InvalidJob as error:
            return partial(fail, f"the handler's result: {error}", wait_ms=self._wait_ms(job))
        return partial(self._book.complete, lease, result)

    def _wait_ms(self, job: Job) -> int:
        """How long to wait before the next attempt; a strategy that fails itself leaves the delay as it is, as in Kue."""
        try:
            return job.wait_ms_after_failure(self._strategies)
        except Exception:
            log.exception("a backoff strategy failed", extra={"id": job.id, "type": job.type})
            return within_reason(to_ms(job.delay) if job.delay is not None else 0)

    async def _settle(self, job: Job, end: Ending, patience: timedelta) -> None:
        """End a run: whatever Redis answers in time is the end of it."""
        pause = 0.05
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience.total_seconds()):
                while True:
                    try:
                        await end()
                        return
                    except (LeaseLost, JobNotFound) as error:
                        log.warning(
                            "run ended by somebody else", extra={"id": job.id, "type": job.type, "why": str(error)}
                        )
                        return
                    except QueueUnavailable:
                        await asyncio.sleep(pause * random.uniform(0.5, 1.5))
                        pause = min(pause * 2, 2.0)
        log.error("run not settled: it will be rescued", extra={"id": job.id, "type": job.type})


def _is_told_to_end() -> bool:
    """Whether somebody has cancelled this run, heeded or not."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _limit(limit: asyncio.Timeout, job: Job) -> None:
    """The handler's time begins anew."""
    if job.ttl is not None and job.ttl > timedelta(0):
        seconds = (job.ttl - min(_TTL_MARGIN, job.ttl / 10)).total_seconds()
        limit.reschedule(asyncio.get_running_loop().time() + seconds)


def _text(error: BaseException) -> str:
    """The text that stays in the job: first line what went wrong, then where."""
    where = "".join(traceback.format_tb(error.__traceback__))
    return f"{type(error).__name__}: {said(error)}\n{where}"[:LONGEST_TEXT]
