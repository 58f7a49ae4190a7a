"""The documents of all gates for the pooled test: every row of a data set once, however many gates and tasks ask it."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pytest_lighteval.baselines.align import AlignedScores, MismatchKind, mean_scores
from pytest_lighteval.common.units import linked, members
from pytest_lighteval.comparison.decision import Policy
from pytest_lighteval.comparison.paired import Paired, Repeats, concatenate, pair, stratified
from pytest_lighteval.gates.compare import Side, align_sides, most_attempts, most_of, own_policy
from pytest_lighteval.gates.documents import paired_scores
from pytest_lighteval.gates.plan import PairedGate


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPart:
    """A gate's documents for the pooled test; of a task that stopped early, those asked."""

    aligned: tuple[AlignedScores, ...]
    """One per task."""
    policy: Policy
    """The gate's own, in its metric's unit."""
    attempts: int = 1
    """The most that one of its tasks was measured."""
    most: float | None = None
    """The most that a document can lose. Infinite: the metric states no range. None: a guess of `pair`."""


class LeftOut(StrEnum):
    """Why a gate has no part in the pooled test."""

    CORPUS = "corpus metric"
    NO_SCORE = "no score"
    MISMATCH = "baseline does not fit"
    WAIVER = "waiver"


def pool_part(gate: PairedGate, sides: Sequence[Side], session: Policy, *, allow: Collection[MismatchKind] = ()) -> PoolPart | LeftOut:
    """A gate's part in the pooled test, or why it has none."""
    if not gate.corpus.is_mean:
        return LeftOut.CORPUS
    if not sides:
        return LeftOut.NO_SCORE
    aligned, mismatches = align_sides(gate, sides, settings=None, allow=allow)
    if mismatches:
        return LeftOut.MISMATCH
    return PoolPart(
        aligned=tuple(aligned),
        policy=own_policy(gate, [side.baseline for side in sides], session),
        attempts=most_attempts(sides),
        most=most_of(gate.corpus),
    )


def pooled_documents(parts: Sequence[PoolPart], session: Policy) -> Paired:
    """All gated documents, each row once, as one stratified sample for the pooled test with `session.pooled`.

    If a gate's `max_drop` is not the session's (often because the unit differs), its losses are scaled by the ratio of the two. A row of
    several gates (metrics of one task, a superset and its task, one benchmark in two suites or at two few-shot counts) counts once, with
    the mean of its scaled losses: its scores depend on each other, and the test needs independent units. The weights do not depend on any
    score. A task that stopped early contributes the documents that were asked.
    """
    scaled = [_Scaled(aligned, session.max_drop / part.policy.max_drop, part.most) for part in parts for aligned in part.aligned]
    once = []
    for places in members(linked(one.aligned.rows for one in scaled)):
        together = [scaled[place] for place in places]
        once.append(together[0].paired if len(together) == 1 else _each_row_once(together))
    return concatenate(once)


@dataclass(frozen=True, slots=True)
class _Scaled:
    """A gate's documents in one task, with a common unit for the losses of all gates."""

    aligned: AlignedScores
    factor: float
    """Of its losses."""
    most: float | None
    """The most that one document can lose, as `PoolPart.most`."""

    @property
    def paired(self) -> Paired:
        return stratified([paired_scores(self.aligned, self.most)], [self.factor])

    @property
    def scores(self) -> tuple[list[tuple[float, ...]], list[tuple[float, ...]]]:
        """Per document the runs of either side, scaled and signed so that higher is better."""
        scale = self.factor if self.aligned.higher_is_better else -self.factor
        before, after = ([_runs(runs, scale) for runs in side] for side in mean_scores(self.aligned))
        return before, after


def _runs(scores: Repeats, scale: float) -> tuple[float, ...]:
    return tuple(score * scale for score in (scores if isinstance(scores, Sequence) else (scores,)))


def _each_row_once(gates: Sequence[_Scaled]) -> Paired:
    """The rows of gates that share some, each with the mean of its scores. Rows of one cluster of any task are one unit."""
    before: dict[str, list[tuple[float, ...]]] = {}
    after: dict[str, list[tuple[float, ...]]] = {}
    clusters: dict[str, set[tuple[str, str]]] = {}
    for gate in gates:
        names = gate.aligned.clusters or (None,) * len(gate.aligned.ids)
        for row, name, old, new in zip(gate.aligned.rows, names, *gate.scores, strict=True):
            before.setdefault(row, []).append(old)
            after.setdefault(row, []).append(new)
            of_row = clusters.setdefault(row, set())
            if name is not None:
                of_row.add((f"{gate.aligned.key.suite}|{gate.aligned.key.task}", name))
    units = linked(clusters.values())
    has_equal_runs = {row: len({len(runs) for runs in before[row]}) == len({len(runs) for runs in after[row]}) == 1 for row in before}
    return pair(
        [_mean(runs, run_by_run=has_equal_runs[row]) for row, runs in before.items()],
        [_mean(runs, run_by_run=has_equal_runs[row]) for row, runs in after.items()],
        clusters=[f"{unit}" for unit in units] if len(set(units)) < len(units) else None,
        most=max(gate.factor * pair(*mean_scores(gate.aligned), most=gate.most).worst for gate in gates),
    )


def _mean(gates: Sequence[tuple[float, ...]], *, run_by_run: bool) -> Repeats:
    """The mean over the gates of a row. If they have different numbers of runs, no run of one belongs to a run of another."""
    if run_by_run:
        return tuple(math.fsum(scores) / len(scores) for scores in zip(*gates, strict=True))
    return math.fsum(math.fsum(runs) / len(runs) for runs in gates) / len(gates)
