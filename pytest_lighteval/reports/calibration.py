"""The result of `--gate-calibrate` as rows: how much the runs of one model differ in every number."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_lighteval.reports.rows import format_number, ordered_keys
from pytest_lighteval.types import Calibration, RunReport

HEADER = ("task", "metric", "runs", "n", "differ between two runs", "lowest", "highest")


def calibration_rows(report: RunReport) -> list[tuple[str, ...]]:
    """One row for each number of each task, in the order of `HEADER`."""
    found = [(key, metric, of) for key in ordered_keys(report.calibration) for metric, of in report.calibration[key].items()]
    return [(key, metric, str(of.runs), str(of.n), _differ(of), *map(format_number, _extremes(of))) for key, metric, of in found]


def calibration_lines(report: RunReport) -> list[str]:
    """The same as aligned text under a heading. Empty if nothing was calibrated."""
    rows = calibration_rows(report)
    if not rows:
        return []
    table = [HEADER, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEADER))]
    return ["runs of the same model", *("  ".join(_padded(row, widths)).rstrip() for row in table)]


def _padded(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]


def _extremes(of: Calibration) -> tuple[float, float]:
    return min(of.values), max(of.values)


def _differ(of: Calibration) -> str:
    """For 0/1 scores the share of documents that differ; for graded scores the variance of the difference."""
    return "unknown" if of.discordance is None else f"{100 * of.discordance:.2f} %"
