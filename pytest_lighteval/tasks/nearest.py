"""What a wrong name or path may have meant: suites, files and tasks with names that are near. Asked only when something is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from pytest_lighteval.errors import did_you_mean, near_names
from pytest_lighteval.tasks import SUITE_SUFFIXES
from pytest_lighteval.tasks.catalogue import Catalogue
from pytest_lighteval.tasks.task_spec import TaskSpec
from pytest_lighteval.types import Task

_MOST = 3
"""Suggestions."""


def specs_meant(text: str, catalogue: Catalogue) -> str:
    """` (did you mean 'leaderboard|gsm8k|5|0' or ...?)` for a text that is no spec, as `near_specs`. Empty: no task has such a name."""
    shown = [repr(spec) for spec in near_specs(text, catalogue)][:_MOST]
    return f" (did you mean {' or '.join(shown)}?)" if shown else ""


def near_specs(text: str, catalogue: Catalogue) -> list[str]:
    """The specs that a text may mean that is none, of the tasks of this name or else of the nearest one.

    It may be `gsm8k`, `gsm8k|5` as newer Lighteval writes it, or `leaderboard|gsm8k` without a count.
    A count that the text has is kept; otherwise it is the task's own.
    """
    tasks = _tasks_by_name(catalogue)
    name, _, rest = (part.strip() for part in text.partition("|"))
    if rest and any(task.suite == name for named in tasks.values() for task in named):
        tasks = {known: kept for known, named in tasks.items() if (kept := [task for task in named if task.suite == name])}
        name, _, rest = (part.strip() for part in rest.partition("|"))
    count, _, truncate = rest.partition("|")
    if name not in tasks:
        tasks |= _by_name(_of_families(name, catalogue))
    found = [(known, task) for known in ([name] if name in tasks else near_names(name, tasks, most=1)) for task in tasks[known]]
    specs = [
        f"{task.suite}|{known}|{count if count.isdecimal() else task.few_shots[0]}|{truncate if truncate in ('0', '1') else 0}"
        for known, task in found
    ]
    return list(dict.fromkeys(specs))


def path_meant(argument: str, folder: Path, catalogue: Catalogue) -> str:
    """` (did you mean 'suites/leaderboard'?)` for a path that does not exist: shipped suites, and what lies beside it."""
    name = argument.removeprefix("./").rstrip("/")
    shipped = [catalogue.shown(path) or "" for path in _below(catalogue.shipped)]
    beside = (folder / name).parent
    own = [str(Path(name).parent / entry.name) for entry in beside.iterdir()] if beside.is_dir() else []
    known = [*shipped, *own]
    # a suite by its bare name, or with the other suffix
    exact = [path for path in known if path.removeprefix("suites/") == name or Path(path).with_suffix("") == Path(name).with_suffix("")]
    return did_you_mean(exact[0], exact) if exact else did_you_mean(name, known)


def item_meant(name: str, tasks: list[Task], counts: dict[str, list[str]]) -> str | None:
    """Why `name` of `file.yaml::name` is no item, with the nearest ones. None: it is one.

    `counts`: the ids of a task's items, such as `gsm8k[5-shot]`, by its name.
    """
    base = name.partition("[")[0]
    if base not in counts:
        return f"no task {base!r} in this file{did_you_mean(base, [task.name for task in tasks])}"
    return None if name in (base, *counts[base]) else f"{base} runs as {', '.join(counts[base]) or 'nothing'}"


def _of_families(name: str, catalogue: Catalogue) -> list[Task]:
    """The task of many languages of this name, or of the nearest one in the families that may have it."""
    spec = TaskSpec(suite="lighteval", task=name, few_shots=0)
    found = list(catalogue.of_families([spec]))
    near = [] if found else near_names(name, catalogue.family_names(spec), most=1)
    return found or list(catalogue.of_families([replace(spec, task=one) for one in near]))


def _tasks_by_name(catalogue: Catalogue) -> dict[str, list[Task]]:
    """Every task but those of families, as `_by_name`."""
    return _by_name(catalogue.every_task())


def _by_name(tasks: Iterable[Task]) -> dict[str, list[Task]]:
    """By name, aliases and superset; of a superset, one of its tasks."""
    named: dict[str, list[Task]] = {}
    for task in tasks:
        for name in dict.fromkeys((task.name, *task.aliases, task.name.partition(":")[0])):
            if all(other.suite != task.suite for other in named.setdefault(name, [])):
                named[name].append(task)
    return named


def _below(root: Path) -> Iterator[Path]:
    """Folders and suite files."""
    yield from (path for path in sorted(root.rglob("*")) if path.is_dir() or path.suffix in SUITE_SUFFIXES)


def files_of(names: dict[Path, list[str]], catalogue: Catalogue, folder: Path) -> str:
    """Where tasks are, in words: `leaderboard|gsm8k is in suites/leaderboard/gsm8k.yaml`; two at most."""
    parts = [f"{ids[0]} is in {catalogue.shown(path) or _relative(path, folder)}" for path, ids in names.items()]
    return ", ".join([*parts[:2], *(["..."] if len(parts) > 2 else [])])


def _relative(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)
