"""The routes of Kue's JSON API: each says what is asked, calls the queue, and answers as Kue does."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Final

import structlog
from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from rmindr.queue import InvalidJob, JobNotFound, Queue, QueueUnavailable, State, UnreadableJob
from rmindr.web import kue
from rmindr.web import kues_answers as told
from rmindr.web.bodies import json_body
from rmindr.web.problems import RETRY_AFTER_S

log = structlog.get_logger(__name__)

AWAY: Final = "the queue does not answer; whether anything was done is unknown"
_MOST_AT_ONCE: Final = 1000

router = APIRouter(
    responses={
        "default": {
            "description": "400 not understood, 401 not without the token, 403 not from another site's page, 404 not there, "
            "405 not by this method, 409 not in this state, 413 too large, 415 not said to be JSON, 503 Redis is away.",
            # What is refused before it comes here is a problem of RFC 9457, which says `error`, too.
            "content": {kind: {"schema": told.ERROR} for kind in ("application/json", "application/problem+json")},
        }
    }
)


def answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in JSON."""
    # In ASCII: what Kue stored may hold halves of characters, which have no UTF-8.
    return Response(json.dumps(content, separators=(",", ":")), status, headers, media_type="application/json")


def no_job(id: int | str) -> HTTPException:
    """That there is no such job, in Kue's own words."""
    return HTTPException(404, f'job "{id!s:.60}" doesnt exist')


# What is asked


def _queue(request: Request) -> Queue:
    queue: Queue = request.app.state.queue
    return queue


def _job(id: Annotated[str, Path(description="A job's id.", examples=["7"])]) -> int:
    number = kue.id_in(id)
    if number is None:
        raise no_job(id)
    return number


def _state(state: Annotated[str, Path(description=f"One of {', '.join(State)}.", examples=["failed"])]) -> State:
    if state not in list(State):
        raise HTTPException(400, f"there is no state {state[:60]!r}; there are {', '.join(State)}")
    return State(state)


class _Ranks:
    """The part of a list that is asked for."""

    def __init__(
        self,
        start: Annotated[str, Path(alias="from", description="The first rank, from 0.", examples=["0"])],
        to: Annotated[str, Path(description="The last rank, which is included; -1 is the end.", examples=["9"])],
        order: str = "asc",
    ) -> None:
        first, last = kue.whole_in(start), kue.whole_in(to)
        if first is None or last is None:
            raise HTTPException(400, "a range is two whole numbers, e.g. 0..9, of which -1 is the end")
        if order not in ("asc", "desc"):
            raise HTTPException(400, f"there is no order {order[:60]!r}; there are asc, desc")
        self.first, self.last, self.newest_first = first, last, order == "desc"

    def fits(self, size: int | None = None) -> bool:
        """Whether this part of a list of so many is one answer; without a size, whether it is of any list."""
        if size is None:
            return (self.first < 0) == (self.last < 0) and self.last - self.first < _MOST_AT_ONCE
        first, last = (rank if rank >= 0 else max(0, size + rank) for rank in (self.first, self.last))
        return min(last, size - 1) - first < _MOST_AT_ONCE


Jobs = Annotated[Queue, Depends(_queue)]
JobId = Annotated[int, Depends(_job)]
InState = Annotated[State, Depends(_state)]
Ranks = Annotated[_Ranks, Depends()]
Type = Annotated[str, Path(description="A type of job; a slash may stand in it.", examples=["email"])]


# Looking


@router.get(
    "/stats",
    operation_id="readStats",
    summary="Count the jobs of each state",
    responses=told.by(
        told.STATS,
        {
            "inactiveCount": 2,
            "completeCount": 40,
            "activeCount": 1,
            "failedCount": 0,
            "delayedCount": 7,
            "workTime": 1234,
        },
    ),
)
async def stats(queue: Jobs) -> Response:
    """`workTime` is the sum of all completed runs, ms; null before the first."""
    counts, worked = await queue.jobs.counts(), await queue.jobs.work_time()
    return answer(
        {f"{state}Count": count for state, count in counts.items()}
        | {"workTime": worked // timedelta(milliseconds=1) if worked is not None else None}
    )


@router.get(
    "/job/types",
    operation_id="listTypes",
    summary="List every type that there ever was a job of",
    responses=told.by(told.TEXTS, ["email"]),
)
async def types(queue: Jobs) -> Response:
    """In order of the alphabet."""
    return answer(list(await queue.jobs.types()))


@router.get(
    "/job/search", operation_id="searchJobs", summary="Find jobs by words", responses=told.by(told.TEXTS, ["7", "3"])
)
async def search(
    queue: Jobs, q: Annotated[str, Query(description="Words; the last may be a beginning.")] = ""
) -> Response:
    """The ids, as text, newest first, of the jobs in which all words stand, out of the fields that their makers index (see
    `Queue.open(search=…)`); none without a word."""
    return answer([str(job_id) for job_id in await queue.jobs.search(q)])


@router.get(
    "/jobs/{from}..{to}", operation_id="listJobs", summary="List jobs", responses=told.by(told.JOBS, [told.A_JOB])
)
@router.get(
    "/jobs/{from}..{to}/{order}",
    operation_id="listJobsInOrder",
    summary="List jobs, the last ones first",
    responses=told.by(told.JOBS, [told.A_JOB]),
)
async def jobs(queue: Jobs, ranks: Ranks) -> Response:
    """By rank among all jobs, which stand by priority and then by id; 1000 at most. The answer is in order of ids. `desc`
    counts ranks from the end of the whole list, and answers the highest id first."""
    return await _range(queue, ranks)


@router.get(
    "/jobs/{type:path}/{state}/{from}..{to}",
    operation_id="listJobsOfTypeInState",
    summary="List jobs of a type in a state",
    responses=told.by(told.JOBS, [told.A_JOB]),
)
@router.get(
    "/jobs/{type:path}/{state}/{from}..{to}/{order}",
    operation_id="listJobsOfTypeInStateInOrder",
    summary="List jobs of a type in a state, the last ones first",
    responses=told.by(told.JOBS, [told.A_JOB]),
)
async def jobs_of_type(type: Type, state: InState, queue: Jobs, ranks: Ranks) -> Response:
    """As for all jobs."""
    return await _range(queue, ranks, state, type)


@router.get(
    "/jobs/{type:path}/{state}/stats",
    operation_id="countJobsOfTypeInState",
    summary="Count the jobs of a type in a state",
    responses=told.by(told.COUNT, {"count": 3}),
)
async def count(type: Type, state: InState, queue: Jobs) -> Response:
    """0 for a type that there is not."""
    return answer({"count": await queue.jobs.count(state, type)})


@router.get(
    "/jobs/{state}/{from}..{to}",
    operation_id="listJobsInState",
    summary="List jobs in a state",
    responses=told.by(told.JOBS, [told.A_JOB]),
)
@router.get(
    "/jobs/{state}/{from}..{to}/{order}",
    operation_id="listJobsInStateInOrder",
    summary="List jobs in a state, the last ones first",
    responses=told.by(told.JOBS, [told.A_JOB]),
)
async def jobs_in_state(state: InState, queue: Jobs, ranks: Ranks) -> Response:
    """As for all jobs; delayed ones stand by the instant that they are due."""
    return await _range(queue, ranks, state)


@router.get(
    "/job/{id}", operation_id="readJob", summary="Read one job", responses=told.by(told.JOB, told.A_JOB | {"id": "7"})
)
async def job(id: JobId, queue: Jobs) -> Response:
    """Its `id`, instants and durations are text, as Kue has them. Reading changes nothing, whatever stands there."""
    fields = (await queue.jobs.hashes([id])).get(id)
    if fields is None:
        raise JobNotFound(id)
    return answer(kue.told(str(id), fields))


@router.get(
    "/job/{id}/log",
    operation_id="readJobLog",
    summary="Read a job's log",
    responses=told.by(told.TEXTS, ["half way", "done"]),
)
async def job_log(id: JobId, queue: Jobs) -> Response:
    """Its lines, oldest first; none for a job that does not exist."""
    return answer(list(await queue.jobs.log(id)))


# Acting


@router.post(
    "/job",
    operation_id="createJobs",
    summary="Create a job, or a list of them",
    openapi_extra={"requestBody": {"content": {"application/json": {"schema": kue.ASKED, "examples": kue.EXAMPLES}}}},
    responses=told.REFUSED
    | told.by(
        told.CREATED, {"message": "job created", "id": 7}, _204="Nothing was asked for: no body, or an empty one."
    ),
)
async def create(request: Request, queue: Jobs) -> Response:
    """Of a list each job stands for itself: those that are refused are answered with an error in their place, and the answer's
    status is the first one's; the rest is created."""
    body = await json_body(request) if await request.body() else None
    if body in (None, {}, []):
        return Response(status_code=204)
    if not isinstance(body, dict | list):
        raise HTTPException(400, "the body must be a job or a list of jobs")
    items = body if isinstance(body, list) else [body]
    answers = await asyncio.gather(*(_create(queue, item) for item in items))
    status = next((status for status, _ in answers if status != 200), 200)
    said = [answer for _, answer in answers]
    wait = {"Retry-After": str(RETRY_AFTER_S)} if any(status == 503 for status, _ in answers) else None
    return answer(said if isinstance(body, list) else said[0], status, wait)


@router.put(
    "/job/{id}/state/{state}",
    operation_id="moveJob",
    summary="Move a job to a state",
    responses=told.by(told.SAID, {"message": "updated state"}) | told.accepted("Its worker is told."),
)
async def move(id: JobId, state: InState, queue: Jobs) -> Response:
    """`inactive`: run a delayed job now, a failed or complete one again. `failed`: cancel one that waits; one that runs is told
    (202), and ends failed whatever comes. A job that is in that state already stays as it is. No state else is anybody's word,
    and a job that a worker holds stays its own: 409."""
    return answer({"message": "updated state"}, await _move(queue, id, state))


@router.put(
    "/job/{id}/priority/{priority}",
    operation_id="prioritiseJob",
    summary="Change the priority of a job that waits",
    responses=told.by(told.SAID, {"message": "updated priority"}),
)
async def prioritise(id: JobId, priority: str, queue: Jobs) -> Response:
    """A whole number; smaller runs first: 10 low, 0 normal, -5 medium, -10 high, -15 critical."""
    number = kue.whole_in(priority)
    if number is None:
        raise HTTPException(400, "invalid priority")
    await queue.update(id, priority=number)
    return answer({"message": "updated priority"})


@router.post(
    "/inactive/{id}",
    operation_id="restartJob",
    summary="Run a job now, or again",
    responses=told.by(told.SAID, {"message": "job 7 inactive"}),
)
@router.put(
    "/inactive/{id}",
    operation_id="restartJobByPut",
    summary="Run a job now, or again, as POST does",
    responses=told.by(told.SAID, {"message": "job 7 inactive"}),
)
async def restart(id: JobId, queue: Jobs) -> Response:
    """As `PUT /job/{id}/state/inactive`. Kue does it at a GET, which anybody's page, and any machine that follows links, can
    send; here that is a 405."""
    await _move(queue, id, State.INACTIVE)
    return answer({"message": f"job {id} inactive"})


@router.delete(
    "/job/{id}",
    operation_id="removeJob",
    summary="Remove a job",
    responses=told.by(told.SAID, {"message": "job 7 removed"}),
)
async def remove(id: JobId, queue: Jobs) -> Response:
    """Nothing of it stays. One that a worker holds is its worker's: 409."""
    await queue.remove(id)
    return answer({"message": f"job {id} removed"})


async def _range(queue: Queue, ranks: _Ranks, state: State | None = None, type: str | None = None) -> Response:
    if not ranks.fits() and not ranks.fits(await _size(queue, state, type)):
        raise HTTPException(400, f"a range may have {_MOST_AT_ONCE} jobs at most; ask for one after another")
    ids = await queue.jobs.ids(state, type, start=ranks.first, stop=ranks.last, newest_first=ranks.newest_first)
    hashes = await queue.jobs.hashes(sorted(ids, reverse=ranks.newest_first))
    found = []
    for job_id, fields in hashes.items():
        with contextlib.suppress(UnreadableJob):
            found.append(kue.told(job_id, fields))
    return answer(found)


async def _size(queue: Queue, state: State | None, type: str | None) -> int:
    counts = await queue.jobs.counts(type)
    return sum(counts.values()) if state is None else counts[state]


async def _create(queue: Queue, item: Any) -> tuple[int, dict[str, Any]]:
    try:
        made, _ = await queue.lifecycle.create(kue.asked(item))
    except InvalidJob as error:
        return 400, {"error": str(error)}
    except QueueUnavailable as error:
        log.warning("queue unavailable", why=str(error))
        return 503, {"error": AWAY}
    return 200, {"message": "job created", "id": made.id}


async def _move(queue: Queue, id: int, state: State) -> int:
    """The status of an answer that it is done. Raises HTTPException and what the verb raises."""
    (now,) = await queue.jobs.states([id])
    if now is None:
        raise JobNotFound(id)
    if now is state:
        return 200
    if state is State.INACTIVE:
        # Each verb looks again what state the job is in.
        await (queue.update(id, delay=timedelta(0)) if now is State.DELAYED else queue.retry(id))
        return 200
    if state is State.FAILED:
        return 200 if await queue.cancel(id) is State.FAILED else 202
    raise HTTPException(409, f"job {id} is {now}; that it is {state} is not for others to say")
