"""`--gate-calibrate K`: the same model several times, what that says of its noise, and what a baseline keeps of it."""

from __future__ import annotations

import json

import pytest

from tests.plugin.conftest import Results, write_mini


def test_a_model_that_always_answers_the_same_differs_in_nothing(project: pytest.Pytester, results: Results) -> None:
    result = project.runpytest("suites", "--backend", "fake", "--gate-calibrate", "3")

    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["runs of the same model", "mini|choice|0 *acc *3 *40 *0.00 %*", "mini|prose|0 *unknown*"])
    found = results()["calibration"]
    assert found["mini|choice|0"]["acc"] == {
        "runs": 3,
        "n": 40,
        "discordance": 0.0,
        "values": [results()["results"]["mini|choice|0"]["acc"]] * 3,
    }
    assert found["mini|prose|0"]["word_perplexity"]["discordance"] is None
    assert len(list(project.path.glob("reports/*/repeats/*/details/mini/*.jsonl"))) == 10


def test_planted_noise_is_measured_and_kept_in_the_baseline(project: pytest.Pytester, results: Results) -> None:
    write_mini(project.path / "suites" / "mini", documents=500)

    result = project.runpytest(
        "suites",
        "--backend",
        "fake",
        "--model-args",
        "noise=0.1",
        "--gate-calibrate",
        "4",
        "-k",
        "choice and 0-shot",
        "--save-baseline=b.json",
    )

    result.assert_outcomes(passed=1, deselected=4)
    of = results()["calibration"]["mini|choice|0"]["acc"]
    assert of["discordance"] == pytest.approx(0.1, abs=0.03)
    assert len(set(of["values"])) > 1
    assert of["values"][0] == results()["results"]["mini|choice|0"]["acc"]
    assert json.loads((project.path / "b.json").read_text())["tasks"]["mini|choice|0"]["repeats"] == 4
    told = project.runpytest("suites", "--backend", "fake", "--baseline", "b.json", "--collect-only", "-k", "choice and 0-shot")
    told.stdout.fnmatch_lines(["  mini|choice|0 acc: n = 500, * % changing from run to run (measured): finds a loss of * points*"])


def test_two_workers_calibrate_as_one_process(project: pytest.Pytester) -> None:
    options = ("suites", "--backend", "fake", "--model-args", "noise=0.1", "--gate-calibrate", "2")
    project.runpytest(*options, "--lighteval-report-dir", "alone")
    project.runpytest_subprocess(*options, "--lighteval-report-dir", "together", "-n", "2")

    alone, together = (json.loads(next(project.path.glob(f"{name}/*/results.json")).read_text()) for name in ("alone", "together"))
    assert alone["calibration"] == together["calibration"]
    assert alone["calibration"]["mini|choice|0"]["acc"]["discordance"] > 0


def test_each_repeat_is_asked_of_what_the_backend_says_it_is(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
        import pytest
        from pytest_lighteval.backends.fake import FakeBackend

        class Remembering(FakeBackend):
            def repeat(self, number):
                with open("repeats.txt", "a") as file:
                    file.write(f"{number} ")
                return self

        @pytest.fixture(scope="session")
        def lighteval_backend():
            return Remembering()
        """
    )

    project.runpytest("suites", "--gate-calibrate", "3", "-k", "prose").assert_outcomes(passed=1, deselected=4)

    assert (project.path / "repeats.txt").read_text() == "1 2 "


def test_a_backend_without_repeats_of_its_own_is_asked_again_and_its_answers_are_kept_apart(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
        import pytest
        from pytest_lighteval.backends.fake import FakeBackend

        class Plain:
            cacheable = True

            def __init__(self):
                self.inner = FakeBackend()

            def perplexity(self, requests):
                with open("asked.txt", "a") as file:
                    file.write("asked ")
                return self.inner.perplexity(requests)

        def handed_on(name):
            return property(lambda self: getattr(self.inner, name))

        facts, methods = ("name", "fingerprint", "supports", "max_length"), ("count_tokens", "render", "describe", "close")
        for name in (*facts, *methods, "loglikelihood", "generate"):
            setattr(Plain, name, handed_on(name))

        @pytest.fixture(scope="session")
        def lighteval_backend():
            return Plain()
        """
    )

    for runs in ("2", "3", "3"):
        result = project.runpytest("suites", "--gate-calibrate", runs, "--cache-dir=kept", "-k", "prose")
        result.assert_outcomes(passed=1, deselected=4)
        with (project.path / "asked.txt").open("a") as file:
            file.write("| ")

    # each repeat is asked once, in whichever session, and a further session finds all of them
    assert (project.path / "asked.txt").read_text() == "asked asked | asked | | "


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--gate-calibrate", "1"), "--gate-calibrate 1: a number of runs from 2 on was expected"),
        (("--gate-calibrate", "2", "--against-model-args", "accuracy=1"), "--gate-calibrate and --against-model-args: *"),
    ],
)
def test_wrong_options_are_usage_errors(project: pytest.Pytester, arguments: tuple[str, ...], told: str) -> None:
    result = project.runpytest("suites", "--backend", "fake", *arguments)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {told}"])
