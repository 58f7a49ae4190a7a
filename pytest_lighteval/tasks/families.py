"""Shipped files with thousands of tasks each, which are read only when something names them: the families of many languages.

A file is a family, and its name begins the names of its tasks: `belebele.yaml` has `belebele_tha_Thai_cf`. So a name, or the beginning of a
pattern, says which files to read. Those of the suite `corrected` are in the folder `corrected`, and their tasks begin with `lighteval.`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from pytest_lighteval.tasks import SUITE_SUFFIXES
from pytest_lighteval.tasks.task_spec import TaskSpec

FOLDER = "multilingual"
"""Of the shipped suites."""
_CORRECTED = "corrected"
Wanted = Callable[[str], bool]
"""Whether a task of this name is asked for."""


class Families:
    """The files below one folder, by suite and beginning of their tasks' names."""

    def __init__(self, shipped: Path) -> None:
        self.root = shipped / FOLDER

    def holds(self, path: Path) -> bool:
        """Whether the file or folder is the families' folder, or inside of it."""
        return path.is_relative_to(self.root)

    @cached_property
    def files(self) -> dict[tuple[str, str], Path]:
        """(suite, what the names of its tasks begin with) -> file."""
        found = {}
        for path in sorted(path for suffix in SUITE_SUFFIXES for path in self.root.rglob(f"*{suffix}")):
            is_corrected = path.parent.name == _CORRECTED
            found[(_CORRECTED if is_corrected else "lighteval", f"{'lighteval.' * is_corrected}{path.stem}_")] = path
        return found

    def named_by(self, spec: TaskSpec) -> list[Path]:
        """The files that may have a task of the spec's name or pattern, in the order of their names."""
        beginning = spec.literal_beginning
        is_whole = beginning == spec.task
        return [
            path
            for (suite, start), path in self.files.items()
            if suite == spec.suite and (beginning.startswith(start) or (not is_whole and start.startswith(beginning)))
        ]
