"""`--gate-canary` asks a few documents of each task, and says whether the model changed. It gives no verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_lighteval.backends.fake import FakeBackend
from tests.plugin.gated import measured, write_gated

CANARY = ("suites", "--backend", "fake", "--baseline=b.json")
BEFORE = "accuracy=0.7"


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    suite = write_gated(pytester.path / "suites")
    measured(suite, pytester.path / "b.json", FakeBackend(accuracy=0.7))
    return pytester


def lines(result: pytest.RunResult) -> list[str]:
    """What stands below the heading."""
    start = next(place for place, line in enumerate(result.outlines) if "= lighteval =" in line)
    return [line for line in result.outlines[start + 1 :] if line]


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_an_unchanged_model_is_told_and_nothing_is_judged(project: pytest.Pytester, workers: tuple[str, ...]) -> None:
    result = project.runpytest(*CANARY, "--model-args", BEFORE, "--gate-canary=40", *workers)

    assert result.ret == 0
    result.assert_outcomes(skipped=4)
    told = lines(result)
    assert told[0] == "gated|alone|0: acc: nothing changed: all 40 soft scores are those of the baseline, to 16 bits"
    assert [line.partition(":")[0] for line in told if "nothing changed" in line] == ["gated|alone|0", *["gated|many"] * 3]
    assert "canary: no verdict" in told
    assert not list(project.path.glob("reports/*"))


def test_a_shift_of_all_margins_is_told_with_its_direction_and_with_what_is_unseen(project: pytest.Pytester) -> None:
    result = project.runpytest(*CANARY, "--model-args", f"{BEFORE},shift=0.4", "--gate-canary")

    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "canary: 40 documents of each task, those of the smallest margins in the baseline; no verdict",
            "gated|alone|0: acc: worse: 40 of 40 soft scores moved, * answers lost / 0 won; soft loss * points of these documents, p = *",
            "    40 documents see a shift of all margins by * (95% of runs), which costs * points; unseen: a smaller shift, *",
        ]
    )


def test_a_task_without_soft_scores_is_not_asked(project: pytest.Pytester) -> None:
    suite = project.path / "suites" / "gated.yaml"
    suite.write_text(suite.read_text().replace("loglikelihood_acc, loglikelihood_acc_norm", "mrr"))
    measured(suite, project.path / "mrr.json", FakeBackend(accuracy=0.7))

    result = project.runpytest("suites", "--backend", "fake", "--baseline=mrr.json", "--model-args", BEFORE, "--gate-canary")

    assert result.ret == 0
    result.stdout.fnmatch_lines(["gated|alone|0: not asked: the baseline has no soft scores of its gate*"])


def test_other_prompts_are_no_change_of_the_model(project: pytest.Pytester) -> None:
    suite = project.path / "suites" / "gated.yaml"
    suite.write_text(suite.read_text().replace("Question {{", "Quiz {{"))

    result = project.runpytest(*CANARY, "--model-args", BEFORE, "--gate-canary")

    assert result.ret == 0
    result.stdout.fnmatch_lines(["gated|alone|0: acc: the baseline does not fit: * (--gate-allow prompts compares anyway)"])


def test_an_engine_without_an_answer_is_an_error(project: pytest.Pytester) -> None:
    failing = ",".join(f"test:{row}" for row in range(400))

    result = project.runpytest(*CANARY, "--model-args", f"{BEFORE},fail=[{failing}]", "--gate-canary", "-k", "alone")

    assert result.ret == 1
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*40 of 400 documents have no answer*"])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--gate-canary=0", "--baseline=b.json"), "--gate-canary 0: a number of documents was expected; write --gate-canary=40"),
        (("--gate-canary=x", "--baseline=b.json"), "--gate-canary x: a number of documents was expected; write --gate-canary=40"),
        (("--gate-canary",), "--gate-canary is given without --baseline, whose soft scores say which documents to ask"),
        (
            ("--baseline=b.json", "--save-baseline=c.json", "--gate-canary"),
            "--gate-canary and --save-baseline: a canary measures no task; give one or the other",
        ),
    ],
)
def test_a_canary_that_makes_no_sense_is_a_usage_error(project: pytest.Pytester, options: tuple[str, ...], problem: str) -> None:
    result = project.runpytest("suites", "--backend", "fake", *options)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{problem}*"])


def test_the_answers_of_a_canary_serve_no_run_and_those_of_runs_no_canary(pytester: pytest.Pytester) -> None:
    suite = write_gated(pytester.path / "suites", documents=40)
    measured(suite, pytester.path / "b.json", FakeBackend(accuracy=0.7))
    pytester.makeconftest(
        """
        import pytest
        from pytest_lighteval.backends.fake import FakeBackend

        class Counting(FakeBackend):
            cacheable = True

            def loglikelihood(self, requests):
                print(f"asked {len(requests)}")
                return super().loglikelihood(requests)

        @pytest.fixture(scope="session")
        def lighteval_backend():
            return Counting(accuracy=0.7)
        """
    )
    run = ("suites/gated.yaml", "-k", "alone", "--baseline=b.json", "-s", "--cache-dir=cache")

    asked = [
        [line for line in pytester.runpytest(*run, *options).outlines if "asked" in line and "not asked" not in line]
        for options in (("--gate-canary=10",), (), ("--gate-canary=10",))
    ]

    assert [line[-1].split("asked ")[1] for line in asked] == ["10", "40", "10"]
    assert Path(pytester.path / "cache").exists()
