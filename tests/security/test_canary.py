"""Secrets that are marked, and looked for wherever they have no business: logs, answers, Redis, the list of processes (S38)."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Final

import pytest
from redis.asyncio import Redis

from tests.processes import Process
from tests.servers import Valkey
from tests.sink import Session, Sink
from tests.stack import Stack, answering, until
from tests.web.site import BROWSER, a_reminder, soon

pytestmark = pytest.mark.faults
PASSWORD: Final = "canary-of-the-mail-server"
KEY: Final = "canary-of-the-key-that-signs-it-all"
TOKEN: Final = "canary-of-the-operators-who-may-all"
TEXT: Final = "canary in the message"
SUBJECT: Final = "canary in the subject"
ADDRESS: Final = "canary@example.org"


async def test_no_secret_and_nothing_of_a_mail_is_where_it_has_no_business(
    database_url: str, own_valkey: Valkey, sink: Sink
) -> None:
    stack = Stack(database_url, own_valkey, sink, {"RMINDR_SECRET_KEY": KEY, "RMINDR_ADMIN_TOKEN": TOKEN})
    stack.settings["SMTP_URL"] = f"smtp://me:{PASSWORD}@127.0.0.1:{sink.port}"
    sink.extensions.append("AUTH PLAIN")
    answers: list[str] = []
    async with stack.process("web") as web, stack.worker() as worker, stack.client() as client:
        await answering(client, web)
        # One that is taken, one that is refused, one that is asked to wait; and a server that is no use in between.
        replies = iter(["550 5.1.1 canary@example.org: canary in the message", "451 4.7.1 canary@example.org"])

        async def now_and_then(session: Session) -> str:
            return next(replies, "250 ok")

        sink.replies["RCPT"] = now_and_then
        ids = [await scheduled(stack, answers) for _ in range(3)]
        await until(client, ids, lambda each: each["status"] not in ("scheduled", "sending"))
        paths = ("/nothing?canary@example.org", "/healthz", "/api/reminders/canary@example.org", "/queue/api/stats",
                 "/queue/jobs", "/queue/jobs/1", "/queue/jobs/2", "/queue/jobs/3")  # fmt: skip
        answers += [(await client.get(path, headers=BROWSER | {"Cookie": f"rmindr={TOKEN}"})).text for path in paths]
        await worker.line("job complete")
        processes = [command_line(each) for each in (web, worker)]
        told = await everything_in(own_valkey)

    logged = "\n".join([*web.lines, *worker.lines])
    assert "event=sent" in logged
    assert 'event="not delivered"' in logged
    assert sink.sessions[0].said("AUTH")
    assert canaries(logged) == []
    assert canaries(told) == []
    assert canaries("\n".join(answers)) == []
    assert canaries("\n".join(processes)) == []


def canaries(told: str) -> list[str]:
    """The lines that sing."""
    marked = ("canary", base64.b64encode(f"\0me\0{PASSWORD}".encode()).decode())
    return [line[:300] for line in told.splitlines() if any(word in line for word in marked)]


async def scheduled(stack: Stack, answers: list[str]) -> str:
    """One more by the API. What answers whoever asked for it may of course say what they asked for."""
    async with stack.client() as client:
        body = a_reminder(to=ADDRESS, message=TEXT, subject=SUBJECT, due_at=soon(seconds=2))
        answer = await client.post("/api/reminders", json=body)
        wrong = await client.post("/api/reminders", json=body | {"due_at": "x"}, headers={"Idempotency-Key": TOKEN})
    answers.append(wrong.text)
    return str(answer.json()["id"])


def command_line(process: Process) -> str:
    return Path(f"/proc/{process.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


async def everything_in(server: Valkey) -> str:
    """All keys and values of a Redis, and what it remembers of slow commands."""
    async with Redis.from_url(server.direct, decode_responses=True) as redis:
        lines = [repr(await redis.slowlog_get(1000))]
        async for key in redis.scan_iter("*"):
            kind = await redis.type(key)
            read = {"string": redis.get, "hash": redis.hgetall, "set": redis.smembers}.get(kind)
            if read is not None:
                value = await read(key)
            elif kind == "list":
                value = await redis.lrange(key, 0, -1)
            else:
                value = await redis.zrange(key, 0, -1, withscores=True)
            lines.append(f"{key} {value!r}")
    assert len(lines) > 5
    return "\n".join(lines)
