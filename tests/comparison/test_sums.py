"""Sums of independent whole numbers against enumeration, the binomial distribution, and each way to compute them against the other."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_lighteval.comparison import sums
from pytest_lighteval.comparison.sums import FFT_ERROR, NOTHING, Law, added, drawn, power, signed, total


def chances(law: Law) -> dict[int, float]:
    return {law.first + place: float(chance) for place, chance in enumerate(law.probabilities) if chance > 0}


def law_of(outcomes: dict[int, float]) -> Law:
    first = min(outcomes)
    probabilities = np.zeros(max(outcomes) - first + 1)
    for number, chance in outcomes.items():
        probabilities[number - first] = chance
    return Law(first, probabilities)


def differing(one: Law, other: Law) -> float:
    """The largest difference of any probability."""
    first = min(one.first, other.first)
    length = max(law.first + len(law.probabilities) for law in (one, other)) - first
    rows = np.zeros((2, length))
    for row, law in zip(rows, (one, other), strict=True):
        row[law.first - first : law.first - first + len(law.probabilities)] = law.probabilities
    return float(np.abs(rows[0] - rows[1]).max())


@given(st.lists(st.integers(0, 6), max_size=8))
@settings(deadline=None)
def test_random_signs_are_those_of_an_enumeration(sizes: list[int]) -> None:
    counted = Counter(sum(np.multiply(signs, sizes).tolist()) for signs in itertools.product([1, -1], repeat=len(sizes)))

    law = signed(np.asarray(sizes, dtype=np.int64))

    assert law.exact
    assert chances(law) == pytest.approx({int(number): count / 2 ** len(sizes) for number, count in counted.items()})


@given(st.lists(st.tuples(st.lists(st.integers(-4, 4), min_size=3, max_size=3), st.integers(1, 3)), max_size=3))
@settings(deadline=None)
def test_numbers_of_several_kinds_are_those_of_an_enumeration(kinds: list[tuple[list[int], int]]) -> None:
    every = [outcomes for outcomes, count in kinds for _ in range(count)]
    counted = Counter(sum(numbers) for numbers in itertools.product(*every))

    law = drawn(
        np.sort(np.asarray([outcomes for outcomes, _ in kinds]).reshape(-1, 3)), np.asarray([count for _, count in kinds], dtype=int)
    )

    assert chances(law) == pytest.approx({number: count / 3 ** len(every) for number, count in counted.items()})


def test_a_power_is_the_sum_of_so_many() -> None:
    one = law_of({-1: 0.25, 2: 0.75})

    assert chances(power(one, 5)) == pytest.approx(chances(total([one] * 5)))
    assert chances(power(one, 0)) == chances(NOTHING) == {0: 1.0}


def test_minus_a_number_is_mirrored() -> None:
    assert chances(law_of({-1: 0.25, 2: 0.75}).mirrored) == {1: 0.25, -2: 0.75}


def test_a_transform_gives_the_sum_of_the_plain_products(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    one, other = (Law(first, rng.dirichlet(np.ones(500))) for first in (-3, 40))
    plain = added(one, other)
    monkeypatch.setattr(sums, "_MOST_PRODUCTS", 0)

    transformed = added(one, other)

    assert (plain.exact, transformed.exact) == (True, False)
    assert differing(plain, transformed) < FFT_ERROR


def test_many_short_distributions_in_a_table_give_the_sum_of_single_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    outcomes = np.sort(rng.integers(-60, 60, size=(301, 5)), axis=1)
    counts = np.ones(301, dtype=np.int64)
    in_tables = drawn(outcomes, counts)
    monkeypatch.setattr(sums, "_FEWEST_IN_A_TABLE", 1000)

    single = drawn(outcomes, counts)

    assert differing(in_tables, single) < FFT_ERROR


def test_ends_that_are_cut_off_weigh_less_than_the_error() -> None:
    law = signed(np.full(5000, 3))

    assert not law.exact
    assert len(law.probabilities) < 6 * 2 * 1000
    assert law.probabilities.sum() == pytest.approx(1, abs=FFT_ERROR)
    heads = (law.first // 3 + 5000) // 2 + np.arange(len(law.probabilities[::6]))
    assert law.probabilities[::6] == pytest.approx(scipy.stats.binom.pmf(heads, 5000, 0.5), rel=1e-10)


def test_the_sum_of_many_graded_numbers_is_no_longer_than_its_spread() -> None:
    """What makes a gate of 14,042 graded documents quick: no array is as long as the sum of all sizes."""
    sizes = np.random.default_rng(2).integers(0, 120, size=14_042)

    law = signed(sizes)

    assert len(law.probabilities) < 20 * np.sqrt(float(sizes @ sizes)) < sizes.sum() / 4
