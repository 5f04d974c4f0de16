"""What links in mails open: confirm an address, agree to somebody, sign in, stop all mail. GET never acts: a button does."""

from __future__ import annotations

import contextlib
from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import PlainTextResponse, RedirectResponse, Response

from rmindr import drafts
from rmindr.afterwards import Before
from rmindr.errors import BadToken
from rmindr.limits import SIGN_IN_BY_CLIENT, SIGN_IN_OF_ADDRESS, counted_as
from rmindr.models import Person
from rmindr.people import People
from rmindr.reminders import Eyes
from rmindr.signing import Purpose, Signer
from rmindr.web.access import require_own_page
from rmindr.web.api import Books
from rmindr.web.bodies import pressed
from rmindr.web.parts import Acts, Folk, Signs
from rmindr.web.templating import page
from rmindr.web.undo import undo_of
from rmindr.web.visitors import AtPage, visitors_of

router = APIRouter(include_in_schema=False)

_OURS: Final = [Depends(require_own_page)]


# My address


@router.get("/confirm/{token}")
async def confirm_page(token: str, request: Request, folk: Folk, visitor: AtPage) -> Response:
    """Is this address yours, and what should come to it?"""
    try:
        asked = await folk.asked(Purpose.CONFIRM, token)
    except BadToken as error:
        return _over(request, error, visitor.person)
    return page(request, "confirm.html", asked=asked, token=token)


@router.post("/confirm/{token}", dependencies=_OURS)
async def confirm(token: str, request: Request, folk: Folk, visitor: AtPage) -> Response:
    """It is: what was ticked is scheduled, and this browser signed in."""
    fields = await pressed(request)
    try:
        signed_in = await folk.confirm(token, [UUID(hex=each) for each in fields if _is_id(each)])
    except BadToken as error:
        return _over(request, error, visitor.person)
    return await _let_in(request, folk, signed_in.secret)


# Sign in


@router.get("/sign-in")
async def sign_in_form(request: Request, visitor: AtPage) -> Response:
    """Where to send the link."""
    if visitor.person is not None or visitor.eyes.everything:
        return RedirectResponse("/reminders", 303)
    return page(request, "sign_in.html", to="", wrong=None)


@router.post("/sign-in", dependencies=_OURS)
async def ask_to_sign_in(request: Request, folk: Folk, visitor: AtPage) -> Response:
    """Mail a link, if somebody at that address has confirmed it; the answer is the same where nobody has."""
    fields = await pressed(request)
    given = fields.get("to", "")
    try:
        address = drafts.address(given)
    except ValueError as complaint:
        return page(request, "sign_in.html", code=422, to=given, wrong=str(complaint).rstrip("."))
    await request.app.state.limits.take(
        (SIGN_IN_BY_CLIENT, visitor.asker.client), (SIGN_IN_OF_ADDRESS, counted_as(address))
    )
    await folk.ask_to_sign_in(address)
    return page(request, "signing_in.html", code=202, to=address)


@router.get("/sign-in/{token}")
async def sign_in_page(token: str, request: Request, folk: Folk, visitor: AtPage) -> Response:
    """One button: a machine that follows links signs nobody in."""
    try:
        asked = await folk.asked(Purpose.SIGN_IN, token)
    except BadToken as error:
        return _over(request, error, visitor.person)
    return page(request, "enter.html", person=asked.person, token=token)


@router.post("/sign-in/{token}", dependencies=_OURS)
async def sign_in(token: str, request: Request, folk: Folk, visitor: AtPage) -> Response:
    """This browser is signed in."""
    try:
        signed_in = await folk.sign_in(token)
    except BadToken as error:
        return _over(request, error, visitor.person)
    return await _let_in(request, folk, signed_in.secret)


@router.post("/sign-out", dependencies=_OURS)
async def sign_out(request: Request, folk: Folk) -> Response:
    """It is signed out, here and on the server."""
    visitors = visitors_of(request)
    await folk.sign_out(visitors.secret(request))
    answer = RedirectResponse("/", 303)
    visitors.let_out(answer)
    return answer


# May they remind you?


@router.get("/agree/{token}")
async def agree_page(token: str, request: Request, folk: Folk, visitor: AtPage) -> Response:
    """Who asks, and for what; yes or no."""
    try:
        asked = await folk.asked(Purpose.AGREE, token)
    except BadToken as error:
        return _over(request, error, visitor.person)
    return page(request, "agree.html", asked=asked, token=token)


@router.post("/agree/{token}", dependencies=_OURS)
async def agree(token: str, request: Request, folk: Folk, visitor: AtPage) -> Response:
    """They have said it; a no is told to nobody."""
    fields = await pressed(request)
    said = fields.get("answer")
    agreed, reported = said == "yes", said == "report"
    try:
        asked = await folk.decide(token, agreed=agreed, reported=reported)
    except BadToken as error:
        return _over(request, error, visitor.person)
    by = asked.by.address if asked.by is not None else ""
    if agreed:
        return _said(request, "agreed", f"{by} may remind you now", "Each of their mails has a link that stops them.")
    lead = "They are not told, and you are not asked again by them."
    return _said(request, "cancelled", f"{by} may not remind you", f"It is noted. {lead}" if reported else lead)


# Stop


@router.get("/stop/{token}")
async def stop_page(token: str, request: Request, folk: Folk, books: Books, signer: Signs) -> Response:
    """What to stop: this reminder, this sender, or all; or, where all is stopped, start again."""
    address, sender, person, id = await _of_stop(folk, signer, token)
    stopped = person is not None and person.blocked_at is not None
    standing = await books.standing(id)
    return page(request, "stop.html", address=address, sender=sender, standing=standing, stopped=stopped, token=token)


@router.post("/stop/{token}")
async def stop(token: str, request: Request, folk: Folk, books: Books, signer: Signs) -> Response:
    """Stop; at one click from a mail program, too (RFC 8058), which has no cookie of ours and is on no page of ours.

    Whoever has the link reads the mail there: it needs no more than that."""
    address, sender, person, id = await _of_stop(folk, signer, token)
    one_click = await _is_one_click(request)
    fields = {} if one_click else await pressed(request)
    what = fields.get("what", "all")
    if what == "start" and person is not None:
        await folk.unblock(person.id)
        return _said(request, "agreed", "Mail comes again", f"To {address}, from everybody who may remind you.")
    if what == "this" and (standing := await books.standing(id)) is not None:
        stopped = await books.stop(standing, Eyes(only=standing))
        undo = undo_of(signer, "stop", stopped.id, stopped.rev)
        return _said(request, "cancelled", "This one is stopped", "It does not come any more.", undo=undo)
    if what == "sender" and sender is not None and person is not None:
        before = await folk.refuse(sender, person)
        undo = undo_of(signer, "sender", sender.id, person.id, before)
        return _said(request, "cancelled", f"No more from {sender.address}", "They are not told.", undo=undo)
    if what != "all":
        # What was to be stopped, or started, is over or not there: nothing else is stopped in its place.
        return RedirectResponse(f"/stop/{token}", 303)
    blocked = await folk.block(address, "at a link of a mail")
    if one_click:
        return PlainTextResponse("Stopped.")
    undo = undo_of(signer, "block", blocked.id)
    lead = (
        f"Nothing comes to {address} from here any more, whoever asks. The link of any mail from here starts it again."
    )
    return _said(request, "cancelled", "All mail is stopped", lead, undo=undo)


@router.post("/undo/{token}", dependencies=_OURS)
async def undo(
    token: str, request: Request, folk: Folk, books: Books, acts: Acts, signer: Signs, visitor: AtPage
) -> Response:
    """Take the last act back, for a minute after it."""
    try:
        what, id, *facts = signer.read(Purpose.UNDO, token)
        here = UUID(id)
        match what:
            case "reminder":
                await acts.restore(here, int(facts[0]), Eyes(only=here))
            case "later":
                await acts.as_before(here, int(facts[0]), Before.read(facts[1:]), Eyes(only=here))
            case "stop":
                await books.resume(here, int(facts[0]), Eyes(only=here))
            case "sender":
                await folk.as_agreed(here, UUID(facts[0]), facts[1])
            case _:
                await folk.unblock(here)
    except (ValueError, BadToken) as error:
        return _over(request, error if isinstance(error, BadToken) else BadToken(), visitor.person)
    return _said(request, "agreed", "Undone", "It is as it was before.")


async def _is_one_click(request: Request) -> bool:
    """Whether a mail program posts this; as a form of either kind, as it likes."""
    return b"List-Unsubscribe" in (body := await request.body()) and b"One-Click" in body


async def _of_stop(folk: People, signer: Signer, token: str) -> tuple[str, Person | None, Person | None, UUID]:
    """The address of a stop link, whoever set its reminder where that is another, whoever reads the mail there, and that
    reminder."""
    try:
        address, reminder = signer.read(Purpose.STOP, token)
        id = UUID(reminder)
    except ValueError:
        raise BadToken from None
    person, sender = await folk.at(address), await folk.sender_of(id)
    if sender is not None and person is not None and sender.id == person.id:
        sender = None
    return address, sender, person, id


async def _let_in(request: Request, folk: People, secret: str) -> Response:
    visitors = visitors_of(request)
    # Whoever was signed in here before is not any more.
    await folk.sign_out(visitors.secret(request))
    answer = RedirectResponse("/reminders", 303)
    visitors.let_in(answer, secret)
    return answer


def _over(request: Request, error: BadToken, person: Person | None) -> Response:
    """A link that opens nothing: what it was for may be done already; else a new one is a form away."""
    if error.expired and person is not None:
        return RedirectResponse("/reminders", 303)
    if not error.expired:
        raise error
    return page(request, "over.html", code=410)


def _said(request: Request, icon: str, title: str, lead: str, **more: Any) -> Response:
    return page(request, "said.html", badge=icon, said=title, lead=lead, **{"undo": None} | more)


def _is_id(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(UUID(hex=text))
    return False
