"""What the OpenAPI description says besides what the routes say of themselves: every error as a problem, and no lies."""

from __future__ import annotations

from typing import Any, Final

from rmindr.web.bodies import MERGE_PATCH
from rmindr.web.problems import PROBLEMS, Problem

TOKEN: Final = ("Token needed", "Forbidden")
BODY: Final = ("Too slow", "Too large", "Wrong content type", "Not a reminder yet")
_CHANGES: Final = ("ReminderChange", "PreviewIn")


def problems_of(*titles: str) -> dict[int | str, dict[str, Any]]:
    """How a route can end otherwise; every one can by a malformed request, and for want of a database."""
    said: dict[int | str, dict[str, Any]] = {}
    for title in ("Bad request", *titles, "Not now"):
        status, meaning = PROBLEMS[title]
        said[status] = {"model": Problem, "description": meaning}
    return said


def as_they_are(description: dict[str, Any], *, everybody: bool) -> None:
    """In an OpenAPI description, make every error a problem, and drop what cannot be; so are tokens, where `everybody` may
    do anything."""
    if everybody:
        description["components"].pop("securitySchemes", None)
    for path in description["paths"].values():
        for method, operation in path.items():
            _answers(operation["responses"])
            if method == "patch":
                content = operation["requestBody"]["content"]
                operation["requestBody"]["content"] = {MERGE_PATCH: content["application/json"], **content}
            if everybody:
                operation.pop("security", None)
            elif operation["operationId"] == "createReminder":
                # Whoever shows none is nobody known, and may ask for one, too.
                operation["security"] = [*operation["security"], {}]
    _schemas(description["components"]["schemas"])


def _schemas(schemas: dict[str, Any]) -> None:
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["BatchIn"]["properties"]["items"]["items"] = {"$ref": "#/components/schemas/ReminderIn"}
    for name in _CHANGES:
        for field, about in schemas[name]["properties"].items():
            if field != "deadline_at":
                # Whatever else is not said is left out; it is not null.
                (one,) = (each for each in about.pop("anyOf") if each != {"type": "null"})
                about.update(one)


def _answers(answers: dict[str, Any]) -> None:
    for status, answer in list(answers.items()):
        content = answer.get("content", {})
        if status < "400":
            if content.get("application/json", {}).get("schema") == {"$ref": "#/components/schemas/ReminderOut"}:
                about = {
                    "description": "Its version, for `If-Match` and `If-None-Match`.",
                    "schema": {"type": "string"},
                }
                answer["headers"] = {"ETag": about}
            continue
        (said,) = content.values()
        answer["content"] = {"application/problem+json": said}
        if said["schema"]["$ref"] != "#/components/schemas/Problem":
            # FastAPI's own 422, for an id that is none: with us that is a 404.
            del answers[status]
