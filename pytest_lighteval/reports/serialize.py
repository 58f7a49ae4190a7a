"""Values as plain builtins: for the way from an xdist worker to its controller, and for JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from enum import Enum
from os import PathLike, fspath
from typing import Any

import msgspec

from pytest_lighteval.types import (
    Attempt,
    Comparison,
    DocumentScore,
    MetricResult,
    PairedVerdict,
    SampleValue,
    Share,
    TaskKey,
    TaskResult,
    Verdict,
)


def to_plain(value: Any) -> Any:
    """The value as exact None, bool, int, float, str, bytes, list, tuple and dict with text keys, all the way down.

    Dataclasses and structs become dicts, sets sorted lists, paths and enums text, numpy's scalars and arrays Python's own. Anything
    else becomes its `str()`, so that no odd object in a backend's description prevents a report. A `TaskResult` becomes the compact
    form that `task_result_from_plain` reads. Not-a-number and infinities stay floats.
    """
    if isinstance(value, TaskResult):
        return _task_result_to_plain(value)
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    if isinstance(value, Enum):
        return to_plain(value.value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, PathLike):
        return fspath(value)
    if isinstance(value, PairedVerdict):
        return _paired_to_plain(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, msgspec.Struct):
        return {name: to_plain(getattr(value, name)) for name in value.__struct_fields__}
    return _container_to_plain(value)


def _container_to_plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(to_plain(key)): to_plain(member) for key, member in value.items()}
    if isinstance(value, tuple):
        return tuple(to_plain(member) for member in value)
    if isinstance(value, list):
        return [to_plain(member) for member in value]
    if isinstance(value, AbstractSet):
        return sorted((to_plain(member) for member in value), key=repr)
    # numpy and torch are not imported for this; in both the method has this name
    if not isinstance(value, type) and callable(tolist := getattr(value, "tolist", None)):
        return to_plain(tolist())
    return str(value)


def to_json(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """Strict JSON of any value, which can be written as UTF-8.

    JSON has no not-a-number and no infinities: they are written as the texts "nan", "inf" and "-inf", which `float()` reads.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(
        _finite(to_plain(value)), indent=indent, sort_keys=sort_keys, ensure_ascii=False, allow_nan=False, separators=separators
    )
    # data sets have lone surrogates, which UTF-8 cannot encode; Python's escape of one is also JSON's
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(member) for member in value]
    if isinstance(value, bytes):
        return value.hex()
    return value


class _DocumentRow(msgspec.Struct, array_like=True):
    """A `DocumentScore` without the names of its values: `names` and `soft_names` are places in a table that all documents share."""

    id: str
    prompt_digest: str
    few_shot_seed: int
    cluster: str | None
    truncated: bool
    names: int
    values: tuple[SampleValue | None, ...]
    soft_names: int
    soft: tuple[float, ...]


class _WireTaskResult(msgspec.Struct):
    """The compact form: MMLU's 14,042 documents take about a megabyte on the wire."""

    key: TaskKey
    version: int
    metrics: dict[str, MetricResult]
    value_names: tuple[tuple[str, ...], ...]
    documents: tuple[_DocumentRow, ...]
    dataset_fingerprint: str
    row_sources: dict[str, str]
    prompt_digest: str
    effective_few_shots: float
    num_truncated: int
    num_cut: int
    num_texts: int
    not_judged: dict[str, int]
    num_saved: int
    max_samples: int | None
    notes: tuple[str, ...]
    seconds: float
    share: Share | None = None
    # a later version reads what an earlier one wrote (scores.json): whatever is new has a default
    weighs_documents: bool = False
    language: str | None = None
    grader: dict[str, str] = {}
    outcomes: dict[str, int] = {}


def _task_result_to_plain(result: TaskResult) -> dict[str, Any]:
    names: dict[tuple[str, ...], int] = {}
    rows = tuple(
        (
            str(document.id),
            str(document.prompt_digest),
            int(document.few_shot_seed),
            document.cluster,
            bool(document.truncated),
            names.setdefault(tuple(document.values), len(names)),
            tuple(_value_to_plain(value) for value in document.values.values()),
            names.setdefault(tuple(document.soft), len(names)),
            tuple(float(number) for number in document.soft.values()),
        )
        for document in result.documents
    )
    plain = {field.name: to_plain(getattr(result, field.name)) for field in fields(result) if field.name != "documents"}
    return plain | {"value_names": tuple(names), "documents": rows}


def _value_to_plain(value: SampleValue | None) -> Any:
    return to_plain(value) if value is None or isinstance(value, tuple) else float(value)


def _paired_to_plain(paired: PairedVerdict) -> dict[str, Any]:
    """Flat: the numbers of the comparison are beside the others, null where nothing was compared."""
    names = [field.name for shape in (PairedVerdict, Comparison) for field in fields(shape) if field.name != "comparison"]
    return {name: to_plain(getattr(paired, name)) for name in names}


def task_result_from_plain(obj: Any) -> TaskResult:
    """The result of which `to_plain` made this. Raises msgspec.ValidationError for anything else."""
    wire = msgspec.convert(obj, _WireTaskResult)
    plain: dict[str, Any] = {name: getattr(wire, name) for name in _WireTaskResult.__struct_fields__ if name != "value_names"}
    return TaskResult(**plain | {"documents": tuple(_documents(wire.value_names, wire.documents))})


def verdict_from_plain(obj: Any) -> Verdict:
    """The verdict of which `to_plain` made this. Raises msgspec.ValidationError for anything else."""
    plain = msgspec.convert(obj, dict[str, Any])
    for name in ("paired", "pinned"):
        of = plain.get(name)
        if isinstance(of, dict) and of.get("method") is not None:
            plain = plain | {name: of | {"comparison": of}}
    return msgspec.convert(plain, Verdict)


def attempt_from_plain(obj: Any) -> Attempt:
    """The attempt of which `to_plain` made this. Raises msgspec.ValidationError for anything else."""
    plain = msgspec.convert(obj, dict[str, Any])
    result = plain.get("result")
    return Attempt(
        result=None if result is None else task_result_from_plain(result),
        verdicts=tuple(verdict_from_plain(verdict) for verdict in plain.get("verdicts", ())),
        error=msgspec.convert(plain.get("error"), str | None),
    )


def _documents(value_names: tuple[tuple[str, ...], ...], rows: Iterable[_DocumentRow]) -> Iterable[DocumentScore]:
    for row in rows:
        yield DocumentScore(
            id=row.id,
            prompt_digest=row.prompt_digest,
            values=dict(zip(value_names[row.names], row.values, strict=True)),
            few_shot_seed=row.few_shot_seed,
            cluster=row.cluster,
            truncated=row.truncated,
            soft=dict(zip(value_names[row.soft_names], row.soft, strict=True)),
        )
