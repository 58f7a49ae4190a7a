"""Two runs over the same documents compared, for a metric that is a mean over documents: the loss, its p-value and its two bounds.

Knows scores of documents; knows nothing of thresholds or verdicts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_lighteval.comparison.exchange import LookResult, exchange_test, exchanges
from pytest_lighteval.comparison.lazy_scipy import scipy_module
from pytest_lighteval.comparison.mean_bounds import mean_upper_bound
from pytest_lighteval.comparison.paired import Paired
from pytest_lighteval.types import Comparison


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


def compare(paired: Paired, *, alpha: float, certify_alpha: float | None = None) -> FullComparison:
    """Test and bound the loss of a metric that is a mean over documents.

    The test is `exchange_test`; for single 0/1 scores it is the exact McNemar test. `lower` is the loss beyond the boundary of the test, so
    that it is above 0 exactly when the test finds a loss. `upper` is `mean_upper_bound`, which holds even where few documents differ, or
    none.

    Args:
        paired: the documents.
        alpha: of the test for a loss and of `lower`.
        certify_alpha: of `upper` and of the test for a gain. None: `alpha`.
    """
    certify_alpha = alpha if certify_alpha is None else certify_alpha
    found = exchanges([paired.runs])
    (loss,) = exchange_test(found, [alpha])
    (gain,) = exchange_test(found.mirrored, [certify_alpha])
    return compared(paired, loss=loss, gain=gain, alpha=alpha, certify_alpha=certify_alpha)


def compared(
    paired: Paired, *, loss: LookResult, gain: LookResult, alpha: float, certify_alpha: float, lower: float | None = None
) -> FullComparison:
    """The comparison, given the tests for `loss` and `gain` of these documents; bounds at `alpha` (lower) and `certify_alpha` (upper).

    `lower`: the loss beyond chance, if an earlier look has found it. None: it is computed.
    """
    per_document = paired.n / len(paired.gains)
    lower = beyond_chance(paired.loss, paired.n, loss) if lower is None else lower
    is_bounded = math.isfinite(paired.worst)
    if loss.significant:
        # rounding of a tie must not change the sign
        lower = max(lower, math.ulp(0.0))
    elif not is_bounded:
        lower = -math.inf
    else:
        gained = mean_upper_bound(paired.gains, worst=paired.worst, alpha=alpha) / per_document
        lower = min(lower, -gained, 0.0)
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
        method=_method(paired, loss),
    )


def beyond_chance(loss: float, n: int, look: LookResult) -> float:
    """The mean loss of n documents beyond the boundary between chance and loss. What its grid rounded off counts against it."""
    return loss - look.boundary / n - (max(0.0, loss - look.reached / n) if look.is_rounded else 0.0)


def _method(paired: Paired, look: LookResult) -> str:
    if paired.binary:
        return "exact McNemar test"
    single = all(runs.baseline.shape[1] == runs.candidate.shape[1] == 1 for runs in paired.runs)
    name = "sign-flip test" if single else "sign-flip test and permutation of runs"
    return f"{name}, scores rounded" if look.is_rounded else f"exact {name}"
