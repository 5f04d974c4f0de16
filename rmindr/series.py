"""What repeats: each occurrence is an ordinary reminder, and the next one is written as the one before it ends.

    begin     ·                                  ▶ active      with its first occurrence, in one transaction
    follow    active, its occurrence has ended   ▶ active      the next occurrence stands
    follow    active, the rule has none left     ▶ ended
    end       active                             ▶ cancelled   and so is the occurrence that stands

An occurrence is known by its time on the clock as the rule has it, whatever becomes of its own time, and stands once: the
row of the series is locked before any of its reminders is, and (series_id, occurrence) is unique besides. Whatever ends an
occurrence says `follow` in the same transaction; where a crash of an older release or a hand in the database lost that,
`sweep` does it. Occurrences at which nothing ran are made up for by one mail, or skipped, as `missed` says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast
from uuid import UUID
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Table, and_, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from rmindr import times
from rmindr.clocks import Settled, settle
from rmindr.database import Database, now
from rmindr.forms import Draft
from rmindr.ledger import USELESS, note, noted, reminders, row
from rmindr.models import FINAL, WAITING, Kind, Person, Reminder, Series, Status, new_id
from rmindr.moments import rules_in_use
from rmindr.own_mail import own_mail
from rmindr.recurrence import Rule, following, occurrences
from rmindr.recurrence.days import walls
from rmindr.webhooks.outbox import announce

log = structlog.get_logger(__name__)

series: Final = cast(Table, Series.__table__)  # type: ignore[attr-defined]
people: Final = cast(Table, Person.__table__)  # type: ignore[attr-defined]
_its: Final = series.c
_people: Final = people.c

ACTIVE: Final = "active"
ENDED: Final = "ended"
CANCELLED: Final = "cancelled"
# Of what was missed for years, these many are looked at to find the last; a day apart they are a century.
_MOST_MISSED: Final = 40_000
_SWEPT_AT_ONCE: Final = 200
# What is refused for good so often in a row will be refused again.
_REFUSED_AT_MOST: Final = 3


@dataclass(frozen=True, slots=True)
class Next:
    """The occurrence that comes next, and how many were passed over."""

    at: Settled
    skipped: int = 0


def series_values(draft: Draft, owner: str, id: UUID) -> dict[str, Any]:
    """The row of a series whose first occurrence is this draft."""
    repeats = draft.repeats
    assert repeats is not None  # noqa: S101  (asked for nothing else)
    useful = draft.deadline_at - draft.due_at if draft.deadline_at is not None else None
    return {
        "id": id,
        "owner": owner,
        "state": ACTIVE,
        "recipient": draft.to,
        "subject": draft.subject,
        "message": draft.message,
        "rule": str(repeats.rule),
        "start_wall": repeats.start.isoformat(),
        "time_zone": draft.time_zone,
        "from_completion": repeats.from_completion,
        "missed": draft.missed,
        "useful_s": _seconds(useful),
        "next_wall": repeats.start.isoformat(),
        "made": 1,
    }


async def begin(connection: AsyncConnection, draft: Draft, owner: str) -> UUID:
    """Write the series of this draft; its first occurrence is for the caller to write, in the same transaction."""
    id = new_id()
    await connection.execute(
        insert(series).values(**series_values(draft, owner, id), created_at=now(), updated_at=now())
    )
    return id


async def begin_many(connection: AsyncConnection, drafts: Sequence[tuple[Draft, str]]) -> Sequence[UUID]:
    """The same for many, each with its owner."""
    ids = [new_id() for _ in drafts]
    values = [series_values(draft, owner, id) for (draft, owner), id in zip(drafts, ids, strict=True)]
    if values:
        await connection.execute(insert(series).values(created_at=now(), updated_at=now()), values)
    return ids


async def hold(connection: AsyncConnection, id: UUID) -> Series | None:
    """Lock a series before any of its reminders is touched; None where it is gone."""
    touched = update(series).where(_its.id == id).values(updated_at=now()).returning(*_its)
    found = (await connection.execute(touched)).mappings().one_or_none()
    return None if found is None else Series(**found)


async def find(connection: AsyncConnection, id: UUID) -> Series | None:
    """The series as it stands; None where it is gone."""
    found = (await connection.execute(select(*_its).where(_its.id == id))).mappings().one_or_none()
    return None if found is None else Series(**found)


async def follow(connection: AsyncConnection, held: Series | None, *, unconfirmed: bool = False) -> Reminder | None:
    """Write the next occurrence where the one that stood has ended; None where it has not, or none is left.

    `held` is the series, locked. `unconfirmed`: nobody has agreed to any of it yet."""
    if held is None or held.state != ACTIVE or held.next_wall is None:
        return None
    found = await connection.execute(select(*row).where(row.series_id == held.id, row.occurrence == held.next_wall))
    last = found.mappings().one_or_none()
    standing = None if last is None else Reminder(**last)
    if standing is not None and not _is_over(held, standing):
        return None
    clock = (await connection.execute(select(now()))).scalar_one()
    found_next = after(held, standing, clock)
    if found_next is None:
        await connection.execute(update(series).where(_its.id == held.id).values(state=ENDED, next_wall=None))
        return None
    wall = found_next.at.wall.isoformat()
    made = await connection.execute(
        insert(reminders).values(**_occurrence(held, found_next, clock, unconfirmed)).returning(*row)
    )
    await connection.execute(update(series).where(_its.id == held.id).values(next_wall=wall, made=held.made + 1))
    return Reminder(**made.mappings().one())


def after(held: Series, last: Reminder | None, clock: datetime) -> Next | None:
    """The occurrence after the one that stood; None where the rule has none left.

    Of those whose time has passed meanwhile, a mail that came since makes up for all; else the last of them does, at once,
    unless they are to be skipped."""
    place, rule = ZoneInfo(held.time_zone), Rule.read(held.rule)
    start = datetime.fromisoformat(held.start_wall)
    wall = datetime.fromisoformat(held.next_wall or held.start_wall)
    stood = settle(wall, place).at
    if held.from_completion and last is not None:
        return _from_completion(held, rule, start, wall, last.done_at or max(clock, stood))
    if last is None:
        # It was never written: it is the first that comes into question.
        stood -= timedelta(milliseconds=1)
    passed: Settled | None = None
    skipped = 0
    for each in occurrences(rule, start, place, after=stood, count=_MOST_MISSED):
        if each.at > clock:
            return _late(held, passed, last, clock, skipped) or Next(each, skipped)
        passed, skipped = each, skipped + 1
    # The rule has ended: what was missed of it is made up for all the same.
    return _late(held, passed, last, clock, skipped)


def _late(held: Series, passed: Settled | None, last: Reminder | None, clock: datetime, count: int) -> Next | None:
    """The last of those whose time has passed, where it comes all the same: nothing made up for it, and it is of use still."""
    if passed is None or held.missed != "once":
        return None
    if held.useful_s is not None and passed.at + timedelta(seconds=held.useful_s) < clock:
        return None
    made_up = last is not None and last.accepted_at is not None and last.accepted_at >= passed.at
    return None if made_up else Next(passed, count - 1)


def _from_completion(held: Series, rule: Rule, start: datetime, wall: datetime, done: datetime) -> Next | None:
    place = ZoneInfo(held.time_zone)
    found = following(rule, start, place, completed=done, times_so_far=held.made)
    if found is not None and found.wall <= wall:
        # Done so early that the next would be the same once more.
        stood = settle(wall, place).at
        found = following(rule, start, place, completed=stood, times_so_far=held.made)
    return None if found is None else Next(found)


def _is_over(held: Series, standing: Reminder) -> bool:
    """Whether an occurrence makes room for the next. One counted from completion waits for its «done» when it has come."""
    if standing.status not in FINAL:
        return False
    waits = held.from_completion and standing.status in (Status.SENT, Status.UNCERTAIN)
    return not waits or standing.done_at is not None


def _occurrence(held: Series, found: Next, clock: datetime, unconfirmed: bool) -> dict[str, Any]:
    at, wall = found.at.at, found.at.wall.isoformat()
    passed = {"passed_over": found.skipped} if found.skipped else {}
    line = {"at": int(clock.timestamp() * 1000), "event": "created"} | passed
    return {
        "id": new_id(),
        "rev": 1,
        "owner": held.owner,
        "status": Status.UNCONFIRMED if unconfirmed else Status.SCHEDULED,
        "recipient": held.recipient,
        "subject": held.subject,
        "message": held.message,
        "due_at": at,
        "next_at": at,
        "time_zone": held.time_zone,
        "created_at": clock,
        "updated_at": clock,
        "timeline": json.dumps(line) + "\n",
        "wall": wall,
        "zone_rules": rules_in_use(),
        "deadline_at": at + timedelta(seconds=held.useful_s) if held.useful_s is not None else None,
        "series_id": held.id,
        "occurrence": wall,
    }


def upcoming(held: Series, clock: datetime | None = None, count: int = 5) -> list[Settled]:
    """The next few by the rule from the one that stands on; none of what has ended, or waits to be done."""
    if held.state != ACTIVE or held.next_wall is None or held.from_completion:
        return []
    place, start = ZoneInfo(held.time_zone), datetime.fromisoformat(held.start_wall)
    stood = settle(datetime.fromisoformat(held.next_wall), place).at - timedelta(milliseconds=1)
    since = max(stood, clock or datetime.now(UTC))
    return list(occurrences(Rule.read(held.rule), start, place, after=since, count=count))


class Repeating:
    """What repeats on one database."""

    def __init__(self, database: Database, sequel: Sequel | None = None) -> None:
        self._database = database
        self._sequel = sequel or Sequel()

    async def find(self, id: UUID | None) -> Series | None:
        """The series; None where it is gone. Raises StorageUnavailable."""
        if id is None:
            return None
        async with self._database.statements() as connection:
            return await find(connection, id)

    async def miss(self) -> int:
        """End what waits and is of no use any more, whether or not a mail server could be reached; answers how many."""
        useless = and_(row.status.in_(WAITING), row.deadline_at < now(), row.ambiguous == 0)
        async with self._database.statements() as connection:
            found = (await connection.execute(select(row.id, row.series_id).where(useless).limit(_SWEPT_AT_ONCE))).all()
        missed = 0
        for id, series_id in found:
            statement = update(reminders).where(row.id == id, useless)
            ended = statement.values(
                status=Status.MISSED, reason=USELESS, letter=None, updated_at=now(), timeline=noted()
            )
            async with self._database.transaction() as connection:
                held = await self._sequel.before(connection, series_id)
                done = await connection.execute(ended, {"note": note("missed", reason=USELESS)})
                if done.rowcount:
                    await self._sequel.after(connection, held, id, Status.MISSED, USELESS)
                    missed += 1
        return missed

    async def sweep(self) -> int:
        """Write what should stand and does not; answers how many that were. Raises StorageUnavailable."""
        stands = and_(row.series_id == _its.id, row.occurrence == _its.next_wall)
        counted = and_(_its.from_completion, row.status.in_((Status.SENT, Status.UNCERTAIN)), row.done_at.is_(None))
        over = or_(row.id.is_(None), and_(row.status.in_(FINAL), ~counted))
        lost = select(_its.id).select_from(series.outerjoin(reminders, stands)).where(_its.state == ACTIVE, over)
        async with self._database.statements() as connection:
            ids = (await connection.execute(lost.limit(_SWEPT_AT_ONCE))).scalars().all()
        written = 0
        for id in ids:
            try:
                async with self._database.transaction() as connection:
                    written += await follow(connection, await hold(connection, id)) is not None
            except (ValueError, IntegrityError):
                # A zone that is gone, a rule of a later release: it must not keep the others from going on.
                log.exception("series stands still", id=str(id))
        return written


def restated(held: Series, draft: Draft) -> Mapping[str, Any]:
    """What a series becomes where this one and all that follow are changed: the draft is its occurrence that stands."""
    useful = draft.deadline_at - draft.due_at if draft.deadline_at is not None else None
    values: dict[str, Any] = {
        "rev": held.rev + 1,
        "recipient": draft.to,
        "subject": draft.subject,
        "message": draft.message,
        "useful_s": _seconds(useful),
        "updated_at": now(),
    }
    if draft.repeats is not None:
        start = draft.repeats.start.isoformat()
        values |= {"rule": str(draft.repeats.rule), "start_wall": start, "next_wall": start}
        # Its count is of what is left, so what was is forgotten.
        values |= {"time_zone": draft.time_zone, "made": 1}
    return values


def what_is_left(held: Series) -> Rule:
    """The rule from the occurrence that stands on."""
    rule = Rule.read(held.rule)
    if rule.count is None:
        return rule
    if held.from_completion or held.next_wall is None:
        return replace(rule, count=max(1, rule.count - held.made + 1))
    # Those that were passed over are counted by the rule, and were never made.
    start, wall = datetime.fromisoformat(held.start_wall), datetime.fromisoformat(held.next_wall)
    return replace(rule, count=1 + sum(1 for _ in walls(rule, start, after=wall)))


async def change(connection: AsyncConnection, held: Series, values: Mapping[str, Any]) -> None:
    """Write these columns of a series that is locked."""
    await connection.execute(update(series).where(_its.id == held.id).values(**values))


class Sequel:
    """What comes of the end of a reminder, in the transaction that writes it (ledger.py); `webhooks`, programs are told."""

    def __init__(self, *, webhooks: bool = False) -> None:
        self._webhooks = webhooks

    async def before(self, connection: AsyncConnection, series_id: UUID | None) -> Series | None:
        """Lock what must be locked before the reminder is."""
        return await hold(connection, series_id) if series_id is not None else None

    async def after(
        self, connection: AsyncConnection, held: Series | None, id: UUID, status: Status, reason: str | None
    ) -> None:
        """It has ended so: the next one stands, and whoever set it is told where it was missed."""
        if self._webhooks:
            await announce(connection, [id])
        if held is not None and status == Status.FAILED and await _is_refused(connection, held):
            await change(connection, held, {"state": ENDED, "next_wall": None})
            await _tell(connection, id, f"It was refused {_REFUSED_AT_MOST} times in a row, so no more of it follows.")
            return
        await follow(connection, held)
        if status == Status.MISSED:
            # Whoever wanted no mail that is late wants none that says so.
            await _tell(connection, id, reason, oneself=held is None or held.missed != "skip")


async def _is_refused(connection: AsyncConnection, held: Series) -> bool:
    """Whether the last few occurrences were refused for good, one after the other."""
    last = select(row.status).where(row.series_id == held.id, row.status.in_(FINAL)).order_by(row.occurrence.desc())
    found = (await connection.execute(last.limit(_REFUSED_AT_MOST))).scalars().all()
    return list(found) == [Status.FAILED] * _REFUSED_AT_MOST


async def _tell(connection: AsyncConnection, id: UUID, reason: str | None, *, oneself: bool = True) -> None:
    """Tell the owner by mail of a reminder that was not sent; where it was to them, only if `oneself`."""
    found = await connection.execute(
        select(
            *_people, row.recipient, row.subject.label("missed_subject"), row.due_at, row.time_zone.label("its_zone")
        )
        .join_from(people, reminders, _people.owner == row.owner)
        .where(row.id == id, _people.confirmed_at.is_not(None), _people.blocked_at.is_(None))
    )
    owner = found.mappings().one_or_none()
    if owner is None:
        return
    person = Person(**{column.name: owner[column.name] for column in _people})
    to_another = owner["recipient"].lower() != person.mailbox
    if not (to_another or oneself):
        return
    when = times.in_words(owner["due_at"], ZoneInfo(owner["its_zone"]))
    another = " for another" if to_another else ""
    told = [f"Not sent: «{owner['missed_subject']}», which you set{another} for {when}.", reason or ""]
    await own_mail(connection, Kind.NOTICE, person, {"told": [each for each in told if each]})


def _seconds(span: timedelta | None) -> int | None:
    return None if span is None else round(span.total_seconds())
