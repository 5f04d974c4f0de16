"""Three readers of calendar files that are not ours: icalendar and vobject in Python, ical.js on Node.

Each is asked what it understands: every occurrence up to an instant, by UID and instant, with its texts. Zones are read from
the file itself."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import icalendar
from dateutil.rrule import rruleset, rrulestr
from dateutil.tz import tzical

FOLDER: Final = Path(__file__).parent


@dataclass(frozen=True, order=True)
class Understood:
    """One occurrence as a reader tells it."""

    at: datetime
    uid: str
    summary: str
    description: str


Reader = Callable[[bytes, datetime], list[Understood]]


class _Parsed:
    """A file as icalendar has it, and the zones that icalendar makes of it."""

    def __init__(self, file: bytes) -> None:
        parsed = icalendar.Calendar.from_ical(file)
        self.zones = {str(each["TZID"]): each.to_tz() for each in parsed.walk("VTIMEZONE")}
        events = parsed.walk("VEVENT")
        self.events = [each for each in events if "RECURRENCE-ID" not in each]
        self.instead = {
            (str(each["UID"]), self.at(each, "RECURRENCE-ID")): each for each in events if "RECURRENCE-ID" in each
        }

    def zone(self, event: Any, name: str = "DTSTART") -> Any:
        zone = event[name].params.get("TZID")
        return UTC if zone is None else self.zones[zone]

    def at(self, event: Any, name: str = "DTSTART") -> datetime:
        wall: datetime = event[name].dt.replace(tzinfo=self.zone(event, name))
        return wall.astimezone(UTC)

    def walls(self, event: Any) -> Iterator[datetime]:
        """Its times on the clock, by dateutil."""
        rule, of_it = event["RRULE"].to_ical().decode(), event["RRULE"]
        if "UNTIL" in of_it:
            # In UTC where the start names a zone; dateutil wants it on the clock.
            (end,) = of_it["UNTIL"]
            on_the_clock = end.astimezone(self.zone(event))
            rule = rule.replace(f"{end:%Y%m%dT%H%M%SZ}", f"{on_the_clock:%Y%m%dT%H%M%S}")
        gone = {each.dt.replace(tzinfo=None) for one in _listed(event.get("EXDATE", [])) for each in one.dts}
        yield from (
            each for each in rrulestr(rule, dtstart=event["DTSTART"].dt.replace(tzinfo=None)) if each not in gone
        )


def by_icalendar(file: bytes, until: datetime) -> list[Understood]:
    """Parsed by icalendar; its rules are walked by dateutil, in zones that icalendar makes of the file."""
    parsed, found = _Parsed(file), []
    for event in parsed.events:
        if "RRULE" not in event:
            found.append(_told(event, parsed.at(event)))
            continue
        for wall in parsed.walls(event):
            at = wall.replace(tzinfo=parsed.zone(event)).astimezone(UTC)
            if at > until:
                break
            other = parsed.instead.get((str(event["UID"]), at), event)
            found.append(_told(other, at if other is event else parsed.at(other)))
    return sorted(found)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _told(event: Any, at: datetime) -> Understood:
    return Understood(at, str(event["UID"]), str(event["SUMMARY"]), str(event["DESCRIPTION"]))


def by_vobject(file: bytes, until: datetime) -> list[Understood]:
    """Parsed, and its rules walked, by vobject."""
    with warnings.catch_warnings():
        # It is a reader as people have it; what it makes of its own libraries is not ours.
        warnings.simplefilter("ignore")
        import vobject

        parsed = vobject.readOne(file.decode())
        events = list(parsed.contents.get("vevent", []))
        instead = {
            (each.uid.value, each.recurrence_id.value.astimezone(UTC)): each
            for each in events
            if "recurrence-id" in each.contents
        }
        found = []
        for event in events:
            if "recurrence-id" in event.contents:
                continue
            rules: rruleset | None = event.getrruleset() if "rrule" in event.contents else None
            for each in [event.dtstart.value] if rules is None else rules:
                at = each.astimezone(UTC)
                if rules is not None and at > until:
                    break
                item = instead.get((event.uid.value, at), event)
                at = at if item is event else item.dtstart.value.astimezone(UTC)
                found.append(Understood(at, item.uid.value, item.summary.value, item.description.value))
    return sorted(found)


@contextmanager
def node() -> Iterator[Reader]:
    """ical.js in a process of its own."""
    program = shutil.which("node")
    assert program is not None
    command = [program, str(FOLDER / "reader.js")]
    with subprocess.Popen(command, cwd=FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, answers = io.TextIOWrapper(process.stdin, "utf-8"), io.TextIOWrapper(process.stdout, "utf-8")

        def read(file: bytes, until: datetime) -> list[Understood]:
            asked.write(json.dumps({"file": file.decode(), "until": until.timestamp()}) + "\n")
            asked.flush()
            answer = json.loads(answers.readline())
            assert "error" not in answer, answer["error"]
            return sorted(Understood(datetime.fromtimestamp(each.pop("at"), UTC), **each) for each in answer["events"])

        try:
            yield read
        finally:
            asked.close()
            process.wait(10)
            answers.close()


def zones_by_dateutil(file: bytes) -> Any:
    """The zones of a file, as dateutil reads them."""
    begin, end = file.index(b"BEGIN:VTIMEZONE"), file.rindex(b"END:VTIMEZONE\r\n") + len(b"END:VTIMEZONE\r\n")
    return tzical(io.StringIO(file[begin:end].decode().replace("\r\n ", "").replace("\r\n", "\n")))
