"""What the parts mean together where nothing repeats: one time, settled and in the future."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from rmindr import times
from rmindr.clocks import Settled
from rmindr.times import HORIZON
from rmindr.words.calendar import in_words
from rmindr.words.hours import DEFAULT, Hour, bad_either, hour_of
from rmindr.words.parts import BadWords, Choice, Length, Offset, Reading, Style
from rmindr.words.view import FAR, View

NO_TIME: Final = f"No time of day is given: {DEFAULT:%H:%M} is taken."
_SECOND: Final = timedelta(seconds=1)


def once(view: View) -> Reading:
    """The one time that is meant. Raises BadWords."""
    draft = view.draft
    if draft.length is not None and (draft.length.seconds or not (draft.clock or draft.day_part)):
        return _from_now(view, draft.length)
    is_today = isinstance(draft.day, Offset) and not draft.day.days
    is_lone = draft.day is None and draft.length is None
    # Without a day midnight is the next one, and today has only one left.
    hour = hour_of(draft, view.language, is_midnight_clear=is_lone or is_today)
    if draft.length is not None and hour is not None:
        return _on(view, view.settle(view.days_on(draft.length), hour), hour)
    if draft.day is None:
        return _next(view, hour)
    if hour is None and is_today:
        raise view.bad(draft.day, "stops short: at what time?")
    day = view.date_of(draft.day, hour)
    if draft.weekday is not None and draft.weekday.days[0] != day.weekday():
        raise view.bad(draft.weekday, f"is not that day: {in_words(day)} is a {day:%A}")
    hour = hour or Hour(DEFAULT, note=NO_TIME)
    if is_today and draft.clock is not None and draft.clock.style is Style.MIDNIGHT:
        hour = replace(hour, days=1)
    return _on(view, view.settle(day, hour), hour)


def _from_now(view: View, length: Length) -> Reading:
    """In so many hours, or in so many days at the time that it is now; in whole seconds, rounded up, for none is early."""
    draft = view.draft
    other = draft.clock or draft.day_part or draft.day
    if other is not None:
        raise view.bad(other, "does not go with a length of time, which says when by itself")
    if draft.place is not None:
        raise view.bad(draft.place, "does not matter: a length of time is everywhere the same")
    at = view.now + timedelta(microseconds=-view.now.microsecond % 1_000_000)
    if not length.seconds:
        here = at.astimezone(view.home).replace(tzinfo=None)
        return _on(view, view.settle(view.days_on(length), Hour(here.time())), Hour(here.time()))
    if length.months or length.days:
        at = view.settle(view.days_on(length), Hour(at.astimezone(view.home).time())).at
    try:
        at += length.seconds * _SECOND
    except OverflowError:
        raise view.bad_whole(FAR) from None
    return _made(view, _at_home(view, at), at, (), is_instant=True)


def _next(view: View, hour: Hour | None) -> Reading:
    """A time of day without a day: the next time that it comes."""
    draft, now = view.draft, view.clock_now()
    if hour is None:
        raise view.bad_whole("stops short: at what time?")
    if draft.clock is None:
        raise _bad_part_of_day(view, hour)
    settled = view.settle(now.date(), hour)
    if settled.at > view.now:
        return _on(view, settled, hour)
    if hour.other is not None and datetime.combine(now.date(), hour.other) > now:
        raise bad_either(draft, draft.clock, hour.at, hour.other)
    return _on(view, view.settle(now.date() + timedelta(days=1), hour), hour)


def _bad_part_of_day(view: View, hour: Hour) -> BadWords:
    name = view.draft.day_part.name if view.draft.day_part is not None else ""
    choices = [Choice(f"tomorrow {name}", "tomorrow")]
    if view.settle(view.clock_now().date(), hour).at > view.now:
        choices.insert(0, Choice(f"this {name}", "today"))
    why = "stops short: today or tomorrow? Write " + " or ".join(f"«{each.words}»" for each in choices)
    return view.bad_whole(why, choices)


# The end of each way


def _on(view: View, settled: Settled, hour: Hour) -> Reading:
    if view.offset is None:
        return _made(view, settled.wall, settled.at, (hour.note, settled.note), is_instant=False)
    return _made(view, _at_home(view, settled.at), settled.at, (hour.note,), is_instant=True)


def _at_home(view: View, at: datetime) -> datetime:
    try:
        return at.astimezone(view.home).replace(tzinfo=None)
    except OverflowError:
        raise view.bad_whole(FAR) from None


def _made(view: View, wall: datetime, at: datetime, notes: Iterable[str | None], *, is_instant: bool) -> Reading:
    if at <= view.now:
        raise view.bad_whole("is in the past" + _evening(view))
    if at - view.now > HORIZON:
        raise view.bad_whole(FAR)
    return Reading(
        wall=wall,
        zone=view.zone,
        at=at,
        is_instant=is_instant,
        rule=None,
        from_completion=False,
        sentence=f"{times.in_words(at, view.zone)}, in {times.distance_in_words(at - view.now)}",
        notes=tuple(note for note in notes if note),
        skips=None,
        spans=view.draft.spans(),
    )


def _evening(view: View) -> str:
    """What to write for the evening, where a bare hour has passed in the morning."""
    clock = view.draft.clock
    if clock is None or clock.style is not Style.OPEN or view.draft.day_part is not None:
        return ""
    return f"; for the evening write {clock.hour + 12}:{clock.minute:02d}"
