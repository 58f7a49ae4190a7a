"""Two runs paired: units, runs, and what they add up to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from pytest_lighteval.comparison.paired import Paired, concatenate, pair, stratified


def _zero_one(lost: int, won: int, n: int, right: int = 0) -> Paired:
    same = n - lost - won
    baseline = [1.0] * lost + [0.0] * won + [1.0] * right + [0.0] * (same - right)
    candidate = [0.0] * lost + [1.0] * won + [1.0] * right + [0.0] * (same - right)
    return pair(baseline, candidate)


def _plain(paired: Paired) -> dict[str, Any]:
    return {name: getattr(paired, name) for name in ("n", "baseline", "candidate", "lost", "won", "worst", "binary")} | {
        "gains": paired.gains.tolist()
    }


# ------------------------------------------------------------------------------------------------------- pairing


def test_a_gain_is_candidate_minus_baseline() -> None:
    paired = pair([1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0])

    assert paired.loss == 0.5
    assert _plain(paired) == {
        "gains": [-1.0, 0.0, 0.0, -1.0],
        "n": 4,
        "baseline": 0.75,
        "candidate": 0.25,
        "lost": 2,
        "won": 0,
        "worst": 1.0,
        "binary": True,
    }


def test_where_lower_is_better_a_gain_is_baseline_minus_candidate() -> None:
    paired = pair([2.0, 3.0], [2.5, 2.0], higher_is_better=False)

    assert _plain(paired) == {
        "gains": [-0.5, 1.0],
        "n": 2,
        "baseline": 2.5,
        "candidate": 2.25,
        "lost": 1,
        "won": 1,
        "worst": 2.0,
        "binary": False,
    }


def test_repeats_are_averaged_within_their_document_first() -> None:
    paired = pair([[1, 1, 0, 0], [1, 1, 1, 1]], [[1, 0], [0, 0]])

    assert (paired.gains.tolist(), paired.n, paired.lost, paired.binary) == ([0.0, -1.0], 2, 1, False)


def test_means_of_repeats_that_differ_by_rounding_are_equal() -> None:
    paired = pair([[0.1, 0.2, 0.3]], [[0.3, 0.2, 0.1, 0.2]])

    assert (paired.gains.tolist(), paired.lost) == ([0.0], 0)


def test_clusters_are_summed_and_stand_alone_without_a_name() -> None:
    paired = pair([1, 1, 1, 0, 1], [0, 0, 1, 1, 0], clusters=["a", "b", "a", None, "a"])

    assert _plain(paired) == {
        "gains": [-2.0, -1.0, 1.0],
        "n": 5,
        "baseline": 0.8,
        "candidate": 0.4,
        "lost": 3,
        "won": 1,
        "worst": 3.0,
        "binary": False,
    }


MOST = {
    "shares": ([0.0, 1.0], [0.5, 0.5], 1.0),
    "larger numbers": ([10.0, 20.0], [10.5, 20.0], 1.0),
    "larger numbers, unchanged": ([10.0, 25.0], [10.0, 25.0], 15.0),
    "one larger number": ([10.0], [10.0], 10.0),
}


@pytest.mark.parametrize(("baseline", "candidate", "worst"), MOST.values(), ids=MOST)
def test_the_most_that_a_document_can_lose_is_never_zero(baseline: list[float], candidate: list[float], worst: float) -> None:
    assert pair(baseline, candidate).worst == worst


WRONG: dict[str, tuple[Sequence[Any], Sequence[Any], str]] = {
    "numbers": ([1.0], [1.0, 0.0], r"^1 documents cannot be paired with 2$"),
    "none": ([], [], r"^0 documents cannot be paired with 0$"),
    "not a number": ([1.0], [math.nan], r"^a score is not finite$"),
    "no repeats": ([1.0], [[]], r"^a document has no score$"),
}


@pytest.mark.parametrize(("baseline", "candidate", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_paired_is_refused(baseline: Sequence[Any], candidate: Sequence[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pair(baseline, candidate)


def test_clusters_for_other_documents_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^1 clusters were named for 2 documents$"):
        pair([1.0, 0.0], [1.0, 0.0], clusters=["a"])


def test_parts_of_a_whole_are_the_whole() -> None:
    whole = pair([1, 1, 0, 1, 0], [0, 1, 1, 1, 0])
    parts = concatenate([pair([1, 1], [0, 1]), pair([0, 1, 0], [1, 1, 0])])

    assert _plain(parts) == _plain(whole)


def test_factors_make_the_mean_of_tasks() -> None:
    parts = [_zero_one(4, 0, 10), _zero_one(0, 0, 90)]

    assert concatenate(parts).loss == 0.04
    assert stratified(parts, [100 / (2 * part.n) for part in parts]).loss == pytest.approx(0.2)
    assert stratified(parts, [1, 1]).binary
