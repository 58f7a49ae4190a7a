"""The `lighteval` fixture: evaluations inside of a user's own tests."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_lighteval.common.file_names import folder_of_test
from pytest_lighteval.errors import LightevalError, UnsupportedRequestError, UserInputError
from pytest_lighteval.plugin.item_report import attach_grader, attach_own_run
from pytest_lighteval.plugin.judging import NO_JUDGE, is_judged, without_judge
from pytest_lighteval.plugin.reference import facts_of
from pytest_lighteval.plugin.run_item import checked_backend, lacking_of, run_evaluation
from pytest_lighteval.plugin.session import Session
from pytest_lighteval.tasks.nearest import specs_meant
from pytest_lighteval.tasks.task_spec import Selected, SpecError, parse_specs
from pytest_lighteval.types import TaskKey, TaskResult


class Lighteval:
    """The `lighteval` fixture."""

    def __init__(self, session: Session, request: pytest.FixtureRequest) -> None:
        self._session = session
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
            settings = self._session.settings.evaluation
            if max_samples is not None:
                settings = replace(settings, max_samples=max_samples)
            engine = self._session.cache.around(checked_backend(self._request.getfixturevalue("lighteval_backend")))
            if lacking := lacking_of(self._session, selected.task, engine):
                pytest.skip(lacking)
            task, grader = selected.task, None
            key = TaskKey(suite=task.suite, task=task.name, few_shots=selected.few_shots, truncate=selected.truncate)
            # a folder of its own: this may be a part of a task that an item measures as a whole
            folder = self._session.run_folder / "own" / folder_of_test(node.nodeid)
            if is_judged(task):
                # the model stays in memory beside the judge: a test may ask it again
                judging = self._session.judging
                grader, judging.key = judging.grader(self._request.getfixturevalue("lighteval_judge")), key
                task = task if grader is not None else without_judge(task)
                if not task.metrics:
                    pytest.skip(NO_JUDGE)
            result = run_evaluation(self._session, node, task, key, engine, folder=folder, settings=settings, grader=grader)
            if grader is not None:
                attach_grader(node, "judge", self._session.judging.facts(grader))
        except UnsupportedRequestError as error:
            pytest.skip(str(error))
        except LightevalError as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        attach_own_run(node, result, backend=facts_of(engine))
        return result

    def _select(self, spec: str) -> Selected:
        catalogue = self._session.catalogue
        try:
            specs = parse_specs(spec, folder=self._request.config.invocation_params.dir, source="lighteval.run")
            chosen = [selected for file in catalogue.select(specs).values() for selected in file]
        except SpecError as error:
            raise UserInputError(f"{error}{specs_meant(error.spec, catalogue)}") from error
        if len(chosen) != 1:
            names = ", ".join(selected.task.name for selected in chosen[:3])
            raise UserInputError(f"lighteval.run takes one task, and {spec!r} names {len(chosen)} ({names}, ...)")
        return chosen[0]
