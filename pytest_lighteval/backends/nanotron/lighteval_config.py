"""Lighteval's YAML for its nanotron backend: tasks and settings of a run, as model arguments and options of this plugin.

Both forms of the file are read: Lighteval's own (`logging.output_dir`) and nanotron's (`logging.local_output_path`, `wandb`, `slurm`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytest_lighteval.backends.nanotron.checkpoint import Parallelism, read_mapping, read_parallelism
from pytest_lighteval.backends.protocol import SessionDefaults
from pytest_lighteval.errors import UserInputError, did_you_mean

_TOP = {"tasks", "logging", "parallelism", "batch_size", "generation"}
_TOP_UNUSED = {"checkpoints_path", "wandb", "slurm", "slurm_script_dir", "eval_config_override"}
_TASKS = {
    *("tasks", "custom_tasks", "max_samples", "num_fewshot_seeds", "pairwise_tokenization"),
    *("multichoice_continuations_start_space", "no_multichoice_continuations_start_space"),
}
_TASKS_UNUSED = {"dataset_loading_processes"}
_LOGGING = {"output_dir", "local_output_path", "save_details"}
_LOGGING_UNUSED = {
    *("results_path_template", "push_to_hub", "push_to_tensorboard", "public_run", "results_org", "tensorboard_metric_prefix"),
    *("push_results_to_hub", "push_details_to_hub", "push_results_to_tensorboard"),
    *("hub_repo_results", "hub_repo_details", "hub_repo_tensorboard"),
}
_GENERATION = {"sampler", "temperature", "top_k", "top_p", "eos", "seed"}
_GENERATION_UNUSED = {"n_samples", "use_cache"}
_SAMPLERS: dict[str, dict[str, float]] = {
    "greedy": {},
    "basic": {"temperature": 1.0},
    "top_k": {"temperature": 1.0, "top_k": 50},
    "top_p": {"temperature": 1.0, "top_p": 0.9},
}
"""The settings that each of nanotron's samplers reads, with their defaults."""


def read_lighteval_config(written: str, *, uses_parallelism: bool) -> SessionDefaults:
    """The file's settings; the command line comes first. Raises UserInputError, one line that names the file and the key.

    `uses_parallelism`: the engine splits the model, so the section `parallelism` has an effect.
    """
    path = Path(written).expanduser()
    content = read_mapping(path)
    unused: list[str] = []
    top = _Section(content, "", path, _TOP, _TOP_UNUSED, unused)
    tasks = top.section("tasks", _TASKS, _TASKS_UNUSED)
    logging = top.section("logging", _LOGGING, _LOGGING_UNUSED)
    parallelism = read_parallelism(content, path)
    if parallelism is not None and not uses_parallelism:
        unused.append("parallelism")
    if logging.read("save_details", _flag) is False:
        logging.note_unused("save_details")
    arguments = {
        # for Lighteval, 0 means no batch size
        "batch_size": top.read("batch_size", _count(least=0)) or None,
        "generation_parameters": _read_generation(top),
        "pairwise_tokenization": tasks.read("pairwise_tokenization", _flag),
        "multichoice_continuations_start_space": _start_space(tasks),
    }
    options = {
        "tasks": tasks.read("tasks", _text),
        "custom-tasks": tasks.read("custom_tasks", _custom_tasks),
        "max-samples": tasks.read("max_samples", _count(least=1)),
        "num-fewshot-seeds": tasks.read("num_fewshot_seeds", _count(least=1)),
        "report-dir": logging.read("output_dir", _place) or logging.read("local_output_path", _place),
    }
    return SessionDefaults(
        source=str(path),
        arguments={name: value for name, value in arguments.items() if value is not None},
        options={name: str(value) for name, value in options.items() if value is not None},
        notes=(f"{path}: without effect here: {', '.join(sorted(unused))}",) if unused else (),
    )


def read_lighteval_parallelism(written: str) -> Parallelism | None:
    """The section `parallelism` of the file. None: it has none. Raises UserInputError."""
    path = Path(written).expanduser()
    return read_parallelism(read_mapping(path), path)


class _Section:
    """A mapping in the file. The constructor checks its keys; reading a value checks it."""

    def __init__(self, values: Mapping[str, Any], name: str, path: Path, known: set[str], unused: set[str], ignored: list[str]) -> None:
        self.values, self._prefix, self.path, self._ignored = values, f"{name}." if name else "", path, ignored
        for key, value in values.items():
            if key in unused:
                if value not in (None, False, "", {}):
                    self.note_unused(key)
            elif key not in known:
                near = did_you_mean(str(key), known) or f"; there are: {', '.join(sorted(known | unused))}"
                raise UserInputError(f"{path}: {self._prefix}{key}: no such key{near}")

    def read(self, key: str, check: Callable[[Any], Any]) -> Any:
        """The checked value. None: the file does not set it. Raises UserInputError."""
        value = self.values.get(key)
        if value is None:
            return None
        try:
            return check(value)
        except ValueError as error:
            raise UserInputError(f"{self.path}: {self._prefix}{key}: {error}, not {value!r}") from error

    def note_unused(self, key: str) -> None:
        """Note that a value has no effect."""
        self._ignored.append(f"{self._prefix}{key}")

    def section(self, name: str, known: set[str], unused: set[str]) -> _Section:
        """A mapping in this one. Empty: the file has none."""
        return _Section(self.read(name, _mapping) or {}, name, self.path, known, unused, self._ignored)


def _read_generation(top: _Section) -> dict[str, Any] | None:
    """Nanotron's sampler as generation parameters. None: the file sets none."""
    values = top.read("generation", _mapping)
    if not values:
        return None
    if all(isinstance(value, dict) for value in values.values()):
        raise UserInputError(f"{top.path}: generation: settings by task are not read (Lighteval refuses them too); give one for all")
    section = top.section("generation", _GENERATION, _GENERATION_UNUSED)
    sampler = section.read("sampler", _sampler)
    used = _SAMPLERS[sampler] if sampler else {}
    parameters: dict[str, Any] = {"temperature": 0.0} if sampler == "greedy" else {}
    for name in ("temperature", "top_k", "top_p"):
        value = section.read(name, _number)
        if name in used:
            parameters[name] = used[name] if value is None else value
        elif value is not None:
            section.note_unused(name)
    if (seed := section.read("seed", _count(least=0))) is not None:
        parameters["seed"] = seed
    if (end := section.read("eos", _text)) is not None:
        parameters["stop_tokens"] = [end]
    return parameters or None


def _start_space(tasks: _Section) -> bool | None:
    if tasks.read("no_multichoice_continuations_start_space", _flag):
        return False
    found: bool | None = tasks.read("multichoice_continuations_start_space", _flag)
    return found


def _count(*, least: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"a number from {least} on was expected")
        return value

    return check


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError("a number was expected")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false was expected")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a text was expected")
    return value.strip()


def _place(value: Any) -> str:
    return str(Path(_text(value)).expanduser().absolute())


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("a mapping was expected")
    return value


def _custom_tasks(value: Any) -> str:
    name = _text(value)
    is_module = Path(name).is_file() if name.endswith(".py") else all(part.isidentifier() for part in name.split("."))
    if not (Path(name).is_dir() or is_module):
        raise ValueError("a Python module of tasks (my_tasks.py, or a dotted name) or a folder of suites was expected")
    return name


def _sampler(value: Any) -> str:
    name = _text(value).lower()
    if name not in _SAMPLERS:
        raise ValueError(f"one of {', '.join(_SAMPLERS)} was expected")
    return name
