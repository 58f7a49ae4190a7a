"""Compare one number of a run with its baseline, document by document: the test that fits the score, in the metric's own unit."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_lighteval.baselines.align import AlignedScores, Mismatch, MismatchKind, align, mean_scores
from pytest_lighteval.baselines.attempts import join_attempts
from pytest_lighteval.baselines.model import BaselineTask, Repeated
from pytest_lighteval.comparison.compare import FullComparison, compare
from pytest_lighteval.comparison.corpus import compare_corpus
from pytest_lighteval.comparison.decision import Decision, Policy, decide, decision_line, policy_for
from pytest_lighteval.comparison.power import seen_loss
from pytest_lighteval.comparison.soft import WIDTH, soft_width
from pytest_lighteval.gates.documents import corpus_documents, paired_documents
from pytest_lighteval.gates.plan import PairedGate
from pytest_lighteval.gates.soft_voice import heard, score_alpha, soft_alpha, soft_notes, soft_words
from pytest_lighteval.types import CorpusMetric, Flip, PairedVerdict, SampleValue, SoftVerdict, TaskResult

_MOST_NOTES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A task's result with its baseline."""

    result: TaskResult
    baseline: BaselineTask
    earlier: tuple[TaskResult, ...] = ()
    """Results of earlier attempts in the same session, which are judged together with this one."""

    @property
    def attempts(self) -> int:
        """How often the task was measured."""
        return 1 + len(self.earlier)


def most_attempts(sides: Sequence[Side]) -> int:
    """Of all tasks of a gate: a certificate after so many attempts uses that part of its alpha."""
    return max((side.attempts for side in sides), default=1)


def compare_gate(
    gate: PairedGate,
    sides: Sequence[Side],
    session: Policy,
    *,
    settings: Mapping[str, Any] | None = None,
    allow: Collection[MismatchKind] = (),
) -> PairedVerdict:
    """Judge a task (one side) or a superset (one side per member).

    Args:
        gate: what is required.
        sides: in the order of the keys.
        session: the session's policy, for what the gate does not set itself.
        settings: the run's, to explain changed prompts.
        allow: kinds of mismatch that the user allows.
    """
    aligned, mismatches = align_sides(gate, sides, settings=settings, allow=allow)
    if mismatches:
        return stale(gate, mismatches)
    baselines = [side.baseline for side in sides]
    policy, alpha = own_policy(gate, baselines, session), score_alpha(gate, baselines)
    attempts = most_attempts(sides)
    certify_alpha = policy.alpha / attempts
    try:
        comparison = compare_aligned(aligned, gate.corpus, alpha=alpha, certify_alpha=certify_alpha)
    except ValueError as error:
        problem = f"{gate.metric}: cannot be compared with the baseline: {error}"
        return PairedVerdict(outcome="STALE", line=problem, red=True, advisory=gate.advisory)
    decision = decide(comparison, policy, alpha=alpha, certify_alpha=certify_alpha)
    return verdict_with_soft(
        gate,
        baselines,
        aligned,
        decision,
        notes=(*attempts_note(attempts), *notes_of(aligned)),
    )


def attempts_note(attempts: int) -> tuple[str, ...]:
    """What a reader should know of a gate whose tasks were measured more than once."""
    return (f"{attempts} attempts, judged together",) if attempts > 1 else ()


def compare_aligned(aligned: Sequence[AlignedScores], corpus: CorpusMetric, *, alpha: float, certify_alpha: float) -> FullComparison:
    """Test and bound the loss of one metric over the documents of these tasks: the test that fits how its number is made.

    Raises ValueError for scores that no test takes.
    """
    if corpus.is_mean:
        return compare(paired_documents(aligned, most_of(corpus)), alpha=alpha, certify_alpha=certify_alpha)
    documents = corpus_documents(aligned)
    comparison = compare_corpus(
        documents.baseline,
        documents.candidate,
        corpus,
        alpha=alpha,
        certify_alpha=certify_alpha,
        clusters=documents.clusters,
        runs=documents.runs,
    )
    # the test counts each repeat as a row; everything else counts documents
    n = sum(len(part.ids) for part in aligned)
    share = n / len(documents.baseline)
    return replace(comparison, n=n, variance=comparison.variance * share, worst=comparison.worst * share)


def notes_of(aligned: Sequence[AlignedScores]) -> tuple[str, ...]:
    """The notes of a task; of a superset the first few, as each of its tasks may have its own."""
    if len(aligned) == 1:
        return tuple(dict.fromkeys(aligned[0].notes))
    notes = [f"{part.key}: {note}" for part in aligned for note in dict.fromkeys(part.notes)]
    more = len(notes) - _MOST_NOTES
    return (*notes[:_MOST_NOTES], f"and {more} more") if more > 0 else tuple(notes)


def align_sides(
    gate: PairedGate,
    sides: Sequence[Side],
    *,
    settings: Mapping[str, Any] | None,
    allow: Collection[MismatchKind],
) -> tuple[list[AlignedScores], list[Mismatch]]:
    """Each side's documents, and each side's reasons against a comparison."""
    joined: list[AlignedScores] = []
    mismatches: list[Mismatch] = []
    for side in sides:
        found = [
            align(result, side.baseline, gate.metric, settings=settings, allow=allow, stopped_early=result.num_saved > 0)
            for result in (*side.earlier, side.result)
        ]
        misfits = [entry for entry in found if isinstance(entry, Mismatch)]
        if misfits:
            mismatches.append(misfits[-1])
        else:
            joined.append(join_attempts([entry for entry in found if isinstance(entry, AlignedScores)], side.baseline))
    return joined, mismatches


# ------------------------------------------------------------------------------------------------------------ units


def in_points(gate: PairedGate, baselines: Sequence[BaselineTask]) -> bool:
    """Whether losses are printed in points: the metric's range says so, or, of one without a range, all scores of the baseline."""
    if gate.corpus.range is not None:
        return gate.corpus.within_one
    if gate.corpus.is_mean:
        return all(0 <= value <= 1 for value in _values(gate.metric, baselines) if not isinstance(value, tuple))
    values = [task.metrics[gate.metric].value for task in baselines if gate.metric in task.metrics]
    return gate.corpus.higher_is_better and all(0 <= value <= 1 for value in values)


def own_policy(gate: PairedGate, baselines: Sequence[BaselineTask], session: Policy) -> Policy:
    """The gate's policy in its metric's unit. For scores outside 0..1 the session's losses are shares of the baseline's value."""
    unit = 1.0
    if not in_points(gate, baselines):
        values = [task.metrics[gate.metric] for task in baselines if gate.metric in task.metrics]
        documents = sum(metric.n for metric in values)
        mean = math.fsum(metric.value * metric.n for metric in values) / documents if documents else math.nan
        unit = abs(mean) if math.isfinite(mean) and mean else 1.0
    return policy_for(gate.spec, session, unit=unit)


def _values(metric: str, baselines: Sequence[BaselineTask]) -> list[SampleValue]:
    rows: list[Repeated] = [row for task in baselines for row in task.scores.get(metric, ())]
    return [value for row in rows for value in row if value is not None]


# ------------------------------------------------------------------------------------------------------ the tests


def most_of(corpus: CorpusMetric) -> float:
    """The most that a document's score of a mean can lose. Infinite: the metric states no range."""
    return math.inf if corpus.range is None else corpus.range[1] - corpus.range[0]


def flips_of(gate: PairedGate, aligned: Sequence[AlignedScores]) -> tuple[Flip, ...]:
    """The documents of a task whose score changed. A superset has none, and no document of a corpus metric has a score."""
    if len(aligned) != 1 or not gate.corpus.is_mean:
        return ()
    (task,) = aligned
    soft = task.soft if _has_margins(gate) else None
    flips = []
    for place, (document, old, new) in enumerate(zip(task.ids, *map(_averages, mean_scores(task)), strict=True)):
        if abs(new - old) > 1e-12 * max(abs(old), abs(new)):
            margins = None if soft is None else (_average(soft.baseline[place]), _average(soft.candidate[place]))
            flips.append(Flip(id=document, before=old, after=new, is_loss=(new < old) is task.higher_is_better, margins=margins))
    return tuple(flips)


def margin_change(gate: PairedGate, aligned: Sequence[AlignedScores], flips: Sequence[Flip]) -> float | None:
    """Of a task, the median change of a margin, of the documents that did not flip and whose margin changed at all.

    0: none of them changed. None: no margin is known.
    """
    if len(aligned) != 1 or not _has_margins(gate) or (soft := aligned[0].soft) is None:
        return None
    flipped = {flip.id for flip in flips}
    stayed = [place for place, name in enumerate(aligned[0].ids) if name not in flipped]
    return soft_width([soft.baseline[place] for place in stayed], [soft.candidate[place] for place in stayed]) / WIDTH


def _has_margins(gate: PairedGate) -> bool:
    return gate.corpus.soft is not None and gate.corpus.soft.is_margin


def _averages(documents: Sequence[float | tuple[float, ...]]) -> list[float]:
    return [_average(repeats) if isinstance(repeats, tuple) else repeats for repeats in documents]


def _average(repeats: Sequence[float]) -> float:
    return math.fsum(repeats) / len(repeats)


# --------------------------------------------------------------------------------------------------- the verdicts


def stale(gate: PairedGate, mismatches: Sequence[Mismatch], *, of: str = "the baseline") -> PairedVerdict:
    """The verdict of a gate that cannot be compared with `of`, with the first of the reasons."""
    texts = [f"{mismatch.key}: {reason.text}" if gate.members else reason.text for mismatch in mismatches for reason in mismatch.reasons]
    kinds = dict.fromkeys(reason.kind for mismatch in mismatches for reason in mismatch.reasons)
    more = f"; and {len(texts) - 3} more" if len(texts) > 3 else ""
    way_out = "" if MismatchKind.METRIC in kinds else f" (--gate-allow {','.join(kinds)} compares anyway)"
    text = f"{gate.metric}: {of} does not fit: {'; '.join(texts[:3])}{more}{way_out}"
    return PairedVerdict(outcome="STALE", line=text, red=True, advisory=gate.advisory)


def verdict_with_soft(
    gate: PairedGate,
    baselines: Sequence[BaselineTask],
    aligned: Sequence[AlignedScores],
    decision: Decision,
    *,
    notes: tuple[str, ...],
) -> PairedVerdict:
    """A gate's decision, after its soft scores were asked, as the value that reports show."""
    decision, soft = heard(gate, baselines, aligned, decision)
    flips = flips_of(gate, aligned)
    return verdict_of(
        gate.metric,
        decision,
        alpha=score_alpha(gate, baselines),
        soft_alpha=soft_alpha(gate, baselines),
        soft=soft,
        advisory=gate.advisory,
        points=in_points(gate, baselines),
        flips=flips,
        change=margin_change(gate, aligned, flips),
        notes=(*notes, *soft_notes(gate, decision, soft)),
    )


def verdict_of(
    name: str,
    decision: Decision,
    *,
    alpha: float,
    points: bool,
    soft_alpha: float | None = None,
    soft: SoftVerdict | None = None,
    advisory: bool = False,
    flips: tuple[Flip, ...] = (),
    change: float | None = None,
    notes: tuple[str, ...] = (),
) -> PairedVerdict:
    """A decision as the value that reports show."""
    comparison, required = decision.comparison, decision.required
    return PairedVerdict(
        outcome=decision.outcome.value,
        line=decision_line(name, decision, alpha=alpha, points=points) + soft_words(soft),
        red=decision.red and not advisory,
        advisory=advisory,
        comparison=comparison,
        candidate=comparison.candidate,
        n=comparison.n,
        max_drop=decision.policy.max_drop,
        min_effect=decision.policy.least_loss,
        alpha=alpha,
        certify_alpha=decision.certify_alpha,
        soft_alpha=soft_alpha,
        soft=soft,
        detectable=seen_loss(
            n=comparison.n,
            variance=comparison.variance,
            worst=comparison.worst,
            alpha=alpha,
            min_effect=decision.policy.least_loss,
        ),
        documents_needed=required.documents if required else None,
        repeats_needed=required.repeats if required else None,
        blind=decision.unseen is not None,
        flips=flips,
        margin_change=change,
        notes=notes,
    )
