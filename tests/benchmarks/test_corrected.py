"""The command that measures what the corrected tasks change: on the recorded answers, which need no rows, and into its page."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import corrected
from pytest_lighteval.tasks.catalogue import Catalogue
from pytest_lighteval.types import Task
from tests.shared import HUB, ROOT


@pytest.mark.parametrize(
    ("task", "right", "wrong"),
    [
        ("lighteval|gpqa:main", ("43 (78.2 %)", "55 (100.0 %)"), ("35 (12.8 %)", "0 (0.0 %)")),
        ("community|aimo_progress_prize_1", ("0 (0.0 %)", "4 (100.0 %)"), ("0 (0.0 %)", "0 (0.0 %)")),
        ("community|bac-fr", ("0 (0.0 %)", "6 (100.0 %)"), ("0 (0.0 %)", "0 (0.0 %)")),
        ("helm|numeracy:linear_example", ("3 (75.0 %)", "4 (100.0 %)"), ("4 (80.0 %)", "0 (0.0 %)")),
    ],
)
def test_recorded_answers_are_counted_by_both_tasks(task: str, right: tuple[str, str], wrong: tuple[str, str]) -> None:
    rows = [(row[2], row[4:6]) for row in corrected.measured([task])]

    assert rows == [("right", right), ("wrong", wrong)]


@pytest.mark.skipif(not HUB.is_dir(), reason="no rows of benchmarks are at hand (LIGHTEVAL_SHARED names their place)")
@pytest.mark.parametrize("task", ["lighteval|drop", "lighteval|mgsm", "bigbench|hindi_question_answering", "harness|bbh:multistep"])
def test_a_corrected_task_marks_every_right_answer_right_and_no_wrong_one(task: str) -> None:
    for _, answers, kind, n, _, after, _ in corrected.measured([task]):
        assert int(after.split()[0]) == (int(n) if kind == "right" else 0), answers


def test_the_table_is_written_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{corrected.BEGIN}\n\nold\n\n{corrected.END}\n\nafter\n", "utf-8")

    corrected.write_table(page, "| new |")
    corrected.write_table(page, "| newer |")

    assert page.read_text("utf-8") == f"before\n\n{corrected.BEGIN}\n\n| newer |\n\n{corrected.END}\n\nafter\n"


def names(task: Task) -> tuple[str, ...]:
    """How the page may name a task."""
    return (task.name, f"{task.name}:*", f"{task.superset}:*", f"{task.name.partition('.')[0]}.*")


def test_the_page_names_every_corrected_task() -> None:
    page = (ROOT / "docs" / "corrected.md").read_text("utf-8")
    table = page.partition("## What is different")[2].partition("\n## ")[0]
    catalogue = Catalogue()
    tasks = list(catalogue.tasks_below(catalogue.shipped / "corrected"))

    assert [task.name for task in tasks if not any(f"`{name}`" in table for name in names(task))] == []
