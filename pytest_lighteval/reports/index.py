"""The index of the runs in a reports folder: index.json for programs and index.md for people, made from the runs' results."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pytest_lighteval.common.files import write_atomic
from pytest_lighteval.common.locks import locked
from pytest_lighteval.errors import DataError
from pytest_lighteval.reports.history import FILE as HISTORY
from pytest_lighteval.reports.history import read_history
from pytest_lighteval.reports.json_report import SCHEMA, read_results
from pytest_lighteval.reports.markdown import escape_markdown
from pytest_lighteval.reports.page import PAGE
from pytest_lighteval.reports.rows import arguments_text, duration_text, format_number, ordered_keys, time_text
from pytest_lighteval.reports.serialize import to_json
from pytest_lighteval.types import TaskKey

_MOST_SCORES, _SHOWN_SCORES = 10, 3
"""Of one run, in index.json and in index.md."""


def update_index(root: Path, *, changed: str | None = None) -> None:
    """Make the index list the runs that are in `root`; `changed` is a folder whose results must be read again.

    A run is in the index as long as its folder has a results.json; runs are in the order of their starts. Two runs that end at the
    same time take turns, under a lock. Raises OSError.
    """
    with locked(root / ".index.lock"):
        known = _known(root / "index.json")
        known.pop(changed or "", None)
        folders = [folder for folder in root.iterdir() if any((folder / name).is_file() for name in ("results.json", HISTORY))]
        runs = [entry for folder in folders if (entry := known.get(folder.name) or _entry(folder))]
        runs.sort(key=lambda entry: (str(entry.get("started")), str(entry["folder"])))
        write_atomic(root / "index.json", to_json({"schema": SCHEMA, "runs": runs}, indent=2, sort_keys=True) + "\n")
        histories = sorted(path.parent.relative_to(root).as_posix() for path in root.glob(f"history/*/{HISTORY}"))
        write_atomic(root / "index.md", _markdown(runs, histories))


def _known(path: Path) -> dict[str, dict[str, Any]]:
    """The entries of the index by folder, so that no old run is read again. Empty if the index is damaged or of an older version."""
    try:
        content = json.loads(path.read_text("utf-8"))
        return {entry["folder"]: entry for entry in content["runs"] if "scores" in entry} if content["schema"] == SCHEMA else {}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}


def _entry(folder: Path) -> dict[str, Any] | None:
    """One run in short. None: its results are of another version or damaged, which must not fail the run that ends now."""
    try:
        return _history(folder) if (folder / HISTORY).is_file() else _digest(folder.name, read_results(folder / "results.json"))
    except (DataError, KeyError, TypeError, AttributeError, IndexError):
        return None


def _history(folder: Path) -> dict[str, Any]:
    """A session over checkpoints: its newest one, and how many there are."""
    points = list(dict.fromkeys(row.point for row in read_history(folder / HISTORY)))
    return {**_digest(folder.name, read_results(folder / points[-1] / "results.json")), "points": len(points)}


def _digest(name: str, results: Mapping[str, Any]) -> dict[str, Any]:
    verdicts = [verdict["outcome"] for verdicts in results["verdicts"].values() for verdict in verdicts]
    return {
        "folder": name,
        "started": results["run"]["started"],
        "seconds": results["run"]["seconds"],
        "backend": results["backend"].get("name"),
        "model": results["config_general"]["model_name"],
        "model_args": results.get("model_args", {}),
        "max_samples": results["config_general"]["max_samples"],
        "tasks": len(results["versions"]),
        "gates_passed": verdicts.count("passed"),
        "gates_failed": verdicts.count("failed"),
        "gates_inconclusive": verdicts.count("inconclusive"),
        "gates_waived": verdicts.count("waived"),
        "errors": len(results["errors"]),
        "skipped": len(results["skipped"]),
        "scores": dict(itertools.islice(_heads(results), _MOST_SCORES)),
    }


def _heads(results: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The first metric of each superset, and of each task that is in none, by key: what a run is remembered by."""
    numbers, tasks = results["metrics"], results["config_tasks"]
    keys = {text: key for text in tasks if (key := TaskKey.parse(text)) is not None}
    for text in ordered_keys({str(key.superset) if str(key.superset) in numbers else text for text, key in keys.items()}):
        member = next(task for task, key in keys.items() if text in (task, str(key.superset)))
        name = next((name for name in tasks[member]["metrics"] if name in numbers[text]), None)
        if name is not None:
            yield text, {name: numbers[text][name]["value"]}


_COLUMNS = {
    "started": "started",
    "backend": "backend",
    "model": "model",
    "max_samples": "max samples",
    "model_args": "model arguments",
    "scores": "scores",
    "tasks": "tasks",
    "gates_passed": "gates passed",
    "gates_failed": "gates failed",
    "gates_inconclusive": "gates inconclusive",
    "errors": "errors",
    "skipped": "skipped",
    "seconds": "time",
}


def _markdown(runs: list[dict[str, Any]], histories: Iterable[str]) -> str:
    links = [f"- [{escape_markdown(path.partition('/')[2])} over time]({quote(path)}/{PAGE})" for path in histories]
    lines = [
        "# Runs",
        "",
        *([*links, ""] if links else []),
        "| run | " + " | ".join(_COLUMNS.values()) + " |",
        "| --- |" + " --- |" * len(_COLUMNS),
    ]
    return "\n".join([*lines, *map(_line, runs)]) + "\n"


def _line(run: Mapping[str, Any]) -> str:
    folder = str(run["folder"])
    of = f", {run['points']} checkpoints" if "points" in run else ""
    link = f"[{escape_markdown(folder)}]({quote(folder)}/summary.md){of}"
    values = ("" if run.get(column) is None else _cell(column, run[column]) for column in _COLUMNS)
    return "| " + " | ".join([link, *map(escape_markdown, values)]) + " |"


def _cell(column: str, value: Any) -> str:
    """A fact as people read it."""
    if column == "started":
        return time_text(value)
    if column == "seconds":
        return duration_text(value)
    if column == "model_args":
        return arguments_text(value)
    if column == "scores":
        shown = [f"{key} {name} {format_number(float(number))}" for key, row in value.items() for name, number in row.items()]
        return ", ".join([*shown[:_SHOWN_SCORES], *(["..."] if len(shown) > _SHOWN_SCORES else [])])
    return str(value)
