"""The pages a person sees: the form, one reminder's true timeline, and how to talk to the API. All work without scripts."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
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
from rmindr.drafts import MAX_MESSAGE, MAX_SUBJECT, Asked
from rmindr.errors import InvalidDraft, StorageUnavailable
from rmindr.models import FINAL, Reminder, Status
from rmindr.web.access import require_own_page
from rmindr.web.api import Books, preview_of
from rmindr.web.bodies import form_fields
from rmindr.web.problems import RETRY_AFTER_S

router = APIRouter(include_in_schema=False)

_FIELDS: Final = ("to", "message", "subject", "date", "time", "time_zone", "fold", "key")
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
    "claimed": "Attempt begun",
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
        "inbox": False,
    }
    environment.filters |= {"words": _words, "clock": _clock, "unicode_address": _unicode_address, "prose": _prose}
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
    return _page(request, "form.html", form=Form(values), fresh=True)


@router.post("/", dependencies=[Depends(require_own_page)])
async def schedule(request: Request, books: Books) -> Response:
    """Schedule what the form says; the same form sent twice is one reminder."""
    fields, form = await _typed(request)
    if form.problems:
        return _refused(request, form, form.problems)
    try:
        reminder = await books.schedule(_asked(fields), idem_key=_key(fields))
    except InvalidDraft as error:
        return _refused(request, form, error.problems)
    except StorageUnavailable:
        form.notice = (
            "It could not be saved just now. Nothing is lost: what you typed is still here. Try again in a moment."
        )
        page = _page(request, "form.html", form=form, fresh=False, code=503)
        page.headers["Retry-After"] = str(RETRY_AFTER_S)
        return page
    return RedirectResponse(f"/reminders/{reminder.id}", 303)


@router.post("/preview", dependencies=[Depends(require_own_page)])
async def preview(request: Request, books: Books) -> Response:
    """The form again, with the instant in words: what scripts show while one types."""
    fields, form = await _typed(request)
    try:
        form.preview = preview_of(books, _asked(fields)).sentence
    except InvalidDraft as error:
        return _refused(request, form, error.problems)
    return _page(request, "form.html", form=form, fresh=False)


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
    local = found.due_at.astimezone(ZoneInfo(found.time_zone))
    values = {
        "to": found.recipient,
        "message": found.message,
        "subject": found.subject,
        "date": f"{local:%Y-%m-%d}",
        "time": f"{local:%H:%M:%S}" if local.second else f"{local:%H:%M}",
        "time_zone": found.time_zone,
        "fold": str(local.fold) if local.fold else "",
        "key": "",
    }
    return _page(request, "form.html", form=Form(values), fresh=False, editing=id)


@router.post("/reminders/{id}/edit", dependencies=[Depends(require_own_page)])
async def edit(id: UUID, request: Request, books: Books) -> Response:
    """Change it, and show it so."""
    fields, form = await _typed(request)
    if form.problems:
        return _refused(request, form, form.problems, editing=id)
    try:
        await books.edit(id, _asked(fields))
    except InvalidDraft as error:
        return _refused(request, form, error.problems, editing=id)
    except StorageUnavailable:
        form.notice = "It could not be saved just now. What you typed is still here. Try again in a moment."
        return _page(request, "form.html", form=form, fresh=False, editing=id, code=503)
    return RedirectResponse(f"/reminders/{id}", 303)


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The API in words, made from its OpenAPI description: no third party's viewer, no script."""
    return _page(request, "docs.html", api=request.app.openapi())


def _page(request: Request, name: str, *, code: int = 200, **context: Any) -> Response:
    context.setdefault("editing", None)
    return HTMLResponse(request.app.state.templates.get_template(name).render(context), code)


def _reminder_page(request: Request, found: Reminder) -> Response:
    now = datetime.now(UTC)
    until = (found.next_at - now).total_seconds()
    final = found.status in FINAL
    return _page(
        request,
        "reminder.html",
        reminder=found,
        status=Status(found.status),
        place=ZoneInfo(found.time_zone),
        final=final,
        changeable=found.status in (Status.SCHEDULED, Status.RETRYING),
        distance=times.distance_in_words(abs(found.due_at - now)),
        overdue=until < 0 and not final,
        # A page without scripts looks again by itself: soon when something is about to happen, seldom otherwise.
        refresh=None if final else max(1, min(30, round(until) + 1)),
    )


async def _typed(request: Request) -> tuple[dict[str, str], Form]:
    given, undecodable = await form_fields(request)
    fields = {name: given.get(name, "") for name in _FIELDS}
    problems = {name: "contains bytes that are not text (UTF-8)" for name in undecodable if name in fields}
    return fields, Form(fields, problems, folds=_folds(fields))


def _asked(fields: Mapping[str, str]) -> Asked:
    date, clock = fields["date"].strip(), fields["time"].strip()
    return Asked(
        to=fields["to"],
        message=fields["message"],
        subject=fields["subject"] or None,
        when=f"{date}T{clock}" if date and clock else "",
        time_zone=fields["time_zone"].strip().replace(" ", "_") or "UTC",
        fold=int(fields["fold"]) if fields["fold"] in ("0", "1") else None,
    )


def _folds(fields: Mapping[str, str]) -> tuple[str, str] | None:
    try:
        return times.folds(times.read(f"{fields['date']}T{fields['time']}").wall, times.zone(fields["time_zone"]))
    except times.BadTime:
        return None


def _key(fields: Mapping[str, str]) -> str | None:
    """The form's own key together with what it says: sent twice it is one reminder, changed and sent again another."""
    if not fields["key"]:
        return None
    said = "\x00".join(fields[name] for name in _FIELDS)
    return f"form:{hashlib.sha256(said.encode()).hexdigest()}"


def _refused(request: Request, form: Form, problems: Mapping[str, str], editing: UUID | None = None) -> Response:
    form.problems = problems
    return _page(request, "form.html", form=form, fresh=False, editing=editing, code=422)


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
