"""The database and the queue: whether they answer, have room, keep what they are given, and agree about the time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import func, select, text, type_coerce

from rmindr import schema
from rmindr.database import POOL_SIZE, Database, Instant, now
from rmindr.doctor.finding import Finding, error, good, note, warning
from rmindr.facts import OUTAGE, Facts
from rmindr.ledger import row
from rmindr.models import WAITING
from rmindr.queue import Queue
from rmindr.settings import Settings

_SKEW: Final = timedelta(seconds=2)
_OVERDUE: Final = timedelta(minutes=2)
_NEARLY_FULL: Final = 0.8
# A deploy runs the old processes and the new ones side by side (HEROKU H-13).
_AT_A_DEPLOY: Final = 2
_CONNECTIONS_OF_WORKER: Final = 3
Clock = Callable[[], datetime]


async def database(settings: Settings, found: Database, clock: Clock) -> AsyncIterator[Finding]:
    """Raises StorageUnavailable where it does not answer."""
    before = clock()
    async with found.statements() as connection:
        theirs = (await connection.execute(select(type_coerce(now(), Instant)))).scalar_one()
    yield good("database", "The database answers.")
    if (finding := _skew("database", theirs - before)) is not None:
        yield finding
    if settings.database_url.get_secret_value().startswith("postgresql"):
        async for each in _connections(settings, found):
            yield each


async def schema_found(settings: Settings) -> AsyncIterator[Finding]:
    """Whether the database has what this release needs. Raises MigrationFailed where it cannot be asked."""
    # It is asked by another driver, which waits.
    standing = await asyncio.to_thread(schema.standing, settings.database_url.get_secret_value())
    if standing.missing:
        yield error(
            "migrations",
            f"The database lacks {len(standing.missing)} migrations of this release.",
            "Run `rmindr migrate`.",
        )
    elif standing.later:
        yield note("migrations", "The database is at the schema of a later release, which this one can live with.")
    else:
        yield good("migrations", "The database is at the schema of this release.")


async def _connections(settings: Settings, found: Database) -> AsyncIterator[Finding]:
    allowed = text(
        "SELECT least(current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,"
        " (SELECT CASE WHEN rolconnlimit < 0 THEN 1000000 ELSE rolconnlimit END FROM pg_roles WHERE rolname = current_user))"
    )
    async with found.statements() as connection:
        most = int((await connection.execute(allowed)).scalar_one())
    needed = (settings.web_concurrency + 1) * POOL_SIZE * _AT_A_DEPLOY
    if needed > most:
        yield error(
            "database-connections",
            f"The processes need {needed} connections to the database at a deploy, and may have {most}.",
            "Set WEB_CONCURRENCY lower, or take a larger plan.",
        )
    else:
        yield good("database-connections", f"The processes need {needed} of {most} connections to the database.")


async def reminders(found: Database) -> AsyncIterator[Finding]:
    """Whether what is due leaves. Raises StorageUnavailable."""
    if await Facts(found).get(OUTAGE):
        yield error(
            "sending", "Sending is paused: the mail server refuses, or cannot be reached.", "See what `mail` says here."
        )
    late = select(
        type_coerce(now(), Instant), select(func.min(row.next_at)).where(row.status.in_(WAITING)).scalar_subquery()
    )
    async with found.statements() as connection:
        clock, first = (await connection.execute(late)).one()
    if first is not None and clock - first > _OVERDUE:
        minutes = round((clock - first).total_seconds() / 60)
        yield error(
            "overdue", f"The oldest reminder that waits is {minutes} minutes late.", "See what else is said here."
        )
    else:
        yield good("overdue", "No reminder is late.")


async def queue(settings: Settings, found: Queue, clock: Clock) -> AsyncIterator[Finding]:
    """Raises QueueUnavailable where it does not answer."""
    workers = await found.steering.workers()
    alive = [worker for worker in workers if worker.alive]
    yield good("redis", "Redis answers.")
    if not alive:
        yield error(
            "worker",
            "No worker runs: nothing is sent.",
            "Start one, e.g. `heroku ps:scale worker=1`, or `rmindr worker`.",
        )
    else:
        yield good("worker", f"{len(alive)} worker{'s run' if len(alive) > 1 else ' runs'}.")
    whole, types = await found.steering.paused()
    if whole or "email" in types:
        yield error(
            "paused", "The queue is paused by hand: nothing is sent.", "Resume it at /queue, or `rmindr queue resume`."
        )
    async for each in _redis(settings, found, clock):
        yield each


async def _redis(settings: Settings, found: Queue, clock: Clock) -> AsyncIterator[Finding]:
    before = clock()
    seconds, micros = await found.redis.time()
    theirs = datetime.fromtimestamp(int(seconds) + int(micros) / 1e6, before.tzinfo)
    if (finding := _skew("redis", theirs - before)) is not None:
        yield finding
    about: dict[str, Any] = await found.redis.info()
    policy = about.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield error(
            "redis-policy",
            f"Redis throws keys away when it is full ({policy}): jobs would be found again late.",
            "Set maxmemory-policy to noeviction.",
        )
    used, room = int(about.get("used_memory", 0)), int(about.get("maxmemory", 0))
    if room and used > room * _NEARLY_FULL:
        yield warning(
            "redis-memory",
            f"Redis is {used * 100 // room} % full.",
            "Set RMINDR_FEED_WINDOW_HOURS lower, or take a larger plan.",
        )
    clients, most = int(about.get("connected_clients", 0)), int(about.get("maxclients", 10_000))
    needed = (settings.web_concurrency + _CONNECTIONS_OF_WORKER) * _AT_A_DEPLOY
    if needed > most or clients > most * _NEARLY_FULL:
        yield warning(
            "redis-connections",
            f"Redis has {clients} connections of {most}; the processes need {needed} at a deploy.",
            "Set WEB_CONCURRENCY lower, or take a larger plan.",
        )


def _skew(name: str, ahead: timedelta) -> Finding | None:
    if abs(ahead) < _SKEW:
        return None
    seconds = round(ahead.total_seconds())
    return error(
        f"{name}-clock",
        f"The clock of the {name} is {abs(seconds)} s {'ahead of' if seconds > 0 else 'behind'} this machine's.",
        "Let both keep time by NTP.",
    )
