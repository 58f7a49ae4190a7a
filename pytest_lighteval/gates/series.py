"""The gate of a series of checkpoints: no drop against the best so far.

The best was chosen by its score on the same documents. A model that stays as good will therefore often score below it.
Checkpoint k is compared with one of k - 1 earlier ones. If each of these comparisons had the level a, the one that is made is wrong with
a chance of at most (k - 1) a, whichever is chosen (Bonferroni). With a = alpha / (k (k - 1)²), checkpoint k has alpha / (k (k - 1)), and
these shares sum to alpha over a series without an end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_lighteval.baselines.measured import MeasuredBaselines
from pytest_lighteval.gates.gate_file import GateFile
from pytest_lighteval.gates.gate_settings import BLIND, GateSettings
from pytest_lighteval.gates.judge import Judge
from pytest_lighteval.gates.plan import GatePlan
from pytest_lighteval.types import GateSpec, HistoryPoint, Task, TaskKey


def comparison_share(position: int) -> float:
    """Of alpha, for the comparison of checkpoint `position` (from 2 on) with the best of those before it."""
    return 1 / (position * (position - 1) ** 2)


class BestSoFar(MeasuredBaselines):
    """Of each task the best of the points before. The tasks of a superset that is a gate are those of one point: its best."""

    def __init__(self, points: Sequence[HistoryPoint], plan: GatePlan, *, facts: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """Choose. `facts`: of the backend; `settings`: of the evaluation; a task that no point has is left out."""
        super().__init__()
        groups = {member: gates[0] for gates in plan.groups.values() for gate in gates for member in gate.members}
        self.chosen: dict[TaskKey, str] = {}
        """Task -> name of the point."""
        for key, gates in plan.tasks.items():
            unit = groups.get(key)
            point = best_point(points, unit.members if unit else (key,), unit.metric if unit else gates[0].metric)
            if point is not None:
                self.chosen[key] = point.name
                self.add(point.results[key], backend=facts, environment={}, settings=settings)

    def promises(self, key: TaskKey) -> bool:
        """Whether an earlier point has the task."""
        return key in self.chosen


def best_point(points: Sequence[HistoryPoint], keys: Sequence[TaskKey], metric: str) -> HistoryPoint | None:
    """The point with the best mean score of a metric over these tasks' documents; of equal ones the first. None: no point has them all."""
    found = None
    for point in points:
        numbers = [point.results[key].metrics[metric] for key in keys if key in point.results and metric in point.results[key].metrics]
        documents = sum(number.n for number in numbers)
        if len(numbers) < len(keys) or not documents:
            continue
        score = math.fsum(number.value * number.n for number in numbers) / documents
        score = score if numbers[0].higher_is_better else -score
        if math.isfinite(score) and (found is None or score > found[0]):
            found = score, point
    return None if found is None else found[1]


def without_spent_documents(points: Sequence[HistoryPoint]) -> list[HistoryPoint]:
    """The points without the documents of results that no later point is compared with: neither the newest nor the best in any number.

    A long training has hundreds of checkpoints, and their documents would fill the memory.
    """
    needed: set[tuple[str, TaskKey]] = set()
    units: dict[TaskKey, list[TaskKey]] = {}
    for key in sorted({key for point in points for key in point.results}):
        units[key] = [key]
        if (group := key.superset) is not None:
            units.setdefault(group, []).append(key)
    for members in units.values():
        metrics = {metric for point in points for key in members if key in point.results for metric in point.results[key].metrics}
        for metric in metrics:
            if (best := best_point(points, members, metric)) is not None:
                needed |= {(best.name, key) for key in members}
    *older, newest = points
    kept = [
        replace(
            point,
            results={
                key: result if (point.name, key) in needed else replace(result, documents=()) for key, result in point.results.items()
            },
        )
        for point in older
    ]
    return [*kept, newest]


def judge_of_point(
    gate: GateSettings,
    items: Sequence[tuple[TaskKey, Task]],
    earlier: Sequence[HistoryPoint],
    *,
    facts: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> Judge:
    """What holds for the next point of a series, after those that were measured. The first point is held to nothing.

    There is no pooled test: each task is compared with a point of its own, chosen by its own score. Blind gates are told, and not red:
    the shares of late checkpoints are small.

    Args:
        gate: the session's; its baselines are not used.
        items: the tasks, without floors (`without_floors`).
        earlier: the points before, in the order in which they were measured.
        facts: of the backend.
        settings: of the evaluation.
    """
    gate = replace(gate, file=gate.file and _file_without_floors(gate.file), allowed=gate.allowed | {BLIND}, baselines=None)
    if not earlier:
        return Judge(gate=gate, settings=settings).planned(items)
    share = comparison_share(len(earlier) + 1)
    every = Judge(gate=replace(gate, baselines=MeasuredBaselines()), share=share, has_pool=False, settings=settings).planned(items)
    assert every.plan is not None
    best = BestSoFar(earlier, every.plan, facts=facts, settings=settings)
    return replace(every, gate=replace(gate, baselines=best)).planned(items)


def without_floors(task: Task) -> Task:
    """The task as a checkpoint of a training is held to it: a floor is a promise of the finished model."""
    return replace(task, gates=_specs_without_floors(task.gates))


def _specs_without_floors(gates: Mapping[str, GateSpec]) -> dict[str, GateSpec]:
    bare = {name: replace(spec, min=None, max=None) for name, spec in gates.items()}
    return {name: spec for name, spec in bare.items() if spec != GateSpec()}


def _file_without_floors(file: GateFile) -> GateFile:
    entries = [replace(entry, gates=_specs_without_floors(entry.gates)) for entry in file.entries]
    return replace(file, entries=tuple(entry for entry in entries if entry.gates))
