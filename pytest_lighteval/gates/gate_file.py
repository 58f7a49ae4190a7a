"""Reads a `--gates` file, and decides which gates apply to a task or superset: those of the suite and those of the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pytest_lighteval.common.losses import parse_loss
from pytest_lighteval.common.yaml_lines import YamlFile
from pytest_lighteval.errors import FileError, UserInputError, did_you_mean
from pytest_lighteval.tasks.catalogue import Catalogue, gate_problem, reported_values
from pytest_lighteval.tasks.suite_schema import WORDS
from pytest_lighteval.tasks.task_spec import TaskPattern, parse_pattern
from pytest_lighteval.types import GateSpec, TaskKey
from pytest_lighteval.types.task import superset_name

_NUMBERS = ("min", "max", "max_drop", "min_effect", "alpha")
_LOSSES = ("max_drop", "min_effect")
_FIELDS = tuple(field.name for field in fields(GateSpec))
_EXAMPLE = "leaderboard|gsm8k|5: {qem: {min: 0.42, max_drop: 0.01}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateEntry:
    """One key of a gates file, and the gates of its metrics."""

    line: int
    pattern: TaskPattern
    gates: Mapping[str, GateSpec]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFile:
    """A gates file: gates for one model, while the gates of a suite are for all."""

    path: Path
    entries: tuple[GateEntry, ...]


def gates_for(key: TaskKey, task_gates: Mapping[str, GateSpec], file: GateFile | None) -> dict[str, GateSpec]:
    """The gates of a task, or of a superset (`TaskKey(task="mmlu:_average", ...)`).

    For each metric, the file comes before the suite, and in the file the more precise key before the less precise one (see `merged`).
    """
    gates = dict(task_gates)
    entries = [entry for entry in file.entries if entry.pattern.covers(key)] if file else []
    for entry in sorted(entries, key=lambda entry: entry.pattern.precision(key)):
        gates |= {metric: merged(gates.get(metric, GateSpec()), gate) for metric, gate in entry.gates.items()}
    return gates


def merged(weaker: GateSpec, stronger: GateSpec) -> GateSpec:
    """The stronger gate, with the fields of the weaker one that it leaves out.

    `min` and `max` count as one field, and so do `max_drop` and `min_effect`: a `max` of the suite does not survive a `min` of the file.
    """
    given = {field.name: value for field in fields(GateSpec) if (value := getattr(stronger, field.name)) is not None}
    for together in (("min", "max"), ("max_drop", "min_effect")):
        if given.keys() & set(together):
            weaker = replace(weaker, **dict.fromkeys(together))
    return replace(weaker, **given)


def unmatched(file: GateFile, keys: Iterable[TaskKey]) -> tuple[GateEntry, ...]:
    """Entries that cover none of these tasks and supersets, in the order of the file. Such an entry is probably a mistake."""
    keys = list(keys)
    return tuple(entry for entry in file.entries if not any(entry.pattern.covers(key) for key in keys))


def check_gates(file: GateFile, catalogue: Catalogue) -> None:
    """Raise FileError for a key that names neither a task nor a superset, a metric that they do not report, or a loss of no use for it."""
    for entry in file.entries:
        try:
            named = catalogue.find(entry.pattern)
        except UserInputError as error:
            raise FileError(file.path, entry.line, str(entry.pattern), str(error)) from None
        keys = [TaskKey(suite=task.suite, task=task.name, few_shots=0) for task in named]
        if entry.pattern.task.removesuffix(":_average") in {key.part.task.removesuffix(":_average") for key in keys if key.part}:
            whole = f"{keys[0].suite}|{superset_name(keys[0].task)}"
            problem = f"it is a part of {whole}, which is gated as a whole: write {whole}, or one of its tasks"
            raise FileError(file.path, entry.line, str(entry.pattern), problem)
        scored = [task for task in named if task.skip is None]
        if not scored:
            raise FileError(file.path, entry.line, str(entry.pattern), f"the task is skipped, so it has no score: {named[0].skip}")
        # a superset reports the values that all its tasks report
        reported = set.intersection(*(set(reported_values(task)) for task in scored))
        for name, gate in entry.gates.items():
            if name not in reported:
                problem = f"{name!r} is not reported{did_you_mean(name, reported)}; reported are {', '.join(sorted(reported))}"
                raise FileError(file.path, entry.line, str(entry.pattern), problem)
            for task in scored:
                if found := gate_problem(task, name, gate):
                    raise FileError(file.path, entry.line, f"{entry.pattern}.{name}.{found[0]}", found[1])


def load_gates(path: Path) -> GateFile:
    """Read a gates file.

    ```yaml
    leaderboard|gsm8k|5: {qem: {min: 0.42}}      # suite|task|few_shots, with |0 or |1 for the truncation flag
    leaderboard|mmlu: {acc: {max_drop: 0.01}}    # any few-shot count; the superset, not its tasks
    lighteval|wikitext:2: {ppl: {max: 21.5, max_drop: 0.2, inconclusive: fail}}
    ```
    Raises FileError with `path:line: field: problem`, and UserInputError for a file that cannot be read.
    """
    file = YamlFile(path)
    entries: list[GateEntry] = []
    for key in file.mapping((), example=_EXAMPLE):
        entry = _entry(file, key)
        for earlier in entries:
            if earlier.pattern == entry.pattern:
                raise file.error((key,), f"line {earlier.line} already has gates for this key")
        entries.append(entry)
    if not entries:
        raise file.error((), f"no gate is given; a gate is written '{_EXAMPLE}'")
    return GateFile(path=path, entries=tuple(entries))


def _entry(file: YamlFile, key: str) -> GateEntry:
    try:
        pattern = parse_pattern(key)
    except UserInputError as error:
        raise file.error((), str(error), line=file.line((key,))) from None
    metrics = file.mapping((key,), example="{acc: {min: 0.42}}")
    if not metrics:
        raise file.error((key,), "no metric is named; a gate is written {acc: {min: 0.42}}")
    return GateEntry(line=file.line((key,)), pattern=pattern, gates={metric: _gate(file, (key, metric)) for metric in metrics})


def _gate(file: YamlFile, field: tuple[str, str]) -> GateSpec:
    found: dict[str, Any] = {}
    for name in file.mapping(field, example="{min: 0.42}"):
        inner = (*field, name)
        if name in _LOSSES and (text := file.text(inner) or "").endswith(("pt", "%", "percent")):
            try:
                found[name] = parse_loss(text)
            except ValueError as error:
                raise file.error(inner, str(error)) from None
        elif name in _NUMBERS:
            found[name] = file.number(inner)
        elif name in _FIELDS:
            word = file.text(inner) or ""
            if word not in WORDS[name]:
                raise file.error(inner, f"{word!r} is none of {', '.join(WORDS[name])}{did_you_mean(word, WORDS[name])}")
            found[name] = word
        else:
            raise file.error(inner, f"unknown field; a gate has {', '.join(_FIELDS)}{did_you_mean(name, _FIELDS)}")
    gate = GateSpec(**found)
    if gate.problem is not None:
        raise file.error(field, gate.problem)
    return gate
