"""Errands: one verb for all jobs of a list, begun a moment after it was asked for, so that it can be called off until then.

Which jobs are meant is settled when it is asked for; each is done only if the verb fits it still, and it is in the state that
the list was of. What becomes of an errand stands in Redis, for every process to see. It is run by the process that was asked;
if that ends before the errand does, the rest is not done, and the errand says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Literal, TypeVar

from redis.asyncio import Redis

from rmindr.queue.errors import InvalidJob, QueueUnavailable
from rmindr.queue.job import State, delay_args, from_ms, priority_number, to_ms
from rmindr.queue.jobs import Jobs
from rmindr.queue.keys import Keys
from rmindr.queue.lifecycle import Lifecycle
from rmindr.queue.listing import Filter, Listing
from rmindr.queue.scripts import unavailable

log = logging.getLogger(__name__)

Verb = Literal["retry", "run", "reschedule", "priority", "cancel", "remove"]

# The states that each verb starts from.
STARTS_FROM: Final[Mapping[Verb, Sequence[State]]] = {
    "retry": (State.COMPLETE, State.FAILED),
    "run": (State.DELAYED,),
    "reschedule": (State.DELAYED, State.INACTIVE),
    "priority": (State.DELAYED, State.INACTIVE),
    "cancel": (State.DELAYED, State.INACTIVE, State.ACTIVE),
    "remove": (State.DELAYED, State.INACTIVE, State.COMPLETE, State.FAILED),
}
# How long an errand can be called off before it begins.
RESPITE: Final = timedelta(seconds=10)
_KEPT: Final = timedelta(hours=24)
# After each so many jobs it is written down how far it is.
_STEP: Final = 1000
# Whoever says nothing for this long has ended.
_SILENCE: Final = timedelta(seconds=30)
_PAUSE_S: Final = 1.0
_TRIES: Final = 15

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What is to be done with each job: a verb; to when for `reschedule`, to what for `priority`. Raises InvalidJob."""

    verb: Verb
    delay: timedelta | datetime | None = None
    priority: int | float | str | None = None

    def __post_init__(self) -> None:
        """Refuse what could not be done."""
        if self.verb not in STARTS_FROM:
            raise InvalidJob(f"there is no verb {self.verb!r:.60}; there are {', '.join(STARTS_FROM)}")
        if (self.verb == "reschedule") != (self.delay is not None):
            raise InvalidJob("reschedule, and nothing else, needs a delay")
        if (self.verb == "priority") != (self.priority is not None):
            raise InvalidJob("priority, and nothing else, needs a priority")
        delay_args(self.delay)
        if self.priority is not None:
            priority_number(self.priority)


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """An errand as it stands: of `total` jobs, `seen` have been looked at, and `moved` moved. `stopped`: the rest will not be
    done."""

    id: str
    verb: Verb
    filter: Filter
    total: int
    starts_in: timedelta
    standing: Literal["waiting", "running", "done", "undone", "stopped"]
    seen: int = 0
    moved: int = 0


class Errands:
    """The errands of one queue. Every method raises QueueUnavailable."""

    def __init__(self, redis: Redis, keys: Keys, lifecycle: Lifecycle, jobs: Jobs, listing: Listing) -> None:
        self._redis = redis
        self._keys = keys
        self._lifecycle = lifecycle
        self._jobs = jobs
        self._listing = listing
        self._at_work: set[asyncio.Task[None]] = set()

    @property
    def at_work(self) -> int:
        """How many errands this process runs, or is about to."""
        return len(self._at_work)

    async def aclose(self) -> None:
        """End the errands that this process runs; they say so."""
        # What was never entered could say nothing.
        await asyncio.sleep(0)
        for task in self._at_work:
            task.cancel()
        if self._at_work:
            await asyncio.wait(self._at_work)

    async def begin(self, act: Act, filter: Filter, *, respite: timedelta = RESPITE) -> Errand:
        """Do this with all jobs of this filter, which must be of one state, after the respite.

        Raises InvalidJob where the verb does not start from that state."""
        state = filter.state
        if state is None or state not in STARTS_FROM[act.verb]:
            allowed = ", ".join(STARTS_FROM[act.verb])
            raise InvalidJob(f"{act.verb} is for jobs that are {allowed}, not {state or 'in any state'}")
        ids, now_ms = await self._listing.ids(filter), await self._lifecycle.now_ms()
        id = secrets.token_hex(8)
        starts_at = now_ms + to_ms(respite)
        about: dict[Any, Any] = {
            "verb": act.verb,
            "state": state,
            "type": filter.type or "",
            "words": filter.words,
            "total": len(ids),
            "starts_at": starts_at,
            "touched_at": starts_at,
        }
        with unavailable():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(self._keys.errand(id), mapping=about)
                pipe.expire(self._keys.errand(id), _KEPT)
                await pipe.execute()
        task = asyncio.create_task(self._run(id, act, ids, state, respite), name=f"errand {id}")
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)
        return Errand(id=id, verb=act.verb, filter=filter, total=len(ids), starts_in=respite, standing="waiting")

    async def undo(self, id: str) -> bool:
        """Call it off; False where it has begun, or there is none."""
        with unavailable():
            if not await self._redis.hexists(self._keys.errand(id), "verb"):
                return False
            # Whoever decides first has decided.
            return bool(await self._redis.hsetnx(self._keys.errand(id), "decided", "undone"))

    async def get(self, id: str) -> Errand | None:
        """The errand as it stands; None where there is none, or none any more."""
        now_ms = await self._lifecycle.now_ms()
        with unavailable():
            about: Any = await self._redis.hgetall(self._keys.errand(id))
        try:
            return _errand(id, about, now_ms)
        except (KeyError, ValueError):
            return None

    async def _run(self, id: str, act: Act, ids: Sequence[int], state: State, respite: timedelta) -> None:
        key, moved, seen = self._keys.errand(id), 0, 0
        try:
            await asyncio.sleep(respite.total_seconds())
            if not await _patiently(lambda: self._decide(key)):
                return
            for at in range(0, len(ids), _STEP):
                moved += await _patiently(partial(self._do, act, ids[at : at + _STEP], state))
                seen = min(at + _STEP, len(ids))
                await _patiently(partial(self._note, key, seen=seen, moved=moved))
            await _patiently(partial(self._note, key, seen=seen, moved=moved, done=1))
            log.info("errand done", extra={"errand": id, "verb": act.verb, "moved": moved, "of": len(ids)})
        except (asyncio.CancelledError, QueueUnavailable) as error:
            log.warning("errand stopped", extra={"errand": id, "verb": act.verb, "moved": moved, "of": len(ids)})
            with contextlib.suppress(QueueUnavailable):
                await self._note(key, seen=seen, moved=moved, stopped=1)
            if isinstance(error, asyncio.CancelledError):
                raise

    async def _decide(self, key: str) -> bool:
        """That it begins, unless it has been called off; asked again, it answers the same."""
        with unavailable():
            await self._redis.hsetnx(key, "decided", "run")
            return bool(await self._redis.hget(key, "decided") == "run")

    async def _do(self, act: Act, ids: Sequence[int], state: State) -> int:
        match act.verb:
            case "retry":
                return await self._jobs.retry_these(ids, state)
            case "cancel":
                return await self._jobs.cancel_these(ids, state)
            case "remove":
                return await self._jobs.remove_these(ids, state)
            case "run":
                return await self._jobs.update_these(ids, delay=timedelta(0))
            case "reschedule":
                return await self._jobs.update_these(ids, delay=act.delay)
            case "priority":
                return await self._jobs.update_these(ids, priority=act.priority)

    async def _note(self, key: str, **facts: int) -> None:
        about: dict[Any, Any] = {**facts, "touched_at": await self._lifecycle.now_ms()}
        with unavailable():
            await self._redis.hset(key, mapping=about)


async def _patiently(do: Callable[[], Awaitable[T]]) -> T:
    """Do it, again where Redis is away for a moment; what was done without our hearing of it is not counted then."""
    for _ in range(_TRIES - 1):
        with contextlib.suppress(QueueUnavailable):
            return await do()
        await asyncio.sleep(_PAUSE_S)
    return await do()


def _errand(id: str, about: Mapping[str, str], now_ms: int) -> Errand:
    starts_in = from_ms(about["starts_at"]) - from_ms(now_ms)
    decided = about.get("decided")
    silent = now_ms - int(about["touched_at"]) > to_ms(_SILENCE)
    standing: Literal["waiting", "running", "done", "undone", "stopped"]
    if decided == "undone":
        standing = "undone"
    elif "done" in about:
        standing = "done"
    elif "stopped" in about or silent:
        standing = "stopped"
    else:
        standing = "running" if decided == "run" else "waiting"
    return Errand(
        id=id,
        verb=about["verb"],  # type: ignore[arg-type]
        filter=Filter(state=State(about["state"]), type=about["type"] or None, words=about["words"]),
        total=int(about["total"]),
        starts_in=max(starts_in, timedelta(0)),
        standing=standing,
        seen=int(about.get("seen", 0)),
        moved=int(about.get("moved", 0)),
    )
