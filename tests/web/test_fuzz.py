"""Both APIs asked everything that their descriptions allow and forbid: whatever comes, the answer is one that is described.

EXAMPLES says how many questions each operation gets at most, for longer runs: then all of them are asked by everybody."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest
from sqlalchemy import update

from rmindr.database import Database, now
from rmindr.people import People, people
from rmindr.signing import Signer
from rmindr.tokens import Scope, Tokens
from tests.processes import Process
from tests.servers import Valkey, free_port
from tests.stack import answering

pytestmark = [
    pytest.mark.faults,
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]

LONG: Final = "EXAMPLES" in os.environ
EXAMPLES: Final = os.environ.get("EXAMPLES", "4")
# What is systematic is asked of the APIs once, of whoever may do everything.
BRIEFLY: Final = () if LONG else ("--phases", "fuzzing")
ADMIN: Final = "a-token-for-tests-that-nobody-can-guess"
SECRET: Final = "a-key-for-tests-that-nobody-can-guess"
OPEN: Final = {"RMINDR_ACCESS": "open"}
CONFIRMED: Final = {
    "RMINDR_ACCESS": "confirmed",
    "RMINDR_SECRET_KEY": SECRET,
    "RMINDR_MAIL_FROM": "Reminders <reminders@example.org>",
    "RMINDR_ADMIN_TOKEN": ADMIN,
}
# What a description cannot say is not held against it: that a text must be an address or a time; that a reminder which is
# cancelled is still there to be read.
# Of a batch each item is judged by itself: one that is wrong does not make the request wrong. And of a job, what Kue passes
# over, as `null` and 0, is passed over.
UNSAYABLE: Final = """
[checks]
positive_data_acceptance.enabled = false
use_after_free.enabled = false

[[operations]]
include-name = "POST /api/reminders/batch"
checks.negative_data_rejection.enabled = false

[[operations]]
include-name = "POST /job"
checks.negative_data_rejection.enabled = false
"""


@asynccontextmanager
async def web(database_url: str, valkey: Valkey, prefix: str, settings: Mapping[str, str]) -> AsyncIterator[str]:
    """The Procfile's web tier in a process of its own: its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    env = {
        "PORT": str(port), "DATABASE_URL": database_url, "REDIS_URL": valkey.url, "RMINDR_QUEUE_PREFIX": prefix,
        "RMINDR_PUBLIC_URL": address,
    }  # fmt: skip
    async with Process("web", env=env | settings) as process, httpx.AsyncClient(base_url=address) as client:
        await answering(client, process)
        yield address
        unforeseen = [line for line in process.lines if "unforeseen" in line or "Traceback" in line]
        assert unforeseen == []


async def ask_everything(description: Path, address: str, *options: str) -> None:
    """What schemathesis has to say, where it has something to say."""
    (description.parent / "schemathesis.toml").write_text(UNSAYABLE)
    command = [
        sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "--no-color",
        "run", str(description), "--url", address,
        "--max-examples", EXAMPLES, "--seed", "7", "--suppress-health-check", "all", "--generation-database", "none",
        "--warnings", "off", "--no-shrink", *options,
    ]  # fmt: skip
    asking = await asyncio.create_subprocess_exec(
        *command, cwd=description.parent, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        said, _ = await asking.communicate()
    finally:
        if asking.returncode is None:
            asking.kill()
    assert asking.returncode == 0, said.decode(errors="replace")[-6000:]


async def described(address: str, path: str, folder: Path, **headers: str) -> Path:
    """The description that the instance itself gives, as a file."""
    async with httpx.AsyncClient(base_url=address) as client:
        answer = await client.get(path, headers=headers)
    assert answer.status_code == 200
    file = folder / f"{path.strip('/').replace('/', '-')}"
    file.write_text(answer.text)
    return file


async def a_token(database: Database) -> str:
    """The token of somebody who has confirmed their address, for everything."""
    folk = People(database, Signer([SECRET]), alarms=None)  # type: ignore[arg-type]
    async with database.transaction() as connection:
        person = await folk.lock(connection, "ada@example.org")
        await connection.execute(update(people).values(confirmed_at=now()))
    _, secret = await Tokens(database).make(person, "fuzz", [Scope.READ, Scope.WRITE])
    return secret


@asynccontextmanager
async def without_limits(database: Database) -> AsyncIterator[None]:
    """Whatever is counted is forgotten again and again, so that questions go deeper than 429."""

    async def forget() -> None:
        while True:
            async with database.statements() as connection:
                await connection.exec_driver_sql("DELETE FROM buckets")
            await asyncio.sleep(0.2)

    forgetting = asyncio.create_task(forget())
    try:
        yield
    finally:
        forgetting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await forgetting


async def test_on_loopback_both_apis_answer_everybody_as_described(
    database_url: str, valkey: Valkey, prefix: str, tmp_path: Path
) -> None:
    async with web(database_url, valkey, prefix, OPEN) as address:
        reminders = await described(address, "/openapi.json", tmp_path)
        queue = await described(address, "/queue/api/openapi.json", tmp_path)

        await ask_everything(reminders, address)
        await ask_everything(queue, f"{address}/queue/api")


async def test_beyond_loopback_both_apis_answer_whoever_shows_a_token_as_described(
    database: Database, database_url: str, valkey: Valkey, prefix: str, tmp_path: Path
) -> None:
    async with web(database_url, valkey, prefix, CONFIRMED) as address, without_limits(database):
        reminders = await described(address, "/openapi.json", tmp_path)
        queue = await described(address, "/queue/api/openapi.json", tmp_path, Authorization=f"Bearer {ADMIN}")

        await ask_everything(reminders, address, "-H", f"Authorization: Bearer {await a_token(database)}", *BRIEFLY)
        await ask_everything(queue, f"{address}/queue/api", "-H", f"Authorization: Bearer {ADMIN}", *BRIEFLY)


async def test_beyond_loopback_both_apis_answer_whoever_shows_none_as_described(
    database: Database, database_url: str, valkey: Valkey, prefix: str, tmp_path: Path
) -> None:
    async with web(database_url, valkey, prefix, CONFIRMED) as address, without_limits(database):
        reminders = await described(address, "/openapi.json", tmp_path)
        queue = await described(address, "/queue/api/openapi.json", tmp_path, Authorization=f"Bearer {ADMIN}")

        await ask_everything(reminders, address, *BRIEFLY)
        await ask_everything(queue, f"{address}/queue/api", *BRIEFLY)
