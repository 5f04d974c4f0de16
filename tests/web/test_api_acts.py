"""What a program may do with a reminder as a person on its page: later, done, now, once more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from rmindr.database import Database, now
from rmindr.ledger import reminders, row
from rmindr.models import Status
from tests.web.site import NOBODYS, Site, pointers, problem, soon

ON_ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
ACTS: dict[str, dict[str, Any]] = {"snooze": {"json": {"until": "in 2 hours"}}, "done": {}, "now": {}}


async def standing(site: Site, **values: Any) -> dict[str, Any]:
    """A reminder whose row was brought into this standing."""
    made = await site.post()
    database: Database = site.app.state.database
    async with database.statements() as connection:
        await connection.execute(update(reminders).where(row.id == UUID(made["id"])).values(**values))
    return made


LEAVING: dict[str, Any] = {"status": Status.SENDING, "marked_at": now(), "lease_until": now() + 60_000}
SENT: dict[str, Any] = {"status": Status.SENT, "accepted_at": now(), "attempt": 1, "fence": 1}


@pytest.mark.parametrize(
    ("until", "due_at"),
    [
        ("2099-07-01T09:00", "2099-07-01T07:00:00Z"),
        ("2099-07-01T09:00:00.250Z", "2099-07-01T09:00:00.250000Z"),
        ("2099-07-01T09:00:00-04:00[America/New_York]", "2099-07-01T13:00:00Z"),
    ],
)
async def test_what_waits_comes_later_on_the_clock_of_its_own_zone(site: Site, until: str, due_at: str) -> None:
    made = await site.post(time_zone="Europe/Paris")

    answer = await site.client.post(f"/api/reminders/{made['id']}/snooze", json={"until": until})

    assert (answer.status_code, answer.json()["due_at"], answer.json()["status"]) == (200, due_at, "scheduled")
    assert answer.json()["timeline"][-1]["event"] == "snoozed"


@ON_ONE
async def test_words_say_when_it_comes_again_once_it_has_come(site: Site) -> None:
    made = await standing(site, **SENT)
    before = datetime.now(UTC)

    answer = await site.client.post(f"/api/reminders/{made['id']}/snooze", json={"until": "in 2 hours"})

    again = answer.json()
    assert (answer.status_code, again["status"], again["sent_at"], again["revision"]) == (200, "scheduled", None, 2)
    assert before + timedelta(hours=1, minutes=59) < datetime.fromisoformat(again["due_at"])


@ON_ONE
@pytest.mark.parametrize(
    "body",
    [
        {"until": "yesterday"}, {"until": "soonish"}, {"until": ""}, {"until": "every day 9am"}, {"until": 5}, {},
        {"until": "2999-01-01T00:00Z"}, {"until": "in 2 hours", "fold": 2}, {"until": "in 2 hours", "to": "eve@example.org"},
    ],
    ids=str,
)  # fmt: skip
async def test_a_later_that_is_none_is_refused_and_changes_nothing(site: Site, body: dict[str, Any]) -> None:
    made = await site.post()

    said = problem(await site.client.post(f"/api/reminders/{made['id']}/snooze", json=body), 422)

    assert pointers(said) <= {"/until", "/fold", "/to"}
    assert await site.stored() == [made]


async def test_done_puts_away_what_has_come_and_stops_what_has_not(site: Site) -> None:
    waits, come = await site.post(), await standing(site, **SENT)

    answers = [await site.client.post(f"/api/reminders/{each['id']}/done") for each in (waits, come, come)]

    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [
        (200, "cancelled"),
        (200, "sent"),
        (200, "sent"),
    ]
    assert [event["event"] for event in answers[2].json()["timeline"]] == ["created", "done"]


async def test_now_is_now_and_once_more_where_it_failed(site: Site) -> None:
    waits, failed = await site.post(due_at=soon(days=3)), await standing(site, status=Status.FAILED, reason="550 no")

    answers = [await site.client.post(f"/api/reminders/{each['id']}/now") for each in (waits, failed)]

    for answer in answers:
        assert (answer.status_code, answer.json()["status"], answer.json()["reason"]) == (200, "scheduled", None)
        assert datetime.fromisoformat(answer.json()["due_at"]) <= datetime.now(UTC)


@pytest.mark.parametrize("act", ACTS)
async def test_once_the_mail_is_leaving_every_act_is_too_late(site: Site, act: str) -> None:
    made = await standing(site, **LEAVING)
    before = await site.stored()

    said = problem(await site.client.post(f"/api/reminders/{made['id']}/{act}", **ACTS[act]), 409)

    assert "leaving right now" in said["detail"]
    assert await site.stored() == before


@ON_ONE
async def test_what_was_sent_is_not_sent_now_again(site: Site) -> None:
    made = await standing(site, **SENT)

    assert "has left" in problem(await site.client.post(f"/api/reminders/{made['id']}/now"), 409)["detail"]


async def test_a_copy_is_another_reminder_like_it_but_for_what_is_changed(site: Site) -> None:
    made = await site.post(subject="Mum", time_zone="Europe/Paris", deadline_at="in 2 hours")

    answer = await site.client.post(f"/api/reminders/{made['id']}/copy", json={"when": "2099-07-01T09:00"})

    copied = answer.json()
    assert (answer.status_code, answer.headers["Location"]) == (201, f"/api/reminders/{copied['id']}")
    assert copied["id"] != made["id"]
    same = {name: made[name] for name in ("to", "subject", "message", "time_zone")}
    other = {"due_at": "2099-07-01T07:00:00Z", "deadline_at": None, "revision": 1}
    assert (same | other).items() <= copied.items()
    assert len(await site.stored()) == 2


@ON_ONE
async def test_a_copy_of_what_is_past_asks_when(site: Site) -> None:
    made = await site.overdue()

    said = problem(await site.client.post(f"/api/reminders/{made['id']}/copy", json={}), 422)
    again = await site.client.post(f"/api/reminders/{made['id']}/copy", json={"due_at": soon(hours=1)})

    assert pointers(said) == {"/due_at"}
    assert again.status_code == 201


@ON_ONE
async def test_the_same_copy_twice_by_one_key_is_one(site: Site) -> None:
    made = await site.post()
    path, key = f"/api/reminders/{made['id']}/copy", {"Idempotency-Key": "one"}

    first, again = [await site.client.post(path, json={}, headers=key) for _ in range(2)]
    other = await site.client.post(path, json={"message": "New"}, headers=key)

    assert (again.status_code, again.json()) == (201, first.json())
    problem(other, 422)
    assert len(await site.stored()) == 2


@ON_ONE
@pytest.mark.parametrize("act", [*ACTS, "copy"])
async def test_an_act_on_what_is_not_there_is_not_found(site: Site, act: str) -> None:
    body = {"json": {"until": "in 2 hours"} if act == "snooze" else {}} if act in ("snooze", "copy") else {}

    for id in (NOBODYS, "x"):
        problem(await site.client.post(f"/api/reminders/{id}/{act}", **body), 404)


@ON_ONE
@pytest.mark.parametrize("act", ["done", "now"])
async def test_what_needs_no_body_is_refused_to_pages_of_other_sites(site: Site, act: str) -> None:
    made = await site.post()
    path = f"/api/reminders/{made['id']}/{act}"

    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://elsewhere.example"}):
        problem(await site.client.post(path, headers=headers), 403)

    assert await site.stored() == [made]
