"""Whose request it is: the client's address behind proxies, and whether a page of ours sent the form."""

from __future__ import annotations

import pytest
from starlette.types import Scope

from rmindr.web.access import client_address, host_of
from tests.web.site import BROWSER, Site, a_form

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
BARE = {"Accept": BROWSER["Accept"]}
OURS = "http://localhost:8000"


# The client's address


def scope(*forwarded: str, peer: str | None = "10.0.0.9") -> Scope:
    headers = [(b"x-forwarded-for", line.encode("latin-1")) for line in forwarded]
    return {"type": "http", "headers": headers, "client": (peer, 4711) if peer else None}


@pytest.mark.parametrize(
    ("forwarded", "proxies", "address"),
    [
        ((), 1, "10.0.0.9"),
        (("198.51.100.7",), 0, "10.0.0.9"),
        (("198.51.100.7",), 1, "198.51.100.7"),
        (("1.2.3.4, 198.51.100.7",), 1, "198.51.100.7"),
        (("1.2.3.4 ,198.51.100.7, 203.0.113.5",), 2, "198.51.100.7"),
        (("1.2.3.4", "198.51.100.7"), 1, "198.51.100.7"),
        (("127.0.0.1, 2001:DB8::1",), 1, "2001:db8::1"),
        (("198.51.100.7",), 2, "10.0.0.9"),
        (("198.51.100.7, unknown",), 1, "10.0.0.9"),
        (("198.51.100.7, 1.2.3.4:80",), 1, "10.0.0.9"),
        (("198.51.100.7,",), 1, "10.0.0.9"),
        (("\xff\n evil=1",), 1, "10.0.0.9"),
    ],
)
def test_the_address_is_the_one_that_the_outermost_trusted_proxy_saw(
    database_url: str, forwarded: tuple[str, ...], proxies: int, address: str
) -> None:
    assert client_address(scope(*forwarded), proxies) == address


def test_without_a_peer_and_a_proxy_there_is_no_address(database_url: str) -> None:
    assert client_address(scope(peer=None), 1) == ""


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("Remind.Example.ORG", "remind.example.org"),
        ("localhost:8000", "localhost"),
        ("[::1]:8000", "::1"),
        ("localhost:8000@evil.example", "evil.example"),
        ("evil.example/localhost", "evil.example"),
        ("[::1", ""),
        ("", ""),
    ],
)
def test_the_host_is_the_name_alone(database_url: str, authority: str, host: str) -> None:
    assert host_of(authority) == host


# Forms from elsewhere


SENT_BY = {
    "our page": ({"Sec-Fetch-Site": "same-origin"}, True),
    "the person": ({"Sec-Fetch-Site": "none"}, True),
    "another site": ({"Sec-Fetch-Site": "cross-site"}, False),
    "a neighbour's name": ({"Sec-Fetch-Site": "same-site"}, False),
    "a word that we do not know": ({"Sec-Fetch-Site": "Same-Origin "}, False),
    "another site that knows our origin": ({"Sec-Fetch-Site": "cross-site", "Origin": OURS}, False),
    "an old browser on our page": ({"Origin": OURS}, True),
    "an old browser on our page, by its address": ({"Referer": f"{OURS}/reminders/x"}, True),
    "an old browser elsewhere": ({"Origin": "http://evil.example"}, False),
    "an old browser elsewhere, by its address": ({"Referer": f"http://evil.example/{OURS}"}, False),
    "an old browser on another port": ({"Origin": "http://localhost:9000"}, False),
    "an old browser on a longer name": ({"Origin": f"{OURS}.evil.example"}, False),
    "a box without an origin": ({"Origin": "null"}, False),
    "nobody": ({"Origin": "http://"}, False),
    "a program": ({}, True),
}


@pytest.mark.parametrize(("headers", "allowed"), SENT_BY.values(), ids=SENT_BY)
async def test_a_form_counts_only_from_our_own_page(dev: Site, headers: dict[str, str], allowed: bool) -> None:
    made = await dev.post()
    answers = {
        path: (await dev.submit(path, headers=BARE | headers, **a_form())).status_code
        for path in (
            "/",
            "/preview",
            f"/reminders/{made['id']}/edit",
            f"/reminders/{made['id']}/preview",
            "/inbox/empty",
        )
    }
    cancel = await dev.submit(f"/reminders/{made['id']}/cancel", headers=BARE | headers)

    assert {status < 400 for status in answers.values()} == {allowed}, answers
    assert {status for status in answers.values() if status >= 400} <= {403}
    assert cancel.status_code == (303 if allowed else 403)
    stored = await dev.stored()
    assert [each["status"] for each in stored] == (["scheduled", "cancelled"] if allowed else ["scheduled"])
    assert stored[-1]["revision"] == (3 if allowed else 1)


async def test_no_other_site_may_read_what_we_answer(dev: Site) -> None:
    for path in ("/api/reminders", "/", "/inbox/api/messages"):
        asked = await dev.client.options(
            path, headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "DELETE"}
        )
        answer = await dev.client.get(path, headers={"Origin": "http://evil.example"})

        assert asked.status_code == 405
        for each in (asked, answer):
            assert not [name for name in each.headers if name.startswith("access-control-")]
