"""Lists of jobs, a page at a time: of any state and type, or in which words stand, however many there are.

A page begins next to a place, which is that of a job that may be gone by now: so nothing is skipped or shown twice, whoever
comes and goes meanwhile. No page costs more than five round trips, and none walks through all there is.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Final, Literal

from redis.asyncio import Redis

from rmindr.queue.job import State
from rmindr.queue.keys import Keys, id_of, zid
from rmindr.queue.lines import Line, Lines
from rmindr.queue.scripts import Script, unavailable
from rmindr.queue.words import Search

Order = Literal["rank", "end", "id"]

# A type's endings are put in order when there are not more of them than these; else so many of all types are looked through.
_FEW: Final = 2000
_LOOKED_THROUGH: Final = 10_000
# How many members one command is asked about, or answers.
_STEP: Final = 1000
_PLACE: Final = re.compile(r"(rank|end|id) (-?[0-9.e+-]{1,24}) ([1-9][0-9]{0,15})")
_ENDED: Final = (State.COMPLETE, State.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which jobs: in this state, of this type, and in which these words stand; nothing given means any."""

    state: State | None = None
    type: str | None = None
    words: str = ""

    @property
    def descends(self) -> bool:
        """Whether people read such a list from its end: what has ended, what is of any state, what words found."""
        return bool(self.words) or self.state is None or self.state in _ENDED


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job stands, or stood, in a list that is in this order."""

    order: Order
    score: float
    job_id: int

    def __str__(self) -> str:
        return f"{self.order} {self.score!r} {self.job_id}"

    @classmethod
    def from_text(cls, text: str) -> Place | None:
        """Read what `str` made; None where it is no place."""
        found = _PLACE.fullmatch(text)
        try:
            return cls(found[1], float(found[2]), int(found[3])) if found is not None else None  # type: ignore[arg-type]
        except ValueError:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some lines of a list of `total`. `first` is how many stand before them; None where that is not known.

    `previous` and `next` are the places beside them; None at the ends. `counts` are those of the filter's type, or of the
    whole queue; `exact` are the jobs whose number or unique key was asked for; `indexed`: words find jobs here; `by_end`:
    they are in the order in which they ended, which is not so where a Kue has ended some."""

    lines: Sequence[Line]
    total: int
    first: int | None
    by_end: bool = False
    previous: Place | None = None
    next: Place | None = None
    counts: Mapping[State, int] = field(default_factory=dict)
    types: Sequence[str] = ()
    exact: Sequence[Line] = ()
    indexed: bool = False


@dataclass(slots=True)
class _Found:
    """What stands next to a place, as places in the order of the list; `stopped` is where looking stopped short."""

    places: list[Place]
    total: int
    rank: int | None
    stopped: Place | None = None


class Listing:
    """The lists of one queue. Reading never changes anything. Every method raises QueueUnavailable."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._search = Search(redis, keys)
        self._lines = Lines(redis, keys)
        folder = files(__package__) / "lua" / "reading"

        def source(name: str) -> str:
            return (folder / f"{name}.lua").read_text(encoding="utf-8")

        prelude = source("prelude")
        self._neighbours = Script(redis, prelude + source("neighbours"))
        self._ended = Script(redis, prelude + source("ended"))

    async def page(
        self,
        filter: Filter,
        *,
        after: Place | None = None,
        before: Place | None = None,
        reverse: bool = False,
        count: int = 50,
        uniques: Sequence[str] = (),
    ) -> Page:
        """The jobs of this filter beside a place, or from the beginning.

        Delayed jobs come in the order in which they are due; ended ones latest end first; all others by priority and
        creation, next to run first, or newest first where the list is of all states or of words. `reverse` turns the whole
        list around. `uniques` are keys that a job may be asked for by, besides the words themselves."""
        forward, descends, place = before is None, filter.descends != reverse, after or before
        found = await self._beside(filter, place, forward != descends, count)
        places = found.places[::-1] if descends else found.places
        first = found.rank
        if first is not None:
            first = found.total - first - len(places) if descends else first
            more = (first > 0, first + len(places) < found.total)
        else:
            # Where one has come from, there is more; where looking stopped short, there may be.
            there = found.stopped is not None
            more = (place is not None, there) if forward else (there, True)
        asked_for = [filter.words, *uniques] if filter.words else []
        read = await self._lines.read([each.job_id for each in places], filter.type, asked_for)
        return Page(
            lines=read.lines,
            total=found.total,
            first=first,
            previous=_first(None if forward else found.stopped, places[:1], place) if more[0] else None,
            next=_first(found.stopped if forward else None, places[-1:], place) if more[1] else None,
            by_end=bool(places) and places[0].order == "end",
            counts=read.counts,
            types=read.types,
            exact=read.exact,
            indexed=read.indexed,
        )

    async def ids(self, filter: Filter) -> Sequence[int]:
        """The ids of all jobs of this filter, in no order that could be relied on, a thousand to a round trip."""
        if filter.words:
            return [place.job_id for place in await self._found_by_words(filter)]
        found: list[int] = []
        for key in self._sets(filter):
            place: Place | None = None
            while True:
                ((rank, total, some),) = await self._next_to([key], "rank", place, upwards=True, count=_STEP)
                found += [each.job_id for each in some]
                if not some or rank + _STEP >= total:
                    break
                place = some[-1]
        return found

    async def count(self, filter: Filter) -> int:
        """How many jobs of this filter there are."""
        if filter.words:
            return len(await self._found_by_words(filter))
        with unavailable():
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in self._sets(filter):
                    pipe.zcard(key)
                return sum(await pipe.execute())

    # Where

    async def _beside(self, filter: Filter, place: Place | None, upwards: bool, count: int) -> _Found:
        if filter.words:
            return _among(await self._found_by_words(filter), place, upwards, count)
        order = place.order if place is not None else ""
        if filter.state in _ENDED and order in ("end", ""):
            found = await self._by_end(filter.state, filter.type, place, upwards, count)
            if found is not None:
                return found
        if order not in ("rank", ""):
            place = None
        answers = await self._next_to(self._sets(filter), "rank", place, upwards=upwards, count=count)
        places = sorted((each for _, _, some in answers for each in some), key=_standing)
        total, before = sum(total for _, total, _ in answers), sum(rank for rank, _, _ in answers)
        if upwards:
            return _Found(places[:count], total, before)
        kept = places[-count:]
        return _Found(kept, total, before + len(places) - len(kept))

    async def _by_end(
        self, state: State, type: str | None, place: Place | None, upwards: bool, count: int
    ) -> _Found | None:
        """In the order of endings; None where that of some is not known, since a Kue ended them."""
        keys = [self._keys.ended(state), self._keys.in_state(state)]
        if type is None:
            (rank, total, places), (_, in_state, _) = await self._next_to(
                keys, "end", place, upwards=upwards, count=count
            )
            return _Found(places, total, rank) if place is not None or total == in_state else None
        arguments = [*_arguments(place, upwards, count), _FEW, _LOOKED_THROUGH]
        with unavailable():
            answer: Any = await self._ended(keys=[*keys, self._keys.of_type(type, state)], args=arguments)
        if not answer:
            return None
        rank, total, members, stopped = answer
        where = _places(stopped, "end")
        return _Found(_places(members, "end"), total, int(rank) if rank != "" else None, where[0] if where else None)

    async def _next_to(
        self, keys: Sequence[str], order: Order, place: Place | None, *, upwards: bool, count: int
    ) -> list[tuple[int, int, list[Place]]]:
        """Per set: how many stand below what is found, how many there are, and what is found."""
        with unavailable():
            answers: Any = await self._neighbours(keys=list(keys), args=_arguments(place, upwards, count))
        return [(rank, total, _places(members, order)) for rank, total, members in answers]

    async def _found_by_words(self, filter: Filter) -> list[Place]:
        """Oldest first; in one more round trip than the words take, however many there are."""
        listed, _ = await self._search.listed(filter.words)
        ids = sorted(listed)
        if not ids or (filter.state is None and filter.type is None):
            # Of those that a Kue has removed, which knows nothing of the index, there is no line to show.
            return [Place("id", 0, job_id) for job_id in ids]
        members = [zid(job_id) for job_id in ids]
        with unavailable():
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in self._sets(filter):
                    for at in range(0, len(members), _STEP):
                        pipe.zmscore(key, members[at : at + _STEP])
                scores = [score for some in await pipe.execute() for score in some]
        there = [any(score is not None for score in scores[at :: len(ids)]) for at in range(len(ids))]
        return [Place("id", 0, job_id) for job_id, is_there in zip(ids, there, strict=True) if is_there]

    def _sets(self, filter: Filter) -> Sequence[str]:
        """The sets in which they stand by rank: one, but for a type in any state."""
        if filter.type is None:
            return [self._keys.jobs if filter.state is None else self._keys.in_state(filter.state)]
        states = [filter.state] if filter.state is not None else list(State)
        return [self._keys.of_type(filter.type, state) for state in states]


def _arguments(place: Place | None, upwards: bool, count: int) -> list[str | int | float]:
    direction = "up" if upwards else "down"
    return [direction, count, *((repr(place.score), zid(place.job_id)) if place is not None else ("", ""))]


def _places(members: Sequence[str], order: Order) -> list[Place]:
    """[member, score, …] → places; what is no job's is left out."""
    pairs = zip(members[::2], members[1::2], strict=True)
    return [Place(order, float(score), job_id) for member, score in pairs if (job_id := id_of(member)) is not None]


def _standing(place: Place) -> tuple[float, str]:
    return place.score, zid(place.job_id)


def _among(places: list[Place], place: Place | None, upwards: bool, count: int) -> _Found:
    """What stands next to a place among all these, which are in order."""
    ids = [each.job_id for each in places]
    if upwards:
        first = bisect.bisect_right(ids, place.job_id) if place is not None else 0
        return _Found(places[first : first + count], len(places), first)
    last = bisect.bisect_left(ids, place.job_id) if place is not None else len(ids)
    first = max(0, last - count)
    return _Found(places[first:last], len(places), first)


def _first(stopped: Place | None, shown: Sequence[Place], place: Place | None) -> Place | None:
    """Where to go on: where looking stopped, else at the edge of what is shown, else where it was looked."""
    return stopped or (shown[0] if shown else place)
