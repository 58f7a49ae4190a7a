"""Sequential mode in a session: tasks stop when their verdict is certain, either way, the same for any number of workers."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from tests.plugin.conftest import write_mini
from tests.plugin.gated import FAKE
from tests.plugin.test_xdist import without_times

ALLOWED = ("--gate-max-drop", "0.03", "-k", "choice")


@pytest.fixture
def measured(project: pytest.Pytester) -> pytest.Pytester:
    """The project with 400 documents a task and a baseline of a model that is right on 70 % of them."""
    write_mini(project.path / "suites" / "mini", documents=400)
    run(project, "--save-baseline", "b.json", folder="first").assert_outcomes(passed=5)
    return project


def run(project: pytest.Pytester, *arguments: str, folder: str = "reports", **model: float) -> pytest.RunResult:
    given = ",".join(f"{name}={value}" for name, value in {"accuracy": 0.7, **model}.items())
    arguments = ("suites", "--backend", "fake", "--model-args", given, "--lighteval-report-dir", folder, *arguments)
    return project.runpytest_subprocess(*arguments) if "-n" in arguments else project.runpytest(*arguments)


def results_in(project: pytest.Pytester, folder: str = "reports") -> dict[str, Any]:
    (path,) = project.path.glob(f"{folder}/*/results.json")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def saved(results: dict[str, Any]) -> dict[str, int]:
    return {key: summary["saved_documents"] for key, summary in results["summary_tasks"].items()}


def test_an_unchanged_model_is_certified_on_a_part_of_the_documents(measured: pytest.Pytester) -> None:
    result = run(measured, "--baseline", "b.json", "--gate-sequential", *ALLOWED, "--junitxml=j.xml")

    result.assert_outcomes(passed=3, deselected=3)
    result.stdout.fnmatch_lines(
        [
            "sequential: up to 5 interim checks of 2 tasks",
            "mini|choice|0: * of 400 documents saved (*%), as the verdict was certain without them",
            "all tasks: * of 800 documents saved *",
            "mini|choice|0: acc *PASSED (allowed 3.0)*check * of 5*",
        ]
    )
    found = results_in(measured)
    numbers = saved(found)
    assert all(0 < number < 400 for number in numbers.values())
    assert found["summary_general"]["saved_documents"] == sum(numbers.values())
    assert found["verdicts"]["mini|choice|0"][0]["n"] == 400 - numbers["mini|choice|0"]
    properties = [(entry.attrib["name"], entry.attrib["value"]) for entry in ElementTree.parse(measured.path / "j.xml").iter("property")]
    assert ("lighteval.saved_documents", str(numbers["mini|choice|0"])) in properties
    (summary,) = measured.path.glob("reports/*/summary.md")
    assert "### Stopped early" in summary.read_text()


def test_a_large_loss_is_red_on_a_part_of_the_documents(measured: pytest.Pytester) -> None:
    result = run(measured, "--baseline", "b.json", "--gate-sequential", *ALLOWED, lose=0.25)

    result.assert_outcomes(failed=3, deselected=3)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["FAILED *choice[[]0-shot] - *REGRESSED (allowed 3.0)*"])
    assert all(number >= 160 for number in saved(results_in(measured)).values())


@pytest.mark.parametrize("lose", [0.0, 0.25], ids=["unchanged", "worse"])
def test_two_workers_stop_where_one_process_does(measured: pytest.Pytester, lose: float) -> None:
    options = ("--baseline", "b.json", "--gate-sequential")
    alone = run(measured, *options, folder="alone", lose=lose)
    together = run(measured, *options, "-n", "2", folder="together", lose=lose)

    assert alone.parseoutcomes() == together.parseoutcomes()
    one, two = (without_times(results_in(measured, folder)) for folder in ("alone", "together"))
    assert one == two
    assert any(saved(one).values())


def test_off_asks_every_document_whatever_the_ini_file_says(measured: pytest.Pytester) -> None:
    measured.makeini("[pytest]\nlighteval_gate_sequential = on\n")
    run(measured, "--baseline", "b.json", *ALLOWED, folder="stopped")
    run(measured, "--baseline", "b.json", "--gate-sequential=off", *ALLOWED, folder="whole")

    assert all(saved(results_in(measured, "stopped")).values())
    whole = results_in(measured, "whole")
    assert not any(saved(whole).values())
    assert whole["verdicts"]["mini|choice|0"][0]["n"] == 400


def test_what_needs_the_whole_score_is_asked_as_a_whole(measured: pytest.Pytester) -> None:
    path = measured.path / "suites" / "mini" / "mini.yaml"
    path.write_text(path.read_text().replace("    few_shots: [0, 2]", "    few_shots: [0]\n    gates: {acc: {min: 0.1}}"))

    result = run(measured, "--baseline", "b.json", "--gate-sequential", "--gate-max-drop", "0.03")

    result.stdout.fnmatch_lines(["sequential: up to 5 interim checks of 0 tasks; 4 are asked in full (docs/gate.md says why)"])
    assert not any(saved(results_in(measured)).values())


@pytest.mark.parametrize(
    ("selected", "suite_gates"),
    [("second", ""), ("many", "gates: {acc: {paired: ignored}}"), ("many", "")],
    ids=["one task of it", "of which the others are ignored", "compared by another metric in each"],
)
def test_the_floor_of_a_superset_needs_its_tasks_whole_scores(
    pytester: pytest.Pytester, suite: Path, selected: str, suite_gates: str
) -> None:
    """None of these supersets is a gate, so that its tasks could end early by themselves."""
    parts = {part: (suite_gates if part != "second" else "gates: {acc: {max_drop: 0.05}}") for part in ("first", "second", "third")}
    if not suite_gates:
        parts |= {"first": "gates: {acc_norm: {max_drop: 0.05}}"}
    tasks = "".join(
        f'  - {{name: "many:{part}", data_files: {{test: "{part}.jsonl"}}{gates and f", {gates}"}}}\n' for part, gates in parts.items()
    )
    head, _, _ = suite.read_text().partition('  - {name: "many:{part}"')
    suite.write_text(head + tasks)
    pytester.makefile(".yaml", gates="gated|many: {acc: {min: 0.1, paired: ignored}}\n")
    options = (*FAKE, "--baseline", "base.json", "--gate-sequential", "--gate-max-drop", "0.05", "-k", selected)

    pytester.runpytest(*options, "--lighteval-report-dir", "stopped")
    pytester.runpytest(*options, "--gates", "gates.yaml", "--lighteval-report-dir", "whole")

    assert any(saved(results_in(pytester, "stopped")).values())
    whole = results_in(pytester, "whole")
    assert not any(saved(whole).values())
    (verdict,) = [entry for entry in whole["verdicts"]["gated|many:_average|0"] if entry["min"] == 0.1]
    assert verdict["outcome"] == "passed"


def test_a_baseline_is_saved_of_every_document(measured: pytest.Pytester) -> None:
    run(measured, "--baseline", "b.json", "--gate-sequential", "--save-baseline", "c.json", *ALLOWED)

    assert not any(saved(results_in(measured)).values())
    assert json.loads((measured.path / "c.json").read_text())["tasks"]["mini|choice|0"]["documents"] == 400


def test_stopping_early_changes_no_prompt(measured: pytest.Pytester) -> None:
    run(measured, "--baseline", "b.json", "--gate-sequential", *ALLOWED)

    def prompts(folder: str) -> dict[str, str]:
        (path,) = measured.path.glob(f"{folder}/*/details/mini/choice.2-shot.jsonl")
        return {line["id"]: line["prompt"] for line in map(json.loads, Path(path).read_text().splitlines())}

    whole, stopped = prompts("first"), prompts("reports")
    assert len(stopped) < len(whole) == 400
    assert stopped.items() <= whole.items()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--gate-sequential=1",), "--gate-sequential 1: a number of interim checks from 2 on, or off, was expected"),
        (("--gate-sequential", "suites"), "--gate-sequential suites: * write --gate-sequential=5"),
    ],
)
def test_what_is_no_number_of_looks_is_a_usage_error(project: pytest.Pytester, arguments: tuple[str, ...], told: str) -> None:
    result = project.runpytest("--backend", "fake", *arguments)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {told}*"])


def test_without_a_baseline_a_run_says_that_nothing_can_be_certain(project: pytest.Pytester) -> None:
    result = run(project, "--gate-sequential=5", "-k", "prose")

    result.assert_outcomes(passed=1, deselected=4)
    result.stdout.fnmatch_lines(["sequential: every document is asked, as there is no baseline"])
