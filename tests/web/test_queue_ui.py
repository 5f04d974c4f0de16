"""The dashboard: what it shows, what it lets an operator do and refuses, who is let in, and what it costs."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import re
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import httpx
import pytest
from structlog.testing import capture_logs

from rmindr.queue import Backoff, Kept, Limit, NewJob, Queue, Schedule, State
from rmindr.queue.errands import STARTS_FROM, Act
from rmindr.queue.listing import Filter
from rmindr.web.live import MOST, Live
from tests.conftest import Clock
from tests.processes import Process
from tests.queue.crew import Hands, working
from tests.queue.scenery import LEASE, a_lease, eventually, keyspace, standing, taken_by_kue, until
from tests.servers import Valkey, free_port
from tests.stack import ROOT, answering
from tests.web.crowd import a_crowd
from tests.web.site import BROWSER, CONFIRMED, Page, Site, serving
from tests.wires import CountingWire

TOKEN: Final = "a-token-for-tests-that-nobody-can-guess"


@asynccontextmanager
async def desk(prefix: str, redis_url: str, database: Path, **settings: Any) -> AsyncIterator[Site]:
    """The application with this queue; which database stands behind it makes no difference here."""
    given = {"DATABASE_URL": f"sqlite:///{database}", "REDIS_URL": redis_url, "queue_prefix": prefix, "access": "open"}
    async with serving(**given | settings) as site:
        yield site


@pytest.fixture
def database_file(sqlite_template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(sqlite_template, tmp_path / "rmindr.db"))


@pytest.fixture
async def site(prefix: str, valkey: Valkey, database_file: Path) -> AsyncIterator[Site]:
    """As on loopback: whoever reaches it may do everything. Its queue has the test's own prefix, and the server's clock."""
    async with desk(prefix, valkey.url, database_file) as site:
        yield site


def words(page: Page) -> str:
    """All that can be read on a page, in one line."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", page.html)))


async def press(site: Site, path: str, **fields: str) -> httpx.Response:
    """Send a form of the dashboard as a browser does, which says what it sends though it be nothing."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    return await site.client.post(path, content=urlencode(fields), headers=BROWSER | form)


async def see_after(site: Site, answer: httpx.Response) -> Page:
    """Where a form leads, opened."""
    assert answer.status_code == 303, answer.text
    return await site.see(answer.headers["location"])


async def failed_job(queue: Queue, error: str = "no luck", **asked: Any) -> int:
    job = await queue.create("email", {"title": "Hello", "body": "secret words"}, **asked)
    await queue.lifecycle.fail(await a_lease(queue, token=f"t{job.id}.1"), error, wait_ms=None)
    return job.id


# The overview


async def test_an_empty_queue_says_how_it_begins(site: Site) -> None:
    page = await site.see("/queue")

    assert page.status == 200
    assert "No job has been created yet" in words(page)
    assert "No worker has been heard of lately" in words(page)
    assert "Nothing repeats" in words(page)


async def test_the_overview_shows_states_types_limits_schedules_and_what_is_kept(site: Site, live_queue: Queue) -> None:
    await live_queue.create_many([NewJob(type="email") for _ in range(1234)])
    await failed_job(live_queue, priority="critical")
    await live_queue.steering.limit("email", Limit(rate=100, per=timedelta(minutes=1), concurrency=4))
    await live_queue.steering.pause("email")
    await live_queue.steering.retain(State.FAILED, Kept(count=5000, age=timedelta(days=30)))
    await live_queue.schedules.declare(Schedule(name="nightly", type="report", cron="0 3 * * *", zone="Europe/Paris"))

    page = await site.see("/queue")

    text = words(page)
    assert "1,234" in text
    assert "100 in 1 min, 4 at once" in text
    assert "email paused" in text
    assert "nightly report 0 3 * * * (Europe/Paris)" in text
    assert (page.values["failed_count"], page.values["failed_days"]) == ("5000", "30")
    assert ("/queue/jobs?state=failed&type=email", "1") in page.links
    assert ("/queue/type?name=email", "email") in page.links


async def test_three_numbers_are_well_while_all_is_well(site: Site, live_queue: Queue) -> None:
    live_queue.process("email", Hands())
    await live_queue.create("letter", delay=timedelta(minutes=5))
    async with working(live_queue):
        await eventually(live_queue.steering.workers)

        page = await site.see("/queue")

    assert re.search(r"Next due in [45] min", words(page))
    assert "Oldest overdue none" in words(page)
    assert re.search(r"Worker seen \d+(\.\d)? m?s ago", words(page))
    assert bad(page) == []


async def test_a_number_is_red_when_it_is_wrong(site: Site, live_queue: Queue) -> None:
    job = await live_queue.create("email")
    ago = await live_queue.lifecycle.now_ms() - 90_000
    await live_queue.redis.hset(live_queue.keys.job(job.id), "promote_at", ago)

    page = await site.see("/queue")

    assert re.search(r"Oldest overdue 1 min 3\d s", words(page))
    assert "Worker seen not lately" in words(page)
    assert len(bad(page)) == 2
    assert page.attributes["numbers"]["data-news"] == "No worker is alive. Jobs are overdue. "


def bad(page: Page) -> list[str]:
    return [given["class"] for tag, given in page.tags if tag == "div" and given.get("class", "").endswith(" bad")]


@pytest.mark.parametrize(("by", "name"), [("minute", "60 minutes"), ("day", "90 days")])
async def test_charts_come_with_a_table_that_says_the_same(site: Site, live_queue: Queue, by: str, name: str) -> None:
    await live_queue.create("email")
    await live_queue.lifecycle.complete(await a_lease(live_queue))
    await failed_job(live_queue)

    charts, table = await site.see(f"/queue?by={by}"), await site.see(f"/queue/history?by={by}")

    drawn = [given["class"] for tag, given in charts.tags if tag == "path"]
    assert set(drawn) == {"up", "down", "axis", "grid", "p50", "p99"}
    assert "1 complete, above the line" in words(charts)
    assert "1 failed, below" in words(charts)
    assert re.search(r"Created Complete Failed Half began 99 of 100 began \S+( \w+)? 2 1 1 ≤ ", words(table))
    assert ("/queue" if by == "minute" else "/queue?by=day") in dict(charts.links)
    assert name in words(charts)


async def test_a_period_that_there_is_not_is_refused(site: Site) -> None:
    assert (await site.see("/queue?by=week")).status == 422


async def test_many_types_are_shown_in_parts(site: Site, live_queue: Queue) -> None:
    for number in range(53):
        await live_queue.create(f"type {number:02}")

    page = await site.see("/queue")
    (more,) = [href for href, text in page.links if text == "The next ones"]
    rest = await site.see(more)

    assert "50 of 53 types" in words(page)
    assert "type 50" in words(rest)
    assert "type 49" not in words(rest)


async def test_what_a_worker_has_in_hand_leads_to_it(site: Site, live_queue: Queue) -> None:
    hands = Hands()
    live_queue.process("email", hands)
    job = await live_queue.create("email")
    async with working(live_queue):
        await until(lambda: hands.held)
        await eventually(live_queue.steering.workers)

        page = await site.see("/queue")
        hands.let_go()

    assert (f"/queue/jobs/{job.id}", str(job.id)) in page.links


# Lists


async def shown(site: Site, path: str) -> list[int]:
    """The jobs on one page of a list."""
    page = await site.see(path)
    assert page.status == 200
    return [int(found[1]) for href, _ in page.links if (found := re.fullmatch(r"/queue/jobs/(\d+)", href))]


async def test_the_pages_of_a_list_lead_through_all_of_it(site: Site, live_queue: Queue) -> None:
    made = await live_queue.create_many([NewJob(type="email", data={"title": f"n {n}"}) for n in range(60)])

    path, found = "/queue/jobs?state=inactive", []
    while path:
        page = await site.see(path)
        found += await shown(site, path)
        path = next((href for href, text in page.links if text == "After →"), "")

    assert found == [job.id for job in made]


async def test_a_page_keeps_its_place_when_its_jobs_are_gone(site: Site, live_queue: Queue) -> None:
    made = [job.id for job in await live_queue.create_many([NewJob(type="email") for _ in range(60)])]
    page = await site.see("/queue/jobs?state=inactive")
    (after,) = [href for href, text in page.links if text == "After →"]
    await live_queue.jobs.remove_these(made[:20])

    assert await shown(site, after) == made[20:40]


@pytest.mark.parametrize("state", list(State))
async def test_each_state_has_its_list_with_what_matters_in_it(
    site: Site, live_queue: Queue, clock: Clock, state: State
) -> None:
    place = "taken" if state is State.ACTIVE else str(state)
    lease = await standing(live_queue, clock, place)

    page = await site.see(f"/queue/jobs?state={state}")

    assert await shown(site, f"/queue/jobs?state={state}") == [lease.job.id]
    assert page.title == f"{str(state).capitalize()} jobs · Queue · rmindr"
    expected = {"delayed": "due in", "inactive": "since", "active": "began", "complete": "took", "failed": "ago"}
    assert expected[state] in words(page)


async def test_a_list_is_of_one_type_where_one_is_asked_for(site: Site, live_queue: Queue) -> None:
    await live_queue.create("email")
    letter = await live_queue.create("a letter: ünï/&?")

    assert await shown(site, "/queue/jobs?type=a+letter%3A+%C3%BCn%C3%AF%2F%26%3F") == [letter.id]
    assert await shown(site, "/queue/jobs?type=nothing") == []


async def test_a_search_looks_among_all_jobs(site: Site, prefix: str, valkey: Valkey) -> None:
    async with Queue.open(valkey.url, prefix=prefix, search=("title",)) as queue:
        await queue.create_many([NewJob(type="email", data={"title": f"common {n}"}) for n in range(40)])
        odd = await queue.create("email", {"title": "Straße 7"}, unique="the:key", delay=timedelta(hours=1))

    assert await shown(site, "/queue/jobs?q=strasse") == [odd.id]
    assert await shown(site, "/queue/jobs?q=the:key") == [odd.id]
    assert await shown(site, f"/queue/jobs?q={odd.id}") == [odd.id]
    assert await shown(site, "/queue/jobs?q=strasse&state=failed") == []
    assert "40 that have these words, newest first" in words(await site.see("/queue/jobs?q=common"))


async def test_where_nothing_is_indexed_a_search_says_so(site: Site, live_queue: Queue) -> None:
    await live_queue.create("email", {"title": "Hello"})

    page = await site.see("/queue/jobs?q=hello")

    assert "found by number or unique key only" in words(page)


async def test_a_reminders_job_is_found_by_the_reminders_id(site: Site) -> None:
    made = await site.post()

    (job_id,) = await shown(site, f"/queue/jobs?q={made['id']}")

    assert (await site.app.state.queue.get(job_id)).data["id"] == made["id"]


async def test_a_list_goes_to_an_instant(site: Site, live_queue: Queue) -> None:
    jobs = [await live_queue.create("email", delay=timedelta(days=days)) for days in (1, 2, 3)]
    assert jobs[1].promote_at is not None
    instant = jobs[1].promote_at - timedelta(minutes=1)

    path = f"/queue/jobs?state=delayed&from={instant:%Y-%m-%dT%H:%M:%S}"

    assert await shown(site, path) == [jobs[1].id, jobs[2].id]


@pytest.mark.parametrize(
    "junk", ["from=never", "after=nothing", "before=rank+1", "order=sideways", "from=9999999", "x=1"]
)
async def test_junk_in_the_address_of_a_list_is_passed_over(site: Site, live_queue: Queue, junk: str) -> None:
    job = await live_queue.create("email", delay=timedelta(hours=1))

    assert await shown(site, f"/queue/jobs?state=delayed&{junk}") == [job.id]


async def test_a_state_that_there_is_not_is_not_found(site: Site) -> None:
    page = await site.see("/queue/jobs?state=stuck")

    assert page.status == 404
    assert "There is no state «stuck»" in words(page)
    assert ("/queue", "See the queue") in page.links


async def test_what_cannot_be_read_stands_in_the_list_and_can_be_opened_and_removed(
    site: Site, live_queue: Queue
) -> None:
    job = await live_queue.create("email")
    await live_queue.redis.hdel(live_queue.keys.job(job.id), "created_at")

    listed, page = await site.see("/queue/jobs?state=inactive"), await site.see(f"/queue/jobs/{job.id}")
    after = await see_after(site, await press(site, f"/queue/jobs/{job.id}/remove"))

    assert "it has no created_at" in words(listed)
    assert "It cannot be read: it has no created_at" in words(page)
    assert f"Job {job.id} . It is removed" in words(after)
    assert await live_queue.redis.exists(live_queue.keys.job(job.id)) == 0


# One job


async def test_a_job_shows_its_life_its_error_its_log_and_its_result(site: Site, live_queue: Queue) -> None:
    job = await live_queue.create(
        "email", {"title": "Hello"}, attempts=5, priority="high", ttl=timedelta(minutes=1), unique="secret key",
        backoff=Backoff.exponential(timedelta(seconds=2)),
    )  # fmt: skip
    lease = await a_lease(live_queue, token="t.1")
    await live_queue.lifecycle.log(lease, "on its way")
    await live_queue.lifecycle.fail(lease, "boom", 'Boom: boom\n  File "mail.py", line 7', wait_ms=0)
    second = await a_lease(live_queue, token="t.2")
    await live_queue.lifecycle.progress(second, 40)
    running = words(await site.see(f"/queue/jobs/{job.id}"))
    await live_queue.lifecycle.complete(second, {"code": 250})

    page = await site.see(f"/queue/jobs/{job.id}")

    text = words(page)
    assert page.title == f"Job {job.id} (complete) · Queue · rmindr"
    assert "40 %" in running
    assert re.search("Created .*Attempt 2 began .*Complete", text)
    assert 'Boom: boom File "mail.py", line 7' in text
    assert "on its way" in text
    assert '{ "code": 250 }' in text
    assert "2 made of 5" in text
    assert "waits 1.0 s, then about twice as long each time" in text
    assert "May run for 1 min" in text
    assert "Priority high" in text


async def test_data_is_masked_until_somebody_asks_for_it_and_that_is_written_down(
    site: Site, live_queue: Queue
) -> None:
    job = await live_queue.create("email", {"title": "Hello", "body": "my secret words", "n": [1]}, unique="secret key")

    masked = await site.see(f"/queue/jobs/{job.id}")
    listed = await site.see("/queue/jobs")
    with capture_logs() as lines:
        answer = await press(site, f"/queue/jobs/{job.id}/show")

    assert "body text of 15 characters" in words(masked)
    assert "n a list of 1" in words(masked)
    for page in (masked, listed):
        assert "secret" not in page.html
    assert "my secret words" in answer.text
    assert "secret key" in answer.text
    assert [line for line in lines if line["event"] == "operator"] == [
        {
            "event": "operator",
            "act": "show",
            "id": job.id,
            "request_id": answer.headers["X-Request-Id"],
            "log_level": "info",
        }
    ]


async def test_a_reload_shows_masked_what_a_form_has_shown(site: Site, live_queue: Queue) -> None:
    job = await live_queue.create("email")

    answer = await site.client.get(f"/queue/jobs/{job.id}/show", headers=BROWSER)

    assert (answer.status_code, answer.headers["location"]) == (303, f"/queue/jobs/{job.id}")


async def test_the_job_of_a_reminder_leads_to_it_once_its_data_is_shown(site: Site) -> None:
    made = await site.post()
    (job_id,) = await site.app.state.queue.jobs.ids()

    masked = await site.see(f"/queue/jobs/{job_id}")
    shown = await press(site, f"/queue/jobs/{job_id}/show")

    assert f'href="/reminders/{made["id"]}"' not in masked.html
    assert f'href="/reminders/{made["id"]}"' in shown.text


async def test_a_job_that_there_is_not_is_not_found(site: Site) -> None:
    for id in ("7", "0", "-1", "x", "1.5", "9" * 16, "%00", "٣"):
        page = await site.see(f"/queue/jobs/{id}")

        assert page.status == 404, id


async def test_why_a_job_does_not_run_is_said(site: Site, live_queue: Queue) -> None:
    await live_queue.create("email")
    await live_queue.create("email")
    job = await live_queue.create("email")
    later = await live_queue.create("email", delay=timedelta(hours=1))
    await live_queue.lifecycle.claim({"email": 1}, token="t.1", lease=LEASE, worker="w")
    await live_queue.steering.pause()
    await live_queue.steering.pause("email")
    await live_queue.steering.limit("email", Limit(rate=5, per=timedelta(minutes=1), concurrency=1))

    waiting, delayed = words(await site.see(f"/queue/jobs/{job.id}")), words(await site.see(f"/queue/jobs/{later.id}"))

    for reason in (
        "All types are paused.",
        "Its type is paused.",
        "No worker is alive that works its type.",
        "1 of its type run, and no more may at once.",
        "Of its type, 5 may begin within 1 min.",
        "1 of its type come before it.",
    ):
        assert reason in waiting
    assert "It waits for the instant of its first run." in delayed


# Acts on one


@pytest.mark.parametrize(
    ("place", "verb", "fields", "after", "said"),
    [
        ("failed", "retry", {}, "inactive", "It runs again"),
        ("complete", "retry", {}, "inactive", "It runs again"),
        ("delayed", "run", {}, "inactive", "It runs as soon as"),
        ("delayed", "cancel", {}, "failed", "It is called off"),
        ("inactive", "cancel", {}, "failed", "To undo that, run it again"),
        ("inactive", "reschedule", {"in": "2 h"}, "delayed", "It has a new time"),
        ("delayed", "priority", {"priority": "critical"}, "delayed", "It has a new priority"),
    ],
)
async def test_a_button_does_what_it_says_and_its_page_says_so(
    site: Site, live_queue: Queue, clock: Clock, place: str, verb: str, fields: dict[str, str], after: str, said: str
) -> None:
    lease = await standing(live_queue, clock, place)

    page = await see_after(site, await press(site, f"/queue/jobs/{lease.job.id}/{verb}", **fields))

    assert await live_queue.jobs.states([lease.job.id]) == [State(after)]
    assert said in words(page)
    if verb == "priority":
        assert "Priority critical" in words(page)


async def test_a_run_is_told_to_stop(site: Site, live_queue: Queue) -> None:
    job = await live_queue.create("email")
    await a_lease(live_queue, token="worker.1")

    page = await see_after(site, await press(site, f"/queue/jobs/{job.id}/cancel"))

    assert "Its worker is told to stop" in words(page)
    assert await live_queue.redis.llen(live_queue.keys.bell("worker")) == 1


REFUSED: Final = {
    "delayed": ["retry"],
    "inactive": ["retry"],
    "taken": ["retry", "run", "reschedule", "priority", "remove"],
    "complete": ["run", "reschedule", "priority", "cancel"],
    "failed": ["run", "reschedule", "priority", "cancel"],
}


@pytest.mark.parametrize("place", list(REFUSED))
async def test_what_does_not_fit_is_refused_with_a_sentence_and_changes_nothing(
    site: Site, live_queue: Queue, clock: Clock, place: str
) -> None:
    lease = await standing(live_queue, clock, place)
    before = await keyspace(live_queue)
    for verb in REFUSED[place]:
        answer = await press(site, f"/queue/jobs/{lease.job.id}/{verb}", **{"in": "1 h", "priority": "low"})

        state = "active" if place == "taken" else place
        called = "update" if verb in ("run", "reschedule", "priority") else verb
        assert answer.status_code == 409
        assert f"Cannot {called} job {lease.job.id}: it is {state}." in words(Page(answer))
        assert await keyspace(live_queue) == before


async def test_what_is_done_with_a_job_that_is_gone_is_not_found(site: Site) -> None:
    for verb in ("retry", "run", "cancel", "reschedule", "priority", "remove", "take-back"):
        page = Page(await press(site, f"/queue/jobs/7/{verb}", **{"in": "1 h", "priority": "low"}))

        assert page.status == 404
        assert "There is no job 7 any more." in words(page)


async def test_a_unique_key_that_is_taken_is_told_without_the_key(site: Site, live_queue: Queue) -> None:
    failed = await failed_job(live_queue, unique="the secret key")
    await live_queue.create("email", unique="the secret key")

    answer = await press(site, f"/queue/jobs/{failed}/retry")

    assert answer.status_code == 409
    assert "cannot have its unique key back: job 2 holds it now." in words(Page(answer))
    assert "the secret key" not in answer.text


async def test_a_verb_that_there_is_not_is_not_found(site: Site, live_queue: Queue) -> None:
    job = await live_queue.create("email")

    assert (await press(site, f"/queue/jobs/{job.id}/promote")).status_code == 404


SPANS: Final = [
    ("90", None), ("90 s", 90), ("1.5min", 90), ("2 H", 7200), ("3 days", 259_200), ("1 hour", 3600), ("0 s", 0),
    ("", None), ("soon", None), ("-1 h", None), ("1 h 5 min", None), ("1e3 s", None), ("999999999 d", None), ("٣ s", None),
]  # fmt: skip


async def test_how_long_from_now_is_read_strictly(site: Site, live_queue: Queue) -> None:
    for text, seconds in SPANS:
        job = await live_queue.create("email", delay=timedelta(hours=5))

        answer = await press(site, f"/queue/jobs/{job.id}/reschedule", **{"in": text, "at": ""})

        after = await live_queue.get(job.id)
        assert after is not None
        if seconds is None:
            page = Page(answer)
            assert (page.status, page.values["in"], after) == (422, text, job)
            assert page.title.startswith("Error: ")
        else:
            assert answer.status_code == 303
            assert after.state is (State.DELAYED if seconds else State.INACTIVE)
            assert not seconds or after.delay == timedelta(seconds=seconds)


async def test_an_instant_is_taken_as_utc(site: Site, live_queue: Queue) -> None:
    job = await live_queue.create("email")

    answer = await press(site, f"/queue/jobs/{job.id}/reschedule", **{"in": "", "at": "2040-01-31T09:00"})

    after = await live_queue.get(job.id)
    assert answer.status_code == 303
    assert after is not None
    assert after.promote_at is not None
    assert after.promote_at.isoformat() == "2040-01-31T09:00:00+00:00"


@pytest.mark.parametrize("fields", [{"at": "never"}, {"in": "1 h", "at": "2040-01-31T09:00"}, {}])
async def test_one_time_and_no_other_must_be_said(site: Site, live_queue: Queue, fields: dict[str, str]) -> None:
    job = await live_queue.create("email")

    answer = await press(site, f"/queue/jobs/{job.id}/reschedule", **fields, x="")

    assert answer.status_code == 422
    assert await live_queue.jobs.count(State.INACTIVE) == 1


PRIORITIES: Final = [("low", 10), ("-3", -3), ("1.5", 1.5), ("nan", None), ("urgent", None), ("", None)]


async def test_a_priority_is_a_name_or_a_number(site: Site, live_queue: Queue) -> None:
    for text, score in PRIORITIES:
        job = await live_queue.create("email")

        answer = await press(site, f"/queue/jobs/{job.id}/priority", priority=text)

        (after,) = await live_queue.jobs.read([job.id])
        assert answer.status_code == (303 if score is not None else 422)
        assert after.priority == (score if score is not None else 0)


async def test_removing_is_asked_for_first(site: Site, live_queue: Queue) -> None:
    job = await live_queue.create("email")

    asked = await site.see(f"/queue/jobs/{job.id}/remove")
    there = await live_queue.get(job.id)
    after = await see_after(site, await press(site, f"/queue/jobs/{job.id}/remove"))

    assert "This cannot be undone" in words(asked)
    assert there is not None
    assert f"Job {job.id} . It is removed" in words(after)
    assert await live_queue.get(job.id) is None


async def test_a_job_that_a_kue_left_behind_is_taken_back(site: Site, live_queue: Queue) -> None:
    job = await live_queue.create("email", attempts=2)
    await taken_by_kue(live_queue, job, 0)
    at = f"/queue/jobs/{job.id}"

    page = await site.see(at)
    elsewhere = await press(site, f"{at}/take-back", holder="kue:there:1:email:1")
    after = await see_after(site, await press(site, f"{at}/take-back", holder=page.values["holder"]))

    assert page.values["holder"] == "kue:there:2:email:1"
    assert "if its process has ended, the job stays where it is for ever" in words(page)
    assert elsewhere.status_code == 409
    assert f"Cannot take back job {job.id}: it is in other hands by now." in words(Page(elsewhere))
    assert "It is taken back" in words(after)
    assert "A Kue has this job" not in words(after)
    assert await live_queue.jobs.states([job.id]) == [State.INACTIVE]


async def test_from_a_list_one_comes_back_to_its_place(site: Site, live_queue: Queue) -> None:
    for _ in range(30):
        await failed_job(live_queue)
    page = await site.see("/queue/jobs?state=failed&type=email")
    (after,) = [href for href, text in page.links if text == "After →"]
    second = await site.see(after)

    answer = await press(site, "/queue/jobs/3/retry", back=second.values["back"])

    assert answer.headers["location"].startswith(f"{after}&did=retry")
    page = await see_after(site, answer)
    assert "Job 3" in words(page)
    assert "It runs again" in words(page)


@pytest.mark.parametrize(
    "back", ["//evil.example", "https://evil.example/?state=failed", "\r\nX-Evil: 1", "state=%0d%0aX"]
)
async def test_a_form_leads_nowhere_else(site: Site, live_queue: Queue, back: str) -> None:
    job = await failed_job(live_queue)

    answer = await press(site, f"/queue/jobs/{job}/retry", back=back)

    assert answer.headers.get("location", "/queue/jobs?").startswith("/queue/jobs?")
    assert "x-evil" not in answer.headers


async def test_only_what_was_done_is_said_to_be_done(site: Site, live_queue: Queue) -> None:
    job = await live_queue.create("email")

    page = await site.see(f"/queue/jobs/{job.id}?did=everything%20is%20lost&job=<b>")

    assert "lost" not in words(page)


# Acts on many


async def test_many_are_counted_before_anything_is_done_with_them(site: Site, live_queue: Queue) -> None:
    for _ in range(3):
        await failed_job(live_queue)

    listed = await site.see("/queue/jobs?state=failed&type=email")
    (ask,) = [href for href, text in listed.links if text == "Run again …"]
    asked = await site.see(ask)

    assert asked.title == "Run again: 3 failed jobs · Queue · rmindr"
    assert "Of type email" in words(asked)
    assert "It begins 10 s after you say so; until then you can undo it." in words(asked)
    assert await live_queue.jobs.count(State.FAILED) == 3


async def test_many_are_done_a_moment_later_and_the_page_tells_how_many(
    site: Site, live_queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        await failed_job(live_queue)
    asked = await site.see("/queue/all?do=retry&state=failed")

    begun = await see_after(site, await press(site, "/queue/all", do=asked.values["do"], state=asked.values["state"]))
    (id,) = [href for tag, given in begun.tags if tag == "form" and (href := given["action"])]
    waiting = await live_queue.jobs.count(State.FAILED)

    assert "Nothing has been done yet. It begins in" in words(begun)
    assert waiting == 3
    assert re.fullmatch(r"/queue/errands/[0-9a-f]{16}/undo", id)


async def test_an_errand_tells_how_it_ended(site: Site) -> None:
    queue: Queue = site.app.state.queue
    for _ in range(3):
        await failed_job(queue)
    errand = await queue.errands.begin(Act(verb="retry"), Filter(state=State.FAILED), respite=timedelta(0))

    async def done() -> Any:
        page = await site.see(f"/queue/errands/{errand.id}")
        return page if "Done with 3 of 3." in words(page) else None

    page: Page = await eventually(done)

    assert not [given for tag, given in page.tags if tag == "meta" and given.get("http-equiv") == "refresh"]
    assert await queue.jobs.count(State.INACTIVE) == 3


async def test_undo_undoes(site: Site, live_queue: Queue) -> None:
    await failed_job(live_queue)
    begun = await press(site, "/queue/all", do="remove", state="failed")

    page = await see_after(site, await press(site, f"{begun.headers['location']}/undo"))
    again = await see_after(site, await press(site, f"{begun.headers['location']}/undo"))

    for each in (page, again):
        assert "It was called off. Nothing has been done." in words(each)
    assert await live_queue.jobs.count(State.FAILED) == 1


@pytest.mark.parametrize("state", ["", *State])
async def test_what_fits_no_job_of_a_list_is_neither_offered_nor_done(
    site: Site, live_queue: Queue, clock: Clock, state: str
) -> None:
    await standing(live_queue, clock, "taken" if state == "active" else state or "failed")
    listed = await site.see(f"/queue/jobs?state={state}")
    for verb, states in STARTS_FROM.items():
        asked = await site.see(f"/queue/all?do={verb}&state={state}")

        fits = state in states
        assert any(f"do={verb}&" in href for href, _ in listed.links) == fits
        assert asked.status == (200 if fits else 404)
        if not fits:
            assert (await press(site, "/queue/all", do=verb, state=state)).status_code == 404


async def test_what_many_need_is_asked_for(site: Site, live_queue: Queue) -> None:
    await live_queue.create("email")

    refused = await press(site, "/queue/all", do="priority", state="inactive", priority="urgent")
    taken = await press(site, "/queue/all", do="priority", state="inactive", priority="high")

    assert refused.status_code == 422
    assert Page(refused).values["priority"] == "urgent"
    assert taken.status_code == 303


async def test_an_errand_that_there_is_not_is_not_found(site: Site) -> None:
    for id in ("0123456789abcdef", "x", "-", "%2e%2e"):
        assert (await site.see(f"/queue/errands/{id}")).status == 404, id


# Steering


async def test_all_and_each_type_are_paused_and_resumed(site: Site, live_queue: Queue) -> None:
    await live_queue.create("email")

    all_paused = await see_after(site, await press(site, "/queue/pause"))
    one_paused = await see_after(site, await press(site, "/queue/pause", type="email", back="type"))
    both = await live_queue.steering.paused()
    await press(site, "/queue/resume")
    await press(site, "/queue/resume", type="email")

    assert "Everything is paused" in words(all_paused)
    assert one_paused.title == "email · Queue · rmindr"
    assert both == (True, ["email"])
    assert await live_queue.steering.paused() == (False, [])


async def test_limits_are_set_and_taken_away(site: Site, live_queue: Queue) -> None:
    await live_queue.create("email")

    page = await see_after(site, await press(site, "/queue/limit", type="email", rate="5", per="60", concurrency="2"))
    limits = await live_queue.steering.limits()
    await press(site, "/queue/limit", type="email", rate="", per="", concurrency="")

    assert limits == {"email": Limit(rate=5, per=timedelta(minutes=1), concurrency=2)}
    assert (page.values["rate"], page.values["per"], page.values["concurrency"]) == ("5", "60", "2")
    assert await live_queue.steering.limits() == {}


@pytest.mark.parametrize(("field", "value"), [("rate", "x"), ("rate", "0"), ("per", "1.5"), ("concurrency", "-1")])
async def test_a_limit_that_is_no_number_comes_back_with_what_was_typed(
    site: Site, live_queue: Queue, field: str, value: str
) -> None:
    await live_queue.create("email")

    answer = await press(site, "/queue/limit", type="email", **{"rate": "5", field: value})

    page = Page(answer)
    assert answer.status_code == 422
    assert page.title.startswith("Error: ")
    assert page.values[field] == value
    assert page.attributes[field]["aria-invalid"] == "true"
    assert await live_queue.steering.limits() == {}


async def test_what_is_kept_is_set(site: Site, live_queue: Queue) -> None:
    page = await see_after(
        site, await press(site, "/queue/keep", complete_count="0", complete_days="", failed_count="7", failed_days="30")
    )
    refused = await press(site, "/queue/keep", failed_days="99999")

    assert await live_queue.steering.retention() == {
        State.COMPLETE: Kept(count=0),
        State.FAILED: Kept(count=7, age=timedelta(days=30)),
    }
    assert page.values["complete_count"] == "0"
    assert refused.status_code == 422
    assert "a hundred years at most" in words(Page(refused))


@pytest.mark.parametrize("name", ["", "unheard of", "x" * 300])
async def test_a_type_that_nobody_has_heard_of_is_not_found(site: Site, name: str) -> None:
    assert (await site.client.get("/queue/type", params={"name": name}, headers=BROWSER)).status_code == 404


# Who is let in


PAGES: Final = (
    "/queue", "/queue?by=day", "/queue/history", "/queue/jobs", "/queue/jobs/1", "/queue/jobs/1/remove", "/queue/jobs/1/show",
    "/queue/type?name=email", "/queue/all?do=cancel&state=inactive", "/queue/errands/0123456789abcdef", "/queue/events",
)  # fmt: skip
FORMS: Final = (
    "/queue/jobs/1/show", "/queue/jobs/1/retry", "/queue/jobs/1/remove", "/queue/jobs/1/take-back", "/queue/all",
    "/queue/errands/0123456789abcdef/undo",
    "/queue/pause", "/queue/resume", "/queue/limit", "/queue/keep",
)  # fmt: skip


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_beyond_loopback_nobody_is_let_in_without_the_token(
    prefix: str, valkey: Valkey, database_file: Path, live_queue: Queue, token: str | None
) -> None:
    await live_queue.create("email")
    before = await keyspace(live_queue)
    async with desk(prefix, valkey.url, database_file, **CONFIRMED, admin_token=token) as site:
        for credentials in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic !!!"}):
            answers = [await site.client.get(path, headers=BROWSER | credentials) for path in PAGES]
            answers += [await site.submit(path, headers=BROWSER | credentials, type="email") for path in FORMS]
            for answer in answers:
                assert answer.status_code == (401 if token else 404), answer.url
                assert ("www-authenticate" in answer.headers) == bool(token)
                assert "inactive" not in answer.text

        assert ("/queue", "Queue") not in (await site.see("/")).links
    assert await keyspace(live_queue) == before


@pytest.mark.parametrize("kind", ["basic", "bearer"])
async def test_whoever_has_the_token_is_let_in_but_for_forms_of_other_sites(
    prefix: str, valkey: Valkey, database_file: Path, live_queue: Queue, kind: str
) -> None:
    await live_queue.create("email")
    async with desk(prefix, valkey.url, database_file, **CONFIRMED, admin_token=TOKEN) as site:
        if kind == "basic":
            site.client.auth = httpx.BasicAuth("whoever", TOKEN)
        else:
            site.client.headers["Authorization"] = f"Bearer {TOKEN}"
        overview = await site.see("/queue")
        elsewhere = [
            await site.submit(path, headers=BROWSER | {"Sec-Fetch-Site": "cross-site"}, type="email") for path in FORMS
        ]
        paused_by_another = await live_queue.steering.paused()
        await press(site, "/queue/pause", type="email")

    assert overview.status == 200
    assert ("/queue", "Queue") in overview.links
    assert {answer.status_code for answer in elsewhere} == {403}
    assert paused_by_another == (False, [])
    assert await live_queue.steering.paused() == (False, ["email"])


async def test_on_loopback_every_page_leads_to_the_queue(site: Site) -> None:
    assert ("/queue", "Queue") in (await site.see("/")).links


async def test_no_page_changes_anything(site: Site, live_queue: Queue, clock: Clock) -> None:
    await standing(live_queue, clock, "failed")
    await live_queue.create("email")
    before = await keyspace(live_queue)

    for path in (path for path in PAGES if path != "/queue/events"):
        await site.see(path) if path != "/queue/jobs/1/show" else await site.client.get(path)
        await site.client.head(path)

    assert await keyspace(live_queue) == before


async def test_without_redis_a_page_says_so(prefix: str, own_valkey: Valkey, database_file: Path) -> None:
    async with desk(prefix, own_valkey.url, database_file) as site:
        own_valkey.kill()

        page = await site.see("/queue")
        form = await press(site, "/queue/pause")

    assert (page.status, form.status_code) == (503, 503)
    assert "The queue does not answer just now" in words(page)


async def test_what_an_operator_does_is_written_down(site: Site, live_queue: Queue) -> None:
    job = await failed_job(live_queue)

    with capture_logs() as lines:
        await press(site, f"/queue/jobs/{job}/retry")
        await press(site, "/queue/pause", type="email")
        await press(site, "/queue/all", do="cancel", state="inactive")

    acts = [line for line in lines if line["event"] == "operator"]
    assert [line["act"] for line in acts] == ["retry", "pause", "cancel all"]
    assert acts[0]["id"] == job
    assert acts[2]["jobs"] == 1
    assert all(line["request_id"] for line in acts)


# Hostile words


PAYLOADS: Final = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "</title></pre></textarea></dialog><iframe src=javascript:alert(1)></iframe>",
    "\" autofocus onfocus=alert(1) x='",
    "javascript:alert(1)",
    "{{ 7777*7777 }} {% print 7777*7777 %}",
    "//evil.example/?a=b&c=d#e",
    "‮⁦right to left",
)
ALL: Final = " ".join(PAYLOADS)


async def hostile(queue: Queue) -> int:
    """A job, a schedule and a worker that say whatever a stranger could make them say."""
    type = ALL.replace("‮⁦", "")[:200]
    job = await queue.create(
        type, {"title": ALL, PAYLOADS[0]: PAYLOADS[1], "id": ALL}, unique=PAYLOADS[1], attempts=2,
        backoff=Backoff.named(PAYLOADS[0]),
    )  # fmt: skip
    claimed = await queue.lifecycle.claim({type: 1}, token="t.1", lease=LEASE, worker=PAYLOADS[1])
    (lease,) = claimed.leases
    await queue.lifecycle.log(lease, ALL)
    await queue.lifecycle.progress(lease, 10, {PAYLOADS[0]: PAYLOADS[1]})
    await queue.lifecycle.fail(lease, ALL, f"{ALL}\n{ALL}", wait_ms=0)
    claimed = await queue.lifecycle.claim({type: 1}, token="t.2", lease=LEASE, worker=PAYLOADS[1])
    await queue.lifecycle.complete(claimed.leases[0], {PAYLOADS[0]: ALL})
    held = await queue.create(type, {"title": ALL})
    await queue.lifecycle.claim({type: 1}, token="t.3", lease=LEASE, worker=PAYLOADS[1])
    await queue.redis.hset(queue.keys.job(held.id), "workerId", ALL)
    await queue.create(type, ALL)
    await queue.steering.pause(type)
    await queue.schedules.declare(Schedule(name=PAYLOADS[1], type=type, every=timedelta(minutes=5)))
    about = {"host": ALL, "version": ALL, "pid": 1, "types": f'{{"{PAYLOADS[0]}": 3}}', "active": "[]", "started_at": 1}
    await queue.redis.hset(queue.keys.worker("aa"), mapping=about)
    await queue.redis.zadd(queue.keys.workers, {"aa": await queue.lifecycle.now_ms()})
    return job.id


async def test_whatever_a_stranger_says_is_text_on_every_page(site: Site, live_queue: Queue) -> None:
    job = await hostile(live_queue)
    type = (await live_queue.jobs.types())[0]
    params = httpx.QueryParams
    paths = [
        "/queue", "/queue/history", "/queue/jobs", "/queue/jobs?state=complete", "/queue/jobs?state=active",
        f"/queue/jobs/{job}", f"/queue/jobs/{job + 1}", f"/queue/jobs/{job + 2}", f"/queue/jobs/{job}/remove",
        f"/queue/jobs?{params({'q': ALL, 'type': type})}", f"/queue/jobs?{params({'state': ALL})}",
        f"/queue/type?{params({'name': type})}", f"/queue/type?{params({'name': ALL})}",
        f"/queue/all?{params({'do': 'remove', 'state': 'complete', 'type': type, 'q': ALL})}",
        f"/queue?{params({'did': ALL, 'job': ALL})}", f"/queue/jobs/{params({'x': ALL})}",
    ]  # fmt: skip
    pages = {path: await site.see(path) for path in paths}
    pages["show"] = Page(await press(site, f"/queue/jobs/{job}/show"))
    pages["refused"] = Page(await press(site, "/queue/limit", type=type, rate=ALL))
    pages["retry"] = Page(await press(site, f"/queue/jobs/{job + 1}/priority", priority=ALL))

    for path, page in pages.items():
        for tag, given in page.tags:
            assert tag not in ("img", "iframe", "object", "embed", "base", "style"), path
            assert not [name for name in given if name.startswith("on") or name in ("autofocus", "style")], (
                path,
                given,
            )
            for address in (given.get(name) for name in ("href", "src", "action", "formaction") if name in given):
                assert address is not None
                assert re.match(r"[/?#](?!/)", address), (path, address)
            assert tag != "script" or given.get("src", "").startswith("/static/"), path
        assert str(7777 * 7777) not in page.html, path
    assert PAYLOADS[0] in pages[f"/queue/jobs/{job}"].text


# What it costs


@pytest.fixture(scope="module")
def crowded(valkey: Valkey) -> str:
    """The prefix of a queue with a hundred thousand jobs."""

    async def fill() -> None:
        async with Queue.open(valkey.url, prefix="crowd", patience=timedelta(minutes=1)) as queue:
            await a_crowd(queue)

    asyncio.run(fill())
    return "crowd"


CROWDED: Final = (
    "/queue", "/queue?by=day", "/queue/history", "/queue/jobs", "/queue/jobs?state=delayed", "/queue/jobs?state=failed",
    "/queue/jobs?state=failed&type=email", "/queue/jobs?state=complete&order=reverse", "/queue/jobs?type=letter",
    "/queue/jobs?state=inactive&after=rank+0.0+50001", "/queue/jobs?state=failed&type=email&before=end+1.0+7",
    "/queue/jobs?q=crowd", "/queue/jobs?q=crowd&state=failed&type=email", "/queue/jobs?q=77777",
    "/queue/jobs?q=77777&state=failed",
    "/queue/jobs/50001", "/queue/jobs/50001/remove", "/queue/type?name=email", "/queue/all?do=retry&state=failed",
    "/queue/all?do=retry&state=failed&type=email&q=crowd",
)  # fmt: skip


@pytest.mark.parametrize("path", CROWDED)
async def test_a_page_over_a_hundred_thousand_jobs_takes_five_round_trips_at_most_and_never_scans(
    crowded: str, valkey: Valkey, database_file: Path, path: str
) -> None:
    async with CountingWire(valkey.port) as wire, desk(crowded, wire.url, database_file) as site:
        await site.see(path)
        queue: Queue = site.app.state.queue
        await queue.redis.config_resetstat()
        wire.clear()

        page = await site.see(path)

        trips = wire.round_trips
        stats: Any = await queue.redis.info("commandstats")
    carried_out = {name.removeprefix("cmdstat_").partition("|")[0] for name in stats}
    assert page.status == 200
    assert 1 <= trips <= 5
    assert carried_out & {"keys", "scan", "sscan", "hscan", "zscan", "sort", "randomkey"} == set()
    assert len(page.html.encode()) + STATIC <= 50 * 1024


def weight(name: str) -> int:
    # As it travels.
    return len(gzip.compress((Path(__file__).parents[2] / "rmindr" / "web" / "static" / name).read_bytes()))


STATIC: Final = sum(map(weight, ("rmindr.css", "queue.css", "queue.js", "icons.svg", "favicon.svg")))


async def test_a_page_brings_nothing_but_its_own_styles_script_and_icons(site: Site) -> None:
    page = await site.see("/queue")

    brought = {
        given.get("src") or given["href"]
        for tag, given in page.tags
        if (tag == "script" or tag == "link") and given.get("rel") != "canonical"
    }
    assert {address.rpartition("/")[2] for address in brought} == {"rmindr.css", "queue.css", "queue.js", "favicon.svg"}


async def test_a_hundred_thousand_are_counted_before_anything_is_done(
    crowded: str, valkey: Valkey, database_file: Path
) -> None:
    async with desk(crowded, valkey.url, database_file) as site:
        page = await site.see("/queue/all?do=retry&state=failed")

    assert "Run again: 25,000 failed jobs" in words(page)


# News


async def take(stream: AsyncIterator[str]) -> str:
    async with asyncio.timeout(20):
        return re.search(r"event: (\w+)", await anext(stream))[1]  # type: ignore[index]


async def test_an_open_page_hears_that_something_has_changed(live_queue: Queue) -> None:
    live = Live(live_queue)
    stream = live.stream()
    assert await take(stream) == "hello"
    hearing = asyncio.create_task(take(stream))
    await eventually(lambda: subscribers(live_queue))

    await live_queue.create("email")

    assert await hearing == "change"
    await stream.aclose()


async def subscribers(queue: Queue) -> bool:
    (_, number), *_ = await queue.redis.pubsub_numsub(queue.keys.events)
    return bool(number)


async def test_however_much_happens_it_is_told_once_a_second_at_most(
    live_queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = Live(live_queue)
    stream = live.stream()
    await take(stream)
    hearing = asyncio.create_task(take(stream))
    await eventually(lambda: subscribers(live_queue))
    loop = asyncio.get_running_loop()
    heard = []

    for _ in range(3):
        await live_queue.create_many([NewJob(type="email") for _ in range(200)])
        assert await hearing == "change"
        heard.append(loop.time())
        await live_queue.create("email")
        hearing = asyncio.create_task(take(stream))
    hearing.cancel()
    await asyncio.wait([hearing])

    assert all(later - sooner >= 0.99 for sooner, later in itertools.pairwise(heard))


async def test_in_silence_it_says_that_it_is_alive(live_queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rmindr.web.live._BEAT_S", 0.05)
    monkeypatch.setattr("rmindr.web.live._PAUSE_S", 0.0)
    stream = Live(live_queue).stream()

    heard = [await take(stream) for _ in range(3)]

    assert heard == ["hello", "beat", "beat"]
    await stream.aclose()


async def test_all_streams_end_when_the_server_stops(live_queue: Queue) -> None:
    live = Live(live_queue)
    streams = [live.stream() for _ in range(3)]
    for stream in streams:
        await take(stream)
    hearing = [asyncio.create_task(take(stream)) for stream in streams]

    live.close()
    ended = await asyncio.gather(*hearing, return_exceptions=True)

    assert [type(each) for each in ended] == [StopAsyncIteration] * 3
    assert live.is_full


@pytest.mark.parametrize("command", ["web", "dev"])
async def test_a_process_that_is_told_to_stop_ends_its_streams_first(
    valkey: Valkey, prefix: str, database_file: Path, tmp_path: Path, command: str
) -> None:
    port = free_port()
    env = {"PORT": str(port), "PYTHONPATH": str(ROOT), "DATABASE_URL": f"sqlite:///{database_file}",
           "REDIS_URL": valkey.url, "RMINDR_QUEUE_PREFIX": prefix, "RMINDR_ACCESS": "open"}  # fmt: skip
    async with (
        Process(command, env=env, folder=tmp_path) as process,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        await answering(client, process)
        async with client.stream("GET", "/queue/events") as stream:
            lines = stream.aiter_lines()
            while await anext(lines) != "event: hello":
                pass
            process.send(signal.SIGTERM)
            # Cut off, it would raise.
            async for _ in lines:
                pass
        await process.ended()

        assert not [line for line in process.lines if "running task" in line]


async def test_too_many_open_pages_are_refused_and_told_when_to_ask_again(site: Site) -> None:
    live: Live = site.app.state.live
    streams = [live.stream() for _ in range(MOST)]
    for stream in streams:
        await take(stream)

    refused = await site.client.get("/queue/events")
    await streams.pop().aclose()

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "30")
    assert not live.is_full
    for stream in streams:
        await stream.aclose()


async def test_without_redis_a_stream_ends_so_that_the_page_asks(
    own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rmindr.web.live._SUBSCRIBED_WITHIN_S", 0.1)
    async with Queue.open(own_valkey.url) as queue:
        own_valkey.kill()
        stream = Live(queue).stream()

        heard = [each async for each in stream]

    assert len(heard) == 1
