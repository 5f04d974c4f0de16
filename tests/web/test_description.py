"""The descriptions of both APIs: what a client may rely on, and that none of it is a lie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.web.site import Site

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

# (operationId, method, path): what a request must have. A line that changes here breaks somebody's client.
REMINDERS: Final = {
    ("createReminder", "POST", "/api/reminders"): "to message",
    ("listReminders", "GET", "/api/reminders"): "",
    ("previewReminder", "POST", "/api/reminders/preview"): "",
    ("createReminders", "POST", "/api/reminders/batch"): "items",
    ("readReminder", "GET", "/api/reminders/{id}"): "id",
    ("editReminder", "PATCH", "/api/reminders/{id}"): "id",
    ("cancelReminder", "DELETE", "/api/reminders/{id}"): "id",
    ("readReminderAsCalendar", "GET", "/api/reminders/{id}.ics"): "id",
    ("readSeries", "GET", "/api/reminders/{id}/series"): "id",
    ("snoozeReminder", "POST", "/api/reminders/{id}/snooze"): "id until",
    ("finishReminder", "POST", "/api/reminders/{id}/done"): "id",
    ("sendReminderNow", "POST", "/api/reminders/{id}/now"): "id",
    ("copyReminder", "POST", "/api/reminders/{id}/copy"): "id",
}
QUEUE: Final = {
    ("readStats", "GET", "/stats"): "",
    ("listTypes", "GET", "/job/types"): "",
    ("searchJobs", "GET", "/job/search"): "",
    ("listJobs", "GET", "/jobs/{from}..{to}"): "from to",
    ("listJobsInOrder", "GET", "/jobs/{from}..{to}/{order}"): "from to order",
    ("listJobsInState", "GET", "/jobs/{state}/{from}..{to}"): "state from to",
    ("listJobsInStateInOrder", "GET", "/jobs/{state}/{from}..{to}/{order}"): "state from to order",
    ("listJobsOfTypeInState", "GET", "/jobs/{type}/{state}/{from}..{to}"): "type state from to",
    ("listJobsOfTypeInStateInOrder", "GET", "/jobs/{type}/{state}/{from}..{to}/{order}"): "type state from to order",
    ("countJobsOfTypeInState", "GET", "/jobs/{type}/{state}/stats"): "type state",
    ("readJob", "GET", "/job/{id}"): "id",
    ("readJobLog", "GET", "/job/{id}/log"): "id",
    ("createJobs", "POST", "/job"): "",
    ("moveJob", "PUT", "/job/{id}/state/{state}"): "id state",
    ("prioritiseJob", "PUT", "/job/{id}/priority/{priority}"): "id priority",
    ("restartJob", "POST", "/inactive/{id}"): "id",
    ("restartJobByPut", "PUT", "/inactive/{id}"): "id",
    ("removeJob", "DELETE", "/job/{id}"): "id",
}
# What every answer with a reminder has, and what an error has.
ALWAYS: Final = {
    "ReminderOut": "id to subject message due_at time_zone status reason revision attempts next_attempt_at created_at "
    "updated_at sent_at lateness_ms may_have_arrived_twice timeline wall_time zone_rules deadline_at series_id",
    "Problem": "type title status detail instance",
    "Page": "items next",
    "BatchOut": "items",
    "BatchItem": "status",
    "Preview": "to subject due_at time_zone local_time sentence there warnings repeats next deadline_at",
    "SeriesOut": "id state rule repeats time_zone from_completion missed useful_seconds made next",
}


async def described(site: Site, path: str = "/openapi.json") -> dict[str, Any]:
    found: dict[str, Any] = (await site.client.get(path)).json()
    return found


def operations(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def schema_in(description: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, where it stands elsewhere, too."""
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = description["components"]["schemas"][name] if name else schema
    return found


def required(description: dict[str, Any], operation: dict[str, Any]) -> set[str]:
    """The parameters and fields that a request must have."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {"schema": {}})
    body = schema_in(description, content["schema"]) if content["schema"] else {}
    parameters = {each["name"] for each in operation.get("parameters", []) if each.get("required")}
    return parameters | set(body.get("required", []))


@pytest.mark.parametrize(("path", "table"), [("/openapi.json", REMINDERS), ("/queue/api/openapi.json", QUEUE)])
async def test_every_operation_is_known_by_these_names_and_needs_these_fields(
    site: Site, path: str, table: dict[tuple[str, str, str], str]
) -> None:
    description = await described(site, path)

    found = {
        (operation["operationId"], method, where): required(description, operation)
        for method, where, operation in operations(description)
    }

    assert description["openapi"].startswith("3.1")
    assert found == {operation: set(fields.split()) for operation, fields in table.items()}


async def test_every_answer_always_has_these_fields(site: Site) -> None:
    schemas = (await described(site))["components"]["schemas"]

    assert {name: set(schemas[name]["required"]) for name in ALWAYS} == {
        name: set(fields.split()) for name, fields in ALWAYS.items()
    }


@pytest.mark.parametrize("path", ["/openapi.json", "/queue/api/openapi.json"])
async def test_every_answer_has_a_shape(site: Site, path: str) -> None:
    shapeless = [
        f"{method} {where} {status}"
        for method, where, operation in operations(await described(site, path))
        for status, answer in operation["responses"].items()
        if status not in ("204", "304") and not all(content.get("schema") for content in answer["content"].values())
    ]

    assert shapeless == []


async def test_a_change_is_described_as_a_merge_patch_of_what_may_be_missing(site: Site) -> None:
    description = await described(site)
    change = description["paths"]["/api/reminders/{id}"]["patch"]["requestBody"]["content"]
    fields = description["components"]["schemas"]["ReminderChange"]["properties"]

    assert list(change) == ["application/merge-patch+json", "application/json"]
    assert {name for name, field in fields.items() if "null" in str(field.get("anyOf"))} == {"deadline_at"}


async def test_every_example_of_a_body_is_taken(site: Site) -> None:
    description = await described(site)
    taken = {}
    for method, path, operation in operations(description):
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            examples = schema_in(description, content["schema"]).get("examples", [])
            for number, example in enumerate(examples):
                where = path.replace("{id}", (await site.post())["id"])
                answer = await site.client.request(method, where, json=example, headers={"Content-Type": kind})
                taken[operation["operationId"], kind, number] = answer.status_code
                if "items" in answer.json() and "next" not in answer.json():
                    assert {each["status"] for each in answer.json()["items"]} == {201}

    assert {operation for operation, *_ in taken} == {
        operation["operationId"] for *_, operation in operations(description) if "requestBody" in operation
    }
    assert set(taken.values()) <= {200, 201}


async def test_every_example_of_a_field_is_taken(site: Site) -> None:
    fields = (await described(site))["components"]["schemas"]["ReminderIn"]["properties"]
    examples = {name: field["examples"][0] for name, field in fields.items() if "examples" in field}
    one = {"to": examples.pop("to"), "message": examples.pop("message"), "time_zone": examples.pop("time_zone")}

    # Each with the time that it goes with: a rule's last day is after its first, and a time is said once.
    bodies = [
        {"due_at": examples.pop("due_at"), "deadline_at": examples.pop("deadline_at")},
        {"when": examples.pop("when"), "repeat": examples.pop("repeat"), "until": examples.pop("until")},
    ]
    answers = [await site.client.post("/api/reminders", json=one | body) for body in bodies]

    assert examples == {}
    assert [answer.status_code for answer in answers] == [201, 201]


async def test_the_example_of_a_job_is_taken(site: Site) -> None:
    description = await described(site, "/queue/api/openapi.json")
    content = description["paths"]["/job"]["post"]["requestBody"]["content"]["application/json"]

    for example in content["examples"].values():
        answer = await site.client.post("/queue/api/job", json=example["value"])
        assert answer.status_code == 200, answer.text


async def test_what_is_described_for_programs_is_told_to_people_too(site: Site) -> None:
    page = (await site.client.get("/docs", headers={"Accept": "text/html"})).text

    for operation, _, _ in REMINDERS:
        assert f'id="{operation}"' in page
    assert 'id="changed-meanwhile"' in page
