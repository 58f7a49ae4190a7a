"""Several runs against one reference, as a table in a terminal: a row for each number, a column for each run."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_lighteval.reports.rows import format_number, gate_word, one_line, ordered_keys
from pytest_lighteval.types import PairedVerdict, RunReport, Verdict

_GAP = "  "
_LEAST = 12
"""Characters of a task's name that still say something."""


def matrix_lines(reference: str, runs: Sequence[tuple[str, RunReport]], *, width: int) -> list[str]:
    """A legend, then the table. A cell has the score, the loss with its two bounds, and the verdict.

    Args:
        reference: the name of what the runs are compared with.
        runs: each with its name, and its verdicts against the reference.
        width: characters of a line; names of tasks are cut to it where that is enough.
    """
    legend = [
        f"[0] {one_line(reference)}: the reference",
        *(f"[{number}] {one_line(name)}" for number, (name, _) in enumerate(runs, start=1)),
    ]
    legend.append("a column has the score, the loss with its two bounds (below 0: a gain), and the verdict; in brackets: advisory")
    found: dict[tuple[str, str], dict[int, Verdict]] = {}
    for number, (_, report) in enumerate(runs, start=1):
        for key in ordered_keys(report.verdicts):
            for verdict in report.verdicts[key]:
                found.setdefault((key, verdict.metric), {})[number] = verdict
    keys = {key: place for place, key in enumerate(ordered_keys({key for key, _ in found}))}
    rows = [("task", "metric", "[0]", *(f"[{number}]" for number in range(1, len(runs) + 1)))]
    for key, metric in sorted(found, key=lambda entry: keys[entry[0]]):
        verdicts = found[key, metric]
        before = next((verdict.paired.baseline for verdict in verdicts.values() if verdict.paired and verdict.paired.comparison), None)
        cells = (matrix_cell(verdicts[number]) if number in verdicts else "" for number in range(1, len(runs) + 1))
        rows.append((key, metric, format_number(before), *cells))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - width
    widths[0] = max(min(widths[0], _LEAST), widths[0] - max(excess, 0))
    return [*legend, *(_GAP.join(_cut(cell, size).ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in rows)]


def matrix_cell(verdict: Verdict) -> str:
    """`0.6573  4.8 [2.6, 7.0]  REGRESSED`: the score, the loss with its bounds, in points where its line has points, and the verdict."""
    paired = verdict.paired
    if paired is None or paired.comparison is None:
        return f"{format_number(verdict.value)}  {gate_word(verdict)}"
    return f"{format_number(paired.candidate)}  {_loss(paired)}  {gate_word(verdict)}"


def _loss(paired: PairedVerdict) -> str:
    comparison = paired.comparison
    assert comparison is not None
    scale, digits = (100, 1) if " points [" in paired.line else (1, 4)
    loss, lower, upper = (
        f"{round(scale * value, digits) + 0.0:.{digits}f}" for value in (comparison.loss, comparison.lower, comparison.upper)
    )
    return f"{loss} [{lower}, {upper}]"


def _cut(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}…{text[len(text) - end :]}"
