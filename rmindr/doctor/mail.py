"""The mail server, and what the world is told of the sender's domain: without it, mails arrive as spam or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Final

import dns.asyncresolver
import dns.exception
import dns.resolver

from rmindr.doctor.finding import Finding, error, good, note, warning
from rmindr.mail.smtp import Patience, Transport, Undelivered
from rmindr.settings import LOOPBACK, Settings, SmtpServer

_DNS_S: Final = 5.0
# Four thousand characters in two parts, quoted-printable at its worst; rounded up.
_LARGEST_LETTER: Final = 200_000
_PATIENCE: Final = Patience(command=timedelta(seconds=10), before_body=timedelta(seconds=15))
_REMEDY: Final = "Look at RMINDR_SMTP_URL, or the variables of the mail add-on."


async def server(settings: Settings) -> AsyncIterator[Finding]:
    """Connect, verify, log in, as a letter would; nothing is sent."""
    if settings.smtp_url is None:
        yield error("mail", "No mail server is set: a worker does not start.", "Set RMINDR_SMTP_URL.")
        return
    where = settings.smtp_url
    if where.security == "plain" and where.host not in LOOPBACK:
        yield error("mail-tls", "Mails leave in the clear.", "Use smtp+starttls:// or smtps:// in RMINDR_SMTP_URL.")
    _, address = settings.sender
    transport = Transport(where, hello=address.rpartition("@")[2], connections=1, patience=_PATIENCE)
    try:
        offers = await transport.offers()
    except Undelivered as failure:
        yield error("mail", f"The mail server at {where.host}:{where.port} cannot be used: {failure}.", _REMEDY)
        return
    yield good("mail", f"The mail server at {where.host}:{where.port} takes mail from here.")
    for finding in _about(offers, where):
        yield finding


def _about(offers: dict[str, str], where: SmtpServer) -> Sequence[Finding]:
    found = []
    size = offers.get("size", "").strip()
    if size.isdigit() and 0 < int(size) < _LARGEST_LETTER:
        found.append(
            error(
                "mail-size", f"The mail server takes no mail of more than {int(size):,} bytes.", "Choose another one."
            )
        )
    if where.username is None and where.host not in LOOPBACK:
        found.append(note("mail-login", "The mail server is used without a name and a password."))
    return found


async def domain(settings: Settings, name_server: str | None = None) -> AsyncIterator[Finding]:
    """SPF, DKIM, DMARC, and where bounces go; `name_server` is asked in place of this machine's, e.g. `127.0.0.1:5353`."""
    _, address = settings.sender
    sender = address.rpartition("@")[2]
    bounces = (settings.bounce_address or address).rpartition("@")[2]
    resolver = _resolver(name_server)
    try:
        spf = await _texts(resolver, bounces, "v=spf1")
        dmarc = await _dmarc(resolver, sender)
        mail_of_bounces = await _exists(resolver, bounces)
        selector = settings.dkim_selector
        dkim = await _texts(resolver, f"{selector}._domainkey.{sender}", "") if selector else None
    except (dns.exception.Timeout, dns.resolver.NoNameservers, OSError):
        yield note("dns", "No name server answers: SPF, DKIM and DMARC were not looked for.")
        return
    if not spf:
        yield warning("spf", f"{bounces} has no SPF record.", "Publish one that names the mail server's hosts.")
    if not dmarc:
        yield warning(
            "dmarc", f"{sender} has no DMARC record.", f"Publish one at _dmarc.{sender}, e.g. v=DMARC1; p=none."
        )
    if dkim is None:
        yield note(
            "dkim", "Whether mails are signed by DKIM was not looked for.", "Set RMINDR_DKIM_SELECTOR to see it."
        )
    elif not any("p=" in each for each in dkim):
        yield warning("dkim", f"{sender} has no DKIM key {selector}.", "Publish the one that the mail service shows.")
    if not mail_of_bounces:
        yield error(
            "bounces", f"{bounces} takes no mail: bounces are lost, and many refuse its mails.", "Give it an MX record."
        )
    if spf and dmarc and mail_of_bounces and dkim is not None:
        yield good("domain", f"{sender} has SPF, DKIM and DMARC records.")


def _resolver(name_server: str | None) -> dns.asyncresolver.Resolver:
    resolver = dns.asyncresolver.Resolver(configure=name_server is None)
    if name_server is not None:
        host, _, port = name_server.partition(":")
        resolver.nameservers, resolver.port = [host], int(port or 53)
    resolver.lifetime = resolver.timeout = _DNS_S
    return resolver


async def _dmarc(resolver: dns.asyncresolver.Resolver, sender: str) -> list[str]:
    """The domain's own, or that of the domain above it (RFC 7489, 6.6.3)."""
    labels = sender.split(".")
    for at in range(max(1, len(labels) - 1)):
        if found := await _texts(resolver, f"_dmarc.{'.'.join(labels[at:])}", "v=DMARC1"):
            return found
    return []


async def _texts(resolver: dns.asyncresolver.Resolver, name: str, beginning: str) -> list[str]:
    with contextlib.suppress(dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        answer = await resolver.resolve(name, "TXT")
        texts = [b"".join(each.strings).decode("utf-8", "replace") for each in answer]
        return [each for each in texts if each.lower().startswith(beginning.lower())]
    return []


async def _exists(resolver: dns.asyncresolver.Resolver, name: str) -> bool:
    """Whether mail can go there: an MX that is not null (RFC 7505), or, where there is none, an address."""
    for kind in ("MX", "A", "AAAA"):
        with contextlib.suppress(dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            answer = await resolver.resolve(name, kind)
            return kind != "MX" or any(str(each.exchange) != "." for each in answer)
    return False
