"""What can go wrong in rmindr, above the queue (queue/errors.py) and below HTTP (web/app.py turns these into answers).

RmindrError
├── SettingsError           a setting is wrong or missing; names the variable
├── InvalidDraft            what was asked for cannot be a reminder; every complaint, by field
│   └── InvalidWebhook      what was asked for cannot be a webhook
├── ReminderNotFound        no reminder under this id, or not one for these eyes
├── TooLate                 the mail has left, or is leaving; nothing was changed
├── Changed                 it is not any more as whoever wants to change it has seen it; nothing was changed
├── KeyReused               an Idempotency-Key that came with another request before
├── BadToken                a link of a mail that is not ours, is for something else, was used, or is too old
├── TooMany                 more than a limit allows; says when one more will be
├── MigrationFailed         the database is not at the schema of this release, and why
└── StorageUnavailable      the database did not answer in time; what was asked may or may not have been done
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta


class RmindrError(Exception):
    """Anything rmindr has to say about a failure."""


class SettingsError(RmindrError):
    """A setting is wrong or missing. `problems` maps variables to sentences, e.g. {"PORT": "must be a whole number"}."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("\n".join(f"{variable}: {problem}" for variable, problem in problems.items()))
        self.problems = problems


class InvalidDraft(RmindrError):
    """What was asked for cannot be a reminder. `problems` maps fields to sentences, e.g. {"to": "is two addresses"}."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{field} {problem}" for field, problem in problems.items()))
        self.problems = problems


class InvalidWebhook(InvalidDraft):
    """What was asked for cannot be a webhook."""


class ReminderNotFound(RmindrError):
    """There is no such reminder, or not for these eyes: the two are the same answer."""

    def __init__(self) -> None:
        super().__init__("There is no reminder under this address.")


class TooLate(RmindrError):
    """A cancel or edit came when the mail had left or was leaving; nothing was changed."""

    def __init__(self, status: str) -> None:
        super().__init__(_TOO_LATE.get(status, f"This reminder is {status}; it can no longer be changed."))
        self.status = status


class Changed(RmindrError):
    """The reminder is not any more as whoever wants to change it has seen it; nothing was changed."""

    def __init__(self) -> None:
        super().__init__("This reminder has changed since you read it; read it again, and decide anew.")


class KeyReused(RmindrError):
    """This Idempotency-Key came with another request before."""

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used for a different request; use a new key for a new reminder.")


class MigrationFailed(RmindrError):
    """The database could not be brought to the schema of this release; nothing of it was changed."""


class BadToken(RmindrError):
    """A link of a mail that is not ours, is for something else, has been used, or (`expired`) is too old."""

    def __init__(self, *, expired: bool = False) -> None:
        super().__init__("This link has expired." if expired else "This link does not work.")
        self.expired = expired


class TooMany(RmindrError):
    """More than a limit allows; nothing was stored. `retry_after` is when one more will be."""

    def __init__(self, what: str, retry_after: timedelta) -> None:
        super().__init__(f"That is more than {what}.")
        self.what = what
        self.retry_after = retry_after


class StorageUnavailable(RmindrError):
    """The database did not answer in time."""


_TOO_LATE = {
    "sending": "The mail is leaving right now; it can no longer be changed.",
    "sent": "The mail has left; it can no longer be changed.",
    "uncertain": "The mail may have left already; it can no longer be changed.",
    "cancelled": "This reminder is cancelled already.",
}
