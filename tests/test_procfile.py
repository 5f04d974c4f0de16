"""A whole story by the Procfile's own lines: posted by API, sent when due, each once, none early."""

from __future__ import annotations

import os
from collections import Counter
from datetime import datetime

from tests.servers import Valkey
from tests.sink import Sink
from tests.stack import Stack, post_many, soon, until

# More by the environment, for a longer look: COUNT=2000.
COUNT = int(os.environ.get("COUNT", "60"))


async def test_reminders_posted_by_api_and_due_in_one_second_are_each_sent_once_and_none_early(
    database_url: str, own_valkey: Valkey, sink: Sink
) -> None:
    stack = Stack(database_url, own_valkey, sink)
    async with stack.process("release") as release:
        assert await release.ended() == 0

    async with stack.web() as client, stack.worker() as worker:
        addresses = await post_many(client, COUNT, soon(max(6.0, COUNT / 60)))
        found = await until(client, list(addresses), timeout=300)
        assert await worker.terminate() == 0

    due_at = datetime.fromisoformat(found[0]["due_at"])
    assert {each["status"] for each in found} == {"sent"}
    assert Counter(mail.recipient for mail in sink.mails) == Counter(addresses.values())
    assert min(mail.at for mail in sink.mails) >= due_at.timestamp()
    late = sorted(each["lateness_ms"] for each in found)
    print(f"first {late[0]} ms, p50 {late[len(late) // 2]}, p99 {late[int(len(late) * 0.99)]}, last {late[-1]}")


async def test_no_log_line_of_the_worker_holds_an_address_or_a_text(
    database_url: str, own_valkey: Valkey, sink: Sink
) -> None:
    stack = Stack(database_url, own_valkey, sink)
    async with stack.web() as client, stack.worker() as worker:
        addresses = await post_many(client, 3, soon(4))
        await until(client, list(addresses))
        await worker.line("job complete")

    said = "\n".join(worker.lines)
    assert "event=sent" in said
    assert "example.org.1@" not in said
    assert not any(address in said for address in addresses.values())
    assert "remember" not in said


async def test_the_worker_refuses_to_start_without_a_mail_server_and_names_the_variable(
    database_url: str, own_valkey: Valkey, sink: Sink
) -> None:
    stack = Stack(database_url, own_valkey, sink, {"SMTP_URL": ""})
    async with stack.process("worker") as worker:
        status = await worker.ended()

    assert status == 2
    assert worker.lines == [
        "rmindr: RMINDR_SMTP_URL is missing, e.g. smtp+starttls://user:password@mail.example.org:587"
    ]


async def test_nothing_starts_beyond_loopback_without_a_list_of_recipients(
    database_url: str, own_valkey: Valkey, sink: Sink
) -> None:
    stack = Stack(database_url, own_valkey, sink, {"RMINDR_ALLOWED_RECIPIENTS": ""})
    for name in ("web", "worker"):
        async with stack.process(name) as process:
            assert await process.ended() == 2
            assert "RMINDR_ALLOWED_RECIPIENTS" in process.lines[0]
