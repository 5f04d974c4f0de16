"""Tokens in the links of mails: signed for one purpose each, so that none opens what another is for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from itsdangerous import BadData, URLSafeSerializer

from rmindr.errors import BadToken


class Purpose(StrEnum):
    """What a token is for. It is the salt of its signature: a token for one is no token for another."""

    CONFIRM = "confirm"
    AGREE = "agree"
    SIGN_IN = "sign in"
    MANAGE = "manage"
    DONE = "done"
    SNOOZE = "snooze"
    STOP = "stop"
    UNDO = "undo"
    FEED = "feed"


class Signer:
    """Signs with the last of the keys and reads what any of them signed, so that a key can be changed while mails are out."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._serializers = {
            purpose: URLSafeSerializer(list(keys), salt=f"rmindr {purpose}", signer_kwargs={"key_derivation": "hmac"})
            for purpose in Purpose
        }

    def sign(self, purpose: Purpose, *facts: str, until: datetime | None = None) -> str:
        """A token that says these facts, e.g. an id; not valid after `until`."""
        expires = int(until.timestamp()) if until is not None else 0
        return str(self._serializers[purpose].dumps([expires, *facts]))

    def read(self, purpose: Purpose, token: str) -> Sequence[str]:
        """The facts of a token. Raises BadToken: forged, for another purpose, or (`expired`) too old."""
        try:
            said: Any = self._serializers[purpose].loads(token)
            expires, *facts = said
        except (BadData, ValueError, TypeError, UnicodeError):
            raise BadToken from None
        if expires and datetime.now(UTC).timestamp() > expires:
            raise BadToken(expired=True)
        return [str(fact) for fact in facts]
