"""When a reminder is to come, as a person or a program says it: an instant, a time on a clock, or words; once, or by a rule.

    moment("every weekday at 8", place, clock=now).repeats      # a Repeats: the rule and its start

What the clocks show twice, or jump over, is refused until it is said which is meant: `fold` 0 or 1, and 0 for what comes in
place of a time that does not exist (RFC 5545, 3.3.5). What repeats takes the first, and what comes in its place, by itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from rmindr import recurrence, times, words
from rmindr.clocks import settle, zone_rules
from rmindr.recurrence import END_OF_DAY, BadRule, Rule
from rmindr.recurrence.rule import MOST_TIMES
from rmindr.times import BadTime, Gap, Written

# As programs and date fields write it; what else begins with a date is words.
_WRITTEN: Final = re.compile(r"\s*[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt]| [0-9]{2}:[0-9]{2}(?![^\[]*[a-yA-Y]))")
_RULE: Final = re.compile(r"\s*(RRULE:)?[A-Z]+=", re.ASCII | re.IGNORECASE)
# What words for repeating may say besides the time that is given elsewhere.
_NO_TIME: Final = frozenset({"repeat", "day", "weekday", "end", "completion"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """A rule and its start on the clock, which is the first occurrence."""

    rule: Rule
    start: datetime
    from_completion: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The one instant that is meant, in a zone; with `wall`, the time on that zone's clock to which it is true.

    `notes` are sentences on what was taken for granted."""

    at: datetime
    place: ZoneInfo
    wall: datetime | None = None
    fold: int = 0
    notes: tuple[str, ...] = ()
    repeats: Repeats | None = None


@lru_cache(maxsize=1)
def rules_in_use() -> str:
    """The version of the zone rules of this process, e.g. `2026f`."""
    return zone_rules().version


def moment(text: str, place: ZoneInfo, *, clock: datetime, fold: int | None = None, exact: bool = False) -> Moment:
    """What a text says, read in this zone at this moment. Raises BadTime.

    `exact`: only as programs write it, RFC 3339 or RFC 9557. A zone that the text names goes before `place`."""
    if exact or _WRITTEN.match(text):
        return _of_written(times.read(text), place, fold, clock)
    reading = words.read(text, now=clock, zone=place)
    if reading.is_instant:
        return Moment(at=reading.at, place=reading.zone, notes=reading.notes)
    if reading.rule is not None:
        repeats = Repeats(rule=reading.rule, start=reading.wall, from_completion=reading.from_completion)
        notes, wall = reading.notes, reading.wall
        return Moment(at=reading.at, place=reading.zone, wall=wall, notes=notes, repeats=repeats)
    found = _of_written(Written(reading.wall, None), reading.zone, fold, clock)
    # What the words take for granted about the clocks is asked for here.
    taken = settle(reading.wall, reading.zone).note
    return replace(found, notes=tuple(note for note in reading.notes if note != taken) + found.notes)


def check(text: str, *, clock: datetime, exact: bool = False) -> None:
    """Whether a text could be read in some zone. Raises BadTime."""
    if exact or _WRITTEN.match(text):
        times.read(text)
    else:
        words.read(text, now=clock, zone=ZoneInfo("UTC"))


def _of_written(written: Written, place: ZoneInfo, fold: int | None, clock: datetime) -> Moment:
    place = written.place or place
    try:
        at = times.instant(written, place, fold=fold, after=clock)
    except Gap as gap:
        if fold != 0:
            raise
        at = gap.after.astimezone(clock.tzinfo)
        if at <= clock:
            raise BadTime("is in the past") from None
    if written.offset is not None:
        return Moment(at=at, place=place, notes=(written.note,) if written.note else ())
    note = settle(written.wall, place, fold=fold or 0).note
    return Moment(at=at, place=place, wall=written.wall, fold=fold or 0, notes=(note,) if note else ())


def repeating(
    once: Moment, text: str, *, clock: datetime, until: str | None = None, count: int | None = None
) -> Moment:
    """This moment and what follows it by a rule: the name of a preset, RFC 5545, or words without a time. Raises BadTime."""
    if once.repeats is not None:
        raise BadTime("and the words for the time both say how it repeats; say it once")
    # An instant repeats on the clock of its zone, too.
    wall = once.wall if once.wall is not None else once.at.astimezone(once.place).replace(tzinfo=None)
    rule, from_completion = _rule(text.strip(), wall, once)
    start = recurrence.first(rule, wall)
    rule = _ended(rule, start, until, count)
    settled = settle(start, once.place)
    if settled.at <= clock:
        raise BadTime("has its first time in the past")
    moved = (f"The first is on {start:%A %-d %B %Y}, as the rule has it.",) if start.date() != wall.date() else ()
    skipped = recurrence.skips(rule, start)
    notes = (*moved, settled.note, f"{skipped.sentence} Instead: {skipped.offer}." if skipped else None)
    return Moment(
        at=settled.at,
        place=once.place,
        wall=start,
        notes=tuple(note for note in notes if note),
        repeats=Repeats(rule=rule, start=start, from_completion=from_completion),
    )


def ending(found: Moment, until: str | None, count: int | None) -> Moment:
    """This moment, whose words say how it repeats, with an end. Raises BadTime."""
    if found.repeats is None:
        raise BadTime("is the end of something that does not repeat")
    rule = _ended(found.repeats.rule, found.repeats.start, until, count)
    return replace(found, repeats=replace(found.repeats, rule=rule))


def _rule(text: str, wall: datetime, once: Moment) -> tuple[Rule, bool]:
    presets = recurrence.presets(wall)
    if text.lower() in presets:
        return presets[text.lower()], False
    if _RULE.match(text):
        return Rule.read(text, once.place), False
    # As said a moment before the first, so that «for 10 days» begins with it.
    reading = words.read(text, now=once.at - timedelta(seconds=1), zone=once.place)
    if reading.rule is None:
        raise BadTime("says nothing that repeats; write for instance «every weekday», or FREQ=WEEKLY;BYDAY=MO")
    for span in reading.spans:
        if span.kind not in _NO_TIME:
            said = text[span.start : span.end]
            raise BadTime(f"says «{said}», but when the first one comes is said already; say it in one place")
    return reading.rule, reading.from_completion


def _ended(rule: Rule, start: datetime, until: str | None, count: int | None) -> Rule:
    if until is None and count is None:
        return rule
    if rule.count is not None or rule.until is not None or (until is not None and count is not None):
        raise BadRule("its end", "is said twice")
    if count is not None:
        if not 1 <= count <= MOST_TIMES:
            raise BadRule("its end", f"must be after 1 to {MOST_TIMES:,} times")
        return replace(rule, count=count)
    try:
        last = date.fromisoformat((until or "").strip())
    except ValueError:
        raise BadRule("its last day", "must be written like 2027-05-01") from None
    if last < start.date():
        raise BadRule("its last day", f"is before it begins, on {start:%-d %B %Y}")
    return replace(rule, until=datetime.combine(last, END_OF_DAY))


def deadline(text: str, due: Moment) -> datetime:
    """After which a reminder is of no use: an instant, a time on the clock, or words that count from when it is due, e.g.
    `10:15`, `in 2 hours`. Raises BadTime."""
    try:
        found = moment(text, due.place, clock=due.at)
    except words.BadWords as error:
        # «In the past» is before the reminder here.
        raise BadTime(str(error).replace("is in the past", "is not after the reminder")) from None
    except BadTime as error:
        said = str(error)
        raise BadTime("is not after the reminder" if said == "is in the past" else said) from None
    if found.repeats is not None:
        raise BadTime("must be one time")
    return found.at
