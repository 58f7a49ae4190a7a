"""summary.md: a run on one page of Markdown, also for GitHub's step summary. Text from a model or a data set is escaped."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pytest_lighteval.errors import LightevalError
from pytest_lighteval.reports.calibration import HEADER, calibration_rows
from pytest_lighteval.reports.flip_tables import Explained, flip_tables
from pytest_lighteval.reports.markdown import escape_markdown
from pytest_lighteval.reports.rows import (
    ReportRow,
    arguments_text,
    attempt_lines,
    duration_text,
    failed_verdicts,
    format_number,
    gate_cell,
    group_rows,
    model_name,
    ordered_keys,
    own_rows,
    saved_documents,
    task_rows,
    time_text,
)
from pytest_lighteval.reports.verdict_lines import compared_lines, pinned_comparisons
from pytest_lighteval.types import RunReport

STEP_SUMMARY_BYTES = 1024 * 1024
"""GitHub shows nothing of a longer summary of a step.

https://docs.github.com/actions/reference/workflow-commands-for-github-actions#step-isolation-and-limits
"""

_SIGNS = {"passed": "✅", "failed": "❌", "inconclusive": "❔", "waived": "⚠️", "new": "🆕", "advisory": "💬"}

_UNFOLD = b"\n\n</details>\n"
_CUT = "\n\n*The rest is cut: GitHub shows 1 MiB. All of it is in summary.md.*\n"


def summary_markdown(report: RunReport, flips: Explained | None = None, *, page: tuple[str, str] | None = None) -> str:
    """The whole page: what failed first, then the tables, then how it was measured.

    Args:
        report: the run.
        flips: the documents that flipped, and why. None: they are left out.
        page: words and address of a link to the run's report.html. None: no link.
    """
    failed = failed_verdicts(report)
    name = model_name(report)
    lines = [f"## Evaluation of {escape_markdown(name)}" if name else "## Evaluation", "", _counts(report, len(failed)), ""]
    lines += [f"[{page[0]}]({page[1]})", ""] if page is not None else []
    lines += _list("Failed gates", ((key, verdict.message) for key, verdict in failed))
    lines += _list("Errors", ((key, report.errors[key]) for key in ordered_keys(report.errors)))
    lines += _list("Compared with the baseline", compared_lines(report))
    lines += _list("Compared with the pinned baseline", ((key, pinned.line) for key, pinned in pinned_comparisons(report)))
    lines += flip_tables(flips or {})
    lines += _table("Tasks", task_rows(report))
    lines += _table("Averages over tasks", group_rows(report))
    lines += _table("Measured by tests", own_rows(report))
    cut = {str(result.key): result.num_truncated for result in report.results if result.num_truncated}
    lines += _list("Documents cut to the model's length", ((key, str(cut[key])) for key in ordered_keys(cut)))
    lines += _list("Notes", ((str(result.key), note) for result in report.results for note in result.notes))
    lines += _list("Tried more than once", attempt_lines(report))
    lines += _list("Stopped early", saved_documents(report))
    lines += _calibration(report)
    lines += _list("Skipped", ((key, report.skipped[key]) for key in ordered_keys(report.skipped)))
    facts = {
        "run": report.run_id,
        "started": time_text(report.started),
        "time": duration_text(report.seconds),
        "exit status": report.exit_status,
        "backend": report.backend.get("name"),
        "model arguments": arguments_text(report.model_args) or None,
        "compared with": report.reference_backend.get("model") or report.reference_backend.get("name"),
    }
    measured = [(key, str(value)) for key, value in [*facts.items(), *sorted(report.settings.items())] if value is not None]
    lines += _list("Measured with", [*measured, *_baselines(report), *_versions(report)])
    return "\n".join(lines).rstrip("\n") + "\n"


def _baselines(report: RunReport) -> Iterator[tuple[str, str]]:
    for file in report.baselines:
        models = ", ".join(" ".join(str(fact) for fact in model.values() if fact is not None) or "unknown" for model in file["models"])
        text = f"{file['path']} (sha256 {file['sha256'][:12]}, {_counted(file['tasks'], 'task', 'of')} {models or 'no model'})"
        yield ("pinned baseline" if file["is_pinned"] else "baseline"), text


def _versions(report: RunReport) -> Iterator[tuple[str, str]]:
    packages = report.environment.get("packages")
    if isinstance(packages, Mapping):
        python = report.environment.get("python")
        yield "versions", ", ".join(f"{name} {version}" for name, version in [("Python", python), *sorted(packages.items())])


def _counts(report: RunReport, failed: int) -> str:
    outcomes = Counter(verdict.outcome for verdicts in report.verdicts.values() for verdict in verdicts)
    parts = [
        _counted(len(report.results), "task", "evaluated"),
        _counted(sum(map(len, report.own_runs.values())), "evaluation", "by tests"),
        _counted(failed, "gate", "failed"),
        _counted(outcomes["passed"], "gate", "passed"),
        _counted(outcomes["inconclusive"], "gate", "inconclusive"),
        _counted(outcomes["waived"], "gate", "waived"),
        _counted(outcomes["new"], "score", "without a baseline"),
        _counted(len(report.errors), "task", "without a score"),
        _counted(len(report.skipped), "task", "skipped"),
    ]
    return ", ".join(part for part in parts if part) or "nothing evaluated"


def _counted(count: int, noun: str, what: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)} {what}" if count else ""


def _list(title: str, entries: Iterable[tuple[str, str]]) -> list[str]:
    items = [f"- **{escape_markdown(key)}**: {escape_markdown(text)}" for key, text in entries]
    return [f"### {title}", "", *items, ""] if items else []


def _table(title: str, rows: Sequence[ReportRow]) -> list[str]:
    if not rows:
        return []
    return [
        f"### {title}",
        "",
        "| task | metric | value | stderr | n | gate |",
        "| --- | --- | ---: | ---: | ---: | --- |",
        *map(_line, rows),
        "",
    ]


def _calibration(report: RunReport) -> list[str]:
    rows = [HEADER, tuple("---" for _ in HEADER), *calibration_rows(report)]
    cells = [[escape_markdown(cell) if row is not rows[1] else cell for cell in row] for row in rows]
    return ["### Runs of the same model", "", *(f"| {' | '.join(row)} |" for row in cells), ""] if report.calibration else []


def _line(row: ReportRow) -> str:
    number = row.number
    cells = (row.name, row.metric, format_number(number.value), format_number(number.stderr), str(number.n), _gate(row))
    return "| " + " | ".join(map(escape_markdown, cells)) + " |"


def _gate(row: ReportRow) -> str:
    verdict = row.verdict
    if verdict is None:
        return ""
    return f"{_SIGNS[verdict.outcome]} {gate_cell(verdict)}"


def append_step_summary(text: str, environ: Mapping[str, str]) -> bool:
    """Add to the summary of a GitHub Actions step. False: this is no such step.

    A text that is too long is cut at the end of a line, and says so. Raises LightevalError if the file cannot be written.
    """
    path = environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return False
    try:
        with open(path, "ab") as file:
            room = STEP_SUMMARY_BYTES - file.seek(0, os.SEEK_END)
            file.write(_within(text.encode("utf-8", "backslashreplace"), room))
    except OSError as error:
        raise LightevalError(f"{path}: the step summary cannot be written: {error.strerror}") from error
    return True


def _within(text: bytes, room: int) -> bytes:
    if len(text) <= room:
        return text
    note = _CUT.encode()
    kept, line_end, _ = text[: max(room - len(note) - len(_UNFOLD), 0)].rpartition(b"\n")
    is_folded = kept.count(b"<details>") > kept.count(b"</details>")
    return kept + _UNFOLD * is_folded + note if line_end else b""
