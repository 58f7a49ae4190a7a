"""The community task files of Lighteval itself, in a checkout that `LIGHTEVAL_SOURCE` names: all of them load, and make its documents."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from pytest_lighteval.guests.lighteval.module import load_module
from pytest_lighteval.types import Task
from tests.golden.test_prompts import document_differences, names, recorded
from tests.shared import needs_shared

SOURCE = Path(os.environ.get("LIGHTEVAL_SOURCE", "/nowhere"))
FILES = sorted(SOURCE.glob("community_tasks/*.py"))
DRAWN = ("sciq_ar", "gpqa-fr")
"""These shuffle their choices with the process's random stream."""

pytestmark = [needs_shared, pytest.mark.skipif(not FILES, reason="LIGHTEVAL_SOURCE names no checkout of Lighteval v0.9.2")]


def compared(task: Task) -> Counter[str]:
    counts: Counter[str] = Counter()
    for record in next((recorded()[name] for name in names(task) if name in recorded()), []):
        for few_shots, key in ((False, "doc"), (True, "doc_fewshot")):
            found = list(document_differences(task, record, record.get(key, record["doc"]), few_shots=few_shots))
            counts["different" if found else "equal"] += 1
            assert not found or task.name in DRAWN, found[0]
    return counts


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_community_file_loads_and_makes_the_recorded_documents(path: Path) -> None:
    tasks = load_module(path, written=str(path)).tasks

    counts = sum((compared(task) for task in tasks), Counter[str]())
    print(f"{path.name}: {len(tasks)} tasks, {counts['equal']} of {counts.total()} documents equal")  # noqa: T201 # the docs' table

    assert tasks
