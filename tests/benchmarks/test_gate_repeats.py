"""Several runs of a side, nothing changed: the runs are drawn as described, and the test finds a loss no more often than it may."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import gate_repeats
from benchmarks.gate_repeats import KINDS, drawn_side, false_losses
from pytest_lighteval.comparison.exchange import Runs, exchange_test, exchanges


@pytest.mark.parametrize("kind", KINDS)
def test_the_runs_of_a_side_have_the_correlation_that_they_are_said_to_have(kind: str) -> None:
    side = drawn_side(np.random.default_rng(1), 20_000, 4, 0.3, KINDS[kind])

    assert side.mean() == pytest.approx(0.3, abs=0.01)
    assert float(np.asarray(np.corrcoef(side[:, 0], side[:, 1])).item(1)) == pytest.approx(KINDS[kind], abs=0.03)


def test_eight_independent_runs_against_one_find_a_loss_as_rarely_as_they_may() -> None:
    """200 documents, each right in 2 % of the runs. Sign flips of the means alone find a loss at 0.08 % fifty times too often."""
    at_alpha, at_share = false_losses((200, 0.02, (8, 1), "independent"), 500, [1])
    rng, alone = np.random.default_rng(1), 0
    for _ in range(500):
        before, after = drawn_side(rng, 200, 8, 0.02, 0.0), drawn_side(rng, 200, 1, 0.02, 0.0)
        (look,) = exchange_test(exchanges([[Runs(before.mean(axis=1, keepdims=True), after)]]), [0.0008])
        alone += look.significant

    assert (at_alpha < 5, at_share < 0.5) == (True, True)
    assert alone > 10


@pytest.mark.parametrize("shape", [(4, 1), (8, 1)])
def test_copies_of_one_run_find_a_loss_as_rarely_as_they_may(shape: tuple[int, int]) -> None:
    at_alpha, _ = false_losses((60, 0.5, shape, "identical"), 500, [2])

    assert 1 < at_alpha < 6 + 3 * 100 * np.sqrt(0.05 * 0.95 / 500)


def test_the_table_has_a_row_for_each_kind_and_a_column_for_each_shape() -> None:
    measured = gate_repeats.simulate_cells(2, lambda done: None, units=[30], shapes=[(1, 1), (2, 1)])

    head, rows = gate_repeats.table(measured)

    assert head == ["documents", "right", "runs of a side", "1 : 1", "2 : 1"]
    assert [row[:3] for row in rows[:3]] == [["30", "2 %", "independent"], ["30", "2 %", "half correlated"], ["30", "2 %", "identical"]]
    assert len(rows) == 9
    assert all(len(row) == len(head) for row in rows)
