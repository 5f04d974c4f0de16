"""Versions: a reminder says which one it is, and is changed only if it is the one that was seen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import create_engine, update

from rmindr.afterwards import Afterwards
from rmindr.database import Database, now
from rmindr.drafts import Asked
from rmindr.errors import Changed
from rmindr.gate import Asker
from rmindr.ledger import Ledger, reminders, row
from rmindr.models import Reminder
from rmindr.queue import Queue
from rmindr.reminders import Condition, Eyes, Reminders
from tests.everybody import Everybody
from tests.web.site import Site, problem, soon

ON_ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
EVERYTHING = Eyes(everything=True)
CHANGES: dict[str, dict[str, Any]] = {"PATCH": {"json": {"message": "New"}}, "DELETE": {}}


CHANGED: dict[str, Callable[[Reminders, UUID, Condition], Awaitable[Reminder]]] = {
    "edit": lambda books, id, only_if: books.edit(id, Asked(message="New"), EVERYTHING, Asker(), only_if=only_if),
    "cancel": lambda books, id, only_if: books.cancel(id, EVERYTHING, only_if=only_if),
}


async def tag(site: Site, id: str) -> str:
    """The version of a reminder, as a GET answers it."""
    return (await site.client.get(f"/api/reminders/{id}")).headers["ETag"]


# What the tag is of


async def test_every_answer_with_a_reminder_says_its_version_and_the_same_one(site: Site) -> None:
    made = await site.post()
    path = f"/api/reminders/{made['id']}"

    first = await tag(site, made["id"])
    edited = await site.client.patch(path, json={"message": "New"})
    second = await tag(site, made["id"])
    cancelled = await site.client.delete(path)

    assert first != second == edited.headers["ETag"]
    assert cancelled.headers["ETag"] == await tag(site, made["id"]) != second
    assert all(each.startswith('"') for each in (first, second))


@ON_ONE
async def test_a_created_reminder_says_the_version_that_is_read_later(site: Site) -> None:
    body, key = {"to": "ada@example.org", "message": "x", "due_at": soon(hours=1)}, {"Idempotency-Key": "k"}

    created = await site.client.post("/api/reminders", json=body, headers=key)
    again = await site.client.post("/api/reminders", json=body, headers=key)

    assert created.headers["ETag"] == again.headers["ETag"] == await tag(site, created.json()["id"])


async def test_an_attempt_makes_another_version_and_what_nobody_is_shown_does_not(
    site: Site, database: Database
) -> None:
    id = (await site.overdue())["id"]
    ledger = Ledger(database, timedelta(minutes=1))
    before = await tag(site, id)

    async with database.statements() as connection:
        await connection.execute(update(reminders).where(row.id == UUID(id)).values(job_id=7, queued_rev=1))
    unseen = await tag(site, id)
    claimed = await ledger.claim(UUID(id), 1, "a worker")
    attempted = await tag(site, id)
    assert claimed is not None
    await ledger.beat([claimed])

    assert unseen == before
    assert attempted != before
    assert await tag(site, id) == attempted


@ON_ONE
async def test_what_is_known_already_is_not_told_again(site: Site) -> None:
    made = await site.post()
    path, known = f"/api/reminders/{made['id']}", await tag(site, made["id"])

    same = [
        await site.client.request(method, path, headers={"If-None-Match": value})
        for method in ("GET", "HEAD")
        for value in (known, f"W/{known}", f'"x", {known}', "*")
    ]
    other = await site.client.get(path, headers={"If-None-Match": '"x", W/"y"'})

    assert [(each.status_code, each.content, each.headers["ETag"]) for each in same] == [(304, b"", known)] * 8
    assert (other.status_code, other.json()["id"]) == (200, made["id"])


# If-Match


@pytest.mark.parametrize("method", CHANGES)
async def test_a_change_of_what_is_not_as_it_was_seen_is_refused_and_changes_nothing(site: Site, method: str) -> None:
    made = await site.post()
    path, seen = f"/api/reminders/{made['id']}", await tag(site, made["id"])
    await site.client.patch(path, json={"message": "Meanwhile"})
    standing = (await site.client.get(path)).json()

    said = [
        problem(await site.client.request(method, path, headers={"If-Match": stale}, **CHANGES[method]), 412)
        for stale in (seen, f"W/{await tag(site, made['id'])}", '"x"', f'{seen}, "x"')
    ]

    assert {each["title"] for each in said} == {"Changed meanwhile"}
    assert (await site.client.get(path)).json() == standing


@ON_ONE
@pytest.mark.parametrize("method", CHANGES)
@pytest.mark.parametrize("form", ["{}", '"x", {}', '"x" ,W/"y",{} , ', "*", " * "])
async def test_a_change_of_what_is_as_it_was_seen_is_done(site: Site, method: str, form: str) -> None:
    made = await site.post()
    value = form.format(await tag(site, made["id"]))

    answer = await site.client.request(
        method, f"/api/reminders/{made['id']}", headers={"If-Match": value}, **CHANGES[method]
    )

    assert (answer.status_code, answer.json()["revision"]) == (200, 2)


@ON_ONE
async def test_a_list_may_come_in_two_lines(site: Site) -> None:
    made = await site.post()
    lines = [("If-Match", '"x"'), ("If-Match", await tag(site, made["id"]))]

    answer = await site.client.patch(f"/api/reminders/{made['id']}", json={"message": "New"}, headers=lines)

    assert answer.status_code == 200


@ON_ONE
@pytest.mark.parametrize("value", ["", "x", '"x', '"x" y', "*, *", '"\x7f"', "W/*"])
async def test_what_is_no_list_of_tags_is_refused(site: Site, value: str) -> None:
    made = await site.post()
    path = f"/api/reminders/{made['id']}"

    answers = [
        await site.client.delete(path, headers={"If-Match": value}),
        await site.client.patch(path, json={"message": "x"}, headers={"If-Match": value}),
        await site.client.get(path, headers={"If-None-Match": value}),
    ]

    assert [problem(answer, 400)["title"] for answer in answers] == ["Bad request"] * 3
    assert await site.stored() == [made]


async def test_of_many_who_have_seen_the_same_one_changes_it(site: Site) -> None:
    made = await site.post()
    seen = {"If-Match": await tag(site, made["id"])}

    answers = await asyncio.gather(
        *(site.client.patch(f"/api/reminders/{made['id']}", json={"message": f"{n}"}, headers=seen) for n in range(8))
    )

    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7
    assert (await site.stored())[0]["revision"] == 2


@pytest.mark.parametrize("change", CHANGED)
async def test_the_condition_is_of_the_row_that_is_changed_and_not_of_one_looked_at_before(
    site: Site, database_url: str, change: str
) -> None:
    id = UUID((await site.overdue())["id"])
    books: Reminders = site.app.state.reminders
    seen = await books.find(id, EVERYTHING)
    looks = []

    def as_seen(current: Reminder) -> bool:
        looks.append(current.timeline)
        if len(looks) == 1:
            put_off(database_url, id)
        return current.timeline == seen.timeline

    with pytest.raises(Changed):
        await CHANGED[change](books, id, as_seen)

    assert len(looks) == 2
    assert (await books.find(id, EVERYTHING)).rev == 1


async def test_without_a_condition_an_attempt_meanwhile_is_nothing_to_an_edit(
    database: Database, database_url: str, live_queue: Queue
) -> None:
    made = await Everybody(database, live_queue).schedule(
        Asked(to="ada@example.org", message="x", due_at=soon(hours=1))
    )
    looks = []

    def clock() -> datetime:
        # It is asked after the reminder was looked at, and before it is changed.
        looks.append(put_off(database_url, made.id))
        return datetime.now(UTC)

    edited = await Everybody(database, live_queue, clock=clock).edit(made.id, Asked(message="New"))

    assert looks
    assert (edited.rev, edited.message, edited.events[-2]["event"]) == (2, "New", "put off")


def put_off(database_url: str, id: UUID) -> None:
    """Another process writes that an attempt failed, at this very moment."""
    engine = create_engine(database_url)
    with engine.begin() as connection:
        line = row.timeline.concat('{"at": 1, "event": "put off"}\n')
        failed = update(reminders).where(row.id == id).values(status="retrying", attempt=1, timeline=line)
        connection.execute(failed.values(updated_at=now()))
    engine.dispose()


# Beside other refusals


async def test_that_the_mail_has_left_says_more_than_that_it_has_changed(site: Site, database: Database) -> None:
    id = (await site.overdue())["id"]
    stale = {"If-Match": await tag(site, id)}
    ledger = Ledger(database, timedelta(minutes=1))
    claimed = await ledger.claim(UUID(id), 1, "a worker")
    assert claimed is not None
    assert await ledger.mark(claimed, b"letter")

    answers = [
        await site.client.request(method, f"/api/reminders/{id}", headers=stale, **more)
        for method, more in CHANGES.items()
    ]

    assert [problem(answer, 409)["title"] for answer in answers] == ["Too late"] * 2


@ON_ONE
async def test_what_is_cancelled_already_is_as_it_should_be_whatever_was_seen(site: Site) -> None:
    made = await site.post()
    path, seen = f"/api/reminders/{made['id']}", {"If-Match": await tag(site, made["id"])}

    first, again = [await site.client.delete(path, headers=seen) for _ in range(2)]

    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()


async def test_all_that_follow_are_cancelled_only_if_this_one_is_as_it_was_seen(site: Site) -> None:
    made = await site.post(due_at=None, when="every day 9am")
    path, seen = f"/api/reminders/{made['id']}", await tag(site, made["id"])
    await site.client.patch(path, json={"message": "Meanwhile"})

    stale = await site.client.delete(f"{path}?which=following", headers={"If-Match": seen})
    standing = (await site.client.get(f"{path}/series")).json()["state"]
    fresh = await site.client.delete(f"{path}?which=following", headers={"If-Match": await tag(site, made["id"])})

    problem(stale, 412)
    assert standing == "active"
    assert (fresh.status_code, fresh.json()["status"]) == (200, "cancelled")
    assert (await site.client.get(f"{path}/series")).json()["state"] == "cancelled"


async def test_an_edit_of_all_that_follow_which_comes_too_late_changes_none_of_them(
    site: Site, database: Database
) -> None:
    made = await site.post(due_at=None, when="every day 9am")
    path = f"/api/reminders/{made['id']}"
    async with database.statements() as connection:
        mine = update(reminders).where(row.id == UUID(made["id"]))
        await connection.execute(mine.values(status="sending", marked_at=row.created_at, lease_until=row.due_at))

    answer = await site.client.patch(f"{path}?which=following", json={"message": "New", "repeat": "weekly"})

    problem(answer, 409)
    assert (await site.client.get(f"{path}/series")).json()["repeats"].startswith("every day")


@ON_ONE
async def test_an_act_answers_the_version_that_it_made(site: Site) -> None:
    made = await site.post()
    acts: Afterwards = site.app.state.afterwards
    await acts.done(UUID(made["id"]), EVERYTHING)

    answer = await site.client.post(f"/api/reminders/{made['id']}/done")

    assert answer.headers["ETag"] == await tag(site, made["id"])
    assert answer.headers["Accept-Patch"] == "application/merge-patch+json, application/json"
