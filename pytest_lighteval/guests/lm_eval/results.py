"""Runs of the harness as baselines of its own tasks, which run here unchanged: prompts, documents and values are the same."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_lighteval.baselines.importers.lm_eval import HarnessRun, ImportedBaseline, read_run
from pytest_lighteval.baselines.model import Baseline, BaselineMetric, BaselineTask
from pytest_lighteval.errors import LightevalError, UserInputError
from pytest_lighteval.guests.lm_eval.declared import Declared, declare, reported_name, value_of
from pytest_lighteval.guests.lm_eval.harness import find_aggregate
from pytest_lighteval.guests.lm_eval.plain_values import frozen
from pytest_lighteval.guests.lm_eval.requests import Asked, as_requests
from pytest_lighteval.guests.lm_eval.source import SUITE, task_name
from pytest_lighteval.prompts.requests import digest_requests
from pytest_lighteval.types import SampleValue, TaskKey

_KINDS = {"multiple_choice": "loglikelihood"}
"""What a task of this output type asks, where it has another name."""

_ARRAY = re.compile(r"\[[-+.\seinfa\[\]]*\d[-+.\deinfa\s\[\]]*\]")
"""How numpy writes an array of numbers as text. An answer such as `[invalid]` is none."""

Values = dict[str, dict[int, SampleValue | None]]
"""Reported name -> document -> value."""


def harness_baseline(results: Path, *, samples: Sequence[Path] | None = None) -> ImportedBaseline:
    """All tasks of a run, as `lm_eval|task|few_shots`; a task of a group with a row of its own as `lm_eval|group:task|few_shots`.

    A document's prompt digest is made of the arguments that the harness logged, so that a changed prompt is noticed. Arguments are as
    in `baselines.importers.lm_eval.lm_eval_baseline`. Raises UserInputError likewise.
    """
    run = read_run(results, samples=samples)
    groups = _groups(run)
    inner = {name for table in ("groups", "group_subtasks") for name in _mapping(run.content.get(table))}
    tasks: dict[TaskKey, BaselineTask] = {}
    left_out: list[str] = []
    for name in run.numbers:
        if name in inner:
            continue
        if name not in run.samples:
            left_out.append(f"{name}: its samples file is missing")
            continue
        task, lacking = _task(run, name, groups.get(name))
        tasks[task.key] = task
        left_out += [f"{name} {metric}: {reason}" for metric, reason in lacking.items()]
    return ImportedBaseline(baseline=Baseline(tasks=tasks), unmapped=tuple(left_out))


def _groups(run: HarnessRun) -> dict[str, str]:
    """Task -> the group that was asked for and has a row of its own."""
    below = {name: list(members) for name, members in _mapping(run.content.get("group_subtasks")).items() if isinstance(members, list)}
    inside = {member for members in below.values() for member in members}
    found: dict[str, str] = {}
    for group in _mapping(run.content.get("groups")):
        if group not in inside:
            found |= dict.fromkeys(_leaves(group, below, frozenset()), group)
    return found


def _leaves(name: str, below: Mapping[str, list[str]], above: frozenset[str]) -> Iterator[str]:
    for member in below.get(name, ()):
        if member in below and member not in above:
            yield from _leaves(member, below, above | {name})
        else:
            yield member


def _task(run: HarnessRun, name: str, group: str | None) -> tuple[BaselineTask, dict[str, str]]:
    """The task, and why metrics are left out."""
    config = _mapping(run.fact("configs", name))
    declared = declare(dict(config), find=find_aggregate, where=name)
    count = run.fact("n-shot", name)
    if type(count) is not int:
        raise UserInputError(f"{run.path}: n-shot.{name}: a whole number is needed, not {count!r}")
    values, digests, lacking = _read(run, name, config, declared)
    documents = sorted(digests)
    original = _mapping(run.fact("n-samples", name)).get("original")
    is_chat = bool(run.content.get("chat_template"))
    task = BaselineTask(
        key=TaskKey(suite=SUITE, task=task_name(name, group), few_shots=count),
        version=declared.version,
        metrics={reported: _metric(run, name, reported, len(documents)) for reported in values},
        ids=tuple(f"{declared.split}:{document}" for document in documents),
        few_shot_seeds=(0,) * len(documents),
        # a chat is logged as the text that the template made of it, and asked in turns here
        prompt_digests=None if is_chat else tuple(digests[document] for document in documents),
        scores={reported: tuple((column.get(document),) for document in documents) for reported, column in values.items()},
        repeats=1,
        dataset_fingerprint=None,
        effective_few_shots=float(count),
        max_samples=len(documents) if isinstance(original, int) and original > len(documents) else None,
        provenance=(run.provenance,),
    )
    return task, lacking


def _read(run: HarnessRun, name: str, config: Mapping[str, Any], declared: Declared) -> tuple[Values, dict[int, str], dict[str, str]]:
    values: Values = {}
    digests: dict[int, str] = {}
    lacking: dict[str, str] = {}
    for where, sample in run.lines(name):
        document = sample["doc_id"]
        if document not in digests:
            digests[document] = _digest(sample, config, where)
        for metric in sample.get("metrics") or ():
            reported = reported_name(str(metric), str(sample.get("filter", "none")))
            column = values.setdefault(reported, {})
            if document in column:
                raise UserInputError(f"{where}: doc_id: {document} is given twice with {reported}")
            value = sample.get(metric)
            if isinstance(value, list) and any(isinstance(member, str) and _ARRAY.fullmatch(member) for member in value):
                lacking[reported] = "the harness writes its values as text"
                continue
            column[document] = value_of(str(metric), declared.rules.get(str(metric), {}), frozen(value))
    return {reported: column for reported, column in values.items() if reported not in lacking}, digests, lacking


def _digest(sample: Mapping[str, Any], config: Mapping[str, Any], where: str) -> str:
    """Of what was asked, as a run here digests it."""
    logged = sample.get("arguments")
    if not isinstance(logged, Mapping):
        raise UserInputError(f"{where}: arguments: is missing: lm-eval writes it with --log_samples")
    kind = str(config.get("output_type"))
    repeats = config.get("repeats")
    asked = [
        Asked(kind=_KINDS.get(kind, kind), arguments=tuple(one.values()), repeats=repeats if isinstance(repeats, int) else 1)
        for one in logged.values()
    ]
    try:
        return digest_requests(as_requests(asked).requests)
    except (LightevalError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise UserInputError(f"{where}: arguments: not as a task of output_type {kind} has them") from error


def _metric(run: HarnessRun, name: str, reported: str, documents: int) -> BaselineMetric:
    metric, _, chosen = reported.partition(",")
    numbers = _mapping(run.numbers[name])
    value, error = numbers.get(f"{metric},{chosen or 'none'}"), numbers.get(f"{metric}_stderr,{chosen or 'none'}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserInputError(f"{run.path}: results.{name}.{metric},{chosen or 'none'}: a number is needed, not {value!r}")
    higher = _mapping(run.fact("higher_is_better", name)).get(metric)
    return BaselineMetric(
        value=float(value),
        # "N/A" where the harness knows none
        stderr=float(error) if isinstance(error, int | float) and math.isfinite(error) else None,
        n=documents,
        higher_is_better=True if higher is None else bool(higher),
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
