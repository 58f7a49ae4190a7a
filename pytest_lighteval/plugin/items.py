"""Suite files as pytest modules, their tasks as pytest functions: every fixture, mark and selection of pytest works on them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.errors import LightevalError
from pytest_lighteval.evaluate import task_kinds
from pytest_lighteval.gates.join import failure_text
from pytest_lighteval.plugin.check_item import CheckItem
from pytest_lighteval.plugin.check_settings import MARK
from pytest_lighteval.plugin.judging import is_judged
from pytest_lighteval.plugin.options import looks_like_suite
from pytest_lighteval.plugin.session import Session, session_of, shots_text
from pytest_lighteval.reports.printable import printable
from pytest_lighteval.reports.run_collector import REFERENCE
from pytest_lighteval.types import Task, TaskKey, TaskResult, Verdict

ANSWERS = "answers"
"""Marks the item in which the model answers a judged task: `mt_bench[0-shot-answers]`."""


def collect_file(path: Path, parent: pytest.Collector) -> SuiteFile | None:
    """The collector of a suite file. None: the file is not ours to claim."""
    session = session_of(parent.config)
    if not session.is_suite(path) and not (session.may_be_suite(path) and looks_like_suite(path)):
        return None
    shown = session.catalogue.shown(path)
    # a shipped file is called the same wherever it is installed; None lets pytest name the others
    suite: SuiteFile = SuiteFile.from_parent(parent, path=path, nodeid=shown)
    if (safe := printable(suite.nodeid)) != suite.nodeid:  # the ids of its tasks could not be sent, or shown
        suite = SuiteFile.from_parent(parent, path=path, nodeid=safe)
        suite.is_named_badly = True
    return suite


class SuiteFile(pytest.Module):
    """A suite file. A Module, as module-scoped fixtures need one above them; it has no Python object."""

    obj = None
    is_named_badly = False
    """Its name has characters that its id has not."""

    def collect(self) -> Iterator[pytest.Item]:
        """The file's tasks in its order: one item for each few-shot count, or under the linter one for each task."""
        session = session_of(self.config)
        if self.is_named_badly:
            raise self.CollectError(f"{self.nodeid}: the file's name has characters that cannot be shown: rename it")
        try:
            tasks = session.tasks_of(self.path)
        except LightevalError as error:
            raise self.CollectError(printable(str(error))) from None
        if session.settings.checks is not None:
            yield from self._checks(session, tasks)
            return
        for task in tasks:
            for few_shots, truncate in session.counts(task):
                key = TaskKey(suite=task.suite, task=task.name, few_shots=few_shots, truncate=truncate)
                if (other := session.declared.setdefault(key, self.nodeid)) != self.nodeid:
                    raise self.CollectError(f"{self.nodeid}:{task.line}: {task.id} is declared in {other} too")
                if session.expand is not None:
                    yield from session.expand(self, task, key)
                else:
                    yield TaskItem.from_parent(self, name=f"{task.name}[{_shots(key)}]", task=task, key=key)

    def _checks(self, session: Session, tasks: Iterable[Task]) -> Iterator[CheckItem]:
        """One item for each task, whatever its few-shot counts are."""
        if guests := [task.id for task in tasks if task.guest is not None]:
            raise self.CollectError(f"{guests[0]}: --check-tasks cannot check the tasks of another harness")
        for task in tasks:
            if counts := list(dict.fromkeys(few_shots for few_shots, _ in session.counts(task))):
                key = TaskKey(suite=task.suite, task=task.name, few_shots=0)
                if (other := session.declared.setdefault(key, self.nodeid)) != self.nodeid:
                    raise self.CollectError(f"{self.nodeid}:{task.line}: {task.id} is declared in {other} too")
                yield CheckItem.from_parent(self, name=f"{task.name}[{MARK}]", task=task, few_shots=counts)


def _shots(key: TaskKey) -> str:
    return shots_text(key.few_shots, key.truncate)


def without_group(nodeid: str) -> str:
    """The id without `@<group>`, which `--dist loadgroup` adds to it. No name of a task has an `@`."""
    path, colons, name = nodeid.partition("::")
    return path + colons + name.partition("@")[0]


def task_of(session: Session, rootpath: Path, nodeid: str) -> tuple[TaskKey, Task] | None:
    """The key and the task of an item whose id is all that is known of it. None: it is no suite's item."""
    path, _, name = without_group(nodeid).partition("::")
    parts = re.fullmatch(r"(.+)\[(\d+)-shot(-trunc)?\]", name)
    if parts is None:
        return None
    for file in _files(session, rootpath, path):
        try:
            tasks = session.catalogue.load(file, wanted=parts[1].__eq__)
        except LightevalError:
            continue
        for task in tasks:
            if task.name == parts[1]:
                key = TaskKey(suite=task.suite, task=task.name, few_shots=int(parts[2]), truncate=parts[3] is not None)
                return key, task
    return None


def _files(session: Session, rootpath: Path, path: str) -> Iterator[Path]:
    """The files that pytest may have named so: beside the ini file, below a folder that was named, or shipped."""
    folders = [folder if folder.is_dir() else folder.parent for folder in (*session.named, *session.roots)]
    candidates = [rootpath, *folders, *(folder.parent for folder in folders)]
    yield from dict.fromkeys(found for folder in candidates if (found := folder / path).is_file())
    guests = session.catalogue.guests
    if guests is not None and path == guests.shown:
        yield guests.path
    if not path:  # a file outside the rootdir that is an argument, the user's or ours, has no other name to pytest than being one
        yield from (file for file in (*session.named, *map(Path, session.arguments or ())) if file.is_file())
    if (shipped := session.catalogue.shipped / path.removeprefix("suites/")).is_file():
        yield shipped


class TaskItem(pytest.Function):
    """One task at one few-shot count: pytest fills the fixtures of `run_task` and calls it."""

    def __init__(self, *, task: Task, key: TaskKey, callobj: Callable[..., None] | None = None, **kwargs: Any) -> None:
        super().__init__(callobj=callobj or run_task, **kwargs)
        self.task = task
        self.key = key
        # a task that is skipped may have no metric that tells its kind
        for kind in task_kinds(task) if task.skip is None else (None,):
            self.add_marker(
                pytest.mark.lighteval(
                    suite=key.suite,
                    task=key.task,
                    few_shots=key.few_shots,
                    truncate=key.truncate,
                    kind=kind and kind.value,
                    group=task.superset,
                    language=task.language,
                )
            )
        if task.skip:
            self.add_marker(pytest.mark.skip(reason=task.skip))

    @property
    def id(self) -> Any:
        """What pytest 9.2 compares in `--lf`: the few-shot count is the parameter there, as in an id read back from text.

        A `Function` takes parameters from a parametrization alone, which a task has not.
        """
        collector: Any = self.parent
        return collector.id.child(self.task.name).with_params(self.parameter)

    @property
    def parameter(self) -> str:
        """What stands in the brackets of its id."""
        return _shots(self.key)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the task is declared."""
        return self.path, self.task.line - 1, self.name


class ReferenceItem(pytest.Function):
    """The same task, measured with the reference model. Its score is not judged."""

    def __init__(self, *, task: Task, key: TaskKey, **kwargs: Any) -> None:
        super().__init__(callobj=run_reference, **kwargs)
        self.task = task
        self.key = key

    @property
    def id(self) -> Any:
        """As a task's."""
        collector: Any = self.parent
        return collector.id.child(self.task.name).with_params(f"{_shots(self.key)}-{REFERENCE}")

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the task is declared."""
        return self.path, self.task.line - 1, self.name


class AnswersItem(pytest.Function):
    """The model's answers to a judged task, before any of them is judged: the task's own item does that, after all other items."""

    def __init__(self, *, task: Task, key: TaskKey, **kwargs: Any) -> None:
        super().__init__(callobj=run_answers, **kwargs)
        self.task = task
        self.key = key

    @property
    def id(self) -> Any:
        """As a task's."""
        collector: Any = self.parent
        return collector.id.child(self.task.name).with_params(f"{_shots(self.key)}-{ANSWERS}")

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the task is declared."""
        return self.path, self.task.line - 1, self.name


def is_judged_item(item: pytest.Item) -> bool:
    """Whether it is the own item of a judged task."""
    return isinstance(item, TaskItem) and is_judged(item.task)


def put_judged_last(items: list[pytest.Item]) -> None:
    """Let the model answer every judged task in its turn, and judge the answers after all other items: one model is in memory at a time."""
    judged = [item for item in items if isinstance(item, TaskItem) and is_judged_item(item)]
    answers = {
        item: AnswersItem.from_parent(item.parent, name=f"{item.task.name}[{_shots(item.key)}-{ANSWERS}]", task=item.task, key=item.key)
        for item in judged
    }
    items[:] = [answers.get(item, item) if isinstance(item, TaskItem) else item for item in items]
    items += judged


def run_answers(lighteval_answers: None) -> None:
    """The set-up asks; there is nothing to judge yet."""


def put_references_first(items: list[pytest.Item]) -> None:
    """Let the reference measure every selected task before any other item, so that one model is in memory at a time."""
    tasks = [item for item in items if isinstance(item, TaskItem) and item.task.skip is None]
    items[:0] = [
        ReferenceItem.from_parent(
            item.parent,
            name=f"{item.task.name}[{_shots(item.key)}-{REFERENCE}]",
            task=item.task,
            key=item.key,
        )
        for item in tasks
    ]


def run_reference(lighteval_reference_result: TaskResult) -> None:
    """The set-up measures; there is nothing to judge."""


def run_task(lighteval_result: TaskResult, lighteval_verdicts: tuple[Verdict, ...]) -> None:
    """Judge what the set-up measured: a broken engine is then an error, and a lost score a failure."""
    judge_item(lighteval_result, lighteval_verdicts)


def judge_item(result: TaskResult, verdicts: tuple[Verdict, ...]) -> None:
    """Fail, or fail as expected, as the verdicts of a result say."""
    failed = [failure_text(verdict) for verdict in verdicts if verdict.outcome == "failed"]
    waived = [verdict.message for verdict in verdicts if verdict.outcome == "waived"]
    if waived and not failed:
        pytest.xfail("; ".join(waived))
    if failed or waived:
        # with --runxfail nothing is expected to fail
        pytest.fail(f"{result.key}: " + "; ".join([*failed, *waived]), pytrace=False)
