"""The JSON API: what each route answers, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from rmindr.alarms import unique_key
from rmindr.database import Database
from rmindr.ledger import Claim, Ledger
from rmindr.queue import Job, Queue
from tests.web.conftest import Serve
from tests.web.site import CONFIRMED, Site, a_form, a_reminder, pointers, problem, soon

# What does not depend on the database need not run on two.
ON_ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
NO_IDS = [
    "x",
    "0",
    "-1",
    "00000000-0000-0000-0000-00000000000",
    "%00",
    "a" * 300,
    "'; DROP TABLE reminders; --",
]


# Create


async def test_a_reminder_is_created_and_lives_at_its_location(site: Site) -> None:
    due_at = soon(days=2)

    answer = await site.client.post("/api/reminders", json=a_reminder(due_at=due_at, time_zone="Europe/Paris"))

    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/api/reminders/{made['id']}"
    assert UUID(made["id"]).version == 7
    expected = {
        "to": "ada@example.org", "subject": "Reminder: Call mum", "message": "Call mum", "time_zone": "Europe/Paris",
        "status": "scheduled", "reason": None, "revision": 1, "attempts": 0, "sent_at": None, "lateness_ms": None,
        "may_have_arrived_twice": False,
    }  # fmt: skip
    assert expected.items() <= made.items()
    assert at(made["due_at"]) == at(made["next_attempt_at"]) == at(due_at)
    assert [event["event"] for event in made["timeline"]] == ["created"]
    assert (await site.client.get(answer.headers["Location"])).json() == made


@ON_ONE
@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("2100-01-01T09:00:00.123Z", "2100-01-01T09:00:00.123000Z"),
        ("2100-01-01T09:00:00.1234Z", "2100-01-01T09:00:00.124000Z"),
        ("2100-01-01T09:00:00.999999999+05:30", "2100-01-01T03:30:01Z"),
        ("2100-01-01t09:00z", "2100-01-01T09:00:00Z"),
        ("2100-01-01 09:00:00-00:00", "2100-01-01T09:00:00Z"),
    ],
)
async def test_an_instant_is_kept_to_the_millisecond_and_never_early(site: Site, written: str, kept: str) -> None:
    made = await site.post(due_at=written)

    assert (await site.client.get(f"/api/reminders/{made['id']}")).json()["due_at"] == kept


@ON_ONE
@pytest.mark.parametrize(
    ("asked", "due_at"),
    [
        ({"when": "2099-07-01T09:00", "time_zone": "Europe/Paris"}, "2099-07-01T07:00:00Z"),
        ({"when": "2099-07-01T09:00"}, "2099-07-01T09:00:00Z"),
        ({"when": "2099-07-01 09:00:00.250", "time_zone": "Asia/Kolkata"}, "2099-07-01T03:30:00.250000Z"),
        ({"when": "2099-07-01T09:00", "time_zone": "US/Pacific"}, "2099-07-01T16:00:00Z"),
        ({"when": "2030-10-27T02:30", "time_zone": "Europe/Paris", "fold": 0}, "2030-10-27T00:30:00Z"),
        ({"when": "2030-10-27T02:30", "time_zone": "Europe/Paris", "fold": 1}, "2030-10-27T01:30:00Z"),
        ({"due_at": "2099-07-01T09:00", "time_zone": "Europe/Paris"}, "2099-07-01T07:00:00Z"),
        ({"due_at": "2099-07-01T09:00Z", "time_zone": "Europe/Paris"}, "2099-07-01T09:00:00Z"),
        ({"due_at": "2030-07-01T09:00+09:00[Asia/Tokyo]", "time_zone": "Asia/Tokyo"}, "2030-07-01T00:00:00Z"),
        ({"when": "2030-07-01 09:00+09:00[!Asia/Tokyo]", "time_zone": "Asia/Tokyo"}, "2030-07-01T00:00:00Z"),
    ],
)
async def test_a_time_on_a_clock_becomes_the_instant_it_names(site: Site, asked: dict[str, Any], due_at: str) -> None:
    made = await site.post(**{"due_at": None} | asked)

    assert made["due_at"] == due_at
    assert made["time_zone"] == asked.get("time_zone", "UTC")


@ON_ONE
async def test_a_zone_behind_the_time_goes_before_the_one_beside_it(site: Site) -> None:
    for name in ("due_at", "when"):
        asked = {"due_at": None, "time_zone": "Europe/Paris", name: "2030-07-01T09:00:00-04:00[America/New_York]"}
        made = await site.post(**asked)
        assert (made["due_at"], made["time_zone"]) == ("2030-07-01T13:00:00Z", "America/New_York")

    critical = a_reminder(due_at="2030-07-01T09:00:00-05:00[!America/New_York]")
    asked = {"due_at": "2030-07-01T09:00:00-05:00[America/New_York]"}
    preview = (await site.client.post("/api/reminders/preview", json=asked)).json()

    assert pointers(problem(await site.client.post("/api/reminders", json=critical), 422)) == {"/due_at"}
    assert (preview["due_at"], preview["time_zone"]) == ("2030-07-01T14:00:00Z", "America/New_York")
    assert preview["warnings"] == ["The offset decides: the clocks of New York show 10:00 then (UTC−4)."]


@ON_ONE
async def test_a_form_takes_such_a_time_where_words_are_typed(site: Site) -> None:
    typed = a_form(when="2030-07-01T09:00:00-04:00[America/New_York]", date="", time="")

    answer = await site.submit(**typed)

    made = (await site.stored())[0]
    assert answer.headers["Location"] == f"/reminders/{made['id']}"
    assert (made["due_at"], made["time_zone"]) == ("2030-07-01T13:00:00Z", "America/New_York")


@ON_ONE
async def test_what_is_due_soon_gets_its_alarm_at_once_and_tells_redis_no_address(site: Site) -> None:
    made = await site.post(due_at=soon(hours=2), to="secret@example.org", message="a secret")
    later = await site.post(due_at=soon(days=2))

    job = await alarm_of(site, made)
    assert job is not None
    assert job.data == {"title": f"Reminder {made['id']}", "id": made["id"], "rev": 1}
    assert job.promote_at == at(made["due_at"])
    assert await alarm_of(site, later) is None


@ON_ONE
async def test_addresses_are_kept_with_their_domain_in_ascii(site: Site) -> None:
    assert (await site.post(to=" Ada.Low@EXAMPLE.org "))["to"] == "Ada.Low@example.org"
    assert (await site.post(to="ada@münchen.de"))["to"] == "ada@xn--mnchen-3ya.de"


@ON_ONE
async def test_listed_addresses_are_written_to_at_once_and_all_others_asked_first(serve: Serve) -> None:
    async with serve(**CONFIRMED) as site:
        for to in ("ada@example.org", "FRIEND@example.com"):
            await site.post(to=to)
        for to in ("ada@example.com", "ada@sub.example.org", "ada@example.org.evil.com", "friend@münchen.de"):
            answer = await site.client.post("/api/reminders", json=a_reminder(to=to))
            assert (answer.status_code, answer.json()["status"]) == (202, "unconfirmed")


# Idempotency


async def test_the_same_key_and_body_answer_the_same_reminder(site: Site) -> None:
    body, key = a_reminder(), {"Idempotency-Key": "one"}

    first = await site.client.post("/api/reminders", json=body, headers=key)
    again = await site.client.post("/api/reminders", json=body, headers=key)

    assert (again.status_code, again.json(), again.headers["Location"]) == (
        201,
        first.json(),
        first.headers["Location"],
    )
    assert len(await site.stored()) == 1


async def test_the_same_key_with_another_body_is_refused(site: Site) -> None:
    body, key = a_reminder(), {"Idempotency-Key": "one"}
    await site.client.post("/api/reminders", json=body, headers=key)

    answer = await site.client.post("/api/reminders", json=body | {"message": "Call dad"}, headers=key)

    assert problem(answer, 422)["title"] == "Idempotency-Key used before"
    assert [each["message"] for each in await site.stored()] == ["Call mum"]


@ON_ONE
async def test_a_key_still_answers_when_its_instant_has_passed(site: Site) -> None:
    due_at = soon(seconds=3)
    body, key = a_reminder(due_at=due_at), {"Idempotency-Key": "one"}
    first = await site.client.post("/api/reminders", json=body, headers=key)
    assert first.status_code == 201
    while soon() < due_at:
        await asyncio.sleep(0.05)

    again = await site.client.post("/api/reminders", json=body, headers=key)

    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])


async def test_twenty_at_once_with_one_key_make_one_reminder(site: Site) -> None:
    body, key = a_reminder(), {"Idempotency-Key": "one"}

    answers = await asyncio.gather(
        *(site.client.post("/api/reminders", json=body, headers=key) for _ in range(20)),
    )

    assert [answer.status_code for answer in answers] == [201] * 20
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(await site.stored()) == 1


@ON_ONE
async def test_without_a_key_two_are_two(site: Site) -> None:
    assert (await site.post())["id"] != (await site.post())["id"]


# List


async def test_pages_hold_their_place_while_reminders_are_added(site: Site) -> None:
    ids = [(await site.post(message=f"{number}"))["id"] for number in range(7)]

    seen, cursor = [], None
    for _ in range(10):
        query = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = (await site.client.get("/api/reminders", params=query)).json()
        seen += [each["id"] for each in page["items"]]
        await site.post(message="in between")
        cursor = page["next"]
        if cursor is None:
            break

    assert seen == ids[::-1]


async def test_the_last_page_says_that_it_is_the_last(site: Site) -> None:
    assert (await site.client.get("/api/reminders")).json() == {"items": [], "next": None}
    for _ in range(4):
        await site.post()

    first = await site.client.get("/api/reminders?status=scheduled&limit=2")
    link = re.fullmatch(r"<(\?[^>]+)>; rel=\"next\"", first.headers["Link"])
    assert link is not None
    last = await site.client.get(f"/api/reminders{link[1]}")

    assert first.json()["next"] == first.json()["items"][-1]["id"]
    assert len(last.json()["items"]) == 2
    assert last.json()["next"] is None
    assert "Link" not in last.headers


@ON_ONE
async def test_a_list_can_be_of_one_status(site: Site) -> None:
    kept, cancelled = await site.post(), await site.post()
    await site.client.delete(f"/api/reminders/{cancelled['id']}")

    async def ids(status: str) -> list[str]:
        page = (await site.client.get("/api/reminders", params={"status": status})).json()
        return [each["id"] for each in page["items"]]

    assert await ids("scheduled") == [kept["id"]]
    assert await ids("cancelled") == [cancelled["id"]]
    assert await ids("sent") == []


@ON_ONE
async def test_whoever_shows_no_token_sees_and_changes_nothing_off_loopback(serve: Serve) -> None:
    async with serve(**CONFIRMED) as site:
        path = f"/api/reminders/{(await site.post())['id']}"

        answers = [
            await site.client.get("/api/reminders"),
            await site.client.get(path),
            await site.client.patch(path, json={"message": "New"}),
            await site.client.delete(path),
        ]

        assert [problem(answer, 401)["title"] for answer in answers] == ["Token needed"] * 4
        assert [answer.headers["WWW-Authenticate"][:6] for answer in answers] == ["Bearer"] * 4


# Read


@ON_ONE
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_unknown_and_malformed_ids_are_one_answer(site: Site, method: str) -> None:
    said = []
    for id in (str(uuid4()), *NO_IDS):
        body = {"json": {"message": "x"}} if method == "PATCH" else {}
        answer = await site.client.request(method, f"/api/reminders/{id}", **body)
        said.append({name: value for name, value in problem(answer, 404).items() if name != "instance"})

    assert all(each == said[0] for each in said)


# Edit


async def test_an_edit_changes_what_it_names_and_nothing_else(site: Site) -> None:
    made = await site.post(due_at="2100-01-01T09:00:00.123Z", time_zone="Europe/Paris")

    answer = await site.client.patch(f"/api/reminders/{made['id']}", json={"message": "Call dad"})

    assert answer.status_code == 200
    changed = {"message": "Call dad", "subject": "Reminder: Call dad", "revision": 2}
    moving = {"updated_at", "timeline"}
    assert answer.json() | made.fromkeys(moving) == made | changed | made.fromkeys(moving)
    assert [event["event"] for event in answer.json()["timeline"]] == ["created", "edited"]
    assert (await site.client.get(f"/api/reminders/{made['id']}")).json() == answer.json()


@ON_ONE
async def test_a_subject_of_ones_own_stays_when_the_message_changes(site: Site) -> None:
    made = await site.post(subject="Mum")

    answer = await site.client.patch(f"/api/reminders/{made['id']}", json={"message": "Call dad"})

    assert answer.json()["subject"] == "Mum"


@ON_ONE
async def test_an_edit_moves_the_alarm(site: Site) -> None:
    made = await site.post()

    answer = await site.client.patch(
        f"/api/reminders/{made['id']}",
        json={"due_at": soon(hours=3)},
        headers={"Content-Type": "application/merge-patch+json"},
    )

    job = await alarm_of(site, answer.json())
    assert job is not None
    assert job.promote_at == at(answer.json()["due_at"])
    assert await alarm_of(site, made) is None


async def test_parallel_edits_all_happen_one_after_the_other(site: Site) -> None:
    made = await site.post()

    answers = await asyncio.gather(
        *(site.client.patch(f"/api/reminders/{made['id']}", json={"message": f"{n}"}) for n in range(8))
    )

    assert sorted(answer.json()["revision"] for answer in answers) == [2, 3, 4, 5, 6, 7, 8, 9]


# Cancel


async def test_a_cancel_takes_the_alarm_away_and_can_be_repeated(site: Site) -> None:
    made = await site.post()

    first = await site.client.delete(f"/api/reminders/{made['id']}")
    again = await site.client.delete(f"/api/reminders/{made['id']}")

    assert (first.status_code, first.json()["status"]) == (200, "cancelled")
    assert (again.status_code, again.json()) == (200, first.json())
    assert first.json()["next_attempt_at"] is None
    assert sum((await site.app.state.queue.jobs.counts()).values()) == 0


@ON_ONE
async def test_a_cancelled_reminder_is_not_edited(site: Site) -> None:
    made = await site.post()
    await site.client.delete(f"/api/reminders/{made['id']}")

    said = problem(await site.client.patch(f"/api/reminders/{made['id']}", json={"message": "x"}), 409)

    assert said["detail"] == "This reminder is cancelled already."


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_until_the_mail_leaves_it_can_be_changed_and_then_no_more(
    site: Site, database: Database, method: str
) -> None:
    ledger = Ledger(database, timedelta(minutes=1))

    async def act(id: str) -> Any:
        return await site.client.request(
            method, f"/api/reminders/{id}", **({"json": {"message": "x"}} if method == "PATCH" else {})
        )

    claimed = await claim(site, ledger)
    assert (await act(str(claimed.id))).status_code == 200

    leaving = await claim(site, ledger)
    assert await ledger.mark(leaving, b"letter")
    assert "leaving right now" in problem(await act(str(leaving.id)), 409)["detail"]

    await ledger.sent(leaving, "250 2.0.0 Ok: queued", timedelta(0))
    assert "has left" in problem(await act(str(leaving.id)), 409)["detail"]
    sent = (await site.client.get(f"/api/reminders/{leaving.id}")).json()
    assert (sent["status"], sent["message"]) == ("sent", "Call mum")
    assert sent["lateness_ms"] >= 0
    assert sent["timeline"][-1]["reply"] == "250 2.0.0 Ok: queued"


# Preview

YEARS_OFF = "That is more than five years away; people change their addresses in so long a time."


@ON_ONE
async def test_a_preview_says_what_would_be_and_stores_nothing(site: Site) -> None:
    asked = a_reminder(due_at=None, when="2099-07-01T09:00", time_zone="America/New_York", to="Ada@münchen.de")

    answer = await site.client.post("/api/reminders/preview", json=asked)

    said = answer.json()
    assert answer.status_code == 200
    assert re.fullmatch(
        r"Sends Wednesday 1 July 2099 at 09:00 in New York \(UTC−4\), in 7\d years .*\.", said.pop("sentence")
    )
    assert said == {
        "to": "Ada@xn--mnchen-3ya.de", "subject": "Reminder: Call mum", "due_at": "2099-07-01T13:00:00Z",
        "time_zone": "America/New_York", "local_time": "2099-07-01T09:00:00.000-04:00",
        "there": None, "warnings": [YEARS_OFF], "repeats": None, "next": [], "deadline_at": None,
    }  # fmt: skip
    assert await site.stored() == []


@ON_ONE
async def test_a_preview_bears_with_what_is_not_written_yet(site: Site) -> None:
    answer = await site.client.post("/api/reminders/preview", json={"due_at": soon(minutes=5)})
    assert (answer.status_code, answer.json()["to"]) == (200, None)

    said = problem(await site.client.post("/api/reminders/preview", json={"due_at": soon(minutes=-5), "to": "x"}), 422)
    assert pointers(said) == {"/due_at", "/to"}


# The description


@ON_ONE
async def test_the_description_tells_every_answer_as_it_is(site: Site) -> None:
    described = (await site.client.get("/openapi.json")).json()

    assert described["openapi"].startswith("3.1")
    assert "HTTPValidationError" not in str(described)
    answers = {
        f"{method.upper()} {path}": " ".join(sorted(operation["responses"]))
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }
    # Whatever says 404 here says it of what is another's, too.
    assert answers == {
        "POST /api/reminders": "201 202 400 401 403 408 413 415 422 429 503",
        "GET /api/reminders": "200 400 401 403 422 503",
        "POST /api/reminders/preview": "200 400 408 413 415 422 503",
        "POST /api/reminders/batch": "200 400 401 403 408 413 415 422 429 503",
        "GET /api/reminders/{id}": "200 304 400 401 403 404 503",
        "PATCH /api/reminders/{id}": "200 400 401 403 404 408 409 412 413 415 422 429 503",
        "DELETE /api/reminders/{id}": "200 400 401 403 404 409 412 422 429 503",
        "GET /api/reminders/{id}.ics": "200 400 401 403 404 503",
        "GET /api/reminders/{id}/series": "200 400 401 403 404 503",
        "POST /api/reminders/{id}/snooze": "200 400 401 403 404 408 409 413 415 422 429 503",
        "POST /api/reminders/{id}/done": "200 400 401 403 404 409 429 503",
        "POST /api/reminders/{id}/now": "200 400 401 403 404 409 429 503",
        "POST /api/reminders/{id}/copy": "201 202 400 401 403 404 408 413 415 422 429 503",
    }
    for path, methods in described["paths"].items():
        told = "text/calendar" if path.endswith(".ics") else "application/json"
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if status == "304":
                    assert "content" not in answer
                    continue
                kind = "application/problem+json" if status >= "400" else told
                assert list(answer["content"]) == [kind]


async def alarm_of(site: Site, reminder: dict[str, Any]) -> Job | None:
    """The job that will wake the worker for this revision."""
    queue: Queue = site.app.state.queue
    (job_id,) = await queue.jobs.find([unique_key(UUID(reminder["id"]), reminder["revision"])])
    return None if job_id is None else await queue.get(job_id)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def claim(site: Site, ledger: Ledger) -> Claim:
    """A reminder that a worker has just begun to send."""
    made = await site.overdue()
    async with asyncio.timeout(5):
        while (claimed := await ledger.claim(UUID(made["id"]), 1, "a worker")) is None:
            await asyncio.sleep(0.01)
    return claimed
