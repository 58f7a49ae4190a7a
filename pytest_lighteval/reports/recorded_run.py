"""scores.json and deferred.json: what a run measured, document by document, with all that is needed to judge it again without the model.

Every run has one of them: `deferred.json` if nothing was judged yet (`--gate-defer`, `--shard`), otherwise `scores.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from pytest_lighteval.common.files import write_atomic
from pytest_lighteval.common.statistics import mean
from pytest_lighteval.errors import DataError, LightevalError
from pytest_lighteval.reports.serialize import attempt_from_plain, task_result_from_plain, to_plain
from pytest_lighteval.types import Ask, CorpusMetric, Metric, RunReport, Task, TaskCode, TaskKey, TaskResult

SCORES = "scores.json"
"""Of a run that was judged when it ran."""
DEFERRED = "deferred.json"
"""Of a run that `gate` or `merge` judges later."""
_FORMATS = {SCORES: "pytest-lighteval run", DEFERRED: "pytest-lighteval deferred run"}
_VERSION = 1
_MADE_OF_RESULTS = ("results", "references", "own_runs", "repeats", "attempts", "verdicts")
"""Fields of a report whose values have a compact form of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """A run with all that its verdicts are made of."""

    report: RunReport
    """Without verdicts and groups; its results have their documents."""
    items: tuple[tuple[TaskKey, Task], ...]
    """What the run was to evaluate. The tasks' paths are the names of their files."""
    suites: Mapping[str, Mapping[TaskKey, bool]] = field(default_factory=dict)
    """Suite -> the tasks that it declares, and whether a score of each has a floor."""
    selection: str | None = None
    """The option that chose among the tasks. None: there was none."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The options of the gate as the user wrote them, by name."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Option that names a file -> SHA-256 of the file's content."""


class _Corpus(msgspec.Struct):
    higher_is_better: bool
    range: tuple[float, float] | None
    is_mean: bool


class _Metric(msgspec.Struct):
    """A metric that no registry has: of a Python module, or of another harness."""

    name: str
    ask: Ask
    corpus: dict[str, _Corpus]


class _Item(msgspec.Struct):
    key: TaskKey
    task: dict[str, Any]
    code: str | None = None
    """Whose Python the task is: a module, or another harness. None: it has none."""
    metrics: tuple[_Metric, ...] = ()


class _Declared(msgspec.Struct):
    key: TaskKey
    has_floor: bool


class _Content(msgspec.Struct):
    """The file."""

    format: str
    version: int
    report: dict[str, Any]
    items: tuple[_Item, ...]
    suites: dict[str, tuple[_Declared, ...]]
    selection: str | None
    options: dict[str, Any]
    digests: dict[str, str]


def digest_of(paths: Iterable[Path]) -> str:
    """SHA-256 of files, and of the JSON files of folders. Raises OSError."""
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def render_run(run: RecordedRun, file: str = DEFERRED) -> str:
    """The text of a file of this name: keys sorted; numbers that are not finite as Python's `json` writes them."""
    report = replace(run.report, verdicts={}, groups={})
    content = {
        "format": _FORMATS[file],
        "version": _VERSION,
        "report": to_plain(report),
        "items": [_item(key, task) for key, task in run.items],
        "suites": {
            suite: [{"key": to_plain(key), "has_floor": has_floor} for key, has_floor in sorted(declared.items())]
            for suite, declared in run.suites.items()
        },
        "selection": run.selection,
        "options": to_plain(run.options),
        "digests": to_plain(run.digests),
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n"


def write_recorded(path: Path, run: RecordedRun) -> None:
    """Write the file of a run folder, whole or not at all. Raises LightevalError."""
    try:
        write_atomic(path, render_run(run, path.name))
    except OSError as error:
        raise LightevalError(f"{error.filename or path}: the scores cannot be written: {error.strerror}") from error


def read_deferred(folder: Path) -> RecordedRun:
    """The run of a folder that was not judged. Raises DataError: there is none, or it is damaged or of another version."""
    path = folder / DEFERRED
    if not path.is_file():
        what = "was judged when it ran" if (folder / "results.json").is_file() else "is no run folder"
        raise DataError(f"{folder}: {what}; a run under --gate-defer has a {DEFERRED}")
    return _read(path)


def is_run_folder(path: Path) -> bool:
    """Whether a folder is that of a run, complete or not."""
    return any((path / name).is_file() for name in (SCORES, DEFERRED, "results.json"))


def check_one_run(folder: Path) -> None:
    """Raise DataError for the folder of several runs, such as a session over checkpoints."""
    if (folder / "history.jsonl").is_file() and not is_run_folder(folder):
        names = sorted(path.parent.name for path in folder.glob(f"*/{SCORES}"))
        raise DataError(f"{folder}: is a history of several runs; name one of them" + (f", such as {folder / names[-1]}" if names else ""))


def run_file(folder: Path) -> Path:
    """The file of a run folder that has its scores. Raises DataError: there is none."""
    for name in (SCORES, DEFERRED):
        if (folder / name).is_file():
            return folder / name
    check_one_run(folder)
    if not is_run_folder(folder):
        raise DataError(f"{folder}: is no run folder; one has a {SCORES}")
    raise DataError(f"{folder}: has no {SCORES}, as an earlier version made it: run it again (its answers may be in the cache)")


def read_run(folder: Path) -> RecordedRun:
    """The run of a folder, judged or not. Raises DataError: there is none, or it is damaged or of another version."""
    return _read(run_file(folder))


def _read(path: Path) -> RecordedRun:
    try:
        plain = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: no recorded run: {error}") from error
    version = plain.get("version") if isinstance(plain, dict) and plain.get("format") == _FORMATS[path.name] else None
    if version != _VERSION:
        raise DataError(f"{path}: no recorded run of version {_VERSION}; use the version that made it")
    try:
        content = msgspec.convert(plain, _Content)
        return RecordedRun(
            report=_report(content.report),
            items=tuple((item.key, _task(item)) for item in content.items),
            suites={suite: {entry.key: entry.has_floor for entry in declared} for suite, declared in content.suites.items()},
            selection=content.selection,
            options=content.options,
            digests=content.digests,
        )
    except (msgspec.ValidationError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: damaged: {error}") from error


def _item(key: TaskKey, task: Task) -> dict[str, Any]:
    item: dict[str, Any] = {"key": to_plain(key), "task": to_plain(replace(task, path=Path(task.path.name), code=None, guest=None))}
    if task.code is not None:
        item |= {"code": Path(task.code.module).name, "metrics": [_facts(metric) for metric in task.code.metrics.values()]}
    if task.guest is not None:
        item |= {"code": task.guest.harness, "metrics": [_facts(metric) for metric in task.guest.metrics]}
        item["task"]["metrics"] = [metric.name for metric in task.guest.metrics]
    return item


def _facts(metric: Metric) -> dict[str, Any]:
    corpora = {
        name: {"higher_is_better": corpus.higher_is_better, "range": corpus.range, "is_mean": corpus.is_mean}
        for name, corpus in metric.corpus.items()
    }
    return {"name": metric.name, "ask": metric.ask.value, "corpus": corpora}


def _task(item: _Item) -> Task:
    """The task. Of a metric that is code, the file has what a comparison needs: a mean is taken as ever, anything else cannot be."""
    task = msgspec.convert(item.task, Task, dec_hook=_path)
    if item.code is None:
        return task
    metrics = {metric.name: _metric(item, metric) for metric in item.metrics}
    return replace(task, code=TaskCode(module=item.code, metrics=metrics))


def _metric(item: _Item, metric: _Metric) -> Metric:
    def sample(doc: Any, response: Any) -> Mapping[str, Any]:
        raise DataError(f"{item.key}: {metric.name} is code of {item.code}, which a stored run does not have")

    def aggregate(values: Sequence[Any]) -> float:
        raise DataError(
            f"{item.key}: {metric.name} is no mean, and its aggregate is code of {item.code}, which a stored run does not have: "
            "judge it in a session, with --baseline"
        )

    corpora = {
        name: CorpusMetric(
            aggregate=mean if corpus.is_mean else aggregate,
            higher_is_better=corpus.higher_is_better,
            range=corpus.range,
            is_mean=corpus.is_mean,
        )
        for name, corpus in metric.corpus.items()
    }
    return Metric(name=metric.name, ask=metric.ask, sample=sample, corpus=corpora)


def _path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"{kind} is not in the file")


def _report(plain: dict[str, Any]) -> RunReport:
    kinds = get_type_hints(RunReport)
    parsed = {name: msgspec.convert(value, kinds[name]) for name, value in plain.items() if name not in _MADE_OF_RESULTS}
    parsed |= {
        "results": _results(plain["results"]),
        "references": _results(plain["references"]),
        "own_runs": {node: _results(results) for node, results in plain["own_runs"].items()},
        "repeats": {key: _results(results) for key, results in plain["repeats"].items()},
        "attempts": {key: tuple(map(attempt_from_plain, attempts)) for key, attempts in plain["attempts"].items()},
        "verdicts": {},
    }
    return RunReport(**parsed)


def _results(plain: Any) -> tuple[TaskResult, ...]:
    return tuple(task_result_from_plain(result) for result in plain)
