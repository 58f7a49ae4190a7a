"""An engine that measures nothing gets no score, whatever its equal log-probabilities would score."""

from __future__ import annotations

import pytest

from tests.plugin.gated import results_of, write_gated

CONFTEST = """
import pytest
from dataclasses import replace
from pytest_lighteval.backends.fake import FakeBackend

class Engine(FakeBackend):
    def loglikelihood(self, requests):
        for index, response in super().loglikelihood(requests):
            yield index, replace(response, logprobs=tuple({value} for choice in response.logprobs))

@pytest.fixture(scope="session")
def lighteval_backend():
    return Engine()
"""


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("0.0", "in 20 of 20 documents all choices have the same log-probability; at most 20% may*"),
        ("1e-9 * choice", "in 20 of 20 documents all choices have the same log-probability; at most 20% may*"),
        ("float('-inf')", "in 20 of 20 documents all choices have the same log-probability; at most 20% may*"),
        ("float('inf')", "20 of 20 documents have no answer; the first is test:*: a log-probability is above 0 (inf), *"),
    ],
)
def test_a_constant_engine_is_an_error(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, value: str, problem: str) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    write_gated(pytester.path / "suites" / "gated", documents=20)
    pytester.makeconftest(CONFTEST.replace("{value}", value))

    result = pytester.runpytest("suites", "-k", "alone")

    result.assert_outcomes(errors=1, deselected=3)
    result.stdout.fnmatch_lines([f"ERROR *alone* - {problem}"])


def test_a_few_ties_are_told(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    write_gated(pytester.path / "suites" / "gated", documents=20)
    pytester.makeconftest(CONFTEST.replace("{value}", "-1.0 if index < 2 else choice"))

    result = pytester.runpytest("suites", "-k", "alone")

    result.assert_outcomes(passed=1, deselected=3)
    told = "in 2 of 20 documents all choices have the same log-probability: the first one is taken"
    result.stdout.fnmatch_lines([f"*{told}*"])
    assert told in str(results_of(pytester))
