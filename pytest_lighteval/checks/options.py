"""Choices that are letters, and the options that the prompt lists for them."""

from __future__ import annotations

import re
import string
from functools import cache

from pytest_lighteval.types import Doc


def letters(doc: Doc) -> tuple[str, ...] | None:
    """The letters, if the choices are A, B, C, ... in this order, in either case, with or without parentheses. None: they are not."""
    bare = tuple(choice.strip().removeprefix("(").removesuffix(")") for choice in doc.choices)
    if len(bare) < 2 or len(bare) > len(string.ascii_uppercase):
        return None
    alphabets = (string.ascii_uppercase, string.ascii_lowercase)
    return bare if any(bare == tuple(alphabet[: len(bare)]) for alphabet in alphabets) else None


def listed_options(doc: Doc) -> tuple[str, ...] | None:
    """What each letter stands for: the rest of the last line `A. text`, `A) text`, `(A) text` or `A: text`.

    None: the choices are no letters, or one of them has no such line.
    """
    names = letters(doc)
    if names is None:
        return None
    options = []
    for name in names:
        lines = _line(name).findall(doc.query)
        if not lines:
            return None
        options.append(lines[-1].strip())
    return tuple(options)


def unnamed_letters(doc: Doc) -> tuple[str, ...]:
    """Letters among the choices that stand nowhere in the query as a word of their own, so that nothing says what they mean."""
    return tuple(name for name in letters(doc) or () if not _word(name).search(doc.query))


@cache
def _line(letter: str) -> re.Pattern[str]:
    return re.compile(rf"^[ \t]*\(?{letter}[.):][ \t]*(\S.*)$", re.MULTILINE)


@cache
def _word(letter: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){letter}(?!\w)")
