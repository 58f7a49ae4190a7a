"""What the linter says of every shipped task whose data are at hand.

`python -m benchmarks.check_tasks [--data-home DIR] [--write]` prints the tables; `--write` puts them into docs/check-tasks-catalogue.md.
Tasks of one superset stand in one row.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.document import cell, table
from benchmarks.recordings import ROOT, SHARED
from pytest_lighteval.checks.accepted import accept
from pytest_lighteval.checks.check import check_task
from pytest_lighteval.common.files import write_atomic
from pytest_lighteval.data.data_sets import DataSets
from pytest_lighteval.data.sources import find_source
from pytest_lighteval.errors import DataError
from pytest_lighteval.tasks.catalogue import Catalogue
from pytest_lighteval.types import Finding, Severity, Task, TaskCheck

DOCUMENT = ROOT / "docs" / "check-tasks-catalogue.md"
COMMAND = "python -m benchmarks.check_tasks --write"
BEGIN, END = f"<!-- catalogue: written by `{COMMAND}` -->", "<!-- end of catalogue -->"


@dataclass(slots=True)
class Row:
    """One kind of finding in all tasks of a superset."""

    severity: Severity
    kind: str
    tasks: int = 0
    documents: int = 0
    of: int = 0
    first: Finding | None = None

    def add(self, finding: Finding) -> None:
        """One more task."""
        self.tasks += 1
        self.documents += finding.count
        self.of += finding.of
        self.first = self.first or finding


@dataclass(slots=True)
class Group:
    """The tasks of one superset, or one task."""

    name: str
    tasks: int = 0
    documents: int = 0
    rows: dict[tuple[str, str], Row] = field(default_factory=dict)

    def add(self, check: TaskCheck) -> None:
        """One more task. Of several findings of a kind (of other metrics) the largest counts."""
        self.tasks += 1
        self.documents += check.documents
        largest: dict[tuple[str, str], Finding] = {}
        for finding in check.open(Severity.NOTE):
            key = finding.severity.value, finding.kind
            if key not in largest or finding.count > largest[key].count:
                largest[key] = finding
        for key, finding in largest.items():
            self.rows.setdefault(key, Row(severity=finding.severity, kind=finding.kind)).add(finding)


def at_hand(task: Task, data_home: Path) -> bool:
    """Whether the evaluated splits of a task are in the data home."""
    try:
        for split in task.evaluation_splits:
            find_source(task, split, data_home=data_home)
    except DataError:
        return False
    return True


def measure(tasks: Iterable[Task], data_home: Path) -> Iterator[TaskCheck]:
    """Check them, one after the other."""
    data_sets = DataSets(data_home=data_home)
    for task in tasks:
        yield accept(check_task(task, few_shots=task.few_shots, data_sets=data_sets), task, ())


def grouped(checks: Iterable[TaskCheck]) -> list[Group]:
    """By superset, in the order of names."""
    groups: dict[str, Group] = {}
    for check in checks:
        name = check.task.partition(":")[0]
        groups.setdefault(name, Group(name)).add(check)
    return [group for _, group in sorted(groups.items())]


def findings_of(groups: Sequence[Group], severity: Severity) -> str:
    """The table of one severity."""
    rows = [
        [cell(group.name), f"{row.tasks} of {group.tasks}", row.kind, f"{row.documents} of {row.of}", cell(_example(row))]
        for group in groups
        for row in group.rows.values()
        if row.severity is severity
    ]
    return table(["task", "tasks", "finding", "documents", "for example"], rows)


def _example(row: Row) -> str:
    assert row.first is not None
    example = (
        row.first.examples[0].text
        if row.first.examples and not row.kind.startswith(("gold-is", "gold-in-one", "one-label"))
        else row.first.message
    )
    return re.sub(r"([*_<>`$])", r"\\\1", example if len(example) <= 80 else example[:77] + "...")


def page(checks: Sequence[TaskCheck], *, runnable: int, seconds: float) -> str:
    """The part of the page that is measured."""
    groups = grouped(checks)
    documents = sum(check.documents for check in checks)
    bad = Counter(min((finding.severity.rank for finding in check.open(Severity.NOTE)), default=3) for check in checks)
    notes: dict[str, list[int]] = defaultdict(list)
    for check in checks:
        for finding in check.open(Severity.NOTE):
            if finding.severity is Severity.NOTE:
                notes[finding.kind].append(finding.count)
    clean = [f"`{group.name}`" for group in groups if not any(row.severity is not Severity.NOTE for row in group.rows.values())]
    return "\n\n".join(
        [
            f"Of the {runnable:,} tasks that can run, {len(checks)} have their data at hand: {documents:,} documents.\n"
            f"Errors: {bad[0]} of them. Warnings alone: {bad[1]}. Neither: {bad[2] + bad[3]}.\n"
            f"The check took {seconds:.0f} s of CPU time, besides that of math-verify's own process.",
            "A count of documents adds those of all tasks in the row.",
            "## Errors",
            findings_of(groups, Severity.ERROR),
            "## Warnings",
            findings_of(groups, Severity.WARNING),
            "## Notes",
            table(
                ["finding", "tasks", "documents"], [[kind, str(len(counts)), str(sum(counts))] for kind, counts in sorted(notes.items())]
            ),
            "## Accepted",
            "These are faults of the data themselves, in corrected versions of tasks.",
            table(
                ["task", "finding", "documents", "reason"],
                [
                    [cell(check.task), finding.kind, f"{finding.count} of {finding.of}", finding.accepted]
                    for check in checks
                    for finding in check.findings
                    if finding.accepted is not None
                ],
            ),
            "## Neither errors nor warnings",
            f"{', '.join(clean)}.",
        ]
    )


def write(text: str, *, document: Path = DOCUMENT) -> None:
    """Replace the measured part of the page."""
    old = document.read_text("utf-8")
    head, _, rest = old.partition(BEGIN)
    _, _, tail = rest.partition(END)
    write_atomic(document, f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print or write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check_tasks", description=__doc__)
    parser.add_argument("--data-home", type=Path, default=SHARED / "data/hub", help="a folder of data sets in the hub's layout")
    parser.add_argument("--only", default="", metavar="TEXT", help="tasks whose name has it")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args(arguments)
    catalogue = Catalogue()
    runnable = [task for task in catalogue.tasks_below(catalogue.shipped) if task.skip is None and given.only in task.id]
    started = time.process_time()
    checks = list(measure((task for task in runnable if at_hand(task, given.data_home)), given.data_home))
    if not checks:
        sys.exit(f"no task has its data in {given.data_home}")
    text = page(checks, runnable=len(runnable), seconds=time.process_time() - started)
    if given.write:
        write(text)
    else:
        sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
