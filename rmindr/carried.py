"""What is written of reminders that go in another's mail: the statements of catch_up.py, built once."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final

from sqlalchemy import Boolean, Text, Uuid, and_, bindparam, case, exists, func, or_, select, tuple_, update
from sqlalchemy import cast as sql_cast
from sqlalchemy.sql.elements import ColumnElement

from rmindr.database import Instant, now
from rmindr.ledger import CRASHES_ALLOWED, GIVE_BACK, PUT_OFF, Carried, held, noted, of_use, reminders, row
from rmindr.models import WAITING, Kind, Status

# More would be a mail that nobody reads; the others come in the next one.
_IN_ONE_MAIL: Final = 50
_FREED_AT_ONCE: Final = 200
# What stands in `about` of a reminder that was refused in one mail with others.
ALONE: Final = "alone"
_carrier: Final = reminders.alias("carrier")
_other: Final = reminders.alias("other")


def _of_the_carrier(name: str) -> ColumnElement[Any]:
    """This column as it stands in the carrier's row."""
    return select(_carrier.c[name]).where(_carrier.c.id == bindparam("carrier", type_=Uuid)).scalar_subquery()


_listed: Final = row.id.in_(bindparam("ids", expanding=True, type_=Uuid))
_in_pairs: Final = tuple_(row.id, row.fence).in_(bindparam("pairs", expanding=True))
_theirs: Final = and_(row.carried_by == bindparam("carrier", type_=Uuid), row.status == Status.SENDING)
_those: Final = and_(_theirs, _in_pairs)
_columns: Final = [row[field.name] for field in fields(Carried)]
_by_itself: Final = {"carried_by": None, "marked_at": None, "queued_rev": None}

LOCK: Final = select(row.id).where(_listed).order_by(row.id).with_for_update()
STILL_HELD: Final = select(row.id).where(held)

# A claim of somebody else's that has not come to its mark may be taken over: its fence will stop it there.
_claimed: Final = and_(row.status == Status.SENDING, row.marked_at.is_(None))
_lapsed: Final = case((and_(_claimed, row.lease_until < now()), 1), else_=0)
_attempts: Final = row.attempt + case((and_(_claimed, row.lease_until >= now()), 0), else_=1)
_eligible: Final = and_(
    row.id != bindparam("of_id"),
    row.owner == bindparam("of_owner"),
    or_(row.status.in_(WAITING), _claimed),
    row.kind == Kind.REMINDER,
    func.lower(row.recipient) == func.lower(bindparam("of_recipient", type_=Text)),
    row.due_at <= now() - bindparam("late", type_=Instant),
    row.due_at >= now() - bindparam("too_late", type_=Instant),
    of_use,
    # Neither what may have left already, nor what is to go alone, nor what carries or is carried itself.
    row.letter.is_(None),
    row.ambiguous == 0,
    row.about == "",
    row.crashes + _lapsed < CRASHES_ALLOWED - 1,
    row.carried_by.is_(None),
    ~exists().where(_other.c.carried_by == row.id).correlate(reminders),
)
CANDIDATES: Final = select(row.id).where(_eligible).order_by(row.due_at, row.id).limit(_IN_ONE_MAIL - 1)
GATHER: Final = (
    update(reminders)
    .where(_listed, _eligible)
    .values(
        status=Status.SENDING,
        carried_by=bindparam("carrier", type_=Uuid),
        fence=row.fence + 1,
        attempt=_attempts,
        crashes=row.crashes + _lapsed,
        first_tried_at=func.coalesce(row.first_tried_at, now()),
        lease_until=None,
        updated_at=now(),
        timeline=noted(', "attempt": ', sql_cast(_attempts, Text)),
    )
    .returning(*_columns)
)
AGAIN: Final = (
    update(reminders)
    .where(_those, row.marked_at.is_not(None))
    .values(
        fence=row.fence + 1,
        attempt=row.attempt + 1,
        updated_at=now(),
        timeline=noted(', "attempt": ', sql_cast(row.attempt + 1, Text)),
    )
    .returning(*_columns)
)
CARRIED_BY: Final = select(*_columns).where(_theirs, row.marked_at.is_not(None) == bindparam("marked", type_=Boolean))
MARK_TOO: Final = (
    update(reminders).where(_those, or_(of_use, row.marked_at.is_not(None))).values(marked_at=now(), updated_at=now())
)
FOLLOW: Final = (
    update(reminders)
    .where(_those)
    .values(
        **{name: _of_the_carrier(name) for name in ("status", "reason", "accepted_at", "smtp_reply", "ambiguous")},
        carried_by=None,
        updated_at=now(),
        timeline=noted(),
    )
    .returning(row.id)
)
GIVE_BACK_TOO: Final = update(reminders).where(_those).values(**{**GIVE_BACK, **_by_itself}).returning(row.id)
GIVE_UNMARKED_BACK: Final = (
    update(reminders).where(_those, row.marked_at.is_(None)).values(**{**GIVE_BACK, **_by_itself})
)
PUT_OFF_TOO: Final = update(reminders).where(_those).values(**{**PUT_OFF, **_by_itself})
# What was lost with its worker was an attempt.
LOST: Final = (
    update(reminders)
    .where(_those)
    .values(
        **{**GIVE_BACK, **_by_itself, "status": Status.RETRYING, "attempt": row.attempt, "crashes": row.crashes + 1}
    )
    .returning(row.id)
)
AFRESH: Final = update(reminders).where(_in_pairs).values(letter=None, about=bindparam("of_about", type_=Text))
# A carrier has no letter before its mark, and one from then on: whatever else it is, it is not theirs any more.
_is_carried: Final = (
    exists()
    .where(
        _carrier.c.id == row.carried_by,
        or_(
            and_(row.marked_at.is_(None), _carrier.c.status == Status.SENDING, _carrier.c.letter.is_(None)),
            and_(
                row.marked_at.is_not(None),
                _carrier.c.status.in_((Status.SENDING, Status.RETRYING)),
                _carrier.c.letter.is_not(None),
            ),
        ),
    )
    .correlate(reminders)
)
_stray: Final = and_(row.carried_by.is_not(None), row.status == Status.SENDING, ~_is_carried)
STRAYS: Final = select(row.id, row.carried_by).where(_stray).limit(_FREED_AT_ONCE)
FREE: Final = update(reminders).where(_listed, _stray, row.marked_at.is_(None)).values(**{**GIVE_BACK, **_by_itself})
DOUBT: Final = (
    update(reminders)
    .where(_listed, _stray, row.marked_at.is_not(None))
    .values(
        status=Status.UNCERTAIN,
        reason=bindparam("the_reason"),
        carried_by=None,
        updated_at=now(),
        timeline=noted(),
    )
)
