"""Floors and ceilings: compares the scores of a task or superset with their thresholds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_lighteval.errors import UserInputError, did_you_mean
from pytest_lighteval.types import ESTIMATES, GateSpec, MetricResult, TaskResult, Verdict

MOST_NOT_JUDGED = 0.05
"""The largest share of documents on which a metric may give up, if its score is to meet a threshold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotJudged:
    """Documents on which a metric gave up: a score of the others alone may be better than the model."""

    text: str
    """How many, in words."""
    is_too_many: bool


def not_judged(results: Sequence[TaskResult], *, way_out: str, is_allowed: bool) -> dict[str, NotJudged]:
    """By reported name, the documents that the metrics of these results left out; absent if there are none.

    `way_out`: the option with which the user allows any number of them, which `is_allowed` says that he did.
    """
    counts: dict[str, int] = {}
    for result in results:
        for name, count in result.not_judged.items():
            counts[name] = counts.get(name, 0) + count
    documents = sum(len({document.id for document in result.documents}) for result in results)
    found = {}
    for name, count in counts.items():
        is_too_many = count > MOST_NOT_JUDGED * documents and not is_allowed
        more = f"; at most {MOST_NOT_JUDGED:.0%} may be ({way_out})" if is_too_many else ""
        found[name] = NotJudged(text=f"{count} of {documents} documents not judged{more}", is_too_many=is_too_many)
    return found


def judge(
    result_metrics: Mapping[str, MetricResult],
    gates: Mapping[str, GateSpec],
    *,
    key: str,
    unfit: str | None = None,
    attempts: int = 1,
    not_judged: Mapping[str, NotJudged] | None = None,
) -> tuple[Verdict, ...]:
    """One verdict for each metric of a task or superset that has a threshold, in the order of the gates.

    A score that is not a number fails every threshold. Every score fails if `unfit` says what is wrong with the scores. `attempts`: of how
    many attempts the scores are the means. `not_judged`: by metric, the documents that its score leaves out; it fails where they are too
    many. Raises UserInputError for a gate on a metric that is not reported.
    """
    verdicts = []
    for metric, gate in gates.items():
        if gate.is_floor:
            verdict = _judge(result_metrics, metric, gate, key, unfit)
            if not_judged and (left_out := not_judged.get(metric)) is not None:
                outcome = "failed" if left_out.is_too_many else verdict.outcome
                verdict = replace(verdict, message=f"{verdict.message}, {left_out.text}", outcome=outcome)
            verdicts.append(verdict)
    if attempts > 1:
        verdicts = [replace(verdict, message=f"{verdict.message}, the mean of {attempts} attempts") for verdict in verdicts]
    return tuple(verdicts)


def _judge(result_metrics: Mapping[str, MetricResult], metric: str, gate: GateSpec, key: str, unfit: str | None) -> Verdict:
    if metric not in result_metrics:
        known = ", ".join(result_metrics) or "none"
        hint = "; it needs --tiny-parameters FILE and all documents" if metric in ESTIMATES else did_you_mean(metric, result_metrics)
        raise UserInputError(f"{key}: gate on {metric!r}: no such metric is reported, only {known}{hint}")
    result = result_metrics[metric]
    # a comparison with NaN is false, so NaN fails
    above = gate.min is None or result.value >= gate.min
    below = gate.max is None or result.value <= gate.max
    return Verdict(
        metric=metric,
        outcome="passed" if above and below and unfit is None else "failed",
        message=_message(metric, result, gate, above=above, below=below) + (f", but {unfit}" if unfit else ""),
        value=result.value,
        stderr=result.stderr,
        n=result.n,
        min=gate.min,
        max=gate.max,
    )


def _message(metric: str, result: MetricResult, gate: GateSpec, *, above: bool, below: bool) -> str:
    thresholds = [threshold for threshold in (gate.min, gate.max) if threshold is not None]
    digits = _distinct_digits(result.value, thresholds)

    def number(value: float) -> str:
        return f"{value:.{digits}f}" if abs(value) < 1e9 else f"{value:.{digits + 2}g}"

    def clauses(when_met: bool) -> list[str]:
        """The thresholds that are met, or those that are not."""
        parts = []
        if gate.min is not None and above is when_met:
            parts.append(f"{'at or above' if above else 'below'} the floor {number(gate.min)}")
        if gate.max is not None and below is when_met:
            parts.append(f"{'at or below' if below else 'above'} the ceiling {number(gate.max)}")
        return parts

    score = f"{metric} {number(result.value)}" + ("" if result.stderr is None else f" ± {number(result.stderr)}")
    if math.isnan(result.value):
        bounds = [f"floor {number(gate.min)}"] if gate.min is not None else []
        bounds += [f"ceiling {number(gate.max)}"] if gate.max is not None else []
        return f"{score} is not a number and so fails the {' and the '.join(bounds)} (n = {result.n})"
    return f"{score} is {' and '.join(clauses(False) or clauses(True))} (n = {result.n})"


def _distinct_digits(value: float, thresholds: Iterable[float]) -> int:
    """Decimals, at least 4, with which a score looks different from each threshold that it differs from."""
    digits = 4
    for threshold in thresholds:
        while digits < 17 and value != threshold and f"{value:.{digits}f}" == f"{threshold:.{digits}f}":
            digits += 1
    return digits
