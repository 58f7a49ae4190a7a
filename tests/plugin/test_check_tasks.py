"""`--check-tasks`: the linter through pytest's own selection, workers and reports, without a model."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

SUITE = """
suite: lint
defaults: {evaluation_splits: [test]}
tasks:
  - name: sound
    data_files: {test: sound.jsonl}
    prompt: {query: "Q: {{ q }}", choices: [" {{ a }}"]}
    metrics: [exact_match]
    few_shots: [0, 1]
  - name: cut
    data_files: {test: cut.jsonl}
    prompt: {query: "Q: {{ q }}", choices: [" {{ a }}"]}
    metrics: [exact_match]
    stop_sequence: ["."]
  - name: twice
    data_files: {test: twice.jsonl}
    prompt: {query: "Q: {{ q }}", choices: [" {{ a }}"]}
    metrics: [exact_match]
  - {name: never, skip: needs a judge}
"""
DATA = {
    "sound": [{"q": n, "a": f"x{n}"} for n in range(5)],
    "cut": [{"q": 1, "a": "2.5"}, {"q": 2, "a": "3"}],
    "twice": [{"q": 1, "a": "x"}, {"q": 1, "a": "x"}],
}


@pytest.fixture
def lint(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with a suite of a sound task, one with an error, one with a warning, and one that cannot be run."""
    monkeypatch.setenv("COLUMNS", "200")
    folder = pytester.path / "suites" / "lint"
    folder.mkdir(parents=True)
    (folder / "lint.yaml").write_text(SUITE)
    for name, rows in DATA.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return pytester


def checks(pytester: pytest.Pytester) -> dict[str, Any]:
    (path,) = pytester.path.glob("reports/*-check-*/checks.json")
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def test_each_task_is_one_item_and_an_error_fails_it(lint: pytest.Pytester) -> None:
    result = lint.runpytest("--check-tasks", "-v", "-rs")

    result.assert_outcomes(passed=2, failed=1, skipped=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "lighteval: checks benchmarks without a model; a finding of severity error fails a task",
            "*lint.yaml::sound?check? PASSED*",
            "*lint.yaml::cut?check? FAILED*",
            "gold-cut-by-stop: 1 of 2: the stop sequence '.' cuts every accepted answer, and the rest does not score in em (error)",
            "    test:0: gold ' 2.5'; left ' 2'",
            "task * error  warn  note   docs  worst finding",
            "lint|twice *1 *duplicate-document 1/2",
            "lint|cut *1 *gold-cut-by-stop 1/2",
            "3 tasks checked: 1 with errors, 1 with warnings alone, 1 with neither; 1 task skipped",
            "examples: reports/*-check-*/checks.md",
        ]
    )
    found = checks(lint)
    assert {task: [finding["kind"] for finding in facts["findings"]] for task, facts in found["tasks"].items()} == {
        "lint|cut": ["gold-cut-by-stop", "form-marked-wrong"],
        "lint|sound": ["form-marked-wrong"],
        "lint|twice": ["duplicate-document", "form-marked-wrong"],
    }
    assert found["tasks"]["lint|sound"]["few_shots"] == [0, 1]
    assert found["skipped"] == {"lint|never": "needs a judge"}


@pytest.mark.parametrize(("severity", "failed"), [("error", 1), ("warning", 2), ("note", 3)])
def test_the_severity_that_fails_is_chosen(lint: pytest.Pytester, severity: str, failed: int) -> None:
    lint.runpytest("--check-tasks", f"--check-fail-on={severity}").assert_outcomes(passed=3 - failed, failed=failed, skipped=1)


@pytest.mark.parametrize(
    ("arguments", "passed", "failed"),
    [
        pytest.param(["-k", "sound"], 1, 0, id="by name"),
        pytest.param(["--tasks", "lint|cut|0|0"], 0, 1, id="by spec"),
        pytest.param(["suites/lint/lint.yaml::cut[check]"], 0, 1, id="by id"),
        pytest.param(["-m", "lighteval(task='sound')"], 1, 0, id="by mark"),
        pytest.param(["suites/lint/lint.yaml"], 2, 1, id="by file"),
        pytest.param(["suites"], 2, 1, id="by folder"),
    ],
)
def test_pytest_selects_as_it_does_in_an_evaluation(lint: pytest.Pytester, arguments: list[str], passed: int, failed: int) -> None:
    outcomes = lint.runpytest("--check-tasks", *arguments).parseoutcomes()

    assert (outcomes.get("passed", 0), outcomes.get("failed", 0)) == (passed, failed)


def test_a_spec_of_several_counts_is_one_item(lint: pytest.Pytester) -> None:
    lint.runpytest("--check-tasks", "--tasks", "lint|sound|0|0,lint|sound|2|0").assert_outcomes(passed=1)

    assert checks(lint)["tasks"]["lint|sound"]["few_shots"] == [0, 2]


def test_the_last_failed_task_can_be_run_again(lint: pytest.Pytester) -> None:
    lint.runpytest("--check-tasks")

    lint.runpytest("--check-tasks", "--lf", "suites/lint/lint.yaml").assert_outcomes(failed=1)


def test_workers_find_the_same(lint: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    lint.runpytest("--check-tasks").assert_outcomes(passed=2, failed=1, skipped=1)
    alone = checks(lint)
    (lint.path / "reports").rename(lint.path / "before")

    lint.runpytest_subprocess("--check-tasks", "-n", "2").assert_outcomes(passed=2, failed=1, skipped=1)

    assert {name: value for name, value in checks(lint).items() if name != "run"} == {
        name: value for name, value in alone.items() if name != "run"
    }


def test_junit_has_the_counts(lint: pytest.Pytester) -> None:
    lint.runpytest("--check-tasks", "--junitxml=junit.xml", "-k", "cut")

    properties = {found.get("name"): found.get("value") for found in ElementTree.parse(lint.path / "junit.xml").iter("property")}

    assert properties == {
        "lighteval.task": "lint|cut",
        "lighteval.documents": "2",
        "lighteval.check.gold-cut-by-stop": "1",
        "lighteval.check.form-marked-wrong": "1",
    }


def test_a_known_finding_is_accepted_with_its_reason(lint: pytest.Pytester) -> None:
    (lint.path / "known.yaml").write_text(
        "- {task: lint|cut, finding: gold-cut-by-stop, documents: 1, reason: as published}\n"
        "- {task: lint|sound, finding: no-gold, reason: a hidden test set}\n"
    )
    lint.makeini("[pytest]\nlighteval_check_accept = known.yaml\n")

    result = lint.runpytest("--check-tasks")

    result.assert_outcomes(passed=3, skipped=1)
    result.stdout.fnmatch_lines(["3 tasks checked: 0 with errors*", "*known.yaml:2: lint|sound has no no-gold: remove the entry"])


def test_the_suite_file_can_accept(lint: pytest.Pytester) -> None:
    file = lint.path / "suites/lint/lint.yaml"
    file.write_text(SUITE.replace('stop_sequence: ["."]', 'stop_sequence: ["."]\n    accepted_findings: {gold-cut-by-stop: as published}'))

    lint.runpytest("--check-tasks").assert_outcomes(passed=3, skipped=1)
    file.write_text(file.read_text().replace("gold-cut-by-stop:", "gold-cut-by-stops:"))
    lint.runpytest("--check-tasks").stdout.fnmatch_lines(
        ["*lint.yaml:15: *there is no finding 'gold-cut-by-stops' (did you mean 'gold-cut-by-stop'*"]
    )


def test_other_tests_of_the_project_do_not_run(lint: pytest.Pytester) -> None:
    lint.makepyfile("def test_theirs(): assert False")

    result = lint.runpytest("--check-tasks", "-k", "sound or theirs", ".")

    result.assert_outcomes(passed=1, deselected=4)


def test_data_that_cannot_be_read_are_an_error_and_not_a_finding(lint: pytest.Pytester) -> None:
    (lint.path / "suites/lint/cut.jsonl").unlink()

    result = lint.runpytest("--check-tasks")

    result.assert_outcomes(passed=2, errors=1, skipped=1)
    assert "cut.jsonl" in checks(lint)["errors"]["lint|cut"]
    result.stdout.fnmatch_lines(["*; 1 task could not be checked; 1 task skipped"])
    result.stdout.no_fnmatch_line("*another exception*")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--check-tasks", "--backend", "fake"], "--backend is given beside --check-tasks, which asks no model"),
        (["--check-tasks", "--max-samples", "5"], "--max-samples is given beside --check-tasks, which looks at all documents"),
        (
            ["--check-tasks", "--check-fail-on", "warn"],
            "--check-fail-on warn: error, warning or note was expected (did you mean 'warning'*",
        ),
        (["--check-fail-on", "note", "suites"], "--check-fail-on is given without --check-tasks"),
        (["--check-tasks", "--check-accept", "gone.yaml"], "*gone.yaml*"),
        (["--check-tasks", "--check-model", "./gone"], "--check-model: there is no file or folder './gone'*"),
        (["--check-tasks", "--check-model", "suites"], "--check-model: suites: the folder has no tokenizer.json"),
    ],
)
def test_a_wrong_option_is_one_line(lint: pytest.Pytester, arguments: list[str], message: str) -> None:
    result = lint.runpytest(*arguments)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])


def test_what_an_ini_file_says_about_a_model_is_for_other_sessions(lint: pytest.Pytester) -> None:
    lint.makeini("[pytest]\nlighteval_backend = fake\nlighteval_max_samples = 1\nlighteval_baseline = gone.json\n")

    lint.runpytest("--check-tasks").assert_outcomes(passed=2, failed=1, skipped=1)

    assert checks(lint)["tasks"]["lint|sound"]["documents"] == 5


def test_neither_torch_nor_transformers_is_imported(lint: pytest.Pytester) -> None:
    lint.makeconftest(
        """
        import sys

        def pytest_sessionfinish():
            print("HEAVY", sorted({"torch", "transformers", "datasets", "scipy"} & set(sys.modules)))
        """
    )

    result = lint.runpytest_subprocess("--check-tasks", "-s")

    result.stdout.fnmatch_lines(["*HEAVY []*"])


def test_the_tokenizer_of_a_model_measures_limits_and_prompts(lint: pytest.Pytester) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    model = lint.mkdir("model")
    words = {word: number for number, word in enumerate(["[UNK]", "Q", ":", "x", *map(str, range(10))])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [tokenizers.pre_tokenizers.Digits(individual_digits=True), tokenizers.pre_tokenizers.Whitespace()]
    )
    tokenizer.save(str(model / "tokenizer.json"))
    (model / "config.json").write_text('{"max_position_embeddings": 4}')
    file = lint.path / "suites/lint/lint.yaml"
    file.write_text(SUITE.replace("few_shots: [0, 1]", "generation_size: 1"))

    lint.runpytest("--check-tasks", "--check-model=model", "-k", "sound").assert_outcomes(failed=1)

    facts = checks(lint)["tasks"]["lint|sound"]
    # "x0" is two tokens and one word; a prompt "Q: 0" is three tokens
    assert [(finding["kind"], finding["count"]) for finding in facts["findings"]] == [("gold-cut-by-limit", 5)]
    assert facts["not_checked"] == []
    (model / "config.json").write_text('{"max_position_embeddings": 3}')
    (lint.path / "reports").rename(lint.path / "before")
    lint.runpytest("--check-tasks", "--check-model=model", "-k", "sound")
    kinds = [finding["kind"] for finding in checks(lint)["tasks"]["lint|sound"]["findings"]]
    assert kinds == ["gold-cut-by-limit", "prompt-too-long"]


@pytest.mark.parametrize("workers", [[], ["-n1"]], ids=["alone", "xdist"])
def test_a_folder_that_cannot_be_written_is_told_before_anything_is_checked(lint: pytest.Pytester, workers: list[str]) -> None:
    (lint.path / "taken").write_text("a file")

    result = lint.runpytest_subprocess("--check-tasks", "--report-dir=taken/reports", *workers)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    output = [*result.outlines, *result.errlines]
    errors = [line for line in output if line.startswith("ERROR: ")]
    assert len(errors) == 1
    assert errors[0].startswith("ERROR: --report-dir ")
    assert "no file can be made in " in errors[0]
    assert not any("gold-cut-by-stop" in line for line in output)


def test_a_list_of_checks_needs_no_folder(lint: pytest.Pytester) -> None:
    (lint.path / "taken").write_text("a file")

    assert lint.runpytest("--check-tasks", "--report-dir=taken/reports", "--collect-only").ret == pytest.ExitCode.OK
