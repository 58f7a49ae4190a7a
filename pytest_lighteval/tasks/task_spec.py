"""The one parser of `suite|task|few_shots|truncate`, and the tasks that it names: in `--tasks`, in gates files and in waivers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pytest_lighteval.common.files import read_utf8
from pytest_lighteval.errors import UserInputError, did_you_mean
from pytest_lighteval.types import Task, TaskKey
from pytest_lighteval.types.task import superset_name

GUESTS = frozenset(("lm_eval",))
"""Suites of other harnesses, whose tasks have few-shot counts of their own: a spec may leave the count out."""
_AVERAGE = ":_average"
"""Ends the key of a superset's row."""
_GLOB = re.compile(r"[*?\[]")
"""Begins what a pattern leaves open."""


class SpecError(UserInputError):
    """A spec that is none, or that names no suite there is. Whoever knows the catalogue can say what it may have meant."""

    def __init__(self, spec: str, message: str) -> None:
        self.spec = spec
        """As the user wrote it."""
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPattern:
    """A key of a gates file or of a waiver: `suite|task`, `suite|task|few_shots` or `suite|task|few_shots|truncate`."""

    suite: str
    task: str
    few_shots: int | None = None
    """None: any count."""
    truncate: bool | None = None
    """None: with and without the truncation flag."""

    def __str__(self) -> str:
        """The pattern as it is written."""
        parts = [self.suite, self.task]
        parts += [] if self.few_shots is None else [str(self.few_shots)]
        parts += [] if self.truncate is None else [str(int(self.truncate))]
        return "|".join(parts)

    def covers(self, key: TaskKey) -> bool:
        """Whether the pattern means this task or superset. `suite|mmlu` means the superset's row `mmlu:_average`, not its tasks."""
        return (
            self.suite == key.suite
            and self.task in (key.task, key.task.removesuffix(_AVERAGE))
            and self.few_shots in (None, key.few_shots)
            and self.truncate in (None, key.truncate)
        )

    def precision(self, key: TaskKey) -> tuple[bool, bool, bool]:
        """Orders patterns that cover a key: the largest is the most precise."""
        return (self.truncate is not None, self.few_shots is not None, self.task == key.task)

    def did_you_mean(self, keys: Iterable[TaskKey]) -> str:
        """` (did you mean ...?)` with the nearest of these tasks and supersets, written like this pattern. Empty: none is near."""
        near = {
            str(
                TaskPattern(
                    suite=key.suite,
                    task=task,
                    few_shots=None if self.few_shots is None else key.few_shots,
                    truncate=None if self.truncate is None else key.truncate,
                )
            )
            for key in keys
            for task in (key.task, key.task.removesuffix(_AVERAGE))
        }
        return did_you_mean(str(self), near)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """`suite|task|few_shots|truncate`, as `--tasks` has it."""

    suite: str
    task: str
    few_shots: int | None
    """None: the task's own count, which only guests have in a spec."""
    truncate: bool = False
    where: str = ""
    """`path:line: ` of a spec that came from a file, for messages."""

    def __str__(self) -> str:
        """The spec in Lighteval's own notation."""
        return f"{self.suite}|{self.task}" + ("" if self.few_shots is None else f"|{self.few_shots}|{int(self.truncate)}")

    @property
    def literal_beginning(self) -> str:
        """What every name begins with that the spec can mean: all of it, unless it is a pattern such as `belebele_*_cf`."""
        return _GLOB.split(self.task, maxsplit=1)[0]

    @property
    def is_pattern(self) -> bool:
        """Whether it has `*`, `?` or `[...]`, as in names of files."""
        return self.literal_beginning != self.task

    def means(self, name: str) -> bool:
        """Whether the spec names the task, its superset or, as a pattern, one of them."""
        wanted = self.task.removesuffix(_AVERAGE)
        part, colon, _ = name.partition(":")
        wholes = {*([part] if colon else []), *([superset] if (superset := superset_name(name)) else [])}
        if self.is_pattern:
            return any(fnmatchcase(one, wanted) for one in (name, *wholes))
        return name == self.task or wanted in wholes


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """A task, with the few-shot count and the truncation flag of the spec that selected it."""

    task: Task
    few_shots: int
    truncate: bool


def parse_pattern(text: str) -> TaskPattern:
    """Read `suite|task`, with `|few_shots` and `|truncate` where given. Raises UserInputError.

    One trailing `|` after the few-shot count or the flag is ignored, since Lighteval's own examples have it.
    """
    fields = [field.strip() for field in (text.removesuffix("|") if text.count("|") > 2 else text).split("|")]
    if not 2 <= len(fields) <= 4 or not fields[0] or not fields[1]:
        raise UserInputError(f"{text!r}: a task is written suite|task|few_shots|truncate, such as leaderboard|gsm8k|5|0")
    suite, task, *rest = fields
    few_shots, truncate = (*rest, None, None)[:2]
    if few_shots is not None and not (few_shots.isdecimal() and len(few_shots) < 10):
        raise UserInputError(f"{text!r}: the few-shot count is {few_shots!r}, not a number from 0 on")
    if truncate not in (None, "0", "1"):
        raise UserInputError(f"{text!r}: the truncation flag is {truncate!r}, not 0 or 1")
    return TaskPattern(
        suite=suite,
        task=task,
        few_shots=None if few_shots is None else int(few_shots),
        truncate=None if truncate is None else truncate == "1",
    )


def parse_specs(text: str, *, folder: Path, source: str = "--tasks") -> list[TaskSpec]:
    """The specs of `--tasks`: a comma-separated list, or the path of a file that has such lists, one per line, and `#` comments.

    The text is a path if it starts with `./`, `../` or `/`, or has no `|`; relative paths are below `folder`. Messages begin with `source`,
    or with `path:line` for the specs of a file. Raises UserInputError.
    """
    text = text.strip()
    if not text.startswith(("./", "../", "/")) and "|" in text:
        return [_parse_spec(part, f"{source}: ") for part in _parts(text)]
    path = folder / text
    if not path.is_file():
        if "/" in text or "." in text:
            raise UserInputError(f"{source} {text}: no such file")
        raise SpecError(text, f"{source} {text}: neither a file nor a spec like 'leaderboard|gsm8k|5|0'")
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
    try:
        pattern = parse_pattern(text)
    except UserInputError as error:
        raise UserInputError(f"{where}{error}") from None
    if pattern.few_shots is None and pattern.suite not in GUESTS:
        lacks = "suite is missing" if pattern.task.isdecimal() else f"few-shot count is missing; write {pattern}|0 for no examples"
        raise SpecError(text, f"{where}{text!r}: the {lacks}")
    return TaskSpec(suite=pattern.suite, task=pattern.task, few_shots=pattern.few_shots, truncate=bool(pattern.truncate), where=where)


def select(
    specs: Sequence[TaskSpec],
    tasks: Iterable[Task],
    *,
    suites: Iterable[str] = (),
    more_names: Callable[[TaskSpec], Iterable[str]] = lambda _: (),
) -> list[Selected]:
    """The tasks that the specs name, in the order of the specs, each (task, count, flag) once.

    A name or alias of a task comes first. Otherwise the name is that of a superset, and selects all its tasks: `mmlu`, or `mmlu:_average`
    as reports write it. A pattern (`belebele_*_cf`) selects all tasks whose name, or whose superset's name, it fits.
    Raises UserInputError for an unknown suite or task and for a pattern that fits none, with the nearest names; `suites` and `more_names`
    are names of further suites and tasks for that message.
    """
    by_suite: dict[str, dict[str, list[Task]]] = {}
    for task in tasks:
        names = by_suite.setdefault(task.suite, {})
        for name in (task.name, *task.aliases):
            names.setdefault(name, []).append(task)
    chosen: dict[tuple[str, int, bool], Selected] = {}
    for spec in specs:
        for task in _named(spec, by_suite, suites, more_names):
            assert spec.few_shots is not None  # only guests have specs without one
            selected = Selected(task=task, few_shots=spec.few_shots, truncate=spec.truncate)
            chosen.setdefault((task.id, spec.few_shots, spec.truncate), selected)
    return list(chosen.values())


def _named(
    spec: TaskSpec, by_suite: dict[str, dict[str, list[Task]]], suites: Iterable[str], more_names: Callable[[TaskSpec], Iterable[str]]
) -> list[Task]:
    if spec.suite not in by_suite:
        known = {*by_suite, *suites}
        near = did_you_mean(spec.suite, known)
        problem = f"{spec.where}no suite named {spec.suite!r}{near}; there are: {', '.join(sorted(known))}"
        raise UserInputError(problem) if near else SpecError(str(spec), problem)
    names = by_suite[spec.suite]
    if spec.task in names:
        return names[spec.task]
    members = [task for name, named in names.items() if spec.means(name) for task in named if task.name == name]
    if members:
        return members
    if spec.is_pattern:
        raise UserInputError(f"{spec.where}suite {spec.suite!r} has no task that fits {spec.task!r}")
    supersets = {name.partition(":")[0] for name in names if ":" in name}
    elsewhere = sorted(suite for suite, tasks in by_suite.items() if spec.task in tasks)
    wanted = spec.task.removesuffix(_AVERAGE)
    hint = f" (it is in suite {' and '.join(elsewhere)})" if elsewhere else did_you_mean(wanted, {*names, *supersets, *more_names(spec)})
    raise UserInputError(f"{spec.where}suite {spec.suite!r} has no task {spec.task!r}{hint}")
