"""SIGKILL while one mail that says several is on its way: each of them ends once, and the same bytes leave once or twice."""

from __future__ import annotations

import signal

import pytest
from sqlalchemy import select

from rmindr.database import Database
from rmindr.ledger import row
from rmindr.models import Status
from tests.deliveries import a_person
from tests.queue.scenery import eventually
from tests.stack import Stack
from tests.test_catch_up import HERS, now_of, overdue, said_in

pytestmark = pytest.mark.faults


async def no_more_to_come(database: Database) -> bool:
    async with database.statements() as connection:
        ends = (await connection.execute(select(row.status))).scalars().all()
    return set(ends) == {Status.SENT}


@pytest.mark.parametrize(
    ("checkpoint", "mails", "twice"),
    [
        pytest.param("sql_claimed", 1, False, id="before-it-gathers"),
        pytest.param("rcpt_ok", 1, False, id="before-the-mark"),
        pytest.param("marked", 1, True, id="after-the-mark"),
        pytest.param("accepted", 2, True, id="after-250"),
        pytest.param("witnessed", 1, False, id="when-only-the-witness-knows"),
        pytest.param("recorded", 1, False, id="after-the-record"),
    ],
)
async def test_a_worker_killed_with_several_in_one_mail_loses_none_of_them(
    stack: Stack, database: Database, checkpoint: str, mails: int, twice: bool
) -> None:
    late = await overdue(database, await a_person(database, HERS, catch_up="one"), 12)

    async with stack.crashing_worker(checkpoint) as doomed:
        assert await doomed.ended(timeout=60) == -signal.SIGKILL
    async with stack.worker():
        await eventually(lambda: no_more_to_come(database))

    found = await now_of(database, late)
    assert [said_in(mail) for mail in stack.sink.mails] == [list(range(12))] * mails
    assert len({mail.data for mail in stack.sink.mails}) == 1
    assert {each.ambiguous > 0 for each in found} == {twice}
    assert {each.carried_by for each in found} == {None}
