"""A run's folder as a page shows it: results.json, and the details of every document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from pytest_lighteval.errors import DataError
from pytest_lighteval.reports.answers import newest_details
from pytest_lighteval.reports.details import details_path
from pytest_lighteval.reports.flips import ExplainedFlip
from pytest_lighteval.reports.json_report import read_results
from pytest_lighteval.reports.page.data import PageComparison, PageData, PageDocument, PageFlip, PageRun, PageTask
from pytest_lighteval.reports.printable import encodable, map_texts
from pytest_lighteval.reports.rows import arguments_text, ordered_keys
from pytest_lighteval.types import TaskKey

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
    """The tasks of these keys whose details lie in one of the folders: those of the last attempt, or what a task answered before it broke.

    Args:
        folders: of runs; the first one that has a task's details counts.
        keys: `suite|task|few_shots`; others, such as a superset's, are left out.
    """
    found = []
    for text in keys:
        key = TaskKey.parse(text)
        if key is None:
            continue
        whole = next((path for folder in folders if (path := newest_details(folder, key)) is not None), None)
        parts = (details_path(folder, key).with_suffix(".partial.jsonl") for folder in folders)
        if (path := whole or next((part for part in parts if part.is_file()), None)) is not None:
            found.append(PageTask(key=text, documents=StoredDocuments(path), is_partial=whole is None))
    return tuple(found)


def read_run(folder: Path, *, name: str | None = None, sources: Sequence[Path] | None = None) -> PageRun:
    """A run with its documents.

    Args:
        folder: the run's.
        name: what a reader calls it. None: the model's name, or else the folder's.
        sources: the run folders that have its details. None: this one.

    Raises:
        DataError: there is no results.json, or it cannot be read.
    """
    results = read_results(folder / "results.json")
    keys = ordered_keys({*results.get("config_tasks", {}), *results.get("errors", {})})
    tasks = stored_tasks([folder] if sources is None else sources, keys)
    return PageRun(name=name or run_name(results) or folder.name, results=results, tasks=tasks)


def run_name(results: Mapping[str, Any]) -> str | None:
    """The model of a run, or its backend. None: results.json says neither."""
    name = results.get("config_general", {}).get("model_name") or results.get("backend", {}).get("name")
    return None if name is None else str(name)


def page_flips(
    flips: Mapping[str, Mapping[str, Sequence[ExplainedFlip]]],
) -> dict[str, dict[str, tuple[PageFlip, ...]]]:
    """Flips with their reasons, as a page holds them."""
    return {key: {metric: tuple(map(_page_flip, of_metric)) for metric, of_metric in metrics.items()} for key, metrics in flips.items()}


def _page_flip(explained: ExplainedFlip) -> PageFlip:
    flip = explained.flip
    # as the ids of documents are read
    return PageFlip(id=encodable(flip.id), before=flip.before, after=flip.after, is_loss=flip.is_loss, reason=explained.reason.value)


def session_data(
    folder: Path,
    *,
    sources: Sequence[Path] | None = None,
    others: Sequence[Path] = (),
    flips: Mapping[str, Mapping[str, Sequence[ExplainedFlip]]] | None = None,
) -> PageData:
    """The page of one session: its run, and what it was compared with.

    Args:
        folder: the run's.
        sources: the run folders that have its details. None: this one.
        others: folders that have the details of what it was compared with. Empty: that is a baseline file, which holds scores alone.
        flips: the documents that flipped, by task and metric.

    Raises:
        DataError: there is no results.json, or it cannot be read.
    """
    run = read_run(folder, sources=sources)
    results = run.results
    runs = [run]
    files = [str(file["path"]) for file in results.get("baselines") or () if not file["is_pinned"]]
    label = ", ".join(files) or "the baseline"
    if others:
        runs = [*_told_apart(run, _other(results, others))]
        label = runs[1].name if results.get("reference") is not None else label
    compared = any(verdict.get("paired") for verdicts in results.get("verdicts", {}).values() for verdict in verdicts)
    comparison = PageComparison(
        candidate=0,
        reference=1 if others else None,
        label=label,
        verdicts=results.get("verdicts", {}),
        flips=page_flips(flips or {}),
    )
    return PageData(title=runs[0].name, runs=tuple(runs), comparisons=(comparison,) if compared else ())


def _other(results: Mapping[str, Any], folders: Sequence[Path]) -> PageRun:
    """The reference model of the session, or the run whose folder was the baseline; only the tasks that both have."""
    known: Mapping[str, Any] | None = results.get("reference")
    if known is None:
        known = next((read_results(path) for folder in folders if (path := folder / "results.json").is_file()), {})
    name = known.get("backend", {}).get("model") or run_name(known) or folders[0].name
    return PageRun(name=str(name), results=known, tasks=stored_tasks(folders, ordered_keys(results["config_tasks"])))


def _told_apart(run: PageRun, other: PageRun) -> Iterator[PageRun]:
    """Runs of one model are named by the arguments in which they differ."""
    if run.name != other.name:
        yield from (run, other)
        return
    arguments = [dict(one.results.get("backend", {}).get("arguments") or {}) for one in (run, other)]
    names = []
    for own, theirs in (arguments, reversed(arguments)):
        differing = {name: value for name, value in own.items() if value is not None and value != theirs.get(name)}
        names.append(f"{run.name} {arguments_text(differing)}".rstrip())
    if names[0] == names[1]:
        names[1] += " (reference)"
    yield from (replace(one, name=name) for one, name in zip((run, other), names, strict=True))
