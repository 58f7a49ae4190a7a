"""The comparisons with the baseline, one line each, and with them the documents that flipped."""

from __future__ import annotations

from pytest_lighteval.reports.rows import STYLES, Style, format_number, one_line, ordered_keys
from pytest_lighteval.types import Flip, RunReport, Verdict

_MOST_FLIPS = 100
"""Of one task at -v; -vv lists all."""

_ORDER = ("failed", "waived", "inconclusive", "new", "passed", "advisory")


def compared_lines(report: RunReport) -> list[tuple[str, str]]:
    """Key and line of every comparison that did not fail, with its notes and its waiver, in the order of their weight."""
    return [(key, _told(verdict)) for key, verdict in _ordered(report) if verdict.outcome != "failed"]


def verdict_lines(report: RunReport, *, verbosity: int) -> list[tuple[str, Style]]:
    """Lines for a terminal with their styles, none for a run without a baseline; they are not cut to its width.

    What is advisory is told at -v, or where it lost; flipped documents at -v.
    """
    lines: list[tuple[str, Style]] = []
    for key, verdict in _ordered(report):
        if verbosity > 0 or _is_worth_telling(verdict):
            lines.append((f"{key}: {_told(verdict)}", STYLES[verdict.outcome]))
        if verbosity > 0 and verdict.paired is not None:
            lines += [(f"    {text}", "plain") for text in _flips(verdict.paired.flips, all_of_them=verbosity > 1)]
    other = "the reference" if report.reference_backend else "the baseline"
    return [(f"compared with {other}", "plain"), *lines] if lines else []


def _ordered(report: RunReport) -> list[tuple[str, Verdict]]:
    found = [(key, verdict) for key in ordered_keys(report.verdicts) for verdict in report.verdicts[key] if verdict.paired is not None]
    return sorted(found, key=lambda entry: _ORDER.index(entry[1].outcome))


def _is_worth_telling(verdict: Verdict) -> bool:
    return verdict.outcome != "advisory" or (verdict.paired is not None and verdict.paired.outcome in ("REGRESSED", "STALE"))


def _told(verdict: Verdict) -> str:
    paired = verdict.paired
    assert paired is not None
    prefix = "advisory: " if paired.advisory else ""
    waiver = [f"waived: {verdict.waiver}"] if verdict.outcome == "waived" else []
    unused = [f"its waiver is not needed: {verdict.waiver}"] if verdict.waiver and verdict.outcome != "waived" else []
    return _with_notes(f"{prefix}{paired.line}", [*paired.notes, *waiver, *unused])


def _with_notes(line: str, notes: list[str]) -> str:
    """The line as it stands, its notes in brackets behind it."""
    return line + (f"  [{one_line('; '.join(notes))}]" if notes else "")


def _flips(flips: tuple[Flip, ...], *, all_of_them: bool) -> list[str]:
    """Lost documents first; the ids are those of the details."""
    ordered = sorted(flips, key=lambda flip: not flip.is_loss)
    shown = ordered if all_of_them else ordered[:_MOST_FLIPS]
    lines = [
        f"{'lost' if flip.is_loss else 'won '}  {one_line(flip.id)}  {format_number(flip.before)} -> {format_number(flip.after)}"
        for flip in shown
    ]
    return lines + ([f"and {len(ordered) - len(shown)} more (-vv lists all)"] if len(shown) < len(ordered) else [])
