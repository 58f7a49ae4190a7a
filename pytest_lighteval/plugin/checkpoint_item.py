"""One task at one checkpoint as a pytest item: `gsm8k[5-shot-step-1000]`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from pytest_lighteval.backends.checkpoints import Checkpoint
from pytest_lighteval.gates.series import without_floors
from pytest_lighteval.plugin.checkpoints import Series
from pytest_lighteval.plugin.items import TaskItem, judge_item
from pytest_lighteval.plugin.run_item import run_item
from pytest_lighteval.plugin.session import shots_text
from pytest_lighteval.types import Task, TaskKey, TaskResult, Verdict


class CheckpointItem(TaskItem):
    """A task at a checkpoint. Its key is the task's: each checkpoint is a run of its own."""

    def __init__(self, *, task: Task, key: TaskKey, checkpoint: Checkpoint, **kwargs: Any) -> None:
        super().__init__(task=task, key=key, callobj=run_checkpoint, **kwargs)
        self.checkpoint = checkpoint

    @property
    def parameter(self) -> str:
        """What stands in the brackets."""
        return f"{super().parameter}-{self.checkpoint.name}"


def make_items(parent: pytest.Collector, task: Task, key: TaskKey, checkpoints: Iterable[Checkpoint]) -> Iterator[CheckpointItem]:
    """The items of a task, one for each checkpoint; `parent` is its suite file."""
    bare = without_floors(task)
    for checkpoint in checkpoints:
        name = f"{task.name}[{shots_text(key.few_shots, key.truncate)}-{checkpoint.name}]"
        yield CheckpointItem.from_parent(parent, name=name, task=bare, key=key, checkpoint=checkpoint)


def earlier_items(items: Iterable[pytest.Item], checkpoints: Iterable[Checkpoint]) -> list[CheckpointItem]:
    """What a session that asks again lacks (`--lf`): the tasks of its items at all earlier checkpoints, of which one was the best."""
    places = {checkpoint.name: place for place, checkpoint in enumerate(checkpoints)}
    asked = [item for item in items if isinstance(item, CheckpointItem)]
    found = {item.nodeid for item in asked}
    missing: dict[str, CheckpointItem] = {}
    for item in asked:
        assert item.parent is not None
        earlier = [checkpoint for checkpoint in checkpoints if places[checkpoint.name] < places[item.checkpoint.name]]
        made = make_items(item.parent, item.task, item.key, earlier)
        missing |= {one.nodeid: one for one in made if one.nodeid not in found}
    return list(missing.values())


def measure(series: Series, item: CheckpointItem) -> TaskResult:
    """Measure and judge a task at a checkpoint. Raises LightevalError."""
    name = item.checkpoint.name
    item.user_properties.append(("lighteval.checkpoint", name))
    return run_item(series.session_of(name), item, series.engine(name))


def run_checkpoint(lighteval_checkpoint_result: TaskResult, lighteval_checkpoint_verdicts: tuple[Verdict, ...]) -> None:
    """Judge what the set-up measured, as `run_task` does."""
    judge_item(lighteval_checkpoint_result, lighteval_checkpoint_verdicts)
