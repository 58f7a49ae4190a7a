"""The letter of the chosen answer in a generated text, found by the same order of patterns as Lighteval's index extraction."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

__all__ = ["find_letter"]

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_BEFORE = r"(?:^|[\s:(\[{$])(?:\*\*)?"
_AFTER = r"(?:\*\*)?(?:[.,:)\]}$\s]|$)"


@lru_cache(maxsize=256)
def _patterns(letters: tuple[str, ...], answer_word: str) -> tuple[tuple[re.Pattern[str], ...], ...]:
    """Groups of patterns, the most telling first. Each has the letter in its group."""
    letter = "(" + "|".join(re.escape(one) for one in letters) + ")"
    alone = f"{_BEFORE}{letter}{_AFTER}"
    groups = (
        (rf"(?i:final answer is):?\s*{letter}\.?\s?I hope",),
        (rf"(?i:final answer.{{0,100}}?)\s+is:?\s*{letter}",),
        (rf"(?i:{answer_word}):.{{0,50}}?{alone}",),
        (rf"(?i:{answer_word}).{{0,50}}?{alone}", rf"^(?:\*\*)?{letter}{_AFTER}"),
        (alone,),
    )
    return tuple(tuple(re.compile(pattern) for pattern in group) for group in groups)


def find_letter(text: str, letters: Sequence[str], *, answer_word: str = "answer") -> str | None:
    """The letter that the text answers with: by the first kind of phrase that occurs, and of several the last one. None: there is none."""
    for group in _patterns(tuple(letters), answer_word):
        matches = [match for pattern in group for match in pattern.finditer(text)]
        if matches:
            return max(matches, key=lambda match: (match.end(), -match.start())).group(1)
    return None
