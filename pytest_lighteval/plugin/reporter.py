"""The controller's reports of a run: gathers what items measured, judges what needs all of them, writes the run's folder."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping

import pytest

from pytest_lighteval.baselines.measured import MeasuredBaselines
from pytest_lighteval.baselines.read import Baselines
from pytest_lighteval.baselines.save import SaveTarget
from pytest_lighteval.errors import LightevalError
from pytest_lighteval.gates.missing_tasks import DeclaredSuites, missing_reports, still_missing, vanished_tasks
from pytest_lighteval.gates.session_reports import UNENDED, Measured, SessionReport, SessionReports, judge_session, unended_reports
from pytest_lighteval.plugin.end_signals import EndSignals
from pytest_lighteval.plugin.environment import environment
from pytest_lighteval.plugin.exchange import forget
from pytest_lighteval.plugin.item_report import ATTRIBUTE
from pytest_lighteval.plugin.items import task_of, without_group
from pytest_lighteval.plugin.missing_tasks import declared_suites, named_suites
from pytest_lighteval.plugin.recorded_run import deferred_line, write_scores
from pytest_lighteval.plugin.red_gates import RedSession, continues, open_missing
from pytest_lighteval.plugin.reference import FOLDER
from pytest_lighteval.plugin.run_report import make_report
from pytest_lighteval.plugin.saved_baselines import save_baseline
from pytest_lighteval.plugin.session import Session
from pytest_lighteval.plugin.session_reports import run_reports
from pytest_lighteval.plugin.workers import start_of
from pytest_lighteval.reports.groups import group_results
from pytest_lighteval.reports.judges import judge_lines
from pytest_lighteval.reports.junit import metric_properties
from pytest_lighteval.reports.page import PAGE
from pytest_lighteval.reports.printable import printable
from pytest_lighteval.reports.programs import program_lines
from pytest_lighteval.reports.rows import COLOURS, Style, cache_line
from pytest_lighteval.reports.run_collector import REFERENCE, RunCollector
from pytest_lighteval.reports.run_folder import write_run
from pytest_lighteval.reports.serialize import to_plain
from pytest_lighteval.reports.table import terminal_table
from pytest_lighteval.reports.verdict_lines import verdict_lines
from pytest_lighteval.types import MetricResult, RunReport, TaskKey, TaskResult

_ASKING = ("baseline", "against_backend", "against_model_args", "gates", "save_baseline")
"""Options after which a session that evaluates nothing is a mistake."""


class Reporter:
    """Registered in the controller alone; workers send what they measured, and write no reports."""

    def __init__(self, config: pytest.Config, session: Session, signals: EndSignals) -> None:
        self._config = config
        self._session = session
        self._signals = signals
        self._collected = RunCollector()
        self._groups: dict[str, dict[str, MetricResult]] = {}
        self._notices: list[str] = []
        self._saved: dict[SaveTarget, list[str]] = {}
        """What became of each baseline that is written. Absent: nothing was written."""
        self._problem: str | None = None
        self._report: RunReport | None = None
        self._ids: dict[str, str] = {}
        """Task key -> id of its item."""
        self._red: RedSession | None = None
        """What is kept for the next session. None: nothing was judged."""
        self._is_cut = False
        """Whether the session ended before all of its items did: Ctrl-C, a signal, `-x`."""
        self._lost = False
        """Whether a planned item has no end."""
        self._handed_out: dict[str, None] | None = None
        """Ids of items without an end, of those that workers collected. None: no worker collected any."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """All workers collect the same items; one that replaces another collects them again."""
        if self._handed_out is None:
            self._handed_out = dict.fromkeys(ids)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a payload off a report."""
        if self._handed_out is not None and (report.when != "setup" or not report.passed):
            self._handed_out.pop(report.nodeid, None)
        payload = getattr(report, ATTRIBUTE, None)
        if payload is None:
            return
        is_reference = without_group(report.nodeid).endswith(f"-{REFERENCE}]")
        if not is_reference:
            self._ids |= {key: report.nodeid for name in ("outcomes", "errors", "skipped") for key in payload.get(name, {})}
        for result in self._collected.take(
            payload, nodeid=report.nodeid, worker=getattr(report, "worker_id", ""), is_reference=is_reference
        ):
            self._compare_with(result)

    def _compare_with(self, reference: TaskResult) -> None:
        """Under xdist the controller learns here what its verdicts compare with."""
        settings = self._session.settings
        if isinstance(settings.gate.baselines, MeasuredBaselines):
            settings.gate.baselines.add(
                reference,
                backend=self._collected.reference_backend,
                environment=environment(),
                settings=to_plain(settings.evaluation),
            )

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """When all items are done, judge what needs all of them; a session that was stopped is red without it.

        `--setup-only` and `--setup-plan` call no test, so there is nothing to judge.
        """
        self._is_cut = True
        try:
            outcome = yield
        except pytest.UsageError:  # it says itself why nothing ran
            self._is_cut = False
            raise
        self._is_cut = False
        option = session.config.option
        if (self._collected.is_used or self._must_judge(session)) and not (option.collectonly or option.setuponly):
            self._judge(session)
        return outcome

    def _must_judge(self, session: pytest.Session) -> bool:
        """Whether something was asked of what ran here, though nothing was evaluated.

        What the ini file asks is not meant for a project's other tests.
        """
        gate, judge = self._session.settings.gate, self._session.judge
        if gate.plan_only or session.testscollected == 0:
            return False
        given = any(self._config.getoption(f"lighteval_{name}") is not None for name in _ASKING)
        return (
            given
            or bool(self._unended())
            or bool(judge.items and (gate.baselines is not None or any(judge.has_floor(*item) for item in judge.items)))
        )

    def _unended(self) -> list[TaskKey]:
        """Tasks that were planned, and of which nothing came: an internal error of a worker, or another plugin, may lose an item."""
        collected = self._collected
        ended = {*collected.results, *collected.errors, *collected.skipped}
        return sorted(key for key, _ in self._session.judge.items if str(key) not in ended)

    def _judge(self, session: pytest.Session) -> None:
        collected = self._collected
        unended = self._unended()
        collected.errors |= {str(key): UNENDED for key in unended}
        others = [nodeid for nodeid in self._handed_out or () if task_of(self._session, self._config.rootpath, nodeid) is None]
        results = {result.key: result for result in collected.results.values()}
        self._groups = group_results(list(results.values()))
        self._lost = bool(unended or others)
        reports = [] if self._session.settings.gate.is_deferred else self._judge_all(results)
        names = {*self._groups, *collected.verdicts}
        properties = {name: metric_properties(self._groups.get(name, {}), collected.verdicts.get(name, ())) for name in names}
        run_reports(session, [*unended_reports(unended, others), *reports], properties)
        run_reports(session, [*self._save(session)], {})

    def _judge_all(self, results: Mapping[TaskKey, TaskResult]) -> list[SessionReport]:
        """Judge supersets, the pooled test, and what should have run and did not."""
        collected, judge = self._collected, self._session.judge
        judged = judge_session(
            judge,
            Measured(
                results=results,
                earlier=collected.earlier,
                unjoined=collected.unjoined,
                errors=collected.errors,
                skipped=collected.skipped,
                model=collected.backend.get("fingerprint"),
            ),
            groups=self._groups,
            verdicts=collected.verdicts,
            gates_are_required=self._config.getoption("lighteval_gates") is not None,
        )
        self._red = RedSession(judge=judge, ids=self._ids)
        self._red.note_reports(judged.reports)
        missing = self._missing(self._red)
        collected.verdicts, self._notices = judged.verdicts, [*judged.notices, *missing.notices]
        if judge.plan is not None and judge.plan.gates and (recalled := collected.cache["recalled"]):
            answers = f"{recalled} of {recalled + collected.cache['misses']} answers"
            self._notices.append(f"{answers} are remembered ones, of an engine with this version; --no-cache measures it")
        return [*missing.reports, *judged.reports]

    def _missing(self, red: RedSession) -> SessionReports:
        """Judge what vanished from the suites; what an earlier session found and this one continues stays red."""
        judge = self._session.judge
        suites = declared_suites(self._session, self._config) if judge.plan is not None else DeclaredSuites()
        planned = {key for key, _ in judge.items}
        if not isinstance(judge.gate.baselines, Baselines):
            return missing_reports(judge.gate, planned, suites)
        still = still_missing(judge.gate, planned, suites, open_missing(self._config))
        red.missing = sorted({str(key) for key in (*still, *vanished_tasks(judge.gate, planned, suites))})
        if not (still and continues(self._config)):
            return missing_reports(judge.gate, planned, suites)
        named = named_suites(self._session, self._config)  # pytest, too, asks again only what failed below the paths that are named
        earlier = [key for key in still if named is None or key.suite in named]
        return missing_reports(judge.gate, planned, suites, earlier=earlier)

    def _save(self, session: pytest.Session) -> Iterator[SessionReport]:
        """Write the baselines that the session is asked for. A failure for each that is not written."""
        for target in self._session.settings.gate.written:
            try:
                report = self._run_report(session.exitstatus)
                self._saved[target] = save_baseline(self._session, target, report, recalled=self._collected.recalled)
            except LightevalError as error:
                yield SessionReport(name="baseline-repin" if target.is_pinned else "save-baseline", problem=str(error))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        """Write the run's folder, whatever way the session ends: what was measured is kept. A signal waits until that is done."""
        with self._signals.noted():
            self._write(session)
            self._signals.is_written = True
            yield
            if self._red is not None:  # pytest has written its last failures
                self._red.keep(self._config, self._collected.verdicts, model=self._collected.backend.get("fingerprint"))
        if (status := self._signals.exit_status) is not None:
            session.exitstatus = status

    def _write(self, session: pytest.Session) -> None:
        for folder in (self._session.run_folder, self._session.run_folder / FOLDER):
            forget(folder)
        if self._lost and session.exitstatus == pytest.ExitCode.OK:  # what loses an item may lose the report of it too
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if not self._collected.is_used:
            return
        if not self._groups:
            self._groups = group_results(list(self._collected.results.values()))
        self._report = self._run_report(session.exitstatus)
        try:
            write_scores(self._session, self._config, self._report)
            write_run(self._session.run_folder, self._report, os.environ, has_page=self._session.settings.has_page)
        except LightevalError as error:
            self._problem = str(error)
            if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
                session.exitstatus = pytest.ExitCode.INTERNAL_ERROR

    def _run_report(self, exit_status: int | pytest.ExitCode) -> RunReport:
        return make_report(
            self._config,
            self._session,
            self._collected,
            groups=self._groups,
            started=start_of(self._config).time,
            exit_status=exit_status,
        )

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The table, and where the reports are."""
        if self._report is None:
            if self._is_cut:
                for line in self._saving():
                    terminalreporter.write_line(printable(line))
            return
        terminalreporter.section("lighteval")
        for line, style in self._summary(self._report):
            terminalreporter.write_line(printable(self._session.secrets.mask(line)).replace("\n", " "), **COLOURS[style])

    def _summary(self, report: RunReport) -> Iterator[tuple[str, Style]]:
        yield from terminal_table(report, width=self._config.get_terminal_writer().fullwidth)
        hides_failures = self._config.getoption("tbstyle", "auto") == "no" or self._config.getoption("no_summary", False)
        yield from verdict_lines(report, verbosity=self._config.get_verbosity(), repeats_failures=hides_failures)
        for line in judge_lines(report.graders):
            yield line, "plain"
        for line in program_lines(report.graders):
            yield line, "plain"
        for kind in report.graders.values():
            for note in kind.get("notes", ()):
                yield note, "open"
        for line in self._collected.cache_problems:
            yield f"the cache is not used: {line}", "open"
        if told := cache_line(self._collected.cache):
            yield told, "plain"
        if self._session.settings.gate.is_deferred:
            yield deferred_line(self._session, self._config), "open"
        for line in self._notices:
            yield line, "open"
        if self._signals.name is not None:
            yield f"{self._signals.name}: the session has what was measured until then", "error"
        for line in self._saving():
            yield line, "plain"
        if self._problem is not None:
            yield f"ERROR: {self._problem}", "error"
        else:
            folder = os.path.relpath(self._session.run_folder, self._config.invocation_params.dir)
            yield f"results: {os.path.join(folder, 'results.json')}", "plain"
            if self._session.settings.has_page:
                yield f"page: {os.path.join(folder, PAGE)}", "plain"

    def _saving(self) -> list[str]:
        """What became of `--save-baseline` and `--baseline-repin`."""
        targets = self._session.settings.gate.written
        why = "its failure says why"
        if self._is_cut:
            items = self._session.judge.items
            lacking = sum(str(key) not in self._collected.results for key, _ in items)
            why = f"the session ended early, and {lacking} of {len(items)} tasks have no score"
        return [line for target in targets for line in self._saved.get(target, [f"{target.option}: nothing was written: {why}"])]
