"""What the controller reports when all items are done: supersets, the pooled test, what should have run and did not.

Each is an item that the controller runs, so that the terminal, JUnit and the exit status show it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.gates.session_reports import SessionReport

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
