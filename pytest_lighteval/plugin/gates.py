"""The gates of a session inside pytest: planned when the items are known, judged in each item's set-up, described after collection."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import pytest

from pytest_lighteval.baselines.align import MismatchKind, truncation_problem
from pytest_lighteval.baselines.measured import MeasuredBaselines
from pytest_lighteval.baselines.model import BaselineTask
from pytest_lighteval.errors import LightevalError
from pytest_lighteval.gates.compare import Side, compare_gate
from pytest_lighteval.gates.early_stopping import EarlyStopping, stopping_gates
from pytest_lighteval.gates.expected_power import expected_powers, plan_lines, power_lines
from pytest_lighteval.gates.floors import judge
from pytest_lighteval.gates.gate_file import gates_for
from pytest_lighteval.gates.join import join_verdicts, new_verdict
from pytest_lighteval.gates.plan import GatePlan, plan_gates
from pytest_lighteval.gates.waivers import waiver_for
from pytest_lighteval.metrics import metric
from pytest_lighteval.plugin.gate_settings import SKIPPED
from pytest_lighteval.plugin.session import Session
from pytest_lighteval.reports.printable import printable
from pytest_lighteval.reports.serialize import to_plain
from pytest_lighteval.types import SampleValue, Task, TaskKey, TaskResult, Verdict

BaselineScores = Callable[[str, int], Mapping[str, Sequence[SampleValue | None]] | None]
"""A document's id and few-shot seed -> metric -> its repeats in the baseline. None: the baseline does not know it."""


def plan_session(session: Session, items: Sequence[tuple[TaskKey, Task]]) -> None:
    """Fix what the session evaluates and which gates share its alpha, once. Raises pytest.UsageError."""
    if session.items is not None:
        return
    session.items = tuple(items)
    gate = session.settings.gate
    if gate.baselines is None:
        return
    baselines = gate.baselines
    # a reference will have measured whatever is selected
    reported = {key: {name for entry in task.metrics for name in metric(entry).corpus} for key, task in items if task.skip is None}

    def promised(key: TaskKey) -> Collection[str] | None:
        if isinstance(baselines, MeasuredBaselines):
            return reported.get(key)
        task = baselines.find(key)
        return None if task is None else task.metrics

    try:
        session.gate_plan = plan_gates(items, promised=promised, file=gate.file, policy=gate.policy)
    except LightevalError as error:
        raise pytest.UsageError(printable(str(error))) from error


def is_gated(session: Session, key: TaskKey, task: Task) -> bool:
    """Whether the session is red without a score of this task."""
    if has_floor(session, key, task):
        return True
    return session.gate_plan is not None and key in session.gate_plan.expected and SKIPPED not in session.settings.gate.allowed


def has_floor(session: Session, key: TaskKey, task: Task) -> bool:
    """Whether a score of the task has a threshold of its own."""
    return any(spec.is_floor for spec in gates_for(key, task.gates, session.settings.gate.file).values())


def ends_early(session: Session, key: TaskKey, task: Task) -> bool:
    """Whether a task may end before all of its documents are asked: it is one gate of its own, and nothing else needs the whole score."""
    gate = session.settings.gate
    if gate.interim_checks is None or session.gate_plan is None or has_floor(session, key, task):
        return False
    group = key.superset
    # the floor of a superset is compared with its tasks' scores, whether or not it is a gate
    if group is not None and any(spec.is_floor for spec in gates_for(group, {}, gate.file).values()):
        return False
    gates = stopping_gates(session.gate_plan, key)
    waived = gate.waivers is not None and any(waiver_for(gate.waivers, key, entry.metric, gate.today) for entry in gates)
    return bool(gates) and not waived


def early_stopping_of(session: Session, key: TaskKey, task: Task) -> EarlyStopping | None:
    """How a task may stop early in sequential mode. None: every document is asked."""
    gate, baseline = session.settings.gate, _baseline_of(session, key)
    if baseline is None or session.gate_plan is None or gate.interim_checks is None or not ends_early(session, key, task):
        return None
    return EarlyStopping(
        stopping_gates(session.gate_plan, key),
        baseline,
        gate.policy,
        most=gate.interim_checks,
        max_samples=session.settings.evaluation.max_samples,
        settings=to_plain(session.settings.evaluation),
        allow=gate.allowed_mismatches,
    )


def judge_item(session: Session, task: Task, result: TaskResult, stopping: EarlyStopping | None = None) -> tuple[Verdict, ...]:
    """What thresholds, baseline and waivers say of an item. Raises LightevalError for a gate that cannot be judged."""
    gate = session.settings.gate
    floors = judge(
        result.metrics, gates_for(result.key, task.gates, gate.file), key=str(result.key), unfit=unfit_for_floors(session, [result])
    )
    paired = {}
    if session.gate_plan is not None:
        complete = gate.baselines is not None and gate.baselines.are_complete
        paired = {name: new_verdict(name, result.metrics[name], is_complete=complete) for name in session.gate_plan.new.get(result.key, ())}
        baseline = _baseline_of(session, result.key)
        for entry in session.gate_plan.tasks.get(result.key, ()) if baseline is not None else ():
            assert baseline is not None
            early = stopping.verdict(entry) if stopping is not None else None
            paired[entry.metric] = early or compare_gate(
                entry,
                [Side(result=result, baseline=baseline)],
                gate.policy,
                settings=to_plain(session.settings.evaluation),
                allow=gate.allowed_mismatches,
            )
    return join_verdicts(result.key, result.metrics, floors, paired, waivers=gate.waivers, today=gate.today)


def unfit_for_floors(session: Session, results: Sequence[TaskResult]) -> str | None:
    """Why the scores of these tasks meet no floor. None: they may."""
    problem = None if MismatchKind.TRUNCATED in session.settings.gate.allowed_mismatches else truncation_problem(results)
    return None if problem is None else f"{problem} (--gate-allow {MismatchKind.TRUNCATED})"


def baseline_scores(session: Session, key: TaskKey) -> BaselineScores:
    """For the details: what the documents of a task scored in the baseline."""
    baseline = _baseline_of(session, key)
    if baseline is None:
        return lambda document, seed: None
    rows = {place: row for row, place in enumerate(zip(baseline.ids, baseline.few_shot_seeds, strict=True))}
    scores = baseline.scores

    def scores_of(document: str, seed: int) -> Mapping[str, Sequence[SampleValue | None]] | None:
        row = rows.get((document, seed))
        return None if row is None else {metric: repeats[row] for metric, repeats in scores.items()}

    return scores_of


def _baseline_of(session: Session, key: TaskKey) -> BaselineTask | None:
    baselines = session.settings.gate.baselines
    return None if baselines is None else baselines.find(key)


# ------------------------------------------------------------------------------------------- the lines after collection

SHOWN = 3
"""Gates in the header of a run: those that detect only the largest losses."""


def gate_lines(session: Session, *, collect_only: bool, verbosity: int) -> list[str]:
    """What the session's gates can detect: short before a run, in full where nothing is evaluated. Loads no data.

    There are no lines under `-q` and in a session without gates. Raises pytest.UsageError.
    """
    asked = session.settings.gate.plan_only or collect_only
    if verbosity < 0 and not session.settings.gate.plan_only:
        return []
    if session.gate_plan is None and not asked:
        is_sequential = session.settings.gate.interim_checks is not None
        return ["sequential: every document is asked, as there is no baseline"] if is_sequential else _sequential(session)
    try:
        gates = session.gate_plan or _without_baseline(session)
        baselines = session.settings.gate.baselines
        found = expected_powers(
            gates,
            lambda key: None if baselines is None else baselines.find(key),
            session.settings.gate.policy,
            max_samples=session.settings.evaluation.max_samples,
        )
    except LightevalError as error:
        raise pytest.UsageError(printable(str(error))) from error
    if session.settings.gate.plan_only:
        return plan_lines(found)
    return [*power_lines(found, most=None if asked else SHOWN), *_sequential(session)]


def _without_baseline(session: Session) -> GatePlan:
    """What would be gates if there were a baseline."""
    gate = session.settings.gate
    return plan_gates(session.items or (), promised=lambda key: None, file=gate.file, policy=gate.policy)


def _sequential(session: Session) -> list[str]:
    checks = session.settings.gate.interim_checks
    if session.settings.gate.sequential_off is not None:
        return [f"sequential: every document is asked: {session.settings.gate.sequential_off}"]
    if checks is None or session.gate_plan is None:
        return []
    early = sum(ends_early(session, key, task) for key, task in session.items or ())
    whole = len(session.items or ()) - early
    rest = f"; {whole} are asked in full (docs/gate.md says why)" if whole else ""
    return [f"sequential: up to {checks} interim checks of {early} task{'s' * (early != 1)}{rest}"]
