"""Expressions in languages whose numbers have digits of their own or full width."""

from __future__ import annotations

import re

from pytest_lighteval.metrics.corrected.canonical import canonical
from pytest_lighteval.metrics.extraction import Extract, IsRight, extractive_match, math_answer, math_equality
from pytest_lighteval.metrics.languages import LANGUAGES, Language
from pytest_lighteval.types import Doc


def _plain(text: str, language: Language) -> str:
    # where the language has none, math-verify still needs a space before a number
    return canonical(text) if language.has_spaces else re.sub(r":(?=[-.\d])", ": ", canonical(text))


def _canonical_equality(language: Language) -> IsRight:
    """math-verify's equality of the canonical texts."""
    is_equal = math_equality(("expr",), ("expr",), precision=6, language=language)
    return lambda doc, text: is_equal(_canonical_doc(doc, language), _plain(text, language))


def _canonical_answer(language: Language) -> Extract:
    find = math_answer(("expr",), ("expr",), precision=6, language=language)
    return lambda doc, text: find(_canonical_doc(doc, language), _plain(text, language))


def _canonical_doc(doc: Doc, language: Language) -> Doc:
    golds = tuple(_plain(gold, language) for gold in doc.golds)
    return Doc(id=doc.id, query="", choices=golds, gold=tuple(range(len(golds))))


METRICS = tuple(
    extractive_match(f"extractive_match_expr_{name}_corrected", _canonical_equality(language), _canonical_answer(language))
    for name, language in LANGUAGES.items()
)
