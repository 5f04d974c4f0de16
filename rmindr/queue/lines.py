"""What a list shows of each job: everything but its data, of which it shows no more than a title."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from redis.asyncio import Redis

from rmindr.queue.errors import UnreadableJob
from rmindr.queue.job import Job, State
from rmindr.queue.keys import Keys
from rmindr.queue.scripts import unavailable

_FIELDS: Final = (
    "type", "state", "priority", "created_at", "promote_at", "updated_at", "started_at", "failed_at", "attempts",
    "max_attempts", "progress", "error", "duration", "cancelled",
)  # fmt: skip
# Data may be large: where it is, a line does without its title.
_SMALL_DATA: Final = 4096
_LONGEST_TITLE: Final = 200
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,14}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One job in a list, without its data; `title` is what its data calls it. Where it cannot be read, `why` says so."""

    job_id: int
    job: Job | None = None
    title: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """Lines, and what else a list shows. `counts` are those of one type, or of the whole queue; `exact` are the jobs whose
    number or unique key was asked for; `indexed`: words find jobs here."""

    lines: Sequence[Line]
    exact: Sequence[Line]
    counts: Mapping[State, int]
    types: Sequence[str]
    indexed: bool


class Lines:
    """Reads lines of one queue. Raises QueueUnavailable."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def read(self, job_ids: Sequence[int], type: str | None, asked_for: Sequence[str] = ()) -> Read:
        """The lines of these jobs, in two round trips; those that are gone are left out. `asked_for` are numbers or unique
        keys of others."""
        keys, numbers = self._keys, [int(text) for text in asked_for if _NUMBER.fullmatch(text)]
        ids = list(dict.fromkeys([*job_ids, *numbers]))
        with unavailable():
            async with self._redis.pipeline(transaction=False) as pipe:
                for state in State:
                    pipe.zcard(keys.in_state(state) if type is None else keys.of_type(type, state))
                pipe.smembers(keys.types)
                pipe.exists(keys.words)
                # One key must be asked for: no job has an empty one.
                pipe.hmget(keys.unique, ["", *asked_for])
                for job_id in ids:
                    pipe.hmget(keys.job(job_id), _FIELDS)
                    pipe.hstrlen(keys.job(job_id), "data")
                # Junk under one key must not hide the rest.
                answers = [None if isinstance(each, Exception) else each for each in await pipe.execute(False)]
        *counts, types, indexed, holders = answers[: len(State) + 3]
        rows = dict(zip(ids, zip(*[iter(answers[len(State) + 3 :])] * 2, strict=True), strict=True))
        held = [int(each) for each in holders or () if each and _NUMBER.fullmatch(each)]
        lines = await self._with_titles(rows, [job_id for job_id in held if job_id not in rows])
        return Read(
            lines=[lines[job_id] for job_id in job_ids if job_id in lines],
            exact=[lines[job_id] for job_id in dict.fromkeys([*numbers, *held]) if job_id in lines],
            counts={state: count or 0 for state, count in zip(State, counts, strict=True)},
            types=sorted(types or ()),
            indexed=bool(indexed),
        )

    async def _with_titles(self, rows: dict[int, tuple[Any, Any]], held: Sequence[int]) -> dict[int, Line]:
        small = [job_id for job_id, (_, length) in rows.items() if length and length <= _SMALL_DATA]
        with unavailable():
            async with self._redis.pipeline(transaction=False) as pipe:
                for job_id in small:
                    pipe.hget(self._keys.job(job_id), "data")
                for job_id in held:
                    pipe.hmget(self._keys.job(job_id), _FIELDS)
                answers = await pipe.execute(False) if small or held else []
        data = dict(zip(small, answers, strict=False))
        rows |= {job_id: (values, 0) for job_id, values in zip(held, answers[len(small) :], strict=True)}
        return {
            job_id: _line(job_id, dict(zip(_FIELDS, values, strict=True)), data.get(job_id))
            for job_id, (values, _) in rows.items()
            if isinstance(values, list) and any(values)
        }


def _line(job_id: int, fields: Mapping[str, str | None], data: str | None) -> Line:
    known = {name: value for name, value in fields.items() if value is not None}
    try:
        job = Job.from_hash(job_id, {**known, "data": data or "null"})
    except UnreadableJob as error:
        return Line(job_id=job_id, why=error.why)
    return Line(job_id=job_id, job=replace(job, data=None), title=title_of(job.data))


def title_of(data: Any) -> str:
    """What a job calls itself, as Kue's users have it: the title in its data."""
    title = data.get("title") if isinstance(data, dict) else None
    return str(title)[:_LONGEST_TITLE] if title else ""
