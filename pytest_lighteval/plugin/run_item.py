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
from pytest_lighteval.graders.judge import JudgeGrader
from pytest_lighteval.plugin.canary import run_canary
from pytest_lighteval.plugin.environment import environment
from pytest_lighteval.plugin.gates import BaselineScores, baseline_scores
from pytest_lighteval.plugin.graders import gradable, grader_of, notes_of
from pytest_lighteval.plugin.item_report import (
    Outcome,
    attach_backend,
    attach_cache_use,
    attach_error,
    attach_grader,
    attach_lost,
    attach_outcome,
    attach_reference,
    attach_repeats,
    attach_use,
    attempts_of,
    note_seconds,
)
from pytest_lighteval.plugin.items import AnswersItem, ReferenceItem, TaskItem
from pytest_lighteval.plugin.judging import NO_JUDGE, AnswersOnly, Gathered, is_judged, without_judge
from pytest_lighteval.plugin.progress import item_progress
from pytest_lighteval.plugin.reference import FOLDER as REFERENCE_FOLDER
from pytest_lighteval.plugin.reference import Reference, ReferenceResult, facts_of
from pytest_lighteval.plugin.sandboxes import REFUSED, needs_sandbox
from pytest_lighteval.plugin.session import Session
from pytest_lighteval.plugin.stored_answers import StoredRun
from pytest_lighteval.plugin.work_ahead import work_ahead
from pytest_lighteval.reports.details import DetailsWriter
from pytest_lighteval.reports.judges import judge_properties, judge_uses
from pytest_lighteval.reports.junit import properties
from pytest_lighteval.reports.printable import printable
from pytest_lighteval.reports.serialize import to_plain
from pytest_lighteval.types import Attempt, Backend, Grader, Task, TaskKey, TaskResult, results_that_count


def run_item(session: Session, item: TaskItem, backend: object, reference: Reference | None = None, judges: object = None) -> TaskResult:
    """Evaluate an item's task and judge it. Skips what the backend cannot do, unless a gate waits for it; raises LightevalError.

    If an earlier attempt at the item in this session has a verdict, the answers of both are judged together, and the metrics of the
    returned result are the means: whoever tries again until a score is good enough proves nothing.
    With a reference, its own result comes first, measured here if nobody did so yet, and its model is out of memory before the other one
    is asked. `judges` is what the `lighteval_judge` fixture gave; with it, the model of a judged task has left the memory before a judge
    is asked.
    """
    key, task = item.key, item.task
    if session.settings.gate.canary is not None:
        run_canary(session, item, checked_backend(backend))
    attempts = attempts_of(item, key)
    earlier = results_that_count(attempts)
    repeats: list[TaskResult] = []
    model: Backend | None = None
    try:
        model = checked_backend(backend)
        share = session.settings.shard
        engine = session.cache.around(model, share=share)
        lacking = lacking_of(session, task, engine)
        grader = None
        if is_judged(task):
            grader = session.judging.grader(judges)
            task = task if grader is not None else without_judge(task)
            lacking = lacking or (None if task.metrics else NO_JUDGE)
        if lacking is None:
            if reference is not None:
                _compare_with(session, item, reference, grader)
            try:
                before = baseline_scores(session, key)
                folder, stopping = session.run_folder, session.judge.early_stopping(key, task)
                if earlier:  # a verdict was red, so every document is asked again
                    folder, stopping = folder / "attempts" / str(len(earlier) + 1), None
                if grader is not None:
                    engine = _answers(session, item, model, share=share)
                else:
                    work_ahead(session, item, model, engine)
                if isinstance(model, StoredRun):
                    engine = model.answers_to(key)
                uses = {} if grader is None else judge_uses(session.judging.facts(grader))
                result = run_evaluation(
                    session,
                    item,
                    task,
                    key,
                    engine,
                    folder=folder,
                    before=before,
                    stopping=stopping,
                    share=share,
                    grader=grader,
                    notes=(f"a part of it is not measured: {NO_JUDGE}",) if task.metrics != item.task.metrics else (),
                )
                is_deferred, model_id = session.settings.gate.is_deferred, engine.fingerprint
                verdicts = () if is_deferred else session.judge.verdicts(item.task, result, stopping, earlier=earlier, model=model_id)
                for number in range(1, session.settings.gate.runs):
                    again = session.cache.around(repeated(model, number), repeat=number)
                    place = folder / "repeats" / str(number)
                    if grader is not None:
                        again = session.judging.stored(model, key, session.run_folder / "repeats" / str(number), is_part=False)
                    repeats.append(run_evaluation(session, item, task, key, again, folder=place, before=before, grader=grader))
            except UnsupportedRequestError as error:
                lacking = str(error)
        if lacking is not None and session.judge.is_gated(key, item.task):
            raise BackendError(f"{lacking}, and the task is gated")
    except NothingToAskError as error:
        attach_error(item, key, str(error), skipped=True)
        pytest.skip(str(error))
    except LightevalError as error:
        attach_error(item, key, str(error))
        if model is not None and not is_judged(item.task):
            attach_use(item, model.describe())
        if is_judged(item.task) and grader is not None:
            attach_grader(item, "judge", session.judging.facts(grader))
        if isinstance(error, BackendLostError):
            attach_lost(item, str(error))
            item.session.shouldfail = printable(session.secrets.mask(str(error)))
        raise
    if lacking is not None:
        attach_error(item, key, lacking, skipped=True)
        attach_use(item, model.describe())
        pytest.skip(lacking)
    # what the model did is told by the item in which it answered
    has_answers_item = grader is not None and not isinstance(model, StoredRun)
    attach_outcome(item, Outcome(result=result, verdicts=verdicts), backend={} if has_answers_item else facts_of(engine))
    if grader is not None:
        attach_grader(item, "judge", session.judging.facts(grader))
        item.user_properties += judge_properties(session.judging.facts(grader), uses)
    attach_repeats(item, key, repeats)
    shown = replace(result, metrics=mean_of_runs([*earlier, result]))
    item.user_properties += properties(shown, verdicts, attempts=(*attempts, Attempt(result=result, verdicts=verdicts)))
    return shown


def run_answers_item(session: Session, item: AnswersItem, backend: object) -> None:
    """Let the model answer a judged task, and keep its answers in the run's details.

    A problem is told by the task's own item; this one is skipped then. Raises BackendLostError.
    """
    model = checked_backend(backend)
    engine = session.cache.around(model)
    problem = lacking_of(session, item.task, engine)
    if problem is None:
        work_ahead(session, item, model, engine)
        try:
            problem = _gathered(session, item, model).problem
        except BackendLostError as error:
            attach_error(item, item.key, str(error))
            item.session.shouldfail = printable(session.secrets.mask(str(error)))
            raise
    if problem is not None:
        pytest.skip(f"no answers, as the item of the task says: {problem}")
    attach_backend(item, facts_of(engine))


def _gathered(session: Session, item: TaskItem | AnswersItem, model: Backend) -> Gathered:
    """Let the model answer, if nobody did so yet; also the repeats of `--gate-calibrate`."""

    def measure() -> None:
        share = session.settings.shard
        for number in range(session.settings.gate.runs):
            engine = session.cache.around(repeated(model, number) if number else model, repeat=number, share=share)
            folder = session.run_folder / "repeats" / str(number) if number else session.run_folder
            run_evaluation(session, item, item.task, item.key, engine, folder=folder, share=share, grader=AnswersOnly())

    return session.judging.gather(item.key, measure)


def _answers(session: Session, item: TaskItem, model: Backend, *, share: tuple[int, int] | None) -> Backend:
    """The answers to a judged task, as a backend. Raises BackendError if there are none."""
    session.judging.key = item.key
    if isinstance(model, StoredRun):
        return model.answers_to(item.key)
    gathered = _gathered(session, item, model)
    if gathered.problem is not None:
        raise NothingToAskError(gathered.problem) if gathered.is_empty else BackendError(gathered.problem)
    return session.judging.stored(model, item.key, session.run_folder, is_part=share is not None)


def run_reference_item(session: Session, item: ReferenceItem, reference: Reference) -> TaskResult:
    """Measure an item's task with the reference. Skips what its backend cannot do; raises LightevalError."""
    held = _reference_result(session, item, reference)
    if held.result is None:
        problem = held.problem or "it has no result"
        attach_error(item, item.key, problem, skipped=held.lacking, reference=True)
        if held.lacking:
            pytest.skip(f"reference: {problem}")
        raise BackendError(f"reference: {problem}")
    if not is_judged(item.task):  # of a judged task there are only answers yet
        attach_reference(item, held.result, backend=held.facts)
    return held.result


def _compare_with(session: Session, item: TaskItem, reference: Reference, grader: JudgeGrader | None) -> None:
    """Make the reference's result the baseline of an item's task; its answers are judged here."""
    held = _reference_result(session, item, reference)
    result = held.result
    if result is None:
        reference.release()
        raise BackendError(f"the reference has no score to compare with: {held.problem}")
    if is_judged(item.task):
        model, place = reference.model(), session.run_folder / REFERENCE_FOLDER
        if grader is None:
            stored = session.judging.stored(model, item.key, place, is_part=False)
            result = run_evaluation(session, item, without_judge(item.task), item.key, stored, folder=place)
        else:
            session.judging.key = item.key
            stored = session.judging.stored(model, item.key, place, is_part=False)
            result = run_evaluation(session, item, item.task, item.key, stored, folder=place, grader=grader)
    reference.release()
    if held.is_new or is_judged(item.task):  # its own item did not get that far
        attach_reference(item, result, backend=held.facts)
    settings = session.settings
    assert isinstance(settings.gate.baselines, MeasuredBaselines)
    settings.gate.baselines.add(result, backend=held.facts, environment=environment(), settings=to_plain(settings.evaluation))


def _reference_result(session: Session, item: TaskItem | ReferenceItem, reference: Reference) -> ReferenceResult:
    def measure(backend: Backend, folder: Path) -> TaskResult:
        grader = AnswersOnly() if is_judged(item.task) else None
        return run_evaluation(session, item, item.task, item.key, checked_backend(backend), folder=folder, grader=grader)

    return reference.result(item.key, measure, lacking=lambda backend: lacking_of(session, item.task, backend))


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
    grader: Grader | None = None,
    notes: tuple[str, ...] = (),
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
        grader: For metrics that need one.
        notes: What a reader of the result should know.

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
                grader=grader or grader_of(session, asked),
                tiny_parameters=session.settings.tiny_parameters,
                notes=(*notes, *notes_of(task, asked)),
                on_detail=lambda detail: details.write(replace(detail, baseline=before(detail.doc.id, detail.few_shot_seed))),
                on_progress=progress,
            )
        note_seconds(item, result.seconds)
        if needs_sandbox(task):
            attach_grader(item, "sandbox", session.sandbox.grader().describe())
        return result
    finally:
        attach_cache_use(item, to_plain(session.cache.take_use()))


def lacking_of(session: Session, task: Task, backend: Backend) -> str | None:
    """What the backend cannot do that the task asks, or the user did not allow, as a reason. None: the task can be run."""
    if session.settings.sandbox is None and needs_sandbox(task):
        return REFUSED
    lacking = [kind.value for kind in task_kinds(task) if kind not in backend.supports]
    return f"backend {backend.name!r} cannot do {' and '.join(lacking)}" if lacking else None


def checked_backend(backend: object) -> Backend:
    """A conftest may return anything at all as its engine."""
    if not isinstance(backend, Backend):
        members = [name for name in ("name", *vars(Backend)) if not name.startswith("_") and not hasattr(backend, name)]
        raise BackendError(f"lighteval_backend is of type {type(backend).__name__}, which lacks {', '.join(members)}")
    return backend
