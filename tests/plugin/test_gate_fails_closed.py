"""A baseline was given, and something was not compared with it: red, with the reason, unless the user allows it by name."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.plugin.gated import FAKE, results_of

ALONE = ("--baseline", "base.json", "-k", "alone")
"""The options of a session with one gate."""


def another_version(suite: Path) -> None:
    suite.write_text(suite.read_text().replace("{name: alone,", "{name: alone, version: 1,"))


def another_prompt(suite: Path) -> None:
    suite.write_text(suite.read_text().replace("Question {{", "Query {{"))


def another_answer(suite: Path) -> None:
    path = suite.parent / "alone.jsonl"
    path.write_text(path.read_text().replace('"answer": 1', '"answer": 2', 1))


def fewer_documents(suite: Path) -> None:
    path = suite.parent / "alone.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-10]))


MISMATCHES: dict[str, tuple[Callable[[Path], None], tuple[str, ...], str, str]] = {
    "version": (another_version, (), "the task has version 1, the baseline is of version 0", "version"),
    "prompts": (another_prompt, (), "400 of 400 documents have another prompt*the task's prompt, *changed", "prompts"),
    "answers": (another_answer, (), "the data changed: its digest is *", "data"),
    "documents": (fewer_documents, (), "10 of the 400 documents of the baseline are missing (*", "data,documents"),
    "truncated": (
        lambda suite: None,
        ("--model-args", "accuracy=0.7,max_length=2"),
        "*lost part of their prompt; at most 5% may",
        "truncated",
    ),
}
"""By what happened: how to make it happen, options, the reason, and the names that allow it."""


@pytest.mark.parametrize(("change", "options", "reason", "names"), MISMATCHES.values(), ids=MISMATCHES)
def test_a_baseline_that_does_not_fit_is_an_error_unless_it_is_allowed_by_name(
    pytester: pytest.Pytester, suite: Path, change: Callable[[Path], None], options: tuple[str, ...], reason: str, names: str
) -> None:
    change(suite)

    refused = pytester.runpytest(*FAKE, *options, *ALONE)
    allowed = pytester.runpytest(*FAKE, *options, *ALONE, "--gate-allow", names)

    refused.assert_outcomes(errors=1)
    assert refused.ret == pytest.ExitCode.TESTS_FAILED
    refused.stdout.fnmatch_lines([f"ERROR *alone[[]0-shot] - *acc: the baseline does not fit: *{reason}*(--gate-allow *"])
    allowed.assert_outcomes(passed=1)
    allowed.stdout.fnmatch_lines([f"gated|alone|0: acc *(allowed 2.0*)*[[]*allowed (*): *{reason}*"])
    # what was measured is kept either way
    assert "gated|alone|0" in results_of(pytester)["results"]


def test_a_metric_that_the_baseline_lacks_cannot_be_allowed(pytester: pytest.Pytester, suite: Path) -> None:
    suite.write_text(suite.read_text().replace("{name: alone,", "{name: alone, metrics: [mrr], gates: {mrr: {max_drop: 0.02}},"))

    result = pytester.runpytest(*FAKE, *ALONE)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["ERROR *mrr: the baseline does not fit: the baseline has no metric 'mrr', only acc, acc_norm*"])


def test_max_samples_compares_the_nested_subset_and_says_so(pytester: pytest.Pytester, suite: Path) -> None:
    result = pytester.runpytest(*FAKE, *ALONE, "--max-samples", "150")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["gated|alone|0: acc *n = 150 *[[]*150 of *400*"])


def test_a_gated_task_that_is_skipped_is_red(pytester: pytest.Pytester, suite: Path) -> None:
    suite.write_text(suite.read_text().replace("{name: alone,", "{name: alone, skip: too slow,"))

    refused = pytester.runpytest(*FAKE, "--baseline", "base.json")
    allowed = pytester.runpytest(*FAKE, "--baseline", "base.json", "--gate-allow", "skipped")

    refused.assert_outcomes(passed=4, skipped=1, failed=1)
    refused.stdout.fnmatch_lines(
        ["FAILED lighteval::gated|alone|0 - *the baseline promises it, and it was skipped: too slow (--gate-allow skipped)"]
    )
    allowed.assert_outcomes(passed=4, skipped=1)


def test_a_gated_task_that_errs_is_an_error_and_its_superset_is_red(pytester: pytest.Pytester, suite: Path) -> None:
    result = pytester.runpytest(
        "suites", "--backend", "fake", "--model-args", "accuracy=0.7,fail=[test:3]", "--baseline", "base.json", "-k", "many"
    )

    result.assert_outcomes(errors=3, failed=1)
    result.stdout.fnmatch_lines(
        ["FAILED *gated|many:_average|0 - acc: not compared: 3 of its 3 tasks have no score: gated|many:first|0, *"]
    )


def test_a_session_in_which_nothing_is_held_against_the_baseline_is_red(pytester: pytest.Pytester, suite: Path) -> None:
    path = suite.parent / "gated.yaml"
    path.write_text(path.read_text().replace("suite: gated", "suite: renamed"))

    refused = pytester.runpytest(*FAKE, *ALONE)
    allowed = pytester.runpytest(*FAKE, *ALONE, "--gate-allow", "ungated")

    refused.assert_outcomes(passed=1, failed=1)
    refused.stdout.fnmatch_lines(
        ["FAILED lighteval::baseline - *nothing in this session is compared with base.json, which holds gated|alone|0, *"]
    )
    allowed.assert_outcomes(passed=1)


def test_other_tests_beside_a_baseline_are_red_only_if_it_was_asked_for_now(pytester: pytest.Pytester, suite: Path) -> None:
    pytester.makepyfile(test_other="def test_other(): pass\n")

    asked = pytester.runpytest("test_other.py", "--baseline", "base.json")
    pytester.makeini("[pytest]\nlighteval_baseline = base.json\n")
    configured = pytester.runpytest("test_other.py")

    asked.assert_outcomes(passed=1, failed=1)
    configured.assert_outcomes(passed=1)
    assert not (pytester.path / "reports").exists()


def test_a_baseline_that_is_not_there_stops_the_session_before_anything_is_evaluated(pytester: pytest.Pytester, suite: Path) -> None:
    result = pytester.runpytest(*FAKE, "--baseline", "new.json")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --baseline *new.json: there is no such file; the same run with --save-baseline *new.json in place*"]
    )


def test_a_baseline_that_was_changed_by_hand_stops_the_session_before_anything_is_evaluated(pytester: pytest.Pytester, suite: Path) -> None:
    path = pytester.path / "base.json"
    path.write_text(re.sub(r'"value": 0\.\d+', '"value": 0.5', path.read_text("utf-8"), count=1), "utf-8")

    result = pytester.runpytest(*FAKE, "--baseline", "base.json")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *base.json: tasks.gated|*value: 0.5 is not the mean of packed.scores, *"])


def test_a_session_that_was_stopped_is_judged_no_further(pytester: pytest.Pytester, suite: Path) -> None:
    result = pytester.runpytest("suites", "--backend", "fake", "--model-args", "accuracy=0.7,lose=0.1", "--baseline", "base.json", "-x")

    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


# ---------------------------------------------------------------------------------------------- without a baseline


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "two workers"])
@pytest.mark.parametrize("how", ["suite", "mark"])
def test_a_task_with_a_floor_that_is_skipped_is_red(pytester: pytest.Pytester, suite: Path, how: str, workers: tuple[str, ...]) -> None:
    skipped = ", skip: too slow" if how == "suite" else ""
    suite.write_text(suite.read_text().replace("{name: alone,", f"{{name: alone, gates: {{acc: {{min: 0.1}}}}{skipped},"))
    if how == "mark":
        pytester.makeconftest(
            """
            import pytest

            def pytest_collection_modifyitems(items):
                for item in items:
                    item.add_marker(pytest.mark.skip(reason="too slow"))
            """
        )

    refused = pytester.runpytest_subprocess(*FAKE, "-k", "alone", *workers)
    allowed = pytester.runpytest_subprocess(*FAKE, "-k", "alone", *workers, "--gate-allow", "skipped")

    assert {name: count for name, count in refused.parseoutcomes().items() if name != "deselected"} == {"skipped": 1, "failed": 1}
    refused.stdout.fnmatch_lines(["FAILED *gated|alone|0*it has a floor, and it *(--gate-allow skipped)"])
    assert allowed.ret == pytest.ExitCode.OK


def test_a_floor_of_what_was_not_selected_is_not_missed(pytester: pytest.Pytester, suite: Path) -> None:
    suite.write_text(suite.read_text().replace("{name: alone,", "{name: alone, gates: {acc: {min: 0.1}},"))

    pytester.runpytest(*FAKE, "-k", "first").assert_outcomes(passed=1)


@pytest.mark.parametrize("selected", ["alone", "other"])
def test_a_gates_file_to_which_nothing_is_held_is_red(pytester: pytest.Pytester, suite: Path, selected: str) -> None:
    pytester.makefile(".yaml", gates="gated|many: {acc: {min: 0.1}}\n")
    pytester.makepyfile(test_other="def test_other(): pass\n")
    given = ("test_other.py", *FAKE, "-k", selected)

    refused = pytester.runpytest(*given, "--gates", "gates.yaml")
    allowed = pytester.runpytest(*given, "--gates", "gates.yaml", "--gate-allow", "ungated")
    pytester.makeini("[pytest]\nlighteval_gates = gates.yaml\n")
    configured = pytester.runpytest(*given)

    refused.assert_outcomes(passed=1, failed=1)
    refused.stdout.fnmatch_lines(["FAILED lighteval::gates - *no task of this session has any of its gates (--gate-allow ungated)"])
    allowed.assert_outcomes(passed=1)
    configured.assert_outcomes(passed=1)


@pytest.mark.parametrize("task", ["alone", "many"])
def test_scores_of_truncated_prompts_meet_no_floor(pytester: pytest.Pytester, suite: Path, task: str) -> None:
    pytester.makefile(".yaml", gates=f"gated|{task}: {{acc: {{min: 0.1}}}}\n")
    given = ("suites", "--backend", "fake", "--model-args", "accuracy=0.7,max_length=2", "-k", task, "--gates", "gates.yaml")

    refused = pytester.runpytest(*given)
    allowed = pytester.runpytest(*given, "--gate-allow", "truncated")

    assert refused.parseoutcomes()["failed"] == 1
    refused.stdout.fnmatch_lines(
        ["FAILED *at or above the floor 0.1*, but * documents lost part of their prompt; at most 5% may (--gate-allow *"]
    )
    assert allowed.ret == pytest.ExitCode.OK


def test_a_baseline_that_is_to_be_saved_of_nothing_is_red(pytester: pytest.Pytester, suite: Path) -> None:
    pytester.makepyfile(test_other="def test_other(): pass\n")

    result = pytester.runpytest("test_other.py", "--save-baseline", "new.json")

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["FAILED lighteval::save-baseline - *no task has a score, so there is nothing to save"])
    assert not (pytester.path / "new.json").exists()


def test_nothing_collected_is_pytests_own_exit_status(pytester: pytest.Pytester, suite: Path) -> None:
    result = pytester.runpytest(*FAKE, "--baseline", "base.json", "-k", "nothing")

    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_listing_the_tasks_judges_nothing(pytester: pytest.Pytester, suite: Path) -> None:
    result = pytester.runpytest(*FAKE, "--baseline", "base.json", "--collect-only")

    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes()


# -------------------------------------------------------------------------------------------------------- waivers

SOON = (datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=30)).isoformat()
LOSING = ("suites", "--backend", "fake", "--model-args", "accuracy=0.7,lose=0.1", *ALONE, "--waivers", "waivers.yaml")


@pytest.mark.parametrize(
    ("waiver", "outcome", "told"),
    [
        pytest.param(
            f"until: {SOON}, floor: 0.5",
            "xfailed",
            f"gated|alone|0: acc *REGRESSED (allowed 2.0)  [[]waived: a known bug (until {SOON})]",
            id="covered",
        ),
        pytest.param(f"until: {SOON}, floor: 0.69", "failed", "*is below the 0.69 down to which it is waived (a known bug)", id="below"),
        pytest.param(
            "until: 2020-01-01, floor: 0.5", "failed", "*waivers.yaml:1: the waiver of gated|alone expired on 2020-01-01*", id="expired"
        ),
    ],
)
def test_a_waiver_expects_a_loss_down_to_its_floor_until_its_day(
    pytester: pytest.Pytester, suite: Path, waiver: str, outcome: str, told: str
) -> None:
    pytester.makefile(".yaml", waivers=f"- {{task: gated|alone, reason: a known bug, {waiver}}}\n")

    result = pytester.runpytest(*LOSING)

    assert result.parseoutcomes() == {outcome: 1, "deselected": 3}
    result.stdout.fnmatch_lines([told])
    (verdict,) = results_of(pytester)["verdicts"]["gated|alone|0"]
    assert verdict["outcome"] == {"xfailed": "waived"}.get(outcome, outcome)
    assert verdict["paired"]["outcome"] == "REGRESSED"


def test_runxfail_expects_nothing(pytester: pytest.Pytester, suite: Path) -> None:
    pytester.makefile(".yaml", waivers=f"- {{task: gated|alone, reason: a known bug, until: {SOON}, floor: 0.1}}\n")

    pytester.runpytest(*LOSING, "--runxfail").assert_outcomes(failed=1)


def test_a_waived_superset_is_expected_to_fail_and_leaves_the_pooled_test_alone(pytester: pytest.Pytester, suite: Path) -> None:
    """Another waiver covers no task, which is reported."""
    waivers = f"- {{task: 'gated|many', reason: a known bug, until: {SOON}, floor: 0.5}}\n"
    waivers += f"- {{task: 'gated|mayn:_average', reason: a slip, until: {SOON}, floor: 0.5}}\n"
    pytester.makefile(".yaml", waivers=waivers)

    result = pytester.runpytest(
        "suites", "--backend", "fake", "--model-args", "accuracy=0.7,lose=0.1", "--baseline", "base.json", "--waivers", "waivers.yaml",
        "--junitxml=j.xml",
    )  # fmt: skip

    result.assert_outcomes(passed=3, failed=1, xfailed=1)
    assert "pooled" not in results_of(pytester)["verdicts"]
    result.stdout.fnmatch_lines(["*waivers.yaml:2: this run has no gated|mayn:_average (did you mean 'gated|many:_average'*"])


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "two workers"])
def test_a_misspelt_metric_of_a_waiver_is_told_and_waives_nothing(pytester: pytest.Pytester, suite: Path, workers: tuple[str, ...]) -> None:
    pytester.makefile(".yaml", waivers=f"- {{task: gated|alone, metric: acc_nrom, reason: a slip, until: {SOON}, floor: 0.1}}\n")

    result = pytester.runpytest_subprocess(*LOSING, *workers)

    assert result.parseoutcomes()["failed"] == 1
    result.stdout.fnmatch_lines(
        ["*waivers.yaml:1: metric: gated|alone reports no 'acc_nrom' (did you mean 'acc_norm'?); reported are acc, acc_norm"]
    )


@pytest.mark.parametrize(
    ("waiver", "problem"),
    [
        ("until: 2999-01-01, floor: 0.5", "*waivers.yaml:1: [[]0].until: 2999-01-01 is more than a year away, a waiver for good; *"),
        (f"until: {SOON}, floor: 0", "*waivers.yaml:1: gated|alone.floor: 0 allows any score of acc (the lowest is 0); *"),
        (f"until: {SOON}, floor: -1, metric: acc_norm", "*waivers.yaml:1: gated|alone.floor: -1 allows any score of acc_norm *"),
    ],
    ids=["for good", "zero", "below"],
)
def test_a_waiver_of_everything_is_a_usage_error(pytester: pytest.Pytester, suite: Path, waiver: str, problem: str) -> None:
    pytester.makefile(".yaml", waivers=f"- {{task: gated|alone, reason: a known bug, {waiver}}}\n")

    result = pytester.runpytest(*LOSING)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {problem}"])
