"""`--baseline-pinned`: many small losses, each accepted by a refresh, are red together; only `--baseline-repin` moves the pinned file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_lighteval.baselines.read import read_baseline
from pytest_lighteval.types import TaskKey
from tests.plugin.gated import FAKE, LOSING, properties_of, results_of

ALONE = TaskKey(suite="gated", task="alone", few_shots=0)
PINNED = ("--baseline", "new.json", "--baseline-pinned", "pinned.json")


@pytest.fixture
def drifted(pytester: pytest.Pytester, suite: Path) -> pytest.Pytester:
    """The pinned baseline is that of the first model; the newest one that of a model which lost seven points, with a reason."""
    (pytester.path / "base.json").rename(pytester.path / "pinned.json")
    (pytester.path / "new.json").write_text((pytester.path / "pinned.json").read_text())
    pytester.runpytest(*LOSING, "--save-baseline", "new.json", "--baseline-reason", "small steps").assert_outcomes(passed=4)
    return pytester


def test_a_loss_that_refreshes_have_hidden_is_red(drifted: pytest.Pytester) -> None:
    before = (drifted.path / "pinned.json").read_bytes()

    alone = drifted.runpytest(*LOSING, "--baseline", "new.json", "--report-dir", "alone")
    (unpinned,) = results_of(drifted, "alone")["verdicts"]["gated|alone|0"]
    result = drifted.runpytest(*LOSING, *PINNED, "--junitxml=j.xml")

    alone.assert_outcomes(passed=6)  # four tasks, the superset, the pooled test
    result.assert_outcomes(passed=4, failed=2)
    result.stdout.fnmatch_lines(
        [
            "pinned: 2 gates also compared with pinned.json; they share alpha 0.01, a fifth of the session's",
            "gated|alone|0 * failed, paired PASSED, pinned REGRESSED",
            "gated|alone|0: acc * PASSED (allowed 2.0)",
            "compared with the pinned baseline",
            "gated|*: acc * REGRESSED (allowed 2.0): *% of the allowed loss is used up since the pinned baseline; --baseline-repin *",
            "FAILED suites/*alone* - pinned: acc * REGRESSED*",
            "FAILED lighteval::gated|many:_average|0 - pinned: acc * REGRESSED*",
        ]
    )
    assert (drifted.path / "pinned.json").read_bytes() == before
    shown = properties_of(drifted, "alone[0-shot]")
    assert (shown["lighteval.acc.verdict"], shown["lighteval.acc.paired"], shown["lighteval.acc.pinned"]) == (
        "failed",
        "PASSED",
        "REGRESSED",
    )
    assert float(shown["lighteval.acc.pinned.lower"]) >= 0.02
    assert float(shown["lighteval.acc.pinned.alpha"]) == pytest.approx(0.005)
    (verdict,) = results_of(drifted)["verdicts"]["gated|alone|0"]
    assert verdict["pinned"]["used"] == pytest.approx(verdict["pinned"]["loss"] / 0.02)
    assert verdict["paired"]["alpha"] == pytest.approx(0.8 * unpinned["paired"]["alpha"])


def test_workers_say_the_same(drifted: pytest.Pytester) -> None:
    drifted.runpytest(*LOSING, *PINNED)
    one = results_of(drifted)["verdicts"]
    drifted.runpytest(*LOSING, *PINNED, "-n", "2", "--report-dir", "two").assert_outcomes(passed=4, failed=2)

    assert results_of(drifted, "two")["verdicts"] == one


def test_what_is_allowed_is_told_and_green(drifted: pytest.Pytester) -> None:
    result = drifted.runpytest(*LOSING, *PINNED, "--gate-max-drop", "0.10")

    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(["gated|alone|0: acc * (allowed 10.0): *% of the allowed loss is used up since the pinned baseline"])


def test_repinning_needs_a_reason_which_the_file_keeps(drifted: pytest.Pytester) -> None:
    no_reason = drifted.runpytest(*LOSING, *PINNED, "--baseline-repin")
    repinned = drifted.runpytest(*LOSING, *PINNED, "--baseline-repin", "--baseline-reason", "int4 for good")
    after = drifted.runpytest(*LOSING, *PINNED)

    assert no_reason.ret == pytest.ExitCode.USAGE_ERROR
    no_reason.stderr.fnmatch_lines(['ERROR: --baseline-repin needs a reason, which the file keeps: --baseline-reason "..."'])
    repinned.assert_outcomes(passed=6)
    repinned.stdout.fnmatch_lines(
        [
            "gated|alone|0: acc * REGRESSED *",
            "pinned baseline: *pinned.json (4 measured again)",
            "pinned baseline: accepted: gated|alone|0: *",
        ]
    )
    after.assert_outcomes(passed=6)
    (entry,) = read_baseline(drifted.path / "pinned.json").history
    assert entry.reason == "int4 for good"
    assert entry.changed["gated|alone|0"]["acc"][0] > entry.changed["gated|alone|0"]["acc"][1]


def test_a_first_pin_needs_no_other_baseline(pytester: pytest.Pytester, suite: Path) -> None:
    result = pytester.runpytest(*FAKE, "--baseline-pinned", "release.json", "--baseline-repin", "--baseline-reason", "release 1.0")

    result.assert_outcomes(passed=4)
    assert ALONE in read_baseline(pytester.path / "release.json").tasks


def test_a_pinned_baseline_that_does_not_fit_is_an_error(drifted: pytest.Pytester) -> None:
    path = drifted.path / "pinned.json"
    content = json.loads(path.read_text())
    content["tasks"]["gated|alone|0"]["version"] = 7
    path.write_text(json.dumps(content))

    result = drifted.runpytest(*LOSING, *PINNED, "-k", "alone")
    allowed = drifted.runpytest(*LOSING, *PINNED, "-k", "alone", "--gate-allow", "version", "--gate-max-drop", "0.10")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["ERROR *alone* - acc: the pinned baseline does not fit: the task has version 0, *"])
    allowed.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--baseline-pinned", "base.json"), "--baseline-pinned is given without --baseline: it is compared beside the newest baseline"),
        (("--baseline-repin",), "--baseline-repin is given without --baseline-pinned, which names the file"),
        (
            ("--baseline", "base.json", "--baseline-pinned", "base.json"),
            "--baseline-pinned base.json: is --baseline too; copy the file under another name to pin it",
        ),
        (
            ("--baseline", "base.json", "--baseline-pinned", "kept/pinned.json", "--save-baseline", "kept/"),
            "--save-baseline kept/: would refresh the pinned baseline; --baseline-repin does that",
        ),
        (("--baseline", "base.json", "--baseline-pinned", "none.json"), "--baseline */none.json: there is no such file*"),
        (("--baseline-reason", "x"), "--baseline-reason is given without --save-baseline or --baseline-repin"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(pytester: pytest.Pytester, suite: Path, arguments: tuple[str, ...], line: str) -> None:
    (pytester.path / "kept").mkdir()
    (pytester.path / "kept" / "pinned.json").write_text((pytester.path / "base.json").read_text())

    result = pytester.runpytest(*FAKE, *arguments)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {line}"])


def test_sequential_mode_asks_every_document_of_a_pinned_gate(drifted: pytest.Pytester) -> None:
    result = drifted.runpytest(*LOSING, *PINNED, "--gate-sequential", "-k", "alone")

    result.stdout.fnmatch_lines(["sequential: up to 5 interim checks of 0 tasks; 1 are asked in full (docs/gate.md says why)"])
