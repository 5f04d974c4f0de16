"""The inbox of `rmindr dev`: every mail that would have gone out, to read, to take apart, and for tests to wait on."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from sqlmodel import SQLModel

from rmindr.mail.inbox import Inbox, StoredMail
from rmindr.web.access import require_own_page
from rmindr.web.templating import page

router = APIRouter(prefix="/inbox", include_in_schema=False)

# A mail's own HTML may style itself, show inlined pictures, and open its links beside us; it may fetch and run nothing.
_MAIL_CSP: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; form-action 'none'; "
    "sandbox allow-popups allow-popups-to-escape-sandbox"
)


class MailOut(SQLModel):
    """One mail, as a test wants to see it."""

    id: str
    sender: str
    to: str
    subject: str
    at: float
    headers: list[tuple[str, str]]
    text: str
    html: str


class MailPage(SQLModel):
    """Mails, newest first."""

    items: list[MailOut]


def _inbox(request: Request) -> Inbox:
    mails: Inbox = request.app.state.inbox
    return mails


Mails = Annotated[Inbox, Depends(_inbox)]


@router.get("")
async def listing(request: Request, mails: Mails) -> Response:
    """All mails, newest first."""
    return page(request, "inbox.html", mails=mails.newest(100), total=len(mails))


@router.post("/empty", dependencies=[Depends(require_own_page)])
async def empty(mails: Mails) -> Response:
    """Throw all mails away."""
    mails.empty()
    return RedirectResponse("/inbox", 303)


@router.get("/api/messages")
async def messages(
    mails: Mails,
    to: str | None = None,
    after: str = "",
    wait: Annotated[float, Query(ge=0, le=60)] = 0,
) -> MailPage:
    """Mails newest first; with `wait`, as soon as there is one (`to` this address, `after` this id), or none in time."""
    found = await mails.wait_for(to=to, after=after, seconds=wait)
    return MailPage(items=[_shown(mail) for mail in found])


@router.get("/api/messages/{id}")
async def message(id: str, mails: Mails) -> MailOut:
    """One mail."""
    return _shown(_found(mails, id))


@router.delete("/api/messages/{id}", status_code=204)
async def remove(id: str, mails: Mails) -> None:
    """Throw one mail away."""
    _found(mails, id)
    mails.remove(id)


@router.delete("/api/messages", status_code=204)
async def remove_all(mails: Mails) -> None:
    """Throw all mails away."""
    mails.empty()


@router.get("/{id}")
async def one(
    id: str, request: Request, mails: Mails, part: Literal["text", "html", "headers", "raw", "checks"] = "text"
) -> Response:
    """One mail: its text, its HTML in a box that can do nothing, its headers, or its bytes."""
    return page(request, "mail.html", mail=_found(mails, id), part=part)


@router.get("/{id}/html")
async def html(id: str, mails: Mails) -> Response:
    """The HTML part alone, for the box."""
    shown = _found(mails, id).html.replace("<head>", '<head><base target="_blank">', 1)
    return HTMLResponse(shown, headers={"Content-Security-Policy": _MAIL_CSP})


@router.get("/{id}/raw")
async def raw(id: str, mails: Mails) -> Response:
    """The bytes, to keep."""
    headers = {"Content-Disposition": f'attachment; filename="{id}.eml"'}
    return PlainTextResponse(_found(mails, id).data, headers=headers, media_type="message/rfc822")


@router.post("/{id}/delete", dependencies=[Depends(require_own_page)])
async def delete(id: str, mails: Mails) -> Response:
    """Throw one mail away."""
    _found(mails, id)
    mails.remove(id)
    return RedirectResponse("/inbox", 303)


def _found(mails: Inbox, id: str) -> StoredMail:
    mail = mails.get(id)
    if mail is None:
        raise HTTPException(404, "There is no such mail in the inbox.")
    return mail


def _shown(mail: StoredMail) -> MailOut:
    fields: dict[str, Any] = {
        "id": mail.id,
        "sender": mail.sender,
        "to": mail.recipient,
        "subject": mail.subject,
        "at": mail.at.timestamp(),
        "headers": mail.headers,
        "text": mail.text,
        "html": mail.html,
    }
    return MailOut(**fields)
