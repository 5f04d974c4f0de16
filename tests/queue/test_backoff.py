"""How long to wait before the next attempt: the figures that the original works out."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmindr.queue import Backoff, InvalidJob, Job, State
from rmindr.queue.backoff import LONGEST_WAIT_MS
from rmindr.queue.job import from_ms
from tests.queue.scenery import PROPERTY

SAME = Backoff.same()
FIXED = Backoff.fixed()


def ms(number: float) -> timedelta:
    return timedelta(milliseconds=number)


def exponential(delay: int | None = None, max_delay: int | None = None) -> Backoff:
    return Backoff.exponential(
        ms(delay) if delay is not None else None, max_delay=ms(max_delay) if max_delay is not None else None
    )


def waits(backoff: Backoff, delay: int | None, failures: int) -> list[int]:
    """The waits after so many failures of one job, whose delay each backoff overwrites as `fail` does."""
    found = []
    for attempts in range(1, failures + 1):
        found.append(backoff.wait_ms(attempts, delay))
        delay = found[-1] or delay
    return found


@pytest.mark.parametrize(
    ("backoff", "delay", "expected"),
    [
        (SAME, 250, [250, 250, 250]),
        (SAME, None, [0, 0, 0]),
        (FIXED, 250, [250, 250, 250]),
        (FIXED, None, [0, 0, 0]),
        (Backoff.fixed(ms(40)), None, [40, 40, 40]),
        (Backoff.fixed(ms(40)), 250, [40, 40, 40]),
        (exponential(200), None, [100, 300, 700, 1500]),
        (exponential(1000), None, [500, 1500, 3500, 7500]),
        (exponential(200, 400), None, [100, 300, 300, 300]),
        (exponential(50, 100), None, [25, 75, 75]),
        # Without a delay of its own it builds on the one that the previous backoff stored.
        (exponential(), 200, [100, 150, 525, 3938]),
        (exponential(), None, [0, 0, 0]),
    ],
)
def test_the_waits_are_kues(backoff: Backoff, delay: int | None, expected: list[int]) -> None:
    assert waits(backoff, delay, len(expected)) == expected


def test_half_a_millisecond_rounds_up_as_in_javascript() -> None:
    assert [exponential(5).wait_ms(attempts, None) for attempts in (1, 2)] == [3, 8]


@PROPERTY
@given(
    st.sampled_from([SAME, FIXED, Backoff.fixed(ms(1)), exponential(), exponential(7), exponential(7, 1)]),
    st.integers(-(2**60), 2**60),
    st.none() | st.integers(-(2**60), 2**60),
)
def test_no_wait_is_negative_or_beyond_all_dates(backoff: Backoff, attempts: int, delay: int | None) -> None:
    assert 0 <= backoff.wait_ms(attempts, delay) <= LONGEST_WAIT_MS


@pytest.mark.parametrize(
    ("backoff", "text"),
    [
        (SAME, "true"),
        (FIXED, '{"type":"fixed"}'),
        (Backoff.fixed(ms(200)), '{"type":"fixed","delay":200}'),
        (exponential(), '{"type":"exponential"}'),
        (exponential(200, 400), '{"type":"exponential","delay":200,"maxDelay":400}'),
    ],
)
def test_the_wire_form_is_kues_and_reads_back(backoff: Backoff, text: str) -> None:
    assert backoff.to_wire() == (("backoff", text),)
    assert Backoff.from_wire(text) == backoff


@pytest.mark.parametrize("text", [None, ""])
def test_where_nothing_stands_there_is_no_backoff(text: str | None) -> None:
    assert Backoff.from_wire(text) is None


def test_a_cap_and_jitter_stand_beside_what_kue_reads() -> None:
    backoff = Backoff.exponential(ms(200), cap=ms(900), jitter=0.25)

    ((field, text),) = backoff.to_wire()

    assert (field, text) == ("backoff", '{"type":"exponential","delay":200,"cap":900,"jitter":0.25}')
    assert Backoff.from_wire(text) == backoff


def test_a_cap_is_exact_where_kues_is_half_a_delay_less() -> None:
    assert waits(Backoff.exponential(ms(200), cap=ms(400)), None, 4) == [100, 300, 400, 400]
    assert waits(exponential(200, 400), None, 4) == [100, 300, 300, 300]


@pytest.mark.parametrize(("chance", "expected"), [(0.0, 80), (0.5, 100), (1.0, 120)])
def test_jitter_spreads_a_wait_evenly_around_what_it_would_be(chance: float, expected: int) -> None:
    assert Backoff.fixed(ms(100), jitter=0.2).wait_ms(1, None, chance=lambda: chance) == expected


@pytest.mark.parametrize("jitter", [-0.1, 1.1, float("nan"), True, "0.2"])
def test_jitter_is_a_share(jitter: float) -> None:
    with pytest.raises(InvalidJob, match="backoff: jitter must be"):
        Backoff.fixed(ms(100), jitter=jitter)


# Named strategies


def test_a_named_strategy_is_asked_with_the_attempts_and_the_delay() -> None:
    asked = []

    def mine(attempts: int, delay: timedelta | None) -> timedelta:
        asked.append((attempts, delay))
        return ms(attempts * 7)

    assert Backoff.named("mine").wait_ms(3, 250, strategies={"mine": mine}) == 21
    assert asked == [(3, ms(250))]


def test_a_strategy_that_nobody_has_waits_as_long_as_before() -> None:
    assert Backoff.named("theirs").wait_ms(3, 250) == 250
    assert Backoff.named("theirs").wait_ms(3, None) == 0


def test_a_name_stands_where_kue_does_not_look_for_code() -> None:
    assert Backoff.named("mine").to_wire() == (("strategy", "mine"),)
    assert Backoff.from_wire(None, "mine") == Backoff.named("mine")


@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb", 5])
def test_a_strategys_name_is_a_printable_word_or_more(name: str) -> None:
    with pytest.raises(InvalidJob, match="backoff: a strategy's name"):
        Backoff.named(name)


@pytest.mark.parametrize(
    "text",
    [
        "true",
        "500",
        "null",
        "[]",
        "{",
        '"fixed"',
        '{"type":"doubling"}',
        '{"type":["fixed"]}',
        "function(attempts, delay) { return process.exit() }",
        "__import__('os').abort()",
        "[" * 100_000,
    ],
)
def test_whatever_else_stands_there_is_never_run_and_means_the_same_delay_again(text: str) -> None:
    assert Backoff.from_wire(text) == SAME


@pytest.mark.parametrize("delay", ['"200"', "true", "-1", "0", "null", "9007199254740992", "1e400", "NaN", "[]", "{}"])
def test_a_delay_that_is_no_number_counts_as_none(delay: str) -> None:
    assert Backoff.from_wire(f'{{"type":"fixed","delay":{delay}}}').delay_ms is None


@pytest.mark.parametrize("delay", [ms(0), ms(-1), ms(0.5), timedelta.max, 5, "1s"])
def test_a_backoff_of_nothing_or_for_ever_is_refused(delay: timedelta) -> None:
    with pytest.raises(InvalidJob, match="backoff: delay must be"):
        Backoff.fixed(delay)
    with pytest.raises(InvalidJob, match="backoff: max_delay must be"):
        Backoff.exponential(max_delay=delay)


@pytest.mark.parametrize(
    ("backoff", "attempts", "delay", "expected"),
    [
        (None, 0, 250, 0),
        (SAME, 0, 250, 250),
        (SAME, 0, None, 0),
        (exponential(200), 0, None, 100),
        (exponential(200), 2, None, 700),
    ],
)
def test_a_job_waits_after_the_failure_just_now_as_its_backoff_says(
    backoff: Backoff | None, attempts: int, delay: int | None, expected: int
) -> None:
    job = Job(
        id=1, type="email", data={}, state=State.ACTIVE, priority=0, created_at=from_ms(0), attempts=attempts,
        backoff=backoff, delay=ms(delay) if delay is not None else None,
    )  # fmt: skip

    assert job.wait_ms_after_failure() == expected
