"""A run of a task with a known defect says so in one line and names the sound task, with workers, under -W error, and in every report."""

from __future__ import annotations

import json

import pytest

SUITE = """
suite: written
defaults:
  data_files: {test: digits.jsonl}
  evaluation_splits: [test]
  prompt: {instruction: "Add.\\n", query: "{{ question }}", choices: "{{ [answer] }}"}
  metrics: [exact_match]
  generation_size: 8
tasks:
  - name: "cut:{part}"
    matrix: {part: [one, two]}
    known_defect: an answer ends too early
    corrected_by: corrected|written.cut
  - name: sound
    system_prompt_apart: true
"""
LINE = "written|cut:one|0 and 1 more: known defect: an answer ends too early; corrected|written.cut is the sound version"


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_a_known_defect_is_one_line_of_the_run_and_a_note_of_its_reports(pytester: pytest.Pytester, workers: tuple[str, ...]) -> None:
    folder = pytester.mkdir("suites")
    (folder / "written.yaml").write_text(SUITE)
    (folder / "digits.jsonl").write_text("".join(json.dumps({"question": row, "answer": f"{row}"}) + "\n" for row in range(4)))
    run = pytester.runpytest_subprocess("suites", "--backend", "fake", "--system-prompt", "Be brief.", "-W", "error", *workers)

    assert run.ret == pytest.ExitCode.OK
    text = " ".join(run.stdout.str().split())
    assert text.count("known defect") == 1
    assert LINE in text
    assert text.count("follows the system prompt directly") == 1
    (results,) = pytester.path.glob("reports/*/results.json")
    notes = {key: task["notes"] for key, task in json.loads(results.read_text("utf-8"))["summary_tasks"].items()}
    assert notes["written|cut:one|0"][0] == LINE[LINE.index("known defect") :]
    assert notes["written|sound|0"] == []
    assert "known defect" in results.with_name("summary.md").read_text("utf-8")
