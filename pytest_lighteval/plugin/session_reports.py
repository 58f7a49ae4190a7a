"""What the controller reports when all items are done: supersets, the pooled test, what should have run and did not, the saved baseline.

Each is an item that the controller runs, so that the terminal, JUnit and the exit status show it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.baselines.save import baseline_of
from pytest_lighteval.errors import LightevalError
from pytest_lighteval.gates.gate_settings import MISSING
from pytest_lighteval.gates.session_reports import SessionReport, SessionReports
from pytest_lighteval.plugin.missing_tasks import missing_tasks, unnamed_suites
from pytest_lighteval.plugin.session import Session
from pytest_lighteval.types import RunReport

GROUP_NODE = "lighteval"
"""In the place of a file in the ids of session reports."""


class ReportItem(pytest.Item):
    """A session report as a test: `lighteval::<name>`. It belongs to no file and runs in the controller.

    Hooks of a project's conftest see it as any other item; they often read these attributes of functions without asking.
    """

    cls = module = None
    fixturenames: tuple[str, ...] = ()

    def __init__(self, *, report: SessionReport, properties: Sequence[tuple[str, object]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.report = report
        self._properties = properties

    @property
    def function(self) -> Callable[[], None]:
        """What runs."""
        return self.runtest

    def runtest(self) -> None:
        """Fail, or fail as expected, as the report says."""
        # not before: the set-up of any item removes the properties of an earlier run
        self.user_properties += [("lighteval.group", self.name), *self._properties]
        if self.report.problem is not None:
            pytest.fail(self.report.problem, pytrace=False)
        if self.report.expected is not None:
            if self.config.getoption("runxfail"):  # then nothing is expected to fail
                pytest.fail(self.report.expected, pytrace=False)
            pytest.xfail(self.report.expected)

    def reportinfo(self) -> tuple[Path, None, str]:
        """There is no file; the name of the parent is in its place."""
        return self.config.rootpath / GROUP_NODE, None, self.name


class ReportItems(pytest.Collector):
    """The parent of the session reports, in the place of a file."""

    def collect(self) -> list[pytest.Item]:
        """Nothing: the items are made when the session is judged."""
        return []


def run_reports(session: pytest.Session, reports: Sequence[SessionReport], properties: Mapping[str, Sequence[tuple[str, object]]]) -> None:
    """Run each report as an item, with the JUnit properties of its name."""
    parent: ReportItems = ReportItems.from_parent(session, name=GROUP_NODE, nodeid=GROUP_NODE)
    items: list[ReportItem] = [
        ReportItem.from_parent(parent, name=report.name, report=report, properties=properties.get(report.name, ()))
        for report in reports
    ]  # fmt: skip
    # pytest's own progress counts reports against the items that it collected
    session.testscollected += len(items)
    for item, following in itertools.zip_longest(items, items[1:]):
        item.ihook.pytest_runtest_protocol(item=item, nextitem=following)


def missing_reports(session: Session, config: pytest.Config) -> SessionReports:
    """A failure for each task that vanished from its suite, or a notice where that is allowed; and which suites were not named."""
    told = SessionReports(notices=[*unnamed_suites(session)])
    problems = {
        str(key): f"{key}: the baseline holds it, and its suite does not declare it any more" for key in missing_tasks(session, config)
    }
    if MISSING in session.settings.gate.allowed:
        told.notices += problems.values()
    else:
        told.reports += [SessionReport(name=key, problem=f"{text} (--gate-allow {MISSING})") for key, text in problems.items()]
    return told


# ------------------------------------------------------------------------------------------------------- saving


def save_baseline(session: Session, report: RunReport) -> list[str]:
    """Write what `--save-baseline` asks for, and say so in one line a file. Raises LightevalError: nothing was written."""
    gate = session.settings.gate
    assert gate.save is not None
    measured = {result.key for result in report.results}
    lacking = [str(key) for key, _ in session.judge.items if key not in measured and str(key) not in report.skipped]
    if lacking:
        named = ", ".join(lacking[:3]) + (", ..." if len(lacking) > 3 else "")
        raise LightevalError(f"--save-baseline {gate.save.path}: not written, as the run is not complete: no score of {named}")
    revisions = {key: task.hf_revision for key, task in session.judge.items if task.hf_revision is not None}
    try:
        saved = gate.save.save(baseline_of(report, data_revisions=revisions), date=gate.today.isoformat())
    except OSError as error:
        raise LightevalError(f"--save-baseline {error.filename or gate.save.path}: cannot be written: {error.strerror}") from error
    lines = []
    for path, refresh in saved.items():
        counts = {"new": refresh.added, "measured again": refresh.replaced, "kept": refresh.kept}
        summary = ", ".join(f"{len(keys)} {what}" for what, keys in counts.items() if keys)
        lines.append(f"baseline: {path} ({summary})")
        lines += [f"baseline: accepted: {worse}" for worse in refresh.worse]
    return lines
