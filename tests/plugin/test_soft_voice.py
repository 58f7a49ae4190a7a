"""Soft scores as the second voice of a session's gates: heard in the terminal, in JUnit and in results.json beside the verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_lighteval.backends.fake import FakeBackend
from tests.plugin.gated import measured, properties_of, results_of, write_gated

BEFORE = FakeBackend(accuracy=0.7, jitter=2.0)
RUN = ("suites", "--backend", "fake", "--baseline", "base.json", "-k", "alone")
SHIFTED = ("--model-args", "accuracy=0.7,jitter=2,run=2,shift=0.3")
"""Every right choice loses 0.3 nats: four answers more are lost than won, which might be chance."""
LESS_SURE = ("--model-args", "accuracy=0.7,jitter=1,shift=0.3", "--gate-max-drop", "0.002")


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    suite = write_gated(pytester.path / "suites", documents=200)
    measured(suite, pytester.path / "base.json", BEFORE)
    return pytester


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_a_loss_that_the_soft_scores_prove_is_red_and_told_everywhere(project: pytest.Pytester, workers: tuple[str, ...]) -> None:
    result = project.runpytest(*RUN, *SHIFTED, "--junitxml=j.xml", *workers)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "gated|alone|0: acc 0.* lost / * won  REGRESSED (allowed 2.0)  soft: loss 1.8 points, p = 0.0024*",
            "gated|alone|0 *acc * REGRESSED (soft)",
        ]
    )
    paired = results_of(project)["verdicts"]["gated|alone|0"][0]["paired"]
    assert (paired["outcome"], paired["alpha"], paired["soft_alpha"]) == ("REGRESSED", 0.025, 0.025)
    assert paired["p"] > 0.1
    assert paired["soft"]["p"] < 0.025
    assert paired["p_adjusted"] == pytest.approx(2 * paired["soft"]["p"])
    assert paired["notes"] == ["the soft scores prove the loss, not the scores"]
    told = properties_of(project, "alone[0-shot]")
    assert [float(told[f"lighteval.acc.soft.{name}"]) for name in ("alpha", "loss", "p")] == pytest.approx(
        [0.025, paired["soft"]["loss"], paired["soft"]["p"]]
    )
    assert told["lighteval.acc.paired"] == "REGRESSED"


def test_the_same_run_is_not_red_against_a_baseline_of_an_earlier_version_without_soft_scores(project: pytest.Pytester) -> None:
    content = json.loads((project.path / "base.json").read_text("utf-8"))
    content["version"] = 1
    for task in content["tasks"].values():
        del task["score_digest"], task["means"], task["packed"]["soft"]
    (project.path / "base.json").write_text(json.dumps(content))

    result = project.runpytest(*RUN, *SHIFTED)

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["gated|alone|0: acc *INCONCLUSIVE *[[]the baseline has no soft scores, which could show a loss: *"])
    assert results_of(project)["verdicts"]["gated|alone|0"][0]["paired"]["alpha"] == 0.05


def test_confidence_that_fell_without_answers_is_told_and_green(pytester: pytest.Pytester) -> None:
    suite = write_gated(pytester.path / "suites", documents=200)
    measured(suite, pytester.path / "base.json", FakeBackend(accuracy=0.7, jitter=1.0))

    result = pytester.runpytest(*RUN, *LESS_SURE, "--gate-allow", "blind")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["gated|alone|0: acc *0 lost / 0 won  INCONCLUSIVE * soft: loss * points, p = *confidence fell, answers did not*"]
    )


def test_the_soft_scores_of_a_superset_are_those_of_all_its_tasks(project: pytest.Pytester) -> None:
    result = project.runpytest(*RUN[:-2], *SHIFTED, "-k", "many")

    paired = results_of(project)["verdicts"]["gated|many:_average|0"][0]["paired"]
    assert (paired["soft_alpha"], paired["n"]) == (0.025, 300)
    assert (paired["soft"] is None) is (paired["outcome"] in ("PASSED", "IMPROVED") or paired["p"] <= 0.025)
    assert result.ret in (0, 1)


def test_a_saved_baseline_holds_the_soft_scores_of_the_run(project: pytest.Pytester) -> None:
    project.runpytest("suites", "--backend", "fake", "--model-args", "accuracy=0.7,jitter=2", "--save-baseline=new.json", "-n", "2")

    saved, direct = (json.loads(Path(project.path / name).read_text("utf-8"))["tasks"] for name in ("new.json", "base.json"))
    assert {key: task["packed"]["soft"] for key, task in saved.items()} == {key: task["packed"]["soft"] for key, task in direct.items()}
    assert set(saved["gated|alone|0"]["packed"]["soft"]) == {"acc", "acc_norm"}
