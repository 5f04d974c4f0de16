"""What Kue's clients send and read: a job as its `toJSON` tells it, and a job as they ask for one."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from rmindr.queue import Backoff, InvalidJob, NewJob, UnreadableJob
from rmindr.queue.backoff import LONGEST_WAIT_MS

_ID: Final = re.compile(r"[1-9][0-9]{0,15}")
_WHOLE: Final = re.compile(r"-?[0-9]{1,15}")
# A number in a text, as far as any job has one.
_NUMBER: Final = re.compile(r"-?[0-9]{1,16}(\.[0-9]{1,16})?")
# What Kue hands on just as it stands in Redis, that is as text.
TEXTS: Final = (
    "state", "error", "created_at", "promote_at", "updated_at", "failed_at", "started_at", "duration", "delay", "workerId",
    "ttl",
)  # fmt: skip


def id_in(text: str) -> int | None:
    """The job's id that this text is; None where it is none."""
    return int(text) if _ID.fullmatch(text) else None


def whole_in(text: str) -> int | None:
    """The whole number that this text is; None where it is none."""
    return int(text) if _WHOLE.fullmatch(text) else None


# A job as it is told


def told(id: int | str, fields: Mapping[str, str]) -> dict[str, Any]:
    """A job's hash as Kue's `toJSON` has it: `id` as it was asked for, instants and durations as text, absent fields absent.

    Raises UnreadableJob where Kue would not tell it either."""
    if not fields.get("type"):
        raise UnreadableJob(int(id), "it has no type")
    made, most = _number_in(fields, "attempts") or 0, _number_in(fields, "max_attempts") or 1
    return {
        "id": id,
        "type": fields["type"],
        "data": {},
        **_parsed(id, fields, "data"),
        **_parsed(id, fields, "result"),
        # Null where it is no number: so NaN leaves JavaScript.
        "priority": _number_in(fields, "priority"),
        "progress": fields.get("progress") or 0,
        **_parsed(id, fields, "progress_data"),
        **{name: fields[name] for name in TEXTS if name in fields},
        "attempts": {"made": made, "remaining": most - made, "max": most},
    }


def _parsed(id: int | str, fields: Mapping[str, str], name: str) -> dict[str, Any]:
    if not fields.get(name):
        return {}
    try:
        return {name: json.loads(fields[name], parse_float=_finite, parse_constant=_refuse)}
    except (ValueError, RecursionError) as error:
        raise UnreadableJob(int(id), f"its {name} is not JSON: {error}"[:200]) from error


def _finite(text: str) -> float | None:
    # What is too large for a number has no JSON; JavaScript writes null.
    return number if math.isfinite(number := float(text)) else None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _number_in(fields: Mapping[str, str], name: str) -> int | float | None:
    text = fields.get(name, "")
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return int(number) if number.is_integer() else number


# A job as it is asked for

_OPTIONS: Final = {
    "attempts": {"type": "integer", "minimum": 1, "default": 1},
    "priority": {"type": ["string", "number"], "examples": ["high", -10], "default": "normal"},
    "delay": {"type": "number", "description": "From now, ms."},
    "backoff": {
        "description": "true: the delay again. Else how to wait; never code.",
        "examples": [True, {"type": "exponential", "delay": 60000, "maxDelay": 3600000}],
    },
    "ttl": {"type": "number", "description": "How long a run may take, ms."},
    "removeOnComplete": {"type": "boolean", "default": False},
    "searchKeys": {"description": "Passed over: what jobs are found by is decided where a queue is opened."},
}
_ITEM: Final = {
    "type": "object",
    "required": ["type"],
    "properties": {
        "type": {"type": "string"},
        "data": {"description": "Any JSON; {} by default."},
        "options": {"type": "object", "properties": _OPTIONS},
    },
}
# What a POST asks for, for the description.
_NOTHING: Final = ({"type": "object", "maxProperties": 0}, {"type": "null"})
ASKED: Final = {"anyOf": [_ITEM, {"type": "array", "items": _ITEM}, *_NOTHING]}
_EXAMPLE: Final = {"type": "email", "data": {"title": "Call mum"}, "options": {"attempts": 3, "delay": 60000}}
EXAMPLES: Final = {"one": {"value": _EXAMPLE}, "a list": {"value": [_EXAMPLE, {"type": "report"}]}}


def asked(item: Any) -> NewJob:
    """The job that one item of a POST asks for. What Kue passes over is passed over, `searchKeys` too; what it would store
    and stumble over later is refused. Raises InvalidJob, naming the option."""
    if not isinstance(item, dict):
        raise InvalidJob("a job must be a JSON object")
    options = item.get("options") or {}
    if not isinstance(options, dict):
        raise InvalidJob("options must be a JSON object")
    if not item.get("type"):
        raise InvalidJob("Must provide job type")
    data = item.get("data")
    new = NewJob(
        type=item["type"],
        # In JavaScript an empty list is something, an empty text or a 0 is not.
        data=data if data or isinstance(data, list) else {},
        attempts=_attempts(options.get("attempts")),
        priority=_priority(options.get("priority")),
        delay=_span(options, "delay", "options."),
        backoff=_backoff(options.get("backoff")),
        ttl=_span(options, "ttl", "options."),
        remove_on_complete=_flag(options.get("removeOnComplete")),
    )
    # Checked whole, so that a refusal is of this job alone.
    new.to_args()
    return new


def _attempts(value: Any) -> int:
    number = _as_number(value)
    if value in (None, False, 0, ""):
        return 1
    if number is None or number < 1:
        raise InvalidJob(f"options.attempts must be a whole number from 1, not {_shown(value)}")
    return int(number)


def _priority(value: Any) -> int | float | str:
    if value in (None, False, ""):
        return "normal"
    number = _as_number(value)
    # By name where it is none; an unknown one is refused with the names there are.
    return value if number is None else number


def _span(given: Mapping[str, Any], name: str, where: str) -> timedelta | None:
    """So many milliseconds; nothing where Kue passes a number over since it is not above 0."""
    value = given.get(name)
    if value in (None, False, ""):
        return None
    number = _as_number(value)
    if number is None or number > LONGEST_WAIT_MS:
        raise InvalidJob(
            f"{where}{name} must be a number of milliseconds, a thousand years at most, not {_shown(value)}"
        )
    # Rounded up: never early.
    return timedelta(milliseconds=math.ceil(number)) if number > 0 else None


def _flag(value: Any) -> bool:
    # Kue stores any value that is something, and reads any text at all as yes, "false" too.
    if value is not None and not isinstance(value, bool):
        raise InvalidJob(f"options.removeOnComplete must be true or false, not {_shown(value)}")
    return value is True


def _backoff(value: Any) -> Backoff | None:
    if value in (None, False, ""):
        return None
    if value is True:
        return Backoff.same()
    if not isinstance(value, dict) or value.get("type") not in ("fixed", "exponential"):
        raise InvalidJob(
            "options.backoff must be true or an object whose type is fixed or exponential; text, which would be code, is "
            "never run"
        )
    delay = _span(value, "delay", "options.backoff.")
    if value["type"] == "fixed":
        return Backoff.fixed(delay)
    return Backoff.exponential(delay, max_delay=_span(value, "maxDelay", "options.backoff."))


def _as_number(value: Any) -> int | float | None:
    """A number, or a text that is one, as forms send them."""
    if isinstance(value, str):
        return _number_in({"": value}, "")
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:60]
