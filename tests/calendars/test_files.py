"""Calendar files: three readers that are not ours understand what we meant, whatever was written and whatever the clocks do."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import icalendar
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmindr import times
from rmindr.calendar import document, events
from rmindr.calendar.lines import text, written
from rmindr.calendar.zones import zone_lines
from rmindr.clocks import settle
from rmindr.models import Reminder, Series, Status, new_id
from rmindr.recurrence import Rule, occurrences
from tests import npm
from tests.calendars.readers import FOLDER, Reader, Understood, by_icalendar, by_vobject, node, zones_by_dateutil

PAGES: Final = "https://remind.example.org"
NOW: Final = datetime(2026, 11, 24, 12, tzinfo=UTC)
SERIES: Final = UUID("01930000-0000-7000-8000-000000000001")
# Half an hour, midnight, the last Thursday at 24:00, a Sunday on or after the 2nd, Ramadan, winter time that is negative,
# no change at all, an odd offset, none for ever; and those that most people live by.
ZONES: Final = (
    *(
        "Europe/Paris",
        "America/New_York",
        "Australia/Lord_Howe",
        "Africa/Cairo",
        "America/Santiago",
        "America/Asuncion",
    ),
    *(
        "Africa/Casablanca",
        "Europe/Dublin",
        "Asia/Tokyo",
        "Asia/Kathmandu",
        "Pacific/Apia",
        "Asia/Gaza",
        "America/Nuuk",
    ),
    *("Asia/Beirut", "Antarctica/Troll", "Pacific/Chatham", "America/Havana", "Europe/Chisinau", "Asia/Jerusalem"),
)


@pytest.fixture(scope="module")
def ical_js() -> Iterator[Reader]:
    npm.install(FOLDER, "The tests of calendar files")
    with node() as read:
        yield read


@pytest.fixture
def readers(ical_js: Reader) -> dict[str, Reader]:
    return {"icalendar": by_icalendar, "vobject": by_vobject, "ical.js": ical_js}


def a_reminder(**values: Any) -> Reminder:
    """One of the next day, 09:00 in Paris."""
    at = datetime(2026, 11, 25, 8, tzinfo=UTC)
    right = {
        "id": new_id(), "rev": 1, "owner": "o", "status": Status.SCHEDULED, "recipient": "me@example.org",
        "subject": "Milk", "message": "Buy milk", "due_at": at, "next_at": at, "time_zone": "Europe/Paris",
        "wall": "2026-11-25T09:00:00", "created_at": NOW, "updated_at": NOW,
    }  # fmt: skip
    return Reminder(**(right | values))


def a_series(rule: str, start: str, zone: str, **values: Any) -> Series:
    right = {
        "id": SERIES, "rev": 1, "owner": "o", "state": "active", "recipient": "me@example.org", "subject": "Milk",
        "message": "Buy milk", "rule": rule, "start_wall": start, "next_wall": start, "time_zone": zone, "made": 1,
        "created_at": NOW, "updated_at": NOW,
    }  # fmt: skip
    return Series(**(right | values))


def standing(held: Series, **values: Any) -> Reminder:
    """The occurrence of a series that comes next."""
    wall = datetime.fromisoformat(held.next_wall or "")
    at = settle(wall, ZoneInfo(held.time_zone)).at
    of_it = {"due_at": at, "wall": held.next_wall, "occurrence": held.next_wall, "time_zone": held.time_zone}
    return a_reminder(**(of_it | {"series_id": held.id} | values))


def file_of(*reminders: Reminder, held: Series | None = None) -> bytes:
    known = {held.id: held} if held is not None else {}
    years = min(each.due_at.year for each in reminders), max(each.due_at.year for each in reminders)
    return document(events(reminders, known, PAGES), "Reminders", years)


def properties(file: bytes) -> list[dict[str, str]]:
    """The events of a file, each its properties as they are written."""
    return [
        {name: value.to_ical().decode() if hasattr(value, "to_ical") else str(value) for name, value in event.items()}
        for event in icalendar.Calendar.from_ical(file).walk("VEVENT")
    ]


def names(file: bytes) -> list[bytes]:
    """What stands before the first colon of each line, once what was folded is unfolded."""
    return [each.split(b":")[0] for each in file.replace(b"\r\n ", b"").split(b"\r\n")]


# Lines


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=400))
def test_no_line_has_more_than_75_octets_and_none_is_cut_inside_of_a_character(value: str) -> None:
    file = written([f"SUMMARY:{text(value)}"])

    lines = file.removesuffix(b"\r\n").split(b"\r\n")
    assert all(len(line) <= 75 for line in lines)
    assert all(line.decode() for line in lines)
    assert b"".join([lines[0], *(line[1:] for line in lines[1:])]).decode() == f"SUMMARY:{text(value)}"
    assert all(line.startswith(b" ") for line in lines[1:])


HOSTILE: Final = (
    "a\r\nBEGIN:VALARM\r\nTRIGGER:-PT1H\r\nEND:VALARM",
    "a\nEND:VEVENT\nBEGIN:VEVENT\nUID:evil",
    "a\rATTENDEE:mailto:eve@example.com",
    "a\u2028ATTENDEE:x\u2029ATTENDEE:y\x85ATTENDEE:z\x0bATTENDEE:v\x0cATTENDEE:w\x1cATTENDEE:u",
    "a\\nATTENDEE:mailto:eve@example.com",
    "a\\",
    "a\\;b\\,c",
    '"quoted";X=1:2',
    "\x00\x07nothing",
)


@pytest.mark.parametrize("value", HOSTILE)
def test_no_text_ends_its_line_or_adds_a_property(value: str, readers: dict[str, Reader]) -> None:
    plain = file_of(a_reminder())

    file = file_of(a_reminder(subject=value, message=value))

    (expected,), (found,) = properties(plain), properties(file)
    assert set(found) == set(expected)
    assert names(file) == names(plain)
    for name, read in readers.items():
        assert len(read(file, NOW)) == 1, name


@pytest.mark.parametrize(
    "value",
    [
        'one, two; three: four \\ five "six"',
        "first\nsecond\n\nfourth",
        "👩‍👩‍👧‍👦 " * 30,
        "é" * 200,
        "ends with a comma,",
        "   inside   ",
        "日本語のとても長い一行" * 20,
        "%s {0} $x =?utf-8?q?x?= \\n \\N",
    ],
)
def test_every_reader_understands_every_text(value: str, readers: dict[str, Reader]) -> None:
    file = file_of(a_reminder(subject=value.replace("\n", " "), message=value))

    for name, read in readers.items():
        (found,) = read(file, NOW)
        assert (found.summary, found.description) == (value.replace("\n", " "), value.strip()), name


# One reminder


@pytest.mark.parametrize(
    ("subject", "summary"), [("Reminder: Buy milk", "Buy milk"), ("Reminder: this", "Reminder: this"), ("Milk", "Milk")]
)
def test_a_subject_that_was_made_from_the_message_is_said_without_its_first_word(subject: str, summary: str) -> None:
    (found,) = properties(file_of(a_reminder(subject=subject)))

    assert found["SUMMARY"] == summary


def test_what_was_meant_by_the_clock_stands_by_the_clock_and_an_instant_as_an_instant(
    readers: dict[str, Reader],
) -> None:
    clock = a_reminder()
    instant = a_reminder(wall=None, due_at=datetime(2026, 11, 25, 8, 0, 0, 999_000, tzinfo=UTC))
    second = a_reminder(
        wall="2026-10-25T02:30:00", fold=1, due_at=datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    )  # 02:30 for the second time

    files = [file_of(each) for each in (clock, instant, second)]

    lines = [next(line for line in file.split(b"\r\n")[::-1] if line.startswith(b"DTSTART")) for file in files]
    assert lines == [
        b"DTSTART;TZID=Europe/Paris:20261125T090000", b"DTSTART:20261125T080000Z", b"DTSTART:20261025T013000Z",
    ]  # fmt: skip
    for name, read in readers.items():
        assert [read(file, NOW)[0].at for file in files] == [
            clock.due_at, clock.due_at, second.due_at,
        ], name  # fmt: skip


@pytest.mark.parametrize(
    ("status", "reason", "said", "description"),
    [
        (Status.SCHEDULED, None, "CONFIRMED", "Buy milk"),
        (Status.RETRYING, "try later", "CONFIRMED", "Buy milk"),
        (Status.SENT, None, "CONFIRMED", "Buy milk"),
        (Status.FAILED, "No such user.", "CONFIRMED", "Buy milk\\n\\n(No such user.)"),
        (Status.CANCELLED, None, "CANCELLED", "Buy milk"),
        (Status.UNCONFIRMED, None, "TENTATIVE", "Buy milk"),
    ],
)
def test_an_event_says_how_it_stands(status: Status, reason: str | None, said: str, description: str) -> None:
    reminder = a_reminder(status=status, reason=reason, rev=4)

    (found,) = properties(file_of(reminder))

    assert (found["STATUS"], found["DESCRIPTION"], found["SEQUENCE"]) == (said, description, "4")
    assert (found["UID"], found["URL"]) == (str(reminder.id), f"{PAGES}/reminders/{reminder.id}")
    assert found["DTSTAMP"] == found["LAST-MODIFIED"] == "20261124T120000Z"


def test_an_event_takes_no_time_and_carries_no_alarm_nor_who_it_is_for() -> None:
    (found,) = properties(file := file_of(a_reminder()))

    assert found["TRANSP"] == "TRANSPARENT"
    assert {"DTEND", "DURATION", "ATTENDEE", "ORGANIZER"} & set(found) == set()
    assert b"VALARM" not in file
    assert b"METHOD" not in file


def test_a_zone_that_is_gone_is_no_reason_to_have_no_calendar(readers: dict[str, Reader]) -> None:
    held = a_series("FREQ=DAILY", "2026-11-25T09:00:00", "Mars/Base")
    gone = a_reminder(time_zone="Mars/Base", series_id=held.id, occurrence=held.next_wall)
    later = a_series("FREQ=HOURLY", "2026-11-25T09:00:00", "Europe/Paris")

    files = [file_of(gone, held=held), file_of(standing(later), held=later)]

    for name, read in readers.items():
        assert [each.at for file in files for each in read(file, NOW)] == [gone.due_at, gone.due_at], name


# Zones


def instants(first: int, last: int, count: int = 400) -> list[datetime]:
    """Somewhere in these years, the same each time."""
    dice = random.Random(f"{first} {last}")
    begin, end = datetime(first, 1, 1, tzinfo=UTC), datetime(last, 12, 31, tzinfo=UTC)
    return [(begin + dice.random() * (end - begin)).replace(microsecond=0) for _ in range(count)]


@pytest.mark.parametrize("zone", ZONES)
def test_a_zone_is_described_as_it_is_in_all_years(zone: str) -> None:
    place = ZoneInfo(zone)
    file = written(zone_lines(zone, 2024, 2066))

    by_dateutil = zones_by_dateutil(file).get(zone)
    by_library = icalendar.Timezone.from_ical(file).to_tz()
    last = 2120 if b"RRULE" in file or file.count(b"BEGIN") == 2 else 2066

    for at in instants(2025, last):
        local = at.astimezone(place).replace(tzinfo=None)
        for read in (by_dateutil, by_library):
            # The second of two equal times is no business of a file: they are written as instants.
            if local.replace(tzinfo=place).astimezone(UTC) == at:
                assert local.replace(tzinfo=read).utcoffset() == at.astimezone(place).utcoffset(), (at, read)


def test_every_zone_there_is_can_be_described() -> None:
    dice = random.Random(5545)

    for zone in dice.sample(sorted(times.zones()), 40):
        described = icalendar.Timezone.from_ical(written(zone_lines(zone, 2025, 2066)))
        assert described["TZID"] == zone
        assert described.subcomponents


# What repeats

RULES: Final = [
    ("FREQ=DAILY", "2027-03-01T09:00:00"),
    ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,SU;WKST=SU", "2027-03-01T08:15:00"),
    ("FREQ=MONTHLY;BYMONTHDAY=31", "2027-01-31T09:00:00"),
    ("FREQ=MONTHLY", "2027-01-31T09:00:00"),
    ("FREQ=MONTHLY;BYDAY=-1FR", "2027-03-26T17:00:00"),
    ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", "2027-03-31T17:00:00"),
    ("FREQ=YEARLY", "2028-02-29T09:00:00"),
    ("FREQ=DAILY;COUNT=9", "2027-03-10T02:30:00"),
    ("FREQ=WEEKLY;BYDAY=SU;UNTIL=20270520T023000", "2027-02-07T02:30:00"),
    ("FREQ=WEEKLY;UNTIL=20270401T235959", "2027-03-04T23:30:00"),
]


def ours(held: Series, since: datetime, until: datetime) -> list[datetime]:
    """What our own recurrence gives."""
    rule, start = Rule.read(held.rule), datetime.fromisoformat(held.start_wall)
    found = []
    for each in occurrences(rule, start, ZoneInfo(held.time_zone), after=since - timedelta(seconds=1)):
        if each.at > until:
            break
        found.append(each.at)
    return found


@pytest.mark.parametrize("zone", ["Europe/Paris", "America/New_York", "Asia/Tokyo", "UTC"])
@pytest.mark.parametrize(("rule", "start"), RULES)
def test_readers_find_the_occurrences_that_we_give(
    rule: str, start: str, zone: str, readers: dict[str, Reader]
) -> None:
    held = a_series(rule, start, zone)
    reminder = standing(held)
    until = reminder.due_at + timedelta(days=1500)

    file = file_of(reminder, held=held)

    expected = ours(held, reminder.due_at, until)
    assert expected
    for name, read in readers.items():
        assert [each.at for each in read(file, until)] == expected, name


@pytest.mark.parametrize(
    ("zone", "clock"),
    [
        ("America/New_York", "02:30:00"),  # jumped over
        ("America/New_York", "01:30:00"),  # comes twice
        ("Europe/Paris", "02:00:00"),
        ("Europe/Paris", "03:00:00"),
        ("Australia/Lord_Howe", "02:15:00"),
        ("Africa/Cairo", "00:30:00"),
        ("America/Santiago", "00:00:00"),
        ("Asia/Beirut", "00:10:00"),
        ("Pacific/Chatham", "02:50:00"),
        ("America/Havana", "00:59:59"),
    ],
)
def test_readers_find_what_the_clocks_jump_over_or_show_twice_when_we_do(
    zone: str, clock: str, readers: dict[str, Reader]
) -> None:
    held = a_series("FREQ=DAILY", f"2027-01-01T{clock}", zone)
    reminder = standing(held)
    until = reminder.due_at + timedelta(days=3 * 365)

    file = file_of(reminder, held=held)

    expected = ours(held, reminder.due_at, until)
    for name, read in readers.items():
        assert [each.at for each in read(file, until)] == expected, name


def test_one_occurrence_that_was_moved_or_says_something_else_is_told_by_itself(readers: dict[str, Reader]) -> None:
    held = a_series("FREQ=DAILY;COUNT=3", "2026-11-25T09:00:00", "Europe/Paris")
    by_rule = standing(held).due_at
    moved = standing(held, due_at=by_rule + timedelta(hours=3), wall="2026-11-25T12:00:00", message="Later", rev=2)

    file = file_of(moved, held=held)

    day = timedelta(days=1)
    expected = [(by_rule + timedelta(hours=3), "Later"), *((by_rule + n * day, "Buy milk") for n in (1, 2))]
    for name, read in readers.items():
        found: list[Understood] = read(file, by_rule + 9 * day)
        assert [(each.at, each.description) for each in found] == expected, name
        assert {each.uid for each in found} == {str(SERIES)}, name


def test_what_has_been_of_a_series_stands_by_itself_and_the_rule_begins_with_what_comes_next(
    readers: dict[str, Reader],
) -> None:
    held = a_series(
        "FREQ=DAILY;COUNT=5", "2026-11-23T09:00:00", "Europe/Paris", next_wall="2026-11-25T09:00:00", made=3
    )
    past = a_reminder(
        status=Status.SENT, series_id=held.id, occurrence="2026-11-24T09:00:00", wall="2026-11-24T09:00:00",
        due_at=datetime(2026, 11, 24, 8, tzinfo=UTC),
    )  # fmt: skip

    file = file_of(past, standing(held), held=held)

    for name, read in readers.items():
        found = read(file, NOW + timedelta(days=99))
        assert [f"{each.at:%d}" for each in found] == ["24", "25", "26", "27"], name
        assert [each.uid == str(past.id) for each in found] == [True, False, False, False], name


def test_what_is_counted_from_completion_says_nothing_of_what_follows() -> None:
    held = a_series("FREQ=DAILY", "2026-11-25T09:00:00", "Europe/Paris", from_completion=True)

    (found,) = properties(file_of(standing(held), held=held))

    assert "RRULE" not in found


@pytest.mark.parametrize("state", ["ended", "cancelled"])
def test_a_series_that_is_over_says_nothing_of_what_would_have_followed(state: str) -> None:
    held = a_series("FREQ=DAILY", "2026-11-25T09:00:00", "Europe/Paris")
    reminder = standing(held)
    held.state, held.next_wall = state, None

    (found,) = properties(file_of(reminder, held=held))

    assert "RRULE" not in found
