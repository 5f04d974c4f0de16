"""`rmindr queue watch`: the queue as it lives, drawn anew at every event, and now and then without one."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rmindr.queue import Queue, QueueUnavailable, State
from rmindr.queue.events import EVENTS
from rmindr.queue_commands import telling
from rmindr.queue_commands.door import Json, run

app = typer.Typer()

# Nobody reads faster; and under load, one look stands for many events.
_FASTEST_S: Final = 0.25
_EVENTS_SHOWN: Final = 12
_MINUTES_SHOWN: Final = 5
_FAILURES: Final = ("error", "failed attempt", "failed")


@app.command()
def watch(
    every: Annotated[
        float, typer.Option(min=0.5, max=60, help="Look this often though nothing happens, seconds.")
    ] = 2.0,
    json: Json = False,
) -> None:
    """Watch the queue until Ctrl-C: its states, its last minutes, its workers, what happens. With --json, a line for every
    event, and one for every change of the counts."""
    run(lambda queue: _until_interrupted(Watch(queue, every, json=json)))


async def _until_interrupted(watch: Watch) -> None:
    # The first look fails aloud; what comes later is waited out.
    await watch.look()
    interrupted, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted.set)
    watching = asyncio.create_task(watch.run())
    interruption = asyncio.create_task(interrupted.wait())
    await asyncio.wait([watching, interruption], return_when=asyncio.FIRST_COMPLETED)
    for task in (watching, interruption):
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching


class Watch:
    """One watch: what was seen last, and what was heard since."""

    def __init__(self, queue: Queue, every_s: float, *, json: bool) -> None:
        self._queue = queue
        self._every_s = every_s
        self._json = json
        self._console = telling.console()
        self._heard: deque[tuple[datetime, str, int, str]] = deque(maxlen=_EVENTS_SHOWN)
        self._news = asyncio.Event()
        self._seen: dict[str, Any] = {}
        self._away = ""

    async def look(self) -> None:
        """See how everything stands. Raises QueueUnavailable."""
        queue = self._queue
        everything, types = await queue.steering.paused()
        self._seen = {
            "counts": await queue.jobs.counts(),
            "paused": everything,
            "paused_types": types,
            "workers": [worker for worker in await queue.steering.workers() if worker.alive],
            "minutes": await queue.history.last(_MINUTES_SHOWN, "minute"),
        }

    async def run(self) -> None:
        """Look and listen until cancelled."""
        for name in EVENTS:
            self._queue.on(f"job {name}", self._hear(name))
        draws = self._console.is_terminal and not self._json
        async with self._queue.listening():
            with Live(console=self._console, auto_refresh=False) if draws else contextlib.nullcontext() as live:
                told: Any = None
                while True:
                    if live is not None:
                        live.update(self._drawn(), refresh=True)
                    elif (counts := self._counts()) != told:
                        self._tell(told := counts)
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._news.wait(), self._every_s)
                    await asyncio.sleep(_FASTEST_S)
                    self._news.clear()
                    await self._look_again()

    async def _look_again(self) -> None:
        try:
            await self.look()
        except QueueUnavailable as error:
            self._away = str(error)
        else:
            self._away = ""

    def _hear(self, name: str) -> Callable[..., None]:
        def heard(id: int, *args: Any) -> None:
            about = str(args[0]).partition("\n")[0] if name in _FAILURES and args else ""
            self._heard.append((datetime.now(UTC), name, id, about))
            if self._json:
                telling.print_json(
                    {"at": datetime.now(UTC), "event": name, "id": id} | ({"error": about} if about else {})
                )
            elif not self._console.is_terminal:
                self._console.print(f"{datetime.now(UTC):%H:%M:%S} job {id} {name} {telling.clean(about)}".rstrip())
            self._news.set()

        return heard

    def _counts(self) -> dict[str, Any]:
        return {"counts": self._seen["counts"], "paused": self._seen["paused"], "away": self._away or None}

    def _tell(self, counts: dict[str, Any]) -> None:
        if self._json:
            telling.print_json({"at": datetime.now(UTC), **counts})
        else:
            words = ", ".join(f"{count:,} {state}" for state, count in counts["counts"].items())
            self._console.print(f"{datetime.now(UTC):%H:%M:%S} {telling.clean(self._away) or words}")

    def _drawn(self) -> Group:
        states, minutes = Table(box=None, pad_edge=False), Table(box=None, pad_edge=False)
        for state in State:
            states.add_column(state, justify="right")
        states.add_row(*(telling.cell(count) for count in self._seen["counts"].values()))
        for name in ("minute", "created", "complete", "failed", "late, 99 %"):
            minutes.add_column(name, justify="left" if name == "minute" else "right")
        for moment in self._seen["minutes"]:
            late = moment.late_ms(0.99)
            row = (f"{moment.begins:%H:%M}Z", moment.created, moment.complete, moment.failed)
            minutes.add_row(*map(telling.cell, row), telling.cell("" if late is None else f"{late:,.0f} ms"))
        events = (f"{at:%H:%M:%S}Z  job {id} {name} {about}".rstrip() for at, name, id, about in self._heard)
        return Group(
            states, Text(), minutes, Text(), Text(telling.clean(self._standing())), Text(), *(map(_line, events)),
        )  # fmt: skip

    def _standing(self) -> str:
        if self._away:
            return self._away
        workers, paused = self._seen["workers"], self._seen["paused_types"]
        said = [f"{len(workers)} worker{'' if len(workers) == 1 else 's'} with {_in_hand(workers)} jobs in hand"]
        if self._seen["paused"] or paused:
            said.append(f"paused: {', '.join([*(['everything'] if self._seen['paused'] else []), *paused])}")
        return "; ".join(said)


def _line(text: str) -> Text:
    return Text(telling.clean(text), no_wrap=True, overflow="ellipsis")


def _in_hand(workers: list[Any]) -> int:
    return sum(len(worker.active) for worker in workers)
