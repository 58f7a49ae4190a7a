"""Rows that are made of several tasks: a superset's average, and the average of everything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pytest_lighteval.types import MetricResult, TaskKey, TaskResult

ALL = "all"
"""Lighteval's name for the row over all tasks."""


def group_results(results: Sequence[TaskResult]) -> dict[str, dict[str, MetricResult]]:
    """Averages by `str` of their key: one row for each superset that has more than one task here, and `all`.

    The value is Lighteval's, the unweighted mean over tasks. The standard error is that of this mean of independent measurements,
    sqrt(sum of squares) / k, where Lighteval takes the mean of the errors; it is None as soon as one task has none. A superset has
    only the metrics that every one of its tasks reports, for a mean over some of them is another number; `all` averages each metric over
    the tasks that have it, as Lighteval does. No tasks, no rows.
    """
    members: dict[TaskKey, list[TaskResult]] = {}
    for result in sorted(results, key=lambda result: result.key):
        if result.key.superset is not None:
            members.setdefault(result.key.superset, []).append(result)
    rows = {}
    for key, tasks in sorted(members.items()):
        shared = [name for name in tasks[0].metrics if all(name in task.metrics for task in tasks)]
        if len(tasks) > 1 and shared:
            rows[str(key)] = _averages(tasks, shared)
    if results:
        ordered = sorted(results, key=lambda result: result.key)
        rows[ALL] = _averages(ordered, list(dict.fromkeys(name for result in ordered for name in result.metrics)))
    return rows


def _averages(tasks: Sequence[TaskResult], names: Sequence[str]) -> dict[str, MetricResult]:
    by_task: list[Mapping[str, MetricResult]] = [task.metrics for task in tasks]
    return {name: _average([metrics[name] for metrics in by_task if name in metrics]) for name in names}


def _average(parts: Sequence[MetricResult]) -> MetricResult:
    errors = [part.stderr for part in parts if part.stderr is not None]
    return MetricResult(
        value=sum(part.value for part in parts) / len(parts),
        stderr=math.hypot(*errors) / len(parts) if len(errors) == len(parts) else None,
        n=sum(part.n for part in parts),
        higher_is_better=all(part.higher_is_better for part in parts),
    )
