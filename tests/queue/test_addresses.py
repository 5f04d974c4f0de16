"""What a queue's URL says, and what is said about one that cannot be used: nothing that stands in it."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from rmindr.errors import SettingsError
from rmindr.queue import InvalidJob
from rmindr.queue.addresses import Address, Host
from rmindr.queue.keys import Keys
from rmindr.settings import Settings
from tests.redises import authority_file

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://", {"kind": "server", "hosts": (Host("localhost", 6379),)}),
        ("redis://here", {"hosts": (Host("here", 6379),), "db": 0, "username": None, "password": None, "tls": None}),
        ("redis://here:7/3", {"hosts": (Host("here", 7),), "db": 3}),
        ("redis://here/?db=3", {"db": 3}),
        ("redis://[::1]:7", {"hosts": (Host("::1", 7),)}),
        ("redis://[fe80::1]", {"hosts": (Host("fe80::1", 6379),)}),
        ("redis://:pass@here", {"username": None, "password": "pass"}),
        ("redis://ann:p%40s%2Fs%3F@here", {"username": "ann", "password": "p@s/s?", "hosts": (Host("here", 6379),)}),
        ("redis://ann:p@s/s:w@here:7/1", {"password": "p@s/s:w", "hosts": (Host("here", 7),), "db": 1}),
        ("redis://ann@here", {"username": "ann", "password": None}),
        ("unix:///tmp/valkey.sock", {"kind": "socket", "path": "/tmp/valkey.sock", "db": 0}),
        ("unix://ann:pass@/tmp/valkey.sock?db=2", {"path": "/tmp/valkey.sock", "db": 2, "username": "ann", "password": "pass"}),
        (
            "redis+sentinel://ann:pass@one,two:7/main/2?sentinel_username=bob&sentinel_password=word",
            {
                "kind": "sentinel", "hosts": (Host("one", 26379), Host("two", 7)), "service": "main", "db": 2,
                "username": "ann", "password": "pass", "sentinel_username": "bob", "sentinel_password": "word",
            },
        ),
        ("redis+cluster://one:1,two:2", {"kind": "cluster", "hosts": (Host("one", 1), Host("two", 2))}),
        ("redis+cluster://one/0", {"hosts": (Host("one", 6379),)}),
    ],
)  # fmt: skip
def test_a_url_says_where_and_as_whom(url: str, said: dict[str, Any]) -> None:
    address = Address.from_url(url)

    assert {name: getattr(address, name) for name in said} == said


@pytest.mark.parametrize("scheme", ["rediss", "rediss+sentinel", "rediss+cluster"])
@pytest.mark.parametrize(
    ("options", "verified", "by_name"),
    [
        ("", True, True),
        ("?ssl_cert_reqs=required", True, True),
        ("?ssl_check_hostname=false", True, False),
        ("?ssl_cert_reqs=none", False, False),
        ("?ssl_cert_reqs=none&ssl_check_hostname=true", False, False),
    ],
)
def test_tls_is_verified_unless_the_url_itself_says_otherwise(
    scheme: str, options: str, verified: bool, by_name: bool
) -> None:
    tls = Address.from_url(
        f"{scheme}://here/main{options}" if "sentinel" in scheme else f"{scheme}://here{options}"
    ).tls

    assert tls is not None
    assert (tls.verify_mode is ssl.CERT_REQUIRED, tls.check_hostname) == (verified, by_name)
    assert tls.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_a_ca_file_replaces_the_machines_own_authorities() -> None:
    tls = Address.from_url(f"rediss://here?ssl_ca_certs={authority_file()}").tls

    assert tls is not None
    assert len(tls.get_ca_certs()) == 1


@pytest.mark.parametrize(
    "url",
    [
        f"redis://ann:{SECRET}@here:port",
        f"redis://ann:{SECRET}",
        f"redis://:{SECRET}/@:x",
        f"redis://ann:{SECRET}@here:0",
        f"redis://ann:{SECRET}@here:65536",
        f"redis://ann:{SECRET}@here/x{SECRET}",
        f"redis://ann:{SECRET}@here/999999999999",
        f"redis://ann:{SECRET}@here?db=x",
        f"redis://ann:?{SECRET}@here",
        f"redis://ann:{SECRET}@one,two",
        f"redis://ann:{SECRET}@here?max_connections=9",
        f"redis://ann:{SECRET}@here?ssl_cert_reqs=none",
        f"rediss://ann:{SECRET}@here?ssl_cert_reqs=optional",
        f"rediss://ann:{SECRET}@here?ssl_check_hostname=maybe",
        f"rediss://ann:{SECRET}@here?ssl_ca_certs=/nowhere",
        f"rediss://ann:{SECRET}@here?ssl_ca_certs={__file__}",
        f"rediss://ann:{SECRET}@here?ssl_certfile=/nowhere",
        f"redis+sentinel://ann:{SECRET}@here",
        f"redis+sentinel://ann:{SECRET}@here/main/x",
        f"redis+cluster://ann:{SECRET}@here/1",
        f"unix://ann:{SECRET}@here",
        f"http://ann:{SECRET}@here",
        f"{SECRET}",
        "",
    ],
)
def test_what_is_wrong_with_a_url_is_told_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidJob, match="the queue's URL cannot be used: ") as refusal:
        Address.from_url(url)

    assert SECRET not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_a_password_does_not_show_in_an_address() -> None:
    address = Address.from_url(f"redis+sentinel://ann:{SECRET}@here/main?sentinel_password={SECRET}")

    assert SECRET not in repr(address)


@pytest.mark.parametrize("name", ["REDIS_URL", "RMINDR_SMTP_URL"])
@pytest.mark.parametrize("place", [f":{SECRET}℀@here", f":{SECRET}@here:port", f":{SECRET}", f":{SECRET}@[here"])
@pytest.mark.parametrize("scheme", ["rediss", "smtps", "x"])
def test_a_setting_that_cannot_be_used_is_told_without_repeating_it(
    name: str, place: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYNO", "web.1")

    try:
        told = repr(
            Settings.load(**{name: f"{scheme}://ann{place}", "access": "open", "DATABASE_URL": "postgres://here/x"})
        )
    except SettingsError as error:
        told = str(error)

    assert SECRET not in told


@pytest.mark.parametrize(
    ("prefix", "found"), [("q", "{q}"), ("{q}", "{q}"), ("my{q}", "my{q}"), ("q-[a]*", "{q-[a]*}")]
)
def test_on_a_cluster_the_prefix_stands_in_braces(prefix: str, found: str) -> None:
    keys = Keys(prefix, cluster=True)

    assert keys.prefix == found
    assert all(name.startswith(f"{found}:") for name in keys.for_scripts)


@pytest.mark.parametrize("prefix", ["{}q", "q{", "{}"])
def test_on_a_cluster_braces_must_hold_something(prefix: str) -> None:
    with pytest.raises(InvalidJob, match="braces"):
        Keys(prefix, cluster=True)


def test_without_a_cluster_the_prefix_is_as_it_is(tmp_path: Path) -> None:
    assert Keys("{}q").prefix == "{}q"
