"""Jobs in every standing, and everything that stands under a prefix: what the queue's tests are staged with."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

from hypothesis import settings
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from rmindr.queue import Context, Job, Lease, Queue
from rmindr.queue.keys import zid
from tests.conftest import Clock

LEASE: Final = timedelta(seconds=60)
# Longer than anything takes on a busy machine: waiting this long in vain is a failure, never a measurement.
PATIENCE_S: Final = 20.0

# Properties hold for the same examples every time, however slow the machine.
PROPERTY: Final = settings(deadline=None, derandomize=True, database=None)

# Where a job can stand when a verb arrives. «taken» is active in somebody else's hands, «kues» in those of a Kue worker.
STANDINGS: Final = ("absent", "delayed", "inactive", "taken", "kues", "complete", "failed")

_SNAPSHOT: Final = """
    local readers = {
      string = function(key) return redis.call('GET', key) end,
      hash = function(key) return redis.call('HGETALL', key) end,
      list = function(key) return redis.call('LRANGE', key, 0, -1) end,
      set = function(key) return redis.call('SMEMBERS', key) end,
      zset = function(key) return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end,
    }
    local found = {}
    for _, key in ipairs(redis.call('KEYS', ARGV[1] .. ':*')) do
      local kind = redis.call('TYPE', key).ok
      found[#found + 1] = { string.sub(key, #ARGV[1] + 2), kind, readers[kind](key) }
    end
    return found
"""


_ASIDE: Final = re.compile(r"history:|workers$|worker:")


async def keyspace(queue: Queue) -> dict[str, Any]:
    """Everything under the prefix, which is left off: {"ids": "1", "jobs": {"01|1": "0"}, "job:1": {…}, …}; without what is
    counted by minute and day, and what workers say of themselves."""
    answer: Any = await queue.redis.eval(_SNAPSHOT, 0, queue.keys.prefix)
    found: dict[str, Any] = {}
    for name, kind, content in answer:
        if _ASIDE.match(name):
            continue
        if kind in ("hash", "zset"):
            found[name] = dict(zip(content[::2], content[1::2], strict=True))
        else:
            found[name] = set(content) if kind == "set" else content
    return found


async def a_lease(queue: Queue, *, type: str = "email", token: str = "token", lease: timedelta = LEASE) -> Lease:
    """The most urgent waiting job, in our hands."""
    claimed = await queue.lifecycle.claim({type: 1}, token=token, lease=lease, worker="kue:here:1")
    [taken] = claimed.leases
    return taken


async def taken_by_kue(queue: Queue, job: Job, now_ms: int) -> None:
    """Move a waiting job as a Kue worker does when it takes one: to active, with no lease."""
    keys, member, score = queue.keys, zid(job.id), job.priority
    async with queue.redis.pipeline(transaction=True) as pipe:
        pipe.rpop(keys.tokens(job.type))
        pipe.zrem(keys.in_state("inactive"), member)
        pipe.zrem(keys.of_type(job.type, "inactive"), member)
        pipe.hset(
            keys.job(job.id),
            mapping={
                "state": "active", "started_at": now_ms, "updated_at": now_ms, "workerId": "kue:there:2:email:1"
            },
        )  # fmt: skip
        pipe.zadd(keys.of_type(job.type, "active"), {member: score})
        ttl_ends = now_ms + job.ttl // timedelta(milliseconds=1) if job.ttl else -abs(score)
        pipe.zadd(keys.in_state("active"), {member: ttl_ends})
        await pipe.execute()


async def standing(queue: Queue, clock: Clock, place: str, **asked: Any) -> Lease:
    """A new job brought to one of STANDINGS, with the lease that it had on the way, or a forged one where it had none."""
    if place == "delayed":
        asked["delay"] = timedelta(hours=1)
    job = await queue.create("email", {"n": 1}, **asked)
    if place in ("delayed", "inactive"):
        return Lease(job, "forged")
    if place == "kues":
        await taken_by_kue(queue, job, clock.ms)
        return Lease(job, "forged")
    lease = await a_lease(queue, token="first")
    if place == "complete":
        await queue.lifecycle.complete(lease, {"ok": True})
    elif place == "failed":
        await queue.lifecycle.fail(lease, "no", wait_ms=None)
    elif place == "taken":
        await queue.lifecycle.release(lease)
        await a_lease(queue, token="second")
    elif place == "absent":
        await queue.lifecycle.complete(lease)
        await queue.remove(job.id)
    return lease


class Wire:
    """What is published on the queue's channel, word for word, heard by a connection that knows nothing of us."""

    def __init__(self, pubsub: PubSub) -> None:
        self._pubsub = pubsub

    @classmethod
    @contextlib.asynccontextmanager
    async def tap(cls, queue: Queue, url: str) -> AsyncIterator[Wire]:
        # Protocol 2: of 3, redis-py misreads the answer to a PING on a subscribed connection.
        async with Redis.from_url(url, decode_responses=True, protocol=2) as redis, redis.pubsub() as pubsub:
            await pubsub.subscribe(queue.keys.events)
            wire = cls(pubsub)
            await wire.take()
            yield wire

    async def take(self) -> list[str]:
        """All messages since the last look. Redis answers a PING after what it published before."""
        await self._pubsub.ping()
        heard: list[str] = []
        while True:
            message: Any = await self._pubsub.get_message(timeout=PATIENCE_S)
            assert message is not None, "Redis does not answer"
            if message["type"] == "pong":
                return heard
            if message["type"] == "message":
                heard.append(message["data"])


def event(job_id: int, name: str, *args: Any) -> str:
    """A message as Kue writes it: {"id":7,"event":"start","args":["start","email",null]}."""
    message = {"id": job_id, "event": name, "args": [name, *args]}
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False)


async def to_the_end(run: Awaitable[Any]) -> None:
    """Await what ends by itself, unless something is wrong."""
    async with asyncio.timeout(PATIENCE_S):
        await run


async def until(condition: Callable[[], Any], *, timeout: float = PATIENCE_S) -> Any:
    """What the condition answers once that is something; for conditions that no event announces."""
    async with asyncio.timeout(timeout):
        while not (answer := condition()):
            await asyncio.sleep(0.002)
        return answer


async def eventually(look: Callable[[], Awaitable[Any]], *, timeout: float = PATIENCE_S) -> Any:
    """As `until`, for a condition that must be asked for in Redis."""
    async with asyncio.timeout(timeout):
        while not (answer := await look()):
            await asyncio.sleep(0.005)
        return answer


@contextlib.asynccontextmanager
async def working(queue: Queue) -> AsyncIterator[None]:
    """A worker of this queue, which has said that it is there."""

    async def nothing(context: Context) -> None:
        pass

    queue.process("email", nothing)
    task = asyncio.create_task(queue.run())
    while not any(each.alive for each in await queue.steering.workers()):
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        queue.shutdown()
        await task
