"""One benchmark in two suites and at two few-shot counts: its rows are evidence once, in the pooled test and in the table's row `all`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugin.gated import results_of, write_gated


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_the_same_rows_under_several_keys_count_once(pytester: pytest.Pytester, workers: tuple[str, ...]) -> None:
    suite = write_gated(pytester.path / "suites" / "gated")
    tasks = suite.read_text().partition("tasks:")
    one = "tasks:\n  - {name: alone, few_shots: [0, 2], few_shots_select: sequential, data_files: {test: alone.jsonl}}\n"
    suite.write_text(tasks[0] + one)
    # a copy of the file in another folder, under other names
    other = Path(write_gated(pytester.path / "suites" / "other"))
    (other.parent / "alone.jsonl").rename(other.parent / "copied.jsonl")
    other.write_text(tasks[0].replace("suite: gated", "suite: other") + "tasks:\n  - {name: copy, data_files: {test: copied.jsonl}}\n")
    fake = ("suites", "--backend=fake", "--no-cache")

    pytester.runpytest(*fake, "--model-args=accuracy=0.7", "--save-baseline=b.json", "--report-dir=before").assert_outcomes(passed=3)
    result = pytester.runpytest_subprocess(*fake, "--model-args=accuracy=0.7,lose=0.03", "--baseline=b.json", *workers)

    report = results_of(pytester)
    (pooled,) = report["verdicts"]["pooled"]
    assert pooled["paired"]["n"] == 400
    of_tasks = [report["verdicts"][key][0]["paired"] for key in ("gated|alone|0", "gated|alone|2", "other|copy|0")]
    assert pooled["paired"]["loss"] == pytest.approx(sum(paired["loss"] for paired in of_tasks) / 3)
    assert pooled["paired"]["p"] >= min(paired["p"] for paired in of_tasks)
    result.stdout.fnmatch_lines(["pooled: *n = 400 *[[]3 gates; a row of several gates counts once, with the mean of its losses]"])
    errors = [report["results"][key]["acc_stderr"] for key in ("gated|alone|0", "gated|alone|2", "other|copy|0")]
    # independent tasks would have 0.58 of one task's error
    assert 0.7 * min(errors) < report["results"]["all"]["acc_stderr"] <= max(errors)
