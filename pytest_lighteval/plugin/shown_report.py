"""What pytest shows of an item that asks a model: nothing in it controls the terminal or the CI, or is a key."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from pytest_lighteval.plugin.check_item import CheckItem
from pytest_lighteval.plugin.item_report import ATTRIBUTE
from pytest_lighteval.plugin.items import ReferenceItem, TaskItem
from pytest_lighteval.plugin.session_reports import ReportItem
from pytest_lighteval.reports.printable import map_texts, printable

_FIXTURES = frozenset(("lighteval", "lighteval_backend"))
_KEPT = frozenset((ATTRIBUTE, "nodeid"))
"""What was measured is no text for a terminal; the id is how pytest knows the item."""


def shown_report(item: pytest.Item, report: pytest.TestReport, mask: Callable[[str], str]) -> pytest.TestReport:
    """The report with safe texts. Of an item that asks no model, only secrets are masked.

    A user's own test keeps the colours of its comparisons. `mask` removes the session's secrets from a text.
    """
    is_ours = isinstance(item, TaskItem | ReferenceItem | ReportItem | CheckItem)
    asks_model = is_ours or not _FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
    colours = not is_ours and item.config.get_terminal_writer().hasmarkup

    def safe_text(text: str) -> str:
        return printable(mask(text), colours=colours) if asks_model else mask(text)

    if is_ours:
        _shorten(report, _names(item))
    hook = item.config.hook
    data = hook.pytest_report_to_serializable(config=item.config, report=report)
    texts = {name: value for name, value in data.items() if name not in _KEPT}
    safe = map_texts(texts, safe_text)
    if safe is texts:
        return report
    kept = {name: value for name, value in data.items() if name in _KEPT}
    shown = hook.pytest_report_from_serializable(config=item.config, data=safe | kept)
    assert isinstance(shown, pytest.TestReport)
    return shown


def _names(item: pytest.Item) -> tuple[str, ...]:
    """How a message may name an item of ours."""
    return (str(item.key), item.task.id) if isinstance(item, TaskItem | ReferenceItem) else (item.name,)


def _shorten(report: pytest.TestReport, names: Iterable[str]) -> None:
    """Let the line of the short summary, and the message in JUnit, begin with what failed: the item's id is there already."""
    place = getattr(report.longrepr, "reprcrash", None)
    if place is not None:
        place.message = place.message.removeprefix("Failed: ")
        for name in names:
            place.message = place.message.removeprefix(f"{name}: ")
