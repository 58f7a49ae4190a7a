"""Gathers what items measured and writes the run's reports. Lives in the controller alone; workers send, they do not write reports."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import pytest

from pytest_lighteval.errors import LightevalError
from pytest_lighteval.gate.floors import judge
from pytest_lighteval.gate.gatefile import gates_for, unmatched
from pytest_lighteval.plugin.environment import environment
from pytest_lighteval.plugin.session import plan_of
from pytest_lighteval.plugin.transport import ATTRIBUTE, RUN_FOLDER
from pytest_lighteval.reports.groups import group_key, group_results
from pytest_lighteval.reports.junit import metric_properties
from pytest_lighteval.reports.plain import task_result_from_plain, to_plain, verdict_from_plain
from pytest_lighteval.reports.run_folder import write_run
from pytest_lighteval.reports.summary import append_step_summary, summary_markdown
from pytest_lighteval.reports.table import terminal_table
from pytest_lighteval.types import GateSpec, MetricResult, RunReport, TaskKey, TaskResult, Verdict

__all__ = ["Reporter"]

GROUP_NODE = "lighteval"
"""Group verdicts belong to no file; this stands where a test's file would."""


class Reporter:
    """One session's results, keyed by task, so that a rerun's last try counts."""

    def __init__(self, config: pytest.Config, started: datetime) -> None:
        self.config = config
        self.started = started
        self.results: dict[str, TaskResult] = {}
        self.verdicts: dict[str, tuple[Verdict, ...]] = {}
        self.errors: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self.own_runs: dict[str, tuple[TaskResult, ...]] = {}
        self.backend: dict[str, Any] = {}
        self.groups: dict[str, dict[str, MetricResult]] = {}
        self.unmatched: list[str] = []
        self.problem: str | None = None
        self.report: RunReport | None = None

    @property
    def is_used(self) -> bool:
        """Whether anything was evaluated, or should have been. A session of other tests leaves no trace."""
        return bool(self.results or self.errors or self.skipped or self.own_runs)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a payload off a report."""
        payload = getattr(report, ATTRIBUTE, None)
        if payload is None:
            return
        for key, outcome in payload.get("outcomes", {}).items():
            self.results[key] = task_result_from_plain(outcome["result"])
            self.verdicts[key] = tuple(verdict_from_plain(verdict) for verdict in outcome["verdicts"])
            self.errors.pop(key, None)
        for key, message in payload.get("errors", {}).items():
            self.results.pop(key, None)
            self.errors[key] = message
        self.skipped |= payload.get("skipped", {})
        if "own_runs" in payload:
            self.own_runs[report.nodeid] = tuple(task_result_from_plain(result) for result in payload["own_runs"])
        self.backend |= payload.get("backend", {})

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """When all items are done, judge the groups, as reports of their own: seen in the terminal, in JUnit and in the exit status."""
        outcome = yield
        if self.is_used:
            self._judge_groups(session)
        return outcome

    def _judge_groups(self, session: pytest.Session) -> None:
        self.groups = group_results(list(self.results.values()))
        gates = plan_of(self.config).settings.gate.file
        # a member without a score is a member all the same: a floor held against the others would be another floor
        unscored = [key for text in (*self.errors, *self.skipped) if (key := TaskKey.parse(text)) is not None]
        measured = [result.key for result in self.results.values()]
        groups = sorted({group for key in (*measured, *unscored) if (group := group_key(key)) is not None})
        for group in groups:
            if wanted := gates_for(group, {}, gates):
                # pytest's own progress counts reports against the items that it collected
                session.testscollected += 1
                self._judge_group(group, wanted, [str(key) for key in unscored if group_key(key) == group])
        if gates is not None:
            self.unmatched = [
                f"{gates.path}:{entry.line}: {entry.text}: nothing in this run is held to it"
                for entry in unmatched(gates, [*measured, *unscored, *groups])
            ]

    def _judge_group(self, group: TaskKey, wanted: Mapping[str, GateSpec], missing: Sequence[str]) -> None:
        text = str(group)
        try:
            if missing:
                raise LightevalError(f"{len(missing)} of its tasks have no score: {', '.join(missing)}")
            # a superset of which one task is left has no row of its own, and its floor holds all the same
            metrics = self.groups.setdefault(text, _only_member(group, self.results.values()))
            self.verdicts[text] = judge(metrics, wanted, key=text)
            problems = [verdict.message for verdict in self.verdicts[text] if verdict.outcome == "failed"]
        except LightevalError as error:
            problems = [str(error).removeprefix(f"{text}: ")]
        self._log(f"{GROUP_NODE}::{text}", f"{text}: " + "; ".join(problems) if problems else None)

    def _log(self, nodeid: str, problem: str | None) -> None:
        """One passed or failed test as three reports, which is what JUnit needs to close a test case."""
        hook = self.config.hook
        group = nodeid.partition("::")[2]
        location = (GROUP_NODE, None, group)
        hook.pytest_runtest_logstart(nodeid=nodeid, location=location)
        phases: tuple[Literal["setup", "call", "teardown"], ...] = ("setup", "call", "teardown")
        for when in phases:
            message = problem if when == "call" else None
            report = pytest.TestReport(
                nodeid=nodeid,
                location=location,
                keywords={},
                outcome="failed" if message else "passed",
                longrepr=_failure(message) if message else None,
                when=when,
                user_properties=[("lighteval.group", group), *metric_properties(self.groups.get(group, {}), self.verdicts.get(group, ()))],
            )
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=nodeid, location=location)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the run's folder, whatever way the session ends: what was measured is kept."""
        if not self.is_used:
            return
        if not self.groups:
            self.groups = group_results(list(self.results.values()))
        self.report = self._run_report(session.exitstatus)
        try:
            write_run(self.config.stash[RUN_FOLDER], self.report)
            append_step_summary(summary_markdown(self.report), os.environ)
        except LightevalError as error:
            self.problem = str(error)
            if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
                session.exitstatus = pytest.ExitCode.INTERNAL_ERROR

    def _run_report(self, exit_status: int | pytest.ExitCode) -> RunReport:
        settings = plan_of(self.config).settings
        return RunReport(
            run_id=self.config.stash[RUN_FOLDER].name,
            started=self.started.isoformat(timespec="seconds"),
            seconds=(datetime.now(self.started.tzinfo) - self.started).total_seconds(),
            backend={**self.backend, "arguments": to_plain(settings.arguments)} if self.backend else {},
            settings=to_plain(settings.evaluation) | {"few_shots": settings.few_shots},
            environment=environment(),
            results=tuple(sorted(self.results.values(), key=lambda result: result.key)),
            groups=self.groups,
            verdicts=dict(sorted(self.verdicts.items())),
            errors=dict(sorted(self.errors.items())),
            skipped=dict(sorted(self.skipped.items())),
            own_runs=dict(sorted(self.own_runs.items())),
            exit_status=pytest.ExitCode(exit_status).name.lower(),
        )

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The table, and where the reports lie."""
        if self.report is None:
            return
        terminalreporter.section("lighteval")
        colours = {"failed": {"red": True}, "error": {"red": True}, "passed": {"green": True}, "open": {"yellow": True}, "plain": {}}
        for line, style in terminal_table(self.report, width=terminalreporter._tw.fullwidth):
            terminalreporter.write_line(line, **colours[style])
        for line in self.unmatched:
            terminalreporter.write_line(line, yellow=True)
        if self.problem is not None:
            terminalreporter.write_line(f"ERROR: {self.problem}", red=True)
        else:
            terminalreporter.write_line(f"results: {_shown(self.config, 'results.json')}")


def _failure(message: str) -> Any:
    """What pytest keeps of a failure: unlike a plain text it has a reason that the short summary and JUnit's `message` show."""
    try:
        pytest.fail(message, pytrace=False)
    except pytest.fail.Exception:
        return pytest.ExceptionInfo.from_current().getrepr(style="value")


def _only_member(group: TaskKey, results: Iterable[TaskResult]) -> dict[str, MetricResult]:
    return dict(next(result.metrics for result in results if group_key(result.key) == group))


def _shown(config: pytest.Config, name: str) -> str:
    path = config.stash[RUN_FOLDER] / name
    return os.path.relpath(path, config.invocation_params.dir)
