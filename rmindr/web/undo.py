"""How the last act is taken back, for a minute after it: by a token that says which act, on what, at which revision."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Final

from rmindr.afterwards import Before
from rmindr.errors import BadToken
from rmindr.models import Reminder
from rmindr.signing import Purpose, Signer

_LASTS: Final = timedelta(minutes=1)


def undo_of(signer: Signer, act: str, *facts: object) -> str:
    """The token that takes back this act: `block`, `sender`, `reminder`, `later`, `stop` (doors.py reads them)."""
    return signer.sign(Purpose.UNDO, act, *map(str, facts), until=datetime.now(UTC) + _LASTS)


def undo_of_later(signer: Signer, before: Before, changed: Reminder) -> str:
    """The token that takes it back that a reminder was put off."""
    return undo_of(signer, "later", changed.id, changed.rev, *before.facts())


def still_good(signer: Signer, undo: str, found: Reminder) -> str | None:
    """The token, where it takes back the last thing that happened to this reminder."""
    with contextlib.suppress(ValueError, BadToken):
        _, id, rev, *_ = signer.read(Purpose.UNDO, undo)
        if (id, rev) == (str(found.id), str(found.rev)):
            return undo
    return None
