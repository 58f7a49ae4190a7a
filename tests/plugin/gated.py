"""A project whose suite is compared with a baseline, with the fake backend's planted losses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.baselines.model import Baseline
from pytest_lighteval.baselines.repeats import merge_runs
from pytest_lighteval.baselines.save import baseline_of, write_baseline
from pytest_lighteval.evaluate import evaluate
from pytest_lighteval.tasks.suite_file import load_suite
from pytest_lighteval.types import RunReport

GATED = """
suite: gated
defaults:
  evaluation_splits: [test]
  prompt: {query: "Question {{ question }}", choices: "{{ choices }}", gold: "{{ answer }}"}
  metrics: [loglikelihood_acc, loglikelihood_acc_norm]
tasks:
  - {name: alone, data_files: {test: alone.jsonl}}
  - {name: "many:{part}", matrix: {part: [first, second, third]}, data_files: {test: "{part}.jsonl"}}
"""

FAKE = ("suites", "--backend", "fake", "--model-args", "accuracy=0.7")
"""The model of the baseline."""
LOSING = ("suites", "--backend", "fake", "--model-args", "accuracy=0.7,lose=0.1")
"""The same with a planted loss of 7 points."""


def write_gated(folder: Path, *, documents: int = 400) -> Path:
    """The suite `gated`: a task of that many documents, and a superset of three with half as many each. Returns its file."""
    folder.mkdir(parents=True, exist_ok=True)
    suite = folder / "gated.yaml"
    suite.write_text(GATED)
    for name in ("alone", "first", "second", "third"):
        count = documents if name == "alone" else documents // 2
        rows = [{"question": f"{name} {row}", "choices": [" a", " b", " c"], "answer": row % 3} for row in range(count)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return suite


def measured(suite: Path, path: Path, *models: FakeBackend, only: Sequence[str] = ()) -> None:
    """Write a baseline of the suite's tasks, one repeat a model (all under the first one's name), without a session."""
    tasks = [task for task in load_suite(suite) if not only or task.name in only]
    runs: list[Baseline] = []
    for model in models:
        results = tuple(evaluate(task, model, few_shots=0) for task in tasks)
        backend = {"name": "fake", "fingerprint": models[0].fingerprint}
        report = RunReport(
            run_id="run", started="", seconds=0, backend=backend, settings={}, environment={}, results=results, groups={}, verdicts={},
            errors={}, skipped={},
        )  # fmt: skip
        runs.append(baseline_of(report))
    write_baseline(path, merge_runs(runs))


def results_of(project: pytest.Pytester, folder: str = "reports") -> dict[str, Any]:
    """results.json of the newest run below a folder."""
    path = max(project.path.glob(f"{folder}/*/results.json"), key=lambda path: path.stat().st_mtime_ns)
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def properties_of(project: pytest.Pytester, case: str) -> dict[str, str]:
    """The JUnit properties of the test case of that name in j.xml."""
    from xml.etree import ElementTree

    (found,) = [entry for entry in ElementTree.parse(project.path / "j.xml").iter("testcase") if entry.attrib["name"] == case]
    return {entry.attrib["name"]: entry.attrib["value"] for entry in found.iter("property")}
