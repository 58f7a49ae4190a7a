"""What is said of a whole session, beside what `tests/plugin/test_gate*.py` ask of it through pytest."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.common.statistics import mean_of_runs
from pytest_lighteval.comparison.decision import Policy
from pytest_lighteval.evaluate import evaluate
from pytest_lighteval.gates.gate_settings import GateSettings
from pytest_lighteval.gates.judge import Judge
from pytest_lighteval.gates.session_reports import Measured, judge_session
from pytest_lighteval.tasks.suite_file import load_suite
from pytest_lighteval.types import GateSpec
from tests.plugin.gated import write_gated

GATE = GateSettings(
    file=None, baselines=None, baseline_names=(), policy=Policy(), allowed=frozenset(), waivers=None,
    today=datetime.date(2026, 1, 2), save=None,
)  # fmt: skip


@pytest.mark.parametrize(("floor", "problem"), [(0.69, "below the floor 0.6900 (n = 400), the mean of 2 attempts"), (0.5, None)])
def test_an_attempt_whose_process_died_is_judged_together_with_the_next_one(tmp_path: Path, floor: float, problem: str | None) -> None:
    """The worker that ran the last attempt knows nothing of the first one, and passed it alone."""
    task = replace(next(iter(load_suite(write_gated(tmp_path)))), gates={"acc": GateSpec(min=floor)})
    first = evaluate(task, FakeBackend(accuracy=0.7, lose=0.15), few_shots=0)
    last = evaluate(task, FakeBackend(accuracy=0.7), few_shots=0)
    judge = Judge(gate=GATE).planned([(last.key, task)])
    alone = judge.verdicts(task, last, model="m")
    assert [verdict.outcome for verdict in alone] == ["passed"]
    together = replace(last, metrics=mean_of_runs([first, last]))

    judged = judge_session(
        judge,
        Measured(results={last.key: together}, earlier={last.key: (first,)}, unjoined={last.key: last}, errors={}, skipped={}, model="m"),
        groups={},
        verdicts={str(last.key): alone},
        gates_are_required=False,
    )

    (report,) = judged.reports
    assert report.name == str(last.key)
    assert (report.problem or "").endswith(problem or "")
    assert (report.problem is None) is (problem is None)
    assert judged.verdicts[str(last.key)][0].value == pytest.approx(together["acc"])
