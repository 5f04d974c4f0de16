"""Every transition of a job, in order of life: one typed method per Lua file, under the only state diagram.

    The good life, left to right:
             create           promote             claim             complete
          · ───────▶ delayed ───────▶ inactive ─────────▶ active ───────────▶ complete
                                                           ↺ renew, progress, log
    The other ways:
        create     ·                        ▶ inactive              no delay
        recur      ·                        ▶ inactive              the instant of a schedule has come
        fail       active                   ▶ delayed | inactive    attempts left: later, or at once
        fail       active                   ▶ failed                none left, or the handler gave up
        expire     active, ttl over         ▶ as fail               «TTL exceeded»
        release    active                   ▶ inactive | delayed    given back unfinished; not an attempt
        rescue     active, lease lapsed     ▶ inactive | failed     its worker is gone
        take_back  active, a Kue's          ▶ inactive | failed     a person says that the Kue is gone
        repair     any, half-moved          ▶ as its hash says      a Kue was killed between two writes
        update     delayed, inactive        ▶ delayed | inactive    new delay, priority, data, terms; run now
        cancel     delayed, inactive        ▶ failed                a person asks; a run is told, and fails whatever comes
        retry      failed, complete         ▶ inactive              a person asks
        remove     any but leased           ▶ ·                     a person asks
        prune      complete, failed         ▶ ·                     more, or older, than the queue keeps

Every transition is atomic and checks the state it starts from; those that prolong or end a run take a Lease and check it.
A refusal changes nothing. Whatever calls wait while one of the same verb is in flight travel together in the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from rmindr.queue.backoff import LONGEST_WAIT_MS, Backoff, within_reason
from rmindr.queue.errors import InvalidJob, JobExists, JobNotFound, LeaseLost, Refused, UnreadableJob, WrongState
from rmindr.queue.job import Job, Lease, NewJob, State, delay_args, priority_number, terms_args, to_json, to_ms
from rmindr.queue.keys import Keys, id_of
from rmindr.queue.scripts import Argument, Flights, Scripts, is_wrong_type, unavailable

CREATED_AT_ONCE: Final = 500
# One script holds Redis up for everybody: at this many jobs it takes a few milliseconds.
PROMOTED_AT_ONCE: Final = 500
RESCUED_AT_ONCE: Final = 100
PRUNED_AT_ONCE: Final = 200
LOSSES_ALLOWED: Final = 3
_NOT_TAKEN_BACK: Final = {
    "leased": "under a lease, which lapses by itself when its worker is gone",
    "others": "in other hands by now",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What a claim took: leases to work on, how long until something may be due again (None: nothing is), the types that a
    pause or a limit bars at present, and how long until the next schedule is due (None: there is none)."""

    leases: Sequence[Lease]
    next_due_in: timedelta | None
    barred: frozenset[str] = frozenset()
    next_schedule_in: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescued:
    """What a rescue found: state by job id, the server's clock, and how long until the next lease ends (None: no lease)."""

    jobs: Mapping[int, State] = field(default_factory=dict)
    now_ms: int = 0
    next_end_in: timedelta | None = None


class Lifecycle:
    """The transitions of one queue. `clock` answers milliseconds since the epoch; None means the server's clock."""

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        clock: Callable[[], int] | None = None,
        words_of: Callable[[Any], str] = lambda _: "",
    ) -> None:
        """`words_of` answers what a job with this data is to be found by, as a JSON array, or nothing."""
        self._redis = redis
        self._keys = keys
        self._clock = clock
        self._words_of = words_of
        self._scripts = Scripts(redis, keys)
        self._highest_id = 0
        self._created = Flights(self._create)
        self._endings = {
            verb: Flights(self._sender(verb)) for verb in ("progress", "log", "complete", "fail", "release", "expire")
        }

    async def aclose(self) -> None:
        """Wait for the calls in flight."""
        await self._created.aclose()
        for flights in self._endings.values():
            await flights.aclose()

    def raise_ids(self, at_least: int) -> None:
        """Never give out an id up to this one: for a Redis that was emptied and counts from 1 again."""
        self._highest_id = max(self._highest_id, at_least)

    async def now_ms(self, connection: Redis | None = None) -> int:
        """The clock that decides: the server's, unless a test moves its own; asked on this connection, where one is given.

        Raises QueueUnavailable."""
        if self._clock is not None:
            return self._clock()
        with unavailable():
            seconds, microseconds = await (connection or self._redis).time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def wake(self) -> None:
        """Let a worker that sleeps look at once. Raises QueueUnavailable."""
        with unavailable():
            async with self._redis.pipeline(transaction=True) as pipe:
                self.ring(pipe)
                await pipe.execute()

    def ring(self, pipe: Any) -> None:
        """The same, as part of a pipeline; whoever looks next needs no second token."""
        pipe.lpush(self._keys.wake, "1")
        pipe.ltrim(self._keys.wake, 0, 0)

    async def create(self, new: NewJob) -> tuple[Job, bool]:
        """· → delayed | inactive. The job and True; or, where a living job holds the unique key, that one and False.

        Raises InvalidJob; UnreadableJob where the holder is living, but nothing that can be answered."""
        return self._made(new, await self._created(self._asked(new)))

    async def create_many(self, news: Sequence[NewJob]) -> Sequence[tuple[Job, bool]]:
        """Make many, each as `create` would, in order; where one of them is invalid, none."""
        checked = [self._asked(new) for new in news]
        starts = iter(range(0, len(news), CREATED_AT_ONCE))

        def leave() -> Sequence[asyncio.Task[Sequence[tuple[int, Any]]]]:
            return [
                asyncio.create_task(self._create(checked[at : at + CREATED_AT_ONCE]))
                for at in itertools.islice(starts, 1)
            ]

        made: list[tuple[Job, bool]] = []
        # Two calls are under way: Redis makes the jobs of one while those of the other are packed and read here.
        flying = deque([*leave(), *leave()])
        try:
            while flying:
                replies = await flying.popleft()
                flying += leave()
                await asyncio.sleep(0)
                made += map(self._made, news[len(made) : len(made) + len(replies)], replies)
        finally:
            await asyncio.gather(*flying, return_exceptions=True)
        return made

    async def recur(
        self, name: str, standing: str, instant_ms: int, following_ms: int | None, new: NewJob | None
    ) -> int | None:
        """· → inactive. A schedule's instant has come: its job, and the schedule moved on to the instant that follows.

        None where somebody else has moved it on already, or put another in the place of the one that was read as `standing`;
        or where `new` is None: then this instant passes without a job."""
        asked = self._asked(new) if new is not None else ()
        following = "" if following_ms is None else following_ms
        reply = await self._call(
            "recur", self._highest_id, name, standing, instant_ms, following, int(new is not None), *asked
        )
        if not reply:
            return None
        self.raise_ids(int(reply))
        return int(reply)

    async def promote(self, limit: int = PROMOTED_AT_ONCE) -> int:
        """delayed → inactive. Make what is due ready to be taken, soonest first; answers how many."""
        return int(await self._call("promote", limit))

    async def claim(
        self,
        wanted: Mapping[str, int],
        *,
        token: str,
        lease: timedelta,
        worker: str,
        promote: int = PROMOTED_AT_ONCE,
        again: bool = False,
    ) -> Claimed:
        """inactive → active. Lease up to `wanted` jobs of each type, most urgent first; before that, promote up to `promote`
        that are due.

        `again` repeats a claim whose answer was lost: what this token took then is answered once more. A job that cannot
        be read ends failed here."""
        types = [part for type, count in wanted.items() for part in (type, count)]
        arguments = (token, to_ms(lease), worker, promote, int(again), *types)
        now_us, next_due, taken, barred, next_schedule = await self._call("claim", *arguments)
        leases = []
        # The hashes are as they were before the claim.
        now = {"state": "active", "started_at": str(int(now_us) // 1000)}
        for job_id, hash in taken:
            fields = _pairs(hash) | now
            fields["workerId"] = f"{worker}:{fields.get('type')}:1"
            try:
                job = Job.from_hash(int(job_id), fields)
            except UnreadableJob as error:
                await self._endings["fail"]((error.job_id, token, error.why, str(error), ""))
                continue
            leases.append(Lease(job, token))
        return Claimed(
            leases=leases,
            next_due_in=_until(next_due, now_us),
            barred=frozenset(barred),
            next_schedule_in=_until(next_schedule, now_us),
        )

    async def renew(self, leases: Sequence[Lease], lease: timedelta) -> Sequence[str]:
        """active → active. Prolong leases, all in one call; answers for each `ok`, `cancelled` where it has been prolonged but
        its job called off, `lost` or `missing`."""
        held = [part for each in leases for part in (each.job.id, each.token)]
        replies: Sequence[str] = await self._call("renew", to_ms(lease), *held)
        return replies

    async def progress(self, lease: Lease, percent: int, data: Any = None) -> None:
        """active → active. Say how far the run is; its ttl begins anew. Raises LeaseLost, JobNotFound."""
        encoded = to_json(data, "data") if data is not None else ""
        await self._end("progress", lease, percent, encoded)

    async def log(self, lease: Lease, line: str) -> None:
        """active → active. Write a line into the job's log. Raises LeaseLost, JobNotFound."""
        await self._end("log", lease, str(line))

    async def complete(self, lease: Lease, result: Any = None) -> None:
        """active → complete, or gone if the job says remove_on_complete. Raises LeaseLost, JobNotFound, InvalidJob."""
        await self._end("complete", lease, to_json(result, "result") if result is not None else "")

    async def fail(self, lease: Lease, message: str, text: str | None = None, *, wait_ms: int | None) -> State:
        """active → delayed | inactive | failed. The run has failed; `wait_ms` None means for good.

        `message` goes out with the event, `text` (by default the same) stays in the job. Raises LeaseLost, JobNotFound."""
        wait = "" if wait_ms is None else within_reason(wait_ms)
        return State(await self._end("fail", lease, message, text if text is not None else message, wait))

    async def expire(self, job: Job) -> State | None:
        """active, ttl over → as fail. None when the run has ended or been prolonged meanwhile. Raises JobNotFound."""
        reply = await self._endings["expire"]((job.id, job.attempts, job.wait_ms_after_failure()))
        if reply == "missing":
            raise JobNotFound(job.id)
        return State(reply) if reply != "not over" else None

    async def expired(self, now_ms: int) -> Sequence[Job]:
        """The active jobs whose ttl is over at this instant of the server's clock: what `expire` is for."""
        with unavailable():
            # Kue's floor: scores below it are priorities of jobs without a ttl.
            members: Any = await self._redis.zrangebyscore(self._keys.in_state(State.ACTIVE), 100_000, now_ms)
            # Only what is leased is ours to end; the rest must not stand in its way, however much it is.
            ends: Any = await self._redis.zmscore(self._keys.leases, members) if members else []
        ours = [id_of(member) for member, end in zip(members, ends, strict=True) if end is not None]
        jobs = []
        for job_id in filter(None, ours[:RESCUED_AT_ONCE]):
            with contextlib.suppress(UnreadableJob):
                jobs.append(await self.get(job_id))
        return [job for job in jobs if job is not None]

    async def release(self, lease: Lease, wait: timedelta = timedelta(0)) -> State:
        """active → inactive | delayed. Give the job back; not an attempt. Raises LeaseLost, JobNotFound."""
        return State(await self._end("release", lease, within_reason(to_ms(wait))))

    async def rescue(self, asked_at_ms: int | None = None) -> Rescued:
        """active, lease lapsed → inactive | failed. Take jobs back from workers that are gone; each lost run counts.

        Only leases that had lapsed at `asked_at_ms` of the server's clock, however long the call then takes to be heard."""
        asked_at = "" if asked_at_ms is None else asked_at_ms
        now_us, next_end, jobs = await self._call("rescue", RESCUED_AT_ONCE, LOSSES_ALLOWED, asked_at)
        states = {int(job_id): State(state) for job_id, state in jobs}
        return Rescued(jobs=states, now_ms=int(now_us) // 1000, next_end_in=_until(next_end, now_us))

    async def take_back(self, job_id: int, holder: str = "") -> State:
        """active, in the hands of a Kue → inactive | failed. Its process is gone, a person says; the lost run counts.

        `holder` is the worker_id that was seen: what others hold by now stays theirs. Raises JobNotFound, WrongState."""
        ((reply, *state),) = await self._call("take_back", LOSSES_ALLOWED, job_id, holder)
        if not state:
            raise _refusal(job_id, "take back", _NOT_TAKEN_BACK.get(reply, reply))
        return State(state[0])

    async def take_back_many(self, held: Mapping[int, str]) -> int:
        """The same for those of these jobs that this worker_id still holds; answers how many."""
        replies = await self._call("take_back", LOSSES_ALLOWED, *(part for item in held.items() for part in item))
        return sum(reply[0] == "ok" for reply in replies)

    async def repair(self, seen: Mapping[int, str]) -> Mapping[int, str]:
        """any state → the state that the hash says. Put half-moved jobs right, each given with its `updated_at` when it was
        first seen so; answers per job `whole`, `moving` where it has changed since, or `repaired`."""
        replies = await self._call("repair", *(part for item in seen.items() for part in item))
        return dict(zip(seen, replies, strict=True))

    async def update(
        self,
        job_id: int,
        *,
        data: Any = None,
        priority: int | float | str | None = None,
        delay: timedelta | datetime | None = None,
        backoff: Backoff | None = None,
        ttl: timedelta | None = None,
        remove_on_complete: bool | None = None,
    ) -> State:
        """delayed, inactive → delayed | inactive. Change what is given; no time at all as `delay` means run now.

        Raises JobNotFound, WrongState, InvalidJob."""
        encoded = to_json(data, "data") if data is not None else ""
        words = self._words_of(data) if data is not None else ""
        score = priority_number(priority) if priority is not None else ""
        terms = terms_args(backoff, ttl, remove_on_complete)
        (reply,) = await self._call("update", job_id, encoded, words, score, *delay_args(delay), *terms)
        if reply not in (State.DELAYED, State.INACTIVE):
            raise _refusal(job_id, "update", reply)
        return State(reply)

    async def update_many(
        self,
        job_ids: Sequence[int],
        *,
        priority: int | float | str | None = None,
        delay: timedelta | datetime | None = None,
    ) -> int:
        """The same change for those of these jobs that have not started; answers how many. Raises InvalidJob."""
        score = priority_number(priority) if priority is not None else ""
        change = ("", "", score, *delay_args(delay), 0)
        # Each once, as in `many`.
        replies = await self._call("update", *(part for job_id in dict.fromkeys(job_ids) for part in (job_id, *change)))
        return sum(reply in (State.DELAYED, State.INACTIVE) for reply in replies)

    async def cancel(self, job_id: int) -> State:
        """delayed, inactive → failed. One that runs is told, and ends failed whatever comes: the answer is `active` then.

        Raises JobNotFound; WrongState where it has ended, or runs in the hands of a Kue."""
        (reply,) = await self._call("cancel", "", job_id)
        if reply not in ("ok", "told"):
            raise _refusal(job_id, "cancel", reply)
        return State.FAILED if reply == "ok" else State.ACTIVE

    async def retry(self, job_id: int) -> State:
        """failed, complete → inactive. Raises JobNotFound, WrongState; JobExists where its unique key is taken."""
        (reply,) = await self._call("retry", "", job_id)
        if reply.isdigit():
            raise JobExists(job_id, int(reply))
        if reply != "ok":
            raise _refusal(job_id, "retry", reply)
        return State.INACTIVE

    async def remove(self, job_id: int) -> None:
        """any but leased → ·. Leaves nothing of the job. Raises JobNotFound, WrongState while a worker holds it."""
        (reply,) = await self._call("remove", "", job_id)
        if reply != "ok":
            raise _refusal(job_id, "remove", reply)

    async def prune(self) -> int:
        """complete, failed → ·. Remove what is beyond the count and the age that the queue keeps; answers how many."""
        return int(await self._call("prune", PRUNED_AT_ONCE))

    async def many(
        self, verb: Literal["cancel", "retry", "remove"], job_ids: Sequence[int], state: State | None = None
    ) -> int:
        """One verb for those of these jobs that it fits, and that are in `state` still; answers how many."""
        # Each once: within one script, the second mention of a job finds it half-way.
        replies = await self._call(verb, state or "", *dict.fromkeys(job_ids))
        return sum(reply in ("ok", "told") for reply in replies)

    async def get(self, job_id: int) -> Job | None:
        """The job as it stands; None when there is none. Raises UnreadableJob."""
        with unavailable():
            try:
                fields: Any = await self._redis.hgetall(self._keys.job(job_id))
            except ResponseError as error:
                if is_wrong_type(error):
                    raise UnreadableJob(job_id, "it is no hash") from error
                raise
        return Job.from_hash(job_id, fields) if fields else None

    def _asked(self, new: NewJob) -> list[str | bytes]:
        return new.to_args(self._words_of(new.data))

    def _made(self, new: NewJob, answer: tuple[int, Any]) -> tuple[Job, bool]:
        now_ms, reply = answer
        if not isinstance(reply, str):
            job_id, hash = reply
            return Job.from_hash(int(job_id), _pairs(hash)), False
        self.raise_ids(int(reply))
        return new.as_created(int(reply), now_ms), True

    async def _create(self, news: list[list[str | bytes]]) -> Sequence[tuple[int, Any]]:
        arguments = [argument for new in news for argument in new]
        now, *replies = await self._call("create", self._highest_id, *arguments)
        return [(int(now), reply) for reply in replies]

    def _sender(self, verb: str) -> Callable[[list[tuple[Argument, ...]]], Any]:
        async def send(items: list[tuple[Argument, ...]]) -> Any:
            return await self._call(verb, *(part for item in items for part in item))

        return send

    async def _end(self, verb: str, lease: Lease, *arguments: Argument) -> str:
        reply: str = await self._endings[verb]((lease.job.id, lease.token, *arguments))
        if reply == "missing":
            raise JobNotFound(lease.job.id)
        if reply == "lost":
            raise LeaseLost(lease.job.id, verb)
        return reply

    async def _call(self, verb: str, *arguments: Argument) -> Any:
        return await self._scripts.call(verb, self._clock() if self._clock is not None else None, *arguments)


def checked_id(job_id: int) -> int:
    """A job's id, which is a whole number from 1. Raises InvalidJob."""
    if isinstance(job_id, bool) or not isinstance(job_id, int) or not 0 < job_id < 2**53:
        raise InvalidJob(f"a job's id is a whole number from 1, not {job_id!r:.60}")
    return job_id


def _refusal(job_id: int, verb: str, reply: str) -> Refused:
    return JobNotFound(job_id) if reply == "missing" else WrongState(job_id, verb, reply)


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _until(instant_ms: str, now_us: str) -> timedelta | None:
    if not instant_ms:
        return None
    # What somebody else wrote may be no instant at all, e.g. inf.
    wait_us = min(float(instant_ms) * 1000 - int(now_us), LONGEST_WAIT_MS * 1000)
    return timedelta(microseconds=max(wait_us, 0))
