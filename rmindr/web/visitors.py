"""Who asks, and what they may see: whoever is signed in with this browser, a program by its token, or nobody known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, HTTPException, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from rmindr.gate import Asker, take_own
from rmindr.limits import BY_TOKEN, Limits, place_of
from rmindr.models import Person, Reminder
from rmindr.people import SESSION, People
from rmindr.reminders import Eyes
from rmindr.signing import Purpose, Signer
from rmindr.tokens import Bearer, Scope, Tokens
from rmindr.web.access import client_address

_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="rmindr"'}
_BEARER: Final = HTTPBearer(
    auto_error=False, description="A token of one's own; where anybody may do anything, none is needed."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Whose request this is, and what it may see."""

    asker: Asker
    eyes: Eyes
    token: UUID | None = None
    # Addresses that need not be asked; and who signs the link of one reminder.
    listed: Callable[[str], bool]
    signer: Signer

    @property
    def person(self) -> Person | None:
        """Whoever is signed in."""
        return self.asker.person

    @property
    def is_nobody(self) -> bool:
        """Whether nobody is signed in, and that matters."""
        return self.person is None and not self.eyes.everything

    def key(self, given: str | None) -> str | None:
        """An Idempotency-Key as it is kept: one program's is not another's, and what nobody known has sent is no key of whoever
        reads the mail there."""
        if given is None or (self.token is None and not self.is_nobody):
            return given
        whose = "nobody" if self.token is None else f"token:{self.token.hex}"
        return f"{whose}:{hashlib.sha256(given.encode()).hexdigest()}"

    def is_blind_to(self, reminder: Reminder) -> bool:
        """Whether this one may not be shown even to whoever asked for it: nobody known is told nothing of an address, be it
        unknown, stopped, or asked often enough; but of listed ones everybody knows."""
        return self.is_nobody and not self.listed(reminder.recipient)

    def place_of(self, reminder: Reminder, under: str) -> str:
        """Where this visitor finds a reminder that they have just made."""
        if self.is_nobody:
            return f"/manage/{self.signer.sign(Purpose.MANAGE, str(reminder.id))}"
        return f"{under}/{reminder.id}"


class Visitors:
    """The doors of one application. `people` None: it is open, and everybody sees everything."""

    def __init__(
        self,
        people: People | None,
        tokens: Tokens,
        signer: Signer,
        listed: Callable[[str], bool],
        counted: Limits,
        *,
        https: bool,
        trusted_proxies: int,
    ) -> None:
        self._people = people
        self._tokens = tokens
        self._signer = signer
        self._listed = listed
        self._limits = counted
        self._https = https
        self._trusted_proxies = trusted_proxies
        # With this prefix a browser takes the cookie from no other host, and never over plain HTTP.
        self._cookie = "__Host-rmindr" if https else "rmindr"

    @property
    def everybody(self) -> bool:
        """Whether whoever reaches this may do anything."""
        return self._people is None

    async def by_cookie(self, request: Request) -> Visitor:
        """A browser's visitor. Raises StorageUnavailable."""
        secret = self.secret(request)
        person = await self._people.of_session(secret) if self._people is not None and secret else None
        return self._visitor(request, person)

    async def by_token(self, request: Request, shown: str | None, scope: Scope, *, required: bool) -> Visitor:
        """A program's visitor. Cookies are not looked at: a page elsewhere could send them along.

        Raises HTTPException: 401 where the token is none of ours, or is `required` and missing; 403 where it is for something
        else. StorageUnavailable."""
        if self.everybody:
            return self._visitor(request, None)
        bearer = await self._tokens.bearer(shown) if shown is not None else None
        if bearer is None and (required or "authorization" in request.headers):
            raise HTTPException(401, "This needs a token of your own, as `Authorization: Bearer …`.", _CHALLENGE)
        if bearer is not None and scope not in bearer.scopes:
            raise HTTPException(403, f"This token is not for that; it would need the scope {scope}.")
        visitor = self._visitor(request, bearer.person if bearer is not None else None, bearer)
        if bearer is not None and scope is Scope.WRITE:
            # Whatever becomes of it: a program gone wild is stopped before it costs more than this.
            await take_own(self._limits, visitor.asker, BY_TOKEN, str(bearer.token))
        return visitor

    def let_in(self, response: Response, secret: str) -> None:
        """Sign a browser in with this answer."""
        self._set_cookie(response, secret, round(SESSION.total_seconds()))

    def let_out(self, response: Response) -> None:
        """Make a browser forget who it was."""
        self._set_cookie(response, "", 0)

    def secret(self, request: Request) -> str:
        """What the browser is signed in with; empty where it is not."""
        return request.cookies.get(self._cookie, "")[:200]

    def _set_cookie(self, response: Response, value: str, seconds: int) -> None:
        # Lax: a link in a mail opens a page for whoever is signed in; what another site posts comes without.
        response.set_cookie(
            self._cookie, value, max_age=seconds, path="/", secure=self._https, httponly=True, samesite="lax"
        )

    def _visitor(self, request: Request, person: Person | None, bearer: Bearer | None = None) -> Visitor:
        asker = Asker(person=person, client=place_of(client_address(request.scope, self._trusted_proxies)))
        # Pages say who is signed in; and answers, what is left of the limits.
        request.state.person = person
        request.state.left = asker.left
        eyes = Eyes(everything=self.everybody, owner=person.owner if person is not None else None)
        token = bearer.token if bearer is not None else None
        return Visitor(asker=asker, eyes=eyes, token=token, listed=self._listed, signer=self._signer)


def visitors_of(request: Request) -> Visitors:
    """The doors of this application."""
    visitors: Visitors = request.app.state.visitors
    return visitors


async def _by_cookie(request: Request) -> Visitor:
    return await visitors_of(request).by_cookie(request)


def by_token(scope: Scope, *, required: bool) -> Callable[..., Coroutine[Any, Any, Visitor]]:
    """Whoever shows a token for this, as a dependency."""

    async def find(
        request: Request, shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
    ) -> Visitor:
        token = shown.credentials if shown is not None else None
        return await visitors_of(request).by_token(request, token, scope, required=required)

    return find


# Whoever looks at a page; a program that reads, or changes; and one that may also be nobody.
AtPage = Annotated[Visitor, Depends(_by_cookie)]
Reading = Annotated[Visitor, Depends(by_token(Scope.READ, required=True))]
Writing = Annotated[Visitor, Depends(by_token(Scope.WRITE, required=True))]
Scheduling = Annotated[Visitor, Depends(by_token(Scope.WRITE, required=False))]
