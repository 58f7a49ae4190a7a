"""A canary looks at the documents that a change of the model moves first, and is not taken in by documents that noise chose."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest

from pytest_lighteval.baselines.align import AlignedSoft
from pytest_lighteval.baselines.model import Baseline
from pytest_lighteval.baselines.repeats import merge_runs
from pytest_lighteval.gates.canary import CanaryReport, CanaryRule, canary_gate, canary_report, canary_words, closest_documents, direction_p
from pytest_lighteval.types import TaskResult
from tests.gates.test_soft_voice import GREEDY, baseline, gate, margins, measured, noisy


def report(before: TaskResult, after: TaskResult, *repeats: TaskResult) -> CanaryReport:
    runs = [baseline(run) for run in (before, *repeats)]
    (held,) = merge_runs([Baseline(tasks={run.key: run}) for run in runs]).tasks.values()
    told = canary_report(after, held, gate())
    assert isinstance(told, CanaryReport)
    return told


def test_the_documents_of_the_smallest_margins_are_chosen_in_the_order_of_the_baseline() -> None:
    held = baseline(measured([5.0, -0.5, 0.2, -7.0, 0.6, -0.1]))

    assert closest_documents(held, "acc", 3) == ("t:1", "t:2", "t:5")
    assert closest_documents(held, "acc", 99) == tuple(f"t:{row}" for row in range(6))


def test_of_repeats_the_mean_margin_chooses() -> None:
    runs = [baseline(measured(values)) for values in ([0.1, 1.0], [4.1, -1.2])]
    (held,) = merge_runs([Baseline(tasks={run.key: run}) for run in runs]).tasks.values()

    assert closest_documents(held, "acc", 1) == ("t:1",)


def test_only_a_gate_with_margins_in_the_baseline_can_be_looked_at() -> None:
    with_soft, without = (baseline(measured(margins(5), is_soft=is_soft)) for is_soft in (True, False))

    assert canary_gate([gate(GREEDY), gate()], with_soft) == gate()
    assert canary_gate([gate()], without) is None
    assert canary_gate([gate(GREEDY)], with_soft) is None


def test_a_rule_asks_the_chosen_documents_and_no_others() -> None:
    docs = [type("P", (), {"doc": type("D", (), {"id": f"t:{row}"})()})() for row in range(4)]

    assert CanaryRule(["t:3", "t:1"]).parts(docs) == [[1, 3]]


def test_equal_soft_scores_mean_that_nothing_changed() -> None:
    same = report(measured(margins(40)), measured(margins(40)))

    assert (same.moved, same.lost, same.won, same.loss, same.p, same.shift) == (0, 0, 0, 0.0, 1.0, None)
    assert canary_words(same) == [
        "acc: nothing changed: all 40 soft scores are those of the baseline, to 16 bits",
        "    unseen: what moves none of these documents",
    ]


def test_a_shift_is_seen_with_its_direction_and_its_size_is_told() -> None:
    before = noisy(margins(40, seed=3), by=0.2)
    told = report(measured(before), measured([margin - 0.6 for margin in noisy(before, by=0.05)]))

    assert (told.moved, told.won) == (40, 0)
    assert told.loss > 0
    assert told.p < 0.001
    assert told.shift is not None
    assert 0 < told.shift < 0.6
    assert told.cost == pytest.approx(np.mean([0 < margin <= told.shift for margin in before]), abs=0.03)
    assert canary_words(told)[0].startswith("acc: worse: 40 of 40 soft scores moved, ")


def test_with_two_runs_in_the_baseline_noise_is_told_from_a_change_without_a_direction() -> None:
    rng = random.Random(6)
    middle = margins(60, seed=4)
    runs = [measured(noisy(middle, by=0.1, seed=seed)) for seed in (1, 2, 3)]
    scattered = measured([margin + rng.choice((-1, 1)) for margin in middle])

    assert report(runs[0], runs[2]).wider is None
    noise, change = report(runs[0], runs[2], runs[1]), report(runs[0], scattered, runs[1])
    assert noise.wider is not None
    assert noise.wider > 0.05
    assert change.wider is not None
    assert change.wider < 0.01


def chosen(before: Sequence[float], after: Sequence[float], count: int = 40) -> AlignedSoft:
    places = sorted(range(len(before)), key=lambda place: abs(before[place]))[:count]
    return AlignedSoft(baseline=tuple((before[place],) for place in places), candidate=tuple((after[place],) for place in places))


def test_documents_that_a_noisy_run_chose_go_back_without_being_a_direction() -> None:
    """Most margins are below 0, and two runs of one model differ by noise alone."""
    rng = random.Random(7)
    with_care = without = 0
    for _ in range(40):
        middle = [rng.gauss(-1.5, 1.2) for _ in range(400)]
        before, after = ([margin + rng.gauss(0, 0.8) for margin in middle] for _ in range(2))
        soft = chosen(before, after)
        with_care += direction_p(soft, before) <= 0.05
        # an even population expects no drift
        without += direction_p(soft, [*before, *(-margin for margin in before)]) <= 0.05

    assert without > 8
    assert with_care <= 5
