"""Half-moved jobs, as a Kue leaves them that is killed between two writes: found by counting, seen twice, put right.

Our own transitions are atomic and leave none. A look at a whole queue costs one round trip of counts, however many jobs there
are; only where the counts differ are members looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from rmindr.queue.job import State
from rmindr.queue.keys import Keys, id_of
from rmindr.queue.lifecycle import Lifecycle
from rmindr.queue.scripts import unavailable

log = logging.getLogger(__name__)

_LOOKED_AT_ONCE: Final = 500
# One script holds Redis up for everybody.
_MENDED_AT_ONCE: Final = 200
_ENDED: Final = (State.COMPLETE, State.FAILED)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A member of some set, and what the hash of its job says; nothing where there is none."""

    member: str
    job_id: int
    type: str
    state: str
    updated_at: str


class Mending:
    """Mends one queue. Whoever does it remembers what it saw the last time."""

    def __init__(self, lifecycle: Lifecycle, redis: Redis, keys: Keys) -> None:
        self._lifecycle = lifecycle
        self._redis = redis
        self._keys = keys
        self._suspects: dict[int, str] = {}

    @property
    def has_suspects(self) -> bool:
        """Whether the last round saw what the next is to put right, if it is still so then."""
        return bool(self._suspects)

    async def mend(self) -> int:
        """One round; answers how many jobs were put right. Raises QueueUnavailable."""
        with unavailable():
            types: Any = await self._redis.smembers(self._keys.types)
        found: dict[int, str] = {}
        for key in await self._uneven(types):
            found |= await self._odd_in(key, types)
        twice = {job_id: seen for job_id, seen in found.items() if self._suspects.get(job_id) == seen}
        self._suspects = {job_id: seen for job_id, seen in found.items() if job_id not in twice}
        replies: dict[int, str] = {}
        for at in range(0, len(twice), _MENDED_AT_ONCE):
            replies |= await self._lifecycle.repair(dict(list(twice.items())[at : at + _MENDED_AT_ONCE]))
        repaired = [job_id for job_id, reply in replies.items() if reply == "repaired"]
        if repaired:
            log.warning("half-moved jobs put right", extra={"ids": repaired[:20], "count": len(repaired)})
        return len(repaired)

    async def _uneven(self, types: Iterable[str]) -> Sequence[str]:
        """The sets of which one cannot be whole: all jobs against their states, a state against its types and its endings."""
        keys = self._keys
        groups = [
            (keys.jobs, [keys.in_state(state) for state in State]),
            *((keys.in_state(state), [keys.of_type(type, state) for type in types]) for state in State),
            *((keys.in_state(state), [keys.ended(state)]) for state in _ENDED),
        ]
        every = list(dict.fromkeys(key for whole, parts in groups for key in (whole, *parts)))
        with unavailable():
            async with self._redis.pipeline(transaction=True) as pipe:
                for key in every:
                    pipe.zcard(key)
                counts = dict(zip(every, await pipe.execute(), strict=True))
        uneven = [
            key
            for whole, parts in groups
            if counts[whole] != sum(counts[part] for part in parts)
            for key in (whole, *parts)
            if counts[key]
        ]
        return list(dict.fromkeys(uneven))

    async def _odd_in(self, key: str, types: Iterable[str]) -> dict[int, str]:
        """The jobs of one set that stand elsewhere too, or not where they should; and when they were last touched. What is
        nobody's at all, or of another type, is taken out at once: no move of anybody's goes through there."""
        odd: dict[int, str] = {}
        cursor = 0
        while True:
            with unavailable():
                cursor, scored = await self._redis.zscan(key, cursor, count=_LOOKED_AT_ONCE)
            members = [str(member) for member, _ in scored]
            jobs = await self._read(members)
            astray = {member for member in members if id_of(member) is None}
            astray |= {seen.member for seen in jobs if seen.type and key not in self._homes(seen.type)}
            if astray:
                with unavailable():
                    await self._redis.zrem(key, *astray)
            odd |= await self._odd_among(key, [seen for seen in jobs if seen.member not in astray], set(types))
            if cursor == 0:
                return odd

    async def _read(self, members: Sequence[str]) -> Sequence[_Seen]:
        ids = {member: job_id for member in members if (job_id := id_of(member)) is not None}
        with unavailable():
            async with self._redis.pipeline(transaction=False) as pipe:
                for job_id in ids.values():
                    pipe.hmget(self._keys.job(job_id), "type", "state", "updated_at")
                facts = await pipe.execute(raise_on_error=False)
        # What is no hash has none of them.
        whole = [fact if isinstance(fact, list) else (None, None, None) for fact in facts]
        return [
            _Seen(member, job_id, type or "", state or "", touched or "")
            for (member, job_id), (type, state, touched) in zip(ids.items(), whole, strict=True)
        ]

    async def _odd_among(self, key: str, jobs: Sequence[_Seen], types: set[str]) -> dict[int, str]:
        listed = [self._listed_in(seen.type, seen.state) for seen in jobs]
        with unavailable():
            async with self._redis.pipeline(transaction=True) as pipe:
                for seen, places in zip(jobs, listed, strict=True):
                    for place in places:
                        pipe.zscore(place, seen.member)
                scores = iter(await pipe.execute())
        odd = {}
        for seen, places in zip(jobs, listed, strict=True):
            missing = None in [next(scores) for _ in places]
            if missing or key not in places or seen.type not in types:
                odd[seen.job_id] = seen.updated_at
        return odd

    def _listed_in(self, type: str, state: str) -> Sequence[str]:
        """The sets in which a job of this type and state stands; of what is no job, one in which nothing does."""
        if not type or state not in list(State):
            return [self._keys.in_state("")]
        ended = [self._keys.ended(state)] if state in _ENDED else []
        return [self._keys.jobs, self._keys.in_state(state), self._keys.of_type(type, state), *ended]

    def _homes(self, type: str) -> set[str]:
        """The sets in which a job of this type may stand at all."""
        keys = self._keys
        of_states = {place for state in State for place in (keys.in_state(state), keys.of_type(type, state))}
        return of_states | {keys.jobs, *(keys.ended(state) for state in _ENDED)}
