"""What repeats, by the API and on the pages: set, shown, skipped, changed from one on, and ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rmindr.models import Kind
from rmindr.series import Repeating
from tests.web.conftest import Serve
from tests.web.folk import STRICT, link, sign_up
from tests.web.site import NOBODYS, Page, Site, a_form, a_reminder, problem

# What does not depend on the database need not run on two.
ON_ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
DAILY = {"due_at": None, "when": "2031-03-01T09:00", "time_zone": "Europe/Paris", "repeat": "daily"}


async def series_of(site: Site, made: dict[str, Any]) -> dict[str, Any]:
    answer = await site.client.get(f"/api/reminders/{made['id']}/series")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_rule_makes_a_series_whose_occurrences_are_reminders(site: Site) -> None:
    made = await site.post(**DAILY, count=3)

    found = await series_of(site, made)
    skipped = (await site.client.delete(f"/api/reminders/{made['id']}")).json()
    second, first = await site.stored()

    assert found["id"] == made["series_id"]
    assert (found["rule"], found["repeats"]) == ("FREQ=DAILY;COUNT=3", "every day at 09:00, 3 times")
    assert [each["due_at"][:10] for each in found["next"]] == ["2031-03-01", "2031-03-02", "2031-03-03"]
    assert (skipped["status"], first["status"]) == ("cancelled", "cancelled")
    assert (second["status"], second["due_at"]) == ("scheduled", "2031-03-02T08:00:00Z")
    assert second["series_id"] == made["series_id"]


async def test_to_delete_it_and_all_that_follow_leaves_nothing_to_come(site: Site) -> None:
    made = await site.post(**DAILY)

    answer = await site.client.delete(f"/api/reminders/{made['id']}?which=following")

    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert len(await site.stored()) == 1
    assert (await series_of(site, made))["state"] == "cancelled"
    assert (await series_of(site, made))["next"] == []


async def test_a_change_is_of_one_or_of_all_that_follow(site: Site) -> None:
    made = await site.post(**DAILY)
    place = f"/api/reminders/{made['id']}"

    await site.client.patch(place, json={"message": "Only this"})
    await site.client.patch(f"{place}?which=following", json={"when": "2031-03-01T18:30"})
    await site.client.delete(place)
    second, first = await site.stored()

    assert (first["message"], first["due_at"]) == ("Only this", "2031-03-01T17:30:00Z")
    assert (second["message"], second["due_at"]) == ("Only this", "2031-03-02T17:30:00Z")


@ON_ONE
async def test_what_cannot_be_of_all_that_follow_is_refused(site: Site) -> None:
    made, plain = await site.post(**DAILY), await site.post()
    problem(await site.client.patch(f"/api/reminders/{made['id']}", json={"repeat": "weekly"}), 422)
    problem(await site.client.patch(f"/api/reminders/{plain['id']}?which=following", json={"message": "x"}), 422)
    problem(await site.client.delete(f"/api/reminders/{made['id']}?which=everything"), 422)
    await site.client.delete(f"/api/reminders/{made['id']}")
    # It is no longer the one that comes next.
    said = problem(await site.client.patch(f"/api/reminders/{made['id']}?which=following", json={"message": "x"}), 422)

    assert "is not the one that comes next" in said["detail"]
    for id in (plain["id"], NOBODYS, "x"):
        problem(await site.client.get(f"/api/reminders/{id}/series"), 404)


@ON_ONE
@pytest.mark.parametrize("repeat", ["FREQ=DAILY;COUNT=10000", "FREQ=YEARLY;INTERVAL=50", "FREQ=DAILY;INTERVAL=18262"])
async def test_rules_of_the_largest_kind_are_taken_and_answered_at_once(site: Site, repeat: str) -> None:
    made = await site.post(**DAILY | {"repeat": repeat})

    found = await series_of(site, made)

    assert found["rule"] == repeat
    assert found["next"][0]["due_at"] == made["due_at"]


@ON_ONE
async def test_the_same_key_with_another_rule_is_another_request(site: Site) -> None:
    key = {"Idempotency-Key": "k"}
    first = await site.client.post("/api/reminders", json=a_reminder(**DAILY), headers=key)
    same = await site.client.post("/api/reminders", json=a_reminder(**DAILY), headers=key)
    other = await site.client.post("/api/reminders", json=a_reminder(**DAILY | {"repeat": "weekly"}), headers=key)

    assert first.json()["id"] == same.json()["id"]
    problem(other, 422)


# On the pages


@ON_ONE
async def test_the_page_says_how_it_repeats_and_lets_one_skip_it_or_end_it(site: Site) -> None:
    typed = a_form(date="2031-03-07", repeat="monthly on the weekday")
    page = Page(
        await site.client.get((await site.submit(**typed)).headers["Location"], headers={"Accept": "text/html"})
    )
    (made,) = await site.stored()
    place = f"/reminders/{made['id']}"
    assert "Every month on the first Friday at 09:00." in page.text
    assert "Friday 4 April 2031 at 09:00 in Paris (UTC+2)" in page.text
    assert "Skip this one" in page.text

    await site.submit(f"{place}/cancel", seen="yes")
    second, _ = await site.stored()
    answer = await site.submit(f"/reminders/{second['id']}/end", seen="yes")
    ended = await site.see(f"/reminders/{second['id']}")

    assert second["due_at"] == "2031-04-04T07:00:00Z"
    assert answer.status_code == 303
    assert "All that follow are cancelled." in ended.text
    assert "Cancel all that follow" not in ended.text
    assert {each["status"] for each in await site.stored()} == {"cancelled"}


@ON_ONE
@pytest.mark.parametrize("which", ["one", "following"])
async def test_the_form_changes_this_one_or_all_that_follow(site: Site, which: str) -> None:
    made = await site.post(**DAILY)
    page = await site.see(f"/reminders/{made['id']}/edit")
    assert page.values["which"] == "one"

    answer = await site.submit(f"/reminders/{made['id']}/edit", **page.values | {"message": "New", "which": which})
    await site.submit(f"/reminders/{made['id']}/cancel", seen="yes")
    second, first = await site.stored()

    assert answer.status_code == 303
    assert first["message"] == "New"
    assert second["message"] == ("New" if which == "following" else "Call mum")


@ON_ONE
@pytest.mark.parametrize(
    ("typed", "place"),
    [
        ({"repeat": "sometimes"}, "repeat"),
        ({"repeat": "daily", "count": "many"}, "repeat"),
        ({"repeat": "daily", "count": "10001"}, "repeat"),
        ({"repeat": "daily", "until": "2001-01-01"}, "repeat"),
        ({"deadline_at": "yesterday"}, "deadline_at"),
    ],
)
async def test_what_is_wrong_about_repeating_is_said_beside_it(site: Site, typed: dict[str, str], place: str) -> None:
    page = Page(await site.submit(**a_form(**typed)))

    assert page.status == 422
    assert page.texts[f"{place}-wrong"].strip()
    assert page.attributes[place]["aria-invalid"] == "true"
    assert {name: page.values[name] for name in typed} == typed
    assert await site.stored() == []


# In the hands of people


async def test_what_nobody_has_confirmed_does_not_go_on_by_itself(serve: Serve) -> None:
    async with serve(**STRICT) as site:
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        await site.submit(**a_form(to="ada@example.org", date=f"{tomorrow:%Y-%m-%d}", repeat="daily", message="Spam"))
        page = await site.see(await link(site, Kind.CONFIRM, "ada@example.org"))
        path = await link(site, Kind.CONFIRM, "ada@example.org")

        # She confirms her address, and wants none of it.
        entered = await site.submit(path, seen="yes")

        assert page.status == 200
        assert entered.status_code == 303
        database = site.app.state.database

        assert await Repeating(database).sweep() == 0
        assert "Spam" not in (await site.see("/reminders")).text


async def test_what_is_confirmed_repeats(serve: Serve) -> None:
    async with serve(**STRICT) as site:
        path = await sign_up(site, "ada@example.org", repeat="daily")

        await press_button(site, f"{path}/cancel")

        upcoming = await site.see("/reminders")
        assert "Call mum" in upcoming.text
        assert path not in [href for href, _ in upcoming.links]


async def press_button(site: Site, path: str) -> None:
    assert (await site.submit(path, seen="yes")).status_code == 303
