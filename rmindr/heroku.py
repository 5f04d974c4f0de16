"""What Heroku and its add-ons say in variables of their own, put as our settings say it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from rmindr.errors import SettingsError

# The add-ons' own variables (docs/decisions.md): host, port, user, password; a constant where the add-on has none.
_MAIL_ADD_ONS: Final = (
    ("MAILGUN_SMTP_SERVER", "MAILGUN_SMTP_PORT", "MAILGUN_SMTP_LOGIN", "MAILGUN_SMTP_PASSWORD"),
    ("MAILERTOGO_SMTP_HOST", "MAILERTOGO_SMTP_PORT", "MAILERTOGO_SMTP_USER", "MAILERTOGO_SMTP_PASSWORD"),
    ("=smtp.sendgrid.net", "=587", "=apikey", "SENDGRID_API_KEY"),
    ("=smtp.sendgrid.net", "=587", "SENDGRID_USERNAME", "SENDGRID_PASSWORD"),
    ("=smtp.postmarkapp.com", "=587", "POSTMARK_API_TOKEN", "POSTMARK_API_TOKEN"),
)
# Heroku's stores are machines of EC2 and have its names; what Amazon itself runs (cache.amazonaws.com) has true certificates.
_STORE: Final = re.compile(r"\.(compute(-1)?\.amazonaws|herokuapp|heroku)\.com$")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def mail_server(environment: Mapping[str, str]) -> str | None:
    """The SMTP URL of the first mail add-on whose variables are all there. Raises SettingsError where its port is none."""
    for names in _MAIL_ADD_ONS:
        host, port, user, password = (
            name.removeprefix("=") if name.startswith("=") else environment.get(name) for name in names
        )
        if host and port and user and password:
            if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) in (0, 25):
                raise SettingsError({names[1]: "must be a port other than 25, e.g. 587"})
            scheme = "smtps" if port == "465" else "smtp+starttls"
            return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{host}:{port}"
    return None


def redis_url(url: str) -> str:
    """Heroku's Redis has a certificate that it signed itself: for its hosts, and for no others, it is not verified."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    if parts.scheme == "rediss" and "ssl_cert_reqs" not in query and is_store(parts.hostname or ""):
        return urlunsplit(parts._replace(query=urlencode({**query, "ssl_cert_reqs": "none"})))
    return url


def is_store(host: str) -> bool:
    """Whether this is a store of Heroku's, whose certificate nobody has signed."""
    return _STORE.search(host) is not None


def database_url(url: str) -> str:
    """Heroku's PostgreSQL is spoken to by TLS or not at all; one on loopback is a pooler, which does so itself."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    if not parts.scheme.startswith("postgres") or "sslmode" in query or parts.hostname in _LOOPBACK:
        return url
    return urlunsplit(parts._replace(query=urlencode({**query, "sslmode": "require"})))
