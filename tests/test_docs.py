"""The pages about the queue and about what is guaranteed: what they name exists, what they show runs, nothing is left out."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from redis.asyncio import Redis

import rmindr.queue
from rmindr.queue import Backoff, Context, Job, Kept, Limit, NewJob, Queue, QueueUnavailable, Schedule, State, keys
from rmindr.queue.audit import INTEGERS, JSON, OTHERS, REQUIRED, audit
from rmindr.queue.events import EVENTS
from rmindr.queue.job import MAX_DATA_BYTES, MAX_TYPE_LENGTH
from rmindr.queue.printf import LONGEST_TEXT
from rmindr.queue.scripts import VERBS
from rmindr.queue.worker import LEASE, TICK
from tests.conftest import Clock
from tests.queue.crew import ended, working
from tests.queue.scenery import PATIENCE_S, Wire, a_lease, eventually, taken_by_kue, until
from tests.servers import Valkey
from tests.test_architecture import edge, states_in

HOUSE: Final = Path(__file__).parent.parent
PAGE: Final = (HOUSE / "docs" / "queue.md").read_text(encoding="utf-8")
GUARANTEES: Final = (HOUSE / "docs" / "guarantees.md").read_text(encoding="utf-8")
# Faults of the worker, of Redis, of the database, of the mail server, of time and clients; what always holds; security.
NUMBERS: Final = {"A": 16, "B": 13, "C": 11, "D": 15, "E": 12, "I": 22, "S": 45}
VERDICTS: Final = ("**held**", "**in part**", "**not here**", "**open**")
PAGES: Final = sorted([*HOUSE.glob("*.md"), *HOUSE.glob("docs/*.md"), *HOUSE.glob("benchmarks/*.md")])
ADDRESS: Final = '"redis://localhost:6379"'


def section(heading: str) -> str:
    """What stands under a heading, up to the next of its level."""
    level = heading.partition(" ")[0]
    found = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^{level} |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"no section {heading!r}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of all rows of the tables in a text, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    heads = {at - 1 for at, row in enumerate(cells) if set("".join(row)) == {"-"}}
    return [row for at, row in enumerate(cells) if at not in heads and at - 1 not in heads]


def spans(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", text)


# What it names exists


def functions_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("page", [PAGE, GUARANTEES], ids=["queue", "guarantees"])
def test_every_test_that_is_named_exists(page: str) -> None:
    named = {tuple(span.split("::")) for span in spans(page) if "::" in span}
    there = {file: functions_in(HOUSE / "tests" / file) for file in {file for file, _ in named}}

    missing = [f"{file}::{name}" for file, name in sorted(named) if name not in there[file]]

    assert missing == []
    assert all(name.startswith("test_") for _, name in named)
    assert len(named) > 100


@pytest.mark.parametrize("heading", ["## What is guaranteed", "## What Kue does wrong", "## Kue's API, line by line"])
def test_every_line_names_its_test(heading: str) -> None:
    nameless = [row for row in rows(section(heading)) if "::" not in row[-1]]

    assert nameless == []


def test_each_guarantee_stands_once_and_in_order_with_a_verdict_and_its_tests() -> None:
    numbered = [row for row in rows(GUARANTEES) if re.fullmatch(r"[A-Z]\d+", row[0])]

    assert [row[0] for row in numbered] == [f"{letter}{n + 1}" for letter, most in NUMBERS.items() for n in range(most)]
    assert [row[0] for row in numbered if not row[-2].startswith(VERDICTS)] == []
    assert [row[0] for row in numbered if row[-2].startswith(VERDICTS[:2]) and "::" not in row[-1]] == []
    # Whoever says less than «held» says what is missing.
    assert [row[0] for row in numbered if row[-2] in VERDICTS[1:]] == []


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8"))
    targets = [(page.parent / path if path else page, anchor) for path, anchor in links]

    assert [target for target, _ in targets if not target.exists()] == []
    assert [anchor for target, anchor in targets if anchor and anchor not in anchors(target.read_text("utf-8"))] == []


def sources() -> Iterator[Path]:
    for folder in ("rmindr", "tests", "benchmarks", "docs"):
        for kind in ("*.py", "*.lua", "*.js", "*.md"):
            yield from (file for file in (HOUSE / folder).rglob(kind) if "node_modules" not in file.parts)
    yield from HOUSE.glob("*.md")


def test_no_file_speaks_of_a_page_that_is_not_here() -> None:
    here = {page.name for page in PAGES}
    spoken_of = {name for file in sources() for name in re.findall(r"\b[\w-]+\.md\b", file.read_text(encoding="utf-8"))}

    assert spoken_of <= here


def test_the_rooms_of_the_queue_are_all_named() -> None:
    named = set(spans((HOUSE / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    rooms = {f"queue/{file.name}" for file in (HOUSE / "rmindr" / "queue").glob("*.py")} - {"queue/__init__.py"}

    assert rooms <= named


# It leaves out nothing


def test_every_state_is_named_in_order_of_life() -> None:
    assert [row[0] for row in rows(section("## States"))] == [f"`{state}`" for state in State]


def test_every_transition_is_named_with_its_edge_and_its_file() -> None:
    table = rows(section("## Transitions"))

    assert tuple(row[0] for row in table) == VERBS
    assert [row[-1] for row in table] == [f"`{verb}.lua`" for verb in VERBS]
    drawn = [tuple(map(states_in, row[1].split("→"))) for row in table]
    assert drawn == [tuple(map(states_in, edge(verb))) for verb in VERBS]


def test_a_state_is_left_by_the_transitions_that_start_from_it() -> None:
    told = {row[0].strip("`"): set(spans(row[2])) for row in rows(section("## States"))}

    start = {verb: states_in(edge(verb)[0]) - states_in(edge(verb)[1]) for verb in VERBS}
    for state, verbs in told.items():
        assert {verb for verb in VERBS if state in start[verb]} <= verbs <= set(VERBS)


def test_every_error_is_named() -> None:
    public = {name: getattr(rmindr.queue, name) for name in rmindr.queue.__all__}
    errors = {name for name, each in public.items() if inspect.isclass(each) and issubclass(each, Exception)}

    assert errors - {"Abandon", "Retry"} <= set(spans(section("## Transitions")))


def test_every_key_is_named_and_no_other() -> None:
    schema = inspect.getdoc(keys) or ""
    known = set(
        re.findall(r"(?<!\S)(P:\S+|\w+:lock)(?=[ ,])", "\n".join(re.findall(r"^    \S.*$", schema, re.MULTILINE)))
    )

    assert {key for row in rows(section("## Keys")) for key in spans(row[0])} == known


def test_every_field_of_a_job_is_named_and_no_other() -> None:
    [paragraph] = re.findall(r"^Fields of a job\..*?(?=Instants)", section("## Keys"), re.MULTILINE | re.DOTALL)

    assert sorted(spans(paragraph)) == sorted({*REQUIRED, *INTEGERS, *JSON, *OTHERS})


async def one_of_each(queue: Queue, clock: Clock) -> None:
    """Every event that there is, at least once."""
    life = queue.lifecycle
    await queue.create("email", delay=timedelta(seconds=1), attempts=2)
    clock.advance(seconds=1)
    await life.promote()
    lease = await a_lease(queue)
    await life.progress(lease, 50)
    await life.fail(lease, "no", wait_ms=0)
    await life.fail(await a_lease(queue), "no", wait_ms=0)
    await queue.retry(1)
    await life.complete(await a_lease(queue))
    await queue.remove(1)
    await queue.create("email", ttl=timedelta(seconds=1))
    await a_lease(queue)
    clock.advance(seconds=2)
    [late] = await life.expired(clock.ms)
    await life.expire(late)


async def test_every_event_is_told_with_the_arguments_that_are_named(
    valkey: Valkey, queue: Queue, clock: Clock
) -> None:
    forms = {row[0]: row[1].strip("`[]").split(", ") for row in rows(section("## Events"))}

    async with Wire.tap(queue, valkey.direct) as wire:
        await one_of_each(queue, clock)
        heard = [json.loads(message)["args"] for message in await wire.take()]

    assert tuple(forms) == EVENTS
    assert {args[0] for args in heard} == set(EVENTS)
    for args in heard:
        form = forms[args[0]]
        assert [json.dumps(args[0]), len(args)] == [form[0], len(form)]
        assert all(value is None for value, meant in zip(args, form, strict=True) if meant == "null")


def test_where_kue_is_not_followed_the_decisions_say_so() -> None:
    decisions = (HOUSE / "docs" / "decisions.md").read_text(encoding="utf-8")
    [decision] = re.findall(r"^## [\d-]+ · What of Kue's API.*?(?=^## )", decisions, re.MULTILINE | re.DOTALL)
    refused = [row[0] for row in rows(section("## Kue's API, line by line")) if re.search(r"\*\*[Nn]o\*\*", row[1])]

    assert [line for line in refused if not set(spans(line)) & set(spans(decision))] == []
    assert len(refused) > 10


@pytest.mark.parametrize(
    "measure",
    [
        f"their leases ({LEASE.seconds} s) end",
        f"by one tick ({TICK.seconds} s) at most",
        f"up to {MAX_DATA_BYTES // 1024} KiB of JSON",
        f"1 to {MAX_TYPE_LENGTH} printable characters",
        f"up to {LONGEST_TEXT:,} characters",
    ],
)
def test_a_measure_is_that_of_the_code(measure: str) -> None:
    assert measure in " ".join(PAGE.split())


# What it shows runs


def examples() -> list[Any]:
    """Every block of Python on the page, by the heading that it stands under, at its own line."""
    found = []
    for block in re.finditer(r"^( *)```python\n(.*?)^\1```$", PAGE, re.MULTILINE | re.DOTALL):
        above = PAGE[: block.start()]
        heading = re.findall(r"^#+ (.+)$", above, re.MULTILINE)[-1]
        lines = "\n" * (above.count("\n") + 1)
        found.append(pytest.param(lines + textwrap.dedent(block[2]), id=f"{heading}, line {len(lines)}"))
    return found


async def run(example: str, queue: Queue, url: str) -> None:
    """An example as it stands, but for where its Redis is, and under a prefix of the test's own."""
    text = example.replace(ADDRESS, f"{url!r}, prefix={queue.keys.prefix!r}")
    code = compile(text, "docs/queue.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    public = {name: getattr(rmindr.queue, name) for name in rmindr.queue.__all__}
    known = {"asyncio": asyncio, "datetime": datetime, "timedelta": timedelta, "UTC": UTC, "queue": queue}
    async with asyncio.timeout(PATIENCE_S):
        # The code of the page, which is ours.
        if inspect.iscoroutine(awaited := eval(code, public | known)):
            await awaited


@pytest.mark.parametrize("example", examples())
async def test_every_example_runs(valkey: Valkey, live_queue: Queue, example: str) -> None:
    await run(example, live_queue, valkey.url)

    assert await audit(live_queue.redis, live_queue.keys.prefix) == []


async def test_what_a_killed_kue_held_waits_again_after_the_guide_and_what_we_hold_stays_ours(
    valkey: Valkey, live_queue: Queue, clock: Clock
) -> None:
    [guide] = [each.values[0] for each in examples() if each.id.startswith("Moving off Kue")]
    for n in range(2):
        job = await live_queue.create("email", {"n": n}, attempts=3)
        await taken_by_kue(live_queue, job, clock.ms)
    ours = await live_queue.create("email", {"n": 2})
    await a_lease(live_queue)

    for _ in range(2):
        await run(guide, live_queue, valkey.url)

    waiting = await live_queue.jobs.range(State.INACTIVE)
    assert [(job.data["n"], job.attempts) for job in waiting] == [(0, 1), (1, 1)]
    assert await live_queue.jobs.ids(State.ACTIVE) == [ours.id]


async def test_the_permissions_that_are_named_are_enough() -> None:
    [line] = re.findall(r"^```acl\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)
    server = Valkey()
    server.start()
    try:
        async with Redis.from_url(server.direct) as redis:
            await redis.execute_command(*line.split())
        url = f"redis://queue:a-password@127.0.0.1:{server.port}"
        async with Queue.open(url, name="permitted", search=("title",)) as queue:
            await everything(queue)

        async with Queue.open(url, prefix="other") as queue:
            with pytest.raises(QueueUnavailable, match="permission"):
                await queue.create("email")
    finally:
        server.remove()


async def everything(queue: Queue) -> None:
    """Whatever a queue does, or nearly."""

    async def work(job: Job, context: Context) -> None:
        await context.progress(1, 2)
        await context.log("half way")
        if job.data.get("fails"):
            raise RuntimeError("no")

    queue.process("email", work)
    heard: list[int] = []
    queue.on("job complete", lambda job_id, *_: heard.append(job_id))
    await queue.schedules.declare(Schedule(name="daily", type="email", every=timedelta(days=1)))
    await queue.steering.limit("email", Limit(rate=100, concurrency=2))
    await queue.steering.retain(State.COMPLETE, Kept(count=10))
    async with queue.listening(), working(queue):
        await queue.steering.pause("email")
        jobs = [
            await queue.create("email", {"title": "hello"}, delay=timedelta(milliseconds=20), unique="one"),
            await queue.create("email", {"fails": True}, attempts=2, backoff=Backoff.fixed(timedelta(milliseconds=10))),
            *await queue.create_many([NewJob(type="email")] * 3),
        ]
        await queue.update(jobs[2].id, priority="high")
        assert await queue.cancel(jobs[3].id) is State.FAILED
        await queue.steering.resume("email")
        await eventually(partial(ended, queue, *(job.id for job in jobs)))
        await until(lambda: jobs[0].id in heard)
        assert await queue.jobs.search("hel") == [jobs[0].id]
        await eventually(queue.steering.workers)
    assert await queue.jobs.retry_all() == 2
    assert await queue.jobs.remove_all(State.INACTIVE) == 2
    assert await queue.history.last(1, "minute")
    assert await queue.overviews.whole()
