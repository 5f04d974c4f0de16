"""Errors as answers: RFC 9457 problems for programs, pages for people, from one table."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.routing import Match
from starlette.types import Scope

from rmindr.errors import (
    BadToken,
    Changed,
    InvalidDraft,
    InvalidWebhook,
    KeyReused,
    ReminderNotFound,
    RmindrError,
    StorageUnavailable,
    TooLate,
    TooMany,
)
from rmindr.queue import QueueUnavailable
from rmindr.web.bodies import ACCEPT_PATCH, METHODS, spelled_out
from rmindr.web.quotas import quotas
from rmindr.web.theme import theme_of

log = structlog.get_logger(__name__)

# Everything that can be wrong, by title: its status, and what it means. /docs lists them; a problem's `type` leads there.
PROBLEMS: Final[Mapping[str, tuple[int, str]]] = {
    "Bad request": (400, "The request is malformed: JSON that is not JSON, something given twice."),
    "Unknown host": (400, "This service does not answer under the name in `Host`."),
    "Token needed": (
        401,
        "Reminders are for whoever shows a token of their own; the queue, for that of `RMINDR_ADMIN_TOKEN`.",
    ),
    "Forbidden": (403, "Not from here: a form that another site sent, or a token that is for something else."),
    "Not found": (404, "There is nothing at this address, or not for these eyes."),
    "Method not allowed": (405, "`Allow` says which methods this address has."),
    "Too slow": (408, "The body did not come in time."),
    "Too late": (409, "The mail has left, or is leaving; nothing was changed."),
    "Changed meanwhile": (412, "The reminder is not any more what `If-Match` says; nothing was changed."),
    "Over": (410, "This link of a mail was used, or is too old."),
    "Too large": (413, "The body is larger than any reminder is."),
    "Wrong content type": (415, "The body is not said to be JSON (of a form: a form)."),
    "Not understood": (422, "A field, a parameter or a header has the wrong shape; `errors` names each."),
    "Not a reminder yet": (422, "What was asked for cannot be a reminder; `errors` says why, field by field."),
    "Idempotency-Key used before": (422, "The same key came with another request; use a new one for a new reminder."),
    "Too many": (429, "More than a limit allows; nothing was done. `Retry-After` says when one more will be."),
    "Our fault": (500, "Nobody foresaw it. It is written down under the request's id."),
    "Not now": (503, "The database does not answer; try again with the same `Idempotency-Key`."),
    "Queue away": (
        503,
        "The queue's Redis does not answer. Reminders are taken all the same, and sent when it is back.",
    ),
}
# Of several with one status, the first is the general one.
_BY_STATUS: Final = {status: title for title, (status, _) in reversed(list(PROBLEMS.items()))}
# An error, and its title: a new error gets a row.
_TABLE: Final[Mapping[type[RmindrError], str]] = {
    InvalidDraft: "Not a reminder yet",
    InvalidWebhook: "Not understood",
    ReminderNotFound: "Not found",
    TooLate: "Too late",
    Changed: "Changed meanwhile",
    KeyReused: "Idempotency-Key used before",
    BadToken: "Not found",
    TooMany: "Too many",
    StorageUnavailable: "Not now",
}
# Nobody reads more complaints than these, and whoever sends thousands of fields gets no thousands back.
_MOST_ERRORS: Final = 20
_PYDANTIC: Final = re.compile(r"^(?:Input|String|Value) should")
# An act on a reminder, from whose failure one goes back to the reminder.
_ACT: Final = re.compile(r"(/(?:reminders|manage)/[^/]+)/(?:cancel|end|edit|preview|snooze|done|now|copy|confirm)")
RETRY_AFTER_S: Final = 5


class FieldProblem(BaseModel):
    """What is wrong with one field, or with one parameter or header."""

    pointer: str | None = Field(
        None, examples=["/due_at"], description="JSON pointer (RFC 6901) into the body; empty for the whole of it."
    )
    parameter: str | None = Field(None, description="The parameter's name, where it is about one of the query.")
    header: str | None = Field(None, description="The header's name, where it is about one.")
    detail: str = Field(examples=["is in the past"])

    @property
    def name(self) -> str:
        """What it is about, for people."""
        return (self.pointer or "").lstrip("/") or self.parameter or self.header or "the body"


class Problem(BaseModel):
    """An error, as RFC 9457 has it."""

    type: str = Field(examples=["/docs#not-a-reminder-yet"], description="Where this kind of problem is described.")
    title: str = Field(examples=["Not a reminder yet"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["due_at is in the past"])
    instance: str = Field(description="The request, by its X-Request-Id.")
    errors: list[FieldProblem] | None = None


def problem(
    scope: Scope,
    title: str,
    detail: str,
    *,
    errors: Sequence[FieldProblem] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The problem of this title as a response; where a browser asks for a page, a page."""
    said = described(scope, title, detail, errors)
    headers = {**quotas(scope), **(headers or {})}
    templates = getattr(scope["app"].state, "templates", None) if "app" in scope else None
    if templates is not None and wants_page(scope):
        act = _ACT.fullmatch(scope["path"])
        page = templates.get_template("error.html").render(
            problem=said,
            back=act[1] if act and said.status != 404 else None,
            of_queue=scope["path"].startswith("/queue/"),
            theme=theme_of(HTTPConnection(scope)),
        )
        return Response(page, said.status, headers, media_type="text/html")
    content = said.model_dump(exclude_none=True)
    if scope["path"].startswith("/queue/api/"):
        # Where Kue's clients look.
        content["error"] = detail
    return JSONResponse(content, said.status, headers, media_type="application/problem+json")


def described(scope: Scope, title: str, detail: str, errors: Sequence[FieldProblem] = ()) -> Problem:
    """The problem of this title, of this request."""
    return Problem(
        type=f"/docs#{anchor(title)}",
        title=title,
        status=PROBLEMS[title][0],
        detail=detail,
        instance=f"request:{scope.get('state', {}).get('request_id', '')}",
        errors=list(errors) or None,
    )


def anchor(title: str) -> str:
    """The title as the name of a place on a page, e.g. `not-a-reminder-yet`."""
    return title.lower().replace(" ", "-")


def wants_page(scope: Scope) -> bool:
    """Whether a person asks: a browser says that it takes HTML, and the path is not a program's."""
    accepted = Headers(scope=scope).get("accept", "")
    return "text/html" in accepted and "/api" not in scope["path"]


def answer_errors(app: FastAPI) -> None:
    """Let every error that is foreseen leave as a problem; what is not is for guards.LastResort."""
    for kind, title in _TABLE.items():
        app.add_exception_handler(kind, _ours(title))
    app.add_exception_handler(QueueUnavailable, _queue_away)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)


def of_draft(error: InvalidDraft, under: str = "") -> list[FieldProblem]:
    """The complaints about a draft, by JSON pointer; `under` is where in the body it stands."""
    pointed = ((f"{under}/{field}" if field else under, complaint) for field, complaint in error.problems.items())
    return [FieldProblem(pointer=pointer, detail=complaint) for pointer, complaint in pointed]


def of_fields(found: Sequence[Any]) -> tuple[str, list[FieldProblem]]:
    """Pydantic's complaints, in one sentence and by field."""
    errors = [_of_field(each) for each in found[:_MOST_ERRORS]]
    return "; ".join(f"{each.name} {each.detail}" for each in errors), errors


def wait_s(error: TooMany) -> int:
    """How long to wait until one more will be allowed, seconds."""
    return math.ceil(error.retry_after.total_seconds())


def _ours(title: str) -> Any:
    async def answer(request: Request, error: RmindrError) -> Response:
        errors = of_draft(error) if isinstance(error, InvalidDraft) else []
        if isinstance(error, StorageUnavailable):
            log.warning("storage unavailable", why=str(error))
            detail = (
                "The database does not answer just now. Try again in a moment."
                if wants_page(request.scope)
                else "Nothing was saved, or we cannot tell: try again in a moment, with the same Idempotency-Key."
            )
            return problem(request.scope, title, detail, headers={"Retry-After": str(RETRY_AFTER_S)})
        if isinstance(error, TooMany):
            return problem(request.scope, title, str(error), headers={"Retry-After": str(wait_s(error))})
        # What is no link of ours names nothing, like one that is not there.
        over = isinstance(error, BadToken) and error.expired
        return problem(request.scope, "Over" if over else title, str(error), errors=errors)

    return answer


async def _queue_away(request: Request, error: Exception) -> Response:
    log.warning("queue unavailable", why=str(error))
    detail = "The queue does not answer just now; what was asked for may not have been done. Try again in a moment."
    return problem(request.scope, "Queue away", detail, headers={"Retry-After": str(RETRY_AFTER_S)})


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  (registered for nothing else)
    detail, headers = str(error.detail), dict(error.headers or {})
    if error.status_code == 404 and detail == "Not Found":
        detail = "There is nothing at this address."
    if error.status_code == 405:
        detail = "This address has other methods."
        allowed = methods_at(request)
        headers = {"Allow": ", ".join(allowed)} | (dict(ACCEPT_PATCH) if "PATCH" in allowed else {})
    return problem(request.scope, _BY_STATUS.get(error.status_code, "Bad request"), detail, headers=headers)


def methods_at(request: Request) -> list[str]:
    """What may be done at this address: one route alone knows its own method only."""
    if request.url.path.startswith("/static/"):
        return ["GET", "HEAD"]
    scope = {
        "type": "http",
        "path": request.scope["path"],
        "root_path": request.scope.get("root_path", ""),
        "headers": [],
        "query_string": b"",
    }
    matching = spelled_out(request) or [
        method
        for method in METHODS
        if any(route.matches({**scope, "method": method})[0] == Match.FULL for route in request.app.routes)
    ]
    return [each for method in matching for each in (("GET", "HEAD") if method == "GET" else (method,))]


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    found = error.errors()
    if any(each["loc"][0] == "path" for each in found):
        # An id that cannot be one names nothing, like one that is not there.
        return problem(request.scope, "Not found", str(ReminderNotFound()))
    detail, errors = of_fields(found)
    return problem(request.scope, "Not understood", detail, errors=errors)


def _of_field(each: Any) -> FieldProblem:
    where, *path = (str(part)[:60] for part in each["loc"])
    detail = _sentence(each)
    if where == "body":
        steps = (part.replace("~", "~0").replace("/", "~1") for part in path)
        return FieldProblem(pointer="".join(f"/{step}" for step in steps), detail=detail)
    return FieldProblem(**{"header" if where == "header" else "parameter": path[-1]}, detail=detail)


def _sentence(each: Any) -> str:
    known = {
        "missing": "is missing",
        "extra_forbidden": "is not a field of this request",
        "string_type": "must be text",
        "int_type": "must be a whole number",
        "int_parsing": "must be a whole number",
        "model_attributes_type": "must be a JSON object",
        "model_type": "must be a JSON object",
        "uuid_parsing": "is none of ours; take `next` of the page before",
        "string_pattern_mismatch": "has characters that it cannot have",
    }
    said = _PYDANTIC.sub("must", str(each["msg"]).removeprefix("Value error, "))
    return known.get(each["type"], said.rstrip("."))
