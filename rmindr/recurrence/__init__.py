"""What repeats: a rule of RFC 5545 kept on the wall clock, so that 09:00 stays 09:00 when the clocks change.

    rule = Rule.read("FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR")
    start = first(rule, datetime(2026, 11, 24, 8, 0))
    describe(rule, start)                                    # every weekday at 08:00
    for each in occurrences(rule, start, ZoneInfo("Europe/Paris"), after=now, count=5): each.at, each.note

A rule speaks of days, its start gives the clock. Times that the clocks jump over or show twice are settled as
`rmindr.clocks` says. Months that lack the day are skipped, as RFC 5545 has it; `skips` says so and offers the last day.
"""

from rmindr.recurrence.days import first
from rmindr.recurrence.occurrences import Shown, following, months_later, occurrences, upcoming
from rmindr.recurrence.rule import END_OF_DAY, BadRule, Day, Freq, Rule
from rmindr.recurrence.sentences import Skips, describe, presets, skips

__all__ = [
    "END_OF_DAY",
    "BadRule",
    "Day",
    "Freq",
    "Rule",
    "Shown",
    "Skips",
    "describe",
    "first",
    "following",
    "months_later",
    "occurrences",
    "presets",
    "skips",
    "upcoming",
]
