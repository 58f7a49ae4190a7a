"""The gates of a session, planned when its tasks are known, and the verdicts of each task. The same in every process of the session."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_lighteval.baselines.align import MismatchKind, truncation_problem
from pytest_lighteval.baselines.measured import MeasuredBaselines
from pytest_lighteval.baselines.model import BaselineTask
from pytest_lighteval.common.statistics import mean_of_runs
from pytest_lighteval.gates.compare import Side, compare_gate
from pytest_lighteval.gates.early_stopping import EarlyStopping, stopping_gates
from pytest_lighteval.gates.floors import NotJudged, judge, not_judged
from pytest_lighteval.gates.gate_file import gates_for
from pytest_lighteval.gates.gate_settings import SKIPPED, GateSettings
from pytest_lighteval.gates.join import join_verdicts, new_verdict
from pytest_lighteval.gates.pinned import PINNED_SHARE, compare_pinned, plan_pinned
from pytest_lighteval.gates.plan import GatePlan, plan_gates
from pytest_lighteval.gates.red_gates import RedGates
from pytest_lighteval.gates.waivers import waiver_for
from pytest_lighteval.metrics import metrics_of
from pytest_lighteval.types import PairedVerdict, Task, TaskKey, TaskResult, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """What a session's scores are held to. Without items, before `planned`, it holds nothing to anything."""

    gate: GateSettings
    share: float = 1.0
    """Of alpha, for this comparison; other comparisons with other models have the rest."""
    has_pool: bool = True
    """False: no pooled test, and the gates have its part of alpha."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The options that may change a score, as plain values: they explain changed prompts."""
    items: tuple[tuple[TaskKey, Task], ...] = ()
    """What the session evaluates."""
    plan: GatePlan | None = None
    """What is compared with the baseline. None: there is no baseline, or nothing is planned."""
    pinned: GatePlan | None = None
    """What is compared with the pinned baseline. None: there is none."""
    red: RedGates = field(default_factory=RedGates)
    """What earlier sessions found, if this one continues them."""

    def planned(self, items: Sequence[tuple[TaskKey, Task]]) -> Judge:
        """With the items: which gates share the session's alpha. Raises UserInputError for a gate on a metric that is not reported."""
        gate, pinned = self.gate, None
        if gate.pinned is not None:
            pinned = plan_pinned(items, find=gate.pinned.find, file=gate.file, policy=gate.policy)
        return replace(self, items=tuple(items), plan=_plan(gate, items, self.share, has_pool=self.has_pool), pinned=pinned)

    def is_gated(self, key: TaskKey, task: Task) -> bool:
        """Whether the session is red without a score of this task."""
        if self.has_floor(key, task):
            return True
        return self.plan is not None and key in self.plan.expected and SKIPPED not in self.gate.allowed

    def has_floor(self, key: TaskKey, task: Task) -> bool:
        """Whether a score of the task has a threshold of its own."""
        return any(spec.is_floor for spec in gates_for(key, task.gates, self.gate.file).values())

    def ends_early(self, key: TaskKey, task: Task) -> bool:
        """Whether a task may end before all documents are asked: it is one gate of its own, and nothing else needs the whole score."""
        gate = self.gate
        if gate.interim_checks is None or self.plan is None or self.has_floor(key, task):
            return False
        # a judge reads the answers when the model has given all of them
        if any(entry.grader == "judge" for entry in metrics_of(task)):
            return False
        group = key.superset
        # the floor of a superset is compared with its tasks' scores, whether or not it is a gate
        if group is not None and any(spec.is_floor for spec in gates_for(group, {}, gate.file).values()):
            return False
        # its loss is compared with an allowance, for which documents at hand at a stop are no fair sample
        if self.pinned is not None and key in self.pinned.tasks:
            return False
        gates = stopping_gates(self.plan, key)
        waived = gate.waivers is not None and any(waiver_for(gate.waivers, key, entry.metric, gate.today) for entry in gates)
        return bool(gates) and not waived

    def early_stopping(self, key: TaskKey, task: Task) -> EarlyStopping | None:
        """How a task may stop early in sequential mode. None: every document is asked."""
        gate, baseline = self.gate, self.baseline_of(key)
        if baseline is None or self.plan is None or gate.interim_checks is None or not self.ends_early(key, task):
            return None
        return EarlyStopping(
            stopping_gates(self.plan, key),
            baseline,
            gate.policy,
            most=gate.interim_checks,
            max_samples=self.settings.get("max_samples"),
            settings=self.settings,
            allow=gate.allowed_mismatches,
        )

    def verdicts(
        self,
        task: Task,
        result: TaskResult,
        stopping: EarlyStopping | None = None,
        *,
        earlier: Sequence[TaskResult] = (),
        model: str | None,
    ) -> tuple[Verdict, ...]:
        """What thresholds, baseline and waivers say of a task.

        Args:
            task: what was evaluated.
            result: what it measured.
            stopping: how it stopped early. None: every document was asked.
            earlier: what earlier attempts in this session measured: their answers are judged together with those of `result`.
            model: the fingerprint of the model.

        Raises:
            LightevalError: a gate cannot be judged.
        """
        gate = self.gate
        specs = gates_for(result.key, task.gates, gate.file)
        runs = [*earlier, result]
        metrics = mean_of_runs(runs)
        floors = judge(
            metrics,
            specs,
            key=str(result.key),
            unfit=self.unfit_for_floors(runs),
            attempts=len(runs),
            not_judged=self.not_judged(runs),
        )
        paired = {}
        if self.plan is not None:
            complete = gate.baselines is not None and gate.baselines.are_complete
            paired = {name: new_verdict(name, metrics[name], is_complete=complete) for name in self.plan.new.get(result.key, ())}
            baseline = self.baseline_of(result.key)
            for entry in self.plan.tasks.get(result.key, ()) if baseline is not None else ():
                assert baseline is not None
                early = stopping.verdict(entry) if stopping is not None else None
                paired[entry.metric] = early or compare_gate(
                    entry,
                    [Side(result=result, baseline=baseline, earlier=tuple(earlier))],
                    gate.policy,
                    settings=self.settings,
                    allow=gate.allowed_mismatches,
                )
        pinned = self._pinned_verdicts(result, earlier)
        verdicts = join_verdicts(result.key, metrics, floors, paired, pinned, waivers=gate.waivers, today=gate.today)
        return self.red.reviewed(str(result.key), verdicts, model=model)

    def _pinned_verdicts(self, result: TaskResult, earlier: Sequence[TaskResult]) -> dict[str, PairedVerdict]:
        gate = self.gate
        baseline = None if gate.pinned is None else gate.pinned.find(result.key)
        if baseline is None or self.pinned is None:
            return {}
        return {
            entry.metric: compare_pinned(
                entry,
                [Side(result=result, baseline=baseline, earlier=tuple(earlier))],
                gate.policy,
                settings=self.settings,
                allow=gate.allowed_mismatches,
                is_accepted=gate.repin is not None,
            )
            for entry in self.pinned.tasks.get(result.key, ())
        }

    def unfit_for_floors(self, results: Sequence[TaskResult]) -> str | None:
        """Why the scores of these tasks meet no floor. None: they may."""
        problem = None if MismatchKind.TRUNCATED in self.gate.allowed_mismatches else truncation_problem(results)
        return None if problem is None else f"{problem} (--gate-allow {MismatchKind.TRUNCATED})"

    def not_judged(self, results: Sequence[TaskResult]) -> dict[str, NotJudged]:
        """By metric, the documents that the scores of these tasks leave out, as their floors are told."""
        kind = MismatchKind.SCORES
        return not_judged(results, way_out=f"--gate-allow {kind}", is_allowed=kind in self.gate.allowed_mismatches)

    def baseline_of(self, key: TaskKey) -> BaselineTask | None:
        """What a task is compared with. None: nothing."""
        return None if self.gate.baselines is None else self.gate.baselines.find(key)


def _always_reported(task: Task) -> Iterator[str]:
    return (name for entry in metrics_of(task) for name in entry.corpus if name not in entry.optional)


def _plan(gate: GateSettings, items: Sequence[tuple[TaskKey, Task]], part: float, *, has_pool: bool) -> GatePlan | None:
    baselines = gate.baselines
    if baselines is None:
        return None
    # a reference will have measured whatever is selected
    reported = {key: {*_always_reported(task)} for key, task in items if task.skip is None}

    def promised(key: TaskKey) -> Collection[str] | None:
        if isinstance(baselines, MeasuredBaselines):
            return reported.get(key) if baselines.promises(key) else None
        task = baselines.find(key)
        return None if task is None else task.metrics

    share = part * (1.0 if gate.pinned is None else 1 - PINNED_SHARE)
    return plan_gates(items, promised=promised, file=gate.file, policy=gate.policy, share=share, has_pool=has_pool)
