"""A generated text against the accepted answers: exact, prefix and suffix matches and overlap of words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pytest_lighteval.common.statistics import MEAN
from pytest_lighteval.metrics import normalizers
from pytest_lighteval.types import Ask, Doc, GenerateResponse, Metric

Normalize = Callable[[str], str | None]
"""None: nothing that could be an answer was found."""

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
    """Do the two agree? An empty prediction agrees with nothing, and so does a text in which no answer was found."""
    if not prediction:
        return False
    wanted = gold_normalizer(gold.strip() if strip else gold)
    given = prediction_normalizer(prediction.strip() if strip else prediction)
    if wanted is None or given is None:
        return False
    if compare == "full":
        return wanted == given
    return given.startswith(wanted) if compare == "prefix" else given.endswith(wanted)


def best_over_golds(name: str, reported: str, score: Callable[[str, str], float]) -> Metric:
    """A metric of one greedy text: the best `score(gold, text)` over the accepted answers."""

    def sample(doc: Doc, response: GenerateResponse) -> dict[str, float]:
        return {reported: max(float(score(gold, text)) for text in response.texts[:1] for gold in doc.golds)}

    return Metric(name=name, ask=Ask.GENERATION, sample=sample, corpus={reported: MEAN})


def word_f1(gold: str, prediction: str) -> float:
    """Harmonic mean of precision and recall over the *sets* of words (repeated words count once), 0 without a common one."""
    wanted, given = set(gold.split()), set(prediction.split())
    return 2 * len(wanted & given) / (len(wanted) + len(given)) if wanted and given else 0.0


def _exact(
    name: str,
    reported: str,
    *,
    compare: Compare = "full",
    gold_normalizer: Normalize = unchanged,
    prediction_normalizer: Normalize = unchanged,
    strip: bool = False,
) -> Metric:
    def score(gold: str, prediction: str) -> float:
        return is_match(
            gold,
            prediction,
            compare=compare,
            gold_normalizer=gold_normalizer,
            prediction_normalizer=prediction_normalizer,
            strip=strip,
        )

    return best_over_golds(name, reported, score)


def _quasi(name: str, reported: str, normalizer: Normalize, *, compare: Compare = "full", strip: bool = True) -> Metric:
    return _exact(name, reported, compare=compare, gold_normalizer=normalizer, prediction_normalizer=normalizer, strip=strip)


METRICS = (
    _exact("exact_match", "em", strip=True),
    _exact("perfect_exact_match", "perfect_em"),
    _exact("prefix_exact_match", "pem", compare="prefix", strip=True),
    _quasi("quasi_exact_match", "qem", normalizers.helm),
    _quasi("prefix_quasi_exact_match", "pqem", normalizers.helm, compare="prefix", strip=False),
    _quasi("quasi_exact_match_gsm8k", "qem", normalizers.gsm8k),
    _quasi("quasi_exact_match_math", "qem", normalizers.math),
    # the accepted answers come normalized with the data
    _exact("quasi_exact_match_triviaqa", "qem", prediction_normalizer=normalizers.triviaqa, strip=True),
    best_over_golds("f1_score", "f1", word_f1),
    best_over_golds("f1_score_quasi", "f1_score_quasi", lambda gold, text: word_f1(normalizers.helm(gold), normalizers.helm(text))),
)
