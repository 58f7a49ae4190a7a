"""The power of a gate against enumeration of every outcome, simulation, and the published formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_lighteval.comparison.compare import mcnemar
from pytest_lighteval.comparison.mean_bounds import mean_tail
from pytest_lighteval.comparison.power import (
    RequiredSample,
    averaged_discordance,
    detectable_loss,
    detection_power,
    documents_needed,
    repeats_needed,
    required_sample,
    seen_loss,
    sees_loss,
)


@pytest.mark.parametrize("min_effect", [0.0, 0.06])
@pytest.mark.parametrize(("loss", "discordance"), [(0.0, 0.1), (0.1, 0.1), (0.2, 0.02), (0.3, 0.0)])
def test_the_power_of_the_test_is_the_chance_of_all_outcomes_that_it_finds(loss: float, discordance: float, min_effect: float) -> None:
    n, alpha = 60, 0.05
    lost, won = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    possible = lost + won <= n
    outcomes = np.stack([lost, won, n - lost - won], axis=-1)[possible]
    chances = scipy.stats.multinomial.pmf(outcomes, n, [discordance / 2 + loss, discordance / 2, 1 - discordance - loss])
    found = (mcnemar(outcomes[:, 0], outcomes[:, 1]) <= alpha) & (outcomes[:, 0] - outcomes[:, 1] >= min_effect * n - 1e-9)

    power = detection_power(loss, n=n, discordance=discordance, alpha=alpha, min_effect=min_effect)

    assert power == pytest.approx(float(chances[found].sum()), abs=1e-9)


def test_without_a_difference_nothing_is_found() -> None:
    assert detection_power(0.0, n=1000, discordance=0.0, alpha=0.05) == 0


def test_more_than_all_documents_cannot_differ() -> None:
    with pytest.raises(ValueError, match=r"^a discordance of 0\.5 and a loss of 0\.6 are more than all documents$"):
        detection_power(0.6, n=100, discordance=0.5, alpha=0.05)


@pytest.mark.parametrize(("loss", "flagged"), [(0.0, 0.04), (0.01, 0.36), (0.02, 0.80), (0.03, 0.98), (0.05, 1.0)])
def test_the_power_for_gsm8k_is_the_known_one(loss: float, flagged: float) -> None:
    assert detection_power(loss, n=1319, discordance=0.06, alpha=0.05) == pytest.approx(flagged, abs=0.015)


@settings(max_examples=20, deadline=None)
@given(st.integers(50, 3000), st.sampled_from([0.02, 0.06, 0.2]), st.sampled_from([0.05, 0.004, 0.0008]))
def test_the_detectable_loss_is_the_first_with_the_power(n: int, discordance: float, alpha: float) -> None:
    loss = detectable_loss(n=n, discordance=discordance, alpha=alpha)

    assert loss is not None
    assert detection_power(loss, n=n, discordance=discordance, alpha=alpha) >= 0.8
    assert detection_power(loss - 1e-4, n=n, discordance=discordance, alpha=alpha) < 0.8


def test_a_loss_that_is_too_small_to_matter_is_not_detected() -> None:
    assert detectable_loss(n=14042, discordance=0.06, alpha=0.05) == 0.0055
    assert detectable_loss(n=14042, discordance=0.06, alpha=0.05, min_effect=0.01) == pytest.approx(0.012, abs=0.0005)


def test_a_handful_of_documents_detects_nothing() -> None:
    # even ten losses in ten documents have a p of 1 / 1024
    assert detectable_loss(n=10, discordance=0.05, alpha=0.0008) is None


@pytest.mark.parametrize("n", [500, 1319, 14042])
def test_the_normal_approximation_for_graded_scores_is_near_the_exact_power(n: int) -> None:
    exact, normal = (detectable_loss(n=n, discordance=0.06, alpha=0.05, binary=binary) for binary in (True, False))

    assert exact is not None
    assert normal == pytest.approx(exact, rel=0.06)


def test_four_repeats_count_as_four_times_the_documents_where_nothing_changed() -> None:
    assert averaged_discordance(0.06, repeats=4, baseline_repeats=4) / 200 == pytest.approx(0.06 / 800)
    assert averaged_discordance(0.06, repeats=1, baseline_repeats=8) == pytest.approx(0.03 * 1.125)


def test_repeats_lower_the_detectable_loss() -> None:
    once, often = (detectable_loss(n=200, discordance=0.06, alpha=0.05, repeats=k, baseline_repeats=k, binary=False) for k in (1, 4))

    assert once is not None
    assert often is not None
    assert often < 0.75 * once


FORMULA = {
    "1 point, 2 %": (0.01, 0.02, 1237),
    "1 point, 5 %": (0.01, 0.05, 3092),
    "1 point, 10 %": (0.01, 0.1, 6183),
    "1 point, 20 %": (0.01, 0.2, 12366),
    "2 points, 5 %": (0.02, 0.05, 773),
    "half a point, 5 %": (0.005, 0.05, 12366),
}
"""max_drop, discordance, and the documents of the plain formula discordance * (1.645 + 0.842)**2 / max_drop**2."""


@pytest.mark.parametrize(("max_drop", "discordance", "documents"), FORMULA.values(), ids=FORMULA)
def test_the_documents_to_certify_are_those_of_the_formula_and_some_for_an_unseen_loss(
    max_drop: float, discordance: float, documents: int
) -> None:
    assert documents_needed(max_drop=max_drop, variance=discordance, alpha=0.05, worst=0) == pytest.approx(documents, abs=1)

    needed = documents_needed(max_drop=max_drop, variance=discordance, alpha=0.05)
    assert needed is not None
    # 1.57 documents more may be lost than the formula thinks, as with the exact bound of a count
    assert needed == pytest.approx(documents + 2 * 1.57 / max_drop, abs=0.6 * 1.57 / max_drop + 1)


@pytest.mark.parametrize(("max_drop", "discordance"), [(0.02, 0.05), (0.05, 0.05), (0.02, 0.02), (0.03, 0.1)])
def test_so_many_documents_certify_with_the_power_that_is_asked(max_drop: float, discordance: float) -> None:
    n = documents_needed(max_drop=max_drop, variance=discordance, alpha=0.05)
    assert n is not None
    draws = np.random.default_rng(1).multinomial(n, [discordance / 2, discordance / 2, 1 - discordance], size=4000)
    kinds, counts = np.unique(draws, axis=0, return_counts=True)

    certified = sum(
        count
        for (lost, won, same), count in zip(kinds.tolist(), counts.tolist(), strict=True)
        if mean_tail([1, 0, -1], counts=[lost, same, won], worst=1, mean=max_drop) <= 0.05
    )

    assert certified / 4000 == pytest.approx(0.81, abs=0.03)


def test_a_loss_as_large_as_what_is_allowed_is_never_certified() -> None:
    assert documents_needed(max_drop=0.02, variance=0.05, alpha=0.05, loss=0.02) is None


def test_repeats_make_a_small_benchmark_certify() -> None:
    repeats = repeats_needed(n=198, max_drop=0.03, variance=0.1, alpha=0.05)

    assert repeats == math.ceil((1.6449 + 0.8416) ** 2 * 0.1 / (198 * (0.03 - 1.57 / 198) ** 2)) == 7
    assert repeats_needed(n=198, max_drop=0.03, variance=0.01, alpha=0.05) == 1


def test_no_number_of_repeats_certifies_less_than_one_unseen_document() -> None:
    assert repeats_needed(n=40, max_drop=0.02, variance=0.1, alpha=0.05) is None


CERTIFY, PROVE = 1.6449 + 0.8416, 0.8416
SETTLED = {
    "no loss": (0.0, 924, 11),
    # to prove a loss: 0.05 * max(CERTIFY / loss, PROVE / (loss - min_effect))**2
    "most of what is allowed": (0.0195, math.ceil(0.05 * (CERTIFY / 0.0195) ** 2), 5),
    "fewer documents certify, fewer repeats prove": (0.012, 5215, math.ceil(0.05 * (PROVE / 0.002) ** 2 / 200)),
    "more than is allowed": (0.05, 201, 2),
}
"""Measured loss, documents, repeats."""


@pytest.mark.parametrize(("loss", "documents", "repeats"), SETTLED.values(), ids=SETTLED)
def test_the_required_sample_is_the_smaller_of_those_for_pass_and_for_regression(loss: float, documents: int, repeats: int) -> None:
    required = required_sample(loss=loss, n=200, variance=0.05, worst=1, max_drop=0.02, min_effect=0.01, alpha=0.05, certify_alpha=0.05)

    assert required == RequiredSample(documents=documents, repeats=repeats)


def test_no_sample_decides_a_loss_that_equals_min_effect_and_max_drop() -> None:
    required = required_sample(loss=0.02, n=200, variance=0.05, worst=1, max_drop=0.02, min_effect=0.02, alpha=0.05, certify_alpha=0.05)

    assert required is None


@pytest.mark.parametrize("alpha", [0.05, 0.0008])
@pytest.mark.parametrize("n", [5, 20, 30, 45, 60, 95, 200])
def test_a_loss_that_is_seen_is_found_by_the_exact_test_and_one_that_is_missed_is_not_certain(n: int, alpha: float) -> None:
    """Of a loss of 20 points where nothing else changes, for 0/1 scores."""
    exact = detection_power(0.2, n=n, discordance=0.0, alpha=alpha)

    seen = sees_loss(0.2, n=n, variance=1 / (n + 1), worst=1.0, alpha=alpha)

    assert exact >= 0.8 if seen else exact < 0.97


def test_a_loss_without_a_largest_one_is_seen_from_the_noise_alone() -> None:
    assert sees_loss(1.0, n=100, variance=4.0, worst=math.inf, alpha=0.05)
    assert not sees_loss(1.0, n=100, variance=25.0, worst=math.inf, alpha=0.05)


@pytest.mark.parametrize("min_effect", [0.0, 0.03])
@pytest.mark.parametrize(("n", "variance", "worst"), [(100, 0.05, 1.0), (1319, 0.0, 1.0), (8, 0.2, math.inf)])
def test_the_loss_that_a_gate_would_have_found_is_the_smallest(n: int, variance: float, worst: float, min_effect: float) -> None:
    found = seen_loss(n=n, variance=variance, worst=worst, alpha=0.01, min_effect=min_effect)

    assert found is not None
    assert sees_loss(found * 1.001, n=n, variance=variance, worst=worst, alpha=0.01)
    least = seen_loss(n=n, variance=variance, worst=worst, alpha=0.01)
    assert least is not None
    assert not sees_loss(least * 0.999, n=n, variance=variance, worst=worst, alpha=0.01)
    assert found >= max(least, min_effect)


def test_the_loss_that_a_gate_would_have_found_agrees_with_the_exact_test() -> None:
    exact = detectable_loss(n=1319, discordance=0.05, alpha=0.05, min_effect=0.01)
    found = seen_loss(n=1319, variance=0.05, worst=1.0, alpha=0.05, min_effect=0.01)

    assert exact is not None
    assert found == pytest.approx(exact, rel=0.05)


def test_a_gate_of_few_documents_would_have_found_no_loss() -> None:
    assert seen_loss(n=3, variance=0.5, worst=1.0, alpha=0.001) is None
