"""The dashboard: the queue at a glance, lists of all its jobs, and one job. Reading changes nothing; the acts are next door."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from uuid import UUID

import structlog
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import Response, StreamingResponse

from rmindr.alarms import unique_key
from rmindr.errors import RmindrError
from rmindr.queue import Job, Queue, State
from rmindr.queue.errands import STARTS_FROM
from rmindr.queue.history import Period
from rmindr.queue.lines import title_of
from rmindr.queue.listing import Filter, Page, Place
from rmindr.queue.overview import Closeup, Overview
from rmindr.queue.upkeep import SILENCE
from rmindr.reminders import Eyes
from rmindr.web import charts, templating
from rmindr.web.access import require_operator, require_own_page
from rmindr.web.live import Live
from rmindr.web.queue_words import jobs_at, order_words, reasons, timeline, verbs_of

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/queue", include_in_schema=False, dependencies=[Depends(require_operator)])

# How late the oldest job may be before it is shown in red: a claim takes milliseconds, a busy minute seconds.
_LATE: Final = timedelta(seconds=10)
_MOMENTS: Final[Mapping[Period, int]] = {"minute": 60, "day": 90}
# A page with its styles and scripts stays below 50 KB.
_LINES: Final = 20
_LONGEST_QUERY: Final = 200


def _queue(request: Request) -> Queue:
    queue: Queue = request.app.state.queue
    return queue


TheQueue = Annotated[Queue, Depends(_queue)]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A list as its address says it: which jobs, from which place, and whether turned around."""

    filter: Filter
    after: Place | None = None
    before: Place | None = None
    reverse: bool = False

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> View:
        """Read an address. Raises HTTPException 404 where it names a state that there is not."""
        state = query.get("state", "")
        if state and state not in list(State):
            raise HTTPException(404, f"There is no state «{state[:40]}»; there are {', '.join(State)}.")
        words = " ".join(query.get("q", "").split())[:_LONGEST_QUERY]
        filter = Filter(state=State(state) if state else None, type=query.get("type") or None, words=words)
        return cls(
            filter=filter,
            after=Place.from_text(query.get("after", "")) or _at_instant(filter, query.get("from", "")),
            before=Place.from_text(query.get("before", "")),
            reverse=query.get("order") == "reverse",
        )

    def query(self, **changes: Any) -> dict[str, Any]:
        """What stands in its address, but for its place; with these changes."""
        return {
            "state": self.filter.state,
            "type": self.filter.type,
            "q": self.filter.words,
            "order": "reverse" if self.reverse else "",
            **changes,
        }

    @property
    def here(self) -> dict[str, Any]:
        """What stands in its address, its place included."""
        return self.query(after=self.after, before=self.before)


def _at_instant(filter: Filter, text: str) -> Place | None:
    """The place of an instant, in lists that are in the order of instants; a time without a zone is UTC."""
    if filter.words or filter.state not in (State.DELAYED, State.COMPLETE, State.FAILED):
        return None
    with suppress(ValueError, OverflowError):
        moment = datetime.fromisoformat(text)
        ms = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000
        return Place("rank", ms, 1) if filter.state is State.DELAYED else Place("end", ms, 10**15)
    return None


@router.get("")
async def overview(request: Request, queue: TheQueue, by: Period = "minute", types: str = "") -> Response:
    """Everything at a glance."""
    whole = await queue.overviews.whole(_MOMENTS[by], by, types_after=types)
    return overview_page(request, whole, by)


@router.get("/history")
async def history(request: Request, queue: TheQueue, by: Period = "minute") -> Response:
    """What the charts show, in words and numbers."""
    moments = await queue.history.last(_MOMENTS[by], by)
    return page(request, "queue_history.html", by=by, moments=charts.table(moments, by))


@router.get("/jobs")
async def jobs(request: Request, queue: TheQueue) -> Response:
    """A list of jobs, a page of it."""
    view = View.from_query(request.query_params)
    page = await queue.listing.page(
        view.filter,
        after=view.after,
        before=view.before,
        reverse=view.reverse,
        count=_LINES,
        uniques=await _unique_of(request, view.filter.words),
    )
    return list_page(request, view, page)


@router.get("/jobs/{id}")
async def job(id: str, request: Request, queue: TheQueue) -> Response:
    """One job, its data masked."""
    number = job_number(id)
    return job_page(request, number, await found(queue, number))


@router.get("/jobs/{id}/show")
async def not_shown(id: str) -> Response:
    """Where a reload leads that does not ask for the data once more."""
    return Response(status_code=303, headers={"Location": f"/queue/jobs/{job_number(id)}"})


@router.post("/jobs/{id}/show", dependencies=[Depends(require_own_page)])
async def show(id: str, request: Request, queue: TheQueue) -> Response:
    """One job with its data, which may hold what people wrote: whoever asks for it is written down."""
    number = job_number(id)
    closeup = await found(queue, number)
    note(request, "show", id=number)
    return job_page(request, number, closeup, shown=True)


@router.get("/type")
async def one_type(request: Request, queue: TheQueue, name: str = "") -> Response:
    """One type, and what steers it."""
    return await type_page(request, queue, name)


@router.get("/events")
async def events(request: Request) -> Response:
    """News for an open page; 503 where there are too many: it then asks now and then."""
    live: Live = request.app.state.live
    if live.is_full:
        raise HTTPException(503, "Too many pages are open.", {"Retry-After": "30"})
    # A proxy that waits for the whole of it would show nothing.
    headers = {"X-Accel-Buffering": "no"}
    return StreamingResponse(live.stream(), media_type="text/event-stream", headers=headers)


# Pages


def page(request: Request, template: str, /, *, code: int = 200, **context: Any) -> Response:
    """A page of the dashboard, with a word about what was just done where its address has one."""
    done = request.query_params.get("did", ""), request.query_params.get("job", "")
    return templating.page(request, template, code=code, operator=True, done=done, **context)


def overview_page(request: Request, whole: Overview, by: Period, *, code: int = 200, **context: Any) -> Response:
    """The overview; `context` may hold a form that was refused."""
    late = whole.now - whole.oldest_due_at if whole.oldest_due_at is not None else timedelta(0)
    return page(
        request,
        "queue.html",
        code=code,
        whole=whole,
        now=whole.now,
        by=by,
        silent=whole.seen_at is None or whole.now - whole.seen_at >= SILENCE,
        late=late if late > _LATE else None,
        throughput=charts.throughput(whole.history),
        lateness=charts.lateness(whole.history),
        ends=charts.from_to(whole.history, by),
        **{"problems": {}, "typed": {}} | context,
    )


def list_page(request: Request, view: View, shown: Page) -> Response:
    """A list."""
    verbs = [verb for verb, states in STARTS_FROM.items() if view.filter.state in states]
    return page(
        request,
        "queue_jobs.html",
        view=view,
        view_query=jobs_at("", **view.here).removeprefix("?"),
        filter=view.filter,
        page=shown,
        order_words=order_words(view.filter, reverse=view.reverse, by_end=shown.by_end),
        verbs=verbs,
        now=datetime.now(UTC),
    )


def job_page(request: Request, number: int, closeup: Closeup, *, code: int = 200, **context: Any) -> Response:
    """One job; `context` may say that its data is to be `shown`, or hold a form that was refused."""
    job = closeup.job
    return page(
        request,
        "queue_job.html",
        code=code,
        number=number,
        closeup=closeup,
        job=job,
        title=title_of(job.data) if job is not None else "",
        now=closeup.now,
        reasons=reasons(closeup),
        steps=timeline(job) if job is not None else [],
        verbs=verbs_of(job),
        reminder=_reminder_of(job),
        **{"shown": False, "problems": {}, "typed": {}} | context,
    )


async def type_page(request: Request, queue: Queue, name: str, *, code: int = 200, **context: Any) -> Response:
    """One type; `context` may hold a form that was refused. Raises HTTPException 404 where nobody has heard of it."""
    counts, (paused, types), limits = (
        await queue.jobs.counts(name), await queue.steering.paused(), await queue.steering.limits()
    )  # fmt: skip
    if not any(counts.values()) and name not in (*types, *limits, *await queue.jobs.types()):
        raise HTTPException(404, "There never was a job of this type.")
    found: dict[str, Any] = {
        "name": name,
        "counts": counts,
        "paused": paused,
        "type_paused": name in types,
        "limit": limits.get(name),
    }
    return page(request, "queue_type.html", code=code, **found, **{"problems": {}, "typed": {}} | context)


# One job


def job_number(text: str) -> int:
    """A job's number out of an address. Raises HTTPException 404 where it is none."""
    if not (text.isascii() and text.isdigit() and len(text) <= 15 and text[0] != "0"):
        raise HTTPException(404, "A job's number is a whole number from 1.")
    return int(text)


async def found(queue: Queue, number: int) -> Closeup:
    """The job. Raises HTTPException 404."""
    closeup = await queue.overviews.closeup(number)
    if closeup is None:
        raise HTTPException(404, f"There is no job {number}; it may have been removed when it had ended.")
    return closeup


def note(request: Request, act: str, **facts: Any) -> None:
    """Write down what an operator did; the line of the request, with the client's address, has the same id."""
    log.info("operator", act=act, **facts, request_id=request.scope.get("state", {}).get("request_id"))


def _reminder_of(job: Job | None) -> UUID | None:
    """The reminder whose alarm clock this job is."""
    with suppress(ValueError, AttributeError, TypeError, KeyError):
        return UUID(job.data["id"]) if job is not None and job.type == "email" else None
    return None


async def _unique_of(request: Request, words: str) -> list[str]:
    """The unique key under which a job stands whose reminder is asked for."""
    with suppress(ValueError, RmindrError):
        id = UUID(words)
        return [unique_key(id, (await request.app.state.reminders.find(id, Eyes(everything=True))).rev)]
    return []
