"""The fixtures: the backend of the session, the task of an item, and `lighteval.run(...)` for people's own tests.

All names are prefixed, so that they shadow nobody's. A conftest that defines `lighteval_backend` brings its own engine.
Everything that is heavy is imported when a fixture is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:  # annotations only: a test run that evaluates nothing must not pay for these
    from pytest_lighteval.plugin.reference import Reference
    from pytest_lighteval.plugin.run_item import Lighteval
    from pytest_lighteval.types import Backend, Task, TaskResult, Verdict


@pytest.fixture(scope="session")
def lighteval_backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """The backend of `--backend` and `--model-args`. Override it in a conftest.py to evaluate your own engine."""
    from pytest_lighteval import backends
    from pytest_lighteval.errors import LightevalError
    from pytest_lighteval.plugin.session import plan_of

    settings = plan_of(request.config).settings
    if settings.backend is None or settings.arguments is None:
        installed = ", ".join(backends.names())
        _fail(f"no backend was chosen: --backend NAME ({installed}), or a lighteval_backend fixture of your own")
    try:
        backend = backends.load_backend(settings.backend).from_arguments(settings.arguments)
    except LightevalError as error:
        _fail(str(error))
    yield backend
    backend.close()


@pytest.fixture(scope="session")
def lighteval_reference(request: pytest.FixtureRequest) -> Iterator[Reference | None]:
    """The model of `--against-backend` and `--against-model-args`. None: scores are not held against another model's."""
    from pytest_lighteval import backends
    from pytest_lighteval.plugin.cache import cache_of
    from pytest_lighteval.plugin.item_report import RUN_FOLDER
    from pytest_lighteval.plugin.reference import Reference
    from pytest_lighteval.plugin.session import plan_of

    against = plan_of(request.config).settings.against
    if against is None:
        yield None
        return

    def make() -> Backend:
        return cache_of(request.config).around(backends.load_backend(against.backend).from_arguments(against.arguments))

    reference = Reference(make, request.config.stash[RUN_FOLDER])
    yield reference
    reference.release()


@pytest.fixture
def lighteval_reference_result(request: pytest.FixtureRequest, lighteval_reference: Reference) -> TaskResult:
    """What the reference measured of the item's task. The whole evaluation happens here, in the item's set-up."""
    from pytest_lighteval.errors import LightevalError
    from pytest_lighteval.plugin.run_item import run_reference_item

    try:
        return run_reference_item(request.node, lighteval_reference)
    except LightevalError as error:
        _fail(str(error))


@pytest.fixture
def lighteval_task(request: pytest.FixtureRequest) -> Task:
    """The task of the running item."""
    from pytest_lighteval.plugin.items import TaskItem

    if not isinstance(request.node, TaskItem):
        _fail("lighteval_task belongs to the items of suite files; a test of your own uses the lighteval fixture's run()")
    return request.node.task


@pytest.fixture
def lighteval_result(
    request: pytest.FixtureRequest, lighteval_task: Task, lighteval_reference: Reference | None, lighteval_backend: Backend
) -> TaskResult:
    """What the item's task measured. The whole evaluation happens here, in the item's set-up."""
    from pytest_lighteval.errors import LightevalError
    from pytest_lighteval.plugin.run_item import run_item

    try:
        return run_item(request.node, lighteval_backend, lighteval_reference)
    except LightevalError as error:
        _fail(str(error))


@pytest.fixture
def lighteval_verdicts(request: pytest.FixtureRequest, lighteval_result: TaskResult) -> tuple[Verdict, ...]:
    """What the gates of the item's task say about its result. A baseline that does not fit is an error: there is nothing to judge."""
    from pytest_lighteval.plugin.run_item import outcome_of

    verdicts = outcome_of(request.node, lighteval_result.key).verdicts
    mismatches = [
        verdict.paired.line for verdict in verdicts if verdict.paired and verdict.paired.outcome == "STALE" and verdict.paired.red
    ]
    if mismatches:
        _fail(f"{lighteval_result.key}: " + "; ".join(mismatches))
    return verdicts


@pytest.fixture
def lighteval(request: pytest.FixtureRequest) -> Lighteval:
    """Evaluate tasks from inside a test: `result = lighteval.run("leaderboard|truthfulqa:mc|0|0", max_samples=100)`."""
    from pytest_lighteval.plugin.run_item import Lighteval

    return Lighteval(request)


def _fail(message: str) -> NoReturn:
    # a traceback, or the chain of exceptions, would be of this plugin's code, which is not where the mistake is
    raise pytest.fail.Exception(message, pytrace=False) from None
