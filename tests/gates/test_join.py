"""Thresholds, comparison and waivers of one number make one verdict."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.gates.join import join_verdicts, new_verdict
from pytest_lighteval.gates.waivers import load_waivers
from pytest_lighteval.types import MetricResult, PairedVerdict, TaskKey, Verdict

KEY = TaskKey(suite="s", task="t", few_shots=0)
ACC = MetricResult(value=0.5, stderr=0.1, n=25, higher_is_better=True)
TODAY = datetime.date(2026, 6, 1)


def floor(outcome: Any) -> Verdict:
    return Verdict(metric="acc", outcome=outcome, message="acc 0.5 and a floor", value=0.5, stderr=0.1, n=25, min=0.4)


def paired(outcome: Any, **fields: Any) -> PairedVerdict:
    return PairedVerdict(outcome=outcome, line=f"acc line {outcome}", red=outcome in ("REGRESSED", "STALE"), **fields)


@pytest.mark.parametrize(
    ("threshold", "compared", "outcome"),
    [
        ("passed", None, "passed"),
        ("failed", None, "failed"),
        (None, "PASSED", "passed"),
        (None, "IMPROVED", "passed"),
        (None, "REGRESSED", "failed"),
        (None, "STALE", "failed"),
        (None, "INCONCLUSIVE", "inconclusive"),
        (None, "NEW", "new"),
        ("passed", "NEW", "passed"),
        ("passed", "REGRESSED", "failed"),
        ("failed", "PASSED", "failed"),
        ("failed", "INCONCLUSIVE", "failed"),
        ("passed", "INCONCLUSIVE", "inconclusive"),
    ],
)
def test_the_worst_of_both_counts(threshold: str | None, compared: str | None, outcome: str) -> None:
    floors = [] if threshold is None else [floor(threshold)]
    comparisons = {} if compared is None else {"acc": paired(compared)}

    (verdict,) = join_verdicts(KEY, {"acc": ACC}, floors, comparisons, waivers=None, today=TODAY)

    assert verdict.outcome == outcome
    said = [(said.message, said.outcome == "failed") for said in floors] + [(said.line, said.red) for said in comparisons.values()]
    assert verdict.message == "; ".join(message for message, fails in said if fails or outcome != "failed")


def test_an_advisory_comparison_leaves_the_threshold_its_say() -> None:
    advisory = {"acc": PairedVerdict(outcome="REGRESSED", line="acc", red=False, advisory=True)}

    (alone,) = join_verdicts(KEY, {"acc": ACC}, [], advisory, waivers=None, today=TODAY)
    (beside,) = join_verdicts(KEY, {"acc": ACC}, [floor("passed")], advisory, waivers=None, today=TODAY)

    assert (alone.outcome, beside.outcome) == ("advisory", "passed")


@pytest.mark.parametrize(
    ("compared", "least", "until", "outcome"),
    [
        ("REGRESSED", 0.5, "2026-06-01", "waived"),
        ("REGRESSED", 0.51, "2026-06-01", "failed"),
        ("REGRESSED", 0.4, "2026-05-31", "failed"),
        ("STALE", 0.4, "2026-06-01", "failed"),
        ("PASSED", 0.4, "2026-06-01", "passed"),
    ],
    ids=["holds", "below its floor", "expired", "nothing was measured", "not needed"],
)
def test_a_waiver_covers_a_loss_down_to_its_floor_and_nothing_else(
    tmp_path: Path, compared: str, least: float, until: str, outcome: str
) -> None:
    path = tmp_path / "w.yaml"
    path.write_text(f"- {{task: s|t, reason: known, until: {until}, floor: {least}}}\n")

    (verdict,) = join_verdicts(KEY, {"acc": ACC}, [], {"acc": paired(compared)}, waivers=load_waivers(path), today=TODAY)

    assert verdict.outcome == outcome
    assert (verdict.waiver is None) is (until < "2026-06-01")


def test_a_new_number_is_reported_with_its_score() -> None:
    assert new_verdict("acc", ACC).line == "acc 0.500  n = 25  NEW (not in the baseline)"
