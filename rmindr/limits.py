"""How much one address, sender, domain, client or the whole instance may ask for: counted in SQL, by all processes together.

A limit of 20 an hour lets 20 come at once and one more every three minutes (the generic cell rate algorithm): its whole state
is the instant by which what was taken will be free again.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Final, cast

from sqlalchemy import Table, case, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection

from rmindr.database import Database, Instant, now
from rmindr.errors import TooMany
from rmindr.models import Bucket

buckets: Final = cast(Table, Bucket.__table__)  # type: ignore[attr-defined]
_row = buckets.c


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` at once, and as many again over each `per`. `words` says so to people, e.g. "20 an hour"."""

    name: str
    count: int
    per: timedelta
    words: str


HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)

BY_CLIENT: Final = Limit("client", 20, HOUR, "20 reminders an hour from one place")
BY_SENDER: Final = Limit("sender", 200, DAY, "200 reminders a day")
ASKED_BY_CLIENT: Final = Limit("asked by client", 5, HOUR, "5 new addresses an hour from one place")
ASKED_OF_MAILBOX: Final = Limit("asked of mailbox", 3, DAY, "3 times a day that one address is asked")
ASKED_OF_DOMAIN: Final = Limit("asked of domain", 50, DAY, "50 new addresses a day at one domain")
ASKED_BY_ALL: Final = Limit("asked by all", 100, HOUR, "100 new addresses an hour")
SIGN_IN_OF_ADDRESS: Final = Limit("sign in", 5, HOUR, "5 sign-in links an hour")
SIGN_IN_BY_CLIENT: Final = Limit("sign in by client", 10, HOUR, "10 sign-in links an hour from one place")
WEBHOOK_TESTS: Final = Limit("webhook tests", 10, HOUR, "10 test events an hour")
BY_TOKEN: Final = Limit("token", 100, timedelta(minutes=1), "100 requests a minute")


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a limit: how many at once, and how long until all of it is."""

    limit: Limit
    count: int
    full_in: timedelta


@dataclass(slots=True, kw_only=True)
class Held:
    """A limit that nobody else takes of until the transaction ends: taken of here, and written once (`Limits.keep`).

    `busy` is how long, ms, what was taken is not free again, as seen at `clock`."""

    limit: Limit
    name: str
    clock: datetime
    busy: int
    taken: int = 0

    @property
    def left(self) -> Left:
        """What is left of it now."""
        step, whole = _ms(self.limit.per / self.limit.count), _ms(self.limit.per)
        return Left(self.limit, max(0, (whole - self.busy) // step), timedelta(milliseconds=self.busy))

    def require(self) -> None:
        """One more may be taken. Raises TooMany."""
        step, whole = _ms(self.limit.per / self.limit.count), _ms(self.limit.per)
        if self.busy + step > whole:
            wait = timedelta(milliseconds=self.busy + step - whole)
            raise TooMany(self.limit.words, max(wait, timedelta(seconds=1)))

    def take(self) -> None:
        """Take one. Raises TooMany."""
        self.require()
        self.busy += _ms(self.limit.per / self.limit.count)
        self.taken += 1


class Limits:
    """The limits of one instance. `key` keeps the names in the table from being guessed back into addresses."""

    def __init__(self, database: Database, key: str) -> None:
        self._database = database
        self._key = key.encode()

    async def take(self, *asked: tuple[Limit, str], connection: AsyncConnection | None = None) -> Sequence[Left]:
        """Take one of each, for whom it is, or none of any: in this transaction, or in one of its own.

        Raises TooMany, StorageUnavailable."""
        if connection is not None:
            return await self._take(connection, asked)
        # One of one is one statement, which is all or nothing by itself.
        alone = len(asked) == 1
        async with self._database.statements() if alone else self._database.transaction() as own:
            return await self._take(own, asked)

    async def hold(self, connection: AsyncConnection, *asked: tuple[Limit, str]) -> Mapping[tuple[Limit, str], Held]:
        """Lock these until the transaction ends, to take many of each: one statement, however many they are."""
        named = {self._name(limit, whom): (limit, whom) for limit, whom in asked}
        if not named:
            return {}
        # In one order for everybody, as in `take`.
        made = self._database.insert(buckets).values([{"name": name, "free_at": now()} for name in sorted(named)])
        statement = made.on_conflict_do_update(index_elements=[_row.name], set_={"name": made.excluded.name}).returning(
            _row.name, _row.free_at, type_coerce(now(), Instant)
        )
        held = {}
        for name, free_at, clock in (await connection.execute(statement)).all():
            limit, _ = named[name]
            busy = max(0, (free_at - clock) // timedelta(milliseconds=1))
            held[named[name]] = Held(limit=limit, name=name, clock=clock, busy=busy)
        return held

    async def keep(self, connection: AsyncConnection, held: Iterable[Held]) -> None:
        """Write what was taken of these: one statement, however many they are."""
        values = [
            {"name": each.name, "free_at": each.clock + timedelta(milliseconds=each.busy)}
            for each in held
            if each.taken
        ]
        if values:
            made = self._database.insert(buckets).values(values)
            written = made.on_conflict_do_update(index_elements=[_row.name], set_={"free_at": made.excluded.free_at})
            await connection.execute(written)

    async def _take(self, connection: AsyncConnection, asked: Sequence[tuple[Limit, str]]) -> Sequence[Left]:
        # In one order for everybody, or two transactions could wait for each other.
        named = sorted((self._name(limit, whom), limit) for limit, whom in asked)
        return [await self._take_one(connection, name, limit) for name, limit in named]

    async def _take_one(self, connection: AsyncConnection, name: str, limit: Limit) -> Left:
        step, whole = _ms(limit.per / limit.count), _ms(limit.per)
        free_again = case((_row.free_at > now(), _row.free_at), else_=now()) + step
        statement = (
            self._database.insert(buckets)
            .values(name=name, free_at=now() + step)
            .on_conflict_do_update(
                index_elements=[_row.name], set_={"free_at": free_again}, where=free_again <= now() + whole
            )
            .returning(_row.free_at, type_coerce(now(), Instant))
        )
        taken = (await connection.execute(statement)).one_or_none()
        if taken is None:
            raise TooMany(limit.words, await self._wait(connection, name, step, whole))
        busy: timedelta = taken[0] - taken[1]
        return Left(limit, int((whole - _ms(busy)) // step), busy)

    async def _wait(self, connection: AsyncConnection, name: str, step: int, whole: int) -> timedelta:
        found = await connection.execute(select(_row.free_at, type_coerce(now(), Instant)).where(_row.name == name))
        free_at, clock = cast(tuple[datetime, datetime], found.one())
        wait = free_at + timedelta(milliseconds=step - whole) - clock
        return max(wait, timedelta(seconds=1))

    def _name(self, limit: Limit, whom: str) -> str:
        return hmac.new(self._key, f"{limit.name}\0{whom}".encode(), hashlib.sha256).hexdigest()


def counted_as(address: str) -> str:
    """An address as limits know it: `Ada.L+x@gmail.com` and `adal@gmail.com` are one mailbox."""
    local, _, domain = address.casefold().rpartition("@")
    local = local.partition("+")[0]
    if domain in ("gmail.com", "googlemail.com"):
        local, domain = local.replace(".", ""), "gmail.com"
    return f"{local}@{domain}"


def place_of(client: str) -> str:
    """A client's address as limits know it: whoever has one IPv6 address has 2⁶⁴ of them, all in one /64."""
    try:
        address = ip_address(client)
    except ValueError:
        return client
    if isinstance(address, IPv4Address):
        return client
    mapped = address.ipv4_mapped
    return str(mapped) if mapped is not None else str(ip_network((int(address), 64), strict=False))


def _ms(span: timedelta) -> int:
    return max(1, round(span.total_seconds() * 1000))
