"""How a request's body becomes values, strictly: JSON that is JSON, forms that are UTF-8, and nothing else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from email.message import Message
from typing import Any, Final
from urllib.parse import parse_qsl
from uuid import UUID

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json

from rmindr.web.quotas import quotas

MERGE_PATCH: Final = "application/merge-patch+json"
_JSON: Final = ("application/json", MERGE_PATCH)
# In what a change may come (RFC 5789).
ACCEPT_PATCH: Final = {"Accept-Patch": f"{MERGE_PATCH}, application/json"}
_FORM: Final = "application/x-www-form-urlencoded"
_MAX_FIELDS: Final = 30
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


class _StrictRequest(Request):
    """A request whose JSON has no NaN, no lone surrogates, no deep nesting, no name twice, and nothing behind it."""

    async def json(self) -> Any:
        """The body as values. Raises HTTPException 400."""
        return _values(await self.body())


class StrictRoute(APIRoute):
    """A JSON route: another content type is refused with 415 before the body is looked at."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's handler behind that check."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            # What is no id may be an address of its own, which has other methods.
            if not _is_id(request.path_params.get("id")) and request.method not in (spelled_out(request) or METHODS):
                raise HTTPException(405)
            _require_once(name for name, _ in request.query_params.multi_items())
            _require_once(name for name, _ in request.headers.items() if name == "idempotency-key")
            if self.body_field is not None:
                _require_json(request)
            response = await handle(_StrictRequest(request.scope, request.receive))
            response.headers.update(quotas(request.scope))
            return response

        return strict


def spelled_out(request: Request) -> list[str]:
    """The methods of an address that is described letter by letter, or by its ending: it is no id of something at a more
    general one."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    paths = request.app.openapi()["paths"]
    described = paths.get(path) or next((has for of, has in paths.items() if _ends_as(path, of)), ())
    return [method for method in METHODS if method.lower() in described]


def _ends_as(path: str, template: str) -> bool:
    """Whether an address ends as this template does behind its last parameter, e.g. `….ics` as `/reminders/{id}.ics`."""
    ending = template.rpartition("}")[2]
    return "}" in template and bool(ending) and not ending.startswith("/") and path.endswith(ending)


async def json_body(request: Request) -> Any:
    """The body as values, as strictly as a JSON route takes it. Raises HTTPException: 415 for another content type, 400."""
    _require_json(request)
    return _values(await request.body())


async def form_fields(request: Request) -> tuple[dict[str, str], frozenset[str]]:
    """The fields of a posted form, and the names of those whose bytes were not UTF-8 (each such byte reads �).

    Raises HTTPException: 415 for another content type, 400 for a field given twice."""
    if _content_type(request) != _FORM:
        raise HTTPException(415, f"Send the form as {_FORM}.")
    try:
        pairs = parse_qsl(
            (await request.body()).decode("latin-1"),
            keep_blank_values=True,
            encoding="latin-1",
            max_num_fields=_MAX_FIELDS,
        )
    except ValueError:
        raise HTTPException(400, "The form has more fields than it could have.") from None
    _require_once(name for name, _ in pairs)
    fields: dict[str, str] = {}
    undecodable = set()
    for name, value in pairs:
        raw = value.encode("latin-1")
        fields[name] = raw.decode(errors="replace")
        if fields[name].encode() != raw:
            undecodable.add(name)
    return fields, frozenset(undecodable)


async def pressed(request: Request) -> dict[str, str]:
    """What a form says that may be nothing but a button. Raises HTTPException as form_fields does."""
    if not request.headers.get("content-type") and not await request.body():
        return {}
    fields, _ = await form_fields(request)
    return fields


def _is_id(text: str | None) -> bool:
    try:
        return text is None or bool(UUID(text))
    except ValueError:
        return False


def _values(body: bytes) -> Any:
    try:
        values = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise HTTPException(400, f"The body is not JSON: {error}.") from None
    # Of two equal names the parser above keeps the last in silence; what it took cannot trouble this one.
    json.loads(body, object_pairs_hook=_named_once)
    return values


def _named_once(pairs: list[tuple[str, Any]]) -> None:
    _require_once(name for name, _ in pairs)


def _require_once(names: Iterable[str]) -> None:
    """Whoever writes a name twice means one of the two, and nobody knows which. Raises HTTPException 400."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise HTTPException(400, f"«{twice[0][:60]}» is given twice.")


def _require_json(request: Request) -> None:
    if _content_type(request) in _JSON:
        return
    if request.method == "PATCH":
        raise HTTPException(415, f"Send the change as {MERGE_PATCH} or application/json.", ACCEPT_PATCH)
    raise HTTPException(415, "Send the body as application/json.")


def _content_type(request: Request) -> str:
    message = Message()
    message["content-type"] = request.headers.get("content-type", "")
    return message.get_content_type() if message["content-type"] else ""
