"""What a mail says, looked at twice: as a mail program reads it, and as bytes on the wire."""

from __future__ import annotations

import base64
import email
import email.policy
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from rmindr import drafts
from rmindr.drafts import Asked
from rmindr.errors import InvalidDraft
from rmindr.mail.letters import Contents, Item, LetterBroken, Letters
from rmindr.mail.links import MailLinks
from rmindr.signing import Signer

PROPERTY: Final = settings(deadline=None, derandomize=True, database=None, max_examples=60)
SIGNER: Final = Signer(["a-key-for-tests-that-nobody-can-guess"])
DUE: Final = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
A_DAY: Final = timedelta(days=1)
CREATED: Final = datetime(2026, 11, 23, 18, 30, 5, tzinfo=UTC)
HEADERS: Final = [
    "Date",
    "From",
    "To",
    "Subject",
    "Message-ID",
    "Auto-Submitted",
    "X-Auto-Response-Suppress",
    "MIME-Version",
    "Content-Type",
]
# Every way into another header that is known to have worked somewhere.
INJECTIONS: Final = [
    "hi\r\nBcc: x@y.z",
    "hi\nBcc: x@y.z",
    "hi\rBcc: x@y.z",
    "hi\r\n\r\nbody",
    "hi\r\n Bcc: x@y.z",
    "=?utf-8?q?hi=0D=0ABcc:=20x@y.z?=",
    "=?utf-8?B?aGkNCkJjYzogeEB5Lno=?=",
    "=?utf-8?q?hi=0ABcc:=20x@y.z?= =?utf-8?q?=0D=0A?=",
    "=?utf-8?q?hi?=\r\nBcc: x@y.z",
    "=?us-ascii?q?=0D=0A=0D=0Abody?=",
    "hi\x00Bcc: x@y.z",
    "hi\u2028Bcc: x@y.z",
    "hi\x0bBcc: x@y.z\x0c\x85Cc: x@y.z",
    "hi" + " " * 80 + "Bcc: x@y.z",
    "x" * 76 + "\r\nBcc: x@y.z",
]


def contents(**changes: Any) -> Contents:
    usual = Contents(
        id=UUID("01939f2a-7c00-7abc-8def-0123456789ab"),
        rev=3,
        recipient="me@example.org",
        subject="Reminder: Call mum",
        message="Call mum",
        due_at=DUE,
        time_zone="Europe/Paris",
        created_at=CREATED,
        leaves_at=DUE + timedelta(milliseconds=4),
    )
    return replace(usual, **changes)


def letters(*, name: str = "Reminders", public_url: str | None = None) -> Letters:
    links = MailLinks(public_url, SIGNER) if public_url is not None else None
    return Letters(name=name, address="reminders@example.org", bounces_to="bounces@example.org", links=links)


def written(*, name: str = "Reminders", public_url: str | None = None, **changes: Any) -> bytes:
    return letters(name=name, public_url=public_url).make(contents(**changes)).data


def read(data: bytes) -> EmailMessage:
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def text_of(data: bytes) -> str:
    part = read(data).get_body(("plain",))
    assert isinstance(part, EmailMessage)
    return str(part.get_content()).replace("\r\n", "\n")


def html_of(data: bytes) -> str:
    part = read(data).get_body(("html",))
    assert isinstance(part, EmailMessage)
    return str(part.get_content()).replace("\r\n", "\n")


class Page(HTMLParser):
    """What a reader of the HTML sees, and what it would fetch."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []
        self._hidden = False
        self.feed(source)
        self.close()

    @property
    def text(self) -> str:
        return "".join(self.seen)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._hidden = tag in ("style", "title", "script")
        for name, value in attrs:
            if name == "href":
                self.links.append(value or "")
            if name in ("src", "background", "poster", "srcset"):
                self.fetched.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        self._hidden = False

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.seen.append(data)


def header_lines(data: bytes) -> list[bytes]:
    """The head as physical lines."""
    return data.partition(b"\r\n\r\n")[0].split(b"\r\n")


def header(data: bytes, name: str) -> bytes:
    """The value of one header as it stands on the wire, unfolded; every header must be there exactly once."""
    unfolded = re.sub(rb"\r\n(?=[ \t])", b"", data.partition(b"\r\n\r\n")[0])
    (value,) = [line for line in unfolded.split(b"\r\n") if line.startswith(name.encode() + b": ")]
    return value.removeprefix(name.encode() + b": ")


def decoded(value: bytes) -> str:
    """A header value as RFC 2047 says, by a decoder of this file's own: plain text, or encoded words and nothing else."""
    if b"=?" not in value:
        return value.decode("ascii")
    words = value.split(b" ")
    assert all(re.fullmatch(rb"=\?utf-8\?B\?[A-Za-z0-9+/]+=*\?=", word) for word in words), value
    # Each word must stand alone: a character may not be cut in two.
    return "".join(base64.b64decode(word[10:-2]).decode() for word in words)


def check_wire(data: bytes) -> None:
    """What every mail must keep to, whatever was put into it."""
    assert data.endswith(b"\r\n")
    assert data.isascii()
    assert b"\x00" not in data
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", data), "a line that does not end in CRLF"
    assert max(map(len, data.split(b"\r\n"))) <= 998
    assert [line.partition(b":")[0].decode() for line in header_lines(data) if line[:1] != b" "] == HEADERS
    words = re.findall(rb"=\?.*?\?=", data.partition(b"\r\n\r\n")[0])
    assert max(map(len, words), default=0) <= 75
    assert max((len(line) for line in header_lines(data) if b"=?" in line), default=0) <= 76
    message = read(data)
    assert message.keys() == HEADERS
    assert message.defects == []
    assert [part.get_content_type() for part in message.walk()] == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]


# The headers


def test_the_headers_are_these_and_no_others() -> None:
    data = written()

    assert data.partition(b"\r\n\r\n")[0].decode().split("\r\n") == [
        "Date: Tue, 01 Dec 2026 09:00:00 +0000",
        "From: Reminders <reminders@example.org>",
        "To: me@example.org",
        "Subject: Reminder: Call mum",
        "Message-ID: <01939f2a-7c00-7abc-8def-0123456789ab.3@example.org>",
        "Auto-Submitted: auto-generated",
        "X-Auto-Response-Suppress: OOF, AutoReply",
        "MIME-Version: 1.0",
        'Content-Type: multipart/alternative; boundary="=_01939f2a7c007abc8def0123456789ab.3"',
    ]


def test_the_envelope_is_our_bounce_address_and_the_one_recipient() -> None:
    letter = letters().make(contents(recipient="you@example.com"))

    assert letter.sender == "bounces@example.org"
    assert letter.recipient == "you@example.com"
    assert letter.message_id == "<01939f2a-7c00-7abc-8def-0123456789ab.3@example.org>"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", "reminders@example.org"),
        ("Reminders", "Reminders <reminders@example.org>"),
        ("Rem, Inc.", '"Rem, Inc." <reminders@example.org>'),
        ('Rem "the" \\ best', '"Rem \\"the\\" \\\\ best" <reminders@example.org>'),
        ("Rem <x@y.z>", '"Rem <x@y.z>" <reminders@example.org>'),
        ("Rémi", "=?utf-8?B?UsOpbWk=?= <reminders@example.org>"),
        ("=?utf-8?q?hi?=", "=?utf-8?B?PT91dGYtOD9xP2hpPz0=?= <reminders@example.org>"),
    ],
)
def test_the_senders_name_is_written_so_that_it_reads_as_meant(name: str, expected: str) -> None:
    data = written(name=name)

    assert header(data, "From").decode() == expected
    (read_back,) = read(data)["From"].addresses
    assert (read_back.display_name, read_back.addr_spec) == (name, "reminders@example.org")
    check_wire(data)


def test_a_long_foreign_name_is_folded_into_short_lines() -> None:
    data = written(name="Напоминания от нашей маленькой службы напоминаний " * 3)

    (read_back,) = read(data)["From"].addresses
    assert read_back.addr_spec == "reminders@example.org"
    check_wire(data)


def test_the_message_id_tells_revisions_apart_and_attempts_not() -> None:
    first, again, edited = (
        letters().make(contents(rev=rev, leaves_at=leaves_at)).message_id
        for rev, leaves_at in ((1, DUE), (1, DUE + timedelta(hours=1)), (2, DUE))
    )

    assert first == again
    assert first != edited


def test_the_date_is_when_it_leaves_and_not_when_it_was_due() -> None:
    data = written(leaves_at=DUE + timedelta(hours=2, milliseconds=999))

    assert header(data, "Date") == b"Tue, 01 Dec 2026 11:00:00 +0000"


# Nothing breaks out of its place


@pytest.mark.parametrize("trick", INJECTIONS)
@pytest.mark.parametrize("place", ["subject", "message", "name"])
def test_no_trick_in_any_text_makes_another_header_or_part(place: str, trick: str) -> None:
    data = written(**{place: trick})

    check_wire(data)
    assert header(data, "To") == b"me@example.org"
    head = data.partition(b"\r\n\r\n")[0].lower()
    assert b"\nbcc" not in head
    assert b"\ncc" not in head


@pytest.mark.parametrize("trick", INJECTIONS)
def test_a_trick_in_the_subject_is_shown_as_it_was_written(trick: str) -> None:
    data = written(subject=trick)

    assert decoded(header(data, "Subject")) == trick


@pytest.mark.parametrize("trick", INJECTIONS)
def test_a_trick_in_the_recipient_is_refused(trick: str) -> None:
    with pytest.raises(LetterBroken):
        written(recipient=f"{trick}@example.org")


@pytest.mark.parametrize("place", ["subject", "message"])
def test_half_a_surrogate_pair_is_refused(place: str) -> None:
    with pytest.raises(LetterBroken):
        written(**{place: "hi \ud83d there"})


def test_a_zone_that_no_longer_exists_is_refused() -> None:
    with pytest.raises(LetterBroken):
        written(time_zone="Europe/Atlantis")


@pytest.mark.parametrize("trick", [trick for trick in INJECTIONS if not trick.isprintable()])
def test_what_cannot_be_printed_is_refused_in_a_subject_before_there_is_a_letter(trick: str) -> None:
    asked = Asked(to="me@example.org", message="hi", subject=trick, due_at="2026-12-01T09:00:00Z")

    with pytest.raises(InvalidDraft) as refused:
        drafts.draft(asked, clock=CREATED)

    assert set(refused.value.problems) == {"subject"}


@pytest.mark.parametrize("character", ["\x00", "\x0b", "\x1b", "\x7f", "\x85", "\u2028", "\u2029", "\ud800"])
def test_nul_and_its_kin_are_refused_in_a_message_before_there_is_a_letter(character: str) -> None:
    asked = Asked(to="me@example.org", message=f"hi{character}there", due_at="2026-12-01T09:00:00Z")

    with pytest.raises(InvalidDraft) as refused:
        drafts.draft(asked, clock=CREATED)

    assert set(refused.value.problems) == {"message"}


# Not only what drafts let through: this is the last line, so it holds for any text that is one.
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=200)
NASTY = st.lists(
    st.sampled_from(
        ["=?utf-8?q?", "=?utf-8?B?", "?=", "=0D=0A", "\r\n", "\n", "\r", "\x00", "Bcc: x@y.z", ": ", " ", "\t", ".",
         "--=_01939f2a7c007abc8def0123456789ab.3", "--", "é", "😀", "\u202e", '"', "\\", "<", ">", ",", "a" * 60]
    ),
    max_size=25,
).map("".join)  # fmt: skip


@PROPERTY
@given(subject=TEXT | NASTY)
@example(subject="")
@example(subject=" ")
@example(subject=" leading and trailing ")
@example(subject="=?")
@example(subject="😀" * 150)
def test_any_subject_stays_the_subject(subject: str) -> None:
    data = written(subject=subject)

    check_wire(data)
    if subject:
        assert decoded(header(data, "Subject")) == subject


@PROPERTY
@given(message=TEXT | NASTY)
@example(message=".")
@example(message="\n.\n..\n.hidden\n")
@example(message="=")
@example(message="trailing spaces   \n\ttabs\t\n")
def test_any_message_stays_in_its_two_parts(message: str) -> None:
    assume(not message.endswith("\r"))
    data = written(message=message)

    check_wire(data)
    lines = re.sub("\r\n|\r", "\n", message)
    assert text_of(data).startswith(f"{lines}\n\n-- \nA reminder for ")


@PROPERTY
@given(name=TEXT | NASTY)
def test_any_name_stays_a_name(name: str) -> None:
    assume(name.strip() == name)
    data = written(name=name)

    check_wire(data)
    assert header(data, "From").endswith(b"reminders@example.org>" if name else b"reminders@example.org")
    assert header(data, "From").count(b"reminders@example.org") == 1 or "reminders@example.org" in name


# On the wire


def test_a_plain_letter_is_these_bytes() -> None:
    data = written(subject="Call mum", message="Call mum = she waits.\n.\nAt 5 € sharp")

    assert data.partition(b"\r\n\r\n")[2].partition(b"Content-Type: text/html")[0].decode() == (
        "--=_01939f2a7c007abc8def0123456789ab.3\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        "Content-Transfer-Encoding: quoted-printable\r\n"
        "\r\n"
        "Call mum =3D she waits.\r\n"
        "=2E\r\n"
        "At 5 =E2=82=AC sharp\r\n"
        "\r\n"
        "--=20\r\n"
        "A reminder for Tuesday 1 December 2026 at 10:00 in Paris (UTC+1),\r\n"
        "set on Monday 23 November 2026 at 19:30:05 in Paris (UTC+1).\r\n"
        "\r\n"
        "--=_01939f2a7c007abc8def0123456789ab.3\r\n"
    )
    assert data.endswith(b"\r\n--=_01939f2a7c007abc8def0123456789ab.3--\r\n")


def test_a_subject_of_two_hundred_emoji_is_short_words_each_of_whole_characters() -> None:
    data = written(subject="😀" * 200)

    lines = [line for line in header_lines(data) if b"=?" in line]
    assert len(lines) > 1
    assert all(line.startswith(b" ") for line in lines[1:])
    assert b"?==?" not in data
    assert read(data)["Subject"] == "😀" * 200
    check_wire(data)


def test_a_message_from_right_to_left_arrives_as_it_was_written() -> None:
    message = "تذكير: اتصل بأمك غدًا\nתזכורת: להתקשר לאמא"
    data = written(subject="تذكير", message=message)

    assert read(data)["Subject"] == "تذكير"
    assert text_of(data).startswith(message)
    assert message in Page(html_of(data)).text
    check_wire(data)


def test_a_line_of_five_thousand_characters_arrives_whole() -> None:
    message = "ab cd" * 1000
    data = written(message=message)

    assert text_of(data).startswith(f"{message}\n")
    assert message in Page(html_of(data)).text
    check_wire(data)


def test_a_recipient_in_a_foreign_script_is_written_in_plain_letters() -> None:
    recipient = drafts.address("joe@münchen.de")
    data = written(recipient=recipient)

    assert header(data, "To") == b"joe@xn--mnchen-3ya.de"
    (read_back,) = read(data)["To"].addresses
    assert read_back.addr_spec == "joe@xn--mnchen-3ya.de"
    check_wire(data)


def test_lines_that_begin_with_dots_arrive_with_all_their_dots() -> None:
    message = ".\n..\n.hidden\n...and so on\nend."
    data = written(message=message)

    assert text_of(data).startswith(f"{message}\n")
    check_wire(data)


def test_a_bare_carriage_return_ends_a_line_like_any_other() -> None:
    data = written(message="one\rtwo\r\nthree\nfour")

    assert text_of(data).startswith("one\ntwo\nthree\nfour\n")
    check_wire(data)


def test_the_same_contents_are_always_the_same_bytes() -> None:
    one, other = (letters(name="Rémi").make(contents(subject="Café ☕", message="é\n" * 500)) for _ in range(2))

    assert one == other


def test_kept_bytes_are_returned_as_they_are() -> None:
    kept = written(message="what may have left")

    letter = letters(name="Another name").make(contents(message="what is now", leaves_at=DUE + timedelta(9)), kept=kept)

    assert letter.data is kept
    assert letter.message_id.encode() in kept


# What it says


def test_a_letter_says_when_it_was_due_and_when_it_was_set_in_the_readers_zone() -> None:
    data = written(time_zone="America/New_York")

    for said in (text_of(data), " ".join(Page(html_of(data)).text.split())):
        assert "Tuesday 1 December 2026 at 04:00 in New York (UTC−5)" in said
        assert "Monday 23 November 2026 at 13:30:05 in New York (UTC−5)" in said


@pytest.mark.parametrize(
    ("late", "said"),
    [
        (timedelta(seconds=-1), None),
        (timedelta(0), None),
        (timedelta(seconds=60), None),
        (timedelta(seconds=61), "1 minute 1 second"),
        (timedelta(hours=2, minutes=5), "2 hours 5 minutes"),
        (timedelta(days=3, hours=4), "3 days"),
    ],
)
def test_a_late_letter_says_so_and_a_punctual_one_does_not(late: timedelta, said: str | None) -> None:
    data = written(leaves_at=DUE + late)

    for part in (text_of(data), Page(html_of(data)).text):
        assert ("late" in part) is (said is not None)
        assert said is None or f"This mail is {said} late; it could not be sent at its time." in part


def test_a_letter_carries_a_link_only_where_there_is_a_public_url() -> None:
    without, with_link = written(), written(public_url="https://remind.example.org")

    assert "http" not in text_of(without)
    assert Page(html_of(without)).links == []
    assert "List-Unsubscribe" not in read(without)
    links = Page(html_of(with_link)).links
    text = text_of(with_link)
    words = ["Done", "Remind me again later", "See, change or cancel it", "Stop all mail from here"]
    assert [f"{word}: {link}\n" in text for word, link in zip(words, links, strict=True)] == [True] * 4
    assert all(link.startswith("https://remind.example.org/") for link in links)


@pytest.mark.parametrize("local", ["a", "a" * 64])
def test_whoever_reads_a_letter_can_stop_all_of_them_at_one_click(local: str) -> None:
    data = written(public_url=f"https://{'remind.' * 20}example.org", recipient=f"{local}@{'a' * 60}.example.org")

    # On the wire, since the standard library would fold such a value into words that nobody reads.
    (line,) = [line for line in data.split(b"\r\n") if line.startswith(b"List-Unsubscribe:")]
    url = Page(html_of(data)).links[-1]
    assert line == f"List-Unsubscribe: <{url}>".encode()
    assert b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in data


def test_a_letter_that_another_person_set_says_who_and_does_not_let_its_reader_change_it() -> None:
    data = written(public_url="https://remind.example.org", by="ada@example.org")

    assert "by ada@example.org" in text_of(data)
    assert "See, change or cancel it" not in text_of(data)
    assert "Stop all mail from here" in text_of(data)


def test_the_text_and_the_page_carry_the_same_facts() -> None:
    data = written(
        message="Call mum\nand dad", leaves_at=DUE + timedelta(hours=1), public_url="https://remind.example.org"
    )

    text, page = text_of(data), Page(html_of(data))
    facts = [
        "Call mum\nand dad",
        "1 hour late",
        "1 December 2026 at 10:00 in Paris (UTC+1)",
        "23 November 2026 at 19:30:05 in Paris (UTC+1)",
    ]
    for fact in facts:
        assert fact in text
        assert fact in page.text
    assert page.links[0] in text


@pytest.mark.parametrize(
    "markup",
    [
        "<script>alert(1)</script>",
        "<img src=https://evil.example/p.gif>",
        '"><a href="javascript:alert(1)">x</a>',
        "</p></td></table><h1>Win</h1>",
        "</title><script>alert(1)</script>",
        "{{ 7 * 7 }}{% include 'letter.txt' %}",
        "&lt;b&gt; & <b>",
        "<!--",
    ],
)
def test_markup_in_a_message_or_subject_is_shown_and_not_obeyed(markup: str) -> None:
    plain, data = Page(html_of(written())), written(subject=markup, message=markup)

    page = Page(html_of(data))
    assert page.tags == plain.tags
    assert page.links == plain.links
    assert markup in page.text
    assert text_of(data).startswith(markup)


def test_nothing_is_fetched_from_anywhere_to_show_a_letter() -> None:
    source = html_of(written(public_url="https://remind.example.org"))

    assert Page(source).fetched == []
    assert "url(" not in source
    assert "@import" not in source
    assert not {"img", "script", "link", "iframe", "object", "form"} & set(Page(source).tags)


# Several in one


def items(*messages: str) -> list[Item]:
    """Others that were due in the hours before."""
    return [
        Item(id=UUID(int=hour), message=message, due_at=DUE - timedelta(hours=hour), time_zone="Asia/Tokyo")
        for hour, message in enumerate(messages, 1)
    ]


def test_a_letter_of_several_says_each_with_its_time_and_a_way_to_it_oldest_first() -> None:
    data = written(others=items("Water plants", "Feed cat"), public_url="https://r.example", leaves_at=DUE + A_DAY)

    assert decoded(header(data, "Subject")) == "3 reminders that are late"
    assert header(data, "Message-ID") == b"<01939f2a-7c00-7abc-8def-0123456789ab.3@example.org>"
    for shown in (text_of(data), Page(html_of(data)).text):
        places = [
            shown.index(words)
            for words in ("3 reminders could not be sent at their times", "16:00", "Feed cat", "17:00", "Water plants")
        ]
        assert places == sorted(places)
        assert places[-1] < shown.index("10:00") < shown.index("Call mum")
    links = Page(html_of(data)).links
    assert [link.rpartition("/")[0] for link in links] == [
        *["https://r.example/manage"] * 3, "https://r.example", "https://r.example/stop",
    ]  # fmt: skip
    assert len(set(links)) == 5
    assert all(link in text_of(data) for link in links)


@pytest.mark.parametrize("trick", [*INJECTIONS, "<script>alert(1)</script>", "--=_01939f2a7c007abc8def0123456789ab.3"])
def test_no_trick_in_one_of_several_breaks_out_of_its_place(trick: str) -> None:
    data = written(others=items(trick, "Feed cat"))

    assert [part.get_content_type() for part in read(data).walk()] == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]
    assert "script" not in Page(html_of(data)).tags
    assert b"\nbcc" not in data.partition(b"\r\n\r\n")[0].lower()


def test_a_zone_that_is_gone_from_one_of_several_is_refused() -> None:
    (other,) = items("Feed cat")

    with pytest.raises(LetterBroken):
        written(others=[replace(other, time_zone="Mars/Olympus")])
