"""When a rule comes due: its times on the clock settled in a zone, by schedule or from the last one's completion."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from rmindr import times
from rmindr.clocks import APART, Settled, settle
from rmindr.recurrence.days import walls
from rmindr.recurrence.rule import Freq, Rule


def occurrences(
    rule: Rule, start: datetime, place: ZoneInfo, *, after: datetime | None = None, count: int | None = None
) -> Iterator[Settled]:
    """The occurrences of a rule, each later than the one before, lazily; `after` an instant, and at most `count` of them.

    A day that a place skipped at the date line has none: moved past the jump it would be the next day's over again. It
    counts all the same where the rule counts."""
    return islice(_all(rule, start, place, after), count)


def _all(rule: Rule, start: datetime, place: ZoneInfo, after: datetime | None) -> Iterator[Settled]:
    # Somewhat early, because a time in a gap is settled later than its wall says.
    seen = None if after is None else after.astimezone(place).replace(tzinfo=None) - APART
    previous: Settled | None = None
    for wall in walls(rule, start, after=seen):
        current = settle(wall, place)
        if previous is not None and previous.at < current.at and (after is None or previous.at > after):
            yield previous
        previous = current
    if previous is not None and (after is None or previous.at > after):
        yield previous


def following(
    rule: Rule, start: datetime, place: ZoneInfo, *, completed: datetime, times_so_far: int
) -> Settled | None:
    """The next occurrence where the rule counts from completion: an interval after the day on which it was done.

    The clock stays that of the start. A plain month or year later keeps the day where there is one, else the last day of
    that month. None where the rule has ended."""
    if rule.count is not None and times_so_far >= rule.count:
        return None
    done = datetime.combine(completed.astimezone(place).date(), start.time())
    wall = next(_from(replace(rule, count=None, until=None), done), None)
    return None if wall is None or (rule.until is not None and wall > rule.until) else settle(wall, place)


def _from(rule: Rule, done: datetime) -> Iterator[datetime]:
    if rule.by_month or rule.by_month_day or rule.by_day:
        yield from (wall for wall in walls(rule, done) if wall > done)
        return
    if rule.freq is Freq.DAILY:
        yield done + timedelta(days=rule.interval)
    elif rule.freq is Freq.WEEKLY:
        yield done + timedelta(weeks=rule.interval)
    else:
        months = rule.interval * (12 if rule.freq is Freq.YEARLY else 1)
        yield datetime.combine(months_later(done.date(), months), done.time())


def months_later(day: date, months: int) -> date:
    """The same day so many months on, or the last of that month where it has no such day."""
    years, month = divmod(day.month - 1 + months, 12)
    year = day.year + years
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One occurrence for people: in its own place, and on the reader's clock where that is another."""

    at: datetime
    here: str
    there: str | None
    note: str | None


def upcoming(
    rule: Rule,
    start: datetime,
    place: ZoneInfo,
    *,
    after: datetime,
    reader: ZoneInfo | None = None,
    count: int = 5,
) -> list[Shown]:
    """The next few occurrences as a preview shows them, e.g. «Friday 4 December 2026 at 09:00 in New York (UTC−5)»."""
    return [
        Shown(
            at=each.at,
            here=times.in_words(each.at, place),
            there=times.in_words(each.at, reader) if reader is not None and _differ(each.at, place, reader) else None,
            note=each.note,
        )
        for each in occurrences(rule, start, place, after=after, count=count)
    ]


def _differ(at: datetime, one: ZoneInfo, other: ZoneInfo) -> bool:
    return at.astimezone(one).utcoffset() != at.astimezone(other).utcoffset()
