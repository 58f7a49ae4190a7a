"""The reports of a session over checkpoints: a run folder for each, and what they say together, written after each checkpoint."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator, Sequence
from itertools import zip_longest

import pytest

from pytest_lighteval.errors import LightevalError
from pytest_lighteval.gates.history import history_rows
from pytest_lighteval.gates.series import without_spent_documents
from pytest_lighteval.gates.session_reports import UNENDED, Measured, SessionReport, judge_session
from pytest_lighteval.plugin.checkpoint_item import CheckpointItem, make_items
from pytest_lighteval.plugin.checkpoints import MeasuredCheckpoint, Series
from pytest_lighteval.plugin.end_signals import EndSignals
from pytest_lighteval.plugin.item_report import ATTRIBUTE
from pytest_lighteval.plugin.recorded_run import write_scores
from pytest_lighteval.plugin.run_report import make_report
from pytest_lighteval.plugin.session_reports import run_reports
from pytest_lighteval.reports.groups import group_results
from pytest_lighteval.reports.history import curve_lines, history_markdown
from pytest_lighteval.reports.history_folder import write_history
from pytest_lighteval.reports.page import PAGE
from pytest_lighteval.reports.printable import printable
from pytest_lighteval.reports.rows import COLOURS, Style
from pytest_lighteval.reports.run_folder import write_run
from pytest_lighteval.reports.summary import append_step_summary
from pytest_lighteval.types import HistoryPoint

_STYLES: dict[str | None, Style] = {
    "PASSED": "passed",
    "IMPROVED": "passed",
    "REGRESSED": "failed",
    "STALE": "failed",
    "INCONCLUSIVE": "open",
}


class CheckpointReporter:
    """In the place of the session's reports."""

    def __init__(self, config: pytest.Config, series: Series, signals: EndSignals) -> None:
        self._config = config
        self._series = series
        self._signals = signals
        self._reports: list[SessionReport] = []
        """Of supersets, of all checkpoints."""
        self._notices: list[str] = []
        self._problem: str | None = None
        """Why a report could not be written."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a payload off a report, for the checkpoint of its item."""
        payload = getattr(report, ATTRIBUTE, None)
        measured = self._series.of_item(report.nodeid)
        if payload is not None and measured is not None:
            measured.collected.take(payload, nodeid=report.nodeid)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """After the last item of a checkpoint, judge and write it, so that the next one is compared with it."""
        measured = self._series.of_item(nodeid)
        if measured is not None:
            measured.unfinished.discard(nodeid)
            if not measured.unfinished:
                self._finish(measured, pytest.ExitCode.OK)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """After the checkpoints of the start those that come later; at the end what supersets say."""
        outcome = yield
        option = session.config.option
        if not (option.collectonly or option.setuponly):
            self._watch(session)
            run_reports(session, self._reports, {})
        return outcome

    def _watch(self, session: pytest.Session) -> None:
        templates = [item for item in session.items if isinstance(item, CheckpointItem)]
        first = {(item.parent, item.key): item for item in reversed(templates)}
        while first and not self._series.is_over:
            self._tell(f"waiting for a checkpoint of {','.join(self._series.settings.patterns)}")
            time.sleep(self._series.settings.every or 0)
            for checkpoint in self._series.take_new():
                items = [
                    made
                    for (parent, key), item in reversed(first.items())
                    if parent
                    for made in make_items(parent, item.task, key, [checkpoint])
                ]
                self._series.plan((item, item.checkpoint, item.key, item.task) for item in items)
                self._run(session, items)

    def _run(self, session: pytest.Session, items: Sequence[CheckpointItem]) -> None:
        """Run items that were not collected, as pytest's own loop does."""
        session.items += items
        session.testscollected += len(items)
        for item, following in zip_longest(items, items[1:]):
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)

    def _tell(self, line: str) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None and self._config.get_verbosity() >= 0:
            terminal.write_line(printable(f"lighteval: {line}"))

    def _finish(self, measured: MeasuredCheckpoint, status: int | pytest.ExitCode) -> None:
        """Judge what needs all tasks of a checkpoint, and write its run and the history."""
        series, collected, name = self._series, measured.collected, measured.checkpoint.name
        session = series.session_of(name)
        ended = {*collected.results, *collected.errors, *collected.skipped}
        collected.errors |= {str(key): UNENDED for key in measured.items if str(key) not in ended}
        results = {result.key: result for result in collected.results.values()}
        groups = group_results(list(results.values()))
        judged = judge_session(
            session.judge,
            Measured(
                results=results,
                earlier=collected.earlier,
                unjoined=collected.unjoined,
                errors=collected.errors,
                skipped=collected.skipped,
                model=collected.backend.get("fingerprint"),
            ),
            groups=groups,
            verdicts=collected.verdicts,
            gates_are_required=False,
        )
        collected.verdicts = judged.verdicts
        self._reports += [
            SessionReport(name=f"{entry.name}[{name}]", problem=entry.problem and f"{name}: {entry.problem}", expected=entry.expected)
            for entry in judged.reports
        ]
        self._notices += [f"{name}: {notice}" for notice in judged.notices]
        is_red = any(verdict.outcome == "failed" for verdicts in judged.verdicts.values() for verdict in verdicts)
        if status == pytest.ExitCode.OK and (is_red or collected.errors):
            status = pytest.ExitCode.TESTS_FAILED
        measured.is_written = True
        try:
            report = make_report(self._config, session, collected, groups=groups, started=measured.started, exit_status=status)
            write_scores(session, self._config, report)
            write_run(session.run_folder, report, has_page=session.settings.has_page)
            if results and status in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
                point = HistoryPoint(name=name, step=measured.checkpoint.step, results=results)
                series.rows += history_rows(point, series.points, measured.items, judged.verdicts)
                series.points = without_spent_documents([*series.points, point])
            self._write_history()
            measured.forget()
        except LightevalError as error:
            self._problem = self._problem or str(error)

    def _write_history(self) -> None:
        session = self._series.session
        names = [point.name for point in self._series.points]
        write_history(
            session.run_folder, self._title, self._series.rows, runs={name: name for name in names}, has_page=session.settings.has_page
        )

    def _add_step_summary(self) -> None:
        if self._series.rows:
            try:
                append_step_summary(history_markdown(self._title, self._series.rows), os.environ)
            except LightevalError as error:
                self._problem = self._problem or str(error)

    @property
    def _title(self) -> str:
        return ", ".join(self._series.settings.patterns)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        """Write what a session that was ended had measured of its last checkpoint, which is no point of the history."""
        with self._signals.noted():
            for measured in self._series.measured.values():
                if measured.collected.is_used and not measured.is_written:
                    self._finish(measured, pytest.ExitCode.INTERRUPTED)
            if self._problem is not None and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
                session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
            self._add_step_summary()
            self._signals.is_written = True
            yield
        if (status := self._signals.exit_status) is not None:
            session.exitstatus = status

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The scores over time, and where the reports are."""
        if not any(measured.is_written for measured in self._series.measured.values()):
            return
        terminalreporter.section("lighteval")
        mask = self._series.session.secrets.mask
        for line, style in self._summary():
            terminalreporter.write_line(printable(mask(line)).replace("\n", " "), **COLOURS[style])

    def _summary(self) -> Iterator[tuple[str, Style]]:
        taken = [checkpoint.name for checkpoint in self._series.taken.values()]
        first = next((point.name for point in self._series.points), None)
        if first is not None and first != taken[0]:
            yield f"{first}: compared with nothing, as this session measured no earlier checkpoint", "open"
        for row, line in curve_lines(self._series.rows):
            yield line, _STYLES.get(row.verdict, "plain")
        for name, reason in self._series.waiting.items():
            yield f"{name}: not taken: {reason}", "open"
        for notice in dict.fromkeys(self._notices):
            yield notice, "open"
        if self._signals.name is not None:
            yield f"{self._signals.name}: the session has what was measured until then", "error"
        if self._problem is not None:
            yield f"ERROR: {self._problem}", "error"
        folder = os.path.relpath(self._series.session.run_folder, self._config.invocation_params.dir)
        yield f"history: {folder}/history.jsonl", "plain"
        if self._series.session.settings.has_page:
            yield f"page: {folder}/{PAGE}", "plain"
