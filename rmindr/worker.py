"""The worker process: which job types exist here, who works them, the feeder, and the event log."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from rmindr import __version__
from rmindr.catch_up import CatchUp
from rmindr.database import Database
from rmindr.delivery import Delivery, Policy, Witness
from rmindr.facts import Facts
from rmindr.feeder import Feeder, Pace
from rmindr.mail.letters import Letters
from rmindr.mail.links import MailLinks
from rmindr.mail.smtp import Patience, Transport
from rmindr.outage import MailOutage
from rmindr.queue import Abandon, Context, Job, Queue, Retry
from rmindr.queue.events import EVENTS
from rmindr.replanning import replan_at_start
from rmindr.series import Repeating, Sequel
from rmindr.settings import Settings, smtp_server
from rmindr.signing import Signer
from rmindr.tidying import Tidying
from rmindr.webhooks.calling import WEBHOOK, Calls
from rmindr.webhooks.places import Reach
from rmindr.webhooks.post import Caller

log = structlog.get_logger(__name__)

EMAIL: Final = "email"
# A dyno is killed 30 s after SIGTERM. What is in hand may end by itself for this long; then what is not marked is given
# back, what is gets its last words (Policy.last_words, 20 s), and the goodbyes have the rest.
GRACE: Final = timedelta(seconds=5)
# Few: a program that hangs holds one for five seconds, and mails have slots of their own.
_CALLS_AT_ONCE: Final = 5
_LARGEST_REV: Final = 2**31 - 1


async def run(settings: Settings, *, checkpoint: Callable[[str], None] = lambda _: None) -> None:
    """Work until SIGTERM or SIGINT, then stop kindly. Raises SettingsError where no mail server is set."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await work(settings, stopping, checkpoint=checkpoint)


async def work(
    settings: Settings, stopping: asyncio.Event, *, checkpoint: Callable[[str], None] = lambda _: None
) -> None:
    """Work until `stopping` is set. `checkpoint` is called with the name of each step of a delivery: tests end the
    process there."""
    server = smtp_server(settings)
    name, address = settings.sender
    scaled = settings.scaled
    async with (
        Database.open(settings.database_url.get_secret_value()) as database,
        Queue.open(
            settings.redis_url.get_secret_value(),
            prefix=settings.queue_prefix,
            name="rmindr-worker",
            version=__version__,
            patience=timedelta(seconds=3),
        ) as queue,
    ):
        domain = address.rpartition("@")[2]
        transport = Transport(server, hello=domain, connections=settings.smtp_connections, patience=_patience(settings))
        facts = Facts(database)
        outage = MailOutage(transport.probe, facts, scaled(30))
        policy = _policy(settings)
        sequel = Sequel(webhooks=settings.webhooks == "on")
        ledger = CatchUp(database, policy.lease, sequel)
        delivery = Delivery(
            ledger,
            transport,
            Letters(
                name=name,
                address=address,
                bounces_to=settings.bounce_address or address,
                links=_links(settings),
            ),
            Witness(queue.redis, queue.keys.prefix),
            policy,
            outage,
            checkpoint=checkpoint,
        )
        repeating = Repeating(database, sequel)
        besides = [repeating.sweep, repeating.miss, ledger.repair]
        feeder = Feeder(database, queue, delivery.deliver, lambda: outage.on, _pace(settings), besides)
        tidying = Tidying(database, scaled(3600))
        queue.process(EMAIL, _handler(delivery), concurrency=settings.smtp_connections)
        calling = _calling(settings, database, queue)
        EventLog().listen_to(queue)
        outage.on_pause = lambda: queue.worker.pause(EMAIL) if queue.worker else None
        outage.on_resume = lambda: queue.worker.resume(EMAIL) if queue.worker else None

        async def stop() -> None:
            await stopping.wait()
            queue.shutdown()

        async with asyncio.TaskGroup() as group:
            aides = [
                group.create_task(aide())
                for aide in (transport.tend, delivery.keep_alive, outage.watch, feeder.run, tidying.run, stop)
            ]
            aides.append(group.create_task(replan_at_start(database)))
            if calling is not None:
                aides.append(group.create_task(calling.run(scaled(5))))
            aides.append(group.create_task(_warn_of_a_loop_that_stands_still(policy.lease / 4)))
            aides.append(group.create_task(_warn_of_a_redis_that_forgets(queue, scaled(30))))
            log.info("worker started")
            try:
                await queue.run(grace=GRACE, lease=scaled(60), tick=scaled(30))
            finally:
                for aide in aides:
                    aide.cancel()
        log.info("worker stopped")


async def _warn_of_a_loop_that_stands_still(beat: timedelta) -> None:
    """Say when this process could do nothing for a while: where that lasts, leases lapse, and its mails go to others."""
    while True:
        began = time.monotonic()
        await asyncio.sleep(beat.total_seconds())
        if (stood := time.monotonic() - began - beat.total_seconds()) > beat.total_seconds():
            log.warning(
                "stood still", seconds=round(stood, 1), wanted="no code that blocks, and a machine with time for it"
            )


async def _warn_of_a_redis_that_forgets(queue: Queue, again: timedelta) -> None:
    """Say once that jobs may vanish when Redis is full: they are found again, but late."""
    while True:
        try:
            policy = (await queue.redis.info("memory")).get("maxmemory_policy", "noeviction")
        except (RedisConnectionError, RedisTimeoutError, OSError):
            await asyncio.sleep(again.total_seconds())
            continue
        except RedisError:
            # It is not told to everybody.
            return
        if policy != "noeviction":
            log.warning("redis throws jobs away when it is full", policy=policy, wanted="noeviction")
        return


def _handler(delivery: Delivery) -> Callable[[Job, Context], Any]:
    async def send_email(job: Job, _: Context) -> dict[str, Any]:
        """One job of a reminder's revision → one delivery, in the queue's words."""
        id, rev = _revision(job.data)
        outcome = await delivery.deliver(id, rev)
        if outcome.wait is not None:
            raise Retry("not yet", after=outcome.wait, counted=outcome.counted)
        if outcome.failed is not None:
            raise Abandon(outcome.failed)
        return outcome.result

    return send_email


def _calling(settings: Settings, database: Database, queue: Queue) -> Calls | None:
    """Who makes the calls, where there are any; each is a job of the queue that holds up no mail."""
    if settings.webhooks == "off":
        return None
    caller = Caller(Reach.of(settings.webhook_hosts))
    calls = Calls(database, queue, caller, scale=settings.timing_scale)

    async def call(job: Job, _: Context) -> dict[str, Any]:
        return await calls.make(_id(job.data))

    queue.process(WEBHOOK, call, concurrency=_CALLS_AT_ONCE)
    return calls


def _id(data: Any) -> UUID:
    """Which call a job is for. Raises Abandon where it is for none."""
    try:
        return UUID(data["id"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Abandon("this is no job of a call") from None


def _revision(data: Any) -> tuple[UUID, int]:
    """Which revision of which reminder a job is for. Raises Abandon where it is for none: anybody may write to Redis."""
    id, rev = (data.get("id"), data.get("rev")) if isinstance(data, dict) else (None, None)
    if not isinstance(id, str) or type(rev) is not int or not 0 < rev <= _LARGEST_REV:
        raise Abandon("this is no reminder's job")
    try:
        return UUID(id), rev
    except ValueError:
        raise Abandon("this is no reminder's job") from None


def _policy(settings: Settings) -> Policy:
    missed = settings.missed_after_hours
    return Policy(
        listed=settings.recipients.allow,
        lease=settings.scaled(60),
        give_up_after=timedelta(hours=settings.give_up_hours),
        missed_after=timedelta(hours=missed) if missed is not None else None,
        ambiguous_wait=settings.scaled(settings.ambiguous_wait_seconds),
        on_ambiguous=settings.on_ambiguous,
        outage_wait=settings.scaled(30),
        catch_up_after=settings.scaled(600),
        time_scale=settings.timing_scale,
    )


def _links(settings: Settings) -> MailLinks | None:
    """What mails link to; without a key that the web tier has, too, or a name for it, they carry no links."""
    if settings.public_url is None or not settings.secret_keys:
        return None
    return MailLinks(settings.public_url, Signer(settings.secret_keys))


def _pace(settings: Settings) -> Pace:
    return Pace(
        window=timedelta(hours=settings.feed_window_hours),
        sweep=settings.scaled(5),
        audit=settings.scaled(30),
        overdue=settings.scaled(5),
        ambiguous_wait=settings.scaled(settings.ambiguous_wait_seconds),
        direct_at_once=settings.smtp_connections,
    )


def _patience(settings: Settings) -> Patience:
    return Patience(command=settings.scaled(30), before_body=settings.scaled(90), after_dot=settings.scaled(600))


class EventLog:
    """Logs every queue-level event in one line: id, type, how long it ran, how late it was; never an address or a text.

    So nothing is repeated of what jobs of other types, which are other people's, have to say."""

    _remembered: Final = 10_000

    def __init__(self) -> None:
        self._types: OrderedDict[int, str] = OrderedDict()
        self._started: dict[int, float] = {}

    def listen_to(self, queue: Queue) -> None:
        """Hear all events of this queue."""
        for event in EVENTS:
            queue.on(f"job {event}", self._writer(event))

    def _writer(self, event: str) -> Callable[..., None]:
        def write(job_id: int, *args: Any) -> None:
            self._note(event, job_id, args)
            facts = {"type": self._types.get(job_id), **self._facts(event, job_id, args)}
            log.info(f"job {event}", id=job_id, **{name: value for name, value in facts.items() if value is not None})
            if event in ("remove", "failed", "complete"):
                self._started.pop(job_id, None)
            if event == "remove":
                self._types.pop(job_id, None)

        return write

    def _note(self, event: str, job_id: int, args: tuple[Any, ...]) -> None:
        if event in ("enqueue", "start", "remove") and args:
            self._types[job_id] = str(args[0])
        if event == "start":
            self._started[job_id] = time.monotonic()
        while len(self._types) > self._remembered:
            forgotten, _ = self._types.popitem(last=False)
            self._started.pop(forgotten, None)

    def _facts(self, event: str, job_id: int, args: tuple[Any, ...]) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        if event in ("complete", "failed", "failed attempt") and job_id in self._started:
            facts["duration_ms"] = round((time.monotonic() - self._started[job_id]) * 1000, 1)
        if self._types.get(job_id) != EMAIL:
            return facts
        if event == "complete" and args and isinstance(args[0], dict):
            facts |= {name: args[0].get(name) for name in ("lateness_ms", "code", "attempt", "skipped")}
        if event in ("failed", "failed attempt") and args:
            facts["why"] = args[0]
        return facts
