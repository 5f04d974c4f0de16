"""One mail instead of many after an outage, for whoever wants that: one overdue reminder carries others of its owner.

    gather   waits, or is claimed and not marked    ▶ sending, carried        no lease: its fate is its carrier's
    mark     carried                                ▶ carried, marked         all of them and the carrier, or none
    sent, end, settle                               ▶ as the carrier          where the mail left, or may have
    put_off, give_back, and what else there is      ▶ scheduled | retrying    where it did not; kept where it may have
    repair   carried by what does not carry it      ▶ scheduled | retrying    or uncertain, where it was marked

The carrier is claimed, marked and ended as any reminder is, by its own fence; the mail is its own, Message-ID and all. What
it carries has a fence, too, which grows when it is gathered: whoever had claimed it can mark it no more, and whoever edits or
cancels it before the mark has the carrier's mark refused. Rows are locked in the order of their ids, as everywhere.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

import structlog
from sqlalchemy import CursorResult, Update
from sqlalchemy.ext.asyncio import AsyncConnection

from rmindr import carried
from rmindr.errors import StorageUnavailable
from rmindr.ledger import CRASHES_ALLOWED, Carried, Claim, Ledger, Sequel, note
from rmindr.models import Kind, Reminder, Status

log = structlog.get_logger(__name__)
T = TypeVar("T")

_FOR_EVER: Final = timedelta(days=36500)
_TOGETHER: Final = "In one mail with others that were late."
_STRAY: Final = "It left in one mail with others, and nobody knows what became of that mail; it may have arrived."


class _Changed(Exception):
    """One of those that the letter says is not as the letter says it."""


class CatchUp(Ledger):
    """The ledger, where a claim may carry others. Of a claim that carries none, every verb is the ledger's own."""

    async def gather(self, claim: Claim, late: timedelta, not_later: timedelta | None) -> Claim | None:
        """The claim with the others of its owner that are `late`, oldest first; None where it is no longer ours itself.

        What is later than `not_later` is not sent. Raises StorageUnavailable."""
        if claim.letter is not None:
            # What is sent again as it was says what it said.
            return replace(claim, carried=await self._again(claim))
        if claim.crashes:
            await self._let_go(claim.id)
        catches_up = claim.catches_up and claim.kind == Kind.REMINDER and claim.claimed_at - claim.due_at >= late
        # What has cost two workers, or was refused with others, goes alone.
        if not catches_up or claim.about or claim.crashes + 1 >= CRASHES_ALLOWED:
            return claim
        values = {
            "carrier": claim.id,
            "of_id": claim.id,
            "of_owner": claim.owner,
            "of_recipient": claim.recipient,
            "late": _ms(late),
            "too_late": _ms(not_later or _FOR_EVER),
            "note": note("claimed", reason=_TOGETHER),
        }
        async with self._database.transaction() as connection:
            ids = (await connection.execute(carried.CANDIDATES, values)).scalars().all()
            await _lock(connection, [claim.id, *ids])
            mine = {"of_id": claim.id, "of_fence": claim.fence}
            if (await connection.execute(carried.STILL_HELD, mine)).first() is None:
                return None
            if not ids:
                return claim
            found = await connection.execute(carried.GATHER, values | {"ids": ids})
            return replace(claim, carried=_carried(found))

    async def mark(self, claim: Claim, letter: bytes, *, listed: bool = True) -> bool:
        """As the ledger; and the letter is of all of them as they are now, or it is not sent."""
        if not claim.carried:
            return await super().mark(claim, letter, listed=listed)
        try:
            async with self._locked(claim) as connection:
                if not await self.within(connection).mark(claim, letter, listed=listed):
                    return False
                marked = await connection.execute(carried.MARK_TOO, _those_of(claim))
                if marked.rowcount != len(claim.carried):
                    raise _Changed
        except _Changed:
            return False
        return True

    async def sent(self, claim: Claim, reply: str, ago: timedelta) -> int | None:
        """As the ledger; and so are they."""
        if not claim.carried:
            return await super().sent(claim, reply, ago)
        said = note("sent", reply=reply, reason=_TOGETHER)

        async def act(ledger: Ledger) -> int | None:
            return await ledger.sent(claim, reply, ago)

        ending = _Ending(
            of=claim, carried=claim.carried, status=Status.SENT, reason=None, others=carried.FOLLOW, said=said
        )
        return await self._end(ending, act)

    async def put_off(
        self,
        claim: Claim,
        wait: timedelta,
        reason: str,
        *,
        event: str,
        counted: bool,
        ambiguous: bool = False,
        alone: bool = False,
    ) -> bool:
        """As the ledger; and so are they, each by itself again; `alone`: never again together. What may have left is kept."""
        if not claim.carried:
            return await super().put_off(claim, wait, reason, event=event, counted=counted, ambiguous=ambiguous)
        values = {
            "the_reason": reason,
            "wait": _ms(wait),
            "uncounted": 0 if counted else 1,
            "in_doubt": 0,
            "note": note(event, reason=reason, after_ms=_ms(wait)),
        }
        async with self._locked(claim) as connection:
            inside = self.within(connection)
            done = await inside.put_off(claim, wait, reason, event=event, counted=counted, ambiguous=ambiguous)
            if not ambiguous and claim.letter is None:
                all_pairs = [(claim.id, claim.fence), *_pairs(claim.carried)]
                await connection.execute(
                    carried.AFRESH, {"pairs": all_pairs, "of_about": carried.ALONE if alone else ""}
                )
                await connection.execute(carried.PUT_OFF_TOO, _those_of(claim) | values)
        return done

    async def give_back(self, claim: Claim) -> bool:
        """As the ledger; and so are they."""
        if not claim.carried:
            return await super().give_back(claim)
        async with self._locked(claim) as connection:
            done = await self.within(connection).give_back(claim)
            await connection.execute(carried.GIVE_UNMARKED_BACK, _those_of(claim) | {"note": note("given back")})
        return done

    async def end(
        self, claim: Claim, status: Status, reason: str, reply: str | None = None, *, shared: bool = False
    ) -> bool:
        """As the ledger; `shared`: that is true of them as well. If not, they are given back, unless they may have left."""
        if not claim.carried:
            return await super().end(claim, status, reason, reply)

        async def act(ledger: Ledger) -> bool:
            return await ledger.end(claim, status, reason, reply)

        follow = shared or claim.letter is not None
        others, said = (
            (carried.FOLLOW, note(status, reason=reason)) if follow else (carried.GIVE_BACK_TOO, note("given back"))
        )
        ending = _Ending(of=claim, carried=claim.carried, status=status, reason=reason, others=others, said=said)
        return await self._end(ending, act)

    async def settle(self, seen: Reminder, status: Status, reason: str | None, reply: str | None = None) -> bool:
        """As the ledger; and so are they, where the mail left or may have."""
        theirs = await self._carried_by(seen.id, marked=seen.marked_at is not None)
        if not theirs:
            return await super().settle(seen, status, reason, reply)

        async def act(ledger: Ledger) -> bool:
            return await ledger.settle(seen, status, reason, reply)

        follow = note(status, reply=reply, reason=reason or _TOGETHER)
        others, said = (carried.LOST, note("given back")) if seen.marked_at is None else (carried.FOLLOW, follow)
        ending = _Ending(of=seen, carried=theirs, status=status, reason=reason, others=others, said=said)
        return await self._end(ending, act)

    async def repair(self) -> int:
        """Free what is carried by nothing that carries it; answers how many. Raises StorageUnavailable."""
        async with self._database.statements() as connection:
            found = (await connection.execute(carried.STRAYS)).all()
        if not found:
            return 0
        ids = [id for id, _ in found]
        async with self._database.transaction() as connection:
            await _lock(connection, {*ids, *(carrier for _, carrier in found)})
            freed = await connection.execute(carried.FREE, {"ids": ids, "note": note("given back")})
            doubted = await connection.execute(
                carried.DOUBT, {"ids": ids, "the_reason": _STRAY, "note": note("uncertain", reason=_STRAY)}
            )
        count = freed.rowcount + doubted.rowcount
        log.warning("carriers had gone", reminders=count)
        return count

    # Those that are carried

    async def _carried_by(self, id: UUID, *, marked: bool) -> Sequence[Carried]:
        async with self._database.statements() as connection:
            return _carried(await connection.execute(carried.CARRIED_BY, {"carrier": id, "marked": marked}))

    async def _again(self, claim: Claim) -> Sequence[Carried]:
        """Those that a letter says which is sent again; whoever sent it before has nothing to say of them any more."""
        seen = await self._carried_by(claim.id, marked=True)
        if not seen:
            return ()
        values = {"carrier": claim.id, "pairs": _pairs(seen), "note": note("claimed", reason=_TOGETHER)}
        async with self._database.transaction() as connection:
            await _lock(connection, [each.id for each in seen])
            return _carried(await connection.execute(carried.AGAIN, values))

    async def _let_go(self, carrier: UUID) -> None:
        """Those that a lost worker had gathered: that they cost it is as true of each of them as of their carrier."""
        seen = await self._carried_by(carrier, marked=False)
        if not seen:
            return
        values = {"carrier": carrier, "pairs": _pairs(seen), "note": note("given back")}
        async with self._database.transaction() as connection:
            await _lock(connection, [each.id for each in seen])
            await connection.execute(carried.LOST, values)

    @asynccontextmanager
    async def _locked(self, claim: Claim) -> AsyncIterator[AsyncConnection]:
        """A transaction in which nobody else changes the carrier or those that it carries."""
        async with self._database.transaction() as connection:
            await _lock(connection, [claim.id, *(each.id for each in claim.carried)])
            yield connection

    async def _end(self, ending: _Ending, act: Callable[[Ledger], Awaitable[T]]) -> T:
        """End the carrier by `act`, those that it carries as `ending` says, and see what comes of that."""
        if self._sequel is not None:
            try:
                return await self._end_at_once(ending, act, self._sequel)
            except StorageUnavailable:
                raise
            except Exception:
                # As in the ledger: what has happened is written down all the same.
                log.exception("nothing followed", id=str(ending.of.id))
        return await self._end_at_once(ending, act, None)

    async def _end_at_once(self, ending: _Ending, act: Callable[[Ledger], Awaitable[T]], sequel: Sequel | None) -> T:
        everyone = (ending.of, *ending.carried)
        async with self._database.transaction() as connection:
            series: dict[UUID | None, Any] = {}
            if sequel is not None:
                for id in sorted({each.series_id for each in everyone if each.series_id is not None}, key=str):
                    series[id] = await sequel.before(connection, id)
            await _lock(connection, [each.id for each in everyone])
            done = await act(self.within(connection))
            if done is None or done is False:
                # The carrier has changed: they have not, and nothing has left.
                mine = {"carrier": ending.of.id, "pairs": _pairs(ending.carried), "note": note("given back")}
                await connection.execute(carried.GIVE_UNMARKED_BACK, mine)
                return done
            values = {"carrier": ending.of.id, "pairs": _pairs(ending.carried), "note": ending.said}
            changed = (await connection.execute(ending.others, values)).scalars().all()
            if sequel is not None:
                over = {ending.of.id, *(changed if ending.others is carried.FOLLOW else ())}
                for each in everyone:
                    if each.id in over:
                        # Of two of one series, the first says it for both.
                        held = series.pop(each.series_id, None)
                        await sequel.after(connection, held, each.id, ending.status, ending.reason)
            return done


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ending:
    """How a carrier ends; and what is written of those that it carries, in which words."""

    of: Claim | Reminder
    carried: Sequence[Carried]
    status: Status
    reason: str | None
    others: Update
    said: str


def _carried(found: CursorResult[Any]) -> Sequence[Carried]:
    """Those, oldest first."""
    return sorted((Carried(**each) for each in found.mappings()), key=lambda each: (each.due_at, str(each.id)))


def _pairs(carried: Sequence[Carried]) -> list[tuple[UUID, int]]:
    return [(each.id, each.fence) for each in carried]


def _those_of(claim: Claim) -> dict[str, Any]:
    return {"carrier": claim.id, "pairs": _pairs(claim.carried)}


async def _lock(connection: AsyncConnection, ids: Collection[UUID]) -> None:
    """Nobody else changes these until the transaction ends; on SQLite nobody does anyway."""
    await connection.execute(carried.LOCK, {"ids": list(ids)})


def _ms(span: timedelta) -> int:
    return round(span.total_seconds() * 1000)
