"""What can be told without asking anybody: settings that are right one by one and wrong together, zone rules, the dyno."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from rmindr import heroku
from rmindr.doctor.finding import Finding, error, good, note, warning
from rmindr.moments import rules_in_use
from rmindr.settings import LOOPBACK, Settings

# Signs of a key that somebody typed, or copied from a page.
_TYPED: Final = re.compile(r"change.?me|secret|password|example|default|0123456789|abcdef", re.IGNORECASE)
_FEW_CHARACTERS: Final = 12
# What one web process and one worker take, MB, by benchmarks/README.md.
_WEB_MB: Final = 110
# Countries change their clocks with half a year's notice, or with less.
_RULES_LAST_YEARS: Final = 1


async def settings_found(settings: Settings) -> AsyncIterator[Finding]:
    """Keys, addresses and where the service says that it is."""
    yield good("settings", "Each setting is right by itself.")
    for key in settings.secret_keys:
        if _TYPED.search(key) or len(set(key)) < _FEW_CHARACTERS:
            yield error(
                "secret-key",
                "RMINDR_SECRET_KEY can be guessed.",
                "Make one with `openssl rand -base64 48`, and keep it.",
            )
    for finding in _public(settings):
        yield finding
    if settings.access == "confirmed" and settings.admin_token is None and not settings.admins:
        yield note(
            "operators",
            "Nobody can see the queue at /queue.",
            "Set RMINDR_ADMINS to your address, or RMINDR_ADMIN_TOKEN.",
        )


def _public(settings: Settings) -> list[Finding]:
    url = urlsplit(settings.public_url or "")
    if settings.public_url is None:
        return [] if settings.access == "open" else [
            error("public-url", "Links in mails lead nowhere: nobody has said where this service is.", "Set RMINDR_PUBLIC_URL.")
        ]  # fmt: skip
    if url.scheme != "https" and url.hostname not in LOOPBACK:
        return [
            error("public-url", "Links in mails, and cookies, travel in the clear.", "Make RMINDR_PUBLIC_URL https.")
        ]
    return [good("public-url", f"Links in mails lead to {settings.public_url}.")]


async def queue_address(settings: Settings) -> AsyncIterator[Finding]:
    """Whether whoever stands between could read and change the queue."""
    url = settings.redis_url.get_secret_value()
    if "ssl_cert_reqs=none" not in url:
        return
    host = urlsplit(url).hostname or ""
    if host not in LOOPBACK and not heroku.is_store(host):
        yield error(
            "redis-tls", "The certificate of Redis is not verified.", "Take ssl_cert_reqs=none out of REDIS_URL."
        )


async def zone_rules(clock: datetime) -> AsyncIterator[Finding]:
    """Whether a country may have changed its clocks since."""
    version = rules_in_use()
    year = re.match(r"(\d{4})", version)
    if year is None or clock.year - int(year[1]) > _RULES_LAST_YEARS:
        yield warning(
            "zone-rules",
            f"The zone rules are of {version}; some country has changed its clocks since.",
            "Update the package tzdata, or the system's.",
        )
    else:
        yield good("zone-rules", f"The zone rules are of {version}.")


async def dyno(settings: Settings, environment: Mapping[str, str]) -> AsyncIterator[Finding]:
    """What a machine of this size can carry; and what cannot be seen from inside it."""
    limit = _memory_limit_mb()
    needed = settings.web_concurrency * _WEB_MB
    if limit is not None and needed > limit:
        yield warning(
            "web-memory",
            f"{settings.web_concurrency} web processes take about {needed} MB, and there are {limit}.",
            f"Set WEB_CONCURRENCY to {max(1, limit // _WEB_MB)}.",
        )
    if "DYNO" in environment:
        yield note(
            "eco",
            "Eco dynos sleep, and the worker with them: reminders would wait. It cannot be seen from inside.",
            "`heroku ps` must say basic or more for web and worker.",
        )


def _memory_limit_mb() -> int | None:
    """What this container may use; None where nobody has said."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
            return int(text) // 1_000_000
    return None
