"""An SMTP server that writes every mail it takes into a ledger before it answers, and answers what it is told to."""

from __future__ import annotations

import asyncio
import email
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import Message
from types import TracebackType
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail that was taken: its envelope, its bytes as sent (dots undone), and when (wall clock, seconds)."""

    sender: str
    recipient: str
    data: bytes
    at: float

    @property
    def message(self) -> Message:
        return email.message_from_bytes(self.data)

    @property
    def message_id(self) -> str:
        return str(self.message["Message-ID"])


class Drop(Exception):
    """Raised by a reply: close the connection without a word."""


@dataclass
class Session:
    """One connection: what was said on it, line by line, and what came before; `ended` is set when it is over.

    A reply that is more than a line may read and write the connection itself."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    lines: list[str] = field(default_factory=list)
    sender: str = ""
    recipients: list[str] = field(default_factory=list)
    secure: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def said(self, verb: str) -> list[str]:
        """The commands with this verb."""
        return [line for line in self.lines if line.partition(" ")[0].upper() == verb]

    async def never(self) -> str:
        """The answer that does not come: whatever else is said, until the client has gone. Raises Drop."""
        while line := await self.reader.readline():
            self.lines.append(line.decode("latin-1").rstrip("\r\n"))
        raise Drop


Reply = str | Callable[[Session], "str | Awaitable[str]"]


_DEFAULTS: Final = {
    "STARTTLS": "220 go ahead",
    "AUTH": "235 2.7.0 welcome",
    "MAIL": "250 2.1.0 ok",
    "RCPT": "250 2.1.5 ok",
    "DATA": "354 go ahead",
    "RSET": "250 2.0.0 ok",
    "NOOP": "250 2.0.0 ok",
    "QUIT": "221 2.0.0 bye",
}


class Sink:
    """`replies` maps a phase to its answer: greeting, EHLO, STARTTLS, AUTH, MAIL, RCPT, DATA, body, RSET, QUIT.

    An answer is a line, or a function of the session, which may wait or raise Drop. The mail is in the ledger before the
    answer to its body is made, unless that answer is a refusal."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, implicit_tls: bool = False) -> None:
        self.mails: list[Mail] = []
        self.sessions: list[Session] = []
        self.replies: dict[str, Reply] = {}
        self.extensions: list[str] = ["SIZE 1000000", "8BITMIME", "ENHANCEDSTATUSCODES"]
        self.arrived = asyncio.Condition()
        self.port = 0
        self._tls = tls
        self._implicit_tls = implicit_tls
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Sink:
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.hush()

    async def listen(self) -> None:
        """Accept connections, on the same port as before if there was one."""
        tls = self._tls if self._implicit_tls else None
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def hush(self) -> None:
        """Refuse connections from now on, and drop those there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def wait_for(self, count: int, timeout: float = 30.0) -> list[Mail]:
        """The mails, once there are this many."""
        async with asyncio.timeout(timeout), self.arrived:
            await self.arrived.wait_for(lambda: len(self.mails) >= count)
        return self.mails

    def to(self, recipient: str) -> list[Mail]:
        return [mail for mail in self.mails if mail.recipient == recipient]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        session = Session(len(self.sessions), reader, writer, secure=self._implicit_tls)
        self.sessions.append(session)
        try:
            await self._converse(session, reader, writer)
        except (Drop, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            pass
        finally:
            self._connections.discard(task)
            writer.transport.abort()
            session.ended.set()

    async def _converse(self, session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._answer("greeting", session, writer, "220 sink ESMTP")
        while line := await reader.readline():
            text = line.decode("latin-1").rstrip("\r\n")
            session.lines.append(text)
            verb = text.partition(" ")[0].upper()
            answer = await self._answer(
                verb, session, writer, self._default(verb, session), _address(text) if verb == "RCPT" else ""
            )
            if verb == "QUIT":
                return
            await self._follow(verb, text, answer, session, reader, writer)

    def _default(self, verb: str, session: Session) -> str:
        if verb == "EHLO":
            lines = ["sink", *self.extensions, *(["STARTTLS"] if self._tls and not session.secure else [])]
            return "\r\n".join(f"250{' ' if line is lines[-1] else '-'}{line}" for line in lines)
        return _DEFAULTS.get(verb, "502 5.5.1 unknown")

    async def _follow(
        self,
        verb: str,
        text: str,
        answer: str,
        session: Session,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """What a command changes, once it is answered."""
        if verb == "MAIL":
            session.sender, session.recipients = _address(text), []
        elif verb == "RCPT" and answer.startswith("2"):
            session.recipients.append(_address(text))
        elif verb == "DATA" and answer.startswith("354"):
            await self._take(session, reader, writer)
        elif verb == "STARTTLS" and answer.startswith("220"):
            assert self._tls is not None
            await writer.start_tls(self._tls)
            session.secure = True

    async def _take(self, session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = []
        while (line := await reader.readline()) != b".\r\n":
            if not line:
                raise Drop
            lines.append(line[1:] if line.startswith(b".") else line)
        reply = self.replies.get("body", "250 2.0.0 Ok: queued")
        refused = isinstance(reply, str) and not reply.startswith("250")
        if not refused:
            for recipient in session.recipients:
                self.mails.append(Mail(session.sender, recipient, b"".join(lines), time.time()))
            async with self.arrived:
                self.arrived.notify_all()
        await self._answer("body", session, writer, "250 2.0.0 Ok: queued")

    async def _answer(
        self, phase: str, session: Session, writer: asyncio.StreamWriter, default: str, about: str = ""
    ) -> str:
        reply = self.replies.get(f"{phase} {about}", self.replies.get(phase, default))
        answer: Any = reply(session) if callable(reply) else reply
        if isinstance(answer, Awaitable):
            answer = await answer
        writer.write(answer.encode() + b"\r\n")
        await writer.drain()
        return str(answer)


def _address(line: str) -> str:
    return line.partition("<")[2].partition(">")[0]


@asynccontextmanager
async def held(sink: Sink, phase: str, answer: str) -> AsyncIterator[asyncio.Event]:
    """Answer this phase only when the event is set; inside the block."""
    released = asyncio.Event()

    async def wait(_: Session) -> str:
        await released.wait()
        return answer

    before = sink.replies.get(phase)
    sink.replies[phase] = wait
    try:
        yield released
    finally:
        released.set()
        if before is None:
            sink.replies.pop(phase, None)
        else:
            sink.replies[phase] = before
