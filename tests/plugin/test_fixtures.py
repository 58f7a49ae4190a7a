"""People's own tests: `lighteval.run`, and an engine of one's own through `lighteval_backend`."""

from __future__ import annotations

import json

import pytest

from tests.plugin.conftest import Results

OWN_ENGINE = """
import pytest
from pytest_lighteval.types import GenerateResponse, LoglikelihoodResponse, PerplexityResponse, RequestKind

class Engine:
    '''Prefers the longest choice. Has the protocol's members and no base class.'''
    name = "mine"
    fingerprint = "1"
    supports = frozenset({RequestKind.LOGLIKELIHOOD})
    max_length = None
    def count_tokens(self, prompt): return None
    def render(self, messages): return None
    def describe(self): return {"model": "mine-7b"}
    def loglikelihood(self, requests):
        for index, request in enumerate(requests):
            sizes = [len(choice) for choice in request.choices]
            yield index, LoglikelihoodResponse(
                logprobs=tuple(-100.0 + size for size in sizes),
                greedy=tuple(size == max(sizes) for size in sizes),
                token_counts=tuple(sizes),
            )
    def generate(self, requests): raise NotImplementedError
    def perplexity(self, requests): raise NotImplementedError
    def close(self): print("engine closed")

@pytest.fixture(scope="session")
def lighteval_backend():
    engine = Engine()
    yield engine
    engine.close()
"""


def test_a_test_of_ones_own_evaluates_and_judges(project: pytest.Pytester, results: Results) -> None:
    project.makepyfile(
        """
        def test_it_knows_enough(lighteval):
            result = lighteval.run("mini|choice|2|0", max_samples=10)
            assert result["acc"] > 0.4
            assert result.metrics["acc"].n == 10

        def test_it_knows_too_little(lighteval):
            assert lighteval.run("mini|words:short|0|0")["em"] < 0.5
        """
    )

    result = project.runpytest(
        "--backend", "fake", "--model-args", "accuracy=1", "--custom-tasks", "suites", "test_a_test_of_ones_own_evaluates_and_judges.py"
    )

    result.assert_outcomes(passed=1, failed=1)
    assert results()["results"] == {}
    runs = {node.partition("::")[2]: members for node, members in results()["own_runs"].items()}
    assert runs["test_it_knows_enough"][0]["metrics"]["acc"]["n"] == 10
    assert runs["test_it_knows_too_little"][0]["metrics"]["em"]["value"] == 1.0


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param(
            "mini|words|0|0", "lighteval.run takes one task, and 'mini|words|0|0' names 2 (words:short, words:long, ...)", id="superset"
        ),
        pytest.param("mini|chioce|0|0", "lighteval.run: suite 'mini' has no task 'chioce' (did you mean 'choice'?)", id="unknown"),
    ],
)
def test_a_wrong_spec_fails_the_test_in_one_line(project: pytest.Pytester, spec: str, message: str) -> None:
    project.makepyfile(f"def test_it(lighteval): lighteval.run({spec!r})")

    result = project.runpytest("--backend", "fake", "test_a_wrong_spec_fails_the_test_in_one_line.py")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"FAILED *test_it - Failed: {message}"])


def test_a_conftest_brings_its_own_engine(project: pytest.Pytester, results: Results) -> None:
    project.makeconftest(OWN_ENGINE)

    result = project.runpytest("suites", "--lighteval-report-dir", "reports", "-k", "choice and 0-shot or prose", "-rs", "-s")

    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*engine closed*", "SKIPPED*backend 'mine' cannot do perplexity"])
    assert results()["backend"]["model"] == "mine-7b"
    (details,) = project.path.glob("reports/*/details/mini/choice.0-shot.jsonl")
    first = json.loads(details.read_text().splitlines()[0])
    assert set(first["scores"]) == {"acc", "acc_norm"}


def test_an_engine_without_a_member_is_told_which(project: pytest.Pytester) -> None:
    project.makeconftest(OWN_ENGINE.replace("def count_tokens(self, prompt): return None", ""))

    result = project.runpytest("suites", "--lighteval-report-dir", "reports", "-k", "prose")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["ERROR *lighteval_backend is of type Engine, which lacks count_tokens"])


def test_the_task_fixture_belongs_to_suite_items(project: pytest.Pytester) -> None:
    project.makepyfile("def test_it(lighteval_task): pass")

    result = project.runpytest("--backend", "fake", "test_the_task_fixture_belongs_to_suite_items.py")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*a test of your own uses the lighteval fixture's run()*"])


def test_a_run_of_ones_own_never_stands_for_the_suites_item(project: pytest.Pytester, results: Results) -> None:
    project.makepyfile(
        """
        def test_a_part(lighteval):
            lighteval.run("mini|choice|0|0", max_samples=5)

        def test_no_part(lighteval):
            lighteval.run("mini|choice|0|0", max_samples=0)
        """
    )

    result = project.runpytest(
        "--backend", "fake", "suites", "-k", "choice or part", "test_a_run_of_ones_own_never_stands_for_the_suites_item.py"
    )

    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["FAILED *test_no_part - Failed: max_samples: 0 is not a number from 1 on"])
    assert results()["metrics"]["mini|choice|0"]["acc"]["n"] == 40
    (details,) = project.path.glob("reports/*/details/mini/choice.0-shot.jsonl")
    assert len(details.read_text().splitlines()) == 40
    (own,) = project.path.glob("reports/*/own/*/details/mini/choice.0-shot.jsonl")
    assert len(own.read_text().splitlines()) == 5
