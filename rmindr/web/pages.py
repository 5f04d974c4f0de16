"""The pages a person sees: the form, one reminder's true timeline, and how to talk to the API. All work without scripts."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from rmindr import times
from rmindr.drafts import Asked, subject_from
from rmindr.errors import InvalidDraft, StorageUnavailable, TooLate
from rmindr.forms import Preview
from rmindr.models import Reminder
from rmindr.reminders import Reminders
from rmindr.web import previews
from rmindr.web.access import require_own_page
from rmindr.web.api import Books
from rmindr.web.bodies import form_fields
from rmindr.web.here import CHANGEABLE, AtReminder, of_reminder
from rmindr.web.previews import FAR, Refused, preview_of
from rmindr.web.problems import RETRY_AFTER_S
from rmindr.web.templating import page
from rmindr.web.visitors import visitors_of
from rmindr.web.whens import fold_of, folds_of, offers_of, rather, time_of, wall_of, zone_of

router = APIRouter(include_in_schema=False)

_FIELDS: Final = (
    *("message", "when", "refused", "instead", "date", "time", "time_zone", "offered", "fold", "rather", "far"),
    *("repeat", "until", "count", "from_completion", "missed", "deadline_at", "which", "to", "subject", "key", "was"),
)
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
    "repeat": "repeat",
    "until": "repeat",
    "count": "repeat",
    "from_completion": "repeat",
    "missed": "repeat",
    "deadline_at": "deadline_at",
    "subject": "subject",
    "": "which",
}


@dataclass
class Form:
    """The form as it stands on the page: what was typed, what is wrong with it, and what it would become."""

    values: Mapping[str, str]
    problems: Mapping[str, str] = field(default_factory=dict)
    preview: str | None = None
    # What more there is to say of it: the other clock, warnings, what follows.
    more: Preview | None = None
    folds: tuple[str, ...] | None = None
    # What may be meant in place of a time that has passed; and whether one that is years off is meant.
    offers: Mapping[str, str] = field(default_factory=dict)
    far: bool = False
    refused_words: Refused | None = None
    notice: str | None = None
    # The page of a reminder that could not be changed any more: what was typed may become another.
    too_late_for: str | None = None

    def refused(self, problems: Mapping[str, str]) -> Form:
        """This form with these complaints, each where the form shows it and in the form's order."""
        found: dict[str, str] = {}
        for name, place in _SHOWN_AT.items():
            if name in problems:
                found.setdefault(place, problems[name].rstrip("."))
        self.problems = found
        if "when" in found and self.values["when"].strip():
            self.refused_words = previews.refused(self.values["when"], zone_of(self.values))
        if "past" in found.get("when", "") or "not in the future" in found.get("when", ""):
            self.offers = offers_of(self.values)
        return self

    def too_far(self) -> Form:
        """This form, asking whether so far off is meant."""
        self.far = True
        return self.refused({"when": "is more than five years away: say that it is meant"})


@router.get("/")
async def form(request: Request) -> Response:
    """The form, empty, but for what is known of whoever is signed in."""
    person = None
    with contextlib.suppress(StorageUnavailable):
        person = (await visitors_of(request).by_cookie(request)).person
    tomorrow = datetime.now(UTC if person is None else ZoneInfo(person.time_zone)) + timedelta(days=1)
    values = dict.fromkeys(_FIELDS, "") | {
        "date": f"{tomorrow:%Y-%m-%d}",
        "time": "09:00",
        "offered": f"{tomorrow:%Y-%m-%d}T09:00",
        "time_zone": "UTC" if person is None else person.time_zone,
        "to": "" if person is None else person.address,
        "key": secrets.token_urlsafe(16),
    }
    page = _form_page(request, Form(values), fresh=True)
    # Whoever goes back to it finds what was typed.
    page.headers["Cache-Control"] = "private, no-cache"
    return page


@router.post("/", dependencies=[Depends(require_own_page)])
async def schedule(request: Request, books: Books) -> Response:
    """Schedule what the form says; the same form sent twice is one reminder."""
    fields, form = await _typed(request)
    if form.problems:
        return _form_page(request, form)
    try:
        # Not before the form is read: without a database nothing that was typed may be lost.
        asked = _asked(fields)
        if _is_far(books, asked, fields):
            return _form_page(request, form.too_far())
        visitor = await visitors_of(request).by_cookie(request)
        reminder = await books.schedule(asked, visitor.asker, idem_key=_key(fields))
    except InvalidDraft as error:
        return _form_page(request, form.refused(error.problems))
    except StorageUnavailable:
        return _not_saved(request, form)
    if reminder is None or visitor.is_blind_to(reminder):
        return page(request, "asked.html", code=202, to=fields["to"].strip())
    return RedirectResponse(visitor.place_of(reminder, "/reminders"), 303)


@router.post("/preview", dependencies=[Depends(require_own_page)])
async def preview(request: Request, books: Books) -> Response:
    """The form again, with the instant in words: what scripts show while one types."""
    return await _preview(request, books)


@of_reminder(router, "GET", "/edit")
async def edit_form(request: Request, books: Books, here: AtReminder) -> Response:
    """The form, filled with the reminder."""
    found = await books.find(here.id, here.eyes)
    if found.status not in CHANGEABLE:
        raise TooLate(found.status)
    return _form_page(request, _filled(found), act=here.path)


@of_reminder(router, "GET", "/copy")
async def copy(request: Request, books: Books, here: AtReminder) -> Response:
    """The form for another one like it."""
    form = _filled(await books.find(here.id, here.eyes))
    form.values = {**form.values, "was": "", "which": "", "key": secrets.token_urlsafe(16)}
    return _form_page(request, form)


def _filled(found: Reminder) -> Form:
    """The form as it would have been typed for this reminder."""
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
    values["offered"] = f"{values['date']}T{values['time']}"
    folds = folds_of(values)
    if folds is not None:
        values["fold"] = str(local.fold)
    if found.deadline_at is not None:
        until = found.deadline_at.astimezone(ZoneInfo(found.time_zone))
        values["deadline_at"] = f"{until:%Y-%m-%dT%H:%M:%S}"
    values["was"] = _time_said(values)
    values["which"] = "one" if found.series_id is not None else ""
    return Form(values, folds=folds)


@of_reminder(router, "POST", "/edit")
async def edit(request: Request, books: Books, here: AtReminder) -> Response:
    """Change it, and show it so."""
    fields, form = await _typed(request)
    if form.problems:
        return _form_page(request, form, act=here.path)
    try:
        asked, following = _asked(fields), fields["which"] == "following"
        if _is_far(books, asked, fields):
            return _form_page(request, form.too_far(), act=here.path)
        await books.edit(here.id, asked, here.eyes, here.asker, following=following)
    except InvalidDraft as error:
        return _form_page(request, form.refused(error.problems), act=here.path)
    except StorageUnavailable:
        return _not_saved(request, form, act=here.path)
    except TooLate as error:
        form.values = {**form.values, "was": "", "which": "", "key": secrets.token_urlsafe(16)}
        form.notice, form.too_late_for = f"{error} What you typed is here, and can be sent as another one.", here.path
        return _form_page(request, form, code=409)
    return RedirectResponse(here.path, 303)


@of_reminder(router, "POST", "/preview")
async def preview_edit(request: Request, books: Books, here: AtReminder) -> Response:
    """The form for this change again, with the instant in words."""
    await books.find(here.id, here.eyes)
    return await _preview(request, books, act=here.path)


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The API in words, made from its OpenAPI description: no third party's viewer, no script."""
    return page(request, "docs.html", api=request.app.openapi())


def _form_page(request: Request, form: Form, *, fresh: bool = False, act: str = "", code: int = 200) -> Response:
    today = datetime.now(UTC) - timedelta(hours=12)
    context = {"form": form, "fresh": fresh, "act": act, "today": f"{today:%Y-%m-%d}"}
    return page(request, "form.html", code=422 if form.problems else code, **context)


def _not_saved(request: Request, form: Form, act: str = "") -> Response:
    form.notice = "It could not be saved just now. What you typed is still here. Try again in a moment."
    page = _form_page(request, form, act=act, code=503)
    page.headers["Retry-After"] = str(RETRY_AFTER_S)
    return page


async def _preview(request: Request, books: Reminders, act: str = "") -> Response:
    fields, form = await _typed(request)
    reader = None
    with contextlib.suppress(StorageUnavailable):
        # Whose clock it is told on, too, is all that the database is asked here; the time is told without it.
        person = (await visitors_of(request).by_cookie(request)).person
        reader = person.time_zone if person is not None else None
    try:
        asked = _asked(fields)
        if asked.when is None:
            form.preview = "The time stays as it is."
        elif not form.problems:
            form.more = preview_of(books, asked, reader)
            form.preview = form.more.sentence
    except InvalidDraft as error:
        form.refused(error.problems)
    return _form_page(request, form, act=act)


async def _typed(request: Request) -> tuple[dict[str, str], Form]:
    given, undecodable = await form_fields(request)
    fields = rather({name: given.get(name, "") for name in _FIELDS})
    if fields["instead"] and fields["refused"] == fields["when"]:
        # What was chosen in place of these very words.
        fields["when"] = fields["instead"]
    fields["instead"] = fields["refused"] = ""
    form = Form(fields, folds=folds_of(fields))
    return fields, form.refused(dict.fromkeys(undecodable, "has bytes that are not text (UTF-8)"))


def _asked(fields: Mapping[str, str]) -> Asked:
    """The request that a form is. Raises InvalidDraft where it says two times."""
    asked = Asked(
        to=fields["to"],
        message=fields["message"],
        subject=fields["subject"],
        when=time_of(fields),
        time_zone=zone_of(fields),
        fold=fold_of(fields),
        repeat=fields["repeat"].strip() or None,
        until=fields["until"].strip() or None,
        count=_count(fields),
        from_completion=True if fields["from_completion"] == "yes" and fields["repeat"].strip() else None,
        missed="skip" if fields["missed"] == "skip" else None,
        # Of a reminder that is changed, an empty one takes the old one away.
        deadline_at=fields["deadline_at"] if fields["deadline_at"].strip() or fields["was"] else None,
    )
    # A time that was not touched stays what it was, to the millisecond, even where it has passed.
    untouched = fields["was"] != "" and fields["was"] == _time_said(fields)
    return replace(asked, when=None, time_zone=None, fold=None) if untouched else asked


def _is_far(books: Reminders, asked: Asked, fields: Mapping[str, str]) -> bool:
    """Whether it is years off, and nobody has said that this is meant. Raises InvalidDraft."""
    if asked.when is None or fields["far"] == "yes":
        return False
    return books.preview(asked).due_at - datetime.now(UTC) > FAR


def _count(fields: Mapping[str, str]) -> int | None:
    said = fields["count"].strip()
    if not said:
        return None
    if not said.isascii() or not said.isdigit() or len(said) > 6:
        raise InvalidDraft({"count": "must end after a whole number of times"})
    return int(said)


def _time_said(fields: Mapping[str, str]) -> str:
    """The time that the form says, written in one way whatever the browser does."""
    wall = wall_of(fields)
    with contextlib.suppress(times.BadTime):
        wall = times.read(wall).wall.isoformat()
    return f"{wall} {zone_of(fields)} {fields['fold']}" + (f" {said}" if (said := fields["when"].strip()) else "")


def _key(fields: Mapping[str, str]) -> str | None:
    """The form's own key together with what it says: sent twice it is one reminder, changed and sent again another."""
    if not fields["key"]:
        return None
    # What the page itself fills in says nothing new.
    told = {**fields, "missed": fields["missed"] or "once", "offered": "", "far": ""}
    said = "\x00".join(told[name] for name in _FIELDS)
    return f"form:{hashlib.sha256(said.encode()).hexdigest()}"
