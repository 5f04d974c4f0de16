"""One due reminder → at most one mail, in an order of writes that a crash at any line survives.

    1  claim in SQL              the real lock: a fence, a lease                  crash: nobody has been written to
    2  connect, MAIL, RCPT       the envelope stands                              crash: as 1
    3  DATA, up to 354           the server is ready for the body                 crash: as 1
    4  mark in SQL               the point of no return; cancel and edit          crash: it may have left: wait, ask the
                                 are ordered against it                           witness, send the same bytes again
    5  body and dot, one write   the server decides                               crash: as 4
    6  witness in Redis          a second memory, in case SQL is away             crash: the witness tells
    7  record in SQL             sent, with the server's words                    crash: SQL tells
    8  complete in Redis         by the queue; QUIT comes whenever it comes

Between the server's decision and step 6 neither side can know what the other knows (RFC 1047): a crash there may send one
more copy, with the same Message-ID, counted as ambiguous and shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal, Protocol, TypeVar
from uuid import UUID

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from rmindr import times
from rmindr.catch_up import CatchUp
from rmindr.errors import StorageUnavailable
from rmindr.ledger import CRASHES_ALLOWED, RESENDS_ALLOWED, USELESS, Claim
from rmindr.mail.letters import Contents, Item, Letter, LetterBroken, Letters
from rmindr.mail.smtp import Phase, Undelivered, Verdict
from rmindr.models import WAITING, Kind, Reminder, Status

log = structlog.get_logger(__name__)
T = TypeVar("T")

# Greylisting lets through after one to five minutes; later, patience costs nothing.
_WAITS: Final = (90.0, 300.0, 600.0, 1200.0, 1800.0)
_TROUBLE_WAIT: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What may be sent, when to stop trying, and what an unanswered dot means."""

    # Addresses that need not have agreed.
    listed: Callable[[str], bool]
    lease: timedelta = timedelta(seconds=60)
    give_up_after: timedelta = timedelta(hours=24)
    missed_after: timedelta | None = None
    ambiguous_wait: timedelta = timedelta(seconds=120)
    on_ambiguous: Literal["resend", "hold"] = "resend"
    outage_wait: timedelta = timedelta(seconds=30)
    # What is this late comes in one mail with others, to whoever wants that.
    catch_up_after: timedelta = timedelta(minutes=10)
    # Shrinks the waits between attempts, for tests.
    time_scale: float = 1.0
    # How long a mail whose body has left may still wait for its answer when the worker is stopping.
    last_words: timedelta = timedelta(seconds=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one delivery. `wait` None: there is nothing more to do for this job; `result` goes into its log."""

    wait: timedelta | None = None
    counted: bool = False
    failed: str | None = None
    result: dict[str, Any] = field(default_factory=dict)


class Envelope(Protocol):
    """What the delivery needs of a mail transaction (mail/smtp.py has the real one)."""

    async def data(self) -> None:
        """Up to the server's 354. Raises Undelivered."""

    async def body(self, letter: Letter) -> str:
        """The body and the dot; the server's words. Raises Undelivered."""


class Mailer(Protocol):
    """What the delivery needs of a transport: an envelope that is accepted when the block is entered."""

    def transaction(self, letter: Letter) -> contextlib.AbstractAsyncContextManager[Envelope]:
        """An accepted envelope. Raises Undelivered on entering."""


class Outage(Protocol):
    """Somebody to tell when the mail server itself, and not one letter, is the trouble."""

    def begin(self, verdict: Verdict, why: str) -> None:
        """Stop sending until the mail server is back."""


class Witness:
    """A second memory of accepted mails, in Redis, for when SQL is away at the wrong moment."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix

    async def testify(self, claim: Claim, reply: str) -> None:
        """Remember for a week that this revision was accepted; silently nothing where Redis is away.

        Only the reply's code is kept: its words may name the address."""
        words = {"fence": claim.fence, "code": reply[:3]}
        with contextlib.suppress(RedisError, OSError):
            await self._redis.set(self._key(claim.id, claim.rev), json.dumps(words), ex=7 * 86400)

    async def recall(self, id: UUID, rev: int) -> str | None:
        """The code that the server accepted this revision with; None where nobody knows of it."""
        with contextlib.suppress(RedisError, OSError, ValueError, KeyError, TypeError):
            if (words := await self._redis.get(self._key(id, rev))) is not None:
                return str(json.loads(words)["code"])
        return None

    def _key(self, id: UUID, rev: int) -> str:
        return f"{self._prefix}:witness:{id}.{rev}"


class Delivery:
    """Delivers reminders that are due, one call each; safe to call twice, at once, or for one that is long gone.

    `checkpoint` is called with the name of each step of the order of writes: tests end the process there."""

    def __init__(
        self,
        ledger: CatchUp,
        mailer: Mailer,
        letters: Letters,
        witness: Witness,
        policy: Policy,
        outage: Outage,
        *,
        worker: str = "worker",
        checkpoint: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._ledger = ledger
        self._mailer = mailer
        self._letters = letters
        self._witness = witness
        self._policy = policy
        self._outage = outage
        self._worker = worker
        self._checkpoint = checkpoint
        # By fence, too: an attempt that was overtaken may still be ending when the next one is under way.
        self._under_way: dict[tuple[UUID, int], Claim] = {}

    async def deliver(self, id: UUID, rev: int) -> Outcome:
        """Send this revision if it is due and still wanted. Raises nothing."""
        self._checkpoint("redis_claimed")
        try:
            claim = await self._ledger.claim(id, rev, self._worker)
            if claim is None:
                return await self._explain(id, rev)
            return await self._attempt(claim)
        except StorageUnavailable:
            # Should the claim have been written all the same, it lapses by itself.
            return Outcome(wait=_TROUBLE_WAIT)
        except Exception:
            # A fault of ours, or of the schema.
            log.exception("delivery failed", id=str(id))
            return Outcome(wait=_TROUBLE_WAIT, counted=True)

    async def keep_alive(self) -> None:
        """Prolong the leases of all attempts under way, four times per lease, until cancelled."""
        while True:
            await asyncio.sleep(self._policy.lease.total_seconds() / 4)
            if self._under_way:
                with contextlib.suppress(StorageUnavailable):
                    await self._ledger.beat(self._under_way.values())

    # A claim that was not given

    async def _explain(self, id: UUID, rev: int) -> Outcome:
        """Why this reminder cannot be claimed now, and so what the job should do."""
        looked = await self._ledger.look(id)
        if looked is None:
            return Outcome(result={"skipped": "unknown"})
        reminder, clock = looked
        if reminder.rev != rev:
            return Outcome(result={"skipped": "superseded"})
        if reminder.status in WAITING:
            return Outcome(wait=max(reminder.next_at - clock, timedelta(milliseconds=1)))
        if reminder.status != Status.SENDING:
            return Outcome(result={"skipped": str(reminder.status)})
        if reminder.carried_by is not None:
            # Its alarm is set anew if it does not leave in the other's mail.
            return Outcome(result={"skipped": "carried"})
        if reminder.lease_until is None or reminder.lease_until >= clock:
            return Outcome(wait=(reminder.lease_until or clock) - clock + timedelta(milliseconds=1))
        if reminder.marked_at is None:
            return await self._quarantine(reminder)
        return await self._after_the_mark(reminder, clock)

    async def _quarantine(self, reminder: Reminder) -> Outcome:
        if reminder.crashes + 1 < CRASHES_ALLOWED:
            # It could be claimed after all: it changed between the two looks.
            return Outcome(wait=timedelta(milliseconds=1))
        await self._ledger.settle(reminder, Status.FAILED, "It could not be processed.")
        return Outcome(failed="quarantined after several lost workers")

    async def _after_the_mark(self, reminder: Reminder, clock: datetime) -> Outcome:
        """The worker that sent it is gone without a word: ask the witness, wait for a late word, then send it again."""
        code = await self._witness.recall(reminder.id, reminder.rev)
        if code is not None:
            reply = f"{code} (remembered; the worker was lost before it could write this down)"
            await self._ledger.settle(reminder, Status.SENT, None, reply)
            return Outcome(result={"skipped": "sent"})
        patience = (reminder.lease_until or clock) + self._policy.ambiguous_wait - clock
        if patience > timedelta(0):
            return Outcome(wait=patience + timedelta(milliseconds=1))
        if (
            self._policy.on_ambiguous == "hold"
            or reminder.ambiguous >= RESENDS_ALLOWED
            or reminder.crashes + 1 >= CRASHES_ALLOWED
        ):
            why = "The worker was lost before the mail server's answer was written down; the mail may have arrived."
            await self._ledger.settle(reminder, Status.UNCERTAIN, why)
            return Outcome(failed="uncertain")
        claim = await self._ledger.claim(reminder.id, reminder.rev, self._worker, resend=True)
        if claim is None:
            return Outcome(wait=timedelta(milliseconds=1))
        return await self._attempt(claim)

    # One attempt

    async def _attempt(self, claim: Claim) -> Outcome:
        self._under_way[claim.id, claim.fence] = claim
        try:
            self._checkpoint("sql_claimed")
            if (ended := await self._end_if_too_late(claim)) is not None:
                return ended
            gathered = await self._ledger.gather(claim, self._policy.catch_up_after, self._policy.missed_after)
            if gathered is None:
                return Outcome(wait=timedelta(milliseconds=1), result={"skipped": "changed"})
            claim = gathered
            return await self._send(claim)
        except Undelivered as failure:
            return await self._undelivered(claim, failure)
        except LetterBroken as error:
            broken = str(error)
            return await _insist(lambda: self._broken(claim, broken))
        except StorageUnavailable:
            # No body has left. This worker lives, so its claim is not to be counted as a lost one when it lapses.
            await _insist(lambda: self._ledger.give_back(claim))
            return Outcome(wait=_TROUBLE_WAIT)
        except asyncio.CancelledError:
            # What is marked is not given back: its body may have left.
            with contextlib.suppress(StorageUnavailable):
                await self._ledger.give_back(claim)
            raise
        finally:
            del self._under_way[claim.id, claim.fence]

    async def _end_if_too_late(self, claim: Claim) -> Outcome | None:
        if _is_useless(claim, claim.claimed_at):
            await self._ledger.end(claim, Status.MISSED, USELESS)
            return Outcome(failed="missed")
        late = claim.claimed_at - claim.due_at
        # What was tried in time and put off by the recipient's server, or may have left, was not found late.
        if self._policy.missed_after is not None and late > self._policy.missed_after and claim.attempt == 1:
            why = f"It was found {times.distance_in_words(late)} late, and this service does not send that late."
            await self._ledger.end(claim, Status.MISSED, why)
            return Outcome(failed="missed")
        return None

    async def _send(self, claim: Claim) -> Outcome:
        letter = self._letters.make(_contents(claim), kept=claim.letter)
        async with self._mailer.transaction(letter) as envelope:
            self._checkpoint("rcpt_ok")
            await envelope.data()
            listed = self._policy.listed(claim.recipient)
            if not await self._ledger.mark(claim, letter.data, listed=listed):
                return await self._unmarked(claim, listed=listed)
            self._checkpoint("marked")
            return await _to_the_end(self._beyond(claim, letter, envelope), self._policy.last_words)

    async def _unmarked(self, claim: Claim, *, listed: bool) -> Outcome:
        """The mark was refused: somebody has changed the reminder, or its recipient wants no mail."""
        seen = await self._ledger.look(claim.id)
        if seen is not None and _is_useless(seen[0], seen[1]) and await self._ledger.end(claim, Status.MISSED, USELESS):
            return Outcome(failed="missed")
        if await self._ledger.is_welcome(claim, listed=listed):
            if claim.carried:
                # It may be one of those that has changed, and not this one.
                await self._ledger.give_back(claim)
            return Outcome(wait=timedelta(milliseconds=1), result={"skipped": "changed"})
        why = "The recipient has not agreed to this, or has stopped all mail from here."
        await self._ledger.end(claim, Status.FAILED, why, shared=True)
        return Outcome(failed="not welcome")

    async def _beyond(self, claim: Claim, letter: Letter, envelope: Envelope) -> Outcome:
        """Past the mark: what happens here is written down, whatever else happens."""
        try:
            reply = await envelope.body(letter)
        except Undelivered as failure:
            return await self._undelivered(claim, failure)
        accepted = time.monotonic()
        self._checkpoint("accepted")
        await self._witness.testify(claim, reply)
        self._checkpoint("witnessed")

        def record() -> Awaitable[int | None]:
            return self._ledger.sent(claim, reply, timedelta(seconds=time.monotonic() - accepted))

        lateness = await _insist(record)
        self._checkpoint("recorded")
        # The line that answers «where is my mail?» at the provider; neither address nor text.
        log.info(
            "sent",
            id=str(claim.id),
            fence=claim.fence,
            message_id=letter.message_id,
            code=reply[:3],
            lateness_ms=lateness,
            **({"carried": len(claim.carried)} if claim.carried else {}),
        )
        return Outcome(result={"lateness_ms": lateness, "code": reply[:3], "attempt": claim.attempt})

    # An attempt that failed

    async def _undelivered(self, claim: Claim, failure: Undelivered) -> Outcome:
        log.warning(
            "not delivered", id=str(claim.id), fence=claim.fence, verdict=str(failure.verdict), at=failure.summary
        )
        return await _insist(lambda: self._write_down(claim, failure))

    async def _write_down(self, claim: Claim, failure: Undelivered) -> Outcome:
        match failure.verdict:
            case Verdict.PERMANENT:
                return await self._refused_for_good(claim, failure)
            case Verdict.TEMPORARY:
                return await self._try_later(claim, failure)
            case Verdict.UNKNOWN:
                return await self._in_doubt(claim, failure)
            case Verdict.CONFIGURATION | Verdict.UNREACHABLE:
                self._outage.begin(failure.verdict, failure.summary)
                why = (
                    "The mail server cannot be reached"
                    if failure.verdict is Verdict.UNREACHABLE
                    else "Our mail account is refused"
                )
                wait = self._policy.outage_wait
                await self._ledger.put_off(claim, wait, f"{why}: {failure.reply}", event="outage", counted=False)
                return Outcome(wait=wait)

    async def _refused_for_good(self, claim: Claim, failure: Undelivered) -> Outcome:
        of_the_address = failure.phase is Phase.RCPT
        if claim.carried and claim.letter is None and not of_the_address:
            return await self._part(claim, f"Refused in one mail with others: {failure.reply}")
        await self._ledger.end(claim, Status.FAILED, _refused(failure), failure.reply, shared=of_the_address)
        return Outcome(failed=failure.summary)

    async def _broken(self, claim: Claim, why: str) -> Outcome:
        if claim.carried and claim.letter is None:
            return await self._part(claim, "It could not be written in one mail with others.")
        await self._ledger.end(claim, Status.FAILED, "The mail could not be written.")
        return Outcome(failed=why)

    async def _part(self, claim: Claim, why: str) -> Outcome:
        """Each goes alone from now on: what is wrong with one of them must not keep the others."""
        wait = timedelta(milliseconds=1)
        await self._ledger.put_off(claim, wait, why, event="parted", counted=True, alone=True)
        return Outcome(wait=wait, counted=True)

    async def _try_later(self, claim: Claim, failure: Undelivered) -> Outcome:
        seconds = _WAITS[min(claim.attempt, len(_WAITS)) - 1] * self._policy.time_scale
        wait = timedelta(seconds=seconds * random.uniform(0.8, 1.2))
        until = max(claim.due_at, claim.first_tried_at) + self._policy.give_up_after
        if _is_useless(claim, claim.claimed_at + wait):
            await self._ledger.end(claim, Status.MISSED, f"{USELESS} {_refused(failure)}", failure.reply)
            return Outcome(failed="missed")
        if claim.claimed_at + wait > until:
            await self._ledger.end(
                claim,
                Status.FAILED,
                f"Given up: the recipient's server kept asking for later. {_refused(failure)}",
                failure.reply,
            )
            return Outcome(failed=failure.summary)
        reason = f"The recipient's server asked us to try later: {failure.reply}"
        await self._ledger.put_off(claim, wait, reason, event="put off", counted=True)
        return Outcome(wait=wait, counted=True)

    async def _in_doubt(self, claim: Claim, failure: Undelivered) -> Outcome:
        """The body left and no answer came: the mail may have arrived."""
        why = f"The mail server did not say whether it took the mail: {failure.reply}"
        if self._policy.on_ambiguous == "hold" or claim.ambiguous >= RESENDS_ALLOWED:
            await self._ledger.end(claim, Status.UNCERTAIN, why, failure.reply, shared=True)
            return Outcome(failed="uncertain")
        wait = self._policy.ambiguous_wait
        await self._ledger.put_off(claim, wait, why, event="in doubt", counted=True, ambiguous=True)
        return Outcome(wait=wait, counted=True)


def _is_useless(claim: Claim | Reminder, at: datetime) -> bool:
    """Whether it is of no use any more then; what may have left already is finished all the same."""
    return claim.deadline_at is not None and at > claim.deadline_at and not claim.ambiguous


def _contents(claim: Claim) -> Contents:
    return Contents(
        id=claim.id,
        rev=claim.rev,
        recipient=claim.recipient,
        subject=claim.subject,
        message=claim.message,
        due_at=claim.due_at,
        time_zone=claim.time_zone,
        created_at=claim.created_at,
        leaves_at=claim.claimed_at,
        kind=Kind(claim.kind),
        about=claim.about,
        by=claim.by,
        others=[
            Item(id=each.id, message=each.message, due_at=each.due_at, time_zone=each.time_zone)
            for each in claim.carried
        ],
    )


def _refused(failure: Undelivered) -> str:
    who = "The recipient's address" if failure.phase is Phase.RCPT else "The mail"
    return f"{who} was refused: {failure.reply}"


async def _insist(write: Callable[[], Awaitable[T]]) -> T:
    """Write down what has happened, until the database answers: nobody else knows it."""
    pause = 0.05
    while True:
        try:
            return await write()
        except StorageUnavailable:
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 2, 2.0)


async def _to_the_end(work: Awaitable[T], last_words: timedelta) -> T:
    """Past the point of no return, stopping waits: the work goes on when this is cancelled, for `last_words` at most."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        try:
            await asyncio.wait([task], timeout=last_words.total_seconds())
        finally:
            task.cancel()
        if task.done() and not task.cancelled() and task.exception() is None:
            return task.result()
        raise
