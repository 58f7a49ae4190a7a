"""The second voice of a gate: soft scores, asked where the documents are too few for the scores themselves to decide.

It can only turn INCONCLUSIVE into REGRESSED. PASSED and IMPROVED are never its doing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_lighteval.baselines.align import AlignedScores, soft_runs
from pytest_lighteval.baselines.model import BaselineTask
from pytest_lighteval.comparison.decision import Decision, GateOutcome, probability
from pytest_lighteval.comparison.soft import SOFT_SHARE, soft_compare, soft_pair
from pytest_lighteval.gates.plan import PairedGate
from pytest_lighteval.types import SoftVerdict


def soft_alpha(gate: PairedGate, baselines: Sequence[BaselineTask]) -> float | None:
    """The part of the gate's alpha that its soft test has. None: it has no soft test, and the test of the scores has all of it.

    Known before the run: it depends on the metric and on what the baselines hold.
    """
    soft = gate.corpus.soft
    if soft is None or not soft.is_margin or not all(gate.metric in baseline.soft for baseline in baselines):
        return None
    return SOFT_SHARE * gate.alpha


def score_alpha(gate: PairedGate, baselines: Sequence[BaselineTask]) -> float:
    """The alpha of the test of the scores: what the soft test leaves."""
    return gate.alpha - (soft_alpha(gate, baselines) or 0.0)


def heard(
    gate: PairedGate, baselines: Sequence[BaselineTask], aligned: Sequence[AlignedScores], decision: Decision
) -> tuple[Decision, SoftVerdict | None]:
    """The decision after the soft scores were asked, and what they said. None: they were not asked, or there are none.

    They are asked where the decision is INCONCLUSIVE. It becomes REGRESSED if they prove a loss, and both measured losses, that of the
    scores and that of the soft scores, are at least half of `min_effect`. Where the scores do not show one, only confidence fell.
    """
    soft = gate.corpus.soft
    if decision.outcome is not GateOutcome.INCONCLUSIVE or soft is None:
        return decision, None
    alpha = soft_alpha(gate, baselines)
    parts = [
        soft_pair(runs.baseline, runs.candidate, is_margin=soft.is_margin, clusters=part.clusters)
        for part in aligned
        if (runs := soft_runs(part)) is not None
    ]
    if len(parts) < len(aligned):
        return decision, None
    # of an advisory one, the level at which it would be told
    level = SOFT_SHARE * gate.alpha if alpha is None else alpha
    comparison = soft_compare(parts, alpha=level)
    least = decision.policy.least_loss / 2 - 1e-12
    answers_fell = decision.comparison.loss >= least
    said = SoftVerdict(
        loss=comparison.loss if soft.is_margin else None,
        p=comparison.p,
        alpha=alpha,
        is_certain=comparison.is_certain,
        answers_fell=answers_fell,
        is_large=answers_fell and comparison.loss >= least,
    )
    if said.decides:
        decision = replace(decision, outcome=GateOutcome.REGRESSED, required=None, unseen=None)
    return decision, said


# ------------------------------------------------------------------------------------------------------- in words


def soft_words(soft: SoftVerdict | None) -> str:
    """What the soft scores said, for the end of a verdict's line: `  soft: loss 1.4 points, p = 4e-4`. Empty: they were not asked."""
    if soft is None or soft.loss is None:
        return ""
    what = "gain" if soft.loss < 0 else "loss"
    return f"  soft: {what} {100 * abs(soft.loss):.1f} points, p = {probability(soft.p)}"


def soft_notes(gate: PairedGate, decision: Decision, soft: SoftVerdict | None) -> tuple[str, ...]:
    """What a reader should know of the soft scores: that they decided, that only confidence fell, or that the baseline has none."""
    if soft is None:
        margin = gate.corpus.soft is not None and gate.corpus.soft.is_margin
        lacks = margin and decision.outcome is GateOutcome.INCONCLUSIVE
        return ("the baseline has no soft scores, which could show a loss: --save-baseline keeps them",) if lacks else ()
    if soft.decides:
        return ("the soft scores prove the loss, not the scores",)
    if not soft.is_certain or (soft.answers_fell and soft.loss is not None):
        return ()
    if soft.loss is None:
        return (f"the right answers became less likely (p = {probability(soft.p)}), which is only told",)
    return ("confidence fell, answers did not",)
