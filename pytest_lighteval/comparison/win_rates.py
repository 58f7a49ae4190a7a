"""The share of comparisons that are won, with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

_Z = NormalDist().inv_cdf(0.975)


def win_rate_interval(scores: Sequence[float]) -> tuple[float, float]:
    """A 95 % interval of the mean of scores from 0 to 1 (ties are a half).

    Wilson's interval with the deviation that the scores have: it is never empty, also when every score is the same. For wins and losses
    alone it is Wilson's own (1927).
    """
    n = len(scores)
    mean = math.fsum(scores) / n
    binomial = mean * (1 - mean)
    # ties make the deviation smaller than a coin's of the same mean
    spread = math.fsum((score - mean) ** 2 for score in scores) / n / binomial if binomial else 1.0
    # one more document with a coin's deviation: ties alone do not prove that there is none
    z2 = _Z**2 * (n * spread + 1) / (n + 1)
    centre = (mean + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2) * math.sqrt(binomial / n + z2 / (4 * n**2)) / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)
