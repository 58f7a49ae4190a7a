"""The controller's part of `--check-tasks`: gathers what items found, writes checks.json and checks.md, prints the table."""

from __future__ import annotations

import os
from collections.abc import Generator
from datetime import UTC, datetime

import msgspec
import pytest

from pytest_lighteval.checks.accepted import idle_entries
from pytest_lighteval.errors import LightevalError
from pytest_lighteval.plugin.check_item import CheckItem
from pytest_lighteval.plugin.end_signals import EndSignals
from pytest_lighteval.plugin.item_report import ATTRIBUTE
from pytest_lighteval.plugin.session import Session
from pytest_lighteval.plugin.workers import start_of
from pytest_lighteval.reports.checks import check_lines, checks_markdown, write_checks
from pytest_lighteval.reports.printable import printable
from pytest_lighteval.reports.rows import COLOURS
from pytest_lighteval.reports.serialize import to_plain
from pytest_lighteval.reports.summary import append_step_summary
from pytest_lighteval.types import CheckReport, TaskCheck


class OnlyChecks:
    """Leaves a project's other tests out: the session was asked about benchmarks."""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Deselect all other items."""
        others = [item for item in items if not isinstance(item, CheckItem)]
        if others:
            items[:] = [item for item in items if isinstance(item, CheckItem)]
            config.hook.pytest_deselected(items=others)


class CheckReporter:
    """Registered in the controller alone."""

    def __init__(self, config: pytest.Config, session: Session, signals: EndSignals) -> None:
        self._config = config
        self._session = session
        self._signals = signals
        self._checks: dict[str, TaskCheck] = {}
        self._errors: dict[str, str] = {}
        self._skipped: dict[str, str] = {}
        self._report: CheckReport | None = None
        self._problem: str | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take what an item found off its report."""
        payload = getattr(report, ATTRIBUTE, None) or {}
        if "check" in payload:
            check = msgspec.convert(payload["check"], TaskCheck)
            self._errors.pop(check.task, None)
            self._checks[check.task] = check
        self._errors |= payload.get("check_errors", {})
        self._skipped |= payload.get("check_skipped", {})

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        """Write the reports, whatever way the session ends."""
        with self._signals.noted():
            self._write(session)
            self._signals.is_written = True
            yield
        if (status := self._signals.exit_status) is not None:
            session.exitstatus = status

    def _write(self, session: pytest.Session) -> None:
        if not (self._checks or self._errors):
            return
        settings = self._session.settings
        assert settings.checks is not None
        started = start_of(self._config).time
        checks = tuple(check for _, check in sorted(self._checks.items()))
        self._report = CheckReport(
            run_id=self._session.run_folder.name,
            started=started.isoformat(timespec="seconds"),
            seconds=(datetime.now(UTC) - started).total_seconds(),
            checks=checks,
            errors=dict(sorted(self._errors.items())),
            skipped=dict(sorted(self._skipped.items())),
            fail_on=settings.checks.fail_on,
            settings=to_plain(settings.evaluation) | {"check_model": settings.checks.model},
            idle=idle_entries(settings.checks.accepted, checks),
        )
        try:
            write_checks(self._session.run_folder, self._report)
            append_step_summary(checks_markdown(self._report), os.environ)
        except LightevalError as error:
            self._problem = str(error)
            if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
                session.exitstatus = pytest.ExitCode.INTERNAL_ERROR

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The table, and where the reports are."""
        if self._report is None:
            return
        terminalreporter.section("lighteval: check of benchmarks")
        for line, style in check_lines(self._report, width=self._config.get_terminal_writer().fullwidth):
            terminalreporter.write_line(printable(line).replace("\n", " "), **COLOURS[style])
        if self._problem is not None:
            terminalreporter.write_line(f"ERROR: {printable(self._problem)}", red=True)
        else:
            page = os.path.relpath(self._session.run_folder / "checks.md", self._config.invocation_params.dir)
            terminalreporter.write_line(f"examples: {page}")
