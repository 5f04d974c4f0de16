"""Which of the two a page is shown in: what this browser's person has chosen, in a cookie that says nothing else."""

from __future__ import annotations

from typing import Final

from starlette.requests import HTTPConnection

COOKIE: Final = "theme"
THEMES: Final = ("light", "dark")


def theme_of(request: HTTPConnection) -> str:
    """`light` or `dark`; empty where it is as the system likes."""
    chosen = request.cookies.get(COOKIE, "")
    return chosen if chosen in THEMES else ""
