"""The verdicts that need the whole session: supersets, the pooled test over all gates, and Holm's adjusted p-values."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_lighteval.baselines.align import MismatchKind
from pytest_lighteval.baselines.model import BaselineTask
from pytest_lighteval.comparison.compare import compare
from pytest_lighteval.comparison.decision import BLIND_FROM, Policy, decide, holm
from pytest_lighteval.gates.compare import Side, attempts_note, compare_gate, verdict_of
from pytest_lighteval.gates.plan import GatePlan, PairedGate
from pytest_lighteval.gates.pool import LeftOut, PoolPart, pool_part, pooled_documents
from pytest_lighteval.gates.waivers import WaiverFile, waiver_for
from pytest_lighteval.types import PairedVerdict, TaskKey, TaskResult, Verdict

POOLED = "pooled"
"""The name of the pooled test in reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionGates:
    """A session's gates with all results. The verdicts do not depend on the order in which results came in."""

    plan: GatePlan
    find: Callable[[TaskKey], BaselineTask | None]
    """The baseline of a task."""
    results: Mapping[TaskKey, TaskResult]
    policy: Policy
    """The session's."""
    allow: Collection[MismatchKind] = ()
    settings: Mapping[str, Any] | None = None
    waivers: WaiverFile | None = None
    today: datetime.date
    promised: Collection[TaskKey] = ()
    """All tasks of the baseline, selected or not."""
    earlier: Mapping[TaskKey, tuple[TaskResult, ...]] = field(default_factory=dict)
    """Results of earlier attempts, which are judged together with those of `results`."""
    may_lack: Collection[TaskKey] = ()
    """Members of supersets that may be without a score, because the user allows it."""
    compare: Callable[..., PairedVerdict] = compare_gate
    """Takes what `compare_gate` takes."""

    def group(self, key: TaskKey) -> dict[str, PairedVerdict]:
        """A superset's comparisons by metric; empty if it is not a gate."""
        return {gate.metric: self._group(gate) for gate in self.plan.groups.get(key, ())}

    def _group(self, gate: PairedGate) -> PairedVerdict:
        missing = [str(key) for key in gate.members if key not in self.results and key not in self.may_lack]
        if missing:
            text = f"{gate.metric}: not compared: {len(missing)} of its {len(gate.members)} tasks have no score: {', '.join(missing)}"
            return PairedVerdict(outcome="STALE", line=text, red=True, advisory=gate.advisory)
        sides = self._sides(gate)
        if not sides:
            return PairedVerdict(outcome="STALE", line=f"{gate.metric}: none of its tasks has a score", red=True, advisory=gate.advisory)
        verdict = self.compare(gate, sides, self.policy, settings=self.settings, allow=self.allow)
        siblings = [key for key in self.promised if key.superset == gate.key]
        if len(siblings) > len(sides):
            note = f"{len(sides)} of the {len(siblings)} tasks of the baseline are compared"
            verdict = replace(verdict, notes=(note, *verdict.notes))
        return verdict

    def _sides(self, gate: PairedGate) -> list[Side]:
        sides = []
        for key in gate.members or (gate.key,):
            result, baseline = self.results.get(key), self.find(key)
            if result is not None and baseline is not None:
                sides.append(Side(result=result, baseline=baseline, earlier=self.earlier.get(key, ())))
        return sides

    def pooled(self) -> PairedVerdict | None:
        """The pooled test over the documents of all gates with a part in it (`pool_part`) and without a waiver.

        None: fewer than two gates have one.
        """
        alpha = self.plan.family.pooled_alpha
        if alpha is None:
            return None
        found = [self._pool_part(gate) for gate in self.plan.gates]
        parts = [part for part in found if isinstance(part, PoolPart)]
        if len(parts) < 2:
            return None
        policy = self.policy.pooled
        attempts = max(part.attempts for part in parts)
        certify_alpha = policy.alpha / attempts
        paired = pooled_documents(parts, self.policy)
        comparison = compare(paired, alpha=alpha, certify_alpha=certify_alpha)
        huge = BLIND_FROM * self.policy.max_drop
        decision = decide(comparison, policy, alpha=alpha, certify_alpha=certify_alpha, huge=huge)
        notes = [f"{len(parts)} gates", *attempts_note(attempts)]
        if sum(len(aligned.ids) for part in parts for aligned in part.aligned) > paired.n:
            notes.append("a row of several gates counts once, with the mean of its losses")
        if any(part.policy.max_drop != self.policy.max_drop for part in parts):
            notes.append("each gate's losses are scaled from its own max_drop to the session's")
        if left_out := Counter(reason.value for reason in found if isinstance(reason, LeftOut)):
            reasons = [f"{count} {reason}" for reason, count in left_out.items()] if len(left_out) > 1 else left_out
            notes.append(f"{left_out.total()} left out: {', '.join(reasons)}")
        return verdict_of("score", decision, alpha=alpha, points=True, notes=tuple(notes))

    def _pool_part(self, gate: PairedGate) -> PoolPart | LeftOut:
        # a waiver leaves a gate out whatever its scores, so that they do not decide what is pooled
        if self.waivers is not None and waiver_for(self.waivers, gate.key, gate.metric, self.today) is not None:
            return LeftOut.WAIVER
        return pool_part(gate, self._sides(gate), self.policy, allow=self.allow)

    def with_adjusted(self, verdicts: Mapping[str, tuple[Verdict, ...]]) -> dict[str, tuple[Verdict, ...]]:
        """The verdicts by key, with Holm's adjusted p-value of each gate."""
        p_values = {
            f"{key} {verdict.metric}": verdict.paired.gate_p
            for key, of_key in verdicts.items()
            for verdict in of_key
            if key != POOLED and verdict.paired is not None and verdict.paired.gate_p is not None and not verdict.paired.advisory
        }
        adjusted = holm(p_values, self.plan.family)
        return {
            key: tuple(
                replace(verdict, paired=replace(verdict.paired, p_adjusted=adjusted[name]))
                if verdict.paired is not None and (name := f"{key} {verdict.metric}") in adjusted
                else verdict
                for verdict in of_key
            )
            for key, of_key in verdicts.items()
        }
