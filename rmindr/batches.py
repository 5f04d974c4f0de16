"""Many reminders at once: each is taken or refused as if it had come alone, and all that are taken are committed together."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import bindparam, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from rmindr import series
from rmindr.alarms import Alarms
from rmindr.database import Database
from rmindr.drafts import Asked
from rmindr.errors import InvalidDraft, KeyReused, TooMany
from rmindr.forms import Draft
from rmindr.gate import Admission, Asker, Gate
from rmindr.ledger import reminders, row
from rmindr.models import Reminder, new_id
from rmindr.reminders import Reminders
from rmindr.rows import new_row

MOST: Final = 1000
# Checking so many takes a few milliseconds; nobody else waits for longer.
_CHECKED_AT_ONCE: Final = 25
_INSERT: Final = insert(reminders).returning(*row)
_BY_KEYS: Final = select(*row).where(
    row.owner == bindparam("of_owner"), row.idem_key.in_(bindparam("of_keys", expanding=True))
)
# A reminder, or why there is none; None where nothing was asked for.
Outcome = Reminder | InvalidDraft | TooMany | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchKey:
    """An Idempotency-Key of a whole batch, and what the batch says; each item has a key of its own that is made of it."""

    key: str
    said: bytes

    @property
    def keys(self) -> Mapping[str, int]:
        """The index of each item by its key, of as many items as there could be: a shorter batch is another one, too."""
        name = hashlib.sha256(self.key.encode()).hexdigest()
        return {f"batch:{name}:{index}": index for index in range(MOST)}

    @property
    def hash(self) -> str:
        """By which the batch is known again."""
        return hashlib.sha256(self.said).hexdigest()


class Batches:
    """Many reminders at once, of one instance."""

    def __init__(
        self,
        database: Database,
        alarms: Alarms,
        gate: Gate,
        books: Reminders,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._alarms = alarms
        self._gate = gate
        self._books = books
        self._clock = clock

    async def schedule(
        self, items: Sequence[Asked | None], asker: Asker, *, key: BatchKey | None = None
    ) -> Sequence[Outcome]:
        """What becomes of each, in order. The same key with the same batch answers the same reminders, and tries again what
        was refused.

        Raises KeyReused, StorageUnavailable: then nothing of it is stored, or nobody can tell, which its key finds out."""
        known = await self._known(asker, key)
        while True:
            outcomes: dict[int, Outcome] = dict(known)
            drafts = await self._drafts(items, outcomes)
            try:
                made = await self._store(drafts, outcomes, asker, key) if drafts else []
            except IntegrityError:
                # The same key, a moment ago and on another connection.
                before, known = len(known), await self._known(asker, key)
                if len(known) == before:
                    raise
                continue
            await self._alarms.set_many(made)
            return [outcomes.get(index) for index in range(len(items))]

    async def _known(self, asker: Asker, key: BatchKey | None) -> Mapping[int, Reminder]:
        if key is None:
            return {}
        keys, owner = key.keys, await self._gate.owner(asker, "")
        async with self._database.statements() as connection:
            found = await connection.execute(_BY_KEYS, {"of_owner": owner, "of_keys": list(keys)})
            known = [Reminder(**each) for each in found.mappings()]
        if any(each.idem_hash != key.hash for each in known):
            raise KeyReused
        return {keys[each.idem_key]: each for each in known if each.idem_key is not None}

    async def _drafts(self, items: Sequence[Asked | None], outcomes: dict[int, Outcome]) -> Mapping[int, Draft]:
        """The drafts of those that are not known already; complaints go to the outcomes."""
        drafts = {}
        for index, asked in enumerate(items):
            if asked is None or index in outcomes:
                continue
            try:
                drafts[index] = self._books.preview(asked)
            except InvalidDraft as error:
                outcomes[index] = error
            if index % _CHECKED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return drafts

    async def _store(
        self, drafts: Mapping[int, Draft], outcomes: dict[int, Outcome], asker: Asker, key: BatchKey | None
    ) -> Sequence[Reminder]:
        """Write all that are admitted, and answer what has been written: they, and the mails that go with them."""
        keys = {index: name for name, index in key.keys.items()} if key is not None else {}
        async with self._database.transaction() as connection:
            verdicts = await self._gate.admit_many(connection, asker, list(drafts.values()))
            # Lists are in the order of ids.
            ids = sorted(new_id() for _ in drafts)
            rows: dict[int, dict[str, Any]] = {}
            mails: list[Reminder] = []
            for id, (index, draft), verdict in zip(ids, drafts.items(), verdicts, strict=True):
                if not isinstance(verdict, Admission):
                    outcomes[index] = verdict
                elif verdict.status is not None:
                    rows[index] = new_row(draft, verdict.owner, verdict.status, self._clock()) | {"id": id}
                    if key is not None:
                        rows[index] |= {"idem_key": keys[index], "idem_hash": key.hash}
                    mails += verdict.mails
            made = await self._insert(connection, drafts, rows)
        outcomes.update(made)
        return [*made.values(), *mails]

    async def _insert(
        self, connection: AsyncConnection, drafts: Mapping[int, Draft], rows: Mapping[int, dict[str, Any]]
    ) -> Mapping[int, Reminder]:
        if not rows:
            return {}
        repeating = [index for index in rows if drafts[index].repeats is not None]
        begun = await series.begin_many(connection, [(drafts[index], rows[index]["owner"]) for index in repeating])
        for index, id in zip(repeating, begun, strict=True):
            rows[index]["series_id"] = id
        found = await connection.execute(_INSERT, list(rows.values()))
        made = {each["id"]: Reminder(**each) for each in found.mappings()}
        return {index: made[values["id"]] for index, values in rows.items()}
