"""What the controller says when all items are done: supersets, the pooled test, what should have run and did not, and the saved baseline.

Each is a report of its own, a test that no worker ran: seen in the terminal, in JUnit and in the exit status.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pytest

from pytest_lighteval.baselines.save import baseline_of
from pytest_lighteval.errors import LightevalError
from pytest_lighteval.gates.floors import judge
from pytest_lighteval.gates.gate_file import gates_for, unmatched
from pytest_lighteval.gates.join import join_verdicts
from pytest_lighteval.gates.session_verdicts import POOLED, SessionGates
from pytest_lighteval.gates.waivers import expired_waivers, unmatched_waivers
from pytest_lighteval.plugin.gate_settings import SKIPPED, UNGATED
from pytest_lighteval.plugin.gates import has_floor, unfit_for_floors
from pytest_lighteval.plugin.session import Plan, plan_of
from pytest_lighteval.reports.serialize import to_plain
from pytest_lighteval.types import MetricResult, PairedVerdict, RunReport, TaskKey, TaskResult, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """One report of the controller's own."""

    name: str
    """A superset, a task, or what else it is about."""
    problem: str | None = None
    """Why it fails. None: it passes."""
    expected: str | None = None
    """Why its failure is expected, if it is: a waiver's words."""


@dataclass(slots=True, kw_only=True)
class Endings:
    """All that is said at the end."""

    reports: list[Ending] = field(default_factory=list)
    verdicts: dict[str, tuple[Verdict, ...]] = field(default_factory=dict)
    """Of supersets and the pooled test."""
    notices: list[str] = field(default_factory=list)
    """One line each: gates and waivers that are about nothing, or expired."""


def end_session(
    config: pytest.Config,
    *,
    results: Mapping[TaskKey, TaskResult],
    errors: Mapping[str, str],
    skipped: Mapping[str, str],
    groups: dict[str, dict[str, MetricResult]],
    verdicts: Mapping[str, tuple[Verdict, ...]],
) -> Endings:
    """Judge what needs the whole session; the row of a superset with one task left is added to `groups` where it is judged."""
    plan = plan_of(config)
    gate = plan.settings.gate
    ended = Endings(verdicts=dict(verdicts))
    unscored = [key for text in (*errors, *skipped) if (key := TaskKey.parse(text)) is not None]
    measured = [*results, *unscored]
    session_gates = _session_gates(plan, results, skipped)
    supersets = sorted({group for key in measured if (group := key.superset) is not None})
    for group in supersets:
        _judge_group(ended, plan, group, session_gates, results, [key for key in unscored if key.superset == group], groups)
    if session_gates is not None:
        _judge_pool(ended, session_gates)
    _report_missing(ended, plan, results, errors, skipped)
    if session_gates is not None:
        ended.verdicts = session_gates.with_adjusted(ended.verdicts)
    if gate.file is not None:
        idle = unmatched(gate.file, [*measured, *supersets])
        ended.notices += [f"{gate.file.path}:{entry.line}: {entry.pattern}: nothing in this run is held to it" for entry in idle]
        # part of a session, such as --lf, may be held to a baseline or a suite's floor alone
        is_gated = bool(plan.gates is not None and plan.gates.gates) or any(has_floor(plan, key, task) for key, task in plan.items or ())
        is_idle = len(idle) == len(gate.file.entries) and not is_gated
        if is_idle and UNGATED not in gate.allowed and config.getoption("lighteval_gates") is not None:
            problem = f"{gate.file.path}: nothing in this session is held to any of its gates (--gate-allow {UNGATED})"
            ended.reports.append(Ending(name="gates", problem=problem))
    if gate.waivers is not None:
        ended.notices += expired_waivers(gate.waivers, gate.today)
        ended.notices += unmatched_waivers(gate.waivers, [*measured, *supersets])
    return ended


def _session_gates(plan: Plan, results: Mapping[TaskKey, TaskResult], skipped: Mapping[str, str]) -> SessionGates | None:
    gate = plan.settings.gate
    if plan.gates is None or gate.baselines is None:
        return None
    return SessionGates(
        plan=plan.gates,
        find=gate.baselines.find,
        results=results,
        policy=gate.policy,
        allow=gate.allowed_mismatches,
        settings=to_plain(plan.settings.evaluation),
        waivers=gate.waivers,
        today=gate.today,
        promised=gate.baselines.keys,
        may_lack=frozenset(key for key in plan.gates.expected if str(key) in skipped) if SKIPPED in gate.allowed else frozenset(),
    )


def _judge_group(
    ended: Endings,
    plan: Plan,
    group: TaskKey,
    session_gates: SessionGates | None,
    results: Mapping[TaskKey, TaskResult],
    unscored: Sequence[TaskKey],
    groups: dict[str, dict[str, MetricResult]],
) -> None:
    gate, text = plan.settings.gate, str(group)
    wanted = {metric: spec for metric, spec in gates_for(group, {}, gate.file).items() if spec.is_floor}
    paired = {} if session_gates is None else session_gates.group(group)
    if not wanted and not paired:
        return
    try:
        # a member without a score is a member all the same: a floor held against the others would be another floor
        if wanted and unscored:
            raise LightevalError(f"{len(unscored)} of its tasks have no score: {', '.join(map(str, unscored))}")
        # a superset of which one task is left has no row of its own, and its floor holds all the same
        metrics = groups.get(text) or next((dict(result.metrics) for key, result in results.items() if key.superset == group), {})
        groups.setdefault(text, metrics)
        members = [result for key, result in results.items() if key.superset == group]
        floors = judge(metrics, wanted, key=text, unfit=unfit_for_floors(plan, members))
        ended.verdicts[text] = join_verdicts(group, metrics, floors, paired, waivers=gate.waivers, today=gate.today)
        ended.reports.append(_ending(text, ended.verdicts[text]))
    except LightevalError as error:
        ended.reports.append(Ending(name=text, problem=f"{text}: {str(error).removeprefix(f'{text}: ')}"))


def _judge_pool(ended: Endings, session_gates: SessionGates) -> None:
    paired = session_gates.pooled()
    if paired is not None:
        ended.verdicts[POOLED] = (_pooled_verdict(paired),)
        ended.reports.append(_ending(POOLED, ended.verdicts[POOLED]))


def _pooled_verdict(paired: PairedVerdict) -> Verdict:
    outcome: Literal["failed", "inconclusive", "passed"] = "failed" if paired.red else "passed"
    if paired.outcome == "INCONCLUSIVE":
        outcome = "inconclusive"
    return Verdict(
        metric=POOLED,
        outcome=outcome,
        message=paired.line,
        value=float("nan") if paired.candidate is None else paired.candidate,
        stderr=None,
        n=paired.n or 0,
        paired=paired,
    )


def _ending(name: str, verdicts: Sequence[Verdict]) -> Ending:
    failed = [verdict.message for verdict in verdicts if verdict.outcome == "failed"]
    waived = [verdict.message for verdict in verdicts if verdict.outcome == "waived"]
    told = "; ".join(failed or waived)
    return Ending(
        name=name,
        problem=f"{name}: {told}" if failed else None,
        expected=f"{name}: {told}" if waived and not failed else None,
    )


def _report_missing(
    ended: Endings, plan: Plan, results: Mapping[TaskKey, TaskResult], errors: Mapping[str, str], skipped: Mapping[str, str]
) -> None:
    """Fail where a selected task with a floor has no score, or a baseline was given and something was not held against it."""
    gates, gate = plan.gates, plan.settings.gate
    wanted = {key: "it has a floor" for key, task in plan.items or () if has_floor(plan, key, task)}
    wanted |= dict.fromkeys(gates.expected if gates is not None else (), "the baseline promises it")
    for key, because in sorted(wanted.items()):
        text = str(key)
        if key in results or text in errors or SKIPPED in gate.allowed:
            continue
        why = f"it was skipped: {skipped[text]}" if text in skipped else "it did not run"
        ended.reports.append(Ending(name=text, problem=f"{text}: {because}, and {why} (--gate-allow {SKIPPED})"))
    if gates is None:
        return
    known = {key for key, _ in plan.items or ()}
    if unplanned := [str(key) for key in results if key not in known]:
        # under xdist the controller finds the tasks by their ids; a suite that it cannot find must not go unjudged
        problem = f"{len(unplanned)} tasks ran that the session's gates do not know: {', '.join(unplanned[:3])}"
        ended.reports.append(Ending(name="unplanned", problem=problem))
    if not gates.gates and UNGATED not in gate.allowed:
        names, held = ", ".join(gate.baseline_names), [str(key) for key in gate.baselines.keys] if gate.baselines else []
        told = ", ".join(held[:3]) + (", ..." if len(held) > 3 else "")
        problem = f"nothing in this session is held against {names}, which holds {told or 'no task'} (--gate-allow {UNGATED})"
        ended.reports.append(Ending(name="baseline", problem=problem))


# ------------------------------------------------------------------------------------------------------- saving


def save_baseline(config: pytest.Config, report: RunReport) -> list[str]:
    """Write what `--save-baseline` asks for, and say so in one line a file. Raises LightevalError: nothing was written."""
    plan = plan_of(config)
    gate = plan.settings.gate
    assert gate.save is not None
    measured = {result.key for result in report.results}
    lacking = [str(key) for key, _ in plan.items or () if key not in measured and str(key) not in report.skipped]
    if lacking:
        named = ", ".join(lacking[:3]) + (", ..." if len(lacking) > 3 else "")
        raise LightevalError(f"--save-baseline {gate.save.path}: not written, as the run is not complete: no score of {named}")
    revisions = {key: task.hf_revision for key, task in plan.items or () if task.hf_revision is not None}
    try:
        saved = gate.save.save(baseline_of(report, data_revisions=revisions), date=gate.today.isoformat())
    except OSError as error:
        raise LightevalError(f"--save-baseline {error.filename or gate.save.path}: cannot be written: {error.strerror}") from error
    lines = []
    for path, refresh in saved.items():
        counts = {"new": refresh.added, "measured again": refresh.replaced, "kept": refresh.kept}
        told = ", ".join(f"{len(keys)} {what}" for what, keys in counts.items() if keys)
        lines.append(f"baseline: {path} ({told})")
        lines += [f"baseline: accepted: {worse}" for worse in refresh.worse]
    return lines
