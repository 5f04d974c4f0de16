"""The worker process: who works which jobs, what it says about it, and how it stops."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import pytest
from redis.asyncio import Redis

from rmindr import worker
from rmindr.database import Database
from rmindr.delivery import Policy
from rmindr.models import Reminder, Status, new_id
from rmindr.queue import Context, Job, NewJob, Queue, State
from tests.deliveries import a_reminder, refuse, stored
from tests.processes import Process
from tests.queue.scenery import PATIENCE_S, Wire, eventually, keyspace
from tests.servers import Valkey
from tests.sink import Drop, Session, Sink
from tests.stack import Stack
from tests.test_log import read

MAILBOX: Final = "canary@example.org"
A_MINUTE: Final = timedelta(minutes=1)


@pytest.fixture
def stack(database_url: str, valkey: Valkey, prefix: str, sink: Sink) -> Stack:
    """A worker on the test's own database and keyspace, twenty times as quick as a real one."""
    return Stack(database_url, valkey, sink, {"RMINDR_QUEUE_PREFIX": prefix, "RMINDR_TIMING_SCALE": "0.05"})


async def has(database: Database, *statuses: Status, ids: list[UUID]) -> bool:
    return {(await stored(database, id)).status for id in ids} <= set(statuses)


async def all_have(database: Database, reminders: list[Reminder], *statuses: Status) -> None:
    ids = [each.id for each in reminders]
    await eventually(lambda: has(database, *statuses, ids=ids))


async def listeners(queue: Queue, count: int) -> bool:
    """Whether so many hear the queue's events: a worker says that it has started a moment before it does."""
    found: Any = await queue.redis.pubsub_numsub(queue.keys.events)
    return int(found[0][1]) >= count


def events(process: Process) -> list[dict[str, str]]:
    """The lines about jobs, as a program reads them."""
    lines = [read(line) for line in process.lines if " event=" in line]
    return [line for line in lines if line["event"].startswith("job ")]


# What it says


async def test_each_event_of_the_queue_is_one_line_with_id_type_duration_and_lateness(
    stack: Stack, database: Database, live_queue: Queue, valkey: Valkey, sink: Sink
) -> None:
    sink.replies["RCPT refused@example.org"] = "550 5.1.1 no such user <refused@example.org>"
    sink.replies["RCPT later@example.org"] = "450 4.2.0 try later, <later@example.org>"
    async with stack.worker() as process, Wire.tap(live_queue, valkey.url) as wire:
        await eventually(lambda: listeners(live_queue, 2))
        in_time, refused, later = [
            await a_reminder(database, recipient=f"{name}@example.org", due_at=due, next_at=due)
            for name, due in (("me", timedelta(seconds=0.5)), ("refused", -A_MINUTE), ("later", -A_MINUTE))
        ]
        await all_have(database, [in_time, refused, later], Status.SENT, Status.FAILED, Status.RETRYING)
        for event in ("job remove", "job failed", "job failed attempt"):
            await process.line(f'event="{event}"')
        published = [json.loads(message) for message in await wire.take()]

    said = events(process)
    assert Counter((int(line["id"]), line["event"]) for line in said) == Counter(
        (message["id"], f"job {message['event']}") for message in published
    )
    by_event = {line["event"]: line for line in said}
    assert {"job enqueue", "job start", "job complete", "job failed", "job failed attempt"} <= by_event.keys()
    assert all(line["type"] == "email" for line in said if line["event"] != "job promotion")
    done = by_event["job complete"]
    assert done.keys() == {"time", "level", "event", "id", "type", "duration_ms", "lateness_ms", "code", "attempt"}
    assert (done["code"], done["attempt"]) == ("250", "1")
    assert int(done["lateness_ms"]) == (await stored(database, in_time.id)).lateness_ms
    assert float(done["duration_ms"]) > 0
    assert by_event["job failed"]["why"] == "rcpt 550 5.1.1"
    (result,) = [message["args"][1] for message in published if message["event"] == "complete"]
    assert result.keys() == {"lateness_ms", "code", "attempt"}


async def test_neither_its_lines_nor_the_queue_hold_an_address_a_subject_or_a_text(
    stack: Stack, database: Database, live_queue: Queue, valkey: Valkey, sink: Sink
) -> None:
    def drop(_: Session) -> str:
        raise Drop

    for name, phase, reply in (
        ("refused", "RCPT", f"550 5.1.1 no such user {MAILBOX}"),
        ("later", "RCPT", f"450 4.2.0 try later {MAILBOX}"),
    ):
        sink.replies[f"{phase} {name}.{MAILBOX}"] = reply
    texts = {"subject": "CANARY", "message": "CANARY"}
    async with Wire.tap(live_queue, valkey.url) as wire, stack.worker() as process:
        made = [
            await a_reminder(database, recipient=f"{name}.{MAILBOX}", **texts) for name in ("ok", "refused", "later")
        ]
        await all_have(database, made, Status.SENT, Status.FAILED, Status.RETRYING)
        sink.replies["body"] = drop
        made.append(await a_reminder(database, recipient=MAILBOX, **texts))
        await all_have(database, made, Status.SENT, Status.FAILED, Status.RETRYING)
        sink.replies["MAIL"] = f"550 5.7.1 not you, {MAILBOX}"
        made.append(await a_reminder(database, recipient=MAILBOX, **texts))
        await process.line("sending paused")
        await eventually(lambda: has(database, Status.RETRYING, ids=[made[-1].id]))
        published = await wire.take()
        stands = await keyspace(live_queue)
        assert await process.terminate() == 0

    assert len(published) > 10
    assert any(name.endswith(":log") for name in stands)
    for told in (process.lines, published, stands):
        assert "canary" not in repr(told).lower()


async def test_a_fault_that_quotes_the_row_reaches_neither_the_log_nor_the_queue(
    stack: Stack, database: Database, database_url: str, live_queue: Queue
) -> None:
    refuse(database_url, "letter")
    async with stack.worker() as process:
        await a_reminder(database, recipient=MAILBOX, subject="CANARY", message="CANARY")
        await process.line('event="delivery failed"')
        await process.line("job failed attempt")
        stands = await keyspace(live_queue)

    assert "canary" not in repr(process.lines).lower()
    assert "canary" not in repr(stands).lower()


async def test_of_other_people_s_jobs_it_tells_what_happened_and_not_what_they_said(
    stack: Stack, live_queue: Queue
) -> None:
    async def work(job: Job, _: Context) -> Any:
        if job.data["fails"]:
            raise ValueError(f"cannot write to {MAILBOX}")
        return {"code": MAILBOX, "lateness_ms": "CANARY"}

    live_queue.process("other", work)
    async with stack.worker() as process:
        running = asyncio.create_task(live_queue.run())
        await eventually(lambda: listeners(live_queue, 1))
        done = await live_queue.create("other", {"fails": False})
        failed = await live_queue.create("other", {"fails": True})
        await process.line(f'event="job complete" id={done.id} ')
        await process.line(f'event="job failed" id={failed.id} ')
        live_queue.shutdown()
        await running

    said = [line for line in events(process) if line["type"] == "other"]
    assert {line["event"] for line in said} >= {"job enqueue", "job start", "job complete", "job failed"}
    assert "canary" not in repr(process.lines).lower()


# Whose jobs it works


JUNK: Final[list[Any]] = [
    None, {}, [], "text", 7, {"id": str(new_id())}, {"rev": 1}, {"id": None, "rev": 1}, {"id": 7, "rev": 1},
    {"id": ["a"], "rev": 1}, {"id": "no id", "rev": 1}, {"id": str(new_id()), "rev": "x"}, {"id": str(new_id()), "rev": None},
    {"id": str(new_id()), "rev": 10**30}, {"id": str(new_id()), "rev": 1.5}, {"id": str(new_id()), "rev": True},
    {"id": str(new_id()), "rev": -1}, {"id": {"a": 1}, "rev": 1}, {"to": MAILBOX, "title": "a Kue user's own mail"},
]  # fmt: skip


async def test_a_job_that_is_no_reminder_s_fails_once_and_disturbs_nobody(
    stack: Stack, database: Database, live_queue: Queue, sink: Sink
) -> None:
    junk = await live_queue.create_many([NewJob(type="email", data=data, attempts=5) for data in JUNK])
    other = await live_queue.create("other", {})
    reminder = await a_reminder(database)

    async with stack.worker() as process:
        await all_have(database, [reminder], Status.SENT)
        await eventually(lambda: ended(live_queue, junk))
        assert await process.terminate() == 0

    jobs = [await live_queue.get(job.id) for job in junk]
    assert [(job.state, job.attempts) for job in jobs if job] == [(State.FAILED, 1)] * len(JUNK)
    assert {(job.error or "").partition("\n")[0] for job in jobs if job} == {"this is no reminder's job"}
    assert await live_queue.jobs.states([other.id]) == [State.INACTIVE]
    assert len(sink.mails) == 1


async def ended(queue: Queue, jobs: Any) -> bool:
    return not {State.INACTIVE, State.ACTIVE, State.DELAYED} & set(await queue.jobs.states([job.id for job in jobs]))


async def test_a_job_of_a_reminder_that_nobody_knows_is_done_with(
    stack: Stack, database: Database, live_queue: Queue, sink: Sink
) -> None:
    """Its row was erased; or somebody forged it: what is sent, when and to whom, the database decides."""
    not_due = await a_reminder(database, "not yet due")
    unknown = await live_queue.create("email", {"id": str(new_id()), "rev": 1})
    early = await live_queue.create("email", {"id": str(not_due.id), "rev": 1, "to": MAILBOX})

    async with stack.worker():
        await eventually(lambda: is_in(live_queue, unknown, State.COMPLETE))
        await eventually(lambda: is_in(live_queue, early, State.DELAYED))

    assert sink.sessions == []


async def is_in(queue: Queue, job: Job, state: State) -> bool:
    return await queue.jobs.states([job.id]) == [state]


async def test_two_workers_send_each_reminder_once(
    stack: Stack, database: Database, live_queue: Queue, sink: Sink
) -> None:
    async with stack.worker() as one, stack.worker() as other:
        made = await asyncio.gather(*(a_reminder(database, recipient=f"p{n}@example.org") for n in range(40)))
        await all_have(database, list(made), Status.SENT)
        assert (await one.terminate(), await other.terminate()) == (0, 0)

    assert Counter(mail.recipient for mail in sink.mails) == Counter(each.recipient for each in made)
    sent = [line for process in (one, other) for line in process.lines if " event=sent " in line]
    assert len(sent) == 40
    assert sum((await live_queue.jobs.counts()).values()) == 0


# When the mail server is the trouble


async def test_in_an_outage_it_takes_no_jobs_and_afterwards_all_are_sent_at_their_first_attempt(
    stack: Stack, database: Database, live_queue: Queue, sink: Sink
) -> None:
    await sink.hush()
    async with stack.worker() as process:
        first = await a_reminder(database)
        await process.line("sending paused")
        made = [first, *[await a_reminder(database, recipient=f"p{n}@example.org") for n in range(20)]]
        await eventually(lambda: waits(live_queue, 20))
        # Longer than it would take to claim them all.
        await asyncio.sleep(0.3)
        assert await waits(live_queue, 20)
        await sink.listen()
        await process.line("sending resumed")
        await all_have(database, made, Status.SENT)

    assert len([line for line in process.lines if "not delivered" in line]) == 1
    assert {(await stored(database, each.id)).attempt for each in made} == {1}
    assert len(sink.mails) == 21


async def waits(queue: Queue, count: int) -> bool:
    return (await queue.jobs.counts())[State.INACTIVE] >= count


# When Redis is not what it should be


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("policy", "warned"), [("allkeys-lru", True), ("noeviction", False)])
async def test_a_redis_that_throws_jobs_away_is_warned_of_at_the_start(
    database_url: str, own_valkey: Valkey, sink: Sink, policy: str, warned: bool
) -> None:
    """B10."""
    async with Redis.from_url(own_valkey.direct) as redis:
        await redis.config_set("maxmemory-policy", policy)

    async with Stack(database_url, own_valkey, sink).worker() as process, Database.open(database_url) as database:
        await all_have(database, [await a_reminder(database)], Status.SENT)
        if warned:
            await process.line("redis throws jobs away")

    said = [line for line in process.lines if "redis throws jobs away" in line]
    assert [read(line)["policy"] for line in said] == ([policy] if warned else [])


# Stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_stops_when_it_is_told_to_and_says_so(stack: Stack, number: int) -> None:
    async with stack.worker() as process:
        process.send(number)
        status = await process.ended(PATIENCE_S)

    assert status == 0
    assert read(process.lines[-1])["event"] == "worker stopped"


def test_what_stopping_may_take_is_less_than_a_dyno_is_given() -> None:
    """30 seconds from SIGTERM to SIGKILL; the last of them for goodbyes to servers that do not answer."""
    last_words = Policy(listed=lambda _: True).last_words

    assert worker.GRACE + last_words <= timedelta(seconds=26)
