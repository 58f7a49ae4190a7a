"""What one pytest session evaluates: its settings, the suites it may claim, and the few-shot counts that each task runs at."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pytest_lighteval.backends.classifier.text_classifier import TextClassifier
from pytest_lighteval.backends.common.user_cache import cache_home
from pytest_lighteval.data.data_sets import DataSets
from pytest_lighteval.data.row_cache import RowCache
from pytest_lighteval.errors import LightevalError, UserInputError
from pytest_lighteval.gates.gate_file import check_gates
from pytest_lighteval.gates.judge import Judge
from pytest_lighteval.gates.waivers import check_waivers
from pytest_lighteval.graders.classifier import ClassifierGrader
from pytest_lighteval.guests.lm_eval.source import LmEvalTasks
from pytest_lighteval.plugin.cache import SessionCache
from pytest_lighteval.plugin.check_settings import MARK
from pytest_lighteval.plugin.custom_tasks import read_custom_tasks
from pytest_lighteval.plugin.judging import Judging
from pytest_lighteval.plugin.options import OPTIONS, has_own_backend, is_asked_to_evaluate, value_of
from pytest_lighteval.plugin.red_gates import red_gates
from pytest_lighteval.plugin.reference import Reference
from pytest_lighteval.plugin.sandboxes import SessionSandbox
from pytest_lighteval.plugin.secret_texts import SecretTexts, mask_likely, secret_texts
from pytest_lighteval.plugin.settings import Settings, check_rootdir, read_settings
from pytest_lighteval.plugin.torchrun import is_beside_first, scratch_folder
from pytest_lighteval.plugin.workers import is_worker, may_use_cache, newest_answer_of_controller, start_of
from pytest_lighteval.reports.printable import printable
from pytest_lighteval.reports.run_folder import run_folder
from pytest_lighteval.reports.serialize import to_plain
from pytest_lighteval.tasks import SUITE_SUFFIXES
from pytest_lighteval.tasks.catalogue import Catalogue
from pytest_lighteval.tasks.nearest import files_of, item_meant, path_meant, specs_meant
from pytest_lighteval.tasks.task_spec import Selected, SpecError
from pytest_lighteval.types import Grader, Task, TaskKey


@dataclass(slots=True, kw_only=True)
class Session:
    """The session's settings and what follows from them, in the controller and in every worker alike."""

    settings: Settings
    has_own_backend: bool
    """A conftest defines `lighteval_backend`."""
    catalogue: Catalogue
    roots: tuple[Path, ...]
    """Folders whose YAML files are suites."""
    named: tuple[Path, ...]
    """Files of the command line, and with a backend (of the options or a conftest) folders, but not the project's own."""
    arguments: tuple[str, ...] | None
    """What pytest collects in place of its own arguments, for `--tasks` and shipped suites. None: its own arguments."""
    selected: dict[str, list[Selected]] | None
    """`suite|task` -> what `--tasks` asks of it. None: everything that is collected runs."""
    asked: tuple[Path, ...]
    """Files of `--tasks`, and what the command line names: families of many languages are collected only there."""
    data_sets: DataSets
    run_folder: Path
    """The run's folder, the same in the controller and in its workers. It is made when the first file is written into it."""
    writes_reports: bool
    """False in workers of xdist and in the silent processes of torchrun."""
    cache: SessionCache
    sandbox: SessionSandbox
    """Where programs run that the model writes."""
    secrets: SecretTexts = field(repr=False)
    """Keys, which are shown nowhere."""
    judging: Judging
    """The models that judge answers, once a fixture made them."""
    judge: Judge
    """What the scores are held to; of the items that are left after deselection, once they are known."""
    declared: dict[TaskKey, str] = field(default_factory=dict)
    """Which file an item comes from, so that two files cannot declare the same one."""
    is_planned: bool = False
    """The items are known."""
    asked_ahead: set[TaskKey] = field(default_factory=set)
    """Items whose requests a pool got before their turn."""
    classifier: Grader | None = None
    """What marks texts for the metrics of a classifier. None: nothing does."""
    expand: Callable[[pytest.Collector, Task, TaskKey], Iterable[pytest.Item]] | None = None
    """Makes the items of a task where there are several, one for each checkpoint. None: there is one."""
    reference: Reference | None = None
    """The model that the session's is compared with, once a fixture made it."""

    @property
    def header(self) -> str:
        """One line for the top of pytest's output."""
        if self.settings.checks is not None:
            data = f", data from {self.settings.data_home}" if self.settings.data_home else ""
            return f"lighteval: checks benchmarks without a model; a finding of severity {self.settings.checks.fail_on} fails a task{data}"
        evaluation, own = self.settings.evaluation, "backend of the project's conftest" if self.has_own_backend else "no backend"
        answers = self.settings.judge.answers
        facts = [
            f"backend {self.settings.backend}" if self.settings.backend else f"answers of {answers.name}" if answers else own,
            f"judged by {', '.join(judge.shown for judge in self.settings.judge.judges)}" if self.settings.judge.judges else "",
            f"{evaluation.max_samples} documents a task" if evaluation.max_samples else "",
            "chat template" if evaluation.use_chat_template else "",
            f"{evaluation.few_shot_seeds} few-shot seeds" if evaluation.few_shot_seeds > 1 else "",
            f"data from {self.settings.data_home}" if self.settings.data_home else "",
            f"against {', '.join(self.settings.gate.baseline_names)}" if self.settings.gate.baselines else "",
        ]
        return "lighteval: " + ", ".join(fact for fact in facts if fact)

    def is_suite(self, path: Path) -> bool:
        """Whether a YAML file must be a suite. A family of many languages is one where it, or a folder of families, is named."""
        families = self.catalogue.families
        if families.holds(path) and not any(families.holds(place) and path.is_relative_to(place) for place in self.asked):
            return False
        return any(path.is_relative_to(root) for root in self.roots)

    def may_be_suite(self, path: Path) -> bool:
        """Whether it is one if it looks like one: it, or a folder above it, is named on the command line of a session with a backend."""
        return not self.catalogue.families.holds(path) and any(path.is_relative_to(folder) for folder in self.named)

    def tasks_of(self, path: Path) -> list[Task]:
        """The tasks of a file that the session collects there. Raises FileError."""
        if self.selected is None:
            return self.catalogue.load(path)
        chosen = {one[0].task.name for one in self.selected.values() if one[0].task.path.resolve() == path.resolve()}
        return self.catalogue.load(path, wanted=chosen.__contains__)

    def counts(self, task: Task) -> Sequence[tuple[int, bool]]:
        """Few-shot counts and truncation flags that a task runs at, once each."""
        if self.selected is not None:
            return [(chosen.few_shots, chosen.truncate) for chosen in self.selected.get(task.id, ())]
        return [(count, False) for count in dict.fromkeys(self.settings.few_shots or task.few_shots)]


def shots_text(few_shots: int, truncate: bool) -> str:
    """What is in the brackets of an item's id: `5-shot`, `5-shot-trunc`."""
    return f"{few_shots}-shot" + ("-trunc" if truncate else "")


_SESSION = pytest.StashKey[Session]()


def find_session(config: pytest.Config) -> Session | None:
    """The session that was made. None: this one does not evaluate models."""
    return config.stash.get(_SESSION, None)


def session_of(config: pytest.Config) -> Session:
    """The session that was made."""
    return config.stash[_SESSION]


def make_session(config: pytest.Config) -> Session:
    """Read the options of a session and find what it evaluates. Raises pytest.UsageError for whatever the user wrote wrong."""
    own = tuple(config.rootpath / root for root in config.getini("lighteval_suites")) or (config.rootpath / "suites",)
    try:
        try:
            session = config.stash[_SESSION] = _make_session(config, own)
        except SpecError as error:
            raise UserInputError(f"{error}{specs_meant(error.spec, _known(config, own))}") from error
        _check_items(config, session)
    except LightevalError as error:
        raise pytest.UsageError(printable(mask_likely(str(error)))) from error
    return session


def _known(config: pytest.Config, own: tuple[Path, ...]) -> Catalogue:
    """Every task that the session could name, for the message of a spec that is none."""
    names = next(value_of(config, option) for option in OPTIONS if option.name == "custom-tasks")
    custom = read_custom_tasks(names or (), config.invocation_params.dir)
    return Catalogue((*own, *custom.folders), custom.readers)


def _make_session(config: pytest.Config, own: tuple[Path, ...]) -> Session:
    """`own`: the project's folders of suites."""
    start = start_of(config)
    settings = read_settings(config, today=start.time.date())
    is_named = config.args_source is config.ArgsSource.ARGS
    if is_named:
        _check_arguments(config)
    else:
        check_rootdir(config)
    folders = settings.custom_tasks.folders
    guests = LmEvalTasks(
        cache=cache_home() if settings.cache is None else settings.cache.folder, data_home=settings.data_home, folders=folders
    )
    catalogue = Catalogue((*own, *folders), settings.custom_tasks.readers, guests)
    if settings.gate.file is not None:
        check_gates(settings.gate.file, catalogue)
    if settings.gate.waivers is not None:
        check_waivers(settings.gate.waivers, catalogue)
    arguments: Sequence[str] | None = None
    selected: dict[str, list[Selected]] | None = None
    if settings.specs:
        by_file = catalogue.select(settings.specs, settings.few_shots)
        selected = {}
        for chosen in (chosen for file in by_file.values() for chosen in file):
            selected.setdefault(chosen.task.id, []).append(chosen)
        arguments = [str(path) for path in by_file]
    elif settings.custom_tasks:
        arguments = [str(path) for path in settings.custom_tasks.paths]
    if is_named:
        arguments = [_shipped(argument, config.invocation_params.dir, catalogue) for argument in config.args]
        _check_paths(config, arguments, catalogue, by_file if settings.specs else {})
    asked = [*_named_paths(config, arguments or config.args)] if is_named else []
    if selected is not None:
        asked += {chosen.task.path.resolve(): None for found in selected.values() for chosen in found}
    owns, cache = has_own_backend(config), settings.cache if may_use_cache(config) else None
    classifier = None if settings.toxicity_classifier is None else ClassifierGrader(TextClassifier(settings.toxicity_classifier))
    if classifier is not None:
        config.add_cleanup(classifier.close)
    is_silent = is_beside_first() and settings.backend is not None
    place = scratch_folder(config) if is_silent else run_folder(settings.report_dir, start.time, settings.label, start.token)
    session_cache = SessionCache(cache, newest=newest_answer_of_controller(config), on_close=config.add_cleanup)
    against = settings.against
    return Session(
        settings=settings,
        has_own_backend=owns,
        catalogue=catalogue,
        # where nothing but a conftest asks for suites, the user must name them: other tests are not to wait for a model
        roots=(*(own if is_asked_to_evaluate(config) else ()), *settings.custom_tasks.paths, catalogue.shipped, guests.path),
        named=tuple(path for path in _named_paths(config, arguments or ()) if _may_hold_suites(path, config, settings)) if is_named else (),
        arguments=None if arguments is None or [*arguments] == config.args else tuple(arguments),
        selected=selected,
        asked=tuple(asked),
        data_sets=DataSets(
            data_home=settings.data_home,
            row_cache=None if settings.cache is None else RowCache(settings.cache.folder / "data", limit_bytes=settings.cache.limit_bytes),
        ),
        run_folder=place,
        judging=Judging(settings.judge, session_cache, place),
        writes_reports=not (is_silent or is_worker(config)),
        secrets=secret_texts(
            [settings.arguments, against.arguments if against else None, *(judge.arguments for judge in settings.judge.judges)], os.environ
        ),
        judge=Judge(gate=settings.gate, settings=to_plain(settings.evaluation), red=red_gates(config, allowed=settings.gate.allowed)),
        classifier=classifier,
        cache=session_cache,
        sandbox=SessionSandbox(
            settings.sandbox,
            config,
            verdicts=None if settings.cache is None else settings.cache.folder / "verdicts",
            limit_bytes=0 if settings.cache is None else settings.cache.limit_bytes,
        ),
    )


def _check_arguments(config: pytest.Config) -> None:
    """Raise UserInputError for a spec, or a file of them, that is given without `--tasks`."""
    for argument in config.args:
        path = config.invocation_params.dir / argument
        if "::" not in argument and argument.count("|") >= 2 and not path.exists():
            raise UserInputError(f"{argument}: pytest takes it for a path; write --tasks '{argument}'")
        if path.suffix == ".txt" and path.is_file():
            lines = (line.strip() for line in path.read_text("utf-8", errors="replace").splitlines())
            first = next((line for line in lines if line and not line.startswith("#")), "")
            if first.count("|") >= 2:
                raise UserInputError(f"{argument}: pytest takes it for a file of tests; write --tasks ./{argument.removeprefix('./')}")


def _check_paths(
    config: pytest.Config, arguments: Sequence[str], catalogue: Catalogue, selected: Mapping[Path, Sequence[Selected]]
) -> None:
    """Raise UserInputError for a path to suites that is not there, and for paths of which none has a task of `--tasks`."""
    folder = config.invocation_params.dir
    if config.getoption("pyargs"):
        return
    for argument, path in zip(arguments, _named_paths(config, arguments), strict=True):
        name = argument.partition("::")[0]
        near = "" if path.exists() else path_meant(name, folder, catalogue)
        if not path.exists() and (near or name.startswith("suites/")):
            raise UserInputError(f"{name}: there is no such file or folder, and no such shipped suite{near}")
    places = [*_named_paths(config, arguments)]
    if selected and not any(file.is_relative_to(place) for file in selected for place in places):
        where = files_of({file: [chosen.task.id for chosen in found] for file, found in selected.items()}, catalogue, config.rootpath)
        raise UserInputError(f"{' '.join(config.args)}: none of the tasks of --tasks is there ({where}): leave the path out")


def _check_items(config: pytest.Config, session: Session) -> None:
    """Raise UserInputError for `file.yaml::name` where the file has no such item. A file that is broken says so when it is collected."""
    for argument in session.arguments or config.args:
        path, _, name = argument.partition("::")
        file = (config.invocation_params.dir / path).resolve()
        is_suite = session.catalogue.is_module(file) or file.suffix in SUITE_SUFFIXES
        if not name or not is_suite or not (session.is_suite(file) and file.is_file()):
            continue
        try:
            tasks = session.catalogue.load(file)
        except LightevalError:
            continue
        marks = {task.name: [shots_text(*counts) for counts in session.counts(task)] for task in tasks}
        if session.settings.checks is not None:
            marks = {task.name: [MARK] for task in tasks}
        items = {task: [f"{task}[{mark}]" for mark in found] for task, found in marks.items()}
        if problem := item_meant(name, tasks, items):
            raise UserInputError(f"{session.catalogue.shown(file) or path}::{name}: {problem}")


def _named_paths(config: pytest.Config, arguments: Sequence[str]) -> Iterator[Path]:
    for argument in arguments:
        yield (config.invocation_params.dir / argument.partition("::")[0]).resolve()


def _may_hold_suites(path: Path, config: pytest.Config, settings: Settings) -> bool:
    """A file, any folder for the linter or once a backend is chosen, and with a conftest's backend a folder inside of the project."""
    if settings.checks is not None:
        return True
    return path.is_file() or settings.backend is not None or (has_own_backend(config) and not config.rootpath.is_relative_to(path))


def _shipped(argument: str, folder: Path, catalogue: Catalogue) -> str:
    """`suites/leaderboard` means the shipped suite where there is no such folder; everything else stays."""
    path, colons, rest = argument.partition("::")
    if not f"{path}/".startswith("suites/") or (folder / path).exists():
        return argument
    shipped = catalogue.shipped / path.removeprefix("suites").lstrip("/")
    return f"{shipped}{colons}{rest}" if shipped.exists() else argument
