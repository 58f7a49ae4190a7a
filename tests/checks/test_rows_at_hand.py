"""Faults of shipped tasks whose data cannot be shipped, on rows of their form; their corrected versions have none."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.checks.check import check_task
from pytest_lighteval.tasks.catalogue import Catalogue
from pytest_lighteval.tasks.task_spec import parse_specs
from pytest_lighteval.types import Finding, Severity
from tests.shared import ROOT

Rows = Sequence[Mapping[str, Any]]
AIMO: Rows = [{"problem": f"What is {n} + {n}?", "answer": 2 * n} for n in range(20, 24)]
BAC: Rows = [
    {"enonce": f"Soit n = {n}.", "instruction": "Donner n.", "choix": None, "choix correct": None, "reponse": f"{n}"} for n in range(1, 4)
] + [
    {"enonce": f"Soit m = {n}.", "instruction": "Choisir m.", "choix": [f"{n}", f"{n + 1}"], "choix correct": f"{n}", "reponse": None}
    for n in range(4, 7)
]
GPQA: Rows = [
    {"Question": f"Which is {n}?", "Correct Answer": f"right {n}"} | {f"Incorrect Answer {k}": f"wrong {n} {k}" for k in (1, 2, 3)}
    for n in range(40)
]


def errors(name: str, rows: Rows, folder: Path) -> dict[str, Finding]:
    """What is wrong with a shipped task, on these rows."""
    (selected,) = [chosen for file in Catalogue().select(parse_specs(f"{name}|0", folder=ROOT)).values() for chosen in file]
    (split,) = selected.task.evaluation_splits
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    task = replace(
        selected.task, hf_repo=None, hf_subset=None, data_files={split: "rows.jsonl"}, path=folder / "s.yaml", few_shots_split=None
    )
    check = check_task(task, few_shots=(0,))
    assert check.documents == len(rows)
    return {finding.kind: finding for finding in check.findings if finding.severity is Severity.ERROR}


@pytest.mark.parametrize(
    ("name", "rows", "kind", "count"),
    [
        pytest.param("community|aimo_progress_prize_1", AIMO, "gold-marked-wrong", len(AIMO), id="a number without a box"),
        pytest.param("community|bac-fr", BAC, "gold-marked-wrong", len(BAC), id="the same in the French exam"),
        pytest.param("lighteval|gpqa:main", GPQA, "refusal-scores", None, id="a refusal that begins with D"),
    ],
)
def test_a_task_that_marks_right_answers_wrong_is_found(tmp_path: Path, name: str, rows: Rows, kind: str, count: int | None) -> None:
    finding = errors(name, rows, tmp_path)[kind]

    assert finding.count == count or (count is None and 0 < finding.count < len(rows))


@pytest.mark.parametrize(
    ("name", "rows"),
    [("corrected|community.aimo_progress_prize_1", AIMO), ("corrected|community.bac-fr", BAC), ("corrected|lighteval.gpqa:main", GPQA)],
)
def test_its_corrected_version_has_no_error(tmp_path: Path, name: str, rows: Rows) -> None:
    assert errors(name, rows, tmp_path) == {}
