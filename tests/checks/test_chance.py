"""The bound is one: it is never below the exact probability, and near it."""

from __future__ import annotations

import pytest

from pytest_lighteval.checks.chance import ALPHA, is_pattern, tail_bound


@pytest.mark.parametrize(("hits", "trials", "chance"), [(30, 40, 0.5), (90, 200, 0.25), (40, 40, 0.5), (3, 3, 0.25), (301, 1000, 0.25)])
def test_the_bound_holds_against_the_binomial(hits: int, trials: int, chance: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    exact = float(stats.binom.sf(hits - 1, trials, chance))

    assert exact <= tail_bound(hits, trials, chance) <= max(60 * exact, 1e-300)


def test_the_bound_holds_for_trials_of_different_chances() -> None:
    """Half of the documents have two choices and half have ten: the exact probability is a convolution."""
    stats = pytest.importorskip("scipy.stats")
    exact = sum(float(stats.binom.pmf(few, 20, 0.5) * stats.binom.sf(24 - few - 1, 20, 0.1)) for few in range(21))

    assert exact <= tail_bound(24, 40, 0.3)


@pytest.mark.parametrize("trials", [0, 10])
def test_no_more_hits_than_expected_are_no_pattern(trials: int) -> None:
    assert tail_bound(trials // 2, trials, 0.5) == 1.0


def test_a_small_task_cannot_show_a_pattern_and_a_large_one_can() -> None:
    assert not is_pattern(9, 9, 0.25)
    assert is_pattern(10, 10, 0.25)
    assert not is_pattern(10, 10, 0.25, tests=4)
    assert ALPHA == 1e-6
