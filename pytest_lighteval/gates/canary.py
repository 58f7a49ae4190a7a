"""The early warning: a few documents of a task, those that a change of the model moves first, and what their soft scores say.

It asks whether anything about the model changed at all, and gives no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from pytest_lighteval.asking import PromptedDoc
from pytest_lighteval.baselines.align import AlignedScores, AlignedSoft, MismatchKind, align, mean_scores, soft_runs
from pytest_lighteval.baselines.model import BaselineTask
from pytest_lighteval.comparison.decision import probability
from pytest_lighteval.comparison.soft import WIDTH, soft_compare, soft_pair, soft_shares, soft_width
from pytest_lighteval.errors import DataError
from pytest_lighteval.gates.plan import PairedGate
from pytest_lighteval.types import TaskResult

DOCUMENTS = 40
"""A task, unless the user says otherwise."""
ALPHA = 0.05
"""Of the two-sided test for a direction."""
SEEN = 0.95
"""The chance with which a shift is said to be seen."""


def canary_gate(gates: Sequence[PairedGate], baseline: BaselineTask) -> PairedGate | None:
    """The first gate of a task with soft scores that are margins, and that the baseline holds. None: there is nothing to look at."""
    return next(
        (gate for gate in gates if gate.corpus.soft is not None and gate.corpus.soft.is_margin and gate.metric in baseline.soft), None
    )


def closest_documents(baseline: BaselineTask, metric: str, count: int) -> tuple[str, ...]:
    """Ids of the documents whose margins are the smallest in the baseline, at most so many, in its order. Of repeats the mean counts."""
    sizes: dict[str, list[float]] = {}
    for name, margins in zip(baseline.ids, baseline.soft[metric], strict=True):
        sizes.setdefault(name, []).extend(margins)
    closest = sorted(sizes, key=lambda name: abs(math.fsum(sizes[name]) / len(sizes[name])))[:count]
    return tuple(name for name in sizes if name in {*closest})


class CanaryRule:
    """An `evaluate.StoppingRule` that asks some documents and no others.

    Raises DataError in `parts` if the task has none of them.
    """

    def __init__(self, ids: Collection[str]) -> None:
        self._ids = frozenset(ids)

    def parts(self, docs: Sequence[PromptedDoc]) -> Sequence[Sequence[int]]:
        """The documents that are asked, as the only part."""
        asked = [index for index, prompted in enumerate(docs) if prompted.doc.id in self._ids]
        if not asked:
            raise DataError("the task has none of the documents that the baseline's soft scores select")
        return [asked]

    def should_stop(self, result: TaskResult) -> bool:
        """There is nothing after the first part."""
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryReport:
    """What the documents of one task say."""

    metric: str
    documents: int
    moved: int
    """Documents whose soft score is that of no run of the baseline."""
    lost: int
    won: int
    """Documents that score worse, and better, than in the baseline."""
    loss: float
    """Mean loss of the soft scores, as a share of a document; negative for a gain."""
    p: float
    """Two-sided p-value of "the soft scores have no direction"."""
    wider: float | None
    """P-value of "this run differs from the baseline's as these do from each other". None: unknown, as the baseline has one run."""
    shift: float | None
    """The smallest shift of all margins that these documents would show, in the unit of the margins. None: they would show none."""
    cost: float | None
    """The loss of the metric over all documents of the baseline that this shift brings."""
    notes: tuple[str, ...] = ()


def canary_report(
    result: TaskResult,
    baseline: BaselineTask,
    gate: PairedGate,
    *,
    settings: Mapping[str, Any] | None = None,
    allow: Collection[MismatchKind] = (),
) -> CanaryReport | str:
    """What a result of some documents says, or in a line why it cannot be compared with the baseline."""
    aligned = align(result, baseline, gate.metric, settings=settings, allow=allow, stopped_early=True)
    if not isinstance(aligned, AlignedScores):
        reasons, kinds = [reason.text for reason in aligned.reasons], dict.fromkeys(reason.kind for reason in aligned.reasons)
        return f"the baseline does not fit: {'; '.join(reasons)} (--gate-allow {','.join(kinds)} compares anyway)"
    soft = soft_runs(aligned)
    if soft is None:
        return "a document has no soft score"
    paired = soft_pair(soft.baseline, soft.candidate, is_weighted=False, clusters=aligned.clusters)
    held = [math.fsum(row) / len(row) for row in baseline.soft[gate.metric]]
    before, after = (np.asarray([np.mean(repeats) for repeats in side]) for side in mean_scores(aligned))
    shift = _visible_shift(soft, float(np.sqrt(np.sum(paired.gains**2)) / paired.n), abs(_expected_drift(soft, held)))
    return CanaryReport(
        metric=gate.metric,
        documents=len(aligned.ids),
        moved=sum(not {*new} <= {*old} for old, new in zip(soft.baseline, soft.candidate, strict=True)),
        lost=int((after < before).sum()),
        won=int((after > before).sum()),
        loss=paired.loss,
        p=direction_p(soft, held, aligned.clusters),
        wider=_wider(soft),
        shift=shift,
        cost=None if shift is None else _cost(held, shift),
        notes=tuple(note for note in aligned.notes if not note.startswith("stopped early")),  # it was to ask no more
    )


def _expected_drift(soft: AlignedSoft, held: Sequence[float]) -> float:
    """By how much the margins would move on average if nothing changed, all of their changes were noise, and half of it the baseline's.

    A document was chosen because its margin in the baseline is near 0. If that run is noisy and more documents are below 0 than above, it
    came from below more often, and goes back. Near 0 the mean of what it came from is the noise's variance times the slope of the density
    of all margins, as a share of the density.
    """
    width = soft_width(soft.baseline, soft.candidate)
    if not width:
        return 0.0
    above, below = (sum(0 < sign * margin < width for margin in held) for sign in (1, -1))
    slope = 2 / width * (above - below) / max(1, above + below)
    # of the difference of two normal numbers the median size is 0.6745 standard deviations
    return slope * (width / WIDTH / 0.6745) ** 2 / 2


def direction_p(soft: AlignedSoft, held: Sequence[float], clusters: Sequence[str | None] | None = None) -> float:
    """The two-sided p-value of "the margins have no direction", for documents that the baseline's margins chose.

    The larger one of "they have not moved" and "they have moved by the drift"; 1 if these two see opposite directions.

    Args:
        soft: of the chosen documents, one entry a run.
        held: the margins of all documents in the baseline.
        clusters: as in `pair`.
    """
    drift = _expected_drift(soft, held)
    found = [
        soft_compare(
            [soft_pair(soft.baseline, [[margin - by for margin in row] for row in soft.candidate], is_weighted=False, clusters=clusters)],
            alpha=ALPHA / 2,
        )
        for by in dict.fromkeys((0.0, drift))
    ]
    if min(said.loss for said in found) < 0 < max(said.loss for said in found):
        return 1.0
    return max(min(1.0, 2 * min(said.p, said.p_gain)) for said in found)


def _visible_shift(soft: AlignedSoft, error: float, drift: float) -> float | None:
    """The smallest shift down of all margins that is found with the chance `SEEN`, beyond the drift."""
    width = soft_width(soft.baseline, soft.candidate)
    if not width or not error:
        return None
    needed = error * (NormalDist().inv_cdf(1 - ALPHA / 2) + NormalDist().inv_cdf(SEEN))
    margins = np.asarray([np.mean(repeats) for repeats in soft.baseline])
    now = soft_shares(margins, width)

    def loss(shift: float) -> float:
        return float(np.mean(now - soft_shares(margins - shift, width)))

    low, high = 0.0, 2 * width + float(np.abs(margins).max())
    if loss(high) < needed:
        return None
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if loss(middle) < needed else (low, middle)
    return high + drift


def _cost(margins: Sequence[float], shift: float) -> float:
    """The share of the documents that a shift down turns from right to wrong."""
    return sum(0 < margin <= shift for margin in margins) / len(margins)


def _wider(soft: AlignedSoft, *, draws: int = 2000, seed: int = 0) -> float | None:
    """By exchanging, within each document, the run that is compared: how often it is as far from the middle of the others as here."""
    runs = [[*old, *new] for old, new in zip(soft.baseline, soft.candidate, strict=True)]
    if any(len(old) < 2 or len(new) > 1 for old, new in zip(soft.baseline, soft.candidate, strict=True)):
        return None
    distances = []
    for row in runs:
        values = np.asarray(row)
        others = (values.sum() - values) / (len(values) - 1)
        distances.append(np.abs(values - others))
    observed = sum(float(row[-1]) for row in distances)
    rng = np.random.Generator(np.random.PCG64(seed))
    sums = np.zeros(draws)
    for row in distances:
        sums += row[rng.integers(0, len(row), size=draws)]
    return float((1 + (sums >= observed * (1 - 1e-9)).sum()) / (draws + 1))


# ------------------------------------------------------------------------------------------------------- in words


def canary_words(report: CanaryReport) -> list[str]:
    """A line on what changed, and one on what these documents can and cannot show."""
    n = report.documents
    head = f"{report.metric}: "
    if report.moved == 0:
        told = f"{head}nothing changed: all {n} soft scores are those of the baseline, to 16 bits"
        unseen = "unseen: what moves none of these documents"
    else:
        told = f"{head}{_changed(report)}: {report.moved} of {n} soft scores moved, {report.lost} answers lost / {report.won} won"
        size = f"{'gain' if report.loss < 0 else 'loss'} {100 * abs(report.loss):.1f} points"
        told += f"; soft {size} of these documents, p = {probability(report.p)}"
        unseen = "unseen: a smaller shift, and a loss in documents of which the model is sure"
    sees = "" if report.shift is None or report.cost is None else _sees(report.shift, report.cost, n)
    notes = f"  [{'; '.join(report.notes)}]" if report.notes else ""
    return [told + notes, f"    {sees}{unseen}"]


def _sees(shift: float, cost: float, n: int) -> str:
    return f"{n} documents see a shift of all margins by {shift:.2g} ({SEEN:.0%} of runs), which costs {100 * cost:.1f} points; "


def _changed(report: CanaryReport) -> str:
    if report.p <= ALPHA:
        return "worse" if report.loss > 0 else "better"
    if report.wider is None:
        return "changed, without a direction (one run in the baseline, so its noise is unknown)"
    if report.wider <= ALPHA:
        return f"changed by more than the baseline's runs differ (p = {probability(report.wider)}), without a direction"
    return "no more changed than the baseline's runs differ"
