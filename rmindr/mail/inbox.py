"""A folder of mails that were taken instead of delivered: one file each, in the order of their coming.

A file is the mail as it came behind the two lines in which a mail server notes the envelope (Return-Path, Delivered-To)."""

from __future__ import annotations

import asyncio
import email
import email.policy
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from functools import cached_property
from pathlib import Path

from rmindr.mail.lint import Check, lint
from rmindr.models import new_id


@dataclass(frozen=True)
class StoredMail:
    """One mail of the inbox; its id sorts by when it came."""

    id: str
    data: bytes

    @cached_property
    def _message(self) -> EmailMessage:
        message = email.message_from_bytes(self.data, policy=email.policy.SMTP)
        assert isinstance(message, EmailMessage)  # noqa: S101  (this policy makes no others)
        return message

    @property
    def at(self) -> datetime:
        """When it was taken: the first 48 bits of a UUIDv7 are milliseconds."""
        return datetime.fromtimestamp(int(self.id[:12], 16) / 1000, UTC)

    @property
    def sender(self) -> str:
        """The envelope's sender."""
        return self._header("Return-Path").strip("<>")

    @property
    def recipient(self) -> str:
        """The envelope's recipient."""
        return self._header("Delivered-To")

    @property
    def subject(self) -> str:
        """The subject, decoded."""
        return self._header("Subject")

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers as they came, in their order."""
        return [(name, _readable(str(value))) for name, value in self._message.raw_items()]

    @cached_property
    def checks(self) -> Sequence[Check]:
        """What was looked for in it, without the lines of the envelope."""
        letter = self.data.split(b"\r\n", 2)[2]
        return lint(self.sender, self.recipient, letter)

    @property
    def faults(self) -> int:
        """How many of its checks found something."""
        return sum(check.wrong is not None for check in self.checks)

    @property
    def text(self) -> str:
        """The plain part."""
        return self._part("plain")

    @property
    def html(self) -> str:
        """The HTML part."""
        return self._part("html")

    @property
    def raw(self) -> str:
        """The bytes, as text that can be shown."""
        return self.data.decode("utf-8", "replace").replace("\r\n", "\n")

    def _header(self, name: str) -> str:
        try:
            return _readable(str(self._message[name] or ""))
        except ValueError:
            # Encoded words that the library cannot decode, as they came.
            return next(value for each, value in self.headers if each.lower() == name.lower())

    def _part(self, kind: str) -> str:
        part = self._message.get_body((kind,))
        if not isinstance(part, EmailMessage):
            return ""
        try:
            return _readable(str(part.get_content()))
        except LookupError:
            # A character set that nobody knows.
            content = part.get_payload(decode=True)
            return content.decode("utf-8", "replace") if isinstance(content, bytes) else ""


class Inbox:
    """The mails in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._ids = sorted(file.stem for file in folder.glob("*.eml"))
        self._came = asyncio.Condition()

    def __len__(self) -> int:
        return len(self._ids)

    async def take(self, sender: str, recipient: str, data: bytes) -> str:
        """Keep a mail, on disk before this returns; answers its id."""
        id = new_id().hex
        envelope = f"Return-Path: <{sender}>\r\nDelivered-To: {recipient}\r\n".encode()
        await asyncio.to_thread(_write, self._folder / f"{id}.eml", envelope + data)
        async with self._came:
            self._ids.append(id)
            self._came.notify_all()
        return id

    def get(self, id: str) -> StoredMail | None:
        """One mail; None where there is none by that id."""
        return StoredMail(id, (self._folder / f"{id}.eml").read_bytes()) if id in self._ids else None

    def newest(self, count: int) -> Sequence[StoredMail]:
        """The newest mails, newest first."""
        return [mail for id in reversed(self._ids[-count:]) if (mail := self.get(id)) is not None]

    async def wait_for(self, *, to: str | None, after: str, seconds: float) -> Sequence[StoredMail]:
        """The newest mails (to this address, later than this id); waits for the first where there is none."""

        def found() -> Sequence[StoredMail]:
            return [mail for mail in self.newest(100) if mail.id > after and (to is None or mail.recipient == to)]

        async with self._came:
            try:
                async with asyncio.timeout(seconds):
                    await self._came.wait_for(found)
            except TimeoutError:
                return []
            return found()

    def remove(self, id: str) -> None:
        """Throw one mail away."""
        if id in self._ids:
            self._ids.remove(id)
            (self._folder / f"{id}.eml").unlink(missing_ok=True)

    def empty(self) -> None:
        """Throw all mails away."""
        for id in list(self._ids):
            self.remove(id)


def _readable(text: str) -> str:
    """Text that can be shown: what is half a character, as stray bytes are until now, becomes �."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _write(file: Path, data: bytes) -> None:
    draft = file.with_suffix(".tmp")
    with draft.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    draft.rename(file)
