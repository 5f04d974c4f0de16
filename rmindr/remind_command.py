"""`rmindr remind` and `rmindr replan`: a reminder from here or by a remote API; and what new zone rules moved."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import typer

from rmindr import times
from rmindr.alarms import Alarms
from rmindr.database import Database
from rmindr.drafts import Asked
from rmindr.errors import RmindrError
from rmindr.gate import Asker, OpenGate, PeopleGate
from rmindr.limits import Limits
from rmindr.models import Status
from rmindr.people import People
from rmindr.queue import Queue
from rmindr.reminders import Reminders
from rmindr.replanning import replan_all
from rmindr.settings import LOOPBACK, Settings
from rmindr.signing import Signer

_PATIENCE_S: Final = 30
_WAITS: Final = "It waits for a yes from that address; a mail is on its way that asks, if it may be asked."


class Refused(RmindrError):
    """The remote service did not take it; the message is its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was typed."""

    message: str
    at: str
    to: str
    zone: str
    repeat: str | None = None
    deadline: str | None = None
    subject: str | None = None


def here() -> str:
    """The zone of this machine, as far as it says so; else UTC."""
    told = [os.environ.get("TZ", "").removeprefix(":"), str(Path("/etc/localtime").resolve()).partition("zoneinfo/")[2]]
    for name in told:
        try:
            return times.zone(name).key
        except times.BadTime:
            continue
    return "UTC"


async def remind(settings: Settings, wish: Wish) -> None:
    """Schedule it in this instance's own database. Raises InvalidDraft, TooMany, StorageUnavailable."""
    async with (
        Database.open(settings.database_url.get_secret_value()) as database,
        Queue.open(
            settings.redis_url.get_secret_value(),
            prefix=settings.queue_prefix,
            name="rmindr-remind",
            patience=timedelta(seconds=1),
        ) as queue,
    ):
        alarms = Alarms(queue, timedelta(hours=settings.feed_window_hours))
        people = People(database, Signer(settings.secret_keys or [secrets.token_urlsafe(32)]), alarms)
        counted = Limits(database, (settings.secret_keys or [""])[-1])
        # Whoever types here is nobody known: the same doors as for everybody.
        local = settings.access == "open"
        gate = OpenGate() if local else PeopleGate(people, counted, settings.recipients.allow)
        made = await Reminders(database, alarms, gate).schedule(_asked(wish), Asker(client="command line"))
    if made is None or made.status == Status.UNCONFIRMED:
        typer.echo(_WAITS)
        return
    repeats = " It repeats." if made.series_id is not None else ""
    typer.echo(f"{made.id}  {times.in_words(made.due_at, ZoneInfo(made.time_zone))}.{repeats}")


def remind_at(url: str, token: str | None, wish: Wish) -> None:
    """Schedule it by the API of the service at this address. Raises Refused."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refused("--url must look like https://remind.example.org")
    if token and parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise Refused("a token is not sent in the clear: use https://")
    asked = _asked(wish)
    body = {name: value for name in asked.__slots__ if (value := getattr(asked, name)) is not None}
    headers = {"Content-Type": "application/json", "Idempotency-Key": secrets.token_urlsafe(16)}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    address = f"{url.rstrip('/')}/api/reminders"
    request = urllib.request.Request(address, json.dumps(body).encode(), headers)  # noqa: S310  (looked at above)
    made = _sent(request)
    if made["status"] == Status.UNCONFIRMED:
        typer.echo(_WAITS)
        return
    repeats = " It repeats." if made.get("series_id") else ""
    typer.echo(f"{made['id']}  {made['due_at']} ({made['time_zone']}).{repeats}")


async def replan(settings: Settings) -> None:
    """List what the zone rules in use have moved, as it is moved. Raises StorageUnavailable."""
    count = 0
    async with Database.open(settings.database_url.get_secret_value()) as database:
        async for each in replan_all(database):
            typer.echo(str(each))
            count += 1
    typer.echo(f"{count:,} moved" if count else "nothing has moved")


def _asked(wish: Wish) -> Asked:
    return Asked(
        to=wish.to,
        message=wish.message,
        subject=wish.subject,
        when=wish.at,
        time_zone=wish.zone,
        repeat=wish.repeat,
        deadline_at=wish.deadline,
    )


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows nowhere: a token is for the address that was typed."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Nothing to follow."""


def _sent(request: urllib.request.Request) -> dict[str, Any]:
    try:
        with urllib.request.build_opener(_Stay).open(request, timeout=_PATIENCE_S) as answer:
            made = json.load(answer)
    except urllib.error.HTTPError as error:
        raise Refused(_why(error)) from None
    except (OSError, http.client.HTTPException) as error:
        raise Refused(f"the service cannot be reached: {getattr(error, 'reason', error)}") from None
    except ValueError:
        raise Refused("the service answered something else than JSON") from None
    if not isinstance(made, dict) or "status" not in made:
        raise Refused("the service answered something else than a reminder")
    return made


def _why(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["detail"])
    except (ValueError, KeyError, TypeError, OSError):
        return f"the service answered {error.code}"
