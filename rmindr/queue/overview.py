"""What somebody who looks after a queue wants to see at a glance: the whole of it, or one job and what it waits for."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from rmindr.queue.errors import UnreadableJob
from rmindr.queue.history import Moment, Period, last_numbers, moment_of
from rmindr.queue.job import PRIORITIES, Job, State, from_ms, in_kues_hands
from rmindr.queue.keys import Keys, id_of, zid
from rmindr.queue.lifecycle import Lifecycle, checked_id
from rmindr.queue.schedules import Schedule
from rmindr.queue.scripts import is_wrong_type, unavailable
from rmindr.queue.steering import Kept, Limit, WorkerInfo, kept_of, limit_of, worker_of

# What is longer is shown in part, and says so.
SHOWN: Final = 50
LOG_LINES_SHOWN: Final = 200
# Jobs of equal priority come in order of creation, so the one that waits longest is among the first of its priority.
_LOOKED_AT: Final = 5
_CURRENT: Final = ("type", "started_at", "progress", "lease", "workerId")
ENDED: Final = (State.COMPLETE, State.FAILED)
# The last arguments of redis-py's zrange: desc, withscores; and score_cast_func, byscore, bylex, offset, num.
_WITH_SCORES: Final = (False, True)
_BY_SCORE: Final = (False, False, float, True, False, 0, _LOOKED_AT)


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeLine:
    """One type: its jobs by state, and what steers it. `paused`: by itself."""

    name: str
    counts: Mapping[State, int]
    paused: bool = False
    limit: Limit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """A job in a worker's hands. `worker` is the worker's id, empty where a Kue has it; `holder` what it calls itself."""

    job_id: int
    type: str
    started_at: datetime | None
    progress: int
    worker: str
    holder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A queue at an instant of its server's clock.

    `next_due_at` is when the next delayed job is; `oldest_due_at` since when the job has been due that waits longest, paused
    ones included; `seen_at` when any worker was heard of last. Of types, schedules and workers there are SHOWN at most; how
    many there are in all, `type_count` and so on say. `current` are SHOWN jobs in workers' hands at most."""

    now: datetime
    counts: Mapping[State, int]
    paused: bool
    types: Sequence[TypeLine]
    type_count: int
    workers: Sequence[WorkerInfo]
    worker_count: int
    current: Sequence[Current]
    schedules: Sequence[Schedule]
    schedule_count: int
    retention: Mapping[State, Kept]
    history: Sequence[Moment]
    next_due_at: datetime | None
    oldest_due_at: datetime | None
    seen_at: datetime | None
    worked: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Closeup:
    """One job, its log, and what decides when it runs. `job` is None where it cannot be read: `why` says so.

    `ahead` is how many jobs of its type come before it, where it waits; `working` are the living workers of its type. `kues`:
    a Kue worker has it, of which nobody can say whether it lives."""

    now: datetime
    job: Job | None
    why: str = ""
    log: Sequence[str] = ()
    log_count: int = 0
    paused: bool = False
    type_paused: bool = False
    limit: Limit | None = None
    active_of_type: int = 0
    ahead: int | None = None
    working: Sequence[WorkerInfo] = field(default_factory=tuple)
    kues: bool = False


class Overviews:
    """Looks at one queue, in three round trips. Every method raises QueueUnavailable."""

    def __init__(self, redis: Redis, keys: Keys, lifecycle: Lifecycle) -> None:
        self._redis = redis
        self._keys = keys
        self._lifecycle = lifecycle

    async def whole(self, moments: int = 60, period: Period = "minute", *, types_after: str = "") -> Overview:
        """The whole queue, with the last so many minutes or days; types that come after this one in the alphabet."""
        now_ms = await self._lifecycle.now_ms()
        numbers = last_numbers(now_ms, moments, period)
        a = await self._ask(self._at_large(numbers, period))
        names = [each for each in sorted(a["types"] or ()) if each > types_after][:SHOWN]
        b = await self._ask(self._in_detail(a, names))
        paused, limits, kept = a["paused"] or set(), a["limits"] or {}, a["retention"] or {}
        next_due = from_ms(int(a["due"][0][1])) if a["due"] else None
        return Overview(
            now=from_ms(now_ms),
            counts={state: a["count", state] or 0 for state in State},
            paused="" in paused,
            types=[
                TypeLine(
                    name=name,
                    counts={state: b["type", name, state] or 0 for state in State},
                    paused=name in paused,
                    limit=limit_of(limits[name]) if name in limits else None,
                )
                for name in names
            ],
            type_count=len(a["types"] or ()),
            workers=_workers(a["workers"], b, now_ms),
            worker_count=a["worker count"] or 0,
            current=[
                _current(name[1], found) for name, found in b.items() if name[0] == "current" and any(found or ())
            ],
            schedules=_schedules(a["schedules"], b),
            schedule_count=a["schedule count"] or 0,
            retention={state: kept_of(kept.get(state, "")) for state in ENDED},
            history=[moment_of(number, period, a["moment", number]) for number in numbers],
            next_due_at=next_due,
            oldest_due_at=_oldest(b, next_due, from_ms(now_ms)),
            seen_at=from_ms(int(a["workers"][0][1])) if a["workers"] else None,
            worked=timedelta(milliseconds=int(a["worked"])) if (a["worked"] or "").isdigit() else timedelta(0),
        )

    def _at_large(self, numbers: Sequence[int], period: Period) -> Mapping[Any, tuple[Any, ...]]:
        """What can be asked of the queue without knowing anything of it."""
        keys, inactive = self._keys, self._keys.in_state(State.INACTIVE)
        return {
            **{("count", state): ("zcard", keys.in_state(state)) for state in State},
            **{("moment", number): ("hgetall", keys.history(period, number)) for number in numbers},
            **{("head", each): ("zrange", inactive, each, each, *_BY_SCORE) for each in PRIORITIES.values()},
            ("head", None): ("zrange", inactive, 0, _LOOKED_AT - 1),
            "active": ("zrange", keys.in_state(State.ACTIVE), 0, SHOWN - 1),
            "due": ("zrange", keys.in_state(State.DELAYED), 0, 0, *_WITH_SCORES),
            "types": ("smembers", keys.types),
            "paused": ("smembers", keys.paused),
            "limits": ("hgetall", keys.limits),
            "retention": ("hgetall", keys.retention),
            "workers": ("zrevrange", keys.workers, 0, SHOWN - 1, True),
            "worker count": ("zcard", keys.workers),
            "schedules": ("zrange", keys.schedules, 0, SHOWN - 1, *_WITH_SCORES),
            "schedule count": ("zcard", keys.schedules),
            "worked": ("get", keys.work_time),
        }

    def _in_detail(self, a: Mapping[Any, Any], names: Sequence[str]) -> Mapping[Any, tuple[Any, ...]]:
        """What is to be asked of the types, workers, schedules and jobs of which the first answers tell."""
        keys = self._keys
        heads = {id_of(member) for name in a if name[0] == "head" for member in a[name] or ()} - {None}
        active = {id_of(member) for member in a["active"] or ()} - {None}
        return {
            **{("type", name, state): ("zcard", keys.of_type(name, state)) for name in names for state in State},
            **{("worker", id): ("hgetall", keys.worker(id)) for id, _ in a["workers"] or ()},
            **{("schedule", name): ("hget", keys.schedule(name), "is") for name, _ in a["schedules"] or ()},
            **{("since", id): ("hmget", keys.job(id), "promote_at", "created_at") for id in heads if id},
            **{("current", id): ("hmget", keys.job(id), *_CURRENT) for id in active if id},
        }

    async def closeup(self, job_id: int) -> Closeup | None:
        """One job; None where there is none. Raises InvalidJob."""
        keys, member = self._keys, zid(checked_id(job_id))
        now_ms = await self._lifecycle.now_ms()
        a = await self._ask(
            {
                "job": ("hgetall", keys.job(job_id)),
                "log": ("lrange", keys.log(job_id), -LOG_LINES_SHOWN, -1),
                "log count": ("llen", keys.log(job_id)),
                "paused": ("smembers", keys.paused),
                "workers": ("zrevrange", keys.workers, 0, SHOWN - 1, True),
            }
        )
        if a["job"] is None or not (fields := a["job"]):
            # Something is there, or nothing at all.
            return None if a["job"] is not None else Closeup(now=from_ms(now_ms), job=None, why="it is no hash")
        type, job, why = fields.get("type", ""), None, ""
        try:
            job = Job.from_hash(job_id, fields)
        except UnreadableJob as error:
            why = error.why
        b = await self._ask(
            {
                "limit": ("hget", keys.limits, type),
                "active": ("zcard", keys.of_type(type, State.ACTIVE)),
                "ahead": ("zrank", keys.of_type(type, State.INACTIVE), member),
                **{("worker", id): ("hgetall", keys.worker(id)) for id, _ in a["workers"] or ()},
            }
        )
        paused = a["paused"] or set()
        return Closeup(
            now=from_ms(now_ms),
            job=job,
            why=why,
            log=a["log"] or (),
            log_count=a["log count"] or 0,
            paused="" in paused,
            type_paused=type in paused,
            limit=limit_of(b["limit"]) if b["limit"] else None,
            active_of_type=b["active"] or 0,
            ahead=b["ahead"],
            kues=in_kues_hands(fields),
            working=[each for each in _workers(a["workers"], b, now_ms) if each.alive and each.types.get(type, 0) > 0],
        )

    async def _ask(self, questions: Mapping[Any, tuple[Any, ...]]) -> dict[Any, Any]:
        """The answers by the names of the questions, in one round trip; None where something else stands under a key."""
        if not questions:
            return {}
        with unavailable():
            async with self._redis.pipeline(transaction=False) as pipe:
                for command, *arguments in questions.values():
                    getattr(pipe, command)(*arguments)
                answers = await pipe.execute(raise_on_error=False)
            for each in answers:
                if isinstance(each, RedisError) and not is_wrong_type(each):
                    raise each
        return {
            name: None if isinstance(each, Exception) else each for name, each in zip(questions, answers, strict=True)
        }


def _current(job_id: int, values: Sequence[str | None]) -> Current:
    type, started_at, progress, lease, holder = values
    # The token of a lease begins with the worker's id; a Kue that took the job over has written its own name.
    worker, _, rest = (lease or "").partition(".")
    return Current(
        job_id=job_id,
        type=type or "",
        started_at=_instant(started_at),
        progress=int(progress) if progress is not None and progress.isdigit() else 0,
        worker=worker if holder and rest.endswith(f"@{holder}") else "",
        holder=holder or "",
    )


def _workers(heard: Any, about: Mapping[Any, Any], now_ms: int) -> list[WorkerInfo]:
    found = (worker_of(id, seen_ms, about["worker", id], now_ms) for id, seen_ms in heard or ())
    return sorted(filter(None, found), key=lambda worker: worker.started_at)


def _schedules(standing: Any, texts: Mapping[Any, Any]) -> list[Schedule]:
    found = []
    for name, next_ms in standing or ():
        # What cannot be read is removed by whoever comes to make its job.
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, OverflowError):
            found.append(Schedule.from_wire(name, texts["schedule", name], next_ms))
    return found


def _oldest(b: Mapping[Any, Any], next_due: datetime | None, now: datetime) -> datetime | None:
    """Since when the job has been due that waits longest: of those that come first, and the first that is delayed."""
    dues = []
    for name, instants in b.items():
        if name[0] == "since" and instants is not None:
            promote_at, created_at = map(_instant, instants)
            dues.append(promote_at or created_at)
    if next_due is not None and next_due <= now:
        dues.append(next_due)
    return min(filter(None, dues), default=None)


def _instant(text: str | None) -> datetime | None:
    with contextlib.suppress(ValueError, OverflowError):
        return from_ms(text) if text else None
    return None
