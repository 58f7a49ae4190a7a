"""Gates with so few documents that not even a huge loss would show: a warning, red if the user says so, and red where there is no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugin.gated import FAKE, results_of

COLLAPSED = ("suites", "--backend", "fake", "--model-args", "accuracy=0.0")
BASELINE = ("--baseline", "base.json")


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one", "two"])
def test_a_session_in_which_a_collapse_would_not_show_is_red(pytester: pytest.Pytester, suite: Path, workers: tuple[str, ...]) -> None:
    arguments = (*COLLAPSED, *BASELINE, "--max-samples", "1", *workers)
    result = pytester.runpytest_subprocess(*arguments) if workers else pytester.runpytest(*arguments)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    named = "gated|alone|0 acc (n = 1), gated|many:_average|0 acc (n = 3)"
    result.stdout.fnmatch_lines(
        [
            f"WARNING: 2 of 2 gates are blind to ten times the allowed loss: {named}",
            "gated|alone|0: acc *(allowed 2.0; blind: 1 document would not show a loss of 20.0 points; about * would decide it)*",
            "FAILED lighteval::blind - *no gate of this session would have found ten times the loss that it allows: "
            f"{named}; more documents would (--gate-allow blind)",
        ]
    )
    assert results_of(pytester)["verdicts"]["gated|alone|0"][0]["paired"]["blind"] is True


def test_a_blind_session_may_be_allowed(pytester: pytest.Pytester, suite: Path) -> None:
    result = pytester.runpytest(*FAKE, *BASELINE, "--max-samples", "1", "--gate-allow", "blind")

    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["WARNING: no gate of this session would have found ten times the loss that it allows: gated|alone|0 acc*"])


def test_one_blind_gate_among_others_is_a_warning_and_red_if_the_user_says_so(pytester: pytest.Pytester, suite: Path) -> None:
    warned = pytester.runpytest(*FAKE, *BASELINE, "--max-samples", "30")
    refused = pytester.runpytest(*FAKE, *BASELINE, "--max-samples", "30", "--gate-inconclusive", "blind")

    assert warned.ret == pytest.ExitCode.OK
    warned.stdout.fnmatch_lines(
        [
            "gated|alone|0 *INCONCLUSIVE (blind)",
            "WARNING: blind gates, which would not have found ten times the loss that they allow: gated|alone|0 acc (n = 30)",
        ]
    )
    refused.assert_outcomes(passed=5, failed=1)
    refused.stdout.fnmatch_lines(["FAILED *alone[[]0-shot] - *INCONCLUSIVE (allowed 2.0; blind: 30 documents would not show *"])


def test_an_inconclusive_gate_with_enough_documents_is_not_blind(pytester: pytest.Pytester, suite: Path) -> None:
    result = pytester.runpytest(*FAKE, *BASELINE, "--max-samples", "60", "--gate-inconclusive", "blind")

    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["gated|alone|0: acc *INCONCLUSIVE (allowed 2.0; about *"])
    result.stdout.no_fnmatch_line("*blind:*")
    assert results_of(pytester)["verdicts"]["gated|alone|0"][0]["paired"]["blind"] is False


def test_a_floor_sees_a_collapse(pytester: pytest.Pytester, suite: Path) -> None:
    pytester.makefile(".yaml", gates="gated|alone|0: {acc: {min: 0.0}}\n")

    result = pytester.runpytest(*FAKE, *BASELINE, "--max-samples", "1", "-k", "alone", "--gates", "gates.yaml")

    assert result.ret == pytest.ExitCode.OK


def test_the_plan_names_blind_gates_before_the_model_runs(pytester: pytest.Pytester, suite: Path) -> None:
    result = pytester.runpytest(*FAKE, *BASELINE, "--max-samples", "10", "-k", "alone", "--gate-plan")

    result.stdout.fnmatch_lines(["WARNING: 1 of 1 gates is blind to ten times the allowed loss: gated|alone|0 acc (n = 10)"])
