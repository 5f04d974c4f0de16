"""The words that act on jobs, by their numbers or on all of a state: retry, cancel, remove, run-now, reschedule, priority; and
take-back, on what a Kue has left behind."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, cast

import typer

from rmindr.queue import Queue, Refused, State, UnreadableJob
from rmindr.queue_commands import telling
from rmindr.queue_commands.door import InState, Json, OfType, complain, instant, run, span

app = typer.Typer()

Ids = Annotated[
    list[int] | None,
    typer.Argument(min=1, max=2**53 - 1, metavar="ID…", help="The jobs' numbers.", show_default=False),
]
All = Annotated[bool, typer.Option("--all", help="All jobs in the state, instead of some by number.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask first.")]
Ended = Literal[State.COMPLETE, State.FAILED]

# The states that each verb starts from; where it is one, or one is meant first, --all does without --state.
_WAITING: Final = (State.DELAYED, State.INACTIVE)
_LIVING: Final = (*_WAITING, State.ACTIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What is done: with one job, and with all of a state and type. `done` says what has become of them."""

    verb: str
    done: str
    starts_from: Sequence[State]
    one: Callable[[Queue, int], Awaitable[Any]]
    all: Callable[[Queue, State, str | None], Awaitable[int]]
    by_default: State | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """What a person said of which jobs are meant."""

    ids: list[int] | None
    all: bool
    state: State | None
    type: str | None
    yes: bool
    json: bool


@app.command()
def retry(
    ids: Ids = None, all: All = False, state: InState = None, type: OfType = None, yes: Yes = False, json: Json = False
) -> None:
    """Run failed jobs again, or complete ones."""
    act = Act(
        verb="retry",
        done="to run again",
        starts_from=(State.FAILED, State.COMPLETE),
        one=lambda queue, id: queue.retry(id),
        all=lambda queue, state, type: queue.jobs.retry_all(cast(Ended, state), type),
        by_default=State.FAILED,
    )
    _do(act, Which(ids=ids, all=all, state=state, type=type, yes=yes, json=json))


@app.command()
def cancel(
    ids: Ids = None, all: All = False, state: InState = None, type: OfType = None, yes: Yes = False, json: Json = False
) -> None:
    """Call jobs off: what waits never runs, what runs is told. They end failed, as «Cancelled»."""
    act = Act(
        verb="cancel",
        done="called off",
        starts_from=_LIVING,
        one=lambda queue, id: queue.cancel(id),
        all=lambda queue, state, type: queue.jobs.cancel_all(cast(Any, state), type),
    )
    _do(act, Which(ids=ids, all=all, state=state, type=type, yes=yes, json=json))


@app.command()
def remove(
    ids: Ids = None, all: All = False, state: InState = None, type: OfType = None, yes: Yes = False, json: Json = False
) -> None:
    """Leave nothing of jobs that no worker holds."""
    act = Act(
        verb="remove",
        done="removed",
        starts_from=tuple(State),
        one=lambda queue, id: queue.remove(id),
        all=lambda queue, state, type: queue.jobs.remove_all(state, type),
    )
    _do(act, Which(ids=ids, all=all, state=state, type=type, yes=yes, json=json))


@app.command("run-now")
def run_now(ids: Ids = None, all: All = False, type: OfType = None, yes: Yes = False, json: Json = False) -> None:
    """Make delayed jobs ready to be taken."""
    act = Act(
        verb="run now",
        done="ready to be taken",
        starts_from=(State.DELAYED,),
        one=lambda queue, id: queue.update(id, delay=timedelta(0)),
        all=lambda queue, state, type: _update(queue, state, type, delay=timedelta(0)),
        by_default=State.DELAYED,
    )
    _do(act, Which(ids=ids, all=all, state=None, type=type, yes=yes, json=json))


@app.command()
def reschedule(
    ids: Ids = None,
    after: Annotated[
        timedelta | None, typer.Option("--in", parser=span, metavar="SPAN", help="From now: 10m, 2h30m, 7d.")
    ] = None,
    at: Annotated[
        datetime | None,
        typer.Option("--at", parser=instant, metavar="INSTANT", help="2030-01-01T09:00:00Z, with its zone."),
    ] = None,
    all: All = False,
    state: InState = None,
    type: OfType = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Let jobs that wait be due at another time."""
    if (after is None) == (at is None):
        raise typer.BadParameter("say when: --in or --at, and not both")
    delay = after if at is None else at
    act = Act(
        verb="reschedule",
        done="put off or brought forward",
        starts_from=_WAITING,
        one=lambda queue, id: queue.update(id, delay=delay),
        all=lambda queue, state, type: _update(queue, state, type, delay=delay),
    )
    _do(act, Which(ids=ids, all=all, state=state, type=type, yes=yes, json=json))


@app.command()
def priority(
    to: Annotated[
        str, typer.Option("--to", help="low, normal, medium, high, critical, or a number; smaller runs first.")
    ],
    ids: Ids = None,
    all: All = False,
    state: InState = None,
    type: OfType = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Let jobs that wait be more urgent, or less."""
    level = _level(to)
    act = Act(
        verb="prioritise",
        done=f"at priority {to}",
        starts_from=_WAITING,
        one=lambda queue, id: queue.update(id, priority=level),
        all=lambda queue, state, type: _update(queue, state, type, priority=level),
    )
    _do(act, Which(ids=ids, all=all, state=state, type=type, yes=yes, json=json))


@app.command("take-back")
def take_back(
    ids: Ids = None,
    worker: Annotated[
        str | None,
        typer.Option("--from", metavar="WORKER", help="All that this Kue worker or process holds: kue:host:4711."),
    ] = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Take active jobs from Kue workers that are gone. Of one that lives, they would be run a second time."""
    if (worker is None) != bool(ids):
        raise typer.BadParameter("say which jobs: their numbers, or --from, and not both")
    act = Act(
        verb="take back",
        done="taken back",
        starts_from=(State.ACTIVE,),
        one=lambda queue, id: queue.take_back(id),
        all=lambda queue, state, type: queue.jobs.take_back_from(worker or ""),
    )
    which = Which(ids=ids, all=worker is not None, state=None, type=None, yes=yes, json=json)
    if worker is None:
        _do_each(act, which)
    else:
        held = run(lambda queue: queue.jobs.held_by(worker))
        _do_found(act, which, len(held), State.ACTIVE, f" of {telling.clean(worker)}")


def _do(act: Act, which: Which) -> None:
    if which.all == bool(which.ids):
        raise typer.BadParameter("say which jobs: their numbers, or --all, and not both")
    if not which.all and (which.state is not None or which.type is not None):
        raise typer.BadParameter("--state and --type go with --all")
    if which.all:
        _do_all(act, which)
    else:
        _do_each(act, which)


def _do_each(act: Act, which: Which) -> None:
    async def each(queue: Queue) -> dict[int, str]:
        refused = {}
        for id in dict.fromkeys(which.ids or ()):
            try:
                await act.one(queue, id)
            except (Refused, UnreadableJob) as error:
                refused[id] = str(error)
            else:
                if not which.json:
                    typer.echo(f"job {id} is {act.done}")
        return refused

    refused = run(each)
    if which.json:
        done = [id for id in dict.fromkeys(which.ids or ()) if id not in refused]
        telling.print_json({"verb": act.verb, "done": done, "refused": refused})
    for sentence in refused.values():
        complain(sentence)
    if refused:
        raise typer.Exit(1)


def _do_all(act: Act, which: Which) -> None:
    state = which.state or act.by_default
    if state is None or state not in act.starts_from:
        states = ", ".join(act.starts_from)
        raise typer.BadParameter(f"say which state with --state: {act.verb} --all is for jobs that are {states}")
    found = run(lambda queue: queue.jobs.count(state, which.type))
    _do_found(act, which, found, state, f" of type {telling.clean(which.type)}" if which.type else "")


def _do_found(act: Act, which: Which, found: int, state: State, whose: str) -> None:
    what = f"{found:,} {state} job{'' if found == 1 else 's'}{whose}"
    if found and not which.yes:
        if which.json or not sys.stdin.isatty():
            raise typer.BadParameter(f"this would {act.verb} {what}: say --yes, as nobody can be asked")
        typer.confirm(f"{act.verb} {what}?", abort=True)
    done = run(lambda queue: act.all(queue, state, which.type)) if found else 0
    if which.json:
        telling.print_json({"verb": act.verb, "found": found, "done": done})
    else:
        typer.echo(f"{done:,} of {what} {'is' if done == 1 else 'are'} {act.done}")


async def _update(queue: Queue, state: State, type: str | None, **changes: Any) -> int:
    return await queue.jobs.update_these(await queue.jobs.ids(state, type), **changes)


def _level(text: str) -> int | float | str:
    """By name, unless it is a number."""
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() else number
