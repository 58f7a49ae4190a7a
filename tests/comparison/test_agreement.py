"""A judge against people: agreement, a score that people correct, and the interval of a win rate."""

from __future__ import annotations

import math
import random

import pytest

from pytest_lighteval.comparison.agreement import agreement, corrected_mean, pseudo_values
from pytest_lighteval.comparison.win_rates import win_rate_interval


def test_kappa_of_two_classes_is_cohens() -> None:
    # Cohen 1960 by hand: observed 35 / 50, expected 0.5 * 0.6 + 0.5 * 0.4 = 0.5
    judge = [1.0] * 25 + [0.0] * 25
    person = [1.0] * 20 + [0.0] * 5 + [1.0] * 10 + [0.0] * 15
    found = agreement(judge, person)

    assert found.agreement == pytest.approx(0.7)
    assert found.kappa == pytest.approx(0.4)
    assert found.bias == pytest.approx(-0.1)


def test_kappa_of_a_scale_weighs_by_the_squared_difference() -> None:
    # weights (i - j)^2: observed 1 / 3, by chance 29 / 9
    assert agreement([1, 2, 4], [1, 3, 4]).kappa == pytest.approx(1 - (1 / 3) / (29 / 9))
    assert agreement([1, 1], [1, 1]).kappa is None
    assert agreement([1, 2], [1.4, 2.6], near=0.5).agreement == 0.5


def test_the_corrected_mean_is_that_of_prediction_powered_inference() -> None:
    judge = [1.0, 1.0, 0.0, 1.0, 0.0]
    person = [1.0, 0.0, None, None, None]
    found = corrected_mean(judge, person)

    assert found is not None
    assert found.value == pytest.approx(0.6 + (0.0 + -1.0) / 2)
    assert math.fsum(pseudo_values(judge, person)) / 5 == pytest.approx(found.value)
    assert corrected_mean(judge, [1.0, None, None, None, None]) is None


def test_its_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng, held, runs = random.Random(7), 0, 1500
    for _ in range(runs):
        truth = [float(rng.random() < 0.55) for _ in range(200)]
        # a judge that is right four times of five, and kind
        judge = [value if rng.random() < 0.8 else float(rng.random() < 0.9) for value in truth]
        labelled = set(rng.sample(range(200), 60))
        found = corrected_mean(judge, [value if place in labelled else None for place, value in enumerate(truth)])
        assert found is not None
        held += found.low <= 0.55 <= found.high

    # 95 %, give or take four standard errors of this simulation
    assert 0.95 - 4 * math.sqrt(0.95 * 0.05 / runs) < held / runs < 0.95 + 4 * math.sqrt(0.95 * 0.05 / runs)


def test_the_interval_of_a_win_rate() -> None:
    # Wilson's, of 80 wins in 100, with one more document's worth of doubt
    low, high = win_rate_interval([1.0] * 80 + [0.0] * 20)
    assert low == pytest.approx(0.7112, abs=0.002)
    assert high == pytest.approx(0.8666, abs=0.002)

    narrow = win_rate_interval([1.0] * 30 + [0.5] * 40 + [0.0] * 30)
    wide = win_rate_interval([1.0] * 50 + [0.0] * 50)
    assert wide[0] < narrow[0] < 0.5 < narrow[1] < wide[1]
    for scores in ([0.5] * 10, [1.0] * 10, [0.0] * 10):
        low, high = win_rate_interval(scores)
        assert 0 <= low < high <= 1
