"""F1 scores and Matthews correlation of predicted labels over a corpus: by scikit-learn, but from label counts in bootstraps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_lighteval.common.statistics import used
from pytest_lighteval.metrics.libraries import load
from pytest_lighteval.metrics.loglikelihood import best_choice
from pytest_lighteval.types import Ask, CorpusMetric, Doc, GenerateResponse, LoglikelihoodResponse, Metric

Label = str | int
Labelled = tuple[Label, tuple[Label, ...]]
"""What was predicted, and what is right."""

Counts = npt.NDArray[np.float64]
"""One number a label."""

FromCounts = Callable[[Counts, Counts, Counts], float]
"""For each label, how often it was predicted rightly, was predicted, and was right -> the score."""

BySklearn = Callable[[list[Label], list[Label]], float]
"""Right labels, predicted labels -> the score."""


def _pairs(values: Sequence[Labelled]) -> tuple[list[Label], list[Label]]:
    """The right labels and the predicted ones. Of several right ones the predicted one counts if it is among them, else the first."""
    return [given if given in golds else golds[0] for given, golds in values], [given for given, _ in values]


def _class_f1(right: Counts, predicted: Counts, actual: Counts) -> Counts:
    total = predicted + actual
    return np.divide(2 * right, total, out=np.zeros_like(total), where=total > 0)


def _macro(right: Counts, predicted: Counts, actual: Counts) -> float:
    return float(_class_f1(right, predicted, actual)[predicted + actual > 0].mean())


def _micro(right: Counts, predicted: Counts, actual: Counts) -> float:
    return float(right.sum() / actual.sum())


def _best(right: Counts, predicted: Counts, actual: Counts) -> float:
    return float(_class_f1(right, predicted, actual).max())


def _matthews(right: Counts, predicted: Counts, actual: Counts) -> float:
    """The multi-class coefficient (Gorodkin 2004); 0 where only one label was predicted or was right."""
    count = actual.sum()
    spread = (count**2 - predicted @ predicted) * (count**2 - actual @ actual)
    return float((right.sum() * count - predicted @ actual) / np.sqrt(spread)) if spread > 0 else 0.0


def _labels_corpus(
    by_sklearn: BySklearn, from_counts: FromCounts, *, labels: Sequence[Label] | None = None, least: float = 0.0
) -> CorpusMetric:
    """`labels`: the counted ones, in order, where absent ones count too. None: those that occur. `least`: of the score; the most is 1."""

    def aggregate(values: Sequence[Labelled]) -> float:
        return by_sklearn(*_pairs(values))

    def bootstrap(values: Sequence[Labelled], indices: Any) -> npt.NDArray[np.float64]:
        golds, given = _pairs(values)
        numbers = {label: number for number, label in enumerate(dict.fromkeys([*(labels or ()), *golds, *given]))}
        counted = len(labels) if labels is not None else len(numbers)
        actual = np.asarray([numbers[label] for label in golds])
        predicted = np.asarray([numbers[label] for label in given])

        def count(chosen: npt.NDArray[np.int64]) -> Counts:
            return np.bincount(chosen, minlength=len(numbers))[:counted].astype(np.float64)

        scores = []
        for row in indices:
            a, p = actual[used(row)], predicted[used(row)]
            scores.append(from_counts(count(a[a == p]), count(p), count(a)))
        return np.asarray(scores)

    return CorpusMetric(aggregate=aggregate, higher_is_better=True, range=(least, 1.0), is_mean=False, bootstrap=bootstrap)


def _f1(average: str) -> BySklearn:
    def score(golds: list[Label], given: list[Label]) -> float:
        return float(load("sklearn.metrics", "scikit-learn").f1_score(golds, given, average=average, zero_division=0.0))

    return score


def _best_f1(golds: list[Label], given: list[Label]) -> float:
    return float(load("sklearn.metrics", "scikit-learn").f1_score(golds, given, average=None, zero_division=0.0).max())


def _three_class_f1(golds: list[Label], given: list[Label]) -> float:
    f1_score = load("sklearn.metrics", "scikit-learn").f1_score
    return float(f1_score(golds, given, labels=[0, 1, 2], average="macro", zero_division=0.0))


def _three_class_mean(right: Counts, predicted: Counts, actual: Counts) -> float:
    return float(_class_f1(right, predicted, actual).mean())


def _sklearn_matthews(golds: list[Label], given: list[Label]) -> float:
    if len({*golds, *given}) == 1:
        return 0.0  # scikit-learn's value too, which it gives with a warning
    return float(load("sklearn.metrics", "scikit-learn").matthews_corrcoef(golds, given))


def _of_text(name: str, reported: str, corpus: CorpusMetric) -> Metric:
    def sample(doc: Doc, response: GenerateResponse) -> dict[str, Labelled]:
        return {reported: (response.texts[0], doc.golds)}

    return Metric(name=name, ask=Ask.GENERATION, sample=sample, corpus={reported: corpus})


def _of_choices(name: str, reported: str, corpus: CorpusMetric, *, first_gold: bool = False) -> Metric:
    """`first_gold`: of several right choices only the first one counts."""

    def sample(doc: Doc, response: LoglikelihoodResponse) -> dict[str, Labelled]:
        return {reported: (best_choice(response.logprobs), doc.gold[:1] if first_gold else doc.gold)}

    return Metric(name=name, ask=Ask.CHOICES, sample=sample, corpus={reported: corpus})


_BEST_F1 = _labels_corpus(_best_f1, _best)
_MATTHEWS = _labels_corpus(_sklearn_matthews, _matthews, least=-1.0)

METRICS = (
    # both are called f1 in Lighteval, where a task that lists them reports the last one only
    _of_text("f1_score_macro", "f1_macro", _labels_corpus(_f1("macro"), _macro)),
    _of_text("f1_score_micro", "f1_micro", _labels_corpus(_f1("micro"), _micro)),
    _of_choices("loglikelihood_f1", "loglikelihood_f1", _BEST_F1),
    _of_choices("loglikelihood_f1_single_token", "loglikelihood_f1", _BEST_F1, first_gold=True),
    _of_choices("multi_f1_numeric", "mf1", _labels_corpus(_three_class_f1, _three_class_mean, labels=(0, 1, 2)), first_gold=True),
    _of_choices("mcc", "mcc", _MATTHEWS),
    _of_choices("mcc_single_token", "mcc", _MATTHEWS),
)
