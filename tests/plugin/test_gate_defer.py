"""Jobs of a CI matrix: sessions that judge nothing, and one verdict over all of them, the same as that of one session."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.commands.main import main
from tests.plugin.gated import properties_of, results_of

LOSING = ("suites", "--backend", "fake", "--model-args", "accuracy=0.7,lose=0.05")
BASELINE = ("--baseline", "base.json")


def deferred(pytester: pytest.Pytester, *options: str) -> str:
    """The folder of a session that judges nothing."""
    before = {*pytester.path.glob("reports/2*")}
    arguments = (*LOSING, "--gate-defer", *options)
    result = pytester.runpytest_subprocess(*arguments) if "-n" in options else pytester.runpytest(*arguments)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["nothing is judged yet: python -m pytest_lighteval gate reports/*"])
    (folder,) = {*pytester.path.glob("reports/2*")} - before
    assert not any(json.loads((folder / "results.json").read_text())["verdicts"].values())
    return str(folder)


def without_run(report: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in report.items() if name != "run"}


def test_jobs_are_judged_as_one_session_over_all_of_their_tasks(
    pytester: pytest.Pytester, suite: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(pytester.path)
    pytester.makefile(".yaml", gates="gated|many:first|0: {acc: {min: 0.1}}\n")
    gates = (*BASELINE, "--gates", "gates.yaml", "--gate-alpha", "0.04")
    whole = pytester.runpytest(*LOSING, *gates, "--report-dir", "whole")
    runs = [deferred(pytester, *gates, "-k", "alone"), deferred(pytester, *gates, "-k", "many", "-n", "2")]
    capsys.readouterr()

    status = main(["gate", *runs, "--report-dir", "joined", "--junitxml", "j.xml"])
    again = main(["gate", *reversed(runs), "--report-dir", "again"])

    assert whole.ret == status == again == 1
    printed = capsys.readouterr().out
    assert "gated|alone|0: acc 0.705 -> 0.657  " in printed
    assert "FAILED pooled: score" in printed
    expected = without_run(results_of(pytester, "whole"))
    assert expected["verdicts"]["gated|alone|0"][0]["paired"]["alpha"] == 0.4 * 0.04 / 2
    assert without_run(results_of(pytester, "joined")) == expected
    assert without_run(results_of(pytester, "again")) == expected
    assert properties_of(pytester, "gated|alone|0")["lighteval.acc.paired"] == "REGRESSED"
    assert properties_of(pytester, "pooled")["lighteval.pooled.verdict"] == "failed"


def test_jobs_of_which_nothing_is_worse_are_green(pytester: pytest.Pytester, suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pytester.path)
    fine = ("--model-args", "accuracy=0.7", *BASELINE)
    runs = [deferred(pytester, *fine, "-k", "alone"), deferred(pytester, *fine, "-k", "many")]

    assert main(["gate", *runs]) == 0


def test_a_recovery_run_is_judged_against_the_reference_that_it_measured(
    pytester: pytest.Pytester, suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pytester.path)
    against = ("--against-model-args", "accuracy=0.7")
    whole = pytester.runpytest(*LOSING, *against, "--report-dir", "whole")
    runs = [deferred(pytester, *against, "-k", "alone"), deferred(pytester, *against, "-k", "many")]

    status = main(["gate", *runs, "--report-dir", "joined"])

    assert whole.ret == status == 1
    assert without_run(results_of(pytester, "joined")) == without_run(results_of(pytester, "whole"))


def test_an_error_of_a_job_is_red_in_the_job_and_in_the_verdict_of_all(
    pytester: pytest.Pytester, suite: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(pytester.path)

    result = pytester.runpytest(*LOSING[:3], "--model-args", "accuracy=0.7,fail=[test:3]", *BASELINE, "--gate-defer", "-k", "many")

    result.assert_outcomes(errors=3)
    (folder,) = pytester.path.glob("reports/2*")
    capsys.readouterr()
    assert main(["gate", str(folder)]) == 1
    printed = capsys.readouterr().out
    assert "ERROR gated|many:first|0: 1 of 200 documents have no answer" in printed
    assert "FAILED gated|many:_average|0: acc: not compared: 3 of its 3 tasks have no score" in printed


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--gate-plan", *BASELINE), "--gate-defer and --gate-plan: nothing is judged in this session"),
        (
            (*BASELINE, "--baseline-pinned", "pin.json", "--baseline-repin", "--baseline-reason", "x"),
            "--gate-defer and --baseline-repin: nothing is judged in this session",
        ),
    ],
    ids=["plan", "repin"],
)
def test_what_judges_now_cannot_be_deferred(pytester: pytest.Pytester, suite: Path, options: tuple[str, ...], problem: str) -> None:
    result = pytester.runpytest(*LOSING, "--gate-defer", *options)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {problem}"])


def test_a_deferred_session_asks_every_document(pytester: pytest.Pytester, suite: Path) -> None:
    result = pytester.runpytest(*LOSING, *BASELINE, "--gate-defer", "--gate-sequential", "-k", "alone")

    result.stdout.fnmatch_lines(["sequential: every document is asked: --gate-defer judges later"])
    assert results_of(pytester)["summary_general"]["saved_documents"] == 0
