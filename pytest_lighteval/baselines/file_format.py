"""The text of a baseline file: writing and parsing. Opens no file."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from pytest_lighteval.baselines.integrity import mean_metrics, only_known, problems, score_digest
from pytest_lighteval.baselines.model import Baseline, BaselineMetric, BaselineTask, HistoryEntry, Provenance, Repeated
from pytest_lighteval.baselines.packing import (
    PackingError,
    count_columns,
    pack_column,
    pack_digests,
    pack_halves,
    pack_ids,
    unpack_column,
    unpack_digests,
    unpack_halves,
    unpack_ids,
)
from pytest_lighteval.common.msgspec_errors import place_and_problem
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.types import TaskKey

FORMAT = "pytest-lighteval baseline"
VERSION = 2
"""Increased when a field is moved, removed, changes its meaning, or is needed from now on. Unknown fields are ignored.

Version 1 had no digests of the scores, and is read all the same.
"""

_MOST_NESTED = 40
_MOST_DIGITS = 20
_MOST_TOLD = 500
_CELLS_PER_CHARACTER = 32
"""A row takes eight characters for its prompt, or some bits of its number; a column of one value takes none."""

Shape = TypeVar("Shape")


# ------------------------------------------------------------------------------------------------------- writing


def render_baseline(baseline: Baseline) -> str:
    """The text of the file, the same for equal baselines: sorted keys, one block per task, one line per packed column.

    So a diff shows which task changed, and whether its scores, its prompts or only what measured it. Raises UserInputError for a score that
    JSON cannot hold, or an invalid prompt digest.
    """
    tasks: dict[str, dict[str, Any]] = {}
    sources: dict[str, dict[str, Any]] = {}
    for key, task in baseline.tasks.items():
        known = {_name(plain): plain for plain in map(_provenance_to_plain, task.provenance)}
        sources |= known
        try:
            tasks[str(key)] = _task_to_plain(task, measured_by=list(known))
        except (TypeError, ValueError) as error:
            raise UserInputError(f"{key}: cannot be kept in a baseline: {error}") from error
    content = {
        "format": FORMAT,
        "version": VERSION,
        "history": [_history_to_plain(entry) for entry in baseline.history],
        "measured_by": sources,
        "tasks": tasks,
    }
    if baseline.is_complete:
        content["complete"] = True
    return _rendered(content) + "\n"


def _task_to_plain(task: BaselineTask, *, measured_by: list[str]) -> dict[str, Any]:
    means = mean_metrics(task)
    return {
        **({} if task.cut_share is None else {"cut_share": task.cut_share}),
        "data_revision": task.data_revision,
        "dataset_fingerprint": task.dataset_fingerprint,
        "documents": task.documents,
        "effective_few_shots": task.effective_few_shots,
        **({"grader": dict(task.grader)} if task.grader else {}),
        "max_samples": task.max_samples,
        "means": sorted(means),
        "measured_by": measured_by,
        "metrics": {
            name: {
                "higher_is_better": metric.higher_is_better,
                "n": metric.n,
                "stderr": _number_to_plain(metric.stderr),
                "value": _number_to_plain(metric.value),
            }
            for name, metric in task.metrics.items()
        },
        "packed": {
            "ids": pack_ids(task.ids),
            "few_shot_seeds": pack_column(task.few_shot_seeds),
            "prompts": None if task.prompt_digests is None else pack_digests(task.prompt_digests),
            "scores": {name: pack_column([value for row in rows for value in row]) for name, rows in task.scores.items()},
            **(
                {"soft": {name: pack_halves([number for row in rows for number in row]) for name, rows in task.soft.items()}}
                if task.soft
                else {}
            ),
        },
        "prompt_digest": None if task.prompt_digests is None else _digest_of_digests(task.prompt_digests),
        "repeats": task.repeats,
        "rows": len(task.ids),
        "score_digest": score_digest(task, means),
        "truncated": task.num_truncated,
        "version": task.version,
    }


def _digest_of_digests(digests: Sequence[str]) -> str:
    """`TaskResult.prompt_digest` of documents with these digests."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _provenance_to_plain(provenance: Provenance) -> dict[str, Any]:
    return {
        "backend": provenance.backend,
        "dtype": provenance.dtype,
        "hardware": dict(provenance.hardware),
        "model_fingerprint": provenance.model_fingerprint,
        "packages": dict(provenance.packages),
        "python": provenance.python,
        "settings": dict(provenance.settings),
    }


def _name(plain: Mapping[str, Any]) -> str:
    """The name by which a task refers to its provenance: a digest of it."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]


def _history_to_plain(entry: HistoryEntry) -> dict[str, Any]:
    return {
        "date": entry.date,
        "reason": entry.reason,
        "changed": {
            key: {name: [_number_to_plain(before), _number_to_plain(after)] for name, (before, after) in metrics.items()}
            for key, metrics in entry.changed.items()
        },
    }


def _number_to_plain(value: float | None) -> float | str | None:
    return str(float(value)) if value is not None and not math.isfinite(value) else value


def _rendered(value: Any, indent: str = "") -> str:
    """JSON with sorted keys. A mapping that contains mappings has one member per line; everything else is one line."""
    deeper = indent + "  "
    if isinstance(value, Mapping) and any(isinstance(member, Mapping) or _breaks(member) for member in value.values()):
        lines = [f"{deeper}{json.dumps(key)}: {_rendered(value[key], deeper)}" for key in sorted(value)]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if _breaks(value):
        return "[\n" + ",\n".join(f"{deeper}{_rendered(member, deeper)}" for member in value) + f"\n{indent}]"
    return json.dumps(value, sort_keys=True)


def _breaks(value: Any) -> bool:
    # a column writes a number that is not finite as a mapping of one member
    return isinstance(value, list) and any(isinstance(member, Mapping) and len(member) > 1 for member in value)


# ------------------------------------------------------------------------------------------------------- reading


class _File(msgspec.Struct, kw_only=True):
    history: list[_History]
    measured_by: dict[str, _Provenance]
    tasks: dict[str, dict[str, Any]]
    complete: bool = False


class _History(msgspec.Struct, kw_only=True):
    reason: str
    date: str | None = None
    changed: dict[str, dict[str, tuple[float | str, float | str]]] = {}
    worsened: dict[str, dict[str, tuple[float | str, float | str]]] = {}
    """Its name in files that earlier versions wrote."""


class _Provenance(msgspec.Struct, kw_only=True):
    backend: str | None
    dtype: str | None
    hardware: dict[str, str | int]
    model_fingerprint: str | None
    packages: dict[str, str]
    python: str | None
    settings: dict[str, str | int | None]


class _Metric(msgspec.Struct, kw_only=True):
    higher_is_better: bool
    n: int
    stderr: float | str | None
    value: float | str


class _Task(msgspec.Struct, kw_only=True):
    data_revision: str | None
    dataset_fingerprint: str | None
    effective_few_shots: float | None
    max_samples: int | None
    measured_by: list[str]
    metrics: dict[str, Any]
    packed: _Packed
    prompt_digest: str | None
    repeats: int
    rows: int
    truncated: int
    version: int | None
    documents: int | None = None
    score_digest: str | None = None
    means: Any = None
    cut_share: float | None = None
    grader: dict[str, str] = {}


class _Packed(msgspec.Struct, kw_only=True):
    ids: Any
    few_shot_seeds: Any
    prompts: str | None
    scores: dict[str, Any]
    soft: dict[str, str] = {}


def parse_baseline(text: str, where: str) -> Baseline:
    """The baseline from the text that `render_baseline` wrote.

    Raises UserInputError, `where: field: problem`, for anything else: no JSON, another program's file, a newer version, a field that is
    missing or of another type, packed columns of the wrong length, prompts or scores that do not match their SHA-256, a value that is not
    the mean of its scores. That takes a second at most, whatever sizes the text claims.
    """
    try:
        return _parsed(text, where)
    except UserInputError as error:
        # a name in the file may be of any length, and have line ends
        told = " ".join(str(error).split())
        raise UserInputError(told if len(told) <= _MOST_TOLD else f"{told[:_MOST_TOLD]}...") from error
    except (RecursionError, MemoryError, OverflowError) as error:
        raise UserInputError(f"{where}: is no baseline: its values are too large or nested too deeply") from error


def _parsed(text: str, where: str) -> Baseline:
    content = _loaded(text, where)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserInputError(f"{where}: format: is not {FORMAT!r}: no file that --save-baseline wrote")
    version = content.get("version")
    if type(version) is int and version > VERSION:
        raise UserInputError(f"{where}: version: {version} is of a newer pytest-lighteval; this one reads up to {VERSION}")
    if type(version) is not int or version < 1:
        raise UserInputError(f"{where}: version: a number from 1 to {VERSION} is needed")
    file = _converted(content, _File, where, "")
    sources = {name: Provenance(**msgspec.structs.asdict(source)) for name, source in file.measured_by.items()}
    tasks = {}
    for name, plain in file.tasks.items():
        key = TaskKey.parse(name)
        if key is None:
            raise UserInputError(f"{where}: tasks.{name}: a task is written suite|task|few_shots")
        if key in tasks:
            raise UserInputError(f"{where}: tasks.{name}: {key} is given twice")
        tasks[key] = _task(key, plain, sources, where, version=version, most_cells=_CELLS_PER_CHARACTER * len(text))
    return Baseline(
        tasks=tasks,
        history=tuple(_history(entry, where) for entry in file.history),
        is_complete=file.complete,
        has_digests=version > 1,
    )


class _UnfitError(Exception):
    """What no baseline has. `str()` says where and what."""


def _loaded(text: str, where: str) -> Any:
    try:
        content = json.loads(text, object_pairs_hook=_without_twins, parse_int=_integer, parse_constant=_constant)
    except json.JSONDecodeError as error:
        raise UserInputError(f"{where}:{error.lineno}: not JSON: {error.msg}") from error
    except _UnfitError as error:
        raise UserInputError(f"{where}: {error}") from error
    level = [content]
    for _ in range(_MOST_NESTED):
        level = [member for value in level for member in _members(value)]
        if not level:
            return content
    raise RecursionError


def _members(value: Any) -> Iterable[Any]:
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (member for member in members if isinstance(member, (dict, list)))


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises for a mapping that has a key twice, as a wrong merge can leave it."""
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise _UnfitError(f"{next(name for name in counts if counts[name] > 1)}: is given twice")
    return found


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise _UnfitError(f"a number has {len(text)} digits, and may have {_MOST_DIGITS}")
    return int(text)


def _constant(text: str) -> float:
    raise _UnfitError(f"not JSON: {text} is no number")


def _converted(plain: Any, shape: type[Shape], where: str, field: str) -> Shape:
    try:
        return msgspec.convert(plain, shape)
    except msgspec.ValidationError as error:
        place, problem = place_and_problem(error)
        at = ".".join(part for part in (field, place) if part)
        raise UserInputError(f"{where}: {at + ': ' if at else ''}{problem[:1].lower()}{problem[1:]}") from error


def _task(key: TaskKey, plain: Any, sources: Mapping[str, Provenance], where: str, *, version: int, most_cells: int) -> BaselineTask:
    field = f"tasks.{key}"
    file = _converted(plain, _Task, where, field)
    if min(file.rows, file.repeats) < 1:
        raise UserInputError(f"{where}: {field}: rows and repeats are 1 at least")
    unknown = [name for name in file.measured_by if name not in sources]
    if unknown:
        raise UserInputError(f"{where}: {field}.measured_by: {unknown[0]!r} is not described under measured_by")
    metrics = {name: _converted(metric, _Metric, where, f"{field}.metrics.{name}") for name, metric in file.metrics.items()}
    if file.metrics.keys() != file.packed.scores.keys():
        raise UserInputError(f"{where}: {field}.packed.scores: are not of the metrics that are named above")
    if unnamed := file.packed.soft.keys() - file.metrics.keys():
        raise UserInputError(f"{where}: {field}.packed.soft.{min(unnamed)}: is of no metric that is named above")
    columns = 4 + file.repeats * (sum(map(count_columns, file.packed.scores.values())) + len(file.packed.soft))
    if file.rows * columns > most_cells:
        raise UserInputError(f"{where}: {field}: {file.rows} rows with {file.repeats} repeats do not fit into a file of this size")
    try:
        at = f"{field}.packed.ids"
        ids = unpack_ids(file.packed.ids, file.rows)
        at = f"{field}.packed.few_shot_seeds"
        seeds = unpack_column(file.packed.few_shot_seeds, file.rows)
        if not all(type(seed) is int for seed in seeds):
            raise PackingError("a seed is a whole number")
        at = f"{field}.packed.prompts"
        digests = None if file.packed.prompts is None else unpack_digests(file.packed.prompts, file.rows)
        scores: dict[str, tuple[Repeated, ...]] = {}
        for name, column in file.packed.scores.items():
            at = f"{field}.packed.scores.{name}"
            values = unpack_column(column, file.rows * file.repeats)
            scores[name] = _by_row(values, file.repeats)
        soft: dict[str, tuple[tuple[float, ...], ...]] = {}
        for name, text in file.packed.soft.items():
            at = f"{field}.packed.soft.{name}"
            soft[name] = _by_row(unpack_halves(text, file.rows * file.repeats), file.repeats)
    except PackingError as error:
        raise UserInputError(f"{where}: {at}: {error}") from error
    if file.prompt_digest != (None if digests is None else _digest_of_digests(digests)):
        raise UserInputError(f"{where}: {field}.prompt_digest: is not that of packed.prompts; the file was changed by hand or merged")
    task = BaselineTask(
        key=key,
        version=file.version,
        metrics={
            name: BaselineMetric(
                value=_number(metric.value, where, f"{field}.metrics.{name}.value"),
                stderr=None if metric.stderr is None else _number(metric.stderr, where, f"{field}.metrics.{name}.stderr"),
                n=metric.n,
                higher_is_better=metric.higher_is_better,
            )
            for name, metric in metrics.items()
        },
        ids=ids,
        few_shot_seeds=tuple(seeds),
        prompt_digests=digests,
        scores=scores,
        soft=soft,
        repeats=file.repeats,
        dataset_fingerprint=file.dataset_fingerprint,
        data_revision=file.data_revision,
        effective_few_shots=file.effective_few_shots,
        num_truncated=file.truncated,
        grader=file.grader,
        cut_share=file.cut_share,
        max_samples=file.max_samples,
        provenance=tuple(sources[name] for name in file.measured_by),
    )
    if version > 1 and file.score_digest is None:
        raise UserInputError(f"{where}: {field}.score_digest: is missing; a file of version {version} has one for each task")
    means = only_known(task.metrics, file.means) if version > 1 else None
    if version > 1 and means is None:
        raise UserInputError(f"{where}: {field}.means: a list of the metrics whose value is a mean is needed")
    for at, problem in problems(task, documents=file.documents, digest=file.score_digest, means=means):
        raise UserInputError(f"{where}: {field}.{at}: {problem}")
    return task


def _by_row(values: Sequence[Any], repeats: int) -> tuple[tuple[Any, ...], ...]:
    return tuple(tuple(values[start : start + repeats]) for start in range(0, len(values), repeats))


def _history(entry: _History, where: str) -> HistoryEntry:
    changed = {
        key: {
            name: (_number(before, where, f"history.{key}.{name}"), _number(after, where, f"history.{key}.{name}"))
            for name, (before, after) in metrics.items()
        }
        for key, metrics in (entry.changed | entry.worsened).items()
    }
    return HistoryEntry(reason=entry.reason, date=entry.date, changed=changed)


def _number(value: float | str, where: str, field: str) -> float:
    if isinstance(value, str) and value not in ("nan", "inf", "-inf"):
        raise UserInputError(f"{where}: {field}: {value!r} is no number")
    return float(value)
