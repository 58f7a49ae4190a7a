"""The options of a session, checked and converted: what the rest of the plugin reads."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_lighteval import backends
from pytest_lighteval.backends.classifier.text_classifier import ClassifierArguments
from pytest_lighteval.backends.common.user_cache import cache_home
from pytest_lighteval.backends.model_args import convert_model_args, describe_arguments, own_model_args, parse_model_args
from pytest_lighteval.backends.protocol import asks_in_chat_format, model_name
from pytest_lighteval.baselines.hub_file import SCHEME
from pytest_lighteval.baselines.read import Baselines
from pytest_lighteval.common.threads import Threads
from pytest_lighteval.errors import LightevalError, UserInputError
from pytest_lighteval.evaluate import EvaluationSettings
from pytest_lighteval.gates.gate_settings import GateSettings, read_gate_settings
from pytest_lighteval.metrics.tiny_parameters import TinyParameters, read_tiny_parameters
from pytest_lighteval.plugin.check_settings import CheckSettings, read_check_settings, without_model_options
from pytest_lighteval.plugin.checkpoint_settings import CheckpointSettings, placeholder, read_checkpoints
from pytest_lighteval.plugin.custom_tasks import CustomTasks, read_custom_tasks
from pytest_lighteval.plugin.idle_options import check_idle_options
from pytest_lighteval.plugin.judge_settings import JudgeOptions, read_judge_options
from pytest_lighteval.plugin.lighteval_commands import model_argument_here
from pytest_lighteval.plugin.options import OPTIONS, value_of
from pytest_lighteval.plugin.ray_replicas import read_ray
from pytest_lighteval.plugin.replicas import Engines, read_replicas
from pytest_lighteval.plugin.sandboxes import SandboxSettings, read_sandbox
from pytest_lighteval.plugin.shards import Shard, read_shard
from pytest_lighteval.prompts.reasoning import DEFAULT_TAGS, parse_tags
from pytest_lighteval.tasks.catalogue import shipped_suites
from pytest_lighteval.tasks.task_spec import TaskSpec, parse_specs

_DEFAULT_CACHE_SIZE = "5GB"
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """What the session's model is compared with."""

    backend: str
    arguments: msgspec.Struct


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """Where answers and prepared data sets are kept between runs."""

    folder: Path
    limit_bytes: int
    """Of the answers, and of the data sets."""


_BESIDE_THE_INI = ("gates", "baseline", "baseline_pinned", "save_baseline", "waivers", "check_accept", "tiny_parameters", "judge_anchors")
"""Options that name files of the project."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All options, checked; what the rest of the plugin reads."""

    backend: str | None
    """None: none was chosen, so tasks run only if a conftest defines `lighteval_backend`."""
    arguments: msgspec.Struct | None
    specs: tuple[TaskSpec, ...]
    custom_tasks: CustomTasks
    few_shots: tuple[int, ...] | None
    evaluation: EvaluationSettings
    data_home: Path | None
    report_dir: Path
    gate: GateSettings
    has_page: bool = True
    """Whether the run's folder gets a report.html."""
    against: Against | None = None
    """The reference that is measured first. None: there is none."""
    cache: CacheSettings | None = None
    """None: nothing is kept."""
    threads: Threads = None
    shard: Shard | None = None
    """The part of every task that is asked. None: whole tasks are."""
    checkpoints: CheckpointSettings | None = None
    """`--checkpoints`. None: the session measures one model."""
    replicas: Engines | None = None
    """The engines that answer each task. None: one, in this process."""
    checks: CheckSettings | None = None
    """What `--check-tasks` asks. None: the session evaluates models."""
    judge: JudgeOptions = field(default_factory=JudgeOptions)
    tiny_parameters: TinyParameters | None = None
    """For the estimates of tinyBenchmarks. None: there are none."""
    toxicity_classifier: ClassifierArguments | None = None
    """What says how toxic texts are. None: nothing does."""
    sandbox: SandboxSettings | None = None
    """Where programs run that the model writes. None: they do not."""
    notes: tuple[str, ...] = ()
    """Lines for the top of pytest's output: from a file that the model arguments name, and about baselines."""

    @property
    def label(self) -> str:
        """A few words for the name of the run's folder: the backend, and the model if an argument names it."""
        if self.checks is not None:
            return "check"
        model = model_name(self.arguments) or ""
        return "-".join(
            part for part in (self.backend or ("answers" if self.judge.answers else "own"), model.rstrip("/").rpartition("/")[2]) if part
        )


def read_settings(config: pytest.Config, *, today: date) -> Settings:
    """All options together, the command line before the ini file before the environment; `today` is the controller's day.

    Raises UserInputError, which the caller turns into pytest's usage error.
    """
    values = {option.dest.removeprefix("lighteval_"): value_of(config, option) for option in OPTIONS}
    folder = config.invocation_params.dir
    values = without_model_options(config, values)
    values |= {name: _from_home(config, values[name]) for name in _BESIDE_THE_INI if config.getoption(f"lighteval_{name}") is None}
    backend = values["backend"]
    if backend is not None:
        backends.check_name(backend)
    elif values["model_args"] is not None:
        raise UserInputError(f"--model-args is given without --backend; there are: {', '.join(backends.names())}")
    data_home = values["data_home"] or os.environ.get("LIGHTEVAL_DATA_HOME")
    arguments = None if backend is None else _own_arguments(values, folder, placeholder(values))
    defaults = backends.SessionDefaults() if backend is None else _session_defaults(backend, values, folder)
    _check_processes(config, defaults, values["replicas"])
    filled = _fill(values, defaults, has_paths=config.args_source is config.ArgsSource.ARGS)
    tasks_source = f"{defaults.source}: tasks" if "tasks" in filled else "--tasks"
    shard = read_shard(values)
    if shard is not None:
        values["gate_defer"] = True  # what is judged is the whole, later
    checkpoints = read_checkpoints(config, values, folder, partial(_own_arguments, values, folder))
    gate = read_gate_settings(values, folder, today=today)
    custom_tasks = read_custom_tasks(values["custom_tasks"] or (), folder)
    settings = Settings(
        backend=backend,
        arguments=arguments,
        specs=tuple(
            spec
            for text in values["tasks"] or ()
            for spec in parse_specs(_task_list(custom_tasks.without_groups(text), folder), folder=folder, source=tasks_source)
        ),
        custom_tasks=custom_tasks,
        few_shots=None if values["few_shots"] is None else _counts(values["few_shots"]),
        evaluation=_evaluation(values, arguments),
        data_home=_folder(folder / data_home, "--data-home") if data_home else None,
        report_dir=(folder if config.getoption("lighteval_report_dir") else _home(config)) / (values["report_dir"] or "reports"),
        gate=gate,
        has_page=not values["no_html"],
        checkpoints=checkpoints,
        against=_against(values, folder),
        cache=None if values["no_cache"] else _cache(config, values),
        threads=_threads(values["threads"]),
        shard=shard,
        replicas=read_replicas(config, values["replicas"], backend, arguments, ray=read_ray(values, folder)),
        checks=read_check_settings(values, folder),
        tiny_parameters=_tiny_parameters(values, folder),
        toxicity_classifier=_classifier(values["toxicity_classifier"], folder),
        judge=read_judge_options(values, folder, lambda name, text: _arguments(name, text, None, folder)),
        sandbox=read_sandbox(values),
        notes=(*defaults.notes, *custom_tasks.notes, *(gate.baselines.notes if isinstance(gate.baselines, Baselines) else ())),
    )
    # a wrong value is said first
    check_idle_options(config, values)
    return settings


def _against(values: Mapping[str, Any], folder: Path) -> Against | None:
    if values["against_backend"] is None and values["against_model_args"] is None:
        return None
    backend = values["against_backend"] or values["backend"]
    if backend is None:
        raise UserInputError("--against-model-args is given without --against-backend or --backend")
    backends.check_name(backend)
    return Against(backend=backend, arguments=_arguments(backend, values["against_model_args"], values["override_batch_size"], folder))


def _tiny_parameters(values: Mapping[str, Any], folder: Path) -> TinyParameters | None:
    name = values["tiny_parameters"]
    if name is not None and values["shard"] is not None:
        raise UserInputError(
            "--tiny-parameters is given with --shard: an estimate needs all documents of its task, so leave one of them out"
        )
    return None if name is None else read_tiny_parameters(folder / Path(name).expanduser(), option="--tiny-parameters")


def _classifier(text: str | None, folder: Path) -> ClassifierArguments | None:
    if text is None:
        return None
    raw = parse_model_args(text, folder=folder)
    try:
        return msgspec.convert(raw, ClassifierArguments)
    except msgspec.ValidationError as error:
        raise UserInputError(f"--toxicity-classifier {text}: {error}; model=FOLDER,label=NAME,device=cpu was expected") from None


def _cache(config: pytest.Config, values: Mapping[str, Any]) -> CacheSettings:
    base = config.invocation_params.dir if config.getoption("lighteval_cache_dir") else _home(config)
    chosen = values["cache_dir"]
    return CacheSettings(
        folder=base / Path(chosen).expanduser() if chosen else cache_home(),
        limit_bytes=_size(values["cache_size"] or _DEFAULT_CACHE_SIZE, "--cache-size"),
    )


def _threads(text: str | None) -> Threads:
    if text is None:
        return None
    if text == "share":
        return "share"
    if not text.isdecimal() or int(text) < 1:
        raise UserInputError(f"--threads {text}: a number from 1 on, or 'share', was expected")
    return int(text)


def _own_arguments(values: Mapping[str, Any], folder: Path, named: Mapping[str, str]) -> msgspec.Struct:
    """The arguments of the session's model; `named`: those that name a checkpoint."""
    return _arguments(values["backend"], values["model_args"], values["override_batch_size"], folder, named)


def _arguments(
    backend: str, text: str | None, batch_size: str | None, folder: Path, named: Mapping[str, str] | None = None
) -> msgspec.Struct:
    factory = backends.load_backend(backend)
    raw = own_model_args(parse_model_args(text or "", folder=folder), factory.Arguments)
    if problem := model_argument_here(raw, factory.Arguments.__struct_encode_fields__):
        raise UserInputError(problem)
    for name, value in (named or {}).items():
        if name in raw:
            raise UserInputError(f"--model-args {name}={raw[name]}: --checkpoints names the model; leave one out")
        raw[name] = value
    if batch_size is not None:
        raw["batch_size"] = batch_size
    # a misspelt argument is reported before the file that another one names is read
    arguments = convert_model_args(raw, factory.Arguments, backend=backend)
    said_elsewhere = backends.session_defaults(factory, raw).arguments
    return convert_model_args({**said_elsewhere, **raw}, factory.Arguments, backend=backend) if said_elsewhere else arguments


def _session_defaults(backend: str, values: Mapping[str, Any], folder: Path) -> backends.SessionDefaults:
    raw = parse_model_args(values["model_args"] or "", folder=folder)
    return backends.session_defaults(backends.load_backend(backend), raw)


def _fill(values: dict[str, Any], defaults: backends.SessionDefaults, *, has_paths: bool) -> set[str]:
    """Put the defaults where neither the command line nor the ini file says anything; returns the names of what was filled.

    Paths on the command line are a choice of tasks.
    """
    names = {option.dest.removeprefix("lighteval_"): option for option in OPTIONS if option.name in defaults.options}
    filled = {name for name in names if values[name] is None and not (name == "tasks" and has_paths)}
    for name in filled:
        text = defaults.options[names[name].name]
        values[name] = [text] if names[name].kind in ("many", "specs") else text
    return filled


def _check_processes(config: pytest.Config, defaults: backends.SessionDefaults, replicas: str | None) -> None:
    """Raise UserInputError for workers of xdist where the processes of a launcher answer together."""
    if defaults.processes > 1 and replicas is not None:
        raise UserInputError(f"--replicas {replicas}: the {defaults.processes} processes of the launcher are one engine: leave it out")
    if defaults.processes > 1 and (getattr(config.option, "numprocesses", None) or getattr(config.option, "tx", None)):
        raise UserInputError(f"-n: the {defaults.processes} processes of the launcher answer together, and cannot be workers: leave it out")


def _evaluation(values: Mapping[str, Any], arguments: msgspec.Struct | None) -> EvaluationSettings:
    tags = parse_tags(values["reasoning_tags"]) if values["reasoning_tags"] else DEFAULT_TAGS
    return EvaluationSettings(
        max_samples=_positive(values["max_samples"], "--max-samples"),
        few_shot_seeds=_positive(values["num_fewshot_seeds"], "--num-fewshot-seeds") or 1,
        # Lighteval takes it as a model argument too; there is one way to ask in turns
        use_chat_template=bool(values["use_chat_template"] or asks_in_chat_format(arguments)),
        system_prompt=values["system_prompt"],
        reasoning_tags=tags if values["strip_reasoning"] else (),
    )


def _from_home(config: pytest.Config, value: Any) -> Any:
    """Paths of the ini file, which are relative to it, as seen from where pytest was started."""
    if isinstance(value, str) and value.startswith(SCHEME):
        return value
    if isinstance(value, str):
        slash = "/" if value.endswith("/") else ""
        return os.path.relpath(_home(config) / value, config.invocation_params.dir) + slash
    return value and [_from_home(config, path) for path in value]


def _home(config: pytest.Config) -> Path:
    """Where the project is: beside its ini file. Without one pytest's rootdir is a guess, which a folder named anywhere can move."""
    return config.invocation_params.dir if config.inipath is None else config.rootpath


def check_rootdir(config: pytest.Config) -> None:
    """Raise UserInputError when the value of one of our options became pytest's rootdir.

    pytest looks for it before it knows any plugin's options, and takes `DIR` in `--data-home DIR` for a test path.
    """
    folder, arguments = config.invocation_params.dir, [str(argument) for argument in config.invocation_params.args]
    if config.inipath is not None:
        is_moved = not folder.is_relative_to(config.rootpath)
    else:
        # without an ini file it is where pytest was started, or where a setup.py is above that
        is_moved = config.rootpath != folder and not (config.rootpath / "setup.py").exists()
    if not is_moved:
        return
    for name, value in itertools.pairwise(arguments):
        if name.startswith("--") and "=" not in name and _exists(folder / value):
            raise UserInputError(
                f"{name} {value}: pytest took the value for a path and {config.rootpath} for its rootdir; write {name}={value}"
            )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a text that is too long for a name
        return False


def _task_list(text: str, folder: Path) -> str:
    """`suites/lists/bbh.txt` is the shipped list where there is no such file; everything else stays."""
    name = text.strip().removeprefix("./")
    shipped = shipped_suites() / name.removeprefix("suites/")
    return str(shipped) if name.startswith("suites/") and not (folder / name).exists() and shipped.is_file() else text


def _positive(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UserInputError(f"{option} {text}: a number from 1 on was expected")
    return int(text)


def _counts(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UserInputError(f"--few-shots {text}: a number from 0 on, or several joined by commas, was expected")
    return tuple(dict.fromkeys(map(int, parts)))


def _size(text: str, option: str) -> int:
    """Bytes, of `500MB`, `2GiB` or a plain number."""
    parts = re.fullmatch(r"(\d+(?:\.\d+)?) ?(|[KMGT]i?)B?", text.strip(), re.IGNORECASE)
    if parts is None:
        raise UserInputError(f"{option} {text}: a size was expected, such as 500MB or 5GB")
    return int(float(parts[1]) * _UNITS[parts[2].capitalize()])


def _folder(path: Path, option: str) -> Path:
    if not path.is_dir():
        raise UserInputError(f"{option} {path}: no such folder")
    return path.resolve()


def model_args_help(config: pytest.Config) -> str:
    """The text that `--model-args help` asks for. Raises pytest.UsageError."""
    backend = config.getoption("lighteval_backend") or config.getini("lighteval_backend")
    if not backend:
        raise pytest.UsageError(f"--model-args help needs --backend; there are: {', '.join(backends.names())}")
    try:
        return describe_arguments(backends.load_backend(backend).Arguments, backend=backend)
    except LightevalError as error:
        raise pytest.UsageError(str(error)) from error
