"""Two accounts: of another's reminder, every operation that is described says what it says of one that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from rmindr.ledger import row
from rmindr.models import Kind
from tests.web.conftest import Serve
from tests.web.folk import STRICT, browser, rows, sign_up, token
from tests.web.site import NOBODYS, Site, problem

SCOPES = ("reminders:read", "reminders:write")


def of_one(site: Site) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every operation of something with an id: its method, its path, and a body that is right."""
    described = site.app.openapi()
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            if "{" in path:
                yield method.upper(), path, _body(described, operation)


def _body(described: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    content = operation.get("requestBody", {}).get("content", {})
    if not content:
        return {}
    name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
    return {"json": described["components"]["schemas"][name]["examples"][0]}


async def test_another_s_is_answered_as_what_is_not_there_and_nothing_of_it_changes(serve: Serve) -> None:
    async with serve(**STRICT) as town, browser(town) as ada, browser(town) as bob:
        await sign_up(ada, "ada@example.org", when="every day 9am", date="", time="")
        await sign_up(bob, "bob@example.org")
        hers, his = await token(ada, *SCOPES), await token(bob, *SCOPES)
        async with town.app.state.database.statements() as connection:
            mine = (row.kind == Kind.REMINDER, func.lower(row.recipient) == "ada@example.org")
            found = (await connection.execute(select(row.id, row.series_id).where(*mine))).one()
        before, said = await rows(town), {}

        for method, path, body in of_one(town):
            for what, id in (("hers", found.id), ("nothing", NOBODYS), ("a series", found.series_id)):
                answer = await town.client.request(method, _filled(path, id), headers=his, **body)
                told = problem(answer, 404)
                said[method, path, what] = {name: value for name, value in told.items() if name != "instance"}
            problem(await town.client.request(method, _filled(path, found.id), **body), 401)

        assert len({repr(each) for each in said.values()}) == 1
        assert len(said) >= 3 * 8
        assert await rows(town) == before
        # It is there, and hers.
        assert (await town.client.get(f"/api/reminders/{found.id}/series", headers=hers)).status_code == 200


async def test_a_list_is_of_one_s_own_whatever_cursor_is_shown(serve: Serve) -> None:
    async with serve(**STRICT) as town, browser(town) as ada, browser(town) as bob:
        await sign_up(ada, "ada@example.org")
        await sign_up(bob, "bob@example.org")
        his = await token(bob, *SCOPES)
        newest = UUID(int=(1 << 128) - 1)

        page = (await town.client.get(f"/api/reminders?cursor={newest}", headers=his)).json()

    assert [each["to"] for each in page["items"]] == ["bob@example.org"]


async def test_keys_of_two_programs_of_one_person_are_two_keys(serve: Serve) -> None:
    async with serve(**STRICT) as town, browser(town) as ada:
        await sign_up(ada, "ada@example.org")
        key = {"Idempotency-Key": "1"}
        one, other = [await token(ada, *SCOPES) | key for _ in range(2)]
        body = {"to": "ada@example.org", "message": "one", "due_at": "2099-01-01T09:00Z"}

        first = await town.client.post("/api/reminders", json=body, headers=one)
        second = await town.client.post("/api/reminders", json=body | {"message": "two"}, headers=other)
        again = await town.client.post("/api/reminders", json=body, headers=one)

    assert (first.status_code, second.status_code) == (201, 201)
    assert again.json() == first.json()
    assert second.json()["id"] != first.json()["id"]


def _filled(path: str, id: UUID) -> str:
    start, _, rest = path.partition("{")
    return f"{start}{id}{rest.partition('}')[2]}"
