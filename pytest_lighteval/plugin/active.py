"""The hooks of a session that evaluates models. Registered only then, so that every other session runs as without the plugin."""

from __future__ import annotations

import os
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.common.threads import ENVIRONMENT_VARIABLE, Threads, choose_threads, set_threads, usable_cores
from pytest_lighteval.errors import LightevalError
from pytest_lighteval.plugin import fixtures
from pytest_lighteval.plugin.canary import CanaryReporter
from pytest_lighteval.plugin.check_reporter import CheckReporter, OnlyChecks
from pytest_lighteval.plugin.checkpoint_item import CheckpointItem, earlier_items, make_items
from pytest_lighteval.plugin.checkpoint_reporter import CheckpointReporter
from pytest_lighteval.plugin.checkpoints import Series, find_series, make_series
from pytest_lighteval.plugin.end_signals import EndSignals
from pytest_lighteval.plugin.gates import gate_lines, plan_session
from pytest_lighteval.plugin.item_report import (
    ATTRIBUTE,
    attach_reason,
    is_explained,
    payload_of,
    seconds_of,
    sendable,
    sent,
    start_attempt,
)
from pytest_lighteval.plugin.items import (
    AnswersItem,
    ReferenceItem,
    SuiteFile,
    TaskItem,
    collect_file,
    put_judged_last,
    put_references_first,
)
from pytest_lighteval.plugin.judge_settings import has_judge
from pytest_lighteval.plugin.red_gates import continues
from pytest_lighteval.plugin.replicas import Engines
from pytest_lighteval.plugin.reporter import Reporter
from pytest_lighteval.plugin.session import Session, find_session, make_session
from pytest_lighteval.plugin.shown_report import shown_report
from pytest_lighteval.plugin.start_checks import cache_note, check_start
from pytest_lighteval.plugin.torchrun import report_error
from pytest_lighteval.plugin.worker_progress import WorkersProgress, join_controller
from pytest_lighteval.plugin.workers import is_controller, is_worker
from pytest_lighteval.plugin.xdist_hooks import XdistHooks, crowded_note, engine_count, pin_gpu
from pytest_lighteval.reports.printable import printable
from pytest_lighteval.tasks import SUITE_SUFFIXES


def activated(config: pytest.Config) -> Session:
    """The session, with all of its hooks registered from the first call on. Raises pytest.UsageError."""
    session = find_session(config)
    if session is None:
        session = make_session(config)
        if (series := make_series(config, session)) is not None:
            session.expand = lambda parent, task, key: make_items(parent, task, key, series.taken.values())
        if session.settings.threads is not None:
            _set_threads(config, session, session.settings.threads)
        if session.settings.replicas is not None:
            meet(config, session.settings.replicas)
        if is_worker(config):
            pin_gpu()
            join_controller(config)
        elif is_controller(config):
            config.pluginmanager.register(WorkersProgress(config), "lighteval-progress")
        config.pluginmanager.register(fixtures, "lighteval-fixtures")
        config.pluginmanager.register(ActiveSession(config, session), "lighteval-session")
        config.pluginmanager.register(XdistHooks(config, session), "lighteval-xdist")
        if session.settings.checks is not None:
            config.pluginmanager.register(OnlyChecks(), "lighteval-only-checks")
            if session.writes_reports:
                reporter = CheckReporter(config, session, EndSignals(config.add_cleanup))
                config.pluginmanager.register(reporter, "lighteval-check-reporter")
        elif session.writes_reports:
            config.pluginmanager.register(_reporter(config, session, series), "lighteval-reporter")
    return session


def _reporter(config: pytest.Config, session: Session, series: Series | None) -> object:
    if session.settings.gate.canary is not None:
        return CanaryReporter(session)
    signals = EndSignals(config.add_cleanup)
    return Reporter(config, session, signals) if series is None else CheckpointReporter(config, series, signals)


def meet(config: pytest.Config, engines: Engines) -> None:
    """Let the processes of a launcher come. Raises pytest.UsageError if they cannot."""
    try:
        engines.meet(config)
    except LightevalError as error:
        raise pytest.UsageError(str(error)) from error


def _set_threads(config: pytest.Config, session: Session, asked: Threads) -> None:
    """Compute with as many threads as the user said, whatever the engine, and only for this session."""
    before = os.environ.get(ENVIRONMENT_VARIABLE)
    set_threads(choose_threads(asked, cores=usable_cores(), workers=engine_count(config, session.settings.replicas)))

    def restore() -> None:
        os.environ.pop(ENVIRONMENT_VARIABLE)
        if before is not None:
            os.environ[ENVIRONMENT_VARIABLE] = before

    config.add_cleanup(restore)


def _move_seconds(item: pytest.Item, report: pytest.TestReport, *, has_call: bool) -> None:
    """Count an evaluation, which happens in the set-up, as the item's call: `--durations` then tells it from the set-up."""
    seconds = seconds_of(item)
    if report.when == "setup" and has_call:
        report.duration = max(report.duration - seconds, 0.0)
    elif report.when == "call":
        report.duration += seconds


def _take_checkpoints(config: pytest.Config, series: Series) -> None:
    """Take the checkpoints of the start. Raises pytest.UsageError."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")

    def say(line: str) -> None:
        if terminal is not None and config.get_verbosity() >= 0:
            terminal.write_line(printable(f"lighteval: {line}"))

    try:
        series.take_first(waits=not config.option.collectonly, say=say)
    except LightevalError as error:
        raise pytest.UsageError(printable(str(error))) from error


class ActiveSession:
    """Collects suites, plans their gates, and puts what items measured on their reports."""

    def __init__(self, config: pytest.Config, session: Session) -> None:
        self._config = config
        self._session = session
        self._series = find_series(config)

    def pytest_report_header(self) -> list[str]:
        """What is evaluated, in a few lines."""
        settings = self._session.settings
        engines = settings.replicas.header if settings.replicas is not None else ()
        notes = (f"lighteval: {note}" for note in (*settings.notes, *engines))
        crowded = crowded_note(self._config, settings.backend, settings.threads, settings.replicas)
        lines = (self._session.header, *notes, *self._session.sandbox.header(), *crowded, *cache_note(self._session))
        return [printable(line) for line in lines]

    def pytest_collection(self, session: pytest.Session) -> bool | None:
        """Collect what `--tasks` names, and shipped suites, in place of the arguments; and the checkpoints that are complete now."""
        if self._series is not None:
            _take_checkpoints(self._config, self._series)
        if self._session.arguments is None or is_controller(self._config):
            return None
        session.perform_collect(self._session.arguments)
        return True

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> SuiteFile | None:
        """Claim suite files: YAML below a suite root or named on the command line, nothing else."""
        return collect_file(file_path, parent) if file_path.suffix in SUITE_SUFFIXES else None

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makemodule(self, module_path: Path, parent: pytest.Collector) -> SuiteFile | None:
        """Claim the Python modules of `--custom-tasks`: pytest would import them as tests."""
        return collect_file(module_path, parent) if self._session.catalogue.is_module(module_path) else None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Generator[None]:
        """The reference goes first, and what is judged goes last, over what is left after deselection, by `--lf` and the like too."""
        yield
        if self._session.settings.against is not None:
            put_references_first(items)
        if self._series is None and has_judge(self._config, self._session.settings.judge) and self._session.settings.judge.answers is None:
            put_judged_last(items)
        if self._series is not None:  # one engine after the other
            if continues(self._config):
                items += earlier_items(items, self._series.taken.values())
            places = {checkpoint.name: place for place, checkpoint in enumerate(self._series.taken.values())}
            items.sort(key=lambda item: places[item.checkpoint.name] if isinstance(item, CheckpointItem) else -1)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """What is left after deselection is what the session's gates are about."""
        plan_session(self._session, [*{item.key: item.task for item in session.items if isinstance(item, TaskItem)}.items()])
        if self._series is not None:
            checkpoints = [item for item in session.items if isinstance(item, CheckpointItem)]
            self._series.plan((item, item.checkpoint, item.key, item.task) for item in checkpoints)

    def pytest_report_collectionfinish(self) -> list[str]:
        """What the session's gates can detect, before anything is computed."""
        lines = gate_lines(self._session, collect_only=self._config.option.collectonly, verbosity=self._config.get_verbosity())
        lines += [] if self._series is None else self._series.lines
        return [printable(line) for line in lines]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """`--gate-plan` ends here, and so does a session that no task can survive. Under xdist the controller checks that."""
        if self._session.settings.gate.plan_only:
            return True
        is_collected = not session.testsfailed or session.config.option.continue_on_collection_errors
        if is_collected and not is_controller(self._config) and not is_worker(self._config):
            check_start(self._config, self._session)
        return None

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Another attempt at an item starts with nothing measured."""
        start_attempt(item)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Put what was measured on the item's report: that of its call, or that of a set-up that did not pass."""
        report = yield
        if isinstance(item, TaskItem | ReferenceItem | AnswersItem):
            _move_seconds(item, report, has_call=call.excinfo is None)
        if call.excinfo is not None and report.when == "setup" and not is_explained(item):
            attach_reason(item, str(call.excinfo.value), skipped=report.skipped)
        payload = payload_of(item)
        if payload is not None and (report.when == "call" or (report.when == "setup" and not report.passed)):
            setattr(report, ATTRIBUTE, sent(payload, self._session.secrets))
        return shown_report(item, report, self._session.secrets.mask)

    @pytest.hookimpl(wrapper=True)
    def pytest_report_to_serializable(self) -> Generator[None, Any, Any]:
        """Execnet takes no lone surrogates: one of them would end the worker, and all that it was to run."""
        return sendable((yield))

    @pytest.hookimpl(tryfirst=True)
    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage) -> None:
        """An engine's warning is sent and shown as safely as an error."""
        text = str(warning_message.message)
        if (safe := printable(self._session.secrets.mask(text))) != text:
            warning_message.message = Warning(safe)

    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """The reference's model leaves the memory with the last of its items, before a fixture of the user's own makes another one."""
        if isinstance(item, ReferenceItem) and not isinstance(nextitem, ReferenceItem) and self._session.reference is not None:
            self._session.reference.release()

    def pytest_exception_interact(self, node: pytest.Item | pytest.Collector, call: pytest.CallInfo[object]) -> None:
        """Write the error of a silent torchrun process to its error file."""
        if call.excinfo is not None:
            report_error(node.config, call.excinfo.value, where=node.nodeid)
