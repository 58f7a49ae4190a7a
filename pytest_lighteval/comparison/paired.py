"""Two runs over the same documents, paired: what the tests need of their scores.

A *gain* is candidate - baseline in the better direction (baseline - candidate where lower is better); a *loss* is minus a gain. Knows
scores of documents; knows nothing of tests, thresholds or verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_lighteval.comparison.exchange import Runs
from pytest_lighteval.comparison.sums import FloatArray

_TIE = 1e-9
_CELLS_AT_ONCE = 4_000_000

Repeats = float | Sequence[float]
"""A document's score, or one per repeat."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Paired:
    """Two runs over the same documents, reduced to what the tests need. Made by `pair`."""

    gains: FloatArray
    """One per unit: the sum of the gains of its documents. A unit is a cluster, or a document without one. In order of first appearance."""
    runs: tuple[Runs, ...]
    """The same units with their single runs, by the numbers of runs."""
    n: int
    """Documents."""
    baseline: float
    """Mean score of the documents, in the metric's own direction."""
    candidate: float
    lost: int
    """Documents that score worse than before."""
    won: int
    """Documents that score better."""
    worst: float
    """The most that one unit can lose. With it the bounds stay wide where few units differ, or none.

    Infinite: nobody knows. Then there are no bounds, and no loss can be certified to be small; the test for a loss needs none.
    """
    binary: bool
    """Every unit is one document with one 0/1 score on either side."""

    @property
    def loss(self) -> float:
        """The mean loss of the documents."""
        return -math.fsum(self.gains) / self.n

    @property
    def variance(self) -> float:
        """Variance of the loss times the number of documents, under no true change. It counts one more unit that lost the most possible.

        For 0/1 scores this is the discordance, the share of documents that differ. Where the most possible is unknown, it is what a unit
        changed by.
        """
        unseen = self.worst if math.isfinite(self.worst) else float(np.abs(self.gains).max())
        return float(self.gains @ self.gains + unseen**2) / (self.n + 1)


def pair(
    baseline: Sequence[Repeats],
    candidate: Sequence[Repeats],
    *,
    higher_is_better: bool = True,
    clusters: Sequence[str | None] | None = None,
    most: float | None = None,
) -> Paired:
    """Pair the scores of the same documents, given in the same order.

    Repeats are averaged within their document, then the gains of a cluster are summed.

    Args:
        baseline: one score per document, or a sequence of repeats (their number may differ between documents).
        candidate: the same for the model that is judged.
        higher_is_better: False swaps the sign of the differences.
        clusters: one name per document; documents of one name are not independent. None: the document has no cluster.
        most: the most that one document can lose, infinite if nobody knows; more if one changed by more. None: a guess, for tests and
            plots: 1 if all scores are in 0..1; otherwise twice the largest change, or the range of the scores if nothing changed.

    Raises:
        ValueError: no documents, different numbers of documents, or a score that is not finite.
    """
    if not len(baseline) == len(candidate) > 0:
        raise ValueError(f"{len(baseline)} documents cannot be paired with {len(candidate)}")
    sides = _side(baseline), _side(candidate)
    before, after = (side.means for side in sides)
    gains = after - before if higher_is_better else before - after
    scores = np.concatenate([before, after])
    if not np.all(np.isfinite(scores)):
        raise ValueError("a score is not finite")
    zero_one = bool(np.all((scores == 0) | (scores == 1)))
    # means of the same repeats may differ by rounding
    gains[np.abs(gains) <= 1e-12 * np.maximum(np.abs(before), np.abs(after))] = 0.0
    if most is None:
        most = _most(scores, gains)
    most = max(most, float(np.abs(gains).max()))
    unit_of = unit_numbers(clusters, len(gains))
    units: FloatArray = np.bincount(unit_of, weights=gains).astype(np.float64)
    single = all(side.table.shape[1] == 1 for side in sides)
    return Paired(
        gains=units,
        runs=_runs(*sides, unit_of, 1.0 if higher_is_better else -1.0),
        n=len(gains),
        baseline=math.fsum(before) / len(before),
        candidate=math.fsum(after) / len(after),
        lost=int((gains < 0).sum()),
        won=int((gains > 0).sum()),
        worst=float(most * np.bincount(unit_of).max()),
        binary=zero_one and single and len(units) == len(gains),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """The scores of all documents on one side."""

    table: FloatArray
    """`[documents, runs]`; a document with fewer runs has zeros at the end."""
    counts: npt.NDArray[np.int64]
    """Runs of each document."""
    means: FloatArray


def _side(documents: Sequence[Repeats]) -> _Side:
    if all(isinstance(scores, (int, float, np.number)) for scores in documents):
        means = np.asarray(documents, dtype=np.float64)
        return _Side(means[:, None], np.ones(len(means), dtype=np.int64), means)
    rows = [(scores,) if isinstance(scores, (int, float, np.number)) else scores for scores in documents]
    counts = np.asarray([len(row) for row in rows])
    if not counts.all():
        raise ValueError("a document has no score")
    table = np.zeros((len(rows), counts.max()))
    for row, scores in zip(table, rows, strict=True):
        row[: len(scores)] = scores
    return _Side(table, counts, np.asarray([math.fsum(row) / len(row) for row in rows]))


def _runs(before: _Side, after: _Side, unit_of: npt.NDArray[np.int32], sign: float) -> tuple[Runs, ...]:
    """The runs of every unit, by their numbers. A run of a cluster is that of all its documents.

    The documents of a cluster with different numbers of runs have no runs in common: only the means of its two sides are exchanged.
    """
    shapes = before.counts * (after.counts.max() + 1) + after.counts
    units = int(unit_of.max()) + 1
    least, most = np.full(units, shapes.max()), np.zeros(units, dtype=np.int64)
    np.minimum.at(least, unit_of, shapes)
    np.maximum.at(most, unit_of, shapes)
    shape_of = np.where(least == most, least, 0)[unit_of]  # no document has 0 runs
    found = []
    for shape in np.unique(shape_of):
        documents = np.flatnonzero(shape_of == shape)
        tables = [
            side.means[documents, None] if shape == 0 else side.table[documents, : side.counts[documents[0]]] for side in (before, after)
        ]
        if units < len(unit_of):
            members = np.unique(unit_of[documents], return_inverse=True)[1]
            tables = [np.stack([np.bincount(members, weights=run) for run in table.T], axis=1) for table in tables]
        found.append(Runs(*(sign * table for table in tables)))
    return tuple(found)


def _most(scores: FloatArray, gains: FloatArray) -> float:
    if scores.min() >= 0 and scores.max() <= 1:
        return 1.0
    largest = float(np.abs(gains).max())
    return 2 * largest or float(np.ptp(scores)) or float(np.abs(scores).max())


def unit_numbers(clusters: Sequence[str | None] | None, documents: int) -> npt.NDArray[np.int32]:
    """The unit of each document, numbered in order of first appearance: its cluster, or the document itself."""
    if clusters is None:
        return np.arange(documents, dtype=np.int32)
    if len(clusters) != documents:
        raise ValueError(f"{len(clusters)} clusters were named for {documents} documents")
    places: dict[object, int] = {}
    numbers = [places.setdefault(index if name is None else name, len(places)) for index, name in enumerate(clusters)]
    return np.asarray(numbers, dtype=np.int32)


def concatenate(parts: Sequence[Paired]) -> Paired:
    """Join parts in which every document counts the same: a superset's tasks, or the documents of several looks.

    Chance exchanges the runs of one unit only, so the test of the whole is stratified by its parts.
    """
    n = sum(part.n for part in parts)
    return Paired(
        gains=np.concatenate([part.gains for part in parts]),
        runs=tuple(runs for part in parts for runs in part.runs),
        n=n,
        baseline=math.fsum(part.baseline * part.n for part in parts) / n,
        candidate=math.fsum(part.candidate * part.n for part in parts) / n,
        lost=sum(part.lost for part in parts),
        won=sum(part.won for part in parts),
        worst=max(part.worst for part in parts),
        binary=all(part.binary for part in parts),
    )


def stratified(parts: Sequence[Paired], factors: Sequence[float]) -> Paired:
    """Join parts, the gains of each multiplied by its factor: to bring losses to one unit, or to weigh tasks instead of documents.

    With factors `N / (T * n_t)` for T parts of n_t documents, N in all, the loss is the unweighted mean of the parts' losses.
    """
    weighted = [
        part
        if factor == 1
        else Paired(
            gains=part.gains * factor,
            runs=tuple(runs.scaled(factor) for runs in part.runs),
            n=part.n,
            baseline=part.baseline * factor,
            candidate=part.candidate * factor,
            lost=part.lost,
            won=part.won,
            worst=part.worst * factor,
            binary=False,
        )
        for part, factor in zip(parts, factors, strict=True)
    ]
    return concatenate(weighted)
