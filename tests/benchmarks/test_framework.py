"""The framework's own time can be measured for every kind of task."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import framework


@pytest.mark.parametrize("name", framework.TASKS)
def test_every_kind_of_task_is_measured_with_its_details(name: str, tmp_path: Path) -> None:
    measured = framework.measure(name, tmp_path, documents=7)

    (details,) = tmp_path.rglob("*-shot.jsonl")
    assert len(details.read_text("utf-8").splitlines()) == measured.documents == 7
    assert 0 < measured.details_seconds < measured.seconds
    assert len(measured.cells) == 4


def test_the_page_has_a_place_for_the_table() -> None:
    assert framework.DOCUMENT.read_text("utf-8").count("measured by `python -m benchmarks.framework --write`") == 1
