"""Connections to Redis: by which doors, how few, under what names, and what becomes of them when Redis is not itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Final

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from rmindr.queue import Context, InvalidJob, Job, NewJob, Queue, QueueUnavailable, State, connections, worker
from tests.queue.crew import Hands, all_ended, ended, is_blocked, nothing, the_job, working
from tests.queue.proxy import Proxy
from tests.queue.scenery import PATIENCE_S, eventually, to_the_end, until
from tests.redises import TlsValkey, UnixValkey, a_server, authority_file
from tests.servers import Valkey, free_port
from tests.stack import rounds

SECRET: Final = "s3cret"
IMPATIENT: Final = timedelta(milliseconds=300)
# With so much patience, whatever fails within the test has not been tried again.
ENDLESS: Final = timedelta(seconds=3 * PATIENCE_S)


@asynccontextmanager
async def by_hand(server: Valkey) -> AsyncIterator[Redis]:
    """A connection that knows nothing of ours."""
    async with Redis.from_url(
        server.direct, decode_responses=True, client_name="hand", retry=Retry(NoBackoff(), 0)
    ) as redis:
        yield redis


@contextlib.contextmanager
def running(*servers: Valkey) -> Any:
    """Servers for the time of the block."""
    with contextlib.ExitStack() as stack:
        for server in servers:
            stack.callback(server.remove)
            server.start()
        yield servers


async def held(server: Valkey) -> Counter[str]:
    """How many connections the server has, by name."""
    async with by_hand(server) as redis:
        return Counter(client["name"] for client in await redis.client_list() if client["name"] != "hand")


async def one_job(url: str, **options: Any) -> Job:
    """A job made and worked through this URL."""
    async with Queue.open(url, **options) as queue:
        queue.process("email", nothing)
        job = await queue.create("email")
        async with working(queue):
            await eventually(lambda: ended(queue, job.id))
        return await the_job(queue, job.id)


# How many, and under what names


async def test_a_worker_holds_three_connections_under_its_name_however_many_types_it_has(own_valkey: Valkey) -> None:
    hands = Hands()
    async with Queue.open(own_valkey.url, name="rmindr-worker") as queue:
        for number in range(50):
            queue.process(f"type {number}", hands, concurrency=20)
        queue.on("job complete", lambda *_: None)
        async with working(queue):
            await asyncio.gather(*(queue.create(f"type {n % 50}") for n in range(200)))
            await until(lambda: len(hands.held) == 200)
            await eventually(lambda: is_blocked(queue))
            connections = await held(own_valkey)
            hands.let_go()

    assert connections == {"rmindr-worker": 3}
    await eventually(lambda: _nobody(own_valkey))


async def test_a_producer_that_also_listens_holds_two_connections(own_valkey: Valkey) -> None:
    async with Queue.open(own_valkey.url, name="rmindr-web") as queue:
        await asyncio.gather(*(queue.create("email") for _ in range(50)), *(queue.jobs.counts() for _ in range(50)))
        alone = await held(own_valkey)
        async with queue.listening():
            waiting = [asyncio.create_task(queue.result(number)) for number in range(1, 11)]
            await asyncio.gather(*(queue.jobs.counts() for _ in range(50)))
            listening = await held(own_valkey)
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)

    assert (alone, listening) == ({"rmindr-web": 1}, {"rmindr-web": 2})


async def _nobody(server: Valkey) -> bool:
    return not await held(server)


@pytest.mark.parametrize("name", ["", "two words", "a\nb", "ä", "a\x7fb"])
async def test_a_name_that_the_server_would_refuse_is_refused_at_the_door(name: str) -> None:
    with pytest.raises(InvalidJob, match="name"):
        async with Queue.open("redis://localhost", name=name):
            raise AssertionError("unreachable")


# Doors


async def test_a_unix_socket_leads_to_a_server_and_says_who_we_are() -> None:
    with running(UnixValkey()) as (server,):
        async with by_hand(server) as redis:
            await redis.acl_setuser(
                "ann", enabled=True, passwords=[f"+{SECRET}"], keys=["*"], categories=["+@all"], channels=["*"]
            )
        url = server.url.replace("unix://", f"unix://ann:{SECRET}@") + "?db=2"

        job = await one_job(url, name="here")

        async with by_hand(server) as redis:
            assert (await redis.info("keyspace")).keys() == {"db2"}
    assert job.state is State.COMPLETE


async def test_tls_leads_to_a_server_whose_certificate_a_ca_file_vouches_for() -> None:
    with running(TlsValkey()) as (server,):
        job = await one_job(server.url)

    assert job.state is State.COMPLETE


@pytest.mark.parametrize(
    ("names", "options", "why"),
    [
        (("127.0.0.1",), "", "certificate verify failed"),
        (("localhost",), "?ssl_ca_certs={ca}", "IP address mismatch"),
        (("localhost",), "?ssl_ca_certs={ca}&ssl_check_hostname=true", "IP address mismatch"),
        (("127.0.0.1",), "?ssl_cert_reqs=none", None),
        (("127.0.0.1",), "?ssl_cert_reqs=none&ssl_ca_certs={ca}", None),
        (("localhost",), "?ssl_ca_certs={ca}&ssl_check_hostname=false", None),
    ],
)
async def test_a_certificate_is_believed_only_as_far_as_the_url_says(
    names: tuple[str, ...], options: str, why: str | None
) -> None:
    with running(TlsValkey(names=names)) as (server,):
        async with Queue.open(
            server.url.partition("?")[0] + options.format(ca=authority_file()), patience=ENDLESS
        ) as queue:
            if why is None:
                await to_the_end(queue.create("email"))
            else:
                with pytest.raises(QueueUnavailable, match=why):
                    await to_the_end(queue.create("email"))


async def test_what_asks_for_tls_is_never_spoken_to_in_the_clear(own_valkey: Valkey) -> None:
    async with Queue.open(f"rediss://ann:{SECRET}@127.0.0.1:{own_valkey.port}", patience=ENDLESS) as queue:
        with pytest.raises(QueueUnavailable):
            await to_the_end(queue.create("email"))

    async with by_hand(own_valkey) as redis:
        assert not await redis.acl_log(), "nobody has tried to log in"
        assert not await redis.dbsize()


# Secrets


@pytest.mark.parametrize(
    "place",
    [
        "redis://ann:{secret}@127.0.0.1:{shut}",
        "redis://ann:{secret}@127.0.0.1:{open}",
        "rediss://ann:{secret}@127.0.0.1:{open}",
        "redis://ann:{secret}@nowhere.invalid:{open}",
        "unix://ann:{secret}@/nowhere",
        "redis+sentinel://ann:{secret}@127.0.0.1:{shut},127.0.0.1:{open}/main?sentinel_username=bob&sentinel_password={secret}",
        "redis+cluster://ann:{secret}@127.0.0.1:{shut}",
        "redis+cluster://ann:{secret}@127.0.0.1:{open}",
    ],
)
async def test_a_password_does_not_show_when_its_server_cannot_be_used(
    place: str, own_valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    url = place.format(secret=SECRET, shut=free_port(), open=own_valkey.port)
    with caplog.at_level(logging.DEBUG):
        async with Queue.open(url, patience=IMPATIENT) as queue:
            queue.process("email", nothing)
            queue.on("job complete", lambda *_: None)
            with pytest.raises(QueueUnavailable) as refusal:
                await queue.create("email")
            async with working(queue):
                await until(lambda: {"claim failed", "events interrupted"} <= set(caplog.messages))
            shown = [repr(queue), repr(queue.redis), repr(queue.redis.connection_pool), str(vars(queue.lifecycle))]

    told = "".join(traceback.format_exception(refusal.value))
    logged = " ".join(str(vars(record)) for record in caplog.records)
    assert SECRET not in f"{refusal.value!r}{told}{shown}{logged}"


async def test_a_wrong_password_is_unavailable_at_once_and_says_why(own_valkey: Valkey) -> None:
    async with Queue.open(f"redis://ann:{SECRET}@127.0.0.1:{own_valkey.port}", patience=ENDLESS) as queue:
        with pytest.raises(QueueUnavailable, match="invalid username-password pair"):
            await to_the_end(queue.create("email"))


# What passes, and what does not


@asynccontextmanager
async def busy(server: Valkey) -> AsyncIterator[None]:
    """A script of somebody else's that does not end."""
    async with by_hand(server) as one, by_hand(server) as other:
        await other.ping()
        endless = asyncio.create_task(one.eval("while true do end", 0))
        await eventually(lambda: _answers_with(other, "BUSY"))
        yield
        await other.script_kill()
        await asyncio.wait([endless])
        endless.exception()


@asynccontextmanager
async def read_only(server: Valkey) -> AsyncIterator[None]:
    """Made the replica of another, as a primary is that has been replaced."""
    with running(Valkey()) as (other,):
        async with by_hand(server) as redis:
            await redis.replicaof("127.0.0.1", other.port)
            yield
            await redis.replicaof("NO", "ONE")


@asynccontextmanager
async def without_replicas(server: Valkey) -> AsyncIterator[None]:
    """A primary that is to have a replica, and has none."""
    async with by_hand(server) as redis:
        await redis.config_set("min-replicas-to-write", 1)
        yield
        await redis.config_set("min-replicas-to-write", 0)


@asynccontextmanager
async def crowded(server: Valkey) -> AsyncIterator[None]:
    """As many clients as it takes; the connections that there were are gone."""
    async with by_hand(server) as redis:
        # Its own connection counts, and one that it forgets in between.
        await redis.config_set("maxclients", 1)
        await redis.client_kill_filter(_type="normal", skipme=True)
        await redis.client_kill_filter(_type="pubsub", skipme=True)
        yield
        await redis.config_set("maxclients", 1000)


@asynccontextmanager
async def full(server: Valkey) -> AsyncIterator[None]:
    """No memory left, and nothing may be thrown away."""
    async with by_hand(server) as redis:
        await redis.config_set("maxmemory", 1)
        yield
        await redis.config_set("maxmemory", 0)


@asynccontextmanager
async def unable_to_save(server: Valkey) -> AsyncIterator[None]:
    """Its disk does not take the dataset, so it takes no writes."""
    dump = server.folder / "dump.rdb"
    dump.mkdir()
    async with by_hand(server) as redis:
        await redis.config_set("save", "3600 1")
        await redis.bgsave()
        await eventually(lambda: _last_save(redis, "err"))
        yield
        dump.rmdir()
        await redis.bgsave()
        await eventually(lambda: _last_save(redis, "ok"))


@asynccontextmanager
async def locked(server: Valkey) -> AsyncIterator[None]:
    """A password that nobody knows, and all connections made anew."""
    async with by_hand(server) as redis:
        await redis.config_set("requirepass", SECRET)
        await redis.client_kill_filter(_type="normal", skipme=True)
        yield
        await redis.config_set("requirepass", "")


@asynccontextmanager
async def frozen(server: Valkey) -> AsyncIterator[None]:
    """Not a word."""
    server.freeze()
    yield
    server.thaw()


@asynccontextmanager
async def gone(server: Valkey) -> AsyncIterator[None]:
    """Killed, and started anew."""
    server.kill()
    yield
    server.start()


async def _answers_with(redis: Redis, word: str) -> bool:
    try:
        await redis.ping()
    except (RedisError, OSError) as error:
        return word in str(error)
    return False


async def _last_save(redis: Redis, status: str) -> bool:
    about: Any = await redis.info("persistence")
    return bool(about["rdb_last_bgsave_status"] == status and not about["rdb_bgsave_in_progress"])


Trouble = Callable[[Valkey], AbstractAsyncContextManager[None]]


@pytest.mark.parametrize("trouble", [busy, read_only, without_replicas, crowded])
async def test_what_passes_is_waited_for(trouble: Trouble) -> None:
    with running(Valkey("--lua-time-limit", "1")) as (server,):
        async with Queue.open(server.url, patience=ENDLESS) as queue:
            await queue.create("email")
            async with trouble(server):
                asked = [
                    asyncio.create_task(ask) for ask in (queue.create("email", "once"), queue.steering.pause("letter"))
                ]
                await asyncio.sleep(0.1)
                assert not any(task.done() for task in asked)

            async with asyncio.timeout(PATIENCE_S):
                job, _ = await asyncio.gather(*asked)
            found = await queue.jobs.range(State.INACTIVE)
            paused = await queue.steering.paused()

    assert [each.id for each in found if each.data == "once"] == [job.id]
    assert paused == (False, ["letter"])


@pytest.mark.parametrize(
    ("trouble", "word"), [(busy, "BUSY"), (read_only, "replica"), (crowded, "max number of clients|Connection")]
)
async def test_what_does_not_pass_in_time_is_unavailable_and_says_why(trouble: Trouble, word: str) -> None:
    with running(Valkey("--lua-time-limit", "1")) as (server,):
        async with Queue.open(server.url, patience=timedelta(milliseconds=500)) as queue:
            await queue.create("email")
            async with trouble(server):
                with pytest.raises(QueueUnavailable, match=word):
                    await queue.create("email")


@pytest.mark.parametrize(
    ("trouble", "word"), [(full, "maxmemory"), (unable_to_save, "snapshot"), (locked, "Authentication")]
)
async def test_what_will_not_pass_by_itself_is_unavailable_at_once(trouble: Trouble, word: str) -> None:
    with running(Valkey()) as (server,):
        async with Queue.open(server.url, patience=ENDLESS) as queue:
            await queue.create("email")
            async with trouble(server):
                with pytest.raises(QueueUnavailable, match=word):
                    await to_the_end(queue.create("email", "once"))
            await to_the_end(queue.create("email", "twice"))

            assert [job.data for job in await queue.jobs.range(State.INACTIVE)] == [{}, "twice"]


async def test_a_server_that_is_loading_is_waited_for() -> None:
    server = Valkey("--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024")
    try:
        server.start()
        async with Queue.open(server.url, patience=ENDLESS) as queue, by_hand(server) as redis:
            await queue.create_many([NewJob(type="email")] * 50)
            await redis.save()
            server.kill()
            starting = asyncio.create_task(asyncio.to_thread(server.start))
            await eventually(lambda: _answers_with(redis, "loading the dataset"))

            async with asyncio.timeout(PATIENCE_S):
                job, counts = await asyncio.gather(queue.create("email"), queue.jobs.counts())
            await starting
    finally:
        server.remove()

    assert (job.id, counts[State.INACTIVE] >= 50) == (51, True)


async def test_after_a_server_has_said_that_it_only_reads_the_connection_is_made_anew() -> None:
    # A cluster's nodes take no such order; they have tests of their own.
    with running(Valkey()) as (server,):
        async with Queue.open(server.url, name="ours") as queue, by_hand(server) as redis:
            await queue.create("email")
            before = await _ids(redis)
            async with read_only(server):
                asked = asyncio.create_task(queue.create("email"))
                await eventually(lambda: _others(redis, before))
            await asked
            after = await _ids(redis)

    assert (len(before), len(after)) == (1, 1)
    assert before != after


async def _ids(redis: Redis) -> set[str]:
    return {client["id"] for client in await redis.client_list() if client["name"] == "ours"}


async def _others(redis: Redis, before: set[str]) -> bool:
    return not before & await _ids(redis)


async def test_scripts_that_the_server_forgets_all_the_time_are_sent_anew(own_valkey: Valkey) -> None:
    async with Queue.open(own_valkey.url) as queue, by_hand(own_valkey) as redis:
        forgetting = asyncio.create_task(_forget(redis))
        queue.process("email", nothing, concurrency=5)
        async with working(queue):
            jobs = [await queue.create("email") for _ in range(50)]
            await eventually(lambda: ended(queue, *(job.id for job in jobs)))
        forgetting.cancel()
        await asyncio.wait([forgetting])
        counts = await queue.jobs.counts()

    assert counts[State.COMPLETE] == 50


async def _forget(redis: Redis) -> None:
    while True:
        await redis.script_flush()
        await asyncio.sleep(0.003)


@pytest.mark.parametrize("trouble", [busy, read_only, crowded, full, unable_to_save, locked, frozen, gone])
async def test_a_worker_outlives_everything_that_redis_may_say(trouble: Trouble) -> None:
    with running(Valkey("--lua-time-limit", "1", appendonly=True)) as (server,):
        async with Queue.open(server.url, patience=timedelta(milliseconds=100)) as queue:
            queue.process("email", nothing, concurrency=2)
            queue.on("job complete", lambda *_: None)
            async with working(queue, tick=timedelta(milliseconds=20)) as run:
                await eventually(lambda: _made(queue, delay=timedelta(milliseconds=30)))
                async with trouble(server):
                    await asyncio.sleep(0.3)

                job = await eventually(lambda: _made(queue))
                await eventually(lambda: _ended(queue, job.id))
                assert not run.done()


async def _made(queue: Queue, delay: timedelta | None = None) -> Job | None:
    try:
        return await queue.create("email", delay=delay)
    except QueueUnavailable:
        return None


async def _ended(queue: Queue, job_id: int) -> bool:
    try:
        return await ended(queue, job_id)
    except QueueUnavailable:
        return False


# Connections that die


async def test_a_connection_that_the_server_has_closed_meanwhile_is_made_anew_before_it_is_used(
    own_valkey: Valkey,
) -> None:
    async with Queue.open(own_valkey.url) as queue, by_hand(own_valkey) as redis:
        for number in range(1, 6):
            job = await queue.create("email")
            counts = await queue.jobs.counts()
            await redis.client_kill_filter(_type="normal", skipme=True)
            await eventually(lambda: _nobody(own_valkey))

            assert (job.id, counts[State.INACTIVE]) == (number, number)


@pytest.mark.parametrize("how", [Proxy.cut, Proxy.reset])
async def test_a_connection_that_was_cut_while_nothing_was_asked_is_made_anew_before_it_is_used(
    how: Callable[[Proxy], Awaitable[None]], valkey: Valkey, prefix: str
) -> None:
    async with Proxy(valkey.port) as proxy, Queue.open(proxy.url, prefix=prefix) as queue:
        queue.process("email", nothing)
        async with working(queue, tick=timedelta(milliseconds=50)) as run:
            for _ in range(5):
                await eventually(lambda: is_blocked(queue))
                await how(proxy)
                await asyncio.sleep(0.01)
                job = await queue.create("email")
                await eventually(partial(ended, queue, job.id))
            assert not run.done()


async def test_the_kernel_looks_whether_an_idle_peer_is_still_there(own_valkey: Valkey) -> None:
    async with Queue.open(f"redis://127.0.0.1:{own_valkey.port}") as queue:
        link = await queue.redis.connection_pool.get_connection()
        wire = link._writer.get_extra_info("socket")

        options = [
            wire.getsockopt(level, option)
            for level, option in (
                (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
                (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
            )
        ]
        await queue.redis.connection_pool.release(link)

    assert options == [1, 2, 1, 2]


async def test_a_blocked_worker_notices_that_nobody_is_there_any_more(
    valkey: Valkey, prefix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in (worker, connections):
        monkeypatch.setattr(module, "BLOCK", timedelta(milliseconds=100))
    monkeypatch.setattr(connections, "_GRACE_S", 0.1)
    async with Proxy(valkey.port) as proxy, Queue.open(proxy.url, prefix=prefix, patience=IMPATIENT) as queue:
        queue.process("email", nothing)
        async with working(queue):
            job = await queue.create("email")
            await eventually(lambda: ended(queue, job.id))
            with caplog.at_level(logging.WARNING):
                proxy.hush()
                await until(lambda: "wake-ups interrupted" in caplog.messages)

            # The worker looks by itself only once in an hour: it must have been told.
            job = await eventually(lambda: _made(queue))
            await eventually(lambda: ended(queue, job.id))


async def test_a_command_that_is_not_answered_is_not_sent_twice(valkey: Valkey, prefix: str) -> None:
    async with Proxy(valkey.port) as proxy, Queue.open(proxy.url, prefix=prefix, patience=IMPATIENT) as queue:
        await queue.create("email")
        proxy.when(b"once", proxy.hush)
        with pytest.raises(QueueUnavailable, match=r"no answer within 0\.3 s"):
            await queue.create("email", "once")

        found = await queue.jobs.range(State.INACTIVE)

    assert [job.data for job in found] == [{}, "once"]


@pytest.mark.faults
async def test_whatever_happens_to_redis_or_the_way_there_workers_go_on_and_nothing_is_lost_or_doubled() -> None:
    server, dice, runs = a_server(appendonly=True), random.Random(875), Counter[int]()
    unsure: list[int] = []

    async def work(job: Job, context: Context) -> None:
        runs[job.data] += 1

    async def restart() -> None:
        server.kill()
        await asyncio.to_thread(server.start)

    async def order(number: int) -> None:
        while True:
            try:
                await queue.create("email", number, unique=f"n{number}", attempts=9)
                return
            except QueueUnavailable:
                unsure.append(number)

    server.start()
    try:
        async with Proxy(server.port) as proxy, Queue.open(proxy.url, patience=IMPATIENT) as queue:
            queue.process("email", work, concurrency=5)
            queue.on("job complete", lambda *_: None)
            async with asyncio.timeout(PATIENCE_S * rounds(10)), _at_work(queue) as run:
                for number in range(rounds(10)):
                    what = dice.choice([proxy.cut, proxy.reset, proxy.hush, restart])
                    orders = [asyncio.create_task(order(10 * number + n)) for n in range(10)]
                    await asyncio.sleep(dice.uniform(0, 0.02))
                    if (happens := what()) is not None:
                        await happens
                    await asyncio.wait(orders)
                    began = asyncio.get_running_loop().time()
                    await eventually(lambda: _all_ended(queue))
                    print(f"{what.__name__}: all done after {asyncio.get_running_loop().time() - began:.2f} s")
                assert not run.done()
            jobs = await queue.jobs.range(State.COMPLETE)
    finally:
        server.remove()

    assert Counter(job.data for job in jobs if job.data not in unsure) == Counter(
        set(range(10 * rounds(10))) - set(unsure)
    )
    assert runs == Counter(job.data for job in jobs)
    assert {job.attempts for job in jobs} == {1}


@asynccontextmanager
async def _at_work(queue: Queue) -> AsyncIterator[asyncio.Task[None]]:
    async with asyncio.TaskGroup() as group:
        run = group.create_task(queue.run(tick=timedelta(seconds=1)))
        yield run
        queue.shutdown()


async def _all_ended(queue: Queue) -> bool:
    try:
        return await all_ended(queue)
    except QueueUnavailable:
        return False
