"""Two runs compared: tests and bounds, each number against scipy, statsmodels or plain enumeration."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_lighteval.comparison.compare import compare, mcnemar
from pytest_lighteval.comparison.exchange import exchange_test, exchanges
from pytest_lighteval.comparison.mean_bounds import mean_upper_bound
from pytest_lighteval.comparison.paired import Paired, pair

SCORES = st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.sampled_from([0.0, 0.25, 0.5, 1.0])), min_size=1, max_size=12)


def _zero_one(lost: int, won: int, n: int, right: int = 0) -> Paired:
    same = n - lost - won
    baseline = [1.0] * lost + [0.0] * won + [1.0] * right + [0.0] * (same - right)
    candidate = [0.0] * lost + [1.0] * won + [1.0] * right + [0.0] * (same - right)
    return pair(baseline, candidate)


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemars_p_is_scipys_binomial_test(lost: int, won: int) -> None:
    expected = scipy.stats.binomtest(lost, lost + won, alternative="greater").pvalue if lost + won else 1.0

    assert float(mcnemar(lost, won)) == pytest.approx(expected, rel=1e-9)
    assert compare(_zero_one(lost, won, 601), alpha=0.05).p == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("lost", "won"), [(5, 0), (57, 16), (12, 7)])
def test_mcnemars_p_is_half_of_statsmodels_two_sided_one(lost: int, won: int) -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables", reason="statsmodels is not installed")

    assert float(mcnemar(lost, won)) == pytest.approx(tables.mcnemar([[10, lost], [won, 10]], exact=True).pvalue / 2)


def _enumerated_p(losses: Sequence[float]) -> float:
    sums = [sum(sign * loss for sign, loss in zip(signs, losses, strict=True)) for signs in itertools.product([1, -1], repeat=len(losses))]
    return sum(total >= sum(losses) - 1e-9 for total in sums) / len(sums)


@settings(deadline=None)
@given(SCORES)
def test_graded_scores_are_flipped_document_by_document(scores: list[tuple[float, float]]) -> None:
    baseline, candidate = zip(*scores, strict=True)
    comparison = compare(pair(baseline, candidate), alpha=0.05)

    assert comparison.p == pytest.approx(_enumerated_p([before - after for before, after in scores]))
    assert comparison.p_gain == pytest.approx(_enumerated_p([after - before for before, after in scores]))


def test_clusters_are_flipped_as_one() -> None:
    baseline, candidate, names = [1.0] * 12, [0.0] * 9 + [1.0] * 3, list("aaabbbcccddd")
    comparison = compare(pair(baseline, candidate, clusters=names), alpha=0.05)

    assert comparison.p == pytest.approx(1 / 8)
    assert compare(pair(baseline, candidate), alpha=0.05).p == pytest.approx(2**-9)


@settings(deadline=None)
@given(SCORES, st.sampled_from([0.2, 0.05, 0.01]))
def test_bounds_enclose_the_loss_and_the_lower_one_agrees_with_the_test(scores: list[tuple[float, float]], alpha: float) -> None:
    baseline, candidate = zip(*scores, strict=True)
    comparison = compare(pair(baseline, candidate), alpha=alpha)

    assert comparison.lower <= comparison.loss + 1e-12 <= comparison.upper + 2e-12
    assert (comparison.lower > 0) == (comparison.p <= alpha)
    assert comparison.gained == (comparison.p_gain <= alpha)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from([0.05, 0.004, 0.0008]))
def test_the_lower_bound_of_zero_one_scores_agrees_with_mcnemar(lost: int, won: int, alpha: float) -> None:
    comparison = compare(_zero_one(lost, won, 500), alpha=alpha)

    assert (comparison.lower > 0) == (float(mcnemar(lost, won)) <= alpha)


def test_where_nothing_differs_the_bounds_are_the_rule_of_three() -> None:
    comparison = compare(_zero_one(0, 0, 200), alpha=0.05)

    assert (comparison.loss, comparison.p, comparison.p_gain) == (0, 1, 1)
    assert comparison.upper == pytest.approx(1 - 0.05 ** (1 / 200))
    assert comparison.lower == pytest.approx(-(1 - 0.05 ** (1 / 200)))
    assert comparison.variance == 1 / 201


def test_losses_alone_have_clopper_and_pearsons_upper_bound() -> None:
    comparison = compare(_zero_one(7, 0, 300), alpha=0.05)

    assert comparison.upper == pytest.approx(scipy.stats.binomtest(7, 300, alternative="less").proportion_ci(0.95, "exact").high, rel=1e-6)


def test_the_lower_bound_is_the_loss_beyond_what_chance_gives() -> None:
    comparison = compare(_zero_one(57, 16, 1319), alpha=0.05)

    # of 73 differing documents, 44 lost are not yet significant and 45 are
    assert scipy.stats.binomtest(44, 73, alternative="greater").pvalue > 0.05 > scipy.stats.binomtest(45, 73, alternative="greater").pvalue
    # the boundary is between their differences, 15 and 17
    assert comparison.lower == pytest.approx((57 - 16 - 16) / 1319)


@pytest.mark.parametrize("n", [60, 198])
def test_the_lower_bound_is_too_high_at_most_as_often_as_it_may(n: int) -> None:
    """Every outcome that is not absurdly rare, with its probability. A true loss just below a possible one is the worst case."""
    bound = {}
    for lost, won in itertools.product(range(45), range(20)):
        (look,) = exchange_test(exchanges([_zero_one(lost, won, n).runs]), [0.05])
        bound[lost, won] = lost - won - look.boundary if look.significant else -math.inf
    lost, won = np.asarray(list(bound)).T
    for whole, won_share in itertools.product(range(1, 9), (0.0, 0.0025, 0.005, 0.01, 0.02, 0.03)):
        true_loss = (whole - 1e-9) / n
        chances = [true_loss + won_share, won_share, 1 - true_loss - 2 * won_share]
        outcomes = scipy.stats.multinomial.pmf(np.stack([lost, won, n - lost - won], axis=1), n, chances)

        assert outcomes[np.asarray(list(bound.values())) > true_loss * n].sum() <= 0.0525


def test_bounds_of_clusters_count_documents() -> None:
    """Clusters of three that lose or keep all their documents are single documents with three times the say."""
    single = compare(pair([1] * 40, [0] * 9 + [1] * 31), alpha=0.05)
    tripled = compare(pair([1] * 120, [0] * 27 + [1] * 93, clusters=[f"{index // 3}" for index in range(120)]), alpha=0.05)

    assert (tripled.loss, tripled.lower, tripled.upper, tripled.p) == pytest.approx((single.loss, single.lower, single.upper, single.p))


def test_the_two_alphas_are_of_the_two_bounds() -> None:
    paired = _zero_one(30, 10, 500)
    comparison = compare(paired, alpha=0.001, certify_alpha=0.1)

    assert comparison.lower == compare(paired, alpha=0.001).lower
    assert comparison.upper == mean_upper_bound(-paired.gains, worst=1, alpha=0.1)
    assert comparison.gained == compare(paired, alpha=0.1).gained


METHODS = {
    "0/1": (pair([1, 0, 1], [0, 0, 1]), "exact McNemar test"),
    "repeats": (pair([[1, 0], [1, 1]], [[0, 0], [1, 1]]), "exact sign-flip test and permutation of runs"),
    "clusters": (pair([1, 0, 1], [0, 0, 1], clusters=["a", "a", None]), "exact sign-flip test"),
    "many graded": (pair(np.linspace(1, 2, 40) ** 0.5, np.linspace(1, 3, 40) ** 0.3), "sign-flip test, scores rounded"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(("paired", "method"), METHODS.values(), ids=METHODS)
def test_the_kind_of_scores_chooses_the_test(paired: Paired, method: str) -> None:
    assert compare(paired, alpha=0.05).method == method
