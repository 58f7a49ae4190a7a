"""Scores of one model over time: checkpoints of a training, or nightly runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_lighteval.types.score import TaskResult
from pytest_lighteval.types.task import TaskKey


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPoint:
    """What was measured at one point in time."""

    name: str
    """`step-1000`, or the id of a nightly run."""
    step: float
    """Where it is on the axis: the step of a training, or seconds since 1970 of a run's start."""
    results: Mapping[TaskKey, TaskResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """A number compared with an earlier point, over the same documents. Losses are positive, in the metric's own unit."""

    point: str
    """The name of the earlier point."""
    loss: float
    lower: float
    """With `upper` an interval of the loss, at 95 %: each bound is wrong in at most 2.5 % of the cases."""
    upper: float
    p: float
    """One-sided p-value of "nothing was lost"."""
    lost: int | None
    """Documents. None: a metric of the whole corpus."""
    won: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRow:
    """One number at one point."""

    point: str
    step: float
    task: str
    """Key of a task or a superset."""
    metric: str
    n: int
    """Documents."""
    score: float
    stderr: float | None
    lower: float | None
    """With `upper` an interval of the score at 95 %, from its standard error. None: that is not known."""
    upper: float | None
    higher_is_better: bool
    before: PairedDifference | None
    """Compared with the point before. None: it is the first one that has the number, or other documents were asked."""
    best: PairedDifference | None
    """The same, with the best score of all points before."""
    verdict: str | None = None
    """What the gate "no drop against the best so far" says: PASSED, REGRESSED... None: the number has no gate, or no earlier point."""
