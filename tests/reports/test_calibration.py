"""How calibration and saved documents are shown in the terminal, in summary.md and in results.json."""

from __future__ import annotations

import json
from dataclasses import replace

from pytest_lighteval.reports.calibration import calibration_lines
from pytest_lighteval.reports.json_report import results_json
from pytest_lighteval.reports.summary import summary_markdown
from pytest_lighteval.reports.table import terminal_table
from pytest_lighteval.types import Calibration
from tests.reports.samples import GSM8K, MMLU, run

CALIBRATED = replace(
    run(GSM8K),
    calibration={"leaderboard|gsm8k|5": {"qem": Calibration(runs=3, n=1319, values=(0.35, 0.36, 0.34), discordance=0.0612)}},
)


def test_each_number_has_its_discordance_and_its_range() -> None:
    assert calibration_lines(CALIBRATED)[2].split() == ["leaderboard|gsm8k|5", "qem", "3", "1319", "6.12", "%", "0.3400", "0.3600"]
    assert calibration_lines(run(GSM8K)) == []


def test_an_unknown_discordance_says_so() -> None:
    unknown = {"lighteval|wikitext|0": {"ppl": Calibration(runs=2, n=8, values=(20.0, 20.0), discordance=None)}}

    assert "unknown" in calibration_lines(replace(run(), calibration=unknown))[2]


def test_all_views_show_a_calibration_and_only_where_there_is_one() -> None:
    for view in (summary_markdown, results_json):
        assert "0.0612" in view(CALIBRATED) or "6.12 %" in view(CALIBRATED)
    assert "| leaderboard\\|gsm8k\\|5 | qem | 3 | 1319 | 6.12 % | 0.3400 | 0.3600 |" in summary_markdown(CALIBRATED)
    assert "calibration" not in json.loads(results_json(run(GSM8K)))
    assert "Runs of the same model" not in summary_markdown(run(GSM8K))


def test_saved_documents_are_counted_by_task_and_in_all() -> None:
    stopped = run(replace(GSM8K, num_saved=6), MMLU[0])

    lines = [line for line, _ in terminal_table(stopped, width=120) if "saved" in line]

    assert lines == [
        "leaderboard|gsm8k|5: 6 of 8 documents saved (75%), as the verdict was certain without them",
        "all tasks: 6 of 10 documents saved (60%), as the verdict was certain without them",
    ]
    assert "6 of 8 documents saved" in summary_markdown(stopped)
    assert json.loads(results_json(stopped))["summary_tasks"]["leaderboard|gsm8k|5"]["saved_documents"] == 6


def test_a_reference_has_a_place_of_its_own() -> None:
    held = replace(run(GSM8K), references=(MMLU[0],), reference_backend={"name": "fake", "use": {"calls": 3}})

    content = json.loads(results_json(held))
    reference = content["reference"]

    assert reference["results"] == {"leaderboard|mmlu:anatomy|5": {"acc": 0.25, "acc_stderr": 0.03}}
    assert reference["backend"] == {"name": "fake"}
    assert content["run"]["reference_use"] == {"calls": 3}
    assert "reference" not in json.loads(results_json(run(GSM8K)))
