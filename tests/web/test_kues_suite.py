"""Kue's own tests of its JSON API (test/jsonapi.js), by their names, against ours."""

from __future__ import annotations

import random
from typing import Any, Final

import pytest

from rmindr.queue import Queue
from tests.queue.scenery import LEASE
from tests.servers import Valkey
from tests.web.queue import Api, refused
from tests.web.site import Site

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

TYPE: Final = "test:inserts"


@pytest.fixture
async def api(site: Site) -> Api:
    return Api(site)


def a_job(n: int = 0) -> dict[str, Any]:
    priority = random.choice([10, 0, -5, -10, -15])
    return {"type": TYPE, "data": {"title": n, "data": f"{TYPE}:data"}, "options": {"priority": priority}}


# create, get, update and delete


async def test_should_insert_a_job_and_respond_with_an_id(api: Api) -> None:
    assert await api.post(a_job()) == {"message": "job created", "id": 1}


async def test_should_insert_multiple_jobs_and_respond_with_ids(api: Api) -> None:
    made = await api.post([a_job(n) for n in range(5)])

    assert made == [{"message": "job created", "id": n + 1} for n in range(5)]


async def test_get_job_by_id_job_is_inactive(api: Api) -> None:
    made = await api.post(a_job())

    job = await api.get(f"/job/{made['id']}")

    assert (job["id"], job["type"], job["state"]) == ("1", TYPE, "inactive")


async def test_change_state(api: Api) -> None:
    """To a state that somebody else than a worker may say; theirs is `active`, which with us is refused."""
    await api.post(a_job())

    refused(await api.ask("PUT", "/job/1/state/active"), 409)
    answer = await api.ask("PUT", "/job/1/state/failed")

    assert answer.json()["message"]


async def test_get_job_by_id_job_is_now_active(api: Api, queue: Queue) -> None:
    await api.post(a_job())
    await queue.lifecycle.claim({TYPE: 1}, token="a.1", lease=LEASE, worker="kue:here:1")

    job = await api.get("/job/1")

    assert (job["id"], job["type"], job["state"]) == ("1", TYPE, "active")


async def test_delete_job_by_id(api: Api) -> None:
    await api.post(a_job())

    answer = await api.ask("DELETE", "/job/1")

    assert "1" in answer.json()["message"]


# search


async def test_search_by_query_not_found(api: Api) -> None:
    await api.post(a_job())

    assert await api.get("/job/search") == []


async def test_search_by_query_found(api: Api, valkey: Valkey, prefix: str) -> None:
    async with Queue.open(valkey.url, prefix=prefix, search=("*",)) as queue:
        for n in range(6):
            await queue.create(TYPE, a_job(n)["data"])
        await queue.remove(1)

    assert len(await api.get(f"/job/search?q={TYPE}:data")) == 5


# range


async def test_range_from_to(api: Api) -> None:
    await api.post([a_job(n) for n in range(5)])

    assert len(await api.get("/jobs/0..3")) == 4


async def test_range_from_to_with_type_and_state(api: Api) -> None:
    await api.post([a_job(n) for n in range(5)])

    assert len(await api.get(f"/jobs/{TYPE}/inactive/0..20/asc")) == 5


# stats


async def test_get_stats(api: Api) -> None:
    stats = await api.get("/stats")

    assert {"inactiveCount", "completeCount", "activeCount", "delayedCount"} < set(stats)


# error cases


async def test_should_insert_jobs_including_an_invalid_job_respond_with_ids_and_error(api: Api) -> None:
    jobs = [a_job(n) for n in range(3)]
    del jobs[1]["type"]

    made = await api.post(jobs, 400)

    assert made[0] == {"message": "job created", "id": 1}
    assert made[1] == {"error": "Must provide job type"}
