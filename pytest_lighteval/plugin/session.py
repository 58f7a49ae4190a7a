"""What one pytest session evaluates: its settings, the suites it may claim and the counts that each task runs at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pytest_lighteval.data.data_sets import DataSets
from pytest_lighteval.data.row_cache import RowCache
from pytest_lighteval.errors import LightevalError
from pytest_lighteval.gates.gate_file import check_gates
from pytest_lighteval.gates.plan import GatePlan
from pytest_lighteval.plugin.options import is_in_use
from pytest_lighteval.plugin.settings import CacheSettings, Settings, check_rootdir, read_settings
from pytest_lighteval.plugin.xdist_hooks import controllers_day
from pytest_lighteval.tasks.catalogue import Catalogue
from pytest_lighteval.tasks.task_spec import Selected
from pytest_lighteval.types import Task, TaskKey


@dataclass(slots=True, kw_only=True)
class Plan:
    """The session's settings and what follows from them, in the controller and in every worker alike."""

    settings: Settings
    catalogue: Catalogue
    roots: tuple[Path, ...]
    """Folders whose YAML files are suites."""
    named: tuple[Path, ...]
    """Files, and with a backend folders, of the command line."""
    selected: dict[str, list[Selected]] | None
    """`suite|task` -> what `--tasks` asks of it. None: everything that is collected runs."""
    data_sets: DataSets
    declared: dict[TaskKey, str] = field(default_factory=dict)
    """Which file an item comes from, so that two files cannot declare the same one."""
    items: tuple[tuple[TaskKey, Task], ...] | None = None
    """What is left after deselection. None: nothing was collected yet."""
    gates: GatePlan | None = None
    """What is held against the baseline, known once the items are. None: there is no baseline, or nothing was collected yet."""

    @property
    def header(self) -> str:
        """One line for the top of pytest's output."""
        evaluation = self.settings.evaluation
        facts = [
            f"backend {self.settings.backend}" if self.settings.backend else "backend of the project's own conftest, or none",
            f"{evaluation.max_samples} documents a task" if evaluation.max_samples else "",
            "chat template" if evaluation.use_chat_template else "",
            f"{evaluation.few_shot_seeds} few-shot seeds" if evaluation.few_shot_seeds > 1 else "",
            f"data from {self.settings.data_home}" if self.settings.data_home else "",
            f"against {', '.join(self.settings.gate.baseline_names)}" if self.settings.gate.baselines else "",
        ]
        return "lighteval: " + ", ".join(fact for fact in facts if fact)

    def is_suite(self, path: Path) -> bool:
        """Whether a YAML file must be a suite."""
        return any(path.is_relative_to(root) for root in self.roots)

    def may_be_suite(self, path: Path) -> bool:
        """Whether it is one if it looks like one: it, or a folder above it, is named on the command line of a session with a backend."""
        return any(path.is_relative_to(folder) for folder in self.named)

    def counts(self, task: Task) -> Sequence[tuple[int, bool]]:
        """Few-shot counts and truncation flags that a task runs at, once each."""
        if self.selected is not None:
            return [(chosen.few_shots, chosen.truncate) for chosen in self.selected.get(task.id, ())]
        return [(count, False) for count in dict.fromkeys(self.settings.few_shots or task.few_shots)]


PLAN = pytest.StashKey[Plan]()


def plan_of(config: pytest.Config) -> Plan:
    """The session's plan, made on first use; `--tasks` and shipped suites rewrite the session's arguments.

    Raises pytest.UsageError for whatever the user wrote wrong.
    """
    if PLAN not in config.stash:
        try:
            config.stash[PLAN] = _make_plan(config)
        except LightevalError as error:
            raise pytest.UsageError(str(error)) from error
    return config.stash[PLAN]


def _make_plan(config: pytest.Config) -> Plan:
    settings = read_settings(config, today=controllers_day(config))
    if config.args_source is not config.ArgsSource.ARGS:
        check_rootdir(config)
    named = config.args_source is config.ArgsSource.ARGS
    roots = [config.rootpath / root for root in config.getini("lighteval_suites")]
    if not roots and is_in_use(config):
        roots = [config.rootpath / "suites"]
    roots += settings.custom_tasks
    catalogue = Catalogue(roots)
    if settings.gate.file is not None:
        check_gates(settings.gate.file, catalogue)
    selected: dict[str, list[Selected]] | None = None
    if settings.specs:
        by_file = catalogue.select(settings.specs)
        selected = {}
        for chosen in (chosen for file in by_file.values() for chosen in file):
            selected.setdefault(chosen.task.id, []).append(chosen)
        if not named:
            config.args = [str(path) for path in by_file]
    elif settings.custom_tasks and not named:
        config.args = [str(folder) for folder in settings.custom_tasks]
    if named:
        config.args = [_shipped(argument, config.invocation_params.dir, catalogue) for argument in config.args]
    return Plan(
        settings=settings,
        catalogue=catalogue,
        roots=(*roots, catalogue.shipped),
        named=tuple(_named_paths(config, folders=settings.backend is not None)),
        selected=selected,
        data_sets=DataSets(data_home=settings.data_home, row_cache=_row_cache(settings.cache)),
    )


def _row_cache(cache: CacheSettings | None) -> RowCache | None:
    return None if cache is None else RowCache(cache.folder / "data", limit_bytes=cache.limit_bytes)


def _named_paths(config: pytest.Config, *, folders: bool) -> Iterator[Path]:
    for argument in config.args if config.args_source is config.ArgsSource.ARGS else ():
        path = (config.invocation_params.dir / argument.partition("::")[0]).resolve()
        if folders or path.is_file():
            yield path


def _shipped(argument: str, folder: Path, catalogue: Catalogue) -> str:
    """`suites/leaderboard` means the shipped suite where there is no such folder; everything else stays."""
    path, colons, rest = argument.partition("::")
    if not path.startswith("suites/") or (folder / path).exists():
        return argument
    shipped = catalogue.shipped.parent / path if catalogue.shipped.name == "suites" else catalogue.shipped / path.removeprefix("suites/")
    return f"{shipped}{colons}{rest}" if shipped.exists() else argument
