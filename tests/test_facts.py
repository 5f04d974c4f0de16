"""The few things that all processes of an instance must agree on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest

from rmindr.database import Database
from rmindr.errors import StorageUnavailable
from rmindr.facts import Facts
from tests.deliveries import Away

ROUNDS: Final = 20


@pytest.fixture
def facts(database: Database) -> Facts:
    return Facts(database)


@pytest.fixture
async def elsewhere(database_url: str) -> AsyncIterator[Facts]:
    """The facts as another process sees them: on connections of its own."""
    async with Database.open(database_url) as database:
        yield Facts(database)


async def test_a_fact_that_nobody_has_told_is_empty(facts: Facts) -> None:
    assert await facts.get("epoch") == ""


async def test_a_fact_is_what_it_was_last_put_to_and_touches_no_other(facts: Facts, elsewhere: Facts) -> None:
    await facts.put("outage", "first")
    await facts.put("epoch", "another")
    await elsewhere.put("outage", "second: 'quoted' %s é")

    assert await facts.get("outage") == "second: 'quoted' %s é"
    assert await facts.get("epoch") == "another"


async def test_a_fact_can_be_emptied_and_put_again(facts: Facts) -> None:
    await facts.put("outage", "on")
    await facts.put("outage", "")
    emptied = await facts.get("outage")
    await facts.put("outage", "on again")

    assert emptied == ""
    assert await facts.get("outage") == "on again"


async def test_the_first_proposal_stands_and_later_ones_get_it_as_their_answer(facts: Facts, elsewhere: Facts) -> None:
    first = await facts.agree("epoch", "mine")
    second = await elsewhere.agree("epoch", "yours")

    assert (first, second) == ("mine", "mine")
    assert await facts.get("epoch") == "mine"


async def test_all_who_ask_at_once_get_the_same_answer_and_it_stands(facts: Facts, elsewhere: Facts) -> None:
    for round in range(ROUNDS):
        name = f"epoch {round}"

        answers = await asyncio.gather(
            *(who.agree(name, f"proposal {n}") for n in range(4) for who in (facts, elsewhere))
        )

        assert len(set(answers)) == 1
        assert await facts.get(name) == answers[0]


async def test_of_all_who_put_at_once_one_is_the_last(facts: Facts, elsewhere: Facts) -> None:
    for round in range(ROUNDS):
        name = f"outage {round}"

        await asyncio.gather(*(who.put(name, f"value {n}") for n in range(4) for who in (facts, elsewhere)))

        assert await facts.get(name) in {f"value {n}" for n in range(4)}


async def test_a_count_that_is_raised_never_goes_down_whoever_raises_it(facts: Facts, elsewhere: Facts) -> None:
    await facts.raise_to("highest job id", 9)
    await elsewhere.raise_to("highest job id", 10)
    await facts.raise_to("highest job id", 8)
    await asyncio.gather(*(who.raise_to("highest job id", n) for n in range(11, 40) for who in (facts, elsewhere)))

    assert await facts.get("highest job id") == "39"


async def test_a_database_that_is_away_is_said_to_be(facts: Facts, away: Away) -> None:
    await facts.put("epoch", "x")
    away.go()

    for call in (facts.get("epoch"), facts.put("epoch", "y"), facts.agree("epoch", "y"), facts.raise_to("epoch", 1)):
        with pytest.raises(StorageUnavailable):
            await call

    away.come_back()
    assert await facts.get("epoch") == "x"
