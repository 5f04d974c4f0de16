"""Kue's JSON API, path for path, for Kue's own clients and its UI, and for whoever wants to see or steer the queue by program.

It is an application of its own, mounted at /queue/api, as Kue's is mounted anywhere; its description is openapi.json beside its
routes. Where it is not as Kue's is, Kue's way was a defect:

    who          nobody without the token (access.py), and for what changes something no page of another site; Kue asks nobody
    status       errors are Kue's {"error": message}, but 400, 401, 403, 404, 405, 409, 413, 415 or 503, not 200. Kue's UI
                 shows an error only where the status is 200, and gets that: it says `X-Requested-With: XMLHttpRequest`
    GET          changes nothing: GET /inactive/:id is a 405 that says so, POST and PUT do what it did
    reading      deletes nothing: Kue removes a job whose hash it cannot read
    state        is moved along the edges that there are (lifecycle.py): inactive is run now or retry, failed is cancel; active,
                 complete and delayed are nobody's word, and no sixth state can be made. A job that a worker holds stays its own
    priority     of a job that waits; by whole number, as with Kue
    desc         the last of all jobs, not the first ones backwards
    a range      1000 jobs at most at once; two whole numbers; a state that exists
    POST /job    refuses what Kue would store and stumble over later: an unknown priority, a delay that is no number, text as
                 backoff (which Kue runs). A body that is not said to be JSON is a 415, where Kue answers 204 and does nothing
    search       finds by our own index, newest first
    Accept       is not looked at: there is only JSON here
"""

from __future__ import annotations

from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from rmindr import __version__
from rmindr.queue import InvalidJob, JobNotFound, QueueError, QueueUnavailable
from rmindr.web.access import Operators, require_operator, require_own_page
from rmindr.web.bodies import spelled_out
from rmindr.web.problems import RETRY_AFTER_S, methods_at
from rmindr.web.queue_routes import AWAY, answer, no_job, router

log = structlog.get_logger(__name__)

PATH: Final = "/queue/api"
# As Kue's own limit.
MAX_BODY: Final = 100 * 1024
_HARMLESS: Final = ("GET", "HEAD")
_ABOUT: Final = """Kue's JSON API, path for path. Differences that are meant:

- Beyond loopback it asks for the token of `RMINDR_ADMIN_TOKEN`, as a bearer's token or as a password. What changes something is
  refused to pages of other sites.
- An error is Kue's `{"error": message}` with a status of its own; with `X-Requested-With: XMLHttpRequest`, as Kue's UI sends,
  the status is 200, as that UI expects.
- Nothing is changed by a GET, and nothing is deleted by being read. `GET /inactive/{id}` is a 405.
- A job is moved only where its life has an edge. There are five states and no others.
- `desc` means the last of all jobs. A list has 1000 at most.
- What Kue would store and stumble over later is refused: unknown priorities, text as `backoff`, delays that are no numbers.
- A body must be said to be `application/json`, and may have 100 KiB."""


def create_api(operators: Operators) -> FastAPI:
    """The API for these operators, to be mounted; whoever mounts it puts the queue into its state as `queue`."""
    api = _Api(
        title="The queue of rmindr",
        version=__version__,
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        swagger_ui_oauth2_redirect_url=None,
    )
    api.state.operators = operators
    api.include_router(router)
    api.add_exception_handler(HTTPException, _http_error)
    api.add_exception_handler(QueueError, _queue_error)
    api.add_exception_handler(Exception, _unforeseen)
    api.add_middleware(_OperatorsOnly)
    return api


class _Api(FastAPI):
    """FastAPI, but for who may ask, which is decided before any route."""

    def openapi(self) -> dict[str, Any]:
        """The description, made when somebody first asks."""
        described = super().openapi()
        if not self.state.operators.everybody:
            ways = {"bearer": {"type": "http", "scheme": "bearer"}, "password": {"type": "http", "scheme": "basic"}}
            described.setdefault("components", {})["securitySchemes"] = ways
            described["security"] = [{"bearer": []}, {"password": []}]
        return described


class _OperatorsOnly:
    """Lets nobody else near any address here, there or not, before anything is read of what they send."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            request = Request(scope)
            try:
                await require_operator(request)
                if scope["method"] not in _HARMLESS:
                    require_own_page(request)
            except HTTPException as error:
                await _http_error(request, error)(scope, receive, send)
                return
            request.state.operator = True
        await self._app(scope, receive, send)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  (registered for nothing else)
    status, message, headers = error.status_code, str(error.detail), dict(error.headers or {})
    if (status, message) == (404, "Not Found"):
        message = "there is nothing at this address"
    operator = getattr(request.state, "operator", False)
    if operator and status == 404 and request.method not in (spelled_out(request) or (request.method,)):
        # An address of its own, taken for the id of a job.
        status = 405
    if status == 405:
        headers = {"Allow": ", ".join(allowed := methods_at(request))}
        message = f"{request.method} does nothing at this address; it has {', '.join(allowed)}"
    if operator and request.headers.get("x-requested-with") == "XMLHttpRequest":
        status = 200
    return answer({"error": message}, status, headers)


def _queue_error(request: Request, error: Exception) -> Response:
    match error:
        case JobNotFound():
            found = no_job(error.job_id)
        case QueueUnavailable():
            log.warning("queue unavailable", why=str(error))
            found = HTTPException(503, AWAY, {"Retry-After": str(RETRY_AFTER_S)})
        case InvalidJob():
            found = HTTPException(400, str(error))
        case _:
            found = HTTPException(409, str(error))
    return _http_error(request, found)


def _unforeseen(request: Request, error: Exception) -> Response:
    # guards.LastResort writes it down.
    return answer(
        {"error": f"something went wrong on our side; it is written down under {request.state.request_id}"}, 500
    )
