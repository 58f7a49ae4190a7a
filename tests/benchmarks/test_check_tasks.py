"""The table of the linter: one row for a superset and a finding, and the page has a place for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import check_tasks
from pytest_lighteval.types import Example, Finding, Severity, TaskCheck
from pytest_lighteval.types.check import FINDING_KINDS


def check(task: str, *counts: int, severity: Severity = Severity.ERROR) -> TaskCheck:
    example = (Example(id="test:0", text="gold '2.5'; left '2'"),)
    findings = tuple(
        Finding(kind="gold-cut-by-stop", severity=severity, message="cut", count=count, of=10, examples=example) for count in counts
    )
    return TaskCheck(task=task, few_shots=(0,), documents=10, findings=findings)


def test_tasks_of_a_superset_stand_in_one_row_and_metrics_of_a_task_count_once() -> None:
    (group, alone) = check_tasks.grouped([check("s|m:one", 3, 2), check("s|m:two", 4), check("s|m:three"), check("s|n")])

    (row,) = group.rows.values()
    assert (group.name, group.tasks, row.tasks, row.documents, row.of) == ("s|m", 3, 2, 7, 20)
    assert alone.rows == {}
    assert "| s\\|m | 2 of 3 | gold-cut-by-stop | 7 of 20   | gold '2.5'; left '2' |" in check_tasks.findings_of([group], Severity.ERROR)


def test_the_page_is_replaced_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{check_tasks.BEGIN}\nold\n{check_tasks.END}\nafter\n")
    checks = [check("s|m", 3), check("s|n", 1, severity=Severity.NOTE)]

    check_tasks.write(check_tasks.page(checks, runnable=1530, seconds=2), document=page)

    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "\nold\n" not in text
    assert (
        "Of the 1,530 tasks that can run, 2 have their data at hand: 20 documents.\nErrors: 1 of them. Warnings alone: 0. Neither: 1."
        in text
    )
    assert "`s|n`." in text


def test_the_page_explains_every_finding_and_has_a_place_for_the_table() -> None:
    page = check_tasks.DOCUMENT.read_text("utf-8")
    guide = check_tasks.DOCUMENT.with_name("check-tasks.md").read_text("utf-8")

    assert page.count(check_tasks.BEGIN) == page.count(check_tasks.END) == 1
    for kind, meaning in FINDING_KINDS.items():
        assert f"| `{kind}` | {meaning} |" in guide


def test_a_folder_without_data_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no task has its data in"):
        check_tasks.main(["--data-home", str(tmp_path), "--only", "drop"])
