"""The pytest plugin. It imports pytest and its own option table; all else waits until a session evaluates something.

`options` -> `settings`, `gatesettings` -> `session` (the plan) -> `collection` (items) -> `fixtures`, `running`, `gating` (an item's
evaluation and verdict) -> `transport` (onto the report) -> `reporter` (the session's verdicts and reports, in the controller).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_lighteval.plugin.fixtures import (
    lighteval,
    lighteval_backend,
    lighteval_reference,
    lighteval_reference_result,
    lighteval_result,
    lighteval_task,
    lighteval_verdicts,
)
from pytest_lighteval.plugin.item_report import ATTRIBUTE, RUN_FOLDER, attach_reason, is_explained, payload_of, reset
from pytest_lighteval.plugin.options import add_options, add_short_options, is_in_use
from pytest_lighteval.plugin.torchrun import is_beside_first, leave_word, scratch_folder, silence
from pytest_lighteval.plugin.xdist_hooks import (
    crowded_note,
    pin_gpu,
    pytest_configure_node,
    pytest_handlecrashitem,
    pytest_xdist_auto_num_workers,
    pytest_xdist_make_scheduler,
    pytest_xdist_node_collection_finished,
    run_folder_of_controller,
    worker_count,
)
from pytest_lighteval.tasks import SUITE_SUFFIXES

if TYPE_CHECKING:  # pytest's own start-up would pay for these in every project
    from pytest_lighteval.common.threads import Threads
    from pytest_lighteval.plugin.items import SuiteFile

__all__ = [
    "lighteval",
    "lighteval_backend",
    "lighteval_reference",
    "lighteval_reference_result",
    "lighteval_result",
    "lighteval_task",
    "lighteval_verdicts",
    "pytest_configure_node",
    "pytest_handlecrashitem",
    "pytest_xdist_auto_num_workers",
    "pytest_xdist_make_scheduler",
    "pytest_xdist_node_collection_finished",
]

MARKER = (
    "lighteval(suite, task, few_shots, truncate, kind, group): on every collected task, "
    "so that -m \"lighteval(suite='leaderboard', few_shots=5)\" selects exactly; kind is loglikelihood, generate or perplexity"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register what nobody else can own."""
    add_options(parser)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, parser: pytest.Parser, args: list[str]) -> Generator[None]:
    """Register the short forms once every conftest had its chance to own them."""
    silence(early_config, args)
    yield
    add_short_options(parser)


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """`--model-args help` prints and ends."""
    if config.getoption("lighteval_model_args") != "help":
        return None
    from pytest_lighteval.plugin.settings import model_args_help

    sys.stdout.write(model_args_help(config))
    return 0


def pytest_configure(config: pytest.Config) -> None:
    """Check every option before anything is collected, and choose the run's folder (which is made when something is written)."""
    config.addinivalue_line("markers", MARKER)
    if is_in_use(config) or config.getini("lighteval_suites") or _names_suites(config):
        try:
            _activate(config)
        except pytest.UsageError as error:
            leave_word(config, error)
            raise


def pytest_exception_interact(node: pytest.Item | pytest.Collector, call: pytest.CallInfo[object]) -> None:
    """A process of torchrun that prints nothing has an error all the same."""
    if call.excinfo is not None:
        leave_word(node.config, call.excinfo.value, where=node.nodeid)


def _names_suites(config: pytest.Config) -> bool:
    """Whether an argument is a YAML file, or `suites/leaderboard` where there is no such folder: the shipped one may be meant."""
    folder = config.invocation_params.dir
    paths = [str(argument).partition("::")[0] for argument in config.args]
    return any(path.endswith(SUITE_SUFFIXES) or (path.startswith("suites/") and not (folder / path).exists()) for path in paths)


def _activate(config: pytest.Config) -> None:
    from pytest_lighteval.plugin.session import plan_of

    settings = plan_of(config).settings
    if settings.gate.plan_only and hasattr(config.option, "dist"):
        config.option.dist = "no"  # nothing is evaluated, so xdist's workers would have nothing to do
    if settings.against is not None:
        from pytest_lighteval.plugin.items import ReferencesFirst

        config.pluginmanager.register(ReferencesFirst(), "lighteval-references")
    if settings.threads is not None:
        _set_threads(config, settings.threads)
    chosen = run_folder_of_controller(config)
    if chosen is not None:
        config.stash[RUN_FOLDER] = chosen
        pin_gpu(os.environ.get("PYTEST_XDIST_WORKER", ""))
        return
    if is_beside_first() and settings.backend is not None:
        config.stash[RUN_FOLDER] = scratch_folder(config)
        return
    from pytest_lighteval.plugin.reporter import Reporter
    from pytest_lighteval.reports.run_folder import run_folder

    started = datetime.now(UTC)
    config.stash[RUN_FOLDER] = run_folder(settings.report_dir, started, settings.label)
    config.pluginmanager.register(Reporter(config, started), "lighteval-reporter")


def _set_threads(config: pytest.Config, asked: Threads) -> None:
    """As the user said, for whatever engine comes, and only for this session."""
    from pytest_lighteval.common.threads import ENVIRONMENT_VARIABLE, choose_threads, set_threads, usable_cores

    before = os.environ.get(ENVIRONMENT_VARIABLE)
    set_threads(choose_threads(asked, cores=usable_cores(), workers=worker_count(config)))

    def restore() -> None:
        os.environ.pop(ENVIRONMENT_VARIABLE)
        if before is not None:
            os.environ[ENVIRONMENT_VARIABLE] = before

    config.add_cleanup(restore)


def pytest_report_header(config: pytest.Config) -> list[str] | None:
    """What is evaluated, in a few lines; nothing in a session that evaluates nothing."""
    if not is_in_use(config):
        return None
    from pytest_lighteval.plugin.session import plan_of

    settings = plan_of(config).settings
    notes = (f"lighteval: {note}" for note in settings.notes)
    return [plan_of(config).header, *notes, *crowded_note(config, settings.backend, settings.threads)]


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> SuiteFile | None:
    """Claim suite files: YAML below a suite root or named on the command line, nothing else."""
    if file_path.suffix not in SUITE_SUFFIXES or RUN_FOLDER not in parent.config.stash:
        return None
    from pytest_lighteval.plugin.items import collect_file

    return collect_file(file_path, parent)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """What is left after deselection is what the session's gates are about."""
    if RUN_FOLDER in session.config.stash:
        from pytest_lighteval.plugin.gates import plan_session
        from pytest_lighteval.plugin.items import TaskItem

        plan_session(session.config, [(item.key, item.task) for item in session.items if isinstance(item, TaskItem)])


def pytest_report_collectionfinish(config: pytest.Config) -> list[str] | None:
    """What the session's gates can see, before anything is paid for."""
    if RUN_FOLDER not in config.stash:
        return None
    from pytest_lighteval.plugin.gate_lines import gate_lines

    return gate_lines(config)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """`--gate-plan` ends here."""
    if RUN_FOLDER not in session.config.stash:
        return None
    from pytest_lighteval.plugin.session import plan_of

    return True if plan_of(session.config).settings.gate.plan_only else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A rerun starts with nothing measured."""
    reset(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put what was measured on the item's report: that of its call, or that of a set-up that did not pass."""
    report = yield
    if call.excinfo is not None and report.when == "setup" and not is_explained(item):
        attach_reason(item, str(call.excinfo.value), skipped=report.skipped)
    payload = payload_of(item)
    if payload is not None and (report.when == "call" or (report.when == "setup" and not report.passed)):
        setattr(report, ATTRIBUTE, payload)
    return report
