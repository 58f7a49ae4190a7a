"""A soft score says by how much a document is right, in the numbers whose largest its metric takes."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lighteval.metrics import REGISTRY, metric
from pytest_lighteval.metrics.soft_scores import LARGEST, on_grid, soft_margin
from pytest_lighteval.types import Ask, Doc, LoglikelihoodResponse

INF = math.inf


def doc(choices: Sequence[str], gold: Sequence[int], **specific: Any) -> Doc:
    return Doc(id="test:0", query="q", choices=tuple(choices), gold=tuple(gold), specific=specific)


def soft(name: str, reported: str, about: Doc, response: LoglikelihoodResponse) -> float:
    score = metric(name).corpus[reported].soft
    assert score is not None
    return score.sample(about, response)


RESPONSE = LoglikelihoodResponse(logprobs=(-4.0, -6.0, -5.0), token_counts=(2, 2, 1), unconditioned_logprobs=(-1.0, -4.0, -3.0))


@pytest.mark.parametrize(
    ("name", "reported", "gold", "expected"),
    [
        ("loglikelihood_acc", "acc", (0,), 1.0),
        ("loglikelihood_acc", "acc", (1,), -2.0),
        ("loglikelihood_acc", "acc", (1, 2), -1.0),  # the best of the golds counts
        ("loglikelihood_acc", "acc", (0, 1, 2), LARGEST),  # nothing can beat it
        ("loglikelihood_acc_norm", "acc_norm", (0,), -4 / 2 + 6 / 4),  # 2, 4 and 2 characters
        ("loglikelihood_acc_norm_nospace", "acc_norm", (0,), -4 / 1 + 6 / 3),
        ("loglikelihood_acc_token", "acc_norm_token", (0,), -4 / 2 + 6 / 2),
        ("loglikelihood_acc_pmi", "acc_norm_pmi", (1,), 0.0),  # -2 against -2
        ("loglikelihood_acc_pmi", "acc_norm_pmi", (0,), -1.0),
        ("recall_at_1", "acc", (0,), 1.0),
        ("recall_at_2", "recall@2", (0,), 2.0),  # over the second of the others
        ("recall_at_2", "recall@2", (1,), -1.0),
    ],
)
def test_a_margin_is_made_of_the_numbers_of_its_metric(name: str, reported: str, gold: Sequence[int], expected: float) -> None:
    about = doc([" a", " bcd", " e"], gold)

    assert soft(name, reported, about, RESPONSE) == pytest.approx(expected, rel=2**-11)


def test_the_margin_of_truthfulqa_is_that_of_mc1() -> None:
    about = doc(list("abcd"), (0, 2), len_mc1=2)

    assert soft("truthfulqa_mc_metrics", "mc1", about, LoglikelihoodResponse(logprobs=(-3.0, -1.0, -9.0, -0.5))) == -2.0
    assert metric("truthfulqa_mc_metrics").corpus["mc2"].soft is None  # it is graded itself


def test_a_matched_answer_has_its_log_probability_which_is_no_margin() -> None:
    score = metric("acc_golds_likelihood").corpus["acc"].soft

    assert score is not None
    assert not score.is_margin
    assert score.sample(doc(["a", "b"], (0, 1)), LoglikelihoodResponse(logprobs=(-4.0, -2.5))) == -2.5


def test_every_accuracy_over_choices_has_a_margin() -> None:
    without = [
        entry.name
        for entry in REGISTRY.values()
        if entry.ask in (Ask.CHOICES, Ask.CHOICES_PMI)
        and not entry.name.startswith(("normalized_mc_prob", "mrr", "loglikelihood_f1", "mcc", "multi_f1", "tinybench_metric_truthfulqa_c"))
        and not any(corpus.soft is not None and corpus.soft.is_margin for corpus in entry.corpus.values())
    ]

    assert without == []  # those that start so are graded, or of the whole corpus


@pytest.mark.parametrize("name", ["loglikelihood_acc", "loglikelihood_acc_norm", "loglikelihood_acc_token", "recall_at_2"])
def test_a_margin_is_above_0_exactly_where_the_metric_is_1(name: str) -> None:
    rng = random.Random(0)
    (reported,) = metric(name).corpus
    for _ in range(200):
        about = doc([" a", " bcd", " efghi", " jk"], rng.sample(range(4), rng.choice((1, 2))))
        response = LoglikelihoodResponse(logprobs=tuple(rng.uniform(-9, -1) for _ in range(4)), token_counts=(1, 2, 3, 1))

        assert (soft(name, reported, about, response) > 0) == bool(metric(name).sample(about, response)[reported])


@given(st.floats())
def test_the_grid_is_odd_and_its_own_neighbour(value: float) -> None:
    rounded = on_grid(value)

    assert on_grid(-value) == -rounded
    assert on_grid(rounded) == rounded
    assert abs(rounded) <= LARGEST
    if abs(value) < LARGEST:
        assert abs(rounded - value) <= max(abs(value) * 2**-11, 2**-25)


@pytest.mark.parametrize(
    ("numbers", "expected"), [((-INF, -2.0), -LARGEST), ((-2.0, -INF), LARGEST), ((-INF, -INF), 0.0), ((-2.0, -2.0), 0.0)]
)
def test_a_margin_of_infinities_is_finite(numbers: Sequence[float], expected: float) -> None:
    assert soft_margin(numbers, (0,)) == expected
