"""Repeats of one measurement are merged, other measurements are not; their discordance is how much two runs differ."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

from pytest_lighteval.baselines.file_format import parse_baseline, render_baseline
from pytest_lighteval.baselines.model import Baseline
from pytest_lighteval.baselines.repeats import discordance, merge_runs
from pytest_lighteval.baselines.save import baseline_of
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.types import TaskKey
from tests.baselines.samples import GSM8K, coins, report, result

ARC = TaskKey(suite="leaderboard", task="arc:challenge", few_shots=25)


def run(scores: Any, **facts: Any) -> Baseline:
    return baseline_of(report(result(scores, **facts)))


def test_runs_become_repeats_of_each_document() -> None:
    merged = merge_runs([run({"qem": [1.0, 0.0]}), run({"qem": [1.0, 1.0]}), run({"qem": [0.0, 1.0]})])
    task = merged.tasks[GSM8K]

    assert task.scores == {"qem": ((1.0, 1.0, 0.0), (0.0, 1.0, 1.0))}
    assert task.repeats == 3
    assert task.metrics["qem"].value == pytest.approx(2 / 3)
    assert task.metrics["qem"].n == 2
    assert len(task.provenance) == 1
    assert parse_baseline(render_baseline(merged), "b") == merged


def test_soft_scores_become_repeats_where_every_run_has_them() -> None:
    runs = [
        baseline_of(report(result({"qem": [1.0, 0.0]}, soft={"qem": soft} if soft else None))) for soft in ([0.5, -1.0], [0.25, -2.0], None)
    ]

    (merged,) = merge_runs(runs[:2]).tasks.values()
    (without,) = merge_runs(runs).tasks.values()

    assert merged.soft == {"qem": ((0.5, 0.25), (-1.0, -2.0))}
    assert without.soft == {}


def test_merging_one_by_one_is_merging_all() -> None:
    runs = [run({"qem": coins(20, 0.5, seed=seed)}) for seed in range(4)]

    step_by_step = merge_runs([merge_runs([merge_runs(runs[:2]), runs[2]]), runs[3]])

    assert step_by_step.tasks[GSM8K].scores == merge_runs(runs).tasks[GSM8K].scores
    assert step_by_step.tasks[GSM8K].metrics["qem"].value == pytest.approx(merge_runs(runs).tasks[GSM8K].metrics["qem"].value)


def test_tasks_that_one_run_measured_are_kept() -> None:
    other = baseline_of(report(result({"acc": [1.0]}, key=ARC)))

    assert merge_runs([run({"qem": [1.0, 0.0]}), other]) == Baseline(tasks={**run({"qem": [1.0, 0.0]}).tasks, **other.tasks})


def test_runs_on_other_hardware_are_repeats_and_both_are_kept() -> None:
    elsewhere = baseline_of(report(result({"qem": [1.0, 0.0]}), device="cpu"))
    task = merge_runs([run({"qem": [1.0, 0.0]}), elsewhere]).tasks[GSM8K]

    assert [source.hardware["device"] for source in task.provenance] == ["cuda", "cpu"]


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        (baseline_of(report(result({"qem": [1.0, 0.0]}), fingerprint="0" * 64)), "it is of another model"),
        (run({"qem": [1.0, 0.0]}, version=1), "task version 1 instead of 0"),
        (run({"qem": [1.0, 0.0]}, fingerprint="e" * 64), "the data changed"),
        (run({"qem": [1.0, 0.0]}, ids=["test:7", "test:8"]), "it holds other documents (2 instead of 2, or in another order)"),
        (run({"qem": [1.0, 0.0]}, prompt="Frage:"), "the prompts differ"),
        (run({"em": [1.0, 0.0]}), "it reports em instead of qem"),
    ],
    ids=["model", "version", "data", "documents", "prompts", "metrics"],
)
def test_what_is_no_repeat_is_refused(other: Baseline, problem: str) -> None:
    with pytest.raises(UserInputError) as raised:
        merge_runs([run({"qem": [1.0, 0.0]}), other])

    assert str(raised.value) == f"leaderboard|gsm8k|5: run 2 is no repeat of run 1: {problem}"


def test_discordance_of_zero_one_scores_is_the_share_of_documents_that_two_runs_differ_in() -> None:
    runs = [coins(200, 0.7, seed=seed) for seed in range(5)]
    task = merge_runs([run({"qem": scores}) for scores in runs]).tasks[GSM8K]

    pairs = list(itertools.combinations(runs, 2))
    differing = sum(before != after for one, other in pairs for before, after in zip(one, other, strict=True))
    assert discordance(task, "qem") == pytest.approx(differing / len(pairs) / 200)


def test_discordance_of_graded_scores_is_the_mean_square_of_the_difference_of_two_runs() -> None:
    runs = [[math.sin(seed * 7 + row) for row in range(50)] for seed in range(3)]
    task = merge_runs([run({"f1": scores}) for scores in runs]).tasks[GSM8K]

    pairs = list(itertools.combinations(runs, 2))
    squares = math.fsum((before - after) ** 2 for one, other in pairs for before, after in zip(one, other, strict=True))
    assert discordance(task, "f1") == pytest.approx(squares / len(pairs) / 50)


def test_what_was_not_repeated_has_no_discordance() -> None:
    once = run({"qem": [1.0, 0.0], "bleu": [(1, 2), (3, 4)]})
    twice = merge_runs([once, once])

    assert discordance(once.tasks[GSM8K], "qem") is None
    assert discordance(twice.tasks[GSM8K], "qem") == 0.0
    assert discordance(twice.tasks[GSM8K], "bleu") is None
    assert discordance(twice.tasks[GSM8K], "em") is None
