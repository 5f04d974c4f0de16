"""Whether the service says truly how it is: /healthz for routers and people, /metrics for Prometheus."""

from __future__ import annotations

import asyncio
import json
import math
from datetime import timedelta
from uuid import UUID

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from rmindr.database import Database
from rmindr.facts import OUTAGE, Facts
from rmindr.ledger import Ledger
from tests.servers import Valkey, free_port
from tests.web.conftest import Serve
from tests.web.site import BROWSER, CONFIRMED, Page, Site, problem, soon

ON_ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
TOKEN = CONFIRMED | {"metrics_token": "a-token-for-tests"}


def nowhere() -> str:
    """The address of a PostgreSQL that is not there."""
    return f"postgres://user:secret@127.0.0.1:{free_port()}/rmindr"


# /healthz


async def test_all_is_well_and_no_more_is_said(site: Site) -> None:
    answer = await site.client.get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "up"})


@ON_ONE
async def test_without_redis_it_is_degraded_and_up_again_when_redis_is_back(serve: Serve, own_valkey: Valkey) -> None:
    async with serve(REDIS_URL=own_valkey.url) as site:
        said = [(await site.client.get("/healthz")).json()["status"]]
        await asyncio.to_thread(own_valkey.kill)
        away = await site.client.get("/healthz")
        await asyncio.to_thread(own_valkey.start)
        said.append((await site.client.get("/healthz")).json()["status"])
        own_valkey.freeze()
        frozen = await site.client.get("/healthz")
        own_valkey.thaw()

    assert said == ["up", "up"]
    for answer in (away, frozen):
        # Reminders are taken all the same, so a router must not turn away.
        assert (answer.status_code, answer.json()) == (200, {"status": "degraded"})


async def test_while_the_mail_server_refuses_us_it_is_degraded(site: Site, database: Database) -> None:
    facts = Facts(database)
    await facts.put(OUTAGE, json.dumps({"why": "account: 535 refused"}))
    paused = await site.client.get("/healthz")
    await facts.put(OUTAGE, "")

    assert (paused.status_code, paused.json()) == (200, {"status": "degraded"})
    assert (await site.client.get("/healthz")).json() == {"status": "up"}


@ON_ONE
async def test_without_a_database_it_is_down(serve: Serve) -> None:
    async with serve(DATABASE_URL=nowhere()) as site:
        answer = await site.client.get("/healthz")

    assert (answer.status_code, answer.json()) == (503, {"status": "down"})


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
