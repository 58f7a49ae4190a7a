"""A run folder as a baseline: `--baseline reports/<run>` compares with that run, without a file that was saved before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from pytest_lighteval.baselines.read import BaselineFile, Baselines, read_baselines
from pytest_lighteval.baselines.save import baseline_of
from pytest_lighteval.errors import DataError, UserInputError
from pytest_lighteval.reports.recorded_run import RecordedRun, check_one_run, is_run_folder, read_run, run_file


def read_places(paths: Iterable[Path]) -> Baselines:
    """What `--baseline` names: files, folders of files, and folders of runs.

    Raises UserInputError for a file or a run that is not there, is damaged, or is a part of a run.
    """
    return Baselines(places=tuple(_place(path) for path in paths))


def _place(path: Path) -> tuple[BaselineFile, ...]:
    try:
        check_one_run(path)
        if not (path.is_dir() and is_run_folder(path)):
            (place,) = read_baselines([path]).places
            return place
        return (baseline_of_run(path, read_run(path)),)
    except DataError as error:
        raise UserInputError(f"--baseline {error}") from error


def baseline_of_run(folder: Path, run: RecordedRun) -> BaselineFile:
    """The tasks of a run with a score of all their documents, as `--save-baseline` would have written them.

    Raises UserInputError for a shard, and for a run without any such task.
    """
    if (shard := run.report.settings.get("shard")) is not None:
        raise UserInputError(f"{folder}: is shard {shard[0]} of {shard[1]}: join all shards first, with merge")
    baseline = baseline_of(run.report, data_revisions={key: task.hf_revision for key, task in run.items if task.hf_revision is not None})
    if not baseline.tasks:
        raise UserInputError(f"{folder}: no task of this run has a score of all its documents, so there is nothing to compare with")
    path = run_file(folder)
    lacking = [str(key) for key, _ in run.items if key not in baseline.tasks and str(key) not in run.report.skipped]
    named = ", ".join(lacking[:3]) + (", ..." if len(lacking) > 3 else "")
    note = f"the run is not complete: it has no whole score of {named}" if lacking else None
    return BaselineFile(path=path, baseline=baseline, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), note=note)
