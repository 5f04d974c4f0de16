"""The links in our mails: where each leads, and the token that says for what, and for what alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from rmindr.signing import Purpose, Signer

# Acting on a reminder from its mail is for the days after it came.
_ACTS: Final = timedelta(days=30)
_PATHS: Final = {
    Purpose.CONFIRM: "confirm",
    Purpose.AGREE: "agree",
    Purpose.SIGN_IN: "sign-in",
    Purpose.MANAGE: "manage",
    Purpose.DONE: "done",
    Purpose.SNOOZE: "snooze",
    Purpose.STOP: "stop",
}


class MailLinks:
    """Links to the web tier at `public_url`: nothing that a client says of its host ever comes into a mail."""

    def __init__(self, public_url: str, signer: Signer) -> None:
        self._public_url = public_url
        self._signer = signer

    def home(self, path: str = "") -> str:
        """A page that needs no token."""
        return f"{self._public_url}/{path}"

    def of_link(self, purpose: Purpose, id: str) -> str:
        """A link that works once: its row knows how long."""
        return self._url(purpose, self._signer.sign(purpose, id))

    def act(self, purpose: Purpose, reminder: UUID, leaves_at: datetime) -> str:
        """Done, or snooze: for one reminder, for a month."""
        return self._url(purpose, self._signer.sign(purpose, str(reminder), until=leaves_at + _ACTS))

    def manage(self, reminder: UUID) -> str:
        """See and change one reminder."""
        return self._url(Purpose.MANAGE, self._signer.sign(Purpose.MANAGE, str(reminder)))

    def stop(self, recipient: str, reminder: UUID) -> str:
        """Stop all mail from here to this address; works for ever, and without a login (RFC 8058)."""
        return self._url(Purpose.STOP, self._signer.sign(Purpose.STOP, recipient, str(reminder)))

    def _url(self, purpose: Purpose, token: str) -> str:
        return f"{self._public_url}/{_PATHS[purpose]}/{token}"
