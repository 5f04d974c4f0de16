"""A text cut into tokens, and a finger that moves along them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rmindr.words.language import Language
from rmindr.words.parts import BadWords, Choice

# Each alternative starts with what the others cannot continue, so the whole is one walk over the text.
_TOKEN: Final = re.compile(
    r"(?P<date>[0-9]{1,4}([-/.])[0-9]{1,2}\2[0-9]{1,4}(?![0-9])|[0-9]{1,2}/[0-9]{1,2}(?![0-9]))"
    r"|(?P<decimal>[0-9]+\.[0-9]+)"
    r"|(?P<number>[0-9]+)"
    r"|(?P<zone>[A-Za-z]+(?:/[A-Za-z0-9_+-]+)+)"
    r"|(?P<word>[ap]\.m\.?|[^\W\d_]+(?:['’][^\W\d_]+)*)"
    r"|(?P<mark>\S)",
    re.IGNORECASE,
)
# What no text has, so that nothing must ask whether there is a next token.
_TOO_LARGE: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Token:
    """A word, number, date or mark; `text` in small letters, `is_glued` where nothing stands before it."""

    kind: str
    text: str
    start: int
    end: int
    is_glued: bool


def tokens(text: str) -> list[Token]:
    """The tokens of a text, and one of kind `end` behind them."""
    found: list[Token] = []
    behind = -1
    for match in _TOKEN.finditer(text):
        small = match[0].lower().replace("’", "'")
        found.append(Token(match.lastgroup or "mark", small, match.start(), match.end(), match.start() == behind))
        behind = match.end()
    return [*found, Token("end", "", len(text), len(text), False)]


class Cursor:
    """The tokens of a text and how far they are read."""

    def __init__(self, text: str, language: Language) -> None:
        self.text = text
        self.language = language
        self.index = 0
        self._tokens = tokens(text)

    def peek(self, ahead: int = 0) -> Token:
        """The next token, or one behind it."""
        return self._tokens[min(self.index + ahead, len(self._tokens) - 1)]

    def word(self, ahead: int = 0) -> str:
        """The next token as written in small letters; "" at the end."""
        return self.peek(ahead).text

    def sees(self, *roles: str) -> bool:
        """Whether the next tokens play these roles, one each."""
        return all(self.word(ahead) in self.language.roles[role] for ahead, role in enumerate(roles))

    def takes(self, *roles: str) -> bool:
        """Move over the next tokens where they play these roles."""
        if not self.sees(*roles):
            return False
        self.index += len(roles)
        return True

    def move(self, count: int = 1) -> None:
        """Move over the next tokens."""
        self.index += count

    def span(self, begin: int) -> tuple[int, int]:
        """From where to where the text reaches that was read since token `begin`, or the next token where none was."""
        last = max(begin, self.index - 1)
        return self._tokens[begin].start, self._tokens[last].end

    def bad(self, begin: int, why: str, choices: Sequence[Choice] = ()) -> BadWords:
        """BadWords about what was read since token `begin`, or about the next token where nothing was."""
        start, end = self.span(begin)
        return BadWords(self.text, start, end, why, choices)

    def unknown(self) -> BadWords:
        """BadWords about the next token, with the reason where the language knows one."""
        token, language = self.peek(), self.language
        begin = self.index
        if token.text in language.refused:
            why, instead = language.refused[token.text]
            return self.bad(begin, why + written(instead), [Choice(words, words) for words in instead])
        if any(each.isdigit() and not each.isascii() for each in token.text):
            return self.bad(begin, "is not understood: digits are 0 to 9")
        return self.bad(begin, "is not understood; write for instance «tomorrow 9am», «in 2h» or «every weekday at 8»")

    def number(self, ahead: int = 0) -> tuple[int, int] | None:
        """The number that stands there, in digits or as a word, and how many tokens it takes. Raises BadWords."""
        token, language = self.peek(ahead), self.language
        if token.kind == "number":
            if len(token.text) > 7 and int(token.text[:20]) >= _TOO_LARGE:
                self.move(ahead)
                raise self.bad(self.index, "is too large")
            return int(token.text), 1
        if token.text not in language.numbers:
            return None
        hyphen = self.word(ahead + 1) == "-" and self.peek(ahead + 1).is_glued
        ones = language.numbers.get(self.word(ahead + 1 + hyphen), 10)
        if token.text in language.tens and ones < 10:
            return language.tens[token.text] + ones, 2 + hyphen
        return language.numbers[token.text], 1

    def ordinal(self, ahead: int = 0) -> tuple[int, int] | None:
        """The ordinal that stands there, e.g. `1st`, `first`, `last` as -1, and how many tokens it takes."""
        token, behind = self.peek(ahead), self.peek(ahead + 1)
        if token.kind == "number" and behind.is_glued and behind.text in self.language.endings:
            number = int(token.text[-7:])
            if self.language.ending(number) != behind.text:
                self.move(ahead + 2)
                raise self.bad(self.index - 2, f"is not understood; write «{number}{self.language.ending(number)}»")
            return number, 2
        if token.text in self.language.ordinals:
            return self.language.ordinals[token.text], 1
        return None


def written(instead: Sequence[str]) -> str:
    """The end of a complaint, e.g. `; write «daily»`."""
    return "; write " + " or ".join(f"«{words}»" for words in instead) if instead else ""


def ambiguous(choices: Sequence[Choice]) -> str:
    """The complaint about what has several meanings, e.g. `is ambiguous: «05:00» in the morning or «17:00» in the …`."""
    return "is ambiguous: " + " or ".join(
        f"«{each.words}»" + (f" ({each.meaning})" if each.meaning != each.words else "") for each in choices
    )
