"""Whether the service says truly how it is: /healthz for routers and people, /metrics for Prometheus."""

from __future__ import annotations

import asyncio
import json
import math
import re
from datetime import timedelta
from uuid import UUID

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from rmindr.database import Database
from rmindr.facts import OUTAGE, Facts
from rmindr.ledger import Ledger
from rmindr.models import Status
from rmindr.queue import Queue
from tests.deliveries import a_reminder
from tests.queue.scenery import working
from tests.servers import Valkey, free_port
from tests.stack import ROOT
from tests.web.conftest import Serve
from tests.web.site import BROWSER, CONFIRMED, Page, Site, problem, soon

ON_ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
TOKEN = CONFIRMED | {"metrics_token": "a-token-for-tests"}


def nowhere() -> str:
    """The address of a PostgreSQL that is not there."""
    return f"postgres://user:secret@127.0.0.1:{free_port()}/rmindr"


# /healthz


async def test_all_is_well_and_no_more_is_said(site: Site, live_queue: Queue) -> None:
    async with working(live_queue):
        answer = await site.client.get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "up"})


async def test_without_a_worker_it_is_red_and_takes_reminders_all_the_same(site: Site) -> None:
    red = await site.client.get("/healthz")
    live = await site.client.get("/livez")

    assert (red.status_code, red.json()) == (503, {"status": "failing", "why": ["No worker runs."]})
    assert (live.status_code, live.json()) == (200, {"status": "up"})
    await site.post()


async def test_what_is_late_for_minutes_is_red(site: Site, live_queue: Queue, database: Database) -> None:
    await a_reminder(database, due_at=-timedelta(seconds=150), next_at=-timedelta(seconds=150))
    async with working(live_queue):
        answer = await site.client.get("/healthz")

    assert answer.status_code == 503
    assert re.fullmatch(r"A reminder is 1[5-9]\d s late\.", answer.json()["why"][0])


@ON_ONE
async def test_without_redis_it_is_degraded_and_another_when_redis_is_back(serve: Serve, own_valkey: Valkey) -> None:
    async with serve(REDIS_URL=own_valkey.url) as site:
        await asyncio.to_thread(own_valkey.kill)
        away = await site.client.get("/healthz")
        await asyncio.to_thread(own_valkey.start)
        back = (await site.client.get("/healthz")).json()["status"]
        own_valkey.freeze()
        frozen = await site.client.get("/healthz")
        own_valkey.thaw()

    assert back == "failing"
    for answer in (away, frozen):
        # What is due is late by then, if it lasts; for a moment it does no harm.
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")


async def test_while_the_mail_server_refuses_us_it_is_red(site: Site, live_queue: Queue, database: Database) -> None:
    facts = Facts(database)
    async with working(live_queue):
        await facts.put(OUTAGE, json.dumps({"why": "account: 535 refused"}))
        paused = await site.client.get("/healthz")
        await facts.put(OUTAGE, "")
        back = await site.client.get("/healthz")

    assert (paused.status_code, paused.json()["status"]) == (503, "failing")
    assert paused.json()["why"] == ["Sending is paused: the mail server refuses, or cannot be reached."]
    assert back.json() == {"status": "up"}


@ON_ONE
async def test_without_a_database_it_is_down(serve: Serve) -> None:
    async with serve(DATABASE_URL=nowhere()) as site:
        answer, live = await site.client.get("/healthz"), await site.client.get("/livez")

    assert (answer.status_code, answer.json()["status"]) == (503, "down")
    assert (live.status_code, live.json()["status"]) == (503, "down")


@ON_ONE
async def test_what_is_down_is_said_without_names(serve: Serve) -> None:
    url = nowhere()
    async with serve(DATABASE_URL=url) as site:
        answers = [
            await site.client.get("/healthz"),
            await site.client.get("/metrics"),
            await site.client.get("/api/reminders"),
            await site.client.get("/api/reminders", headers=BROWSER),
        ]

    for answer in answers:
        assert answer.status_code == 503
        for word in ("127.0.0.1", "secret", "user", "psycopg", "Error", "rmindr/"):
            assert word not in answer.text.replace("rmindr</", ""), word


# /metrics


def measured(answer: httpx.Response) -> dict[str, float]:
    """Each sample by its name, labels in braces."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {
        sample.name + (f"{{{','.join(sample.labels.values())}}}" if sample.labels else ""): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_an_idle_instance_measures_nothing_that_waits(site: Site) -> None:
    found = measured(await site.client.get("/metrics"))

    assert math.isnan(found.pop("rmindr_next_due_seconds"))
    assert found.pop("rmindr_queue_reachable") == 1
    lateness = [found.pop(f"rmindr_lateness_seconds{{{quantile}}}") for quantile in ("0.5", "0.99", "1")]
    assert all(math.isnan(each) for each in lateness)
    assert set(found.values()) == {0}
    assert {name for name in found if name.startswith("rmindr_queue_jobs")} == {
        f"rmindr_queue_jobs{{{state}}}" for state in ("inactive", "active", "complete", "failed", "delayed")
    }


async def test_what_waits_and_what_is_late_is_measured(site: Site, database: Database) -> None:
    ledger = Ledger(database, timedelta(minutes=1))
    # A row that is due and that nobody has: only a worker would send it.
    await site.overdue()
    leaving = await site.overdue()
    await site.post(due_at=soon(hours=1))
    assert await ledger.claim(UUID(leaving["id"]), 1, "a worker") is not None

    found = measured(await site.client.get("/metrics"))

    assert found["rmindr_scheduled_reminders"] == 2
    assert found["rmindr_sending_reminders"] == 1
    assert found["rmindr_overdue_reminders"] == 1
    assert found["rmindr_oldest_overdue_seconds"] > 0
    assert found["rmindr_next_due_seconds"] == 0
    assert found["rmindr_queue_jobs{delayed}"] + found["rmindr_queue_jobs{inactive}"] == 3


async def test_how_late_mails_were_is_measured(site: Site, database: Database, live_queue: Queue) -> None:
    for late in (1, 2, 3, 9):
        await a_reminder(
            database, status=Status.SENT, due_at=-timedelta(seconds=60), next_at=-timedelta(seconds=60),
            accepted_at=-timedelta(seconds=60 - late),
        )  # fmt: skip
    async with working(live_queue):
        found = measured(await site.client.get("/metrics"))

    assert [round(found[f"rmindr_lateness_seconds{{{each}}}"]) for each in ("0.5", "0.99", "1")] == [2, 3, 9]
    assert found["rmindr_workers"] == 1


@ON_ONE
async def test_the_board_shows_what_is_measured_and_nothing_else(site: Site) -> None:
    board = (ROOT / "docs" / "grafana.json").read_text()

    families = text_string_to_metric_families((await site.client.get("/metrics")).text)

    assert set(re.findall(r"rmindr_[a-z_]+", board)) == {family.name for family in families}


@ON_ONE
async def test_the_next_one_due_is_measured_ahead(site: Site) -> None:
    await site.post(due_at=soon(hours=2))
    await site.post(due_at=soon(hours=1))

    found = measured(await site.client.get("/metrics"))

    assert 3500 < found["rmindr_next_due_seconds"] <= 3600
    assert found["rmindr_oldest_overdue_seconds"] == 0


@ON_ONE
async def test_without_redis_the_record_is_measured_all_the_same(serve: Serve, own_valkey: Valkey) -> None:
    async with serve(REDIS_URL=own_valkey.url) as site:
        await site.post()
        await asyncio.to_thread(own_valkey.kill)
        found = measured(await site.client.get("/metrics"))

    assert found["rmindr_queue_reachable"] == 0
    assert math.isnan(found["rmindr_queue_jobs{delayed}"])
    assert found["rmindr_scheduled_reminders"] == 1


@ON_ONE
async def test_beyond_loopback_the_token_reads_metrics_and_nothing_else_does(serve: Serve) -> None:
    async with serve(**TOKEN) as site:
        for given in ("", "a-token-for-tests", "Bearer", "Bearer ", "Bearer a-token-for-test", "Bearer a-token-for-testss",
                      "Basic a-token-for-tests", "Bearer é"):  # fmt: skip
            answer = await site.client.get("/metrics", headers={"Authorization": given.encode()} if given else {})
            assert problem(answer, 404)["title"] == "Not found", given
        assert (await site.client.get("/metrics?token=a-token-for-tests")).status_code == 404
        found = measured(await site.client.get("/metrics", headers={"Authorization": "Bearer a-token-for-tests"}))

    assert found["rmindr_queue_reachable"] == 1


@ON_ONE
async def test_without_a_token_set_metrics_are_not_there_beyond_loopback(serve: Serve) -> None:
    async with serve(**CONFIRMED) as site:
        for header in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer None"}):
            problem(await site.client.get("/metrics", headers=header), 404)
        said = problem(await site.client.get("/metrics"), 404)
        nothing = problem(await site.client.get("/nothing"), 404)
        page = Page(await site.client.get("/metrics", headers=BROWSER))

    assert said["detail"] == nothing["detail"]
    assert page.title == "Not found · rmindr"
