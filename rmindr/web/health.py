"""Whether the service is well: `/healthz` for routers and people, `/metrics` for Prometheus."""

from __future__ import annotations

import asyncio
import hmac
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
from rmindr.queue import QueueUnavailable, State
from rmindr.web.problems import RETRY_AFTER_S

router = APIRouter(include_in_schema=False)

_QUEUE_PATIENCE_S: Final = 0.8
_UNFINISHED: Final = (Status.SCHEDULED, Status.SENDING, Status.RETRYING)


@router.get("/healthz")
async def healthz(request: Request) -> Response:
    """`up`; `degraded` where the queue is away or sending is paused (reminders are taken all the same); `down` without a
    database."""
    try:
        paused = bool(await Facts(request.app.state.database).get(OUTAGE))
    except StorageUnavailable:
        return JSONResponse({"status": "down"}, 503, {"Retry-After": str(RETRY_AFTER_S)})
    counts = await _queue_counts(request)
    return JSONResponse({"status": "degraded" if paused or counts is None else "up"})


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
