"""Stored runs compared without a model: the verdicts are those that a session with that baseline gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.commands.main import main
from pytest_lighteval.reports.serialize import to_json
from tests.plugin.gated import FAKE, LOSING, results_of


def a_run(pytester: pytest.Pytester, name: str, *arguments: str) -> Path:
    """The folder of a run that is called so."""
    pytester.runpytest(*arguments, "--report-dir", name, "--gate-allow", "blind")
    (folder,) = pytester.path.glob(f"{name}/2*")
    return folder


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    assert main(["compare", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_compare_says_byte_for_byte_what_a_session_with_that_baseline_says(
    pytester: pytest.Pytester, suite: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(pytester.path)
    before = a_run(pytester, "before", *FAKE, "--save-baseline", "saved.json")
    by_file = a_run(pytester, "by_file", *LOSING, "--baseline", "saved.json")
    by_folder = a_run(pytester, "by_folder", *LOSING, "--baseline", str(before))
    expected = to_json(results_of(pytester, "by_file")["verdicts"], indent=2, sort_keys=True)

    assert '"outcome": "REGRESSED"' in expected
    assert '"margins"' in expected
    assert to_json(results_of(pytester, "by_folder")["verdicts"], indent=2, sort_keys=True) == expected
    for reference in (str(before), "saved.json", str(before / "results.json")):
        for run in (by_file, by_folder):
            (compared,) = printed(capsys, reference, str(run))["runs"]
            assert to_json(compared["verdicts"], indent=2, sort_keys=True) == expected


WORDS = """
suite: words
tasks:
  - name: say
    data_files: {test: say.jsonl}
    evaluation_splits: [test]
    prompt: {query: "Say {{ word }}", choices: [" {{ word }}"]}
    metrics: [exact_match]
    generation_size: 8
"""


def test_the_summary_of_a_run_against_a_run_has_the_answers_of_both_sides_and_a_link(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pytester.path)
    (pytester.path / "suites" / "words").mkdir(parents=True)
    (pytester.path / "suites" / "words" / "words.yaml").write_text(WORDS)
    rows = [{"word": f"<b>@user{number}</b>|x"} for number in range(60)]
    (pytester.path / "suites" / "words" / "say.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = a_run(pytester, "before", "suites", "--backend", "fake", "--model-args", "accuracy=1")
    step = pytester.path / "step.md"
    github = {"GITHUB_STEP_SUMMARY": str(step), "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "o/r", "GITHUB_RUN_ID": "7"}
    for name, value in github.items():
        monkeypatch.setenv(name, value)

    after = a_run(pytester, "after", "suites", "--backend", "fake", "--model-args", "accuracy=1,lose=0.2", "--baseline", str(before))

    summary = (after / "summary.md").read_text()
    (head,) = [line for line in summary.splitlines() if line.startswith("<details>")]
    assert head.endswith("lost / 0 won: other text 12 lost / 0 won</summary>")
    assert "| document | change | why | right answer | answer before | answer now |" in summary
    (row, *_) = [line for line in summary.splitlines() if " lost 1.0000 -&gt; 0.0000 " in line]
    assert row.count("&lt;b&gt;&#64;user") >= 2
    assert "<b>" not in summary
    assert "@" not in summary.partition("### Measured with")[0]
    assert "[report.html](report.html)" in summary
    link = "[report.html is in the artifacts of this run, if the workflow uploads its reports](https://github.com/o/r/actions/runs/7#artifacts)"
    assert link in step.read_text()
    assert head in step.read_text()
