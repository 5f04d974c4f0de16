"""Rules for repeating: what they are, when they come due on every clock of the world, and what is refused."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from itertools import islice, pairwise, product, takewhile
from typing import Final
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from hypothesis import given, settings
from hypothesis import strategies as st

from rmindr import times
from rmindr.recurrence import (
    BadRule,
    Day,
    Freq,
    Rule,
    describe,
    first,
    following,
    occurrences,
    presets,
    skips,
    upcoming,
)
from rmindr.recurrence.days import walls

FULL: Final = os.environ.get("SCALE") == "full"
PROPERTY: Final = settings(deadline=None, derandomize=True, database=None, max_examples=3000 if FULL else 100)
PARIS: Final = ZoneInfo("Europe/Paris")
TUESDAY: Final = datetime.fromisoformat("2026-11-24 09:00")
DAILY: Final = Rule(freq=Freq.DAILY)


def clock(text: str) -> datetime:
    """A time on a clock, without a zone, e.g. of "2026-11-24 09:00"."""
    return datetime.fromisoformat(text)


def rule(text: str) -> Rule:
    return Rule.read(text, PARIS)


def days(text: str, start: datetime = TUESDAY, count: int = 4) -> list[str]:
    """The first days of a rule, e.g. ["2026-11-24", "2026-11-25"]."""
    return [f"{wall:%Y-%m-%d}" for wall in islice(walls(rule(text), start), count)]


def complaint(text: str) -> str:
    with pytest.raises(BadRule) as raised:
        Rule.read(text)
    return str(raised.value)


def local(at: datetime, place: ZoneInfo) -> datetime:
    return at.astimezone(place).replace(tzinfo=None)


def instants(wall: datetime, place: ZoneInfo) -> list[datetime]:
    """Every instant at which the clocks of a place show this time: the long way round, through the offsets near by."""
    near = {local_offset(wall, place, hours) for hours in range(-30, 31, 6)}
    found = sorted({(wall - offset).replace(tzinfo=UTC) for offset in near})
    return [at for at in found if local(at, place) == wall]


def local_offset(wall: datetime, place: ZoneInfo, hours: int) -> timedelta:
    moved = (wall + timedelta(hours=hours)).replace(tzinfo=UTC).astimezone(place).utcoffset()
    assert moved is not None
    return moved


# The text of a rule


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FREQ=DAILY", "FREQ=DAILY"),
        ("RRULE:FREQ=DAILY", "FREQ=DAILY"),
        (" freq=weekly;byday=th,mo ", "FREQ=WEEKLY;BYDAY=MO,TH"),
        ("FREQ=DAILY;INTERVAL=1", "FREQ=DAILY"),
        ("BYDAY=-1FR;FREQ=MONTHLY", "FREQ=MONTHLY;BYDAY=-1FR"),
        ("FREQ=MONTHLY;BYDAY=+1MO,3MO", "FREQ=MONTHLY;BYDAY=1MO,3MO"),
        ("FREQ=MONTHLY;BYMONTHDAY=-1,15", "FREQ=MONTHLY;BYMONTHDAY=-1,15"),
        ("FREQ=DAILY;COUNT=10000", "FREQ=DAILY;COUNT=10000"),
        ("FREQ=DAILY;UNTIL=20270501", "FREQ=DAILY;UNTIL=20270501T235959"),
        ("FREQ=DAILY;UNTIL=20270501T180000", "FREQ=DAILY;UNTIL=20270501T180000"),
        ("FREQ=DAILY;UNTIL=20270501T160000Z", "FREQ=DAILY;UNTIL=20270501T180000"),
        ("FREQ=WEEKLY;WKST=SU;INTERVAL=2", "FREQ=WEEKLY;INTERVAL=2;WKST=SU"),
        ("FREQ=WEEKLY;WKST=MO", "FREQ=WEEKLY"),
        ("FREQ=YEARLY;BYMONTH=11;BYDAY=4TH", "FREQ=YEARLY;BYMONTH=11;BYDAY=4TH"),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1"),
    ],
)
def test_a_rule_is_read_and_written_in_one_order(text: str, expected: str) -> None:
    assert str(rule(text)) == expected
    assert rule(expected) == rule(text)


@pytest.mark.parametrize(
    ("text", "part", "why"),
    [
        ("", "«»", "known are FREQ"),
        ("DAILY", "«DAILY»", "known are FREQ"),
        ("INTERVAL=2", "FREQ", "is missing"),
        ("FREQ=", "FREQ", "has no value"),
        ("FREQ", "FREQ", "has no value"),
        ("FREQ=DAILY;", "«»", "not kept"),
        ("FREQ=OFTEN", "FREQ", "«OFTEN»"),
        ("FREQ=HOURLY", "FREQ=HOURLY", "the shortest distance is a day"),
        ("FREQ=MINUTELY", "FREQ=MINUTELY", "the shortest distance is a day"),
        ("FREQ=SECONDLY", "FREQ=SECONDLY", "the shortest distance is a day"),
        ("FREQ=DAILY;FREQ=DAILY", "FREQ", "twice"),
        ("FREQ=DAILY;BYHOUR=9", "«BYHOUR»", "not kept"),
        ("FREQ=YEARLY;BYYEARDAY=1", "«BYYEARDAY»", "not kept"),
        ("FREQ=YEARLY;BYWEEKNO=1", "«BYWEEKNO»", "not kept"),
        ("FREQ=MONTHLY;SKIP=BACKWARD", "«SKIP»", "not kept"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL", "from 1"),
        ("FREQ=DAILY;INTERVAL=-1", "INTERVAL", "from 1"),
        ("FREQ=DAILY;INTERVAL=18263", "INTERVAL", "50 years"),
        ("FREQ=YEARLY;INTERVAL=51", "INTERVAL", "50 years"),
        ("FREQ=DAILY;INTERVAL=99999999999999", "INTERVAL", "no such number"),
        ("FREQ=DAILY;INTERVAL=1.5", "INTERVAL", "no such number"),
        ("FREQ=DAILY;INTERVAL=٣", "INTERVAL", "no such number"),
        ("FREQ=DAILY;COUNT=0", "COUNT", "from 1 to 10,000"),
        ("FREQ=DAILY;COUNT=10001", "COUNT", "from 1 to 10,000"),
        ("FREQ=DAILY;COUNT=3;UNTIL=20270501", "COUNT and UNTIL", "exclude"),
        ("FREQ=DAILY;UNTIL=20270230", "UNTIL", "20270230"),
        ("FREQ=DAILY;UNTIL=tomorrow", "UNTIL", "TOMORROW"),
        ("FREQ=DAILY;UNTIL=20270501T160000Z", "UNTIL", "no zone"),
        ("FREQ=WEEKLY;BYDAY=1MO", "BYDAY", "needs FREQ=MONTHLY"),
        ("FREQ=MONTHLY;BYDAY=0MO", "BYDAY", "«0MO»"),
        ("FREQ=MONTHLY;BYDAY=6MO", "BYDAY", "never comes"),
        ("FREQ=MONTHLY;BYDAY=TU,1MO", "BYDAY", "mixes 1MO and plain"),
        ("FREQ=YEARLY;BYMONTH=3;BYDAY=6MO", "BYDAY", "never comes"),
        ("FREQ=YEARLY;BYDAY=54MO", "BYDAY", "never comes"),
        ("FREQ=MONTHLY;BYDAY=XX", "BYDAY", "«XX»"),
        ("FREQ=MONTHLY;BYDAY=", "BYDAY", "no value"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY", "cannot be 0"),
        ("FREQ=MONTHLY;BYMONTHDAY=32", "BYMONTHDAY", "cannot be 32"),
        ("FREQ=WEEKLY;BYMONTHDAY=1", "BYMONTHDAY", "does not go with"),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "BYMONTHDAY", "never have"),
        ("FREQ=YEARLY;BYMONTH=4,6;BYMONTHDAY=-31", "BYMONTHDAY", "never have"),
        ("FREQ=YEARLY;BYMONTH=13", "BYMONTH", "cannot be 13"),
        ("FREQ=MONTHLY;BYSETPOS=1", "BYSETPOS", "chooses from nothing"),
        ("FREQ=WEEKLY;BYDAY=MO,TH;BYSETPOS=1", "BYSETPOS", "needs FREQ=MONTHLY"),
        ("FREQ=DAILY;BYDAY=MO;BYSETPOS=1", "BYSETPOS", "needs FREQ=MONTHLY"),
        ("FREQ=MONTHLY;BYDAY=MO;BYSETPOS=0", "BYSETPOS", "cannot be 0"),
        ("FREQ=WEEKLY;WKST=1", "WKST", "no weekday"),
        ("FREQ=DAILY\r\nX:Y", "FREQ", "�"),
        ("FREQ=MONTHLY;BYMONTHDAY=" + "1," * 300, "it", "500 characters"),
    ],
)
def test_what_is_no_rule_is_refused_by_its_part(text: str, part: str, why: str) -> None:
    said = complaint(text)

    assert f"is no rule for repeating: {part} " in said or f": {part}" in said
    assert why in said


def test_a_rule_that_never_comes_is_refused_before_it_is_kept() -> None:
    for text in (
        "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=6",
        "FREQ=MONTHLY;INTERVAL=12;BYMONTH=2",
        "FREQ=MONTHLY;BYMONTHDAY=1;BYDAY=2MO",
        "FREQ=YEARLY;INTERVAL=4;BYMONTH=2;BYMONTHDAY=29",
        "FREQ=DAILY;INTERVAL=7;BYDAY=MO",
    ):
        with pytest.raises(BadRule, match="never comes"):
            first(rule(text), clock("2027-11-24 09:00"))


def test_a_day_that_a_rule_takes_from_its_start_must_come() -> None:
    with pytest.raises(BadRule, match="never have"):
        first(rule("FREQ=MONTHLY;BYMONTH=2"), clock("2027-01-30 09:00"))


def test_an_end_before_the_beginning_is_refused() -> None:
    with pytest.raises(BadRule, match="ends before it begins"):
        first(rule("FREQ=DAILY;UNTIL=20261123"), TUESDAY)


def test_the_text_for_a_calendar_ends_in_utc() -> None:
    assert rule("FREQ=DAILY;UNTIL=20270501T180000").for_calendar(PARIS) == "FREQ=DAILY;UNTIL=20270501T160000Z"
    assert rule("FREQ=DAILY;COUNT=3").for_calendar(PARIS) == "FREQ=DAILY;COUNT=3"


# Its days


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FREQ=DAILY;INTERVAL=2", ["2026-11-24", "2026-11-26", "2026-11-28", "2026-11-30"]),
        ("FREQ=DAILY;COUNT=2", ["2026-11-24", "2026-11-25"]),
        ("FREQ=DAILY;UNTIL=20261125", ["2026-11-24", "2026-11-25"]),
        ("FREQ=DAILY;UNTIL=20261125T085959", ["2026-11-24"]),
        ("FREQ=DAILY;UNTIL=20261125T090000", ["2026-11-24", "2026-11-25"]),
        ("FREQ=WEEKLY", ["2026-11-24", "2026-12-01", "2026-12-08", "2026-12-15"]),
        ("FREQ=WEEKLY;BYDAY=MO", ["2026-11-30", "2026-12-07", "2026-12-14", "2026-12-21"]),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TH", ["2026-11-26", "2026-12-07", "2026-12-10", "2026-12-21"]),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,SU", ["2026-11-24", "2026-11-29", "2026-12-08", "2026-12-13"]),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,SU;WKST=SU", ["2026-11-24", "2026-12-06", "2026-12-08", "2026-12-20"]),
        ("FREQ=MONTHLY", ["2026-11-24", "2026-12-24", "2027-01-24", "2027-02-24"]),
        ("FREQ=MONTHLY;BYMONTHDAY=31", ["2026-12-31", "2027-01-31", "2027-03-31", "2027-05-31"]),
        ("FREQ=MONTHLY;BYMONTHDAY=-1", ["2026-11-30", "2026-12-31", "2027-01-31", "2027-02-28"]),
        ("FREQ=MONTHLY;BYDAY=-1FR", ["2026-11-27", "2026-12-25", "2027-01-29", "2027-02-26"]),
        ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", ["2027-08-13", "2028-10-13", "2029-04-13", "2029-07-13"]),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", ["2026-11-30", "2026-12-31", "2027-01-29", "2027-02-26"]),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", ["2028-02-29", "2032-02-29", "2036-02-29", "2040-02-29"]),
        ("FREQ=YEARLY;BYDAY=20MO", ["2027-05-17", "2028-05-15", "2029-05-14", "2030-05-20"]),
        ("FREQ=YEARLY;BYMONTH=1,7", ["2027-01-24", "2027-07-24", "2028-01-24", "2028-07-24"]),
    ],
)
def test_a_rule_comes_on_these_days(text: str, expected: list[str]) -> None:
    assert days(text) == expected


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """Rules of every kind, sensible or not."""
    freq = draw(st.sampled_from(list(Freq)))
    monthly = freq in (Freq.MONTHLY, Freq.YEARLY)
    nths = st.sampled_from([0, 0, 1, 2, 3, 4, 5, -1, -2, -5]) if monthly else st.just(0)
    by_day = st.lists(st.builds(Day, st.integers(0, 6), nths), max_size=3)
    some_days = draw(st.lists(st.sampled_from([1, 13, 15, 28, 29, 30, 31, -1, -2, -30]), max_size=2))
    parts = {
        "by_month": draw(st.lists(st.integers(1, 12), max_size=3)),
        "by_month_day": [] if freq is Freq.WEEKLY else some_days,
        "by_day": draw(by_day),
    }
    if len({day.nth == 0 for day in parts["by_day"]}) > 1:
        parts["by_day"] = parts["by_day"][:1]
    places = draw(st.lists(st.sampled_from([1, 2, 3, -1, -2]), max_size=2)) if monthly and any(parts.values()) else []
    try:
        return Rule(
            freq=freq,
            interval=draw(st.sampled_from([1, 1, 1, 2, 3, 5])),
            by_set_pos=tuple(places),
            count=draw(st.sampled_from([None, None, 1, 7])),
            week_start=draw(st.sampled_from([0, 0, 6])),
            **{name: tuple(values) for name, values in parts.items()},  # type: ignore[arg-type]
        )
    except BadRule:
        return DAILY


def begins(made: Rule, start: datetime) -> bool:
    try:
        return first(made, start) >= start
    except BadRule:
        return False


@PROPERTY
@given(rules(), st.datetimes(clock("2026-01-01 00:00"), clock("2032-12-31 00:00")))
def test_the_days_are_those_of_another_reader_of_the_standard(made: Rule, moment: datetime) -> None:
    start = moment.replace(second=0, microsecond=0)
    end = start + timedelta(days=365 * 12)

    found = list(takewhile(lambda wall: wall <= end, walls(made, start))) if begins(made, start) else []

    # What never comes, the other looks for until the year 9999: seconds of work for each such rule.
    if found or FULL:
        other = rrulestr(str(made), dtstart=start)
        assert found == list(takewhile(lambda wall: wall <= end, other))


@PROPERTY
@given(rules(), st.integers(0, 365 * 20))
def test_looking_from_later_on_leaves_out_what_was_before_and_nothing_else(made: Rule, later: int) -> None:
    after = TUESDAY + timedelta(days=later, hours=later % 24)

    late = list(islice(walls(made, TUESDAY, after=after), 5))

    # Looked at from later on, a hundred years reach farther.
    assert [wall for wall in late if wall <= TUESDAY + times.HORIZON] == list(
        islice((wall for wall in walls(made, TUESDAY) if wall > after), 5)
    )


@PROPERTY
@given(rules())
def test_a_rule_survives_its_text(made: Rule) -> None:
    assert Rule.read(str(made)) == made


def test_what_never_comes_again_ends_after_a_hundred_years() -> None:
    longest = list(walls(DAILY, TUESDAY))

    assert longest[-1] - TUESDAY <= times.HORIZON + timedelta(days=1)
    assert len(longest) == times.HORIZON.days + 1


def test_a_rule_at_the_end_of_the_calendar_ends() -> None:
    for freq in Freq:
        assert list(walls(Rule(freq=freq), clock("9998-12-30 00:00")))[-1:] in (
            [clock("9998-12-30 00:00")],
            [clock("9999-01-01 00:00")],
        )


# On the clocks of the world


def changes(place: ZoneInfo) -> list[datetime]:
    """The days from 2026 through 2040 near which the clocks of a place change, found by looking twice a week."""
    moment, found = datetime(2026, 1, 1, tzinfo=UTC), []
    while moment.year < 2041:
        later = moment + timedelta(days=4)
        if moment.astimezone(place).utcoffset() != later.astimezone(place).utcoffset():
            found.append(moment.replace(tzinfo=None))
        moment = later
    return found


def stretches(place: ZoneInfo) -> Iterator[tuple[datetime, int]]:
    """From which day, and how many days on, a zone is looked at: everything, or about each change of its clocks."""
    if FULL:
        yield clock("2026-01-01 00:00"), (clock("2041-01-01 00:00") - clock("2026-01-01 00:00")).days
        return
    for change in random.Random(place.key).sample(found, min(3, len(found))) if (found := changes(place)) else []:
        yield change - timedelta(days=2), 9


CLOCKS: Final = (time(9), time(0), time(2, 30), time(23, 59))


def broken_promises(place: ZoneInfo) -> list[str]:
    """What is not as it should be with daily reminders in this place."""
    found = []
    for (begin, length), o_clock in product(stretches(place), CLOCKS):
        start = datetime.combine(begin, o_clock)
        got = list(occurrences(DAILY, start, place, count=length))
        for step, each in enumerate(got):
            wall = start + timedelta(days=step)
            exact = instants(wall, place)
            if each.wall != wall:
                found.append(f"lost or doubled: {wall} became {each.wall}")
            elif exact and (each.at != exact[0] or local(each.at, place) != wall):
                found.append(f"moved: {wall} became {local(each.at, place)}")
            elif not exact and each.at != (wall - local_offset(wall, place, -48)).replace(tzinfo=UTC):
                found.append(f"gap: {wall} became {local(each.at, place)}")
            if (len(exact) != 1) != (each.note is not None):
                found.append(f"note at {wall}: {each.note}")
        if any(one.at >= other.at for one, other in pairwise(got)):
            found.append("not in order")
    return found


def test_every_day_at_the_same_time_stays_so_in_every_zone_through_2040() -> None:
    broken = {name: promises[:3] for name in times.zones() if (promises := broken_promises(ZoneInfo(name)))}

    assert broken == {}


@pytest.mark.parametrize(
    ("zone", "start", "expected"),
    [
        ("Europe/Paris", "2027-03-27 02:30", ["27 02:30", "28 03:30", "29 02:30"]),
        ("America/New_York", "2027-03-13 02:30", ["13 02:30", "14 03:30", "15 02:30"]),
        ("Australia/Lord_Howe", "2027-10-02 02:15", ["02 02:15", "03 02:45", "04 02:15"]),
        ("Africa/Cairo", "2027-04-29 00:30", ["29 00:30", "30 01:30", "01 00:30"]),
        ("Europe/Paris", "2027-03-27 09:00", ["27 09:00", "28 09:00", "29 09:00"]),
    ],
)
def test_a_time_that_the_clocks_jump_over_is_as_far_behind_the_jump(zone: str, start: str, expected: list[str]) -> None:
    place = ZoneInfo(zone)

    found = list(occurrences(DAILY, datetime.fromisoformat(start), place, count=3))

    assert [f"{local(each.at, place):%d %H:%M}" for each in found] == expected
    assert all(("does not exist" in (each.note or "")) == (local(each.at, place) != each.wall) for each in found)


def test_a_time_that_the_clocks_jump_over_is_still_ahead_just_behind_the_jump() -> None:
    behind = datetime(2027, 3, 28, 1, 15, tzinfo=UTC)

    found = next(occurrences(DAILY, clock("2027-03-20 02:30"), PARIS, after=behind))

    assert found.wall == clock("2027-03-28 02:30")
    assert found.at == datetime(2027, 3, 28, 1, 30, tzinfo=UTC)


def test_a_time_that_the_clocks_show_twice_comes_once_and_is_the_first() -> None:
    found = list(occurrences(DAILY, clock("2026-10-24 02:30"), PARIS, count=3))

    assert [f"{each.at:%d %H:%M}" for each in found] == ["24 00:30", "25 00:30", "26 01:30"]
    assert found[1].note == "02:30 comes twice on 25 October 2026: the first (UTC+2) is taken, not the second (UTC+1)"
    assert found[0].note is None


def test_a_day_that_a_place_skipped_at_the_date_line_has_no_occurrence_of_its_own() -> None:
    apia = ZoneInfo("Pacific/Apia")

    found = list(occurrences(DAILY, clock("2011-12-29 09:00"), apia, count=3))
    from_later = list(occurrences(DAILY, clock("2011-12-29 09:00"), apia, after=found[0].at, count=2))

    assert [local(each.at, apia) for each in found] == [clock(f"2011-12-{day} 09:00") for day in (29, 31)] + [
        clock("2012-01-01 09:00")
    ]
    assert from_later == found[1:]


@PROPERTY
@given(rules(), st.sampled_from(["Europe/Paris", "America/New_York", "Pacific/Apia", "Africa/Casablanca"]), st.data())
def test_asked_after_an_occurrence_the_next_one_comes(made: Rule, zone: str, data: st.DataObject) -> None:
    place = ZoneInfo(zone)
    start = clock("2010-10-01 02:30")
    whole = list(occurrences(made, start, place, count=12))
    known = data.draw(st.integers(0, max(0, len(whole) - 1)))

    rest = list(occurrences(made, start, place, after=whole[known].at, count=len(whole))) if whole else []

    assert rest[: len(whole) - known - 1] == whole[known + 1 :]


def test_occurrences_are_found_as_they_are_asked_for() -> None:
    endless = occurrences(DAILY, TUESDAY, PARIS)

    assert next(endless).wall == TUESDAY
    assert next(endless).wall == TUESDAY + timedelta(days=1)


def test_a_rule_that_counts_comes_so_often_wherever_one_looks_from() -> None:
    made = rule("FREQ=DAILY;COUNT=5")

    everything = list(occurrences(made, TUESDAY, PARIS))
    rest = list(occurrences(made, TUESDAY, PARIS, after=everything[2].at))

    assert len(everything) == 5
    assert rest == everything[3:]


# From completion


@pytest.mark.parametrize(
    ("text", "done", "expected"),
    [
        ("FREQ=DAILY;INTERVAL=3", "2026-11-26 08:00", "2026-11-29 09:00"),
        ("FREQ=DAILY;INTERVAL=3", "2026-11-26 23:30", "2026-11-29 09:00"),
        ("FREQ=DAILY", "2026-11-24 08:00", "2026-11-25 09:00"),
        ("FREQ=WEEKLY;INTERVAL=2", "2026-11-26 12:00", "2026-12-10 09:00"),
        ("FREQ=WEEKLY;BYDAY=MO", "2026-11-26 12:00", "2026-11-30 09:00"),
        ("FREQ=MONTHLY", "2027-01-31 12:00", "2027-02-28 09:00"),
        ("FREQ=MONTHLY;BYMONTHDAY=1", "2027-01-31 12:00", "2027-02-01 09:00"),
        ("FREQ=YEARLY", "2028-02-29 12:00", "2029-02-28 09:00"),
        ("FREQ=DAILY;INTERVAL=3;UNTIL=20261129T090000", "2026-11-26 12:00", "2026-11-29 09:00"),
    ],
)
def test_from_completion_an_interval_passes_after_the_day_it_was_done(text: str, done: str, expected: str) -> None:
    completed = datetime.fromisoformat(done).replace(tzinfo=PARIS)

    found = following(rule(text), TUESDAY, PARIS, completed=completed, times_so_far=1)

    assert found is not None
    assert local(found.at, PARIS) == datetime.fromisoformat(expected)


def test_from_completion_a_rule_ends_where_it_says() -> None:
    done = datetime(2026, 11, 26, 12, 0, tzinfo=PARIS)

    assert following(rule("FREQ=DAILY;COUNT=2"), TUESDAY, PARIS, completed=done, times_so_far=2) is None
    assert following(rule("FREQ=DAILY;COUNT=2"), TUESDAY, PARIS, completed=done, times_so_far=1) is not None
    assert following(rule("FREQ=DAILY;UNTIL=20261126"), TUESDAY, PARIS, completed=done, times_so_far=1) is None


def test_by_schedule_a_late_completion_changes_nothing_and_from_completion_it_does() -> None:
    made, late = rule("FREQ=WEEKLY;BYDAY=TU"), datetime(2026, 11, 30, 12, 0, tzinfo=PARIS)

    scheduled = next(occurrences(made, TUESDAY, PARIS, after=late))
    plain = following(rule("FREQ=WEEKLY"), TUESDAY, PARIS, completed=late, times_so_far=1)

    assert scheduled.wall == clock("2026-12-01 09:00")
    assert plain is not None
    assert plain.wall == clock("2026-12-07 09:00")


# In words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FREQ=DAILY", "every day at 09:00"),
        ("FREQ=DAILY;INTERVAL=3", "every 3 days at 09:00"),
        ("FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR;UNTIL=20270501", "every weekday at 09:00, until 1 May 2027"),
        ("FREQ=WEEKLY", "every Tuesday at 09:00"),
        ("FREQ=WEEKLY;BYDAY=MO,TH", "every Monday and Thursday at 09:00"),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE,FR", "every 2 weeks on Monday, Wednesday and Friday at 09:00"),
        ("FREQ=WEEKLY;BYDAY=MO;BYMONTH=3", "every Monday in March at 09:00"),
        ("FREQ=MONTHLY", "every month on the 24th at 09:00"),
        (
            "FREQ=MONTHLY;BYMONTHDAY=1,2,3,11,21,22,23",
            "every month on the 1st, 2nd, 3rd, 11th, 21st, 22nd and 23rd at 09:00",
        ),
        ("FREQ=MONTHLY;BYMONTHDAY=15,-1", "every month on the 15th and the last day at 09:00"),
        ("FREQ=MONTHLY;BYMONTHDAY=-2", "every month on the second last day at 09:00"),
        ("FREQ=MONTHLY;BYDAY=-1FR", "every month on the last Friday at 09:00"),
        ("FREQ=MONTHLY;BYDAY=1MO,3MO", "every month on the first and third Monday at 09:00"),
        ("FREQ=MONTHLY;BYDAY=FR", "every month on every Friday at 09:00"),
        ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", "every month on the 13th where that is a Friday at 09:00"),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", "every month on the last weekday at 09:00"),
        (
            "FREQ=MONTHLY;BYDAY=SA,SU;BYSETPOS=1",
            "every month on Saturday and Sunday, but only the first of them at 09:00",
        ),
        ("FREQ=MONTHLY;INTERVAL=3;BYMONTHDAY=1", "every 3 months on the 1st at 09:00"),
        ("FREQ=YEARLY", "every year on 24 November at 09:00"),
        ("FREQ=YEARLY;INTERVAL=2;BYMONTH=5;BYMONTHDAY=1", "every 2 years on 1 May at 09:00"),
        ("FREQ=YEARLY;BYMONTH=11;BYDAY=-1FR", "every year on the last Friday of November at 09:00"),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=-1", "every year on the last day of February at 09:00"),
        ("FREQ=DAILY;COUNT=10", "every day at 09:00, 10 times"),
        ("FREQ=DAILY;COUNT=1", "every day at 09:00, once"),
        ("FREQ=DAILY;UNTIL=20270501T180000", "every day at 09:00, until 1 May 2027 at 18:00"),
    ],
)
def test_a_rule_says_in_words_what_it_does(text: str, expected: str) -> None:
    assert describe(rule(text), TUESDAY) == expected


@PROPERTY
@given(rules())
def test_every_rule_can_be_said(made: Rule) -> None:
    said = describe(made, TUESDAY)

    assert said.startswith("every ")
    assert " at 09:00" in said


def test_the_usual_rules_fit_the_day_they_are_offered_for() -> None:
    offered = {name: str(each) for name, each in presets(clock("2026-11-30 09:00")).items()}

    assert offered == {
        "daily": "FREQ=DAILY",
        "weekdays": "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR",
        "weekly": "FREQ=WEEKLY;BYDAY=MO",
        "monthly on the day": "FREQ=MONTHLY;BYMONTHDAY=30",
        "monthly on the weekday": "FREQ=MONTHLY;BYDAY=-1MO",
        "monthly on the last day": "FREQ=MONTHLY;BYMONTHDAY=-1",
        "yearly": "FREQ=YEARLY;BYMONTH=11;BYMONTHDAY=30",
    }


@pytest.mark.parametrize(
    ("text", "said", "instead"),
    [
        ("FREQ=MONTHLY;BYMONTHDAY=31", "Months without a 31st are skipped.", "FREQ=MONTHLY;BYMONTHDAY=-1"),
        (
            "FREQ=MONTHLY;BYMONTHDAY=30",
            "Months without a 30th are skipped.",
            "FREQ=MONTHLY;BYMONTHDAY=28,29,30;BYSETPOS=-1",
        ),
        (
            "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29",
            "Years without a 29 February are skipped.",
            "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=-1",
        ),
        ("FREQ=MONTHLY;BYDAY=5FR", "Months with only four Fridays are skipped.", "FREQ=MONTHLY;BYDAY=-1FR"),
    ],
)
def test_what_leaves_out_some_months_says_so_and_offers_what_does_not(text: str, said: str, instead: str) -> None:
    found = skips(rule(text), TUESDAY)

    assert found is not None
    assert (found.sentence, str(found.instead)) == (said, instead)
    assert len(set(days(str(found.instead), count=12))) == 12
    assert skips(found.instead, TUESDAY) is None


@pytest.mark.parametrize(
    "text", ["FREQ=DAILY", "FREQ=MONTHLY;BYMONTHDAY=28", "FREQ=MONTHLY;BYMONTHDAY=31;BYMONTH=1,3", "FREQ=YEARLY"]
)
def test_what_leaves_out_nothing_says_nothing(text: str) -> None:
    assert skips(rule(text), TUESDAY) is None


def test_the_offer_for_the_30th_is_the_last_day_of_february_and_the_30th_else() -> None:
    offered = skips(rule("FREQ=MONTHLY;BYMONTHDAY=30"), TUESDAY)

    assert offered is not None
    assert days(str(offered.instead)) == ["2026-11-30", "2026-12-30", "2027-01-30", "2027-02-28"]


def test_the_next_five_are_shown_on_both_clocks() -> None:
    made, now = rule("FREQ=WEEKLY;BYDAY=FR"), datetime(2026, 11, 24, 9, 15, tzinfo=UTC)

    shown = upcoming(made, TUESDAY, ZoneInfo("America/New_York"), after=now, reader=PARIS)

    assert len(shown) == 5
    assert shown[0].at == datetime(2026, 11, 27, 14, 0, tzinfo=UTC)
    assert shown[0].here == "Friday 27 November 2026 at 09:00 in New York (UTC−5)"
    assert shown[0].there == "Friday 27 November 2026 at 15:00 in Paris (UTC+1)"


def test_a_reader_whose_clock_is_the_same_sees_one_time() -> None:
    now = datetime(2026, 11, 24, 9, 15, tzinfo=UTC)

    shown = upcoming(DAILY, TUESDAY, PARIS, after=now, reader=ZoneInfo("Europe/Berlin"), count=1)

    assert shown[0].there is None


def test_a_time_that_does_not_exist_is_told_among_the_next_five() -> None:
    now = datetime(2027, 3, 26, 12, 0, tzinfo=UTC)

    shown = upcoming(DAILY, clock("2027-03-26 02:30"), PARIS, after=now)

    assert [each.note is not None for each in shown] == [False, True, False, False, False]
    assert "Sunday 28 March 2027 at 03:30" in shown[1].here
