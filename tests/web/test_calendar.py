"""Calendars on the web: one reminder as a file, the feed behind its secret address, all of it to take along."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any
from uuid import UUID

import httpx
import icalendar
import pytest
from sqlalchemy import insert, update
from structlog.testing import capture_logs

from rmindr.database import now
from rmindr.ledger import reminders, row
from rmindr.models import Kind, Status, new_id
from rmindr.people import people
from rmindr.signing import Purpose
from tests.web.conftest import Serve
from tests.web.folk import STRICT, browser, rows, sign_up, token
from tests.web.site import BROWSER, NOBODYS, Page, Site, a_form, problem

DAILY = {"due_at": None, "when": "2031-03-01T09:00", "time_zone": "Europe/Paris", "repeat": "daily"}


@pytest.fixture
async def town(serve: Serve) -> AsyncIterator[Site]:
    async with serve(**STRICT) as site:
        yield site


@pytest.fixture
async def ada(town: Site) -> AsyncIterator[Site]:
    """Somebody who is signed in, with one reminder for tomorrow."""
    async with browser(town) as at:
        await sign_up(at, "ada@example.org", message="Call mum")
        yield at


@pytest.fixture
async def stranger(town: Site) -> AsyncIterator[Site]:
    """Somebody else's program, without a cookie."""
    async with browser(town) as at:
        yield at


def events(answer: httpx.Response) -> list[Any]:
    """The events of a file that was answered."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "text/calendar; charset=utf-8"
    return list(icalendar.Calendar.from_ical(answer.content).walk("VEVENT"))


def summaries(answer: httpx.Response) -> list[str]:
    return [str(each["SUMMARY"]) for each in events(answer)]


async def feed_of(at: Site) -> str:
    """The path of the feed of whoever is signed in, as the account's page shows it; empty where it is off."""
    shown = (await at.see("/account")).texts.get("feed", "")
    return shown.removeprefix("http://localhost:8000")


async def switched_on(at: Site) -> str:
    answer = await at.submit("/account/calendar")
    assert answer.headers["Location"] == "/account#calendar", answer.text
    return await feed_of(at)


async def change(at: Site, **values: Any) -> None:
    async with at.app.state.database.statements() as connection:
        await connection.execute(update(reminders).where(row.kind == Kind.REMINDER).values(**values))


async def many(at: Site, count: int, **values: Any) -> None:
    """So many more of Ada's, a day apart."""
    first, *_ = [each for each in await rows(at) if each["kind"] == Kind.REMINDER]
    day = timedelta(days=1)
    more = [
        first | {"id": new_id(), "idem_key": None, "due_at": first["due_at"] + n * day, "subject": f"S{n}"} | values
        for n in range(1, count + 1)
    ]
    async with at.app.state.database.transaction() as connection:
        await connection.execute(insert(reminders), more)


# One reminder


async def test_a_reminder_s_page_leads_to_its_file(ada: Site) -> None:
    (path,) = [f"/reminders/{each['id']}" for each in await rows(ada) if each["kind"] == Kind.REMINDER]

    page = await ada.see(path)
    answer = await ada.client.get(f"{path}/calendar.ics", headers=BROWSER)

    assert (f"{path}/calendar.ics", "Add to calendar") in page.links
    assert summaries(answer) == ["Call mum"]
    assert answer.headers["Content-Disposition"] == 'attachment; filename="reminder.ics"'
    assert answer.headers["Cache-Control"] == "no-store"


async def test_whoever_has_the_link_of_a_mail_has_the_file_too(ada: Site, stranger: Site) -> None:
    (id,) = [each["id"] for each in await rows(ada) if each["kind"] == Kind.REMINDER]
    path = f"/manage/{ada.app.state.signer.sign(Purpose.MANAGE, str(id))}"

    page = await stranger.see(path)
    answer = await stranger.client.get(f"{path}/calendar.ics", headers=BROWSER)

    assert (f"{path}/calendar.ics", "Add to calendar") in page.links
    assert summaries(answer) == ["Call mum"]


async def test_a_program_gets_the_file_by_its_token_and_of_another_s_nothing(ada: Site, stranger: Site) -> None:
    (id,) = [each["id"] for each in await rows(ada) if each["kind"] == Kind.REMINDER]
    reads, writes = await token(ada, "reminders:read"), await token(ada, "reminders:write")
    await sign_up(stranger, "bob@example.org", message="Bob's")
    of_bob = await token(stranger, "reminders:read")

    answer = await ada.client.get(f"/api/reminders/{id}.ics", headers=reads)

    assert summaries(answer) == ["Call mum"]
    problem(await ada.client.get(f"/api/reminders/{id}.ics", headers=writes), 403)
    problem(await ada.client.get(f"/api/reminders/{id}.ics"), 401)
    for other in (id, NOBODYS, "x"):
        problem(await ada.client.get(f"/api/reminders/{other}.ics", headers=of_bob), 404)
    for path in (f"/reminders/{id}/calendar.ics", f"/reminders/{NOBODYS}/calendar.ics", "/manage/x/calendar.ics"):
        assert (await stranger.client.get(path, headers=BROWSER)).status_code == 404


async def test_the_file_of_what_repeats_has_its_rule(site: Site) -> None:
    made = await site.post(**DAILY, count=3)

    (event,) = events(await site.client.get(f"/api/reminders/{made['id']}.ics"))
    await site.client.delete(f"/api/reminders/{made['id']}")
    skipped = events(await site.client.get(f"/api/reminders/{made['id']}.ics"))
    (following,) = events(await site.client.get(f"/api/reminders/{(await site.stored())[0]['id']}.ics"))

    assert (event["RRULE"].to_ical(), str(event["UID"])) == (b"FREQ=DAILY;COUNT=3", made["series_id"])
    assert [(str(each["STATUS"]), str(each["UID"])) for each in skipped] == [("CANCELLED", made["id"])]
    assert following["RRULE"].to_ical() == b"FREQ=DAILY;COUNT=2"
    assert following["DTSTART"].to_ical() == b"20310302T090000"


# The feed


async def test_there_is_no_feed_until_it_is_asked_for(ada: Site) -> None:
    (person,) = [each for each in await persons(ada) if each["mailbox"] == "ada@example.org"]
    sign = ada.app.state.signer.sign

    for rev in ("0", "1", "2", "3", "-2", "x"):
        problem(await ada.client.get(f"/calendar/{sign(Purpose.FEED, person['id'].hex, rev)}.ics"), 404)
    assert await feed_of(ada) == ""


async def persons(at: Site) -> list[dict[str, Any]]:
    async with at.app.state.database.statements() as connection:
        return [dict(each) for each in (await connection.execute(people.select())).mappings()]


async def test_whoever_has_the_address_reads_the_feed_without_a_cookie(ada: Site, stranger: Site) -> None:
    path = await switched_on(ada)

    answer = await stranger.client.get(path)
    head = await stranger.client.head(path)

    assert summaries(answer) == ["Call mum"]
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert b"REFRESH-INTERVAL;VALUE=DURATION:PT60M\r\nX-PUBLISHED-TTL:PT60M\r\n" in answer.content
    assert (head.status_code, head.content, head.headers["ETag"]) == (200, b"", answer.headers["ETag"])
    assert "Set-Cookie" not in answer.headers
    assert f"webcal://localhost:8000{path}" in dict((await ada.see("/account")).links)


async def test_only_reading_is_possible_there(ada: Site, stranger: Site) -> None:
    path = await switched_on(ada)

    for method in ("POST", "PUT", "DELETE", "PROPFIND", "REPORT", "OPTIONS"):
        assert problem(answer := await stranger.client.request(method, path), 405)
        assert answer.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("token", ["x", "WzAsIngiXQ.AAAA", "%00", "a" * 300, "WzAsIngiXQ.ýý", ""])
async def test_what_is_no_address_of_a_feed_is_not_found(town: Site, token: str) -> None:
    problem(await town.client.get(f"/calendar/{token}.ics"), 404)


async def test_a_token_for_another_purpose_opens_no_feed_and_that_of_a_feed_nothing_else(ada: Site) -> None:
    path = await switched_on(ada)
    feed = path.removeprefix("/calendar/").removesuffix(".ics")
    (person,) = await persons(ada)

    for purpose in set(Purpose) - {Purpose.FEED}:
        token = ada.app.state.signer.sign(purpose, person["id"].hex, str(person["feed_rev"]))
        problem(await ada.client.get(f"/calendar/{token}.ics"), 404)
    for door in ("confirm", "agree", "sign-in", "manage", "done", "snooze", "stop"):
        problem(await ada.client.get(f"/{door}/{feed}"), 404)
    problem(await ada.client.get("/api/reminders", headers={"Authorization": f"Bearer {feed}"}), 401)


async def test_a_new_address_makes_the_old_one_useless_and_off_is_off(ada: Site) -> None:
    first, second = await switched_on(ada), await switched_on(ada)
    after_second = [(await ada.client.get(path)).status_code for path in (first, second)]

    await ada.submit("/account/calendar/off")
    off = [(await ada.client.get(path)).status_code for path in (first, second)]
    third = await switched_on(ada)
    again = [(await ada.client.get(path)).status_code for path in (first, second, third)]

    assert after_second == [404, 200]
    assert off == [404, 404]
    assert again == [404, 404, 200]


async def test_nobody_else_and_no_other_site_switches_it(ada: Site, stranger: Site) -> None:
    path = await switched_on(ada)

    for where in ("/account/calendar", "/account/calendar/off"):
        elsewhere = await ada.submit(where, headers={"Sec-Fetch-Site": "cross-site"})
        assert (elsewhere.status_code, (await stranger.submit(where)).status_code) == (403, 404)

    assert (await ada.client.get(path)).status_code == 200


async def test_the_feed_lasts_when_its_person_signs_out_or_stops_all_mail_and_ends_when_all_is_deleted(
    ada: Site, stranger: Site
) -> None:
    path = await switched_on(ada)
    await ada.submit("/sign-out")
    async with ada.app.state.database.statements() as connection:
        await connection.execute(update(people).values(blocked_at=now()))
    signed_out = await stranger.client.get(path)
    await sign_in(ada, "ada@example.org")

    await ada.submit("/account/delete", sure="yes")

    assert summaries(signed_out) == ["Call mum"]
    problem(await stranger.client.get(path), 404)
    # Whoever has stopped all mail stays known for that alone.
    (person,) = await persons(ada)
    assert person["feed_rev"] % 2 == 1


async def sign_in(at: Site, address: str) -> None:
    """As if the link of a mail had been opened: nothing is mailed to who wants no mail."""
    async with at.app.state.database.statements() as connection:
        await connection.execute(update(people).values(blocked_at=None))
    await at.submit("/sign-in", to=address)
    from tests.web.folk import link, press

    await press(at, await link(at, Kind.SIGN_IN, address))
    async with at.app.state.database.statements() as connection:
        await connection.execute(update(people).values(blocked_at=now()))


async def test_what_a_client_has_already_is_not_sent_again_until_something_changes(ada: Site, stranger: Site) -> None:
    path = await switched_on(ada)
    first = await stranger.client.get(path)
    mark, since = first.headers["ETag"], first.headers["Last-Modified"]

    async def again(**headers: str) -> httpx.Response:
        return await stranger.client.get(path, headers={name.replace("_", "-"): each for name, each in headers.items()})

    unchanged = [
        await again(If_None_Match=mark), await again(If_None_Match=f'"x", W/{mark}'), await again(If_None_Match="*"),
        await again(If_Modified_Since=since),
    ]  # fmt: skip
    an_hour_before = format_datetime(parsedate_to_datetime(since) - timedelta(hours=1), usegmt=True)
    whole = [
        await again(If_None_Match='"x"'), await again(If_None_Match='"x"', If_Modified_Since=since),
        await again(If_Modified_Since=an_hour_before), await again(If_Modified_Since="yesterday"),
    ]  # fmt: skip
    await change(ada, subject="Call dad", rev=2, updated_at=now() + 5000)
    changed = [await again(If_None_Match=mark), await again(If_Modified_Since=since)]

    assert [(each.status_code, each.content, each.headers["ETag"]) for each in unchanged] == [(304, b"", mark)] * 4
    assert [each.status_code for each in whole] == [200] * 4
    assert [summaries(each) for each in changed] == [["Call dad"]] * 2


async def test_the_feed_has_what_is_to_come_and_what_was_lately_and_not_what_is_cancelled_or_not_agreed_to(
    ada: Site, stranger: Site
) -> None:
    path = await switched_on(ada)
    ago = datetime.now(UTC) - timedelta(days=20)
    await many(ada, 1, subject="lately", status=Status.SENT, due_at=ago)
    held = [each for each in await rows(ada) if each["subject"] == "lately"]
    for subject, status, due_at in (
        ("long ago", Status.SENT, ago - timedelta(days=20)),
        ("cancelled", Status.CANCELLED, ago + timedelta(days=40)),
        ("unconfirmed", Status.UNCONFIRMED, ago + timedelta(days=40)),
        ("in years", Status.SCHEDULED, ago + timedelta(days=4000)),
        ("a mail of ours", Status.SCHEDULED, ago + timedelta(days=40)),
        ("somebody else's", Status.SCHEDULED, ago + timedelta(days=40)),
    ):
        other = {"id": new_id(), "subject": subject, "status": status, "due_at": due_at}
        other |= {"kind": Kind.NOTICE} if subject.startswith("a mail") else {}
        other |= {"owner": "f" * 32} if subject.startswith("somebody") else {}
        async with ada.app.state.database.statements() as connection:
            await connection.execute(insert(reminders).values(held[0] | other))

    answer = await stranger.client.get(path)

    assert summaries(answer) == ["lately", "Call mum", "in years"]


async def test_what_repeats_is_one_event_with_its_rule_and_what_it_said_before(ada: Site, stranger: Site) -> None:
    header = await token(ada, "reminders:read", "reminders:write")
    body = {"to": "ada@example.org", "message": "Stretch", **{name: each for name, each in DAILY.items() if each}}
    made = (await ada.client.post("/api/reminders", json=body, headers=header)).json()
    path = await switched_on(ada)
    first = await stranger.client.get(path)

    await ada.client.patch(f"/api/reminders/{made['id']}", json={"message": "Stretch long"}, headers=header)
    moved = await stranger.client.get(path)
    await ada.client.delete(f"/api/reminders/{made['id']}?which=following", headers=header)
    ended = await stranger.client.get(path)

    assert [("RRULE" in each, "RECURRENCE-ID" in each) for each in events(first)] == [(False, False), (True, False)]
    of_series = [each for each in events(moved) if str(each["UID"]) == made["series_id"]]
    assert [("RRULE" in each, str(each["DESCRIPTION"])) for each in of_series] == [
        (True, "Stretch"), (False, "Stretch long"),
    ]  # fmt: skip
    assert summaries(ended) == ["Call mum"]


async def test_a_thousand_reminders_are_one_file(ada: Site, stranger: Site) -> None:
    path = await switched_on(ada)
    await many(ada, 999)

    answer = await stranger.client.get(path)

    assert len({str(each["UID"]) for each in events(answer)}) == 1000


async def test_the_address_of_a_feed_is_in_no_log_line(ada: Site, stranger: Site) -> None:
    path = await switched_on(ada)

    with capture_logs() as lines:
        await stranger.client.get(path)
        await stranger.client.get(path[:-5] + "x.ics")
        await stranger.client.delete(path)

    assert [line["route"] for line in lines][:2] == ["/calendar/{token}.ics"] * 2
    assert path.removeprefix("/calendar/")[:20] not in repr(lines)


# All of it


async def test_all_of_it_can_be_taken_along_as_a_calendar(ada: Site, stranger: Site) -> None:
    await ada.submit(**a_form(to="ada@example.org", message="M, 'n; \\x", key="2", time_zone="America/New_York"))
    await many(ada, 600)
    await sign_up(stranger, "bob@example.org", message="Bob's")

    taken = await ada.client.get("/export.ics", headers=BROWSER)

    assert len(events(taken)) == 602
    assert summaries(taken)[1] == "M, 'n; \\x"
    assert {str(each["TZID"]) for each in icalendar.Calendar.from_ical(taken.content).walk("VTIMEZONE")} == {
        "Europe/Paris", "America/New_York",
    }  # fmt: skip
    assert taken.headers["Content-Disposition"] == 'attachment; filename="reminders.ics"'
    assert summaries(await stranger.client.get("/export.ics", headers=BROWSER)) == ["Bob's"]


async def test_nobody_known_takes_nothing_along(stranger: Site) -> None:
    problem(await stranger.client.get("/export.ics"), 404)


async def test_on_an_open_instance_everybody_takes_all_along_and_nobody_has_a_feed(site: Site) -> None:
    made = await site.post()

    assert [str(each["UID"]) for each in events(await site.client.get("/export.ics"))] == [made["id"]]
    assert summaries(await site.client.get(f"/reminders/{made['id']}/calendar.ics")) == ["Call mum"]
    assert Page(await site.client.get("/account", headers=BROWSER)).status == 404
    assert UUID(made["id"])
