"""Documents that flipped, as folded tables of Markdown with both answers. Nothing in them can act: each text is escaped and cut."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from pytest_lighteval.reports.answers import StoredAnswer
from pytest_lighteval.reports.flips import ExplainedFlip, reasons_line
from pytest_lighteval.reports.markdown import escape_markdown
from pytest_lighteval.reports.rows import format_number, one_line

_MOST_ROWS = 20
"""Of one number. Lost documents come first."""
_MOST_ROWS_IN_ALL = 300
"""GitHub shows no summary of more than 1 MiB, and people read the page for more."""
_MOST_CHARACTERS = 120
"""Of one answer."""

Explained = Mapping[str, Mapping[str, Sequence[ExplainedFlip]]]
"""Task -> metric -> the documents that flipped."""


def flip_tables(flips: Explained) -> list[str]:
    """A folded table for each number, with the counts of each reason in the line that unfolds it. Empty: nothing flipped."""
    lines: list[str] = []
    room = _MOST_ROWS_IN_ALL
    for key, metrics in flips.items():
        for metric, explained in metrics.items():
            shown = explained[: min(_MOST_ROWS, room)]
            room -= len(shown)
            lines += _folded(f"{key} {metric}", explained, shown, metric)
    return ["### Documents that flipped", "", *lines] if lines else []


def _folded(name: str, explained: Sequence[ExplainedFlip], shown: Sequence[ExplainedFlip], metric: str) -> list[str]:
    lost = sum(entry.flip.is_loss for entry in explained)
    # an HTML block ends at an empty line; before it, backslashes would be shown
    head = html.escape(f"{one_line(name)}: {lost} lost / {len(explained) - lost} won: {reasons_line(explained)}").replace("@", "&#64;")
    more = len(explained) - len(shown)
    return [
        f"<details><summary>{head}</summary>",
        "",
        *_table(shown, metric),
        *([f"and {more} more", ""] if more else []),
        "</details>",
        "",
    ]


def _table(shown: Sequence[ExplainedFlip], metric: str) -> list[str]:
    if not shown:
        return []
    # a baseline file keeps no texts: a column without any is left out
    sides = {"before": [entry.before for entry in shown], "now": [entry.after for entry in shown]}
    answers = {title: column for title, column in sides.items() if any(column)}
    golds = [_golds(entry) for entry in shown]
    header = ["document", "change", "why", *(["right answer"] if any(golds) else []), *(f"answer {title}" for title in answers)]
    rows = [f"| {' | '.join(header)} |", "|" + " --- |" * len(header)]
    for place, entry in enumerate(shown):
        flip = entry.flip
        cells = [
            flip.id,
            f"{'lost' if flip.is_loss else 'won'} {format_number(flip.before)} -> {format_number(flip.after)}",
            entry.reason.value,
            *([golds[place]] if any(golds) else []),
            *(_shown(column[place], metric) for column in answers.values()),
        ]
        rows.append("| " + " | ".join(escape_markdown(cell) for cell in cells) + " |")
    return [*rows, ""]


def _golds(entry: ExplainedFlip) -> str:
    known = entry.after or entry.before
    return "" if known is None else shortened(" / ".join(known.golds))


def _shown(answer: StoredAnswer | None, metric: str) -> str:
    """What a model answered, in one line. Empty: not known."""
    if answer is None:
        return ""
    text = " / ".join(answer.texts) if answer.texts else answer.choice(metric) or ""
    return shortened(text) + (" (cut)" if answer.num_cut else "") + (" (refused)" if answer.is_refused else "")


def shortened(text: str, most: int = _MOST_CHARACTERS) -> str:
    """The text on one line, its middle left out where it is long: what counts is often at the end."""
    line = one_line(text[: 4 * most] + " ... " + text[-4 * most :] if len(text) > 8 * most else text)
    return line if len(line) <= most else f"{line[: most // 2]} ... {line[-(most // 2) :]}"
