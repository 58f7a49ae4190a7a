"""The verdicts of runs that were recorded, as one session would have given them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_lighteval.commands.joined_runs import JoinedRuns
from pytest_lighteval.errors import LightevalError
from pytest_lighteval.gates.gate_settings import GateSettings
from pytest_lighteval.gates.judge import Judge
from pytest_lighteval.gates.session_reports import UNENDED, Measured, SessionReport, SessionReports, judge_session, unended_reports
from pytest_lighteval.reports.groups import group_results
from pytest_lighteval.reports.rows import failed_verdicts
from pytest_lighteval.types import RunReport, TaskKey, TaskResult, Verdict, results_that_count


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRuns:
    """Joined runs with their verdicts."""

    report: RunReport
    reports: tuple[SessionReport, ...]
    """What is said beside the verdicts of tasks."""
    notices: tuple[str, ...]

    @property
    def is_red(self) -> bool:
        """Whether a task has no score, or a gate failed."""
        return bool(self.report.errors or failed_verdicts(self.report) or any(report.problem for report in self.reports))


def judge_joined(
    joined: JoinedRuns, gate: GateSettings, *, gates_are_required: bool, missing: SessionReports, share: float = 1.0
) -> JudgedRuns:
    """Every verdict that one session over all of these tasks would have had. Raises UserInputError for a gate that nothing can meet.

    Args:
        joined: the runs.
        gate: what they are held to.
        gates_are_required: as `judge_session` takes it.
        missing: what is said of tasks that nobody ran.
        share: of alpha, where further runs are judged beside this one.
    """
    judge = Judge(gate=gate, share=share, settings=joined.settings).planned(joined.items)
    report = joined.report
    earlier = _earlier_attempts(report)
    model = report.backend.get("fingerprint")
    errors, results, verdicts = _item_verdicts(judge, report, earlier, model)
    planned = {key for key, _ in joined.items}
    unended = sorted(key for key in planned - results.keys() if str(key) not in {*errors, *report.skipped})
    errors |= {str(key): UNENDED for key in unended}
    groups = group_results(list(results.values()))
    judged = judge_session(
        judge,
        Measured(results=results, earlier=earlier, errors=errors, skipped=report.skipped, model=model),
        groups=groups,
        verdicts=verdicts,
        gates_are_required=gates_are_required,
    )
    recalled = report.cache.get("recalled", 0)
    cached = [f"{recalled} of {recalled + report.cache['misses']} answers are remembered ones"] if recalled else []
    return JudgedRuns(
        report=replace(
            report,
            results=tuple(results[key] for key in sorted(results)),
            groups=groups,
            verdicts=dict(sorted(judged.verdicts.items())),
            baselines=gate.compared_files(Path()),
            errors=dict(sorted(errors.items())),
        ),
        reports=(*unended_reports(unended, ()), *missing.reports, *judged.reports),
        notices=(*joined.notes, *judged.notices, *missing.notices, *cached),
    )


def _earlier_attempts(report: RunReport) -> dict[TaskKey, tuple[TaskResult, ...]]:
    """Attempts at a task that were judged together with its last one: whoever tries again proves nothing."""
    found = {result.key: results_that_count(report.attempts.get(str(result.key), ())[:-1]) for result in report.results}
    return {key: results for key, results in found.items() if results}


def _item_verdicts(
    judge: Judge, report: RunReport, earlier: Mapping[TaskKey, tuple[TaskResult, ...]], model: str | None
) -> tuple[dict[str, str], dict[TaskKey, TaskResult], dict[str, tuple[Verdict, ...]]]:
    errors, results = dict(report.errors), {result.key: result for result in report.results}
    verdicts: dict[str, tuple[Verdict, ...]] = {}
    tasks = dict(judge.items)
    for key in sorted(results.keys() & tasks.keys()):
        try:
            verdicts[str(key)] = judge.verdicts(tasks[key], results[key], earlier=earlier.get(key, ()), model=model)
        except LightevalError as error:
            errors[str(key)] = str(error).removeprefix(f"{key}: ")
            del results[key]
    return errors, results, verdicts
