"""What a reminder would be, before it is one: its instant in both zones, what follows it, and what was not read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from rmindr import recurrence, times, words
from rmindr.drafts import Asked
from rmindr.errors import InvalidDraft
from rmindr.forms import Draft, Preview, SeriesOut, Shown
from rmindr.models import Series
from rmindr.reminders import Reminders
from rmindr.series import upcoming

_MOST_CHOICES: Final = 4
# Beyond this whoever types is asked whether they mean it.
FAR: Final = timedelta(days=5 * 365.25)
_FAR_SAID: Final = "That is more than five years away; people change their addresses in so long a time."


def preview_of(books: Reminders, request: Asked, reader: str | None = None) -> Preview:
    """What this request would become, on the clock of `reader`, too. Raises InvalidDraft."""
    try:
        eyes = times.zone(reader) if reader else None
    except times.BadTime as complaint:
        raise InvalidDraft({"reader_time_zone": str(complaint)}) from None
    draft = books.preview(request, partial=True)
    place = ZoneInfo(draft.time_zone)
    local = draft.due_at.astimezone(place)
    there = eyes is not None and draft.due_at.astimezone(eyes).utcoffset() != local.utcoffset()
    repeats = draft.repeats
    return Preview(
        to=draft.to or None,
        subject=draft.subject,
        due_at=draft.due_at,
        time_zone=draft.time_zone,
        local_time=local.isoformat(timespec="milliseconds"),
        sentence=f"Sends {times.in_words(draft.due_at, place)}, in {books.distance(draft.due_at)}.",
        there=times.in_words(draft.due_at, eyes) if there and eyes is not None else None,
        warnings=[*draft.notes, *([_FAR_SAID] if draft.due_at - datetime.now(UTC) > FAR else [])],
        repeats=repeats_in_words(draft),
        next=[] if repeats is None or repeats.from_completion else next_five(draft, eyes),
        deadline_at=draft.deadline_at,
    )


def repeats_in_words(draft: Draft) -> str | None:
    """E.g. `every weekday at 08:00, counted from when the last was done`."""
    if draft.repeats is None:
        return None
    counted = ", counted from when the last was done" if draft.repeats.from_completion else ""
    return recurrence.describe(draft.repeats.rule, draft.repeats.start) + counted


def next_five(draft: Draft, reader: ZoneInfo | None) -> list[Shown]:
    """The first five occurrences of a draft that repeats."""
    if draft.repeats is None:
        return []
    before = draft.due_at - timedelta(milliseconds=1)
    shown = recurrence.upcoming(
        draft.repeats.rule, draft.repeats.start, ZoneInfo(draft.time_zone), after=before, reader=reader
    )
    return [Shown(due_at=each.at, here=each.here, there=each.there, note=each.note) for each in shown]


def series_shown(held: Series) -> SeriesOut:
    """A series as a program sees it."""
    place, start = ZoneInfo(held.time_zone), datetime.fromisoformat(held.start_wall)
    counted = ", counted from when the last was done" if held.from_completion else ""
    return SeriesOut(
        id=held.id,
        state=held.state,
        rule=held.rule,
        repeats=recurrence.describe(recurrence.Rule.read(held.rule), start) + counted,
        time_zone=held.time_zone,
        from_completion=held.from_completion,
        missed=held.missed,
        useful_seconds=held.useful_s,
        made=held.made,
        next=[
            Shown(due_at=each.at, here=times.in_words(each.at, place), there=None, note=each.note)
            for each in upcoming(held)
        ],
    )


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a text: read, not read, or only what stands between."""

    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Words that were not understood: piece by piece, and whole texts that may stand in their place."""

    pieces: Sequence[Piece]
    choices: Sequence[tuple[str, str]]


def refused(text: str, zone: str) -> Refused | None:
    """What of a text was not understood; None where all was, or where it is no words."""
    try:
        place = times.zone(zone)
    except times.BadTime:
        place = ZoneInfo("UTC")
    try:
        words.read(text, now=datetime.now(UTC), zone=place)
    except words.BadWords as error:
        marks = sorted(
            [(each.start, each.end, "read") for each in error.understood] + [(error.start, error.end, "not")]
        )
        pieces, at = [], 0
        for start, end, kind in marks:
            if start >= at and end > start:
                pieces += [Piece(text[at:start], ""), Piece(text[start:end], kind)]
                at = end
        pieces.append(Piece(text[at:], ""))
        instead = [
            (f"{text[: error.start]}{each.words}{text[error.end :]}", f"{each.words} ({each.meaning})")
            for each in error.choices[:_MOST_CHOICES]
        ]
        return Refused([each for each in pieces if each.text], instead)
    return None
