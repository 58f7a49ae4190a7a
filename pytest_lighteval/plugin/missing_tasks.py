"""What the suites of a session declare, and which option chooses among their tasks: whether a task of the baseline is missing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_lighteval.errors import LightevalError
from pytest_lighteval.gates.missing_tasks import DeclaredSuites
from pytest_lighteval.plugin.session import Session
from pytest_lighteval.types import Task, TaskKey

_CHOOSING = {"keyword": "-k", "markexpr": "-m", "deselect": "--deselect"}
"""Options of pytest that choose among the items by what they are: where pytest keeps them, and how users write them.

What `--lf` and `--stepwise` leave out is seen in what ran, and after `-x` stopped a session nothing is judged.
"""


def declared_suites(session: Session, config: pytest.Config) -> DeclaredSuites:
    """What the folders of the session's suite files declare at its few-shot counts."""
    suites = sorted({key.suite for key, _ in session.judge.items})
    declared = {suite: tasks for suite in suites if (tasks := _declared(session, suite)) is not None}
    return DeclaredSuites(tasks=declared, selection=_selection(session, config))


def named_suites(session: Session, config: pytest.Config) -> frozenset[str] | None:
    """The suites with a file at or below the session's paths, whatever `--lf` left of them. None: a file there is broken."""
    arguments = session.arguments if session.arguments is not None else config.args
    paths = [(config.invocation_params.dir / argument.partition("::")[0]).resolve() for argument in arguments]
    try:
        return frozenset(task.suite for path in paths for task in session.catalogue.tasks_below(path))
    except LightevalError:
        return None


def _selection(session: Session, config: pytest.Config) -> str | None:
    """The option that chooses among the tasks of the suites that are named. None: there is none."""
    settings = session.settings
    own = {
        "--tasks": settings.specs,
        "--few-shots": settings.few_shots,
        "--max-samples": settings.evaluation.max_samples,
        "an id": any("::" in argument for argument in config.args),
    }
    chosen = [name for name, value in own.items() if value]
    chosen += [written for name, written in _CHOOSING.items() if config.getoption(name, None)]
    return chosen[0] if chosen else None


def _declared(session: Session, suite: str) -> Mapping[TaskKey, bool] | None:
    """All tasks of a suite, and whether each has a floor. None: a file beside those that were named is broken."""
    paths = {task.path.resolve() for key, task in session.judge.items if key.suite == suite}
    catalogue = session.catalogue
    # a family is a part of the suite whose folder has the rest
    families = {path for path in paths if catalogue.families.holds(path)}
    folders = {*families, *(_folder(session, path) for path in paths - families), *([catalogue.shipped / suite] if families else [])}
    try:
        files = dict.fromkeys(file.resolve() for folder in sorted(folders) for file in catalogue.files_below(folder))
        tasks = [task for file in files for task in session.tasks_of(file) if task.suite == suite]
    except LightevalError:
        return None
    keyed = {_key(task, *count): task for task in tasks for count in session.counts(task)}
    return {key: session.judge.has_floor(key, task) for key, task in keyed.items()}


def _key(task: Task, few_shots: int, truncate: bool) -> TaskKey:
    return TaskKey(suite=task.suite, task=task.name, few_shots=few_shots, truncate=truncate)


def _folder(session: Session, path: Path) -> Path:
    """Below which all files of a suite are: its root, the folder of a shipped suite, or the file's own."""
    shipped = session.catalogue.shipped
    if path.is_relative_to(shipped):
        return shipped / path.relative_to(shipped).parts[0]
    return next((root.resolve() for root in session.roots if path.is_relative_to(root.resolve())), path.parent)
