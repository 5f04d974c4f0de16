"""The few things that all processes of an instance must agree on, kept in the database by name."""

from __future__ import annotations

from typing import cast

from sqlalchemy import Table, func, insert, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from rmindr.database import Database, now
from rmindr.models import Fact

_facts = cast(Table, Fact.__table__)  # type: ignore[attr-defined]

EPOCH = "epoch"
HIGHEST_JOB_ID = "highest job id"
OUTAGE = "outage"


class Facts:
    """Facts by name. Every method raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, name: str) -> str:
        """The value; empty where there is none."""
        async with self._database.statements() as connection:
            return await connection.scalar(select(_facts.c.value).where(_facts.c.name == name)) or ""

    async def put(self, name: str, value: str) -> None:
        """Set the value, whatever it was."""
        async with self._database.statements() as connection:
            changed = await connection.execute(
                update(_facts).where(_facts.c.name == name).values(value=value, updated_at=now())
            )
        if not changed.rowcount and await self.agree(name, value) != value:
            await self.put(name, value)

    async def raise_to(self, name: str, count: int) -> None:
        """Set a number that never goes down: to `count`, unless it is higher already."""
        # Compared as text, the longer first: a cast would meet the values of other facts, too.
        value = str(count)
        lower = tuple_(func.length(_facts.c.value), _facts.c.value) < tuple_(len(value), value)
        async with self._database.statements() as connection:
            raised = await connection.execute(
                update(_facts).where(_facts.c.name == name, lower).values(value=value, updated_at=now())
            )
        if not raised.rowcount and int(await self.agree(name, value)) < count:
            await self.raise_to(name, count)

    async def agree(self, name: str, proposal: str) -> str:
        """The value that stands, or `proposal` where none stood: all who ask at once get the same answer."""
        if standing := await self.get(name):
            return standing
        try:
            async with self._database.statements() as connection:
                await connection.execute(insert(_facts).values(name=name, value=proposal, updated_at=now()))
        except IntegrityError:
            return await self.get(name)
        return proposal
