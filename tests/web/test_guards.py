"""What stands before every route: hosts, HTTPS, headers, HEAD, request ids, and one log line per request."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import httpx
import pytest
from structlog.testing import capture_logs

from rmindr.mail.inbox import Inbox
from tests.web.conftest import Serve
from tests.web.site import BROWSER, CONFIRMED, Page, Site, a_form, a_reminder, problem

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
PUBLIC = CONFIRMED | {"public_url": "https://remind.example.org", "trusted_proxies": 1}
HERE = {"Host": "remind.example.org"}


async def boom() -> None:
    """A route with a defect, and a secret in its words."""
    raise RuntimeError("postgres://user:secret@host")


# Headers that tell a browser what a page of ours can never do


async def static_files(site: Site) -> list[str]:
    """What the form needs: its style, its script and its icons."""
    found = re.findall(r'(?:href|src)="(/static/[^"#]+)', (await site.client.get("/")).text)
    assert {path.rpartition("/")[2] for path in found} == {"rmindr.css", "rmindr.js", "favicon.svg", "icons.svg"}
    return sorted(set(found))


async def every_kind_of_answer(site: Site) -> list[httpx.Response]:
    """Pages and JSON, errors of every kind, redirects, static files, bodies that are refused."""
    client, made = site.client, await site.post()
    site.app.add_api_route("/boom", boom)
    static = await static_files(site)
    answers = [await client.get(path, headers=BROWSER) for path in (
        "/", f"/reminders/{made['id']}", f"/reminders/{made['id']}/edit", "/docs", "/openapi.json", "/healthz", "/metrics",
        "/api/reminders", "/inbox", "/inbox/api/messages", "/nothing", "/api/nothing", "/boom", "/reminders/x", *static,
        "/static/x/nothing.css",
    )]  # fmt: skip
    return [
        *answers,
        await client.head("/"),
        await client.request("TRACE", "/"),
        await client.options("/api/reminders"),
        await client.post("/api/reminders", json={}),
        await client.post("/api/reminders", content=b"x" * 70_000),
        await client.get("/", headers={"Host": "evil.example"}),
        await site.submit(**a_form()),
        await site.submit(**a_form(to="")),
        await site.submit("/", headers={"Sec-Fetch-Site": "cross-site"}, **a_form()),
    ]


async def test_every_answer_says_what_a_browser_may_do_with_it(dev: Site) -> None:
    answers = await every_kind_of_answer(dev)

    assert {answer.status_code for answer in answers} >= {200, 303, 400, 403, 404, 405, 413, 422, 500}
    for answer in answers:
        headers, about = answer.headers, f"{answer.request.method} {answer.request.url} {answer.status_code}"
        policy = directives(headers["Content-Security-Policy"])
        assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'", about
        assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'", about
        assert policy["img-src"] == "'self' data:", about
        assert "unsafe" not in headers["Content-Security-Policy"], about
        assert headers["X-Content-Type-Options"] == "nosniff", about
        assert headers["Referrer-Policy"] == "same-origin", about
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin", about
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin", about
        assert headers["X-Robots-Tag"] == "noindex, nofollow", about
        assert re.fullmatch(r"[0-9a-f]{32}", headers["X-Request-Id"]), about
        assert "Server" not in headers, about
        assert "Set-Cookie" not in headers, about


def directives(policy: str) -> dict[str, str]:
    return dict(part.strip().split(" ", 1) for part in policy.split(";"))


async def test_nothing_is_kept_by_a_cache_but_what_never_changes(dev: Site) -> None:
    for answer in await every_kind_of_answer(dev):
        path, ok = answer.request.url.path, answer.status_code == 200
        if path.startswith("/static/") and ok:
            expected = "public, max-age=31536000, immutable"
        else:
            # Of the empty form nothing is secret, and whoever goes back to it finds what was typed.
            expected = "private, no-cache" if path == "/" and ok and answer.request.method != "POST" else "no-store"
        assert answer.headers["Cache-Control"] == expected, f"{answer.request.method} {path} {answer.status_code}"


async def test_pages_have_no_script_and_no_style_of_their_own(dev: Site) -> None:
    made = await dev.post()
    for path in ("/", f"/reminders/{made['id']}", f"/reminders/{made['id']}/edit", "/docs", "/inbox", "/nothing"):
        page = await dev.see(path)

        for tag, attributes in page.tags:
            assert tag != "style"
            assert tag != "script" or attributes["src"].startswith("/static/")
            assert not [name for name in attributes if name.startswith("on") or name == "style"], (path, attributes)
            for name in ("src", "href", "action", "formaction"):
                assert re.match(r"[/#?]|$", attributes.get(name, "")), (path, tag, attributes)
                assert not attributes.get(name, "").startswith("//")


async def test_over_https_browsers_are_told_to_stay_there(serve: Serve) -> None:
    async with serve(**PUBLIC) as site:
        for path in ("/", "/nothing", "/healthz"):
            answer = await site.client.get(path, headers=HERE)
            assert answer.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
    async with serve() as site:
        assert "Strict-Transport-Security" not in (await site.client.get("/")).headers


# Hosts


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000"])
async def test_on_loopback_it_answers_to_loopback(dev: Site, host: str) -> None:
    assert (await dev.client.get("/", headers={"Host": host})).status_code == 200


FOREIGN = [
    "evil.example",
    "localhost.evil.example",
    "localhost@evil.example",
    "0.0.0.0:8000",
    "",
    "[::1",
    "127.0.0.1.nip.io",
]


@pytest.mark.parametrize("host", FOREIGN)
async def test_on_loopback_no_name_from_outside_is_answered(dev: Site, host: str) -> None:
    for path in ("/", "/api/reminders", "/inbox", "/healthz", "/nothing", "/static/x/rmindr.css"):
        assert problem(await dev.client.get(path, headers={"Host": host}), 400)["title"] == "Unknown host"
    answer = await dev.client.post("/api/reminders", json=a_reminder(), headers={"Host": host})
    assert problem(answer, 400)["title"] == "Unknown host"
    assert await dev.stored() == []


async def test_a_browser_under_a_foreign_name_sees_a_page(dev: Site) -> None:
    page = Page(await dev.client.get("/", headers=BROWSER | {"Host": "evil.example"}))

    assert (page.status, page.title) == (400, "Unknown host · rmindr")


@pytest.mark.parametrize(
    ("settings", "answered", "refused"),
    [
        ({"public_url": "https://remind.example.org"}, ["remind.example.org", "Remind.Example.ORG:443", "127.0.0.1"],
         ["evil.example", "example.org", "app-12.herokuapp.com", *FOREIGN]),
        ({"public_url": "https://remind.example.org", "HEROKU_APP_DEFAULT_DOMAIN_NAME": "app-12.herokuapp.com"},
         ["remind.example.org", "app-12.herokuapp.com"], ["app-13.herokuapp.com", "herokuapp.com"]),
        ({"HEROKU_APP_DEFAULT_DOMAIN_NAME": "app-12.herokuapp.com"}, ["app-12.herokuapp.com"], ["app-13.herokuapp.com"]),
    ],
)  # fmt: skip
async def test_beyond_loopback_it_answers_to_the_names_that_are_known_to_be_its_own(
    serve: Serve, settings: dict[str, Any], answered: list[str], refused: list[str]
) -> None:
    async with serve(**CONFIRMED | settings) as site:
        for host in answered:
            assert (await site.client.get("/", headers={"Host": host})).status_code == 200, host
        for host in refused:
            answer = await site.client.get("/", headers={"Host": host})
            assert problem(answer, 400)["title"] == "Unknown host", host


async def test_what_a_client_says_of_hosts_changes_nothing(serve: Serve) -> None:
    lies = {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example", "X-Host": "evil.example"}
    async with serve(**PUBLIC) as site:
        answers = [
            await site.client.get(path, headers=HERE | lies | BROWSER)
            for path in ("/", "/docs", "/openapi.json", "/nothing")
        ]
        answers.append(await site.submit(headers=HERE | lies | BROWSER, **a_form()))
        truth = await site.client.get("/", headers=lies | {"Host": "evil.example", "X-Forwarded-Host": HERE["Host"]})

    for answer in answers:
        assert "evil.example" not in answer.text + str(answer.headers)
    assert problem(truth, 400)


# HTTPS


@pytest.mark.parametrize(
    "path",
    ["/", "/reminders/x?a=1&b=%2F", "//evil.example/x", "/%5cevil.example", "/caf%c3%a9?q=%0d%0aSet-Cookie:x", "/?"],
)
async def test_plain_http_is_sent_to_our_own_https_address_whatever_it_asked_for(serve: Serve, path: str) -> None:
    async with serve(**PUBLIC) as site:
        answer = await site.client.get(
            f"http://remind.example.org{path}",
            headers={"X-Forwarded-Proto": "http", "X-Forwarded-Host": "evil.example"},
        )

        assert answer.status_code == 308
        assert answer.headers["Location"] == f"https://remind.example.org{path}".removesuffix("?")


async def test_a_form_sent_by_plain_http_keeps_its_method_and_stores_nothing_on_the_way(serve: Serve) -> None:
    async with serve(**PUBLIC) as site:
        plain = await site.submit(headers=BROWSER | HERE | {"X-Forwarded-Proto": "http"}, **a_form())
        secure = await site.submit(headers=BROWSER | HERE | {"X-Forwarded-Proto": "https"}, **a_form())

    assert (plain.status_code, plain.headers["Location"]) == (308, "https://remind.example.org/")
    assert secure.status_code == 303


async def test_without_a_router_nobody_is_sent_anywhere(serve: Serve) -> None:
    async with serve(**PUBLIC | {"trusted_proxies": 0}) as site:
        answer = await site.client.get("/", headers=HERE | {"X-Forwarded-Proto": "http"})

    assert answer.status_code == 200


# HEAD


async def test_head_is_get_without_its_body(dev: Site) -> None:
    made = await dev.post()
    for path in ("/", f"/reminders/{made['id']}", f"/api/reminders/{made['id']}", "/api/reminders", "/docs", "/healthz",
                 "/openapi.json", "/inbox", *await static_files(dev), "/nothing", f"/reminders/{uuid4()}"):  # fmt: skip
        get, head = await dev.client.get(path), await dev.client.head(path)

        assert head.status_code == get.status_code, path
        assert head.content == b""
        same = {"content-type", "content-length", "cache-control", "content-security-policy", "etag", "location"}
        told = [{name: value for name, value in each.headers.items() if name in same} for each in (get, head)]
        if path == "/":
            # Each form has a key of its own; its length is the same.
            assert int(head.headers["Content-Length"]) == len(get.content)
        assert told[0] == told[1], path


async def test_reading_changes_nothing(dev: Site, mails: Inbox) -> None:
    made = await dev.post()
    id = await mails.take("us@example.org", "ada@example.org", b"Subject: hello\r\n\r\nhi\r\n")
    paths = [f"/reminders/{made['id']}", f"/reminders/{made['id']}/edit", f"/reminders/{made['id']}/cancel", "/preview",
             f"/reminders/{made['id']}/preview", f"/api/reminders/{made['id']}", "/inbox/empty", f"/inbox/{id}/delete",
             f"/inbox/{id}", f"/inbox/{id}/html"]  # fmt: skip
    for _ in range(2):
        for path in paths:
            await dev.client.get(path)
            await dev.client.head(path)

    assert await dev.stored() == [made]
    assert mails.get(id) is not None


# Request ids and log lines


@pytest.mark.parametrize("given", ["01234567-89ab-cdef-0123-456789abcdef", "abcdefgh", "A" * 128])
async def test_the_routers_request_id_is_answered_and_logged(dev: Site, given: str) -> None:
    with capture_logs() as logs:
        answer = await dev.client.get("/nothing", headers={"X-Request-Id": given})

    assert answer.headers["X-Request-Id"] == given
    assert answer.json()["instance"] == f"request:{given}"
    assert [line["request_id"] for line in logs] == [given]


@pytest.mark.parametrize(
    "given", ["", "short", "a" * 129, "has blank", "abcdefgh\\n", "<script>alert(1)</script>", "é" * 9]
)
async def test_a_request_id_that_is_none_is_replaced(dev: Site, given: str) -> None:
    answer = await dev.client.get("/nothing", headers={"X-Request-Id": given.encode()})

    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-Id"])


async def test_a_log_line_has_the_route_and_never_who_or_what(dev: Site) -> None:
    with capture_logs() as logs:
        made = await dev.post(to="secret@example.org", message="a secret")
        await dev.see(f"/reminders/{made['id']}?secret=1")
        await dev.submit(f"/reminders/{made['id']}/cancel")
        await dev.submit(**a_form(to="secret@", message="a secret"))
        await dev.client.head("/secret")
        await dev.client.get("/inbox/api/messages?to=secret@example.org")

    lines = [(line["method"], line["route"], line["status"]) for line in logs if line["event"] == "request"]
    assert lines == [
        ("POST", "/api/reminders", 201),
        ("GET", "/reminders/{id}", 200),
        ("POST", "/reminders/{id}/cancel", 303),
        ("POST", "/", 422),
        ("HEAD", "-", 404),
        ("GET", "/inbox/api/messages", 200),
    ]
    assert "secret" not in str(logs)
    assert made["id"] not in str(logs)
    assert all(line["ms"] >= 0 for line in logs)


async def test_a_log_line_tells_the_client_only_of_requests_that_change_something(serve: Serve) -> None:
    spoofed = HERE | {"X-Forwarded-For": "1.2.3.4, 198.51.100.7"}
    async with serve(**PUBLIC) as site:
        with capture_logs() as logs:
            await site.client.get("/", headers=spoofed)
            await site.client.post("/api/reminders", json=a_reminder(), headers=spoofed)

    assert [line.get("client") for line in logs] == [None, "198.51.100.7"]


# What nobody foresaw


@pytest.mark.parametrize("headers", [{}, BROWSER])
async def test_an_error_that_nobody_foresaw_tells_its_id_and_nothing_else(site: Site, headers: dict[str, str]) -> None:
    site.app.add_api_route("/boom", boom)
    with capture_logs() as logs:
        answer = await site.client.get("/boom", headers=headers)

    unforeseen, request = logs
    assert answer.status_code == 500
    assert answer.headers["X-Request-Id"] in answer.text
    for word in ("secret", "postgres", "RuntimeError", "Traceback", ".py"):
        assert word not in answer.text
    assert isinstance(unforeseen["exc_info"], RuntimeError)
    assert unforeseen["request_id"] == request["request_id"] == answer.headers["X-Request-Id"]
    assert request["status"] == 500
