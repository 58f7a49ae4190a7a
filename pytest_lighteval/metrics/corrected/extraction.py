"""Expressions in languages whose numbers have digits of their own or full width."""

from __future__ import annotations

import re

from pytest_lighteval.metrics.corrected.canonical import canonical
from pytest_lighteval.metrics.extraction import IsRight, extractive_match, math_equality
from pytest_lighteval.metrics.languages import LANGUAGES, Language
from pytest_lighteval.types import Doc


def _canonical_equality(language: Language) -> IsRight:
    """math-verify's equality of the canonical texts."""
    is_equal = math_equality(("expr",), ("expr",), precision=6, language=language)

    def plain(text: str) -> str:
        # where the language has none, math-verify still needs a space before a number
        return canonical(text) if language.has_spaces else re.sub(r":(?=[-.\d])", ": ", canonical(text))

    def is_right(doc: Doc, text: str) -> bool:
        golds = tuple(map(plain, doc.golds))
        return is_equal(Doc(id=doc.id, query="", choices=golds, gold=tuple(range(len(golds)))), plain(text))

    return is_right


METRICS = tuple(
    extractive_match(f"extractive_match_expr_{name}_corrected", _canonical_equality(language)) for name, language in LANGUAGES.items()
)
