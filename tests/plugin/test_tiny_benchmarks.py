"""`--tiny-parameters` in a session: the estimates stand beside the anchors' score, and their absence is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.metrics.test_tiny_benchmarks import small, write

SUITE = """\
suite: own
tasks:
  - name: tiny
    data_files: {test: rows.jsonl}
    evaluation_splits: [test]
    prompt: {query: "{{ question }}", choices: [" yes", " no"], gold: "{{ answer }}"}
    metrics: [tinybench_metric_mmlu]
    gates: {gpirt: {min: 0.05}}
"""


def run(pytester: pytest.Pytester, *arguments: str, code: int = 0) -> tuple[dict[str, Any], str]:
    result = pytester.runpytest("suites", "--backend", "fake", "--no-cache", *arguments)
    assert result.ret == code, result.stdout.str()
    newest = max(Path("reports").glob("*/results.json"), key=lambda path: path.stat().st_mtime_ns)
    return json.loads(newest.read_text())["results"].get("own|tiny|0", {}), " ".join(result.stdout.str().split())


def test_the_estimates_are_reported_and_held_to_floors(pytester: pytest.Pytester) -> None:
    folder = pytester.mkdir("suites")
    (folder / "tiny.yaml").write_text(SUITE)
    (folder / "rows.jsonl").write_text("".join(json.dumps({"question": f"Is it {n}?", "answer": n % 2}) + "\n" for n in range(3)))
    write(pytester.path, small())

    task, shown = run(pytester, "--tiny-parameters=tinyBenchmarks.pkl")
    assert set(task) == {"acc", "acc_stderr", "irt", "pirt", "gpirt"}
    assert "estimates by tinyBenchmarks.pkl (SHA-256 " in shown

    again, _ = run(pytester, "--tiny-parameters=tinyBenchmarks.pkl", "-n", "2")
    assert again == task

    for arguments in ([], ["--max-samples", "2", "--tiny-parameters=tinyBenchmarks.pkl"]):
        _, shown = run(pytester, *arguments, code=1)  # a floor on a number that is not there
        assert "gate on 'gpirt': no such metric is reported, only acc; it needs --tiny-parameters FILE and all documents" in shown

    (folder / "tiny.yaml").write_text(SUITE[: SUITE.index("    gates")])
    task, shown = run(pytester, "--tiny-parameters=tinyBenchmarks.pkl", "--max-samples", "2")
    assert "gpirt" not in task
    assert "the estimates for the whole benchmark, need all 3 documents, and 2 were scored" in shown
    _, shown = run(pytester)
    assert "the estimates for the whole benchmark, need --tiny-parameters FILE" in shown

    refused = pytester.runpytest("suites", "--backend", "fake", "--tiny-parameters=tinyBenchmarks.pkl", "--shard", "1/2")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["*--tiny-parameters is given with --shard: an estimate needs all documents*"])


def test_no_loss_of_an_estimate_can_be_a_gate(pytester: pytest.Pytester) -> None:
    folder = pytester.mkdir("suites")
    (folder / "tiny.yaml").write_text(SUITE.replace("{min: 0.05}", "{max_drop: 0.05}"))

    result = pytester.runpytest("suites", "--backend", "fake", "--collect-only")

    result.stdout.fnmatch_lines(["*gates.gpirt.max_drop*gpirt is an estimate, which is not compared document by document*"])
