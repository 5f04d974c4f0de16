"""When the mail server itself is the trouble: stop sending, look every half minute whether it is back, go on; and say so."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from rmindr.errors import StorageUnavailable
from rmindr.facts import OUTAGE, Facts
from rmindr.mail.smtp import Undelivered, Verdict

log = structlog.get_logger(__name__)


class MailOutage:
    """One process's view of the mail server. While it is `on`, nothing is sent and no attempt is burnt."""

    def __init__(self, probe: Callable[[], Awaitable[None]], facts: Facts, interval: timedelta) -> None:
        self._probe = probe
        self._facts = facts
        self._interval = interval
        self._begun = asyncio.Event()
        self._why = ""
        # Set by the process that works the queue: stop taking mails, take them again.
        self.on_pause: Callable[[], None] = lambda: None
        self.on_resume: Callable[[], None] = lambda: None

    @property
    def on(self) -> bool:
        """Whether sending is paused."""
        return self._begun.is_set()

    def begin(self, verdict: Verdict, why: str) -> None:
        """Pause sending; `why` is for operators and holds no address."""
        if self.on:
            return
        self._why = f"{verdict}: {why}"
        self._begun.set()
        self.on_pause()

    async def watch(self) -> None:
        """Probe while an outage is on, until cancelled."""
        while True:
            await self._say_that_all_is_well()
            await self._begun.wait()
            # The one line that an operator must see: nothing goes out until this is mended.
            log.error("sending paused", why=self._why)
            while not await self._is_back():
                pass
            # Nothing in between: another outage may begin at any moment, and must find sending resumed.
            self._begun.clear()
            self.on_resume()
            log.info("sending resumed")

    async def _is_back(self) -> bool:
        """Tell, wait, and ask. Told each time: another process may have said that all is well."""
        with contextlib.suppress(StorageUnavailable):
            await self._facts.put(OUTAGE, json.dumps({"why": self._why}))
        await asyncio.sleep(self._interval.total_seconds())
        try:
            await self._probe()
        except Undelivered as failure:
            self._why = f"{failure.verdict}: {failure.summary}"
            return False
        return True

    async def _say_that_all_is_well(self) -> None:
        """Also at the start: whoever said otherwise may have been killed since."""
        while not self.on:
            try:
                await self._facts.put(OUTAGE, "")
                return
            except StorageUnavailable:
                await asyncio.sleep(self._interval.total_seconds())
