"""The door of the commands: the queue that the environment names, opened for one act, and what a person typed, understood."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, NoReturn, TypeVar

import typer

from rmindr.queue import Queue, QueueError, State
from rmindr.queue_commands.telling import clean
from rmindr.settings import QueueSettings

T = TypeVar("T")

_UNITS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SPAN: Final = re.compile(r"(?:\d{1,12}(?:ms|[smhd]))+")
_PART: Final = re.compile(r"(\d+)(ms|[smhd])")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
JobId = Annotated[int, typer.Argument(min=1, max=2**53 - 1, metavar="ID", help="The job's number.")]
InState = Annotated[State | None, typer.Option("--state", help="Only jobs in this state.")]
OfType = Annotated[str | None, typer.Option("--type", help="Only jobs of this type.")]


def run(act: Callable[[Queue], Awaitable[T]]) -> T:
    """What this act with the queue answers; where the queue refuses, its sentence on stderr, and status 1."""
    settings = QueueSettings.load()

    async def opened() -> T:
        url = settings.redis_url.get_secret_value()
        async with Queue.open(url, prefix=settings.queue_prefix, name="rmindr-queue") as queue:
            return await act(queue)

    try:
        return asyncio.run(opened())
    except QueueError as error:
        fail(str(error))


def fail(sentence: str) -> NoReturn:
    """End with this sentence on stderr."""
    complain(sentence)
    raise typer.Exit(1)


def complain(sentence: str) -> None:
    """Say on stderr what went wrong."""
    typer.echo(f"rmindr: {clean(sentence)}", err=True)


def span(text: str) -> timedelta:
    """A duration as people write it: 90s, 10m, 1h30m, 7d, 500ms."""
    if not _SPAN.fullmatch(text):
        raise typer.BadParameter(f"{text!r:.60} is no duration; write 90s, 10m, 1h30m, 7d or 500ms")
    try:
        return timedelta(milliseconds=sum(int(count) * _UNITS[unit] for count, unit in _PART.findall(text)))
    except OverflowError:
        raise typer.BadParameter(f"{text!r:.60} is longer than anybody waits") from None


def instant(text: str) -> datetime:
    """An instant with its zone, e.g. 2030-01-01T09:00:00Z or 2030-01-01T09:00+01:00."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise typer.BadParameter(f"{text!r:.60} is no instant with a zone; write 2030-01-01T09:00:00Z")
    return found.astimezone(UTC)
