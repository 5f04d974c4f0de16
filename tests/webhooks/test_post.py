"""One call: only to places that are open to everybody, to the very address that was checked, and nothing drawn out or used."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

import pytest

from rmindr.webhooks.places import Closed, Place, Reach, is_public
from rmindr.webhooks.post import Caller, NotReached
from tests.webhooks.receiver import Receiver, says, sends

HERE = Reach.of(["127.0.0.0/8"])
PATIENCE = timedelta(milliseconds=400)


def caller(tls: ssl.SSLContext, reach: Reach = HERE, **more: Any) -> Caller:
    return Caller(reach, tls=tls, **{"patience": timedelta(seconds=5)} | more)


# Which places may be called


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.9.9.9", "169.254.169.254", "172.16.0.1", "172.31.9.9"),
        *("192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1"),
        *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
        *(
            "::",
            "::1",
            "::127.0.0.1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd12:3456::1",
            "ff02::1",
            "2001:db8::1",
            "3fff::1",
        ),
        # Other forms of addresses that are not open: mapped, translated, 6to4, Teredo, and the local NAT64.
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1"),
        *("2002:7f00:1::1", "2002:808:808::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "100::1", "5f00::1"),
    ],
)
def test_an_address_that_is_not_open_to_everybody_is_not_called(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.1",
        "172.32.0.1",
        "192.0.1.1",
        "2a00:1450::1",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ],
)
def test_an_address_that_is_open_to_everybody_is(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "x",
            "http://example.org/",
            "ftp://example.org/",
            "//example.org/",
            "https://",
            "https:///x",
            "https:example.org",
        ),
        *("https://user@example.org/", "https://user:password@example.org/", "https://@example.org/"),
        *(
            "https://example.org:22/",
            "https://example.org:80/",
            "https://example.org:1023/",
            "https://example.org:99999/",
        ),
        *("https://example.org:x/", "https://example.org/#x", "https://example.org/#", "https://example.org/ x"),
        *(
            "https://example.org/\r\nX: y",
            "https://exa\tmple.org/",
            "https://example.org\\@10.0.0.1/",
            "https://exämple.org/",
        ),
        *("https://example.org./", "https://-x.org/", "https://exa%6dple.org/", "https://[::1/", "https://[x]/"),
        *(
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://169.254.169.254/",
            "https://[fe80::1%25x]/",
        ),
        "https://example.org/" + "x" * 2000,
    ],
)
def test_a_url_that_may_not_be_called_is_refused_before_it_is(url: str) -> None:
    with pytest.raises(Closed):
        Reach().place(url)


def test_a_url_says_whom_to_ask_and_for_what() -> None:
    reach = Reach()

    assert reach.place("https://Example.org") == Place("example.org", 443, "/")
    assert reach.place("https://example.org:8443/a/b?c=d&e") == Place("example.org", 8443, "/a/b?c=d&e")
    assert reach.place("https://8.8.8.8/x").authority == "8.8.8.8"
    assert reach.place("https://[2a00:1450::1]:8443/").authority == "[2a00:1450::1]:8443"


def test_a_setting_names_what_may_be_called_besides_and_no_more() -> None:
    reach = Reach.of(["hooks.internal", "10.1.0.0/16", "fd00::/8"])

    reach.require_open("hooks.internal", [ip_address("192.168.0.1")])
    reach.require_open("example.org", [ip_address("10.1.2.3"), ip_address("fd00::1"), ip_address("8.8.8.8")])
    assert reach.place("https://hooks.internal:81/").port == 81
    for host, address in (("example.org", "10.2.0.1"), ("x.hooks.internal", "10.2.0.1"), ("hooks.internal.", "::1")):
        with pytest.raises(Closed):
            reach.require_open(host, [ip_address(address)])


# The call


async def test_a_call_is_a_post_over_tls_and_its_answer_a_status(receiver: Receiver, trusting: ssl.SSLContext) -> None:
    receiver.answers = [says(204)]

    status = await caller(trusting).post(receiver.url("/hook?x=1"), {"X-One": "1"}, b'{"a": "\xc3\xa9"}')

    (received,) = receiver.received
    assert status == 204
    assert received.line == "POST /hook?x=1 HTTP/1.1"
    assert received.body == b'{"a": "\xc3\xa9"}'
    assert received.headers == {
        "host": f"localhost:{receiver.port}", "x-one": "1", "content-length": "11", "connection": "close",
    }  # fmt: skip


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_nothing_inside_is_called_unless_a_setting_names_it(
    host: str, receiver: Receiver, trusting: ssl.SSLContext
) -> None:
    with pytest.raises(Closed):
        await caller(trusting, Reach()).post(receiver.url(host=host), {}, b"")
    named = await caller(trusting, Reach.of(["localhost", "127.0.0.1"])).post(receiver.url(host=host), {}, b"")

    assert (named, receiver.connections) == (200, 1)


class Rebinding:
    """A name whose owner has it stand for something else each time that somebody asks."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return self.answers.pop(0)


async def test_the_address_that_was_checked_is_the_one_that_is_called(
    receiver: Receiver, trusting: ssl.SSLContext
) -> None:
    name = Rebinding(["127.0.0.1"], ["10.0.0.1"])

    status = await caller(trusting, resolve=name).post(receiver.url(), {}, b"")

    assert (status, name.asked) == (200, 1)


@pytest.mark.parametrize(
    "addresses", [["8.8.8.8", "127.0.0.1"], ["127.0.0.1", "8.8.8.8"], ["::ffff:127.0.0.1"], ["::1"]]
)
async def test_one_address_inside_is_enough_to_call_none_of_them(
    addresses: list[str], receiver: Receiver, trusting: ssl.SSLContext
) -> None:
    with pytest.raises(Closed, match="not open to everybody"):
        await caller(trusting, Reach(), resolve=Rebinding(addresses)).post(receiver.url(), {}, b"")

    assert receiver.connections == 0


async def test_no_redirect_is_followed(
    receiver: Receiver, server_tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    async with Receiver(server_tls) as inside:
        receiver.answers = [says(302, f"Location: {inside.url()}")]
        status = await caller(trusting).post(receiver.url(), {}, b"")
        receiver.answers = [says(307, f"Location: {inside.url()}")]
        other = await caller(trusting).post(receiver.url(), {}, b"")

    assert (status, other, inside.connections) == (302, 307, 0)


async def test_no_proxy_is_asked(receiver: Receiver, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Receiver(None) as proxy:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        status = await caller(trusting).post(receiver.url(), {}, b"")

    assert (status, proxy.connections) == (200, 0)


async def dripping(writer: asyncio.StreamWriter) -> None:
    """A header that never ends, a byte at a time."""
    writer.write(b"HTTP/1.1 200 ok\r\nX: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("answer", [sends(), sends(b"HTTP/1.1 200"), dripping])
async def test_whoever_is_slow_holds_nobody_up(answer: Any, receiver: Receiver, trusting: ssl.SSLContext) -> None:
    receiver.answers = [answer]

    with pytest.raises(NotReached, match="in time"):
        await caller(trusting, patience=PATIENCE).post(receiver.url(), {}, b"")


@pytest.mark.parametrize("head", [b"Content-Length: 9999999\r\n\r\nx", b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"])
async def test_a_status_is_an_answer_whatever_becomes_of_the_rest(
    head: bytes, receiver: Receiver, trusting: ssl.SSLContext
) -> None:
    receiver.answers = [sends(b"HTTP/1.1 100 continue\r\n\r\nHTTP/1.1 201 made\r\n" + head)]

    assert await caller(trusting, patience=PATIENCE).post(receiver.url(), {}, b"") == 201


async def test_of_a_huge_answer_little_is_read(receiver: Receiver, trusting: ssl.SSLContext) -> None:
    sent = 0

    async def flooding(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 ok\r\nContent-Length: 999999999\r\n\r\n")
        for _ in range(2000):
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    receiver.answers = [flooding]

    assert await caller(trusting).post(receiver.url(), {}, b"") == 200
    # What the two kernels hold between them, and no more.
    assert sent < 32 * 1024 * 1024


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (sends(b"HTTP/1.1 200 ok\r\n" + b"X-Long: " + b"x" * 200_000), "no HTTP"),
        (sends(b"220 mail.example.org ESMTP\r\n\r\n"), "no HTTP"),
        (sends(b"\x00" * 100), "no HTTP"),
    ],
)
async def test_what_is_no_http_is_no_answer(
    answer: Any, why: str, receiver: Receiver, trusting: ssl.SSLContext
) -> None:
    receiver.answers = [answer]

    with pytest.raises(NotReached, match=why):
        await caller(trusting).post(receiver.url(), {}, b"")


async def test_whoever_hangs_up_gives_no_answer(receiver: Receiver, trusting: ssl.SSLContext) -> None:
    async def hanging_up(writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    receiver.answers = [hanging_up]

    with pytest.raises(NotReached):
        await caller(trusting).post(receiver.url(), {}, b"")


async def test_a_certificate_that_is_not_good_for_the_name_is_refused(
    receiver: Receiver, trusting: ssl.SSLContext
) -> None:
    local = Rebinding(["127.0.0.1"], ["127.0.0.1"])

    with pytest.raises(NotReached, match="certificate"):
        await caller(trusting, resolve=local).post(receiver.url(host="example.org"), {}, b"")
    with pytest.raises(NotReached, match="certificate"):
        await caller(ssl.create_default_context(), resolve=local).post(receiver.url(), {}, b"")
    assert receiver.received == []


async def test_whoever_does_not_speak_tls_or_is_not_there_is_not_reached(trusting: ssl.SSLContext) -> None:
    async with Receiver(None) as plain:
        url = plain.url()
        with pytest.raises(NotReached):
            await caller(trusting, patience=PATIENCE).post(url, {}, b"")
    with pytest.raises(NotReached, match="takes no connection"):
        await caller(trusting).post(url, {}, b"")
    with pytest.raises(NotReached, match="no address"):
        await caller(trusting, resolve=Rebinding([])).post(url, {}, b"")
