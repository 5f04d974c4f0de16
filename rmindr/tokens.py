"""Tokens by which programs act for a person: shown once, kept as a hash, each for some acts only, ended at any time."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, cast
from uuid import UUID

from sqlalchemy import Table, and_, insert, or_, select, update

from rmindr.database import Database, now
from rmindr.errors import InvalidDraft
from rmindr.models import Person, Token, new_id
from rmindr.people import hashed, people

tokens: Final = cast(Table, Token.__table__)  # type: ignore[attr-defined]
_row = tokens.c

# Scanners that look for secrets in published code know a token by its beginning.
_BEGINNING: Final = "rmd_live_"
_SHOWN: Final = len(_BEGINNING) + 4
# «Last used» is for people: to the minute is enough, and spares a write for each request.
_NOTED_EVERY: Final = timedelta(minutes=1)


class Scope(StrEnum):
    """What a token may be used for."""

    READ = "reminders:read"
    WRITE = "reminders:write"
    QUEUE = "queue:admin"
    WEBHOOKS = "webhooks:manage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """Whoever showed a token: for whom, and for what."""

    token: UUID
    person: Person
    scopes: frozenset[str]


class Tokens:
    """The tokens of one instance. Every method raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def make(
        self, person: Person, name: str, scopes: Collection[Scope], expires_at: datetime | None = None
    ) -> tuple[Token, str]:
        """A new token, and its secret, which nobody can be told again. Raises InvalidDraft."""
        name = name.strip()
        if not 0 < len(name) <= 100 or not name.isprintable():
            raise InvalidDraft({"name": "must be 1 to 100 printable characters"})
        if not scopes:
            raise InvalidDraft({"scopes": f"must name at least one of {', '.join(Scope)}"})
        secret = _BEGINNING + secrets.token_urlsafe(32)
        values = {
            "id": new_id(),
            "person_id": person.id,
            "name": name,
            "beginning": secret[:_SHOWN],
            "secret_hash": hashed(secret),
            "scopes": " ".join(sorted(scopes)),
            "created_at": now(),
            "expires_at": expires_at,
        }
        async with self._database.statements() as connection:
            made = await connection.execute(insert(tokens).values(values).returning(*_row))
            return Token(**made.mappings().one()), secret

    async def bearer(self, secret: str) -> Bearer | None:
        """Who shows this token; None where it is none, or one that is over.

        It is looked up by its hash. How long that takes could tell of hashes, but from a hash nobody comes back to a secret
        of 256 random bits."""
        if not secret.startswith(_BEGINNING) or len(secret) > 100:
            return None
        living = and_(_row.revoked_at.is_(None), or_(_row.expires_at.is_(None), _row.expires_at > now()))
        stale = or_(_row.used_at.is_(None), _row.used_at < now() - round(_NOTED_EVERY.total_seconds() * 1000))
        statement = (
            select(_row.id.label("token_id"), _row.scopes, stale.label("stale"), *people.c)
            .join(people, people.c.id == _row.person_id)
            .where(_row.secret_hash == hashed(secret), living)
        )
        async with self._database.statements() as connection:
            found = (await connection.execute(statement)).mappings().one_or_none()
            if found is None:
                return None
            if found["stale"]:
                used = update(tokens).where(_row.id == found["token_id"], stale)
                await connection.execute(used.values(used_at=now()))
        person = Person(**{column.name: found[column.name] for column in people.c})
        return Bearer(token=found["token_id"], person=person, scopes=frozenset(found["scopes"].split()))

    async def of(self, person: Person) -> Sequence[Token]:
        """A person's tokens that are not revoked, newest first."""
        statement = select(*_row).where(_row.person_id == person.id, _row.revoked_at.is_(None)).order_by(_row.id.desc())
        async with self._database.statements() as connection:
            return [Token(**found) for found in (await connection.execute(statement)).mappings()]

    async def revoke(self, person: Person, id: UUID) -> bool:
        """End a token, at once; False where it is not this person's, or has ended."""
        statement = update(tokens).where(_row.id == id, _row.person_id == person.id, _row.revoked_at.is_(None))
        async with self._database.statements() as connection:
            return (await connection.execute(statement.values(revoked_at=now()))).rowcount > 0
