"""Reminders and what repeats as events: which clock they are true to, what changed of one occurrence, and what is said of them.

What repeats is one event from the occurrence that stands on, with the rule. Where that occurrence is not as the rule has it, or
the clocks jump over a later one, or show it twice, it has an event of its own under the same UID (RECURRENCE-ID). What has been
are single events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from rmindr.calendar.lines import clock, component, instant, text
from rmindr.calendar.zones import changes, known
from rmindr.clocks import settle
from rmindr.drafts import subject_from
from rmindr.models import Reminder, Series, Status
from rmindr.recurrence import Rule, occurrences
from rmindr.recurrence.days import filled, walls
from rmindr.series import ACTIVE, what_is_left
from rmindr.times import BadTime

# For so many years ahead every time that the clocks jump over or show twice is told by itself, as an instant: what readers
# make of it by the rule is not the same (RFC 5545, 3.3.5, notwithstanding). A feed is read anew long before.
_TOLD_AHEAD: Final = 5
_MOMENT: Final = timedelta(milliseconds=1)
_APART: Final = "\n\n"
_STATUS: Final = {Status.UNCONFIRMED: "TENTATIVE", Status.CANCELLED: "CANCELLED"}


@dataclass(frozen=True, slots=True)
class Event:
    """The lines of one event, and the zones by whose clocks they speak."""

    lines: Sequence[str]
    zones: Sequence[str]

    @property
    def whole(self) -> Iterator[str]:
        """The component."""
        return component("VEVENT", self.lines)


def events(reminders: Iterable[Reminder], serieses: Mapping[UUID, Series], pages: str) -> Iterator[Event]:
    """The events of these reminders, and of the series whose occurrences they are; `pages` is where people find them."""
    for each in reminders:
        held = serieses.get(each.series_id) if each.series_id is not None else None
        try:
            yield from of_series(held, each, pages) if _repeats(held, each) else [of_reminder(each, pages)]
        except BadTime:
            # A rule of a later release: what is known of it is this occurrence.
            yield of_reminder(each, pages)


def of_reminder(reminder: Reminder, pages: str) -> Event:
    """One reminder by itself."""
    when = _When.of(reminder)
    return Event([f"UID:{reminder.id}", f"DTSTART{when}", *_said(reminder, pages)], when.zones)


def of_series(held: Series | None, standing: Reminder, pages: str) -> list[Event]:
    """What repeats from the occurrence that stands on, and those of its occurrences that are not as the rule has them.

    Raises BadTime where the rule cannot be read."""
    assert held is not None  # noqa: S101  (it repeats)
    place, wall = ZoneInfo(held.time_zone), datetime.fromisoformat(held.next_wall or held.start_wall)
    rule, start = Rule.read(held.rule), datetime.fromisoformat(held.start_wall)
    said = _said(standing, pages, held)
    skipped, others = [], []
    odd = list(_odd(rule, start, place, wall))
    for each in odd:
        found = next(occurrences(rule, start, place, after=settle(each, place).at - _MOMENT, count=1), None)
        if found is None or found.wall != each:
            skipped.append(f"EXDATE{_When(each, held.time_zone)}")
        elif each != wall:
            others.append(_instead(held, each, _When.at(found.at, held.time_zone), said))
    on_time = standing.due_at == settle(wall, place).at and wall not in odd
    if not on_time or (standing.subject, standing.message) != (held.subject, held.message):
        others.insert(0, _instead(held, wall, _When.of(standing), _said(standing, pages)))
    first = _When(wall, held.time_zone)
    lines = [
        f"UID:{held.id}",
        f"DTSTART{first}",
        f"RRULE:{filled(what_is_left(held), start.date()).for_calendar(place)}",
        *skipped,
        *said,
    ]
    return [Event(lines, first.zones), *others]


@dataclass(frozen=True, slots=True)
class _When:
    """An instant, or a time on the clock of a zone, as it stands behind the name of a property."""

    wall: datetime
    zone: str

    @classmethod
    def of(cls, reminder: Reminder) -> _When:
        """When a reminder is due: on a clock, if that was meant."""
        return cls.at(reminder.due_at, reminder.time_zone if reminder.wall is not None else "UTC")

    @classmethod
    def at(cls, at: datetime, zone: str) -> _When:
        """An instant, on the clock of this zone where that shows it once."""
        local = at.astimezone(ZoneInfo(known(zone)))
        is_once = local.replace(fold=0).utcoffset() == local.replace(fold=1).utcoffset()
        return cls(local, known(zone)) if is_once else cls(at, "UTC")

    @property
    def zones(self) -> Sequence[str]:
        """The zones that have to be described: UTC has not."""
        return () if self.zone == "UTC" else (self.zone,)

    def __str__(self) -> str:
        """E.g. `;TZID=Europe/Paris:20261201T090000`, `:20261201T080000Z`."""
        return f":{clock(self.wall)}Z" if self.zone == "UTC" else f";TZID={self.zone}:{clock(self.wall)}"


def _repeats(held: Series | None, reminder: Reminder) -> bool:
    """Whether this is the occurrence of a series that comes next, by a rule that says what follows."""
    if held is None or held.state != ACTIVE or held.from_completion or known(held.time_zone) != held.time_zone:
        return False
    return held.next_wall == reminder.occurrence


def _instead(held: Series, wall: datetime, when: _When, said: Sequence[str]) -> Event:
    """One occurrence, by its time on the clock as the rule has it, that comes at another or says something else."""
    of = _When(wall, held.time_zone)
    return Event([f"UID:{held.id}", f"RECURRENCE-ID{of}", f"DTSTART{when}", *said], [*of.zones, *when.zones])


def _odd(rule: Rule, start: datetime, place: ZoneInfo, wall: datetime) -> Iterator[datetime]:
    """The occurrences from this one on that the clocks jump over or show twice, for some years."""
    for change in changes(place.key, wall.year, wall.year + _TOLD_AHEAD):
        begin, end = change.odd
        for days in range((end - begin).days + 2):
            each = datetime.combine(begin.date() + timedelta(days=days), wall.time())
            is_odd = begin <= each < end and each >= wall
            if is_odd and next(walls(rule, start, after=each - _MOMENT), None) == each:
                yield each


def _said(reminder: Reminder, pages: str, held: Series | None = None) -> list[str]:
    """What an event says besides when it is; of what repeats, what its usual occurrence says."""
    status = Status(reminder.status)
    subject, message, rev = reminder.subject, reminder.message.strip(), reminder.rev
    updated_at = reminder.updated_at
    if held is not None:
        subject, message, rev = held.subject, held.message.strip(), held.rev
        updated_at = max(updated_at, held.updated_at)
    why = reminder.reason if status in (Status.FAILED, Status.MISSED, Status.UNCERTAIN) else None
    return [
        f"DTSTAMP:{instant(updated_at)}",
        f"CREATED:{instant(reminder.created_at)}",
        f"LAST-MODIFIED:{instant(updated_at)}",
        f"SEQUENCE:{rev}",
        f"SUMMARY:{text(_summary(subject, message))}",
        f"DESCRIPTION:{text(message if why is None else f'{message}{_APART}({why})')}",
        f"STATUS:{_STATUS.get(status, 'CONFIRMED')}",
        # It takes no time: whoever looks for a free hour finds this one.
        "TRANSP:TRANSPARENT",
        "CLASS:PRIVATE",
        f"URL:{pages}/reminders/{reminder.id}",
    ]


def _summary(subject: str, message: str) -> str:
    """What it is about: a subject that was made from the message says besides that it is a reminder, as all here are."""
    return subject.removeprefix("Reminder: ") if subject == subject_from(message) else subject
