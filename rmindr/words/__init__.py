"""Time words: «tomorrow 9am», «in 2h», «1 March 2031 18:00», «every weekday at 8» — understood whole, or refused.

    reading = read("every weekday at 8", now=now, zone=ZoneInfo("Europe/Paris"))
    reading.at, reading.rule, reading.sentence, reading.notes

Nothing is guessed in silence. What has two meanings raises BadWords, with both named and offered; what is not understood
raises it too, with where it stands. What is taken for granted is said in `notes`:

- A clock with am or pm, a leading zero, or from 12:00 on is exact. Without, 7 to 11 is the morning; 1 to 6 is refused,
  unless a part of the day settles it («at 6 in the morning», «tonight at 8»). A bare 12 is refused.
- A day without a clock is 09:00; its morning 09:00, afternoon 15:00, evening 18:00, night 20:00.
- A clock without a day is the next time that it comes. A weekday is the next one to come, a date without a year too.
- «next friday» is read where this week's and next week's are the same day, and refused where they are not.
- Minutes and hours are exact; days, weeks, months and years keep the time on the clock.
- What repeats starts the next time that it comes; «until friday» includes that day.
- Words about another place are about its calendar too; where its today is not the reader's, «tomorrow» is refused.
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from rmindr.words.english import ENGLISH
from rmindr.words.grammar import parse
from rmindr.words.language import Language
from rmindr.words.once import once
from rmindr.words.parts import BadWords, Choice, Reading, Span
from rmindr.words.series import series
from rmindr.words.view import View
from rmindr.words.written import written

__all__ = ["BadWords", "Choice", "Reading", "Span", "read"]


def read(text: str, *, now: datetime, zone: ZoneInfo, language: Language = ENGLISH) -> Reading:
    """What a text means, said at this moment by somebody in this zone. Raises BadWords.

    Besides words it may be a time as RFC 3339 has it."""
    now = now.astimezone(UTC)
    draft = written(text) or parse(text, language)
    try:
        view = View(draft, language, now, zone)
        return once(view) if draft.repeat is None else series(view, draft.repeat)
    except BadWords as error:
        error.understood = tuple(span for span in draft.spans() if span.end <= error.start or span.start >= error.end)
        raise
