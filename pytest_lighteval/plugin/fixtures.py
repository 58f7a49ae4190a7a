"""The fixtures of suite items, registered in a session that evaluates models, and the making of the session's backend.

All names are prefixed, so that they hide nobody's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

import pytest

from pytest_lighteval.errors import LightevalError
from pytest_lighteval.plugin import replicas
from pytest_lighteval.plugin.checkpoint_item import measure
from pytest_lighteval.plugin.checkpoints import find_series
from pytest_lighteval.plugin.item_report import outcome_of
from pytest_lighteval.plugin.items import TaskItem
from pytest_lighteval.plugin.judging import is_judged
from pytest_lighteval.plugin.reference import Reference
from pytest_lighteval.plugin.run_item import run_answers_item, run_item, run_reference_item
from pytest_lighteval.plugin.session import find_session, session_of
from pytest_lighteval.plugin.start_checks import checked_backend
from pytest_lighteval.types import Backend, Task, TaskResult, Verdict


def make_backend(config: pytest.Config) -> Backend:
    """The backend of `--backend` and `--model-args`. Fails the test that asks, if there is none or no task can survive with it."""
    try:
        return checked_backend(find_session(config))
    except LightevalError as error:
        fail(str(error))


def make_judges(config: pytest.Config) -> dict[str, Backend]:
    """The judges of the options by name. Fails the test that asks, if one cannot be made."""
    session = find_session(config)
    if session is None:
        return {}
    try:
        return {
            judge.name: replicas.make_backend(judge.backend, judge.arguments, judge.engines(session.settings.replicas))
            for judge in session.settings.judge.judges
        }
    except LightevalError as error:
        fail(str(error))


@pytest.fixture(scope="session")
def lighteval_reference(request: pytest.FixtureRequest) -> Iterator[Reference | None]:
    """The model of `--against-backend` and `--against-model-args`. None: scores are not compared with another model's."""
    session = session_of(request.config)
    against = session.settings.against
    if against is None:
        yield None
        return

    def make() -> Backend:
        return session.cache.around(replicas.make_backend(against.backend, against.arguments, session.settings.replicas))

    session.reference = Reference(make, session.run_folder)
    yield session.reference
    session.reference.release()


@pytest.fixture
def lighteval_reference_result(request: pytest.FixtureRequest, lighteval_reference: Reference) -> TaskResult:
    """What the reference measured of the item's task. The whole evaluation happens here, in the item's set-up."""
    try:
        return run_reference_item(session_of(request.config), request.node, lighteval_reference)
    except LightevalError as error:
        fail(str(error))


@pytest.fixture
def lighteval_task(request: pytest.FixtureRequest) -> Task:
    """The task of the running item."""
    if not isinstance(request.node, TaskItem):
        fail("lighteval_task belongs to the items of suite files; a test of your own uses the lighteval fixture's run()")
    return request.node.task


@pytest.fixture
def lighteval_answers(request: pytest.FixtureRequest, lighteval_backend: Backend) -> None:
    """The model's answers to a judged task, which the task's own item judges later."""
    try:
        run_answers_item(session_of(request.config), request.node, lighteval_backend)
    except LightevalError as error:
        fail(str(error))


@pytest.fixture
def lighteval_result(
    request: pytest.FixtureRequest, lighteval_task: Task, lighteval_reference: Reference | None, lighteval_backend: Backend
) -> TaskResult:
    """What the item's task measured. The whole evaluation happens here, in the item's set-up."""
    judges = request.getfixturevalue("lighteval_judge") if is_judged(lighteval_task) else None
    try:
        return run_item(session_of(request.config), request.node, lighteval_backend, lighteval_reference, judges)
    except LightevalError as error:
        fail(str(error))


@pytest.fixture
def lighteval_checkpoint_result(request: pytest.FixtureRequest) -> TaskResult:
    """What the item's task measured at its checkpoint, in the item's set-up."""
    series = find_series(request.config)
    assert series is not None
    try:
        return measure(series, request.node)
    except LightevalError as error:
        fail(str(error))


@pytest.fixture
def lighteval_checkpoint_verdicts(request: pytest.FixtureRequest, lighteval_checkpoint_result: TaskResult) -> tuple[Verdict, ...]:
    """What the gates say of it. An earlier checkpoint that cannot be compared with is an error."""
    return _verdicts(request, lighteval_checkpoint_result)


@pytest.fixture
def lighteval_verdicts(request: pytest.FixtureRequest, lighteval_result: TaskResult) -> tuple[Verdict, ...]:
    """What the gates of the item's task say about its result. A baseline that cannot be compared with is an error."""
    return _verdicts(request, lighteval_result)


def _verdicts(request: pytest.FixtureRequest, result: TaskResult) -> tuple[Verdict, ...]:
    verdicts = outcome_of(request.node, result.key).verdicts
    compared = [comparison for verdict in verdicts for comparison in (verdict.paired, verdict.pinned) if comparison is not None]
    mismatches = [comparison.line for comparison in compared if comparison.outcome == "STALE" and comparison.red]
    if mismatches:
        fail(f"{result.key}: " + "; ".join(mismatches))
    return verdicts


def fail(message: str) -> NoReturn:
    """Fail the test in one line: a traceback, or the chain of exceptions, would show this plugin, which is not where the mistake is."""
    raise pytest.fail.Exception(message, pytrace=False) from None
