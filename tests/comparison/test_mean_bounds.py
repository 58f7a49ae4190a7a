"""The upper bound of a mean against Clopper and Pearson, numerical integration, random weights, and the level that it claims."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pytest_lighteval.comparison import mean_bounds
from pytest_lighteval.comparison.mean_bounds import mean_tail, mean_upper_bound
from pytest_lighteval.comparison.sums import FloatArray


def _trinomial(lost: int, won: int, n: int) -> FloatArray:
    return np.repeat([1.0, -1.0, 0.0], [lost, won, n - lost - won])


@pytest.mark.parametrize("alpha", [0.05, 0.002, 1e-5])
@pytest.mark.parametrize("n", [1, 2, 3, 10, 100, 1319, 14042])
def test_without_an_event_it_is_the_rule_of_three(n: int, alpha: float) -> None:
    assert mean_upper_bound(np.zeros(n), worst=1, alpha=alpha) == pytest.approx(1 - alpha ** (1 / n), rel=1e-6)


@pytest.mark.parametrize(("events", "n"), [(1, 5), (3, 10), (5, 200), (79, 1319), (3, 14042)])
def test_for_events_it_is_clopper_and_pearsons(events: int, n: int) -> None:
    expected = scipy.stats.binomtest(events, n, alternative="less").proportion_ci(0.95, method="exact").high

    assert mean_upper_bound(_trinomial(events, 0, n), worst=1, alpha=0.05) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("lost", "won", "n", "mean"), [(5, 3, 100, 0.05), (40, 40, 1319, 0.02), (2, 7, 50, 0.01), (500, 400, 14042, 0.01)])
def test_for_lost_and_won_documents_it_is_the_integral_over_both(lost: int, won: int, n: int, mean: float) -> None:
    rest = n - lost - won
    density = scipy.stats.beta(won, n + 1 - won)

    def given_won(share: float) -> float:
        return float(density.pdf(share) * scipy.special.betaincc(lost + 1, rest, min(1.0, (mean + share) / (1 - share))))

    low, high = density.ppf([1e-15, 1 - 1e-15])
    expected, _ = scipy.integrate.quad(given_won, low, min(high, 1 - mean), epsabs=1e-13, limit=200)

    assert mean_tail(_trinomial(lost, won, n), worst=1, mean=mean) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("mean", [-0.05, 0.0, 0.05, 0.1, 0.15])
def test_for_graded_values_it_is_the_share_of_random_weights(mean: float) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=30) * 0.1
    weights = rng.exponential(size=(200_000, 31))
    drawn = (weights @ np.append(values, 1.0)) / weights.sum(axis=1)

    share = float((drawn > mean).mean())
    assert mean_tail(values, worst=1, mean=mean) == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 200_000))


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20), st.sampled_from([0.001, 0.05, 0.3]))
@example([1 - 2**-53] * 4, 0.05)  # as close to the worst as a number can be
@settings(deadline=None)
def test_the_bound_is_where_the_tail_is_alpha(values: list[float], alpha: float) -> None:
    bound = mean_upper_bound(values, worst=1, alpha=alpha)

    assert np.mean(values) - 1e-9 <= bound <= 1
    if min(values) < 0.999:
        assert mean_tail(values, worst=1, mean=bound) == pytest.approx(alpha, rel=1e-3)


@given(st.lists(st.floats(-1, 0.9), min_size=2, max_size=12), st.floats(0.1, 10), st.floats(-5, 5))
@settings(deadline=None)
def test_the_bound_moves_with_the_unit(values: list[float], scale: float, shift: float) -> None:
    moved = mean_upper_bound(np.asarray(values) * scale + shift, worst=scale + shift, alpha=0.05)

    assert moved == pytest.approx(mean_upper_bound(values, worst=1, alpha=0.05) * scale + shift, rel=1e-6, abs=1e-6)


def test_counts_stand_for_repeated_values() -> None:
    assert mean_tail([1, 0, -1], counts=[5, 92, 3], worst=1, mean=0.05) == mean_tail(_trinomial(5, 3, 100), worst=1, mean=0.05)


def test_a_value_beyond_the_worst_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^a value of 1\.5 exceeds the worst possible one, 1$"):
        mean_upper_bound([0.0, 1.5], worst=1, alpha=0.05)


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("true_loss", [0.01, 0.05])
@pytest.mark.parametrize("n", [30, 100])
def test_it_is_too_low_at_most_as_often_as_it_may(n: int, true_loss: float, alpha: float) -> None:
    """Every possible outcome is enumerated, with its probability."""
    kinds = [(lost, won) for lost, won in itertools.product(range(20), repeat=2) if lost + won <= n]
    wrong = [
        pair for pair in kinds if pair[0] - pair[1] < true_loss * n and mean_tail(_trinomial(*pair, n), worst=1, mean=true_loss) <= alpha
    ]
    for won_share in (0.0, 0.005, 0.02, 0.05):
        chances = [true_loss + won_share, won_share, 1 - true_loss - 2 * won_share]
        missed = sum(scipy.stats.multinomial.pmf([lost, won, n - lost - won], n, chances) for lost, won in wrong)

        assert missed <= alpha


@pytest.mark.parametrize("n", [15, 40, 150])
def test_it_holds_for_skewed_graded_losses(n: int) -> None:
    """Most documents are unchanged, few lose much: the case in which a t bound fails."""
    rng = np.random.default_rng(n)
    chances, draws = (0.85, 0.1, 0.05), 1500
    mean = 0.1 * -0.3 + 0.05 * 0.8
    missed = 0
    for _ in range(draws):
        losses = rng.choice([0.0, -0.3, 0.8], p=chances, size=n) * rng.uniform(0.5, 1.5, size=n).clip(max=1.25)
        missed += mean_tail(np.clip(losses, -1, 1), worst=1, mean=mean * 0.98) <= 0.05

    assert missed / draws <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / draws)


@pytest.mark.parametrize("alpha", [0.05, 0.0008])
@pytest.mark.parametrize("spread", [0.1, 1e-5])
def test_many_different_values_on_fewer_points_have_a_bound_that_is_hardly_higher(
    spread: float, alpha: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = np.random.default_rng(1).standard_t(3, size=1500).clip(-9, 9) * spread / 9

    bound = mean_upper_bound(losses, worst=1, alpha=alpha)

    monkeypatch.setattr(mean_bounds, "_MOST_POINTS", 10_000)
    exact = mean_upper_bound(losses, worst=1, alpha=alpha)
    assert -1e-12 <= bound - exact < 1e-4 * (exact - losses.mean())


def test_the_worst_value_keeps_its_own_point() -> None:
    values = np.append(np.linspace(-0.01, 0.01, 2000), 1.0)

    assert mean_upper_bound(values, worst=1, alpha=0.05) > mean_upper_bound(values[:-1], worst=1, alpha=0.05) + 1 / 2001
