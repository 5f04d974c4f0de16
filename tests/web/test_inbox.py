"""The dev inbox: every mail to read, to take apart, and for tests to wait on; nothing in a mail can act on us."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest

from rmindr.mail.inbox import Inbox
from tests.web.conftest import Serve
from tests.web.site import BROWSER, CONFIRMED, Site, problem

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
BOUNDARY = "=_x"


async def a_mail(mails: Inbox, *, to: str = "ada@example.org", subject: str = "Call mum", text: str = "Hello",
                 html: str = "<html><head><title>x</title></head><body><p>Hello</p></body></html>") -> str:  # fmt: skip
    """Take a mail of two parts; its id."""
    parts = "".join(
        f"--{BOUNDARY}\r\nContent-Type: text/{kind}; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        f"{base64.b64encode(part.encode()).decode()}\r\n"
        for kind, part in (("plain", text), ("html", html))
    )
    encoded = base64.b64encode(subject.encode()).decode()
    head = (
        f"From: us@example.org\r\nTo: {to}\r\nSubject: =?utf-8?B?{encoded}?=\r\n"
        f'MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary="{BOUNDARY}"\r\n\r\n'
    )
    return await mails.take("us@example.org", to, f"{head}{parts}--{BOUNDARY}--\r\n".encode())


# Pages


async def test_an_empty_inbox_says_what_will_come_here(dev: Site) -> None:
    page = await dev.see("/inbox")

    assert page.title == "Inbox (0) · rmindr"
    assert "Nothing yet" in page.text
    assert ("/", "schedule one") in page.links


async def test_mails_are_listed_newest_first(dev: Site, mails: Inbox) -> None:
    first = await a_mail(mails, subject="First – «é»", to="ada@xn--mnchen-3ya.de")
    second = await a_mail(mails, subject="")

    page = await dev.see("/inbox")

    assert page.title == "Inbox (2) · rmindr"
    listed = [(href, text) for href, text in page.links if href.startswith("/inbox/")]
    assert [href for href, _ in listed] == [f"/inbox/{second}", f"/inbox/{first}"]
    assert "(no subject)" in listed[0][1]
    assert "First – «é»" in listed[1][1]
    assert "to ada@münchen.de" in listed[1][1]
    assert (
        len([tag for tag, attributes in page.tags if tag == "time" and attributes["datetime"].endswith("+00:00")]) == 2
    )


async def test_only_the_newest_hundred_are_listed_and_all_are_counted(dev: Site, mails: Inbox) -> None:
    ids = [await a_mail(mails) for _ in range(101)]

    page = await dev.see("/inbox")

    assert page.title == "Inbox (101) · rmindr"
    assert [href for href, _ in page.links if href.startswith("/inbox/")] == [f"/inbox/{id}" for id in ids[:0:-1]]


@pytest.mark.parametrize(
    ("part", "shown"),
    [
        ("", "Über <b>mum</b> & co"),
        ("?part=text", "Über <b>mum</b> & co"),
        ("?part=headers", "us@example.org"),
        ("?part=checks", "List-Unsubscribe is missing."),
        ("", "checks found something that keeps mails from arriving"),
        ("?part=raw", f'Content-Type: multipart/alternative; boundary="{BOUNDARY}"'),
    ],
)
async def test_each_part_of_a_mail_is_shown_as_text(dev: Site, mails: Inbox, part: str, shown: str) -> None:
    id = await a_mail(mails, text="Über <b>mum</b> & co")

    page = await dev.see(f"/inbox/{id}{part}")

    assert page.title == "Call mum · Inbox · rmindr"
    assert shown in page.text
    assert "<b>mum</b>" not in page.html
    current = [
        attributes["href"]
        for tag, attributes in page.tags
        if "aria-current" in attributes and "?" in attributes["href"]
    ]
    assert current == [part or "?part=text"]


async def test_the_html_part_stands_in_a_box_that_can_do_nothing(dev: Site, mails: Inbox) -> None:
    script = "<script>top.location='http://evil.example'</script>"
    id = await a_mail(mails, html=f"<html><head></head><body>{script}<img src=http://evil.example/x></body></html>")

    page = await dev.see(f"/inbox/{id}?part=html")
    inside = await dev.client.get(f"/inbox/{id}/html", headers=BROWSER)

    assert script not in page.html
    (frame,) = [attributes for tag, attributes in page.tags if tag == "iframe"]
    assert frame["src"] == f"/inbox/{id}/html"
    assert frame["title"]
    assert "allow-scripts" not in frame["sandbox"]
    assert "allow-same-origin" not in frame["sandbox"]
    assert script in inside.text
    assert '<base target="_blank">' in inside.text
    policy = inside.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'self'" in policy
    assert "sandbox allow-popups" in policy
    assert "allow-scripts" not in policy
    assert "img-src data:" in policy
    assert "http" not in policy


async def test_a_mail_without_an_html_part_has_an_empty_box(dev: Site, mails: Inbox) -> None:
    id = await mails.take("us@example.org", "ada@example.org", b"Subject: plain\r\n\r\nonly text\r\n")

    inside = await dev.client.get(f"/inbox/{id}/html")

    assert (inside.status_code, inside.text) == (200, "")
    assert "only text" in (await dev.see(f"/inbox/{id}")).text


BROKEN = {
    "nothing": b"",
    "no headers": b"\r\n\r\n",
    "bytes": bytes(range(256)),
    "a bad charset": b"Subject: x\r\nContent-Type: text/plain; charset=no-such-thing\r\n\r\n\xff\xfe\r\n",
    "bytes in a header": b"Subject: caf\xe9 \xff\r\nTo: \xff\r\n\r\nx\r\n",
    "half a character": b"Subject: =?utf-7?Q?+2AA-?=\r\nContent-Type: text/plain; charset=utf-7\r\n\r\n+2AA-\r\n",
    "a boundary that never comes": b'Subject: x\r\nContent-Type: multipart/mixed; boundary="never"\r\n\r\nx\r\n',
    "broken base64": b"Subject: =?utf-8?B?!!!?=\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!\r\n",
    "a header without end": b"Subject: " + b"x" * 100_000,
    "markup": b"Subject: </title><script>alert(1)</script>\r\n\r\n</pre><script>alert(1)</script>\r\n",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
async def test_whatever_a_mail_is_it_can_be_looked_at(dev: Site, mails: Inbox, data: bytes) -> None:
    id = await mails.take("us@example.org", "ada@example.org", data)

    for path in ("/inbox", *(f"/inbox/{id}?part={part}" for part in ("text", "html", "headers", "raw"))):
        page = await dev.see(path)
        assert page.status == 200
        assert "<script>alert" not in page.html
    assert (await dev.client.get(f"/inbox/{id}/html")).status_code == 200
    assert (await dev.client.get("/inbox/api/messages")).json()["items"][0]["id"] == id


async def test_the_bytes_can_be_kept_as_they_came(dev: Site, mails: Inbox) -> None:
    id = await mails.take("us@example.org", "ada@example.org", b"Subject: caf\xe9\r\n\r\n\x00\xff\r\n")

    answer = await dev.client.get(f"/inbox/{id}/raw")

    assert answer.content.endswith(b"Subject: caf\xe9\r\n\r\n\x00\xff\r\n")
    assert answer.headers["Content-Type"] == "message/rfc822"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{id}.eml"'


async def test_one_mail_is_thrown_away_and_the_others_stay(dev: Site, mails: Inbox) -> None:
    kept, thrown = await a_mail(mails), await a_mail(mails)

    answer = await dev.submit(f"/inbox/{thrown}/delete")

    assert (answer.status_code, answer.headers["Location"]) == (303, "/inbox")
    assert mails.get(thrown) is None
    assert mails.get(kept) is not None
    assert (await dev.see(f"/inbox/{thrown}")).status == 404
    assert (await dev.submit(f"/inbox/{thrown}/delete")).status_code == 404


async def test_all_are_thrown_away(dev: Site, mails: Inbox) -> None:
    for _ in range(3):
        await a_mail(mails)

    answer = await dev.submit("/inbox/empty")

    assert (answer.status_code, answer.headers["Location"]) == (303, "/inbox")
    assert len(mails) == 0


# The API for tests


async def test_a_mail_as_a_program_sees_it(dev: Site, mails: Inbox) -> None:
    id = await a_mail(mails, subject="Über", text="Hello\nAda")

    page = (await dev.client.get("/inbox/api/messages")).json()
    one = await dev.client.get(f"/inbox/api/messages/{id}")

    (found,) = page["items"]
    assert one.json() == found
    assert found["id"] == id
    assert (found["sender"], found["to"]) == ("us@example.org", "ada@example.org")
    assert (found["subject"], found["text"]) == ("Über", "Hello\nAda")
    assert "<p>Hello</p>" in found["html"]
    assert ["From", "us@example.org"] in found["headers"]
    assert found["at"] == mails.newest(1)[0].at.timestamp()


async def test_a_test_waits_for_the_mail_that_it_expects(dev: Site, mails: Inbox) -> None:
    waiting = asyncio.create_task(
        dev.client.get("/inbox/api/messages", params={"to": "ada@example.org", "wait": 60}, timeout=60)
    )
    await a_mail(mails, to="bob@example.org")
    await asyncio.wait([waiting], timeout=0.1)
    assert not waiting.done()

    id = await a_mail(mails)

    assert [each["id"] for each in (await waiting).json()["items"]] == [id]


async def test_a_test_waits_for_a_mail_later_than_the_one_it_knows(dev: Site, mails: Inbox) -> None:
    known = await a_mail(mails)
    waiting = asyncio.create_task(
        dev.client.get("/inbox/api/messages", params={"after": known, "wait": 60}, timeout=60)
    )
    await asyncio.wait([waiting], timeout=0.1)
    assert not waiting.done()

    id = await a_mail(mails)

    assert [each["id"] for each in (await waiting).json()["items"]] == [id]


async def test_nothing_in_time_is_an_empty_answer(dev: Site, mails: Inbox) -> None:
    await a_mail(mails)

    for query in ("to=bob@example.org", "to=bob@example.org&wait=0.05"):
        assert (await dev.client.get(f"/inbox/api/messages?{query}")).json() == {"items": []}


@pytest.mark.parametrize("wait", ["-1", "61", "x", "nan", "inf", ""])
async def test_a_wait_that_is_none_is_refused(dev: Site, wait: str) -> None:
    problem(await dev.client.get(f"/inbox/api/messages?wait={wait}"), 422)


async def test_a_program_throws_away_one_or_all(dev: Site, mails: Inbox) -> None:
    kept, thrown = await a_mail(mails), await a_mail(mails)

    assert (await dev.client.delete(f"/inbox/api/messages/{thrown}")).status_code == 204
    assert [each["id"] for each in (await dev.client.get("/inbox/api/messages")).json()["items"]] == [kept]
    problem(await dev.client.delete(f"/inbox/api/messages/{thrown}"), 404)
    problem(await dev.client.get(f"/inbox/api/messages/{thrown}"), 404)
    assert (await dev.client.delete("/inbox/api/messages")).status_code == 204
    assert len(mails) == 0


# Where it is


async def test_mails_are_still_there_when_it_starts_again(serve: Serve, mails: Inbox, tmp_path: Path) -> None:
    ids = [await a_mail(mails) for _ in range(2)]
    (tmp_path / "inbox" / "half.tmp").write_bytes(b"half a mail")

    async with serve(Inbox(tmp_path / "inbox")) as site:
        found = (await site.client.get("/inbox/api/messages")).json()["items"]

    assert [each["id"] for each in found] == ids[::-1]


@pytest.mark.parametrize("settings", [{}, CONFIRMED])
async def test_beyond_rmindr_dev_there_is_no_inbox(serve: Serve, settings: dict[str, str]) -> None:
    async with serve(**settings) as site:
        assert (await site.see("/inbox")).status == 404
        problem(await site.client.get("/inbox/api/messages"), 404)
        problem(await site.client.delete("/inbox/api/messages"), 404)
        assert "/inbox" not in (await site.see("/")).html
