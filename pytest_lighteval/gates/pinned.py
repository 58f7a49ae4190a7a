"""Gates against a pinned baseline: one that no refresh moves, so that many small losses cannot hide behind each other.

Each gate of the session is also compared with the pinned file, over the same documents. It is red only when a loss of at least `max_drop`
is certain; a smaller one is the allowance that the refreshes since then have used up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_lighteval.baselines.align import AlignedScores, MismatchKind
from pytest_lighteval.baselines.model import BaselineTask
from pytest_lighteval.comparison.compare import FullComparison
from pytest_lighteval.comparison.decision import Decision, GateOutcome, Policy
from pytest_lighteval.comparison.mean_bounds import mean_upper_bound
from pytest_lighteval.gates.compare import (
    Side,
    align_sides,
    attempts_note,
    compare_aligned,
    in_points,
    most_attempts,
    most_of,
    notes_of,
    own_policy,
    stale,
    verdict_of,
)
from pytest_lighteval.gates.documents import paired_documents
from pytest_lighteval.gates.gate_file import GateFile
from pytest_lighteval.gates.plan import GatePlan, PairedGate, plan_gates
from pytest_lighteval.types import PairedVerdict, Task, TaskKey

PINNED_SHARE = 0.2
"""Of the session's alpha, for all comparisons with the pinned baseline together; the other gates and the pooled test share the rest."""


def compare_pinned(
    gate: PairedGate,
    sides: Sequence[Side],
    session: Policy,
    *,
    settings: Mapping[str, Any] | None = None,
    allow: Collection[MismatchKind] = (),
    is_accepted: bool = False,
) -> PairedVerdict:
    """Judge a task (one side) or a superset (one side per member) against the pinned baseline.

    REGRESSED: the lower bound of the loss is at least `max_drop`. PASSED: the upper bound is at most `max_drop`. IMPROVED: a gain is
    certain. INCONCLUSIVE otherwise, which is never red here: the comparison with the newest baseline decides that.

    Args:
        gate: with its share of the pinned alpha.
        sides: with the pinned baseline.
        session: the session's policy.
        settings: the run's, to explain changed prompts.
        allow: kinds of mismatch that the user allows.
        is_accepted: the session replaces the pinned baseline (`--baseline-repin`): nothing is red.
    """
    aligned, mismatches = align_sides(gate, sides, settings=settings, allow=allow)
    if mismatches:
        return replace(stale(gate, mismatches, of="the pinned baseline"), red=not is_accepted)
    baselines = [side.baseline for side in sides]
    policy = own_policy(gate, baselines, session)
    try:
        certify_alpha = policy.alpha / most_attempts(sides)
        comparison = compare_aligned(aligned, gate.corpus, alpha=gate.alpha, certify_alpha=certify_alpha)
    except ValueError as error:
        problem = f"{gate.metric}: cannot be compared with the pinned baseline: {error}"
        return PairedVerdict(outcome="STALE", line=problem, red=not is_accepted)
    comparison = _bounded(comparison, aligned, gate)
    decision = Decision(outcome=_outcome(comparison, policy), comparison=comparison, policy=policy, certify_alpha=certify_alpha)
    verdict = verdict_of(
        gate.metric,
        decision,
        alpha=gate.alpha,
        points=in_points(gate, baselines),
        notes=(*attempts_note(most_attempts(sides)), *notes_of(aligned)),
    )
    used = comparison.loss / policy.max_drop
    way_out = "; --baseline-repin --baseline-reason accepts it" if decision.red and not is_accepted else ""
    line = f"{verdict.line}: {max(used, 0.0):.0%} of the allowed loss is used up since the pinned baseline{way_out}"
    return replace(verdict, line=line, red=decision.red and not is_accepted, used=used)


def _bounded(comparison: FullComparison, aligned: Sequence[AlignedScores], gate: PairedGate) -> FullComparison:
    """With a lower bound that holds for a loss of any size: that of `compare` is made for the question whether anything was lost."""
    if not (gate.corpus.is_mean and math.isfinite(comparison.worst)):
        return comparison
    documents = paired_documents(aligned, most_of(gate.corpus))
    per_document = documents.n / len(documents.gains)
    lower = -mean_upper_bound(documents.gains, worst=documents.worst, alpha=gate.alpha) / per_document
    return replace(comparison, lower=min(comparison.lower, lower))


def _outcome(comparison: FullComparison, policy: Policy) -> GateOutcome:
    if comparison.lower >= policy.max_drop:
        return GateOutcome.REGRESSED
    if comparison.gained:
        return GateOutcome.IMPROVED
    return GateOutcome.PASSED if comparison.upper <= policy.max_drop else GateOutcome.INCONCLUSIVE


def plan_pinned(
    items: Sequence[tuple[TaskKey, Task]], *, find: Callable[[TaskKey], BaselineTask | None], file: GateFile | None, policy: Policy
) -> GatePlan:
    """The gates that are compared with the pinned baseline: as `plan_gates` of the tasks that it holds, without advisory ones.

    They share `PINNED_SHARE` of alpha evenly; there is no pooled test. Raises UserInputError as `plan_gates` does.
    """

    def promised(key: TaskKey) -> Collection[str] | None:
        task = find(key)
        return None if task is None else task.metrics

    plan = plan_gates(items, promised=promised, file=file, policy=policy, share=PINNED_SHARE)
    alpha = PINNED_SHARE * policy.alpha / max(1, len(plan.gates))

    def shared(gates: Sequence[PairedGate]) -> tuple[PairedGate, ...]:
        return tuple(
            replace(gate, alpha=alpha if gate.spec.alpha is None else min(alpha, gate.spec.alpha)) for gate in gates if not gate.advisory
        )

    return GatePlan(
        family=plan.family,
        tasks={key: kept for key, gates in plan.tasks.items() if (kept := shared(gates))},
        groups={key: kept for key, gates in plan.groups.items() if (kept := shared(gates))},
        expected=plan.expected,
    )
