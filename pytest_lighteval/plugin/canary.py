"""`--gate-canary`: an item asks a few documents of its task, tells what they show, and is skipped. Nothing is judged, written or cached."""

from __future__ import annotations

from typing import NoReturn

import pytest

from pytest_lighteval.evaluate import evaluate
from pytest_lighteval.gates.canary import CanaryRule, canary_gate, canary_report, canary_words, closest_documents
from pytest_lighteval.plugin.item_report import ATTRIBUTE, attach_canary
from pytest_lighteval.plugin.items import TaskItem
from pytest_lighteval.plugin.judging import is_judged
from pytest_lighteval.plugin.progress import item_progress
from pytest_lighteval.plugin.session import Session
from pytest_lighteval.reports.printable import printable
from pytest_lighteval.reports.rows import ordered_keys
from pytest_lighteval.types import Backend

SKIP_REASON = "canary: no verdict"


def run_canary(session: Session, item: TaskItem, backend: Backend) -> NoReturn:
    """Ask the item's documents of the smallest margins, and skip it. Raises LightevalError if the engine has no answer.

    The backend is asked itself: an answer that was computed before would say nothing about the model of now.
    """
    attach_canary(item, item.key, _said(session, item, backend))
    pytest.skip(SKIP_REASON)


def _said(session: Session, item: TaskItem, backend: Backend) -> list[str]:
    key, judge, count = item.key, session.judge, session.settings.gate.canary
    baseline = judge.baseline_of(key)
    if is_judged(item.task):
        return ["not asked: its answers are judged by another model"]
    if baseline is None or count is None:
        return ["not asked: the baseline does not hold it"]
    gate = canary_gate(judge.plan.tasks.get(key, ()) if judge.plan is not None else (), baseline)
    if gate is None:
        return ["not asked: the baseline has no soft scores of its gate (multiple choice has them, once --save-baseline measured it)"]
    with item_progress(item, str(key), session.secrets.mask) as progress:
        result = evaluate(
            item.task,
            backend,
            few_shots=key.few_shots,
            truncate=key.truncate,
            settings=session.settings.evaluation,
            data_sets=session.data_sets,
            stopping=CanaryRule(closest_documents(baseline, gate.metric, count)),
            on_progress=progress,
        )
    report = canary_report(result, baseline, gate, settings=judge.settings, allow=session.settings.gate.allowed_mismatches)
    return [f"{gate.metric}: {report}"] if isinstance(report, str) else canary_words(report)


def canary_lines(session: Session) -> list[str]:
    """What is asked, above the run."""
    count = session.settings.gate.canary
    return [f"canary: {count} documents of each task, those of the smallest margins in the baseline; no verdict"]


class CanaryReporter:
    """In the place of the session's reports, in the controller alone: says at the end what all canaries said."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._said: dict[str, list[str]] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take what an item's canary said off its report."""
        self._said |= getattr(report, ATTRIBUTE, {}).get("canary", {})

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Two lines a task."""
        terminalreporter.section("lighteval")
        for key in ordered_keys(self._said):
            first, *rest = self._said[key]
            for line in (f"{key}: {first}", *rest):
                terminalreporter.write_line(printable(self._session.secrets.mask(line)))
        terminalreporter.write_line("canary: no verdict" if self._said else "canary: no task was asked")
