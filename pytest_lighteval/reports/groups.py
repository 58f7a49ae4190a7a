"""Rows over several tasks: the average of a superset, and the average of all tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pytest_lighteval.types import MetricResult, TaskKey, TaskResult

ALL = "all"
"""Lighteval's name for the row over all tasks."""


def group_results(results: Sequence[TaskResult]) -> dict[str, dict[str, MetricResult]]:
    """Averages by `str` of their key: one row for each superset with more than one task here, and `all`. No tasks, no rows.

    The value is the unweighted mean over tasks, as in Lighteval. The standard error is that of a mean of k independent measurements,
    sqrt(sum of squares) / k, and None if one task has none; Lighteval takes the mean of the errors. The row of a superset has only the
    metrics that all its tasks report. `all` averages each metric over the tasks that report it, as Lighteval does.
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
