"""What every page is made with: the templates, the words for states and events, and how times and addresses are shown."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final
from zoneinfo import ZoneInfo

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from rmindr import times
from rmindr.drafts import MAX_MESSAGE, MAX_SUBJECT
from rmindr.models import Person, Reminder, Status
from rmindr.recurrence import presets
from rmindr.web import queue_words
from rmindr.web.problems import PROBLEMS, anchor
from rmindr.web.theme import theme_of

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
    "confirmed": "Confirmed",
    "done": "Done",
    "snoozed": "Put off by a person",
    "now": "Sent without waiting, at somebody's wish",
    "restored": "Taken back",
    "moved": "Moved, for the zone has new rules",
    "claimed": "Attempt",
    "given back": "Handed to another worker",
    "put off": "Asked to try later",
    "outage": "The mail server is the trouble",
    "parted": "To be sent by itself",
    "in doubt": "No answer from the mail server",
    "sent": "Taken by the mail server",
    "failed": "Not sent",
    "missed": "Missed",
    "uncertain": "May have been sent",
}

# Clocks are changed at quarters of an hour.
_OFFSETS_STAND_S: Final = 900


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
        "zones": _zones,
        # By any day; which one it is, the preview says.
        "repeats": list(presets(datetime(2026, 1, 1))),  # noqa: DTZ001  (a clock)
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
        "at": _at,
        "brief": _brief,
        "day": _day,
        "gist": _gist,
        "place": ZoneInfo,
        "clock": _clock,
        "unicode_address": _unicode_address,
        "prose": _prose,
        "anchor": anchor,
    }
    queue_words.teach(environment)
    return environment


def page(request: Request, template: str, /, *, code: int = 200, **context: Any) -> HTMLResponse:
    """This template as an answer."""
    context["theme"] = theme_of(request)
    person: Person | None = getattr(request.state, "person", None)
    if person is not None and person.mailbox in request.app.state.operators.mailboxes:
        context["operator"] = True
    return HTMLResponse(request.app.state.templates.get_template(template).render(context), code)


def lateness(ms: int | None) -> str:
    """How late, in words; empty where it has not left."""
    if ms is None:
        return ""
    if ms < 1000:
        return f"{ms} ms"
    return f"{ms / 1000:.1f} seconds" if ms < 60_000 else times.distance_in_words(timedelta(milliseconds=ms))


def _zones() -> Mapping[str, str]:
    """The zones to choose from, each with its city in words and how far its clock is from UTC now."""
    return _zones_at(round(datetime.now(UTC).timestamp() / _OFFSETS_STAND_S))


@lru_cache(maxsize=1)
def _zones_at(quarter: int) -> Mapping[str, str]:
    moment = datetime.fromtimestamp(quarter * _OFFSETS_STAND_S, UTC)
    found = {}
    for name in times.zones():
        offset = times.offset(moment.astimezone(ZoneInfo(name)))
        found[name] = f"{name.rpartition('/')[2].replace('_', ' ')}, {offset}" if "_" in name else offset
    return found | {"UTC": ""}


def _words(moment: datetime, place: ZoneInfo) -> Markup:
    """A moment as people say it, with the machine's form beside it."""
    return Markup('<time datetime="{}">{}</time>').format(
        moment.isoformat(timespec="milliseconds"), times.in_words(moment, place)
    )


def _at(moment: datetime, place: ZoneInfo) -> Markup:
    """A moment of a day that is named above: its time alone."""
    local = moment.astimezone(place)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        moment.isoformat(timespec="milliseconds"), times.in_words(moment, place), f"{local:%H:%M}"
    )


def _brief(moment: datetime, place: ZoneInfo) -> str:
    """A moment on a button, e.g. `Wed 25 Nov 09:00`."""
    return f"{moment.astimezone(place):%a %-d %b %H:%M}"


def _day(day: date) -> str:
    """A day as a heading."""
    return f"{day:%A %-d %B %Y}"


def _gist(reminder: Reminder) -> str:
    """What a reminder is about, in a line."""
    return reminder.message.strip().partition("\n")[0][:200]


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
