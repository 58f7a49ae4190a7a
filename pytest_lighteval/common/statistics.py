"""Aggregates of document values and their standard errors.

The mean's error is the sample standard deviation / sqrt n, or cluster-robust if documents share a source. The error of any other aggregate
is bootstrapped: the standard deviation of the aggregate over resampled documents (or clusters). Deterministic for a seed; no global state.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_lighteval.types import CorpusMetric, MetricResult, SampleValue, TaskResult

PADDING = -1
"""Fills up a row of resampled indices whose clusters have fewer documents than those of another row."""

_CELLS_AT_ONCE = 8_000_000
"""Resampled cells held in memory at a time: 64 MB as float64."""


def mean(values: Sequence[float]) -> float:
    """The plain mean, summed exactly. NaN for no values."""
    return math.fsum(values) / len(values) if values else math.nan


MEAN = CorpusMetric(aggregate=mean, higher_is_better=True, range=(0.0, 1.0))
"""The aggregate of most metrics: the mean of scores between 0 and 1."""


def aggregate(values: Sequence[SampleValue], corpus: CorpusMetric) -> float:
    """The reported number. `values` has the scored documents only and is not empty."""
    return float(corpus.aggregate(values))


def standard_error(
    values: Sequence[SampleValue],
    corpus: CorpusMetric,
    *,
    clusters: Sequence[str | None] | None = None,
    seed: int = 0,
    draws: int = 1000,
) -> float | None:
    """The standard error of `aggregate(values, corpus)`.

    Args:
        values: one for each scored document.
        corpus: if `is_mean`, the formula is used, otherwise the bootstrap.
        clusters: one for each value. Documents with the same name are not independent; None is a cluster of its own. The error of a mean
            is then the cluster-robust one of Miller 2024 (arXiv:2411.00640, section 2.2), with the usual factor G / (G - 1) for G
            clusters. It equals the plain formula if every cluster has one document, and stays the same if every document is entered
            twice. A bootstrap draws whole clusters.
        seed: seed of the bootstrap.
        draws: number of resamples.

    Returns:
        None if it is unknown: fewer than two documents or clusters, or a resample whose aggregate is not a number.
    """
    groups = _members(clusters, len(values))
    if len(groups) < 2:
        return None
    if corpus.is_mean:
        scores = np.asarray(values, dtype=np.float64)
        errors = scores - scores.mean()
        sums = np.asarray([errors[members].sum() for members in groups]) if clusters is not None else errors
        return _finite(math.sqrt(float(sums @ sums) * len(groups) / (len(groups) - 1)) / len(values))
    rng = np.random.Generator(np.random.PCG64(seed))
    picked = rng.integers(0, len(groups), size=(draws, len(groups)), dtype=np.int32)
    indices = picked if clusters is None else _expand(picked, groups)
    with np.errstate(all="ignore"):
        if corpus.bootstrap is not None:
            resampled = np.asarray(corpus.bootstrap(values, indices), dtype=np.float64)
        else:
            resampled = np.asarray([corpus.aggregate([values[index] for index in used(row)]) for row in indices], dtype=np.float64)
        return _finite(float(resampled.std(ddof=1)))


def used(row: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.integer[Any]]:
    """One row of resampled indices without its padding."""
    kept: npt.NDArray[np.integer[Any]] = row[row != PADDING]
    return kept


def resampled_sums(statistics: npt.ArrayLike, indices: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float64]:
    """Sums of the documents' statistics in each resample, in bounded memory.

    Args:
        statistics: `[n, k]`, k numbers for each of n documents.
        indices: `[draws, m]`, documents of each resample; -1 is padding and adds nothing.

    Returns:
        `[draws, k]`.
    """
    table = np.asarray(statistics, dtype=np.float64)
    sums = np.empty((len(indices), table.shape[1]))
    for block in _blocks(len(indices), width=len(table)):
        counts = np.stack([np.bincount(used(row), minlength=len(table)) for row in indices[block]])
        sums[block] = counts.astype(np.float64) @ table
    return sums


def _blocks(rows: int, *, width: int) -> Iterator[slice]:
    step = max(1, _CELLS_AT_ONCE // max(1, width))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _members(clusters: Sequence[str | None] | None, count: int) -> Sequence[Any]:
    """The documents of each cluster, in order of first appearance; without clusters, one each."""
    if clusters is None:
        return range(count)
    by_name: dict[object, list[int]] = {}
    for index, (_, name) in enumerate(zip(range(count), clusters, strict=True)):
        by_name.setdefault(index if name is None else name, []).append(index)
    return list(by_name.values())


def _expand(picked: npt.NDArray[np.int32], groups: Sequence[Sequence[int]]) -> npt.NDArray[np.int32]:
    """Rows of cluster numbers -> rows of document numbers, padded to the longest."""
    flat = np.concatenate([np.asarray(members, dtype=np.int32) for members in groups])
    sizes = np.asarray([len(members) for members in groups])
    starts = np.cumsum(sizes) - sizes
    lengths = sizes[picked].sum(axis=1)
    indices = np.full((len(picked), int(lengths.max())), PADDING, dtype=np.int32)
    for row, (chosen, length) in enumerate(zip(picked, lengths, strict=True)):
        repeated = sizes[chosen]
        within = np.arange(length) - np.repeat(np.cumsum(repeated) - repeated, repeated)
        indices[row, :length] = flat[np.repeat(starts[chosen], repeated) + within]
    return indices


def _finite(error: float) -> float | None:
    return error if math.isfinite(error) else None


def mean_of_runs(runs: Sequence[TaskResult]) -> dict[str, MetricResult]:
    """The metrics of several runs of one task over the same documents: the means of the values; the error is that of one run.

    Only metrics that every run reports; not empty.
    """
    shared = [name for name in runs[-1].metrics if all(name in run.metrics for run in runs)]
    return {name: _mean_metric([run.metrics[name] for run in runs]) for name in shared}


def _mean_metric(numbers: Sequence[MetricResult]) -> MetricResult:
    errors = [number.stderr for number in numbers if number.stderr is not None]
    return replace(
        numbers[-1],
        value=mean([number.value for number in numbers]),
        stderr=math.sqrt(mean([error**2 for error in errors])) if len(errors) == len(numbers) else None,
    )
