"""How a call is signed (Standard Webhooks 1.0): over its id, its instant and its body, with a secret that both sides have."""

from __future__ import annotations

import hmac
import secrets
from base64 import b64decode, b64encode
from datetime import datetime
from typing import Final

_BEGINNING: Final = "whsec_"
_BYTES: Final = 32


def new_secret() -> str:
    """A secret, e.g. `whsec_C2FVsBQIhrscChlQIMV…`."""
    return _BEGINNING + b64encode(secrets.token_bytes(_BYTES)).decode()


def signed(secret: str, id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The headers that tell a receiver who calls, and since when."""
    second = str(int(at.timestamp()))
    key = b64decode(secret.removeprefix(_BEGINNING))
    digest = hmac.digest(key, f"{id}.{second}.".encode() + body, "sha256")
    return {"webhook-id": id, "webhook-timestamp": second, "webhook-signature": f"v1,{b64encode(digest).decode()}"}
