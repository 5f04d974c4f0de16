"""What holds the house together: each verb in its places, the names that users rely on, and who may see the settings."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Final

import pytest

import rmindr.queue
from rmindr.queue import State
from rmindr.queue.keys import Keys
from rmindr.queue.lifecycle import Lifecycle
from rmindr.queue.scripts import VERBS

HOUSE: Final = Path(rmindr.queue.__file__).parent.parent
LUA: Final = HOUSE / "queue" / "lua"
# What the lifecycle can do besides: look, and prepare.
NO_VERBS: Final = {
    "aclose",
    "create_many",
    "expired",
    "get",
    "many",
    "now_ms",
    "raise_ids",
    "ring",
    "take_back_many",
    "update_many",
    "wake",
}
DOORS: Final = {
    *("rmindr.cli", "rmindr.dev", "rmindr.queue_commands.door", "rmindr.remind_command"),
    *("rmindr.worker", "rmindr.web.app"),
    # Settings are what it examines.
    *("rmindr.doctor", "rmindr.doctor.house", "rmindr.doctor.mail", "rmindr.doctor.stores"),
}


def edge(verb: str) -> tuple[str, str]:
    """From where to where the first line of a Lua file says that its verb moves a job."""
    first = (LUA / f"{verb}.lua").read_text(encoding="utf-8").splitlines()[0]
    found = re.fullmatch(rf"-- {verb}: (.+) -> (.+)", first)
    assert found, f"{verb}.lua must begin with its edge, not with {first!r}"
    return found[1], found[2]


def drawn_edge(verb: str) -> tuple[str, str]:
    """The same, as the first line of the method's docstring says it."""
    found = re.match(r"(.+?) → (.+?)\.", inspect.getdoc(getattr(Lifecycle, verb)) or "")
    assert found, f"Lifecycle.{verb} must begin with its edge"
    return found[1], found[2]


def states_in(text: str) -> set[str]:
    return {state.value for state in State if re.search(rf"\b{state}\b", text)}


# One verb, one Lua file, one typed method, in order of life


def test_each_verb_has_its_lua_file_and_its_method() -> None:
    files = {file.stem for file in LUA.glob("*.lua")} - {"prelude"}
    methods = {name for name, _ in inspect.getmembers(Lifecycle, inspect.isfunction) if not name.startswith("_")}

    assert set(VERBS) == files == methods - NO_VERBS


def test_verbs_and_methods_stand_in_the_same_order_of_life() -> None:
    source = inspect.getsource(Lifecycle)
    methods = [name for name in re.findall(r"    async def ([a-z]\w*)\(", source) if name in VERBS]

    assert tuple(methods) == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_the_lua_file_and_the_method_draw_the_same_edge(verb: str) -> None:
    (start, end), (drawn_start, drawn_end) = edge(verb), drawn_edge(verb)

    assert states_in(start) == states_in(drawn_start)
    assert states_in(end) == states_in(drawn_end)


@pytest.mark.parametrize("verb", VERBS)
def test_the_only_diagram_of_states_has_every_verb(verb: str) -> None:
    drawing = inspect.getdoc(inspect.getmodule(Lifecycle)) or ""

    assert re.search(rf"\b{verb}\b", drawing)


def test_every_script_receives_the_keys_that_the_prelude_names() -> None:
    prelude = (LUA / "prelude.lua").read_text(encoding="utf-8")
    named = [int(number) for number in re.findall(r"\bKEYS\[(\d+)\]", prelude)]

    keys = Keys("q").for_scripts

    assert named == list(range(1, len(keys) + 1))
    assert not any("KEYS[" in file.read_text(encoding="utf-8") for file in LUA.glob("*.lua") if file.stem != "prelude")


# The names that users rely on


def test_the_public_names_of_the_queue_are_these() -> None:
    names = (
        "PRIORITIES Abandon Backoff Context InvalidJob Job JobExists JobFailed JobNotFound Kept Lease LeaseLost Limit NewJob "
        "Queue QueueError QueueUnavailable Refused Retry Schedule State UnreadableJob WrongState"
    )

    assert rmindr.queue.__all__ == names.split()
    assert all(hasattr(rmindr.queue, name) for name in rmindr.queue.__all__)


@pytest.mark.parametrize(
    "error",
    [
        "InvalidJob",
        "UnreadableJob",
        "QueueUnavailable",
        "JobFailed",
        "JobNotFound",
        "JobExists",
        "WrongState",
        "LeaseLost",
    ],
)
def test_one_name_catches_all_that_the_queue_raises(error: str) -> None:
    assert issubclass(getattr(rmindr.queue, error), rmindr.queue.QueueError)


# Who may see the settings


def modules() -> list[tuple[str, Path]]:
    """Every module of the house by name, migrations aside, which Alembic runs by itself."""
    found = []
    for file in sorted(HOUSE.rglob("*.py")):
        parts = ("rmindr", *file.relative_to(HOUSE).with_suffix("").parts)
        if "migrations" not in parts:
            found.append((".".join(parts).removesuffix(".__init__"), file))
    return found


def imports_settings(file: Path) -> bool:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.ImportFrom(module="rmindr.settings", names=names) if any(
                each.name in ("Settings", "QueueSettings", "*") for each in names
            ):
                return True
            case ast.ImportFrom(module="rmindr", names=names) if any(each.name == "settings" for each in names):
                return True
            case ast.Import(names=names) if any(each.name == "rmindr.settings" for each in names):
                return True
    return False


def test_settings_stop_at_the_door() -> None:
    seen_by = {name for name, file in modules() if name != "rmindr.settings" and imports_settings(file)}

    assert seen_by <= DOORS
