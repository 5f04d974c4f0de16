"""Every setting: its variable, its unit, its default, and a sentence. Built once, at the door; values go below, never this."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parseaddr
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from email_validator import EmailNotValidError, validate_email
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from rmindr.errors import SettingsError

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
# What rmindr/queue/addresses.py reads.
_REDIS: Final = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
_HEROKU_REDIS: Final = re.compile(r"\.(amazonaws|herokuapp|heroku)\.com$")
# The add-ons' own variables (docs/decisions.md): host, port, user, password; a constant where the add-on has none.
_MAIL_ADD_ONS: Final = (
    ("MAILGUN_SMTP_SERVER", "MAILGUN_SMTP_PORT", "MAILGUN_SMTP_LOGIN", "MAILGUN_SMTP_PASSWORD"),
    ("MAILERTOGO_SMTP_HOST", "MAILERTOGO_SMTP_PORT", "MAILERTOGO_SMTP_USER", "MAILERTOGO_SMTP_PASSWORD"),
    ("=smtp.sendgrid.net", "=587", "=apikey", "SENDGRID_API_KEY"),
    ("=smtp.sendgrid.net", "=587", "SENDGRID_USERNAME", "SENDGRID_PASSWORD"),
    ("=smtp.postmarkapp.com", "=587", "POSTMARK_API_TOKEN", "POSTMARK_API_TOKEN"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpServer:
    """Where mail is handed over, and how it is protected on the way there."""

    host: str
    port: int
    security: Literal["plain", "starttls", "tls"]
    username: str | None = None
    password: SecretStr | None = None

    @classmethod
    def from_url(cls, url: str) -> SmtpServer:
        """Read smtp://, smtp+starttls:// or smtps://[user:password@]host[:port]. Raises ValueError with a sentence."""
        try:
            parts = urlsplit(url)
            given_port = parts.port
        except ValueError:
            # It would repeat the password.
            raise ValueError("cannot be read; in a password, : / ? @ must be written as %3A %2F %3F %40") from None
        securities: dict[str, tuple[Literal["plain", "starttls", "tls"], int | None]] = {
            "smtp": ("plain", None),
            "smtp+starttls": ("starttls", 587),
            "smtps": ("tls", 465),
        }
        if parts.scheme not in securities or not parts.hostname:
            raise ValueError(
                "must look like smtp+starttls://user:password@host:587 (or smtps://, or smtp:// on loopback)"
            )
        security, default_port = securities[parts.scheme]
        port = given_port or default_port
        if port is None or port == 25:
            raise ValueError("must name a port other than 25, e.g. smtp://localhost:1025")
        if security == "plain" and parts.password and parts.hostname not in LOOPBACK:
            raise ValueError("sends a password in the clear: use smtp+starttls:// or smtps:// beyond loopback")
        return cls(
            host=parts.hostname,
            port=port,
            security=security,
            username=unquote(parts.username) if parts.username else None,
            password=SecretStr(unquote(parts.password)) if parts.password else None,
        )


@dataclass(frozen=True, slots=True)
class AllowedRecipients:
    """Who may be written to: these addresses and everybody at these domains; or everybody."""

    addresses: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()
    everybody: bool = False

    def allow(self, address: str) -> bool:
        """Whether mail may go to this address (as stored: domain in ASCII)."""
        lowered = address.casefold()
        return self.everybody or lowered in self.addresses or lowered.rpartition("@")[2] in self.domains


class QueueSettings(BaseSettings):
    """Where the queue is: all that a command needs which only speaks to it. Secrets do not show in its repr."""

    model_config = SettingsConfigDict(
        env_prefix="RMINDR_", extra="ignore", frozen=True, use_attribute_docstrings=True, env_ignore_empty=True
    )

    redis_url: SecretStr = Field(SecretStr("redis://localhost:6379"), validation_alias="REDIS_URL")
    """The queue: `redis://`, `rediss://`, `unix://`, `redis+sentinel://host,host/service` or `redis+cluster://host,host`; it
    may be emptied at any time without losing a reminder."""

    queue_prefix: str = Field("q", min_length=1, max_length=60)
    """What the queue's keys begin with; on a Redis Cluster it stands in braces."""

    @classmethod
    def load(cls, **given: Any) -> Self:
        """The settings of this process's environment. Raises SettingsError, naming each variable that is wrong."""
        try:
            return cls(**given)
        except ValidationError as error:
            raise SettingsError(
                {
                    variable(str(problem["loc"][0] if problem["loc"] else "")): _sentence(problem)
                    for problem in error.errors(include_input=False)
                }
            ) from None

    @field_validator("redis_url")
    @classmethod
    def _known_redis(cls, value: SecretStr) -> SecretStr:
        # Not by urlsplit: what it has to say of a URL repeats the password.
        scheme, separator, _ = value.get_secret_value().partition("://")
        if not separator or scheme not in _REDIS:
            raise ValueError(f"must begin with {', '.join(f'{each}://' for each in _REDIS)}")
        return value

    @model_validator(mode="before")
    @classmethod
    def _from_heroku_redis(cls, values: Any) -> Any:
        if "REDIS_URL" in values and "DYNO" in os.environ:
            values["REDIS_URL"] = _trust_heroku(values["REDIS_URL"])
        return values


class Settings(QueueSettings):
    """All settings of one process."""

    access: Literal["open", "confirmed"] = "confirmed"
    """Who may schedule to whom. `open`: whoever reaches the page, to anyone; on loopback only. `confirmed`: only to
    RMINDR_ALLOWED_RECIPIENTS."""

    allowed_recipients: Annotated[AllowedRecipients, NoDecode] = AllowedRecipients()
    """The addresses and domains that mail may go to, separated by commas, e.g. `me@example.org, example.com`."""

    secret_key: SecretStr | None = None
    """At least 32 characters that nobody can guess; what the service signs is signed with it."""

    public_url: str | None = None
    """Where people reach the web tier, e.g. `https://remind.example.org`; links in mails begin with it, and without it
    mails carry none."""

    mail_from: str = "rmindr <rmindr@localhost.localdomain>"
    """The sender of all mail, e.g. `Reminders <reminders@example.org>`; its domain must be one you may send for."""

    bounce_address: str | None = None
    """The envelope sender, where bounces go; by default the address of RMINDR_MAIL_FROM."""

    smtp_url: Annotated[SmtpServer | None, NoDecode] = Field(
        None, validation_alias=AliasChoices("RMINDR_SMTP_URL", "SMTP_URL")
    )
    """The mail server: `smtp+starttls://user:password@host:587`, `smtps://…:465`, or `smtp://localhost:1025`. Where it is
    missing, the variables of Heroku's mail add-ons are used."""

    smtp_connections: int = Field(10, ge=1, le=100)
    """How many connections a worker opens to the mail server, and so how many mails it sends at once."""

    database_url: SecretStr = Field(SecretStr("sqlite:///.rmindr/rmindr.db"), validation_alias="DATABASE_URL")
    """The record: `postgres://user:password@host/name` or `sqlite:///file`."""

    port: int = Field(8000, ge=1, le=65535, validation_alias="PORT")
    """The port of the web tier."""

    host: str | None = None
    """The address that the web tier listens on; by default every one, or loopback only with RMINDR_ACCESS=open."""

    web_concurrency: int = Field(1, ge=1, le=64, validation_alias="WEB_CONCURRENCY")
    """How many web processes one `rmindr web` starts."""

    trusted_proxies: int | None = Field(None, ge=0, le=10)
    """How many proxies stand before the web tier and append to X-Forwarded-For; by default 1 on Heroku, else none."""

    admin_token: SecretStr | None = None
    """At least 32 characters that open the queue's API and dashboard beyond loopback, as a bearer's token or as the password of
    any name; without one, /queue is not there."""

    metrics_token: SecretStr | None = None
    """The bearer token that reads /metrics beyond loopback; without one, /metrics is not there."""

    feed_window_hours: float = Field(24.0, gt=0, le=24 * 365)
    """How far ahead of its instant a reminder enters Redis, hours; the rest waits in the database."""

    give_up_hours: float = Field(24.0, gt=0)
    """How long after its instant a reminder is retried when the recipient's server keeps asking for later, hours."""

    missed_after_hours: float | None = Field(None, gt=0)
    """A reminder found this late after an outage is not sent but shown as missed, hours; by default it is sent, saying
    how late it is."""

    ambiguous_wait_seconds: float = Field(120.0, gt=0, validation_alias="RMINDR_AMBIGUOUS_WAIT")
    """How long to wait before a mail is sent again whose server never said whether it took it, seconds."""

    on_ambiguous: Literal["resend", "hold"] = "resend"
    """What becomes of a mail whose server never said whether it took it: `resend` (twice at most), or `hold` for a
    person to decide."""

    timing_scale: float = Field(1.0, gt=0, le=1)
    """Shrinks every lease, sweep and wait of the worker by this factor, for tests of what happens when they run out."""

    @field_validator("allowed_recipients", mode="before")
    @classmethod
    def _read_recipients(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        addresses, domains = set(), set()
        for entry in filter(None, (part.strip().removeprefix("@") for part in value.split(","))):
            try:
                full = validate_email(entry if "@" in entry else f"x@{entry}", check_deliverability=False)
            except EmailNotValidError as error:
                raise ValueError(f"«{entry}» is neither an address nor a domain: {error}") from None
            if "@" in entry:
                addresses.add((full.ascii_email or full.normalized).casefold())
            else:
                domains.add(full.ascii_domain.casefold())
        return AllowedRecipients(frozenset(addresses), frozenset(domains))

    @field_validator("smtp_url", mode="before")
    @classmethod
    def _read_smtp(cls, value: Any) -> Any:
        return SmtpServer.from_url(value) if isinstance(value, str) else value

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 32:
            raise ValueError("must have at least 32 characters; make one with `openssl rand -base64 48`")
        return value

    @field_validator("admin_token")
    @classmethod
    def _sendable(cls, value: SecretStr | None) -> SecretStr | None:
        token = value.get_secret_value() if value is not None else "x" * 32
        if len(token) < 32 or not all("!" <= character <= "~" for character in token):
            raise ValueError("must have at least 32 plain characters; make one with `openssl rand -base64 48`")
        return value

    @field_validator("public_url")
    @classmethod
    def _plain_origin(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError("must be a scheme and a host, e.g. https://remind.example.org")
        return value.rstrip("/")

    @field_validator("mail_from")
    @classmethod
    def _one_sender(cls, value: str) -> str:
        name, address = parseaddr(value)
        rebuilt = f"{name} <{address}>" if name else address
        if not address or rebuilt.replace('"', "") != value.strip().replace('"', "") or not value.isprintable():
            raise ValueError("must be one sender, e.g. Reminders <reminders@example.org>")
        _checked_address(address)
        return value.strip()

    @field_validator("bounce_address")
    @classmethod
    def _one_address(cls, value: str | None) -> str | None:
        return None if value is None else _checked_address(value)

    @field_validator("database_url")
    @classmethod
    def _with_driver(cls, value: SecretStr) -> SecretStr:
        scheme, separator, rest = value.get_secret_value().partition("://")
        drivers = {
            "postgres": "postgresql+psycopg",
            "postgresql": "postgresql+psycopg",
            "postgresql+psycopg": "postgresql+psycopg",
            "sqlite": "sqlite",
        }
        if not separator or scheme not in drivers:
            raise ValueError("must begin with postgres:// or sqlite://")
        return SecretStr(f"{drivers[scheme]}://{rest}")

    @model_validator(mode="before")
    @classmethod
    def _from_heroku(cls, values: Any) -> Any:
        """Heroku's own variables fill what is not said otherwise."""
        if not any(name in values for name in ("smtp_url", "RMINDR_SMTP_URL", "SMTP_URL")) and (
            url := _add_on_smtp(os.environ)
        ):
            values["RMINDR_SMTP_URL"] = url
        if "public_url" not in values and (host := os.environ.get("HEROKU_APP_DEFAULT_DOMAIN_NAME")):
            values["public_url"] = f"https://{host}"
        if "trusted_proxies" not in values and "DYNO" in os.environ:
            values["trusted_proxies"] = 1
        return values

    @model_validator(mode="after")
    def _safe_together(self) -> Self:
        problems = {}
        if self.access == "open" and self.host is not None and self.host not in LOOPBACK:
            problems["RMINDR_ACCESS"] = (
                f"must not be open on {self.host}: anybody could send mail to anybody through it"
            )
        if self.access == "confirmed":
            if not (self.allowed_recipients.addresses or self.allowed_recipients.domains):
                problems["RMINDR_ALLOWED_RECIPIENTS"] = (
                    "must name the addresses or domains that mail may go to, e.g. me@example.org"
                )
            if self.secret_key is None:
                problems["RMINDR_SECRET_KEY"] = "is missing; make one with `openssl rand -base64 48`"  # noqa: S105
            if self.mail_from.endswith("localhost.localdomain>"):
                problems["RMINDR_MAIL_FROM"] = "is missing, e.g. Reminders <reminders@example.org>"
        if "DYNO" in os.environ and self.database_url.get_secret_value().startswith("sqlite"):
            problems["DATABASE_URL"] = "must be a PostgreSQL: the disk of a dyno is emptied at every restart"
        if problems:
            raise SettingsError(problems)
        return self

    @property
    def bind_host(self) -> str:
        """The address to listen on."""
        return self.host or ("127.0.0.1" if self.access == "open" else "0.0.0.0")  # noqa: S104  (a dyno must)

    @property
    def recipients(self) -> AllowedRecipients:
        """Who may be written to under this access."""
        return AllowedRecipients(everybody=True) if self.access == "open" else self.allowed_recipients

    @property
    def sender(self) -> tuple[str, str]:
        """The name (may be empty) and the address of RMINDR_MAIL_FROM."""
        return parseaddr(self.mail_from)

    def scaled(self, seconds: float) -> timedelta:
        """This many seconds, shrunk by the timing scale."""
        return timedelta(seconds=seconds * self.timing_scale)


def smtp_server(settings: Settings) -> SmtpServer:
    """The mail server, which only a worker needs. Raises SettingsError where none is set."""
    if settings.smtp_url is None:
        raise SettingsError({"RMINDR_SMTP_URL": "is missing, e.g. smtp+starttls://user:password@mail.example.org:587"})
    return settings.smtp_url


def _add_on_smtp(environment: Mapping[str, str]) -> str | None:
    for names in _MAIL_ADD_ONS:
        host, port, user, password = (
            name.removeprefix("=") if name.startswith("=") else environment.get(name) for name in names
        )
        if host and port and user and password:
            scheme = "smtps" if port == "465" else "smtp+starttls"
            return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{host}:{port}"
    return None


def _trust_heroku(url: str) -> str:
    """Heroku's Redis has a certificate that it signed itself: for its hosts, and for no others, it is not verified."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    query = dict(parse_qsl(parts.query))
    if parts.scheme == "rediss" and "ssl_cert_reqs" not in query and _HEROKU_REDIS.search(parts.hostname or ""):
        return urlunsplit(parts._replace(query=urlencode({**query, "ssl_cert_reqs": "none"})))
    return url


def _checked_address(address: str) -> str:
    try:
        return validate_email(address, check_deliverability=False, test_environment=True).ascii_email or address
    except EmailNotValidError as error:
        raise ValueError(f"«{address}» is not an address: {error}") from None


def variable(name: str) -> str:
    """The environment variable of a setting, e.g. smtp_url → RMINDR_SMTP_URL; any other name as it is."""
    field = Settings.model_fields.get(name)
    if field is None:
        return name
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return str(alias.choices[0])
    return alias if isinstance(alias, str) else f"RMINDR_{name.upper()}"


def _sentence(problem: Any) -> str:
    return str(problem["msg"]).removeprefix("Value error, ")
