"""Lists of jobs by the page: everything once, in order, from the same place on whoever has come or gone meanwhile."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any, Final

import pytest

from rmindr.queue import NewJob, Queue, State, listing
from rmindr.queue.keys import zid
from rmindr.queue.listing import Filter, Page, Place
from tests.conftest import Clock
from tests.queue.scenery import LEASE
from tests.servers import Valkey
from tests.wires import CountingWire

TYPES: Final = ("email", "letter")


async def a_mixture(queue: Queue, clock: Clock, many: int = 60) -> None:
    """Jobs of two types and several priorities in every state; those that ended did so in an order of their own."""
    chance = random.Random(7)
    for number in range(many):
        delay = timedelta(minutes=chance.randint(1, 50)) if number % 5 == 0 else None
        priority = chance.choice([0, 0, 0, -10, 10])
        await queue.create(TYPES[number % 2], {"title": f"title {number}"}, delay=delay, priority=priority)
    for type in TYPES:
        claimed = await queue.lifecycle.claim({type: many // 3}, token=f"{type}.1", lease=LEASE, worker="w")
        leases = list(claimed.leases)
        chance.shuffle(leases)
        for number, lease in enumerate(leases[2:]):
            clock.advance(ms=chance.choice([0, 3]))
            if number % 2:
                await queue.lifecycle.complete(lease)
            else:
                await queue.lifecycle.fail(lease, "no", wait_ms=None)


def ids(page: Page) -> list[int]:
    return [line.job_id for line in page.lines]


async def walk(queue: Queue, filter: Filter, count: int, *, reverse: bool = False) -> AsyncIterator[Page]:
    """All pages of a list, from its beginning to its end."""
    page = await queue.listing.page(filter, count=count, reverse=reverse)
    yield page
    while page.next is not None:
        page = await queue.listing.page(filter, count=count, reverse=reverse, after=page.next)
        yield page


async def expected(queue: Queue, filter: Filter) -> Sequence[int]:
    """The list as the sets have it, read whole."""
    states = [filter.state] if filter.state else list(State)
    if filter.state in (State.COMPLETE, State.FAILED):
        ended: Any = await queue.redis.zrange(queue.keys.ended(filter.state), 0, -1, withscores=True)
        of_type = set(await queue.jobs.ids(filter.state, filter.type))
        order = [(score, member) for member, score in ended if int(member.partition("|")[2]) in of_type]
    elif filter.state is State.DELAYED and filter.type is None:
        order = [(s, m) for m, s in await queue.redis.zrange(queue.keys.in_state("delayed"), 0, -1, withscores=True)]
    else:
        jobs = [job for state in states for job in await queue.jobs.range(state, filter.type)]
        order = [(job.priority, zid(job.id)) for job in jobs]
    found = [int(member.partition("|")[2]) for _, member in sorted(order)]
    return found[::-1] if filter.descends else found


FILTERS: Final = [Filter(state=state, type=type) for state in (None, *State) for type in (None, "email")]


def named(filter: Filter) -> str:
    return f"{filter.state or 'any state'}, {filter.type or 'any type'}"


@pytest.mark.parametrize("filter", FILTERS, ids=named)
@pytest.mark.parametrize("count", [1, 7, 1000])
async def test_the_pages_of_a_list_hold_all_of_it_once_and_in_order(
    queue: Queue, clock: Clock, filter: Filter, count: int
) -> None:
    await a_mixture(queue, clock)

    pages = [page async for page in walk(queue, filter, count)]

    shown = [job_id for page in pages for job_id in ids(page)]
    assert shown == await expected(queue, filter)
    assert [page.total for page in pages] == [len(shown)] * len(pages)
    assert [page.first for page in pages] == [number * count for number in range(len(pages))]


@pytest.mark.parametrize("filter", FILTERS, ids=named)
async def test_a_list_turned_around_is_the_same_backwards(queue: Queue, clock: Clock, filter: Filter) -> None:
    await a_mixture(queue, clock)

    shown = [job_id async for page in walk(queue, filter, 7, reverse=True) for job_id in ids(page)]

    assert shown == (await expected(queue, filter))[::-1]


@pytest.mark.parametrize("filter", FILTERS, ids=named)
async def test_one_comes_back_by_the_same_pages(queue: Queue, clock: Clock, filter: Filter) -> None:
    await a_mixture(queue, clock)
    there = [page async for page in walk(queue, filter, 4)]

    page, back = there[-1], [ids(there[-1])]
    while page.previous is not None:
        page = await queue.listing.page(filter, count=4, before=page.previous)
        back.append(ids(page))

    assert back[::-1] == [ids(page) for page in there]


# A place is kept


async def test_a_page_goes_on_where_the_last_one_ended_though_its_jobs_are_gone(queue: Queue) -> None:
    made = [(await queue.create("email", {"n": n})).id for n in range(9)]
    first = await queue.listing.page(Filter(state=State.INACTIVE), count=4)
    for job_id in made[1:4]:
        await queue.remove(job_id)

    second = await queue.listing.page(Filter(state=State.INACTIVE), count=4, after=first.next)

    assert ids(first) == made[:4]
    assert ids(second) == made[4:8]
    assert second.first == 1


async def test_what_has_ended_since_moves_no_page_of_what_ended_before(queue: Queue, clock: Clock) -> None:
    made = [(await queue.create("email")).id for _ in range(6)]
    claimed = await queue.lifecycle.claim({"email": 6}, token="t.1", lease=LEASE, worker="w")
    for lease in claimed.leases[:4]:
        clock.advance(seconds=1)
        await queue.lifecycle.complete(lease)
    first = await queue.listing.page(Filter(state=State.COMPLETE), count=2)
    for lease in claimed.leases[4:]:
        clock.advance(seconds=1)
        await queue.lifecycle.complete(lease)

    second = await queue.listing.page(Filter(state=State.COMPLETE), count=2, after=first.next)

    assert (ids(first), ids(second)) == ([made[3], made[2]], [made[1], made[0]])


@pytest.mark.parametrize("place", [Place("rank", -10.5, 42), Place("end", 1795448797530.0, 7), Place("id", 0, 1)])
def test_a_place_can_be_written_and_read(place: Place) -> None:
    assert Place.from_text(str(place)) == place


@pytest.mark.parametrize(
    "text", ["", "rank", "rank x 1", "rank 1 0", "else 1 1", "rank 1e 1", "rank 1 1 ", "rank 1 -1"]
)
def test_what_is_no_place_is_none(text: str) -> None:
    assert Place.from_text(text) is None


async def test_a_place_of_another_order_leads_to_the_beginning(queue: Queue) -> None:
    made = [(await queue.create("email")).id for _ in range(3)]

    page = await queue.listing.page(Filter(state=State.INACTIVE), after=Place("end", 9e12, 1))

    assert ids(page) == made


# Endings of one type


@pytest.mark.parametrize("reverse", [False, True])
async def test_a_type_with_many_endings_is_found_among_all_in_steps(
    queue: Queue, clock: Clock, monkeypatch: pytest.MonkeyPatch, reverse: bool
) -> None:
    await a_mixture(queue, clock)
    filter = Filter(state=State.FAILED, type="email")
    whole = list(await expected(queue, filter))
    monkeypatch.setattr(listing, "_FEW", 0)
    monkeypatch.setattr(listing, "_LOOKED_THROUGH", 4)

    pages = [page async for page in walk(queue, filter, 3, reverse=reverse)]
    page, back = pages[-1], [ids(pages[-1])]
    while page.previous is not None:
        page = await queue.listing.page(filter, count=3, reverse=reverse, before=page.previous)
        back.append(ids(page))

    shown = [job_id for each in pages for job_id in ids(each)]
    assert shown == (whole[::-1] if reverse else whole)
    assert [job_id for each in back[::-1] for job_id in each] == shown
    assert all(len(ids(each)) <= 3 and each.total == len(whole) and each.first is None for each in pages)


async def test_where_a_kue_has_ended_some_the_list_is_by_priority_and_says_so(queue: Queue, clock: Clock) -> None:
    await a_mixture(queue, clock)
    ours = await queue.listing.page(Filter(state=State.FAILED))
    await queue.redis.zrem(queue.keys.ended("failed"), zid(ours.lines[0].job_id))

    for type in (None, "email"):
        page = await queue.listing.page(Filter(state=State.FAILED, type=type), count=1000)

        assert ours.by_end
        assert not page.by_end
        assert sorted(ids(page)) == sorted(await queue.jobs.ids(State.FAILED, type))


# Words, numbers, keys


@pytest.fixture
async def indexed(valkey: Valkey, prefix: str, clock: Clock) -> AsyncIterator[Queue]:
    async with Queue.open(valkey.url, prefix=prefix, clock=clock, search=("title",)) as queue:
        yield queue


async def test_words_are_looked_for_among_all_jobs_newest_first(indexed: Queue, clock: Clock) -> None:
    await a_mixture(indexed, clock, 40)
    odd = await indexed.create("email", {"title": "quite another"})

    pages = [page async for page in walk(indexed, Filter(words="title"), 7)]

    assert [job_id for page in pages for job_id in ids(page)] == list(range(40, 0, -1))
    assert ids(await indexed.listing.page(Filter(words="another"))) == [odd.id]
    assert all(page.indexed for page in pages)


@pytest.mark.parametrize("filter", FILTERS, ids=named)
async def test_words_and_a_state_and_a_type_all_hold(indexed: Queue, clock: Clock, filter: Filter) -> None:
    await a_mixture(indexed, clock, 40)
    filter = Filter(state=filter.state, type=filter.type, words="title")
    states = [filter.state] if filter.state else list(State)
    whole = sorted([id for state in states for id in await indexed.jobs.ids(state, filter.type)], reverse=True)

    shown = [job_id async for page in walk(indexed, filter, 7) for job_id in ids(page)]

    assert shown == whole
    assert sorted(await indexed.listing.ids(filter)) == sorted(whole)
    assert await indexed.listing.count(filter) == len(whole)


async def test_a_number_or_a_unique_key_leads_to_its_job(queue: Queue) -> None:
    made = await queue.create("email", {"title": "one"}, unique="the key")
    other = await queue.create("email", {"title": "two"}, unique="another key")

    by_number = await queue.listing.page(Filter(words=str(made.id)))
    by_key = await queue.listing.page(Filter(words="the key"))
    by_either = await queue.listing.page(Filter(words="nothing"), uniques=["another key"])

    assert [line.job_id for line in by_number.exact] == [made.id]
    assert [line.job_id for line in by_key.exact] == [made.id]
    assert [line.job_id for line in by_either.exact] == [other.id]
    assert (by_number.total, by_number.indexed) == (0, False)


# What a line shows


async def test_a_line_has_a_title_and_no_data(queue: Queue) -> None:
    await queue.create("email", {"title": "Hello", "body": "secret"})

    page = await queue.listing.page(Filter())

    (line,) = page.lines
    assert line.title == "Hello"
    assert line.job is not None
    assert (line.job.type, line.job.data) == ("email", None)


@pytest.mark.parametrize("data", ["text", ["a", "list"], {}, {"title": ""}, {"title": None}, 7])
async def test_a_job_without_a_title_has_a_line_all_the_same(queue: Queue, data: Any) -> None:
    await queue.create("email", data)

    (line,) = (await queue.listing.page(Filter())).lines

    assert (line.title, line.why) == ("", "")


async def test_data_that_is_large_is_not_read_for_a_title(queue: Queue) -> None:
    await queue.create("email", {"title": "Hello", "body": "x" * 100_000})

    (line,) = (await queue.listing.page(Filter())).lines

    assert (line.title, line.job is not None) == ("", True)


async def test_what_cannot_be_read_is_listed_with_the_reason(queue: Queue) -> None:
    made = await queue.create("email")
    broken = await queue.create("email")
    gone = await queue.create("email")
    other = await queue.create("email")
    await queue.redis.hdel(queue.keys.job(broken.id), "created_at")
    await queue.redis.delete(queue.keys.job(gone.id), queue.keys.job(other.id))
    await queue.redis.set(queue.keys.job(other.id), "no hash")

    page = await queue.listing.page(Filter(state=State.INACTIVE))

    assert ids(page) == [made.id, broken.id]
    assert page.lines[1].why == "it has no created_at"


async def test_counts_and_types_come_with_every_page(queue: Queue, clock: Clock) -> None:
    await a_mixture(queue, clock)

    whole = await queue.listing.page(Filter())
    letters = await queue.listing.page(Filter(state=State.FAILED, type="letter"))

    assert whole.counts == await queue.jobs.counts()
    assert letters.counts == await queue.jobs.counts("letter")
    assert whole.types == ["email", "letter"]


# All of a list


@pytest.mark.parametrize("filter", FILTERS, ids=named)
async def test_all_of_a_list_can_be_named_and_counted(queue: Queue, clock: Clock, filter: Filter) -> None:
    await a_mixture(queue, clock)

    found = await queue.listing.ids(filter)

    assert sorted(found) == sorted(await expected(queue, filter))
    assert await queue.listing.count(filter) == len(found)


async def test_thousands_are_named_in_steps(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_STEP", 10)
    made = [job.id for job in await queue.create_many([NewJob(type="email") for _ in range(35)])]

    assert await queue.listing.ids(Filter(state=State.INACTIVE)) == made


# What it costs


@pytest.mark.parametrize(
    "filter",
    [*FILTERS, Filter(words="title"), Filter(words="title 7", state=State.FAILED, type="email"), Filter(words="5")],
    ids=repr,
)
async def test_no_page_takes_more_than_five_round_trips(
    indexed: Queue, clock: Clock, valkey: Valkey, filter: Filter
) -> None:
    await a_mixture(indexed, clock)
    async with CountingWire(valkey.port) as wire, Queue.open(wire.url, prefix=indexed.keys.prefix) as queue:
        first = await queue.listing.page(filter, count=5)
        wire.clear()

        await queue.listing.page(filter, count=5, after=first.next, uniques=["some key"])

        assert 0 < wire.round_trips <= 5
