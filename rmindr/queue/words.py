"""What a job can be found by: the words of the fields that a queue indexes, in any language, and what a query asks for."""

from __future__ import annotations

import itertools
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, Final

from redis.asyncio import Redis

from rmindr.queue.errors import InvalidJob
from rmindr.queue.keys import Keys, id_of
from rmindr.queue.scripts import unavailable

# A word is cut there: nobody types more, and nobody can make an index of one text grow without end.
_LONGEST_WORD: Final = 40
_MOST_WORDS: Final = 500
_LONGEST_TEXT: Final = 20_000
# Scripts that write no spaces are indexed by pairs of characters: Han, kana, Hangul, Thai, Lao, Khmer, Myanmar.
_UNSPACED: Final = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_MOST_COMPLETIONS: Final = 50


def words_in(text: str) -> Iterator[str]:
    """The words of a text, without case or accents of form: «Straße, ΣΊΣΥΦΟΣ» → strasse, σίσυφοσ; 東京都 → 東京, 京都."""
    folded = unicodedata.normalize("NFKC", text[:_LONGEST_TEXT]).casefold()
    for word in ("".join(run) for is_word, run in itertools.groupby(folded, _is_of_a_word) if is_word):
        rest = 0
        for run in _UNSPACED.finditer(word):
            if run.start() > rest:
                yield word[rest : run.start()][:_LONGEST_WORD]
            pairs = run[0]
            yield from (pairs[at : at + 2] for at in range(max(1, len(pairs) - 1)))
            rest = run.end()
        if rest < len(word):
            yield word[rest:][:_LONGEST_WORD]


def _is_of_a_word(character: str) -> bool:
    """Letters and digits, and the marks that many scripts write their vowels with."""
    return character.isalnum() or unicodedata.category(character) in ("Mn", "Mc")


class Index:
    """What of a job's data is indexed: the values at these paths, e.g. "title" or "customer.name"; "*" for everything."""

    def __init__(self, paths: Sequence[str]) -> None:
        if isinstance(paths, str) or not all(isinstance(path, str) and path for path in paths):
            raise InvalidJob(f"search must name fields, e.g. ('title', 'customer.name'), not {paths!r:.60}")
        self._paths = [path.split(".") for path in paths]

    def words_of(self, data: Any) -> str:
        """The words of a job with this data, as a JSON array; nothing where there are none."""
        texts = (text for path in self._paths for text in _texts(_at(data, path)))
        # A dict keeps the order of coming, and each word once.
        words: dict[str, None] = {}
        for word in (word for text in texts for word in words_in(text)):
            words[word] = None
            if len(words) == _MOST_WORDS:
                break
        return json.dumps(list(words), ensure_ascii=False, separators=(",", ":")) if words else ""


def _at(data: Any, path: Sequence[str]) -> Any:
    if path == ["*"]:
        return data
    for name in path:
        if not isinstance(data, dict):
            return None
        data = data.get(name)
    return data


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for each in value.values() for text in _texts(each))
    elif isinstance(value, list | tuple):
        yield from (text for each in value for text in _texts(each))
    elif value is not None:
        yield json.dumps(value)


class Search:
    """Finds jobs by words, in any process, whether or not it indexes itself."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def ids(self, query: str) -> Sequence[int]:
        """The ids of the jobs in which all these words stand, newest first; the last one may be the beginning of a word.

        Raises QueueUnavailable."""
        ids, words = await self.listed(query)
        return await self._living(ids, words)

    async def listed(self, query: str) -> tuple[Sequence[int], Sequence[str]]:
        """The same in two round trips, with those that a Kue has removed; and the words that were looked up."""
        words = list(dict.fromkeys(words_in(query)))
        if not words:
            return [], []
        with unavailable():
            *whole, last = words
            lexicon = self._keys.words
            completions: Any = await self._redis.zrange(
                lexicon, f"[{last}", f"[{last}\U0010ffff", bylex=True, offset=0, num=_MOST_COMPLETIONS
            )
            if not completions:
                return [], []
            async with self._redis.pipeline(transaction=True) as pipe:
                if whole:
                    pipe.sinter([self._keys.word(word) for word in whole])
                pipe.sunion([self._keys.word(word) for word in completions])
                sets = await pipe.execute()
        found = set.intersection(*map(set, sets))
        ids = sorted((job_id for each in found if (job_id := id_of(each)) is not None), reverse=True)
        return ids, [*whole, *completions]

    async def _living(self, ids: Sequence[int], words: Sequence[str]) -> Sequence[int]:
        """Without those that a Kue removed, which knows nothing of this index: they are taken out of it here."""
        if not ids:
            return []
        with unavailable():
            async with self._redis.pipeline(transaction=False) as pipe:
                for job_id in ids:
                    pipe.exists(self._keys.job(job_id))
                there = await pipe.execute()
            if gone := {job_id for job_id, exists in zip(ids, there, strict=True) if not exists}:
                async with self._redis.pipeline(transaction=False) as pipe:
                    for word in words:
                        pipe.srem(self._keys.word(word), *gone)
                    await pipe.execute()
        return [job_id for job_id in ids if job_id not in gone]
