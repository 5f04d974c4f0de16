"""The names of the keys, and the members that stand for jobs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmindr.queue import InvalidJob
from rmindr.queue.keys import Keys, id_of, zid
from tests.queue.scenery import PROPERTY


@pytest.mark.parametrize(
    ("job_id", "member"),
    [(7, "01|7"), (42, "02|42"), (100, "03|100"), (9_999_999_999, "10|9999999999"), (2**53, "16|9007199254740992")],
)
def test_a_zid_is_the_length_of_the_id_and_the_id(job_id: int, member: str) -> None:
    assert zid(job_id) == member
    assert id_of(member) == job_id


@PROPERTY
@given(st.lists(st.integers(1, 2**53)))
def test_zids_sort_as_their_ids_do(job_ids: list[int]) -> None:
    assert [id_of(member) for member in sorted(map(zid, job_ids))] == sorted(job_ids)


def test_a_bare_id_of_a_kue_before_0_10_3_is_read() -> None:
    assert id_of("42") == 42


@pytest.mark.parametrize(
    "member", ["", "|", "01|", "junk", "03|abc", "03|007", "01|0", "02|-1", "01|٣", "03|1 2", "5|" + "9" * 5000]
)
def test_what_is_no_zid_has_no_id(member: str) -> None:
    assert id_of(member) is None


def test_all_keys_begin_with_the_prefix() -> None:
    keys = Keys("{q}", cluster=True)

    names = [*keys.for_scripts, keys.job(7), keys.log(7), keys.of_type("e:mail", "active"), keys.tokens("e:mail")]

    assert all(name.startswith("{q}:") for name in names)
    assert names[-4:] == ["{q}:job:7", "{q}:job:7:log", "{q}:jobs:e:mail:active", "{q}:e:mail:jobs"]


@pytest.mark.parametrize("prefix", ["", " ", "a b", "a\n"])
def test_a_prefix_is_a_word(prefix: str) -> None:
    with pytest.raises(InvalidJob, match="prefix"):
        Keys(prefix)
