"""Views of what the linter found: JSON, a page of Markdown, lines for a terminal, JUnit properties. Texts of data sets are escaped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pytest_lighteval.common.files import write_atomic
from pytest_lighteval.errors import LightevalError
from pytest_lighteval.reports.junit import Property
from pytest_lighteval.reports.markdown import escape_markdown
from pytest_lighteval.reports.rows import Style
from pytest_lighteval.reports.serialize import to_json
from pytest_lighteval.types import CheckReport, Finding, Severity, TaskCheck

SCHEMA = 1
"""Version of the layout of checks.json."""
_LEAST_TASK_WIDTH = 28
_STYLES: dict[Severity, Style] = {Severity.ERROR: "failed", Severity.WARNING: "open", Severity.NOTE: "plain"}


def checks_json(report: CheckReport) -> str:
    """The text of checks.json: keys sorted. Times and the run's name are under `run` alone."""
    content = {
        "schema": SCHEMA,
        "run": {
            "id": report.run_id,
            "started": report.started,
            "seconds": report.seconds,
            "task_seconds": {check.task: check.seconds for check in report.checks},
        },
        "settings": report.settings,
        "fail_on": report.fail_on,
        "tasks": {
            check.task: {
                "few_shots": check.few_shots,
                "documents": check.documents,
                "findings": check.findings,
                "not_checked": check.not_checked,
                "corrected_by": check.corrected_by,
            }
            for check in report.checks
        },
        "errors": report.errors,
        "skipped": report.skipped,
        "idle_accepted": report.idle,
    }
    return to_json(content, indent=2, sort_keys=True) + "\n"


def checks_markdown(report: CheckReport) -> str:
    """The whole page: the counts, a table of all findings, the worst tasks first, and the examples below."""
    lines = ["## Check of benchmarks", "", f"{counts_line(report)}.", ""]
    if report.errors:
        lines += [
            "### Not checked",
            "",
            *(f"- **{escape_markdown(task)}**: {escape_markdown(text)}" for task, text in report.errors.items()),
            "",
        ]
    found = [check for check in by_badness(report.checks) if check.findings]
    if found:
        lines += ["### Findings", "", *findings_table(found), "", "### Examples", ""]
        for check in found:
            lines += [*_examples(check), ""]
    if report.idle:
        lines += ["### Accepted, and not found", "", *(f"- {escape_markdown(line)}" for line in report.idle), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def findings_table(checks: Iterable[TaskCheck]) -> Iterator[str]:
    """A table of Markdown with one row a finding."""
    yield "| task | severity | finding | documents | of | what |"
    yield "| --- | --- | --- | ---: | ---: | --- |"
    for check in checks:
        for finding in check.findings:
            severity = finding.severity.value if finding.accepted is None else "accepted"
            message = finding.message if finding.accepted is None else f"{finding.message} (accepted: {finding.accepted})"
            cells = (check.task, severity, finding.kind, str(finding.count), str(finding.of), message)
            yield f"| {' | '.join(map(escape_markdown, cells))} |"


def _examples(check: TaskCheck) -> Iterator[str]:
    yield f"**{escape_markdown(check.task)}**"
    yield ""
    for finding in check.findings:
        yield f"- {escape_markdown(finding.line)}"
        for example in finding.examples:
            yield f"  - {escape_markdown(example.id)}: {escape_markdown(example.text)}"
    if check.corrected_by is not None:
        yield f"- the sound version is {escape_markdown(check.corrected_by)}"
    for line in check.not_checked:
        yield f"- not checked: {escape_markdown(line)}"


def by_badness(checks: Iterable[TaskCheck]) -> list[TaskCheck]:
    """Those with the most open errors first, then warnings, then notes; tasks of the same numbers by name."""
    return sorted(checks, key=lambda check: ([-count for count in open_counts(check)], check.task))


def open_counts(check: TaskCheck) -> list[int]:
    """Open findings of each severity, the worst first."""
    counted = Counter(finding.severity for finding in check.open(Severity.NOTE))
    return [counted[severity] for severity in Severity]


def counts_line(report: CheckReport) -> str:
    """`699 tasks checked: 31 with errors, 40 with warnings alone, 628 with neither`, and how many could not be."""
    totals = [open_counts(check) for check in report.checks]
    errors = sum(count[0] > 0 for count in totals)
    warnings = sum(count[0] == 0 and count[1] > 0 for count in totals)
    parts = [f"{errors} with errors", f"{warnings} with warnings alone", f"{len(totals) - errors - warnings} with neither"]
    line = f"{_counted(len(totals))} checked: {', '.join(parts)}"
    if report.errors:
        line += f"; {_counted(len(report.errors))} could not be checked"
    return line + (f"; {_counted(len(report.skipped))} skipped" if report.skipped else "")


def _counted(count: int) -> str:
    return f"{count} task{'s' * (count != 1)}"


def check_lines(report: CheckReport, *, width: int) -> Iterator[tuple[str, Style]]:
    """The tasks with findings, the worst last, where a reader of a terminal looks; then the counts."""
    shown = [check for check in by_badness(report.checks) if check.open(Severity.WARNING)][::-1]
    if shown:
        numbers = [(*map(str, open_counts(check)), str(check.documents)) for check in shown]
        names = [_fit(check.task, max(_LEAST_TASK_WIDTH, width - 52)) for check in shown]
        head = max(len("task"), *map(len, names))
        yield f"{'task':<{head}}  error  warn  note   docs  worst finding", "plain"
        for check, name, (errors, warnings, notes, documents) in zip(shown, names, numbers, strict=True):
            worst = check.open(Severity.WARNING)[0]
            line = f"{name:<{head}}  {errors:>5}  {warnings:>4}  {notes:>4}  {documents:>5}  "
            count = f" {worst.count}/{worst.of}"
            yield line + _fit(worst.kind, max(width - len(line) - len(count) - 1, 8)) + count, _STYLES[worst.severity]
    yield counts_line(report), "failed" if report.errors or any(check.open(report.fail_on) for check in report.checks) else "passed"
    for line in report.idle:
        yield line, "open"


def _fit(text: str, width: int) -> str:
    """The text within a width, without its middle: tasks of a superset differ at their ends."""
    if len(text) <= width:
        return text
    begin = (width - 2) // 2
    return f"{text[:begin]}..{text[begin + 2 - width :]}"


def failure_text(check: TaskCheck, findings: Sequence[Finding]) -> str:
    """What a failed item says of some of its findings: each in a line, with its examples below, and where the sound task is."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.line} ({finding.severity})")
        lines += [f"    {example.id}: {example.text}" for example in finding.examples]
    if check.corrected_by is not None:
        lines.append(f"the sound version is {check.corrected_by}")
    return "\n".join(lines)


def check_properties(check: TaskCheck) -> list[Property]:
    """`lighteval.task`, `lighteval.documents` and for each finding `lighteval.check.<kind>`, the number of documents that it concerns."""
    counts: Counter[str] = Counter()
    for finding in check.findings:
        name = finding.kind if finding.accepted is None else f"{finding.kind}.accepted"
        counts[name] = max(counts[name], finding.count)
    return [
        ("lighteval.task", check.task),
        ("lighteval.documents", check.documents),
        *((f"lighteval.check.{name}", count) for name, count in counts.items()),
    ]


def write_checks(folder: Path, report: CheckReport) -> None:
    """Write checks.json and checks.md. Each is whole or not there; LightevalError names one that cannot be written."""
    for name, text in (("checks.json", checks_json(report)), ("checks.md", checks_markdown(report))):
        try:
            write_atomic(folder / name, text)
        except OSError as error:
            raise LightevalError(f"{folder / name}: the report cannot be written: {error.strerror}") from error
