"""Errors as answers: RFC 9457 problems for programs, pages for people, from one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from rmindr.errors import InvalidDraft, KeyReused, ReminderNotFound, RmindrError, StorageUnavailable, TooLate

log = structlog.get_logger(__name__)

_TITLES: Final = {
    400: "Bad request",
    401: "Not signed in",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    409: "Too late",
    413: "Too large",
    415: "Wrong content type",
    422: "Not understood",
    500: "Our fault",
    503: "Not now",
}
# An error, its status, and its title: a new error gets a row.
_TABLE: Final[Mapping[type[RmindrError], tuple[int, str]]] = {
    InvalidDraft: (422, "Not a reminder yet"),
    ReminderNotFound: (404, "Not found"),
    TooLate: (409, "Too late"),
    KeyReused: (422, "Idempotency-Key used before"),
    StorageUnavailable: (503, "Not now"),
}
RETRY_AFTER_S: Final = 5


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    pointer: str = Field(examples=["/due_at"], description="JSON pointer (RFC 6901) to the field; empty for the body.")
    detail: str = Field(examples=["is in the past"])


class Problem(BaseModel):
    """An error, as RFC 9457 has it."""

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Not a reminder yet"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["due_at is in the past"])
    instance: str = Field(description="The request, by its X-Request-Id.")
    errors: list[FieldProblem] = []


def problem(
    scope: Scope,
    status: int,
    title: str,
    detail: str,
    *,
    errors: Sequence[FieldProblem] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem as a response; where a browser asks for a page, a page."""
    said = Problem(
        type="about:blank",
        title=title,
        status=status,
        detail=detail,
        instance=f"request:{scope.get('state', {}).get('request_id', '')}",
        errors=list(errors),
    )
    templates = getattr(scope["app"].state, "templates", None) if "app" in scope else None
    if templates is not None and wants_page(scope):
        page = templates.get_template("error.html").render(problem=said, path=scope["path"])
        return Response(page, status, dict(headers or {}), media_type="text/html")
    return JSONResponse(
        said.model_dump(exclude_defaults=not errors), status, dict(headers or {}), media_type="application/problem+json"
    )


def wants_page(scope: Scope) -> bool:
    """Whether a person asks: a browser says that it takes HTML, and the path is not a program's."""
    accepted = Headers(scope=scope).get("accept", "")
    return "text/html" in accepted and "/api" not in scope["path"]


def answer_errors(app: FastAPI) -> None:
    """Let every error that is foreseen leave as a problem; what is not is for guards.LastResort."""
    for kind, (status, title) in _TABLE.items():
        app.add_exception_handler(kind, _ours(status, title))
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)


def of_draft(error: InvalidDraft) -> list[FieldProblem]:
    """The complaints about a draft, by JSON pointer."""
    return [FieldProblem(pointer=f"/{field}", detail=complaint) for field, complaint in error.problems.items()]


def _ours(status: int, title: str) -> Any:
    async def answer(request: Request, error: RmindrError) -> Response:
        errors = of_draft(error) if isinstance(error, InvalidDraft) else []
        if isinstance(error, StorageUnavailable):
            log.warning("storage unavailable", why=str(error))
            detail = "Nothing was saved, or we cannot tell: try again in a moment, with the same Idempotency-Key."
            return problem(request.scope, status, title, detail, headers={"Retry-After": str(RETRY_AFTER_S)})
        return problem(request.scope, status, title, str(error), errors=errors)

    return answer


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  (registered for nothing else)
    title = _TITLES.get(error.status_code, "Error")
    detail = str(error.detail)
    if detail in ("Not Found", "Method Not Allowed"):
        detail = "There is nothing at this address." if error.status_code == 404 else "This address has another method."
    return problem(request.scope, error.status_code, title, detail, headers=error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    errors = [
        FieldProblem(
            pointer="".join(f"/{part}" for part in each["loc"][1:])
            if each["loc"][0] == "body"
            else f"#{each['loc'][-1]}",
            detail=_sentence(each),
        )
        for each in error.errors()
    ]
    detail = "; ".join(f"{each.pointer.lstrip('/#') or 'the body'} {each.detail}" for each in errors)
    if all(each["loc"][0] == "path" for each in error.errors()):
        # An id that cannot be one names nothing, like one that is not there.
        return problem(request.scope, 404, "Not found", str(ReminderNotFound()))
    return problem(request.scope, 422, "Not understood", detail, errors=errors)


def _sentence(each: Any) -> str:
    known = {
        "missing": "is missing",
        "extra_forbidden": "is not a field of this request",
        "string_type": "must be text",
        "int_type": "must be a whole number",
        "int_parsing": "must be a whole number",
    }
    return known.get(each["type"], str(each["msg"]).removeprefix("Value error, ").rstrip("."))
