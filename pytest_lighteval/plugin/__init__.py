"""The pytest plugin. It imports pytest and its own option table; everything else waits until a session evaluates models.

`options` -> `settings` -> `session` -> `items` -> `gates` (which gates there are) -> `fixtures`, `run_item` (an item's evaluation)
-> `item_report` (onto the pytest report) -> `reporter`, `session_reports` (in the controller). `active` holds the hooks of all that.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from pytest_lighteval.plugin.options import add_options, add_short_options, evaluates, is_asked_to_evaluate, wrong_spelling
from pytest_lighteval.plugin.torchrun import is_beside_first, report_error, silence
from pytest_lighteval.plugin.workers import hand_start, is_controller

if TYPE_CHECKING:  # every pytest run would pay for these
    from pytest_lighteval.plugin.lighteval_fixture import Lighteval
    from pytest_lighteval.types import Backend

_MARKER = (
    "lighteval(suite, task, few_shots, truncate, kind, group, language): on every collected task, "
    "so that -m \"lighteval(suite='leaderboard', few_shots=5)\" selects exactly; kind is loglikelihood, generate or perplexity, "
    "language an ISO 639-3 code"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register what nobody else can own."""
    add_options(parser)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, parser: pytest.Parser, args: list[str]) -> Generator[None]:
    """Register the short forms once every conftest had its chance to own them."""
    silence(early_config, args)
    yield
    add_short_options(parser, args)
    problem = wrong_spelling(parser, args, early_config.invocation_params.dir)
    if problem is not None:
        raise pytest.UsageError(problem)


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """`--model-args help` prints and ends. A launcher's process beside the first runs an engine for it, and no session."""
    if is_beside_first():
        from pytest_lighteval.plugin.launched import run_as_member

        if (status := run_as_member(config)) is not None:
            return status
    if config.getoption("lighteval_model_args") != "help":
        return None
    from pytest_lighteval.plugin.settings import model_args_help

    sys.stdout.write(model_args_help(config))
    return 0


def pytest_configure(config: pytest.Config) -> None:
    """In a session that evaluates models: check every option before anything is collected, and register the session's hooks."""
    config.addinivalue_line("markers", _MARKER)
    if evaluates(config):
        from pytest_lighteval.plugin.active import activated

        try:
            session = activated(config)
        except pytest.UsageError as error:
            report_error(config, error)
            raise
        if session.settings.gate.plan_only and hasattr(config.option, "dist"):
            config.option.dist = "no"  # nothing is evaluated, so xdist's workers would have nothing to do
    elif is_controller(config):
        config.pluginmanager.register(_FirstUse(config), "lighteval-first-use")


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """`-n auto` is one worker for each visible GPU, one without a GPU; a session that was not asked to evaluate keeps xdist's own rule."""
    if not is_asked_to_evaluate(config):
        return None
    from pytest_lighteval.common.devices import visible_gpus

    return max(1, len(visible_gpus()))


class _FirstUse:
    """In the controller of a session that does not evaluate models: a worker in which a test uses `lighteval` makes it one that does."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """The worker's run folder is the controller's."""
        hand_start(node)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Register the reporter at the first report that carries something measured, and give it that report."""
        if hasattr(report, "lighteval"):
            from pytest_lighteval.plugin.active import activated

            self._config.pluginmanager.unregister(self)
            activated(self._config)
            reporter: Any = self._config.pluginmanager.get_plugin("lighteval-reporter")
            reporter.pytest_runtest_logreport(report)


@pytest.fixture(scope="session")
def lighteval_backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """The backend of `--backend` and `--model-args`. Override it in a conftest.py to evaluate your own engine."""
    from pytest_lighteval.plugin.fixtures import make_backend

    backend = make_backend(request.config)
    yield backend
    backend.close()


@pytest.fixture(scope="session")
def lighteval_judge(request: pytest.FixtureRequest) -> Iterator[Backend | Mapping[str, Backend] | None]:
    """What judges answers: the model of `--judge-backend` and `--judge-model-args`, or several by name. None: there is no judge.

    Override it in a conftest.py to judge with an engine of your own: a backend, or a mapping of names to backends.
    """
    from pytest_lighteval.plugin.fixtures import make_judges

    judges = make_judges(request.config)
    yield judges or None
    for judge in judges.values():
        judge.close()


@pytest.fixture
def lighteval(request: pytest.FixtureRequest) -> Lighteval:
    """Evaluate tasks from inside a test: `result = lighteval.run("leaderboard|truthfulqa:mc|0|0", max_samples=100)`."""
    from pytest_lighteval.plugin.active import activated
    from pytest_lighteval.plugin.fixtures import fail
    from pytest_lighteval.plugin.lighteval_fixture import Lighteval

    try:
        return Lighteval(activated(request.config), request)
    except pytest.UsageError as error:
        fail(str(error))
