"""What an operator does: with one job, with all of a list, with a type, with the whole queue. Plain forms, no script needed.

Whatever is refused comes back as the page it was sent from, with a sentence. What is done with many is asked for twice, and
begins some seconds later, so that it can be called off.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from rmindr.queue import InvalidJob, JobNotFound, Kept, Limit, Queue, Refused, State
from rmindr.queue.errands import RESPITE, STARTS_FROM, Act, Verb
from rmindr.web.access import require_operator, require_own_page
from rmindr.web.bodies import form_fields
from rmindr.web.queue_ui import (
    TheQueue,
    View,
    found,
    job_number,
    job_page,
    note,
    overview_page,
    page,
    type_page,
)
from rmindr.web.queue_words import jobs_at

router = APIRouter(prefix="/queue", include_in_schema=False, dependencies=[Depends(require_operator)])
_FORM: Final = [Depends(require_own_page)]

_SPAN: Final = re.compile(r"\s*(\d{1,9}(?:\.\d{1,3})?)\s*(s|sec|seconds?|m|min|minutes?|h|hours?|d|days?)\s*", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST_S: Final = 36_500 * 86_400
_OF_ONE: Final = ("retry", "run", "cancel", "reschedule", "priority")


@dataclass(frozen=True, slots=True)
class Mistyped(Exception):
    """A field that cannot be understood, and why."""

    field: str
    why: str


# One job


@router.get("/jobs/{id}/remove")
async def ask_to_remove(id: str, request: Request, queue: TheQueue) -> Response:
    """What removing it means."""
    number = job_number(id)
    closeup = await found(queue, number)
    return page(request, "queue_remove.html", number=number, job=closeup.job, closeup=closeup)


@router.post("/jobs/{id}/remove", dependencies=_FORM)
async def remove(id: str, request: Request, queue: TheQueue) -> Response:
    """Leave nothing of it."""
    number = job_number(id)
    try:
        await queue.remove(number)
    except Refused as error:
        return await _refused(request, queue, number, error)
    note(request, "remove", id=number)
    return RedirectResponse(jobs_at(did="remove", job=number), 303)


@router.post("/jobs/{id}/take-back", dependencies=_FORM)
async def take_back(id: str, request: Request, queue: TheQueue) -> Response:
    """Take it from a Kue that is gone, if that one holds it still."""
    number, (fields, _) = job_number(id), await form_fields(request)
    try:
        await queue.take_back(number, holder=fields.get("holder", ""))
    except Refused as error:
        return await _refused(request, queue, number, error)
    note(request, "take back", id=number, holder=fields.get("holder"))
    return RedirectResponse(jobs_at(f"/queue/jobs/{number}", did="take-back"), 303)


@router.post("/jobs/{id}/{verb}", dependencies=_FORM)
async def one(id: str, verb: str, request: Request, queue: TheQueue) -> Response:
    """Any other verb, for one job."""
    if verb not in _OF_ONE:
        raise HTTPException(404)
    number, (fields, _) = job_number(id), await form_fields(request)
    try:
        act = _act(cast(Verb, verb), fields)
        did = await _do(queue, number, act)
    except Mistyped as error:
        return job_page(
            request, number, await found(queue, number), code=422, problems={error.field: error.why}, typed=fields
        )
    except Refused as error:
        return await _refused(request, queue, number, error)
    note(request, verb, id=number)
    if "back" in fields:
        view = View.from_query(dict(parse_qsl(fields["back"])))
        return RedirectResponse(jobs_at(**view.here, did=did, job=number), 303)
    return RedirectResponse(jobs_at(f"/queue/jobs/{number}", did=did), 303)


async def _do(queue: Queue, number: int, act: Act) -> str:
    match act.verb:
        case "retry":
            await queue.retry(number)
        case "cancel":
            # One that runs is only told.
            return "told" if await queue.cancel(number) is State.ACTIVE else "cancel"
        case "run":
            await queue.update(number, delay=timedelta(0))
        case "reschedule":
            await queue.update(number, delay=act.delay)
        case _:
            await queue.update(number, priority=act.priority)
    return act.verb


async def _refused(request: Request, queue: Queue, number: int, error: Refused) -> Response:
    if isinstance(error, JobNotFound):
        raise HTTPException(404, f"There is no job {number} any more.") from error
    said = str(error)
    return job_page(
        request, number, await found(queue, number), code=409, problems={"": f"{said[0].upper()}{said[1:]}."}
    )


# Many


@router.get("/all")
async def ask(request: Request, queue: TheQueue) -> Response:
    """How many match, and what would happen."""
    verb, view = _asked(request.query_params)
    return await _ask(request, queue, verb, view)


@router.post("/all", dependencies=_FORM)
async def begin(request: Request, queue: TheQueue) -> Response:
    """Let it begin, in a moment."""
    fields, _ = await form_fields(request)
    verb, view = _asked(fields)
    try:
        errand = await queue.errands.begin(_act(verb, fields), view.filter)
    except Mistyped as error:
        return await _ask(request, queue, verb, view, code=422, problems={error.field: error.why}, typed=fields)
    filter = view.filter
    note(request, f"{verb} all", state=filter.state, type=filter.type, jobs=errand.total, errand=errand.id)
    return RedirectResponse(f"/queue/errands/{errand.id}", 303)


@router.get("/errands/{id}")
async def how_far(id: str, request: Request, queue: TheQueue) -> Response:
    """How far an errand is, and whether it can be called off."""
    errand = await queue.errands.get(id) if id.isalnum() else None
    if errand is None:
        raise HTTPException(404, "There is no such errand; what became of one is known for a day.")
    return page(request, "queue_errand.html", errand=errand, respite=RESPITE)


@router.post("/errands/{id}/undo", dependencies=_FORM)
async def undo(id: str, request: Request, queue: TheQueue) -> Response:
    """Call it off, if it has not begun; its page says which."""
    if id.isalnum() and await queue.errands.undo(id):
        note(request, "undo", errand=id)
    return RedirectResponse(f"/queue/errands/{id}" if id.isalnum() else "/queue", 303)


async def _ask(request: Request, queue: Queue, verb: Verb, view: View, *, code: int = 200, **context: Any) -> Response:
    many = await queue.listing.count(view.filter)
    said = {"verb": verb, "view": view, "filter": view.filter, "many": many, "respite": RESPITE}
    return page(request, "queue_ask.html", code=code, **said, **{"problems": {}, "typed": {}} | context)


def _asked(query: Mapping[str, str]) -> tuple[Verb, View]:
    """Raises HTTPException 404 where the verb does not start from that state."""
    verb, view = query.get("do", ""), View.from_query(query)
    if verb not in STARTS_FROM or view.filter.state not in STARTS_FROM[cast(Verb, verb)]:
        raise HTTPException(404, "That cannot be done with all jobs of this list.")
    return cast(Verb, verb), view


# The whole


@router.post("/pause", dependencies=_FORM)
async def pause(request: Request, queue: TheQueue) -> Response:
    """No worker takes a job of this type, or of any."""
    return await _steer(request, queue, "pause", queue.steering.pause)


@router.post("/resume", dependencies=_FORM)
async def resume(request: Request, queue: TheQueue) -> Response:
    """Workers take them again."""
    return await _steer(request, queue, "resume", queue.steering.resume)


@router.post("/limit", dependencies=_FORM)
async def limit(request: Request, queue: TheQueue) -> Response:
    """How many of a type may begin within a time, and run at once."""
    fields, _ = await form_fields(request)
    name = fields.get("type", "")
    try:
        rate, per = _whole(fields, "rate"), _whole(fields, "per")
        given = Limit(rate=rate, per=timedelta(seconds=per or 1), concurrency=_whole(fields, "concurrency"))
        await queue.steering.limit(name, given)
    except Mistyped as error:
        return await type_page(request, queue, name, code=422, problems={error.field: error.why}, typed=fields)
    except InvalidJob as error:
        raise HTTPException(404, str(error)) from error
    note(request, "limit", type=name, rate=rate, per=per, concurrency=given.concurrency)
    return RedirectResponse(jobs_at("/queue/type", name=name, did="limit"), 303)


@router.post("/keep", dependencies=_FORM)
async def keep(request: Request, queue: TheQueue) -> Response:
    """How many jobs that have ended are kept, and for how long."""
    fields, _ = await form_fields(request)
    try:
        kept = {
            state: Kept(count=_whole(fields, f"{state}_count", least=0), age=_days(fields, f"{state}_days"))
            for state in (State.COMPLETE, State.FAILED)
        }
    except Mistyped as error:
        whole = await queue.overviews.whole()
        problems = {error.field: error.why}
        return overview_page(request, whole, "minute", code=422, problems=problems, typed=fields)
    await queue.steering.retain(State.COMPLETE, kept[State.COMPLETE])
    await queue.steering.retain(State.FAILED, kept[State.FAILED])
    note(request, "keep", **{name: text for name, text in fields.items() if name.endswith(("_count", "_days"))})
    return RedirectResponse("/queue?did=keep", 303)


async def _steer(request: Request, queue: Queue, act: str, do: Callable[[str | None], Awaitable[None]]) -> Response:
    fields, _ = await form_fields(request)
    name = fields.get("type") or None
    try:
        await do(name)
    except InvalidJob as error:
        raise HTTPException(404, str(error)) from error
    note(request, act, type=name)
    back = "/queue" if fields.get("back") != "type" or name is None else "/queue/type"
    return RedirectResponse(jobs_at(back, name=name if back != "/queue" else "", did=act), 303)


# What was typed


def _act(verb: Verb, fields: Mapping[str, str]) -> Act:
    """The verb with what it needs. Raises Mistyped."""
    if verb == "reschedule":
        return Act(verb=verb, delay=_when(fields))
    if verb == "priority":
        text = fields.get("priority", "").strip()
        try:
            return Act(verb=verb, priority=text if text.isalpha() else float(text))
        except (ValueError, InvalidJob):
            raise Mistyped("priority", "must be a number, or one of low, normal, medium, high, critical") from None
    return Act(verb=verb)


def _when(fields: Mapping[str, str]) -> timedelta | datetime:
    """How long from now, or an instant in UTC. Raises Mistyped."""
    later, instant = fields.get("in", "").strip(), fields.get("at", "").strip()
    if bool(later) == bool(instant):
        raise Mistyped("in", "needs either how long from now, or an instant")
    if later:
        given = _SPAN.fullmatch(later.lower())
        if given is None:
            raise Mistyped("in", "must be a number with s, min, h or d, e.g. 90 min")
        seconds = float(given[1]) * _SECONDS[given[2][0]]
        if seconds > _LONGEST_S:
            raise Mistyped("in", "must be a hundred years at most")
        return timedelta(seconds=seconds)
    try:
        moment = datetime.fromisoformat(instant)
    except ValueError:
        raise Mistyped("at", "must be a date and a time, e.g. 2027-01-31T09:00") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _whole(fields: Mapping[str, str], name: str, *, least: int = 1) -> int | None:
    text = fields.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and int(text) >= least):
        raise Mistyped(name, f"must be a whole number from {least}, or empty for no limit")
    return int(text)


def _days(fields: Mapping[str, str], name: str) -> timedelta | None:
    days = _whole(fields, name)
    if days is not None and days > 36_500:
        raise Mistyped(name, "must be a hundred years at most, or empty for ever")
    return timedelta(days=days) if days is not None else None
