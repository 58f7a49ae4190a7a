"""Answers found in a generated text and compared by what they mean: mathematical expressions, and letters of multiple choice."""

from __future__ import annotations

import re
from collections.abc import Callable

from pytest_lighteval.common.statistics import MEAN
from pytest_lighteval.metrics import math_process
from pytest_lighteval.metrics.languages import ENGLISH, LANGUAGES, Language
from pytest_lighteval.metrics.letters import find_letter
from pytest_lighteval.metrics.math_process import MathAnswer, Target
from pytest_lighteval.types import Ask, Doc, GenerateResponse, Metric

IsRight = Callable[[Doc, str], bool]
"""Does this text answer the document?"""

Extract = Callable[[Doc, str], str | None]
"""The answer in a text, for a reader. None: there is none."""


def math_equality(
    gold_targets: tuple[Target, ...],
    text_targets: tuple[Target, ...] = ("expr", "latex_boxed_first"),
    *,
    precision: int = 5,
    language: Language = ENGLISH,
) -> IsRight:
    """Equality by math-verify of the text's answer with any gold, numbers rounded to `precision` decimals."""
    compare = _math_comparison(gold_targets, text_targets, precision, language)
    return lambda doc, text: compare(doc, text).equal


def math_answer(
    gold_targets: tuple[Target, ...],
    text_targets: tuple[Target, ...] = ("expr", "latex_boxed_first"),
    *,
    precision: int = 5,
    language: Language = ENGLISH,
) -> Extract:
    """What `math_equality` of the same arguments takes for the text's answer; the comparison is not made twice."""
    compare = _math_comparison(gold_targets, text_targets, precision, language)
    return lambda doc, text: compare(doc, text).found


def _math_comparison(
    gold_targets: tuple[Target, ...], text_targets: tuple[Target, ...], precision: int, language: Language
) -> Callable[[Doc, str], MathAnswer]:
    def compare(doc: Doc, text: str) -> MathAnswer:
        golds = tuple(_in_english_form(gold, language) for gold in doc.golds)
        given = _in_english_form(text, language)
        return math_process.compare(golds, given, gold_targets=gold_targets, text_targets=text_targets, precision=precision)

    return compare


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


def letter_answer(language: Language = ENGLISH) -> Extract:
    """The letter that `letter_equality` finds."""
    return lambda doc, text: find_letter(text, len(doc.choices), language)


def extractive_match(name: str, is_right: IsRight, extract: Extract | None = None) -> Metric:
    """1 if the greedy text is right."""

    def sample(doc: Doc, response: GenerateResponse) -> dict[str, float]:
        return {"extractive_match": float(is_right(doc, response.texts[0]))}

    return Metric(name=name, ask=Ask.GENERATION, sample=sample, corpus={"extractive_match": MEAN}, extract=extract)


METRICS = (
    extractive_match("expr_gold_metric", math_equality(("expr",)), math_answer(("expr",))),
    extractive_match("latex_gold_metric", math_equality(("latex",)), math_answer(("latex",))),
    # OlympiadBench's own
    extractive_match(
        "extractive_match",
        math_equality(("expr", "latex"), ("expr", "latex"), precision=6),
        math_answer(("expr", "latex"), ("expr", "latex"), precision=6),
    ),
    extractive_match("gpqa_instruct_metric", letter_equality(), letter_answer()),
    # the multilingual tasks make these by language
    *(
        extractive_match(
            f"extractive_match_expr_{name}",
            math_equality(("expr",), ("expr",), precision=6, language=language),
            math_answer(("expr",), ("expr",), precision=6, language=language),
        )
        for name, language in LANGUAGES.items()
    ),
    *(
        extractive_match(f"extractive_match_indices_{name}", letter_equality(language), letter_answer(language))
        for name, language in LANGUAGES.items()
    ),
)
