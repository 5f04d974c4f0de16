"""Which reminder a page is about, and by what right: its id and whoever is signed in, or the link of a mail about it alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

from fastapi import APIRouter, Depends, Request

from rmindr.errors import ReminderNotFound
from rmindr.gate import Asker
from rmindr.models import WAITING, Status
from rmindr.reminders import Eyes
from rmindr.signing import Purpose
from rmindr.web.access import require_own_page
from rmindr.web.visitors import AtPage

# What a page offers to change; that it still may be is judged when it is.
CHANGEABLE: Final = (Status.UNCONFIRMED, *WAITING)

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """A reminder's id, who looks at it, and the address under which its pages and acts are."""

    id: UUID
    eyes: Eyes
    asker: Asker
    path: str

    @property
    def by_link(self) -> bool:
        """Whether the link of a mail led here, and not who is signed in."""
        return self.path.startswith("/manage/")


async def _here(request: Request, visitor: AtPage) -> Here:
    if (token := request.path_params.get("token")) is not None:
        (of_token,) = request.app.state.signer.read(Purpose.MANAGE, token)
        id = UUID(of_token)
        return Here(id=id, eyes=Eyes(only=id), asker=visitor.asker, path=f"/manage/{token}")
    try:
        id = UUID(request.path_params["id"])
    except ValueError:
        # An id that cannot be one names nothing, like one that is not there.
        raise ReminderNotFound from None
    return Here(id=id, eyes=visitor.eyes, asker=visitor.asker, path=f"/reminders/{id}")


AtReminder = Annotated[Here, Depends(_here)]


def of_reminder(router: APIRouter, method: str, path: str = "") -> Callable[[F], F]:
    """A route of a reminder, both ways to it; what posts comes from a page of ours."""
    guards = [Depends(require_own_page)] if method == "POST" else []

    def add(route: F) -> F:
        for way in ("/reminders/{id}", "/manage/{token}"):
            router.add_api_route(way + path, route, methods=[method], dependencies=guards)
        return route

    return add
