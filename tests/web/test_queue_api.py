"""Kue's JSON API at /queue/api: every route, what it answers, what it refuses, and whom."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from rmindr.queue import Backoff, NewJob, Queue, State
from rmindr.queue.job import to_ms
from tests.conftest import Clock
from tests.queue.scenery import STANDINGS, keyspace, standing
from tests.servers import Valkey
from tests.web.conftest import Serve
from tests.web.queue import ACTING, EVERYWHERE, LOOKING, Api, refused
from tests.web.site import Site

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

JSON: Final = {"Content-Type": "application/json"}
UI: Final = {"X-Requested-With": "XMLHttpRequest"}
NO_IDS: Final = ("0", "-1", "01", "1.0", "1e3", "x", "%20", "١", "9" * 17, "9" * 400, "undefined", "1%00")


@pytest.fixture
async def api(site: Site) -> Api:
    """As on loopback, where whoever reaches it may do everything."""
    return Api(site)


def ms(instant: Any) -> str:
    return str(to_ms(instant))


async def ids(api: Api, path: str) -> list[int]:
    return [job["id"] for job in await api.get(path)]


# Looking


async def test_stats_count_each_state_and_have_no_work_time_before_the_first_run_is_complete(
    api: Api, queue: Queue, clock: Clock
) -> None:
    assert await api.get("/stats") == {
        "delayedCount": 0, "inactiveCount": 0, "activeCount": 0, "completeCount": 0, "failedCount": 0, "workTime": None,
    }  # fmt: skip

    for place in ("complete", "failed", "failed", "taken", "inactive", "delayed"):
        await standing(queue, clock, place)
    await queue.redis.set(queue.keys.work_time, "1234")

    assert await api.get("/stats") == {
        "delayedCount": 1, "inactiveCount": 1, "activeCount": 1, "completeCount": 1, "failedCount": 2, "workTime": 1234,
    }  # fmt: skip


async def test_types_are_all_that_there_ever_were(api: Api, queue: Queue) -> None:
    for type in ("sms", "e: mail", "Grüße/🎂"):
        await queue.remove((await queue.create(type)).id)

    assert await api.get("/job/types") == ["Grüße/🎂", "e: mail", "sms"]


async def test_a_fresh_job_is_told_in_kues_forms(api: Api, queue: Queue) -> None:
    job = await queue.create(
        "email",
        {"title": "Grüße 🎂", "n": 1.5},
        priority="high",
        delay=timedelta(minutes=1),
        attempts=3,
        ttl=timedelta(seconds=5),
        backoff=Backoff.same(),
        unique="a-key",
    )

    assert await api.get("/job/1") == {
        "id": "1",
        "type": "email",
        "data": {"title": "Grüße 🎂", "n": 1.5},
        "priority": -10,
        "progress": 0,
        "state": "delayed",
        "created_at": ms(job.created_at),
        "promote_at": ms(job.promote_at),
        "updated_at": ms(job.updated_at),
        "delay": "60000",
        "ttl": "5000",
        "attempts": {"made": 0, "remaining": 3, "max": 3},
    }


async def test_a_job_that_has_run_is_told_in_kues_forms_and_its_lease_is_not(
    api: Api, queue: Queue, clock: Clock
) -> None:
    job = await queue.create("email", priority=2.5, attempts=2)
    claimed = await queue.lifecycle.claim({"email": 1}, token="t", lease=timedelta(minutes=1), worker="kue:here:1")
    await queue.lifecycle.progress(claimed.leases[0], 40, {"page": 2})
    assert "lease" not in await api.get("/job/1")
    clock.advance(ms=7)
    await queue.lifecycle.complete(claimed.leases[0], {"code": 250})

    assert await api.get("/job/1") == {
        "id": "1",
        "type": "email",
        "data": {},
        "result": {"code": 250},
        "priority": 2.5,
        "progress": "100",
        "progress_data": {"page": 2},
        "state": "complete",
        "created_at": ms(job.created_at),
        "promote_at": ms(job.promote_at),
        "updated_at": str(clock.ms),
        "started_at": ms(job.created_at),
        "duration": "7",
        "workerId": "kue:here:1:email:1",
        "attempts": {"made": 1, "remaining": 1, "max": 2},
    }


async def test_in_a_list_an_id_is_a_number(api: Api, queue: Queue) -> None:
    await queue.create("email")

    assert await api.get("/jobs/0..0") == [await api.get("/job/1") | {"id": 1}]


async def test_lists_are_ranks_of_priority_in_the_order_of_ids(api: Api, queue: Queue) -> None:
    for priority in ("low", "normal", "critical", "normal"):
        await queue.create("email", priority=priority)

    assert await ids(api, "/jobs/0..1") == [2, 3]
    assert await ids(api, "/jobs/0..-1") == [1, 2, 3, 4]
    assert await ids(api, "/jobs/-1..-1") == [1]
    assert await ids(api, "/jobs/2..100/asc") == [1, 4]
    assert await ids(api, "/jobs/7..9") == await ids(api, "/jobs/1..0") == []


async def test_desc_is_the_last_of_all_jobs_and_not_the_first_ones_backwards(api: Api, queue: Queue) -> None:
    for _ in range(12):
        await queue.create("email")

    for path in ("/jobs", "/jobs/inactive", "/jobs/email/inactive"):
        assert await ids(api, f"{path}/0..2/desc") == [12, 11, 10], path
        assert await ids(api, f"{path}/0..2/asc") == [1, 2, 3], path


async def test_lists_are_of_the_state_and_type_that_are_asked_for(api: Api, queue: Queue) -> None:
    for type in ("a", "b:c", "a/b c", "Grüße", "x..y"):
        await queue.create(type)
        await queue.create(type, delay=timedelta(hours=1))

    found = {
        path: await ids(api, f"/jobs/{path}/0..9")
        for path in ("inactive", "delayed", "failed", "a/delayed", "b:c/inactive", "a%2Fb%20c/inactive", "a/b c/delayed",
                     "Grüße/inactive", "x..y/delayed", "nobody's/failed")
    }  # fmt: skip

    assert found == {
        "inactive": [1, 3, 5, 7, 9], "delayed": [2, 4, 6, 8, 10], "failed": [], "a/delayed": [2], "b:c/inactive": [3],
        "a%2Fb%20c/inactive": [5], "a/b c/delayed": [6], "Grüße/inactive": [7], "x..y/delayed": [10], "nobody's/failed": [],
    }  # fmt: skip
    assert await api.get("/jobs/a%2Fb%20c/inactive/stats") == {"count": 1}
    assert await api.get("/jobs/nobody's/inactive/stats") == {"count": 0}


async def test_a_list_has_a_thousand_jobs_at_most_however_it_is_asked_for(api: Api, queue: Queue) -> None:
    await queue.create_many([NewJob(type="email")] * 1000)
    for wide in ("0..-1", "0..5000", "-5000..-1"):
        assert len(await api.get(f"/jobs/email/inactive/{wide}")) == 1000, wide

    await queue.create("email")

    for wide in ("0..-1", "0..5000", "-5000..5000", "-1001..-1", "0..1000"):
        for where in ("jobs", "jobs/inactive", "jobs/email/inactive"):
            assert "1000" in refused(await api.ask("GET", f"/{where}/{wide}"), 400), (where, wide)
    assert await ids(api, "/jobs/1000..-1") == [1001]
    assert len(await api.get("/jobs/1..1000")) == 1000
    assert len(await api.get("/jobs/failed/0..5000")) == 0


async def test_the_log_is_a_list_of_lines_and_of_a_job_that_is_not_there_none(api: Api, queue: Queue) -> None:
    await queue.create("email")
    claimed = await queue.lifecycle.claim({"email": 1}, token="t", lease=timedelta(minutes=1), worker="kue:here:1")
    await queue.lifecycle.log(claimed.leases[0], "half <b>way</b>")
    await queue.lifecycle.log(claimed.leases[0], "done")

    assert await api.get("/job/1/log") == ["half <b>way</b>", "done"]
    assert await api.get("/job/99/log") == []


async def test_words_find_the_ids_as_text_newest_first(api: Api, valkey: Valkey, prefix: str) -> None:
    async with Queue.open(valkey.url, prefix=prefix, search=("title",)) as queue:
        for title in ("Call mum", "Pay the rent", "Call the bank"):
            await queue.create("email", {"title": title})

    assert await api.get("/job/search?q=call") == ["3", "1"]
    assert await api.get("/job/search?q=the+ca") == ["3"]
    assert await api.get("/job/search?q=nothing") == []
    assert await api.get("/job/search?q=") == await api.get("/job/search") == []


# What others left in Redis


async def test_reading_a_half_written_job_deletes_nothing_and_leaves_it_out(api: Api, queue: Queue) -> None:
    await queue.create_many([NewJob(type="email")] * 4)
    await queue.redis.hdel(queue.keys.job(1), "type")
    await queue.redis.hset(queue.keys.job(2), "data", "{no json")
    await queue.redis.hset(queue.keys.job(3), "data", "NaN")
    before = await keyspace(queue)

    assert await ids(api, "/jobs/0..-1") == await ids(api, "/jobs/email/inactive/0..-1") == [4]
    said = {job_id: refused(await api.ask("GET", f"/job/{job_id}"), 409) for job_id in (1, 2, 3)}

    assert "no type" in said[1]
    assert "data is not JSON" in said[2]
    assert await keyspace(queue) == before


async def test_what_only_javascript_can_hold_is_told_all_the_same(api: Api, queue: Queue) -> None:
    await queue.create("email")
    await queue.redis.hset(queue.keys.job(1), "data", r'{"half":"\ud83c","huge":1e400,"null":null}')
    await queue.redis.hset(queue.keys.job(1), "priority", "NaN")
    await queue.redis.hset(queue.keys.job(1), "result", "null")

    job = await api.get("/job/1")

    assert job["data"] == {"half": "\ud83c", "huge": None, "null": None}
    assert job["priority"] is None
    assert job["result"] is None


async def test_what_is_absent_has_the_values_that_kue_gives_it(api: Api, queue: Queue) -> None:
    await queue.create("email")
    await queue.redis.hdel(queue.keys.job(1), "data", "max_attempts", "created_at")
    await queue.redis.hset(queue.keys.job(1), mapping={"progress": "", "state": ""})

    job = await api.get("/job/1")

    assert (job["data"], job["progress"], job["state"]) == ({}, 0, "")
    assert job["attempts"] == {"made": 0, "remaining": 1, "max": 1}
    assert "created_at" not in job


async def test_junk_under_every_key_is_an_error_that_says_so_and_never_ours(api: Api, queue: Queue) -> None:
    await queue.create("email")
    for key in await queue.redis.keys(f"{queue.keys.prefix}:*"):
        kind = await queue.redis.type(key)
        await queue.redis.delete(key)
        await (queue.redis.set(key, "junk") if kind != "string" else queue.redis.lpush(key, "junk"))

    for method, path in EVERYWHERE:
        if path not in ("/openapi.json", "/job/search"):
            answer = await api.ask(method, path, **({"json": {"type": "email"}} if path == "/job" else {}))
            assert answer.status_code in (200, 404, 405, 409, 503), (
                f"{method} {path}: {answer.status_code} {answer.text}"
            )

    assert await api.get("/jobs/failed/0..9") == []


@pytest.mark.parametrize("text", ["junk", "nan", "1e400", ""])
async def test_a_work_time_that_is_none_does_not_hide_the_counts(api: Api, queue: Queue, text: str) -> None:
    await queue.redis.set(queue.keys.work_time, text)

    assert (await api.get("/stats"))["workTime"] is None


# Creating


async def test_a_job_is_created_with_everything_that_was_asked_for(api: Api, live_queue: Queue) -> None:
    made = await api.post(
        {
            "type": "e: mail",
            "data": {"title": "Grüße"},
            "options": {
                "priority": "high", "attempts": 5, "delay": 60_000, "ttl": 1500, "removeOnComplete": True,
                "backoff": {"type": "exponential", "delay": 200, "maxDelay": 400}, "searchKeys": ["title"], "another": 1,
            },
        }
    )  # fmt: skip

    job = await live_queue.get(made["id"])
    assert made == {"message": "job created", "id": 1}
    assert job is not None
    assert (job.type, job.data, job.priority, job.max_attempts) == ("e: mail", {"title": "Grüße"}, -10, 5)
    assert (job.delay, job.ttl) == (timedelta(minutes=1), timedelta(seconds=1.5))
    assert (job.state, job.remove_on_complete) == (State.DELAYED, True)
    assert job.backoff == Backoff.exponential(timedelta(milliseconds=200), max_delay=timedelta(milliseconds=400))


# What is given in `options`, and what the job has then.
TAKEN: Final[dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "nothing": ({}, {"priority": 0, "max_attempts": 1, "delay": None, "ttl": None, "backoff": None}),
    "attempts as text": ({"attempts": "3"}, {"max_attempts": 3}),
    "a part of an attempt": ({"attempts": 3.7}, {"max_attempts": 3}),
    "no attempts": ({"attempts": 0}, {"max_attempts": 1}),
    "a priority by number": ({"priority": -3}, {"priority": -3}),
    "a priority by number as text": ({"priority": "7"}, {"priority": 7}),
    "a priority between two": ({"priority": 2.5}, {"priority": 2.5}),
    "priority nothing": ({"priority": None}, {"priority": 0}),
    "a delay as text": ({"delay": "60000"}, {"delay": timedelta(minutes=1)}),
    "a part of a millisecond, never early": ({"delay": 59_999.2}, {"delay": timedelta(minutes=1)}),
    "no delay": ({"delay": 0}, {"delay": None, "state": State.INACTIVE}),
    "a delay below nothing": ({"delay": -5}, {"delay": None, "state": State.INACTIVE}),
    "a ttl below nothing": ({"ttl": -5}, {"ttl": None}),
    "backoff true": ({"backoff": True}, {"backoff": Backoff.same()}),
    "backoff false": ({"backoff": False}, {"backoff": None}),
    "backoff fixed": ({"backoff": {"type": "fixed"}}, {"backoff": Backoff.fixed()}),
    "backoff exponential": ({"backoff": {"type": "exponential", "maxDelay": 0}}, {"backoff": Backoff.exponential()}),
    "removal false": ({"removeOnComplete": False}, {"remove_on_complete": False}),
    "one search key": ({"searchKeys": "title"}, {"max_attempts": 1}),
}


@pytest.mark.parametrize("case", TAKEN)
async def test_an_option_is_taken_as_kue_means_it(api: Api, live_queue: Queue, case: str) -> None:
    options, expected = TAKEN[case]

    made = await api.post({"type": "email", "options": options})

    job = await live_queue.get(made["id"])
    assert {name: getattr(job, name) for name in expected} == expected


async def test_data_that_is_nothing_to_javascript_is_an_empty_object(api: Api) -> None:
    given = (None, False, 0, "", [], [0], "text", 5, {"a": 1})

    for data in given:
        await api.post({"type": "email", "data": data})
    await api.post({"type": "email"})

    told = [(await api.get(f"/job/{job_id}"))["data"] for job_id in range(1, 11)]
    assert told == [{}, {}, {}, {}, [], [0], "text", 5, {"a": 1}, {}]


# What is refused, and what the complaint names.
REFUSED: Final[dict[str, tuple[Any, str]]] = {
    "no type": ({"data": {}}, "Must provide job type"),
    "an empty type": ({"type": ""}, "Must provide job type"),
    "a type that is no text": ({"type": 5}, "type"),
    "a type over several lines": ({"type": "a\nb"}, "type"),
    "options that are none": ({"type": "email", "options": [1]}, "options"),
    "an unknown priority": ({"type": "email", "options": {"priority": "High"}}, "priority"),
    "a priority that is none": ({"type": "email", "options": {"priority": [1]}}, "priority"),
    "a priority beyond numbers": ({"type": "email", "options": {"priority": 1e300}}, "priority"),
    "attempts below one": ({"type": "email", "options": {"attempts": -1}}, "attempts"),
    "attempts that are none": ({"type": "email", "options": {"attempts": "many"}}, "attempts"),
    "attempts beyond numbers": ({"type": "email", "options": {"attempts": 1e300}}, "attempts"),
    "a delay that is a date": ({"type": "email", "options": {"delay": "2030-01-01T00:00:00Z"}}, "delay"),
    "a delay beyond dates": ({"type": "email", "options": {"delay": 1e300}}, "delay"),
    "a ttl that is none": ({"type": "email", "options": {"ttl": {}}}, "ttl"),
    "backoff as code": ({"type": "email", "options": {"backoff": "function(){ return process.exit() }"}}, "backoff"),
    "backoff as a number": ({"type": "email", "options": {"backoff": 5}}, "backoff"),
    "backoff as a list": ({"type": "email", "options": {"backoff": ["fixed"]}}, "backoff"),
    "backoff of no kind": ({"type": "email", "options": {"backoff": {"delay": 5}}}, "backoff"),
    "backoff of an unknown kind": ({"type": "email", "options": {"backoff": {"type": "constructor"}}}, "backoff"),
    "backoff with a delay that is none": (
        {"type": "email", "options": {"backoff": {"type": "fixed", "delay": "soon"}}}, "backoff.delay"),
    "removal that is neither": ({"type": "email", "options": {"removeOnComplete": "false"}}, "removeOnComplete"),
    "removal by number": ({"type": "email", "options": {"removeOnComplete": 1}}, "removeOnComplete"),
    "text": ("email", "list"),
    "a number": (5, "list"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
async def test_what_kue_would_stumble_over_later_is_refused_at_once_and_nothing_is_written(
    api: Api, queue: Queue, case: str
) -> None:
    body, named = REFUSED[case]

    said = refused(await api.ask("POST", "/job", json=body), 400)

    assert named in said
    assert await keyspace(queue) == {}


async def test_of_a_list_each_job_stands_for_itself_in_its_place(api: Api, live_queue: Queue) -> None:
    told = await api.post([{"type": "a"}, {}, {"type": "b"}, None, [], {"type": "c", "options": {"ttl": "x"}}], 400)

    assert [answer.get("id") for answer in told] == [1, None, 2, None, None, None]
    assert told[0] == {"message": "job created", "id": 1}
    assert told[1] == {"error": "Must provide job type"}
    assert all(list(told[at]) == ["error"] for at in (1, 3, 4, 5))
    assert [job.type for job in await live_queue.jobs.range()] == ["a", "b"]


async def test_many_are_created_in_the_order_of_the_list(api: Api) -> None:
    told = await api.post([{"type": "email", "data": n + 1} for n in range(500)])

    assert [answer["id"] for answer in told] == list(range(1, 501))
    assert [job["data"] for job in await api.get("/jobs/0..-1")] == list(range(1, 501))


async def test_where_nothing_is_asked_for_nothing_is_answered(api: Api, queue: Queue) -> None:
    for content in (b"", b"{}", b"[]", b" { } ", b"null"):
        answer = await api.ask("POST", "/job", content=content, headers=JSON)
        assert (answer.status_code, answer.content) == (204, b""), content
    assert (await api.ask("POST", "/job")).status_code == 204

    assert await keyspace(queue) == {}


async def test_a_body_that_is_no_json_is_a_400_without_a_trace(api: Api, queue: Queue) -> None:
    for content in (
        b"{", b'{"type": "email"', b"{'type': 'email'}", b'{"type": NaN}', b'{"type": "a"} {}', b'{"type": "a", "type": "b"}',
        b"\xff", b'{"type": "\xe9"}', b"[" * 20_000, b"[" * 5000 + b"]" * 5000, b'{"type": "\\ud800"}',
    ):  # fmt: skip
        said = refused(await api.ask("POST", "/job", content=content, headers=JSON), 400)
        assert "File" not in said, content

    assert await keyspace(queue) == {}


async def test_a_body_that_is_not_said_to_be_json_is_not_read(api: Api, queue: Queue) -> None:
    for kind in (
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "json",
    ):
        headers = {} if kind is None else {"Content-Type": kind}
        refused(await api.ask("POST", "/job", content=b'{"type": "email"}', headers=headers), 415)

    assert await keyspace(queue) == {}


async def test_a_body_may_have_100_kib_and_not_more(api: Api, live_queue: Queue) -> None:
    def body(size: int) -> bytes:
        frame = json.dumps({"type": "email", "data": ""}).encode()
        return frame.replace(b'""', b'"' + b"x" * (size - len(frame)) + b'"')

    async def in_pieces(content: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(content), 10_000):
            yield content[at : at + 10_000]

    right, large = body(100 * 1024), body(100 * 1024 + 1)
    assert (await api.ask("POST", "/job", content=right, headers=JSON)).status_code == 200
    declared = await api.ask("POST", "/job", content=large, headers=JSON)
    streamed = await api.ask("POST", "/job", content=in_pieces(large), headers=JSON)

    assert (declared.status_code, "100 KiB" in declared.json()["error"]) == (413, True)
    assert "100 KiB" in refused(streamed, 413)
    assert len(await live_queue.jobs.ids()) == 1


# Moving


def moves() -> dict[tuple[str, str], tuple[int, str]]:
    """Where a job stands and the state it is told to move to → the status, and the state that it is in then."""
    table = {
        ("delayed", "inactive"): (200, "inactive"),
        ("delayed", "failed"): (200, "failed"),
        ("inactive", "failed"): (200, "failed"),
        ("complete", "inactive"): (200, "inactive"),
        ("failed", "inactive"): (200, "inactive"),
    }
    for place in STANDINGS:
        is_in = "active" if place in ("taken", "kues") else place
        for state in State:
            table.setdefault(
                (place, state), (404, "") if place == "absent" else (200 if state == is_in else 409, is_in)
            )
    return table


@pytest.mark.parametrize(("place", "state"), moves())
async def test_a_job_is_moved_along_the_edges_that_there_are_and_along_no_other(
    api: Api, queue: Queue, clock: Clock, place: str, state: str
) -> None:
    status, becomes = moves()[place, state]
    lease = await standing(queue, clock, place)
    before = await keyspace(queue)

    answer = await api.ask("PUT", f"/job/1/state/{state}")

    if status < 400:
        assert (answer.status_code, answer.json()) == (status, {"message": "updated state"})
        assert (await api.get("/job/1"))["state"] == becomes
    else:
        assert refused(answer, status)
    if status >= 400 or (status == 200 and state == lease.job.state):
        assert await keyspace(queue) == before


async def test_a_run_that_is_to_fail_is_told_and_the_answer_says_that_it_is_no_more_than_that(
    api: Api, queue: Queue
) -> None:
    await queue.create("email")
    await queue.lifecycle.claim({"email": 1}, token="worker.1", lease=timedelta(minutes=1), worker="kue:here:1")

    answer = await api.ask("PUT", "/job/1/state/failed")

    assert (answer.status_code, answer.json()) == (202, {"message": "updated state"})
    assert await queue.redis.lrange(queue.keys.bell("worker"), 0, -1) == ["1"]


async def test_no_sixth_state_can_be_made(api: Api, queue: Queue) -> None:
    await queue.create("email")
    before = await keyspace(queue)

    for state in ("done", "Active", "inactive ", "x:y", "jobs", "%00", "a" * 500):
        said = refused(await api.ask("PUT", f"/job/1/state/{state}"), 400)
        assert "delayed, inactive, active, complete, failed" in said
        refused(await api.ask("GET", f"/jobs/{state}/0..9"), 400)
        refused(await api.ask("GET", f"/jobs/email/{state}/0..9"), 400)
        refused(await api.ask("GET", f"/jobs/email/{state}/stats"), 400)

    assert await keyspace(queue) == before


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_restart_runs_a_failed_job_again_and_a_delayed_one_now(
    api: Api, queue: Queue, clock: Clock, method: str
) -> None:
    await standing(queue, clock, "failed")
    await standing(queue, clock, "delayed")

    for job_id in (1, 2):
        answer = await api.ask(method, f"/inactive/{job_id}")
        assert (answer.status_code, answer.json()) == (200, {"message": f"job {job_id} inactive"})

    assert await queue.jobs.ids(State.INACTIVE) == [1, 2]


async def test_a_get_restarts_nothing_and_says_what_would(api: Api, queue: Queue, clock: Clock) -> None:
    await standing(queue, clock, "failed")
    before = await keyspace(queue)

    for method in ("GET", "HEAD", "DELETE", "PATCH"):
        answer = await api.ask(method, "/inactive/1")
        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST, PUT"), method

    assert "POST, PUT" in refused(await api.ask("GET", "/inactive/1"), 405)
    assert await keyspace(queue) == before


async def test_a_job_that_a_worker_holds_cannot_be_restarted_or_removed(api: Api, queue: Queue, clock: Clock) -> None:
    await standing(queue, clock, "taken")
    before = await keyspace(queue)

    for method, path in (("POST", "/inactive/1"), ("DELETE", "/job/1"), ("PUT", "/job/1/priority/5")):
        assert "active" in refused(await api.ask(method, path), 409)

    assert await keyspace(queue) == before


async def test_a_priority_is_changed_by_whole_number_where_the_job_waits(api: Api, queue: Queue, clock: Clock) -> None:
    for place in ("failed", "inactive", "delayed"):
        await standing(queue, clock, place)

    for job_id in (2, 3):
        answer = await api.ask("PUT", f"/job/{job_id}/priority/-15")
        assert (answer.status_code, answer.json()) == (200, {"message": "updated priority"})
    for number in ("high", "1.5", "1e2", "", "-", "١", "9" * 30):
        answer = await api.ask("PUT", f"/job/2/priority/{number}")
        assert answer.status_code in (400, 404), number
    assert refused(await api.ask("PUT", "/job/2/priority/NaN"), 400) == "invalid priority"
    refused(await api.ask("PUT", "/job/1/priority/5"), 409)

    assert [(await api.get(f"/job/{job_id}"))["priority"] for job_id in (1, 2, 3)] == [0, -15, -15]


async def test_a_removed_job_is_gone_with_all_of_it(api: Api, queue: Queue, clock: Clock) -> None:
    await standing(queue, clock, "failed", unique="a-key")
    await standing(queue, clock, "kues")

    for job_id in (1, 2):
        answer = await api.ask("DELETE", f"/job/{job_id}")
        assert (answer.status_code, answer.json()) == (200, {"message": f"job {job_id} removed"})

    left = await keyspace(queue)
    assert set(left) <= {"ids", "job:types", "email:jobs"}
    assert refused(await api.ask("DELETE", "/job/1"), 404) == 'job "1" doesnt exist'


@pytest.mark.parametrize("text", NO_IDS)
async def test_an_id_that_can_be_no_job_s_names_none(api: Api, queue: Queue, text: str) -> None:
    await queue.create("email")
    before = await keyspace(queue)

    for method, path in (
        ("GET", f"/job/{text}"), ("GET", f"/job/{text}/log"), ("PUT", f"/job/{text}/state/failed"),
        ("PUT", f"/job/{text}/priority/1"), ("POST", f"/inactive/{text}"), ("DELETE", f"/job/{text}"),
    ):  # fmt: skip
        assert "doesnt exist" in refused(await api.ask(method, path), 404), path

    assert await keyspace(queue) == before


async def test_a_range_that_is_none_is_refused(api: Api) -> None:
    for range in ("a..b", "0..", "..5", "0..x", "1.5..3", "0..9e9", "0...5", "٠..٩", "0..99999999999999999999"):
        for where in ("jobs", "jobs/failed", "jobs/email/failed"):
            answer = await api.ask("GET", f"/{where}/{range}")
            assert answer.status_code in (400, 404), (where, range)
            refused(answer, answer.status_code)

    assert "asc, desc" in refused(await api.ask("GET", "/jobs/0..1/newest"), 400)


# How errors are told


async def test_kue_s_own_ui_gets_its_errors_with_the_only_status_at_which_it_shows_them(
    api: Api, queue: Queue, clock: Clock
) -> None:
    await standing(queue, clock, "taken")

    for method, path in (
        ("DELETE", "/job/1"), ("DELETE", "/job/99"), ("PUT", "/job/1/state/inactive"), ("PUT", "/job/1/priority/x"),
        ("GET", "/inactive/1"), ("GET", "/jobs/nothing/0..9"), ("GET", "/nothing"),
    ):  # fmt: skip
        told = await api.ask(method, path)
        shown = await api.ask(method, path, headers=UI)
        assert told.status_code >= 400
        assert (shown.status_code, shown.json()) == (200, told.json()), path


async def test_without_redis_every_route_says_so_and_when_to_ask_again(serve: Serve, own_valkey: Valkey) -> None:
    async with serve(REDIS_URL=own_valkey.url) as site:
        api = Api(site)
        own_valkey.kill()
        for method, path in (*(("GET", path) for path in LOOKING if path != "/job/search"), *ACTING):
            body = {"json": {"type": "email"}} if path == "/job" else {}
            answer = await api.ask(method, path, **body)
            assert "does not answer" in refused(answer, 503)
            assert path == "/job" or answer.headers["Retry-After"] == "5"
            assert str(own_valkey.port) not in answer.text


async def test_what_nobody_foresaw_is_a_500_that_tells_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(site.app.state.queue, "jobs")

    with capture_logs() as logs:
        answer = await Api(site).ask("GET", "/stats")

    assert "jobs" not in refused(answer, 500)
    assert answer.headers["X-Request-Id"] in answer.text
    assert [line["request_id"] for line in logs if line["event"] == "unforeseen"] == [answer.headers["X-Request-Id"]]


async def test_an_address_of_its_own_is_no_id_of_a_job(api: Api) -> None:
    for path in ("/job/search", "/job/types"):
        answer = await api.ask("DELETE", path)

        assert "it has GET, HEAD" in refused(answer, 405)
        assert answer.headers["Allow"] == "GET, HEAD"


# The description


async def test_the_description_has_every_route_of_kues_and_says_what_is_not_as_there(api: Api) -> None:
    described = await api.get("/openapi.json")

    assert {f"{method.upper()} {path}" for path, methods in described["paths"].items() for method in methods} == {
        "GET /stats", "GET /job/types", "GET /job/search", "GET /jobs/{from}..{to}", "GET /jobs/{from}..{to}/{order}",
        "GET /jobs/{state}/{from}..{to}", "GET /jobs/{state}/{from}..{to}/{order}", "GET /jobs/{type}/{state}/{from}..{to}",
        "GET /jobs/{type}/{state}/{from}..{to}/{order}", "GET /jobs/{type}/{state}/stats", "GET /job/{id}",
        "GET /job/{id}/log", "POST /job", "PUT /job/{id}/state/{state}", "PUT /job/{id}/priority/{priority}",
        "POST /inactive/{id}", "PUT /inactive/{id}", "DELETE /job/{id}",
    }  # fmt: skip
    for word in (
        "RMINDR_ADMIN_TOKEN",
        "X-Requested-With",
        "GET /inactive/{id}",
        "five states",
        "desc",
        "backoff",
        "100 KiB",
    ):
        assert word in described["info"]["description"], word
    assert described["servers"] == [{"url": "/queue/api"}]
    assert "422" not in str(described)


async def test_the_api_of_reminders_does_not_describe_the_queue(site: Site) -> None:
    described = (await site.client.get("/openapi.json")).json()

    assert all(path.startswith("/api/") for path in described["paths"])
