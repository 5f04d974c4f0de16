"""How fast do mails leave one worker when a whole second's reminders are due at once, and does the web tier notice?"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx

from benchmarks.processes import percentile, spread
from rmindr.schema import migrate
from tests.servers import Postgres, Valkey
from tests.sink import Sink
from tests.stack import Stack, post, post_many, soon

_CONNECTIONS = 10
# As long as one of ours, on the same connections, one after the other: what SMTP and Python allow at most.
_BARE = """
import asyncio, sys
import aiosmtplib

PORT, COUNT, CONNECTIONS, LETTER = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), b"x" * 1500 + b"\\r\\n"

async def send(numbers):
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=PORT, start_tls=False) as client:
        for number in numbers:
            await client.mail("reminders@example.org")
            await client.rcpt(f"bare{number}@example.org")
            await client.data(LETTER)

async def main():
    numbers = iter(range(COUNT))
    await asyncio.gather(*(send(numbers) for _ in range(CONNECTIONS)))

asyncio.run(main())
"""


async def measure(*, quick: bool) -> list[tuple[str, str, str, str]]:
    """Rows: mails a second beside the bare loop, first and last of the burst, and how long a POST takes meanwhile."""
    count, rounds = (40, 1) if quick else (5_000, 3)
    valkey, postgres = Valkey(), Postgres()
    rates, ratios, firsts, lasts, slower = [], [], [], [], []
    try:
        valkey.start()
        postgres.start()
        url = postgres.url().replace("postgresql:", "postgresql+psycopg:")
        migrate(url)
        for _ in range(rounds):
            async with Sink() as sink:
                bare = await _bare(sink, count)
                sink.mails.clear()
                late, quiet, busy = await _burst(Stack(url, valkey, sink), count)
            rate = count / (late[-1] - late[0])
            rates.append(rate)
            ratios.append(rate / bare)
            firsts.append(late[0] * 1000)
            lasts.append(late[-1])
            slower.append(percentile(busy, 0.99) / percentile(quiet, 0.99))
    finally:
        valkey.remove()
        postgres.remove()
    return [
        (
            f"mails/s, {count:,} due in one instant, PostgreSQL",
            spread(rates, "/s"),
            f"{spread(ratios, digits=2)} of a bare loop on as many connections",
            "",
        ),
        ("… the first taken after", spread(firsts, " ms"), "", ""),
        ("… the last taken after", spread(lasts, " s", 1), "", ""),
        ("… POST p99 meanwhile", f"{spread(slower, digits=1)} × its quiet value", "", ""),
    ]


async def _bare(sink: Sink, count: int) -> float:
    """Mails a second of a loop that does nothing else."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _BARE, str(sink.port), str(count), str(_CONNECTIONS)
    )
    async with asyncio.timeout(300):
        assert await process.wait() == 0
    return count / (sink.mails[-1].at - sink.mails[0].at)


async def _burst(stack: Stack, count: int) -> tuple[list[float], list[float], list[float]]:
    """How late each mail was, in seconds, earliest first; and how long POSTs took before, and while they left."""
    async with stack.web() as client, stack.worker() as worker:
        due_at = soon(5 + count / 80)
        await post_many(client, count, due_at)
        async with _posting(client) as quiet:
            await asyncio.sleep(max(0.0, due_at.timestamp() - time.time() - 0.5))
        async with _posting(client) as busy:
            mails = await stack.sink.wait_for(count, timeout=300)
        # It writes down what was sent: killed before that, it would have to ask, and send some again in the next round.
        await worker.terminate()
    late = sorted(mail.at - due_at.timestamp() for mail in mails)
    assert late[0] >= 0, f"a mail left {-late[0] * 1000:.0f} ms early"
    assert len({mail.recipient for mail in mails}) == len(stack.sink.mails) == count, "a mail came twice"
    return late, quiet, busy


@asynccontextmanager
async def _posting(client: httpx.AsyncClient) -> AsyncIterator[Sequence[float]]:
    """While the block lasts, a reminder for next week is posted ten times a second."""
    took: list[float] = []

    async def post_on() -> None:
        while True:
            begun = time.perf_counter()
            await post(client, "later@example.org", soon(timedelta(days=7).total_seconds()))
            took.append(time.perf_counter() - begun)
            await asyncio.sleep(0.1)

    task = asyncio.create_task(post_on())
    try:
        yield took
    finally:
        task.cancel()
        await asyncio.wait([task])
