"""Which tasks to run: Lighteval's `suite|task|few_shot|truncate` specs, and the tasks that they name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_lighteval.common.files import read_utf8
from pytest_lighteval.errors import UserInputError, did_you_mean
from pytest_lighteval.types import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """`suite|task|few_shot|truncate`, as it was written."""

    suite: str
    task: str
    few_shots: int
    truncate: bool = False
    where: str = ""
    """`path:line: ` when it came from a file, for messages."""

    def __str__(self) -> str:
        """The spec in Lighteval's own notation."""
        return f"{self.suite}|{self.task}|{self.few_shots}|{int(self.truncate)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """A task together with the few-shot count and truncation flag that it was asked for with."""

    task: Task
    few_shots: int
    truncate: bool


def parse_specs(text: str, *, folder: Path, source: str = "--tasks") -> list[TaskSpec]:
    """The specs of `--tasks`: a comma-separated list, or the path of a file with one or more a line and `#` comments.

    A value is a file when it starts with `./`, `../` or `/`, or has no `|` at all; relative paths are below `folder`.
    `source` names in messages where the text comes from. Raises UserInputError, with `path:line` for a file's specs.
    """
    text = text.strip()
    if not text.startswith(("./", "../", "/")) and "|" in text:
        return [_parse_spec(part, f"{source}: ") for part in _parts(text)]
    path = folder / text
    if not path.is_file():
        what = "no such file" if "/" in text or "." in text else "neither a file nor a spec like 'leaderboard|gsm8k|5|0'"
        raise UserInputError(f"{source} {text}: {what}")
    specs = [
        _parse_spec(part, f"{text}:{number}: ")
        for number, line in enumerate(read_utf8(path, shown=f"{source} {text}").splitlines(), start=1)
        for part in _parts(line.partition("#")[0])
    ]
    if not specs:
        raise UserInputError(f"{source} {text}: the file names no task")
    return specs


def _parts(line: str) -> list[str]:
    return [part for part in (part.strip() for part in line.split(",")) if part]


def _parse_spec(text: str, where: str) -> TaskSpec:
    fields = [field.strip() for field in text.split("|")]
    if len(fields) == 3:
        fields.append("0")
    if len(fields) != 4 or not fields[0] or not fields[1]:
        raise UserInputError(f"{where}{text!r}: a task is written suite|task|few_shots|truncate, such as leaderboard|gsm8k|5|0")
    suite, task, few_shots, truncate = fields
    if not few_shots.isdecimal():
        raise UserInputError(f"{where}{text!r}: the few-shot count is {few_shots!r}, not a number from 0 on")
    if truncate not in ("0", "1"):
        raise UserInputError(f"{where}{text!r}: the truncation flag is {truncate!r}, not 0 or 1")
    return TaskSpec(suite=suite, task=task, few_shots=int(few_shots), truncate=truncate == "1", where=where)


def select(specs: Sequence[TaskSpec], tasks: Iterable[Task], *, suites: Iterable[str] = ()) -> list[Selected]:
    """The tasks that the specs name, in the order of the specs, each (task, count, flag) once.

    `suites` are names of suites that exist beside those of `tasks`, for messages.

    An exact name or alias wins; else a superset's name (`mmlu`) stands for all its subtasks (`mmlu:anatomy`, ...).
    Raises UserInputError for a suite or task that is not there, with the nearest names.
    """
    by_suite: dict[str, dict[str, list[Task]]] = {}
    for task in tasks:
        names = by_suite.setdefault(task.suite, {})
        for name in (task.name, *task.aliases):
            names.setdefault(name, []).append(task)
    chosen: dict[tuple[str, int, bool], Selected] = {}
    for spec in specs:
        for task in _named(spec, by_suite, suites):
            chosen.setdefault(
                (task.id, spec.few_shots, spec.truncate), Selected(task=task, few_shots=spec.few_shots, truncate=spec.truncate)
            )
    return list(chosen.values())


def _named(spec: TaskSpec, by_suite: dict[str, dict[str, list[Task]]], suites: Iterable[str]) -> list[Task]:
    if spec.suite not in by_suite:
        known = {*by_suite, *suites}
        raise UserInputError(
            f"{spec.where}no suite named {spec.suite!r}{did_you_mean(spec.suite, known)}; there are: {', '.join(sorted(known))}"
        )
    names = by_suite[spec.suite]
    if spec.task in names:
        return names[spec.task]
    subtasks = [task for name, named in names.items() if name.startswith(f"{spec.task}:") for task in named if task.name == name]
    if subtasks:
        return subtasks
    supersets = {name.partition(":")[0] for name in names if ":" in name}
    elsewhere = sorted(suite for suite, tasks in by_suite.items() if spec.task in tasks)
    hint = f" (it is in suite {' and '.join(elsewhere)})" if elsewhere else did_you_mean(spec.task, {*names, *supersets})
    raise UserInputError(f"{spec.where}suite {spec.suite!r} has no task {spec.task!r}{hint}")
