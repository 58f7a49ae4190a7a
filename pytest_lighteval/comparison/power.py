"""The power of a gate: the smallest loss that it finds, and the documents or repeats that it needs to certify or to decide.

The model of a change: two runs of the same model differ in a share of the documents, the discordance, half of them in either direction.
A loss turns further documents from right to wrong. Knows numbers only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from pytest_lighteval.comparison.lazy_scipy import scipy_module

POWER = 0.8
"""The chance of success for which every number here is computed."""

ASSUMED_DISCORDANCE = 0.05
"""Used where no two runs were compared yet; every line that uses it says `assumed`."""

_MOST_REPEATS = 100
"""More are not reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequiredSample:
    """What would decide an INCONCLUSIVE gate, if the measured loss is the true one."""

    documents: int
    """Documents in all."""
    repeats: int | None
    """Runs of both models over the same documents. None: no reasonable number of repeats of so few documents decides it."""


def averaged_discordance(discordance: float, *, repeats: int = 1, baseline_repeats: int = 1) -> float:
    """The variance of the difference of a document's means of repeats, from the discordance of single runs.

    Each run contributes half of it. If nothing changed, 200 documents run four times give the same information as 800 documents.
    """
    return discordance / 2 * (1 / repeats + 1 / baseline_repeats)


def detection_power(loss: float, *, n: int, discordance: float, alpha: float, min_effect: float = 0.0) -> float:
    """The chance that the exact McNemar test on n documents finds this true loss, and that the measured one is at least `min_effect`.

    Exact for independent documents, each lost with probability `discordance / 2 + loss` and won with `discordance / 2`.
    """
    binom = scipy_module("stats").binom
    lost, won = discordance / 2 + loss, discordance / 2
    if lost + won > 1:
        raise ValueError(f"a discordance of {discordance} and a loss of {loss} are more than all documents")
    rate = lost + won
    if rate == 0:
        return 0.0
    reach = 9 * math.sqrt(n * rate * (1 - rate)) + 9
    differing = np.arange(max(0, math.floor(n * rate - reach)), min(n, math.ceil(n * rate + reach)) + 1)
    significant = binom.isf(alpha, differing, 0.5) + 1
    large = np.ceil((differing + min_effect * n) / 2 - 1e-9)
    found = binom.sf(np.maximum(significant, large) - 1, differing, lost / rate)
    return float(binom.pmf(differing, n, rate) @ found)


def detectable_loss(
    *,
    n: int,
    discordance: float,
    alpha: float,
    min_effect: float = 0.0,
    power: float = POWER,
    repeats: int = 1,
    baseline_repeats: int = 1,
    binary: bool = True,
) -> float | None:
    """The smallest true loss that a gate of n documents finds with this power. None: it cannot find any.

    Rounded up to a hundredth of a point. For single 0/1 scores by the exact test. For graded scores, repeats and clusters by the normal
    distribution; there `discordance` is the variance of one difference of single runs, and a lost document is taken to lose 1.
    """
    step = 1e-4
    low, high = 0, math.floor((1 - discordance) / step)
    variance = averaged_discordance(discordance, repeats=repeats, baseline_repeats=baseline_repeats)

    def finds(steps: int) -> bool:
        loss = steps * step
        if binary and repeats == baseline_repeats == 1:
            return detection_power(loss, n=n, discordance=discordance, alpha=alpha, min_effect=min_effect) >= power
        error = math.sqrt((variance + loss) / n)
        return loss >= max(_z(alpha) * error, min_effect) + _z(1 - power) * error

    if not finds(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if finds(middle) else (middle, high)
    return high / 10_000


def documents_needed(
    *, max_drop: float, variance: float, alpha: float, loss: float = 0.0, worst: float = 1.0, power: float = POWER
) -> int | None:
    """Documents with which a gate certifies, with this power, that the loss is below `max_drop`. None: no number does.

    The usual variance * (z_alpha + z_power)**2 / (max_drop - loss)**2, and some more, because the upper bound counts one unseen worst case.

    Args:
        max_drop: the loss to exclude.
        variance: of one document's difference (the discordance of 0/1 scores).
        alpha: of the upper bound.
        loss: the true loss that is assumed.
        worst: the most that one document can lose.
        power: the chance of success.
    """
    room = max_drop - loss
    if room <= 0:
        return None
    needed = (_z(alpha) + _z(1 - power)) * math.sqrt(variance)
    # solve room * n = needed * sqrt(n) + unseen for sqrt(n)
    return math.ceil(((needed + math.sqrt(needed**2 + 4 * room * _unseen(worst, alpha))) / (2 * room)) ** 2)


def repeats_needed(
    *, n: int, max_drop: float, variance: float, alpha: float, loss: float = 0.0, worst: float = 1.0, power: float = POWER
) -> int | None:
    """Runs of both models over the same n documents with which a gate certifies `max_drop`. None: no number does.

    Assumes that what differs between runs is chance (see `averaged_discordance`). Arguments as those of `documents_needed`.
    """
    room = max_drop - loss - _unseen(worst, alpha) / n
    if room <= 0:
        return None
    return max(1, math.ceil((_z(alpha) + _z(1 - power)) ** 2 * variance / (n * room**2)))


def required_sample(
    *,
    loss: float,
    n: int,
    variance: float,
    worst: float,
    max_drop: float,
    min_effect: float,
    alpha: float,
    certify_alpha: float,
    power: float = POWER,
) -> RequiredSample | None:
    """The fewest documents, and the fewest repeats, that make PASSED or REGRESSED likely if the measured loss is the true one.

    Args:
        loss: measured.
        n: documents on which it was measured.
        variance: of one document's difference.
        worst: the most that one unit can lose.
        max_drop: the loss that PASSED excludes.
        min_effect: the least loss that is REGRESSED.
        alpha: of the test for a loss.
        certify_alpha: of the upper bound.
        power: how likely.

    Returns:
        None: the loss equals both `min_effect` and `max_drop`, so no number of documents decides it.
    """
    options: list[tuple[int, int | None]] = []
    documents = documents_needed(max_drop=max_drop, variance=variance, alpha=certify_alpha, loss=loss, worst=worst, power=power)
    if documents is not None:
        repeats = repeats_needed(n=n, max_drop=max_drop, variance=variance, alpha=certify_alpha, loss=loss, worst=worst, power=power)
        options.append((documents, repeats))
    if loss > min_effect:
        for_the_test = (_z(alpha) + _z(1 - power)) / loss
        for_the_size = _z(1 - power) / (loss - min_effect)
        documents = math.ceil(variance * max(for_the_test, for_the_size) ** 2)
        options.append((documents, math.ceil(documents / n)))
    if not options:
        return None
    documents = min(documents for documents, _ in options)
    repeats = min((repeats for _, repeats in options if repeats is not None), default=None)
    if repeats is not None:
        repeats = max(repeats, 2) if repeats <= _MOST_REPEATS else None
    return RequiredSample(documents=max(documents, n + 1), repeats=repeats)


def sees_loss(loss: float, *, n: int, variance: float, worst: float, alpha: float, power: float = POWER) -> bool:
    """Whether a gate of n documents finds a true loss of this size with this power; by the normal distribution.

    Args:
        loss: the true loss.
        n: documents.
        variance: of one document's difference, if nothing changed.
        worst: the most that a unit can lose: the loss consists of units that lose so much, which adds to the variance. Infinite: unknown,
            and nothing is added.
        alpha: of the test for a loss.
        power: the chance of success.
    """
    added = loss * worst if math.isfinite(worst) else 0.0
    return loss >= (_z(alpha) + _z(1 - power)) * math.sqrt((variance + added) / n)


def seen_loss(*, n: int, variance: float, worst: float, alpha: float, min_effect: float = 0.0, power: float = POWER) -> float | None:
    """The smallest true loss that a gate of n documents finds with this power, from a variance that was measured; None: not even `worst`.

    The smallest for which `sees_loss` holds, and whose measured value then is at least `min_effect` with this power. Arguments as there.
    """
    weight = worst if math.isfinite(worst) else 0.0

    def above(least: float, quantiles: float) -> float:
        """The root of loss = least + quantiles * sqrt((variance + weight * loss) / n)."""
        middle = least + quantiles**2 * weight / (2 * n)
        return middle + math.sqrt(max(0.0, middle**2 - least**2 + quantiles**2 * variance / n))

    found = max(above(0.0, _z(alpha) + _z(1 - power)), above(min_effect, _z(1 - power)))
    return found if found <= worst else None


def _unseen(worst: float, alpha: float) -> float:
    """How far the upper bound of a sum of few events is above the normal one (the next term of the Poisson quantile's expansion)."""
    return worst * (_z(alpha) ** 2 + 2) / 3


def _z(tail: float) -> float:
    """The standard normal quantile with this much above it."""
    return -NormalDist().inv_cdf(tail)
