"""Suite files as pytest modules, their tasks as pytest functions: every fixture, mark and selection of pytest works on them."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.errors import LightevalError
from pytest_lighteval.evaluate import task_kinds
from pytest_lighteval.plugin.session import PLAN, plan_of
from pytest_lighteval.types import Task, TaskKey, TaskResult, Verdict

REFERENCE = "reference"
"""At the end of a reference item's name, in its bracket."""


def collect_file(path: Path, parent: pytest.Collector) -> SuiteFile | None:
    """The collector of a suite file. None: the file is not ours to claim."""
    plan = plan_of(parent.config)
    if not plan.is_suite(path) and not (plan.may_be_suite(path) and _looks_like_a_suite(path)):
        return None
    shown = plan.catalogue.shown(path)
    # a shipped file is called the same wherever it is installed; None lets pytest name the others
    suite: SuiteFile = SuiteFile.from_parent(parent, path=path, nodeid=shown)
    return suite


def _looks_like_a_suite(path: Path) -> bool:
    """Other plugins have YAML files of their own, which may be named on the command line as well."""
    try:
        return re.search(r"^tasks\s*:", path.read_text("utf-8"), re.MULTILINE) is not None
    except UnicodeDecodeError:
        return True  # to be told what is wrong with it
    except OSError:
        return False


class SuiteFile(pytest.Module):
    """A suite file. A Module, as module-scoped fixtures need one above them; there is no Python object behind it."""

    obj = None

    def collect(self) -> Iterator[TaskItem]:
        """The file's tasks, one item for each few-shot count, in file order."""
        plan = self.config.stash[PLAN]
        try:
            tasks = plan.catalogue.load(self.path)
        except LightevalError as error:
            raise self.CollectError(str(error)) from None
        for task in tasks:
            for few_shots, truncate in plan.counts(task):
                key = TaskKey(suite=task.suite, task=task.name, few_shots=few_shots, truncate=truncate)
                if (other := plan.declared.setdefault(key, self.nodeid)) != self.nodeid:
                    raise self.CollectError(f"{self.nodeid}:{task.line}: {task.id} is declared in {other} too")
                yield TaskItem.from_parent(self, name=f"{task.name}[{_shots(key)}]", task=task, key=key)


def _shots(key: TaskKey) -> str:
    return f"{key.few_shots}-shot" + ("-trunc" if key.truncate else "")


def key_of(config: pytest.Config, nodeid: str) -> TaskKey | None:
    """The key of an item whose id is all that is known of it. None: it is no suite's item."""
    found = task_of(config, nodeid)
    return None if found is None else found[0]


def task_of(config: pytest.Config, nodeid: str) -> tuple[TaskKey, Task] | None:
    """The same with its task."""
    path, _, name = nodeid.partition("::")
    parts = re.fullmatch(r"(.+)\[(\d+)-shot(-trunc)?\]", name)
    if parts is None or PLAN not in config.stash:
        return None
    for file in _files(config, path):
        try:
            tasks = config.stash[PLAN].catalogue.load(file)
        except LightevalError:
            continue
        for task in tasks:
            if task.name == parts[1]:
                key = TaskKey(suite=task.suite, task=task.name, few_shots=int(parts[2]), truncate=parts[3] is not None)
                return key, task
    return None


def _files(config: pytest.Config, path: str) -> Iterator[Path]:
    """The files that pytest may have named so: beside the ini file, below a folder that was named, or shipped."""
    plan = config.stash[PLAN]
    folders = [folder if folder.is_dir() else folder.parent for folder in (*plan.named, *plan.roots)]
    candidates = [config.rootpath, *folders, *(folder.parent for folder in folders)]
    yield from dict.fromkeys(found for folder in candidates if (found := folder / path).is_file())
    if not path:  # a named file outside the rootdir has no other name to pytest than its being named
        yield from (file for file in plan.named if file.is_file())
    if (shipped := plan.catalogue.shipped / path.removeprefix("suites/")).is_file():
        yield shipped


class TaskItem(pytest.Function):
    """One task at one few-shot count: pytest fills the fixtures of `run_task` and calls it."""

    def __init__(self, *, task: Task, key: TaskKey, **kwargs: Any) -> None:
        super().__init__(callobj=run_task, **kwargs)
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
        return collector.id.child(self.task.name).with_params(_shots(self.key))

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the task is declared."""
        return self.path, self.task.line - 1, self.name


class ReferenceItem(pytest.Function):
    """The same task, measured with the reference model that the session's is held against. It has no score to be judged."""

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


class ReferencesFirst:
    """Registered in recovery mode, after pytest's own plugins: what `--lf` and the like leave out is then left out already."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Generator[None]:
        """The reference goes first, over what is left after deselection."""
        yield
        put_references_first(items)

    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """Its model leaves the memory with the last of its items, before anything else makes a model, be it a fixture of the user's own."""
        reference = getattr(item, "funcargs", {}).get("lighteval_reference") if isinstance(item, ReferenceItem) else None
        if reference is not None and not isinstance(nextitem, ReferenceItem):
            reference.release()


def put_references_first(items: list[pytest.Item]) -> None:
    """Let the reference measure every selected task before any other item, so that one model is in memory at a time."""
    tasks = [item for item in items if isinstance(item, TaskItem) and item.task.skip is None]
    items[:0] = [
        ReferenceItem.from_parent(item.parent, name=f"{item.task.name}[{_shots(item.key)}-{REFERENCE}]", task=item.task, key=item.key)
        for item in tasks
    ]


def run_reference(lighteval_reference_result: TaskResult) -> None:
    """Measuring is the set-up; nobody judges a reference."""


def run_task(lighteval_result: TaskResult, lighteval_verdicts: tuple[Verdict, ...]) -> None:
    """Judge what was measured; the measuring itself is the set-up, so that a broken engine is an error and a lost score a failure."""
    failed = [verdict.message for verdict in lighteval_verdicts if verdict.outcome == "failed"]
    waived = [verdict.message for verdict in lighteval_verdicts if verdict.outcome == "waived"]
    if waived and not failed:
        pytest.xfail(f"{lighteval_result.key}: " + "; ".join(waived))
    if failed or waived:
        # with --runxfail nothing is expected to fail
        pytest.fail(f"{lighteval_result.key}: " + "; ".join([*failed, *waived]), pytrace=False)
