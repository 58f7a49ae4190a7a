"""One number of a run and of its baseline, document by document, to a verdict: the test by the kind of score, in the metric's own unit."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_lighteval.baselines.align import AlignedScores, Mismatch, MismatchKind, align, corpus_rows, mean_scores, rows_of
from pytest_lighteval.baselines.model import BaselineTask, Repeated
from pytest_lighteval.comparison.decision import Decision, Policy, decide, line, policy_for
from pytest_lighteval.comparison.paired import FullComparison, Paired, compare, compare_corpus, concatenate, pair, stratified
from pytest_lighteval.gates.plan import PairedGate
from pytest_lighteval.types import CorpusMetric, Flip, PairedVerdict, SampleValue, TaskKey, TaskResult

_MOST_NOTES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A task's result with its baseline."""

    result: TaskResult
    baseline: BaselineTask


def compare_gate(
    gate: PairedGate,
    sides: Sequence[Side],
    session: Policy,
    *,
    settings: Mapping[str, Any] | None = None,
    allow: Collection[MismatchKind] = (),
) -> PairedVerdict:
    """Judge a task (one side) or a superset (one side a member).

    Args:
        gate: what is asked.
        sides: in the order of the keys.
        session: the policy where the gate does not say otherwise itself.
        settings: the run's, so that changed prompts can be explained.
        allow: mismatches that the user tolerates by name.
    """
    pairs, mismatches = _aligned(gate, sides, settings=settings, allow=allow)
    if mismatches:
        return _stale(gate, mismatches)
    policy = own_policy(gate, [side.baseline for side in sides], session)
    try:
        if gate.corpus.is_mean:
            comparison = compare(concatenate([_paired(part) for part in pairs]), alpha=gate.alpha, certify_alpha=policy.alpha)
        else:
            comparison = _compare_corpus(pairs, gate.corpus, alpha=gate.alpha, certify_alpha=policy.alpha)
    except ValueError as error:
        problem = f"{gate.metric}: cannot be compared with the baseline: {error}"
        return PairedVerdict(outcome="STALE", line=problem, red=True, advisory=gate.advisory)
    return verdict_of(
        gate.metric,
        decide(comparison, policy, alpha=gate.alpha, certify_alpha=policy.alpha),
        alpha=gate.alpha,
        advisory=gate.advisory,
        points=in_points(gate, [side.baseline for side in sides]),
        flips=flips_of(pairs[0]) if len(pairs) == 1 and gate.corpus.is_mean else (),
        notes=_notes(pairs),
    )


def _notes(pairs: Sequence[AlignedScores]) -> tuple[str, ...]:
    """Of a superset the first few: each task may have its own."""
    if len(pairs) == 1:
        return tuple(dict.fromkeys(pairs[0].notes))
    notes = [f"{part.key}: {note}" for part in pairs for note in dict.fromkeys(part.notes)]
    more = len(notes) - _MOST_NOTES
    return (*notes[:_MOST_NOTES], f"and {more} more") if more > 0 else tuple(notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPart:
    """A gate's documents for the pooled test, those up to its stop."""

    pairs: tuple[AlignedScores, ...]
    """One a task."""
    policy: Policy
    """The gate's own, in its metric's unit."""


def pool_part(gate: PairedGate, sides: Sequence[Side], session: Policy, *, allow: Collection[MismatchKind] = ()) -> PoolPart | None:
    """What a gate brings to the pooled test. None: it has no score, does not fit, or is of the whole corpus."""
    if not gate.corpus.is_mean or not sides:
        return None
    pairs, mismatches = _aligned(gate, sides, settings=None, allow=allow)
    if mismatches:
        return None
    return PoolPart(pairs=tuple(pairs), policy=own_policy(gate, [side.baseline for side in sides], session))


def pooled_documents(parts: Sequence[PoolPart], session: Policy) -> Paired:
    """All gated documents, each once, as one stratified sample for the pooled test with `session.pooled`.

    A document's loss is measured in units of what its gate allows: where a gate has another `max_drop` than the session (another unit,
    often), its losses are scaled to the session's. A document of several gates (metrics of one task, a superset and its task) is one unit
    with the mean of its scaled losses, since its scores say much the same and the test counts on units that do not hang together. The
    weights never depend on what was measured, and a task that was stopped early brings the documents it has seen.
    """
    by_task: dict[TaskKey, list[tuple[AlignedScores, float]]] = {}
    for part in parts:
        for pairs in part.pairs:
            by_task.setdefault(pairs.key, []).append((pairs, session.max_drop / part.policy.max_drop))
    once = [
        stratified([_paired(of_task[0][0])], [of_task[0][1]]) if len(of_task) == 1 else _averaged(of_task) for of_task in by_task.values()
    ]
    return concatenate(once)


def _averaged(of_task: Sequence[tuple[AlignedScores, float]]) -> Paired:
    """The documents of a task under several gates, with the mean of their scaled scores, turned so that higher is better."""
    before: dict[str, list[float]] = {}
    after: dict[str, list[float]] = {}
    clusters: dict[str, str | None] = {}
    for pairs, factor in of_task:
        scale = factor if pairs.higher_is_better else -factor
        old, new = map(_averages, mean_scores(pairs))
        for place, document in enumerate(pairs.ids):
            before.setdefault(document, []).append(old[place] * scale)
            after.setdefault(document, []).append(new[place] * scale)
            clusters[document] = None if pairs.clusters is None else pairs.clusters[place]
    return pair(
        _averages([tuple(scores) for scores in before.values()]),
        _averages([tuple(scores) for scores in after.values()]),
        clusters=list(clusters.values()) if any(clusters.values()) else None,
        most=max(factor * pair(*mean_scores(pairs)).worst for pairs, factor in of_task),
    )


def _aligned(
    gate: PairedGate,
    sides: Sequence[Side],
    *,
    settings: Mapping[str, Any] | None,
    allow: Collection[MismatchKind],
) -> tuple[list[AlignedScores], list[Mismatch]]:
    found = [
        align(side.result, side.baseline, gate.metric, settings=settings, allow=allow, stopped_early=side.result.num_saved > 0)
        for side in sides
    ]
    return [entry for entry in found if isinstance(entry, AlignedScores)], [entry for entry in found if isinstance(entry, Mismatch)]


# ---------------------------------------------------------------------------------------------------- in which unit


def in_points(gate: PairedGate, baselines: Sequence[BaselineTask]) -> bool:
    """Whether a score is a share, of which hundredths are points. Known from the baseline alone, so it depends on nothing measured."""
    if gate.corpus.is_mean:
        return all(0 <= value <= 1 for value in _values(gate.metric, baselines) if not isinstance(value, tuple))
    values = [task.metrics[gate.metric].value for task in baselines if gate.metric in task.metrics]
    return gate.corpus.higher_is_better and all(0 <= value <= 1 for value in values)


def own_policy(gate: PairedGate, baselines: Sequence[BaselineTask], session: Policy) -> Policy:
    """The gate's policy in its metric's unit. The session's losses are shares of the baseline's value where that is no share itself."""
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


def _paired(pairs: AlignedScores) -> Paired:
    before, after = mean_scores(pairs)
    return pair(before, after, higher_is_better=pairs.higher_is_better, clusters=pairs.clusters)


def _compare_corpus(pairs: Sequence[AlignedScores], corpus: CorpusMetric, *, alpha: float, certify_alpha: float) -> FullComparison:
    before: list[SampleValue] = []
    after: list[SampleValue] = []
    clusters: list[str | None] = []
    # every document counts as much as any other, whatever its task's repeats
    rows = math.lcm(*(rows_of(part) for part in pairs))
    for part in pairs:
        old, new, names = corpus_rows(part, rows=rows)
        before += old
        after += new
        clusters += [name and f"{part.key} {name}" for name in names or [None] * len(old)]
    comparison = compare_corpus(
        before, after, corpus, alpha=alpha, certify_alpha=certify_alpha, clusters=clusters if any(clusters) else None
    )
    # repeats are rows of their own to the test, and documents to nobody else
    documents = sum(len(part.ids) for part in pairs)
    share = documents / len(before)
    return replace(comparison, n=documents, variance=comparison.variance * share, worst=comparison.worst * share)


def flips_of(pairs: AlignedScores) -> tuple[Flip, ...]:
    """The documents whose score changed, of a metric that is a mean over them."""
    flips = []
    for document, old, new in zip(pairs.ids, *map(_averages, mean_scores(pairs)), strict=True):
        if abs(new - old) > 1e-12 * max(abs(old), abs(new)):
            flips.append(Flip(id=document, before=old, after=new, is_loss=(new < old) is pairs.higher_is_better))
    return tuple(flips)


def _averages(documents: Sequence[float | tuple[float, ...]]) -> list[float]:
    return [math.fsum(repeats) / len(repeats) if isinstance(repeats, tuple) else repeats for repeats in documents]


# --------------------------------------------------------------------------------------------------- the verdicts


def _stale(gate: PairedGate, mismatches: Sequence[Mismatch]) -> PairedVerdict:
    texts = [f"{mismatch.key}: {reason.text}" if gate.members else reason.text for mismatch in mismatches for reason in mismatch.reasons]
    kinds = dict.fromkeys(reason.kind for mismatch in mismatches for reason in mismatch.reasons)
    more = f"; and {len(texts) - 3} more" if len(texts) > 3 else ""
    way_out = "" if MismatchKind.METRIC in kinds else f" (--gate-allow {','.join(kinds)} compares all the same)"
    text = f"{gate.metric}: the baseline does not fit: {'; '.join(texts[:3])}{more}{way_out}"
    return PairedVerdict(outcome="STALE", line=text, red=True, advisory=gate.advisory)


def verdict_of(
    name: str,
    decision: Decision,
    *,
    alpha: float,
    points: bool,
    advisory: bool = False,
    flips: tuple[Flip, ...] = (),
    notes: tuple[str, ...] = (),
) -> PairedVerdict:
    """A decision as the value that reports show."""
    comparison, required = decision.comparison, decision.required
    return PairedVerdict(
        outcome=decision.outcome.value,
        line=line(name, decision, points=points),
        red=decision.red and not advisory,
        advisory=advisory,
        comparison=comparison,
        candidate=comparison.candidate,
        n=comparison.n,
        max_drop=decision.policy.max_drop,
        min_effect=decision.policy.least_loss,
        alpha=alpha,
        documents_needed=required.documents if required else None,
        repeats_needed=required.repeats if required else None,
        flips=flips,
        notes=notes,
    )
