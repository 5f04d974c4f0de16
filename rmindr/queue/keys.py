"""The key schema, in words and in names.

`P` is the prefix (`q` unless told otherwise; `{q}` keeps a queue in one slot of a cluster, as Kue does with ioredis).

Kue's keys, as Kue 0.11 has them:

    P:ids              string   the last id given out; ids are integers from 1, never given twice
    P:job:types        set      every type ever created
    P:job:N            hash     the job
    P:job:N:log        list     its log lines, oldest first
    P:jobs             zset     every job, by priority
    P:jobs:S           zset     the jobs in state S: delayed by due instant; active by the end of their ttl, or -|priority|
                                without one; the others by priority
    P:jobs:T:S         zset     the jobs of type T in state S, by priority
    P:T:jobs           list     wake-up tokens: «something of type T may be inactive»
    P:events           channel  what happens, as {"id":7,"event":"start","args":["start","email",null]}
    P:stats:work-time  string   the sum of all completed runs, ms
    P:settings         hash     settings that somebody may have written for Kue; only read
    promotion:lock, activeJobsTTL:lock   a Kue's timer is at work, on whatever prefix; we never set them, but wait

Keys of our own, which Kue ignores:

    P:leases           zset     active jobs held by a worker of ours, by the instant their lease ends, ms
    P:ended:S          zset     jobs that are complete, or failed, by the instant they ended, ms
    P:unique           hash     unique key → id of the living job that holds it
    P:outcome:N        string   how a job ended that is removed already and that somebody may still ask for; expires
    P:wake             list     at most one token: «an earlier delayed job has arrived, look at the clock again»
    P:T:wake           list     «type T may be taken again», for workers that a pause or a limit has sent to sleep
    P:bell:W           list     what worker W alone must know: ids of runs that were cancelled, or nothing but «wake up»
    P:paused           set      the types that are not taken; the empty name stands for all
    P:limits           hash     type → «rate period-ms concurrency», each may be empty
    P:T:starts         list     when the last runs of a type with a rate began, ms, newest first
    P:retention        hash     state → «count age-ms» of ended jobs that are kept, each may be empty
    P:schedules        zset     names of schedules, by their next instant, ms
    P:NAME:schedule    hash     what a schedule makes, and when
    P:workers          zset     worker → when it last said that it is alive, ms
    P:worker:W         hash     what that worker is: host, process, types, since when; expires
    P:errand:ID        hash     one verb for many jobs, and how far it is; expires
    P:words            zset     the words that jobs can be found by, in order of the alphabet
    P:M:word           set      the ids of the jobs in which word M stands
    P:history:minute:N P:history:day:N   hash   what happened in minute or day N since the epoch, counted; expires

No key of ours ends in `:jobs`, as only tokens do, nor begins with `P:job:` or `P:jobs:`, whatever a type is called.

Members of the zsets of jobs are zids: two digits with the length of the id, `|`, the id (42 → `02|42`), so that equal scores
sort by id, that is in order of creation. In the job's hash `lease`, `losses`, `unique`, `cancelled`, `removeOnFailure`, `keep`,
`strategy`, `words`, `schedule` and `instant` are ours.
"""

from __future__ import annotations

import re

from rmindr.queue.errors import InvalidJob


class Keys:
    """The names of one queue's keys under one prefix."""

    def __init__(self, prefix: str = "q", *, cluster: bool = False) -> None:
        if not prefix or any(character.isspace() for character in prefix):
            raise InvalidJob(f"the queue's prefix must be a word without spaces, not {prefix!r}")
        if cluster and not re.search(r"^[^{]*\{[^}]+\}", prefix):
            # As Kue does with ioredis: what stands in the first braces decides the slot.
            if "{" in prefix:
                raise InvalidJob(f"on a cluster the first braces of the prefix must hold something, unlike {prefix!r}")
            prefix = f"{{{prefix}}}"
        self.prefix = prefix
        self.ids = f"{prefix}:ids"
        self.types = f"{prefix}:job:types"
        self.jobs = f"{prefix}:jobs"
        self.work_time = f"{prefix}:stats:work-time"
        self.events = f"{prefix}:events"
        self.leases = f"{prefix}:leases"
        self.unique = f"{prefix}:unique"
        self.wake = f"{prefix}:wake"
        self.paused = f"{prefix}:paused"
        self.limits = f"{prefix}:limits"
        self.retention = f"{prefix}:retention"
        self.schedules = f"{prefix}:schedules"
        self.words = f"{prefix}:words"
        self.workers = f"{prefix}:workers"
        # Every script receives the same KEYS in this order, which prelude.lua repeats.
        self.for_scripts = (
            self.ids,
            self.types,
            self.jobs,
            *(self.in_state(state) for state in ("delayed", "inactive", "active", "complete", "failed")),
            *(self.ended(state) for state in ("complete", "failed")),
            self.work_time,
            self.events,
            self.leases,
            self.unique,
            self.wake,
            self.paused,
            self.limits,
            self.retention,
            self.schedules,
            self.words,
            # Kue's own names have no prefix; on a cluster they may be out of a script's reach, and are never set.
            *(f"{prefix}:{lock}" if cluster else lock for lock in ("promotion:lock", "activeJobsTTL:lock")),
        )

    def job(self, job_id: int) -> str:
        """The hash of one job."""
        return f"{self.prefix}:job:{job_id}"

    def log(self, job_id: int) -> str:
        """The log lines of one job."""
        return f"{self.prefix}:job:{job_id}:log"

    def in_state(self, state: str) -> str:
        """All jobs in this state."""
        return f"{self.prefix}:jobs:{state}"

    def of_type(self, type: str, state: str) -> str:
        """The jobs of one type in this state."""
        return f"{self.prefix}:jobs:{type}:{state}"

    def ended(self, state: str) -> str:
        """The jobs that have come to an end in this state, by when."""
        return f"{self.prefix}:ended:{state}"

    def wake_of(self, type: str) -> str:
        """Where workers wait that may not take this type at present."""
        return f"{self.prefix}:{type}:wake"

    def bell(self, worker: str) -> str:
        """What one worker alone must know."""
        return f"{self.prefix}:bell:{worker}"

    def outcome(self, job_id: int) -> str:
        """How a job ended that is removed already."""
        return f"{self.prefix}:outcome:{job_id}"

    def word(self, word: str) -> str:
        """The jobs in which this word stands."""
        return f"{self.prefix}:{word}:word"

    def schedule(self, name: str) -> str:
        """What one schedule makes, and when."""
        return f"{self.prefix}:{name}:schedule"

    def worker(self, worker: str) -> str:
        """What one worker says of itself."""
        return f"{self.prefix}:worker:{worker}"

    def errand(self, id: str) -> str:
        """One verb for many jobs, and how far it is."""
        return f"{self.prefix}:errand:{id}"

    def history(self, period: str, number: int) -> str:
        """What happened in this minute or day since the epoch."""
        return f"{self.prefix}:history:{period}:{number}"

    def tokens(self, type: str) -> str:
        """The wake-up tokens of one type."""
        return f"{self.prefix}:{type}:jobs"


def zid(job_id: int) -> str:
    """The member that stands for a job in every zset, e.g. 42 → `02|42`."""
    text = str(job_id)
    return f"{len(text):02d}|{text}"


def id_of(member: str) -> int | None:
    """The id behind a zid; None where the member is not one, e.g. written by hand."""
    _, bar, text = member.partition("|")
    text = text if bar else member
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 16 and text[0] != "0" else None
