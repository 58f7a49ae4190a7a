"""A finished run as the formats read it: its numbers, its tasks, and what was asked and answered."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pytest_lighteval.errors import DataError, UserInputError
from pytest_lighteval.metrics import metrics_of
from pytest_lighteval.reports.details import details_path
from pytest_lighteval.reports.json_report import read_results
from pytest_lighteval.reports.printable import encodable, map_texts
from pytest_lighteval.reports.recorded_run import read_run
from pytest_lighteval.types import CorpusMetric, RunReport, Task, TaskKey, TaskResult

_NO_TEXTS = ("idavidrein/gpqa", "cais/hle", "fr-gouv-coordination-ia/gpqa-fr", "lighteval/bigbench_helm", "lighteval/bbh", "lukaemon/bbh")
"""Data sets whose publishers ask that their questions be not spread: they are gated, or carry a canary. In lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A run folder, read."""

    folder: Path
    report: RunReport
    """Its results have their documents, and their numbers in the order in which the task lists its metrics."""
    tasks: Mapping[TaskKey, Task]
    results: Mapping[str, Any]
    """results.json."""

    @property
    def model(self) -> str:
        """What the model is called: a hub id, a folder, a server's name."""
        name = self.results["config_general"]["model_name"] or self.report.backend.get("name") or "unknown"
        return str(name)

    @property
    def started(self) -> datetime:
        """In UTC."""
        return datetime.fromisoformat(self.report.started)

    @property
    def date(self) -> str:
        """As Lighteval writes it into names of files: ISO 8601 with `-` for `:`, without the offset."""
        return self.started.replace(tzinfo=None).isoformat().replace(":", "-")

    def corpus(self, result: TaskResult) -> Mapping[str, CorpusMetric]:
        """What is known of the numbers of a task, by name."""
        task = self.tasks.get(result.key)
        return {} if task is None else {name: corpus for metric in metrics_of(task) for name, corpus in metric.corpus.items()}

    def may_publish_texts(self, key: TaskKey) -> bool:
        """Whether the data set's publisher does not ask for the contrary."""
        task = self.tasks.get(key)
        return task is None or (task.hf_repo or "").casefold() not in _NO_TEXTS

    def details(self, key: TaskKey) -> Iterator[Mapping[str, Any]]:
        """The lines of a task's details, as UTF-8 can encode them. Raises DataError: they are not there, or damaged."""
        path = details_path(self.folder, key)
        try:
            with path.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    try:
                        yield map_texts(json.loads(line), encodable)
                    except ValueError as error:
                        raise DataError(f"{path}:{number}: no line of details: {error}") from error
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_finished_run(folder: Path) -> FinishedRun:
    """Read a run's folder.

    Raises:
        DataError: It is none, or its files are damaged.
        UserInputError: Its session was interrupted, or has no score.
    """
    recorded = read_run(folder)
    results = read_results(folder / "results.json")
    if recorded.report.settings.get("shard") is not None:
        raise UserInputError(f"{folder}: is a shard: join all shards first, with merge")
    if results["run"]["exit_status"] not in ("ok", "tests_failed"):
        raise UserInputError(f"{folder}: its session ended as {results['run']['exit_status']}: only a whole run can be published")
    if not recorded.report.results:
        raise UserInputError(f"{folder}: has no score")
    tasks = dict(recorded.items)
    ordered = tuple(_in_order(result, tasks.get(result.key)) for result in recorded.report.results)
    return FinishedRun(folder=folder, report=replace(recorded.report, results=ordered), tasks=tasks, results=results)


def _in_order(result: TaskResult, task: Task | None) -> TaskResult:
    """The file has its keys sorted, and the first number of a task stands for it."""
    names = [] if task is None else [name for metric in metrics_of(task) for name in metric.corpus]
    metrics = {name: result.metrics[name] for name in (*names, *result.metrics) if name in result.metrics}
    return replace(result, metrics=metrics)


def slug(text: str) -> str:
    """The text as a part of a repository's or file's name: what is special there becomes `-`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "unnamed"


def interval(value: float, stderr: float | None) -> tuple[float, float] | None:
    """The normal 95 % interval. None: the standard error is unknown."""
    return None if stderr is None else (value - 1.96 * stderr, value + 1.96 * stderr)
