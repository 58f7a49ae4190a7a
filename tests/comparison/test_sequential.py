"""The order of documents, the spending of alpha against published boundaries, and the error rate in simulations."""

from __future__ import annotations

import math
from collections import Counter
from statistics import NormalDist

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import gate_simulation as simulation
from pytest_lighteval.comparison.compare import compare, mcnemar
from pytest_lighteval.comparison.decision import GateOutcome, Policy, decide
from pytest_lighteval.comparison.paired import Paired, concatenate, pair
from pytest_lighteval.comparison.sequential import look, look_ends, nominal_levels, spent_alpha, stratified_order

ENDS = (200, 400, 600, 800, 1000)


def _part(lost: int, won: int, n: int = 200) -> Paired:
    same = n - lost - won
    return pair([1.0] * lost + [0.0] * won + [1.0] * same, [0.0] * lost + [1.0] * won + [1.0] * same)


# ---------------------------------------------------------------------------------------------------------- order


@settings(deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=60), st.integers(0, 5))
def test_the_order_holds_every_document_once(strata: list[str], seed: int) -> None:
    assert sorted(stratified_order(strata, seed=seed)) == list(range(len(strata)))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=6), st.integers(0, 5))
def test_every_start_holds_each_stratum_in_its_share(sizes: list[int], seed: int) -> None:
    strata = [name for name, size in enumerate(sizes) for _ in range(size)]
    order = stratified_order(strata, seed=seed)
    seen: Counter[int] = Counter()
    for count, index in enumerate(order, start=1):
        seen[strata[index]] += 1
        for name, size in enumerate(sizes):
            assert abs(seen[name] - size * count / len(strata)) < 1 + len(sizes)


def test_the_order_depends_on_seed_and_name_alone() -> None:
    strata = ["a"] * 30 + ["b"] * 20

    assert stratified_order(strata, seed=1, name="x") == stratified_order(strata, seed=1, name="x")
    assert stratified_order(strata, seed=1, name="x") != stratified_order(strata, seed=2, name="x")
    assert stratified_order(strata, seed=1, name="x") != stratified_order(strata, seed=1, name="y")
    assert stratified_order(["a"] * 5, seed=0) == (2, 3, 1, 0, 4)


def test_every_document_of_a_stratum_may_come_first() -> None:
    first = Counter(stratified_order(["a"] * 4, seed=seed)[0] for seed in range(400))

    assert min(first.values()) > 70


def test_a_cluster_stays_together() -> None:
    clusters = ["p", "q", "p", None, "q", "p"]
    order = stratified_order(["s"] * 6, clusters=clusters, seed=3)

    runs = [name for index, name in enumerate(clusters[i] for i in order) if index == 0 or name != clusters[order[index - 1]]]
    assert sorted(map(str, runs)) == ["None", "p", "q"]


def test_looks_end_in_even_steps() -> None:
    assert look_ends(1319) == (264, 528, 791, 1055, 1319)
    assert look_ends(14042, looks=3) == (4681, 9361, 14042)


@pytest.mark.parametrize(("n", "ends"), [(1, (1,)), (39, (39,)), (45, (22, 45)), (100, (20, 40, 60, 80, 100))])
def test_few_documents_are_looked_at_less_often(n: int, ends: tuple[int, ...]) -> None:
    assert look_ends(n) == ends


def test_a_look_ends_where_a_cluster_does() -> None:
    clusters = ["a"] * 30 + ["b"] * 30 + [None] * 40

    assert look_ends(100, clusters=clusters) == (30, 60, 80, 100)


# -------------------------------------------------------------------------------------------------------- spending


def test_a_quarter_of_alpha_is_spent_after_half_of_the_documents() -> None:
    assert spent_alpha(0.04, (50, 100)) == (0.01, 0.04)


def test_the_boundaries_of_obrien_and_flemings_spending_are_the_published_ones() -> None:
    """Lan and DeMets, one-sided alpha 0.025, five looks: 4.8769, 3.3569, 2.6803, 2.2898, 2.0310 (as ldbounds and gsDesign print them)."""
    normal = NormalDist()
    spent = [2 * (1 - normal.cdf(normal.inv_cdf(1 - 0.0125) / math.sqrt(step / 5))) for step in range(1, 6)]

    boundaries = [-normal.inv_cdf(level) for level in nominal_levels(spent, [1, 2, 3, 4, 5])]

    assert boundaries == pytest.approx([4.8769, 3.3569, 2.6803, 2.2898, 2.0310], abs=5e-4)


@pytest.mark.parametrize("alpha", [0.05, 0.004])
def test_the_levels_together_spend_alpha(alpha: float) -> None:
    """Against scipy's multivariate normal distribution."""
    levels = nominal_levels(spent_alpha(alpha, ENDS), ENDS)
    times = np.asarray(ENDS) / ENDS[-1]
    covariance = np.sqrt(np.minimum.outer(times, times) / np.maximum.outer(times, times))
    for number in range(2, 6):
        boundaries = scipy.stats.norm.isf(levels[:number])
        never = scipy.stats.multivariate_normal(cov=covariance[:number, :number], seed=1, abseps=1e-6, maxpts=200_000).cdf(boundaries)

        assert 1 - never == pytest.approx(spent_alpha(alpha, ENDS)[number - 1], rel=0.02, abs=2e-6)


def test_one_look_has_all_of_alpha() -> None:
    assert nominal_levels([0.05], [100]) == pytest.approx([0.05], rel=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=5, unique=True), st.sampled_from([0.05, 0.001]))
def test_levels_lie_between_the_spent_share_and_all_of_it(steps: list[int], alpha: float) -> None:
    ends = sorted(steps)
    spent = spent_alpha(alpha, ends)
    new = np.diff([0.0, *spent])

    for level, least, most in zip(nominal_levels(spent, ends), new, spent, strict=True):
        assert least * 0.98 <= level <= most * 1.02


# --------------------------------------------------------------------------------------------------------- looking


def test_no_change_stops_early_once_the_loss_is_certified() -> None:
    found = look([_part(2, 2), _part(1, 2)], ENDS, Policy(max_drop=0.03), alpha=0.05)

    assert (found.stop, found.decision.outcome, found.look, found.seen, found.saved) == (True, GateOutcome.PASSED, 2, 400, 600)


def test_a_large_loss_stops_early() -> None:
    found = look([_part(20, 2)], ENDS, Policy(), alpha=0.05)

    assert (found.stop, found.decision.outcome, found.seen, found.saved) == (True, GateOutcome.REGRESSED, 200, 800)
    # with four looks to come, only 1/25 of alpha may be spent
    assert found.decision.comparison.p == pytest.approx(float(mcnemar(20, 2)))
    assert found.decision.comparison.p < 0.002


def test_a_loss_that_is_significant_at_alpha_alone_goes_on() -> None:
    found = look([_part(14, 4)], ENDS, Policy(), alpha=0.05)

    assert float(mcnemar(14, 4)) < 0.05
    assert (found.stop, found.decision.outcome, found.saved) == (False, GateOutcome.INCONCLUSIVE, 0)


def test_a_loss_below_what_is_allowed_goes_on_although_it_is_found() -> None:
    """All documents may show that it is tolerated, as here."""
    policy, ends = Policy(), (3000, 6000)
    first, second = _part(100, 50, 3000), _part(60, 60, 3000)

    early, late = look([first], ends, policy, alpha=0.05), look([first, second], ends, policy, alpha=0.05)

    assert (early.decision.comparison.lower > 0, early.decision.outcome, early.stop) == (True, GateOutcome.REGRESSED, False)
    assert (late.decision.outcome, late.decision.tolerated, late.stop) == (GateOutcome.PASSED, True, True)


def test_a_loss_once_found_stays_found() -> None:
    policy, ends = Policy(max_drop=0.03, min_effect=0.0), (300, 600)
    first, second = _part(15, 4, 300), _part(8, 10, 300)

    early, late = look([first], ends, policy, alpha=0.2), look([first, second], ends, policy, alpha=0.2)

    assert early.decision.comparison.lower > 0
    assert late.decision.comparison.lower > 0
    assert late.decision.comparison.p == early.decision.comparison.p


def test_the_last_look_ends_whatever_it_says() -> None:
    found = look([_part(5, 5)] * 5, ENDS, Policy(max_drop=0.001), alpha=0.05)

    assert (found.stop, found.decision.outcome, found.saved) == (True, GateOutcome.INCONCLUSIVE, 0)


def test_one_planned_look_is_the_plain_gate() -> None:
    part = _part(30, 10, 500)
    found = look([part], [500], Policy(), alpha=0.05)
    plain = decide(compare(part, alpha=0.05), Policy(), alpha=0.05)

    assert (found.decision.outcome, found.stop) == (plain.outcome, True)
    for name in ("loss", "lower", "upper", "p", "p_gain"):
        assert getattr(found.decision.comparison, name) == pytest.approx(getattr(plain.comparison, name), rel=1e-4)


def test_looks_at_other_documents_than_planned_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^looks at \[200, 350\] documents were made where \[200, 400, 600, 800, 1000\] are planned$"):
        look([_part(1, 1), _part(1, 1, 150)], ENDS, Policy(), alpha=0.05)


def test_graded_scores_and_clusters_are_looked_at_too() -> None:
    rng = np.random.default_rng(0)
    before = rng.uniform(size=400)
    after = (before - rng.normal(0.1, 0.2, size=400)).clip(0, 1)
    names = [f"{index // 2}" for index in range(400)]
    part = pair(before.tolist(), after.tolist(), clusters=names)

    found = look([part], (400, 800), Policy(), alpha=0.05)

    assert (found.stop, found.decision.outcome, found.decision.comparison.method) == (
        True,
        GateOutcome.REGRESSED,
        "sign-flip test, scores rounded",
    )


def test_the_simulation_stops_and_judges_as_a_look_does() -> None:
    codes = {GateOutcome.PASSED: 0, GateOutcome.IMPROVED: 0, GateOutcome.REGRESSED: 1, GateOutcome.INCONCLUSIVE: 3}
    policy = Policy(max_drop=0.03)
    rng = np.random.default_rng(4)
    draws = np.concatenate([rng.multinomial(200, [lost, 0.03, 0.97 - lost], size=(8, 5)) for lost in (0.03, 0.05, 0.08)])

    verdicts, stopped = simulation.sequential(draws[:, :, 0], draws[:, :, 1], ends=ENDS, policy=policy, alpha=0.04)

    expected = []
    for steps in draws.tolist():
        parts: list[Paired] = []
        for lost, won, _ in steps:
            parts.append(_part(lost, won))
            found = look(parts, ENDS, policy, alpha=0.04)
            if found.stop:
                break
        expected.append((codes[found.decision.outcome], found.look))
    assert list(zip(verdicts.tolist(), stopped.tolist(), strict=True)) == expected


@pytest.mark.parametrize("graded", [False, True], ids=["0/1", "four runs against one"])
def test_a_session_of_looks_is_red_for_nothing_at_most_as_often_as_it_may(graded: bool) -> None:
    """With a policy under which every loss found is red, so that the alpha is all there is."""
    policy, ends, draws = Policy(max_drop=1e-6, min_effect=0.0), (60, 120, 180), 250
    rng = np.random.default_rng(2)
    red = 0
    for _ in range(draws):
        parts: list[Paired] = []
        for _ in ends:
            if graded:
                runs = (rng.uniform(size=(60, 5)) < 0.5) * (rng.uniform(size=(60, 1)) < 0.3)
                parts.append(pair(runs[:, :4].astype(float).tolist(), runs[:, 4].astype(float).tolist()))
            else:
                lost, won, _ = rng.multinomial(60, [0.1, 0.1, 0.8])
                parts.append(_part(int(lost), int(won), 60))
            found = look(parts, ends, policy, alpha=0.1)
            if found.stop:
                break
        red += found.decision.outcome is GateOutcome.REGRESSED

    assert 0.03 < red / draws <= 0.1 + 3 * math.sqrt(0.09 / draws)


def test_looks_together_hold_the_documents_of_all() -> None:
    parts = [_part(5, 3), _part(4, 4)]
    found = look(parts, ENDS, Policy(), alpha=0.05)

    whole = concatenate(parts)
    assert (found.decision.comparison.n, found.decision.comparison.lost, found.decision.comparison.won) == (400, 9, 7)
    assert found.decision.comparison.loss == whole.loss
