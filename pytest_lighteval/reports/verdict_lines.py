"""The comparisons with the baseline, one line each, with the documents that flipped."""

from __future__ import annotations

import math

from pytest_lighteval.reports.rows import STYLES, Style, comparison_outcome, format_number, one_line, ordered_keys
from pytest_lighteval.types import Flip, PairedVerdict, RunReport, Verdict

_MOST_FLIPS = 100
"""For one task at -v; -vv lists all."""

_ORDER = ("failed", "waived", "inconclusive", "new", "passed", "advisory")


def compared_lines(report: RunReport) -> list[tuple[str, str]]:
    """Key and line of every comparison that did not fail, with its notes and its waiver, the most important first."""
    return [(key, _line(verdict)) for key, verdict in _ordered(report) if comparison_outcome(verdict) != "failed"]


def verdict_lines(report: RunReport, *, verbosity: int, repeats_failures: bool = False) -> list[tuple[str, Style]]:
    """Lines for a terminal with their styles, not cut to its width. Empty for a run without a baseline.

    A line has the colour of its own comparison: a threshold that failed beside it is in the table. Comparisons that failed are among
    pytest's failures, and only `repeats_failures` shows them here too. Advisory ones are shown at -v or if they lost, flipped documents
    at -v.
    """
    lines: list[tuple[str, Style]] = []
    for key, verdict in _ordered(report):
        is_told = comparison_outcome(verdict) == "failed" and not repeats_failures
        if not is_told and (verbosity > 0 or _is_shown(verdict)):
            lines.append((f"{key}: {_line(verdict)}", STYLES[comparison_outcome(verdict)]))
        elif verbosity > 0 and verdict.paired is not None and verdict.paired.flips:
            lines.append((f"{key}: {verdict.metric}: documents that flipped", STYLES["failed"]))
        if verbosity > 0 and verdict.paired is not None:
            lines += [(f"    {text}", "plain") for text in _flips(verdict.paired.flips, all_of_them=verbosity > 1)]
    other = "the reference" if report.reference_backend else "the baseline"
    return [*([(f"compared with {other}", "plain"), *lines] if lines else []), *_pinned_lines(report)]


def pinned_comparisons(report: RunReport) -> list[tuple[str, PairedVerdict]]:
    """Key and comparison with the pinned baseline, those first that have used up the most of what is allowed."""
    found = [
        (key, verdict.pinned) for key in ordered_keys(report.verdicts) for verdict in report.verdicts[key] if verdict.pinned is not None
    ]
    return sorted(found, key=lambda entry: -math.inf if entry[1].used is None else -entry[1].used)


def _pinned_lines(report: RunReport) -> list[tuple[str, Style]]:
    lines: list[tuple[str, Style]] = []
    for key, pinned in pinned_comparisons(report):
        is_over = pinned.used is None or pinned.used >= 1
        lines.append((f"{key}: {_with_notes(pinned.line, [*pinned.notes])}", "failed" if pinned.red else "open" if is_over else "plain"))
    return [("compared with the pinned baseline", "plain"), *lines] if lines else []


def _ordered(report: RunReport) -> list[tuple[str, Verdict]]:
    found = [(key, verdict) for key in ordered_keys(report.verdicts) for verdict in report.verdicts[key] if verdict.paired is not None]
    return sorted(found, key=lambda entry: _ORDER.index(comparison_outcome(entry[1])))


def _is_shown(verdict: Verdict) -> bool:
    return comparison_outcome(verdict) != "advisory" or (verdict.paired is not None and verdict.paired.outcome in ("REGRESSED", "STALE"))


def _line(verdict: Verdict) -> str:
    paired = verdict.paired
    assert paired is not None
    prefix = "advisory: " if paired.advisory else ""
    return _with_notes(f"{prefix}{paired.line}", _notes(verdict))


def _notes(verdict: Verdict) -> list[str]:
    paired = verdict.paired
    assert paired is not None
    waiver = [f"waived: {verdict.waiver}"] if comparison_outcome(verdict) == "waived" else []
    unused = [f"its waiver is not needed: {verdict.waiver}"] if verdict.waiver and verdict.outcome != "waived" else []
    retried = [f"retried: an earlier session of the same model found {verdict.retried}"] if verdict.retried else []
    return [*paired.notes, *retried, *waiver, *unused]


def _with_notes(line: str, notes: list[str]) -> str:
    """The line, followed by its notes in brackets."""
    return line + (f"  [{one_line('; '.join(notes))}]" if notes else "")


def _flips(flips: tuple[Flip, ...], *, all_of_them: bool) -> list[str]:
    """Lost documents first. The ids are those of the details."""
    ordered = sorted(flips, key=lambda flip: not flip.is_loss)
    shown = ordered if all_of_them else ordered[:_MOST_FLIPS]
    lines = [
        f"{'lost' if flip.is_loss else 'won '}  {one_line(flip.id)}  {format_number(flip.before)} -> {format_number(flip.after)}"
        for flip in shown
    ]
    return lines + ([f"and {len(ordered) - len(shown)} more (-vv lists all)"] if len(shown) < len(ordered) else [])
