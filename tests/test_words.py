"""Time words: each phrase of the table is read as it says or refused as it says, and nothing is guessed in silence."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmindr import times
from rmindr.clocks import settle
from rmindr.recurrence import Rule, describe
from rmindr.recurrence.days import walls
from rmindr.times import BadTime
from rmindr.words import BadWords, Reading, read
from rmindr.words.cursor import tokens
from rmindr.words.english import ENGLISH
from rmindr.words.place import cities
from tests.phrases import READ, REFUSED, rows

PROPERTY: Final = settings(deadline=None, derandomize=True, database=None, max_examples=300)
PARIS: Final = ZoneInfo("Europe/Paris")
NOW: Final = datetime(2026, 11, 24, 9, 15, tzinfo=UTC)


def said(text: str, now: datetime = NOW, zone: ZoneInfo = PARIS) -> Reading:
    return read(text, now=now, zone=zone)


def refusal(text: str, now: datetime = NOW, zone: ZoneInfo = PARIS) -> BadWords:
    with pytest.raises(BadWords) as raised:
        read(text, now=now, zone=zone)
    return raised.value


def outcome(text: str, now: datetime = NOW) -> Reading | BadWords:
    """What becomes of a text, one way or the other."""
    try:
        return read(text, now=now, zone=PARIS)
    except BadWords as bad:
        return bad


# The table


@pytest.mark.parametrize(("phrase", "when", "repeats"), [(*row, "")[:3] for row in rows(READ)])
def test_a_phrase_is_read_as_the_table_says(phrase: str, when: str, repeats: str) -> None:
    day, clock, zone = (*when.split(" "), "Europe/Paris")[:3]

    reading = said(phrase)

    assert (reading.wall, reading.zone.key) == (datetime.fromisoformat(f"{day} {clock}"), zone)
    assert str(reading.rule or "") == repeats
    assert reading.at == reading.wall.replace(tzinfo=reading.zone)


@pytest.mark.parametrize(("phrase", "part", "pieces"), rows(REFUSED))
def test_a_phrase_is_refused_as_the_table_says(phrase: str, part: str, pieces: str) -> None:
    bad = refusal(phrase)

    assert phrase[bad.start : bad.end] == part
    assert [piece for piece in pieces.split("; ") if piece not in str(bad)] == [], str(bad)


def test_the_table_has_at_least_three_hundred_phrases_and_none_twice() -> None:
    phrases = [row[0] for row in rows(READ) + rows(REFUSED)]

    assert len(phrases) >= 300
    assert sorted(phrases) == sorted(set(phrases))


# Nothing is guessed in silence


@pytest.mark.parametrize("phrase", [row[0] for row in rows(REFUSED) if "ambiguous" in row[2]])
def test_what_is_ambiguous_names_two_readings_that_differ(phrase: str) -> None:
    bad = refusal(phrase)

    named = bad.why.split(": ", 1)[1]
    one, _, other = named.partition(" or ")
    assert one
    assert other
    assert one != other


@pytest.mark.parametrize("phrase", [row[0] for row in rows(REFUSED) if "ambiguous" in row[2]])
def test_what_is_offered_for_the_ambiguous_is_read_each_as_something_else(phrase: str) -> None:
    bad = refusal(phrase)

    readings = [outcome(phrase[: bad.start] + choice.words + phrase[bad.end :]) for choice in bad.choices]

    # «12» may be noon or midnight, and the midnight of a day may be its beginning or its end.
    clear = [each for each in readings if isinstance(each, Reading)]
    assert len(clear) == len(readings), [str(each) for each in readings]
    assert len({(each.at, str(each.rule), each.zone.key) for each in clear}) == len(clear)


@pytest.mark.parametrize("phrase", [row[0] for row in rows(REFUSED)])
def test_what_is_offered_instead_is_not_complained_about_in_turn(phrase: str) -> None:
    bad = refusal(phrase)

    for choice in bad.choices:
        again = outcome(phrase[: bad.start] + choice.words + phrase[bad.end :])
        end = bad.start + len(choice.words)
        assert isinstance(again, Reading) or again.end <= bad.start or again.start >= end or again.choices, str(again)


@pytest.mark.parametrize(
    ("phrase", "note"),
    [
        ("tomorrow", "No time of day is given: 09:00 is taken."),
        ("1 march", "No time of day is given: 09:00 is taken."),
        ("every day", "No time of day is given: 09:00 is taken."),
        ("tomorrow evening", "«evening» is taken as 18:00."),
        ("tonight", "«night» is taken as 20:00."),
        ("tomorrow at 8", "08:00 is in the morning; for the evening write 20:00."),
        ("tomorrow 9:30", "09:30 is in the morning; for the evening write 21:30."),
        ("every weekday at 8", "08:00 is in the morning; for the evening write 20:00."),
        ("last friday of the month 17:00", "This is every month; for once write «of this month»."),
        ("every month on the 31st 9am", "Months without a 31st are skipped. Instead: the last day of the month."),
        ("yearly on 29 feb 9am", "Years without a 29 February are skipped. Instead: the last day of February."),
    ],
)
def test_what_is_taken_for_granted_is_said(phrase: str, note: str) -> None:
    assert said(phrase).notes == (note,)


@pytest.mark.parametrize(
    "phrase", ["tomorrow 9am", "tomorrow 09:00", "in 2h", "noon", "tomorrow at 8 in the evening", "friday 17:00"]
)
def test_what_says_everything_has_no_notes(phrase: str) -> None:
    assert said(phrase).notes == ()


def test_a_day_that_is_skipped_is_offered_as_the_last_one() -> None:
    reading = said("every month on the 31st at 9am")

    assert reading.skips is not None
    assert str(reading.skips.instead) == "FREQ=MONTHLY;BYMONTHDAY=-1"


def test_no_city_is_named_like_a_time_word() -> None:
    known = {*ENGLISH.weekdays, *ENGLISH.months, *ENGLISH.units, *ENGLISH.numbers, *ENGLISH.ordinals, *ENGLISH.refused}
    known |= {*ENGLISH.parts_of_day, *ENGLISH.repeats, *ENGLISH.periods, *ENGLISH.every_weekday}
    known |= {word for words in ENGLISH.roles.values() for word in words}

    meant_so = {city for city in cities() if city.split()[0] in known}

    assert meant_so == {"jan mayen"}


# What another reader of time words gets wrong without a complaint


@pytest.mark.parametrize(
    ("phrase", "when"),
    [
        ("tomorrow at 8", "2026-11-25 08:00"),
        ("2 days after tomorrow", "2026-11-27 09:00"),
        ("noon", "2026-11-24 12:00"),
        ("day after tomorrow", "2026-11-26 09:00"),
        ("tomorrow 12:05am", "2026-11-25 00:05"),
        ("friday", "2026-11-27 09:00"),
        ("2 months", "2027-01-24 10:15"),
        ("3rd friday of next month", "2026-12-18 09:00"),
        ("first monday of december", "2026-12-07 09:00"),
    ],
)
def test_what_others_get_wrong_is_right(phrase: str, when: str) -> None:
    assert said(phrase).wall == datetime.fromisoformat(when)


# Seen from other days


def on(when: str, zone: ZoneInfo = PARIS) -> datetime:
    return datetime.fromisoformat(when).replace(tzinfo=zone)


@pytest.mark.parametrize(
    ("now", "phrase", "when"),
    [
        ("2026-11-27 10:15", "next fri noon", "2026-12-04 12:00"),
        ("2026-11-28 10:15", "next fri noon", "2026-12-04 12:00"),
        ("2026-11-27 10:15", "next monday 9am", "2026-11-30 09:00"),
        ("2026-11-29 10:15", "this friday noon", "2026-12-04 12:00"),
        ("2026-11-29 10:15", "monday 9am", "2026-11-30 09:00"),
        ("2026-11-24 07:00", "9:00", "2026-11-24 09:00"),
        ("2026-11-24 23:00", "at 9", "2026-11-25 09:00"),
        ("2026-11-24 00:00", "midnight", "2026-11-25 00:00"),
        ("2026-12-31 23:30", "tomorrow 9am", "2027-01-01 09:00"),
        ("2026-12-31 23:30", "in 1 hour", "2027-01-01 00:30"),
        ("2026-12-31 10:00", "1 january", "2027-01-01 09:00"),
        ("2027-01-31 10:00", "in 2 months", "2027-03-31 10:00"),
        ("2027-01-31 10:00", "the 30th", "2027-03-30 09:00"),
        ("2027-01-31 10:00", "every month on the 30th", "2027-03-30 09:00"),
        ("2028-02-28 10:00", "feb 29", "2028-02-29 09:00"),
        ("2097-01-01 10:00", "feb 29", "2104-02-29 09:00"),
        ("2027-03-27 10:00", "in 24 hours", "2027-03-28 11:00"),
        ("2027-03-27 10:00", "in 1 day", "2027-03-28 10:00"),
        ("2026-10-24 10:00", "in 24 hours", "2026-10-25 09:00"),
        ("2026-10-24 10:00", "in 1 day", "2026-10-25 10:00"),
        ("2026-11-24 18:00", "this evening at 7", "2026-11-24 19:00"),
    ],
)
def test_a_phrase_depends_on_when_it_is_said(now: str, phrase: str, when: str) -> None:
    assert said(phrase, on(now)).wall == datetime.fromisoformat(when)


@pytest.mark.parametrize(
    ("now", "phrase", "part", "why"),
    [
        ("2026-11-29 10:15", "next monday 9am", "next monday", "30 November 2026"),
        ("2026-11-23 10:15", "next fri noon", "next fri", "27 November 2026"),
        ("2026-11-24 18:00", "this evening", "this evening", "past"),
        ("2026-11-24 19:30", "this evening at 7", "this evening at 7", "past"),
        ("2026-11-24 08:00", "in the morning", "in the morning", "«this morning» or «tomorrow morning»"),
        ("2027-01-31 10:00", "in a month", "in a month", "28 February 2027"),
        ("2028-02-29 10:00", "in a year", "in a year", "28 February 2029"),
        ("2026-11-24 22:00", "every day until today", "until today", "before it begins"),
    ],
)
def test_what_is_ambiguous_or_over_depends_on_when_it_is_said(now: str, phrase: str, part: str, why: str) -> None:
    bad = refusal(phrase, on(now))

    assert phrase[bad.start : bad.end] == part
    assert why in str(bad)


def test_a_month_without_that_day_is_over_with_its_last_day() -> None:
    reading = said("every day at 18:00 for a month", on("2027-01-30 10:00"))

    assert str(reading.rule) == "FREQ=DAILY;UNTIL=20270228T235959"


def test_a_length_of_time_is_rounded_up_to_whole_seconds() -> None:
    assert said("in 2h", NOW + timedelta(microseconds=1)).at == NOW + timedelta(hours=2, seconds=1)
    assert said("in a week", NOW + timedelta(microseconds=1)).at == NOW + timedelta(days=7, seconds=1)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2031-03-01T18:00:00.001Z", "2031-03-01T18:00:01+00:00"),
        ("2031-03-01T18:00:00.000000001Z", "2031-03-01T18:00:01+00:00"),
        ("2031-03-01T18:00:00.000Z", "2031-03-01T18:00:00+00:00"),
        ("2031-12-31T23:59:59.9Z", "2032-01-01T00:00:00+00:00"),
        (" 2031-03-01T18:00Z ", "2031-03-01T18:00:00+00:00"),
    ],
)
def test_a_time_as_programs_write_it_is_never_early(text: str, at: str) -> None:
    assert said(text).at == datetime.fromisoformat(at)


@pytest.mark.parametrize(
    "text", ["2031-03-01T18", "2031-03-01T18:00:60Z", "2031-02-30T18:00Z", "9999-12-31T23:59:59.5Z"]
)
def test_a_time_as_programs_write_it_is_refused_where_it_is_none(text: str) -> None:
    bad = refusal(text)

    assert text[bad.start : bad.end] == text


# Clock changes


def test_a_time_that_the_clocks_jump_over_is_said_to_be_later() -> None:
    reading = said("tomorrow 02:30", on("2027-03-27 10:00"))

    assert reading.at == datetime(2027, 3, 28, 1, 30, tzinfo=UTC)
    assert "02:30 does not exist" in reading.notes[0]
    assert "at 03:30 in Paris" in reading.sentence


def test_of_a_time_that_comes_twice_the_first_is_taken_and_said() -> None:
    reading = said("tomorrow 02:30", on("2026-10-24 10:00"))

    assert reading.at == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert "the first (UTC+2) is taken" in reading.notes[0]


def test_an_exact_length_stays_when_zone_rules_change_and_a_clock_does_not() -> None:
    exact = {
        phrase: said(phrase).is_instant for phrase in ("in 2h", "14:00 UTC+2", "2031-03-01T18:00Z", "in 2 days 3 hours")
    }
    clocks = {phrase: said(phrase).is_instant for phrase in ("tomorrow 9am", "in a week", "9am New York", "18:00 UTC")}

    assert set(exact.values()) == {True}
    assert set(clocks.values()) == {False}


# Two calendars


TOKYO: Final = ZoneInfo("Asia/Tokyo")


def test_another_place_where_it_is_another_day_makes_tomorrow_ambiguous() -> None:
    # Wednesday morning in Tokyo, Tuesday evening in New York.
    now = on("2026-11-25 08:00", TOKYO)

    bad = refusal("tomorrow 9am New York", now, TOKYO)

    assert bad.part == "tomorrow"
    assert "25 November 2026" in str(bad)
    assert "26 November 2026" in str(bad)


def test_another_place_on_the_same_day_leaves_tomorrow_clear() -> None:
    reading = said("tomorrow 9am New York", on("2026-11-25 20:00", TOKYO), TOKYO)

    assert reading.wall == datetime.fromisoformat("2026-11-26 09:00")


@pytest.mark.parametrize(
    "phrase", ["friday 9am New York", "1 december 9am New York", "9am New York", "every day at 9am New York"]
)
def test_a_day_that_is_the_same_in_both_calendars_is_clear(phrase: str) -> None:
    assert said(phrase, on("2026-11-25 08:00", TOKYO), TOKYO).zone.key == "America/New_York"


def test_a_clock_in_another_place_is_the_next_time_it_comes_there() -> None:
    reading = said("7pm New York", on("2026-11-25 08:00", TOKYO), TOKYO)

    assert reading.wall == datetime.fromisoformat("2026-11-24 19:00")


# What is said about it


@pytest.mark.parametrize(
    ("phrase", "sentence"),
    [
        ("friday noon", "Friday 27 November 2026 at 12:00 in Paris (UTC+1), in 3 days"),
        ("9am New York", "Tuesday 24 November 2026 at 09:00 in New York (UTC−5), in 4 hours 45 minutes"),
        (
            "every weekday at 8am until 1 May 2027",
            "every weekday at 08:00, until 1 May 2027; first on Wednesday 25 November 2026 at 08:00 in Paris (UTC+1)",
        ),
        (
            "every 3 days at 9am after completion",
            "every 3 days at 09:00, counted from completion; first on Wednesday 25 November 2026 at 09:00 in Paris (UTC+1)",
        ),
    ],
)
def test_a_reading_says_what_was_understood(phrase: str, sentence: str) -> None:
    assert said(phrase).sentence == sentence


def test_counting_from_completion_is_kept_beside_the_rule() -> None:
    assert said("every 3 days after completion").from_completion
    assert not said("every 3 days").from_completion


@pytest.mark.parametrize("phrase", [row[0] for row in rows(READ) if len(row) == 3])
def test_what_is_said_about_a_repetition_is_understood_as_the_same(phrase: str) -> None:
    reading = said(phrase)
    assert reading.rule is not None

    again = read(describe(reading.rule, reading.wall), now=NOW, zone=reading.zone)

    assert (again.rule, again.wall) == (reading.rule, reading.wall) or "starting" in phrase or "from" in phrase


@pytest.mark.parametrize(
    ("phrase", "spans"),
    [
        ("tomorrow 9am", [("tomorrow", "day"), ("9am", "clock")]),
        ("at 9am in New York tomorrow", [("9am", "clock"), ("New York", "place"), ("tomorrow", "day")]),
        ("every monday at 8am until 1 may", [("every monday", "repeat"), ("every monday", "day"), ("8am", "clock")]),
        ("friday, 4 december noon", [("friday", "weekday"), ("4 december", "day"), ("noon", "clock")]),
        ("in 2h", [("in 2h", "length")]),
        ("tonight at 8", [("tonight", "day_part"), ("tonight", "day"), ("8", "clock")]),
    ],
)
def test_a_reading_says_where_its_parts_stand(phrase: str, spans: list[tuple[str, str]]) -> None:
    found = [(phrase[span.start : span.end], span.kind) for span in said(phrase).spans]

    assert sorted(found[: len(spans)]) == sorted(spans)


def test_a_refusal_says_which_parts_were_understood() -> None:
    bad = refusal("tomorrow 9am foo")

    assert ["tomorrow 9am foo"[span.start : span.end] for span in bad.understood] == ["tomorrow", "9am"]


def test_a_part_that_is_refused_is_not_among_those_understood() -> None:
    bad = refusal("tuesday 18:00")

    assert ["tuesday 18:00"[span.start : span.end] for span in bad.understood] == ["18:00"]


def test_a_refusal_is_caught_as_every_bad_time_is() -> None:
    assert isinstance(refusal("foo"), BadTime)


# Bad input


@pytest.mark.parametrize("text", ["", " ", "\t\n", "\u00a0", "\u2003"])
def test_nothing_is_refused_as_empty(text: str) -> None:
    bad = refusal(text)

    assert "is empty" in str(bad)
    assert (bad.start, bad.end) == (0, 0)


@pytest.mark.parametrize(
    ("text", "part", "why"),
    [
        ("tomorrow ９am", "９", "digits are 0 to 9"),
        ("in ٢ hours", "٢", "digits are 0 to 9"),
        ("in ²h", "²h", "digits are 0 to 9"),
        ("in ½ hour", "½", "is not understood"),
        ("tomorrow\u200b9am", "�", "is not understood"),
        ("tomorrow\x009am", "�", "is not understood"),
        ("\u202etomorrow 9am", "�", "is not understood"),
        ("tomorrow 9am 🙂", "🙂", "is not understood"),
        ("tomorrow 9am\ud800", "�", "is not understood"),
        ("tomorrow <b>9am</b>", "<", "is not understood"),
        ("İn 2h", "İn", "is not understood"),
        ("tomorroẃ", "tomorroẃ", "is not understood"),
    ],
)
def test_signs_that_only_look_like_others_are_refused(text: str, part: str, why: str) -> None:
    bad = refusal(text)

    assert bad.part == part
    assert why in str(bad)


@pytest.mark.parametrize("text", ["tomorrow\u00a09am", "tomorrow\n9am", "\ttomorrow\u20039am "])
def test_any_white_space_parts_words(text: str) -> None:
    assert said(text).wall == datetime.fromisoformat("2026-11-25 09:00")


@pytest.mark.parametrize(
    "junk", ["a", "1", "9am ", "every ", "1/", "a/", "in 1 hour ", "-", "monday and ", "a.m.", "﷽", "1.", "a'"]
)
def test_sixteen_kibibytes_of_anything_are_refused_unread(junk: str) -> None:
    bad = refusal(junk * (16 * 1024 // len(junk)))

    assert "more than 200 characters" in str(bad)
    assert len(str(bad)) < 200


@pytest.mark.parametrize("junk", ["a", "1", "1/", "a/", "-", "1.", "a'", "9:", "1-1-"])
def test_a_text_is_cut_into_no_more_tokens_than_it_has_characters(junk: str) -> None:
    text = junk * 100

    assert len(tokens(text)) <= len(text) + 1
    assert "".join(token.text for token in tokens(text)) == text


VOCABULARY: Final = """
    tomorrow today monday fri next this last the of 1 2 5 8 9 12 15 31 1st 15th last 2031 9am 18:00 noon midnight at on in
    every other day week month year weekday until for times 10 starting from march may and , to half past quarter a an hour
    hours minutes days weeks New York UTC + - evening tonight now ago before after completion 2031-03-01 3/4 13/4/2027 second
"""


@PROPERTY
@given(
    st.lists(st.sampled_from(VOCABULARY.split()), min_size=1, max_size=7),
    st.sampled_from([NOW, on("2027-01-31 23:59"), on("2028-02-29 02:30")]),
)
def test_whatever_is_written_is_read_in_the_future_or_refused_by_a_part(words: list[str], now: datetime) -> None:
    text = " ".join(words)

    found = outcome(text, now)

    if isinstance(found, BadWords):
        assert 0 <= found.start < found.end <= len(text)
        return
    assert now < found.at <= now + times.HORIZON
    assert found.is_instant or found.at == settle(found.wall, found.zone).at
    assert found.rule is None or next(walls(found.rule, found.wall)) == found.wall
    assert found.sentence
    assert found.spans


@PROPERTY
@given(st.text(max_size=40))
def test_whatever_is_typed_is_read_or_refused(text: str) -> None:
    found = outcome(text)

    assert found.at > NOW if isinstance(found, Reading) else 0 <= found.start <= found.end <= len(text)


@PROPERTY
@given(st.sampled_from([row[0] for row in rows(READ)]), st.randoms(use_true_random=False))
def test_capitals_and_spaces_change_nothing(phrase: str, random: Random) -> None:
    changed = "".join(each.upper() if random.random() < 0.5 else each for each in phrase.replace(" ", "  "))

    assert said(changed).at == said(phrase).at
    assert said(changed).rule == said(phrase).rule


def test_a_second_language_is_a_second_table() -> None:
    german = replace(
        ENGLISH,
        roles={
            **ENGLISH.roles,
            "tomorrow": frozenset({"morgen"}),
            "at": frozenset({"um"}),
            "oclock": frozenset({"uhr"}),
        },
    )

    reading = read("morgen um 9 uhr", now=NOW, zone=PARIS, language=german)

    assert reading.wall == datetime.fromisoformat("2026-11-25 09:00")
    assert refusal("morgen um 9 uhr").part == "morgen"


def test_each_rule_that_is_read_is_one_that_can_be_kept() -> None:
    for row in rows(READ):
        if len(row) == 3:
            assert Rule.read(row[2]) == said(row[0]).rule
