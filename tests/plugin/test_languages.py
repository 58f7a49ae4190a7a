"""Tasks of many languages in a session: the marker, the rows by family and language, one gate for a family, and families by their path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.errors import FileError
from pytest_lighteval.gates.gate_file import check_gates, load_gates
from pytest_lighteval.tasks.catalogue import Catalogue
from tests.plugin.gated import results_of

SUITE = """
suite: mine
defaults:
  data_files: {test: "rows_{language}.jsonl"}
  evaluation_splits: test
  prompt:
    template: multichoice
    language: "{language}"
    formulation: "{formulation}"
    inputs: {question: "{{ question }}", choices: "{{ options }}", gold: "{{ answer }}"}
  metrics: [loglikelihood_acc_token, loglikelihood_acc_pmi]
tasks:
  - name: "quiz_{language}_{formulation}"
    matrix: {language: [fra, tha, ben], formulation: [cf, hybrid]}
  - name: "exam_{language}_{formulation}:{part}"
    matrix: {language: [fra, tha], formulation: [cf], part: [one, two]}
"""


def write_project(folder: Path, documents: int = 60) -> None:
    suite = folder / "suites" / "mine"
    suite.mkdir(parents=True)
    (suite / "quiz.yaml").write_text(SUITE, "utf-8")
    for language in ("fra", "tha", "ben"):
        rows = [{"question": f"{language} {row}?", "options": ["un", "deux"], "answer": row % 2} for row in range(documents)]
        (suite / f"rows_{language}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_family_is_one_gate_and_has_a_row_by_language(pytester: pytest.Pytester) -> None:
    write_project(pytester.path)
    model = ("suites", "--backend", "fake", "--model-args", "accuracy=0.7", "--gate-allow", "blind,skipped")

    saved = pytester.runpytest(*model, "--save-baseline", "base.json", "--report-dir", "first")
    compared = pytester.runpytest(*model, "--baseline", "base.json", "--report-dir", "reports")

    saved.assert_outcomes(passed=8, skipped=2)
    saved.stdout.fnmatch_lines(["*2 tasks skipped: Bangla (ben) has no word for 'answer'; prompt.words can give it*"])
    results = results_of(pytester)
    rows = {name for name in results["metrics"] if "_average" in name}
    assert rows == {
        "mine|quiz_cf:_average|0",
        "mine|quiz_hybrid:_average|0",
        "mine|exam_cf:_average|0",
        "mine|exam_fra_cf:_average|0",
        "mine|exam_tha_cf:_average|0",
        "mine|all_fra_cf:_average|0",
        "mine|all_tha_cf:_average|0",
    }
    gated = {name: [verdict["outcome"] for verdict in verdicts] for name, verdicts in results["verdicts"].items() if "_average" in name}
    assert gated.keys() == {"mine|quiz_cf:_average|0", "mine|quiz_hybrid:_average|0", "mine|exam_cf:_average|0"}
    assert results["config_tasks"]["mine|quiz_tha_cf|0"]["language"] == "tha"
    assert compared.parseoutcomes()["passed"] >= 8


def test_the_marker_selects_by_language(pytester: pytest.Pytester) -> None:
    write_project(pytester.path)

    own = pytester.runpytest("--collect-only", "-q", "suites", "--backend", "fake", "-m", "lighteval(language='tha')")
    shipped = pytester.runpytest("--collect-only", "-q", "suites/multilingual/xwinograd.yaml", "-m", "lighteval(language='jpn')")

    assert ids(own) == ["quiz_tha_cf", "quiz_tha_hybrid", "exam_tha_cf:one", "exam_tha_cf:two"]
    assert ids(shipped) == ["xwinograd_jpn_mcf", "xwinograd_jpn_cf", "xwinograd_jpn_hybrid"]


def test_a_pattern_collects_what_it_fits_and_nothing_beside_it(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("--collect-only", "-q", "--tasks", "lighteval|xwinograd_[je]*_cf|2|0")

    assert ids(result) == ["xwinograd_eng_cf", "xwinograd_jpn_cf"]


def test_a_gate_on_the_subtasks_of_one_language_is_told_the_superset(tmp_path: Path) -> None:
    (tmp_path / "gates.yaml").write_text("lighteval|mlmm_mmlu_fra_cf: {acc_norm: {min: 0.3}}\n")

    with pytest.raises(FileError, match=r"gates.yaml:1: .*it is a part of lighteval\|mlmm_mmlu_cf, which is gated as a whole: write"):
        check_gates(load_gates(tmp_path / "gates.yaml"), Catalogue())


def ids(result: Any) -> list[str]:
    return [line.partition("::")[2].partition("[")[0] for line in result.outlines if "::" in line]
