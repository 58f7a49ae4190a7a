"""Where `--save-baseline` writes: one file, or a folder in which every task has its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_lighteval.baselines.model import Baseline
from pytest_lighteval.baselines.read import read_baseline, read_baselines
from pytest_lighteval.baselines.save import Refresh, prepare_baseline
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.types import TaskKey


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveTarget:
    """What `--save-baseline` and the options beside it say."""

    path: Path
    is_folder: bool
    """Tasks are refreshed in the file that holds them; new ones get a file each."""
    reason: str | None
    is_repeat: bool
    """The run is a further repeat of what the file holds."""

    @classmethod
    def parse(cls, text: str, *, folder: Path, reason: str | None = None, is_repeat: bool = False) -> SaveTarget:
        """A folder is written with a slash at its end, or is there already.

        What is there is read, so that a damaged file is told before anything is evaluated. Raises UserInputError.
        """
        path = folder / text
        if text.endswith("/") and path.exists() and not path.is_dir():
            raise UserInputError(f"--save-baseline {text}: is a file; write it without the slash")
        is_folder = text.endswith("/") or path.is_dir()
        if path.is_file():
            read_baseline(path)
        elif any(path.glob("*.json")):
            read_baselines([path])
        return cls(path=path, is_folder=is_folder, reason=reason, is_repeat=is_repeat)

    def save(self, baseline: Baseline, *, date: str | None = None) -> dict[Path, Refresh]:
        """Write all files or, for a reason that concerns one of them, none. Raises UserInputError as `prepare_baseline`, OSError."""
        prepared = [
            prepare_baseline(path, part, reason=self.reason, date=date, is_repeat=self.is_repeat)
            for path, part in self._parts(baseline).items()
        ]
        return {file.path: file.write() for file in prepared}

    def _parts(self, baseline: Baseline) -> Mapping[Path, Baseline]:
        if not self.is_folder or not baseline.tasks:
            return {self.path: baseline}
        held: dict[TaskKey, Path] = {}
        if any(self.path.glob("*.json")):
            (files,) = read_baselines([self.path]).places
            held = {key: file.path for file in files for key in file.baseline.tasks}
        parts: dict[Path, Baseline] = {}
        for key, task in sorted(baseline.tasks.items()):
            path = held.get(key, self.path / _file_name(key))
            parts[path] = Baseline(tasks={**(parts[path].tasks if path in parts else {}), key: task})
        return parts


def _file_name(key: TaskKey) -> str:
    name = f"{key.suite}.{key.task}.{key.few_shots}-shot{'.trunc' * key.truncate}".replace(":", ".")
    return re.sub(r"[^\w.-]|^\.", "_", name, flags=re.ASCII) + ".json"
