"""Our letters as others read them: another library, and the checks of the inbox, each of which can fail."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from rmindr.mail.lint import lint
from rmindr.models import Kind
from tests import npm
from tests.mail.test_letters import contents, letters

FOLDER: Final = Path(__file__).parent
PUBLIC: Final = "https://remind.example.org"
LINK: Final = {"about": '{"link": "01930000-0000-7000-8000-000000000000", "by": "ada@example.org"}', "message": ""}
GOLDEN: Final[dict[str, dict[str, Any]]] = {
    "plain": {},
    "emoji": {"subject": "😀" * 200, "message": "🎂" * 500},
    "right to left": {"subject": "תזכורת: להתקשר לאמא", "message": "اتصل بأمي يوم الأحد\nולא לשכוח"},
    "a line of five thousand": {"message": "word " * 1000},
    "a foreign domain": {"recipient": "joe@xn--mnchen-3ya.de"},
    "leading dots": {"message": ".\n..\n.hidden"},
    "bare returns": {"message": "one\rtwo\r\nthree\n\rfour"},
    "headers in it": {"subject": "x: y", "message": "Subject: no\n\n--=_01939f2a7c007abc8def0123456789ab.3--"},
    "encoded words in it": {"subject": "=?utf-8?q?Bcc=3A?= x@example.org"},
    "from somebody else": {"by": "ada@example.org"},
    "to a long address": {"recipient": f"{'a' * 64}@{'b' * 60}.{'c' * 60}.example.org"},
    "to confirm": LINK | {"kind": Kind.CONFIRM},
    "to agree": LINK | {"kind": Kind.AGREE},
    "to sign in": LINK | {"kind": Kind.SIGN_IN},
    "a notice": {"kind": Kind.NOTICE, "about": '{"told": ["«Müll» moved."]}', "message": ""},
}


def made(name: str) -> tuple[str, str, bytes]:
    """The envelope and the bytes of one of the golden ones, with all its links."""
    letter = letters(public_url=PUBLIC).make(contents(**GOLDEN[name]))
    return letter.sender, letter.recipient, letter.data


async def read_by_another(mails: Sequence[bytes]) -> list[dict[str, Any]]:
    npm.install(FOLDER, "The tests of letters")
    node = shutil.which("node") or "node"
    process = await asyncio.create_subprocess_exec(
        node, str(FOLDER / "parse.js"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate(b"".join(base64.b64encode(each) + b"\n" for each in mails))
    return [json.loads(line) for line in said.splitlines()]


async def test_another_reader_finds_in_every_letter_what_was_written() -> None:
    found = await read_by_another([made(name)[2] for name in GOLDEN])

    for (name, given), read in zip(GOLDEN.items(), found, strict=True):
        meant = contents(**given)
        assert read["subject"] == meant.subject, name
        assert (read["from"]["name"], read["from"]["address"]) == ("Reminders", "reminders@example.org"), name
        assert [each["address"] for each in read["to"]] == [meant.recipient], name
        assert [each["address"] for each in read.get("replyTo") or []] == ([meant.by] if meant.by else []), name
        assert len(read["names"]) == len(set(read["names"])), name
        assert read["attachments"] == 0, name
        lines = meant.message.replace("\r\n", "\n").replace("\r", "\n")
        assert read["text"].replace("\r\n", "\n").startswith(lines), name
        assert PUBLIC in read["html"], name


@pytest.mark.parametrize("name", GOLDEN)
def test_the_inbox_finds_nothing_wrong_with_a_letter_of_ours(name: str) -> None:
    assert [f"{check.what}: {check.wrong}" for check in lint(*made(name)) if check.wrong] == []


BROKEN: Final = {
    "Lines": [(b"Call mum\r\n", b"Call mum\n"), (b"Call mum\r\n", b"x" * 999 + b"\r\n"), (b"Call mum\r\n", b"\0\r\n")],
    "Headers": [
        (b"MIME-Version: 1.0\r\n", b""), (b"MIME-Version: 1.0\r\n", b"To: you@example.org\r\nMIME-Version: 1.0\r\n"),
        (b"Subject: Reminder", "Subject: Überraschung".encode()), (b"<https://", b"=?utf-8?q?=3Chttps?= <https://"),
    ],
    "Message-ID": [(b".3@example.org>", b".3@web.1>"), (b"Message-ID: <", b"Message-ID: ")],
    "Date": [(b"Tue, 01 Dec", b"01 of"), (b"+0000", b"-0000")],
    "From": [(b"<reminders@example.org>", b"<reminders@example.org>, you@example.org")],
    "To": [(b"To: me@example.org", b"To: me@example.org, you@example.org")],
    "Subject": [
        (b"Reminder: Call mum\r\n", b"\r\n"), (b"Reminder: Call mum\r\n", b"=?utf-8?B?YQ==?==?utf-8?B?YQ==?=\r\n"),
        (b"Reminder: Call mum\r\n", b"long" * 60 + b"\r\n"), (b"Reminder: Call mum\r\n", b"=?utf-8?B?AQ==?=\r\n"),
    ],
    "Marked as automatic": [(b"Auto-Submitted: auto-generated\r\n", b""), (b"OOF", b"RN")],
    "One click stops it": [
        (b"List-Unsubscribe: <https://", b"List-Unsubscribe: <http://"), (b"=One-Click", b"=Yes"),
        (b"List-Unsubscribe: <", b"List-Unsubscribe: <mailto:stop@example.org>, <"),
        (b"List-Unsubscribe: <https://remind.example.org", b"List-Unsubscribe:\r\n <https://remind.example.org"),
    ],
    "Text and HTML": [(b"multipart/alternative", b"multipart/mixed"), (b"text/plain", b"text/html")],
    "The same links in both": [(b"</body>", b'<a href=3D"https://elsewhere.example">x</a></body>')],
    "HTML that loads nothing": [
        (b"</body>", b"<script>1</script></body>"), (b"</body>", b'<img src=3D"https://x.example/1.gif"></body>'),
        (b'lang=3D"en"', b""), (b"color-scheme", b"colour"),
    ],
    "Size": [(b"</body>", b"x" * 70 * 1 + b"=\r\n" + (b"y" * 70 + b"=\r\n") * 1500 + b"</body>")],
}  # fmt: skip


@pytest.mark.parametrize(
    ("what", "old", "new"), [(what, *change) for what, changes in BROKEN.items() for change in changes]
)
def test_each_check_finds_what_it_looks_for(what: str, old: bytes, new: bytes) -> None:
    sender, recipient, data = made("plain")
    assert old in data
    spoilt = data.replace(old, new) if what == "HTML that loads nothing" else data.replace(old, new, 1)

    wrong = {check.what for check in lint(sender, recipient, spoilt) if check.wrong}

    assert what in wrong


def test_an_envelope_to_somebody_else_is_found() -> None:
    _, recipient, data = made("plain")

    assert {check.what for check in lint("", recipient, data) if check.wrong} == {"From"}
    assert {check.what for check in lint("b@example.org", "you@example.org", data) if check.wrong} == {"To"}
