"""Reads a Python module of tasks that was written for Lighteval: `TASKS_TABLE`, in either dialect, as `Task`s."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import random
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from pytest_lighteval.errors import FileError, UserInputError, did_you_mean, in_one_line
from pytest_lighteval.guests.lighteval.config import LightevalTaskConfig
from pytest_lighteval.guests.lighteval.default_prompts import DeclaredPrompt
from pytest_lighteval.guests.lighteval.documents import FIELDS, as_list, as_row
from pytest_lighteval.guests.lighteval.judges import judge_of
from pytest_lighteval.guests.lighteval.known_metrics import KnownMetric, known_metric
from pytest_lighteval.guests.lighteval.metric_names import MetricName
from pytest_lighteval.guests.lighteval.metric_objects import MetricCategory, MetricObject
from pytest_lighteval.guests.lighteval.own_metrics import as_metric
from pytest_lighteval.guests.lighteval.stand_ins import stand_ins
from pytest_lighteval.metrics import metric_names
from pytest_lighteval.tasks.suite_file import task_name
from pytest_lighteval.types import FewShotsSelect, Metric, PromptTemplate, Task, TaskCode

_PROMPT: Mapping[str, Any] = {name: "{{ " + name + " }}" for name in FIELDS}
DEFAULT_SUITE = "custom"
"""Of tasks that name none, as in Lighteval."""


def find_module(name: str, folder: Path) -> Path | None:
    """The file of a module that the user names: a path that ends in `.py`, or a dotted name. None: it is neither.

    Raises UserInputError for a file or module that is not there.
    """
    if name.endswith(".py"):
        path = (folder / name).resolve()
        if not path.is_file():
            raise UserInputError(f"--custom-tasks {name}: no such file")
        return path
    if (folder / name).exists() or not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", name):
        return None
    with stand_ins(), _importable(folder):
        try:
            spec = importlib.util.find_spec(name)
        except Exception as error:  # a package above it is the user's code: anything may come out
            raise UserInputError(f"--custom-tasks {name}: cannot be imported: {type(error).__name__}: {in_one_line(error)}") from error
    if spec is None or spec.origin is None:
        raise UserInputError(f"--custom-tasks {name}: neither a folder, a .py file nor a module that can be imported")
    return Path(spec.origin).resolve()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModule:
    """What a module declares."""

    tasks: tuple[Task, ...]
    """Of its `TASKS_TABLE`, in its order."""
    groups: Mapping[str, tuple[str, ...]]
    """Of its `TASKS_GROUPS`: name -> specs."""


def load_module(path: Path, *, written: str) -> LoadedModule:
    """Run a module, and read what it declares.

    Args:
        path: the module's file.
        written: how the user named it; a dotted name is imported under this name, so that its relative imports work.

    Raises:
        FileError: The module fails, or a task is wrong, at its line.
    """
    module = _run(path, None if written.endswith(".py") else written)
    table = getattr(module, "TASKS_TABLE", None)
    if not isinstance(table, list | tuple):
        raise FileError(path, 1, "TASKS_TABLE", "a list of LightevalTaskConfig is required" if table is not None else "the module has none")
    tasks: dict[str, Task] = {}
    for number, config in enumerate(table):
        if not isinstance(config, LightevalTaskConfig):
            raise FileError(path, 1, f"TASKS_TABLE[{number}]", f"is a {type(config).__name__}, where a LightevalTaskConfig is required")
        task = _Reader(path, written, config).task()
        other = tasks.setdefault(task.name, task)
        if other is not task:
            raise FileError(path, task.line, "name", f"{task.name!r} is the name of two tasks, in lines {other.line} and {task.line}")
    return LoadedModule(tasks=tuple(tasks.values()), groups=_groups(path, module))


def _groups(path: Path, module: ModuleType) -> dict[str, tuple[str, ...]]:
    groups = getattr(module, "TASKS_GROUPS", {})
    if not isinstance(groups, Mapping):
        raise FileError(path, 1, "TASKS_GROUPS", "a mapping of names to specs is required")
    listed = {name: specs.split(",") if isinstance(specs, str) else as_list(specs) for name, specs in groups.items()}
    return {str(name): tuple(spec.strip() for spec in map(str, specs) if spec.strip()) for name, specs in listed.items()}


def _run(path: Path, dotted: str | None) -> ModuleType:
    try:
        with stand_ins(), _importable(path.parent):
            if dotted is not None:
                sys.modules.pop(dotted, None)
                return importlib.import_module(dotted)
            name = f"_pytest_lighteval_tasks_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
            spec = importlib.util.spec_from_file_location(name, path)
            assert spec is not None
            assert spec.loader is not None
            module = sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    except SyntaxError as error:
        raise FileError(error.filename or path, error.lineno or 1, "", f"not Python: {error.msg}") from error
    except Exception as error:  # it is the user's code: anything may come out
        raise FileError(path, _line_of(error, path), "", f"{type(error).__name__}: {in_one_line(error)}") from error


def _line_of(error: BaseException, path: Path) -> int:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path) and frame.lineno]
    return lines[-1] if lines else 1


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Modules of the folder can be imported by their names."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


class _Reader:
    """One configuration as a `Task`."""

    def __init__(self, path: Path, written: str, config: LightevalTaskConfig) -> None:
        self.path, self.written, self.config = path, written, config
        self.line = config.lines.get(str(path), 1)

    def error(self, field: str, problem: str) -> FileError:
        return FileError(self.path, self.line, field, problem)

    def task(self) -> Task:
        config = self.config
        if not isinstance(config.name, str) or not config.name:
            raise self.error("name", f"{config.name!r} is no text")
        name = task_name(config.name)
        if name is None:
            raise self.error("name", f"{config.name!r} cannot be written in letters A-Z and digits: choose such a name")
        if not callable(config.prompt_function):
            raise self.error("prompt_function", f"{config.prompt_function!r} is no function")
        suites = self.texts("suite") or (DEFAULT_SUITE,)
        declared = config.prompt_function.task if isinstance(config.prompt_function, DeclaredPrompt) else None
        adapter = None if declared else _PromptFunction(config.prompt_function, f"{suites[0]}|{config.name}", config)
        metrics, own, skip, defect = self.metrics()
        files = self.data_files()
        splits = self.texts("few_shots_split")
        if len(splits) > 1:
            raise self.error("few_shots_split", f"names {len(splits)} splits, where one is required")
        return Task(
            suite=suites[0],
            name=name,
            prompt=declared.prompt
            if declared
            else PromptTemplate(adapter=f"{self.path.name}:{_name_of(config.prompt_function)}", **_PROMPT),
            metrics=metrics,
            path=self.path,
            line=self.line,
            hf_repo=None if files else config.hf_repo,
            data_files=files,
            hf_subset=config.hf_subset or None,
            hf_revision=config.hf_revision,
            hf_filter=declared.hf_filter if declared else None,
            hf_avail_splits=tuple(files) or self.texts("hf_avail_splits"),
            evaluation_splits=self.texts("evaluation_splits"),
            few_shots_split=splits[0] if splits else None,
            few_shots_select=self.select(),
            few_shots=(config.num_fewshots,),
            generation_size=self.generation_size(),
            stop_sequence=self.texts("stop_sequence"),
            num_samples=self.num_samples(),
            must_remove_duplicate_docs=config.must_remove_duplicate_docs,
            version=self.version(),
            aliases=() if name == config.name else (config.name,),
            skip=skip,
            known_defect=defect,
            code=TaskCode(module=self.written, adapter=adapter, is_wanted=config.hf_filter, metrics=own),
        )

    def texts(self, field: str) -> tuple[str, ...]:
        value = getattr(self.config, field)
        texts = () if value is None or value == "" else tuple(as_list(value))
        for text in texts:
            if not isinstance(text, str):
                raise self.error(field, f"{text!r} is no text")
        return texts

    def data_files(self) -> dict[str, str]:
        """Split -> file. As there, paths are relative to the folder where the run starts, and a file without a split is that of `train`."""
        given = self.config.hf_data_files
        if given is None:
            return {}
        files = {}
        for split, value in (given if isinstance(given, Mapping) else {"train": given}).items():
            names = as_list(value)
            if len(names) != 1 or not str(names[0]).endswith((".jsonl", ".parquet")) or "*" in str(names[0]):
                raise self.error("hf_data_files", f"{value!r}: one .jsonl or .parquet file of each split is read, and no pattern")
            files[str(split)] = str(Path(names[0]).absolute())
        return files

    def select(self) -> FewShotsSelect:
        value = getattr(self.config.few_shots_select, "value", self.config.few_shots_select) or "balanced"
        known: tuple[FewShotsSelect, ...] = get_args(FewShotsSelect)
        for choice in known:
            if value == choice:
                return choice
        raise self.error("few_shots_select", f"{value!r} is none of {', '.join(known)}{did_you_mean(str(value), known)}")

    def generation_size(self) -> int | None:
        """Lighteval writes -1 for no limit."""
        size = self.config.generation_size
        if size is not None and (not isinstance(size, int) or size == 0):
            raise self.error("generation_size", f"{size!r} is no number from 1 on")
        return None if size is None or size < 0 else size

    def num_samples(self) -> int | None:
        value = self.config.num_samples
        return max(value) if isinstance(value, list | tuple) and value else value if isinstance(value, int) else None

    def version(self) -> int:
        """Some modules write versions as texts, such as 0.1. Their whole part is kept."""
        try:
            return int(float(self.config.version))
        except (TypeError, ValueError):
            raise self.error("version", f"{self.config.version!r} is no number") from None

    def metrics(self) -> tuple[tuple[str, ...], dict[str, Metric], str | None, str | None]:
        """Names, the module's own metrics by name, why the task is skipped, and what its score gets wrong."""
        field = "metrics" if self.config.is_newer else "metric"
        entries = getattr(self.config, field)
        if not isinstance(entries, list | tuple):
            raise self.error(field, "a list of metrics is required")
        found: dict[str, Metric | None] = {}
        own: dict[str, Metric] = {}
        why: dict[str, str] = {}
        for number, given in enumerate(entries):
            where = f"{field}[{number}]"
            entry = given.value if isinstance(given, MetricName) else known_metric(given) if isinstance(given, str) else given
            if isinstance(entry, KnownMetric):
                found[entry.name] = entry.ours
                if entry.ours is not None and entry.name not in metric_names():
                    own[entry.name] = entry.ours
            elif isinstance(entry, MetricObject):
                name = entry.metric_name if isinstance(entry.metric_name, str) else "+".join(entry.metric_name)
                if name in metric_names():
                    name = f"{self.path.name}:{name}"
                judge = judge_of(entry)
                if judge is not None or entry.category is MetricCategory.IGNORED:
                    found[name] = None
                    why[name] = (
                        "Lighteval ignores it too"
                        if judge is None
                        else f"it asks the judge {judge.model} by code of Lighteval, which is not here; a suite can declare judges"
                    )
                    continue
                try:
                    found[name] = own[name] = as_metric(entry, name=name, where=f"{self.path}:{self.line}")
                except (ValueError, KeyError, TypeError) as error:
                    raise self.error(where, f"{name}: {in_one_line(error)}") from error
            else:
                raise self.error(where, f"is a {type(entry).__name__}, where a member of Metrics or a metric object is required")
        return _without_overwritten(found, own, why)


def _without_overwritten(
    found: Mapping[str, Metric | None], own: dict[str, Metric], why: Mapping[str, str]
) -> tuple[tuple[str, ...], dict[str, Metric], str | None, str | None]:
    missing = [f"its metric {name}: {why.get(name, 'there is none of this name here')}" for name, entry in found.items() if entry is None]
    if missing:
        return tuple(found), own, "; ".join(missing), None
    if not found:
        return (), own, "it names no metric", None
    last: dict[str, str] = {}
    for name, entry in found.items():
        last.update(dict.fromkeys(entry.corpus if entry else (), name))
    lost = [name for name, entry in found.items() if entry and any(last[text] != name for text in entry.corpus)]
    kept = tuple(name for name in found if name not in lost)
    defect = f"{' and '.join(lost)} reports what a later metric of the task reports too, and is left out, as in Lighteval" if lost else None
    return kept, own, None, defect


class _PromptFunction:
    """A module's prompt function as an adapter: row in, rows for the fixed templates out.

    Lighteval gives it the process's random stream, so that its draws depend on what ran before. Here each row has a stream of its own.
    """

    def __init__(self, function: Callable[..., Any], task_id: str, config: LightevalTaskConfig) -> None:
        self._function, self._id, self._instruction_apart = function, task_id, config.is_newer
        self._arguments = (config.name if config.is_newer else task_id,) if _takes_task_name(function) else ()

    def __call__(self, row: dict[str, Any]) -> list[dict[str, Any]] | None:
        with _seeded(f"{self._id}:{row['__index']}"):
            made = self._function(row, *self._arguments)
        if made is None:
            return None
        return [as_row(doc, instruction_apart=self._instruction_apart) for doc in as_list(made)]


def _takes_task_name(function: Callable[..., Any]) -> bool:
    """Whether it takes a second argument; old modules have functions of the row alone."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind({}, "task")
    except TypeError:
        return False
    return True


def _name_of(function: Callable[..., Any]) -> str:
    inner = getattr(function, "func", function)  # of a functools.partial
    return str(getattr(inner, "__qualname__", type(inner).__name__))


@contextlib.contextmanager
def _seeded(seed: str) -> Iterator[None]:
    """The global random streams of Python and numpy begin at this seed inside, and go on afterwards as if nothing had been drawn."""
    numpy: Any = sys.modules.get("numpy")
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4])
    state, numpy_state = random.getstate(), numpy.random.get_state() if numpy is not None else None
    random.seed(number)
    if numpy is not None:
        numpy.random.seed(number)
    try:
        yield
    finally:
        random.setstate(state)
        if numpy is not None:
            numpy.random.set_state(numpy_state)
