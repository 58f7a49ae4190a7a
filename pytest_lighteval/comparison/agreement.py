"""A judge against people: agreement, and a score that people's verdicts on a part of the documents correct."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_lighteval.comparison.lazy_scipy import scipy_module


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How a judge's verdicts compare with people's on the same answers."""

    n: int
    """Answers with both."""
    agreement: float
    """Share of equal verdicts; of numbers that are not classes, of those within `near`."""
    kappa: float | None
    """Cohen's kappa: agreement beyond that of chance; of numbers with quadratic weights. None: one side always says the same."""
    bias: float
    """Mean of judge minus person."""


def agreement(judge: Sequence[float], person: Sequence[float], *, near: float = 0.0) -> Agreement:
    """Compare verdicts pair by pair. `near`: up to this difference two numbers are equal.

    Kappa is Cohen 1968's with quadratic weights, which for two classes is Cohen 1960's. Raises ValueError without a pair.
    """
    if not judge or len(judge) != len(person):
        raise ValueError("no pair of verdicts to compare")
    n = len(judge)
    equal = sum(abs(a - b) <= near + 1e-12 for a, b in zip(judge, person, strict=True)) / n
    seen = math.fsum((a - b) ** 2 for a, b in zip(judge, person, strict=True)) / n
    # of all n * n pairs, were the two sides independent
    mean_judge, mean_person = math.fsum(judge) / n, math.fsum(person) / n
    spread = math.fsum((a - mean_judge) ** 2 for a in judge) / n + math.fsum((b - mean_person) ** 2 for b in person) / n
    by_chance = spread + (mean_judge - mean_person) ** 2
    return Agreement(
        n=n, agreement=equal, kappa=None if by_chance == 0 else 1 - seen / by_chance, bias=mean_judge - mean_person
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """A mean of a judge's verdicts, corrected by people's verdicts on a part of the documents."""

    value: float
    stderr: float
    low: float
    high: float
    """Ends of the 95 % interval."""
    n: int
    labelled: int


def corrected_mean(judge: Sequence[float], person: Sequence[float | None]) -> Corrected | None:
    """The prediction-powered mean (Angelopoulos et al. 2023, arXiv:2301.09633) of documents of which some have a person's verdict, too.

    It is mean(judge) + mean(person - judge over the labelled). Here the labelled documents are among all of them, so the two means are not
    independent: the value is written as a sum of one mean over the labelled and one over the others, which are. The labelled ones must be a
    random part of the documents. The interval has the Student quantile of the labelled ones.

    None: fewer than two documents are labelled, which gives no error. Raises MissingExtraError without scipy.
    """
    labelled = [(f, y) for f, y in zip(judge, person, strict=True) if y is not None]
    others = [f for f, y in zip(judge, person, strict=True) if y is None]
    n, all_n = len(labelled), len(judge)
    if n < 2:
        return None
    share = len(others) / all_n
    rectified = [y - share * f for f, y in labelled]
    value = math.fsum(rectified) / n + share * (math.fsum(others) / len(others) if others else 0.0)
    variance = _variance(rectified) / n + (share**2 * _variance(others) / len(others) if len(others) > 1 else 0.0)
    stderr = math.sqrt(variance)
    half = float(scipy_module("stats").t.ppf(0.975, n - 1)) * stderr
    return Corrected(value=value, stderr=stderr, low=value - half, high=value + half, n=all_n, labelled=n)


def pseudo_values(judge: Sequence[float], person: Sequence[float | None]) -> list[float]:
    """A value for each document, such that their plain mean is `corrected_mean`: what the paired test can compare.

    A labelled document has judge + (person - judge) * N / n, every other one the judge's verdict.
    """
    n = sum(y is not None for y in person)
    return [f if y is None else f + (y - f) * len(judge) / n for f, y in zip(judge, person, strict=True)]


def _variance(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
