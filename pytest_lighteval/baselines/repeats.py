"""Several runs of one model: merged into a baseline of K repeats per document, and how often they differ."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_lighteval.baselines.model import Baseline, BaselineMetric, BaselineTask
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.types import TaskKey


def merge_runs(runs: Sequence[Baseline]) -> Baseline:
    """All tasks of all runs; a task in several runs gets the repeats of each, in the order of the runs.

    Runs may be merged baselines themselves, and need not have the same tasks. Their histories are concatenated.

    Raises UserInputError if runs of a task are not repeats of one measurement: another model, task version, data, prompts, documents, or
    metrics.
    """
    by_key: dict[TaskKey, list[BaselineTask]] = {}
    for run in runs:
        for key, task in run.tasks.items():
            by_key.setdefault(key, []).append(task)
    merged = [tasks[0] if len(tasks) == 1 else _merged(tasks) for tasks in by_key.values()]
    history = [entry for run in runs for entry in run.history]
    return Baseline(
        tasks={task.key: task for task in merged},
        history=tuple(entry for index, entry in enumerate(history) if entry not in history[:index]),
    )


def _merged(tasks: Sequence[BaselineTask]) -> BaselineTask:
    first = tasks[0]
    for position, task in enumerate(tasks[1:], start=2):
        if difference := _difference(first, task):
            raise UserInputError(f"{first.key}: run {position} is no repeat of run 1: {difference}")
    repeats = sum(task.repeats for task in tasks)
    few_shots = [task.effective_few_shots for task in tasks if task.effective_few_shots is not None]
    provenance = [source for task in tasks for source in task.provenance]
    return BaselineTask(
        key=first.key,
        version=first.version,
        metrics={name: _merged_metric([task.metrics[name] for task in tasks], [task.repeats for task in tasks]) for name in first.metrics},
        ids=first.ids,
        few_shot_seeds=first.few_shot_seeds,
        prompt_digests=first.prompt_digests,
        scores={
            name: tuple(
                tuple(value for repeated in row for value in repeated) for row in zip(*(task.scores[name] for task in tasks), strict=True)
            )
            for name in first.scores
        },
        soft={
            name: tuple(tuple(number for row in rows for number in row) for rows in zip(*(task.soft[name] for task in tasks), strict=True))
            for name in first.soft
            if all(name in task.soft for task in tasks)
        },
        repeats=repeats,
        dataset_fingerprint=first.dataset_fingerprint,
        data_revision=first.data_revision,
        effective_few_shots=few_shots[0] if few_shots else None,
        num_truncated=max(task.num_truncated for task in tasks),
        grader=first.grader,
        cut_share=_mean_cut_share(tasks),
        max_samples=first.max_samples,
        provenance=tuple(source for index, source in enumerate(provenance) if source not in provenance[:index]),
    )


def _mean_cut_share(tasks: Sequence[BaselineTask]) -> float | None:
    """Over the runs, of which each task may have several."""
    known = [(task.cut_share, task.repeats) for task in tasks if task.cut_share is not None]
    return sum(share * runs for share, runs in known) / sum(runs for _, runs in known) if known else None


def _difference(first: BaselineTask, other: BaselineTask) -> str | None:
    """Why they are not repeats of one measurement. None: they are."""
    models = [{source.model_fingerprint for source in task.provenance} for task in (first, other)]
    checks = (
        (models[0] == models[1], "it is of another model"),
        (first.version == other.version, f"task version {other.version} instead of {first.version}"),
        (first.dataset_fingerprint == other.dataset_fingerprint, "the data changed"),
        (
            first.ids == other.ids and first.few_shot_seeds == other.few_shot_seeds,
            f"it holds other documents ({len(other.ids)} instead of {len(first.ids)}, or in another order)",
        ),
        (first.prompt_digests == other.prompt_digests, "the prompts differ"),
        (first.grader == other.grader, "its answers were graded otherwise"),
        (first.metrics.keys() == other.metrics.keys(), f"it reports {', '.join(other.metrics)} instead of {', '.join(first.metrics)}"),
    )
    return next((problem for holds, problem in checks if not holds), None)


def _merged_metric(metrics: Sequence[BaselineMetric], repeats: Sequence[int]) -> BaselineMetric:
    errors = [metric.stderr for metric in metrics if metric.stderr is not None]
    return BaselineMetric(
        value=math.fsum(metric.value * count for metric, count in zip(metrics, repeats, strict=True)) / sum(repeats),
        stderr=math.sqrt(math.fsum(error**2 for error in errors) / len(errors)) if len(errors) == len(metrics) else None,
        n=metrics[0].n,
        higher_is_better=metrics[0].higher_is_better,
    )


def discordance(task: BaselineTask, metric: str) -> float | None:
    """The variance of the difference between a document's scores in two runs of the same model, estimated from the repeats.

    Unbiased: twice the sample variance of the repeats, averaged over the documents. For 0/1 scores it is the share of documents in which
    two runs differ. None: the baseline does not have the metric, has no repeats, or the metric is of the whole corpus.
    """
    variances = []
    for repeated in task.scores.get(metric, ()):
        scores = [value for value in repeated if value is not None]
        if len(scores) < 2:
            continue
        if any(isinstance(value, tuple) for value in scores):
            return None
        numbers = [float(value) for value in scores if not isinstance(value, tuple)]
        middle = math.fsum(numbers) / len(numbers)
        variances.append(2 * math.fsum((number - middle) ** 2 for number in numbers) / (len(numbers) - 1))
    return math.fsum(variances) / len(variances) if variances else None
