"""Whether the numbers of a baseline belong together: the digest of its scores and ids, and the values that are their means."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_lighteval.baselines.importers.names import HARNESS
from pytest_lighteval.baselines.model import BaselineTask, Repeated

_SHOWN = 0.5e-4
"""The most by which a mean may differ from the value that stands for it: half of the last digit that tables have."""
_ROUNDING = 1e-9
_EXACT = 2**53
_BY_HAND = "the file was changed by hand or merged"


def mean_of(rows: tuple[Repeated, ...]) -> float | None:
    """The mean over a metric's repeats of the mean over its rows. None: a value is no number, or a repeat has no score."""
    means = []
    for repeat in zip(*rows, strict=True):
        scores = [value for value in repeat if value is not None]
        if not scores or not all(isinstance(value, (int, float)) and math.isfinite(value) for value in scores):
            return None
        means.append(math.fsum(value for value in scores if not isinstance(value, tuple)) / len(scores))
    return math.fsum(means) / len(means) if means else None


def mean_metrics(task: BaselineTask) -> frozenset[str]:
    """The metrics whose reported value is the mean of their scores."""
    return frozenset(name for name, metric in task.metrics.items() if is_value_of(metric.value, mean_of(task.scores[name])))


def is_value_of(value: float, mean: float | None) -> bool:
    """Whether a value is the mean, to the digits that it is written with."""
    if mean is None or not math.isfinite(value):
        return False
    _, _, digits = repr(float(value)).partition(".")
    written = 0.5 * 10.0 ** -len(digits) if digits.isdecimal() else 0.0
    return abs(value - mean) <= min(written, _SHOWN) + _ROUNDING * max(1.0, abs(mean))


def score_digest(task: BaselineTask, means: frozenset[str]) -> str:
    """SHA-256 over the ids, the scores, the soft scores if there are any, and what is said of each metric.

    A value that is a mean is checked against its scores instead.
    """
    content = {
        "ids": task.ids,
        "few_shot_seeds": task.few_shot_seeds,
        "repeats": task.repeats,
        "metrics": {
            name: [metric.higher_is_better, metric.n, "mean" if name in means else str(float(metric.value))]
            for name, metric in task.metrics.items()
        },
        "scores": {name: [_same(value) for row in rows for value in row] for name, rows in task.scores.items()},
    }
    if task.soft:
        content["soft"] = {name: [number for row in rows for number in row] for name, rows in task.soft.items()}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _same(value: Any) -> Any:
    """The value as JSON has it whoever wrote it: 1 and 1.0 are one number."""
    if isinstance(value, (tuple, list)):
        return [_same(member) for member in value]
    if type(value) is int and abs(value) < _EXACT:
        return float(value)
    return value


def problems(task: BaselineTask, *, documents: int | None, digest: str | None, means: frozenset[str] | None) -> Iterator[tuple[str, str]]:
    """What contradicts itself in a task that was read: the field and the problem.

    `documents`: the number that the file states. None: it states none.
    `digest`, `means`: those of the file. None: it is of version 1, which had none; then a value that looks like a mean is checked.
    """
    if task.prompt_digests is not None:
        for field, fact in (("version", task.version), ("dataset_fingerprint", task.dataset_fingerprint)):
            # the harness's files have its prompts, and no digest of its data
            if fact is None and (field, task.key.suite) != ("dataset_fingerprint", HARNESS):
                yield field, "is null, which only an imported baseline without prompts may have"
    if documents is not None and documents != task.documents:
        yield "documents", f"{documents} is not possible; packed.ids names {task.documents}"
    if not 0 <= task.num_truncated <= len(task.ids):
        yield "truncated", f"{task.num_truncated} of {len(task.ids)} rows is not possible"
    for name, number, least, most in (
        ("max_samples", task.max_samples, 1, sys.maxsize),
        ("effective_few_shots", task.effective_few_shots, 0, sys.maxsize),
        ("cut_share", task.cut_share, 0, 1 + _ROUNDING),
    ):
        if number is not None and not least <= number <= most:
            yield name, f"{number:g} is not possible"
    for name, metric in task.metrics.items():
        rows = task.scores[name]
        # a bool is an int
        if any(isinstance(value, (str, bool)) for row in rows for value in row):
            yield f"packed.scores.{name}", "a score is a number, or a tuple of what the metric needs"
            return
        # with a digest the number cannot be changed by hand
        if metric.n < 0 or (digest is None and metric.n > task.documents):
            yield f"metrics.{name}.n", f"{metric.n} of {task.documents} documents is not possible"
        mean = mean_of(rows)
        is_mean = name in means if means is not None else task.prompt_digests is not None and _looks_like_mean(metric.value, rows, mean)
        if is_mean and not is_value_of(metric.value, mean):
            told = "no mean" if mean is None else f"{mean:.10g}"
            yield f"metrics.{name}.value", f"{metric.value:.10g} is not the mean of packed.scores, {told}; {_BY_HAND}"
    if digest is not None and means is not None and digest != score_digest(task, means):
        yield "score_digest", f"is not that of the scores and ids; {_BY_HAND}"


def _looks_like_mean(value: float, rows: tuple[Repeated, ...], mean: float | None) -> bool:
    """For version 1: all numbers, and not the largest or the smallest of graded ones, as the metrics of copied text report them."""
    if mean is None:
        return False
    scores = [float(score) for row in rows for score in row if score is not None and not isinstance(score, tuple)]
    return {*scores} <= {0.0, 1.0} or value not in (max(scores), min(scores))


def only_known(names: Mapping[str, Any], means: object) -> frozenset[str] | None:
    """The metrics that a file calls means. None: it is no list of its metrics."""
    if not isinstance(means, list) or not all(isinstance(name, str) and name in names for name in means):
        return None
    return frozenset(means)
