"""`--custom-tasks`: folders of suites, and Python modules of tasks that were written for Lighteval."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_lighteval.errors import UserInputError
from pytest_lighteval.types import Task

if TYPE_CHECKING:
    from pytest_lighteval.guests.lighteval.module import LoadedModule

_OF_LIGHTEVAL = "lighteval."
"""Begins the names of modules whose tasks are shipped."""


class CustomModule:
    """A Python module, run once and when it is first needed."""

    def __init__(self, path: Path, written: str) -> None:
        self.path, self._written = path, written

    @cached_property
    def loaded(self) -> LoadedModule:
        """What it declares. Raises FileError."""
        from pytest_lighteval.guests.lighteval.module import load_module  # only where there is a module

        return load_module(self.path, written=self._written)

    def tasks(self) -> list[Task]:
        """Its tasks. Raises FileError."""
        return list(self.loaded.tasks)


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomTasks:
    """What `--custom-tasks` names."""

    folders: tuple[Path, ...] = ()
    modules: tuple[CustomModule, ...] = ()
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.folders or self.modules)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Of all of them."""
        return (*self.folders, *(module.path for module in self.modules))

    @property
    def readers(self) -> Mapping[Path, Callable[[], list[Task]]]:
        """Path of a module -> what reads its tasks."""
        return {module.path: module.tasks for module in self.modules}

    def without_groups(self, text: str) -> str:
        """The text of `--tasks` with each name of a group (`TASKS_GROUPS` of a module) replaced by its specs. Raises FileError."""
        parts = [part.strip() for part in text.split(",")]
        if not self.modules or all("|" in part for part in parts):
            return text
        groups = {name: specs for module in self.modules for name, specs in module.loaded.groups.items()}
        return ",".join(spec for part in parts for spec in groups.get(part, (part,)))


def read_custom_tasks(names: Iterable[str], folder: Path) -> CustomTasks:
    """What the names mean, seen from a folder. Runs no module, only the packages above a dotted one. Raises UserInputError."""
    folders: list[Path] = []
    modules: list[CustomModule] = []
    notes: list[str] = []
    for name in names:
        if (folder / name).is_dir():
            folders.append((folder / name).resolve())
        elif name.startswith(_OF_LIGHTEVAL) and not name.endswith(".py"):
            notes.append(f"--custom-tasks {name}: Lighteval's own tasks are found by their names: leave it out")
        else:
            from pytest_lighteval.guests.lighteval.module import find_module  # only where a module may be meant

            path = find_module(name, folder)
            if path is None:
                raise UserInputError(f"--custom-tasks {folder / name}: no such folder; a Python module is my_tasks.py, or a dotted name")
            modules.append(CustomModule(path, name))
    return CustomTasks(folders=tuple(folders), modules=tuple(modules), notes=tuple(notes))
