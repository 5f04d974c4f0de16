"""What tests stand on: real servers, a fresh keyspace and database each, and a clock moved by hand."""

from __future__ import annotations

import secrets
import shutil
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from redis.crc import key_slot

from rmindr.database import Database
from rmindr.queue import Queue
from rmindr.schema import migrate
from tests.deliveries import Away
from tests.redises import SLOTS, a_lasting_server, a_server, reached_by
from tests.servers import Postgres, Valkey
from tests.sink import Sink


@dataclass
class Clock:
    """Milliseconds since the epoch, moved by hand: what a queue is given in place of the server's clock."""

    ms: int = 1_795_448_797_530

    def __call__(self) -> int:
        return self.ms

    def advance(self, *, ms: float = 0, seconds: float = 0) -> None:
        self.ms += int(ms + seconds * 1000)

    @property
    def now(self) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=self.ms)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    """One server for all tests that do not harm it."""
    server = a_lasting_server()
    server.start()
    yield server
    server.remove()


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    """A server of the test's own, to kill and freeze and empty."""
    server = a_server()
    server.start()
    yield server
    server.remove()


@pytest.fixture
def prefix() -> str:
    """What nobody else uses; on a cluster, one whose slot the first node has."""
    while reached_by() == "cluster":
        if key_slot((tag := f"q{secrets.token_hex(4)}").encode()) < SLOTS // 3:
            return f"{{{tag}}}"
    return f"q{secrets.token_hex(4)}"


@pytest.fixture
async def queue(valkey: Valkey, prefix: str, clock: Clock) -> AsyncIterator[Queue]:
    """A queue under a fresh prefix whose time stands still until the test moves it."""
    async with Queue.open(valkey.url, prefix=prefix, clock=clock) as queue:
        yield queue


@pytest.fixture
async def live_queue(valkey: Valkey, prefix: str) -> AsyncIterator[Queue]:
    """A queue under a fresh prefix on the server's own clock."""
    async with Queue.open(valkey.url, prefix=prefix) as queue:
        yield queue


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for all tests that do not harm it; the database `template_rmindr` has the schema."""
    server = Postgres()
    server.start()
    server.execute("CREATE DATABASE template_rmindr")
    migrate(server.url("template_rmindr").replace("postgresql:", "postgresql+psycopg:"))
    yield server
    server.remove()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate(f"sqlite:///{file}")
    return file


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of the test's own with the schema in it: every test that asks runs on both."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        shutil.copy(template, tmp_path / "rmindr.db")
        yield f"sqlite:///{tmp_path / 'rmindr.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    name = f"rmindr_{secrets.token_hex(4)}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE template_rmindr")
    yield server.url(name).replace("postgresql:", "postgresql+psycopg:")
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of the test's own with nothing in it, not even the file where that is all there is to one."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'new' / 'rmindr.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    name = f"rmindr_{secrets.token_hex(4)}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    yield server.url(name).replace("postgresql:", "postgresql+psycopg:")
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database.open(database_url) as database:
        yield database


@pytest.fixture
def away(request: pytest.FixtureRequest, database_url: str) -> Away:
    """Makes the test's own database go away, and come back."""
    on_a_server = database_url.startswith("postgresql")
    return Away(database_url, request.getfixturevalue("postgres") if on_a_server else None)


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    """A mail server that takes everything, in the clear."""
    async with Sink() as sink:
        yield sink


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority that exists for these tests only."""
    return trustme.CA()


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """A server's certificate for 127.0.0.1 and localhost, from that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context
