"""The gate's benchmark: its populations are as described, a missed bar fails it, and a short run holds every bar."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks import gate, gate_simulation, gate_soft_measures
from benchmarks.gate_bars import Bar
from benchmarks.gate_simulation import Measured, Population, made_up, recorded
from benchmarks.gate_soft_measures import MeasuredSoft


@pytest.mark.parametrize("loss", gate_simulation.LOSSES)
@pytest.mark.parametrize("make", [made_up, recorded])
def test_a_candidate_has_the_loss_and_the_discordance_that_it_is_said_to_have(make: Callable[[float], Population], loss: float) -> None:
    population, unchanged = make(loss), make(0.0)
    pairs, same = population.cells().sum(axis=2), unchanged.cells().sum(axis=2)

    assert pairs[1, 0] - pairs[0, 1] == pytest.approx(loss, abs=1e-9)
    assert same[1, 0] + same[0, 1] == pytest.approx(0.06, abs=1e-9)
    assert population.weights.sum() == pytest.approx(1)
    assert np.all(population.weights >= 0)


def test_two_runs_of_a_candidate_have_the_same_loss_and_are_not_independent() -> None:
    cells = recorded(0.02).cells()

    assert cells[1, 0].sum() == pytest.approx(cells[1, :, 0].sum())
    assert cells[:, 1, 1].sum() > cells[:, 1].sum() * cells[:, :, 1].sum()


def test_the_same_seed_draws_the_same_candidates() -> None:
    first, again, other = (gate_simulation.drawn(made_up(0.01), [100, 100], 50, seed) for seed in (1, 1, 2))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(first.sum(axis=(2, 3, 4)), np.full((50, 2), 100))


BARS = {
    "below a ceiling": (Bar(what="", value=5.9, bound=6, at_most=True), True),
    "above a ceiling": (Bar(what="", value=6.1, bound=6, at_most=True), False),
    "within the slack": (Bar(what="", value=6.1, bound=6, at_most=True, slack=0.2), True),
    "above a floor": (Bar(what="", value=95.1, bound=95, at_most=False), True),
    "below a floor": (Bar(what="", value=94.9, bound=95, at_most=False), False),
}


@pytest.mark.parametrize(("bar", "held"), BARS.values(), ids=BARS)
def test_a_bar_is_held_or_missed(bar: Bar, held: bool) -> None:
    assert bar.held is held


def test_a_short_run_holds_every_bar(capsys: pytest.CaptureFixture[str]) -> None:
    assert gate.main(["--quick"]) == 0

    printed = capsys.readouterr().out
    assert "402 of 402 bars held" in printed
    assert "MISS" not in printed


def test_a_missed_bar_fails_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    missed = Bar(what="a loss is found", value=90, bound=95, at_most=False)
    monkeypatch.setattr(gate, "simulate", lambda draws, sizes, say: Measured(draws=draws))
    monkeypatch.setattr(gate, "tables", lambda measured, sizes: "")
    monkeypatch.setattr(gate, "bars", lambda measured: [missed])
    monkeypatch.setattr(gate_soft_measures, "measure", lambda draws, say, *, is_quick: MeasuredSoft(draws=draws))
    monkeypatch.setattr(gate_soft_measures, "tables", lambda measured: "")
    monkeypatch.setattr(gate_soft_measures, "bars", lambda measured: [])

    assert gate.main([]) == 1
    assert "MISS   90.0 %  (at least 95)  a loss is found" in capsys.readouterr().out
