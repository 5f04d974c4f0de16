"""Every setting: its variable, its unit, its default, and a sentence. Built once, at the door; values go below, never this."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from difflib import get_close_matches
from email.utils import parseaddr
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import SplitResult, unquote, urlsplit

from email_validator import EmailNotValidError, validate_email
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from redis.asyncio.connection import parse_url as parse_redis_url
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from rmindr import heroku
from rmindr.errors import SettingsError

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
# What rmindr/queue/addresses.py reads.
_REDIS: Final = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
# What clusters tell every process about a service that is called rmindr, e.g. RMINDR_WEB_PORT_8000_TCP_ADDR.
_SERVICE_LINK: Final = re.compile(r"RMINDR_(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
_UNREADABLE: Final = (
    "cannot be read as a URL; in its user and password write @ : / ? # [ ] % as %40 %3A %2F %3F %23 %5B %5D %25"
)
# What is wrong with a value, in words that mend it; by pydantic's name for it.
_SENTENCES: Final = {
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number, and not that large",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "string_too_short": "must have at least {min_length} character",
    "string_too_long": "must have at most {max_length} characters",
    "literal_error": "must be {expected}",
    "extra_forbidden": "is no setting",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpServer:
    """Where mail is handed over, and how it is protected on the way there."""

    host: str
    port: int
    security: Literal["plain", "starttls", "tls"]
    # Where a service has one token for both, the name is as secret as the password.
    username: str | None = field(default=None, repr=False)
    password: SecretStr | None = None

    @classmethod
    def from_url(cls, url: str) -> SmtpServer:
        """Read smtp://, smtp+starttls:// or smtps://[user:password@]host[:port]. Raises ValueError with a sentence."""
        parts, named_port = _split(url)
        securities: dict[str, tuple[Literal["plain", "starttls", "tls"], int | None]] = {
            "smtp": ("plain", None),
            "smtp+starttls": ("starttls", 587),
            "smtps": ("tls", 465),
        }
        # What follows the host is a password that was not quoted, or options such as some services add; those are let be.
        unquoted = parts.path.strip("/") or "@" in parts.query + parts.fragment
        if parts.scheme not in securities or not parts.hostname or unquoted:
            raise ValueError(
                "must look like smtp+starttls://user:password@host:587 (or smtps://, or smtp:// on loopback)"
            )
        security, default_port = securities[parts.scheme]
        port = default_port if named_port is None else named_port
        if port in (None, 0, 25):
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
        env_prefix="RMINDR_", extra="forbid", frozen=True, use_attribute_docstrings=True, env_ignore_empty=True
    )

    redis_url: SecretStr = Field(SecretStr("redis://localhost:6379"), validation_alias="REDIS_URL")
    """The queue: `redis://`, `rediss://`, `unix://`, `redis+sentinel://host,host/service` or `redis+cluster://host,host`; it
    may be emptied at any time without losing a reminder."""

    queue_prefix: str = Field("q", min_length=1, max_length=60)
    """What the queue's keys begin with; on a Redis Cluster it stands in braces."""

    @classmethod
    def load(cls, **given: Any) -> Self:
        """The settings of this process's environment. Raises SettingsError, naming each variable that is wrong."""
        problems: dict[str, str] = {}
        try:
            return cls(**given)
        except SettingsError as error:
            problems |= error.problems
        except ValidationError as error:
            for problem in error.errors(include_input=False, include_url=False):
                problems[variable(str(problem["loc"][0]))] = _sentence(problem)
        raise SettingsError(problems)

    @field_validator("redis_url")
    @classmethod
    def _known_redis(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        # Not by urlsplit: what it has to say of a URL repeats the password.
        scheme, separator, _ = url.partition("://")
        if not separator or scheme not in _REDIS:
            raise ValueError(f"must begin with {', '.join(f'{each}://' for each in _REDIS)}")
        if "+" not in scheme:
            try:
                parse_redis_url(url)
            except ValueError:
                raise ValueError(_UNREADABLE) from None
        return SecretStr(heroku.redis_url(url)) if "DYNO" in os.environ else value


class Settings(QueueSettings):
    """All settings of one process."""

    access: Literal["open", "confirmed"] = "confirmed"
    """Who may schedule to whom. `open`: whoever reaches the page, to anyone; on loopback only. `confirmed`: people to
    themselves once they have confirmed their address, and to others who have agreed."""

    allowed_recipients: Annotated[AllowedRecipients, NoDecode] = AllowedRecipients()
    """Addresses and domains that need not confirm or agree, separated by commas, e.g. `me@example.org, example.com`: for a
    private instance."""

    secret_key: SecretStr | None = None
    """At least 32 characters that nobody can guess; what the service signs is signed with it. To change it, write the new one
    behind the old, with a space between: what the old one signed is read until it is taken away."""

    public_url: str | None = None
    """Where people reach the web tier, e.g. `https://remind.example.org`; it answers under no other name then. Links in mails
    begin with it, and without it mails carry none."""

    heroku_domain: str | None = Field(None, validation_alias="HEROKU_APP_DEFAULT_DOMAIN_NAME")
    """The name that Heroku's router knows this app by, as the platform tells it; the web tier answers under it, too."""

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

    dkim_selector: str | None = Field(None, pattern=r"^[A-Za-z0-9-]{1,63}$")
    """By which name the mail service publishes the key that signs our mails, e.g. `s1`; only `rmindr doctor` looks for it."""

    admin_token: SecretStr | None = None
    """At least 32 characters that open the queue's API and dashboard beyond loopback, as a bearer's token or as the password of
    any name; without one, and without `RMINDR_ADMINS`, /queue is not there."""

    admins: Annotated[frozenset[str], NoDecode] = frozenset()
    """Addresses, separated by commas, whose people see and steer the queue when they are signed in."""

    metrics_token: SecretStr | None = None
    """The bearer token that reads /metrics beyond loopback; without one, /metrics is not there."""

    feed_window_hours: float = Field(24.0, gt=0, le=24 * 365)
    """How far ahead of its instant a reminder enters Redis, hours; the rest waits in the database."""

    give_up_hours: float = Field(24.0, gt=0, le=24 * 365)
    """How long after its instant a reminder is retried when the recipient's server keeps asking for later, hours."""

    missed_after_hours: float | None = Field(None, gt=0, le=24 * 365)
    """A reminder found this late after an outage is not sent but shown as missed, hours; by default it is sent, saying
    how late it is."""

    ambiguous_wait_seconds: float = Field(120.0, gt=0, le=24 * 3600, validation_alias="RMINDR_AMBIGUOUS_WAIT")
    """How long to wait before a mail is sent again whose server never said whether it took it, seconds."""

    on_ambiguous: Literal["resend", "hold"] = "resend"
    """What becomes of a mail whose server never said whether it took it: `resend` (twice at most), or `hold` for a
    person to decide."""

    timing_scale: float = Field(1.0, gt=0, le=1)
    """Shrinks every lease, sweep and wait of the worker by this factor, for tests of what happens when they run out."""

    @classmethod
    def load(cls, **given: Any) -> Self:
        """The settings of this process's environment. Raises SettingsError, naming each variable that is wrong, or that
        begins as ours do and is none."""
        problems = _misspelt(os.environ)
        try:
            settings = super().load(**given)
        except SettingsError as error:
            raise SettingsError({**problems, **error.problems}) from None
        if problems:
            raise SettingsError(problems)
        return settings

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
        if value is not None and min(map(len, value.get_secret_value().split()), default=0) < 32:
            raise ValueError("must have at least 32 characters; make one with `openssl rand -base64 48`")
        return value

    @field_validator("admins", mode="before")
    @classmethod
    def _known_by(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        entries = filter(None, map(str.strip, value.split(",")))
        try:
            found = [validate_email(entry, check_deliverability=False) for entry in entries]
        except EmailNotValidError as error:
            raise ValueError(f"must be addresses, separated by commas: {error}") from None
        return frozenset((each.ascii_email or each.normalized).casefold() for each in found)

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
        parts, _ = _split(value, "must be a scheme and a host, e.g. https://remind.example.org")
        more = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
        if parts.scheme not in ("http", "https") or not parts.hostname or more:
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
        url = f"{drivers[scheme]}://{rest}"
        try:
            file = make_url(url).database
            url = heroku.database_url(url) if "DYNO" in os.environ else url
        except (ArgumentError, ValueError):
            raise ValueError(_UNREADABLE) from None
        if scheme == "sqlite" and file in (None, "", ":memory:"):
            raise ValueError("must name a file, e.g. sqlite:///rmindr.db")
        return SecretStr(url)

    @model_validator(mode="before")
    @classmethod
    def _from_heroku(cls, values: Any) -> Any:
        """Heroku's own variables fill what is not said otherwise."""
        if not any(name in values for name in ("RMINDR_SMTP_URL", "SMTP_URL")) and (
            url := heroku.mail_server(os.environ)
        ):
            values["RMINDR_SMTP_URL"] = url
        if "public_url" not in values and (host := values.get("HEROKU_APP_DEFAULT_DOMAIN_NAME")):
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
        if self.access == "open" and "DYNO" in os.environ:
            problems["RMINDR_ACCESS"] = (
                "must not be open on a dyno: it is for loopback only, which nobody reaches there"
            )
        if self.access == "confirmed":
            if self.public_url is None and "DYNO" not in os.environ:
                problems["RMINDR_PUBLIC_URL"] = (
                    "is missing, e.g. https://remind.example.org: links in mails begin with it"
                )
            if self.secret_key is None:
                problems["RMINDR_SECRET_KEY"] = "is missing; make one with `openssl rand -base64 48`"  # noqa: S105
            if self.sender[1].endswith("@localhost.localdomain"):
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
    def hosts(self) -> frozenset[str]:
        """The names under which the web tier answers; empty where any will do, as nobody has said how it is reached."""
        named = {urlsplit(self.public_url).hostname or ""} if self.public_url else set()
        if self.heroku_domain:
            named.add(self.heroku_domain.lower())
        return LOOPBACK | named if named or self.access == "open" else frozenset()

    @property
    def secret_keys(self) -> Sequence[str]:
        """The keys that sign, oldest first; none where nothing is signed."""
        return self.secret_key.get_secret_value().split() if self.secret_key is not None else ()

    @property
    def recipients(self) -> AllowedRecipients:
        """Who may be written to without having agreed."""
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


def _split(url: str, otherwise: str = _UNREADABLE) -> tuple[SplitResult, int | None]:
    """A URL in its parts, and its port. Raises ValueError with a sentence that tells nothing of it: it may hold a password."""
    try:
        parts = urlsplit(url)
        return parts, parts.port
    except ValueError:
        raise ValueError(otherwise) from None


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
    if (sentence := _SENTENCES.get(problem["type"])) is not None:
        return sentence.format(**problem.get("ctx", {}))
    return str(problem["msg"]).removeprefix("Value error, ")


def _misspelt(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that begin as ours do and are none: a forgotten letter must not be a forgotten setting."""
    known = {variable(name) for name in Settings.model_fields}
    problems = {}
    for name in sorted(environment):
        unknown = name.upper().startswith("RMINDR_") and name.upper() not in known and environment[name]
        if unknown and not _SERVICE_LINK.fullmatch(name) and not environment[name].startswith(("tcp://", "udp://")):
            bare = name.upper().removeprefix("RMINDR_")
            nearest = [bare] if bare in known else get_close_matches(name.upper(), sorted(known), n=1)
            problems[name] = f"is no setting; did you mean {nearest[0]}?" if nearest else "is no setting"
    return problems
