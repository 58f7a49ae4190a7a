"""The table at the end of a run in a terminal, as aligned text with a style for each line."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

from pytest_lighteval.reports.calibration import calibration_lines
from pytest_lighteval.reports.rows import (
    ReportRow,
    Style,
    attempt_lines,
    format_number,
    gate_cell,
    gate_word,
    group_rows,
    one_line,
    ordered_keys,
    saved_documents,
    shown_key,
    task_rows,
)
from pytest_lighteval.types import RunReport, TaskResult, Verdict

_TASK, _METRIC, _VALUE, _STDERR, _N, _GATE = range(6)
_HEADER = ("task", "metric", "value", "stderr", "n", "gate")
_RIGHT = (_VALUE, _N)
_GAP = "  "
_NARROW = 20
"""Narrower terminals get no indent."""
_LONGEST = 2000
"""Characters of one line below the table."""

_LEAST_TASK, _LEAST_METRIC = 12, 6
"""Characters of a name that still say something."""
_WANTED_TASK = 24
"""A task's column is not cut below this for the sake of a gate's thresholds."""
_LEAST_WANTED: tuple[int, ...] = (_STDERR, _N, _METRIC)
"""Columns that a terminal loses that is too narrow for all of them, one after the other."""


def terminal_table(report: RunReport, *, width: int) -> list[tuple[str, Style]]:
    """Lines of at most `width` characters, each with its style. The rows of the table are cut to it; what is below them is wrapped.

    Tasks with failed gates at the top, supersets under a heading, tasks whose prompts were cut, errors, the number of skipped tasks,
    and the backend's notes.
    """
    tasks, groups = task_rows(report), group_rows(report)
    rows: list[tuple[str, Style]] = []
    if tasks or groups:
        table = _table(tasks, groups, width)
        rows += [(table[0], "plain"), *zip(table[1 : len(tasks) + 1], [row.style for row in tasks], strict=True)]
        if groups:
            rows.append(("averages over tasks", "plain"))
            rows += zip(table[len(tasks) + 1 :], [row.style for row in groups], strict=True)
    below = [(part, style) for line, style in _below(report) for part in _wrapped(line, width)]
    return [*((_end_elided(line, width), style) for line, style in rows), *below]


def _below(report: RunReport) -> list[tuple[str, Style]]:
    """What the numbers alone do not say, one line each, of any length."""
    lines: list[tuple[str, Style]] = []
    for result in report.results:
        if result.num_truncated:
            documents = "1 document was" if result.num_truncated == 1 else f"{result.num_truncated} documents were"
            lines.append((f"{result.key}: {documents} cut to the model's length", "plain"))
        if result.num_cut:
            lines.append((f"{result.key}: {result.num_cut} of {result.num_texts} answers ended at the limit of new tokens", "plain"))
    lines += [(line, "plain") for line in _notes(report)]
    lines += [(f"{key}: {text}", "open") for key, text in attempt_lines(report)]
    lines += [(f"{key}: {text}", "plain") for key, text in saved_documents(report)]
    lines += [(line, "plain") for line in calibration_lines(report)]
    lines += [(f"{key}: {one_line(report.errors[key])}", "error") for key in ordered_keys(report.errors)]
    for reason in dict.fromkeys(report.skipped.values()):
        count = list(report.skipped.values()).count(reason)
        lines.append((f"{count} task{'s' * (count > 1)} skipped: {one_line(reason)}", "plain"))
    lines += [(f"{report.backend.get('name', 'backend')}: {one_line(note)}", "plain") for note in report.backend.get("notes", ())]
    for node, results in report.own_runs.items():
        lines += [(f"{node}: {shown_key(result)}: {_numbers(result)}", "plain") for result in results]
    return lines


def _notes(report: RunReport) -> list[str]:
    """Each note once, with the first of the tasks that have it and the number of the others."""
    keys: dict[str, list[str]] = {}
    for result in report.results:
        for note in result.notes:
            keys.setdefault(note, []).append(str(result.key))
    return [f"{first}{f' and {len(others)} more' if others else ''}: {note}" for note, (first, *others) in keys.items()]


def _numbers(result: TaskResult) -> str:
    """`acc 0.6120 ± 0.0134 (n = 1319)`, for a result that has no row of its own."""
    return ", ".join(f"{name} {number}" for name, number in result.metrics.items())


def _table(tasks: Sequence[ReportRow], groups: Sequence[ReportRow], width: int) -> list[str]:
    """A header and one line a row, in the order of the columns.

    Where not all fits, the gate's text becomes shorter first, then the names of tasks and metrics. Value, error, number and gate are
    whole on 80 columns.
    """
    rows = [*tasks, *groups]
    columns = [*range(len(_HEADER))]
    for gate in (gate_cell, lambda verdict: gate_cell(verdict, with_thresholds=False), gate_word):
        cells = [_HEADER, *(_cells(row, gate) for row in rows)]
        widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADER))]
        if _total(widths, columns) - widths[_TASK] + min(widths[_TASK], _WANTED_TASK) <= width:
            break
    least = {_TASK: _LEAST_TASK, _METRIC: _LEAST_METRIC}
    for lost in (None, *_LEAST_WANTED):
        columns = [column for column in columns if column != lost]
        for column in (_TASK, _METRIC):
            if column in columns:
                missing = max(_total(widths, columns) - width, 0)
                widths[column] = max(widths[column] - missing, min(widths[column], least[column]))
        if _total(widths, columns) <= width:
            break
    return [_GAP.join(_padded(line[column], widths[column], column) for column in columns).rstrip() for line in cells]


def _total(widths: Sequence[int], columns: Sequence[int]) -> int:
    return sum(widths[column] for column in columns) + len(_GAP) * (len(columns) - 1)


def _cells(row: ReportRow, gate: Callable[[Verdict], str]) -> tuple[str, ...]:
    number = row.number
    stderr = "" if number.stderr is None else f"± {format_number(number.stderr)}"
    said = "" if row.verdict is None else gate(row.verdict)
    return (row.name, row.metric, format_number(number.value), stderr, str(number.n), said)


def _padded(text: str, width: int, column: int) -> str:
    if column in (_TASK, _METRIC):
        return _middle_elided(text, width).ljust(width)
    return text.rjust(width) if column in _RIGHT else text.ljust(width)


def _middle_elided(text: str, width: int) -> str:
    """Shortened in its middle, as both ends of a key matter: its suite and its few-shot count."""
    if len(text) <= width:
        return text
    head = (width - 1) // 3
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def _end_elided(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(width - 1, 0)]}…"


def _wrapped(line: str, width: int) -> list[str]:
    """The line in parts. Nothing is lost: the reason of an error is at its end. Of a text that fills a screen, the middle is."""
    indent = "    " if width > _NARROW else ""
    return textwrap.wrap(_middle_elided(line, _LONGEST), max(width, 1), subsequent_indent=indent, break_on_hyphens=False)
