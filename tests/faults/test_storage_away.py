"""Redis or SQL is away at the very moment of a POST: a promise that can be kept, or an honest «not now»."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest
from redis.asyncio import Redis

from rmindr.schema import migrate
from tests.faults.conftest import SHRUNK
from tests.queue.proxy import Proxy
from tests.servers import Postgres, Valkey
from tests.sink import Sink
from tests.stack import Stack, answering, post, soon, until
from tests.web.site import BROWSER, Page, a_form, a_reminder, problem

pytestmark = pytest.mark.faults


# Redis


async def test_while_redis_refuses_a_post_is_a_promise_all_the_same_and_is_kept_from_sql(stack: Stack) -> None:
    async with stack.web() as client, stack.worker():
        await asyncio.to_thread(stack.valkey.kill)
        due_at = soon(4)
        id = await post(client, "person@example.org", due_at)
        form = await client.post("/", data=a_form(), headers=BROWSER)
        health = await client.get("/healthz")
        (found,) = await until(client, [id])

    assert form.status_code == 303
    assert (health.status_code, health.json()["status"]) == (200, "degraded")
    (mail,) = stack.sink.mails
    assert found["status"] == "sent"
    assert mail.at >= due_at.timestamp() - 0.001


async def test_while_redis_is_frozen_posts_edits_and_cancels_are_answered_and_come_true(stack: Stack) -> None:
    async with stack.web() as client, stack.worker():
        edited, cancelled = [await post(client, f"{name}@example.org", soon(5)) for name in ("edited", "cancelled")]
        stack.valkey.freeze()
        try:
            new = await post(client, "new@example.org", soon(5))
            form = await client.post("/", data=a_form(), headers=BROWSER)
            edit = await client.patch(f"/api/reminders/{edited}", json={"message": "the new words"})
            cancel = await client.delete(f"/api/reminders/{cancelled}")
            # It is frozen still: these answers did not wait for it.
        finally:
            stack.valkey.thaw()
        found = await until(client, [new, edited, cancelled])

    assert [answer.status_code for answer in (form, edit, cancel)] == [303, 200, 200]
    assert [each["status"] for each in found] == ["sent", "sent", "cancelled"]
    assert {mail.recipient: b"the new words" in mail.data for mail in stack.sink.mails} == {
        "new@example.org": False,
        "edited@example.org": True,
    }
    assert all(each["lateness_ms"] >= 0 for each in found[:2])


# SQL


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Postgres]:
    """A server of these tests' own, to stop and to freeze."""
    server = Postgres()
    server.start()
    migrate(server.url().replace("postgresql:", "postgresql+psycopg:"))
    yield server
    server.remove()


@pytest.fixture
def on_postgres(own_postgres: Postgres, valkey: Valkey, prefix: str, sink: Sink) -> Iterator[Stack]:
    yield Stack(own_postgres.url(), valkey, sink, SHRUNK | {"RMINDR_QUEUE_PREFIX": prefix})
    own_postgres.execute("DELETE FROM reminders")


def stop(server: Postgres) -> Callable[[], None]:
    server.kill()
    return server.start


def freeze(server: Postgres) -> Callable[[], None]:
    server.freeze()
    return server.thaw


@pytest.mark.parametrize("harm", [stop, freeze])
async def test_without_sql_nothing_is_promised_stored_or_sent_and_nothing_typed_is_lost(
    on_postgres: Stack, own_postgres: Postgres, harm: Callable[[Postgres], Callable[[], None]], prefix: str
) -> None:
    typed = a_form(message="Nothing of this may be lost\r\nneither this", subject="«this»", to="lost@example.org")
    async with on_postgres.web() as client, on_postgres.worker():
        # Its connection is warm: a freeze meets the next request half way.
        await client.get(f"/reminders/{NOBODY}")
        mend = harm(own_postgres)
        try:
            # Alone and first, so that it is the one on the warm connection.
            answer = await client.post(
                "/api/reminders", json=a_reminder(to="lost@example.org", due_at=soon(10).isoformat())
            )
            form, health = await asyncio.gather(client.post("/", data=typed, headers=BROWSER), client.get("/healthz"))
            # Nothing has mended it yet: these answers did not wait for that.
            jobs = await keys_of_jobs(on_postgres.valkey, prefix)
        finally:
            await asyncio.to_thread(mend)
        kept = await post(client, "kept@example.org", soon(3))
        await until(client, [kept])

    assert problem(answer, 503)["title"] == "Not now"
    assert int(answer.headers["Retry-After"]) <= 5
    page = Page(form)
    assert (page.status, page.title) == (503, "Error: New reminder · rmindr")
    assert int(form.headers["Retry-After"]) <= 5
    assert {name: page.values[name] for name in typed} == typed
    assert (health.status_code, health.json()["status"]) == (503, "down")
    assert jobs == 0
    assert [mail.recipient for mail in on_postgres.sink.mails] == ["kept@example.org"]
    assert rows(own_postgres) == 1


@asynccontextmanager
async def behind_a_proxy(stack: Stack, server: Postgres) -> AsyncIterator[tuple[httpx.AsyncClient, Proxy]]:
    async with Proxy(server.port) as proxy:
        stack.database_url = server.url().replace(str(server.port), str(proxy.port))
        async with stack.web() as client:
            yield client, proxy


async def test_a_commit_whose_answer_is_lost_is_one_reminder_when_it_is_asked_for_again(
    on_postgres: Stack, own_postgres: Postgres
) -> None:
    body, key = a_reminder(), {"Idempotency-Key": "one"}
    async with behind_a_proxy(on_postgres, own_postgres) as (client, proxy):
        proxy.lose_answer(b"COMMIT")
        lost = await client.post("/api/reminders", json=body, headers=key)
        stored = rows(own_postgres)
        again = await client.post("/api/reminders", json=body, headers=key)

    assert problem(lost, 503)["detail"].startswith("Nothing was saved, or we cannot tell")
    assert stored == 1
    assert again.status_code == 201
    assert rows(own_postgres) == 1


async def test_a_form_whose_commit_was_lost_is_one_reminder_when_it_is_sent_again(
    on_postgres: Stack, own_postgres: Postgres
) -> None:
    async with behind_a_proxy(on_postgres, own_postgres) as (client, proxy):
        proxy.lose_answer(b"COMMIT")
        lost = Page(await client.post("/", data=a_form(), headers=BROWSER))
        # What the page that came back says is what a browser sends now.
        again = await client.post("/", data=lost.values, headers=BROWSER)

    assert lost.status == 503
    assert again.status_code == 303
    assert rows(own_postgres) == 1


async def test_a_commit_that_never_came_is_one_reminder_when_it_is_asked_for_again(
    on_postgres: Stack, own_postgres: Postgres
) -> None:
    body, key = a_reminder(), {"Idempotency-Key": "one"}
    async with behind_a_proxy(on_postgres, own_postgres) as (client, proxy):
        proxy.lose_answer(b"INSERT INTO reminders")
        lost = await client.post("/api/reminders", json=body, headers=key)
        stored = rows(own_postgres)
        again = await client.post("/api/reminders", json=body, headers=key)

    assert problem(lost, 503)
    assert stored == 0
    assert again.status_code == 201
    assert rows(own_postgres) == 1


# A disk without room


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_without_room_on_the_disk_nothing_is_promised_and_all_that_is_stored_can_be_read(stack: Stack) -> None:
    """C9, as the web tier sees it: no file of it may grow any more."""
    async with stack.process("web") as web, stack.client() as client:
        await answering(client, web)
        kept = await post(client, "kept@example.org", soon(3600))
        before = resource.prlimit(web.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        refused = [await client.post("/api/reminders", json=a_reminder()) for _ in range(3)]
        form = await client.post("/", data=a_form(message="not lost"), headers=BROWSER)
        read = await client.get(f"/api/reminders/{kept}")
        resource.prlimit(web.pid, resource.RLIMIT_FSIZE, before)
        after = await post(client, "after@example.org", soon(3600))
        stored = (await client.get("/api/reminders")).json()["items"]

    for answer in refused:
        assert problem(answer, 503)["title"] == "Not now"
    assert (form.status_code, Page(form).values["message"]) == (503, "not lost")
    assert read.json()["id"] == kept
    assert {each["id"] for each in stored} == {kept, after}


# More who ask than a silent database answers


async def test_two_hundred_who_ask_a_silent_database_are_all_answered_and_leave_nothing_open(
    on_postgres: Stack, own_postgres: Postgres
) -> None:
    """C10: 503 within the patience for one connection, and no file more than before."""
    async with on_postgres.process("web") as web, on_postgres.client() as client:
        await answering(client, web)
        await post(client, "before@example.org", soon(3600))
        open_before = len(os.listdir(f"/proc/{web.pid}/fd"))
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=client.base_url, timeout=60, limits=limits) as many:
            own_postgres.freeze()
            try:
                answers = await asyncio.gather(*(many.post("/api/reminders", json=a_reminder()) for _ in range(200)))
            finally:
                own_postgres.thaw()
        await post(client, "after@example.org", soon(3600))
        open_after = len(os.listdir(f"/proc/{web.pid}/fd"))

    assert {answer.status_code for answer in answers} == {503}
    assert all(int(answer.headers["Retry-After"]) <= 5 for answer in answers)
    # A pool may have opened a few more; of two hundred clients none is left.
    assert open_after < open_before + 20
    assert rows(own_postgres) == 2


NOBODY = "01900000-0000-7000-8000-000000000000"


def rows(server: Postgres) -> int:
    return int(server.value("SELECT count(*) FROM reminders"))


async def keys_of_jobs(valkey: Valkey, prefix: str) -> int:
    async with Redis.from_url(valkey.url) as redis:
        return len([key async for key in redis.scan_iter(f"{prefix}:job:*")])
