"""What mails of our own say: neutral words, none of them anybody's, and one link."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rmindr.mail.links import MailLinks
from rmindr.models import Kind
from rmindr.signing import Purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnWords:
    """Paragraphs before the link, what is written on it and where it leads, and paragraphs after it."""

    before: Sequence[str]
    button: str
    link: str
    after: Sequence[str]


def words(kind: Kind, about: str, links: MailLinks) -> OwnWords:
    """The words of a mail of this kind. Raises ValueError where `about` does not say what it must."""
    try:
        return _WORDS[kind](json.loads(about), links)
    except (KeyError, TypeError) as error:
        raise ValueError(f"a mail of kind {kind} cannot be made: {type(error).__name__}") from error


def _confirm(about: Mapping[str, Any], links: MailLinks) -> OwnWords:
    return OwnWords(
        before=[
            "Somebody, you we hope, asked to be reminded at this address.",
            "If that was you, open this page and press its button. Reminders come to you from then on, "
            "and this browser may set more of them.",
        ],
        button="It is my address",
        link=links.of_link(Purpose.CONFIRM, about["link"]),
        after=[
            "It works for two days.",
            "If it was not you, there is nothing to do: no reminder comes without your yes.",
        ],
    )


def _agree(about: Mapping[str, Any], links: MailLinks) -> OwnWords:
    return OwnWords(
        before=[
            f"{about['by']} would like to remind you of something by mail, and needs your yes for that, once.",
            "Their words come only after it. A no is a no for good, and they are not told of it.",
        ],
        button="Say yes or no",
        link=links.of_link(Purpose.AGREE, about["link"]),
        after=["You will not be asked again by them.", "If you do not answer, nothing is sent."],
    )


def _sign_in(about: Mapping[str, Any], links: MailLinks) -> OwnWords:
    return OwnWords(
        before=["Here is the link to your reminders. It works once, for ten minutes."],
        button="Sign in",
        link=links.of_link(Purpose.SIGN_IN, about["link"]),
        after=["If you did not ask for it, let it be: nobody gets in without this mail."],
    )


def _notice(about: Mapping[str, Any], links: MailLinks) -> OwnWords:
    return OwnWords(
        before=[str(each) for each in about["told"]],
        button="See your reminders",
        link=links.home("reminders"),
        after=[],
    )


_WORDS: Final[Mapping[Kind, Callable[[Mapping[str, Any], MailLinks], OwnWords]]] = {
    Kind.CONFIRM: _confirm,
    Kind.AGREE: _agree,
    Kind.SIGN_IN: _sign_in,
    Kind.NOTICE: _notice,
}
