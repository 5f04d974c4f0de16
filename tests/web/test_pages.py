"""The pages a person sees, without scripts: the form, its preview and its errors, and one reminder's true timeline."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, literal, update

from rmindr import times
from rmindr.database import Database
from rmindr.ledger import Claim, Ledger, reminders
from rmindr.models import Status
from tests.servers import free_port
from tests.web.conftest import Serve
from tests.web.site import BROWSER, CONFIRMED, NOBODYS, Page, Site, a_form, soon

# What does not depend on the database need not run on two.
ON_ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
TWICE = {"date": "2030-10-27", "time": "02:30", "time_zone": "Europe/Paris"}
SKIPPED = {"date": "2030-03-31", "time": "02:30", "time_zone": "Europe/Paris"}
MARKUP = "</textarea></pre><script>alert(1)</script><img src=x onerror=alert(1)>\"' onx=1 {{ 7777*7777 }} &lt;b&gt; `x`"


# The form, empty


async def test_the_empty_form_offers_tomorrow_at_nine_and_can_be_sent_by_a_browser_without_scripts(site: Site) -> None:
    page = await site.see("/")

    assert (page.status, page.title) == (200, "New reminder · rmindr")
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    assert datetime.fromisoformat(page.values["date"]).date() - tomorrow in (timedelta(0), timedelta(days=-1))
    assert (page.values["time"], page.values["time_zone"]) == ("09:00", "UTC")
    assert (page.values["message"], page.values["to"], page.values["subject"]) == ("", "", "")
    assert "summary" not in page.attributes
    answer = await site.submit(**page.values | {"message": "Call mum", "to": "ada@example.org"})
    assert answer.status_code == 303


@ON_ONE
async def test_every_field_has_a_label_and_none_hides_in_a_placeholder(site: Site) -> None:
    made = await site.post()
    for page in (await site.see("/"), Page(await site.submit(**a_form(**TWICE))), await site.see(edit_of(made))):
        labelled = {attributes["for"] for tag, attributes in page.tags if tag == "label" and "for" in attributes}
        fields = [attributes for tag, attributes in page.tags if tag in ("input", "textarea")]
        visible = {each["id"] for each in fields if each.get("type") not in ("hidden", "radio")}

        fields_of_an_edit = {"message", "when", "date", "time", "time_zone", "to", "deadline_at", "subject"}
        assert visible == labelled
        assert visible - {"repeat", "until", "count"} == fields_of_an_edit
        assert not any("placeholder" in each for each in fields)
        for each in fields:
            for described in each.get("aria-describedby", "").split():
                assert page.texts[described].strip(), described


@ON_ONE
async def test_fields_are_of_the_kinds_that_phones_have_keyboards_and_pickers_for(site: Site) -> None:
    page = await site.see("/")

    assert page.attributes["date"]["type"] == "date"
    assert page.attributes["time"]["type"] == "time"
    assert page.attributes["to"]["type"] == page.attributes["to"]["autocomplete"] == "email"
    assert page.attributes["message"]["maxlength"] == "4000"
    yesterday = datetime.now(UTC) - timedelta(days=1)
    assert f"{yesterday:%Y-%m-%d}" <= page.attributes["date"]["min"] <= f"{datetime.now(UTC):%Y-%m-%d}"


@ON_ONE
async def test_a_zone_is_chosen_from_a_list_by_its_city(site: Site) -> None:
    page = await site.see("/")

    listed = re.findall(r'<option value="([^"]+)">([^\n]*)', page.html.partition('id="repeats"')[0])
    assert [name for name, _ in listed] == times.zones()
    assert re.fullmatch(r"UTC\+[12]", dict(listed)["Europe/Paris"])
    assert re.fullmatch(r"New York, UTC−[45]", dict(listed)["America/New_York"])
    assert dict(listed)["UTC"] == ""
    assert all(re.fullmatch(r"([^,]+, )?UTC([+−][0-9:]+)?", label) for name, label in listed if name != "UTC")
    assert not [name for name, _ in listed if name.startswith(("posix", "right", "Etc", "US/")) or name == "localtime"]


@ON_ONE
@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("America/New York", "America/New_York"),
        (" Europe/Paris ", "Europe/Paris"),
        ("US/Pacific", "US/Pacific"),
        ("", "UTC"),
    ],
)
async def test_a_zone_may_be_typed_as_people_write_it(site: Site, typed: str, kept: str) -> None:
    await site.submit(**a_form(time_zone=typed))

    (made,) = await site.stored()
    assert made["time_zone"] == kept


@ON_ONE
async def test_no_page_is_larger_than_fifty_kilobytes(dev: Site) -> None:
    made = await dev.post(message="x" * 4000)
    for path in ("/", f"/reminders/{made['id']}", edit_of(made), "/docs", "/inbox", "/nothing"):
        assert len((await dev.see(path)).html.encode()) < 50_000


# Scheduling


async def test_a_form_that_is_right_becomes_a_reminder_with_a_page_of_its_own(site: Site) -> None:
    typed = a_form(date="2031-07-01", time="09:00", message="Call mum\r\n\r\nand dad", to="Ada@Münchén.example")

    answer = await site.submit(**typed)

    assert answer.status_code == 303
    (made,) = await site.stored()
    assert answer.headers["Location"] == f"/reminders/{made['id']}"
    assert (made["due_at"], made["time_zone"]) == ("2031-07-01T07:00:00Z", "Europe/Paris")
    assert (made["message"], made["subject"]) == ("Call mum\n\nand dad", "Reminder: Call mum")
    page = await site.see(answer.headers["Location"])
    assert (page.status, page.title) == (200, "Scheduled: Reminder: Call mum · rmindr")
    assert page.texts["badge"].strip() == "Scheduled"
    assert "Tuesday 1 July 2031 at 09:00 in Paris (UTC+2)" in page.text
    assert "Call mum\n\nand dad" in page.text
    assert "Ada@münchén.example" in page.text


@ON_ONE
@pytest.mark.parametrize("time", ["09:00", "09:00:00", "09:00:00.000"])
async def test_whatever_a_browser_writes_a_time_like_it_is_the_same_time(site: Site, time: str) -> None:
    await site.submit(**a_form(date="2031-07-01", time=time))

    (made,) = await site.stored()
    assert made["due_at"] == "2031-07-01T07:00:00Z"


async def test_the_same_form_sent_twice_at_once_is_one_reminder(site: Site) -> None:
    typed = (await site.see("/")).values | {"message": "Call mum", "to": "ada@example.org"}

    answers = await asyncio.gather(*(site.submit(**typed) for _ in range(5)))

    assert {answer.status_code for answer in answers} == {303}
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert len(await site.stored()) == 1


@ON_ONE
async def test_a_form_that_was_changed_after_going_back_is_another_reminder(site: Site) -> None:
    typed = (await site.see("/")).values | {"message": "Call mum", "to": "ada@example.org"}

    first = await site.submit(**typed)
    second = await site.submit(**typed | {"message": "Call dad"})

    assert first.headers["Location"] != second.headers["Location"]
    assert [each["message"] for each in await site.stored()] == ["Call dad", "Call mum"]


@ON_ONE
async def test_each_empty_form_is_a_reminder_of_its_own(site: Site) -> None:
    for _ in range(2):
        await site.submit(**(await site.see("/")).values | {"message": "Call mum", "to": "ada@example.org"})

    assert len(await site.stored()) == 2


@ON_ONE
async def test_beyond_loopback_an_address_that_has_not_agreed_is_asked_first(serve: Serve) -> None:
    async with serve(**CONFIRMED) as site:
        page = Page(await site.submit(**a_form(to="eve@example.com")))

    assert (page.status, page.title) == (202, "Look into your mail · rmindr")
    assert "eve@example.com" in page.text


# The preview, without scripts


@ON_ONE
async def test_the_time_can_be_checked_before_anything_else_is_written(site: Site) -> None:
    typed = a_form(date="2031-07-01", time="09:00", time_zone="America/New York", message="", to="")

    page = Page(await site.submit("/preview", **typed))

    assert (page.status, page.title) == (200, "New reminder · rmindr")
    assert re.fullmatch(
        r"Sends Tuesday 1 July 2031 at 09:00 in New York \(UTC−4\), in \d+ years? \d+ days?\.", page.texts["preview"]
    )
    assert page.attributes["preview"]["aria-live"] == "polite"
    assert {name: page.values[name] for name in typed} == typed
    assert await site.stored() == []


@ON_ONE
async def test_what_was_checked_can_be_sent_as_it_came_back(site: Site) -> None:
    checked = Page(await site.submit("/preview", **a_form(date="2031-07-01")))

    answer = await site.submit(**checked.values)

    assert answer.status_code == 303
    assert len(await site.stored()) == 1


# Times that the clocks show twice, or never


@ON_ONE
@pytest.mark.parametrize(("fold", "due_at"), [("0", "2030-10-27T00:30:00Z"), ("1", "2030-10-27T01:30:00Z")])
async def test_of_a_time_that_comes_twice_either_can_be_chosen(site: Site, fold: str, due_at: str) -> None:
    asked = Page(await site.submit(**a_form(**TWICE)))
    assert asked.status == 422
    assert "The clocks show this time twice that day. Which one?" in asked.text
    assert "the first (UTC+2)" in asked.text
    assert "the second (UTC+1)" in asked.text
    assert (
        "#fold-0",
        f"Time {asked.texts['when-wrong'].split(maxsplit=1)[1].strip().removesuffix('.')}",
    ) in asked.links
    assert "fold" not in asked.values

    chosen = Page(await site.submit("/preview", **asked.values | {"fold": fold}))
    answer = await site.submit(**chosen.values)

    assert chosen.status == 200
    assert chosen.values["fold"] == fold
    assert f"at 02:30 in Paris (UTC+{2 - int(fold)})" in chosen.texts["preview"]
    assert answer.status_code == 303
    (made,) = await site.stored()
    assert made["due_at"] == due_at
    assert f"(UTC+{2 - int(fold)})" in (await site.see(answer.headers["Location"])).text


@ON_ONE
async def test_a_choice_that_is_no_longer_asked_for_does_no_harm(site: Site) -> None:
    answer = await site.submit(**a_form(date="2031-07-01", fold="1"))

    assert answer.status_code == 303
    (made,) = await site.stored()
    assert made["due_at"] == "2031-07-01T07:00:00Z"


@ON_ONE
@pytest.mark.parametrize("path", ["/", "/preview"])
async def test_of_a_time_that_never_comes_the_next_one_is_told(site: Site, path: str) -> None:
    page = Page(await site.submit(path, **a_form(**SKIPPED)))

    assert page.status == 422
    said = page.texts["when-wrong"]
    assert "does not exist" in said
    assert "31 March 2030" in said
    assert "03:30" in said
    assert "fold-0" not in page.attributes
    assert await site.stored() == []


# When the database does not answer


@pytest.fixture
async def away(serve: Serve) -> AsyncIterator[Site]:
    async with serve(DATABASE_URL=f"postgres://nobody@127.0.0.1:{free_port()}/none") as site:
        yield site


@ON_ONE
@pytest.mark.parametrize("path", ["/", f"/reminders/{NOBODYS}/edit"])
async def test_what_cannot_be_saved_just_now_is_still_there_to_be_sent_again(away: Site, path: str) -> None:
    typed = a_form(message=f"a long letter\r\n{MARKUP}", subject="mine", **TWICE | {"fold": "1"})

    answer = await away.submit(path, **typed)

    page = Page(answer)
    assert (page.status, page.title.split(" · ")[0]) == (
        503,
        "Error: New reminder" if path == "/" else "Error: Change a reminder",
    )
    assert int(answer.headers["Retry-After"]) <= 5
    assert "could not be saved just now" in page.texts["summary"]
    assert page.attributes["summary"]["role"] == "alert"
    assert {name: page.values[name] for name in typed} == typed


@ON_ONE
async def test_the_time_can_be_checked_while_the_database_is_away(away: Site) -> None:
    page = Page(await away.submit("/preview", **a_form(date="2031-07-01")))

    assert page.status == 200
    assert page.texts["preview"].startswith("Sends Tuesday 1 July 2031")


@ON_ONE
@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/edit"), ("POST", "/cancel")])
async def test_a_page_that_cannot_be_shown_just_now_says_so_to_people(away: Site, method: str, path: str) -> None:
    answer = await away.client.request(method, f"/reminders/{uuid4()}{path}", headers=BROWSER)

    page = Page(answer)
    assert (page.status, page.title) == (503, "Not now · rmindr")
    assert "Try again in a moment" in page.text
    assert "Idempotency-Key" not in page.text
    assert int(answer.headers["Retry-After"]) <= 5


# Changing


def edit_of(made: dict[str, Any]) -> str:
    return f"/reminders/{made['id']}/edit"


async def test_the_form_to_change_a_reminder_is_filled_with_it_and_changes_it(site: Site) -> None:
    made = await site.post(
        due_at=None, when="2031-07-01T09:00", time_zone="America/New_York", message="Call mum\n\nat home", subject="Mum"
    )
    form = await site.see(edit_of(made))
    filled = {
        "message": "Call mum\n\nat home", "date": "2031-07-01", "time": "09:00", "time_zone": "America/New_York",
        "to": "ada@example.org", "subject": "Mum",
    }  # fmt: skip
    assert form.title == "Change a reminder · rmindr"
    assert {name: form.values[name] for name in filled} == filled

    answer = await site.submit(edit_of(made), **form.values | {"time": "10:00", "message": "Call dad"})

    assert (answer.status_code, answer.headers["Location"]) == (303, f"/reminders/{made['id']}")
    (changed,) = await site.stored()
    assert (changed["due_at"], changed["message"], changed["subject"]) == ("2031-07-01T14:00:00Z", "Call dad", "Mum")
    assert (changed["revision"], changed["to"]) == (2, "ada@example.org")
    page = await site.see(answer.headers["Location"])
    assert "Changed" in page.text
    assert "at 10:00 in New York" in page.text


@ON_ONE
async def test_a_subject_made_from_the_message_is_made_anew(site: Site) -> None:
    made = await site.post(message="Call mum")
    form = await site.see(edit_of(made))

    await site.submit(edit_of(made), **form.values | {"message": "Call dad"})

    assert form.values["subject"] == ""
    assert [each["subject"] for each in await site.stored()] == ["Reminder: Call dad"]


@ON_ONE
@pytest.mark.parametrize("due_at", ["2031-07-01T07:00:00.123Z", "2031-07-01T07:00:59Z", "2030-10-27T01:30:00Z"])
async def test_a_time_that_was_not_touched_stays_to_the_millisecond(site: Site, due_at: str) -> None:
    made = await site.post(due_at=due_at, time_zone="Europe/Paris")
    form = await site.see(edit_of(made))
    # Browsers write the same time in their own ways.
    typed = form.values | {
        "time": f"{form.values['time']}:00" if len(form.values["time"]) == 5 else form.values["time"]
    }

    answer = await site.submit(edit_of(made), **typed | {"message": "Call dad"})

    assert answer.status_code == 303
    (changed,) = await site.stored()
    assert (changed["due_at"], changed["message"]) == (made["due_at"], "Call dad")


@ON_ONE
async def test_only_the_text_can_be_changed_when_the_time_has_come(site: Site, database: Database) -> None:
    made = await site.overdue()
    form = await site.see(edit_of(made))

    kept = await site.submit(edit_of(made), **form.values | {"message": "Call dad"})
    moved = Page(await site.submit(edit_of(made), **form.values | {"date": "2001-01-01"}))

    assert kept.status_code == 303
    assert moved.status == 422
    assert "is in the past" in moved.texts["when-wrong"]


@ON_ONE
async def test_the_choice_between_two_times_can_be_changed_later(site: Site) -> None:
    made = await site.post(due_at="2030-10-27T01:30:00Z", time_zone="Europe/Paris")
    form = await site.see(edit_of(made))
    assert form.values["fold"] == "1"

    await site.submit(edit_of(made), **form.values | {"fold": "0"})

    assert [each["due_at"] for each in await site.stored()] == ["2030-10-27T00:30:00Z"]


@ON_ONE
async def test_a_change_can_be_checked_before_it_is_saved(site: Site) -> None:
    made = await site.post(due_at="2031-07-01T07:00:00Z", time_zone="Europe/Paris")
    form = await site.see(edit_of(made))
    (check,) = [attributes["formaction"] for _, attributes in form.tags if "formaction" in attributes]

    same = Page(await site.submit(check, **form.values))
    other = Page(await site.submit(check, **form.values | {"time": "10:00"}))

    assert same.texts["preview"] == "The time stays as it is."
    assert other.texts["preview"].startswith("Sends Tuesday 1 July 2031 at 10:00 in Paris")
    assert (await site.stored()) == [made]


# Cancelling


async def test_a_cancelled_reminder_says_so_and_can_no_longer_be_changed(site: Site) -> None:
    made = await site.post()
    seen = await site.see(f"/reminders/{made['id']}")
    (action,) = [given["action"] for tag, given in seen.tags if tag == "form" and given["action"].endswith("/cancel")]

    answer = await site.submit(action)
    again = await site.submit(action)

    assert answer.status_code == 303
    assert (again.status_code, again.headers["Location"]) == (303, f"/reminders/{made['id']}")
    page = await site.see(f"/reminders/{made['id']}")
    assert page.texts["badge"].strip() == "Cancelled"
    assert page.texts["lead"].strip() == "It will not be sent."
    assert not [tag for tag, _ in page.tags if tag == "form"]
    assert "http-equiv" not in page.html
    edit = await site.see(edit_of(made))
    assert (edit.status, edit.title) == (409, "Too late · rmindr")
    assert "This reminder is cancelled already." in edit.text


# Too late


async def claimed(ledger: Ledger, made: dict[str, Any]) -> Claim:
    """Taken by a worker, as soon as it is due."""
    async with asyncio.timeout(10):
        while (claim := await ledger.claim(UUID(made["id"]), 1, "a worker")) is None:
            await asyncio.sleep(0.01)
    return claim


@pytest.mark.parametrize("act", ["cancel", "edit"])
async def test_a_mail_that_is_leaving_or_has_left_is_a_409_with_a_way_back(
    site: Site, database: Database, act: str
) -> None:
    ledger = Ledger(database, timedelta(minutes=1))
    made = await site.overdue()
    form = await site.see(edit_of(made))
    claim = await claimed(ledger, made)
    assert await ledger.mark(claim, b"letter")

    async def too_late() -> str:
        page = Page(await site.submit(f"/reminders/{claim.id}/{act}", **(form.values if act == "edit" else {})))
        assert (page.status, page.title) == (409, "Too late · rmindr")
        assert (f"/reminders/{claim.id}", "See the reminder") in page.links
        return page.text

    assert "leaving right now" in await too_late()
    await ledger.sent(claim, "250 2.0.0 Ok: queued", timedelta(0))
    assert "has left" in await too_late()
    assert [each["status"] for each in await site.stored()] == ["sent"]


# One reminder's page


async def test_a_sent_reminder_shows_its_timeline_in_the_servers_own_words(site: Site, database: Database) -> None:
    ledger = Ledger(database, timedelta(minutes=1))
    claim = await claimed(ledger, await site.overdue(time_zone="Asia/Kolkata"))
    await ledger.mark(claim, b"letter")
    await ledger.sent(claim, f"250 2.0.0 Ok: {MARKUP}", timedelta(0))

    page = await site.see(f"/reminders/{claim.id}")

    assert page.title.startswith("Sent: ")
    assert page.texts["badge"].strip() == "Sent"
    assert re.fullmatch(r"The mail server took it \d+(\.\d)? (ms|seconds) after its time\.", page.texts["lead"].strip())
    told = [
        page.text.index(word) for word in ("What happened", "Scheduled", "Attempt", "Taken by the mail server", MARKUP)
    ]
    assert told == sorted(told)
    assert [given["action"] for tag, given in page.tags if tag == "form"] == [f"/reminders/{claim.id}/done"]
    assert "All times are in Asia/Kolkata." in page.text


STATES = {
    Status.UNCONFIRMED: ("Waiting for confirmation", True),
    Status.SCHEDULED: ("Scheduled", True),
    Status.SENDING: ("Leaving now", True),
    Status.RETRYING: ("Trying again", True),
    Status.SENT: ("Sent", False),
    Status.FAILED: ("Not sent", False),
    Status.CANCELLED: ("Cancelled", False),
    Status.MISSED: ("Missed", False),
    Status.UNCERTAIN: ("May have been sent", False),
}


@ON_ONE
@pytest.mark.parametrize("status", Status)
async def test_every_state_has_a_word_and_an_icon_and_refreshes_until_it_is_final(
    site: Site, database: Database, status: Status
) -> None:
    word, moving = STATES[status]
    made = await site.post()
    async with database.statements() as connection:
        await connection.execute(update(reminders).values(status=status, reason=literal("because")))

    page = await site.see(f"/reminders/{made['id']}")

    assert page.texts["badge"].strip() == word
    assert page.title.startswith(f"{word}: ")
    assert re.search(rf'<use href="/static/[0-9a-f]+/icons\.svg#{status}"', page.html)
    icons = await site.client.get(re.findall(r'href="(/static/[^"#]+icons\.svg)#', page.html)[0])
    assert f'id="{status}"' in icons.text
    assert ("http-equiv" in page.html) == moving == ("data-refresh" in page.html)


@ON_ONE
@pytest.mark.parametrize(("due", "shortest", "longest"), [(0.5, 1, 2), (10, 5, 11), (3600, 30, 30)])
async def test_a_page_without_scripts_looks_again_when_something_may_have_happened(
    site: Site, due: float, shortest: int, longest: int
) -> None:
    made = await site.post(due_at=soon(seconds=due))

    page = await site.see(f"/reminders/{made['id']}")

    refresh = re.findall(r'<noscript><meta http-equiv="refresh" content="(\d+)"></noscript>', page.html)
    assert len(refresh) == 1
    assert shortest <= int(refresh[0]) <= longest


@ON_ONE
async def test_a_reminder_that_is_due_and_not_sent_says_what_it_waits_for(site: Site) -> None:
    made = await site.overdue()

    page = await site.see(f"/reminders/{made['id']}")

    assert page.texts["lead"].strip() == "It is due and waits for a worker."


@ON_ONE
async def test_every_instant_is_there_for_machines_and_in_words(site: Site) -> None:
    made = await site.post(due_at="2031-07-01T07:00:00.250Z", time_zone="Europe/Paris")
    await site.client.patch(f"/api/reminders/{made['id']}", json={"message": "x"})

    page = await site.see(f"/reminders/{made['id']}")

    instants = [attributes for tag, attributes in page.tags if tag == "time"]
    assert instants[0] == {"datetime": "2031-07-01T07:00:00.250+00:00"}
    assert len(instants) == 3
    local = datetime.now(ZoneInfo("Europe/Paris"))
    for each in instants[1:]:
        assert abs(datetime.fromisoformat(each["datetime"]) - local) < timedelta(minutes=5)
        assert re.fullmatch(r"[A-Z]\w+day \d+ [A-Z]\w+ \d{4} \(UTC\+[12]\)", each["title"])
    assert "Tuesday 1 July 2031 at 09:00:00 in Paris (UTC+2)" in page.text


# What is not there


@ON_ONE
@pytest.mark.parametrize("path", ["/nothing", f"/reminders/{NOBODYS}", "/reminders/x", f"/reminders/{NOBODYS}/edit"])
async def test_what_is_not_there_is_a_page_with_a_way_on(site: Site, path: str) -> None:
    page = await site.see(path)

    assert (page.status, page.title) == (404, "Not found · rmindr")
    assert ("/", "Make a reminder") in page.links
    assert re.search(r"request:[0-9a-f]{32}", page.text)


@ON_ONE
async def test_the_api_is_explained_whole_and_every_link_leads_somewhere(site: Site) -> None:
    page = await site.see("/docs")
    described = (await site.client.get("/openapi.json")).json()

    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            assert f"{method.upper()} {path}" in page.text
            assert operation["operationId"] in page.attributes
    for href, _ in page.links:
        if href.startswith("#"):
            assert href[1:] in page.attributes, href
        else:
            assert (await site.client.get(href)).status_code == 200, href


# Whatever people write


@ON_ONE
async def test_what_people_write_is_text_on_every_page(dev: Site, database: Database) -> None:
    made = await dev.post(message=MARKUP, subject=MARKUP[:150])
    async with database.statements() as connection:
        await connection.execute(
            update(reminders).values(
                status=Status.FAILED,
                reason=MARKUP,
                timeline=func.replace(reminders.c.timeline, "created", "<b>made</b>"),
            )
        )
    pages = [
        await dev.see(f"/reminders/{made['id']}"),
        Page(await dev.submit(**dict.fromkeys(a_form(), MARKUP))),
        Page(await dev.submit("/preview", **a_form(time_zone=MARKUP))),
        Page(await dev.submit(**a_form(to="") | {MARKUP: "x", "fold": MARKUP})),
        Page(await dev.client.post("/", content=f"{MARKUP}=1&{MARKUP}=2",
             headers=BROWSER | {"Content-Type": "application/x-www-form-urlencoded"})),
        await dev.see(f"/{MARKUP}"),
        await dev.see(f"/inbox/{MARKUP}"),
    ]  # fmt: skip

    for page in pages:
        assert page.status in (200, 303, 400, 404, 422)
        assert "alert" not in "".join(f"{tag}{attributes}" for tag, attributes in page.tags if tag in ("script", "img"))
        assert "<img" not in page.html
        assert "<b>made" not in page.html
        assert not [attributes for _, attributes in page.tags if "onx" in attributes or "onerror" in attributes]
        assert str(7777 * 7777) not in page.html
    assert MARKUP in pages[0].text
    assert pages[1].values["message"] == MARKUP


# A time that has passed, and one that is years off


async def test_a_time_that_has_passed_offers_now_and_the_same_tomorrow(site: Site) -> None:
    page = Page(await site.submit(**a_form(date="2001-01-01", time="08:30")))

    offers = {given["value"]: given for tag, given in page.tags if tag == "button" and given.get("name") == "rather"}

    assert (page.status, set(offers)) == (422, {"now", "tomorrow"})
    assert "Tomorrow at 08:30" in page.text
    assert page.values["message"] == "Call mum"
    assert await site.stored() == []


async def test_now_is_sent_now_and_once_however_often_it_is_pressed(site: Site) -> None:
    typed = a_form(date="2001-01-01", time="08:30")
    before = datetime.now(UTC)

    answers = [await site.submit(**typed, rather="now") for _ in range(2)]

    (made,) = await site.stored()
    assert [each.headers["Location"] for each in answers] == [f"/reminders/{made['id']}"] * 2
    assert timedelta(0) < datetime.fromisoformat(made["due_at"]) - before < timedelta(minutes=1)


async def test_tomorrow_is_the_same_time_on_the_clock_of_its_zone(site: Site) -> None:
    await site.submit(**a_form(date="2001-01-01", time="08:30", time_zone="Pacific/Auckland"), rather="tomorrow")

    (made,) = await site.stored()
    tomorrow = datetime.now(ZoneInfo("Pacific/Auckland")) + timedelta(days=1)
    assert made["wall_time"] == f"{tomorrow:%Y-%m-%d}T08:30:00"


async def test_words_that_have_passed_offer_now_alone(site: Site) -> None:
    page = Page(await site.submit(**a_form(when="1 march 2020 18:00", date="", time="")))

    offers = [given["value"] for tag, given in page.tags if tag == "button" and given.get("name") == "rather"]

    assert offers == ["now"]


async def test_what_is_years_off_is_asked_about_once_more_and_then_kept(site: Site) -> None:
    far = f"{datetime.now(UTC).year + 7}-05-01"

    asked = Page(await site.submit(**a_form(date=far)))
    kept = await site.submit(**a_form(date=far, far="yes"))

    assert (asked.status, "far" in asked.attributes) == (422, True)
    assert ("#far", "Time is more than five years away: say that it is meant") in asked.links
    assert kept.status_code == 303


async def test_an_edit_that_leaves_a_far_time_as_it_is_is_not_asked(site: Site) -> None:
    made = await site.post(due_at=f"{datetime.now(UTC).year + 7}-05-01T09:00:00Z")
    form = await site.see(f"/reminders/{made['id']}/edit")

    answer = await site.submit(f"/reminders/{made['id']}/edit", **form.values | {"message": "Another"})

    assert answer.status_code == 303
    (kept,) = await site.stored()
    assert (kept["message"], kept["due_at"]) == ("Another", made["due_at"])


async def test_the_preview_says_that_it_is_years_off(site: Site) -> None:
    body = {"due_at": f"{datetime.now(UTC).year + 7}-05-01T09:00:00Z"}

    answer = await site.client.post("/api/reminders/preview", json=body)

    assert any("more than five years away" in each for each in answer.json()["warnings"])


# How much it weighs


@ON_ONE
async def test_the_form_and_all_that_it_loads_are_light(site: Site) -> None:
    """UI U-24: 50 KB, as it travels. Pages are not compressed: beside a secret, a length tells something."""
    answer = await site.client.get("/", headers=BROWSER)
    files = sorted(set(re.findall(r'(?:href|src)="(/static/[^"#]+)', answer.text)))

    loaded = {path: await site.client.get(path, headers={"Accept-Encoding": "gzip"}) for path in files}

    weights = {"/": len(answer.content)} | {path: int(file.headers["Content-Length"]) for path, file in loaded.items()}
    assert {path.rpartition("/")[2] for path in files} >= {"rmindr.css", "rmindr.js", "icons.svg"}
    assert sum(weights.values()) < 50_000, weights
    assert "Content-Encoding" not in answer.headers
