"""The folder of a history: its lines, its summary, and its page with a curve for each number."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_lighteval.common.files import write_atomic
from pytest_lighteval.errors import DataError, LightevalError
from pytest_lighteval.reports.history import FILE, history_jsonl, history_markdown
from pytest_lighteval.reports.index import update_index
from pytest_lighteval.reports.page import PAGE
from pytest_lighteval.reports.page.data import PageCurve, PageData, PagePoint, PageRun
from pytest_lighteval.reports.page.stored_run import read_run
from pytest_lighteval.reports.page.write import write_page
from pytest_lighteval.types import HistoryRow, PairedDifference

HISTORIES = "history"
"""Below a reports folder: a folder for each model that was run there more than once."""


def write_history(
    folder: Path, title: str, rows: Sequence[HistoryRow], *, runs: Mapping[str, str], has_page: bool = True, is_of_runs: bool = False
) -> None:
    """Write history.jsonl, summary.md and report.html of a history, each whole or not at all, and its line in the index above it.

    Args:
        folder: where they go.
        title: what it is the history of.
        rows: of all points.
        runs: name of a point -> its run folder, relative to this one.
        has_page: whether there is to be a report.html.
        is_of_runs: whether it is of a model's runs in a reports folder, by their starts, and lies in `HISTORIES` there; otherwise it is
            of a session's checkpoints.

    Raises:
        LightevalError: A file cannot be written.
    """
    try:
        write_atomic(folder / FILE, history_jsonl(rows))
        write_atomic(folder / "summary.md", history_markdown(title, rows))
        update_index(folder.parent.parent if is_of_runs else folder.parent, changed=None if is_of_runs else folder.name)
    except OSError as error:
        raise LightevalError(f"{error.filename or folder}: the history cannot be written: {error.strerror}") from error
    if has_page:
        write_page(folder / PAGE, history_page(folder, title, rows, runs, has_times=is_of_runs))


def history_page(folder: Path, title: str, rows: Sequence[HistoryRow], runs: Mapping[str, str], *, has_times: bool) -> PageData:
    """The curves, and the documents of the newest point."""
    newest: PageRun | None = None
    for point in reversed(dict.fromkeys(row.point for row in rows)):
        if newest is None and point in runs:
            with contextlib.suppress(DataError):
                newest = read_run(folder / runs[point], name=point)
    links = {point: f"{path}/{PAGE}" for point, path in runs.items() if (folder / path / PAGE).is_file()}
    curves = _curves(rows, links, has_times=has_times)
    return PageData(title=title, runs=() if newest is None else (newest,), curves=curves)


def _curves(rows: Sequence[HistoryRow], links: Mapping[str, str], *, has_times: bool) -> tuple[PageCurve, ...]:
    numbers: dict[tuple[str, str], list[HistoryRow]] = {}
    for row in rows:
        numbers.setdefault((row.task, row.metric), []).append(row)
    return tuple(
        PageCurve(
            key=key,
            metric=metric,
            higher_is_better=of_number[0].higher_is_better,
            points=tuple(_point(row, links.get(row.point)) for row in sorted(of_number, key=lambda row: row.step)),
            has_times=has_times,
        )
        for (key, metric), of_number in numbers.items()
    )


def _point(row: HistoryRow, link: str | None) -> PagePoint:
    change, change_lower, change_upper = _gain(row.before)
    best, best_lower, best_upper = _gain(row.best)
    return PagePoint(
        label=row.point,
        step=row.step,
        value=row.score,
        n=row.n,
        lower=row.lower,
        upper=row.upper,
        change=change,
        change_lower=change_lower,
        change_upper=change_upper,
        against_best=best,
        against_best_lower=best_lower,
        against_best_upper=best_upper,
        outcome=row.verdict,
        link=link,
    )


def _gain(difference: PairedDifference | None) -> tuple[float | None, float | None, float | None]:
    """A loss as a change, above 0 where it is better."""
    return (None, None, None) if difference is None else (-difference.loss, -difference.upper, -difference.lower)
