"""Metrics whose answers a model judges: what becomes of its verdicts. How it is asked, and its replies are read, is in `graders`.

A mark's value is what the verdicts on one text say together: a number in the metric's unit; of SimpleQA the shares of the three grades; of
Humanity's Last Exam whether the answer is right, and the confidence that the model stated. Without a verdict it is None.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_lighteval.common.statistics import mean, resampled_sums
from pytest_lighteval.errors import NotJudgedError
from pytest_lighteval.types import Ask, CorpusMetric, Doc, Grade, JudgeSpec, Metric, SampleValue

ANCHORED = "_anchored"
"""The end of the name of a score that people's verdicts correct (`--judge-anchors`)."""
_SHARE = CorpusMetric(aggregate=mean, higher_is_better=True, range=(0.0, 1.0))


def _mean(low: float, high: float) -> CorpusMetric:
    return CorpusMetric(aggregate=mean, higher_is_better=True, range=(low, high))


def _with_anchored(corpus: Mapping[str, CorpusMetric], names: Sequence[str]) -> dict[str, CorpusMetric]:
    """The same, and of these names what people's verdicts make of it; such values are on no scale, and only in runs with anchors."""
    # a document with a person's verdict stands for others too, so its value may be outside of the scale
    anchored = {name + ANCHORED: CorpusMetric(aggregate=mean, higher_is_better=corpus[name].higher_is_better) for name in names}
    return {**corpus, **anchored}


def _verdicts(grade: Grade) -> list[Any]:
    """The values of a document's marks. Raises NotJudgedError if one of them is missing."""
    lacking = [mark.outcome for mark in grade.marks if mark.value is None]
    if lacking:
        raise NotJudgedError(f"the judge's verdict is {lacking[0]}")
    return [mark.value for mark in grade.marks]


def _judged(
    name: str,
    ask: Ask,
    sample: Callable[[Doc, Grade], dict[str, SampleValue | None]],
    corpus: Mapping[str, CorpusMetric],
    *,
    optional: Sequence[str] = (),
) -> Metric:
    """The metric; a number that people's verdicts correct is that of the document, as the grader says it."""
    anchored = [reported for reported in corpus if reported.endswith(ANCHORED)]

    def sampled(doc: Doc, grade: Grade) -> dict[str, SampleValue | None]:
        values = sample(doc, grade)
        known = next((mark.facts["anchored"] for mark in grade.marks if "anchored" in mark.facts), None)
        return values if known is None else {**values, **dict.fromkeys(anchored, float(known))}

    return Metric(
        name=name,
        ask=ask,
        sample=sampled,
        corpus=corpus,
        grader="judge",
        optional=frozenset((*anchored, *optional)),
        judges_answers=False,
    )


def _number(name: str, reported: str, low: float, high: float, *, ask: Ask = Ask.GENERATION) -> Metric:
    def sample(doc: Doc, grade: Grade) -> dict[str, SampleValue | None]:
        return {reported: mean([float(value) for value in _verdicts(grade)])}

    corpus = _with_anchored({reported: _mean(low, high)}, [reported])
    return _judged(name, ask, sample, corpus)


def _by_turn(name: str, turns: Sequence[str], low: float, high: float, *, together: str | None = None) -> Metric:
    """A number for each turn, None for a turn without a verdict; and `together`, the mean of the turns that have one."""

    def sample(doc: Doc, grade: Grade) -> dict[str, SampleValue | None]:
        values = [None if mark.value is None else float(mark.value) for mark in grade.marks]
        known = [value for value in values if value is not None]
        if not known:
            raise NotJudgedError(f"the judge's verdict is {grade.marks[0].outcome}")
        found: dict[str, SampleValue | None] = dict(zip(turns, values, strict=False))
        found |= dict.fromkeys(turns[len(values) :])
        return found | ({together: mean(known)} if together is not None else {})

    names = (*turns, *((together,) if together is not None else ()))
    corpus = _with_anchored(dict.fromkeys(names, _mean(low, high)), [together] if together is not None else [])
    return _judged(name, Ask.TURNS, sample, corpus)


# ------------------------------------------------------------------------------------------------------- SimpleQA


def _attempted(values: Sequence[Any]) -> float:
    """Of the attempted answers, those that are right. NaN: none was attempted."""
    right, wrong = (math.fsum(value[place] for value in values) for place in (0, 1))
    return right / (right + wrong) if right + wrong else math.nan


def _f1(values: Sequence[Any]) -> float:
    """The harmonic mean of accuracy given attempted and accuracy (simple-evals, `simpleqa_eval.py`); 0 if nothing is right."""
    right, wrong = (math.fsum(value[place] for value in values) for place in (0, 1))
    return 2 * right / (right + wrong + len(values)) if values else math.nan


def _resampled_attempted(values: Sequence[Any], indices: Any) -> npt.NDArray[np.float64]:
    sums = resampled_sums(values, indices)
    attempted: npt.NDArray[np.float64] = sums[:, 0] / sums[:, :2].sum(axis=1)
    return attempted


def _resampled_f1(values: Sequence[Any], indices: Any) -> npt.NDArray[np.float64]:
    sums = resampled_sums([[*value[:2], 1.0] for value in values], indices)
    f1: npt.NDArray[np.float64] = 2 * sums[:, 0] / sums.sum(axis=1)
    return f1


def _simpleqa(doc: Doc, grade: Grade) -> dict[str, SampleValue | None]:
    ((right, wrong, neither),) = _verdicts(grade)
    shares = (right, wrong, neither)
    return {
        "simpleqa_judge": right,
        "is_incorrect": wrong,
        "is_not_attempted": neither,
        "accuracy_given_attempted": shares,
        "f1": shares,
    }


_LOWER = CorpusMetric(aggregate=mean, higher_is_better=False, range=(0.0, 1.0))

_SIMPLEQA: Mapping[str, CorpusMetric] = {
    "simpleqa_judge": _SHARE,
    "is_incorrect": _LOWER,
    "is_not_attempted": _LOWER,
    "accuracy_given_attempted": CorpusMetric(
        aggregate=_attempted, higher_is_better=True, range=(0.0, 1.0), is_mean=False, bootstrap=_resampled_attempted
    ),
    "f1": CorpusMetric(aggregate=_f1, higher_is_better=True, range=(0.0, 1.0), is_mean=False, bootstrap=_resampled_f1),
}

# -------------------------------------------------------------------------------------------- Humanity's Last Exam

_BIN = 100
"""Documents in a bin of the calibration error, sorted by confidence; the last bin has the rest."""


def calibration_error(values: Sequence[Any]) -> float:
    """The root mean square difference between confidence and accuracy over bins of 100 documents, both from 0 to 1.

    Documents are sorted by confidence, equal ones keep their order; every bin counts by its size, the last one too. Documents whose answer
    states no confidence are left out. NaN: there are none others.
    """
    stated = sorted(((confidence, right) for right, confidence in values if confidence is not None), key=lambda pair: pair[0])
    if not stated:
        return math.nan
    total = 0.0
    starts = range(0, max(1, len(stated) - _BIN + 1), _BIN)
    for start in starts:
        part = stated[start:] if start == starts[-1] else stated[start : start + _BIN]
        gap = math.fsum(confidence for confidence, _ in part) / len(part) - math.fsum(right for _, right in part) / len(part)
        total += len(part) * gap**2
    return math.sqrt(total / len(stated))


def _hle(doc: Doc, grade: Grade) -> dict[str, SampleValue | None]:
    """The calibration error only where the prompt asks for a confidence (`specific.asks_confidence`)."""
    ((right, confidence),) = _verdicts(grade)
    values: dict[str, SampleValue | None] = {"accuracy": right}
    if doc.specific.get("asks_confidence"):
        values["calibration_error"] = (right, confidence)
    return values


def lighteval_calibration(values: Sequence[Any]) -> float:
    """Lighteval v0.9.2's number: confidences of 0 to 100 against an accuracy of 0 to 1, without the last bin; -1 below 100 documents."""
    n = len(values)
    if n < _BIN:
        return -1.0
    order = np.argsort(np.asarray([100 * confidence for _, confidence in values]))
    confidences = np.asarray([100 * confidence for _, confidence in values])[order]
    right = np.asarray([value for value, _ in values], dtype=np.float64)[order]
    starts = range(0, n - n % _BIN, _BIN)
    bins = [(start, start + _BIN) for start in starts]
    bins[-1] = (bins[-1][0], n)
    error = 0.0
    for start, end in bins[:-1]:
        gap = abs(np.nanmean(confidences[start:end]) - np.nanmean(right[start:end]))
        error += (end - start) / n * gap**2
    return round(float(np.sqrt(error)), 2)


def _percent(values: Sequence[Any]) -> float:
    return round(100 * math.fsum(right for right, _ in values) / len(values), 2)


def _half_width(values: Sequence[Any]) -> float:
    accuracy = _percent(values)
    return round(1.96 * math.sqrt(accuracy * (100 - accuracy) / len(values)), 2)


def _hle_lighteval(doc: Doc, grade: Grade) -> dict[str, SampleValue | None]:
    ((right, confidence),) = _verdicts(grade)
    # the reference's judge always gives one; 100 is what it is told to write where there is none
    pair = (right, 1.0 if confidence is None else confidence)
    return dict.fromkeys(("accuracy", "confidence_half_width", "calibration_error"), pair)


METRICS = (
    _by_turn("mt_bench", ("mt_bench_turn_1", "mt_bench_turn_2"), 1, 10, together="mt_bench"),
    _by_turn("judge_score_turn_1+judge_score_turn_2", ("judge_score_turn_1", "judge_score_turn_2"), 0, 9),
    _number("llm_judge_mixeval_flow", "judge_score_flow", 0, 1),
    _number("llm_judge_mixeval_flow#1", "judge_score_flow", 0, 1),
    _number("llm_judge_mixeval_gpt3", "judge_score_gpt-3.5", 0, 1),
    _number("llm_judge_mixeval_gpt3#1", "judge_score_gpt-3.5", 0, 1),
    _number("llm_as_judge", "llm_as_judge", 0, 1),
    _judged("simpleqa_judge", Ask.GENERATION, _simpleqa, _with_anchored(_SIMPLEQA, ["simpleqa_judge"])),
    _judged(
        "hle_metrics",
        Ask.GENERATION,
        _hle,
        _with_anchored(
            {
                "accuracy": _SHARE,
                "calibration_error": CorpusMetric(aggregate=calibration_error, higher_is_better=False, range=(0.0, 1.0), is_mean=False),
            },
            ["accuracy"],
        ),
        optional=["calibration_error"],
    ),
    _judged(
        "hle_metrics_lighteval",
        Ask.GENERATION,
        _hle_lighteval,
        {
            "accuracy": CorpusMetric(aggregate=_percent, higher_is_better=True, range=(0.0, 100.0), is_mean=False),
            "confidence_half_width": CorpusMetric(aggregate=_half_width, higher_is_better=False, is_mean=False),
            "calibration_error": CorpusMetric(aggregate=lighteval_calibration, higher_is_better=False, is_mean=False),
        },
    ),
    _number("win_rate", "win_rate", 0, 1),
    _number("win_rate_turns", "win_rate", 0, 1, ask=Ask.TURNS),
)


def own_metric(spec: JudgeSpec) -> Metric:
    """The metric of a suite file's own judge: the mean of its verdicts over the turns."""
    low, high = spec.scale
    return _number(spec.name, spec.name, low, high, ask=Ask.TURNS if spec.turns else Ask.GENERATION)
