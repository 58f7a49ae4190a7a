"""history.jsonl: scores over time, a line for each number at each point; and the same as a table for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pytest_lighteval.errors import DataError
from pytest_lighteval.reports.markdown import escape_markdown
from pytest_lighteval.reports.rows import format_number, one_line, ordered_keys
from pytest_lighteval.reports.serialize import to_json
from pytest_lighteval.types import HistoryRow, PairedDifference

FILE = "history.jsonl"
_SIGNS = {"PASSED": "✅", "REGRESSED": "❌", "INCONCLUSIVE": "❔", "IMPROVED": "⬆️", "STALE": "❌"}


def history_jsonl(rows: Sequence[HistoryRow]) -> str:
    """The text of history.jsonl: points in the order in which they were measured; keys as in `HistoryRow`."""
    return "".join(to_json(row) + "\n" for row in rows)


def read_history(path: Path) -> list[HistoryRow]:
    """The rows of a history.jsonl. Raises DataError: it cannot be read, or is none."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: the history cannot be read: {error}") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            # a number that is not finite is a text
            rows.append(msgspec.convert(json.loads(line), HistoryRow, strict=False))
        except (ValueError, msgspec.ValidationError) as error:
            raise DataError(f"{path}:{number}: no row of a history: {error}") from error
    return rows


def history_markdown(title: str, rows: Sequence[HistoryRow]) -> str:
    """A table for each number: a row for each point, in the order of the axis."""
    lines = [f"## {escape_markdown(title)}", ""]
    numbers: dict[tuple[str, str], list[HistoryRow]] = {}
    for row in rows:
        numbers.setdefault((row.task, row.metric), []).append(row)
    for task in ordered_keys({task for task, _ in numbers}):
        for (name, metric), of_number in numbers.items():
            if name != task:
                continue
            lines += [f"### {escape_markdown(f'{task} {metric}')}", ""]
            lines += ["| point | score | 95 % | n | loss to the one before | loss to the best before | gate |"]
            lines += ["| --- | ---: | --- | ---: | --- | --- | --- |"]
            lines += [_line(row) for row in sorted(of_number, key=lambda row: row.step)]
            lines.append("")
    return "\n".join(lines)


def _line(row: HistoryRow) -> str:
    interval = "" if row.lower is None else f"{format_number(row.lower)} to {format_number(row.upper)}"
    gate = "" if row.verdict is None else f"{_SIGNS.get(row.verdict, '')} {row.verdict}".strip()
    cells = [row.point, format_number(row.score), interval, str(row.n), difference_text(row.before), difference_text(row.best), gate]
    return "| " + " | ".join(map(escape_markdown, cells)) + " |"


def difference_text(difference: PairedDifference | None) -> str:
    """`0.0120 [-0.0030, 0.0270] (step-900)`, positive for a loss. Empty: nothing was compared."""
    if difference is None:
        return ""
    bounds = f"[{format_number(difference.lower)}, {format_number(difference.upper)}]"
    return f"{format_number(difference.loss)} {bounds} ({one_line(difference.point)})"


def curve_lines(rows: Sequence[HistoryRow]) -> list[tuple[HistoryRow, str]]:
    """For a terminal: a line for each point and number that has a gate, or of a point's first number of each task without any."""
    heads = {row.task: row.metric for row in reversed(rows)}
    gated = {(row.task, row.metric) for row in rows if row.verdict is not None}
    shown = gated or set(heads.items())
    return [(row, _told(row)) for row in rows if (row.task, row.metric) in shown]


def _told(row: HistoryRow) -> str:
    error = "" if row.stderr is None else f" ± {format_number(row.stderr)}"
    best = "" if row.best is None else f"  loss to the best before {difference_text(row.best)}"
    verdict = "" if row.verdict is None else f"  {row.verdict}"
    return f"{row.point}: {row.task}: {row.metric} {format_number(row.score)}{error}{best}{verdict}"
