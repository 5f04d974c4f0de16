"""Finding jobs by their words: in any language, and only those that there are."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmindr.queue import InvalidJob, Kept, NewJob, Queue, State
from rmindr.queue.words import Index, words_in
from tests.conftest import Clock
from tests.queue.scenery import PROPERTY, a_lease, keyspace
from tests.servers import Valkey


@pytest.fixture
async def searching(valkey: Valkey, prefix: str, clock: Clock) -> AsyncIterator[Queue]:
    """A queue whose jobs are found by their titles and their customers' names."""
    async with Queue.open(valkey.url, prefix=prefix, clock=clock, search=("title", "customer.name")) as queue:
        yield queue


async def indexed(queue: Queue) -> dict[str, Any]:
    """What of the index stands in Redis."""
    return {name: found for name, found in (await keyspace(queue)).items() if name == "words" or name.endswith(":word")}


# Words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" – ?! … ", []),
        ("Send the mail, twice!", ["send", "the", "mail", "twice"]),
        ("order-4711_a 3.5", ["order", "4711", "a", "3", "5"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("Grüße", ["grüsse"]),
        ("ΣΊΣΥΦΟΣ Σίσυφος", ["σίσυφοσ", "σίσυφοσ"]),
        ("Напомнить ДИРЕКТОРУ", ["напомнить", "директору"]),
        ("caf\u00e9 cafe\u0301", ["café", "café"]),
        ("ＦＵＬＬ ﬁne ①", ["full", "fine", "1"]),
        ("東京都 京", ["東京", "京都", "京"]),
        ("東京に行くABC日本", ["東京", "京に", "に行", "行く", "abc", "日本"]),
        ("ｶﾞｷﾞ", ["ガギ"]),
        ("서울시청", ["서울", "울시", "시청"]),
        # Vowels and tones are marks on letters there: without them, other words would be the same.
        ("ที่นี่", ["ที", "ี่", "่น", "นี", "ี่"]),
        ("हिन्दी", ["हिन्दी"]),
        ("தமிழ்", ["தமிழ்"]),
        ("שָׁלוֹם العَرَبِيَّة", ["שָׁלוֹם", "العَرَبِيَّة"]),
        ("🎂 b🎂c", ["b", "c"]),
    ],
)
def test_a_text_is_its_words_without_case_and_form(text: str, words: list[str]) -> None:
    assert list(words_in(text)) == words


@PROPERTY
@given(st.text())
def test_a_text_is_found_by_itself_however_it_is_written(text: str) -> None:
    words = list(words_in(text))

    assert set(words_in(text.casefold())) <= set(words_in(text.casefold().casefold()))
    assert [again for word in words for again in words_in(word)] == words
    assert all(0 < len(word) <= 40 for word in words)


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (("title",), ["one"]),
        (("title", "customer.name"), ["one", "ann"]),
        (("customer",), ["ann", "7", "true"]),
        (("tags",), ["red", "blue", "green"]),
        (("gone", "title.deeper", "customer.name.first"), []),
        (("*",), ["one", "ann", "7", "true", "red", "blue", "green"]),
        ((), []),
    ],
)
def test_the_fields_that_are_named_are_indexed_and_no_others(paths: tuple[str, ...], words: list[str]) -> None:
    data = {
        "title": "One",
        "customer": {"name": "Ann", "id": 7, "new": True, "note": None},
        "tags": ["red", ["blue", {"c": "green"}]],
    }

    text = Index(paths).words_of(data)

    assert text == ("[" + ",".join(f'"{word}"' for word in words) + "]" if words else "")


@pytest.mark.parametrize("data", [None, "text", 5, [], {"title": None}, {"title": {}}, {"title": "…"}])
def test_data_without_words_is_not_indexed(data: Any) -> None:
    assert Index(("title",)).words_of(data) == ""


@pytest.mark.parametrize("paths", ["title", ("",), (5,), ("title", None)])
async def test_fields_that_cannot_be_named_are_refused(valkey: Valkey, paths: Any) -> None:
    with pytest.raises(InvalidJob, match="search must name fields"):
        async with Queue.open(valkey.url, search=paths):
            raise AssertionError("unreachable")


HUGE: Final = {
    "one word of 100 kB": "x" * 100_000,
    "one word of 100 kB, of marks": "e" + "\u0301" * 100_000,
    "100 kB without spaces": "東" * 100_000,
    "words without end": " ".join(map(str, range(20_000))),
    "many texts": [str(n) for n in range(50_000)],
}


@pytest.mark.parametrize("text", HUGE.values(), ids=HUGE)
def test_no_text_makes_an_index_that_grows_without_end_or_takes_long(text: Any) -> None:
    took = []
    for _ in range(5):
        began = time.process_time()
        words = Index(("title",)).words_of({"title": text})
        took.append(time.process_time() - began)

    assert len(words) < 50_000
    # Of this process alone, and its best: whatever else the machine does.
    assert min(took) < 0.05


# Finding

TITLES: Final = {
    "German": "Rechnung für die Hauptstraße prüfen",
    "Greek": "Υπενθύμιση για τον Σίσυφος",
    "Russian": "Позвонить бухгалтеру о счёте",
    "Chinese": "提醒我明天去北京开会",
    "Japanese": "東京タワーの予約を確認する",
    "Thai": "เตือนให้โทรหาแม่วันพรุ่งนี้",
    "Hindi": "कल बैठक की याद दिलाना",
    "English": "Call the office about the invoice",
}


@pytest.mark.parametrize(
    ("query", "language"),
    [
        ("HAUPTSTRASSE", "German"), ("hauptstraße rechnung", "German"), ("für", "German"), ("ΣΊΣΥΦΟΣ", "Greek"),
        ("σίσυφοσ", "Greek"), ("БУХГАЛТЕРУ", "Russian"), ("счёте позвонить", "Russian"), ("北京", "Chinese"),
        ("明天 开会", "Chinese"), ("去北京开", "Chinese"), ("東京タワー", "Japanese"), ("予約", "Japanese"),
        ("ﾀﾜｰ", "Japanese"),
        ("พรุ่งนี้", "Thai"), ("แม่", "Thai"), ("बैठक", "Hindi"), ("याद", "Hindi"), ("OFFICE", "English"),
        ("the invoice", "English"),
    ],
)  # fmt: skip
async def test_a_job_is_found_by_its_words_in_any_language(searching: Queue, query: str, language: str) -> None:
    await searching.create_many([NewJob(type="email", data={"title": title}) for title in TITLES.values()])

    assert await searching.jobs.search(query) == [1 + list(TITLES).index(language)]


@pytest.mark.parametrize("query", ["तारीख", "हिन्दी", "ที่", "부산", "上海", "straß", "", "…", "invoice rechnung", "void"])
async def test_what_stands_in_no_job_is_not_found(searching: Queue, query: str) -> None:
    await searching.create_many([NewJob(type="email", data={"title": title}) for title in list(TITLES.values())[1:]])

    assert await searching.jobs.search(query) == []


async def test_all_the_words_must_stand_in_it_and_the_newest_comes_first(searching: Queue) -> None:
    for title in ("red apple", "green apple", "red pear", "apple, red"):
        await searching.create("email", {"title": title})

    assert await searching.jobs.search("red apple") == [4, 1]
    assert await searching.jobs.search("apple red apple") == [4, 1]
    assert await searching.jobs.search("apple") == [4, 2, 1]


async def test_the_last_word_may_be_the_beginning_of_one(searching: Queue) -> None:
    for title in ("red apple", "red apricot", "red banana", "rediscovered apple"):
        await searching.create("email", {"title": title})

    assert await searching.jobs.search("red ap") == [2, 1]
    assert await searching.jobs.search("ap") == [4, 2, 1]
    assert await searching.jobs.search("re app") == [], "only the last"
    assert await searching.jobs.search("red") == [4, 3, 2, 1]


async def test_a_long_word_is_found_by_all_of_it_and_by_its_beginning(searching: Queue) -> None:
    await searching.create("email", {"title": "x" * 100_000})

    assert await searching.jobs.search("x" * 100_000) == [1]
    assert await searching.jobs.search("xxx") == [1]


async def test_any_process_finds_what_another_has_indexed(searching: Queue, queue: Queue) -> None:
    await searching.create("email", {"title": "apple"})

    assert await queue.jobs.search("apple") == [1]


async def test_what_a_process_makes_that_does_not_search_is_not_found(searching: Queue, queue: Queue) -> None:
    await queue.create("email", {"title": "apple"})

    assert await searching.jobs.search("apple") == []
    assert await indexed(queue) == {}


# Staying true


async def test_an_update_is_found_by_its_new_words_and_no_longer_by_the_old(searching: Queue) -> None:
    await searching.create("email", {"title": "red apple"})

    await searching.update(1, data={"title": "green apple"})

    found = {query: await searching.jobs.search(query) for query in ("red", "green", "apple")}
    assert found == {"red": [], "green": [1], "apple": [1]}
    assert (await indexed(searching)).keys() == {"words", "green:word", "apple:word"}


async def test_an_update_by_a_process_that_does_not_search_leaves_nothing_stale(searching: Queue, queue: Queue) -> None:
    await searching.create("email", {"title": "red apple"})

    await queue.update(1, data={"title": "green"})

    assert await indexed(searching) == {}
    assert "words" not in (await keyspace(searching))["job:1"]


async def test_an_update_of_something_else_keeps_a_job_findable(searching: Queue, queue: Queue) -> None:
    await searching.create("email", {"title": "apple"})

    for each in (searching, queue):
        await each.update(1, priority="high")

    assert await queue.jobs.search("apple") == [1]


async def _remove(queue: Queue, clock: Clock) -> None:
    await queue.remove(1)


async def _remove_many(queue: Queue, clock: Clock) -> None:
    await queue.jobs.remove_all(State.INACTIVE)


async def _complete(queue: Queue, clock: Clock) -> None:
    await queue.lifecycle.complete(await a_lease(queue))


async def _prune(queue: Queue, clock: Clock) -> None:
    await queue.lifecycle.fail(await a_lease(queue), "no", wait_ms=None)
    await queue.steering.retain(State.FAILED, Kept(count=0))
    await queue.lifecycle.prune()


REMOVALS: Final = [_remove, _remove_many, _complete, _prune]


@pytest.mark.parametrize("remove", REMOVALS, ids=lambda remove: remove.__name__.strip("_"))
@pytest.mark.parametrize("by_one_that_searches", [True, False])
async def test_a_job_that_is_gone_leaves_nothing_in_the_index(
    searching: Queue, queue: Queue, clock: Clock, remove: Callable[[Queue, Clock], Any], by_one_that_searches: bool
) -> None:
    await searching.create("email", {"title": "red apple"}, remove_on_complete=True)

    await remove(searching if by_one_that_searches else queue, clock)

    assert await indexed(searching) == {}


async def test_what_others_have_too_stays(searching: Queue, queue: Queue) -> None:
    for title in ("red apple", "green apple"):
        await searching.create("email", {"title": title})

    await queue.remove(1)

    assert await searching.jobs.search("apple") == [2]
    assert (await indexed(searching)).keys() == {"words", "green:word", "apple:word"}


async def test_a_job_that_kue_has_removed_is_not_found_and_leaves_the_index_when_it_is_asked_for(
    searching: Queue,
) -> None:
    await searching.create("email", {"title": "red apple"})
    await searching.create("email", {"title": "red pear"})
    # Kue deletes the hash, and knows nothing of this index.
    await searching.redis.delete(searching.keys.job(1))

    assert await searching.jobs.search("red") == [2]
    assert await searching.jobs.search("apple") == []
    found = await indexed(searching)
    assert (found["red:word"], "apple:word" in found) == ({"2"}, False)


@pytest.mark.parametrize("words", ["", "{", "5", "null", '"red"', "[1,null,{}]", '{"red":1}'])
@pytest.mark.parametrize("remove", REMOVALS, ids=lambda remove: remove.__name__.strip("_"))
async def test_words_that_nobody_can_read_stop_no_removal(
    searching: Queue, clock: Clock, words: str, remove: Callable[[Queue, Clock], Any]
) -> None:
    await searching.create("email", {"title": "red"}, remove_on_complete=True)
    await searching.create("letter", {"title": "pear"})
    await searching.redis.hset(searching.keys.job(1), "words", words)

    await remove(searching, clock)

    assert await searching.get(1) is None
    assert await searching.jobs.search("red") == []


async def test_junk_in_the_index_is_not_found(searching: Queue) -> None:
    await searching.create("email", {"title": "red"})
    await searching.redis.sadd(searching.keys.word("red"), "junk", "²", "-1", "01", "9" * 30, "99")

    assert await searching.jobs.search("red") == [1]


async def test_without_fields_nothing_is_indexed(queue: Queue) -> None:
    await queue.create("email", {"title": "red apple"})

    assert await indexed(queue) == {}
    assert "words" not in (await keyspace(queue))["job:1"]
