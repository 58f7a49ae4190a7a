"""Soft scores compared: by how much the documents were right, where 0/1 scores only see which answers changed.

A margin m (`types.SoftScore`) becomes a share of its document, F(m / w) with the normal distribution function F: 1 where it is far above 0,
0 where it is far below, and a half at 0. The width w is `WIDTH` times what a margin of this task typically changes from one side to the
other. The mean of these shares is an accuracy whose step is wider than the noise: an answer that flips counts by how far its margin moved.

A model that is only less (or more) sure has all margins multiplied by a factor. Where most margins are on one side of 0, that moves the
mean of the shares, although no answer changes. Therefore documents have weights, such that a small factor does not move the weighted sum:
of the gains it leaves what regression on the effect of a factor does not explain.

Knows numbers of documents; knows nothing of thresholds or verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pytest_lighteval.comparison.exchange import exchange_test, exchanges
from pytest_lighteval.comparison.lazy_scipy import scipy_module
from pytest_lighteval.comparison.paired import Paired, concatenate, pair
from pytest_lighteval.comparison.sums import FloatArray

WIDTH = 3.0
"""The width w, in typical changes of a margin."""
SOFT_SHARE = 0.5
"""The share of a gate's alpha that its soft test has. The other test has the rest."""

Repeats = Sequence[float]
"""A document's soft scores, one for each run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftComparison:
    """What the soft scores of two runs over the same documents say."""

    loss: float
    """The mean loss of a document, as a share of it."""
    p: float
    """One-sided p-value of "nothing was lost"."""
    p_gain: float
    """One-sided p-value of "nothing was gained"."""
    is_certain: bool
    """The test at its alpha finds a loss."""


def soft_compare(parts: Sequence[Paired], *, alpha: float) -> SoftComparison:
    """Test the soft scores of one task, or of several, each paired by `soft_pair`, with the test of all scores (`exchange_test`)."""
    paired = concatenate(parts)
    found = exchanges([paired.runs])
    (loss,), (gain,) = exchange_test(found, [alpha]), exchange_test(found.mirrored, [alpha])
    return SoftComparison(loss=paired.loss, p=loss.p, p_gain=gain.p, is_certain=loss.significant)


def soft_pair(
    baseline: Sequence[Repeats],
    candidate: Sequence[Repeats],
    *,
    is_margin: bool = True,
    is_weighted: bool = True,
    clusters: Sequence[str | None] | None = None,
) -> Paired:
    """Pair soft scores of the same documents of one task, given in the same order, as weighted shares of a document.

    Width and weights stay the same if the runs of a document are exchanged in any way, so the test holds as it does for scores.

    Args:
        baseline: for each document its soft scores.
        candidate: the same for the model that is judged.
        is_margin: False: the soft scores are log-probabilities, of which no value is a threshold. The middle of each document's runs is in
            its place, and all weights are 1.
        is_weighted: False: all weights are 1, as they must be if the documents were chosen by one side's soft scores.
        clusters: as in `pair`.

    Raises:
        ValueError: no documents, or different numbers of documents.
    """
    width = soft_width(baseline, candidate)
    middles = np.asarray([math.fsum((*old, *new)) / (len(old) + len(new)) for old, new in zip(baseline, candidate, strict=True)])
    weights = _weights(middles, width) if is_margin and is_weighted else np.ones(len(middles))
    centres = np.zeros(len(middles)) if is_margin else middles
    return pair(
        _scores(baseline, centres, weights, width),
        _scores(candidate, centres, weights, width),
        clusters=clusters,
        most=float(np.abs(weights).max(initial=1.0)),
    )


def soft_width(baseline: Sequence[Repeats], candidate: Sequence[Repeats]) -> float:
    """`WIDTH` typical changes: medians, over the documents whose soft scores are not all equal, of the range of all their runs.

    0: all are equal.
    """
    ranges = [max(*old, *new) - min(*old, *new) for old, new in zip(baseline, candidate, strict=True)]
    changed = [size for size in ranges if size > 0]
    return WIDTH * float(np.median(changed)) if changed else 0.0


def soft_shares(margins: FloatArray, width: float) -> FloatArray:
    """Margins as shares of a document. A width of 0 is a step at 0."""
    if not width:
        return 0.5 + np.sign(margins) / 2
    shares: FloatArray = scipy_module("special").ndtr(margins / width)
    return shares


def _weights(middles: FloatArray, width: float) -> FloatArray:
    """1, less what makes the weighted effects of a small common factor sum up to 0.

    The effect on a document is x = u f(u) with u its middle / width and the normal density f. Weights of 1 - x sum(x) / sum(x**2) leave of
    any gains the sum of the residuals of their regression, through the origin, on the effects.
    """
    if not width:
        return np.ones(len(middles))
    places = middles / width
    effects = places * np.exp(-(places**2) / 2)
    squares = float(effects @ effects)
    weights: FloatArray = 1 - effects * (effects.sum() / squares if squares else 0.0)
    return weights


def _scores(documents: Sequence[Repeats], centres: FloatArray, weights: FloatArray, width: float) -> list[float | tuple[float, ...]]:
    scores: list[float | tuple[float, ...]] = []
    lengths = [len(repeats) for repeats in documents]
    shares = soft_shares(np.concatenate([np.asarray(repeats) for repeats in documents]) - np.repeat(centres, lengths), width)
    weighted = iter((shares * np.repeat(weights, lengths)).tolist())
    for length in lengths:
        row = tuple(next(weighted) for _ in range(length))
        scores.append(row[0] if length == 1 else row)
    return scores
