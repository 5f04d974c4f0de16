"""A job, as a frozen value: what is asked for (NewJob), what stands in Redis (Job), what a worker holds (Lease)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from rmindr.queue.backoff import LONGEST_WAIT_MS, Backoff, Strategy
from rmindr.queue.errors import InvalidJob, UnreadableJob

PRIORITIES: Final = {"low": 10, "normal": 0, "medium": -5, "high": -10, "critical": -15}
MAX_TYPE_LENGTH: Final = 200
MAX_DATA_BYTES: Final = 512 * 1024
# As many runs as JavaScript can count.
UNLIMITED: Final = 2**53 - 1
# Scores are doubles and Kue's readers are JavaScript: beyond this, integers are no longer exact.
_LARGEST: Final = 2**53
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class State(StrEnum):
    """Kue's five states, in order of life."""

    DELAYED = "delayed"
    INACTIVE = "inactive"
    ACTIVE = "active"
    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job that is asked for. `data` and the rest are checked here, before anything is written.

    `delay` is how long from now, or the instant it is due; past means at once. `attempts` None means as many as it takes.
    `unique` names a key that only one living job may hold: creating a second answers the first. `keep_outcome` is how
    long its outcome can still be asked for once the job itself is removed. `schedule` is whose job it is, and of which
    instant, where it repeats. Raises InvalidJob, naming the field."""

    type: str
    data: Any = None
    delay: timedelta | datetime | None = None
    priority: int | float | str = "normal"
    attempts: int | None = 1
    backoff: Backoff | None = None
    ttl: timedelta | None = None
    remove_on_complete: bool = False
    remove_on_failure: bool = False
    unique: str | None = None
    keep_outcome: timedelta | None = None
    schedule: tuple[str, datetime] | None = None

    def to_args(self, words: str = "") -> list[str | bytes]:
        """The arguments that create.lua reads for each job; `words` is what a search finds it by, as JSON."""
        after_ms, due_ms = delay_args(self.delay)
        fields: list[tuple[str, str | bytes]] = [
            ("data", to_json({} if self.data is None else self.data, "data")),
            ("max_attempts", _count(UNLIMITED if self.attempts is None else self.attempts, "attempts")),
            *(self.backoff.to_wire() if self.backoff is not None else ()),
            ("ttl", _duration_ms(self.ttl, "ttl")),
            # Kue reads any text at all as yes.
            ("removeOnComplete", "true" if self.remove_on_complete else ""),
            ("removeOnFailure", "true" if self.remove_on_failure else ""),
            ("keep", _duration_ms(self.keep_outcome, "keep_outcome")),
            ("schedule", self.schedule[0] if self.schedule is not None else ""),
            ("instant", str(to_ms(self.schedule[1])) if self.schedule is not None else ""),
        ]
        given: list[str | bytes] = [part for name, value in fields if value for part in (name, value)]
        return [
            checked_type(self.type),
            priority_number(self.priority),
            after_ms,
            due_ms,
            _key(self.unique),
            words,
            str(len(given) // 2),
            *given,
        ]

    def as_created(self, job_id: int, now_ms: int) -> Job:
        """The job that create.lua made of this at that instant of the server's clock; its data is the very object given."""
        after_ms, due_ms = delay_args(self.delay)
        promote_at = int(due_ms) if due_ms else now_ms + int(after_ms or 0)
        delayed = promote_at > now_ms
        return Job(
            id=job_id,
            type=self.type,
            data={} if self.data is None else self.data,
            state=State.DELAYED if delayed else State.INACTIVE,
            priority=float(priority_number(self.priority)),
            created_at=from_ms(now_ms),
            promote_at=from_ms(max(promote_at, now_ms)),
            updated_at=from_ms(now_ms),
            max_attempts=UNLIMITED if self.attempts is None else self.attempts,
            delay=timedelta(milliseconds=promote_at - now_ms) if delayed else None,
            ttl=self.ttl,
            backoff=self.backoff,
            remove_on_complete=self.remove_on_complete,
            remove_on_failure=self.remove_on_failure,
            unique=self.unique,
            keep_outcome=self.keep_outcome,
            schedule=self.schedule[0] if self.schedule is not None else None,
            scheduled_for=self.schedule[1] if self.schedule is not None else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it stood in Redis when it was read. Instants are aware UTC; durations timedeltas; absent means None."""

    id: int
    type: str
    data: Any
    state: State
    priority: float
    created_at: datetime
    promote_at: datetime | None = None
    updated_at: datetime | None = None
    started_at: datetime | None = None
    failed_at: datetime | None = None
    attempts: int = 0
    max_attempts: int = 1
    delay: timedelta | None = None
    ttl: timedelta | None = None
    backoff: Backoff | None = None
    remove_on_complete: bool = False
    remove_on_failure: bool = False
    progress: int = 0
    progress_data: Any = None
    result: Any = None
    error: str | None = None
    duration: timedelta | None = None
    worker_id: str | None = None
    unique: str | None = None
    keep_outcome: timedelta | None = None
    cancelled_at: datetime | None = None
    schedule: str | None = None
    scheduled_for: datetime | None = None

    @property
    def attempts_remaining(self) -> int:
        """How many runs may still be started."""
        return max(0, self.max_attempts - self.attempts)

    def wait_ms_after_failure(self, strategies: Mapping[str, Strategy] | None = None) -> int:
        """How long to wait if the run in hand fails now: 0 without a backoff, else what it says."""
        if self.backoff is None:
            return 0
        current = to_ms(self.delay) if self.delay is not None else None
        return self.backoff.wait_ms(self.attempts + 1, current, strategies=strategies)

    @classmethod
    def from_hash(cls, job_id: int, fields: Mapping[str, str]) -> Job:
        """Read the hash `P:job:N`. Raises UnreadableJob where it is not one, naming what is wrong."""
        try:
            return cls(
                id=job_id,
                type=fields["type"],
                data=json.loads(fields["data"]),
                state=State(fields["state"]),
                priority=float(fields["priority"]),
                created_at=from_ms(fields["created_at"]),
                promote_at=_instant(fields, "promote_at"),
                updated_at=_instant(fields, "updated_at"),
                started_at=_instant(fields, "started_at"),
                failed_at=_instant(fields, "failed_at"),
                attempts=int(fields.get("attempts", 0)),
                max_attempts=int(fields.get("max_attempts", 1)),
                delay=_timespan(fields, "delay"),
                ttl=_timespan(fields, "ttl"),
                backoff=Backoff.from_wire(fields.get("backoff"), fields.get("strategy")),
                # Kue writes `true` or nothing, and reads any text at all as yes.
                remove_on_complete=bool(fields.get("removeOnComplete")),
                remove_on_failure=bool(fields.get("removeOnFailure")),
                progress=int(fields.get("progress", 0)),
                progress_data=_json(fields, "progress_data"),
                result=_json(fields, "result"),
                error=fields.get("error"),
                duration=_timespan(fields, "duration"),
                worker_id=fields.get("workerId"),
                unique=fields.get("unique"),
                keep_outcome=_timespan(fields, "keep"),
                cancelled_at=_instant(fields, "cancelled"),
                schedule=fields.get("schedule"),
                scheduled_for=_instant(fields, "instant"),
            )
        except KeyError as missing:
            raise UnreadableJob(job_id, f"it has no {missing.args[0]}") from missing
        except (ValueError, OverflowError, RecursionError) as error:
            raise UnreadableJob(job_id, str(error)[:200]) from error


@dataclass(frozen=True, slots=True)
class Lease:
    """A worker's right to one active job: only with it can the run be prolonged or ended."""

    job: Job
    token: str


def in_kues_hands(fields: Mapping[str, str | None]) -> bool:
    """Whether a Kue worker has this job, by its hash: it is active, and the lease on it is none of its present holder's."""
    lease, holder = fields.get("lease") or "", fields.get("workerId") or ""
    return fields.get("state") == State.ACTIVE and not (holder and lease.endswith(f"@{holder}"))


def to_json(value: Any, name: str) -> bytes:
    """Compact UTF-8 JSON, as Kue writes it. Raises InvalidJob where `value` is not JSON or too large."""
    try:
        encoded = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidJob(f"{name} must be JSON: {error}") from error
    if len(encoded) > MAX_DATA_BYTES:
        raise InvalidJob(f"{name} must be at most {MAX_DATA_BYTES:,} bytes of JSON, not {len(encoded):,}")
    return encoded


def checked_type(type: str) -> str:
    """The type of a job, which may hold spaces and colons as Kue's may. Raises InvalidJob."""
    if not isinstance(type, str) or not 0 < len(type) <= MAX_TYPE_LENGTH or not type.isprintable():
        raise InvalidJob(f"a type must be 1 to {MAX_TYPE_LENGTH} printable characters, not {type!r:.60}")
    return type


def priority_number(priority: int | float | str) -> str:
    """The score of a priority given by name or as any number; smaller runs first. Raises InvalidJob."""
    if isinstance(priority, str):
        if priority not in PRIORITIES:
            raise InvalidJob(f"priority must be a number or one of {', '.join(PRIORITIES)}, not {priority!r:.60}")
        return str(PRIORITIES[priority])
    if isinstance(priority, bool) or not isinstance(priority, int | float) or not abs(priority) < _LARGEST:
        raise InvalidJob(f"priority must be a number or one of {', '.join(PRIORITIES)}, not {priority!r:.60}")
    return str(int(priority)) if priority == int(priority) else repr(float(priority))


def delay_args(delay: timedelta | datetime | None) -> tuple[str, str]:
    """A delay as (milliseconds from now, milliseconds of the instant); the one not used is empty. Raises InvalidJob."""
    if isinstance(delay, datetime):
        if delay.tzinfo is None:
            raise InvalidJob(f"delay must be a duration or an instant with a zone, not the naive {delay}")
        return "", str(to_ms(delay))
    if isinstance(delay, timedelta) and delay < timedelta(milliseconds=1):
        return "0", ""
    return _duration_ms(delay, "delay"), ""


def terms_args(backoff: Backoff | None, ttl: timedelta | None, remove_on_complete: bool | None) -> list[str | int]:
    """How many fields a change of these terms is, and each: name, value, or nothing where it is to be gone; what is None
    stays as it is. Raises InvalidJob."""
    fields: dict[str, str] = {}
    if backoff is not None:
        fields |= {"backoff": "", "strategy": ""} | dict(backoff.to_wire())
    if ttl is not None:
        fields["ttl"] = _duration_ms(ttl, "ttl")
    if remove_on_complete is not None:
        fields["removeOnComplete"] = "true" if remove_on_complete else ""
    return [len(fields), *(part for field in fields.items() for part in field)]


def from_ms(text: str | int) -> datetime:
    """The instant of these milliseconds since the epoch. JavaScript may have written a fraction, which is cut off.

    Raises ValueError or OverflowError where it is no number or no date."""
    return _EPOCH + timedelta(milliseconds=int(float(text)))


def to_ms(value: datetime | timedelta) -> int:
    """Whole milliseconds; an instant's remainder rounds up, so that nothing is ever due early."""
    if isinstance(value, timedelta):
        return value // timedelta(milliseconds=1)
    return -((_EPOCH - value) // timedelta(milliseconds=1))


def _duration_ms(value: timedelta | None, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, timedelta) or not 1 <= to_ms(value) <= LONGEST_WAIT_MS:
        raise InvalidJob(f"{name} must be a duration of 1 ms to 1000 years, not {value!r:.60}")
    return str(to_ms(value))


def _count(value: int, name: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < _LARGEST:
        raise InvalidJob(f"{name} must be a whole number from 1, not {value!r:.60}")
    return str(value)


def _key(unique: str | None) -> str:
    if unique is not None and (not isinstance(unique, str) or not 0 < len(unique) <= MAX_TYPE_LENGTH):
        raise InvalidJob(f"unique must be 1 to {MAX_TYPE_LENGTH} characters, not {unique!r:.60}")
    return unique or ""


def _instant(fields: Mapping[str, str], name: str) -> datetime | None:
    return from_ms(fields[name]) if fields.get(name) else None


def _timespan(fields: Mapping[str, str], name: str) -> timedelta | None:
    return timedelta(milliseconds=float(fields[name])) if fields.get(name) else None


def _json(fields: Mapping[str, str], name: str) -> Any:
    return json.loads(fields[name]) if fields.get(name) else None
