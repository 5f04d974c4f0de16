"""A job as a value: what may be asked for, and what can be read from a hash that anybody may have written."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmindr.queue import PRIORITIES, Backoff, InvalidJob, Job, NewJob, State, UnreadableJob
from rmindr.queue.job import from_ms, to_json, to_ms
from tests.queue.scenery import PROPERTY

HASH = {
    "type": "email", "data": '{"to":"é"}', "priority": "-10", "created_at": "1795448797530", "promote_at": "1795448797531",
    "updated_at": "1795448797532", "max_attempts": "3", "state": "failed",
}  # fmt: skip


def a_job(**fields: str) -> Job:
    return Job.from_hash(7, HASH | fields)


# What is asked for


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"type": ""}, "type"),
        ({"type": "x" * 201}, "type"),
        ({"type": "new\nline"}, "type"),
        ({"type": "nul\0"}, "type"),
        ({"type": "\ud800"}, "type"),
        ({"type": 5}, "type"),
        ({"data": float("nan")}, "data"),
        ({"data": {1, 2}}, "data"),
        ({"data": {(1, 2): 3}}, "data"),
        ({"data": b"bytes"}, "data"),
        ({"data": "\ud800"}, "data"),
        ({"data": "x" * 600_000}, "data"),
        ({"delay": datetime(2030, 1, 1)}, "delay"),  # noqa: DTZ001
        ({"delay": timedelta.max}, "delay"),
        ({"delay": timedelta(days=366_000)}, "delay"),
        ({"delay": 5}, "delay"),
        ({"priority": "urgent"}, "priority"),
        ({"priority": "High"}, "priority"),
        ({"priority": float("nan")}, "priority"),
        ({"priority": float("inf")}, "priority"),
        ({"priority": 10**400}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": None}, "priority"),
        ({"attempts": 0}, "attempts"),
        ({"attempts": 1.5}, "attempts"),
        ({"attempts": True}, "attempts"),
        ({"attempts": 2**53}, "attempts"),
        ({"ttl": timedelta(0)}, "ttl"),
        ({"ttl": timedelta(microseconds=999)}, "ttl"),
        ({"ttl": timedelta.max}, "ttl"),
        ({"ttl": 5}, "ttl"),
        ({"unique": ""}, "unique"),
        ({"unique": "x" * 201}, "unique"),
        ({"unique": 5}, "unique"),
    ],
)
def test_what_cannot_be_a_job_is_refused_by_the_name_of_its_field(asked: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidJob, match=named):
        NewJob(**{"type": "email"} | asked).to_args()


def test_data_that_contains_itself_is_refused() -> None:
    data: list[Any] = []
    data.append(data)

    with pytest.raises(InvalidJob, match="data must be JSON"):
        NewJob(type="email", data=data).to_args()


@pytest.mark.parametrize(
    ("priority", "score"),
    [
        *((name, str(number)) for name, number in PRIORITIES.items()),
        (7, "7"),
        (7.0, "7"),
        (-0.0, "0"),
        (-2.5, "-2.5"),
        (1e-7, "1e-07"),
    ],
)
def test_a_priority_is_a_name_or_any_number(priority: int | float | str, score: str) -> None:
    assert NewJob(type="email", priority=priority).to_args()[1] == score


def test_json_is_compact_and_in_utf_8() -> None:
    assert to_json({"a": [1, "é🎂\u2028"]}, "data") == '{"a":[1,"é🎂\u2028"]}'.encode()


def test_a_job_cannot_be_changed_in_place() -> None:
    with pytest.raises(FrozenInstanceError):
        a_job().state = State.ACTIVE  # type: ignore[misc]


# What is read


def test_a_hash_is_read_field_by_field() -> None:
    job = a_job(
        attempts="1", delay="500", ttl="90000", backoff='{"type":"fixed","delay":200}', removeOnComplete="true",
        progress="50", progress_data='{"page":1}', result="[1]", error="no", started_at="1795448797533",
        failed_at="1795448797534", duration="12", workerId="kue:here:1:email:1", unique="key",
    )  # fmt: skip

    def at(ms: int) -> datetime:
        return datetime(2026, 11, 23, 15, 46, 37, ms * 1000, tzinfo=UTC)

    assert job == Job(
        id=7, type="email", data={"to": "é"}, state=State.FAILED, priority=-10, created_at=at(530), promote_at=at(531),
        updated_at=at(532), started_at=at(533), failed_at=at(534), attempts=1, max_attempts=3,
        delay=timedelta(milliseconds=500), ttl=timedelta(seconds=90), backoff=Backoff.fixed(timedelta(milliseconds=200)),
        remove_on_complete=True, progress=50, progress_data={"page": 1}, result=[1], error="no",
        duration=timedelta(milliseconds=12), worker_id="kue:here:1:email:1", unique="key",
    )  # fmt: skip
    assert job.attempts_remaining == 2


def test_what_kue_leaves_out_has_its_meaning() -> None:
    job = Job.from_hash(7, {name: HASH[name] for name in ("type", "data", "priority", "created_at", "state")})

    assert (job.attempts, job.max_attempts, job.progress, job.attempts_remaining) == (0, 1, 0, 1)
    assert (job.delay, job.ttl, job.backoff, job.result, job.error, job.started_at) == (None,) * 6


@pytest.mark.parametrize("text", ["true", "false", "0"])
def test_any_text_in_remove_on_complete_reads_as_yes_as_in_kue(text: str) -> None:
    assert a_job(removeOnComplete=text).remove_on_complete


def test_fractions_of_milliseconds_that_javascript_wrote_are_read() -> None:
    assert a_job(promote_at="1795448797531.5").promote_at == a_job().promote_at
    assert a_job(delay="0.5").delay == timedelta(microseconds=500)


@pytest.mark.parametrize("field", ["type", "data", "priority", "created_at", "state"])
def test_a_hash_without_a_field_that_a_job_must_have_is_unreadable_and_says_which(field: str) -> None:
    with pytest.raises(UnreadableJob, match=f"job 7 cannot be read: it has no {field}"):
        Job.from_hash(7, {name: text for name, text in HASH.items() if name != field})


@pytest.mark.parametrize(
    "fields",
    [
        {"data": ""}, {"data": "undefined"}, {"data": "[" * 100_000}, {"data": "9" * 5000}, {"state": "paused"},
        {"priority": "urgent"}, {"priority": ""}, {"created_at": ""}, {"created_at": "soon"}, {"created_at": "nan"},
        {"created_at": "inf"}, {"promote_at": "1e30"}, {"updated_at": str(2**62)}, {"started_at": str(-(2**62))},
        {"attempts": "few"}, {"max_attempts": "1.5"}, {"delay": "inf"}, {"delay": "nan"}, {"ttl": "1e300"},
        {"duration": "long"}, {"progress": "half"}, {"progress_data": "{"}, {"result": "{"},
    ],
    ids=lambda fields: repr(fields)[:40],
)  # fmt: skip
def test_a_hash_with_nonsense_in_it_is_unreadable(fields: dict[str, str]) -> None:
    with pytest.raises(UnreadableJob) as error:
        a_job(**fields)

    assert error.value.job_id == 7


@PROPERTY
@given(
    st.dictionaries(st.sampled_from([*HASH, "ttl", "delay", "attempts", "result", "backoff", "failed_at"]), st.text())
)
def test_whatever_stands_in_a_hash_it_is_read_or_unreadable(fields: dict[str, str]) -> None:
    try:
        job = a_job(**fields)
    except UnreadableJob:
        return
    assert job.id == 7


# Instants


def test_an_instant_between_two_milliseconds_becomes_the_later() -> None:
    assert to_ms(datetime(2026, 11, 23, 15, 46, 37, 530_001, tzinfo=UTC)) == 1_795_448_797_531


@PROPERTY
@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)), st.integers(-14, 14))  # noqa: DTZ001
def test_no_instant_becomes_an_earlier_one_or_moves_by_a_millisecond(naive: datetime, hours: int) -> None:
    at = naive.replace(tzinfo=timezone(timedelta(hours=hours)))

    late = from_ms(to_ms(at)) - at

    assert timedelta(0) <= late < timedelta(milliseconds=1)
