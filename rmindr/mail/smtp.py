"""How a letter leaves: pooled, verified connections, a transaction driven phase by phase, and the table of replies.

Where a transaction ends decides what may be done next, and aiosmtplib's own `send` hides it: a connection lost before the
body left and one lost after it raise the same error. So each phase is a call here, and each failure says its verdict.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

import aiosmtplib
from aiosmtplib import SMTP, SMTPResponseException
from aiosmtplib.errors import SMTPException, SMTPServerDisconnected

from rmindr.mail.letters import Letter
from rmindr.settings import LOOPBACK, SmtpServer

_LETTERS_PER_CONNECTION: Final = 100
_ENHANCED: Final = re.compile(r"^([245]\.\d{1,3}\.\d{1,3})\b")
# What 552 can mean besides: too large for the server or for this mailbox, or not wanted; no waiting helps.
_FOR_EVER: Final = re.compile(r"5\.(3\.4|2\.3|7\.\d+)$")
_DOT: Final = re.compile(rb"(?m)^\.")


class Phase(StrEnum):
    """The parts of a transaction, in order. Up to `data` nothing can have been delivered; in `body`, it may."""

    CONNECT = "connect"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"


class Verdict(StrEnum):
    """What a failure means for the letter, and so what is done next."""

    TEMPORARY = "temporary"
    PERMANENT = "permanent"
    CONFIGURATION = "configuration"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


class Undelivered(Exception):
    """The letter was not accepted, or it is not known (`verdict` unknown). `reply` holds the server's own words."""

    def __init__(self, verdict: Verdict, phase: Phase, reply: str, code: int | None = None) -> None:
        super().__init__(f"{verdict} at {phase}: {reply}")
        self.verdict = verdict
        self.phase = phase
        self.reply = reply
        self.code = code

    @property
    def summary(self) -> str:
        """Phase, code and enhanced code only: safe for logs and for Redis, where no address may stand."""
        enhanced = _ENHANCED.match(self.reply.partition(" ")[2]) if self.code else None
        return " ".join(filter(None, (str(self.phase), str(self.code or ""), enhanced[1] if enhanced else "")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long each part may take. RFC 5321 (4.5.3.2.6) asks for ten minutes after the dot: a mail server that thinks
    longer than we wait delivers twice."""

    command: timedelta = timedelta(seconds=30)
    before_body: timedelta = timedelta(seconds=90)
    after_dot: timedelta = timedelta(seconds=600)
    # RSET and QUIT: nothing that matters waits for their answers.
    courtesy: timedelta = timedelta(seconds=2)
    # A connection that nobody needs is kept this long.
    idle: timedelta = timedelta(seconds=10)


class Transport:
    """The mail server, as a pool of connections; one letter at a time on each.

    Run `tend` beside it, which says goodbye on connections that have been idle for ten seconds."""

    def __init__(self, server: SmtpServer, *, hello: str, connections: int, patience: Patience | None = None) -> None:
        self._server = server
        self._hello = hello
        self._patience = patience or Patience()
        self._seats = asyncio.Semaphore(connections)
        self._idle: deque[_Connection] = deque()
        self._closed = False
        # Read from disk here, once; not while a letter waits.
        self._tls = ssl.create_default_context() if server.security != "plain" else None

    @asynccontextmanager
    async def transaction(self, letter: Letter) -> AsyncIterator[Transaction]:
        """A transaction with the envelope accepted: connected, verified, MAIL and RCPT said. Raises Undelivered.

        Leaving the block early drops the connection, so a body that was begun without its dot is no mail."""
        async with self._seats:
            connection = await self._enveloped(letter)
            transaction = Transaction(connection, self._patience)
            try:
                yield transaction
            finally:
                if not transaction.finished:
                    connection.client.close()
                elif self._closed or connection.letters >= _LETTERS_PER_CONNECTION:
                    await connection.say_goodbye()
                else:
                    self._keep(connection)

    async def probe(self) -> None:
        """Connect, verify and log in, as a letter would, without one. Raises Undelivered."""
        await self.offers()

    async def offers(self) -> dict[str, str]:
        """What the server says of itself once it is connected, verified and logged in to, e.g. {"size": "10240000"}. Raises
        Undelivered."""
        async with self._seats, _deadline(self._patience.before_body, Phase.CONNECT):
            connection = await self._connected()
        offered = dict(connection.client.esmtp_extensions)
        await connection.say_goodbye()
        return offered

    async def tend(self) -> None:
        """Say goodbye on idle connections, until cancelled; then on all."""
        idle = self._patience.idle.total_seconds()
        try:
            while True:
                await asyncio.sleep(idle / 10)
                while self._idle and time.monotonic() - self._idle[0].idle_since > idle:
                    await self._idle.popleft().say_goodbye()
        finally:
            self._closed = True
            idle_now = [self._idle.popleft() for _ in range(len(self._idle))]
            await asyncio.gather(*(connection.say_goodbye() for connection in idle_now))

    async def _enveloped(self, letter: Letter) -> _Connection:
        """A connection on which the envelope stands. A pooled one may have died unseen: then once more on a new one."""
        connection: _Connection | None = None
        try:
            async with _deadline(self._patience.before_body, Phase.MAIL):
                while self._idle:
                    connection = self._idle.pop()
                    try:
                        await connection.open_envelope(letter)
                        return connection
                    except Undelivered as failure:
                        if failure.verdict is not Verdict.UNREACHABLE:
                            raise
                        connection.client.close()
                connection = await self._connected()
                await connection.open_envelope(letter)
                return connection
        except Undelivered:
            # Beyond the deadline: what the server said is known, whatever becomes of the connection.
            if connection is not None:
                await self._recover(connection)
            raise

    async def _recover(self, connection: _Connection) -> None:
        """After a plain refusal the connection is as good as before, once the server has forgotten the envelope."""
        if await connection.reset():
            self._keep(connection)

    def _keep(self, connection: _Connection) -> None:
        connection.idle_since = time.monotonic()
        self._idle.append(connection)

    async def _connected(self) -> _Connection:
        server = self._server
        client = SMTP(
            hostname=server.host,
            port=server.port,
            local_hostname=self._hello,
            use_tls=server.security == "tls",
            start_tls=server.security == "starttls",
            tls_context=self._tls,
            timeout=self._patience.command.total_seconds(),
        )
        connection = _Connection(client, self._patience.courtesy)
        try:
            with _failing(Phase.CONNECT, client):
                await client.connect()
                await client._ehlo_or_helo_if_needed()
            if server.username is not None:
                await connection.log_in(server)
        except BaseException:
            client.close()
            raise
        return connection


class Transaction:
    """One letter's way past its envelope: `data`, then whatever must be written down, then `body`."""

    def __init__(self, connection: _Connection, patience: Patience) -> None:
        self._connection = connection
        self._patience = patience
        self.finished = False

    async def data(self) -> None:
        """Ask to send, up to the server's 354: after it only the body is missing. Raises Undelivered."""
        async with _deadline(self._patience.command, Phase.DATA):
            await self._connection.command(Phase.DATA, "DATA", good=(354,))

    async def body(self, letter: Letter) -> str:
        """The body and the final dot in one write; answers the server's words, e.g. `250 2.0.0 Ok: queued as 4F1`.

        Raises Undelivered: with verdict unknown where the answer did not come, as the mail may have been taken."""
        protocol = self._connection.client.protocol
        if protocol is None:
            raise Undelivered(Verdict.UNREACHABLE, Phase.DATA, "the connection was lost before the body")
        with _failing(Phase.DATA, self._connection.client):
            protocol.write(_DOT.sub(b"..", letter.data) + b".\r\n")
        with _failing(Phase.BODY, self._connection.client):
            response = await protocol.read_response(timeout=self._patience.after_dot.total_seconds())
        reply = _words(response)
        if response.code != 250:
            raise Undelivered(verdict(Phase.BODY, response.code, reply), Phase.BODY, reply, response.code)
        self._connection.letters += 1
        self.finished = True
        return reply


class _Connection:
    """One connection: connected, verified, logged in."""

    def __init__(self, client: SMTP, courtesy: timedelta) -> None:
        self.client = client
        self._courtesy = courtesy.total_seconds()
        self.letters = 0
        self.idle_since = time.monotonic()

    async def log_in(self, server: SmtpServer) -> None:
        """One attempt by one method: the library's own would make three failures of one wrong password."""
        if server.security == "plain" and server.host not in LOOPBACK:
            raise Undelivered(Verdict.CONFIGURATION, Phase.AUTH, "a password may not cross a connection in the clear")
        password = server.password.get_secret_value() if server.password is not None else ""
        offered = self.client.server_auth_methods
        methods = {
            "plain": self.client.auth_plain,
            "login": self.client.auth_login,
            "cram-md5": self.client.auth_crammd5,
        }
        method = next((name for name in methods if name in offered), None)
        if method is None:
            raise Undelivered(Verdict.CONFIGURATION, Phase.AUTH, "the server offers no login that we know")
        with _failing(Phase.AUTH, self.client):
            await methods[method](server.username or "", password)

    async def open_envelope(self, letter: Letter) -> None:
        """MAIL and RCPT. Raises Undelivered."""
        limit = self.client.esmtp_extensions.get("size", "")
        if limit.isdigit() and 0 < int(limit) < len(letter.data):
            raise Undelivered(
                Verdict.PERMANENT, Phase.MAIL, f"the mail is larger than the server's limit of {limit} bytes"
            )
        size = [f"SIZE={len(letter.data)}"] if self.client.supports_extension("size") else []
        await self.command(Phase.MAIL, "MAIL", f"FROM:<{letter.sender}>", *size)
        # 251: the server knows the new address and forwards.
        await self.command(Phase.RCPT, "RCPT", f"TO:<{letter.recipient}>", good=(250, 251))

    async def command(self, phase: Phase, *words: str, good: tuple[int, ...] = (250,)) -> None:
        """One command and its answer. Raises Undelivered."""
        with _failing(phase, self.client):
            response = await self.client.execute_command(*(word.encode("ascii") for word in words))
            if self.client.protocol is not None and self.client.protocol._buffer:
                # It would be taken for the answer to what we say next, at worst to the body.
                raise SMTPServerDisconnected("the server said more than it was asked")
        if response.code not in good:
            reply = _words(response)
            raise Undelivered(verdict(phase, response.code, reply), phase, reply, response.code)

    async def reset(self) -> bool:
        """Forget the envelope; False where the connection can no longer be used."""
        forgotten = False
        try:
            with contextlib.suppress(SMTPException, OSError):
                await self.client.rset(timeout=self._courtesy)
                forgotten = True
        finally:
            if not forgotten:
                self.client.close()
        return forgotten

    async def say_goodbye(self) -> None:
        """QUIT, and close whatever the answer: nothing depends on it any more."""
        try:
            with contextlib.suppress(SMTPException, OSError):
                await self.client.quit(timeout=self._courtesy)
        finally:
            self.client.close()


def verdict(phase: Phase, code: int, reply: str) -> Verdict:
    """What this reply in this phase means. `reply` is the code and the text, e.g. `550 5.1.1 no such user`."""
    found = _ENHANCED.match(reply.partition(" ")[2])
    enhanced = found[1] if found else ""
    if code in (530, 534, 535, 538) or enhanced == "5.7.30":
        return Verdict.CONFIGURATION
    if not 400 <= code < 600:
        return Verdict.UNKNOWN if phase is Phase.BODY else Verdict.UNREACHABLE
    if phase is Phase.CONNECT or (code in (421, 454) and phase in (Phase.AUTH, Phase.MAIL)):
        return Verdict.UNREACHABLE
    if phase is Phase.AUTH:
        return Verdict.UNREACHABLE if code < 500 else Verdict.CONFIGURATION
    if code < 500 or enhanced == "5.2.2" or (code == 552 and phase is not Phase.MAIL and not _FOR_EVER.match(enhanced)):
        # A full mailbox (552, 5.2.2) is emptied some day.
        return Verdict.TEMPORARY
    if phase is Phase.MAIL and code != 552:
        # The sender is the same for every mail: what refuses it refuses them all.
        return Verdict.CONFIGURATION
    return Verdict.PERMANENT


class _failing:  # noqa: N801
    """What aiosmtplib raises inside becomes Undelivered, with the verdict of this phase; the connection is closed unless
    the server merely refused."""

    def __init__(self, phase: Phase, client: SMTP) -> None:
        self._phase = phase
        self._client = client

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        refused = isinstance(error, SMTPResponseException) and 200 <= error.code < 600
        if not refused:
            # Also when cancelled: a reply that nobody waits for would answer the next letter's question.
            self._client.close()
        if not isinstance(error, SMTPException | OSError | ssl.SSLError | ValueError | UnicodeError):
            return
        raise self._undelivered(error) from error

    def _undelivered(self, error: Exception) -> Undelivered:
        if isinstance(error, SMTPResponseException):
            reply = _words(error)
            return Undelivered(verdict(self._phase, error.code, reply), self._phase, reply, error.code)
        if self._phase is Phase.BODY:
            return Undelivered(Verdict.UNKNOWN, self._phase, f"no answer after the mail was handed over: {_why(error)}")
        misconfigured = isinstance(error, ValueError | UnicodeError | aiosmtplib.SMTPNotSupported) or (
            # Raised plain for «STARTTLS not supported» and «AUTH not supported».
            type(error) is SMTPException or _has_cause(error, ssl.SSLError)
        )
        return Undelivered(Verdict.CONFIGURATION if misconfigured else Verdict.UNREACHABLE, self._phase, _why(error))


@asynccontextmanager
async def _deadline(limit: timedelta, phase: Phase) -> AsyncIterator[None]:
    """A server that trickles cannot hold a letter for ever, whatever each single wait allows."""
    try:
        async with asyncio.timeout(limit.total_seconds()):
            yield
    except TimeoutError as error:
        raise Undelivered(Verdict.UNREACHABLE, phase, f"no answer within {limit.total_seconds():g} seconds") from error


def _has_cause(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__ or error.__context__
    return False


def _why(error: Exception) -> str:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return f"{type(cause).__name__}: {cause}"[:300]


def _words(response: Any) -> str:
    """The reply on one line, as text that can be stored and shown."""
    text = " ".join(str(response.message).split())
    printable = "".join(character for character in text if character.isprintable())
    return f"{response.code} {printable}"[:500].rstrip()
