"""The letter of the chosen answer in a generated text, found by the same order of patterns as Lighteval's index extraction."""

from __future__ import annotations

import re
from functools import lru_cache

from pytest_lighteval.metrics.languages import ENGLISH, Language


@lru_cache(maxsize=256)
def _patterns(count: int, language: Language) -> tuple[re.Pattern[str], ...]:
    """The most telling first; each has the letter in its group."""
    letter = "(" + "|".join(re.escape(one) for one in language.letters[:count]) + ")"
    space = " " if language.has_spaces else ""
    marks = "".join(re.escape(mark) for mark in {".", ",", ":", language.full_stop, language.comma, language.colon})
    after = rf"(?:\*\*)?(?:[{marks}]|{space}|$)"
    alone = rf"(?:^|{space})(?:\*\*)?{letter}{after}"
    answer = f"(?i:{language.answer})"
    announced = (
        rf"(?i:final answer is):?\s*{letter}\.?\s?I hope",
        rf"(?i:final answer.{{0,100}}?)\s+is:?\s*{letter}",
    )
    patterns = (
        *(announced if language is ENGLISH else ()),
        rf"{answer}[:{language.colon}].{{0,50}}?{alone}",
        rf"{answer}.{{0,50}}?{alone}",
        rf"^(?:\*\*)?{letter}{after}",
        alone,
        letter,
    )
    return tuple(re.compile(pattern) for pattern in patterns)


def find_letter(text: str, count: int, language: Language = ENGLISH) -> str | None:
    """The letter that the text answers with, of the first `count`.

    The first kind of phrase that occurs decides, down to any such letter anywhere; of several phrases of a kind the last one.
    None: there is no such letter.
    """
    for pattern in _patterns(count, language):
        matches = list(pattern.finditer(text))
        if matches:
            return str(matches[-1].group(1))
    return None
