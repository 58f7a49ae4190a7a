"""Answers found in a generated text and compared by what they mean: mathematical expressions, and letters of multiple choice."""

from __future__ import annotations

from collections.abc import Callable

from pytest_lighteval.metrics import math_process
from pytest_lighteval.metrics.letters import LETTERS, find_letter
from pytest_lighteval.metrics.math_process import Target
from pytest_lighteval.statistics import MEAN
from pytest_lighteval.types import Ask, Doc, GenerateResponse, Metric

__all__ = ["METRICS", "IsRight", "is_same_letter", "math_equality"]

IsRight = Callable[[Doc, str], bool]
"""Does this text answer the document?"""


def math_equality(
    gold_targets: tuple[Target, ...], text_targets: tuple[Target, ...] = ("expr", "latex_boxed_first"), *, precision: int = 5
) -> IsRight:
    """Equality by math-verify of the text's answer with any gold, numbers rounded to `precision` decimals."""

    def is_right(doc: Doc, text: str) -> bool:
        return math_process.are_equal(doc.golds, text, gold_targets=gold_targets, text_targets=text_targets, precision=precision)

    return is_right


def is_same_letter(doc: Doc, text: str) -> bool:
    """The text's letter is that of a gold; as many letters are looked for as there are choices."""
    letters = LETTERS[: len(doc.choices)]
    found = find_letter(text, letters)
    return found is not None and any(find_letter(gold, letters) == found for gold in doc.golds)


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
    extractive_match("gpqa_instruct_metric", is_same_letter),
)
