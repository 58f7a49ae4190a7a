"""The history of a reports folder: for each model that was run there more than once, its scores over time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pytest_lighteval.errors import DataError, UserInputError
from pytest_lighteval.gates.history import history_rows
from pytest_lighteval.reports.history_folder import HISTORIES, write_history
from pytest_lighteval.reports.recorded_run import RecordedRun, is_run_folder, read_run
from pytest_lighteval.reports.rows import model_name
from pytest_lighteval.types import HistoryPoint, HistoryRow, RunReport


def write_histories(root: Path) -> list[str]:
    """Write `history/<model>/` below a reports folder for each model with two runs or more. Returns a line for each, and what is left out.

    Runs are in the order of their starts. A run of other documents or prompts is a point without a paired difference.

    Raises:
        UserInputError: There is no such folder, or no model has two runs.
        LightevalError: A file cannot be written.
    """
    if not root.is_dir():
        raise UserInputError(f"--history {root}: there is no such folder")
    models: dict[str, list[tuple[Path, RecordedRun]]] = {}
    lines: list[str] = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and is_run_folder(path)):
        try:
            run = read_run(folder)
        except DataError as error:
            lines.append(f"left out: {error}")
            continue
        if run.report.results and run.report.settings.get("shard") is None:
            models.setdefault(_model(run.report), []).append((folder, run))
    series = {model: runs for model, runs in models.items() if len(runs) > 1}
    if not series:
        raise UserInputError(f"--history {root}: no model has two runs there that keep their scores; a history takes two")
    for model, runs in sorted(series.items()):
        runs.sort(key=lambda entry: (entry[1].report.started, entry[0].name))
        place = root / HISTORIES / _slug(model)
        links = {folder.name: f"../../{folder.name}" for folder, _ in runs}
        write_history(place, f"{model} over {len(runs)} runs", _rows(runs), runs=links, is_of_runs=True)
        lines.append(f"{model}: {len(runs)} runs: {place / 'report.html'}")
    return lines


def _rows(runs: Sequence[tuple[Path, RecordedRun]]) -> list[HistoryRow]:
    points: list[HistoryPoint] = []
    rows: list[HistoryRow] = []
    for folder, run in runs:
        point = HistoryPoint(name=folder.name, step=_seconds(run.report), results={result.key: result for result in run.report.results})
        rows += history_rows(point, points, dict(run.items), {})
        points.append(point)
    return rows


def _model(report: RunReport) -> str:
    return model_name(report) or str(report.backend.get("name", "model"))


def _seconds(report: RunReport) -> float:
    try:
        return datetime.fromisoformat(report.started).timestamp()
    except ValueError:
        return 0.0


def _slug(model: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip(".-")[:80] or "model"
