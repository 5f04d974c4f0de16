"""`rmindr doctor`: silent on an instance that is well, and each thing that can be wrong named, with what to do about it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import trustme

from rmindr.database import Database
from rmindr.doctor import Finding, Level, examine
from rmindr.facts import OUTAGE, Facts
from rmindr.queue import Queue
from tests.deliveries import a_reminder
from tests.names import name_server
from tests.queue.scenery import working
from tests.servers import Postgres, Valkey, free_port
from tests.sink import Sink
from tests.test_cli import run
from tests.zones import a_zone_folder

ON_ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
RECORDS: Final = {
    ("example.org", "TXT"): '"v=spf1 include:_spf.mail.example -all"',
    ("example.org", "MX"): "10 mx.example.org.",
    ("_dmarc.example.org", "TXT"): '"v=DMARC1; p=reject"',
    ("s1._domainkey.example.org", "TXT"): '"v=DKIM1; p=MIGf"',
}
GOOD: Final = {
    "RMINDR_ACCESS": "confirmed",
    "RMINDR_PUBLIC_URL": "https://remind.example.org",
    "RMINDR_SECRET_KEY": "vB3xQ9fLr7TzWm2KpY5nHdJcGs8AeUiO",
    "RMINDR_MAIL_FROM": "Reminders <reminders@example.org>",
    "RMINDR_DKIM_SELECTOR": "s1",
    "RMINDR_ADMINS": "root@example.org",
}


@dataclass
class Patient:
    """An instance that is well, and can be made ill: its environment, its parts, its records."""

    env: dict[str, str]
    database: Database
    valkey: Valkey
    sink: Sink
    queue: Queue
    ahead: timedelta = timedelta(0)
    records: dict[tuple[str, str], str] = field(default_factory=lambda: dict(RECORDS))

    async def findings(self, monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
        for name in [each for each in os.environ if each.startswith(("RMINDR_", "MAILGUN_")) or each == "DYNO"]:
            monkeypatch.delenv(name)
        for name, value in self.env.items():
            monkeypatch.setenv(name, value)
        async with name_server(self.records) as where:
            clock: Callable[[], datetime] = lambda: datetime.now(UTC) + self.ahead  # noqa: E731  (one line says it)
            return [each async for each in examine(self.env, clock=clock, name_server=where)]

    async def troubles(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Level]:
        """What is wrong, by name."""
        found = await self.findings(monkeypatch)
        return {each.name: each.level for each in found if each.level in (Level.WARNING, Level.ERROR)}


@pytest.fixture
async def patient(database_url: str, database: Database, own_valkey: Valkey, sink: Sink) -> AsyncIterator[Patient]:
    async with AsyncExitStack() as stack:
        queue = await stack.enter_async_context(Queue.open(own_valkey.url))
        await stack.enter_async_context(working(queue))
        env = GOOD | {
            "DATABASE_URL": database_url.replace("postgresql+psycopg:", "postgres:"),
            "REDIS_URL": own_valkey.url,
            "RMINDR_SMTP_URL": f"smtp://127.0.0.1:{sink.port}",
        }
        yield Patient(env, database, own_valkey, sink, queue)


async def test_an_instance_that_is_well_has_no_trouble(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await patient.findings(monkeypatch)

    assert [f"{each.name}: {each.sentence}" for each in found if each.level is not Level.GOOD] == []
    assert {each.name for each in found} >= {"database", "migrations", "redis", "worker", "mail", "domain", "overdue"}


# What can be wrong


def setting(**changes: str | None) -> Callable[[Patient], Awaitable[None]]:
    """The instance with these variables; None takes one away."""

    async def plant(patient: Patient) -> None:
        for name, value in changes.items():
            if value is None:
                patient.env.pop(name)
            else:
                patient.env[name] = value

    return plant


def record(name: str, kind: str, text: str | None = None) -> Callable[[Patient], Awaitable[None]]:
    """The domain with this record in place of what it had, or without it."""

    async def plant(patient: Patient) -> None:
        patient.records.pop((name, kind), None)
        if text is not None:
            patient.records[name, kind] = text

    return plant


def redis(*words: Any) -> Callable[[Patient], Awaitable[None]]:
    async def plant(patient: Patient) -> None:
        await patient.queue.redis.execute_command(*words)

    return plant


async def bare_domain(patient: Patient) -> None:
    patient.records.clear()


async def no_redis(patient: Patient) -> None:
    patient.env["REDIS_URL"] = f"redis://127.0.0.1:{free_port()}"


async def full_redis(patient: Patient) -> None:
    used = (await patient.queue.redis.info("memory"))["used_memory"]
    await patient.queue.redis.config_set("maxmemory", int(used * 1.1))


async def no_worker(patient: Patient) -> None:
    await patient.queue.redis.delete(patient.queue.keys.workers)


async def paused(patient: Patient) -> None:
    await patient.queue.steering.pause()


async def outage(patient: Patient) -> None:
    await Facts(patient.database).put(OUTAGE, "{}")


async def overdue(patient: Patient) -> None:
    await a_reminder(patient.database, due_at=-timedelta(minutes=10), next_at=-timedelta(minutes=10))


async def slow_clock(patient: Patient) -> None:
    patient.ahead = timedelta(hours=1)


async def no_mail_server(patient: Patient) -> None:
    await patient.sink.hush()


async def wrong_password(patient: Patient) -> None:
    patient.sink.extensions.append("AUTH PLAIN LOGIN")
    patient.sink.replies["AUTH"] = "535 5.7.8 no"
    patient.env["RMINDR_SMTP_URL"] = f"smtp://user:wrong@127.0.0.1:{patient.sink.port}"


async def no_starttls(patient: Patient) -> None:
    patient.env["RMINDR_SMTP_URL"] = f"smtp+starttls://127.0.0.1:{patient.sink.port}"


async def small_mails(patient: Patient) -> None:
    patient.sink.extensions[0] = "SIZE 20000"


E: Final = Level.ERROR
W: Final = Level.WARNING
PLANTED: Final[dict[str, tuple[Callable[[Patient], Awaitable[None]], Mapping[str, Level]]]] = {
    "an unknown access": (setting(RMINDR_ACCESS="friends"), {"settings": E}),
    "a setting misspelt": (setting(RMINDR_ADMIN="root@example.org"), {"settings": E}),
    "no key": (setting(RMINDR_SECRET_KEY=None), {"settings": E}),
    "a key that somebody typed": (setting(RMINDR_SECRET_KEY="change-me-change-me-change-me-change-me"), {"secret-key": E}),
    "a key of few letters": (setting(RMINDR_SECRET_KEY="aabbaabbaabbaabbaabbaabbaabbaabbaabb"), {"secret-key": E}),
    "an address in the clear": (setting(RMINDR_PUBLIC_URL="http://remind.example.org"), {"public-url": E}),
    "SQLite on a dyno": (setting(DYNO="web.1", DATABASE_URL="sqlite:///x.db"), {"settings": E}),
    "a password in the clear": (setting(RMINDR_SMTP_URL="smtp://u:p@mail.example.org:587"), {"settings": E}),
    "no mail server set": (setting(RMINDR_SMTP_URL=None), {"mail": E}),
    "no mail server there": (no_mail_server, {"mail": E}),
    "a wrong password": (wrong_password, {"mail": E}),
    "a server without STARTTLS": (no_starttls, {"mail": E}),
    "a server of small mails": (small_mails, {"mail-size": E}),
    "no SPF": (record("example.org", "TXT"), {"spf": W}),
    "no DMARC": (record("_dmarc.example.org", "TXT"), {"dmarc": W}),
    "no DKIM": (record("s1._domainkey.example.org", "TXT"), {"dkim": W}),
    "a DKIM key taken back": (record("s1._domainkey.example.org", "TXT", '"v=DKIM1"'), {"dkim": W}),
    "a domain that takes no mail": (record("example.org", "MX", "0 ."), {"bounces": E}),
    "a domain that is none": (bare_domain, {"bounces": E, "spf": W, "dmarc": W, "dkim": W}),
    "no Redis": (no_redis, {"redis": E}),
    "an unverified Redis": (
        setting(REDIS_URL="rediss://127.0.0.2:1?ssl_cert_reqs=none"), {"redis-tls": E, "redis": E},
    ),
    "a Redis that forgets": (redis("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"), {"redis-policy": E}),
    "a Redis nearly full": (full_redis, {"redis-memory": W}),
    "a Redis of few connections": (redis("CONFIG", "SET", "maxclients", 6), {"redis-connections": W}),
    "no worker": (no_worker, {"worker": E}),
    "a queue that was paused": (paused, {"paused": E}),
    "a mail server that was given up": (outage, {"sending": E}),
    "a reminder that is late": (overdue, {"overdue": E}),
    "a clock that is wrong": (slow_clock, {"database-clock": E, "redis-clock": E}),
    "no database": (setting(DATABASE_URL="postgres://nobody@127.0.0.1:1/none"), {"database": E}),
}  # fmt: skip


@ON_ONE
@pytest.mark.parametrize("name", PLANTED)
async def test_what_is_wrong_is_named_and_nothing_else(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    plant, expected = PLANTED[name]
    await plant(patient)

    assert await patient.troubles(monkeypatch) == expected


@ON_ONE
async def test_a_certificate_that_nobody_knows_is_refused(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, authority: trustme.CA
) -> None:
    import ssl

    unknown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(unknown)
    async with Sink(tls=unknown) as sink:
        patient.env["RMINDR_SMTP_URL"] = f"smtp+starttls://127.0.0.1:{sink.port}"

        assert await patient.troubles(monkeypatch) == {"mail": Level.ERROR}


async def test_a_database_that_was_not_migrated_is_named(
    patient: Patient, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient.env["DATABASE_URL"] = empty_database_url.replace("postgresql+psycopg:", "postgres:")

    found = await patient.findings(monkeypatch)

    (migrations,) = [each for each in found if each.name == "migrations"]
    assert (migrations.level, migrations.remedy) == (Level.ERROR, "Run `rmindr migrate`.")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_plan_with_too_few_connections_is_named(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, postgres: Postgres
) -> None:
    patient.env["WEB_CONCURRENCY"] = "40"

    assert "database-connections" in await patient.troubles(monkeypatch)


@ON_ONE
async def test_old_zone_rules_are_named(patient: Patient, tmp_path: Path) -> None:
    folder = a_zone_folder(tmp_path / "zones", "XXX0", version="2024a")

    ended = await asyncio.to_thread(
        run, "doctor", "--json", folder=tmp_path, env=patient.env | {"PYTHONTZPATH": str(folder)}
    )

    found = {each["name"]: each for each in map(json.loads, ended.said)}
    assert found["zone-rules"]["level"] == "warning"
    assert "2024a" in found["zone-rules"]["sentence"]


# As a command


@ON_ONE
async def test_the_command_ends_with_1_where_something_is_wrong_and_tells_no_secret(
    patient: Patient, tmp_path: Path
) -> None:
    await wrong_password(patient)
    patient.env["RMINDR_SMTP_URL"] = patient.env["RMINDR_SMTP_URL"].replace("wrong", "xyzzy-canary")

    ended = await asyncio.to_thread(run, "doctor", folder=tmp_path, env=patient.env)

    told = "\n".join(ended.said + ended.complained)
    assert ended.status == 1
    assert "✗ mail: The mail server at 127.0.0.1:" in told
    assert "✓ database: The database answers." in told
    assert "xyzzy-canary" not in told
    assert GOOD["RMINDR_SECRET_KEY"] not in told


@ON_ONE
async def test_the_command_ends_with_0_where_all_is_well(patient: Patient, tmp_path: Path) -> None:
    async with name_server(RECORDS) as where:
        ended = await asyncio.to_thread(run, "doctor", "--name-server", where, folder=tmp_path, env=patient.env)

    assert (ended.status, ended.complained) == (0, [])
    assert all(line.startswith("✓") for line in ended.said), ended.said
