"""`eval-results:MODEL` and `model-card:MODEL`: a model's scores in its own repository on the hub.

`.eval_results/*.yaml` (https://huggingface.co/docs/hub/eval-results) has one entry for each task. It has no field for a standard error, so
the notes tell it. `model-card` makes the older `model-index` of the model's card.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

from pytest_lighteval.errors import MissingExtraError, UserInputError
from pytest_lighteval.publishing.finished_run import FinishedRun, slug
from pytest_lighteval.publishing.publication import Publication
from pytest_lighteval.types import MetricResult, Task, TaskResult, shown_number


def eval_results(run: FinishedRun, model: str, *, task_ids: Mapping[str, str], source_url: str | None = None) -> Publication:
    """One file for each task whose data set is on the hub.

    Args:
        run: what is published. A part of a benchmark is not its result, so `--max-samples` and shards are refused.
        model: the model's repository.
        task_ids: `suite|task` -> the id that the data set's own `eval.yaml` gives the task. Others have the subset's name, or `default`.
        source_url: where the run can be looked at.

    Raises:
        UserInputError: The run is a part of its benchmarks; no task is on the hub; an id is given for a task that did not run.
        MissingExtraError: huggingface_hub is not installed.
    """
    hub = _hub()
    _check_whole(run)
    ran = {f"{result.key.suite}|{result.key.task}" for result in run.report.results}
    if unknown := [name for name in task_ids if name not in ran]:
        raise UserInputError(f"--task-id {unknown[0]}: the run has no such task; it has {', '.join(sorted(ran))}")
    files: dict[str, bytes] = {}
    notes: list[str] = []
    for result, task in _on_hub(run, notes):
        name, number = _first(result)
        entry = hub.EvalResultEntry(
            dataset_id=task.hf_repo,
            task_id=task_ids.get(task.id) or task.hf_subset or "default",
            value=number.value,
            dataset_revision=task.hf_revision,
            date=run.report.started,
            source_url=source_url,
            source_name=None if source_url is None else "pytest-lighteval",
            notes=_notes(result, name, number),
        )
        files[f".eval_results/{slug(str(result.key).replace('|', '_'))}.yaml"] = _yaml(hub.eval_result_entries_to_yaml([entry]))
    if not files:
        raise UserInputError(f"{run.folder}: none of its tasks has a data set on the hub, and only those have a place there")
    return Publication(target=model, files=files, notes=tuple(notes))


def model_card(run: FinishedRun, model: str) -> Publication:
    """The `model-index` of a model's card: every number of every task on the hub. Raises as `eval_results`."""
    hub = _hub()
    _check_whole(run)
    notes: list[str] = []
    entries = [
        hub.EvalResult(
            task_type="text-generation",
            task_name="Text Generation",
            dataset_type=task.hf_repo,
            dataset_name=f"{result.key.task} ({result.key.few_shots}-shot)",
            dataset_config=task.hf_subset,
            dataset_split=task.evaluation_splits[0],
            dataset_revision=task.hf_revision,
            metric_type=name,
            metric_name=name if number.stderr is None else f"{name} (standard error {shown_number(number.stderr)})",
            metric_value=number.value,
        )
        for result, task in _on_hub(run, notes)
        for name, number in result.metrics.items()
    ]
    if not entries:
        raise UserInputError(f"{run.folder}: none of its tasks has a data set on the hub, and only those have a place in a model card")
    index = hub.repocard_data.eval_results_to_model_index(model.rpartition("/")[2], entries)
    return Publication(target=model, files={"model-index.yaml": _yaml({"model-index": index})}, notes=tuple(notes))


def _on_hub(run: FinishedRun, notes: list[str]) -> Iterator[tuple[TaskResult, Task]]:
    for result in run.report.results:
        task = run.tasks.get(result.key)
        if task is None or task.hf_repo is None:
            notes.append(f"{result.key}: left out: its data is not on the hub")
        elif result.num_saved:
            notes.append(f"{result.key}: left out: it stopped early, and a part of a benchmark is not its result")
        else:
            yield result, task


def _first(result: TaskResult) -> tuple[str, MetricResult]:
    return next(iter(result.metrics.items()))


def _notes(result: TaskResult, name: str, number: MetricResult) -> str:
    error = "" if number.stderr is None else f", standard error {shown_number(number.stderr)}"
    return f"{name}, {result.key.few_shots}-shot, n = {number.n}{error}; pytest-lighteval {version('pytest-lighteval')}, {result.key}"


def _check_whole(run: FinishedRun) -> None:
    if run.report.settings.get("max_samples") is not None:
        raise UserInputError(
            f"{run.folder}: asked {run.report.settings['max_samples']} documents of each task, which is no result of a benchmark"
        )


def _hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.repocard_data
    except ImportError as error:
        raise MissingExtraError("huggingface_hub", "hub") from error
    return huggingface_hub


def _yaml(value: Any) -> bytes:
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    return text.encode()
