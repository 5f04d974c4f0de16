"""A call on its way: found when it is due, claimed, made, and written down; again later where it was not taken.

    sweep      waiting, due                    ▶ waiting    a job on the queue, once per attempt
    claim      waiting, due                    ▶ waiting    attempts + 1, due again when the lease ends: this is the fence
    record     waiting, under this attempt     ▶ taken | waiting | given up

SQL is the truth, as it is of mails: a job that is lost is made again, and whatever ends between claim and record is called once
more when its lease is over, with the same webhook-id. A webhook that has failed for days, or says that it is gone, is stopped.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy import and_, case, delete, func, select, update

from rmindr.database import Database, now
from rmindr.errors import StorageUnavailable
from rmindr.queue import NewJob, Queue, QueueError
from rmindr.webhooks.outbox import GIVEN_UP, TAKEN, WAITING, calls, hooks
from rmindr.webhooks.places import Closed
from rmindr.webhooks.post import Caller, NotReached
from rmindr.webhooks.signature import signed

log = structlog.get_logger(__name__)

WEBHOOK: Final = "webhook"
# Nine attempts in a good day; by then a night's outage is over.
_WAITS_S: Final = (5.0, 60.0, 300.0, 1800.0, 7200.0, 14400.0, 28800.0, 36000.0)
# What else waits for the same webhook is put off with it, so that one that hangs does not hold up the others' calls.
_ALL_PUT_OFF_S: Final = 300.0
_STOPPED_AFTER: Final = timedelta(days=5)
_LEASE_S: Final = 60.0
_SWEPT_AT_ONCE: Final = 200
_GONE: Final = 410
_call: Final = calls.c
_hook: Final = hooks.c


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """The right to make one attempt of one call."""

    id: UUID
    attempt: int
    body: str
    hook_id: UUID
    url: str
    secret: str


class Calls:
    """The calls of one instance. `scale` shrinks every wait, for tests."""

    def __init__(self, database: Database, queue: Queue, caller: Caller, *, scale: float = 1.0) -> None:
        self._database = database
        self._queue = queue
        self._caller = caller
        self._scale = scale

    async def run(self, pace: timedelta) -> None:
        """Find what is due, every `pace`, until cancelled. Several processes may."""
        while True:
            try:
                await self.sweep()
            except (StorageUnavailable, QueueError) as error:
                log.warning("calls wait", why=type(error).__name__)
            await asyncio.sleep(pace.total_seconds() * random.uniform(0.8, 1.2))

    async def sweep(self) -> int:
        """A job for each call that is due; answers for how many. Raises StorageUnavailable, QueueError."""
        due = select(_call.id, _call.attempts).where(_call.state == WAITING, _call.next_at <= now())
        async with self._database.statements() as connection:
            found = (await connection.execute(due.order_by(_call.next_at).limit(_SWEPT_AT_ONCE))).all()
        await self._queue.create_many(
            [
                NewJob(
                    type=WEBHOOK,
                    data={"title": f"Call {id}", "id": str(id)},
                    remove_on_complete=True,
                    remove_on_failure=True,
                    unique=f"call:{id}:{attempts}",
                )
                for id, attempts in found
            ]
        )
        return len(found)

    async def make(self, id: UUID) -> dict[str, Any]:
        """One attempt at this call, if it is due; what came of it. Raises StorageUnavailable."""
        claim = await self._claim(id)
        if claim is None:
            return {"skipped": "not due"}
        at, body = datetime.now(UTC), claim.body.encode()
        headers = {"Content-Type": "application/json", "User-Agent": "rmindr"}
        headers |= signed(claim.secret, f"msg_{claim.id.hex}", at, body)
        try:
            status = await self._caller.post(claim.url, headers, body)
            answer, taken, gone = f"answered {status}", 200 <= status < 300, status == _GONE
        except (Closed, NotReached) as why:
            answer, taken, gone = str(why), False, False
        except Exception:
            # A fault of ours: the others' calls go on, and this one is given up like any other.
            log.exception("call failed", id=str(claim.id))
            answer, taken, gone = "could not be called", False, False
        await self._record(claim, answer, taken=taken, gone=gone)
        log.info("called", id=str(claim.id), attempt=claim.attempt, taken=taken, answer=answer)
        return {"answer": answer, "attempt": claim.attempt}

    async def _claim(self, id: UUID) -> _Claim | None:
        lease = now() + self._ms(_LEASE_S)
        due = and_(_call.id == id, _call.state == WAITING, _call.next_at <= now())
        claimed = update(calls).where(due).values(attempts=_call.attempts + 1, next_at=lease).returning(*_call)
        async with self._database.transaction() as connection:
            found = (await connection.execute(claimed)).mappings().one_or_none()
            if found is None:
                return None
            if found["attempts"] > len(_WAITS_S) + 1:
                # Its workers were lost, each time, before they could say how it went.
                await connection.execute(update(calls).where(_call.id == id).values(state=GIVEN_UP))
                return None
            mine = select(_hook.url, _hook.secret).where(_hook.id == found["hook_id"], _hook.stopped_at.is_(None))
            hook = (await connection.execute(mine)).mappings().one_or_none()
            if hook is None:
                await connection.execute(delete(calls).where(_call.id == id))
                return None
        return _Claim(
            id=id, attempt=found["attempts"], body=found["body"], hook_id=found["hook_id"], url=hook["url"],
            secret=hook["secret"],
        )  # fmt: skip

    async def _record(self, claim: _Claim, answer: str, *, taken: bool, gone: bool) -> None:
        mine = and_(_call.id == claim.id, _call.attempts == claim.attempt, _call.state == WAITING)
        wait = self._wait(claim.attempt)
        values: dict[str, Any] = {"answer": answer, "state": TAKEN if taken else WAITING}
        if wait is None and not taken:
            values["state"] = GIVEN_UP
        elif wait is not None:
            values["next_at"] = now() + wait
        async with self._database.transaction() as connection:
            changed = await connection.execute(update(calls).where(mine).values(**values))
            if not changed.rowcount:
                return
            of_hook = update(hooks).where(_hook.id == claim.hook_id)
            if taken:
                await connection.execute(of_hook.where(_hook.failing_since.is_not(None)).values(failing_since=None))
                return
            days = round(_STOPPED_AFTER.total_seconds() * 1000 * self._scale)
            over = _hook.failing_since < now() - days
            stopped = now() if gone else case((over, now()), else_=_hook.stopped_at)
            failing = func.coalesce(_hook.failing_since, now())
            await connection.execute(of_hook.values(failing_since=failing, stopped_at=stopped))
            await self._put_off_the_others(connection, claim)

    async def _put_off_the_others(self, connection: Any, claim: _Claim) -> None:
        """What else waits for a webhook that failed: later, or never where that was stopped."""
        others = and_(_call.hook_id == claim.hook_id, _call.state == WAITING)
        is_stopped = select(_hook.stopped_at).where(_hook.id == claim.hook_id)
        if (await connection.execute(is_stopped)).scalar_one_or_none() is not None:
            await connection.execute(update(calls).where(others).values(state=GIVEN_UP))
            return
        wait = min(self._wait(claim.attempt) or 0, self._ms(_ALL_PUT_OFF_S))
        soon = and_(others, _call.id != claim.id, _call.next_at < now() + wait)
        await connection.execute(update(calls).where(soon).values(next_at=now() + wait))

    def _wait(self, attempt: int) -> int | None:
        """How long after this attempt the next is due, ms; None where it was the last."""
        if attempt > len(_WAITS_S):
            return None
        return round(self._ms(_WAITS_S[attempt - 1]) * random.uniform(0.9, 1.1))

    def _ms(self, seconds: float) -> int:
        return round(seconds * 1000 * self._scale)
