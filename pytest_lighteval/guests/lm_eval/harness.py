"""Imports the harness, and builds its tasks: quietly, and with the random seeds of its own runs."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import logging
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pytest_lighteval.data.readers import no_progress_bars
from pytest_lighteval.errors import MissingExtraError, UserInputError, in_one_line
from pytest_lighteval.guests.lm_eval.configs import FUNCTION, Config, is_function, read_config

RANDOM_SEED, NUMPY_SEED, FEW_SHOT_SEED = 0, 1234, 1234
"""The defaults of its command line."""
_NOT_OF_A_TASK = ("tag", "group", "task_list")


@cache
def load(module: str) -> Any:
    """One of its modules, imported quietly. Raises MissingExtraError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] != "lm_eval":
            raise MissingExtraError(f"{error.name}, which lm-evaluation-harness needs,", "lm-eval") from error
        raise MissingExtraError("lm-evaluation-harness (lm-eval)", "lm-eval") from error
    # its warnings are about its own YAML; what a reader of a score must know is in the result's notes
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return loaded


@contextmanager
def as_alone() -> Iterator[None]:
    """Run the harness's code without noise, and with the process's random streams as a run of one task alone would have them.

    The streams are afterwards as they were: no prompt depends on what else ran.
    """
    streams = random.getstate(), np.random.get_state()  # some of its tasks draw from them
    random.seed(RANDOM_SEED)
    np.random.seed(NUMPY_SEED)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"), no_progress_bars():
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(streams[0])
        np.random.set_state(streams[1])


def build_task(config: Config, *, where: str) -> Any:
    """The harness's own object of a task, with its data. `config` has functions and no names of them. Raises UserInputError."""
    module = load("lm_eval.api.task")
    config = {key: value for key, value in config.items() if key not in _NOT_OF_A_TASK}
    kind = config.get("class")
    if kind is None:
        return module.ConfigurableTask(config=config)
    if not callable(kind):
        raise UserInputError(f"{where}: class: {kind!r} is no class")
    made = kind(config=config) if "config" in inspect.signature(kind.__init__).parameters else kind()
    if hasattr(made, "config") and hasattr(made.config, "task"):
        made.config.task = config["task"]
    return made


def whole_config(path: str, changes: Config, name: str) -> Config:
    """All keys of a task, with its functions. Raises FileError, UserInputError. `path`: empty for a task inside of a group."""
    config = {**(read_config(Path(path)) if path else {}), **changes, "task": name}
    metadata = config.get("metadata")
    source = {"config_source": path or "inline"}
    config["metadata"] = {**(metadata if isinstance(metadata, dict) else {"_metadata": metadata} if metadata else {}), **source}
    return {key: with_functions(value) for key, value in config.items()}


def with_functions(value: Any) -> Any:
    """The value with functions in place of what stands for them. Raises UserInputError."""
    if is_function(value):
        return find_function(value)
    if isinstance(value, Mapping):
        return {key: with_functions(member) for key, member in value.items()}
    return [with_functions(member) for member in value] if isinstance(value, list) else value


def find_function(value: Mapping[str, Any]) -> Callable[..., Any]:
    """The function that a YAML file names: in a module beside the file, else in an installed one. Raises UserInputError."""
    written, folder = str(value[FUNCTION]), Path(value["folder"])
    module, _, name = written.rpartition(".")
    beside = (folder / f"{module.replace('.', '/')}.py").resolve()
    try:
        loaded = _load_file(beside) if beside.is_file() else load(module)
        function: Callable[..., Any] = getattr(loaded, name)
    except MissingExtraError as error:
        raise UserInputError(f"{folder}: !function {written}: {error}") from error
    except Exception as error:  # the module is the user's code
        raise UserInputError(f"{folder}: !function {written}: {type(error).__name__}: {in_one_line(error)}") from error
    return function


def _load_file(path: Path) -> Any:
    """A module by its file, once. The harness's own modules have their own names, so that their objects are the same for everybody."""
    name = _module_name(path)
    if name in sys.modules and getattr(sys.modules[name], "__file__", None) == str(path):
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _module_name(path: Path) -> str:
    tasks = "/lm_eval/tasks/"
    inside, found, below = path.as_posix().rpartition(tasks)
    parts = below if found and inside else path.as_posix()
    return f"lm_eval.tasks.{parts.removesuffix('.py').replace('/', '.')}" if found else str(path.with_suffix(""))


def find_aggregate(value: Any) -> Callable[..., Any]:
    """An aggregate by its name in the harness's registry, or the function that a YAML file names. Raises UserInputError."""
    if is_function(value):
        return find_function(value)
    load("lm_eval.api.metrics")
    found = load("lm_eval.api.registry").get_aggregation(value)
    if found is None:
        raise UserInputError(f"lm-evaluation-harness has no aggregation named {value!r}")
    function: Callable[..., Any] = found
    return function
