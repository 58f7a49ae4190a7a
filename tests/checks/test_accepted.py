"""A known finding is accepted with a reason; one that grew, and an entry that accepts nothing, are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_lighteval.checks.accepted import Accepted, accept, idle_entries, load_accepted
from pytest_lighteval.errors import FileError
from pytest_lighteval.types import Finding, Severity, Task, TaskCheck
from tests.checks.samples import written

CHECK = TaskCheck(
    task="s|t:one",
    few_shots=(0,),
    documents=9,
    findings=(Finding(kind="gold-cut-by-stop", severity=Severity.ERROR, message="cut", count=3, of=9),),
)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return replace(written(tmp_path, [{"q": 1, "a": "x"}]), name="t:one")


def load(folder: Path, text: str) -> tuple[Accepted, ...]:
    (folder / "accepted.yaml").write_text(text)
    return load_accepted(folder / "accepted.yaml")


@pytest.mark.parametrize("pattern", ["s|t:one", "s|t", "s|t:_average"])
def test_an_entry_covers_a_task_or_all_tasks_of_a_superset(tmp_path: Path, task: Task, pattern: str) -> None:
    found = load(tmp_path, f"- {{task: {pattern}, finding: gold-cut-by-stop, reason: as published}}")

    (finding,) = accept(CHECK, task, found).findings

    assert finding.accepted == "as published"
    assert accept(CHECK, task, found).open(Severity.NOTE) == ()


@pytest.mark.parametrize("entry", ["{task: s|u, finding: gold-cut-by-stop, reason: x}", "{task: s|t, finding: no-gold, reason: x}"])
def test_another_task_and_another_finding_stay_open(tmp_path: Path, task: Task, entry: str) -> None:
    assert accept(CHECK, task, load(tmp_path, f"- {entry}")).open(Severity.ERROR) == CHECK.findings


@pytest.mark.parametrize(("documents", "is_open"), [(2, True), (3, False)])
def test_a_finding_that_grew_is_open_and_says_how_much_is_accepted(tmp_path: Path, task: Task, documents: int, is_open: bool) -> None:
    text = f"- {{task: s|t, finding: gold-cut-by-stop, reason: x, documents: {documents}}}"

    (finding,) = accept(CHECK, task, load(tmp_path, text)).findings

    assert (finding.accepted is None) == is_open
    assert finding.message.endswith("accepted.yaml:1 accepts 2)") == is_open


def test_the_suite_file_can_accept_too(task: Task) -> None:
    own = replace(task, accepted_findings={"gold-cut-by-stop": "as published"})

    assert accept(CHECK, own, ()).findings[0].accepted == "as published"


def test_an_entry_that_accepts_nothing_is_told_if_its_task_was_checked(tmp_path: Path) -> None:
    found = load(tmp_path, "- {task: s|t, finding: no-gold, reason: x}\n- {task: s|elsewhere, finding: no-gold, reason: x}\n")

    assert idle_entries(found, [CHECK]) == (f"{tmp_path}/accepted.yaml:1: s|t has no no-gold: remove the entry",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("task: x", "a list of accepted findings is needed, each like - {task: lighteval|drop"),
        ("- {task: s|t, finding: no-gold}", "reason is missing; an entry is written"),
        ("- {task: s|t, finding: no-golds, reason: x}", "there is no finding 'no-golds' (did you mean 'no-gold'?)"),
        ("- {task: s, finding: no-gold, reason: x}", "a task is written suite|task"),
        ("- {task: s|t|5, finding: no-gold, reason: x}", "a finding is about a task at any few-shot count: write s|t"),
        ("- {task: s|t, finding: no-gold, reason: x, documents: many}", "'many' is not a number of documents"),
        ("- {task: s|t, finding: no-gold, reason: x, until: 2027-01-01}", "unknown field 'until'"),
        ("- {task: s|t, finding: no-gold, reason: ''}", "a text or number is needed"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(FileError, match=r"accepted\.yaml:1: ") as raised:
        load(tmp_path, text)

    assert problem in str(raised.value)
    assert "\n" not in str(raised.value)
