"""Find and read baseline files: one, or the first of several files and folders that holds a task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_lighteval.baselines.file_format import parse_baseline
from pytest_lighteval.baselines.model import Baseline, BaselineTask
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.types import TaskKey


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineFile:
    """A baseline with where it was read."""

    path: Path
    baseline: Baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class Baselines:
    """All that `--baseline` named, in the order in which it is searched."""

    places: tuple[tuple[BaselineFile, ...], ...]
    """A file is a place of one, a folder one of all its files."""

    def find(self, key: TaskKey) -> BaselineTask | None:
        """The task in the first place that holds it. None: nowhere, it is new.

        Raises UserInputError where several files of one folder hold it: which of them is meant must be said.
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
    def keys(self) -> tuple[TaskKey, ...]:
        """Every task that can be found, sorted: what was promised, and should a gated item not have run, is missing."""
        return tuple(sorted({key for place in self.places for file in place for key in file.baseline.tasks}))


def read_baseline(path: Path) -> Baseline:
    """The baseline in one file.

    Raises UserInputError: for a file that is not there, with how to write it; for one that cannot be read; for a damaged one, with
    `path: field: problem`.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        raise UserInputError(_how_to_write(path)) from error
    except OSError as error:
        raise UserInputError(f"--baseline {path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserInputError(f"{path}: is no baseline: not UTF-8 text at byte {error.start}") from error
    return parse_baseline(text, str(path))


def read_baselines(paths: Iterable[Path]) -> Baselines:
    """All files, and all `*.json` of the folders, that `--baseline` names. Raises UserInputError as `read_baseline` does."""
    return Baselines(places=tuple(_place(path) for path in paths))


def _place(path: Path) -> tuple[BaselineFile, ...]:
    files: Sequence[Path] = [path]
    if path.is_dir():
        # what is being written beside its name starts with a dot
        files = sorted(file for file in path.glob("*.json") if file.is_file() and not file.name.startswith("."))
        if not files:
            raise UserInputError(f"--baseline {path}: the folder holds no baseline; {_writes(path / 'baseline.json')}")
    return tuple(BaselineFile(path=file, baseline=read_baseline(file)) for file in files)


def _how_to_write(path: Path) -> str:
    return f"--baseline {path}: there is no such file; {_writes(path)}"


def _writes(path: Path) -> str:
    return f"the same run with --save-baseline {path} in place of --baseline writes it"
