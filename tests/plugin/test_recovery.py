"""Recovery mode: a reference is measured first, on the same documents and in the same session, and the model is compared with it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.plugin.conftest import write_mini
from tests.plugin.test_xdist import without_times

RECORDED = """
import pytest
from pytest_lighteval.backends.fake import FakeBackend

def note(what, lose):
    with open("events.txt", "a") as file:
        file.write(f"{what} {lose}\\n")

class Noted(FakeBackend):
    def loglikelihood(self, requests):
        note("asked", self.arguments.lose)
        return super().loglikelihood(requests)

    def close(self):
        note("closed", self.arguments.lose)
        super().close()

@pytest.fixture(autouse=True)
def noted(monkeypatch):
    monkeypatch.setattr(FakeBackend, "from_arguments", lambda arguments: Noted(lose=arguments.lose))

@pytest.fixture(scope="session")
def lighteval_backend():
    note("made", 0.01)
    yield (backend := Noted(lose=0.01))
    backend.close()
"""


def run(project: pytest.Pytester, *arguments: str, against: str = "accuracy=0.7", model: str = "accuracy=0.7") -> pytest.RunResult:
    given = ("suites", "--backend", "fake", "--model-args", model, "--against-model-args", against, *arguments)
    return project.runpytest_subprocess(*given) if "-n" in given else project.runpytest(*given)


def results_in(project: pytest.Pytester, folder: str = "reports") -> dict[str, Any]:
    (path,) = project.path.glob(f"{folder}/*/results.json")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_a_model_that_is_as_good_as_its_reference_passes_without_a_baseline_file(project: pytest.Pytester) -> None:
    write_mini(project.path / "suites" / "mini", documents=400)

    result = run(project, "-v")

    result.assert_outcomes(passed=12)
    result.stdout.fnmatch_lines(
        [
            "lighteval: backend fake, against accuracy=0.7*",
            "*::choice[[]0-shot-reference] PASSED*",
            "*::choice[[]0-shot] PASSED*",
            "mini|choice|0: acc *PASSED (allowed 2.0)*",
        ]
    )
    found = results_in(project)
    assert found["reference"]["results"].keys() == found["results"].keys() - {"all", "mini|words:_average|0"}
    assert found["reference"]["results"]["mini|choice|2"] == found["results"]["mini|choice|2"]
    assert (found["reference"]["backend"]["name"], found["reference"]["backend"]["arguments"]["accuracy"]) == ("fake", 0.7)
    assert len(list(project.path.glob("reports/*/reference/details/mini/*.jsonl"))) == 5
    assert not list(project.path.glob("reports/*/reference/.exchange"))


def test_a_model_that_lost_something_is_red_item_by_item(project: pytest.Pytester) -> None:
    write_mini(project.path / "suites" / "mini", documents=400)

    result = run(project, "-k", "choice", model="accuracy=0.7,lose=0.2")

    result.assert_outcomes(passed=2, failed=3, deselected=3)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["FAILED *choice[[]0-shot] - *acc 0.* -> 0.* lost / 0 won  REGRESSED (allowed 2.0)"])
    found = results_in(project)
    assert found["verdicts"]["mini|choice|0"][0]["paired"]["baseline"] == found["reference"]["results"]["mini|choice|0"]["acc"]


def test_two_workers_say_what_one_process_says(project: pytest.Pytester) -> None:
    outcomes = [
        run(project, "--lighteval-report-dir", folder, *more, model="accuracy=0.7,lose=0.5").parseoutcomes()
        for folder, more in (("alone", ()), ("together", ("-n", "2")))
    ]

    assert outcomes[0] == outcomes[1]
    assert outcomes[0]["failed"] >= 2
    alone, together = (without_times(results_in(project, folder)) for folder in ("alone", "together"))
    assert alone == together
    assert sorted(alone["reference"]["results"]) == [
        "mini|choice|0",
        "mini|choice|2",
        "mini|prose|0",
        "mini|words:long|0",
        "mini|words:short|0",
    ]


def test_the_reference_is_out_of_memory_before_anybody_makes_the_other_model(project: pytest.Pytester) -> None:
    project.makeconftest(RECORDED)

    project.runpytest("suites", "--against-backend", "fake", "--gate-allow", "blind", "-k", "choice").assert_outcomes(
        passed=5, deselected=3
    )

    events = (project.path / "events.txt").read_text().splitlines()
    assert events == ["asked 0.0", "asked 0.0", "closed 0.0", "made 0.01", "asked 0.01", "asked 0.01", "closed 0.01"]


def test_a_reference_without_a_score_is_an_error_of_both(project: pytest.Pytester) -> None:
    result = run(project, "-k", "choice and 0-shot", against="accuracy=0.7,fail=[test:3]")

    result.assert_outcomes(errors=2, deselected=4)
    result.stdout.fnmatch_lines(
        [
            "ERROR *choice[[]0-shot-reference] - *reference: *1 of 40 documents have no answer*planted failure",
            "ERROR *choice[[]0-shot] - *the reference has no score to compare with: *planted failure",
        ]
    )
    assert sorted(results_in(project)["errors"]) == ["mini|choice|0", "mini|choice|0 (reference)"]


def test_last_failed_measures_the_reference_of_what_it_selects(project: pytest.Pytester) -> None:
    first = run(project, "-k", "choice and 0-shot", model="accuracy=0.7,lose=0.6", against="accuracy=0.9")
    first.assert_outcomes(passed=1, failed=1, deselected=4)

    again = run(project, "--lf", model="accuracy=0.7,lose=0.6", against="accuracy=0.9")

    again.assert_outcomes(passed=1, failed=1)


def test_a_reference_lets_the_model_stop_early_too(project: pytest.Pytester) -> None:
    write_mini(project.path / "suites" / "mini", documents=400)

    run(project, "-k", "choice", "--gate-sequential", "--gate-max-drop", "0.03").assert_outcomes(passed=5, deselected=3)

    assert results_in(project)["summary_tasks"]["mini|choice|0"]["saved_documents"] > 0


@pytest.mark.parametrize("option", [("--against-model-args", "accuracy=0.7"), ("--against-backend", "fake")], ids=lambda option: option[0])
def test_a_reference_to_which_nothing_is_held_is_red(project: pytest.Pytester, option: tuple[str, ...]) -> None:
    project.makepyfile(test_other="def test_other(): pass\n")

    result = project.runpytest("test_other.py", "--backend", "fake", *option)

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["FAILED lighteval::baseline - *nothing in this session is compared with *(--gate-allow ungated)"])


def test_a_reference_whose_worker_dies_is_an_error_and_nobody_waits_for_it(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
        import os, pathlib
        import pytest
        from pytest_lighteval.backends.fake import FakeBackend

        original = FakeBackend.perplexity

        def dying(self, requests):
            if self.arguments.accuracy == 0.9 and not os.path.exists("died"):
                pathlib.Path("died").touch()
                os._exit(1)
            return original(self, requests)

        FakeBackend.perplexity = dying
        """
    )

    result = run(project, "-n", "2", against="accuracy=0.9", model="accuracy=0.9,seed=0")

    assert result.parseoutcomes()["errors"] == 1
    found = results_in(project)
    assert found["errors"] == {"mini|prose|0 (reference)": "the worker process that ran it died"}
    assert "mini|prose|0" in found["results"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--against-model-args", "accuracy=1"), "--against-model-args is given without --against-backend or --backend"),
        (("--backend", "fake", "--against-backend", "fkae"), "no backend named 'fkae' (did you mean 'fake'?)*"),
        (("--backend", "fake", "--against-model-args", "acuracy=1"), "*acuracy*accuracy*"),
        (
            ("--backend", "fake", "--against-backend", "fake", "--baseline", "suites"),
            "--baseline and --against-model-args: scores are compared with one or the other",
        ),
    ],
)
def test_wrong_options_are_usage_errors(project: pytest.Pytester, arguments: tuple[str, ...], told: str) -> None:
    result = project.runpytest("suites", *arguments)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {told}"])
