"""The smallest loss that a gate detects is computed from the baseline's documents and repeats alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_lighteval.baselines.model import BaselineTask
from pytest_lighteval.baselines.repeats import merge_runs
from pytest_lighteval.baselines.save import baseline_of
from pytest_lighteval.comparison.decision import Policy
from pytest_lighteval.comparison.power import detectable_loss, documents_needed, repeats_needed
from pytest_lighteval.gates.expected_power import ExpectedPower, expected_power, plan_lines, power_lines
from tests.baselines.samples import GSM8K, coins, report, result

POLICY = Policy()


def baseline(*scores: list[float], seeds: list[int] | None = None, ids: list[str] | None = None) -> BaselineTask:
    """One that these runs of GSM8K made."""
    return merge_runs([baseline_of(report(result({"qem": run}, seeds=seeds, ids=ids))) for run in scores]).tasks[GSM8K]


def of(*members: BaselineTask | None, max_samples: int | None = None, alpha: float = 0.05) -> ExpectedPower:
    return expected_power("leaderboard|gsm8k|5", "qem", members, policy=POLICY, alpha=alpha, max_samples=max_samples)


def test_one_run_leaves_the_discordance_to_be_assumed() -> None:
    gate = of(baseline(coins(1319, 0.6, seed=1)))

    assert (gate.n, gate.discordance, gate.measured, gate.binary) == (1319, 0.05, False, True)
    assert gate.detectable == detectable_loss(n=1319, discordance=0.05, alpha=0.05, min_effect=0.01) == 0.0186
    assert power_lines([gate])[1:] == [
        "  leaderboard|gsm8k|5 qem: n = 1319, 5 % changing from run to run (assumed): finds a loss of 1.9 points (alpha 0.05)"
    ]


def test_repeats_measure_it_and_sharpen_the_gate() -> None:
    first = coins(500, 0.6, seed=1)
    second = [1 - score if row % 10 == 0 else score for row, score in enumerate(first)]

    gate = of(baseline(first, second))

    assert (gate.n, gate.measured, gate.baseline_runs) == (500, True, 2)
    assert gate.discordance == pytest.approx(0.1)
    assert gate.detectable == detectable_loss(n=500, discordance=gate.discordance, alpha=0.05, min_effect=0.01, baseline_repeats=2)
    assert "10 % changing from run to run (measured)" in power_lines([gate])[1]


def test_a_superset_is_one_gate_of_all_its_documents() -> None:
    small, large = baseline(coins(100, 0.5, seed=1), coins(100, 0.5, seed=1)), baseline(coins(300, 0.5, seed=2), coins(300, 0.5, seed=3))

    gate = of(small, large)

    own = of(large).discordance
    assert gate.n == 400
    assert own > 0
    assert gate.discordance == pytest.approx(own * 300 / 400)


def test_a_limit_of_documents_is_the_gates_limit() -> None:
    assert of(baseline(coins(1319, 0.6, seed=1)), max_samples=200).n == 200


def test_few_shot_seeds_are_repeats_of_a_document() -> None:
    ids = [f"test:{row}" for row in range(50)] * 2

    gate = of(baseline(coins(100, 0.5, seed=1), ids=ids, seeds=[0] * 50 + [1] * 50))

    assert (gate.n, gate.runs, gate.baseline_runs) == (50, 2, 2)


@pytest.mark.parametrize("members", [(None,), (), (baseline([1.0, 0.0]), None)], ids=["none", "no task", "one of two"])
def test_without_a_baseline_n_is_unknown(members: tuple[BaselineTask | None, ...]) -> None:
    gate = of(*members)

    assert (gate.n, gate.detectable) == (None, None)
    assert power_lines([gate])[1:] == ["  leaderboard|gsm8k|5 qem: n unknown (no baseline)"]


def test_scores_whose_power_is_unknown_say_why() -> None:
    task = baseline([1.0, 0.0])
    corpus = replace(task, scores={"qem": (((1, 2),), ((3, 4),))})

    assert of(baseline([20.0, 31.0])).unknown == "its scores are not between 0 and 1"
    assert of(corpus).unknown == "a metric of the whole corpus"
    assert of(replace(task, scores={})).unknown == "the baseline has no score of it"
    assert "unknown: a metric of the whole corpus" in power_lines([of(corpus)])[1]


def test_too_few_documents_find_nothing() -> None:
    assert power_lines([of(baseline([1.0, 0.0]))])[1].endswith("finds no loss at all (alpha 0.05)")


def test_a_short_list_has_the_least_sensitive_gates_and_counts_the_rest() -> None:
    gates = [
        expected_power(f"mini|t{n}|0", "qem", [baseline(coins(n, 0.5, seed=1))], policy=POLICY, alpha=0.05) for n in (2000, 100, 500, 1000)
    ]

    lines = power_lines(gates, most=2)

    assert [line.split()[0] for line in lines[1:3]] == ["mini|t100|0", "mini|t500|0"]
    assert lines[3] == "  2 more gates (all able to detect smaller losses): list with --gate-plan"


def test_many_gates_without_a_baseline_are_one_line() -> None:
    (line,) = power_lines([of(None)] * 9, most=3)

    assert line.startswith("gates: 9, n unknown")
    assert plan_lines([of(None)] * 9)[1:] == [
        "  9 gates: n unknown (no baseline)",
        f"    max_drop 2.0 points: {documents_needed(max_drop=0.02, variance=0.05, alpha=0.05)} documents (5 % changing, assumed)",
    ]


def test_a_plan_says_what_max_drop_takes() -> None:
    few, many = of(baseline(coins(198, 0.5, seed=1))), of(baseline(coins(1319, 0.5, seed=1)))
    documents = documents_needed(max_drop=0.02, variance=0.05, alpha=0.05)
    repeats = repeats_needed(n=198, max_drop=0.02, variance=0.05, alpha=0.05)

    lines = plan_lines([few, many, of(None)])

    assert lines[2] == f"    max_drop 2.0 points: {documents} documents, or {repeats} repeats of its 198 with both models"
    assert lines[4] == f"    max_drop 2.0 points: {documents} documents, and it has 1319"
    assert lines[6] == f"    max_drop 2.0 points: {documents} documents (5 % changing, assumed)"
