"""A run's folder as a page shows it: results.json, and the details of every document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from pytest_lighteval.errors import DataError
from pytest_lighteval.reports.details import details_path
from pytest_lighteval.reports.json_report import read_results
from pytest_lighteval.reports.page.data import PageComparison, PageData, PageDocument, PageFlip, PageRun, PageTask
from pytest_lighteval.reports.printable import encodable, map_texts
from pytest_lighteval.reports.rows import ordered_keys
from pytest_lighteval.types import TaskKey

_REFERENCE = "reference"
"""Below a run's folder: the reference model's details."""

_LINES = msgspec.json.Decoder(PageDocument)


@dataclass(frozen=True, slots=True)
class StoredDocuments:
    """The lines of a details file, read anew by each loop. Raises DataError for a line that is none."""

    path: Path

    def __iter__(self) -> Iterator[PageDocument]:
        try:
            with self.path.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    yield _document(line, f"{self.path}:{number}")
        except OSError as error:
            raise DataError(f"{self.path}: the details cannot be read: {error.strerror}") from error


def _document(line: bytes, place: str) -> PageDocument:
    try:
        return _LINES.decode(line)
    except msgspec.DecodeError:
        pass
    try:  # half of a surrogate pair, which Python's JSON takes
        return _LINES.decode(json.dumps(map_texts(json.loads(line), encodable)))
    except (ValueError, msgspec.DecodeError) as error:
        raise DataError(f"{place}: no line of details: {error}") from error


def stored_tasks(folders: Sequence[Path], keys: Sequence[str]) -> tuple[PageTask, ...]:
    """The tasks of these keys whose details lie in one of the folders. A task that broke has what was answered before.

    Args:
        folders: of runs; the first one that has a task's details counts.
        keys: `suite|task|few_shots`; others, such as a superset's, are left out.
    """
    found = []
    for text in keys:
        key = TaskKey.parse(text)
        paths = [] if key is None else [details_path(folder, key) for folder in folders]
        whole = next((path for path in paths if path.is_file()), None)
        part = next((path for path in (path.with_suffix(".partial.jsonl") for path in paths) if path.is_file()), None)
        if (path := whole or part) is not None:
            found.append(PageTask(key=text, documents=StoredDocuments(path), is_partial=whole is None))
    return tuple(found)


def read_run(folder: Path, *, name: str | None = None, details: Sequence[Path] = ()) -> PageRun:
    """A run with its documents.

    Args:
        folder: the run's.
        name: what a reader calls it. None: the model's name, or else the folder's.
        details: further folders that may hold details of its tasks, such as those of the runs that it joins.

    Raises:
        DataError: there is no results.json, or it cannot be read.
    """
    results = read_results(folder / "results.json")
    keys = ordered_keys({*results.get("config_tasks", {}), *results.get("errors", {})})
    return PageRun(name=name or run_name(results) or folder.name, results=results, tasks=stored_tasks((folder, *details), keys))


def run_name(results: Mapping[str, Any]) -> str | None:
    """The model of a run, or its backend. None: results.json says neither."""
    name = results.get("config_general", {}).get("model_name") or results.get("backend", {}).get("name")
    return None if name is None else str(name)


def session_data(folder: Path, *, details: Sequence[Path] = ()) -> PageData:
    """The page of one session: its run, and what it was compared with.

    That is its reference model, with the texts of both sides, or its baseline files, which hold scores alone. Arguments and errors as
    those of `read_run`.
    """
    run = read_run(folder, details=details)
    results = run.results
    runs = [run]
    if (reference := results.get("reference")) is not None:
        name = str(reference["backend"].get("model") or reference["backend"].get("name") or _REFERENCE)
        tasks = stored_tasks([folder / _REFERENCE], ordered_keys(reference["metrics"]))
        runs.append(PageRun(name=name if name != run.name else f"{name} ({_REFERENCE})", results=reference, tasks=tasks))
    compared = any(verdict.get("paired") for verdicts in results.get("verdicts", {}).values() for verdict in verdicts)
    return PageData(
        title=run.name,
        runs=tuple(runs),
        comparisons=(_comparison(results, runs),) if compared else (),
    )


def _comparison(results: Mapping[str, Any], runs: Sequence[PageRun]) -> PageComparison:
    files = [str(file["path"]) for file in results.get("baselines") or () if not file["is_pinned"]]
    return PageComparison(
        candidate=0,
        reference=1 if len(runs) > 1 else None,
        label=runs[1].name if len(runs) > 1 else ", ".join(files) or "the baseline",
        verdicts=results["verdicts"],
        flips={
            key: {verdict["metric"]: tuple(_flips(paired.get("flips", ()))) for verdict in verdicts if (paired := verdict.get("paired"))}
            for key, verdicts in results["verdicts"].items()
        },
    )


def _flips(flips: Sequence[Mapping[str, Any]]) -> Iterator[PageFlip]:
    for flip in flips:
        yield PageFlip(id=flip["id"], before=float(flip["before"]), after=float(flip["after"]), is_loss=flip["is_loss"])
