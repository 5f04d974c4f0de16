"""The words that look: stats, types, jobs, show, log, workers, history, audit. None of them changes anything."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

import typer

from rmindr.queue import Job, JobNotFound, Queue
from rmindr.queue.audit import audit as find_violations
from rmindr.queue.history import CLASSES_MS, Moment, Period
from rmindr.queue.listing import Filter, Page
from rmindr.queue.scripts import unavailable
from rmindr.queue_commands import telling
from rmindr.queue_commands.door import InState, JobId, Json, OfType, fail, run

app = typer.Typer()

# What a job says to those who made it, and to nobody else unasked.
_PRIVATE: Final = ("data", "progress_data", "result")


@app.command()
def stats(json: Json = False) -> None:
    """How many jobs stand in each state."""

    async def look(queue: Queue) -> dict[str, Any]:
        counts, worked = await queue.jobs.counts(), await queue.jobs.work_time()
        everything, types = await queue.steering.paused()
        return {"counts": counts, "worked": worked, "paused": everything, "paused_types": types}

    found = run(look)
    worked = found.pop("worked")
    if json:
        telling.print_json(found | {"work_time_ms": telling.plain(worked)})
        return
    telling.print_table(("state", ">jobs"), found["counts"].items())
    if worked is not None:
        telling.console().print(f"all completed runs took {telling.duration(worked)} together")
    paused = ["everything"] if found["paused"] else found["paused_types"]
    if paused:
        telling.console().print(f"paused: {telling.clean(', '.join(paused))}")


@app.command()
def types(json: Json = False) -> None:
    """Every type, its jobs by state, its pause and its limit."""

    async def look(queue: Queue) -> list[dict[str, Any]]:
        names = await queue.jobs.types()
        counts = await asyncio.gather(*(queue.jobs.counts(name) for name in names))
        (_, paused), limits = await queue.steering.paused(), await queue.steering.limits()
        return [
            {"type": name, "counts": each, "paused": name in paused, "limit": limits.get(name)}
            for name, each in zip(names, counts, strict=True)
        ]

    found = run(look)
    if json:
        telling.print_json(found)
        return
    telling.print_table(
        ("type", *(f">{state}" for state in (found[0]["counts"] if found else ())), "paused", "limit"),
        (
            (each["type"], *each["counts"].values(), each["paused"] or None, limit_words(each["limit"]))
            for each in found
        ),
    )


@app.command()
def jobs(
    state: InState = None,
    type: OfType = None,
    search: Annotated[str, typer.Option(help="Only jobs in which these words stand.")] = "",
    newest: Annotated[bool, typer.Option("--newest", help="The last ones first, whatever the state.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    json: Json = False,
) -> None:
    """Jobs without their data: delayed ones soonest first, ended ones latest first, others next to run first."""
    wanted = Filter(state=state, type=type, words=search)

    async def look(queue: Queue) -> Page:
        return await queue.listing.page(wanted, count=limit, reverse=newest and not wanted.descends)

    page = run(look)
    if json:
        lines = [about(line.job) if line.job else {"id": line.job_id, "unreadable": line.why} for line in page.lines]
        telling.print_json({"total": page.total, "jobs": lines})
        return
    telling.print_table(
        (">id", "type", "state", ">priority", "attempts", "due, started or ended", "error"),
        (_row(line.job) if line.job else (line.job_id, "", "", "", "", "", line.why) for line in page.lines),
    )
    if page.total > len(page.lines):
        telling.console().print(f"{len(page.lines):,} of {page.total:,}")
    if search and not page.indexed:
        telling.console().print("no words are indexed here: Queue.open(search=…) says which are")


@app.command()
def show(
    id: JobId,
    data: Annotated[
        bool, typer.Option("--data", help="Its data, too, its result, and what it says of its progress.")
    ] = False,
    json: Json = False,
) -> None:
    """Everything about one job; what its makers put into it only with --data."""

    async def look(queue: Queue) -> Job:
        job = await queue.get(id)
        if job is None:
            raise JobNotFound(id)
        return job

    found = about(run(look), data=data)
    if json:
        telling.print_json(found)
        return
    found["attempts"] = telling.attempts(found.pop("attempts"), found.pop("max_attempts"))
    shown = {name: value for name, value in found.items() if value is not False}
    for name in _PRIVATE:
        if name in shown:
            shown[name] = telling.indented(shown[name])
    if not data:
        shown["data"] = "hidden; --data shows it"
    telling.print_facts(shown)


@app.command()
def log(id: JobId, json: Json = False) -> None:
    """What was written into a job's log, oldest first."""

    async def look(queue: Queue) -> list[str]:
        lines = await queue.jobs.log(id)
        if not lines and (await queue.jobs.states([id]))[0] is None:
            raise JobNotFound(id)
        return list(lines)

    lines = run(look)
    if json:
        telling.print_json(lines)
        return
    for line in lines:
        typer.echo(telling.clean(line))


@app.command()
def workers(json: Json = False) -> None:
    """Who works here, on what, and when they were last heard of."""
    found = run(lambda queue: queue.steering.workers())
    if json:
        telling.print_json(found)
        return
    telling.print_table(
        ("worker", "host", ">pid", "types", "jobs in hand", ">memory, MiB", "since", "last heard of", "alive"),
        (
            (each.id, each.host, str(each.pid), ", ".join(f"{type}:{slots}" for type, slots in each.types.items()),
             " ".join(map(str, each.active)), each.memory // 2**20, each.started_at, each.seen_at, each.alive)
            for each in found
        ),
    )  # fmt: skip


@app.command()
def history(
    minutes: Annotated[int | None, typer.Option(min=1, max=240, help="So many minutes; 30 by default.")] = None,
    days: Annotated[int | None, typer.Option(min=1, max=100, help="So many days.")] = None,
    json: Json = False,
) -> None:
    """What was made, ended and failed, and how late runs began: half of them, and 99 of 100, not later than this."""
    if minutes is not None and days is not None:
        raise typer.BadParameter("--minutes or --days, not both")
    count = days or minutes or 30
    period: Period = "day" if days else "minute"
    moments = run(lambda queue: queue.history.last(count, period))
    if json:
        telling.print_json([_counted(moment) for moment in moments])
        return
    telling.print_table(
        (period, ">created", ">complete", ">failed", ">failed attempts", ">late, half", ">late, 99 %"),
        (
            (moment.begins, moment.created, moment.complete, moment.failed, moment.failed_attempts, _late(moment, 0.5),
             _late(moment, 0.99))
            for moment in moments
        ),
    )  # fmt: skip


@app.command()
def audit(json: Json = False) -> None:
    """Look whether everything in the keyspace is as it must be, while it is at work; status 1 where something is not.

    Reads it twice, seconds apart, in small steps, and tells what is wrong both times."""

    async def look(queue: Queue) -> list[str]:
        with unavailable():
            return await find_violations(queue.redis, queue.keys.prefix, live=True)

    found = run(look)
    if json:
        telling.print_json(found)
    for violation in found if not json else ():
        typer.echo(telling.clean(violation))
    if found:
        fail(f"{len(found):,} {'thing is' if len(found) == 1 else 'things are'} not as they must be")
    if not json:
        typer.echo("everything is as it must be")


def about(job: Job, *, data: bool = False) -> dict[str, Any]:
    """All that is known of a job; what is private only where that is asked for."""
    return telling.known(job, but=() if data else _PRIVATE)


def limit_words(limit: Any) -> str | None:
    """A limit in words, e.g. 10 per 1 s, 4 at once."""
    if limit is None:
        return None
    rate = [f"{limit.rate:,} per {telling.duration(limit.per)}"] if limit.rate is not None else []
    return ", ".join([*rate, *([f"{limit.concurrency:,} at once"] if limit.concurrency is not None else [])])


def _row(job: Job) -> tuple[Any, ...]:
    when = {"delayed": job.promote_at, "active": job.started_at, "failed": job.failed_at, "complete": job.updated_at}
    error = (job.error or "").partition("\n")[0] if job.state in ("failed", "delayed") else ""
    made = telling.attempts(job.attempts, job.max_attempts)
    return str(job.id), job.type, job.state, job.priority, made, when.get(job.state, job.promote_at), error[:120]


def _counted(moment: Moment) -> dict[str, Any]:
    late = dict(zip((*map(str, CLASSES_MS), "more"), moment.late, strict=False))
    # Null where no run began, and where it is beyond the last class.
    return telling.known(moment) | {
        "late": late,
        "late_p50_ms": moment.late_ms(0.5),
        "late_p99_ms": moment.late_ms(0.99),
    }


def _late(moment: Moment, share: float) -> str:
    late = moment.late_ms(share)
    if late is None:
        return ""
    return f"{late:,.0f} ms" if late != float("inf") else f"over {CLASSES_MS[-1]:,} ms"
