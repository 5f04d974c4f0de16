"""What a time on the clock means: in gaps and overlaps, and when the zone rules are exchanged under a stored reminder."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest

from rmindr.clocks import Moved, replan, settle, zone_rules
from tests.zones import a_zone_folder

HOUSE: Final = Path(__file__).parent.parent
PARIS: Final = ZoneInfo("Europe/Paris")
HOUR: Final = timedelta(hours=1)


def clock(text: str) -> datetime:
    """A time on a clock, without a zone, e.g. of "2026-11-24 09:00"."""
    return datetime.fromisoformat(text)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


def said_by(program: str, *arguments: Path) -> Any:
    """What a fresh Python says when it runs this, as JSON; fresh, because zone rules are one per process."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


# Settling


@pytest.mark.parametrize(
    ("wall", "at", "note"),
    [
        ("2027-03-27 02:30", utc(2027, 3, 27, 1, 30), None),
        ("2027-03-28 01:59", utc(2027, 3, 28, 0, 59), None),
        ("2027-03-28 02:00", utc(2027, 3, 28, 1, 0), "02:00 does not exist"),
        ("2027-03-28 02:30", utc(2027, 3, 28, 1, 30), "02:30 does not exist"),
        ("2027-03-28 03:00", utc(2027, 3, 28, 1, 0), None),
        ("2026-10-25 01:59", utc(2026, 10, 24, 23, 59), None),
        ("2026-10-25 02:30", utc(2026, 10, 25, 0, 30), "the first (UTC+2) is taken, not the second (UTC+1)"),
        ("2026-10-25 03:00", utc(2026, 10, 25, 2, 0), None),
    ],
)
def test_a_time_on_the_clock_is_settled_and_said_where_the_clocks_change(
    wall: str, at: datetime, note: str | None
) -> None:
    settled = settle(clock(wall), PARIS)

    assert settled.at == at
    assert (note or "") in (settled.note or "")
    assert (settled.note is None) == (note is None)


def test_the_second_of_two_is_taken_where_it_is_wanted() -> None:
    settled = settle(clock("2026-10-25 02:30"), PARIS, fold=1)

    assert settled.at == utc(2026, 10, 25, 1, 30)
    assert "the second (UTC+1) is taken, not the first (UTC+2)" in (settled.note or "")


# Planning anew


def test_what_still_names_the_same_instant_has_not_moved() -> None:
    for wall in (clock("2027-07-01 09:00"), clock("2027-03-28 02:30"), clock("2026-10-25 02:30")):
        assert replan(wall, PARIS, settle(wall, PARIS).at) is None


def test_the_second_of_two_has_not_moved_to_the_first() -> None:
    wall = clock("2026-10-25 02:30")

    assert replan(wall, PARIS, settle(wall, PARIS, fold=1).at, fold=1) is None


@pytest.mark.parametrize(
    ("known", "by", "said"),
    [
        (utc(2027, 7, 1, 6, 0), HOUR, "moved by 1 hour: 09:00 on 1 July 2027 in Paris is now UTC+2"),
        (utc(2027, 7, 1, 8, 0), -HOUR, "moved back by 1 hour: 09:00 on 1 July 2027 in Paris is now UTC+2"),
        (utc(2027, 7, 1, 6, 30), HOUR / 2, "moved by 30 minutes: 09:00 on 1 July 2027 in Paris is now UTC+2"),
    ],
)
def test_what_names_another_instant_says_how_far_it_moved(known: datetime, by: timedelta, said: str) -> None:
    moved = replan(clock("2027-07-01 09:00"), PARIS, known)

    assert isinstance(moved, Moved)
    assert (moved.before, moved.after, moved.by) == (known, utc(2027, 7, 1, 7, 0), by)
    assert str(moved) == said


SWAP: Final = """
import json, sys, zoneinfo
from datetime import UTC, datetime
from zoneinfo import ZoneInfo
from rmindr.clocks import replan, settle, zone_rules

walls = [datetime(2027, month, 1, 9, 0) for month in range(1, 13)]
zoneinfo.reset_tzpath([sys.argv[1]])
old = zone_rules().version
known = [settle(wall, ZoneInfo("America/Asuncion")).at for wall in walls]
zoneinfo.reset_tzpath([sys.argv[2]])
ZoneInfo.clear_cache()
new = zone_rules().version
moved = [replan(wall, ZoneInfo("America/Asuncion"), at) for wall, at in zip(walls, known)]
print(json.dumps({"versions": [old, new], "moved": [each and str(each) for each in moved]}))
"""


def test_new_zone_rules_move_what_they_change_and_nothing_else(tmp_path: Path) -> None:
    # Paraguay kept summer time all year: until then its winter was UTC−4.
    old = a_zone_folder(tmp_path / "old", "XXX4XXX,M10.1.0/0,M3.4.0/0", "2024a")
    new = a_zone_folder(tmp_path / "new", "XXX3", "2024b")

    said = said_by(SWAP, old, new)

    assert said["versions"] == ["2024a", "2024b"]
    assert [month for month, each in enumerate(said["moved"], 1) if each] == [4, 5, 6, 7, 8, 9, 10]
    assert said["moved"][6] == "moved back by 1 hour: 09:00 on 1 July 2027 in Asuncion is now UTC−3"


# Which rules


RULES: Final = """
import json, sys, zoneinfo
from rmindr.clocks import zone_rules

zoneinfo.reset_tzpath(sys.argv[1:])
print(json.dumps([zone_rules().version, zone_rules().source]))
"""


def test_the_rules_of_the_system_come_before_those_of_the_package(tmp_path: Path) -> None:
    system = a_zone_folder(tmp_path, "XXX3", "2031c")

    assert said_by(RULES, system) == ["2031c", str(system)]


def test_where_the_system_has_no_rules_the_package_is_named(tmp_path: Path) -> None:
    version, source = said_by(RULES, tmp_path)

    assert source == "tzdata"
    assert version[:2] == "20"
    assert version[4:].isalpha()


def test_rules_without_a_version_are_known_by_their_content(tmp_path: Path) -> None:
    one = a_zone_folder(tmp_path / "one", "XXX3")
    same = a_zone_folder(tmp_path / "same", "XXX3")
    other = a_zone_folder(tmp_path / "other", "XXX4")

    versions = [said_by(RULES, folder)[0] for folder in (one, same, other)]

    assert versions[0].startswith("sha256:")
    assert versions[0] == versions[1] != versions[2]


def test_a_version_file_that_says_something_else_is_no_version(tmp_path: Path) -> None:
    folder = a_zone_folder(tmp_path, "XXX3")
    (folder / "version").write_text("this is not a version at all\n", encoding="utf-8")

    assert said_by(RULES, folder)[0].startswith("sha256:")


def test_the_rules_in_use_here_have_a_version() -> None:
    rules = zone_rules()

    assert rules.version
    assert rules.source
