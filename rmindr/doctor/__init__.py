"""What is wrong with an instance, and what to do about it: `rmindr doctor`.

    findings = [each async for each in examine(os.environ)]

It changes nothing, sends nothing, and names each misconfiguration in one sentence; secrets are in none of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Final

from redis.exceptions import RedisError

from rmindr.database import Database
from rmindr.doctor import house, mail, stores
from rmindr.doctor.finding import Finding, Level, error
from rmindr.doctor.stores import Clock
from rmindr.errors import MigrationFailed, SettingsError, StorageUnavailable
from rmindr.queue import Queue, QueueUnavailable
from rmindr.settings import Settings

__all__ = ["Finding", "Level", "examine"]

_PATIENCE_S: Final = 30.0


def _now() -> datetime:
    return datetime.now(UTC)


async def examine(
    environment: Mapping[str, str], *, clock: Clock = _now, name_server: str | None = None
) -> AsyncIterator[Finding]:
    """Each finding, as it is made; what hangs is given up, and said so."""
    try:
        settings = Settings.load()
    except SettingsError as wrong:
        for variable, problem in wrong.problems.items():
            yield error("settings", f"{variable} {problem}.", f"Set {variable} right.")
        return
    for part in (
        house.settings_found(settings),
        house.queue_address(settings),
        house.zone_rules(clock()),
        house.dyno(settings, environment),
        _database(settings, clock),
        _queue(settings, clock),
        mail.server(settings),
        # On one machine alone mails go nowhere, and no domain need vouch for them.
        *([] if settings.access == "open" else [mail.domain(settings, name_server)]),
    ):
        try:
            async with asyncio.timeout(_PATIENCE_S):
                async for each in part:
                    yield each
        except TimeoutError:
            yield error("patience", f"Something did not answer within {_PATIENCE_S:.0f} s.", "Look at the network.")


async def _database(settings: Settings, clock: Clock) -> AsyncIterator[Finding]:
    try:
        async for each in stores.schema_found(settings):
            yield each
            if each.level is Level.ERROR:
                return
        async with Database.open(settings.database_url.get_secret_value()) as found:
            async for each in stores.database(settings, found, clock):
                yield each
            async for each in stores.reminders(found):
                yield each
    except (StorageUnavailable, MigrationFailed) as away:
        yield error("database", f"The database cannot be used: {away}.", "Look at DATABASE_URL, and whether it runs.")


async def _queue(settings: Settings, clock: Clock) -> AsyncIterator[Finding]:
    try:
        async with AsyncExitStack() as stack:
            opened = Queue.open(
                settings.redis_url.get_secret_value(),
                prefix=settings.queue_prefix,
                name="rmindr-doctor",
                patience=timedelta(seconds=5),
            )
            found = await stack.enter_async_context(opened)
            async for each in stores.queue(settings, found, clock):
                yield each
    except (QueueUnavailable, RedisError) as away:
        yield error("redis", f"Redis cannot be used: {away}.", "Look at REDIS_URL, and whether it runs.")
