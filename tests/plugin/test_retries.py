"""Nobody gets a green session by asking again: attempts in one session are judged together, those of later sessions are held against it."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.plugin.gated import properties_of, results_of

ENGINE = """
import os
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol
from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.errors import BackendError


class Recovering(FakeBackend):
    # The first calls about a task end as {first} says, the others are those of the baseline's model.

    def loglikelihood(self, requests):
        name = requests[0].prompt.split()[1]
        calls = Path({folder!r}) / ("calls." + name)
        calls.write_text("x" + (calls.read_text() if calls.exists() else ""))
        if name not in {tasks!r} or len(calls.read_text()) > {calls}:
            return super().loglikelihood(requests)
        if {first!r} == "error":
            raise BackendError("the server is restarting")
        loser = FakeBackend(accuracy=0.7, lose=0.15)
        loser._docs = self._docs
        return loser.loglikelihood(requests)


@pytest.fixture(scope="session")
def lighteval_backend():
    return Recovering(accuracy=0.7)
"""
LOGGED = """

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    # as pytest-rerunfailures: failed attempts are reported as reruns
    for attempt in range(3):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        is_over = attempt == 2 or not any(report.failed for report in reports)
        for report in reports:
            if report.failed and not is_over:
                report.outcome = "rerun"
            item.ihook.pytest_runtest_logreport(report=report)
        if is_over:
            return True
        item._initrequest()


def pytest_report_teststatus(report):
    if report.outcome == "rerun":
        return "rerun", "R", "RERUN"
"""
SILENT = """

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    # as flaky: nobody hears of failed attempts
    for attempt in range(3):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        if attempt == 2 or not any(report.failed for report in reports):
            for report in reports:
                item.ihook.pytest_runtest_logreport(report=report)
            return True
        item._initrequest()
"""
PLUGINS = {
    "pytest_rerunfailures": ("--reruns", "2"),
    "flaky": ("--force-flaky", "--max-runs", "3"),
    "pytest_retry": ("--retries", "2"),
}
"""Plugins that run items again, with the options for two more attempts; tested where they are installed (CONTRIBUTING.md)."""

BASELINE = ("suites", "--baseline", "base.json")
ALONE = ("-k", "alone")


def recovering(
    pytester: pytest.Pytester, *, rerun: str = "", first: str = "loss", calls: int = 1, tasks: Sequence[str] = ("alone",)
) -> None:
    """A project whose model ends its first calls about these tasks otherwise, and a conftest that runs failed items again."""
    for left in pytester.path.glob("calls.*"):
        left.unlink()
    engine = ENGINE.format(folder=str(pytester.path), first=first, calls=calls, tasks=list(tasks))
    pytester.makeconftest(engine + rerun)
    pytester.makeini("[pytest]\nlighteval_suites = suites\n")


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """A session; workers need a process of their own."""
    return pytester.runpytest_subprocess(*arguments) if "-n" in arguments else pytester.runpytest(*arguments)


# --------------------------------------------------------------------------------------------- in one session


@pytest.mark.parametrize(("rerun", "workers"), [(LOGGED, ()), (SILENT, ()), (LOGGED, ("-n", "2"))], ids=["logged", "silent", "workers"])
def test_a_rerun_does_not_turn_a_loss_into_a_pass(pytester: pytest.Pytester, suite: Path, rerun: str, workers: tuple[str, ...]) -> None:
    recovering(pytester, rerun=rerun)

    result = run(pytester, *BASELINE, *ALONE, *workers, "--junitxml=j.xml")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.parseoutcomes()["failed"] == 1
    report = results_of(pytester)
    first, second, third = [attempt["metrics"]["acc"]["value"] for attempt in report["attempts"]["gated|alone|0"]]
    assert first < second == third
    (verdict,) = report["verdicts"]["gated|alone|0"]
    together = (first + second + third) / 3
    assert verdict["value"] == report["metrics"]["gated|alone|0"]["acc"]["value"] == pytest.approx(together)
    assert verdict["paired"]["candidate"] == pytest.approx(together)
    assert verdict["paired"]["outcome"] == "REGRESSED"
    result.stdout.fnmatch_lines(
        [
            "gated|alone|0: acc *REGRESSED (allowed 2.0)  [[]3 attempts, judged together[]]",
            "gated|alone|0: 3 attempts: 1. acc 0.* (REGRESSED), *; 2. acc 0.* (REGRESSED), *; 3. acc 0.* (REGRESSED), *",
        ]
    )
    if rerun == SILENT:  # the others report each attempt as a test case of its own
        properties = properties_of(pytester, "alone[0-shot]")
        assert properties["lighteval.attempts"] == "3"
        assert [float(properties[f"lighteval.acc.attempt.{number}"]) for number in (1, 2, 3)] == [first, second, third]
    (folder,) = pytester.path.glob("reports/*/attempts/3/details/gated")
    assert len((folder / "alone.0-shot.jsonl").read_text().splitlines()) == 400


def test_an_attempt_after_an_error_replaces_it(pytester: pytest.Pytester, suite: Path) -> None:
    recovering(pytester, rerun=LOGGED, first="error")

    result = pytester.runpytest(*BASELINE, *ALONE)

    assert result.ret == pytest.ExitCode.OK
    report = results_of(pytester)
    (verdict,) = report["verdicts"]["gated|alone|0"]
    assert verdict["paired"]["outcome"] == "PASSED"
    assert verdict["paired"]["notes"] == []
    assert report["errors"] == {}
    assert [attempt["error"] for attempt in report["attempts"]["gated|alone|0"]] == ["the server is restarting", None]
    result.stdout.fnmatch_lines(["gated|alone|0: 2 attempts: 1. error: the server is restarting; 2. acc 0.* (PASSED), *"])


def test_an_error_between_two_attempts_takes_no_verdict_away(pytester: pytest.Pytester, suite: Path) -> None:
    recovering(pytester, rerun=SILENT)
    conftest = pytester.path / "conftest.py"
    fault = '        if len(calls.read_text()) == 2:\n            raise BackendError("the server is restarting")\n        if name not'
    conftest.write_text(conftest.read_text().replace("        if name not", fault))

    result = pytester.runpytest(*BASELINE, *ALONE)

    result.assert_outcomes(failed=1)
    attempts = results_of(pytester)["attempts"]["gated|alone|0"]
    assert [attempt["error"] for attempt in attempts] == [None, "the server is restarting", None]
    assert attempts[2]["verdicts"][0]["paired"]["outcome"] == "REGRESSED"


def test_a_floor_is_held_by_the_mean_of_all_attempts(pytester: pytest.Pytester, suite: Path) -> None:
    recovering(pytester, rerun=SILENT)
    pytester.makefile(".yaml", gates="gated|alone|0: {acc: {min: 0.69}}\n")

    result = pytester.runpytest("suites", "--gates", "gates.yaml", *ALONE)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["FAILED * - acc 0.* is below the floor 0.6900 (n = 400), the mean of 3 attempts"])


def test_a_superset_judges_all_attempts_at_its_tasks(pytester: pytest.Pytester, suite: Path) -> None:
    recovering(pytester, rerun=SILENT, tasks=["first"])
    pytester.makefile(".yaml", gates="gated|many:first|0: {acc: {min: 0.72}}\n")

    pytester.runpytest(*BASELINE, "--gates", "gates.yaml", "-k", "many")

    report = results_of(pytester)
    assert len(report["attempts"]["gated|many:first|0"]) > 1
    (verdict,) = report["verdicts"]["gated|many:_average|0"]
    values = [report["metrics"][f"gated|many:{name}|0"]["acc"]["value"] for name in ("first", "second", "third")]
    assert verdict["paired"]["candidate"] == pytest.approx(sum(values) / 3)


def test_a_saved_baseline_keeps_every_attempt_as_a_repeat(pytester: pytest.Pytester, suite: Path) -> None:
    recovering(pytester, rerun=SILENT)

    pytester.runpytest(*BASELINE, *ALONE, "--save-baseline", "new.json")

    task = json.loads((pytester.path / "new.json").read_text())["tasks"]["gated|alone|0"]
    assert task["repeats"] == 3
    assert task["metrics"]["acc"]["value"] == pytest.approx(results_of(pytester)["metrics"]["gated|alone|0"]["acc"]["value"])


@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_that_runs_items_again_does_not_turn_a_loss_into_a_pass(pytester: pytest.Pytester, suite: Path, name: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    recovering(pytester)
    others = {"pytest_rerunfailures": "rerunfailures", "flaky": "flaky", "pytest_retry": "pytest-retry"}
    off = [text for other, plugin in others.items() if other != name for text in ("-p", f"no:{plugin}")]

    result = pytester.runpytest_subprocess(*BASELINE, *ALONE, *PLUGINS[name], *off)

    assert result.parseoutcomes()["failed"] == 1
    attempts = results_of(pytester)["attempts"]["gated|alone|0"]
    assert [attempt["verdicts"][0]["paired"]["outcome"] for attempt in attempts] == ["REGRESSED"] * 3


# --------------------------------------------------------------------------------------------- in a later session


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one", "two"])
def test_last_failed_runs_the_tasks_of_a_failed_superset_and_keeps_it_red(
    pytester: pytest.Pytester, suite: Path, workers: tuple[str, ...]
) -> None:
    """`pytest ... || pytest ... --lf`: only `alone` recovers."""
    recovering(pytester, tasks=["first", "second", "third"], calls=99)

    first = run(pytester, *BASELINE, *workers)
    again = run(pytester, *BASELINE, *workers, "--lf")

    assert first.ret == again.ret == pytest.ExitCode.TESTS_FAILED
    first.stdout.fnmatch_lines(["FAILED lighteval::gated|many:_average|0 - *REGRESSED*"])
    again.stdout.fnmatch_lines(["FAILED lighteval::gated|many:_average|0 - *REGRESSED*"])


@pytest.mark.parametrize(("option", "workers"), [("--lf", ("-n", "2")), ("--sw", ())], ids=["last-failed", "stepwise"])
def test_a_missing_task_stays_red_while_only_failed_tasks_run(
    pytester: pytest.Pytester, suite: Path, option: str, workers: tuple[str, ...]
) -> None:
    """The second session leaves tasks out, so it cannot judge the suite as a whole."""
    recovering(pytester, first="error")
    base = pytester.path / "base.json"
    mended = base.read_text()
    content = json.loads(mended)
    content["tasks"]["gated|gone|0"] = content["tasks"]["gated|alone|0"]
    base.write_text(json.dumps(content))

    first = run(pytester, *BASELINE, *workers)
    again = run(pytester, *BASELINE, *workers, option)
    base.write_text(mended)
    last = run(pytester, *BASELINE, *workers, option)

    for result in (first, again):
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(["FAILED lighteval::gated|gone|0 - *its suite does not declare it any more (--gate-allow missing)"])
    assert last.ret == pytest.ExitCode.OK


def test_last_failed_runs_every_task_of_a_failed_pooled_test(pytester: pytest.Pytester, suite: Path) -> None:
    recovering(pytester, tasks=["alone", "first", "second", "third"], calls=99)
    wide = ("--gate-min-effect", "0.19", "--gate-max-drop", "0.2")

    first = pytester.runpytest(*BASELINE, *wide)
    again = pytester.runpytest(*BASELINE, *wide, "--lf")

    for result in (first, again):
        result.assert_outcomes(passed=5, failed=1)
        result.stdout.fnmatch_lines(["FAILED lighteval::pooled - *"])


@pytest.mark.parametrize("option", ["--lf", "--ff"])
def test_a_second_session_of_the_same_model_does_not_make_a_red_gate_green(pytester: pytest.Pytester, suite: Path, option: str) -> None:
    recovering(pytester)

    first = pytester.runpytest(*BASELINE, *ALONE)
    again = pytester.runpytest(*BASELINE, *ALONE, option, "--junitxml=j.xml")
    workers = ("-n", "2") if option == "--lf" else ()
    third = run(pytester, *BASELINE, *ALONE, option, *workers)

    first.assert_outcomes(failed=1)
    again.assert_outcomes(failed=1)
    third.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines(
        ["FAILED *PASSED (allowed 2.0); retried: an earlier session of the same model found acc *REGRESSED*(--gate-allow retried)"]
    )
    (verdict,) = results_of(pytester)["verdicts"]["gated|alone|0"]
    assert (verdict["outcome"], verdict["paired"]["outcome"]) == ("failed", "PASSED")
    assert "REGRESSED" in verdict["retried"]
    assert "REGRESSED" in properties_of(pytester, "alone[0-shot]")["lighteval.acc.retried"]


def test_a_second_attempt_may_be_allowed_and_another_model_is_none(pytester: pytest.Pytester, suite: Path) -> None:
    recovering(pytester)
    pytester.runpytest(*BASELINE, *ALONE).assert_outcomes(failed=1)
    conftest = pytester.path / "conftest.py"
    text = conftest.read_text()

    conftest.write_text(text.replace("Recovering(accuracy=0.7)", "Recovering(accuracy=0.7, bits_per_byte=1.0)"))
    other = pytester.runpytest(*BASELINE, *ALONE, "--lf")
    conftest.write_text(text)
    (pytester.path / "calls.alone").unlink()
    pytester.runpytest(*BASELINE, *ALONE).assert_outcomes(failed=1)
    allowed = pytester.runpytest(*BASELINE, *ALONE, "--lf", "--gate-allow", "retried")
    afterwards = pytester.runpytest(*BASELINE, *ALONE, "--lf")

    other.assert_outcomes(passed=1)
    allowed.assert_outcomes(passed=1)
    allowed.stdout.fnmatch_lines(["gated|alone|0: acc *PASSED (allowed 2.0)  [[]retried: an earlier session of the same model found *"])
    afterwards.assert_outcomes(passed=1)


def test_a_floor_that_was_missed_is_held_against_a_second_session_too(pytester: pytest.Pytester, suite: Path) -> None:
    recovering(pytester)
    pytester.makefile(".yaml", gates="gated|alone|0: {acc: {min: 0.69}}\n")
    run = ("suites", "--gates", "gates.yaml", *ALONE)

    first = pytester.runpytest(*run)
    again = pytester.runpytest(*run, "--lf")

    first.assert_outcomes(failed=1)
    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines(["FAILED *retried: an earlier session of the same model found acc 0.* is below the floor 0.6900*"])


def test_a_new_session_of_everything_starts_afresh(pytester: pytest.Pytester, suite: Path) -> None:
    recovering(pytester)

    pytester.runpytest(*BASELINE, *ALONE).assert_outcomes(failed=1)

    pytester.runpytest(*BASELINE, *ALONE).assert_outcomes(passed=1)
    pytester.runpytest(*BASELINE, *ALONE, "--lf").assert_outcomes(passed=1)
