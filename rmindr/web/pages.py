"""The pages a person sees: the form, one reminder's true timeline, and how to talk to the API. All work without scripts."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from rmindr import times
from rmindr.drafts import MAX_MESSAGE, MAX_SUBJECT, Asked, subject_from
from rmindr.errors import InvalidDraft, StorageUnavailable, TooLate
from rmindr.models import FINAL, WAITING, Reminder, Status
from rmindr.reminders import Reminders
from rmindr.web import queue_words
from rmindr.web.access import require_own_page
from rmindr.web.api import Books, preview_of
from rmindr.web.bodies import form_fields
from rmindr.web.problems import PROBLEMS, RETRY_AFTER_S, anchor

router = APIRouter(include_in_schema=False)

_FIELDS: Final = ("message", "date", "time", "time_zone", "fold", "to", "subject", "key", "was")
# Where on the form a complaint about a field stands, in the form's order.
_SHOWN_AT: Final = {
    "message": "message",
    "when": "when",
    "due_at": "when",
    "date": "when",
    "time": "when",
    "fold": "when",
    "time_zone": "time_zone",
    "to": "to",
    "subject": "subject",
}
_CHANGEABLE: Final = (Status.UNCONFIRMED, *WAITING)
_STATUS_WORDS: Final = {
    Status.UNCONFIRMED: "Waiting for confirmation",
    Status.SCHEDULED: "Scheduled",
    Status.SENDING: "Leaving now",
    Status.RETRYING: "Trying again",
    Status.SENT: "Sent",
    Status.FAILED: "Not sent",
    Status.CANCELLED: "Cancelled",
    Status.MISSED: "Missed",
    Status.UNCERTAIN: "May have been sent",
}
_EVENT_WORDS: Final = {
    "created": "Scheduled",
    "edited": "Changed",
    "cancelled": "Cancelled",
    "claimed": "Attempt",
    "given back": "Handed to another worker",
    "put off": "Asked to try later",
    "outage": "The mail server is the trouble",
    "in doubt": "No answer from the mail server",
    "sent": "Taken by the mail server",
    "failed": "Not sent",
    "missed": "Missed",
    "uncertain": "May have been sent",
}


@dataclass
class Form:
    """The form as it stands on the page: what was typed, what is wrong with it, and what it would become."""

    values: Mapping[str, str]
    problems: Mapping[str, str] = field(default_factory=dict)
    preview: str | None = None
    folds: tuple[str, str] | None = None
    notice: str | None = None

    def refused(self, problems: Mapping[str, str]) -> Form:
        """This form with these complaints, each where the form shows it and in the form's order."""
        found: dict[str, str] = {}
        for name, place in _SHOWN_AT.items():
            if name in problems:
                found.setdefault(place, problems[name].rstrip("."))
        self.problems = found
        return self


def templates() -> Environment:
    """The templates, with everything escaped that is not said to be safe."""
    environment = Environment(
        loader=PackageLoader("rmindr.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "zones": times.zones(),
        "status_words": _STATUS_WORDS,
        "event_words": _EVENT_WORDS,
        "max_message": MAX_MESSAGE,
        "max_subject": MAX_SUBJECT,
        "asset": _assets(),
        "icon": _icon,
        "problems": PROBLEMS,
        "inbox": False,
        "queue": False,
    }
    environment.filters |= {
        "words": _words,
        "clock": _clock,
        "unicode_address": _unicode_address,
        "prose": _prose,
        "anchor": anchor,
    }
    queue_words.teach(environment)
    return environment


@router.get("/")
async def form(request: Request) -> Response:
    """The form, empty."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    values = dict.fromkeys(_FIELDS, "") | {
        "date": f"{tomorrow:%Y-%m-%d}",
        "time": "09:00",
        "time_zone": "UTC",
        "key": secrets.token_urlsafe(16),
    }
    page = _form_page(request, Form(values), fresh=True)
    # Nothing on it is secret yet, and whoever goes back to it finds what was typed.
    page.headers["Cache-Control"] = "no-cache"
    return page


@router.post("/", dependencies=[Depends(require_own_page)])
async def schedule(request: Request, books: Books) -> Response:
    """Schedule what the form says; the same form sent twice is one reminder."""
    fields, form = await _typed(request)
    if form.problems:
        return _form_page(request, form)
    try:
        reminder = await books.schedule(_asked(fields), idem_key=_key(fields))
    except InvalidDraft as error:
        return _form_page(request, form.refused(error.problems))
    except StorageUnavailable:
        return _not_saved(request, form)
    return RedirectResponse(f"/reminders/{reminder.id}", 303)


@router.post("/preview", dependencies=[Depends(require_own_page)])
async def preview(request: Request, books: Books) -> Response:
    """The form again, with the instant in words: what scripts show while one types."""
    return await _preview(request, books)


@router.get("/reminders/{id}")
async def reminder(id: UUID, request: Request, books: Books) -> Response:
    """One reminder as it stands."""
    return _reminder_page(request, await books.find(id))


@router.post("/reminders/{id}/cancel", dependencies=[Depends(require_own_page)])
async def cancel(id: UUID, books: Books) -> Response:
    """Cancel it, and show it so."""
    await books.cancel(id)
    return RedirectResponse(f"/reminders/{id}", 303)


@router.get("/reminders/{id}/edit")
async def edit_form(id: UUID, request: Request, books: Books) -> Response:
    """The form, filled with the reminder."""
    found = await books.find(id)
    if found.status not in _CHANGEABLE:
        raise TooLate(found.status)
    local = found.due_at.astimezone(ZoneInfo(found.time_zone))
    values = dict.fromkeys(_FIELDS, "") | {
        "to": found.recipient,
        "message": found.message,
        # One that is made from the message stays so.
        "subject": "" if found.subject == subject_from(found.message) else found.subject,
        "date": f"{local:%Y-%m-%d}",
        "time": f"{local:%H:%M:%S}" if local.second else f"{local:%H:%M}",
        "time_zone": found.time_zone,
    }
    folds = _folds(values)
    if folds is not None:
        values["fold"] = str(local.fold)
    values["was"] = _time_said(values)
    return _form_page(request, Form(values, folds=folds), editing=id)


@router.post("/reminders/{id}/edit", dependencies=[Depends(require_own_page)])
async def edit(id: UUID, request: Request, books: Books) -> Response:
    """Change it, and show it so."""
    fields, form = await _typed(request)
    if form.problems:
        return _form_page(request, form, editing=id)
    try:
        await books.edit(id, _asked(fields))
    except InvalidDraft as error:
        return _form_page(request, form.refused(error.problems), editing=id)
    except StorageUnavailable:
        return _not_saved(request, form, editing=id)
    return RedirectResponse(f"/reminders/{id}", 303)


@router.post("/reminders/{id}/preview", dependencies=[Depends(require_own_page)])
async def preview_edit(id: UUID, request: Request, books: Books) -> Response:
    """The form for this change again, with the instant in words."""
    return await _preview(request, books, editing=id)


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The API in words, made from its OpenAPI description: no third party's viewer, no script."""
    return _page(request, "docs.html", api=request.app.openapi())


def _page(request: Request, name: str, *, code: int = 200, **context: Any) -> Response:
    return HTMLResponse(request.app.state.templates.get_template(name).render(context), code)


def _form_page(
    request: Request, form: Form, *, fresh: bool = False, editing: UUID | None = None, code: int = 200
) -> Response:
    today = datetime.now(UTC) - timedelta(hours=12)
    context = {"form": form, "fresh": fresh, "editing": editing, "today": f"{today:%Y-%m-%d}"}
    return _page(request, "form.html", code=422 if form.problems else code, **context)


def _not_saved(request: Request, form: Form, editing: UUID | None = None) -> Response:
    form.notice = "It could not be saved just now. What you typed is still here. Try again in a moment."
    page = _form_page(request, form, editing=editing, code=503)
    page.headers["Retry-After"] = str(RETRY_AFTER_S)
    return page


async def _preview(request: Request, books: Reminders, editing: UUID | None = None) -> Response:
    fields, form = await _typed(request)
    asked = _asked(fields)
    try:
        if asked.when is None:
            form.preview = "The time stays as it is."
        elif not form.problems:
            form.preview = preview_of(books, asked).sentence
    except InvalidDraft as error:
        form.refused(error.problems)
    return _form_page(request, form, editing=editing)


def _reminder_page(request: Request, found: Reminder) -> Response:
    now = datetime.now(UTC)
    until = (found.next_at - now).total_seconds()
    final = found.status in FINAL
    overdue = until < 0 and not final
    return _page(
        request,
        "reminder.html",
        reminder=found,
        status=Status(found.status),
        place=ZoneInfo(found.time_zone),
        changeable=found.status in _CHANGEABLE,
        distance=times.distance_in_words(abs(found.due_at - now)),
        lateness=_lateness(found.lateness_ms),
        overdue=overdue,
        # What scripts compare: each change of the row moves updated_at.
        version=f"{found.rev}.{found.updated_at.timestamp()}.{overdue}",
        # A page without scripts looks again by itself: soon when something is about to happen, seldom otherwise.
        refresh=None if final else max(1, min(30, round(until) + 1)),
    )


def _lateness(ms: int | None) -> str:
    if ms is None:
        return ""
    if ms < 1000:
        return f"{ms} ms"
    return f"{ms / 1000:.1f} seconds" if ms < 60_000 else times.distance_in_words(timedelta(milliseconds=ms))


async def _typed(request: Request) -> tuple[dict[str, str], Form]:
    given, undecodable = await form_fields(request)
    fields = {name: given.get(name, "") for name in _FIELDS}
    form = Form(fields, folds=_folds(fields))
    return fields, form.refused(dict.fromkeys(undecodable, "has bytes that are not text (UTF-8)"))


def _asked(fields: Mapping[str, str]) -> Asked:
    asked = Asked(
        to=fields["to"],
        message=fields["message"],
        subject=fields["subject"],
        when=_wall(fields),
        time_zone=_zone(fields),
        fold=int(fields["fold"]) if fields["fold"] in ("0", "1") else None,
    )
    # A time that was not touched stays what it was, to the millisecond, even where it has passed.
    untouched = fields["was"] != "" and fields["was"] == _time_said(fields)
    return replace(asked, when=None, time_zone=None, fold=None) if untouched else asked


def _wall(fields: Mapping[str, str]) -> str:
    date, clock = fields["date"].strip(), fields["time"].strip()
    return f"{date}T{clock}" if date and clock else ""


def _zone(fields: Mapping[str, str]) -> str:
    return fields["time_zone"].strip().replace(" ", "_") or "UTC"


def _time_said(fields: Mapping[str, str]) -> str:
    """The time that the form says, written in one way whatever the browser does."""
    wall = _wall(fields)
    with contextlib.suppress(times.BadTime):
        wall = times.read(wall).wall.isoformat()
    return f"{wall} {_zone(fields)} {fields['fold']}"


def _folds(fields: Mapping[str, str]) -> tuple[str, str] | None:
    try:
        return times.folds(times.read(_wall(fields)).wall, times.zone(_zone(fields)))
    except times.BadTime:
        return None


def _key(fields: Mapping[str, str]) -> str | None:
    """The form's own key together with what it says: sent twice it is one reminder, changed and sent again another."""
    if not fields["key"]:
        return None
    said = "\x00".join(fields[name] for name in _FIELDS)
    return f"form:{hashlib.sha256(said.encode()).hexdigest()}"


def _words(moment: datetime, place: ZoneInfo) -> Markup:
    """A moment as people say it, with the machine's form beside it."""
    return Markup('<time datetime="{}">{}</time>').format(
        moment.isoformat(timespec="milliseconds"), times.in_words(moment, place)
    )


def _clock(ms: int, place: ZoneInfo) -> Markup:
    """One line's instant: its local time to the second, the rest in its title."""
    moment = datetime.fromtimestamp(ms / 1000, UTC).astimezone(place)
    day = f"{moment:%A %-d %B %Y} ({times.offset(moment)})"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        moment.isoformat(timespec="milliseconds"), day, f"{moment:%-d %b %H:%M:%S}"
    )


def _unicode_address(address: str) -> str:
    """An address as people write it: its domain in its own letters."""
    local, _, domain = address.rpartition("@")
    try:
        return f"{local}@{domain.encode('ascii').decode('idna')}"
    except UnicodeError:
        return address


def _prose(text: str) -> Markup:
    """Words of ours, in which `this` is code."""
    parts = (
        Markup("<code>{}</code>").format(part) if odd % 2 else escape(part) for odd, part in enumerate(text.split("`"))
    )
    return Markup("").join(parts)


def _icon(name: str) -> Markup:
    return Markup('<svg class="icon" aria-hidden="true"><use href="{}#{}"/></svg>').format(_ICONS, name)


def _assets() -> dict[str, str]:
    """Static files by name → their address, which changes with their content so that they can be kept for ever."""
    folder = files("rmindr.web") / "static"
    return {
        item.name: f"/static/{hashlib.sha256(item.read_bytes()).hexdigest()[:12]}/{item.name}"
        for item in folder.iterdir()
        if item.is_file()
    }


_ICONS: Final = _assets()["icons.svg"] if (files("rmindr.web") / "static" / "icons.svg").is_file() else ""
