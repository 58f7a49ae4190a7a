"""A generated text against the accepted answers: exact, prefix and suffix matches and overlap of words."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from pytest_lighteval.common.statistics import MEAN
from pytest_lighteval.metrics import normalizers
from pytest_lighteval.types import Ask, Doc, GenerateResponse, Metric

Normalize = Callable[[str], str | None]
"""A text's form for comparison. None: it has no answer."""

Compare = Literal["full", "prefix", "suffix"]


def unchanged(text: str) -> str:
    """The text itself."""
    return text


def is_match(
    gold: str,
    prediction: str,
    *,
    compare: Compare = "full",
    gold_normalizer: Normalize = unchanged,
    prediction_normalizer: Normalize = unchanged,
    strip: bool = False,
) -> bool:
    """Do the two agree? An empty prediction and a text without an answer agree with nothing."""
    if not prediction:
        return False
    right = gold_normalizer(gold.strip() if strip else gold)
    given = prediction_normalizer(prediction.strip() if strip else prediction)
    if right is None or given is None:
        return False
    if compare == "full":
        return right == given
    return given.startswith(right) if compare == "prefix" else given.endswith(right)


def best_over_golds(
    name: str, reported: str, score: Callable[[str, str], float], *, extract: Callable[[str], str | None] | None = None
) -> Metric:
    """A metric of one greedy text: the best `score(gold, text)` over the accepted answers. `extract`: a text's answer, for a reader."""

    def sample(doc: Doc, response: GenerateResponse) -> dict[str, float]:
        return {reported: max(float(score(gold, text)) for text in response.texts[:1] for gold in doc.golds)}

    return Metric(
        name=name,
        ask=Ask.GENERATION,
        sample=sample,
        corpus={reported: MEAN},
        extract=None if extract is None else lambda doc, text: extract(text),
    )


def word_f1(gold: str, prediction: str) -> float:
    """Harmonic mean of precision and recall over the *sets* of words (repeated words count once), 0 without a common one."""
    right, given = set(gold.split()), set(prediction.split())
    return 2 * len(right & given) / (len(right) + len(given)) if right and given else 0.0


def _quasi(name: str, reported: str, normalizer: Normalize, *, compare: Compare = "full", strip: bool = True) -> Metric:
    score = partial(is_match, compare=compare, gold_normalizer=normalizer, prediction_normalizer=normalizer, strip=strip)
    finds_an_answer = normalizer in (normalizers.gsm8k, normalizers.math)
    return best_over_golds(name, reported, score, extract=normalizer if finds_an_answer else None)


METRICS = (
    best_over_golds("exact_match", "em", partial(is_match, strip=True)),
    best_over_golds("perfect_exact_match", "perfect_em", is_match),
    best_over_golds("prefix_exact_match", "pem", partial(is_match, compare="prefix", strip=True)),
    _quasi("quasi_exact_match", "qem", normalizers.helm),
    _quasi("prefix_quasi_exact_match", "pqem", normalizers.helm, compare="prefix", strip=False),
    _quasi("quasi_exact_match_gsm8k", "qem", normalizers.gsm8k),
    _quasi("quasi_exact_match_math", "qem", normalizers.math),
    # the accepted answers are normalized in the data set
    best_over_golds("quasi_exact_match_triviaqa", "qem", partial(is_match, prediction_normalizer=normalizers.triviaqa, strip=True)),
    best_over_golds("f1_score", "f1", word_f1),
    best_over_golds("f1_score_quasi", "f1_score_quasi", lambda gold, text: word_f1(normalizers.helm(gold), normalizers.helm(text))),
)
