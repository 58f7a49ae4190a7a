"""One evaluation inside a pytest item, and what of it goes onto the item's report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_lighteval.backends.protocol import repeated
from pytest_lighteval.baselines.measured import MeasuredBaselines
from pytest_lighteval.common.statistics import mean_of_runs
from pytest_lighteval.errors import BackendError, BackendLostError, LightevalError, NothingToAskError, UnsupportedRequestError
from pytest_lighteval.evaluate import EvaluationSettings, StoppingRule, evaluate, task_kinds
from pytest_lighteval.plugin.canary import run_canary
from pytest_lighteval.plugin.environment import environment
from pytest_lighteval.plugin.gates import BaselineScores, baseline_scores
from pytest_lighteval.plugin.graders import gradable, grader_of, notes_of
from pytest_lighteval.plugin.item_report import (
    Outcome,
    attach_cache_use,
    attach_error,
    attach_lost,
    attach_outcome,
    attach_reference,
    attach_repeats,
    attach_use,
    attempts_of,
    note_seconds,
)
from pytest_lighteval.plugin.items import ReferenceItem, TaskItem
from pytest_lighteval.plugin.progress import item_progress
from pytest_lighteval.plugin.reference import Reference, ReferenceResult, facts_of
from pytest_lighteval.plugin.session import Session
from pytest_lighteval.plugin.shards import share_of
from pytest_lighteval.plugin.work_ahead import work_ahead
from pytest_lighteval.reports.details import DetailsWriter
from pytest_lighteval.reports.junit import properties
from pytest_lighteval.reports.printable import printable
from pytest_lighteval.reports.serialize import to_plain
from pytest_lighteval.types import Attempt, Backend, Task, TaskKey, TaskResult, results_that_count


def run_item(session: Session, item: TaskItem, backend: object, reference: Reference | None = None) -> TaskResult:
    """Evaluate an item's task and judge it. Skips what the backend cannot do, unless a gate waits for it; raises LightevalError.

    If an earlier attempt at the item in this session has a verdict, the answers of both are judged together, and the metrics of the
    returned result are the means: whoever tries again until a score is good enough proves nothing.
    With a reference, its own result comes first, measured here if nobody did so yet, and its model is out of memory before the other one
    is asked.
    """
    key = item.key
    if session.settings.gate.canary is not None:
        run_canary(session, item, checked_backend(backend))
    attempts = attempts_of(item, key)
    earlier = results_that_count(attempts)
    repeats: list[TaskResult] = []
    model: Backend | None = None
    try:
        model = checked_backend(backend)
        share = share_of(item.task, session.settings.shard)
        engine = session.cache.around(model, share=share)
        lacking = lacking_kinds(item.task, engine)
        if lacking is None:
            if reference is not None:
                _compare_with(session, item, reference)
            try:
                before = baseline_scores(session, key)
                folder, stopping = session.run_folder, session.judge.early_stopping(key, item.task)
                if earlier:  # a verdict was red, so every document is asked again
                    folder, stopping = folder / "attempts" / str(len(earlier) + 1), None
                work_ahead(session, item, model, engine)
                result = run_evaluation(session, item, item.task, key, engine, folder=folder, before=before, stopping=stopping, share=share)
                is_deferred, model_id = session.settings.gate.is_deferred, engine.fingerprint
                verdicts = () if is_deferred else session.judge.verdicts(item.task, result, stopping, earlier=earlier, model=model_id)
                for number in range(1, session.settings.gate.runs):
                    again = session.cache.around(repeated(model, number), repeat=number)
                    place = folder / "repeats" / str(number)
                    repeats.append(run_evaluation(session, item, item.task, key, again, folder=place, before=before))
            except UnsupportedRequestError as error:
                lacking = str(error)
        if lacking is not None and session.judge.is_gated(key, item.task):
            raise BackendError(f"{lacking}, and the task is gated")
    except NothingToAskError as error:
        attach_error(item, key, str(error), skipped=True)
        pytest.skip(str(error))
    except LightevalError as error:
        attach_error(item, key, str(error))
        if model is not None:
            attach_use(item, model.describe())
        if isinstance(error, BackendLostError):
            attach_lost(item, str(error))
            item.session.shouldfail = printable(session.secrets.mask(str(error)))
        raise
    if lacking is not None:
        attach_error(item, key, lacking, skipped=True)
        attach_use(item, model.describe())
        pytest.skip(lacking)
    attach_outcome(item, Outcome(result=result, verdicts=verdicts), backend=facts_of(engine))
    attach_repeats(item, key, repeats)
    shown = replace(result, metrics=mean_of_runs([*earlier, result]))
    item.user_properties += properties(shown, verdicts, attempts=(*attempts, Attempt(result=result, verdicts=verdicts)))
    return shown


def run_reference_item(session: Session, item: ReferenceItem, reference: Reference) -> TaskResult:
    """Measure an item's task with the reference. Skips what its backend cannot do; raises LightevalError."""
    held = _reference_result(session, item, reference)
    if held.result is None:
        problem = held.problem or "it has no result"
        attach_error(item, item.key, problem, skipped=held.lacking, reference=True)
        if held.lacking:
            pytest.skip(f"reference: {problem}")
        raise BackendError(f"reference: {problem}")
    attach_reference(item, held.result, backend=held.facts)
    return held.result


def _compare_with(session: Session, item: TaskItem, reference: Reference) -> None:
    """Make the reference's result the baseline of an item's task."""
    held = _reference_result(session, item, reference)
    reference.release()
    if held.result is None:
        raise BackendError(f"the reference has no score to compare with: {held.problem}")
    if held.is_new:  # its own item did not get that far
        attach_reference(item, held.result, backend=held.facts)
    settings = session.settings
    assert isinstance(settings.gate.baselines, MeasuredBaselines)
    settings.gate.baselines.add(held.result, backend=held.facts, environment=environment(), settings=to_plain(settings.evaluation))


def _reference_result(session: Session, item: TaskItem | ReferenceItem, reference: Reference) -> ReferenceResult:
    def measure(backend: Backend, folder: Path) -> TaskResult:
        return run_evaluation(session, item, item.task, item.key, checked_backend(backend), folder=folder)

    return reference.result(item.key, measure, lacking=lambda backend: lacking_kinds(item.task, backend))


def run_evaluation(
    session: Session,
    item: pytest.Item,
    task: Task,
    key: TaskKey,
    backend: Backend,
    *,
    folder: Path,
    settings: EvaluationSettings | None = None,
    before: BaselineScores = lambda document, seed: None,
    stopping: StoppingRule | None = None,
    share: tuple[int, int] | None = None,
) -> TaskResult:
    """Evaluate a task inside an item: with progress, a details file below `folder`, and the cache's use on the item's report.

    Args:
        session: Of which the data sets, the cache and (by default) the settings are used.
        item: In which the evaluation happens.
        task: What is evaluated.
        key: Its identity in this run.
        backend: What answers.
        folder: Where the details go.
        settings: None: the session's.
        before: What documents scored in the baseline, for the details.
        stopping: Ends the task early. None: every document is asked.
        share: The part of the task that the backend answers. None: all of it.

    Raises:
        LightevalError: There is no score, for any reason.
    """
    asked = gradable(session, task)
    try:
        with (
            item_progress(item, str(key), session.secrets.mask) as progress,
            DetailsWriter(folder, key, mask=session.secrets.mask if session.secrets.pattern else None) as details,
        ):
            result = evaluate(
                asked,
                backend,
                few_shots=key.few_shots,
                truncate=key.truncate,
                settings=settings or session.settings.evaluation,
                data_sets=session.data_sets,
                stopping=stopping,
                share=share,
                grader=grader_of(session, asked),
                tiny_parameters=session.settings.tiny_parameters,
                notes=notes_of(task, asked),
                on_detail=lambda detail: details.write(replace(detail, baseline=before(detail.doc.id, detail.few_shot_seed))),
                on_progress=progress,
            )
        note_seconds(item, result.seconds)
        return result
    finally:
        attach_cache_use(item, to_plain(session.cache.take_use()))


def lacking_kinds(task: Task, backend: Backend) -> str | None:
    """What the backend cannot do that the task asks, as a reason. None: it can do all of it."""
    lacking = [kind.value for kind in task_kinds(task) if kind not in backend.supports]
    return f"backend {backend.name!r} cannot do {' and '.join(lacking)}" if lacking else None


def checked_backend(backend: object) -> Backend:
    """A conftest may return anything at all as its engine."""
    if not isinstance(backend, Backend):
        members = [name for name in ("name", *vars(Backend)) if not name.startswith("_") and not hasattr(backend, name)]
        raise BackendError(f"lighteval_backend is of type {type(backend).__name__}, which lacks {', '.join(members)}")
    return backend
