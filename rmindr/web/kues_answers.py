"""The shapes of what Kue's JSON API answers, for its description."""

from __future__ import annotations

from typing import Any, Final

from rmindr.queue import State
from rmindr.web import kue

_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "integer", "minimum": 0}

ERROR: Final = {"type": "object", "required": ["error"], "properties": {"error": _TEXT}}
TEXTS: Final = {"type": "array", "items": _TEXT}
COUNT: Final = {"type": "object", "required": ["count"], "properties": {"count": _NUMBER}}
SAID: Final = {"type": "object", "required": ["message"], "properties": {"message": _TEXT}}
STATS: Final = {
    "type": "object",
    "required": [*(f"{state}Count" for state in State), "workTime"],
    "properties": {
        **{f"{state}Count": _NUMBER for state in State},
        "workTime": {"type": ["integer", "null"]},
    },
}
JOB: Final = {
    "type": "object",
    "required": ["id", "type", "data", "priority", "progress", "attempts"],
    "properties": {
        "id": {"type": ["integer", "string"]},
        "type": _TEXT,
        "data": {"description": "Any JSON."},
        "result": {"description": "Any JSON."},
        "priority": {"type": ["number", "null"]},
        "progress": {"type": ["integer", "string"]},
        "progress_data": {"description": "Any JSON."},
        "attempts": {"type": "object", "required": ["made", "remaining", "max"]},
        **dict.fromkeys(kue.TEXTS, _TEXT),
    },
}
A_JOB: Final = {
    "id": 7, "type": "email", "data": {"title": "Call mum"}, "priority": 0, "progress": 0, "state": "delayed",
    "created_at": "1795448797530", "promote_at": "1795448857530", "updated_at": "1795448797530", "delay": "60000",
    "attempts": {"made": 0, "remaining": 3, "max": 3},
}  # fmt: skip
JOBS: Final = {"type": "array", "items": JOB}
_MADE: Final = {
    "type": "object",
    "required": ["message", "id"],
    "properties": {"message": _TEXT, "id": {"type": "integer"}},
}
# Of a list, each job is answered in its place, and the status is that of the first that is refused.
_EACH: Final = {"type": "array", "items": {"anyOf": [_MADE, ERROR]}}
CREATED: Final = {"anyOf": [_MADE, _EACH]}
REFUSED: Final[dict[int | str, Any]] = {
    status: {"description": meaning, "content": {"application/json": {"schema": {"anyOf": [ERROR, _EACH]}}}}
    for status, meaning in ((400, "Not understood."), (503, "Redis is away."))
}


def accepted(meaning: str) -> dict[int | str, Any]:
    """A 202, and what it means."""
    return {202: {"description": meaning, "content": {"application/json": {"schema": SAID}}}}


def by(schema: Any, example: Any, **more: Any) -> dict[int | str, Any]:
    """An answer by its shape and an example, for the description; `more` are others by status, e.g. _202="…"."""
    content = {"application/json": {"schema": schema, "example": example}}
    answers: dict[int | str, Any] = {200: {"description": "As asked.", "content": content}}
    return answers | {int(status.strip("_")): {"description": meaning} for status, meaning in more.items()}
