"""Redis as people run it: by a unix socket, with TLS, as a cluster, watched by Sentinels.

QUEUE_SERVER says how tests of the queue reach the server that they run on: plain (the default), unix, tls or cluster.
"""

from __future__ import annotations

import functools
import os
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import trustme
from redis import Redis
from redis.exceptions import RedisError

from tests.servers import Server, Valkey, free_port, is_free

_PATIENCE_S: Final = 20.0
SLOTS: Final = 16384


def reached_by() -> str:
    """How the tests reach their server."""
    return os.environ.get("QUEUE_SERVER") or "plain"


def a_server(*, appendonly: bool = False) -> Valkey:
    """A server that is reached as QUEUE_SERVER says."""
    kinds: dict[str, type[Valkey]] = {
        "plain": Valkey, "unix": UnixValkey, "tls": TlsValkey, "cluster": SingleNode,
    }  # fmt: skip
    return kinds[reached_by()](appendonly=appendonly)


def a_lasting_server() -> Valkey:
    """The same, for tests that do not harm it: a cluster has three nodes then."""
    return ThreeNodes() if reached_by() == "cluster" else a_server()


class UnixValkey(Valkey):
    """One that listens at a unix socket, too."""

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/valkey.sock"

    def command(self) -> list[str | Path]:
        return [*super().command(), "--unixsocket", self.folder / "valkey.sock"]


class TlsValkey(Valkey):
    """One that speaks TLS at a port of its own, with a certificate for `names`; where the program cannot, by a terminator."""

    def __init__(self, *options: str | Path, appendonly: bool = False, names: Sequence[str] = ("127.0.0.1",)) -> None:
        super().__init__(*options, appendonly=appendonly)
        self.tls_port = free_port()
        self.certificate = self.folder / "certificate.pem"
        authority().issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(self.certificate)
        self._native = b"libssl" in Path(self.program()).read_bytes()
        self._terminator = None if self._native else _Terminator(self)

    @property
    def url(self) -> str:
        return f"rediss://127.0.0.1:{self.tls_port}?ssl_ca_certs={authority_file()}"

    def command(self) -> list[str | Path]:
        if not self._native:
            return super().command()
        return [
            *super().command(), "--tls-port", str(self.tls_port), "--tls-auth-clients", "no",
            "--tls-cert-file", self.certificate, "--tls-key-file", self.certificate, "--tls-ca-cert-file", authority_file(),
        ]  # fmt: skip

    def start(self) -> None:
        super().start()
        if self._terminator is not None and not self._terminator.running:
            self._terminator.start()

    def remove(self) -> None:
        if self._terminator is not None:
            self._terminator.remove()
        super().remove()


class _Terminator(Server):
    def __init__(self, server: TlsValkey) -> None:
        super().__init__()
        self.port = server.tls_port
        self._server = server

    def command(self) -> list[str | Path]:
        script = Path(__file__).with_name("terminator.py")
        return [sys.executable, script, str(self.port), str(self._server.port), self._server.certificate]

    def ready(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.5) as connection:
            context = ssl.create_default_context(cafile=authority_file())
            context.check_hostname = False
            with context.wrap_socket(connection):
                return True
        return False


@functools.cache
def authority() -> trustme.CA:
    """A certificate authority that exists for this run only."""
    return trustme.CA()


@functools.cache
def authority_file() -> Path:
    """Its certificate."""
    file = Path(tempfile.mkdtemp(prefix="rmindr-test-")) / "authority.pem"
    authority().cert_pem.write_to_path(file)
    return file


# Clusters


class Node(Valkey):
    """One node of a cluster, which knows nobody yet and has no slot."""

    def __init__(self, *options: str | Path, appendonly: bool = False) -> None:
        super().__init__(*options, appendonly=appendonly)
        # Nodes talk to each other at a port 10,000 above.
        while not (self.port < 55_000 and is_free(self.port + 10_000)):
            self.port = free_port()

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.port}"

    def command(self) -> list[str | Path]:
        # A replica is waited for by nobody else.
        alone = ("--repl-diskless-sync-delay", "0")
        return [*super().command(), *alone, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000"]

    def ask(self, *words: Any) -> Any:
        """One command, here; its answer as it comes."""
        with Redis(port=self.port, decode_responses=True, socket_timeout=5) as client:
            client.response_callbacks.clear()
            return client.execute_command(*words)

    @property
    def name(self) -> str:
        """What the cluster calls it."""
        return str(self.ask("CLUSTER MYID"))

    def says(self, fact: str) -> bool:
        """Whether this stands in what it knows of the cluster, e.g. "cluster_state:ok"."""
        with suppress(RedisError):
            return fact in self.ask("CLUSTER INFO")
        return False

    def join(self, other: Node) -> None:
        """Become a member of the other's cluster."""
        self.ask("CLUSTER MEET", "127.0.0.1", other.port)
        wait_until(lambda: other.name in self.ask("CLUSTER NODES") and self.name in other.ask("CLUSTER NODES"))

    def replicate(self, other: Node) -> None:
        """Become the replica of another node of the same cluster."""
        name = other.name
        wait_until(lambda: _done(lambda: self.ask("CLUSTER REPLICATE", name)))
        wait_until(lambda: "master_link_status:up" in self.ask("INFO", "replication"))


class SingleNode(Node):
    """A cluster of one."""

    def start(self) -> None:
        super().start()
        if self.says("cluster_slots_assigned:0"):
            self.ask("CLUSTER ADDSLOTS", *range(SLOTS))
        wait_until(lambda: self.says("cluster_state:ok"))


class ThreeNodes(Node):
    """A cluster of three, seen from its first node."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes: tuple[Node, ...] = (self, Node(), Node())

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def slots_of(self, number: int) -> range:
        """The slots that this node was given."""
        return range(SLOTS * number // 3, SLOTS * (number + 1) // 3)

    def start(self) -> None:
        super().start()
        for number, node in enumerate(self.nodes):
            if node is not self:
                node.start()
            node.ask("CLUSTER ADDSLOTS", *self.slots_of(number))
            # Or else all of them have the same epoch, and argue.
            node.ask("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            node.join(self)
        for fact in ("cluster_state:ok", f"cluster_slots_ok:{SLOTS}"):
            wait_until(lambda fact=fact: all(node.says(fact) for node in self.nodes))

    def remove(self) -> None:
        for node in self.nodes[1:]:
            node.remove()
        super().remove()


class Sentinel(Server):
    """Watches one primary under the name `main`, together with others."""

    def __init__(self, primary: Valkey, *options: str, quorum: int = 2) -> None:
        super().__init__()
        self._file = self.folder / "sentinel.conf"
        lines = (
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {self.folder}",
            f"sentinel monitor main 127.0.0.1 {primary.port} {quorum}",
            "sentinel down-after-milliseconds main 500",
            "sentinel failover-timeout main 2000",
            *options,
        )
        self._file.write_text("\n".join(lines))

    def command(self) -> list[str | Path]:
        return [Valkey.program(), self._file, "--sentinel"]

    def ready(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith((b"+PONG", b"-NOAUTH"))
        return False

    def knows(self) -> tuple[int, int]:
        """How many replicas and how many other Sentinels it has found."""
        with Redis(port=self.port, decode_responses=True) as client:
            about: Any = client.sentinel_master("main")
        return int(about["num-slaves"]), int(about["num-other-sentinels"])


def wait_until(condition: Callable[[], Any]) -> None:
    """Until the servers have settled something among themselves."""
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "the servers do not come to an agreement"
        time.sleep(0.01)


def _done(step: Callable[[], Any]) -> bool:
    with suppress(RedisError):
        step()
        return True
    return False
