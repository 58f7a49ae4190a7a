"""Gathers what items measured and writes the run's reports. Lives in the controller alone; workers send, they do not write reports."""

from __future__ import annotations

import os
from collections.abc import Generator
from datetime import datetime
from typing import Any, Literal

import pytest

from pytest_lighteval.baselines.calibration import calibrated
from pytest_lighteval.baselines.measured import MeasuredBaselines
from pytest_lighteval.errors import LightevalError
from pytest_lighteval.plugin.environment import environment
from pytest_lighteval.plugin.gates import has_floor
from pytest_lighteval.plugin.item_report import ATTRIBUTE, RUN_FOLDER
from pytest_lighteval.plugin.items import REFERENCE
from pytest_lighteval.plugin.reference import forget_exchange
from pytest_lighteval.plugin.session import plan_of
from pytest_lighteval.plugin.session_reports import Ending, end_session, save_baseline
from pytest_lighteval.plugin.usage import use_of_all
from pytest_lighteval.reports.groups import group_results
from pytest_lighteval.reports.junit import metric_properties
from pytest_lighteval.reports.run_folder import write_run
from pytest_lighteval.reports.serialize import task_result_from_plain, to_plain, verdict_from_plain
from pytest_lighteval.reports.summary import append_step_summary, summary_markdown
from pytest_lighteval.reports.table import terminal_table
from pytest_lighteval.reports.verdict_lines import verdict_lines
from pytest_lighteval.types import MetricResult, RunReport, TaskResult, Verdict

_ASKING = ("baseline", "against_backend", "against_model_args", "gates", "save_baseline")
"""Options after which a session that evaluates nothing is a mistake."""

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
        self.references: dict[str, TaskResult] = {}
        self.repeats: dict[str, tuple[TaskResult, ...]] = {}
        self.backend: dict[str, Any] = {}
        self.uses: dict[str, dict[str, Any]] = {}
        """What each process used so far, by worker; "" without workers."""
        self.reference_backend: dict[str, Any] = {}
        self.cache = {"hits": 0, "misses": 0}
        self.cache_problems: list[str] = []
        self.groups: dict[str, dict[str, MetricResult]] = {}
        self.notices: list[str] = []
        self.saved: list[str] | None = None
        self.problem: str | None = None
        self.report: RunReport | None = None

    @property
    def is_used(self) -> bool:
        """Whether anything was evaluated, or should have been. A session of other tests leaves no trace."""
        return bool(self.results or self.errors or self.skipped or self.own_runs or self.references)

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
            self.skipped.pop(key, None)
        for key, message in payload.get("errors", {}).items():
            self._forget(key)
            self.errors[key] = message
        for key, reason in payload.get("skipped", {}).items():
            self._forget(key)
            self.skipped[key] = reason
        if "own_runs" in payload:
            self.own_runs[report.nodeid] = tuple(task_result_from_plain(result) for result in payload["own_runs"])
        self.repeats |= {
            key: tuple(task_result_from_plain(result) for result in results) for key, results in payload.get("repeats", {}).items()
        }
        self.backend |= payload.get("backend", {})
        if "use" in payload.get("backend", {}):
            self.uses[getattr(report, "worker_id", "")] = payload["backend"]["use"]
        for use in payload.get("cache", ()):
            self.cache = {name: count + use[name] for name, count in self.cache.items()}
            if use["problem"] is not None and use["problem"] not in self.cache_problems:
                self.cache_problems.append(use["problem"])
        self.reference_backend |= payload.get("reference_backend", {})
        for key, result in payload.get("references", {}).items():
            self._take_reference(key, task_result_from_plain(result))
            if report.nodeid.endswith(f"-{REFERENCE}]"):  # a rerun; that another item measured it all the same mends no error
                self.errors.pop(f"{key} ({REFERENCE})", None)

    def _forget(self, key: str) -> None:
        """What an earlier try left, which a rerun without a score must not be judged by."""
        for told in (self.results, self.verdicts, self.errors, self.skipped, self.repeats):
            told.pop(key, None)

    def _take_reference(self, key: str, result: TaskResult) -> None:
        """Under xdist the controller learns here what its verdicts are held against."""
        self.references[key] = result
        settings = plan_of(self.config).settings
        if isinstance(settings.gate.baselines, MeasuredBaselines):
            settings.gate.baselines.add(
                result, backend=self.reference_backend, environment=environment(), settings=to_plain(settings.evaluation)
            )

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """When all items are done, judge what needs all of them; a session that was stopped is red without it."""
        outcome = yield
        option = session.config.option
        if (self.is_used or self._must_judge(session)) and not (option.collectonly or option.setupplan):
            self._end(session)
        return outcome

    def _must_judge(self, session: pytest.Session) -> bool:
        """Whether something was asked of what ran here, though nothing was evaluated.

        What the ini file asks is not meant for a project's other tests.
        """
        plan = plan_of(self.config)
        if plan.settings.gate.plan_only or session.testscollected == 0:
            return False
        given = any(self.config.getoption(f"lighteval_{name}") is not None for name in _ASKING)
        return given or bool(
            plan.items and (plan.settings.gate.baselines is not None or any(has_floor(plan, *item) for item in plan.items))
        )

    def _end(self, session: pytest.Session) -> None:
        results = {result.key: result for result in self.results.values()}
        self.groups = group_results(list(results.values()))
        ended = end_session(
            self.config, results=results, errors=self.errors, skipped=self.skipped, groups=self.groups, verdicts=self.verdicts
        )
        self.verdicts, self.notices = ended.verdicts, ended.notices
        gates = plan_of(self.config).gates
        if gates is not None and gates.gates and (hits := self.cache["hits"]):
            answers = f"{hits} of {hits + self.cache['misses']} answers"
            self.notices.append(f"{answers} are remembered ones, of an engine with this version; --no-cache measures it")
        for ending in ended.reports:
            self._tell(session, ending)
        if plan_of(self.config).settings.gate.save is not None:
            problem = self._save(session)
            if problem is not None:
                self._tell(session, Ending(name="save-baseline", problem=problem))

    def _save(self, session: pytest.Session) -> str | None:
        """Write the baseline. Returns why not; None: it is written."""
        try:
            self.saved = save_baseline(self.config, self._run_report(session.exitstatus))
        except LightevalError as error:
            return str(error)
        return None

    def _tell(self, session: pytest.Session, ending: Ending) -> None:
        """One test as three reports, which is what JUnit needs to close a test case."""
        # pytest's own progress counts reports against the items that it collected
        session.testscollected += 1
        hook = self.config.hook
        nodeid, location = f"{GROUP_NODE}::{ending.name}", (GROUP_NODE, None, ending.name)
        numbers = metric_properties(self.groups.get(ending.name, {}), self.verdicts.get(ending.name, ()))
        hook.pytest_runtest_logstart(nodeid=nodeid, location=location)
        phases: tuple[Literal["setup", "call", "teardown"], ...] = ("setup", "call", "teardown")
        for when in phases:
            problem = ending.problem if when == "call" else None
            if when == "call" and ending.expected is not None and self.config.option.runxfail:
                problem = ending.expected
            report = pytest.TestReport(
                nodeid=nodeid,
                location=location,
                keywords={},
                outcome="failed" if problem else "passed",
                longrepr=_failure(problem) if problem else None,
                when=when,
                user_properties=[("lighteval.group", ending.name), *numbers],
            )
            if when == "call" and ending.expected is not None and problem is None:
                report.outcome = "skipped"
                report.wasxfail = f"reason: {ending.expected}"
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=nodeid, location=location)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the run's folder, whatever way the session ends: what was measured is kept."""
        forget_exchange(self.config.stash[RUN_FOLDER])
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
            backend=self._backend_facts(),
            settings=to_plain(settings.evaluation) | {"few_shots": settings.few_shots, "threads": settings.threads},
            environment=environment(),
            results=tuple(sorted(self.results.values(), key=lambda result: result.key)),
            groups=self.groups,
            verdicts=dict(sorted(self.verdicts.items())),
            errors=dict(sorted(self.errors.items())),
            skipped=dict(sorted(self.skipped.items())),
            own_runs=dict(sorted(self.own_runs.items())),
            references=tuple(sorted(self.references.values(), key=lambda result: result.key)),
            reference_backend=self._reference_facts(),
            repeats=dict(sorted(self.repeats.items())),
            calibration={key: calibrated([self.results[key], *runs]) for key, runs in sorted(self.repeats.items()) if key in self.results},
            cache=self.cache,
            exit_status=pytest.ExitCode(exit_status).name.lower(),
        )

    def _backend_facts(self) -> dict[str, Any]:
        if not self.backend:
            return {}
        use = {"use": use_of_all(self.uses.values())} if self.uses else {}
        return {**self.backend, **use, "arguments": to_plain(plan_of(self.config).settings.arguments)}

    def _reference_facts(self) -> dict[str, Any]:
        against = plan_of(self.config).settings.against
        return {**self.reference_backend, "arguments": to_plain(against.arguments)} if self.reference_backend and against else {}

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The table, and where the reports lie."""
        if self.report is None:
            return
        terminalreporter.section("lighteval")
        colours = {"failed": {"red": True}, "error": {"red": True}, "passed": {"green": True}, "open": {"yellow": True}, "plain": {}}
        for line, style in terminal_table(self.report, width=terminalreporter._tw.fullwidth):
            terminalreporter.write_line(line, **colours[style])
        for line, style in verdict_lines(self.report, verbosity=self.config.get_verbosity()):
            terminalreporter.write_line(line, **colours[style])
        for line in self.cache_problems:
            terminalreporter.write_line(f"the cache is not used: {line}", yellow=True)
        if self.cache["hits"]:
            terminalreporter.write_line(f"answers: {self.cache['hits']} from the cache, {self.cache['misses']} computed")
        for line in self.notices:
            terminalreporter.write_line(line, yellow=True)
        for line in self._saving():
            terminalreporter.write_line(line)
        if self.problem is not None:
            terminalreporter.write_line(f"ERROR: {self.problem}", red=True)
        else:
            terminalreporter.write_line(f"results: {_shown(self.config, 'results.json')}")

    def _saving(self) -> list[str]:
        """What became of `--save-baseline`."""
        save = plan_of(self.config).settings.gate.save
        if save is None:
            return []
        return [f"--save-baseline {save.path}: nothing was written"] if self.saved is None else self.saved


def _failure(message: str) -> Any:
    """What pytest keeps of a failure: unlike a plain text it has a reason that the short summary and JUnit's `message` show."""
    try:
        pytest.fail(message, pytrace=False)
    except pytest.fail.Exception:
        return pytest.ExceptionInfo.from_current().getrepr(style="value")


def _shown(config: pytest.Config, name: str) -> str:
    path = config.stash[RUN_FOLDER] / name
    return os.path.relpath(path, config.invocation_params.dir)
