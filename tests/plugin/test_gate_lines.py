"""What gates can see is told before anything is paid for: without data, without a model, in full or in short."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import write_mini


@pytest.fixture
def measured(project: pytest.Pytester) -> pytest.Pytester:
    """The project with a baseline of 400 documents a task, and without its data."""
    suite = project.path / "suites" / "mini"
    write_mini(suite, documents=400)
    result = project.runpytest("suites", "--backend", "fake", "--save-baseline", "b.json", "--lighteval-report-dir", "first")
    result.assert_outcomes(passed=5)
    for path in suite.glob("*.jsonl"):
        path.unlink()
    return project


def test_collecting_tells_of_every_gate_what_it_finds(measured: pytest.Pytester) -> None:
    result = measured.runpytest("suites", "--backend", "fake", "--baseline", "b.json", "--collect-only")

    result.stdout.fnmatch_lines(
        [
            "gates: 4; the smallest loss that each finds with 80% power",
            "  mini|choice|0 acc: n = 400, 5 % changing from run to run (assumed): finds a loss of 5.? points (alpha 0.005)",
            "  mini|choice|2 acc: n = 400, *",
            "  mini|prose|0 word_perplexity: n = 8; unknown: a metric of the whole corpus",
            "  mini|words:_average|0 em: n = 800, *",
        ]
    )
    assert not (measured.path / "reports").exists()


def test_fewer_gates_share_the_alpha_after_deselection(measured: pytest.Pytester) -> None:
    result = measured.runpytest(
        "suites", "--backend", "fake", "--baseline", "b.json", "--collect-only", "-k", "choice and 0-shot", "--max-samples", "100"
    )

    result.stdout.fnmatch_lines(["gates: 1; *", "  mini|choice|0 acc: n = 100, *(alpha 0.025)"])


def test_a_run_shows_the_blindest_gates_only(measured: pytest.Pytester) -> None:
    result = measured.runpytest("suites", "--backend", "fake", "--baseline", "b.json")

    result.assert_outcomes(errors=5, failed=1)
    result.stdout.fnmatch_lines(
        [
            "gates: 4; *",
            "  mini|prose|0 *",
            "  mini|choice|* n = 400*",
            "  mini|choice|* n = 400*",
            "  1 more gate (all able to detect smaller losses): list with --gate-plan",
        ]
    )


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one-process", "xdist"])
def test_a_plan_tells_what_max_drop_takes_and_evaluates_nothing(measured: pytest.Pytester, workers: tuple[str, ...]) -> None:
    result = measured.runpytest_subprocess("suites", "--backend", "fake", "--baseline", "b.json", "--gate-plan", *workers)

    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "gate plan: documents needed to certify max_drop with 80% power, if nothing changed",
            "  mini|choice|0 acc: n = 400, *",
            "    max_drop 2.0 points: 924 documents, or * repeats of its 400 with both models",
            "    max_drop 2.0 points: 924 documents, or * of its 800 with both models",
        ]
    )
    result.assert_outcomes()
    assert not (measured.path / "reports").exists()


def test_without_a_baseline_n_is_unknown(measured: pytest.Pytester) -> None:
    collected = measured.runpytest("suites", "--backend", "fake", "--collect-only")
    planned = measured.runpytest("suites", "--backend", "fake", "--gate-plan", "--gate-max-drop", "0.01")

    collected.stdout.fnmatch_lines(["gates: 5, n unknown (no baseline)"])
    planned.stdout.fnmatch_lines(["  5 gates: n unknown (no baseline)", "    max_drop 1.0 points: * documents (5 % changing, assumed)"])


def test_a_task_that_the_baseline_does_not_hold_is_listed_as_unknown(measured: pytest.Pytester) -> None:
    path = measured.path / "suites" / "mini" / "mini.yaml"
    path.write_text(path.read_text().replace("few_shots: [0, 2]", "few_shots: [0, 7]"))

    result = measured.runpytest("suites", "--backend", "fake", "--baseline", "b.json", "--collect-only")

    result.stdout.fnmatch_lines(["  mini|choice|7 acc: n unknown (no baseline)"])


def test_quiet_output_and_other_sessions_have_no_such_lines(measured: pytest.Pytester) -> None:
    quiet = measured.runpytest("suites", "--backend", "fake", "--baseline", "b.json", "--collect-only", "-q")
    plain = measured.runpytest("suites", "--backend", "fake", "-k", "nothing")

    for result in (quiet, plain):
        result.stdout.no_fnmatch_line("*gates:*")


def test_workers_leave_it_to_the_controller_to_tell(measured: pytest.Pytester) -> None:
    result = measured.runpytest_subprocess("suites", "--backend", "fake", "--baseline", "b.json", "-n", "2")

    assert [line for line in result.outlines if line.startswith("gates: 4;")] == [
        "gates: 4; the smallest loss that each finds with 80% power"
    ]
