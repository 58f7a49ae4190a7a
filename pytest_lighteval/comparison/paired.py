"""Two runs over the same documents compared: the loss, its p-value and its two bounds.

A *gain* is candidate - baseline in the better direction (baseline - candidate where lower is better); a *loss* is minus a gain. Knows
scores of documents; knows nothing of thresholds or verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_lighteval.common.statistics import PADDING, used
from pytest_lighteval.comparison.mean_bounds import mean_upper_bound
from pytest_lighteval.comparison.sign_flips import FloatArray, SignFlipResult, scipy_module, sign_flip_test
from pytest_lighteval.types import Comparison, CorpusMetric, SampleValue

_TIE = 1e-9
_CELLS_AT_ONCE = 4_000_000

Repeats = float | Sequence[float]
"""A document's score, or one per repeat."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Paired:
    """Two runs over the same documents, reduced to what the tests need. Made by `pair`."""

    gains: FloatArray
    """One per unit: the sum of the gains of its documents. A unit is a cluster, or a document without one. In order of first appearance."""
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
    before, before_single = _means(baseline)
    after, after_single = _means(candidate)
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
    unit_of = _units(clusters, len(gains))
    units: FloatArray = np.bincount(unit_of, weights=gains).astype(np.float64)
    return Paired(
        gains=units,
        n=len(gains),
        baseline=math.fsum(before) / len(before),
        candidate=math.fsum(after) / len(after),
        lost=int((gains < 0).sum()),
        won=int((gains > 0).sum()),
        worst=float(most * np.bincount(unit_of).max()),
        binary=zero_one and before_single and after_single and len(units) == len(gains),
    )


def _means(documents: Sequence[Repeats]) -> tuple[FloatArray, bool]:
    """Per document the mean of its repeats, and whether every document has one score only."""
    single = all(isinstance(scores, (int, float, np.number)) for scores in documents)
    if single:
        return np.asarray(documents, dtype=np.float64), True
    rows = [[scores] if isinstance(scores, (int, float, np.number)) else list(scores) for scores in documents]
    if not all(rows):
        raise ValueError("a document has no score")
    return np.asarray([math.fsum(row) / len(row) for row in rows]), all(len(row) == 1 for row in rows)


def _most(scores: FloatArray, gains: FloatArray) -> float:
    if scores.min() >= 0 and scores.max() <= 1:
        return 1.0
    largest = float(np.abs(gains).max())
    return 2 * largest or float(np.ptp(scores)) or float(np.abs(scores).max())


def _units(clusters: Sequence[str | None] | None, documents: int) -> npt.NDArray[np.int32]:
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

    Random signs are drawn per unit, so the test of the whole is stratified by its parts.
    """
    n = sum(part.n for part in parts)
    return Paired(
        gains=np.concatenate([part.gains for part in parts]),
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


# ----------------------------------------------------------------------------------------------- the comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class FullComparison(Comparison):
    """A comparison with the further numbers on which its verdict depends."""

    p_gain: float
    """One-sided p-value of "nothing was gained"."""
    gained: bool
    """The test at the alpha of `upper` finds a gain."""
    variance: float
    """Of the loss, times n, under no true change; never zero."""
    worst: float
    """The most that one unit can lose. Infinite: unknown, and then so are the bounds."""


def mcnemar(lost: npt.ArrayLike, won: npt.ArrayLike) -> Any:
    """One-sided p-values of the exact McNemar test: P(as many losses or more) when each differing document is a fair coin.

    Numbers or arrays of them, as numpy broadcasts them.
    """
    lost, won = np.asarray(lost), np.asarray(won)
    return scipy_module("stats").binom.sf(lost - 1, lost + won, 0.5)


def compare(paired: Paired, *, alpha: float, certify_alpha: float | None = None, seed: int = 0, draws: int | None = None) -> FullComparison:
    """Test and bound the loss of a metric that is a mean over documents.

    The test is `sign_flip_test`; for 0/1 scores it is the exact McNemar test. `lower` is the loss minus the largest loss that the test
    does not find significant, so that bound and test always agree. `upper` is `mean_upper_bound`, which holds even where few documents
    differ, or none.

    Args:
        paired: the documents.
        alpha: of the test for a loss and of `lower`.
        certify_alpha: of `upper` and of the test for a gain. None: `alpha`.
        seed: of random signs, where they are needed.
        draws: see `sign_flip_test`.
    """
    certify_alpha = alpha if certify_alpha is None else certify_alpha
    (loss,) = sign_flip_test([-paired.gains], [alpha], seed=seed, draws=draws)
    (gain,) = sign_flip_test([paired.gains], [certify_alpha], seed=seed, draws=draws)
    return compared(paired, loss=loss, gain=gain, alpha=alpha, certify_alpha=certify_alpha)


def compared(
    paired: Paired, *, loss: SignFlipResult, gain: SignFlipResult, alpha: float, certify_alpha: float, lower: float | None = None
) -> FullComparison:
    """The comparison, given the tests for `loss` and `gain` of these documents; bounds at `alpha` (lower) and `certify_alpha` (upper).

    `lower`: the lower bound, if an earlier look has found the loss. None: it is computed.
    """
    per_document = paired.n / len(paired.gains)
    beyond_chance = paired.loss - loss.critical / paired.n if lower is None else lower
    is_bounded = math.isfinite(paired.worst)
    if loss.significant:
        # rounding of a tie must not change the sign
        lower = max(beyond_chance, math.ulp(0.0))
    elif not is_bounded:
        lower = -math.inf
    else:
        gained = mean_upper_bound(paired.gains, worst=paired.worst, alpha=alpha) / per_document
        lower = min(beyond_chance, -gained, 0.0)
    return FullComparison(
        baseline=paired.baseline,
        candidate=paired.candidate,
        loss=paired.loss,
        lower=lower,
        upper=mean_upper_bound(-paired.gains, worst=paired.worst, alpha=certify_alpha) / per_document if is_bounded else math.inf,
        p=loss.p,
        p_gain=gain.p,
        gained=gain.significant,
        n=paired.n,
        lost=paired.lost,
        won=paired.won,
        variance=paired.variance,
        worst=paired.worst,
        method="exact McNemar test" if paired.binary else f"{'exact' if loss.exact else 'seeded'} sign-flip test",
    )


# ------------------------------------------------------------------------------------------- corpus-level metrics


def compare_corpus(
    baseline: Sequence[SampleValue],
    candidate: Sequence[SampleValue],
    corpus: CorpusMetric,
    *,
    alpha: float,
    certify_alpha: float | None = None,
    clusters: Sequence[str | None] | None = None,
    seed: int = 0,
    draws: int = 2000,
) -> FullComparison:
    """Test and bound the loss of a metric that is computed from all documents at once (BLEU, corpus F1, a perplexity).

    Two resamplings of the same documents (or clusters): a paired bootstrap draws documents with both their values; a paired permutation
    exchanges the two values of documents at random (Riezler & Maxwell 2005). A bootstrap alone gives too small p-values when few documents
    differ, so the larger p and the wider bound of the two are used. `upper` includes one more unit with the largest influence of any,
    weighted at random as in `mean_bounds`: it is not zero where nothing differs.

    Args:
        baseline: the metric's value of each document, in the same order as `candidate`.
        candidate: the same for the model that is judged.
        corpus: the aggregate.
        alpha: of the test for a loss and of `lower`.
        certify_alpha: of `upper` and of the test for a gain. None: `alpha`.
        clusters: one name per document; documents of one name are drawn and exchanged together. None: the document has no cluster.
        seed: of the random generator.
        draws: of each resampling, at least; 20 / alpha if that is more.
    """
    if not len(baseline) == len(candidate) > 0:
        raise ValueError(f"{len(baseline)} documents cannot be paired with {len(candidate)}")
    certify_alpha = alpha if certify_alpha is None else certify_alpha
    draws = max(draws, math.ceil(20 / min(alpha, certify_alpha)))
    sign = 1.0 if corpus.higher_is_better else -1.0
    before, after = float(corpus.aggregate(baseline)), float(corpus.aggregate(candidate))
    loss = sign * (before - after)
    rng = np.random.Generator(np.random.PCG64(seed))
    values = [*baseline, *candidate]
    unit_of = _units(clusters, len(baseline))
    units = _members(unit_of)
    resampled = sign * _bootstrapped(corpus, values, units, rng, draws)
    exchanged = sign * _exchanged(corpus, values, unit_of, rng, draws)
    influence = _influence(corpus, candidate, units, rng)
    with_unseen = influence * rng.standard_exponential(draws)

    tie = _TIE * max(abs(before), abs(after))
    p_loss = max(_share(resampled <= tie), _share(exchanged >= loss - tie))
    p_gain = max(_share(resampled >= -tie), _share(exchanged <= loss + tie))
    rank = math.floor(alpha * (draws + 1)) - 1
    lower = min(np.sort(resampled)[rank], loss - np.sort(exchanged)[-1 - rank])
    # the bound has the sign that the test gives, also for a tie that rounding breaks
    lower = max(lower, math.ulp(0.0)) if p_loss <= alpha else min(lower, np.sort(resampled - with_unseen)[rank], 0.0)
    return FullComparison(
        baseline=before,
        candidate=after,
        loss=loss,
        lower=float(lower),
        upper=float(np.sort(resampled + with_unseen)[math.ceil((1 - certify_alpha) * (draws + 1)) - 1]),
        p=p_loss,
        p_gain=p_gain,
        gained=p_gain <= certify_alpha,
        n=len(baseline),
        lost=None,
        won=None,
        variance=float(len(baseline) * (np.var(exchanged) + influence**2)),
        worst=influence * len(baseline),
        method="paired bootstrap and permutation",
    )


def _members(unit_of: npt.NDArray[np.int32]) -> list[npt.NDArray[np.int32]]:
    """The documents of each unit, in their own order."""
    by_unit = np.argsort(unit_of, kind="stable").astype(np.int32)
    return np.split(by_unit, np.cumsum(np.bincount(unit_of))[:-1])


def _bootstrapped(
    corpus: CorpusMetric, values: Sequence[SampleValue], units: Sequence[npt.NDArray[np.int32]], rng: np.random.Generator, draws: int
) -> FloatArray:
    """Baseline - candidate over documents drawn with replacement. `values` holds the baseline's, then the candidate's."""
    n = len(values) // 2
    differences = []
    for rows in _blocks(draws, n):
        picked = rng.integers(0, len(units), size=(rows, len(units)))
        before = picked.astype(np.int32) if len(units) == n else _padded([np.concatenate([units[unit] for unit in row]) for row in picked])
        after = np.where(before == PADDING, before, before + np.int32(n))
        differences.append(_aggregates(corpus, values, before) - _aggregates(corpus, values, after))
    return np.concatenate(differences)


def _exchanged(
    corpus: CorpusMetric, values: Sequence[SampleValue], unit_of: npt.NDArray[np.int32], rng: np.random.Generator, draws: int
) -> FloatArray:
    """Baseline - candidate after the two values of the documents of randomly chosen units were exchanged."""
    n = len(values) // 2
    units = int(unit_of.max()) + 1
    order = np.arange(n, dtype=np.int32)
    differences = []
    for rows in _blocks(draws, n):
        moved = rng.integers(0, 2, size=(rows, units), dtype=np.int32)[:, unit_of] * np.int32(n)
        differences.append(_aggregates(corpus, values, order + moved) - _aggregates(corpus, values, order + np.int32(n) - moved))
    return np.concatenate(differences)


def _influence(
    corpus: CorpusMetric, candidate: Sequence[SampleValue], units: Sequence[npt.NDArray[np.int32]], rng: np.random.Generator
) -> float:
    """The largest change of the candidate's aggregate when one unit is left out (200 units, drawn at random if there are more)."""
    whole = float(corpus.aggregate(candidate))
    if len(units) == 1:
        return abs(whole)
    left_out = rng.permutation(len(units))[:200]
    rows = _padded([np.delete(np.arange(len(candidate), dtype=np.int32), units[unit]) for unit in left_out])
    return float(np.abs(_aggregates(corpus, candidate, rows) - whole).max())


def _aggregates(corpus: CorpusMetric, values: Sequence[SampleValue], indices: npt.NDArray[np.int32]) -> FloatArray:
    if corpus.bootstrap is not None:
        aggregates = np.asarray(corpus.bootstrap(values, indices), dtype=np.float64)
    else:
        aggregates = np.asarray([corpus.aggregate([values[index] for index in used(row)]) for row in indices], dtype=np.float64)
    if not np.all(np.isfinite(aggregates)):
        raise ValueError("the metric of resampled documents is not a number: there are too few of them")
    return aggregates


def _padded(rows: Sequence[npt.NDArray[np.int32]]) -> npt.NDArray[np.int32]:
    table = np.full((len(rows), max(map(len, rows))), PADDING, dtype=np.int32)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return table


def _blocks(draws: int, width: int) -> list[int]:
    """Sizes of the blocks of draws that are held in memory together."""
    most = max(1, _CELLS_AT_ONCE // width)
    return [min(most, draws - start) for start in range(0, draws, most)]


def _share(reached: npt.NDArray[np.bool_]) -> float:
    """The share of the draws, with the observed value counted as one draw."""
    return (int(reached.sum()) + 1) / (len(reached) + 1)
