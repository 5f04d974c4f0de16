"""What must stand nowhere in the code, looked for in all of it: each is a way in that no request would show."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2] / "rmindr"
MODULES: Final = {
    str(file.relative_to(ROOT)): ast.parse(file.read_text(encoding="utf-8")) for file in ROOT.rglob("*.py")
}
# Words that take SQL as text; a bound parameter stands in it by its name.
_SQL: Final = {"text", "exec_driver_sql", "literal_column", "DDL", "executescript"}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call, by the last word of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            yield name, node


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module, and every name in one, that is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_put_together(node: ast.expr) -> bool:
    """Whether a text is made of others when it is needed: by an f-string, `+`, `%`, `.format` or `.join`."""
    if isinstance(node, ast.JoinedStr):
        return any(isinstance(part, ast.FormattedValue) for part in node.values)
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and node.func.attr in ("format", "join", "replace")
    return isinstance(node, ast.BinOp)


def where(name: str, node: ast.AST) -> str:
    return f"{name}:{getattr(node, 'lineno', 0)}"


def test_no_sql_is_put_together_from_texts() -> None:
    """S31: values come as bound parameters, names of columns from the models."""
    found = [
        where(name, node)
        for name, tree in MODULES.items()
        for called, node in calls(tree)
        if called in _SQL and node.args and is_put_together(node.args[0])
    ]

    assert found == []


def test_no_lua_is_put_together_where_it_is_called() -> None:
    """S32: scripts are files; what users say comes as an argument."""
    found = [
        where(name, node)
        for name, tree in MODULES.items()
        for called, node in calls(tree)
        if called in ("eval", "evalsha", "eval_ro", "fcall", "script_load", "register_script")
        and node.args
        and is_put_together(node.args[0])
    ]

    assert found == []


def test_nothing_that_is_read_is_run() -> None:
    """S33: no pickle and its kin, no code made of text, no shell."""
    kinds = ("pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle", "yaml", "code", "codeop", "xml")
    modules = [
        f"{name}: {module}"
        for name, tree in MODULES.items()
        for module in imported(tree)
        if module.partition(".")[0] in kinds
    ]
    run = [
        where(name, node)
        for name, tree in MODULES.items()
        for called, node in calls(tree)
        if (isinstance(node.func, ast.Name) and called in ("eval", "exec", "compile", "__import__"))
        or called in ("system", "popen", "create_subprocess_shell", "from_string")
        or any(word.arg == "shell" for word in node.keywords)
    ]

    assert modules == []
    assert run == []


@pytest.mark.parametrize("room", ["web", "mail", "queue", "doctor"])
def test_no_room_asks_another_service_by_http(room: str) -> None:
    """S34: what a stranger writes leads the service nowhere."""
    kinds = {"httpx", "requests", "aiohttp", "urllib3", "urllib.request", "http.client", "ftplib", "telnetlib"}
    found = [
        f"{name}: {module}"
        for name, tree in MODULES.items()
        for module in imported(tree)
        if name.startswith(f"{room}/") and any(module == kind or module.startswith(f"{kind}.") for kind in kinds)
    ]

    assert found == []


def test_every_template_is_a_file_and_escapes_what_it_is_given() -> None:
    """S20, S35: no template is made of text, and but for the plain text of mails every environment escapes."""
    environments = {
        where(name, node): ast.unparse(next((word.value for word in node.keywords if word.arg == "autoescape"), node))
        for name, tree in MODULES.items()
        for called, node in calls(tree)
        if called in ("Environment", "SandboxedEnvironment", "Jinja2Templates")
    }
    made = [where(name, node) for name, tree in MODULES.items() for called, node in calls(tree) if called == "Template"]

    # The text part of a mail, which nobody reads as markup.
    plain = [place.partition(":")[0] for place, escapes in environments.items() if escapes != "True"]
    assert plain == ["mail/letters.py"]
    assert len(environments) == 3
    assert made == []


def test_no_template_switches_its_escaping_off() -> None:
    """S20: but where the value is one that a template of ours has made."""
    files = [file for kind in ("*.html", "*.txt", "*.svg") for file in (ROOT).rglob(kind)]
    found = [
        f"{file.relative_to(ROOT)}: {word}"
        for file in files
        for word in ("|safe", "| safe", "autoescape false", "Markup(")
        if word in file.read_text(encoding="utf-8")
    ]

    assert len(files) > 10
    assert found == []


def test_only_those_who_speak_to_people_look_at_this_machine_s_clock() -> None:
    """E1, E4: what is due, whose lease has lapsed and how late it is, the database and Redis say."""
    judges = ("delivery.py", "ledger.py", "feeder.py", "outage.py", "worker.py", "facts.py", "people.py", "limits.py",
              "tokens.py", "tidying.py", "database.py", "queue/lifecycle.py", "queue/worker.py", "queue/runs.py",
              "queue/upkeep.py", "queue/scripts.py", "queue/queue.py", "queue/jobs.py")  # fmt: skip
    found = [
        where(name, node)
        for name in judges
        for called, node in calls(MODULES[name])
        if isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func) in ("datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time")
    ]

    assert found == []
