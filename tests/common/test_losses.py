"""A loss is written as a number or in points; per cent are refused; each metric has its own unit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_lighteval.common.losses import Points, parse_loss, unit_problem
from pytest_lighteval.common.statistics import MEAN
from pytest_lighteval.types import CorpusMetric

PERCENT = replace(MEAN, range=(0.0, 100.0))
UNBOUNDED = replace(MEAN, range=None)
CORRELATION = replace(MEAN, range=(-1.0, 1.0))


@pytest.mark.parametrize(("text", "loss"), [("0.02", 0.02), ("2pt", 0.02), ("2 pt", 0.02), (".5pt", 0.005), ("3pt", 0.03), ("1e-3", 0.001)])
def test_a_loss_is_a_number_or_points(text: str, loss: float) -> None:
    assert parse_loss(text) == loss
    assert isinstance(parse_loss(text), Points) is text.endswith("pt")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("2%", r"2% has two readings: 2 points of the score are written 0\.02 or 2pt; 2 % of the baseline's score .* 0\.012"),
        ("0.5 %", r"0\.005 or 0\.5pt"),
        ("2 percent", "two readings"),
        ("2pts", "'2pts' is no number, like 0.02"),
        ("2pt%", "is no number"),
        ("inf", "'inf' is no number"),
        ("", "'' is no number"),
    ],
)
def test_everything_else_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_loss(text)


@pytest.mark.parametrize(
    ("loss", "corpus", "problem"),
    [
        (0.999, MEAN, None),
        (1.0, MEAN, "1 is 100 points"),
        (2.0, CORRELATION, "2 is 200 points"),
        (Points(0.02), MEAN, None),
        (Points(0.02), PERCENT, "2pt is for scores between 0 and 1"),
        (Points(0.02), UNBOUNDED, "2pt is for scores between 0 and 1"),
        (2.0, PERCENT, None),
        (100.0, PERCENT, "100 is all that m can lose (0 to 100)"),
        (1e6, UNBOUNDED, None),
    ],
)
def test_a_loss_must_be_one_that_the_metric_can_have(loss: float, corpus: CorpusMetric, problem: str | None) -> None:
    found = unit_problem(loss, "m", corpus)

    assert found is None if problem is None else found is not None and found.startswith(problem)
