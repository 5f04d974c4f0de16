"""What is asked for: a draft that can be mailed as it stands, or every complaint at once, by field."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rmindr import times
from rmindr.drafts import MAX_MESSAGE, MAX_SUBJECT, Asked, address, draft, subject_from
from rmindr.errors import InvalidDraft
from rmindr.forms import Draft

PROPERTY: Final = settings(deadline=None, derandomize=True, database=None, max_examples=150)
NOW: Final = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
BIDI: Final = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
LINE_ENDS: Final = "\u2028\u2029"
# No mail carries these as they are: C0 and C1, delete, the ends of lines and paragraphs, halves of characters.
UNSENDABLE: Final = "\0\x01\x08\x0b\x0c\x1b\x1f\x7f\x80\x85\x9f" + LINE_ENDS + "\ud800\udfff"


def asked(**changes: Any) -> Asked:
    """A request with nothing wrong, but for the changes."""
    right = {"to": "ada@example.org", "message": "Call mum", "due_at": "2026-12-01T09:00:00Z"}
    return Asked(**(right | changes))


def made(**changes: Any) -> Draft:
    return draft(asked(**changes), clock=NOW)


def problems(request: Asked, *, partial: bool = False) -> dict[str, str]:
    """The complaints about a request, by field."""
    with pytest.raises(InvalidDraft) as raised:
        draft(request, clock=NOW, partial=partial)
    return dict(raised.value.problems)


def complaint(text: str | None) -> str:
    """What is said against an address."""
    with pytest.raises(ValueError, match=r".") as raised:
        address(text)
    return str(raised.value)


# All complaints at once, by field


def test_what_is_right_becomes_a_draft_as_it_was_asked_for() -> None:
    found = made(subject="Mum", time_zone="Europe/Paris")

    assert found == Draft(
        to="ada@example.org",
        subject="Mum",
        message="Call mum",
        due_at=datetime(2026, 12, 1, 9, 0, tzinfo=UTC),
        time_zone="Europe/Paris",
    )


def test_an_empty_request_hears_of_everything_that_is_missing() -> None:
    assert problems(Asked()) == {"to": "is missing", "message": "is missing", "due_at": "is missing"}


def test_every_wrong_field_is_named_at_once() -> None:
    found = problems(Asked(to="ada", message="\0", subject="\0", time_zone="Paris", when="someday", fold=2))

    assert set(found) == {"to", "message", "subject", "time_zone", "when", "fold"}


def test_the_complaints_read_as_one_sentence_by_field() -> None:
    with pytest.raises(InvalidDraft, match=r"^to is missing; message is missing$"):
        draft(asked(to="", message=" "), clock=NOW)


@pytest.mark.parametrize("blank", [None, "", " ", "\n\t \u3000"])
@pytest.mark.parametrize("name", ["to", "message", "due_at"])
def test_what_is_blank_is_missing(name: str, blank: str | None) -> None:
    assert problems(asked(**{name: blank})) == {name: "is missing"}


def test_a_draft_still_being_written_may_lack_its_address_and_its_message_only() -> None:
    found = draft(Asked(due_at="2026-12-01T09:00:00Z"), clock=NOW, partial=True)

    assert (found.to, found.message, found.subject) == ("", "", "Reminder")
    assert problems(Asked(), partial=True) == {"due_at": "is missing"}
    assert set(problems(Asked(to="ada", message="\0"), partial=True)) == {"to", "message", "due_at"}


# The address


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (" ada@example.org\n", "ada@example.org"),
        ("Ada.Lovelace+1815@EXAMPLE.org", "Ada.Lovelace+1815@example.org"),
        ("o'brien!#$%&*-/?=^_`{|}~@example.org", "o'brien!#$%&*-/?=^_`{|}~@example.org"),
        ("joe@münchen.de", "joe@xn--mnchen-3ya.de"),
        ("joe@mu\u0308nchen.de", "joe@xn--mnchen-3ya.de"),
        ("joe@faß.de", "joe@xn--fa-hia.de"),
        ("joe@例え.jp", "joe@xn--r8jz45g.jp"),
        ("joe@ｅｘａｍｐｌｅ．org", "joe@example.org"),
        ("joe@example。org", "joe@example.org"),
        ("joe@xn--mnchen-3ya.de", "joe@xn--mnchen-3ya.de"),
    ],
)  # fmt: skip
def test_an_address_is_kept_as_it_goes_on_the_wire(text: str, kept: str) -> None:
    assert address(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        "ada@example.org, eve@example.com", "ada@example.org;eve@example.com", "ada@example.org eve@example.com",
        "friends: ada@example.org, eve@example.com;", "friends:ada@example.org;", "Ada <ada@example.org>",
        "<ada@example.org>", "ada@example.org <eve@example.com>", "ada@example.org)eve@example.com",
        "ada@example.org@example.com", "ada@@example.org",
        '"ada@example.com"@example.org', "mailto:ada@example.org", "@relay.example:ada@example.org",
    ],
)  # fmt: skip
def test_anything_but_one_address_alone_is_refused(text: str) -> None:
    assert complaint(text) == "must be one address alone, like me@example.org"


@pytest.mark.parametrize("character", ["\n", "\r", "\t", *UNSENDABLE])
def test_an_address_with_a_control_character_inside_is_refused(character: str) -> None:
    assert complaint(f"ada{character}@example.org") == "contains a control character"
    assert complaint(f"ada@exam{character}ple.org") == "contains a control character"


@pytest.mark.parametrize("character", [*BIDI, "\u200b", "\ufeff", "\u00ad", "\u00a0", "\U000e0041"])
def test_an_address_with_a_character_that_cannot_be_seen_is_refused(character: str) -> None:
    assert complaint(f"ada{character}@example.org").startswith("is not an address: ")
    assert complaint(f"ada@exam{character}ple.org").startswith("is not an address: ")


def test_an_address_with_an_encoded_word_is_refused() -> None:
    assert complaint("=?utf-8?q?ada=40example.org=2C_?=@example.com").startswith("contains an encoded word")


@pytest.mark.parametrize("text", ['"ada lovelace"@example.org', '"ada"@example.org', '"a\\"da"@example.org'])
def test_a_quoted_part_before_the_at_is_refused(text: str) -> None:
    assert complaint(text) == "is not an address: Quoting the part before the @-sign is not allowed here."


@pytest.mark.parametrize(
    "text", ["ada@[127.0.0.1]", "ada@[IPv6:::1]", "ada@127.0.0.1", "ada@１２７.0.0.1", "ada@2130706433"]
)
def test_a_number_is_no_domain(text: str) -> None:
    assert complaint(text)


@pytest.mark.parametrize(
    "domain",
    ["localhost", "example", "mail.localhost", "rmindr.local", "a.test", "a.invalid", "a.onion", "1.0.0.127.arpa"],
)
def test_a_name_that_no_mail_reaches_is_refused(domain: str) -> None:
    assert complaint(f"ada@{domain}").startswith("is not an address: The part after the @-sign ")


@pytest.mark.parametrize("local", ["jürgen", "ﬁ", "阿达", "😀", "а"])  # the last is Cyrillic
def test_letters_before_the_at_that_not_every_server_takes_are_refused(local: str) -> None:
    assert "use an address in plain letters" in complaint(f"{local}@example.org")


@pytest.mark.parametrize(
    "text",
    ["ada", "ada@", "@example.org", ".ada@example.org", "ada.@example.org", "a..da@example.org", "ada@example.org.",
     "ada@example..org", "ada@-example.org", "ada@example-.org", "ada@exa_mple.org", "ada@exa mple.org",
     "ad a@example.org", "ada(comment)@example.org", "ada@xn--a.de", "ada@xn--.de", "ada\\@example.org"],
)  # fmt: skip
def test_what_cannot_be_an_address_is_refused_with_the_reason(text: str) -> None:
    said = complaint(text)

    assert said.startswith("is not an address: ")
    assert len(said) > len("is not an address: ")


def test_the_lengths_of_an_address_and_of_its_parts_are_those_of_the_standard() -> None:
    longest = f"{'a' * 64}@{'b' * 62}.{'b' * 61}.{'b' * 61}.de"

    assert address(f"{'a' * 64}@example.org")
    assert address(f"a@{'b' * 63}.de")
    assert len(address(longest)) == 254
    assert complaint(f"{'a' * 65}@example.org").startswith("is not an address: ")
    assert complaint(f"a@{'b' * 64}.de").startswith("is not an address: ")
    assert complaint(f"a{longest}") == "is longer than an address can be (254 characters)"


def test_a_domain_that_is_too_long_on_the_wire_only_is_refused() -> None:
    text = "joe@" + ".".join(["ü" * 20] * 10) + ".de"

    assert len(text) < 254
    assert "too long" in complaint(text)


# The message and the subject


def test_the_ends_of_lines_become_one_kind() -> None:
    assert made(message="one\r\ntwo\rthree\nfour\r\n").message == "one\ntwo\nthree\nfour\n"


def test_a_message_may_hold_any_script_tabs_and_emoji() -> None:
    text = "Zażółć\tgęślą 東京 \u202bשלום\u202c 👩‍👩‍👧 \U0001f1eb\U0001f1f7\n\n  indented"

    assert made(message=text).message == text


@pytest.mark.parametrize("character", list(UNSENDABLE))
def test_a_character_that_cannot_be_sent_is_named_with_its_place(character: str) -> None:
    said = f"contains a character that cannot be sent (U+{ord(character):04X}, at position 3)"

    assert problems(asked(message=f"ab{character}c")) == {"message": said}
    assert problems(asked(subject=f"ab{character}c")) == {"subject": said}


@pytest.mark.parametrize("character", ["\n", "\r", "\t", *BIDI])
def test_a_subject_is_one_line_that_reads_as_it_is_written(character: str) -> None:
    said = f"contains a character that cannot be sent (U+{ord(character):04X}, at position 5)"

    assert problems(asked(subject=f"good{character}news")) == {"subject": said}


def test_the_longest_texts_are_taken_and_one_character_more_is_not() -> None:
    assert len(made(message="é" * MAX_MESSAGE, subject="é" * MAX_SUBJECT).message) == MAX_MESSAGE
    assert problems(asked(message="é" * (MAX_MESSAGE + 1), subject="é" * (MAX_SUBJECT + 1))) == {
        "message": "is 4,001 characters long; 4,000 are the most",
        "subject": "is 151 characters long; 150 are the most",
    }


def test_what_is_measured_is_what_is_kept() -> None:
    assert made(message="\r\n" * (MAX_MESSAGE - 1) + "x").message.endswith("x")
    assert made(subject=" " * 500 + "Mum" + " " * 500).subject == "Mum"


@pytest.mark.parametrize("blank", [None, "", " \t\n"])
def test_a_subject_that_is_left_out_is_made_from_the_message(blank: str | None) -> None:
    assert made(subject=blank).subject == "Reminder: Call mum"


@pytest.mark.parametrize(
    ("message", "subject"),
    [
        ("", "Reminder"),
        ("\n\n  \u202e  \n", "Reminder"),
        ("\n\n  Call   mum \t now \nand dad", "Reminder: Call mum now"),
        ("Call\u202emum\x00now", "Reminder: Call mum now"),
        ("word " * 30, "Reminder: " + ("word " * 14).strip() + "…"),
        ("x" * 71, "Reminder: " + "x" * 70 + "…"),
        ("x" * 70, "Reminder: " + "x" * 70),
    ],
)
def test_a_messages_first_line_makes_a_subject(message: str, subject: str) -> None:
    assert subject_from(message) == subject


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_first_line_ends_where_the_kept_message_says(end: str) -> None:
    found = made(message=f"Call mum{end}and dad")

    assert found.subject == "Reminder: Call mum"
    assert found.subject == subject_from(found.message)


# The time


def test_an_instant_is_kept_to_the_millisecond_and_never_early() -> None:
    assert made(due_at="2026-12-01T09:00:00.0001+01:00").due_at == datetime(2026, 12, 1, 8, 0, 0, 1000, tzinfo=UTC)


def test_a_time_on_the_clock_is_read_where_it_is_meant() -> None:
    found = made(due_at=None, when="2026-12-01 09:00", time_zone="America/New_York")

    assert (found.due_at, found.time_zone) == (datetime(2026, 12, 1, 14, tzinfo=UTC), "America/New_York")


def test_a_time_on_the_clock_without_a_zone_is_in_utc() -> None:
    found = made(due_at=None, when="2026-12-01T09:00")

    assert (found.due_at, found.time_zone) == (datetime(2026, 12, 1, 9, tzinfo=UTC), "UTC")


def test_an_instant_needs_an_offset_or_a_zone() -> None:
    assert "has no offset" in problems(asked(due_at="2026-12-01T09:00:00"))["due_at"]
    assert made(due_at="2026-12-01T09:00:00", time_zone="Asia/Tokyo").due_at == datetime(2026, 12, 1, tzinfo=UTC)


def test_two_times_are_one_too_many() -> None:
    assert problems(asked(when="2026-12-01T09:00")) == {"due_at": "and `when` both say a time; give one of them"}


@pytest.mark.parametrize(
    ("request_", "name", "said"),
    [
        (asked(due_at="soon"), "due_at", "must be written like 2026-12-01T09:00:00Z"),
        (asked(due_at="2026-11-24T08:00:00Z"), "due_at", "is in the past"),
        (asked(due_at="2126-12-01T09:00:00Z"), "due_at", "is more than 100 years away"),
        (asked(due_at=None, when="soon"), "when", "cannot be read: «soon» names no time"),
        (asked(due_at=None, when=""), "when", "is missing"),
        (asked(due_at=None, when="2026-11-24T08:00"), "when", "is in the past"),
        (asked(due_at=None, when="2027-03-28T02:30", time_zone="Europe/Paris"), "when", "does not exist: on 28 March"),
        (asked(due_at=None, when="2027-10-31T02:30", time_zone="Europe/Paris"), "when", "comes twice: on 31 October"),
        (asked(time_zone="Paris"), "time_zone", "is «Paris», which is no time zone"),
        (asked(fold=-1), "fold", "must be 0 or 1"),
    ],
)
def test_what_is_wrong_about_the_time_is_said_of_the_field_that_says_it(request_: Asked, name: str, said: str) -> None:
    found = problems(request_)

    assert list(found) == [name]
    assert found[name].startswith(said)


@pytest.mark.parametrize(("fold", "hour"), [(0, 0), (1, 1)])
def test_a_time_that_comes_twice_is_the_one_that_is_chosen(fold: int, hour: int) -> None:
    found = made(due_at=None, when="2027-10-31T02:30", time_zone="Europe/Paris", fold=fold)

    assert found.due_at == datetime(2027, 10, 31, hour, 30, tzinfo=UTC)


# Whatever is asked

ANYTHING: Final = st.text(st.characters() | st.sampled_from(UNSENDABLE + BIDI + '\r\n\t @.,;:<>"=?[]-+0123456789ZTaü'))
ADDRESSES: Final = st.emails() | st.builds(
    "{}@{}".format, ANYTHING, st.sampled_from(["example.org", "münchen.de", "a.b"])
)
MOMENTS: Final = st.datetimes(datetime(2026, 1, 1), datetime(2140, 1, 1)).map(  # noqa: DTZ001  (on the clock)
    lambda moment: moment.isoformat()
)
REQUESTS: Final = st.builds(
    Asked,
    to=st.none() | ANYTHING | ADDRESSES,
    subject=st.none() | ANYTHING,
    message=st.none() | ANYTHING,
    due_at=st.none() | ANYTHING | MOMENTS | MOMENTS.map("{}Z".format),
    when=st.none() | ANYTHING | MOMENTS,
    time_zone=st.none() | ANYTHING | st.sampled_from(times.zones()),
    fold=st.none() | st.integers(0, 1) | st.integers(),
)


def draft_or_complaints(request: Asked, *, partial: bool) -> Draft | InvalidDraft:
    try:
        return draft(request, clock=NOW, partial=partial)
    except InvalidDraft as refused:
        return refused


def sendable(text: str, *, but: str = "") -> bool:
    return not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in but for c in text)


@PROPERTY
@given(REQUESTS, st.booleans())
@example(Asked(to="\ud800", subject="\ud800", message="\ud800", when="\ud800", time_zone="\ud800"), False)
@example(asked(to="a" * 300), False)
@example(asked(due_at="9999-12-31T23:59:59.9999Z"), True)
def test_whatever_is_asked_is_a_draft_or_complaints_that_can_be_shown(request_: Asked, partial: bool) -> None:
    found = draft_or_complaints(request_, partial=partial)

    if isinstance(found, InvalidDraft):
        assert found.problems
        assert set(found.problems) <= {"to", "subject", "message", "due_at", "when", "time_zone", "fold"}
        assert all(said.isprintable() for said in found.problems.values())
        assert all(len(said) < 400 for said in found.problems.values())
        return
    assert found.to.isascii()
    assert sendable(found.to)
    assert len(found.to) <= 254
    assert sendable(found.subject)
    assert not set(BIDI) & set(found.subject)
    assert 0 < len(found.subject) <= MAX_SUBJECT
    assert sendable(found.message, but="\n\t")
    assert len(found.message) <= MAX_MESSAGE
    assert NOW < found.due_at <= NOW + times.HORIZON
    assert found.due_at.microsecond % 1000 == 0
    assert times.zone(found.time_zone).key == found.time_zone


@PROPERTY
@given(ANYTHING, st.none() | ANYTHING)
def test_texts_that_are_taken_are_kept_but_for_ends_of_lines_and_space_around_a_subject(
    message: str, subject: str | None
) -> None:
    try:
        found = made(message=message, subject=subject)
    except InvalidDraft:
        return

    assert found.message == message.replace("\r\n", "\n").replace("\r", "\n")
    if subject is not None and subject.strip():
        assert found.subject == subject.strip()
    else:
        assert found.subject == subject_from(found.message)


@PROPERTY
@given(ADDRESSES)
def test_an_address_that_is_taken_is_taken_again_as_it_is_kept(text: str) -> None:
    try:
        kept = address(text)
    except ValueError:
        return

    assert address(kept) == kept
    assert kept.count("@") == 1


# Long input takes no longer than it is long


@pytest.mark.parametrize(
    "unit",
    ["a@", "@a.b,", " \t", "\r", "u\u0308", "\u0300", '"', "=?", "9", "\ud800"],
    ids=ascii,
)
@pytest.mark.parametrize("name", ["to", "subject", "message", "due_at", "when", "time_zone"])
def test_sixty_four_kibibytes_of_anything_are_judged_in_linear_time(name: str, unit: str) -> None:
    def judging(size: int) -> Callable[[], object]:
        text = unit * (size // len(unit))
        request = asked(due_at=None, **{name: f"x{text}x"}) if name != "due_at" else asked(due_at=f"x{text}x")

        def judge() -> None:
            with pytest.raises(InvalidDraft):
                draft(request, clock=NOW)

        return judge

    short, long = cost(judging(8 * 1024)), cost(judging(64 * 1024))

    # Eight times as long: at most some 8 times the work, where quadratic is 64 times.
    assert long < 24 * short + 0.002


def cost(work: Callable[[], object]) -> float:
    """The processor time of doing it once, in seconds, undisturbed by what else runs."""
    least = float("inf")
    for _ in range(3):
        begun = time.process_time()
        work()
        least = min(least, time.process_time() - begun)
    return least


def test_a_request_is_judged_by_the_clock_it_is_given() -> None:
    request = asked(due_at="2026-12-01T09:00:00Z")
    due_at = datetime(2026, 12, 1, 9, tzinfo=UTC)

    assert draft(request, clock=due_at - timedelta(milliseconds=1)).due_at == due_at
    with pytest.raises(InvalidDraft):
        draft(request, clock=due_at)
