"""The simulation of soft scores: its documents are as described, and its test is that of the gate."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.gate_margins import GROUP
from benchmarks.gate_simulation import Floats
from benchmarks.gate_soft import NOTHING, Change, Recorded, Runs, margins, paired_margins, recorded_tasks, simulate_runs, soft_gains
from pytest_lighteval.comparison.paired import Paired, pair
from pytest_lighteval.comparison.soft import soft_compare, soft_pair


def sides(task: Recorded, change: Change, *, draws: int = 40, n: int = 2000) -> tuple[Floats, Floats]:
    return paired_margins(task, change, np.random.Generator(np.random.PCG64(3)), n=n, draws=draws)


@pytest.mark.parametrize("task", recorded_tasks(), ids=lambda task: task.name)
def test_two_runs_differ_in_six_percent_of_the_answers_and_a_loss_is_as_large_as_it_is_said(task: Recorded) -> None:
    before, after = sides(task, NOTHING)
    assert np.mean((before > 0) != (after > 0)) == pytest.approx(0.06, abs=0.004)

    for change in (Change(name="s", shift=0.02), Change(name="b", broken=0.02), Change(name="b", broken=0.02, is_safe=True)):
        before, after = sides(task, change)
        assert np.mean(before > 0) - np.mean(after > 0) == pytest.approx(0.02, abs=0.004), change


def test_a_temperature_changes_no_answer() -> None:
    for task in recorded_tasks():
        cool, warm = (sides(task, Change(name="t", temperature=temperature), draws=2)[1] for temperature in (1.0, 1.25))
        assert np.array_equal(cool > 0, warm > 0)


def test_the_gains_are_those_of_the_gate() -> None:
    before, after = (side.astype(np.float64) for side in sides(recorded_tasks()[2], Change(name="s", shift=0.02), draws=1, n=300))

    paired = soft_pair([(margin,) for margin in before[0]], [(margin,) for margin in after[0]])

    assert soft_gains(before, after)[0] == pytest.approx(paired.gains, abs=1e-12)


def test_the_soft_test_is_that_of_the_gate_however_near_its_level() -> None:
    tasks = recorded_tasks()[:1]
    runs = simulate_runs(tasks, Change(name="s", shift=0.02), n=200, draws=60, seed=4)
    everywhere = np.ones(60, dtype=bool)
    rows = [(gains, entry) for entry, gains in runs.gains.items()]

    found = runs.soft_finds(0.025, everywhere)

    for gains, entry in rows:
        exact = soft_compare([_of_gains(gains)], alpha=0.025)
        assert exact.is_certain == found[entry]
    assert 0 < found.sum() < 60
    assert not any(found[entry] for entry in range(60) if entry not in runs.gains)


def _of_gains(gains: Floats) -> Paired:
    return pair([0.0] * len(gains), gains.tolist(), most=10.0)


def test_the_margin_is_the_lead_over_the_best_other_choice_and_missing_choices_never_win() -> None:
    logprobs = np.asarray([[-1.0, -3.0, -2.0, -np.inf], [-1.0, -3.0, -2.0, -0.5]])

    assert margins(logprobs, np.asarray([0, 1])).tolist() == [1.0, -2.5]


def test_the_same_seed_simulates_the_same_runs() -> None:
    def drawn(seed: int) -> Runs:
        return simulate_runs(recorded_tasks(), NOTHING, n=50, draws=9, seed=seed)

    assert np.array_equal(drawn(1).z, drawn(1).z)
    assert not np.array_equal(drawn(1).z, drawn(2).z)


def test_weights_of_four_bits_have_fifteen_values_a_group() -> None:
    torch = pytest.importorskip("torch")
    from benchmarks.gate_margins import round_trip

    class Model(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = torch.nn.Linear(2 * GROUP, 3), torch.nn.Linear(4, 4)

        def get_output_embeddings(self) -> object:
            return self.head

    model = Model()
    before = {name: weights.detach().clone() for name, weights in model.named_parameters()}
    round_trip(model, 4)
    after = {name: weights.detach() for name, weights in model.named_parameters()}

    assert torch.equal(after["head.weight"], before["head.weight"])
    for row in after["layer.weight"].view(3, 2, GROUP):
        for group in row:
            assert len(group.unique()) <= 15
    assert float((after["layer.weight"] - before["layer.weight"]).abs().max()) <= float(before["layer.weight"].abs().max()) / 14 + 1e-6
