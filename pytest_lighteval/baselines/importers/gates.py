"""Import thresholds of other test suites as floors for `--gates`: vLLM's YAML files and TensorRT-LLM's references."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import yaml

from pytest_lighteval.baselines.importers.names import HARNESS, LOWER_IS_BETTER, Target, find_task, harness_metric
from pytest_lighteval.common.yaml_lines import YamlFile
from pytest_lighteval.errors import UserInputError, did_you_mean
from pytest_lighteval.types import GateSpec

_DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedGates:
    """The thresholds of one file."""

    gates: Mapping[str, Mapping[str, GateSpec]]
    """`suite|task|few_shots` -> metric -> threshold."""
    unmapped: tuple[str, ...] = ()
    """Metrics without a counterpart here, one line each."""
    notes: tuple[str, ...] = ()
    """What a reader should know before the thresholds are used, one line each."""


def render_gates(imported: ImportedGates) -> str:
    """The text of a `--gates` file; notes and unmapped metrics are comments at its top."""
    comments = [*imported.notes, *(f"not imported: {line}" for line in imported.unmapped)]
    plain = {
        key: {
            metric: {name: bound for name, bound in (("min", gate.min), ("max", gate.max)) if bound is not None}
            for metric, gate in metrics.items()
        }
        for key, metrics in imported.gates.items()
    }
    body = yaml.safe_dump(plain, default_flow_style=None, width=math.inf, allow_unicode=True) if plain else ""
    return "".join(f"# {line}\n" for line in comments) + body


def _load(path: Path) -> Mapping[str, Any]:
    """A YAML mapping. Raises UserInputError."""
    content = YamlFile(path).data
    if not isinstance(content, dict):
        raise UserInputError(f"{path}: a mapping is needed")
    return content


def _number(path: Path, field: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UserInputError(f"{path}: {field}: a finite number is needed, not {value!r}")
    return float(value)


def _count(path: Path, field: str, value: Any) -> int:
    if type(value) is not int or value < 0:
        raise UserInputError(f"{path}: {field}: a whole number is needed, not {value!r}")
    return value


# -------------------------------------------------------------------------------------------------------- vLLM

_DEFAULT_RTOL = 0.08
_DEFAULT_TOLERANCE = 0.08


def vllm_gates(path: Path, *, of_harness: bool = False) -> ImportedGates:
    """Floors of one of vLLM's model files.

    `of_harness`: for the harness's own tasks (`lm_eval|gsm8k|5`), which run here unchanged, in place of their counterparts in our suites.

    Two formats: `.buildkite/lm-eval-harness/configs/*.yaml` (`tasks[].metrics[]` with `name` and `value`; the score may be a share `rtol`,
    0.08 by default, below the value) and `tests/evals/gsm8k/configs/*.yaml` (`accuracy_threshold`, which the score may miss by `tolerance`,
    0.08 by default). Where lower is better, `rtol` counts upwards and gives a ceiling.

    Raises UserInputError, `path: field: problem`.
    """
    content = _load(path)
    if "accuracy_threshold" in content:
        return _vllm_gsm8k(path, content, of_harness=of_harness)
    tasks = content.get("tasks")
    if not isinstance(tasks, list):
        raise UserInputError(f"{path}: tasks: a list is needed: this is no file of vLLM's lm-eval-harness")
    rtol = _number(path, "rtol", content.get("rtol", _DEFAULT_RTOL))
    gates: dict[str, dict[str, GateSpec]] = {}
    unmapped: list[str] = []
    given = None if content.get("num_fewshot") is None else _count(path, "num_fewshot", content["num_fewshot"])
    for field, task, name, value in _vllm_values(path, tasks):
        known = None if of_harness else find_task(task)
        target = known.metrics.get(name if "," in name else f"{name},none") if known else None
        if of_harness:
            target = Target(task=f"{HARNESS}|{task}", metric=harness_metric(name))
        if target is None:
            unmapped.append(f"{task} {name} {value:g}" + ("" if known is None else ": no metric here is the same"))
            continue
        few_shots = known.few_shots if given is None and known is not None else given
        key = target.task if few_shots is None else f"{target.task}|{few_shots}"
        if target.metric in gates.setdefault(key, {}):
            raise UserInputError(f"{path}: {field}: {task} {name} is given twice")
        if target.metric in LOWER_IS_BETTER:
            gates[key][target.metric] = GateSpec(max=round(value * (1 + rtol), _DIGITS))
        else:
            gates[key][target.metric] = GateSpec(min=round(value * (1 - rtol), _DIGITS))
    return ImportedGates(gates=gates, unmapped=tuple(unmapped), notes=tuple(_vllm_notes(content, rtol, gates, of_harness=of_harness)))


def _vllm_values(path: Path, tasks: list[Any]) -> Iterator[tuple[str, str, str, float]]:
    for position, task in enumerate(tasks):
        field = f"tasks[{position}]"
        if not isinstance(task, dict) or not isinstance(task.get("name"), str) or not isinstance(task.get("metrics"), list):
            raise UserInputError(f"{path}: {field}: a mapping with a name and a list of metrics is needed")
        for place, metric in enumerate(task["metrics"]):
            at = f"{field}.metrics[{place}]"
            if not isinstance(metric, dict) or not isinstance(metric.get("name"), str):
                raise UserInputError(f"{path}: {at}: a mapping with a name and a value is needed")
            yield at, task["name"], metric["name"], _number(path, f"{at}.value", metric.get("value"))


def _vllm_notes(content: Mapping[str, Any], rtol: float, gates: Mapping[str, object], *, of_harness: bool) -> Iterator[str]:
    yield f"from vLLM's lm-eval values, less {rtol:.0%}; a baseline of your own finds losses far smaller than that"
    if of_harness:
        yield _command(content, gates)
        return
    if content.get("limit") is not None:
        yield f"measured on the first {content['limit']} documents of each task, which are not the first {content['limit']} here"
    if any(key.startswith("leaderboard|mmlu:_average|") for key in gates):
        yield "mmlu was the mean over documents there, and is the mean over subjects here"
    if content.get("apply_chat_template"):
        yield "measured with the chat template: --use-chat-template"


_MODEL_ARGUMENTS = {
    "dtype": "dtype",
    "max_model_len": "max_length",
    "tensor_parallel_size": "tensor_parallel_size",
    "trust_remote_code": "trust_remote_code",
}
"""vLLM's fields that are model arguments here."""


def _command(content: Mapping[str, Any], gates: Mapping[str, object]) -> str:
    """The command that runs what the file runs."""
    arguments = [f"pretrained={content.get('model_name', 'MODEL')}"]
    arguments += [f"{ours}={str(content[theirs]).lower()}" for theirs, ours in _MODEL_ARGUMENTS.items() if content.get(theirs) is not None]
    limit = content.get("limit")
    words = [
        *("pytest", f'--tasks "{",".join(gates)}"', "--backend vllm", f'--model-args "{",".join(arguments)}"'),
        *([f"--max-samples {limit}"] if limit is not None else []),
        *(["--use-chat-template"] if content.get("apply_chat_template") else []),
        "--gates FILE",
    ]
    return " ".join(words)


def _vllm_gsm8k(path: Path, content: Mapping[str, Any], *, of_harness: bool) -> ImportedGates:
    threshold = _number(path, "accuracy_threshold", content["accuracy_threshold"])
    tolerance = _number(path, "tolerance", content.get("tolerance", _DEFAULT_TOLERANCE))
    few_shots = _count(path, "num_fewshot", content.get("num_fewshot", 5))
    gate = GateSpec(min=round(threshold - tolerance, _DIGITS))
    return ImportedGates(
        gates={f"{HARNESS}|gsm8k|{few_shots}": {"exact_match,flexible-extract": gate}}
        if of_harness
        else {f"lighteval|gsm8k|{few_shots}": {"extractive_match": gate}},
        notes=(f"from vLLM's threshold {threshold:g}, less {tolerance:g}; a baseline of your own finds losses far smaller than that",),
    )


# ------------------------------------------------------------------------------------------------- TensorRT-LLM


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dataset:
    """A reference file's data set: its counterpart here, and the default numbers of its threshold."""

    key: str
    metric: str
    num_samples: int
    alpha: float = 0.05
    sigma: float = 50.0


_DATASETS = {
    "mmlu": _Dataset(key="leaderboard|mmlu:_average|5", metric="acc", num_samples=4096),
    "gsm8k": _Dataset(key="leaderboard|gsm8k|5", metric="qem", num_samples=1319),
    "gpqa_diamond": _Dataset(key="lighteval|gpqa:diamond|0", metric="gpqa_pass@1:1_samples", num_samples=198),
}
_SPEC = ("dtype", "quant_algo", "kv_cache_quant_algo", "spec_dec_algo", "extra_acc_spec")
_SPEC_DEFAULTS = {"dtype": "auto"}


def tensorrt_gates(path: Path, *, model: str, spec: Mapping[str, str] | None = None) -> ImportedGates:
    """The floor of one model in one of TensorRT-LLM's reference files (`tests/integration/defs/accuracy/references/<data set>.yaml`).

    The threshold is that of a one-sided test of two independent runs: reference + z(alpha) * sqrt(2 * sigma^2 / n), with the entry's own
    `alpha`, `sigma` and `num_samples` if it has them. Accuracies are in percent there.

    Args:
        path: the file; its name is that of the data set.
        model: the entry's key, a model of the hub.
        spec: the entry's `dtype`, `quant_algo`, `kv_cache_quant_algo`, `spec_dec_algo`, `extra_acc_spec`. It must be equal: what is not
            given must be missing in the entry too.

    Raises UserInputError: not such a file, or a model or spec that is not in it.
    """
    content = _load(path)
    required = dict(spec or {})
    for name in required:
        if name not in _SPEC:
            raise UserInputError(f"{name!r} is no part of a TensorRT-LLM spec, which has {', '.join(_SPEC)}{did_you_mean(name, _SPEC)}")
    entries = content.get(model)
    if entries is None:
        raise UserInputError(f"{path}: no model {model!r}{did_you_mean(model, content)}")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserInputError(f"{path}: {model}: a list of mappings is needed")
    positions = [position for position, entry in enumerate(entries) if _spec_of(entry) == _spec_of(required)]
    if not positions:
        known = "; ".join(_spec_text(entry) for entry in entries)
        raise UserInputError(f"{path}: {model}: no entry for {_spec_text(required)}, only for {known}")
    field, entry = f"{model}[{positions[0]}]", entries[positions[0]]
    accuracy = _number(path, f"{field}.accuracy", entry.get("accuracy"))
    dataset = _DATASETS.get(path.stem)
    if dataset is None:
        line = f"{path.stem} {model} {_spec_text(entry)} {accuracy:g}: no task here is the same (known: {', '.join(_DATASETS)})"
        return ImportedGates(gates={}, unmapped=(line,))
    alpha = _number(path, f"{field}.alpha", entry.get("alpha", dataset.alpha))
    sigma = _number(path, f"{field}.sigma", entry.get("sigma", dataset.sigma))
    count = _count(path, f"{field}.num_samples", entry.get("num_samples", dataset.num_samples))
    if not 0 < alpha < 1 or count == 0:
        raise UserInputError(f"{path}: {field}: alpha is between 0 and 1, and num_samples is 1 at least")
    margin = -NormalDist().inv_cdf(alpha) * math.sqrt(2 * sigma**2 / count)
    if entry.get("higher_is_better", True):
        gate = GateSpec(min=round((accuracy - margin) / 100, _DIGITS))
    else:
        gate = GateSpec(max=round((accuracy + margin) / 100, _DIGITS))
    note = f"from TensorRT-LLM's reference {accuracy:g} of {model} ({_spec_text(entry)}), with its margin of {margin:.2f} points"
    return ImportedGates(gates={dataset.key: {dataset.metric: gate}}, notes=(note,))


def _spec_of(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(entry.get(name, _SPEC_DEFAULTS.get(name)) for name in _SPEC)


def _spec_text(entry: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={entry[name]}" for name in _SPEC if entry.get(name) is not None) or "the unquantized model"
