"""The words that decide for all workers: pause, resume, limit, retain, schedules."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal, cast

import typer

from rmindr.queue import Kept, Limit, Queue, State
from rmindr.queue_commands import telling
from rmindr.queue_commands.door import Json, fail, run, span
from rmindr.queue_commands.looking import limit_words

app = typer.Typer()
schedules = typer.Typer(
    invoke_without_command=True, rich_markup_mode=None, help="What repeats: all of it, or remove one."
)

Type = Annotated[str | None, typer.Argument(metavar="[TYPE]", help="The type of jobs.", show_default=False)]
Nothing = Annotated[bool, typer.Option("--none", help="None from now on.")]


@app.command()
def pause(type: Type = None, json: Json = False) -> None:
    """Let no worker take a job of this type, or any without one, until `resume`; what runs goes on."""

    async def act(queue: Queue) -> dict[str, Any]:
        await queue.steering.pause(type)
        return await _pauses(queue)

    _tell_pauses(run(act), json=json)


@app.command()
def resume(type: Type = None, json: Json = False) -> None:
    """Let workers take jobs of this type again; without one, end the pause of everything (a type's own pause stays)."""

    async def act(queue: Queue) -> dict[str, Any]:
        await queue.steering.resume(type)
        return await _pauses(queue)

    _tell_pauses(run(act), json=json)


@app.command()
def limit(
    type: Type = None,
    rate: Annotated[int | None, typer.Option(min=1, help="So many runs begin at most …")] = None,
    per: Annotated[
        timedelta | None, typer.Option(parser=span, metavar="SPAN", help="… in this time; 1s by default.")
    ] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="So many runs go on at once at most.")] = None,
    none: Nothing = False,
    json: Json = False,
) -> None:
    """Limit the runs of a type in all processes together; without a change, show what limits there are."""
    new = Limit(rate=rate, per=per or timedelta(seconds=1), concurrency=concurrency)
    changes = none or rate is not None or concurrency is not None
    if changes and type is None:
        raise typer.BadParameter("say which type's")
    if none and new != Limit():
        raise typer.BadParameter("--none goes with nothing else")
    if per is not None and rate is None:
        raise typer.BadParameter("--per goes with --rate")

    async def act(queue: Queue) -> dict[str, Limit]:
        if changes and type is not None:
            await queue.steering.limit(type, None if none else new)
        limits = await queue.steering.limits()
        return {name: each for name, each in limits.items() if type in (None, name)}

    found = run(act)
    if json:
        telling.print_json(found)
        return
    telling.print_table(("type", "limit"), ((name, limit_words(each)) for name, each in sorted(found.items())))


@app.command()
def retain(
    state: Annotated[
        State | None, typer.Argument(metavar="[STATE]", help="complete or failed.", show_default=False)
    ] = None,
    count: Annotated[int | None, typer.Option(min=0, help="So many are kept at most.")] = None,
    age: Annotated[
        timedelta | None, typer.Option(parser=span, metavar="SPAN", help="For so long at most: 12h, 30d.")
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Keep all, for ever.")] = False,
    json: Json = False,
) -> None:
    """Say how many ended jobs are kept, and for how long; without a change, show it."""
    new = Kept(count=count, age=age)
    changes = none or new != Kept()
    if state not in (None, State.COMPLETE, State.FAILED) or (changes and state is None):
        raise typer.BadParameter("say which: complete or failed")
    if none and new != Kept():
        raise typer.BadParameter("--none goes with nothing else")

    async def act(queue: Queue) -> dict[State, Kept]:
        if changes:
            await queue.steering.retain(cast(Literal[State.COMPLETE, State.FAILED], state), new)
        return {name: each for name, each in (await queue.steering.retention()).items() if state in (None, name)}

    found = run(act)
    if json:
        telling.print_json(found)
        return
    rows = ((name, "all" if each.count is None else each.count, each.age or "ever") for name, each in found.items())
    telling.print_table(("state", ">kept", "for"), rows)


@schedules.callback()
def all_schedules(context: typer.Context, json: Json = False) -> None:
    """Every schedule, soonest first."""
    if context.invoked_subcommand is not None:
        return
    found = run(lambda queue: queue.schedules.all())
    if json:
        telling.print_json([telling.known(each, but=("data",)) for each in found])
        return
    telling.print_table(
        ("schedule", "type", "every", "cron", "zone", "next"),
        (
            (each.name, each.type, each.every, each.cron, each.zone if each.cron else None, each.next_at)
            for each in found
        ),
    )


@schedules.command("remove")
def remove_schedule(name: Annotated[str, typer.Argument(help="The schedule's name.")], json: Json = False) -> None:
    """Let no further job of this schedule come; those that it made stay."""
    if not run(lambda queue: queue.schedules.remove(name)):
        fail(f"there is no schedule {name!r:.100}")
    if json:
        telling.print_json({"removed": name})
    else:
        typer.echo(f"schedule {telling.clean(name)} is removed")


async def _pauses(queue: Queue) -> dict[str, Any]:
    everything, types = await queue.steering.paused()
    return {"paused": everything, "paused_types": types}


def _tell_pauses(found: dict[str, Any], *, json: bool) -> None:
    if json:
        telling.print_json(found)
        return
    paused = [*(["everything"] if found["paused"] else []), *found["paused_types"]]
    typer.echo(f"paused: {telling.clean(', '.join(paused))}" if paused else "nothing is paused")
