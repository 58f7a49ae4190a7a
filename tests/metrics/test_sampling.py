"""Metrics of several samples against their formulas, counted out over all draws."""

from __future__ import annotations

import itertools
import statistics

import pytest

from pytest_lighteval.errors import DataError
from pytest_lighteval.metrics import metric
from pytest_lighteval.metrics.sampling import g_pass_at, mean_g_pass_at, pass_at
from pytest_lighteval.types import Doc, GenerateResponse
from tests.metrics.golden import build_doc, build_response, read_lines
from tests.shared import needs_shared

DOC = Doc(id="test:0", query="", choices=("4",), gold=(0,))


def texts(*samples: str) -> GenerateResponse:
    return GenerateResponse(texts=samples, finish_reasons=("stop",) * len(samples))


@pytest.mark.parametrize("right", range(7))
@pytest.mark.parametrize("k", [1, 2, 4, 6])
def test_pass_at_k_is_the_share_of_draws_with_a_right_sample(k: int, right: int) -> None:
    draws = list(itertools.combinations([True] * right + [False] * (6 - right), k))

    assert pass_at(k, right=right, samples=6) == pytest.approx(statistics.fmean(any(draw) for draw in draws))
    for threshold in (0.25, 0.5, 1.0):
        enough = statistics.fmean(sum(draw) >= threshold * k and any(draw) for draw in draws)
        assert g_pass_at(k, threshold, right=right, samples=6) == pytest.approx(enough)


@needs_shared
def test_the_estimators_are_the_recorded_ones_where_all_samples_were_drawn() -> None:
    compared = 0
    for line in read_lines("class_level"):
        drawn, right = len(line.get("scores", [])), sum(line.get("scores", []))
        if line.get("class") == "PassAtK" and drawn == line["n"] and line["k"] <= drawn:
            assert pass_at(line["k"], right=right, samples=drawn) == pytest.approx(line["value"], abs=1e-9)
            compared += 1
        elif line.get("class") == "GPassAtK":
            for k in [line["k"]] if isinstance(line["k"], int) else line["k"]:
                if k > drawn:
                    continue  # the reference says 0; it is not defined
                assert mean_g_pass_at(k, right=right, samples=drawn) == pytest.approx(line["value"][f"mG-Pass@{k}"], abs=1e-9)
                for threshold in line["thresholds"]:
                    expected = line["value"][f"G-Pass@{k}_{threshold}"]
                    assert g_pass_at(k, threshold, right=right, samples=drawn) == pytest.approx(expected, abs=1e-9)
                    compared += 1
    assert compared > 100


@needs_shared
def test_recall_and_reciprocal_rank_are_the_recorded_ones() -> None:
    lines = [
        line
        for line in read_lines("class_level")
        if (line.get("class") == "Recall" and line["at"] <= 2) or (line.get("class") == "MRR" and not line["length_normalization"])
    ]
    for line in lines:
        entry = metric(f"recall_at_{line['at']}") if line.get("class") == "Recall" else metric("mrr")
        given = line | {"choices": ["x"] * len(line["choices_logprob"])}
        (value,) = entry.sample(build_doc(given), build_response(entry, given)).values()
        expected = line["value"][0] if isinstance(line["value"], list) else line["value"]
        assert value == pytest.approx(expected, abs=1e-9), line
    assert len(lines) > 20


def test_more_draws_than_samples_cannot_be_estimated() -> None:
    with pytest.raises(DataError, match=r"test:0: 3 sampled texts where at least 10 are needed"):
        metric("pass_at_10").sample(DOC, texts("4", "4", "5"))


def test_missing_samples_are_not_counted_as_wrong() -> None:
    assert metric("pass_at_1").sample(DOC, texts("4", "5")) == {"pass@1:32_samples": 0.5}


def test_samples_beyond_a_metrics_own_number_are_not_read() -> None:
    assert metric("math_pass_at_1_1n").sample(DOC, texts("4", "5", "5")) == {"math_pass@1:1_samples": 1.0}


def test_the_mathematical_pass_rate_compares_numbers_with_their_precision() -> None:
    third = Doc(id="test:0", query="", choices=(r"$\frac{1}{3}$",), gold=(0,))
    assert metric("math_pass_at_1_1n").sample(third, texts("The answer is 0.333333")) == {"math_pass@1:1_samples": 1.0}


def test_an_answer_that_nobody_gave_is_not_a_right_majority() -> None:
    unboxed = Doc(id="test:0", query="", choices=("12",), gold=(0,))
    assert metric("maj_at_4_math").sample(unboxed, texts("12", "12", "12", "12")) == {"maj@4": 0.0}
    assert metric("quasi_exact_match_gsm8k").sample(unboxed, texts("no number")) == {"qem": 0.0}
