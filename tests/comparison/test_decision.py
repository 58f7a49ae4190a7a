"""The order of the decision, the family of gates, and the verdict's line."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import gate_simulation as simulation
from pytest_lighteval.comparison.compare import FullComparison, compare
from pytest_lighteval.comparison.decision import Decision, Family, GateOutcome, Policy, decide, decision_line, holm
from pytest_lighteval.comparison.paired import Paired, concatenate, pair
from pytest_lighteval.comparison.power import RequiredSample
from pytest_lighteval.errors import UserInputError

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def _documents(lost: int, won: int, n: int) -> Paired:
    same = n - lost - won
    return pair([1.0] * lost + [0.0] * won + [1.0] * same, [0.0] * lost + [1.0] * won + [1.0] * same)


def _compared(*, loss: float, lower: float, upper: float, gained: bool = False, n: int = 1000) -> FullComparison:
    return FullComparison(
        baseline=0.7,
        candidate=0.7 - loss,
        loss=loss,
        lower=lower,
        upper=upper,
        p=0.01 if lower > 0 else 0.5,
        p_gain=0.01 if gained else 0.5,
        gained=gained,
        n=n,
        lost=40,
        won=20,
        variance=0.05,
        worst=1.0,
        method="exact McNemar test",
    )


# ------------------------------------------------------------------------------------------------------- one gate

ORDER = {
    "certified": (_compared(loss=0.001, lower=-0.01, upper=0.02), GateOutcome.PASSED, False),
    "certified and lost": (_compared(loss=0.012, lower=0.004, upper=0.019), GateOutcome.PASSED, True),
    "certified and gained": (_compared(loss=-0.012, lower=-0.02, upper=-0.004, gained=True), GateOutcome.IMPROVED, False),
    "lost": (_compared(loss=0.03, lower=0.01, upper=0.05), GateOutcome.REGRESSED, False),
    "lost just enough": (_compared(loss=0.01, lower=0.001, upper=0.03), GateOutcome.REGRESSED, False),
    "lost too little": (_compared(loss=0.009, lower=0.001, upper=0.03), GateOutcome.INCONCLUSIVE, False),
    "large but not proven": (_compared(loss=0.05, lower=-0.01, upper=0.1), GateOutcome.INCONCLUSIVE, False),
    "gained, not certified": (_compared(loss=-0.01, lower=-0.1, upper=0.021, gained=True), GateOutcome.IMPROVED, False),
    "nothing known": (_compared(loss=0.0, lower=-0.03, upper=0.03), GateOutcome.INCONCLUSIVE, False),
}


@pytest.mark.parametrize(("comparison", "outcome", "tolerated"), ORDER.values(), ids=ORDER)
def test_the_verdict_is_decided_in_its_order(comparison: FullComparison, outcome: GateOutcome, tolerated: bool) -> None:
    decision = decide(comparison, Policy(), alpha=0.05)

    assert (decision.outcome, decision.tolerated) == (outcome, tolerated)


def test_an_inconclusive_verdict_says_which_sample_would_decide_it() -> None:
    decision = decide(_compared(loss=0.0, lower=-0.03, upper=0.03, n=200), Policy(), alpha=0.05)

    assert decision.required == RequiredSample(documents=924, repeats=11)
    assert decide(_compared(loss=0.0, lower=0.0, upper=0.01), Policy(), alpha=0.05).required is None


RED = {
    "regressed": (_compared(loss=0.03, lower=0.01, upper=0.05), "warn", True),
    "inconclusive": (_compared(loss=0.0, lower=-0.03, upper=0.03), "warn", False),
    "inconclusive fails": (_compared(loss=0.0, lower=-0.03, upper=0.03), "fail", True),
    "passed": (_compared(loss=0.0, lower=-0.03, upper=0.01), "fail", False),
    "tolerated": (_compared(loss=0.01, lower=0.003, upper=0.015), "fail", False),
    "improved": (_compared(loss=-0.03, lower=-0.05, upper=-0.01, gained=True), "fail", False),
}


@pytest.mark.parametrize(("comparison", "inconclusive", "red"), RED.values(), ids=RED)
def test_a_session_fails_for_a_regression_and_for_doubt_where_that_is_asked(
    comparison: FullComparison, inconclusive: str, red: bool
) -> None:
    policy = Policy(inconclusive=inconclusive)  # type: ignore[arg-type]

    assert decide(comparison, policy, alpha=0.05).red is red


@settings(deadline=None)
@given(st.integers(0, 80), st.integers(0, 80), st.integers(160, 3000), st.sampled_from([0.05, 0.004]))
def test_a_regression_is_significant_and_large_and_a_pass_excludes_what_is_not_allowed(lost: int, won: int, n: int, alpha: float) -> None:
    comparison = compare(_documents(lost, won, n), alpha=alpha, certify_alpha=0.05)
    outcome = decide(comparison, Policy(), alpha=alpha).outcome

    if outcome is GateOutcome.REGRESSED:
        assert comparison.p <= alpha
        assert comparison.loss >= 0.01 - 1e-12
    if outcome is GateOutcome.PASSED:
        assert comparison.upper <= 0.02
    if outcome is GateOutcome.IMPROVED:
        assert comparison.p_gain <= 0.05


@pytest.mark.parametrize("n", [100, 500, 1319])
def test_the_simulation_judges_as_the_gate_does(n: int) -> None:
    codes = {GateOutcome.PASSED: 0, GateOutcome.REGRESSED: 1, GateOutcome.IMPROVED: 2, GateOutcome.INCONCLUSIVE: 3}
    draws = np.random.default_rng(n).multinomial(n, [0.04, 0.025, 0.935], size=60)
    draws = np.concatenate([draws, np.random.default_rng(n).multinomial(n, [0.01, 0.01, 0.98], size=30)])

    judged = simulation.fixed(draws[:, 0], draws[:, 1], n=n, policy=Policy(), alpha=0.04)

    expected = []
    for lost, won, _ in draws.tolist():
        decision = decide(compare(_documents(lost, won, n), alpha=0.04, certify_alpha=0.05), Policy(), alpha=0.04)
        # the simulation does not distinguish verdicts that are green
        certified = decision.comparison.upper <= Policy().max_drop
        expected.append(codes[GateOutcome.PASSED if certified else decision.outcome])
    assert judged.tolist() == expected


WRONG = {
    "alpha": ({"alpha": 0.0}, "alpha: 0 is not between 0 and 0.5, like 0.05"),
    "alpha in percent": ({"alpha": 5}, "alpha: 5 is not between 0 and 0.5, like 0.05"),
    "max_drop": ({"max_drop": -0.02}, "max_drop: -0.02 is not above 0; a loss of two points of accuracy is 0.02"),
    "not a number": ({"max_drop": float("nan")}, "max_drop: nan is not above 0; a loss of two points of accuracy is 0.02"),
    "min_effect": ({"min_effect": 0.03}, "min_effect: 0.03 is not between 0 and max_drop, 0.02"),
    "inconclusive": ({"inconclusive": "pass"}, "inconclusive: 'pass' is none of fail, blind, warn"),
}


@pytest.mark.parametrize(("values", "message"), WRONG.values(), ids=WRONG)
def test_a_policy_that_makes_no_sense_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(UserInputError) as caught:
        Policy(**values)  # type: ignore[arg-type]

    assert str(caught.value) == message


def test_the_least_loss_that_matters_is_half_of_what_is_allowed_unless_said() -> None:
    assert (Policy().least_loss, Policy(max_drop=0.06).least_loss, Policy(min_effect=0.0).least_loss) == (0.01, 0.03, 0.0)


# ----------------------------------------------------------------------------------------------------- the family


def test_gates_share_four_fifths_of_alpha_and_the_pooled_test_has_the_rest() -> None:
    family = Family(alpha=0.05, gates=10)

    assert [family.gate_alpha, family.pooled_alpha] == pytest.approx([0.004, 0.01])
    assert 10 * family.gate_alpha + (family.pooled_alpha or 0) == pytest.approx(0.05)


def test_one_gate_has_all_of_alpha_and_no_pooled_test_beside_it() -> None:
    assert (Family(alpha=0.05, gates=1).gate_alpha, Family(alpha=0.05, gates=1).pooled_alpha) == (0.05, None)


@settings(deadline=None, max_examples=30)
@given(P_VALUES)
def test_holms_p_values_are_those_of_statsmodels(p_values: list[float]) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest", reason="statsmodels is not installed")
    gates = {str(index): p for index, p in enumerate(p_values)}
    family = Family(alpha=0.05, gates=len(gates))
    share = family.gate_alpha * len(gates)

    _, adjusted, *_ = multitest.multipletests(p_values, alpha=share, method="holm")

    adjusted_by_holm = holm(gates, family)
    assert [adjusted_by_holm[gate] for gate in gates] == pytest.approx(np.minimum(1, adjusted * 0.05 / share).tolist())


@settings(deadline=None)
@given(P_VALUES)
def test_holm_finds_what_bonferroni_finds(p_values: list[float]) -> None:
    gates = {str(index): p for index, p in enumerate(p_values)}
    family = Family(alpha=0.05, gates=len(gates))

    assert all(holm(gates, family)[gate] <= 0.05 * (1 + 1e-9) for gate, p in gates.items() if p <= family.gate_alpha)


def test_holm_may_find_more() -> None:
    adjusted_by_holm = holm({"a": 0.016, "b": 0.03, "c": 0.0001}, Family(alpha=0.05, gates=3))

    # 0.016 * 2 and 0.03 against 4/5 of alpha, so times 5/4 against all of it
    assert adjusted_by_holm == pytest.approx({"a": 0.04, "b": 0.04, "c": 0.000375})
    assert Family(alpha=0.05, gates=3).gate_alpha < 0.016


def test_the_pooled_test_finds_a_loss_that_is_everywhere_and_in_no_task() -> None:
    policy, family = Policy(), Family(alpha=0.05, gates=20)
    tasks = [_documents(lost=46, won=34, n=1319) for _ in range(20)]

    alone = {decide(compare(task, alpha=family.gate_alpha, certify_alpha=0.05), policy, alpha=family.gate_alpha).outcome for task in tasks}
    together = concatenate(tasks)
    decision = decide(compare(together, alpha=family.pooled_alpha or 0, certify_alpha=0.05), policy.pooled, alpha=family.pooled_alpha or 0)

    assert GateOutcome.REGRESSED not in alone
    assert (decision.outcome, decision.red) == (GateOutcome.REGRESSED, True)
    assert decision.comparison.method == "exact McNemar test"


def test_the_pooled_test_tolerates_a_quarter_and_never_fails_for_doubt() -> None:
    pooled = Policy(max_drop=0.04, inconclusive="fail").pooled

    assert (pooled.max_drop, pooled.least_loss, pooled.inconclusive, pooled.alpha) == (0.01, 0.005, "warn", 0.05)


def test_a_superset_is_one_gate_of_all_its_documents() -> None:
    subtasks = [_documents(3, 0, 20) for _ in range(5)]

    assert compare(concatenate(subtasks), alpha=0.05).p == compare(_documents(15, 0, 100), alpha=0.05).p


# ------------------------------------------------------------------------------------------------------- in words


def _decision(outcome: GateOutcome, comparison: FullComparison, policy: Policy | None = None, **more: object) -> Decision:
    return Decision(outcome=outcome, comparison=comparison, policy=policy or Policy(), certify_alpha=0.05, **more)  # type: ignore[arg-type]


BASE = replace(_compared(loss=0.0311, lower=0.0192, upper=0.0441, n=1319), baseline=0.612, candidate=0.581, p=2.2e-6, lost=57, won=16)
LINES = {
    "regressed": (
        _decision(GateOutcome.REGRESSED, BASE),
        "acc 0.612 -> 0.581  loss 3.1 points [1.9, 4.4] (95 %)  p = 2e-6  n = 1319  57 lost / 16 won  REGRESSED (allowed 2.0)",
    ),
    "inconclusive": (
        _decision(
            GateOutcome.INCONCLUSIVE, replace(BASE, loss=0.0, lower=-0.031, p=0.5), required=RequiredSample(documents=870, repeats=5)
        ),
        "acc 0.612 -> 0.581  loss 0.0 points [-3.1, 4.4] (95 %)  p = 0.5  n = 1319  57 lost / 16 won  "
        "INCONCLUSIVE (allowed 2.0; about 870 documents or 5 repeats would decide it)",
    ),
    "without repeats": (
        _decision(GateOutcome.INCONCLUSIVE, replace(BASE, p=0.0416), required=RequiredSample(documents=870, repeats=None)),
        "acc 0.612 -> 0.581  loss 3.1 points [1.9, 4.4] (95 %)  p = 0.042  n = 1319  57 lost / 16 won  "
        "INCONCLUSIVE (allowed 2.0; about 870 documents would decide it)",
    ),
    "tolerated": (
        _decision(GateOutcome.PASSED, replace(BASE, n=14042, loss=0.0049, lower=0.0012, upper=0.0086), tolerated=True),
        "acc 0.612 -> 0.581  loss 0.49 points [0.12, 0.86] (95 %)  p = 2e-6  n = 14042  57 lost / 16 won  "
        "PASSED (allowed 2.00; the loss is real but tolerated)",
    ),
    "improved": (
        _decision(GateOutcome.IMPROVED, replace(BASE, loss=-0.03, lower=-0.05, upper=-0.01, p_gain=0.0012)),
        "acc 0.612 -> 0.581  gain 3.0 points [1.0, 5.0] (95 %)  p = 0.0012  n = 1319  57 lost / 16 won  IMPROVED (allowed 2.0)",
    ),
    "corpus": (
        _decision(GateOutcome.PASSED, replace(BASE, lost=None, won=None, loss=-0.0001, lower=-0.02, upper=0.01, p_gain=0.4)),
        "acc 0.612 -> 0.581  gain 0.0 points [-1.0, 2.0] (95 %)  p = 0.4  n = 1319  PASSED (allowed 2.0)",
    ),
}


@pytest.mark.parametrize(("decision", "text"), LINES.values(), ids=LINES)
def test_a_verdict_is_one_line(decision: Decision, text: str) -> None:
    assert decision_line("acc", decision, alpha=0.05) == text


def test_a_metric_that_is_no_share_is_printed_in_its_own_unit() -> None:
    decision = _decision(
        GateOutcome.REGRESSED, replace(BASE, baseline=20.1, candidate=20.9, loss=0.8, lower=0.5, upper=1.1, lost=None), Policy(max_drop=0.3)
    )

    assert decision_line("ppl", decision, alpha=0.05, points=False) == (
        "ppl 20.100 -> 20.900  loss 0.8000 [0.5000, 1.1000] (95 %)  p = 2e-6  n = 1319  REGRESSED (allowed 0.3000)"
    )


def test_ends_of_different_levels_say_both_in_their_order() -> None:
    lost, gained = (
        _decision(GateOutcome.REGRESSED, BASE),
        _decision(GateOutcome.IMPROVED, replace(BASE, loss=-0.03, lower=-0.05, upper=-0.01)),
    )

    assert "loss 3.1 points [1.9, 4.4] (99.92 %, 95 %)  p" in decision_line("acc", lost, alpha=0.0008)
    assert "gain 3.0 points [1.0, 5.0] (95 %, 99.92 %)  p" in decision_line("acc", gained, alpha=0.0008)
