"""Finds suite files: the shipped ones, those of `--custom-tasks`, and those that the command line names."""

from __future__ import annotations

import contextlib
import importlib.resources
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from pytest_lighteval.common.losses import unit_problem
from pytest_lighteval.errors import LightevalError, UserInputError, did_you_mean
from pytest_lighteval.metrics import REGISTRY, metric, metrics_of
from pytest_lighteval.tasks import SUITE_SUFFIXES
from pytest_lighteval.tasks.families import FOLDER, Families, Wanted
from pytest_lighteval.tasks.suite_file import declared_names, load_suite, task_error
from pytest_lighteval.tasks.task_spec import Selected, TaskPattern, TaskSpec, select
from pytest_lighteval.types import Ask, GateSpec, Task

_OF_TALKS = (Ask.GENERATION, Ask.TURNS)
"""What can be scored of a conversation."""


def shipped_suites() -> Path:
    """The folder of the shipped suites: inside the installed package, or beside it in a source tree."""
    package = Path(str(importlib.resources.files("pytest_lighteval")))
    installed = package / "_suites"
    return installed if installed.is_dir() else package.parent / "suites"


class GuestTasks(Protocol):
    """A suite that no suite file declares: the tasks of another harness."""

    @property
    def suite(self) -> str:
        """Its name."""

    @property
    def path(self) -> Path:
        """A YAML file at which pytest collects those of its tasks that are in no file of the user's."""

    @property
    def shown(self) -> str:
        """How ids call that file."""

    def owns(self, path: Path) -> bool:
        """Whether a YAML file is the harness's, and no suite file."""

    def load(self, path: Path) -> list[Task]:
        """The tasks of such a file. Raises LightevalError."""

    def select(self, spec: TaskSpec, few_shots: Sequence[int] | None) -> list[Selected]:
        """What a spec selects; `few_shots` are the counts where it has none. Raises LightevalError."""

    def named(self, name: str) -> list[Task]:
        """The tasks of a name. Raises LightevalError."""


class Catalogue:
    """Suite files by path, each read once per session.

    Args:
        own: the user's folders of suite files.
        modules: the user's Python modules, and what reads the tasks of each. Their tasks come before all others of the same name.
        guests: the tasks of another harness. None: there are none.
    """

    def __init__(
        self,
        own: Sequence[Path] = (),
        modules: Mapping[Path, Callable[[], list[Task]]] | None = None,
        guests: GuestTasks | None = None,
    ) -> None:
        self.guests = guests
        self.shipped = shipped_suites()
        # the user's folders are read completely; a shipped suite only when a spec names it
        self._own = tuple(root for root in own if root != self.shipped)
        self._modules = modules or {}
        self._loaded: dict[Path, list[Task]] = {}
        self.families = Families(self.shipped)

    def shown(self, path: Path) -> str | None:
        """`suites/<suite>/<file>.yaml` for a shipped file, wherever it is installed. None: the file is not a shipped one."""
        if self.guests is not None and path == self.guests.path:
            return self.guests.shown
        return f"suites/{path.relative_to(self.shipped).as_posix()}" if path.is_relative_to(self.shipped) else None

    def is_module(self, path: Path) -> bool:
        """Whether the file is one of the user's Python modules."""
        return path in self._modules

    def load(self, path: Path, *, wanted: Wanted | None = None) -> list[Task]:
        """The tasks of one file, whose metrics exist; with `wanted` those of these names, and of a family no others are made.

        Raises FileError.
        """
        path = path.resolve()
        if self._is_guests(path):
            assert self.guests is not None
            return self.guests.load(path)
        if path not in self._loaded:
            shown = self.shown(path) or str(path)
            is_part = wanted is not None and self.families.holds(path)
            tasks = self._modules[path]() if path in self._modules else load_suite(path, shown=shown, wanted=wanted if is_part else None)
            for task in tasks:
                _check_names(task, shown)
            if is_part:
                return tasks
            self._loaded[path] = tasks
        if wanted is None:
            return self._loaded[path]
        return [task for task in self._loaded[path] if any(map(wanted, (task.name, *task.aliases)))]

    def select(self, specs: Sequence[TaskSpec], few_shots: Sequence[int] | None = None) -> dict[Path, list[Selected]]:
        """What the specs select, by suite file, in the order of the specs, guests last. `few_shots`: where a guest's spec has no count.

        Raises FileError, UserInputError.
        """
        theirs = [spec for spec in specs if self.guests is not None and spec.suite == self.guests.suite]
        ours = [spec for spec in specs if spec not in theirs]
        chosen = self._selected(ours) if ours else []
        if self.guests is not None:
            chosen += [selected for spec in theirs for selected in self.guests.select(spec, few_shots)]
        by_file: dict[Path, list[Selected]] = {}
        for selected in {(one.task.id, one.few_shots, one.truncate): one for one in chosen}.values():
            by_file.setdefault(selected.task.path.resolve(), []).append(selected)
        return by_file

    def find(self, pattern: TaskPattern) -> list[Task]:
        """The task of a pattern, or all tasks of its superset. Raises FileError, UserInputError."""
        if self.guests is not None and pattern.suite == self.guests.suite:
            return self.guests.named(pattern.task)
        spec = TaskSpec(suite=pattern.suite, task=pattern.task, few_shots=0)
        if spec.is_pattern:
            raise UserInputError(f"{pattern}: a task or a superset is named here; * and ? are for --tasks")
        return [selected.task for selected in self._selected([spec])]

    def tasks_below(self, path: Path) -> Iterator[Task]:
        """All tasks of a suite file, or of those below a folder; families are below their own folder alone. Raises FileError."""
        for file in self.files_below(path):
            yield from self.load(file)

    def every_task(self) -> Iterator[Task]:
        """All tasks of the user and all that are shipped, without the families; a file that is broken has none."""
        for path in self._paths((*self._own, self.shipped)):
            with contextlib.suppress(LightevalError):
                yield from self.load(path)

    def family_names(self, spec: TaskSpec) -> Iterator[str]:
        """The names of all tasks of the families that a spec may mean. Raises FileError."""
        for path in self.families.named_by(spec):
            yield from declared_names(path, shown=self.shown(path))

    def files_below(self, path: Path) -> list[Path]:
        """The modules and the suite files at a path or below it."""
        return [*(module for module in self._modules if module.is_relative_to(path)), *self.suite_files(path)]

    def suite_files(self, root: Path) -> list[Path]:
        """The file itself, or those below a folder, sorted; families are below their own folder alone."""
        if root.is_file():
            return [root]
        found = sorted(path for suffix in SUITE_SUFFIXES for path in root.rglob(f"*{suffix}"))
        return found if self.families.holds(root) else [path for path in found if not self.families.holds(path)]

    @property
    def _folders(self) -> list[str]:
        """Names of the shipped suites, which are the names of their folders, and that of the guests."""
        shipped = (folder.name for folder in self.shipped.iterdir() if folder.name != FOLDER and any(self.suite_files(folder)))
        return sorted((*shipped, *([self.guests.suite] if self.guests is not None else [])))

    def _selected(self, specs: Sequence[TaskSpec]) -> list[Selected]:
        tasks = itertools.chain(self._tasks({spec.suite for spec in specs}), self.of_families(specs))
        return select(specs, tasks, suites=self._folders, more_names=self.family_names)

    def _tasks(self, suites: set[str]) -> Iterable[Task]:
        """All tasks of the user, and those of the named shipped suites."""
        shipped = [self.shipped / name for name in self._folders if name in suites]
        for path in self._paths((*self._own, *shipped)):
            yield from self.load(path)

    def _paths(self, roots: Iterable[Path]) -> Iterable[Path]:
        """The modules, and the suite files below the roots, each once."""
        files = (path for root in roots for path in self.suite_files(root))
        return dict.fromkeys((*self._modules, *(path for path in files if not self._is_guests(path))))

    def _is_guests(self, path: Path) -> bool:
        return self.guests is not None and self.guests.owns(path.resolve())

    def of_families(self, specs: Sequence[TaskSpec]) -> Iterable[Task]:
        """The tasks of families that the specs mean."""
        by_file: dict[Path, list[TaskSpec]] = {}
        for spec in specs:
            for path in self.families.named_by(spec):
                by_file.setdefault(path, []).append(spec)
        for path, meant in by_file.items():
            yield from self.load(path, wanted=_meant_by(meant))


def _meant_by(specs: Sequence[TaskSpec]) -> Wanted:
    return lambda name: any(spec.means(name) for spec in specs)


def reported_values(task: Task) -> list[str]:
    """Names of the values that the task's metrics report, as often as they do."""
    return [value for entry in metrics_of(task) for value in entry.reported]


def gate_problem(task: Task, value: str, gate: GateSpec) -> tuple[str, str] | None:
    """The field of a gate on a reported value whose loss is in the wrong unit, and what is wrong. None: nothing."""
    corpus = next((corpora[value] for entry in metrics_of(task) if value in (corpora := entry.corpus)), None)
    for field in ("max_drop", "min_effect"):
        loss: float | None = getattr(gate, field)
        if loss is not None and corpus is None:
            return field, f"{value} is an estimate, which is not compared document by document: it can have min and max alone"
        if loss is not None and corpus is not None and (problem := unit_problem(loss, value, corpus)) is not None:
            return field, problem
    return None


def _check_names(task: Task, shown: str) -> None:
    """Raise for metrics and gates that the metric registry does not know. A skipped task may name a missing metric."""
    if task.skip:
        return
    own = task.metrics if task.guest is not None else () if task.code is None else task.code.metrics
    for position, name in enumerate(task.metrics):
        if any(spec.name == name for spec in task.judges):
            if name in REGISTRY:
                problem = f"{name!r} is the name of another metric: choose one"
                raise task_error(task, f"metrics[{position}].judge.name", problem, shown=shown)
            continue
        if name in own:
            continue
        try:
            metric(name)
        except UserInputError as error:
            raise task_error(task, f"metrics[{position}]", str(error), shown=shown) from None
    if task.prompt.turns and (odd := next((entry for entry in metrics_of(task) if entry.ask not in _OF_TALKS), None)) is not None:
        position = task.metrics.index(odd.name)
        problem = f"{odd.name} scores {odd.ask.value}, and a task with turns has texts of the model alone"
        raise task_error(task, f"metrics[{position}]", problem, shown=shown)
    reported = reported_values(task)
    if twice := sorted({value for value in reported if reported.count(value) > 1}):
        raise task_error(task, "metrics", f"two of them report {', '.join(twice)}", shown=shown)
    for name, gate in task.gates.items():
        if name not in reported:
            problem = f"{name!r} is not reported{did_you_mean(name, reported)}; reported are {', '.join(reported)}"
            raise task_error(task, f"gates.{name}", problem, shown=shown)
        if found := gate_problem(task, name, gate):
            raise task_error(task, f"gates.{name}.{found[0]}", found[1], shown=shown)
