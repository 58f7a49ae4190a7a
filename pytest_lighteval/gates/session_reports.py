"""What is said of a whole session when its tasks are done: supersets, the pooled test, what should have run and did not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from pytest_lighteval.errors import LightevalError
from pytest_lighteval.gates.floors import judge as judge_floors
from pytest_lighteval.gates.gate_file import gates_for, unmatched
from pytest_lighteval.gates.gate_settings import BLIND, SKIPPED, UNGATED
from pytest_lighteval.gates.join import failure_text, join_verdicts
from pytest_lighteval.gates.judge import Judge
from pytest_lighteval.gates.pinned import compare_pinned
from pytest_lighteval.gates.red_gates import RedGates
from pytest_lighteval.gates.session_verdicts import POOLED, SessionGates
from pytest_lighteval.gates.waivers import expired_waivers, misnamed_waivers, unmatched_waivers
from pytest_lighteval.types import MetricResult, PairedVerdict, TaskKey, TaskResult, Verdict

UNENDED = "it was planned, and ended without a result, an error or a skip"
"""Why there is no score of a task that nothing else was said about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReport:
    """One report of the controller's own."""

    name: str
    """A superset, a task, or what else it is about."""
    problem: str | None = None
    """Why it fails. None: it passes."""
    expected: str | None = None
    """Why its failure is expected, if it is: a waiver's words."""


@dataclass(slots=True, kw_only=True)
class SessionReports:
    """All that is said at the end."""

    reports: list[SessionReport] = field(default_factory=list)
    verdicts: dict[str, tuple[Verdict, ...]] = field(default_factory=dict)
    """Of supersets and the pooled test."""
    notices: list[str] = field(default_factory=list)
    """One line each: gates and waivers that are about nothing, or expired."""


def unended_reports(keys: Sequence[TaskKey], ids: Sequence[str]) -> list[SessionReport]:
    """A failure for each task that was planned and has no end, and one for all other tests of which a worker reported nothing."""
    reports = [SessionReport(name=str(key), problem=f"{key}: {UNENDED}") for key in keys]
    if ids:
        problem = f"{len(ids)} test{'s' * (len(ids) > 1)} that workers were to run ended without any report: {', '.join(ids[:3])}"
        reports.append(SessionReport(name="unreported", problem=problem + (", ..." if len(ids) > 3 else "")))
    return reports


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How the items of a session ended."""

    results: Mapping[TaskKey, TaskResult]
    """Of a task with several attempts the last result, with the means of their metrics."""
    earlier: Mapping[TaskKey, tuple[TaskResult, ...]] = field(default_factory=dict)
    """Results of earlier attempts that are judged together with those of `results`."""
    unjoined: Mapping[TaskKey, TaskResult] = field(default_factory=dict)
    """Last attempts that were judged without the earlier ones, because those ran in another process."""
    errors: Mapping[str, str]
    """Task key -> why it has no score."""
    skipped: Mapping[str, str]
    """Task key -> reason."""
    model: str | None = None
    """The fingerprint of the model. None: no backend was used."""

    @property
    def unscored(self) -> list[TaskKey]:
        """The tasks without a score."""
        return [key for text in (*self.errors, *self.skipped) if (key := TaskKey.parse(text)) is not None]

    def members(self, group: TaskKey) -> list[TaskResult]:
        """What was measured of a superset's tasks."""
        return [result for key, result in self.results.items() if key.superset == group]


def judge_session(
    judge: Judge,
    measured: Measured,
    *,
    groups: dict[str, dict[str, MetricResult]],
    verdicts: Mapping[str, tuple[Verdict, ...]],
    gates_are_required: bool,
) -> SessionReports:
    """Judge what needs the whole session.

    Args:
        judge: what the scores are held to.
        measured: what came of every item.
        groups: the rows of supersets; that of a superset with one task left is added where it is judged.
        verdicts: of the tasks, by key.
        gates_are_required: a gates file was named for this very session, so that none of its gates may be idle.
    """
    gate = judge.gate
    ended = SessionReports(verdicts=dict(verdicts))
    _judge_unjoined(ended, judge, measured)
    keys = [*measured.results, *measured.unscored]
    session_gates, pinned_gates = _session_gates(judge, measured), _pinned_gates(judge, measured)
    supersets = sorted({group for key in keys if (group := key.superset) is not None})
    for group in supersets:
        _judge_group(ended, judge, group, (session_gates, pinned_gates), measured, groups)
    if session_gates is not None:
        _judge_pool(ended, session_gates, judge.red, measured.model)
    _report_missing(ended, judge, measured)
    _report_blind(ended, judge)
    if session_gates is not None:
        ended.verdicts = session_gates.with_adjusted(ended.verdicts)
    if gate.file is not None:
        idle = unmatched(gate.file, [*keys, *supersets])
        ended.notices += [f"{gate.file.path}:{entry.line}: {entry.pattern}: no task of this run matches it" for entry in idle]
        # part of a session, such as --lf, may be held to a baseline or a suite's floor alone
        is_compared = judge.plan is not None and bool(judge.plan.gates)
        is_gated = is_compared or any(judge.has_floor(key, task) for key, task in judge.items)
        is_idle = len(idle) == len(gate.file.entries) and not is_gated
        if is_idle and UNGATED not in gate.allowed and gates_are_required:
            problem = f"{gate.file.path}: no task of this session has any of its gates (--gate-allow {UNGATED})"
            ended.reports.append(SessionReport(name="gates", problem=problem))
    if gate.waivers is not None:
        ended.notices += expired_waivers(gate.waivers, gate.today)
        ended.notices += unmatched_waivers(gate.waivers, [*keys, *supersets])
        ended.notices += misnamed_waivers(gate.waivers, judge.items)
    return ended


def _judge_unjoined(ended: SessionReports, judge: Judge, measured: Measured) -> None:
    """Judge all attempts at a task together where its item could not."""
    tasks = dict(judge.items)
    for key, last in sorted(measured.unjoined.items(), key=lambda entry: entry[0]):
        earlier = measured.earlier.get(key, ())
        if not earlier or key not in tasks:
            continue
        verdicts = judge.verdicts(tasks[key], last, earlier=earlier, model=measured.model)
        ended.verdicts[str(key)] = verdicts
        ended.reports.append(_report(str(key), verdicts))


def _session_gates(judge: Judge, measured: Measured) -> SessionGates | None:
    gate = judge.gate
    if judge.plan is None or gate.baselines is None:
        return None
    return SessionGates(
        plan=judge.plan,
        find=gate.baselines.find,
        results=measured.results,
        earlier=measured.earlier,
        policy=gate.policy,
        allow=gate.allowed_mismatches,
        settings=judge.settings,
        waivers=gate.waivers,
        today=gate.today,
        promised=gate.baselines.keys,
        may_lack=frozenset(key for key in judge.plan.expected if str(key) in measured.skipped) if SKIPPED in gate.allowed else frozenset(),
    )


def _pinned_gates(judge: Judge, measured: Measured) -> SessionGates | None:
    gates = _session_gates(judge, measured)
    if gates is None or judge.pinned is None or judge.gate.pinned is None:
        return None
    pinned = judge.gate.pinned
    compare = partial(compare_pinned, is_accepted=judge.gate.repin is not None)
    return replace(gates, plan=judge.pinned, find=pinned.find, promised=pinned.keys, compare=compare)


def _judge_group(
    ended: SessionReports,
    judge: Judge,
    group: TaskKey,
    gates: tuple[SessionGates | None, SessionGates | None],
    measured: Measured,
    groups: dict[str, dict[str, MetricResult]],
) -> None:
    gate, text = judge.gate, str(group)
    floored = {metric: spec for metric, spec in gates_for(group, {}, gate.file).items() if spec.is_floor}
    paired, pinned = ({} if of is None else of.group(group) for of in gates)
    if not floored and not paired and not pinned:
        return
    try:
        # a member without a score is a member all the same: a floor for the others alone would be another floor
        unscored = [key for key in measured.unscored if key.superset == group]
        if floored and unscored:
            raise LightevalError(f"{len(unscored)} of its tasks have no score: {', '.join(map(str, unscored))}")
        # a superset of which one task is left has no row of its own, and its floor holds all the same
        members = measured.members(group)
        metrics = groups.get(text) or next((dict(result.metrics) for result in members), {})
        groups.setdefault(text, metrics)
        unfit, left_out = judge.unfit_for_floors(members), judge.not_judged(members)
        floors = judge_floors(metrics, floored, key=text, unfit=unfit, not_judged=left_out)
        verdicts = join_verdicts(group, metrics, floors, paired, pinned, waivers=gate.waivers, today=gate.today)
        ended.verdicts[text] = judge.red.reviewed(text, verdicts, model=measured.model)
        ended.reports.append(_report(text, ended.verdicts[text]))
    except LightevalError as error:
        ended.reports.append(SessionReport(name=text, problem=f"{text}: {str(error).removeprefix(f'{text}: ')}"))


def _judge_pool(ended: SessionReports, session_gates: SessionGates, red: RedGates, model: str | None) -> None:
    paired = session_gates.pooled()
    if paired is not None:
        ended.verdicts[POOLED] = red.reviewed(POOLED, (_pooled_verdict(paired),), model=model)
        ended.reports.append(_report(POOLED, ended.verdicts[POOLED]))


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


def _report(name: str, verdicts: Sequence[Verdict]) -> SessionReport:
    failed = [failure_text(verdict) for verdict in verdicts if verdict.outcome == "failed"]
    waived = [verdict.message for verdict in verdicts if verdict.outcome == "waived"]
    messages = "; ".join(failed or waived)
    return SessionReport(
        name=name,
        problem=f"{name}: {messages}" if failed else None,
        expected=messages if waived and not failed else None,
    )


def _report_blind(ended: SessionReports, judge: Judge) -> None:
    """Name the gates that would not have found a huge loss, and fail where no gate would have."""
    compared = [
        (key, verdict)
        for key, verdicts in ended.verdicts.items()
        for verdict in verdicts
        if verdict.paired is not None and not verdict.paired.advisory and verdict.paired.comparison is not None
    ]
    # a floor sees a collapse on one document
    blind = [
        (key, verdict)
        for key, verdict in compared
        if verdict.paired is not None and verdict.paired.blind and verdict.outcome == "inconclusive" and verdict.min is verdict.max is None
    ]
    gates = [f"{key} {verdict.metric} (n = {verdict.n})" for key, verdict in blind if key != POOLED]
    if not gates:
        return
    named = ", ".join(gates[:3]) + ", ..." * (len(gates) > 3)
    if len(blind) < len(compared):
        ended.notices.insert(0, f"WARNING: blind gates, which would not have found ten times the loss that they allow: {named}")
        return
    problem = f"no gate of this session would have found ten times the loss that it allows: {named}; more documents would"
    if BLIND in judge.gate.allowed:
        ended.notices.insert(0, f"WARNING: {problem}")
    else:
        ended.reports.append(SessionReport(name="blind", problem=f"{problem} (--gate-allow {BLIND})"))


def _report_missing(ended: SessionReports, judge: Judge, measured: Measured) -> None:
    """Fail where a selected task with a floor has no score, or a baseline was given and something was not compared with it."""
    gates, gate = judge.plan, judge.gate
    required = {key: "it has a floor" for key, task in judge.items if judge.has_floor(key, task)}
    required |= dict.fromkeys(gates.expected if gates is not None else (), "the baseline promises it")
    for key, because in sorted(required.items()):
        text = str(key)
        if key in measured.results or text in measured.errors or SKIPPED in gate.allowed:
            continue
        why = f"it was skipped: {measured.skipped[text]}" if text in measured.skipped else "it did not run"
        ended.reports.append(SessionReport(name=text, problem=f"{text}: {because}, and {why} (--gate-allow {SKIPPED})"))
    if gates is None:
        return
    known = {key for key, _ in judge.items}
    if unplanned := [str(key) for key in measured.results if key not in known]:
        # under xdist the controller finds the tasks by their ids; a suite that it cannot find must not go unjudged
        problem = f"{len(unplanned)} tasks ran that were not collected when the gates were planned: {', '.join(unplanned[:3])}"
        ended.reports.append(SessionReport(name="unplanned", problem=problem))
    if not gates.gates and UNGATED not in gate.allowed:
        names, held = ", ".join(gate.baseline_names), [str(key) for key in gate.baselines.keys] if gate.baselines else []
        keys = ", ".join(held[:3]) + (", ..." if len(held) > 3 else "")
        problem = f"nothing in this session is compared with {names}, which holds {keys or 'no task'} (--gate-allow {UNGATED})"
        ended.reports.append(SessionReport(name="baseline", problem=problem))
