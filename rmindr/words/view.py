"""From where a text is seen: by whom, when, and on whose clock; and what is said where it cannot be meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from rmindr.clocks import Settled, settle
from rmindr.times import BadTime
from rmindr.words.calendar import Calendar, moved
from rmindr.words.draft import Draft
from rmindr.words.hours import Hour
from rmindr.words.language import Language
from rmindr.words.parts import BadWords, Choice, Day, Length, Part

FAR: Final = "is more than 100 years away"


@dataclass(frozen=True, slots=True)
class View:
    """A draft, seen from one moment by a reader in one zone."""

    draft: Draft
    language: Language
    now: datetime
    home: ZoneInfo

    @property
    def zone(self) -> ZoneInfo:
        """The zone on whose clock the words are."""
        place = self.draft.place
        return place.zone if place is not None and place.zone is not None else self.home

    @property
    def offset(self) -> timedelta | None:
        """The distance from UTC that is named in place of a zone."""
        return self.draft.place.offset if self.draft.place is not None else None

    def clock_now(self) -> datetime:
        """Now, on the clock that the words are about."""
        if self.offset is not None:
            return (self.now + self.offset).replace(tzinfo=None)
        return self.now.astimezone(self.zone).replace(tzinfo=None)

    def home_now(self) -> datetime:
        """Now, on the reader's clock."""
        return self.now.astimezone(self.home).replace(tzinfo=None)

    def settle(self, day: date, hour: Hour) -> Settled:
        """The instant of a time on the clock that the words are about. Raises BadWords."""
        try:
            wall = datetime.combine(day + timedelta(days=hour.days), hour.at)
            if self.offset is not None:
                return Settled(wall=wall, at=(wall - self.offset).replace(tzinfo=UTC))
            return settle(wall, self.zone)
        except (OverflowError, BadTime):
            raise self.bad_whole(FAR) from None

    def date_of(self, day: Day, hour: Hour | None) -> date:
        """The date that is meant on the clock that the words are about. Raises BadWords."""
        # The end of a day has passed when the day has.
        clock = None if hour is None else time.max if hour.days else hour.at
        there = self._calendar(self.clock_now(), clock).date_of(day)
        if self.home_now().date() != self.clock_now().date():
            self._check_both(day, there, self._calendar(self.home_now(), clock).date_of(day))
        return there

    def days_on(self, length: Length) -> date:
        """The date so many days and months from today on. Raises BadWords."""
        there, here = (
            moved(self._calendar(now, None), length, now.date(), length) for now in (self.clock_now(), self.home_now())
        )
        self._check_both(length, there, here)
        return there

    def _calendar(self, now: datetime, clock: time | None) -> Calendar:
        return Calendar(self.draft.text, now, clock)

    def _check_both(self, part: Part, there: date, here: date) -> None:
        """«Tomorrow in Tokyo» may be no tomorrow here."""
        if there != here:
            raise self._calendar(self.clock_now(), None).two(part, sorted((there, here)))

    def bad(self, part: Part, why: str, choices: Sequence[Choice] = ()) -> BadWords:
        """BadWords about one part."""
        return BadWords(self.draft.text, part.start, part.end, why, choices)

    def bad_whole(self, why: str, choices: Sequence[Choice] = ()) -> BadWords:
        """BadWords about everything that says when, or about all there is where nothing does."""
        draft = self.draft
        found = draft.parts()
        saying_when = [found[name] for name in ("day", "weekday", "length", "clock", "day_part") if name in found]
        parts = saying_when or list(found.values())
        return BadWords(draft.text, min(each.start for each in parts), max(each.end for each in parts), why, choices)
