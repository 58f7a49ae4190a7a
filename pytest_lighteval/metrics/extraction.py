"""Answers found in a generated text and compared by what they mean: mathematical expressions, and letters of multiple choice."""

from __future__ import annotations

import re
from collections.abc import Callable

from pytest_lighteval.common.statistics import MEAN
from pytest_lighteval.metrics import math_process
from pytest_lighteval.metrics.languages import ENGLISH, LANGUAGES, Language
from pytest_lighteval.metrics.letters import find_letter
from pytest_lighteval.metrics.math_process import Target
from pytest_lighteval.types import Ask, Doc, GenerateResponse, Metric

IsRight = Callable[[Doc, str], bool]
"""Does this text answer the document?"""


def math_equality(
    gold_targets: tuple[Target, ...],
    text_targets: tuple[Target, ...] = ("expr", "latex_boxed_first"),
    *,
    precision: int = 5,
    language: Language = ENGLISH,
) -> IsRight:
    """Equality by math-verify of the text's answer with any gold, numbers rounded to `precision` decimals."""

    def is_right(doc: Doc, text: str) -> bool:
        golds = tuple(_in_english_form(gold, language) for gold in doc.golds)
        given = _in_english_form(text, language)
        return math_process.are_equal(golds, given, gold_targets=gold_targets, text_targets=text_targets, precision=precision)

    return is_right


def _in_english_form(text: str, language: Language) -> str:
    """With the word and the marks that math-verify knows, and spaces around numbers where the language has none."""
    if language is ENGLISH:
        return text
    if not language.has_spaces:
        text = re.sub(r"(?<=[^\x00-\x7f])(?=[-.(\d])", " ", text)
    text = re.sub(re.escape(language.answer), "answer", text, flags=re.IGNORECASE)
    for own, english in ((language.full_stop, "."), (language.comma, ","), (language.colon, ":")):
        text = text.replace(own, english)
    return text


def letter_equality(language: Language = ENGLISH) -> IsRight:
    """The text's letter is that of a gold; as many letters are looked for as there are choices."""

    def is_right(doc: Doc, text: str) -> bool:
        found = find_letter(text, len(doc.choices), language)
        return found is not None and any(find_letter(gold, len(doc.choices), language) == found for gold in doc.golds)

    return is_right


def extractive_match(name: str, is_right: IsRight) -> Metric:
    """1 if the greedy text is right."""

    def sample(doc: Doc, response: GenerateResponse) -> dict[str, float]:
        return {"extractive_match": float(is_right(doc, response.texts[0]))}

    return Metric(name=name, ask=Ask.GENERATION, sample=sample, corpus={"extractive_match": MEAN})


METRICS = (
    extractive_match("expr_gold_metric", math_equality(("expr",))),
    extractive_match("latex_gold_metric", math_equality(("latex",))),
    # OlympiadBench's own
    extractive_match("extractive_match", math_equality(("expr", "latex"), ("expr", "latex"), precision=6)),
    extractive_match("gpqa_instruct_metric", letter_equality()),
    # the multilingual tasks make these by language
    *(
        extractive_match(f"extractive_match_expr_{name}", math_equality(("expr",), ("expr",), precision=6, language=language))
        for name, language in LANGUAGES.items()
    ),
    *(extractive_match(f"extractive_match_indices_{name}", letter_equality(language)) for name, language in LANGUAGES.items()),
)
