"""How the queue's pages say things: instants, spans, numbers, states, priorities; and addresses of its lists."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from jinja2 import Environment
from markupsafe import Markup

from rmindr.queue import PRIORITIES, Backoff, Job, State
from rmindr.queue.errands import STARTS_FROM
from rmindr.queue.listing import Filter
from rmindr.queue.overview import Closeup

STATE_WORDS: Final[Mapping[State, str]] = {
    State.DELAYED: "waits for its time",
    State.INACTIVE: "waits for a worker",
    State.ACTIVE: "a worker has it",
    State.COMPLETE: "has succeeded",
    State.FAILED: "has failed for good",
}
# What each verb is called on a button, and what it does to one job.
VERBS: Final[Mapping[str, str]] = {
    "retry": "Run again",
    "run": "Run now",
    "reschedule": "Reschedule",
    "priority": "Set priority",
    "cancel": "Cancel",
    "remove": "Remove",
}
DONE: Final[Mapping[str, str]] = {
    "retry": "It runs again as soon as a worker takes it.",
    "run": "It runs as soon as a worker takes it.",
    "reschedule": "It has a new time.",
    "priority": "It has a new priority.",
    "cancel": "It is called off, and stands among the failed ones. To undo that, run it again.",
    "told": "Its worker is told to stop, and it will fail as «Cancelled». To undo that, run it again then.",
    "remove": "It is removed; nothing of it is left.",
    "take-back": "It is taken back. The lost run counts as an attempt.",
    "pause": "No worker takes a job any more. What runs goes on.",
    "resume": "Workers take jobs again.",
    "limit": "The limits are set. They hold for every job that begins from now on.",
    "keep": "What is kept is set. What is beyond it is being removed.",
}
_ICONS: Final[Mapping[State, str]] = {
    State.DELAYED: "scheduled",
    State.INACTIVE: "waiting",
    State.ACTIVE: "running",
    State.COMPLETE: "sent",
    State.FAILED: "failed",
}
_UNITS: Final = (("day", 86_400), ("h", 3600), ("min", 60), ("s", 1))
_BY_NUMBER: Final = {number: name for name, number in PRIORITIES.items()}


def teach(environment: Environment) -> None:
    """Let templates say things so."""
    environment.filters |= {
        "span": span,
        "since": since,
        "stamp": stamp,
        "size": size,
        "priority": priority,
        "pretty": pretty,
        "first_line": first_line,
        "count": lambda number: f"{number:,}",
        "shape": shape,
        "backoff_words": backoff_words,
    }
    environment.globals |= {
        "State": State,
        "state_words": STATE_WORDS,
        "state_icon": _ICONS,
        "priorities": PRIORITIES,
        "jobs_at": jobs_at,
        "standing": standing,
        "verb_words": VERBS,
        "done_words": DONE,
    }


def span(length: timedelta | None) -> str:
    """A duration in its two largest units: 12 ms, 3.2 s, 4 min 10 s, 2 days 3 h."""
    if length is None:
        return "—"
    seconds = abs(length.total_seconds())
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    parts, left = [], round(seconds)
    for unit, size in _UNITS:
        many, left = divmod(left, size)
        if many:
            plural = "s" if unit == "day" and many > 1 else ""
            parts.append(f"{many:,} {unit}{plural}")
        elif parts:
            break
    return " ".join(parts[:2])


def since(moment: datetime | None, now: datetime) -> Markup:
    """An instant as seen from now: «12 s ago», «in 3 min»; the instant itself in its title."""
    if moment is None:
        return Markup("—")
    away = moment - now
    text = f"in {span(away)}" if away > timedelta(0) else f"{span(away)} ago"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        moment.isoformat(timespec="milliseconds"), _exact(moment), text
    )


def stamp(moment: datetime) -> Markup:
    """An instant to the millisecond."""
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(timespec="milliseconds"), _exact(moment))


def size(many: int) -> str:
    """Bytes as people say them."""
    return f"{many / 2**20:,.0f} MiB" if many else "—"


def priority(score: float) -> str:
    """A priority by its name, or as the number it is."""
    return _BY_NUMBER.get(int(score), f"{score:g}") if score == int(score) else f"{score:g}"


def pretty(value: Any) -> str:
    """JSON as people read it."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def shape(value: Any) -> str:
    """What a value is, without a word of it: text of 12 characters, a list of 3, a number."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "yes or no"
        case int() | float():
            return "a number"
        case str():
            return f"text of {len(value):,} characters"
        case list():
            return f"a list of {len(value):,}"
        case _:
            return f"an object of {len(value):,}"


def first_line(text: str | None) -> str:
    """The beginning of an error."""
    return (text or "").strip().partition("\n")[0][:200]


def standing(job: Job) -> str:
    """The state, but that a job which was called off is not said to have failed by itself."""
    return "cancelled" if job.state is State.FAILED and job.error == "Cancelled" else str(job.state)


def verbs_of(job: Job | None) -> list[str]:
    """What can be done with a job; one that cannot be read can only be removed."""
    return [verb for verb, states in STARTS_FROM.items() if job is not None and job.state in states] or ["remove"]


def reasons(closeup: Closeup) -> list[str]:
    """Why it does not run at this moment, as sentences; none where it runs, or has ended."""
    job = closeup.job
    if job is None or job.state not in (State.DELAYED, State.INACTIVE):
        return []
    why = []
    if job.state is State.DELAYED:
        run = f"attempt {job.attempts + 1} of {job.max_attempts:,}" if job.attempts else "its first run"
        why.append(f"It waits for the instant of {run}.")
    if closeup.paused:
        why.append("All types are paused.")
    if closeup.type_paused:
        why.append("Its type is paused.")
    if not closeup.working:
        why.append("No worker is alive that works its type.")
    limit = closeup.limit
    if limit is not None and limit.concurrency is not None and closeup.active_of_type >= limit.concurrency:
        why.append(f"{closeup.active_of_type} of its type run, and no more may at once.")
    if limit is not None and limit.rate is not None:
        why.append(f"Of its type, {limit.rate:,} may begin within {span(limit.per)}.")
    if closeup.ahead:
        why.append(f"{closeup.ahead:,} of its type come before it.")
    return why or ["A worker takes it in a moment."]


def timeline(job: Job) -> list[tuple[datetime, str, str]]:
    """What is known to have happened, or is to come, in order: the instant, what, and more about it."""
    steps = [(job.created_at, "Created", f"by the schedule {job.schedule}" if job.schedule else "")]
    if job.promote_at is not None and job.promote_at > job.created_at:
        again = job.attempts > 0 and job.failed_at is not None and job.promote_at > job.failed_at
        steps.append((job.promote_at, f"Due for attempt {job.attempts + 1}" if again else "Due", ""))
    if job.started_at is not None:
        run = job.attempts + 1 if job.state is State.ACTIVE else job.attempts
        steps.append((job.started_at, f"Attempt {run} began" if run else "A run began", job.worker_id or ""))
    if job.failed_at is not None:
        for_good = job.state is State.FAILED
        steps.append((job.failed_at, "Failed for good" if for_good else "An attempt failed", first_line(job.error)))
    if job.cancelled_at is not None:
        steps.append((job.cancelled_at, "Called off", "its worker is told"))
    if job.state is State.COMPLETE and job.started_at is not None:
        steps.append((job.started_at + (job.duration or timedelta(0)), "Complete", f"after {span(job.duration)}"))
    return sorted(steps, key=lambda step: step[0])


def order_words(filter: Filter, *, reverse: bool, by_end: bool) -> str:
    """What a list is in the order of."""
    if filter.words or filter.state is None:
        newest = "newest first" if filter.words else "newest first within each priority"
        return newest if not reverse else newest.replace("newest", "oldest")
    if filter.state in (State.COMPLETE, State.FAILED):
        if not by_end:
            return "by priority and number, since a Kue has ended some and does not say when"
        return "first ended first" if reverse else "latest end first"
    first = "soonest due first" if filter.state is State.DELAYED and filter.type is None else "next to run first"
    return first if not reverse else {"s": "latest due first", "n": "last to run first"}[first[0]]


def backoff_words(backoff: Backoff) -> str:
    """How long it is waited after a failure."""
    delay = timedelta(milliseconds=backoff.delay_ms) if backoff.delay_ms is not None else None
    match backoff.kind:
        case "exponential":
            longest = backoff.cap_ms if backoff.cap_ms is not None else backoff.max_delay_ms
            most = f", {span(timedelta(milliseconds=longest))} at most" if longest is not None else ""
            first = span(delay / 2) if delay is not None else "half its own delay"
            return f"waits {first}, then about twice as long each time{most}"
        case "named":
            return f"waits as the strategy «{backoff.name}» says"
        case _:
            return f"waits {span(delay) if delay is not None else 'as long as before'}"


def jobs_at(path: str = "/queue/jobs", **query: Any) -> str:
    """The address of a list; what is empty is left out."""
    given = {name.rstrip("_"): str(value) for name, value in query.items() if value not in (None, "", False)}
    return f"{path}?{urlencode(given)}" if given else path


def _exact(moment: datetime) -> str:
    return f"{moment:%-d %b %Y %H:%M:%S}.{moment.microsecond // 1000:03d} UTC"
