"""Options: what is wrong is one line before anything runs; the ini file serves where the command line is silent."""

from __future__ import annotations

import re

import pytest

from pytest_lighteval.plugin.options import OPTIONS
from tests.plugin.conftest import Results

FAKE = ["--backend", "fake"]
ARGUMENTS = "--model-args"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--backend", "fakee"], "no backend named 'fakee' (did you mean 'fake'?)*", id="backend"),
        pytest.param(
            [*FAKE, ARGUMENTS, "acuracy=1"],
            "--model-args: backend 'fake' has no argument 'acuracy' (did you mean 'accuracy'?)",
            id="argument",
        ),
        pytest.param([*FAKE, ARGUMENTS, "accuracy=much"], "--model-args: accuracy: *", id="value"),
        pytest.param([*FAKE, ARGUMENTS, "accuracy=2"], "--model-args: accuracy: *<= 1*", id="range"),
        pytest.param([ARGUMENTS, "accuracy=1"], "--model-args is given without --backend*", id="no-backend"),
        pytest.param(
            [*FAKE, "--tasks", "leaderbord|gsm8k|5|0"], "--tasks: no suite named 'leaderbord' (did you mean 'leaderboard'?)*", id="suite"
        ),
        pytest.param(
            [*FAKE, "--tasks", "leaderboard|gsm8|5|0"],
            "--tasks: suite 'leaderboard' has no task 'gsm8' (did you mean 'gsm8k'?)",
            id="task",
        ),
        pytest.param(
            [*FAKE, "--tasks", "leaderboard|gsm8k|five|0"],
            "--tasks: 'leaderboard|gsm8k|five|0': the few-shot count is 'five'*",
            id="count",
        ),
        pytest.param([*FAKE, "--tasks", "./missing.txt"], "--tasks ./missing.txt: no such file", id="file"),
        pytest.param([*FAKE, "--max-samples", "0"], "--max-samples 0: a number from 1 on was expected", id="samples"),
        pytest.param([*FAKE, "--few-shots", "a"], "--few-shots a: *", id="few-shots"),
        pytest.param([*FAKE, "--data-home", "nowhere"], "--data-home */nowhere: no such folder", id="data-home"),
        pytest.param([*FAKE, "--gates", "no.yaml"], "*no.yaml: No such file or directory", id="gates"),
        pytest.param([*FAKE, "--strip-reasoning", "--reasoning-tags", "think"], "--reasoning-tags: 'think' is not *", id="tags"),
        pytest.param([*FAKE, "--override-batch-size", "8"], "--model-args: backend 'fake' has no argument 'batch_size'*", id="batch-size"),
    ],
)
def test_a_wrong_value_is_a_usage_error_of_one_line(project: pytest.Pytester, arguments: list[str], message: str) -> None:
    result = project.runpytest("suites", *arguments)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message.replace('[', '[[]')}"])
    result.stderr.no_fnmatch_line("*Traceback*")


def test_a_wrong_line_of_a_task_file_is_named(project: pytest.Pytester) -> None:
    project.makefile(".txt", tasks="# mine\nleaderboard|gsm8k|5|0\nleaderboard|gsm8k|5|2\n")

    result = project.runpytest("--backend", "fake", "--tasks", "./tasks.txt")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: ./tasks.txt:3: 'leaderboard|gsm8k|5|2': the truncation flag is '2', not 0 or 1"])


def test_the_ini_file_serves_and_the_command_line_wins(project: pytest.Pytester, results: Results) -> None:
    project.makeini(
        """
        [pytest]
        lighteval_backend = fake
        lighteval_model_args = accuracy=0
        lighteval_max_samples = 7
        """
    )

    project.runpytest("suites", "-k", "choice and 0-shot", "--model-args", "accuracy=1").assert_outcomes(passed=1)

    assert results()["results"]["mini|choice|0"]["acc"] == 1.0
    assert results()["settings"]["max_samples"] == 7


def test_the_prefixed_form_is_the_same_option(project: pytest.Pytester, results: Results) -> None:
    project.runpytest(
        "suites", "--lighteval-backend=fake", "--lighteval-model-args=accuracy=1", "--lighteval-max-samples=3", "-k", "words:short"
    ).assert_outcomes(passed=1)

    assert results()["results"]["mini|words:short|0"]["em"] == 1.0


def test_model_args_help_lists_the_arguments_and_runs_nothing(project: pytest.Pytester) -> None:
    result = project.runpytest("suites", "--backend", "fake", "--model-args", "help")

    assert result.ret == 0
    result.stdout.fnmatch_lines(["--model-args of backend fake: *", "  accuracy (float, default 0.5)", "      share of documents *"])
    assert not (project.path / "reports").exists()


def test_model_args_may_stand_in_a_yaml_file(project: pytest.Pytester, results: Results) -> None:
    project.makefile(".yaml", model="model_parameters:\n  accuracy: 1.0\n  wrong: ['test:3']\n")

    project.runpytest("suites", "--backend", "fake", "--model-args", "model.yaml", "-k", "words:short").assert_outcomes(passed=1)

    assert results()["results"]["mini|words:short|0"]["em"] == 39 / 40


def test_specs_may_be_given_more_than_once(project: pytest.Pytester) -> None:
    result = project.runpytest("--backend", "fake", "--tasks", "mini|prose|0|0", "--tasks", "mini|words:short|0|0")

    result.assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("option", "name"), [pytest.param("--tasks", "./latin.txt", id="tasks"), pytest.param("--model-args", "latin.yaml", id="model-args")]
)
def test_a_file_that_is_not_text_is_a_usage_error(project: pytest.Pytester, option: str, name: str) -> None:
    (project.path / name).write_bytes("accuracy: é".encode("latin-1"))

    result = project.runpytest("suites", "--backend", "fake", option, name)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {option} {name}: not UTF-8 text: *"])


def test_a_folder_that_moved_the_rootdir_is_told(project: pytest.Pytester, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("hub")

    spaced = project.runpytest("--backend", "fake", "--tasks", "mini|prose|0|0", "--data-home", str(elsewhere))
    joined = project.runpytest("--backend", "fake", "--tasks", "mini|prose|0|0", f"--data-home={elsewhere}")

    assert spaced.ret == pytest.ExitCode.USAGE_ERROR
    spaced.stderr.fnmatch_lines([f"ERROR: --data-home {elsewhere}: pytest took the value for a path *write --data-home={elsewhere}"])
    joined.assert_outcomes(passed=1)


def test_a_folder_of_suites_may_be_named_once_a_backend_is_chosen(project: pytest.Pytester) -> None:
    (project.path / "suites").rename(project.path / "benchmarks")
    (project.path / "benchmarks" / "mini" / "compose.yaml").write_text("services: {}\n")

    project.runpytest("benchmarks", "--backend", "fake", "-k", "prose").assert_outcomes(passed=1)
    assert project.runpytest("benchmarks").ret == pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        pytest.param(
            ["suites/leaderbord"], "suites/leaderbord: there is no such file or folder, and no such shipped suite (did you*", id="path"
        ),
        pytest.param(
            ["suites/leaderboard/gsm8k.yaml::gsm"], "suites/leaderboard/gsm8k.yaml::gsm: no task 'gsm' in this file (did you*", id="item"
        ),
        pytest.param(
            ["--tasks", "gsm8k"], "--tasks gsm8k: neither a file nor a spec*(did you mean 'leaderboard|gsm8k|5|0' or *", id="name"
        ),
        pytest.param(
            ["--tasks", "gsm8k|5"], "--tasks: 'gsm8k|5': the suite is missing (did you mean 'leaderboard|gsm8k|5|0' or *", id="suite"
        ),
        pytest.param(
            ["suites/leaderboard", "--tasks", "lighteval|gsm8k|5|0"],
            "suites/leaderboard: none of the tasks of --tasks is there (lighteval|gsm8k is in suites/lighteval/gsm8k.yaml): leave *",
            id="path-and-tasks",
        ),
    ],
)
def test_what_finds_nothing_names_what_is_near(pytester: pytest.Pytester, arguments: list[str], problem: str) -> None:
    result = pytester.runpytest(*arguments, *FAKE, "--co")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {problem.replace('[', '[[]')}"])


def test_a_path_with_some_of_the_tasks_selects_them(project: pytest.Pytester) -> None:
    result = project.runpytest("suites/mini", "--tasks", "mini|prose|0|0,leaderboard|gsm8k|5|0", *FAKE, "--co", "-q")

    result.stdout.fnmatch_lines(["suites/mini/mini.yaml::prose[[]0-shot]", "1 test collected*"])


def test_help_has_each_option_once_and_names_the_backends(pytester: pytest.Pytester) -> None:
    text = pytester.runpytest_subprocess("--help").stdout.str()

    ours = text.partition("evaluation of language models")[2].partition("\n\n")[0]
    assert all(name in " ".join(ours.split()) for name in ("accelerate, fake, nanotron, openai, vllm",))
    for option in OPTIONS:
        assert len(re.findall(rf"^  --(lighteval-)?{option.name}\b(?!-)", ours, re.MULTILINE)) == 1, option.name


def test_help_has_the_prefixed_option_where_the_short_one_is_taken(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("def pytest_addoption(parser): parser.addoption('--backend', help='theirs')")

    text = pytester.runpytest("--help").stdout.str()

    assert "--lighteval-backend=NAME" in text
    assert "what runs the model: accelerate" in text
