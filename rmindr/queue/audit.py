"""What must hold in a keyspace at every instant that nobody is half-way through something: Kue's wire, and our keys on it.

`audit` answers a sentence for each thing that does not.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from redis.asyncio import Redis

STATES: Final = ("delayed", "inactive", "active", "complete", "failed")
REQUIRED: Final = ("type", "data", "priority", "created_at", "promote_at", "updated_at", "max_attempts", "state")
INTEGERS: Final = (
    "created_at", "promote_at", "updated_at", "started_at", "failed_at", "duration", "delay", "ttl",
    "attempts", "max_attempts", "progress", "losses", "cancelled", "keep", "instant",
)  # fmt: skip
JSON: Final = ("data", "result", "progress_data")
OTHERS: Final = (
    "type", "priority", "state", "error", "workerId", "removeOnComplete", "backoff",
    "lease", "unique", "removeOnFailure", "strategy", "words", "schedule",
)  # fmt: skip
_OF_JOBS: Final = rf"jobs|leases|ended:(complete|failed)|jobs:({'|'.join(STATES)})"
# Kue's floor of the expiry scan: above it the score of an active job is the end of its ttl.
TTL_FLOOR: Final = 100_000
# Kue reads its clock once for the field and once more for the score.
TICK_MS: Final = 100

# Between the two looks of a live audit: longer than any transition takes.
_MOMENT_S: Final = 2.0

_READ: Final = """
    local readers = {
      string = function(key) return { redis.call('GET', key) } end,
      hash = function(key) return redis.call('HGETALL', key) end,
      list = function(key) return redis.call('LRANGE', key, 0, -1) end,
      set = function(key) return redis.call('SMEMBERS', key) end,
      zset = function(key) return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end,
    }
    local found = {}
    for _, key in ipairs(KEYS_TO_READ) do
      local kind = redis.call('TYPE', key).ok
      found[#found + 1] = { key, kind, readers[kind] and readers[kind](key) or {} }
    end
    return found
"""
_SNAPSHOT: Final = _READ.replace("KEYS_TO_READ", "redis.call('KEYS', ARGV[1])")
_SOME: Final = _READ.replace("KEYS_TO_READ", "ARGV")


@dataclass(kw_only=True)
class Keyspace:
    """All of one prefix at one instant; names without the prefix, e.g. zsets["jobs:email:inactive"]."""

    strings: dict[str, str] = field(default_factory=dict)
    # The hashes of jobs by id, whole or not; all others by name.
    jobs: dict[str, dict[str, str]] = field(default_factory=dict)
    hashes: dict[str, dict[str, str]] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    sets: dict[str, set[str]] = field(default_factory=dict)
    zsets: dict[str, dict[str, float]] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)

    @property
    def types(self) -> set[str]:
        """Every type that is listed."""
        return self.sets.get("job:types", set())

    @property
    def of_jobs(self) -> dict[str, dict[str, float]]:
        """The zsets whose members are jobs."""
        of_types = tuple(f"jobs:{type}:{state}" for type in self.types for state in STATES)
        return {name: zset for name, zset in self.zsets.items() if re.fullmatch(_OF_JOBS, name) or name in of_types}


async def audit(redis: Redis, prefix: str, *, live: bool = False) -> list[str]:
    """What is wrong under this prefix, a sentence each; nothing when all is well. The client must decode its answers.

    Reads everything in one step, which holds Redis up for as long: our own transitions, which are atomic, may go on meanwhile,
    Kue's, which are not, may not. `live` reads in many small steps instead, twice, and tells what is wrong both times."""
    if not live:
        return _violations(await read(redis, prefix))
    first = set(_violations(await read(redis, prefix, live=True)))
    await asyncio.sleep(_MOMENT_S)
    return [violation for violation in _violations(await read(redis, prefix, live=True)) if violation in first]


def _violations(keyspace: Keyspace) -> list[str]:
    return [violation for check in CHECKS for violation in check(keyspace)]


async def read(redis: Redis, prefix: str, *, live: bool = False) -> Keyspace:
    """Everything under this prefix, read in one step, or `live`, a few keys at a time."""
    pattern = re.sub(r"([\\*?\[\]])", r"\\\1", prefix) + ":*"
    if not live:
        return _keyspace(prefix, await redis.eval(_SNAPSHOT, 0, pattern))
    answer: list[Any] = []
    seen: set[str] = set()
    cursor = 0
    while True:
        cursor, keys = await redis.scan(cursor, match=pattern, count=500)
        fresh = [str(key) for key in keys if key not in seen]
        seen.update(fresh)
        if fresh:
            answer += await redis.eval(_SOME, 0, *fresh)
        if cursor == 0:
            return _keyspace(prefix, answer)


def _keyspace(prefix: str, answer: Any) -> Keyspace:
    keyspace = Keyspace()
    for key, kind, content in answer:
        name = key[len(prefix) + 1 :]
        if kind == "string":
            keyspace.strings[name] = content[0]
        elif kind == "hash":
            job = re.fullmatch(r"job:(\d+)", name)
            fields = dict(zip(content[::2], content[1::2], strict=True))
            (keyspace.jobs if job else keyspace.hashes)[job[1] if job else name] = fields
        elif kind == "list":
            keyspace.lists[name] = content
        elif kind == "set":
            keyspace.sets[name] = set(content)
        elif kind == "zset":
            keyspace.zsets[name] = {
                member: float(score) for member, score in zip(content[::2], content[1::2], strict=True)
            }
        else:
            keyspace.others[name] = kind
    return keyspace


def names(keyspace: Keyspace) -> Iterator[str]:
    """Only keys that the layout knows, each of its type; those of a type of job only for types that exist."""
    known = {
        "strings": r"ids|stats:work-time|outcome:\d+|epoch|witness:.+",
        "hashes": r"settings|unique|limits|retention|history:(minute|day):\d+|worker:[0-9a-f]+|errand:[0-9a-f]+|.+:schedule",
        "lists": r"wake|bell:[0-9a-f]+|job:\d+:log|.+:(wake|starts)",
        "sets": r"job:types|paused|.+:word",
        "zsets": rf"{_OF_JOBS}|schedules|words|workers",
        "others": r"(?!)",
    }
    of_types = {f"{type}:jobs" for type in keyspace.types} | {
        f"jobs:{type}:{state}" for type in keyspace.types for state in STATES
    }
    for kind, pattern in known.items():
        for name in getattr(keyspace, kind):
            if not re.fullmatch(pattern, name) and not (kind in ("lists", "zsets") and name in of_types):
                yield f"{name}: no such key in the layout, among {kind}"


def members(keyspace: Keyspace) -> Iterator[str]:
    """Every member of a zset is the zid of a job that has a hash, and every hash is listed in `jobs`."""
    for name, zset in keyspace.of_jobs.items():
        for member in zset:
            if (id := _id_of(member)) is None:
                yield f"{name}: {member!r} is not a zid"
            elif id not in keyspace.jobs:
                yield f"{name}: {member} has no job"
    for id in keyspace.jobs:
        if _zid(id) not in keyspace.zsets.get("jobs", {}):
            yield f"job {id}: not in jobs"


def states(keyspace: Keyspace) -> Iterator[str]:
    """A job stands in the two zsets of its state, and in no other state's."""
    for id, job in keyspace.jobs.items():
        state, type = job.get("state"), job.get("type")
        if state not in STATES:
            yield f"job {id}: its state is {state!r}"
        for name, zset in keyspace.of_jobs.items():
            expected = name in ("jobs", "leases", f"jobs:{state}", f"jobs:{type}:{state}", f"ended:{state}")
            if _zid(id) in zset and not expected:
                yield f"job {id}: is {state} but stands in {name}"
        for name in (f"jobs:{state}", f"jobs:{type}:{state}"):
            if state in STATES and _zid(id) not in keyspace.zsets.get(name, {}):
                yield f"job {id}: is {state} but does not stand in {name}"


def scores(keyspace: Keyspace) -> Iterator[str]:
    """Scores are priorities, but for delayed jobs (the instant they are due) and active ones (the end of the ttl)."""
    for id, job in keyspace.jobs.items():
        priority, state, type = _number(job.get("priority")), job.get("state"), job.get("type")
        if priority is None:
            yield f"job {id}: its priority is {job.get('priority')!r}"
            continue
        expected: dict[str, float | None] = {
            "jobs": priority,
            f"jobs:{type}:{state}": priority,
            f"jobs:{state}": priority,
        }
        if state == "delayed":
            expected["jobs:delayed"] = _number(job.get("promote_at"))
        elif state == "active":
            expected["jobs:active"] = -abs(priority)
        for name, score in expected.items():
            found = keyspace.zsets.get(name, {}).get(_zid(id))
            if found is not None and name == "jobs:active" and _number(job.get("ttl")):
                yield from _score_by_ttl(id, job, found)
            elif found is not None and found != score:
                yield f"job {id}: its score in {name} is {found:.17g}, not {score}"


def _score_by_ttl(id: str, job: dict[str, str], score: float) -> Iterator[str]:
    ttl, earliest, latest = (_number(job.get(name)) or 0 for name in ("ttl", "started_at", "updated_at"))
    if not max(TTL_FLOOR, earliest + ttl) <= score <= latest + ttl + TICK_MS:
        yield f"job {id}: its score in jobs:active is {score:.17g}, which is not when its ttl of {ttl:.0f} ms ends"


def fields(keyspace: Keyspace) -> Iterator[str]:
    """A job has the fields that Kue's readers need and none that nobody knows; numbers are written as they read them."""
    for id, job in keyspace.jobs.items():
        for name in REQUIRED:
            if name not in job:
                yield f"job {id}: has no {name}"
        for name, text in job.items():
            if name not in (*REQUIRED, *INTEGERS, *JSON, *OTHERS):
                yield f"job {id}: nobody knows its field {name}"
            elif name in INTEGERS and not re.fullmatch(r"-?(0|[1-9]\d*)", text):
                yield f"job {id}: its {name} is {text!r}, not an integer"
            elif name in JSON and not _is_json(text):
                yield f"job {id}: its {name} is not JSON: {text!r:.60}"
        yield from _odd_fields(id, job)


def _odd_fields(id: str, job: dict[str, str]) -> Iterator[str]:
    if job.get("removeOnComplete") not in (None, "true"):
        yield f"job {id}: its removeOnComplete is {job['removeOnComplete']!r}, which Kue reads as true"
    if "workerId" in job and not re.fullmatch(r"kue:.+:\d+:.+:\d+", job["workerId"]):
        yield f"job {id}: its workerId is {job['workerId']!r}"
    if (_number(job.get("attempts")) or 0) > (_number(job.get("max_attempts")) or 0):
        yield f"job {id}: ran {job.get('attempts')} times of {job.get('max_attempts')}"


def tokens(keyspace: Keyspace) -> Iterator[str]:
    """There is a token for every waiting job: with fewer, a Kue worker sleeps while there is work."""
    for type in keyspace.types:
        waiting = len(keyspace.zsets.get(f"jobs:{type}:inactive", {}))
        there = keyspace.lists.get(f"{type}:jobs", [])
        if len(there) < waiting:
            yield f"type {type}: {len(there)} tokens for {waiting} waiting jobs"
        if set(there) - {"1"}:
            yield f"type {type}: its tokens are {sorted(set(there))}, not 1"
    if len(keyspace.lists.get("wake", [])) > 1:
        yield f"wake: {len(keyspace.lists['wake'])} tokens where one is enough"


def singles(keyspace: Keyspace) -> Iterator[str]:
    """The types are complete, ids are ahead of all jobs, the work time is a number, logs belong to jobs."""
    for id, job in keyspace.jobs.items():
        if "type" in job and job["type"] not in keyspace.types:
            yield f"job {id}: its type {job['type']} is not in job:types"
    last = _number(keyspace.strings.get("ids"))
    if keyspace.jobs and (last is None or last < max(map(int, keyspace.jobs))):
        yield f"ids: {keyspace.strings.get('ids')} is behind job {max(map(int, keyspace.jobs))}"
    if not re.fullmatch(r"\d+", keyspace.strings.get("stats:work-time", "0")):
        yield f"stats:work-time: {keyspace.strings['stats:work-time']!r} is not an integer"
    for name in keyspace.lists:
        if (log := re.fullmatch(r"job:(\d+):log", name)) and log[1] not in keyspace.jobs:
            yield f"{name}: the log of no job"


def leases(keyspace: Keyspace) -> Iterator[str]:
    """A lease is written in the job and listed by its end, for active jobs only."""
    listed = keyspace.zsets.get("leases", {})
    for member, ends in listed.items():
        if ends != int(ends) or ends < TTL_FLOOR:
            yield f"leases: {member} ends at {ends}, which is no instant"
    for id, job in keyspace.jobs.items():
        written = bool(job.get("lease"))
        if written and job.get("state") != "active":
            yield f"job {id}: is {job.get('state')} but leased"
        if written != (_zid(id) in listed):
            yield f"job {id}: its lease is {'written but not listed' if written else 'listed but not written'}"


def uniques(keyspace: Keyspace) -> Iterator[str]:
    """A unique key is held by a living job that says so itself."""
    for key, id in keyspace.hashes.get("unique", {}).items():
        job = keyspace.jobs.get(id)
        if job is None:
            yield f"unique {key}: held by job {id}, which does not exist"
        elif job.get("state") in ("complete", "failed"):
            yield f"unique {key}: held by job {id}, which is {job['state']}"
        elif job.get("unique") != key:
            yield f"unique {key}: held by job {id}, whose key is {job.get('unique')!r}"


def words(keyspace: Keyspace) -> Iterator[str]:
    """A word names the jobs that say they have it, and every word that somebody has is in the lexicon."""
    for name, ids in keyspace.sets.items():
        if (found := re.fullmatch(r"(.+):word", name)) is None:
            continue
        word = found[1]
        if word not in keyspace.zsets.get("words", {}):
            yield f"{name}: not among the words"
        for id in sorted(ids):
            if word not in json.loads(keyspace.jobs.get(id, {}).get("words", "[]")):
                yield f"{name}: job {id} does not have it"


CHECKS: Final[tuple[Callable[[Keyspace], Iterator[str]], ...]] = (
    names, members, states, scores, fields, tokens, singles, leases, uniques, words,
)  # fmt: skip


def _zid(id: str) -> str:
    return f"{len(id):02d}|{id}"


def _id_of(member: str) -> str | None:
    """The id behind a member; None where it is not exactly what `zid` makes of a positive integer."""
    _, _, id = member.partition("|")
    return id if re.fullmatch(r"[1-9]\d*", id) and _zid(id) == member else None


def _number(text: str | None) -> float | None:
    """The number that JavaScript, too, would read here."""
    return float(text) if text is not None and re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?", text) else None


def _is_json(text: str) -> bool:
    try:
        json.loads(text, parse_constant=_refuse)
    except ValueError:
        return False
    return True


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
