"""The environment a process is given: the settings it makes, and what is said, by variable, where it is wrong."""

from __future__ import annotations

import os
import traceback
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rmindr.database import Database
from rmindr.errors import SettingsError
from rmindr.queue import Queue
from rmindr.settings import Settings, SmtpServer, smtp_server, variable

PROPERTY: Final = settings(deadline=None, derandomize=True, database=None, max_examples=200)
# What a service beyond loopback cannot do without.
RIGHT: Final = {
    "RMINDR_PUBLIC_URL": "https://remind.example.org",
    "RMINDR_SECRET_KEY": "a-key-for-tests-that-nobody-can-guess",
    "RMINDR_MAIL_FROM": "Reminders <reminders@example.org>",
}
A_DYNO: Final = {name: value for name, value in RIGHT.items() if name != "RMINDR_PUBLIC_URL"} | {
    "DYNO": "web.1",
    "PORT": "31337",
    "WEB_CONCURRENCY": "2",
    "DATABASE_URL": "postgres://user:secret@ec2-1-2-3-4.compute-1.amazonaws.com:5432/name",
    "REDIS_URL": "rediss://:secret@ec2-1-2-3-4.compute-1.amazonaws.com:6380",
}
MAILGUN: Final = {
    "MAILGUN_SMTP_SERVER": "smtp.mailgun.org",
    "MAILGUN_SMTP_PORT": "587",
    "MAILGUN_SMTP_LOGIN": "postmaster@sandbox.mailgun.org",
    "MAILGUN_SMTP_PASSWORD": "p:w/d@",
}
MAILERTOGO: Final = {
    "MAILERTOGO_SMTP_HOST": "smtp.us-west-1.mailertogo.net",
    "MAILERTOGO_SMTP_PORT": "465",
    "MAILERTOGO_SMTP_USER": "user",
    "MAILERTOGO_SMTP_PASSWORD": "password",
}
SECRET: Final = "tr0ub4dor"
NAMES: Final = sorted({variable(name) for name in Settings.model_fields} | {"SMTP_URL"})


def loaded(environment: dict[str, str] | None = None, **changes: str) -> Settings:
    """The settings of a process with this environment and nothing else in it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            patch.delenv(name)
        for name, value in ((RIGHT if environment is None else environment) | changes).items():
            patch.setenv(name, value)
        return Settings.load()


def complaints(environment: dict[str, str] | None = None, **changes: str) -> dict[str, str]:
    """What is said against this environment, by variable."""
    with pytest.raises(SettingsError) as raised:
        loaded(environment, **changes)
    return dict(raised.value.problems)


def smtp(environment: dict[str, str] | None = None, **changes: str) -> SmtpServer:
    return smtp_server(loaded(environment, **changes))


def login(server: SmtpServer) -> tuple[str | None, str | None]:
    return server.username, server.password.get_secret_value() if server.password else None


# What is said, by variable


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("RMINDR_ACCESS", "opne", "must be 'open' or 'confirmed'"),
        ("RMINDR_ON_AMBIGUOUS", "maybe", "must be 'resend' or 'hold'"),
        ("PORT", "http", "must be a whole number"),
        ("PORT", "80.5", "must be a whole number"),
        ("PORT", "0", "must be at least 1"),
        ("PORT", "65536", "must be at most 65535"),
        ("WEB_CONCURRENCY", "0", "must be at least 1"),
        ("WEB_CONCURRENCY", "65", "must be at most 64"),
        ("RMINDR_SMTP_CONNECTIONS", "1000", "must be at most 100"),
        ("RMINDR_TRUSTED_PROXIES", "-1", "must be at least 0"),
        ("RMINDR_FEED_WINDOW_HOURS", "a day", "must be a number"),
        ("RMINDR_FEED_WINDOW_HOURS", "0", "must be more than 0"),
        ("RMINDR_GIVE_UP_HOURS", "inf", "must be at most 8760"),
        ("RMINDR_MISSED_AFTER_HOURS", "1e300", "must be at most 8760"),
        ("RMINDR_AMBIGUOUS_WAIT", "two minutes", "must be a number"),
        ("RMINDR_TIMING_SCALE", "1.5", "must be at most 1"),
        ("RMINDR_QUEUE_PREFIX", "q" * 61, "must have at most 60 characters"),
        ("RMINDR_SECRET_KEY", "a" * 31, "must have at least 32 characters; make one with `openssl rand -base64 48`"),
        ("RMINDR_PUBLIC_URL", "remind.example.org", "must be a scheme and a host, e.g. https://remind.example.org"),
        ("RMINDR_PUBLIC_URL", "https://[remind", "must be a scheme and a host, e.g. https://remind.example.org"),
        ("RMINDR_PUBLIC_URL", "https://example.org/a", "must be a scheme and a host, e.g. https://remind.example.org"),
        ("RMINDR_PUBLIC_URL", "https://me:pw@example.org", "must be a scheme and a host, e.g. https://remind.example.org"),
        ("RMINDR_PUBLIC_URL", "https://example.org/#a", "must be a scheme and a host, e.g. https://remind.example.org"),
        ("RMINDR_PUBLIC_URL", "https://example.org:web", "must be a scheme and a host, e.g. https://remind.example.org"),
        ("RMINDR_MAIL_FROM", "Reminders", "«Reminders» is not an address: "),
        ("RMINDR_MAIL_FROM", "a@example.org, b@example.org", "must be one sender, e.g. Reminders <reminders@example.org>"),
        ("RMINDR_MAIL_FROM", "R <a@example.org>\nBcc: b@c.de", "must be one sender, e.g. Reminders <reminders@example.org>"),
        ("RMINDR_MAIL_FROM", "R <a@example..org>", "«a@example..org» is not an address: "),
        ("RMINDR_BOUNCE_ADDRESS", "bounces", "«bounces» is not an address: "),
        ("RMINDR_ALLOWED_RECIPIENTS", "me@example.org, exa mple", "«exa mple» is neither an address nor a domain: "),
        ("RMINDR_WEBHOOKS", "yes", "must be 'off' or 'on'"),
        ("RMINDR_WEBHOOK_HOSTS", "hooks.internal, exa mple", "«exa mple» is neither a name nor a network, as 10.1.0.0/16"),
        ("RMINDR_WEBHOOK_HOSTS", "10.0.0.1/8", "«10.0.0.1/8» is neither a name nor a network, as 10.1.0.0/16"),
        ("RMINDR_WEBHOOK_HOSTS", "10.1", "«10.1» is neither a name nor a network, as 10.1.0.0/16"),
        ("RMINDR_WEBHOOK_HOSTS", "https://hooks.internal", "«https://hooks.internal» is neither a name nor"),
        ("DATABASE_URL", "mysql://localhost/name", "must begin with postgres:// or sqlite://"),
        ("DATABASE_URL", "rmindr.db", "must begin with postgres:// or sqlite://"),
        ("DATABASE_URL", "postgres://localhost:five/name", "cannot be read as a URL; "),
        ("DATABASE_URL", "sqlite://", "must name a file, e.g. sqlite:///rmindr.db"),
        ("DATABASE_URL", "sqlite://rmindr.db", "must name a file, e.g. sqlite:///rmindr.db"),
        ("DATABASE_URL", "sqlite:///:memory:", "must name a file, e.g. sqlite:///rmindr.db"),
        ("REDIS_URL", "localhost:6379", "must begin with redis://, rediss://, unix://"),
        ("REDIS_URL", "redis://localhost:six", "cannot be read as a URL; "),
        ("REDIS_URL", "redis://localhost?db=one", "cannot be read as a URL; "),
        ("RMINDR_SMTP_URL", "mail.example.org:587", "must look like smtp+starttls://user:password@host:587 "),
        ("RMINDR_SMTP_URL", "smtps://", "must look like smtp+starttls://user:password@host:587 "),
        ("RMINDR_SMTP_URL", "smtps://pass/word@host", "must look like smtp+starttls://user:password@host:587 "),
        ("RMINDR_SMTP_URL", "smtps://pass#word@host", "must look like smtp+starttls://user:password@host:587 "),
        ("RMINDR_SMTP_URL", "smtps://host:mail", "cannot be read as a URL; "),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_by_its_variable_and_how_to_mend_it(name: str, value: str, said: str) -> None:
    found = complaints(**{name: value})

    assert list(found) == [name]
    assert found[name].startswith(said)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    found = complaints(PORT="x", RMINDR_SECRET_KEY="short", REDIS_URL="x", RMINDR_PUBLIC_ULR="https://example.org")

    assert set(found) == {"PORT", "RMINDR_SECRET_KEY", "REDIS_URL", "RMINDR_PUBLIC_ULR"}


def test_the_older_name_of_the_mail_server_is_told_by_the_one_to_use() -> None:
    assert list(complaints(SMTP_URL="x")) == ["RMINDR_SMTP_URL"]


def test_an_empty_variable_is_as_good_as_none() -> None:
    found = loaded(**{name: "" for name in NAMES if name not in RIGHT})

    assert (found.port, found.access, found.smtp_url) == (8000, "confirmed", None)


def test_every_setting_has_one_variable_and_the_variable_sets_it() -> None:
    assert len({variable(name) for name in Settings.model_fields}) == len(Settings.model_fields)
    assert loaded(RMINDR_AMBIGUOUS_WAIT="7").ambiguous_wait_seconds == 7
    assert loaded(RMINDR_MISSED_AFTER_HOURS="0.5").missed_after_hours == 0.5


def test_settings_do_not_change_once_they_are_made() -> None:
    found = loaded()

    with pytest.raises(ValueError, match="frozen"):
        found.port = 1


# Variables that are ours by their beginning


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("RMINDR_ALLOWED_RECIPIENT", "RMINDR_ALLOWED_RECIPIENTS"),
        ("RMINDR_ALOWED_RECIPIENTS", "RMINDR_ALLOWED_RECIPIENTS"),
        ("RMINDR_SECRET", "RMINDR_SECRET_KEY"),
        ("RMINDR_AMBIGUOUS_WAIT_SECONDS", "RMINDR_AMBIGUOUS_WAIT"),
        ("RMINDR_PORT", "PORT"),
        ("RMINDR_DATABASE_URL", "DATABASE_URL"),
        ("RMINDR_REDIS_URL", "REDIS_URL"),
        ("RMINDR_WEB_CONCURRENCY", "WEB_CONCURRENCY"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_one_that_was_meant(name: str, meant: str) -> None:
    assert complaints(**{name: "1"}) == {name: f"is no setting; did you mean {meant}?"}


def test_a_variable_that_resembles_nothing_is_refused_all_the_same() -> None:
    assert complaints(RMINDR_XYZZY="1")["RMINDR_XYZZY"].startswith("is no setting")


def test_a_misspelt_variable_explains_the_one_that_is_missing() -> None:
    found = complaints(RIGHT | {"RMINDR_PUBLIC_URL": ""}, RMINDR_PUBLIC_ULR="https://remind.example.org")

    assert set(found) == {"RMINDR_PUBLIC_URL", "RMINDR_PUBLIC_ULR"}


def test_what_a_cluster_tells_of_a_service_of_this_name_is_no_setting_and_no_error() -> None:
    links = {
        "RMINDR_SERVICE_HOST": "10.0.0.1",
        "RMINDR_SERVICE_PORT": "8000",
        "RMINDR_SERVICE_PORT_HTTP": "8000",
        "RMINDR_PORT": "tcp://10.0.0.1:8000",
        "RMINDR_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "RMINDR_PORT_8000_TCP_PROTO": "tcp",
        "RMINDR_PORT_8000_TCP_PORT": "8000",
        "RMINDR_PORT_8000_TCP_ADDR": "10.0.0.1",
        "RMINDR_WEB_SERVICE_HOST": "10.0.0.2",
        "RMINDR_WEB_PORT_8000_TCP_ADDR": "10.0.0.2",
    }

    assert loaded(RIGHT | links).port == 8000


def test_a_setting_given_in_code_under_a_wrong_name_is_refused() -> None:
    with pytest.raises(SettingsError, match="recipients"):
        Settings.load(access="open", recipients="example.org")


# What must not stand together


def test_nothing_is_missing_on_loopback() -> None:
    found = loaded({"RMINDR_ACCESS": "open"})

    assert found.bind_host == "127.0.0.1"
    assert found.recipients.allow("anybody@example.com")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "remind.example.org"])
def test_open_access_is_refused_beyond_loopback(host: str) -> None:
    found = complaints(RMINDR_ACCESS="open", RMINDR_HOST=host)

    assert found == {"RMINDR_ACCESS": f"must not be open on {host}: anybody could send mail to anybody through it"}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_open_access_may_name_any_loopback(host: str) -> None:
    assert loaded(RMINDR_ACCESS="open", RMINDR_HOST=host).bind_host == host


def test_open_access_is_refused_on_a_dyno_where_nobody_would_reach_it() -> None:
    assert list(complaints(A_DYNO, RMINDR_ACCESS="open")) == ["RMINDR_ACCESS"]


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("value", [None, ""])
def test_beyond_loopback_nothing_starts_without_an_address_a_secret_and_a_sender(name: str, value: str | None) -> None:
    environment = {each: RIGHT[each] for each in RIGHT if each != name} | ({} if value is None else {name: value})

    assert list(complaints(environment)) == [name]


@pytest.mark.parametrize("sender", ["rmindr@localhost.localdomain", "Anna <anna@localhost.localdomain>"])
def test_a_sender_on_this_machine_is_no_sender(sender: str) -> None:
    assert complaints(RMINDR_MAIL_FROM=sender) == {
        "RMINDR_MAIL_FROM": "is missing, e.g. Reminders <reminders@example.org>"
    }


def test_a_file_on_a_dynos_disk_is_no_database() -> None:
    assert complaints(A_DYNO, DATABASE_URL="sqlite:///rmindr.db") == {
        "DATABASE_URL": "must be a PostgreSQL: the disk of a dyno is emptied at every restart"
    }


@pytest.mark.parametrize("host", ["mail.example.org", "192.168.0.7", "localhost.example.org"])
def test_a_password_does_not_go_in_the_clear_beyond_loopback(host: str) -> None:
    found = complaints(SMTP_URL=f"smtp://user:{SECRET}@{host}:1025")

    assert "sends a password in the clear" in found["RMINDR_SMTP_URL"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_a_password_may_go_in_the_clear_on_loopback(host: str) -> None:
    assert login(smtp(SMTP_URL=f"smtp://user:password@{host}:1025")) == ("user", "password")


@pytest.mark.parametrize(
    "url",
    ["smtp://localhost", "smtp://localhost:25", "smtps://host:25", "smtp+starttls://host:25", "smtps://host:0"],
)
def test_port_25_is_never_used_nor_guessed(url: str) -> None:
    assert complaints(SMTP_URL=url) == {"RMINDR_SMTP_URL": "must name a port other than 25, e.g. smtp://localhost:1025"}


def test_a_worker_without_a_mail_server_is_told_the_variable() -> None:
    with pytest.raises(SettingsError, match=r"^RMINDR_SMTP_URL: is missing, e\.g\. "):
        smtp()


# The mail server


@pytest.mark.parametrize(
    ("url", "port", "security"),
    [
        ("smtp+starttls://mail.example.org", 587, "starttls"),
        ("smtp+starttls://mail.example.org:2525", 2525, "starttls"),
        ("smtps://mail.example.org", 465, "tls"),
        ("smtps://mail.example.org:8465", 8465, "tls"),
        ("smtp://mail.example.org:1025/", 1025, "plain"),
        ("smtp+starttls://mail.example.org:587?authentication=plain", 587, "starttls"),
    ],
)
def test_a_scheme_says_how_the_mail_is_protected_and_by_default_the_port(url: str, port: int, security: str) -> None:
    found = smtp(RMINDR_SMTP_URL=url)

    assert (found.host, found.port, found.security) == ("mail.example.org", port, security)


def test_user_and_password_may_hold_any_character_once_it_is_quoted() -> None:
    found = smtp(RMINDR_SMTP_URL="smtps://me%40example.org:a%3Ab%2Fc%40d%25e%20f%C3%BC@mail.example.org")

    assert login(found) == ("me@example.org", "a:b/c@d%e fü")


def test_our_own_variable_comes_before_the_common_one_and_both_before_an_add_ons() -> None:
    everything = RIGHT | MAILGUN | {"SMTP_URL": "smtps://common", "RMINDR_SMTP_URL": "smtps://ours"}

    assert smtp(everything).host == "ours"
    assert smtp(everything | {"RMINDR_SMTP_URL": ""}).host == "common"
    assert smtp(everything | {"RMINDR_SMTP_URL": "", "SMTP_URL": ""}).host == "smtp.mailgun.org"


# Heroku's variables


@pytest.mark.parametrize(
    ("add_on", "host", "port", "security", "user", "password"),
    [
        (MAILGUN, "smtp.mailgun.org", 587, "starttls", "postmaster@sandbox.mailgun.org", "p:w/d@"),
        (MAILERTOGO, "smtp.us-west-1.mailertogo.net", 465, "tls", "user", "password"),
        ({"SENDGRID_API_KEY": "SG.key"}, "smtp.sendgrid.net", 587, "starttls", "apikey", "SG.key"),
        (
            {"SENDGRID_USERNAME": "app1@heroku.com", "SENDGRID_PASSWORD": "pw"},
            "smtp.sendgrid.net", 587, "starttls", "app1@heroku.com", "pw",
        ),
        ({"POSTMARK_API_TOKEN": "token"}, "smtp.postmarkapp.com", 587, "starttls", "token", "token"),
    ],
    ids=["mailgun", "mailertogo", "sendgrid by key", "sendgrid by name", "postmark"],
)  # fmt: skip
def test_a_mail_add_ons_own_variables_are_understood(
    add_on: dict[str, str], host: str, port: int, security: str, user: str, password: str
) -> None:
    found = smtp(A_DYNO | add_on)

    assert (found.host, found.port, found.security) == (host, port, security)
    assert login(found) == (user, password)


@pytest.mark.parametrize("missing", MAILGUN)
def test_an_add_on_that_is_not_complete_is_passed_over(missing: str) -> None:
    partly = {name: value for name, value in MAILGUN.items() if name != missing}

    assert loaded(A_DYNO | partly).smtp_url is None
    assert smtp(A_DYNO | partly | MAILERTOGO).host == "smtp.us-west-1.mailertogo.net"


@pytest.mark.parametrize("port", ["25", "0", "smtp", "٢٥", "587/x"])
def test_an_add_ons_impossible_port_is_told_by_the_add_ons_variable(port: str) -> None:
    assert complaints(A_DYNO | MAILGUN, MAILGUN_SMTP_PORT=port) == {
        "MAILGUN_SMTP_PORT": "must be a port other than 25, e.g. 587"
    }


async def test_a_dyno_starts_with_what_the_platform_gives_it() -> None:
    found = loaded(A_DYNO)

    assert (found.port, found.web_concurrency, found.bind_host, found.trusted_proxies) == (31337, 2, "0.0.0.0", 1)
    assert found.database_url.get_secret_value() == (
        "postgresql+psycopg://user:secret@ec2-1-2-3-4.compute-1.amazonaws.com:5432/name?sslmode=require"
    )
    async with (
        Database.open(found.database_url.get_secret_value()),
        Queue.open(found.redis_url.get_secret_value()),
    ):
        pass


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_way_to_write_postgresql_is_the_driver_that_is_installed(scheme: str) -> None:
    found = loaded(DATABASE_URL=f"{scheme}://user:p%40ss@host:5432/name?application_name=x")

    assert found.database_url.get_secret_value() == "postgresql+psycopg://user:p%40ss@host:5432/name?application_name=x"


@pytest.mark.parametrize(
    "url",
    [
        "postgres://host/name?sslmode=verify-full",
        "postgres://user@127.0.0.1:6000/name",
        "postgres://user@localhost/name",
    ],
)
def test_a_dynos_database_keeps_the_protection_that_is_said_and_a_pooler_on_loopback_needs_none(url: str) -> None:
    found = loaded(A_DYNO, DATABASE_URL=url)

    assert found.database_url.get_secret_value() == url.replace("postgres:", "postgresql+psycopg:")


@pytest.mark.parametrize(
    "host",
    [
        "ec2-1-2-3-4.compute-1.amazonaws.com",
        "ec2-1-2-3-4.eu-west-1.compute.amazonaws.com",
        "redis-1.herokuapp.com",
    ],
)
def test_the_certificate_that_herokus_redis_signed_itself_is_taken_on_a_dyno(host: str) -> None:
    found = loaded(A_DYNO, REDIS_URL=f"rediss://:p%40ss@{host}:6380/1?protocol=3")

    assert found.redis_url.get_secret_value() == f"rediss://:p%40ss@{host}:6380/1?protocol=3&ssl_cert_reqs=none"


@pytest.mark.parametrize(
    "url",
    [
        "rediss://redis.example.org:6380",
        "rediss://compute-1.amazonaws.com.example.org",
        "rediss://evil-compute-1.amazonaws.com",
        "rediss://user:x.compute-1.amazonaws.com@redis.example.org",
        "rediss://master.name.cache.amazonaws.com:6379",
        "rediss://ec2-1-2-3-4.compute-1.amazonaws.com?ssl_cert_reqs=required",
        "redis://ec2-1-2-3-4.compute-1.amazonaws.com",
    ],
)
def test_no_other_certificate_is_taken_unseen(url: str) -> None:
    assert loaded(A_DYNO, REDIS_URL=url).redis_url.get_secret_value() == url


def test_beyond_dynos_every_certificate_is_looked_at() -> None:
    url = A_DYNO["REDIS_URL"]

    assert loaded(REDIS_URL=url).redis_url.get_secret_value() == url


def test_links_begin_with_the_apps_own_name_unless_a_person_says_otherwise() -> None:
    named = A_DYNO | {"HEROKU_APP_DEFAULT_DOMAIN_NAME": "remind-1234.herokuapp.com"}

    assert loaded(A_DYNO).public_url is None
    assert loaded(named).public_url == "https://remind-1234.herokuapp.com"
    assert loaded(named, RMINDR_PUBLIC_URL="https://remind.example.org/").public_url == "https://remind.example.org"


def test_the_number_of_proxies_is_herokus_one_unless_a_person_says_otherwise() -> None:
    assert loaded().trusted_proxies is None
    assert loaded(A_DYNO).trusted_proxies == 1
    assert loaded(A_DYNO, RMINDR_TRUSTED_PROXIES="2").trusted_proxies == 2


# Who may be written to


def test_recipients_are_addresses_and_whole_domains_in_any_spelling() -> None:
    found = loaded(RMINDR_ALLOWED_RECIPIENTS=" Me@Example.ORG ,@münchen.de,, example.com").recipients

    assert all(map(found.allow, ["me@example.org", "ME@example.org", "joe@xn--mnchen-3ya.de", "Any.Body@example.com"]))
    assert not any(map(found.allow, ["you@example.org", "me@sub.example.com", "me@notexample.com", ""]))


# Secrets stay secret

# A password as somebody forgot to quote it, and one as it should be.
PASSWORDS: Final = [SECRET, *(f"{SECRET}{character}x" for character in "/?#[]@:%℀ "), f"/{SECRET}", f"]{SECRET}["]


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize(
    "form",
    [
        "RMINDR_SMTP_URL=smtp+starttls://user:{}@mail.example.org:587",
        "RMINDR_SMTP_URL=smtp+starttls://{}@mail.example.org:587",
        "SMTP_URL=smtp://user:{}@mail.example.org:1025",
        "SMTP_URL=http://user:{}@mail.example.org:1025",
        "DATABASE_URL=postgres://user:{}@db.example.org:5432/name",
        "DATABASE_URL=mysql://user:{}@db.example.org:5432/name",
        "REDIS_URL=rediss://:{}@redis.example.org:6380",
        "REDIS_URL=rediss://:{}@ec2-1-2-3-4.compute-1.amazonaws.com:6380",
        "REDIS_URL=http://:{}@redis.example.org:6380",
        "RMINDR_PUBLIC_URL=https://user:{}@remind.example.org",
        "RMINDR_SECRET_KEY={}",
        "RMINDR_METRICS_TOKEN={}",
        "POSTMARK_API_TOKEN={}",
        "MAILGUN_SMTP_PASSWORD={}",
    ],
)
def test_no_secret_is_in_what_settings_show_or_in_what_is_said_against_them(form: str, password: str) -> None:
    name, _, value = form.format(password).partition("=")

    try:
        found = loaded(A_DYNO | MAILGUN | {"MAILGUN_SMTP_PORT": "587"}, **{name: value})
    except SettingsError as error:
        shown = f"{error} {error!r} {error.problems} {''.join(traceback.format_exception(error))}"
    else:
        shown = f"{found} {found!r} {found.smtp_url} {found.smtp_url!r} {found.model_dump_json(exclude={'smtp_url'})}"

    assert SECRET not in shown


# Whatever the environment holds

VALUES: Final = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=80) | st.from_regex(
    r"(smtp|smtps|smtp\+starttls|redis|rediss|unix|postgres|sqlite|https?)://[ -~]{0,40}", fullmatch=True
)


@PROPERTY
@given(st.sampled_from(NAMES), VALUES, st.booleans())
@example("RMINDR_SMTP_URL", "smtps://a:b@[::1", True)
@example("DATABASE_URL", "postgres://a]b@host/name", True)
@example("REDIS_URL", "rediss://℀@host", True)
@example("RMINDR_MAIL_FROM", '"', False)
def test_any_value_makes_settings_or_a_sentence_about_its_own_variable(name: str, value: str, dyno: bool) -> None:
    given_: dict[str, Any] = (A_DYNO if dyno else RIGHT) | {name: value}

    try:
        loaded(given_)
    except SettingsError as error:
        said = dict(error.problems)
    else:
        said = {}

    told_as = {"SMTP_URL": "RMINDR_SMTP_URL", "HEROKU_APP_DEFAULT_DOMAIN_NAME": "RMINDR_PUBLIC_URL"}.get(name, name)
    assert set(said) <= {told_as}
    assert all(each and not each.startswith("Input should") for each in said.values())


def test_webhooks_are_off_and_reach_nothing_inside_until_somebody_says_so() -> None:
    found, told = (
        loaded(),
        loaded(RMINDR_WEBHOOKS="on", RMINDR_WEBHOOK_HOSTS=" hooks.internal ,10.1.0.0/16,, fd00::/8, ::1"),
    )

    assert (found.webhooks, found.webhook_hosts) == ("off", ())
    assert (told.webhooks, told.webhook_hosts) == ("on", ("hooks.internal", "10.1.0.0/16", "fd00::/8", "::1"))
