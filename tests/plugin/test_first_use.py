"""Whether a session evaluates models is decided at its start, or by the first use of the `lighteval` fixture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval import plugin
from tests.plugin.conftest import write_mini
from tests.plugin.test_xdist import without_times

WORKERS = pytest.mark.parametrize("workers", [pytest.param([], id="one-process"), pytest.param(["-n", "2"], id="two-workers")])

CONFTEST = """
import pytest
from pytest_lighteval.backends.fake import FakeBackend

@pytest.fixture(scope="session")
def lighteval_backend():
    return FakeBackend(accuracy=1.0)
"""

CACHED = """
class Cached(FakeBackend):
    cacheable = True
"""

OWN_TEST = """
def test_it_knows_enough(lighteval):
    assert lighteval.run("mini|choice|2|0", max_samples=10)["acc"] == 1.0

def test_it_knows_words(lighteval):
    assert lighteval.run("mini|words:short|0|0", max_samples=5)["em"] == 1.0

def test_of_something_else():
    pass
"""


def own_runs(folder: Path) -> dict[str, Any]:
    """The runs of a project's own tests in its one report, without times."""
    (path,) = folder.glob("reports/*/results.json")
    own: dict[str, Any] = without_times(json.loads(path.read_text("utf-8"))["own_runs"])
    assert [details.name for details in sorted(path.parent.glob("own/*/details/*/*.jsonl"))] == [
        "choice.2-shot.jsonl",
        "words.short.0-shot.jsonl",
    ]
    return own


@WORKERS
def test_a_conftest_with_a_backend_needs_no_option(project: pytest.Pytester, workers: list[str]) -> None:
    project.makeconftest(CONFTEST)
    project.makepyfile(OWN_TEST)

    result = project.runpytest_subprocess(*workers)

    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["lighteval: backend of the project's conftest", "results: reports/*/results.json"])
    assert len(own_runs(project.path)) == 2


@WORKERS
def test_the_first_use_of_the_fixture_switches_the_reports_on(project: pytest.Pytester, workers: list[str]) -> None:
    """A conftest below the folder that pytest was started in is not known when the session begins."""
    folder = project.mkdir("evals")
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_own.py").write_text(OWN_TEST)

    result = project.runpytest_subprocess(*workers, "--junitxml=junit.xml")

    result.assert_outcomes(passed=3)
    result.stdout.no_fnmatch_line("lighteval: backend*")
    result.stdout.fnmatch_lines(["results: reports/*/results.json"])
    runs = own_runs(project.path)
    assert {node: run[0]["metrics"]["acc" if "enough" in node else "em"]["value"] for node, run in runs.items()} == {
        "evals/test_own.py::test_it_knows_enough": 1.0,
        "evals/test_own.py::test_it_knows_words": 1.0,
    }


def test_a_late_session_with_a_wrong_environment_fails_its_test_in_one_line(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGHTEVAL_DATA_HOME", "nowhere")
    folder = project.mkdir("evals")
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_own.py").write_text(OWN_TEST)

    result = project.runpytest_subprocess("-k", "enough")

    result.assert_outcomes(errors=1, deselected=2)
    result.stdout.fnmatch_lines(["ERROR *test_it_knows_enough - Failed: --data-home */nowhere: no such folder"])


@WORKERS
@pytest.mark.parametrize("folder", ["suites/mini", "evals/mini", "deeper/suites/mini"])
def test_suites_of_ones_own_beside_a_conftest_with_a_backend_are_collected(
    pytester: pytest.Pytester, workers: list[str], folder: str
) -> None:
    pytester.makeconftest(CONFTEST)
    write_mini(pytester.path / folder)

    result = pytester.runpytest_subprocess(folder, *workers)

    result.assert_outcomes(passed=5)


@WORKERS
@pytest.mark.parametrize("arguments", [pytest.param((), id="no-argument"), pytest.param((".",), id="the project")])
def test_a_conftest_with_a_backend_changes_nothing_for_tests_that_evaluate_nothing(
    project: pytest.Pytester, workers: list[str], arguments: tuple[str, ...]
) -> None:
    """Suites, and YAML files that are none, wait until the user names them."""
    project.makeconftest(CONFTEST)
    project.makepyfile("def test_plain(): pass")
    (project.path / "suites" / "compose.yaml").write_text("services: {}\n")

    result = project.runpytest_subprocess(*arguments, *workers)

    result.assert_outcomes(passed=1)
    assert not (project.path / "reports").exists()


def test_other_tools_yaml_below_a_named_folder_is_left_to_them(project: pytest.Pytester) -> None:
    project.makeconftest(CONFTEST)
    (project.path / "suites" / "Taskfile.yaml").write_text("version: '3'\ntasks:\n  build: {cmds: [make]}\n")

    result = project.runpytest_subprocess("suites")

    result.assert_outcomes(passed=5)


def test_auto_workers_of_a_project_with_an_own_backend_are_as_many_as_without_the_plugin(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)

    assert plugin.pytest_xdist_auto_num_workers(pytester.parseconfig()) is None
    assert plugin.pytest_xdist_auto_num_workers(pytester.parseconfig("--backend", "fake")) is not None


def test_a_late_session_of_workers_finds_no_answer_that_another_one_computed(project: pytest.Pytester) -> None:
    """Nobody told the workers which answers were there before the session, so they compute all of theirs."""
    folder = project.mkdir("evals")
    (folder / "conftest.py").write_text(CONFTEST.replace("return FakeBackend(accuracy=1.0)", "return Cached(accuracy=1.0)") + CACHED)
    (folder / "test_own.py").write_text(OWN_TEST)

    for _ in range(2):
        project.runpytest_subprocess("-n", "2").assert_outcomes(passed=3)

    reports = [json.loads(path.read_text("utf-8")) for path in project.path.glob("reports/*/results.json")]
    assert [report["run"]["cache"]["hits"] for report in reports] == [0, 0]


@pytest.mark.parametrize("workers", [pytest.param(["-n", "2"], id="two-workers"), pytest.param([], id="one-process")])
def test_collect_only_lists_what_tasks_name(project: pytest.Pytester, workers: list[str]) -> None:
    result = project.runpytest_subprocess("--backend=fake", "--tasks=mini|words|0|0", "--collect-only", "-q", *workers)

    assert [line for line in result.outlines if "::" in line] == [
        "suites/mini/mini.yaml::words:short[0-shot]",
        "suites/mini/mini.yaml::words:long[0-shot]",
    ]


def test_a_test_may_be_parametrized_by_specs(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_own="""
        import pytest

        @pytest.mark.parametrize("spec", ["mini|prose|0|0"])
        def test_it(lighteval, spec):
            assert lighteval.run(spec, max_samples=2).metrics
        """
    )

    result = project.runpytest_subprocess("test_own.py::test_it[mini|prose|0|0]", "--backend", "fake")

    result.assert_outcomes(passed=1)


def test_a_conftest_that_reads_functions_of_items_does_not_break_session_reports(pytester: pytest.Pytester, suite: Path) -> None:
    pytester.makeconftest(
        """
        def pytest_runtest_setup(item):
            assert item.function and item.cls is None and "tmp_path" not in item.fixturenames
        """
    )

    result = pytester.runpytest_subprocess("suites", "--backend=fake", "--model-args=accuracy=0.7,lose=0.3", "--baseline=base.json")

    result.stdout.fnmatch_lines(["FAILED lighteval::pooled - *REGRESSED*"])
    result.stdout.no_fnmatch_line("ERROR *")


@pytest.mark.parametrize(
    ("suites", "argument", "items"),
    [
        pytest.param("evals", "evals", 5, id="the folder"),
        pytest.param("evals", "evals/mini/mini.yaml", 5, id="a file in it"),
        pytest.param("evals", ".", 5, id="a folder above"),
        pytest.param("evals", "tests", 0, id="a folder beside"),
    ],
)
def test_folders_of_suites_in_the_ini_file_matter_where_they_are_collected(
    pytester: pytest.Pytester, suites: str, argument: str, items: int
) -> None:
    pytester.makeini(f"[pytest]\nlighteval_suites = {suites}")
    write_mini(pytester.path / suites / "mini")
    pytester.mkdir("tests").joinpath("test_plain.py").write_text("def test_plain(): pass")

    result = pytester.runpytest_subprocess(argument, "--collect-only", "-q")

    assert sum("mini.yaml::" in line for line in result.outlines) == items
    header = pytester.runpytest_subprocess(argument, "--collect-only").outlines
    assert any(line.startswith("lighteval: no backend") for line in header) == (items > 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--override_batch_size=8"], "--override_batch_size: write --override-batch-size", id="underscores"),
        pytest.param(["--max_samples", "8"], "--max_samples: write --max-samples", id="underscores and a space"),
        pytest.param(
            ["--checkpoint-config-path", "c/config.yaml"],
            "--checkpoint-config-path: it is a model argument: write --backend nanotron --model-args checkpoint_config_path=c/config.yaml",
            id="nanotron's option",
        ),
        pytest.param(
            ["--lighteval-config-path=l.yaml"],
            "--lighteval-config-path: it is a model argument: write --backend nanotron --model-args lighteval_config_path=l.yaml",
            id="nanotron's other option",
        ),
        pytest.param(["mini|prose|0|0"], "mini|prose|0|0: pytest takes it for a path; write --tasks 'mini|prose|0|0'", id="a spec"),
        pytest.param(["./tasks.txt"], "./tasks.txt: pytest takes it for a file of tests; write --tasks ./tasks.txt", id="a file of specs"),
    ],
)
def test_what_lighteval_spells_otherwise_names_the_right_spelling(project: pytest.Pytester, arguments: list[str], message: str) -> None:
    project.makefile(".txt", tasks="# mine\nmini|prose|0|0\n")

    result = project.runpytest_subprocess("--backend", "fake", *arguments)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: {message}" in result.errlines


def test_an_option_with_an_underscore_of_another_plugin_is_left_alone(project: pytest.Pytester) -> None:
    project.makeconftest("def pytest_addoption(parser): parser.addoption('--max_samples')")

    result = project.runpytest_subprocess("suites", "--backend", "fake", "--max_samples", "8", "-k", "prose")

    result.assert_outcomes(passed=1, deselected=4)
