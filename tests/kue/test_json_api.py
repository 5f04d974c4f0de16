"""The same questions, asked of Kue's own JSON API and of ours over one keyspace, are answered alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from redis.asyncio import Redis

from rmindr.queue import Queue, State
from rmindr.queue.audit import read
from tests.kue.original import Hand, Kue
from tests.kue.test_parity import ODD, standing
from tests.servers import Valkey
from tests.web.site import serving

pytestmark = pytest.mark.kue

# What Kue's UI says of itself; then ours, too, answers an error with 200.
UI: Final = {"X-Requested-With": "XMLHttpRequest"}


@dataclass
class Both:
    """The two APIs."""

    kues: httpx.AsyncClient
    ours: httpx.AsyncClient

    async def ask(self, method: str, path: str, **request: Any) -> tuple[tuple[int, Any], tuple[int, Any]]:
        """(status, JSON) of Kue, and of ours."""
        kues = await self.kues.request(method, path, **request)
        ours = await self.ours.request(method, f"/queue/api{path}", **request)
        assert kues.headers.get("Content-Type", "").split(";")[0] == ours.headers.get("Content-Type", "").split(";")[0]
        return tuple((each.status_code, each.json() if each.content else None) for each in (kues, ours))  # type: ignore[return-value]


@pytest.fixture
async def both(kue: Kue, valkey: Valkey, prefix: str, tmp_path: Path) -> AsyncIterator[Both]:
    port = await kue.ask(verb="listen")
    settings = {"REDIS_URL": valkey.url, "queue_prefix": prefix, "DATABASE_URL": f"sqlite:///{tmp_path}/no.db"}
    async with (
        serving(access="open", **settings) as site,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers={"Accept": "application/json"}) as client,
    ):
        yield Both(client, site.client)


async def a_scene(kue: Kue, live_queue: Queue) -> None:
    """Jobs of Kue's and of ours in every state, with everything that a job can have."""

    async def ends(job: dict[str, Any], hand: Hand) -> Any:
        await hand.do(("progress", 1, 3, ODD), ("log", "half <b>way</b>"))
        if job["data"].get("fails"):
            raise RuntimeError("No \N{LEFT-POINTING DOUBLE ANGLE QUOTATION MARK}such\n  mailbox")
        return ODD

    await kue.create("e: mail", {"title": "Grüße 🎂", "odd": ODD}, priority="high", attempts=3, ttl=60_000)
    await live_queue.create("e: mail", ODD, priority=2.5)
    await kue.create("later", {}, delay=3_600_000, backoff={"type": "fixed", "delay": 9})
    for fails in (False, True):
        await kue.create("ends", {"fails": fails}, removeOnComplete=False)
        await live_queue.create("ends", {"fails": fails}, attempts=1)
    await kue.process("ends", ends, concurrency=2)
    await kue.until(lambda: len(kue.args("complete")) == 2 and len(kue.args("failed")) == 2)
    await kue.queue("types")


LOOKING: Final = (
    "/stats", "/jobs/0..-1", "/jobs/0..2", "/jobs/1..3/asc", "/jobs/0..-1/desc", "/jobs/-2..-1", "/jobs/5..1", "/jobs/90..99",
    *(f"/jobs/{state}/{ranks}" for state in State for ranks in ("0..-1", "0..0/asc", "0..-1/desc")),
    *(f"/jobs/{type}/{state}/0..9" for type in ("ends", "later", "e:%20mail", "nobody") for state in State),
    *(f"/jobs/{type}/{state}/stats" for type in ("ends", "e:%20mail", "nobody") for state in State),
    *(f"/job/{job_id}" for job_id in range(1, 8)), *(f"/job/{job_id}/log" for job_id in range(1, 9)),
    "/job/99", "/job/search", "/job/search?q=nothing",
)  # fmt: skip


async def test_whatever_is_looked_at_is_told_alike(both: Both, kue: Kue, live_queue: Queue) -> None:
    await a_scene(kue, live_queue)

    for path in LOOKING:
        kues, ours = await both.ask("GET", path, headers=UI)
        assert ours == kues, path
    kues, ours = await both.ask("GET", "/job/types")

    assert ours == (200, sorted(kues[1]))


async def test_an_error_is_in_kues_words_and_has_a_status_of_its_own_for_whoever_is_not_kues_ui(both: Both) -> None:
    asked = (
        ("GET", "/job/99"),
        ("DELETE", "/job/99"),
        ("PUT", "/job/99/state/inactive"),
        ("PUT", "/job/99/priority/1"),
    )

    for method, path in asked:
        kues, ours = await both.ask(method, path)
        assert (kues, ours) == ((200, ours[1]), (404, {"error": 'job "99" doesnt exist'})), path
        kues, ours = await both.ask(method, path, headers=UI)
        assert ours == kues, path
    kues, ours = await both.ask("PUT", "/job/99/priority/high", headers=UI)
    assert ours == kues == (200, {"error": "invalid priority"})


# Options that both take; each makes a job of ours that is, in Redis, as Kue's.
OPTIONS: Final[tuple[dict[str, Any], ...]] = (
    {}, {"priority": "low"}, {"priority": "critical"}, {"priority": 7}, {"priority": "-3"}, {"priority": 2.5}, {"priority": 0},
    {"attempts": 4}, {"attempts": "4"}, {"attempts": 3.7}, {"attempts": 0}, {"delay": 3_600_000}, {"delay": "3600000"},
    {"delay": 0}, {"delay": -5}, {"backoff": True}, {"backoff": {"type": "fixed"}}, {"backoff": {"type": "fixed", "delay": 9}},
    {"backoff": {"type": "exponential", "delay": 200, "maxDelay": 900}}, {"backoff": False}, {"ttl": 5000}, {"ttl": 0},
    {"ttl": "5000"}, {"removeOnComplete": True}, {"removeOnComplete": False}, {"searchKeys": ["title"]}, {"another": "one"},
)  # fmt: skip


@pytest.mark.parametrize("singly", [True, False], ids=["one by one", "as a list"])
async def test_a_job_is_created_alike(both: Both, redis: Redis, prefix: str, kue: Kue, singly: bool) -> None:
    asked = [{"type": "email", "data": {"title": "Grüße 🎂"}, "options": options} for options in OPTIONS]
    asked += [{"type": "e: mail", "data": data} for data in (ODD, None, 0, "", "text", [], [1])]

    pairs = [await both.ask("POST", "/job", json=item) for item in asked] if singly else []
    if not singly:
        (kues_status, kues_list), (our_status, our_list) = await both.ask("POST", "/job", json=asked)
        pairs = [((kues_status, a), (our_status, b)) for a, b in zip(kues_list, our_list, strict=True)]

    keyspace = await read(redis, prefix)
    for item, ((kues_status, kues), (our_status, ours)) in zip(asked, pairs, strict=True):
        assert (kues_status, our_status) == (200, 200), item
        assert {**kues, "id": 0} == {**ours, "id": 0} == {"message": "job created", "id": 0}
        assert standing(keyspace, ours["id"]) == standing(keyspace, kues["id"]), item
    assert await kue.queue("card", "inactive") + await kue.queue("card", "delayed") == 2 * len(asked)


async def test_what_kue_refuses_is_refused_alike(both: Both) -> None:
    for body in ({"data": {}}, {"type": ""}, [{}], [{"type": None}, {"options": {}}], {}, []):
        kues, ours = await both.ask("POST", "/job", json=body)
        assert ours == kues, body
    kues, ours = await both.ask("POST", "/job")
    assert ours == kues == (204, None)

    (kues_status, kues_list), (our_status, our_list) = await both.ask(
        "POST", "/job", json=[{"type": "a"}, {}, {"type": "b"}]
    )
    assert (kues_status, our_status) == (400, 400)
    assert [list(each) for each in our_list] == [list(each) for each in kues_list]
    assert our_list[1] == kues_list[1] == {"error": "Must provide job type"}


async def test_what_is_done_to_a_job_is_done_alike(both: Both, kue: Kue, live_queue: Queue) -> None:
    async def fails(job: dict[str, Any], hand: Hand) -> Any:
        raise RuntimeError("no")

    await kue.process("fails", fails)
    for _ in range(6):
        await kue.create("email", delay=3_600_000)
    await both.ask("POST", "/job", json=[{"type": "fails"}] * 2)
    await kue.until(lambda: len(kue.args("failed")) == 4)

    async def act(method: str, path: str, kues_job: int, our_job: int, our_method: str | None = None) -> None:
        kues = await both.kues.request(method, path.format(kues_job))
        ours = await both.ours.request(our_method or method, f"/queue/api{path.format(our_job)}")
        assert (ours.status_code, ours.text) == (kues.status_code, kues.text.replace(str(kues_job), str(our_job)))

    await act("PUT", "/job/{}/priority/-7", 1, 2)
    await act("PUT", "/job/{}/state/inactive", 3, 4)
    await act("DELETE", "/job/{}", 5, 6)
    assert [job["id"] for job in await kue.jobs("rangeByState", "delayed", 0, -1, "asc")] == [1, 2]
    assert [job["id"] for job in await kue.jobs("rangeByType", "email", "inactive", 0, -1, "asc")] == [3, 4]
    assert [(await kue.get(job_id))["priority"] for job_id in (1, 2, 3, 4)] == [-7, -7, 0, 0]

    failed = [job["id"] for job in await kue.jobs("rangeByState", "failed", 0, -1, "asc")]
    await act("GET", "/inactive/{}", failed[0], failed[1], "POST")
    await act("PUT", "/job/{}/state/inactive", failed[2], failed[3])
    await kue.until(lambda: len(kue.args("failed")) == 8)
