"""How tests speak to the queue's API: its routes, a client of it, and the shape of its refusals."""

from __future__ import annotations

from typing import Any, Final

import httpx

from tests.web.site import Site

# Every route of Kue's, by method and path, with a job that is there as 1 and one that is not as 99.
LOOKING: Final = (
    "/stats", "/job/types", "/job/search", "/job/search?q=mum", "/jobs/0..3", "/jobs/0..3/asc", "/jobs/failed/0..3",
    "/jobs/failed/0..3/desc", "/jobs/email/failed/0..3", "/jobs/email/failed/0..3/asc", "/jobs/email/failed/stats", "/job/1",
    "/job/1/log",
)  # fmt: skip
ACTING: Final = (
    ("POST", "/job"), ("PUT", "/job/1/state/inactive"), ("PUT", "/job/1/priority/5"), ("POST", "/inactive/1"),
    ("PUT", "/inactive/1"), ("DELETE", "/job/1"),
)  # fmt: skip
NOT_THERE: Final = (("GET", "/"), ("GET", "/nothing"), ("GET", "/inactive/1"), ("PATCH", "/job/1"), ("OPTIONS", "/job"))
EVERYWHERE: Final = (*(("GET", path) for path in LOOKING), *ACTING, *NOT_THERE, ("GET", "/openapi.json"))


class Api:
    """Speaks to the API of a site, and reads what it says."""

    def __init__(self, site: Site) -> None:
        self.client = site.client

    async def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        return await self.client.request(method, f"/queue/api{path}", **request)

    async def get(self, path: str) -> Any:
        answer = await self.ask("GET", path)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:300]}"
        assert answer.headers["Content-Type"] == "application/json"
        return answer.json()

    async def post(self, body: Any, status: int = 200) -> Any:
        answer = await self.ask("POST", "/job", json=body)
        assert answer.status_code == status, answer.text[:300]
        return answer.json()


def refused(answer: httpx.Response, status: int) -> str:
    """What an error of Kue's shape, with a status of its own, says."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text[:300]}"
    assert answer.headers["Content-Type"] == "application/json"
    assert list(answer.json()) == ["error"]
    return str(answer.json()["error"])
