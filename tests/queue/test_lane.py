"""One command connection, many scripts in flight on it: whoever asks gets his own answer, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Final

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as NoAnswer

from rmindr.queue import Queue, State
from rmindr.queue.connections import connect
from rmindr.queue.scripts import Script
from tests.queue.scenery import eventually
from tests.servers import Valkey

# Answers what it is given, after so many rounds of counting.
ECHO: Final = "local n = 0 for _ = 1, tonumber(ARGV[2]) do n = n + 1 end return ARGV[1]"
SLOW: Final = 3_000_000


@pytest.fixture
async def echo(live_queue: Queue) -> Script:
    """A script that the server knows already."""
    script = Script(live_queue.redis, ECHO)
    await script(keys=[], args=["", 1])
    return script


async def _piped(redis: Redis, word: str) -> Any:
    async with redis.pipeline(transaction=True) as pipe:
        pipe.echo(word)
        pipe.echo(word)
        return await pipe.execute()


async def test_scripts_do_not_wait_for_each_others_answers(own_valkey: Valkey) -> None:
    redis = connect(own_valkey.url)
    try:
        echo = Script(redis, ECHO)
        await echo(keys=[], args=["", 1])
        own_valkey.freeze()

        asked = [asyncio.create_task(echo(keys=[], args=[word, 1])) for word in ("one", "two")]
        await asyncio.sleep(0)
        in_flight = redis.connection_pool.in_flight  # type: ignore[attr-defined]
        own_valkey.thaw()

        assert in_flight == 2
        assert await asyncio.gather(*asked) == ["one", "two"]
    finally:
        await redis.aclose()


async def test_everybody_gets_his_own_answer_whatever_travels_beside_it(live_queue: Queue, echo: Script) -> None:
    redis = live_queue.redis

    async def ask(number: int) -> Any:
        word = f"word {number}"
        match number % 3:
            case 0:
                return await redis.echo(word)  # type: ignore[misc]
            case 1:
                return (await _piped(redis, word))[1]
        return await echo(keys=[], args=[word, number])

    answers = await asyncio.gather(*(ask(number) for number in range(300)))

    assert answers == [f"word {number}" for number in range(300)]


async def test_an_answer_that_nobody_waits_for_any_more_is_nobody_elses(live_queue: Queue, echo: Script) -> None:
    given_up = asyncio.create_task(echo(keys=[], args=["given up", SLOW]))
    await asyncio.sleep(0)
    given_up.cancel()

    answers = [await echo(keys=[], args=[word, 1]) for word in ("one", "two")]

    assert answers == ["one", "two"]


async def test_who_wants_the_connection_for_himself_gets_it_though_scripts_never_cease(
    live_queue: Queue, echo: Script
) -> None:
    ceased = asyncio.Event()

    async def never_cease() -> None:
        while not ceased.is_set():
            await asyncio.gather(*(echo(keys=[], args=["again", 1]) for _ in range(5)))

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(never_cease())
        answers = [await _piped(live_queue.redis, word) for word in ("one", "two", "three")]
        ceased.set()

    assert answers == [["one", "one"], ["two", "two"], ["three", "three"]]


async def test_scripts_get_their_turn_though_others_never_cease(live_queue: Queue, echo: Script) -> None:
    ceased = asyncio.Event()

    async def never_cease() -> None:
        while not ceased.is_set():
            await _piped(live_queue.redis, "again")

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(never_cease())
        answers = [await echo(keys=[], args=[word, 1]) for word in ("one", "two", "three")]
        ceased.set()

    assert answers == ["one", "two", "three"]


async def test_a_script_that_fails_fails_alone(live_queue: Queue, echo: Script) -> None:
    broken = Script(live_queue.redis, "return redis.call('NOSUCHCOMMAND')")

    answers = await asyncio.gather(
        echo(keys=[], args=["one", 1]),
        broken(keys=[], args=[]),
        echo(keys=[], args=["two", 1]),
        return_exceptions=True,
    )

    assert (answers[0], type(answers[1]), answers[2]) == ("one", ResponseError, "two")


async def test_half_a_surrogate_pair_is_replaced(echo: Script) -> None:
    assert await echo(keys=[], args=["cut \ud83c", 1]) == "cut ?"


async def test_all_that_are_in_flight_to_a_silent_server_fail_in_time_and_the_next_goes_to_a_new_connection(
    own_valkey: Valkey,
) -> None:
    redis = connect(own_valkey.url, patience=timedelta(milliseconds=200))
    try:
        echo = Script(redis, ECHO)
        await echo(keys=[], args=["", 1])
        own_valkey.freeze()

        failed = await asyncio.gather(*(echo(keys=[], args=["lost", 1]) for _ in range(3)), return_exceptions=True)
        own_valkey.thaw()

        assert [type(each) for each in failed] == [NoAnswer] * 3
        assert await eventually(lambda: _answered(echo, "found")) == "found"
    finally:
        await redis.aclose()


async def _answered(echo: Script, word: str) -> Any:
    try:
        return await echo(keys=[], args=[word, 1])
    except Exception:
        return None


async def test_a_connection_that_is_closed_fails_what_is_in_flight(live_queue: Queue, echo: Script) -> None:
    asked = asyncio.create_task(echo(keys=[], args=["lost", SLOW]))
    await asyncio.sleep(0.01)
    await live_queue.redis.connection_pool.disconnect()

    with pytest.raises(Disconnected):
        await asked

    assert await echo(keys=[], args=["found", 1]) == "found"


async def test_many_creations_at_once_are_made_once_each(live_queue: Queue) -> None:
    jobs = await asyncio.gather(*(live_queue.create("email", {"n": number}) for number in range(200)))

    assert sorted(job.id for job in jobs) == list(range(1, 201))
    assert await live_queue.jobs.count(State.INACTIVE) == 200
