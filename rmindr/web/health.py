"""Whether the service is well: `/livez` for routers, `/healthz` for whoever is on call, `/metrics` for Prometheus."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from sqlalchemy import and_, func, select, type_coerce
from starlette.responses import JSONResponse, Response

from rmindr.database import Database, Instant, now
from rmindr.errors import StorageUnavailable
from rmindr.facts import OUTAGE, Facts
from rmindr.ledger import row
from rmindr.models import WAITING, Status
from rmindr.queue import Queue, QueueUnavailable, State
from rmindr.web.problems import RETRY_AFTER_S

router = APIRouter(include_in_schema=False)

_QUEUE_PATIENCE_S: Final = 0.8
# A worker looks at what is due many times in this; what is later than that nobody is looking at.
_TOO_LATE: Final = timedelta(minutes=2)
_LATELY: Final = timedelta(hours=1)
_AT_MOST: Final = 5000
_QUANTILES: Final = (0.5, 0.99, 1)
_UNFINISHED: Final = (Status.SCHEDULED, Status.SENDING, Status.RETRYING)


@router.get("/livez")
async def livez(request: Request) -> Response:
    """Whether this web tier can take reminders: `up`, or `down` (503) without a database. What becomes of them is `/healthz`'s:
    a router that turned away for want of a worker would lose what could have been kept."""
    try:
        await Facts(request.app.state.database).get(OUTAGE)
    except StorageUnavailable:
        return _down(["The database does not answer."])
    return JSONResponse({"status": "up"})


@router.get("/healthz")
async def healthz(request: Request) -> Response:
    """`up`; `degraded` where the queue is away, for a while without harm; `failing` (503) where mails do not leave; `down`
    (503) without a database. `why` has a sentence for each."""
    database: Database = request.app.state.database
    try:
        paused = bool(await Facts(database).get(OUTAGE))
        late = await _oldest_overdue(database)
    except StorageUnavailable:
        return _down(["The database does not answer."])
    alive = await _workers(request)
    failing = [
        *(["Sending is paused: the mail server refuses, or cannot be reached."] if paused else []),
        *(["No worker runs."] if alive == 0 else []),
        *([f"A reminder is {late.total_seconds():.0f} s late."] if late > _TOO_LATE else []),
    ]
    degraded = ["The queue does not answer."] if alive is None else []
    said = {"status": "failing" if failing else "degraded" if degraded else "up"}
    why = failing + degraded
    headers = {"Retry-After": str(RETRY_AFTER_S)} if failing else None
    return JSONResponse(said | ({"why": why} if why else {}), 503 if failing else 200, headers)


def _down(why: Sequence[str]) -> Response:
    return JSONResponse({"status": "down", "why": why}, 503, {"Retry-After": str(RETRY_AFTER_S)})


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Gauges of what waits, is late, and runs. Beyond loopback only with the bearer token of RMINDR_METRICS_TOKEN."""
    _require_token(request)
    registry = CollectorRegistry()
    for name, about, value in await _measure(request.app.state.database):
        Gauge(name, about, registry=registry).set(value)
    jobs = Gauge("rmindr_queue_jobs", "Jobs in the queue, by state.", ["state"], registry=registry)
    counts = await _queue_counts(request)
    for state in State:
        jobs.labels(str(state)).set(counts[state] if counts is not None else float("nan"))
    lateness = await _lateness(request.app.state.database)
    late = Gauge(
        "rmindr_lateness_seconds", "How late mails were that were due in the last hour, by quantile.", ["quantile"],
        registry=registry,
    )  # fmt: skip
    for quantile in _QUANTILES:
        late.labels(f"{quantile:g}").set(lateness[int(quantile * (len(lateness) - 1))] if lateness else float("nan"))
    alive = await _workers(request)
    workers = Gauge("rmindr_workers", "Workers that are alive; NaN when Redis does not answer.", registry=registry)
    workers.set(alive if alive is not None else float("nan"))
    paused = Gauge(
        "rmindr_sending_paused", "Whether sending is paused (1) for the mail server's sake.", registry=registry
    )
    paused.set(bool(await Facts(request.app.state.database).get(OUTAGE)))
    reachable = Gauge("rmindr_queue_reachable", "Whether Redis answers (1) or not (0).", registry=registry)
    reachable.set(counts is not None)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


async def _measure(database: Database) -> list[tuple[str, str, float]]:
    """(name, sentence, value), each from the index on status and instant."""
    overdue = and_(row.status.in_(WAITING), row.next_at < now())
    clock = type_coerce(now(), Instant)
    async with database.statements() as connection:
        found: Any = (
            await connection.execute(
                select(
                    clock,
                    select(func.min(row.next_at)).where(row.status.in_(WAITING)).scalar_subquery(),
                    select(func.count()).where(overdue).scalar_subquery(),
                    *(select(func.count()).where(row.status == each).scalar_subquery() for each in _UNFINISHED),
                )
            )
        ).one()
    at, first, late, *unfinished = found
    until = (first - at).total_seconds() if first is not None else float("nan")
    oldest = max(-until, 0.0) if first is not None else 0.0
    return [
        ("rmindr_next_due_seconds", "Seconds until the next reminder is due; NaN when none waits.", max(until, 0.0)),
        ("rmindr_oldest_overdue_seconds", "How late the oldest waiting reminder is, seconds.", oldest),
        ("rmindr_overdue_reminders", "Reminders that are due and wait.", late),
        *(
            (f"rmindr_{status}_reminders", f"Reminders with status {status}.", count)
            for status, count in zip(_UNFINISHED, unfinished, strict=True)
        ),
    ]


async def _oldest_overdue(database: Database) -> timedelta:
    """How late the oldest reminder is that waits; nothing where none is. Raises StorageUnavailable."""
    clock = type_coerce(now(), Instant)
    first = select(func.min(row.next_at)).where(row.status.in_(WAITING)).scalar_subquery()
    async with database.statements() as connection:
        at, due = (await connection.execute(select(clock, first))).one()
    return max(timedelta(0), at - due) if due is not None else timedelta(0)


async def _lateness(database: Database) -> Sequence[float]:
    """How late each mail was that was due in the last hour and has been sent, seconds, sorted; the newest few thousand."""
    since = now() - round(_LATELY.total_seconds() * 1000)
    lately = and_(row.status == Status.SENT, row.next_at > since, row.accepted_at.is_not(None))
    statement = select(row.accepted_at, row.due_at).where(lately).order_by(row.next_at.desc()).limit(_AT_MOST)
    async with database.statements() as connection:
        found = (await connection.execute(statement)).all()
    return sorted((accepted - due).total_seconds() for accepted, due in found)


async def _workers(request: Request) -> int | None:
    """How many workers are alive; None where the queue does not answer."""
    try:
        async with asyncio.timeout(_QUEUE_PATIENCE_S):
            queue: Queue = request.app.state.queue
            return sum(worker.alive for worker in await queue.steering.workers())
    except (QueueUnavailable, TimeoutError):
        return None


async def _queue_counts(request: Request) -> dict[State, int] | None:
    try:
        async with asyncio.timeout(_QUEUE_PATIENCE_S):
            counts: dict[State, int] = await request.app.state.queue.jobs.counts()
            return counts
    except (QueueUnavailable, TimeoutError):
        return None


def _require_token(request: Request) -> None:
    if request.app.state.metrics_open:
        return
    token = request.app.state.metrics_token
    given = request.headers.get("authorization", "")
    if token is None or not hmac.compare_digest(given.encode(), f"Bearer {token.get_secret_value()}".encode()):
        raise HTTPException(404)
