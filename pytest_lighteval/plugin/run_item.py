"""Running one evaluation inside a pytest item, and what of it goes onto the item's report."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pytest_lighteval.backends.protocol import repeated
from pytest_lighteval.baselines.measured import MeasuredBaselines
from pytest_lighteval.errors import BackendError, BackendLostError, LightevalError, UnsupportedRequestError, UserInputError
from pytest_lighteval.evaluate import EvaluationSettings, StoppingRule, evaluate, task_kinds
from pytest_lighteval.plugin.cache import cache_of
from pytest_lighteval.plugin.environment import environment
from pytest_lighteval.plugin.gates import BaselineScores, baseline_scores, early_stopping_of, is_gated, judge_item
from pytest_lighteval.plugin.item_report import (
    RUN_FOLDER,
    attach_cache_use,
    attach_error,
    attach_outcome,
    attach_own_run,
    attach_reference,
    attach_reference_error,
    attach_repeats,
    attach_use,
    outcomes_of,
)
from pytest_lighteval.plugin.items import ReferenceItem, TaskItem
from pytest_lighteval.plugin.progress import ProgressLine
from pytest_lighteval.plugin.reference import Reference, ReferenceResult, facts_of
from pytest_lighteval.plugin.session import plan_of
from pytest_lighteval.reports.details import DetailsWriter
from pytest_lighteval.reports.junit import properties
from pytest_lighteval.reports.serialize import to_plain
from pytest_lighteval.tasks.task_spec import Selected, parse_specs
from pytest_lighteval.types import Backend, Task, TaskKey, TaskResult, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One evaluated task with what its gates say."""

    result: TaskResult
    verdicts: tuple[Verdict, ...]


def run_item(item: TaskItem, backend: object, reference: Reference | None = None) -> TaskResult:
    """Evaluate an item's task and judge it. Skips what the backend cannot do, unless a gate waits for it; raises LightevalError.

    With a reference, its own result comes first, measured here if nobody did so yet, and its model is out of memory before the other one
    is asked.
    """
    settings = plan_of(item.config).settings
    key = item.key
    repeats: list[TaskResult] = []
    model: Backend | None = None
    try:
        model = _checked(backend)
        engine = cache_of(item.config).around(model)
        lacking = _lacking(item.task, engine)
        if lacking is None:
            if reference is not None:
                _hold_against(item, reference)
            try:
                before = baseline_scores(item.config, key)
                folder, stopping = item.config.stash[RUN_FOLDER], early_stopping_of(item.config, key, item.task)
                result = _evaluate(item, item.task, key, engine, settings.evaluation, folder, before, stopping)
                verdicts = judge_item(item.config, item.task, result, stopping)
                for number in range(1, settings.gate.runs):
                    again = cache_of(item.config).around(repeated(model, number), repeat=number)
                    repeats.append(_evaluate(item, item.task, key, again, settings.evaluation, folder / "repeats" / str(number), before))
            except UnsupportedRequestError as error:
                lacking = str(error)
        if lacking is not None and is_gated(item.config, key, item.task):
            raise BackendError(f"{lacking}, and the task is gated")
    except LightevalError as error:
        attach_error(item, key, str(error))
        if model is not None:
            attach_use(item, model.describe())
        if isinstance(error, BackendLostError):
            item.session.shouldfail = str(error)
        raise
    if lacking is not None:
        attach_error(item, key, lacking, skipped=True)
        attach_use(item, model.describe())
        pytest.skip(lacking)
    attach_outcome(item, Outcome(result=result, verdicts=verdicts), backend=facts_of(engine))
    attach_repeats(item, key, repeats)
    item.user_properties += properties(result, verdicts)
    return result


def run_reference_item(item: ReferenceItem, reference: Reference) -> TaskResult:
    """Measure an item's task with the reference. Skips what its backend cannot do; raises LightevalError."""
    held = _reference_result(item, reference)
    if held.result is None:
        problem = held.problem or "it has no result"
        attach_reference_error(item, item.key, problem, skipped=held.lacking)
        if held.lacking:
            pytest.skip(f"reference: {problem}")
        raise BackendError(f"reference: {problem}")
    attach_reference(item, held.result, backend=held.facts)
    return held.result


def _hold_against(item: TaskItem, reference: Reference) -> None:
    """Make the reference's result the baseline of an item's task."""
    held = _reference_result(item, reference)
    reference.release()
    if held.result is None:
        raise BackendError(f"the reference has no score to be held against: {held.problem}")
    if held.is_new:  # its own item did not get that far
        attach_reference(item, held.result, backend=held.facts)
    settings = plan_of(item.config).settings
    assert isinstance(settings.gate.baselines, MeasuredBaselines)
    settings.gate.baselines.add(held.result, backend=held.facts, environment=environment(), settings=to_plain(settings.evaluation))


def _reference_result(item: TaskItem | ReferenceItem, reference: Reference) -> ReferenceResult:
    settings = plan_of(item.config).settings.evaluation

    def measure(backend: Backend, folder: Path) -> TaskResult:
        return _evaluate(item, item.task, item.key, _checked(backend), settings, folder)

    return reference.result(item.key, measure, lacking=lambda backend: _lacking(item.task, backend))


def outcome_of(item: pytest.Item, key: TaskKey) -> Outcome:
    """What was measured for a key in this item."""
    return outcomes_of(item)[key]


class Lighteval:
    """The `lighteval` fixture."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request

    def run(self, spec: str, *, max_samples: int | None = None) -> TaskResult:
        """Evaluate the one task that a spec (`suite|task|few_shots|truncate`) names, on the session's backend.

        `result["acc"]` is a value, `result.metrics["acc"]` has its standard error too. The result is reported under the test's own
        name; judging it is up to the test. `max_samples` overrides `--max-samples`.
        """
        __tracebackhide__ = True
        node = self._request.node
        try:
            selected = self._select(spec)
            settings = plan_of(node.config).settings.evaluation
            if max_samples is not None:
                settings = replace(settings, max_samples=max_samples)
            engine = cache_of(node.config).around(_checked(self._request.getfixturevalue("lighteval_backend")))
            if lacking := _lacking(selected.task, engine):
                pytest.skip(lacking)
            task = selected.task
            key = TaskKey(suite=task.suite, task=task.name, few_shots=selected.few_shots, truncate=selected.truncate)
            # a folder of its own: this may be a part of a task that an item measures as a whole
            folder = node.config.stash[RUN_FOLDER] / "own" / re.sub(r"[^\w.-]+", "-", node.nodeid, flags=re.ASCII).strip("-.")
            result = _evaluate(node, task, key, engine, settings, folder)
        except UnsupportedRequestError as error:
            pytest.skip(str(error))
        except LightevalError as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        attach_own_run(node, result, backend=facts_of(engine))
        return result

    def _select(self, spec: str) -> Selected:
        config = self._request.config
        specs = parse_specs(spec, folder=config.invocation_params.dir, source="lighteval.run")
        chosen = [selected for file in plan_of(config).catalogue.select(specs).values() for selected in file]
        if len(chosen) != 1:
            names = ", ".join(selected.task.name for selected in chosen[:3])
            raise UserInputError(f"lighteval.run takes one task, and {spec!r} names {len(chosen)} ({names}, ...)")
        return chosen[0]


def _evaluate(
    item: pytest.Item,
    task: Task,
    key: TaskKey,
    backend: Backend,
    settings: EvaluationSettings,
    folder: Path,
    before: BaselineScores = lambda document, seed: None,
    stopping: StoppingRule | None = None,
) -> TaskResult:
    progress = ProgressLine(item.config, item.nodeid, str(key))
    try:
        with DetailsWriter(folder, key) as details:
            return evaluate(
                task,
                backend,
                few_shots=key.few_shots,
                truncate=key.truncate,
                settings=settings,
                data_sets=plan_of(item.config).data_sets,
                stopping=stopping,
                on_detail=lambda detail: details.write(replace(detail, baseline=before(detail.doc.id, detail.few_shot_seed))),
                on_progress=progress,
            )
    finally:
        progress.done()
        attach_cache_use(item, to_plain(cache_of(item.config).take_use()))


def _lacking(task: Task, backend: Backend) -> str | None:
    """What the backend would have to be able to do, as a reason. None: it can."""
    lacking = [kind.value for kind in task_kinds(task) if kind not in backend.supports]
    return f"backend {backend.name!r} cannot do {' and '.join(lacking)}" if lacking else None


def _checked(backend: object) -> Backend:
    """A conftest may return anything at all as its engine."""
    if not isinstance(backend, Backend):
        members = [name for name in ("name", *vars(Backend)) if not name.startswith("_") and not hasattr(backend, name)]
        raise BackendError(f"lighteval_backend is of type {type(backend).__name__}, which lacks {', '.join(members)}")
    return backend
