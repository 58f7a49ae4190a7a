"""Two runs over the same documents compared, for a metric of the whole corpus (BLEU, corpus F1, a perplexity), by resampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_lighteval.common.statistics import PADDING, used
from pytest_lighteval.comparison.compare import FullComparison
from pytest_lighteval.comparison.paired import unit_numbers
from pytest_lighteval.comparison.sums import FloatArray
from pytest_lighteval.types import CorpusMetric, SampleValue


@dataclass(frozen=True, slots=True)
class DocumentRuns:
    """How often a document was asked."""

    seeds: int
    """Few-shot seeds, in each of which every run has asked it."""
    baseline: int
    """Runs."""
    candidate: int


_TIE = 1e-9
_CELLS_AT_ONCE = 4_000_000


def compare_corpus(
    baseline: Sequence[SampleValue],
    candidate: Sequence[SampleValue],
    corpus: CorpusMetric,
    *,
    alpha: float,
    certify_alpha: float | None = None,
    clusters: Sequence[str | None] | None = None,
    runs: Sequence[DocumentRuns] | None = None,
    seed: int = 0,
    draws: int = 2000,
) -> FullComparison:
    """Test and bound the loss of a metric that is computed from all documents at once (BLEU, corpus F1, a perplexity).

    Resamplings of the same documents (or clusters): a paired bootstrap draws documents with both their values; a paired permutation
    exchanges the two values of documents at random (Riezler & Maxwell 2005); and where a side has several runs, another one exchanges the
    runs within each document, as `exchange_test` does. A bootstrap alone gives too small p-values when few documents differ, so the largest
    p and the widest bound are used. `upper` includes one more unit with the largest influence of any,
    weighted at random as in `mean_bounds`: it is not zero where nothing differs.

    Args:
        baseline: the metric's value of each document, in the same order as `candidate`.
        candidate: the same for the model that is judged.
        corpus: the aggregate.
        alpha: of the test for a loss and of `lower`.
        certify_alpha: of `upper` and of the test for a gain. None: `alpha`.
        clusters: one name per document; documents of one name are drawn and exchanged together. None: the document has no cluster.
        runs: of each document, if a side has several. Every document has the same number of rows then, one behind the other, in which the
            runs of either side occur equally often: seed by seed, and within a seed run by run. Needs `clusters`, which keep the rows of a
            document together.
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
    unit_of = unit_numbers(clusters, len(baseline))
    units = _members(unit_of)
    resampled = sign * _bootstrapped(corpus, values, units, rng, draws)
    exchanged = [sign * _exchanged(corpus, values, unit_of, rng, draws)]
    if runs is not None:
        exchanged.append(sign * _runs_exchanged(corpus, values, unit_of, runs, rng, draws))
    influence = _influence(corpus, candidate, units, rng)
    with_unseen = influence * rng.standard_exponential(draws)

    tie = _TIE * max(abs(before), abs(after))
    p_loss = max(_share(resampled <= tie), *(_share(chance >= loss - tie) for chance in exchanged))
    p_gain = max(_share(resampled >= -tie), *(_share(chance <= loss + tie) for chance in exchanged))
    rank = math.floor(alpha * (draws + 1)) - 1
    lower = min(np.sort(resampled)[rank], *(loss - np.sort(chance)[-1 - rank] for chance in exchanged))
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
        variance=float(len(baseline) * (np.var(exchanged[0]) + influence**2)),
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


def _runs_exchanged(
    corpus: CorpusMetric,
    values: Sequence[SampleValue],
    unit_of: npt.NDArray[np.int32],
    runs: Sequence[DocumentRuns],
    rng: np.random.Generator,
    draws: int,
) -> FloatArray:
    """Baseline - candidate after the runs of every unit were exchanged at random, each with the same documents and seeds.

    The documents of a unit with different numbers of runs have none in common: there the two sides are exchanged.
    """
    n = len(values) // 2
    rows = n // len(runs)
    counts = np.repeat(np.asarray([[of.seeds, of.baseline, of.candidate] for of in runs]), rows, axis=0).T
    seeds, before, after = counts
    row, of_seed = np.arange(n) % rows, rows // seeds
    start = np.arange(n) - row % of_seed  # of the rows of this document and seed
    own, others = row % of_seed // (of_seed // before), row % of_seed // (of_seed // after)
    units, most = int(unit_of.max()) + 1, int((before + after).max())
    shapes = np.zeros((units, 2), dtype=np.int64)
    shapes[unit_of] = np.stack([before, after], axis=1)
    is_even = np.bincount(unit_of, weights=np.any(shapes[unit_of] != np.stack([before, after], axis=1), axis=1)) == 0
    differences = []
    for block in _blocks(draws, max(n, units * most)):
        keys = rng.random((block, units, most))
        keys[:, np.arange(most) >= shapes.sum(axis=1)[:, None]] = np.inf  # the unit has no such run
        run_at = np.argsort(keys, axis=2)
        sides = np.where(rng.random((block, units)) < 0.5, 1, 0)[:, unit_of]
        indices = []
        for place, mine in ((own, 0), (before + others, 1)):
            run = run_at[:, unit_of, place]
            exchanged = np.where(run < before, start + run * (of_seed // before), n + start + (run - before) * (of_seed // after))
            kept = np.arange(n) + n * (sides != mine)
            indices.append(np.where(is_even[unit_of], exchanged, kept).astype(np.int32))
        differences.append(_aggregates(corpus, values, indices[0]) - _aggregates(corpus, values, indices[1]))
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
