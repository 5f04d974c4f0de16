"""What makes a mail arrive and be readable everywhere, looked for in the bytes of one that was taken.

Read by hand and not by the library that could have written it: what a library mends while it reads, nobody would find.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.header import decode_header, make_header
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from typing import Final

# RFC 5322, 2.1.1; and what the great providers cut off.
_LONGEST_LINE: Final = 998
_LARGEST: Final = 100_000
_LONGEST_SUBJECT: Final = 200
_ONCE: Final = ("date", "from", "to", "subject", "message-id", "mime-version")
_ADDRESS: Final = re.compile(r"(?:.*<)?([\w!#$%&'*+/=?^`{|}~.-]+@([\w.-]+))>?", re.ASCII | re.DOTALL)
_MESSAGE_ID: Final = re.compile(r"<[\w!#$%&'*+/=?^`{|}~.-]+@([\w.-]+)>", re.ASCII)
_UNSUBSCRIBE: Final = re.compile(r"<(https://[!-;=?-~]+|http://(localhost|127\.0\.0\.1)[:/][!-;=?-~]*)>", re.ASCII)
_LINK: Final = re.compile(r"https?://[!-;=?-~]+")
# Headers that no encoded word may stand in (RFC 2047, 5).
_STRUCTURED: Final = ("message-id", "list-unsubscribe", "list-unsubscribe-post", "references", "in-reply-to", "date")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked for: what, and what is wrong with it; None where nothing is."""

    what: str
    wrong: str | None = None


@dataclass
class _Mail:
    """The bytes, taken apart: headers by name in small letters, parts by type."""

    sender: str
    recipient: str
    data: bytes
    headers: dict[str, list[str]] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)

    def one(self, name: str) -> str:
        """The value of a header, unfolded; empty where it is not there."""
        return re.sub(r"\r\n(?=[ \t])", "", (self.headers.get(name) or [""])[0]).strip()


def lint(sender: str, recipient: str, data: bytes) -> Sequence[Check]:
    """Every check of this mail, in the order of the reading; `sender` and `recipient` are its envelope's."""
    mail = _Mail(sender, recipient, data)
    head, _, body = data.partition(b"\r\n\r\n")
    for line in re.split(r"\r\n(?![ \t])", head.decode("latin-1")):
        name, _, value = line.partition(":")
        mail.headers.setdefault(name.lower(), []).append(value)
    mail.parts = dict(_parts(mail, body))
    return [Check(what, next(iter(find(mail)), None)) for what, find in _CHECKS.items()]


def _parts(mail: _Mail, body: bytes) -> Iterator[tuple[str, str]]:
    """The parts by type, decoded; nothing of what is not made as ours are."""
    found = re.search(r'boundary="([^"]+)"', mail.one("content-type"))
    if found is None:
        return
    for piece in body.split(f"--{found[1]}".encode())[1:-1]:
        head, _, content = piece.partition(b"\r\n\r\n")
        lowered = head.lower()
        kind = re.search(rb"content-type:\s*([\w/]+)", lowered)
        if kind is not None and b"quoted-printable" in lowered:
            yield kind[1].decode(), binascii.a2b_qp(content).decode("utf-8", "replace")


def _lines(mail: _Mail) -> Iterator[str]:
    if re.search(rb"(?<!\r)\n|\r(?!\n)", mail.data):
        yield "has a line that does not end with CRLF"
    if max(map(len, mail.data.split(b"\r\n"))) > _LONGEST_LINE:
        yield f"has a line of more than {_LONGEST_LINE} bytes"
    if b"\0" in mail.data:
        yield "has a NUL"


def _headers(mail: _Mail) -> Iterator[str]:
    for name in _ONCE:
        if (count := len(mail.headers.get(name, []))) != 1:
            yield f"{name.title()} is there {count} times"
    if not mail.data.partition(b"\r\n\r\n")[0].isascii():
        yield "are not all in ASCII"
    for name in _STRUCTURED:
        if "=?" in mail.one(name):
            yield f"{name.title()} has an encoded word, which may not stand there"


def _message_id(mail: _Mail) -> Iterator[str]:
    found, ours = _MESSAGE_ID.fullmatch(mail.one("message-id")), _ADDRESS.fullmatch(mail.one("from"))
    if found is None:
        yield "is not <something@domain>"
    elif ours is None or found[1] != ours[2]:
        yield "is not on the sender's domain"


def _date(mail: _Mail) -> Iterator[str]:
    try:
        if parsedate_to_datetime(mail.one("date")).tzinfo is None:
            yield "does not say how far its clock is from UTC"
    except ValueError:
        yield "cannot be read"


def _from(mail: _Mail) -> Iterator[str]:
    found = _ADDRESS.fullmatch(mail.one("from"))
    if found is None:
        yield "is not one address"
    elif not _ADDRESS.fullmatch(mail.sender):
        yield "has an envelope's sender that is no address, so that bounces are lost"


def _to(mail: _Mail) -> Iterator[str]:
    if mail.one("to") != mail.recipient:
        yield "is not the one address of the envelope"


def _subject(mail: _Mail) -> Iterator[str]:
    raw = mail.one("subject")
    if "?==?" in raw:
        yield "has encoded words with nothing between them, which Yahoo refuses"
    try:
        text = str(make_header(decode_header(raw)))
    except (ValueError, LookupError):
        yield "cannot be decoded"
        return
    if not text.strip():
        yield "is empty"
    if len(text) > _LONGEST_SUBJECT:
        yield f"has {len(text)} characters; {_LONGEST_SUBJECT} are the most that is shown anywhere"
    if any(ord(character) < 32 for character in text):
        yield "has a control character"


def _automatic(mail: _Mail) -> Iterator[str]:
    if mail.one("auto-submitted") != "auto-generated":
        yield "Auto-Submitted does not say so (RFC 3834), so out-of-office replies will come"
    if "OOF" not in mail.one("x-auto-response-suppress"):
        yield "X-Auto-Response-Suppress does not say so to Exchange"


def _unsubscribe(mail: _Mail) -> Iterator[str]:
    value = mail.one("list-unsubscribe")
    if not value:
        yield "List-Unsubscribe is missing"
    elif not _UNSUBSCRIBE.fullmatch(value):
        yield "List-Unsubscribe is not one https address"
    elif "\r\n" in mail.headers["list-unsubscribe"][0]:
        yield "List-Unsubscribe stands on more than one line, which some relays sign wrongly"
    if mail.one("list-unsubscribe-post") != "List-Unsubscribe=One-Click":
        yield "List-Unsubscribe-Post is not List-Unsubscribe=One-Click (RFC 8058)"


def _alternatives(mail: _Mail) -> Iterator[str]:
    if not mail.one("content-type").startswith("multipart/alternative"):
        yield "are not alternatives"
    elif list(mail.parts) != ["text/plain", "text/html"]:
        yield "are not text first and HTML last, each quoted-printable"
    elif not all(part.strip() for part in mail.parts.values()):
        yield "are not both written"


def _same_facts(mail: _Mail) -> Iterator[str]:
    page = _Page(mail.parts.get("text/html", ""))
    links = set(_LINK.findall(mail.parts.get("text/plain", "")))
    if missing := {link for link in page.links if link not in links}:
        yield f"{len(missing)} links are in the HTML alone"


def _quiet_page(mail: _Mail) -> Iterator[str]:
    page = _Page(mail.parts.get("text/html", ""))
    yield from page.loads
    if "lang" not in page.html:
        yield "does not say in which language it is"
    if "color-scheme" not in mail.parts.get("text/html", ""):
        yield "does not say that it has a dark form"


def _size(mail: _Mail) -> Iterator[str]:
    if len(mail.data) > _LARGEST:
        yield f"is {len(mail.data):,} bytes; beyond {_LARGEST:,} it is cut off"


class _Page(HTMLParser):
    """What an HTML part links to, and what it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.html: Mapping[str, str | None] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "html":
            self.html = given
        if tag == "a" and given.get("href"):
            self.links.append(given["href"] or "")
        if tag in ("script", "iframe", "object", "embed", "form", "link"):
            self.loads.append(f"has a <{tag}>")
        if given.get("src") or given.get("background") or "url(" in (given.get("style") or ""):
            self.loads.append(f"loads something (<{tag}>), which tells that it was read")


_CHECKS: Final[Mapping[str, Callable[[_Mail], Iterator[str]]]] = {
    "Lines": _lines,
    "Headers": _headers,
    "Message-ID": _message_id,
    "Date": _date,
    "From": _from,
    "To": _to,
    "Subject": _subject,
    "Marked as automatic": _automatic,
    "One click stops it": _unsubscribe,
    "Text and HTML": _alternatives,
    "The same links in both": _same_facts,
    "HTML that loads nothing": _quiet_page,
    "Size": _size,
}
