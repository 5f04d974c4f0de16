"""The jobs of a queue as they stand: one, a range, how many; found by words; and what is done with many at once."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, RedisError

from rmindr.queue.errors import UnreadableJob
from rmindr.queue.job import Job, State, in_kues_hands
from rmindr.queue.keys import Keys, id_of
from rmindr.queue.lifecycle import Lifecycle, checked_id
from rmindr.queue.scripts import is_wrong_type, unavailable
from rmindr.queue.words import Search

# A step of something that is done with many: it holds Redis up for a few milliseconds.
_STEP: Final = 200


class Jobs:
    """What stands in one queue. Reading never changes anything. Every method raises QueueUnavailable."""

    def __init__(self, redis: Redis, keys: Keys, lifecycle: Lifecycle) -> None:
        self._redis = redis
        self._keys = keys
        self._lifecycle = lifecycle
        self._search = Search(redis, keys)

    # Looking

    async def get(self, job_id: int) -> Job | None:
        """The job as it stands; None when there is none. Raises UnreadableJob, InvalidJob."""
        return await self._lifecycle.get(checked_id(job_id))

    async def ids(
        self,
        state: State | None = None,
        type: str | None = None,
        *,
        start: int = 0,
        stop: int = -1,
        newest_first: bool = False,
    ) -> Sequence[int]:
        """The ids from rank `start` to `stop`, both included, -1 the last: by priority, then by id; of delayed jobs, soonest
        due first. All jobs without a state. `newest_first` turns the whole order around, not the page."""
        with unavailable():
            members: Any = await self._redis.zrange(self._set(state, type), start, stop, desc=newest_first)
        return [job_id for member in members if (job_id := id_of(member)) is not None]

    async def ended_ids(
        self, state: Literal[State.COMPLETE, State.FAILED], *, start: int = 0, stop: int = -1
    ) -> Sequence[int]:
        """The ids of jobs that have ended in this state, latest end first."""
        with unavailable():
            members: Any = await self._redis.zrange(self._keys.ended(state), start, stop, desc=True)
        return [job_id for member in members if (job_id := id_of(member)) is not None]

    async def range(
        self,
        state: State | None = None,
        type: str | None = None,
        *,
        start: int = 0,
        stop: int = -1,
        newest_first: bool = False,
    ) -> Sequence[Job]:
        """The jobs of such a range, in two round trips; what cannot be read is left out."""
        return await self.read(await self.ids(state, type, start=start, stop=stop, newest_first=newest_first))

    async def read(self, job_ids: Sequence[int]) -> Sequence[Job]:
        """These jobs, in this order, in one round trip; those that are gone or cannot be read are left out."""
        found = []
        for job_id, fields in (await self.hashes(job_ids)).items():
            with contextlib.suppress(UnreadableJob):
                found.append(Job.from_hash(job_id, fields))
        return found

    async def hashes(self, job_ids: Sequence[int]) -> Mapping[int, Mapping[str, str]]:
        """The hashes of these jobs as they stand, by id; those that are gone, or no hashes, are left out."""
        if not job_ids:
            return {}
        with unavailable():
            async with self._redis.pipeline(transaction=False) as pipe:
                for job_id in job_ids:
                    pipe.hgetall(self._keys.job(checked_id(job_id)))
                found = await pipe.execute(raise_on_error=False)
            _raise_unless_wrong_type(found)
        return {
            job_id: fields for job_id, fields in zip(job_ids, found, strict=True) if isinstance(fields, dict) and fields
        }

    async def search(self, query: str) -> Sequence[int]:
        """The ids of the jobs in which all these words stand, newest first; the last may be the beginning of a word."""
        return await self._search.ids(query)

    async def log(self, job_id: int) -> Sequence[str]:
        """A job's log lines, oldest first; none for a job that does not exist."""
        with unavailable():
            lines: Any = await self._redis.lrange(self._keys.log(checked_id(job_id)), 0, -1)
        return list(lines)

    async def find(self, uniques: Sequence[str]) -> Sequence[int | None]:
        """The ids of the jobs that hold these unique keys; None where no job was made with one, or it has ended."""
        if not uniques:
            return []
        with unavailable():
            holders = await self._redis.hmget(self._keys.unique, list(uniques))
        return [int(holder) if holder and holder.isdigit() else None for holder in holders]

    async def states(self, job_ids: Sequence[int]) -> Sequence[State | None]:
        """The states of these jobs; None for one that does not exist or is not whole. One round trip."""
        with unavailable():
            async with self._redis.pipeline(transaction=False) as pipe:
                for job_id in job_ids:
                    pipe.hget(self._keys.job(job_id), "state")
                found = await pipe.execute(raise_on_error=False)
            _raise_unless_wrong_type(found)
        return [State(state) if state in list(State) else None for state in found]

    # Counting

    async def counts(self, type: str | None = None) -> dict[State, int]:
        """Jobs per state, of all types or of one, e.g. {"delayed": 3, …}; every State is present."""
        with unavailable():
            try:
                return await self._counted(type, at_once=True)
            except OutOfMemoryError:
                # When it is full, a Redis up to 7.0 takes no transaction, not even one that only reads.
                return await self._counted(type, at_once=False)

    async def count(self, state: State, type: str | None = None) -> int:
        """Jobs in one state, of all types or of one."""
        return (await self.counts(type))[state]

    async def _counted(self, type: str | None, *, at_once: bool) -> dict[State, int]:
        async with self._redis.pipeline(transaction=at_once) as pipe:
            for state in State:
                pipe.zcard(self._set(state, type))
            return dict(zip(State, await pipe.execute(), strict=True))

    async def types(self) -> Sequence[str]:
        """Every type that there ever was a job of, in order of the alphabet."""
        with unavailable():
            types: Any = await self._redis.smembers(self._keys.types)
        return sorted(types)

    async def work_time(self) -> timedelta | None:
        """How long all completed runs took together; None before the first."""
        with unavailable():
            worked: Any = await self._redis.get(self._keys.work_time)
        try:
            return timedelta(milliseconds=float(worked)) if worked is not None else None
        except (ValueError, OverflowError):
            # Somebody else's text.
            return None

    # Many at once

    async def retry_all(
        self, state: Literal[State.FAILED, State.COMPLETE] = State.FAILED, type: str | None = None
    ) -> int:
        """Run all failed (or complete) jobs again, of all types or of one, a few hundred to a step; answers how many."""
        return await self._all("retry", state, type)

    async def remove_all(self, state: State, type: str | None = None) -> int:
        """Remove all jobs in this state that no worker holds, of all types or of one, a few hundred to a step; answers how
        many. Nothing of them stays."""
        return await self._all("remove", state, type)

    async def cancel_all(
        self, state: Literal[State.DELAYED, State.INACTIVE, State.ACTIVE], type: str | None = None
    ) -> int:
        """Cancel all jobs in this state, of all types or of one, a few hundred to a step; answers how many."""
        return await self._all("cancel", state, type)

    async def held_by(self, worker: str) -> Mapping[int, str]:
        """The active jobs that a Kue worker holds, or all of one process, e.g. kue:host:4711; by id the worker_id of each."""
        ids, held = await self.ids(State.ACTIVE), {}
        for step in _steps(ids):
            for job_id, fields in (await self.hashes(step)).items():
                holder = fields.get("workerId", "")
                if in_kues_hands(fields) and f"{holder}:".startswith(f"{worker}:"):
                    held[job_id] = holder
        return held

    async def take_back_from(self, worker: str) -> int:
        """Take back what a Kue worker holds, or all of one process, that is gone, as `Queue.take_back` does; answers how
        many."""
        held = await self.held_by(worker)
        return sum([await self._lifecycle.take_back_many({id: held[id] for id in step}) for step in _steps(list(held))])

    async def retry_these(self, job_ids: Sequence[int], state: State | None = None) -> int:
        """Run these jobs again, where they have ended (in this state); answers how many did."""
        return sum([await self._lifecycle.many("retry", step, state) for step in _steps(job_ids)])

    async def remove_these(self, job_ids: Sequence[int], state: State | None = None) -> int:
        """Remove these jobs, where no worker holds them (and they are in this state); answers how many."""
        return sum([await self._lifecycle.many("remove", step, state) for step in _steps(job_ids)])

    async def cancel_these(self, job_ids: Sequence[int], state: State | None = None) -> int:
        """Cancel these jobs, where they have not ended (and are in this state); answers how many."""
        return sum([await self._lifecycle.many("cancel", step, state) for step in _steps(job_ids)])

    async def update_these(
        self,
        job_ids: Sequence[int],
        *,
        priority: int | float | str | None = None,
        delay: timedelta | datetime | None = None,
    ) -> int:
        """Change these jobs, where they have not started, as `Queue.update` does; answers how many. Raises InvalidJob."""
        # A second mention in another step would count as a second job.
        steps = _steps(list(dict.fromkeys(job_ids)))
        return sum([await self._lifecycle.update_many(step, priority=priority, delay=delay) for step in steps])

    async def _all(self, verb: Literal["retry", "remove", "cancel"], state: State, type: str | None) -> int:
        if verb == "cancel" and state is State.ACTIVE:
            # They stay where they are until their handlers have ended.
            return await self.cancel_these(await self.ids(state, type), state)
        seen: set[int] = set()
        done = passed = before = 0
        while True:
            ids = await self.ids(state, type, start=passed, stop=passed + _STEP - 1)
            # Each once: one that has failed again meanwhile stands among them anew.
            fresh = [job_id for job_id in ids if job_id not in seen]
            if fresh:
                seen.update(fresh)
                done += await self._lifecycle.many(verb, fresh, state)
            elif ids:
                passed += len(ids)
            elif len(seen) == before:
                return done
            else:
                # What others took out meanwhile has moved the rest to where we had passed.
                before, passed = len(seen), 0

    def _set(self, state: State | None, type: str | None) -> str:
        if state is None:
            return self._keys.jobs
        return self._keys.in_state(State(state)) if type is None else self._keys.of_type(type, State(state))


def _steps(job_ids: Sequence[int]) -> Sequence[Sequence[int]]:
    return [[checked_id(job_id) for job_id in job_ids[at : at + _STEP]] for at in range(0, len(job_ids), _STEP)]


def _raise_unless_wrong_type(found: Sequence[Any]) -> None:
    for error in found:
        if isinstance(error, RedisError) and not is_wrong_type(error):
            raise error
