"""A baseline that the session measures itself: the results of a reference model that is evaluated in the same session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_lighteval.baselines.model import BaselineTask
from pytest_lighteval.baselines.save import baseline_task, provenance_of
from pytest_lighteval.types import TaskKey, TaskResult


class MeasuredBaselines:
    """The reference's results so far, with the methods of `Baselines`."""

    def __init__(self) -> None:
        self._tasks: dict[TaskKey, BaselineTask] = {}

    def add(self, result: TaskResult, *, backend: Mapping[str, Any], environment: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """Keep a task's result as a baseline of one repeat; a later result of the same task replaces it."""
        provenance = provenance_of(backend=backend, environment=environment, settings=settings)
        self._tasks[result.key] = baseline_task(result, provenance)

    are_complete = False
    """A task that the reference has not measured is skipped, not new."""

    def promises(self, key: TaskKey) -> bool:
        """Whether the task will be measured before it is needed: a reference measures whatever is selected."""
        return True

    def find(self, key: TaskKey) -> BaselineTask | None:
        """The task's baseline. None: it is not measured yet."""
        return self._tasks.get(key)

    @property
    def keys(self) -> tuple[TaskKey, ...]:
        """The measured tasks, sorted."""
        return tuple(sorted(self._tasks))
