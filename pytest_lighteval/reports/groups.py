"""Rows over several tasks: the averages of supersets, of languages, and of all tasks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from pytest_lighteval.common.units import linked, members
from pytest_lighteval.types import DocumentScore, MetricResult, TaskKey, TaskResult

ALL = "all"
"""Lighteval's name for the row over all tasks."""

_CORRECTED = "corrected"
"""The suite of sound versions: `corrected|<suite>.<task>`."""


def group_results(results: Sequence[TaskResult]) -> dict[str, dict[str, MetricResult]]:
    """Averages by `str` of their key: of supersets, of subtasks in one language, of languages, and `all`. No tasks, no rows.

    A superset, and the subtasks of a benchmark in one language, have a row if more than one task is here. A language has one,
    `suite|all_tha_cf:_average|0`, if more than one benchmark is here; each benchmark counts the same in it, however many tasks it has.

    Otherwise the value is the unweighted mean over tasks, as in Lighteval; tasks of a superset that weigh by documents are weighted so. The
    standard error is that of this mean; Lighteval takes the mean of the errors. Tasks without a common row are independent. Those with
    common rows (few-shot counts of one task, one benchmark in two suites) are not: a row, or a cluster of rows, counts as one
    (cluster-robust, as `common.statistics.standard_error`). The error is None if one task has none. A row has only the metrics that all its
    tasks report. `all` averages each metric over the tasks that report it, as Lighteval does; see `averaged_in_all`.
    """
    ordered = sorted(results, key=lambda result: result.key)
    parts: dict[TaskKey, list[TaskResult]] = {}
    languages: dict[TaskKey, list[TaskResult]] = {}
    for result in ordered:
        for key in (result.key.superset, result.key.part):
            if key is not None:
                parts.setdefault(key, []).append(result)
        if (key := _language_row(result)) is not None:
            languages.setdefault(key, []).append(result)
    rows = {}
    for key, tasks in sorted(parts.items()):
        if len(tasks) > 1 and (shared := _shared_metrics(tasks)):
            rows[str(key)] = {name: _average(tasks, name, _weights(tasks, name)) for name in shared}
    for key, tasks in sorted(languages.items()):
        benchmarks = Counter(map(_benchmark, tasks))
        weights = [1 / len(benchmarks) / benchmarks[_benchmark(task)] for task in tasks]
        if len(benchmarks) > 1 and (shared := _shared_metrics(tasks)):
            rows[str(key)] = {name: _average(tasks, name, weights) for name in shared}
    if results:
        names = list(dict.fromkeys(name for result in ordered for name in result.metrics))
        for name in names:
            averaged = averaged_in_all(ordered, name)
            rows.setdefault(ALL, {})[name] = _average(averaged, name, [1 / len(averaged)] * len(averaged))
    return rows


def _shared_metrics(tasks: Sequence[TaskResult]) -> list[str]:
    return [name for name in tasks[0].metrics if all(name in task.metrics for task in tasks)]


def _language_row(result: TaskResult) -> TaskKey | None:
    """The key of the row of the task's language in its formulation. None: the task does not say its language."""
    if result.language is None:
        return None
    formulation = f"_{result.key.formulation}" if result.key.formulation else ""
    return replace(result.key, task=f"{ALL}_{result.language}{formulation}:_average")


def _benchmark(result: TaskResult) -> str:
    """What a task is a part of, or itself."""
    superset = result.key.superset
    return result.key.task if superset is None else superset.task


def averaged_in_all(results: Sequence[TaskResult], name: str) -> list[TaskResult]:
    """The tasks whose metric `name` is in the row `all`: those that report it.

    A corrected task is left out beside the task that it corrects: their scores must not be mixed, and Lighteval's row has only the latter.
    """
    reporting = [result for result in results if name in result.metrics]
    present = {(result.key.suite, result.key.task) for result in reporting}
    return [result for result in reporting if _corrected_by(result.key) not in present]


def _corrected_by(key: TaskKey) -> tuple[str, str] | None:
    """Suite and name of the task that `corrected|<suite>.<task>` corrects. None: it corrects none."""
    suite, dot, task = key.task.partition(".")
    return (suite, task) if key.suite == _CORRECTED and dot else None


def _average(tasks: Sequence[TaskResult], name: str, weights: Sequence[float]) -> MetricResult:
    """`weights`: together 1."""
    numbers = [task.metrics[name] for task in tasks]
    return MetricResult(
        value=sum(number.value * weight for number, weight in zip(numbers, weights, strict=True)),
        stderr=_error_of_sum(tasks, name, weights),
        n=sum(number.n for number in numbers),
        higher_is_better=all(number.higher_is_better for number in numbers),
    )


def _weights(tasks: Sequence[TaskResult], name: str) -> list[float]:
    """What each task of a superset counts; together 1."""
    documents = sum(task.metrics[name].n for task in tasks)
    if documents and all(task.weighs_documents for task in tasks):
        return [task.metrics[name].n / documents for task in tasks]
    return [1 / len(tasks)] * len(tasks)


def _error_of_sum(tasks: Sequence[TaskResult], name: str, weights: Sequence[float]) -> float | None:
    """The standard error of the weighted sum of the tasks' numbers."""
    if any(task.metrics[name].stderr is None for task in tasks):
        return None
    # only tasks with a common source can have a common row, which takes longer to find out
    near = members(linked(task.sources for task in tasks))
    together = [places for source in near for places in ([source] if len(source) == 1 else _with_common_rows(tasks, source))]
    parts = (([tasks[place] for place in places], [weights[place] for place in places]) for places in together)
    return math.hypot(*(_error_with_common_rows(*part, name) for part in parts))


def _with_common_rows(tasks: Sequence[TaskResult], places: Sequence[int]) -> list[list[int]]:
    rows = [{tasks[place].row_of(document.id) for document in tasks[place].documents} for place in places]
    return [[places[place] for place in together] for together in members(linked(rows))]


def _error_with_common_rows(tasks: Sequence[TaskResult], weights: Sequence[float], name: str) -> float:
    """Of the weighted sum of the tasks' numbers."""
    alone = [weight * (task.metrics[name].stderr or 0.0) for task, weight in zip(tasks, weights, strict=True)]
    shares = [_shares_of_error(task, name) for task in tasks]
    if len(tasks) == 1 or not all(shares):
        # a metric that is no mean has no error by document: no correlation of the tasks makes it larger than the sum
        return math.fsum(alone)
    labels: list[tuple[str, ...]] = []
    errors: list[float] = []
    for task, of_task, weight in zip(tasks, shares, weights, strict=True):
        for document, share in of_task:
            cluster = () if document.cluster is None else (f"{task.key.suite}|{task.key.task} cluster {document.cluster}",)
            labels.append((task.row_of(document.id), *cluster))
            errors.append(weight * share)
    units = members(linked(labels))
    if len(units) < 2:
        return math.fsum(alone)
    sums = [math.fsum(errors[place] for place in unit) for unit in units]
    return math.sqrt(math.fsum(error**2 for error in sums) * len(units) / (len(units) - 1))


def _shares_of_error(task: TaskResult, name: str) -> list[tuple[DocumentScore, float]]:
    """For each scored document, how far it moves the mean from the task's number. Empty: the number is no mean of the documents."""
    scored = [(document, value) for document in task.documents if (value := document.values.get(name)) is not None]
    numbers = [float(value) for _, value in scored if not isinstance(value, tuple)]
    if not scored or len(numbers) < len(scored):
        return []
    mean = math.fsum(numbers) / len(numbers)
    if not math.isclose(mean, task.metrics[name].value, rel_tol=1e-9, abs_tol=1e-12):
        return []
    return [(document, (number - mean) / len(numbers)) for (document, _), number in zip(scored, numbers, strict=True)]
