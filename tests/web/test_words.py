"""Time words in the form and the API: read whole, shown before they are kept, or refused with the part that was not read."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from rmindr.moments import rules_in_use
from tests.web.site import Page, Site, a_form, a_reminder, problem, soon

# What does not depend on the database need not run on two.
ON_ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
BLANK = {"date": "", "time": ""}
TWICE, SKIPPED = "27 October 2030 02:30", "31 March 2030 02:30"


async def preview(site: Site, **body: Any) -> dict[str, Any]:
    answer = await site.client.post("/api/reminders/preview", json=body)
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()
    return said


# By the API


async def test_words_become_the_instant_that_they_name_and_stay_true_to_the_clock(site: Site) -> None:
    made = await site.post(due_at=None, when="1 march 2031 18:00", time_zone="Europe/Paris")

    assert made["due_at"] == "2031-03-01T17:00:00Z"
    assert (made["wall_time"], made["time_zone"]) == ("2031-03-01T18:00:00", "Europe/Paris")
    assert made["zone_rules"] == rules_in_use()


@ON_ONE
async def test_a_length_of_time_is_an_instant_and_belongs_to_no_clock(site: Site) -> None:
    before = datetime.now(UTC)

    made = await site.post(due_at=None, when="in 2 hours", time_zone="Europe/Paris")

    assert timedelta(0) <= datetime.fromisoformat(made["due_at"]) - before - timedelta(hours=2) < timedelta(minutes=1)
    assert (made["wall_time"], made["zone_rules"]) == (None, "")


@ON_ONE
async def test_a_zone_that_the_words_name_is_the_zone_of_the_reminder(site: Site) -> None:
    made = await site.post(due_at=None, when="1 march 2031 18:00 in tokyo", time_zone="Europe/Paris")

    assert (made["due_at"], made["time_zone"]) == ("2031-03-01T09:00:00Z", "Asia/Tokyo")


@ON_ONE
@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("tomorrow 9am or so", "«or»"),
        ("tomorrow at 3", "«3» is ambiguous"),
        ("yesterday 9am", "yesterday"),
        ("\0", "cannot be read"),
        ("tomorrow 9am " * 40, "cannot be read"),
    ],
)
async def test_words_that_are_not_wholly_read_are_refused_and_the_part_is_named(
    site: Site, words: str, part: str
) -> None:
    for path in ("/api/reminders", "/api/reminders/preview"):
        said = problem(await site.client.post(path, json=a_reminder(due_at=None, when=words)), 422)

        assert part in said["detail"]
    assert await site.stored() == []


@ON_ONE
async def test_words_that_the_clocks_show_twice_ask_which(site: Site) -> None:
    asked = a_reminder(due_at=None, when=TWICE, time_zone="Europe/Paris")
    assert "comes twice" in problem(await site.client.post("/api/reminders", json=asked), 422)["detail"]

    second = await site.post(**asked, due_at=None, fold=1)

    assert second["due_at"] == "2030-10-27T01:30:00Z"
    said = await preview(site, when=TWICE, time_zone="Europe/Paris", fold=0)
    assert said["warnings"] == [
        "02:30 comes twice on 27 October 2030: the first (UTC+2) is taken, not the second (UTC+1)"
    ]


@ON_ONE
@pytest.mark.parametrize("when", [SKIPPED, "2030-03-31T02:30"])
async def test_what_comes_in_place_of_a_time_that_never_does_is_taken_when_one_says_so(site: Site, when: str) -> None:
    asked = a_reminder(due_at=None, when=when, time_zone="Europe/Paris")
    assert "03:30 comes in its place" in problem(await site.client.post("/api/reminders", json=asked), 422)["detail"]

    made = await site.post(**asked, due_at=None, fold=0)

    assert (made["due_at"], made["wall_time"]) == ("2030-03-31T01:30:00Z", "2030-03-31T02:30:00")


@ON_ONE
async def test_a_preview_tells_the_readers_clock_and_the_next_five(site: Site) -> None:
    said = await preview(site, when="every weekday at 8", time_zone="America/New_York", reader_time_zone="Europe/Paris")

    assert said["repeats"] == "every weekday at 08:00"
    assert len(said["next"]) == 5
    for each in said["next"]:
        here = datetime.fromisoformat(each["due_at"]).astimezone(ZoneInfo("America/New_York"))
        assert (here.hour, here.weekday() < 5) == (8, True)
        assert "in New York" in each["here"]
        assert "in Paris" in each["there"]
    assert said["next"][0]["due_at"] == said["due_at"]
    assert "in Paris" in said["there"]


@ON_ONE
@pytest.mark.parametrize(
    ("repeat", "described"),
    [
        ("weekdays", "every weekday at 09:00"),
        ("monthly on the weekday", "every month on the first Friday at 09:00"),
        ("FREQ=MONTHLY;BYMONTHDAY=-1", "every month on the last day at 09:00"),
        ("every 2 weeks on monday", "every 2 weeks on Monday at 09:00"),
        ("every day for 10 days", "every day at 09:00, until 12 March 2032"),
    ],
)
async def test_what_repeats_is_said_by_a_preset_a_rule_or_words(site: Site, repeat: str, described: str) -> None:
    # 5 March 2032 is a Friday; ten days from then on are until the 14th.
    day = "2032-03-03" if "10 days" in repeat else "2032-03-05"

    said = await preview(site, when=f"{day}T09:00", time_zone="Europe/Paris", repeat=repeat)

    assert said["repeats"] == described
    assert len(said["next"]) == 5


@ON_ONE
@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"repeat": "FREQ=HOURLY"}, "/repeat"),
        ({"repeat": "FREQ=DAILY;COUNT=10001"}, "/repeat"),
        ({"repeat": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"}, "/repeat"),
        ({"repeat": "sometimes"}, "/repeat"),
        ({"repeat": "tomorrow"}, "/repeat"),
        ({"repeat": "every day at 8"}, "/repeat"),
        ({"repeat": "daily", "until": "2001-01-01"}, "/repeat"),
        ({"repeat": "daily", "until": "someday"}, "/repeat"),
        ({"repeat": "daily", "until": "2099-01-01", "count": 3}, "/repeat"),
        ({"count": 3}, "/repeat"),
        ({"from_completion": True}, "/from_completion"),
        ({"deadline_at": "an hour ago"}, "/deadline_at"),
        ({"deadline_at": "2031-01-01T00:00:00Z"}, "/deadline_at"),
        ({"deadline_at": "every day at 8"}, "/deadline_at"),
        ({"reader_time_zone": "Mars"}, "/reader_time_zone"),
    ],
)
async def test_rules_and_deadlines_that_are_none_are_refused_by_field(
    site: Site, body: dict[str, Any], pointer: str
) -> None:
    asked = {"when": "2032-03-05T09:00", "time_zone": "Europe/Paris"} | body

    said = problem(await site.client.post("/api/reminders/preview", json=asked), 422)

    assert [each["pointer"] for each in said["errors"]] == [pointer]


@ON_ONE
@pytest.mark.parametrize(
    ("words", "deadline"),
    [
        ("10:15", "2032-03-05T09:15:00Z"),
        ("in 2 hours", "2032-03-05T10:00:00Z"),
        ("2032-03-05T09:30", "2032-03-05T08:30:00Z"),
        ("2032-03-05T08:00:01Z", "2032-03-05T08:00:01Z"),
    ],
)
async def test_a_deadline_counts_from_when_it_is_due(site: Site, words: str, deadline: str) -> None:
    said = await preview(site, when="2032-03-05T09:00", time_zone="Europe/Paris", deadline_at=words)

    assert said["deadline_at"] == deadline


# By the form


@ON_ONE
async def test_the_form_takes_words_and_shows_what_they_mean_before_they_are_kept(site: Site) -> None:
    page = await site.see("/")
    typed = page.values | {"message": "Call mum", "to": "ada@example.org", "when": "1 march 2031 18:00"}

    shown = Page(await site.submit("/preview", **typed | {"time_zone": "America/New York"}))
    answer = await site.submit(**shown.values)

    assert shown.texts["preview"].startswith("Sends Saturday 1 March 2031 at 18:00 in New York (UTC−5), in ")
    assert answer.status_code == 303
    (made,) = await site.stored()
    assert made["due_at"] == "2031-03-01T23:00:00Z"


@ON_ONE
async def test_words_beside_another_date_that_was_chosen_are_refused(site: Site) -> None:
    page = await site.see("/")
    typed = page.values | {"message": "Call mum", "to": "ada@example.org", "when": "1 march 2031 18:00"}

    both = Page(await site.submit(**typed | {"date": "2031-03-02"}))
    same = await site.submit(**typed | {"date": "2031-03-01", "time": "18:00"})

    assert both.status == 422
    assert "is said twice, in words and by date and time" in both.texts["when-wrong"]
    assert same.status_code == 303


@ON_ONE
async def test_of_words_that_are_half_read_the_rest_is_struck_and_the_choices_are_offered(site: Site) -> None:
    page = Page(await site.submit("/preview", **a_form(when="tomorrow at 3", **BLANK)))
    struck = [attributes for tag, attributes in page.tags if tag == "del"]
    assert page.status == 422
    assert "Which is meant?" in page.text
    assert len(struck) == 1
    offers = [each["value"] for tag, each in page.tags if tag == "input" and each.get("name") == "instead"]
    assert offers == ["tomorrow at 03:00", "tomorrow at 15:00"]

    chosen = Page(await site.submit("/preview", **page.values | {"instead": offers[1]}))
    other = Page(await site.submit("/preview", **page.values | {"instead": offers[1], "when": "1 march 2031 18:00"}))

    assert (chosen.status, chosen.values["when"]) == (200, "tomorrow at 15:00")
    assert "at 15:00 in Paris" in chosen.texts["preview"]
    # A choice about other words is none.
    assert other.values["when"] == "1 march 2031 18:00"


@ON_ONE
@pytest.mark.parametrize("typed", [{"when": SKIPPED} | BLANK, {"date": "2030-03-31", "time": "02:30"}])
async def test_in_a_gap_the_form_asks_whether_what_comes_in_its_place_will_do(
    site: Site, typed: dict[str, str]
) -> None:
    asked = Page(await site.submit(**a_form(**typed)))
    assert asked.status == 422
    assert "03:30 will do" in asked.text
    # What was chosen of a time that comes twice is no answer to this.
    assert Page(await site.submit(**a_form(**typed, fold="0"))).status == 422

    answer = await site.submit(**asked.values | {"fold": "gap"})

    assert answer.status_code == 303
    (made,) = await site.stored()
    assert made["due_at"] == "2030-03-31T01:30:00Z"


@ON_ONE
async def test_words_change_a_reminder_and_no_words_leave_its_time_alone(site: Site) -> None:
    made = await site.post(due_at=soon(days=3))
    page = await site.see(f"/reminders/{made['id']}/edit")

    await site.submit(f"/reminders/{made['id']}/edit", **page.values | {"message": "New"})
    (same,) = await site.stored()
    await site.submit(f"/reminders/{made['id']}/edit", **page.values | {"when": "1 march 2031 18:00"})
    (moved,) = await site.stored()

    assert (same["due_at"], same["message"]) == (made["due_at"], "New")
    assert moved["due_at"] == "2031-03-01T18:00:00Z"


@ON_ONE
async def test_what_repeats_is_listed_on_the_page_with_the_next_five(site: Site) -> None:
    page = Page(await site.submit("/preview", **a_form(when="last friday of the month 17:00", **BLANK)))

    assert "It repeats every month on the last Friday at 17:00." in page.texts["more"]
    assert len(re.findall(r"Friday \d+ \w+ \d{4} at 17:00 in Paris", page.texts["more"])) == 5
    assert "This is every month; for once write «of this month»." in page.texts["more"]


@ON_ONE
async def test_a_deadline_is_kept_moves_with_its_reminder_and_can_be_taken_away(site: Site) -> None:
    made = await site.post(due_at=None, when="2031-03-01T18:00", deadline_at="in 2 hours")
    place = f"/api/reminders/{made['id']}"

    moved = (await site.client.patch(place, json={"when": "2031-03-02T18:00"})).json()
    gone = (await site.client.patch(place, json={"deadline_at": ""})).json()

    assert made["deadline_at"] == "2031-03-01T20:00:00Z"
    assert (moved["deadline_at"], moved["wall_time"]) == ("2031-03-02T20:00:00Z", "2031-03-02T18:00:00")
    assert (gone["deadline_at"], gone["due_at"]) == (None, moved["due_at"])


@ON_ONE
async def test_another_zone_alone_keeps_the_instant_and_turns_the_clock_it_is_true_to(site: Site) -> None:
    made = await site.post(due_at=None, when="2031-03-01T18:00", time_zone="Europe/Paris")

    changed = (await site.client.patch(f"/api/reminders/{made['id']}", json={"time_zone": "Asia/Tokyo"})).json()

    assert changed["due_at"] == made["due_at"]
    assert changed["wall_time"] == "2031-03-02T02:00:00"
