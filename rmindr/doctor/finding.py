"""What the doctor says: a name that stays the same, how grave it is, a sentence, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How grave: nothing is wrong; worth knowing; will hurt some day; reminders do not go out, or are not safe."""

    GOOD = "good"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding. `name` is for programs, e.g. `redis-policy`; `remedy` is empty where there is nothing to mend."""

    name: str
    level: Level
    sentence: str
    remedy: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def good(name: str, sentence: str) -> Finding:
    """All is well."""
    return Finding(name=name, level=Level.GOOD, sentence=sentence)


def note(name: str, sentence: str, remedy: str = "") -> Finding:
    """Worth knowing."""
    return Finding(name=name, level=Level.NOTE, sentence=sentence, remedy=remedy)


def warning(name: str, sentence: str, remedy: str) -> Finding:
    """It will hurt some day."""
    return Finding(name=name, level=Level.WARNING, sentence=sentence, remedy=remedy)


def error(name: str, sentence: str, remedy: str) -> Finding:
    """Reminders do not go out, or are not safe."""
    return Finding(name=name, level=Level.ERROR, sentence=sentence, remedy=remedy)
