"""Whether a pattern of right answers is an accident: a bound that holds for any number of documents, without a table or a simulation."""

from __future__ import annotations

import math

ALPHA = 1e-6
"""A pattern that chance makes in fewer than one of a million sound tasks is none of chance. A catalogue has thousands of tests."""


def tail_bound(hits: int, trials: int, chance: float) -> float:
    """The most that the probability of at least `hits` right guesses can be.

    Hoeffding 1963 (doi:10.1080/01621459.1963.10500830), theorem 1: exp(-n KL(hits / n || chance)). The trials are independent, and may
    have different chances, of which `chance` is the mean. 1 for no more hits than are expected.
    """
    if trials == 0 or hits <= chance * trials:
        return 1.0
    if chance <= 0:
        return 0.0
    share = hits / trials
    divergence = share * math.log(share / chance)
    if share < 1:
        divergence += (1 - share) * math.log((1 - share) / (1 - chance))
    return math.exp(-trials * divergence)


def is_pattern(hits: int, trials: int, chance: float, *, tests: int = 1) -> bool:
    """Whether so many hits are no accident, after `tests` looks at the same documents (Bonferroni)."""
    return tests * tail_bound(hits, trials, chance) < ALPHA
