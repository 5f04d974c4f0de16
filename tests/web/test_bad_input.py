"""Everything that can be wrong with a request: a 4xx that says what, nothing stored, and never a 5xx."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from rmindr.web.guards import BodyLimit
from tests.processes import Process
from tests.servers import Valkey, free_port
from tests.stack import answering
from tests.web.conftest import Serve
from tests.web.site import BROWSER, NOBODYS, Page, Site, a_form, a_reminder, pointers, problem, soon

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded", **BROWSER}
MIB = 1024 * 1024

# What is asked for, and what the complaint is about. `when` and `due_at` are given where the case is about the other.
NO_TIME = {"due_at": None}
BAD_JSON: dict[str, tuple[dict[str, Any], str]] = {
    "no address": ({"to": None}, "/to"),
    "empty address": ({"to": ""}, "/to"),
    "blank address": ({"to": " \t\n"}, "/to"),
    "no message": ({"message": None}, "/message"),
    "empty message": ({"message": ""}, "/message"),
    "blank message": ({"message": " \r\n\t "}, "/message"),
    "no time": (NO_TIME, "/due_at"),
    "empty time": ({"due_at": ""}, "/due_at"),
    "empty when": (NO_TIME | {"when": ""}, "/when"),
    "two times": ({"when": "2099-01-01T09:00"}, "/due_at"),
    "empty zone name": ({"time_zone": " "}, "/time_zone"),
    "message over-long": ({"message": "x" * 4001}, "/message"),
    "message over-long in other letters": ({"message": "🎂" * 4001}, "/message"),
    "subject over-long": ({"subject": "x" * 151}, "/subject"),
    "address over-long": ({"to": f"{'x' * 250}@example.org"}, "/to"),
    "zone over-long": ({"time_zone": "Europe/" * 5000}, "/time_zone"),
    "time over-long": ({"due_at": "2099-01-01T09:00:00." + "1" * 5000 + "Z"}, "/due_at"),
    "past": ({"due_at": soon(seconds=-1)}, "/due_at"),
    "long past": ({"due_at": "0001-01-01T00:00:00Z"}, "/due_at"),
    "past by its offset": ({"due_at": "1970-01-01T09:00:00+23:59"}, "/due_at"),
    "past when": (NO_TIME | {"when": "2001-01-01T09:00"}, "/when"),
    "too far": ({"due_at": "2999-01-01T09:00:00Z"}, "/due_at"),
    "beyond the calendar": ({"due_at": "9999-12-31T23:59:59.9999Z"}, "/due_at"),
    "beyond the calendar by its offset": ({"due_at": "9999-12-31T23:59:59-12:00"}, "/due_at"),
    "before the calendar by its zone": (NO_TIME | {"when": "0001-01-01T00:00", "time_zone": "Asia/Tokyo"}, "/when"),
    "naive": ({"due_at": "2099-01-01T09:00:00"}, "/due_at"),
    "no such day": ({"due_at": "2099-02-29T09:00:00Z"}, "/due_at"),
    "no such month": ({"due_at": "2099-13-01T09:00:00Z"}, "/due_at"),
    "no such hour": ({"due_at": "2099-01-01T24:00:00Z"}, "/due_at"),
    "no such second": ({"due_at": "2099-01-01T09:00:60Z"}, "/due_at"),
    "no such offset": ({"due_at": "2099-01-01T09:00:00+24:00"}, "/due_at"),
    "other digits": ({"due_at": "٢٠٩٩-01-01T09:00:00Z"}, "/due_at"),
    "words": ({"due_at": "tomorrow"}, "/due_at"),
    "a number as text": ({"due_at": "4102444800"}, "/due_at"),
    "unknown zone": ({"time_zone": "Mars/Olympus"}, "/time_zone"),
    "a zone in other case": ({"time_zone": "europe/paris"}, "/time_zone"),
    "a zone's file": ({"time_zone": "../../../etc/passwd"}, "/time_zone"),
    "a zone's folder": ({"time_zone": "Europe"}, "/time_zone"),
    "a zone with a NUL": ({"time_zone": "UTC\x00"}, "/time_zone"),
    "a gap": (NO_TIME | {"when": "2030-03-31T02:30", "time_zone": "Europe/Paris"}, "/when"),
    "a gap of half an hour": (NO_TIME | {"when": "2030-10-06T02:15", "time_zone": "Australia/Lord_Howe"}, "/when"),
    "a gap, with a fold": (NO_TIME | {"when": "2030-03-31T02:30", "time_zone": "Europe/Paris", "fold": 1}, "/when"),
    "an overlap": (NO_TIME | {"when": "2030-10-27T02:30", "time_zone": "Europe/Paris"}, "/when"),
    "two addresses": ({"to": "ada@example.org, bob@example.org"}, "/to"),
    "two addresses, one at sign": ({"to": "ada,bob@example.org"}, "/to"),
    "two addresses, other mark": ({"to": "ada@example.org;bob@example.org"}, "/to"),
    "a list": ({"to": ["ada@example.org"]}, "/to"),
    "a group": ({"to": "friends: ada@example.org;"}, "/to"),
    "a name and an address": ({"to": "Ada <ada@example.org>"}, "/to"),
    "a quoted local part": ({"to": '"ada>, <bob"@example.org'}, "/to"),
    "a quoted blank": ({"to": '"ada l"@example.org'}, "/to"),
    "a comment": ({"to": "ada(x)@example.org"}, "/to"),
    "an address literal": ({"to": "ada@[127.0.0.1]"}, "/to"),
    "a route": ({"to": "@a.example:ada@example.org"}, "/to"),
    "no domain": ({"to": "ada"}, "/to"),
    "no dot": ({"to": "ada@localhost"}, "/to"),
    "two dots": ({"to": "ada@example..org"}, "/to"),
    "a line end in the address": ({"to": "ada@example.org\r\nBcc: eve@example.org"}, "/to"),
    "a line end inside the address": ({"to": "ada\n@example.org"}, "/to"),
    "a NUL in the address": ({"to": "ada\x00@example.org"}, "/to"),
    "a line separator in the address": ({"to": "ada\u2028@example.org"}, "/to"),
    "an encoded word": ({"to": "=?utf-8?q?ada=0D=0ABcc:=20eve?=@example.org"}, "/to"),
    "a non-ASCII local part": ({"to": "ådà@example.org"}, "/to"),
    "a domain that is no IDN": ({"to": "ada@ex\u200bample.org"}, "/to"),
    "an emoji domain": ({"to": "ada@☃️☃️.org"}, "/to"),
    "a NUL in the message": ({"message": "a\x00b"}, "/message"),
    "an escape in the message": ({"message": "a\x1b[31mb"}, "/message"),
    "a C1 in the message": ({"message": "a\x85b"}, "/message"),
    "a line separator in the message": ({"message": "a\u2028b"}, "/message"),
    "a line end in the subject": ({"subject": "a\r\nBcc: eve@example.org"}, "/subject"),
    "a tab in the subject": ({"subject": "a\tb"}, "/subject"),
    "an override in the subject": ({"subject": "a\u202eb"}, "/subject"),
    "a number for text": ({"message": 5}, "/message"),
    "a thing for text": ({"message": {"a": 1}}, "/message"),
    "a truth for text": ({"to": True}, "/to"),
    "a number for a time": ({"due_at": 4102444800}, "/due_at"),
    "a null message": ({"message": json.loads("null")}, "/message"),
    "fold of three": ({"fold": 2}, "/fold"),
    "fold below": ({"fold": -1}, "/fold"),
    "fold of text": ({"fold": "first"}, "/fold"),
    "fold beyond numbers": ({"fold": 10**300}, "/fold"),
    "half a fold": ({"fold": 0.5}, "/fold"),
    "a fold in quotes": ({"fold": "1"}, "/fold"),
    "a fold that is a truth": ({"fold": False}, "/fold"),
    "a count that is a truth": ({"repeat": "daily", "count": True}, "/count"),
    "a truth that is a number": ({"repeat": "daily", "from_completion": 1}, "/from_completion"),
    "an unknown field": ({"priority": 1}, "/priority"),
    "the server's own: status": ({"status": "sent"}, "/status"),
    "the server's own: owner": ({"owner": "eve"}, "/owner"),
    "the server's own: attempt": ({"attempt": 5}, "/attempt"),
    "the server's own: id": ({"id": str(NOBODYS)}, "/id"),
    "an odd name": ({"a/b~c": 1}, "/a~1b~0c"),
    "an over-long name": ({"n" * 5000: 1}, f"/{'n' * 60}"),
}


async def test_json_that_is_no_reminder_is_a_422_that_says_where(site: Site) -> None:
    said = {}
    for case, (changes, _) in BAD_JSON.items():
        answer = await site.client.post("/api/reminders", json=a_reminder(**changes))
        said[case] = pointers(problem(answer, 422))

    assert said == {case: {about} for case, (_, about) in BAD_JSON.items()}
    assert await site.stored() == []


async def test_a_preview_of_what_is_no_reminder_says_the_same(site: Site) -> None:
    # What is not written yet, a preview bears with.
    written = {case: each for case, each in BAD_JSON.items() if "address" not in case and "message" not in case}
    said = {}
    for case, (changes, _) in written.items():
        answer = await site.client.post("/api/reminders/preview", json=a_reminder(**changes))
        said[case] = pointers(problem(answer, 422))

    assert said == {case: {about} for case, (_, about) in written.items()}


async def test_all_that_is_wrong_is_said_at_once(site: Site) -> None:
    wrong = {"to": "x", "message": "", "due_at": soon(days=-1), "subject": "a\nb"}

    said = problem(await site.client.post("/api/reminders", json=wrong), 422)

    assert pointers(said) == {"/to", "/message", "/due_at", "/subject"}
    assert all(
        part in said["detail"] for part in ("to is not an address", "message is missing", "due_at is in the past")
    )


async def test_thousands_of_unknown_fields_get_no_thousands_of_errors_back(site: Site) -> None:
    answer = await site.client.post("/api/reminders", json={f"{n}": n for n in range(5000)})

    assert len(problem(answer, 422)["errors"]) <= 20
    assert len(answer.content) < 5000


async def test_an_edit_refuses_null(site: Site) -> None:
    for name in ("to", "message", "subject", "due_at", "when", "time_zone", "fold", "repeat"):
        said = problem(await site.client.patch(f"/api/reminders/{NOBODYS}", json={name: None}), 422)
        assert pointers(said) == {f"/{name}"}
        assert "must not be null" in said["detail"]


async def test_an_edit_takes_a_deadline_away_by_null_as_a_merge_patch_does(site: Site) -> None:
    made = await site.post(deadline_at="in 2 hours")
    assert made["deadline_at"] is not None

    answer = await site.client.patch(f"/api/reminders/{made['id']}", json={"deadline_at": None})

    assert (answer.status_code, answer.json()["deadline_at"]) == (200, None)


async def test_a_change_of_another_kind_is_told_which_kinds_there_are(site: Site) -> None:
    made = await site.post()
    path = f"/api/reminders/{made['id']}"

    said = await site.client.patch(path, content=b"{}", headers={"Content-Type": "application/json-patch+json"})
    asked = await site.client.request("OPTIONS", path)

    detail = problem(said, 415)["detail"]
    assert all(kind in detail for kind in ("application/merge-patch+json", "application/json"))
    problem(asked, 405)
    for answer in (said, asked):
        assert answer.headers["Accept-Patch"] == "application/merge-patch+json, application/json"


async def test_an_edit_that_is_refused_changes_nothing(site: Site) -> None:
    made = await site.post()
    for changes in (
        {"to": "x"}, {"message": ""}, {"due_at": soon(days=-1)}, {"due_at": "2099-01-01T09:00", "time_zone": "x"},
        {"status": "sent"}, {"message": "right", "to": "wrong"}, {"due_at": soon(days=1), "when": "2099-01-01T09:00"},
    ):  # fmt: skip
        problem(await site.client.patch(f"/api/reminders/{made['id']}", json=changes), 422)

    assert await site.stored() == [made]


RIGHT = json.dumps(a_reminder()).encode()
NO_JSON: dict[str, bytes] = {
    "words": b"hello",
    "half of it": RIGHT[:-1],
    "trailing garbage": RIGHT + b"x",
    "two of them": RIGHT + RIGHT,
    "a comment": b"/* */" + RIGHT,
    "single quotes": b"{'to': 'ada@example.org'}",
    "not a number": b'{"fold": NaN}',
    "infinity": b'{"fold": -Infinity}',
    "a number beyond digits": b'{"fold": ' + b"9" * 5000 + b"}",
    "a raw NUL": b'{"message": "a\x00b"}',
    "a raw line end": b'{"message": "a\nb"}',
    "a lone surrogate": b'{"message": "\\ud800"}',
    "a lone low surrogate": b'{"message": "\\udc00 x"}',
    "surrogates the wrong way round": b'{"message": "\\udc00\\ud800"}',
    "a surrogate in UTF-8": b'{"message": "\xed\xa0\x80"}',
    "Latin-1": '{"message": "é"}'.encode("latin-1"),
    "UTF-16": RIGHT.decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + RIGHT,
    "deep lists": b"[" * 20_000 + b"]" * 20_000,
    "deep objects": b'{"a":' * 9_000 + b"1" + b"}" * 9_000,
    "deep and never closed": b"[" * 60_000,
    "a name twice": RIGHT[:-1] + b', "to": "eve@example.org"}',
    "a form": urlencode(a_form()).encode(),
}


WITH_A_BODY = (
    ("POST", "/api/reminders"),
    ("POST", "/api/reminders/preview"),
    ("POST", "/api/reminders/batch"),
    ("PATCH", f"/api/reminders/{NOBODYS}"),
    ("POST", f"/api/reminders/{NOBODYS}/snooze"),
    ("POST", f"/api/reminders/{NOBODYS}/copy"),
)


async def test_a_body_that_is_no_json_is_a_400(site: Site) -> None:
    answers = {}
    for case, body in NO_JSON.items():
        for method, path in WITH_A_BODY:
            answer = await site.client.request(method, path, content=body, headers=JSON)
            problem(answer, answer.status_code)
            answers[case, method, path] = answer.status_code

    assert set(answers.values()) == {400}
    assert len(answers) == len(NO_JSON) * len(WITH_A_BODY)
    assert await site.stored() == []


async def test_json_that_is_no_object_is_a_422_about_the_whole(site: Site) -> None:
    for body in (b"", b"null", b"[]", b'"text"', b"5", b"true", b"[{}]"):
        answer = await site.client.post("/api/reminders", content=body, headers=JSON)
        assert pointers(problem(answer, 422)) == {""}, body


async def test_a_body_that_is_not_said_to_be_json_is_not_read(site: Site) -> None:
    for kind in (
        None, "", "text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "application/xml", "json",
        "multipart/form-data; boundary=x", "application/jsonp", "application/json, text/plain", "text/json", "*/*", "\xff",
    ):  # fmt: skip
        headers = {} if kind is None else {b"Content-Type": kind.encode("latin-1")}
        for method, path in WITH_A_BODY:
            request = httpx.Request(method, f"http://localhost:8000{path}", content=RIGHT, headers=headers)
            problem(await site.client.send(request), 415)

    assert await site.stored() == []


async def test_a_body_that_is_said_to_be_json_is_read(site: Site) -> None:
    for kind in ("application/json", "APPLICATION/JSON ; charset=utf-8", "application/merge-patch+json"):
        answer = await site.client.post("/api/reminders/preview", content=RIGHT, headers={"Content-Type": kind})
        assert answer.status_code == 200, kind


async def test_a_key_that_is_none_is_a_422(site: Site) -> None:
    for key in ("", " ", "a b", "é", "x" * 256, "\t", "a\x7f"):
        headers = {b"Idempotency-Key": key.encode("latin-1")}
        said = problem(await site.client.post("/api/reminders", json=a_reminder(), headers=headers), 422)
        assert pointers(said) == {"idempotency-key"}, key

    assert await site.stored() == []


async def test_a_parameter_that_is_none_is_a_422(site: Site) -> None:
    for query in (
        "limit=0", "limit=101", "limit=x", "limit=", "limit=1e2", "limit=" + "9" * 5000, "status=gone", "status=",
        "cursor=x", "cursor=", "cursor=%00", "cursor=' OR 1=1",
    ):  # fmt: skip
        said = problem(await site.client.get(f"/api/reminders?{query}"), 422)
        assert pointers(said) == {query.partition("=")[0]}, query


async def test_what_is_given_twice_is_refused(site: Site) -> None:
    problem(await site.client.get("/api/reminders?limit=1&limit=2"), 400)
    keys = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    problem(await site.client.post("/api/reminders", json=a_reminder(), headers=keys), 400)
    doubled = urlencode([*a_form().items(), ("to", "eve@example.org")])
    problem(await site.client.post("/", content=doubled, headers=FORM | {"Accept": "*/*"}), 400)

    assert await site.stored() == []


# Addresses and methods


METHODS = {
    "/": "GET, HEAD, POST",
    "/preview": "POST",
    "/docs": "GET, HEAD",
    "/openapi.json": "GET, HEAD",
    "/healthz": "GET, HEAD",
    "/livez": "GET, HEAD",
    "/metrics": "GET, HEAD",
    "/inbox": "GET, HEAD",
    "/inbox/empty": "GET, HEAD, POST",
    "/inbox/api/messages": "GET, HEAD, DELETE",
    "/api/reminders": "GET, HEAD, POST",
    "/api/reminders/preview": "POST",
    "/api/reminders/batch": "POST",
    f"/api/reminders/{NOBODYS}": "GET, HEAD, PATCH, DELETE",
    f"/api/reminders/{NOBODYS}/series": "GET, HEAD",
    f"/api/reminders/{NOBODYS}/snooze": "POST",
    f"/api/reminders/{NOBODYS}/done": "POST",
    f"/api/reminders/{NOBODYS}/now": "POST",
    f"/api/reminders/{NOBODYS}/copy": "POST",
    f"/reminders/{NOBODYS}": "GET, HEAD",
    f"/reminders/{NOBODYS}/cancel": "POST",
    f"/reminders/{NOBODYS}/edit": "GET, HEAD, POST",
    "/static/x/rmindr.css": "GET, HEAD",
}


async def test_another_method_is_a_405_that_names_those_there_are(dev: Site) -> None:
    for path, allowed in METHODS.items():
        every = {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"}
        for method in every - set(allowed.split(", ")):
            answer = await dev.client.request(method, path)
            problem(answer, 405)
            assert answer.headers["Allow"] == allowed, (method, path)


NOT_THERE = [
    "/nothing", "/api", "/api/", "/api/nothing", "/api/reminders/", "/docs/", "/redoc", "/reminders/", "/reminders/x",
    f"/reminders/{NOBODYS}", f"/reminders/{NOBODYS}/edit", "/reminders/x/edit", "/static", "/static/", "/static/x/nothing.css",
    "/static/x/..%2f..%2fapp.py", "/static/x/%00", "/static/x/" + "a" * 300, "/openapi.json/", "/inbox/nothing",
    "/inbox/nothing/html", "/inbox/nothing/raw", "/inbox/..%2f..%2fetc%2fpasswd", "/inbox/api/messages/nothing",
    "/favicon.ico", "/.env", "/%ff", "//evil.example", "/%5cevil.example",
]  # fmt: skip


async def test_what_is_not_there_is_a_404_in_the_asker_s_own_form(dev: Site) -> None:
    for path in NOT_THERE:
        problem(await dev.client.get(f"http://localhost:8000{path}"), 404)
        answer = await dev.client.get(f"http://localhost:8000{path}", headers=BROWSER)
        if "/api" in path:
            problem(answer, 404)
        else:
            assert (answer.status_code, Page(answer).title) == (404, "Not found · rmindr"), path


async def test_fastapi_s_own_words_never_leak(dev: Site) -> None:
    for path, status in (("/inbox/nothing?part=x", 422), ("/inbox/api/messages?wait=x", 422), ("/openapi.json/x", 404)):
        problem(await dev.client.get(path), status)


# Forms


GONE = {"date": "2001-01-01"}
MARKUP = "'\"><b onclick=x>&amp;"
BAD_FORMS: dict[str, tuple[dict[str, str], list[str]]] = {
    "no message": ({"message": ""}, ["message"]),
    "no date": ({"date": ""}, ["when"]),
    "no time": ({"time": ""}, ["when"]),
    "no address": ({"to": ""}, ["to"]),
    "everything missing": ({"message": "", "date": "", "to": ""}, ["message", "when", "to"]),
    "past": ({"date": "2001-01-01"}, ["when"]),
    "no such day": ({"date": "2099-02-30"}, ["when"]),
    "no date at all": ({"date": "soon", "time": "later"}, ["when"]),
    "unknown zone": ({"time_zone": "Mars/Olympus"}, ["time_zone"]),
    "a gap": ({"date": "2030-03-31", "time": "02:30:00"}, ["when"]),
    "an overlap": ({"date": "2030-10-27", "time": "02:30"}, ["when"]),
    "message over-long": ({"message": "x" * 4001}, ["message"]),
    "subject over-long": ({"subject": "x" * 151}, ["subject"]),
    "two addresses": ({"to": "a@example.org, b@example.org"}, ["to"]),
    "a line end in the subject": ({"subject": "a\nb"}, ["subject"]),
    "an escape in the message": ({"message": "a\x1bb"}, ["message"]),
    "lines": ({"message": "\n\nfirst\n\n  second  \n", "to": "x"}, ["to"]),
    "markup": ({"message": "</textarea><script>alert(1)</script>", "to": '"><script>alert(1)</script>'}, ["to"]),
    "markup everywhere": (
        dict.fromkeys(("date", "time", "time_zone", "to", "subject"), MARKUP),
        ["when", "time_zone", "to"],
    ),
}


@pytest.mark.parametrize("path", ["/", "/preview", "edit"])
async def test_a_form_comes_back_with_everything_typed_and_says_what_is_wrong_twice(site: Site, path: str) -> None:
    if path == "edit":
        path = f"/reminders/{(await site.post())['id']}/edit"
    before = await site.stored()

    for changes, places in BAD_FORMS.values():
        typed = a_form(**changes)
        if path == "/preview":
            # What is not written yet, a preview bears with.
            places = [place for place in places if typed.get(place, "x")]
        page = Page(await site.submit(path, **typed))

        assert {name: page.values[name] for name in typed} == typed
        assert page.status == (422 if places else 200)
        assert page.title.startswith("Error: ") == bool(places)
        complaints(page, places)
        assert "<script>alert" not in page.html
        assert "<b onclick" not in page.html

    assert await site.stored() == before


def complaints(page: Page, places: list[str]) -> None:
    """Above, a summary whose links lead to the fields, in the form's order; beside each field, the same words."""
    links = [(href, text) for href, text in page.links if href.startswith("#") and href != "#main"]
    assert len(links) == len(places)
    assert ("summary" in page.attributes) == bool(places)
    for place, (href, text) in zip(places, links, strict=True):
        assert page.attributes["summary"]["role"] == "alert"
        field = page.attributes[href[1:]]
        assert " ".join(page.texts[f"{place}-wrong"].split()) == f"{text}."
        if not href.startswith("#fold"):
            assert field["aria-invalid"] == "true"
            assert f"{place}-wrong" in field["aria-describedby"].split()


async def test_a_form_in_other_bytes_than_text_comes_back(site: Site) -> None:
    body = urlencode(a_form() | {"message": b"caf\xe9", "time": b"\xff"}).encode()

    page = Page(await site.client.post("/", content=body, headers=FORM))

    assert page.status == 422
    assert "has bytes that are not text" in page.texts["message-wrong"]
    assert "has bytes that are not text" in page.texts["when-wrong"]
    assert (page.values["message"], page.values["to"]) == ("caf\ufffd", "ada@example.org")
    assert await site.stored() == []


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "text/plain", "application/json", ""])
async def test_a_form_of_another_kind_is_refused(site: Site, kind: str) -> None:
    answer = await site.client.post("/", content=urlencode(a_form()), headers=BROWSER | {"Content-Type": kind})

    assert (answer.status_code, Page(answer).title) == (415, "Wrong content type · rmindr")
    assert await site.stored() == []


async def test_a_form_of_too_many_fields_is_refused(site: Site) -> None:
    many = urlencode(a_form() | {f"f{n}": "x" for n in range(100)})

    assert (await site.client.post("/", content=many, headers=FORM)).status_code == 400
    assert await site.stored() == []


# Bodies that are too large, at a real server


@pytest.fixture
async def web(database_url: str, valkey: Valkey, prefix: str) -> AsyncIterator[Server]:
    """The Procfile's web tier in a process of its own."""
    port = free_port()
    env = {
        "PORT": str(port), "DATABASE_URL": database_url, "REDIS_URL": valkey.url, "RMINDR_QUEUE_PREFIX": prefix,
        "RMINDR_ACCESS": "open",
    }  # fmt: skip
    async with Process("web", env=env) as process, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        await answering(client, process)
        yield Server(process, client, port)


class Server:
    """A web process, spoken to over raw sockets."""

    def __init__(self, process: Process, client: httpx.AsyncClient, port: int) -> None:
        self.process = process
        self.client = client
        self.port = port

    def memory_kib(self) -> int:
        return int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(self.process.pid)]))

    @asynccontextmanager
    async def conversation(self, head: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"{head}\r\nHost: 127.0.0.1\r\n\r\n".encode())
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def pour(self, head: str, chunks: Iterator[bytes]) -> tuple[bytes, int]:
        """Send until the server has had enough; its answer, and how much it let us send."""
        sent = 0
        async with self.conversation(head) as (reader, writer), asyncio.timeout(30):
            answer = asyncio.create_task(reader.read(20_000))
            try:
                for chunk in chunks:
                    writer.write(chunk)
                    await writer.drain()
                    # A socket that takes everything at once would never let the answer be read.
                    await asyncio.sleep(0)
                    sent += len(chunk)
                    if answer.done():
                        break
            except ConnectionError:
                pass
            return await answer, sent


def gigabyte(chunk: bytes) -> Iterator[bytes]:
    for _ in range(1024**3 // 65536):
        yield chunk


CHUNK = b"10000\r\n" + b"x" * 65536 + b"\r\n"


@pytest.mark.parametrize(
    ("head", "chunk"),
    [
        ("POST /api/reminders HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked", CHUNK),
        ("POST / HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked", CHUNK),
        ("POST /api/reminders HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 1073741824", b"x" * 65536),
        ("GET / HTTP/1.1\r\nContent-Length: 1073741824", b"x" * 65536),
    ],
    ids=["chunked JSON", "a chunked form", "declared", "declared by a GET"],
)
async def test_a_gigabyte_is_refused_before_its_end_and_never_held(web: Server, head: str, chunk: bytes) -> None:
    before = web.memory_kib()

    answer, sent = await web.pour(head, gigabyte(chunk))

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"content-type: application/problem+json" in answer
    assert sent < 16 * MIB
    assert web.memory_kib() - before < 16 * 1024
    assert (await web.client.get("/api/reminders")).json()["items"] == []


async def test_a_gigabyte_that_nobody_asked_for_is_never_held(web: Server) -> None:
    before = web.memory_kib()

    answer, _ = await web.pour("GET /livez HTTP/1.1\r\nTransfer-Encoding: chunked", gigabyte(CHUNK))

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert web.memory_kib() - before < 16 * 1024


@pytest.mark.parametrize("size", [64 * 1024, 64 * 1024 + 1])
async def test_the_limit_is_where_it_is_said_to_be(site: Site, size: int) -> None:
    body = json.dumps({"message": "x" * (size - len('{"message": ""}'))})
    assert len(body) == size

    answer = await site.client.post("/api/reminders", content=body, headers=JSON)

    problem(answer, 422 if size == 64 * 1024 else 413)


async def test_a_length_that_is_a_lie_does_not_help(site: Site) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1024

    problem(await site.client.post("/api/reminders", content=body(), headers=JSON | {"Content-Length": "5"}), 413)
    problem(await site.client.post("/api/reminders", content=b"", headers=JSON | {"Content-Length": "9" * 5000}), 413)


async def test_requests_that_are_no_http_end_with_400_and_the_server_lives(web: Server) -> None:
    for head in ("NONSENSE", "GET / HTTP/9.9", "POST / HTTP/1.1\r\nContent-Length: -1", "GET /\x00 HTTP/1.1"):
        async with web.conversation(head) as (reader, _), asyncio.timeout(5):
            assert re.match(rb"HTTP/1.1 (4\d\d|505) ", await reader.read(1000)), head

    assert (await web.client.get("/livez")).status_code == 200


async def test_a_body_that_does_not_come_is_not_waited_for_for_ever(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    monkeypatch.setitem(BodyLimit.__init__.__kwdefaults__ or {}, "patience", 0.1)
    async with serve() as site:
        for path, headers in (("/api/reminders", JSON), ("/", FORM | {"Accept": "*/*"})):
            problem(await site.client.post(path, content=body(), headers=headers), 408)


async def test_a_client_that_goes_away_in_the_middle_is_no_error_of_ours(web: Server) -> None:
    async with web.conversation(
        "POST /api/reminders HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 500"
    ) as (
        _,
        writer,
    ):
        writer.write(b"{")
        await writer.drain()
        await asyncio.sleep(0.2)

    async with web.conversation(
        "POST / HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 500"
    ) as (_, writer):
        writer.write(b"to=")
        await writer.drain()
        await asyncio.sleep(0.2)

    await web.client.get("/healthz")
    await asyncio.sleep(0.2)
    assert not [line for line in web.process.lines if "unforeseen" in line or "Traceback" in line]
