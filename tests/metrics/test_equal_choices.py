"""Log-probabilities that are no measurement are errors, and documents whose choices cannot be told apart are counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from pytest_lighteval.metrics.equal_choices import EqualChoices, impossible_logprob
from pytest_lighteval.types import Ask, Doc, LoglikelihoodResponse, PerplexityResponse

INF = math.inf


@pytest.mark.parametrize(
    ("logprobs", "problem"),
    [
        ((-1.0, -2.0), None),
        ((0.0, -INF), None),
        ((1e-6, -2.0), None),
        ((0.5, -2.0), "a log-probability is above 0 (0.5), which no probability has"),
        ((-2.0, INF), "a log-probability is above 0 (inf), which no probability has"),
        ((-2.0, math.nan), "a log-probability is not a number (nan)"),
    ],
)
def test_a_log_probability_is_at_most_0_up_to_rounding(logprobs: tuple[float, ...], problem: str | None) -> None:
    assert impossible_logprob(LoglikelihoodResponse(logprobs=logprobs)) == problem
    assert impossible_logprob(LoglikelihoodResponse(logprobs=(-1.0, -1.0), unconditioned_logprobs=logprobs)) == problem


def test_the_log_probability_of_a_text_is_one_too() -> None:
    assert impossible_logprob(PerplexityResponse(logprob=-3.0)) is None
    assert impossible_logprob(PerplexityResponse(logprob=3.0)) == "a log-probability is above 0 (3), which no probability has"


def doc(number: int, choices: Sequence[str] = (" a", " b"), **specific: Any) -> Doc:
    return Doc(id=f"test:{number}", query="q", choices=tuple(choices), gold=(0,), specific=specific)


def counted(*documents: tuple[Doc, Sequence[float]], ask: Ask = Ask.CHOICES) -> EqualChoices:
    equal = EqualChoices()
    for entry, logprobs in documents:
        equal.count(entry, {ask: LoglikelihoodResponse(logprobs=tuple(logprobs))})
    return equal


@pytest.mark.parametrize("value", [0.0, -INF, -3.25])
@pytest.mark.parametrize("ask", [Ask.CHOICES, Ask.CHOICES_PMI])
def test_equal_log_probabilities_of_every_document_are_no_measurement(value: float, ask: Ask) -> None:
    equal = counted(*[(doc(number), (value, value)) for number in range(20)], ask=ask)

    assert equal.problem is not None
    assert equal.problem.startswith("in 20 of 20 documents all choices have the same log-probability; at most 20% may")


@pytest.mark.parametrize(
    ("tied", "documents", "is_error"), [(4, 20, False), (5, 20, True), (19, 19, False), (200, 1000, False), (201, 1000, True)]
)
def test_a_fifth_of_at_least_20_documents_may_be_tied(tied: int, documents: int, is_error: bool) -> None:
    equal = counted(*[(doc(number), (-1.0, -1.0 if number < tied else -2.0)) for number in range(documents)])

    assert (equal.problem is not None) is is_error
    assert equal.notes == [f"in {tied} of {documents} documents all choices have the same log-probability: the first one is taken"]


@pytest.mark.parametrize(
    ("logprobs", "is_tied"),
    [
        ((0.0, -1e-9, -2e-9), True),
        ((-1e-6, 0.0), True),
        ((-2e-6, 0.0), False),
        ((-3.0, -3.000002), True),
        ((-3.0, -3.00001), False),
        ((-400.0, -400.0003), True),
        ((-400.0, -400.001), False),
        ((-1.0, -1.0078125), False),  # one step of bf16
        ((-0.5, -0.50048828125), False),  # one step of fp16
        ((-1.0, -INF), False),
        ((-1.0, -1.0, -2.0), False),
    ],
)
def test_log_probabilities_within_a_rounding_error_are_tied(logprobs: Sequence[float], is_tied: bool) -> None:
    assert counted((doc(1, [f" {choice}" for choice in range(len(logprobs))]), logprobs)).tied == is_tied


def test_equal_choices_are_no_tie_of_different_ones_but_are_noted() -> None:
    equal = counted(*[(doc(number, (" a", " a")), (-1.0, -1.0)) for number in range(30)], (doc(30, (" a", " b", " b")), (-3.0, -2.0, -2.0)))

    assert (equal.asked, equal.tied, equal.problem) == (1, 0, None)
    assert equal.notes == ["31 documents have two equal choices, of which the second one can never win"]


def test_a_document_under_two_seeds_has_its_equal_choices_once() -> None:
    twice = doc(1, (" a", " b", " b"))

    assert counted((twice, (-3.0, -2.0, -2.0)), (twice, (-3.0, -2.5, -2.5))).notes == [
        "1 document has two equal choices, of which the second one can never win"
    ]


def test_the_two_lists_of_truthfulqa_do_not_compete() -> None:
    both = doc(1, (" a", " b", " a", " b"), len_mc1=2)

    assert counted((both, (-1.0, -2.0, -1.0, -2.0))).notes == []
    assert counted((both, (-1.0, -1.0, -1.0, -1.0))).tied == 1


def test_what_ranks_no_choices_is_passed_over() -> None:
    equal = EqualChoices()
    equal.count(doc(1), {Ask.GOLDS: LoglikelihoodResponse(logprobs=(-1.0, -1.0)), Ask.TEXT: PerplexityResponse(logprob=-1.0)})

    assert equal == EqualChoices()
