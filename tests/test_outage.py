"""When the mail server itself is the trouble: sending stops, the server is asked until it is back, and people are told."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

import pytest
from structlog.testing import capture_logs

from rmindr.database import Database
from rmindr.facts import OUTAGE, Facts
from rmindr.mail.smtp import Transport, Verdict
from rmindr.outage import MailOutage
from rmindr.settings import SmtpServer
from tests.deliveries import Away
from tests.queue.scenery import PATIENCE_S, eventually, until
from tests.sink import Sink

INTERVAL: Final = timedelta(milliseconds=20)


@pytest.fixture
def facts(database: Database) -> Facts:
    return Facts(database)


class Switch:
    """What a worker does when it is told to pause and to resume."""

    def __init__(self, outage: MailOutage) -> None:
        self.turned: list[str] = []
        outage.on_pause = lambda: self.turned.append("pause")
        outage.on_resume = lambda: self.turned.append("resume")


def an_outage(facts: Facts, sink: Sink, interval: timedelta = INTERVAL) -> tuple[MailOutage, Switch]:
    server = SmtpServer(host="127.0.0.1", port=sink.port, security="plain")
    outage = MailOutage(Transport(server, hello="example.net", connections=1).probe, facts, interval)
    return outage, Switch(outage)


@asynccontextmanager
async def watched(outage: MailOutage) -> AsyncIterator[asyncio.Task[None]]:
    async with asyncio.timeout(PATIENCE_S):
        watch = asyncio.create_task(outage.watch())
        try:
            yield watch
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch


async def nobody_knows_of_any(facts: Facts) -> bool:
    return not await facts.get(OUTAGE)


async def test_until_one_begins_nothing_is_paused_and_nobody_is_asked(facts: Facts, sink: Sink) -> None:
    outage, switch = an_outage(facts, sink)

    async with watched(outage):
        await asyncio.sleep(0.1)

    assert not outage.on
    assert switch.turned == []
    assert sink.sessions == []


async def test_it_pauses_at_once_and_once_however_many_letters_meet_it(facts: Facts, sink: Sink) -> None:
    outage, switch = an_outage(facts, sink)

    for n in range(3):
        outage.begin(Verdict.UNREACHABLE, f"connect {n}")

    assert outage.on
    assert switch.turned == ["pause"]


async def test_it_tells_the_log_and_the_other_processes_why(facts: Facts, sink: Sink) -> None:
    outage, _ = an_outage(facts, sink, timedelta(hours=1))
    with capture_logs() as lines:
        async with watched(outage):
            outage.begin(Verdict.CONFIGURATION, "auth 535 5.7.8")
            told = await eventually(lambda: facts.get(OUTAGE))

    assert lines == [{"event": "sending paused", "log_level": "error", "why": "configuration: auth 535 5.7.8"}]
    assert json.loads(told) == {"why": "configuration: auth 535 5.7.8"}


async def test_it_asks_until_the_server_is_back_and_then_sending_goes_on(facts: Facts, sink: Sink) -> None:
    outage, switch = an_outage(facts, sink)
    await sink.hush()
    with capture_logs() as lines:
        async with watched(outage):
            outage.begin(Verdict.UNREACHABLE, "connect")
            await asyncio.sleep(0.1)
            assert outage.on
            await sink.listen()
            await until(lambda: not outage.on)
            await eventually(lambda: nobody_knows_of_any(facts))

    assert switch.turned == ["pause", "resume"]
    assert [line["event"] for line in lines] == ["sending paused", "sending resumed"]
    # It has asked as a letter would, but without one.
    assert [session.said("MAIL") for session in sink.sessions] == [[]] * len(sink.sessions)


async def test_what_the_server_says_now_is_told_in_place_of_what_it_said_first(facts: Facts, sink: Sink) -> None:
    outage, _ = an_outage(facts, sink)
    sink.replies["greeting"] = "554 5.3.2 closed for the canary@example.org"
    async with watched(outage):
        outage.begin(Verdict.CONFIGURATION, "auth 535")

        async def told_anew() -> str | None:
            told = await facts.get(OUTAGE)
            return told if "auth 535" not in told and told else None

        told = await eventually(told_anew)

    assert json.loads(told) == {"why": "unreachable: connect 554 5.3.2"}


async def test_there_can_be_another_after_it(facts: Facts, sink: Sink) -> None:
    outage, switch = an_outage(facts, sink)
    async with watched(outage):
        for _ in range(3):
            outage.begin(Verdict.UNREACHABLE, "connect")
            await until(lambda: not outage.on)

    assert switch.turned == ["pause", "resume"] * 3


async def test_one_that_began_before_anybody_watched_is_ended_all_the_same(facts: Facts, sink: Sink) -> None:
    outage, switch = an_outage(facts, sink)
    outage.begin(Verdict.UNREACHABLE, "connect")

    async with watched(outage):
        await until(lambda: not outage.on)

    assert switch.turned == ["pause", "resume"]


async def test_what_a_worker_that_died_in_an_outage_has_left_behind_is_forgotten_at_the_next_start(
    facts: Facts, sink: Sink
) -> None:
    await facts.put(OUTAGE, json.dumps({"why": "unreachable: connect"}))
    outage, _ = an_outage(facts, sink)

    async with watched(outage):
        await eventually(lambda: nobody_knows_of_any(facts))

    assert not outage.on


async def test_an_outage_that_another_worker_knows_nothing_of_is_told_again(facts: Facts, sink: Sink) -> None:
    outage, _ = an_outage(facts, sink)
    await sink.hush()
    async with watched(outage):
        outage.begin(Verdict.UNREACHABLE, "connect")
        await eventually(lambda: facts.get(OUTAGE))

        # The other has started, or has resumed.
        await facts.put(OUTAGE, "")

        await eventually(lambda: facts.get(OUTAGE))
    assert outage.on


async def test_without_the_database_it_pauses_and_ends_all_the_same_and_tells_later(
    facts: Facts, sink: Sink, away: Away
) -> None:
    outage, switch = an_outage(facts, sink)
    async with watched(outage):
        outage.begin(Verdict.UNREACHABLE, "connect")
        await until(lambda: not outage.on)
        await facts.put(OUTAGE, "a stale word")
        away.go()
        outage.begin(Verdict.UNREACHABLE, "connect")
        await until(lambda: not outage.on)
        away.come_back()
        await eventually(lambda: nobody_knows_of_any(facts))

    assert switch.turned == ["pause", "resume"] * 2
