"""When the server itself is another one: Sentinels that name a new primary, a cluster whose slot moves."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError

from rmindr.queue import Context, Job, NewJob, Queue, QueueUnavailable, State
from rmindr.queue.audit import audit
from tests.queue.crew import all_ended, ended, nothing, working
from tests.queue.scenery import PATIENCE_S, eventually, to_the_end, until
from tests.redises import Node, Sentinel, ThreeNodes, wait_until
from tests.servers import Valkey, free_port

IMPATIENT: Final = timedelta(milliseconds=300)
PATIENCE: Final = timedelta(seconds=PATIENCE_S)
SECRET: Final = "s3cret"
LEASE: Final = timedelta(seconds=2)


@contextmanager
def a_watched_pair(*options: str, sentinels: int = 3) -> Iterator[tuple[Valkey, Valkey, list[Sentinel]]]:
    """A primary and its replica, and Sentinels that have found each other; `options` are the Sentinels' own."""
    with ExitStack() as stack:

        def up(server: Any) -> Any:
            stack.callback(server.remove)
            server.start()
            return server

        primary = up(Valkey("--repl-diskless-sync-delay", "0"))
        replica = up(Valkey("--repl-diskless-sync-delay", "0", "--replicaof", "127.0.0.1", str(primary.port)))
        quorum = sentinels // 2 + 1
        watching = [up(Sentinel(primary, *options, quorum=quorum)) for _ in range(sentinels)]
        if not options:
            wait_until(lambda: all(sentinel.knows() == (1, sentinels - 1) for sentinel in watching))
        yield primary, replica, watching


@contextmanager
def three_nodes(*, replicas: int = 0) -> Iterator[tuple[ThreeNodes, list[Node]]]:
    """A cluster of three primaries, and replicas of the first of them."""
    with ExitStack() as stack:
        cluster = ThreeNodes()
        stack.callback(cluster.remove)
        cluster.start()
        nodes = []
        for _ in range(replicas):
            node = Node()
            stack.callback(node.remove)
            node.start()
            node.join(cluster)
            node.replicate(cluster)
            nodes.append(node)
        yield cluster, nodes


def url_of(sentinels: list[Sentinel], kind: str = "redis+sentinel") -> str:
    return f"{kind}://{','.join(f'127.0.0.1:{sentinel.port}' for sentinel in sentinels)}/main"


def prefix_in(slots: range) -> str:
    """A prefix whose slot is one of these."""
    return next(f"{{q{number}}}" for number in range(100_000) if key_slot(f"q{number}".encode()) in slots)


@dataclass
class Load:
    """Jobs that are made and worked without pause; what was promised of them: a job that a replica has too when its maker
    hears of it is `kept`, one of which that is true when it has been seen complete is `over`."""

    queue: Queue
    kept: list[int] = field(default_factory=list)
    over: dict[int, float] = field(default_factory=dict)
    runs: Counter[int] = field(default_factory=Counter)
    worked_at: list[float] = field(default_factory=list)
    # When there is nobody left to fail over to, nothing is lost either.
    replicas: int = 1

    async def work(self, job: Job, context: Context) -> None:
        self.runs[job.id] += 1
        self.worked_at.append(time.monotonic())
        await asyncio.sleep(0.01)

    async def make(self) -> None:
        while True:
            with suppress(QueueUnavailable):
                job = await self.queue.create("email", attempts=9)
                if await self._has_a_replica():
                    self.kept.append(job.id)

    async def look(self) -> None:
        while True:
            await asyncio.sleep(0.02)
            with suppress(QueueUnavailable):
                complete = [job_id for job_id in await self.queue.jobs.ids(State.COMPLETE) if job_id not in self.over]
                if await self._has_a_replica():
                    self.over |= dict.fromkeys(complete, time.monotonic())

    async def _has_a_replica(self) -> bool:
        try:
            return bool(await self.queue.redis.wait(self.replicas, 200) >= self.replicas)
        except (RedisError, OSError):
            return False

    async def resumed(self, since: float) -> float:
        """How long after this instant the first job was worked that was begun after a pause."""
        return await until(lambda: next((at - since for at in self.worked_at if at > since + 0.3), None))


@asynccontextmanager
async def under_load(url: str, prefix: str) -> AsyncIterator[Load]:
    """A worker and producers at work; in the end everything that there is has been worked."""
    async with Queue.open(url, prefix=prefix, name="worker") as queue, Queue.open(url, prefix=prefix) as producer:
        load = Load(producer)
        queue.process("email", load.work, concurrency=10)
        async with working(queue, timeout=5 * PATIENCE_S, lease=LEASE, tick=timedelta(seconds=1)) as run:
            making = [asyncio.create_task(task) for task in (load.make(), load.make(), load.look())]
            await until(lambda: len(load.over) > 20)
            yield load
            seen = len(load.worked_at)
            await until(lambda: len(load.worked_at) > seen + 50)
            for task in making:
                task.cancel()
            await asyncio.wait(making)
            await eventually(lambda: all_ended(queue), timeout=3 * PATIENCE_S)
            assert not run.done()
        assert {*await queue.jobs.states(load.kept)} == {State.COMPLETE}
        assert not await audit(queue.redis, queue.keys.prefix)


# Sentinels


@pytest.mark.faults
async def test_a_primary_killed_under_load_costs_no_promised_job_and_workers_go_on_with_the_next(prefix: str) -> None:
    with a_watched_pair() as (primary, _, sentinels):
        async with under_load(url_of(sentinels), prefix) as load:
            killed_at, load.replicas = time.monotonic(), 0
            primary.kill()
            resumed = await load.resumed(killed_at)

    # What was over, and known to be, before the old primary died, has not been run again.
    over = [job_id for job_id, at in load.over.items() if at < killed_at]
    assert {load.runs[job_id] for job_id in over} == {1}
    assert max(load.runs.values()) <= 2
    print(
        f"{len(load.kept)} jobs promised, worked on after {resumed:.2f} s, {sum(n > 1 for n in load.runs.values())} run twice"
    )


@pytest.mark.faults
async def test_a_planned_failover_under_load_costs_and_doubles_no_promised_job(prefix: str) -> None:
    with a_watched_pair() as (_, replica, sentinels):
        async with under_load(url_of(sentinels), prefix) as load:
            load.replicas = 0
            async with Redis(port=sentinels[0].port, decode_responses=True) as sentinel:
                await sentinel.execute_command("SENTINEL FAILOVER", "main")
            async with Redis(port=replica.port, decode_responses=True) as redis:
                await eventually(lambda: _leads(redis))

    assert {load.runs[job_id] for job_id in load.over} <= {1, 2}
    assert max(load.runs.values()) <= 2


async def _leads(redis: Redis) -> bool:
    role: Any = await redis.role()
    return bool(role[0] == "master")


async def test_any_sentinel_that_answers_will_do(prefix: str) -> None:
    with a_watched_pair(sentinels=1) as (_, _, [sentinel]):
        url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}/main"
        async with Queue.open(url, prefix=prefix, name="ours") as queue:
            queue.process("email", nothing)
            async with working(queue):
                job = await queue.create("email")
                await eventually(lambda: ended(queue, job.id))

        async with Redis(port=sentinel.port, decode_responses=True) as redis:
            names = [client["name"] for client in await redis.client_list()]
    assert "ours" not in names, "a Sentinel is asked, and left"


@pytest.mark.parametrize(("service", "why"), [("main", None), ("other", "no Sentinel knows a primary of 'other'")])
async def test_sentinels_may_want_a_password_of_their_own(service: str, why: str | None, prefix: str) -> None:
    with a_watched_pair(f"requirepass {SECRET}", sentinels=1) as (_, _, [sentinel]):
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/{service}?sentinel_password={SECRET}"
        async with Queue.open(url, prefix=prefix, patience=PATIENCE if why is None else IMPATIENT) as queue:
            if why is None:
                assert (await queue.create("email")).id == 1
            else:
                with pytest.raises(QueueUnavailable, match=why):
                    await queue.create("email")


async def test_a_server_that_is_a_replica_is_not_taken_for_the_primary_whatever_a_sentinel_says(prefix: str) -> None:
    with a_watched_pair(sentinels=1) as (_, replica, _), ExitStack() as stack:
        behind_the_times = Sentinel(replica, quorum=1)
        stack.callback(behind_the_times.remove)
        behind_the_times.start()
        async with Queue.open(url_of([behind_the_times]), prefix=prefix, patience=IMPATIENT) as queue:
            with pytest.raises(QueueUnavailable, match="replica"):
                await queue.jobs.counts()


# Clusters


@pytest.fixture(scope="module")
def cluster() -> Iterator[ThreeNodes]:
    """One for all tests that do not harm it."""
    with three_nodes() as (cluster, _):
        yield cluster


@pytest.mark.parametrize("number", [0, 1, 2])
async def test_a_queue_lives_on_the_node_that_has_its_slot_whichever_was_named(
    cluster: ThreeNodes, number: int
) -> None:
    prefix, home = prefix_in(cluster.slots_of(number)), cluster.nodes[number]
    url = f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{cluster.nodes[0].port}"
    before = [node.ask("DBSIZE") for node in cluster.nodes]
    async with Queue.open(url, prefix=prefix, name="ours", search=("title",)) as queue:
        queue.process("email", nothing)
        queue.on("job complete", lambda *_: None)
        await queue.steering.pause("letter")
        async with working(queue):
            jobs = await queue.create_many(
                [
                    NewJob(type="email", data={"title": "a word"}),
                    NewJob(type="{odd} type", unique="one"),
                    NewJob(type="email", delay=timedelta(hours=1)),
                ]
            )
            await eventually(lambda: ended(queue, jobs[0].id))
            found = await queue.jobs.search("word")
            held = [Counter(client["name"] for client in _clients(node))["ours"] for node in cluster.nodes]
        here = home.ask("CLUSTER COUNTKEYSINSLOT", key_slot(queue.keys.ids.encode()))

    grown = [node.ask("DBSIZE") - size for node, size in zip(cluster.nodes, before, strict=True)]
    assert found == [jobs[0].id]
    assert grown == [here if node is home else 0 for node in cluster.nodes]
    # Events are heard wherever one listens; all else is where the slot is.
    assert held[number] >= 2


async def _held(cluster: ThreeNodes, number: int) -> list[int]:
    held = [Counter(client["name"] for client in _clients(node))["ours"] for node in cluster.nodes]
    return held if sum(held) == number else []


def _clients(node: Node) -> list[dict[str, str]]:
    lines = str(node.ask("CLIENT LIST")).splitlines()
    return [dict(word.partition("=")[::2] for word in line.split()) for line in lines]


async def test_a_node_of_a_cluster_that_is_named_as_if_it_were_alone_says_how_to_name_it(cluster: ThreeNodes) -> None:
    async with Queue.open(cluster.direct, prefix=prefix_in(cluster.slots_of(2)), patience=PATIENCE) as queue:
        with pytest.raises(QueueUnavailable, match=r"redis\+cluster://"):
            await to_the_end(queue.get(1))


@pytest.mark.faults
async def test_a_node_killed_under_load_costs_no_promised_job_and_workers_go_on_with_its_replica() -> None:
    with three_nodes(replicas=1) as (cluster, _):
        async with under_load(cluster.url, prefix_in(cluster.slots_of(0))) as load:
            killed_at, load.replicas = time.monotonic(), 0
            cluster.kill()
            resumed = await load.resumed(killed_at)

    over = [job_id for job_id, at in load.over.items() if at < killed_at]
    assert {load.runs[job_id] for job_id in over} == {1}
    assert max(load.runs.values()) <= 2
    print(
        f"{len(load.kept)} jobs promised, worked on after {resumed:.2f} s, {sum(n > 1 for n in load.runs.values())} run twice"
    )


@pytest.mark.faults
async def test_a_slot_that_moves_under_load_takes_its_queue_along_whole() -> None:
    runs: Counter[int] = Counter()

    async def work(job: Job, context: Context) -> None:
        runs[job.id] += 1
        await asyncio.sleep(0.005)

    async def make() -> None:
        while True:
            jobs.append(await producer.create("email", attempts=9))

    jobs: list[Job] = []
    with three_nodes() as (cluster, _):
        prefix = prefix_in(cluster.slots_of(0))
        async with (
            Queue.open(cluster.url, prefix=prefix, patience=PATIENCE) as queue,
            Queue.open(cluster.url, prefix=prefix, patience=PATIENCE) as producer,
        ):
            queue.process("email", work, concurrency=10)
            async with working(queue, tick=timedelta(seconds=1)) as run:
                making = asyncio.create_task(make())
                await until(lambda: len(runs) > 50)
                for source, target in ((0, 1), (1, 2)):
                    await asyncio.to_thread(_move, cluster, key_slot(queue.keys.ids.encode()), source, target)
                    seen = len(runs)
                    await until(lambda seen=seen: len(runs) > seen + 50)
                making.cancel()
                await asyncio.wait([making])
                await eventually(lambda: ended(queue, *(job.id for job in jobs)))
                assert not run.done()
            states = await queue.jobs.states([job.id for job in jobs])
            wrong = await audit(queue.redis, queue.keys.prefix)

    assert (set(states), wrong) == ({State.COMPLETE}, [])
    assert set(runs.values()) == {1}


def _move(cluster: ThreeNodes, slot: int, source: int, target: int) -> None:
    """As `redis-cli --cluster reshard` does it, a few keys at a time."""
    old, new = cluster.nodes[source], cluster.nodes[target]
    new.ask("CLUSTER SETSLOT", slot, "IMPORTING", old.name)
    old.ask("CLUSTER SETSLOT", slot, "MIGRATING", new.name)
    while keys := old.ask("CLUSTER GETKEYSINSLOT", slot, 20):
        old.ask("MIGRATE", "127.0.0.1", new.port, "", 0, 5000, "KEYS", *keys)
    for node in (new, old, *cluster.nodes):
        node.ask("CLUSTER SETSLOT", slot, "NODE", new.name)
