"""A baseline that the session measures itself, task by task: for a reference model that is evaluated beside the one that is judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_lighteval.baselines.model import BaselineTask
from pytest_lighteval.baselines.save import baseline_task, provenance_of
from pytest_lighteval.types import TaskKey, TaskResult


class MeasuredBaselines:
    """What the reference measured so far; asked as `Baselines` are."""

    def __init__(self) -> None:
        self._tasks: dict[TaskKey, BaselineTask] = {}

    def add(self, result: TaskResult, *, backend: Mapping[str, Any], environment: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """A task's result as a baseline of one repeat; a later one of the same task takes its place."""
        provenance = provenance_of(backend=backend, environment=environment, settings=settings)
        self._tasks[result.key] = baseline_task(result, provenance)

    def find(self, key: TaskKey) -> BaselineTask | None:
        """The task. None: it is not measured (yet)."""
        return self._tasks.get(key)

    @property
    def keys(self) -> tuple[TaskKey, ...]:
        """All that is measured, sorted."""
        return tuple(sorted(self._tasks))
