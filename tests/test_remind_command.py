"""`rmindr remind`: into this instance's own database, or by the API of a service elsewhere, and what it says otherwise."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from rmindr.database import Database
from rmindr.ledger import row
from rmindr.models import Kind, Reminder, Status
from tests.servers import Valkey, free_port
from tests.sink import Sink
from tests.stack import Stack
from tests.test_cli import RIGHT, Ended, run

# What does not depend on the database need not run on two.
ON_ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
WORDS = ("remind", "call mum", "--at", "1 march 2031 18:00", "--to", "me@example.org")


async def said(*words: str, folder: Path, env: dict[str, str] | None = None) -> Ended:
    return await asyncio.to_thread(run, *words, folder=folder, env=env)


async def stored(database: Database) -> list[Reminder]:
    async with database.statements() as connection:
        return [Reminder(**each) for each in (await connection.execute(select(*row).order_by(row.id))).mappings()]


def instance(database_url: str, redis_url: str, **more: str) -> dict[str, str]:
    address = database_url.replace("postgresql+psycopg:", "postgres:")
    return {"DATABASE_URL": address, "REDIS_URL": redis_url, "RMINDR_ACCESS": "open"} | more


async def test_a_reminder_is_kept_here_and_its_time_is_said_on_the_clock_of_its_zone(
    database: Database, database_url: str, valkey: Valkey, prefix: str, tmp_path: Path
) -> None:
    env = instance(database_url, valkey.url, RMINDR_QUEUE_PREFIX=prefix)

    ended = await said(*WORDS, "--zone", "Europe/Paris", "--repeat", "weekly", folder=tmp_path, env=env)

    (made,) = await stored(database)
    assert (ended.status, ended.complained) == (0, [])
    assert ended.said == [f"{made.id}  Saturday 1 March 2031 at 18:00 in Paris (UTC+1). It repeats."]
    assert (made.recipient, made.message, made.status) == ("me@example.org", "call mum", Status.SCHEDULED)
    assert made.series_id is not None


@ON_ONE
@pytest.mark.parametrize(("zone", "hour"), [("America/New_York", 23), ("nonsense", None), ("", None)])
async def test_without_a_zone_it_is_that_of_this_machine(
    database: Database, database_url: str, valkey: Valkey, prefix: str, tmp_path: Path, zone: str, hour: int | None
) -> None:
    env = instance(database_url, valkey.url, RMINDR_QUEUE_PREFIX=prefix, TZ=zone)

    ended = await said(*WORDS, folder=tmp_path, env=env)

    (made,) = await stored(database)
    assert ended.status == 0
    # What a machine says that says nothing in TZ is its own affair.
    assert hour is None or (made.due_at.hour, made.time_zone) == (hour, zone)


@ON_ONE
async def test_it_is_kept_though_the_queue_is_away(database: Database, database_url: str, tmp_path: Path) -> None:
    env = instance(database_url, f"redis://127.0.0.1:{free_port()}")

    ended = await said(*WORDS, folder=tmp_path, env=env)

    assert ended.status == 0
    assert len(await stored(database)) == 1


@ON_ONE
async def test_where_people_must_agree_they_are_asked_first(
    database: Database, database_url: str, valkey: Valkey, prefix: str, tmp_path: Path
) -> None:
    more = RIGHT | {"RMINDR_ACCESS": "confirmed", "RMINDR_QUEUE_PREFIX": prefix}
    env = instance(database_url, valkey.url) | more

    ended = await said(*WORDS, folder=tmp_path, env=env)

    assert ended.said == ["It waits for a yes from that address; a mail is on its way that asks, if it may be asked."]
    assert {(each.kind, each.status) for each in await stored(database)} == {
        (Kind.REMINDER, Status.UNCONFIRMED), (Kind.CONFIRM, Status.SCHEDULED),
    }  # fmt: skip


@ON_ONE
@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"--at": "tomorrow at 3"}, "when cannot be read: «3» is ambiguous"),
        ({"--at": "2001-01-01T09:00"}, "when is in the past"),
        ({"--to": "nobody"}, "to is not an address"),
        ({"--zone": "Mars"}, "time_zone is «Mars»"),
        ({"--repeat": "FREQ=HOURLY"}, "repeat is no rule"),
        ({"--deadline": "yesterday"}, "deadline_at"),
        ({"--url": "ftp://example.org"}, "--url must look like https://remind.example.org"),
        ({"--url": "http://example.org", "--token": "rmd_x"}, "a token is not sent in the clear"),
    ],
)
async def test_what_cannot_be_is_a_sentence(
    database: Database, database_url: str, valkey: Valkey, tmp_path: Path, changes: dict[str, str], complaint: str
) -> None:
    given = {"--at": "1 march 2031 18:00", "--to": "me@example.org"} | changes

    ended = await said(
        "remind", "x", *(word for pair in given.items() for word in pair), folder=tmp_path,
        env=instance(database_url, valkey.url),
    )  # fmt: skip

    assert (ended.status, ended.said) == (1, [])
    assert any(complaint in line for line in ended.complained), ended.complained
    assert await stored(database) == []


# Elsewhere


@ON_ONE
async def test_a_service_elsewhere_is_asked_by_its_api(
    database: Database, database_url: str, valkey: Valkey, prefix: str, sink: Sink, tmp_path: Path
) -> None:
    stack = Stack(database_url, valkey, sink, {"RMINDR_QUEUE_PREFIX": prefix})
    async with stack.web():
        url = f"http://127.0.0.1:{stack.port}"

        made = await said(*WORDS, "--zone", "Asia/Tokyo", "--url", url, folder=tmp_path)
        refused = await said(*WORDS[:3], "tomorrow at 3", *WORDS[4:], "--url", url, folder=tmp_path)

    (found,) = await stored(database)
    assert made.said == [f"{found.id}  2031-03-01T09:00:00Z (Asia/Tokyo)."]
    assert (refused.status, refused.said) == (1, [])
    assert "«3» is ambiguous" in refused.complained[0]


@asynccontextmanager
async def answering(*lines: str) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A service that answers everything so; its address, and what it was sent."""
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write("\r\n".join(lines).encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heard


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (("HTTP/1.0 200 OK", "", "hello"), "the service answered something else than JSON"),
        (("HTTP/1.0 200 OK", "", "[]"), "the service answered something else than a reminder"),
        (("HTTP/1.0 502 Bad Gateway", "", "<html>"), "the service answered 502"),
        (("HTTP/1.0 401 No", "", json.dumps({"detail": "This needs a token."})), "This needs a token."),
        (("nonsense", "", ""), "the service cannot be reached"),
    ],
)
async def test_a_service_that_answers_otherwise_is_a_sentence(
    tmp_path: Path, lines: tuple[str, ...], complaint: str
) -> None:
    async with answering(*lines) as (url, _):
        ended = await said(*WORDS, "--url", url, folder=tmp_path)

    assert ended.status == 1
    assert complaint in ended.complained[0]


async def test_a_token_goes_to_the_address_that_was_typed_and_nowhere_else(tmp_path: Path) -> None:
    async with answering("HTTP/1.0 200 OK", "", "{}") as (elsewhere, stolen):
        async with answering("HTTP/1.0 302 Found", f"Location: {elsewhere}/", "", "") as (url, heard):
            ended = await said(*WORDS, "--url", url, "--token", "rmd_secret", folder=tmp_path)

    assert ended.status == 1
    assert b"Authorization: Bearer rmd_secret" in heard[0]
    assert stolen == []


async def test_a_service_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    ended = await said(*WORDS, "--url", f"http://127.0.0.1:{free_port()}", folder=tmp_path)

    assert ended.status == 1
    assert "the service cannot be reached" in ended.complained[0]
