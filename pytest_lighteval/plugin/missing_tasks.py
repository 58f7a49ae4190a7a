"""Tasks that the baseline holds and that vanished from their suite: a removed or renamed task must not take its gate away in silence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_lighteval.baselines.read import Baselines
from pytest_lighteval.errors import LightevalError
from pytest_lighteval.plugin.session import Session
from pytest_lighteval.types import TaskKey


def missing_tasks(session: Session, config: pytest.Config) -> list[TaskKey]:
    """The tasks of the baseline, and of the pinned one, that did not run, of every suite that this session runs as a whole; sorted.

    A session that selects among the tasks misses none.
    """
    baselines = session.settings.gate.baselines
    if not isinstance(baselines, Baselines) or _selects(session, config):
        return []
    items = session.judge.items
    planned = {key for key, _ in items}
    whole = {suite for suite in {key.suite for key in planned} if _is_whole(session, suite)}
    pinned = session.settings.gate.pinned
    held = {*baselines.keys, *(pinned.keys if pinned is not None else ())}
    # no suite names the truncation flag: such a task was measured by --tasks
    return sorted(key for key in held if key.suite in whole and key not in planned and not key.truncate)


def unnamed_suites(session: Session) -> Iterator[str]:
    """One line about the suites of the baseline of which this session runs nothing."""
    baselines = session.settings.gate.baselines
    if not isinstance(baselines, Baselines) or not session.judge.items:
        return
    named = {key.suite for key, _ in session.judge.items}
    held: dict[str, int] = {}
    for key in baselines.keys:
        if key.suite not in named:
            held[key.suite] = held.get(key.suite, 0) + 1
    if held:
        told = ", ".join(f"{suite} ({count} task{'s' * (count > 1)})" for suite, count in held.items())
        yield f"not compared, as this session did not name the suites that the baseline also holds: {told}"


def _selects(session: Session, config: pytest.Config) -> bool:
    """Whether an option chooses among the tasks of the suites that are named."""
    settings = session.settings
    options = ("keyword", "markexpr", "deselect", "lf", "stepwise", "maxfail")
    return bool(
        settings.specs
        or settings.few_shots
        or settings.evaluation.max_samples
        or any(config.getoption(name, None) for name in options)
        or any("::" in argument for argument in config.args)
    )


def _is_whole(session: Session, suite: str) -> bool:
    """Whether the session runs every task of a suite that the folders of its files declare."""
    items = session.judge.items
    planned = {key for key, _ in items}
    folders = {_folder(session, task.path.resolve()) for key, task in items if key.suite == suite}
    try:
        declared = [task for folder in sorted(folders) for task in session.catalogue.tasks_below(folder) if task.suite == suite]
    except LightevalError:
        return False  # a file beside those that were named is broken
    return all(
        TaskKey(suite=task.suite, task=task.name, few_shots=few_shots, truncate=truncate) in planned
        for task in declared
        for few_shots, truncate in session.counts(task)
    )


def _folder(session: Session, path: Path) -> Path:
    """Below which all files of a suite are: its root, the folder of a shipped suite, or the file's own."""
    shipped = session.catalogue.shipped
    if path.is_relative_to(shipped):
        return shipped / path.relative_to(shipped).parts[0]
    return next((root.resolve() for root in session.roots if path.is_relative_to(root.resolve())), path.parent)
