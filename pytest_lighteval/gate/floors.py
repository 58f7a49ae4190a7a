"""Floors and ceilings: which of them hold for a task, read from a `--gates` file too, and what they say about its scores."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from pytest_lighteval.errors import SuiteError, UserInputError, did_you_mean
from pytest_lighteval.types import GateSpec, MetricResult, TaskKey, Verdict

__all__ = ["GateEntry", "GateFile", "gates_for", "judge", "load_gates", "unmatched"]

_THRESHOLDS = ("min", "max")


# ----------------------------------------------------------------------------------------------------- judging


def judge(result_metrics: Mapping[str, MetricResult], gates: Mapping[str, GateSpec], *, key: str) -> tuple[Verdict, ...]:
    """One verdict for each gated metric of a task or group, in the order of the gates.

    A score that is not a number fails every gate. Raises UserInputError for a gate that cannot be judged: on a metric that is not
    reported, or without a threshold.
    """
    return tuple(_judge(result_metrics, metric, gate, key) for metric, gate in gates.items())


def _judge(result_metrics: Mapping[str, MetricResult], metric: str, gate: GateSpec, key: str) -> Verdict:
    if metric not in result_metrics:
        known = ", ".join(result_metrics) or "none"
        raise UserInputError(f"{key}: gate on {metric!r}: no such metric is reported, only {known}{did_you_mean(metric, result_metrics)}")
    if gate.min is None and gate.max is None:
        raise UserInputError(f"{key}: gate on {metric!r}: neither min nor max is given")
    result = result_metrics[metric]
    # written so that a comparison with not-a-number, which is false, fails
    above = gate.min is None or result.value >= gate.min
    below = gate.max is None or result.value <= gate.max
    return Verdict(
        metric=metric,
        outcome="passed" if above and below else "failed",
        message=_message(metric, result, gate, above=above, below=below),
        value=result.value,
        stderr=result.stderr,
        n=result.n,
        min=gate.min,
        max=gate.max,
    )


def _message(metric: str, result: MetricResult, gate: GateSpec, *, above: bool, below: bool) -> str:
    thresholds = [threshold for threshold in (gate.min, gate.max) if threshold is not None]
    digits = _telling_digits(result.value, thresholds)

    def number(value: float) -> str:
        return f"{value:.{digits}f}" if abs(value) < 1e9 else f"{value:.{digits + 2}g}"

    def clauses(when_met: bool) -> list[str]:
        """What is said of the thresholds that are met, or of those that are not."""
        parts = []
        if gate.min is not None and above is when_met:
            parts.append(f"{'at or above' if above else 'below'} the floor {number(gate.min)}")
        if gate.max is not None and below is when_met:
            parts.append(f"{'at or below' if below else 'above'} the ceiling {number(gate.max)}")
        return parts

    score = f"{metric} {number(result.value)}" + ("" if result.stderr is None else f" ± {number(result.stderr)}")
    if math.isnan(result.value):
        bounds = [f"floor {number(gate.min)}"] if gate.min is not None else []
        bounds += [f"ceiling {number(gate.max)}"] if gate.max is not None else []
        return f"{score} is not a number and so fails the {' and the '.join(bounds)} (n = {result.n})"
    return f"{score} is {' and '.join(clauses(False) or clauses(True))} (n = {result.n})"


def _telling_digits(value: float, thresholds: Iterable[float]) -> int:
    """Decimals, 4 or more, with which a score does not look equal to a threshold that it differs from."""
    digits = 4
    for threshold in thresholds:
        while digits < 17 and value != threshold and f"{value:.{digits}f}" == f"{threshold:.{digits}f}":
            digits += 1
    return digits


# ------------------------------------------------------------------------------------------------ the gates file


@dataclass(frozen=True, slots=True, kw_only=True)
class GateEntry:
    """One key of a gates file with what it asks of its metrics."""

    text: str
    """The key as it was written."""
    line: int
    suite: str
    task: str
    few_shots: int | None
    """None: any count."""
    truncate: bool | None
    """None: with and without the truncation flag."""
    gates: Mapping[str, GateSpec]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFile:
    """A gates file: thresholds for one model, beside suites that serve many."""

    path: Path
    entries: tuple[GateEntry, ...]


def gates_for(key: TaskKey, task_gates: Mapping[str, GateSpec], file: GateFile | None) -> dict[str, GateSpec]:
    """The gates that hold for a task, or for a group (`TaskKey(task="mmlu:_average", ...)`).

    Metric by metric the file beats the suite, and in the file the more exact key beats the less exact one. A gate is taken whole:
    a `max` of the suite does not stay beside a `min` of the file.
    """
    gates = dict(task_gates)
    entries = [entry for entry in file.entries if _matches(entry, key)] if file else []
    for entry in sorted(entries, key=lambda entry: _exactness(entry, key)):
        gates |= entry.gates
    return gates


def unmatched(file: GateFile, keys: Iterable[TaskKey]) -> tuple[GateEntry, ...]:
    """Entries that name none of these tasks and groups, in the order of the file. A gate that nothing is held to is likely a slip."""
    keys = list(keys)
    return tuple(entry for entry in file.entries if not any(_matches(entry, key) for key in keys))


def _matches(entry: GateEntry, key: TaskKey) -> bool:
    return (
        entry.suite == key.suite
        # a superset may be named by itself: suite|mmlu
        and entry.task in (key.task, key.task.removesuffix(":_average"))
        and entry.few_shots in (None, key.few_shots)
        and entry.truncate in (None, key.truncate)
    )


def _exactness(entry: GateEntry, key: TaskKey) -> tuple[bool, bool, bool]:
    return (entry.truncate is not None, entry.few_shots is not None, entry.task == key.task)


def load_gates(path: Path) -> GateFile:
    """Read a gates file.

    ```yaml
    leaderboard|gsm8k|5: {qem: {min: 0.42}}      # suite|task|few_shots, and |0 or |1 for the truncation flag behind it
    leaderboard|mmlu: {acc: {min: 0.40}}         # any few-shot count; mmlu's subtasks together
    lighteval|wikitext:2: {ppl: {max: 21.5}}
    ```
    Raises SuiteError with `path:line: field: problem`, and UserInputError for a file that cannot be read.
    """
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise UserInputError(f"{path}: the gates file cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserInputError(f"{path}: the gates file is not UTF-8 text: {error.reason} at byte {error.start}") from error
    entries: list[GateEntry] = []
    for key, value in _pairs(path, "", _compose(path, text), "leaderboard|gsm8k|5: {qem: {min: 0.42}}"):
        entry = _entry(path, key, value)
        for earlier in entries:
            if _identity(earlier) == _identity(entry):
                raise SuiteError(path, entry.line, entry.text, f"line {earlier.line} has gates for the same already")
        entries.append(entry)
    if not entries:
        raise SuiteError(path, 1, "", "no gate is given; a gate is written 'leaderboard|gsm8k|5: {qem: {min: 0.42}}'")
    return GateFile(path=path, entries=tuple(entries))


def _identity(entry: GateEntry) -> tuple[str, str, int | None, bool | None]:
    return (entry.suite, entry.task, entry.few_shots, entry.truncate)


def _compose(path: Path, text: str) -> yaml.Node | None:
    """The node tree: it has lines, and keeps a key that is written twice, which loading would lose."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SuiteError(path, line, "", f"not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise SuiteError(path, 1, "", f"not YAML: {' '.join(str(error).split())}") from error
    return node


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _pairs(path: Path, field: str, node: yaml.Node | None, shape: str) -> Iterable[tuple[yaml.ScalarNode, yaml.Node]]:
    """The keys and values of a mapping without a key twice. None, the empty file, has none."""
    if node is None:
        return
    if not isinstance(node, yaml.MappingNode):
        raise SuiteError(path, _line(node), field, f"a mapping is needed here, like {shape}")
    seen: dict[str, int] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise SuiteError(path, _line(key), field, "a key is a plain text here")
        if key.value in seen:
            raise SuiteError(path, _line(key), _join(field, key.value), f"is on line {seen[key.value]} already")
        seen[key.value] = _line(key)
        yield key, value


def _join(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name


def _entry(path: Path, key: yaml.ScalarNode, value: yaml.Node) -> GateEntry:
    spec = re.fullmatch(r"(?P<suite>[^|\s]+)\|(?P<task>[^|\s]+)(\|(?P<few_shots>[0-9]{1,9})(\|(?P<truncate>[01]))?)?", key.value)
    if spec is None:
        problem = "a key is written suite|task, suite|task|few_shots or suite|task|few_shots|truncate, such as leaderboard|gsm8k|5"
        raise SuiteError(path, _line(key), key.value, problem)
    metrics = _pairs(path, key.value, value, "{acc: {min: 0.42}}")
    gates = {metric.value: _gate(path, _join(key.value, metric.value), metric, node) for metric, node in metrics}
    if not gates:
        raise SuiteError(path, _line(key), key.value, "no metric is named; a gate is written {acc: {min: 0.42}}")
    few_shots, truncate = spec["few_shots"], spec["truncate"]
    return GateEntry(
        text=key.value,
        line=_line(key),
        suite=spec["suite"],
        task=spec["task"],
        few_shots=None if few_shots is None else int(few_shots),
        truncate=None if truncate is None else truncate == "1",
        gates=gates,
    )


def _gate(path: Path, field: str, metric: yaml.ScalarNode, node: yaml.Node) -> GateSpec:
    found: dict[str, float] = {}
    for key, value in _pairs(path, field, node, "{min: 0.42}"):
        if key.value not in _THRESHOLDS:
            problem = f"is no field of a gate, which has min and max{did_you_mean(key.value, _THRESHOLDS)}"
            raise SuiteError(path, _line(key), _join(field, key.value), problem)
        found[key.value] = _number(path, _join(field, key.value), value)
    if not found:
        raise SuiteError(path, _line(metric), field, "neither min nor max is given")
    gate = GateSpec(**found)
    if gate.min is not None and gate.max is not None and gate.min > gate.max:
        raise SuiteError(path, _line(metric), field, f"min {gate.min} is above max {gate.max}, so no score can pass")
    return gate


def _number(path: Path, field: str, node: yaml.Node) -> float:
    # YAML 1.1 takes 1e-3 for a text and 1:30 for a number; what Python's float takes is what people mean
    try:
        value = float(node.value) if isinstance(node, yaml.ScalarNode) and not node.style else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        shown = repr(node.value) if isinstance(node, yaml.ScalarNode) else "a list or mapping"
        raise SuiteError(path, _line(node), field, f"a finite number is needed, not {shown}")
    return value
