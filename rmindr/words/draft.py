"""What was found of a text, each kind at most once, and what does not go together."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from rmindr.words.parts import (
    BadWords,
    Begin,
    Clock,
    Completion,
    Date,
    Day,
    DayPart,
    End,
    Length,
    MonthDays,
    Nth,
    Offset,
    Part,
    Place,
    Repeat,
    Span,
    Weekdays,
)


@dataclass(slots=True)
class Draft:
    """What was found, each kind at most once."""

    text: str
    clock: Clock | None = None
    day_part: DayPart | None = None
    day: Day | None = None
    weekday: Weekdays | None = None
    length: Length | None = None
    place: Place | None = None
    repeat: Repeat | None = None
    begin: Begin | None = None
    end: End | None = None
    completion: Completion | None = None

    def parts(self) -> dict[str, Part]:
        """What was found by its kind, in the order of the text."""
        found = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "text"}
        present = {name: part for name, part in found.items() if isinstance(part, Part)}
        return dict(sorted(present.items(), key=lambda item: (item[1].start, item[1].end)))

    def spans(self) -> tuple[Span, ...]:
        """Where in the text what was found stands."""
        return tuple(Span(part.start, part.end, name) for name, part in self.parts().items())


_KINDS: Final[dict[type[Part], tuple[str, str]]] = {
    Clock: ("clock", "time of day"),
    DayPart: ("day_part", "part of the day"),
    Length: ("length", "length of time"),
    Place: ("place", "zone"),
    Repeat: ("repeat", "repetition"),
    Begin: ("begin", "beginning"),
    End: ("end", "end"),
    Completion: ("completion", "completion"),
}


def keep(draft: Draft, part: Part) -> None:
    """Put a part where it belongs. Raises BadWords about what is there already, or does not go with it."""
    if isinstance(part, Day):
        _keep_day(draft, part)
        return
    name, kind = _KINDS[type(part)]
    other = getattr(draft, name)
    if other is not None:
        raise _bad(draft, part, f"is a second {kind}, beside «{draft.text[other.start : other.end]}»")
    if isinstance(part, Length) and (draft.repeat is not None or (draft.day is not None and not part.seconds)):
        raise _bad_length(draft, part)
    setattr(draft, name, part)


def _bad_length(draft: Draft, part: Length) -> BadWords:
    if draft.repeat is None and draft.day is not None:
        return _bad(draft, part, f"is a second day, beside «{draft.text[draft.day.start : draft.day.end]}»")
    return _bad(draft, part, "does not go with what repeats; for its first day write «starting …»")


def _keep_day(draft: Draft, part: Day) -> None:
    if draft.length is not None and not draft.length.seconds:
        shown = draft.text[draft.length.start : draft.length.end]
        raise _bad(draft, part, f"is a second day, beside «{shown}»")
    if draft.day is None:
        draft.day = part
        if isinstance(part, MonthDays | Nth) and part.of in ("the", "every") and draft.repeat is None:
            # «The last friday of the month» says that it repeats without a word for it.
            draft.repeat = Repeat(start=part.start, end=part.end, interval=1, unit="month")
    elif (
        isinstance(part, Weekdays) and isinstance(draft.day, Date) and draft.weekday is None and _is_plain(draft, part)
    ):
        draft.weekday = part
    elif isinstance(draft.day, Weekdays) and isinstance(part, Date) and _is_plain(draft, draft.day):
        draft.weekday, draft.day = draft.day, part
    elif draft.repeat is not None and isinstance(part, Offset):
        raise _bad(draft, part, "is one day only, and this repeats; for its first day write «starting …»")
    else:
        raise _bad(draft, part, f"is a second day, beside «{draft.text[draft.day.start : draft.day.end]}»")


def _is_plain(draft: Draft, part: Weekdays) -> bool:
    """Whether this weekday may stand beside a date, as in «friday 4 december»."""
    return len(part.days) == 1 and not part.which and draft.repeat is None


def _bad(draft: Draft, part: Part, why: str) -> BadWords:
    return BadWords(draft.text, part.start, part.end, why)
