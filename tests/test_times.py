"""A wall-clock time and a zone: one instant, or a refusal that says which part is wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rmindr import times
from rmindr.times import BadTime, Gap, Overlap, Written

PROPERTY: Final = settings(deadline=None, derandomize=True, database=None, max_examples=150)
NOW: Final = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
MS: Final = timedelta(milliseconds=1)
HOUR: Final = timedelta(hours=1)


def instant(text: str, zone: str = "UTC", *, fold: int | None = None, after: datetime = NOW) -> datetime:
    """The instant of a text, as everybody else asks for it."""
    return times.instant(times.read(text), times.zone(zone), fold=fold, after=after)


def whenever(wall: datetime, zone: str, *, fold: int | None = None) -> datetime:
    """The same, asked a good while before."""
    return instant(wall.isoformat(), zone, fold=fold, after=long_before(wall))


def long_before(wall: datetime) -> datetime:
    return (wall - timedelta(days=365 * 50)).replace(tzinfo=UTC)


def complaint(text: str, zone: str = "UTC", *, after: datetime = NOW) -> str:
    with pytest.raises(BadTime) as raised:
        instant(text, zone, after=after)
    return str(raised.value)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


def clock(text: str) -> datetime:
    return datetime.fromisoformat(text)


# Reading RFC 3339


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-12-01T09:00:00Z", utc(2026, 12, 1, 9)),
        ("2026-12-01t09:00:00z", utc(2026, 12, 1, 9)),
        ("2026-12-01 09:00Z", utc(2026, 12, 1, 9)),
        ("  2026-12-01T09:00:00Z\n", utc(2026, 12, 1, 9)),
        ("2026-12-01T09:00:00+05:30", utc(2026, 12, 1, 3, 30)),
        ("2026-12-01T09:00:00-08:00", utc(2026, 12, 1, 17)),
        ("2026-12-01T09:00:00-00:00", utc(2026, 12, 1, 9)),
        ("2026-12-01T09:00:00+23:59", utc(2026, 11, 30, 9, 1)),
        ("2026-12-01T09:00:00.25Z", utc(2026, 12, 1, 9, 0, 0, 250_000)),
        ("2028-02-29T00:00Z", utc(2028, 2, 29)),
    ],
)
def test_a_written_time_with_an_offset_is_one_instant_whatever_the_zone(text: str, expected: datetime) -> None:
    assert instant(text, "Asia/Kathmandu") == expected


def test_a_time_without_an_offset_stays_on_the_clock() -> None:
    assert times.read("2026-12-01 09:00") == Written(clock("2026-12-01T09:00"), None)


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "tomorrow at 9", "2026-12-01", "09:00", "1795448797530", "20261201T090000Z", "2026-12-01T9:00Z",
        "2026-12-1T09:00Z", "26-12-01T09:00Z", "+2026-12-01T09:00Z", "12026-12-01T09:00Z", "-2026-12-01T09:00Z",
        "2026-12-01T09Z", "2026-12-01T09:00:00.Z", "2026-12-01T09:00:00,5Z", "2026-12-01T09:00.5Z",
        "2026-12-01T09:00:00.1234567890Z", "2026-12-01  09:00Z", "2026-12-01_09:00Z", "2026-12-01T09:00:00 Z",
        "2026-12-01T09:00:00ZZ", "2026-12-01T09:00:00+0100", "2026-12-01T09:00:00+01", "2026-12-01T09:00:00+1:00",
        "2026-12-01T09:00:00UTC", "2026-12-01T09:00:00−01:00", "2026-12-01T09:00:00[Europe/Paris]",
        "2026/12/01 09:00Z", "01.12.2026 09:00", "2026-W49-2T09:00Z", "2026-335T09:00Z", "2026-12-01T09:00:00Z\0",
        "2026-12-01T09:00:00Z\n2026-12-01T09:00:00Z", "٢٠٢٦-12-01T09:00:00Z", "２０２６-12-01T09:00:00Z",
    ],
)  # fmt: skip
def test_what_is_not_rfc_3339_is_refused_with_an_example_of_what_is(text: str) -> None:
    assert complaint(text) == "must be written like 2026-12-01T09:00:00Z"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("2026-00-01T09:00Z", "month"),
        ("2026-13-01T09:00Z", "month"),
        ("2026-12-00T09:00Z", "day"),
        ("2026-11-31T09:00Z", "day"),
        ("2027-02-29T09:00Z", "day"),
        ("0000-12-01T09:00Z", "year"),
        ("2026-12-01T24:00Z", "hour"),
        ("2026-12-01T09:60Z", "minute"),
        ("2026-12-31T23:59:60Z", "second"),
    ],
)
def test_a_part_that_is_out_of_range_is_named(text: str, part: str) -> None:
    said = complaint(text)

    assert said.startswith("is no date and time: ")
    assert part in said


@pytest.mark.parametrize("offset", ["+24:00", "-24:00", "+99:99", "+12:60"])
def test_an_offset_that_no_clock_can_have_is_named(offset: str) -> None:
    assert complaint(f"2026-12-01T09:00:00{offset}") == f"has the offset {offset}, which does not exist"


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("9999-12-31T23:59:59.9999Z", "UTC"),
        ("9999-12-31T23:59:59-00:01", "UTC"),
        ("9999-12-31T23:59:59", "America/New_York"),
        ("0001-01-01T00:00:00", "Asia/Tokyo"),
        ("0001-01-01T00:00:00+00:01", "UTC"),
    ],
)
def test_an_instant_beyond_what_the_calendar_holds_is_refused(text: str, zone: str) -> None:
    assert complaint(text, zone) == "is beyond the calendar"


# Fractions of a second


# What RFC 9557 puts behind it


@pytest.mark.parametrize(
    ("text", "expected", "place"),
    [
        ("2026-12-01T09:00:00+01:00[Europe/Paris]", utc(2026, 12, 1, 8), "Europe/Paris"),
        ("2026-12-01T09:00:00+01:00[!Europe/Paris]", utc(2026, 12, 1, 8), "Europe/Paris"),
        ("2026-12-01 09:00+01:00[Europe/Paris][u-ca=hebrew][knort=blargel]", utc(2026, 12, 1, 8), "Europe/Paris"),
        ("2026-12-01T09:00:00+01:00[Europe/Paris][!u-ca=gregory]", utc(2026, 12, 1, 8), "Europe/Paris"),
        # The instant, and nothing of the clocks anywhere: so it agrees with all of them.
        ("2026-12-01T09:00:00Z[!Europe/Paris]", utc(2026, 12, 1, 9), "Europe/Paris"),
        ("2026-12-01T09:00:00-00:00[!Europe/Paris]", utc(2026, 12, 1, 9), "Europe/Paris"),
        # What is not known and not critical is passed over.
        ("2026-12-01T09:00:00+01:00[Mars/Olympus]", utc(2026, 12, 1, 8), None),
        ("2026-12-01T09:00:00+01:00[+01:00]", utc(2026, 12, 1, 8), None),
        ("2026-12-01T09:00:00+01:00[!+01:00]", utc(2026, 12, 1, 8), None),
        ("2026-12-01T09:00:00+01:00[+05:00]", utc(2026, 12, 1, 8), None),
        ("2026-12-01T09:00:00+01:00[_foo=bar-2]", utc(2026, 12, 1, 8), None),
    ],
)
def test_a_zone_behind_it_is_its_own_and_what_is_not_critical_may_be_unknown(
    text: str, expected: datetime, place: str | None
) -> None:
    written = times.read(text)

    at = times.instant(written, written.place or times.zone("Asia/Tokyo"), after=NOW)

    assert (at, written.place.key if written.place else None, written.note) == (expected, place, None)


def test_where_offset_and_zone_disagree_the_offset_decides_and_that_is_said() -> None:
    written = times.read("2027-03-14T02:30:00-05:00[America/New_York]")

    assert times.instant(written, times.zone("UTC"), after=NOW) == utc(2027, 3, 14, 7, 30)
    assert written.place == times.zone("America/New_York")
    assert written.note == "The offset decides: the clocks of New York show 03:30 then (UTC−4)."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2027-03-14T02:30:00-05:00[!America/New_York]", "contradicts itself: the clocks of New York show 03:30 then"),
        ("2026-12-01T09:00:00+00:00[!Europe/Paris]", "contradicts itself: the clocks of Paris show 10:00 then (UTC+1)"),
        ("2026-12-01T09:00:00+01:00[!Mars/Olympus]", "is «Mars/Olympus», which is no time zone"),
        ("2026-12-01T09:00:00+01:00[!+02:00]", "has two offsets, and insists on [!+02:00]"),
        ("2026-12-01T09:00:00Z[!+01:00]", "has two offsets, and insists on [!+01:00]"),
        ("2026-12-01T09:00:00Z[!u-ca=hebrew]", "insists on [!u-ca=hebrew], which is not known here"),
        ("2026-12-01T09:00:00Z[Europe/Paris][!_foo=bar]", "insists on [!_foo=bar], which is not known here"),
        ("2026-12-01T09:00:00Z[u-ca=gregory][Europe/Paris]", "is not as RFC 9557 has it"),
        ("2026-12-01T09:00:00Z[Europe/Paris][Europe/Rome]", "is not as RFC 9557 has it"),
        ("2026-12-01T09:00:00Z[]", "is not as RFC 9557 has it"),
        ("2026-12-01T09:00:00Z[ Europe/Paris]", "is not as RFC 9557 has it"),
        ("2026-12-01T09:00:00Z[U-CA=gregory]", "is not as RFC 9557 has it"),
        ("2026-12-01T09:00:00Z[Europe/Paris", "must be written like"),
        ("2026-12-01T09:00:00Z[Europe/Paris] x", "must be written like"),
        ("0001-01-01T00:00:00+23:59[Europe/Paris]", "is beyond the calendar"),
    ],
)
def test_what_is_critical_must_be_known_and_true_and_all_of_it_well_formed(text: str, said: str) -> None:
    assert said in complaint(text)


@pytest.mark.parametrize("unit", ["[", "[a]", "[!", "]", "[Europe/Paris]", "[a=b]", "[a=b-", "-b"])
def test_however_much_stands_behind_it_it_is_judged_in_one_pass(unit: str) -> None:
    text = "2026-12-01T09:00:00Z" + unit * (64 * 1024 // len(unit))

    begun = time.process_time()
    said = refusal(text)

    # Ten times what it takes here; what backtracks would take minutes.
    assert time.process_time() - begun < 2
    assert len(said) < 200


def refusal(text: str) -> str:
    """Why a text is no time; nothing where it is one."""
    try:
        times.read(text)
    except BadTime as refused:
        return str(refused)
    return ""


@pytest.mark.parametrize(
    ("fraction", "milliseconds"),
    [("", 0), (".0", 0), (".000", 0), (".5", 500), (".05", 50), (".001", 1), (".0010", 1), (".001000000", 1),
     (".000000001", 1), (".0001", 1), (".0011", 2), (".001000001", 2), (".9989", 999), (".999999999", 1000)],
)  # fmt: skip
def test_what_is_finer_than_a_millisecond_rounds_up(fraction: str, milliseconds: int) -> None:
    assert instant(f"2026-12-01T09:00:00{fraction}Z") == utc(2026, 12, 1, 9) + milliseconds * MS


def test_rounding_up_carries_into_the_year() -> None:
    assert instant("2026-12-31T23:59:59.9999Z") == utc(2027, 1, 1)


@pytest.mark.parametrize(
    ("text", "fold", "expected"),
    [
        ("2027-03-28T01:59:59.9999", None, utc(2027, 3, 28, 1)),
        ("2027-10-31T01:59:59.9999", None, utc(2027, 10, 31, 0)),
        ("2027-10-31T02:59:59.9999", 0, utc(2027, 10, 31, 1)),
        ("2027-10-31T02:59:59.9999", 1, utc(2027, 10, 31, 2)),
    ],
)
def test_the_last_fraction_before_the_clocks_change_is_the_second_that_it_belongs_to(
    text: str, fold: int | None, expected: datetime
) -> None:
    assert instant(text, "Europe/Paris", fold=fold) == expected


# Clocks that jump forward, and clocks that are set back


@pytest.mark.parametrize(
    ("zone", "wall", "after"),
    [
        ("Europe/Paris", "2027-03-28T02:30", "2027-03-28T03:30"),
        ("Europe/Paris", "2027-03-28T02:00", "2027-03-28T03:00"),
        ("Europe/Paris", "2027-03-28T02:59:59.999", "2027-03-28T03:59:59.999"),
        ("America/New_York", "2027-03-14T02:30", "2027-03-14T03:30"),
        ("Australia/Lord_Howe", "2027-10-03T02:15", "2027-10-03T02:45"),
        # In Ireland summer is the standard time and winter the exception: an hour less, by law.
        ("Europe/Dublin", "2027-03-28T01:30", "2027-03-28T02:30"),
        # At midnight: the day begins at one.
        ("Africa/Cairo", "2027-04-30T00:30", "2027-04-30T01:30"),
        # Beyond the table of changes, where a rule goes on.
        ("Europe/Paris", "2099-03-29T02:30", "2099-03-29T03:30"),
    ],
)
def test_a_time_that_the_clocks_jump_over_is_refused_and_told_by_the_offset_before(
    zone: str, wall: str, after: str
) -> None:
    with pytest.raises(Gap) as raised:
        instant(wall, zone)

    assert raised.value.after.replace(tzinfo=None) == clock(after)
    assert f"jump over {clock(wall):%H:%M}; {clock(after):%H:%M} comes in its place" in str(raised.value)


@pytest.mark.parametrize("fold", [0, 1])
def test_choosing_the_first_or_the_second_does_not_make_a_time_that_does_not_exist(fold: int) -> None:
    with pytest.raises(Gap):
        instant("2027-03-28T02:30", "Europe/Paris", fold=fold)


def test_a_gap_is_told_with_the_day_the_place_and_what_to_write_instead() -> None:
    assert complaint("2027-03-14T02:30", "America/New_York") == (
        "does not exist: on 14 March 2027 the clocks of New York jump over 02:30; 03:30 comes in its place"
    )


def test_a_whole_day_that_a_place_left_out_is_told_with_the_day_after() -> None:
    assert complaint("2011-12-30T09:00", "Pacific/Apia", after=utc(2011, 1, 1)) == (
        "does not exist: on 30 December 2011 the clocks of Apia jump over 09:00; "
        "09:00 on 31 December 2011 comes in its place"
    )


@pytest.mark.parametrize(
    ("zone", "missing"),
    [("Pacific/Apia", "2011-12-30"), ("Pacific/Kwajalein", "1993-08-21"), ("Asia/Manila", "1844-12-31")],
)
def test_each_place_that_crossed_the_date_line_misses_one_whole_day_and_no_other(zone: str, missing: str) -> None:
    day = clock(missing)
    hours = [day + number * HOUR for number in range(-24, 48)]

    refused = []
    for hour in hours:
        try:
            whenever(hour, zone)
        except Gap:
            refused.append(hour)

    assert refused == [day + number * HOUR for number in range(24)]


@pytest.mark.parametrize(
    ("zone", "wall", "first", "second"),
    [
        ("Europe/Paris", "2027-10-31T02:30", utc(2027, 10, 31, 0, 30), utc(2027, 10, 31, 1, 30)),
        ("Europe/Paris", "2027-10-31T02:00", utc(2027, 10, 31, 0), utc(2027, 10, 31, 1)),
        ("America/New_York", "2027-11-07T01:30", utc(2027, 11, 7, 5, 30), utc(2027, 11, 7, 6, 30)),
        ("Australia/Lord_Howe", "2027-04-04T01:45", utc(2027, 4, 3, 14, 45), utc(2027, 4, 3, 15, 15)),
        ("Europe/Dublin", "2027-10-31T01:30", utc(2027, 10, 31, 0, 30), utc(2027, 10, 31, 1, 30)),
        ("Africa/Cairo", "2027-10-28T23:30", utc(2027, 10, 28, 20, 30), utc(2027, 10, 28, 21, 30)),
        ("Europe/Paris", "2099-10-25T02:30", utc(2099, 10, 25, 0, 30), utc(2099, 10, 25, 1, 30)),
    ],
)
def test_a_time_that_comes_twice_is_refused_until_one_of_the_two_is_chosen(
    zone: str, wall: str, first: datetime, second: datetime
) -> None:
    with pytest.raises(Overlap):
        instant(wall, zone)

    assert (instant(wall, zone, fold=0), instant(wall, zone, fold=1)) == (first, second)


def test_an_overlap_is_told_with_both_offsets() -> None:
    assert complaint("2027-04-04T01:45", "Australia/Lord_Howe") == (
        "comes twice: on 4 April 2027 the clocks of Lord Howe are set back; "
        "choose the first 01:45 (UTC+11) or the second (UTC+10:30)"
    )


@pytest.mark.parametrize(
    "wall", ["2027-03-28T01:59:59.999", "2027-03-28T03:00", "2027-10-31T01:59:59", "2027-10-31T03:00"]
)
@pytest.mark.parametrize("fold", [None, 0, 1])
def test_the_times_right_beside_a_change_come_once_whatever_is_chosen(wall: str, fold: int | None) -> None:
    found = instant(wall, "Europe/Paris", fold=fold)

    assert found.astimezone(ZoneInfo("Europe/Paris")).replace(tzinfo=None) == clock(wall)


def test_an_offset_says_which_of_two_is_meant() -> None:
    first, second = (instant(f"2027-10-31T02:30{offset}", "Europe/Paris") for offset in ("+02:00", "+01:00"))

    assert second - first == HOUR


def test_the_two_readings_of_a_time_are_named_where_there_are_two() -> None:
    paris = times.zone("Europe/Paris")

    assert times.folds(clock("2027-10-31T02:30"), paris) == ("UTC+2", "UTC+1")
    assert times.folds(clock("2027-10-31T03:00"), paris) is None
    assert times.folds(clock("2027-03-28T02:30"), paris) is None


def test_a_place_whose_clock_once_differed_by_seconds_keeps_them() -> None:
    found = whenever(clock("1971-06-01T09:00"), "Africa/Monrovia")

    assert found == utc(1971, 6, 1, 9, 44, 30)
    assert times.offset(found.astimezone(times.zone("Africa/Monrovia"))) == "UTC−0:44:30"


# The past, and the far future


def test_now_is_past_and_a_millisecond_later_is_not() -> None:
    assert complaint("2026-11-24T08:00:00Z") == "is in the past"
    assert instant("2026-11-24T08:00:00.001Z") == NOW + MS


def test_a_fraction_that_rounds_up_to_the_next_millisecond_is_not_past() -> None:
    assert instant("2026-11-24T08:00:00.0000001Z") == NOW + MS


def test_a_hundred_years_ahead_is_the_horizon() -> None:
    last = NOW + times.HORIZON

    assert instant(last.isoformat()) == last
    assert complaint((last + MS).isoformat()) == "is more than 100 years away"


# Zones


@pytest.mark.parametrize("name", ["Europe/Paris", "UTC", "Etc/GMT+5", "EST5EDT", "US/Eastern", "Asia/Calcutta"])
def test_a_zone_may_be_said_by_any_name_it_ever_had(name: str) -> None:
    assert times.zone(name).key == name


@pytest.mark.parametrize(
    "name",
    ["", "Paris", "europe/paris", "Europe/Paris ", "+01:00", "CET-1CEST", "localtime", "Factory", "posix/UTC",
     "right/UTC", "posixrules", "../UTC", "/etc/localtime", "../../../../etc/passwd", "Europe", "tzdata.zi"],
)  # fmt: skip
def test_what_is_no_zone_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(BadTime, match=r"which is no time zone; write one like Europe/Paris or UTC$") as raised:
        times.zone(name)

    assert str(raised.value).startswith(f"is «{name}»,")


@pytest.mark.parametrize("name", ["UTC\0", "Europe/\n\x1b[31mParis", "\ud800", "\u202eCTU", "Z" * 65_536])
def test_a_refused_zone_is_told_shortly_and_in_characters_that_can_be_shown(name: str) -> None:
    with pytest.raises(BadTime) as raised:
        times.zone(name)

    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 140


def test_the_zones_to_choose_from_are_sorted_places_and_utc_and_each_can_be_chosen() -> None:
    names = times.zones()

    assert names == sorted(names)
    assert {"UTC", "Europe/Paris", "America/Argentina/Buenos_Aires", "Pacific/Apia"} <= set(names)
    assert not {"Etc/UTC", "EST5EDT", "GMT", "US/Eastern", "posix/UTC"} & set(names)
    assert [times.zone(name).key for name in names] == names
    # The column that keeps them (models.py) is as wide.
    assert max(map(len, names)) <= 64


# Words


@pytest.mark.parametrize(
    ("zone", "moment", "expected"),
    [
        ("UTC", utc(2026, 12, 1), "UTC"),
        ("Europe/London", utc(2026, 12, 1), "UTC"),
        ("Europe/London", utc(2026, 7, 1), "UTC+1"),
        ("America/New_York", utc(2026, 12, 1), "UTC−5"),
        ("Asia/Kolkata", utc(2026, 12, 1), "UTC+5:30"),
        ("Asia/Kathmandu", utc(2026, 12, 1), "UTC+5:45"),
        ("America/St_Johns", utc(2026, 12, 1), "UTC−3:30"),
        ("Pacific/Kiritimati", utc(2026, 12, 1), "UTC+14"),
    ],
)
def test_an_offset_is_said_as_people_write_it(zone: str, moment: datetime, expected: str) -> None:
    assert times.offset(moment.astimezone(ZoneInfo(zone))) == expected


@pytest.mark.parametrize(
    ("moment", "zone", "expected"),
    [
        (utc(2026, 12, 4, 14), "America/New_York", "Friday 4 December 2026 at 09:00 in New York (UTC−5)"),
        (utc(2026, 12, 4, 14), "UTC", "Friday 4 December 2026 at 14:00 (UTC)"),
        (utc(2026, 12, 4, 14, 0, 5), "UTC", "Friday 4 December 2026 at 14:00:05 (UTC)"),
        (utc(2026, 12, 4, 14, 0, 0, 1000), "UTC", "Friday 4 December 2026 at 14:00:00 (UTC)"),
        (utc(2026, 12, 31, 23), "Asia/Tokyo", "Friday 1 January 2027 at 08:00 in Tokyo (UTC+9)"),
        (
            utc(2026, 12, 4, 14),
            "America/Argentina/Buenos_Aires",
            "Friday 4 December 2026 at 11:00 in Buenos Aires (UTC−3)",
        ),
    ],
)
def test_a_moment_is_said_with_its_weekday_its_place_and_its_offset(moment: datetime, zone: str, expected: str) -> None:
    assert times.in_words(moment, times.zone(zone)) == expected


def test_the_two_readings_of_one_time_are_told_apart_in_words() -> None:
    paris = times.zone("Europe/Paris")

    first, second = (times.in_words(instant("2027-10-31T02:30", paris.key, fold=fold), paris) for fold in (0, 1))

    assert first == "Sunday 31 October 2027 at 02:30 in Paris (UTC+2)"
    assert second == "Sunday 31 October 2027 at 02:30 in Paris (UTC+1)"


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ({"seconds": -5}, "0 seconds"),
        ({}, "0 seconds"),
        ({"milliseconds": 400}, "0 seconds"),
        ({"milliseconds": 600}, "1 second"),
        ({"seconds": 20}, "20 seconds"),
        ({"milliseconds": 59_600}, "1 minute"),
        ({"seconds": 61}, "1 minute 1 second"),
        ({"minutes": 125}, "2 hours 5 minutes"),
        ({"minutes": 125, "seconds": 59}, "2 hours 5 minutes"),
        ({"days": 1}, "1 day"),
        ({"days": 6, "hours": 23}, "6 days"),
        ({"days": 365}, "1 year"),
        ({"days": 365, "hours": 5}, "1 year"),
        ({"days": 800}, "2 years 70 days"),
        ({"days": 365_000_0}, "10,000 years"),
    ],
)
def test_a_distance_is_said_in_its_largest_units(span: dict[str, Any], expected: str) -> None:
    assert times.distance_in_words(timedelta(**span)) == expected


# Whatever is asked


@PROPERTY
@given(
    st.datetimes(datetime(1900, 1, 2), datetime(2120, 1, 1)),  # noqa: DTZ001  (on the clock)
    st.integers(-(24 * 60 - 1), 24 * 60 - 1),
    st.text("0123456789", min_size=1, max_size=9),
)
@example(datetime(2027, 3, 28, 1, 59, 59), 0, "999999999")  # noqa: DTZ001
def test_no_instant_is_early_or_as_much_as_a_millisecond_late(wall: datetime, minutes: int, fraction: str) -> None:
    wall = wall.replace(microsecond=0)
    hours, rest = divmod(abs(minutes), 60)
    text = f"{wall.isoformat()}.{fraction}{'-' if minutes < 0 else '+'}{hours:02d}:{rest:02d}"

    found = instant(text, after=long_before(wall))

    whole_seconds = (wall - timedelta(minutes=minutes)).replace(tzinfo=UTC)
    found_ns = (found - whole_seconds) // timedelta(microseconds=1) * 1000
    assert 0 <= found_ns - int(fraction.ljust(9, "0")) < 1_000_000
    assert found.microsecond % 1000 == 0


@st.composite
def walls(draw: st.DrawFn) -> tuple[datetime, str]:
    """A wall time somewhere, more often than not within hours of a change of its clocks."""
    zone = draw(st.sampled_from(times.zones()))
    year = draw(st.integers(1850, 2110))
    moments = [moment for moment, _, _ in changes(zone, year)] or [utc(year, 7, 1)]
    moment = draw(st.sampled_from(moments)).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    return moment + timedelta(seconds=draw(st.integers(-3 * 3600, 3 * 3600) | st.integers(-10, 10))), zone


@settings(PROPERTY, max_examples=400)
@given(walls())
@example((datetime(2027, 10, 3, 2, 0), "Australia/Lord_Howe"))  # noqa: DTZ001
@example((datetime(2011, 12, 30, 23, 59, 59), "Pacific/Apia"))  # noqa: DTZ001
@example((datetime(1911, 3, 10, 23, 55), "Europe/Paris"))  # noqa: DTZ001  (set back by 9 minutes and 21 seconds)
def test_any_time_anywhere_is_one_instant_that_reads_back_or_a_gap_or_an_overlap(asked: tuple[datetime, str]) -> None:
    wall, zone = asked
    readings = instants_that_read(wall, ZoneInfo(zone))

    match readings:
        case []:
            with pytest.raises(Gap):
                whenever(wall, zone)
        case [only]:
            assert {whenever(wall, zone, fold=fold) for fold in (None, 0, 1)} == {only}
        case [first, second]:
            with pytest.raises(Overlap):
                whenever(wall, zone)
            assert whenever(wall, zone, fold=0) == first
            assert whenever(wall, zone, fold=1) == second
        case _:
            pytest.fail(f"{wall} reads so {len(readings)} times in {zone}")


def test_every_change_of_clocks_in_2027_is_a_gap_or_an_overlap_of_its_length_in_every_zone() -> None:
    found = [(name, *change) for name in times.zones() for change in changes(name, 2027)]
    assert len(found) > 200

    for name, moment, before, after in found:
        change = after - before
        # What the clock would have shown, had it not been changed.
        wall = (moment + before).replace(tzinfo=None)
        if change > timedelta(0):
            for missing in (wall, wall + change - MS):
                with pytest.raises(Gap) as raised:
                    instant(missing.isoformat(), name)
                assert raised.value.after.replace(tzinfo=None) == missing + change, name
            assert instant((wall - MS).isoformat(), name) == moment - MS
            assert instant((wall + change).isoformat(), name) == moment
        else:
            for doubled in (wall + change, wall - MS):
                with pytest.raises(Overlap):
                    instant(doubled.isoformat(), name)
                assert (
                    instant(doubled.isoformat(), name, fold=1) - instant(doubled.isoformat(), name, fold=0) == -change
                )
            assert instant((wall + change - MS).isoformat(), name) == moment + change - MS
            assert instant(wall.isoformat(), name) == moment - change


def changes(zone: str, year: int) -> Iterator[tuple[datetime, timedelta, timedelta]]:
    """Every change of a zone's clocks in a year: the instant, the offset before it and the offset from it on."""
    place = ZoneInfo(zone)
    weeks = [utc(year, 1, 1) + timedelta(weeks=number) for number in range(53)]
    for low, high in pairwise(weeks):
        before, after = offset_at(low, place), offset_at(high, place)
        if before == after:
            continue
        while high - low > timedelta(seconds=1):
            middle = (low + (high - low) / 2).replace(microsecond=0)
            low, high = (middle, high) if offset_at(middle, place) == before else (low, middle)
        yield high, before, offset_at(high, place)


def instants_that_read(wall: datetime, place: ZoneInfo) -> list[datetime]:
    """Every instant at which the clocks of a place show this, found by looking at the clocks around it."""
    near = wall.replace(tzinfo=UTC)
    offsets = {offset_at(near + hours * HOUR, place) for hours in range(-48, 49, 3)}
    return sorted(
        moment
        for moment in (near - offset for offset in offsets)
        if moment.astimezone(place).replace(tzinfo=None) == wall
    )


def offset_at(moment: datetime, place: ZoneInfo) -> timedelta:
    offset = moment.astimezone(place).utcoffset()
    assert offset is not None
    return offset
