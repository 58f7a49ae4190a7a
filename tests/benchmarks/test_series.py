"""A small run of the simulation of checkpoints shows what its tables claim."""

from __future__ import annotations

from benchmarks.series import red_series, whole
from pytest_lighteval.gates.series import comparison_share


def test_alpha_at_every_checkpoint_makes_series_red_and_its_shares_do_not() -> None:
    naive, fair = (red_series(share, checkpoints=40, draws=200, seed=3) for share in (whole, comparison_share))

    assert naive.certain > 0.5
    assert fair.certain < 0.05


def test_a_large_drop_is_found() -> None:
    assert red_series(comparison_share, checkpoints=10, draws=40, seed=3, drop=0.05, at=10).red > 0.9
