"""Read baseline files, and find a task in the first of several files and folders that has it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_lighteval.baselines.file_format import parse_baseline
from pytest_lighteval.baselines.model import Baseline, BaselineTask
from pytest_lighteval.common.files import read_utf8
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.types import TaskKey


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineFile:
    """A baseline with where it was read."""

    path: Path
    baseline: Baseline
    sha256: str = ""
    """Of the file's content, in hex."""
    note: str | None = None
    """What a reader should know of it, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baselines:
    """The files and folders of `--baseline`, in the order in which they are searched."""

    places: tuple[tuple[BaselineFile, ...], ...]
    """One per file or folder that was named: its files."""

    def find(self, key: TaskKey) -> BaselineTask | None:
        """The task in the first place that has it. None: no place has it, the task is new.

        Raises UserInputError if several files of one folder have it: the user must name one of them.
        """
        for place in self.places:
            holding = [file for file in place if key in file.baseline.tasks]
            if len(holding) > 1:
                names = " and ".join(str(file.path) for file in holding)
                raise UserInputError(f"--baseline {holding[0].path.parent}: {key} is in {names}; name one of them instead of the folder")
            if holding:
                return holding[0].baseline.tasks[key]
        return None

    @property
    def are_complete(self) -> bool:
        """Whether a file says that it has `complete: true`: every task that runs should be in the baseline."""
        return any(file.baseline.is_complete for place in self.places for file in place)

    @property
    def notes(self) -> tuple[str, ...]:
        """What files lack that an earlier version wrote, and runs that are not complete; one line each."""
        files = [file for place in self.places for file in place]
        return (
            *(
                f"{file.path}: an earlier version wrote it, without digests of its scores: not every change by hand is noticed; "
                "--save-baseline adds them"
                for file in files
                if not file.baseline.has_digests
            ),
            *(f"{file.path}: {file.note}" for file in files if file.note is not None),
        )

    def facts(self, folder: Path) -> list[dict[str, Any]]:
        """Each file for a report: its path (relative if below the folder), its digest, number of tasks, and models."""
        return [
            {
                "path": str(file.path.relative_to(folder) if file.path.is_relative_to(folder) else file.path),
                "sha256": file.sha256,
                "tasks": len(file.baseline.tasks),
                "models": _models(file.baseline),
            }
            for place in self.places
            for file in place
        ]

    @property
    def keys(self) -> tuple[TaskKey, ...]:
        """Every task that `find` finds, sorted."""
        return tuple(sorted({key for place in self.places for file in place for key in file.baseline.tasks}))


def read_baseline(path: Path) -> Baseline:
    """The baseline in one file.

    Raises UserInputError: the file does not exist (the message says how to write it), cannot be read, or is damaged
    (`path: field: problem`).
    """
    if not path.exists():
        raise UserInputError(f"--baseline {path}: there is no such file; {_how_to_write(path)}")
    return parse_baseline(read_utf8(path, shown=f"--baseline {path}"), str(path))


def read_baselines(paths: Iterable[Path]) -> Baselines:
    """All files, and all `*.json` of the folders, that `--baseline` names. Raises UserInputError as `read_baseline` does."""
    return Baselines(places=tuple(_place(path) for path in paths))


def _models(baseline: Baseline) -> list[dict[str, str | None]]:
    """What measured the tasks, without duplicates."""
    found = {
        (origin.backend, origin.model_fingerprint, origin.dtype): None for task in baseline.tasks.values() for origin in task.provenance
    }
    return [{"backend": backend, "fingerprint": fingerprint, "dtype": dtype} for backend, fingerprint, dtype in found]


def _place(path: Path) -> tuple[BaselineFile, ...]:
    files: Sequence[Path] = [path]
    if path.is_dir():
        # names with a dot: temporary files of `write_atomic`
        files = sorted(file for file in path.glob("*.json") if file.is_file() and not file.name.startswith("."))
        if not files:
            raise UserInputError(f"--baseline {path}: the folder holds no baseline; {_how_to_write(path / 'baseline.json')}")
    return tuple(BaselineFile(path=file, baseline=read_baseline(file), sha256=_digest(file)) for file in files)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _how_to_write(path: Path) -> str:
    return f"the same run with --save-baseline {path} in place of --baseline writes it"
