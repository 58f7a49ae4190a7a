"""How much several runs of one model differ, document by document (`--gate-calibrate`)."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_lighteval.baselines.model import Baseline
from pytest_lighteval.baselines.repeats import discordance, merge_runs
from pytest_lighteval.baselines.save import baseline_task, provenance_of
from pytest_lighteval.types import Calibration, TaskResult


def calibrated(runs: Sequence[TaskResult]) -> dict[str, Calibration]:
    """The calibration of two or more runs of a task, by reported metric.

    Raises UserInputError if they are not repeats of one measurement (`merge_runs`).
    """
    unknown = provenance_of(backend={}, environment={}, settings={})
    merged = merge_runs([Baseline(tasks={run.key: baseline_task(run, unknown)}) for run in runs]).tasks[runs[0].key]
    return {
        name: Calibration(
            runs=len(runs), n=number.n, values=tuple(run.metrics[name].value for run in runs), discordance=discordance(merged, name)
        )
        for name, number in runs[0].metrics.items()
    }
