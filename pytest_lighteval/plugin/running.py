"""Running one evaluation inside a pytest item, and what of it goes onto the item's report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from pytest_lighteval.errors import BackendError, LightevalError, UserInputError
from pytest_lighteval.evaluate import evaluate, task_kinds
from pytest_lighteval.gate import gates_for, judge
from pytest_lighteval.plugin.collection import TaskItem
from pytest_lighteval.plugin.progress import ProgressLine
from pytest_lighteval.plugin.session import plan_of
from pytest_lighteval.plugin.transport import RUN_FOLDER, attach_error, attach_outcome, outcomes_of
from pytest_lighteval.reports.details import DetailsWriter
from pytest_lighteval.reports.junit import properties
from pytest_lighteval.selection import parse_specs
from pytest_lighteval.types import Backend, Task, TaskKey, TaskResult, Verdict

__all__ = ["Lighteval", "Outcome", "outcome_of", "run_item"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One evaluated task with what its gates say."""

    result: TaskResult
    verdicts: tuple[Verdict, ...]


def run_item(item: TaskItem, backend: Backend) -> TaskResult:
    """Evaluate an item's task. Skips what the backend cannot do; raises LightevalError."""
    return _run(item, item.task, item.key, backend, max_samples=None)


def outcome_of(item: pytest.Item, key: TaskKey) -> Outcome:
    """What was measured for a key in this item."""
    return outcomes_of(item)[key]


class Lighteval:
    """The `lighteval` fixture."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request

    def run(self, spec: str, *, max_samples: int | None = None) -> TaskResult:
        """Evaluate the one task that a spec (`suite|task|few_shots|truncate`) names, on the session's backend.

        `result["acc"]` is a value, `result.metrics["acc"]` has its standard error too. The result is reported with the run's others;
        judging it is up to the test. `max_samples` overrides `--max-samples`.
        """
        __tracebackhide__ = True
        try:
            plan = plan_of(self._request.config)
            specs = parse_specs(spec, folder=self._request.config.invocation_params.dir, source="lighteval.run")
            chosen = [selected for file in plan.catalogue.select(specs).values() for selected in file]
            if len(chosen) != 1:
                names = ", ".join(selected.task.name for selected in chosen[:3])
                raise UserInputError(f"lighteval.run takes one task, and {spec!r} names {len(chosen)} ({names}, ...)")
            key = TaskKey(suite=chosen[0].task.suite, task=chosen[0].task.name, few_shots=chosen[0].few_shots, truncate=chosen[0].truncate)
            return _run(self._request.node, chosen[0].task, key, self._backend(), max_samples=max_samples)
        except LightevalError as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None

    def _backend(self) -> Backend:
        backend: Backend = self._request.getfixturevalue("lighteval_backend")
        return backend


def _run(item: pytest.Item, task: Task, key: TaskKey, backend: Backend, *, max_samples: int | None) -> TaskResult:
    plan = plan_of(item.config)
    settings = plan.settings.evaluation
    if max_samples is not None:
        settings = replace(settings, max_samples=max_samples)
    _check(backend)
    lacking = [kind.value for kind in task_kinds(task) if kind not in backend.supports]
    if lacking:
        reason = f"backend {backend.name!r} cannot do {' and '.join(lacking)}"
        attach_error(item, key, reason, skipped=True)
        pytest.skip(reason)
    progress = ProgressLine(item.config, str(key))
    try:
        with DetailsWriter(item.config.stash[RUN_FOLDER], key) as details:
            result = evaluate(
                task,
                backend,
                few_shots=key.few_shots,
                truncate=key.truncate,
                settings=settings,
                data_sets=plan.data_sets,
                on_detail=details.write,
                on_progress=progress,
            )
        verdicts = judge(result.metrics, gates_for(key, task.gates, plan.settings.gates), key=str(key))
    except LightevalError as error:
        attach_error(item, key, str(error))
        raise
    finally:
        progress.done()
    attach_outcome(item, key, Outcome(result=result, verdicts=verdicts), backend=_facts(backend))
    for name, value in properties(result, verdicts):
        item.user_properties.append((name, value))
    return result


def _check(backend: object) -> None:
    """A conftest may return anything at all as its engine."""
    if not isinstance(backend, Backend):
        members = [name for name in ("name", *vars(Backend)) if not name.startswith("_") and not hasattr(backend, name)]
        raise BackendError(f"lighteval_backend is a {type(backend).__name__} without {', '.join(members)}")


def _facts(backend: Backend) -> Mapping[str, Any]:
    return {"name": backend.name, "fingerprint": backend.fingerprint, "max_length": backend.max_length, **backend.describe()}
