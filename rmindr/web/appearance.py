"""Light, dark, or as the system likes: kept in a cookie that says nothing else, so it works without scripts, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from rmindr.web.access import require_own_page
from rmindr.web.bodies import pressed
from rmindr.web.templating import page
from rmindr.web.theme import COOKIE, THEMES

router = APIRouter(include_in_schema=False)

_WORDS: Final[Mapping[str, str]] = {"": "As my system has it", "light": "Light", "dark": "Dark"}
_A_YEAR_S: Final = 365 * 86_400


@router.get("/appearance")
async def choose(request: Request) -> Response:
    """Three buttons."""
    return page(request, "appearance.html", themes=_WORDS)


@router.post("/appearance", dependencies=[Depends(require_own_page)])
async def change(request: Request) -> Response:
    """Keep what was chosen in this browser; what is none of the three is the system's."""
    chosen = (await pressed(request)).get("theme", "")
    answer = RedirectResponse("/appearance", 303)
    if chosen in THEMES:
        answer.set_cookie(COOKIE, chosen, max_age=_A_YEAR_S, path="/", samesite="lax", httponly=True)
    else:
        answer.delete_cookie(COOKIE, path="/")
    return answer
