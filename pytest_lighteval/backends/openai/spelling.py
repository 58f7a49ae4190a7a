"""Whether the tokens that a server echoes spell the text that was sent."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

PIECE = "\N{REPLACEMENT CHARACTER}"
"""How servers write a token that is no whole character; others write nothing."""
_PIECES = re.compile(f"({PIECE}+)")
_SPECIAL = re.compile(r"<[^<>\s]{1,40}>|\[[^\[\]\s]{1,20}\]")
"""A special token as it stands in a text. Some servers echo it as nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spelling:
    """How a server writes the tokens of a text, as the echo of a known text showed."""

    prefix: str
    """What it puts before every text, such as a beginning token or a space. Empty: nothing."""
    in_lower_case: bool
    """Its tokenizer knows no capitals."""

    @classmethod
    def learn(cls, tokens: Sequence[str], text: str) -> Spelling | None:
        """From the echo of `text`, which has only ASCII characters. None: the tokens do not spell it."""
        written = _written(tokens)
        for spelled in (text, text.lower()):
            if written.endswith(spelled):
                return cls(prefix=written.removesuffix(spelled), in_lower_case=spelled != text)
        return None

    def fits(self, tokens: Sequence[str], text: str, *, hides_first: bool = False) -> bool:
        """Whether the tokens spell the whole text and nothing else.

        A token that is a piece of a character stands for one character beyond ASCII, or for a special token. With `hides_first`, the
        first token of the prompt is not echoed, so that a special token at the start of the text may be missing.
        """
        if self.in_lower_case:
            text = text.lower()
        written, special = _written(tokens), _SPECIAL.match(text)
        echoes = [written.removeprefix(self.prefix)] if written.startswith(self.prefix) else []
        if not self.prefix.strip() or special or text.startswith(self.prefix):
            # a space is not always added, nor a beginning token to a text that has its own
            echoes.append(written)
        if text in echoes:
            return True
        texts = [text, text[special.end() :]] if hides_first and special else [text]
        return any(_matches(form(echo), form(sent)) for form in _FORMS for echo in echoes for sent in texts)


def same_token(written: str, expected: str, *, is_special: bool) -> bool:
    """Whether a server's text of a token can be that of the tokenizer. The space around it depends on who decodes it."""
    if PIECE in expected:
        return not any(character.isascii() and character.isalnum() for character in written.replace(expected, ""))
    return written.strip() == expected.strip() or (is_special and not written)


def _written(tokens: Sequence[str]) -> str:
    return "".join(token or PIECE for token in tokens)


def _matches(echo: str, text: str) -> bool:
    """Whether the echo is the text, each piece in it being at most one character beyond ASCII or one special token."""
    places = {0}
    for part in _PIECES.split(echo):
        if not part.startswith(PIECE):
            places = {place + len(part) for place in places if text.startswith(part, place)}
            continue
        reached, newest = set(places), places
        for _ in part:
            newest = {end for place in newest for end in _after_piece(text, place)} - reached
            if not newest:
                break
            reached |= newest
        places = reached
    return len(text) in places


def _after_piece(text: str, place: int) -> list[int]:
    if place >= len(text):
        return []
    if not text[place].isascii():
        return [place + 1]
    special = _SPECIAL.match(text, place)
    return [special.end()] if special else []


def _as_it_is(text: str) -> str:
    return text


def _normalized(text: str) -> str:
    """As some tokenizers see a text before they split it."""
    return unicodedata.normalize("NFKC", text)


_FORMS: tuple[Callable[[str], str], ...] = (_as_it_is, _normalized)
