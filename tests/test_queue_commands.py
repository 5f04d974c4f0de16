"""`rmindr queue …`, as a person or a program types it: real processes, and what stands in Redis afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

import pytest
import typer
from typer.testing import CliRunner

from rmindr.cli import app
from rmindr.queue import Kept, Limit, Queue, Schedule, State
from tests.processes import Process
from tests.queue.scenery import a_lease, eventually, taken_by_kue
from tests.servers import Valkey, free_port

HOUR: Final = timedelta(hours=1)
# What a terminal, or a style, would make something of.
HOSTILE: Final = "\x1b[31mred\x1b[0m [bold]bold[/bold] \x07 \x9b2J \N{RIGHT-TO-LEFT OVERRIDE} :smile:"
SHOWN: Final = "·[31mred·[0m [bold]bold[/bold] · ·2J · :smile:"


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.status == 0, self.err
        return json.loads(self.out)

    @property
    def rows(self) -> list[list[str]]:
        """What is printed below the head of a table, word by word."""
        assert self.status == 0, self.err
        return [line.split() for line in self.out.splitlines()[1:]]


Typed = Callable[..., Awaitable[Done]]


def environment(url: str, prefix: str, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "REDIS_URL": url, "RMINDR_QUEUE_PREFIX": prefix, **more}


async def type_in(*words: str, env: dict[str, str]) -> Done:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rmindr", "queue", *words,
        env=env, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode is not None
    assert b"Traceback" not in err, err.decode()
    return Done(process.returncode, out.decode(), err.decode())


@pytest.fixture
def started(valkey: Valkey, prefix: str) -> Typed:
    """Starts `rmindr queue …` with nothing set but where the queue is."""

    async def started(*words: str) -> Done:
        return await type_in(*words, env=environment(valkey.url, prefix))

    return started


@pytest.fixture
def typed(valkey: Valkey, prefix: str) -> Typed:
    """The same without a process of its own, which costs half a second each."""
    one_at_a_time = asyncio.Lock()

    async def typed(*words: str) -> Done:
        async with one_at_a_time:
            invoke = partial(CliRunner().invoke, app, ["queue", *words], env=environment(valkey.url, prefix))
            said = await asyncio.to_thread(invoke)
        assert said.exception is None or isinstance(said.exception, SystemExit), said.exception
        return Done(said.exit_code, said.stdout, said.stderr)

    return typed


@pytest.fixture
def queue(live_queue: Queue) -> Queue:
    """On the server's own clock, as the commands are."""
    return live_queue


async def a_scene(queue: Queue) -> None:
    """1 complete, 2 failed, 3 inactive, 4 delayed; a fifth is half-written."""
    for title in ("Call mum", "Pay the rent", "later"):
        await queue.create("email", {"title": title, "to": "me@example.org"}, attempts=2)
    await queue.create("sms", {"to": "me@example.org"}, delay=HOUR, attempts=None, priority="high")
    await queue.lifecycle.log(lease := await a_lease(queue), "half way")
    await queue.lifecycle.complete(lease, {"code": 250})
    await queue.lifecycle.fail(await a_lease(queue), "no such mailbox", "no such mailbox\nat line 5", wait_ms=None)


async def states(queue: Queue, *ids: int) -> list[str | None]:
    return [str(state) if state else None for state in await queue.jobs.states(ids)]


# Looking


async def test_stats_count_each_state(started: Typed, queue: Queue) -> None:
    await a_scene(queue)
    await queue.steering.pause("email")

    shown, told = await asyncio.gather(started("stats"), started("stats", "--json"))

    counts = {"delayed": 1, "inactive": 1, "active": 0, "complete": 1, "failed": 1}
    assert shown.rows[:5] == [[state, str(count)] for state, count in counts.items()]
    assert "paused: email" in shown.out
    assert told.json["counts"] == counts
    assert (told.json["paused"], told.json["paused_types"]) == (False, ["email"])
    assert told.json["work_time_ms"] >= 0


async def test_types_have_their_counts_their_pause_and_their_limit(typed: Typed, queue: Queue) -> None:
    await a_scene(queue)
    await queue.steering.pause("sms")
    await queue.steering.limit("email", Limit(rate=5, per=timedelta(minutes=1), concurrency=2))

    shown, told = await asyncio.gather(typed("types"), typed("types", "--json"))

    assert shown.rows == [
        ["email", "0", "1", "0", "1", "1", "5", "per", "1", "min,", "2", "at", "once"],
        ["sms", "1", "0", "0", "0", "0", "yes"],
    ]
    email, sms = told.json
    assert email["limit"] == {"rate": 5, "per_ms": 60_000, "concurrency": 2}
    assert (sms["type"], sms["paused"], sms["limit"], sms["counts"]["delayed"]) == ("sms", True, None, 1)


async def test_jobs_are_those_that_are_asked_for(typed: Typed, valkey: Valkey, prefix: str) -> None:
    async with Queue.open(valkey.url, prefix=prefix, search=("title",)) as queue:
        await a_scene(queue)

    async def ids(*words: str) -> list[int]:
        return [job["id"] for job in (await typed("jobs", "--json", *words)).json["jobs"]]

    found = await asyncio.gather(
        ids(), ids("--limit", "2"), ids("--state", "failed"), ids("--type", "sms"), ids("--search", "the rent"),
        ids("--state", "delayed", "--type", "email"),
    )  # fmt: skip
    # Of any state, what is most urgent comes last.
    assert found == [[3, 2, 1, 4], [3, 2], [2], [4], [2], []]


async def test_newest_turns_a_list_around_that_begins_with_what_runs_next(typed: Typed, queue: Queue) -> None:
    for _ in range(3):
        await queue.create("email")

    first, last = await asyncio.gather(
        typed("jobs", "--state", "inactive", "--limit", "2"),
        typed("jobs", "--state", "inactive", "--limit", "2", "--newest"),
    )

    assert [row[0] for row in first.rows] == ["1", "2", "2"]
    assert [row[0] for row in last.rows] == ["3", "2", "2"]
    assert first.rows[-1] == last.rows[-1] == ["2", "of", "3"]


async def test_a_list_shows_no_data_and_tells_what_it_cannot_read(typed: Typed, queue: Queue) -> None:
    await a_scene(queue)
    await queue.redis.hdel(queue.keys.job(3), "priority")

    shown, told = await asyncio.gather(typed("jobs"), typed("jobs", "--json"))

    assert "me@example.org" not in shown.out + told.out
    assert ["2", "email", "failed", "0", "1/2"] in [row[:5] for row in shown.rows]
    assert "no such mailbox" in shown.out
    assert "it has no priority" in shown.out
    assert {job["id"]: job.get("unreadable") for job in told.json["jobs"]}[3] == "it has no priority"


async def test_a_job_is_shown_without_what_its_makers_put_into_it_unless_that_is_asked_for(
    typed: Typed, queue: Queue
) -> None:
    await a_scene(queue)

    masked, told, whole = await asyncio.gather(
        typed("show", "1"), typed("show", "1", "--json"), typed("show", "1", "--data", "--json")
    )

    assert "me@example.org" not in masked.out + told.out
    assert "hidden; --data shows it" in masked.out
    assert not {"data", "result"} & set(told.json)
    assert (told.json["state"], told.json["attempts"], told.json["max_attempts"]) == ("complete", 1, 2)
    assert whole.json["data"] == {"title": "Call mum", "to": "me@example.org"}
    assert whole.json["result"] == {"code": 250}


async def test_a_failure_is_shown_with_all_its_lines(typed: Typed, queue: Queue) -> None:
    await a_scene(queue)

    shown = await typed("show", "2", "--data")

    assert ["error", "no", "such", "mailbox"] in shown.rows
    assert ["at", "line", "5"] in shown.rows
    assert '"title": "Pay the rent"' in shown.out


async def test_a_log_is_its_lines(typed: Typed, queue: Queue) -> None:
    await a_scene(queue)

    shown, told, empty, missing = await asyncio.gather(
        typed("log", "1"), typed("log", "1", "--json"), typed("log", "3"), typed("log", "99")
    )

    assert shown.out == "half way\n"
    assert told.json == ["half way"]
    assert (empty.status, empty.out) == (0, "")
    assert (missing.status, missing.err) == (1, 'rmindr: job "99" does not exist\n')


async def test_nothing_in_a_job_reaches_the_terminal_but_as_text(typed: Typed, queue: Queue) -> None:
    await queue.create("[red]sms[/red]", {"title": HOSTILE})
    lease = await a_lease(queue, type="[red]sms[/red]")
    await queue.lifecycle.log(lease, HOSTILE)
    await queue.lifecycle.fail(lease, HOSTILE, wait_ms=None)
    await queue.redis.hset(queue.keys.job(1), "type", HOSTILE)

    said = await asyncio.gather(
        typed("jobs"), typed("show", "1", "--data"), typed("log", "1"), typed("types"),
        typed("jobs", "--json"), typed("show", "1", "--data", "--json"), typed("log", "1", "--json"),
    )  # fmt: skip

    for each in said:
        assert each.status == 0
        assert not set(each.out) & set("\x1b\x07\x9b\N{RIGHT-TO-LEFT OVERRIDE}")
    for each in said[:3]:
        assert SHOWN in each.out
    assert "[red]sms[/red]" in said[3].out
    assert said[6].json[0] == HOSTILE


async def test_workers_are_shown_with_what_they_have_in_hand(typed: Typed, queue: Queue) -> None:
    release = asyncio.Event()

    async def waits(job: Any, context: Any) -> None:
        await release.wait()

    queue.process("email", waits, concurrency=3)
    working = asyncio.create_task(queue.run())
    await eventually(queue.steering.workers)

    shown, told = await asyncio.gather(typed("workers"), typed("workers", "--json"))

    assert [worker["pid"] for worker in told.json] == [os.getpid()]
    assert told.json[0]["types"] == {"email": 3}
    assert told.json[0]["alive"] is True
    assert str(os.getpid()) in shown.rows[0]
    assert "email:3" in shown.rows[0]
    queue.shutdown()
    await working


async def test_history_is_told_by_minute_and_by_day(typed: Typed, queue: Queue) -> None:
    await a_scene(queue)

    minutes, days, shown = await asyncio.gather(
        typed("history", "--minutes", "3", "--json"), typed("history", "--days", "2", "--json"), typed("history")
    )

    assert len(minutes.json) == 3
    assert sum(moment["created"] for moment in minutes.json) == 4
    assert [(moment["created"], moment["complete"], moment["failed"]) for moment in days.json][-1:] == [(4, 1, 1)]
    assert sum(days.json[-1]["late"].values()) == 2
    assert days.json[-1]["late_p99_ms"] >= days.json[-1]["late_p50_ms"] > 0
    assert days.json[0]["late_p50_ms"] is None
    assert len(shown.rows) == 30


async def test_an_audit_finds_nothing_where_all_is_well_and_ends_with_1_where_something_is_not(
    started: Typed, queue: Queue, valkey: Valkey
) -> None:
    await a_scene(queue)
    async with Queue.open(valkey.url, prefix=(spoiled := f"{queue.keys.prefix}x")) as other:
        await other.create("email")
        await other.redis.hset(other.keys.job(1), "state", f"gone{HOSTILE}")

        well, told, ill, ill_told = await asyncio.gather(
            started("audit"),
            started("audit", "--json"),
            type_in("audit", env=environment(valkey.url, spoiled)),
            type_in("audit", "--json", env=environment(valkey.url, spoiled)),
        )

    assert (well.status, well.out) == (0, "everything is as it must be\n")
    assert told.json == []
    assert ill.status == ill_told.status == 1
    assert "job 1" in ill.out
    assert "\x1b" not in ill.out
    assert len(json.loads(ill_told.out)) == len(ill.out.splitlines())
    assert "not as they must be" in ill.err


# Acting


async def test_each_verb_does_with_one_job_what_it_says(started: Typed, queue: Queue) -> None:
    await a_scene(queue)
    before = await queue.get(4)

    assert (await started("retry", "1", "2")).out == "job 1 is to run again\njob 2 is to run again\n"
    assert (await started("cancel", "3")).out == "job 3 is called off\n"
    assert await states(queue, 1, 2, 3) == ["inactive", "inactive", "failed"]
    assert (await started("remove", "3")).out == "job 3 is removed\n"
    assert (await started("reschedule", "4", "--in", "1d2h")).status == 0
    moved = await queue.get(4)
    assert before is not None
    assert moved is not None
    assert before.promote_at is not None
    assert moved.promote_at is not None
    assert timedelta(hours=24) < moved.promote_at - before.promote_at < timedelta(hours=26)
    assert (await started("reschedule", "4", "--at", "2099-01-01T01:00+01:00")).status == 0
    assert (await started("priority", "4", "--to", "-2.5")).out == "job 4 is at priority -2.5\n"
    again = await queue.get(4)
    assert again is not None
    assert (f"{again.promote_at:%Y-%m-%dT%H:%M%z}", again.priority) == ("2099-01-01T00:00+0000", -2.5)
    assert (await started("run-now", "4", "--json")).json == {"verb": "run now", "done": [4], "refused": {}}
    assert await states(queue, 3, 4) == [None, "inactive"]


async def test_what_is_refused_is_said_and_the_rest_is_done(started: Typed, queue: Queue) -> None:
    await a_scene(queue)

    shown = await started("retry", "99", "3", "2", "2")
    told = await started("remove", "--json", "1", "1", "99")

    assert (shown.status, shown.out) == (1, "job 2 is to run again\n")
    assert shown.err == 'rmindr: job "99" does not exist\nrmindr: cannot retry job 3: it is inactive\n'
    assert told.status == 1
    assert json.loads(told.out) == {"verb": "remove", "done": [1], "refused": {"99": 'job "99" does not exist'}}


async def test_a_job_that_a_worker_holds_is_told_and_not_taken_from_it(typed: Typed, queue: Queue) -> None:
    await queue.create("email")
    await a_lease(queue, token="worker.1")

    cancelled, removed = await asyncio.gather(typed("cancel", "1"), typed("remove", "1"))

    assert cancelled.status == 0
    assert removed.err == "rmindr: cannot remove job 1: it is active\n"
    assert await queue.redis.lrange(queue.keys.bell("worker"), 0, -1) == ["1"]


async def test_what_a_kue_that_is_gone_had_in_hand_is_taken_back(typed: Typed, queue: Queue) -> None:
    for _ in range(4):
        await taken_by_kue(queue, await queue.create("email", attempts=2), 0)
    await queue.redis.hset(queue.keys.job(4), "workerId", "kue:there:3:email:1")

    one = await typed("take-back", "1", "99")
    asked = await typed("take-back", "--from", "kue:there:2")
    rest = await typed("take-back", "--from", "kue:there:2", "--yes")
    none = await typed("take-back", "--from", "kue:there:2", "--json")

    assert (one.status, one.out, one.err) == (1, "job 1 is taken back\n", 'rmindr: job "99" does not exist\n')
    assert "this would take back 2 active jobs of kue:there:2: say --yes" in asked.err
    assert rest.out == "2 of 2 active jobs of kue:there:2 are taken back\n"
    assert none.json == {"verb": "take back", "found": 0, "done": 0}
    assert await states(queue, 1, 2, 3, 4) == ["inactive", "inactive", "inactive", "active"]


async def test_a_priority_that_is_none_is_refused_in_one_sentence(typed: Typed, queue: Queue) -> None:
    await a_scene(queue)

    for level in ("urgent", "nan", "1e300"):
        said = await typed("priority", "3", "--to", level)
        assert (said.status, said.out) == (1, "")
        assert said.err.startswith("rmindr: priority must be a number or one of low, normal")
        assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "becomes"),
    [
        (("retry",), {"inactive": 6, "delayed": 3, "complete": 3}),
        (("retry", "--state", "complete"), {"inactive": 6, "delayed": 3, "failed": 3}),
        (("cancel", "--state", "inactive"), {"delayed": 3, "complete": 3, "failed": 6}),
        (("remove", "--state", "failed"), {"inactive": 3, "delayed": 3, "complete": 3}),
        (("run-now",), {"inactive": 6, "complete": 3, "failed": 3}),
        (("reschedule", "--in", "1h", "--state", "inactive"), {"delayed": 6, "complete": 3, "failed": 3}),
        (("priority", "--to", "high", "--state", "delayed"), {"inactive": 3, "delayed": 3, "complete": 3, "failed": 3}),
    ],
    ids=lambda words: words[0] if isinstance(words, tuple) else "",
)
async def test_all_of_a_state_and_type_are_meant_when_all_is_said(
    typed: Typed, queue: Queue, words: tuple[str, ...], becomes: dict[str, int]
) -> None:
    for type in ("email", "sms"):
        for _ in range(3):
            await queue.create(type)
            await queue.lifecycle.complete(await a_lease(queue, type=type))
            await queue.create(type)
            await queue.lifecycle.fail(await a_lease(queue, type=type), "no", wait_ms=None)
            await queue.create(type, delay=HOUR)
        for _ in range(3):
            await queue.create(type)
    others = await queue.jobs.counts("sms")

    asked = await typed(*words, "--all", "--type", "email")
    assert (asked.status, "say --yes" in asked.err) == (2, True)
    assert set((await queue.jobs.counts("email")).values()) == {0, 3}
    done = await typed(*words, "--all", "--type", "email", "--yes", "--json")

    assert (done.json["found"], done.json["done"]) == (3, 3)
    assert {state: count for state, count in (await queue.jobs.counts("email")).items() if count} == becomes
    assert await queue.jobs.counts("sms") == others
    if words[0] == "priority":
        assert {job.priority for job in await queue.jobs.range(State.DELAYED, "email")} == {-10}


@pytest.mark.parametrize(("answer", "left"), [("n", 1), ("y", 0)])
async def test_on_a_terminal_a_person_is_asked_first(
    valkey: Valkey, prefix: str, queue: Queue, answer: str, left: int
) -> None:
    await a_scene(queue)

    async with on_a_terminal("remove", "--all", "--state", "failed", env=environment(valkey.url, prefix)) as terminal:
        await terminal.shows("remove 1 failed job?")
        terminal.press(f"{answer}\n")
        status = await terminal.ended()

    assert status == (1 if left else 0)
    assert await queue.jobs.count(State.FAILED) == left


# Steering


async def test_pauses_are_made_and_ended(typed: Typed, queue: Queue) -> None:
    assert (await typed("pause", "e: mail")).out == "paused: e: mail\n"
    assert (await typed("pause", "--json")).json == {"paused": True, "paused_types": ["e: mail"]}
    assert await queue.steering.paused() == (True, ["e: mail"])
    assert (await typed("resume")).out == "paused: e: mail\n"
    assert (await typed("resume", "e: mail")).out == "nothing is paused\n"
    assert await queue.steering.paused() == (False, [])


async def test_limits_are_set_shown_and_lifted(typed: Typed, queue: Queue) -> None:
    set_ = await typed("limit", "email", "--rate", "5", "--per", "1m", "--concurrency", "2", "--json")
    assert set_.json == {"email": {"rate": 5, "per_ms": 60_000, "concurrency": 2}}
    assert await queue.steering.limits() == {"email": Limit(rate=5, per=timedelta(minutes=1), concurrency=2)}

    assert (await typed("limit")).rows == [["email", "5", "per", "1", "min,", "2", "at", "once"]]
    assert (await typed("limit", "email", "--none", "--json")).json == {}
    assert await queue.steering.limits() == {}


async def test_what_is_kept_is_said_and_shown(typed: Typed, queue: Queue) -> None:
    assert (await typed("retain")).rows == [["complete", "all", "ever"], ["failed", "all", "ever"]]
    kept = await typed("retain", "complete", "--count", "10", "--age", "7d", "--json")
    assert kept.json == {"complete": {"count": 10, "age_ms": 604_800_000}}
    assert (await queue.steering.retention())[State.COMPLETE] == Kept(count=10, age=timedelta(days=7))

    assert (await typed("retain", "complete", "--none")).rows == [["complete", "all", "ever"]]
    assert (await queue.steering.retention())[State.COMPLETE] == Kept()


async def test_schedules_are_shown_without_their_data_and_removed(typed: Typed, queue: Queue) -> None:
    await queue.schedules.declare(
        Schedule(name="nightly", type="email", cron="0 3 * * *", data={"to": "me@example.org"})
    )

    shown, told, missing = await asyncio.gather(
        typed("schedules"), typed("schedules", "--json"), typed("schedules", "remove", "weekly")
    )

    assert shown.rows[0][:7] == ["nightly", "email", "0", "3", "*", "*", "*"]
    assert told.json[0]["cron"] == "0 3 * * *"
    assert "me@example.org" not in shown.out + told.out
    assert (missing.status, missing.err) == (1, "rmindr: there is no schedule 'weekly'\n")
    assert (await typed("schedules", "remove", "nightly", "--json")).json == {"removed": "nightly"}
    assert await queue.schedules.all() == []


# Watching


class Terminal:
    """What a person sees of a command, and what they press."""

    def __init__(self, process: asyncio.subprocess.Process, master: int) -> None:
        self._process = process
        self._master = master
        self._news = asyncio.Event()
        self.seen = ""
        asyncio.get_running_loop().add_reader(master, self._read)

    def _read(self) -> None:
        try:
            self.seen += os.read(self._master, 65_536).decode(errors="replace")
        except OSError:
            # The other side has closed it.
            asyncio.get_running_loop().remove_reader(self._master)
        self._news.set()

    async def shows(self, text: str, *, after: int = 0) -> None:
        """Wait until this stands there."""
        async with asyncio.timeout(30):
            while text not in self.seen[after:]:
                self._news.clear()
                await self._news.wait()

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    async def ended(self) -> int:
        async with asyncio.timeout(30):
            return await self._process.wait()


@asynccontextmanager
async def on_a_terminal(*words: str, env: dict[str, str]) -> AsyncIterator[Terminal]:
    """The command on a terminal of its own, where Ctrl-C is a key."""
    master, slave = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _ON_TERMINAL, *words, env=env | {"TERM": "xterm", "COLUMNS": "100", "LINES": "40"},
        stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    terminal = Terminal(process, master)
    try:
        yield terminal
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        asyncio.get_running_loop().remove_reader(master)
        os.close(master)


# A session's first terminal is the one that Ctrl-C is pressed on.
_ON_TERMINAL: Final = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.executable, [sys.executable, '-m', 'rmindr', 'queue', *sys.argv[1:]])"
)


async def test_a_watch_shows_what_happens_as_it_happens_and_ctrl_c_ends_it_cleanly(
    valkey: Valkey, prefix: str, queue: Queue
) -> None:
    await a_scene(queue)
    await queue.steering.pause("sms")

    async with on_a_terminal("watch", "--every", "60", env=environment(valkey.url, prefix)) as terminal:
        await terminal.shows("paused: sms")
        await eventually(lambda: heard_by(queue))
        at = len(terminal.seen)
        await queue.create("email")
        lease = await a_lease(queue)
        await queue.lifecycle.fail(lease, f"no{HOSTILE}", wait_ms=None)
        await terminal.shows("job 5 enqueue", after=at)
        await terminal.shows(f"job {lease.job.id} failed no·[31mred", after=at)
        terminal.press("\x03")
        status = await terminal.ended()

    assert status == 0
    assert "Traceback" not in terminal.seen
    assert "\x1b[31m" not in terminal.seen
    # The cursor that was hidden is there again.
    assert terminal.seen.rstrip().endswith("\x1b[?25h")


async def heard_by(queue: Queue) -> int:
    """How many listen to the queue's channel."""
    [(_, count)] = await queue.redis.pubsub_numsub(queue.keys.events)
    return int(count)


async def test_a_watch_for_programs_is_a_line_of_json_for_each_event_and_each_change(
    valkey: Valkey, prefix: str, queue: Queue
) -> None:
    command = (sys.executable, "-m", "rmindr", "queue")
    async with Process(
        "watch", "--json", "--every", "60", env=environment(valkey.url, prefix), command=command
    ) as watch:
        await watch.line('"counts"')
        await eventually(lambda: heard_by(queue))
        await queue.create("email", {"to": "me@example.org"})
        await watch.line('"inactive": 1')
        status = await watch.terminate()

    told = [json.loads(line) for line in watch.lines]
    assert status == 0
    assert [(line["event"], line["id"]) for line in told if "event" in line] == [("enqueue", 1)]
    assert [line["counts"]["inactive"] for line in told if "counts" in line] == [0, 1]
    assert "me@example.org" not in "".join(watch.lines)


async def test_a_watch_outlives_redis_and_says_that_it_is_away(own_valkey: Valkey, prefix: str) -> None:
    command = (sys.executable, "-m", "rmindr", "queue")
    env = environment(own_valkey.url, prefix)
    async with Process("watch", "--every", "0.5", env=env, command=command) as watch:
        await watch.line("0 inactive")
        own_valkey.kill()
        await watch.line(r"\d\d:\d\d:\d\d Redis: ")
        own_valkey.start()
        away = len(watch.lines)
        await watch.line("0 inactive", after=away)
        watch.send(signal.SIGINT)
        status = await watch.ended()

    assert status == 0
    assert "Traceback" not in "".join(watch.lines)


# What can go wrong at the door


async def test_only_where_the_queue_is_must_be_known(valkey: Valkey, prefix: str) -> None:
    wrong = {"SMTP_URL": "nonsense", "DATABASE_URL": "nonsense", "RMINDR_ACCESS": "nonsense", "PORT": "nonsense"}

    assert (await type_in("stats", env=environment(valkey.url, prefix, **wrong))).status == 0


async def test_without_redis_every_word_is_one_sentence_and_status_1(prefix: str) -> None:
    env = environment(f"redis://someone:s3cret@127.0.0.1:{free_port()}", prefix)

    for words in (
        ("stats",),
        ("retry", "1"),
        ("audit",),
        ("watch",),
        ("remove", "--all", "--state", "failed", "--yes"),
    ):
        said = await type_in(*words, env=env)
        assert (said.status, said.out) == (1, ""), words
        assert said.err.startswith("rmindr: Redis: ")
        assert said.err.count("\n") == 1
        assert "s3cret" not in said.err


async def test_a_password_is_never_printed(valkey: Valkey, prefix: str) -> None:
    at = valkey.direct.removeprefix("redis://")

    for url, status in (
        (f"redis://someone:s3cret@{at}", 1), (f"redis://someone:s3cret@{at}/x", 1),
        ("redis://someone:s3cret/more@nowhere:1", 2), (f"redis://someone:s3cret@{at}?s3cret=1", 1),
        (f"someone:s3cret@{at}", 2), (f"http://someone:s3cret@{at}", 2),
    ):  # fmt: skip
        said = await type_in("stats", env=environment(url, prefix))
        assert (said.status, said.out) == (status, ""), url
        assert said.err.startswith("rmindr: ")
        assert "s3cret" not in said.err, url


MISTYPED: Final[dict[tuple[str, ...], str]] = {
    ("show", "0"): "ID",
    ("show", "x"): "ID",
    ("show",): "ID",
    ("retry",): "say which jobs",
    ("retry", "1", "--all"): "say which jobs",
    ("retry", "1", "--state", "failed"): "go with --all",
    ("retry", "1", "--type", "email"): "go with --all",
    ("retry", "--all", "--state", "active"): "failed, complete",
    ("retry", "--all", "--state", "nothing"): "nothing",
    ("cancel", "--all"): "delayed, inactive, active",
    ("remove", "--all"): "say which state",
    ("reschedule", "1"): "--in or --at",
    ("reschedule", "1", "--in", "1h", "--at", "2099-01-01T00:00:00Z"): "--in or --at",
    ("reschedule", "1", "--in", "soon"): "no duration",
    ("reschedule", "1", "--in", "999999999999d"): "longer than anybody waits",
    ("reschedule", "1", "--at", "2099-01-01T00:00:00"): "with a zone",
    ("reschedule", "1", "--at", "tomorrow"): "with a zone",
    ("priority", "1"): "--to",
    ("take-back",): "say which jobs",
    ("take-back", "1", "--from", "kue:there:2"): "not both",
    ("limit", "--rate", "5"): "say which type's",
    ("limit", "email", "--none", "--rate", "5"): "nothing else",
    ("limit", "email", "--rate", "0"): "rate",
    ("limit", "email", "--per", "1s"): "goes with --rate",
    ("retain", "--count", "5"): "complete or failed",
    ("retain", "active", "--count", "5"): "complete or failed",
    ("retain", "complete", "--count", "-1"): "count",
    ("retain", "complete", "--none", "--age", "1d"): "nothing else",
    ("jobs", "--limit", "0"): "limit",
    ("jobs", "--state", "gone"): "gone",
    ("history", "--minutes", "5", "--days", "5"): "not both",
    ("history", "--minutes", "241"): "minutes",
    ("watch", "--every", "0"): "every",
}


@pytest.mark.parametrize("words", MISTYPED, ids=" ".join)
def test_what_is_mistyped_is_said_before_redis_is_asked(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}")

    said = CliRunner().invoke(app, ["queue", *words])

    assert said.exit_code == 2, said.output
    assert MISTYPED[words] in said.stderr


def test_every_word_can_print_json() -> None:
    def words(group: Any, path: str) -> list[tuple[str, Any]]:
        found = [(path, group)] if getattr(group, "invoke_without_command", False) else []
        for name, command in group.commands.items():
            found += words(command, f"{path} {name}") if hasattr(command, "commands") else [(f"{path} {name}", command)]
        return found

    found = words(typer.main.get_command(app).commands["queue"], "queue")  # type: ignore[attr-defined]

    assert len(found) == 22
    assert [
        path for path, command in found if "--json" not in {opt for each in command.params for opt in each.opts}
    ] == []
