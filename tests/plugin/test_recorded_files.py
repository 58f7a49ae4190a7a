"""Files of version 0.1.0, from before its modules moved, are read and written in the same form."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.reports.index import update_index
from tests.plugin.gated import results_of
from tests.plugin.test_xdist import without_times

RECORDED = Path(__file__).with_name("recorded")
"""A session of the suite `gated` with six documents a task, against a baseline of the same version: 2 of its gates are red."""


def shape(value: Any) -> Any:
    """The numbers and names of a report, without its sentences, times, and what differs between machines.

    Also without the lower bound of a loss: it is a little lower than that of the recorded version.
    """
    if isinstance(value, dict):
        left_out = {"line", "message", "notes", "environment", "fingerprint", "versions", "run", "config_general", "lower"}
        return {key: shape(member) for key, member in value.items() if key not in left_out}
    if isinstance(value, float):
        return float(f"{value:.12g}")
    return [shape(member) for member in value] if isinstance(value, list) else value


def known(value: Any, recorded: Any) -> Any:
    """What the recorded version reported, too: later versions only add."""
    if isinstance(value, dict) and isinstance(recorded, dict):
        return {key: known(member, recorded[key]) for key, member in value.items() if key in recorded}
    if isinstance(value, list) and isinstance(recorded, list) and len(value) == len(recorded):
        return [known(*members) for members in zip(value, recorded, strict=True)]
    return value


def test_a_baseline_of_an_earlier_version_gives_the_same_verdicts_in_the_same_form(pytester: pytest.Pytester, suite: Path) -> None:
    shutil.copy(RECORDED / "baseline.json", pytester.path / "base.json")

    result = pytester.runpytest(
        "suites", "--backend=fake", "--model-args", "accuracy=0.7,lose=0.5", "--max-samples=6", "--baseline=base.json", "--no-cache"
    )

    result.assert_outcomes(passed=4, failed=2)
    result.stdout.fnmatch_lines(["lighteval: *base.json: an earlier version wrote it, without digests of its scores: *"])
    recorded = shape(without_times(json.loads((RECORDED / "results.json").read_text("utf-8"))))
    assert known(shape(without_times(results_of(pytester))), recorded) == recorded


def test_a_results_file_of_an_earlier_version_is_in_the_index(tmp_path: Path) -> None:
    run = tmp_path / "20261129-202643-fake-6e8a3c"
    run.mkdir()
    shutil.copy(RECORDED / "results.json", run)

    update_index(tmp_path, changed=run.name)

    (entry,) = json.loads((tmp_path / "index.json").read_text("utf-8"))["runs"]
    assert (entry["folder"], entry["backend"], entry["tasks"], entry["gates_failed"]) == (run.name, "fake", 4, 2)
