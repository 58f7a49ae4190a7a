"""`--custom-tasks`: folders of suites, and Python modules of tasks that were written for Lighteval."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pytest_lighteval.errors import UserInputError
from pytest_lighteval.types import Task

_OF_LIGHTEVAL = "lighteval."
"""Begins the names of modules whose tasks are shipped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomTasks:
    """What `--custom-tasks` names."""

    folders: tuple[Path, ...] = ()
    modules: Mapping[Path, Callable[[], list[Task]]] = field(default_factory=dict)
    """Python files, and what reads the tasks of each. Reading runs the user's code."""
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.folders or self.modules)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Of all of them."""
        return (*self.folders, *self.modules)


def read_custom_tasks(names: Iterable[str], folder: Path) -> CustomTasks:
    """What the names mean, seen from a folder. Raises UserInputError for what is not there."""
    folders: list[Path] = []
    modules: dict[Path, Callable[[], list[Task]]] = {}
    notes: list[str] = []
    for name in names:
        if name.startswith(_OF_LIGHTEVAL) and not (folder / name).exists():
            notes.append(f"--custom-tasks {name}: Lighteval's own tasks are found by their names: leave it out")
            continue
        if (path := _module(name, folder)) is not None:
            modules[path] = partial(_load, path, name)
        elif (folder / name).is_dir():
            folders.append((folder / name).resolve())
        else:
            raise UserInputError(f"--custom-tasks {folder / name}: no such folder, and no Python module (my_tasks.py, or a dotted name)")
    return CustomTasks(folders=tuple(folders), modules=modules, notes=tuple(notes))


def _module(name: str, folder: Path) -> Path | None:
    if (folder / name).is_dir():
        return None
    from pytest_lighteval.guests.lighteval.module import find_module  # only where a module may be meant

    return find_module(name, folder)


def _load(path: Path, name: str) -> list[Task]:
    from pytest_lighteval.guests.lighteval.module import load_module

    return load_module(path, written=name)
