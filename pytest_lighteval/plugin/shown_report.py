"""What pytest shows of an item that asks a model: nothing in it controls the terminal, or is a command to the CI that reads the log."""

from __future__ import annotations

import pytest

from pytest_lighteval.plugin.item_report import ATTRIBUTE
from pytest_lighteval.plugin.items import ReferenceItem, TaskItem
from pytest_lighteval.plugin.session_reports import ReportItem
from pytest_lighteval.reports.printable import map_texts, printable

_FIXTURES = frozenset(("lighteval", "lighteval_backend"))
_KEPT = frozenset((ATTRIBUTE, "nodeid"))
"""What was measured is no text for a terminal; the id is how pytest knows the item."""


def shown_report(item: pytest.Item, report: pytest.TestReport) -> pytest.TestReport:
    """The report with safe texts; that of an item that asks no model, as it is. A user's own test keeps the colours of its comparisons."""
    is_ours = isinstance(item, TaskItem | ReferenceItem | ReportItem)
    if not is_ours and _FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
        return report
    colours = not is_ours and item.config.get_terminal_writer().hasmarkup
    hook = item.config.hook
    data = hook.pytest_report_to_serializable(config=item.config, report=report)
    texts = {name: value for name, value in data.items() if name not in _KEPT}
    safe = map_texts(texts, lambda text: printable(text, colours=colours))
    if safe is texts:
        return report
    kept = {name: value for name, value in data.items() if name in _KEPT}
    shown = hook.pytest_report_from_serializable(config=item.config, data=safe | kept)
    assert isinstance(shown, pytest.TestReport)
    return shown
