"""A small run of the simulation of refreshes shows what its tables claim."""

from __future__ import annotations

from benchmarks.refreshing import exceeds, loss_when_seen, red_after


def test_keeping_the_best_makes_honest_runs_red_and_the_rule_of_the_gate_does_not() -> None:
    best, fair = (red_after(20, keeps_best=keeps_best, documents=1319, draws=200, seed=3) for keeps_best in (True, False))

    assert best > 0.2
    assert fair < 0.09


def test_a_pinned_baseline_ends_a_drift_that_the_newest_one_never_sees() -> None:
    alone, pinned = (loss_when_seen(0.004, pinned=pinned, documents=14042, draws=5, seed=3) for pinned in (False, True))

    assert alone.median > 20
    assert 2 < pinned.median < 3.5


def test_an_allowance_is_exceeded_only_when_that_is_certain() -> None:
    assert not exceeds(40, 40, 26, 1319)
    assert exceeds(40, 40, 60, 1319)
