"""Import runs of lm-evaluation-harness (its results file and its samples files) as baselines whose prompts are unknown."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_lighteval.baselines.importers.names import LOWER_IS_BETTER, LmEvalTask, Target, find_task
from pytest_lighteval.baselines.model import Baseline, BaselineMetric, BaselineTask, Provenance
from pytest_lighteval.baselines.save import provenance_of
from pytest_lighteval.common.files import read_utf8
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.types import SampleValue, TaskKey


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedBaseline:
    """A run of the harness."""

    baseline: Baseline
    unmapped: tuple[str, ...]
    """Tasks and metrics that were left out, one line each, with the reason."""


def lm_eval_baseline(results: Path, *, samples: Sequence[Path] | None = None) -> ImportedBaseline:
    """The tasks of a run that have a counterpart here, by the table in `names`.

    Document `i` of a task becomes row `i` of the split that is evaluated here. Prompts and task versions are not comparable with ours, so
    both are marked unknown, and `align` refuses such a baseline unless the user allows `unknown-prompts`.

    Args:
        results: `results_<date>.json`.
        samples: `samples_<task>_<date>.jsonl` files, which the harness writes with `--log_samples`. None: those of the same date in the
            same folder.

    Raises UserInputError: a file is missing or is not one of the harness's; there are no samples.
    """
    run = read_run(results, samples=samples)
    content, numbers, by_task, provenance = run.content, run.numbers, run.samples, run.provenance
    tasks: dict[TaskKey, BaselineTask] = {}
    unmapped: list[str] = []
    # a group's row is computed from its tasks' rows
    groups = _mapping(content.get("groups"))
    for name in numbers:
        known = find_task(name)
        if name in groups:
            continue
        if known is None:
            unmapped.append(f"{name}: no task here is the same")
        elif known.split is None:
            unmapped.append(f"{name}: its documents cannot be matched with those here")
        elif name not in by_task:
            unmapped.append(f"{name}: its samples file is missing")
        else:
            theirs = _HarnessTask(path=results, name=name, content=content, known=known, split=known.split)
            values = _values(run, name, known)
            unmapped += [f"{name} {metric}: no sample has it" for metric in known.metrics if metric not in values]
            for task in _tasks(theirs, values, provenance):
                # truthfulqa's two scores are two tasks there
                tasks[task.key] = _together(tasks[task.key], task) if task.key in tasks else task
    return ImportedBaseline(baseline=Baseline(tasks=tasks), unmapped=tuple(unmapped))


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessRun:
    """The files of a run."""

    path: Path
    content: Mapping[str, Any]
    numbers: Mapping[str, Any]
    """Of `content`: by task and group."""
    samples: Mapping[str, Path]
    """By task."""
    provenance: Provenance

    def fact(self, table: str, name: str) -> Any:
        """A task's entry in a table of the results."""
        return _mapping(self.content.get(table)).get(name)

    def lines(self, task: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The samples of a task, and where each stands. Raises UserInputError."""
        file = self.samples[task]
        for number, line in enumerate(read_utf8(file, shown=str(file)).splitlines(), start=1):
            if line.strip():
                sample = _json(file, f"{file.name}:{number}", line)
                document = sample.get("doc_id") if isinstance(sample, dict) else None
                if type(document) is not int or document < 0:
                    raise UserInputError(f"{file}:{number}: doc_id: a whole number is needed")
                yield f"{file}:{number}", sample


def read_run(results: Path, *, samples: Sequence[Path] | None = None) -> HarnessRun:
    """The files of a run; `samples` as in `lm_eval_baseline`. Raises UserInputError."""
    content = _json(results, results.name, read_utf8(results, shown=str(results)))
    numbers = content.get("results") if isinstance(content, dict) else None
    if not isinstance(numbers, dict):
        raise UserInputError(f"{results}: results: is missing: this is no results file of lm-evaluation-harness")
    date = results.stem.removeprefix("results_")
    files = sorted(results.parent.glob(f"samples_*_{date}.jsonl")) if samples is None else list(samples)
    if not files:
        raise UserInputError(f"{results}: there are no samples_<task>_{date}.jsonl beside it; lm-eval writes them with --log_samples")
    by_task = {_task_of(file, numbers): file for file in files}
    return HarnessRun(path=results, content=content, numbers=numbers, samples=by_task, provenance=_provenance(content))


@dataclass(frozen=True, slots=True, kw_only=True)
class _HarnessTask:
    """One task of the results file."""

    path: Path
    name: str
    content: Mapping[str, Any]
    known: LmEvalTask
    split: str

    def fact(self, table: str, name: str | None = None) -> Any:
        """The task's entry in a table of the results."""
        return _mapping(self.content.get(table)).get(name or self.name)


def _json(path: Path, where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserInputError(f"{path.with_name(where)}: not JSON: {error.msg}") from error


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _task_of(file: Path, numbers: Mapping[str, Any]) -> str:
    """The task whose samples these are: names and dates may hold underscores, so the longest known name wins."""
    stem = file.stem.removeprefix("samples_")
    fitting = [name for name in numbers if stem == name or stem.startswith(f"{name}_")]
    if not fitting:
        raise UserInputError(f"{file}: is of no task of the results file")
    return max(fitting, key=len)


def _provenance(content: Mapping[str, Any]) -> Provenance:
    config = _mapping(content.get("config"))
    dtype = config.get("model_dtype")
    return provenance_of(
        backend={
            "name": config.get("model"),
            "fingerprint": config.get("model_sha") or None,
            "dtype": dtype.removeprefix("torch.") if isinstance(dtype, str) else None,
        },
        environment={
            "packages": {"lm-eval": content.get("lm_eval_version"), "transformers": content.get("transformers_version")},
        },
        settings={"use_chat_template": bool(content.get("chat_template")), "system_prompt": content.get("system_instruction")},
    )


def _values(run: HarnessRun, task: str, known: LmEvalTask) -> dict[str, dict[int, SampleValue | None]]:
    """`metric,filter` -> document -> value, of the metrics that have a counterpart."""
    found: dict[str, dict[int, SampleValue | None]] = {}
    for where, sample in run.lines(task):
        document = sample["doc_id"]
        for name in known.metrics:
            metric, _, chosen = name.partition(",")
            if metric in sample and sample.get("filter", "none") == chosen:
                values = found.setdefault(name, {})
                if document in values:
                    raise UserInputError(f"{where}: doc_id: {document} is given twice with {name}")
                values[document] = _value(f"{where}: {metric}", sample[metric])
    return found


def _value(where: str, value: Any) -> SampleValue | None:
    """One of the harness's values as ours: a list of booleans is how many hold, and of how many."""
    if value is None or isinstance(value, (bool, int, float)):
        return None if value is None else float(value)
    if isinstance(value, list) and value and all(isinstance(member, bool) for member in value):
        return (sum(value), len(value))
    if isinstance(value, list) and all(isinstance(member, (int, float)) for member in value):
        return tuple(value)
    raise UserInputError(f"{where}: a number or a list of numbers is needed, not {str(value)[:40]!r}")


def _tasks(theirs: _HarnessTask, values: Mapping[str, Mapping[int, SampleValue | None]], provenance: Provenance) -> Iterator[BaselineTask]:
    """One task here for each that the metrics belong to."""
    documents = sorted({document for column in values.values() for document in column})
    few_shots = _few_shots(theirs)
    for task in dict.fromkeys(theirs.known.metrics[name].task for name in values):
        own = {name: target for name, target in theirs.known.metrics.items() if target.task == task and name in values}
        key = TaskKey.parse(f"{task}|{few_shots}")
        if key is None:
            raise UserInputError(f"{theirs.path}: n-shot.{theirs.name}: {few_shots} is no count of few-shot examples")
        original = _mapping(theirs.fact("n-samples")).get("original")
        yield BaselineTask(
            key=key,
            version=None,
            metrics={target.metric: _metric(theirs, name, target, len(documents)) for name, target in own.items()},
            ids=tuple(f"{theirs.split}:{document}" for document in documents),
            few_shot_seeds=(0,) * len(documents),
            prompt_digests=None,
            scores={target.metric: tuple((values[name].get(document),) for document in documents) for name, target in own.items()},
            repeats=1,
            dataset_fingerprint=None,
            effective_few_shots=None,
            max_samples=len(documents) if isinstance(original, int) and original > len(documents) else None,
            provenance=(provenance,),
        )


def _few_shots(theirs: _HarnessTask) -> int:
    for given in (theirs.fact("n-shot"), _mapping(theirs.fact("configs")).get("num_fewshot")):
        if type(given) is int:
            return given
    return theirs.known.few_shots


def _metric(theirs: _HarnessTask, name: str, target: Target, documents: int) -> BaselineMetric:
    metric, _, chosen = name.partition(",")
    numbers = _mapping(theirs.fact("results"))
    value, error = numbers.get(name), numbers.get(f"{metric}_stderr,{chosen}")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserInputError(f"{theirs.path}: results.{theirs.name}.{name}: a number is needed, not {value!r}")
    return BaselineMetric(
        value=float(value),
        # "N/A" where the harness knows none
        stderr=float(error) if isinstance(error, (int, float)) and math.isfinite(error) else None,
        n=documents,
        higher_is_better=target.metric not in LOWER_IS_BETTER,
    )


def _together(first: BaselineTask, further: BaselineTask) -> BaselineTask:
    """Metrics that the harness reports as two tasks over the same documents."""
    if first.ids != further.ids:
        raise UserInputError(f"{first.key}: {', '.join(further.metrics)} was measured on other documents than {', '.join(first.metrics)}")
    known = {name: getattr(first, name) for name in BaselineTask.__slots__}
    return BaselineTask(**known | {"metrics": {**first.metrics, **further.metrics}, "scores": {**first.scores, **further.scores}})
