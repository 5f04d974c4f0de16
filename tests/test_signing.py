"""A token says one thing, for one purpose, until its time; whatever else comes is refused in one way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmindr.errors import BadToken
from rmindr.signing import Purpose, Signer

OLD, NEW = "an-old-key-that-nobody-can-guess!!", "a-new-key-that-nobody-can-guess!!!"


def test_a_token_says_what_it_was_made_of() -> None:
    signer = Signer([OLD])

    assert list(signer.read(Purpose.STOP, signer.sign(Purpose.STOP, "ada@example.org", "7"))) == [
        "ada@example.org",
        "7",
    ]


@pytest.mark.parametrize(("one", "other"), list(permutations(Purpose, 2)))
def test_a_token_for_one_purpose_is_none_for_another(one: Purpose, other: Purpose) -> None:
    signer = Signer([OLD])

    with pytest.raises(BadToken):
        signer.read(other, signer.sign(one, "7"))


def test_what_the_old_key_signed_is_read_until_it_is_taken_away() -> None:
    before, both, after = Signer([OLD]), Signer([OLD, NEW]), Signer([NEW])
    old, new = before.sign(Purpose.MANAGE, "7"), both.sign(Purpose.MANAGE, "8")

    assert [list(both.read(Purpose.MANAGE, each)) for each in (old, new)] == [["7"], ["8"]]
    assert list(after.read(Purpose.MANAGE, new)) == ["8"]
    with pytest.raises(BadToken):
        after.read(Purpose.MANAGE, old)


def test_a_token_that_is_too_old_says_that_it_was_ours() -> None:
    signer = Signer([OLD])
    token = signer.sign(Purpose.DONE, "7", until=datetime.now(UTC) - timedelta(seconds=2))

    with pytest.raises(BadToken) as caught:
        signer.read(Purpose.DONE, token)

    assert caught.value.expired


@settings(deadline=None, derandomize=True, database=None, max_examples=200)
@given(st.text())
def test_any_text_at_all_is_refused_without_a_crash(text: str) -> None:
    with pytest.raises(BadToken) as caught:
        Signer([OLD]).read(Purpose.DONE, text)

    assert not caught.value.expired


@settings(deadline=None, derandomize=True, database=None, max_examples=200)
@given(st.data())
def test_a_token_of_which_one_letter_was_changed_is_none(data: st.DataObject) -> None:
    token = Signer([OLD]).sign(Purpose.DONE, "0193", until=datetime(2100, 1, 1, tzinfo=UTC))
    at = data.draw(st.integers(0, len(token) - 2))
    letter = data.draw(st.sampled_from([each for each in "abcXYZ019_-." if each != token[at]]))

    with pytest.raises(BadToken):
        Signer([OLD]).read(Purpose.DONE, token[:at] + letter + token[at + 1 :])
